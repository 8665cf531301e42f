# A swap device made of swap table words: clusters, and for each used one the tables that a design keeps.
# May import words, locks, the counters, the allocator, the swap_map and zswap's index.
# Used by the swap table's phases and by the virtual designs for their front.
#
# Models mm/swap_table.h and mm/swapfile.c from 6.18 (phase 1) on. A table of 512 words is a page that exists while
# its cluster is used; from phase 3 on bad slots are words, so that the header's cluster always has one.
from libc.errno cimport EOVERFLOW
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from swaptable._entry cimport (
    COUNT_MAX, SWP_TB_BAD, USERS_MAX, swp_tb_count, swp_tb_memcg, swp_tb_with_count,
)
from swaptable.designs._count cimport counted_alloc, counted_free
from swaptable.designs._design cimport counters_t
from swaptable.designs._map cimport HAS_CACHE, map_count, map_find, map_init, map_release, map_t
from swaptable.designs._radix cimport slab_t
from swaptable.designs._slots cimport (
    CI_EXTEND, CLUSTER, CLUSTER_SHIFT, ci_t, slots_ci, slots_end, slots_free_locked, slots_init, slots_release, slots_t,
    slots_unusable,
)
from swaptable.designs._zswap cimport zswap_release, zswap_t, zswap_take

cdef extern from *:
    """
    #define bit_clear(map, b) ((void)__atomic_fetch_and(&(map)[(b) >> 6], ~(1ULL << ((b) & 63)), __ATOMIC_RELAXED))
    #define cgroup_xchg(p, id) __atomic_exchange_n((p), (uint16_t)(id), __ATOMIC_SEQ_CST)
    """
    void bit_clear(uint64_t *map, uint64_t slot) noexcept nogil
    uint16_t cgroup_xchg(uint16_t *p, uint16_t id) noexcept nogil

cdef enum memcg_mode_t:
    MEMCG_NONE = 0
    MEMCG_ARRAY = 1         # 2 bytes a slot, static
    MEMCG_TABLE = 2         # 1024 bytes a used cluster
    MEMCG_WORD = 3

cdef enum:
    TABLE_BYTES = 4096
    EXTEND_BYTES = 2048
    MEMCG_BYTES = 1024
    ZRAM_WORDS = 2          # of an entry: handle, and flags with the size


cdef struct device_t:
    slots_t slots
    counters_t *counters
    bint on
    bint blocks             # a slot is a block of that device
    int memcg               # memcg_mode_t
    bint flags_cache        # phase 1: the map's flag says it, too
    bint bad_words          # phase 3 on: tables mark slots that are none
    uint64_t second         # bytes of a cluster's second table
    map_t map               # phases 1 and 2
    uint16_t *cgroup
    uint64_t *zero
    uint64_t *zram
    zswap_t zswap
    int64_t tables
    int64_t memcgs
    int64_t extends
    int64_t seconds

# What alloc puts into the slots' words: word, word + step, word + 2 * step, ...
cdef struct request_t:
    uint64_t word
    uint64_t step
    unsigned int memcg


# ---- tables

cdef inline void tables_drop(device_t *dev, ci_t *ci) noexcept nogil:
    """The tables of a cluster without a used slot. Context: its lock is held, or nobody knows it yet."""
    if dev.memcg == MEMCG_TABLE and ci.memcg != NULL:
        counted_free(dev.counters, ci.memcg, MEMCG_BYTES)
        ci.memcg = NULL
        dev.memcgs -= 1
    if dev.second and ci.second != NULL:
        counted_free(dev.counters, ci.second, dev.second)
        ci.second = NULL
        dev.seconds -= 1
    if dev.slots.stride >= CI_EXTEND and ci.extend != NULL:
        counted_free(dev.counters, ci.extend, EXTEND_BYTES)
        ci.extend = NULL
        dev.extends -= 1
    if ci.table != NULL:
        counted_free(dev.counters, ci.table, TABLE_BYTES)
        ci.table = NULL
        dev.tables -= 1


cdef inline int tables_make(device_t *dev, ci_t *ci) noexcept nogil:
    """All that a used cluster has from the start; -1 without memory. The kernel allocates under the lock at first, too."""
    ci.table = <uint64_t *>counted_alloc(dev.counters, TABLE_BYTES, TABLE_BYTES)
    dev.tables += ci.table != NULL
    if dev.memcg == MEMCG_TABLE:
        ci.memcg = <uint16_t *>counted_alloc(dev.counters, MEMCG_BYTES, MEMCG_BYTES)
        dev.memcgs += ci.memcg != NULL
    if dev.second:
        ci.second = counted_alloc(dev.counters, dev.second, dev.second)
        dev.seconds += ci.second != NULL
    if ci.table == NULL or (dev.memcg == MEMCG_TABLE and ci.memcg == NULL) or (dev.second and ci.second == NULL):
        tables_drop(dev, ci)
        return -1
    return 0


