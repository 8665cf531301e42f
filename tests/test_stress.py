# Threads on one table at once: each owns the runs it allocated, readers look at everybody's.
# Imports the package and numpy.
# Used by pytest; SWAPTABLE_STRESS_SECONDS says for how long, a minute each under the long mark.
from __future__ import annotations

import os
import sys
import threading
import time

import numpy as np
import pytest

from swaptable import SwapTable

SECONDS = float(os.environ.get("SWAPTABLE_STRESS_SECONDS", "2"))
LONG_SECONDS = float(os.environ.get("SWAPTABLE_STRESS_SECONDS", "60"))
WORKERS = 4
SLOTS = 512 * 96
SHAPES = {
    "plain": {"slots": SLOTS, "cpus": WORKERS},
    "one cpu": {"slots": SLOTS},
    "discard": {"slots": SLOTS, "cpus": WORKERS, "discard": True, "bad": tuple(range(1000, 5000, 7))},
    "rotational": {"slots": SLOTS, "cpus": WORKERS, "rotational": True},
    "growing": {"slots": None, "cpus": WORKERS, "header": False},
}


def pfns(owner: int, n: int) -> np.ndarray:
    """What an owner writes: a reader can tell whose word it is, and that no word is torn."""
    return np.full(n, owner * 0x1_0001_0001 + 3, np.uint64)


def words(owner: int, kind: str, count: int, n: int) -> np.ndarray:
    """The words of an owner's slots, computed without the package."""
    value = pfns(owner, n)
    low = value << np.uint64(2) | np.uint64(2) if kind == "folio" else value << np.uint64(1) | np.uint64(1)
    return low | np.uint64(owner << 43) | np.uint64(min(count, 15) << 60)


class Worker(threading.Thread):
    """Allocates, uses and frees runs of its own for a while; `held` is (first slots, run length)."""

    def __init__(self, stress: Stress, owner: int) -> None:
        super().__init__()
        self.stress, self.owner, self.table = stress, owner, stress.table
        self.rng = np.random.default_rng(owner)
        self.held: list[tuple[np.ndarray, int]] = []
        self.limit = SLOTS // WORKERS * 5 // 4  # together more than there is, so that the table fills up

    def run(self) -> None:
        self.stress.guard(self.work)

    def work(self) -> None:
        self.stress.barrier.wait()
        while not self.stress.over():
            self.alloc()
            if self.held:
                self.use(int(self.rng.integers(len(self.held))))
            while self.held and (self.size() > self.limit or self.rng.random() < 0.4):
                self.give_back(int(self.rng.integers(len(self.held))))
            if self.rng.random() < 0.02:
                self.table.trim()
            if self.rng.random() < 0.05:
                self.table.run_discard()
        while self.held:
            self.give_back(0)

    def size(self) -> int:
        return sum(slots.size * nr for slots, nr in self.held)

    def all_slots(self, slots: np.ndarray, nr: int) -> np.ndarray:
        return (slots[:, None] + np.arange(nr)).ravel()

    def expect(self, slots: np.ndarray, nr: int, kind: str, count: int) -> None:
        got = self.table.words(self.all_slots(slots, nr))
        assert (got == words(self.owner, kind, count, slots.size * nr)).all()

    def alloc(self) -> None:
        order = int(self.rng.choice([0, 0, 0, 2, 4, 9]))
        n = int(self.rng.integers(1, 1200 >> order)) if order < 9 else 1
        cpu = self.owner % self.table.cpus
        slots = self.table.alloc_many(n, order, cpu, pfns=pfns(self.owner, n), memcg=self.owner)
        assert slots.size <= n
        assert np.unique(slots).size == slots.size
        self.expect(slots, 1 << order, "folio", 0)
        if slots.size:
            self.held.append((slots, 1 << order))

    def use(self, which: int) -> None:
        """Users come, some many, the folio goes and comes back, the users go; then it is as it was."""
        slots, nr = self.held[which]
        users = 18 if self.rng.random() < 0.1 else int(self.rng.integers(1, 4))
        for _ in range(users):
            self.table.dup_many(slots, nr)
        self.expect(slots, nr, "folio", users)
        self.table.cache_del_many(slots, pfns(self.owner, slots.size), nr)
        self.expect(slots, nr, "shadow", users)
        part = self.rng.permutation(slots)
        old = self.table.cache_add_many(part, pfns(self.owner, part.size), nr)
        assert (old == words(self.owner, "shadow", users, slots.size * nr)).all()
        for _ in range(users):
            self.table.put_many(part, nr)
        self.expect(slots, nr, "folio", 0)

    def give_back(self, which: int) -> None:
        """By free, by cache_del without users, or by the last put; one by one or as runs, all or half first."""
        slots, nr = self.held.pop(which)
        self.expect(slots, nr, "folio", 0)
        way = self.rng.random()
        if way < 0.3:
            self.table.free_many(self.rng.permutation(slots), nr)
        elif way < 0.5:
            self.table.free_many(self.rng.permutation(self.all_slots(slots, nr)))
        elif way < 0.7:
            self.table.cache_del_many(slots, nr=nr)
        else:
            self.table.dup_many(slots, nr)
            self.table.cache_del_many(slots, pfns(self.owner, slots.size), nr)
            self.table.put_many(self.rng.permutation(slots), nr)


