# A swap area: one device's clusters, lists, cursors and counts; making, dropping and memory.
# Imports words, locks, clusters, the pool, the space of blocks.
# Used by the core only; the layout is private.
from libc.errno cimport EEXIST, ENOMEM, ENOSPC
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from swaptable._atomic cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._events cimport *
from swaptable._pool cimport *
from swaptable._space cimport *

cdef extern from *:
    """
    #define MAX_SLOTS 0xffffffffULL
    #define PAST_SLOT 0x100000000ULL        /* the first slot past the end, of any device */
    #define PACKED_TAG (1ULL << 63)         /* in a table's pointer: a packed record's number */
    #define UNIFORM_TAG (1ULL << 62)
    /* By LIST_*: which of the lists of an area, which lie side by side, and whether there is one for each order. */
    static const uint8_t LIST_AT[12] = {0, 0, 0, 1, 2, 3, 13, 23, 24, 25, 35, 36};
    static const uint8_t LIST_ORDER[12] = {0, 0, 0, 0, 0, 15, 15, 0, 0, 15, 0, 0};
    """
    const uint8_t LIST_AT[12]
    const uint8_t LIST_ORDER[12]
    const uint64_t MAX_SLOTS, PAST_SLOT, PACKED_TAG, UNIFORM_TAG

cdef extern from "<stdlib.h>":
    void *aligned_alloc(size_t alignment, size_t size) noexcept nogil

cdef enum:
    MAX_CPUS = 8192
    NO_CURSOR = -1
    PARTS = 8               # of the counts
    PAST_CLUSTER = 1 << 23  # clusters past the end are numbered from here, so that no resize meets them
    PAST_MAX = 1 << 23
    ALL_CLUSTERS = 1 << 24

cdef struct list_t:
    uint32_t head           # read without the lock to skip empty lists
    uint32_t tail
    uint32_t nr

cdef struct area_t
# Asks whoever owns folio *pfn* to let go of its nr slots, which only the swap cache holds; true when it does.
ctypedef int (*reclaim_t)(void *arg, int64_t slot, int nr, uint64_t pfn) noexcept nogil
# Tells a list of devices that one of its own became full, or is full no longer.
ctypedef void (*fullness_t)(void *devices, int kind) noexcept nogil
# Is more than half of all swap of a list used?
ctypedef bint (*half_used_t)(void *devices) noexcept nogil

cdef struct cpu_t:          # its lock is the first in the order cursor, cluster, list
    uint8_t lock
    int64_t next[ORDERS]    # slot after the last allocation, or NO_CURSOR
    area_t *dev[ORDERS]     # the device of that slot
    uint8_t pad[24]

cdef struct sums_t:         # what operations changed, or what there is
    int64_t own             # slots in use on the device itself
    int64_t past            # and past its end
    int64_t holes           # own slots in use whose block holds no data of theirs: moved away, or zero
    int64_t taken           # blocks taken through locations

cdef struct part_t:         # one line of the counts, so that threads in clusters of their own share none
    sums_t nr
    uint8_t pad[32]

