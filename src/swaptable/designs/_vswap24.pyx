# The virtual swap space: 24-byte descriptors in virtual clusters, blocks given out when data is written.
# May import words, locks, the protocol, the slot allocator and the radix tree.
# Used through swaptable.designs.make("vswap-24", slots).
#
# Models Nhat Pham's "Virtual Swap Space", v3 (2026-02-08) to v6 (2026-05-05), the version with a
# swapfile behind it. An entry is a virtual slot. A descriptor (backend 8, cache or shadow 8, count 4,
# memcg 2, flags 2) lies in a virtual cluster of 512 (12,288 bytes and a header of 64), which exists
# while a slot of it is used or a CPU allocates from it, and is found through an xarray. Blocks of the
# device: the kernel's allocator over a static bitmap, a second one for blocks whose entry only the
# swap cache holds, and 8 bytes of reverse map a block in a page for each used cluster of 512.
# `alloc` needs no block, so it fails for want of memory only; a full device shows at `writeout`, as
# ENOSPC. A large folio goes to one run of blocks, else to single ones in the order in which a split
# folio asks. Blocks stay with their entry until it is freed; another writeout overwrites in place.
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

from swaptable._atomic cimport add64, ctz64, load64, spin_lock, spin_trylock, spin_unlock
from swaptable.designs._design cimport Design, counters_t, design_ops_t
from swaptable.designs._radix cimport (
    radix_destroy, radix_first_free, radix_insert, radix_is_node, radix_load, radix_node, radix_node_t, radix_nodes,
    radix_remove, radix_t, slab_bytes, slab_destroy, slab_slack, slab_t,
)
from swaptable.designs._slots cimport (
    CLUSTER, CLUSTER_SHIFT, ORDERS, ci_t, slots_alloc, slots_bytes, slots_free_locked, slots_init, slots_lock,
    slots_release, slots_sound, slots_t, slots_used,
)

from swaptable.designs._design import checked_slots
from swaptable.errors import CheckError

cdef extern from *:
    """
    #define block_bit_set(map, b) \
        ((void)__atomic_fetch_or(&(map)[(b) >> 6], 1ULL << ((b) & 63), __ATOMIC_RELAXED))
    #define block_bit_clear(map, b) \
        ((void)__atomic_fetch_and(&(map)[(b) >> 6], ~(1ULL << ((b) & 63)), __ATOMIC_RELAXED))
    /* Bits at multiples of n, for n = 1, 2, 4, ..., 64. */
    #define every(n) ((n) == 64 ? 1ULL : ~0ULL / ((1ULL << (n)) - 1))
    """
    void block_bit_set(uint64_t *map, uint64_t block) noexcept nogil
    void block_bit_clear(uint64_t *map, uint64_t block) noexcept nogil
    uint64_t every(int n) noexcept nogil
    const uint32_t COUNT_LAST "0xffffffffu"

cdef enum:
    USED = 1                # descriptor flags
    CACHED = 2
    SWAPFILE = 4            # the backend is a block
    LINE = 8                # descriptors for each bit of a summary
    ON_CPU = 1              # where a virtual cluster is
    ON_PARTIAL = 2
    OFF = 3                 # no room when last looked at, nothing freed since
    KMALLOC = 16384

cdef struct desc_t:
    uint64_t backend
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
    slots_t slots           # the blocks
    counters_t counters
    uint64_t *taken
    uint64_t *cache_only
    uint64_t **rmap         # for each cluster of blocks a page of entries, while one of them is used
    int64_t tables
    radix_t map             # id -> virtual cluster
    slab_t slab
    vlist_t partial[ORDERS]
    uint8_t list_lock
    vcpu_t cpu
    int64_t vclusters
    int64_t entries
    int64_t scattered       # large folios that went to single blocks
    bint lookup_cache
    bint rounding


# ---- blocks

cdef int64_t block_find(void *user, uint64_t start, uint64_t end, int order) noexcept nogil:
    cdef uint64_t *taken = (<vswap_t *>user).taken
    cdef uint64_t free_bits, i
    cdef int nr = 1 << order, span = 1
    if order >= 6:
        while start + nr <= end:
            i = start
            while i < start + nr and taken[i >> 6] == 0:
                i += 64
            if i == start + nr:
                return start
            start += nr
        return -1
    while start < end:
        free_bits = ~taken[start >> 6] & (~<uint64_t>0 << (start & 63))
        span = 1
        while span < nr:
            free_bits &= free_bits >> span
            span <<= 1
        free_bits &= every(nr)
        if free_bits:
            return (start & ~<uint64_t>63) + ctz64(free_bits)
        start = (start | 63) + 1
    return -1


