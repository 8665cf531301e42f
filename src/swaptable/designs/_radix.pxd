# A radix tree as the kernel's XArray stores it (576-byte nodes of 64 slots) and the slabs that objects come from.
# May import words, locks and counters.
# Used by the designs that find an entry's metadata through a tree.
#
# A node exists while something below it does, an entry at index 0 alone lives in the head without a
# node, a root with only its first slot used is taken away: the rules of lib/xarray.c, so that bytes
# counted here are the kernel's. The caller holds the tree's lock for every change; a look-up takes
# none, and must not run at the same time as an erase (the kernel has RCU for that).
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from swaptable._atomic cimport ctz64, load_relaxed, spin_lock, spin_unlock, store_relaxed
from swaptable.designs._count cimport charge, uncharge
from swaptable.designs._design cimport counters_t

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **ptr, size_t alignment, size_t size)

cdef enum:
    SLAB_BYTES = 16384      # order-2 slabs, as SLUB picks for 576-byte objects
    SLAB_HEAD = 64          # of a slab; the kernel keeps it in the page structure, so it is slack here


cdef struct radix_node_t:
    uint8_t shift           # of the index, for this node's slots
    uint8_t offset          # in the parent
    uint8_t count           # slots in use
    uint8_t pad[5]
    radix_node_t *parent
    void *unused[3]         # the kernel's back pointer and list head; room only
    uint64_t slot[64]
    uint64_t full           # mark: nothing free below this slot (trees that hand out indices)
    uint64_t marks[2]

cdef struct slab_page_t:
    slab_page_t *prev
    slab_page_t *next
    void *free
    uint32_t used
    uint32_t fresh          # nodes never given out start here

cdef struct slab_t:
    slab_page_t *partial    # pages with an object to give
    uint64_t pages
    uint64_t nodes          # objects given out
    counters_t *counters
    uint32_t size           # of an object
    uint32_t per_page
    uint8_t lock

cdef struct radix_t:
    uint64_t head           # 0, an entry (low bits 00 or x1), or a node (low bits 10)
    slab_t *slab
    uint8_t lock
    uint8_t indices         # hands out indices from 1 upwards


# ---- slab

cdef inline void slab_init(slab_t *slab, uint32_t size, counters_t *counters) noexcept nogil:
    """For objects of *size* bytes, a multiple of 8."""
    slab.size = size
    slab.per_page = (SLAB_BYTES - SLAB_HEAD) // size
    slab.counters = counters


cdef inline slab_page_t *slab_grow(slab_t *slab) noexcept nogil:
    cdef void *memory = NULL
    if posix_memalign(&memory, SLAB_BYTES, SLAB_BYTES) != 0:
        return NULL
    memset(memory, 0, sizeof(slab_page_t))
    slab.pages += 1
    charge(slab.counters, SLAB_BYTES)
    return <slab_page_t *>memory


cdef inline void slab_link(slab_t *slab, slab_page_t *page) noexcept nogil:
    page.prev = NULL
    page.next = slab.partial
    if page.next != NULL:
        page.next.prev = page
    slab.partial = page


cdef inline void slab_unlink(slab_t *slab, slab_page_t *page) noexcept nogil:
    if page.prev != NULL:
        page.prev.next = page.next
    else:
        slab.partial = page.next
    if page.next != NULL:
        page.next.prev = page.prev


cdef inline void *slab_object(slab_t *slab) noexcept nogil:
    """One zeroed object, or NULL without memory."""
    cdef slab_page_t *page
    cdef char *object
    spin_lock(&slab.lock)
    page = slab.partial
    if page == NULL:
        page = slab_grow(slab)
        if page == NULL:
            spin_unlock(&slab.lock)
            return NULL
        slab_link(slab, page)
    object = <char *>page.free
    if object != NULL:
        page.free = (<void **>object)[0]
    else:
        object = <char *>page + SLAB_BYTES - (page.fresh + 1) * slab.size
        page.fresh += 1
    page.used += 1
    slab.nodes += 1
    if page.used == slab.per_page:
        slab_unlink(slab, page)
    spin_unlock(&slab.lock)
    memset(object, 0, slab.size)
    return object


