# The design `front-back`: swap table entries that stay what they are, and locations that say where the data is.
# May import the core's public kernels, words, locks, the protocol, the index of the pool's objects, errors.
# Used by the registry of designs.
#
# Models the swap table's front end and back end as Chris Li argued for them (linux-mm, 2025-12-03: 8 bytes a slot, 12
# once its data has moved), with this library's own structures: each device is a table of the core, all in one space of
# blocks. A slot's data is in the block of the same number at no cost, or where a 4-byte location says. The compressed
# pool is a device, too: an object has a block number, and the table of pointers from numbers to objects is counted.
# A cluster that only receives data of others has 72 bytes of block state. Slots never go with their data, no page table
# is walked, nothing is left behind in a tier. `redirected`: entries are slots of a ghost, every block is named by a
# location. `contiguous`: where the kernel's search fails, slots past the end at blocks wherever they are free.
# `compact`: clusters that were swapped out long ago take 1 or 3 bytes a slot.
"""Front end and back end: the swap table with locations."""

from libc.errno cimport EBUSY, EEXIST, EINVAL, ENOENT, ENOSPC, EOPNOTSUPP
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from swaptable._atomic cimport popcount64, swap_stat_t
from swaptable._core cimport (
    SwapTable, table_alloc, table_alloc_contiguous, table_block_alloc, table_block_free, table_blocks_used, table_bytes,
    table_cache_add, table_cache_del, table_compact, table_dup, table_loc, table_move, table_next, table_owner, table_put,
    table_resolve, table_t, table_trim, table_usable, table_word, table_writeout,
)
from swaptable._entry cimport (
    swp_tb_count, swp_tb_counts, swp_tb_is_folio, swp_tb_memcg, swp_tb_pfn, swp_tb_shadow, swp_tb_zero,
)
from swaptable.designs._count cimport count_core
from swaptable.designs._design cimport (
    NOWHERE, PEEK_BAD, PEEK_FOLIO, PEEK_FREE, PEEK_SHADOW, POOL, Design, counters_dict, counters_t, design_ops_t, host_t,
    peek_t, place_t,
)
from swaptable.designs._objects cimport (
    OBJECT_DEPTH, object_at, object_drop, object_put, objects_bytes, objects_fault, objects_init,
    objects_release, objects_t,
)

import swaptable._core as core
from swaptable.designs._design import checked_backend, checked_devices, checked_slots
from swaptable.designs.says import BY_TABLE, owners_say
from swaptable.errors import CheckError, SwapValueError

cdef enum:
    MAX_TABLES = 6          # a ghost, the pool, four devices
    MAX_TIERS = 8
    DEVICE_SHIFT = 40       # of an entry: which table, then the slot
    CLUSTER = 512
    WORD_DEPTH = 2          # the table pointer, then the word
    PAST = 32               # slots past the end are numbered from 1 << PAST
    COLD = 4096             # evictions after which a cluster is cold, unless compaction is told otherwise
    TRIM = 64               # clusters packed at once: their tables are worth a return to the system

KINDS = (
    "tables", "packed", "locations", "bitmaps", "owners", "overflow", "clusters", "device_clusters", "object_tables", "limbo",
    "pool", "fixed",
)


cdef struct member_t:
    table_t *t
    int tier                # of its blocks; NOWHERE: a ghost
    bint on                 # its blocks are in use; a device that is off lives on as a front until its last entry is freed
    bint front              # entries are allocated here
    uint64_t held           # its bytes when they were last counted

cdef struct state_t:
    counters_t counters
    swap_stat_t stat
    member_t table[MAX_TABLES]  # by number in the space
    int n
    int at[MAX_TIERS]       # the table that a tier is, or -1
    objects_t objects
    int64_t blocks          # of each device, the header's included
    bint zswap              # what is written goes to the pool
    bint contiguous
    bint owners
    uint64_t cold           # age of clusters to be packed; 0: none is
    uint64_t clock          # the last shadow
    uint64_t evicted        # since clusters were packed

# A slot whose data moves, pinned.
cdef struct pinned_t:
    int table
    int64_t slot
    uint64_t shadow
    place_t src
    int32_t member          # of the block that it leaves
    int64_t block
    uint32_t old            # location
    bint home               # goes to its own block


# ---- counting

cdef inline void count_bytes(state_t *s, int i) noexcept nogil:
    """What changed of a table's bytes since the last time, on balance, is counted."""
    cdef counters_t *c = &s.counters
    cdef uint64_t held = table_bytes(s.table[i].t), was = s.table[i].held
    c.allocated += held - was if held > was else 0
    c.freed += was - held if held < was else 0
    c.now += held - was
    s.table[i].held = held


