# The C face of the core: kernels on an opaque table, for embedders that hold no GIL.
# Imports nothing.
# Used by the designs and by everybody who cimports swaptable.
#
# Every kernel takes the locks that it needs and returns 0 or -errno (ENOENT not in use, EEXIST
# already cached, ENOSPC no room at this order, EINVAL the caller's mistake, EOVERFLOW too many
# users). A failed kernel changes nothing. *st* counts for the caller and is the caller's alone.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from swaptable._atomic cimport swap_stat_t

cdef struct table_t         # opaque

cdef class SwapTable:
    cdef table_t *t
    cdef swap_stat_t stat   # changes with the GIL held
    cdef object reclaim
    cdef readonly object space  # the BlockSpace that the table was put into, or None
    cdef object bad             # bad slots, ascending
    cdef bint moving            # a resize or a defragmentation is under way
    cdef object listener        # a TableEvents, or None

cdef int table_alloc(table_t *t, int order, int cpu, uint64_t pfn, unsigned int memcg, int64_t *slot, swap_stat_t *st) noexcept nogil
# the same; where the kernel's search fails, past the end, at blocks wherever they are free
cdef int table_alloc_contiguous(table_t *t, int order, int cpu, uint64_t pfn, unsigned int memcg, int64_t *slot, swap_stat_t *st) noexcept nogil
cdef int table_free(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil
cdef int table_dup(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil
cdef int table_put(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil
cdef int table_cache_add(table_t *t, int64_t slot, int nr, uint64_t pfn, uint64_t *old, swap_stat_t *st) noexcept nogil
cdef int table_cache_del(table_t *t, int64_t slot, int nr, uint64_t shadow, swap_stat_t *st) noexcept nogil
cdef uint64_t table_word(table_t *t, int64_t slot) noexcept nogil
# the folio's data is written: its slots, which must be in the swap cache, are no pages of zeros
cdef int table_writeout(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil
cdef int64_t table_used(table_t *t) noexcept nogil
cdef int64_t table_usable(table_t *t) noexcept nogil
cdef uint64_t table_bytes(table_t *t) noexcept nogil
# where the data of a slot is: a member of the space and a block, or -1 twice; a hint unless the slot is cached
cdef int table_resolve(table_t *t, int64_t slot, int32_t *device, int64_t *block) noexcept nogil
# compare and set the location of a cached slot; ESTALE when it is not *old*
cdef int table_move(table_t *t, int64_t slot, uint32_t old, uint32_t new, swap_stat_t *st) noexcept nogil
# the location of a slot, 0 for none: its own block, or no data; a hint unless the slot is cached
cdef uint32_t table_loc(table_t *t, int64_t slot) noexcept nogil
# up to n free blocks of the device into *locs*, ascending; how many. They are the caller's until moved to or given back
cdef int64_t table_block_alloc(table_t *t, int64_t n, uint32_t *locs, swap_stat_t *st) noexcept nogil
# gives back blocks of the table's space that are the caller's; -ENOENT: one was not, those before it (*done*) went
cdef int table_block_free(table_t *t, const uint32_t *locs, int64_t n, int64_t *done, swap_stat_t *st) noexcept nogil
# blocks of the device in use; of a ghost, slots
cdef int64_t table_blocks_used(table_t *t) noexcept nogil
# which slot of which member a block serves by its location; -ENOENT where owners are not kept or it serves its own slot
cdef int table_owner(table_t *t, int64_t block, int32_t *member, int64_t *slot, swap_stat_t *st) noexcept nogil
# the first slot of the next cluster with words, from that of *slot* on; those past the end come last, then -1
cdef int64_t table_next(table_t *t, int64_t slot) noexcept nogil
# packs those of *n* clusters from that of *slot* on whose slots were all swapped out *min_age* before *now*, in the unit
# of shadows, or earlier; how many
cdef uint64_t table_compact(table_t *t, int64_t slot, int64_t n, uint64_t now, uint64_t min_age, swap_stat_t *st) noexcept nogil
# returns the memory of what no cluster uses to the system
cdef void table_trim(table_t *t) noexcept nogil