cdef inline uint64_t device_word(device_t *dev, uint64_t slot) noexcept nogil:
    """The word of a slot, 0 where there is no table."""
    cdef ci_t *ci = slots_ci(&dev.slots, slot >> CLUSTER_SHIFT)
    return ci.table[slot & (CLUSTER - 1)] if ci != NULL and ci.table != NULL else 0


# ---- the allocator's questions

cdef inline int64_t device_find(void *user, ci_t *ci, uint64_t start, uint64_t end, int order) noexcept nogil:
    """Phase 1 asks the map, all later ones the words."""
    cdef device_t *dev = <device_t *>user
    cdef uint64_t base = start & ~<uint64_t>(CLUSTER - 1), nr = <uint64_t>1 << order, i, begin = start
    if dev.flags_cache:
        return map_find(&dev.map, start, end, order)
    if start == 0:
        start = nr              # the header
    if ci.table == NULL:
        return start if start + nr <= end else -1
    while start + nr <= end:
        i = start
        while i < start + nr and ci.table[i - base] == 0:
            i += 1
        if i == start + nr:
            dev.counters.scanned += i - begin
            return start
        start += nr
    dev.counters.scanned += start - begin
    return -1


cdef inline int device_take(void *user, ci_t *ci, uint64_t offset, int nr, uint64_t arg) noexcept nogil:
    cdef device_t *dev = <device_t *>user
    cdef request_t *request = <request_t *>arg
    cdef int off = offset & (CLUSTER - 1), i
    if ci.table == NULL and tables_make(dev, ci) < 0:
        return -1
    if dev.flags_cache:
        memset(dev.map.map + offset, HAS_CACHE, nr)
        dev.counters.words += nr
        return 0                # the cache gets the folio in a step of its own
    for i in range(nr):
        ci.table[off + i] = request.word + i * request.step
    dev.counters.words += nr
    return 0


# ---- who pays

cdef inline void device_charge(device_t *dev, ci_t *ci, uint64_t slot, int nr, unsigned int memcg) noexcept nogil:
    cdef int i
    if dev.memcg == MEMCG_ARRAY:
        for i in range(nr):
            cgroup_xchg(&dev.cgroup[slot + i], memcg)
        dev.counters.words += nr
    elif dev.memcg == MEMCG_TABLE:
        for i in range(nr):
            ci.memcg[(slot & (CLUSTER - 1)) + i] = memcg
        dev.counters.words += nr


cdef inline unsigned int device_memcg(device_t *dev, ci_t *ci, uint64_t slot) noexcept nogil:
    if dev.memcg == MEMCG_ARRAY:
        return dev.cgroup[slot]
    if dev.memcg == MEMCG_TABLE:
        return ci.memcg[slot & (CLUSTER - 1)]
    if dev.memcg == MEMCG_WORD:
        return swp_tb_memcg(ci.table[slot & (CLUSTER - 1)])
    return 0


# ---- users, in the words and beyond 14 of them in a table that exists only then

cdef inline uint64_t users_of(ci_t *ci, int off) noexcept nogil:
    cdef unsigned int count = swp_tb_count(ci.table[off])
    return ci.extend[off] if count == COUNT_MAX else count


cdef inline int users_room(ci_t *ci, int off) noexcept nogil:
    """0 when one user more can be counted, 1 when that takes a table first, -EOVERFLOW."""
    cdef unsigned int count = swp_tb_count(ci.table[off])
    if count == COUNT_MAX:
        return -EOVERFLOW if ci.extend[off] == USERS_MAX else 0
    return count == COUNT_MAX - 1 and ci.extend == NULL


cdef inline void users_up(ci_t *ci, int off) noexcept nogil:
    cdef unsigned int count = swp_tb_count(ci.table[off])
    if count >= COUNT_MAX - 1:
        ci.extend[off] = COUNT_MAX if count == COUNT_MAX - 1 else ci.extend[off] + 1
    if count < COUNT_MAX:
        ci.table[off] = swp_tb_with_count(ci.table[off], count + 1)


cdef inline void extend_drop(device_t *dev, ci_t *ci) noexcept nogil:
    """The table of counts goes with the last count in it."""
    cdef int i
    dev.counters.scanned += CLUSTER
    for i in range(CLUSTER):
        if ci.extend[i]:
            return
    counted_free(dev.counters, ci.extend, EXTEND_BYTES)
    ci.extend = NULL
    dev.extends -= 1


