# A full SSD and an HDD behind it: data moves, blocks are lent and come home, in every order of events.
# Imports the package and numpy.
# Used by pytest.
from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from swaptable import BlockSpace, SlotBusyError, SwapFullError, SwapTable, pack

CLUSTER = 512
plain_build = pytest.mark.skipif(
    SwapTable(slots=2).memory()["tables"] != 4096, reason="an address sanitizer doubles the size of records"
)


class Tiers:
    """Two devices, the bytes of their blocks (here: a number each), and what every live slot must read back."""

    def __init__(self, ssd: int, hdd: int, **shape: object) -> None:
        self.space = BlockSpace()
        self.ssd = SwapTable(slots=ssd, header=False, space=self.space, **shape)
        self.hdd = SwapTable(slots=hdd, header=False, space=self.space, **shape)
        self.data = [np.zeros(ssd, np.int64), np.zeros(hdd, np.int64)]
        self.want: dict[int, int] = {}  # slot of the SSD to tag
        self.tags = 0

    def write(self, slots: np.ndarray) -> None:
        """Fresh data for cached slots, one user each, which are swapped out then."""
        tags = np.arange(self.tags + 1, self.tags + 1 + len(slots))
        self.tags += len(slots)
        devices, blocks = self.ssd.resolve(slots)
        for d in (0, 1):
            self.data[d][blocks[devices == d]] = tags[devices == d]
        assert (devices >= 0).all()
        self.want.update(zip(slots.tolist(), tags.tolist(), strict=True))
        self.ssd.dup_many(slots)
        self.ssd.cache_del_many(slots, slots & 0xFFFF)

    def read(self, slots: np.ndarray) -> np.ndarray:
        devices, blocks = self.ssd.resolve(slots)
        return np.array([self.data[d][b] for d, b in zip(devices.tolist(), blocks.tolist(), strict=True)])

    def to_hdd(self, slots: np.ndarray) -> None:
        """Write back: pin, copy, move, unpin."""
        self.ssd.cache_add_many(slots, np.full(len(slots), 9))
        at = self.ssd.locs(slots)
        homes = self.hdd.block_alloc(len(slots))
        assert len(homes) == len(slots)
        tags = self.read(slots)
        self.ssd.move_many(slots, at, homes)
        self.data[1][self.ssd.resolve(slots)[1]] = tags
        self.ssd.block_free(at[at != 0])
        self.ssd.cache_del_many(slots, slots & 0xFFFF)

    def home(self, slots: np.ndarray) -> bool:
        """Promote: back into the slots' own blocks; false when one of them is lent, and nothing has changed then."""
        self.ssd.cache_add_many(slots, np.full(len(slots), 9))
        at, tags, done = self.ssd.locs(slots), self.read(slots), 0
        try:
            for slot, loc in zip(slots.tolist(), at.tolist(), strict=True):
                self.ssd.move(slot, loc, 0)
                done += 1
        except SlotBusyError:
            self.ssd.move_many(slots[:done], np.zeros(done, np.uint32), at[:done])
        else:
            self.data[0][slots] = tags
            self.ssd.block_free(at)
        self.ssd.cache_del_many(slots, slots & 0xFFFF)
        return done == len(slots)

    def folio(self, order: int) -> np.ndarray:
        """A large folio in contiguous slots, at blocks wherever they are free."""
        first = self.ssd.alloc(order, contiguous=True)
        slots = np.arange(first, first + (1 << order))
        self.write(slots)
        return slots

    def free(self, slots: np.ndarray) -> None:
        """The last user goes."""
        self.ssd.put_many(slots)
        for slot in slots.tolist():
            del self.want[slot]

    def check(self) -> None:
        self.space.check()
        live = np.array(list(self.want), np.int64)
        assert (self.read(live) == np.array(list(self.want.values()))).all()
        devices, at = self.ssd.resolve(live)
        assert len(set(zip(devices.tolist(), at.tolist(), strict=True))) == len(live)  # nothing is owned twice
        for d, table in enumerate(self.space.tables):
            members, slots, at = self.space.owners(table)
            elsewhere = live[(devices == d) & (self.ssd.locs(live) != 0)]
            assert sorted(slots.tolist()) == sorted(elsewhere.tolist())
            assert set(members.tolist()) <= {0}
            blocks = table.usage()["blocks"]
            assert blocks["taken"] - blocks["waiting"] == len(at)


def kinds(table: SwapTable, slots: np.ndarray) -> set[str]:
    return {table.entry(slot).kind for slot in slots.tolist()}


