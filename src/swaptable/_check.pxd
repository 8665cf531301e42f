# The whole of a swap area: every invariant rebuilt from words, locations and bitmaps, and slots counted by kind.
# Imports the area and what lies under it.
# Used by the core only.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._blocks cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._packed cimport *
from swaptable._past cimport *
from swaptable._pool cimport *
from swaptable._space cimport *


cdef struct census_t:
    uint64_t kinds[8]
    uint64_t moved          # slots with a location
    int64_t bad             # slots of the device that are never given out
    uint64_t lent           # free slots whose block is taken
    uint64_t beyond         # slots in use that a smaller device lost
    uint64_t beyond_clusters
    uint64_t touched_clusters
    uint64_t hole_clusters
    int64_t held            # blocks
    uint64_t records[DEPOTS]    # of each depot, named by a cluster
    sums_t sums
    int64_t bad_slot        # where a check failed, or -1
    const char *why


cdef inline int fail(census_t *s, int64_t slot, const char *why) noexcept nogil:
    s.bad_slot = slot
    s.why = why
    return -1


cdef inline int check_location(area_t *t, uint32_t i, unsigned int off, uint64_t word, uint32_t loc, census_t *s) noexcept nogil:
    """What a word, its location and the bit of its block say about each other."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef int64_t slot = (<int64_t>i << CLUSTER_SHIFT) + off
    cdef int kind = swp_tb_kind(word)
    cdef bint own = has_own(t, i), beyond = own and <uint64_t>slot >= t.blocks, zero = swp_tb_counts(word) and swp_tb_zero(word)
    if loc and (zero or not swp_tb_counts(word)):
        return fail(s, slot, b"a location of a slot that has no data")
    if (kind == KIND_LENT or kind == KIND_NULL) and (kind == KIND_LENT) != (own and is_taken(t, ci, off)):
        return fail(s, slot, b"a free slot that does not say whether its block is lent")
    if own and is_taken(t, ci, off) and (beyond or kind == KIND_BAD or (swp_tb_counts(word) and not loc and not zero)):
        return fail(s, slot, b"a block is taken that is another slot's, bad, or beyond the device")
    if beyond and kind != KIND_BAD and not loc and not zero:
        return fail(s, slot, b"data in a block that the device has lost")
    s.sums.holes += 1 if own and (loc != 0 or zero) else 0
    s.moved += loc != 0
    s.lent += kind == KIND_LENT
    s.bad += kind == KIND_BAD and <uint64_t>slot < t.blocks
    return 0


cdef inline int check_words(area_t *t, uint32_t i, census_t *s) noexcept nogil:
    """Rebuild counts, summaries and overflow of a cluster from its words and locations."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef uint64_t word, any_free = 0, all_free = <uint64_t>-1
    cdef uint32_t *locs = locs_of(t, ci) if ci.locs else NULL
    cdef uint32_t *extends = extends_of(t, ci) if ci.extend else NULL
    cdef unsigned int off, used = 0, over = 0, nr_loc = 0, zero = 0, lent = 0
    cdef int kind
    cdef int64_t first = <int64_t>i << CLUSTER_SHIFT
    for off in range(CLUSTER_SLOTS):
        word = words[off]
        kind = swp_tb_kind(word)
        s.kinds[kind] += 1
        if kind == KIND_INVALID or kind == KIND_POINTER:
            return fail(s, first + off, b"a word that no operation writes")
        if kind == KIND_SHADOW and swp_tb_count(word) == 0:
            return fail(s, first + off, b"swapped out without users")
        if check_location(t, i, off, word, locs[off] if locs != NULL else 0, s):
            return -1
        nr_loc += 1 if locs != NULL and locs[off] != 0 else 0
        zero += 1 if swp_tb_counts(word) and swp_tb_zero(word) else 0
        lent += kind == KIND_LENT
        if kind == KIND_NULL:
            any_free |= <uint64_t>1 << (off >> 3)
        else:
            all_free &= ~(<uint64_t>1 << (off >> 3))
            used += 1
        if i < PAST_CLUSTER:
            s.sums.own += swp_tb_counts(word)
        else:
            s.sums.past += swp_tb_counts(word)
        if swp_tb_counts(word) and swp_tb_count(word) == COUNT_MAX:
            over += 1
            if extends == NULL or extends[off] < COUNT_MAX:
                return fail(s, first + off, b"an overflowed count without its overflow table")
        elif extends != NULL and extends[off]:
            return fail(s, first + off, b"an overflow entry of a count that fits in its word")
    if used != ci.count:
        return fail(s, first, b"the cluster's count is not its used slots")
    if any_free != ci.any_free or all_free != ci.all_free:
        return fail(s, first, b"the summaries do not match the words")
    if over != ci.nr_extend or (over == 0) != (ci.extend == 0):
        return fail(s, first, b"the overflow table does not match the counts")
    if nr_loc != ci.nr_loc or zero != ci.nr_zero or lent != ci.nr_lent or (nr_loc == 0) != (ci.locs == 0):
        return fail(s, first, b"locations, pages of zeros or lent slots were miscounted")
    return 0


