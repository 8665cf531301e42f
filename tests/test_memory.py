# What a table costs: memory(), tables that exist only while used, overflow tables, trim.
# Imports the package, numpy and the twin; reads /proc/self/statm.
# Used by pytest.
from __future__ import annotations

import gc
import mmap
from pathlib import Path

import numpy as np
import pytest
from twin import TABLE_BYTES

from swaptable import CountOverflowError, SlotNotInUseError, SwapTable

TABLE, OVERFLOW = TABLE_BYTES, 2048
plain_build = pytest.mark.skipif(TABLE != 4096, reason="an address sanitizer doubles the size of tables")
FULL = 2**23


def parts(table: SwapTable) -> dict:
    """memory(), after it was added up."""
    memory = table.memory()
    assert memory["total"] == sum(memory.values()) - memory["total"]
    assert all(value >= 0 for value in memory.values())
    return memory


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.parametrize("slots", [2, 512, 262144, 2**32 - 1, None])
@pytest.mark.parametrize("cpus", [1, 8])
def test_a_table_that_is_not_used(slots, cpus):
    table = SwapTable(slots=slots, cpus=cpus)
    assert parts(table)["total"] <= 64 * 1024
    assert parts(table)["overflow"] == 0
    table.check()


@plain_build
@pytest.mark.parametrize(
    "shape",
    [
        {"slots": FULL, "header": False},
        {"slots": None, "header": False},
        {"slots": FULL + 1},
    ],
)
def test_a_table_that_is_full(shape):
    table = SwapTable(**shape)
    assert table.alloc_many(FULL, pfns=np.arange(FULL, dtype=np.uint64)).size == FULL
    assert table.usage()["used"] == FULL
    assert parts(table)["total"] <= 8.2 * FULL
    table.dup_many(np.arange(1, 4097))
    table.cache_del_many(np.arange(1, 4097), np.arange(4096))
    assert parts(table)["total"] <= 8.2 * FULL
    table.check()


@pytest.mark.parametrize("slots", [2**32 - 1, None])
def test_there_is_room_for_more_tables_than_fit_in_32_bits_of_bytes(slots):
    """The room reserved for tables is more than 4 GiB here; this fills 40 MiB of it."""
    table = SwapTable(slots=slots)
    runs = table.alloc_many(10_000, 9)
    assert runs.size == 10_000
    table.check()
    assert table.usage()["cached"] == runs.size * 512


@plain_build
def test_the_system_sees_the_same_memory():
    """memory() against the resident set, after a fill and after giving back; within 4 MiB of 64."""
    table = SwapTable(slots=FULL)
    before, counted = resident(), parts(table)["total"]
    slots = table.alloc_many(FULL - 1)
    assert abs((resident() - before - slots.nbytes) - (parts(table)["total"] - counted)) < 4 << 20
    assert parts(table)["total"] - counted > 64 << 20
    table.free_many(slots)
    table.trim()
    assert abs((resident() - before - slots.nbytes) - (parts(table)["total"] - counted)) < 4 << 20
    assert parts(table)["total"] - counted < 4 << 20
    table.check()


def test_tables_exist_only_while_used():
    table = SwapTable(slots=512 * 8, header=False)
    assert parts(table)["tables"] == 0
    slots = [table.alloc(9) for _ in range(8)]
    for n, slot in enumerate(slots, 1):
        assert parts(table)["tables"] == 8 * TABLE
        table.free(slot, 511)
        assert parts(table)["tables"] == 8 * TABLE
        table.free(slot + 511)
        assert parts(table)["tables"] == 7 * TABLE
        assert table.alloc(9) == slot
        assert n <= 8
    for n, slot in enumerate(slots, 1):
        table.free(slot, 512)
        assert parts(table)["tables"] == (8 - n) * TABLE
    assert parts(table)["tables"] == 0
    table.check()


