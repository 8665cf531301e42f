# Contiguous allocation: aligned slots past the end of a device, at blocks wherever they are free.
# Imports the package, numpy and pytest.
# Used by pytest; the campaign of a million allocations is marked long.
from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from swaptable import BlockSpace, DeviceList, SwapFullError, SwapTable, SwapValueError, pack

PAST = 2**32
GIB = 2**30 // 4096


# ---- the worked example of the design


def used_but_four(**more) -> SwapTable:
    """1 GiB, every slot used; slots 1, 3, 5 and 7 freed."""
    table = SwapTable(slots=GIB, **more)
    table.alloc_many(GIB - 1, pfns=np.arange(GIB - 1, dtype=np.uint64))
    table.free_many([1, 3, 5, 7])
    table.trim()
    return table


@pytest.mark.parametrize("shared", [False, True])
def test_worked_example(shared):
    table = used_but_four(**({"space": BlockSpace()} if shared else {}))
    before, usage = table.memory(), table.usage()
    with pytest.raises(SwapFullError):
        table.alloc(order=2)
    assert (table.memory(), table.usage()["blocks"]["free"]) == (before, 4)

    first = table.alloc(order=2, pfn=99, memcg=5, contiguous=True)
    run = np.arange(first, first + 4)
    assert first >= PAST and first % 4 == 0
    devices, blocks = table.resolve(run)
    assert devices.tolist() == [table.member] * 4 and blocks.tolist() == [1, 3, 5, 7]
    assert (table.locs(run) & 2**22 - 1).tolist() == [1, 3, 5, 7]
    assert [(e.kind, e.count, e.pfn, e.memcg) for e in map(table.entry, run.tolist())] == [("folio", 0, 99, 5)] * 4
    assert [table.entry(s).kind for s in range(9)] == ["bad", *["lent", "folio"] * 4]
    assert table.usage()["lent"] == 4 and table.usage()["free"] == 0 and table.usage()["clusters"]["past"] == 1
    assert (table.stats()["past"], table.stats()["blocks"], table.stats()["extents"]) == (1, 4, 4)
    table.check()
    for order in range(10):
        with pytest.raises(SwapFullError):
            table.alloc(order=order, contiguous=True)
    table.check()

    table.free(first, 4)
    table.trim()
    assert table.words([1, 3, 5, 7]).tolist() == [0] * 4
    assert table.memory() == before
    peak = {"past_peak": 1}
    assert table.usage() == usage | {"clusters": usage["clusters"] | peak}
    table.check()
    assert sorted(table.alloc_many(9).tolist()) == [1, 3, 5, 7]


def test_the_kernels_search_comes_first():
    """With an aligned run on the device nothing is past the end, and a folio with users keeps its place there."""
    table = SwapTable(slots=1024, header=False)
    assert [table.alloc(9, contiguous=True) for _ in range(2)] == [0, 512]
    table.free(0, 512)
    assert table.alloc(4, contiguous=True) == 0
    assert table.usage()["clusters"]["past"] == 0
    table.check()


@pytest.mark.parametrize("order", range(10))
def test_every_order_from_single_holes(order):
    """Every second slot of the device is free: each order is served exactly as often as the blocks allow."""
    table = SwapTable(slots=2048, header=False)
    table.alloc_many(2048)
    table.free_many(np.arange(0, 2048, 2))
    slots = table.alloc_many(2000, order, contiguous=True)
    assert slots.size == 1024 >> order
    assert (slots % (1 << order) == 0).all() and ((slots >= PAST) == (order > 0)).all()
    runs = (slots[:, None] + np.arange(1 << order)).ravel()
    assert np.array_equal(np.sort(table.resolve(runs)[1]), np.arange(0, 2048, 2))
    assert table.free_blocks == 0
    table.check()
    table.free_many(slots, 1 << order)
    table.trim()
    assert table.usage()["clusters"]["past"] == 0 and table.free_blocks == 1024
    table.check()


def test_slots_past_the_end_in_unsigned_arrays():
    """Their numbers exceed 32 bits, whatever the type of the array that has them."""
    table = used_but_four()
    first = table.alloc(order=2, pfn=9, contiguous=True)
    run = np.arange(first, first + 4)
    for slots in (run.astype(np.uint64), run.tolist(), run[::-1][::-1]):
        assert (table.words(slots) == pack("folio", pfn=9)).all()
        assert np.array_equal(table.resolve(slots)[1], [1, 3, 5, 7])
    for slot in (2**33, 2**63):
        with pytest.raises(SwapValueError, match=str(slot)):
            table.locs(np.array([first, slot], np.uint64))
    table.free_many(run.astype(np.uint64))
    table.check()


