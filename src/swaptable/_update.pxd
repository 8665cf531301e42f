# Users, the swap cache, freeing: every change of slots that are in use, one by one, in runs and in batches.
# Imports the area, blocks, packed clusters and what lies under them.
# Used by the core only; the layout is private.
from libc.errno cimport EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, EOVERFLOW
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._blocks cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._events cimport *
from swaptable._packed cimport *
from swaptable._pool cimport *

cdef enum:
    AHEAD_WRITE = 16        # prefetch distance, in elements

cdef enum:
    OP_FREE, OP_DUP, OP_PUT, OP_CACHE_ADD, OP_CACHE_DEL, OP_WRITEOUT, OP_ZERO_SET, OP_ZERO_CLEAR, OP_RECLAIM, OP_UNPIN

cdef struct tally_t:        # what a batch changed, and what its cluster no longer needs
    sums_t sums
    uint64_t *table
    bint dirty
    uint32_t extend, locs           # records to give back
    int64_t nr_homes
    uint32_t[512] homes             # locations that were given up


cdef inline void tally_begin(tally_t *y) noexcept nogil:
    memset(&y.sums, 0, sizeof(sums_t))
    y.table = NULL
    y.extend = y.locs = 0
    y.dirty = False
    y.nr_homes = 0


cdef inline void tally_settle(area_t *t, tally_t *y, swap_stat_t *st) noexcept nogil:
    """Give back what the last cluster no longer needs. Context: no cluster or list lock."""
    if y.table != NULL:
        pool_put_table(&t.pool, y.table, y.dirty)
        y.table = NULL
    if y.extend:
        pool_put(&t.pool, EXTENDS, y.extend, False)
    if y.locs:
        pool_put(&t.pool, LOCATIONS, y.locs, False)
    y.extend = y.locs = 0
    if y.nr_homes:
        sort_locs(y.homes, y.nr_homes)
        blocks_home(t, y.homes, y.nr_homes, True, st)
        y.nr_homes = 0


cdef inline void extend_clear(area_t *t, cluster_t *ci, unsigned int off) noexcept nogil:
    """The count of slot *off* fits in its word again. Context: cluster lock."""
    extends_of(t, ci)[off] = 0
    ci.nr_extend -= 1           # the table goes with the last, once the lock is dropped: update_cluster


cdef inline uint64_t count_of(area_t *t, cluster_t *ci, uint64_t word, unsigned int off) noexcept nogil:
    return extends_of(t, ci)[off] if swp_tb_count(word) == COUNT_MAX else swp_tb_count(word)


cdef inline void hole_filled(area_t *t, uint32_t i, uint64_t word, unsigned int off, tally_t *y) noexcept nogil:
    """A slot whose word was *word* gives up its location or its zero flag, whichever it had. Context: cluster lock.

    The word has changed before the location does, so that a reader who finds none looks at the word again.
    """
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint32_t loc = locs_of(t, ci)[off] if ci.nr_loc else 0
    if swp_tb_zero(word):
        ci.nr_zero -= 1
    elif loc:
        store32_release(&locs_of(t, ci)[off], 0)
        ci.nr_loc -= 1
        y.homes[y.nr_homes] = loc
        y.nr_homes += 1
    else:
        return
    y.sums.holes -= has_own(t, i)


cdef inline uint64_t freed_word(area_t *t, uint32_t i, cluster_t *ci, unsigned int off) noexcept nogil:
    """What a slot is once it has no users: free, lent, or out of the device. Context: cluster lock."""
    if i >= PAST_CLUSTER or not t.own_blocks:
        return 0
    if is_taken(t, ci, off):
        ci.nr_lent += 1
        return SWP_TB_LENT
    return SWP_TB_BAD if ci.flags & FLAG_BEYOND and (<uint64_t>i << CLUSTER_SHIFT) + off >= blocks_end(t) else 0


