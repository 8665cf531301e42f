# Where the data of virtual slots is: blocks of devices that know who owns them, and the compressed pool.
# May import words, locks, the counters, the protocol, the allocator and the radix tree.
# Used by every design whose entries are virtual slots.
#
# The allocator is the kernel's. That a block is taken is said by a bitmap, or by a word of the device's swap table;
# who owns it by a table of entries for each used cluster (virtual swap space v3 to v6), by that word (the Swap Table
# Edition's Pointer), by an xarray (v1, v2), or by nobody: then whoever asks looks through the front.
# A place is one 64-bit code: the tier in the top byte, the block below; an object of the pool is a number alone,
# 0 is nowhere. The object itself and zswap's record of it are the pool's, which every design has alike.
from libc.errno cimport EBUSY, EINVAL, ENOENT, ENOMEM, ENOSPC, EOPNOTSUPP
from libc.stdint cimport int64_t, uint16_t, uint64_t

from swaptable._atomic cimport ctz64, popcount64
from swaptable._entry cimport (
    CACHE_ONLY_BIT, SWP_TB_BAD, swp_tb_make_pointer, swp_tb_pointer_slot,
)
from swaptable.designs._count cimport counted_alloc, counted_free, counted_lock, counted_unlock
from swaptable.designs._design cimport NOWHERE, POOL, counters_t, design_ops_t, host_t, place_t
from swaptable.designs._radix cimport radix_clear, radix_fill, radix_init, radix_load, radix_nodes, radix_release, radix_t, slab_t
from swaptable.designs._slots cimport (
    CI_MEMCG, CI_PLAIN, CI_TABLE, CLUSTER, CLUSTER_SHIFT, INDEX_FLAT, ci_t, slots_alloc, slots_bytes, slots_ci,
    slots_free_locked, slots_init, slots_lock, slots_release, slots_sound, slots_t, slots_unlock, slots_unusable, slots_used,
)

cdef extern from *:
    """
    #define block_bit_set(map, b) \
        ((void)__atomic_fetch_or(&(map)[(b) >> 6], 1ULL << ((b) & 63), __ATOMIC_RELAXED))
    #define block_bit_clear(map, b) \
        ((void)__atomic_fetch_and(&(map)[(b) >> 6], ~(1ULL << ((b) & 63)), __ATOMIC_RELAXED))
    #define block_bit(map, b) (((map)[(b) >> 6] >> ((b) & 63)) & 1)
    /* Bits at multiples of n, for n = 1, 2, 4, ..., 64. */
    #define every(n) ((n) == 64 ? 1ULL : ~0ULL / ((1ULL << (n)) - 1))
    """
    void block_bit_set(uint64_t *map, uint64_t block) noexcept nogil
    void block_bit_clear(uint64_t *map, uint64_t block) noexcept nogil
    bint block_bit(uint64_t *map, uint64_t block) noexcept nogil
    uint64_t every(int n) noexcept nogil

cdef enum owner_kind_t:
    OWNER_NONE = 0
    OWNER_TABLE = 1
    OWNER_WORD = 2
    OWNER_XARRAY = 3

cdef enum:
    MAX_BACKING = 4
    TIER_SHIFT = 56
    OWNER_BYTES = 4096      # of a cluster's table
    MEMCG_TABLE_BYTES = 1024


cdef struct blocks_t:
    slots_t slots
    counters_t *counters
    int owners              # owner_kind_t
    bint memcg_tables       # with each table one that nobody needs: not deferred
    uint64_t *taken         # NULL: the words say it
    uint64_t *cache_only    # blocks whose entry only the swap cache holds; NULL: not kept, or in the word
    radix_t rmap
    int64_t tables
    int64_t memcgs
    bint on

cdef struct backing_t:
    blocks_t dev[MAX_BACKING]   # tiers 1, 2, ...
    int ndev
    bint zswap              # what is written goes to the pool
    uint64_t objects        # ever put into the pool
    int64_t pooled          # there now
    int64_t scattered       # large folios that went to single blocks
    counters_t *counters

