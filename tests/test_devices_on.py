# swapon and what follows from it: who is used first, the lists that name devices, fstab, ghosts, resize, swapoff.
# Imports the package, page_mix.
# Used by pytest; every test ends in check().
import os
from collections import Counter

import numpy as np
import pytest
from page_mix import PAGE, mix
from test_space import noise, text

from swaptable.backends.file import FileBackend
from swaptable.backends.memory import MemoryBackend
from swaptable.backends.zram import ZramBackend
from swaptable.errors import SlotBusyError, SwapError, SwapFullError, SwapValueError
from swaptable.space import SwapSpace
from swaptable.swapfile import mkswap, read_header
from swaptable.tiers import ALL_TIERS, Tiers

MIB = 1 << 20


@pytest.fixture
def space():
    with SwapSpace() as made:
        yield made
        made.check()


def files(folder, *sizes):
    for k, size in enumerate(sizes):
        mkswap(folder / f"swap{k}", size)
    return [folder / f"swap{k}" for k in range(len(sizes))]


# ---- order


def test_priorities_then_equals_in_turn(space):
    for name, priority in (("slow", 1), ("fast0", 5), ("fast1", 5)):
        space.swapon(backend=MemoryBackend(1024), name=name, priority=priority)
    entries = np.concatenate([space.swap_out_many(noise(100, k)).entries for k in range(10)])
    where = Counter(space.where(entries))
    assert where["slow"] == 0 and min(where["fast0"], where["fast1"]) > 200
    more = space.swap_out_many(noise(1100)).entries
    assert Counter(space.where(more))["slow"] > 0
    assert space.devices.stores(ALL_TIERS)[0].name != "slow"


def test_equals_that_only_take_data_take_turns(space):
    space.swapon(None, size=MIB, grow=True, priority=9)
    for name in ("a", "b"):
        space.swapon(backend=MemoryBackend(1024), name=name, priority=5, front=False)
    entries = np.concatenate([space.swap_out_many(noise(10, k)).entries for k in range(10)])
    assert Counter(space.where(entries)) == {"a": 50, "b": 50}


def test_rotational_and_synchronous_flags(space, tmp_path):
    path = files(tmp_path, MIB)[0]
    device = space.swapon(path, flags=["rotational"])
    pages = mix(100, 1)
    assert "rotational" in device.flags
    got = space.swap_out_many(pages)
    assert np.array_equal(space.swap_in_many(got.entries), pages)


def test_what_is_not_given_a_priority_has_the_default(space, tmp_path):
    for path in files(tmp_path, MIB, MIB):
        assert space.swapon(path).priority == -1


# ---- refusals


def test_on_already(space, tmp_path):
    path = files(tmp_path, MIB)[0]
    space.swapon(path)
    with pytest.raises(SwapError, match="is on already"):
        space.swapon(path)
    with pytest.raises(SwapError, match=r"no device 'x' is on; there are .*swap0"):
        space.swapoff("x")


def test_holes_are_refused(space, tmp_path):
    path = files(tmp_path, MIB)[0]
    with open(path, "r+b") as file:
        file.truncate(PAGE)
        file.truncate(MIB)
    if os.stat(path).st_blocks * 512 >= MIB:
        pytest.skip("this file system has no holes")
    with pytest.raises(SwapValueError, match="has holes"):
        space.swapon(path)


def test_what_is_no_swap_area(space, tmp_path):
    (tmp_path / "x").write_bytes(bytes(8192))
    with pytest.raises(SwapValueError):
        space.swapon(tmp_path / "x")


def test_as_many_types_as_there_are(space):
    for k in range(32):
        space.swapon(backend=MemoryBackend(16), name=f"m{k}")
    with pytest.raises(SwapFullError, match="all 32 swap types are taken"):
        space.swapon(backend=MemoryBackend(16), name="m32")
    space.swapoff("m7")
    assert space.swapon(backend=MemoryBackend(16), name="m32").type == 7


