# Loops over single table operations with no Python in between: ageing, steady state, and bare loops as their bounds.
# May import the public face of the core, the designs' protocol, words, errors: it embeds a table as any outsider would.
# Used by the benchmarks and by test fixtures that want an aged table.
"""Age a table and measure its steady state, one operation after another, without Python in the loop."""

from libc.errno cimport EINVAL, ENOSPC
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.string cimport memset

from swaptable._atomic cimport load_ptr, prefetch_read, prefetch_write, spin_lock, spin_unlock, store_relaxed, swap_stat_t
from swaptable._core cimport SwapTable, table_alloc, table_alloc_contiguous, table_free, table_t, table_usable, table_used
from swaptable.designs._design cimport Design

from typing import NamedTuple

import numpy as np

from swaptable.errors import raise_errno

cdef enum:
    AHEAD = 16              # the live runs of later victims are fetched, so that a pair's time is the table's
    MOST_ORDER = 9
    NO_SLOT = -1


class Live(NamedTuple):
    """Live runs: ``slots`` (int64, first slots; -1 for a run that got no room) and ``orders`` (uint8)."""

    slots: np.ndarray
    orders: np.ndarray


class Churned(NamedTuple):
    """What a loop did: operations or pairs ``done``, ``failures`` among them, and the table's counts for them."""

    done: int
    failures: int
    stat: dict


# ---- kernels

cdef inline int alloc_one(table_t *t, work_t *w, int order, int cpu, int64_t *slot, swap_stat_t *st) noexcept nogil:
    if w.contiguous:
        return table_alloc_contiguous(t, order, cpu, 0, 0, slot, st)
    return table_alloc(t, order, cpu, 0, 0, slot, st)


cdef inline int replace(table_t *t, work_t *w, int64_t v, int cpu, swap_stat_t *st) noexcept nogil:
    """Free live run *v* and allocate its successor. Return: 0 (without room too) or -errno."""
    cdef int err = 0
    if w.slots[v] >= 0:
        err = table_free(t, w.slots[v], 1 << w.orders[v], st)
        if err:
            return err
    if w.wanted != NULL:
        w.orders[v] = w.wanted[w.done]
    err = alloc_one(t, w, w.orders[v], cpu, &w.slots[v], st)
    if err == -ENOSPC:
        w.slots[v] = NO_SLOT
        w.failures += 1
        return 0
    return err


cdef int churn_run(table_t *t, work_t *w, int cpu, swap_stat_t *st) noexcept nogil:
    """Replace every victim in turn, strictly one pair after another.

    Context: no locks. Return: 0 or -errno; w.done pairs were done.
    """
    cdef int64_t ahead
    cdef int err
    while w.done < w.n:
        ahead = w.done + AHEAD
        if ahead < w.n:
            prefetch_write(&w.slots[w.victims[ahead]])
            prefetch_read(&w.orders[w.victims[ahead]])
        err = replace(t, w, w.victims[w.done], cpu, st)
        if err:
            return err
        w.done += 1
    return 0


cdef int fill_run(table_t *t, work_t *w, int cpu, int64_t room, swap_stat_t *st) noexcept nogil:
    """Allocate runs of w.orders one by one until all are made or *room* slots are used up.

    A run that does not fit in what is left of *room* is skipped, one without room in the table too.
    Context: no locks. Return: 0 or -errno.
    """
    cdef int err
    while w.done < w.n and room > 0:
        w.slots[w.done] = NO_SLOT
        if <int64_t>1 << w.orders[w.done] <= room:
            err = alloc_one(t, w, w.orders[w.done], cpu, &w.slots[w.done], st)
            if err == 0:
                room -= <int64_t>1 << w.orders[w.done]
            elif err == -ENOSPC:
                w.failures += 1
            else:
                return err
        w.done += 1
    return 0


cdef int drain_run(table_t *t, work_t *w, swap_stat_t *st) noexcept nogil:
    """Free every live run, one by one. Context: no locks. Return: 0 or -errno."""
    cdef int err
    while w.done < w.n:
        if w.slots[w.done] >= 0:
            err = table_free(t, w.slots[w.done], 1 << w.orders[w.done], st)
            if err:
                return err
            w.slots[w.done] = NO_SLOT
        w.done += 1
    return 0


