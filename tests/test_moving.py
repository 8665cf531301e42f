# What whoever moves data needs of the core: pins, particular blocks, discard in one batch, a device without blocks.
# Imports the package and numpy.
# Used by pytest; ends in check().
from itertools import count

import numpy as np
import pytest

from swaptable import BlockSpace, DeviceList, SlotBusyError, SwapFullError, SwapTable, SwapValueError, unpack


def swapped(table, n, shadow=0):
    """*n* slots that are swapped out, with one user each."""
    slots = table.alloc_many(n)
    table.dup_many(slots)
    table.cache_del_many(slots, [shadow] * n)
    return slots


@pytest.fixture
def pair():
    """A device, and a pool whose blocks are objects that somebody else numbers."""
    space = BlockSpace()
    front = SwapTable(slots=2048, space=space)
    pool = SwapTable(slots=1 << 16, header=False, discard=True, owners=True, space=space)
    yield front, pool
    space.check()


def test_words_replaced_by_put_and_cache_del():
    table = SwapTable(slots=1024)
    slots = table.alloc_many(8, order=2)
    table.dup_many(slots, nr=4)
    out = np.zeros(32, np.uint64)
    table.cache_del_many(slots, nr=4, out=out)
    assert {unpack(int(w)).kind for w in out} == {"folio"}
    table.dup(int(slots[0]))
    table.put_many(slots, nr=4, out=out)
    entries = [unpack(int(w)) for w in out]
    assert [e.count for e in entries] == [2] + [1] * 31 and {e.kind for e in entries} == {"shadow"}
    assert table.usage()["used"] == 1
    with pytest.raises(SwapValueError, match=r"out: expected a contiguous uint64 array of shape \(1,\)"):
        table.put_many(slots[:1], out=np.zeros(2, np.uint64))
    single = np.zeros(1, np.uint64)
    assert table.used == 1
    table.put_many(slots[:1], out=single)
    assert unpack(int(single[0])).count == 1 and table.usage()["used"] == table.used == 0
    table.check()


def test_zero_many():
    table = SwapTable(slots=1024)
    slots = swapped(table, 20)
    table.zero_set_many(slots)
    assert all(table.entry(s).zero for s in slots.tolist()) and table.usage()["blocks"]["holes"] == 20
    table.zero_clear_many(slots[:5])
    assert table.usage()["blocks"]["holes"] == 15
    assert table.own_data().tolist() == slots[:5].tolist() and table.own_data(3, 5).tolist() == [3, 4]
    table.check()


def test_pin_repin_unpin():
    table = SwapTable(slots=1024)
    slots = swapped(table, 6, shadow=9)
    table.cache_add(int(slots[1]), pfn=3)
    pinned, words = table.pin_many([*slots, 1000], 7)
    assert pinned.tolist() == [True, False, True, True, True, True, False]
    assert words[1] == words[6] == 0 and unpack(int(words[0])).shadow == 9
    assert not table.pin_many(slots, 8)[0].any()
    assert table.repin_many(slots, 7, np.arange(20, 26)).tolist() == [True, False, True, True, True, True]
    assert table.entry(int(slots[2])).pfn == 22
    table.put(int(slots[3]))  # cached: it stays until it is unpinned
    old = table.unpin_many(slots, np.arange(20, 26), np.arange(6))
    assert old[1] == 0 and unpack(int(old[3])).count == 0 and unpack(int(old[2])).count == 1
    assert table.entry(int(slots[5])).shadow == 5
    assert table.entry(int(slots[3])).kind == "null"
    assert not table.unpin_many(slots, 7).any()
    replaced = table.put_each([*slots[4:], slots[4], 1000, 5000])
    assert [unpack(int(w)).kind for w in replaced[:2]] == ["shadow", "shadow"] and not replaced[2:].any()
    some = slots[[0, 2]]
    table.dup(int(slots[0]), users=20)
    for left in range(20, 12, -1):  # in the overflow table at first, and only what is in the swap cache
        assert not table.put_each(some, cached=True).any()
        table.cache_add(int(slots[0]), pfn=5)
        assert (table.put_each(some, cached=True) != 0).tolist() == [True, False]
        table.check()
        table.cache_del(int(slots[0]))
        assert table.entry(int(slots[0])).count == left
    for wrong in (-1, 1 << 41, [1, 2]):
        with pytest.raises(SwapValueError, match="pfns"):
            table.pin_many(slots, wrong)
    table.check()


