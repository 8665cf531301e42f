# Steady state: one run freed, one allocated, by occupancy, orders and victim; and with Python's containers.
# May import measure, numpy, bitarray, sortedcontainers, swaptable.
# Used by asv and by python -m benchmarks.
"""A free + alloc pair on an aged table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from bitarray import bitarray
from sortedcontainers import SortedList

import swaptable
from swaptable import _churn

from .measure import BIG, REPEATS, SEED, Case, Row, against, elapsed, in_t, interleave, take_case

MIXED = {0: 0.6, 2: 0.25, 4: 0.14, 9: 0.01}
ORDERS = {"0": {0: 1.0}, "4": {4: 1.0}, "9": {9: 1.0}, "mixed": MIXED}
PAIRS = 200_000
PYTHON_PAIRS = 50_000


class Aged:
    """A table at an occupancy, aged by the kind of victims that it is then measured with."""

    def __init__(self, slots: int, occupancy: float, orders: str = "0", kind: str = "random") -> None:
        self.table, self.kind, self.place = swaptable.SwapTable(slots=slots), kind, 0
        self.live = _churn.age(self.table, occupancy, ORDERS[orders], rounds=1 if kind == "random" else 0, seed=SEED)
        if len(self.live.slots) == 0:       # an empty table: one run that comes and goes
            self.live, _ = _churn.fill(self.table, _churn.draw(ORDERS[orders], 1, SEED))
        if kind == "fifo":
            _churn.churn(self.table, self.live, np.arange(len(self.live.slots)))

    def victims(self) -> np.ndarray:
        """The next of an endless stream."""
        runs, self.place = len(self.live.slots), self.place + PAIRS
        if self.kind == "random":
            return _churn.victims(runs, PAIRS, seed=SEED + self.place)
        return np.arange(self.place, self.place + PAIRS) % runs

    def churn(self) -> _churn.Churned:
        return _churn.churn(self.table, self.live, self.victims())

    def timed(self) -> float:
        """Nanoseconds a pair, without the making of the victims."""
        chosen = self.victims()
        return elapsed(lambda: _churn.churn(self.table, self.live, chosen)) / PAIRS


def pair_scalar(table: swaptable.SwapTable, live: list[int], victims: list[int]) -> None:
    """The table, a Python call each."""
    alloc, free = table.alloc, table.free
    for v in victims:
        free(live[v])
        live[v] = alloc()


def pair_dict(free: dict[int, None], live: list[int], victims: list[int]) -> None:
    """A free list: last in, first out."""
    for v in victims:
        free[live[v]] = None
        live[v] = free.popitem()[0]


def pair_bitarray(bits: bitarray, live: list[int], victims: list[int]) -> None:
    """First fit on a bit map."""
    find = bits.find
    for v in victims:
        bits[live[v]] = 0
        live[v] = slot = find(0)
        bits[slot] = 1


def pair_sorted(free: SortedList, live: list[int], victims: list[int]) -> None:
    """First fit on a sorted list of what is free."""
    for v in victims:
        free.add(live[v])
        live[v] = free.pop(0)


def python_cases(slots: int, occupancy: float) -> dict[str, Case]:
    """The same victims of order 0 for the table and for what a Python user has without it."""
    table = swaptable.SwapTable(slots=slots)
    live = _churn.age(table, occupancy, rounds=1, seed=SEED).slots
    free = np.setdiff1d(np.arange(1, slots), live)
    bits = bitarray(slots)
    bits.setall(1)
    for slot in free.tolist():
        bits[slot] = 0
    victims = _churn.victims(len(live), PYTHON_PAIRS, seed=SEED).tolist()

    def case(pair: Callable[..., None], state: object) -> Case:
        own = live.tolist()
        return (lambda: pair(state, own, victims)), PYTHON_PAIRS

    return {
        "table": case(pair_scalar, table),
        "dict free list": case(pair_dict, dict.fromkeys(free.tolist())),
        "bitarray first fit": case(pair_bitarray, bits),
        "sortedcontainers": case(pair_sorted, SortedList(free.tolist())),
    }


def steady_rows(slots: int, repeats: int) -> list[Row]:
    """c5 and c6 at one size, order 0 and mixed, all interleaved."""
    small = slots < BIG
    size = f"2^{slots.bit_length() - 1} slots"
    aged = {
        (kind, orders, occupancy): Aged(slots, occupancy, orders, kind)
        for kind in ("random", "fifo") for orders in ("0", "mixed") for occupancy in (0.5, 0.9)
    }
    series = interleave({"T": take_case(), **{str(key): (a.timed, 0) for key, a in aged.items()}}, repeats)
    found = []
    for kind, orders, occupancy in aged:
        marks: tuple[float | None, float | None] = (46, 23 if small else 30) if kind == "random" else (7.4, 3.9)
        if orders != "0":
            marks = None, None
        name = f"{'c5' if kind == 'random' else 'c6'} {occupancy:.0%}"
        what = f"{kind} victim, order {orders}, {size}"
        found.append(in_t(series, str((kind, orders, occupancy)), name, what, *marks))
    return found


def rows(repeats: int = REPEATS) -> list[Row]:
    """c5, c6, and Python's containers."""
    found = steady_rows(BIG, repeats) + steady_rows(1 << 20, repeats)
    for occupancy in (0.5, 0.9):
        series = interleave(python_cases(1 << 20, occupancy), min(repeats, 3))
        found += [
            against(series, "table", peer, f"c5 python {occupancy:.0%}", "the same from Python, order 0, 2^20 slots")
            for peer in list(series)[1:]
        ]
    return found


