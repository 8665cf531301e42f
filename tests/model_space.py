# The reference model of a space of blocks: tables whose slots have their data anywhere in it; dicts, sets and ints.
# Imports the standard library, model.py and the package's exceptions; nothing that it is compared with.
# Used by the state machine of spaces.
"""What must be true of SwapTables that share a BlockSpace, without saying which slot or block is chosen.

How to read it: `Table.slots` has the slots in use, past the end too; a slot's data is at its `loc`, a pair (table,
block), or at its own number. `Table.taken` has the blocks that are taken through locations and whose they are: a
slot's, HELD by whoever asked for them, or WAITING for their discard. Everything else follows. A choice that the core
made is adopted: looked at, refused when it breaks a rule, and written down.
"""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass
from typing import Any

import model
from model import CLUSTER, MAX_SLOTS, expect, refuse

PAST = 2**32
LENT, BAD = 8, model.BAD
HELD, WAITING = "held", "waiting"
PACKED_BYTES, UNIFORM_BYTES = 32 + 3 * CLUSTER, 32 + CLUSTER
SOURCES = ("hole", "partly", "receive", "free")


@dataclass
class Page(model.Slot):
    """A slot in use: where its data is if not in its own block, and the tag that was written there."""

    loc: tuple[int, int] | None = None
    tag: int | None = None


class Space:
    """Tables by number, what is on their blocks, and which locations the core gave which units."""

    def __init__(self) -> None:
        self.tables: list[Table] = []
        self.disk: dict[tuple[int, int], int] = {}
        self.units: dict[int, int] = {}  # unit of locations: table
        self.next_tag = 1

    def locate(self, loc: int) -> tuple[int, int] | None:
        """(table, block) of a location."""
        return (self.units[loc >> 22], loc & 2**22 - 1) if loc >> 22 in self.units else None

    def learn(self, loc: int, member: int) -> tuple[int, int]:
        """A location that the core says is a block of *member*'s."""
        assert loc >> 22 and self.units.setdefault(loc >> 22, member) == member, (loc, member, self.units)
        return self.locate(loc)

    def write(self, table: Table, slot: int) -> None:
        """Put a new tag where the slot's data belongs, if it has a place."""
        page, at = table.slots[slot], table.where(slot)
        page.tag = None
        if at is not None:
            page.tag = self.disk[at] = self.next_tag
            self.next_tag += 1

    def home(self, at: tuple[int, int]) -> None:
        """A block that somebody's location named, or that was held, comes home."""
        table = self.tables[at[0]]
        if table.discard:
            table.taken[at[1]] = WAITING
        else:
            table.give(at[1])