def test_orders_share_no_cluster_and_empty_ones_go():
    table = SwapTable(slots=4096, header=False)
    table.alloc_many(4096)
    table.free_many(np.arange(1, 4096, 2))
    runs = {order: table.alloc(order, contiguous=True) for order in (1, 2, 5)}
    assert len({slot >> 9 for slot in runs.values()}) == 3
    for order, slot in runs.items():
        table.free(slot, 1 << order)
        assert not table.words(np.arange(slot, slot + 512)).any()
    assert table.usage()["clusters"]["past"] == 0 and table.usage()["clusters"]["past_peak"] == 3
    again = table.alloc(3, contiguous=True)
    assert again >> 9 in {slot >> 9 for slot in runs.values()}
    table.check()


def test_limit_of_clusters_past_the_end():
    table = SwapTable(slots=4096, header=False)
    table.alloc_many(4096)
    table.free_many(np.arange(1, 4096, 2))
    table.past_limit = 1
    assert table.alloc_many(10**6, 8, contiguous=True).size == 2  # one cluster of 512
    before = table.usage()
    with pytest.raises(SwapFullError, match="1 of 1 clusters past the end"):
        table.alloc(8, contiguous=True)
    assert table.usage() == before
    table.past_limit = 0
    table.check()
    table.past_limit = 2
    assert table.alloc(8, contiguous=True) >= PAST


def test_at_the_limit_each_order_still_finds_its_own_room():
    """A larger request that finds nothing must not hide what a smaller one can have."""
    table = SwapTable(slots=4096, header=False)
    table.alloc_many(4096)
    table.free_many(np.arange(0, 2048, 2))
    table.past_limit = 1
    runs = table.alloc_many(256, 1, contiguous=True)
    table.free_many(runs[::2], 2)
    for _ in range(3):
        with pytest.raises(SwapFullError):
            table.alloc(2, contiguous=True)
    assert table.alloc_many(1000, 1, contiguous=True).size == 128
    table.check()


def test_devices():
    """The best device that has the blocks; its own search, and that of the others of equal rank, comes first."""
    devices, tables = DeviceList(), [SwapTable(slots=1024, header=False) for _ in range(2)]
    for table, priority in zip(tables, (1, 9), strict=True):
        devices.add(table, priority)
        table.alloc_many(1024)
    for contiguous in (False, True):
        with pytest.raises(SwapFullError):
            devices.alloc(2, contiguous=contiguous)
    tables[0].free_many([0, 2, 4, 6])
    kind, slot = devices.alloc(2, contiguous=True)
    assert kind == 0 and slot >= PAST
    tables[0].free_many(np.arange(100, 200, 2))
    tables[1].free_many(np.arange(1, 40, 2))
    kinds, slots = devices.alloc_many(100, 2, contiguous=True)
    assert kinds.tolist() == [1] * 5 + [0] * 12 and (slots >= PAST).all()
    assert devices.used == 2 * 1024 - 4 - 50 - 20 + 4 * 18
    devices.check()
    devices.free(0, slot, 4)
    kinds, slots = devices.alloc_many(9, 0, contiguous=True)
    assert not kinds.any() and sorted(slots.tolist()) == [0, 2, 4, 6, 196, 198]
    devices.check()


# ---- random churn: no failure while enough blocks are free, and no data lost


class Disk:
    """A tag for each block of a device, written and read where `resolve` says, as an owner would."""

    def __init__(self, table: SwapTable) -> None:
        self.table = table
        self.tags = np.zeros(table.blocks, np.int64)

    def place(self, runs: np.ndarray, nr: int) -> np.ndarray:
        slots = (runs[:, None] + np.arange(nr)).ravel()
        devices, blocks = self.table.resolve(slots)
        assert (devices == self.table.member).all()
        return blocks

    def write(self, runs: np.ndarray, nr: int) -> None:
        """Each page's tag is its slot's number, so that a block that serves two is found out."""
        self.tags[self.place(runs, nr)] = (runs[:, None] + np.arange(nr)).ravel()

    def read(self, runs: np.ndarray, nr: int) -> None:
        assert (self.tags[self.place(runs, nr)] == (runs[:, None] + np.arange(nr)).ravel()).all()


