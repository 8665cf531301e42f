# The whole device: discard, trim of what is past the end, growing and shrinking its blocks.
# Imports the area and what lies under it.
# Used by the core only; the layout is private.
from libc.errno cimport EBUSY, EINVAL, ENOMEM, ENOSPC
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._blocks cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._packed cimport *
from swaptable._pool cimport *
from swaptable._space cimport *
from swaptable._update cimport *


# ---- discard

cdef inline int64_t discard_begin(area_t *t, swap_stat_t *st) noexcept nogil:
    """Take the first cluster that waits for its discard off its list. Return: its first slot, or -1."""
    cdef uint32_t i = isolate(t, &t.discards, st)
    if i == NO_CLUSTER:
        return -1
    add64(&t.discarding, CLUSTER_SLOTS)
    spin_unlock(&t.clusters[i].lock)    # it has no table and is on no list: nobody changes it
    return <int64_t>i << CLUSTER_SHIFT


cdef inline void discard_end(area_t *t, int64_t first, int kind, swap_stat_t *st) noexcept nogil:
    cdef uint32_t i = <uint32_t>(first >> CLUSTER_SHIFT)
    lock_cluster(&t.clusters[i], st)
    cluster_move(t, i, kind, 0, st)
    spin_unlock(&t.clusters[i].lock)
    add64(&t.discarding, -CLUSTER_SLOTS)


cdef inline uint32_t discard_all(area_t *t, swap_stat_t *st) noexcept nogil:
    """Move the clusters that wait for their discard to the free list, in order."""
    cdef uint32_t n = 0
    cdef int64_t first = discard_begin(t, st)
    while first >= 0:
        discard_end(t, first, LIST_FREE, st)
        first = discard_begin(t, st)
        n += 1
    return n


# ---- trim

cdef inline bint pop_last_locked(area_t *t, uint32_t i, list_t *l, int kind) noexcept nogil:
    """Take cluster *i* off a list of clusters that are not in use, and keep it locked. Context: list lock. Return: whether it was there."""
    cdef cluster_t *ci = &t.clusters[i]
    if ci.list != kind or not spin_trylock(&ci.lock):
        return False
    list_del(t, l, i)
    ci.list = LIST_UNTOUCHED
    return True


cdef inline void untouch_locked(area_t *t, uint32_t begin, uint32_t end) noexcept nogil:
    """Give the pages of the structures of clusters *begin* to *end* back, which this thread holds locked.

    Context: list lock. Pages that others share stay; a page that goes takes the locks of its clusters with it.
    """
    cdef uint32_t page = (begin + 63) >> 6, i, group
    cdef uint64_t *at
    for i in range(begin, min(end, page << 6)):
        memset(<uint8_t *>&t.clusters[i] + 1, 0, sizeof(cluster_t) - 1)
        spin_unlock(&t.clusters[i].lock)
    while page << 6 < end:
        at = touched_word(t, page)
        if at[0] >> (page & 63) & 1:
            give_back(&t.clusters[page << 6], 4096)
            store_relaxed(at, at[0] & ~(<uint64_t>1 << (page & 63)))
            t.touched_bytes -= 4096
            group = page & ~7u
            if at[0] >> (group & 56) & 255 == 0:
                give_back(&t.tables[group << 6], 4096)
                t.touched_bytes -= 4096
        page += 1


cdef inline void trim_clusters(area_t *t) noexcept nogil:
    """Forget clusters at the end that are not in use: of those past the end, and of a table that grows. Context: no locks."""
    cdef uint32_t end
    spin_lock(&t.list_lock)
    end = t.past_fresh
    while t.past_fresh and pop_last_locked(t, PAST_CLUSTER + t.past_fresh - 1, &t.past_free, LIST_PAST_FREE):
        poke32(&t.past_fresh, t.past_fresh - 1)
    untouch_locked(t, PAST_CLUSTER + t.past_fresh, PAST_CLUSTER + end)
    if t.past_fresh == 0 and t.own_blocks and t.touched_map >> 4:
        untouch_map_locked(t)
    end = t.fresh
    while t.grows and t.fresh and pop_last_locked(t, t.fresh - 1, &t.free_list, LIST_FREE):
        poke32(&t.fresh, t.fresh - 1)
    if t.grows:
        untouch_locked(t, t.fresh, end)
    spin_unlock(&t.list_lock)