cdef inline radix_node_t *slab_take(slab_t *slab) noexcept nogil:
    return <radix_node_t *>slab_object(slab)


cdef inline void slab_give(slab_t *slab, void *object) noexcept nogil:
    cdef slab_page_t *page = <slab_page_t *>(<uint64_t>object & ~<uint64_t>(SLAB_BYTES - 1))
    spin_lock(&slab.lock)
    if page.used == slab.per_page:
        slab_link(slab, page)
    (<void **>object)[0] = page.free
    page.free = object
    page.used -= 1
    slab.nodes -= 1
    if page.used == 0 and (page.prev != NULL or page.next != NULL):
        # The last page with room stays, as SLUB keeps some: one node by turns must not be a page by turns.
        slab_unlink(slab, page)
        slab.pages -= 1
        uncharge(slab.counters, SLAB_BYTES)
    else:
        page = NULL
    spin_unlock(&slab.lock)
    free(page)


cdef inline uint64_t slab_bytes(slab_t *slab) noexcept nogil:
    return slab.pages * SLAB_BYTES


cdef inline uint64_t slab_slack(slab_t *slab) noexcept nogil:
    """Bytes of the slab's pages that no object uses."""
    return slab.pages * SLAB_BYTES - slab.nodes * slab.size


cdef inline void slab_destroy(slab_t *slab) noexcept nogil:
    """Free the page that an empty slab keeps. All objects have been given back."""
    free(slab.partial)


# ---- look-up

cdef inline void radix_init(radix_t *t, slab_t *slab) noexcept nogil:
    t.slab = slab


cdef inline bint radix_is_node(uint64_t entry) noexcept nogil:
    return (entry & 3) == 2


cdef inline radix_node_t *radix_node(uint64_t entry) noexcept nogil:
    return <radix_node_t *>(entry & ~<uint64_t>3)


cdef inline uint64_t radix_load(radix_t *t, uint64_t index, uint64_t *depth) noexcept nogil:
    """The entry at *index*, or 0; adds the dependent loads that it took to *depth*."""
    cdef uint64_t entry = load_relaxed(&t.head)
    cdef radix_node_t *node
    depth[0] += 1
    if not radix_is_node(entry):
        return entry if index == 0 else 0
    node = radix_node(entry)
    if index >> node.shift > 63:
        return 0
    while True:
        entry = load_relaxed(&node.slot[(index >> node.shift) & 63])
        depth[0] += 1
        if not radix_is_node(entry):
            return entry
        node = radix_node(entry)


cdef inline uint64_t radix_last(radix_t *t) noexcept nogil:
    """The highest index at which something is stored; 0 for an empty tree."""
    cdef radix_node_t *node = radix_node(t.head)
    cdef uint64_t index = 0
    cdef int i
    if not radix_is_node(t.head):
        return 0
    while True:
        i = 63
        while node.slot[i] == 0:
            i -= 1
        index |= <uint64_t>i << node.shift
        if node.shift == 0:
            return index
        node = radix_node(node.slot[i])


cdef inline radix_node_t *radix_leaf(radix_t *t, uint64_t index) noexcept nogil:
    """The lowest node over *index*, or NULL."""
    cdef radix_node_t *node = radix_node(t.head)
    if not radix_is_node(t.head) or index >> node.shift > 63:
        return NULL
    while node.shift:
        if node.slot[(index >> node.shift) & 63] == 0:
            return NULL
        node = radix_node(node.slot[(index >> node.shift) & 63])
    return node


cdef inline uint64_t *radix_run(radix_t *t, uint64_t index, int *run) noexcept nogil:
    """The slots from *index* to the end of its leaf (*run* of them), or NULL where there is no leaf."""
    cdef radix_node_t *node
    if index == 0 and not radix_is_node(t.head):
        run[0] = 1
        return &t.head if t.head else NULL
    run[0] = 64 - (index & 63)
    node = radix_leaf(t, index)
    return &node.slot[index & 63] if node != NULL else NULL


# ---- change (the tree's lock is held)

cdef inline void radix_mark(radix_node_t *node, int offset) noexcept nogil:
    node.full |= <uint64_t>1 << offset
    while node.full == ~<uint64_t>0 and node.parent != NULL:
        node.parent.full |= <uint64_t>1 << node.offset
        node = node.parent