cdef struct area_t:
    # constant once made
    uint64_t **tables       # NULL: the cluster has no table, every word is NULL; or tagged: packed
    cluster_t *clusters
    uint32_t first_clusters  # tables of later ones come from the second depot
    bint own_blocks         # false for a ghost
    bint keep_owners
    int cpus
    bint block
    bint rotational
    bint discard
    bint grows
    cpu_t *cpu
    # changed by a resize, under list_lock; read without
    uint64_t slots          # of the device, those that it lost but are still in use too
    uint64_t blocks         # of the device
    uint32_t nr_clusters
    int64_t usable          # blocks of the device, without bad ones; of a ghost, slots
    # constant once made
    space_t *space          # NULL: of its own, where unit u is the device's unit u - 1
    int member              # in the space
    uint16_t *units         # of the space, by block >> 22
    uint16_t *fronts        # the same for slots, where owners are kept
    reclaim_t reclaim       # or NULL
    void *reclaim_arg
    void *events            # the ring of a listener, or NULL; changes at any time
    events_t *rings         # those of all listeners, that one too; they live as long as the area
    # of the list of devices that the area is in, if any; under devices_lock
    uint8_t devices_lock
    int kind
    void *devices
    fullness_t fullness
    half_used_t half_used
    uint8_t pad0[48]        # what follows keeps its cache lines: a shift of 16 bytes cost frees in order 15 %
    # under list_lock
    uint8_t list_lock
    uint32_t fresh          # clusters from here on were never used: the head of the free list
    uint64_t lists_taken    # how often this lock was taken, and found taken, by anybody
    uint64_t lists_waited
    list_t free_list        # the first of those that LIST_AT counts
    list_t full
    list_t discards
    list_t nonfull[ORDERS]
    list_t frag[ORDERS]
    list_t receive          # clusters without a table, some of whose blocks are taken through locations
    list_t received         # all of whose blocks are
    list_t past[ORDERS]     # past the end, maybe with room
    list_t past_full
    list_t past_free        # numbers of those that were destroyed
    list_t holes            # clusters with a hole that is not lent; linked by hole_next
    uint32_t past_fresh     # numbers from here on were never used
    uint32_t past_limit     # of clusters past the end
    uint32_t past_peak
    uint32_t *discard_runs  # of blocks that came home and wait for `run_discard`: first, number
    int64_t nr_discard_runs
    int64_t max_discard_runs
    uint64_t *touched       # bit per page of the cluster array, but for the first word below and past the end
    uint64_t[2] touched_first   # those: a small device has no more
    uint64_t touched_bytes  # of cluster array and table pointers
    uint32_t touched_map    # bit per page of `touched`
    uint8_t pad1[64]
    # atomic
    part_t used[PARTS]      # by cluster
    uint32_t searches       # that dropped their cursor lock to ask an owner, and go on
    uint32_t off_list       # full, and off the list of devices for that: whoever frees must tell
    int64_t reserved        # blocks promised to requests that gather them
    int64_t gathering       # blocks that such requests took, but may give up again
    int64_t given_up        # how often one did
    int64_t held            # blocks taken, but nobody's location yet
    int64_t waiting         # blocks that came home and wait for their discard
    int64_t discarding      # blocks of clusters whose discard is under way
    int64_t leaving         # blocks with data that a resize takes away: those who hold them want others
    uint8_t pad2[48]
    cpu_t global_cpu        # the cursors of a rotational device
    pool_t pool

# What a batch asks of the allocator.
cdef struct request_t:
    int order
    uint64_t word
    const uint64_t *pfns
    int64_t *out
    int64_t n
    int64_t done
    uint8_t *held[2]        # cursor locks that are held, to be dropped while an owner is asked
    area_t *pinned          # asks an owner, or did: not to be removed until the search ends
    bint reclaimed          # an owner let go of slots
    bint retried
    bint contiguous         # where the search fails, past the end


# ---- which slots there are

cdef inline bint in_range(area_t *t, int64_t slot) noexcept nogil:
    """Has the table such a slot? Past the end all have numbers, whether their cluster exists or not."""
    return <uint64_t>slot < load_relaxed(&t.slots) or (<uint64_t>slot >> 32 == 1 and t.own_blocks)


cdef inline bint has_own(area_t *t, uint32_t i) noexcept nogil:
    """Has cluster *i* blocks of its own numbers?"""
    return t.own_blocks and i < PAST_CLUSTER


cdef inline uint64_t blocks_end(area_t *t) noexcept nogil:
    """The first block that the device does not have."""
    return load_relaxed(&t.blocks)


cdef inline uint64_t slots_end(area_t *t) noexcept nogil:
    """The first slot that the device does not have; some before it may be beyond its blocks, and in use."""
    return load_relaxed(&t.slots)


cdef inline bint is_table(uint64_t *p) noexcept nogil:
    """Neither NULL nor packed."""
    return <int64_t>p > 0


cdef inline bint is_packed(uint64_t *p) noexcept nogil:
    return <int64_t>p < 0


cdef inline uint32_t *locs_of(area_t *t, const cluster_t *ci) noexcept nogil:
    return half_at(&t.pool, LOCATIONS, ci.locs)


cdef inline uint32_t *extends_of(area_t *t, const cluster_t *ci) noexcept nogil:
    return half_at(&t.pool, EXTENDS, ci.extend)


cdef inline uint64_t *bits_of(area_t *t, const cluster_t *ci) noexcept nogil:
    """The map of blocks taken. Context: cluster lock; there are any."""
    return bits_at(&t.pool, ci.bits).map


