# Where tables come from and where they go: a pool, and a limbo that waits for readers without locks.
# Imports the locks.
# Used by the core only; the layout is private.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from swaptable._atomic cimport add32, ctz64, load32, spin_lock, spin_unlock, store32

cdef extern from *:
    """
    #ifndef SWAPTABLE_POOL
    #define SWAPTABLE_POOL
    #include <sched.h>
    #include <sys/mman.h>
    #define TABLE_BYTES 4096ULL
    #define HUGE_TABLES 512        /* tables in a 2 MiB page */
    #ifdef SWAPTABLE_BREAK_EPOCH   /* to show that tests/test_epoch.py would notice: never in a build that is used */
    #define EPOCHS_HOLD 0
    #else
    #define EPOCHS_HOLD 1
    #endif
    #if defined(__SANITIZE_ADDRESS__)
    #include <sanitizer/asan_interface.h>
    #define TABLE_STRIDE 8192ULL      /* a red page behind each table, and tables not in use are red too */
    #define poison(p) ASAN_POISON_MEMORY_REGION(p, TABLE_STRIDE)
    #define unpoison(p) ASAN_UNPOISON_MEMORY_REGION(p, TABLE_BYTES)
    #define unpoison_all(p, bytes) ASAN_UNPOISON_MEMORY_REGION(p, bytes)
    #else
    #define TABLE_STRIDE TABLE_BYTES
    #define poison(p) ((void)(p))
    #define unpoison(p) ((void)(p))
    #define unpoison_all(p, bytes) ((void)(p))
    #endif
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
    #endif
    """
    const uint64_t TABLE_STRIDE
    const uint32_t HUGE_TABLES
    const int EPOCHS_HOLD
    void poison(void *p) noexcept nogil
    void unpoison(void *p) noexcept nogil
    void unpoison_all(void *p, uint64_t bytes) noexcept nogil
    void *reserve(uint64_t bytes) noexcept nogil
    void unreserve(void *p, uint64_t bytes) noexcept nogil
    void give_back(void *p, uint64_t bytes) noexcept nogil
    void want_small(void *p, uint64_t bytes) noexcept nogil
    void make_huge(void *p, uint64_t bytes) noexcept nogil
    int sched_yield() noexcept nogil

cdef enum:
    NO_TABLE = 0xffffffff
    LIMBO_SPARE = 8192      # tables that may wait in limbo above the number of clusters

cdef struct limbo_t:        # a stack beside the tables: a link inside one could be seen by a late reader
    uint32_t *stack
    uint32_t nr
    uint32_t high           # pages of the stack that were touched

cdef struct epoch_t:
    uint8_t pad0[64]
    uint32_t epoch
    uint8_t pad1[60]
    uint32_t readers0
    uint8_t pad2[60]
    uint32_t readers1
    uint8_t pad3[60]

# Tables are numbered in one stretch of reserved address space and touched page by page, so that none
# is in memory that was not used; 2 MiB of them become one huge page once all are in use.
cdef struct pool_t:
    epoch_t readers
    uint8_t lock
    uint8_t *map            # as mapped
    uint64_t map_bytes
    uint8_t *base           # aligned to 2 MiB
    uint32_t max
    uint32_t fresh          # tables from here on were never used
    uint32_t free           # stack linked through the first word
    uint32_t nr_free
    uint32_t nr_live
    uint64_t *cold          # bit per table: free, its page given back
    uint32_t nr_cold
    uint32_t cold_hint
    uint32_t cold_high      # words of the bitmap that were touched
    limbo_t limbo[2]


cdef inline uint32_t *epoch_side(epoch_t *e, uint32_t epoch) noexcept nogil:
    return &e.readers1 if epoch & 1 else &e.readers0


cdef inline uint32_t epoch_enter(epoch_t *e) noexcept nogil:
    """Enter as a reader: no table seen from here to `epoch_exit` becomes another cluster's."""
    cdef uint32_t now
    while True:
        now = load32(&e.epoch)
        add32(epoch_side(e, now), 1)
        if load32(&e.epoch) == now:
            return now
        add32(epoch_side(e, now), -1)


cdef inline void epoch_exit(epoch_t *e, uint32_t epoch) noexcept nogil:
    add32(epoch_side(e, epoch), -1)


cdef inline uint64_t *pool_at(pool_t *p, uint32_t nr) noexcept nogil:
    return <uint64_t *>(p.base + nr * TABLE_STRIDE)


