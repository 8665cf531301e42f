# Blocks of a device and who has them: taken through locations, lent by free slots, holes; taking, giving back, owners.
# Imports the area and what lies under it.
# Used by the core only; the layout is private.
#
# For slot s and block s of one device, where bit s says that the block is taken through a location:
#
#     word          location   bit    the block
#     NULL          -          0      free, for its own slot or to lend
#     LENT          -          1      lent: the slot is free, but unusable
#     SHADOW/FOLIO  0          0      its own slot's
#     SHADOW/FOLIO  elsewhere  0      a hole, to lend
#     SHADOW/FOLIO  elsewhere  1      a hole, lent
#     zero page     0          0, 1   a hole: no data anywhere
#     no table      -          bits   a cluster that only receives data of other slots
from libc.errno cimport EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._pool cimport *
from swaptable._space cimport *

cdef extern from *:
    """
    #ifndef SWAPTABLE_BLOCKS
    #define SWAPTABLE_BLOCKS
    #include <stdlib.h>
    static int swt_by_value(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
        return (x > y) - (x < y);
    }
    static inline void sort_locs(uint32_t *p, int64_t n) {
        int64_t sorted = n > 0;
        while (sorted < n && p[sorted - 1] <= p[sorted]) sorted++;
        if (n - sorted > 32) { qsort(p, n, sizeof *p, swt_by_value); return; }
        for (int64_t i = sorted; i < n; i++) {
            uint32_t v = p[i];
            int64_t j = i;
            for (; j && p[j - 1] > v; j--) p[j] = p[j - 1];
            p[j] = v;
        }
    }
    /* A map of a cluster's blocks: 8 words of 64 bits. Where a run of `len` blocks begins, the greatest `len` up to
       `most` that there is; 0 when the map is empty. */
    static inline int longest_runs(const uint64_t *map, int most, uint64_t *starts) {
        uint64_t cur[8], next[8], any = 0;
        int len = 0;
        for (int i = 0; i < 8; i++) any |= cur[i] = map[i];
        while (any && len < most) {
            len++;
            any = 0;
            for (int i = 0; i < 8; i++) {
                starts[i] = cur[i];
                next[i] = cur[i] & (cur[i] >> 1 | (i < 7 ? cur[i + 1] << 63 : 0));
                any |= next[i];
            }
            for (int i = 0; i < 8; i++) cur[i] = next[i];
        }
        return len;
    }
    #endif
    """
    void sort_locs(uint32_t *p, int64_t n) noexcept nogil
    int longest_runs(const uint64_t *map, int most, uint64_t *starts) noexcept nogil

cdef enum:
    CANDIDATES = 3          # clusters that a search for blocks looks at before it chooses
    LOCATABLE = (UNITS - 1) << (UNIT_SHIFT - CLUSTER_SHIFT)     # clusters whose blocks have locations: 16 TiB less 16 GiB
    BROKEN = 64             # promises in a row that a request sees broken before it gives up
    SHRINKING = 64          # the same while a resize runs: what is freed beyond its fence seems free until it counts again
    PATIENCE = 1 << 16      # rounds without a block found though enough are free: never seen, but no reason to hang

# Where blocks are looked for, in this order.
cdef enum:
    SOURCE_HOLES, SOURCE_PARTLY, SOURCE_RECEIVE, SOURCE_FREE, SOURCES

cdef struct cand_t:         # a cluster with free blocks, as it was when it was looked at
    uint32_t i
    int longest
    uint64_t map[8]


# ---- holes

cdef inline bint is_lendable(area_t *t, uint32_t i) noexcept nogil:
    """Has cluster *i* blocks that may be taken?"""
    return has_own(t, i) and <uint64_t>i << CLUSTER_SHIFT < blocks_end(t)


