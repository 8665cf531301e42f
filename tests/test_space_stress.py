# Threads on tables that share a space of blocks: each owns slots and moves their data, one cleans up, one looks on.
# Imports the package and numpy.
# Used by pytest and by the sanitizer builds; SWAPTABLE_STRESS_SECONDS says for how long, a minute each under the long mark.
from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

import numpy as np
import pytest

from swaptable import BlockSpace, SlotBusyError, SlotCachedError, SwapFullError, SwapTable, SwapValueError

SECONDS = float(os.environ.get("SWAPTABLE_STRESS_SECONDS", "2"))
LONG_SECONDS = float(os.environ.get("SWAPTABLE_STRESS_SECONDS", "60"))
WORKERS = 3
SSD, HDD = 512 * 40, 512 * 24
PAST, PAST_SLOTS = 2**32, 512 * 512
MOVER_PFN = 2**41 - 1
SHAPES = {
    "plain": ({}, {}),
    "owners": ({"owners": True, "bad": range(700, 3000, 11)}, {"owners": True}),
    "discard": ({"discard": True}, {"discard": True, "owners": True}),
}


def pfn(owner: int) -> int:
    return owner * 0x1_0001_0001 + 3


def shadow(owner: int) -> int:
    """Close together, so that clusters of several owners' slots can be packed without a loss."""
    return 1000 + owner


class World:
    """The tables, a tag for each block, and what each owner says about its pinned slots."""

    def __init__(self, ssd: dict, hdd: dict) -> None:
        self.space = BlockSpace()
        self.ssd = SwapTable(slots=SSD, cpus=WORKERS, space=self.space, **ssd)
        self.hdd = SwapTable(slots=HDD, header=False, space=self.space, **hdd)
        self.ssd.past_limit = PAST_SLOTS // 512
        self.disk = [np.zeros(SSD, np.int64), np.zeros(HDD, np.int64)]
        # Of each slot of the SSD, then of each past its end: where its owner has it pinned, 0 while it has not; how
        # often that changed. The first is taken back before anything is done to a slot.
        self.pinned = np.zeros(SSD + PAST_SLOTS, np.int64)
        self.changes = np.zeros(SSD + PAST_SLOTS, np.int64)

    @staticmethod
    def index(slots: np.ndarray) -> np.ndarray:
        return np.where(slots < PAST, slots, slots - PAST + SSD)

    def place(self, locs: np.ndarray) -> list[np.ndarray]:
        """Blocks of each device, and which of the locations they are."""
        units = [int(self.ssd.member) + 1, int(self.hdd.member) + 1]  # the first two that the space gave out
        assert np.isin(locs >> 22, units).all()
        return [np.flatnonzero(locs >> 22 == unit) for unit in units]

    def copy(self, src: np.ndarray, dst: np.ndarray) -> None:
        """The mover of a resize or defragmentation: whoever is located there is pinned by it."""
        data = np.zeros(src.size, np.int64)
        for device, which in enumerate(self.place(src)):
            data[which] = self.disk[device][src[which] & 2**22 - 1]
        for device, which in enumerate(self.place(dst)):
            self.disk[device][dst[which] & 2**22 - 1] = data[which]


class Batch:
    """Runs of one owner: all of them in the swap cache, or none; *data*: slots that have some."""

    def __init__(self, runs: np.ndarray, nr: int) -> None:
        self.runs, self.nr = runs, nr
        self.slots = (runs[:, None] + np.arange(nr)).ravel()
        self.tags = np.zeros(self.slots.size, np.int64)
        self.data = np.ones(self.slots.size, bool)
        self.cached = True


