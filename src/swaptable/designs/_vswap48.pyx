# The first virtual swap space: a descriptor from a slab for every virtual slot, found through one xarray.
# May import words, locks, the protocol, the blocks behind virtual slots and the radix tree.
# Used by the design files beside it: vswap_48, vswap_64.
#
# The xarray holds a pointer for each entry, so that every operation on a folio descends it once for each page; each
# descriptor has its own lock. Single numbers are the lowest free, by the xarray's own marks; a folio's run is the next
# that is free from a cursor on, which begins again when half as many numbers have been given back as were ever used.
# A block leads back to its entry through a second xarray. No descriptor outlives its entry.
# Inferred, not published: all of that but the size of a descriptor, that there is one xarray, and that the swap cache
# and zswap's index are in it; from v3 on the reverse map is a table and slots are in clusters (`vswap-24`).
"""Virtual swap space RFC v1 and v2: 64- and 48-byte descriptors in an xarray."""

from libc.errno cimport EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, EOVERFLOW
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from swaptable.designs._blocks cimport (
    OWNER_XARRAY, backing_count, backing_fault, backing_free, backing_place, backing_release, backing_size,
    backing_swapoff, backing_t, backing_transfer, backing_used, bits_bytes, blocks_init, code_fault, code_place, code_tier,
    front_t,
)
from swaptable.designs._count cimport counted_lock, counted_unlock
from swaptable.designs._design cimport (
    PEEK_BAD, PEEK_FOLIO, PEEK_FREE, PEEK_SHADOW, POOL, Design, counters_t, design_ops_t, host_t, peek_t, place_t,
)
from swaptable.designs._radix cimport (
    radix_first_free, radix_init, radix_insert, radix_is_node, radix_last, radix_load, radix_node, radix_node_t, radix_nodes,
    radix_release, radix_remove, radix_run, radix_t, slab_destroy, slab_give, slab_init, slab_object, slab_slack, slab_t,
)
from swaptable.designs._slots cimport CLUSTER, ORDERS, slots_bytes

from swaptable.designs._design import checked_backend, checked_devices, checked_slots
from swaptable.errors import CheckError

cdef extern from *:
    const uint32_t COUNT_LAST "0xffffffffu"

cdef enum need_t:
    IN_USE = 0
    USERS = 1
    CACHED = 2
    UNCACHED = 3


cdef struct desc_t:         # the first 32 bytes; the rest of 48 or 64 is room for what the series had and this does not
    uint64_t backend        # the code of a place, 0 for none
    uint64_t cache          # pfn or shadow
    uint64_t entry
    uint32_t count
    uint16_t memcg
    uint8_t cached
    uint8_t lock

cdef struct vswap_t:
    counters_t counters
    backing_t backing
    radix_t map             # entry -> descriptor
    slab_t nodes
    slab_t descs
    uint64_t slots          # what a device has, and the most entries without one
    int64_t entries
    uint64_t top            # no number from here on was ever given out
    uint64_t given_back     # since the cursors began
    uint64_t next[ORDERS]


# ---- numbers

cdef bint run_is_free(vswap_t *s, uint64_t index, int nr) noexcept nogil:
    cdef uint64_t *slot
    cdef int run = 0, i, end
    while nr > 0:
        slot = radix_run(&s.map, index, &run)
        end = min(run, nr)
        s.counters.scanned += 1
        for i in range(end if slot != NULL else 0):
            s.counters.scanned += 1
            if slot[i]:
                return False
        index += end
        nr -= end
    return True