# ---- lists


def test_proc_swaps_and_show(space, tmp_path):
    mkswap(tmp_path / "ghost", 1 << 30, ghost=True, label="g")
    paths = files(tmp_path, MIB, 2 * MIB)
    space.swapon(tmp_path / "ghost", priority=10)
    space.swapon(paths[0], priority=5)
    space.swapon(paths[1], priority=7, name="/second")
    space.swapon(backend=ZramBackend(512), name="/dev/zram0", priority=3)
    space.add_zswap("lz4", limit=MIB)  # no device: in no list
    space.swap_out_many(noise(30))
    lines = [line.split("\t") for line in space.devices.proc_swaps().splitlines()]
    rows = [[cell for cell in line if cell] for line in lines]
    assert rows[0] == ["Filename", "Type", "Size", "Used", "Priority"]
    assert [(row[0].split()[0], row[0].split()[1], *row[1:]) for row in rows[1:]] == [
        (str(tmp_path / "ghost"), "ghost", "1048572", "120", "10"),
        ("/second", "file", "2044", "120", "7"),
        (str(paths[0]), "file", "1020", "0", "5"),
        ("/dev/zram0", "partition", "2048", "0", "3"),
    ]
    shown = space.devices.show(columns=("NAME", "TYPE", "SIZE", "USED", "PRIO", "LABEL"), headings=False)
    assert shown.splitlines()[0].split() == [str(tmp_path / "ghost"), "ghost", "1024M", "120K", "10", "g"]


def test_fstab(space, tmp_path):
    paths = files(tmp_path, MIB, MIB, MIB)
    mkswap(tmp_path / "ghost", 1 << 30, ghost=True)
    fstab = f"""
# <device> <mount point> <type> <options>
{paths[0]} none swap sw,pri=7,discard=pages 0 0
{paths[1]} none swap noauto 0 0
/nowhere none swap nofail 0 0
/nowhere2 none swap sw 0 0
LABEL=absent none swap nofail 0 0
{tmp_path / "ghost"} none swap pri=9 0 0
{paths[0]} none swap sw 0 0
/dev/x / ext4 defaults 0 1
{paths[2]} none swap discard 0 0
"""
    done = space.swapon_all(fstab)
    assert [(one.skipped, one.error is not None) for one in done] == [
        ("", False), ("noauto", False), ("nofail", False), ("", True), ("nofail", False), ("", False),
        ("on already", False), ("", False),
    ]  # fmt: skip
    assert isinstance(done[3].error, FileNotFoundError)
    assert [(d.name, d.priority, d.kind) for d in space.devices] == [
        (str(tmp_path / "ghost"), 9, "ghost"), (str(paths[0]), 7, "file"), (str(paths[2]), -1, "file"),
    ]  # fmt: skip
    assert done[0].device.flags == {"discard_pages"} and done[7].device.flags == {"discard_once", "discard_pages"}


# ---- discard


def test_discard_pages_waits_for_whoever_discards(space, tmp_path):
    path = files(tmp_path, 8 * MIB)[0]
    device = space.swapon(path, discard="pages")
    entries = space.swap_out_many(noise(1500)).entries
    space.free_many(entries[:1400])
    assert device.table.waiting
    assert device.backend.counts()["discards"] == 0
    space.run_discard()
    assert not device.table.waiting and device.backend.counts()["discards"] > 0
    assert np.array_equal(space.look_many(entries[1400:]), noise(1500)[1400:])
    # An allocation that finds too little has it done.
    got = space.swap_out_many(noise(1900, 5))
    space.free_many(got.entries[:1000])
    assert not space.swap_out_many(noise(1000, 6)).errors.any()


def test_discard_once(space, tmp_path):
    path = files(tmp_path, MIB)[0]
    before = os.stat(path).st_blocks
    device = space.swapon(path, discard="once")
    if not device.backend.discard:
        pytest.skip("this file system punches no holes")
    assert os.stat(path).st_blocks < before and not device.table.waiting
    assert read_header(path).pages == 256


