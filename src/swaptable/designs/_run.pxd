# What is done to a run of slots that have words of a swap table: the kernels of the designs of words on devices.
# May import words, locks, the protocol, the device of tables, zswap's index and the reverse map to page table entries.
# Used by _words.pyx and by chains.
#
# A run is nr slots of one cluster. Each kernel takes and drops the cluster's lock, checks all words before it changes
# one, and returns 0 or -errno. Phase 1 takes some of them in two steps, as the kernel did.
from libc.errno cimport EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC
from libc.stdint cimport int64_t, uint32_t, uint64_t

from swaptable._entry cimport (
    ZERO_BIT, swp_tb_cached, swp_tb_count, swp_tb_counts, swp_tb_is_folio, swp_tb_make_folio, swp_tb_uncached,
)
from swaptable.designs._count cimport counted_alloc, counted_free
from swaptable.designs._design cimport NOWHERE, POOL, counters_t, place_t
from swaptable.designs._device cimport (
    EXTEND_BYTES, MEMCG_ARRAY, MEMCG_WORD, TABLE_BYTES, ZRAM_WORDS, bit_clear, device_charge, device_free_run, device_t,
    request_t, users_down, users_of, users_room, users_up,
)
from swaptable.designs._links cimport links_drop, links_t
from swaptable.designs._map cimport HAS_CACHE, map_count, map_down, map_missing_level, map_more, map_up
from swaptable.designs._radix cimport slab_t
from swaptable.designs._slots cimport CLUSTER, CLUSTER_SHIFT, ci_t, slots_alloc, slots_ci, slots_lock, slots_unlock
from swaptable.designs._zswap cimport zswap_put, zswap_take

cdef enum:
    DEVICE_SHIFT = 40       # an entry is device << 40 | slot
    MAX_DEVICES = 5         # four block devices and a ghost
    MAX_HOPS = 8

# What an operation asks of the words before it changes one.
cdef enum need_t:
    IN_USE = 0
    USERS = 1
    CACHED = 2
    UNCACHED = 3

# What a design does at places where it has more than words.
cdef struct hooks_t:
    # slots are about to become free; nobody but the cache holds a slot any more, or somebody does. The lock is held
    void (*release)(void *owner, ci_t *ci, uint64_t slot, int nr) noexcept nogil
    void (*only)(void *owner, ci_t *ci, uint64_t slot, bint only) noexcept nogil

cdef struct words_t:
    counters_t counters
    slab_t nodes
    device_t dev[MAX_DEVICES]
    int ndev
    int phase
    bint ghost              # the first device has no blocks
    bint large              # it takes large folios: a block device, or nothing that ever does IO
    bint zswap              # what is written to the first device goes to the pool
    bint chain              # a slot can be a Pointer to where its data went
    bint reverse            # each slot knows the page table entries that name it
    uint64_t objects        # ever put into the pool, or into zram
    int64_t redirects       # slots with blocks that are Pointers
    links_t links
    const hooks_t *hooks    # or NULL
    void *owner


# ---- entries and devices

cdef inline uint64_t slot_of(uint64_t entry) noexcept nogil:
    return entry & ((<uint64_t>1 << DEVICE_SHIFT) - 1)


cdef inline uint64_t entry_of(words_t *s, device_t *dev, uint64_t slot) noexcept nogil:
    return (<uint64_t>(dev - s.dev) << DEVICE_SHIFT) | slot


cdef inline int tier_of(words_t *s, device_t *dev) noexcept nogil:
    """The tier of a device's blocks; NOWHERE for the ghost."""
    return <int>(dev - s.dev) + 1 - s.ghost if dev.blocks else NOWHERE


cdef inline device_t *device_at(words_t *s, uint64_t entry, int nr) noexcept nogil:
    """The device of *nr* entries, or NULL when they are not slots of one cluster of one."""
    cdef uint64_t slot = slot_of(entry)
    if entry >> DEVICE_SHIFT >= <uint64_t>s.ndev or nr < 1 or (slot & (CLUSTER - 1)) + nr > CLUSTER:
        return NULL
    if not s.dev[entry >> DEVICE_SHIFT].on or slot + nr > s.dev[entry >> DEVICE_SHIFT].slots.nslots:
        return NULL
    return &s.dev[entry >> DEVICE_SHIFT]