cdef inline void holes_changed(area_t *t, uint32_t i, swap_stat_t *st) noexcept nogil:
    """List or unlist a cluster after its holes or lent blocks have changed. Context: cluster lock; takes and drops the list lock."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef bint want = is_lendable(t, i) and ci.nr_loc + ci.nr_zero > ci.nr_taken - ci.nr_lent
    if want == (ci.flags & FLAG_HOLES):
        return
    lock_lists(t, st)
    ci.flags ^= FLAG_HOLES
    if want:
        hole_add(t, i)
    else:
        hole_del(t, i)
    spin_unlock(&t.list_lock)


cdef inline void hole_add(area_t *t, uint32_t i) noexcept nogil:
    t.clusters[i].hole_prev = t.holes.tail
    t.clusters[i].hole_next = NO_CLUSTER
    if t.holes.tail == NO_CLUSTER:
        poke32(&t.holes.head, i)
    else:
        t.clusters[t.holes.tail].hole_next = i
    t.holes.tail = i
    poke32(&t.holes.nr, t.holes.nr + 1)


cdef inline void hole_del(area_t *t, uint32_t i) noexcept nogil:
    cdef uint32_t prev = t.clusters[i].hole_prev, next = t.clusters[i].hole_next
    if prev == NO_CLUSTER:
        poke32(&t.holes.head, next)
    else:
        t.clusters[prev].hole_next = next
    if next == NO_CLUSTER:
        t.holes.tail = prev
    else:
        t.clusters[next].hole_prev = prev
    poke32(&t.holes.nr, t.holes.nr - 1)


# ---- a cluster that got slots back

cdef inline uint64_t *after_free(area_t *t, uint32_t i, bint clean, swap_stat_t *st) noexcept nogil:
    """Relocate a cluster that got slots back; *clean*, all its blocks were just discarded. Context: cluster lock.

    Return: the table it no longer needs.
    """
    cdef cluster_t *ci = &t.clusters[i]
    if likely(ci.count != 0 and ci.list == LIST_NONFULL, 1):
        return NULL
    return relocate_freed(t, i, clean, st)


cdef inline uint64_t *relocate_freed(area_t *t, uint32_t i, bint clean, swap_stat_t *st) noexcept nogil:
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *table = NULL
    cdef int order = ci.order
    if ci.count == 0:
        table = t.tables[i]
        store_ptr(&t.tables[i], NULL)
        ci.order = 0
        if i < PAST_CLUSTER:
            cluster_move(t, i, LIST_DISCARD if t.discard and not clean else LIST_FREE, order, st)
        else:
            cluster_move(t, i, LIST_PAST_FREE, order, st)
    elif i < PAST_CLUSTER:
        cluster_move(t, i, LIST_NONFULL, order, st)
    elif ci.list == LIST_PAST_FULL:
        cluster_move(t, i, LIST_PAST, order, st)
    return table


# ---- clusters beyond a device that was made smaller

cdef inline void forget_cluster(area_t *t, uint32_t i, swap_stat_t *st) noexcept nogil:
    """Take an empty cluster off its list, as if it had never been used. Context: cluster lock."""
    cdef list_t *home
    lock_lists(t, st)
    home = list_of(t, t.clusters[i].list, t.clusters[i].order)
    if home != NULL:
        list_del(t, home, i)
    t.clusters[i].list = LIST_UNTOUCHED
    spin_unlock(&t.list_lock)


cdef inline uint64_t *drop_beyond(area_t *t, uint32_t i, swap_stat_t *st) noexcept nogil:
    """Forget a cluster beyond the device none of whose slots is in use. Context: cluster lock. Return: its table, dirty, or NULL."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef unsigned int off
    if not is_table(words) or <uint64_t>i << CLUSTER_SHIFT < blocks_end(t) or ci.nr_taken or ci.nr_loc or ci.nr_zero:
        return NULL
    for off in range(CLUSTER_SLOTS):
        if words[off] != SWP_TB_BAD:
            return NULL
    forget_cluster(t, i, st)
    store_ptr(&t.tables[i], NULL)
    ci.count = 0
    ci.order = ci.flags = 0
    ci.any_free = ci.all_free = <uint64_t>-1
    return words


# ---- free blocks of a cluster

