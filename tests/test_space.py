# The swap space: where pages are at every moment, that they come back, and what is held for them meanwhile.
# Imports the package, page_mix.
# Used by pytest; every test ends in check().
import errno
import hashlib
from collections import Counter

import numpy as np
import pytest
from page_mix import KINDS, PAGE, mix

from swaptable.backends.memory import MemoryBackend
from swaptable.backends.zram import ZramBackend
from swaptable.errors import SlotNotInUseError, SwapError, SwapFullError, SwapValueError, TransferError
from swaptable.memcg import MemcgTree
from swaptable.space import SwapSpace, Vma
from swaptable.swapfile import mkswap

MIB = 1 << 20


def text(n, seed=0):
    """*n* pages that a pool takes, all different."""
    rng = np.random.default_rng(seed)
    return np.frombuffer(b"".join(KINDS["text"](rng) for _ in range(n)), np.uint8).reshape(n, PAGE).copy()


def noise(n, seed=0):
    """*n* pages that no pool takes."""
    return np.random.default_rng(seed).integers(0, 256, (n, PAGE), np.uint8)


def bytes_of(space):
    """Front end: words and locations; back end: bitmaps, records and data in memory."""
    front = back = 0
    for device in space.devices:
        table = device.table.memory()
        front += table["tables"] + table["locations"] + table["overflow"]
        back += table["bitmaps"] + table["owners"] + (device.backend.memory()["total"] if device.pool else 0)
    return front, back


@pytest.fixture
def space(tmp_path):
    """A pool, a ghost, and two files: three tiers below a front end without blocks."""
    for name in "AB":
        mkswap(tmp_path / name, 8 * MIB)
    with SwapSpace() as made:
        made.add_zswap("lz4", limit=4 * MIB)
        made.swapon(None, size=1 << 30, grow=True, priority=10)
        made.swapon(tmp_path / "A", priority=5, name="A")
        made.swapon(tmp_path / "B", priority=1, name="B")
        yield made
        made.check()


def test_the_slice(space):
    """A page goes zswap -> file A -> file B -> back with its entry unchanged; its bytes are what they were."""
    page = text(1)[0]
    digest = hashlib.sha256(page).hexdigest()
    stages = {"empty": bytes_of(space)}
    entry = space.swap_out(page)
    words = {space.devices.by_type[0].table[entry]}
    for stage, at, go in (
        ("zswap", "zswap0", lambda: None),
        ("file A", "A", lambda: space.writeback(1)),
        ("file B", "B", lambda: space.writeback(1, tier="A")),
        ("file A again", "A", lambda: space.prefetch([entry], "A")),
        ("zswap again", "zswap0", lambda: space.prefetch([entry], "zswap0")),
    ):
        go()
        assert space.where([entry]) == [at]
        assert hashlib.sha256(space.look_many([entry])).hexdigest() == digest
        stages[stage] = bytes_of(space)
        words.add(space.devices.by_type[0].table[entry])
        space.check()
    assert all(word & 1 and word >> 60 == 1 for word in words)  # swapped out, one user, all the time
    assert hashlib.sha256(space.swap_in(entry)).hexdigest() == digest
    stages["back"] = bytes_of(space)
    for stage, (front, back) in stages.items():
        print(f"{stage:14} front end {front:6,} bytes, back end {back:6,} bytes")
    assert stages["back"][0] == stages["empty"][0] == 3 * 4096  # the clusters with the headers
    assert stages["zswap"][0] == stages["file A"][0] == stages["file B"][0]  # a location costs what it costs, once
    with pytest.raises(SlotNotInUseError, match="nobody has it"):
        space.swap_in(entry)


# ---- the three requirements of the discussion


def test_metadata_only_as_used(space):
    """1: a front end of any size takes what its used slots take, and gives it back."""
    ghost = space.devices["ghost0"]
    before = ghost.table.memory()["total"]
    assert before < 65536 and ghost.first_size == 1 << 30
    entries = space.swap_out_many(text(2000)).entries
    memory = ghost.table.memory()
    assert memory["tables"] == 4 * 4096 and memory["locations"] == 4 * 2048
    space.free_many(entries)
    ghost.table.trim()
    assert ghost.table.memory()["tables"] == 4096 and ghost.table.memory()["locations"] == 0  # the header's cluster


