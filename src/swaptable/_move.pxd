# Locations of slots: blocks taken for them, changed while the slots are pinned, given back; many at a time.
# Imports the area, blocks, owners and what lies under them.
# Used by the core only; the layout is private.
from libc.errno cimport EBUSY, EINVAL, ENOENT, ENOMEM, ESTALE
from libc.stdint cimport int64_t, uint32_t, uint64_t

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._blocks cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._events cimport *
from swaptable._past cimport *
from swaptable._pool cimport *
from swaptable._update cimport *

cdef extern from "<errno.h>":
    const int ECANCELED

cdef enum:
    MOVE_RUN = 128          # slots that are moved under one lock


# ---- blocks

cdef inline int64_t area_take(area_t *t, int64_t n, uint32_t *out, bint runs, swap_stat_t *st) noexcept nogil:
    """Take up to *n* blocks for whoever will locate slots there; ascending. Return: how many."""
    cdef int64_t part, took, held, got = 0
    cdef bint broken
    while got < n:
        part = min(n - got, <int64_t>1 << 16, max(blocks_free(t), <int64_t>1))
        if blocks_reserve(t, part):
            break
        took = take_reserved(t, part, out + got, runs, &broken, st)   # fewer where others were first: they are welcome
        add64(&t.gathering, -took)
        held = hold_locs(t, out + got, took, st)
        blocks_home(t, out + got + held, took - held, False, st)
        got += held
        if held < part:
            break
    sort_locs(out, got)
    return got


cdef inline int area_give(area_t *any, const uint32_t *locs, int64_t n, int64_t *done, swap_stat_t *st) noexcept nogil:
    """Give back blocks that are nobody's location. Return: 0 or -ENOENT; *done* were given back."""
    cdef uint64_t[CLUSTER_SLOTS] blocks
    cdef int64_t k = 0, m, got
    cdef area_t *t
    done[0] = 0
    while k < n:
        t = block_of(any, locs[k], &blocks[0])
        m = min(same_blocks(locs, k, n) - k, <int64_t>CLUSTER_SLOTS)
        got = unhold_cluster(t, blocks[0], locs + k, m, st) if t != NULL else 0
        release_at(t, blocks, locs + k, got, st)
        k += got
        done[0] = k
        if got < m:
            return -ENOENT
    return 0


cdef inline void release_at(area_t *t, uint64_t *blocks, const uint32_t *locs, int64_t n, swap_stat_t *st) noexcept nogil:
    """`release` of blocks of one cluster, that of blocks[0]; the others are filled in."""
    cdef uint64_t begin = blocks[0] & ~<uint64_t>(CLUSTER_SLOTS - 1)
    cdef int64_t k
    for k in range(n):
        blocks[k] = begin + (locs[k] & (CLUSTER_SLOTS - 1))
    if n:
        release(t, blocks, n, st)


# ---- moves

cdef inline int move_locked(area_t *t, int64_t slot, uint64_t pin, uint32_t old, uint32_t new, uint32_t *spare, tally_t *y) noexcept nogil:
    """Change a slot's location. Context: cluster lock. Return: 0 or -errno."""
    cdef uint32_t i = <uint32_t>(slot >> CLUSTER_SHIFT)
    cdef unsigned int off = slot & (CLUSTER_SLOTS - 1)
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef uint64_t word
    if words == NULL or is_packed(words) or not swp_tb_is_folio(words[off]):
        return -ENOENT if words == NULL or is_packed(words) or swp_tb_counts(words[off]) or words[off] == 0 else -EINVAL
    if pin != ANY_PIN and swp_tb_pfn(words[off]) != pin:
        return -ENOENT
    if (locs_of(t, ci)[off] if ci.locs else 0) != old:
        return -ESTALE
    if new == 0 and old and has_own(t, i) and not has_place(t, i, off):
        return -EBUSY
    if new == old:
        return 0
    if new and ci.locs == 0:
        if spare[0] == NO_RECORD:
            return -ENOMEM
        store32_release(&ci.locs, spare[0])     # readers without locks see a record of zeros, at the least
        spare[0] = NO_RECORD
    word = words[off]
    if swp_tb_zero(word):               # it gets data: the location comes first, for readers without locks
        ci.nr_zero -= 1
        y.sums.holes -= has_own(t, i)
    store32_release(&locs_of(t, ci)[off], new)
    store_relaxed(words + off, word & ~ZERO_BIT)
    ci.nr_loc += (new != 0) - (old != 0)
    y.sums.holes += ((new != 0) - (old != 0)) * has_own(t, i)
    return 0


cdef inline int64_t moves_open(area_t *t, const int64_t *slots, const uint32_t *olds, const uint32_t *news, int64_t n, uint32_t *taken,
                               swap_stat_t *st) noexcept nogil:
    """Find the first slots of one cluster, and let nobody else give their new blocks to a slot from here on.

    *taken* gets the new locations, 0 where it is none or the old one. Context: no locks. Return: how many, at most
    MOVE_RUN; 0: the first one's block is not held. A later one may be what an earlier one gives up: it begins the next run.
    """
    cdef int64_t k = 0, m = 0, end
    cdef uint64_t block
    cdef area_t *to
    while m < n and m < MOVE_RUN and in_range(t, slots[m]) and (slots[m] ^ slots[0]) >> CLUSTER_SHIFT == 0:
        taken[m] = news[m] if news[m] != olds[m] else 0
        m += 1
    while k < m:
        end = same_blocks(taken, k, m)
        if taken[k]:
            to = block_of(t, taken[k], &block)
            end = k + (unhold_cluster(to, block, taken + k, end - k, st) if to != NULL else 0)
            if end < m and taken[end] >> CLUSTER_SHIFT == taken[k] >> CLUSTER_SHIFT:
                return end
        k = end
    return m


