# The whole device: discard, trim of what is past the end, growing and shrinking its blocks.
# Imports the area and what lies under it.
# Used by the core only; the layout is private.
from libc.errno cimport EBUSY, EINVAL, ENOMEM, ENOSPC
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._blocks cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._pool cimport *
from swaptable._space cimport *
from swaptable._update cimport *


# ---- discard

cdef inline int64_t discard_begin(area_t *t, swap_stat_t *st) noexcept nogil:
    """Take the first cluster that waits for its discard off its list. Return: its first slot, or -1."""
    cdef uint32_t i = isolate(t, &t.discards, st)
    if i == NO_CLUSTER:
        return -1
    spin_unlock(&t.clusters[i].lock)    # it has no table and is on no list: nobody changes it
    return <int64_t>i << CLUSTER_SHIFT


cdef inline void discard_end(area_t *t, int64_t first, int kind, swap_stat_t *st) noexcept nogil:
    cdef uint32_t i = <uint32_t>(first >> CLUSTER_SHIFT)
    lock_cluster(&t.clusters[i], st)
    cluster_move(t, i, kind, 0, st)
    spin_unlock(&t.clusters[i].lock)


cdef inline uint32_t discard_all(area_t *t, swap_stat_t *st) noexcept nogil:
    """Move the clusters that wait for their discard to the free list, in order."""
    cdef uint32_t n = 0
    cdef int64_t first = discard_begin(t, st)
    while first >= 0:
        discard_end(t, first, LIST_FREE, st)
        first = discard_begin(t, st)
        n += 1
    return n


# ---- trim

cdef inline bint pop_last_locked(area_t *t, uint32_t i, list_t *l, int kind) noexcept nogil:
    """Take cluster *i* off a list of clusters that are not in use, and keep it locked. Context: list lock. Return: whether it was there."""
    cdef cluster_t *ci = &t.clusters[i]
    if ci.list != kind or not spin_trylock(&ci.lock):
        return False
    list_del(t, l, i)
    ci.list = LIST_UNTOUCHED
    return True


cdef inline void untouch_locked(area_t *t, uint32_t begin, uint32_t end) noexcept nogil:
    """Give the pages of the structures of clusters *begin* to *end* back, which this thread holds locked.

    Context: list lock. Pages that others share stay; a page that goes takes the locks of its clusters with it.
    """
    cdef uint32_t page = (begin + 63) >> 6, i, group
    for i in range(begin, min(end, page << 6)):
        memset(<uint8_t *>&t.clusters[i] + 1, 0, sizeof(cluster_t) - 1)
        spin_unlock(&t.clusters[i].lock)
    while page << 6 < end:
        if t.touched[page >> 6] >> (page & 63) & 1:
            give_back(&t.clusters[page << 6], 4096)
            store_relaxed(&t.touched[page >> 6], t.touched[page >> 6] & ~(<uint64_t>1 << (page & 63)))
            t.touched_bytes -= 4096
            group = page & ~7u
            if t.touched[group >> 6] >> (group & 56) & 255 == 0:
                give_back(&t.tables[group << 6], 4096)
                t.touched_bytes -= 4096
        page += 1


cdef inline void trim_clusters(area_t *t) noexcept nogil:
    """Forget clusters at the end that are not in use: of those past the end, and of a table that grows. Context: no locks."""
    cdef uint32_t end
    spin_lock(&t.list_lock)
    end = t.past_fresh
    while t.past_fresh and pop_last_locked(t, PAST_CLUSTER + t.past_fresh - 1, &t.past_free, LIST_PAST_FREE):
        t.past_fresh -= 1
    untouch_locked(t, PAST_CLUSTER + t.past_fresh, PAST_CLUSTER + end)
    if t.past_fresh == 0 and t.own_blocks and t.touched_map >> 4:
        untouch_map_locked(t)
    end = t.fresh
    while t.grows and t.fresh and pop_last_locked(t, t.fresh - 1, &t.free_list, LIST_FREE):
        poke32(&t.fresh, t.fresh - 1)
    if t.grows:
        untouch_locked(t, t.fresh, end)
    spin_unlock(&t.list_lock)


cdef inline void untouch_map_locked(area_t *t) noexcept nogil:
    """Nothing is past the end: nor is the map of what was touched there. Context: list lock."""
    give_back(<uint8_t *>t.touched + (PAST_CLUSTER >> 9), (ALL_CLUSTERS - PAST_CLUSTER) >> 9)
    poke32(&t.touched_map, t.touched_map & 15)
