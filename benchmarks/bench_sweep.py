# Sweeps: a hundred cells in one process and in two, beside what two processes get out of this machine at all.
# May import swaptable, numpy and measure.py.
# Used by asv and by `python -m benchmarks sweep`.
"""Does a sweep keep the CPUs busy? Wall time: a second process that waits would not show in CPU time."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from swaptable import _churn
from swaptable.sweep import sweep

from .measure import Row

GATE = 1.7
ALU_LEAST = 1.7
REPEATS = 3
ALU_STEPS = 150_000_000
# 100 cells: 5 drawn traces of which a second process reads every other one, 2 limits, 10 designs. Long enough that the
# start of the processes, a third of a second, is not what is measured.
GRID: dict[str, Any] = {
    "trace": "synthetic:zipf,records=3000000,pages=200000",
    "seed": [1, 2, 3, 4, 5],
    "folio": "4K",
    "memory": ["30%", "60%"],
    "design": ["front-back", "swap-table", "swap-table-p4", "swap-table-p1", "old", "vswap-48", "vswap-24",
               "vswap-table", "redirect-chain", "zram"],
}  # fmt: skip


def seconds(jobs: int) -> float:
    """Of the whole sweep, from reading the grid to the file; the processes are started anew, as for a user."""
    with tempfile.TemporaryDirectory() as directory:
        begin = time.perf_counter()
        done = sweep(GRID, Path(directory) / "x.npz", jobs=jobs)
        took = time.perf_counter() - begin
    assert done.cells == 100
    return took


def alu_speed_up(jobs: int) -> float:
    """What that many processes get out of a loop without memory, at most."""
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_churn.alu, [1000] * jobs * 2))
        begin = time.perf_counter()
        _churn.alu(ALU_STEPS)
        one = time.perf_counter() - begin
        begin = time.perf_counter()
        list(pool.map(_churn.alu, [ALU_STEPS] * jobs))
        return jobs * one / (time.perf_counter() - begin)


def rows(repeats: int = REPEATS) -> list[Row]:
    """s1: one process over two."""
    if len(os.sched_getaffinity(0)) < 2:
        return [Row("s1", "sweep of 100 cells", float("nan"), "x", note="skipped: one CPU")]
    # One after the other, and what the machine gives two processes before and after: neighbours come and go.
    runs = []
    before = alu_speed_up(2)
    for _ in range(min(repeats, REPEATS)):
        runs.append((seconds(1), seconds(2), min(before, after := alu_speed_up(2))))
        before = after
    quiet = [run for run in runs if run[2] >= ALU_LEAST]
    one, two, alone = np.array(quiet or runs).T
    what = f"100 cells in one process over two ({np.median(one):.1f} and {np.median(two):.1f} s)"
    note = f"a loop without memory: {np.median(alone):.2f}"
    if not quiet:
        note = f"skipped: {note}, at least {ALU_LEAST} on a quiet machine"
    return [Row("s1", what, float(np.median(one / two)), "x", gate=GATE, higher=True, note=note)]


class Sweep:
    """A hundred cells."""

    params = ([1, 2],)
    param_names = ("processes",)
    timeout = 600

    def track_wall_time(self, processes: int) -> float:
        return seconds(processes)

    track_wall_time.unit = "s"
