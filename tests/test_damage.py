# check() finds damage: single words, counts and links of a table are overwritten, and put back.
# Imports the package, ctypes and numpy; writes to its own memory through /proc/self/mem.
# Used by pytest. It knows the first fields of the core's private structures, and fails when they have moved.
from __future__ import annotations

import ctypes
import os

import numpy as np
import pytest

from swaptable import CheckError, SwapTable, pack

HEADER = ctypes.sizeof(ctypes.c_void_p) * 2  # of a Python object: count of references and type
CLUSTER_BYTES = 64
CLUSTER = {"lock": (0, 1), "list": (1, 1), "order": (2, 1), "count": (4, 2), "nr_extend": (6, 2)}
CLUSTER |= {"next": (8, 4), "any_free": (16, 8), "all_free": (24, 8), "flags": (3, 1), "locs": (36, 4), "bits": (40, 4)}
CLUSTER |= {"owners": (44, 4), "nr_loc": (48, 2), "nr_zero": (50, 2), "nr_taken": (52, 2), "nr_lent": (54, 2)}
CLUSTER |= {"hole_next": (56, 4), "hole_prev": (60, 4)}
USABLE = 80  # in the area


class Memory:
    """The bytes of this process; an address that does not exist is an OSError and no crash."""

    def __init__(self) -> None:
        self.fd = os.open("/proc/self/mem", os.O_RDWR)

    def read(self, at: int, size: int = 8) -> int:
        return int.from_bytes(os.pread(self.fd, size, at), "little")

    def write(self, at: int, value: int, size: int = 8) -> None:
        assert os.pwrite(self.fd, value.to_bytes(size, "little"), at) == size