cdef inline void map_holes(area_t *t, uint32_t i, uint64_t *map) noexcept nogil:
    """Blocks of slots in use that hold no data of theirs and are not lent. Context: cluster lock."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef uint32_t *locs = locs_of(t, ci) if ci.nr_loc else NULL
    cdef uint64_t own = blocks_end(t) - (<uint64_t>i << CLUSTER_SHIFT)
    cdef unsigned int off
    if <int64_t>own <= 0:
        return
    for off in range(CLUSTER_SLOTS if own > CLUSTER_SLOTS else <unsigned int>own):
        if swp_tb_counts(words[off]) and (swp_tb_zero(words[off]) or (locs != NULL and locs[off])):
            map[off >> 6] |= <uint64_t>1 << (off & 63)
    if ci.nr_taken:
        for off in range(8):
            map[off] &= ~bits_of(t, ci)[off]


cdef inline void map_free_slots(area_t *t, uint32_t i, uint64_t *map) noexcept nogil:
    """Slots that are free. Context: cluster lock, the cluster has its table."""
    cdef uint64_t *words = t.tables[i]
    cdef uint64_t lines = t.clusters[i].any_free
    cdef unsigned int line, k, mask
    while lines:
        line = <unsigned int>ctz64(lines)
        lines &= lines - 1
        mask = 0
        for k in range(8):
            mask |= <unsigned int>(words[line * 8 + k] == 0) << k
        map[line >> 3] |= <uint64_t>mask << (line & 7) * 8


cdef inline bint map_blocks(area_t *t, uint32_t i, int source, uint64_t *map, swap_stat_t *st) noexcept nogil:
    """Free blocks of cluster *i* by source. Context: cluster lock. Return: whether the cluster is of that source at all."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef unsigned int k
    memset(map, 0, 8 * sizeof(uint64_t))
    if i >= LOCATABLE:
        return False
    if source == SOURCE_RECEIVE:
        if ci.list != LIST_RECEIVE:
            return False
        for k in range(8):
            map[k] = ~bits_of(t, ci)[k]
        st.scanned += 8
        return True
    if not is_table(t.tables[i]) or ci.list == LIST_NONE:
        return False
    if source == SOURCE_HOLES:
        map_holes(t, i, map)
        st.scanned += CLUSTER_SLOTS
    else:
        map_free_slots(t, i, map)
        st.scanned += 1 + 8 * popcount64(ci.any_free)
    return True


# ---- taking

cdef inline int gather_list(area_t *t, uint32_t i, bint by_holes, uint32_t *found, int n) noexcept nogil:
    """The first clusters of a list, *n* of them so far. Context: list lock. Return: how many now."""
    while i != NO_CLUSTER and n < CANDIDATES:
        found[n] = i
        n += 1
        i = t.clusters[i].hole_next if by_holes else t.clusters[i].next
    return n


cdef inline int gather(area_t *t, int source, uint32_t *found, swap_stat_t *st) noexcept nogil:
    """Clusters to look at, those that served the smallest order first: they have the least to lose. Return: how many."""
    cdef int n = 0, o
    lock_lists(t, st)
    if source == SOURCE_HOLES:
        n = gather_list(t, t.holes.head, True, found, 0)
    elif source == SOURCE_RECEIVE:
        n = gather_list(t, t.receive.head, False, found, 0)
    else:
        for o in range(ORDERS):
            n = gather_list(t, t.frag[o].head, False, found, n)
            n = gather_list(t, t.nonfull[o].head, False, found, n)
    spin_unlock(&t.list_lock)
    return n


cdef inline void take_block(area_t *t, uint32_t i, unsigned int off, int source) noexcept nogil:
    """Mark one block as taken through a location. Context: cluster lock; the cluster has a bitmap."""
    cdef cluster_t *ci = &t.clusters[i]
    bits_of(t, ci)[off >> 6] |= <uint64_t>1 << (off & 63)
    ci.nr_taken += 1
    if source == SOURCE_PARTLY:
        store_relaxed(t.tables[i] + off, SWP_TB_LENT)
        line_changed(ci, t.tables[i], off)
        ci.count += 1
    ci.nr_lent += source != SOURCE_HOLES


cdef inline int64_t take_map(area_t *t, uint32_t i, int source, uint64_t *map, int64_t n, uint32_t *out) noexcept nogil:
    """Take up to *n* blocks of *map*, longest runs first. Context: cluster lock; the cluster has a bitmap. Return: how many."""
    cdef uint64_t[8] starts
    cdef int64_t got = 0
    cdef unsigned int k, off, end
    cdef int len = 1
    while got < n and len:
        len = longest_runs(map, <int>(n - got), starts)
        for k in range(8):
            while starts[k] and len and got + len <= n:
                off = (k << 6) + <unsigned int>ctz64(starts[k])
                starts[k] &= starts[k] - 1
                end = off + len
                if not (map[off >> 6] >> (off & 63) & 1 and map[(end - 1) >> 6] >> ((end - 1) & 63) & 1):
                    continue            # overlaps a run that was just taken
                while off < end:
                    take_block(t, i, off, source)
                    map[off >> 6] &= ~(<uint64_t>1 << (off & 63))
                    out[got] = loc_of(t, (<uint64_t>i << CLUSTER_SHIFT) + off)
                    got += 1
                    off += 1
    return got


