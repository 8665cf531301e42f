# A caller's module as a strict type checker sees it; never run.
# Imports the package.
# Used by `make stubs`, which wants no error from `mypy --strict`.
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import swaptable
from swaptable import SlotEntry, SwapFullError, SwapTable


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
    return table[slot] + swaptable.pack("shadow", count=1) + swaptable.unpack(1).count


fill(SwapTable(slots=None, cpus=2, bad=range(1, 3)))
