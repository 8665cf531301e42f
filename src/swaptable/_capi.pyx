# The kernels for embedders, batches and single ones, arguments checked; the table of them behind include/swaptable.h.
# Imports the core and the operations that it is made of, for batches; errors.
# Used by Cython through _capi.pxd, by C and C++ through swaptable_import(); tests/embed has clients.
"""Batches for Cython, the versioned table of functions for C and C++, and where its header is."""

from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport E2BIG, EINVAL, ENOMEM, ENOSPC
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from swaptable._alloc cimport alloc_runs
from swaptable._area cimport area_t, in_range, lock_cluster, reclaim_t, request_t
from swaptable._atomic cimport spin_unlock, swap_stat_t
from swaptable._cluster cimport CLUSTER_SHIFT, CLUSTER_SLOTS, cluster_t
from swaptable._core cimport (
    SwapTable,
    table_block_alloc,
    table_block_free,
    table_blocks_used,
    table_bytes,
    table_compact,
    table_loc,
    table_move,
    table_next,
    table_owner,
    table_resolve,
    table_t,
    table_trim,
    table_usable,
    table_used,
    table_word,
)
from swaptable._entry cimport (
    COUNT_MAX,
    MEMCG_MAX,
    PFN_MAX,
    swp_tb_count,
    swp_tb_counts,
    swp_tb_is_folio,
    swp_tb_is_shadow,
    swp_tb_kind,
    swp_tb_make_folio,
    swp_tb_memcg,
    swp_tb_pfn,
    swp_tb_shadow,
    swp_tb_zero,
)
from swaptable._lookup cimport lookup, lookup_locs, resolve
from swaptable._update cimport (
    OP_CACHE_ADD,
    OP_CACHE_DEL,
    OP_DUP,
    OP_FREE,
    OP_PUT,
    OP_WRITEOUT,
    OP_ZERO_CLEAR,
    OP_ZERO_SET,
    count_of,
    update,
    update_one,
    update_t,
)

from pathlib import Path

from swaptable.errors import CheckError

cdef extern from *:
    """
    #include <errno.h>
    #include <swaptable.h>
    struct swaptable_table {
        void *area;         /* the kernels' own, beside its owner: one load and no Python */
        PyObject *owner;
    };
    /* The kernels count in the caller's structure: one that has not their layout, or has no room, ends the build. */
    #define SAME(st, name) \
        _Static_assert(offsetof(swaptable_stat, name) == offsetof(__typeof__(*(st)), name), "swaptable_stat." #name)
    #define SAME_STAT(st) ({ SAME(st, cluster_locks); SAME(st, visited); SAME(st, lock_waits); SAME(st, words); \
        SAME(st, list_locks); SAME(st, past); SAME(st, blocks); SAME(st, extents); SAME(st, scanned); \
        _Static_assert(sizeof(*(st)) <= sizeof(swaptable_stat), "swaptable_stat"); (st); })
    """
    const int EUCLEAN
    swap_stat_t *SAME_STAT(swap_stat_t *st) noexcept nogil