cdef inline uint32_t spare_bits(area_t *t, uint32_t i, uint32_t spare) noexcept nogil:
    """A bitmap for cluster *i*, should it have none; made without its lock. Return: *spare*, or a new one, or NO_RECORD."""
    return spare if spare != NO_RECORD or peek32(&t.clusters[i].bits) else pool_get(&t.pool, BITMAPS)


cdef inline int64_t take_from(area_t *t, uint32_t i, int source, int64_t n, uint32_t *out, uint32_t *spare, swap_stat_t *st) noexcept nogil:
    """Take up to *n* blocks of cluster *i*. Context: no locks. Return: how many."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t[8] map
    cdef int64_t got = 0
    spare[0] = spare_bits(t, i, spare[0])
    lock_cluster(ci, st)
    if map_blocks(t, i, source, map, st):
        if ci.bits == 0 and spare[0] != NO_RECORD:
            poke32(&ci.bits, spare[0])
            spare[0] = NO_RECORD
        if ci.bits:
            got = take_map(t, i, source, map, n, out)
        if ci.bits and ci.nr_taken == 0:        # nothing to take: its holes are beyond the device, or others were first
            spare[0] = ci.bits
            poke32(&ci.bits, 0)
        after_take(t, i, st)
    spin_unlock(&ci.lock)
    st.words += got
    return got


cdef inline void after_take(area_t *t, uint32_t i, swap_stat_t *st) noexcept nogil:
    """Relocate a cluster that lost blocks. Context: cluster lock."""
    cdef cluster_t *ci = &t.clusters[i]
    if ci.list == LIST_RECEIVE:
        if ci.nr_taken == CLUSTER_SLOTS:
            cluster_move(t, i, LIST_RECEIVED, ci.order, st)
        return
    if ci.count == CLUSTER_SLOTS and (ci.list == LIST_NONFULL or ci.list == LIST_FRAG):
        cluster_move(t, i, LIST_FULL, ci.order, st)
    holes_changed(t, i, st)


cdef inline int64_t take_free_cluster(area_t *t, int64_t n, uint32_t *out, uint32_t *spare, swap_stat_t *st) noexcept nogil:
    """Take up to *n* blocks of a wholly free cluster, which leaves the free list and needs no table. Return: how many."""
    cdef uint32_t i = NO_CLUSTER
    cdef uint64_t[8] map
    cdef int64_t got
    if spare[0] == NO_RECORD:
        spare[0] = pool_get(&t.pool, BITMAPS)
        if spare[0] == NO_RECORD:
            return 0
    if not t.grows:
        i = isolate_fresh(t, st)
    if i == NO_CLUSTER:
        i = isolate(t, &t.free_list, st)
    if i == NO_CLUSTER:
        return 0
    if i >= LOCATABLE:
        cluster_move(t, i, LIST_FREE, 0, st)
        spin_unlock(&t.clusters[i].lock)
        return 0
    memset(map, 255, sizeof(map))
    poke32(&t.clusters[i].bits, spare[0])
    spare[0] = NO_RECORD
    got = take_map(t, i, SOURCE_FREE, map, n, out)
    cluster_move(t, i, LIST_RECEIVED if got == CLUSTER_SLOTS else LIST_RECEIVE, 0, st)
    spin_unlock(&t.clusters[i].lock)
    return got


cdef inline void look_at(area_t *t, int source, cand_t *c, int64_t n, swap_stat_t *st) noexcept nogil:
    """How long a run of blocks could be taken from a cluster. Context: no locks."""
    cdef uint64_t[8] starts
    st.visited += 1
    lock_cluster(&t.clusters[c.i], st)
    c.longest = 0
    if map_blocks(t, c.i, source, c.map, st):
        c.longest = longest_runs(c.map, <int>n if n < CLUSTER_SLOTS else CLUSTER_SLOTS, starts)
    spin_unlock(&t.clusters[c.i].lock)


cdef inline int64_t take_round(area_t *t, int source, int64_t n, uint32_t *out, uint32_t *spare, swap_stat_t *st, int64_t least) noexcept nogil:
    """Take up to *n* blocks of a few clusters of a source, from that with the longest run first, if that is *least* blocks long.

    Return: how many.
    """
    cdef uint32_t[CANDIDATES] found
    cdef cand_t[CANDIDATES] c
    cdef int nr, k, best
    cdef int64_t got = 0
    if source == SOURCE_FREE:
        return take_free_cluster(t, n, out, spare, st)
    if (source == SOURCE_HOLES and peek32(&t.holes.head) == NO_CLUSTER) or (source == SOURCE_RECEIVE and peek32(&t.receive.head) == NO_CLUSTER):
        return 0
    nr = gather(t, source, found, st)
    for k in range(nr):
        c[k].i = found[k]
        look_at(t, source, &c[k], n, st)
        if c[k].longest >= n:
            nr = k + 1
            break
    while nr and got < n:
        best = 0
        for k in range(1, nr):
            if c[k].longest > c[best].longest:
                best = k
        if c[best].longest < least:
            break
        got += take_from(t, c[best].i, source, n - got, out + got, spare, st)
        nr -= 1
        c[best] = c[nr]
    return got


cdef inline int64_t blocks_free(area_t *t) noexcept nogil:
    """Blocks that can be taken now; those promised to others count. Beside other threads an estimate that is never too high for long."""
    return blocks_left(t, blocks_of(t))


cdef inline int64_t blocks_left(area_t *t, int64_t used) noexcept nogil:
    return load64(&t.usable) + load64(&t.leaving) - used - load64(&t.discarding) - (<int64_t>peek32(&t.discards.nr) << CLUSTER_SHIFT)


cdef inline bint blocks_short(area_t *t, int64_t n) noexcept nogil:
    """Are there less than *n* free blocks, those counted that a request has taken in vain and is about to give up?"""
    cdef int64_t given_up
    while True:
        given_up = load64(&t.given_up)
        if blocks_left(t, blocks_of_settled(t)) >= n:
            return False
        if blocks_left(t, blocks_of_settled(t)) + load64(&t.gathering) < n and load64(&t.given_up) == given_up:
            return True
        sched_yield()


cdef inline int blocks_reserve(area_t *t, int64_t n) noexcept nogil:
    """Have *n* blocks promised, so that two requests cannot each take half of the last ones.

    A promise is waited for, and never a reason to refuse: whoever holds it takes the blocks or gives it up. An
    allocation of slots needs none, since it takes its run under one lock. Return: 0 or -ENOSPC.
    """
    cdef int64_t promised, there
    while True:
        promised = load64(&t.reserved)
        there = blocks_free(t)
        if there < n and blocks_short(t, n):
            return -ENOSPC
        if there - promised >= n and cas64(&t.reserved, promised, promised + n):
            return 0
        sched_yield()


cdef inline void taken_add(area_t *t, int64_t n, uint32_t loc) noexcept nogil:
    cdef sums_t d
    memset(&d, 0, sizeof(d))
    d.taken = n
    sums_add(t, &d, loc >> CLUSTER_SHIFT)


cdef inline int64_t take_some(area_t *t, int64_t n, uint32_t *out, bint runs, uint32_t *spare, swap_stat_t *st) noexcept nogil:
    """Take up to *n* blocks of the first source that has any. Context: no cluster or list lock. Return: how many."""
    cdef int64_t m = 0
    cdef int k
    if runs:                    # a cluster with one run for all of them, then whole clusters, then what is left over
        m = take_round(t, SOURCE_RECEIVE, n, out, spare, st, n)
    for k in range(SOURCES):
        if m == 0:
            m = take_round(t, SOURCES - 1 - k if runs else k, n, out, spare, st, 0)
    return m


cdef inline int64_t take_reserved(area_t *t, int64_t n, uint32_t *out, bint runs, bint *broken, swap_stat_t *st) noexcept nogil:
    """Take *n* blocks that were promised, with *runs* rather in long runs than in gaps.

    Context: no cluster or list lock. Return: how many; *broken* when slots took the others first.
    """
    cdef uint32_t spare = NO_RECORD
    cdef int64_t got = 0, m
    cdef int idle = 0
    broken[0] = False
    while got < n and idle < (PATIENCE if load64(&t.leaving) == 0 else SHRINKING):
        m = take_some(t, n - got, out + got, runs, &spare, st)
        if m:
            add64(&t.gathering, m)
            taken_add(t, m, out[got])
            add64(&t.reserved, -m)
            got, idle = got + m, 0
            continue
        if blocks_free(t) < n - got and blocks_left(t, blocks_of_settled(t)) < n - got:
            broken[0] = True
            break
        idle += 1
        sched_yield()
    if spare != NO_RECORD:
        pool_put(&t.pool, BITMAPS, spare, False)
    add64(&t.reserved, got - n)
    return got


cdef inline int blocks_take(area_t *t, int64_t n, uint32_t *out, swap_stat_t *st) noexcept nogil:
    """Take *n* blocks, ascending, or none. Context: no cluster or list lock. Return: 0 or -ENOSPC."""
    cdef int64_t got
    cdef int tries = BROKEN
    cdef bint broken = True
    while broken and tries:
        tries -= 1
        if blocks_reserve(t, n):
            return -ENOSPC
        got = take_reserved(t, n, out, False, &broken, st)
        if got == n:
            add64(&t.gathering, -n)
            sort_locs(out, n)
            return 0
        # Slots were allocated in the blocks that were promised. Two such requests may each have what the other needs.
        blocks_home(t, out, got, False, st)
        add64(&t.given_up, 1)
        add64(&t.gathering, -got)
    return -ENOSPC


cdef inline int64_t extents_of(const uint32_t *locs, int64_t n) noexcept nogil:
    """Runs of blocks that follow one another: IOs that a request takes."""
    cdef int64_t k, runs = n > 0
    for k in range(1, n):
        runs += locs[k] != locs[k - 1] + 1
    return runs


# ---- giving back

cdef inline void give_block(area_t *t, uint32_t i, unsigned int off) noexcept nogil:
    """A block comes home. Context: cluster lock."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    bits_of(t, ci)[off >> 6] &= ~(<uint64_t>1 << (off & 63))
    ci.nr_taken -= 1
    if ci.owners:
        half_at(&t.pool, OWNERS, ci.owners)[off] = 0
    if words == NULL:
        ci.nr_lent -= 1
    elif words[off] == SWP_TB_LENT:
        ci.nr_lent -= 1
        if ci.flags & FLAG_BEYOND and (<uint64_t>i << CLUSTER_SHIFT) + off >= blocks_end(t):
            store_relaxed(words + off, SWP_TB_BAD)
            return
        store_relaxed(words + off, 0)
        slot_freed(ci, words, off)
        ci.count -= 1


