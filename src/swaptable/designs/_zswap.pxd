# The index of zswap in front of a swap device: an xarray for every 64 MiB, from the slot to the compressed object.
# May import words, locks, the counters and the radix tree.
# Used by the designs whose slots do not know where their data is.
#
# Models mm/zswap.c since 6.9: zswap_trees[type][offset >> 14]; a load is exclusive, the object goes and the folio is
# dirty. The object and its 56-byte zswap_entry are the pool's, which every design has alike: not counted here.
from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint64_t

from swaptable.designs._count cimport counted_alloc, counted_free, counted_lock, counted_unlock
from swaptable.designs._design cimport counters_t
from swaptable.designs._radix cimport (
    radix_clear, radix_fill, radix_init, radix_is_node, radix_load, radix_node, radix_node_t, radix_nodes, radix_release,
    radix_t, slab_t,
)

cdef enum:
    TREE_SHIFT = 14         # slots of 64 MiB


cdef struct zswap_t:
    radix_t *trees          # NULL: no zswap
    uint64_t ntrees
    int64_t objects
    counters_t *counters


cdef inline int zswap_init(zswap_t *z, uint64_t nslots, slab_t *nodes, counters_t *counters) noexcept nogil:
    cdef uint64_t i
    z.ntrees = (nslots + (1 << TREE_SHIFT) - 1) >> TREE_SHIFT
    z.counters = counters
    z.trees = <radix_t *>counted_alloc(counters, z.ntrees * sizeof(radix_t), z.ntrees * sizeof(radix_t))
    if z.trees == NULL:
        return -1
    for i in range(z.ntrees):
        radix_init(&z.trees[i], nodes)
    return 0


cdef inline void zswap_release(zswap_t *z) noexcept nogil:
    cdef uint64_t i
    if z.trees != NULL:
        for i in range(z.ntrees):
            radix_release(&z.trees[i])
        counted_free(z.counters, z.trees, z.ntrees * sizeof(radix_t))
    z.trees = NULL
    z.objects = 0


cdef inline uint64_t zswap_bytes(zswap_t *z) noexcept nogil:
    """Of the heads of the trees; their nodes are the slab's."""
    return z.ntrees * sizeof(radix_t) if z.trees != NULL else 0


cdef inline uint64_t zswap_peek(zswap_t *z, uint64_t slot) noexcept nogil:
    """The object of a slot, or 0; not counted."""
    cdef uint64_t depth = 0
    if z.trees == NULL:
        return 0
    return radix_load(&z.trees[slot >> TREE_SHIFT], slot & ((1 << TREE_SHIFT) - 1), &depth) >> 2


cdef inline uint64_t zswap_get(zswap_t *z, uint64_t slot) noexcept nogil:
    """The object of a slot, or 0: what each swap-in and each free asks once a tree is not empty."""
    cdef radix_t *tree
    if z.trees == NULL or z.trees[slot >> TREE_SHIFT].head == 0:
        return 0
    tree = &z.trees[slot >> TREE_SHIFT]
    z.counters.lookups += 1
    return radix_load(tree, slot & ((1 << TREE_SHIFT) - 1), &z.counters.depth) >> 2


cdef inline int zswap_put(zswap_t *z, uint64_t slot, uint64_t object) noexcept nogil:
    """*object* (not 0) for a slot, in place of what it had; 0 or -ENOMEM and nothing changed."""
    cdef radix_t *tree = &z.trees[slot >> TREE_SHIFT]
    cdef uint64_t index = slot & ((1 << TREE_SHIFT) - 1), old
    cdef int err
    counted_lock(z.counters, &tree.lock)
    z.counters.lookups += 1
    old = radix_load(tree, index, &z.counters.depth)
    err = radix_fill(tree, index, 1, object << 2)
    z.counters.words += err == 0
    z.objects += err == 0 and old == 0
    counted_unlock(z.counters, &tree.lock)
    return -ENOMEM if err else 0


cdef inline uint64_t zswap_take(zswap_t *z, uint64_t slot) noexcept nogil:
    """The object of a slot, which loses it; 0 when it had none."""
    cdef radix_t *tree
    cdef uint64_t object = zswap_get(z, slot)
    if object == 0:
        return 0
    tree = &z.trees[slot >> TREE_SHIFT]
    counted_lock(z.counters, &tree.lock)
    radix_clear(tree, slot & ((1 << TREE_SHIFT) - 1), 1)
    z.counters.words += 1
    z.objects -= 1
    counted_unlock(z.counters, &tree.lock)
    return object


cdef inline int64_t zswap_nodes(zswap_t *z) noexcept nogil:
    """Nodes of all trees, counted by walking them; negative when one is damaged."""
    cdef int64_t total = 0, n
    cdef uint64_t i
    for i in range(z.ntrees if z.trees != NULL else 0):
        n = radix_nodes(&z.trees[i])
        if n < 0:
            return -1
        total += n
    return total
