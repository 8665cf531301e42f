# What happened to slots, for whoever listens: a ring that kernels write without the GIL and Python empties.
# Imports the locks.
# Used by the core only; the layout of an event is events.DTYPE.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from swaptable._atomic cimport *

cdef extern from *:
    """
    #ifndef SWAPTABLE_EVENTS
    #define SWAPTABLE_EVENTS
    typedef struct {            /* 32 bytes */
        uint64_t sequence;      /* of all events; a gap where some were dropped */
        int64_t slot;
        uint32_t nr, old, now;
        uint16_t memcg;
        uint8_t kind, order;
    } event_t;
    typedef struct events_t events_t;
    struct events_t {
        uint8_t lock;           /* the last in the order of locks: nothing is taken under it */
        uint8_t pad[63];
        uint64_t put, got;
        uint64_t dropped;       /* since the ring was made */
        uint64_t sequence;
        uint64_t size;          /* a power of two */
        events_t *older;        /* rings of earlier listeners: a kernel may be about to write to one */
        event_t *ring;
    };
    static inline void event_put_locked(events_t *e, int kind, int order, int64_t slot, uint32_t nr, unsigned memcg, uint32_t old, uint32_t now) {
        if (e->put - e->got == e->size) e->dropped++;
        else {
            event_t *at = &e->ring[e->put++ & (e->size - 1)];
            at->sequence = e->sequence; at->slot = slot; at->nr = nr; at->old = old; at->now = now;
            at->memcg = (uint16_t)memcg; at->kind = (uint8_t)kind; at->order = (uint8_t)order;
        }
        e->sequence++;
    }
    /* Out of line and of the way: who does not listen pays for a load and a branch. *ring* is where an area names its
       ring; the listener may have left since the caller looked. */
    static __attribute__((noinline, cold, unused))
    void event_put(void *ring, int kind, int order, int64_t slot, uint32_t nr, unsigned memcg, uint32_t old, uint32_t now) {
        events_t *e = (events_t *)load_ptr(ring);
        if (!e) return;
        spin_lock(&e->lock);
        event_put_locked(e, kind, order, slot, nr, memcg, old, now);
        spin_unlock(&e->lock);
    }
    static __attribute__((noinline, cold, unused))
    void events_alloc(void *ring, int order, const int64_t *slots, int64_t n, unsigned memcg) {
        events_t *e = (events_t *)load_ptr(ring);
        if (!e) return;
        spin_lock(&e->lock);
        for (int64_t k = 0; k < n; k++) event_put_locked(e, 0, order, slots[k], 1u << order, memcg, 0, 0);
        spin_unlock(&e->lock);
    }
    #endif
    """
    ctypedef struct event_t:
        uint64_t sequence
        int64_t slot
        uint32_t nr, old, now
        uint16_t memcg
        uint8_t kind, order
    ctypedef struct events_t:
        uint8_t lock
        uint64_t put, got, dropped, sequence, size
        events_t *older
        event_t *ring
    # Note one event in the ring that is named at *ring*; it is counted as dropped when that is full. Context: any lock but a ring's.
    void event_put(void *ring, int kind, int order, int64_t slot, uint32_t nr, unsigned int memcg, uint32_t old, uint32_t now) noexcept nogil
    # Note runs that were given out.
    void events_alloc(void *ring, int order, const int64_t *slots, int64_t n, unsigned int memcg) noexcept nogil

cdef enum:
    EVENT_ALLOC = 0
    EVENT_FREE = 1
    EVENT_MOVE = 2
    EVENT_FALLBACK = 3
    EVENTS_AT_ONCE = 1024   # copied out under the lock


cdef inline events_t *events_new(uint64_t size) noexcept nogil:
    """A ring for *size* events, a power of two; NULL when there is no memory."""
    cdef events_t *e = <events_t *>calloc(1, sizeof(events_t))
    if e == NULL:
        return NULL
    e.size = size
    e.ring = <event_t *>calloc(size, sizeof(event_t))
    if e.ring == NULL:
        free(e)
        return NULL
    return e


cdef inline void events_drop(events_t *e) noexcept nogil:
    """Free a ring and the older ones. Context: nobody can write to them any more."""
    cdef events_t *older
    while e != NULL:
        older = e.older
        free(e.ring)
        free(e)
        e = older


cdef inline uint64_t events_pending(events_t *e, uint64_t *dropped) noexcept nogil:
    cdef uint64_t n
    spin_lock(&e.lock)
    n, dropped[0] = e.put - e.got, e.dropped
    spin_unlock(&e.lock)
    return n


cdef inline uint64_t events_take(events_t *e, event_t *out, uint64_t n) noexcept nogil:
    """Copy up to *n* events out, the oldest first. Return: how many."""
    cdef uint64_t done = 0, part, first
    while done < n:
        spin_lock(&e.lock)
        first = e.got & (e.size - 1)
        part = min(min(n - done, e.put - e.got), min(e.size - first, <uint64_t>EVENTS_AT_ONCE))
        memcpy(out + done, e.ring + first, part * sizeof(event_t))
        e.got += part
        spin_unlock(&e.lock)
        done += part
        if part == 0:
            break
    return done
