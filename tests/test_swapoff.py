# Swapoff: everything leaves a device and every entry stays; where it goes, what is in the way, what it costs.
# Imports the package, page_mix.
# Used by pytest; every test ends in check().
import errno

import numpy as np
import pytest
from page_mix import mix
from test_space import Watched, noise, text

from swaptable import designs
from swaptable._spaces import AddressSpaces
from swaptable.backends.memory import MemoryBackend
from swaptable.errors import SwapError, SwapFullError
from swaptable.space import SwapSpace

MIB = 1 << 20


@pytest.fixture
def space():
    """Two devices that give out slots, one pool, one ghost."""
    with SwapSpace(cache_pages=64) as made:
        made.add_zswap("lz4", limit=4 * MIB, priority=100)
        made.swapon(backend=MemoryBackend(2048), name="a", priority=50)
        made.swapon(backend=Watched(2048), name="b", priority=20)
        made.swapon(None, size=MIB, grow=True, name="g", priority=10)
        yield made
        made.check()


def test_everything_goes_elsewhere_and_every_entry_stays(space):
    pages = mix(1500, 1)
    entries = space.swap_out_many(pages).entries
    order = []
    result = space.swapoff("a", progress=lambda done, total: order.append((done, total)))
    assert "a" not in space.where(entries) and np.array_equal(space.look_many(entries), pages)
    assert result.page_tables == 0 and result.moved == result.reads and result.cached == 0
    assert result.slots_left == len(entries)
    assert order == sorted(order) and order[-1][0] == result.moved and all(done <= total for done, total in order)
    assert np.array_equal(space.swap_in_many(entries), pages)


def test_guests_leave_too(space):
    """Data of other devices' slots that was moved here."""
    pages = text(300)
    entries = space.swap_out_many(pages).entries
    assert space.writeback(300) == 300
    space.prefetch(entries, "b")
    assert set(space.where(entries)) == {"b"}
    result = space.swapoff("b")
    assert result.moved == 300 and result.slots_left == 0 and np.array_equal(space.swap_in_many(entries), pages)


def test_a_pool_goes(space):
    pages = text(200)
    entries = space.swap_out_many(pages).entries
    result = space.swapoff("zswap0")
    assert result.moved == 200 and set(space.where(entries)) == {"a"}
    assert np.array_equal(space.swap_in_many(entries), pages)


def test_what_nobody_takes_goes_into_the_swap_cache():
    with SwapSpace(cache_pages=64) as space:
        space.swapon(backend=MemoryBackend(50), name="a", priority=5)
        space.swapon(backend=MemoryBackend(20), name="b", priority=1)
        pages = noise(50)
        entries = space.swap_out_many(pages).entries
        result = space.swapoff("a")
        assert (result.moved, result.cached) == (20, 30)
        assert space.cache.frames.usage()["dirty"] == 30 and np.array_equal(space.look_many(entries), pages)
        space.check()
        # Swapped in from there, or out again once there is a device.
        assert np.array_equal(space.swap_in_many(entries[:25]), pages[:25])
        space.swapon(backend=MemoryBackend(64), name="c")
        space.shrink_cache()
        assert set(space.where(entries[25:])) <= {"b", "c"} and np.array_equal(
            space.swap_in_many(entries[25:]), pages[25:]
        )
        space.check()


def test_without_room_it_is_on_again_and_says_how_much_is_left():
    with SwapSpace(cache_pages=10) as space:
        a = space.swapon(backend=MemoryBackend(100), name="a", priority=5)
        space.swapon(backend=MemoryBackend(20), name="b", priority=1)
        pages = noise(80)
        entries = space.swap_out_many(pages).entries
        with pytest.raises(SwapFullError, match=r"swapoff of a: 50 pages are left \(ENOSPC\); it is on again"):
            space.swapoff("a")
        assert a.on and not a.closing and a.usable == 100
        assert np.array_equal(space.look_many(entries), pages)
        assert (space.swap_out_many(noise(40, 2)).entries >= 0).all()
        space.check()
        space.swapon(backend=MemoryBackend(200), name="c", priority=0)
        space.swapoff("a")
        assert np.array_equal(space.swap_in_many(entries), pages)
        space.check()


def test_cancel(space, monkeypatch):
    monkeypatch.setattr("swaptable.swapoff.BATCH", 512)
    pages = noise(1500)
    entries = space.swap_out_many(pages).entries
    answers = iter([False, True])
    with pytest.raises(SwapError, match=r"swapoff of a: cancelled, \d+ pages are left") as caught:
        space.swapoff("a", cancel=lambda: next(answers))
    assert caught.value.errno == errno.EINTR
    assert space.devices["a"].on and space.devices["a"].usable == 2048
    assert np.array_equal(space.look_many(entries), pages)
    space.swapoff("a")
    assert np.array_equal(space.look_many(entries), pages)