cdef inline void count_all_bytes(state_t *s) noexcept nogil:
    cdef int i
    for i in range(s.n):
        count_bytes(s, i)


cdef inline int counted(state_t *s, int i, int err) noexcept nogil:
    """Add what the core counted since the last time; *i* is the table that it worked on.

    A hold is what an operation wrote and what its searches read.
    """
    cdef counters_t *c = &s.counters
    if count_core(c, &s.stat):
        count_bytes(s, i)      # tables come and go with clusters that change lists
    return err


cdef inline void look_up(state_t *s, uint64_t depth) noexcept nogil:
    s.counters.lookups += 1
    s.counters.depth += depth


# ---- entries, and where their data is

cdef inline int64_t slot_of(uint64_t entry) noexcept nogil:
    return <int64_t>(entry & ((<uint64_t>1 << DEVICE_SHIFT) - 1))


cdef inline uint64_t entry_of(int i, int64_t slot) noexcept nogil:
    return <uint64_t>i << DEVICE_SHIFT | <uint64_t>slot


cdef inline int table_of(state_t *s, uint64_t entry) noexcept nogil:
    """The number of an entry's table, or -EINVAL."""
    return <int>(entry >> DEVICE_SHIFT) if entry >> DEVICE_SHIFT < <uint64_t>s.n else -EINVAL


cdef inline int seat_of(state_t *s, int i, int64_t slot, int64_t *block) noexcept nogil:
    """The table and block that a slot in use has for its data, whether or not that is there; -1: none. Not counted."""
    cdef int32_t m = -1
    if table_resolve(s.table[i].t, slot, &m, block) or m < 0 or not s.table[m].on:
        return -1
    return m


cdef inline void place_at(state_t *s, int m, int64_t block, place_t *place) noexcept nogil:
    """What readers of a block find: of the pool's, the object."""
    place.tier, place.block = NOWHERE, 0
    if m < 0:
        return
    place.tier, place.block = s.table[m].tier, block
    if place.tier == POOL:
        place.block = object_at(&s.objects, block)
        place.tier = POOL if place.block else NOWHERE


cdef inline void place_of(state_t *s, int i, int64_t slot, place_t *place) noexcept nogil:
    cdef int64_t block = -1
    cdef int m = seat_of(s, i, slot, &block)
    place_at(s, m, block, place)


cdef inline void count_io(state_t *s, const place_t *places, int n) noexcept nogil:
    """An IO for each device that some of the pages are on, an extent for each run of blocks."""
    cdef int i, seen = 0
    for i in range(n):
        if places[i].tier <= POOL:
            continue
        s.counters.extents += i == 0 or places[i].tier != places[i - 1].tier or places[i].block != places[i - 1].block + 1
        seen |= 1 << places[i].tier
    s.counters.ios += popcount64(seen)


# ---- the swap cache and users

