# The reference model of a swap table and of a list of devices: dicts, lists and ints; slow and obviously right.
# Imports the standard library and the package's exceptions; nothing that it is compared with.
# Used by the state machine, the campaign and the vectors.
"""SwapTable's API on plain Python, with the kernel's rules, so that every offset it chooses is predicted.

How to read it: a slot in use is a `Slot` in a dict; a free slot is absent. A cluster is the set of its slots as the
bits of one int, the order that it was taken for, and the list it is on. A list is a Python list of cluster numbers, its
head first. A cursor is (table, slot after the last allocation) in a dict by (cpu, order).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from typing import Any

from swaptable.errors import SwapError, raise_errno

CLUSTER = 512
ORDERS = 10
ALL_TAKEN = (1 << CLUSTER) - 1
MAX_SLOTS = 2**32 - 1
MAX_USERS = 2**32 - 1
MAX_CPUS = 8192
MAX_PFN = 2**41 - 1
MAX_SHADOW = 2**42 - 1
MAX_MEMCG = 2**16 - 1
NULL, BAD = 0, 2**64 - 8


def refuse(err: int, why: str) -> None:
    """Raise the package's exception of *err*."""
    raise_errno(err, why)


def expect(ok: bool, why: str) -> None:
    """EINVAL unless *ok*."""
    if not ok:
        refuse(errno.EINVAL, why)


@dataclass
class Slot:
    """A slot in use."""

    kind: str = "folio"
    users: int = 0
    zero: bool = False
    memcg: int = 0
    value: int = 0  # pfn of a folio, shadow of a slot that is swapped out

    def word(self) -> int:
        """The 8-byte word; a count of 15 stands for all from 15 up."""
        low = self.value << 2 | 2 if self.kind == "folio" else self.value << 1 | 1
        return min(self.users, 15) << 60 | self.zero << 59 | self.memcg << 43 | low


@dataclass
class Cluster:
    """512 slots: one bit each for those in use (bad ones too), an order, and the list it is on."""

    taken: int = 0
    order: int = 0
    home: list[int] | None = None