cdef inline void slot_clear(area_t *t, uint32_t i, uint64_t *words, unsigned int off, tally_t *y) noexcept nogil:
    """Take one slot out of use. Context: cluster lock."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t word = words[off], free = 0
    if swp_tb_count(word) == COUNT_MAX:
        extend_clear(t, ci, off)
    if not is_plain(ci):
        free = freed_word(t, i, ci, off)
        store_relaxed(words + off, free)
        hole_filled(t, i, word, off, y)
    else:
        store_relaxed(words + off, 0)
    if free == 0:
        slot_freed(ci, words, off)
        ci.count -= 1


cdef inline void slot_leave(area_t *t, uint32_t i, uint64_t *words, unsigned int off, tally_t *y) noexcept nogil:
    """`slot_clear`, told to a listener. Context: cluster lock."""
    if load_ptr(&t.events) != NULL:
        event_put(&t.events, EVENT_FREE, 0, (<int64_t>i << CLUSTER_SHIFT) + off, 1, swp_tb_memcg(words[off]), 0, 0)
    slot_clear(t, i, words, off, y)


cdef inline void free_run(area_t *t, uint32_t i, uint64_t *words, unsigned int off, unsigned int nr, tally_t *y) noexcept nogil:
    """Take a run of slots out of use, all of which have users or are cached. Context: cluster lock."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef unsigned int end = off + nr
    cdef uint64_t bits
    if load_ptr(&t.events) != NULL:
        event_put(&t.events, EVENT_FREE, 0, (<int64_t>i << CLUSTER_SHIFT) + off, nr, swp_tb_memcg(words[off]), 0, 0)
    while off < end:
        if off & 7 or end - off < 8 or ci.nr_extend or not is_plain(ci):
            slot_clear(t, i, words, off, y)
            off += 1
            continue
        nr = (end - off) & ~7u
        fill_lines(words + off, 0, nr >> 3)
        bits = line_bits(off, nr)
        ci.any_free |= bits
        ci.all_free |= bits
        ci.count -= nr
        off += nr


cdef inline int64_t free_many(
    area_t *t, uint32_t i, uint64_t *words, const int64_t *slots, int64_t k, int64_t n, int nr, int *err, tally_t *y,
) noexcept nogil:
    """Free the runs from element *k* on that follow one another in the cluster. Context: cluster lock. Return: how many."""
    cdef unsigned int off = slots[k] & (CLUSTER_SLOTS - 1)
    cdef int64_t most = (CLUSTER_SLOTS - off) // <unsigned int>nr, m = 1
    if most > n - k:
        most = n - k
    while m < most and slots[k + m] == slots[k + m - 1] + nr:
        m += 1
    if most and run_in_use(words + off, <int>m * nr):
        free_run(t, i, words, off, <unsigned int>m * nr, y)
        return m
    # One of them is not in use: one by one, up to it.
    if most == 0:
        err[0] = -EINVAL
        return 0
    err[0] = check_run(t, i, words, off, nr, OP_FREE, 0)
    if err[0]:
        return 0
    free_run(t, i, words, off, nr, y)
    return 1


cdef inline int word_error(uint64_t word) noexcept nogil:
    """Why a word without users is refused."""
    return -ENOENT if word == 0 else -EINVAL


cdef inline void set_count(area_t *t, cluster_t *ci, uint64_t *words, unsigned int off, uint64_t count) noexcept nogil:
    """Write a slot's count, in its word or in the overflow table. Context: cluster lock."""
    cdef uint64_t word = words[off]
    cdef bint was = swp_tb_count(word) == COUNT_MAX
    if count >= COUNT_MAX:
        ci.nr_extend += not was
        extends_of(t, ci)[off] = <uint32_t>count
        count = COUNT_MAX
    store_relaxed(words + off, swp_tb_with_count(word, <unsigned int>count))
    if was and count < COUNT_MAX:
        extend_clear(t, ci, off)


cdef inline int check_run(area_t *t, uint32_t i, const uint64_t *words, unsigned int first, int nr, int op, uint64_t arg) noexcept nogil:
    """May *op* be done to every slot of the run? Context: cluster lock. Return: 0 or -errno."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef unsigned int off
    cdef uint64_t word, count
    for off in range(first, first + nr):
        word = words[off]
        if not swp_tb_counts(word):
            return word_error(word)
        if op == OP_DUP:
            count = count_of(t, ci, word, off) + arg
            if count > USERS_MAX:
                return -EOVERFLOW
            if count >= COUNT_MAX and ci.extend == 0:
                return -ENOMEM
        elif op == OP_PUT and count_of(t, ci, word, off) < arg:
            return -ENOENT
        elif op == OP_CACHE_ADD and swp_tb_is_folio(word):
            return -EEXIST
        elif (op == OP_CACHE_DEL or op == OP_WRITEOUT or op == OP_UNPIN) and not swp_tb_is_folio(word):
            return -ENOENT
        elif op == OP_RECLAIM and (not swp_tb_is_folio(word) or swp_tb_count(word) or swp_tb_pfn(word) != arg):
            return -EBUSY
        if (op == OP_WRITEOUT or op == OP_ZERO_CLEAR) and swp_tb_zero(word) and not has_place(t, i, off):
            return -EBUSY
    return 0


cdef inline bint has_place(area_t *t, uint32_t i, unsigned int off) noexcept nogil:
    """May the data of a zero page be written to its slot's own block? A ghost and a slot past the end have none. Context: cluster lock."""
    return not has_own(t, i) or (not is_taken(t, &t.clusters[i], off) and (<uint64_t>i << CLUSTER_SHIFT) + off < blocks_end(t))


