# The index of a compressed pool by block number: a table of pointers for every 512 blocks that hold an object.
# May import the counters.
# Used by the design whose pool is a device like any other.
#
# A block number of the pool leads to zswap's record of the object in three loads. The record itself (56 bytes in the
# kernel) and the object are the pool's, which every design has alike: not counted here. A pointer is: what stands in
# for it is the object's own number, never given out twice, so that data cannot be mistaken for other data.
from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint32_t, uint64_t

from swaptable.designs._count cimport counted_alloc, counted_free
from swaptable.designs._design cimport counters_t

cdef enum:
    LEAF_SHIFT = 9          # blocks of a leaf
    DIR_SHIFT = 18          # blocks of a directory: 1 GiB
    LEAVES = 512
    LEAF_BYTES = 4096
    OBJECT_DEPTH = 3        # directory, leaf, cell


cdef struct leaf_t:
    uint64_t *cells
    uint64_t nr

cdef struct dir_t:
    leaf_t *leaves
    uint64_t nr

cdef struct objects_t:
    dir_t *dirs             # NULL: there is no pool
    uint64_t ndirs
    uint64_t made           # objects ever made
    int64_t n               # there now
    int64_t leaves
    int64_t directories
    counters_t *counters


cdef inline int objects_init(objects_t *o, uint64_t blocks, counters_t *counters) noexcept nogil:
    """For a pool of so many blocks; -1 without memory."""
    o.counters = counters
    o.ndirs = (blocks + (1 << DIR_SHIFT) - 1) >> DIR_SHIFT
    o.dirs = <dir_t *>counted_alloc(counters, o.ndirs * sizeof(dir_t), o.ndirs * sizeof(dir_t))
    return 0 if o.dirs != NULL else -1


cdef inline leaf_t *leaf_of(objects_t *o, uint64_t block) noexcept nogil:
    cdef dir_t *dir
    if o.dirs == NULL or block >> DIR_SHIFT >= o.ndirs:
        return NULL
    dir = &o.dirs[block >> DIR_SHIFT]
    return &dir.leaves[(block >> LEAF_SHIFT) & (LEAVES - 1)] if dir.leaves != NULL else NULL


cdef inline uint64_t object_at(objects_t *o, uint64_t block) noexcept nogil:
    """The object of a block of the pool, or 0; not counted."""
    cdef leaf_t *leaf = leaf_of(o, block)
    return leaf.cells[block & ((1 << LEAF_SHIFT) - 1)] if leaf != NULL and leaf.cells != NULL else 0


cdef inline int leaf_make(objects_t *o, uint64_t block) noexcept nogil:
    """What leads to a block's cell; -1 without memory."""
    cdef dir_t *dir = &o.dirs[block >> DIR_SHIFT]
    cdef leaf_t *leaf
    if dir.leaves == NULL:
        dir.leaves = <leaf_t *>counted_alloc(o.counters, LEAVES * sizeof(leaf_t), LEAVES * sizeof(leaf_t))
        o.directories += dir.leaves != NULL
    leaf = leaf_of(o, block)
    if leaf == NULL:
        return -1
    if leaf.cells == NULL:
        leaf.cells = <uint64_t *>counted_alloc(o.counters, LEAF_BYTES, LEAF_BYTES)
        if leaf.cells == NULL:
            dir_drop(o, dir)
            return -1
        o.leaves += 1
        dir.nr += 1
    return 0


cdef inline void dir_drop(objects_t *o, dir_t *dir) noexcept nogil:
    """A directory goes with its last leaf."""
    if dir.nr == 0 and dir.leaves != NULL:
        counted_free(o.counters, dir.leaves, LEAVES * sizeof(leaf_t))
        dir.leaves = NULL
        o.directories -= 1


cdef inline int object_put(objects_t *o, uint64_t block) noexcept nogil:
    """A new object for a block, in place of what it had; 0 or -ENOMEM and nothing changed."""
    cdef leaf_t *leaf
    cdef uint64_t *cell
    if leaf_make(o, block) < 0:
        return -ENOMEM
    leaf = leaf_of(o, block)
    cell = &leaf.cells[block & ((1 << LEAF_SHIFT) - 1)]
    o.made += 1
    leaf.nr += cell[0] == 0
    o.n += cell[0] == 0
    cell[0] = o.made
    o.counters.words += 1
    return 0


cdef inline void object_drop(objects_t *o, uint64_t block) noexcept nogil:
    """The block has no object any more, if it had one."""
    cdef leaf_t *leaf = leaf_of(o, block)
    cdef dir_t *dir
    if object_at(o, block) == 0:
        return
    leaf.cells[block & ((1 << LEAF_SHIFT) - 1)] = 0
    o.counters.words += 1
    o.n -= 1
    leaf.nr -= 1
    if leaf.nr:
        return
    counted_free(o.counters, leaf.cells, LEAF_BYTES)
    leaf.cells = NULL
    o.leaves -= 1
    dir = &o.dirs[block >> DIR_SHIFT]
    dir.nr -= 1
    dir_drop(o, dir)


cdef inline uint64_t objects_bytes(objects_t *o) noexcept nogil:
    if o.dirs == NULL:
        return 0
    return o.ndirs * sizeof(dir_t) + o.directories * LEAVES * sizeof(leaf_t) + o.leaves * LEAF_BYTES


cdef inline void objects_release(objects_t *o) noexcept nogil:
    """Free it all; for a second time nothing."""
    cdef uint64_t d, i
    for d in range(o.ndirs if o.dirs != NULL else 0):
        for i in range(LEAVES if o.dirs[d].leaves != NULL else 0):
            counted_free(o.counters, o.dirs[d].leaves[i].cells, LEAF_BYTES)
        counted_free(o.counters, o.dirs[d].leaves, LEAVES * sizeof(leaf_t))
    counted_free(o.counters, o.dirs, o.ndirs * sizeof(dir_t))
    o.dirs = NULL
    o.n = o.leaves = o.directories = 0


cdef inline const char *objects_fault(objects_t *o, int64_t *there) noexcept nogil:
    """The first thing that is wrong with the tables, or NULL; *there*: objects found."""
    cdef int64_t leaves = 0, directories = 0
    cdef uint64_t d, i, b, live, nr
    cdef leaf_t *leaf
    there[0] = 0
    for d in range(o.ndirs if o.dirs != NULL else 0):
        live = 0
        for i in range(LEAVES if o.dirs[d].leaves != NULL else 0):
            leaf = &o.dirs[d].leaves[i]
            nr = 0
            for b in range(LEAVES if leaf.cells != NULL else 0):
                nr += leaf.cells[b] != 0
            if nr != leaf.nr or (nr == 0) != (leaf.cells == NULL):
                return b"a table of the pool's objects that is empty, or counts wrongly"
            live += nr != 0
            there[0] += nr
        if live != o.dirs[d].nr or (live == 0) != (o.dirs[d].leaves == NULL):
            return b"a directory of the pool's objects that is empty, or counts wrongly"
        leaves += live
        directories += live != 0
    if leaves != o.leaves or directories != o.directories or there[0] != o.n:
        return b"the pool's objects do not add up"
    return NULL
