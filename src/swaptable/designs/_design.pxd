# What a swap design is for the replay: a table of nogil functions on opaque state, and counters.
# Imports nothing below but words.
# Used by every design and by the replay's inner loop.
from libc.stdint cimport int64_t, uint16_t, uint64_t


ctypedef struct counters_t:
    uint64_t ops           # operations asked of the design
    uint64_t lookups       # searches from an entry to its metadata (array index, tree descent, ...)
    uint64_t depth         # dependent loads that those look-ups took (1 for an array index)
    uint64_t locks         # lock acquisitions, each lock of the structure counted
    uint64_t list_locks    # those of them that protect device-wide lists
    uint64_t words         # table words (or descriptors, map bytes) written
    uint64_t visited       # clusters visited by allocation

# Every function takes the design's state first and returns 0 or -errno. An *entry* is what a page
# table would hold; a folio has nr consecutive ones. Nothing here needs the GIL.
ctypedef struct design_ops_t:
    # nr = 1 << order new entries in the swap cache (count 0) for the folio whose first page is pfn; -ENOSPC
    int (*alloc)(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil
    # one more / one less user of each of nr entries; put frees an entry without users that is not cached
    int (*dup)(void *d, uint64_t entry, int nr) noexcept nogil
    int (*put)(void *d, uint64_t entry, int nr) noexcept nogil
    # the data is written to the device: place it there; -ENOSPC when there is no room
    int (*writeout)(void *d, uint64_t entry, int nr) noexcept nogil
    # what the page fault asks first: pfn in the swap cache, or -1
    int64_t (*cache_get)(void *d, uint64_t entry) noexcept nogil
    # into the swap cache (-EEXIST: someone won); out of it with a shadow (42 bits); entries without users are freed
    int (*cache_add)(void *d, uint64_t entry, int nr, uint64_t pfn) noexcept nogil
    int (*cache_del)(void *d, uint64_t entry, int nr, uint64_t shadow) noexcept nogil
    # blocks of the device in use, and blocks there are: vm_swap_full() is used * 2 > size
    uint64_t (*used)(void *d) noexcept nogil
    uint64_t (*size)(void *d) noexcept nogil
    # bytes of metadata held now, every term counted where it was allocated
    uint64_t (*bytes)(void *d) noexcept nogil


cdef class Design:
    cdef void *state
    cdef const design_ops_t *ops
    cdef counters_t *counters