class Reader(threading.Thread):
    """Looks up everybody's slots, without locks: each word is free, bad, or whole and one of the owners'."""

    def __init__(self, stress: Stress) -> None:
        super().__init__()
        self.stress = stress
        self.rounds = 0

    def run(self) -> None:
        self.stress.guard(self.work)

    def work(self) -> None:
        table, out = self.stress.table, np.empty(SLOTS, np.uint64)
        slots = np.random.default_rng(0).permutation(SLOTS)
        known = [np.array([0, 2**64 - 8], np.uint64)]
        mask = np.uint64(2**60 - 1)
        for owner in range(1, WORKERS + 1):
            # The shadow is 0 for a moment only in a slot that cache_del frees at once: nobody sees that word.
            known.append(words(owner, "folio", 0, 1))
            known.append(words(owner, "shadow", 0, 1))
        known = np.concatenate(known)
        self.stress.barrier.wait()
        while not self.stress.over():
            table.words(slots, out)
            free_or_bad = (out == known[0]) | (out == known[1])
            assert (free_or_bad | np.isin(out & mask, known[2:])).all()
            swapped = out & np.uint64(1) == 1
            assert ((out[swapped] >> np.uint64(60)) > 0).all()
            self.look_at_the_whole(table)
            self.rounds += 1

    def look_at_the_whole(self, table: SwapTable) -> None:
        usage, memory = table.usage(), table.memory()
        # A batch that frees is counted when it ends, so that used may be past usable for a moment.
        assert 0 <= usage["used"] <= 2 * usage["usable"] + 512
        assert memory["total"] > 0
        assert table.entry(100).kind in ("null", "folio", "shadow", "bad")


class Stress:
    """Workers and a reader behind one barrier; the first failure ends them all."""

    def __init__(self, table: SwapTable, seconds: float) -> None:
        self.table, self.seconds = table, seconds
        self.barrier = threading.Barrier(WORKERS + 1, action=self.start)
        self.end = float("inf")
        self.failures: list[BaseException] = []

    def start(self) -> None:
        self.end = time.monotonic() + self.seconds

    def over(self) -> bool:
        return bool(self.failures) or time.monotonic() > self.end

    def guard(self, work) -> None:
        try:
            work()
        except BaseException as err:
            self.failures.append(err)
            self.barrier.abort()

    def run(self) -> None:
        reader = Reader(self)
        threads = [reader, *(Worker(self, owner) for owner in range(1, WORKERS + 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]
        assert reader.rounds > 0


@pytest.fixture(autouse=True)
def _switch_often():
    """Threads change places more often than every 5 ms, so that the parts with the GIL mix too."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def fill_and_free(table: SwapTable) -> dict:
    """Touch all of the table, free it, trim; what stays: the same for every table of a shape."""
    table.run_discard()
    table.free_many(table.alloc_many(SLOTS * 2))
    table.run_discard()
    table.trim()
    memory = table.memory()
    # Room to note tables that wait for readers: how much was needed depends on the threads.
    return {name: size for name, size in memory.items() if name not in ("limbo", "total")}


def stress(shape: dict, seconds: float) -> None:
    table = SwapTable(**shape)
    Stress(table, seconds).run()
    table.check()
    usage = table.usage()
    assert (usage["used"], usage["cached"], usage["swapped"]) == (0, 0, 0)
    table.trim()
    memory = table.memory()
    held = sum(SwapTable(**shape).memory()[name] for name in ("tables", "pool", "overflow"))
    assert memory["tables"] + memory["pool"] + memory["overflow"] == held  # only tables with bad slots
    assert fill_and_free(table) == fill_and_free(SwapTable(**shape))
    assert table.memory()["limbo"] <= 3 * 4096
    table.check()


@pytest.mark.parametrize("shape", SHAPES)
def test_stress(shape):
    stress(SHAPES[shape], SECONDS / len(SHAPES))


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
def test_long_stress(shape):
    stress(SHAPES[shape], LONG_SECONDS)
