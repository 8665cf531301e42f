# The design that Linux had until 6.17: one byte a slot, side arrays, and a radix tree as swap cache.
# May import words, locks, the protocol, the slot allocator and the radix tree.
# Used through swaptable.designs.make("old", slots).
#
# Models mm/swapfile.c, mm/swap_state.c and mm/swap_cgroup.c of 6.12 to 6.17 (2024-11 to 2025-09; the
# per-CPU slot cache, gone in 6.15, is left out; the search order is that of 6.18). Per slot, static:
# swap_map 1 byte (count to 0x3e, 0x3f bad, 0x40 cached, 0x80 continued), swap_cgroup 2 bytes,
# zeromap 1 bit; per 512 slots 24 bytes of cluster info. The swap cache is a tree of 576-byte nodes
# for every 64 MiB; a large folio is stored in each of its slots; a shadow stays until its entry is
# freed. Counts beyond 62 continue in pages of further digits, which stay until swapoff.
# Not modelled: reclaim of cached slots by the allocator, the shrinker of nodes with shadows only.
"""Linux 6.12 to 6.17: swap_map, swap_cgroup, zeromap, and the XArray swap cache."""

from libc.errno cimport EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, EOVERFLOW
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from swaptable._atomic cimport spin_lock, spin_unlock
from swaptable.designs._design cimport Design, counters_t, design_ops_t
from swaptable.designs._radix cimport (
    radix_clear, radix_destroy, radix_fill, radix_is_node, radix_load, radix_node, radix_node_t, radix_nodes,
    radix_run, radix_t, slab_bytes, slab_destroy, slab_slack, slab_t,
)
from swaptable.designs._slots cimport (
    CLUSTER, CLUSTER_SHIFT, ci_t, slots_alloc, slots_bytes, slots_free_locked, slots_init, slots_lock,
    slots_release, slots_sound, slots_t, slots_used,
)

from swaptable.designs._design import checked_slots
from swaptable.errors import CheckError

cdef extern from *:
    """
    #define zero_bit_clear(map, slot) \
        ((void)__atomic_fetch_and(&(map)[(slot) >> 6], ~(1ULL << ((slot) & 63)), __ATOMIC_RELAXED))
    #define cgroup_xchg(p, id) __atomic_exchange_n((p), (uint16_t)(id), __ATOMIC_SEQ_CST)
    """
    void zero_bit_clear(uint64_t *map, uint64_t slot) noexcept nogil
    uint16_t cgroup_xchg(uint16_t *p, uint16_t id) noexcept nogil

cdef enum:
    HAS_CACHE = 0x40
    CONTINUED = 0x80
    COUNT = 0x3f
    MAP_MAX = 0x3e
    MAP_BAD = 0x3f
    DIGIT_MAX = 127         # of a byte in a page of further counts
    DIGITS = 4              # 63 * 128^4 users are more than 32 bits
    SPACE_SHIFT = 14        # slots of 64 MiB


cdef struct space_t:        # 192 bytes, as struct address_space
    radix_t tree
    uint64_t nrpages
    uint64_t unused[20]

cdef struct old_t:
    slots_t slots
    counters_t counters
    uint8_t *map
    uint16_t *cgroup
    uint64_t *zero
    space_t *spaces
    uint64_t nspaces
    slab_t slab
    uint8_t **more          # DIGITS pages of further counts for each 4096 slots; made on first need
    uint64_t more_pages
    uint8_t more_lock


# ---- the swap_map

cdef inline bint in_use(uint8_t m) noexcept nogil:
    return m != 0 and m != MAP_BAD


cdef inline bint has_users(uint8_t m) noexcept nogil:
    return (m & (COUNT | CONTINUED)) != 0 and m != MAP_BAD


cdef int64_t map_find(void *user, uint64_t start, uint64_t end, int order) noexcept nogil:
    cdef uint8_t *map = (<old_t *>user).map
    cdef uint64_t i, nr = <uint64_t>1 << order
    while start + nr <= end:
        i = start
        while i < start + nr and map[i] == 0:
            i += 1
        if i == start + nr:
            return start
        start += nr
    return -1


