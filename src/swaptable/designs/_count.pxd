# Locks and memory that count themselves: acquisitions, how long one is held, bytes allocated and freed.
# May import locks and the counters.
# Used by every design with structures of its own.
#
# A hold is measured in elementary operations (words written, words searched, steps of a descent) from taking the
# outermost lock to giving it back: a time that no other load of the machine can change.
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from swaptable._atomic cimport load_relaxed, spin_lock, spin_trylock, spin_unlock, swap_stat_t
from swaptable.designs._design cimport counters_t


cdef inline void hold_begins(counters_t *c) noexcept nogil:
    c.locks += 1
    if c.held == 0:
        c.held_since = c.words + c.scanned + c.depth
    c.held += 1


cdef inline void counted_lock(counters_t *c, uint8_t *lock) noexcept nogil:
    spin_lock(lock)
    hold_begins(c)


cdef inline bint counted_trylock(counters_t *c, uint8_t *lock) noexcept nogil:
    """A lock that is found taken is none that was acquired."""
    if not spin_trylock(lock):
        return False
    hold_begins(c)
    return True


cdef inline void hold_ends(counters_t *c) noexcept nogil:
    cdef uint64_t hold
    c.held -= 1
    if c.held == 0:
        hold = c.words + c.scanned + c.depth - c.held_since
        c.hold_longest = hold if hold > c.hold_longest else c.hold_longest


cdef inline void counted_unlock(counters_t *c, uint8_t *lock) noexcept nogil:
    hold_ends(c)
    spin_unlock(lock)


cdef inline uint64_t count_core(counters_t *c, swap_stat_t *stat) noexcept nogil:
    """Add what this library's core counted for an operation, for the next to begin at 0; how often lists were locked.

    The core wrote single words a moment ago: they are read as such, since a wider load that the compiler may prefer
    waits until those stores have left the core's store buffer.
    """
    cdef uint64_t list_locks = load_relaxed(&stat.list_locks)
    cdef uint64_t words = load_relaxed(&stat.words)
    cdef uint64_t scanned = load_relaxed(&stat.scanned)
    c.locks += load_relaxed(&stat.cluster_locks) + list_locks
    c.list_locks += list_locks
    c.words += words
    c.visited += load_relaxed(&stat.visited)
    if scanned:         # what allocates searches; most operations do not, and need neither this nor another store
        c.scanned += scanned
        words += scanned
        stat.scanned = 0
    c.hold_longest = words if words > c.hold_longest else c.hold_longest
    memset(stat, 0, sizeof(swap_stat_t) - sizeof(uint64_t))     # all but the last, which is scanned
    return list_locks


# ---- memory: *charged* is what an allocator takes for it, at least its size

cdef inline void charge(counters_t *c, uint64_t charged) noexcept nogil:
    c.allocated += charged
    c.now += charged


cdef inline void uncharge(counters_t *c, uint64_t charged) noexcept nogil:
    c.freed += charged
    c.now -= charged


cdef inline void *counted_alloc(counters_t *c, uint64_t n, uint64_t charged) noexcept nogil:
    """*n* zeroed bytes, or NULL."""
    cdef void *p = calloc(n, 1)
    if p != NULL:
        charge(c, charged)
    return p


cdef inline void counted_free(counters_t *c, void *p, uint64_t charged) noexcept nogil:
    if p != NULL:
        uncharge(c, charged)
        free(p)


cdef inline uint64_t kmalloc_size(uint64_t n) noexcept nogil:
    """What kmalloc takes for *n* bytes: its caches are of 8, 16, 32, 64, 96, 128, 192, 256, 512, ... bytes."""
    cdef uint64_t size = 8
    while size < n:
        size *= 2
    if size == 128 and n <= 96:
        return 96
    if size == 256 and n <= 192:
        return 192
    return size