# ---- Python

cdef int _cpu(SwapTable table, int cpu) except -1:
    if not 0 <= cpu < table.cpus:
        raise_errno(EINVAL, f"cpu {cpu}: expected 0 to {table.cpus - 1}")
    return cpu


cdef int _opened(live, work_t *w) except -1:
    """The arrays of *live* in *w*, checked."""
    cdef int64_t[::1] slots
    cdef uint8_t[::1] orders
    try:
        slots, orders = live
    except (TypeError, ValueError) as e:
        raise_errno(EINVAL, f"live: expected writable, contiguous int64 slots and uint8 orders: {e}")
    if slots.shape[0] != orders.shape[0]:
        raise_errno(EINVAL, f"live: {slots.shape[0]} slots, but {orders.shape[0]} orders")
    memset(w, 0, sizeof(work_t))
    if slots.shape[0]:
        w.slots, w.orders, w.n = &slots[0], &orders[0], slots.shape[0]
        _bound("order", live[1], MOST_ORDER)
    return 0


def _bound(str what, array, int64_t most):
    """Refuse the first element of *array* that is not from 0 to *most*, naming it."""
    if array.size and (array.min() < 0 or array.max() > most):
        i = int(np.argmax((array < 0) | (array > most)))
        raise_errno(EINVAL, f"{what} {array[i]}: expected 0 to {most}", i)


def _indices(victims, n):
    """*victims* as int64 indices into *n* live runs."""
    array = np.asarray(victims)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise_errno(EINVAL, f"victims: expected indices, not {array.dtype} with shape {array.shape}")
    _bound("victim", array, n - 1)
    return np.ascontiguousarray(array, np.int64)


def _orders_array(orders, n):
    """*orders*, one or *n* of them, as *n* bytes."""
    array = np.asarray(orders)
    if array.dtype.kind not in "iu" or array.shape not in ((), (n,)):
        raise_errno(EINVAL, f"orders: expected an order or {n} of them, not {array.dtype} with shape {array.shape}")
    _bound("order", array.reshape(-1), MOST_ORDER)
    return np.array(np.broadcast_to(array, (n,)), np.uint8)


cdef object _result(work_t *w, swap_stat_t *st, int err, str what):
    if err:
        raise_errno(err, f"{what} of a live run was refused: it is no longer what the table says", w.done)
    return Churned(w.done, w.failures, st[0])


def victims(runs, n, kind="random", seed=0):
    """Choose which of *runs* live runs goes, *n* times.

    Parameters
    ----------
    runs, n : int
    kind : str
        "random", or "fifo": the oldest, since a successor takes its victim's place.
    seed : int
        Of the random ones.

    Returns
    -------
    ndarray of int64, shape (n,)

    >>> victims(3, 5, "fifo")
    array([0, 1, 2, 0, 1])
    """
    if runs < 1 or n < 0:
        raise_errno(EINVAL, f"runs {runs}, n {n}: expected at least 1 and 0")
    if kind == "random":
        return np.random.default_rng(seed).integers(0, runs, n)
    if kind == "fifo":
        return np.arange(n) % runs
    raise_errno(EINVAL, f"kind {kind!r}: expected 'random' or 'fifo'")


def churn(SwapTable table, live, victims, orders=None, cpu=0, contiguous=False):
    """Free live runs and allocate their successors, strictly one pair after another, without the GIL.

    Parameters
    ----------
    table : SwapTable
    live : Live
        Changed in place: a successor takes its victim's index. A run of -1 is allocated only.
    victims : array of int, shape (n,)
        Indices into *live*.
    orders : int or array of int, shape (n,), optional
        The successors'; by default the victims' own.
    cpu : int
        Whose cursors.
    contiguous : bool
        Past the end, where the kernel's search fails.

    Returns
    -------
    Churned
        Failures are allocations without room; their run is -1 until it is a victim again.

    Raises
    ------
    SwapValueError
        A value out of range; the message names it.
    SlotNotInUseError
        A live run is free already; ``index`` says at which victim.

    >>> from swaptable import SwapTable
    >>> table = SwapTable(slots=1024)
    >>> live = fill(table, [0, 0, 0])[0]
    >>> churn(table, live, [0, 1]).done, live.slots
    (2, array([4, 5, 3]))
    """
    cdef work_t w
    cdef swap_stat_t st
    cdef int64_t[::1] v
    cdef uint8_t[::1] wanted
    cdef int err, c = _cpu(table, cpu)
    _opened(live, &w)
    v = _indices(victims, w.n)
    w.n = v.shape[0]
    w.victims = &v[0] if w.n else NULL
    w.contiguous = contiguous
    if orders is not None:
        wanted = _orders_array(orders, w.n)
        w.wanted = &wanted[0] if w.n else NULL
    memset(&st, 0, sizeof(st))
    with nogil:
        err = churn_run(table.t, &w, c, &st)
    return _result(&w, &st, err, "free")