cdef inline bint is_held(area_t *t, const cluster_t *ci, unsigned int off) noexcept nogil:
    """Is the block of slot *off* taken, but nobody's location? Context: cluster lock."""
    cdef uint32_t held = bits_at(&t.pool, ci.bits).held if ci.bits else 0
    return held and held_at(&t.pool, held).map[off >> 6] >> (off & 63) & 1


cdef inline bint is_taken(area_t *t, const cluster_t *ci, unsigned int off) noexcept nogil:
    """Is the block of slot *off* taken through a location? Context: cluster lock."""
    return ci.nr_taken and bits_of(t, ci)[off >> 6] >> (off & 63) & 1


# ---- locations and blocks

cdef inline uint32_t loc_of(area_t *t, uint64_t block) noexcept nogil:
    """The location of a block of the device."""
    cdef uint32_t unit = <uint32_t>(block >> UNIT_SHIFT) + 1 if t.space == NULL else t.units[block >> UNIT_SHIFT]
    return unit << UNIT_SHIFT | <uint32_t>(block & (UNIT_BLOCKS - 1))


cdef inline int member_of(area_t *t, uint32_t loc, uint64_t *block) noexcept nogil:
    """Whose block a location of *t*'s space is. Return: the member's number, or -1 when the unit is nobody's."""
    cdef uint32_t unit = loc >> UNIT_SHIFT
    if t.space == NULL:
        unit = (1 << 16 | (unit - 1)) if unit and t.own_blocks else 0
    else:
        unit = load32(&t.space.units[unit])
    block[0] = <uint64_t>(unit & 0xffff) << UNIT_SHIFT | (loc & (UNIT_BLOCKS - 1))
    return <int>(unit >> 16) - 1


cdef inline area_t *block_of(area_t *t, uint32_t loc, uint64_t *block) noexcept nogil:
    """The device of a location of *t*'s space, and its block there; NULL when it is nobody's."""
    cdef int m = member_of(t, loc, block)
    if t.space == NULL or m < 0:
        return t if m == 0 else NULL
    return <area_t *>load_ptr(&t.space.members[m])


# ---- lists: every change under the list lock, and under the lock of the cluster that moves

cdef inline void list_add_tail(area_t *t, list_t *l, uint32_t i) noexcept nogil:
    t.clusters[i].prev = l.tail
    t.clusters[i].next = NO_CLUSTER
    if l.tail == NO_CLUSTER:
        poke32(&l.head, i)
    else:
        t.clusters[l.tail].next = i
    l.tail = i
    poke32(&l.nr, l.nr + 1)


cdef inline void list_del(area_t *t, list_t *l, uint32_t i) noexcept nogil:
    cdef uint32_t prev = t.clusters[i].prev, next = t.clusters[i].next
    if prev == NO_CLUSTER:
        poke32(&l.head, next)
    else:
        t.clusters[prev].next = next
    if next == NO_CLUSTER:
        l.tail = prev
    else:
        t.clusters[next].prev = prev
    poke32(&l.nr, l.nr - 1)


cdef inline list_t *list_of(area_t *t, int kind, int order) noexcept nogil:
    """The list of a kind, and of an order where there is one for each. No branches: both ways of a pair come equally often."""
    return &t.free_list + LIST_AT[kind] + (order & LIST_ORDER[kind]) if kind > LIST_NONE else NULL


cdef inline void lock_lists(area_t *t, swap_stat_t *st) noexcept nogil:
    cdef uint32_t waited = spin_lock(&t.list_lock)
    t.lists_taken += 1
    t.lists_waited += waited
    st.lock_waits += waited
    st.list_locks += 1


cdef inline void lock_cluster(cluster_t *ci, swap_stat_t *st) noexcept nogil:
    st.lock_waits += spin_lock(&ci.lock)
    st.cluster_locks += 1