# What moving data needs to know of a virtual front.
cdef struct front_t:
    # the code of an entry's place, 0 for none, and the page in the swap cache (-1); -ENOENT for a free entry
    int (*get)(void *d, uint64_t entry, uint64_t *code, int64_t *pfn) noexcept nogil
    # the code shall be that; what it was is the caller's to free
    int (*set)(void *d, uint64_t entry, uint64_t code) noexcept nogil
    # the first entry from *entry* on with data in a tier, or -1; counts what it looks at
    int64_t (*next)(void *d, uint64_t entry, int tier) noexcept nogil
    const design_ops_t *ops


# ---- codes

cdef inline uint64_t code_of(int tier, uint64_t block) noexcept nogil:
    return (<uint64_t>tier << TIER_SHIFT) | block


cdef inline int code_tier(uint64_t code) noexcept nogil:
    return <int>(code >> TIER_SHIFT) if code else NOWHERE


cdef inline uint64_t code_block(uint64_t code) noexcept nogil:
    return code & ((<uint64_t>1 << TIER_SHIFT) - 1)


cdef inline void code_place(uint64_t code, place_t *place) noexcept nogil:
    place.tier = code_tier(code)
    place.block = code_block(code)


# ---- the blocks of one device

cdef inline int64_t bits_find(uint64_t *taken, uint64_t start, uint64_t end, int order, counters_t *c) noexcept nogil:
    cdef uint64_t free_bits, i, begin = start
    cdef int nr = 1 << order, span = 1
    if order >= 6:
        while start + nr <= end:
            i = start
            while i < start + nr and taken[i >> 6] == 0:
                i += 64
            if i == start + nr:
                c.scanned += (i - begin) >> 6
                return start
            start += nr
        c.scanned += (start - begin) >> 6
        return -1
    while start < end:
        c.scanned += 1
        free_bits = ~taken[start >> 6] & (~<uint64_t>0 << (start & 63))
        span = 1
        while span < nr:
            free_bits &= free_bits >> span
            span <<= 1
        free_bits &= every(nr)
        if free_bits:
            return (start & ~<uint64_t>63) + ctz64(free_bits)
        start = (start | 63) + 1
    return -1


cdef inline int64_t owner_words_find(ci_t *ci, uint64_t start, uint64_t end, int order, counters_t *c) noexcept nogil:
    cdef uint64_t i, nr = <uint64_t>1 << order, begin = start
    if ci.table == NULL:
        return start if start + nr <= end else -1
    while start + nr <= end:
        i = start
        while i < start + nr and ci.table[i & (CLUSTER - 1)] == 0:
            i += 1
        if i == start + nr:
            c.scanned += i - begin
            return start
        start += nr
    c.scanned += start - begin
    return -1


cdef inline int64_t blocks_find(void *user, ci_t *ci, uint64_t start, uint64_t end, int order) noexcept nogil:
    cdef blocks_t *b = <blocks_t *>user
    if b.taken != NULL:
        return bits_find(b.taken, start, end, order, b.counters)
    return owner_words_find(ci, start, end, order, b.counters)


cdef inline bint has_tables(blocks_t *b) noexcept nogil:
    return b.owners == OWNER_TABLE or b.owners == OWNER_WORD


cdef inline void owner_tables_drop(blocks_t *b, ci_t *ci) noexcept nogil:
    if has_tables(b) and ci.table != NULL:
        counted_free(b.counters, ci.table, OWNER_BYTES)
        ci.table = NULL
        b.tables -= 1
    if b.memcg_tables and ci.memcg != NULL:
        counted_free(b.counters, ci.memcg, MEMCG_TABLE_BYTES)
        ci.memcg = NULL
        b.memcgs -= 1