cdef int block_take(void *user, uint64_t block, int nr, uint64_t entry) noexcept nogil:
    """Mark blocks taken for *entry* on. The table is allocated under the lock: the kernel tries that first, too."""
    cdef vswap_t *s = <vswap_t *>user
    cdef uint64_t **table = &s.rmap[block >> CLUSTER_SHIFT]
    cdef uint64_t i, mask
    if table[0] == NULL:
        table[0] = <uint64_t *>calloc(CLUSTER, sizeof(uint64_t))
        if table[0] == NULL:
            return -1
        add64(&s.tables, 1)
    for i in range(nr):
        table[0][(block + i) & (CLUSTER - 1)] = entry + i
    mask = ~<uint64_t>0 >> (64 - min(nr, 64))
    for i in range(block >> 6, (block + nr + 63) >> 6):
        s.taken[i] |= mask << (block & 63)
    s.counters.words += 2 * nr
    return 0


cdef int64_t block_alloc(vswap_t *s, int order, uint64_t entry) noexcept nogil:
    return slots_alloc(&s.slots, order, entry)


cdef void block_free_run(vswap_t *s, uint64_t block, int nr) noexcept nogil:
    """Free blocks of one cluster, and its table with the last of them."""
    cdef ci_t *ci = slots_lock(&s.slots, block)
    cdef uint64_t *table = s.rmap[block >> CLUSTER_SHIFT]
    cdef uint64_t i
    for i in range(block, block + nr):
        table[i & (CLUSTER - 1)] = 0
        s.taken[i >> 6] &= ~(<uint64_t>1 << (i & 63))
        block_bit_clear(s.cache_only, i)
    s.counters.words += 3 * nr
    slots_free_locked(&s.slots, ci, nr)
    # The header's cluster and the device's last are never empty: what counts is that no block is used.
    if ci.count == unusable(s, block >> CLUSTER_SHIFT):
        s.rmap[block >> CLUSTER_SHIFT] = NULL
        add64(&s.tables, -1)
    else:
        table = NULL
    spin_unlock(&ci.lock)
    free(table)


cdef inline int unusable(vswap_t *s, uint64_t cluster) noexcept nogil:
    cdef uint64_t end = (cluster + 1) << CLUSTER_SHIFT
    return (cluster == 0) + (end - s.slots.nslots if end > s.slots.nslots else 0)


cdef void block_free(vswap_t *s, uint32_t *blocks, int n) noexcept nogil:
    """Free *n* blocks, in one step where they follow each other in a cluster."""
    cdef int i = 0, j
    while i < n:
        j = i + 1
        while j < n and blocks[j] == blocks[i] + <uint32_t>(j - i) and blocks[j] & (CLUSTER - 1):
            j += 1
        block_free_run(s, blocks[i], j - i)
        i = j


# ---- virtual clusters

cdef inline uint64_t cluster_bytes(vswap_t *s) noexcept nogil:
    return KMALLOC if s.rounding else sizeof(vcluster_t)


cdef inline void list_locked(vswap_t *s) noexcept nogil:
    spin_lock(&s.list_lock)
    s.counters.locks += 1
    s.counters.list_locks += 1


cdef inline void cluster_locked(vswap_t *s, vcluster_t *vc) noexcept nogil:
    spin_lock(&vc.lock)
    s.counters.locks += 1


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
    cdef vcluster_t *vc = <vcluster_t *>calloc(1, cluster_bytes(s))
    cdef int err
    if vc == NULL:
        return NULL
    vc.roomy = vc.empty = ~<uint64_t>0
    vc.order = order
    vc.place = ON_CPU
    cluster_locked(s, vc)
    spin_lock(&s.map.lock)
    s.counters.locks += 1
    vc.id = radix_first_free(&s.map)
    err = radix_insert(&s.map, vc.id, <uint64_t>vc)
    spin_unlock(&s.map.lock)
    if err < 0:
        free(vc)
        return NULL
    add64(&s.vclusters, 1)
    s.counters.lookups += 1
    s.counters.words += 1
    return vc