cdef inline device_t *device_of_tier(words_t *s, int tier) noexcept nogil:
    if tier < 1 or tier - 1 + s.ghost >= s.ndev or not s.dev[tier - 1 + s.ghost].on:
        return NULL
    return &s.dev[tier - 1 + s.ghost]


cdef inline int run_lock(words_t *s, uint64_t entry, int nr, device_t **dev, ci_t **ci) noexcept nogil:
    """The entries' cluster, locked: 0, -EINVAL when they are none of one, -ENOENT when it has no table."""
    dev[0] = device_at(s, entry, nr)
    if dev[0] == NULL:
        return -EINVAL
    s.counters.lookups += 1
    s.counters.depth += 2
    ci[0] = slots_lock(&dev[0].slots, slot_of(entry))
    if ci[0] == NULL:
        return -ENOENT
    if ci[0].table == NULL:
        slots_unlock(&dev[0].slots, ci[0])
        return -ENOENT
    return 0


cdef inline int check_words(device_t *dev, ci_t *ci, uint64_t slot, int nr, int need) noexcept nogil:
    """The error of the first of *nr* slots that is not as *need* says, or 0."""
    cdef int off = slot & (CLUSTER - 1), i
    cdef uint64_t word
    for i in range(nr):
        word = ci.table[off + i]
        if not swp_tb_counts(word):
            return -ENOENT
        if need == USERS and (map_count(&dev.map, slot + i) if dev.map.map != NULL else swp_tb_count(word)) == 0:
            return -ENOENT
        if need == CACHED and not swp_tb_is_folio(word):
            return -ENOENT
        if need == UNCACHED and swp_tb_is_folio(word):
            return -EEXIST
    return 0


cdef inline uint64_t count_of(device_t *dev, ci_t *ci, uint64_t slot) noexcept nogil:
    return map_count(&dev.map, slot) if dev.map.map != NULL else users_of(ci, slot & (CLUSTER - 1))


# ---- alloc