cdef inline int owner_tables_make(blocks_t *b, ci_t *ci) noexcept nogil:
    """The tables of a cluster that is used from now on; -1 without memory. The kernel tries that under the lock, too."""
    ci.table = <uint64_t *>counted_alloc(b.counters, OWNER_BYTES, OWNER_BYTES)
    if ci.table == NULL:
        return -1
    b.tables += 1
    if b.memcg_tables:
        ci.memcg = <uint16_t *>counted_alloc(b.counters, MEMCG_TABLE_BYTES, MEMCG_TABLE_BYTES)
        b.memcgs += ci.memcg != NULL
        if ci.memcg == NULL:
            owner_tables_drop(b, ci)
            return -1
    return 0


cdef inline void bits_take(uint64_t *taken, uint64_t block, int nr) noexcept nogil:
    cdef uint64_t i, mask = ~<uint64_t>0 >> (64 - min(nr, 64))
    for i in range(block >> 6, (block + nr + 63) >> 6):
        taken[i] |= mask << (block & 63)


cdef inline int owner_xarray_set(blocks_t *b, uint64_t block, int nr, uint64_t entry) noexcept nogil:
    """-1 without memory, and nothing stored."""
    cdef int i, err = 0
    counted_lock(b.counters, &b.rmap.lock)
    for i in range(nr):
        err = radix_fill(&b.rmap, block + i, 1, ((entry + i) << 1) | 1)
        if err < 0:
            radix_clear(&b.rmap, block, i)
            break
    b.counters.words += nr if err == 0 else 0
    counted_unlock(b.counters, &b.rmap.lock)
    return err


cdef inline int blocks_take(void *user, ci_t *ci, uint64_t block, int nr, uint64_t entry) noexcept nogil:
    """Mark blocks taken for *entry* on."""
    cdef blocks_t *b = <blocks_t *>user
    cdef int i, off = block & (CLUSTER - 1)
    if has_tables(b) and ci.table == NULL and owner_tables_make(b, ci) < 0:
        return -1
    if b.owners == OWNER_XARRAY and owner_xarray_set(b, block, nr, entry) < 0:
        return -1
    if b.owners == OWNER_TABLE:
        for i in range(nr):
            ci.table[off + i] = entry + i
        b.counters.words += nr
    elif b.owners == OWNER_WORD:
        for i in range(nr):
            ci.table[off + i] = swp_tb_make_pointer(False, 0, entry + i)
        b.counters.words += nr
    if b.taken != NULL:
        bits_take(b.taken, block, nr)
        b.counters.words += nr
    return 0


cdef inline void blocks_free_run(blocks_t *b, uint64_t block, int nr) noexcept nogil:
    """Free blocks of one cluster, and its tables with the last of them."""
    cdef ci_t *ci = slots_lock(&b.slots, block)
    cdef int unusable = slots_unusable(&b.slots, block >> CLUSTER_SHIFT)
    cdef uint64_t i
    for i in range(block, block + nr):
        if has_tables(b):
            ci.table[i & (CLUSTER - 1)] = 0
            b.counters.words += 1
        if b.taken != NULL:
            b.taken[i >> 6] &= ~(<uint64_t>1 << (i & 63))
            b.counters.words += 1
        if b.cache_only != NULL:
            block_bit_clear(b.cache_only, i)
            b.counters.words += 1
    if b.owners == OWNER_XARRAY:
        counted_lock(b.counters, &b.rmap.lock)
        radix_clear(&b.rmap, block, nr)
        b.counters.words += nr
        counted_unlock(b.counters, &b.rmap.lock)
    # The header's cluster and the device's last are never empty: what counts is that no block is used. Where the
    # words are what says that a slot is none, their table stays.
    if ci.count - nr == unusable and not (b.taken == NULL and unusable):
        owner_tables_drop(b, ci)
    slots_free_locked(&b.slots, ci, nr)
    slots_unlock(&b.slots, ci)