def test_the_cycle_step_by_step():
    """16 scattered slots of a full SSD move to the HDD; their blocks serve a folio; the slots go; the blocks come home."""
    tiers = Tiers(2 * CLUSTER, 4 * CLUSTER)
    ssd, hdd = tiers.ssd, tiers.hdd
    every = ssd.alloc_many(2 * CLUSTER)
    tiers.write(every)
    with pytest.raises(SwapFullError):
        ssd.alloc(4, contiguous=True)
    moved = every[7::64]
    tiers.to_hdd(moved)
    tiers.check()
    assert ssd.usage()["blocks"]["holes"] == ssd.usage()["blocks"]["free"] == 16
    with pytest.raises(SwapFullError):
        ssd.alloc()  # a hole's block may be lent, not its slot

    folio = tiers.folio(4)
    tiers.check()
    assert ssd.resolve(folio)[1].tolist() == moved.tolist()
    assert kinds(ssd, moved) == {"shadow"}
    assert not tiers.home(moved)  # lent: the data stays on the HDD
    tiers.check()

    tiers.free(moved)
    tiers.check()
    assert kinds(ssd, moved) == {"lent"}
    assert hdd.usage()["blocks"]["taken"] == 0
    with pytest.raises(SwapFullError):
        ssd.alloc()

    tiers.free(folio)
    tiers.check()
    assert kinds(ssd, moved) == {"null"}
    assert ssd.usage()["clusters"]["past"] == 0
    assert sorted(ssd.alloc_many(99).tolist()) == moved.tolist()
    ssd.check()


@pytest.mark.parametrize("shape", [{}, {"owners": True}, {"discard": True}], ids=["plain", "owners", "discard"])
@pytest.mark.parametrize("order", list(permutations(["old", "folio", "rest", "second", "promote"])))
def test_every_order_of_events(shape, order):
    """Two halves of 32 moved slots; folios in their blocks; frees and promotions as they come."""
    tiers = Tiers(CLUSTER, 2 * CLUSTER, **shape)
    every = tiers.ssd.alloc_many(CLUSTER)
    tiers.write(every)
    moved = every[3::16]
    tiers.to_hdd(moved)
    folios = [tiers.folio(4)]
    tiers.check()
    for event in order:
        if event == "old" and moved[0] in tiers.want:
            tiers.free(moved[:16])
        elif event == "folio":
            tiers.free(folios.pop())
        elif event == "rest":
            tiers.free(np.setdiff1d(every, moved)[::3])
        elif event == "second":
            before = tiers.ssd.free_blocks
            tiers.ssd.run_discard()
            if tiers.ssd.free_blocks >= 8:
                folios.append(tiers.folio(3))
                assert tiers.ssd.free_blocks < max(before, 8) + CLUSTER
        elif event == "promote" and tiers.home(moved[16:]):
            assert (tiers.ssd.locs(moved[16:]) == 0).all()
        tiers.check()
    for folio in folios:
        tiers.free(folio)
    tiers.free(np.array(list(tiers.want)))
    for table in tiers.space.tables:
        table.run_discard()
        table.trim()
    tiers.check()
    usage = tiers.ssd.usage()
    assert (usage["used"], usage["lent"], usage["moved"], usage["blocks"]["free"]) == (0, 0, 0, CLUSTER)
    assert tiers.hdd.usage()["blocks"]["free"] == 2 * CLUSTER
    for table in tiers.space.tables:
        memory = table.memory()
        assert (memory["tables"], memory["locations"], memory["bitmaps"], memory["owners"], memory["pool"]) == (0,) * 5


@pytest.mark.parametrize("seed", range(4))
def test_at_random(seed):
    """Moves, folios of all orders, frees, promotions and new slots, with both devices nearly full all the time."""
    rng = np.random.default_rng(seed)
    tiers = Tiers(8 * CLUSTER, 4 * CLUSTER, owners=bool(seed & 1))
    tiers.write(tiers.ssd.alloc_many(8 * CLUSTER))
    for step in range(150):
        live = np.array(list(tiers.want), np.int64)
        some = rng.permutation(live)[: int(rng.integers(1, 200))]
        devices, _ = tiers.ssd.resolve(some)
        what = rng.random()
        if what < 0.35:
            here = some[devices == 0][: tiers.hdd.free_blocks]
            if len(here):
                tiers.to_hdd(here)
        elif what < 0.6:
            tiers.free(some)
        elif what < 0.9:
            order = int(rng.integers(0, 10))
            enough = tiers.ssd.free_blocks >= 1 << order
            try:
                tiers.folio(order)
                assert enough
            except SwapFullError:
                assert not enough
        else:
            there = some[(devices == 1) & (some < 2**32)]
            if len(there):
                tiers.home(there)
        if step % 10 == 0:
            tiers.check()
    tiers.check()
    tiers.free(np.array(list(tiers.want)))
    tiers.check()
    assert tiers.ssd.free_blocks == 8 * CLUSTER
    assert tiers.hdd.free_blocks == 4 * CLUSTER


