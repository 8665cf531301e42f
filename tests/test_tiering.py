# Data that moves between devices while its entries stay: every order of events, and what it costs in bytes.
# Imports the package, numpy and pytest.
# Used by pytest.
from __future__ import annotations

import itertools

import numpy as np
import pytest

from swaptable import BlockSpace, SlotBusyError, SlotNotInUseError, SwapFullError, SwapTable

PLAIN_BUILD = SwapTable(slots=2).memory()["tables"] == 4096
plain_build = pytest.mark.skipif(not PLAIN_BUILD, reason="an address sanitizer doubles the size of tables")


class Tiers:
    """An SSD and an HDD in one space, a tag for each block; whoever pins slots reads and writes their data here."""

    def __init__(self, ssd: dict, hdd: dict) -> None:
        self.space = BlockSpace()
        self.ssd = SwapTable(**ssd, space=self.space)
        self.hdd = SwapTable(**hdd, space=self.space)
        self.disk = [np.zeros(self.ssd.blocks, np.int64), np.zeros(self.hdd.blocks, np.int64)]
        self.next = 1

    def read(self, table: SwapTable, slots: np.ndarray) -> np.ndarray:
        devices, blocks = table.resolve(slots)
        assert (devices >= 0).all()
        return np.where(devices == 0, self.disk[0][blocks * (devices == 0)], self.disk[1][blocks * (devices == 1)])

    def write(self, table: SwapTable, slots: np.ndarray, tags: np.ndarray) -> None:
        devices, blocks = table.resolve(slots)
        for device, disk in enumerate(self.disk):
            disk[blocks[devices == device]] = tags[devices == device]

    def new_tags(self, n: int) -> np.ndarray:
        self.next += n
        return np.arange(self.next - n, self.next)

    def move_to(self, device: SwapTable | None, table: SwapTable, slots: np.ndarray) -> np.ndarray:
        """Move the data of cached slots, as many as there is room for (None: home); those that were moved."""
        data = self.read(table, slots)
        old = table.locs(slots)
        new = np.zeros(slots.size, np.uint32) if device is None else device.block_alloc(slots.size)
        slots, old, data = slots[: new.size], old[: new.size], data[: new.size]
        table.move_many(slots, old, new)
        self.write(table, slots, data)
        table.block_free(old[old != 0])
        return slots

    def check(self) -> None:
        self.space.check()


# ---- small: every order of six events


