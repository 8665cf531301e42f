# The kernel's slot allocator (rules of 6.18): clusters of 512 slots on lists, a cursor per CPU and order.
# May import words, locks and the counters.
# Used by `old` over its swap_map and by `vswap-24` over the bitmap of its blocks.
#
# Policy only: what a free slot looks like is the user's, behind two functions. Locks as the kernel
# takes them: the CPU's, then a cluster's, then the device's for its lists; from a list a cluster is
# only tried. The CPU's own lock, a local_lock that nobody waits for, is not among the locks counted.
# Verified against allocations recorded on a running kernel.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free

from swaptable._atomic cimport add64, load64, spin_lock, spin_trylock, spin_unlock
from swaptable.designs._design cimport counters_t

cdef enum:
    CLUSTER = 512
    CLUSTER_SHIFT = 9
    ORDERS = 10

cdef enum ci_flags_t:
    CI_NONE = 0             # off the lists, in the hands of an allocation
    CI_FREE = 1
    CI_NONFULL = 2
    CI_FRAG = 3
    CI_FULL = 4


cdef struct ci_t:           # 24 bytes: lock 4, count 2, flags 1, order 1, links 16
    uint8_t lock
    uint8_t pad[3]
    uint16_t count          # used slots; header, bad and past the end count for ever
    uint8_t flags
    uint8_t order
    ci_t *prev
    ci_t *next

cdef struct ci_list_t:
    ci_t *head
    ci_t *tail

cdef struct cursor_t:
    uint8_t lock
    uint64_t next[ORDERS]   # offset after the last allocation, or 0

cdef struct slots_t:
    ci_t *ci
    uint64_t nslots
    uint64_t nclusters
    uint64_t size           # usable slots
    int64_t used
    cursor_t *cpu
    counters_t *counters
    void *user
    # first aligned free run of 2^order in [start, end), or -1; mark nr slots taken for arg, -1 when that fails
    int64_t (*find)(void *user, uint64_t start, uint64_t end, int order) noexcept nogil
    int (*take)(void *user, uint64_t offset, int nr, uint64_t arg) noexcept nogil
    ci_list_t free
    ci_list_t full
    ci_list_t nonfull[ORDERS]
    ci_list_t frag[ORDERS]
    uint8_t lock


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
    spin_lock(&s.lock)
    s.counters.locks += 1
    s.counters.list_locks += 1
    if ci.flags != CI_NONE:
        ci_unlink(slots_list(s, ci), ci)
    ci.flags = flags
    ci.order = order
    ci_append(slots_list(s, ci), ci)
    spin_unlock(&s.lock)


cdef inline ci_t *slots_isolate(slots_t *s, ci_list_t *list) noexcept nogil:
    """The first cluster of *list* that nobody has locked, off the list and locked; or NULL."""
    cdef ci_t *ci
    spin_lock(&s.lock)
    s.counters.locks += 1
    s.counters.list_locks += 1
    ci = list.head
    while ci != NULL and not spin_trylock(&ci.lock):
        ci = ci.next
    if ci != NULL:
        s.counters.locks += 1
        ci_unlink(list, ci)
        ci.flags = CI_NONE
    spin_unlock(&s.lock)
    return ci


# ---- clusters

cdef inline ci_t *slots_lock(slots_t *s, uint64_t offset) noexcept nogil:
    cdef ci_t *ci = &s.ci[offset >> CLUSTER_SHIFT]
    spin_lock(&ci.lock)
    s.counters.locks += 1
    return ci


cdef inline void slots_relocate(slots_t *s, ci_t *ci) noexcept nogil:
    """Where a cluster goes after a scan, successful or not."""
    if ci.count == 0:
        if ci.flags != CI_FREE:
            slots_move(s, ci, CI_FREE, 0)
    elif ci.count == CLUSTER:
        if ci.flags != CI_FULL:
            slots_move(s, ci, CI_FULL, ci.order)
    elif ci.flags != CI_FRAG:
        slots_move(s, ci, CI_FRAG, ci.order)


cdef inline int64_t slots_scan(slots_t *s, ci_t *ci, uint64_t start, int order, uint64_t arg) noexcept nogil:
    """Take a run from *start* on, set the cursor, put the cluster on its list and unlock it; offset or -1."""
    cdef uint64_t end = min(((<uint64_t>(ci - s.ci)) + 1) << CLUSTER_SHIFT, s.nslots)
    cdef uint64_t next = 0
    cdef int64_t found = -1
    cdef int nr = 1 << order
    s.counters.visited += 1
    if ci.count + nr <= CLUSTER:
        found = s.find(s.user, start, end, order)
    if found >= 0 and s.take(s.user, found, nr, arg) < 0:
        found = -1
    if found >= 0:
        if ci.count == 0:
            ci.order = order
        ci.count += nr
        add64(&s.used, nr)
        if ci.count < CLUSTER and <uint64_t>found + 2 * nr <= end:
            next = found + nr
    slots_relocate(s, ci)
    spin_unlock(&ci.lock)
    s.cpu.next[order] = next
    return found