cdef inline uint64_t *after_give(area_t *t, uint32_t i, unsigned int before, bint clean, swap_stat_t *st) noexcept nogil:
    """Relocate a cluster whose blocks came home; *before*, its slots that were not free; *clean* as above. Context: cluster lock.

    Return: the table it no longer needs.
    """
    cdef cluster_t *ci = &t.clusters[i]
    holes_changed(t, i, st)
    if t.tables[i] != NULL:
        return after_free(t, i, clean, st) if ci.count < before else NULL
    if ci.list == LIST_NONE:        # about to get its table
        return NULL
    if ci.nr_taken == 0:                # without a table since it was free: each block was discarded on its way home
        cluster_move(t, i, LIST_FREE, 0, st)
    elif ci.list == LIST_RECEIVED:
        cluster_move(t, i, LIST_RECEIVE, 0, st)
    return NULL


cdef inline void drop_bits_locked(area_t *t, uint32_t i, uint32_t *bits, uint32_t *owners) noexcept nogil:
    """What a cluster without taken blocks no longer needs. Context: cluster lock."""
    cdef cluster_t *ci = &t.clusters[i]
    bits[0] = owners[0] = 0
    if ci.nr_taken == 0:
        bits[0], owners[0] = ci.bits, ci.owners
        poke32(&ci.bits, 0)
        poke32(&ci.owners, 0)


