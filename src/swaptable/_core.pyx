# The swap table for Python, and the kernels of _core.pxd; with the .pxd files that it draws in, one translation unit.
# Imports the area, its allocators and its check, words, locks; errors.
# Used by everything above; the kernels of _core.pxd are for embedders.
"""The swap table and its slot allocator."""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.long cimport PyLong_CheckExact
from libc.errno cimport EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, EOVERFLOW, ESTALE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from swaptable._alloc cimport *
from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._blocks cimport *
from swaptable._check cimport *
from swaptable._cluster cimport *
from swaptable._devices cimport *
from swaptable._entry cimport *
from swaptable._events cimport *
from swaptable._image cimport *
from swaptable._lookup cimport *
from swaptable._move cimport *
from swaptable._packed cimport *
from swaptable._past cimport *
from swaptable._pool cimport *
from swaptable._resize cimport *
from swaptable._space cimport *
from swaptable._update cimport *

from contextlib import contextmanager
from operator import index

import numpy as np

from swaptable import _moves as moves
from swaptable import _snapshot as snapshot
from swaptable import events as event_types
from swaptable.errors import CheckError, SnapshotError, raise_errno

cdef extern from *:
    """
    #include <stdlib.h>
    /* A thread's own number: the CPU it allocates for when it names none. */
    static uint32_t swt_threads;
    static _Thread_local int32_t swt_thread = -1;
    static inline int own_cpu(int cpus) {
        if (swt_thread < 0) swt_thread = (int32_t)(__atomic_fetch_add(&swt_threads, 1, __ATOMIC_RELAXED) & 0x7fffffff);
        return swt_thread % cpus;
    }
    """
    int own_cpu(int cpus) noexcept nogil
    const int64_t NO_INTEGER "INT64_MIN"
    const int NO_SMALL "INT32_MIN"
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1


# ---- the kernels of _core.pxd

cdef int table_alloc(table_t *t, int order, int cpu, uint64_t pfn, unsigned int memcg, int64_t *slot, swap_stat_t *st) noexcept nogil:
    cdef request_t r
    r.order, r.word, r.pfns, r.out, r.n, r.done, r.contiguous = order, swp_tb_make_folio(0, False, memcg, pfn), NULL, slot, 1, 0, False
    return alloc_runs(<area_t *>t, cpu, &r, st)


cdef int table_alloc_contiguous(table_t *t, int order, int cpu, uint64_t pfn, unsigned int memcg, int64_t *slot, swap_stat_t *st) noexcept nogil:
    cdef request_t r
    r.order, r.word, r.pfns, r.out, r.n, r.done, r.contiguous = order, swp_tb_make_folio(0, False, memcg, pfn), NULL, slot, 1, 0, True
    return alloc_runs(<area_t *>t, cpu, &r, st)


cdef int table_resolve(table_t *t, int64_t slot, int32_t *device, int64_t *block) noexcept nogil:
    return 0 if resolve(<area_t *>t, &slot, device, block, 1) else -EINVAL


cdef int table_move(table_t *t, int64_t slot, uint32_t old, uint32_t new, swap_stat_t *st) noexcept nogil:
    return area_move(<area_t *>t, slot, ANY_PIN, old, new, st)