@pytest.mark.parametrize("way", ["put", "put_many", "free", "cache_del", "users at once", "run"])
def test_overflow_tables_come_and_go(way):
    """At the 15th user of any slot of a cluster; gone when the last slot is back to 14, or free."""
    table = SwapTable(slots=4096)
    a, b = 5, 9
    table.alloc_many(20)
    other = table.alloc(9)
    for slot in (a, b):
        table.dup(slot, users=14)
        assert parts(table)["overflow"] == 0
    table.dup(a)
    assert parts(table)["overflow"] == OVERFLOW
    table.dup(b, users=300)
    table.dup(other + 100, users=99)
    assert parts(table)["overflow"] == 2 * OVERFLOW
    table.put(a, users=15)
    assert parts(table)["overflow"] == 2 * OVERFLOW
    assert (table.entry(a).count, table.entry(b).count) == (0, 314)
    if way == "put":
        for _ in range(300):
            table.put(b)
    elif way == "put_many":
        table.put_many([b] * 300)
    elif way == "free":
        table.free(b)
    elif way == "cache_del":
        table.cache_del(b, shadow=1)
        assert parts(table)["overflow"] == 2 * OVERFLOW
        table.put(b, users=314)
        assert table[b] == 0
    elif way == "users at once":
        table.put(b, users=300)
    else:
        table.free(1, 16)
    assert parts(table)["overflow"] == OVERFLOW
    table.check()
    table.free(other, 512)
    assert parts(table)["overflow"] == 0
    table.check()


def test_refused_dups_leave_no_overflow_table():
    table = SwapTable(slots=4096)
    table.alloc_many(4)
    before = parts(table)
    for error, nr, users in ((SlotNotInUseError, 8, 20), (CountOverflowError, 1, 2**32 - 1)):
        table.dup(1)
        with pytest.raises(error):
            table.dup(1, nr, users)
        table.put(1)
        assert parts(table)["overflow"] == 0
        table.trim()
        assert parts(table) == before
        table.check()


def test_many_overflow_tables():
    table = SwapTable(slots=512 * 64, header=False)
    slots = table.alloc_many(512 * 64)
    for _ in range(15):
        table.dup_many(slots)
    assert parts(table)["overflow"] == 64 * OVERFLOW
    table.check()
    table.put_many(slots[::2])
    assert parts(table)["overflow"] == 64 * OVERFLOW
    table.put_many(slots[1::2])
    assert parts(table)["overflow"] == 0
    table.check()


SHAPES = [{"slots": 2**20}, {"slots": 2**20, "discard": True}, {"slots": None}, {"slots": 40000, "rotational": True}]


def cycle(table: SwapTable, n: int = 2**20) -> int:
    """Use all of it, half in single slots, free all, trim; the most that it had."""
    slots = table.alloc_many(n // 2)
    for _ in range(16):
        table.dup_many(slots[::600])
    runs = table.alloc_many(n // 32, 4)
    most = parts(table)["total"]
    table.free_many(runs, 16)
    table.free_many(np.random.default_rng(1).permutation(slots))
    table.run_discard()
    table.trim()
    table.check()
    assert table.usage()["used"] == 0
    return most


@pytest.mark.parametrize("shape", SHAPES)
def test_trim_gives_everything_back(shape):
    """All but the structures of clusters that were touched: those are on the free list, in the kernel's order."""
    table = SwapTable(**shape)
    before = parts(table)
    most = cycle(table)
    after = parts(table)
    assert most > before["total"]
    assert after["total"] - after["clusters"] == before["total"] - before["clusters"]


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_leaks(shape):
    """The second cycle and the fifth leave what the first left: little beside the most that was used."""
    table = SwapTable(**shape)
    most = cycle(table)
    after = parts(table)
    assert after["total"] - after["fixed"] <= most // 32 + 32768
    assert (after["pool"], after["overflow"]) == (0, 0)
    for _ in range(4):
        cycle(table)
        assert parts(table) == after


def test_trim_while_used():
    """Free tables go; those in use stay, and so do their words."""
    table = SwapTable(slots=512 * 600, header=False)
    slots = table.alloc_many(512 * 600, pfns=np.arange(512 * 600, dtype=np.uint64))
    keep = slots[5::1024]
    words = table.words(keep)
    table.free_many(np.setdiff1d(slots, keep))
    before = parts(table)
    table.trim()
    after = parts(table)
    assert after["tables"] == before["tables"] == keep.size * TABLE
    assert after["total"] < before["total"]
    assert (table.words(keep) == words).all()
    table.check()
    again = table.alloc_many(512 * 600)
    assert again.size == 512 * 600 - keep.size
    assert np.union1d(again, keep).size == 512 * 600
    assert (table.words(keep) == words).all()
    table.check()