cdef inline int64_t give_cluster(area_t *t, const uint64_t *blocks, int64_t n, bint clean, swap_stat_t *st) noexcept nogil:
    """Give back the first blocks that lie in one cluster. Context: no locks. Return: how many; the next was not taken."""
    cdef uint32_t i = <uint32_t>(blocks[0] >> CLUSTER_SHIFT), bits, owners
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *table
    cdef unsigned int before
    cdef int64_t k = 0
    lock_cluster(ci, st)
    before = ci.count
    while k < n and blocks[k] >> CLUSTER_SHIFT == i and is_taken(t, ci, blocks[k] & (CLUSTER_SLOTS - 1)):
        give_block(t, i, blocks[k] & (CLUSTER_SLOTS - 1))
        k += 1
    table = after_give(t, i, before, clean and k == CLUSTER_SLOTS, st) if k else NULL
    drop_bits_locked(t, i, &bits, &owners)
    spin_unlock(&ci.lock)
    if table != NULL:
        pool_put_table(&t.pool, table, False)
    if bits:
        pool_put(&t.pool, BITMAPS, bits, False)
    if owners:
        pool_put(&t.pool, OWNERS, owners, False)
    st.words += k
    return k


cdef inline int64_t give_device(area_t *t, const uint64_t *blocks, int64_t n, bint clean, swap_stat_t *st) noexcept nogil:
    """Give back blocks of one device, which were discarded if *clean*. Return: how many; the next was not taken."""
    cdef int64_t k = 0, m = 1
    while k < n and m:
        m = give_cluster(t, blocks + k, n - k, clean, st)
        k += m
    if k:
        taken_add(t, -k, <uint32_t>blocks[0])
    return k