def test_particular_blocks(pair):
    front, pool = pair
    blocks = np.array([0, 1, 5000, 5001, 65535])
    assert pool.block_take(blocks).all()
    assert not pool.block_take(blocks).any()
    assert pool.block_take([65536, 2]).tolist() == [False, True]
    locs = pool.block_locs(blocks)
    members, where = front.space.where(np.r_[locs, 0].astype(np.uint32))
    assert members.tolist() == [pool.member] * 5 + [-1] and where.tolist() == [*blocks, -1]
    slots = swapped(front, 5)
    front.pin_many(slots, 1)
    assert front.move_each(slots, 0, locs).all() and not front.move_each(slots, 0, locs).any()
    assert pool.owners(locs)[1].tolist() == slots.tolist()
    front.unpin_many(slots, 1)
    assert pool.usage()["clusters"]["receive"] == 3


def test_taking_every_kind_of_block():
    table = SwapTable(slots=2048, header=False)
    slots = swapped(table, 600)
    table.zero_set(5)
    table.put(7)
    # A hole, a free slot, a slot in use, a cluster that was never used, one whose slots are all free again.
    table.put_many(slots[512:])
    assert table.block_take([5, 7, 8, 1030, 513]).tolist() == [True, True, False, True, True]
    assert table.entry(7).kind == "lent"
    table.block_free(table.block_locs([5, 7, 1030, 513]))
    assert table.entry(7).kind == "null" and table.usage()["blocks"]["taken"] == 0
    table.check()


def test_blocks_in_long_runs():
    """Gaps are filled first, unless runs are asked for; then they come last."""
    table = SwapTable(slots=4096, header=False)
    held = table.block_alloc(512)
    table.block_free(held[::2])
    assert np.array_equal(table.block_alloc(3), held[::2][:3])
    long_one = table.block_alloc(700, runs=True)
    assert (np.diff(long_one) == 1).all() and not np.isin(long_one, held).any()
    again = table.block_alloc(300, runs=True)  # what is left of the second cluster has room for all of them
    assert again[0] == long_one[-1] + 1 and (np.diff(again) == 1).all()
    rest = table.block_alloc(5000, runs=True)
    assert len(rest) == 4096 - 256 - 3 - 1000 and table.free_blocks == 0
    table.check()


def test_discard_in_one_batch(pair):
    front, pool = pair
    blocks = np.arange(1000)
    pool.block_take(blocks)
    slots = swapped(front, 1000)
    front.pin_many(slots, 1)
    front.move_many(slots, [0] * 1000, pool.block_locs(blocks))
    front.unpin_many(slots, 1)
    assert not pool.waiting and pool.run_discard(many=pytest.fail) == 0
    front.put_many(slots[::2])
    assert pool.waiting and not pool.block_take([0]).any()

    def refuse(_):
        raise OSError(5, "no")

    with pytest.raises(OSError, match="no"):
        pool.run_discard(many=refuse)
    assert pool.waiting and pool.usage()["blocks"]["waiting"] == 500
    seen = []
    pool.run_discard(many=lambda b: seen.append((b.copy(), pool.usage()["blocks"]["taken"])))
    assert len(seen) == 1 and seen[0][0].tolist() == blocks[::2].tolist() and seen[0][1] == 1000
    front.put_many(slots[1::2])
    pool.run_discard(many=lambda b: seen.append((b, pool.usage()["blocks"]["taken"])), free_first=True)
    assert seen[1][0].tolist() == blocks[1::2].tolist() and seen[1][1] == 0
    assert not pool.waiting


