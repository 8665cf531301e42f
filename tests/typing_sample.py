# A caller's module as a strict type checker sees it; never run.
# Imports the package.
# Used by `make stubs`, which wants no error from `mypy --strict`.
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import swaptable
from swaptable import SlotEntry, SwapFullError, SwapTable
from swaptable.arrow import Columns
from swaptable.backends import Backend, Written
from swaptable.backends.file import FileBackend
from swaptable.backends.ghost import GhostBackend
from swaptable.backends.memory import MemoryBackend
from swaptable.backends.zram import ZramBackend
from swaptable.backends.zswap import ZswapBackend


def fill(table: SwapTable) -> NDArray[np.int64]:
    try:
        slots = table.alloc_many(100, order=2, pfns=np.arange(100, dtype=np.uint64))
    except SwapFullError as full:
        assert_type(full.index, int | None)
        raise
    table.dup_many(slots, nr=4)
    table.cache_del_many(slots, shadows=[7] * 100, nr=4)
    assert_type(table.words(slots), NDArray[np.uint64])
    return slots


def one(table: SwapTable) -> int:
    slot = table.alloc()
    entry = table.entry(slot)
    assert_type(entry, SlotEntry)
    assert_type(entry.pfn, int | None)
    assert_type(table.cache_add(slot, 1), int)
    assert_type(table.usage()["clusters"]["frag"], list[int])
    assert_type(table.memory()["total"], int)
    assert_type(swaptable.get_include(), str)
    return table[slot] + swaptable.pack("shadow", count=1) + swaptable.unpack(1).count


def listen(table: SwapTable, path: str) -> Columns:
    with table.events(capacity=1 << 10) as events:
        table.alloc()
        columns = Columns.of(events.drain())
        assert_type(events.dropped, int)
    table.save(path)
    assert_type(SwapTable.load(path), SwapTable)
    assert_type(table.view(0), NDArray[np.uint64])
    return columns


def every_backend(path: str) -> list[Backend]:
    file = FileBackend(path, 16, create=True)
    zram = ZramBackend(16, backing=file)
    return [file, GhostBackend(), MemoryBackend(16), zram, ZswapBackend("zstd-1", limit=1 << 20)]


def store(backend: Backend, pages: NDArray[np.uint8]) -> NDArray[np.int64]:
    written = backend.write_many(pages, None if backend.chooses else np.arange(len(pages)))
    assert_type(written, Written)
    assert_type(written.errors, NDArray[np.int32])
    return written.blocks


fill(SwapTable(slots=None, cpus=2, bad=range(1, 3)))