cdef inline void blocks_home(area_t *any, const uint32_t *locs, int64_t n, bint written, swap_stat_t *st) noexcept nogil:
    """Give back blocks of any device of *any*'s space; those of one that has gone are nobody's. Context: no cluster or list lock.

    Blocks that were not *written* since they were taken need no discard.
    """
    cdef uint64_t[CLUSTER_SLOTS] blocks
    cdef uint64_t block
    cdef int64_t k = 0, m
    cdef area_t *t
    cdef area_t *other
    while k < n:
        t = block_of(any, locs[k], &blocks[0])
        m = 1
        while k + m < n and m < CLUSTER_SLOTS:
            other = block_of(any, locs[k + m], &block)
            if other != t:
                break
            blocks[m] = block
            m += 1
        if t != NULL and written:
            release(t, blocks, m, st)
        elif t != NULL:
            give_device(t, blocks, m, True, st)
        k += m


cdef inline void release(area_t *t, const uint64_t *blocks, int64_t n, swap_stat_t *st) noexcept nogil:
    """Blocks whose data is needed no longer: free, or first to be discarded. Context: no locks."""
    cdef int64_t k = 0
    while t.discard and t.keep_owners and k < n:
        k = forget_owners(t, blocks, k, n, st)
    if not (t.discard and discard_later(t, blocks, n)):
        give_device(t, blocks, n, False, st)


cdef inline int64_t forget_owners(area_t *t, const uint64_t *blocks, int64_t k, int64_t n, swap_stat_t *st) noexcept nogil:
    """Blocks that wait for their discard are nobody's: those from *k* on in one cluster. Context: no locks. Return: the element after them."""
    cdef uint64_t i = blocks[k] >> CLUSTER_SHIFT
    cdef cluster_t *ci = &t.clusters[i]
    lock_cluster(ci, st)
    while k < n and blocks[k] >> CLUSTER_SHIFT == i:
        if ci.owners:
            half_at(&t.pool, OWNERS, ci.owners)[blocks[k] & (CLUSTER_SLOTS - 1)] = 0
        k += 1
    spin_unlock(&ci.lock)
    return k


cdef inline bint discard_later(area_t *t, const uint64_t *blocks, int64_t n) noexcept nogil:
    """Have blocks wait, taken, for `run_discard`: by run, since they form no clusters. Return: false when there is no memory for it."""
    cdef int64_t runs = extents64(blocks, n), more
    cdef uint32_t *room
    cdef uint32_t *old
    while True:
        spin_lock(&t.list_lock)
        if t.nr_discard_runs + runs <= t.max_discard_runs:
            append_runs_locked(t, blocks, n)
            spin_unlock(&t.list_lock)
            add64(&t.waiting, n)
            return True
        more = 2 * (t.max_discard_runs + runs)
        spin_unlock(&t.list_lock)
        room = <uint32_t *>calloc(more, 8)
        if room == NULL:
            return False
        spin_lock(&t.list_lock)
        old = room
        if more > t.max_discard_runs:
            if t.nr_discard_runs:
                memcpy(room, t.discard_runs, t.nr_discard_runs * 8)
            old, t.discard_runs, t.max_discard_runs = t.discard_runs, room, more
        spin_unlock(&t.list_lock)
        free(old)


cdef inline void append_runs_locked(area_t *t, const uint64_t *blocks, int64_t n) noexcept nogil:
    cdef int64_t k = 0, run
    while k < n:
        run = 1
        while k + run < n and blocks[k + run] == blocks[k] + <uint64_t>run:
            run += 1
        t.discard_runs[2 * t.nr_discard_runs] = <uint32_t>blocks[k]
        t.discard_runs[2 * t.nr_discard_runs + 1] = <uint32_t>run
        t.nr_discard_runs += 1
        k += run