cdef inline int check_packed(area_t *t, uint32_t i, census_t *s) noexcept nogil:
    """A packed cluster is full, and nothing is beside its record."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef int64_t first = <int64_t>i << CLUSTER_SHIFT
    cdef uint64_t word
    cdef unsigned int off
    if not is_plain(ci) or ci.locs or ci.bits or ci.extend or ci.count != CLUSTER_SLOTS or ci.any_free or ci.all_free:
        return fail(s, first, b"a packed cluster that is not wholly swapped out")
    for off in range(CLUSTER_SLOTS):
        word = unpack_word(packed_of(t, t.tables[i]), off)
        if swp_tb_count(word) == 0 or swp_tb_count(word) == COUNT_MAX:
            return fail(s, first + off, b"a packed count that does not fit")
    s.kinds[KIND_SHADOW] += CLUSTER_SLOTS
    s.sums.own += CLUSTER_SLOTS
    s.records[UNIFORM if <uint64_t>t.tables[i] & UNIFORM_TAG else PACKED] += 1
    return 0


cdef inline int check_held(area_t *t, uint32_t i, census_t *s) noexcept nogil:
    """Held blocks are among those taken, and their record exists only while there are any."""
    cdef bits_t *bits = bits_at(&t.pool, t.clusters[i].bits)
    cdef bits_t *held = held_at(&t.pool, bits.held)
    cdef unsigned int k, n = 0
    for k in range(8 if bits.held else 0):
        n += <unsigned int>popcount64(held.map[k])
        if held.map[k] & ~bits.map[k]:
            return fail(s, <int64_t>i << CLUSTER_SHIFT, b"a block is held that nobody took")
    if (n == 0) != (bits.held == 0) or (n and n != held.nr):
        return fail(s, <int64_t>i << CLUSTER_SHIFT, b"held blocks were miscounted")
    s.held += n
    s.records[HELD] += bits.held != 0
    return 0


cdef inline int check_bits(area_t *t, uint32_t i, census_t *s) noexcept nogil:
    """Blocks taken, their owners, and whether the cluster is where its holes are found."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef int64_t first = <int64_t>i << CLUSTER_SHIFT
    cdef unsigned int off, taken = 0
    for off in range(8 if ci.bits else 0):
        taken += <unsigned int>popcount64(bits_of(t, ci)[off])
    if taken != ci.nr_taken or (taken == 0) != (ci.bits == 0) or (taken and not has_own(t, i)) or ci.nr_lent > taken:
        return fail(s, first, b"the bitmap does not match the count of blocks taken")
    for off in range(CLUSTER_SLOTS if ci.owners else 0):
        if half_at(&t.pool, OWNERS, ci.owners)[off] and not is_taken(t, ci, off):
            return fail(s, first + off, b"an owner of a block that nobody took")
    if (ci.flags & FLAG_HOLES) != (is_lendable(t, i) and ci.nr_loc + ci.nr_zero > taken - ci.nr_lent):
        return fail(s, first, b"holes that no search would find, or none where one would look")
    if ci.bits and check_held(t, i, s):
        return -1
    s.sums.taken += taken
    s.hole_clusters += ci.flags & FLAG_HOLES
    s.records[BITMAPS] += ci.bits != 0
    s.records[OWNERS] += ci.owners != 0
    s.records[LOCATIONS] += ci.locs != 0
    s.records[EXTENDS] += ci.extend != 0
    return 0


