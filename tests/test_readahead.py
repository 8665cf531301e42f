# Readahead: the kernel's windows, by slots and by addresses; what is read, what pays off, what has none.
# Imports the package.
# Used by pytest; every test ends in check().
import numpy as np
import pytest
from test_space import noise, text

from swaptable.backends.memory import MemoryBackend
from swaptable.errors import SwapValueError
from swaptable.readahead import Vma, window
from swaptable.space import SwapSpace

MIB = 1 << 20


@pytest.mark.parametrize(
    ("before", "at", "hits", "most", "last", "pages"),
    [
        (0, 100, 4, 8, 0, 8),  # the first fault: as if four pages had paid off
        (0, 100, 0, 8, 0, 1),  # none did, and the fault is elsewhere
        (99, 100, 0, 8, 0, 2),  # the next
        (101, 100, 0, 8, 0, 2),  # the one before
        (0, 100, 1, 8, 0, 4),
        (0, 100, 2, 8, 0, 4),
        (0, 100, 3, 8, 0, 8),
        (0, 100, 60, 8, 0, 8),
        (0, 100, 60, 32, 0, 32),
        (0, 100, 0, 8, 8, 4),  # not less than half at once
        (0, 100, 0, 8, 4, 2),
        (0, 100, 0, 8, 2, 1),
        (0, 100, 4, 1, 0, 1),
    ],
)
def test_windows(before, at, hits, most, last, pages):
    assert window(before, at, hits, most, last) == pages


@pytest.fixture
def disk():
    """A device, and 256 pages on it in slots 0 to 255."""
    with SwapSpace() as space:
        device = space.swapon(backend=MemoryBackend(1024), name="disk")
        pages = noise(256)
        entries = space.swap_out_many(pages).entries
        yield space, device, pages, entries
        space.check()


def counted(space):
    stat = space.stats()
    return stat["pswpin"], stat["swap_ra"], stat["swap_ra_hit"]


def test_a_cluster(disk):
    space, device, pages, entries = disk
    slots = entries & (1 << 58) - 1
    at = int(np.flatnonzero(slots == 21)[0])
    assert space.fault(int(entries[at])) == pages[at].tobytes()
    assert counted(space) == (8, 7, 0)  # slots 16 to 23
    inside = np.flatnonzero((slots >= 16) & (slots <= 23))
    assert set(space.where(entries[inside[inside != at]])) == {"disk"}  # clean: the block has it too
    for k in inside[inside != at].tolist():
        assert space.fault(int(entries[k])) == pages[k].tobytes()
    assert counted(space) == (8, 7, 7)  # all from the cache
    assert device.stat["read"] == 8


def test_it_shrinks_where_nothing_pays_off(disk):
    """8, then half of it, and half of that; two neighbours are two."""
    space, _, pages, entries = disk
    slots = (entries & (1 << 58) - 1).tolist()
    read = []
    for slot in (21, 101, 61, 141, 181, 182):
        before = counted(space)[0]
        at = slots.index(slot)
        assert space.fault(int(entries[at])) == pages[at].tobytes()
        read.append(counted(space)[0] - before)
    assert read == [8, 4, 2, 1, 1, 2]


def test_forwards_and_backwards_in_a_vma(disk):
    space, _, pages, entries = disk
    vma = Vma(np.full(2048, -1), first=1000)
    vma.entries[100:356] = np.random.default_rng(1).permutation(entries)
    at = {int(entry): k for k, entry in enumerate(entries.tolist())}

    def fault(page):
        entry = int(vma.entries[page])
        assert space.fault(entry, vma, page) == pages[at[entry]].tobytes()
        vma.entries[page] = -1

    fault(200)
    assert counted(space) == (8, 7, 0)  # 197 to 204
    assert set(space.cache.frames.entry[space.cache.frames.entry >= 0]) == set(
        vma.entries[[197, 198, 199, 201, 202, 203, 204]].tolist()
    )
    fault(201)
    assert counted(space)[2] == 1 and vma.hits == 1
    for page in (202, 203, 204):
        fault(page)
    assert counted(space) == (8, 7, 4)
    fault(205)  # 4 hits: a window of 8 again, around it: the last window began at 200
    assert counted(space)[0] > 8