cdef int table_free(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil:
    return update_one(<area_t *>t, OP_FREE, slot, nr, 0, NULL, st)


cdef int table_dup(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil:
    return update_one(<area_t *>t, OP_DUP, slot, nr, 1, NULL, st)


cdef int table_put(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil:
    return update_one(<area_t *>t, OP_PUT, slot, nr, 1, NULL, st)


cdef int table_cache_add(table_t *t, int64_t slot, int nr, uint64_t pfn, uint64_t *old, swap_stat_t *st) noexcept nogil:
    return update_one(<area_t *>t, OP_CACHE_ADD, slot, nr, pfn, old, st)


cdef int table_cache_del(table_t *t, int64_t slot, int nr, uint64_t shadow, swap_stat_t *st) noexcept nogil:
    return update_one(<area_t *>t, OP_CACHE_DEL, slot, nr, shadow, NULL, st)


cdef uint64_t table_word(table_t *t, int64_t slot) noexcept nogil:
    return area_word(<area_t *>t, slot)


cdef int table_writeout(table_t *t, int64_t slot, int nr, swap_stat_t *st) noexcept nogil:
    return update_one(<area_t *>t, OP_WRITEOUT, slot, nr, 0, NULL, st)


cdef int64_t table_used(table_t *t) noexcept nogil:
    return used_of(<area_t *>t)


cdef int64_t table_usable(table_t *t) noexcept nogil:
    return load64(&(<area_t *>t).usable)


cdef uint64_t table_bytes(table_t *t) noexcept nogil:
    return area_bytes(<area_t *>t)


cdef uint32_t table_loc(table_t *t, int64_t slot) noexcept nogil:
    cdef uint32_t loc = 0
    lookup_locs(<area_t *>t, &slot, &loc, 1)
    return loc


cdef int64_t table_block_alloc(table_t *t, int64_t n, uint32_t *locs, swap_stat_t *st) noexcept nogil:
    return area_take(<area_t *>t, n, locs, False, st) if (<area_t *>t).own_blocks else 0


cdef int table_block_free(table_t *t, const uint32_t *locs, int64_t n, int64_t *done, swap_stat_t *st) noexcept nogil:
    return area_give(<area_t *>t, locs, n, done, st)


cdef int64_t table_blocks_used(table_t *t) noexcept nogil:
    return blocks_of(<area_t *>t)


cdef int table_owner(table_t *t, int64_t block, int32_t *member, int64_t *slot, swap_stat_t *st) noexcept nogil:
    cdef area_t *a = <area_t *>t
    cdef uint32_t front
    cdef int m = -1
    if not a.own_blocks or block < 0 or <uint64_t>block >= blocks_end(a) or not a.keep_owners:
        return -ENOENT
    front = owner_of(a, loc_of(a, block), st)
    slot[0] = slot_of(a.space, front, &m) if front else -1
    member[0] = m
    return 0 if slot[0] >= 0 else -ENOENT


cdef int64_t table_next(table_t *t, int64_t slot) noexcept nogil:
    cdef area_t *a = <area_t *>t
    cdef uint32_t i
    if slot < 0 or slot >> CLUSTER_SHIFT >= ALL_CLUSTERS:
        return -1
    i = next_touched(a, <uint32_t>(slot >> CLUSTER_SHIFT))
    while i != NO_CLUSTER and load_ptr(&a.tables[i]) == NULL:
        i = next_touched(a, i + 1) if i + 1 < ALL_CLUSTERS else NO_CLUSTER
    return <int64_t>i << CLUSTER_SHIFT if i != NO_CLUSTER else -1


cdef uint64_t table_compact(table_t *t, int64_t slot, int64_t n, uint64_t now, uint64_t min_age, swap_stat_t *st) noexcept nogil:
    cdef area_t *a = <area_t *>t
    cdef uint32_t end = load32(&a.fresh) if a.grows else a.nr_clusters
    cdef int64_t first = slot >> CLUSTER_SHIFT
    cdef compacted_t done
    memset(&done, 0, sizeof(done))
    if 0 <= first < end and n > 0:
        compact_range(a, <uint32_t>first, <uint32_t>min(first + n, <int64_t>end), now, min_age, SHADOW_MAX, &done, st)
    return done.packed + done.uniform


cdef void table_trim(table_t *t) noexcept nogil:
    trim_clusters(<area_t *>t)
    pool_trim(&(<area_t *>t).pool)


# ---- Python

ALL = 0xffffffff    # every device of a list
_PFN_LAST = PFN_MAX


cdef enum:
    SMALL_BATCH = 64        # elements; below it the GIL is kept

_KINDS = ("null", "shadow", "folio", "pointer", "lent", "bad", "invalid")
_OPS = ("free", "dup", "put", "cache_add", "cache_del", "writeout", "zero_set", "zero_clear", "reclaim")


cdef class BlockSpace      # below; helpers come first
cdef class SwapTable
cdef class TableEvents


cdef inline area_t *area(SwapTable self) noexcept nogil:
    return <area_t *>self.t


cdef int ask_python(void *arg, int64_t slot, int nr, uint64_t pfn) noexcept with gil:
    """The callback of `SwapTable.set_reclaim`; an exception in it is reported as unraisable and means no."""
    cdef SwapTable table = <SwapTable>arg       # held: the callback may drop the last reference to it
    callback = table.reclaim
    return 1 if callback is not None and callback(slot, nr, pfn) else 0


cdef class SlotEntry:
    """A table word, decoded; immutable.

    Attributes
    ----------
    kind : str
        "null" (free), "shadow" (swapped out), "folio" (in the swap cache), "pointer", "lent" or "bad".
    count : int
        Users; those in the cluster's overflow table too.
    zero : bool
        The page is all zeros and has no data anywhere.
    memcg : int
        16-bit id of the cgroup that pays.
    pfn, shadow : int or None
        Of a folio; of a swapped-out slot.
    location : int
        The block that has the data, in the flat space; 0: the slot's own, or none.
    word : int
        The 8-byte word itself.
    """

    cdef readonly uint64_t word
    cdef readonly uint64_t count
    cdef readonly uint32_t location

    @property
    def kind(self):
        return _KINDS[swp_tb_kind(self.word)]

    @property
    def zero(self):
        return bool(swp_tb_counts(self.word) and swp_tb_zero(self.word))

    @property
    def memcg(self):
        return swp_tb_memcg(self.word) if swp_tb_counts(self.word) else 0

    @property
    def pfn(self):
        return swp_tb_pfn(self.word) if swp_tb_is_folio(self.word) else None

    @property
    def shadow(self):
        return swp_tb_shadow(self.word) if swp_tb_is_shadow(self.word) else None

    @property
    def pointer(self):
        """(cache-only, type, slot) of a reverse map word, else None."""
        if swp_tb_kind(self.word) != KIND_POINTER:
            return None
        return bool(swp_tb_cache_only(self.word)), swp_tb_pointer_type(self.word), swp_tb_pointer_slot(self.word)

    def __eq__(self, other):
        if not isinstance(other, SlotEntry):
            return NotImplemented
        cdef SlotEntry e = <SlotEntry>other
        return self.word == e.word and self.count == e.count and self.location == e.location

    def __hash__(self):
        return hash((self.word, self.count, self.location))

    def __repr__(self):
        cdef str more = ""
        if swp_tb_counts(self.word):
            more = f", count={self.count}, zero={self.zero}, memcg={self.memcg}"
            more += f", pfn={self.pfn}" if self.pfn is not None else f", shadow={self.shadow}"
            more += f", location={self.location}" if self.location else ""
        elif self.pointer is not None:
            more = f", pointer={self.pointer}"
        return f"SlotEntry(kind={self.kind!r}{more})"


cdef SlotEntry new_entry(uint64_t word, uint64_t count, uint32_t location=0):
    cdef SlotEntry e = SlotEntry.__new__(SlotEntry)
    e.word, e.count, e.location = word, count, location
    return e


cdef int64_t integer(value, str name) except? NO_INTEGER:
    """*value* as an integer of 64 bits, or an error that names it: a float is none."""
    cdef int overflow = 0
    cdef long long number
    if not PyLong_CheckExact(value):
        try:
            value = index(value)
        except TypeError:
            raise TypeError(f"{name} {value!r}: expected an integer") from None
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        raise_errno(EINVAL, f"{name} {value}: beyond 64 bits")
    return number


cdef int small(value, str name, int least, int most) except? NO_SMALL:
    """*value* as an integer from *least* to *most*."""
    cdef int64_t number = integer(value, name)
    if number < least or number > most:
        raise_errno(EINVAL, f"{name} {number}: expected {least} to {most}")
    return <int>number


def _field(str name, value, uint64_t most):
    """A field of a word as int, or SwapValueError that names it."""
    try:
        value = index(value)
    except TypeError:
        value = repr(value)
    if isinstance(value, str) or not 0 <= value <= most:
        raise_errno(EINVAL, f"{name} {value}: expected an integer from 0 to {most}")
    return value


def _positive(str name, value, uint64_t most):
    try:
        number = index(value)
    except TypeError:
        number = 0
    if not 1 <= number <= most:
        raise_errno(EINVAL, f"{name} {value!r}: expected an integer from 1 to {most}")
    return number


def pack(str kind, *, count=0, zero=False, memcg=0, pfn=0, shadow=0, cache_only=False, type=0, slot=0):
    """The 8-byte table word of *kind* as int; the inverse of :func:`unpack`.

    Raises
    ------
    SwapValueError
        A kind that does not exist, a field that does not fit, or one that the kind does not have.

    >>> hex(pack("shadow", count=1, memcg=2, shadow=3))
    '0x1000100000000007'
    """
    if kind not in _KINDS[:6]:
        raise_errno(EINVAL, f"kind {kind!r}: expected one of {', '.join(_KINDS[:6])}")
    given = {"count": count, "zero": zero, "memcg": memcg, "pfn": pfn, "shadow": shadow, "cache_only": cache_only, "type": type, "slot": slot}
    fields = {"shadow": ("count", "zero", "memcg", "shadow"), "folio": ("count", "zero", "memcg", "pfn"), "pointer": ("cache_only", "type", "slot")}
    for name, value in given.items():
        if value and name not in fields.get(kind, ()):
            raise_errno(EINVAL, f"{name} {value!r}: a word of kind {kind!r} has no such field")
    if kind == "shadow":
        return swp_tb_make_shadow(_field("count", count, COUNT_MAX), bool(zero), _field("memcg", memcg, MEMCG_MAX), _field("shadow", shadow, SHADOW_MAX))
    if kind == "folio":
        return swp_tb_make_folio(_field("count", count, COUNT_MAX), bool(zero), _field("memcg", memcg, MEMCG_MAX), _field("pfn", pfn, PFN_MAX))
    if kind == "pointer":
        return swp_tb_make_pointer(bool(cache_only), _field("type", type, 31), _field("slot", slot, POINTER_SLOT_MAX))
    return {"null": 0, "lent": SWP_TB_LENT, "bad": SWP_TB_BAD}[kind]


def unpack(word):
    """A :class:`SlotEntry` of an 8-byte table word.

    A count of 15 stands for "in the overflow table", which only :meth:`SwapTable.entry` can see.

    Raises
    ------
    SwapValueError
        No word of the layout.
    """
    cdef uint64_t w = _field("word", word, <uint64_t>-1)
    if swp_tb_kind(w) == KIND_INVALID:
        raise_errno(EINVAL, f"word {w:#x}: its low bits are of no kind of table word")
    return new_entry(w, swp_tb_count(w) if swp_tb_counts(w) else 0)


cdef int open_view(obj, Py_buffer *view, int flags, bint sign) except -1:
    """Fill *view* with a contiguous one-dimensional array of 64-bit integers; 0 when *obj* is none, else 1.

    Half the cost of a typed memoryview, which small batches would notice.
    """
    try:
        PyObject_GetBuffer(obj, view, flags | PyBUF_ND | PyBUF_FORMAT)
    except (TypeError, ValueError, BufferError):
        return 0
    if view.ndim == 1 and view.itemsize == 8 and view.format[1] == 0 and view.format[0] in (b"lq" if sign else b"LQ"):
        return 1
    PyBuffer_Release(view)
    return 0


cdef int open_slots(slots, Py_buffer *view) except -1:
    """Fill *view* with *slots* as int64, without a copy where they are that already."""
    if open_view(slots, view, 0, True):
        return 0
    array = np.asarray(slots)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise_errno(EINVAL, f"slots: expected a one-dimensional array of integers, not {array.dtype} with shape {array.shape}")
    if array.size and array.dtype == np.uint64 and array.max() >> 63:
        raise_errno(EINVAL, f"slot {int(array.max())}: beyond every table")
    PyObject_GetBuffer(np.ascontiguousarray(array, np.int64), view, PyBUF_ND)
    return 0


cdef uint64_t[::1] as_args(args, str name, Py_ssize_t n):
    cdef uint64_t[::1] view
    array = np.asarray(args)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise_errno(EINVAL, f"{name}: expected {n} integers that are not negative, not {array.dtype} with shape {array.shape}")
    if array.size and array.min() < 0:
        raise_errno(EINVAL, f"{name}: {int(array.min())}: expected 0 or more")
    view = np.array(array, dtype=np.uint64)
    if view.shape[0] != n:
        raise_errno(EINVAL, f"{name}: expected one for each of {n} elements, not {view.shape[0]}")
    return view


def _bad_slots(bad, uint64_t slots):
    """The bad slots, checked, ascending."""
    try:
        array = np.asarray(bad if isinstance(bad, np.ndarray) else list(bad))
    except TypeError:
        raise_errno(EINVAL, f"bad {bad!r}: expected a sequence of slot numbers")
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise_errno(EINVAL, f"bad: expected slot numbers, not {array.dtype} with shape {array.shape}")
    array = np.sort(array)
    if array[0] < 0 or array[array.size - 1] >= slots:
        raise_errno(EINVAL, f"bad slot {int(array[0] if array[0] < 0 else array[array.size - 1])}: expected 0 to {slots - 1}")
    return array.astype(np.int64)


cdef int _mark(SwapTable self, int64_t slot, str what) except -1:
    if mark_bad(area(self), slot):
        raise_errno(EINVAL, f"bad slot {slot}: named twice, or the header's")
    area(self).usable -= 1
    return 0


cdef int _cpu(value, int cpus) except -1:
    """A CPU that has cursors; -1 stands for the calling thread's own."""
    cdef int cpu = small(value, "cpu", -1, cpus - 1)
    return own_cpu(cpus) if cpu == -1 else cpu


cdef int _request(request_t *r, order, pfn, memcg, bint contiguous) except -1:
    r.order = small(order, "order", 0, ORDERS - 1)
    r.word = swp_tb_make_folio(0, False, 0, 0)
    if pfn or memcg:
        r.word = swp_tb_make_folio(0, False, _field("memcg", memcg, MEMCG_MAX), _field("pfn", pfn, PFN_MAX))
    r.pfns, r.done, r.contiguous = NULL, 0, contiguous
    return 0


cdef Py_ssize_t count_arg(value) except -1:
    cdef int64_t n = integer(value, "n")
    if n < 0:
        raise_errno(EINVAL, f"n {n}: expected 0 or more")
    return n


cdef int _full(SwapTable self, int order, bint contiguous) except -1:
    cdef area_t *t = area(self)
    if contiguous and t.own_blocks:
        raise_errno(ENOSPC, f"no room at order {order}: {max(blocks_free(t), 0)} of {load64(&t.usable)} blocks are free, "
                    f"{peek32(&t.past_fresh) - peek32(&t.past_free.nr)} of {peek32(&t.past_limit)} clusters past the end are used")
    raise_errno(ENOSPC, f"no room at order {order}: {used_of(t)} of {load64(&t.usable)} slots are used"
                + ("" if t.block or not order else ", and the device is no block device"))


cdef void add_stat(swap_stat_t *to, swap_stat_t *st) noexcept:
    to.cluster_locks += st.cluster_locks
    to.lock_waits += st.lock_waits
    to.list_locks += st.list_locks
    to.visited += st.visited
    to.words += st.words
    to.past += st.past
    to.blocks += st.blocks
    to.extents += st.extents
    to.scanned += st.scanned


cdef int _update(SwapTable self, int op, slot, nr, uint64_t arg, uint64_t *old) except -1:
    cdef int64_t first = integer(slot, "slot")
    cdef int n = small(nr, "nr", 1, CLUSTER_SLOTS)
    cdef int err = update_one(area(self), op, first, n, arg, old, &self.stat)
    if load_ptr(&area(self).events) != NULL:
        _deliver(self)
    if err:
        _refuse(self, err, op, first, n, None)
    return n


cdef int _refuse(SwapTable self, int err, int op, int64_t slot, int nr, index) except -1:
    """Raise for a run that was refused; the message says what its first unfit slot is."""
    cdef str what = f"{_OPS[op]} of slot {slot}" + (f" and the {nr - 1} after it" if nr > 1 else "")
    if not in_range(area(self), slot):
        raise_errno(err, f"{what}: expected a slot from 0 to {slots_end(area(self)) - 1}", index)
    if (slot & (CLUSTER_SLOTS - 1)) + nr > CLUSTER_SLOTS:
        raise_errno(err, f"{what}: the run crosses the end of its cluster of {CLUSTER_SLOTS}", index)
    words = [area_word(area(self), slot + i) for i in range(nr)]
    i = next((i for i, w in enumerate(words) if _unfit(w, op)), 0)
    reason = {
        ENOENT: "not in use" if words[i] == 0 else {OP_PUT: "more users given up than there are", OP_CACHE_DEL: "not in the swap cache"}.get(op),
        EEXIST: "in the swap cache already", EOVERFLOW: "more users than 32 bits count", ENOMEM: "no memory for another table",
        EBUSY: "its own block is lent or gone: it wants a location first",
    }.get(-err, "not a slot that has users")
    raise_errno(err, f"{what}: {reason}; slot {slot + i} is {unpack(words[i])!r}", index)


cdef object _update_many(SwapTable self, int op, slots, nr, uint64_t arg, args, uint64_t[::1] old):
    cdef Py_buffer view
    cdef int run = small(nr, "nr", 1, CLUSTER_SLOTS)
    open_slots(slots, &view)
    try:
        _update_slots(self, op, <const int64_t *>view.buf, view.len >> 3, run, arg, args, old)
    finally:
        PyBuffer_Release(&view)


cdef int _update_slots(SwapTable self, int op, const int64_t *s, Py_ssize_t n, int nr, uint64_t arg, args, uint64_t[::1] old) except -1:
    cdef uint64_t[::1] a
    cdef update_t u
    cdef swap_stat_t st
    cdef int64_t done = 0
    cdef int err
    if n == 0:
        return 0
    u.op, u.nr, u.arg, u.args, u.old = op, nr, arg, NULL, NULL
    if args is not None:
        a = as_args(args, "pfns" if op == OP_CACHE_ADD else "shadows", n)
        u.args = &a[0]
    if old is not None:
        u.old = &old[0]
    memset(&st, 0, sizeof(st))
    with nogil:
        err = update(area(self), s, n, &done, &u, &st)
    add_stat(&self.stat, &st)
    if load_ptr(&area(self).events) != NULL:
        _deliver(self)
    if err:
        if u.args != NULL and u.args[done] > u.most:
            raise_errno(EINVAL, f"{u.args[done]}: expected at most {u.most}", done)
        _refuse(self, err, op, s[done], nr, done)
    return 0


cdef object _each_slot(SwapTable self, int op, const int64_t[::1] slots, const uint64_t[::1] args, const uint64_t[::1] pins, uint64_t[::1] old):
    """Do *op* to every slot that it can be done to; bool, to which. *old* has the words of those."""
    cdef update_t u
    cdef swap_stat_t st
    cdef uint8_t[::1] ok
    done = np.empty(slots.shape[0], np.uint8)
    ok = done
    memset(&st, 0, sizeof(st))
    if slots.shape[0]:
        u.op, u.nr, u.arg, u.old = op, 1, 1, &old[0]
        u.args = &args[0] if args is not None else NULL
        u.pins = &pins[0] if pins is not None else NULL
        with nogil:
            update_each(area(self), &slots[0], slots.shape[0], &u, &ok[0], &st)
    add_stat(&self.stat, &st)
    return done.view(bool)


cdef _old_words(slots, nr, out):
    """*out*, checked: a word for each slot of the runs; None where nobody wants them."""
    if out is None:
        return None
    n = np.size(slots) * small(nr, "nr", 1, CLUSTER_SLOTS)
    if not isinstance(out, np.ndarray) or out.dtype != np.uint64 or out.shape != (n,) or not out.flags.c_contiguous:
        raise_errno(EINVAL, f"out: expected a contiguous uint64 array of shape ({n},)")
    return out if n else None


cdef int64_t in_range_of(SwapTable self, value) except -1:
    cdef int64_t slot = integer(value, "slot")
    if not in_range(area(self), slot):
        raise_errno(EINVAL, f"slot {slot}: expected 0 to {slots_end(area(self)) - 1}")
    return slot


def _each(values, Py_ssize_t n, dtype, str name):
    """One value a slot; a single one is everybody's."""
    array = np.asarray(values)
    top = np.iinfo(dtype).max
    if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() > top):
        raise_errno(EINVAL, f"{name}: expected integers from 0 to {top}, not {array.dtype}")
    if array.ndim > 1 or (array.ndim and array.shape[0] != n):
        raise_errno(EINVAL, f"{name}: expected one for each of {n} slots, not shape {array.shape}")
    return np.ascontiguousarray(array, dtype) if array.ndim else np.full(n, array, dtype)


def _pfns(pfns, Py_ssize_t n):
    array = _each(pfns, n, np.uint64, "pfns")
    if n and array.max() > PFN_MAX:
        raise_errno(EINVAL, f"pfns: {int(array.max())} does not fit in 41 bits")
    return array


def _locations(locs):
    """Locations as a contiguous uint32 array, checked."""
    array = np.asarray(locs)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise_errno(EINVAL, f"locs: expected a one-dimensional array of 32-bit locations, not {array.dtype} with shape {array.shape}")
    beyond = np.flatnonzero((array < 0) | (array > 0xffffffff))
    if beyond.size:
        raise_errno(EINVAL, f"location {int(array[beyond[0]])}: expected 0 to {0xffffffff}")
    return np.array(array, np.uint32)


cdef int _words(SwapTable self, Py_buffer *s, Py_buffer *o) except -1:
    cdef int64_t n = s.len >> 3, done
    if o.len != s.len:
        raise_errno(EINVAL, f"out: expected shape ({n},), not ({o.len >> 3},)")
    if n < SMALL_BATCH:                 # not worth 40 ns of GIL
        done = lookup(area(self), <const int64_t *>s.buf, <uint64_t *>o.buf, n)
    else:
        with nogil:
            done = lookup(area(self), <const int64_t *>s.buf, <uint64_t *>o.buf, n)
    if done < n:
        raise_errno(EINVAL, f"slot {(<int64_t *>s.buf)[done]}: expected 0 to {slots_end(area(self)) - 1}", done)
    return 0


cdef uint32_t _loc(SwapTable self, int64_t slot) noexcept:
    cdef uint32_t loc
    lookup_locs(area(self), &slot, &loc, 1)
    return loc


cdef int _unmoved(SwapTable self, int err, int64_t slot, uint64_t old, uint64_t new, index) except -1:
    if not in_range(area(self), slot):
        raise_errno(err, f"move of slot {slot} from {old} to {new}: expected a slot from 0 to {slots_end(area(self)) - 1}", index)
    state = self.entry(slot)
    reason = {
        ESTALE: f"its location is {state.location}", EBUSY: "its own block is lent or gone",
        ENOENT: "it is not in the swap cache", ENOMEM: "no memory for locations", ENOSPC: "no units are left for locations",
    }.get(-err, f"expected a cached slot, and a block that was taken and is nobody's, not {new}")
    raise_errno(err, f"move of slot {slot} from {old} to {new}: {reason}; it is {state!r}", index)


cdef int _discard_runs(SwapTable self, discard, swap_stat_t *st) except -1:
    """Discard the blocks that came home by run, and make them free."""
    cdef int64_t[::1] view
    cdef int64_t k = 0
    runs = waiting_runs(self)
    view = runs.reshape(-1)
    try:
        while k < len(runs):
            if discard is not None:
                discard(view[2 * k], view[2 * k + 1])
            _settle(self, np.arange(view[2 * k], view[2 * k] + view[2 * k + 1], dtype=np.uint64), True, st)
            k += 1
    finally:
        for k in range(k, len(runs)):
            _settle(self, np.arange(view[2 * k], view[2 * k] + view[2 * k + 1], dtype=np.uint64), False, st)
    return 0


cdef int _settle(SwapTable self, uint64_t[::1] blocks, bint done, swap_stat_t *st) except -1:
    """Blocks that waited for their discard, by run and ascending, are free if it is *done*, else they wait on."""
    cdef int64_t n = blocks.shape[0]
    if n == 0:
        return 0
    add64(&area(self).waiting, -n)
    with nogil:
        if not done:
            done = not discard_later(area(self), &blocks[0], n)
        else:
            give_device(area(self), &blocks[0], n, True, st)
    return 0


cdef object _discard_many(SwapTable self, many, bint free_first, swap_stat_t *st):
    """One callback for all that waits; the number of clusters made free."""
    cdef int64_t first
    cdef bint done = free_first
    clusters = []
    while True:
        first = discard_begin(area(self), st)
        if first < 0:
            break
        clusters.append(first)
    runs = waiting_runs(self)
    parts = [np.arange(first, first + CLUSTER_SLOTS) for first in clusters]
    ends = np.cumsum(runs[:, 1])
    alone = np.arange(ends[len(ends) - 1] if len(ends) else 0) + np.repeat(runs[:, 0] - (ends - runs[:, 1]), runs[:, 1])
    blocks = np.concatenate([*parts, alone]) if parts else alone
    try:
        if not free_first and len(blocks):
            many(blocks)
        done = True
    finally:
        for first in clusters:
            discard_end(area(self), first, LIST_FREE if done else LIST_DISCARD, st)
        _settle(self, alone.astype(np.uint64), done, st)
    if free_first and len(blocks):
        many(blocks)
    return len(clusters)


def _flags_of(SwapTable self):
    cdef area_t *t = area(self)
    return sum(bool(flag) << bit for bit, flag in enumerate((t.block, t.rotational, t.discard, t.grows, t.own_blocks)))


def _image_of(SwapTable self):
    """The whole state as arrays: see `_snapshot`."""
    cdef area_t *t = area(self)
    cdef uint64_t bytes = 0
    cdef int64_t n
    cdef int k, i
    cdef image_t[::1] clusters
    cdef uint8_t[::1] data
    cdef uint32_t[::1] at
    if self.space is not None:
        raise_errno(EINVAL, f"{self!r}: a table that shares a space of blocks, or keeps owners, cannot be saved on its own")
    n = image_measure(t, &bytes)
    if n < 0 or load32(&t.searches) or load64(&t.discarding) or self.moving:
        raise_errno(EBUSY, f"{self!r}: another thread is changing it")
    self.check()
    names = np.empty(n + 1, snapshot.CLUSTER)       # one more, so that there is a first
    held = np.empty(bytes + 1, np.uint8)
    clusters, data = names, held
    image_write(t, &clusters[0], &data[0])
    lengths = np.array([image_list(t, k, NULL) for k in range(IMAGE_LISTS)], np.uint32)
    listed = np.empty(int(lengths.sum()) + 1, np.uint32)
    at = listed
    n = 0
    for k in range(IMAGE_LISTS):
        n += image_list(t, k, &at[n])
    numbers = [t.blocks, t.slots, t.nr_clusters, t.usable, t.fresh, t.past_fresh, t.past_limit, t.past_peak, t.cpus, _flags_of(self)]
    cursors = [[t.cpu[i].next[k] for k in range(ORDERS)] for i in range(t.cpus)] + [[t.global_cpu.next[k] for k in range(ORDERS)]]
    runs = [t.discard_runs[k] for k in range(2 * t.nr_discard_runs)]
    return {
        "numbers": np.array(numbers, np.int64), "bad": np.asarray(self.bad, np.int64), "cursors": np.array(cursors, np.int64).reshape(-1),
        "runs": np.array(runs, np.uint32), "lengths": lengths, "lists": listed[:-1], "clusters": names[:-1], "data": held[:-1],
    }


cdef int _restore_numbers(SwapTable self, int64_t[::1] n) except -1:
    """What is constant or no cluster's own. Bounds were looked at."""
    cdef area_t *t = area(self)
    t.blocks, t.slots, t.nr_clusters, t.usable = n[0], n[1], <uint32_t>n[2], n[3]
    t.fresh, t.past_fresh, t.past_limit, t.past_peak = <uint32_t>n[4], <uint32_t>n[5], <uint32_t>n[6], <uint32_t>n[7]
    t.block, t.rotational, t.discard, t.grows, t.own_blocks = n[9] & 1, n[9] >> 1 & 1, n[9] >> 2 & 1, n[9] >> 3 & 1, n[9] >> 4 & 1
    return 0


def _restored(cls, dict image):
    """A table from the arrays of an image; SnapshotError when they contradict each other."""
    cdef SwapTable self
    cdef area_t *t
    cdef int64_t[::1] cursors = image["cursors"]
    cdef uint32_t[::1] runs = image["runs"], lengths = image["lengths"], lists = image["lists"]
    cdef const image_t[::1] clusters = image["clusters"]
    cdef uint8_t[::1] data = image["data"]
    cdef int64_t n = clusters.shape[0] - 1, total = lists.shape[0] - 1
    cdef int err
    numbers = image["numbers"]
    size = min(int(numbers[2]), MAX_SLOTS // CLUSTER_SLOTS) * CLUSTER_SLOTS
    self = cls.__new__(cls, slots=size, cpus=int(numbers[8]), header=False)
    t = area(self)
    _restore_numbers(self, numbers)
    self.bad = image["bad"]
    with nogil:
        err = restore_clusters(t, &clusters[0], n, &data[0], data.shape[0] - 1)
        err = err or restore_lists(t, &lists[0], total, &lengths[0])
        err = err or restore_cursors(t, &cursors[0])
        err = err or restore_runs(t, &runs[0], runs.shape[0] // 2)
    if err == -ENOMEM:
        raise_errno(ENOMEM, "no memory for the table of a snapshot")
    if err:
        raise SnapshotError("clusters, lists, cursors or runs of blocks that no table has")
    try:
        self.check()
    except CheckError as failed:
        raise SnapshotError(f"it contradicts itself: {failed}") from None
    return self


def _unpickle(cls, data):
    return _restored(cls, snapshot.decode(data))


cdef int _deliver(SwapTable self) except -1:
    """Give the listener's callback a batch, if one is full."""
    cdef TableEvents events = self.listener
    if events is not None and events.callback is not None and not events.busy and events.pending >= events.batch:
        events.deliver()
    return 0


cdef class TableEvents:
    """What happens to the slots of a table, as structured arrays of `swaptable.events.DTYPE`; see `SwapTable.events`.

    Attributes
    ----------
    table : SwapTable
    callback : callable or None
    batch : int
    """

    cdef events_t *e
    cdef readonly SwapTable table
    cdef readonly object callback
    cdef readonly uint64_t batch
    cdef bint busy
    cdef uint64_t old_dropped

    def __init__(self):
        raise TypeError("a TableEvents is made by SwapTable.events()")

    @property
    def pending(self):
        """Events that wait; 0 once closed."""
        cdef uint64_t dropped
        return events_pending(self.e, &dropped) if self.e != NULL else 0

    @property
    def dropped(self):
        """Events that were lost, since nobody took those before them in time."""
        cdef uint64_t dropped = self.old_dropped
        if self.e != NULL:
            events_pending(self.e, &dropped)
        return dropped

    def drain(self, limit=None):
        """Take the events that wait, the oldest first; an array of `swaptable.events.DTYPE`, at most *limit* long."""
        cdef uint64_t n = self.pending, most
        cdef event_t[::1] out
        if limit is not None:
            most = _field("limit", limit, 1 << 32)
            n = min(n, most)
        array = np.empty(n, event_types.DTYPE)
        if n and self.e != NULL:
            out = array
            with nogil:
                n = events_take(self.e, &out[0], n)
        return array[:n]

    def deliver(self):
        """Call the callback with all events that wait, whether they fill a batch or not."""
        if self.callback is None:
            raise_errno(EINVAL, "deliver: there is no callback; drain() returns the events")
        self.busy = True
        try:
            some = self.drain()
            if some.size:
                self.callback(some)
        finally:
            self.busy = False

    def close(self):
        """Listen no longer. What waits is given to the callback, or lost; a second time does nothing."""
        cdef SwapTable table = self.table
        if self.e == NULL:
            return
        store_ptr_sc(&area(table).events, NULL)
        try:
            if self.callback is not None:
                self.deliver()
        finally:
            self.old_dropped = self.dropped
            self.e = NULL
            table.listener = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"TableEvents({self.table!r}, pending={self.pending}, dropped={self.dropped})"


cdef int64_t _cluster(SwapTable self, cluster) except -1:
    cdef int64_t i = integer(cluster, "cluster")
    if not 0 <= i < ALL_CLUSTERS or not in_range(area(self), i * CLUSTER_SLOTS):
        raise_errno(EINVAL, f"cluster {i}: expected 0 to {(slots_end(area(self)) - 1) // CLUSTER_SLOTS}, or one past the end")
    return i


@cython.no_gc_clear             # the collector must leave it its table until it is gone itself
cdef class ClusterWindow:
    """The 512 words of a cluster's table where they are: a read-only buffer of uint64, for `numpy.asarray` without a copy.

    It is opened by :meth:`SwapTable.window` and closed by `close`, at the end of a ``with`` (or, where arrays still look at
    it, with the last of them), or when nobody has it.

    Attributes
    ----------
    table : SwapTable
    cluster : int

    Notes
    -----
    No lock is held: words change while they are read, each as a whole. While the window is open the table does not
    become another cluster's; when its own cluster is emptied or packed, what it last held, or zeros, stays to be seen,
    and `current` says so.

    >>> from swaptable import SwapTable
    >>> table = SwapTable(slots=1024)
    >>> slot = table.alloc(pfn=7)
    >>> with table.window(0) as window:
    ...     int(np.asarray(window)[slot]) == table[slot]
    True
    """

    cdef uint64_t *words
    cdef readonly SwapTable table
    cdef readonly int64_t cluster
    cdef Py_ssize_t exports
    cdef bint leaving           # closed with the last array
    cdef Py_ssize_t[1] shape
    cdef Py_ssize_t[1] strides

    def __init__(self):
        raise TypeError("a ClusterWindow is made by SwapTable.window()")

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.words == NULL:
            raise BufferError(f"the window on cluster {self.cluster} is closed")
        if flags & PyBUF_WRITABLE:
            raise BufferError("a table is no place to write to: the words are read-only")
        self.shape[0], self.strides[0] = CLUSTER_SLOTS, sizeof(uint64_t)
        buffer.buf, buffer.obj, buffer.len, buffer.itemsize = self.words, self, CLUSTER_SLOTS * sizeof(uint64_t), sizeof(uint64_t)
        buffer.readonly, buffer.ndim, buffer.format = 1, 1, b"Q"
        buffer.shape, buffer.strides, buffer.suboffsets, buffer.internal = self.shape, self.strides, NULL, NULL
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1
        if self.exports == 0 and self.leaving:
            self.close()

    @property
    def current(self):
        """Whether this is still the cluster's table."""
        return self.words != NULL and <uint64_t *>load_ptr(&area(self.table).tables[self.cluster]) == self.words

    def close(self):
        """Let the table go.

        Raises
        ------
        BufferError
            Arrays still look at it.
        """
        if self.exports:
            raise BufferError(f"the window on cluster {self.cluster} is in use by {self.exports} arrays or memoryviews")
        if self.words != NULL:
            pool_unkeep(&area(self.table).pool, self.words)
            self.words = NULL

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leaving = True
        if self.exports == 0:
            self.close()

    def __dealloc__(self):
        if self.words != NULL:
            pool_unkeep(&area(self.table).pool, self.words)

    def __len__(self):
        return CLUSTER_SLOTS

    def __repr__(self):
        state = "closed" if self.words == NULL else "current" if self.current else "not the cluster's table any more"
        return f"<ClusterWindow of cluster {self.cluster}: {state}>"


cdef class SwapTable:
    """The swap table of one device: slots in clusters of 512, and their allocator.

    Parameters
    ----------
    slots : int or None
        Slots of the device, the header's included, up to 2**32 - 1. None: no size of its own; clusters
        are made as they are needed and the table grows up to 2**32 - 512 slots.
    cpus : int
        How many CPUs have a cursor of their own, 1 to 8192.
    header : bool
        Slot 0 is the swap area's header page and never given out.
    bad : sequence of int
        Slots that are never given out.
    block : bool
        The device is a block device; another serves order 0 only (mm/swapfile.c).
    rotational : bool
        One cursor per order for all CPUs instead of one each.
    discard : bool
        Emptied clusters wait for `run_discard` before they are used again; so do blocks that come home.
    space : BlockSpace, optional
        The space of blocks that its locations name, shared with other tables; by default one of its own.
    owners : bool
        Keep which slot each block taken through a location serves: 4 bytes a block, in clusters that have such.

    Raises
    ------
    SwapValueError
        A parameter out of range; the message names it.
    SwapMemoryError
        No address space.

    Notes
    -----
    Any method may be called from any thread at any time, but for `check`, which wants the others to
    be still. Scalar methods keep the GIL; the `_many` twins and `words` release it. A batch stops at
    its first bad element and raises with ``index`` set; what came before it stays done.

    >>> table = SwapTable(slots=1024)
    >>> table.alloc()
    1
    >>> table.dup(1); table.cache_del(1, shadow=7); table.entry(1)
    SlotEntry(kind='shadow', count=1, zero=False, memcg=0, shadow=7)
    """

    def __cinit__(self, slots=262144, cpus=1, header=True, bad=(), block=True, rotational=False, discard=False, BlockSpace space=None, owners=False):
        cdef uint64_t n = (MAX_SLOTS // CLUSTER_SLOTS) * <uint64_t>CLUSTER_SLOTS
        cdef int64_t slot
        if slots is not None:
            n = _positive("slots", slots, MAX_SLOTS)
        cpus = _positive("cpus", cpus, MAX_CPUS)
        bad = _bad_slots(bad, n)
        self.t = <table_t *>area_new(n, cpus)
        if self.t == NULL:
            raise_errno(ENOMEM, f"no address space for a table of {n} slots")
        area(self).block, area(self).rotational, area(self).discard, area(self).grows = block, rotational, discard, slots is None
        area(self).usable = n
        area(self).own_blocks, area(self).keep_owners = slots is not None, owners
        if header:
            _mark(self, 0, "header")
        for slot in bad:
            _mark(self, slot, "bad")
        self.bad = np.r_[np.zeros(1 if header else 0, np.int64), bad]
        for slot in range(n, <int64_t>area(self).nr_clusters << CLUSTER_SHIFT):
            mark_bad(area(self), slot)
        if area(self).usable == 0:
            raise_errno(EINVAL, f"slots {slots}: none of them is usable")
        place_bad(area(self))
        if space is None and owners:        # which number the slots for whoever has a block
            space = BlockSpace()
        if space is not None:
            space.admit(self)

    def __init__(self, slots=262144, cpus=1, header=True, bad=(), block=True, rotational=False, discard=False, space=None, owners=False):
        pass

    def __dealloc__(self):
        # A collector that clears a cycle may take the tables of a list before the list.
        if self.t != NULL and area(self).devices != NULL:
            devices_remove(<devices_t *>area(self).devices, area(self).kind)
        area_drop(<area_t *>self.t)

    # -- allocation

    def alloc(self, order=0, cpu=-1, pfn=0, memcg=0, contiguous=False):
        """Allocate an aligned run of ``1 << order`` slots in the swap cache; its first slot.

        Parameters
        ----------
        order : int
            0 to 9.
        cpu : int
            Whose cursor; -1 is the calling thread's own.
        pfn, memcg : int
            Of the folio (41 bits) and who pays (16 bits); written to each word, with count 0.
        contiguous : bool
            Where the kernel's search fails, give aligned slots past the end of the device, located at blocks
            wherever they are free (`locs`). Their numbers are 2**32 and up, whatever the device's size.

        Raises
        ------
        SwapFullError
            No run of that order, by the kernel's search; if *contiguous*, fewer than ``1 << order`` blocks are
            free, or `past_limit` is reached.

        Notes
        -----
        Runtime: O(1) at the cursor; otherwise one visit per cluster that the kernel's rules look at.
        """
        cdef request_t r
        cdef int64_t slot
        _request(&r, order, pfn, memcg, contiguous)
        r.out, r.n = &slot, 1
        if alloc_runs(area(self), _cpu(cpu, area(self).cpus), &r, &self.stat):
            _deliver(self)
            _full(self, r.order, contiguous)
        if load_ptr(&area(self).events) != NULL:
            _deliver(self)
        return slot

    def alloc_many(self, n, order=0, cpu=-1, pfns=None, memcg=0, contiguous=False):
        """Allocate up to *n* runs of ``1 << order`` slots; their first slots.

        Parameters
        ----------
        n : int
            How many runs.
        order, cpu, memcg, contiguous
            As in `alloc`.
        pfns : array of uint64, shape (n,), optional
            One per run; 0 by default.

        Returns
        -------
        ndarray of int64, shape (m,)
            m < n when the device fills up at that order. Beside other threads also where every cluster with room
            is in the hands of another thread at that moment: those are passed over, as in the kernel.
        """
        cdef request_t r
        cdef int64_t[::1] out
        cdef uint64_t[::1] frames
        cdef swap_stat_t st
        cdef int c = _cpu(cpu, area(self).cpus)
        cdef Py_ssize_t want = count_arg(n)
        _request(&r, order, 0, memcg, contiguous)
        if pfns is not None:
            frames = as_args(pfns, "pfns", want)
            if want and np.max(frames) > PFN_MAX:
                raise_errno(EINVAL, f"pfns: {int(np.max(frames))} does not fit in 41 bits")
        array = np.empty(min(want, table_usable(self.t)), np.int64)
        if array.shape[0] == 0:
            return array
        out = array
        r.out, r.n, r.pfns = &out[0], out.shape[0], NULL if pfns is None else &frames[0]
        memset(&st, 0, sizeof(st))
        with nogil:
            alloc_runs(area(self), c, &r, &st)
        add_stat(&self.stat, &st)
        if load_ptr(&area(self).events) != NULL:
            _deliver(self)
        return array if r.done == want else array[:r.done].copy()

    def set_reclaim(self, callback):
        """Let allocations ask for slots that only the swap cache holds, once more than half of all swap is used.

        Parameters
        ----------
        callback : callable(slot, nr, pfn) -> bool, or None
            Asks the owner of the folio at *pfn*, which holds *nr* slots from *slot* on; true lets the table free
            them. A folio is the slots side by side of one pfn; under pfn 0 each slot is asked for alone. Called
            without any lock held, by the thread that allocates; it may call the table. An exception counts as no.

        Notes
        -----
        Such slots then count as free where a scan meets them, and a search that finds neither partly used nor
        free clusters asks for those of one full cluster (cluster_reclaim_range and swap_reclaim_full_clusters
        of mm/swapfile.c). The kernel's worker asks for more in the background; here a request that finds nothing
        is tried once more when owners let go of slots during it. Where a function of C is asked so far
        (``set_reclaim`` of swaptable.h), no other thread may use the table meanwhile.
        """
        if callback is not None and not callable(callback):
            raise_errno(EINVAL, f"callback {callback!r}: expected a callable or None")
        self.reclaim = callback
        if callback is not None or area(self).reclaim != NULL:      # of a thread that searches it is still called
            area(self).reclaim_arg = <void *>self
            area(self).reclaim = ask_python

    # -- users, the swap cache, freeing

    def free(self, slot, nr=1):
        """Free *nr* slots from *slot* on, whatever their count: whoever holds them gives them up.

        Blocks that they have elsewhere come home; a slot whose own block is lent is unusable (LENT) until it does.
        Slots in the swap cache are pinned by whoever put them there: others give them up by `put`.

        Raises
        ------
        SlotNotInUseError
            One of them is free already; none of them was freed then.
        SwapValueError
            A bad slot, one out of range, or a run that crosses its cluster's end.
        """
        _update(self, OP_FREE, slot, nr, 0, NULL)

    def free_many(self, slots, nr=1):
        """Free the runs of *nr* slots at *slots* (int64, shape (n,)), in order. See `free`."""
        _update_many(self, OP_FREE, slots, nr, 0, None, None)

    def dup(self, slot, nr=1, users=1):
        """Give each of *nr* slots *users* more users: page table entries that now name it.

        Raises
        ------
        CountOverflowError
            A count would exceed 32 bits.
        """
        _update(self, OP_DUP, slot, nr, _field("users", users, 0xffffffff), NULL)

    def dup_many(self, slots, nr=1):
        """One more user for each slot of the runs at *slots*."""
        _update_many(self, OP_DUP, slots, nr, 1, None, None)

    def put(self, slot, nr=1, users=1):
        """Take *users* users from each of *nr* slots; without users, a slot that is not cached is freed.

        Raises
        ------
        SlotNotInUseError
            A slot is free or has fewer users; nothing changed then.
        """
        _update(self, OP_PUT, slot, nr, _field("users", users, 0xffffffff), NULL)

    def put_many(self, slots, nr=1, out=None):
        """One user less for each slot of the runs at *slots*. See `put`.

        Parameters
        ----------
        out : ndarray of uint64, shape (n * nr,), optional
            Receives the words replaced: a swapped-out slot that had one user is free now.
        """
        _update_many(self, OP_PUT, slots, nr, 1, None, _old_words(slots, nr, out))

    def cache_add(self, slot, pfn, nr=1):
        """Put *nr* swapped-out slots into the swap cache under folio *pfn*; the words replaced.

        Returns
        -------
        int, or ndarray of uint64, shape (nr,) when nr > 1

        Raises
        ------
        SlotCachedError
            One of them is in the cache already (someone won); nothing changed then.
        """
        cdef uint64_t[512] old
        cdef int n = _update(self, OP_CACHE_ADD, slot, nr, _field("pfn", pfn, PFN_MAX), old)
        return old[0] if n == 1 else np.array(<uint64_t[:n]>old)

    def cache_add_many(self, slots, pfns, nr=1):
        """`cache_add` for the runs at *slots*, one pfn each; the words replaced, shape (n * nr,)."""
        array = np.empty(np.size(slots) * small(nr, "nr", 1, CLUSTER_SLOTS), np.uint64)
        _update_many(self, OP_CACHE_ADD, slots, nr, 0, pfns, array if array.size else None)
        return array

    def cache_del(self, slot, shadow=0, nr=1):
        """Take *nr* slots out of the swap cache, leaving *shadow* (42 bits); those without users are freed."""
        _update(self, OP_CACHE_DEL, slot, nr, _field("shadow", shadow, SHADOW_MAX), NULL)

    def cache_del_many(self, slots, shadows=None, nr=1, out=None):
        """`cache_del` for the runs at *slots*, one shadow each (0 by default); *out* as in `put_many`."""
        _update_many(self, OP_CACHE_DEL, slots, nr, 0, shadows, _old_words(slots, nr, out))

    def zero_set(self, slot, nr=1):
        """Flag *nr* slots as pages of zeros, which have no data anywhere: their blocks are free for others."""
        _update(self, OP_ZERO_SET, slot, nr, 0, NULL)

    def zero_set_many(self, slots, nr=1):
        """`zero_set` for the runs at *slots*."""
        _update_many(self, OP_ZERO_SET, slots, nr, 0, None, None)

    def zero_clear(self, slot, nr=1):
        """Take the zero flag back: the pages have data again, in their own blocks.

        Raises
        ------
        SlotBusyError
            The own block of one of them is lent; give it another by `move`. Nothing changed then.
        """
        _update(self, OP_ZERO_CLEAR, slot, nr, 0, NULL)

    def zero_clear_many(self, slots, nr=1):
        """`zero_clear` for the runs at *slots*."""
        _update_many(self, OP_ZERO_CLEAR, slots, nr, 0, None, None)

    # -- reading

    def words(self, slots, out=None):
        """The 8-byte words of many slots, without locks.

        Parameters
        ----------
        slots : array of int64, shape (n,)
        out : ndarray of uint64, shape (n,), optional
            Where to write them.

        Returns
        -------
        ndarray of uint64, shape (n,)
            0 for a free slot.

        Raises
        ------
        SwapValueError
            A slot out of range; ``index`` says which, the words before it are in *out*.
        """
        cdef Py_buffer s, o
        open_slots(slots, &s)
        try:
            if out is None:
                out = np.empty(s.len >> 3, np.uint64)
            if not open_view(out, &o, PyBUF_WRITABLE, False):
                raise_errno(EINVAL, "out: expected a writable, contiguous uint64 array of one dimension")
            try:
                _words(self, &s, &o)
            finally:
                PyBuffer_Release(&o)
        finally:
            PyBuffer_Release(&s)
        return out

    def __getitem__(self, slot):
        """The word of one slot as int. Raises SwapValueError for one out of range."""
        return area_word(area(self), in_range_of(self, slot))

    def __len__(self):
        return slots_end(area(self))

    def __iter__(self):
        # Without it, iteration would ask for slot after slot, one call each.
        raise TypeError("a SwapTable is not iterable; words() reads many slots at once")

    def entry(self, slot):
        """The word of one slot, decoded, its count exact; a :class:`SlotEntry`."""
        cdef uint64_t count
        cdef cluster_t *ci
        cdef int64_t at = in_range_of(self, slot)
        cdef uint64_t word = area_word(area(self), at)
        count = swp_tb_count(word) if swp_tb_counts(word) else 0
        if swp_tb_counts(word) and count == COUNT_MAX:
            ci = &area(self).clusters[at >> CLUSTER_SHIFT]
            lock_cluster(ci, &self.stat)
            word = area_word(area(self), at)
            count = count_of(area(self), ci, word, at & (CLUSTER_SLOTS - 1)) if swp_tb_counts(word) else 0
            spin_unlock(&ci.lock)
        return new_entry(word, count, _loc(self, at) if swp_tb_counts(word) else 0)

    # -- locations

    def loc(self, slot):
        """The location of one slot: a block of the flat space, or 0 for none (identity, or no data stored)."""
        return _loc(self, in_range_of(self, slot))

    def locs(self, slots, out=None):
        """The locations of many slots, without locks; uint32 array, shape (n,). 0: identity, or no data stored.

        Raises
        ------
        SwapValueError
            A slot out of range; ``index`` says which.
        """
        cdef Py_buffer s
        cdef uint32_t[::1] o
        cdef int64_t n, done
        open_slots(slots, &s)
        try:
            n = s.len >> 3
            out = np.empty(n, np.uint32) if out is None else out
            if not isinstance(out, np.ndarray) or out.dtype != np.uint32 or out.shape != (n,) or not out.flags.c_contiguous:
                raise_errno(EINVAL, f"out: expected a contiguous uint32 array of shape ({n},)")
            if n == 0:
                return out
            o = out
            with nogil:
                done = lookup_locs(area(self), <const int64_t *>s.buf, &o[0], n)
            if done < n:
                raise_errno(EINVAL, f"slot {(<int64_t *>s.buf)[done]}: expected 0 to {slots_end(area(self)) - 1}", done)
        finally:
            PyBuffer_Release(&s)
        return out

    def resolve(self, slots):
        """Where the data of many slots is, without locks.

        Parameters
        ----------
        slots : array of int64, shape (n,)

        Returns
        -------
        devices : ndarray of int32, shape (n,)
            Members of the space (`BlockSpace.tables`; 0 is this table where the space is its own); -1 where there
            is no data: a free slot, a page of zeros, a slot of a ghost or past the end without a location.
        blocks : ndarray of int64, shape (n,)
            Block on that device, or -1.

        Notes
        -----
        A hint: between this call and the I/O the data can move, unless the slots are in the swap cache, pinned.
        """
        cdef Py_buffer s
        cdef int32_t[::1] d
        cdef int64_t[::1] b
        cdef int64_t n, done
        open_slots(slots, &s)
        try:
            n = s.len >> 3
            devices, blocks = np.empty(n, np.int32), np.empty(n, np.int64)
            if n == 0:
                return devices, blocks
            d, b = devices, blocks
            with nogil:
                done = resolve(area(self), <const int64_t *>s.buf, &d[0], &b[0], n)
            if done < n:
                raise_errno(EINVAL, f"slot {(<int64_t *>s.buf)[done]}: expected 0 to {slots_end(area(self)) - 1}", done)
        finally:
            PyBuffer_Release(&s)
        return devices, blocks

    def move(self, slot, old_loc, new_loc):
        """Change the location of a slot in the swap cache from *old_loc* to *new_loc*: compare and set.

        Parameters
        ----------
        slot : int
            A slot that is cached: whoever put it there pins it, and alone may move its data.
        old_loc, new_loc : int
            Blocks of the flat space; 0 is the slot's own block (of a ghost or past the end: no data). The caller took
            *new_loc* (`block_alloc`) and gives *old_loc* back afterwards (`block_free`), unless they are 0. The zero
            flag goes where a page of zeros gets a location.

        Raises
        ------
        StaleLocationError
            The location is not *old_loc*; the message has it.
        SlotNotInUseError
            The slot is free or not in the swap cache.
        SlotBusyError
            *new_loc* is 0, but the slot's own block is lent.
        SwapValueError
            *new_loc* is no block that was taken and is nobody's, or the slot is bad, lent or out of range.
        """
        cdef int64_t at = in_range_of(self, slot)
        cdef uint32_t old = _field("old_loc", old_loc, 0xffffffff), new = _field("new_loc", new_loc, 0xffffffff)
        cdef int err = area_move(area(self), at, ANY_PIN, old, new, &self.stat)
        if load_ptr(&area(self).events) != NULL:
            _deliver(self)
        if err:
            _unmoved(self, err, at, old, new, None)

    def move_many(self, slots, old_locs, new_locs):
        """`move` for the slots at *slots* (int64, shape (n,)), from *old_locs* to *new_locs* (uint32, shape (n,))."""
        cdef Py_buffer view
        cdef swap_stat_t st
        cdef uint64_t[::1] olds
        cdef uint64_t[::1] news
        cdef const uint32_t[::1] o
        cdef const uint32_t[::1] w
        cdef int[::1] errs
        cdef int64_t k = 0, n, fit = 0
        cdef int err = 0
        open_slots(slots, &view)
        try:
            n = view.len >> 3
            olds, news = as_args(old_locs, "old_locs", n), as_args(new_locs, "new_locs", n)
            while fit < n and (olds[fit] | news[fit]) >> 32 == 0:
                fit += 1
            memset(&st, 0, sizeof(st))
            if fit:
                o, w, errs = np.asarray(olds).astype(np.uint32), np.asarray(news).astype(np.uint32), np.empty(fit, np.int32)
                with nogil:
                    k = area_moves(area(self), <int64_t *>view.buf, ANY_PIN, &o[0], &w[0], fit, False, False, &errs[0], &st)
                err = errs[k - 1]
                k -= err != 0
            if err == 0 and k < n:
                err = -EINVAL
            add_stat(&self.stat, &st)
            if load_ptr(&area(self).events) != NULL:
                _deliver(self)
            if err:
                _unmoved(self, err, (<int64_t *>view.buf)[k], olds[k], news[k], k)
        finally:
            PyBuffer_Release(&view)

    def block_alloc(self, n, runs=False):
        """Take up to *n* blocks of the device for slots that will be located there.

        Parameters
        ----------
        n : int
        runs : bool
            Rather in long runs, of clusters that are wholly free, than in the gaps of others: for a large sequential write.

        Returns
        -------
        ndarray of uint32, shape (m,)
            Locations, ascending; m < n when no more blocks are free. They come from holes, from free slots of clusters
            in use (made LENT), then from whole free clusters; longest runs first among the clusters looked at.

        Notes
        -----
        Runtime: a few clusters are looked at for each run, whatever the size of the device. The blocks are the
        caller's, until `move` gives them to a slot or `block_free` gives them back.
        """
        cdef int64_t want = min(count_arg(n), max(table_usable(self.t), 0) if area(self).own_blocks else 0), got
        cdef uint32_t[::1] out
        cdef swap_stat_t st
        cdef bint long_ones = runs
        array = np.empty(want, np.uint32)
        if want == 0:
            return array
        out = array
        memset(&st, 0, sizeof(st))
        with nogil:
            got = area_take(area(self), want, &out[0], long_ones, &st)
        add_stat(&self.stat, &st)
        return array if got == want else array[:got].copy()

    def block_free(self, locs):
        """Give back blocks of the table's space that are nobody's location: never moved to, or moved away from.

        Raises
        ------
        SlotNotInUseError
            A block that is not taken; ``index`` says which, those before it are given back.
        """
        cdef uint32_t[::1] view
        cdef swap_stat_t st
        cdef int64_t done = 0
        cdef int err
        array = _locations(locs)
        if array.size == 0:
            return
        view = array
        memset(&st, 0, sizeof(st))
        with nogil:
            err = area_give(area(self), &view[0], view.shape[0], &done, &st)
        add_stat(&self.stat, &st)
        if err:
            raise_errno(err, f"location {view[done]}: no block that is taken and nobody's location", done)

    def owners(self, locs):
        """Which slots the blocks at *locs* serve, where their devices keep owners.

        Returns
        -------
        members : ndarray of int32, shape (n,)
            The slot's table, as a member of the space; -1 where no owner is kept.
        slots : ndarray of int64, shape (n,)
            Its slot, or -1.

        Notes
        -----
        Runtime: O(1) a block. Without kept owners, `BlockSpace.owners` scans the locations of all tables.
        """
        cdef uint32_t[::1] view = _locations(locs)
        cdef int k, n = view.shape[0], member
        cdef uint32_t front
        cdef int64_t slot
        cdef int32_t[::1] m
        cdef int64_t[::1] s
        members, slots = np.full(n, -1, np.int32), np.full(n, -1, np.int64)
        m, s = members, slots
        for k in range(n):
            front = owner_of(area(self), view[k], &self.stat)
            slot = slot_of(area(self).space, front, &member) if front else -1
            if slot >= 0:
                m[k], s[k] = member, slot
        return members, slots

    @property
    def used(self):
        """Slots in use, past the end too; O(1), beside other threads of slightly different moments."""
        return used_of(area(self))

    @property
    def free_blocks(self):
        """Blocks that a request could take now; O(1), beside other threads of slightly different moments."""
        return max(blocks_free(area(self)), 0) if area(self).own_blocks else 0

    @property
    def past_limit(self):
        """The most clusters that may exist past the end; by default 2**23. Fewer than exist now destroys none."""
        return peek32(&area(self).past_limit)

    @past_limit.setter
    def past_limit(self, limit):
        cdef uint32_t most = _field("past_limit", limit, PAST_MAX)
        spin_lock(&area(self).list_lock)
        poke32(&area(self).past_limit, most)
        spin_unlock(&area(self).list_lock)

    @property
    def member(self):
        """The table's number in its space of blocks: what `resolve` calls a device."""
        return area(self).member

    # -- the size of the device, and where its free blocks lie

    def resize(self, slots, mover=None, pfn=_PFN_LAST):
        """Let the device have *slots* blocks, the header's included, while it is in use.

        Growing takes effect at once. Shrinking first gives nothing more to anybody from block *slots* on, then moves
        what is there: data of slots that stay in use beyond the end (their numbers are in page tables), and data of
        other slots that was lent blocks there. All of it goes to blocks of the device that remain.

        Parameters
        ----------
        slots : int
            1 to 2**32 - 1.
        mover : callable(src, dst), optional
            Copies the data of blocks *src* to blocks *dst* (uint32 locations, shape (n,)). Called without locks,
            while the slots are pinned. Left out, there is no data to copy.
        pfn : int
            Of the folios that pin the slots meanwhile: nobody else's; by default the last.

        Raises
        ------
        SlotBusyError
            Blocks are left in the way: pinned by somebody else, held, waiting for their discard, or without room
            elsewhere; the message says how many. So it is while a discard of them is under way, or a search asks an
            owner for slots there: callbacks of both cannot take away what they are called for. The size is as it was;
            what was moved stays moved.

        Notes
        -----
        Runtime: shrinking reads what is taken away, and every location of the space once a pass.
        """
        if area(self).grows:
            raise_errno(EINVAL, f"slots {slots}: a table without a size grows and shrinks as it is used")
        size = _positive("slots", slots, MAX_SLOTS)
        with self._alone():
            if size < blocks_end(area(self)):
                moves.shrink(self, size, mover, _field("pfn", pfn, PFN_MAX))
            elif size > blocks_end(area(self)):
                self._grow(size)

    def evacuate(self, move):
        """Take all blocks away from the device, as swapoff does; slots in use stay, entries are what they were.

        Nothing more is given to anybody: no slots, no blocks. Then what is there has to go: data of the device's own
        slots, and of others that was located here.

        Parameters
        ----------
        move : callable(table, slots, locs)
            Moves the data of *slots* (int64, shape (n,)) of *table*, which is at *locs* (uint32; 0: in their own
            blocks) off the device, as far as it can; called once a table and pass, until nothing is left or a pass
            moves nothing. An exception ends it all and is passed on.

        Raises
        ------
        SlotBusyError
            Blocks are left; the message says how many. The device is on again then, as after an exception; what was
            moved stays moved.

        Notes
        -----
        `resize` gives it blocks again, also where slots are still in use. Without such slots, and without tables,
        nothing of the device is left but its fixed bytes. Runtime: as `resize`.
        """
        if area(self).grows:
            raise_errno(EINVAL, f"{self!r}: a ghost has no blocks")
        with self._alone():
            moves.evacuate(self, move)

    def defrag(self, order, max_moves=None, mover=None, pfn=_PFN_LAST):
        """Move data so that aligned runs of ``1 << order`` free blocks appear; entries stay what they are.

        Parameters
        ----------
        order : int
            1 to 9.
        max_moves : int, optional
            Blocks to move at most.
        mover, pfn
            As in `resize`.

        Returns
        -------
        Defragmented
            ``moves``, ``bytes`` copied, and how many aligned runs of free blocks there were and are:
            ``runs_before``, ``runs_after``; ``slot_runs_before``, ``slot_runs_after``: those of them whose slots
            are free too, which an ordinary allocation can take.

        Notes
        -----
        The runs with the least data are emptied into the free blocks of those with the most. A slot whose data moved
        away has a hole; a lent block that moved away comes home to its slot. Runtime: reads every word and location.
        """
        order = small(order, "order", 1, PMD_ORDER)
        most = MAX_SLOTS if max_moves is None else _field("max_moves", max_moves, MAX_SLOTS)
        if area(self).grows:
            raise_errno(EINVAL, f"{self!r}: a ghost has no blocks")
        with self._alone():
            return moves.defrag(self, order, most, mover, _field("pfn", pfn, PFN_MAX))

    @contextmanager
    def _alone(self):
        """One resize or defragmentation at a time."""
        if self.moving:
            raise_errno(EBUSY, f"{self!r}: another resize or defragmentation is under way")
        self.moving = True
        try:
            yield
        finally:
            self.moving = False

    @property
    def blocks(self):
        """Blocks of the device, header and bad ones too; 0 of a ghost."""
        return blocks_end(area(self)) if area(self).own_blocks else 0

    def _grow(self, uint64_t blocks):
        """Have more blocks, but for the bad ones."""
        cdef int64_t[::1] bad = self.bad
        cdef swap_stat_t st
        cdef int err
        memset(&st, 0, sizeof(st))
        with nogil:
            err = grow(area(self), blocks, &bad[0] if bad.shape[0] else NULL, bad.shape[0], &st)
        add_stat(&self.stat, &st)
        if err:
            raise_errno(err, f"blocks {blocks}: " + ("no units of locations left in the space" if err == -ENOSPC else "no memory for tables"))

    def _fence(self, uint64_t blocks):
        """Give nobody a block from *blocks* on."""
        cdef int64_t[::1] bad = self.bad
        cdef swap_stat_t st
        cdef int err
        memset(&st, 0, sizeof(st))
        with nogil:
            err = fence(area(self), blocks, &bad[0] if bad.shape[0] else NULL, bad.shape[0], &st)
        add_stat(&self.stat, &st)
        if err:
            raise_errno(err, f"slots {blocks}: " + ("no memory for tables" if err == -ENOMEM else
                        "a search asks an owner for slots from there on, or a discard of them is under way"))

    def _fenced(self, uint64_t was):
        """The device has no blocks from its size to *was* any more."""
        cdef swap_stat_t st
        memset(&st, 0, sizeof(st))
        with nogil:
            fenced(area(self), was, &st)
        add_stat(&self.stat, &st)

    def _leaving(self, int64_t blocks):
        """So many blocks with data are beyond the fence."""
        add64(&area(self).leaving, blocks - load64(&area(self).leaving))

    def own_data(self, first=0, end=None):
        """Slots from *first* to *end* whose data is in their own blocks; int64, ascending."""
        cdef uint64_t begin = integer(first, "first"), last = load_relaxed(&area(self).slots) if end is None else integer(end, "end")
        cdef int64_t[::1] view
        cdef int64_t room = 0, n
        while True:
            array = np.empty(room + 1, np.int64)
            view = array
            with nogil:
                n = own_data(area(self), begin, last, &view[0], room)
            if n <= room:
                return array[:n]
            room = n + n // 8

    def _scan_owners(self, int64_t first, int64_t end):
        """(members, slots, blocks) of the slots located in blocks *first* to *end*."""
        return scan_owners(area(self), first, end)

    def _taken_from(self, uint64_t first, uint64_t end):
        """How many blocks from *first* to *end* are taken."""
        cdef int64_t n = 0
        with nogil:
            n = taken_from(area(self), first, end)
        return n

    def _block_map(self):
        """What each block is, by whole clusters: uint8, see BLOCK_* of _resize.pxd."""
        cdef uint32_t end = (blocks_end(area(self)) + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT
        cdef uint8_t[::1] view
        cdef swap_stat_t st
        array = np.empty(<size_t>end << CLUSTER_SHIFT, np.uint8)
        view = array
        memset(&st, 0, sizeof(st))
        with nogil:
            block_map(area(self), 0, end, &view[0], &st)
        add_stat(&self.stat, &st)
        return array

    # -- for whoever moves data: each slot on its own, results in the place of exceptions

    def block_locs(self, blocks):
        """Locations of the device's *blocks* (int64, shape (n,)); uint32, 0 for one that it does not have."""
        cdef const uint64_t[::1] b = np.ascontiguousarray(blocks, np.uint64)
        cdef Py_ssize_t k
        cdef uint32_t[::1] view
        array = np.zeros(b.shape[0], np.uint32)
        view = array
        for k in range(b.shape[0]):
            if area(self).own_blocks and b[k] < load_relaxed(&area(self).slots):
                view[k] = loc_of(area(self), b[k])
        return array

    def block_take(self, blocks):
        """Take particular blocks of the device, as `block_alloc` takes any.

        Parameters
        ----------
        blocks : array of int64, shape (n,)

        Returns
        -------
        ndarray of bool, shape (n,)
            Which were free and are the caller's now; their locations are `block_locs`.
        """
        cdef const uint64_t[::1] b = np.ascontiguousarray(blocks, np.uint64)
        cdef uint8_t[::1] ok
        cdef Py_ssize_t k
        cdef swap_stat_t st
        array = np.zeros(b.shape[0] if area(self).own_blocks else 0, np.uint8)
        ok = array
        memset(&st, 0, sizeof(st))
        with nogil:
            for k in range(ok.shape[0]):
                ok[k] = take_this(area(self), b[k], &st)
                if ok[k]:
                    taken_add(area(self), 1, loc_of(area(self), b[k]))
                    hold(area(self), b[k], &st)
        add_stat(&self.stat, &st)
        return array.view(bool) if area(self).own_blocks else np.zeros(b.shape[0], bool)

    def move_each(self, slots, olds, news, pfn=None, give_back=False):
        """`move` for each slot on its own; bool, which were moved. A slot that is not what it was, or not cached under *pfn*, is left alone.

        With *give_back* the blocks of the old locations go back, as `block_free` gives them back.
        """
        cdef const int64_t[::1] s = np.ascontiguousarray(slots, np.int64)
        cdef const uint32_t[::1] o = _each(olds, s.shape[0], np.uint32, "old_locs")
        cdef const uint32_t[::1] n = _each(news, s.shape[0], np.uint32, "new_locs")
        cdef uint64_t pin = ANY_PIN if pfn is None else _field("pfn", pfn, PFN_MAX)
        cdef bint give = give_back
        cdef int[::1] errs
        cdef swap_stat_t st
        array = np.zeros(s.shape[0], np.int32)
        errs = array
        memset(&st, 0, sizeof(st))
        if s.shape[0]:
            with nogil:
                area_moves(area(self), &s[0], pin, &o[0], &n[0], s.shape[0], True, give, &errs[0], &st)
        add_stat(&self.stat, &st)
        return array == 0

    def _look(self, slots):
        """(words, locations) of *slots*; 0 and 0 of one that the table has not, or has no more."""
        cdef int64_t[::1] s = np.ascontiguousarray(slots, np.int64)
        cdef uint64_t[::1] w
        cdef uint32_t[::1] at
        cdef Py_ssize_t k
        words, locs = np.zeros(s.shape[0], np.uint64), np.zeros(s.shape[0], np.uint32)
        w, at = words, locs
        with nogil:
            for k in range(s.shape[0]):
                w[k] = area_word(area(self), s[k])
                lookup_locs(area(self), &s[k], &at[k], 1)
        return words, locs

    def pin_many(self, slots, pfns):
        """Put swapped-out slots into the swap cache, those that can be.

        Parameters
        ----------
        slots : array of int64, shape (n,)
        pfns : int or array of int, shape (n,)
            Under which each is cached: nobody else's.

        Returns
        -------
        pinned : ndarray of bool, shape (n,)
            The others are free, bad, or in the swap cache already.
        words : ndarray of uint64, shape (n,)
            Those replaced; 0 where nothing was.
        """
        cdef const int64_t[::1] s = np.ascontiguousarray(slots, np.int64)
        cdef const uint64_t[::1] f = _pfns(pfns, s.shape[0])
        words = np.zeros(s.shape[0], np.uint64)
        return _each_slot(self, OP_CACHE_ADD, s, f, None, words), words

    def put_each(self, slots, cached=False):
        """`put` for each slot on its own; the words replaced (uint64, shape (n,)), 0 where there was no user to give up.

        With *cached*, only slots in the swap cache: none is freed, whoever cached them will see to that.
        """
        cdef const int64_t[::1] s = np.ascontiguousarray(slots, np.int64)
        cdef uint64_t[::1] old
        cdef Py_ssize_t k
        cdef swap_stat_t st
        words = np.zeros(s.shape[0], np.uint64)
        if not cached:
            _each_slot(self, OP_PUT, s, None, None, words)
            return words
        old = words
        memset(&st, 0, sizeof(st))
        with nogil:
            for k in range(s.shape[0]):
                if k + AHEAD_WRITE < s.shape[0]:
                    prefetch_slot(area(self), s[k + AHEAD_WRITE])
                if area_put_cached(area(self), s[k], &old[k], &st):
                    old[k] = 0
        add_stat(&self.stat, &st)
        return words

    def repin_many(self, slots, olds, news):
        """Change the pfn of slots in the swap cache: compare and set, as a folio is locked.

        Parameters
        ----------
        slots : array of int64, shape (n,)
        olds, news : int or array of int, shape (n,)
            A slot that is not cached under the old pfn is left alone.

        Returns
        -------
        ndarray of bool, shape (n,)
            Which were changed.
        """
        cdef const int64_t[::1] s = np.ascontiguousarray(slots, np.int64)
        cdef const uint64_t[::1] o = _pfns(olds, s.shape[0])
        cdef const uint64_t[::1] n = _pfns(news, s.shape[0])
        cdef uint8_t[::1] ok
        cdef Py_ssize_t k
        cdef swap_stat_t st
        changed = np.zeros(s.shape[0], np.uint8)
        ok = changed
        memset(&st, 0, sizeof(st))
        with nogil:
            for k in range(s.shape[0]):
                ok[k] = area_repin(area(self), s[k], o[k], n[k], &st)
        add_stat(&self.stat, &st)
        return changed.view(bool)

    def unpin_many(self, slots, pfns, shadows=0):
        """Take slots out of the swap cache that are cached under *pfns*, each on its own; those without users are freed.

        Parameters
        ----------
        slots : array of int64, shape (n,)
        pfns, shadows : int or array of int, shape (n,)

        Returns
        -------
        ndarray of uint64, shape (n,)
            The words replaced; count 0: the slot is free now. 0 where it was not cached under that pfn.
        """
        cdef const int64_t[::1] s = np.ascontiguousarray(slots, np.int64)
        cdef const uint64_t[::1] f = _pfns(pfns, s.shape[0])
        cdef const uint64_t[::1] w = _each(shadows, s.shape[0], np.uint64, "shadows")
        words = np.zeros(s.shape[0], np.uint64)
        _each_slot(self, OP_UNPIN, s, w, f, words)
        return words

    # -- cold clusters

    def compact(self, min_age, now=None, max_error=None):
        """Hold cold clusters in 3 bytes a slot, or 1 where all counts and memcg ids are the same.

        A cluster is packed when all 512 slots are swapped out, with at most 14 users each, their data in their own
        blocks, and every shadow at least *min_age* old. Counts and memcg ids stay exact. Shadows lose their lowest
        bits where the cluster's range does not fit: one that is read back is too small (too old) by at most
        *max_error*. Look-ups read packed clusters as they are; the first write to one gives it its words back.

        Parameters
        ----------
        min_age : int
            In the caller's unit of shadows; age is ``now - shadow``, modulo 2**42.
        now : int, optional
            By default the greatest shadow in the table.
        max_error : int, optional
            Clusters whose shadows would lose more stay as they are. By default the error is bounded by the format
            alone: by the cluster's range of shadows over 256 in 1 byte, over 16 or more in 3.

        Returns
        -------
        dict of int
            Clusters ``packed`` and ``uniform`` now, and bytes ``saved``.

        Notes
        -----
        Runtime: reads every table in use once.
        """
        cdef uint64_t age = _field("min_age", min_age, SHADOW_MAX), clock, error = SHADOW_MAX
        cdef area_t *t = area(self)
        cdef compacted_t done
        cdef swap_stat_t st
        cdef uint32_t end = peek32(&t.nr_clusters)
        memset(&done, 0, sizeof(done))
        memset(&st, 0, sizeof(st))
        clock = 0 if now is None else _field("now", now, SHADOW_MAX)
        if max_error is not None:
            error = _field("max_error", max_error, SHADOW_MAX)
        with nogil:
            if t.grows:
                end = load32(&t.fresh)
            if now is None:
                clock = newest(t, 0, end)
            compact_range(t, 0, end, clock, age, error, &done, &st)
        add_stat(&self.stat, &st)
        return dict(done)

    # -- listening

    def events(self, callback=None, *, capacity=65536, batch=None):
        """Listen to what happens to slots: given out, out of use, moved, refused.

        Parameters
        ----------
        callback : callable(array), optional
            Gets the events, `swaptable.events.DTYPE`, when *batch* of them wait at the end of a call of this table
            from Python, by the thread that made it, without locks; it may call the table. What C clients do waits
            until then, or until `TableEvents.deliver`. It raises into that call, which was done.
        capacity : int
            Events that can wait, 2 to 2**26, rounded up to a power of two; 32 bytes each. More are dropped, counted
            by ``dropped``, and leave a gap in ``sequence``.
        batch : int, optional
            1 to *capacity*; by default 1024, or the capacity where that is less.

        Returns
        -------
        TableEvents
            Its ``drain()`` takes what waits, ``close()`` ends it; a context manager.

        Raises
        ------
        SlotBusyError
            Somebody listens already.

        Notes
        -----
        Kernels write to a ring, without the GIL. While nobody listens that costs one branch where a batch, a run or
        a single slot changes hands. A list of devices that finds no room on any tells no table.

        >>> table = SwapTable(slots=2048)
        >>> with table.events() as events:
        ...     slot = table.alloc(2); table.free(slot, 4)
        ...     [(int(e["kind"]), int(e["slot"]), int(e["nr"])) for e in events.drain()]
        [(0, 512, 4), (1, 512, 4)]
        """
        cdef TableEvents events = TableEvents.__new__(TableEvents)
        cdef uint64_t size = 2, room = _positive("capacity", capacity, 1 << 26)
        if callback is not None and not callable(callback):
            raise_errno(EINVAL, f"callback {callback!r}: expected a callable or None")
        events.batch = min(room, <uint64_t>1024) if batch is None else _positive("batch", batch, room)
        if self.listener is not None:
            raise_errno(EBUSY, f"{self!r}: somebody listens already")
        while size < room:
            size *= 2
        events.e = events_new(size)
        if events.e == NULL:
            raise_errno(ENOMEM, f"no memory for {size} events")
        events.e.older = area(self).rings
        area(self).rings = events.e
        events.table, events.callback, self.listener = self, callback, events
        store_ptr_sc(&area(self).events, events.e)
        return events

    def __array__(self, dtype=None, copy=None):
        """The words of the device's slots, in order: uint64, shape (slots,), read-only; a copy, as `words` makes it.

        Slots past the end are not among them.

        Raises
        ------
        SwapValueError
            A table without a size, whose slots are 2**32.
        """
        cdef Py_ssize_t n, first
        if area(self).grows:
            raise_errno(EINVAL, f"{self!r} as an array: a table without a size has {len(self)} slots; `words` takes those that are wanted")
        n = len(self)
        if copy is False:
            raise ValueError("a table's words lie in many clusters: without a copy there is `window`, a cluster at a time")
        words = np.empty(n, np.uint64)
        for first in range(0, n, 1 << 20):
            self.words(np.arange(first, min(first + (1 << 20), n)), words[first : first + (1 << 20)])
        words = words if dtype is None else words.astype(dtype, copy=False)
        words.flags.writeable = False
        return words

    def window(self, cluster):
        """The table of a cluster itself, read-only; see `ClusterWindow`.

        Raises
        ------
        SwapValueError
            No such cluster.
        SlotNotInUseError
            It has no table: none of its slots is in use, or it is packed.
        SlotBusyError
            64 windows of this table are open.
        """
        cdef int64_t i = _cluster(self, cluster)
        cdef area_t *t = area(self)
        cdef ClusterWindow window = ClusterWindow.__new__(ClusterWindow)
        cdef uint32_t epoch = epoch_enter(&t.pool.readers)
        cdef uint64_t *words = <uint64_t *>load_ptr(&t.tables[i])
        cdef bint kept = is_table(words) and pool_keep(&t.pool, words)
        epoch_exit(&t.pool.readers, epoch)
        if not is_table(words):
            raise_errno(ENOENT, f"cluster {i}: no table: {'none of its slots is in use' if words == NULL else 'it is packed'}")
        if not kept:
            raise_errno(EBUSY, f"cluster {i}: {WINDOWS} windows of this table are open")
        window.words, window.table, window.cluster = words, self, i
        return window

    def view(self, cluster):
        """The 512 words of a cluster as they were at one moment, read-only: uint64, shape (512,).

        A copy, made under the cluster's lock; `window` is the memory itself.

        Raises
        ------
        SwapValueError
            No such cluster.
        """
        cdef int64_t i = _cluster(self, cluster), first = i * CLUSTER_SLOTS
        cdef uint64_t[::1] out
        cdef unsigned int off
        cdef cluster_t *ci
        words = np.empty(CLUSTER_SLOTS, np.uint64)
        out, ci = words, &area(self).clusters[i]
        lock_cluster(ci, &self.stat)
        for off in range(CLUSTER_SLOTS):
            out[off] = area_word(area(self), first + off) if in_range(area(self), first + off) else SWP_TB_BAD
        spin_unlock(&ci.lock)
        words.flags.writeable = False
        return words

    # -- snapshots

    def save(self, file):
        """Write the whole state to a file, which `load` reads back.

        Parameters
        ----------
        file : path or binary file object
            A path is replaced in one step once all is on the disk, or left as it was; an object gets the bytes.

        Raises
        ------
        SwapValueError
            The table shares a `BlockSpace`, or keeps owners: its locations mean nothing without the other tables.
        SlotBusyError
            Another thread is changing the table. The other threads must be still, as for `check`.
        CheckError
            The table is damaged; nothing is written.

        Notes
        -----
        Saved are words, counts, locations, blocks taken and held, packed clusters, bad slots, sizes and flags, the
        order of all lists, all cursors and what waits for its discard: the table that is read back gives out the same
        slots and blocks as this one would have. Not saved are `stats`, the callback of `set_reclaim`, the memory of
        free tables that wait for use, and the list of devices that the table is in, with that list's cursors.
        """
        snapshot.write(file, snapshot.encode(_image_of(self)))

    @classmethod
    def load(cls, file):
        """A table from what `save` wrote.

        Parameters
        ----------
        file : path or binary file object

        Raises
        ------
        SnapshotError
            No snapshot, a damaged one, or one of a version that is not known; the message says which, and why.
        """
        data, name = snapshot.read(file)
        try:
            return _restored(cls, snapshot.decode(data))
        except SnapshotError as error:
            raise SnapshotError(f"{name}: {error}") from None

    def __reduce__(self):
        return _unpickle, (type(self), snapshot.encode(_image_of(self)))

    # -- the whole

    def run_discard(self, discard=None, many=None, free_first=False):
        """Discard what waits for it, as the kernel's worker does; the number of clusters made free.

        Parameters
        ----------
        discard : callable(first, nr), optional
            Discards *nr* blocks from block *first* on: whole clusters, and the runs of blocks that came home without
            forming one. Called without locks. When it raises, what was not discarded waits on.
        many : callable(blocks), optional
            In its place: discards all of *blocks* (int64, shape (n,)) in one call, if there are any.
        free_first : bool
            The blocks are free before *many* is called, and whoever numbers them itself must not give one of those
            numbers to another before it returns: so a pool whose objects are the blocks drops them.
        """
        cdef swap_stat_t st
        cdef uint32_t n = 0
        cdef int64_t first
        memset(&st, 0, sizeof(st))
        if many is not None:
            n = _discard_many(self, many, free_first, &st)
            add_stat(&self.stat, &st)
            return n
        if discard is None:
            with nogil:
                n = discard_all(area(self), &st)
        else:
            while True:
                first = discard_begin(area(self), &st)
                if first < 0:
                    break
                try:
                    discard(first, CLUSTER_SLOTS)
                except BaseException:
                    discard_end(area(self), first, LIST_DISCARD, &st)
                    raise
                discard_end(area(self), first, LIST_FREE, &st)
                n += 1
        _discard_runs(self, discard, &st)
        add_stat(&self.stat, &st)
        return n

    @property
    def waiting(self):
        """Whether anything waits for `run_discard`; O(1)."""
        return load64(&area(self).waiting) > 0 or peek32(&area(self).discards.nr) > 0

    def trim(self):
        """Return the memory of what no cluster uses to the system: tables and side records, structures past the end."""
        with nogil:
            table_trim(self.t)

    def usage(self):
        """Slots by state and clusters by list.

        Returns
        -------
        dict
            ``slots`` (with header and bad ones; clusters made so far times 512 where the table grows),
            ``usable``, ``used`` (past the end too), ``free``, ``cached``, ``swapped``, ``lent`` (free slots whose
            block serves another), ``moved`` (slots with a location), ``bad``; ``clusters``: ``untouched``,
            ``free``, ``discard``, ``full``, ``receive`` (no table, but blocks taken), ``packed`` (of the full ones), ``nonfull`` and ``frag``
            (a list of 10, by order), ``past`` (past the end) and ``past_peak``; ``blocks`` of the device: ``usable``,
            ``used``, ``free``, ``taken`` (through locations), ``held`` (taken, but nobody's location yet),
            ``waiting`` (for their discard) and ``holes`` (of slots in use whose data is elsewhere or zero).

        Notes
        -----
        Runtime: reads every table in use; beside other threads the figures are of slightly different moments.
        """
        cdef census_t s
        cdef lists_t lists
        cdef sums_t sums
        cdef uint32_t listed
        cdef area_t *t = area(self)
        with nogil:
            count_kinds(t, &s)
            listed = area_lists(t, &lists)
            sums = sums_of(t)
        size = blocks_end(t) if not t.grows else listed * CLUSTER_SLOTS
        usable = load64(&t.usable) if not t.grows else size - s.kinds[KIND_BAD]
        # A batch that frees tells the device once it is done: until then others may have taken the same slots again.
        own = min(<int64_t>(sums.own - s.beyond), usable)
        blocks = min(sums.own - sums.holes + sums.taken, usable) if t.own_blocks else 0
        return {
            "slots": size, "usable": usable, "used": own + s.beyond + sums.past, "free": max(<int64_t>(usable - own - s.lent), 0),
            "cached": s.kinds[KIND_FOLIO], "swapped": s.kinds[KIND_SHADOW], "lent": s.lent, "moved": s.moved,
            "bad": size - usable if not t.grows else s.kinds[KIND_BAD],
            "clusters": {
                "untouched": 0 if t.grows else peek32(&t.nr_clusters) + s.beyond_clusters - listed,
                "free": lists.free, "discard": lists.discard, "full": lists.full, "receive": lists.receive,
                "packed": packed_clusters(t),
                "nonfull": list(lists.nonfull), "frag": list(lists.frag),
                "past": lists.past, "past_peak": lists.past_peak,
            },
            "blocks": {
                "usable": usable if t.own_blocks else 0, "used": blocks, "free": usable - blocks if t.own_blocks else 0,
                "taken": sums.taken, "held": load64(&t.held), "waiting": load64(&t.waiting), "holes": sums.holes,
            },
        }

    def occupancy(self):
        """How full clusters are, by the order that they serve.

        Returns
        -------
        ndarray of int64, shape (10, 513)
            Clusters that have a table, by order and by slots that are not free (bad ones included).

        Notes
        -----
        Runtime: O(clusters). Beside other threads the figures are of slightly different moments.
        """
        cdef area_t *t = area(self)
        cdef cluster_t *ci
        cdef uint32_t i
        found = np.zeros((ORDERS, CLUSTER_SLOTS + 1), np.int64)
        cdef int64_t[:, ::1] out = found
        with nogil:
            i = next_touched(t, 0)
            while i != NO_CLUSTER:
                ci = &t.clusters[i]
                spin_lock(&ci.lock)
                if t.tables[i] != NULL:
                    out[ci.order, ci.count] += 1
                spin_unlock(&ci.lock)
                i = next_touched(t, i + 1)
        return found

    def memory(self):
        """Bytes of memory by kind, counted where they are allocated and freed; "total" is their sum.

        Returns
        -------
        dict of int
            ``tables`` (of clusters in use), ``packed`` (cold ones), ``locations``, ``bitmaps`` (of blocks taken),
            ``owners``, ``overflow`` (counts beyond 14), ``clusters`` (64-byte structures and table pointers, whole
            pages that were touched), ``limbo`` (dropped records that a reader may still see), ``pool`` (free records
            kept for the next cluster, until `trim`), ``fixed`` (the rest).
        """
        cdef bytes_t b
        area_memory(area(self), &b)
        by_kind = dict(b)
        return by_kind | {"total": sum(by_kind.values())}

    def stats(self):
        """Counts since the table was made: locks taken and waited for, clusters visited, words written, allocations
        ``past`` the end, ``blocks`` taken for them and their ``extents`` (runs of blocks that follow one another), words
        and summaries of words ``scanned`` by searches (those included that bring a summary up to date).

        What C embedders and lists of devices do is counted in structures of theirs, but for ``device_list_locks``
        and ``device_list_waits``: how often the lock of this device's lists was taken, and found taken, by anybody.
        """
        cdef area_t *t = area(self)
        spin_lock(&t.list_lock)
        taken, waited = t.lists_taken, t.lists_waited
        spin_unlock(&t.list_lock)
        return dict(self.stat) | {"device_list_locks": taken, "device_list_waits": waited}

    def check(self):
        """Rebuild every invariant from the words and compare. The other threads must be still.

        Raises
        ------
        CheckError
            With the place and the state.
        """
        cdef census_t s
        cdef int err
        with nogil:
            err = check_area(area(self), &s)
            if err == 0:
                err = check_space(area(self), &s)
        if err:
            where = f"slot {s.bad_slot}, word {area_word(area(self), s.bad_slot):#x}, " if s.bad_slot >= 0 else ""
            raise CheckError(f"{s.why.decode()} ({where}{self.usage()}, {self.memory()})")

    @property
    def cpus(self):
        return area(self).cpus

    def __repr__(self):
        size = "None" if area(self).grows else str(blocks_end(area(self)))
        return f"SwapTable(slots={size}, used={used_of(area(self))}, cpus={area(self).cpus})"


cdef bint _unfit(uint64_t word, int op) noexcept:
    """Is this the word that *op* was refused for? Counts in the overflow table are not looked at."""
    if not swp_tb_counts(word):
        return True
    if op == OP_PUT:
        return swp_tb_count(word) == 0
    if op == OP_ZERO_CLEAR:
        return swp_tb_zero(word)
    return (op == OP_CACHE_ADD and swp_tb_is_folio(word)) or (op == OP_CACHE_DEL and swp_tb_is_shadow(word))


cdef class BlockSpace:
    """The flat space of blocks that the locations of its tables name: 2**32 blocks in units of 2**22.

    Each table owns as many units as its blocks need; unit 0 is nobody's, so that location 0 means none. A table is
    put into a space when it is made: ``SwapTable(slots, space=space)``. Up to 255 tables, ghosts included.

    Notes
    -----
    The space keeps its tables alive, since slots of one may have their data in blocks of another.

    >>> space = BlockSpace()
    >>> ssd, hdd = SwapTable(slots=1024, space=space), SwapTable(slots=4096, space=space)
    >>> slot = ssd.alloc()
    >>> home, = hdd.block_alloc(1)
    >>> ssd.move(slot, 0, home)
    >>> [int(at[0]) for at in ssd.resolve([slot])]     # table 1 of the space, block 1
    [1, 1]
    """

    cdef space_t *s
    cdef readonly list tables
    """Members by number: what `SwapTable.resolve` calls devices; None for one that was removed."""

    def __cinit__(self):
        self.tables = []
        self.s = space_new()
        if self.s == NULL:
            raise_errno(ENOMEM, "no memory for a space of blocks")

    def __init__(self):
        pass

    def __dealloc__(self):
        space_drop(self.s)

    cdef int admit(self, SwapTable table) except -1:
        """Make a new table a member."""
        cdef int err
        if len(self.tables) == MEMBERS:
            raise_errno(ENOSPC, f"{table!r}: the space has {MEMBERS} tables already, and has numbers for no more")
        add32(&self.s.refs, 1)
        err = area_join(area(table), self.s)
        if err:
            space_drop(self.s)
            raise_errno(err, f"{table!r}: the space has no units left for {area(table).blocks} blocks" if err == -ENOSPC else "no memory")
        self.tables.extend([None] * (area(table).member + 1 - len(self.tables)))
        self.tables[area(table).member] = table
        table.space = self
        return 0

    def remove(self, SwapTable table not None):
        """Let a member go whose slots are free and whose blocks nobody has; it is no good for anything then.

        Its number and its blocks' locations are given to others once nothing refers to the table any more.

        Raises
        ------
        SlotBusyError
            Slots of it are in use, or blocks of it are taken.
        SwapValueError
            It is no member.
        """
        if table.space is not self or self.tables[area(table).member] is not table:
            raise_errno(EINVAL, f"{table!r} is no member of {self!r}")
        sums = sums_of(area(table))
        if used_of(area(table)) or sums.taken:
            raise_errno(EBUSY, f"{table!r}: {used_of(area(table))} slots are in use, {sums.taken} blocks are taken")
        self.tables[area(table).member] = None

    def where(self, locs):
        """Which blocks *locs* (uint32, shape (n,)) name.

        Returns
        -------
        members : ndarray of int32, shape (n,)
            Devices of the space, -1 for 0 and for what is nobody's.
        blocks : ndarray of int64, shape (n,)
            Block on that device, or -1.
        """
        cdef uint32_t[::1] view = _locations(locs)
        cdef Py_ssize_t k, n = view.shape[0]
        cdef int32_t[::1] m
        cdef int64_t[::1] b
        cdef uint32_t unit
        members, blocks = np.empty(n, np.int32), np.empty(n, np.int64)
        m, b = members, blocks
        with nogil:
            for k in range(n):
                unit = load32(&self.s.units[view[k] >> UNIT_SHIFT])
                m[k] = <int32_t>(unit >> 16) - 1
                b[k] = <int64_t>(unit & 0xffff) << UNIT_SHIFT | (view[k] & (UNIT_BLOCKS - 1)) if unit else -1
        return members, blocks

    def owners(self, SwapTable table not None, first=0, end=None):
        """Which slots have their data in blocks *first* to *end* of *table*, by scanning all locations.

        Returns
        -------
        members : ndarray of int32, shape (n,)
            The tables of the slots.
        slots : ndarray of int64, shape (n,)
        blocks : ndarray of int64, shape (n,)
            Ascending.

        Raises
        ------
        SwapValueError
            A table of another space, or a range that is not on the device.

        Notes
        -----
        Runtime: reads every location of the space, 4 bytes each.
        """
        cdef int64_t most = table.blocks, begin = integer(first, "first"), stop = most if end is None else integer(end, "end")
        if table.space is not self:
            raise_errno(EINVAL, f"{table!r}: expected a table of {self!r}")
        if not 0 <= begin <= stop <= most:
            raise_errno(EINVAL, f"blocks {begin} to {stop}: expected a range within 0 to {most}")
        return scan_owners(area(table), begin, stop)

    def memory(self):
        """Bytes of the space itself."""
        return {"fixed": sizeof(space_t), "total": sizeof(space_t)}

    def check(self):
        """Check every table, and that no block has two owners and none is lost. The threads must be still."""
        for table in self.tables:
            if table is not None:
                table.check()

    def __len__(self):
        return sum(table is not None for table in self.tables)

    def __repr__(self):
        return f"BlockSpace({len(self)} tables)"


cdef waiting_runs(SwapTable self):
    """Take the runs of blocks that wait for their discard, merged; int64, shape (n, 2): first block, number."""
    cdef area_t *t = area(self)
    cdef uint32_t *runs
    cdef int64_t[:, ::1] pairs
    cdef int64_t k, n
    spin_lock(&t.list_lock)
    runs, n = t.discard_runs, t.nr_discard_runs
    t.discard_runs = NULL
    t.nr_discard_runs = t.max_discard_runs = 0
    spin_unlock(&t.list_lock)
    array = np.empty((n, 2), np.int64)
    pairs = array
    for k in range(n):
        pairs[k, 0], pairs[k, 1] = runs[2 * k], runs[2 * k + 1]
    free(runs)
    array = array[np.argsort(array[:, 0])]
    heads = np.flatnonzero(np.r_[True, array[1:, 0] != array[: max(n - 1, 0)].sum(1)][:n])
    return np.c_[array[heads, 0], np.add.reduceat(array[:, 1], heads) if n else array[:, 1]]


cdef scan_owners(area_t *t, int64_t first, int64_t end):
    """(members, slots, blocks) of the slots located in blocks *first* to *end* of *t*."""
    cdef int64_t room = 0, n = 0
    cdef int32_t[::1] m
    cdef int64_t[::1] s
    cdef int64_t[::1] b
    while True:
        members, slots, blocks = np.empty(room + 1, np.int32), np.empty(room + 1, np.int64), np.empty(room + 1, np.int64)
        m, s, b = members, slots, blocks
        with nogil:
            n = find_owners(t, first, end, &m[0], &s[0], &b[0], room)
        if n <= room:
            break
        room = n + n // 8
    order = np.argsort(blocks[:n], kind="stable")
    return members[:n][order], slots[:n][order], blocks[:n][order]


cdef class DeviceList:
    """Several tables under the kernel's rules for swap devices.

    The best priority with a free slot is searched first, equal priorities take turns at every search, full
    devices leave and come back as the last of their priority, and the cursors are the list's.

    Parameters
    ----------
    cpus : int
        How many CPUs have a cursor of their own, 1 to 8192.

    Notes
    -----
    `alloc`, `alloc_many` and `free` may be called from any thread at any time, also beside `add` and `remove`.

    >>> devices = DeviceList()
    >>> devices.add(SwapTable(slots=1024), priority=10)
    0
    >>> devices.alloc()
    (0, 1)
    """

    cdef devices_t *d
    cdef list tables
    cdef swap_stat_t stat

    def __cinit__(self, cpus=1):
        cpus = _positive("cpus", cpus, MAX_CPUS)
        self.tables = [None] * MAX_DEVICES
        self.d = devices_new(cpus)
        if self.d == NULL:
            raise_errno(ENOMEM, f"no memory for the cursors of {cpus} CPUs")

    def __init__(self, cpus=1):
        pass

    def __dealloc__(self):
        cdef int kind
        if self.d == NULL:
            return
        for kind in range(MAX_DEVICES):
            if self.d.areas[kind] != NULL:
                devices_remove(self.d, kind)
        free(self.d.cpu)
        free(self.d)

    def add(self, SwapTable table not None, priority=0):
        """Add a device; its swap type, the lowest that is not taken.

        Raises
        ------
        SwapValueError
            The table is in a list already.
        SwapFullError
            All 32 types are taken.
        """
        cdef int kind = devices_add(self.d, area(table), small(priority, "priority", -32768, 32767))
        if kind == -ENOSPC:
            raise_errno(ENOSPC, f"all {MAX_DEVICES} swap types are taken")
        if kind < 0:
            raise_errno(EINVAL, f"{table!r} is in a list of devices already")
        self.tables[kind] = table
        return kind

    def remove(self, kind):
        """Take a device off the list, whatever is allocated on it; the table, which lives on alone.

        Raises
        ------
        SlotBusyError
            An allocation is asking an owner for slots of it at this moment; the device stays.
        """
        table = self.table(kind)
        if devices_remove(self.d, <int>kind):
            raise_errno(EBUSY, f"swap type {kind}: an allocation is asking an owner for slots of it")
        self.tables[kind] = None
        return table

    def table(self, kind):
        """The table of swap type *kind*. Raises SwapValueError where there is none."""
        cdef int64_t k = integer(kind, "swap type")
        if not 0 <= k < MAX_DEVICES or self.tables[k] is None:
            raise_errno(EINVAL, f"swap type {k}: expected one of {[i for i, t in enumerate(self.tables) if t is not None]}")
        return self.tables[k]

    cdef int _prepare(self, request_t *r, order, cpu, pfn, memcg, allowed, bint contiguous) except -1:
        _field("allowed", allowed, ALL)
        _request(r, order, pfn, memcg, contiguous)
        return _cpu(cpu, self.d.cpus)

    def alloc(self, order=0, cpu=-1, allowed=ALL, pfn=0, memcg=0, contiguous=False):
        """Allocate an aligned run of ``1 << order`` slots; (swap type, first slot).

        Parameters
        ----------
        order, cpu, pfn, memcg, contiguous
            As in `SwapTable.alloc`; past the end of the best device that has the blocks.
        allowed : int
            Mask of swap types; a cursor on another is not used.

        Raises
        ------
        SwapFullError
            No room; a large request looks at one device only, as the kernel does.
        """
        cdef request_t r
        cdef int64_t slot
        cdef uint8_t kind
        cdef int c = self._prepare(&r, order, cpu, pfn, memcg, allowed, contiguous)
        r.out, r.n = &slot, 1
        if devices_alloc(self.d, c, &r, &kind, allowed, &self.stat):
            raise_errno(ENOSPC, f"no room at order {order}: {self.used} of {self.usable} slots are used on {len(self)} devices")
        return kind, slot

    def alloc_many(self, n, order=0, cpu=-1, allowed=ALL, memcg=0, contiguous=False):
        """Allocate up to *n* runs; (swap types as uint8, first slots as int64), shorter than *n* when full."""
        cdef request_t r
        cdef swap_stat_t st
        cdef int64_t[::1] out
        cdef uint8_t[::1] kinds
        cdef uint32_t mask
        cdef int c = self._prepare(&r, order, cpu, 0, memcg, allowed, contiguous)
        cdef Py_ssize_t want = count_arg(n)
        slots = np.empty(min(want, max(self.usable, 0)), np.int64)
        types = np.empty(slots.shape[0], np.uint8)
        if slots.shape[0] == 0:
            return types, slots
        out, kinds, mask = slots, types, allowed
        r.out, r.n = &out[0], out.shape[0]
        memset(&st, 0, sizeof(st))
        with nogil:
            devices_alloc(self.d, c, &r, &kinds[0], mask, &st)
        add_stat(&self.stat, &st)
        return (types, slots) if r.done == want else (types[:r.done].copy(), slots[:r.done].copy())

    def free(self, kind, slot, nr=1):
        """Free *nr* slots of a device; see `SwapTable.free`."""
        self.table(kind).free(slot, nr)

    @property
    def used(self):
        """Slots in use on all devices."""
        cdef int64_t usable
        return devices_used(self.d, &usable, True)

    @property
    def usable(self):
        """Slots that all devices have."""
        cdef int64_t usable
        devices_used(self.d, &usable, False)
        return usable

    @property
    def available(self):
        """Types of the devices that have a free slot, in the order in which they will be searched."""
        cdef uint8_t[MAX_DEVICES] kinds
        cdef int n
        spin_lock(&self.d.lock)
        n = self.d.nr_avail
        memcpy(kinds, self.d.avail, MAX_DEVICES)
        spin_unlock(&self.d.lock)
        return [kinds[i] for i in range(n)]

    def __len__(self):
        return sum(t is not None for t in self.tables)

    def stats(self):
        """Counts of the list's own allocations; see `SwapTable.stats`."""
        return dict(self.stat)

    def check(self):
        """Check every table, and that the list names just those with a free slot, by priority. The threads must be still."""
        cdef int kind
        used = 0
        for kind, table in enumerate(self.tables):
            if table is None:
                continue
            table.check()
            used += used_of(area(<SwapTable>table))
            if self.d.listed[kind] != (blocks_of(area(<SwapTable>table)) < area(<SwapTable>table).usable):
                raise CheckError(f"swap type {kind}: listed as available: {bool(self.d.listed[kind])}, but {table!r}")
        if not cursors_are_members(self.d):
            raise CheckError(f"a cursor names a device that is not in the list: {self!r}")
        priorities = [self.d.priority[kind] for kind in self.available]
        if used != self.used or priorities != sorted(priorities, reverse=True) or len(set(self.available)) != len(priorities):
            raise CheckError(f"{used} slots used on the devices, {self.used} counted; available {self.available} at {priorities}")

    def __repr__(self):
        return f"DeviceList({len(self)} devices, used={self.used} of {self.usable})"
