# The kernel's slot allocator (rules of 6.18): clusters of 512 slots on lists, a cursor per CPU and order.
# May import words, locks, the counters and the radix tree.
# Used by every design: over a swap_map, over tables of words, over the bitmap of blocks behind virtual slots.
#
# Policy only: what a free slot looks like is the user's, behind two functions. Locks as the kernel
# takes them: the CPU's, then a cluster's, then the device's for its lists; from a list a cluster is
# only tried. The CPU's own lock, a local_lock that nobody waits for, is not among the locks counted.
# Verified against allocations recorded on a running kernel.
#
# A cluster's structure is as long as the design that uses it needs (24 to 80 bytes) and is found by its
# number through an index: INDEX_FLAT, an array for the whole device; INDEX_ARRAY, a sparse array that grows
# by a page of structures when no free cluster is left (xswap's, July 2026) and never shrinks; INDEX_XARRAY, a
# structure from kmalloc for each used cluster (the swap table's dynamic clusters, February 2026): there is no
# free list then, an empty cluster is no cluster.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from swaptable._atomic cimport add64, load64, spin_lock, spin_unlock
from swaptable.designs._count cimport (
    charge, counted_alloc, counted_free, counted_lock, counted_trylock, counted_unlock, hold_ends, kmalloc_size, uncharge,
)
from swaptable.designs._design cimport counters_t
from swaptable.designs._radix cimport (
    radix_first_free, radix_init, radix_insert, radix_is_node, radix_last, radix_load, radix_node, radix_node_t,
    radix_release, radix_remove, radix_t, slab_t,
)

cdef extern from *:
    """
    #include <sys/mman.h>
    #define reserve(n) mmap(NULL, (n), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    #define reserve_failed(p) ((p) == MAP_FAILED)
    """
    void *reserve(uint64_t n) noexcept nogil
    bint reserve_failed(void *p) noexcept nogil
    int munmap(void *p, uint64_t n) noexcept nogil

cdef enum:
    CLUSTER = 512
    CLUSTER_SHIFT = 9
    ORDERS = 10
    CHUNK_BYTES = 4096      # by which a sparse array grows

cdef enum slots_index_t:
    INDEX_FLAT = 0
    INDEX_ARRAY = 1
    INDEX_XARRAY = 2

cdef enum ci_flags_t:
    CI_NONE = 0             # off the lists, in the hands of an allocation
    CI_FREE = 1
    CI_NONFULL = 2
    CI_FRAG = 3
    CI_FULL = 4

# Where the structure ends for a design that needs no more of it.
cdef enum:
    CI_PLAIN = 24           # lock 4, count 2, flags 1, order 1, links 16
    CI_TABLE = 32           # phases 1 and 2
    CI_EXTEND = 40          # phase 3
    CI_MEMCG = 48           # phase 4
    CI_SECOND = 56          # with a second table
    CI_DYNAMIC = 80         # the same in an xarray


cdef struct ci_t:
    uint8_t lock
    uint8_t pad[3]
    uint16_t count          # used slots; header, bad and past the end count for ever
    uint8_t flags
    uint8_t order
    ci_t *prev
    ci_t *next
    uint64_t *table         # from here on as far as the design's structures go
    uint32_t *extend
    uint16_t *memcg
    void *second            # a virtual table
    uint32_t index
    uint32_t unused
    uint64_t rcu[2]         # the kernel's head for deferred freeing; room only

cdef struct ci_list_t:
    ci_t *head
    ci_t *tail

cdef struct cursor_t:
    uint8_t lock
    uint64_t next[ORDERS]   # offset after the last allocation, or 0

cdef struct slots_t:
    char *ci                # the array of structures, or NULL
    uint64_t stride         # bytes of one
    uint64_t nslots
    uint64_t nclusters
    uint64_t nexist         # clusters that have a structure now
    uint64_t size           # usable slots
    int64_t used
    int index
    radix_t map             # INDEX_XARRAY
    cursor_t *cpu
    counters_t *counters
    void *user
    # first aligned free run of 2^order in [start, end), or -1; mark nr slots taken for arg, -1 when that fails
    int64_t (*find)(void *user, ci_t *ci, uint64_t start, uint64_t end, int order) noexcept nogil
    int (*take)(void *user, ci_t *ci, uint64_t offset, int nr, uint64_t arg) noexcept nogil
    ci_list_t free
    ci_list_t full
    ci_list_t nonfull[ORDERS]
    ci_list_t frag[ORDERS]
    uint8_t lock


# ---- the index

