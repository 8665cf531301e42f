# How the benchmarks measure: cases interleaved in one process, medians, ratios against a peer, the unit T.
# May import numpy and swaptable.
# Used by every bench_*.py and by __main__.
"""Interleaved measurement: a nanosecond figure moves with the machine, a ratio of neighbours hardly does."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import thread_time_ns

import numpy as np

REPEATS = 9
BIG = 1 << 23
LOOKUPS = 1_000_000
SEED = 1

Case = tuple[Callable[[], object], int]


class Series(dict[str, list[float]]):
    """Nanoseconds per item of each case, one for each repeat."""

    def ns(self, name: str) -> float:
        """Median of a case."""
        return float(np.median(self[name]))

    def ratio(self, name: str, peer: str) -> float:
        """Median over the repeats of *name* over *peer*: both ran within the same second."""
        return float(np.median(np.array(self[name]) / np.array(self[peer])))


def elapsed(run: Callable[[], object]) -> int:
    """Nanoseconds of CPU time that *run* takes in this thread: what a neighbour takes meanwhile does not count."""
    begin = thread_time_ns()
    run()
    return thread_time_ns() - begin


def interleave(cases: Mapping[str, Case], repeats: int = REPEATS) -> Series:
    """Run every case once, in order, *repeats* times and once before that for nothing.

    Parameters
    ----------
    cases : mapping of str to (callable, items)
        Time is divided by *items*; with 0 items the callable times itself and returns nanoseconds per item.
    """
    series = Series({name: [] for name in cases})
    enabled = gc.isenabled()
    gc.disable()
    try:
        for repeat in range(repeats + 1):
            for name, (run, items) in cases.items():
                took = elapsed(run) / items if items else float(run())  # type: ignore[arg-type]
                if repeat:
                    series[name].append(took)
    finally:
        if enabled:
            gc.enable()
    return series


@lru_cache(maxsize=2)
def random_slots(slots: int, n: int = LOOKUPS, seed: int = SEED) -> np.ndarray:
    """The same random slots for every case of a run."""
    return np.random.default_rng(seed).integers(1, slots, n)


@lru_cache(maxsize=1)
def take_case() -> Case:
    """T, the unit of the rows: numpy.take's time for each of 1e6 random indices into 2^23 words of 8 bytes."""
    words = np.arange(BIG, dtype=np.uint64)
    index = random_slots(BIG)
    out = np.empty(index.size, np.uint64)
    return (lambda: words.take(index, out=out, mode="clip")), index.size


@dataclass(frozen=True)
class Row:
    """One line of the table: a measured figure, what it is held against, and how far it should go."""

    name: str
    what: str
    value: float
    unit: str
    ns: float = math.nan
    peer: str = ""
    peer_ns: float = math.nan
    gate: float | None = None
    stretch: float | None = None
    higher: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """"stretch", "gate" or "MISS": the best mark reached; "" without marks, "skipped" where the note says why."""
        if self.note.startswith("skipped"):
            return "skipped"

        def reached(mark: float) -> bool:
            return self.value >= mark if self.higher else self.value <= mark

        if self.stretch is not None and reached(self.stretch):
            return "stretch"
        if self.gate is not None:
            return "gate" if reached(self.gate) else "MISS"
        return "" if self.stretch is None else "below"


def in_t(
    series: Series, case: str, name: str, what: str, gate: float | None = None, stretch: float | None = None
) -> Row:
    """The row of a case that is held against T, which is the case "T" of the same series."""
    return Row(name, what, series.ratio(case, "T"), "T", series.ns(case), "numpy.take", series.ns("T"), gate, stretch)


def against(
    series: Series, case: str, peer: str, name: str, what: str, gate: float | None = None, stretch: float | None = None
) -> Row:
    """The row of a case that is held against another case of the same series."""
    return Row(name, what, series.ratio(case, peer), "x", series.ns(case), peer, series.ns(peer), gate, stretch)