cdef void cluster_drop(vswap_t *s, vcluster_t *vc) noexcept nogil:
    """Take an empty cluster that is on no list out of the map and free it."""
    spin_lock(&s.map.lock)
    s.counters.locks += 1
    s.counters.lookups += 1
    s.counters.words += 1
    radix_remove(&s.map, vc.id)
    spin_unlock(&s.map.lock)
    if s.cpu.last == vc:
        s.cpu.last = NULL
    add64(&s.vclusters, -1)
    free(vc)


cdef vcluster_t *partial_pop(vswap_t *s, int order) noexcept nogil:
    """The first partly used cluster of that order that nobody has locked, locked and the CPU's; or NULL."""
    cdef vlist_t *list = &s.partial[order]
    cdef vcluster_t *vc
    list_locked(s)
    vc = list.head
    while vc != NULL and not spin_trylock(&vc.lock):
        vc = vc.next
    if vc != NULL:
        s.counters.locks += 1
        partial_unlink(list, vc)
        vc.place = ON_CPU
    spin_unlock(&s.list_lock)
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
    spin_unlock(&s.list_lock)


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
            spin_unlock(&vc.lock)
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
            spin_unlock(&vc.lock)
            return NULL
    return vc


cdef void release(vswap_t *s, vcluster_t *vc, int off, int nr) noexcept nogil:
    """Free those of the *nr* descriptors that nobody uses or caches, and their blocks; unlocks *vc*."""
    cdef uint32_t blocks[CLUSTER]
    cdef desc_t *desc
    cdef int i, n = 0, freed = 0
    for i in range(off, off + nr):
        desc = &vc.desc[i]
        if desc.count or desc.flags & CACHED:
            continue
        if desc.flags & SWAPFILE:
            blocks[n] = desc.backend
            n += 1
        memset(desc, 0, sizeof(desc_t))
        freed += 1
    if freed == 0:
        spin_unlock(&vc.lock)
        return
    s.counters.words += freed
    vc.count -= freed
    cluster_summarise(vc, off, nr)
    add64(&s.entries, -freed)
    settle(s, vc)
    block_free(s, blocks, n)


cdef void settle(vswap_t *s, vcluster_t *vc) noexcept nogil:
    """Where a cluster goes after slots of it became free; unlocks it."""
    if vc.place == ON_CPU:
        spin_unlock(&vc.lock)
        return
    if vc.count:
        if vc.place == OFF:
            partial_append(s, vc)
        spin_unlock(&vc.lock)
        return
    if vc.place == ON_PARTIAL:
        list_locked(s)
        partial_unlink(&s.partial[vc.order], vc)
        spin_unlock(&s.list_lock)
    spin_unlock(&vc.lock)
    cluster_drop(s, vc)


# ---- the protocol

