# A cluster: 512 slots, their summaries, and the search for free aligned runs in them.
# Imports the words and the locks.
# Used by the core only; the layout is private.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from swaptable._atomic cimport ctz64, load_relaxed, store_relaxed

cdef extern from *:
    """
    #ifndef SWAPTABLE_CLUSTER
    #define SWAPTABLE_CLUSTER
    /* Whole lines of 8 words. Aligned 8-byte stores are never torn, so that readers without locks see
       one word or the other; ThreadSanitizer wants to be told. */
    static inline void fill_lines(uint64_t *p, uint64_t v, int lines) {
        for (uint64_t *end = p + 8 * lines; p != end; p += 8) {
    #ifdef __SANITIZE_THREAD__
            for (int i = 0; i < 8; i++) __atomic_store_n(p + i, v, __ATOMIC_RELAXED);
    #else
            for (int i = 0; i < 8; i++) p[i] = v;
    #endif
        }
    }
    static inline uint64_t line_or(const uint64_t *p) {
        return p[0] | p[1] | p[2] | p[3] | p[4] | p[5] | p[6] | p[7];
    }
    /* Is every word of the run a SHADOW or a FOLIO? */
    static inline int run_in_use(const uint64_t *p, int nr) {
        uint64_t ok = 1;
        for (int i = 0; i < nr; i++) ok &= p[i] | p[i] >> 1;
        return (int)(ok & 1);
    }
    #ifdef __SANITIZE_THREAD__
    #define word_at(p) __atomic_load_n(p, __ATOMIC_RELAXED)
    #else
    #define word_at(p) (*(p))
    #endif
    /* What the words of a run have in common: their and, or, least and greatest count. */
    typedef struct { uint64_t all, any, low, high; } run_t;
    static inline run_t run_of(const uint64_t *p, int nr) {
        run_t r = {~0ULL, 0, ~0ULL, 0};
        for (int i = 0; i < nr; i++) {
            uint64_t w = word_at(p + i), c = w >> 60;
            r.all &= w; r.any |= w;
            r.low = c < r.low ? c : r.low; r.high = c > r.high ? c : r.high;
        }
        return r;
    }
    /* p[i] = (p[i] & keep | set) + add, word by word. */
    static inline void run_write(uint64_t *p, int nr, uint64_t keep, uint64_t set, uint64_t add) {
        for (int i = 0; i < nr; i++) {
    #ifdef __SANITIZE_THREAD__
            __atomic_store_n(p + i, ((p[i] & keep) | set) + add, __ATOMIC_RELAXED);
    #else
            p[i] = ((p[i] & keep) | set) + add;
    #endif
        }
    }
    #endif
    """
    ctypedef struct run_t:
        uint64_t all, any, low, high
    run_t run_of(const uint64_t *p, int nr) noexcept nogil
    void run_write(uint64_t *p, int nr, uint64_t keep, uint64_t set, uint64_t add) noexcept nogil
    void fill_lines(uint64_t *p, uint64_t v, int lines) noexcept nogil
    uint64_t line_or(const uint64_t *p) noexcept nogil
    int run_in_use(const uint64_t *p, int nr) noexcept nogil

cdef enum:
    CLUSTER_SLOTS = 512
    CLUSTER_SHIFT = 9
    ORDERS = 10
    PMD_ORDER = 9
    NO_CLUSTER = 0xffffffff

# Which list a cluster is on. Zeroed memory is a cluster never used, which counts as free.
cdef enum:
    LIST_UNTOUCHED = 0
    LIST_NONE = 1           # taken off its list by a search, or about to get its table
    LIST_FREE = 2
    LIST_FULL = 3
    LIST_DISCARD = 4
    LIST_NONFULL = 5        # nonfull[order]
    LIST_FRAG = 6           # frag[order]
    LIST_RECEIVE = 7        # no table: some of its blocks are taken through locations
    LIST_RECEIVED = 8       # the same, all of them
    LIST_PAST = 9           # past the end: past[order], may have room
    LIST_PAST_FULL = 10     # past the end, without room for its order
    LIST_PAST_FREE = 11     # a number past the end whose cluster was destroyed

cdef struct cluster_t:      # 64 bytes, one cache line
    uint8_t lock
    uint8_t list            # changes under the cluster lock and the list lock
    uint8_t order           # of the first allocation since the cluster was empty
    uint8_t flags           # FLAG_*
    uint16_t count          # slots that are not free: used, lent or bad
    uint16_t nr_extend      # slots whose count is in the overflow table
    uint32_t next
    uint32_t prev
    uint64_t any_free       # bit per 8-slot line: has a free slot
    uint64_t all_free       # bit per line: wholly free
    uint32_t extend         # records of the pool; 0: none. Overflow counts, only while some count exceeds 14
    uint32_t locs           # locations, only while a slot has one; read without the lock
    uint32_t bits           # blocks taken through locations, only while there are any
    uint32_t owners         # who took them, where that is kept
    uint16_t nr_loc         # slots with a location
    uint16_t nr_zero        # slots whose page is all zeros: no data anywhere
    uint16_t nr_taken       # blocks taken through locations
    uint16_t nr_lent        # of them, those whose own slot is free: LENT
    uint32_t hole_next
    uint32_t hole_prev


cdef enum:
    FLAG_HOLES = 1          # on the list of clusters with holes that are not lent; changes under both locks
    FLAG_BEYOND = 2         # a resize took some of its slots away