class Steady:
    """Time of a pair."""

    params = (["random", "fifo"], list(ORDERS), [0.5, 0.9], [1 << 20, BIG])
    param_names = ("victim", "orders", "occupancy", "slots")

    def setup(self, victim: str, orders: str, occupancy: float, slots: int) -> None:
        self.aged = Aged(slots, occupancy, orders, victim)
        self.chosen = self.aged.victims()

    def time_pairs(self, victim: str, orders: str, occupancy: float, slots: int) -> None:
        _churn.churn(self.aged.table, self.aged.live, self.chosen)

    def track_pair(self, victim: str, orders: str, occupancy: float, slots: int) -> float:
        return interleave({"T": take_case(), "pair": (self.aged.timed, 0)}).ratio("pair", "T")

    track_pair.unit = "T a pair"


class Work:
    """What a pair costs in clusters looked at and locks taken: no noise."""

    params = (list(ORDERS), [0.0, 0.5, 0.9, 0.97])
    param_names = ("orders", "occupancy")

    def setup(self, orders: str, occupancy: float) -> None:
        self.aged = Aged(1 << 20, occupancy, orders)

    def _each(self, what: str) -> float:
        done = self.aged.churn()
        return done.stat[what] / done.done

    def track_clusters_visited(self, orders: str, occupancy: float) -> float:
        return self._each("visited")

    def track_cluster_locks(self, orders: str, occupancy: float) -> float:
        return self._each("cluster_locks")

    def track_list_locks(self, orders: str, occupancy: float) -> float:
        return self._each("list_locks")

    def track_failures(self, orders: str, occupancy: float) -> float:
        done = self.aged.churn()
        return 100 * done.failures / done.done

    track_clusters_visited.unit = "clusters a pair"
    track_cluster_locks.unit = track_list_locks.unit = "locks a pair"
    track_failures.unit = "% of allocations"


class Python:
    """The table from Python against Python's own containers."""

    params = ([0.5, 0.9], ["dict free list", "bitarray first fit", "sortedcontainers"])
    param_names = ("occupancy", "peer")

    def setup(self, occupancy: float, peer: str) -> None:
        self.cases = python_cases(1 << 20, occupancy)

    def track_table_over_peer(self, occupancy: float, peer: str) -> float:
        return interleave({name: self.cases[name] for name in ("table", peer)}).ratio("table", peer)

    track_table_over_peer.unit = "x"