cdef inline int check_empty(area_t *t, uint32_t i, census_t *s) noexcept nogil:
    """A cluster without a table: nothing in use, and blocks taken only where the list says so."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef bint receives = ci.list == LIST_RECEIVE or ci.list == LIST_RECEIVED
    if ci.count or ci.extend or ci.locs or ci.nr_loc or ci.nr_zero or ci.any_free != <uint64_t>-1 or ci.all_free != <uint64_t>-1:
        return fail(s, <int64_t>i << CLUSTER_SHIFT, b"an empty cluster that is not empty")
    if receives != (ci.nr_taken != 0) or ci.nr_lent != ci.nr_taken or (ci.list == LIST_RECEIVED) != (ci.nr_taken == CLUSTER_SLOTS):
        return fail(s, <int64_t>i << CLUSTER_SHIFT, b"blocks taken of a cluster on the wrong list")
    s.lent += ci.nr_taken
    return check_bits(t, i, s)


cdef inline int check_cluster(area_t *t, uint32_t i, census_t *s) noexcept nogil:
    cdef cluster_t *ci = &t.clusters[i]
    cdef int64_t first = <int64_t>i << CLUSTER_SHIFT
    cdef bint without = ci.list == LIST_FREE or ci.list == LIST_DISCARD or ci.list == LIST_UNTOUCHED or ci.list >= LIST_RECEIVE
    if ci.lock:
        return fail(s, first, b"the cluster is locked")
    if ci.list == LIST_PAST or ci.list == LIST_PAST_FULL:
        without = False
    if (t.tables[i] == NULL) != without:
        return fail(s, first, b"a table without use, or use without a table")
    if ci.list == LIST_UNTOUCHED:
        return 0 if ci.count == 0 and ci.nr_taken == 0 else fail(s, first, b"an untouched cluster in use")
    if (ci.list >= LIST_PAST) != (i >= PAST_CLUSTER):
        return fail(s, first, b"a list of clusters past the end and the cluster's number differ")
    s.touched_clusters += 1
    if t.tables[i] == NULL:
        return check_empty(t, i, s)
    if is_packed(t.tables[i]):
        if check_packed(t, i, s):
            return -1
    else:
        s.records[TABLES] += 1
        if check_words(t, i, s):
            return -1
    if ci.count == 0 or ci.list == LIST_NONE or (i < PAST_CLUSTER and (ci.list == LIST_FULL) != (ci.count == CLUSTER_SLOTS)):
        return fail(s, first, b"the cluster is on the wrong list")
    return check_bits(t, i, s)


cdef inline int64_t check_list(area_t *t, list_t *l, int kind, int order, census_t *s) noexcept nogil:
    """Walk one list both ways. Return: its length, or -1."""
    cdef uint32_t i = l.head, prev = NO_CLUSTER, n = 0
    while i != NO_CLUSTER and n <= l.nr:
        if t.clusters[i].list != kind or t.clusters[i].prev != prev or (order >= 0 and t.clusters[i].order != order):
            return fail(s, <int64_t>i << CLUSTER_SHIFT, b"a link, list or order is wrong")
        prev, i, n = i, t.clusters[i].next, n + 1
    if n != l.nr or prev != l.tail:
        return fail(s, -2, b"a list's length or tail is wrong")
    return n


cdef inline int check_holes_list(area_t *t, census_t *s) noexcept nogil:
    cdef uint32_t i = t.holes.head, prev = NO_CLUSTER, n = 0
    while i != NO_CLUSTER and n <= t.holes.nr:
        if not t.clusters[i].flags & FLAG_HOLES or t.clusters[i].hole_prev != prev:
            return fail(s, <int64_t>i << CLUSTER_SHIFT, b"the list of holes is wrong")
        prev, i, n = i, t.clusters[i].hole_next, n + 1
    if n != t.holes.nr or prev != t.holes.tail or n != s.hole_clusters:
        return fail(s, -2, b"the list of holes is wrong")
    return 0


cdef inline int check_lists(area_t *t, census_t *s) noexcept nogil:
    """Every list, and that every cluster that was touched is on one."""
    cdef int kind, o
    cdef int64_t n, listed = 0
    for kind in range(LIST_FREE, LIST_PAST_FREE + 1):
        for o in range(ORDERS if kind == LIST_NONFULL or kind == LIST_FRAG or kind == LIST_PAST else 1):
            n = check_list(t, list_of(t, kind, o), kind, o if kind == LIST_NONFULL or kind == LIST_FRAG or kind == LIST_PAST else -1, s)
            if n < 0:
                return -1
            listed += n
    if listed != <int64_t>s.touched_clusters:
        return fail(s, -2, b"a cluster is on no list")
    return check_holes_list(t, s)


cdef inline int check_pool(area_t *t, census_t *s) noexcept nogil:
    """No record is lost, and every word of one that waits for its next cluster is 0."""
    cdef depot_t *d
    cdef int kind, side
    cdef uint32_t n
    cdef uint64_t[DEPOTS] limbo
    cdef uint32_t entry
    memset(limbo, 0, sizeof(limbo))
    for side in range(2):
        for n in range(t.pool.limbo[side].nr):
            entry = t.pool.limbo[side].stack[n]
            kind = entry >> DEPOT_SHIFT & 31
            limbo[kind] += 1
            if is_clean(kind) and entry & <uint32_t>DIRTY == 0 and not_zero(&t.pool.depots[kind], kind, entry & ((1 << DEPOT_SHIFT) - 1), 0):
                return fail(s, -2, b"a record in limbo is not clean")
    s.records[TABLES] -= t.pool.depots[MORE_TABLES].nr_live
    s.records[MORE_TABLES] = t.pool.depots[MORE_TABLES].nr_live
    for kind in range(DEPOTS):
        d = &t.pool.depots[kind]
        if d.map == NULL:
            continue
        if s.records[kind] != d.nr_live:
            return fail(s, -2, b"records of a depot were miscounted")
        if depot_lost(d, kind, limbo[kind]):
            return fail(s, -2, b"a record is lost")
        if is_clean(kind) and free_not_clean(d, kind):
            return fail(s, -2, b"a free record is not clean, or the free ones were miscounted")
    return 0


cdef inline bint is_clean(int kind) noexcept nogil:
    """Are records of this depot zeros while nobody has them? Packed ones are written whole."""
    return kind != PACKED and kind != UNIFORM


cdef inline bint depot_lost(depot_t *d, int kind, uint64_t limbo) noexcept nogil:
    cdef uint64_t side = kind > MORE_TABLES, cold = d.nr_cold * <uint64_t>SHAPES[kind].per
    if side and d.cold[0] & 1 and d.fresh > SHAPES[kind].per - 1:
        cold -= 1               # record 0 is nobody's
    return d.fresh - side != d.nr_live + d.nr_free + cold + limbo


cdef inline bint not_zero(depot_t *d, int kind, uint32_t nr, uint32_t begin) noexcept nogil:
    """Is a record anything but zeros, from its *begin*-th word on?"""
    cdef uint64_t *record = <uint64_t *>record_at(d, kind, nr)
    cdef uint32_t k
    for k in range(begin, SHAPES[kind].bytes // 8):
        if record[k]:
            return True
    return False


cdef inline bint free_not_clean(depot_t *d, int kind) noexcept nogil:
    cdef uint32_t nr = d.free, n = 0, i
    cdef uint64_t *record
    while nr != NO_RECORD and n <= d.nr_free:
        i = nr
        record = <uint64_t *>record_at(d, kind, i)
        unpoison(record, SHAPES[kind].bytes)
        nr = <uint32_t>record[0]
        if not_zero(d, kind, i, 1):
            return True
        poison(record, SHAPES[kind].bytes)
        n += 1
    return n != d.nr_free


cdef inline int check_area(area_t *t, census_t *s) noexcept nogil:
    cdef uint32_t i
    cdef sums_t have
    memset(s, 0, sizeof(census_t))
    s.bad_slot = -1
    i = next_touched(t, 0)
    while i != NO_CLUSTER:
        if check_cluster(t, i, s):
            return -1
        i = next_touched(t, i + 1)
    if check_lists(t, s):
        return -1
    have = sums_of(t)
    if have.own != s.sums.own or have.past != s.sums.past or have.holes != s.sums.holes or have.taken != s.sums.taken:
        return fail(s, -2, b"slots or blocks in use were miscounted")
    if t.usable != <int64_t>t.blocks - s.bad:
        return fail(s, -2, b"usable blocks were miscounted")
    if t.reserved or t.gathering or t.leaving or t.past_peak < t.past_fresh - t.past_free.nr:
        return fail(s, -2, b"blocks are promised to nobody, or the peak past the end is too low")
    return check_pool(t, s)


# ---- across devices: no block has two owners, and none is lost

cdef inline int mark_owned(area_t *t, area_t *from_, uint64_t *seen, int64_t *located, census_t *s) noexcept nogil:
    """Mark the blocks of *t* that slots of *from_* name in their locations."""
    cdef uint32_t i = next_touched(from_, 0), front
    cdef cluster_t *ci
    cdef uint64_t block
    cdef unsigned int off
    cdef uint32_t loc
    cdef int member
    while i != NO_CLUSTER:
        ci = &from_.clusters[i]
        for off in range(CLUSTER_SLOTS if ci.locs else 0):
            loc = locs_of(from_, ci)[off]
            if loc == 0 or block_of(from_, loc, &block) != t:
                if loc and block_of(from_, loc, &block) == NULL:
                    return fail(s, (<int64_t>i << CLUSTER_SHIFT) + off, b"a location on a device that is not there")
                continue
            if block >= t.blocks or not is_taken(t, &t.clusters[block >> CLUSTER_SHIFT], block & (CLUSTER_SLOTS - 1)):
                return fail(s, <int64_t>block, b"a slot's location names a block that is not taken")
            if seen[block >> 6] >> (block & 63) & 1 or is_held(t, &t.clusters[block >> CLUSTER_SHIFT], block & (CLUSTER_SLOTS - 1)):
                return fail(s, <int64_t>block, b"a block has two owners")
            seen[block >> 6] |= <uint64_t>1 << (block & 63)
            located[0] += 1
            if t.clusters[block >> CLUSTER_SHIFT].owners:
                front = half_at(&t.pool, OWNERS, t.clusters[block >> CLUSTER_SHIFT].owners)[block & (CLUSTER_SLOTS - 1)]
                if front and (slot_of(t.space, front, &member) != (<int64_t>i << CLUSTER_SHIFT) + off or member != from_.member):
                    return fail(s, <int64_t>block, b"the owner on record is not the block's")
        i = next_touched(from_, i + 1)
    return 0


cdef inline bint is_waiting(area_t *t, const cluster_t *ci, unsigned int off) noexcept nogil:
    return is_taken(t, ci, off) and not is_held(t, ci, off)


cdef inline int check_space(area_t *t, census_t *s) noexcept nogil:
    """Every block that is taken is one slot's location, or held, or waits for its discard. Context: all threads are still."""
    cdef uint64_t *seen
    cdef area_t *from_
    cdef int64_t located = 0, k, b
    cdef int m, err = 0
    if not t.own_blocks:
        return 0
    seen = <uint64_t *>reserve((t.slots >> 6) * 8 + 8)
    for m in range(0 if seen == NULL else 1 if t.space == NULL else MEMBERS):
        from_ = <area_t *>t.space.members[m] if t.space != NULL else t
        if from_ != NULL and err == 0:
            err = mark_owned(t, from_, seen, &located, s)
    for k in range(t.nr_discard_runs):
        for b in range(t.discard_runs[2 * k], t.discard_runs[2 * k] + <int64_t>t.discard_runs[2 * k + 1]):
            if err == 0 and (seen[b >> 6] >> (b & 63) & 1 or not is_waiting(t, &t.clusters[b >> CLUSTER_SHIFT], b & (CLUSTER_SLOTS - 1))):
                err = fail(s, b, b"a block that waits for its discard is somebody's")
            seen[b >> 6] |= <uint64_t>1 << (b & 63)
    unreserve(seen, (t.slots >> 6) * 8 + 8)
    if err == 0 and (located + t.held + t.waiting != s.sums.taken or t.held != s.held):
        err = fail(s, -2, b"a block is lost: taken, but nobody's")
    return err


