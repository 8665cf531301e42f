# Backends: the compressed pool against bare loops of its codec, blocks of a file against bare pread and pwrite.
# May import measure, bench_threads, numpy, swaptable; lz4 where it is installed.
# Used by asv and by python -m benchmarks.
"""Stores and loads of batches of real pages, reads and writes of a real file, each beside the C calls alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from time import perf_counter_ns

import numpy as np

from swaptable.backends import _peers, codec
from swaptable.backends._pages import empty_pages
from swaptable.backends.file import FileBackend
from swaptable.backends.zswap import ZswapBackend

from .bench_threads import ALU_LEAST, GOOD_REPEATS, alu, together
from .measure import REPEATS, SEED, Case, Row, Series, elapsed, interleave

PAGE = 4096
BATCH = 1024
POOL = 8192
LIMIT = 256 << 20
CODECS = ("lz4", "zstd-1", "zstd-3")
GATES = {"lz4": (0.85, 0.95, 0.80, 0.92), "zstd-1": (0.93, 0.98, 0.92, 0.97), "zstd-3": (0.93, 0.98, 0.92, 0.97)}
BLOCKS = 16384
FOLIO = 16
LARGEST_MAP = 64 << 20


def after(warm: Callable[[], object], run: Callable[[], object], items: int) -> Case:
    """A case that times *run* only, with the caches as *warm* leaves them: as its peer's warm did."""

    def timed() -> float:
        warm()
        return elapsed(run) / items

    return timed, 0


def anonymous_memory() -> Iterator[bytes]:
    """The private memory of this process that no file backs: what a system under pressure would swap out of it."""
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span, access, _, _, inode, *name = line.split()
            begin, end = (int(address, 16) for address in span.split("-"))
            if access == "rw-p" and inode == "0" and name != ["[stack]"] and end - begin <= LARGEST_MAP:
                memory.seek(begin)
                yield memory.read(end - begin)


@lru_cache(maxsize=1)
def real_pages() -> np.ndarray:
    """Distinct pages of a running program, Python with numpy, without those of one word: 1.6 KiB each by lz4."""
    pages = np.frombuffer(b"".join(anonymous_memory()), np.uint8).reshape(-1, PAGE)
    words = pages.view(np.uint64)
    return np.unique(pages[(words != words[:, :1]).any(axis=1)], axis=0)


class Pool:
    """A pool in its steady state: filled, with holes wherever random victims were."""

    def __init__(self, name: str) -> None:
        self.codec = codec.find(name)
        self.backend = ZswapBackend(self.codec, limit=LIMIT)
        self.rng = np.random.default_rng(SEED)
        pages = real_pages()
        fits = pages[self.backend.write_many(pages).errors == 0]
        self.pages = np.ascontiguousarray(fits[self.rng.integers(0, len(fits), BATCH)])
        self.backend = ZswapBackend(self.codec, limit=LIMIT)
        filling = fits[self.rng.integers(0, len(fits), POOL)]
        self.live = self.backend.write_folio(filling)
        self.mine = self.backend.write_folio(self.pages)[self.rng.permutation(BATCH)]
        self.out = np.zeros((BATCH, PAGE), np.uint8)
        self.blobs, self.lengths = _peers.packed(self.codec, self.pages)
        self.fresh = np.empty(0, np.int64)

    def store(self) -> None:
        self.fresh = self.backend.write_folio(self.pages)

    def store_cold(self) -> None:
        self.cold.write_many(self.pages)

    def make_room(self) -> None:
        """As many random victims go as were stored; then the pages are in the caches."""
        live = self.rng.permutation(np.concatenate([self.live, self.fresh]))
        self.backend.invalidate(live[POOL:])
        self.live, self.fresh = live[:POOL], live[:0]
        self.pages.sum()

    def make_cold(self) -> None:
        self.cold = ZswapBackend(self.codec, limit=LIMIT)
        self.pages.sum()

    def load(self) -> None:
        self.backend.read_many(self.mine, self.out)

    def cases(self) -> dict[str, Case]:
        """Stores and loads, each with the bare codec on the same pages before and after it."""
        pack = after(self.pages.sum, lambda: _peers.pack_each(self.codec, self.pages), BATCH)
        return {
            "store": after(self.make_room, self.store, BATCH),
            "pack": pack,
            "cold": after(self.make_cold, self.store_cold, BATCH),
            "load": after(self.out.sum, self.load, BATCH),
            "unpack": after(
                self.out.sum, lambda: _peers.unpack_each(self.codec, self.blobs, self.lengths, self.out), BATCH
            ),
        }