def test_no_space_on_the_lower_tier_in_advance(space):
    """2: what is in the pool has no block anywhere; with today's zswap it has."""
    free = [space.devices[name].table.free_blocks for name in "AB"]
    space.swap_out_many(text(500))
    assert [space.devices[name].table.free_blocks for name in "AB"] == free


def test_the_same_on_a_devices_own_slots(tmp_path):
    """2, without a ghost: the block of a slot whose data is in the pool serves others meanwhile."""
    mkswap(tmp_path / "A", MIB)
    with SwapSpace() as space:
        space.add_zswap("lz4", limit=4 * MIB)
        space.swapon(tmp_path / "A")
        held = space.swap_out_many(text(200)).entries
        assert space.devices[str(tmp_path / "A")].table.free_blocks == 255
        pages = noise(55)
        more = space.swap_out_many(pages)
        assert not more.errors.any() and (space.look_many(more.entries) == pages).all()
        assert space.writeback(200) == 200
        assert (space.swap_in_many(held) == text(200)).all()
        space.check()


def test_backend_transfer_without_page_table_entries(space):
    """3: data moves over all tiers, and the only record of it is one location a slot: no entry changed."""
    pages = mix(600, 3)
    entries = space.swap_out_many(pages).entries
    page_table = entries.copy()
    page_table.flags.writeable = False  # nobody is to visit it
    moved = space.writeback(600) + space.writeback(600, tier="A")
    assert moved > 600
    assert space.swapoff("A").page_tables == 0
    assert (space.swap_in_many(page_table) == pages).all()


# ---- where a page is, and what is held for it: one state after the other


class Watched(MemoryBackend):
    """Calls *at* in the middle of every write."""

    at = None

    def write_many(self, pages, blocks=None):
        if self.at is not None:
            self.at()
        return super().write_many(pages, blocks)


def test_what_leads_to_the_bytes():
    with SwapSpace() as space:
        space.add_zswap("lz4", limit=4 * MIB)
        space.swapon(None, size=MIB, grow=True, priority=10)
        device = space.swapon(backend=Watched(256), name="disk")
        table = space.devices["ghost0"].table
        page = text(1)[0]
        entry = space.swap_out(page)
        slot, seen = entry, []

        # In zswap: SHADOW, an object of the pool.
        state = table.entry(slot)
        assert state.kind == "shadow" and space.where([entry]) == ["zswap0"] and state.location
        pool_location = state.location

        def under_way():
            """Being written from zswap: FOLIO, the mover's; still the object; the bytes are in the folio."""
            now = table.entry(slot)
            found = (space.look_many([entry])[0] == page).all()
            seen.append((now.kind, now.count, now.location == pool_location, bool(found)))

        device.backend.at = under_way
        assert space.writeback(1) == 1
        device.backend.at = None
        assert seen == [("folio", 1, True, True)]

        # In a swapfile: SHADOW, a block.
        state = table.entry(slot)
        assert state.kind == "shadow" and space.where([entry]) == ["disk"]

        # Back in memory through another page table: FOLIO, count > 0, the location as before until it is dirtied.
        space.dup(entry)
        before = table.loc(slot)
        assert space.swap_in(entry) == page.tobytes()
        state = table.entry(slot)
        assert (state.kind, state.count, state.location) == ("folio", 1, before)
        reads = space.stats()["pswpin"]
        assert space.swap_in(entry) == page.tobytes() and space.stats()["pswpin"] == reads  # from the folio
        assert table.entry(slot).kind == "null" and space.cache.frames.usage()["cached"] == 0
        space.check()


def test_a_load_from_a_pool_is_exclusive(space):
    """The object goes, the folio is dirty; evicted, it goes to the pool again."""
    page = text(1)[0]
    entry = space.swap_out(page)
    space.dup(entry)
    assert space.swap_in(entry) == page.tobytes()
    assert space.devices["zswap0"].backend.debugfs()["stored_pages"] == 0
    assert space.where([entry]) == ["cache"] and space.cache.frames.usage()["dirty"] == 1
    assert space.shrink_cache() == 1 and space.where([entry]) == ["zswap0"]
    assert space.swap_in(entry) == page.tobytes()


