# The virtual swap space: 24-byte descriptors in virtual clusters, blocks given out when data is written.
# May import words, locks, the protocol, the blocks behind virtual slots and the radix tree.
# Used through swaptable.designs.make("vswap-24", slots).
#
# Models Nhat Pham's "Virtual Swap Space", v3 (2026-02-08) to v6 (2026-05-05), with swapfiles behind it
# or zswap alone. An entry is a virtual slot. A descriptor (backend 8, cache or shadow 8, count 4,
# memcg 2, flags 2) lies in a virtual cluster of 512 (12,288 bytes and a header of 64), which exists
# while a slot of it is used or a CPU allocates from it, and is found through an xarray. Blocks of the
# device: the kernel's allocator over a static bitmap, a second one for blocks whose entry only the
# swap cache holds, and 8 bytes of reverse map a block in a page for each used cluster of 512.
# `alloc` needs no block, so it fails for want of memory only; a full device shows at `writeout`, as
# ENOSPC. A large folio goes to one run of blocks, else to single ones in the order in which a split
# folio asks. Blocks stay with their entry until it is freed; another writeout overwrites in place. A
# descriptor points to its compressed object, there is no other index. Data moves to another tier by a store
# to the descriptor; swapoff follows the reverse map, reads into the swap cache and leaves the entries as they are.
# Inferred, not published: that a look-up of the cache takes the cluster's lock, as the others do;
# that the header finds free descriptors by two 64-bit summaries (the series has a 512-bit map, which
# alone is 64 bytes). Of v6's remedies, batches and the cache-only mark are in; `lookup_cache=False`
# takes away the CPU's last-cluster cache (v3 to v5), `rounding=True` makes a cluster the 16 KiB that
# kmalloc gives for 12,352 (v3 to v5).
"""Virtual swap space v3 to v6: a 24-byte descriptor a virtual slot, blocks behind it."""

from libc.errno cimport EEXIST, ENOENT, ENOMEM, ENOSPC, EOVERFLOW
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from swaptable._atomic cimport add64, ctz64, load64, spin_lock, spin_unlock
from swaptable.designs._blocks cimport (
    OWNER_BYTES, OWNER_TABLE, backing_count, backing_fault, backing_free, backing_place, backing_release, backing_size,
    backing_swapoff, backing_t, backing_transfer, backing_used, bits_bytes, blocks_cache_only, blocks_init, code_block,
    code_fault, code_place, code_tier, every, front_t,
)
from swaptable.designs._count cimport counted_alloc, counted_free, counted_lock, counted_trylock, counted_unlock
from swaptable.designs._design cimport (
    PEEK_BAD, PEEK_FOLIO, PEEK_FREE, PEEK_SHADOW, POOL, Design, counters_t, design_ops_t, host_t, peek_t, place_t,
)
from swaptable.designs._radix cimport (
    radix_first_free, radix_init, radix_insert, radix_is_node, radix_last, radix_load, radix_node, radix_node_t, radix_nodes,
    radix_release, radix_remove, radix_t, slab_destroy, slab_init, slab_slack, slab_t,
)
from swaptable.designs._slots cimport CLUSTER, CLUSTER_SHIFT, ORDERS, slots_bytes

from swaptable.designs._design import checked_backend, checked_devices, checked_slots
from swaptable.errors import CheckError

cdef extern from *:
    const uint32_t COUNT_LAST "0xffffffffu"

cdef enum:
    USED = 1                # descriptor flags
    CACHED = 2
    LINE = 8                # descriptors for each bit of a summary
    ON_CPU = 1              # where a virtual cluster is
    ON_PARTIAL = 2
    OFF = 3                 # no room when last looked at, nothing freed since
    KMALLOC = 16384

cdef struct desc_t:
    uint64_t backend        # the code of a place, 0 for none
    uint64_t cache          # pfn or shadow
    uint32_t count
    uint16_t memcg
    uint16_t flags

cdef struct vcluster_t:     # 64 bytes and the descriptors
    vcluster_t *prev
    vcluster_t *next
    uint64_t id
    uint64_t roomy          # lines with a free descriptor
    uint64_t empty          # lines with free ones only
    uint16_t count
    uint8_t order
    uint8_t place
    uint8_t lock
    uint8_t pad[3]
    uint64_t rcu[2]         # the kernel's head for deferred freeing; room only
    desc_t desc[CLUSTER]

cdef struct vlist_t:
    vcluster_t *head
    vcluster_t *tail

cdef struct vcpu_t:
    uint8_t lock
    vcluster_t *cluster[ORDERS]
    vcluster_t *last        # of the last look-up

