# Scalar calls from Python: the price of one call, against a dict, a numpy element, a bitarray.
# May import measure, numpy, bitarray, swaptable.
# Used by asv and by python -m benchmarks.
"""One Python call a slot."""

from __future__ import annotations

import numpy as np
from bitarray import bitarray

import swaptable
from swaptable import _churn

from .bench_lookup import full_table
from .measure import BIG, REPEATS, Case, Row, Series, against, interleave, random_slots

CALLS = 100_000


def get_each(container: object, keys: list[int]) -> None:
    """``container[k]`` for every key; the loop is in every peer's time too."""
    for k in keys:
        container[k]  # type: ignore[index]


def get_cases(slots: int, keys: list[int]) -> dict[str, Case]:
    """The same keys of a table, a dict, a numpy array."""
    table, words = full_table(slots), np.arange(slots, dtype=np.uint64)
    dictionary = dict(enumerate(words.tolist()))
    return {
        "t[k]": (lambda: get_each(table, keys), len(keys)),
        "dict": (lambda: get_each(dictionary, keys), len(keys)),
        "numpy element": (lambda: get_each(words, keys), len(keys)),
    }


def pair_table(table: swaptable.SwapTable, n: int) -> None:
    """Allocate and free *n* times."""
    alloc, free = table.alloc, table.free
    for _ in range(n):
        free(alloc())


def pair_bits(bits: bitarray, n: int) -> None:
    """First fit on a bit map, *n* times."""
    find = bits.find
    for _ in range(n):
        slot = find(0)
        bits[slot] = 1
        bits[slot] = 0


def pair_cases(slots: int, occupancy: float) -> dict[str, Case]:
    """An aged table; a bitarray as its own first fit leaves it, used slots in front; one whose first slot is free."""
    table = swaptable.SwapTable(slots=slots)
    _churn.age(table, occupancy, rounds=1, seed=1)
    packed, empty = bitarray(slots), bitarray(slots)
    packed.setall(0)
    empty.setall(0)
    packed[: int(slots * occupancy)] = 1
    return {
        "alloc + free": (lambda: pair_table(table, CALLS), CALLS),
        "bitarray find+set+clear": (lambda: pair_bits(packed, CALLS), CALLS),
        "bitarray, no search": (lambda: pair_bits(empty, CALLS), CALLS),
    }


def batch_of_one_cases() -> dict[str, Case]:
    """The fixed cost of a batch call beside a numpy ufunc's."""
    table = full_table(1 << 16)
    slots, out = np.array([5]), np.zeros(1, np.uint64)
    one, total = np.ones(1, np.uint64), np.zeros(1, np.uint64)

    def words() -> None:
        call = table.words
        for _ in range(CALLS):
            call(slots, out=out)

    def ufunc() -> None:
        call = np.add
        for _ in range(CALLS):
            call(one, one, out=total)

    return {"words of 1": (words, CALLS), "np.add of 1": (ufunc, CALLS)}


def rows(repeats: int = REPEATS) -> list[Row]:
    """a1 to a4."""
    hot = interleave(get_cases(1 << 16, random_slots(256, CALLS).tolist()), repeats)
    cold = interleave(get_cases(BIG, random_slots(BIG, CALLS * 2).tolist()), repeats)
    batch = interleave(batch_of_one_cases(), repeats)
    found = [
        against(hot, "t[k]", "dict", "a1", "t[k], hot", 2.0, 1.0),
        against(cold, "t[k]", "dict", "a2", "t[k], random over 2^23", 1.5, 1.2),
        against(cold, "t[k]", "numpy element", "a2 numpy", "the same", stretch=1.0),
    ]
    for occupancy in (0.5, 0.9):
        pair: Series = interleave(pair_cases(1 << 20, occupancy), repeats)
        name = f"a3 {occupancy:.0%}"
        what = "scalar alloc + free, 2^20 slots"
        found.append(against(pair, "alloc + free", "bitarray find+set+clear", name, what, 0.6, 0.35))
        found.append(against(pair, "alloc + free", "bitarray, no search", name, "the same, the peer's first slot free"))
    return [*found, against(batch, "words of 1", "np.add of 1", "a4", "batch call of one slot", stretch=1.2)]


class Get:
    """``t[k]`` in a Python loop."""

    params = ("t[k]", "dict", "numpy element")
    param_names = ("container",)

    def setup(self, container: str) -> None:
        self.hot = get_cases(1 << 16, random_slots(256, CALLS).tolist())
        self.random = get_cases(1 << 22, random_slots(1 << 22, CALLS).tolist())

    def time_hot(self, container: str) -> None:
        self.hot[container][0]()

    def time_random(self, container: str) -> None:
        self.random[container][0]()

    def track_hot_over_dict(self, container: str) -> float:
        return interleave(self.hot).ratio(container, "dict")

    def track_random_over_dict(self, container: str) -> float:
        return interleave(self.random).ratio(container, "dict")

    track_hot_over_dict.unit = track_random_over_dict.unit = "x dict"


class Pair:
    """One slot allocated and freed, each by a Python call."""

    params = (0.5, 0.9)
    param_names = ("occupancy",)

    def setup(self, occupancy: float) -> None:
        self.cases = pair_cases(1 << 20, occupancy)

    def time_alloc_free(self, occupancy: float) -> None:
        self.cases["alloc + free"][0]()

    def track_over_bitarray(self, occupancy: float) -> float:
        return interleave(self.cases).ratio("alloc + free", "bitarray find+set+clear")

    track_over_bitarray.unit = "x bitarray"


class BatchOfOne:
    """The fixed cost of a batch call."""

    def setup(self) -> None:
        self.cases = batch_of_one_cases()

    def time_words_of_one(self) -> None:
        self.cases["words of 1"][0]()

    def track_over_ufunc(self) -> float:
        return interleave(self.cases).ratio("words of 1", "np.add of 1")

    track_over_ufunc.unit = "x np.add"