# ---- ghosts


def test_a_ghost_file(space, tmp_path):
    mkswap(tmp_path / "ghost", 1 << 30, ghost=True)
    device = space.swapon(tmp_path / "ghost")
    assert device.kind == "ghost" and device.first_size == 1 << 30
    space.swap_out(noise(1)[0])
    assert space.cache.frames.usage()["dirty"] == 1  # kept: there is nothing that takes it
    with pytest.raises(SwapValueError, match="a ghost grows and shrinks as it is used"):
        space.resize(tmp_path / "ghost", 1 << 31)


def test_a_ghost_as_the_patch_has_it(tmp_path):
    """Writes are refused and the folio kept, no writeback without a real device that is not full, order 0 only."""
    mkswap(tmp_path / "disk", MIB)
    with SwapSpace(ghost="patch") as space:
        pool = space.add_zswap("lz4", limit=MIB)
        ghost = space.swapon(None, size=MIB, grow=True, priority=5)
        pages = text(20)
        entries = space.swap_out_many(pages).entries
        assert set(space.where(entries)) == {"zswap0"}
        assert space.where([space.swap_out(noise(1)[0])]) == ["cache"]
        assert space.writeback(20) == 0 and pool.backend.debugfs()["written_back_pages"] == 0
        with pytest.raises(SwapFullError):
            space.swap_out(text(4))
        disk = space.swapon(tmp_path / "disk", name="disk", priority=1)
        assert space.where([space.swap_out(noise(1, 2)[0])]) == ["cache"]  # a ghost's page goes to no device at once
        assert space.writeback(20) == 20 and set(space.where(entries)) == {"disk"}
        assert np.array_equal(space.swap_in_many(entries), pages)
        assert ghost.table.used == 2 and disk.used == 0
        space.check()


def test_ours_differs_where_it_says_so(space):
    space.swapon(None, size=MIB, grow=True, priority=5)
    space.swapon(backend=MemoryBackend(256), name="disk")
    entry = space.swap_out(noise(16))  # a large folio, at once to blocks of a device
    assert set(space.where(range(entry, entry + 16))) == {"disk"}


# ---- off and on


def test_a_type_is_free_once_the_last_slot_is_gone(space, tmp_path):
    paths = files(tmp_path, MIB, MIB)
    first = space.swapon(paths[0], priority=5)
    space.swapon(paths[1], priority=1)
    entries = space.swap_out_many(noise(10)).entries
    left = space.swapoff(paths[0])
    assert left.slots_left == 10 and space.devices.left() == [first]
    third = space.swapon(backend=MemoryBackend(64), name="m")
    assert third.type == 2
    space.free_many(entries)
    assert space.swapon(backend=MemoryBackend(64), name="n").type == 0 and not space.devices.left()
    assert len(space.devices.space) == 3


def test_on_again_while_slots_are_in_use(space, tmp_path):
    """The same front end, with its type and its entries; the data is elsewhere."""
    paths = files(tmp_path, MIB, 2 * MIB)
    first = space.swapon(paths[0], priority=5)
    space.swapon(paths[1], priority=1, name="second")
    pages = noise(100)
    entries = space.swap_out_many(pages).entries
    space.swapoff(paths[0])
    assert set(space.where(entries)) == {"second"}
    assert space.swapon(paths[0], priority=5) is first and first.usable == 255
    more = space.swap_out_many(noise(155, 2))
    assert set(space.where(more.entries)) == {str(paths[0])} and (more.entries >> 58 == first.type).all()
    assert np.array_equal(space.swap_in_many(entries), pages)
    # Another priority is another device.
    space.swapoff(paths[0])
    assert space.swapon(paths[0], priority=6) is not first


