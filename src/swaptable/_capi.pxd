# Batches and what is beyond single kernels, for Cython: the same code as behind include/swaptable.h.
# Cimports the public face of the core.
# Used by everybody who cimports swaptable.
#
# Contracts as of _core.pxd: the locks that a kernel needs are its own business, 0 or -errno comes back, *st* is the
# caller's alone. Arguments are checked. A batch stops at its first bad element; *done* (or NULL) is how many were done,
# and they stay done. Runs have *nr* slots, or ``1 << order``.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from swaptable._atomic cimport swap_stat_t
from swaptable._core cimport table_t

# *pfns*: one a run, or NULL. -ENOSPC: the table is full at that order, *done* runs are in *slots*
cdef int table_alloc_many(
    table_t *t, int64_t n, int order, int cpu, const uint64_t *pfns, unsigned int memcg, bint contiguous, int64_t *slots, int64_t *done, swap_stat_t *st,
) noexcept nogil
cdef int table_free_many(table_t *t, const int64_t *slots, int64_t n, int nr, int64_t *done, swap_stat_t *st) noexcept nogil
cdef int table_dup_many(table_t *t, const int64_t *slots, int64_t n, int nr, int64_t *done, swap_stat_t *st) noexcept nogil
cdef int table_put_many(table_t *t, const int64_t *slots, int64_t n, int nr, int64_t *done, swap_stat_t *st) noexcept nogil
# *pfns*: one a run; *old*, nr words a run, may be NULL
cdef int table_cache_add_many(
    table_t *t, const int64_t *slots, int64_t n, int nr, const uint64_t *pfns, uint64_t *old, int64_t *done, swap_stat_t *st,
) noexcept nogil
# *shadows*: one a run, or NULL
cdef int table_cache_del_many(
    table_t *t, const int64_t *slots, int64_t n, int nr, const uint64_t *shadows, int64_t *done, swap_stat_t *st,
) noexcept nogil
# the page is all zeros, there is no data anywhere; or no longer
cdef int table_zero_set(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil
cdef int table_zero_clear(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil
# without locks
cdef int table_words(table_t *t, const int64_t *slots, int64_t n, uint64_t *out, int64_t *done) noexcept nogil
cdef int table_locs(table_t *t, const int64_t *slots, int64_t n, uint32_t *out, int64_t *done) noexcept nogil
cdef int table_resolve_many(table_t *t, const int64_t *slots, int64_t n, int32_t *devices, int64_t *blocks, int64_t *done) noexcept nogil
# exact, beyond the 14 that a word can say; takes the cluster's lock there
cdef int table_users(table_t *t, int64_t slot, uint64_t *users, swap_stat_t *st) noexcept nogil