class Worker(threading.Thread):
    def __init__(self, stress: Stress, owner: int) -> None:
        super().__init__()
        self.stress, self.owner, self.world = stress, owner, stress.world
        self.table = self.world.ssd
        self.rng = np.random.default_rng(owner)
        self.held: list[Batch] = []
        self.next = owner << 40
        self.moved = self.past = 0

    def run(self) -> None:
        self.stress.guard(self.work)

    def work(self) -> None:
        steps = [self.move, self.move, self.home, self.zero, self.swap_out, self.swap_in, self.use]
        self.stress.barrier.wait()
        while not self.stress.over():
            self.alloc()
            for batch in [self.held[i] for i in self.rng.integers(len(self.held), size=3 if self.held else 0)]:
                step = steps[int(self.rng.integers(len(steps)))]
                if batch.cached or step in (self.swap_in, self.use):
                    step(batch)
            while self.held and sum(b.slots.size for b in self.held) > SSD // WORKERS:
                self.give_back(int(self.rng.integers(len(self.held))))
            if self.held and self.rng.random() < 0.5:
                self.give_back(int(self.rng.integers(len(self.held))))
        while self.held:
            self.give_back(0)

    # -- what others may see

    def publish(self, batch: Batch) -> None:
        """From here on the slots are where they are now."""
        devices, blocks = self.table.resolve(batch.slots)
        assert ((devices >= 0) == batch.data).all()
        got = np.where(devices == 0, self.world.disk[0][blocks * (devices == 0)], self.world.disk[1][blocks * (devices == 1)])
        assert (got[batch.data] == batch.tags[batch.data]).all(), "data lost"
        entry = devices.astype(np.int64) << 32 | blocks + 1
        self.world.pinned[self.world.index(batch.slots)] = np.where(batch.data, entry, -1)

    def withdraw(self, batch: Batch) -> None:
        """They were where the owner said, and now anything may happen to them."""
        devices, blocks = self.table.resolve(batch.slots)
        at = self.world.index(batch.slots)
        entry = devices.astype(np.int64) << 32 | blocks + 1
        assert (self.world.pinned[at] == np.where(batch.data, entry, -1)).all()
        self.world.pinned[at] = 0
        self.world.changes[at] += 1

    def write(self, batch: Batch, which: np.ndarray) -> None:
        """New data for some of the slots, where `resolve` says."""
        devices, blocks = self.table.resolve(batch.slots[which])
        batch.tags[which] = np.arange(self.next, self.next + which.size)
        self.next += which.size
        self.put(batch, which, devices, blocks)

    def put(self, batch: Batch, which: np.ndarray, devices: np.ndarray, blocks: np.ndarray) -> None:
        assert (devices >= 0).all()
        for device, disk in enumerate(self.world.disk):
            disk[blocks[devices == device]] = batch.tags[which][devices == device]

    # -- what an owner does

    def alloc(self) -> None:
        order = int(self.rng.choice([0, 0, 1, 2, 4, 6, 9]))
        n = int(self.rng.integers(1, 800 >> order)) if order < 9 else int(self.rng.integers(1, 6))
        pfns = np.full(n, pfn(self.owner), np.uint64)
        runs = self.table.alloc_many(n, order, self.owner % WORKERS, pfns=pfns, memcg=self.owner, contiguous=True)
        if not runs.size:
            return
        batch = Batch(runs, 1 << order)
        assert np.unique(batch.slots).size == batch.slots.size
        self.past += int((runs >= PAST).sum())
        locs = self.table.locs(batch.slots)
        assert ((locs != 0) == (batch.slots >= PAST)).all()
        self.write(batch, np.arange(batch.slots.size))
        self.publish(batch)
        self.held.append(batch)

    def move(self, batch: Batch) -> None:
        """To blocks of either device, as many as there are."""
        which = self.rng.permutation(np.flatnonzero(batch.data))[: int(self.rng.integers(1, 300))]
        self.withdraw(batch)
        new = (self.world.hdd if self.rng.random() < 0.7 else self.table).block_alloc(which.size)
        which = which[: new.size]
        old = self.table.locs(batch.slots[which])
        self.table.move_many(batch.slots[which], old, new)
        assert (self.table.locs(batch.slots[which]) == new).all()
        self.put(batch, which, *self.table.resolve(batch.slots[which]))
        self.table.block_free(old[old != 0])
        self.moved += which.size
        self.publish(batch)

    def home(self, batch: Batch) -> None:
        """Slot by slot: those whose own block is lent stay where they are."""
        self.withdraw(batch)
        old = self.table.locs(batch.slots)
        which = np.flatnonzero((old != 0) & (batch.slots < PAST))
        done = []
        while which.size:
            try:
                self.table.move_many(batch.slots[which], old[which], np.zeros(which.size, np.uint32))
                done.append(which)
                break
            except SlotBusyError as err:
                done.append(which[: err.done])
                which = which[err.done + 1 :]
        back = np.concatenate(done) if done else np.zeros(0, np.int64)
        devices, blocks = self.table.resolve(batch.slots[back])
        assert (devices == 0).all() and (blocks == batch.slots[back]).all()
        self.put(batch, back, devices, blocks)
        self.table.block_free(old[back])
        self.publish(batch)

    def zero(self, batch: Batch) -> None:
        """A run without data; if it is that already, with data again unless its blocks are lent."""
        k = int(self.rng.integers(batch.runs.size))
        first, which = int(batch.runs[k]), np.arange(k * batch.nr, (k + 1) * batch.nr)
        if not batch.data[which].all() and first >= PAST:
            return
        self.withdraw(batch)
        if batch.data[which].all():
            self.table.zero_set(first, batch.nr)
            batch.data[which] = False
        else:
            try:
                self.table.zero_clear(first, batch.nr)
                self.write(batch, which[~batch.data[which]])
                batch.data[which] = True
            except SlotBusyError:
                pass
        self.publish(batch)

    def use(self, batch: Batch) -> None:
        for _ in range(20 if self.rng.random() < 0.1 else 1):
            self.table.dup_many(batch.runs, batch.nr)
        words = self.table.words(batch.slots)
        assert (words >> np.uint64(43) & np.uint64(0xFFFF) == self.owner).all()
        for slot in batch.slots[:3].tolist():
            users = self.table.entry(slot).count - (not batch.cached)
            self.table.put(slot, users=users - 1)
            self.table.dup(slot, users=users - 1)
        for _ in range(users):
            self.table.put_many(batch.runs, batch.nr)

    def swap_out(self, batch: Batch) -> None:
        self.withdraw(batch)
        self.table.dup_many(batch.runs, batch.nr)
        self.table.cache_del_many(batch.runs, np.full(batch.runs.size, shadow(self.owner)), batch.nr)
        batch.cached = False

    def swap_in(self, batch: Batch) -> None:
        """A mover may have some of the slots pinned: those are tried again."""
        if batch.cached:
            return
        left = self.rng.permutation(batch.slots)
        while left.size:
            try:
                self.table.cache_add_many(left, np.full(left.size, pfn(self.owner), np.uint64))
                break
            except SlotCachedError as err:
                left = np.roll(left[err.done :], -1)
                time.sleep(0)
        self.table.put_many(batch.slots)
        batch.cached = True
        self.publish(batch)

    def give_back(self, which: int) -> None:
        batch = self.held.pop(which)
        if not batch.cached and self.rng.random() < 0.5:
            self.table.put_many(self.rng.permutation(batch.slots))  # by the last user, pinned by a mover or not
            return
        self.swap_in(batch)
        self.withdraw(batch)
        way = self.rng.random()
        if way < 0.4:
            self.table.free_many(self.rng.permutation(batch.runs), batch.nr)
        elif way < 0.7:
            self.table.free_many(self.rng.permutation(batch.slots))
        else:
            self.table.cache_del_many(batch.runs, nr=batch.nr)


