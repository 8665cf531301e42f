# The swap table for Python, and the kernels of _core.pxd; with the .pxd files that it draws in, one translation unit.
# Imports the area and its check, words, locks; errors.
# Used by everything above; the kernels of _core.pxd are for embedders.
"""The swap table and its slot allocator."""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.long cimport PyLong_CheckExact
from libc.errno cimport EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, EOVERFLOW
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from swaptable._area cimport *
from swaptable._atomic cimport spin_lock, spin_unlock
from swaptable._check cimport *
from swaptable._devices cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._pool cimport *

from operator import index

import numpy as np

from swaptable.errors import CheckError, raise_errno

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
    r.order, r.word, r.pfns, r.out, r.n, r.done = order, swp_tb_make_folio(0, False, memcg, pfn), NULL, slot, 1, 0
    return alloc_runs(<area_t *>t, cpu, &r, st)


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
    return (<area_t *>t).usable


cdef uint64_t table_bytes(table_t *t) noexcept nogil:
    return area_bytes(<area_t *>t)


# ---- Python

ALL = 0xffffffff    # every device of a list


cdef enum:
    SMALL_BATCH = 64        # elements; below it the GIL is kept

_KINDS = ("null", "shadow", "folio", "pointer", "lent", "bad", "invalid")
_OPS = ("free", "dup", "put", "cache_add", "cache_del", "writeout", "zero_set", "zero_clear", "reclaim")