cdef inline void blocks_cache_only(blocks_t *b, uint64_t block, bint only) noexcept nogil:
    """Nobody but the swap cache holds the block's entry, or somebody does: reclaim need not ask the front."""
    cdef ci_t *ci
    if b.cache_only != NULL:
        if only:
            block_bit_set(b.cache_only, block)
        else:
            block_bit_clear(b.cache_only, block)
        b.counters.words += 1
    elif b.owners == OWNER_WORD:
        ci = slots_ci(&b.slots, block >> CLUSTER_SHIFT)
        if only:
            ci.table[block & (CLUSTER - 1)] |= CACHE_ONLY_BIT
        else:
            ci.table[block & (CLUSTER - 1)] &= ~CACHE_ONLY_BIT
        b.counters.words += 1


cdef inline bint blocks_taken(blocks_t *b, uint64_t block) noexcept nogil:
    cdef ci_t *ci
    if b.taken != NULL:
        return block_bit(b.taken, block)
    ci = slots_ci(&b.slots, block >> CLUSTER_SHIFT)
    return ci.table != NULL and ci.table[block & (CLUSTER - 1)] != 0


cdef inline uint64_t blocks_owner(blocks_t *b, uint64_t block, uint64_t *depth) noexcept nogil:
    """The entry of a taken block as the reverse map has it; 0 where nobody keeps it."""
    cdef ci_t *ci = slots_ci(&b.slots, block >> CLUSTER_SHIFT)
    if b.owners == OWNER_XARRAY:
        return radix_load(&b.rmap, block, depth) >> 1
    depth[0] += 1
    if b.owners == OWNER_TABLE:
        return ci.table[block & (CLUSTER - 1)] if ci.table != NULL else 0
    if b.owners == OWNER_WORD and ci.table != NULL and ci.table[block & (CLUSTER - 1)] != SWP_TB_BAD:
        return swp_tb_pointer_slot(ci.table[block & (CLUSTER - 1)])
    return 0


cdef inline bint blocks_only(blocks_t *b, uint64_t block) noexcept nogil:
    """Is the block marked as held by the swap cache alone?"""
    if b.cache_only != NULL:
        return block_bit(b.cache_only, block)
    if b.owners != OWNER_WORD:
        return False
    return (slots_ci(&b.slots, block >> CLUSTER_SHIFT).table[block & (CLUSTER - 1)] & CACHE_ONLY_BIT) != 0


cdef inline uint64_t bits_bytes(blocks_t *b) noexcept nogil:
    return b.slots.nclusters * CLUSTER // 8


cdef inline int blocks_mark_bad(blocks_t *b) noexcept nogil:
    """Slots that are none are taken for ever; -1 without memory."""
    cdef uint64_t slot, id
    cdef ci_t *ci
    for id in range(b.slots.nclusters):
        if slots_unusable(&b.slots, id) == 0:
            continue
        ci = slots_ci(&b.slots, id)
        if b.taken == NULL and owner_tables_make(b, ci) < 0:
            return -1
        for slot in range(id << CLUSTER_SHIFT, (id + 1) << CLUSTER_SHIFT):
            if slot and slot < b.slots.nslots:
                continue
            if b.taken != NULL:
                block_bit_set(b.taken, slot)
            else:
                ci.table[slot & (CLUSTER - 1)] = SWP_TB_BAD
    return 0


cdef inline uint64_t blocks_stride(blocks_t *b) noexcept nogil:
    if b.owners == OWNER_WORD:
        return CI_MEMCG
    return CI_TABLE if b.owners == OWNER_TABLE else CI_PLAIN


