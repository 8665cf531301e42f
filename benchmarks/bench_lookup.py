# Batch look-ups and batch locked updates, against numpy.take, a radix tree, and a bare loop of locks and stores.
# May import measure, numpy, swaptable.
# Used by asv and by python -m benchmarks.
"""Batch look-ups and updates on a table of 2^23 slots in use."""

from __future__ import annotations

import numpy as np

import swaptable
from swaptable import _churn
from swaptable.designs import make

from .measure import BIG, LOOKUPS, REPEATS, Case, Row, against, interleave, random_slots, take_case


def full_table(slots: int) -> swaptable.SwapTable:
    """A table whose slots are all in use, all in the swap cache."""
    table = swaptable.SwapTable(slots=slots)
    table.alloc_many(slots)
    return table


def lookup_cases(slots: int) -> dict[str, Case]:
    """Random and sequential batches, and numpy.take on as many words."""
    table, words = full_table(slots), np.arange(slots, dtype=np.uint64)
    n = min(LOOKUPS, slots - 1)
    scattered, in_order = random_slots(slots, n), np.arange(1, n + 1)
    out = np.empty(n, np.uint64)
    return {
        "random": (lambda: table.words(scattered, out=out), n),
        "take": (lambda: words.take(scattered, out=out, mode="clip"), n),
        "sequential": (lambda: table.words(in_order, out=out), n),
        "take sequential": (lambda: words.take(in_order, out=out, mode="clip"), n),
    }


def tree_cases(slots: int) -> dict[str, Case]:
    """The same random slots in a table and in the radix trees of Linux before the swap table."""
    table, old = swaptable.SwapTable(slots=slots), make("old", slots)
    for first in table.alloc_many(slots // 512, order=9):
        if old.alloc(9) != first:
            raise AssertionError(f"the designs differ at slot {first}")
    index = random_slots(slots)
    out = np.empty(index.size, np.uint64)
    return {
        "radix tree": (lambda: _churn.lookup_design(old, index), index.size),
        "table": (lambda: table.words(index, out=out), index.size),
    }


def update_cases(slots: int) -> dict[str, Case]:
    """One more and one less user for random slots, and a lock and a store for each in the same memory layout."""
    table, bare = full_table(slots), _churn.BareTable(slots)
    index = random_slots(slots)
    return {
        "dup": (lambda: table.dup_many(index), index.size),
        "put": (lambda: table.put_many(index), index.size),
        "bare lock and store": (lambda: bare.store_many(index), index.size),
    }


def rows(repeats: int = REPEATS) -> list[Row]:
    """b1 to b4."""
    series = interleave({"T": take_case(), **lookup_cases(BIG)}, repeats)
    trees = interleave(tree_cases(BIG), repeats)
    updates = interleave(update_cases(BIG), repeats)
    return [
        against(series, "random", "take", "b1", "look-up, random over 2^23", 1.2, 1.0),
        Row("b2", "radix tree over ours, same slots", trees.ratio("radix tree", "table"), "x", trees.ns("table"),
            "radix tree", trees.ns("radix tree"), 8, 18, higher=True),
        against(series, "sequential", "take sequential", "b3", "look-up, sequential", 2.0, 1.3),
        against(updates, "dup", "bare lock and store", "b4", "dup, random over 2^23", 1.3, 0.7),
        against(updates, "put", "bare lock and store", "b4 put", "put, random over 2^23"),
    ]


class Lookup:
    """`SwapTable.words` with out=, every slot in use."""

    params = ([1 << 20, BIG], ["random", "sequential"])
    param_names = ("slots", "order")

    def setup(self, slots: int, order: str) -> None:
        self.cases = lookup_cases(slots)

    def time_words(self, slots: int, order: str) -> None:
        self.cases[order][0]()

    def track_words_over_take(self, slots: int, order: str) -> float:
        return interleave(self.cases).ratio(order, "take" if order == "random" else "take sequential")

    track_words_over_take.unit = "x numpy.take"


class Tree:
    """The swap cache's radix tree of Linux before the swap table, on the same slots."""

    params = (1 << 20, BIG)
    param_names = ("slots",)

    def setup(self, slots: int) -> None:
        self.cases = tree_cases(slots)

    def track_tree_over_words(self, slots: int) -> float:
        return interleave(self.cases).ratio("radix tree", "table")

    track_tree_over_words.unit = "x"


class Update:
    """Batch locked updates at random."""

    params = (1 << 20, BIG)
    param_names = ("slots",)

    def setup(self, slots: int) -> None:
        self.cases = update_cases(slots)

    def time_dup_put_many(self, slots: int) -> None:
        self.cases["dup"][0]()
        self.cases["put"][0]()

    def track_dup_over_bare(self, slots: int) -> float:
        return interleave(self.cases).ratio("dup", "bare lock and store")

    track_dup_over_bare.unit = "x bare lock and store"