class Table(model.Table):
    """The model of one SwapTable; users and swap cache are those of model.Table."""

    def __init__(
        self,
        space: Space,
        slots: int | None,
        cpus: int = 1,
        header: bool = True,
        bad: Any = (),
        block: bool = True,
        rotational: bool = False,
        discard: bool = False,
        owners: bool = False,
    ) -> None:
        self.space, self.member = space, len(space.tables)
        space.tables.append(self)
        self.grows = slots is None
        self.size = MAX_SLOTS // CLUSTER * CLUSTER if slots is None else slots  # of the front end
        self.blocks = 0 if slots is None else slots
        self.cpus, self.block, self.rotational, self.discard, self.owners = cpus, block, rotational, discard, owners
        self.slots: dict[int, Page] = {}
        self.bad = {*bad, *([0] if header else [])}  # for ever; slots beyond the device are bad too, see word()
        self.taken: dict[int, Any] = {}
        self.live: Counter[int] = Counter()  # slots in use, by cluster
        self.lent: Counter[int] = Counter()  # blocks taken, by cluster
        self.tabled = {b // CLUSTER for b in self.bad}  # clusters with a table
        if self.blocks % CLUSTER:
            self.tabled.add(self.blocks // CLUSTER)
        self.discards: set[int] = set()  # clusters that wait for their discard
        self.packed: dict[int, int] = {}  # clusters, and the bytes of their records
        self.owned: set[int] = set()  # clusters that keep owners
        self.past_limit = 2**23
        self.past_order: dict[int, int] = {}  # of clusters past the end: what they were made for
        self.past_peak = 0

    # -- what is where

    def own(self, slot: int) -> bool:
        """Has the slot a block of its number?"""
        return slot < PAST and not self.grows

    def where(self, slot: int) -> tuple[int, int] | None:
        """Where the data of a slot belongs; None when it has none."""
        page = self.slots.get(slot)
        if page is None or page.zero:
            return None
        return page.loc or ((self.member, slot) if self.own(slot) else None)

    def is_hole(self, slot: int) -> bool:
        """A slot in use whose own block has no data of its."""
        return self.own(slot) and (self.slots[slot].zero or self.slots[slot].loc is not None)

    def holes(self) -> int:
        return sum(self.is_hole(slot) for slot in self.slots)

    def usable(self) -> int:
        return self.blocks - sum(b < self.blocks for b in self.bad)

    def past(self) -> set[int]:
        return {i for i in self.tabled if i >= PAST // CLUSTER}

    def blocks_used(self) -> int:
        return sum(map(self.own, self.slots)) - self.holes() + len(self.taken)

    def blocks_free(self) -> int:
        """Those that can be taken: not in clusters that wait for their discard."""
        return 0 if self.grows else self.usable() - self.blocks_used() - CLUSTER * len(self.discards)

    def source(self, block: int) -> str | None:
        """Where the core finds a free block; None when it is not free."""
        i = block // CLUSTER
        if block in self.bad or block in self.taken or i in self.discards or not 0 <= block < self.blocks:
            return None
        if block in self.slots:
            return "hole" if self.is_hole(block) else None
        return "partly" if i in self.tabled else "receive" if self.lent[i] else "free"

    def sources(self) -> Counter[str]:
        """Free blocks by source."""
        got = Counter(self.source(b) for b in range(self.blocks))
        del got[None]
        return got

    def greedy(self, n: int) -> Counter[str]:
        """How many of *n* blocks come from which source."""
        have, want = self.sources(), Counter()
        for name in SOURCES:
            want[name] = min(n, have[name])
            n -= want[name]
        return +want

    def word(self, slot: int) -> int:
        if slot in self.slots:
            return self.slots[slot].word()
        if slot // CLUSTER not in self.tabled or slot >= PAST:
            return 0
        if slot in self.taken:
            return LENT
        return BAD if slot in self.bad or (slot >= self.blocks and not self.grows) else 0

    def __getitem__(self, slot: int) -> int:
        expect(self._in_range(slot), "slot out of range")
        return self.word(slot)

    def free_run(self, order: int, clusters: Any = None) -> bool:
        """Is there an aligned run of free slots in *clusters*, by default those of the device?"""
        nr = 1 << order
        inside = range(-(-self.blocks // CLUSTER))
        for i in inside if clusters is None else clusters:
            if i in self.discards:
                continue
            for first in range(i * CLUSTER, (i + 1) * CLUSTER, nr):
                run = range(first, first + nr)
                if all(self.word(s) == 0 and s not in self.taken and (s >= PAST or s < self.blocks) for s in run):
                    return True
        return False

    # -- clusters

    def _emptied(self, i: int) -> None:
        """Slots or blocks of a cluster became free: it may need no table any more, and may wait for its discard."""
        if self.live[i] or self.lent[i]:
            return
        self.owned.discard(i)
        if i not in self.tabled:
            return  # without a table since it was free: every block was discarded on its way home
        if i >= PAST // CLUSTER or i * CLUSTER >= self.blocks > 0:
            self.tabled.discard(i)
        elif not any(b // CLUSTER == i for b in self.bad) and (self.grows or (i + 1) * CLUSTER <= self.blocks):
            self.tabled.discard(i)
            if self.discard:
                self.discards.add(i)

    def give(self, block: int) -> None:
        """A block is nobody's any more."""
        del self.taken[block]
        i = block // CLUSTER
        self.lent[i] -= 1
        if self.lent[i] == 0:
            self.owned.discard(i)
        self._emptied(i)

    def take(self, block: int, owner: Any) -> None:
        assert self.source(block), f"block {block} was taken, but it was not free"
        self.taken[block] = owner
        self.lent[block // CLUSTER] += 1

    def own_it(self, at: tuple[int, int], slot: int) -> None:
        """A block serves a slot of this table."""
        table = self.space.tables[at[0]]
        table.taken[at[1]] = (self.member, slot)
        if table.owners:
            table.owned.add(at[1] // CLUSTER)

    def _drop(self, gone: list[int]) -> None:
        for slot in gone:
            page = self.slots.pop(slot)
            self.live[slot // CLUSTER] -= 1
            if page.loc is not None:
                self.space.home(page.loc)
        for i in {slot // CLUSTER for slot in gone}:
            self._emptied(i)

    # -- adopting what the core chose

    def adopt(self, first: int, order: int, places: list, pfn: int, memcg: int) -> None:
        """A run that the core allocated; *places*: (table, block) of each slot's location, or None."""
        run = range(first, first + (1 << order))
        assert first % len(run) == 0
        assert all(s not in self.slots for s in run), f"{run} is in use"
        if first < PAST:
            for s in run:
                assert self.word(s) == 0 and s not in self.taken and self._in_range(s), f"slot {s} was given out"
                assert self.grows or s < self.blocks
            assert places == [None] * len(run)
            assert first // CLUSTER not in self.discards
        else:
            assert not self.grows
            assert None not in places and len(set(places)) == len(run), f"{places} for {run}"
        for s, at in zip(run, places, strict=True):
            self.slots[s] = Page("folio", 0, False, memcg, pfn, at)
            if at is not None:
                assert at[0] == self.member
                self.take(at[1], None)
                self.own_it(at, s)
        if first >= PAST and first // CLUSTER not in self.tabled:
            self.past_order[first // CLUSTER] = order
        self.live[first // CLUSTER] += len(run)
        self.tabled.add(first // CLUSTER)
        self.past_peak = max(self.past_peak, len(self.past()))
        for s in run:
            self.space.write(self, s)

    # -- users: model.Table's, but a slot may be LENT, and a packed cluster gets its words back

    def touch(self, slot: int) -> None:
        self.packed.pop(slot // CLUSTER, None)

    def _run(self, slot: int, nr: int) -> list[Page]:
        expect(1 <= nr <= CLUSTER, "nr")
        expect(self._in_range(slot), "slot out of range")
        self.touch(slot)
        expect(slot % CLUSTER + nr <= CLUSTER, "the run crosses the end of its cluster")
        for i in range(slot, slot + nr):
            if i not in self.slots:
                refuse(errno.ENOENT if self.word(i) == 0 else errno.EINVAL, f"slot {i}")
        return [self.slots[i] for i in range(slot, slot + nr)]

    def _each(self, slot: int, nr: int, unfit: Any) -> None:
        expect(1 <= nr <= CLUSTER, "nr")
        expect(self._in_range(slot), "slot out of range")
        self.touch(slot)
        expect(slot % CLUSTER + nr <= CLUSTER, "the run crosses the end of its cluster")
        for i in range(slot, slot + nr):
            if i not in self.slots:
                refuse(errno.ENOENT if self.word(i) == 0 else errno.EINVAL, f"slot {i}")
            if err := unfit(self.slots[i]):
                refuse(err, f"slot {i}")

    def zero_set(self, slot: int, nr: int = 1) -> None:
        for page in self._run(slot, nr):
            if page.loc is not None:
                self.space.home(page.loc)
            page.zero, page.loc, page.tag = True, None, None

    def has_place(self, slot: int) -> bool:
        return not self.own(slot) or (slot not in self.taken and slot < self.blocks)

    def zero_clear(self, slot: int, nr: int = 1) -> None:
        at = iter(range(slot, slot + nr))
        self._each(slot, nr, lambda page: 0 if self.has_place(next(at)) or not page.zero else errno.EBUSY)
        for i in range(slot, slot + nr):
            if self.slots[i].zero:
                self.slots[i].zero = False
                self.space.write(self, i)

    # -- locations

    def move(self, slot: int, old: int, new: int) -> None:
        """The data is the caller's to write."""
        expect(self._in_range(slot), "slot out of range")
        expect(0 <= old < 2**32 and 0 <= new < 2**32, "a location")
        to = self.space.locate(new)
        if new and new != old:
            expect(to is not None and self.space.tables[to[0]].taken.get(to[1]) == HELD, "a block that is held")
        page = self.slots.get(slot)
        if page is None or page.kind != "folio":
            refuse(errno.ENOENT if page is not None or self.word(slot) == 0 else errno.EINVAL, f"slot {slot}")
        was = self.space.locate(old)
        if page.loc != was or (old and was is None):
            refuse(errno.ESTALE, f"slot {slot}")
        if old == new:
            return
        if new == 0 and not self.has_place(slot):
            refuse(errno.EBUSY, f"slot {slot}")
        if was is not None:
            self.space.tables[was[0]].taken[was[1]] = HELD
        page.loc, page.zero, page.tag = to, False, page.tag if to or self.own(slot) else None
        if to is not None:
            self.own_it(to, slot)

    def move_many(self, slots: Any, old: Any, new: Any) -> None:
        expect(len(old) == len(new) == len(slots), "locations")
        self._many(slots, lambda k, slot: self.move(slot, int(old[k]), int(new[k])))

    def block_free(self, locs: Any) -> None:
        expect(all(0 <= loc < 2**32 for loc in locs), "locations")
        self._many(locs, lambda k, loc: self._block_free(loc))

    def _block_free(self, loc: int) -> None:
        at = self.space.locate(loc)
        if at is None or self.space.tables[at[0]].taken.get(at[1]) != HELD:
            refuse(errno.ENOENT, f"location {loc}")
        self.space.home(at)

    # -- cold clusters

    def compact(self, min_age: int, now: int | None, max_error: int | None) -> dict[int, int]:
        """Clusters to be packed and how much a shadow of each may lose; the words are the core's to say."""
        shadows = [page.value for slot, page in self.slots.items() if page.kind == "shadow" and slot < PAST]
        now = max(shadows, default=0) if now is None else now
        most = 2**42 if max_error is None else max_error
        found = {}
        for i in [i for i, n in self.live.items() if n == CLUSTER and i < PAST // CLUSTER and i not in self.packed]:
            pages = [self.slots[s] for s in range(i * CLUSTER, (i + 1) * CLUSTER)]
            cold = all(p.kind == "shadow" and p.users < 15 and not p.zero and p.loc is None for p in pages)
            if not cold or self.lent[i] or not all((now - p.value) % 2**42 >= min_age for p in pages):
                continue
            error, size = self.loss(pages)
            if error <= most:
                found[i] = error
                self.packed[i] = size
        return found

    @staticmethod
    def loss(pages: list[Page]) -> tuple[int, int]:
        """How much a shadow may lose in the packed form of a cluster, and the bytes of that."""
        spread = max(p.value for p in pages) - min(p.value for p in pages)
        counts = (max(p.users for p in pages) - min(p.users for p in pages)).bit_length()
        ids = len({p.memcg for p in pages})
        memcgs = (ids - 1).bit_length() if ids <= 8 else 16
        uniform = counts == memcgs == 0
        bits = 8 if uniform else 24 - counts - memcgs
        return (1 << max(spread.bit_length() - bits, 0)) - 1, UNIFORM_BYTES if uniform else PACKED_BYTES

    # -- the size of the device

    def in_the_way(self, blocks: int) -> tuple[list[tuple[Table, int]], int]:
        """Slots whose data a smaller device must move, and how many blocks nobody can move now."""
        found, stuck = [], 0
        for slot, page in self.slots.items():
            if self.own(slot) and slot >= blocks and not self.is_hole(slot):
                found, stuck = (([*found, (self, slot)], stuck) if page.kind == "shadow" else (found, stuck + 1))
        for block, owner in self.taken.items():
            if block >= blocks and isinstance(owner, tuple):
                table = self.space.tables[owner[0]]
                if table.slots[owner[1]].kind == "shadow":
                    found.append((table, owner[1]))
                    stuck += self.discard  # the block that it leaves waits for its discard
                else:
                    stuck += 1
            elif block >= blocks:
                stuck += 1
        return found, stuck

    def resized(self, blocks: int) -> None:
        """The device has another size; what was in the way has been adopted elsewhere."""
        was, self.blocks = self.blocks, blocks
        if blocks == was:
            return
        edge = {blocks // CLUSTER} if blocks % CLUSTER else set()
        if blocks > was:
            self.size = max(self.size, blocks)
            self.tabled |= edge | {b // CLUSTER for b in self.bad if b < blocks}
            if was % CLUSTER:
                self._reopened(was // CLUSTER)
            return
        self.discards = {i for i in self.discards if i * CLUSTER < blocks}
        self.tabled |= edge
        self.discards -= edge
        self.tabled = {i for i in self.tabled if i * CLUSTER < blocks or self.live[i]}
        kept = max((slot for slot in self.slots if slot < PAST), default=0)
        self.size = max((kept // CLUSTER + 1) * CLUSTER, blocks) if kept >= blocks else blocks

    def _reopened(self, i: int) -> None:
        """A cluster that the end of the device cut may be wholly free now; its new blocks were never used."""
        before = set(self.discards)
        self._emptied(i)
        self.discards = before

    # -- owners

    def owner_of(self, block: int) -> tuple[int, int]:
        """(table, slot) of a block, (-1, -1) when it is nobody's."""
        owner = self.taken.get(block)
        return owner if isinstance(owner, tuple) else (-1, -1)

