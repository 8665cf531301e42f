# Contiguous allocation past the end, and who owns a block.
# Imports the area, blocks, users and what lies under them.
# Used by the core only; the layout is private.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._blocks cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._events cimport *
from swaptable._packed cimport *
from swaptable._pool cimport *
from swaptable._space cimport *
from swaptable._update cimport *

cdef enum:
    FRONTS = 2048           # units of slots of a table: its own and those past the end

cdef extern from *:
    const uint64_t ANY_PIN "UINT64_MAX"


# ---- owners: which slot a block serves, 4 bytes a block, only where a device keeps them

cdef inline uint32_t front_of(area_t *t, int64_t slot) noexcept nogil:
    """The number of a slot in the space, for arrays of owners; 0 when the numbers are used up. Context: the area is in a space."""
    cdef uint32_t index = <uint32_t>(slot >> UNIT_SHIFT)
    cdef uint16_t *map
    if load_ptr(&t.fronts) == NULL:
        map = <uint16_t *>calloc(FRONTS, sizeof(uint16_t))
        spin_lock(&t.devices_lock)
        if t.fronts == NULL:
            store_ptr_sc(&t.fronts, map)
            map = NULL
        spin_unlock(&t.devices_lock)
        free(map)
    if load_ptr(&t.fronts) == NULL:
        return 0
    if load16(&t.fronts[index]) == 0:
        spin_lock(&t.devices_lock)      # once in 2^22 slots
        if t.fronts[index] == 0:
            store16(&t.fronts[index], <uint16_t>take_unit(t.space, t.space.fronts, &t.space.next_front, t.member, index))
        spin_unlock(&t.devices_lock)
    if load16(&t.fronts[index]) == 0:
        return 0
    return <uint32_t>load16(&t.fronts[index]) << UNIT_SHIFT | <uint32_t>(slot & (UNIT_BLOCKS - 1))


cdef inline int64_t slot_of(space_t *s, uint32_t front, int *member) noexcept nogil:
    """The slot that a number of `front_of` stands for; -1 when nobody's."""
    cdef uint64_t slot
    cdef uint32_t unit = load32(&s.fronts[front >> UNIT_SHIFT])
    member[0] = <int>(unit >> 16) - 1
    slot = <uint64_t>(unit & 0xffff) << UNIT_SHIFT | (front & (UNIT_BLOCKS - 1))
    return <int64_t>slot if member[0] >= 0 else -1


cdef inline void set_owners(area_t *who, const int64_t *slots, const uint32_t *locs, int64_t n, swap_stat_t *st) noexcept nogil:
    """Note that blocks serve *slots* of *who*, or without these nobody, where their devices keep that: one lock a run in a cluster.

    Context: no cluster or list lock; the blocks are the caller's, the slots of one cluster. Location 0 is passed over.
    """
    cdef int64_t k = 0, end
    while k < n:
        end = same_blocks(locs, k, n)
        if locs[k]:
            own_cluster(who, NULL if slots == NULL else slots + k, locs + k, end - k, st)
        k = end


cdef inline void own_cluster(area_t *who, const int64_t *slots, const uint32_t *locs, int64_t n, swap_stat_t *st) noexcept nogil:
    """`set_owners` of blocks in one cluster, which serve slots of one."""
    cdef uint64_t block
    cdef area_t *t = block_of(who, locs[0], &block)
    cdef cluster_t *ci
    cdef uint32_t spare = NO_RECORD, unit = 0
    cdef uint32_t *owners
    cdef int64_t k
    if t == NULL or not t.keep_owners:
        return
    ci = &t.clusters[block >> CLUSTER_SHIFT]
    if slots != NULL:
        unit = front_of(who, slots[0]) & ~<uint32_t>(UNIT_BLOCKS - 1)
        if unit and peek32(&ci.owners) == 0:
            spare = pool_get(&t.pool, OWNERS)
    lock_cluster(ci, st)
    if ci.owners == 0 and spare != NO_RECORD:
        poke32(&ci.owners, spare)
        spare = NO_RECORD
    if ci.owners:
        owners = half_at(&t.pool, OWNERS, ci.owners)
        for k in range(n):
            owners[locs[k] & (CLUSTER_SLOTS - 1)] = unit | <uint32_t>(slots[k] & (UNIT_BLOCKS - 1)) if unit else 0
    spin_unlock(&ci.lock)
    if spare != NO_RECORD:
        pool_put(&t.pool, OWNERS, spare, False)