def test_down_two_tiers_and_back():
    """An entry that was given out once names its data on three devices in turn; each device knows only its blocks."""
    space = BlockSpace()
    front = SwapTable(slots=None, header=False, space=space)
    ssd, hdd = (SwapTable(slots=n, space=space) for n in (2048, 4096))
    slots = front.alloc_many(1000)
    front.dup_many(slots)
    assert (front.resolve(slots)[0] == -1).all()  # a ghost has no blocks
    at = np.zeros(1000, np.uint32)
    for device in (ssd, hdd, ssd):
        homes = device.block_alloc(1000)
        front.move_many(slots, at, homes)
        front.block_free(at[at != 0])
        at = homes
        assert (front.resolve(slots)[0] == device.member).all()
        assert front.memory()["locations"] == 2 * front.memory()["tables"] // 4
        space.check()
    assert hdd.usage()["blocks"]["taken"] == 0
    front.cache_del_many(slots)
    front.put_many(slots)
    space.check()
    assert ssd.usage()["blocks"]["taken"] == 0


# ---- what it costs

SLOTS = 2**20


def total(*tables: SwapTable) -> float:
    """Bytes a slot of 2^20."""
    return sum(table.memory()["total"] for table in tables) / SLOTS


@plain_build
@pytest.mark.parametrize(("owners", "least", "most"), [(False, 12.4, 12.55), (True, 16.4, 16.6)])
def test_bytes_of_moved_slots(owners, least, most):
    space = BlockSpace()
    front = SwapTable(slots=SLOTS, header=False, space=space)
    back = SwapTable(slots=SLOTS, header=False, space=space, owners=owners)
    slots = front.alloc_many(SLOTS)
    assert total(front) <= 8.2
    front.move_many(slots, np.zeros(SLOTS, np.uint32), back.block_alloc(SLOTS))
    front.trim()
    back.trim()
    assert least <= total(front, back) <= most
    assert total(back) <= (4.3 if owners else 0.3)
    memory = front.memory()
    assert (memory["tables"], memory["locations"], memory["bitmaps"]) == (8 * SLOTS, 4 * SLOTS, 0)
    space.check()
    front.free_many(slots)
    for table in (front, back):
        table.trim()
        assert table.memory()["total"] - table.memory()["clusters"] < 8192  # all but the kernel's order of clusters
    space.check()


@plain_build
def test_bytes_of_a_ghost():
    """Nothing before it is used; a table for each cluster with a live slot; shrinks by cluster."""
    ghost = SwapTable(slots=None, header=False)
    assert ghost.memory()["total"] < 8192
    slots = ghost.alloc_many(SLOTS)
    assert total(ghost) <= 8.2
    ghost.free_many(slots.reshape(-1, CLUSTER)[:, 1:].ravel())
    ghost.trim()
    assert 4096 <= total(ghost) * SLOTS / (SLOTS / CLUSTER) <= 4096 + 80
    ghost.free_many(slots[::CLUSTER])
    ghost.trim()
    assert ghost.memory()["total"] < 8192
    ghost.check()


@plain_build
@pytest.mark.parametrize("uniform", [False, True])
def test_bytes_of_cold_clusters(uniform):
    table = SwapTable(slots=SLOTS, header=False)
    slots = np.concatenate([table.alloc_many(SLOTS // 2, memcg=m) for m in (1, 1 if uniform else 2)])
    table.dup_many(slots)
    if not uniform:
        table.dup_many(slots[::5])
    table.cache_del_many(slots, np.arange(SLOTS))
    words = table.words(slots)
    done = table.compact(0)
    table.trim()
    assert done["packed"] + done["uniform"] == SLOTS // CLUSTER
    assert total(table) <= (1.3 if uniform else 3.3)
    same = np.uint64(pack("shadow", count=15, zero=True, memcg=0xFFFF))
    assert ((table.words(slots) & same) == (words & same)).all()
    table.check()