cdef inline void cluster_move(area_t *t, uint32_t i, int kind, int old_order, swap_stat_t *st) noexcept nogil:
    """Move a cluster to the tail of another list. Context: its lock; takes and drops the list lock."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef list_t *old
    lock_lists(t, st)
    old = list_of(t, ci.list, old_order)
    if old != NULL:
        list_del(t, old, i)
    ci.list = kind
    list_add_tail(t, list_of(t, kind, ci.order), i)
    spin_unlock(&t.list_lock)


cdef inline uint32_t isolate(area_t *t, list_t *l, swap_stat_t *st) noexcept nogil:
    """Take the first cluster off a list that nobody holds; NO_CLUSTER, or the cluster, locked."""
    cdef uint32_t i
    if peek32(&l.head) == NO_CLUSTER:
        return NO_CLUSTER
    lock_lists(t, st)
    i = l.head
    # Other paths take the cluster before the list: here only a trylock cannot deadlock.
    while i != NO_CLUSTER and not spin_trylock(&t.clusters[i].lock):
        st.lock_waits += 1
        i = t.clusters[i].next
    if i != NO_CLUSTER:
        list_del(t, l, i)
        t.clusters[i].list = LIST_NONE
        st.cluster_locks += 1
    spin_unlock(&t.list_lock)
    return i


cdef inline uint64_t *touched_word(area_t *t, uint32_t page) noexcept nogil:
    """Where the bit of a page of the cluster array is."""
    if page >> 6 == 0:
        return &t.touched_first[0]
    return &t.touched_first[1] if page >> 6 == PAST_CLUSTER >> 12 else &t.touched[page >> 6]


cdef inline bint is_touched(area_t *t, uint32_t i) noexcept nogil:
    """May the structure of cluster *i* have been used?"""
    cdef uint32_t page = i >> 6
    cdef uint64_t *at = touched_word(t, page)
    if at == &t.touched[page >> 6] and peek32(&t.touched_map) >> (page >> 15) & 1 == 0:
        return False
    return load_relaxed(at) >> (page & 63) & 1


cdef inline void touch_locked(area_t *t, uint32_t i) noexcept nogil:
    """Count the memory of cluster *i*'s structure and table pointer. Context: list lock."""
    cdef uint32_t page = i >> 6
    cdef uint64_t *at = touched_word(t, page)
    cdef uint64_t word = at[0]
    if at == &t.touched[page >> 6]:
        poke32(&t.touched_map, t.touched_map | 1u << (page >> 15))
    if word >> (page & 63) & 1 == 0:
        t.touched_bytes += 4096
        if word >> (page & 56) & 255 == 0:      # 8 pages of structures share one page of pointers
            t.touched_bytes += 4096
        store_relaxed(at, word | <uint64_t>1 << (page & 63))


cdef inline uint32_t isolate_fresh(area_t *t, swap_stat_t *st) noexcept nogil:
    """The next cluster that was never used, locked; NO_CLUSTER when the device has no more."""
    cdef uint32_t i
    cdef cluster_t *ci
    if peek32(&t.fresh) >= peek32(&t.nr_clusters):
        return NO_CLUSTER
    lock_lists(t, st)
    i = t.fresh
    while i < t.nr_clusters and t.clusters[i].list != LIST_UNTOUCHED:   # those with bad slots
        i += 1
    poke32(&t.fresh, i)
    # Its lock while we have that of the lists: a resize that waits for either must not take it for unused.
    if i >= t.nr_clusters or not spin_trylock(&t.clusters[i].lock):
        i = NO_CLUSTER
    else:
        touch_locked(t, i)
        poke32(&t.fresh, i + 1)
        ci = &t.clusters[i]
        ci.list = LIST_NONE
        ci.any_free = ci.all_free = <uint64_t>-1
        st.cluster_locks += 1
    spin_unlock(&t.list_lock)
    return i


# ---- counts

cdef inline void tell_fullness(area_t *t) noexcept nogil:
    # The lock keeps the list from going away meanwhile.
    spin_lock(&t.devices_lock)
    if t.devices != NULL:
        t.fullness(t.devices, t.kind)
    spin_unlock(&t.devices_lock)


cdef inline sums_t sums_of(area_t *t) noexcept nogil:
    """What is in use; beside other threads, of slightly different moments."""
    cdef sums_t s
    cdef int i
    memset(&s, 0, sizeof(s))
    for i in range(PARTS):
        s.own += load64(&t.used[i].nr.own)
        s.past += load64(&t.used[i].nr.past)
        s.holes += load64(&t.used[i].nr.holes)
        s.taken += load64(&t.used[i].nr.taken)
    return s


cdef inline int64_t used_of(area_t *t) noexcept nogil:
    """Slots in use, past the end too."""
    cdef int64_t used = 0
    cdef int i
    for i in range(PARTS):
        used += load64(&t.used[i].nr.own)
    for i in range(PARTS if peek32(&t.past_fresh) else 0):
        used += load64(&t.used[i].nr.past)
    return used