# ---- counting beside other threads

cdef inline void count_cluster(area_t *t, uint32_t i, census_t *s) noexcept nogil:
    """Words of a cluster by kind. Context: an epoch."""
    cdef uint64_t *words = <uint64_t *>load_ptr(&t.tables[i])
    cdef uint64_t word, end = blocks_end(t)
    cdef int off
    s.beyond_clusters += words != NULL and peek32(&t.nr_clusters) <= i < PAST_CLUSTER
    if is_packed(words):
        s.kinds[KIND_SHADOW] += CLUSTER_SLOTS
    elif words != NULL:
        for off in range(CLUSTER_SLOTS):
            word = load_relaxed(words + off)
            s.kinds[swp_tb_kind(word)] += 1
            s.beyond += 1 if i < PAST_CLUSTER and swp_tb_counts(word) and (<uint64_t>i << CLUSTER_SHIFT) + off >= end else 0


cdef inline void count_sides(cluster_t *ci, census_t *s) noexcept nogil:
    """Slots with locations and lent blocks of a cluster; not at all if it is locked for ever, as only damage leaves it."""
    cdef int tries = 1 << 16
    while tries and not spin_trylock(&ci.lock):
        tries -= 1
    if tries:
        s.moved += ci.nr_loc
        s.lent += ci.nr_lent
        spin_unlock(&ci.lock)


cdef inline void count_kinds(area_t *t, census_t *s) noexcept nogil:
    """Words by kind, slots with locations, free slots whose blocks are lent. Runtime: every table in use."""
    cdef uint32_t i, n = 0, epoch
    memset(s, 0, sizeof(census_t))
    epoch = epoch_enter(&t.pool.readers)
    i = next_touched(t, 0)
    while i != NO_CLUSTER:
        count_cluster(t, i, s)
        count_sides(&t.clusters[i], s)
        n += 1
        if n & 511 == 0:
            epoch_exit(&t.pool.readers, epoch)
            epoch = epoch_enter(&t.pool.readers)
        i = next_touched(t, i + 1)
    epoch_exit(&t.pool.readers, epoch)