cdef inline int blocks_init(blocks_t *b, uint64_t n, int owners, bint cache_only, bint memcg_tables, slab_t *nodes, counters_t *c) noexcept nogil:
    """A device of *n* blocks, the header's included. *cache_only*: with a bitmap of those. -1 without memory."""
    b.counters = c
    b.owners = owners
    b.memcg_tables = memcg_tables
    b.on = True
    b.slots.user = b
    b.slots.find = blocks_find
    b.slots.take = blocks_take
    radix_init(&b.rmap, nodes)
    if slots_init(&b.slots, n, blocks_stride(b), INDEX_FLAT, NULL, c) < 0:
        return -1
    if owners != OWNER_WORD:
        b.taken = <uint64_t *>counted_alloc(c, bits_bytes(b), bits_bytes(b))
        if b.taken == NULL:
            return -1
    if cache_only:
        b.cache_only = <uint64_t *>counted_alloc(c, bits_bytes(b), bits_bytes(b))
        if b.cache_only == NULL:
            return -1
    return blocks_mark_bad(b)


cdef inline void blocks_release(blocks_t *b) noexcept nogil:
    """Free it all; for a second time nothing."""
    cdef uint64_t id
    for id in range(b.slots.nexist):
        owner_tables_drop(b, slots_ci(&b.slots, id))
    radix_release(&b.rmap)
    counted_free(b.counters, b.taken, bits_bytes(b))
    counted_free(b.counters, b.cache_only, bits_bytes(b))
    b.taken = NULL
    b.cache_only = NULL
    slots_release(&b.slots)
    b.on = False


# ---- all of them, and the pool

cdef inline int backing_tier(backing_t *b, int tier) noexcept nogil:
    """0 when data can go to that tier, else -EINVAL."""
    return 0 if tier == POOL or (0 < tier <= b.ndev and b.dev[tier - 1].on) else -EINVAL


cdef inline uint64_t backing_used(backing_t *b) noexcept nogil:
    cdef uint64_t total = 0
    cdef int i
    for i in range(b.ndev):
        total += slots_used(&b.dev[i].slots) if b.dev[i].on else 0
    return total


cdef inline uint64_t backing_size(backing_t *b) noexcept nogil:
    cdef uint64_t total = 0
    cdef int i
    for i in range(b.ndev):
        total += b.dev[i].slots.size if b.dev[i].on else 0
    return total


cdef inline void backing_count(backing_t *b, const uint64_t *codes, int n) noexcept nogil:
    """An IO for each device that some of the pages are on, an extent for each run of blocks."""
    cdef int i, seen = 0
    for i in range(n):
        if code_tier(codes[i]) > POOL:
            b.counters.extents += i == 0 or codes[i] != codes[i - 1] + 1
            seen |= 1 << code_tier(codes[i])
    b.counters.ios += popcount64(seen)


cdef inline void backing_free(backing_t *b, const uint64_t *codes, int n) noexcept nogil:
    """Give up *n* places, in one step where they follow each other in a cluster."""
    cdef int i = 0, j
    while i < n:
        j = i + 1
        if code_tier(codes[i]) > POOL:
            while j < n and codes[j] == codes[i] + <uint64_t>(j - i) and codes[j] & (CLUSTER - 1):
                j += 1
            blocks_free_run(&b.dev[code_tier(codes[i]) - 1], code_block(codes[i]), j - i)
        elif codes[i]:
            b.pooled -= 1
        i = j


cdef inline int pool_place(backing_t *b, int nr, uint64_t *codes) noexcept nogil:
    cdef int i
    for i in range(nr):
        b.objects += 1
        codes[i] = b.objects
    b.pooled += nr
    return 0


cdef inline int blocks_place(backing_t *b, int tier, uint64_t entry, int nr, uint64_t *codes) noexcept nogil:
    """Blocks of one device for nr entries: a run, else single ones; -ENOSPC and none taken when there are too few."""
    cdef blocks_t *dev = &b.dev[tier - 1]
    cdef int64_t block = -1
    cdef int i, n
    if nr & (nr - 1) == 0:
        block = slots_alloc(&dev.slots, ctz64(nr), entry)
    if block >= 0:
        for i in range(nr):
            codes[i] = code_of(tier, block + i)
        return 0
    if nr > 1:
        b.scattered += 1
        for n in range(nr):
            i = (nr - n) % nr       # 0, nr - 1, nr - 2, ..., 1: the order in which reclaim writes a split folio
            block = slots_alloc(&dev.slots, 0, entry + i)
            if block < 0:
                break
            codes[i] = code_of(tier, block)
    if block < 0 and nr > 1:
        for i in range(n):
            backing_free(b, &codes[(nr - i) % nr], 1)
    return -ENOSPC if block < 0 else 0


