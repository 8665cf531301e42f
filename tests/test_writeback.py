# Writeback, prefetch and promotion: who is cold, where data may go, what meets data on its way, today's zswap.
# Imports the package, page_mix.
# Used by pytest; every test ends in check().
import threading
import time

import numpy as np
import pytest
from test_space import Watched, noise, text

from swaptable.backends.memory import MemoryBackend
from swaptable.memcg import MemcgTree
from swaptable.space import SwapSpace
from swaptable.swapfile import mkswap

MIB = 1 << 20


class Counted(MemoryBackend):
    """Remembers each write: the blocks of it."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.writes = []

    def write_many(self, pages, blocks=None):
        self.writes.append(np.asarray(blocks))
        return super().write_many(pages, blocks)


def tiered(backend=None, **options):
    """A pool and a device below a ghost."""
    space = SwapSpace(**options)
    space.add_zswap("lz4", limit=8 * MIB)
    space.swapon(None, size=MIB, grow=True, priority=9)
    space.swapon(backend=MemoryBackend(4096) if backend is None else backend, name="disk", priority=5)
    return space


# ---- second chance


def test_a_pool_gives_what_was_not_used_lately():
    with tiered() as space:
        entries = space.swap_out_many(text(100)).entries
        assert space.writeback(0) == 0
        assert space.writeback(40) == 40  # a first pass takes the marks that stores left
        space.look_many(entries)  # used: the sixty in the pool are marked again
        kept = [e for e, at in zip(entries.tolist(), space.where(entries), strict=True) if at == "zswap0"]
        cold = space.swap_out_many(text(20, 5)).entries
        assert space.writeback(1) == 1 and len(kept) == 60
        assert space.stats()["zswpwb"] == 41
        assert space.devices["zswap0"].backend.debugfs()["written_back_pages"] == 41
        space.free_many(cold)
        space.check()


def test_a_device_gives_what_was_not_used_lately():
    """Shadows say when: a page that was looked at since the hand passed has another chance."""
    with tiered() as space:
        space.swapon(backend=MemoryBackend(4096), name="slow", priority=1)
        pages = noise(300)
        entries = space.swap_out_many(pages).entries
        assert set(space.where(entries)) == {"disk"}
        assert space.writeback(100, tier="disk") == 100
        rest = entries[[at == "disk" for at in space.where(entries)]]
        used, unused = rest[:50], rest[50:]
        space.swap_out_many(noise(10, 9))  # the clock goes on
        space.look_many(used)
        assert space.writeback(150, tier="disk") == 150
        assert set(space.where(unused)) == {"slow"} and set(space.where(used)) == {"disk"}
        assert np.array_equal(space.swap_in_many(entries), pages)
        space.check()


def test_data_of_other_devices_slots_is_passed_too():
    """File to file, data that came from a pool and data in own blocks alike."""
    with tiered() as space:
        space.swapon(backend=MemoryBackend(4096), name="slow", priority=1)
        pages = text(64)
        entries = space.swap_out_many(pages).entries
        assert space.writeback(64) == 64 and set(space.where(entries)) == {"disk"}
        assert space.writeback(64, tier="disk") == 64 and set(space.where(entries)) == {"slow"}
        assert space.writeback(64, tier="slow") == 0  # nothing is below
        assert np.array_equal(space.swap_in_many(entries), pages)
        space.check()


def test_nothing_is_queued_unless_somebody_takes_it():
    with SwapSpace() as space:
        pool = space.add_zswap("lz4", limit=MIB)
        space.swapon(None, size=MIB, grow=True)
        space.swap_out_many(text(10))
        assert space.writeback(10) == 0
        space.swapon(backend=MemoryBackend(8), name="disk")
        space.free_many([space.swap_out(page) for page in noise(8)])
        full = space.swap_out_many(noise(8))
        assert not full.errors.any() and space.writeback(10) == 0
        assert pool.backend.debugfs()["reject_reclaim_fail"] == 0
        pool.backend.limit = 4096
        assert space.writeback(10) == 0 and pool.backend.debugfs()["reject_reclaim_fail"] == 1
        space.check()


# ---- batches


def test_a_batch_is_one_write_to_blocks_side_by_side():
    """The blocks are chosen at that moment, as long as runs are free."""
    disk = Counted(4096)
    with tiered(disk) as space:
        holes = space.swap_out_many(noise(600)).entries
        space.free_many(holes[::2])  # single blocks; beyond them everything is free
        disk.writes.clear()
        entries = space.swap_out_many(text(500)).entries
        assert space.writeback(500) == 500
        assert len(disk.writes) == 1
        blocks = np.sort(disk.writes[0])
        assert (np.diff(blocks) == 1).all()
        # In the order of the entries: what will be read together lies together.
        at = space.devices["ghost0"].table.resolve(np.sort(entries))[1]
        assert (np.diff(at) == 1).mean() > 0.95
        space.check()


def test_compressed_writeback_keeps_the_blob():
    with tiered(compressed_writeback=True) as space:
        pages = np.concatenate([text(50), np.full((2, 4096), 7, np.uint8)])
        entries = space.swap_out_many(pages).entries
        assert space.writeback(100) == 50  # pages of one word have no blob, and are worth no block
        disk = space.devices["disk"]
        blocks = space.devices["ghost0"].table.resolve(entries[:50])[1]
        assert (disk.marks[blocks] > 0).all() and (disk.marks[blocks] < 4096).all()
        raw = disk.backend.read_many(blocks[:1])
        assert not np.array_equal(raw[0], pages[0]) and not raw[0, disk.marks[blocks[0]] :].any()
        assert np.array_equal(space.look_many(entries), pages)
        # Up again, and a plain page in the same block after it.
        space.prefetch(entries[:50], "zswap0")
        plain = noise(50)
        more = space.swap_out_many(plain).entries
        assert set(space.where(more)) == {"disk"}
        assert np.array_equal(space.swap_in_many(more), plain)
        assert np.array_equal(space.swap_in_many(entries), pages)
        space.check()


# ---- the pin: what meets data on its way


@pytest.fixture
def watched():
    """A space whose device calls back in the middle of each write."""
    with SwapSpace() as space:
        space.add_zswap("lz4", limit=8 * MIB)
        space.swapon(None, size=MIB, grow=True, priority=9)
        disk = space.swapon(backend=Watched(4096), name="disk", priority=5)
        yield space, disk.backend
        disk.backend.at = None
        space.check()
        assert all(device.used == 0 for device in space.devices)


def test_freed_while_it_moves(watched):
    """The mover frees the slot and both blocks."""
    space, disk = watched
    entries = space.swap_out_many(text(20)).entries
    disk.at = lambda: (space.free_many(entries[:5]), setattr(disk, "at", None))
    assert space.writeback(20) == 20
    assert space.where(entries) == [""] * 5 + ["disk"] * 15
    assert space.devices["disk"].used == 15
    space.free_many(entries[5:])


def test_dup_while_it_moves(watched):
    space, disk = watched
    page = text(1)[0]
    entry = space.swap_out(page)
    disk.at = lambda: (space.dup(entry), setattr(disk, "at", None))
    assert space.writeback(1) == 1
    assert space.swap_in(entry) == page.tobytes() and space.swap_in(entry) == page.tobytes()


def test_swapped_in_while_it_moves(watched):
    """Whoever faults takes the data from the mover's folio, and does not wait for the device."""
    space, disk = watched
    pages, got = text(20), []
    entries = space.swap_out_many(pages).entries
    disk.at = lambda: (got.append(space.swap_in_many(entries)), setattr(disk, "at", None))
    assert space.writeback(20) == 20
    assert np.array_equal(got[0], pages) and space.where(entries) == [""] * 20