cdef inline uint64_t slots_per_chunk(slots_t *s) noexcept nogil:
    return CHUNK_BYTES // s.stride


cdef inline ci_t *slots_ci(slots_t *s, uint64_t id) noexcept nogil:
    """The cluster of that number, or NULL; counts the steps down the xarray, where there is one."""
    if s.index == INDEX_XARRAY:
        return <ci_t *>radix_load(&s.map, id, &s.counters.depth)
    if s.index == INDEX_ARRAY:
        return <ci_t *>(s.ci + id // slots_per_chunk(s) * CHUNK_BYTES + id % slots_per_chunk(s) * s.stride) if id < s.nexist else NULL
    return <ci_t *>(s.ci + id * s.stride) if id < s.nclusters else NULL


cdef inline uint64_t slots_id(slots_t *s, ci_t *ci) noexcept nogil:
    cdef uint64_t at
    if s.index == INDEX_XARRAY:
        return ci.index
    at = <char *>ci - s.ci
    if s.index == INDEX_ARRAY:
        return at // CHUNK_BYTES * slots_per_chunk(s) + at % CHUNK_BYTES // s.stride
    return at // s.stride


cdef inline uint64_t slots_end(slots_t *s) noexcept nogil:
    """No cluster with that number or a higher one has a structure."""
    return radix_last(&s.map) + 1 if s.index == INDEX_XARRAY else s.nexist


cdef inline int slots_unusable(slots_t *s, uint64_t id) noexcept nogil:
    """Slots of a cluster that are none: the header, those past the end."""
    cdef uint64_t end = (id + 1) << CLUSTER_SHIFT
    return (id == 0) + (end - s.nslots if end > s.nslots else 0)


cdef inline bint slots_empty(slots_t *s, ci_t *ci) noexcept nogil:
    """True when a cluster in an xarray has nothing left to exist for, another is free."""
    return ci.count == (slots_unusable(s, ci.index) if s.index == INDEX_XARRAY else 0)


# ---- lists

cdef inline ci_list_t *slots_list(slots_t *s, ci_t *ci) noexcept nogil:
    if ci.flags == CI_FREE:
        return &s.free
    if ci.flags == CI_NONFULL:
        return &s.nonfull[ci.order]
    if ci.flags == CI_FRAG:
        return &s.frag[ci.order]
    return &s.full


cdef inline void ci_append(ci_list_t *list, ci_t *ci) noexcept nogil:
    ci.next = NULL
    ci.prev = list.tail
    if list.tail != NULL:
        list.tail.next = ci
    else:
        list.head = ci
    list.tail = ci


cdef inline void ci_unlink(ci_list_t *list, ci_t *ci) noexcept nogil:
    if ci.prev != NULL:
        ci.prev.next = ci.next
    else:
        list.head = ci.next
    if ci.next != NULL:
        ci.next.prev = ci.prev
    else:
        list.tail = ci.prev


cdef inline void slots_move(slots_t *s, ci_t *ci, int flags, int order) noexcept nogil:
    """To the tail of the list of (flags, order). Context: the cluster's lock is held."""
    counted_lock(s.counters, &s.lock)
    s.counters.list_locks += 1
    if ci.flags != CI_NONE:
        ci_unlink(slots_list(s, ci), ci)
    ci.flags = flags
    ci.order = order
    ci_append(slots_list(s, ci), ci)
    counted_unlock(s.counters, &s.lock)


cdef inline ci_t *slots_isolate(slots_t *s, ci_list_t *list) noexcept nogil:
    """The first cluster of *list* that nobody has locked, off the list and locked; or NULL."""
    cdef ci_t *ci
    counted_lock(s.counters, &s.lock)
    s.counters.list_locks += 1
    ci = list.head
    while ci != NULL and not counted_trylock(s.counters, &ci.lock):
        ci = ci.next
    if ci != NULL:
        ci_unlink(list, ci)
        ci.flags = CI_NONE
    counted_unlock(s.counters, &s.lock)
    return ci


# ---- clusters

cdef inline ci_t *slots_lock(slots_t *s, uint64_t offset) noexcept nogil:
    """The cluster of a slot, locked, or NULL when it has no structure."""
    cdef ci_t *ci = slots_ci(s, offset >> CLUSTER_SHIFT)
    if ci != NULL:
        counted_lock(s.counters, &ci.lock)
    return ci


cdef inline void slots_unlock(slots_t *s, ci_t *ci) noexcept nogil:
    counted_unlock(s.counters, &ci.lock)


cdef inline ci_t *slots_create(slots_t *s) noexcept nogil:
    """A new cluster of an xarray, on no list, locked; NULL at the device's end or without memory."""
    cdef ci_t *ci = <ci_t *>counted_alloc(s.counters, s.stride, kmalloc_size(s.stride))
    cdef uint64_t id
    if ci == NULL:
        return NULL
    counted_lock(s.counters, &s.map.lock)
    id = radix_first_free(&s.map)
    ci.index = id
    ci.count = slots_unusable(s, id) if id < s.nclusters else 0
    if id >= s.nclusters or radix_insert(&s.map, id, <uint64_t>ci) < 0:
        counted_unlock(s.counters, &s.map.lock)
        counted_free(s.counters, ci, kmalloc_size(s.stride))
        return NULL
    s.counters.words += 1
    counted_unlock(s.counters, &s.map.lock)
    s.nexist += 1
    counted_lock(s.counters, &ci.lock)
    return ci


cdef inline void slots_destroy(slots_t *s, ci_t *ci) noexcept nogil:
    """An empty cluster of an xarray goes, with its lock, which is held."""
    if ci.flags != CI_NONE:
        counted_lock(s.counters, &s.lock)
        s.counters.list_locks += 1
        ci_unlink(slots_list(s, ci), ci)
        counted_unlock(s.counters, &s.lock)
    counted_lock(s.counters, &s.map.lock)
    s.counters.words += 1
    radix_remove(&s.map, ci.index)
    counted_unlock(s.counters, &s.map.lock)
    s.nexist -= 1
    hold_ends(s.counters)
    counted_free(s.counters, ci, kmalloc_size(s.stride))


cdef inline bint slots_grow(slots_t *s) noexcept nogil:
    """Another page of structures for a sparse array, its clusters onto the lists; False at the device's end."""
    cdef uint64_t id, end = min(s.nclusters, s.nexist + slots_per_chunk(s))
    cdef ci_t *ci
    if s.nexist == end:
        return False
    charge(s.counters, CHUNK_BYTES)
    for id in range(s.nexist, end):
        s.nexist += 1
        ci = slots_ci(s, id)
        ci.count = slots_unusable(s, id)
        ci.flags = CI_FREE if ci.count == 0 else CI_FULL if ci.count == CLUSTER else CI_NONFULL
        ci_append(slots_list(s, ci), ci)
    return True


cdef inline bint slots_relocate(slots_t *s, ci_t *ci) noexcept nogil:
    """Where a cluster goes after a scan, successful or not; True when it is gone, and its lock with it."""
    if slots_empty(s, ci):
        if s.index == INDEX_XARRAY:
            slots_destroy(s, ci)
            return True
        if ci.flags != CI_FREE:
            slots_move(s, ci, CI_FREE, 0)
    elif ci.count == CLUSTER:
        if ci.flags != CI_FULL:
            slots_move(s, ci, CI_FULL, ci.order)
    elif ci.flags != CI_FRAG:
        slots_move(s, ci, CI_FRAG, ci.order)
    return False


cdef inline int64_t slots_scan(slots_t *s, ci_t *ci, uint64_t start, int order, uint64_t arg) noexcept nogil:
    """Take a run from *start* on, set the cursor, put the cluster on its list and unlock it; offset or -1."""
    cdef uint64_t end = min(((start >> CLUSTER_SHIFT) + 1) << CLUSTER_SHIFT, s.nslots)
    cdef uint64_t next = 0
    cdef int64_t found = -1
    cdef int nr = 1 << order
    s.counters.visited += 1
    if ci.count + nr <= CLUSTER:
        found = s.find(s.user, ci, start, end, order)
    if found >= 0 and s.take(s.user, ci, found, nr, arg) < 0:
        found = -1
    if found >= 0:
        if slots_empty(s, ci):
            ci.order = order
        ci.count += nr
        add64(&s.used, nr)
        if ci.count < CLUSTER and <uint64_t>found + 2 * nr <= end:
            next = found + nr
    if not slots_relocate(s, ci):
        slots_unlock(s, ci)
    s.cpu.next[order] = next
    return found


cdef inline int64_t slots_fast(slots_t *s, int order, uint64_t arg) noexcept nogil:
    """From the cursor to the end of its cluster, if that is still one for this order."""
    cdef uint64_t start = s.cpu.next[order]
    cdef ci_t *ci
    if start == 0:
        return -1
    ci = slots_lock(s, start)
    if ci == NULL:
        return -1
    if (ci.flags == CI_NONFULL or ci.flags == CI_FRAG) and (order == 0 or ci.order == order):
        return slots_scan(s, ci, start, order, arg)
    slots_unlock(s, ci)
    return -1


cdef inline int64_t slots_from(slots_t *s, ci_list_t *list, int order, uint64_t arg, bint all) noexcept nogil:
    """Scan the first cluster of *list* from its start, or each in turn until one has room."""
    cdef int64_t found = -1
    cdef ci_t *ci
    while found < 0:
        ci = slots_isolate(s, list)
        if ci == NULL:
            break
        found = slots_scan(s, ci, slots_id(s, ci) << CLUSTER_SHIFT, order, arg)
        if not all:
            break
    return found


cdef inline int64_t slots_steal(slots_t *s, uint64_t arg) noexcept nogil:
    """Order 0 takes what the large orders have, smallest order first."""
    cdef int64_t found
    cdef int order
    for order in range(1, ORDERS):
        found = slots_from(s, &s.frag[order], 0, arg, True)
        if found < 0:
            found = slots_from(s, &s.nonfull[order], 0, arg, True)
        if found >= 0:
            return found
    return -1


cdef inline int64_t slots_fresh(slots_t *s, int order, uint64_t arg) noexcept nogil:
    """From a wholly free cluster."""
    cdef ci_t *ci
    cdef int64_t found
    if s.index == INDEX_XARRAY:
        ci = slots_create(s)
        return slots_scan(s, ci, slots_id(s, ci) << CLUSTER_SHIFT, order, arg) if ci != NULL else -1
    found = slots_from(s, &s.free, order, arg, False)
    while found < 0 and s.index == INDEX_ARRAY and s.free.head == NULL and slots_grow(s):
        # The header's cluster and the device's last are never wholly free.
        found = slots_from(s, &s.nonfull[0], order, arg, True) if order == 0 else -1
        if found < 0:
            found = slots_from(s, &s.free, order, arg, False)
    return found


cdef inline int64_t slots_search(slots_t *s, int order, uint64_t arg) noexcept nogil:
    cdef int64_t found = -1
    if order < ORDERS - 1:
        found = slots_from(s, &s.nonfull[order], order, arg, True)
    if found < 0:
        found = slots_fresh(s, order, arg)
    if found < 0 and order < ORDERS - 1:
        found = slots_from(s, &s.frag[order], order, arg, False)
    if found < 0 and order == 0:
        found = slots_steal(s, arg)
    return found


cdef inline int64_t slots_alloc(slots_t *s, int order, uint64_t arg) noexcept nogil:
    """First of 2^order aligned slots, marked through ``take``; -1 when there is no such run."""
    cdef int64_t found
    spin_lock(&s.cpu.lock)
    found = slots_fast(s, order, arg)
    if found < 0:
        found = slots_search(s, order, arg)
    spin_unlock(&s.cpu.lock)
    return found


cdef inline bint slots_free_locked(slots_t *s, ci_t *ci, int nr) noexcept nogil:
    """Account for *nr* slots of *ci* that became free. Context: the cluster's lock is held.

    Return: True when the cluster is gone, and its lock with it.
    """
    ci.count -= nr
    add64(&s.used, -nr)
    if slots_empty(s, ci):
        if s.index == INDEX_XARRAY:
            slots_destroy(s, ci)
            return True
        slots_move(s, ci, CI_FREE, 0)
    elif ci.flags != CI_NONFULL:
        slots_move(s, ci, CI_NONFULL, ci.order)
    return False


# ---- life

cdef inline int slots_list_all(slots_t *s) noexcept nogil:
    cdef uint64_t id
    cdef ci_t *ci
    s.ci = <char *>counted_alloc(s.counters, s.nclusters * s.stride, s.nclusters * s.stride)
    if s.ci == NULL:
        return -1
    s.nexist = s.nclusters
    for id in range(s.nclusters):
        ci = <ci_t *>(s.ci + id * s.stride)
        ci.count = slots_unusable(s, id)
        ci.flags = CI_FREE if ci.count == 0 else CI_FULL if ci.count == CLUSTER else CI_NONFULL
        ci_append(slots_list(s, ci), ci)
    return 0


cdef inline uint64_t slots_reserved(slots_t *s) noexcept nogil:
    return (s.nclusters + slots_per_chunk(s) - 1) // slots_per_chunk(s) * CHUNK_BYTES


cdef inline int slots_init(slots_t *s, uint64_t nslots, uint64_t stride, int index, slab_t *nodes, counters_t *counters) noexcept nogil:
    """All clusters on their lists, or none yet; slot 0 and those past the end unusable. -1 without memory.

    *nodes* is where an xarray's come from; NULL for the other indices.
    """
    s.nslots = nslots
    s.nclusters = (nslots + CLUSTER - 1) >> CLUSTER_SHIFT
    s.size = nslots - 1
    s.stride = stride
    s.index = index
    s.counters = counters
    s.cpu = <cursor_t *>calloc(1, sizeof(cursor_t))
    if s.cpu == NULL:
        return -1
    if index == INDEX_FLAT:
        return slots_list_all(s)
    if index == INDEX_ARRAY:
        s.ci = <char *>reserve(slots_reserved(s))
        if reserve_failed(s.ci):
            s.ci = NULL
            return -1
        return 0
    radix_init(&s.map, nodes)
    s.map.indices = 1
    s.size = (s.nclusters - 1) * CLUSTER if s.nclusters > 1 else 0
    s.size -= slots_unusable(s, s.nclusters - 1) if s.size else 0
    return 0


cdef inline uint64_t slots_bytes(slots_t *s) noexcept nogil:
    """Of the cluster structures, what the allocator rounds included; an xarray's nodes are its slab's."""
    if s.index == INDEX_XARRAY:
        return s.nexist * kmalloc_size(s.stride)
    if s.index == INDEX_ARRAY:
        return (s.nexist + slots_per_chunk(s) - 1) // slots_per_chunk(s) * CHUNK_BYTES
    return s.nexist * s.stride


cdef inline void slots_free_clusters(slots_t *s, radix_node_t *node) noexcept nogil:
    """The structures in the xarray, whatever is still in use of them."""
    cdef int i
    for i in range(64):
        if radix_is_node(node.slot[i]):
            slots_free_clusters(s, radix_node(node.slot[i]))
        elif node.slot[i]:
            counted_free(s.counters, <void *>node.slot[i], kmalloc_size(s.stride))


cdef inline void slots_release(slots_t *s) noexcept nogil:
    """Free it all; for a second time nothing."""
    if s.index == INDEX_FLAT:
        counted_free(s.counters, s.ci, slots_bytes(s))
    elif s.index == INDEX_ARRAY and s.ci != NULL:
        uncharge(s.counters, slots_bytes(s))
        munmap(s.ci, slots_reserved(s))
    elif s.index == INDEX_XARRAY and radix_is_node(s.map.head):
        slots_free_clusters(s, radix_node(s.map.head))
        radix_release(&s.map)
    free(s.cpu)
    s.ci = NULL
    s.cpu = NULL
    s.nexist = 0


cdef inline uint64_t slots_used(slots_t *s) noexcept nogil:
    return <uint64_t>load64(&s.used)


# ---- from scratch

cdef inline int64_t slots_walk(slots_t *s, ci_list_t *list, int flags, int order, int64_t *used) noexcept nogil:
    """Length of a list; -1 when a cluster on it or a link is not as it should be. Adds up its used slots."""
    cdef ci_t *ci = list.head
    cdef ci_t *prev = NULL
    cdef int64_t n = 0
    while ci != NULL:
        if ci.flags != flags or ci.prev != prev or ci.lock or (order >= 0 and ci.order != order):
            return -1
        if (flags == CI_FREE) != (ci.count == 0) or (flags == CI_FULL) != (ci.count == CLUSTER):
            return -1
        if slots_ci(s, slots_id(s, ci)) != ci:
            return -1
        used[0] += ci.count - slots_unusable(s, slots_id(s, ci))
        n += 1
        prev = ci
        ci = ci.next
    return n if list.tail == prev else -1


cdef inline bint slots_sound(slots_t *s) noexcept nogil:
    """True when each cluster is on exactly the list that its count asks for and the counts add up."""
    cdef int64_t n, total = 0, used = 0
    cdef int order
    cdef uint64_t depth = s.counters.depth
    for order in range(-2, 2 * ORDERS):
        if order < 0:
            n = slots_walk(s, &s.free, CI_FREE, 0, &used) if order == -2 else slots_walk(s, &s.full, CI_FULL, -1, &used)
        elif order < ORDERS:
            n = slots_walk(s, &s.nonfull[order], CI_NONFULL, order, &used)
        else:
            n = slots_walk(s, &s.frag[order - ORDERS], CI_FRAG, order - ORDERS, &used)
        if n < 0:
            return False
        total += n
    s.counters.depth = depth
    return total == <int64_t>s.nexist and used == load64(&s.used)
