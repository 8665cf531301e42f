# Cold clusters held in 3 bytes or 1 byte a slot: packing, reading without unpacking, unpacking.
# Imports the area and what lies under it.
# Used by the core only; the layout is private.
#
# A cluster may be packed when all its slots are swapped out with at most 14 users each, with their data in their own
# blocks and nobody else's there. Counts and memcg ids stay exact. Of the shadow, the distance to the cluster's least
# shadow is kept, without its lowest `shift` bits: a shadow read back is too small by less than 1 << shift, and shift
# is the least that makes the cluster's range fit. A field is 24 bits, count, memcg, shadow from the lowest up; where
# all counts and all memcg ids are the same, 8 bits of shadow.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._pool cimport *

cdef enum:
    MEMCGS = 8              # that have a number in the record; clusters with more keep the ids themselves
    FIELD_BITS = 24
    UNIFORM_BITS = 8

cdef struct packed_t:       # 32 bytes, then the fields
    uint64_t base           # the least shadow
    uint8_t shift
    uint8_t count_low       # the least count
    uint8_t count_bits
    uint8_t memcg_bits
    uint8_t uniform
    uint8_t pad[3]
    uint16_t memcgs[8]

cdef struct cold_t:         # what a cluster's words have in common
    uint64_t least, most    # shadows
    unsigned int count_low, count_high
    int nr_memcgs           # different ones; MEMCGS + 1 stands for more
    uint16_t memcgs[8]


cdef inline int bits_for(uint64_t n) noexcept nogil:
    """Bits that hold 0 to *n*."""
    cdef int bits = 0
    while n >> bits:
        bits += 1
    return bits


cdef inline bint survey(const uint64_t *words, uint64_t now, uint64_t min_age, cold_t *c) noexcept nogil:
    """Look at the words of a cluster. Return: whether all are swapped out, with small counts, *min_age* ago or earlier."""
    cdef unsigned int off, count
    cdef uint64_t word, shadow
    cdef int m
    memset(c, 0, sizeof(cold_t))
    c.least, c.count_low = SHADOW_MAX, COUNT_MAX
    for off in range(CLUSTER_SLOTS):
        word = words[off]
        shadow, count = swp_tb_shadow(word), swp_tb_count(word)
        if not swp_tb_is_shadow(word) or swp_tb_zero(word) or count == COUNT_MAX or ((now - shadow) & SHADOW_MAX) < min_age:
            return False
        c.least, c.most = min(c.least, shadow), max(c.most, shadow)
        c.count_low, c.count_high = min(c.count_low, count), max(c.count_high, count)
        m = 0
        while m < c.nr_memcgs and m < MEMCGS and c.memcgs[m] != swp_tb_memcg(word):
            m += 1
        if m == c.nr_memcgs and m < MEMCGS:
            c.memcgs[m] = <uint16_t>swp_tb_memcg(word)
        if m == c.nr_memcgs:
            c.nr_memcgs += 1
        c.nr_memcgs = min(c.nr_memcgs, MEMCGS + 1)
    return True


cdef inline int plan(const cold_t *c, packed_t *p) noexcept nogil:
    """The layout of a cluster's fields. Return: PACKED or UNIFORM."""
    cdef int left
    memset(p, 0, sizeof(packed_t))
    p.base, p.count_low = c.least, <uint8_t>c.count_low
    p.count_bits = <uint8_t>bits_for(c.count_high - c.count_low)
    p.memcg_bits = <uint8_t>bits_for(c.nr_memcgs - 1) if c.nr_memcgs <= MEMCGS else 16
    for left in range(MEMCGS):
        p.memcgs[left] = c.memcgs[left]
    p.uniform = p.count_bits == 0 and p.memcg_bits == 0
    left = UNIFORM_BITS if p.uniform else FIELD_BITS - p.count_bits - p.memcg_bits
    while (c.most - c.least) >> p.shift >> left:
        p.shift += 1
    return UNIFORM if p.uniform else PACKED


cdef inline void pack_words(const uint64_t *words, packed_t *p) noexcept nogil:
    """Write the fields behind their header."""
    cdef uint8_t *at = <uint8_t *>p + sizeof(packed_t)
    cdef unsigned int off, m
    cdef uint64_t field
    for off in range(CLUSTER_SLOTS):
        field = (swp_tb_shadow(words[off]) - p.base) >> p.shift
        if p.uniform:
            at[off] = <uint8_t>field
            continue
        m = swp_tb_memcg(words[off])
        if p.memcg_bits < 16:
            m = 0
            while p.memcgs[m] != swp_tb_memcg(words[off]):
                m += 1
        field = (field << p.memcg_bits | m) << p.count_bits | (swp_tb_count(words[off]) - p.count_low)
        at[3 * off], at[3 * off + 1], at[3 * off + 2] = <uint8_t>field, <uint8_t>(field >> 8), <uint8_t>(field >> 16)


cdef inline uint64_t unpack_word(const packed_t *p, unsigned int off) noexcept nogil:
    """The word of one slot."""
    cdef const uint8_t *at = <const uint8_t *>p + sizeof(packed_t)
    cdef uint64_t field
    cdef unsigned int count = p.count_low, memcg = p.memcgs[0]
    if p.uniform:
        return swp_tb_make_shadow(count, False, memcg, p.base + (<uint64_t>at[off] << p.shift))
    field = at[3 * off] | <uint64_t>at[3 * off + 1] << 8 | <uint64_t>at[3 * off + 2] << 16
    count += field & ((1 << p.count_bits) - 1)
    field >>= p.count_bits
    memcg = field & ((1 << p.memcg_bits) - 1)
    field >>= p.memcg_bits
    return swp_tb_make_shadow(count, False, memcg if p.memcg_bits == 16 else p.memcgs[memcg], p.base + (field << p.shift))