def word_cases() -> dict[str, Case]:
    """Pages of one word each."""
    pages = np.empty((BATCH, PAGE), np.uint8)
    pages.view(np.uint64)[:] = np.arange(BATCH, dtype=np.uint64)[:, None]
    backend, out, stored = ZswapBackend(limit=LIMIT), np.empty_like(pages), []

    def store() -> None:
        stored.append(backend.write_folio(pages))

    return {
        "store": (store, BATCH),
        "load": ((lambda: backend.read_many(stored[-1], out)), BATCH),
        "drop": ((lambda: backend.invalidate(stored.pop())), BATCH),
    }


def python_cases(pool: Pool) -> dict[str, Case]:
    """A batch call, and python-lz4 page by page."""
    import lz4.block

    pages = [page.tobytes() for page in pool.pages]

    def each() -> list[bytes]:
        return [lz4.block.compress(page, store_size=False) for page in pages]

    return {"batch": after(pool.make_room, pool.store, BATCH), "lz4.block": after(pool.pages.sum, each, BATCH)}


class TwoStores:
    """Stores by one thread and by two into one pool."""

    def __init__(self) -> None:
        self.backend, self.pages = ZswapBackend("lz4", limit=LIMIT), Pool("lz4").pages
        self.numbers: list[np.ndarray] = []

    def timed(self, threads: int) -> float:
        """Nanoseconds a page and thread."""
        took = together([lambda: self.numbers.append(self.backend.write_folio(self.pages))] * threads) / BATCH
        while self.numbers:
            self.backend.invalidate(self.numbers.pop())
        return took


def two_threads(repeats: int) -> Series:
    """One and two threads, in moments in which the machine has two CPUs for us if it ever has: see bench_threads."""
    stores, good, other = TwoStores(), Series(), Series()
    for repeat in range(3 * repeats + 1):
        before = alu(1), alu(2)
        took = {"1": stores.timed(1), "2": stores.timed(2)}
        one, both = min(before, (alu(1), alu(2)), key=lambda alone: alone[0] / alone[1])
        kept = good if 2 * one / both >= ALU_LEAST else other
        for name, ns in {**took, "ALU 1": one, "ALU 2": both}.items():
            if repeat:
                kept.setdefault(name, []).append(ns)
        if len(good.get("1", ())) == repeats:
            break
    return good if len(good.get("1", ())) >= GOOD_REPEATS else other