cdef extern from "swaptable.h":
    const uint32_t SWAPTABLE_ABI_VERSION
    const char *SWAPTABLE_CAPSULE
    const uint32_t SWAPTABLE_NO_HEADER, SWAPTABLE_NO_BLOCK_DEV, SWAPTABLE_ROTATIONAL, SWAPTABLE_DISCARD, SWAPTABLE_OWNERS
    const int SWAPTABLE_MAX_ORDER

    ctypedef struct swaptable_table:
        void *area
        PyObject *owner

    ctypedef struct swaptable_options:
        uint32_t struct_size
        int32_t cpus
        uint64_t slots
        uint32_t flags
        uint32_t reserved

    ctypedef struct swaptable_stat:
        uint64_t cluster_locks, visited, lock_waits, words, list_locks, past, blocks, extents, scanned

    ctypedef struct swaptable_api:
        uint32_t abi_version
        uint32_t struct_size
        int (*create)(const swaptable_options *, swaptable_table **) noexcept nogil
        int (*open)(PyObject *, swaptable_table **) noexcept nogil
        PyObject *(*object)(swaptable_table *) noexcept nogil
        void (*close)(swaptable_table *) noexcept nogil
        int (*check)(swaptable_table *, char *, size_t) noexcept nogil
        int (*alloc)(swaptable_table *, int, int, uint64_t, uint32_t, int64_t *, swaptable_stat *) noexcept nogil
        int (*alloc_contiguous)(swaptable_table *, int, int, uint64_t, uint32_t, int64_t *, swaptable_stat *) noexcept nogil
        int (*alloc_many)(swaptable_table *, int64_t, int, int, const uint64_t *, uint32_t, int, int64_t *, int64_t *, swaptable_stat *) noexcept nogil
        int (*free_slots)(swaptable_table *, int64_t, int, swaptable_stat *) noexcept nogil
        int (*free_many)(swaptable_table *, const int64_t *, int64_t, int, int64_t *, swaptable_stat *) noexcept nogil
        int (*dup)(swaptable_table *, int64_t, int, swaptable_stat *) noexcept nogil
        int (*dup_many)(swaptable_table *, const int64_t *, int64_t, int, int64_t *, swaptable_stat *) noexcept nogil
        int (*put)(swaptable_table *, int64_t, int, swaptable_stat *) noexcept nogil
        int (*put_many)(swaptable_table *, const int64_t *, int64_t, int, int64_t *, swaptable_stat *) noexcept nogil
        int (*cache_add)(swaptable_table *, int64_t, int, uint64_t, uint64_t *, swaptable_stat *) noexcept nogil
        int (*cache_add_many)(swaptable_table *, const int64_t *, int64_t, int, const uint64_t *, uint64_t *, int64_t *, swaptable_stat *) noexcept nogil
        int (*cache_del)(swaptable_table *, int64_t, int, uint64_t, swaptable_stat *) noexcept nogil
        int (*cache_del_many)(swaptable_table *, const int64_t *, int64_t, int, const uint64_t *, int64_t *, swaptable_stat *) noexcept nogil
        int (*writeout)(swaptable_table *, int64_t, int, swaptable_stat *) noexcept nogil
        int (*zero_set)(swaptable_table *, int64_t, int, swaptable_stat *) noexcept nogil
        int (*zero_clear)(swaptable_table *, int64_t, int, swaptable_stat *) noexcept nogil
        uint64_t (*word)(swaptable_table *, int64_t) noexcept nogil
        int (*words)(swaptable_table *, const int64_t *, int64_t, uint64_t *, int64_t *) noexcept nogil
        int (*users)(swaptable_table *, int64_t, uint64_t *, swaptable_stat *) noexcept nogil
        int (*kind)(uint64_t) noexcept nogil
        uint32_t (*count)(uint64_t) noexcept nogil
        int (*zero)(uint64_t) noexcept nogil
        uint32_t (*memcg)(uint64_t) noexcept nogil
        uint64_t (*pfn)(uint64_t) noexcept nogil
        uint64_t (*shadow)(uint64_t) noexcept nogil
        uint32_t (*loc)(swaptable_table *, int64_t) noexcept nogil
        int (*locs)(swaptable_table *, const int64_t *, int64_t, uint32_t *, int64_t *) noexcept nogil
        int (*resolve)(swaptable_table *, int64_t, int32_t *, int64_t *) noexcept nogil
        int (*resolve_many)(swaptable_table *, const int64_t *, int64_t, int32_t *, int64_t *, int64_t *) noexcept nogil
        int (*move)(swaptable_table *, int64_t, uint32_t, uint32_t, swaptable_stat *) noexcept nogil
        int (*block_alloc)(swaptable_table *, int64_t, uint32_t *, int64_t *, swaptable_stat *) noexcept nogil
        int (*block_free)(swaptable_table *, const uint32_t *, int64_t, int64_t *, swaptable_stat *) noexcept nogil
        int (*owner)(swaptable_table *, int64_t, int32_t *, int64_t *, swaptable_stat *) noexcept nogil
        int64_t (*used)(swaptable_table *) noexcept nogil
        int64_t (*usable)(swaptable_table *) noexcept nogil
        int64_t (*blocks_used)(swaptable_table *) noexcept nogil
        uint64_t (*bytes)(swaptable_table *) noexcept nogil
        int64_t (*next)(swaptable_table *, int64_t) noexcept nogil
        uint64_t (*compact)(swaptable_table *, int64_t, int64_t, uint64_t, uint64_t, swaptable_stat *) noexcept nogil
        void (*trim)(swaptable_table *) noexcept nogil
        void (*set_reclaim)(swaptable_table *, reclaim_t, void *) noexcept nogil