cdef inline packed_t *packed_of(area_t *t, uint64_t *p) noexcept nogil:
    """The record of a tagged pointer."""
    cdef int kind = UNIFORM if <uint64_t>p & UNIFORM_TAG else PACKED
    return <packed_t *>record_at(&t.pool.depots[kind], kind, <uint32_t><uint64_t>p)


cdef inline void pool_put_packed(area_t *t, uint64_t *p) noexcept nogil:
    pool_put(&t.pool, UNIFORM if <uint64_t>p & UNIFORM_TAG else PACKED, <uint32_t><uint64_t>p, False)


cdef inline int expand(area_t *t, uint32_t i, swap_stat_t *st) noexcept nogil:
    """Give a packed cluster its words back. Context: no locks. Return: 0 or -ENOMEM."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *table = pool_get_table(&t.pool, i >= t.first_clusters)
    cdef uint64_t *was
    cdef unsigned int off
    if table == NULL:
        return -ENOMEM
    lock_cluster(ci, st)
    was = t.tables[i]
    if is_packed(was):
        for off in range(CLUSTER_SLOTS):
            table[off] = unpack_word(packed_of(t, was), off)
        store_ptr(&t.tables[i], table)
        st.words += CLUSTER_SLOTS
    spin_unlock(&ci.lock)
    if is_packed(was):
        pool_put_packed(t, was)
    else:
        pool_put_table(&t.pool, table, False)       # someone else was first
    return 0


cdef inline int compact_cluster(area_t *t, uint32_t i, uint64_t now, uint64_t min_age, uint64_t max_error, swap_stat_t *st) noexcept nogil:
    """Pack a cluster that may be packed. Context: no locks. Return: the bytes that its words take now, or 0."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words
    cdef packed_t p
    cdef cold_t c
    cdef int kind
    cdef uint32_t nr
    cdef packed_t *record
    cdef bint done = False
    if not cold_now(t, i, now, min_age, &c, st):
        return 0
    kind = plan(&c, &p)
    if (<uint64_t>1 << p.shift) - 1 > max_error:
        return 0
    nr = pool_get(&t.pool, kind)        # made without the lock, then everything is looked at again
    if nr == NO_RECORD:
        return 0
    record = <packed_t *>record_at(&t.pool.depots[kind], kind, nr)
    lock_cluster(ci, st)
    words = t.tables[i]
    if may_pack(t, i) and survey(words, now, min_age, &c) and plan(&c, &p) == kind and (<uint64_t>1 << p.shift) - 1 <= max_error:
        record[0] = p
        pack_words(words, record)
        store_ptr(&t.tables[i], <void *>(PACKED_TAG | (UNIFORM_TAG if kind == UNIFORM else 0) | nr))
        done = True
    spin_unlock(&ci.lock)
    if done:
        pool_put_table(&t.pool, words, True)
        return SHAPES[kind].bytes
    pool_put(&t.pool, kind, nr, False)
    return 0


cdef inline bint may_pack(area_t *t, uint32_t i) noexcept nogil:
    """Context: cluster lock."""
    cdef cluster_t *ci = &t.clusters[i]
    return ci.list == LIST_FULL and is_table(t.tables[i]) and is_plain(ci) and ci.nr_extend == 0


cdef inline bint cold_now(area_t *t, uint32_t i, uint64_t now, uint64_t min_age, cold_t *c, swap_stat_t *st) noexcept nogil:
    """May cluster *i* be packed? Context: no locks."""
    cdef bint cold
    if not is_table(<uint64_t *>load_ptr(&t.tables[i])):
        return False
    lock_cluster(&t.clusters[i], st)
    cold = may_pack(t, i) and survey(t.tables[i], now, min_age, c)
    spin_unlock(&t.clusters[i].lock)
    return cold


cdef inline uint64_t newest(area_t *t, uint32_t begin, uint32_t end) noexcept nogil:
    """The greatest shadow of clusters *begin* to *end*, without locks: the clock of whoever counts evictions in it."""
    cdef uint32_t i, epoch
    cdef uint64_t *words
    cdef uint64_t most = 0, word
    cdef unsigned int off
    epoch = epoch_enter(&t.pool.readers)
    for i in range(begin, end):
        words = <uint64_t *>load_ptr(&t.tables[i])
        for off in range(CLUSTER_SLOTS if words != NULL else 0):
            word = load_relaxed(words + off) if is_table(words) else unpack_word(packed_of(t, words), off)
            if swp_tb_is_shadow(word):
                most = max(most, swp_tb_shadow(word))
    epoch_exit(&t.pool.readers, epoch)
    return most


cdef struct compacted_t:
    uint64_t packed, uniform, saved     # clusters of either form; bytes that their words take less


cdef inline void compact_range(area_t *t, uint32_t begin, uint32_t end, uint64_t now, uint64_t min_age, uint64_t max_error,
                               compacted_t *done, swap_stat_t *st) noexcept nogil:
    cdef uint32_t i
    cdef int bytes
    for i in range(begin, end):
        bytes = compact_cluster(t, i, now, min_age, max_error, st)
        if bytes:
            done.saved += 4096 - bytes
            done.uniform += bytes == <int>SHAPES[UNIFORM].bytes
            done.packed += bytes == <int>SHAPES[PACKED].bytes


cdef inline uint64_t packed_clusters(area_t *t) noexcept nogil:
    """Clusters that are packed now. Context: takes and drops the pool's lock."""
    cdef uint64_t n
    spin_lock(&t.pool.lock)
    n = t.pool.depots[PACKED].nr_live + t.pool.depots[UNIFORM].nr_live
    spin_unlock(&t.pool.lock)
    return n