cdef int map_take(void *user, uint64_t offset, int nr, uint64_t arg) noexcept nogil:
    cdef old_t *s = <old_t *>user
    memset(s.map + offset, HAS_CACHE, nr)
    s.counters.words += nr
    return 0


# ---- counts that continue

cdef inline uint8_t *digit(old_t *s, uint64_t slot, int level) noexcept nogil:
    """The byte of that level of the slot's further count, or NULL where there is no page."""
    cdef uint8_t *page
    if s.more == NULL or level >= DIGITS:
        return NULL
    page = s.more[(slot >> 12) * DIGITS + level]
    return page + (slot & 4095) if page != NULL else NULL


cdef inline int missing_level(old_t *s, uint64_t slot) noexcept nogil:
    """The level whose page one more carry needs, -1 when it is there, DIGITS when the count is at its end."""
    cdef int level = 0
    cdef uint8_t *p = digit(s, slot, 0)
    while p != NULL and p[0] == DIGIT_MAX:
        level += 1
        p = digit(s, slot, level)
    return -1 if p != NULL else level


cdef int more_add(old_t *s, uint64_t slot, int level) noexcept nogil:
    """A page of further counts for the 4096 slots around *slot*. Context: no lock held."""
    cdef uint64_t i = (slot >> 12) * DIGITS + level
    cdef uint8_t **more = NULL
    cdef uint8_t *page
    if level == DIGITS:
        return -EOVERFLOW
    page = <uint8_t *>calloc(4096, 1)
    if s.more == NULL:
        more = <uint8_t **>calloc(((s.slots.nslots + 4095) >> 12) * DIGITS, sizeof(uint8_t *))
    spin_lock(&s.more_lock)
    s.counters.locks += 1
    if s.more == NULL and more != NULL:
        s.more = more
        more = NULL
    if s.more != NULL and page != NULL and s.more[i] == NULL:
        s.more[i] = page
        s.more_pages += 1
        page = NULL
    i = s.more != NULL and s.more[i] != NULL
    spin_unlock(&s.more_lock)
    free(page)
    free(more)
    return 0 if i else -ENOMEM


cdef inline void count_up(old_t *s, uint64_t slot) noexcept nogil:
    cdef uint8_t m = s.map[slot]
    cdef int level = 0
    if m & COUNT < MAP_MAX:
        s.map[slot] = m + 1
        return
    spin_lock(&s.more_lock)
    s.counters.locks += 1
    while digit(s, slot, level)[0] == DIGIT_MAX:
        digit(s, slot, level)[0] = 0
        level += 1
    digit(s, slot, level)[0] += 1
    s.counters.words += level + 1
    spin_unlock(&s.more_lock)
    s.map[slot] = (m & HAS_CACHE) | CONTINUED


cdef inline void count_down(old_t *s, uint64_t slot) noexcept nogil:
    cdef uint8_t m = s.map[slot]
    cdef uint8_t rest = 0
    cdef int level = 0
    if m & COUNT:
        s.map[slot] = m - 1
        return
    spin_lock(&s.more_lock)
    s.counters.locks += 1
    while digit(s, slot, level)[0] == 0:
        digit(s, slot, level)[0] = DIGIT_MAX
        level += 1
    digit(s, slot, level)[0] -= 1
    s.counters.words += level + 1
    for level in range(DIGITS):
        rest |= digit(s, slot, level)[0] if digit(s, slot, level) != NULL else 0
    spin_unlock(&s.more_lock)
    s.map[slot] = (m & HAS_CACHE) | MAP_MAX | (CONTINUED if rest else 0)


cdef uint64_t count_of(old_t *s, uint64_t slot) noexcept nogil:
    cdef uint64_t total = s.map[slot] & COUNT, weight = 63
    cdef int level
    if s.map[slot] & CONTINUED:
        for level in range(DIGITS):
            if digit(s, slot, level) != NULL:
                total += weight * digit(s, slot, level)[0]
            weight *= 128
    return total


# ---- the swap cache

