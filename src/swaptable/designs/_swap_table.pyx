# The design `swap-table`: this library's own table behind the designs' protocol.
# May import the core's public kernels, words, errors.
# Used by the registry of designs; the replay calls the table of functions.
#
# Models the swap table as merged up to 2026 (Kairui Song and Chris Li, swap table phases I to IV): one 8-byte
# word a slot in 4 KiB tables that exist while their cluster is used, the memcg id in the word.
"""The swap table, plain 8-byte slots."""

from libc.errno cimport ENOENT
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

from swaptable._atomic cimport swap_stat_t
from swaptable._core cimport (
    SwapTable, table_alloc, table_bytes, table_cache_add, table_cache_del, table_dup, table_put, table_t,
    table_usable, table_used, table_word, table_writeout,
)
from swaptable._entry cimport (
    swp_tb_count, swp_tb_counts, swp_tb_is_folio, swp_tb_memcg, swp_tb_pfn, swp_tb_shadow, swp_tb_zero,
)
from swaptable.designs._count cimport count_core
from swaptable.designs._design cimport (
    PEEK_BAD, PEEK_FOLIO, PEEK_FREE, PEEK_SHADOW, Design, counters_t, design_ops_t, peek_t, place_t,
)

import swaptable._core as core


cdef enum:
    LOOKUP_DEPTH = 2        # the table pointer, then the word


cdef struct state_t:
    counters_t counters
    swap_stat_t stat
    table_t *t


cdef inline int counted(state_t *s, int lookups, int err) noexcept nogil:
    """Add what the core counted for one operation: a hold is what it wrote and what its search read."""
    cdef counters_t *c = &s.counters
    c.ops += 1
    c.lookups += lookups
    c.depth += lookups * LOOKUP_DEPTH
    if count_core(c, &s.stat):
        count_bytes(s)      # tables come and go with clusters that change lists
    return err


cdef uint64_t count_bytes(state_t *s) noexcept nogil:
    """The bytes held now; what changed since the last time, on balance, is counted."""
    cdef counters_t *c = &s.counters
    cdef uint64_t held = table_bytes(s.t)
    c.allocated += held - c.now if held > c.now else 0
    c.freed += c.now - held if held < c.now else 0
    c.now = held
    return held