def test_a_page_that_cannot_be_read(space, tmp_path):
    from swaptable.swapfile import mkswap

    mkswap(tmp_path / "f", MIB)
    device = space.swapon(tmp_path / "f", name="f", priority=90)
    pages = noise(100)
    entries = space.swap_out_many(pages).entries
    device.backend.fault = lambda *_: errno.EIO
    with pytest.raises(SwapError, match=r"swapoff of f: 100 pages are left \(EIO\); it is on again"):
        space.swapoff("f")
    device.backend.fault = None
    assert np.array_equal(space.look_many(entries), pages)
    space.swapoff("f")
    assert np.array_equal(space.look_many(entries), pages)


def test_folios_of_the_cache_and_of_callers(space):
    """A clean copy in the cache is the only one then; a page that is mapped moves, or becomes dirty."""
    pages = noise(40)
    entries = space.swap_out_many(pages).entries
    assert set(space.where(entries)) == {"a"}
    space.dup_many(entries[:10])
    space.swap_in_many(entries[:10])  # ten clean folios in the cache
    mapped = space.map_many(entries[10:20])
    assert space.cache.frames.usage()["cached"] == 10
    result = space.swapoff("a")
    assert result.cached == 10 and result.moved == 30
    assert space.cache.frames.usage()["dirty"] == 10
    assert space.where(entries) == ["cache"] * 10 + ["b"] * 30
    written = space.stats()["pswpout"]
    assert (space.swap_out_many(mapped.pages, mapped=mapped).entries == entries[10:20]).all()
    assert space.stats()["pswpout"] == written  # still clean: its block is another one
    assert np.array_equal(space.swap_in_many(entries), pages)


def test_an_idle_page_of_a_caller_becomes_dirty_where_there_is_no_room():
    with SwapSpace(cache_pages=0) as space:
        space.swapon(backend=MemoryBackend(100), name="a", priority=5)
        pages = noise(30)
        entries = space.swap_out_many(pages).entries
        mapped = space.map_many(entries)
        result = space.swapoff("a")
        assert (result.moved, result.cached, result.slots_left) == (0, 30, 30)
        space.check()
        space.swapon(backend=MemoryBackend(100), name="b", priority=5)
        got = space.swap_out_many(pages, mapped=mapped)  # clean, but nobody else has it
        assert (got.entries == entries).all() and set(space.where(entries)) == {"b"}
        assert np.array_equal(space.swap_in_many(entries), pages)
        space.check()


def test_no_new_writes_while_it_goes(space):
    """What is swapped out meanwhile goes elsewhere."""
    pages = noise(500)
    entries = space.swap_out_many(pages).entries
    more = []

    backend = space.devices["b"].backend

    def meanwhile():
        backend.at = None  # what is written here is written to b too
        more.append(space.swap_out_many(noise(10, len(more) + 5)).entries)
        backend.at = meanwhile if len(more) < 3 else None

    backend.at = meanwhile
    space.swapoff("a")
    backend.at = None
    assert len(more) and all("a" not in space.where(e) and (e >> 58 != 0).all() for e in more)
    assert np.array_equal(space.swap_in_many(entries), pages)


def test_twice_at_a_time(space):
    space.swap_out_many(noise(100))

    def again():
        with pytest.raises(SwapError, match="a is on its way off"):
            space.swapoff("a")

    space.devices["b"].backend.at = again
    space.swapoff("a")
    space.devices["b"].backend.at = None


# ---- what a walk of page tables costs


def test_beside_a_walk():
    """Half of a device: `old` looks at every page table entry of every process; here only slots are scanned."""
    pages, half = 4096, 1024
    old = designs.make("old", slots=2 * half)
    processes = AddressSpaces(old, pages)
    processes.populate()
    processes.fork()
    gone = np.random.default_rng(1).permutation(pages)[:half]
    assert processes.swap_out(gone) == half
    processes.swapoff(1)
    walk, reads = old.counters["ptes"], processes.io
    assert walk == 2 * pages and reads["reads"] == half
    processes.verify()
    with SwapSpace() as space:
        space.swapon(backend=MemoryBackend(2 * half), name="a", priority=1)
        space.swapon(backend=MemoryBackend(2 * half), name="b", priority=0)
        data = noise(half)
        entries = space.swap_out_many(data).entries
        space.dup_many(entries)
        ours = space.swapoff("a")
        assert (ours.page_tables, ours.scanned, ours.reads, ours.sequential_reads) == (0, half, half, half - 1)
        assert np.array_equal(space.swap_in_many(entries), data)
        space.check()
    print(f"old: {walk:,} page table entries, {reads}; here: {ours}")
