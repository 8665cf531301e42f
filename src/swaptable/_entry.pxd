# The 8-byte table word, front-end state only: pure leaves, word in, word out.
# Imports nothing.
# Used by the core, by the designs that keep words of this layout, and by embedders.
#
#     NULL     0                                                free
#     SHADOW   | count:4 | zero:1 | memcg:16 | shadow:42 |    1  swapped out, not cached
#     FOLIO    | count:4 | zero:1 | memcg:16 | pfn:41    |   10  in the swap cache
#     POINTER  | cache-only:1 | entry (type 5, slot 55)  |  100  reverse map
#     LENT     all other bits 0                          | 1000  free slot whose block serves another
#     BAD      all other bits 1                          | 1000  header, holes, past the end
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #ifndef SWAPTABLE_ENTRY
    #define SWAPTABLE_ENTRY
    #define SWP_TB_LENT 8ULL
    #define SWP_TB_BAD (~7ULL)
    #define USERS_MAX 0xffffffffULL
    #define COUNT_SHIFT 60
    #define COUNT_MASK (15ULL << COUNT_SHIFT)
    #define COUNT_ONE (1ULL << COUNT_SHIFT)
    #define ZERO_BIT (1ULL << 59)
    #define MEMCG_SHIFT 43
    #define MEMCG_MASK (0xffffULL << MEMCG_SHIFT)
    #define SHADOW_MAX ((1ULL << 42) - 1)
    #define PFN_MAX ((1ULL << 41) - 1)
    #define CACHE_ONLY_BIT (1ULL << 63)
    #define POINTER_TYPE_SHIFT 58
    #define POINTER_SLOT_MAX ((1ULL << 55) - 1)
    #endif
    """
    const uint64_t SWP_TB_LENT, SWP_TB_BAD
    const int COUNT_SHIFT, MEMCG_SHIFT, POINTER_TYPE_SHIFT
    const uint64_t COUNT_MASK, COUNT_ONE, ZERO_BIT, MEMCG_MASK, SHADOW_MAX, PFN_MAX, USERS_MAX
    const uint64_t CACHE_ONLY_BIT, POINTER_SLOT_MAX

cdef enum:
    COUNT_MAX = 15      # in the word: the count is in the cluster's overflow table
    MEMCG_MAX = 0xffff

cdef enum:
    KIND_NULL = 0
    KIND_SHADOW = 1
    KIND_FOLIO = 2
    KIND_POINTER = 3
    KIND_LENT = 4
    KIND_BAD = 5
    KIND_INVALID = 6    # no word of the layout: damage


cdef inline int swp_tb_kind(uint64_t swp_tb) noexcept nogil:
    if swp_tb & 1:
        return KIND_SHADOW
    if swp_tb & 2:
        return KIND_FOLIO
    if swp_tb & 4:
        return KIND_POINTER
    if swp_tb == 0:
        return KIND_NULL
    if swp_tb == SWP_TB_LENT:
        return KIND_LENT
    return KIND_BAD if swp_tb == SWP_TB_BAD else KIND_INVALID


cdef inline bint swp_tb_counts(uint64_t swp_tb) noexcept nogil:
    """True for the kinds that have users: SHADOW and FOLIO."""
    return (swp_tb & 3) != 0


cdef inline bint swp_tb_is_folio(uint64_t swp_tb) noexcept nogil:
    return (swp_tb & 3) == 2


cdef inline bint swp_tb_is_shadow(uint64_t swp_tb) noexcept nogil:
    return (swp_tb & 1) != 0


cdef inline uint64_t swp_tb_make_shadow(unsigned int count, bint zero, unsigned int memcg, uint64_t shadow) noexcept nogil:
    return (<uint64_t>count << COUNT_SHIFT) | (ZERO_BIT if zero else 0) | (<uint64_t>memcg << MEMCG_SHIFT) | (shadow << 1) | 1


cdef inline uint64_t swp_tb_make_folio(unsigned int count, bint zero, unsigned int memcg, uint64_t pfn) noexcept nogil:
    return (<uint64_t>count << COUNT_SHIFT) | (ZERO_BIT if zero else 0) | (<uint64_t>memcg << MEMCG_SHIFT) | (pfn << 2) | 2


cdef inline uint64_t swp_tb_make_pointer(bint cache_only, unsigned int type, uint64_t slot) noexcept nogil:
    return (CACHE_ONLY_BIT if cache_only else 0) | (<uint64_t>type << POINTER_TYPE_SHIFT) | (slot << 3) | 4


cdef inline unsigned int swp_tb_count(uint64_t swp_tb) noexcept nogil:
    return <unsigned int>(swp_tb >> COUNT_SHIFT)


cdef inline uint64_t swp_tb_with_count(uint64_t swp_tb, unsigned int count) noexcept nogil:
    return (swp_tb & ~COUNT_MASK) | (<uint64_t>count << COUNT_SHIFT)


cdef inline bint swp_tb_zero(uint64_t swp_tb) noexcept nogil:
    return (swp_tb & ZERO_BIT) != 0


cdef inline unsigned int swp_tb_memcg(uint64_t swp_tb) noexcept nogil:
    return <unsigned int>((swp_tb & MEMCG_MASK) >> MEMCG_SHIFT)


cdef inline uint64_t swp_tb_shadow(uint64_t swp_tb) noexcept nogil:
    return (swp_tb >> 1) & SHADOW_MAX


cdef inline uint64_t swp_tb_pfn(uint64_t swp_tb) noexcept nogil:
    return (swp_tb >> 2) & PFN_MAX


cdef inline bint swp_tb_cache_only(uint64_t swp_tb) noexcept nogil:
    return (swp_tb & CACHE_ONLY_BIT) != 0


cdef inline unsigned int swp_tb_pointer_type(uint64_t swp_tb) noexcept nogil:
    return <unsigned int>((swp_tb >> POINTER_TYPE_SHIFT) & 31)


cdef inline uint64_t swp_tb_pointer_slot(uint64_t swp_tb) noexcept nogil:
    return (swp_tb >> 3) & POINTER_SLOT_MAX


cdef inline uint64_t swp_tb_cached(uint64_t swp_tb, uint64_t pfn) noexcept nogil:
    """The word once folio *pfn* is in the swap cache: users, zero flag and memcg stay."""
    return (swp_tb & (COUNT_MASK | ZERO_BIT | MEMCG_MASK)) | (pfn << 2) | 2


cdef inline uint64_t swp_tb_uncached(uint64_t swp_tb, uint64_t shadow) noexcept nogil:
    """The word once the folio has left the swap cache: users, zero flag and memcg stay."""
    return (swp_tb & (COUNT_MASK | ZERO_BIT | MEMCG_MASK)) | (shadow << 1) | 1