cdef inline void users_down(device_t *dev, ci_t *ci, int off) noexcept nogil:
    cdef unsigned int count = swp_tb_count(ci.table[off])
    if count < COUNT_MAX:
        ci.table[off] = swp_tb_with_count(ci.table[off], count - 1)
        return
    ci.extend[off] -= 1
    if ci.extend[off] < COUNT_MAX:
        ci.extend[off] = 0
        ci.table[off] = swp_tb_with_count(ci.table[off], COUNT_MAX - 1)
        extend_drop(dev, ci)


# ---- free

cdef inline void slots_clear(device_t *dev, ci_t *ci, uint64_t slot, int nr) noexcept nogil:
    """All that is kept of *nr* slots goes. Context: the cluster's lock is held."""
    cdef uint64_t i
    cdef int off = slot & (CLUSTER - 1)
    memset(&ci.table[off], 0, nr * sizeof(uint64_t))
    dev.counters.words += nr
    if dev.memcg == MEMCG_ARRAY or dev.memcg == MEMCG_TABLE:
        device_charge(dev, ci, slot, nr, 0)
    for i in range(slot, slot + nr):
        if dev.zero != NULL:
            bit_clear(dev.zero, i)
            dev.counters.words += 1
        if dev.zram != NULL:
            dev.zram[i * ZRAM_WORDS] = 0
            dev.zram[i * ZRAM_WORDS + 1] = 0
            dev.counters.words += 1
        zswap_take(&dev.zswap, i)


cdef inline bint device_free_run(device_t *dev, ci_t *ci, uint64_t slot, int nr) noexcept nogil:
    """Free *nr* slots of a cluster, whose lock is held; True when the cluster is gone and its lock with it."""
    cdef int unusable = slots_unusable(&dev.slots, slot >> CLUSTER_SHIFT)
    slots_clear(dev, ci, slot, nr)
    if ci.count - nr == unusable and not (dev.bad_words and unusable):
        tables_drop(dev, ci)
    return slots_free_locked(&dev.slots, ci, nr)


# ---- life

cdef inline int device_mark_bad(device_t *dev) noexcept nogil:
    """Words of slots that are none: the header, those past the end; -1 without memory."""
    cdef uint64_t ids[2]
    cdef uint64_t slot
    cdef ci_t *ci
    cdef int i
    ids[0] = 0
    ids[1] = dev.slots.nclusters - 1
    for i in range(2):
        ci = slots_ci(&dev.slots, ids[i])
        if slots_unusable(&dev.slots, ids[i]) == 0 or ci.table != NULL:
            continue
        if tables_make(dev, ci) < 0:
            return -1
        for slot in range(ids[i] << CLUSTER_SHIFT, (ids[i] + 1) << CLUSTER_SHIFT):
            if slot == 0 or slot >= dev.slots.nslots:
                ci.table[slot & (CLUSTER - 1)] = SWP_TB_BAD
    return 0


cdef inline int device_arrays(device_t *dev, uint64_t nslots, bint has_map, bint has_zero) noexcept nogil:
    """What phases 1 to 3 have for every slot of the device; -1 without memory."""
    if has_map and map_init(&dev.map, nslots, dev.counters) < 0:
        return -1
    if dev.memcg == MEMCG_ARRAY:
        dev.cgroup = <uint16_t *>counted_alloc(dev.counters, 2 * nslots, 2 * nslots)
        if dev.cgroup == NULL:
            return -1
    if has_zero:
        dev.zero = <uint64_t *>counted_alloc(dev.counters, (nslots + 63) // 64 * 8, (nslots + 63) // 64 * 8)
        if dev.zero == NULL:
            return -1
    return 0


cdef inline int device_init(device_t *dev, uint64_t nslots, uint64_t stride, int index, slab_t *nodes, counters_t *counters) noexcept nogil:
    """A device of *nslots*; what is static beyond the clusters is made by those that have it. -1 without memory."""
    dev.counters = counters
    dev.on = True
    dev.slots.user = dev
    dev.slots.find = device_find
    dev.slots.take = device_take
    return slots_init(&dev.slots, nslots, stride, index, nodes, counters)


cdef inline void device_release(device_t *dev) noexcept nogil:
    """Free it all, in use or not; for a second time nothing."""
    cdef uint64_t id
    cdef ci_t *ci
    for id in range(slots_end(&dev.slots) if dev.slots.nexist else 0):
        ci = slots_ci(&dev.slots, id)
        if ci != NULL:
            tables_drop(dev, ci)
    slots_release(&dev.slots)
    map_release(&dev.map)
    zswap_release(&dev.zswap)
    counted_free(dev.counters, dev.cgroup, 2 * dev.slots.nslots)
    counted_free(dev.counters, dev.zero, (dev.slots.nslots + 63) // 64 * 8)
    counted_free(dev.counters, dev.zram, 8 * ZRAM_WORDS * dev.slots.nslots)
    dev.cgroup = NULL
    dev.zero = NULL
    dev.zram = NULL
    dev.on = False
