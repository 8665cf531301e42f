# The swap space: writeback of a batch and swapoff of a device, each beside the sum of its parts.
# May import bench_backends, measure, numpy, swaptable.
# Used by asv and by python -m benchmarks.
"""Moving data with all that belongs to it (pins, choice, blocks, locations) over moving the bytes alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter_ns

import numpy as np

from swaptable import writeback
from swaptable._device import STREAM
from swaptable.backends._pages import empty_pages
from swaptable.contents import Contents, generate
from swaptable.space import SwapSpace
from swaptable.swapfile import mkswap
from swaptable.swapoff import Swapoff

from .measure import REPEATS, Row, Series, elapsed, interleave

PAGE = 4096
BATCH = 4096            # pages that are written back at a time
CHUNK = writeback.BATCH # pages of a transfer of the parts, as of the whole
GIB = 1 << 30
LIMIT = 256 << 20
MIX = {"zero": 0.0, "same": 0.0, "compressible": 1.0, "random": 0.0}


def clock(run: Callable[[], object]) -> int:
    """Nanoseconds by the clock: the thread sleeps while a device works."""
    begin = perf_counter_ns()
    run()
    return perf_counter_ns() - begin


def distinct(n: int) -> np.ndarray:
    """Pages that a pool takes, all different."""
    return Contents(generate(512, MIX)).of(np.arange(n), np.zeros(n, np.int64))


class Down:
    """A batch of pages in a pool, to be written back to a file; the same by hand."""

    def __init__(self, folder: str, direct: bool | None, compressed: bool, codec: str) -> None:
        path = os.path.join(folder, "swap")
        mkswap(path, 2 * BATCH * PAGE)
        self.space = SwapSpace(compressed_writeback=compressed)
        self.pool = self.space.add_zswap(codec, limit=LIMIT)
        self.space.swapon(None, size=GIB, grow=True, priority=10)
        self.disk = self.space.swapon(path, priority=5, name="disk", direct=direct)
        self.time = clock if self.disk.backend.direct else elapsed
        self.entries = self.space.swap_out_many(distinct(BATCH)).entries
        self.buffer = empty_pages(BATCH)

    def up(self) -> None:
        """Everything is in the pool again."""
        self.space.prefetch(self.entries, "zswap0")
        self.space.run_discard()

    def whole(self) -> float:
        """Writeback; nanoseconds a page."""
        self.up()
        took = self.time(lambda: self.space.writeback(BATCH, "zswap0"))
        if self.pool.backend.counts()["stored"]:
            raise RuntimeError("the batch was not written back whole")
        return took / BATCH

    def _objects(self) -> np.ndarray:
        self.up()
        _, objects = self.space.devices.by_type[0].table.resolve(self.entries)
        return objects

    def loads(self) -> float:
        """The codec loads of the same pages."""
        objects = self._objects()
        if self.space._writeback.compressed:
            return self.time(lambda: self.pool.backend.read_blobs(objects, self.buffer)) / BATCH
        return self.time(lambda: self.pool.backend.read_many(objects, self.buffer)) / BATCH

    def in_turn(self) -> float:
        """Both parts one after the other, a stream at a time as the whole does, and nothing else: its bound.

        The whole comes before it, as it does before the loads, so that what is read is as cold.
        """
        self.up()
        self.space.writeback(BATCH, "zswap0")
        objects, blocks = self._objects(), np.arange(BATCH, 2 * BATCH)
        read, step = self.pool.backend.read_many, STREAM
        if self.space._writeback.compressed or self.disk.backend.direct:
            step = BATCH
        if self.space._writeback.compressed:
            read = self.pool.backend.read_blobs

        def run() -> None:
            for first in range(0, BATCH, step):
                part = slice(first, first + step)
                read(objects[part], self.buffer[part])
                self.disk.backend.write_many(self.buffer[part], blocks[part])

        return self.time(run) / BATCH

    def write(self) -> float:
        """One sequential vectored write of the same size."""
        self.up()
        blocks = np.arange(BATCH, 2 * BATCH)
        return self.time(lambda: self.disk.backend.write_many(self.buffer, blocks)) / BATCH


@contextmanager
def down(direct: bool | None, compressed: bool = False, codec: str = "lz4") -> Iterator[Down]:
    """A batch on a file in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        case = Down(folder, direct, compressed, codec)
        try:
            yield case
        finally:
            case.space.check()
            case.space.close()


def writeback_row(
    name: str, what: str, direct: bool | None, repeats: int, compressed: bool = False, codec: str = "lz4"
) -> Row:
    """How much of the speed of its parts a writeback has."""
    with down(direct, compressed, codec) as case:
        if direct is None and not case.disk.backend.direct:
            return Row(name, what, float("nan"), "x", note=f"skipped: {case.disk.backend.direct_why}")
        cases = {"whole": case.whole, "loads": case.loads, "write": case.write, "in turn": case.in_turn}
        series = interleave({what: (run, 0) for what, run in cases.items()}, repeats)
    parts = np.array(series["loads"]) + np.array(series["write"])
    bound = float(np.median(parts / np.array(series["in turn"])))
    note = f"loads {series.ns('loads'):.0f}, write {series.ns('write'):.0f} ns a page; both in turn alone {bound:.2f} x"
    ratio = float(np.median(parts / np.array(series["whole"])))
    peer = float(np.median(parts))
    return Row(name, what, ratio, "x", series.ns("whole"), "loads + write", peer, 0.9, None, True, note)