def test_rewritten_while_it_moves(watched):
    """A page that is stored to while its data moves: the mover's slot goes, the new data has one of its own."""
    space, disk = watched
    page, other = text(2)
    entry, got = space.swap_out(page), []

    def rewrite():
        disk.at = None
        mapped = space.map_many([entry])
        assert np.array_equal(mapped.pages[0], page) and mapped.entries[0] == -1
        got.append(space.swap_out_many(other, mapped=mapped, dirty=[True]).entries[0])

    disk.at = rewrite
    assert space.writeback(1) == 1
    assert got[0] != entry and space.where([entry]) == [""] and space.swap_in(int(got[0])) == other.tobytes()


def test_a_page_that_swapoff_has_locked_is_waited_for(watched):
    """Swapoff moves the data of a page that is mapped; whoever swaps it out again waits, and writes it over."""
    space, _ = watched
    page, other = noise(2)
    entry = space.swap_out(page)
    space.swapon(backend=Watched(64), name="other", priority=1)
    mapped = space.map_many([entry])
    thread = threading.Thread(target=lambda: space.swap_out_many(other, mapped=mapped, dirty=[True]))

    def begin():
        target.at = None
        thread.start()
        time.sleep(0.05)
        assert thread.is_alive()

    target = space.devices["other"].backend
    target.at = begin
    result = space.swapoff("disk")
    thread.join()
    assert result.moved == 1 and space.where([entry]) == ["other"]
    assert space.swap_in(entry) == other.tobytes()


def test_mapped_pages_are_warm():
    with tiered() as space:
        entries = space.swap_out_many(text(10)).entries
        mapped = space.map_many(entries)
        assert space.writeback(10) == 0 and space.prefetch(entries, "disk").tolist() == [16] * 10
        space.unmap_many(mapped)
        space.check()


# ---- prefetch


