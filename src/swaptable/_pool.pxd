# Where tables and their side records come from and where they go: depots by size, and a limbo that waits for readers.
# Imports the locks.
# Used by the core only; the layout is private.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from swaptable._atomic cimport add32, ctz64, load32, load_ptr, spin_lock, spin_unlock, store32, store_ptr

cdef extern from *:
    """
    #ifndef SWAPTABLE_POOL
    #define SWAPTABLE_POOL
    #include <sched.h>
    #include <sys/mman.h>
    #define HUGE_TABLES 512        /* tables in a 2 MiB page */
    #ifdef SWAPTABLE_BREAK_EPOCH   /* to show that tests/test_epoch.py would notice: never in a build that is used */
    #define EPOCHS_HOLD 0
    #else
    #define EPOCHS_HOLD 1
    #endif
    #if defined(__SANITIZE_ADDRESS__)
    #include <sanitizer/asan_interface.h>
    #define SPREAD 2ULL            /* a red zone as large as the record behind each, and those not in use are red too */
    #define poison(p, bytes) ASAN_POISON_MEMORY_REGION(p, SPREAD * (bytes))
    #define unpoison(p, bytes) ASAN_UNPOISON_MEMORY_REGION(p, bytes)
    #define unpoison_all(p, bytes) ASAN_UNPOISON_MEMORY_REGION(p, bytes)
    #else
    #define SPREAD 1ULL
    #define poison(p, bytes) ((void)(p))
    #define unpoison(p, bytes) ((void)(p))
    #define unpoison_all(p, bytes) ((void)(p))
    #endif
    #define TABLE_STRIDE (4096ULL * SPREAD)
    #define HALF_STRIDE (2048ULL * SPREAD)
    #define BITS_STRIDE (72ULL * SPREAD)
    #define BITS_PER 56
    /* Address space that costs nothing until it is touched. */
    static inline void *reserve(uint64_t bytes) {
        void *p = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return p == MAP_FAILED ? 0 : p;
    }
    static inline void unreserve(void *p, uint64_t bytes) { if (p) munmap(p, bytes); }
    static inline void give_back(void *p, uint64_t bytes) { if (bytes) madvise(p, bytes, MADV_DONTNEED); }
    static inline void want_small(void *p, uint64_t bytes) { madvise(p, bytes, MADV_NOHUGEPAGE); }
    /* 2 MiB that are all in use: one page instead of 512, if the system can (Linux 6.1). */
    static inline void make_huge(void *p, uint64_t bytes) {
        madvise(p, bytes, MADV_HUGEPAGE);
        madvise(p, bytes, 25 /* MADV_COLLAPSE */);
    }
    /* What each depot holds, and how: bytes of a record, records of a granule (what goes back to the system at
       once, whole pages), bytes of a granule. */
    typedef struct { uint32_t bytes, per, granule; } shape_t;
    static const shape_t SHAPES[9] = {
        {4096, 1, 4096 * SPREAD},               /* TABLES */
        {4096, 1, 4096 * SPREAD},               /* MORE_TABLES */
        {2048, 2, 4096 * SPREAD},               /* LOCATIONS */
        {2048, 2, 4096 * SPREAD},               /* EXTENDS */
        {2048, 2, 4096 * SPREAD},               /* OWNERS */
        {72, BITS_PER, 4096 * SPREAD},          /* BITMAPS */
        {1568, 41, 65536 * SPREAD},             /* PACKED */
        {544, 120, 65536 * SPREAD},             /* UNIFORM */
        {72, BITS_PER, 4096 * SPREAD},          /* HELD */
    };
    #endif
    """
    const uint64_t SPREAD, TABLE_STRIDE, HALF_STRIDE, BITS_STRIDE
    const uint32_t BITS_PER
    const uint32_t HUGE_TABLES
    const int EPOCHS_HOLD
    void poison(void *p, uint64_t bytes) noexcept nogil
    void unpoison(void *p, uint64_t bytes) noexcept nogil
    void unpoison_all(void *p, uint64_t bytes) noexcept nogil
    void *reserve(uint64_t bytes) noexcept nogil
    void unreserve(void *p, uint64_t bytes) noexcept nogil
    void give_back(void *p, uint64_t bytes) noexcept nogil
    void want_small(void *p, uint64_t bytes) noexcept nogil
    void make_huge(void *p, uint64_t bytes) noexcept nogil
    int sched_yield() noexcept nogil
    ctypedef struct shape_t:
        uint32_t bytes, per, granule
    const shape_t SHAPES[9]

