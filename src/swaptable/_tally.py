# What a swap space costs: bytes of metadata, of pools and of slack, by tier and by cgroup.
# May import the audit's list of slots, the cache, the store and what lies under them.
# Used by space.py.
"""Bytes are those that each floor counts where it allocates; nothing here is estimated but what says "share"."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._audit import in_use
from swaptable._cache import Cache
from swaptable._device import Device
from swaptable._store import Store

WORD, LOCATION, RECORD = 8, 4, 12
BACK = ("records", "zspages", "table", "backing", "marks")  # of the memory of backends
COLUMNS = ("tier", "type", "prio", "slots", "pages", "front end", "back end", "pool", "compressed", "slack")

__all__ = ["GroupReport", "Report", "TierReport", "tally"]


@dataclass(frozen=True)
class TierReport:
    """One device or pool; sizes in bytes.

    Attributes
    ----------
    name, kind : str
    tier : str or None
        Of ``/sys/kernel/mm/swap/tiers``.
    priority : int
    on : bool
        False: it is off, and slots of it are in use.
    slots : int
        In use, of its front end.
    pages : int
        Whose data is here: blocks, or objects of a pool.
    front : dict
        words, packed, locations, overflow: what slots in use cost.
    back : dict
        bitmaps, owners, lengths, records, ...: what the device must know of its blocks or objects.
    fixed : int
        What it costs unused, and memory that was used once and is kept.
    buffers, medium : int
        Of transfers and codecs; what a modelled device holds its data in.
    pool, compressed : int
        Memory of the pool for data, and what the data takes compressed.
    slack : int
        Of *front* words and locations of slots that are not in use in clusters that are; of *pool* what is no data.
    io : dict
        Pages read, written and refused, calls that failed.
    """

    name: str
    kind: str
    tier: str | None
    priority: int
    on: bool
    slots: int
    pages: int
    front: dict[str, int]
    back: dict[str, int]
    fixed: int
    buffers: int
    medium: int
    pool: int
    compressed: int
    slack: int
    io: dict[str, int]

    @property
    def metadata(self) -> int:
        """All that is neither data nor a buffer."""
        return sum(self.front.values()) + sum(self.back.values()) + self.fixed


@dataclass(frozen=True)
class GroupReport:
    """One cgroup, without those below it; the root has the slots that nobody pays for.

    Attributes
    ----------
    path : str
    id, slots : int
        Slots that have its id.
    charged : int
        Pages charged.
    metadata : int
        Bytes of words and locations of its slots, and of the records of its objects in pools.
    pool : int
        Compressed bytes in pools.
    slack : int
        Its share of the tiers' slack: of words by its slots in each device, of pools by its compressed bytes in each.
    """

    path: str
    id: int
    slots: int
    charged: int
    metadata: int
    pool: int
    slack: int


@dataclass(frozen=True)
class Report:
    """What a swap space has and costs; as text a table.

    Attributes
    ----------
    tiers : tuple of TierReport
        Best first.
    groups : tuple of GroupReport
    cache : dict
        Folios of the swap cache, and bytes: folios, regions, records.
    vmstat, sizes : dict
        Counters; *sizes* of folios by order.
    """

    tiers: tuple[TierReport, ...]
    groups: tuple[GroupReport, ...]
    cache: dict[str, int]
    vmstat: dict[str, int]
    sizes: dict[str, dict[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """Everything with stable keys, for JSON."""
        found = asdict(self)
        found["tiers"], found["groups"] = list(found["tiers"]), list(found["groups"])
        for tier, shown in zip(self.tiers, found["tiers"], strict=True):
            shown["metadata"] = tier.metadata
        total = {
            name: sum(tier[name] for tier in found["tiers"]) for name in ("metadata", "pool", "compressed", "slack")
        }
        return {"schema": 1, "total": total, **found}

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1)

    def rows(self) -> list[list[str]]:
        """Cells of the table."""
        return [
            [
                t.name, t.kind, str(t.priority), *(f"{n:,}" for n in (
                    t.slots, t.pages, sum(t.front.values()), sum(t.back.values()), t.pool, t.compressed, t.slack,
                )),
            ]
            for t in self.tiers
        ]  # fmt: skip

    def __str__(self) -> str:
        rows = [list(COLUMNS), *self.rows()]
        wide = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
        lines = ["  ".join(c.ljust(n) if k < 2 else c.rjust(n) for k, (c, n) in enumerate(zip(row, wide, strict=True)))
                 for row in rows]  # fmt: skip
        return "\n".join(line.rstrip() for line in lines)


@dataclass
class _Front:
    """Slots in use of one device."""

    ids: NDArray[np.uint64]
    located: NDArray[np.bool]
    members: NDArray[np.int32]
    blocks: NDArray[np.int64]


def tally(cache: Cache) -> Report:
    """Count everything; reads every word. Beside other threads an estimate."""
    store = cache.store
    fronts = {device: _front(device) for device in store.devices.every() if device.type >= 0}
    held = np.concatenate([f.members for f in fronts.values()]) if fronts else np.zeros(0, np.int32)
    pages = np.bincount(held[held >= 0], minlength=256)
    tiers = tuple(_tier(store, d, fronts.get(d), int(pages[d.member])) for d in store.devices.every())
    vmstat = {str(name): n for name, n in store.stat.items() if isinstance(name, str)}
    sizes: dict[str, dict[str, int]] = {}
    for key, n in store.stat.items():
        if isinstance(key, tuple):
            sizes.setdefault(f"hugepages-{4 << key[0]}kB", {})[key[1]] = n
    memory = cache.frames.usage() | {f"{name}_bytes": n for name, n in cache.frames.memory().items()}
    return Report(tiers, tuple(_groups(store, fronts, tiers)), memory, vmstat, sizes)


def _front(device: Device) -> _Front:
    found = list(in_use(device))
    slots = np.concatenate([slots for slots, _ in found] or [np.zeros(0, np.int64)])
    words = np.concatenate([words for _, words in found] or [np.zeros(0, np.uint64)])
    members, blocks = device.table.resolve(slots)
    return _Front(w.memcgs(words), device.table.locs(slots) != 0, members, blocks)


def _tier(store: Store, device: Device, front: _Front | None, pages: int) -> TierReport:
    table = device.table.memory()
    used = 0 if front is None else len(front.ids)
    located = 0 if front is None else int(front.located.sum())
    costs = {"words": table["tables"], "packed": table["packed"], "locations": table["locations"],
             "overflow": table["overflow"]}  # fmt: skip
    back = {"bitmaps": table["bitmaps"], "owners": table["owners"],
            "lengths": 0 if device.marks is None else device.marks.nbytes,
            "payers": 0 if device.owners is None else device.owners.nbytes}  # fmt: skip
    memory = device.backend.memory() if device.on else {}
    back |= {name: memory[name] for name in BACK if name in memory}
    data = memory.get("pool", 0) + memory.get("spare", 0)
    compressed = device.backend.counts()["bytes"] if "pool" in memory else 0
    fixed = table["total"] - sum(costs.values()) - table["bitmaps"] - table["owners"] + memory.get("classes", 0)
    slack = max(costs["words"] - WORD * used, 0) + max(costs["locations"] - LOCATION * located, 0) + data - compressed
    named = [tier.name for tier in store.devices.tiers if tier.start <= device.priority <= tier.end]
    return TierReport(
        device.name, device.kind, named[0] if named else None, device.priority, device.on, used, pages, costs, back,
        fixed, memory.get("bounce", 0) + memory.get("codec", 0), memory.get("held", 0), data, compressed, slack,
        dict(device.stat),
    )  # fmt: skip


def _groups(store: Store, fronts: dict[Device, _Front], tiers: tuple[TierReport, ...]) -> list[GroupReport]:
    tree = store.charges.tree
    groups = [] if tree is None else [*tree, *tree.dying()]
    by_name = {tier.name: tier for tier in tiers}
    found = []
    for group in groups:
        slots = metadata = slack = pool = 0
        for device, front in fronts.items():
            mine = _of(front, group)
            n, tier = int(mine.sum()), by_name[device.name]
            slots += n
            metadata += WORD * n + LOCATION * int((mine & front.located).sum())
            slack += tier.slack * n // max(tier.slots, 1)
        for device in store.devices:
            if device.pool:
                theirs = _objects(device, group, fronts)
                sizes = np.maximum(device.backend.lengths(theirs), 0)
                tier, size = by_name[device.name], int(sizes.sum())
                pool, metadata = pool + size, metadata + RECORD * len(theirs)
                slack += tier.slack * size // max(tier.compressed, 1)
        found.append(GroupReport(group.path, group.id, slots, group.charged, metadata, pool, slack))
    return found


def _of(front: _Front, group: Any) -> NDArray[np.bool]:
    """Slots of a cgroup; those that nobody pays for are the root's."""
    mine: NDArray[np.bool] = front.ids == group.id
    return mine if group.parent is not None else mine | (front.ids == 0)


def _objects(pool: Device, group: Any, fronts: dict[Device, _Front]) -> NDArray[np.int64]:
    """Objects of a pool whose slots are of a cgroup."""
    found = [front.blocks[_of(front, group) & (front.members == pool.member)] for front in fronts.values()]
    return np.concatenate(found) if found else np.zeros(0, np.int64)