cdef inline void radix_unmark(radix_node_t *node, int offset) noexcept nogil:
    node.full &= ~(<uint64_t>1 << offset)
    while node.parent != NULL:
        node.parent.full &= ~(<uint64_t>1 << node.offset)
        node = node.parent


cdef inline void radix_shrink(radix_t *t) noexcept nogil:
    """Drop roots whose only slot is the first."""
    cdef radix_node_t *node
    while radix_is_node(t.head):
        node = radix_node(t.head)
        if node.count != 1 or node.slot[0] == 0:
            return
        store_relaxed(&t.head, node.slot[0])
        if radix_is_node(t.head):
            radix_node(t.head).parent = NULL
        slab_give(t.slab, node)


cdef inline void radix_prune(radix_t *t, radix_node_t *node) noexcept nogil:
    """Drop *node* and the nodes above it as far as they are empty, then the levels not needed."""
    cdef radix_node_t *parent
    while node != NULL and node.count == 0:
        parent = node.parent
        if parent == NULL:
            store_relaxed(&t.head, 0)
        else:
            store_relaxed(&parent.slot[node.offset], 0)
            parent.count -= 1
        slab_give(t.slab, node)
        node = parent
    radix_shrink(t)


cdef inline int radix_grow(radix_t *t, uint64_t index) noexcept nogil:
    """Add levels until the root covers *index*; 0, or -1 without memory."""
    cdef radix_node_t *node
    cdef int shift = 0
    if t.head == 0:
        while (index >> shift) > 63:
            shift += 6
    elif radix_is_node(t.head):
        shift = radix_node(t.head).shift + 6
    while t.head == 0 or not radix_is_node(t.head) or index >> radix_node(t.head).shift > 63:
        node = slab_take(t.slab)
        if node == NULL:
            return -1
        node.shift = shift
        shift += 6
        if t.head != 0:
            node.slot[0] = t.head
            node.count = 1
        if t.head != 0 and radix_is_node(t.head):
            radix_node(t.head).parent = node
            node.full = radix_node(t.head).full == ~<uint64_t>0
        elif t.indices and node.shift == 0:
            node.full = 1
        store_relaxed(&t.head, <uint64_t>node | 2)
    return 0


cdef inline radix_node_t *radix_make(radix_t *t, uint64_t index) noexcept nogil:
    """The leaf over *index*, made when needed; NULL without memory."""
    cdef radix_node_t *node
    cdef radix_node_t *child
    cdef int offset
    if radix_grow(t, index) < 0:
        radix_shrink(t)
        return NULL
    node = radix_node(t.head)
    while node.shift:
        offset = (index >> node.shift) & 63
        if node.slot[offset] == 0:
            child = slab_take(t.slab)
            if child == NULL:
                radix_prune(t, node)
                return NULL
            child.shift = node.shift - 6
            child.offset = offset
            child.parent = node
            child.full = t.indices and child.shift == 0 and index < 64
            store_relaxed(&node.slot[offset], <uint64_t>child | 2)
            node.count += 1
        node = radix_node(node.slot[offset])
    return node


cdef inline void radix_clear(radix_t *t, uint64_t index, int nr) noexcept nogil:
    """Remove what is stored in *nr* indices from *index* on."""
    cdef radix_node_t *node
    cdef int run, i, offset = index & 63
    while nr > 0:
        run = min(64 - offset, nr)
        node = radix_leaf(t, index)
        if node != NULL:
            for i in range(offset, offset + run):
                if node.slot[i] != 0:
                    store_relaxed(&node.slot[i], 0)
                    node.count -= 1
            radix_prune(t, node)
        elif index == 0 and not radix_is_node(t.head):
            store_relaxed(&t.head, 0)
        index += run
        nr -= run
        offset = 0


cdef inline int radix_reserve(radix_t *t, uint64_t index, int nr) noexcept nogil:
    """Make the leaves of *nr* indices; 0, or -1 without memory and the tree as it was."""
    cdef radix_node_t *node
    cdef uint64_t i = index
    while i < index + nr and radix_make(t, i) != NULL:
        i = (i | 63) + 1
    if i >= index + nr:
        return 0
    i = index
    while i < index + nr:
        node = radix_leaf(t, i)
        if node != NULL and node.count == 0:
            radix_prune(t, node)
        i = (i | 63) + 1
    return -1


