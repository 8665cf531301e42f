# A page replacement simulator: the kernel's two lists for anonymous memory, with refault distances, over a page trace.
# Cimports the swap table; the loop calls its kernels without the GIL.
#
# Build and run, in an environment with swaptable, Cython and setuptools and with a C compiler:
#
#     cythonize -i page_replacement.pyx
#     python -c 'import page_replacement; page_replacement.main()'
#     python -c 'import page_replacement; page_replacement.main("gcc", memory=3000)'
#
# What is modelled (mm/vmscan.c and mm/workingset.c, classic LRU, one anonymous mapping, folios of one page):
# * a new page starts on the inactive list; reclaim looks at its tail. A page that was accessed since stays, the second
#   time it moves to the active list; one that was not is swapped out;
# * the active list gives up its tail while the inactive one is the shorter of the two (memory below 1 GiB);
# * eviction and activation age the list; the age goes into the shadow. A page that comes back before more pages have
#   aged than are active was evicted too early: it starts on the active list;
# * a page that was read in keeps its slot and is clean; evicted again it costs no write, unless it was stored to.
"""Swap a trace through a swap table by the kernel's two lists; counters by their names in /proc/vmstat."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from swaptable cimport (
    SwapTable,
    swap_stat_t,
    swp_tb_shadow,
    table_alloc,
    table_cache_add,
    table_cache_del,
    table_dup,
    table_put,
    table_t,
    table_writeout,
)

import numpy as np

import swaptable
from swaptable.trace import find_trace, open_trace

cdef enum:
    INACTIVE, ACTIVE, NOWHERE   # the lists of a page; heads of the first two are the elements n and n + 1
    NO_SLOT = -1

cdef struct page_t:
    int64_t slot        # in the swap table, or NO_SLOT
    int32_t next, prev
    uint8_t where
    bint accessed       # the bit of the page table entry
    bint referenced     # seen accessed once

cdef struct counts_t:
    uint64_t pgfault, pswpin, pswpout, workingset_refault_anon, workingset_activate_anon, pgactivate, pgdeactivate

cdef struct machine_t:
    table_t *table
    page_t *pages
    int64_t n           # pages of the program
    int64_t memory      # pages that fit
    int64_t[2] size     # of the lists
    uint64_t age        # evictions and activations so far
    counts_t nr
    swap_stat_t stat


cdef void list_del(machine_t *m, int64_t i) noexcept nogil:
    cdef page_t *p = &m.pages[i]
    m.pages[p.prev].next, m.pages[p.next].prev = p.next, p.prev
    m.size[p.where] -= 1
    p.where = NOWHERE


cdef void list_add(machine_t *m, int64_t i, int where) noexcept nogil:
    cdef int64_t head = m.n + where
    cdef page_t *p = &m.pages[i]
    p.next, p.prev, p.where = m.pages[head].next, <int32_t>head, where
    m.pages[p.next].prev = m.pages[head].next = <int32_t>i
    m.size[where] += 1


cdef void activate(machine_t *m, int64_t i) noexcept nogil:
    m.nr.pgactivate += 1
    m.age += 1
    m.pages[i].referenced = False
    list_add(m, i, ACTIVE)


cdef int swap_out(machine_t *m, int64_t i) noexcept nogil:
    """Evict a page: a slot unless it has one, the data, one user (the page table), then only the shadow. 0 or -errno."""
    cdef page_t *p = &m.pages[i]
    cdef int err
    if p.slot == NO_SLOT:
        err = table_alloc(m.table, 0, 0, i, 0, &p.slot, &m.stat)
        if err == 0:
            err = table_writeout(m.table, p.slot, 1, &m.stat)
            m.nr.pswpout += 1
        if err:
            return err
    err = table_dup(m.table, p.slot, 1, &m.stat)
    if err == 0:
        err = table_cache_del(m.table, p.slot, 1, m.age, &m.stat)
    m.age += 1
    return err


cdef int reclaim(machine_t *m) noexcept nogil:
    """Look at the tails until one page is out. Return: 0 or -errno."""
    cdef int64_t i
    cdef page_t *p
    while True:
        if m.size[INACTIVE] < m.size[ACTIVE]:
            i = m.pages[m.n + ACTIVE].prev
            list_del(m, i)
            m.pages[i].accessed = m.pages[i].referenced = False
            m.nr.pgdeactivate += 1
            list_add(m, i, INACTIVE)
        i = m.pages[m.n + INACTIVE].prev
        p = &m.pages[i]
        list_del(m, i)
        if not p.accessed:
            return swap_out(m, i)
        p.accessed = False
        if p.referenced:
            activate(m, i)
        else:
            p.referenced = True
            list_add(m, i, INACTIVE)


cdef int fault(machine_t *m, int64_t i) noexcept nogil:
    """Bring a page in, from nowhere or from its slot, which it keeps. Return: 0 or -errno."""
    cdef page_t *p = &m.pages[i]
    cdef uint64_t old
    cdef int err = 0
    m.nr.pgfault += 1
    if m.size[INACTIVE] + m.size[ACTIVE] >= m.memory:
        err = reclaim(m)
    p.referenced = False
    if err or p.slot == NO_SLOT:
        list_add(m, i, INACTIVE)
        return err
    m.nr.pswpin += 1
    m.nr.workingset_refault_anon += 1
    err = table_cache_add(m.table, p.slot, 1, i, &old, &m.stat) or table_put(m.table, p.slot, 1, &m.stat)
    if m.age - swp_tb_shadow(old) <= <uint64_t>m.size[ACTIVE]:
        m.nr.workingset_activate_anon += 1
        activate(m, i)
    else:
        list_add(m, i, INACTIVE)
    return err


cdef int run(machine_t *m, const int64_t *page, const uint8_t *write, int64_t n) noexcept nogil:
    """Replay *n* accesses. Return: 0 or the -errno of the table that ended it."""
    cdef int64_t k
    cdef page_t *p
    cdef int err = 0
    for k in range(n):
        p = &m.pages[page[k]]
        if p.where == NOWHERE:
            err = fault(m, page[k])
        p.accessed = True
        if write[k] and p.slot != NO_SLOT and err == 0:     # the copy in the slot is old: without users it is free
            err = table_cache_del(m.table, p.slot, 1, 0, &m.stat)
            p.slot = NO_SLOT
        if err:
            return err
    return 0


def simulate(SwapTable table not None, const int64_t[::1] page, const uint8_t[::1] write, int64_t memory):
    """Replay accesses to pages 0 to n - 1 in *memory* pages; the counters."""
    cdef machine_t m
    cdef int err
    cdef int64_t i, n = int(np.max(page)) + 1
    if memory < 2:
        raise ValueError(f"memory {memory}: expected at least 2 pages")
    memset(&m, 0, sizeof(m))
    m.table, m.n, m.memory = table.t, n, memory
    m.pages = <page_t *>calloc(n + 2, sizeof(page_t))
    if m.pages == NULL:
        raise MemoryError
    for i in range(n + 2):
        m.pages[i].slot, m.pages[i].where, m.pages[i].next, m.pages[i].prev = NO_SLOT, NOWHERE, i, i
    try:
        with nogil:
            err = run(&m, &page[0], &write[0], page.shape[0])
    finally:
        free(m.pages)
    if err:
        raise OSError(-err, "the swap table refused an operation")
    return dict(m.nr) | {"cluster_locks": m.stat.cluster_locks}


def main(name="sqlite-index", memory=None, slots=262144):
    """Replay a trace, by name or path, in half of the memory that it wants; prints the counters."""
    blocks = list(open_trace(find_trace(name)))
    pages, dense = np.unique(np.concatenate([block.page for block in blocks]), return_inverse=True)
    write = np.concatenate([block.write for block in blocks]).astype(np.uint8)
    table = swaptable.SwapTable(slots=slots)
    memory = memory or len(pages) // 2
    counts = simulate(table, dense.astype(np.int64), write, memory)
    print(f"{name}: {len(write):,} accesses to {len(pages):,} pages in {memory:,}; {table!r}")
    for key, value in counts.items():
        print(f"{key} {value}")
    table.check()
    return counts