cdef struct vswap_t:
    backing_t backing
    counters_t counters
    radix_t map             # id -> virtual cluster
    slab_t slab
    vlist_t partial[ORDERS]
    uint8_t list_lock
    vcpu_t cpu
    uint64_t slots          # what a device has, and the most entries without one
    int64_t vclusters
    int64_t entries
    bint lookup_cache
    bint rounding


# ---- virtual clusters

cdef inline uint64_t cluster_bytes(vswap_t *s) noexcept nogil:
    return KMALLOC if s.rounding else sizeof(vcluster_t)


cdef inline void list_locked(vswap_t *s) noexcept nogil:
    counted_lock(&s.counters, &s.list_lock)
    s.counters.list_locks += 1


cdef inline void cluster_locked(vswap_t *s, vcluster_t *vc) noexcept nogil:
    counted_lock(&s.counters, &vc.lock)


cdef inline void cluster_unlock(vswap_t *s, vcluster_t *vc) noexcept nogil:
    counted_unlock(&s.counters, &vc.lock)


cdef inline int free_mask(vcluster_t *vc, int line) noexcept nogil:
    """Bit i: descriptor i of the line is free."""
    cdef desc_t *desc = &vc.desc[line * LINE]
    cdef int i, mask = 0
    for i in range(LINE):
        mask |= (desc[i].flags == 0) << i
    return mask


cdef inline int cluster_find(vcluster_t *vc, int order) noexcept nogil:
    """First of 2^order free descriptors, aligned; or -1."""
    cdef uint64_t lines = vc.empty if order >= 3 else vc.roomy
    cdef int span = 1, mask
    if order >= 3:
        while span < 1 << (order - 3):
            lines &= lines >> span
            span <<= 1
        lines &= every(span)
        return ctz64(lines) * LINE if lines else -1
    while lines:
        mask = free_mask(vc, ctz64(lines))
        if order > 0:
            mask &= (mask >> 1) & 0x55
        if order > 1:
            mask &= (mask >> 2) & 0x11
        if mask:
            return ctz64(lines) * LINE + ctz64(mask)
        lines &= lines - 1
    return -1