class Inside:
    """Where a table keeps its words and clusters, found by what must be there."""

    def __init__(self, table: SwapTable, memory: Memory) -> None:
        self.memory = memory
        words = table.words(np.arange(512)).tolist()
        for offset in (0, 8, 16):  # the methods' table, if there is one, and its successors come first
            try:
                area = memory.read(id(table) + HEADER + offset)
                self.tables, self.clusters = memory.read(area), memory.read(area + 8)
                self.usable = area + USABLE, 8
                first = memory.read(self.tables)
                if [memory.read(first + 8 * i) for i in range(512)] == words:
                    break
            except OSError:
                continue
        else:
            pytest.fail("the core's structures have moved: bring this file up to date")
        used = sum(word != 0 for word in words)
        assert memory.read(*self.field(0, "count")) == used

    def word(self, slot: int) -> tuple[int, int]:
        return self.memory.read(self.tables + slot // 512 * 8) + slot % 512 * 8, 8

    def field(self, cluster: int, name: str) -> tuple[int, int]:
        offset, size = CLUSTER[name]
        return self.clusters + cluster * CLUSTER_BYTES + offset, size

    def pointer(self, cluster: int) -> tuple[int, int]:
        return self.tables + cluster * 8, 8


@pytest.fixture(scope="module")
def memory():
    try:
        return Memory()
    except OSError as err:
        pytest.skip(f"no /proc/self/mem: {err}")


@pytest.fixture
def table():
    """Clusters: 0 partly used, 1 full, 2 emptied, 3 partly used by order 4, 4 untouched."""
    table = SwapTable(slots=512 * 5)
    table.alloc_many(400, pfns=np.arange(400, dtype=np.uint64) + 1000)
    table.alloc(9)
    table.alloc(9)
    table.alloc_many(3, 4)
    table.free(1024, 512)
    table.dup_many(np.arange(1, 200))
    table.cache_del_many(np.arange(1, 100), np.arange(99) + 7)
    table.dup(150, users=40)
    table.check()
    return table


USED, SWAPPED, OVER, FREE = 300, 10, 150, 450

WORDS = {
    "a used slot is lost": (USED, pack("null")),
    "a full cluster's slot is lost": (700, pack("null")),
    "a free slot is used": (FREE, pack("folio", pfn=1)),
    "a free slot is bad": (FREE, pack("bad")),
    "the header is free": (0, pack("null")),
    "a used slot is bad": (USED, pack("bad")),
    "a pointer": (USED, pack("pointer", slot=1)),
    "lent": (FREE, pack("lent")),
    "swapped out without users": (SWAPPED, pack("shadow", shadow=3)),
    "a count of 15 without its overflow entry": (SWAPPED, pack("shadow", count=15, shadow=3)),
    "an overflow entry whose word counts 14": (OVER, pack("folio", count=14)),
    "an overflow entry whose slot is free": (OVER, pack("null")),
}

FIELDS = {
    "a lock that is held": (0, "lock", lambda old: 1),
    "partly used, on the full list": (0, "list", lambda old: 3),
    "full, on a nonfull list": (1, "list", lambda old: 5),
    "in use, on the free list": (3, "list", lambda old: 2),
    "never used, on the free list": (4, "list", lambda old: 2),
    "used, but untouched": (3, "list", lambda old: 0),
    "emptied, but untouched": (2, "list", lambda old: 0),
    "another order than its list's": (3, "order", lambda old: old + 1),
    "one used slot too many": (0, "count", lambda old: old + 1),
    "one used slot too few": (3, "count", lambda old: old - 1),
    "an empty one with a used slot": (2, "count", lambda old: 1),
    "an overflow count too many": (0, "nr_extend", lambda old: old + 1),
    "an overflow count in a cluster without": (3, "nr_extend", lambda old: 1),
    "a link to itself": (0, "next", lambda old: 0),
    "a free line too many": (0, "any_free", lambda old: old | 1 << 20),
    "a free line too few": (0, "any_free", lambda old: old & ~(1 << 63)),
    "a wholly free line too many": (0, "all_free", lambda old: old | 1 << 3),
    "a wholly free line too few": (3, "all_free", lambda old: old & ~(1 << 63)),
    "a full one with a free line": (1, "any_free", lambda old: 1),
    "an empty one with a used line": (2, "all_free", lambda old: old ^ 1),
}


def damage(table: SwapTable, memory: Memory, at: int, size: int, value: int) -> str:
    """What check() says while *value* is at *at*. Put back, all is well."""
    old = memory.read(at, size)
    assert old != value
    memory.write(at, value, size)
    try:
        with pytest.raises(CheckError) as caught:
            table.check()
    finally:
        memory.write(at, old, size)
    table.check()
    return str(caught.value)


@pytest.mark.parametrize("what", WORDS)
def test_words(table, memory, what):
    slot, word = WORDS[what]
    said = damage(table, memory, *Inside(table, memory).word(slot), word)
    assert "'used'" in said


@pytest.mark.parametrize(("slot", "word"), [(USED, 0x10), (0, pack("bad") - 16)])
def test_words_of_no_kind(table, memory, slot, word):
    damage(table, memory, *Inside(table, memory).word(slot), word)


@pytest.mark.parametrize("what", FIELDS)
def test_clusters(table, memory, what):
    cluster, name, change = FIELDS[what]
    at, size = Inside(table, memory).field(cluster, name)
    damage(table, memory, at, size, change(memory.read(at, size)))


def test_the_message_names_the_slot(table, memory):
    said = damage(table, memory, *Inside(table, memory).word(SWAPPED), pack("shadow", shadow=3))
    assert said.startswith("swapped out without users")
    assert f"slot {SWAPPED}" in said


def test_tables(table, memory):
    """A used cluster without its table; one that is not used with another's."""
    inside = Inside(table, memory)
    damage(table, memory, *inside.pointer(3), 0)
    for cluster in (2, 4):
        damage(table, memory, *inside.pointer(cluster), memory.read(*inside.pointer(3)))


@pytest.mark.parametrize("word", [3, 40, 511])
def test_a_dropped_table_that_is_not_clean(table, memory, word):
    """Words of a table that waits for its next cluster must be free."""
    inside = Inside(table, memory)
    dropped, _ = inside.word(1536)
    table.free(1536, 48)
    damage(table, memory, dropped + 8 * word, 8, pack("folio"))


def test_two_damages_that_cancel(table, memory):
    """A slot lost in one cluster and one gained in another: the sums are right, the clusters are not."""
    inside = Inside(table, memory)
    lost, _ = inside.word(700)
    old = memory.read(lost)
    memory.write(lost, 0)
    damaged, _ = inside.word(FREE)
    memory.write(damaged, pack("folio"))
    with pytest.raises(CheckError):
        table.check()
    memory.write(lost, old)
    memory.write(damaged, 0)
    table.check()


# ---- locations, blocks taken, holes


@pytest.fixture
def moved():
    """Clusters: 0 has holes, locations, zero pages and lent slots, 1 is full, 2 was never used."""
    table = SwapTable(slots=512 * 3, owners=True)
    table.alloc_many(400)
    table.alloc(9)
    table.free_many(np.arange(11, 20))
    slots = np.arange(1, 7)
    homes = table.block_alloc(40)
    table.move_many(slots, [0] * 6, homes[-6:])
    table.zero_set(30)
    table.block_free(homes[:20])
    assert sorted(table.resolve(slots)[1].tolist())[0] > 11
    table.check()
    return table


SIDES = {
    "a location too many": (0, "nr_loc", lambda old: old + 1),
    "a zero page too few": (0, "nr_zero", lambda old: old - 1),
    "a block taken too many": (0, "nr_taken", lambda old: old + 1),
    "a lent slot too few": (0, "nr_lent", lambda old: old - 1),
    "holes that are not listed": (0, "flags", lambda old: old & ~1),
    "no holes, but listed": (1, "flags", lambda old: old | 1),
    "locations that are lost": (0, "locs", lambda old: 0),
    "a bitmap that is lost": (0, "bits", lambda old: 0),
    "owners that are lost": (0, "owners", lambda old: 0),
    "a link of holes": (0, "hole_next", lambda old: 0),
    "a link of holes back": (0, "hole_prev", lambda old: 0),
}


@pytest.mark.parametrize("what", SIDES)
def test_sides(moved, memory, what):
    cluster, name, change = SIDES[what]
    at, size = Inside(moved, memory).field(cluster, name)
    damage(moved, memory, at, size, change(memory.read(at, size)))


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("folio", pack("null")),
        ("folio", pack("folio", zero=True)),
        ("lent", pack("null")),
        ("null", pack("lent")),
        ("lent", pack("bad")),
    ],
)
def test_words_beside_locations(moved, memory, kind, word):
    """What a word says must be what location and bitmap of its slot say: the first slot of a kind that has one."""
    slots = [s for s in range(1, 512) if moved.entry(s).kind == kind and bool(moved.loc(s)) == (kind == "folio")]
    damage(moved, memory, *Inside(moved, memory).word(slots[0]), word)


def test_usable_blocks(moved, memory):
    usable = Inside(moved, memory).usable
    assert memory.read(*usable) == moved.usage()["usable"]
    assert damage(moved, memory, *usable, memory.read(*usable) + 1).startswith("usable blocks")