# ---- kernels for Cython

cdef inline void tell(int64_t *to, int64_t done) noexcept nogil:
    if to != NULL:
        to[0] = done


cdef inline int serve(table_t *t, request_t *r, int order, int cpu, unsigned int memcg, uint64_t pfn, swap_stat_t *st) noexcept nogil:
    """Have *r* served, if what was asked for makes sense. Context: no locks. Return: 0 or -errno; r.done runs were allocated."""
    cdef int64_t k
    r.done = 0
    if r.n < 0 or not (0 <= order <= SWAPTABLE_MAX_ORDER and 0 <= cpu < (<area_t *>t).cpus) or pfn > PFN_MAX or memcg > MEMCG_MAX:
        return -EINVAL
    if r.pfns != NULL:
        for k in range(r.n):
            if r.pfns[k] > PFN_MAX:
                return -EINVAL
    r.order, r.word = order, swp_tb_make_folio(0, False, memcg, pfn)
    return alloc_runs(<area_t *>t, cpu, r, st) if r.n else 0


cdef int table_alloc_many(
    table_t *t, int64_t n, int order, int cpu, const uint64_t *pfns, unsigned int memcg, bint contiguous, int64_t *slots, int64_t *done, swap_stat_t *st,
) noexcept nogil:
    cdef request_t r
    cdef int err
    r.n, r.out, r.pfns, r.contiguous = n, slots, pfns, contiguous
    err = serve(t, &r, order, cpu, memcg, 0, st)
    tell(done, r.done)
    return err


cdef int change_many(
    table_t *t, int op, const int64_t *slots, int64_t n, int nr, uint64_t arg, const uint64_t *args, uint64_t *old, int64_t *done, swap_stat_t *st,
) noexcept nogil:
    cdef update_t u
    cdef int64_t did = 0
    cdef int err = -EINVAL
    if n >= 0:
        u.op, u.nr, u.arg, u.args, u.old = op, nr, arg, args, old
        err = update(<area_t *>t, slots, n, &did, &u, st)
    tell(done, did)
    return err


cdef int table_free_many(table_t *t, const int64_t *slots, int64_t n, int nr, int64_t *done, swap_stat_t *st) noexcept nogil:
    return change_many(t, OP_FREE, slots, n, nr, 0, NULL, NULL, done, st)


cdef int table_dup_many(table_t *t, const int64_t *slots, int64_t n, int nr, int64_t *done, swap_stat_t *st) noexcept nogil:
    return change_many(t, OP_DUP, slots, n, nr, 1, NULL, NULL, done, st)


cdef int table_put_many(table_t *t, const int64_t *slots, int64_t n, int nr, int64_t *done, swap_stat_t *st) noexcept nogil:
    return change_many(t, OP_PUT, slots, n, nr, 1, NULL, NULL, done, st)


cdef int table_cache_add_many(
    table_t *t, const int64_t *slots, int64_t n, int nr, const uint64_t *pfns, uint64_t *old, int64_t *done, swap_stat_t *st,
) noexcept nogil:
    return change_many(t, OP_CACHE_ADD, slots, n, nr, 0, pfns, old, done, st)


cdef int table_cache_del_many(
    table_t *t, const int64_t *slots, int64_t n, int nr, const uint64_t *shadows, int64_t *done, swap_stat_t *st,
) noexcept nogil:
    return change_many(t, OP_CACHE_DEL, slots, n, nr, 0, shadows, NULL, done, st)