cdef int fb_alloc(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    """The kernel's search on one device after the other, then past the end of the first that has the blocks."""
    cdef state_t *s = <state_t *>d
    cdef int64_t slot = 0
    cdef int i, past, err = -ENOSPC
    s.counters.ops += 1
    for past in range(2 if s.contiguous else 1):
        for i in range(s.n):
            if not (s.table[i].front and s.table[i].on):
                continue
            if past:
                err = table_alloc_contiguous(s.table[i].t, order, 0, pfn, memcg, &slot, &s.stat)
            else:
                err = table_alloc(s.table[i].t, order, 0, pfn, memcg, &slot, &s.stat)
            counted(s, i, err)
            if err != -ENOSPC:
                entry[0] = entry_of(i, slot)
                return err
    return err


cdef int fb_dup(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef state_t *s = <state_t *>d
    cdef int i = table_of(s, entry)
    s.counters.ops += 1
    if i < 0:
        return i
    look_up(s, WORD_DEPTH)
    return counted(s, i, table_dup(s.table[i].t, slot_of(entry), nr, &s.stat))


cdef inline int pooled_seats(state_t *s, int i, int64_t slot, int nr, int64_t *blocks) noexcept nogil:
    """The pool's blocks of a run of slots, -1 where there is none; how many there are."""
    cdef int k, m, found = 0
    for k in range(nr):
        m = seat_of(s, i, slot + k, &blocks[k])
        if m < 0 or s.table[m].tier != POOL or object_at(&s.objects, blocks[k]) == 0:
            blocks[k] = -1
        found += blocks[k] >= 0
    return found


cdef inline void drop_objects(state_t *s, int i, int64_t slot, int nr, const int64_t *blocks) noexcept nogil:
    """Slots that have become free leave no objects behind."""
    cdef int k
    for k in range(nr):
        if blocks[k] >= 0 and not swp_tb_counts(table_word(s.table[i].t, slot + k)):
            look_up(s, OBJECT_DEPTH)
            object_drop(&s.objects, blocks[k])


cdef int fb_put(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef state_t *s = <state_t *>d
    cdef int64_t blocks[CLUSTER]
    cdef int i = table_of(s, entry), err, pooled = 0
    s.counters.ops += 1
    if i < 0:
        return i
    look_up(s, WORD_DEPTH)
    if s.objects.n:
        pooled = pooled_seats(s, i, slot_of(entry), nr, blocks)
    err = counted(s, i, table_put(s.table[i].t, slot_of(entry), nr, &s.stat))
    if err == 0 and pooled:
        drop_objects(s, i, slot_of(entry), nr, blocks)
    return err


cdef int64_t fb_cache_get(void *d, uint64_t entry) noexcept nogil:
    cdef state_t *s = <state_t *>d
    cdef uint64_t word
    cdef int i = table_of(s, entry)
    s.counters.ops += 1
    if i < 0:
        return -1
    look_up(s, WORD_DEPTH)
    word = table_word(s.table[i].t, slot_of(entry))
    return <int64_t>swp_tb_pfn(word) if swp_tb_is_folio(word) else -1


cdef int fb_cache_add(void *d, uint64_t entry, int nr, uint64_t pfn) noexcept nogil:
    cdef state_t *s = <state_t *>d
    cdef int i = table_of(s, entry)
    s.counters.ops += 1
    if i < 0:
        return i
    look_up(s, WORD_DEPTH)
    return counted(s, i, table_cache_add(s.table[i].t, slot_of(entry), nr, pfn, NULL, &s.stat))


cdef void compact_all(state_t *s) noexcept nogil:
    """Pack the clusters that are cold. What is packed, or too young, is seen at once: only those packed now are read."""
    cdef uint64_t packed
    cdef int i
    for i in range(s.n):
        packed = table_compact(s.table[i].t, 0, <int64_t>1 << (PAST - 9), s.clock, s.cold, &s.stat)
        s.counters.scanned += packed * CLUSTER
        if packed >= TRIM:
            table_trim(s.table[i].t)
        counted(s, i, 0)
        count_bytes(s, i)


cdef int fb_cache_del(void *d, uint64_t entry, int nr, uint64_t shadow) noexcept nogil:
    cdef state_t *s = <state_t *>d
    cdef int64_t blocks[CLUSTER]
    cdef int i = table_of(s, entry), err, pooled = 0
    s.counters.ops += 1
    if i < 0:
        return i
    look_up(s, WORD_DEPTH)
    if s.objects.n:
        pooled = pooled_seats(s, i, slot_of(entry), nr, blocks)
    err = counted(s, i, table_cache_del(s.table[i].t, slot_of(entry), nr, shadow, &s.stat))
    if err == 0 and pooled:
        drop_objects(s, i, slot_of(entry), nr, blocks)
    if err == 0 and s.cold:
        s.clock = shadow
        s.evicted += nr
        if s.evicted >= s.cold:
            s.evicted = 0
            compact_all(s)
    return err


# ---- where the data goes

cdef int blocks_for(state_t *s, int n, int without, uint32_t *locs) noexcept nogil:
    """*n* blocks of the first tier that has them all, but for one tier; the table, or -ENOSPC."""
    cdef int tier, m
    cdef int64_t got, done
    for tier in range(0 if s.zswap else 1, MAX_TIERS):
        m = s.at[tier]
        if m < 0 or not s.table[m].on or tier == without:
            continue
        got = table_block_alloc(s.table[m].t, n, locs, &s.stat)
        if got == n:
            counted(s, m, 0)
            return m
        table_block_free(s.table[m].t, locs, got, &done, &s.stat)
        counted(s, m, 0)
    return -ENOSPC


cdef int give_seats(state_t *s, int i, const int64_t *slots, int n) noexcept nogil:
    """Blocks for cached slots that have none; 0 or -errno and none has one."""
    cdef uint32_t locs[CLUSTER]
    cdef int64_t done
    cdef int k = 0, j, err = 0, m = blocks_for(s, n, NOWHERE, locs)
    if m < 0:
        return m
    while k < n and err == 0:
        err = table_move(s.table[i].t, slots[k], 0, locs[k], &s.stat)
        k += err == 0
    if err:
        for j in range(k):
            table_move(s.table[i].t, slots[j], locs[j], 0, &s.stat)
        table_block_free(s.table[m].t, locs, n, &done, &s.stat)
    return counted(s, i, err)


cdef int store(state_t *s, int i, int64_t slot, int nr, place_t *places) noexcept nogil:
    """The data of slots with seats is written there: a new object for each that is in the pool."""
    cdef int64_t block = -1
    cdef int k, m, err = 0
    for k in range(nr):
        m = seat_of(s, i, slot + k, &block)
        if m >= 0 and s.table[m].tier == POOL:
            look_up(s, OBJECT_DEPTH)
            err = object_put(&s.objects, block)
            if err:
                return err
        place_at(s, m, block, &places[k])
    count_io(s, places, nr)
    return 0


cdef int fb_writeout(void *d, uint64_t entry, int nr) noexcept nogil:
    """The own block at no cost, or the one that a location names; blocks for those slots that have neither."""
    cdef state_t *s = <state_t *>d
    cdef place_t places[CLUSTER]
    cdef int64_t missing[CLUSTER]
    cdef int64_t slot = slot_of(entry), block = -1
    cdef int i = table_of(s, entry), k, n = 0, err
    s.counters.ops += 1
    if i < 0:
        return i
    look_up(s, WORD_DEPTH)
    err = counted(s, i, table_writeout(s.table[i].t, slot, nr, &s.stat))
    if err:
        return err
    look_up(s, 1 + (table_loc(s.table[i].t, slot) != 0))
    for k in range(nr):
        if seat_of(s, i, slot + k, &block) < 0:
            missing[n] = slot + k
            n += 1
    if n:
        err = give_seats(s, i, missing, n)
    return err if err else store(s, i, slot, nr, places)


cdef int fb_read(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    """Objects of the pool are taken from there; their numbers stay the slots' until they are written again or freed."""
    cdef state_t *s = <state_t *>d
    cdef int64_t slot = slot_of(entry), block = -1
    cdef int i = table_of(s, entry), k, m, taken = 0
    s.counters.ops += 1
    if i < 0:
        return i
    for k in range(nr):
        if not swp_tb_is_folio(table_word(s.table[i].t, slot + k)):
            return -ENOENT
    look_up(s, 1 + (table_loc(s.table[i].t, slot) != 0))
    for k in range(nr):
        m = seat_of(s, i, slot + k, &block)
        place_at(s, m, block, &where[k])
        if where[k].tier == POOL:
            look_up(s, OBJECT_DEPTH)
            object_drop(&s.objects, block)
            taken += 1
    count_io(s, where, nr)
    return taken > 0


cdef int fb_locate(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    cdef state_t *s = <state_t *>d
    cdef int64_t slot = slot_of(entry)
    cdef int i = table_of(s, entry), k
    if i < 0:
        return i
    for k in range(nr):
        if not swp_tb_counts(table_word(s.table[i].t, slot + k)):
            return -ENOENT
        place_of(s, i, slot + k, &where[k])
    return 0


cdef void fb_peek(void *d, uint64_t entry, peek_t *said) noexcept nogil:
    # A count of 15 says 15 or more: the overflow table is the core's. lookup() knows better.
    cdef state_t *s = <state_t *>d
    cdef int i = table_of(s, entry)
    cdef uint64_t word = table_word(s.table[i].t, slot_of(entry)) if i >= 0 else 0
    said.kind, said.count, said.memcg, said.zero, said.value = PEEK_FREE, 0, 0, False, 0
    if swp_tb_counts(word):
        said.kind = PEEK_FOLIO if swp_tb_is_folio(word) else PEEK_SHADOW
        said.count, said.memcg, said.zero = swp_tb_count(word), swp_tb_memcg(word), swp_tb_zero(word)
        said.value = swp_tb_pfn(word) if swp_tb_is_folio(word) else swp_tb_shadow(word)
    elif word or i < 0:
        said.kind = PEEK_BAD


cdef int fb_hops(void *d, uint64_t entry) noexcept nogil:
    """One location, however many tiers the data has passed through; none where the slot is the place."""
    cdef state_t *s = <state_t *>d
    cdef int i = table_of(s, entry)
    if i < 0 or not swp_tb_counts(table_word(s.table[i].t, slot_of(entry))):
        return -ENOENT
    return table_loc(s.table[i].t, slot_of(entry)) != 0


# ---- the whole

cdef uint64_t fb_used(void *d) noexcept nogil:
    cdef state_t *s = <state_t *>d
    cdef int64_t total = 0
    cdef int i
    for i in range(s.n):
        if s.table[i].on and s.table[i].tier != NOWHERE:
            total += table_blocks_used(s.table[i].t)
    return <uint64_t>total


cdef uint64_t fb_size(void *d) noexcept nogil:
    cdef state_t *s = <state_t *>d
    cdef int64_t total = 0
    cdef int i
    for i in range(s.n):
        if s.table[i].on and s.table[i].tier != NOWHERE:
            total += table_usable(s.table[i].t)
    return <uint64_t>total


cdef uint64_t fb_bytes(void *d) noexcept nogil:
    cdef state_t *s = <state_t *>d
    count_all_bytes(s)
    return s.counters.now


cdef uint64_t fb_wasted(void *d) noexcept nogil:
    """A block is free as soon as its data has moved, and a slot without data in its block is an entry in use."""
    return 0


# ---- data moves: the word is the pin, and the location changes

cdef int pin(state_t *s, uint64_t entry, int target, pinned_t *p) noexcept nogil:
    """Pin a slot whose data is to go to a table: 1, or 0 when there is nothing to move; -errno: no entry."""
    cdef uint64_t word, old
    cdef int err
    p.table = table_of(s, entry)
    if p.table < 0:
        return p.table
    p.slot, p.home, p.block = slot_of(entry), False, -1
    word = table_word(s.table[p.table].t, p.slot)
    if not swp_tb_counts(word):
        return -ENOENT
    p.member = seat_of(s, p.table, p.slot, &p.block)
    place_at(s, p.member, p.block, &p.src)
    if swp_tb_is_folio(word) or p.src.tier == NOWHERE or p.member == target:
        return 0
    err = table_cache_add(s.table[p.table].t, p.slot, 1, 0, &old, &s.stat)
    if err:
        return 0 if err == -EEXIST else err
    p.shadow = swp_tb_shadow(old)
    p.old = table_loc(s.table[p.table].t, p.slot)
    counted(s, p.table, 0)
    return 1


cdef int unpin(state_t *s, pinned_t *p) noexcept nogil:
    return counted(s, p.table, table_cache_del(s.table[p.table].t, p.slot, 1, p.shadow, &s.stat))


cdef int move_one(state_t *s, pinned_t *p, uint32_t new, const host_t *host, uint64_t *last) noexcept nogil:
    """The data of a pinned slot to the block of a location (0: home), which is the slot's then; 0 or -errno.

    The block that it leaves is ours until we give it back: nobody writes there before the data is copied.
    """
    cdef table_t *t = s.table[p.table].t
    cdef place_t dst
    cdef int64_t block = -1, done
    cdef int m, err = table_move(t, p.slot, p.old, new, &s.stat)
    if err:
        return counted(s, p.table, err)
    m = seat_of(s, p.table, p.slot, &block)
    if s.table[m].tier == POOL:
        look_up(s, OBJECT_DEPTH)
        err = object_put(&s.objects, block)
    place_at(s, m, block, &dst)
    if err == 0 and host != NULL and host.copy != NULL:
        err = host.copy(host.user, &p.src, &dst)
    if err:
        if s.table[m].tier == POOL:
            object_drop(&s.objects, block)
        table_move(t, p.slot, new, p.old, &s.stat)
        return counted(s, p.table, err)
    if p.src.tier == POOL:
        look_up(s, OBJECT_DEPTH)
        object_drop(&s.objects, p.block)
    if p.old:
        table_block_free(t, &p.old, 1, &done, &s.stat)
    if dst.tier > POOL and entry_of(m, block) != last[0] + 1:
        s.counters.ios += 1
        s.counters.extents += 1
    last[0] = entry_of(m, block)
    return counted(s, p.table, 0)


cdef int64_t move_pinned(state_t *s, pinned_t *p, int n, int target, const host_t *host, uint64_t *last, int *err) noexcept nogil:
    """The data of pinned slots to a table: home where that is it and their own block is free, else to others; how many.

    *err* says why not more.
    """
    cdef uint32_t locs[CLUSTER]
    cdef int64_t moved = 0, got, used = 0, done
    cdef int k, want = 0
    for k in range(n):
        if p[k].table == target and p[k].old:
            err[0] = move_one(s, &p[k], 0, host, last)
            p[k].home = err[0] == 0
            moved += p[k].home
        if err[0] and err[0] != -EBUSY:
            return moved
        err[0] = 0
        want += not p[k].home
    got = table_block_alloc(s.table[target].t, want, locs, &s.stat) if want else 0
    counted(s, target, 0)
    for k in range(n):
        if p[k].home:
            continue
        err[0] = move_one(s, &p[k], locs[used], host, last) if used < got else -ENOSPC
        if err[0]:
            break
        used += 1
        moved += 1
    if used < got:
        table_block_free(s.table[target].t, locs + used, got - used, &done, &s.stat)
        counted(s, target, 0)
    return moved


cdef int64_t fb_transfer(void *d, const uint64_t *entries, int64_t n, int tier, const host_t *host) noexcept nogil:
    """As many as a cluster has at a time: pinned, blocks for all, copied, given back, unpinned. No entry changes."""
    cdef state_t *s = <state_t *>d
    cdef pinned_t pins[CLUSTER]
    cdef int64_t at = 0, moved = 0
    cdef uint64_t last = 0
    cdef int target = s.at[tier] if 0 <= tier < MAX_TIERS else -1, err = 0, bad = 0, k, got
    s.counters.ops += 1
    if target < 0 or not s.table[target].on:
        return -EINVAL
    while at < n and err == 0 and bad == 0:
        k = 0
        while at < n and k < CLUSTER and bad == 0:
            got = pin(s, entries[at], target, &pins[k])
            bad = got if got < 0 else 0
            k += got > 0
            at += 1
        moved += move_pinned(s, pins, k, target, host, &last, &err)
        for got in range(k):
            unpin(s, &pins[got])
    count_all_bytes(s)
    err = err if err else bad
    return err if err and not moved else moved


cdef int unseat(state_t *s, int i, int64_t slot, int tier) noexcept nogil:
    """A cached slot's data is nowhere but in memory: its location goes. Where its own block is lent it gets another."""
    cdef table_t *t = s.table[i].t
    cdef uint32_t old = table_loc(t, slot), new = 0
    cdef int64_t done
    cdef int err, m
    if old == 0:
        return 0
    err = table_move(t, slot, old, 0, &s.stat)
    if err == -EBUSY:
        m = blocks_for(s, 1, tier, &new)
        if m < 0:
            return counted(s, i, m)
        err = table_move(t, slot, old, new, &s.stat)
        if err:
            table_block_free(t, &new, 1, &done, &s.stat)
    if err == 0:
        table_block_free(t, &old, 1, &done, &s.stat)
    return counted(s, i, err)


cdef int bring_in(state_t *s, int i, int64_t slot, int m, int64_t block, const host_t *host) noexcept nogil:
    """The data of a slot, which has its seat at that block, into the swap cache and nowhere else."""
    cdef table_t *t = s.table[i].t
    cdef uint64_t word = table_word(t, slot)
    cdef int64_t pfn
    cdef place_t src
    cdef int err
    place_at(s, m, block, &src)
    if swp_tb_is_folio(word):
        host.dirty(host.user, swp_tb_pfn(word))
    else:
        pfn = host.load(host.user, entry_of(i, slot), &src)
        if pfn < 0:
            return <int>pfn
        err = counted(s, i, table_cache_add(t, slot, 1, pfn, NULL, &s.stat))
        if err:
            return err
        count_io(s, &src, 1)
    if src.tier == POOL:
        look_up(s, OBJECT_DEPTH)
        object_drop(&s.objects, block)
    return unseat(s, i, slot, s.table[m].tier)


cdef int through_fronts(state_t *s, int m, const host_t *host) noexcept nogil:
    """All slots with a seat on a table, found by looking at every word and location."""
    cdef int64_t slot, k, block = -1
    cdef int i, err = 0
    for i in range(s.n):
        slot = table_next(s.table[i].t, 0)
        while slot >= 0 and err == 0:
            s.counters.scanned += CLUSTER
            for k in range(slot, slot + CLUSTER):
                if seat_of(s, i, k, &block) == m:
                    err = bring_in(s, i, k, m, block, host)
                if err:
                    return err
            slot = table_next(s.table[i].t, slot + CLUSTER)
    return err


cdef int through_owners(state_t *s, int m, const host_t *host) noexcept nogil:
    """All blocks of a table that hold data, by the owner that each has: itself, unless somebody else is noted."""
    cdef int64_t block, seat = -1, slot = -1
    cdef int32_t i = -1
    cdef int err = 0
    for block in range(s.blocks):
        s.counters.scanned += 1
        if table_owner(s.table[m].t, block, &i, &slot, &s.stat) < 0:
            i, slot = m, block
        else:
            look_up(s, 1)
        counted(s, m, 0)
        if seat_of(s, i, slot, &seat) == m and seat == block:
            err = bring_in(s, i, slot, m, block, host)
        if err:
            break
    return err


cdef int fb_swapoff(void *d, int tier, const host_t *host) noexcept nogil:
    """No new writes; all data into the swap cache; the entries stay, and with them the front of the device."""
    cdef state_t *s = <state_t *>d
    cdef int m = s.at[tier] if 0 <= tier < MAX_TIERS else -1, err
    s.counters.ops += 1
    if m < 0 or not s.table[m].on:
        return -EINVAL
    if host == NULL or host.load == NULL:
        return -EOPNOTSUPP
    err = through_owners(s, m, host) if s.owners and tier != POOL else through_fronts(s, m, host)
    if err == 0:
        s.table[m].on = False
        if tier == POOL:
            s.zswap = False
            objects_release(&s.objects)
    count_all_bytes(s)
    return err


cdef design_ops_t OPS
OPS.alloc = fb_alloc
OPS.dup = fb_dup
OPS.put = fb_put
OPS.writeout = fb_writeout
OPS.cache_get = fb_cache_get
OPS.cache_add = fb_cache_add
OPS.cache_del = fb_cache_del
OPS.used = fb_used
OPS.size = fb_size
OPS.bytes = fb_bytes
OPS.read = fb_read
OPS.locate = fb_locate
OPS.peek = fb_peek
OPS.hops = fb_hops
OPS.transfer = fb_transfer
OPS.swapoff = fb_swapoff
OPS.wasted = fb_wasted


# ---- from scratch

cdef const char *seats_fault(state_t *s, uint64_t *where) noexcept nogil:
    """The first thing that is wrong with the places of data, or NULL; the tables' own invariants are the core's."""
    cdef int64_t slot, k, block = -1, seats = 0, there = 0
    cdef uint64_t word
    cdef int i, m
    for i in range(s.n):
        slot = table_next(s.table[i].t, 0)
        while slot >= 0:
            for k in range(slot, slot + CLUSTER):
                where[0] = entry_of(i, k)
                word = table_word(s.table[i].t, k)
                m = seat_of(s, i, k, &block)
                if m < 0 and table_loc(s.table[i].t, k) != 0:
                    return b"data on a device that there is not"
                if swp_tb_counts(word) and not swp_tb_is_folio(word) and swp_tb_count(word) == 0:
                    return b"in use without users and not cached"
                seats += m >= 0 and s.table[m].tier == POOL and object_at(&s.objects, block) != 0
            slot = table_next(s.table[i].t, slot + CLUSTER)
    if seats != s.objects.n:
        return b"objects of the pool that no slot leads to, or two slots that lead to one"
    return objects_fault(&s.objects, &there)


cdef class FrontBackDesign(Design):
    """Swap tables with locations, in one space of blocks.

    Parameters
    ----------
    slots : int
        Blocks of 4 KiB on each device and of the pool, the header's included, 2 to 2^32 - 1.
    backend : str
        ``"disk"``: entries are slots of the devices; ``"zswap"``: of the compressed pool, which is a device too.
    devices : int, optional
        Block devices, 0 to 4. Default: 1 for disk, none for zswap.
    contiguous : bool
        Where the kernel's search finds no run, aligned slots past the end at blocks wherever they are free.
    redirected : bool
        Entries are slots of a ghost without size, and every block is named by a location.
    compact : bool or int
        Pack clusters that were swapped out so many evictions ago or earlier; True: 4096.
    owners : bool
        Note which slot each block serves that is not its own slot's: 4 bytes a block, for swapoff.

    Raises
    ------
    SwapValueError
        One of them is out of range.
    """

    cdef readonly object space
    cdef readonly list tables

    def __cinit__(self, *args, **kwargs):
        cdef state_t *s = <state_t *>calloc(1, sizeof(state_t))
        if s == NULL:
            raise MemoryError
        self.state = s
        self.counters = &s.counters

    def __init__(
        self, slots, backend="disk", devices=None, contiguous=False, redirected=False, compact=False, owners=False,
    ):
        cdef state_t *s = <state_t *>self.state
        cdef uint64_t n = checked_slots(slots)
        cdef bint zswap = checked_backend(backend) == "zswap"
        cdef int tier, count = checked_devices(not zswap if devices is None else devices, not zswap)
        if self.ops != NULL:
            raise TypeError("a design is made once")
        if compact is not True and not 0 <= compact < 1 << 42:
            raise SwapValueError(EINVAL, f"compact is {compact}; expected yes, no or an age in evictions")
        self.space = core.BlockSpace()
        self.tables = []
        s.blocks, s.zswap, s.contiguous, s.owners = n, zswap, bool(contiguous), bool(owners)
        s.cold = COLD if compact is True else compact
        for tier in range(MAX_TIERS):
            s.at[tier] = -1
        s.counters.now = s.counters.allocated = self.space.memory()["total"]
        if redirected:
            self._add(core.SwapTable(None, space=self.space), NOWHERE, True)
        if zswap:
            self._add(core.SwapTable(n, space=self.space), POOL, not redirected)
            if objects_init(&s.objects, n, &s.counters) < 0:
                raise MemoryError
        for tier in range(1, count + 1):
            self._add(core.SwapTable(n, space=self.space, owners=bool(owners)), tier, not redirected)
        count_all_bytes(s)
        self.ops = &OPS

    cdef int _add(self, SwapTable table, int tier, bint front) except -1:
        """A table and what it is for; its number in the space is the next."""
        cdef state_t *s = <state_t *>self.state
        cdef member_t *member = &s.table[s.n]
        if table.member != s.n:
            raise CheckError(f"{self.name}: table {s.n} is member {table.member} of its space")
        member.t, member.tier, member.on, member.front = table.t, tier, True, front
        if tier != NOWHERE:
            s.at[tier] = s.n
        self.tables.append(table)
        s.n += 1
        return 0

    def __dealloc__(self):
        if self.state != NULL:
            objects_release(&(<state_t *>self.state).objects)
        free(self.state)

    def __getattr__(self, attribute):
        # As the base class, but bytes that came or went since they were last counted are counted first.
        if attribute == "counters" and self.ops != NULL:
            count_all_bytes(<state_t *>self.state)
            return counters_dict(self.counters)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    @property
    def name(self):
        """``front-back``."""
        return "front-back"

    @property
    def says(self):
        """How it does what not every design can."""
        by = "the location says where the data is from now on, none where that is the slot's own block; no entry changes"
        return BY_TABLE | {"transfer": by} | owners_say((<state_t *>self.state).owners)

    def lookup(self, entry):
        """What the word of *entry* says; see :meth:`Design.lookup`."""
        found = Design.lookup(self, entry)
        if found["count"] == 15:        # in the word; the table has the rest
            found["count"] = self.tables[entry >> DEVICE_SHIFT].entry(slot_of(entry)).count
        return found

    def swapoff(self, tier, host=None):
        """See :meth:`Design.swapoff`; free memory of the tables goes back to the system."""
        Design.swapoff(self, tier, host)
        for number in range((<state_t *>self.state).n):
            table_trim((<state_t *>self.state).table[number].t)
        count_all_bytes(<state_t *>self.state)

    def memory(self):
        """Return the bytes by kind, and their "total".

        The first table's clusters are ``clusters``, those of others ``device_clusters``: 64 bytes and a pointer for
        512 blocks. ``bitmaps`` say which blocks serve slots that are not their own, ``owners`` which slots,
        ``object_tables`` lead from the pool's block numbers to its objects.
        """
        cdef state_t *s = <state_t *>self.state
        kinds = dict.fromkeys(KINDS, 0)
        for number, table in enumerate(self.tables):
            for kind, size in table.memory().items():
                if kind != "total":
                    kinds["device_clusters" if number and kind == "clusters" else kind] += size
        kinds["fixed"] += self.space.memory()["total"]
        kinds["object_tables"] = objects_bytes(&s.objects)
        return kinds | {"total": sum(kinds.values())}

    def check(self):
        """Verify every invariant from scratch.

        Raises
        ------
        CheckError
            With the entry (or the part) and what does not hold.
        """
        cdef state_t *s = <state_t *>self.state
        cdef uint64_t where = 0
        cdef const char *fault
        self.space.check()
        with nogil:
            fault = seats_fault(s, &where)
        if fault != NULL:
            raise CheckError(f"{self.name}: at {where:#x}: {(<bytes>fault).decode()}")
        if self.memory()["total"] != self.bytes:
            raise CheckError(f"{self.name}: the kinds of memory do not add up to {self.bytes}: {self.memory()}")
