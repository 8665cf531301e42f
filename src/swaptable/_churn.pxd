# The steady-state kernels for C callers.
# Imports the public face of the core and the words.
# Used by benchmarks and tests.
from libc.stdint cimport int64_t, uint8_t

from swaptable._atomic cimport swap_stat_t
from swaptable._core cimport table_t

# Live runs, and what is done to them. A slot of -1 is a run that got no room.
cdef struct work_t:
    int64_t *slots
    uint8_t *orders
    const int64_t *victims
    const uint8_t *wanted   # an order for each victim's successor; NULL: the victim's own
    int64_t n
    int64_t done
    int64_t failures
    bint contiguous         # past the end, where the kernel's search fails

cdef int churn_run(table_t *t, work_t *w, int cpu, swap_stat_t *st) noexcept nogil
cdef int fill_run(table_t *t, work_t *w, int cpu, int64_t room, swap_stat_t *st) noexcept nogil
cdef int drain_run(table_t *t, work_t *w, swap_stat_t *st) noexcept nogil