cdef int vswap_alloc(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef int off = 0, i, nr = 1 << order
    cdef vcluster_t *vc
    cdef desc_t *desc
    s.counters.ops += 1
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
    spin_unlock(&vc.lock)
    add64(&s.entries, nr)
    s.counters.words += nr
    return 0


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
            spin_unlock(&vc.lock)
            return -EOVERFLOW
    for i in range(off, off + nr):
        desc = &vc.desc[i]
        if desc.count == 0 and desc.flags & SWAPFILE:
            block_bit_clear(s.cache_only, desc.backend)
            s.counters.words += 1
        desc.count += 1
    s.counters.words += nr
    spin_unlock(&vc.lock)
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
            spin_unlock(&vc.lock)
            return -ENOENT
    for i in range(off, off + nr):
        desc = &vc.desc[i]
        desc.count -= 1
        if desc.count == 0 and desc.flags & CACHED and desc.flags & SWAPFILE:
            block_bit_set(s.cache_only, desc.backend)
            s.counters.words += 1
    s.counters.words += nr
    release(s, vc, off, nr)
    return 0


cdef int place_blocks(vswap_t *s, uint64_t entry, int nr, uint32_t *blocks) noexcept nogil:
    """Blocks for nr entries without one: a run, else single ones; -ENOSPC and none taken when there are too few."""
    cdef int64_t block = -1
    cdef int i, n
    if nr & (nr - 1) == 0:
        block = block_alloc(s, ctz64(nr), entry)
    if block >= 0:
        for i in range(nr):
            blocks[i] = block + i
        return 0
    if nr > 1:
        add64(&s.scattered, 1)
        for n in range(nr):
            i = (nr - n) % nr       # 0, nr - 1, nr - 2, ..., 1: the order in which reclaim writes a split folio
            block = block_alloc(s, 0, entry + i)
            if block < 0:
                break
            blocks[i] = block
    if block < 0 and nr > 1:
        for i in range(n):
            block_free(s, &blocks[(nr - i) % nr], 1)
    return -ENOSPC if block < 0 else 0


cdef void set_backends(vswap_t *s, vcluster_t *vc, int off, int nr, uint32_t *blocks) noexcept nogil:
    cdef desc_t *desc
    cdef int i
    cluster_locked(s, vc)
    for i in range(nr):
        desc = &vc.desc[off + i]
        desc.backend = blocks[i]
        desc.flags |= SWAPFILE
        if desc.count == 0:
            block_bit_set(s.cache_only, blocks[i])
            s.counters.words += 1
    s.counters.words += nr
    spin_unlock(&vc.lock)


cdef int vswap_writeout(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef uint32_t blocks[CLUSTER]
    cdef int i, off = entry & (CLUSTER - 1), first = -1, last = -1, placed = 0
    cdef vcluster_t *vc
    s.counters.ops += 1
    vc = entry_lock(s, entry, nr, True)
    if vc == NULL:
        return -ENOENT
    for i in range(off, off + nr):
        if not vc.desc[i].flags & CACHED:
            spin_unlock(&vc.lock)
            return -ENOENT
        if vc.desc[i].flags & SWAPFILE:
            placed += 1
        else:
            first = i - off if first < 0 else first
            last = i - off
    spin_unlock(&vc.lock)
    if placed == nr:
        return 0
    if last - first + 1 + placed > nr:
        return scattered_writeout(s, vc, entry, nr)
    i = place_blocks(s, entry + first, last - first + 1, blocks)
    if i == 0:
        set_backends(s, vc, off + first, last - first + 1, blocks)
    return i


cdef int scattered_writeout(vswap_t *s, vcluster_t *vc, uint64_t entry, int nr) noexcept nogil:
    """Entries with and without blocks by turns: each of the latter gets a single one, or none does."""
    cdef uint32_t blocks[CLUSTER]
    cdef int i, off = entry & (CLUSTER - 1)
    cdef int64_t block = 0
    memset(blocks, 0, sizeof(blocks))
    for i in range(nr):
        if not vc.desc[off + i].flags & SWAPFILE:
            block = block_alloc(s, 0, entry + i)
            if block < 0:
                break
            blocks[i] = block
    for i in range(nr):
        if blocks[i] and block < 0:
            block_free(s, &blocks[i], 1)
        elif blocks[i]:
            set_backends(s, vc, off + i, 1, &blocks[i])
    return -ENOSPC if block < 0 else 0


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
    spin_unlock(&vc.lock)
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
            spin_unlock(&vc.lock)
            return err
    for i in range(off, off + nr):
        vc.desc[i].cache = pfn
        vc.desc[i].flags |= CACHED
    s.counters.words += nr
    spin_unlock(&vc.lock)
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
            spin_unlock(&vc.lock)
            return -ENOENT
    for i in range(off, off + nr):
        vc.desc[i].cache = shadow
        vc.desc[i].flags &= ~CACHED
    s.counters.words += nr
    release(s, vc, off, nr)
    return 0


cdef uint64_t vswap_used(void *d) noexcept nogil:
    return slots_used(&(<vswap_t *>d).slots)


cdef uint64_t vswap_size(void *d) noexcept nogil:
    return (<vswap_t *>d).slots.size


cdef inline uint64_t bitmap_bytes(vswap_t *s) noexcept nogil:
    return s.slots.nclusters * CLUSTER // 8


cdef uint64_t vswap_bytes(void *d) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    return (
        <uint64_t>load64(&s.vclusters) * cluster_bytes(s) + slab_bytes(&s.slab) + 2 * bitmap_bytes(s)
        + <uint64_t>load64(&s.tables) * CLUSTER * 8 + slots_bytes(&s.slots) + s.slots.nclusters * sizeof(uint64_t *)
    )


cdef design_ops_t VSWAP_OPS = [
    vswap_alloc, vswap_dup, vswap_put, vswap_writeout, vswap_cache_get, vswap_cache_add, vswap_cache_del, vswap_used,
    vswap_size, vswap_bytes,
]


# ---- from scratch

cdef const char *desc_fault(vswap_t *s, desc_t *desc, uint64_t entry) noexcept nogil:
    """What is wrong with a descriptor, or NULL."""
    cdef uint64_t block = desc.backend
    cdef bint only
    if desc.flags == 0:
        if desc.backend or desc.cache or desc.count or desc.memcg:
            return b"free, but not empty"
        return NULL
    if not desc.flags & USED or (desc.count == 0 and not desc.flags & CACHED):
        return b"in use without users and not cached"
    if not desc.flags & SWAPFILE:
        if block:
            return b"a backend without its type"
        return NULL
    if block == 0 or block >= s.slots.nslots or not (s.taken[block >> 6] >> (block & 63)) & 1:
        return b"its block is not taken"
    if s.rmap[block >> CLUSTER_SHIFT] == NULL or s.rmap[block >> CLUSTER_SHIFT][block & (CLUSTER - 1)] != entry:
        return b"the reverse map does not lead back to it"
    only = (s.cache_only[block >> 6] >> (block & 63)) & 1
    if only != (desc.count == 0):
        return b"the cache-only bit is wrong"
    return NULL


cdef const char *cluster_fault(vswap_t *s, vcluster_t *vc, uint64_t *where, uint64_t *entries, uint64_t *blocks) noexcept nogil:
    """The first thing that is wrong with a virtual cluster, or NULL; adds up entries and blocks."""
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
        blocks[0] += (vc.desc[i].flags & SWAPFILE) != 0
    entries[0] += used
    if used != vc.count or vc.lock or (vc.count == 0 and vc.place != ON_CPU):
        return b"the cluster's count, lock or place is wrong"
    if vc.place == ON_CPU and s.cpu.cluster[vc.order] != vc:
        return b"a CPU's cluster that the CPU does not know"
    return NULL


cdef const char *map_fault(vswap_t *s, radix_node_t *node, uint64_t *where, uint64_t *sums) noexcept nogil:
    """The first thing that is wrong under *node*, or NULL; sums: clusters, entries, blocks, on lists."""
    cdef const char *fault
    cdef vcluster_t *vc
    cdef int i
    for i in range(64):
        if node.slot[i] == 0:
            continue
        if radix_is_node(node.slot[i]):
            fault = map_fault(s, radix_node(node.slot[i]), where, sums)
        else:
            vc = <vcluster_t *>node.slot[i]
            sums[0] += 1
            sums[3] += vc.place == ON_PARTIAL
            fault = cluster_fault(s, vc, where, &sums[1], &sums[2])
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
    cdef uint64_t sums[4]
    cdef const char *fault = NULL
    cdef uint64_t i
    cdef int64_t tables = 0
    memset(sums, 0, sizeof(sums))
    if not slots_sound(&s.slots):
        return b"the block allocator's lists or counts are damaged"
    if radix_nodes(&s.map) != <int64_t>s.slab.nodes:
        return b"the map of virtual clusters is damaged"
    if radix_is_node(s.map.head):
        fault = map_fault(s, radix_node(s.map.head), where, sums)
    if fault != NULL:
        return fault
    where[0] = 0
    if <int64_t>sums[0] != s.vclusters or <int64_t>sums[1] != s.entries or <int64_t>sums[3] != partial_length(s):
        return b"clusters, entries or lists do not add up"
    if sums[2] != slots_used(&s.slots):
        return b"the blocks in use are not those of the descriptors"
    for i in range(s.slots.nclusters):
        tables += s.rmap[i] != NULL
        if (s.rmap[i] == NULL) != (s.slots.ci[i].count == unusable(s, i)):
            return b"a reverse map without blocks, or blocks without one"
    if tables != s.tables:
        return b"the number of reverse maps is wrong"
    return NULL


cdef void map_free(radix_node_t *node) noexcept nogil:
    """Free the virtual clusters under *node*."""
    cdef int i
    for i in range(64):
        if radix_is_node(node.slot[i]):
            map_free(radix_node(node.slot[i]))
        else:
            free(<void *>node.slot[i])


cdef class VswapDesign(Design):
    """Virtual swap space v3 to v6, with a swapfile behind it.

    Parameters
    ----------
    slots : int
        Blocks of 4 KiB on the device, the header's included, 1 to 2^32 - 1. Entries are not bounded by it.
    lookup_cache : bool
        Look at the last cluster before the xarray, as v6 does; v3 to v5 do not.
    rounding : bool
        A cluster takes the 16 KiB that kmalloc has for 12,352 bytes, as in v3 to v5.

    Raises
    ------
    SwapValueError
        *slots* is out of range.
    MemoryError
    """

    def __cinit__(self, slots, lookup_cache=True, rounding=False):
        cdef uint64_t n = checked_slots(slots), i
        cdef vswap_t *s = <vswap_t *>calloc(1, sizeof(vswap_t))
        if s == NULL:
            raise MemoryError
        self.state = s
        self.counters = &s.counters
        s.lookup_cache = lookup_cache
        s.rounding = rounding
        s.map.slab = &s.slab
        s.map.indices = 1
        s.slots.user = s
        s.slots.find = block_find
        s.slots.take = block_take
        if slots_init(&s.slots, n, &s.counters) < 0:
            raise MemoryError
        s.taken = <uint64_t *>calloc(s.slots.nclusters, CLUSTER // 8)
        s.cache_only = <uint64_t *>calloc(s.slots.nclusters, CLUSTER // 8)
        s.rmap = <uint64_t **>calloc(s.slots.nclusters, sizeof(uint64_t *))
        if not (s.taken and s.cache_only and s.rmap):
            raise MemoryError
        block_bit_set(s.taken, 0)
        for i in range(n, s.slots.nclusters * CLUSTER):
            block_bit_set(s.taken, i)
        self.ops = &VSWAP_OPS

    def __init__(self, slots, lookup_cache=True, rounding=False):
        pass

    def __dealloc__(self):
        cdef vswap_t *s = <vswap_t *>self.state
        cdef uint64_t i
        if s == NULL:
            return
        if radix_is_node(s.map.head):
            map_free(radix_node(s.map.head))
            radix_destroy(&s.map, radix_node(s.map.head))
        if s.rmap != NULL:
            for i in range(s.slots.nclusters):
                free(s.rmap[i])
        free(s.rmap)
        free(s.taken)
        free(s.cache_only)
        slab_destroy(&s.slab)
        slots_release(&s.slots)
        free(s)

    @property
    def name(self) -> str:
        """``vswap-24``."""
        return "vswap-24"

    @property
    def entries(self) -> int:
        """Virtual slots in use, with or without a block."""
        return (<vswap_t *>self.state).entries

    @property
    def scattered(self) -> int:
        """Large folios that found no run of blocks and were written page by page."""
        return (<vswap_t *>self.state).scattered

    def lookup(self, entry) -> dict:
        """Return what the descriptor of *entry* says, and its ``block`` (None without); see :meth:`Design.lookup`."""
        cdef vswap_t *s = <vswap_t *>self.state
        cdef vcluster_t *vc = NULL
        cdef uint64_t depth = 0
        cdef desc_t desc
        memset(&desc, 0, sizeof(desc))
        if 0 <= entry <= 0xffffffffffff:
            vc = <vcluster_t *>radix_load(&s.map, <uint64_t>entry >> CLUSTER_SHIFT, &depth)
        if vc != NULL:
            desc = vc.desc[entry % CLUSTER]
        cached = bool(desc.flags & CACHED)
        return {
            "kind": "folio" if cached else "shadow" if desc.flags else "free" if entry >= CLUSTER else "bad",
            "count": desc.count,
            "memcg": desc.memcg,
            "zero": False,
            "pfn": desc.cache if cached else None,
            "shadow": desc.cache if desc.flags and not cached else None,
            "block": desc.backend if desc.flags & SWAPFILE else None,
        }

    def memory(self) -> dict:
        """Return the bytes by kind: descriptors, headers, xarray, reverse map, bitmaps, cluster info, slack."""
        cdef vswap_t *s = <vswap_t *>self.state
        cdef uint64_t clusters = s.vclusters
        return {
            "descriptors": clusters * CLUSTER * sizeof(desc_t),
            "headers": clusters * (sizeof(vcluster_t) - CLUSTER * sizeof(desc_t)),
            "xarray_nodes": s.slab.nodes * sizeof(radix_node_t),
            "slab_slack": slab_slack(&s.slab),
            "rounding": clusters * (cluster_bytes(s) - sizeof(vcluster_t)),
            "reverse_map": s.tables * CLUSTER * 8,
            "bitmaps": 2 * bitmap_bytes(s),
            "cluster_info": slots_bytes(&s.slots) + s.slots.nclusters * sizeof(uint64_t *),
            "total": vswap_bytes(s),
        }

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
        if self.memory()["total"] != sum(v for k, v in self.memory().items() if k != "total"):
            raise CheckError(f"vswap-24: the kinds of memory do not add up to {self.bytes}: {self.memory()}")
