# Allocation and free in batches and one by one, by order, warm and cold, in T.
# May import measure, numpy, swaptable.
# Used by asv and by python -m benchmarks.
"""Fill a table, empty it: order 0, folios of 16 slots, whole clusters."""

from __future__ import annotations

import numpy as np

import swaptable
from swaptable import _churn

from .measure import BIG, REPEATS, SEED, Case, Row, in_t, interleave, take_case


class Filled:
    """A table that is filled and emptied over and over, in order; its memory is there after the first time."""

    def __init__(self, slots: int, order: int) -> None:
        self.table, self.size, self.order = swaptable.SwapTable(slots=slots), slots, order
        self.runs = (slots - 512) >> order      # the header's cluster serves order 0 alone
        self.slots = np.empty(0, np.int64)
        self.shuffle = np.random.default_rng(SEED).permutation(self.runs)
        self.live = _churn.Live(self.slots, np.empty(0, np.uint8))

    def alloc(self) -> None:
        self.slots = self.table.alloc_many(self.runs, order=self.order)

    def free(self) -> None:
        self.table.free_many(self.slots, nr=1 << self.order)

    def alloc_each(self) -> None:
        self.live = _churn.fill(self.table, np.full(self.runs, self.order))[0]

    def free_each(self) -> None:
        _churn.drain(self.table, self.live)

    def cases(self) -> dict[str, Case]:
        """One cycle; what each case leaves is what the next one wants."""
        return {
            "alloc": (self.alloc, self.runs),
            "free": (self.free, self.runs),
            "alloc each": (self.alloc_each, self.runs),
            "free each": (self.free_each, self.runs),
        }


class Shuffled(Filled):
    """Freed in random order, which leaves the free clusters in random order too: a table of its own."""

    def alloc_mixed(self) -> None:
        self.alloc()
        self.slots = self.slots[self.shuffle]

    def cases(self) -> dict[str, Case]:
        return {"alloc mixed": (self.alloc_mixed, self.runs), "free shuffled": (self.free, self.runs)}


class Cold(Filled):
    """A new table each time: its memory is touched first."""

    def renew(self) -> None:
        self.table = swaptable.SwapTable(slots=self.size)

    def cases(self) -> dict[str, Case]:
        return {"new": (self.renew, 1), "cold alloc": (self.alloc, self.runs), "cold free": (self.free, self.runs)}


def warm_cases(slots: int, order: int) -> dict[str, Case]:
    """All of order *order*, with T."""
    return {"T": take_case(), **Filled(slots, order).cases(), **Shuffled(slots, order).cases()}


# order: name, unit, marks of alloc, marks of free in order, marks of free shuffled
GATES = {
    0: ("c1", "c2", "a slot", (1.5, 0.47), (1.0, 0.6), (4.1, 2.5)),
    4: ("c3", "c3", "a folio", (5.8, 3.2), (2.6, 1.3), (None, None)),
    9: ("c4", "c4", "a block", (72, 36), (72, 36), (None, None)),
}


def rows(repeats: int = REPEATS) -> list[Row]:
    """c1 to c4."""
    found = []
    for order, (alloc, free, unit, of_alloc, of_free, of_shuffled) in GATES.items():
        series = interleave(warm_cases(BIG, order), repeats)
        cold = interleave({"T": take_case(), **Cold(BIG, order).cases()}, 3)
        found += [
            in_t(series, "alloc", alloc, f"order {order} alloc, batch, {unit}", *of_alloc),
            in_t(series, "free", f"{free} free", f"order {order} free, in order, {unit}", *of_free),
            in_t(series, "free shuffled", f"{free} shuffled", f"order {order} free, shuffled, {unit}", *of_shuffled),
            in_t(series, "alloc each", f"{alloc} each", f"order {order} alloc, a C call each"),
            in_t(series, "free each", f"{free} free each", f"order {order} free, a C call each"),
            in_t(cold, "cold alloc", f"{alloc} cold", f"order {order} alloc, memory untouched"),
            in_t(cold, "cold free", f"{free} free cold", f"order {order} free, first time"),
        ]
    return found


class AllocFree:
    """A table filled and emptied."""

    params = ([0, 2, 4, 9], [1 << 20, BIG])
    param_names = ("order", "slots")

    def setup(self, order: int, slots: int) -> None:
        self.filled = Filled(slots, order)
        self.filled.alloc()
        self.filled.free()

    def time_batches(self, order: int, slots: int) -> None:
        self.filled.alloc()
        self.filled.free()

    def time_each(self, order: int, slots: int) -> None:
        self.filled.alloc_each()
        self.filled.free_each()

    def _in_t(self, case: str) -> float:
        return interleave(warm_cases(self.filled.size, self.filled.order)).ratio(case, "T")

    def track_alloc(self, order: int, slots: int) -> float:
        return self._in_t("alloc")

    def track_free(self, order: int, slots: int) -> float:
        return self._in_t("free")

    def track_free_shuffled(self, order: int, slots: int) -> float:
        return self._in_t("free shuffled")

    track_alloc.unit = track_free.unit = track_free_shuffled.unit = "T a run"


class ColdAllocFree:
    """The same with memory that was never touched."""

    params = ([0, 4, 9],)
    param_names = ("order",)

    def setup(self, order: int) -> None:
        self.cold = Cold(BIG, order)

    def track_cold_alloc(self, order: int) -> float:
        return interleave({"T": take_case(), **self.cold.cases()}, 3).ratio("cold alloc", "T")

    track_cold_alloc.unit = "T a run"