def fill(SwapTable table, orders, cpu=0, room=None, contiguous=False):
    """Allocate runs one by one, without the GIL.

    Parameters
    ----------
    table : SwapTable
    orders : array of int, shape (n,)
    cpu : int
        Whose cursors.
    room : int, optional
        Stop when this many slots are allocated; a run too large for what is left is passed over.
    contiguous : bool
        Past the end, where the kernel's search fails.

    Returns
    -------
    Live, Churned
        The runs that were made, and the counts.
    """
    cdef work_t w
    cdef swap_stat_t st
    cdef int64_t most = INT64_MAX if room is None else room
    cdef int err, c = _cpu(table, cpu)
    live = Live(np.full(len(orders), NO_SLOT), _orders_array(orders, len(orders)))
    _opened(live, &w)
    w.contiguous = contiguous
    memset(&st, 0, sizeof(st))
    with nogil:
        err = fill_run(table.t, &w, c, most, &st)
    return _made(live), _result(&w, &st, err, "allocation")


def _made(live):
    """The runs of *live* that have slots."""
    keep = live.slots >= 0
    return live if keep.all() else Live(live.slots[keep], live.orders[keep])


def drain(SwapTable table, live):
    """Free every run of *live* one by one, in its order, without the GIL; the inverse of `fill`.

    Returns
    -------
    Churned
        The slots of *live* are -1 now.
    """
    cdef work_t w
    cdef swap_stat_t st
    cdef int err
    _opened(live, &w)
    memset(&st, 0, sizeof(st))
    with nogil:
        err = drain_run(table.t, &w, &st)
    return _result(&w, &st, err, "free")


def draw(orders, n, seed=0):
    """Draw *n* orders from the mix {order: weight}; weights are shares of allocations, not of slots.

    >>> draw({4: 1.0}, 3)
    array([4, 4, 4], dtype=uint8)
    """
    weights = np.array(list(orders.values()), float)
    for order, weight in orders.items():
        if order not in range(MOST_ORDER + 1) or not weight >= 0:
            raise_errno(EINVAL, f"orders {{{order!r}: {weight!r}}}: expected an order from 0 to 9 and a weight of 0 or more")
    if not 0 < weights.sum() < np.inf:
        raise_errno(EINVAL, f"orders {orders!r}: expected weights with a sum")
    picked = np.random.default_rng(seed).choice(np.array(list(orders), np.uint8), n, p=weights / weights.sum())
    return np.ascontiguousarray(picked)