def aged_pool(rounds: int = 12) -> tuple[float, float, ZswapBackend]:
    """Pool bytes over compressed bytes after churn, before and after compaction, of 4 times POOL pages."""
    rng, backend = np.random.default_rng(SEED), ZswapBackend("lz4", limit=LIMIT)
    pages, n = real_pages(), 4 * POOL
    live = np.empty(0, np.int64)
    for _ in range(rounds):
        live = rng.permutation(live)
        backend.invalidate(live[n // 4 * 3:])
        live = live[: n // 4 * 3]
        numbers, errors = backend.write_many(pages[rng.integers(0, len(pages), n - live.size)])
        live = np.concatenate([live, numbers[errors == 0]])

    def overhead() -> float:
        counts = backend.counts()
        return counts["pages"] * PAGE / counts["bytes"]

    before = overhead()
    backend.compact()
    backend.check()
    return before, overhead(), backend


# ---- files

@contextmanager
def swap_file(direct: bool | None) -> Iterator[FileBackend]:
    """A file of 64 MiB that is all written."""
    with (
        tempfile.TemporaryDirectory() as folder,
        FileBackend(os.path.join(folder, "swap"), BLOCKS, create=True, direct=direct) as file,
    ):
        pages = empty_pages(BATCH)
        pages[:] = np.random.default_rng(SEED).integers(0, 256, pages.shape, np.uint8)
        for first in range(0, BLOCKS, BATCH):
            file.write_many(pages, first)
        file.flush()
        yield file


def warmed(run: Callable[[], object], items: int) -> Case:
    """A case that has run twice for nothing before: CPU time, which is all that the page cache takes."""
    return after(lambda: (run(), run()), run, items)


def wall(run: Callable[[], object], items: int) -> Case:
    """The same by the clock, since the thread sleeps while the device works."""

    def timed() -> float:
        run()
        begin = perf_counter_ns()
        run()
        return (perf_counter_ns() - begin) / items

    return timed, 0


def file_cases(file: FileBackend, n: int) -> dict[str, Case]:
    """Single blocks, and runs of 16, read and written, each beside the bare calls; *n* blocks a batch."""
    case = wall if file.direct else warmed
    rng, fd = np.random.default_rng(SEED), file.fileno()
    pages, out = empty_pages(n), empty_pages(n)
    pages[:] = rng.integers(0, 256, pages.shape, np.uint8)
    single = rng.permutation(BLOCKS // 2)[:n] * 2           # no two are neighbours
    first = np.sort(rng.permutation(BLOCKS // 32)[: n // FOLIO]) * 32
    runs = (first[:, None] + np.arange(FOLIO)).reshape(-1)
    return {
        "read": case(lambda: file.read_many(single, out), n),
        "pread": case(lambda: _peers.read_each(fd, single, out), n),
        "read run": case(lambda: file.read_many(runs, out), n // FOLIO),
        "16 preads": case(lambda: _peers.read_each(fd, runs, out), n // FOLIO),
        "preadv": case(lambda: _peers.readv_each(fd, first, out), n // FOLIO),
        "write": case(lambda: file.write_many(pages, single), n),
        "pwrite": case(lambda: _peers.write_each(fd, single, pages), n),
        "write run": case(lambda: file.write_many(pages, runs), n // FOLIO),
        "16 pwrites": case(lambda: _peers.write_each(fd, runs, pages), n // FOLIO),
        "pwritev": case(lambda: _peers.writev_each(fd, first, pages), n // FOLIO),
    }


def call_cases(file: FileBackend) -> dict[str, Case]:
    """A call of Python a page, ours and os's."""
    blocks = (np.random.default_rng(SEED).permutation(BLOCKS)[:256]).tolist()
    fd, page, out = file.fileno(), bytes(PAGE), empty_pages(1)
    return {
        "read call": warmed(lambda: [file.read_folio(block, out) for block in blocks], 256),
        "os.preadv": warmed(lambda: [os.preadv(fd, [out], block * PAGE) for block in blocks], 256),
        "write call": warmed(lambda: [file.write_folio(page, block) for block in blocks], 256),
        "os.pwrite": warmed(lambda: [os.pwrite(fd, page, block * PAGE) for block in blocks], 256),
    }


# ---- rows

def over(series: Series, case: str, peer: str, name: str, what: str, *marks: float | None, note: str = "") -> Row:
    """A row whose value is how much of the peer's speed a case has."""
    gate, stretch = marks or (None, None)
    return Row(
        name, what, series.ratio(peer, case), "x", series.ns(case), peer, series.ns(peer), gate, stretch, True, note
    )


def codec_rows(repeats: int) -> list[Row]:
    """e1 and e2."""
    found = []
    for name in CODECS:
        pool = Pool(name)
        series = interleave(pool.cases(), repeats)
        pool.backend.check()
        store, store_stretch, load, load_stretch = GATES[name]
        note, what = f"{pool.codec.library}, {pool.lengths.mean():.0f} bytes a page", "a page, over the bare codec"
        found += [
            over(series, "store", "pack", f"e1 {name}", f"store, {what}", store, store_stretch, note=note),
            over(series, "cold", "pack", f"e1 {name} cold", "store into memory that is not there yet"),
            over(series, "load", "unpack", f"e2 {name}", f"load, {what}", load, load_stretch),
        ]
    return found


def other_pool_rows(repeats: int) -> list[Row]:
    """e3, e4, density."""
    words = interleave(word_cases(), repeats)
    found = [
        Row(f"e3 {what}", f"pages of one word, {what}", 1000 / words.ns(what), "M/s", words.ns(what), "", gate=gate,
            stretch=stretch, higher=True)
        for what, gate, stretch in (("store", 2, 4), ("load", 2, 4), ("drop", None, None))
    ]
    try:
        series = interleave(python_cases(Pool("lz4")), repeats)
    except ImportError:
        found.append(Row("e4", "batch call", float("nan"), "x", note="skipped: python-lz4 is not installed"))
    else:
        found.append(over(series, "batch", "lz4.block", "e4", "batch call from Python over python-lz4", 1.0, 1.2))
    threads = two_threads(repeats)
    bound = 2 * threads.ratio("ALU 1", "ALU 2")
    note = f"ALU {bound:.2f}x, {len(threads['1'])} repeats"
    found.append(Row(
        "e4 2T", "store, two threads over one", 2 * threads.ratio("1", "2"), "x", threads.ns("2"), "1 thread",
        threads.ns("1"), None, 1.5, True, note if bound >= ALU_LEAST else f"skipped: {note}",
    ))
    before, packed, backend = aged_pool()
    records = backend.memory()["records"] / (4 * POOL)
    return [
        *found,
        Row("e density", "pool bytes over compressed bytes, aged", packed, "x", gate=1.06,
            note=f"{before:.3f} before compaction"),
        Row("e record", "bytes of a record", records, "B", gate=16),
    ]


def file_rows(repeats: int) -> list[Row]:
    """f1 and f2, by the page cache."""
    with swap_file(direct=False) as file:
        series = interleave(file_cases(file, BATCH // 4), repeats)
        calls = interleave(call_cases(file), repeats)
    return [
        over(series, "read", "pread", "f1 read", "scattered blocks, a page, over bare preads", 0.80, 0.93),
        over(series, "write", "pwrite", "f1 write", "scattered blocks, a page, over bare pwrites", 0.80, 0.93),
        over(calls, "read call", "os.preadv", "f1 read call", "a call from Python a page"),
        over(calls, "write call", "os.pwrite", "f1 write call", "a call from Python a page"),
        over(series, "read run", "16 preads", "f2 read", "16 neighbours over 16 preads", 1.8, 2.1),
        over(series, "read run", "preadv", "f2 read one", "16 neighbours over one preadv", None, 0.95),
        over(series, "write run", "16 pwrites", "f2 write", "16 neighbours over 16 pwrites", 1.8, 2.1),
        over(series, "write run", "pwritev", "f2 write one", "16 neighbours over one pwritev", None, 0.95),
    ]


def direct_rows(repeats: int) -> list[Row]:
    """f3, past the page cache."""
    with swap_file(direct=None) as file:
        if not file.direct:
            return [Row("f3", "direct I/O", float("nan"), "x", note=f"skipped: {file.direct_why}")]
        series = interleave(file_cases(file, 4 * FOLIO), repeats)
    return [
        over(series, "read", "pread", "f3 read page", "direct, a page over a bare pread"),
        over(series, "read run", "16 preads", "f3 read", "direct, 16 neighbours over 16 preads", 5, 8),
        over(series, "read run", "preadv", "f3 read one", "direct, 16 neighbours over one preadv"),
        over(series, "write run", "16 pwrites", "f3 write", "direct, 16 neighbours over 16 pwrites", 5, 8),
        over(series, "write run", "pwritev", "f3 write one", "direct, 16 neighbours over one pwritev"),
    ]


def rows(repeats: int = REPEATS) -> list[Row]:
    """e1 to e4, f1 to f3."""
    return [*codec_rows(repeats), *other_pool_rows(repeats), *file_rows(repeats), *direct_rows(repeats)]


class Compressed:
    """Stores and loads of a batch in a pool in its steady state."""

    params = (list(CODECS),)
    param_names = ("codec",)

    def setup(self, name: str) -> None:
        self.pool = Pool(name)

    def time_store_and_drop(self, name: str) -> None:
        self.pool.store()
        self.pool.make_room()

    def time_load(self, name: str) -> None:
        self.pool.load()

    def track_store_over_codec(self, name: str) -> float:
        return interleave(self.pool.cases()).ratio("pack", "store")

    def track_load_over_codec(self, name: str) -> float:
        return interleave(self.pool.cases()).ratio("unpack", "load")

    track_store_over_codec.unit = track_load_over_codec.unit = "x of the bare codec"


class Words:
    """Pages of one word."""

    def setup(self) -> None:
        self.cases = word_cases()

    def time_store_load_drop(self) -> None:
        for run, _ in self.cases.values():
            run()


class Density:
    """Bytes of an aged pool."""

    def setup_cache(self) -> dict[str, float]:
        before, packed, backend = aged_pool()
        return {"before": before, "packed": packed, "record": backend.memory()["records"] / (4 * POOL)}

    def track_pool_over_compressed(self, found: dict[str, float]) -> float:
        return found["packed"]

    def track_before_compaction(self, found: dict[str, float]) -> float:
        return found["before"]

    def track_record(self, found: dict[str, float]) -> float:
        return found["record"]

    track_pool_over_compressed.unit = track_before_compaction.unit = "x"
    track_record.unit = "bytes"


class File:
    """Blocks of a file over the bare calls."""

    params = (["buffered", "direct"],)
    param_names = ("io",)

    def setup(self, io: str) -> None:
        self.context = swap_file(direct=None if io == "direct" else False)
        self.file = self.context.__enter__()
        if io == "direct" and not self.file.direct:
            raise NotImplementedError(self.file.direct_why)     # asv: skip
        self.cases = file_cases(self.file, BATCH // 4 if io == "buffered" else 4 * FOLIO)

    def teardown(self, io: str) -> None:
        self.context.__exit__(None, None, None)

    def track_read_over_pread(self, io: str) -> float:
        return interleave(self.cases).ratio("pread", "read")

    def track_run_over_16_preads(self, io: str) -> float:
        return interleave(self.cases).ratio("16 preads", "read run")

    def track_run_over_16_pwrites(self, io: str) -> float:
        return interleave(self.cases).ratio("16 pwrites", "write run")

    track_read_over_pread.unit = track_run_over_16_preads.unit = track_run_over_16_pwrites.unit = "x of the bare calls"