cdef inline int64_t slots_fast(slots_t *s, int order, uint64_t arg) noexcept nogil:
    """From the cursor to the end of its cluster, if that is still one for this order."""
    cdef uint64_t start = s.cpu.next[order]
    cdef ci_t *ci
    if start == 0:
        return -1
    ci = slots_lock(s, start)
    if (ci.flags == CI_NONFULL or ci.flags == CI_FRAG) and (order == 0 or ci.order == order):
        return slots_scan(s, ci, start, order, arg)
    spin_unlock(&ci.lock)
    return -1


cdef inline int64_t slots_from(slots_t *s, ci_list_t *list, int order, uint64_t arg, bint all) noexcept nogil:
    """Scan the first cluster of *list* from its start, or each in turn until one has room."""
    cdef int64_t found = -1
    cdef ci_t *ci
    while found < 0:
        ci = slots_isolate(s, list)
        if ci == NULL:
            break
        found = slots_scan(s, ci, <uint64_t>(ci - s.ci) << CLUSTER_SHIFT, order, arg)
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


cdef inline int64_t slots_search(slots_t *s, int order, uint64_t arg) noexcept nogil:
    cdef int64_t found = -1
    if order < ORDERS - 1:
        found = slots_from(s, &s.nonfull[order], order, arg, True)
    if found < 0:
        found = slots_from(s, &s.free, order, arg, False)
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


cdef inline void slots_free_locked(slots_t *s, ci_t *ci, int nr) noexcept nogil:
    """Account for *nr* slots of *ci* that became free. Context: the cluster's lock is held."""
    ci.count -= nr
    add64(&s.used, -nr)
    if ci.count == 0:
        slots_move(s, ci, CI_FREE, 0)
    elif ci.flags != CI_NONFULL:
        slots_move(s, ci, CI_NONFULL, ci.order)


# ---- life

cdef inline int slots_init(slots_t *s, uint64_t nslots, counters_t *counters) noexcept nogil:
    """All clusters on their lists; slot 0 and those past the end unusable. -1 without memory."""
    cdef uint64_t i
    cdef ci_t *ci
    s.nslots = nslots
    s.nclusters = (nslots + CLUSTER - 1) >> CLUSTER_SHIFT
    s.size = nslots - 1
    s.counters = counters
    s.ci = <ci_t *>calloc(s.nclusters, sizeof(ci_t))
    s.cpu = <cursor_t *>calloc(1, sizeof(cursor_t))
    if s.ci == NULL or s.cpu == NULL:
        return -1
    for i in range(s.nclusters):
        ci = &s.ci[i]
        ci.count = (i == 0) + (CLUSTER - (nslots & (CLUSTER - 1)) if i == nslots >> CLUSTER_SHIFT else 0)
        ci.flags = CI_FREE if ci.count == 0 else CI_FULL if ci.count == CLUSTER else CI_NONFULL
        ci_append(slots_list(s, ci), ci)
    return 0


cdef inline void slots_release(slots_t *s) noexcept nogil:
    free(s.ci)
    free(s.cpu)


cdef inline uint64_t slots_bytes(slots_t *s) noexcept nogil:
    return s.nclusters * sizeof(ci_t)


cdef inline uint64_t slots_used(slots_t *s) noexcept nogil:
    return <uint64_t>load64(&s.used)


# ---- from scratch

cdef inline int64_t slots_walk(ci_list_t *list, int flags, int order) noexcept nogil:
    """Length of a list; -1 when a cluster on it or a link is not as it should be."""
    cdef ci_t *ci = list.head
    cdef ci_t *prev = NULL
    cdef int64_t n = 0
    while ci != NULL:
        if ci.flags != flags or ci.prev != prev or ci.lock or (order >= 0 and ci.order != order):
            return -1
        if (flags == CI_FREE) != (ci.count == 0) or (flags == CI_FULL) != (ci.count == CLUSTER):
            return -1
        n += 1
        prev = ci
        ci = ci.next
    return n if list.tail == prev else -1


cdef inline bint slots_sound(slots_t *s) noexcept nogil:
    """True when each cluster is on exactly the list that its count asks for and the counts add up."""
    cdef int64_t n, total = 0, used = 0
    cdef uint64_t i
    cdef int order
    for order in range(-2, 2 * ORDERS):
        if order < 0:
            n = slots_walk(&s.free, CI_FREE, 0) if order == -2 else slots_walk(&s.full, CI_FULL, -1)
        elif order < ORDERS:
            n = slots_walk(&s.nonfull[order], CI_NONFULL, order)
        else:
            n = slots_walk(&s.frag[order - ORDERS], CI_FRAG, order - ORDERS)
        if n < 0:
            return False
        total += n
    for i in range(s.nclusters):
        used += s.ci[i].count
    used -= <int64_t>(s.nclusters * CLUSTER - s.size)
    return total == <int64_t>s.nclusters and used == load64(&s.used)