def age(SwapTable table, occupancy, orders=None, rounds=1, seed=0, cpu=0):
    """Fill a table to an occupancy with a mix of orders, then replace random runs by others of their order.

    Parameters
    ----------
    table : SwapTable
        Empty, or with runs of the caller's.
    occupancy : float
        Share of the usable slots that are used afterwards, 0 to 1. Large orders that find no room leave it lower.
    orders : dict of int to float, optional
        Order to weight, by allocations; order 0 alone by default.
    rounds : float
        Pairs per live run.
    seed : int
    cpu : int
        Whose cursors.

    Returns
    -------
    Live

    Raises
    ------
    SwapValueError
        A value out of range; the message names it.

    >>> from swaptable import SwapTable
    >>> table = SwapTable(slots=1024)
    >>> live = age(table, 0.5, {0: 1.0, 2: 1.0}, rounds=2)
    >>> int((1 << live.orders.astype(int)).sum())
    511
    """
    cdef int64_t room
    if not 0 <= occupancy <= 1:
        raise_errno(EINVAL, f"occupancy {occupancy!r}: expected 0 to 1")
    if not 0 <= rounds < np.inf:
        raise_errno(EINVAL, f"rounds {rounds!r}: expected 0 or more")
    orders = {0: 1.0} if orders is None else orders
    room = int(occupancy * table_usable(table.t)) - table_used(table.t)
    if room <= 0:
        return Live(np.empty(0, np.int64), np.empty(0, np.uint8))
    draw(orders, 0)         # refuses a bad mix before the sum below would
    mean = sum(weight * (1 << order) for order, weight in orders.items()) / sum(orders.values())
    wanted = draw(orders, int(room / mean * 1.1) + 64, seed)
    live, _ = fill(table, wanted, cpu, room)
    if len(live.slots) and rounds:
        churn(table, live, victims(len(live.slots), int(rounds * len(live.slots)), seed=seed + 1), cpu=cpu)
    return _made(live)


# ---- what the table is compared with, in the same loops

def lookup_design(Design design, entries):
    """Look up the swap cache for every entry through the design's table of functions; the sum of what was found.

    Parameters
    ----------
    design : Design
    entries : ndarray of int64, shape (n,)

    Returns
    -------
    int
        pfns added up, with -1 for each entry that is not cached; modulo 2^64.
    """
    cdef const int64_t[::1] e = entries
    cdef int64_t k, n = e.shape[0]
    cdef uint64_t total = 0
    if design.ops == NULL:
        raise TypeError("lookup_design: expected a design made by swaptable.designs.make()")
    with nogil:
        for k in range(n):
            total += <uint64_t>design.ops.cache_get(design.state, <uint64_t>e[k])
    return total


def alu(int64_t n):
    """*n* steps of a dependent chain of shifts and xors, without the GIL or memory: how far threads can scale here."""
    cdef uint64_t x = 88172645463325252
    with nogil:
        while n > 0:
            n -= 1
            x ^= x << 13
            x ^= x >> 7
            x ^= x << 17
    return x


cdef class BareTable:
    """The memory layout of a table and nothing of its work: a bound, not a swap table.

    Clusters of 64 bytes with a lock, an array of table pointers, tables of 512 words. `store_many` is the least
    that a locked update of a slot can cost; it checks nothing.

    Parameters
    ----------
    slots : int
        A multiple of 512.
    """

    cdef object arrays
    cdef uint8_t *clusters
    cdef uint64_t **tables
    cdef uint64_t slots

    def __cinit__(self, slots):
        cdef uint8_t[::1] clusters
        cdef uint64_t[::1] words
        cdef uint64_t[::1] pointers
        cdef uint64_t i
        if slots < 512 or slots % 512:
            raise_errno(EINVAL, f"slots {slots}: expected a multiple of 512")
        self.slots = slots
        clusters, words = np.zeros(slots // 8 + 64, np.uint8), np.ones(slots + 512, np.uint64)
        pointers = np.zeros(slots // 512, np.uint64)
        self.arrays = clusters, words, pointers
        self.clusters = &clusters[0] + (-<uint64_t>&clusters[0] & 63)
        self.tables = <uint64_t **>&pointers[0]
        for i in range(self.slots // 512):
            self.tables[i] = <uint64_t *>(<uint64_t>&words[511] & ~<uint64_t>4095) + i * 512

    def __init__(self, slots):
        pass

    def store_many(self, const int64_t[::1] slots, uint64_t word=1):
        """Lock the cluster, store *word*, unlock, for every slot in turn."""
        cdef int64_t k, n = slots.shape[0], slot = 0
        cdef uint8_t *lock
        with nogil:
            for k in range(n):
                slot = slots[k]
                if <uint64_t>slot >= self.slots:
                    break
                lock = self.clusters + (<uint64_t>slot >> 9) * 64
                spin_lock(lock)
                store_relaxed(<uint64_t *>load_ptr(&self.tables[<uint64_t>slot >> 9]) + (slot & 511), word)
                spin_unlock(lock)
        if n and <uint64_t>slot >= self.slots:
            raise_errno(EINVAL, f"slot {slot}: expected 0 to {self.slots - 1}")