class Small:
    """Eight used blocks on the SSD; slots 0 to 3 move, their blocks are lent, they are freed, the blocks come home."""

    def __init__(self, **ssd) -> None:
        self.discards = "discard" in ssd
        self.tiers = Tiers({"slots": 8, "header": False, **ssd}, {"slots": 64, "header": False})
        self.ssd, self.hdd = self.tiers.ssd, self.tiers.hdd
        self.ssd.alloc_many(8)
        self.old, self.rest = np.arange(4), np.arange(4, 8)
        self.tags = {slot: slot + 100 for slot in range(8)}
        self.tiers.write(self.ssd, np.arange(8), np.arange(8) + 100)
        self.where = "home"  # of slots 0 to 3, or "hdd", "zero", "freed"
        self.new: np.ndarray | None = None  # a folio that was allocated since
        self.waiting = 0

    def free_blocks(self) -> int:
        """Of the SSD, as it must be."""
        return 4 * ((self.where != "home") - (self.new is not None)) - self.waiting

    def refused(self, error: type, call, *args) -> None:
        before = (self.ssd.usage(), self.ssd.words(np.arange(8)).tolist(), self.ssd.locs(np.arange(8)).tolist())
        with pytest.raises(error):
            call(*args)
        assert before == (self.ssd.usage(), self.ssd.words(np.arange(8)).tolist(), self.ssd.locs(np.arange(8)).tolist())

    def move(self) -> None:
        """To the HDD. A page of zeros gets data there."""
        if self.where == "freed":
            self.refused(SlotNotInUseError if self.new is None and not self.waiting else ValueError, self.moves, 0)
            return
        if self.where == "hdd":
            return
        new = self.hdd.block_alloc(4)
        self.ssd.move_many(self.old, np.zeros(4, np.uint32), new)
        self.where = "hdd"
        self.tags |= {slot: slot + 200 for slot in range(4)}
        self.tiers.write(self.ssd, self.old, self.old + 200)

    def moves(self, new: int) -> None:
        self.ssd.move_many(self.old, self.ssd.locs(self.old), np.full(4, new, np.uint32))

    def home(self) -> None:
        """Back, unless the blocks are lent."""
        if self.where != "hdd":
            return
        if self.new is not None or self.waiting:
            self.refused(SlotBusyError, self.moves, 0)
            return
        self.tiers.move_to(None, self.ssd, self.old)
        self.where = "home"

    def zero(self) -> None:
        """Pages of zeros have no data anywhere; those that are so already get data if they have a place."""
        if self.where == "freed":
            return
        if self.where == "zero" and (self.new is not None or self.waiting):
            self.refused(SlotBusyError, self.ssd.zero_clear, 0, 4)
        elif self.where == "zero":
            self.ssd.zero_clear(0, 4)
            self.where = "home"
            self.tags |= {slot: slot + 300 for slot in range(4)}
            self.tiers.write(self.ssd, self.old, self.old + 300)
        else:
            self.ssd.zero_set(0, 4)
            self.where = "zero"

    def lend(self) -> None:
        """A new folio at the blocks of the four slots: past the end, since the cluster serves single slots."""
        if self.new is not None:
            return
        if self.free_blocks() < 4:
            self.refused(SwapFullError, self.ssd.alloc, 2, 0, 0, 0, True)
            return
        first = self.ssd.alloc(2, contiguous=True)
        assert first >= 2**32
        self.new = np.arange(first, first + 4)
        assert sorted(self.ssd.resolve(self.new)[1].tolist()) == [0, 1, 2, 3]
        self.tags |= {slot: slot % 2**32 + 400 for slot in self.new.tolist()}
        self.tiers.write(self.ssd, self.new, self.new % 2**32 + 400)

    def free_old(self) -> None:
        if self.where == "freed":
            return
        self.ssd.free(0, 4)
        self.where = "freed"
        kinds = {self.ssd.entry(slot).kind for slot in range(4)}
        assert kinds == {"lent" if self.new is not None or self.waiting else "null"}

    def free_new(self) -> None:
        """The blocks come home: free slots, or holes."""
        if self.new is None:
            return
        self.ssd.free_many(self.new[::-1])
        self.waiting = 4 * self.discards
        self.new = None

    def discard(self) -> None:
        done = []
        self.ssd.run_discard(lambda first, nr: done.append((first, nr)))
        assert done == ([(0, 4)] if self.waiting else [])
        self.waiting = 0

    def look(self) -> None:
        """Nothing is lost or owned twice, and everybody's data is there."""
        self.tiers.check()
        self.ssd.trim()
        slots = [self.rest]
        if self.where in ("home", "hdd"):
            slots.append(self.old)
        if self.new is not None:
            slots.append(self.new)
        slots = np.concatenate(slots)
        assert self.tiers.read(self.ssd, slots).tolist() == [self.tags[slot] for slot in slots.tolist()]
        assert len(set(zip(*(a.tolist() for a in self.ssd.resolve(slots)), strict=True))) == slots.size
        assert self.ssd.free_blocks == self.free_blocks()
        blocks = self.ssd.usage()["blocks"]
        assert (blocks["held"], blocks["waiting"]) == (0, self.waiting)
        if self.where == "zero":
            assert self.ssd.resolve(self.old)[0].tolist() == [-1] * 4


EVENTS = ("move", "lend", "free_old", "free_new", "home", "zero", "discard")


@pytest.mark.parametrize("shape", [{}, {"discard": True}, {"owners": True}], ids=["plain", "discard", "owners"])
def test_every_order_of_events(shape):
    orders = every_order(shape)
    for order in orders if len(orders) < 1000 else orders[::5]:
        run_events(order, shape)


@pytest.mark.long
def test_every_long_order_of_events():
    for order in every_order({"discard": True}):
        run_events(order, {"discard": True, "owners": True})


def every_order(shape: dict) -> list[tuple[str, ...]]:
    return list(itertools.permutations(EVENTS if "discard" in shape else EVENTS[:-1]))


def run_events(order: tuple[str, ...], shape: dict) -> None:
    small = Small(**shape)
    try:
        for event in (*order, "move", "free_new", "lend"):
            getattr(small, event)()
            small.look()
    except (AssertionError, OSError) as err:
        raise AssertionError(f"{order}, at {event}: {err}") from err