cdef inline void untouch_map_locked(area_t *t) noexcept nogil:
    """Nothing is past the end: nor is the map of what was touched there. Context: list lock."""
    give_back(<uint8_t *>t.touched + (PAST_CLUSTER >> 9), (ALL_CLUSTERS - PAST_CLUSTER) >> 9)
    poke32(&t.touched_map, t.touched_map & 15)


cdef inline int64_t good_between(uint64_t first, uint64_t end, const int64_t *bad, int64_t nr_bad) noexcept nogil:
    """How many blocks from *first* to *end* are not bad."""
    cdef int64_t k, n = <int64_t>(end - first)
    for k in range(nr_bad):
        n -= first <= <uint64_t>bad[k] < end
    return n


# ---- fewer blocks: the slots that are in use stay, with their data elsewhere

cdef inline int lock_settled(area_t *t, uint32_t i, bint table, swap_stat_t *st) noexcept nogil:
    """Lock a cluster that nobody is about to use; with *table*, it has words.

    Return: 0, locked; -ENOMEM; -EBUSY when somebody keeps it: who asks an owner for its slots, or discards it, may have
    called us.
    """
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *spare = NULL
    cdef int tries = PATIENCE, where
    while tries:
        lock_cluster(ci, st)
        where = ci.list
        if ci.list != LIST_NONE and not is_packed(t.tables[i]) and (not table or t.tables[i] != NULL or spare != NULL):
            break
        spin_unlock(&ci.lock)
        if where == LIST_NONE:
            tries -= 1
            sched_yield()
        elif is_packed(<uint64_t *>load_ptr(&t.tables[i])):
            if expand(t, i, st):
                return -ENOMEM
        elif spare == NULL:
            spare = pool_get_table(&t.pool, i >= t.first_clusters)
            if spare == NULL:
                return -ENOMEM
    if tries == 0:
        if spare != NULL:
            pool_put_table(&t.pool, spare, False)
        return -EBUSY
    if table and t.tables[i] == NULL:
        give_table(t, i, spare, st)
        spare = NULL
    if spare != NULL:
        spin_unlock(&ci.lock)
        pool_put_table(&t.pool, spare, False)
        return lock_settled(t, i, table, st)
    return 0


cdef inline void give_table(area_t *t, uint32_t i, uint64_t *table, swap_stat_t *st) noexcept nogil:
    """Write down in words what list and bitmap of a cluster say; it goes to nonfull[0]. Context: cluster lock; it is on a list or untouched."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef unsigned int off
    if ci.list == LIST_UNTOUCHED:
        spin_lock(&t.list_lock)
        touch_locked(t, i)
        spin_unlock(&t.list_lock)
    ci.any_free = ci.all_free = <uint64_t>-1
    for off in range(CLUSTER_SLOTS if ci.nr_taken else 0):
        if is_taken(t, ci, off):
            table[off] = SWP_TB_LENT
            line_changed(ci, table, off)
    ci.count = ci.nr_taken
    ci.order = 0
    store_ptr(&t.tables[i], table)
    cluster_move(t, i, LIST_FULL if ci.count == CLUSTER_SLOTS else LIST_NONFULL, 0, st)


cdef inline int64_t fence_slot(area_t *t, uint32_t i, unsigned int off) noexcept nogil:
    """A block leaves the device: a free slot goes, one in use stays. Context: cluster lock. Return: 1 if it has somebody's data."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef uint64_t word = words[off]
    if word == SWP_TB_BAD:
        return 0
    if word == 0:
        store_relaxed(words + off, SWP_TB_BAD)
        line_changed(ci, words, off)
        ci.count += 1
        return 0
    return is_taken(t, ci, off) or (word != SWP_TB_LENT and not swp_tb_zero(word) and not (ci.nr_loc and locs_of(t, ci)[off]))