cdef inline int64_t move_cluster(area_t *t, const int64_t *slots, uint64_t pin, const uint32_t *olds, const uint32_t *news, int64_t n,
                                 bint each, int *errs, swap_stat_t *st) noexcept nogil:
    """Move slots of one cluster under one lock, with *each* all that can be, without up to the first that cannot.

    Context: no locks. Return: how many were tried.
    """
    cdef uint32_t i = <uint32_t>(slots[0] >> CLUSTER_SHIFT), spare = NO_RECORD
    cdef cluster_t *ci = &t.clusters[i]
    cdef bint located = False, memory = True
    cdef int64_t k = 0, moved = 0
    cdef tally_t y
    for k in range(n):
        located |= news[k] != 0
    tally_begin(&y)
    while True:
        if located and spare == NO_RECORD and peek32(&ci.locs) == 0:
            spare = pool_get(&t.pool, LOCATIONS)
            memory = spare != NO_RECORD
        lock_cluster(ci, st)
        if not located or not memory or spare != NO_RECORD or ci.locs:
            break
        spin_unlock(&ci.lock)
    k = 0
    while k < n:
        errs[k] = move_locked(t, slots[k], pin, olds[k], news[k], &spare, &y)
        moved += errs[k] == 0
        k += 1
        if errs[k - 1] and not each:
            break
    if moved:
        holes_changed(t, i, st)
        drop_sides_locked(t, i, &y)
    spin_unlock(&ci.lock)
    tally_settle(t, &y, st)
    if spare != NO_RECORD:
        pool_put(&t.pool, LOCATIONS, spare, False)
    sums_add(t, &y.sums, i)
    return k


cdef inline void moves_close(area_t *t, const int64_t *slots, const uint32_t *olds, const uint32_t *news, int64_t n, uint32_t *taken,
                             const int *errs, bint give, swap_stat_t *st) noexcept nogil:
    """Who has the blocks now: slots the new ones, the caller those given up, unless they are to go back. Context: no locks."""
    cdef uint32_t[128] gone     # MOVE_RUN
    cdef uint32_t[128] back
    cdef int64_t k, nr_gone = 0, nr_back = 0
    for k in range(n):
        if errs[k]:
            back[nr_back] = taken[k]
            nr_back += taken[k] != 0
            taken[k] = 0
        elif olds[k] != news[k]:
            if load_ptr(&t.events) != NULL:
                event_put(&t.events, EVENT_MOVE, 0, slots[k], 1, 0, olds[k], news[k])
            gone[nr_gone] = olds[k]
            nr_gone += olds[k] != 0
    # Of a slot that moves twice here, the block between is nobody's in the end.
    set_owners(t, slots, taken, n, st)
    k = hold_locs(t, back, nr_back, st)
    blocks_home(t, back + k, nr_back - k, False, st)        # no memory to hold them: better free than lost
    if give:
        k = 0
    else:
        set_owners(t, NULL, gone, nr_gone, st)
        k = hold_locs(t, gone, nr_gone, st)
    blocks_home(t, gone + k, nr_gone - k, True, st)


cdef inline int64_t area_moves(area_t *t, const int64_t *slots, uint64_t pin, const uint32_t *olds, const uint32_t *news, int64_t n,
                               bint each, bint give, int *errs, swap_stat_t *st) noexcept nogil:
    """Compare and set the locations of slots in the swap cache: a FOLIO word is the pin, that of folio *pin* if it is named.

    Context: no locks; the blocks of *news* were taken for this, those of *olds* are the caller's then, or with *give*
    given back. Without *each* it ends at the first that cannot be moved. Return: how many were tried; the error of each
    is 0, -ESTALE when its location is not the old one, -ENOENT when it is not in the cache, -EBUSY when its own block
    is lent, -EINVAL when the new one is no block that is held.
    """
    cdef uint32_t[128] taken    # MOVE_RUN
    cdef int64_t k = 0, m, tried, j
    while k < n:
        m = moves_open(t, slots + k, olds + k, news + k, n - k, taken, st)
        if m == 0:
            errs[k] = -EINVAL
            k += 1
            if each:
                continue
            break
        tried = move_cluster(t, slots + k, pin, olds + k, news + k, m, each, errs + k, st)
        for j in range(k + tried, k + m):
            errs[j] = -ECANCELED
        moves_close(t, slots + k, olds + k, news + k, m, taken, errs + k, give, st)
        k += tried
        if errs[k - 1] and not each:
            break
    return k


cdef inline int area_move(area_t *t, int64_t slot, uint64_t pin, uint32_t old, uint32_t new, swap_stat_t *st) noexcept nogil:
    """`area_moves` of one slot; the old block is the caller's. Return: 0 or -errno."""
    cdef int err
    area_moves(t, &slot, pin, &old, &new, 1, True, False, &err, st)
    return err