cdef inline uint32_t owner_of(area_t *any, uint32_t loc, swap_stat_t *st) noexcept nogil:
    """The slot that a block serves, as `front_of` numbers it; 0 where its device keeps none. Context: no locks."""
    cdef uint64_t block
    cdef area_t *t = block_of(any, loc, &block)
    cdef uint32_t front = 0
    cdef cluster_t *ci
    if t == NULL or block >= load_relaxed(&t.slots):
        return 0
    ci = &t.clusters[block >> CLUSTER_SHIFT]
    lock_cluster(ci, st)
    if ci.owners:
        front = half_at(&t.pool, OWNERS, ci.owners)[block & (CLUSTER_SLOTS - 1)]
    spin_unlock(&ci.lock)
    return front


cdef inline int64_t find_owners(
    area_t *t, int64_t first, int64_t end, int32_t *members, int64_t *slots, int64_t *blocks, int64_t room,
) noexcept nogil:
    """Slots of any member of the space that are located in blocks *first* to *end* of *t*, without locks.

    Return: how many; beyond *room* they are only counted.
    """
    cdef int64_t n = 0
    cdef int m
    cdef area_t *from_
    if t.space == NULL:
        return owners_among(t, t, 0, first, end, members, slots, blocks, 0, room)
    for m in range(MEMBERS):
        from_ = <area_t *>load_ptr(&t.space.members[m])
        if from_ != NULL:
            n += owners_among(t, from_, m, first, end, members, slots, blocks, n, room)
    return n


cdef inline int64_t owners_among(
    area_t *t, area_t *from_, int m, int64_t first, int64_t end, int32_t *members, int64_t *slots, int64_t *blocks, int64_t at, int64_t room,
) noexcept nogil:
    """`find_owners` among the slots of one table, the *at*-th on. Return: how many."""
    cdef uint32_t i = next_touched(from_, 0), epoch, nr, loc
    cdef unsigned int off
    cdef uint64_t block
    cdef int64_t begin = at
    while i != NO_CLUSTER:
        epoch = epoch_enter(&from_.pool.readers)
        nr = load32_acquire(&from_.clusters[i].locs)
        for off in range(CLUSTER_SLOTS if nr else 0):
            loc = peek32(&half_at(&from_.pool, LOCATIONS, nr)[off])
            if loc and block_of(t, loc, &block) == t and first <= <int64_t>block < end:
                if at < room:
                    members[at], slots[at], blocks[at] = m, (<int64_t>i << CLUSTER_SHIFT) + off, <int64_t>block
                at += 1
        epoch_exit(&from_.pool.readers, epoch)
        i = next_touched(from_, i + 1)
    return at - begin


# ---- clusters past the end: on lists of their own, each for one order, destroyed when empty

cdef inline uint32_t past_number_locked(area_t *t) noexcept nogil:
    """A number past the end, of a cluster that was destroyed or a new one; NO_CLUSTER at the limit. Context: list lock."""
    cdef uint32_t i = t.past_free.head
    if t.past_fresh - t.past_free.nr >= t.past_limit:
        return NO_CLUSTER
    if i != NO_CLUSTER:
        list_del(t, &t.past_free, i)
        t.clusters[i].list = LIST_NONE
    elif t.past_fresh < PAST_MAX:
        i = PAST_CLUSTER + t.past_fresh
        touch_locked(t, i)
        poke32(&t.past_fresh, t.past_fresh + 1)
        t.clusters[i].list = LIST_NONE
    t.past_peak = max(t.past_peak, t.past_fresh - t.past_free.nr)
    return i


cdef inline uint32_t past_new(area_t *t, int order, swap_stat_t *st) noexcept nogil:
    """A new cluster past the end, locked and on no list; NO_CLUSTER when there may be no more."""
    cdef uint32_t i
    cdef cluster_t *ci
    cdef uint64_t *table = pool_get_table(&t.pool, True)
    if table == NULL:
        return NO_CLUSTER
    lock_lists(t, st)
    i = past_number_locked(t)
    spin_unlock(&t.list_lock)
    if i == NO_CLUSTER:
        pool_put_table(&t.pool, table, False)
        return i
    ci = &t.clusters[i]
    lock_cluster(ci, st)
    ci.order = order
    ci.any_free = ci.all_free = <uint64_t>-1
    store_ptr(&t.tables[i], table)
    return i