cdef inline void apply_zero(area_t *t, uint32_t i, uint64_t *words, unsigned int off, bint zero, tally_t *y) noexcept nogil:
    """Set or clear the zero flag of a slot; a page of zeros gives up its location. Context: cluster lock."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t word = words[off]
    if zero == swp_tb_zero(word):
        return
    store_relaxed(words + off, word ^ ZERO_BIT)
    hole_filled(t, i, word, off, y)
    if zero:
        ci.nr_zero += 1
        y.sums.holes += has_own(t, i)


cdef inline int apply_one(area_t *t, uint32_t i, uint64_t *words, unsigned int off, int op, uint64_t arg, uint64_t *old, tally_t *y) noexcept nogil:
    """Do *op* to one slot that `check_run` passed. Context: cluster lock. Return: 1 when the slot went out of use."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t word = words[off]
    cdef unsigned int count = swp_tb_count(word)
    if old != NULL:
        old[0] = word
    if op == OP_DUP:
        if count + arg < COUNT_MAX:
            store_relaxed(words + off, word + arg * COUNT_ONE)
        else:
            set_count(t, ci, words, off, count_of(t, ci, word, off) + arg)
    elif op == OP_PUT:
        if count == arg and swp_tb_is_shadow(word) and count < COUNT_MAX:
            slot_leave(t, i, words, off, y)
            return 1
        if count < COUNT_MAX:
            store_relaxed(words + off, word - arg * COUNT_ONE)
        else:
            return put_extended(t, i, words, off, arg, y)
    elif op == OP_CACHE_ADD:
        store_relaxed(words + off, swp_tb_cached(word, arg))
    elif op == OP_CACHE_DEL or op == OP_UNPIN:
        if count == 0:
            slot_leave(t, i, words, off, y)
            return 1
        store_relaxed(words + off, swp_tb_uncached(word, arg))
    elif op == OP_RECLAIM:
        slot_leave(t, i, words, off, y)
        return 1
    else:
        apply_zero(t, i, words, off, op == OP_ZERO_SET, y)
    return 0


cdef inline int put_extended(area_t *t, uint32_t i, uint64_t *words, unsigned int off, uint64_t users, tally_t *y) noexcept nogil:
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t count = extends_of(t, ci)[off] - users
    if count == 0 and swp_tb_is_shadow(words[off]):
        slot_leave(t, i, words, off, y)
        return 1
    set_count(t, ci, words, off, count)
    return 0


cdef struct update_t:       # one operation on runs of nr slots
    int op
    int nr
    uint64_t arg            # users, pfn or shadow
    uint64_t most           # the largest that fits
    const uint64_t *pins    # of OP_UNPIN: cache_del, if the folio is this one
    const uint64_t *args    # one per run, in the place of arg
    uint64_t *old           # the words replaced, nr per run (not of OP_FREE); or NULL