cdef inline int64_t extents64(const uint64_t *blocks, int64_t n) noexcept nogil:
    cdef int64_t k, runs = n > 0
    for k in range(1, n):
        runs += blocks[k] != blocks[k - 1] + 1
    return runs


# ---- blocks that are taken, but nobody's location yet: held by whoever took them

cdef inline int64_t same_blocks(const uint32_t *locs, int64_t k, int64_t n) noexcept nogil:
    """The element after those from *k* on whose blocks are in one cluster: locations number clusters as devices do."""
    cdef int64_t end = k + 1
    while end < n and locs[end] >> CLUSTER_SHIFT == locs[k] >> CLUSTER_SHIFT:
        end += 1
    return end


cdef inline bint hold_cluster(area_t *t, uint64_t first, const uint32_t *locs, int64_t n, swap_stat_t *st) noexcept nogil:
    """Note that blocks of one cluster, that of block *first*, are held; they are taken.

    Context: no locks. Return: false when there is no memory for it.
    """
    cdef cluster_t *ci = &t.clusters[first >> CLUSTER_SHIFT]
    cdef uint32_t spare = NO_RECORD
    cdef bits_t *bits
    cdef int64_t k
    while True:
        lock_cluster(ci, st)
        bits = bits_at(&t.pool, ci.bits)
        if bits.held or spare != NO_RECORD:
            break
        spin_unlock(&ci.lock)
        spare = pool_get(&t.pool, HELD)
        if spare == NO_RECORD:
            return False
    if bits.held == 0:
        bits.held, spare = spare, NO_RECORD
    bits = held_at(&t.pool, bits.held)
    for k in range(n):
        bits.map[locs[k] >> 6 & 7] |= <uint64_t>1 << (locs[k] & 63)
    bits.nr += <uint32_t>n
    spin_unlock(&ci.lock)
    if spare != NO_RECORD:
        pool_put(&t.pool, HELD, spare, False)
    add64(&t.held, n)
    return True


cdef inline bint hold(area_t *t, uint64_t block, swap_stat_t *st) noexcept nogil:
    """`hold_cluster` for one block."""
    cdef uint32_t off = <uint32_t>block & (CLUSTER_SLOTS - 1)
    return hold_cluster(t, block, &off, 1, st)


cdef inline int64_t hold_locs(area_t *any, const uint32_t *locs, int64_t n, swap_stat_t *st) noexcept nogil:
    """Note that blocks are held, one lock a run in a cluster; location 0 is passed over. Context: no locks.

    Return: how many elements were done; fewer when there is no memory for the next.
    """
    cdef int64_t k = 0, end
    cdef uint64_t block
    cdef area_t *t
    while k < n:
        end = same_blocks(locs, k, n)
        t = block_of(any, locs[k], &block) if locs[k] else NULL
        if t != NULL and not hold_cluster(t, block, locs + k, end - k, st):
            break
        k = end
    return k


cdef inline int64_t unhold_cluster(area_t *t, uint64_t first, const uint32_t *locs, int64_t n, swap_stat_t *st) noexcept nogil:
    """Held blocks of one cluster, that of block *first*, get slots or go back: nobody else can have them from here on.

    Context: no locks. Return: how many; the next one is not held.
    """
    cdef cluster_t *ci
    cdef uint32_t gone = 0
    cdef int64_t k = 0
    cdef bits_t *bits
    cdef bits_t *held
    if first >= load_relaxed(&t.slots):
        return 0
    ci = &t.clusters[first >> CLUSTER_SHIFT]
    lock_cluster(ci, st)
    while k < n and is_held(t, ci, locs[k] & (CLUSTER_SLOTS - 1)):
        bits = bits_at(&t.pool, ci.bits)
        held = held_at(&t.pool, bits.held)
        held.map[locs[k] >> 6 & 7] &= ~(<uint64_t>1 << (locs[k] & 63))
        held.nr -= 1
        if held.nr == 0:
            gone, bits.held = bits.held, 0
        k += 1
    spin_unlock(&ci.lock)
    if gone:
        pool_put(&t.pool, HELD, gone, False)
    if k:
        add64(&t.held, -k)
    return k