cdef class SwapTable       # below; its helpers come first


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
    word : int
        The 8-byte word itself.
    """

    cdef readonly uint64_t word
    cdef readonly uint64_t count

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
        return self.word == (<SlotEntry>other).word and self.count == (<SlotEntry>other).count

    def __hash__(self):
        return hash((self.word, self.count))

    def __repr__(self):
        cdef str more = ""
        if swp_tb_counts(self.word):
            more = f", count={self.count}, zero={self.zero}, memcg={self.memcg}"
            more += f", pfn={self.pfn}" if self.pfn is not None else f", shadow={self.shadow}"
        elif self.pointer is not None:
            more = f", pointer={self.pointer}"
        return f"SlotEntry(kind={self.kind!r}{more})"


cdef SlotEntry new_entry(uint64_t word, uint64_t count):
    cdef SlotEntry e = SlotEntry.__new__(SlotEntry)
    e.word, e.count = word, count
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
    if array.size and array.dtype == np.uint64 and array.max() > MAX_SLOTS:
        raise_errno(EINVAL, f"slot {int(array.max())}: beyond every table")
    PyObject_GetBuffer(np.ascontiguousarray(array, np.int64), view, PyBUF_ND)
    return 0


cdef uint64_t[::1] as_args(args, str name, Py_ssize_t n):
    cdef uint64_t[::1] view
    array = np.asarray(args)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu") or (array.size and array.min() < 0):
        raise_errno(EINVAL, f"{name}: expected {n} integers that are not negative, not {array.dtype} with shape {array.shape}")
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


cdef int _request(request_t *r, order, pfn, memcg) except -1:
    r.order = small(order, "order", 0, ORDERS - 1)
    r.word = swp_tb_make_folio(0, False, 0, 0)
    if pfn or memcg:
        r.word = swp_tb_make_folio(0, False, _field("memcg", memcg, MEMCG_MAX), _field("pfn", pfn, PFN_MAX))
    r.pfns, r.done = NULL, 0
    return 0


cdef Py_ssize_t count_arg(value) except -1:
    cdef int64_t n = integer(value, "n")
    if n < 0:
        raise_errno(EINVAL, f"n {n}: expected 0 or more")
    return n


cdef int _full(SwapTable self, int order) except -1:
    raise_errno(ENOSPC, f"no room at order {order}: {used_of(area(self))} of {area(self).usable} slots are used"
                + ("" if area(self).block or not order else ", and the device is no block device"))


cdef void add_stat(swap_stat_t *to, swap_stat_t *st) noexcept:
    to.cluster_locks += st.cluster_locks
    to.lock_waits += st.lock_waits
    to.list_locks += st.list_locks
    to.visited += st.visited
    to.words += st.words


cdef int _update(SwapTable self, int op, slot, nr, uint64_t arg, uint64_t *old) except -1:
    cdef int64_t first = integer(slot, "slot")
    cdef int n = small(nr, "nr", 1, CLUSTER_SLOTS)
    cdef int err = update_one(area(self), op, first, n, arg, old, &self.stat)
    if err:
        _refuse(self, err, op, first, n, None)
    return n


cdef int _refuse(SwapTable self, int err, int op, int64_t slot, int nr, index) except -1:
    """Raise for a run that was refused; the message says what its first unfit slot is."""
    cdef str what = f"{_OPS[op]} of slot {slot}" + (f" and the {nr - 1} after it" if nr > 1 else "")
    if <uint64_t>slot >= area(self).slots:
        raise_errno(err, f"{what}: expected a slot from 0 to {area(self).slots - 1}", index)
    if (slot & (CLUSTER_SLOTS - 1)) + nr > CLUSTER_SLOTS:
        raise_errno(err, f"{what}: the run crosses the end of its cluster of {CLUSTER_SLOTS}", index)
    words = [area_word(area(self), slot + i) for i in range(nr)]
    i = next((i for i, w in enumerate(words) if _unfit(w, op)), 0)
    reason = {
        ENOENT: "not in use" if words[i] == 0 else {OP_PUT: "more users given up than there are", OP_CACHE_DEL: "not in the swap cache"}.get(op),
        EEXIST: "in the swap cache already", EOVERFLOW: "more users than 32 bits count", ENOMEM: "no memory for an overflow table",
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
    if err:
        if u.args != NULL and u.args[done] > u.most:
            raise_errno(EINVAL, f"{u.args[done]}: expected at most {u.most}", done)
        _refuse(self, err, op, s[done], nr, done)
    return 0


cdef int64_t in_range(SwapTable self, value) except -1:
    cdef int64_t slot = integer(value, "slot")
    if <uint64_t>slot >= area(self).slots:
        raise_errno(EINVAL, f"slot {slot}: expected 0 to {area(self).slots - 1}")
    return slot


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
        raise_errno(EINVAL, f"slot {(<int64_t *>s.buf)[done]}: expected 0 to {area(self).slots - 1}", done)
    return 0


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
        Emptied clusters wait for `run_discard` before they are used again.

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

    def __cinit__(self, slots=262144, cpus=1, header=True, bad=(), block=True, rotational=False, discard=False):
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
        if header:
            _mark(self, 0, "header")
        for slot in bad:
            _mark(self, slot, "bad")
        for slot in range(n, <int64_t>area(self).nr_clusters << CLUSTER_SHIFT):
            mark_bad(area(self), slot)
        if area(self).usable == 0:
            raise_errno(EINVAL, f"slots {slots}: none of them is usable")
        place_bad(area(self))

    def __init__(self, slots=262144, cpus=1, header=True, bad=(), block=True, rotational=False, discard=False):
        pass

    def __dealloc__(self):
        # A collector that clears a cycle may take the tables of a list before the list.
        if self.t != NULL and area(self).devices != NULL:
            devices_remove(<devices_t *>area(self).devices, area(self).kind)
        area_drop(<area_t *>self.t)

    # -- allocation

    def alloc(self, order=0, cpu=-1, pfn=0, memcg=0):
        """Allocate an aligned run of ``1 << order`` slots in the swap cache; its first slot.

        Parameters
        ----------
        order : int
            0 to 9.
        cpu : int
            Whose cursor; -1 is the calling thread's own.
        pfn, memcg : int
            Of the folio (41 bits) and who pays (16 bits); written to each word, with count 0.

        Raises
        ------
        SwapFullError
            No run of that order, by the kernel's search.

        Notes
        -----
        Runtime: O(1) at the cursor; otherwise one visit per cluster that the kernel's rules look at.
        """
        cdef request_t r
        cdef int64_t slot
        _request(&r, order, pfn, memcg)
        r.out, r.n = &slot, 1
        if alloc_runs(area(self), _cpu(cpu, area(self).cpus), &r, &self.stat):
            _full(self, r.order)
        return slot

    def alloc_many(self, n, order=0, cpu=-1, pfns=None, memcg=0):
        """Allocate up to *n* runs of ``1 << order`` slots; their first slots.

        Parameters
        ----------
        n : int
            How many runs.
        order, cpu, memcg
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
        _request(&r, order, 0, memcg)
        if pfns is not None:
            frames = as_args(pfns, "pfns", want)
            if want and np.max(frames) > PFN_MAX:
                raise_errno(EINVAL, f"pfns: {int(np.max(frames))} does not fit in 41 bits")
        array = np.empty(min(want, area(self).usable), np.int64)
        if array.shape[0] == 0:
            return array
        out = array
        r.out, r.n, r.pfns = &out[0], out.shape[0], NULL if pfns is None else &frames[0]
        memset(&st, 0, sizeof(st))
        with nogil:
            alloc_runs(area(self), c, &r, &st)
        add_stat(&self.stat, &st)
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
        is tried once more when owners let go of slots during it.
        """
        if callback is not None and not callable(callback):
            raise_errno(EINVAL, f"callback {callback!r}: expected a callable or None")
        self.reclaim = callback
        if callback is not None:
            area(self).reclaim_arg = <void *>self
            area(self).reclaim = ask_python

    # -- users, the swap cache, freeing

    def free(self, slot, nr=1):
        """Free *nr* slots from *slot* on, whatever their count: whoever holds them gives them up.

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

    def put_many(self, slots, nr=1):
        """One user less for each slot of the runs at *slots*. See `put`."""
        _update_many(self, OP_PUT, slots, nr, 1, None, None)

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

    def cache_del_many(self, slots, shadows=None, nr=1):
        """`cache_del` for the runs at *slots*, one shadow each (0 by default)."""
        _update_many(self, OP_CACHE_DEL, slots, nr, 0, shadows, None)

    def zero_set(self, slot, nr=1):
        """Flag *nr* slots as pages of zeros, which have no data anywhere."""
        _update(self, OP_ZERO_SET, slot, nr, 0, NULL)

    def zero_clear(self, slot, nr=1):
        """Take the zero flag back: the pages have data again."""
        _update(self, OP_ZERO_CLEAR, slot, nr, 0, NULL)

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
        return area_word(area(self), in_range(self, slot))

    def __len__(self):
        return area(self).slots

    def __iter__(self):
        # Without it, iteration would ask for slot after slot, one call each.
        raise TypeError("a SwapTable is not iterable; words() reads many slots at once")

    def entry(self, slot):
        """The word of one slot, decoded, its count exact; a :class:`SlotEntry`."""
        cdef uint64_t count
        cdef cluster_t *ci
        cdef int64_t at = in_range(self, slot)
        cdef uint64_t word = area_word(area(self), at)
        count = swp_tb_count(word) if swp_tb_counts(word) else 0
        if swp_tb_counts(word) and count == COUNT_MAX:
            ci = &area(self).clusters[at >> CLUSTER_SHIFT]
            lock_cluster(ci, &self.stat)
            word = area_word(area(self), at)
            count = count_of(ci, word, at & (CLUSTER_SLOTS - 1)) if swp_tb_counts(word) else 0
            spin_unlock(&ci.lock)
        return new_entry(word, count)

    # -- the whole

    def run_discard(self):
        """Discard what waits for it, as the kernel's worker does; the number of clusters made free."""
        cdef uint32_t n
        cdef swap_stat_t st
        memset(&st, 0, sizeof(st))
        with nogil:
            n = discard_all(area(self), &st)
        add_stat(&self.stat, &st)
        return n

    def trim(self):
        """Return the memory of tables that no cluster uses to the system."""
        with nogil:
            pool_trim(&area(self).pool)

    def usage(self):
        """Slots by state and clusters by list.

        Returns
        -------
        dict
            ``slots`` (with header and bad ones; clusters made so far times 512 where the table grows),
            ``usable``, ``used``, ``free``, ``cached``, ``swapped``, ``bad``, and ``clusters``: ``untouched``,
            ``free``, ``discard``, ``full``, ``nonfull`` and ``frag`` (a list of 10, by order).

        Notes
        -----
        Runtime: reads every table in use; beside other threads the figures are of slightly different moments.
        """
        cdef census_t s
        cdef lists_t lists
        cdef uint32_t listed
        cdef area_t *t = area(self)
        with nogil:
            count_kinds(t, &s)
            listed = area_lists(t, &lists)
        size = t.slots if not t.grows else listed * CLUSTER_SLOTS
        bad = s.kinds[KIND_BAD] - ((<uint64_t>t.nr_clusters << CLUSTER_SHIFT) - t.slots)
        # A batch that frees tells the device once it is done: until then others may have taken the same slots again.
        used = min(used_of(t), size - bad)
        return {
            "slots": size, "usable": size - bad, "used": used, "free": size - bad - used,
            "cached": s.kinds[KIND_FOLIO], "swapped": s.kinds[KIND_SHADOW], "bad": bad,
            "clusters": {
                "untouched": (t.nr_clusters if not t.grows else listed) - listed,
                "free": lists.free, "discard": lists.discard, "full": lists.full,
                "nonfull": list(lists.nonfull), "frag": list(lists.frag),
            },
        }

    def memory(self):
        """Bytes of memory by kind, counted where they are allocated and freed; "total" is their sum.

        Returns
        -------
        dict of int
            ``tables`` (of clusters in use), ``clusters`` (64-byte structures and table pointers, whole pages
            that were touched), ``overflow`` (counts beyond 14), ``limbo`` (dropped tables that a reader may
            still see), ``pool`` (free tables kept for the next cluster, until `trim`), ``fixed`` (the rest).
        """
        cdef bytes_t b
        area_memory(area(self), &b)
        by_kind = dict(b)
        return by_kind | {"total": sum(by_kind.values())}

    def stats(self):
        """Counts since the table was made: locks taken and waited for, clusters visited, words written.

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
        if err:
            where = f"slot {s.bad_slot}, word {area_word(area(self), s.bad_slot):#x}, " if s.bad_slot >= 0 else ""
            raise CheckError(f"{s.why.decode()} ({where}{self.usage()}, {self.memory()})")

    @property
    def cpus(self):
        return area(self).cpus

    def __repr__(self):
        size = "None" if area(self).grows else str(area(self).slots)
        return f"SwapTable(slots={size}, used={used_of(area(self))}, cpus={area(self).cpus})"


cdef bint _unfit(uint64_t word, int op) noexcept:
    """Is this the word that *op* was refused for? Counts in the overflow table are not looked at."""
    if not swp_tb_counts(word):
        return True
    if op == OP_PUT:
        return swp_tb_count(word) == 0
    return (op == OP_CACHE_ADD and swp_tb_is_folio(word)) or (op == OP_CACHE_DEL and swp_tb_is_shadow(word))


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

    cdef int _prepare(self, request_t *r, order, cpu, pfn, memcg, allowed) except -1:
        _field("allowed", allowed, ALL)
        _request(r, order, pfn, memcg)
        return _cpu(cpu, self.d.cpus)

    def alloc(self, order=0, cpu=-1, allowed=ALL, pfn=0, memcg=0):
        """Allocate an aligned run of ``1 << order`` slots; (swap type, first slot).

        Parameters
        ----------
        order, cpu, pfn, memcg
            As in `SwapTable.alloc`.
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
        cdef int c = self._prepare(&r, order, cpu, pfn, memcg, allowed)
        r.out, r.n = &slot, 1
        if devices_alloc(self.d, c, &r, &kind, allowed, &self.stat):
            raise_errno(ENOSPC, f"no room at order {order}: {self.used} of {self.usable} slots are used on {len(self)} devices")
        return kind, slot

    def alloc_many(self, n, order=0, cpu=-1, allowed=ALL, memcg=0):
        """Allocate up to *n* runs; (swap types as uint8, first slots as int64), shorter than *n* when full."""
        cdef request_t r
        cdef swap_stat_t st
        cdef int64_t[::1] out
        cdef uint8_t[::1] kinds
        cdef uint32_t mask
        cdef int c = self._prepare(&r, order, cpu, 0, memcg, allowed)
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
        return devices_used(self.d, &usable)

    @property
    def usable(self):
        """Slots that all devices have."""
        cdef int64_t usable
        devices_used(self.d, &usable)
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
            if self.d.listed[kind] != (used_of(area(<SwapTable>table)) < area(<SwapTable>table).usable):
                raise CheckError(f"swap type {kind}: listed as available: {bool(self.d.listed[kind])}, but {table!r}")
        if not cursors_are_members(self.d):
            raise CheckError(f"a cursor names a device that is not in the list: {self!r}")
        priorities = [self.d.priority[kind] for kind in self.available]
        if used != self.used or priorities != sorted(priorities, reverse=True) or len(set(self.available)) != len(priorities):
            raise CheckError(f"{used} slots used on the devices, {self.used} counted; available {self.available} at {priorities}")

    def __repr__(self):
        return f"DeviceList({len(self)} devices, used={self.used} of {self.usable})"