cdef inline int pool_init(pool_t *p, uint64_t clusters) noexcept nogil:
    """Reserve room for the tables of *clusters* and those in limbo. Return: 0 or -1 (no address space)."""
    cdef uint64_t huge = HUGE_TABLES * TABLE_STRIDE
    p.max = <uint32_t>(clusters + (clusters if clusters < LIMBO_SPARE else LIMBO_SPARE) + 2)
    p.map_bytes = (p.max + 2 * HUGE_TABLES) * TABLE_STRIDE
    p.map = <uint8_t *>reserve(p.map_bytes)
    p.cold = <uint64_t *>reserve((p.max + 63) // 64 * 8)
    p.limbo[0].stack = <uint32_t *>reserve(p.max * <uint64_t>4)
    p.limbo[1].stack = <uint32_t *>reserve(p.max * <uint64_t>4)
    p.free = NO_TABLE
    if p.map == NULL or p.cold == NULL or p.limbo[0].stack == NULL or p.limbo[1].stack == NULL:
        return -1
    p.base = p.map + (huge - <uint64_t>p.map % huge) % huge
    want_small(p.map, p.map_bytes)
    return 0


cdef inline void pool_drop(pool_t *p) noexcept nogil:
    if p.map != NULL:
        unpoison_all(p.map, p.map_bytes)    # whoever maps it next knows nothing of our marks
    unreserve(p.map, p.map_bytes)
    unreserve(p.cold, (p.max + 63) // 64 * 8)
    unreserve(p.limbo[0].stack, p.max * <uint64_t>4)
    unreserve(p.limbo[1].stack, p.max * <uint64_t>4)


cdef inline void pool_push_locked(pool_t *p, uint32_t nr) noexcept nogil:
    cdef uint64_t *table = pool_at(p, nr)
    table[0] = p.free
    p.free = nr
    p.nr_free += 1
    poison(table)


cdef inline bint pool_advance_locked(pool_t *p) noexcept nogil:
    """Free what an earlier epoch left in limbo, if its readers are gone, and begin the next epoch."""
    cdef uint32_t now = load32(&p.readers.epoch)
    cdef limbo_t *old = &p.limbo[(now ^ 1) & 1]
    if EPOCHS_HOLD and load32(epoch_side(&p.readers, now ^ 1)) != 0:
        return False
    while old.nr:
        old.nr -= 1
        pool_push_locked(p, old.stack[old.nr])
    store32(&p.readers.epoch, now + 1)
    return True


cdef inline void pool_put(pool_t *p, uint64_t *table) noexcept nogil:
    """Give back a table that no cluster points to; it waits in limbo until its readers are gone.

    Context: no other lock but a cursor's. The words are all 0.
    """
    cdef limbo_t *limbo
    spin_lock(&p.lock)
    limbo = &p.limbo[load32(&p.readers.epoch) & 1]
    limbo.stack[limbo.nr] = <uint32_t>((<uint8_t *>table - p.base) // TABLE_STRIDE)
    limbo.nr += 1
    if limbo.nr > limbo.high:
        limbo.high = limbo.nr
    p.nr_live -= 1
    pool_advance_locked(p)
    spin_unlock(&p.lock)


cdef inline uint32_t pool_warm_locked(pool_t *p) noexcept nogil:
    """A cold table, whose page the system gives anew; NO_TABLE when there is none."""
    cdef uint32_t i = p.cold_hint, nr
    if p.nr_cold == 0:
        return NO_TABLE
    while p.cold[i] == 0:
        i += 1
    nr = (i << 6) + <uint32_t>ctz64(p.cold[i])
    p.cold[i] &= p.cold[i] - 1
    p.cold_hint = i
    p.nr_cold -= 1
    return nr


cdef inline uint64_t *pool_get(pool_t *p) noexcept nogil:
    """A table of 512 NULL words. Context: no other lock but a cursor's. Never fails: room is reserved."""
    cdef uint64_t *table = NULL
    cdef uint32_t nr, whole = 0
    while table == NULL:
        spin_lock(&p.lock)
        nr = p.free
        if nr != NO_TABLE:
            table = pool_at(p, nr)
            unpoison(table)
            p.free = <uint32_t>table[0]
            table[0] = 0
            p.nr_free -= 1
        elif p.nr_cold:
            table = pool_at(p, pool_warm_locked(p))
            unpoison(table)
        elif p.fresh < p.max:
            table = pool_at(p, p.fresh)
            poison(table)
            unpoison(table)
            if p.fresh % HUGE_TABLES == 0 and p.nr_cold == 0:
                whole = p.fresh             # those before are all in memory
            p.fresh += 1
        else:
            pool_advance_locked(p)      # all that is left waits for readers, who leave every few thousand slots
        p.nr_live += table != NULL
        spin_unlock(&p.lock)
        if table == NULL:
            sched_yield()
    if whole:
        make_huge(pool_at(p, whole - HUGE_TABLES), HUGE_TABLES * TABLE_STRIDE)
    return table


cdef inline uint64_t pool_side_bytes(pool_t *p) noexcept nogil:
    """What the pool's own notes take. Context: the pool's lock."""
    cdef uint64_t pages = (p.limbo[0].high + 1023) // 1024 + (p.limbo[1].high + 1023) // 1024
    return (pages + (p.cold_high + 511) // 512) * 4096


cdef inline void pool_trim(pool_t *p) noexcept nogil:
    """Return the pages of free tables to the system. Context: no locks."""
    cdef uint32_t nr, i
    spin_lock(&p.lock)
    for _ in range(3):
        pool_advance_locked(p)
    nr = p.free
    p.free = NO_TABLE
    p.nr_free = 0
    spin_unlock(&p.lock)
    while nr != NO_TABLE:
        i = nr
        unpoison(pool_at(p, i))
        nr = <uint32_t>pool_at(p, i)[0]
        poison(pool_at(p, i))
        give_back(pool_at(p, i), TABLE_STRIDE)
        spin_lock(&p.lock)
        p.cold[i >> 6] |= <uint64_t>1 << (i & 63)
        p.nr_cold += 1
        if i >> 6 < p.cold_hint:
            p.cold_hint = i >> 6
        if i >> 6 >= p.cold_high:
            p.cold_high = (i >> 6) + 1
        spin_unlock(&p.lock)
    spin_lock(&p.lock)
    while p.fresh and p.cold[(p.fresh - 1) >> 6] >> ((p.fresh - 1) & 63) & 1:
        p.fresh -= 1
        p.cold[p.fresh >> 6] &= ~(<uint64_t>1 << (p.fresh & 63))
        p.nr_cold -= 1
    if p.nr_cold == 0:
        p.cold_hint = 0
        give_back(p.cold, p.cold_high * <uint64_t>8)
        p.cold_high = 0
    for i in range(2):
        if p.limbo[i].nr == 0:
            give_back(p.limbo[i].stack, p.limbo[i].high * <uint64_t>4)
            p.limbo[i].high = 0
    # Under the lock, since whoever takes a table meanwhile would lose what they wrote; trim is rare and asked for.
    spin_unlock(&p.lock)
