# The reverse map from slots to page table entries: a cell of 8 bytes for each slot, a list where there are several.
# May import words, locks and the counters.
# Used by devices of words that have one.
from libc.errno cimport ENOENT, ENOMEM
from libc.stdint cimport int64_t, uint64_t

from swaptable.designs._count cimport counted_alloc, counted_free
from swaptable.designs._design cimport counters_t
from swaptable.designs._slots cimport CLUSTER, ci_t

cdef enum:
    LINK_BYTES = 16


# Several page table entries that name one slot.
cdef struct link_t:
    uint64_t pte
    link_t *next

cdef struct links_t:
    counters_t *counters
    int64_t n


cdef inline uint64_t *cell_of(ci_t *ci, uint64_t slot) noexcept nogil:
    """0 for none, pte << 1 | 1 for one, else the list of several."""
    return &(<uint64_t *>ci.second)[slot & (CLUSTER - 1)]


cdef inline int link_new(links_t *s, uint64_t *cell, uint64_t pte) noexcept nogil:
    cdef link_t *link = <link_t *>counted_alloc(s.counters, sizeof(link_t), LINK_BYTES)
    if link == NULL:
        return -ENOMEM
    link.pte = pte
    link.next = <link_t *>cell[0]
    cell[0] = <uint64_t>link
    s.n += 1
    return 0


cdef inline int cell_add(links_t *s, uint64_t *cell, uint64_t pte) noexcept nogil:
    cdef uint64_t first = cell[0]
    cdef int err
    s.counters.words += 1
    if first == 0:
        cell[0] = pte << 1 | 1
        return 0
    if first & 1:
        cell[0] = 0
        err = link_new(s, cell, first >> 1)
        if err:
            cell[0] = first
            return err
    return link_new(s, cell, pte)


cdef inline void link_free(links_t *s, link_t *link) noexcept nogil:
    counted_free(s.counters, link, LINK_BYTES)
    s.n -= 1


cdef inline int cell_remove(links_t *s, uint64_t *cell, uint64_t pte) noexcept nogil:
    """0, or -ENOENT when the entry is not there."""
    cdef link_t **at = <link_t **>cell
    cdef link_t *link
    if cell[0] & 1:
        if cell[0] >> 1 != pte:
            return -ENOENT
        cell[0] = 0
        s.counters.words += 1
        return 0
    while at[0] != NULL and at[0].pte != pte:
        s.counters.scanned += 1
        at = &at[0].next
    if at[0] == NULL:
        return -ENOENT
    link = at[0]
    at[0] = link.next
    link_free(s, link)
    link = <link_t *>cell[0]
    if link != NULL and link.next == NULL:
        cell[0] = link.pte << 1 | 1
        link_free(s, link)
    s.counters.words += 1
    return 0


cdef inline void links_drop(links_t *s, ci_t *ci, uint64_t slot, int nr) noexcept nogil:
    """Slots become free: nobody may name them any more."""
    cdef link_t *link
    cdef uint64_t *cell
    cdef int i
    for i in range(nr):
        cell = cell_of(ci, slot + i)
        while cell[0] and not cell[0] & 1:
            link = <link_t *>cell[0]
            cell[0] = <uint64_t>link.next
            link_free(s, link)
        cell[0] = 0


cdef inline uint64_t cell_count(uint64_t cell) noexcept nogil:
    cdef link_t *link
    cdef uint64_t n = 0
    if cell & 1:
        return 1
    link = <link_t *>cell
    while link != NULL:
        n += 1
        link = link.next
    return n