cdef inline int64_t blocks_of(area_t *t) noexcept nogil:
    """Blocks in use: what fullness goes by. Of a ghost, slots."""
    cdef int64_t used = 0
    cdef int i
    for i in range(PARTS):
        used += load64(&t.used[i].nr.own) - load64(&t.used[i].nr.holes) + load64(&t.used[i].nr.taken)
    return used


cdef inline int64_t blocks_of_part(area_t *t, int i) noexcept nogil:
    return load64(&t.used[i].nr.own) - load64(&t.used[i].nr.holes) + load64(&t.used[i].nr.taken)


cdef inline int64_t blocks_of_settled(area_t *t) noexcept nogil:
    """`blocks_of` at one moment: the counts are read until they stand still.

    Read once, one line before a block is freed and the next after it is taken again, they may show a block too many.
    """
    cdef int64_t[PARTS] was
    cdef int64_t now, sum
    cdef int i, tries = 1 << 10
    cdef bint still = False
    for i in range(PARTS):
        was[i] = blocks_of_part(t, i)
    while not still and tries:
        still, sum = True, 0
        tries -= 1
        for i in range(PARTS):
            now = blocks_of_part(t, i)
            still = still and now == was[i]
            was[i] = now
            sum += now
    return sum


cdef inline void after_count(area_t *t, int64_t change) noexcept nogil:
    """Tell the list of devices that the area became full, or is full no longer. Context: no cluster or list lock.

    Whoever takes a device off the list sets off_list and then looks at the count again; here the count
    changes first. One of the two sees the other.
    """
    if load_ptr(&t.devices) != NULL and (load32(&t.off_list) != 0 if change < 0 else blocks_of(t) >= load64(&t.usable)):
        tell_fullness(t)


cdef inline void used_add(area_t *t, int64_t n, int64_t slot) noexcept nogil:
    """Count slots of the device taken or given back, the first of them *slot*. Context: no cluster or list lock."""
    add64(&t.used[(slot >> CLUSTER_SHIFT) & (PARTS - 1)].nr.own, n)
    after_count(t, n)


cdef inline void sums_add(area_t *t, const sums_t *d, uint32_t i) noexcept nogil:
    """Count what changed, the first of it in cluster *i*. Context: no cluster or list lock."""
    cdef sums_t *to = &t.used[i & (PARTS - 1)].nr
    # What makes for fewer free blocks comes first: nobody is promised what is not there.
    if d.taken > 0:
        add64(&to.taken, d.taken)
    if d.holes:
        add64(&to.holes, d.holes)
    if d.own:
        add64(&to.own, d.own)
    if d.past:
        add64(&to.past, d.past)
    if d.taken < 0:
        add64(&to.taken, d.taken)
    if d.own or d.holes or d.taken:
        after_count(t, d.own - d.holes + d.taken)


cdef inline bint swap_full(area_t *t) noexcept nogil:
    """More than half of all swap is used: slots that only the swap cache holds are worth asking for."""
    cdef bint half
    spin_lock(&t.devices_lock)
    half = t.half_used(t.devices) if t.devices != NULL else blocks_of(t) * 2 > load64(&t.usable)
    spin_unlock(&t.devices_lock)
    return half


# ---- making and dropping

cdef inline void lists_init(area_t *t) noexcept nogil:
    cdef int o
    for o in range(ORDERS):
        list_init(&t.nonfull[o])
        list_init(&t.frag[o])
        list_init(&t.past[o])
    list_init(&t.free_list)
    list_init(&t.full)
    list_init(&t.discards)
    list_init(&t.receive)
    list_init(&t.received)
    list_init(&t.past_full)
    list_init(&t.past_free)
    list_init(&t.holes)


cdef inline uint32_t next_touched(area_t *t, uint32_t i) noexcept nogil:
    """The first cluster from *i* on whose structure may have been used; NO_CLUSTER when there is none."""
    cdef uint32_t page = i >> 6
    cdef uint64_t *at
    cdef uint64_t word
    while page < ALL_CLUSTERS >> 6:
        at = touched_word(t, page)
        if at == &t.touched[page >> 6] and peek32(&t.touched_map) >> (page >> 15) & 1 == 0:
            page = (page | 32767) + 1
            continue
        word = load_relaxed(at) >> (page & 63)
        if word & 1:
            return max(i, page << 6)
        page = page + <uint32_t>ctz64(word) if word else (page | 63) + 1
    return NO_CLUSTER


