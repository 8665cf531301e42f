# Locks and memory that count themselves: acquisitions, how long one is held, bytes allocated and freed.
# May import locks and the counters.
# Used by every design with structures of its own.
#
# A hold is measured in elementary operations (words written, words searched, steps of a descent) from taking the
# outermost lock to giving it back: a time that no other load of the machine can change.
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free

from swaptable._atomic cimport spin_lock, spin_trylock, spin_unlock
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
