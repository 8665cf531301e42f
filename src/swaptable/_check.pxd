# The whole of a swap area: every invariant rebuilt from the words, and slots counted by kind.
# Imports the area and what lies under it.
# Used by the core only.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from swaptable._area cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._pool cimport *


cdef struct census_t:
    uint64_t kinds[8]
    uint64_t touched_clusters
    uint64_t tables
    uint64_t extends
    int64_t used
    int64_t bad_slot        # where a check failed, or -1
    const char *why


cdef inline int fail(census_t *s, int64_t slot, const char *why) noexcept nogil:
    s.bad_slot = slot
    s.why = why
    return -1


cdef inline int check_words(area_t *t, uint32_t i, census_t *s) noexcept nogil:
    """Rebuild count, summaries and overflow of a cluster from its words."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef uint64_t word, any_free = 0, all_free = <uint64_t>-1
    cdef unsigned int off, used = 0, over = 0
    cdef int kind
    cdef int64_t first = <int64_t>i << CLUSTER_SHIFT
    for off in range(CLUSTER_SLOTS):
        word = words[off]
        kind = swp_tb_kind(word)
        s.kinds[kind] += 1
        if kind == KIND_INVALID or kind == KIND_POINTER or kind == KIND_LENT:
            return fail(s, first + off, b"a word that no operation writes")
        if kind == KIND_SHADOW and swp_tb_count(word) == 0:
            return fail(s, first + off, b"swapped out without users")
        if kind == KIND_NULL:
            any_free |= <uint64_t>1 << (off >> 3)
        else:
            all_free &= ~(<uint64_t>1 << (off >> 3))
            used += 1
            s.used += kind != KIND_BAD
        if kind != KIND_BAD and swp_tb_count(word) == COUNT_MAX:
            over += 1
            if ci.extend == NULL or ci.extend[off] < COUNT_MAX:
                return fail(s, first + off, b"an overflowed count without its overflow table")
        elif ci.extend != NULL and ci.extend[off]:
            return fail(s, first + off, b"an overflow entry of a count that fits in its word")
    if used != ci.count:
        return fail(s, first, b"the cluster's count is not its used slots")
    if any_free != ci.any_free or all_free != ci.all_free:
        return fail(s, first, b"the summaries do not match the words")
    if over != ci.nr_extend or (over == 0) != (ci.extend == NULL):
        return fail(s, first, b"the overflow table does not match the counts")
    s.extends += over != 0
    return 0


cdef inline int check_cluster(area_t *t, uint32_t i, census_t *s) noexcept nogil:
    cdef cluster_t *ci = &t.clusters[i]
    cdef int64_t first = <int64_t>i << CLUSTER_SHIFT
    if ci.lock:
        return fail(s, first, b"the cluster is locked")
    if (t.tables[i] == NULL) != (ci.list == LIST_FREE or ci.list == LIST_DISCARD or ci.list == LIST_UNTOUCHED):
        return fail(s, first, b"a table without use, or use without a table")
    if ci.list == LIST_UNTOUCHED:
        s.kinds[KIND_NULL] += CLUSTER_SLOTS
        return 0
    s.touched_clusters += 1
    if t.tables[i] == NULL:
        s.kinds[KIND_NULL] += CLUSTER_SLOTS
        if ci.count or ci.extend != NULL or ci.any_free != <uint64_t>-1 or ci.all_free != <uint64_t>-1:
            return fail(s, first, b"an empty cluster that is not empty")
        return 0
    s.tables += 1
    if check_words(t, i, s):
        return -1
    if ci.count == 0 or (ci.list == LIST_FULL) != (ci.count == CLUSTER_SLOTS) or ci.list == LIST_NONE:
        return fail(s, first, b"the cluster is on the wrong list")
    return 0


cdef inline int64_t check_list(area_t *t, list_t *l, int kind, int order, census_t *s) noexcept nogil:
    """Walk one list both ways. Return: its length, or -1."""
    cdef uint32_t i = l.head, prev = NO_CLUSTER, n = 0
    while i != NO_CLUSTER and n <= t.nr_clusters:
        if t.clusters[i].list != kind or t.clusters[i].prev != prev or (order >= 0 and t.clusters[i].order != order):
            return fail(s, <int64_t>i << CLUSTER_SHIFT, b"a link, list or order is wrong")
        prev, i, n = i, t.clusters[i].next, n + 1
    if n != l.nr or prev != l.tail:
        return fail(s, -2, b"a list's length or tail is wrong")
    return n


cdef inline int check_area(area_t *t, census_t *s) noexcept nogil:
    cdef uint32_t i, page
    cdef int o
    cdef int64_t n, listed = 0
    memset(s, 0, sizeof(census_t))
    s.bad_slot = -1
    for page in range((t.nr_clusters >> 6) + 1):
        if t.touched[page >> 6] >> (page & 63) & 1:
            for i in range(page << 6, min(t.nr_clusters, (page + 1) << 6)):
                if check_cluster(t, i, s):
                    return -1
    for o in range(-3, 2 * ORDERS):
        if o < 0:
            n = check_list(t, &t.free_list if o == -1 else &t.full if o == -2 else &t.discards,
                           LIST_FREE if o == -1 else LIST_FULL if o == -2 else LIST_DISCARD, -1, s)
        else:
            n = check_list(t, &t.nonfull[o] if o < ORDERS else &t.frag[o - ORDERS], LIST_NONFULL if o < ORDERS else LIST_FRAG, o % ORDERS, s)
        if n < 0:
            return -1
        listed += n
    if listed != <int64_t>s.touched_clusters:
        return fail(s, -2, b"a cluster is on no list")
    if s.used != used_of(t) or s.tables != t.pool.nr_live or s.extends * CLUSTER_SLOTS * 4 != <uint64_t>t.extend_bytes:
        return fail(s, -2, b"used slots, tables or overflow tables were miscounted")
    if t.pool.fresh != t.pool.nr_live + t.pool.nr_free + t.pool.nr_cold + t.pool.limbo[0].nr + t.pool.limbo[1].nr:
        return fail(s, -2, b"a table is lost")
    return check_pool(t, s)


cdef inline int check_pool(area_t *t, census_t *s) noexcept nogil:
    """Every word of a table that waits for its next cluster is NULL, and no two lists share a table."""
    cdef uint32_t nr = t.pool.free, n = 0, i
    cdef int side
    cdef uint64_t *table
    while nr != NO_TABLE and n <= t.pool.nr_free:
        table = pool_at(&t.pool, nr)
        unpoison(table)
        nr = <uint32_t>table[0]
        for i in range(1, CLUSTER_SLOTS):
            if table[i]:
                return fail(s, -2, b"a free table is not clean")
        poison(table)
        n += 1
    if n != t.pool.nr_free:
        return fail(s, -2, b"the pool's free tables were miscounted")
    for side in range(2):
        for n in range(t.pool.limbo[side].nr):
            for i in range(0, CLUSTER_SLOTS, 8):
                if line_or(pool_at(&t.pool, t.pool.limbo[side].stack[n]) + i):
                    return fail(s, -2, b"a table in limbo is not clean")
    return 0


cdef inline void count_kinds(area_t *t, census_t *s) noexcept nogil:
    """Words by kind. Runtime: every table in use."""
    cdef uint32_t i, epoch, page
    cdef uint64_t *words
    cdef int off
    memset(s, 0, sizeof(census_t))
    for page in range((t.nr_clusters + 511) >> 9):
        epoch = epoch_enter(&t.pool.readers)
        for i in range(page << 9, min(t.nr_clusters, (page + 1) << 9)):
            words = <uint64_t *>load_ptr(&t.tables[i])
            if words != NULL:
                for off in range(CLUSTER_SLOTS):
                    s.kinds[swp_tb_kind(load_relaxed(words + off))] += 1
        epoch_exit(&t.pool.readers, epoch)