cdef inline int backing_place(backing_t *b, uint64_t entry, int nr, uint64_t *codes) noexcept nogil:
    """Places for the data of nr entries: in the pool, or on the first device with room."""
    cdef int tier, err = -ENOSPC
    if b.zswap:
        return pool_place(b, nr, codes)
    for tier in range(1, b.ndev + 1):
        if b.dev[tier - 1].on:
            err = blocks_place(b, tier, entry, nr, codes)
        if err == 0:
            break
    return err


cdef inline int move_one(backing_t *b, const front_t *front, void *d, uint64_t entry, int tier, const host_t *host, uint64_t *last) noexcept nogil:
    """The data of one entry to that tier: 1, or 0 when there is nothing to move."""
    cdef uint64_t old, new
    cdef int64_t pfn
    cdef place_t src, dst
    cdef int err = front.get(d, entry, &old, &pfn)
    if err or old == 0 or pfn >= 0 or code_tier(old) == tier:
        return err
    err = pool_place(b, 1, &new) if tier == POOL else blocks_place(b, tier, entry, 1, &new)
    if err == 0 and host != NULL and host.copy != NULL:
        code_place(old, &src)
        code_place(new, &dst)
        err = host.copy(host.user, &src, &dst)
    if err == 0:
        err = front.set(d, entry, new)
    if err:
        return err
    backing_free(b, &old, 1)
    b.counters.ios += tier > POOL and new != last[0] + 1
    b.counters.extents += tier > POOL and new != last[0] + 1
    last[0] = new
    return 1


cdef inline int64_t backing_transfer(
    backing_t *b, const front_t *front, void *d, const uint64_t *entries, int64_t n, int tier, const host_t *host,
) noexcept nogil:
    """The entries' data to that tier, no entry changes; how many were moved. One extent is one IO."""
    cdef int64_t i, moved = 0
    cdef uint64_t last = 0
    cdef int err = backing_tier(b, tier)
    for i in range(n if err == 0 else 0):
        err = move_one(b, front, d, entries[i], tier, host, &last)
        if err < 0:
            break
        moved += err
    return err if err < 0 and not moved else moved


cdef inline int bring_in(backing_t *b, const front_t *front, void *d, uint64_t entry, const host_t *host) noexcept nogil:
    """An entry's data into the swap cache, and nowhere else."""
    cdef uint64_t code
    cdef int64_t pfn
    cdef place_t src
    cdef int err = front.get(d, entry, &code, &pfn)
    if err:
        return err
    code_place(code, &src)
    if pfn >= 0:
        host.dirty(host.user, pfn)
    else:
        pfn = host.load(host.user, entry, &src)
        if pfn < 0:
            return <int>pfn
        err = front.ops.cache_add(d, entry, 1, pfn)
        if err:
            return err
        backing_count(b, &code, 1)
    err = front.set(d, entry, 0)
    if err == 0:
        backing_free(b, &code, 1)
    return err


cdef inline int through_front(backing_t *b, const front_t *front, void *d, int tier, const host_t *host) noexcept nogil:
    """All entries with data in a tier, found by looking at every one."""
    cdef int64_t entry = front.next(d, 0, tier)
    cdef int err = 0
    while entry >= 0 and err == 0:
        err = bring_in(b, front, d, entry, host)
        entry = front.next(d, entry + 1, tier)
    return err