def test_promotion_on_reuse(tmp_path):
    mkswap(tmp_path / "slow", MIB)
    with SwapSpace(promote=True) as space:
        space.swapon(backend=MemoryBackend(256), name="fast", priority=5)
        space.swapon(tmp_path / "slow", name="slow", priority=1)
        page = noise(1)[0]
        entry = space.swap_out(page)
        assert space.where([entry]) == ["fast"]
        space.prefetch([entry], "slow")
        space.dup(entry)
        assert space.where([entry]) == ["slow"] and space.swap_in(entry) == page.tobytes()
        assert space.shrink_cache() == 1 and space.where([entry]) == ["fast"]
        assert space.swap_in(entry) == page.tobytes()
        space.check()


# ---- pages


def test_zero_pages(space):
    pages = np.zeros((10, PAGE), np.uint8)
    pages[3, 4095] = pages[7, 1700] = 1
    got = space.swap_out_many(pages)
    assert Counter(space.where(got.entries)) == {"zero": 8, "zswap0": 2}
    assert space.stats()["swpout_zero"] == 8
    assert (space.swap_in_many(got.entries) == pages).all()
    assert space.stats()["swpin_zero"] == 8


def test_refused_pages_go_to_the_next_tier_and_stay_in_memory_only_without_one():
    with SwapSpace(cache_pages=20) as space:
        space.add_zswap("lz4", limit=MIB)
        space.swapon(None, size=MIB, grow=True)
        pages = noise(30)
        got = space.swap_out_many(pages)
        assert space.where(got.entries[:20]) == ["cache"] * 20  # dirty folios, up to the cap
        assert (got.entries[20:] == -1).all() and (got.errors[20:] == errno.ENOSPC).all()
        assert (space.look_many(got.entries[:20]) == pages[:20]).all()
        with pytest.raises(SwapFullError):
            space.swap_out(pages[25])
        assert space.devices["ghost0"].table.used == 20
        space.check()
        space.swapon(backend=MemoryBackend(64), name="disk")
        assert space.shrink_cache() == 20 and set(space.where(got.entries[:20])) == {"disk"}
        assert (space.swap_in_many(got.entries[:20]) == pages[:20]).all()
        space.check()


def test_full_by_blocks_not_by_slots():
    """A front end without limit is never full; the blocks and the pool are."""
    with SwapSpace(cache_pages=0) as space:
        space.swapon(None, size=1 << 40, grow=True)
        space.swapon(backend=MemoryBackend(100), name="disk", front=False)
        pages = noise(120)
        got = space.swap_out_many(pages)
        assert (got.entries >= 0).sum() == 100 and (got.errors[100:] == errno.ENOSPC).all()
        assert space.devices.fullness() == (100, 100) and space.store.full()
        assert (space.swap_in_many(got.entries[:100]) == pages[:100]).all() and not space.store.full()
        space.check()


@pytest.mark.parametrize("order", [1, 4, 9])
def test_folios(space, order):
    nr = 1 << order
    pages = mix(4 * nr, 5)
    got = space.swap_out_many(pages, order=order)
    firsts = got.entries[::nr]
    assert (got.entries.reshape(4, nr) == firsts[:, None] + np.arange(nr)).all() and (firsts % nr == 0).all()
    assert space.swap_in(int(firsts[0]), nr) == pages[:nr].tobytes()
    assert (space.swap_in_many(got.entries[nr:]) == pages[nr:]).all()
    entry = space.swap_out(pages[:nr])
    space.free(entry, nr)


def test_a_folio_in_several_places_comes_back_page_by_page(space):
    pages = text(16)
    pages[3], pages[4] = noise(1)[0], 0
    entry = space.swap_out(pages)
    assert Counter(space.where(range(entry, entry + 16))) == {"zswap0": 14, "A": 1, "zero": 1}
    assert space.swap_in(entry, 16) == pages.tobytes()
    assert space.store.stat[4, "swpin_fallback"] == 1 and space.store.stat[4, "swpin"] == 0
    entry = space.swap_out(text(16))
    assert space.store.stat[4, "zswpout"] == 1
    assert space.swap_in(entry, 16) == text(16).tobytes() and space.store.stat[4, "swpin"] == 1
    space.mixed_swapin = True
    entry = space.swap_out(pages)
    assert space.swap_in(entry, 16) == pages.tobytes() and space.store.stat[4, "swpin"] == 2