cdef int st_alloc(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef state_t *s = <state_t *>d
    return counted(s, 0, table_alloc(s.t, order, 0, pfn, memcg, <int64_t *>entry, &s.stat))


cdef int st_dup(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef state_t *s = <state_t *>d
    return counted(s, 1, table_dup(s.t, entry, nr, &s.stat))


cdef int st_put(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef state_t *s = <state_t *>d
    return counted(s, 1, table_put(s.t, entry, nr, &s.stat))


cdef int st_writeout(void *d, uint64_t entry, int nr) noexcept nogil:
    # The slot is the place; what is written is no page of zeros, and the table says so.
    cdef state_t *s = <state_t *>d
    cdef int err = table_writeout(s.t, entry, nr, &s.stat)
    s.counters.ios += err == 0
    s.counters.extents += err == 0
    return counted(s, 1, err)


cdef int64_t st_cache_get(void *d, uint64_t entry) noexcept nogil:
    cdef state_t *s = <state_t *>d
    cdef uint64_t word = table_word(s.t, entry)
    counted(s, 1, 0)
    return <int64_t>swp_tb_pfn(word) if swp_tb_is_folio(word) else -1


cdef int st_cache_add(void *d, uint64_t entry, int nr, uint64_t pfn) noexcept nogil:
    cdef state_t *s = <state_t *>d
    return counted(s, 1, table_cache_add(s.t, entry, nr, pfn, NULL, &s.stat))


cdef int st_cache_del(void *d, uint64_t entry, int nr, uint64_t shadow) noexcept nogil:
    cdef state_t *s = <state_t *>d
    return counted(s, 1, table_cache_del(s.t, entry, nr, shadow, &s.stat))


cdef uint64_t st_used(void *d) noexcept nogil:
    return <uint64_t>table_used((<state_t *>d).t)


cdef uint64_t st_size(void *d) noexcept nogil:
    return <uint64_t>table_usable((<state_t *>d).t)


cdef uint64_t st_bytes(void *d) noexcept nogil:
    return count_bytes(<state_t *>d)


cdef int st_locate(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    cdef state_t *s = <state_t *>d
    cdef int i
    for i in range(nr):
        if not swp_tb_counts(table_word(s.t, entry + i)):
            return -ENOENT
        where[i].tier = 1
        where[i].block = entry + i
    return 0


cdef int st_read(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    # The slot is the place: nothing to look up.
    cdef state_t *s = <state_t *>d
    cdef int i
    s.counters.ops += 1
    for i in range(nr):
        if not swp_tb_is_folio(table_word(s.t, entry + i)):
            return -ENOENT
        where[i].tier = 1
        where[i].block = entry + i
    s.counters.ios += 1
    s.counters.extents += 1
    return 0


cdef void st_peek(void *d, uint64_t entry, peek_t *said) noexcept nogil:
    # A count of 15 says 15 or more: the overflow table is the core's. lookup() knows better.
    cdef uint64_t word = table_word((<state_t *>d).t, entry)
    said.kind = PEEK_FOLIO if swp_tb_is_folio(word) else PEEK_SHADOW if swp_tb_counts(word) else PEEK_BAD if word else PEEK_FREE
    said.count, said.memcg, said.zero, said.value = 0, 0, False, 0
    if swp_tb_counts(word):
        said.count, said.memcg, said.zero = swp_tb_count(word), swp_tb_memcg(word), swp_tb_zero(word)
        said.value = swp_tb_pfn(word) if swp_tb_is_folio(word) else swp_tb_shadow(word)


cdef int st_hops(void *d, uint64_t entry) noexcept nogil:
    return 0 if swp_tb_counts(table_word((<state_t *>d).t, entry)) else -ENOENT


cdef design_ops_t OPS
OPS.alloc = st_alloc
OPS.dup = st_dup
OPS.put = st_put
OPS.writeout = st_writeout
OPS.cache_get = st_cache_get
OPS.cache_add = st_cache_add
OPS.cache_del = st_cache_del
OPS.used = st_used
OPS.size = st_size
OPS.bytes = st_bytes
OPS.read = st_read
OPS.locate = st_locate
OPS.peek = st_peek
OPS.hops = st_hops


cdef class SwapTableDesign(Design):
    """This library's swap table as a design.

    Parameters
    ----------
    slots : int
        Slots of 4 KiB, the header's included, 2 to 2^32 - 1.

    Raises
    ------
    SwapValueError
        *slots* is out of range.
    """

    cdef readonly SwapTable table

    def __cinit__(self, slots):
        cdef state_t *s
        self.table = core.SwapTable(slots)
        s = <state_t *>calloc(1, sizeof(state_t))
        if s == NULL:
            raise MemoryError
        s.t = self.table.t
        s.counters.now = s.counters.allocated = table_bytes(s.t)
        self.state = s
        self.ops = &OPS
        self.counters = &s.counters

    def __init__(self, slots):
        pass

    def __dealloc__(self):
        free(self.state)

    @property
    def name(self):
        """``swap-table``."""
        return "swap-table"

    @property
    def says(self):
        """What this design has no operation for, and why."""
        return {
            "transfer": "a slot is the place of its data; locations are the design `front-back`",
            "swapoff": "a slot is the place of its data; locations are the design `front-back`",
        }

    def lookup(self, entry):
        """What the word of *entry* says; see :meth:`Design.lookup`."""
        e = self.table.entry(entry)
        return {
            "kind": "free" if e.kind == "null" else e.kind, "count": e.count, "memcg": e.memcg, "zero": e.zero,
            "pfn": e.pfn, "shadow": e.shadow,
        }

    def memory(self):
        """Bytes by kind; see :meth:`SwapTable.memory`."""
        return self.table.memory()

    def check(self):
        """Every invariant of the table."""
        self.table.check()