cdef inline int through_owners(backing_t *b, const front_t *front, void *d, int tier, const host_t *host) noexcept nogil:
    """All taken blocks of a device, by the reverse map."""
    cdef blocks_t *dev = &b.dev[tier - 1]
    cdef uint64_t block
    cdef int err = 0
    for block in range(1, dev.slots.nslots):
        if block & 63 == 0 or dev.taken == NULL:
            dev.counters.scanned += 1
        if blocks_taken(dev, block):
            b.counters.lookups += 1
            err = bring_in(b, front, d, blocks_owner(dev, block, &b.counters.depth), host)
        if err:
            break
    return err


cdef inline int backing_swapoff(backing_t *b, const front_t *front, void *d, int tier, const host_t *host) noexcept nogil:
    """A tier's data into memory; the entries stay what they are."""
    cdef int err = backing_tier(b, tier)
    if err or (tier == POOL and not b.zswap and not b.pooled):
        return -EINVAL
    if host == NULL or host.load == NULL:
        return -EOPNOTSUPP
    if tier == POOL:
        err = through_front(b, front, d, tier, host)
        b.zswap &= err != 0
        return err
    b.dev[tier - 1].on = False
    if b.dev[tier - 1].owners == OWNER_NONE:
        err = through_front(b, front, d, tier, host)
    else:
        err = through_owners(b, front, d, tier, host)
    if err == 0 and slots_used(&b.dev[tier - 1].slots):
        err = -EBUSY
    if err:
        b.dev[tier - 1].on = True
        return err
    blocks_release(&b.dev[tier - 1])
    return 0


cdef inline void backing_release(backing_t *b) noexcept nogil:
    cdef int i
    for i in range(b.ndev):
        blocks_release(&b.dev[i])


# ---- from scratch

cdef inline const char *code_fault(backing_t *b, uint64_t code, uint64_t entry, bint only) noexcept nogil:
    """What is wrong with the place of an entry's data, or NULL; *only*: nobody but the cache holds the entry."""
    cdef blocks_t *dev
    cdef uint64_t depth = 0, block = code_block(code)
    if code_tier(code) <= POOL and code > b.objects:
        return b"a pool object that was never made"
    if code_tier(code) <= POOL:
        return NULL
    if code_tier(code) > b.ndev or not b.dev[code_tier(code) - 1].on:
        return b"data on a device that there is not"
    dev = &b.dev[code_tier(code) - 1]
    if block == 0 or block >= dev.slots.nslots or not blocks_taken(dev, block):
        return b"its block is not taken"
    if dev.owners != OWNER_NONE and blocks_owner(dev, block, &depth) != entry:
        return b"the reverse map does not lead back to it"
    if (dev.cache_only != NULL or dev.owners == OWNER_WORD) and blocks_only(dev, block) != only:
        return b"the cache-only bit is wrong"
    return NULL


cdef inline const char *backing_fault(backing_t *b, const uint64_t *tiers, uint64_t *nodes) noexcept nogil:
    """The first thing that is wrong, or NULL. *tiers*: data counted at the front in each; adds up xarray nodes."""
    cdef blocks_t *dev
    cdef int64_t tables, n
    cdef uint64_t id
    cdef int i
    cdef ci_t *ci
    if <int64_t>tiers[POOL] != b.pooled:
        return b"the pool's objects do not add up"
    for i in range(b.ndev):
        dev = &b.dev[i]
        if not dev.on:
            continue
        if not slots_sound(&dev.slots):
            return b"the block allocator's lists or counts are damaged"
        if tiers[i + 1] != slots_used(&dev.slots):
            return b"the blocks in use are not those of the entries"
        n = radix_nodes(&dev.rmap)
        if n < 0:
            return b"the reverse map is damaged"
        nodes[0] += n
        tables = 0
        for id in range(dev.slots.nclusters if has_tables(dev) else 0):
            ci = slots_ci(&dev.slots, id)
            tables += ci.table != NULL
            if (ci.table == NULL) != (ci.count == slots_unusable(&dev.slots, id) and not (dev.taken == NULL and ci.count)):
                return b"a reverse map without blocks, or blocks without one"
        if tables != dev.tables:
            return b"the number of reverse maps is wrong"
    return NULL