cdef inline int past_scan(area_t *t, uint32_t i, int order, uint64_t word, swap_stat_t *st) noexcept nogil:
    """Take a run of a cluster past the end, which is locked and on no list, and put it on its list. Return: its offset, or -1.

    Without room for its own order it is looked at again once it gets slots back; what other orders find says nothing.
    """
    cdef cluster_t *ci = &t.clusters[i]
    cdef int at
    st.visited += 1
    if order < 3:
        at = take_small(ci, t.tables[i], 0, order, word, &st.scanned)
    else:
        at = take_large(ci, t.tables[i], 0, order, word, &st.scanned)
    if at >= 0:
        ci.count += 1 << order
    cluster_move(t, i, LIST_PAST_FULL if (at < 0 and order == ci.order) or ci.count == CLUSTER_SLOTS else LIST_PAST, ci.order, st)
    return at


cdef inline int64_t past_run(area_t *t, int order, uint64_t word, const uint32_t *locs, swap_stat_t *st) noexcept nogil:
    """A run of slots past the end, located at *locs*. Context: no cluster or list lock. Return: its first slot, or -1."""
    cdef uint32_t i, spare = pool_get(&t.pool, LOCATIONS)
    cdef cluster_t *ci
    cdef uint32_t left = 0
    cdef unsigned int k
    cdef int at = -1, o = order
    if spare == NO_RECORD:
        return -1
    while at < 0:
        i = NO_CLUSTER
        if o == order or left:
            i = isolate(t, &t.past[o], st)
            left -= o != order
        if i == NO_CLUSTER and o == order:
            i = past_new(t, order, st)
        if i == NO_CLUSTER:
            # At the limit: room in the clusters of other orders, each of which is looked at once.
            o = (o + 1) % ORDERS
            left = peek32(&t.past[o].nr)
            if o == order:
                break
            continue
        ci = &t.clusters[i]
        at = past_scan(t, i, order, word, st)
        if at >= 0:
            if ci.locs == 0:
                store32_release(&ci.locs, spare)        # its zeros are there for whoever sees it
                spare = NO_RECORD
            for k in range(1u << order):
                poke32(&locs_of(t, ci)[at + k], locs[k])
            ci.nr_loc += 1 << order
        spin_unlock(&ci.lock)
    if spare != NO_RECORD:
        pool_put(&t.pool, LOCATIONS, spare, False)
    return -1 if at < 0 else (<int64_t>i << CLUSTER_SHIFT) + at


cdef inline bint alloc_past(area_t *t, request_t *r, swap_stat_t *st) noexcept nogil:
    """Serve one run of *r* past the end: aligned slots there, blocks wherever they are free. Context: no cluster or list lock.

    Blocks are promised first, then taken one cluster lock at a time; the slots and their locations appear at once,
    so that nobody sees a slot without its location. Return: whether there was room; nothing changed if not.
    """
    cdef uint32_t[CLUSTER_SLOTS] locs
    cdef int64_t[CLUSTER_SLOTS] slots
    cdef int64_t slot, k, nr = <int64_t>1 << r.order
    cdef uint64_t word = r.word if r.pfns == NULL else r.word | (r.pfns[r.done] << 2)
    cdef sums_t sums
    if not t.own_blocks or blocks_take(t, nr, locs, st):
        return False
    slot = past_run(t, r.order, word, locs, st)
    if slot < 0:
        blocks_home(t, locs, nr, False, st)
        return False
    if t.keep_owners:
        for k in range(nr):
            slots[k] = slot + k
        set_owners(t, slots, locs, nr, st)
    memset(&sums, 0, sizeof(sums))
    sums.past = nr
    sums_add(t, &sums, <uint32_t>(slot >> CLUSTER_SHIFT))
    r.out[r.done] = slot
    r.done += 1
    r.retried = False
    if load_ptr(&t.events) != NULL:
        events_alloc(&t.events, r.order, &slot, 1, swp_tb_memcg(word))
    st.past += 1
    st.blocks += nr
    st.extents += extents_of(locs, nr)
    st.words += nr
    return True