def test_a_folio_is_split_where_no_run_is_free():
    with SwapSpace(contiguous=False) as space:
        space.swapon(backend=MemoryBackend(64), name="disk")
        single = space.swap_out_many(noise(64)).entries
        space.free_many(single[::2])
        with pytest.raises(SwapFullError):
            space.swap_out(noise(16))
        pages = noise(16, 4)
        got = space.swap_out_many(pages, order=4)
        assert not got.errors.any() and (space.swap_in_many(got.entries) == pages).all()
        assert space.store.stat[4, "swpout_fallback"] == 2
        space.check()


def test_contiguous_slots_past_the_end():
    with SwapSpace() as space:
        space.swapon(backend=MemoryBackend(64), name="disk")
        single = space.swap_out_many(noise(64)).entries
        space.free_many(single[::2])
        pages = noise(16, 4)
        entry = space.swap_out(pages)
        assert entry >> 32 and space.swap_in(entry, 16) == pages.tobytes()
        space.check()


def test_users(space):
    page = text(1)[0]
    entry = space.swap_out(page)
    space.dup_many([entry, entry])
    space.free(entry)
    assert space.swap_in(entry) == page.tobytes()
    assert (space.swap_in_many([entry]) == page).all()
    for call in (space.swap_in, space.free, space.dup):
        with pytest.raises(SlotNotInUseError, match="nobody has it"):
            call(entry)
    with pytest.raises(SwapValueError, match="there is no swap type 9"):
        space.free(9 << 58)
    several = space.swap_out_many(text(3)).entries
    with pytest.raises(SlotNotInUseError, match="nobody has it") as caught:
        space.free_many([several[0], several[0], several[1]])
    assert caught.value.index == 1 and space.where(several) == ["", "", "zswap0"]
    space.free(int(several[2]))


def test_an_entry_twice_in_one_batch(space):
    page = text(1)[0]
    entry = space.swap_out(page)
    space.dup_many([entry] * 3)
    assert (space.look_many([entry] * 5) == page).all()
    assert (space.swap_in_many([entry] * 4) == page).all()
    assert space.where([entry]) == [""]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.swap_out(b"x"), "1 bytes; expected a multiple of 4096"),
        (lambda s: s.swap_out(bytes(3 * PAGE)), "expected a folio of 1, 2, 4"),
        (lambda s: s.swap_out_many(bytes(3 * PAGE), order=1), "whole folios of 3 pages"),
        (lambda s: s.swap_in_many([0.5]), "expected integers in one dimension"),
        (lambda s: s.swap_in_many([1], out=np.zeros((1, 100), np.uint8)), "expected a writable contiguous uint8"),
        (lambda s: s.look_many([1], out=[[0]]), "out is list; expected a writable"),
        (lambda s: s.swap_in("1"), "entry '1': expected an integer"),
        (lambda s: s.swap_in(1 << 70), "entry 1180591620717411303424: expected an integer"),
        (lambda s: s.shrink_cache(-1), "n -1: expected 0 or more folios"),
        (lambda s: s.prefetch([0], "ghost0"), "tier 'ghost0' is a ghost; expected a device with blocks"),
        (lambda s: s.swap_in(1, 0), "nr 0: expected 1 to 512 pages"),
        (lambda s: s.swap_in(1, -1), "nr -1: expected 1 to 512 pages"),
        (lambda s: s.fault(1, Vma(np.full(4, -1)), 4), "page 4: expected 0 to 3"),
        (lambda s: s.writeback(-1), "n -1: expected 0 or more pages"),
        (lambda s: s.swap_out(bytes(PAGE), memcg="web"), "memcg is 'web'; expected None: the swap space has no"),
        (lambda s: s.swap_out_many(bytes(PAGE), memcg=MemcgTree().mkdir("a")), "memcg is 'a' of another tree"),
        (lambda s: s.writeback(1, memcg=MemcgTree().mkdir("a")), "memcg is 'a' of another tree"),
        (lambda s: s.swapon(None, size=1 << 20, grow=True, flags=["rotationl"]), "flags 'rotationl': expected some of"),
        (lambda s: s.swapon(None, size=1 << 20, grow=True, flags="owners"), "flags 'o': expected some of"),
        (lambda s: s.swapon(None, size=-1, grow=True), "size -1: expected bytes, at least"),
        (lambda s: s.swapon(None, size=1e9, grow=True), "size 1000000000.0: expected bytes"),
        (lambda s: s.swapon("swap", size=1 << 20), "size 1048576: expected None where there is a path"),
        (lambda s: s.swapon(backend=3), "backend 3: expected one whose blocks the caller numbers"),
        (lambda s: s.swapon(None), "a device without a file grows, from a size on"),
        (lambda s: s.swapon(None, size=PAGE, grow=True, discard="all"), "discard 'all'"),
        (lambda s: s.swapon(None, size=PAGE, grow=True, priority=40000), "priority is 40000"),
        (lambda _: SwapSpace(ghost="real"), "ghost 'real': expected redirect or patch"),
    ],
)
def test_bad_input(space, call, message):
    before = space.devices.areas()
    with pytest.raises(SwapValueError, match=message):
        call(space)
    assert space.devices.areas() == before
    space.check()