def test_a_lent_slot_is_free_for_nobody():
    """Slots whose blocks are lent are refused by everything, and given out by nothing."""
    small = Small()
    small.move()
    small.lend()
    small.free_old()
    for call in (
        lambda: small.ssd.free(0),
        lambda: small.ssd.dup(1),
        lambda: small.ssd.put(2),
        lambda: small.ssd.cache_add(0, 1),
        lambda: small.ssd.cache_del(0),
        lambda: small.ssd.zero_set(3),
        lambda: small.ssd.move(3, 0, 0),
    ):
        small.refused(ValueError, call)
    small.refused(SwapFullError, small.ssd.alloc)
    small.look()


# ---- big: a full SSD, in random order


@pytest.mark.parametrize("discard", [False, True])
@pytest.mark.parametrize("owners", [False, True])
def test_cycle_of_a_full_ssd(discard, owners):
    """Slots are written back to the HDD, their blocks lent, the old slots freed meanwhile, some brought back."""
    rng, n = np.random.default_rng(5), 2**14
    hdd = {"slots": 2 * n, "header": False, "owners": owners}
    tiers = Tiers({"slots": n, "discard": discard, "owners": owners}, hdd)
    ssd, disk_pages = tiers.ssd, {}
    live = ssd.alloc_many(n - 1)

    def born(slots: np.ndarray) -> None:
        tags = tiers.new_tags(slots.size)
        tiers.write(ssd, slots, tags)
        disk_pages.update(zip(slots.tolist(), tags.tolist(), strict=True))

    born(live)
    for _ in range(25):
        every = np.array(sorted(disk_pages))
        cold = rng.choice(every, 1500, replace=False)
        tiers.move_to(tiers.hdd, ssd, cold)
        room = ssd.free_blocks
        folios = ssd.alloc_many(int(rng.integers(1, 120)), int(rng.integers(5)), contiguous=True)
        nr = max(1, (room - ssd.free_blocks) // max(folios.size, 1))
        born((folios[:, None] + np.arange(nr)).ravel())
        gone = rng.choice(np.array(sorted(disk_pages)), int(rng.integers(2000)), replace=False)
        assert (tiers.read(ssd, gone) == [disk_pages.pop(slot) for slot in gone.tolist()]).all()
        ssd.free_many(gone)
        moved = np.array([s for s in disk_pages if s < 2**32], np.int64)
        moved = moved[ssd.locs(moved) != 0]
        for slot in rng.permutation(moved)[:200].tolist():
            try:
                tiers.move_to(None, ssd, np.array([slot]))
            except SlotBusyError:
                assert ssd.free_blocks < n
        if discard and rng.random() < 0.7:
            ssd.run_discard()
        tiers.check()
        every = np.array(sorted(disk_pages))
        assert (tiers.read(ssd, every) == [disk_pages[slot] for slot in every.tolist()]).all()
        assert ssd.usage()["used"] == every.size
        if owners:
            taken = ssd.locs(every)
            members, slots = ssd.owners(taken[taken != 0])
            assert (members == 0).all() and (slots == every[taken != 0]).all()
    ssd.free_many(np.array(sorted(disk_pages)))
    for _ in range(2):
        ssd.run_discard()
    for table in (ssd, tiers.hdd):
        table.trim()
        usage = table.usage()
        assert usage["used"] == usage["lent"] == usage["moved"] == usage["blocks"]["taken"] == 0
        assert usage["blocks"]["free"] == usage["usable"]
        assert table.memory()["locations"] == table.memory()["bitmaps"] == table.memory()["owners"] == 0
    tiers.check()


def test_owners_by_scan_and_by_record_agree():
    tiers = Tiers({"slots": 4096}, {"slots": 4096, "owners": True, "header": False})
    slots = tiers.ssd.alloc_many(1000)
    tiers.move_to(tiers.hdd, tiers.ssd, slots[::3])
    tiers.hdd.alloc_many(3, 9)
    members, found, blocks = tiers.space.owners(tiers.hdd)
    assert (members == 0).all() and np.array_equal(np.sort(found), slots[::3])
    assert np.array_equal(tiers.ssd.resolve(found)[1], blocks)
    again = tiers.ssd.owners(tiers.ssd.locs(found))
    assert (again[0] == 0).all() and np.array_equal(again[1], found)
    part = tiers.space.owners(tiers.hdd, int(blocks[5]), int(blocks[9]))
    assert np.array_equal(part[2], blocks[5:9])
    assert tiers.ssd.owners([])[0].size == 0
    assert tiers.ssd.owners(tiers.hdd.block_alloc(2))[1].tolist() == [-1, -1]


def test_units_need_not_be_adjacent():
    """Two devices grow in turns: each owns every other unit of 2**22 blocks, and the locations say so."""
    unit, space = 2**22, BlockSpace()
    a = SwapTable(slots=unit, space=space, owners=True)
    b = SwapTable(slots=unit, space=space)
    for k in range(2, 4):
        a.resize(k * unit)
        b.resize(k * unit)
    ghost = SwapTable(slots=None, space=space)
    held = a.block_alloc(2 * unit + 600)
    assert np.unique(held >> 22).tolist() == [1, 3, 5]
    assert np.unique(b.block_alloc(unit + 5) >> 22).tolist() == [2, 4]
    slots = ghost.alloc_many(1000)
    ghost.move_many(slots, np.zeros(1000, np.uint32), held[-1000:])
    devices, blocks = ghost.resolve(slots)
    assert (devices == a.member).all() and blocks.max() >= 2 * unit
    assert np.array_equal(blocks % unit, held[-1000:] % unit) and np.array_equal(np.sort(blocks), blocks)
    members, owner = a.owners(held[-1000:])
    assert (members == ghost.member).all() and np.array_equal(owner, slots)
    a.block_free(held[:-1000])
    space.check()


def test_a_space_has_so_many_units():
    space = BlockSpace()
    SwapTable(slots=2**32 - 2**22, space=space)  # 1023 units
    with pytest.raises(SwapFullError):
        SwapTable(slots=2, space=space)
    ghost = SwapTable(slots=None, space=space)
    assert len(space) == 2 and ghost.alloc() == 1
    ghost.check()


# ---- what it costs


def bytes_of(*tables: SwapTable) -> int:
    memory = [table.memory() for table in tables]
    assert all(2 * m["total"] == sum(m.values()) for m in memory)
    return sum(m["total"] for m in memory)


@plain_build
@pytest.mark.parametrize(("owners", "most"), [(False, 12.5), (True, 16.6)])
def test_bytes_of_moved_slots(owners, most):
    """8 plain, 12 and an eighth moved, everything counted on both devices; nothing of it is left afterwards."""
    n = 2**20
    tiers = Tiers({"slots": n, "header": False}, {"slots": n, "header": False, "owners": owners})
    empty = bytes_of(tiers.ssd, tiers.hdd)
    slots = tiers.ssd.alloc_many(n)
    plain = bytes_of(tiers.ssd, tiers.hdd)
    assert plain <= 8.2 * n
    new = tiers.hdd.block_alloc(n)
    assert bytes_of(tiers.hdd) <= 0.45 * n  # a bit for those that are held, too
    tiers.ssd.move_many(slots, np.zeros(n, np.uint32), new)
    tiers.ssd.trim()
    tiers.hdd.trim()
    moved = bytes_of(tiers.ssd, tiers.hdd)
    print(f"{plain / n:.3f} plain, {moved / n:.3f} moved, owners: {owners}, the HDD {bytes_of(tiers.hdd) / n:.3f}")
    assert moved <= most * n
    assert owners or bytes_of(tiers.hdd) <= 0.3 * n
    memory = tiers.ssd.memory()
    assert memory["tables"] == 8 * n and memory["locations"] == 4 * n and memory["bitmaps"] == 0
    assert tiers.hdd.memory()["bitmaps"] == 72 * n // 512
    assert tiers.hdd.memory()["owners"] == (4 * n if owners else 0)
    # Once more to another place: the cost is the same, however many tiers it passed through.
    half = n // 4
    again = tiers.ssd.block_alloc(half)
    tiers.ssd.move_many(slots[:half], new[:half], again)
    tiers.hdd.block_free(new[:half])
    tiers.ssd.trim()
    tiers.hdd.trim()
    assert bytes_of(tiers.ssd, tiers.hdd) <= moved + 0.15 * half + 16384
    tiers.check()
    tiers.ssd.free_many(slots)
    tiers.ssd.trim()
    tiers.hdd.trim()
    left = bytes_of(tiers.ssd, tiers.hdd) - empty
    assert left <= 2 * n // 512 * 73 + 16384  # structures that were touched
    tiers.check()


@plain_build
def test_bytes_of_cold_clusters():
    """3 bytes a slot and a bit; 1 where counts and groups are the same."""
    n = 2**20
    for memcgs, name, most in ((5, "packed", 3.3), (1, "uniform", 1.3)):
        table = SwapTable(slots=n, header=False)
        for k in range(-(-n // 100)):
            table.alloc_many(100, memcg=7 + k % memcgs)
        slots = np.random.default_rng(1).permutation(n)
        table.dup_many(slots)
        table.cache_del_many(slots, np.arange(n))
        before = table.words(np.arange(n))
        done = table.compact(0)
        table.trim()
        assert done[name] == n // 512
        assert bytes_of(table) <= most * n
        print(f"{name}: {bytes_of(table) / n:.3f} bytes a slot, {done}")
        after = table.words(np.arange(n))
        shadow = np.uint64((2**42 - 1) << 1)
        assert (before & ~shadow == after & ~shadow).all()
        lost = (before & shadow) - (after & shadow) >> np.uint64(1)
        spread = (before & shadow).reshape(-1, 512) >> np.uint64(1)
        fields = 2**8 if name == "uniform" else 2**21  # of the shadow: a byte, or what 3 bits of group leave of three
        assert lost.max() <= (spread.max(1) - spread.min(1)).max() // (fields - 1)
        table.check()


@plain_build
def test_ghosts_grow_and_shrink_by_cluster():
    """One live slot a cluster, and full clusters: both measured, per slot and per cluster."""
    table = SwapTable(slots=None, header=False)
    empty = bytes_of(table)
    clusters = 1024
    firsts = table.alloc_many(clusters, 9)
    full = bytes_of(table) - empty
    assert full <= 8.2 * clusters * 512
    keep = firsts + np.arange(clusters) % 512
    table.free_many(np.setdiff1d(np.arange(clusters * 512), keep))
    table.trim()
    sparse = bytes_of(table) - empty
    print(f"ghost: {full / (clusters * 512):.3f} bytes a slot of full clusters")
    print(f"ghost: {sparse / clusters:.0f} bytes a cluster with one slot")
    assert table.usage()["used"] == clusters
    assert clusters * 4096 <= sparse <= clusters * (4096 + 64 + 8 + 1) + 8192
    table.check()
    table.free_many(keep[clusters // 2 :])
    table.trim()
    assert bytes_of(table) - empty <= clusters // 2 * (4096 + 64 + 8 + 1) + 8192
    table.free_many(keep[: clusters // 2])
    table.trim()
    assert bytes_of(table) == empty
    assert table.usage()["slots"] == 0
    table.check()


def test_a_ghosts_data_is_where_it_was_moved():
    """No blocks of its own: nothing until it is moved to a device, and nothing once that location is given up."""
    space = BlockSpace()
    ghost, ssd = SwapTable(slots=None, space=space), SwapTable(slots=2048, space=space)
    slots = ghost.alloc_many(600, memcg=2)
    assert set(ghost.resolve(slots)[0].tolist()) == {-1}
    assert ghost.block_alloc(10).size == 0 and ghost.free_blocks == ghost.blocks == 0
    with pytest.raises(ValueError, match=r"a ghost|without a size"):
        ghost.resize(100)
    new = ssd.block_alloc(600)
    ghost.move_many(slots, np.zeros(600, int), new)
    assert (ghost.resolve(slots)[0] == ssd.member).all() and ghost.usage()["moved"] == 600
    assert (ssd.usage()["lent"], ssd.free_blocks) == (600, 1447)
    ghost.dup_many(slots[:100])
    ghost.cache_del_many(slots[:100], np.arange(100))
    ghost.put_many(slots[:100])  # the last user: slot and block are both free
    assert ssd.free_blocks == 1547
    ghost.move_many(slots[100:200], ghost.locs(slots[100:200]), np.zeros(100, int))
    assert set(ghost.resolve(slots[100:200])[0].tolist()) == {-1}
    assert ssd.usage()["blocks"]["held"] == 100
    ssd.block_free(new[100:200])
    ghost.zero_set(int(slots[300]))
    assert ssd.free_blocks == 1648
    space.check()
