# The whole state of a table as flat arrays, out and in again: what a snapshot holds.
# Imports the area and what lies under it.
# Used by the core only.
from libc.errno cimport EBUSY, EINVAL, ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._packed cimport *
from swaptable._pool cimport *

cdef enum:
    IMAGE_TABLE = 1         # what follows of a cluster, in this order
    IMAGE_PACKED = 2
    IMAGE_UNIFORM = 4
    IMAGE_EXTENDS = 8
    IMAGE_LOCS = 16
    IMAGE_BITS = 32
    IMAGE_HELD = 64
    IMAGE_LISTS = 38        # of an area; the last is that of holes

cdef struct image_t:        # of a cluster
    uint32_t index
    uint8_t list, order, flags, parts


cdef inline uint64_t image_bytes(uint8_t parts) noexcept nogil:
    """Bytes of what follows of a cluster."""
    cdef uint64_t n = 0
    n += 4096 if parts & IMAGE_TABLE else 0
    n += SHAPES[PACKED].bytes if parts & IMAGE_PACKED else 0
    n += SHAPES[UNIFORM].bytes if parts & IMAGE_UNIFORM else 0
    n += 2048 if parts & IMAGE_EXTENDS else 0
    n += 2048 if parts & IMAGE_LOCS else 0
    n += 64 if parts & IMAGE_BITS else 0
    n += 64 if parts & IMAGE_HELD else 0
    return n


cdef inline uint8_t image_parts(area_t *t, uint32_t i) noexcept nogil:
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint8_t parts = 0
    if is_packed(t.tables[i]):
        parts = IMAGE_UNIFORM if <uint64_t>t.tables[i] & UNIFORM_TAG else IMAGE_PACKED
    elif t.tables[i] != NULL:
        parts = IMAGE_TABLE
    parts |= IMAGE_EXTENDS if ci.extend else 0
    parts |= IMAGE_LOCS if ci.locs else 0
    parts |= IMAGE_BITS if ci.bits else 0
    parts |= IMAGE_HELD if ci.bits and bits_at(&t.pool, ci.bits).held else 0
    return parts


cdef inline int64_t image_measure(area_t *t, uint64_t *bytes) noexcept nogil:
    """How many clusters an image has, and bytes of what follows. Context: the threads are still. Return: -EBUSY when they are not."""
    cdef uint32_t i = next_touched(t, 0)
    cdef int64_t n = 0
    bytes[0] = 0
    while i != NO_CLUSTER:
        if t.clusters[i].lock or t.clusters[i].list == LIST_NONE:
            return -EBUSY
        if t.clusters[i].list != LIST_UNTOUCHED:
            n += 1
            bytes[0] += image_bytes(image_parts(t, i))
        i = next_touched(t, i + 1)
    return n


cdef inline void image_write(area_t *t, image_t *out, uint8_t *at) noexcept nogil:
    """The clusters, in ascending order, and what follows of each."""
    cdef uint32_t i = next_touched(t, 0)
    cdef uint8_t parts
    cdef cluster_t *ci
    while i != NO_CLUSTER:
        ci = &t.clusters[i]
        if ci.list != LIST_UNTOUCHED:
            parts = image_parts(t, i)
            out.index, out.list, out.order, out.flags, out.parts = i, ci.list, ci.order, ci.flags, parts
            out += 1
            image_cluster(t, i, parts, at)
            at += image_bytes(parts)
        i = next_touched(t, i + 1)


cdef inline void image_cluster(area_t *t, uint32_t i, uint8_t parts, uint8_t *at) noexcept nogil:
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t n = image_bytes(parts & (IMAGE_TABLE | IMAGE_PACKED | IMAGE_UNIFORM))
    memcpy(at, <void *>packed_of(t, t.tables[i]) if parts & (IMAGE_PACKED | IMAGE_UNIFORM) else <void *>t.tables[i], n)
    at += n
    if parts & IMAGE_EXTENDS:
        memcpy(at, extends_of(t, ci), 2048)
        at += 2048
    if parts & IMAGE_LOCS:
        memcpy(at, locs_of(t, ci), 2048)
        at += 2048
    if parts & IMAGE_BITS:
        memcpy(at, bits_of(t, ci), 64)
        at += 64
    if parts & IMAGE_HELD:
        memcpy(at, held_at(&t.pool, bits_at(&t.pool, ci.bits).held).map, 64)


