# The design that Linux had until 6.17: one byte a slot, side arrays, and a radix tree as swap cache.
# May import words, locks, the protocol, the slot allocator, the swap_map, zswap's index and the radix tree.
# Used through swaptable.designs.make("old", slots).
#
# Models mm/swapfile.c, mm/swap_state.c and mm/swap_cgroup.c of 6.12 to 6.17 (2024-11 to 2025-09; the
# per-CPU slot cache, gone in 6.15, is left out; the search order is that of 6.18). Per slot, static:
# swap_map 1 byte (count to 0x3e, 0x3f bad, 0x40 cached, 0x80 continued), swap_cgroup 2 bytes,
# zeromap 1 bit; per 512 slots 24 bytes of cluster info. The swap cache is a tree of 576-byte nodes
# for every 64 MiB; a large folio is stored in each of its slots; a shadow stays until its entry is
# freed. Counts beyond 62 continue in pages of further digits, which stay until swapoff.
# With zswap an xarray for every 64 MiB leads from the slot to the compressed copy, while the slot stays reserved.
# An entry names device and slot: data moves to another device by a walk of all page tables, and so does swapoff
# (try_to_unuse(), linear since 5.1: each page table once).
# Not modelled: reclaim of cached slots by the allocator, the shrinker of nodes with shadows only.
"""Linux 6.12 to 6.17: swap_map, swap_cgroup, zeromap, and the XArray swap cache."""

from libc.errno cimport EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from swaptable.designs._count cimport counted_alloc, counted_free, counted_lock, counted_unlock
from swaptable.designs._design cimport (
    PEEK_BAD, PEEK_FOLIO, PEEK_FREE, PEEK_SHADOW, POOL, Design, counters_t, design_ops_t, host_t, peek_t, place_t,
    walk_swapoff, walk_transfer,
)
from swaptable.designs._map cimport (
    CONTINUED, COUNT, HAS_CACHE, MAP_BAD, map_count, map_digits_left, map_down, map_find, map_has_users, map_in_use,
    map_init, map_links, map_missing_level, map_more, map_more_bytes, map_release, map_t, map_up,
)
from swaptable.designs._radix cimport (
    radix_clear, radix_fill, radix_init, radix_is_node, radix_load, radix_node, radix_node_t, radix_nodes, radix_release,
    radix_run, radix_t, slab_destroy, slab_init, slab_slack, slab_t,
)
from swaptable.designs._slots cimport (
    CI_PLAIN, CLUSTER, CLUSTER_SHIFT, INDEX_FLAT, ci_t, slots_alloc, slots_bytes, slots_ci, slots_free_locked, slots_init,
    slots_lock, slots_release, slots_sound, slots_t, slots_unlock, slots_used,
)
from swaptable.designs._zswap cimport (
    zswap_bytes, zswap_get, zswap_init, zswap_nodes, zswap_peek, zswap_put, zswap_release, zswap_t, zswap_take,
)

from swaptable.designs._design import checked_backend, checked_devices, checked_slots
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
    SPACE_SHIFT = 14        # slots of 64 MiB
    DEVICE_SHIFT = 40       # an entry is device << 40 | slot
    MAX_DEVICES = 4


cdef struct space_t:        # 192 bytes, as struct address_space
    radix_t tree
    uint64_t nrpages
    uint64_t unused[20]

cdef struct device_t:
    slots_t slots
    map_t map
    uint16_t *cgroup
    uint64_t *zero
    space_t *spaces
    uint64_t nspaces
    zswap_t zswap           # in front of the first device only
    counters_t *counters
    bint on

cdef struct old_t:
    counters_t counters
    slab_t slab
    device_t dev[MAX_DEVICES]
    int ndev
    bint zswap
    uint64_t objects        # ever put into the pool


# ---- the allocator's questions

cdef int64_t old_find(void *user, ci_t *ci, uint64_t start, uint64_t end, int order) noexcept nogil:
    return map_find(&(<device_t *>user).map, start, end, order)