cdef inline space_t *space_lock(old_t *s, uint64_t entry) noexcept nogil:
    cdef space_t *space = &s.spaces[entry >> SPACE_SHIFT]
    spin_lock(&space.tree.lock)
    s.counters.locks += 1
    s.counters.lookups += 1
    s.counters.depth += 1 + (radix_node(space.tree.head).shift // 6 + 1 if radix_is_node(space.tree.head) else 0)
    return space


cdef inline uint64_t space_index(uint64_t entry) noexcept nogil:
    return entry & ((1 << SPACE_SHIFT) - 1)


cdef int cache_insert(old_t *s, uint64_t entry, int nr, uint64_t pfn) noexcept nogil:
    """The folio into each of its slots; -ENOMEM and nothing done without memory for nodes."""
    cdef space_t *space = space_lock(s, entry)
    cdef int err = radix_fill(&space.tree, space_index(entry), nr, (pfn << 3) | 4)
    if err == 0:
        space.nrpages += nr
        s.counters.words += nr
    spin_unlock(&space.tree.lock)
    return -ENOMEM if err else 0


cdef int cache_remove(old_t *s, uint64_t entry, int nr, uint64_t shadow) noexcept nogil:
    """The folio out of its slots, the shadow into them; -ENOENT when it is not in all of them."""
    cdef space_t *space = space_lock(s, entry)
    cdef uint64_t index = space_index(entry)
    cdef uint64_t *slot
    cdef int i = 0, run = 0, j
    while i < nr:
        slot = radix_run(&space.tree, index + i, &run)
        for j in range(min(run, nr - i)):
            if slot == NULL or slot[j] & 7 != 4:
                spin_unlock(&space.tree.lock)
                return -ENOENT
        i += run
    if shadow:
        radix_fill(&space.tree, index, nr, (shadow << 1) | 1)
    else:
        radix_clear(&space.tree, index, nr)
    space.nrpages -= nr
    s.counters.words += nr
    spin_unlock(&space.tree.lock)
    return 0


cdef void free_run(old_t *s, ci_t *ci, uint64_t slot, int nr) noexcept nogil:
    """Clear all that is kept of *nr* slots whose map bytes are 0. Context: the cluster's lock is held."""
    cdef space_t *space
    cdef uint64_t i
    for i in range(slot, slot + nr):
        cgroup_xchg(&s.cgroup[i], 0)
    slots_free_locked(&s.slots, ci, nr)
    for i in range(slot, slot + nr):
        zero_bit_clear(s.zero, i)
    space = space_lock(s, slot)
    radix_clear(&space.tree, space_index(slot), nr)
    spin_unlock(&space.tree.lock)
    s.counters.lookups += 2
    s.counters.depth += 2
    s.counters.words += 3 * nr


# ---- the protocol

cdef inline ci_t *entry_lock(old_t *s, uint64_t entry, int nr) noexcept nogil:
    """The entries' cluster, locked; NULL when they are not entries of one cluster of the device."""
    s.counters.ops += 1
    if nr < 1 or entry + nr > s.slots.nslots or (entry & (CLUSTER - 1)) + nr > CLUSTER:
        return NULL
    s.counters.lookups += 1
    s.counters.depth += 1
    return slots_lock(&s.slots, entry)


cdef int old_alloc(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef int64_t slot
    cdef uint64_t i
    cdef int nr = 1 << order
    cdef ci_t *ci
    s.counters.ops += 1
    slot = slots_alloc(&s.slots, order, 0)
    if slot < 0:
        return -ENOSPC
    if memcg:
        for i in range(slot, slot + nr):
            cgroup_xchg(&s.cgroup[i], memcg)
        s.counters.lookups += 1
        s.counters.depth += 1
        s.counters.words += nr
    if cache_insert(s, slot, nr, pfn) < 0:
        ci = slots_lock(&s.slots, slot)
        memset(s.map + slot, 0, nr)
        free_run(s, ci, slot, nr)
        spin_unlock(&ci.lock)
        return -ENOMEM
    entry[0] = slot
    return 0


cdef int old_dup(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef ci_t *ci
    cdef uint64_t i
    cdef int err = 1, level
    while err > 0:
        ci = entry_lock(s, entry, nr)
        if ci == NULL:
            return -EINVAL
        err = 0
        level = -1
        for i in range(entry, entry + nr):
            if not in_use(s.map[i]):
                err = -ENOENT
                break
            if level < 0 and s.map[i] & COUNT == MAP_MAX:
                level = missing_level(s, i)
                if level >= 0:
                    err = i + 1 - entry
        if err == 0:
            for i in range(entry, entry + nr):
                count_up(s, i)
            s.counters.words += nr
        spin_unlock(&ci.lock)
        if err > 0:
            level = more_add(s, entry + err - 1, level)
            if level < 0:
                return level
            s.counters.ops -= 1
    return err


cdef int old_put(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef ci_t *ci = entry_lock(s, entry, nr)
    cdef uint64_t i, start
    if ci == NULL:
        return -EINVAL
    for i in range(entry, entry + nr):
        if not has_users(s.map[i]):
            spin_unlock(&ci.lock)
            return -ENOENT
    start = entry
    for i in range(entry, entry + nr):
        count_down(s, i)
        if s.map[i]:
            if i > start:
                free_run(s, ci, start, i - start)
            start = i + 1
    if start < entry + nr:
        free_run(s, ci, start, entry + nr - start)
    s.counters.words += nr
    spin_unlock(&ci.lock)
    return 0


cdef int old_writeout(void *d, uint64_t entry, int nr) noexcept nogil:
    """The place is the slot; the zero bits are cleared, since the data is not zero."""
    cdef old_t *s = <old_t *>d
    cdef uint64_t i
    s.counters.ops += 1
    if nr < 1 or entry + nr > s.slots.nslots:
        return -EINVAL
    for i in range(entry, entry + nr):
        if not s.map[i] & HAS_CACHE:
            return -ENOENT
    for i in range(entry, entry + nr):
        zero_bit_clear(s.zero, i)
    s.counters.lookups += 1
    s.counters.depth += 1
    s.counters.words += nr
    return 0


cdef int64_t old_cache_get(void *d, uint64_t entry) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef uint64_t word
    s.counters.ops += 1
    if entry >= s.slots.nslots:
        return -1
    s.counters.lookups += 1
    word = radix_load(&s.spaces[entry >> SPACE_SHIFT].tree, space_index(entry), &s.counters.depth)
    return word >> 3 if word & 7 == 4 else -1


cdef int old_cache_add(void *d, uint64_t entry, int nr, uint64_t pfn) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef ci_t *ci = entry_lock(s, entry, nr)
    cdef uint64_t i
    cdef int err = 0
    if ci == NULL:
        return -EINVAL
    for i in range(entry, entry + nr):
        if not in_use(s.map[i]):
            err = -ENOENT
        elif s.map[i] & HAS_CACHE:
            err = -EEXIST
        if err < 0:
            break
    if err == 0:
        for i in range(entry, entry + nr):
            s.map[i] |= HAS_CACHE
        s.counters.words += nr
    spin_unlock(&ci.lock)
    if err == 0:
        err = cache_insert(s, entry, nr, pfn)
        if err < 0:
            drop_cache_bits(s, entry, nr)
    return err


cdef void drop_cache_bits(old_t *s, uint64_t entry, int nr) noexcept nogil:
    """HAS_CACHE off; slots without users become free."""
    cdef ci_t *ci = slots_lock(&s.slots, entry)
    cdef uint64_t i, start = entry
    s.counters.lookups += 1
    s.counters.depth += 1
    s.counters.words += nr
    for i in range(entry, entry + nr):
        s.map[i] &= ~HAS_CACHE
        if s.map[i]:
            if i > start:
                free_run(s, ci, start, i - start)
            start = i + 1
    if start < entry + nr:
        free_run(s, ci, start, entry + nr - start)
    spin_unlock(&ci.lock)


cdef int old_cache_del(void *d, uint64_t entry, int nr, uint64_t shadow) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef int err
    s.counters.ops += 1
    if nr < 1 or entry + nr > s.slots.nslots or (entry & (CLUSTER - 1)) + nr > CLUSTER:
        return -EINVAL
    err = cache_remove(s, entry, nr, shadow)
    if err == 0:
        drop_cache_bits(s, entry, nr)
    return err


cdef uint64_t old_used(void *d) noexcept nogil:
    return slots_used(&(<old_t *>d).slots)


cdef uint64_t old_size(void *d) noexcept nogil:
    return (<old_t *>d).slots.size


cdef inline uint64_t zero_bytes(old_t *s) noexcept nogil:
    return (s.slots.nslots + 63) // 64 * 8


cdef inline uint64_t more_links(old_t *s) noexcept nogil:
    return ((s.slots.nslots + 4095) >> 12) * DIGITS * sizeof(uint8_t *) if s.more != NULL else 0


cdef uint64_t old_bytes(void *d) noexcept nogil:
    cdef old_t *s = <old_t *>d
    return (
        3 * s.slots.nslots + zero_bytes(s) + slots_bytes(&s.slots) + s.nspaces * sizeof(space_t)
        + slab_bytes(&s.slab) + 4096 * s.more_pages + more_links(s)
    )


cdef design_ops_t OLD_OPS = [
    old_alloc, old_dup, old_put, old_writeout, old_cache_get, old_cache_add, old_cache_del, old_used, old_size,
    old_bytes,
]


# ---- from scratch

cdef const char *slot_fault(old_t *s, uint64_t slot) noexcept nogil:
    """What is wrong with a slot, or NULL."""
    cdef uint64_t depth = 0, word
    cdef uint8_t m = s.map[slot]
    cdef bint digits = False
    cdef int level
    word = radix_load(&s.spaces[slot >> SPACE_SHIFT].tree, space_index(slot), &depth)
    for level in range(DIGITS):
        digits |= digit(s, slot, level) != NULL and digit(s, slot, level)[0] != 0
    if ((m & HAS_CACHE) != 0) != (word & 7 == 4):
        return b"HAS_CACHE and the tree disagree"
    if ((m & CONTINUED) != 0) != digits:
        return b"CONTINUED and the further counts disagree"
    if not in_use(m) and (word != 0 or s.cgroup[slot] or (s.zero[slot >> 6] >> (slot & 63)) & 1):
        return b"free, but a shadow, memcg or zero bit is left"
    if m & COUNT == MAP_BAD and slot != 0:
        return b"bad, but not the header"
    return NULL


cdef const char *old_fault(old_t *s, uint64_t *where) noexcept nogil:
    """The first thing that is wrong, or NULL."""
    cdef uint64_t nodes = 0, used, i
    cdef int64_t n
    cdef const char *fault
    if not slots_sound(&s.slots):
        return b"the allocator's lists or counts are damaged"
    for where[0] in range(s.nspaces):
        n = radix_nodes(&s.spaces[where[0]].tree)
        if n < 0:
            return b"damaged tree (where: number of the space)"
        nodes += n
    if nodes != s.slab.nodes:
        return b"nodes in use are not those in the trees"
    used = 0
    for i in range(s.slots.nslots):
        where[0] = i
        fault = slot_fault(s, i)
        if fault != NULL:
            return fault
        used += s.map[i] != 0
        if i & (CLUSTER - 1) == CLUSTER - 1 or i + 1 == s.slots.nslots:
            if used + CLUSTER - 1 - (i & (CLUSTER - 1)) != s.slots.ci[i >> CLUSTER_SHIFT].count:
                return b"the cluster's count is not the number of its used slots"
            used = 0
    return NULL


cdef class OldDesign(Design):
    """Linux 6.12 to 6.17, before the swap table.

    Parameters
    ----------
    slots : int
        Slots of 4 KiB, the header's included, 1 to 2^32 - 1.

    Raises
    ------
    SwapValueError
        *slots* is out of range.
    MemoryError
    """

    def __cinit__(self, slots):
        cdef uint64_t n = checked_slots(slots), i
        cdef old_t *s = <old_t *>calloc(1, sizeof(old_t))
        if s == NULL:
            raise MemoryError
        self.state = s
        self.counters = &s.counters
        s.nspaces = (n + (1 << SPACE_SHIFT) - 1) >> SPACE_SHIFT
        s.map = <uint8_t *>calloc(n, 1)
        s.cgroup = <uint16_t *>calloc(n, 2)
        s.zero = <uint64_t *>calloc((n + 63) // 64, 8)
        s.spaces = <space_t *>calloc(s.nspaces, sizeof(space_t))
        s.slots.user = s
        s.slots.find = map_find
        s.slots.take = map_take
        if slots_init(&s.slots, n, &s.counters) < 0 or not (s.map and s.cgroup and s.zero and s.spaces):
            raise MemoryError
        s.map[0] = MAP_BAD
        for i in range(s.nspaces):
            s.spaces[i].tree.slab = &s.slab
        self.ops = &OLD_OPS

    def __init__(self, slots):
        pass

    def __dealloc__(self):
        cdef old_t *s = <old_t *>self.state
        cdef uint64_t i
        if s == NULL:
            return
        if s.spaces != NULL:
            for i in range(s.nspaces):
                if radix_is_node(s.spaces[i].tree.head):
                    radix_destroy(&s.spaces[i].tree, radix_node(s.spaces[i].tree.head))
        if s.more != NULL:
            for i in range(((s.slots.nslots + 4095) >> 12) * DIGITS):
                free(s.more[i])
        free(s.more)
        free(s.map)
        free(s.cgroup)
        free(s.zero)
        free(s.spaces)
        slab_destroy(&s.slab)
        slots_release(&s.slots)
        free(s)

    @property
    def name(self) -> str:
        """``old``."""
        return "old"

    def lookup(self, entry) -> dict:
        """Return what the structures say about *entry*; see :meth:`Design.lookup`."""
        cdef old_t *s = <old_t *>self.state
        cdef uint64_t depth = 0, word, slot
        if not 0 <= entry < s.slots.nslots or s.map[entry] == MAP_BAD:
            return {"kind": "bad", "count": 0, "memcg": 0, "zero": False, "pfn": None, "shadow": None}
        slot = entry
        word = radix_load(&s.spaces[slot >> SPACE_SHIFT].tree, space_index(slot), &depth)
        cached = word & 7 == 4
        return {
            "kind": "folio" if cached else "shadow" if s.map[slot] else "free",
            "count": count_of(s, slot),
            "memcg": s.cgroup[slot],
            "zero": bool(s.zero[slot >> 6] >> (slot & 63) & 1),
            "pfn": word >> 3 if cached else None,
            "shadow": word >> 1 if s.map[slot] and not cached else None,
        }

    def memory(self) -> dict:
        """Return the bytes by kind: the static arrays, cluster info, the cache's nodes and their slab's slack."""
        cdef old_t *s = <old_t *>self.state
        return {
            "swap_map": s.slots.nslots,
            "swap_cgroup": 2 * s.slots.nslots,
            "zeromap": zero_bytes(s),
            "cluster_info": slots_bytes(&s.slots),
            "cache_spaces": s.nspaces * sizeof(space_t),
            "cache_nodes": s.slab.nodes * sizeof(radix_node_t),
            "slab_slack": slab_slack(&s.slab),
            "continuation": 4096 * s.more_pages,
            "continuation_links": more_links(s),
            "total": old_bytes(s),
        }

    def check(self) -> None:
        """Verify every invariant from scratch.

        Raises
        ------
        CheckError
            With the slot (or the part) and what does not hold.
        """
        cdef old_t *s = <old_t *>self.state
        cdef uint64_t where = 0
        cdef const char *fault
        with nogil:
            fault = old_fault(s, &where)
        if fault != NULL:
            raise CheckError(f"old: at {where}: {(<bytes>fault).decode()}")
        if self.memory()["total"] != sum(v for k, v in self.memory().items() if k != "total"):
            raise CheckError(f"old: the kinds of memory do not add up to {self.bytes}: {self.memory()}")