cdef inline int fence_cluster(area_t *t, uint32_t i, uint64_t end, uint64_t was, int64_t *leaving, swap_stat_t *st) noexcept nogil:
    """Take the slots from block *end* to *was* off a cluster; *leaving* of them have data. Return: 0, -EBUSY or -ENOMEM."""
    cdef uint64_t first = <uint64_t>i << CLUSTER_SHIFT
    cdef unsigned int off = <unsigned int>(end - first) if end > first else 0
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *table = NULL
    cdef bint waits
    cdef int err = lock_settled(t, i, False, st)
    if err:
        return err
    waits = ci.list == LIST_DISCARD
    if t.tables[i] == NULL and ci.nr_taken == 0 and off == 0:
        forget_cluster(t, i, st)
        spin_unlock(&ci.lock)
        return 0
    spin_unlock(&ci.lock)
    err = lock_settled(t, i, True, st)
    if err:
        return err
    ci.flags |= FLAG_BEYOND
    for off in range(off, CLUSTER_SLOTS if was - first > CLUSTER_SLOTS else <unsigned int>(was - first)):
        leaving[0] += fence_slot(t, i, off)
    if ci.count == CLUSTER_SLOTS and ci.list != LIST_FULL:
        cluster_move(t, i, LIST_FULL, ci.order, st)
    holes_changed(t, i, st)
    table = drop_beyond(t, i, st)
    spin_unlock(&ci.lock)
    if table != NULL:
        pool_put_table(&t.pool, table, True)
    if waits:
        wait_for_discard(t, first, end, st)
    return 0


cdef inline void wait_for_discard(area_t *t, uint64_t first, uint64_t end, swap_stat_t *st) noexcept nogil:
    """What is left of a cluster that was to be discarded is discarded by run. Context: no locks."""
    cdef uint64_t[CLUSTER_SLOTS] blocks
    cdef int64_t n = 0
    while first < end:
        if take_this(t, first, st):
            taken_add(t, 1, loc_of(t, first))
            blocks[n] = first
            n += 1
        first += 1
    if n and not discard_later(t, blocks, n):
        give_device(t, blocks, n, True, st)