cdef inline uint32_t image_list(area_t *t, int k, uint32_t *out) noexcept nogil:
    """The clusters of the *k*-th list, head first, into *out* unless NULL. Return: how many."""
    cdef list_t *lst = &t.free_list + k
    cdef uint32_t i = lst.head, n = 0
    while i != NO_CLUSTER:
        if out != NULL:
            out[n] = i
        n += 1
        i = t.clusters[i].hole_next if k == IMAGE_LISTS - 1 else t.clusters[i].next
    return n


# ---- in again: nothing is believed that would lead to memory that is not the table's; `check_area` judges the rest

cdef inline bint sound_packed(const packed_t *p, bint uniform) noexcept nogil:
    """May the record be unpacked, and are all its shadows ones?"""
    cdef int bits = UNIFORM_BITS if uniform else FIELD_BITS - p.count_bits - p.memcg_bits
    cdef const uint8_t *at = <const uint8_t *>p + sizeof(packed_t)
    cdef unsigned int off
    cdef uint64_t field, word
    if p.uniform != uniform or p.shift > 34 or p.base > SHADOW_MAX or p.count_low > COUNT_MAX or p.count_bits > 4:
        return False
    if not (p.memcg_bits < 4 or p.memcg_bits == 16) or (uniform and p.count_bits | p.memcg_bits):
        return False
    for off in range(CLUSTER_SLOTS):
        field = at[off] if uniform else (at[3 * off] | <uint64_t>at[3 * off + 1] << 8 | <uint64_t>at[3 * off + 2] << 16) >> (FIELD_BITS - bits)
        if p.base + (field << p.shift) > SHADOW_MAX:
            return False
        word = at[3 * off] & ((1 << p.count_bits) - 1) if not uniform else 0
        if p.count_low + word >= COUNT_MAX:
            return False
    return True


cdef inline int restore_words(area_t *t, uint32_t i, const uint8_t *at, uint8_t parts) noexcept nogil:
    """The table of a cluster, or its packed record. Return: 0 or -errno."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef int kind = UNIFORM if parts & IMAGE_UNIFORM else PACKED
    cdef unsigned int off
    cdef uint32_t nr
    cdef uint64_t *table
    ci.any_free = ci.all_free = <uint64_t>-1
    if parts & IMAGE_TABLE:
        table = pool_get_table(&t.pool, i >= t.first_clusters)
        if table == NULL:
            return -ENOMEM
        memcpy(table, at, 4096)
        t.tables[i] = table
        for off in range(0, CLUSTER_SLOTS, 8):
            line_changed(ci, table, off)
    elif parts & (IMAGE_PACKED | IMAGE_UNIFORM):
        if not sound_packed(<const packed_t *>at, kind == UNIFORM):
            return -EINVAL
        nr = pool_get(&t.pool, kind)
        if nr == NO_RECORD:
            return -ENOMEM
        memcpy(record_at(&t.pool.depots[kind], kind, nr), at, SHAPES[kind].bytes)
        t.tables[i] = <uint64_t *>(PACKED_TAG | (UNIFORM_TAG if kind == UNIFORM else 0) | nr)
        ci.count, ci.any_free, ci.all_free = CLUSTER_SLOTS, 0, 0
    return 0


cdef inline int restore_sides(area_t *t, uint32_t i, const uint8_t *at, uint8_t parts) noexcept nogil:
    """Overflow counts, locations and bitmaps of a cluster. Return: 0 or -ENOMEM."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint32_t extend = 0, locs = 0, bits = 0, held = 0
    cdef int k
    if parts & IMAGE_EXTENDS:
        extend = pool_get(&t.pool, EXTENDS)
    if parts & IMAGE_LOCS:
        locs = pool_get(&t.pool, LOCATIONS)
    if parts & IMAGE_BITS:
        bits = pool_get(&t.pool, BITMAPS)
    if parts & IMAGE_HELD:
        held = pool_get(&t.pool, HELD)
    if extend == NO_RECORD or locs == NO_RECORD or bits == NO_RECORD or held == NO_RECORD:
        return -ENOMEM
    ci.extend, ci.locs, ci.bits = extend, locs, bits
    if extend:
        memcpy(extends_of(t, ci), at, 2048)
        at += 2048
    if locs:
        memcpy(locs_of(t, ci), at, 2048)
        at += 2048
    if bits:
        memcpy(bits_of(t, ci), at, 64)
        bits_at(&t.pool, bits).held = held
        at += 64
        for k in range(8):
            ci.nr_taken += popcount64(bits_of(t, ci)[k])
    if held:
        memcpy(held_at(&t.pool, held).map, at, 64)
        for k in range(8):
            held_at(&t.pool, held).nr += popcount64(held_at(&t.pool, held).map[k])
        t.held += held_at(&t.pool, held).nr
    return 0