cdef inline int alloc_from(words_t *s, device_t *dev, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef request_t request
    cdef int64_t slot
    cdef int i, nr = 1 << order
    cdef ci_t *ci
    request.word = swp_tb_make_folio(0, False, memcg if dev.memcg == MEMCG_WORD else 0, pfn)
    request.step = 0
    slot = slots_alloc(&dev.slots, order, <uint64_t>&request)
    if slot < 0:
        return -ENOSPC
    entry[0] = entry_of(s, dev, slot)
    if not dev.flags_cache and (memcg == 0 or dev.memcg == MEMCG_WORD):
        return 0
    # Phase 1 adds to the cache in a step of its own; a memory cgroup is charged when the slots are known.
    s.counters.lookups += 1
    s.counters.depth += 2
    ci = slots_ci(&dev.slots, slot >> CLUSTER_SHIFT) if dev.memcg == MEMCG_ARRAY and not dev.flags_cache else slots_lock(&dev.slots, slot)
    if dev.flags_cache:
        for i in range(nr):
            ci.table[(slot & (CLUSTER - 1)) + i] = request.word
        s.counters.words += nr
    if memcg:
        device_charge(dev, ci, slot, nr, memcg)
    if dev.memcg != MEMCG_ARRAY or dev.flags_cache:
        slots_unlock(&dev.slots, ci)
    return 0


cdef inline void place_blocks(words_t *s, device_t *dev, uint64_t slot, int nr) noexcept nogil:
    """The data of *nr* slots is written to their blocks. zram locks each entry for itself."""
    cdef int i
    s.counters.ios += 1
    s.counters.extents += 1
    if dev.zram == NULL:
        return
    for i in range(nr):
        s.objects += 1
        dev.zram[(slot + i) * ZRAM_WORDS] = s.objects
        dev.zram[(slot + i) * ZRAM_WORDS + 1] = TABLE_BYTES
    s.counters.lookups += nr
    s.counters.depth += nr
    s.counters.locks += nr
    s.counters.words += nr


# ---- users

cdef inline int more_room(words_t *s, uint64_t entry, uint64_t slot, int level) noexcept nogil:
    """What one more user needs first: a page of digits for the map, or a table of counts. No lock held."""
    cdef device_t *dev = device_at(s, entry, 1)
    cdef ci_t *ci = NULL
    cdef uint32_t *table
    cdef int err
    if dev.map.map != NULL:
        return map_more(&dev.map, slot, level)
    table = <uint32_t *>counted_alloc(&s.counters, EXTEND_BYTES, EXTEND_BYTES)
    if table == NULL:
        return -ENOMEM
    err = run_lock(s, entry, 1, &dev, &ci)
    if err == 0 and ci.extend == NULL:
        ci.extend = table
        dev.extends += 1
        table = NULL
    if err == 0:
        slots_unlock(&dev.slots, ci)
    counted_free(&s.counters, table, EXTEND_BYTES)
    return err


cdef inline int room_for_one(device_t *dev, ci_t *ci, uint64_t slot, int *level) noexcept nogil:
    """0, 1 when something must be made first, or -EOVERFLOW."""
    if dev.map.map == NULL:
        return users_room(ci, slot & (CLUSTER - 1))
    level[0] = map_missing_level(&dev.map, slot)
    return level[0] >= 0


cdef inline int run_dup(words_t *s, uint64_t entry, int nr) noexcept nogil:
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef uint64_t slot = slot_of(entry)
    cdef int i, err = 1, at = 0, level = -1, made
    while err > 0:
        err = run_lock(s, entry, nr, &dev, &ci)
        if err:
            return err
        err = check_words(dev, ci, slot, nr, IN_USE)
        for i in range(nr if err == 0 else 0):
            at = i
            err = room_for_one(dev, ci, slot + i, &level)
            if err:
                break
        for i in range(nr if err == 0 else 0):
            if dev.map.map != NULL:
                map_up(&dev.map, slot + i)
            else:
                users_up(ci, (slot & (CLUSTER - 1)) + i)
            if s.hooks != NULL and count_of(dev, ci, slot + i) == 1:
                s.hooks.only(s.owner, ci, slot + i, False)
        if err == 0:
            s.counters.words += nr
        count_map(s, dev)
        slots_unlock(&dev.slots, ci)
        if err > 0:
            made = more_room(s, entry + at, slot + at, level)
            if made < 0:
                return made
    return err


cdef inline void count_map(words_t *s, device_t *dev) noexcept nogil:
    """Until phase 2 a count is found through an array of its own."""
    if dev.map.map != NULL:
        s.counters.lookups += 1
        s.counters.depth += 1


cdef inline void free_unused(words_t *s, device_t *dev, ci_t *ci, uint64_t slot, int nr) noexcept nogil:
    """Those of *nr* slots that nobody uses or caches become free; unlocks the cluster."""
    cdef uint64_t i, start = slot
    cdef bint gone = False
    for i in range(slot, slot + nr + 1):
        if i < slot + nr and not swp_tb_is_folio(ci.table[i & (CLUSTER - 1)]) and count_of(dev, ci, i) == 0:
            continue
        if i > start:
            if s.reverse:
                links_drop(&s.links, ci, start, i - start)
            if s.hooks != NULL:
                s.hooks.release(s.owner, ci, start, i - start)
            gone = device_free_run(dev, ci, start, i - start)
        start = i + 1
    if not gone:
        slots_unlock(&dev.slots, ci)


cdef inline int run_put(words_t *s, uint64_t entry, int nr) noexcept nogil:
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef uint64_t slot = slot_of(entry)
    cdef int i, err = run_lock(s, entry, nr, &dev, &ci)
    if err:
        return err
    count_map(s, dev)
    err = check_words(dev, ci, slot, nr, USERS)
    if err:
        slots_unlock(&dev.slots, ci)
        return err
    for i in range(nr):
        if dev.map.map != NULL:
            map_down(&dev.map, slot + i)
        else:
            users_down(dev, ci, (slot & (CLUSTER - 1)) + i)
        if s.hooks != NULL and count_of(dev, ci, slot + i) == 0:
            s.hooks.only(s.owner, ci, slot + i, True)
    s.counters.words += nr
    free_unused(s, dev, ci, slot, nr)
    return 0


# ---- the swap cache

cdef inline int run_add(words_t *s, uint64_t entry, int nr, uint64_t pfn) noexcept nogil:
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef uint64_t slot = slot_of(entry)
    cdef int off = slot & (CLUSTER - 1), i, err = run_lock(s, entry, nr, &dev, &ci)
    if err:
        return err
    err = check_words(dev, ci, slot, nr, UNCACHED)
    if err == 0 and dev.flags_cache:
        # swapcache_prepare(), then the cache itself
        for i in range(nr):
            dev.map.map[slot + i] |= HAS_CACHE
        s.counters.words += nr
        count_map(s, dev)
        slots_unlock(&dev.slots, ci)
        run_lock(s, entry, nr, &dev, &ci)
    for i in range(nr if err == 0 else 0):
        ci.table[off + i] = swp_tb_cached(ci.table[off + i], pfn)
    s.counters.words += nr if err == 0 else 0
    slots_unlock(&dev.slots, ci)
    return err


cdef inline int run_del(words_t *s, uint64_t entry, int nr, uint64_t shadow) noexcept nogil:
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef uint64_t slot = slot_of(entry)
    cdef int off = slot & (CLUSTER - 1), i, err = run_lock(s, entry, nr, &dev, &ci)
    if err:
        return err
    err = check_words(dev, ci, slot, nr, CACHED)
    if err:
        slots_unlock(&dev.slots, ci)
        return err
    for i in range(nr):
        ci.table[off + i] = swp_tb_uncached(ci.table[off + i], shadow)
    s.counters.words += nr
    if dev.flags_cache:
        # put_swap_folio()
        slots_unlock(&dev.slots, ci)
        run_lock(s, entry, nr, &dev, &ci)
        count_map(s, dev)
        for i in range(nr):
            dev.map.map[slot + i] &= ~HAS_CACHE
        s.counters.words += nr
    free_unused(s, dev, ci, slot, nr)
    return 0


# ---- data out and in

cdef inline int run_check(words_t *s, uint64_t entry, int nr, int need, device_t **dev) noexcept nogil:
    """What the words say, without a lock: whoever asks holds the folio's, or asks again."""
    cdef ci_t *ci
    dev[0] = device_at(s, entry, nr)
    if dev[0] == NULL:
        return -EINVAL
    s.counters.lookups += 1
    s.counters.depth += 2
    ci = slots_ci(&dev[0].slots, slot_of(entry) >> CLUSTER_SHIFT)
    if ci == NULL or ci.table == NULL:
        return -ENOENT
    return check_words(dev[0], ci, slot_of(entry), nr, need)


cdef inline void clear_zero(words_t *s, device_t *dev, uint64_t entry, int nr) noexcept nogil:
    """What is written is no page of zeros: a bit until phase 3, in the word from phase 4 on."""
    cdef ci_t *ci = NULL
    cdef int i
    if dev.zero != NULL:
        for i in range(nr):
            bit_clear(dev.zero, slot_of(entry) + i)
    elif run_lock(s, entry, nr, &dev, &ci) == 0:
        for i in range(nr):
            ci.table[(entry & (CLUSTER - 1)) + i] &= ~ZERO_BIT
        slots_unlock(&dev.slots, ci)
    s.counters.words += nr


cdef inline int store(words_t *s, device_t *dev, uint64_t slot, int nr) noexcept nogil:
    """zswap_store(): an object for each page, or for none."""
    cdef uint64_t i, j
    for i in range(slot, slot + nr):
        s.objects += 1
        if zswap_put(&dev.zswap, i, s.objects) < 0:
            for j in range(slot, i):
                zswap_take(&dev.zswap, j)
            return -ENOMEM
    return 0


cdef inline int run_writeout(words_t *s, uint64_t entry, int nr, uint64_t unused) noexcept nogil:
    cdef device_t *dev = NULL
    cdef int err = run_check(s, entry, nr, CACHED, &dev)
    if err:
        return err
    clear_zero(s, dev, entry, nr)
    if s.zswap and dev.zswap.trees != NULL:
        return store(s, dev, slot_of(entry), nr)
    if not dev.blocks:
        return -ENOSPC              # AOP_WRITEPAGE_ACTIVATE: a ghost takes nothing that zswap refuses
    place_blocks(s, dev, slot_of(entry), nr)
    return 0


cdef inline void place_of(words_t *s, device_t *dev, uint64_t slot, uint64_t object, place_t *where) noexcept nogil:
    where.tier = POOL if object else tier_of(s, dev)
    where.block = object if object else slot


cdef inline int read_one(words_t *s, device_t *dev, uint64_t slot, place_t *where) noexcept nogil:
    """Ask zswap, then zram or the device; 1 when the pool had it, which has it no more."""
    cdef uint64_t object = zswap_take(&dev.zswap, slot)
    place_of(s, dev, slot, object, where)
    if object == 0 and dev.zram != NULL:
        s.counters.lookups += 1
        s.counters.depth += 1
        s.counters.locks += 1
    return object != 0