cdef inline int fence(area_t *t, uint64_t end, const int64_t *bad, int64_t nr_bad, swap_stat_t *st) noexcept nogil:
    """Give no block from *end* on to anybody any more.

    Context: `resizing` is the caller's. Return: 0; -EBUSY or -ENOMEM: part is done, and `grow` takes it back.
    """
    cdef uint64_t was = t.blocks
    cdef uint32_t i
    cdef int64_t leaving = 0
    cdef int err = 0
    lock_lists(t, st)
    store_relaxed(&t.blocks, end)
    poke32(&t.nr_clusters, <uint32_t>((end + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT))
    spin_unlock(&t.list_lock)
    for i in range(<uint32_t>(end >> CLUSTER_SHIFT), <uint32_t>((was + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT)):
        if <uint64_t>i << CLUSTER_SHIFT < end or is_touched(t, i):
            err = fence_cluster(t, i, end, was, &leaving, st)
        if err:
            break
    # The count of what leaves first: it makes up for what the smaller device seems to be short of.
    add64(&t.leaving, leaving)
    add64(&t.usable, -good_between(end, was, bad, nr_bad))
    after_count(t, 1)
    return err


cdef inline int64_t own_data(area_t *t, uint64_t first, uint64_t end, int64_t *slots, int64_t room) noexcept nogil:
    """Slots from *first* to *end* whose data is in their own blocks. Return: how many; beyond *room* they are only counted."""
    cdef int64_t n = 0
    cdef uint32_t i = next_touched(t, <uint32_t>(first >> CLUSTER_SHIFT))
    cdef cluster_t *ci
    cdef uint64_t *words
    cdef unsigned int off
    cdef int64_t slot
    while i < (end + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT:
        ci = &t.clusters[i]
        spin_lock(&ci.lock)
        words = t.tables[i]
        for off in range(CLUSTER_SLOTS if is_table(words) else 0):
            slot = (<int64_t>i << CLUSTER_SHIFT) + off
            if swp_tb_counts(words[off]) and not swp_tb_zero(words[off]) and not (ci.nr_loc and locs_of(t, ci)[off]) and first <= <uint64_t>slot < end:
                if n < room:
                    slots[n] = slot
                n += 1
        spin_unlock(&ci.lock)
        i = next_touched(t, i + 1)
    return n


cdef inline int64_t taken_from(area_t *t, uint64_t first, uint64_t end) noexcept nogil:
    """How many blocks from *first* to *end* are taken."""
    cdef int64_t n = 0
    cdef uint32_t i = next_touched(t, <uint32_t>(first >> CLUSTER_SHIFT))
    cdef unsigned int off
    while i < (end + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT:
        spin_lock(&t.clusters[i].lock)
        for off in range(CLUSTER_SLOTS if t.clusters[i].nr_taken else 0):
            n += is_taken(t, &t.clusters[i], off) and first <= (<uint64_t>i << CLUSTER_SHIFT) + off < end
        spin_unlock(&t.clusters[i].lock)
        i = next_touched(t, i + 1)
    return n


cdef inline bint keeps_slots(area_t *t, uint32_t i, swap_stat_t *st) noexcept nogil:
    """Has cluster *i*, which has its table, slots in use beyond the device? Context: no locks."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t slot
    cdef bint some = False
    lock_cluster(ci, st)
    for slot in range(max(t.blocks, <uint64_t>i << CLUSTER_SHIFT), <uint64_t>(i + 1) << CLUSTER_SHIFT):
        some = some or (is_table(t.tables[i]) and swp_tb_counts(t.tables[i][slot & (CLUSTER_SLOTS - 1)]))
    spin_unlock(&ci.lock)
    return some


cdef inline void fenced(area_t *t, uint64_t was, swap_stat_t *st) noexcept nogil:
    """The blocks are gone. Slots beyond that are in use stay, with their data elsewhere. Context: `resizing` is the caller's."""
    cdef uint64_t slots = t.blocks
    cdef uint32_t i
    cdef uint64_t *table
    was = max(was, t.slots)     # what an earlier resize left in use is still there
    for i in range(<uint32_t>(t.blocks >> CLUSTER_SHIFT), <uint32_t>((was + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT)):
        if load_ptr(&t.tables[i]) == NULL:
            continue
        lock_cluster(&t.clusters[i], st)
        table = drop_beyond(t, i, st)
        spin_unlock(&t.clusters[i].lock)
        if table != NULL:
            pool_put_table(&t.pool, table, True)
        elif keeps_slots(t, i, st):
            slots = <uint64_t>(i + 1) << CLUSTER_SHIFT
    lock_lists(t, st)
    store_relaxed(&t.slots, slots)
    spin_unlock(&t.list_lock)


# ---- more blocks

cdef inline uint64_t *open_slots_of(area_t *t, uint32_t i, uint64_t was, uint64_t end, const int64_t *bad, int64_t nr_bad, swap_stat_t *st) noexcept nogil:
    """Give a cluster with a table its slots from block *was* to *end*, but for bad ones. Context: cluster lock.

    Return: the table, if the cluster no longer needs it.
    """
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef uint64_t slot
    cdef unsigned int off, before = ci.count
    cdef int64_t k = 0
    for off in range(CLUSTER_SLOTS):
        slot = (<uint64_t>i << CLUSTER_SHIFT) + off
        while k < nr_bad and <uint64_t>bad[k] < slot:
            k += 1
        if words[off] == SWP_TB_BAD and was <= slot < end and not (k < nr_bad and <uint64_t>bad[k] == slot):
            store_relaxed(words + off, 0)
            slot_freed(ci, words, off)
            ci.count -= 1
    if ci.flags & FLAG_BEYOND and <uint64_t>(i + 1) << CLUSTER_SHIFT <= end:
        ci.flags &= ~FLAG_BEYOND
    holes_changed(t, i, st)
    return after_free(t, i, True, st) if ci.count < before else NULL


cdef inline bint has_bad(uint32_t i, uint64_t end, const int64_t *bad, int64_t nr_bad) noexcept nogil:
    """Will cluster *i* of a device of *end* blocks have slots that are never given out?"""
    cdef int64_t k
    if <uint64_t>(i + 1) << CLUSTER_SHIFT > end:
        return True
    for k in range(nr_bad):
        if bad[k] >> CLUSTER_SHIFT == i:
            return True
    return False


cdef inline int grow_cluster(area_t *t, uint32_t i, uint64_t was, uint64_t end, const int64_t *bad, int64_t nr_bad, swap_stat_t *st) noexcept nogil:
    """Return: 0 or -ENOMEM."""
    cdef cluster_t *ci
    cdef uint64_t *table = NULL
    cdef unsigned int off
    if load_ptr(&t.tables[i]) == NULL and not has_bad(i, end, bad, nr_bad):
        return 0                # untouched: the next that a search finds
    if load_ptr(&t.tables[i]) == NULL:
        table = pool_get_table(&t.pool, i >= t.first_clusters)
        if table == NULL:
            return -ENOMEM
        for off in range(CLUSTER_SLOTS):
            table[off] = SWP_TB_BAD
    lock_lists(t, st)
    touch_locked(t, i)
    spin_unlock(&t.list_lock)
    ci = &t.clusters[i]
    lock_cluster(ci, st)
    if table != NULL:           # all of it is bad, until the slots that there are open
        store_ptr(&t.tables[i], table)
        ci.count, ci.any_free, ci.all_free = CLUSTER_SLOTS, 0, 0
        cluster_move(t, i, LIST_FULL, 0, st)
        was = <uint64_t>i << CLUSTER_SHIFT
    # One that no fence came to, because it was kept, may be packed by now: all its slots are in use.
    table = open_slots_of(t, i, was, end, bad, nr_bad, st) if is_table(t.tables[i]) else NULL
    spin_unlock(&ci.lock)
    if table != NULL:
        pool_put_table(&t.pool, table, False)
    return 0


cdef inline int grow(area_t *t, uint64_t end, const int64_t *bad, int64_t nr_bad, swap_stat_t *st) noexcept nogil:
    """Let the device have *end* blocks. Context: `resizing` is the caller's. Return: 0, -ENOSPC (no units), -ENOMEM (part is done)."""
    cdef uint64_t was = t.blocks
    cdef uint32_t i, first = <uint32_t>(was >> CLUSTER_SHIFT)
    cdef int err = 0
    if t.space != NULL and extend_units(t.space, t.units, t.member, was, end):
        return -ENOSPC
    # Slots before they can be found: tables of the clusters with bad ones, then the clusters that have none.
    store_relaxed(&t.blocks, end)
    for i in range(first, <uint32_t>((end + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT)):
        err = grow_cluster(t, i, was, end, bad, nr_bad, st) or err
    lock_lists(t, st)
    store_relaxed(&t.slots, max(t.slots, end))
    poke32(&t.nr_clusters, <uint32_t>((end + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT))
    poke32(&t.fresh, min(t.fresh, first))
    spin_unlock(&t.list_lock)
    add64(&t.usable, good_between(was, end, bad, nr_bad))
    after_count(t, -1)
    return err


# ---- what is where, and taking particular blocks: for whoever moves data

cdef enum:
    BLOCK_FREE = 0          # and its slot too
    BLOCK_HOLE = 1          # free; the slot has its data elsewhere, or none
    BLOCK_COLD = 2          # its own slot's data, swapped out
    BLOCK_CACHED = 3        # the same, in the swap cache: pinned
    BLOCK_TAKEN = 4         # another slot's data
    BLOCK_NONE = 5          # bad, or not on the device


cdef inline uint8_t state_of(area_t *t, uint32_t i, unsigned int off) noexcept nogil:
    """Context: cluster lock, the cluster has its table."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t word = t.tables[i][off]
    if (<uint64_t>i << CLUSTER_SHIFT) + off >= t.blocks or word == SWP_TB_BAD:
        return BLOCK_NONE
    if is_taken(t, ci, off):
        return BLOCK_TAKEN
    if word == 0:
        return BLOCK_FREE
    if swp_tb_zero(word) or (ci.nr_loc and locs_of(t, ci)[off]):
        return BLOCK_HOLE
    return BLOCK_CACHED if swp_tb_is_folio(word) else BLOCK_COLD


cdef inline void block_map(area_t *t, uint32_t begin, uint32_t end, uint8_t *out, swap_stat_t *st) noexcept nogil:
    """What each block of clusters *begin* to *end* is; one byte a block."""
    cdef uint32_t i
    cdef unsigned int off
    cdef cluster_t *ci
    cdef uint8_t *at
    memset(out, BLOCK_FREE, (end - begin) * <uint64_t>CLUSTER_SLOTS)
    i = next_touched(t, begin)
    while i < end:
        ci = &t.clusters[i]
        at = out + (i - begin) * <uint64_t>CLUSTER_SLOTS
        lock_cluster(ci, st)
        if is_packed(t.tables[i]):
            memset(at, BLOCK_COLD, CLUSTER_SLOTS)
        for off in range(CLUSTER_SLOTS if is_table(t.tables[i]) or ci.nr_taken else 0):
            at[off] = state_of(t, i, off) if is_table(t.tables[i]) else BLOCK_TAKEN if is_taken(t, ci, off) else BLOCK_FREE
        spin_unlock(&ci.lock)
        i = next_touched(t, i + 1)


cdef inline bint receive_free(area_t *t, uint32_t i, swap_stat_t *st) noexcept nogil:
    """Have a wholly free cluster, used before or not, receive blocks. Context: cluster lock; it has a bitmap. Return: whether it was free."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef bint taken
    if ci.list == LIST_FREE:
        cluster_move(t, i, LIST_RECEIVE, 0, st)
        return True
    lock_lists(t, st)
    # One that the search for fresh clusters has passed is about to be somebody else's.
    taken = ci.list == LIST_UNTOUCHED and i >= t.fresh and i < t.nr_clusters
    if taken:
        touch_locked(t, i)
        ci.any_free = ci.all_free = <uint64_t>-1
        ci.list = LIST_RECEIVE
        list_add_tail(t, &t.receive, i)
    spin_unlock(&t.list_lock)
    return taken


cdef inline bint take_this(area_t *t, uint64_t block, swap_stat_t *st) noexcept nogil:
    """Take one particular block, if it is free. Context: no locks."""
    cdef uint32_t i = <uint32_t>(block >> CLUSTER_SHIFT), spare
    cdef cluster_t *ci = &t.clusters[i]
    cdef unsigned int off = block & (CLUSTER_SLOTS - 1)
    cdef int state = BLOCK_NONE
    cdef bint free
    if block >= blocks_end(t) or i >= LOCATABLE:
        return False
    spare = spare_bits(t, i, NO_RECORD)
    lock_cluster(ci, st)
    if ci.bits == 0 and spare == NO_RECORD:     # its last block came home since, and the bitmap went with it
        spin_unlock(&ci.lock)
        spare = pool_get(&t.pool, BITMAPS)
        lock_cluster(ci, st)
    if is_table(t.tables[i]) and ci.list != LIST_NONE:
        state = state_of(t, i, off)
    elif t.tables[i] == NULL and ci.list == LIST_RECEIVE and not is_taken(t, ci, off):
        state = BLOCK_FREE
    free = t.tables[i] == NULL and (ci.list == LIST_FREE or ci.list == LIST_UNTOUCHED)
    if (state <= BLOCK_HOLE or free) and (ci.bits or spare != NO_RECORD):
        if not free or receive_free(t, i, st):
            if ci.bits == 0:
                poke32(&ci.bits, spare)
                spare = NO_RECORD
            take_block(t, i, off, SOURCE_RECEIVE if t.tables[i] == NULL else SOURCE_HOLES if state == BLOCK_HOLE else SOURCE_PARTLY)
            after_take(t, i, st)
            state = BLOCK_FREE
    else:
        state = BLOCK_NONE
    spin_unlock(&ci.lock)
    if spare != NO_RECORD:
        pool_put(&t.pool, BITMAPS, spare, False)
    return state != BLOCK_NONE
