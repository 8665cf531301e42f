# The public names for Cython: `from swaptable cimport SwapTable, table_alloc` needs no include directories.
# Imports the public .pxd files only; what is absent here may change in any release.
# Used by embedders; held to its word by tests/embed.
from swaptable._atomic cimport swap_stat_t
from swaptable._capi cimport (
    table_alloc_many,
    table_cache_add_many,
    table_cache_del_many,
    table_dup_many,
    table_free_many,
    table_locs,
    table_put_many,
    table_resolve_many,
    table_users,
    table_words,
    table_zero_clear,
    table_zero_set,
)
from swaptable._core cimport (
    SwapTable,
    table_alloc,
    table_alloc_contiguous,
    table_bytes,
    table_cache_add,
    table_cache_del,
    table_writeout,
    table_dup,
    table_free,
    table_move,
    table_put,
    table_resolve,
    table_t,
    table_usable,
    table_used,
    table_word,
)
from swaptable._entry cimport (
    KIND_BAD,
    KIND_FOLIO,
    KIND_LENT,
    KIND_NULL,
    KIND_POINTER,
    KIND_SHADOW,
    swp_tb_count,
    swp_tb_counts,
    swp_tb_is_folio,
    swp_tb_is_shadow,
    swp_tb_kind,
    swp_tb_memcg,
    swp_tb_pfn,
    swp_tb_shadow,
    swp_tb_zero,
)