class Reader(threading.Thread):
    """Looks up slots, without locks: what their owners say is so, and everything else is whole."""

    def __init__(self, stress: Stress) -> None:
        super().__init__()
        self.stress, self.world = stress, stress.world
        self.rounds = self.compared = 0

    def run(self) -> None:
        self.stress.guard(self.work)

    def work(self) -> None:
        rng = np.random.default_rng(0)
        self.stress.barrier.wait()
        while not self.stress.over():
            own = rng.permutation(SSD)[:6000] if self.rounds % 2 else np.sort(rng.integers(SSD, size=6000))
            past = PAST + rng.integers(512 * 60, size=3000)
            own = own[own < len(self.world.ssd)]
            with contextlib.suppress(SwapValueError):  # the device has become smaller meanwhile
                self.look(np.concatenate([own, past]))
            self.rounds += 1

    def look(self, slots: np.ndarray) -> None:
        world, at = self.world, self.world.index(slots)
        changes, pinned = world.changes[at], world.pinned[at]
        devices, blocks = world.ssd.resolve(slots)
        locs, words = world.ssd.locs(slots), world.ssd.words(slots)
        still = (world.pinned[at] == pinned) & (world.changes[at] == changes) & (pinned != 0)
        self.whole(words)
        entry = np.where(devices >= 0, devices.astype(np.int64) << 32 | blocks + 1, -1)
        assert (entry[still] == pinned[still]).all()
        assert (words[still] & np.uint64(3) == 2).all()
        where = np.where(locs == 0, slots, (locs & 2**22 - 1).astype(np.int64))
        has = still & (pinned > 0)
        assert (where[has] == blocks[has]).all()
        assert ((locs[has] >> 22 == self.world.hdd.member + 1) == (devices[has] == self.world.hdd.member)).all()
        self.compared += int(still.sum())

    def whole(self, words: np.ndarray) -> None:
        """Free, bad, lent, or one of the owners', with its pfn, its shadow, or a mover's pfn."""
        kind = words & np.uint64(3)
        rest = words[kind == 0]
        assert np.isin(rest, np.array([0, 8, 2**64 - 8], np.uint64)).all()
        owner = words >> np.uint64(43) & np.uint64(0xFFFF)
        assert ((kind == 0) | ((owner >= 1) & (owner <= WORKERS))).all()
        folio, out = kind == 2, kind & np.uint64(1) == 1
        frames = words[folio] >> np.uint64(2) & np.uint64(2**41 - 1)
        assert ((frames == owner[folio] * np.uint64(0x1_0001_0001) + np.uint64(3)) | (frames == MOVER_PFN)).all()
        assert (words[out] >> np.uint64(1) & np.uint64(2**42 - 1) == owner[out] + np.uint64(1000)).all()
        assert (words[out] >> np.uint64(60) > 0).all()