cdef inline void list_init(list_t *l) noexcept nogil:
    l.head = l.tail = NO_CLUSTER
    l.nr = 0


cdef inline void cursors_init(cpu_t *c, int cpus) noexcept nogil:
    cdef int i, o
    memset(c, 0, cpus * sizeof(cpu_t))
    for i in range(cpus):
        for o in range(ORDERS):
            c[i].next[o] = NO_CURSOR


cdef inline area_t *area_new(uint64_t slots, int cpus) noexcept nogil:
    """An empty table without its bad slots; NULL when there is no memory."""
    cdef area_t *t = <area_t *>aligned_alloc(64, (sizeof(area_t) + 63) // 64 * 64)
    if t == NULL:
        return NULL
    memset(t, 0, sizeof(area_t))
    t.slots, t.blocks, t.cpus, t.past_limit = slots, slots, cpus, PAST_MAX
    t.nr_clusters = t.first_clusters = <uint32_t>((slots + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT)
    lists_init(t)
    cursors_init(&t.global_cpu, 1)
    t.cpu = <cpu_t *>aligned_alloc(64, cpus * sizeof(cpu_t))
    t.touched = <uint64_t *>reserve(ALL_CLUSTERS >> 9)
    t.tables = <uint64_t **>reserve(ALL_CLUSTERS * sizeof(void *))
    t.clusters = <cluster_t *>reserve(ALL_CLUSTERS * sizeof(cluster_t))
    if t.cpu == NULL or t.touched == NULL or t.tables == NULL or t.clusters == NULL or pool_init(&t.pool, t.nr_clusters):
        area_drop(t)
        return NULL
    want_small(t.tables, ALL_CLUSTERS * sizeof(void *))
    want_small(t.clusters, ALL_CLUSTERS * sizeof(cluster_t))
    cursors_init(t.cpu, cpus)
    return t


cdef inline void area_drop(area_t *t) noexcept nogil:
    if t == NULL:
        return
    if t.space != NULL:
        space_remove(t.space, t.member)
        space_drop(t.space)
    pool_drop(&t.pool)
    unreserve(t.tables, ALL_CLUSTERS * sizeof(void *))
    unreserve(t.clusters, ALL_CLUSTERS * sizeof(cluster_t))
    unreserve(t.touched, ALL_CLUSTERS >> 9)
    free(t.units)
    free(t.fronts)
    free(t.discard_runs)
    events_drop(t.rings)
    free(t.cpu)
    free(t)


cdef inline int area_join(area_t *t, space_t *s) noexcept nogil:
    """Become a member of *s*, with units for all blocks. Return: 0, -ENOSPC or -ENOMEM.

    Context: nobody else has the area yet; the reference to *s* passes to it.
    """
    cdef uint16_t *units = <uint16_t *>calloc(UNITS, sizeof(uint16_t))
    cdef int member
    if units == NULL:
        return -ENOMEM
    member = space_add(s, t)
    if member >= 0 and t.own_blocks and extend_units(s, units, member, 0, t.blocks):
        space_remove(s, member)
        member = -1
    if member < 0:
        free(units)
        return -ENOSPC
    t.units, t.member, t.space = units, member, s
    return 0


cdef inline int extend_units(space_t *s, uint16_t *units, int member, uint64_t blocks, uint64_t more) noexcept nogil:
    """Take the units that *more* blocks need over those of *blocks*. Return: 0 or -ENOSPC."""
    cdef uint32_t k
    for k in range(<uint32_t>((blocks + UNIT_BLOCKS - 1) >> UNIT_SHIFT), <uint32_t>((more + UNIT_BLOCKS - 1) >> UNIT_SHIFT)):
        if units[k] == 0:
            units[k] = <uint16_t>take_unit(s, s.units, &s.next_unit, member, k)
        if units[k] == 0:
            return -ENOSPC
    return 0


cdef inline int mark_bad(area_t *t, uint64_t slot) noexcept nogil:
    """Make a slot unusable for ever. Context: nobody else has the table yet. Return: 0, or -EEXIST when it is bad already."""
    cdef uint32_t i = <uint32_t>(slot >> CLUSTER_SHIFT)
    cdef unsigned int off = slot & (CLUSTER_SLOTS - 1)
    cdef cluster_t *ci = &t.clusters[i]
    if t.tables[i] == NULL:
        touch_locked(t, i)
        t.tables[i] = pool_get_table(&t.pool, i >= t.first_clusters)
        ci.list = LIST_NONE
        ci.any_free = ci.all_free = <uint64_t>-1
    if t.tables[i][off]:
        return -EEXIST
    t.tables[i][off] = SWP_TB_BAD
    line_changed(ci, t.tables[i], off)
    ci.count += 1
    return 0


cdef inline void place_bad(area_t *t) noexcept nogil:
    """Put the clusters with bad slots on their lists, as swapon does: upwards, to nonfull[0] or full."""
    cdef uint64_t word
    cdef uint32_t i, page
    cdef swap_stat_t st
    memset(&st, 0, sizeof(st))
    for page in range((t.nr_clusters >> 6) + 1):
        word = touched_word(t, page)[0] >> (page & 63)
        if word & 1 == 0:
            continue
        for i in range(page << 6, min(t.nr_clusters, (page + 1) << 6)):
            if t.clusters[i].list == LIST_NONE:
                cluster_move(t, i, LIST_FULL if t.clusters[i].count == CLUSTER_SLOTS else LIST_NONFULL, 0, &st)


cdef struct bytes_t:        # memory by kind
    uint64_t tables, packed, locations, bitmaps, owners, overflow, clusters, limbo, pool, fixed


cdef inline void area_memory(area_t *t, bytes_t *b) noexcept nogil:
    """Bytes of memory held, each counted where it was allocated. Context: takes and drops the list and the pool's lock."""
    cdef pool_t *p = &t.pool
    cdef uint64_t live, resident = 0
    cdef uint64_t[DEPOTS] by
    cdef int kind
    b.fixed = sizeof(area_t) + t.cpus * sizeof(cpu_t) + (UNITS * 2 if t.units != NULL else 0) + (UNITS * 4 if load_ptr(&t.fronts) != NULL else 0)
    spin_lock(&t.list_lock)
    b.clusters = t.touched_bytes
    b.fixed += popcount64(t.touched_map) * 4096 + t.max_discard_runs * 8
    spin_unlock(&t.list_lock)
    spin_lock(&p.lock)
    live = 0
    for kind in range(DEPOTS):
        by[kind] = p.depots[kind].nr_live * SPREAD * SHAPES[kind].bytes
        live += by[kind]
        resident += depot_resident(&p.depots[kind], kind) if p.depots[kind].map != NULL else 0
    b.pool = resident - live - p.limbo_bytes
    b.limbo = p.limbo_bytes + pool_side_bytes(p)
    spin_unlock(&p.lock)
    b.tables = by[TABLES] + by[MORE_TABLES]
    b.packed, b.locations, b.bitmaps, b.owners, b.overflow = by[PACKED] + by[UNIFORM], by[LOCATIONS], by[BITMAPS] + by[HELD], by[OWNERS], by[EXTENDS]


cdef inline uint64_t area_bytes(area_t *t) noexcept nogil:
    cdef bytes_t b
    area_memory(t, &b)
    return b.tables + b.packed + b.locations + b.bitmaps + b.owners + b.overflow + b.clusters + b.limbo + b.pool + b.fixed


cdef struct lists_t:        # clusters by list
    uint32_t free, discard, full, receive
    uint32_t nonfull[ORDERS]
    uint32_t frag[ORDERS]
    uint32_t past, past_peak


cdef inline uint32_t area_lists(area_t *t, lists_t *l) noexcept nogil:
    """Lengths of the lists at one moment, and their sum. Context: takes and drops the list lock."""
    cdef uint32_t sum
    cdef int o
    spin_lock(&t.list_lock)
    l.free, l.discard, l.full, l.receive = t.free_list.nr, t.discards.nr, t.full.nr, t.receive.nr + t.received.nr
    l.past, l.past_peak = t.past_fresh - t.past_free.nr, t.past_peak
    sum = l.free + l.discard + l.full + l.receive
    for o in range(ORDERS):
        l.nonfull[o], l.frag[o] = t.nonfull[o].nr, t.frag[o].nr
        sum += l.nonfull[o] + l.frag[o]
    spin_unlock(&t.list_lock)
    return sum