cdef enum:
    NO_RECORD = 0xffffffff
    LIMBO_SPARE = 8192      # tables that may wait in limbo above the number of clusters
    SIDE_MAX = 1 << 24      # side records of a kind: one a cluster
    LIMBO_MAX = 1 << 27

# What a depot holds. Records of all but the first two are numbered from 1: 0 in a cluster means none.
cdef enum:
    TABLES = 0              # 512 words of a cluster of the device's first size
    MORE_TABLES = 1         # of clusters past the end and of those that a resize added
    LOCATIONS = 2           # 512 locations
    EXTENDS = 3             # 512 counts beyond 14
    OWNERS = 4              # 512 owners of blocks
    BITMAPS = 5             # a bit per block of a cluster
    PACKED = 6              # words of a cold cluster, 3 bytes a slot
    UNIFORM = 7             # the same, 1 byte a slot
    HELD = 8                # blocks taken that are nobody's location yet: apart, since they come and go at once
    DEPOTS = 9
    DEPOT_SHIFT = 26        # an entry of limbo: record, depot, and whether the record must be wiped
    DIRTY = 1 << 31
    WINDOWS = 64            # tables that somebody looks at for longer than a reader does

cdef struct bits_t:         # of BITMAPS and HELD
    uint64_t map[8]         # a bit for each block of a cluster
    uint32_t held           # where these are the blocks taken: the record of those that are nobody's location yet, or 0
    uint32_t nr             # where they are blocks held: how many

cdef struct depot_t:
    uint8_t *map            # NULL until the first record is asked for
    uint8_t *base
    uint64_t map_bytes
    uint64_t *cold          # bit per granule whose pages went back to the system
    uint32_t max            # records
    uint32_t free           # a stack, linked through the records' first words
    uint32_t fresh          # records from here on were never given out
    uint32_t nr_free
    uint32_t nr_live
    uint32_t nr_cold        # granules
    uint32_t cold_hint
    uint32_t cold_high      # words of the bitmap that were touched

cdef struct limbo_t:        # a stack beside the records: a link inside one could be seen by a late reader
    uint32_t *stack
    uint32_t nr
    uint32_t high           # of the stack that were touched

cdef struct epoch_t:
    uint8_t pad0[64]
    uint32_t epoch
    uint8_t pad1[60]
    uint32_t readers0
    uint8_t pad2[60]
    uint32_t readers1
    uint8_t pad3[60]

cdef struct pool_t:
    epoch_t readers
    uint8_t lock
    depot_t depots[DEPOTS]
    limbo_t limbo[2]
    uint64_t limbo_bytes
    uint64_t **kept         # WINDOWS tables that stay in limbo, one for each who looks; NULL until somebody does
    uint32_t nr_kept


cdef inline uint32_t *epoch_side(epoch_t *e, uint32_t epoch) noexcept nogil:
    return &e.readers1 if epoch & 1 else &e.readers0


cdef inline uint32_t epoch_enter(epoch_t *e) noexcept nogil:
    """Enter as a reader: no record seen from here to `epoch_exit` becomes another cluster's."""
    cdef uint32_t now
    while True:
        now = load32(&e.epoch)
        add32(epoch_side(e, now), 1)
        if load32(&e.epoch) == now:
            return now
        add32(epoch_side(e, now), -1)


cdef inline void epoch_exit(epoch_t *e, uint32_t epoch) noexcept nogil:
    add32(epoch_side(e, epoch), -1)