cdef int table_zero_set(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil:
    return update_one(<area_t *>t, OP_ZERO_SET, slot, nr, 0, NULL, st)


cdef int table_zero_clear(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil:
    return update_one(<area_t *>t, OP_ZERO_CLEAR, slot, nr, 0, NULL, st)


cdef inline int all_of(int64_t n, int64_t got, int64_t *done) noexcept nogil:
    tell(done, got)
    return 0 if got == n else -EINVAL


cdef int table_words(table_t *t, const int64_t *slots, int64_t n, uint64_t *out, int64_t *done) noexcept nogil:
    return all_of(n, lookup(<area_t *>t, slots, out, n) if n > 0 else 0, done)


cdef int table_locs(table_t *t, const int64_t *slots, int64_t n, uint32_t *out, int64_t *done) noexcept nogil:
    return all_of(n, lookup_locs(<area_t *>t, slots, out, n) if n > 0 else 0, done)


cdef int table_resolve_many(table_t *t, const int64_t *slots, int64_t n, int32_t *devices, int64_t *blocks, int64_t *done) noexcept nogil:
    return all_of(n, resolve(<area_t *>t, slots, devices, blocks, n) if n > 0 else 0, done)


cdef int table_users(table_t *t, int64_t slot, uint64_t *users, swap_stat_t *st) noexcept nogil:
    cdef area_t *a = <area_t *>t
    cdef uint64_t word
    cdef cluster_t *ci
    if not in_range(a, slot):
        return -EINVAL
    word = table_word(t, slot)
    if swp_tb_counts(word) and swp_tb_count(word) == COUNT_MAX:
        ci = &a.clusters[slot >> CLUSTER_SHIFT]
        lock_cluster(ci, st)
        word = table_word(t, slot)
        users[0] = count_of(a, ci, word, slot & (CLUSTER_SLOTS - 1)) if swp_tb_counts(word) else 0
        spin_unlock(&ci.lock)
    else:
        users[0] = swp_tb_count(word) if swp_tb_counts(word) else 0
    return 0


# ---- the same for the table of functions: a handle, and counts that may be unwanted

cdef inline table_t *table_of(swaptable_table *h) noexcept nogil:
    return <table_t *>h.area


cdef inline swap_stat_t *counts(swaptable_stat *stat, swap_stat_t *own) noexcept nogil:
    """Where to count: in the caller's structure, or in *own* when it gave none."""
    if stat != NULL:
        return SAME_STAT(<swap_stat_t *>stat)
    memset(own, 0, sizeof(own[0]))
    return own


# ---- tables

cdef int error_of(BaseException e) noexcept:
    """The negative errno that an exception of the package stands for."""
    if isinstance(e, OSError) and e.errno:
        return -<int>e.errno
    return -ENOMEM if isinstance(e, MemoryError) else -EINVAL


cdef int to_handle(object table, swaptable_table **out) noexcept:
    """A handle that keeps *table* alive."""
    cdef swaptable_table *h = <swaptable_table *>malloc(sizeof(swaptable_table))
    if h == NULL:
        return -ENOMEM
    h.area, h.owner = (<SwapTable>table).t, <PyObject *>table
    Py_INCREF(table)
    out[0] = h
    return 0


cdef int copy_options(const swaptable_options *options, swaptable_options *to) noexcept nogil:
    """A structure of the caller's size, as the kernel's clone3() takes it: what it has beyond ours must be 0."""
    cdef const uint8_t *byte = <const uint8_t *>options
    cdef uint32_t i
    if options == NULL or options.struct_size < sizeof(swaptable_options):
        return -EINVAL
    for i in range(sizeof(swaptable_options), options.struct_size):
        if byte[i]:
            return -E2BIG
    to[0] = options[0]
    if to.reserved or to.flags & ~(SWAPTABLE_NO_HEADER | SWAPTABLE_NO_BLOCK_DEV | SWAPTABLE_ROTATIONAL | SWAPTABLE_DISCARD | SWAPTABLE_OWNERS):
        return -EINVAL
    return 0


cdef int api_create(const swaptable_options *options, swaptable_table **out) noexcept with gil:
    cdef swaptable_options o
    cdef int err = copy_options(options, &o)
    if err:
        return err
    try:
        table = SwapTable(
            slots=o.slots or None, cpus=o.cpus, header=not o.flags & SWAPTABLE_NO_HEADER, block=not o.flags & SWAPTABLE_NO_BLOCK_DEV,
            rotational=bool(o.flags & SWAPTABLE_ROTATIONAL), discard=bool(o.flags & SWAPTABLE_DISCARD), owners=bool(o.flags & SWAPTABLE_OWNERS),
        )
        return to_handle(table, out)
    except BaseException as e:
        return error_of(e)


cdef int api_open(PyObject *obj, swaptable_table **out) noexcept with gil:
    if obj == NULL or not isinstance(<object>obj, SwapTable):
        return -EINVAL
    return to_handle(<object>obj, out)


cdef PyObject *api_object(swaptable_table *h) noexcept nogil:
    with gil:
        Py_INCREF(<object>h.owner)
    return h.owner


cdef void api_close(swaptable_table *h) noexcept with gil:
    if h != NULL:
        Py_DECREF(<object>h.owner)
        free(h)


cdef int api_check(swaptable_table *h, char *why, size_t size) noexcept with gil:
    cdef size_t n
    if why != NULL and size:
        why[0] = 0
    try:
        (<object>h.owner).check()
        return 0
    except CheckError as e:
        text = str(e).encode("utf-8", "replace")
        if why != NULL and size:
            n = min(<size_t>len(text), size - 1)
            memcpy(why, <const char *>text, n)
            why[n] = 0
        return -EUCLEAN
    except BaseException as e:
        return error_of(e)


cdef inline int alloc_one(
    swaptable_table *h, int order, int cpu, uint64_t pfn, uint32_t memcg, bint contiguous, int64_t *slot, swaptable_stat *stat,
) noexcept nogil:
    cdef request_t r
    cdef swap_stat_t own
    r.n, r.out, r.pfns, r.contiguous = 1, slot, NULL, contiguous
    return serve(table_of(h), &r, order, cpu, memcg, pfn, counts(stat, &own))


cdef int api_alloc(swaptable_table *h, int order, int cpu, uint64_t pfn, uint32_t memcg, int64_t *slot, swaptable_stat *stat) noexcept nogil:
    return alloc_one(h, order, cpu, pfn, memcg, False, slot, stat)


cdef int api_alloc_contiguous(swaptable_table *h, int order, int cpu, uint64_t pfn, uint32_t memcg, int64_t *slot, swaptable_stat *stat) noexcept nogil:
    return alloc_one(h, order, cpu, pfn, memcg, True, slot, stat)


cdef int api_alloc_many(
    swaptable_table *h, int64_t n, int order, int cpu, const uint64_t *pfns, uint32_t memcg, int contiguous, int64_t *slots, int64_t *done,
    swaptable_stat *stat,
) noexcept nogil:
    cdef swap_stat_t own
    return table_alloc_many(table_of(h), n, order, cpu, pfns, memcg, contiguous != 0, slots, done, counts(stat, &own))


cdef inline int change(swaptable_table *h, int op, int64_t slot, int nr, uint64_t arg, uint64_t *old, swaptable_stat *stat) noexcept nogil:
    cdef swap_stat_t own
    return update_one(<area_t *>h.area, op, slot, nr, arg, old, counts(stat, &own))


cdef inline int change_runs(
    swaptable_table *h, int op, const int64_t *slots, int64_t n, int nr, uint64_t arg, const uint64_t *args, uint64_t *old, int64_t *done,
    swaptable_stat *stat,
) noexcept nogil:
    cdef swap_stat_t own
    return change_many(table_of(h), op, slots, n, nr, arg, args, old, done, counts(stat, &own))


cdef int api_free(swaptable_table *h, int64_t slot, int nr, swaptable_stat *stat) noexcept nogil:
    return change(h, OP_FREE, slot, nr, 0, NULL, stat)


cdef int api_free_many(swaptable_table *h, const int64_t *slots, int64_t n, int nr, int64_t *done, swaptable_stat *stat) noexcept nogil:
    return change_runs(h, OP_FREE, slots, n, nr, 0, NULL, NULL, done, stat)


cdef int api_dup(swaptable_table *h, int64_t slot, int nr, swaptable_stat *stat) noexcept nogil:
    return change(h, OP_DUP, slot, nr, 1, NULL, stat)


cdef int api_dup_many(swaptable_table *h, const int64_t *slots, int64_t n, int nr, int64_t *done, swaptable_stat *stat) noexcept nogil:
    return change_runs(h, OP_DUP, slots, n, nr, 1, NULL, NULL, done, stat)


cdef int api_put(swaptable_table *h, int64_t slot, int nr, swaptable_stat *stat) noexcept nogil:
    return change(h, OP_PUT, slot, nr, 1, NULL, stat)


cdef int api_put_many(swaptable_table *h, const int64_t *slots, int64_t n, int nr, int64_t *done, swaptable_stat *stat) noexcept nogil:
    return change_runs(h, OP_PUT, slots, n, nr, 1, NULL, NULL, done, stat)


cdef int api_cache_add(swaptable_table *h, int64_t slot, int nr, uint64_t pfn, uint64_t *old, swaptable_stat *stat) noexcept nogil:
    return change(h, OP_CACHE_ADD, slot, nr, pfn, old, stat)


cdef int api_cache_add_many(
    swaptable_table *h, const int64_t *slots, int64_t n, int nr, const uint64_t *pfns, uint64_t *old, int64_t *done, swaptable_stat *stat
) noexcept nogil:
    return change_runs(h, OP_CACHE_ADD, slots, n, nr, 0, pfns, old, done, stat)


cdef int api_cache_del(swaptable_table *h, int64_t slot, int nr, uint64_t shadow, swaptable_stat *stat) noexcept nogil:
    return change(h, OP_CACHE_DEL, slot, nr, shadow, NULL, stat)


cdef int api_cache_del_many(
    swaptable_table *h, const int64_t *slots, int64_t n, int nr, const uint64_t *shadows, int64_t *done, swaptable_stat *stat
) noexcept nogil:
    return change_runs(h, OP_CACHE_DEL, slots, n, nr, 0, shadows, NULL, done, stat)


cdef int api_writeout(swaptable_table *h, int64_t slot, int nr, swaptable_stat *stat) noexcept nogil:
    return change(h, OP_WRITEOUT, slot, nr, 0, NULL, stat)


cdef int api_zero_set(swaptable_table *h, int64_t slot, int nr, swaptable_stat *stat) noexcept nogil:
    return change(h, OP_ZERO_SET, slot, nr, 0, NULL, stat)


cdef int api_zero_clear(swaptable_table *h, int64_t slot, int nr, swaptable_stat *stat) noexcept nogil:
    return change(h, OP_ZERO_CLEAR, slot, nr, 0, NULL, stat)


cdef uint64_t api_word(swaptable_table *h, int64_t slot) noexcept nogil:
    return table_word(table_of(h), slot)


cdef int api_words(swaptable_table *h, const int64_t *slots, int64_t n, uint64_t *out, int64_t *done) noexcept nogil:
    return table_words(table_of(h), slots, n, out, done)


cdef int api_users(swaptable_table *h, int64_t slot, uint64_t *users, swaptable_stat *stat) noexcept nogil:
    cdef swap_stat_t own
    return table_users(table_of(h), slot, users, counts(stat, &own))


cdef int api_kind(uint64_t word) noexcept nogil:
    return swp_tb_kind(word)


cdef uint32_t api_count(uint64_t word) noexcept nogil:
    return swp_tb_count(word) if swp_tb_counts(word) else 0


cdef int api_zero(uint64_t word) noexcept nogil:
    return swp_tb_counts(word) and swp_tb_zero(word)


cdef uint32_t api_memcg(uint64_t word) noexcept nogil:
    return swp_tb_memcg(word) if swp_tb_counts(word) else 0


cdef uint64_t api_pfn(uint64_t word) noexcept nogil:
    return swp_tb_pfn(word) if swp_tb_is_folio(word) else 0


cdef uint64_t api_shadow(uint64_t word) noexcept nogil:
    return swp_tb_shadow(word) if swp_tb_is_shadow(word) else 0


# ---- where the data is

cdef uint32_t api_loc(swaptable_table *h, int64_t slot) noexcept nogil:
    return table_loc(table_of(h), slot)


cdef int api_locs(swaptable_table *h, const int64_t *slots, int64_t n, uint32_t *out, int64_t *done) noexcept nogil:
    return table_locs(table_of(h), slots, n, out, done)


cdef int api_resolve(swaptable_table *h, int64_t slot, int32_t *device, int64_t *block) noexcept nogil:
    return table_resolve(table_of(h), slot, device, block)


cdef int api_resolve_many(swaptable_table *h, const int64_t *slots, int64_t n, int32_t *devices, int64_t *blocks, int64_t *done) noexcept nogil:
    return table_resolve_many(table_of(h), slots, n, devices, blocks, done)


cdef int api_move(swaptable_table *h, int64_t slot, uint32_t old, uint32_t new, swaptable_stat *stat) noexcept nogil:
    cdef swap_stat_t own
    return table_move(table_of(h), slot, old, new, counts(stat, &own))


cdef int api_block_alloc(swaptable_table *h, int64_t n, uint32_t *locs, int64_t *done, swaptable_stat *stat) noexcept nogil:
    cdef swap_stat_t own
    cdef int64_t got
    if n < 0:
        tell(done, 0)
        return -EINVAL
    got = table_block_alloc(table_of(h), n, locs, counts(stat, &own))
    tell(done, got)
    return 0 if got == n else -ENOSPC


cdef int api_block_free(swaptable_table *h, const uint32_t *locs, int64_t n, int64_t *done, swaptable_stat *stat) noexcept nogil:
    cdef swap_stat_t own
    cdef int64_t did = 0
    cdef int err = table_block_free(table_of(h), locs, n, &did, counts(stat, &own)) if n >= 0 else -EINVAL
    tell(done, did)
    return err


cdef int api_owner(swaptable_table *h, int64_t block, int32_t *member, int64_t *slot, swaptable_stat *stat) noexcept nogil:
    cdef swap_stat_t own
    return table_owner(table_of(h), block, member, slot, counts(stat, &own))


# ---- the table as a whole

cdef int64_t api_used(swaptable_table *h) noexcept nogil:
    return table_used(table_of(h))


cdef int64_t api_usable(swaptable_table *h) noexcept nogil:
    return table_usable(table_of(h))


cdef uint64_t api_bytes(swaptable_table *h) noexcept nogil:
    return table_bytes(table_of(h))


cdef int64_t api_blocks_used(swaptable_table *h) noexcept nogil:
    return table_blocks_used(table_of(h))


cdef int64_t api_next(swaptable_table *h, int64_t slot) noexcept nogil:
    return table_next(table_of(h), slot)


cdef uint64_t api_compact(swaptable_table *h, int64_t slot, int64_t n, uint64_t now, uint64_t min_age, swaptable_stat *stat) noexcept nogil:
    cdef swap_stat_t own
    return table_compact(table_of(h), slot, n, now, min_age, counts(stat, &own))


cdef void api_trim(swaptable_table *h) noexcept nogil:
    table_trim(table_of(h))


cdef void api_set_reclaim(swaptable_table *h, reclaim_t reclaim, void *arg) noexcept nogil:
    cdef area_t *t = <area_t *>h.area
    t.reclaim, t.reclaim_arg = reclaim, arg


cdef swaptable_api API
API.abi_version, API.struct_size = SWAPTABLE_ABI_VERSION, sizeof(swaptable_api)
API.create, API.open, API.object, API.close, API.check = api_create, api_open, api_object, api_close, api_check
API.alloc, API.alloc_contiguous, API.alloc_many = api_alloc, api_alloc_contiguous, api_alloc_many
API.free_slots, API.free_many = api_free, api_free_many
API.dup, API.dup_many, API.put, API.put_many = api_dup, api_dup_many, api_put, api_put_many
API.cache_add, API.cache_add_many = api_cache_add, api_cache_add_many
API.cache_del, API.cache_del_many = api_cache_del, api_cache_del_many
API.writeout, API.zero_set, API.zero_clear = api_writeout, api_zero_set, api_zero_clear
API.word, API.words, API.users = api_word, api_words, api_users
API.kind, API.count, API.zero, API.memcg, API.pfn, API.shadow = api_kind, api_count, api_zero, api_memcg, api_pfn, api_shadow
API.loc, API.locs, API.resolve, API.resolve_many, API.move = api_loc, api_locs, api_resolve, api_resolve_many, api_move
API.block_alloc, API.block_free, API.owner = api_block_alloc, api_block_free, api_owner
API.used, API.usable, API.blocks_used, API.bytes = api_used, api_usable, api_blocks_used, api_bytes
API.next, API.compact, API.trim = api_next, api_compact, api_trim
API.set_reclaim = api_set_reclaim

_C_API = PyCapsule_New(&API, SWAPTABLE_CAPSULE, NULL)


def get_include() -> str:
    """The directory of ``swaptable.h``, for C and C++ programs: ``-I$(python -c 'import swaptable; print(swaptable.get_include())')``."""
    return str(Path(__file__).parent / "include")