class Keeper(threading.Thread):
    """What a host does beside its users: trims, packs, counts, discards, defragments, takes blocks away and gives them back."""

    def __init__(self, stress: Stress) -> None:
        super().__init__()
        self.stress, self.world = stress, stress.world
        self.resized = self.moves = self.packed = 0

    def run(self) -> None:
        self.stress.guard(self.work)

    def work(self) -> None:
        rng = np.random.default_rng(99)
        steps = [self.clean, self.clean, self.count, self.discard, self.defrag, self.resize]
        self.stress.barrier.wait()
        while not self.stress.over():
            for table in (self.world.ssd, self.world.hdd):
                steps[int(rng.integers(len(steps)))](table, rng)
        for table, blocks in ((self.world.ssd, SSD), (self.world.hdd, HDD)):
            table.resize(blocks)

    def clean(self, table: SwapTable, rng: np.random.Generator) -> None:
        table.trim()
        done = table.compact(0, max_error=0)
        self.packed += done["packed"] + done["uniform"]

    def count(self, table: SwapTable, rng: np.random.Generator) -> None:
        usage, memory = table.usage(), table.memory()
        assert usage["used"] >= 0 and usage["free"] >= 0 and memory["total"] > 0
        assert 0 <= table.free_blocks <= 2 * SSD
        members, slots, blocks = self.world.space.owners(table)
        assert (np.diff(blocks) >= 0).all() and (members == self.world.ssd.member).all()
        held = table.block_alloc(int(rng.integers(50)))
        got = table.owners(held)[1]
        assert (got == -1).all()
        table.block_free(held)

    def discard(self, table: SwapTable, rng: np.random.Generator) -> None:
        """What is discarded is gone: nobody may have data there."""
        disk = self.world.disk[table.member]

        def gone(first: int, nr: int) -> None:
            disk[first : first + nr] = -1

        table.run_discard(gone)

    def defrag(self, table: SwapTable, rng: np.random.Generator) -> None:
        result = table.defrag(int(rng.choice([2, 4, 9])), int(rng.integers(400)), self.world.copy)
        self.moves += result.moves

    def resize(self, table: SwapTable, rng: np.random.Generator) -> None:
        """Down by some clusters if all that is there can be moved, and back up."""
        most = SSD if table is self.world.ssd else HDD
        try:
            table.resize(int(rng.integers(most // 2, most)), self.world.copy)
            self.resized += 1
        except SlotBusyError:
            pass
        if rng.random() < 0.7:
            table.resize(most)


class Stress:
    """All threads behind one barrier; the first failure ends them."""

    def __init__(self, world: World, seconds: float) -> None:
        self.world, self.seconds = world, seconds
        self.barrier = threading.Barrier(WORKERS + 2, action=self.start)
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
        self.reader, self.keeper = Reader(self), Keeper(self)
        self.workers = [Worker(self, owner) for owner in range(1, WORKERS + 1)]
        threads = [self.reader, self.keeper, *self.workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]


@pytest.fixture(autouse=True)
def _switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def stress(shape: tuple[dict, dict], seconds: float) -> None:
    world = World(*shape)
    run = Stress(world, seconds)
    run.run()
    world.space.check()
    for table in (world.ssd, world.hdd):
        for _ in range(2):
            table.run_discard()
        table.trim()
        usage, memory = table.usage(), table.memory()
        assert (usage["used"], usage["moved"], usage["lent"], usage["clusters"]["past"]) == (0, 0, 0, 0)
        assert usage["blocks"]["free"] == usage["usable"] == table.free_blocks
        assert memory["locations"] == memory["bitmaps"] == memory["owners"] == memory["packed"] == memory["overflow"] == 0
    world.space.check()
    assert run.reader.rounds and run.reader.compared
    print(
        f"{run.reader.compared} look-ups of pinned slots, {sum(w.past for w in run.workers)} runs past the end, "
        f"{sum(w.moved for w in run.workers)} slots moved, {run.keeper.moves} by defrag, "
        f"{run.keeper.resized} shrinks, {run.keeper.packed} clusters packed"
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_stress(shape):
    stress(SHAPES[shape], SECONDS / len(SHAPES))


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
def test_long_stress(shape):
    stress(SHAPES[shape], LONG_SECONDS)


# ---- the last blocks: as many requests succeed as fit


def compete(table: SwapTable, orders: tuple[int, ...], free: np.ndarray) -> int:
    """Threads that each ask for runs of an order until they are refused; how many blocks are left over."""
    table.free_many(free)
    got: list[np.ndarray | None] = [None] * len(orders)
    barrier = threading.Barrier(len(orders))

    def ask(i: int) -> None:
        barrier.wait()
        got[i] = table.alloc_many(table.blocks, orders[i], i, contiguous=True)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(orders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = table.free_blocks
    assert left == free.size - sum(runs.size << order for runs, order in zip(got, orders, strict=True))
    with pytest.raises(SwapFullError):
        table.alloc(max(left, 1).bit_length(), contiguous=True)
    assert table.free_blocks == left
    for runs, order in zip(got, orders, strict=True):
        table.free_many(runs, 1 << order)
    assert table.alloc_many(table.blocks).size == free.size
    return left


@pytest.mark.parametrize("orders", [(0, 0), (2, 2, 2), (4, 4), (0, 4), (1, 3, 1)])
def test_the_last_blocks(orders):
    """Free blocks here and there, and some aligned runs that the kernel's search finds too."""
    rng, slots, nr = np.random.default_rng(3), 1 << 13, 1 << max(orders)
    table = SwapTable(slots=slots, cpus=len(orders), header=False)
    table.alloc_many(slots)
    end = time.monotonic() + SECONDS / 10
    while time.monotonic() < end:
        n = int(rng.integers(nr, slots // 8))
        runs = rng.choice(slots // nr, n // nr // 2, replace=False) * nr
        free = (runs[:, None] + np.arange(nr)).ravel()
        free = np.union1d(free, rng.choice(slots, n - free.size, replace=False))
        assert compete(table, orders, rng.permutation(free)) < 1 << min(orders)
    table.check()