cdef uint64_t number_find(vswap_t *s, int order) noexcept nogil:
    """The first of 2^order free numbers, aligned."""
    cdef uint64_t nr = <uint64_t>1 << order, at
    if order == 0:
        s.counters.visited += 1
        return radix_first_free(&s.map)
    if s.given_back >= max(s.top // 2, <uint64_t>CLUSTER):
        s.given_back = 0
        memset(s.next, 0, sizeof(s.next))
    at = max(s.next[order], nr)
    s.counters.visited += 1
    while at < s.top and not run_is_free(s, at, nr):
        at += nr
    s.next[order] = at + nr
    return at


# ---- descriptors

cdef inline desc_t *desc_get(vswap_t *s, uint64_t entry) noexcept nogil:
    s.counters.lookups += 1
    s.counters.depth += 1
    return <desc_t *>radix_load(&s.map, entry, &s.counters.depth)


cdef inline desc_t *desc_peek(vswap_t *s, uint64_t entry) noexcept nogil:
    """Not counted."""
    cdef uint64_t depth = 0
    return <desc_t *>radix_load(&s.map, entry, &depth)


cdef int gather(vswap_t *s, uint64_t entry, int nr, int need, desc_t **descs) noexcept nogil:
    """The descriptors of a folio's entries; the error of the first that is not as *need* says, or 0."""
    cdef desc_t *desc
    cdef int i
    if nr < 1 or nr > CLUSTER:
        return -EINVAL
    for i in range(nr):
        desc = desc_get(s, entry + i)
        if desc == NULL or (need == USERS and desc.count == 0) or (need == CACHED and not desc.cached):
            return -ENOENT
        if need == UNCACHED and desc.cached:
            return -EEXIST
        descs[i] = desc
    return 0


cdef void drop_numbers(vswap_t *s, desc_t **descs, int nr) noexcept nogil:
    """Entries are free: out of the xarray, the descriptors to the slab. Their places are the caller's to free."""
    cdef int i
    if nr == 0:
        return
    counted_lock(&s.counters, &s.map.lock)
    for i in range(nr):
        radix_remove(&s.map, descs[i].entry)
    s.counters.words += nr
    counted_unlock(&s.counters, &s.map.lock)
    for i in range(nr):
        slab_give(&s.descs, descs[i])
    s.entries -= nr
    s.given_back += nr


cdef void free_unused(vswap_t *s, desc_t **descs, int nr) noexcept nogil:
    """Those of *nr* entries that nobody uses or caches become free."""
    cdef uint64_t codes[CLUSTER]
    cdef desc_t *gone[CLUSTER]
    cdef int i, n = 0, placed = 0
    for i in range(nr):
        if descs[i].count or descs[i].cached:
            continue
        gone[n] = descs[i]
        n += 1
        if descs[i].backend:
            codes[placed] = descs[i].backend
            placed += 1
    drop_numbers(s, gone, n)
    backing_free(&s.backing, codes, placed)


# ---- the protocol

cdef int v_alloc(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef desc_t *descs[CLUSTER]
    cdef int i, nr = 1 << order, made = 0, stored = 0
    cdef uint64_t first
    s.counters.ops += 1
    if s.backing.ndev == 0 and <uint64_t>s.entries + nr > s.slots:
        return -ENOSPC
    for i in range(nr):
        descs[i] = <desc_t *>slab_object(&s.descs)
        if descs[i] == NULL:
            break
        made += 1
    counted_lock(&s.counters, &s.map.lock)
    first = number_find(s, order)
    for i in range(made if made == nr else 0):
        descs[i].cache, descs[i].memcg, descs[i].cached, descs[i].entry = pfn, memcg, True, first + i
        if radix_insert(&s.map, first + i, <uint64_t>descs[i]) < 0:
            break
        stored += 1
    if stored < nr:
        for i in range(stored):
            radix_remove(&s.map, first + i)
    s.counters.words += 2 * stored
    counted_unlock(&s.counters, &s.map.lock)
    if stored < nr:
        for i in range(made):
            slab_give(&s.descs, descs[i])
        return -ENOMEM
    s.entries += nr
    s.top = max(s.top, first + nr)
    entry[0] = first
    return 0


cdef int v_dup(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef desc_t *descs[CLUSTER]
    cdef int i, err = gather(s, entry, nr, IN_USE, descs)
    s.counters.ops += 1
    for i in range(nr if err == 0 else 0):
        if descs[i].count == COUNT_LAST:
            return -EOVERFLOW
    for i in range(nr if err == 0 else 0):
        counted_lock(&s.counters, &descs[i].lock)
        descs[i].count += 1
        s.counters.words += 1
        counted_unlock(&s.counters, &descs[i].lock)
    return err


cdef int v_put(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef desc_t *descs[CLUSTER]
    cdef int i, err = gather(s, entry, nr, USERS, descs)
    s.counters.ops += 1
    if err:
        return err
    for i in range(nr):
        counted_lock(&s.counters, &descs[i].lock)
        descs[i].count -= 1
        s.counters.words += 1
        counted_unlock(&s.counters, &descs[i].lock)
    free_unused(s, descs, nr)
    return 0


cdef int v_writeout(void *d, uint64_t entry, int nr) noexcept nogil:
    """Places for those that have none: all at once where they follow each other, else one by one."""
    cdef vswap_t *s = <vswap_t *>d
    cdef desc_t *descs[CLUSTER]
    cdef uint64_t codes[CLUSTER]
    cdef int i = 0, j, n, err = gather(s, entry, nr, CACHED, descs)
    s.counters.ops += 1
    while i < nr and err == 0:
        n = 1
        while descs[i].backend == 0 and i + n < nr and descs[i + n].backend == 0:
            n += 1
        if descs[i].backend == 0:
            err = backing_place(&s.backing, entry + i, n, &codes[i])
            for j in range(i, i + n if err == 0 else i):
                counted_lock(&s.counters, &descs[j].lock)
                descs[j].backend = codes[j]
                s.counters.words += 1
                counted_unlock(&s.counters, &descs[j].lock)
        i += n
    for i in range(nr if err == 0 else 0):
        codes[i] = descs[i].backend
    if err == 0:
        backing_count(&s.backing, codes, nr)
    return err


cdef int64_t v_cache_get(void *d, uint64_t entry) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef desc_t *desc = desc_get(s, entry)
    s.counters.ops += 1
    return <int64_t>desc.cache if desc != NULL and desc.cached else -1


cdef int cache_set(vswap_t *s, desc_t **descs, int nr, uint64_t value, bint cached) noexcept nogil:
    cdef int i
    for i in range(nr):
        counted_lock(&s.counters, &descs[i].lock)
        descs[i].cache = value
        descs[i].cached = cached
        s.counters.words += 1
        counted_unlock(&s.counters, &descs[i].lock)
    return 0


cdef int v_cache_add(void *d, uint64_t entry, int nr, uint64_t pfn) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef desc_t *descs[CLUSTER]
    cdef int err = gather(s, entry, nr, UNCACHED, descs)
    s.counters.ops += 1
    return err if err else cache_set(s, descs, nr, pfn, True)


cdef int v_cache_del(void *d, uint64_t entry, int nr, uint64_t shadow) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef desc_t *descs[CLUSTER]
    cdef int err = gather(s, entry, nr, CACHED, descs)
    s.counters.ops += 1
    if err:
        return err
    cache_set(s, descs, nr, shadow, False)
    free_unused(s, descs, nr)
    return 0


cdef bint by_blocks(vswap_t *s) noexcept nogil:
    return s.backing.ndev > 0 and not s.backing.zswap


cdef uint64_t v_used(void *d) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    return backing_used(&s.backing) if by_blocks(s) else <uint64_t>s.entries


cdef uint64_t v_size(void *d) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    return backing_size(&s.backing) if by_blocks(s) else s.slots


cdef uint64_t v_bytes(void *d) noexcept nogil:
    return (<vswap_t *>d).counters.now


cdef uint64_t v_wasted(void *d) noexcept nogil:
    return 0


# ---- where the data is

cdef int v_locate(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    cdef desc_t *desc
    cdef int i
    for i in range(nr):
        desc = desc_peek(<vswap_t *>d, entry + i)
        if desc == NULL:
            return -ENOENT
        code_place(desc.backend, &where[i])
    return 0


cdef int v_read(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef desc_t *descs[CLUSTER]
    cdef uint64_t codes[CLUSTER]
    cdef int i, taken = 0, err = gather(s, entry, nr, CACHED, descs)
    s.counters.ops += 1
    if err:
        return err
    for i in range(nr):
        counted_lock(&s.counters, &descs[i].lock)
        codes[i] = descs[i].backend
        code_place(codes[i], &where[i])
        if where[i].tier == POOL:
            descs[i].backend = 0
            s.counters.words += 1
            backing_free(&s.backing, &codes[i], 1)
            taken += 1
        counted_unlock(&s.counters, &descs[i].lock)
    backing_count(&s.backing, codes, nr)
    return taken > 0


cdef void v_peek(void *d, uint64_t entry, peek_t *said) noexcept nogil:
    cdef desc_t *desc = desc_peek(<vswap_t *>d, entry)
    said.kind, said.count, said.memcg, said.zero, said.value = PEEK_FREE if entry else PEEK_BAD, 0, 0, False, 0
    if desc != NULL:
        said.kind = PEEK_FOLIO if desc.cached else PEEK_SHADOW
        said.count = desc.count
        said.memcg = desc.memcg
        said.value = desc.cache


cdef int v_hops(void *d, uint64_t entry) noexcept nogil:
    return -ENOENT if desc_peek(<vswap_t *>d, entry) == NULL else 1


cdef int front_get(void *d, uint64_t entry, uint64_t *code, int64_t *pfn) noexcept nogil:
    cdef desc_t *desc = desc_get(<vswap_t *>d, entry)
    if desc == NULL:
        return -ENOENT
    code[0] = desc.backend
    pfn[0] = <int64_t>desc.cache if desc.cached else -1
    return 0


cdef int front_set(void *d, uint64_t entry, uint64_t code) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef desc_t *desc = desc_get(s, entry)
    if desc == NULL:
        return -ENOENT
    counted_lock(&s.counters, &desc.lock)
    desc.backend = code
    s.counters.words += 1
    counted_unlock(&s.counters, &desc.lock)
    return 0


cdef int64_t front_next(void *d, uint64_t entry, int tier) noexcept nogil:
    cdef vswap_t *s = <vswap_t *>d
    cdef uint64_t last = radix_last(&s.map)
    cdef desc_t *desc
    while entry <= last:
        desc = desc_peek(s, entry)
        s.counters.scanned += 1
        if desc != NULL and desc.backend and code_tier(desc.backend) == tier:
            return entry
        entry += 1
    return -1


cdef int64_t v_transfer(void *d, const uint64_t *entries, int64_t n, int tier, const host_t *host) noexcept nogil:
    return backing_transfer(&(<vswap_t *>d).backing, &FRONT, d, entries, n, tier, host)


cdef int v_swapoff(void *d, int tier, const host_t *host) noexcept nogil:
    return backing_swapoff(&(<vswap_t *>d).backing, &FRONT, d, tier, host)


cdef design_ops_t OPS
OPS.alloc = v_alloc
OPS.dup = v_dup
OPS.put = v_put
OPS.writeout = v_writeout
OPS.cache_get = v_cache_get
OPS.cache_add = v_cache_add
OPS.cache_del = v_cache_del
OPS.used = v_used
OPS.size = v_size
OPS.bytes = v_bytes
OPS.read = v_read
OPS.locate = v_locate
OPS.peek = v_peek
OPS.hops = v_hops
OPS.transfer = v_transfer
OPS.swapoff = v_swapoff
OPS.wasted = v_wasted

cdef front_t FRONT
FRONT.get = front_get
FRONT.set = front_set
FRONT.next = front_next
FRONT.ops = &OPS


# ---- from scratch

cdef const char *map_fault(vswap_t *s, radix_node_t *node, uint64_t *where, uint64_t *tiers, int64_t *entries) noexcept nogil:
    """The first thing that is wrong with a descriptor under *node*, or NULL; adds up entries, and data by tier."""
    cdef const char *fault
    cdef desc_t *desc
    cdef int i
    for i in range(64):
        fault = NULL
        if radix_is_node(node.slot[i]):
            fault = map_fault(s, radix_node(node.slot[i]), where, tiers, entries)
        elif node.slot[i]:
            desc = <desc_t *>node.slot[i]
            where[0] = desc.entry
            entries[0] += 1
            if desc.lock or (desc.count == 0 and not desc.cached):
                return b"locked, or in use without users and not cached"
            if desc_peek(s, desc.entry) != desc:
                return b"the xarray does not lead to it"
            fault = code_fault(&s.backing, desc.backend, desc.entry, desc.count == 0) if desc.backend else NULL
            if desc.backend:
                tiers[code_tier(desc.backend)] += 1
        if fault != NULL:
            return fault
    return NULL


cdef const char *vswap_fault(vswap_t *s, uint64_t *where) noexcept nogil:
    """The first thing that is wrong, or NULL."""
    cdef uint64_t tiers[8]
    cdef uint64_t nodes = 0
    cdef int64_t entries = 0, n = radix_nodes(&s.map)
    cdef const char *fault = NULL
    memset(tiers, 0, sizeof(tiers))
    if n < 0:
        return b"the xarray is damaged"
    if radix_is_node(s.map.head):
        fault = map_fault(s, radix_node(s.map.head), where, tiers, &entries)
    if fault == NULL:
        fault = backing_fault(&s.backing, tiers, &nodes)
    if fault != NULL:
        return fault
    if entries != s.entries or <uint64_t>entries != s.descs.nodes:
        return b"entries or descriptors do not add up"
    if nodes + n != s.nodes.nodes:
        return b"nodes in use are not those of the xarrays"
    if s.counters.held:
        return b"a lock is held"
    return NULL


cdef void descs_free(vswap_t *s, radix_node_t *node) noexcept nogil:
    cdef int i
    for i in range(64):
        if radix_is_node(node.slot[i]):
            descs_free(s, radix_node(node.slot[i]))
        elif node.slot[i]:
            slab_give(&s.descs, <void *>node.slot[i])


cdef class DescriptorDesign(Design):
    """Virtual swap space with a descriptor for each entry in an xarray.

    Parameters
    ----------
    slots : int
        Blocks of 4 KiB on each device, the header's included, 1 to 2^32 - 1; entries where there is no device.
    size : int
        Bytes of a descriptor, 48 or 64.
    backend : str
        ``"disk"``, or ``"zswap"``: what is written goes to the compressed pool.
    devices : int, optional
        0 to 4. Default: 1 for disk, none for zswap.

    Raises
    ------
    SwapValueError
        *slots*, *backend* or *devices* is out of range.
    MemoryError
    """

    def __cinit__(self, *args, **kwargs):
        cdef vswap_t *s = <vswap_t *>calloc(1, sizeof(vswap_t))
        if s == NULL:
            raise MemoryError
        self.state = s
        self.counters = &s.counters

    def __init__(self, slots, *, size=48, backend="disk", devices=None):
        cdef vswap_t *s = <vswap_t *>self.state
        cdef uint64_t n = checked_slots(slots)
        cdef bint zswap = checked_backend(backend) == "zswap"
        cdef int i, count = checked_devices(not zswap if devices is None else devices, not zswap)
        if self.ops != NULL:
            raise TypeError("a design is made once")
        s.slots = n
        slab_init(&s.nodes, sizeof(radix_node_t), &s.counters)
        slab_init(&s.descs, size, &s.counters)
        radix_init(&s.map, &s.nodes)
        s.map.indices = 1
        s.backing.counters = &s.counters
        s.backing.zswap = zswap
        for i in range(count):
            s.backing.ndev += 1
            if blocks_init(&s.backing.dev[i], n, OWNER_XARRAY, False, False, &s.nodes, &s.counters) < 0:
                raise MemoryError
        self.ops = &OPS

    def __dealloc__(self):
        cdef vswap_t *s = <vswap_t *>self.state
        if s == NULL:
            return
        if s.nodes.counters != NULL:
            if radix_is_node(s.map.head):
                descs_free(s, radix_node(s.map.head))
            radix_release(&s.map)
            backing_release(&s.backing)
            slab_destroy(&s.descs)
            slab_destroy(&s.nodes)
        free(s)

    @property
    def scattered(self) -> int:
        """Large folios that found no run of blocks and were written page by page."""
        return (<vswap_t *>self.state).backing.scattered

    def memory(self) -> dict:
        """Return the bytes by kind, and their "total"."""
        cdef vswap_t *s = <vswap_t *>self.state
        cdef int i
        kinds = dict.fromkeys(KINDS, 0)
        kinds["descriptors"] = s.descs.nodes * s.descs.size
        kinds["xarray_nodes"] = radix_nodes(&s.map) * sizeof(radix_node_t)
        kinds["slab_slack"] = slab_slack(&s.nodes) + slab_slack(&s.descs)
        for i in range(s.backing.ndev):
            if s.backing.dev[i].on:
                kinds["device_cluster_info"] += slots_bytes(&s.backing.dev[i].slots)
                kinds["bitmaps"] += bits_bytes(&s.backing.dev[i])
                kinds["reverse_map"] += radix_nodes(&s.backing.dev[i].rmap) * sizeof(radix_node_t)
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
            raise CheckError(f"{self.name}: at {where}: {(<bytes>fault).decode()}")
        if self.memory()["total"] != self.bytes:
            raise CheckError(f"{self.name}: the kinds of memory do not add up to {self.bytes}: {self.memory()}")


KINDS = ("descriptors", "xarray_nodes", "slab_slack", "device_cluster_info", "bitmaps", "reverse_map")
