# Threads on tables of one space: data moves, blocks are lent, devices change their size; every page reads back right.
# Imports the package and numpy.
# Used by pytest and by the sanitizers; SWAPTABLE_STRESS_SECONDS says for how long, a minute each under the long mark.
from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import pytest

from swaptable import BlockSpace, SlotBusyError, SlotCachedError, SwapTable

SECONDS = float(os.environ.get("SWAPTABLE_STRESS_SECONDS", "4"))
LONG_SECONDS = float(os.environ.get("SWAPTABLE_STRESS_SECONDS", "60"))
WORKERS = 3
SLOTS = 512 * 20
BAD = range(700, 2000, 13)
SIZES = [SLOTS // 2, SLOTS // 2 + 100, SLOTS - 512 * 3, SLOTS - 1, SLOTS, SLOTS + 700, SLOTS + 512 * 8]
SHAPES = {
    "plain": {},
    "discard": {"discard": True},
    "owners": {"owners": True},
    "owners and discard": {"owners": True, "discard": True},
}


class Stress:
    """Two devices, a ghost, what is on each block, and threads that stop at the first failure."""

    def __init__(self, shape: dict, seconds: float) -> None:
        self.space = BlockSpace()
        more = {"cpus": WORKERS, "space": self.space}
        self.devices = [SwapTable(slots=SLOTS, bad=BAD, **more, **shape), SwapTable(slots=SLOTS, **more, **shape)]
        self.tables = [*self.devices, SwapTable(slots=None, **more)]
        self.disk = np.zeros((2, max(SIZES)), np.int64)
        self.unit = {}  # of locations: device
        for d, device in enumerate(self.devices):
            loc = device.block_alloc(1)
            self.unit[int(loc[0]) >> 22] = d
            device.block_free(loc)
            device.run_discard()
        self.seconds, self.failures = seconds, []
        self.done = dict.fromkeys(("runs", "moved", "copied", "resize", "busy"), 0)

    def over(self) -> bool:
        return bool(self.failures) or time.monotonic() > self.end

    def guard(self, work, *args) -> None:
        try:
            while not self.over():
                work(*args)
        except BaseException as err:
            self.failures.append(err)

    def mover(self, src: np.ndarray, dst: np.ndarray) -> None:
        """Both are the mover's until it returns."""
        at, to = (([self.unit[u] for u in (locs >> 22).tolist()], locs & 2**22 - 1) for locs in (src, dst))
        self.disk[to] = self.disk[at]
        self.done["copied"] += src.size

    def run(self, managers: list) -> None:
        self.end = time.monotonic() + self.seconds
        workers = [Worker(self, k) for k in range(WORKERS)]
        works = [worker.step for worker in workers] + managers
        threads = [threading.Thread(target=self.guard, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]
        self.space.check()
        for worker in workers:
            while worker.live:
                worker.give_up(len(worker.live))


class Worker:
    """Allocates runs, moves some of them, writes, swaps out, reads back, gives up."""

    def __init__(self, stress: Stress, number: int) -> None:
        self.stress, self.number = stress, number
        self.rng = np.random.default_rng(number)
        self.live: list[tuple[SwapTable, np.ndarray, np.ndarray]] = []
        self.tag = (number + 1) << 40

    def step(self) -> None:
        rng = self.rng
        table = self.stress.tables[int(rng.integers(3))]
        order = int(rng.choice([0, 0, 1, 2, 4, 9]))
        n = int(rng.integers(1, 300 >> order)) if order < 8 else 1
        first = table.alloc_many(n, order, self.number, np.full(n, self.number + 7, np.uint64), 0, rng.random() < 0.6)
        if first.size:
            self.use(table, (first[:, None] + np.arange(1 << order)).ravel())
        while self.live and (sum(slots.size for _, slots, _ in self.live) > SLOTS // 3 or rng.random() < 0.45):
            self.give_up(int(rng.integers(1, 4)))
        if rng.random() < 0.05:
            device = self.stress.devices[int(rng.integers(2))]
            device.block_free(rng.permutation(device.block_alloc(int(rng.integers(1, 600)))))

    def use(self, table: SwapTable, slots: np.ndarray) -> None:
        """The swap cache is the pin: where the data is stays so until cache_del."""
        if self.rng.random() < 0.5 or table is self.stress.tables[2]:
            to = self.stress.devices[int(self.rng.integers(2))]
            homes = to.block_alloc(slots.size)
            old = table.locs(slots[: homes.size])
            table.move_many(slots[: homes.size], old, homes)
            table.block_free(old[old != 0])
            assert (table.resolve(slots[: homes.size])[0] == to.member).all()
            self.stress.done["moved"] += homes.size
        if self.rng.random() < 0.2:
            table.zero_set(int(slots[0]))
        tags = np.arange(self.tag, self.tag + slots.size)
        self.tag += slots.size
        devices, blocks = table.resolve(slots)
        self.stress.disk[devices[devices >= 0], blocks[devices >= 0]] = tags[devices >= 0]
        tags[devices < 0] = 0
        table.dup_many(slots)
        table.cache_del_many(slots, slots & 0xFFFF)
        self.live.append((table, slots, tags))
        self.stress.done["runs"] += 1

    def give_up(self, n: int) -> None:
        for _ in range(min(n, len(self.live))):
            table, slots, tags = self.live.pop(int(self.rng.integers(len(self.live))))
            if not self.read(table, slots, tags):
                self.live.append((table, slots, tags))
                continue
            part = self.rng.permutation(slots.size)
            keep = part[: slots.size // 2 if self.rng.random() < 0.3 else 0]
            if keep.size:
                self.live.append((table, slots[keep], tags[keep]))
            table.put_many(slots[part[keep.size :]])

    def read(self, table: SwapTable, slots: np.ndarray, tags: np.ndarray) -> bool:
        """Pin, look, unpin; false when somebody who moves data has pinned one of them."""
        pinned = slots.size
        try:
            table.cache_add_many(slots, np.full(slots.size, self.number + 7, np.uint64))
        except SlotCachedError as err:
            pinned = err.done
        devices, blocks = table.resolve(slots[:pinned])
        got = np.where(devices >= 0, self.stress.disk[devices, blocks], 0)
        assert np.array_equal(got, tags[:pinned])
        table.cache_del_many(slots[:pinned], slots[:pinned] & 0xFFFF)
        return pinned == slots.size


class Managers:
    """What is done to whole devices meanwhile."""

    def __init__(self, stress: Stress) -> None:
        self.stress, self.rng = stress, np.random.default_rng(99)

    def any(self) -> SwapTable:
        return self.stress.devices[int(self.rng.integers(2))]

    def resize_or_defrag(self) -> None:
        try:
            if self.rng.random() < 0.5:
                self.any().resize(int(self.rng.choice(SIZES)), self.stress.mover)
                self.stress.done["resize"] += 1
            else:
                self.any().defrag(int(self.rng.integers(1, 10)), int(self.rng.integers(1, 3000)), self.stress.mover)
        except SlotBusyError:
            self.stress.done["busy"] += 1

    def defrag(self) -> None:
        with suppress(SlotBusyError):
            self.any().defrag(int(self.rng.integers(1, 10)), int(self.rng.integers(1, 3000)), self.stress.mover)

    def compact(self) -> None:
        self.any().compact(0)
        time.sleep(0.001)

    def sweep(self) -> None:
        for table in self.stress.tables:
            table.run_discard()
            table.trim()
        time.sleep(0.001)

    def look(self) -> None:
        for table in self.stress.tables:
            slots = self.rng.integers(0, SLOTS // 2, 4000)
            slots[::3] += 2**32 if table.blocks else 0
            table.words(slots)
            table.locs(slots)
            devices, blocks = table.resolve(slots)
            assert ((devices >= 0) == (blocks >= 0)).all() and blocks.max() < max(SIZES)
            assert table.memory()["total"] > 0 and table.usage()["used"] >= 0 and table.entry(5).location >= 0
        self.stress.space.owners(self.any())


@pytest.fixture(autouse=True)
def _switch_often():
    """Threads change places more often than every 5 ms, so that the parts with the GIL mix too."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def stress(shape: dict, seconds: float) -> None:
    run = Stress(shape, seconds)
    work = Managers(run)
    run.run([work.resize_or_defrag, work.defrag, work.compact, work.sweep, work.look])
    for table in (*run.tables, *run.devices):
        table.run_discard()
        table.trim()
    run.space.check()
    for table in run.tables:
        usage, memory = table.usage(), table.memory()
        assert not any(usage["blocks"][name] for name in ("used", "taken", "held", "waiting", "holes"))
        assert usage["used"] == usage["lent"] == usage["moved"] == usage["clusters"]["past"] == 0
        assert not any(memory[name] for name in ("packed", "locations", "bitmaps", "owners", "overflow"))
    assert all(run.done.values()), run.done


@pytest.mark.parametrize("shape", SHAPES)
def test_stress(shape):
    stress(SHAPES[shape], SECONDS / len(SHAPES))


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
def test_long_stress(shape):
    stress(SHAPES[shape], LONG_SECONDS)