# ---- swapoff


class Off:
    """A device that is half full, to be emptied into a pool or another file; the same by hand."""

    def __init__(self, folder: str, size: int, to_pool: bool, direct: bool | None = False) -> None:
        self.direct, self.size, self.used = direct, size, size // PAGE // 2
        self.paths = [os.path.join(folder, name) for name in "ab"]
        for path in self.paths:
            mkswap(path, size)
        self.space = SwapSpace()
        self.space.swapon(self.paths[0], priority=5, name="a", direct=self.direct)
        self._fill()
        if to_pool:
            self.other = self.space.add_zswap("lz4", limit=size, priority=1, name="b")
        else:
            self.other = self.space.swapon(self.paths[1], priority=1, name="b", direct=self.direct)
        self.buffer = empty_pages(CHUNK)
        self.last: Swapoff | None = None
        self.kept: list[np.ndarray] = []

    def _fill(self) -> None:
        """Every second page goes: half of the blocks, in runs of 8, are in use."""
        pages = distinct(CHUNK)
        self.entries = np.concatenate([
            self.space.swap_out_many(pages).entries for _ in range(2 * self.used // CHUNK)
        ])  # fmt: skip
        self.entries = self.entries[self.entries >= 0]
        gone = np.arange(len(self.entries)) // 8 % 2 == 1
        self.space.free_many(self.entries[gone])
        self.entries = self.entries[~gone]

    def whole(self) -> float:
        """Swapoff; nanoseconds a page. Afterwards the device is on, and the data there, again."""
        begin = perf_counter_ns()
        self.last = self.space.swapoff("a")
        took = perf_counter_ns() - begin
        self.space.swapon(self.paths[0], priority=5, name="a", direct=self.direct)
        self.space.prefetch(self.entries, "a")
        self.space.run_discard()
        return took / len(self.entries)

    def reads(self) -> float:
        """Reading its used blocks in order."""
        device = self.space.devices["a"]
        members, blocks = device.table.resolve(self.entries)
        blocks = np.sort(blocks[members == device.member])
        return self._each(lambda part: device.backend.read_many(part, self.buffer[: len(part)]), blocks)

    def stores(self) -> float:
        """The other one's batch store of as many pages."""
        backend = self.other.backend
        if not self.other.pool:
            return self._each(lambda part: backend.write_many(self.buffer[: len(part)], part), np.arange(1, self.used))
        pages, took = distinct(CHUNK), 0
        for _ in range(len(self.entries) // CHUNK):
            written: list = []
            took += clock(lambda written=written: written.append(backend.write_many(pages)))
            self.kept.append(written[0].blocks)
        for blocks in self.kept:
            backend.invalidate(blocks)
        self.kept.clear()
        return took / len(self.entries)

    @staticmethod
    def _each(run: Callable[[np.ndarray], object], blocks: np.ndarray) -> float:
        def whole() -> None:
            for first in range(0, len(blocks), CHUNK):
                run(blocks[first : first + CHUNK])

        return clock(whole) / len(blocks)


def swapoff_row(
    name: str, what: str, size: int, to_pool: bool, repeats: int, direct: bool | None = False
) -> Row:
    """How many times its parts a swapoff takes."""
    with tempfile.TemporaryDirectory() as folder:
        case = Off(folder, size, to_pool, direct)
        series: Series = interleave(
            {"whole": (case.whole, 0), "reads": (case.reads, 0), "stores": (case.stores, 0)}, repeats
        )
        case.space.check()
        case.space.close()
    parts = np.array(series["reads"]) + np.array(series["stores"])
    assert case.last is not None
    note = f"reads {series.ns('reads'):.0f}, stores {series.ns('stores'):.0f} ns a page; {case.last.moved:,} pages"
    ratio = float(np.median(np.array(series["whole"]) / parts))
    return Row(name, what, ratio, "x", series.ns("whole"), "reads + stores", float(np.median(parts)), 1.2, note=note)


def rows(repeats: int = REPEATS) -> list[Row]:
    """g1 and s2."""
    few = max(3, repeats // 3)
    return [
        writeback_row("g1 writeback", "pool to file, page cache, over its parts", False, repeats),
        writeback_row("g1 zstd-1", "pool of zstd-1 to file, over its parts", False, repeats, codec="zstd-1"),
        writeback_row("g1 direct", "pool to file, direct, over its parts", None, repeats),
        writeback_row("g1 compressed", "pool to file, still compressed, over its parts", False, repeats, True),
        swapoff_row("g2 to a pool", "swapoff, half-full 1 GiB file to a pool, times its parts", GIB, True, few),
        swapoff_row("g2 to a file", "swapoff, half-full 1 GiB file to a file, times its parts", GIB, False, few),
        swapoff_row("g2 direct", "swapoff, half-full 1 GiB file to a file, direct", GIB, False, few, None),
    ]


class Writeback:
    """Writeback over its parts."""

    params = ("page cache", "direct")
    param_names = ("io",)

    def track_over_parts(self, io: str) -> float:
        return writeback_row("", "", False if io == "page cache" else None, 3).value

    track_over_parts.unit = "x"


class Emptying:
    """Swapoff over its parts, on a device of 64 MiB."""

    params = ("pool", "file")
    param_names = ("destination",)

    def track_over_parts(self, destination: str) -> float:
        return swapoff_row("", "", 64 << 20, destination == "pool", 3).value

    track_over_parts.unit = "x"