def test_a_ghost_off_and_on_again(space):
    """Nothing moves: it had no data. Entries stay, no new ones come until it is on again."""
    pool = space.add_zswap("lz4", limit=4 * MIB)
    ghost = space.swapon(None, size=MIB, grow=True, name="g")
    pages = text(50)
    entries = space.swap_out_many(pages).entries
    result = space.swapoff("g")
    assert (result.moved, result.reads, result.slots_left) == (0, 0, 50)
    assert (space.swap_out_many(text(3)).entries == -1).all()
    assert np.array_equal(space.look_many(entries), pages)
    assert space.swapon(None, size=MIB, grow=True, name="g") is ghost
    assert not space.swap_out_many(text(3)).errors.any()
    space.swapoff("g")
    space.free_many(entries[:50])
    assert np.array_equal(pages, text(50)) and pool.used >= 0


# ---- size


def test_a_file_grows_and_shrinks_in_use(space, tmp_path):
    path = files(tmp_path, MIB)[0]
    device = space.swapon(path, name="f")
    pages = noise(255)
    entries = space.swap_out_many(pages).entries
    assert (space.swap_out_many(noise(5)).entries == -1).all()
    space.resize("f", 2 * MIB)
    assert device.usable == 511 and read_header(path).pages == 512 and os.path.getsize(path) == 2 * MIB
    more = space.swap_out_many(noise(256, 3))
    assert not more.errors.any() and device.table.free_blocks == 0
    with pytest.raises(SlotBusyError, match="blocks from there on are in the way"):
        space.resize("f", MIB)
    space.free_many(entries[:250])
    space.resize("f", MIB + 16 * PAGE)
    assert device.usable == 271 and read_header(path).pages == 272
    assert np.array_equal(space.swap_in_many(more.entries), noise(256, 3))
    assert np.array_equal(space.swap_in_many(entries[250:]), pages[250:])


def test_a_shrink_moves_compressed_blocks_as_they_are(tmp_path):
    with SwapSpace(compressed_writeback=True) as space:
        space.add_zswap("lz4", limit=4 * MIB)
        path = files(tmp_path, 4 * MIB)[0]
        space.swapon(path, name="f")
        pages = text(400)
        entries = space.swap_out_many(pages).entries
        assert space.writeback(400) == 400
        space.free_many(entries[:200])
        space.resize("f", MIB)
        assert np.array_equal(space.swap_in_many(entries[200:]), pages[200:])
        space.check()


def test_other_sizes(space):
    space.add_zswap("lz4", limit=MIB)
    space.resize("zswap0", 2 * MIB)
    assert space.devices["zswap0"].backend.limit == 2 * MIB
    space.swapon(backend=MemoryBackend(256), name="m")
    space.resize("m", 128 * PAGE)
    assert space.devices["m"].usable == 128
    with pytest.raises(SwapValueError, match="expected at most the 1048576 of m"):
        space.resize("m", 2 * MIB)


def test_a_backend_is_used_as_far_as_it_should_be(space, tmp_path):
    backend = FileBackend(tmp_path / "raw", 256, create=True)
    device = space.swapon(backend=backend, size=128 * PAGE, name="raw")
    assert device.usable == 128 and device.kind == "file"


# ---- tiers


def test_an_active_device_pins_its_tier(tmp_path):
    tiers = Tiers()
    tiers.write("+SSD:100 +HDD:-1")
    with SwapSpace(tiers=tiers) as space:
        space.swapon(backend=MemoryBackend(64), name="ssd", priority=100)
        with pytest.raises(SwapError, match="would take the device of priority 100"):
            tiers.write("-SSD")
        entry = space.swap_out(noise(1)[0])
        space.swapon(backend=MemoryBackend(64), name="hdd", priority=1)
        space.prefetch([entry], "HDD")
        assert space.where([entry]) == ["hdd"]
        space.prefetch([entry], "SSD")
        assert space.where([entry]) == ["ssd"]
        space.swapoff("ssd")
        tiers.write("-SSD")
        space.check()