cdef inline uint8_t *record_at(depot_t *d, int kind, uint32_t nr) noexcept nogil:
    return d.base + (nr // SHAPES[kind].per) * <uint64_t>SHAPES[kind].granule + (nr % SHAPES[kind].per) * SPREAD * SHAPES[kind].bytes


cdef inline uint32_t *half_at(pool_t *p, int kind, uint32_t nr) noexcept nogil:
    """A record of 512 4-byte numbers: locations, extends, owners."""
    return <uint32_t *>(p.depots[kind].base + nr * HALF_STRIDE)


cdef inline bits_t *bits_at(pool_t *p, uint32_t nr) noexcept nogil:
    return <bits_t *>(p.depots[BITMAPS].base + (nr // BITS_PER) * (4096 * SPREAD) + (nr % BITS_PER) * BITS_STRIDE)


cdef inline bits_t *held_at(pool_t *p, uint32_t nr) noexcept nogil:
    return <bits_t *>record_at(&p.depots[HELD], HELD, nr)


cdef inline int depot_open(pool_t *p, int kind, uint64_t records) noexcept nogil:
    """Reserve room for so many records. Return: 0 or -1 (no address space)."""
    cdef depot_t *d = &p.depots[kind]
    cdef uint64_t huge = HUGE_TABLES * TABLE_STRIDE, granules = records // SHAPES[kind].per + 1
    d.map_bytes = granules * SHAPES[kind].granule + 2 * huge
    d.base = NULL
    d.cold = <uint64_t *>reserve((granules + 63) // 64 * 8)
    d.map = <uint8_t *>reserve(d.map_bytes)
    d.max, d.free, d.fresh = <uint32_t>records, NO_RECORD, kind > MORE_TABLES
    if d.map == NULL or d.cold == NULL:
        depot_close(p, kind)
        return -1
    d.base = d.map + (huge - <uint64_t>d.map % huge) % huge
    want_small(d.map, d.map_bytes)
    if d.fresh:
        unpoison(d.base, SHAPES[kind].bytes)
        poison(d.base, SHAPES[kind].bytes)
    return 0


cdef inline void depot_close(pool_t *p, int kind) noexcept nogil:
    cdef depot_t *d = &p.depots[kind]
    if d.base != NULL:
        # Whoever maps it next knows nothing of our marks. Marks for all of the map would fill an eighth of its size.
        unpoison_all(d.base, record_at(d, kind, d.fresh) - d.base)
    unreserve(d.map, d.map_bytes)
    unreserve(d.cold, (d.max // SHAPES[kind].per + 64) // 64 * 8)
    d.map = d.base = NULL
    d.cold = NULL


cdef inline int pool_init(pool_t *p, uint64_t clusters) noexcept nogil:
    """Reserve room for the tables of *clusters*, those in limbo, and those that are looked at. Return: 0 or -1 (no address space)."""
    p.limbo[0].stack = <uint32_t *>reserve(LIMBO_MAX * <uint64_t>4)
    p.limbo[1].stack = <uint32_t *>reserve(LIMBO_MAX * <uint64_t>4)
    if p.limbo[0].stack == NULL or p.limbo[1].stack == NULL:
        return -1
    return depot_open(p, TABLES, clusters + (clusters if clusters < LIMBO_SPARE else LIMBO_SPARE) + WINDOWS + 2)


cdef inline void pool_drop(pool_t *p) noexcept nogil:
    cdef int kind
    for kind in range(DEPOTS):
        depot_close(p, kind)
    unreserve(p.limbo[0].stack, LIMBO_MAX * <uint64_t>4)
    unreserve(p.limbo[1].stack, LIMBO_MAX * <uint64_t>4)
    free(p.kept)


cdef inline void depot_push_locked(depot_t *d, int kind, uint32_t nr) noexcept nogil:
    cdef uint64_t *record = <uint64_t *>record_at(d, kind, nr)
    record[0] = d.free
    d.free = nr
    d.nr_free += 1
    poison(record, SHAPES[kind].bytes)


cdef inline bint is_kept_locked(pool_t *p, const uint64_t *table) noexcept nogil:
    cdef uint32_t k
    for k in range(p.nr_kept):
        if p.kept[k] == table:
            return True
    return False


cdef inline bint pool_keep(pool_t *p, uint64_t *table) noexcept nogil:
    """Let a table be nobody else's until `pool_unkeep`. Context: an epoch in which it was seen; no locks.

    Return: false when too many are kept.
    """
    cdef bint room
    cdef uint64_t **none = <uint64_t **>calloc(WINDOWS, sizeof(uint64_t *)) if load_ptr(&p.kept) == NULL else NULL
    spin_lock(&p.lock)
    if p.kept == NULL:
        store_ptr(&p.kept, none)
        none = NULL
    room = p.kept != NULL and p.nr_kept < WINDOWS
    if room:
        p.kept[p.nr_kept] = table
        p.nr_kept += 1
    spin_unlock(&p.lock)
    free(none)
    return room


cdef inline void pool_unkeep(pool_t *p, uint64_t *table) noexcept nogil:
    """One who looks at the table less. Context: no locks."""
    cdef uint32_t k = 0
    spin_lock(&p.lock)
    while p.kept[k] != table:
        k += 1
    p.nr_kept -= 1
    p.kept[k] = p.kept[p.nr_kept]
    spin_unlock(&p.lock)


cdef inline void limbo_push_locked(pool_t *p, uint32_t entry) noexcept nogil:
    cdef limbo_t *limbo = &p.limbo[load32(&p.readers.epoch) & 1]
    limbo.stack[limbo.nr] = entry
    limbo.nr += 1
    if limbo.nr > limbo.high:
        limbo.high = limbo.nr


cdef inline bint pool_advance_locked(pool_t *p) noexcept nogil:
    """Free what an earlier epoch left in limbo, if its readers are gone, and begin the next epoch."""
    cdef uint32_t now = load32(&p.readers.epoch), entry, nr
    cdef limbo_t *old = &p.limbo[(now ^ 1) & 1]
    cdef int kind
    if EPOCHS_HOLD and load32(epoch_side(&p.readers, now ^ 1)) != 0:
        return False
    while old.nr:
        old.nr -= 1
        entry = old.stack[old.nr]
        kind, nr = <int>(entry >> DEPOT_SHIFT & 31), entry & ((1 << DEPOT_SHIFT) - 1)
        if p.nr_kept and is_kept_locked(p, <uint64_t *>record_at(&p.depots[kind], kind, nr)):
            limbo_push_locked(p, entry)
            continue
        if entry & <uint32_t>DIRTY:
            memset(record_at(&p.depots[kind], kind, nr), 0, SHAPES[kind].bytes)
        p.limbo_bytes -= SPREAD * SHAPES[kind].bytes
        depot_push_locked(&p.depots[kind], kind, nr)
    store32(&p.readers.epoch, now + 1)
    return True


cdef inline void pool_put(pool_t *p, int kind, uint32_t nr, bint dirty) noexcept nogil:
    """Give back a record that no cluster names; it waits in limbo until its readers are gone.

    Context: no other lock but a cursor's. It is all zeros, unless it is *dirty*: then it is wiped once nobody reads it.
    """
    spin_lock(&p.lock)
    limbo_push_locked(p, nr | <uint32_t>kind << DEPOT_SHIFT | (<uint32_t>DIRTY if dirty else 0))
    p.depots[kind].nr_live -= 1
    p.limbo_bytes += SPREAD * SHAPES[kind].bytes
    pool_advance_locked(p)
    spin_unlock(&p.lock)


cdef inline void pool_put_table(pool_t *p, uint64_t *table, bint dirty) noexcept nogil:
    cdef int kind = TABLES
    cdef uint64_t away = <uint64_t>table - <uint64_t>p.depots[TABLES].base
    if away >= p.depots[TABLES].map_bytes:
        kind, away = MORE_TABLES, <uint64_t>table - <uint64_t>p.depots[MORE_TABLES].base
    pool_put(p, kind, <uint32_t>(away // TABLE_STRIDE), dirty)


cdef inline void depot_warm_locked(depot_t *d, int kind) noexcept nogil:
    """Take a granule whose pages the system gives anew: its records are free."""
    cdef uint32_t i = d.cold_hint, nr, k
    while d.cold[i] == 0:
        i += 1
    nr = ((i << 6) + <uint32_t>ctz64(d.cold[i])) * SHAPES[kind].per
    d.cold[i] &= d.cold[i] - 1
    d.cold_hint = i
    d.nr_cold -= 1
    for k in range(SHAPES[kind].per, 0, -1):
        if nr + k > 1 or kind <= MORE_TABLES:       # record 0 means none
            unpoison(record_at(d, kind, nr + k - 1), SHAPES[kind].bytes)
            depot_push_locked(d, kind, nr + k - 1)


cdef inline uint32_t pool_get(pool_t *p, int kind) noexcept nogil:
    """A record of zeros; NO_RECORD when there is no address space for its depot. Context: no other lock but a cursor's."""
    cdef depot_t *d = &p.depots[kind]
    cdef uint32_t nr = NO_RECORD, whole = 0, huge = HUGE_TABLES * 4096 // SHAPES[kind].bytes
    cdef uint64_t *record
    while nr == NO_RECORD:
        spin_lock(&p.lock)
        if d.map == NULL and depot_open(p, kind, SIDE_MAX):     # once in a table's life
            spin_unlock(&p.lock)
            return NO_RECORD
        if d.free == NO_RECORD and d.nr_cold:
            depot_warm_locked(d, kind)
        nr = d.free
        if nr != NO_RECORD:
            record = <uint64_t *>record_at(d, kind, nr)
            unpoison(record, SHAPES[kind].bytes)
            d.free = <uint32_t>record[0]
            record[0] = 0
            d.nr_free -= 1
        elif d.fresh < d.max:
            nr = d.fresh
            record = <uint64_t *>record_at(d, kind, nr)
            poison(record, SHAPES[kind].bytes)
            unpoison(record, SHAPES[kind].bytes)
            if kind <= OWNERS and nr % huge == 0 and d.nr_cold == 0:
                whole = nr              # those before are all in memory
            d.fresh += 1
        else:
            pool_advance_locked(p)      # all that is left waits for readers, who leave every few thousand slots
        d.nr_live += nr != NO_RECORD
        spin_unlock(&p.lock)
        if nr == NO_RECORD:
            sched_yield()
    if whole:
        make_huge(record_at(d, kind, whole - huge), HUGE_TABLES * TABLE_STRIDE)
    return nr


cdef inline uint64_t *pool_get_table(pool_t *p, bint more) noexcept nogil:
    """A table of 512 NULL words, of the first depot or for *more* clusters than that was made for; NULL: no address space."""
    cdef int kind = MORE_TABLES if more else TABLES
    cdef uint32_t nr = pool_get(p, kind)
    return NULL if nr == NO_RECORD else <uint64_t *>record_at(&p.depots[kind], kind, nr)


cdef inline uint64_t pool_side_bytes(pool_t *p) noexcept nogil:
    """What the pool's own notes take. Context: the pool's lock."""
    cdef uint64_t pages = (p.limbo[0].high + 1023) // 1024 + (p.limbo[1].high + 1023) // 1024
    cdef int kind
    for kind in range(DEPOTS):
        pages += (p.depots[kind].cold_high + 511) // 512
    return pages * 4096 + (p.kept != NULL) * WINDOWS * sizeof(uint64_t *)


cdef inline uint64_t depot_resident(depot_t *d, int kind) noexcept nogil:
    """Bytes of pages that are in memory. Context: the pool's lock."""
    cdef uint64_t last = d.fresh % SHAPES[kind].per * SPREAD * SHAPES[kind].bytes
    if d.fresh <= (kind > MORE_TABLES):
        return 0
    return (d.fresh // SHAPES[kind].per - d.nr_cold) * <uint64_t>SHAPES[kind].granule + (last + 4095) // 4096 * 4096


cdef inline void cool_locked(depot_t *d, uint32_t granule) noexcept nogil:
    """The granule's pages are the system's again. Context: the pool's lock."""
    d.cold[granule >> 6] |= <uint64_t>1 << (granule & 63)
    d.nr_cold += 1
    if granule >> 6 < d.cold_hint:
        d.cold_hint = granule >> 6
    if granule >> 6 >= d.cold_high:
        d.cold_high = (granule >> 6) + 1


cdef inline void lower_fresh_locked(depot_t *d, int kind) noexcept nogil:
    """Granules at the end that went back were never given out, so to say. Context: the pool's lock."""
    cdef uint32_t per = SHAPES[kind].per, granule = d.fresh // per, first = kind > MORE_TABLES
    cdef uint8_t *end = record_at(d, kind, d.fresh)
    while d.fresh > first and d.fresh % per == 0 and d.cold[(granule - 1) >> 6] >> ((granule - 1) & 63) & 1:
        granule -= 1
        d.cold[granule >> 6] &= ~(<uint64_t>1 << (granule & 63))
        d.nr_cold -= 1
        d.fresh = granule * per if granule else first
    unpoison_all(record_at(d, kind, d.fresh), end - record_at(d, kind, d.fresh))
    if d.nr_cold == 0:
        d.cold_hint = 0
        give_back(d.cold, d.cold_high * <uint64_t>8)
        d.cold_high = 0


cdef inline void trim_singles(pool_t *p, int kind, uint32_t nr) noexcept nogil:
    """Return the chain of free tables from *nr* on, which is the caller's, to the system."""
    cdef depot_t *d = &p.depots[kind]
    cdef uint64_t *record
    cdef uint32_t i
    while nr != NO_RECORD:
        i = nr
        record = <uint64_t *>record_at(d, kind, i)
        unpoison(record, SHAPES[kind].bytes)
        nr = <uint32_t>record[0]
        poison(record, SHAPES[kind].bytes)
        give_back(record, SHAPES[kind].granule)
        spin_lock(&p.lock)
        cool_locked(d, i)
        spin_unlock(&p.lock)


cdef inline void trim_shared(pool_t *p, int kind, uint32_t nr, uint32_t fresh) noexcept nogil:
    """Return the granules that lie wholly in the chain of free records from *nr* on; the other records are free again."""
    cdef depot_t *d = &p.depots[kind]
    cdef uint32_t per = SHAPES[kind].per, granules = fresh // per + 1, g, i, first = 1
    cdef uint8_t *count = <uint8_t *>reserve(granules)
    cdef uint64_t *record
    cdef bint last
    if count == NULL:
        granules = 0                # nothing is returned, and nothing is lost
    else:
        count[0] = 1                # record 0 is nobody's
        i = nr
        while i != NO_RECORD:
            count[i // per] += 1
            record = <uint64_t *>record_at(d, kind, i)
            unpoison(record, SHAPES[kind].bytes)
            i = <uint32_t>record[0]
            poison(record, SHAPES[kind].bytes)
    spin_lock(&p.lock)
    # The last granule is partly fresh: it goes back only if nobody took a record of it meanwhile.
    last = granules and d.fresh == fresh and fresh % per and count[fresh // per] == fresh % per
    while nr != NO_RECORD:
        i = nr
        record = <uint64_t *>record_at(d, kind, i)
        unpoison(record, SHAPES[kind].bytes)
        nr = <uint32_t>record[0]
        g = i // per
        if granules == 0 or not (count[g] == per or (last and g == fresh // per)):
            depot_push_locked(d, kind, i)
    if last:
        g = fresh // per
        give_back(record_at(d, kind, g * per), SHAPES[kind].granule)
        d.fresh = g * per if g else first
        unpoison_all(record_at(d, kind, d.fresh), record_at(d, kind, fresh) - record_at(d, kind, d.fresh))
    spin_unlock(&p.lock)
    for g in range(granules):
        if count[g] == per:
            give_back(record_at(d, kind, g * per), SHAPES[kind].granule)
            spin_lock(&p.lock)
            cool_locked(d, g)
            spin_unlock(&p.lock)
    unreserve(count, fresh // per + 1)


cdef inline void pool_trim(pool_t *p) noexcept nogil:
    """Return the pages of free records to the system. Context: no locks."""
    cdef uint32_t nr, fresh
    cdef int kind, i
    for kind in range(DEPOTS):
        spin_lock(&p.lock)
        for _ in range(3):
            pool_advance_locked(p)
        nr, fresh = p.depots[kind].free, p.depots[kind].fresh
        p.depots[kind].free = NO_RECORD
        p.depots[kind].nr_free = 0
        spin_unlock(&p.lock)
        if p.depots[kind].map == NULL:
            continue
        if SHAPES[kind].per == 1:
            trim_singles(p, kind, nr)
        elif nr != NO_RECORD:
            trim_shared(p, kind, nr, fresh)
        # Under the lock, since whoever takes a record meanwhile would lose what they wrote; trim is rare and asked for.
        spin_lock(&p.lock)
        lower_fresh_locked(&p.depots[kind], kind)
        spin_unlock(&p.lock)
    spin_lock(&p.lock)
    for i in range(2):
        if p.limbo[i].nr == 0:
            give_back(p.limbo[i].stack, p.limbo[i].high * <uint64_t>4)
            p.limbo[i].high = 0
    spin_unlock(&p.lock)