cdef inline void restore_counts(area_t *t, uint32_t i) noexcept nogil:
    """Count a cluster, from its words and what is beside them."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef uint32_t *locs = locs_of(t, ci) if ci.locs else NULL
    cdef unsigned int off, used = 0
    cdef sums_t s
    memset(&s, 0, sizeof(s))
    for off in range(CLUSTER_SLOTS if is_table(words) else 0):
        ci.count += words[off] != 0
        ci.nr_lent += words[off] == SWP_TB_LENT
        ci.nr_loc += locs != NULL and locs[off] != 0
        if swp_tb_counts(words[off]):
            used += 1
            ci.nr_zero += swp_tb_zero(words[off])
            ci.nr_extend += swp_tb_count(words[off]) == COUNT_MAX
    if words == NULL:
        ci.nr_lent = ci.nr_taken
    if is_packed(words):
        used = CLUSTER_SLOTS
    if i >= PAST_CLUSTER:
        s.past = used
    else:
        s.own = used
    s.holes = ci.nr_loc + ci.nr_zero if has_own(t, i) else 0
    s.taken = ci.nr_taken
    sums_add(t, &s, i)


cdef inline bint sound_image(area_t *t, const image_t *c, int64_t before) noexcept nogil:
    """May there be such a cluster, after cluster *before*?"""
    cdef uint64_t end = (slots_end(t) + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT
    cdef bint past = c.index >= PAST_CLUSTER
    cdef uint8_t words = c.parts & (IMAGE_TABLE | IMAGE_PACKED | IMAGE_UNIFORM)
    if <int64_t>c.index <= before or (c.index >= PAST_CLUSTER + t.past_fresh if past else c.index >= end):
        return False
    if not LIST_FREE <= c.list <= LIST_PAST_FREE or c.order >= ORDERS or c.flags & ~(FLAG_HOLES | FLAG_BEYOND) or words & (words - 1):
        return False
    if c.parts >> 7 or (c.parts & IMAGE_HELD and not c.parts & IMAGE_BITS) or (past and not t.own_blocks):
        return False
    return t.own_blocks or not c.parts & (IMAGE_LOCS | IMAGE_BITS)


cdef inline int restore_clusters(area_t *t, const image_t *c, int64_t n, const uint8_t *at, uint64_t bytes) noexcept nogil:
    """The clusters of an image. Context: nobody else has the area yet. Return: 0 or -errno."""
    cdef int64_t k, before = -1
    cdef int err
    cdef uint64_t need, words
    for k in range(n):
        need, words = image_bytes(c[k].parts), image_bytes(c[k].parts & (IMAGE_TABLE | IMAGE_PACKED | IMAGE_UNIFORM))
        if need > bytes or not sound_image(t, &c[k], before):
            return -EINVAL
        before = c[k].index
        touch_locked(t, c[k].index)
        t.clusters[c[k].index].list, t.clusters[c[k].index].order, t.clusters[c[k].index].flags = c[k].list, c[k].order, c[k].flags
        err = restore_words(t, c[k].index, at, c[k].parts)
        if err == 0:
            err = restore_sides(t, c[k].index, at + words, c[k].parts)
        if err:
            return err
        restore_counts(t, c[k].index)
        at += need
        bytes -= need
    return 0 if bytes == 0 else -EINVAL


cdef inline int restore_list(area_t *t, int k, const uint32_t *index, uint32_t n, uint8_t *seen) noexcept nogil:
    """Link the clusters of the *k*-th list. *seen*: bit 0 for those on a list, bit 1 for those with holes. Return: 0 or -EINVAL."""
    cdef list_t *lst = &t.free_list + k
    cdef bint holes = k == IMAGE_LISTS - 1
    cdef uint32_t j, i
    for j in range(n):
        i = index[j]
        if i >= ALL_CLUSTERS or t.clusters[i].list < LIST_FREE or seen[i] >> holes & 1:
            return -EINVAL
        seen[i] |= 1 << holes
        if not holes:
            if list_of(t, t.clusters[i].list, t.clusters[i].order) != lst:
                return -EINVAL
            list_add_tail(t, lst, i)
            continue
        t.clusters[i].hole_prev = lst.tail
        t.clusters[i].hole_next = NO_CLUSTER
        if lst.tail == NO_CLUSTER:
            lst.head = i
        else:
            t.clusters[lst.tail].hole_next = i
        lst.tail = i
        lst.nr += 1
    return 0


cdef inline int restore_lists(area_t *t, const uint32_t *index, int64_t total, const uint32_t *lengths) noexcept nogil:
    """All lists, whose clusters follow one another in *index*. Return: 0 or -errno."""
    cdef uint8_t *seen = <uint8_t *>reserve(ALL_CLUSTERS)
    cdef int k, err = 0
    if seen == NULL:
        return -ENOMEM
    for k in range(IMAGE_LISTS):
        if err == 0 and <int64_t>lengths[k] > total:
            err = -EINVAL
        if err == 0:
            err = restore_list(t, k, index, lengths[k], seen)
        if err:
            break
        index += lengths[k]
        total -= lengths[k]
    unreserve(seen, ALL_CLUSTERS)
    return -EINVAL if err == 0 and total else err


cdef inline int restore_cursors(area_t *t, const int64_t *next) noexcept nogil:
    """Cursors of all CPUs, the rotational one last. Return: 0 or -EINVAL."""
    cdef int i, o
    cdef cpu_t *c
    for i in range(t.cpus + 1):
        c = &t.cpu[i] if i < t.cpus else &t.global_cpu
        for o in range(ORDERS):
            if next[o] != NO_CURSOR and (next[o] < 0 or <uint64_t>next[o] >= MAX_SLOTS or next[o] & ((1 << o) - 1)):
                return -EINVAL
            c.next[o] = next[o]
        next += ORDERS
    return 0


cdef inline int restore_runs(area_t *t, const uint32_t *runs, int64_t n) noexcept nogil:
    """Blocks that wait for their discard. Return: 0 or -errno."""
    cdef int64_t k
    if n == 0:
        return 0
    t.discard_runs = <uint32_t *>calloc(n, 8)
    if t.discard_runs == NULL:
        return -ENOMEM
    t.max_discard_runs = n
    for k in range(n):
        if runs[2 * k + 1] == 0 or not t.own_blocks or runs[2 * k] + <uint64_t>runs[2 * k + 1] > blocks_end(t):
            return -EINVAL
        t.waiting += runs[2 * k + 1]
    memcpy(t.discard_runs, runs, n * 8)
    t.nr_discard_runs = n
    return 0