cdef inline void cluster_summarise(vcluster_t *vc, int off, int nr) noexcept nogil:
    """Set the summaries of the lines that [off, off + nr) touches."""
    cdef int line, mask
    cdef uint64_t bit
    for line in range(off // LINE, (off + nr - 1) // LINE + 1):
        bit = <uint64_t>1 << line
        mask = free_mask(vc, line)
        vc.roomy = vc.roomy | bit if mask else vc.roomy & ~bit
        vc.empty = vc.empty | bit if mask == 0xff else vc.empty & ~bit


cdef vcluster_t *cluster_new(vswap_t *s, int order) noexcept nogil:
    """A new cluster with the lowest free id, in the map, locked, the CPU's; NULL without memory."""
    cdef vcluster_t *vc = <vcluster_t *>counted_alloc(&s.counters, cluster_bytes(s), cluster_bytes(s))
    cdef int err
    if vc == NULL:
        return NULL
    vc.roomy = vc.empty = ~<uint64_t>0
    vc.order = order
    vc.place = ON_CPU
    cluster_locked(s, vc)
    counted_lock(&s.counters, &s.map.lock)
    vc.id = radix_first_free(&s.map)
    err = radix_insert(&s.map, vc.id, <uint64_t>vc)
    counted_unlock(&s.counters, &s.map.lock)
    if err < 0:
        cluster_unlock(s, vc)
        counted_free(&s.counters, vc, cluster_bytes(s))
        return NULL
    add64(&s.vclusters, 1)
    s.counters.lookups += 1
    s.counters.words += 1
    return vc


cdef void cluster_drop(vswap_t *s, vcluster_t *vc) noexcept nogil:
    """Take an empty cluster that is on no list out of the map and free it."""
    counted_lock(&s.counters, &s.map.lock)
    s.counters.lookups += 1
    s.counters.words += 1
    radix_remove(&s.map, vc.id)
    counted_unlock(&s.counters, &s.map.lock)
    if s.cpu.last == vc:
        s.cpu.last = NULL
    add64(&s.vclusters, -1)
    counted_free(&s.counters, vc, cluster_bytes(s))


cdef vcluster_t *partial_pop(vswap_t *s, int order) noexcept nogil:
    """The first partly used cluster of that order that nobody has locked, locked and the CPU's; or NULL."""
    cdef vlist_t *list = &s.partial[order]
    cdef vcluster_t *vc
    list_locked(s)
    vc = list.head
    while vc != NULL and not counted_trylock(&s.counters, &vc.lock):
        vc = vc.next
    if vc != NULL:
        partial_unlink(list, vc)
        vc.place = ON_CPU
    counted_unlock(&s.counters, &s.list_lock)
    return vc


cdef inline void partial_unlink(vlist_t *list, vcluster_t *vc) noexcept nogil:
    if vc.prev != NULL:
        vc.prev.next = vc.next
    else:
        list.head = vc.next
    if vc.next != NULL:
        vc.next.prev = vc.prev
    else:
        list.tail = vc.prev


cdef inline void partial_append(vswap_t *s, vcluster_t *vc) noexcept nogil:
    cdef vlist_t *list = &s.partial[vc.order]
    list_locked(s)
    vc.place = ON_PARTIAL
    vc.next = NULL
    vc.prev = list.tail
    if list.tail != NULL:
        list.tail.next = vc
    else:
        list.head = vc
    list.tail = vc
    counted_unlock(&s.counters, &s.list_lock)


cdef vcluster_t *cluster_with_room(vswap_t *s, int order, int *off) noexcept nogil:
    """The CPU's cluster, a partly used one or a new one, locked, and where in it; NULL without memory."""
    cdef vcluster_t *vc
    spin_lock(&s.cpu.lock)
    vc = s.cpu.cluster[order]
    if vc != NULL:
        cluster_locked(s, vc)
    off[0] = -1
    while off[0] < 0:
        if vc == NULL:
            vc = partial_pop(s, order)
        if vc == NULL:
            vc = cluster_new(s, order)
        s.cpu.cluster[order] = vc
        if vc == NULL:
            break
        s.counters.visited += 1
        off[0] = cluster_find(vc, order)
        if off[0] < 0:
            vc.place = OFF
            cluster_unlock(s, vc)
            vc = NULL
    spin_unlock(&s.cpu.lock)
    return vc


cdef inline vcluster_t *entry_lock(vswap_t *s, uint64_t entry, int nr, bint used) noexcept nogil:
    """The entries' cluster, locked; NULL when there is none or, with *used*, one of them is free."""
    cdef uint64_t id = entry >> CLUSTER_SHIFT
    cdef vcluster_t *vc = s.cpu.last
    cdef int i, off = entry & (CLUSTER - 1)
    s.counters.lookups += 1
    s.counters.depth += 1       # the descriptor
    if nr < 1 or off + nr > CLUSTER:
        return NULL
    if vc == NULL or vc.id != id:
        vc = <vcluster_t *>radix_load(&s.map, id, &s.counters.depth)
        if vc == NULL:
            return NULL
        if s.lookup_cache:
            s.cpu.last = vc
    else:
        s.counters.depth += 1
    cluster_locked(s, vc)
    for i in range(off, off + nr if used else off):
        if vc.desc[i].flags == 0:
            cluster_unlock(s, vc)
            return NULL
    return vc


cdef void release(vswap_t *s, vcluster_t *vc, int off, int nr) noexcept nogil:
    """Free those of the *nr* descriptors that nobody uses or caches, and their blocks; unlocks *vc*."""
    cdef uint64_t codes[CLUSTER]
    cdef desc_t *desc
    cdef int i, n = 0, freed = 0
    for i in range(off, off + nr):
        desc = &vc.desc[i]
        if desc.count or desc.flags & CACHED:
            continue
        if desc.backend:
            codes[n] = desc.backend
            n += 1
        memset(desc, 0, sizeof(desc_t))
        freed += 1
    if freed == 0:
        cluster_unlock(s, vc)
        return
    s.counters.words += freed
    vc.count -= freed
    cluster_summarise(vc, off, nr)
    add64(&s.entries, -freed)
    settle(s, vc)
    backing_free(&s.backing, codes, n)


cdef void settle(vswap_t *s, vcluster_t *vc) noexcept nogil:
    """Where a cluster goes after slots of it became free; unlocks it."""
    if vc.place == ON_CPU:
        cluster_unlock(s, vc)
        return
    if vc.count:
        if vc.place == OFF:
            partial_append(s, vc)
        cluster_unlock(s, vc)
        return
    if vc.place == ON_PARTIAL:
        list_locked(s)
        partial_unlink(&s.partial[vc.order], vc)
        counted_unlock(&s.counters, &s.list_lock)
    cluster_unlock(s, vc)
    cluster_drop(s, vc)


# ---- the protocol

cdef int vswap_alloc(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef int off = 0, i, nr = 1 << order
    cdef vcluster_t *vc
    cdef desc_t *desc
    s.counters.ops += 1
    if s.backing.ndev == 0 and <uint64_t>s.entries + nr > s.slots:
        return -ENOSPC
    vc = cluster_with_room(s, order, &off)
    if vc == NULL:
        return -ENOMEM
    for i in range(off, off + nr):
        desc = &vc.desc[i]
        desc.cache = pfn
        desc.memcg = memcg
        desc.flags = USED | CACHED
    vc.count += nr
    cluster_summarise(vc, off, nr)
    entry[0] = (vc.id << CLUSTER_SHIFT) + off
    cluster_unlock(s, vc)
    add64(&s.entries, nr)
    s.counters.words += nr
    return 0


cdef inline void mark(vswap_t *s, desc_t *desc, bint only) noexcept nogil:
    """Nobody but the swap cache holds the entry of a block, or somebody does."""
    if code_tier(desc.backend) > POOL:
        blocks_cache_only(&s.backing.dev[code_tier(desc.backend) - 1], code_block(desc.backend), only)


cdef int vswap_dup(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef int i, off = entry & (CLUSTER - 1)
    cdef vcluster_t *vc
    cdef desc_t *desc
    s.counters.ops += 1
    vc = entry_lock(s, entry, nr, True)
    if vc == NULL:
        return -ENOENT
    for i in range(off, off + nr):
        if vc.desc[i].count == COUNT_LAST:
            cluster_unlock(s, vc)
            return -EOVERFLOW
    for i in range(off, off + nr):
        desc = &vc.desc[i]
        if desc.count == 0:
            mark(s, desc, False)
        desc.count += 1
    s.counters.words += nr
    cluster_unlock(s, vc)
    return 0


cdef int vswap_put(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef int i, off = entry & (CLUSTER - 1)
    cdef vcluster_t *vc
    cdef desc_t *desc
    s.counters.ops += 1
    vc = entry_lock(s, entry, nr, True)
    if vc == NULL:
        return -ENOENT
    for i in range(off, off + nr):
        if vc.desc[i].count == 0:
            cluster_unlock(s, vc)
            return -ENOENT
    for i in range(off, off + nr):
        desc = &vc.desc[i]
        desc.count -= 1
        if desc.count == 0 and desc.flags & CACHED:
            mark(s, desc, True)
    s.counters.words += nr
    release(s, vc, off, nr)
    return 0


cdef void set_backends(vswap_t *s, vcluster_t *vc, int off, int nr, const uint64_t *codes) noexcept nogil:
    cdef desc_t *desc
    cdef int i
    cluster_locked(s, vc)
    for i in range(nr):
        desc = &vc.desc[off + i]
        desc.backend = codes[i]
        if desc.count == 0:
            mark(s, desc, True)
    s.counters.words += nr
    cluster_unlock(s, vc)


cdef int vswap_writeout(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef uint64_t codes[CLUSTER]
    cdef int i, off = entry & (CLUSTER - 1), first = -1, last = -1, placed = 0
    cdef vcluster_t *vc
    s.counters.ops += 1
    vc = entry_lock(s, entry, nr, True)
    if vc == NULL:
        return -ENOENT
    for i in range(off, off + nr):
        if not vc.desc[i].flags & CACHED:
            cluster_unlock(s, vc)
            return -ENOENT
        codes[i - off] = vc.desc[i].backend
        if vc.desc[i].backend:
            placed += 1
        else:
            first = i - off if first < 0 else first
            last = i - off
    cluster_unlock(s, vc)
    if placed == nr:
        backing_count(&s.backing, codes, nr)
        return 0
    if last - first + 1 + placed > nr:
        return scattered_writeout(s, vc, entry, nr)
    i = backing_place(&s.backing, entry + first, last - first + 1, &codes[first])
    if i == 0:
        set_backends(s, vc, off + first, last - first + 1, &codes[first])
        backing_count(&s.backing, codes, nr)
    return i


cdef int scattered_writeout(vswap_t *s, vcluster_t *vc, uint64_t entry, int nr) noexcept nogil:
    """Entries with and without blocks by turns: each of the latter gets a single one, or none does."""
    cdef uint64_t codes[CLUSTER]
    cdef int i, err = 0, off = entry & (CLUSTER - 1)
    memset(codes, 0, sizeof(codes))
    for i in range(nr):
        if vc.desc[off + i].backend == 0:
            err = backing_place(&s.backing, entry + i, 1, &codes[i])
            if err:
                break
    for i in range(nr):
        if codes[i] and err:
            backing_free(&s.backing, &codes[i], 1)
        elif codes[i]:
            set_backends(s, vc, off + i, 1, &codes[i])
        codes[i] = vc.desc[off + i].backend
    if err == 0:
        backing_count(&s.backing, codes, nr)
    return err


cdef int64_t vswap_cache_get(void *d, uint64_t entry) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef vcluster_t *vc
    cdef desc_t *desc
    cdef int64_t pfn
    s.counters.ops += 1
    vc = entry_lock(s, entry, 1, False)
    if vc == NULL:
        return -1
    desc = &vc.desc[entry & (CLUSTER - 1)]
    pfn = desc.cache if desc.flags & CACHED else -1
    cluster_unlock(s, vc)
    return pfn


cdef int vswap_cache_add(void *d, uint64_t entry, int nr, uint64_t pfn) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef int i, err, off = entry & (CLUSTER - 1)
    cdef vcluster_t *vc
    s.counters.ops += 1
    vc = entry_lock(s, entry, nr, False)
    if vc == NULL:
        return -ENOENT
    for i in range(off, off + nr):
        if vc.desc[i].flags == 0 or vc.desc[i].flags & CACHED:
            err = -EEXIST if vc.desc[i].flags else -ENOENT
            cluster_unlock(s, vc)
            return err
    for i in range(off, off + nr):
        vc.desc[i].cache = pfn
        vc.desc[i].flags |= CACHED
    s.counters.words += nr
    cluster_unlock(s, vc)
    return 0


cdef int vswap_cache_del(void *d, uint64_t entry, int nr, uint64_t shadow) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef int i, off = entry & (CLUSTER - 1)
    cdef vcluster_t *vc
    s.counters.ops += 1
    vc = entry_lock(s, entry, nr, True)
    if vc == NULL:
        return -ENOENT
    for i in range(off, off + nr):
        if not vc.desc[i].flags & CACHED:
            cluster_unlock(s, vc)
            return -ENOENT
    for i in range(off, off + nr):
        vc.desc[i].cache = shadow
        vc.desc[i].flags &= ~CACHED
    s.counters.words += nr
    release(s, vc, off, nr)
    return 0


cdef uint64_t vswap_used(void *d) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    return backing_used(&s.backing) if s.backing.ndev and not s.backing.zswap else <uint64_t>load64(&s.entries)


cdef uint64_t vswap_size(void *d) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    return backing_size(&s.backing) if s.backing.ndev and not s.backing.zswap else s.slots


cdef uint64_t vswap_bytes(void *d) noexcept nogil:
    return (<vswap_t *>d).counters.now


# ---- where the data is

cdef desc_t *desc_peek(vswap_t *s, uint64_t entry) noexcept nogil:
    """The descriptor of an entry in use, not counted; or NULL."""
    cdef uint64_t depth = 0
    cdef vcluster_t *vc = <vcluster_t *>radix_load(&s.map, entry >> CLUSTER_SHIFT, &depth)
    if vc == NULL or vc.desc[entry & (CLUSTER - 1)].flags == 0:
        return NULL
    return &vc.desc[entry & (CLUSTER - 1)]


cdef int vswap_locate(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    cdef desc_t *desc
    cdef int i
    for i in range(nr):
        desc = desc_peek(<vswap_t *>d, entry + i)
        if desc == NULL:
            return -ENOENT
        code_place(desc.backend, &where[i])
    return 0


cdef int vswap_read(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    """What the descriptors point to; objects of the pool are taken from there."""
    cdef vswap_t *s = <vswap_t *>d
    cdef uint64_t codes[CLUSTER]
    cdef int i, off = entry & (CLUSTER - 1), taken = 0
    cdef vcluster_t *vc
    s.counters.ops += 1
    vc = entry_lock(s, entry, nr, False)
    for i in range(off, off + nr if vc != NULL else off):
        if not vc.desc[i].flags & CACHED:
            cluster_unlock(s, vc)
            vc = NULL
            break
    if vc == NULL:
        return -ENOENT
    for i in range(nr):
        codes[i] = vc.desc[off + i].backend
        code_place(codes[i], &where[i])
        if where[i].tier == POOL:
            vc.desc[off + i].backend = 0
            s.counters.words += 1
            backing_free(&s.backing, &codes[i], 1)
            taken += 1
    cluster_unlock(s, vc)
    backing_count(&s.backing, codes, nr)
    return taken > 0


cdef void vswap_peek(void *d, uint64_t entry, peek_t *said) noexcept nogil:
    cdef desc_t *desc = desc_peek(<vswap_t *>d, entry)
    said.kind, said.count, said.memcg, said.zero, said.value = PEEK_FREE, 0, 0, False, 0
    if desc == NULL:
        said.kind = PEEK_FREE if entry >= CLUSTER else PEEK_BAD
        return
    said.kind = PEEK_FOLIO if desc.flags & CACHED else PEEK_SHADOW
    said.count = desc.count
    said.memcg = desc.memcg
    said.value = desc.cache


cdef int vswap_hops(void *d, uint64_t entry) noexcept nogil:
    return -ENOENT if desc_peek(<vswap_t *>d, entry) == NULL else 1


cdef int front_get(void *d, uint64_t entry, uint64_t *code, int64_t *pfn) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef vcluster_t *vc = entry_lock(s, entry, 1, True)
    cdef desc_t *desc
    if vc == NULL:
        return -ENOENT
    desc = &vc.desc[entry & (CLUSTER - 1)]
    code[0] = desc.backend
    pfn[0] = desc.cache if desc.flags & CACHED else -1
    cluster_unlock(s, vc)
    return 0


cdef int front_set(void *d, uint64_t entry, uint64_t code) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef vcluster_t *vc = entry_lock(s, entry, 1, True)
    cdef desc_t *desc
    if vc == NULL:
        return -ENOENT
    desc = &vc.desc[entry & (CLUSTER - 1)]
    desc.backend = code
    s.counters.words += 1
    if desc.count == 0:
        mark(s, desc, True)
    cluster_unlock(s, vc)
    return 0


cdef int64_t front_next(void *d, uint64_t entry, int tier) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef uint64_t last = (radix_last(&s.map) + 1) << CLUSTER_SHIFT, depth = 0
    cdef vcluster_t *vc = NULL
    while entry < last:
        if vc == NULL or entry & (CLUSTER - 1) == 0:
            vc = <vcluster_t *>radix_load(&s.map, entry >> CLUSTER_SHIFT, &depth)
        if vc == NULL:
            entry = (entry | (CLUSTER - 1)) + 1
            continue
        s.counters.scanned += 1
        if code_tier(vc.desc[entry & (CLUSTER - 1)].backend) == tier:
            return entry
        entry += 1
    return -1


cdef int64_t vswap_transfer(void *d, const uint64_t *entries, int64_t n, int tier, const host_t *host) noexcept nogil:
    return backing_transfer(&(<vswap_t *>d).backing, &FRONT, d, entries, n, tier, host)


cdef int vswap_swapoff(void *d, int tier, const host_t *host) noexcept nogil:
    return backing_swapoff(&(<vswap_t *>d).backing, &FRONT, d, tier, host)


cdef uint64_t vswap_wasted(void *d) noexcept nogil:
    return 0


cdef design_ops_t VSWAP_OPS
VSWAP_OPS.alloc = vswap_alloc
VSWAP_OPS.dup = vswap_dup
VSWAP_OPS.put = vswap_put
VSWAP_OPS.writeout = vswap_writeout
VSWAP_OPS.cache_get = vswap_cache_get
VSWAP_OPS.cache_add = vswap_cache_add
VSWAP_OPS.cache_del = vswap_cache_del
VSWAP_OPS.used = vswap_used
VSWAP_OPS.size = vswap_size
VSWAP_OPS.bytes = vswap_bytes
VSWAP_OPS.read = vswap_read
VSWAP_OPS.locate = vswap_locate
VSWAP_OPS.peek = vswap_peek
VSWAP_OPS.hops = vswap_hops
VSWAP_OPS.transfer = vswap_transfer
VSWAP_OPS.swapoff = vswap_swapoff
VSWAP_OPS.wasted = vswap_wasted

cdef front_t FRONT
FRONT.get = front_get
FRONT.set = front_set
FRONT.next = front_next
FRONT.ops = &VSWAP_OPS


# ---- from scratch

cdef const char *desc_fault(vswap_t *s, desc_t *desc, uint64_t entry) noexcept nogil:
    """What is wrong with a descriptor, or NULL."""
    if desc.flags == 0:
        if desc.backend or desc.cache or desc.count or desc.memcg:
            return b"free, but not empty"
        return NULL
    if not desc.flags & USED or (desc.count == 0 and not desc.flags & CACHED):
        return b"in use without users and not cached"
    return code_fault(&s.backing, desc.backend, entry, desc.count == 0)


cdef const char *cluster_fault(vswap_t *s, vcluster_t *vc, uint64_t *where, uint64_t *entries, uint64_t *tiers) noexcept nogil:
    """The first thing that is wrong with a virtual cluster, or NULL; adds up entries, and data by tier."""
    cdef const char *fault
    cdef int i, used = 0
    where[0] = vc.id << CLUSTER_SHIFT
    for i in range(CLUSTER // LINE):
        if ((vc.roomy >> i) & 1) != (free_mask(vc, i) != 0) or ((vc.empty >> i) & 1) != (free_mask(vc, i) == 0xff):
            return b"the summaries of free descriptors are wrong"
    for i in range(CLUSTER):
        where[0] = (vc.id << CLUSTER_SHIFT) + i
        fault = desc_fault(s, &vc.desc[i], where[0])
        if fault != NULL:
            return fault
        used += vc.desc[i].flags != 0
        if vc.desc[i].backend:
            tiers[code_tier(vc.desc[i].backend)] += 1
    entries[0] += used
    if used != vc.count or vc.lock or (vc.count == 0 and vc.place != ON_CPU):
        return b"the cluster's count, lock or place is wrong"
    if vc.place == ON_CPU and s.cpu.cluster[vc.order] != vc:
        return b"a CPU's cluster that the CPU does not know"
    return NULL


cdef const char *map_fault(vswap_t *s, radix_node_t *node, uint64_t *where, uint64_t *sums, uint64_t *tiers) noexcept nogil:
    """The first thing that is wrong under *node*, or NULL; sums: clusters, entries, on lists."""
    cdef const char *fault
    cdef vcluster_t *vc
    cdef int i
    for i in range(64):
        if node.slot[i] == 0:
            continue
        if radix_is_node(node.slot[i]):
            fault = map_fault(s, radix_node(node.slot[i]), where, sums, tiers)
        else:
            vc = <vcluster_t *>node.slot[i]
            sums[0] += 1
            sums[2] += vc.place == ON_PARTIAL
            fault = cluster_fault(s, vc, where, &sums[1], tiers)
        if fault != NULL:
            return fault
    return NULL


cdef int64_t partial_length(vswap_t *s) noexcept nogil:
    cdef vcluster_t *vc
    cdef int64_t n = 0
    cdef int order
    for order in range(ORDERS):
        vc = s.partial[order].head
        while vc != NULL:
            if vc.place != ON_PARTIAL or vc.order != order:
                return -1
            n += 1
            vc = vc.next
    return n


cdef const char *vswap_fault(vswap_t *s, uint64_t *where) noexcept nogil:
    """The first thing that is wrong, or NULL."""
    cdef uint64_t sums[3]
    cdef uint64_t tiers[8]
    cdef uint64_t nodes = 0
    cdef int64_t n = radix_nodes(&s.map)
    cdef const char *fault = NULL
    memset(sums, 0, sizeof(sums))
    memset(tiers, 0, sizeof(tiers))
    if n < 0:
        return b"the map of virtual clusters is damaged"
    if radix_is_node(s.map.head):
        fault = map_fault(s, radix_node(s.map.head), where, sums, tiers)
    if fault != NULL:
        return fault
    where[0] = 0
    if <int64_t>sums[0] != s.vclusters or <int64_t>sums[1] != s.entries or <int64_t>sums[2] != partial_length(s):
        return b"clusters, entries or lists do not add up"
    fault = backing_fault(&s.backing, tiers, &nodes)
    if fault != NULL:
        return fault
    if nodes + n != s.slab.nodes:
        return b"nodes in use are not those of the map"
    if s.counters.held:
        return b"a lock is held"
    return NULL


cdef void map_free(vswap_t *s, radix_node_t *node) noexcept nogil:
    """Free the virtual clusters under *node*."""
    cdef int i
    for i in range(64):
        if radix_is_node(node.slot[i]):
            map_free(s, radix_node(node.slot[i]))
        else:
            counted_free(&s.counters, <void *>node.slot[i], cluster_bytes(s))


cdef class VswapDesign(Design):
    """Virtual swap space v3 to v6, with swapfiles behind it or without.

    Parameters
    ----------
    slots : int
        Blocks of 4 KiB on each device, the header's included, 1 to 2^32 - 1. Entries are not bounded by it, except
        where there is no device.
    backend : str
        ``"disk"``, or ``"zswap"``: what is written goes to the compressed pool.
    devices : int, optional
        0 to 4: tiers 1, 2, ... Default: 1 for disk, none for zswap.
    lookup_cache : bool
        Look at the last cluster before the xarray, as v6 does; v3 to v5 do not.
    rounding : bool
        A cluster takes the 16 KiB that kmalloc has for 12,352 bytes, as in v3 to v5.

    Raises
    ------
    SwapValueError
        *slots*, *backend* or *devices* is out of range.
    MemoryError
    """

    def __cinit__(self, slots, backend="disk", devices=None, lookup_cache=True, rounding=False):
        cdef uint64_t n = checked_slots(slots)
        cdef vswap_t *s
        cdef int i
        cdef bint zswap = checked_backend(backend) == "zswap"
        cdef int count = checked_devices(not zswap if devices is None else devices, not zswap)
        s = <vswap_t *>calloc(1, sizeof(vswap_t))
        if s == NULL:
            raise MemoryError
        self.state = s
        self.counters = &s.counters
        s.slots = n
        s.lookup_cache = lookup_cache
        s.rounding = rounding
        slab_init(&s.slab, sizeof(radix_node_t), &s.counters)
        radix_init(&s.map, &s.slab)
        s.map.indices = 1
        s.backing.counters = &s.counters
        s.backing.zswap = zswap
        for i in range(count):
            s.backing.ndev += 1
            if blocks_init(&s.backing.dev[i], n, OWNER_TABLE, True, False, &s.slab, &s.counters) < 0:
                raise MemoryError
        self.ops = &VSWAP_OPS

    def __init__(self, slots, backend="disk", devices=None, lookup_cache=True, rounding=False):
        pass

    def __dealloc__(self):
        cdef vswap_t *s = <vswap_t *>self.state
        if s == NULL:
            return
        if radix_is_node(s.map.head):
            map_free(s, radix_node(s.map.head))
        radix_release(&s.map)
        backing_release(&s.backing)
        slab_destroy(&s.slab)
        free(s)

    @property
    def name(self) -> str:
        """``vswap-24``."""
        return "vswap-24"

    @property
    def says(self) -> dict:
        """How the design does what not every design can."""
        return SAYS

    @property
    def entries(self) -> int:
        """Virtual slots in use, with or without a block."""
        return (<vswap_t *>self.state).entries

    @property
    def scattered(self) -> int:
        """Large folios that found no run of blocks and were written page by page."""
        return (<vswap_t *>self.state).backing.scattered

    def lookup(self, entry) -> dict:
        """Return what the descriptor of *entry* says, and its ``block`` (None without); see :meth:`Design.lookup`."""
        cdef desc_t *desc = NULL
        if 0 <= entry <= 0xffffffffffff:
            desc = desc_peek(<vswap_t *>self.state, entry)
        block = code_block(desc.backend) if desc != NULL and code_tier(desc.backend) > POOL else None
        return super().lookup(entry) | {"block": block}

    def memory(self) -> dict:
        """Return the bytes by kind: descriptors, headers, xarray, reverse map, bitmaps, cluster info, slack."""
        cdef vswap_t *s = <vswap_t *>self.state
        cdef uint64_t clusters = s.vclusters
        cdef int i
        kinds = {
            "descriptors": clusters * CLUSTER * sizeof(desc_t),
            "headers": clusters * (sizeof(vcluster_t) - CLUSTER * sizeof(desc_t)),
            "xarray_nodes": s.slab.nodes * sizeof(radix_node_t),
            "slab_slack": slab_slack(&s.slab),
            "rounding": clusters * (cluster_bytes(s) - sizeof(vcluster_t)),
            "reverse_map": 0,
            "bitmaps": 0,
            "cluster_info": 0,
        }
        for i in range(s.backing.ndev):
            if s.backing.dev[i].on:
                kinds["reverse_map"] += s.backing.dev[i].tables * OWNER_BYTES
                kinds["bitmaps"] += 2 * bits_bytes(&s.backing.dev[i])
                kinds["cluster_info"] += slots_bytes(&s.backing.dev[i].slots)
        return kinds | {"total": sum(kinds.values())}

    def check(self) -> None:
        """Verify every invariant from scratch.

        Raises
        ------
        CheckError
            With the entry (or the part) and what does not hold.
        """
        cdef vswap_t *s = <vswap_t *>self.state
        cdef uint64_t where = 0
        cdef const char *fault
        with nogil:
            fault = vswap_fault(s, &where)
        if fault != NULL:
            raise CheckError(f"vswap-24: at {where}: {(<bytes>fault).decode()}")
        if self.memory()["total"] != self.bytes:
            raise CheckError(f"vswap-24: the kinds of memory do not add up to {self.bytes}: {self.memory()}")


SAYS = {
    "fork": "dup: one more in the descriptor's count",
    "transfer": "the descriptor points elsewhere; no entry changes",
    "swapoff": "each used block leads to its descriptor by the reverse map; its data becomes a page in the swap cache, the entries stay",
}