cdef inline int radix_fill(radix_t *t, uint64_t index, int nr, uint64_t entry) noexcept nogil:
    """Store *entry* (not 0) at *nr* indices from *index* on; 0, or -1 without memory and nothing stored."""
    cdef radix_node_t *node
    cdef int run, i, offset = index & 63
    if index == 0 and nr == 1 and not radix_is_node(t.head):
        store_relaxed(&t.head, entry)
        return 0
    if offset + nr > 64 and radix_reserve(t, index, nr) < 0:
        return -1
    while nr > 0:
        node = radix_make(t, index)
        if node == NULL:
            return -1
        run = min(64 - offset, nr)
        for i in range(offset, offset + run):
            node.count += node.slot[i] == 0
            store_relaxed(&node.slot[i], entry)
        index += run
        nr -= run
        offset = 0
    return 0


# ---- trees that hand out indices

cdef inline uint64_t radix_first_free(radix_t *t) noexcept nogil:
    """The lowest index from 1 on with nothing stored."""
    cdef radix_node_t *node = radix_node(t.head)
    cdef uint64_t index = 0
    cdef int offset
    if t.head == 0:
        return 1
    if node.full == ~<uint64_t>0:
        return <uint64_t>64 << node.shift
    while True:
        offset = ctz64(~node.full)
        index |= <uint64_t>offset << node.shift
        if not radix_is_node(node.slot[offset]):
            return index if index else 1
        node = radix_node(node.slot[offset])


cdef inline int radix_insert(radix_t *t, uint64_t index, uint64_t entry) noexcept nogil:
    """Store a pointer at a free index and mark it taken; 0, or -1 without memory."""
    cdef radix_node_t *node = radix_make(t, index)
    if node == NULL:
        return -1
    store_relaxed(&node.slot[index & 63], entry)
    node.count += 1
    radix_mark(node, index & 63)
    return 0


cdef inline void radix_remove(radix_t *t, uint64_t index) noexcept nogil:
    cdef radix_node_t *node = radix_leaf(t, index)
    store_relaxed(&node.slot[index & 63], 0)
    node.count -= 1
    radix_unmark(node, index & 63)
    radix_prune(t, node)


# ---- from scratch

cdef inline int64_t radix_audit(radix_t *t, radix_node_t *node) noexcept nogil:
    """Number of nodes under *node*, itself included; negative when a count, a link or a mark is wrong."""
    cdef int64_t total = 1
    cdef int64_t below
    cdef radix_node_t *child
    cdef int i, used = 0
    for i in range(64):
        used += node.slot[i] != 0
        if t.indices and node.shift == 0 and i > 0 and ((node.full >> i) & 1) != (node.slot[i] != 0):
            return -1
        if radix_is_node(node.slot[i]):
            child = radix_node(node.slot[i])
            if child.parent != node or child.offset != i or child.shift + 6 != node.shift:
                return -1
            if t.indices and ((node.full >> i) & 1) != (child.full == ~<uint64_t>0):
                return -1
            below = radix_audit(t, child)
            if below < 0:
                return -1
            total += below
    return total if used == node.count and used else -1


cdef inline int64_t radix_nodes(radix_t *t) noexcept nogil:
    """Nodes of the tree, counted by walking it; negative when it is damaged."""
    if not radix_is_node(t.head):
        return 0
    if radix_node(t.head).parent != NULL:
        return -1
    return radix_audit(t, radix_node(t.head))


cdef inline void radix_destroy(radix_t *t, radix_node_t *node) noexcept nogil:
    """Give back *node* and all nodes under it."""
    cdef int i
    for i in range(64):
        if radix_is_node(node.slot[i]):
            radix_destroy(t, radix_node(node.slot[i]))
    slab_give(t.slab, node)


cdef inline void radix_release(radix_t *t) noexcept nogil:
    """An empty tree, whatever was in it."""
    if radix_is_node(t.head):
        radix_destroy(t, radix_node(t.head))
    t.head = 0