@pytest.mark.parametrize("kind", ["itself", "symbolic link", "hard link", "ghost"])
def test_a_file_is_on_once_whatever_it_is_called(tmp_path, kind):
    first, other = tmp_path / "swap", tmp_path / "other"
    mkswap(first, 1 << 20, ghost=kind == "ghost")
    if "link" in kind:
        (other.symlink_to if kind == "symbolic link" else other.hardlink_to)(first)
    with SwapSpace() as space:
        space.swapon(first, name="a")
        with pytest.raises(SwapError, match="on already, as a") as caught:
            space.swapon(other if "link" in kind else first, name="b")
        assert caught.value.errno == errno.EBUSY and [d.name for d in space.devices] == ["a"]
        space.swapoff("a")
        space.swapon(first, name="b")  # it is off: another name is fine
        space.check()


def test_closed_while_in_use(tmp_path):
    mkswap(tmp_path / "swap", 1 << 20)
    space = SwapSpace()
    space.swapon(tmp_path / "swap", name="swap")
    entry = space.swap_out(noise(1))
    space.close()
    space.close()
    with pytest.raises(TransferError, match=f"entry {entry:#x}: its page cannot be read"):
        space.swap_in(entry)
    with pytest.raises(SwapFullError, match="no slots side by side, or nothing takes the data"):
        space.swap_out(noise(1))
    for call in (lambda: space.swapon(tmp_path / "swap"), space.add_zswap):
        with pytest.raises(SwapError, match="the swap space is closed"):
            call()
    with SwapSpace() as other:
        other.swapon(tmp_path / "swap")
        other.check()


def test_a_read_that_raises_leaves_the_entries_as_they_were(space, monkeypatch):
    pages = text(40)
    entries = space.swap_out_many(pages).entries
    frozen = np.zeros((40, PAGE), np.uint8)
    frozen.flags.writeable = False
    with pytest.raises(SwapValueError, match="writable"):
        space.look_many(entries, frozen)

    def fails(*_, **__):
        raise MemoryError("none left")

    with monkeypatch.context() as patch:
        patch.setattr(space.store, "read", fails)
        for call in (space.look_many, space.swap_in_many, space.map_many, lambda _: space.writeback(40)):
            with pytest.raises(MemoryError):
                call(entries)
    space.check()
    assert (space.swap_in_many(entries) == pages).all()  # none is pinned for ever


def test_a_fault_on_a_folio_in_several_places(space):
    pages = text(8)
    entry = space.swap_out(pages.tobytes())
    assert space.fault(entry, nr=8) == pages.tobytes()
    assert space.store.stat[3, "swpin"] == 1
    entry = space.swap_out(pages.tobytes())
    space.prefetch([entry + 2], "A")
    assert len(set(space.where(range(entry, entry + 8)))) == 2
    assert space.fault(entry, nr=8) == pages.tobytes()
    assert space.store.stat[3, "swpin_fallback"] == 1
    entry = space.swap_out(pages.tobytes())
    mapped = space.fault(entry, keep=True, nr=8)
    assert (mapped.pages == pages).all() and mapped.pfns.all()
    space.unmap_many(mapped)
    space.check()


# ---- pages whose slots are kept


def test_a_clean_page_costs_nothing_the_second_time(space):
    pages = noise(40)
    entries = space.swap_out_many(pages).entries
    mapped = space.map_many(entries)
    assert (mapped.pages == pages).all() and (mapped.entries == entries).all()
    assert space.devices["ghost0"].table.usage()["cached"] == 40
    assert space.writeback(100, tier="A") == 0  # warm
    written = space.stats()["pswpout"]
    dirty = np.zeros(40, bool)
    dirty[:10] = True
    pages[:10] = noise(10, 8)
    got = space.swap_out_many(pages, mapped=mapped, dirty=dirty)
    assert (got.entries == entries).all() and not got.errors.any()
    assert space.stats()["pswpout"] == written + 10
    assert (space.look_many(entries) == pages).all()
    space.unmap_many(space.map_many(entries))
    assert space.devices["ghost0"].table.used == 0


