# The swap_map of Linux before phase 3: a byte of count a slot, and pages of further digits for counts beyond 62.
# May import words, locks and the counters.
# Used by `old` and by phases 1 and 2 of the swap table.
#
# Models mm/swapfile.c up to 7.0: counts to 0x3e, 0x3f bad, 0x40 in the swap cache (until phase 2), 0x80 continued.
# Whoever changes a byte holds the lock of its cluster; pages of digits have a lock of their own and stay until swapoff.
from libc.errno cimport ENOMEM, EOVERFLOW
from libc.stdint cimport int64_t, uint8_t, uint64_t

from swaptable.designs._count cimport counted_alloc, counted_free, counted_lock, counted_unlock
from swaptable.designs._design cimport counters_t

cdef enum:
    HAS_CACHE = 0x40
    CONTINUED = 0x80
    COUNT = 0x3f
    MAP_MAX = 0x3e
    MAP_BAD = 0x3f
    DIGIT_MAX = 127         # of a byte in a page of further counts
    DIGITS = 4              # 63 * 128^4 users are more than 32 bits
    DIGIT_PAGE = 4096


cdef struct map_t:
    uint8_t *map
    uint64_t nslots
    counters_t *counters
    uint8_t **more          # DIGITS pages of further counts for each 4096 slots; made on first need
    uint64_t more_pages
    uint8_t more_lock


cdef inline bint map_in_use(uint8_t m) noexcept nogil:
    return m != 0 and m != MAP_BAD


cdef inline bint map_has_users(uint8_t m) noexcept nogil:
    return (m & (COUNT | CONTINUED)) != 0 and m != MAP_BAD


cdef inline int64_t map_find(map_t *s, uint64_t start, uint64_t end, int order) noexcept nogil:
    """First aligned run of 2^order bytes that are 0 in [start, end), or -1."""
    cdef uint8_t *map = s.map
    cdef uint64_t i = start, nr = <uint64_t>1 << order, begin = start
    while start + nr <= end:
        i = start
        while i < start + nr and map[i] == 0:
            i += 1
        if i == start + nr:
            s.counters.scanned += i - begin
            return start
        start += nr
    s.counters.scanned += start - begin
    return -1


# ---- counts that continue

cdef inline uint8_t *map_digit(map_t *s, uint64_t slot, int level) noexcept nogil:
    """The byte of that level of the slot's further count, or NULL where there is no page."""
    cdef uint8_t *page
    if s.more == NULL or level >= DIGITS:
        return NULL
    page = s.more[(slot >> 12) * DIGITS + level]
    return page + (slot & 4095) if page != NULL else NULL


cdef inline int map_missing_level(map_t *s, uint64_t slot) noexcept nogil:
    """The level whose page one more user needs, -1 when all is there, DIGITS when the count is at its end."""
    cdef int level = 0
    cdef uint8_t *p
    if s.map[slot] & COUNT != MAP_MAX:
        return -1
    p = map_digit(s, slot, 0)
    while p != NULL and p[0] == DIGIT_MAX:
        level += 1
        p = map_digit(s, slot, level)
    return -1 if p != NULL else level


cdef inline uint64_t map_links(map_t *s) noexcept nogil:
    return ((s.nslots + 4095) >> 12) * DIGITS * sizeof(uint8_t *) if s.more != NULL else 0


cdef inline int map_more(map_t *s, uint64_t slot, int level) noexcept nogil:
    """A page of further counts for the 4096 slots around *slot*. Context: no lock held."""
    cdef uint64_t i = (slot >> 12) * DIGITS + level, links = ((s.nslots + 4095) >> 12) * DIGITS * sizeof(uint8_t *)
    cdef uint8_t **more = NULL
    cdef uint8_t *page
    if level == DIGITS:
        return -EOVERFLOW
    page = <uint8_t *>counted_alloc(s.counters, DIGIT_PAGE, DIGIT_PAGE)
    if s.more == NULL:
        more = <uint8_t **>counted_alloc(s.counters, links, links)
    counted_lock(s.counters, &s.more_lock)
    if s.more == NULL and more != NULL:
        s.more = more
        more = NULL
    if s.more != NULL and page != NULL and s.more[i] == NULL:
        s.more[i] = page
        s.more_pages += 1
        page = NULL
    i = s.more != NULL and s.more[i] != NULL
    counted_unlock(s.counters, &s.more_lock)
    counted_free(s.counters, page, DIGIT_PAGE)
    counted_free(s.counters, more, links)
    return 0 if i else -ENOMEM


cdef inline void map_up(map_t *s, uint64_t slot) noexcept nogil:
    cdef uint8_t m = s.map[slot]
    cdef int level = 0
    if m & COUNT < MAP_MAX:
        s.map[slot] = m + 1
        return
    counted_lock(s.counters, &s.more_lock)
    while map_digit(s, slot, level)[0] == DIGIT_MAX:
        map_digit(s, slot, level)[0] = 0
        level += 1
    map_digit(s, slot, level)[0] += 1
    s.counters.words += level + 1
    counted_unlock(s.counters, &s.more_lock)
    s.map[slot] = (m & HAS_CACHE) | CONTINUED


cdef inline void map_down(map_t *s, uint64_t slot) noexcept nogil:
    cdef uint8_t m = s.map[slot]
    cdef uint8_t rest = 0
    cdef int level = 0
    if m & COUNT:
        s.map[slot] = m - 1
        return
    counted_lock(s.counters, &s.more_lock)
    while map_digit(s, slot, level)[0] == 0:
        map_digit(s, slot, level)[0] = DIGIT_MAX
        level += 1
    map_digit(s, slot, level)[0] -= 1
    s.counters.words += level + 1
    for level in range(DIGITS):
        rest |= map_digit(s, slot, level)[0] if map_digit(s, slot, level) != NULL else 0
    counted_unlock(s.counters, &s.more_lock)
    s.map[slot] = (m & HAS_CACHE) | MAP_MAX | (CONTINUED if rest else 0)


cdef inline uint64_t map_count(map_t *s, uint64_t slot) noexcept nogil:
    cdef uint64_t total = s.map[slot] & COUNT, weight = 63
    cdef int level
    if s.map[slot] & CONTINUED:
        for level in range(DIGITS):
            if map_digit(s, slot, level) != NULL:
                total += weight * map_digit(s, slot, level)[0]
            weight *= 128
    return total


cdef inline bint map_digits_left(map_t *s, uint64_t slot) noexcept nogil:
    """True when a page of further counts has something for the slot."""
    cdef int level
    for level in range(DIGITS):
        if map_digit(s, slot, level) != NULL and map_digit(s, slot, level)[0]:
            return True
    return False


# ---- life

cdef inline int map_init(map_t *s, uint64_t nslots, counters_t *counters) noexcept nogil:
    s.nslots = nslots
    s.counters = counters
    s.map = <uint8_t *>counted_alloc(counters, nslots, nslots)
    if s.map == NULL:
        return -1
    s.map[0] = MAP_BAD
    return 0


cdef inline void map_release(map_t *s) noexcept nogil:
    cdef uint64_t i
    if s.more != NULL:
        for i in range(((s.nslots + 4095) >> 12) * DIGITS):
            counted_free(s.counters, s.more[i], DIGIT_PAGE)
        counted_free(s.counters, s.more, map_links(s))
    s.more = NULL
    s.more_pages = 0
    counted_free(s.counters, s.map, s.nslots)
    s.map = NULL


cdef inline uint64_t map_more_bytes(map_t *s) noexcept nogil:
    return DIGIT_PAGE * s.more_pages