cdef int old_take(void *user, ci_t *ci, uint64_t offset, int nr, uint64_t arg) noexcept nogil:
    cdef device_t *dev = <device_t *>user
    memset(dev.map.map + offset, HAS_CACHE, nr)
    dev.counters.words += nr
    return 0


# ---- the swap cache

cdef inline space_t *space_lock(device_t *dev, uint64_t slot) noexcept nogil:
    cdef space_t *space = &dev.spaces[slot >> SPACE_SHIFT]
    counted_lock(dev.counters, &space.tree.lock)
    dev.counters.lookups += 1
    dev.counters.depth += 1 + (radix_node(space.tree.head).shift // 6 + 1 if radix_is_node(space.tree.head) else 0)
    return space


cdef inline void space_unlock(device_t *dev, space_t *space) noexcept nogil:
    counted_unlock(dev.counters, &space.tree.lock)


cdef inline uint64_t space_index(uint64_t slot) noexcept nogil:
    return slot & ((1 << SPACE_SHIFT) - 1)


cdef inline uint64_t space_word(device_t *dev, uint64_t slot, uint64_t *depth) noexcept nogil:
    return radix_load(&dev.spaces[slot >> SPACE_SHIFT].tree, space_index(slot), depth)


cdef int cache_insert(device_t *dev, uint64_t slot, int nr, uint64_t pfn) noexcept nogil:
    """The folio into each of its slots; -ENOMEM and nothing done without memory for nodes."""
    cdef space_t *space = space_lock(dev, slot)
    cdef int err = radix_fill(&space.tree, space_index(slot), nr, (pfn << 3) | 4)
    if err == 0:
        space.nrpages += nr
        dev.counters.words += nr
    space_unlock(dev, space)
    return -ENOMEM if err else 0


cdef int cache_remove(device_t *dev, uint64_t first, int nr, uint64_t shadow) noexcept nogil:
    """The folio out of its slots, the shadow into them; -ENOENT when it is not in all of them."""
    cdef space_t *space = space_lock(dev, first)
    cdef uint64_t index = space_index(first)
    cdef uint64_t *slot
    cdef int i = 0, run = 0, j
    while i < nr:
        slot = radix_run(&space.tree, index + i, &run)
        for j in range(min(run, nr - i)):
            if slot == NULL or slot[j] & 7 != 4:
                space_unlock(dev, space)
                return -ENOENT
        i += run
    if shadow:
        radix_fill(&space.tree, index, nr, (shadow << 1) | 1)
    else:
        radix_clear(&space.tree, index, nr)
    space.nrpages -= nr
    dev.counters.words += nr
    space_unlock(dev, space)
    return 0


cdef void free_run(device_t *dev, ci_t *ci, uint64_t slot, int nr) noexcept nogil:
    """Clear all that is kept of *nr* slots whose map bytes are 0. Context: the cluster's lock is held."""
    cdef space_t *space
    cdef uint64_t i
    for i in range(slot, slot + nr):
        cgroup_xchg(&dev.cgroup[i], 0)
    slots_free_locked(&dev.slots, ci, nr)
    for i in range(slot, slot + nr):
        zero_bit_clear(dev.zero, i)
        zswap_take(&dev.zswap, i)
    space = space_lock(dev, slot)
    radix_clear(&space.tree, space_index(slot), nr)
    space_unlock(dev, space)
    dev.counters.lookups += 2
    dev.counters.depth += 2
    dev.counters.words += 3 * nr


# ---- the protocol

cdef inline device_t *device_of(old_t *s, uint64_t entry, int nr) noexcept nogil:
    """The device of *nr* entries, or NULL when they are not slots of one cluster of one."""
    cdef uint64_t slot = slot_of(entry)
    if entry >> DEVICE_SHIFT >= <uint64_t>s.ndev or nr < 1 or (slot & (CLUSTER - 1)) + nr > CLUSTER:
        return NULL
    if not s.dev[entry >> DEVICE_SHIFT].on or slot + nr > s.dev[entry >> DEVICE_SHIFT].slots.nslots:
        return NULL
    return &s.dev[entry >> DEVICE_SHIFT]


cdef inline uint64_t slot_of(uint64_t entry) noexcept nogil:
    return entry & (((<uint64_t>1) << DEVICE_SHIFT) - 1)


cdef inline ci_t *entry_lock(old_t *s, device_t *dev, uint64_t slot) noexcept nogil:
    s.counters.lookups += 1
    s.counters.depth += 1
    return slots_lock(&dev.slots, slot)


cdef int alloc_from(old_t *s, device_t *dev, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef int64_t slot = slots_alloc(&dev.slots, order, 0)
    cdef uint64_t i
    cdef int nr = 1 << order
    cdef ci_t *ci
    if slot < 0:
        return -ENOSPC
    if memcg:
        for i in range(slot, slot + nr):
            cgroup_xchg(&dev.cgroup[i], memcg)
        s.counters.lookups += 1
        s.counters.depth += 1
        s.counters.words += nr
    if cache_insert(dev, slot, nr, pfn) < 0:
        ci = slots_lock(&dev.slots, slot)
        memset(dev.map.map + slot, 0, nr)
        free_run(dev, ci, slot, nr)
        slots_unlock(&dev.slots, ci)
        return -ENOMEM
    entry[0] = (<uint64_t>(dev - s.dev) << DEVICE_SHIFT) | <uint64_t>slot
    return 0


cdef int old_alloc(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef int i, err = -ENOSPC
    s.counters.ops += 1
    for i in range(s.ndev):
        if s.dev[i].on:
            err = alloc_from(s, &s.dev[i], order, pfn, memcg, entry)
        if err != -ENOSPC or order:     # a large request ends after the first device
            break
    return err


cdef int old_alloc_on(void *d, int tier, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef int err
    s.counters.ops += 1
    if tier < 1 or tier > s.ndev or not s.dev[tier - 1].on:
        return -EINVAL
    err = alloc_from(s, &s.dev[tier - 1], order, pfn, memcg, entry)
    s.counters.ios += err == 0
    s.counters.extents += err == 0
    return err


cdef int old_dup(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef device_t *dev = device_of(s, entry, nr)
    cdef uint64_t slot = slot_of(entry), i
    cdef ci_t *ci
    cdef int err = 1, level
    s.counters.ops += 1
    if dev == NULL:
        return -EINVAL
    while err > 0:
        ci = entry_lock(s, dev, slot)
        err = 0
        level = -1
        for i in range(slot, slot + nr):
            if not map_in_use(dev.map.map[i]):
                err = -ENOENT
                break
            if level < 0:
                level = map_missing_level(&dev.map, i)
                if level >= 0:
                    err = i + 1 - slot
        if err == 0:
            for i in range(slot, slot + nr):
                map_up(&dev.map, i)
            s.counters.words += nr
        slots_unlock(&dev.slots, ci)
        if err > 0:
            level = map_more(&dev.map, slot + err - 1, level)
            if level < 0:
                return level
    return err


cdef int old_put(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef device_t *dev = device_of(s, entry, nr)
    cdef uint64_t slot = slot_of(entry), i, start = slot
    cdef ci_t *ci
    s.counters.ops += 1
    if dev == NULL:
        return -EINVAL
    ci = entry_lock(s, dev, slot)
    for i in range(slot, slot + nr):
        if not map_has_users(dev.map.map[i]):
            slots_unlock(&dev.slots, ci)
            return -ENOENT
    for i in range(slot, slot + nr):
        map_down(&dev.map, i)
        if dev.map.map[i]:
            if i > start:
                free_run(dev, ci, start, i - start)
            start = i + 1
    if start < slot + nr:
        free_run(dev, ci, start, slot + nr - start)
    s.counters.words += nr
    slots_unlock(&dev.slots, ci)
    return 0


cdef int store(old_t *s, device_t *dev, uint64_t slot, int nr) noexcept nogil:
    """zswap_store(): an object for each page, or for none."""
    cdef uint64_t i, j
    for i in range(slot, slot + nr):
        s.objects += 1
        if zswap_put(&dev.zswap, i, s.objects) < 0:
            for j in range(slot, i):
                zswap_take(&dev.zswap, j)
            return -ENOMEM
    return 0


cdef int old_writeout(void *d, uint64_t entry, int nr) noexcept nogil:
    """The place is the slot, or the pool in front of it; the zero bits are cleared, since the data is not zero."""
    cdef old_t *s = <old_t *>d
    cdef device_t *dev = device_of(s, entry, nr)
    cdef uint64_t slot = slot_of(entry), i
    s.counters.ops += 1
    if dev == NULL:
        return -EINVAL
    for i in range(slot, slot + nr):
        if not dev.map.map[i] & HAS_CACHE:
            return -ENOENT
    for i in range(slot, slot + nr):
        zero_bit_clear(dev.zero, i)
    s.counters.lookups += 1
    s.counters.depth += 1
    s.counters.words += nr
    if s.zswap and dev.zswap.trees != NULL:
        return store(s, dev, slot, nr)
    s.counters.ios += 1
    s.counters.extents += 1
    return 0


cdef int64_t old_cache_get(void *d, uint64_t entry) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef device_t *dev = device_of(s, entry, 1)
    cdef uint64_t word
    s.counters.ops += 1
    if dev == NULL:
        return -1
    s.counters.lookups += 1
    word = space_word(dev, slot_of(entry), &s.counters.depth)
    return word >> 3 if word & 7 == 4 else -1


cdef int old_cache_add(void *d, uint64_t entry, int nr, uint64_t pfn) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef device_t *dev = device_of(s, entry, nr)
    cdef uint64_t slot = slot_of(entry), i
    cdef ci_t *ci
    cdef int err = 0
    s.counters.ops += 1
    if dev == NULL:
        return -EINVAL
    ci = entry_lock(s, dev, slot)
    for i in range(slot, slot + nr):
        if not map_in_use(dev.map.map[i]):
            err = -ENOENT
        elif dev.map.map[i] & HAS_CACHE:
            err = -EEXIST
        if err < 0:
            break
    if err == 0:
        for i in range(slot, slot + nr):
            dev.map.map[i] |= HAS_CACHE
        s.counters.words += nr
    slots_unlock(&dev.slots, ci)
    if err == 0:
        err = cache_insert(dev, slot, nr, pfn)
        if err < 0:
            drop_cache_bits(dev, slot, nr)
    return err


cdef void drop_cache_bits(device_t *dev, uint64_t slot, int nr) noexcept nogil:
    """HAS_CACHE off; slots without users become free."""
    cdef ci_t *ci = slots_lock(&dev.slots, slot)
    cdef uint64_t i, start = slot
    dev.counters.lookups += 1
    dev.counters.depth += 1
    dev.counters.words += nr
    for i in range(slot, slot + nr):
        dev.map.map[i] &= ~HAS_CACHE
        if dev.map.map[i]:
            if i > start:
                free_run(dev, ci, start, i - start)
            start = i + 1
    if start < slot + nr:
        free_run(dev, ci, start, slot + nr - start)
    slots_unlock(&dev.slots, ci)


cdef int old_cache_del(void *d, uint64_t entry, int nr, uint64_t shadow) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef device_t *dev = device_of(s, entry, nr)
    cdef int err
    s.counters.ops += 1
    if dev == NULL:
        return -EINVAL
    err = cache_remove(dev, slot_of(entry), nr, shadow)
    if err == 0:
        drop_cache_bits(dev, slot_of(entry), nr)
    return err


cdef uint64_t old_used(void *d) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef uint64_t total = 0
    cdef int i
    for i in range(s.ndev):
        total += slots_used(&s.dev[i].slots) if s.dev[i].on else 0
    return total


cdef uint64_t old_size(void *d) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef uint64_t total = 0
    cdef int i
    for i in range(s.ndev):
        total += s.dev[i].slots.size if s.dev[i].on else 0
    return total


cdef uint64_t old_bytes(void *d) noexcept nogil:
    return (<old_t *>d).counters.now


# ---- where the data is

cdef int old_locate(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef device_t *dev = device_of(s, entry, nr)
    cdef uint64_t slot = slot_of(entry), object
    cdef int i
    if dev == NULL:
        return -EINVAL
    for i in range(nr):
        if not map_in_use(dev.map.map[slot + i]):
            return -ENOENT
        object = zswap_peek(&dev.zswap, slot + i)
        where[i].tier = POOL if object else <int>(dev - s.dev) + 1
        where[i].block = object if object else slot + i
    return 0


cdef int old_read(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    """Each page asks zswap first; what is there is taken from there. The others are one extent of the device."""
    cdef old_t *s = <old_t *>d
    cdef device_t *dev = device_of(s, entry, nr)
    cdef uint64_t slot = slot_of(entry), object
    cdef int i, taken = 0
    s.counters.ops += 1
    if dev == NULL:
        return -EINVAL
    for i in range(nr):
        if not dev.map.map[slot + i] & HAS_CACHE:
            return -ENOENT
    for i in range(nr):
        object = zswap_take(&dev.zswap, slot + i)
        where[i].tier = POOL if object else <int>(dev - s.dev) + 1
        where[i].block = object if object else slot + i
        s.counters.extents += object == 0 and (i == 0 or where[i - 1].tier == POOL)
        taken += object != 0
    s.counters.ios += taken < nr
    return taken > 0


cdef void old_peek(void *d, uint64_t entry, peek_t *said) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef device_t *dev = device_of(s, entry, 1)
    cdef uint64_t slot = slot_of(entry), depth = 0, word
    said.kind, said.count, said.memcg, said.zero, said.value = PEEK_BAD, 0, 0, False, 0
    if dev == NULL or dev.map.map[slot] == MAP_BAD:
        return
    said.kind = PEEK_FREE
    if dev.map.map[slot] == 0:
        return
    word = space_word(dev, slot, &depth)
    said.kind = PEEK_FOLIO if word & 7 == 4 else PEEK_SHADOW
    said.value = word >> 3 if word & 7 == 4 else word >> 1
    said.count = map_count(&dev.map, slot)
    said.memcg = dev.cgroup[slot]
    said.zero = (dev.zero[slot >> 6] >> (slot & 63)) & 1


cdef int old_hops(void *d, uint64_t entry) noexcept nogil:
    cdef peek_t said
    old_peek(d, entry, &said)
    return -ENOENT if said.kind == PEEK_FREE or said.kind == PEEK_BAD else 0


cdef uint64_t old_wasted(void *d) noexcept nogil:
    return (<old_t *>d).dev[0].zswap.objects


# ---- data moves

cdef int write_back(old_t *s, device_t *dev, uint64_t slot, const host_t *host) noexcept nogil:
    """zswap_writeback_entry(): the object goes to the slot that was kept for it, the entry stays; 0: there is none."""
    cdef place_t src, dst
    cdef uint64_t object = zswap_get(&dev.zswap, slot)
    cdef int err = 0
    if object == 0:
        return 0
    src.tier, src.block = POOL, object
    dst.tier, dst.block = <int>(dev - s.dev) + 1, slot
    if host != NULL and host.copy != NULL:
        err = host.copy(host.user, &src, &dst)
    if err == 0:
        zswap_take(&dev.zswap, slot)
        s.counters.ios += 1
        s.counters.extents += 1
    return err if err else 1


cdef int64_t old_transfer(void *d, const uint64_t *entries, int64_t n, int tier, const host_t *host) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef int64_t i, moved = 0, walked
    cdef device_t *dev
    cdef int err
    if tier < 1 or tier > s.ndev or not s.dev[tier - 1].on:
        return -EINVAL
    for i in range(n):
        dev = device_of(s, entries[i], 1)
        if dev == &s.dev[tier - 1] and not dev.map.map[slot_of(entries[i])] & HAS_CACHE:
            err = write_back(s, dev, slot_of(entries[i]), host)
            if err < 0:
                return err
            moved += err
    walked = walk_transfer(&OLD_OPS, s, &s.counters, entries, n, tier, host)
    return moved if walked < 0 and moved else walked if walked < 0 else moved + walked


cdef int pool_off(old_t *s, const host_t *host) noexcept nogil:
    """Every object goes to its slot."""
    cdef device_t *dev = &s.dev[0]
    cdef uint64_t slot
    cdef int err
    if not s.zswap:
        return -EINVAL
    s.counters.scanned += dev.slots.nslots
    for slot in range(dev.slots.nslots):
        if zswap_peek(&dev.zswap, slot):
            err = write_back(s, dev, slot, host)
            if err < 0:
                return err
    s.zswap = False
    return 0


cdef int old_swapoff(void *d, int tier, const host_t *host) noexcept nogil:
    cdef old_t *s = <old_t *>d
    cdef device_t *dev
    cdef int err
    if tier == 0:
        return pool_off(s, host)
    if tier > s.ndev or not s.dev[tier - 1].on:
        return -EINVAL
    dev = &s.dev[tier - 1]
    err = walk_swapoff(
        &OLD_OPS, s, &s.counters, <uint64_t>(tier - 1) << DEVICE_SHIFT, <uint64_t>tier << DEVICE_SHIFT, host)
    if err == 0 and slots_used(&dev.slots):
        err = -EBUSY
    if err == 0:
        device_release(dev)
    return err


cdef design_ops_t OLD_OPS
OLD_OPS.alloc = old_alloc
OLD_OPS.dup = old_dup
OLD_OPS.put = old_put
OLD_OPS.writeout = old_writeout
OLD_OPS.cache_get = old_cache_get
OLD_OPS.cache_add = old_cache_add
OLD_OPS.cache_del = old_cache_del
OLD_OPS.used = old_used
OLD_OPS.size = old_size
OLD_OPS.bytes = old_bytes
OLD_OPS.read = old_read
OLD_OPS.locate = old_locate
OLD_OPS.peek = old_peek
OLD_OPS.hops = old_hops
OLD_OPS.alloc_on = old_alloc_on
OLD_OPS.transfer = old_transfer
OLD_OPS.swapoff = old_swapoff
OLD_OPS.wasted = old_wasted


# ---- from scratch

cdef const char *slot_fault(device_t *dev, uint64_t slot) noexcept nogil:
    """What is wrong with a slot, or NULL."""
    cdef uint64_t depth = 0, word = space_word(dev, slot, &depth)
    cdef uint8_t m = dev.map.map[slot]
    if ((m & HAS_CACHE) != 0) != (word & 7 == 4):
        return b"HAS_CACHE and the tree disagree"
    if ((m & CONTINUED) != 0) != map_digits_left(&dev.map, slot):
        return b"CONTINUED and the further counts disagree"
    if not map_in_use(m) and (word != 0 or dev.cgroup[slot] or (dev.zero[slot >> 6] >> (slot & 63)) & 1):
        return b"free, but a shadow, memcg or zero bit is left"
    if not map_in_use(m) and zswap_peek(&dev.zswap, slot):
        return b"free, but the pool has data of it"
    if m & COUNT == MAP_BAD and slot != 0:
        return b"bad, but not the header"
    return NULL


cdef const char *device_fault(device_t *dev, uint64_t *where, uint64_t *nodes) noexcept nogil:
    """The first thing that is wrong with a device, or NULL; adds up the nodes of its trees."""
    cdef uint64_t used = 0, i, objects = 0
    cdef int64_t n = zswap_nodes(&dev.zswap)
    cdef const char *fault
    if not slots_sound(&dev.slots):
        return b"the allocator's lists or counts are damaged"
    for where[0] in range(dev.nspaces):
        nodes[0] += n
        n = radix_nodes(&dev.spaces[where[0]].tree)
        if n < 0:
            return b"damaged tree (where: number of the space)"
    nodes[0] += n
    for i in range(dev.slots.nslots):
        where[0] = i
        fault = slot_fault(dev, i)
        if fault != NULL:
            return fault
        objects += zswap_peek(&dev.zswap, i) != 0
        used += dev.map.map[i] != 0
        if i & (CLUSTER - 1) == CLUSTER - 1 or i + 1 == dev.slots.nslots:
            if used + CLUSTER - 1 - (i & (CLUSTER - 1)) != slots_ci(&dev.slots, i >> CLUSTER_SHIFT).count:
                return b"the cluster's count is not the number of its used slots"
            used = 0
    if <int64_t>objects != dev.zswap.objects:
        return b"the pool's objects do not add up"
    return NULL


cdef const char *old_fault(old_t *s, uint64_t *where) noexcept nogil:
    """The first thing that is wrong, or NULL."""
    cdef uint64_t nodes = 0
    cdef const char *fault
    cdef int i
    for i in range(s.ndev):
        fault = device_fault(&s.dev[i], where, &nodes) if s.dev[i].on else NULL
        if fault != NULL:
            return fault
    if nodes != s.slab.nodes:
        return b"nodes in use are not those in the trees"
    if s.counters.held:
        return b"a lock is held"
    return NULL


# ---- life

cdef int device_init(device_t *dev, uint64_t n, bint zswap, slab_t *slab, counters_t *counters) noexcept nogil:
    cdef uint64_t i
    dev.on = True
    dev.counters = counters
    dev.nspaces = (n + (1 << SPACE_SHIFT) - 1) >> SPACE_SHIFT
    dev.cgroup = <uint16_t *>counted_alloc(counters, n * 2, n * 2)
    dev.zero = <uint64_t *>counted_alloc(counters, zero_bytes(n), zero_bytes(n))
    dev.spaces = <space_t *>counted_alloc(counters, dev.nspaces * sizeof(space_t), dev.nspaces * sizeof(space_t))
    dev.slots.user = dev
    dev.slots.find = old_find
    dev.slots.take = old_take
    if dev.cgroup == NULL or dev.zero == NULL or dev.spaces == NULL or map_init(&dev.map, n, counters) < 0:
        return -1
    if zswap and zswap_init(&dev.zswap, n, slab, counters) < 0:
        return -1
    for i in range(dev.nspaces):
        radix_init(&dev.spaces[i].tree, slab)
    return slots_init(&dev.slots, n, CI_PLAIN, INDEX_FLAT, NULL, counters)


cdef inline uint64_t zero_bytes(uint64_t nslots) noexcept nogil:
    return (nslots + 63) // 64 * 8


cdef void device_release(device_t *dev) noexcept nogil:
    """Free it all, in use or not; for a second time nothing."""
    cdef uint64_t i
    if dev.spaces != NULL:
        for i in range(dev.nspaces):
            radix_release(&dev.spaces[i].tree)
    counted_free(dev.counters, dev.spaces, dev.nspaces * sizeof(space_t))
    counted_free(dev.counters, dev.cgroup, 2 * dev.slots.nslots)
    counted_free(dev.counters, dev.zero, zero_bytes(dev.slots.nslots))
    dev.spaces = NULL
    dev.cgroup = NULL
    dev.zero = NULL
    zswap_release(&dev.zswap)
    map_release(&dev.map)
    slots_release(&dev.slots)
    dev.on = False


cdef class OldDesign(Design):
    """Linux 6.12 to 6.17, before the swap table.

    Parameters
    ----------
    slots : int
        Slots of 4 KiB on each device, the header's included, 1 to 2^32 - 1.
    backend : str
        ``"disk"``, or ``"zswap"``: what is written goes to the compressed pool in front of the first device.
    devices : int
        1 to 4: tiers 1, 2, ... Slots come from the first that has some.

    Raises
    ------
    SwapValueError
        *slots*, *backend* or *devices* is out of range.
    MemoryError
    """

    def __cinit__(self, slots, backend="disk", devices=1):
        cdef uint64_t n = checked_slots(slots)
        cdef old_t *s
        cdef int i
        cdef bint zswap = checked_backend(backend) == "zswap"
        cdef int count = checked_devices(devices, 1)
        s = <old_t *>calloc(1, sizeof(old_t))
        if s == NULL:
            raise MemoryError
        self.state = s
        self.counters = &s.counters
        slab_init(&s.slab, sizeof(radix_node_t), &s.counters)
        s.zswap = zswap
        for i in range(count):
            s.ndev += 1
            if device_init(&s.dev[i], n, zswap and i == 0, &s.slab, &s.counters) < 0:
                raise MemoryError
        self.ops = &OLD_OPS

    def __init__(self, slots, backend="disk", devices=1):
        pass

    def __dealloc__(self):
        cdef old_t *s = <old_t *>self.state
        cdef int i
        if s == NULL:
            return
        for i in range(s.ndev):
            device_release(&s.dev[i])
        slab_destroy(&s.slab)
        free(s)

    @property
    def name(self) -> str:
        """``old``."""
        return "old"

    @property
    def says(self) -> dict:
        """How the design does what not every design can."""
        return SAYS

    def memory(self) -> dict:
        """Return the bytes by kind: the static arrays, cluster info, the cache's nodes and their slab's slack."""
        cdef old_t *s = <old_t *>self.state
        cdef device_t *dev
        cdef int i
        kinds = dict.fromkeys((
            "swap_map", "swap_cgroup", "zeromap", "cluster_info", "cache_spaces", "cache_nodes", "zswap_trees", "zswap_nodes",
            "slab_slack", "continuation", "continuation_links"), 0)
        for i in range(s.ndev):
            dev = &s.dev[i]
            if not dev.on:
                continue
            kinds["swap_map"] += dev.slots.nslots
            kinds["swap_cgroup"] += 2 * dev.slots.nslots
            kinds["zeromap"] += zero_bytes(dev.slots.nslots)
            kinds["cluster_info"] += slots_bytes(&dev.slots)
            kinds["cache_spaces"] += dev.nspaces * sizeof(space_t)
            kinds["zswap_trees"] += zswap_bytes(&dev.zswap)
            kinds["zswap_nodes"] += zswap_nodes(&dev.zswap) * sizeof(radix_node_t)
            kinds["continuation"] += map_more_bytes(&dev.map)
            kinds["continuation_links"] += map_links(&dev.map)
        kinds["cache_nodes"] = s.slab.nodes * sizeof(radix_node_t) - kinds["zswap_nodes"]
        kinds["slab_slack"] = slab_slack(&s.slab)
        return kinds | {"total": sum(kinds.values())}

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
        if self.memory()["total"] != self.bytes:
            raise CheckError(f"old: the kinds of memory do not add up to {self.bytes}: {self.memory()}")


SAYS = {
    "fork": "dup: one more in the swap_map, beyond 62 in pages of further digits",
    "transfer": "from the pool to the slot kept for it: the tree's entry goes; to another device: a slot there and a walk of all page "
    "tables, which name the device",
    "swapoff": "a walk of all page tables, each entry of the device becomes a page of memory; the pool: each object to its slot",
}