cdef inline bint is_plain(const cluster_t *ci) noexcept nogil:
    """Every slot in use has its data in its own block, and every block is its own slot's."""
    return (ci.nr_loc | ci.nr_zero | ci.nr_taken | ci.flags) == 0


cdef inline void line_changed(cluster_t *ci, const uint64_t *words, unsigned int off) noexcept nogil:
    """Summaries of the line of slot *off*, after its words have changed. Context: cluster lock."""
    cdef const uint64_t *p = words + (off & ~7u)
    cdef uint64_t bit = <uint64_t>1 << (off >> 3)
    cdef bint free = (p[0] == 0) | (p[1] == 0) | (p[2] == 0) | (p[3] == 0) | (p[4] == 0) | (p[5] == 0) | (p[6] == 0) | (p[7] == 0)
    ci.any_free = (ci.any_free & ~bit) | (bit if free else 0)
    ci.all_free = (ci.all_free & ~bit) | (bit if line_or(p) == 0 else 0)


cdef inline void slot_freed(cluster_t *ci, const uint64_t *words, unsigned int off) noexcept nogil:
    """Summaries of the line of slot *off*, which has just become free. Context: cluster lock."""
    cdef uint64_t bit = <uint64_t>1 << (off >> 3)
    ci.any_free |= bit
    if line_or(words + (off & ~7u)) == 0:
        ci.all_free |= bit


cdef inline uint64_t line_bits(unsigned int off, unsigned int nr) noexcept nogil:
    """The summary bits of the nr >> 3 whole lines from slot *off*."""
    cdef unsigned int lines = nr >> 3
    return (<uint64_t>-1 if lines == 64 else ((<uint64_t>1 << lines) - 1)) << (off >> 3)


cdef inline uint64_t free_runs(uint64_t all_free, int order) noexcept nogil:
    """The lines at which an aligned run of *order* (3 to 9) starts."""
    if order > 3:
        all_free &= (all_free >> 1) & <uint64_t>0x5555555555555555
    if order > 4:
        all_free &= (all_free >> 2) & <uint64_t>0x1111111111111111
    if order > 5:
        all_free &= (all_free >> 4) & <uint64_t>0x0101010101010101
    if order > 6:
        all_free &= (all_free >> 8) & <uint64_t>0x0001000100010001
    if order > 7:
        all_free &= (all_free >> 16) & <uint64_t>0x0000000100000001
    if order > 8:
        all_free &= (all_free >> 32) & 1
    return all_free


cdef inline uint64_t lines_from(unsigned int off) noexcept nogil:
    """The summary bits of the line of slot *off* and all later ones; none past the end."""
    return <uint64_t>-1 << (off >> 3) if off < CLUSTER_SLOTS else 0


cdef inline int take_small(
    cluster_t *ci, uint64_t *words, unsigned int off, int order, uint64_t word, uint64_t *read,
) noexcept nogil:
    """Take the first aligned run of order 0 to 2 from slot *off* on; its offset, or -1. Context: cluster lock.

    *read* grows by the words and summaries that were read, here and below.
    """
    cdef unsigned int nr = 1u << order, i, j
    cdef uint64_t lines = ci.any_free & lines_from(off)
    cdef uint64_t *p
    cdef uint64_t used
    read[0] += 1
    while lines:
        i = <unsigned int>ctz64(lines) << 3
        lines &= lines - 1
        if i < off:
            i = off
        while True:
            read[0] += nr
            p = words + i
            used = p[0]
            for j in range(1, nr):
                used |= p[j]
            if used == 0:
                for j in range(nr):
                    store_relaxed(p + j, word)
                line_changed(ci, words, i)
                read[0] += 8
                return i
            i += nr
            if i & 7 == 0:
                break
    return -1


cdef inline int64_t take_singles(
    cluster_t *ci, uint64_t *words, unsigned int off, uint64_t word, const uint64_t *pfns, int64_t first, int64_t *out, int64_t n,
    uint64_t *read,
) noexcept nogil:
    """Take up to *n* slots from slot *off* on, line by line; how many. Context: cluster lock."""
    cdef uint64_t lines = ci.any_free & lines_from(off)
    cdef unsigned int i, begin, end
    cdef int64_t done = 0
    read[0] += 1
    while lines and done < n:
        i = <unsigned int>ctz64(lines) << 3
        lines &= lines - 1
        end = i + 8
        if i < off:
            i = off
        begin = i
        while i < end and done < n:
            if words[i] == 0:
                store_relaxed(words + i, word if pfns == NULL else word | (pfns[done] << 2))
                out[done] = first + i
                done += 1
            i += 1
        read[0] += 8 + i - begin
        line_changed(ci, words, end - 8)
    return done


cdef inline int take_large(
    cluster_t *ci, uint64_t *words, unsigned int off, int order, uint64_t word, uint64_t *read,
) noexcept nogil:
    """Take the first aligned run of order 3 to 9 from slot *off* on; its offset, or -1. Context: cluster lock."""
    cdef uint64_t runs = free_runs(ci.all_free, order) & lines_from(off)
    cdef uint64_t bits
    cdef unsigned int i
    read[0] += 1
    if runs == 0:
        return -1
    i = <unsigned int>ctz64(runs) << 3
    fill_lines(words + i, word, 1 << (order - 3))
    bits = line_bits(i, 1u << order)
    ci.any_free &= ~bits
    ci.all_free &= ~bits
    return i