cdef inline int update_alike(
    area_t *t, uint32_t i, uint64_t *words, unsigned int off, update_t *u, uint64_t arg, int64_t k, tally_t *y,
) noexcept nogil:
    """Do *u* to a run whose words are all of a kind and of small counts, as a folio's are. Context: cluster lock.

    Return: 0 when they are not (nothing was done), 1 when done, 2 when the slots went out of use.
    """
    cdef run_t run = run_of(words + off, u.nr)
    cdef bint folio = run.any & 1 == 0 and run.all & 2 != 0, shadow = run.all & 1 != 0
    cdef uint64_t stays = COUNT_MASK | ZERO_BIT | MEMCG_MASK
    if run.high == COUNT_MAX or not (folio or shadow):
        return 0
    if u.old != NULL:
        memcpy(u.old + k * u.nr, words + off, u.nr * sizeof(uint64_t))
    if u.op == OP_DUP and arg < COUNT_MAX and run.high + arg < COUNT_MAX:
        run_write(words + off, u.nr, <uint64_t>-1, 0, arg * COUNT_ONE)
    elif u.op == OP_PUT and folio and run.low >= arg or u.op == OP_PUT and shadow and run.low > arg:
        run_write(words + off, u.nr, <uint64_t>-1, 0, 0 - arg * COUNT_ONE)
    elif u.op == OP_PUT and shadow and run.low == arg and run.high == arg or u.op == OP_CACHE_DEL and folio and run.high == 0:
        free_run(t, i, words, off, <unsigned int>u.nr, y)
        return 2
    elif u.op == OP_CACHE_ADD and shadow:
        run_write(words + off, u.nr, stays, (arg << 2) | 2, 0)
    elif u.op == OP_WRITEOUT and folio and run.any & ZERO_BIT == 0:
        pass
    elif u.op == OP_CACHE_DEL and folio and run.low:
        run_write(words + off, u.nr, stays, (arg << 1) | 1, 0)
    else:
        return 0
    return 1


cdef inline int update_run(area_t *t, uint32_t i, uint64_t *words, int64_t slot, update_t *u, int64_t k, int64_t *freed, tally_t *y) noexcept nogil:
    """Do *u* to one run, all of it or nothing. Context: cluster lock. Return: 0 or -errno."""
    cdef unsigned int off = slot & (CLUSTER_SLOTS - 1), j
    cdef uint64_t arg = u.arg if u.args == NULL else u.args[k]
    cdef int err
    if off + <unsigned int>u.nr > CLUSTER_SLOTS or arg > u.most:
        return -EINVAL
    if u.op == OP_UNPIN and swp_tb_pfn(words[off]) != u.pins[k]:
        return -EBUSY
    if u.nr > 1:
        j = update_alike(t, i, words, off, u, arg, k, y)
        if j:
            freed[0] += u.nr if j == 2 else 0
            return 0
    err = check_run(t, i, words, off, u.nr, u.op, arg)
    if err:
        return err
    for j in range(<unsigned int>u.nr):
        freed[0] += apply_one(t, i, words, off + j, u.op, arg, NULL if u.old == NULL else u.old + k * u.nr + j, y)
    return 0


cdef inline void prefetch_slot(area_t *t, int64_t slot) noexcept nogil:
    if in_range(t, slot):
        prefetch_write(&t.clusters[slot >> CLUSTER_SHIFT])
        prefetch_write(<uint64_t *>load_ptr(&t.tables[slot >> CLUSTER_SHIFT]) + (slot & (CLUSTER_SLOTS - 1)))


