# Movers of a resize and a defragmentation: what they may do to the table meanwhile, and what is left when they fail.
# Imports the package, numpy and pytest.
# Used by pytest.
from __future__ import annotations

import numpy as np
import pytest

from swaptable import BlockSpace, SlotBusyError, SwapTable

PINNED = 2**41 - 1


def swapped_out(slots: int, free: np.ndarray, **shape: object) -> SwapTable:
    """A device whose slots are all swapped out, but for those of *free*."""
    table = SwapTable(slots=slots, header=False, **shape)
    used = table.alloc_many(slots)
    table.dup_many(used)
    table.cache_del_many(used, used)
    table.free_many(free)
    return table


def fail(src: np.ndarray, dst: np.ndarray) -> None:
    raise RuntimeError("the disk is gone")


@pytest.mark.parametrize("what", ["resize", "defrag"])
def test_a_mover_that_fails(what):
    """More blocks than are pinned at a time: those that later batches were to have come back too."""
    table = swapped_out(32768, np.random.default_rng(1).permutation(32768)[:20000])
    before, words = table.usage(), table.words(np.arange(32768))
    with pytest.raises(RuntimeError):
        table.resize(16384, fail) if what == "resize" else table.defrag(9, mover=fail)
    after = table.usage()
    assert after["blocks"] == before["blocks"] and after["blocks"]["held"] == 0
    assert (after["cached"], after["swapped"], table.blocks) == (0, 12768, 32768)
    assert np.array_equal(table.words(np.arange(32768)), words)
    table.check()


def test_a_slot_that_is_taken_again_meanwhile_is_not_moved():
    """The mover's pin ends when the slot is freed: whoever gets it next has pinned it for himself."""
    table = swapped_out(1024, np.r_[np.arange(16), np.arange(17, 32), 100, 600, 601])
    mine = []

    def reuse(src, dst):
        assert (src & 2**22 - 1).tolist() == [16]
        assert table.entry(16).pfn == PINNED
        table.free(16)
        mine.extend(table.alloc_many(40, pfns=np.full(40, 77, np.uint64)).tolist())

    assert table.defrag(4, mover=reuse).moves == 0
    assert 16 in mine and (table.entry(16).pfn, table.loc(16)) == (77, 0)
    assert table.usage()["blocks"]["held"] == 0
    table.check()


def test_a_slot_whose_users_go_meanwhile_is_freed_with_both_blocks():
    table = swapped_out(1024, np.r_[np.arange(16), np.arange(17, 32), 100, 600, 601])
    free = table.usage()["blocks"]["free"]
    assert table.defrag(4, mover=lambda src, dst: table.put(16)).moves == 1
    assert table[16] == 0 and table.usage()["blocks"]["free"] == free + 1
    table.check()


@pytest.mark.parametrize("call", ["resize", "defrag", "trim", "compact", "alloc", "usage"])
def test_a_mover_may_call_the_table(call):
    table = swapped_out(4096, np.arange(3000))
    calls = {"resize": (512,), "defrag": (2,), "compact": (0,), "alloc": (3,)}

    def mover(src, dst):
        if call in ("resize", "defrag"):
            with pytest.raises(SlotBusyError):
                getattr(table, call)(*calls[call])
        else:
            getattr(table, call)(*calls.get(call, ()))

    table.resize(2000, mover)
    assert table.blocks == 2000
    table.check()


# ---- what a resize may not wait for: whoever called it


def test_a_discard_cannot_take_away_what_it_discards():
    table = SwapTable(slots=4096, header=False, discard=True)
    table.free_many(table.alloc_many(4096))
    refused = []

    def discard(first, nr):
        for blocks in (first, first + 1, first + nr):
            try:
                table.resize(max(blocks, 1))
            except SlotBusyError:
                refused.append(blocks)
            assert table.blocks == 4096 or blocks == first + nr
            table.resize(4096)

    assert table.run_discard(discard) > 0
    assert refused and all(blocks % 512 < 2 for blocks in refused)
    assert table.run_discard() == 0 and table.usage()["blocks"]["free"] == 4096
    table.check()


def test_an_owner_that_is_asked_cannot_take_away_the_slot():
    table = SwapTable(slots=4096, header=False)
    table.alloc_many(4096, pfns=np.arange(1, 4097, dtype=np.uint64))
    table.free(4000)
    asked = []

    def ask(slot, nr, pfn):
        if not asked:
            asked.append(slot)
            with pytest.raises(SlotBusyError, match="asks an owner"):
                table.resize(3584)
            assert table.blocks == 4096
        return False

    table.set_reclaim(ask)
    assert table.alloc() == 4000 and asked
    assert table.usage()["usable"] == 4096
    table.check()


def test_blocks_for_others_while_a_device_gets_smaller():
    """What its holders free beyond the end is nobody's, and does not hide what is."""
    table = swapped_out(8192, np.r_[np.arange(0, 4096, 4), np.arange(4796, 8192)])
    cached = np.arange(4096, 4196)
    table.cache_add_many(cached, np.full(100, 5))
    got = []

    def mover(src, dst):
        if not got:
            table.free_many(cached)
            got.append(table.block_alloc(10**6))
            table.block_free(got[0])

    table.resize(4096, mover)
    assert got[0].size == 1024 - 600
    assert table.usage()["blocks"]["free"] == 1024 - 600
    table.check()


def test_another_table_that_gets_smaller_meanwhile():
    """Slots that were found in the way may be gone, and out of their table's range, when their turn comes."""
    space = BlockSpace()
    table = swapped_out(1024, np.arange(10, 512), space=space)
    other = SwapTable(slots=2048, header=False, space=space)
    slots = other.alloc_many(2048)[-10:]
    other.move_many(slots, [0] * 10, table.block_alloc(10))
    other.dup_many(np.arange(2048))
    other.cache_del_many(np.arange(2048))
    table.put_many(np.arange(512, 800))
    assert set(other.resolve(slots)[1] >> 9) == {0}

    def mover(src, dst):
        if other.blocks == 2048:
            other.put_many(np.arange(2048))
            other.resize(512)

    assert table.defrag(9, mover=mover).moves == 10
    assert (len(other), table.usage()["blocks"]["held"]) == (512, 0)
    space.check()