def test_prefetch():
    with tiered() as space:
        pages = np.concatenate([text(10), np.zeros((1, 4096), np.uint8), noise(2)])
        entries = space.swap_out_many(pages).entries
        space.writeback(10)
        read = space.stats()["pswpin"]
        errors = space.prefetch(entries, "zswap0")
        # Moved; no data at all; no space saved by it.
        assert errors.tolist() == [0] * 10 + [2] + [7] * 2
        assert space.prefetch(entries[:10], "zswap0").tolist() == [2] * 10  # there already
        assert np.array_equal(space.look_many(entries[:10]), pages[:10]) and space.stats()["pswpin"] == read
        assert np.array_equal(space.swap_in_many(entries), pages)
        space.check()


# ---- cgroups


def test_down_only_where_the_owners_group_may():
    tree = MemcgTree()
    tree.tiers.write("+SSD:100 +HDD:50 +NET:-1")
    for name in ("ssd only", "no writeback", "free"):
        tree.mkdir(name)
    with SwapSpace(memcg=tree) as space:
        space.add_zswap("lz4", limit=8 * MIB)
        space.swapon(None, size=MIB, grow=True, priority=200)
        for name, priority in (("ssd", 100), ("hdd", 50), ("net", 1)):
            space.swapon(backend=MemoryBackend(1024), name=name, priority=priority)
        tree["ssd only"].write("memory.swap.tiers.max", "HDD 0")
        tree["ssd only"].write("memory.swap.tiers.max", "NET 0")
        tree["free"].write("memory.swap.tiers.max", "HDD 0")
        tree["no writeback"].write("memory.zswap.writeback", "0")
        owned = {name: space.swap_out_many(text(10, k), memcg=tree[name]).entries for k, name in enumerate(
            ("ssd only", "no writeback", "free")
        )}  # fmt: skip
        assert space.writeback(100) == 20
        assert {name: set(space.where(e)) for name, e in owned.items()} == {
            "ssd only": {"ssd"}, "no writeback": {"zswap0"}, "free": {"ssd"},
        }  # fmt: skip
        assert space.writeback(100, tier="ssd") == 10  # past the HDD, which its group may not use
        assert set(space.where(owned["free"])) == {"net"} and set(space.where(owned["ssd only"])) == {"ssd"}
        # No direct swap after a refusal either: the page stays in memory.
        assert space.where([space.swap_out(noise(1)[0], memcg=tree["no writeback"])]) == ["cache"]
        # Proactive, of one group.
        tree["no writeback"].write("memory.zswap.writeback", "1")
        more = space.swap_out_many(text(10, 9)).entries
        assert space.writeback(100, memcg=tree["no writeback"]) == 10 and set(space.where(more)) == {"zswap0"}
        space.check()


def test_slots_of_a_ghost_are_charged_as_they_get_blocks():
    tree = MemcgTree()
    job = tree.mkdir("job")
    with SwapSpace(memcg=tree) as space:
        space.add_zswap("lz4", limit=8 * MIB)
        space.swapon(None, size=MIB, grow=True, priority=9)
        space.swapon(backend=MemoryBackend(1024), name="disk", priority=5)
        job.write("memory.swap.max", "40K")
        entries = space.swap_out_many(text(30), memcg=job).entries
        assert job.usage == 0 and job.zswap_bytes > 0
        space.check()
        assert space.writeback(30) == 10 and job.usage == 10  # as far as the limit goes
        space.check()
        assert (space.swap_out_many(noise(3), memcg=job).entries >= 0).all()  # in memory
        space.prefetch(entries, "zswap0")
        assert job.usage == 0
        space.check()
        space.free_many(entries)
        assert job.zswap_bytes == 0 and job.pinned == 3
        space.check()


# ---- today's zswap


def test_zswap_in_front_of_a_device(tmp_path):
    """The block stays reserved, is written in place, and every swap-in from the device pays a look-up."""
    mkswap(tmp_path / "disk", MIB)
    with SwapSpace(zswap="front") as space:
        pool = space.add_zswap("lz4", limit=8 * MIB)
        disk = space.swapon(tmp_path / "disk", name="disk")
        pages = np.concatenate([text(200), noise(55)])
        entries = space.swap_out_many(pages).entries
        assert space.where(entries) == ["zswap0"] * 200 + ["disk"] * 55
        assert disk.table.free_blocks == 0  # each page of the pool has its block
        assert (space.swap_out_many(noise(5)).entries == -1).all()
        assert space.writeback(100) == 100
        homes = space.devices["disk"].table
        slots = entries[[at == "disk" for at in space.where(entries)]]
        assert np.array_equal(homes.resolve(slots)[1], slots)  # in place
        assert np.array_equal(space.look_many(entries), pages)
        stats = space.stats()
        assert (stats["zswap_lookups"], stats["zswap_misses"]) == (255, 155)
        space.check()
        space.free_many(entries[::2])
        assert disk.table.free_blocks == 128 and disk.table.usage()["blocks"]["taken"] == 100 - 50
        space.check()
        assert np.array_equal(space.swap_in_many(entries[1::2]), pages[1::2])
        assert disk.used == 0 and pool.backend.debugfs()["stored_pages"] == 0
        space.check()