class Table:
    """The model of SwapTable: the same methods, arguments, results and exceptions."""

    def __init__(
        self,
        slots: int | None = 262144,
        cpus: int = 1,
        header: bool = True,
        bad: Any = (),
        block: bool = True,
        rotational: bool = False,
        discard: bool = False,
    ) -> None:
        expect(slots is None or 1 <= slots <= MAX_SLOTS, "slots")
        expect(1 <= cpus <= MAX_CPUS, "cpus")
        self.grows = slots is None
        self.size = MAX_SLOTS // CLUSTER * CLUSTER if slots is None else slots
        self.cpus, self.block, self.rotational, self.discard = cpus, block, rotational, discard
        self.slots: dict[int, Slot] = {}
        self.bad = {0} if header else set()
        for slot in bad:
            expect(0 <= slot < self.size and slot not in self.bad, "bad")
            self.bad.add(slot)
        self.usable = self.size - len(self.bad)
        expect(self.usable > 0, "slots")

        self.free_list: list[int] = []
        self.discards: list[int] = []
        self.full: list[int] = []
        self.nonfull: list[list[int]] = [[] for _ in range(ORDERS)]
        self.frag: list[list[int]] = [[] for _ in range(ORDERS)]
        self.cursors: dict[tuple[int, int], tuple[Table, int]] = {}  # a list of devices puts its own here
        self.own_cursors: dict[int, tuple[Table, int]] = {}  # of a rotational device, by order
        self.clusters: dict[int, Cluster] = {}
        self.nr_clusters = -(-self.size // CLUSTER)
        self.fresh = 0  # a table that grows: clusters from here on were not made yet
        self.touched = 0  # clusters that were in use at some time
        self._swapon()

    def _swapon(self) -> None:
        """Place the clusters: with unusable slots nonfull[0], without usable ones full, the others free."""
        unusable: dict[int, int] = {}
        for slot in [*self.bad, *range(self.size, self.nr_clusters * CLUSTER)]:
            unusable[slot // CLUSTER] = unusable.get(slot // CLUSTER, 0) | 1 << slot % CLUSTER
        for i in sorted(unusable) if self.grows else range(self.nr_clusters):
            if i in unusable:
                self.touched += 1
                self.clusters[i] = Cluster(taken=unusable[i])
                self._move(i, self.full if unusable[i] == ALL_TAKEN else self.nonfull[0])
            else:
                self.clusters[i] = Cluster()
                self._move(i, self.free_list)
        self.ever_used = set(unusable)

    # -- lists

    def _move(self, i: int, home: list[int]) -> None:
        """To the tail of another list."""
        cluster = self.clusters[i]
        if cluster.home is not None:
            cluster.home.remove(i)
        home.append(i)
        cluster.home = home

    def _take_head(self, home: list[int]) -> int:
        """Off the list, and on none."""
        i = home.pop(0)
        self.clusters[i].home = None
        return i

    def _is_on(self, i: int, lists: list[list[int]]) -> bool:
        return i in self.clusters and any(self.clusters[i].home is one for one in lists)  # trim() may have forgotten it

    # -- allocation

    def alloc(self, order: int = 0, cpu: int = 0, pfn: int = 0, memcg: int = 0) -> int:
        expect(0 <= order < ORDERS, "order")
        expect(0 <= pfn <= MAX_PFN and 0 <= memcg <= MAX_MEMCG, "pfn or memcg")
        expect(0 <= cpu < self.cpus, "cpu")
        slot = None
        if self.block or order == 0:
            if not self.rotational:
                slot = self.from_cursor(self.cursors, (cpu, order), order)
            if slot is None:
                slot = self.search(self.cursors, (cpu, order), order)
        if slot is None:
            refuse(errno.ENOSPC, f"no room at order {order}")
        self.fill(slot, order, pfn, memcg)
        return slot

    def fill(self, slot: int, order: int, pfn: int = 0, memcg: int = 0) -> None:
        """The words of a run that was just taken."""
        for i in range(slot, slot + (1 << order)):
            self.slots[i] = Slot("folio", 0, False, memcg, pfn)

    def from_cursor(self, cursors: dict, key: Any, order: int) -> int | None:
        """Rule 1: the cursor's cluster, from the cursor to its end."""
        if key not in cursors:
            return None
        table, at = cursors[key]
        i = at // CLUSTER
        if not table._is_on(i, table.nonfull + table.frag):
            return None
        if order and table.clusters[i].order != order:
            return None
        return table._scan(i, at % CLUSTER, cursors, key, order)

    def search(self, cursors: dict, key: Any, order: int) -> int | None:
        """Rule 3: the lists, in the kernel's order."""
        slot = None
        if self.rotational:
            cursors, key = self.own_cursors, order
            slot = self.from_cursor(cursors, key, order)
        steps = [self._search_nonfull, self._search_free, self._search_frag, self._grow, self._steal]
        if self.discard:
            steps[:2] = steps[1::-1]
        for step in steps:
            if slot is None:
                slot = step(cursors, key, order)
        return slot

    def _search_nonfull(self, cursors: dict, key: Any, order: int) -> int | None:
        slot = None
        while slot is None and self.nonfull[order] and order < 9:
            slot = self._scan(self._take_head(self.nonfull[order]), 0, cursors, key, order)
        return slot

    def _search_free(self, cursors: dict, key: Any, order: int) -> int | None:
        if not self.free_list:
            return None
        i = self._take_head(self.free_list)
        self.clusters[i].order = order
        if i not in self.ever_used:
            self.ever_used.add(i)
            self.touched += 1
        return self._scan(i, 0, cursors, key, order)

    def _search_frag(self, cursors: dict, key: Any, order: int) -> int | None:
        if not self.frag[order] or order == 9:
            return None
        return self._scan(self._take_head(self.frag[order]), 0, cursors, key, order)

    def _grow(self, cursors: dict, key: Any, order: int) -> int | None:
        """A table without a size makes its next cluster before it takes slots from another order's."""
        while self.fresh in self.clusters:
            self.fresh += 1
        if not self.grows or self.fresh == self.nr_clusters:
            return None
        self.clusters[self.fresh] = Cluster()
        self._move(self.fresh, self.free_list)
        self.fresh += 1
        return self._search_free(cursors, key, order)

    def _steal(self, cursors: dict, key: Any, order: int) -> int | None:
        """Order 0 alone: single slots of the clusters of larger orders."""
        for o in range(1, ORDERS) if order == 0 else ():
            for home in (self.frag[o], self.nonfull[o]):
                if home:  # a cluster on these lists has a free slot: the first one serves
                    return self._scan(self._take_head(home), 0, cursors, key, order)
        return None

    def _scan(self, i: int, start: int, cursors: dict, key: Any, order: int) -> int | None:
        """The first aligned free run from *start* on is taken; the cluster goes to where it then belongs."""
        cluster, nr = self.clusters[i], 1 << order
        run = (1 << nr) - 1
        cursors.pop(key, None)
        slot = None
        for off in range(start, CLUSTER, nr):
            if cluster.taken & run << off == 0:
                cluster.taken |= run << off
                slot = i * CLUSTER + off
                if cluster.taken != ALL_TAKEN and off + 2 * nr <= CLUSTER:
                    cursors[key] = (self, slot + nr)
                break
        if cluster.taken == ALL_TAKEN:
            self._move(i, self.full)
        elif not self._is_on(i, self.frag):
            self._move(i, self.frag[cluster.order])
        return slot

    def alloc_many(self, n: int, order: int = 0, cpu: int = 0, pfns: Any = None, memcg: int = 0) -> list[int]:
        expect(0 <= order < ORDERS and n >= 0, "order or n")
        expect(0 <= cpu < self.cpus, "cpu")
        expect(0 <= memcg <= MAX_MEMCG, "memcg")
        expect(pfns is None or (len(pfns) == n and all(0 <= p <= MAX_PFN for p in pfns)), "pfns")
        slots: list[int] = []
        for k in range(n):
            try:
                slots.append(self.alloc(order, cpu, 0 if pfns is None else int(pfns[k]), memcg))
            except SwapError:
                break
        return slots

    # -- users, the swap cache, freeing

    def _run(self, slot: int, nr: int) -> list[Slot]:
        """The slots of a run, all of them in use; the first that is not says why it is refused."""
        expect(1 <= nr <= CLUSTER, "nr")
        expect(self._in_range(slot), "slot out of range")
        expect(slot % CLUSTER + nr <= CLUSTER, "the run crosses the end of its cluster")
        run = []
        for i in range(slot, slot + nr):
            expect(self._in_range(i) and i not in self.bad, "a bad slot")
            if i not in self.slots:
                refuse(errno.ENOENT, "a free slot")
            run.append(self.slots[i])
        return run

    def _drop(self, gone: list[int]) -> None:
        """Slots of one cluster become free."""
        if not gone:
            return
        i = gone[0] // CLUSTER
        cluster = self.clusters[i]
        for slot in gone:
            del self.slots[slot]
            cluster.taken &= ~(1 << slot % CLUSTER)
        if cluster.taken == 0:
            cluster.order = 0
            self._move(i, self.discards if self.discard else self.free_list)
        elif not self._is_on(i, self.nonfull):
            self._move(i, self.nonfull[cluster.order])

    def _settle(self, slot: int, nr: int) -> None:
        """Free those of a run that are neither cached nor have users."""
        run = range(slot, slot + nr)
        self._drop([i for i in run if self.slots[i].kind == "shadow" and self.slots[i].users == 0])

    # Each run is looked at slot by slot; the first slot that is unfit decides the error, and nothing has changed then.

    def free(self, slot: int, nr: int = 1) -> None:
        self._run(slot, nr)
        self._drop(list(range(slot, slot + nr)))

    def dup(self, slot: int, nr: int = 1, users: int = 1) -> None:
        expect(0 <= users <= MAX_USERS, "users")
        self._each(slot, nr, lambda s: errno.EOVERFLOW if s.users + users > MAX_USERS else 0)
        for s in self._run(slot, nr):
            s.users += users

    def put(self, slot: int, nr: int = 1, users: int = 1) -> None:
        expect(0 <= users <= MAX_USERS, "users")
        self._each(slot, nr, lambda s: errno.ENOENT if s.users < users else 0)
        for s in self._run(slot, nr):
            s.users -= users
        self._settle(slot, nr)

    def cache_add(self, slot: int, pfn: int, nr: int = 1) -> Any:
        old = self._cache_add(slot, pfn, nr)
        return old[0] if nr == 1 else old

    def _cache_add(self, slot: int, pfn: int, nr: int) -> list[int]:
        expect(0 <= pfn <= MAX_PFN, "pfn")
        self._each(slot, nr, lambda s: errno.EEXIST if s.kind == "folio" else 0)
        run = self._run(slot, nr)
        old = [s.word() for s in run]
        for s in run:
            s.kind, s.value = "folio", pfn
        return old

    def cache_del(self, slot: int, shadow: int = 0, nr: int = 1) -> None:
        expect(0 <= shadow <= MAX_SHADOW, "shadow")
        self._each(slot, nr, lambda s: errno.ENOENT if s.kind == "shadow" else 0)
        for s in self._run(slot, nr):
            s.kind, s.value = "shadow", shadow
        self._settle(slot, nr)

    def zero_set(self, slot: int, nr: int = 1) -> None:
        for s in self._run(slot, nr):
            s.zero = True

    def zero_clear(self, slot: int, nr: int = 1) -> None:
        for s in self._run(slot, nr):
            s.zero = False

    def _each(self, slot: int, nr: int, unfit: Any) -> None:
        """Refuse the run at its first slot that is not in use or is unfit, whichever comes first."""
        expect(1 <= nr <= CLUSTER, "nr")
        expect(slot % CLUSTER + nr <= CLUSTER or not self._in_range(slot), "the run crosses the end of its cluster")
        for i in range(slot, slot + nr):
            err = unfit(self._run(i, 1)[0])
            if err:
                refuse(err, f"slot {i}")

    # -- batches: the single call for each element, until one is refused

    def _many(self, slots: Any, one: Any) -> list:
        out = []
        for k, slot in enumerate(slots):
            try:
                out.append(one(k, int(slot)))
            except SwapError as err:
                err.index = err.done = k
                raise
        return out

    def free_many(self, slots: Any, nr: int = 1) -> None:
        expect(1 <= nr <= CLUSTER, "nr")
        self._many(slots, lambda k, slot: self.free(slot, nr))

    def dup_many(self, slots: Any, nr: int = 1) -> None:
        expect(1 <= nr <= CLUSTER, "nr")
        self._many(slots, lambda k, slot: self.dup(slot, nr))

    def put_many(self, slots: Any, nr: int = 1) -> None:
        expect(1 <= nr <= CLUSTER, "nr")
        self._many(slots, lambda k, slot: self.put(slot, nr))

    def cache_add_many(self, slots: Any, pfns: Any, nr: int = 1) -> list[int]:
        expect(1 <= nr <= CLUSTER and len(pfns) == len(slots), "nr or pfns")
        runs = self._many(slots, lambda k, slot: self._cache_add(slot, int(pfns[k]), nr))
        return [word for run in runs for word in run]

    def cache_del_many(self, slots: Any, shadows: Any = None, nr: int = 1) -> None:
        expect(1 <= nr <= CLUSTER and (shadows is None or len(shadows) == len(slots)), "nr or shadows")
        self._many(slots, lambda k, slot: self.cache_del(slot, 0 if shadows is None else int(shadows[k]), nr))

    # -- reading

    def _in_range(self, slot: int) -> bool:
        """Past the end all have numbers, 2**32 and up; a table that grows has no end."""
        return 0 <= slot < self.size or (2**32 <= slot < 2**33 and not self.grows)

    def __getitem__(self, slot: int) -> int:
        expect(self._in_range(slot), "slot out of range")
        if slot in self.bad:
            return BAD
        return self.slots[slot].word() if slot in self.slots else NULL

    def words(self, slots: Any) -> list[int]:
        return self._many(slots, lambda k, slot: self[slot])

    def entry(self, slot: int) -> tuple:
        """(kind, count, zero, memcg, pfn, shadow)"""
        word = self[slot]
        if word in (NULL, BAD):
            return ("null" if word == NULL else "bad"), 0, False, 0, None, None
        s = replace(self.slots[slot])
        pfn, shadow = (s.value, None) if s.kind == "folio" else (None, s.value)
        return s.kind, s.users, s.zero, s.memcg, pfn, shadow

    # -- the whole

    @property
    def used(self) -> int:
        return len(self.slots)

    def run_discard(self) -> int:
        n = len(self.discards)
        while self.discards:
            self._move(self.discards[0], self.free_list)
        return n

    def usage(self) -> dict:
        size = self.touched * CLUSTER if self.grows else self.size
        cached = sum(s.kind == "folio" for s in self.slots.values())
        untouched = 0 if self.grows else self.nr_clusters - self.touched
        return {
            "slots": size,
            "usable": size - len(self.bad),
            "used": self.used,
            "free": size - len(self.bad) - self.used,
            "cached": cached,
            "swapped": self.used - cached,
            "lent": 0,
            "moved": 0,
            "bad": len(self.bad),
            "clusters": {
                "untouched": untouched,
                "free": len(self.free_list) - untouched,
                "discard": len(self.discards),
                "full": len(self.full),
                "receive": 0,
                "packed": 0,
                "nonfull": [len(home) for home in self.nonfull],
                "frag": [len(home) for home in self.frag],
                "past": 0,
                "past_peak": 0,
            },
            "blocks": self._blocks(size - len(self.bad)),
        }

    def _blocks(self, usable: int) -> dict:
        """Blocks: a page of zeros has none."""
        if self.grows:
            return dict.fromkeys(("usable", "used", "free", "taken", "held", "waiting", "holes"), 0)
        holes = sum(s.zero for s in self.slots.values())
        used = self.used - holes
        return {
            "usable": usable, "used": used, "free": usable - used,
            "taken": 0, "held": 0, "waiting": 0, "holes": holes,
        }  # fmt: skip

    def trim(self) -> None:
        """A table that grows forgets the last clusters as long as they are free."""
        while self.grows and self.fresh and self.clusters.get(self.fresh - 1, Cluster()).home is self.free_list:
            self.fresh -= 1
            self.free_list.remove(self.fresh)
            del self.clusters[self.fresh]
            self.ever_used.discard(self.fresh)
            self.touched -= 1

    def memory(self) -> dict:
        """The parts that do not depend on how memory is had: 4 KiB a cluster in use, 2 KiB an overflow table."""
        lists = [self.full, *self.nonfull, *self.frag]
        over = {slot // CLUSTER for slot, s in self.slots.items() if s.users >= 15}
        return {"tables": sum(map(len, lists)) * 4096, "overflow": len(over) * 2048}


class Devices:
    """The model of DeviceList: priorities, turns among equals, and cursors that the devices share."""

    def __init__(self, cpus: int = 1) -> None:
        self.cpus = cpus
        self.tables: list[Table] = []
        self.priorities: list[int] = []
        self.cursors: dict[tuple[int, int], tuple[Table, int]] = {}
        self.available: list[int] = []  # swap types with a free slot, best first, equals in turn

    def add(self, table: Table, priority: int = 0) -> int:
        kind = len(self.tables)
        self.tables.append(table)
        self.priorities.append(priority)
        if table.used < table.usable:
            self._queue(kind)
        return kind

    def _queue(self, kind: int) -> None:
        """Last among its equals."""
        if kind in self.available:
            self.available.remove(kind)
        better = [k for k in self.available if self.priorities[k] >= self.priorities[kind]]
        self.available.insert(len(better), kind)

    def alloc(self, order: int = 0, cpu: int = 0, allowed: int = 2**32 - 1, pfn: int = 0, memcg: int = 0) -> tuple:
        expect(0 <= order < ORDERS and 0 <= cpu < self.cpus and 0 <= allowed < 2**32, "order, cpu or allowed")
        kind, slot = self._from_cursor(order, cpu, allowed)
        for k in [k for k in self.available if allowed >> k & 1] if slot is None else ():
            self._queue(k)
            kind = k
            if self.tables[k].block or order == 0:
                slot = self.tables[k].search(self.cursors, (cpu, order), order)
            if slot is not None or order:  # a large request ends after the first device
                break
        if slot is None:
            refuse(errno.ENOSPC, f"no room at order {order}")
        table = self.tables[kind]
        table.fill(slot, order, pfn, memcg)
        if table.used == table.usable:
            self.available.remove(kind)
        return kind, slot

    def _from_cursor(self, order: int, cpu: int, allowed: int) -> tuple[int, int | None]:
        if (cpu, order) not in self.cursors:
            return -1, None
        table, _ = self.cursors[cpu, order]
        kind = self.tables.index(table)
        if not allowed >> kind & 1:
            return -1, None
        return kind, table.from_cursor(self.cursors, (cpu, order), order)

    def free(self, kind: int, slot: int, nr: int = 1) -> None:
        self.tables[kind].free(slot, nr)
        if kind not in self.available:
            self._queue(kind)
