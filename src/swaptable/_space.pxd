# The flat space of blocks that locations name: units of 2^22 blocks, owned by the devices that share it.
# Imports the locks.
# Used by the core only; the layout is private.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from swaptable._atomic cimport *

cdef enum:
    UNIT_SHIFT = 22
    UNIT_BLOCKS = 1 << 22
    UNITS = 1024            # unit 0 is never given out, so that location 0 means none
    MEMBERS = 255

# A unit's entry is 0 while nobody owns it, else (member + 1) << 16 | which of the member's units it is.
cdef struct space_t:
    uint8_t lock            # of what follows, for changes; readers take none
    uint32_t refs
    uint32_t next_unit      # where the search for a unit begins
    uint32_t next_front
    void *members[255]      # areas
    uint32_t units[1024]    # of blocks
    uint32_t fronts[1024]   # of slots, for arrays of owners: the same numbering the other way round


cdef inline space_t *space_new() noexcept nogil:
    cdef space_t *s = <space_t *>calloc(1, sizeof(space_t))
    if s != NULL:
        s.refs = s.next_unit = s.next_front = 1
    return s


cdef inline void space_drop(space_t *s) noexcept nogil:
    """Give up a reference; the last frees the space."""
    if s != NULL and add32(&s.refs, -1) == 0:
        free(s)


cdef inline int space_add(space_t *s, void *t) noexcept nogil:
    """A number for a member. Return: it, or -1 when all are taken."""
    cdef int m, found = -1
    spin_lock(&s.lock)
    for m in range(MEMBERS):
        if s.members[m] == NULL:
            store_ptr(&s.members[m], t)
            found = m
            break
    spin_unlock(&s.lock)
    return found


cdef inline uint32_t take_unit(space_t *s, uint32_t *map, uint32_t *hint, int member, uint32_t index) noexcept nogil:
    """Give the next unit that is free to a member, as its unit *index*. Return: its number, or 0 when all are taken."""
    cdef uint32_t u, k, found = 0
    spin_lock(&s.lock)
    for k in range(UNITS - 1):
        u = (hint[0] - 1 + k) % (UNITS - 1) + 1
        if map[u] == 0:
            store32(&map[u], <uint32_t>(member + 1) << 16 | index)
            hint[0] = u + 1
            found = u
            break
    spin_unlock(&s.lock)
    return found


cdef inline void space_remove(space_t *s, int member) noexcept nogil:
    """The member's number and units are free again. Context: no location names a block of it."""
    cdef uint32_t u
    spin_lock(&s.lock)
    for u in range(1, UNITS):
        if s.units[u] >> 16 == <uint32_t>member + 1:
            store32(&s.units[u], 0)
        if s.fronts[u] >> 16 == <uint32_t>member + 1:
            store32(&s.fronts[u], 0)
    store_ptr(&s.members[member], NULL)
    spin_unlock(&s.lock)