def test_discard_of_clusters_and_runs_in_one_batch():
    table = SwapTable(slots=2048, header=False, discard=True)
    slots = swapped(table, 1024)
    held = table.block_alloc(3)
    table.put_many(slots)
    table.block_free(held)
    got = []
    assert table.run_discard(many=got.append) == 2
    assert len(got) == 1 and sorted(got[0].tolist()) == list(range(1027))
    assert table.usage()["clusters"]["discard"] == 0
    table.check()


def moved_into(pool, first):
    """A mover of `evacuate` to blocks of *pool* from *first* on."""
    numbers = count(first)

    def move(table, slots, at):
        pinned, _ = table.pin_many(slots, 99)
        slots, at = slots[pinned], at[pinned]
        to = np.array([next(numbers) for _ in slots])
        assert pool.block_take(to).all() and table.move_each(slots, at, pool.block_locs(to)).all()
        table.block_free(at[at != 0])
        table.unpin_many(slots, 99)

    return move


def test_a_device_without_blocks_keeps_its_slots(pair):
    front, pool = pair
    other = SwapTable(slots=1024, space=front.space)
    devices = DeviceList()
    assert devices.add(front, 5) == 0
    slots = swapped(front, 900)
    front.zero_set(3)
    guests = swapped(other, 4)
    other.pin_many(guests, 1)
    other.move_many(guests, [0] * 4, front.block_alloc(4))
    other.unpin_many(guests, 1)
    with pytest.raises(SlotBusyError, match="903 blocks from there on are in the way"):
        front.evacuate(lambda *_: None)
    assert front.blocks == 2048 and front.usage()["used"] == 900 and devices.available == [0]
    front.evacuate(moved_into(pool, 7))
    assert front.blocks == 0 and devices.available == [] and front.memory()["bitmaps"] == 0
    with pytest.raises(SwapFullError):
        devices.alloc()
    assert (front.resolve(np.setdiff1d(slots, [3]))[0] == pool.member).all() and front.entry(3).zero
    assert (other.resolve(guests)[0] == pool.member).all()
    with pytest.raises(SlotBusyError, match="900 slots are in use"):
        front.space.remove(front)
    front.put_many(slots[:450])
    front.check(), devices.check()
    # On again, smaller, while slots are in use: slot 0 is the header's still.
    front.resize(1024)
    assert front.free_blocks == 1023 and devices.available == [0]
    assert 0 not in devices.alloc_many(3)[1]
    devices.check()


def test_the_exception_of_a_mover_is_passed_on():
    table = SwapTable(slots=1024)
    swapped(table, 10)

    def cancel(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table.evacuate(cancel)
    assert table.blocks == 1024 and table.alloc() == 11
    with pytest.raises(SwapValueError, match="a ghost has no blocks"):
        SwapTable(slots=None).evacuate(cancel)
    table.check()


def test_a_member_goes():
    space = BlockSpace()
    first, second = SwapTable(slots=1024, space=space), SwapTable(slots=1024, space=space)
    space.remove(first)
    assert len(space) == 1 and space.tables == [None, second]
    with pytest.raises(SwapValueError, match="is no member"):
        space.remove(first)
    del first
    third = SwapTable(slots=1024, space=space)
    assert third.member == 0 and space.tables == [third, second]
    second.move(second.alloc(), 0, int(third.block_alloc(1)[0]))
    with pytest.raises(SlotBusyError, match="1 blocks are taken"):
        space.remove(third)
    space.check()


def test_only_blocks_make_swap_half_full():
    """A front end without blocks neither is full nor makes anything else less so."""
    devices = DeviceList()
    ghost, disk = SwapTable(slots=None), SwapTable(slots=1024)
    devices.add(ghost, 1), devices.add(disk, 2)
    asked = []
    disk.set_reclaim(lambda slot, nr, pfn: asked.append(slot))
    disk.alloc_many(600)
    devices.alloc(allowed=2)
    assert asked
    devices.check()
