# Allocation and free by several threads at once on one swap table: how many a second.
# May import the core and the loops of benchmarks.
# Used by the command line and programs.
"""A small benchmark of threads. It measures time, so its numbers are those of this machine and this moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Barrier, Thread
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swaptable import _churn
from swaptable._core import SwapTable

__all__ = ["scaling", "together"]

SLOTS = 1 << 21
SPARE = 1024  # of slots: what cursors of other threads hold of clusters
ORDERS = (0, 4)
PHASES = ("alloc", "free")


def together(work: Sequence[Callable[[], object]]) -> int:
    """Run each in a thread of its own; nanoseconds from the first one's begin to the last one's end."""
    barrier, begins, ends = Barrier(len(work)), [0] * len(work), [0] * len(work)

    def body(i: int) -> None:
        barrier.wait()
        begins[i] = perf_counter_ns()
        work[i]()
        ends[i] = perf_counter_ns()

    threads = [Thread(target=body, args=(i,)) for i in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(ends) - min(begins)


def _once(table: SwapTable, orders: NDArray[np.uint8], threads: int) -> dict[str, float]:
    """Millions of runs a second of each phase: every thread allocates its own, then every thread frees them."""
    live: list[Any] = [None] * threads

    def fill(cpu: int) -> None:
        live[cpu] = _churn.fill(table, orders, cpu)[0]

    took = {
        "alloc": together([lambda cpu=cpu: fill(cpu) for cpu in range(threads)]),  # type: ignore[misc]
        "free": together([lambda cpu=cpu: _churn.drain(table, live[cpu]) for cpu in range(threads)]),  # type: ignore[misc]
    }
    return {phase: 1e3 * threads * len(orders) / max(1, ns) for phase, ns in took.items()}


def scaling(threads: Sequence[int], repeats: int = 5) -> list[dict[str, Any]]:
    """Throughput of single slots and of 64 KiB runs, a call each, by numbers of threads.

    Parameters
    ----------
    threads : sequence of int
        Each with a CPU's cursor of its own.
    repeats : int
        In turns, so that a change of the machine's speed is nobody's alone; one more goes before and is dropped.

    Returns
    -------
    list of dict
        ``order``, ``phase``, ``threads``, and ``million_per_second`` of all threads together, one for each repeat.
    """
    found: dict[tuple[int, str, int], list[float]] = {}
    for order in ORDERS:
        table = SwapTable(slots=SLOTS, cpus=max(threads))
        runs = (SLOTS // max(threads) - SPARE) >> order
        for repeat in range(repeats + 1):
            for n in threads:
                for phase, value in _once(table, np.full(runs, order, np.uint8), n).items():
                    if repeat:
                        found.setdefault((order, phase, n), []).append(value)
    return [
        {"order": order, "phase": phase, "threads": n, "million_per_second": values}
        for (order, phase, n), values in found.items()
    ]
