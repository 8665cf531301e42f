# A client in Cython that names the core's own .pxd file instead of the package.
# Cimports the core.
# Used by test_embed.py.
from libc.stdint cimport int64_t
from libc.string cimport memset

from swaptable._atomic cimport swap_stat_t
from swaptable._core cimport SwapTable, table_alloc, table_free


def there_and_back(SwapTable table):
    """Allocate a slot and free it; the slot."""
    cdef int64_t slot = -1
    cdef swap_stat_t st
    memset(&st, 0, sizeof(st))
    with nogil:
        if table_alloc(table.t, 0, 0, 0, 0, &slot, &st) == 0:
            table_free(table.t, slot, 1, &st)
    return slot