def test_a_vma_window_stays_in_its_page_table(disk):
    space, _, _, entries = disk
    vma = Vma(entries, first=510)
    assert vma.around(1, 8) == slice(0, 2)
    vma = Vma(entries, first=510)
    assert vma.around(2, 8) == slice(2, 7)
    vma.last_fault, vma.hits = 511, 6
    assert vma.around(2, 8) == slice(2, 10)
    vma.hits = 6
    assert vma.around(1, 8) == slice(0, 2)
    assert space.stats()["swap_ra"] == 0


def test_none_on_ghosts_and_synchronous_devices():
    with SwapSpace() as space:
        space.add_zswap("lz4", limit=MIB)
        space.swapon(None, size=MIB, grow=True, name="g", priority=10)
        space.swapon(backend=MemoryBackend(256), name="zram", priority=5, flags=["synchronous"])
        for pages in (text(64), noise(64)):
            entries = space.swap_out_many(pages).entries
            for entry, page in zip(entries.tolist(), pages, strict=True):
                assert space.fault(entry) == page.tobytes()
        space.swapoff("g")
        pages = noise(64)
        for entry, page in zip(space.swap_out_many(pages).entries.tolist(), pages, strict=True):
            assert space.fault(entry) == page.tobytes()
        assert space.stats()["swap_ra"] == 0
        space.check()


def test_none_where_it_is_off():
    with SwapSpace(page_cluster=0) as space:
        space.swapon(backend=MemoryBackend(256))
        pages = noise(20)
        for entry, page in zip(space.swap_out_many(pages).entries.tolist(), pages, strict=True):
            assert space.fault(entry) == page.tobytes()
        assert counted(space) == (20, 0, 0)
        space.check()
    with pytest.raises(SwapValueError, match="page_cluster 10: expected 0 to 9"):
        SwapSpace(page_cluster=10)


def test_rotational_devices_go_by_slots():
    with SwapSpace() as space:
        space.swapon(backend=MemoryBackend(512), name="hdd", flags=["rotational"])
        pages = noise(64)
        entries = space.swap_out_many(pages).entries
        vma = Vma(np.random.default_rng(2).permutation(entries))
        page = int(np.flatnonzero(vma.entries == entries[40])[0])
        assert space.fault(int(entries[40]), vma, page) == pages[40].tobytes()
        assert vma.last_window == 0 and counted(space) == (8, 7, 0)
        space.check()


def test_zeros_pools_and_holes_in_a_window():
    """Pages of a pool that were read ahead are dirty: the pool has them no more. Free slots are passed over."""
    with SwapSpace() as space:
        space.add_zswap("lz4", limit=MIB)
        space.swapon(backend=MemoryBackend(256), name="disk")
        pages = np.concatenate([text(3), np.zeros((2, 4096), np.uint8), noise(3)])
        entries = space.swap_out_many(np.concatenate([noise(8, 9), pages])).entries[8:]
        space.free(int(entries[7]))
        assert space.fault(int(entries[0])) == pages[0].tobytes()
        assert space.stats()["swap_ra"] == 6 and space.cache.frames.usage()["dirty"] == 2
        space.check()
        for k in range(1, 7):
            assert space.fault(int(entries[k])) == pages[k].tobytes()
        assert space.stats()["swap_ra_hit"] == 6
        space.check()


def test_a_full_cache_keeps_nothing():
    with SwapSpace(cache_pages=0) as space:
        space.swapon(backend=MemoryBackend(256))
        pages = noise(20)
        entries = space.swap_out_many(pages).entries
        for entry, page in zip(entries.tolist(), pages, strict=True):
            assert space.fault(entry) == page.tobytes()
        assert space.stats()["swap_ra"] == 0
        space.check()


def test_the_slot_stays(disk):
    space, _, pages, entries = disk
    mapped = space.fault(int(entries[0]), keep=True)
    assert (mapped.pages[0] == pages[0]).all() and mapped.entries[0] == entries[0]
    written = space.stats()["pswpout"]
    assert space.swap_out_many(mapped.pages, mapped=mapped).entries[0] == entries[0]
    assert space.stats()["pswpout"] == written