@dataclass
class Budget:
    """Blocks that are certainly free: whoever gets some out of it must get slots."""

    free: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, most: int, nr: int) -> int:
        """How many runs of *nr* blocks one may take, up to *most*."""
        with self.lock:
            n = min(most, self.free // nr)
            self.free -= n * nr
            return n

    def put(self, blocks: int) -> None:
        with self.lock:
            self.free += blocks


class Churn:
    """Random orders come and go at the edge of a budget; some are swapped out, some are freed in parts."""

    def __init__(self, disk: Disk, budget: Budget, seed: int, cpu: int) -> None:
        self.disk, self.table, self.budget, self.cpu = disk, disk.table, budget, cpu
        self.rng = np.random.default_rng(seed)
        self.live: list[list[np.ndarray]] = [[] for _ in range(10)]  # first slots of whole runs, by order
        self.single: list[np.ndarray] = []  # what is left of runs that were freed in part
        self.done = 0

    def grow(self) -> None:
        order = int(self.rng.integers(10))
        want = self.budget.get(int(self.rng.integers(1, 65)), 1 << order)
        if want == 0:
            return
        if want == 1:
            runs = np.array([self.table.alloc(order, self.cpu, contiguous=True)])
        else:
            runs = self.table.alloc_many(want, order, self.cpu, contiguous=True)
        assert runs.size == want, f"order {order}: {runs.size} of {want} while {want << order} blocks are free"
        self.disk.write(runs, 1 << order)
        self.live[order].append(runs)
        self.done += want

    def shrink(self) -> None:
        """Give up a batch, or every second one of it, or the halves of its runs."""
        order = int(self.rng.integers(10))
        if not self.live[order]:
            return
        runs = self.live[order].pop(int(self.rng.integers(len(self.live[order]))))
        nr, how = 1 << order, self.rng.random()
        self.disk.read(runs, nr)
        if how < 0.3 and runs.size > 1:
            self.live[order].append(runs[1::2])
            runs = runs[::2]
        elif how < 0.5 and order:
            self.single.append((runs[:, None] + np.arange(1, nr, 2)).ravel())
            runs, nr = (runs[:, None] + np.arange(0, nr, 2)).ravel(), 1
        self.drop(self.rng.permutation(runs), nr)

    def drop(self, runs: np.ndarray, nr: int) -> None:
        if self.rng.random() < 0.3:  # by the last user
            self.table.dup_many(runs, nr)
            self.table.cache_del_many(runs, np.full(runs.size, 7), nr)
            self.table.put_many(runs, nr)
        else:
            self.table.free_many(runs, nr)
        self.budget.put(runs.size * nr)

    def step(self, low: int) -> None:
        """Up to the last block of the budget, then down until *low* blocks are free."""
        for _ in range(200):
            if self.budget.free < 2:
                break
            self.grow()
        while self.budget.free < low and (self.single or any(self.live)):
            if self.single and self.rng.random() < 0.3:
                slots = self.single.pop(int(self.rng.integers(len(self.single))))
                self.disk.read(slots, 1)
                self.drop(slots, 1)
            self.shrink()

    def read_all(self) -> int:
        """Every live page, once; how many there are."""
        pages = 0
        for order, batches in enumerate([*self.live, self.single]):
            for runs in batches:
                self.disk.read(runs, 1 << order if order < 10 else 1)
                pages += runs.size << (order if order < 10 else 0)
        return pages


def churn(slots: int, occupancy: float, allocations: int, threads: int = 1, **shape) -> None:
    """*threads* at *occupancy* of the blocks until so many allocations were made; then everything is read back."""
    table = SwapTable(slots=slots, cpus=threads, **shape)
    disk, usable = Disk(table), table.usage()["usable"]
    hold = int(usable * occupancy)
    base = np.random.default_rng(slots).permutation(table.alloc_many(usable))
    table.free_many(base[hold:])  # holes everywhere; what is left in single slots is replaced as the churn goes on
    disk.write(base[:hold], 1)
    budget = Budget(usable - hold)
    workers = [Churn(disk, budget, seed, seed) for seed in range(threads)]
    for k, worker in enumerate(workers):
        worker.live[0] = np.array_split(base[:hold][k::threads], -(-hold // 64))
    failures: list[BaseException] = []

    def work(worker: Churn) -> None:
        try:
            while worker.done < allocations // threads and not failures:
                worker.step(usable - hold)
        except BaseException as err:
            failures.append(err)

    others = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for other in others:
        other.start()
    for other in others:
        other.join()
    if failures:
        raise failures[0]
    table.check()
    pages = sum(worker.read_all() for worker in workers)
    usage = table.usage()
    assert usage["used"] == pages and usage["blocks"]["free"] == usable - pages == budget.free
    print(
        f"{occupancy:.1%} of {slots} blocks, {threads} threads: {sum(w.done for w in workers)} allocations, 0 failed, "
        f"{usage['clusters']['past']} clusters past the end, {usage['clusters']['past_peak']} at most"
    )
    for worker in workers:
        for order, batches in enumerate(worker.live):
            for runs in batches:
                table.free_many(runs, 1 << order)
        for slots_left in worker.single:
            table.free_many(slots_left)
    table.trim()
    table.check()
    after = table.usage()
    assert after["used"] == after["lent"] == after["clusters"]["past"] == 0 and table.free_blocks == usable


OCCUPANCIES = [0.5, 0.9, 0.97, 0.999]


@pytest.mark.parametrize("occupancy", OCCUPANCIES)
def test_churn(occupancy):
    churn(2**15, occupancy, 10_000)


@pytest.mark.parametrize("occupancy", [0.5, 0.97])
def test_churn_of_two_threads(occupancy):
    churn(2**15, occupancy, 10_000, threads=2)


@pytest.mark.long
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("occupancy", OCCUPANCIES)
def test_long_churn(occupancy, threads):
    churn(2**18, occupancy, 250_000, threads, bad=range(1000, 3000, 7))
