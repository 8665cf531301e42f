# Two threads: allocation phases, free phases, look-ups beside a writer; with what the machine itself gives two threads.
# May import measure, numpy, swaptable.
# Used by asv and by python -m benchmarks.
"""Two threads on one table, each with a cursor of its own."""

from __future__ import annotations

from threading import Barrier, Thread
from time import thread_time_ns

import numpy as np

import swaptable
from swaptable import _churn
from swaptable.threads import together

from .bench_lookup import full_table
from .measure import REPEATS, SEED, Row, Series, interleave, random_slots

SLOTS = 1 << 21
THREADS = 2
ALU_STEPS = 2_000_000
ALU_LEAST = 1.7
GOOD_REPEATS = 3
PHASES = ("alloc each", "free each", "alloc", "free")


class Phases:
    """Each thread allocates its runs, then each frees its own."""

    def __init__(self, order: int) -> None:
        self.table, self.order = swaptable.SwapTable(slots=SLOTS, cpus=THREADS), order
        self.runs = (SLOTS >> order) // THREADS - 1024      # both fit, with a cluster in each cursor's hand
        self.orders = np.full(self.runs, order, np.uint8)
        self.live = [_churn.Live(np.empty(0, np.int64), self.orders)] * THREADS
        self.slots = [self.live[0].slots] * THREADS

    def run(self, phase: str, cpu: int) -> None:
        if phase == "alloc each":
            self.live[cpu] = _churn.fill(self.table, self.orders, cpu)[0]
        elif phase == "free each":
            _churn.drain(self.table, self.live[cpu])
        elif phase == "alloc":
            self.slots[cpu] = self.table.alloc_many(self.runs, self.order, cpu)
        else:
            self.table.free_many(self.slots[cpu], nr=1 << self.order)

    def timed(self, phase: str, threads: int) -> float:
        """Nanoseconds a run and thread."""
        return together([lambda cpu=cpu: self.run(phase, cpu) for cpu in range(threads)]) / self.runs


def alu(threads: int) -> float:
    """Nanoseconds a step of a loop that touches no memory."""
    return together([lambda: _churn.alu(ALU_STEPS)] * threads) / ALU_STEPS


def scaling(order: int, repeats: int) -> Series:
    """Every phase with one thread and with two, in moments in which the machine has two CPUs for us if it ever has.

    Up to three times *repeats* are run; those in which the loop without memory did not scale, before or after, are
    kept only when there are hardly others.
    """
    phases = Phases(order)
    good, other = Series(), Series()
    for repeat in range(3 * repeats + 1):
        before = alu(1), alu(THREADS)
        took = {f"{phase} {threads}": phases.timed(phase, threads) for threads in (1, THREADS) for phase in PHASES}
        one, both = min(before, (alu(1), alu(THREADS)), key=lambda alone: alone[0] / alone[1])
        took |= {"ALU 1": one, f"ALU {THREADS}": both}
        quiet = THREADS * one / both >= ALU_LEAST
        if repeat:      # the first only touches the memory
            for name, ns in took.items():
                (good if quiet else other).setdefault(name, []).append(ns)
        if len(good.get("ALU 1", ())) == repeats:
            break
    return good if len(good.get("ALU 1", ())) >= GOOD_REPEATS else other


def speed_up(series: Series, phase: str) -> float:
    """How much more two threads get done than one."""
    return THREADS * series.ratio(f"{phase} 1", f"{phase} {THREADS}")


class Beside:
    """Look-ups in one thread while another frees and allocates as fast as it can, on the same table or on its own."""

    def __init__(self) -> None:
        self.table, self.other = swaptable.SwapTable(slots=SLOTS), full_table(SLOTS)
        self.live = _churn.age(self.table, 0.5, rounds=1, seed=SEED)
        self.victims = _churn.victims(len(self.live.slots), 20_000, seed=SEED)
        self.index = random_slots(SLOTS)
        self.out = np.empty(self.index.size, np.uint64)
        # What the look-ups read apart from the writer must be as full as what they read beside it.
        _churn.drain(self.other, _churn.Live(np.setdiff1d(np.arange(1, SLOTS), self.live.slots),
                                             np.zeros(SLOTS - 1 - len(self.live.slots), np.uint8)))

    def timed(self, same: bool) -> float:
        """Nanoseconds a look-up beside the writer."""
        table = self.table if same else self.other
        stop, took, started = [], [], Barrier(2)

        def write() -> None:
            started.wait()
            while not stop:
                _churn.churn(self.table, self.live, self.victims)

        def read() -> None:
            started.wait()
            begin = thread_time_ns()        # a reader never waits for the writer: CPU time is all of its time
            for _ in range(5):
                table.words(self.index, out=self.out)
            took.append((thread_time_ns() - begin) / (5 * self.index.size))
            stop.append(True)

        threads = [Thread(target=write), Thread(target=read)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return took[0]


def beside(repeats: int) -> Series:
    """The two pairs, interleaved."""
    pair = Beside()
    return interleave({"same": ((lambda: pair.timed(True)), 0), "apart": ((lambda: pair.timed(False)), 0)}, repeats)


def rows(repeats: int = REPEATS) -> list[Row]:
    """c7. Gates hold for a C call each; batches are bound by memory."""
    found = []
    for order in (0, 4):
        series = scaling(order, repeats)
        bound = speed_up(series, "ALU")
        for phase in PHASES:
            each = phase.endswith("each")
            value = speed_up(series, phase)
            note = f"ALU {bound:.2f}x, {len(series['ALU 1'])} repeats"
            if each and bound < ALU_LEAST:
                note = f"skipped: {note}"
            found.append(Row(
                f"c7 {phase}", f"2 threads, order {order}, speed-up over the ALU's", value / bound, "x",
                series.ns(f"{phase} {THREADS}"), "1 thread", series.ns(f"{phase} 1"),
                0.65 if each else None, 0.9 if each else None, True, note,
            ))
    series = beside(repeats)
    return [*found, Row(
        "c7 look-up", "look-ups beside a writer, same table over two tables", series.ratio("apart", "same"), "x",
        series.ns("same"), "two tables", series.ns("apart"), 0.8, None, True,
    )]


class TwoThreads:
    """Speed-up of two threads over one."""

    params = ([0, 4], list(PHASES))
    param_names = ("order", "phase")

    def setup_cache(self) -> dict[int, dict[str, float]]:
        """One measurement for all: phases follow one another on the same table."""
        found = {}
        for order in (0, 4):
            series = scaling(order, REPEATS)
            found[order] = {phase: speed_up(series, phase) for phase in (*PHASES, "ALU")}
        return found

    def track_speedup(self, found: dict[int, dict[str, float]], order: int, phase: str) -> float:
        return found[order][phase]

    def track_speedup_over_alu(self, found: dict[int, dict[str, float]], order: int, phase: str) -> float:
        return found[order][phase] / found[order]["ALU"]

    def track_alu_speedup(self, found: dict[int, dict[str, float]], order: int, phase: str) -> float:
        return found[order]["ALU"]

    track_speedup.unit = track_speedup_over_alu.unit = track_alu_speedup.unit = "x"


class LookupBesideWriter:
    """Look-ups beside a writer on the same table, over the same with two tables."""

    def track_rate(self) -> float:
        return beside(REPEATS).ratio("apart", "same")

    track_rate.unit = "x"