cdef inline int64_t update_words(area_t *t, uint32_t i, uint64_t *words, const int64_t *slots, int64_t k, int64_t n, update_t *u,
                                 int *err, int64_t *freed, tally_t *y) noexcept nogil:
    """Update the runs from element *k* on that lie in cluster *i*. Context: cluster lock. Return: the element after them."""
    cdef int64_t begin = k, runs
    # So many runs at the most that the locations which they give up have room.
    cdef int64_t end = min(n, begin + (CLUSTER_SLOTS if u.nr == 1 or is_plain(&t.clusters[i]) else max(1, CLUSTER_SLOTS // u.nr)))
    while err[0] == 0 and k < end and slots[k] >> CLUSTER_SHIFT == i:
        if u.op == OP_FREE:
            runs = free_many(t, i, words, slots, k, end, u.nr, err, y)
            freed[0] += runs * u.nr
            k += runs
        else:
            err[0] = update_run(t, i, words, slots[k], u, k, freed, y)
            k += err[0] == 0
        if k + AHEAD_WRITE < n and slots[k + AHEAD_WRITE] >> CLUSTER_SHIFT != i:
            prefetch_slot(t, slots[k + AHEAD_WRITE])
    return k


cdef inline void drop_sides_locked(area_t *t, uint32_t i, tally_t *y) noexcept nogil:
    """What a cluster no longer needs beside its table. Context: cluster lock."""
    cdef cluster_t *ci = &t.clusters[i]
    if ci.nr_extend == 0 and ci.extend:     # installed, then maybe not needed
        y.extend, ci.extend = ci.extend, 0
    if ci.nr_loc == 0 and ci.locs:
        y.locs = ci.locs
        poke32(&ci.locs, 0)


cdef inline int64_t update_cluster(area_t *t, const int64_t *slots, int64_t k, int64_t n, update_t *u, int *err, uint32_t *spare, tally_t *y,
                                   swap_stat_t *st) noexcept nogil:
    """Update the runs from element *k* on that lie in one cluster, under one lock. Return: the element after them."""
    cdef uint32_t i = <uint32_t>(slots[k] >> CLUSTER_SHIFT)
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words
    cdef int64_t begin = k, freed = 0
    cdef unsigned int before
    cdef bint plain
    # No table, no slot in use: and no page of the cluster array is touched to find that out.
    if load_ptr(&t.tables[i]) == NULL:
        err[0] = -ENOENT if (slots[k] & (CLUSTER_SLOTS - 1)) + u.nr <= CLUSTER_SLOTS else -EINVAL
        return k
    lock_cluster(ci, st)
    words = t.tables[i]
    if spare[0] != NO_RECORD and ci.extend == 0 and is_table(words):
        ci.extend, spare[0] = spare[0], NO_RECORD
    err[0] = 0 if is_table(words) else -ENOENT if words == NULL else -EAGAIN
    if err[0] == 0:
        plain, before = is_plain(ci), ci.count
        k = update_words(t, i, words, slots, k, n, u, err, &freed, y)
        if i < PAST_CLUSTER:
            y.sums.own -= freed
        else:
            y.sums.past -= freed
        if not (plain and is_plain(ci)):
            holes_changed(t, i, st)
        drop_sides_locked(t, i, y)
        if ci.count < before:           # slots whose block is lent went out of use, but are not free
            y.table = after_free(t, i, False, st)
        elif freed and ci.flags & FLAG_BEYOND:
            y.table, y.dirty = drop_beyond(t, i, st), True
    spin_unlock(&ci.lock)
    st.words += (k - begin) * u.nr
    tally_settle(t, y, st)
    return k


cdef inline uint64_t most_of(int op) noexcept nogil:
    """The largest argument of *op* that fits: pfn, shadow or users."""
    return PFN_MAX if op == OP_CACHE_ADD or op == OP_RECLAIM else SHADOW_MAX if op == OP_CACHE_DEL or op == OP_UNPIN else USERS_MAX


cdef inline uint64_t stepped(uint64_t word, int op, uint64_t arg) noexcept nogil:
    """*word* after *op*; 0 where it takes more than a store: overflow table, freeing, refusal."""
    cdef uint64_t count = swp_tb_count(word)
    if op == OP_CACHE_ADD:
        return swp_tb_cached(word, arg) if swp_tb_is_shadow(word) else 0
    if op == OP_WRITEOUT:
        return word if swp_tb_is_folio(word) and not swp_tb_zero(word) else 0
    if op == OP_CACHE_DEL:
        return swp_tb_uncached(word, arg) if swp_tb_is_folio(word) and count else 0
    if not swp_tb_counts(word) or count == COUNT_MAX:
        return 0
    if op == OP_DUP:
        return word + arg * COUNT_ONE if count + arg < COUNT_MAX else 0
    return word - arg * COUNT_ONE if count > arg or (count == arg and swp_tb_is_folio(word)) else 0


cdef inline bint frees(uint64_t word, int op, uint64_t arg) noexcept nogil:
    """Does *op* free a slot of that word, with nothing in the overflow table?"""
    cdef uint64_t count = swp_tb_count(word)
    if not swp_tb_counts(word) or count == COUNT_MAX:
        return False
    if op == OP_PUT:
        return count == arg and swp_tb_is_shadow(word)
    return op == OP_FREE or (op == OP_CACHE_DEL and count == 0 and swp_tb_is_folio(word))


cdef inline bint step_locked(area_t *t, int64_t slot, int op, uint64_t arg, uint64_t *old, uint64_t **table, int64_t *freed,
                             swap_stat_t *st) noexcept nogil:
    """Do *op* to one slot if a store is all it takes; *table* is what the cluster no longer needs then. Context: cluster lock."""
    cdef uint32_t i = <uint32_t>(slot >> CLUSTER_SHIFT)
    cdef unsigned int off = slot & (CLUSTER_SLOTS - 1)
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef uint64_t word
    if not is_table(words) or arg > most_of(op):
        return False
    if frees(words[off], op, arg):
        if not is_plain(ci):
            return False
        if old != NULL:
            old[0] = words[off]
        if load_ptr(&t.events) != NULL:
            event_put(&t.events, EVENT_FREE, 0, slot, 1, swp_tb_memcg(words[off]), 0, 0)
        store_relaxed(words + off, 0)
        slot_freed(ci, words, off)
        ci.count -= 1
        freed[0] += 1
        table[0] = after_free(t, i, False, st)
        return True
    word = stepped(words[off], op, arg) if op != OP_FREE else 0
    if word:
        if old != NULL:
            old[0] = words[off]
        store_relaxed(words + off, word)
    return word != 0


cdef inline int64_t step_singles(area_t *t, const int64_t *slots, int64_t k, int64_t n, update_t *u, tally_t *y, swap_stat_t *st) noexcept nogil:
    """Do *u* to slots of ever other clusters, from element *k* on, while a store each is all it takes.

    Context: takes and drops cluster and list locks. Return: the first element that is left to `update_cluster`.
    """
    cdef int64_t begin = k, freed
    cdef uint32_t i
    cdef bint done = True
    cdef uint64_t *table = NULL
    while done and k < n and in_range(t, slots[k]) and (k + 1 == n or (slots[k] ^ slots[k + 1]) >> CLUSTER_SHIFT):
        if k + AHEAD_WRITE < n:
            prefetch_slot(t, slots[k + AHEAD_WRITE])
        i = <uint32_t>(slots[k] >> CLUSTER_SHIFT)
        if load_ptr(&t.tables[i]) == NULL:
            break
        st.lock_waits += spin_lock(&t.clusters[i].lock)
        freed = 0
        done = step_locked(t, slots[k], u.op, u.arg if u.args == NULL else u.args[k], NULL if u.old == NULL else u.old + k, &table, &freed, st)
        spin_unlock(&t.clusters[i].lock)
        if i < PAST_CLUSTER:
            y.sums.own -= freed
        else:
            y.sums.past -= freed
        if table != NULL:
            pool_put_table(&t.pool, table, False)
            table = NULL
        k += done
    st.cluster_locks += k - begin + (not done)
    st.words += k - begin
    return k


cdef inline int update(area_t *t, const int64_t *slots, int64_t n, int64_t *done, update_t *u, swap_stat_t *st) noexcept nogil:
    """Do *u* to every run in turn, until one is refused.

    Context: takes and drops cluster and list locks. Return: 0 or -errno; *done* runs were done.
    """
    cdef int err = -EINVAL if <unsigned int>(u.nr - 1) >= CLUSTER_SLOTS else 0
    cdef int64_t k = 0
    cdef uint32_t spare = NO_RECORD
    cdef bint simple = u.nr == 1 and u.op <= OP_WRITEOUT
    cdef tally_t y
    tally_begin(&y)
    u.most = most_of(u.op)
    while k < n and err == 0:
        if simple:
            k = step_singles(t, slots, k, n, u, &y, st)
            if k == n:
                break
        if not in_range(t, slots[k]):
            err = -EINVAL
            break
        k = update_cluster(t, slots, k, n, u, &err, &spare, &y, st)
        if err == -ENOMEM and spare == NO_RECORD:
            # The overflow table is made without the lock; then everything is looked at again.
            spare = pool_get(&t.pool, EXTENDS)
            if spare != NO_RECORD:
                err = 0
        elif err == -EAGAIN:
            err = expand(t, <uint32_t>(slots[k] >> CLUSTER_SHIFT), st)
    if spare != NO_RECORD:
        pool_put(&t.pool, EXTENDS, spare, False)
    if k:
        sums_add(t, &y.sums, <uint32_t>(slots[0] >> CLUSTER_SHIFT))
    done[0] = k
    return err


cdef inline int update_one(area_t *t, int op, int64_t slot, int nr, uint64_t arg, uint64_t *old, swap_stat_t *st) noexcept nogil:
    cdef update_t u
    cdef int64_t done
    if nr == 1 and op <= OP_WRITEOUT and step_one(t, op, slot, arg, old, st):
        return 0
    u.op, u.nr, u.arg, u.args, u.old = op, nr, arg, NULL, old
    return update(t, &slot, 1, &done, &u, st)


cdef inline void update_each(area_t *t, const int64_t *slots, int64_t n, update_t *u, uint8_t *ok, swap_stat_t *st) noexcept nogil:
    """Do *u* to every slot that it can be done to, one lock a run in a cluster; *ok*, to which. The old words of others stay."""
    cdef update_t v = u[0]
    cdef int64_t k = 0, done
    memset(ok, 1, n)
    while k < n:
        v.args = NULL if u.args == NULL else u.args + k
        v.pins = NULL if u.pins == NULL else u.pins + k
        v.old = NULL if u.old == NULL else u.old + k
        if update(t, slots + k, n - k, &done, &v, st) == 0:
            break
        k += done
        ok[k] = 0
        k += 1


cdef inline bint step_one(area_t *t, int op, int64_t slot, uint64_t arg, uint64_t *old, swap_stat_t *st) noexcept nogil:
    """`step_singles` for one slot and nothing else: false leaves it to `update`."""
    cdef cluster_t *ci
    cdef uint64_t *table = NULL
    cdef int64_t freed = 0
    cdef bint done
    if not in_range(t, slot) or load_ptr(&t.tables[slot >> CLUSTER_SHIFT]) == NULL:
        return False
    ci = &t.clusters[slot >> CLUSTER_SHIFT]
    lock_cluster(ci, st)
    done = step_locked(t, slot, op, arg, old, &table, &freed, st)
    spin_unlock(&ci.lock)
    if table != NULL:
        pool_put_table(&t.pool, table, False)
    if freed:
        slot_gone(t, slot)
    st.words += done
    return done


cdef inline void slot_gone(area_t *t, int64_t slot) noexcept nogil:
    """Count one slot less. Context: no cluster or list lock."""
    if slot < <int64_t>PAST_SLOT:
        used_add(t, -1, slot)
    else:
        add64(&t.used[(slot >> CLUSTER_SHIFT) & (PARTS - 1)].nr.past, -1)


cdef inline bint area_repin(area_t *t, int64_t slot, uint64_t old, uint64_t new, swap_stat_t *st) noexcept nogil:
    """Change the pfn of a slot in the swap cache from *old*, if it is that. Context: no locks. Return: whether it was."""
    cdef cluster_t *ci
    cdef uint64_t *words
    cdef uint64_t word
    cdef bint done = False
    if not in_range(t, slot) or load_ptr(&t.tables[slot >> CLUSTER_SHIFT]) == NULL:
        return False
    ci = &t.clusters[slot >> CLUSTER_SHIFT]
    lock_cluster(ci, st)
    words = t.tables[slot >> CLUSTER_SHIFT]
    if is_table(words):                 # what is packed is swapped out
        word = words[slot & (CLUSTER_SLOTS - 1)]
        if swp_tb_is_folio(word) and swp_tb_pfn(word) == old:
            store_relaxed(words + (slot & (CLUSTER_SLOTS - 1)), swp_tb_cached(word, new))
            done = True
    spin_unlock(&ci.lock)
    st.words += done
    return done


cdef inline int area_put_cached(area_t *t, int64_t slot, uint64_t *old, swap_stat_t *st) noexcept nogil:
    """Take a user from a slot if it is in the swap cache. Context: no locks. Return: 0 or -ENOENT."""
    cdef cluster_t *ci
    cdef uint64_t *words
    cdef uint64_t word = 0, count
    cdef tally_t y
    if not in_range(t, slot) or load_ptr(&t.tables[slot >> CLUSTER_SHIFT]) == NULL:
        return -ENOENT
    tally_begin(&y)
    ci = &t.clusters[slot >> CLUSTER_SHIFT]
    lock_cluster(ci, st)
    words = t.tables[slot >> CLUSTER_SHIFT]
    if is_table(words):
        word = words[slot & (CLUSTER_SLOTS - 1)]
    if swp_tb_is_folio(word) and swp_tb_count(word):
        count = count_of(t, ci, word, slot & (CLUSTER_SLOTS - 1)) - 1
        set_count(t, ci, words, slot & (CLUSTER_SLOTS - 1), count)
        drop_sides_locked(t, <uint32_t>(slot >> CLUSTER_SHIFT), &y)
        old[0] = word
    else:
        word = 0
    spin_unlock(&ci.lock)
    tally_settle(t, &y, st)
    return 0 if word else -ENOENT