def test_a_dirty_page_that_others_share_gets_a_slot_of_its_own(space):
    page, other = noise(2)
    entry = space.swap_out(page)
    space.dup(entry)
    mapped = space.map_many([entry])
    got = space.swap_out_many(other, mapped=mapped, dirty=[True])
    assert got.entries[0] not in (-1, entry)
    assert space.swap_in(entry) == page.tobytes() and space.swap_in(int(got.entries[0])) == other.tobytes()


def test_others_find_a_page_that_is_mapped(space):
    page = noise(1)[0]
    entry = space.swap_out(page)
    space.dup(entry)
    mapped = space.map_many([entry])
    assert space.swap_in(entry) == page.tobytes()
    assert space.swap_out_many(page, mapped=mapped).entries.tolist() == [entry]
    assert space.swap_in(entry) == page.tobytes()


def test_rewritten_as_zeros_and_back(space):
    page = noise(1)[0]
    entry = space.swap_out(page)
    for data, at in ((np.zeros(PAGE, np.uint8), "zero"), (page, "A"), (text(1)[0], "zswap0"), (page, "A")):
        mapped = space.map_many([entry])
        assert space.swap_out_many(data, mapped=mapped, dirty=[True]).entries.tolist() == [entry]
        assert space.where([entry]) == [at]
    assert space.swap_in(entry) == page.tobytes()


def test_slots_that_only_the_cache_holds_are_taken_when_swap_is_half_full():
    with SwapSpace(cache_pages=0) as space:
        space.swapon(backend=MemoryBackend(100), name="disk")
        pages = noise(100)
        entries = space.swap_out_many(pages[:40]).entries
        mapped = space.map_many(entries)
        assert (mapped.pfns != 0).all()
        more = space.swap_out_many(noise(90, 2))  # asks for the forty
        assert not more.errors.any()
        got = space.swap_out_many(pages[:40], mapped=mapped)
        assert (got.entries >= 0).sum() <= 10
        space.check()
        assert (space.map_many(more.entries[:5]).entries == -1).all()  # more than half is used: given up at once
        space.check()


def test_zram_and_memory_are_devices_like_others():
    with SwapSpace() as space:
        space.swapon(backend=ZramBackend(512), priority=5, flags=["synchronous"])
        space.swapon(backend=MemoryBackend(512), priority=1)
        pages = mix(900, 7)
        got = space.swap_out_many(pages)
        assert {device.name for device in space.devices} == {"zram0", "memory0"}
        assert (got.entries >= 0).all() and (space.swap_in_many(got.entries) == pages).all()
        space.check()


class Odd(MemoryBackend):
    """Says in its own way what it could write, and wants to be asked for something."""

    def __init__(self, blocks, errors):
        super().__init__(blocks)
        self.errors = errors

    def write_many(self, pages, blocks=None):
        assert len(pages)
        written = super().write_many(pages, blocks)
        return written._replace(errors=self.errors(len(written.blocks)))

    def read_many(self, blocks, out=None, exclusive=False):
        assert len(blocks)
        return super().read_many(blocks, out, exclusive)


SHARED = np.zeros(1 << 12, np.int32)
SHARED.flags.writeable = False


@pytest.mark.parametrize("zswap", ["front", "tier"])
@pytest.mark.parametrize("errors", [lambda n: [0] * n, lambda n: SHARED[:n], lambda n: np.zeros(n, np.int64)])
def test_a_backend_that_answers_in_its_own_way(zswap, errors):
    space = SwapSpace(zswap=zswap)
    if zswap == "front":
        space.add_zswap("lz4", limit=MIB, priority=2)
    space.swapon(backend=Odd(4096, errors), priority=1)
    pages = np.concatenate([text(100), noise(100)])
    entries = space.swap_out_many(pages).entries
    assert (entries >= 0).all() and np.array_equal(space.look_many(entries), pages)
    space.writeback(100)
    space.prefetch(entries, "zswap0") if zswap == "front" else None
    assert np.array_equal(space.swap_in_many(entries), pages)
    space.check()
