# Locations and contiguous allocation: look-up beside moved clusters, bytes a slot, folios past the end, cold clusters.
# May import measure, numpy, swaptable.
# Used by asv and by python -m benchmarks.
"""What it costs that data may be elsewhere."""

from __future__ import annotations

import numpy as np

import swaptable
from swaptable import _churn

from .measure import BIG, LOOKUPS, REPEATS, SEED, Case, Row, against, elapsed, interleave, random_slots

FOLIOS = 250  # allocated and freed a repeat
OCCUPANCY = 0.97
SIZES = {"1 GiB": 1 << 18, "4 GiB": 1 << 20, "16 GiB": 1 << 22}
MOVE_BATCH = 1 << 16


def move_all(front: swaptable.SwapTable, back: swaptable.SwapTable, slots: np.ndarray) -> None:
    """Move the data of cached *slots* to blocks of another device, and swap the slots out."""
    for first in range(0, len(slots), MOVE_BATCH):
        part = slots[first : first + MOVE_BATCH]
        front.move_many(part, np.zeros(len(part), np.uint32), back.block_alloc(len(part)))
        front.dup_many(part)
        front.cache_del_many(part)


Pair = tuple[swaptable.BlockSpace, swaptable.SwapTable, swaptable.SwapTable]


def moved_pair(slots: int, owners: bool = False) -> Pair:
    """A device whose slots all have their data on another one."""
    space = swaptable.BlockSpace()
    front = swaptable.SwapTable(slots=slots, header=False, space=space)
    back = swaptable.SwapTable(slots=slots, header=False, space=space, owners=owners)
    move_all(front, back, front.alloc_many(slots))
    for table in (front, back):
        table.trim()
    return space, front, back


def total(*things: swaptable.SwapTable | swaptable.BlockSpace) -> int:
    """Bytes of all of them."""
    return sum(thing.memory()["total"] for thing in things)


def lookup_cases(slots: int) -> dict[str, Case]:
    """Look-ups of plain clusters alone and after every other cluster got locations, and of where the data is."""
    plain = swaptable.SwapTable(slots=slots, header=False)
    space = swaptable.BlockSpace()
    mixed = swaptable.SwapTable(slots=slots, header=False, space=space)
    back = swaptable.SwapTable(slots=slots, space=space)
    for table in (plain, mixed):
        table.alloc_many(slots)
    every = np.arange(slots).reshape(-1, 512)
    move_all(mixed, back, every[1::2].ravel())
    index = random_slots(slots, LOOKUPS)
    index = index // 1024 * 1024 + index % 512          # of even clusters: those without locations
    anywhere = random_slots(slots, LOOKUPS)
    out = np.empty(LOOKUPS, np.uint64)
    return {
        "words": (lambda: plain.words(index, out=out), LOOKUPS),
        "words beside locations": (lambda: mixed.words(index, out=out), LOOKUPS),
        "words anywhere": (lambda: mixed.words(anywhere, out=out), LOOKUPS),
        "resolve": (lambda: mixed.resolve(anywhere), LOOKUPS),
        "resolve plain": (lambda: plain.resolve(index), LOOKUPS),
        "locs": (lambda: mixed.locs(anywhere), LOOKUPS),
    }


class Folios:
    """A device that 250 order-4 folios fill to 97 %, again and again.

    It was full, and runs at random places were freed. Where they were single slots no aligned run of 16 is free: the
    kernel's search fails, and the folios go past the end. Where they were folios of 16 slots, they are taken again.
    """

    def __init__(self, slots: int, contiguous: bool) -> None:
        self.table, self.contiguous = swaptable.SwapTable(slots=slots), contiguous
        order = 0 if contiguous else 4
        runs = np.random.default_rng(SEED).permutation(self.table.alloc_many(slots, order))
        self.table.free_many(runs[: (int(slots * (1 - OCCUPANCY)) + FOLIOS * 16) >> order], 1 << order)
        self.orders = np.full(FOLIOS, 4, np.uint8)
        self.live = _churn.Live(np.empty(0, np.int64), np.empty(0, np.uint8))
        self.work: dict[str, int] = {}
        self.alloc()
        self.free()

    def alloc(self) -> float:
        """Nanoseconds an allocation, a C call each."""
        took = elapsed(self._fill)
        if len(self.live.slots) != FOLIOS or (self.live.slots >= 1 << 32).any() != self.contiguous:
            raise AssertionError(f"{FOLIOS} folios, past the end: {self.contiguous}, were asked for: {self.live}")
        return took / FOLIOS

    def _fill(self) -> None:
        self.live, done = _churn.fill(self.table, self.orders, contiguous=self.contiguous)
        self.work = done.stat

    def free(self) -> float:
        """Nanoseconds a free, a C call each."""
        return elapsed(lambda: _churn.drain(self.table, self.live)) / FOLIOS


def folio_cases(slots: int) -> dict[str, Case]:
    """Allocate and free, ordinary and past the end, in turn."""
    ordinary, past = Folios(slots, False), Folios(slots, True)
    return {
        "ordinary": (ordinary.alloc, 0),
        "ordinary free": (ordinary.free, 0),
        "past the end": (past.alloc, 0),
        "past the end free": (past.free, 0),
    }


def work_of(slots: int) -> dict[str, float]:
    """Clusters looked at, words written and locks taken for a folio past the end: free of noise."""
    folios = Folios(slots, True)
    folios.alloc()
    return {name: folios.work[name] / FOLIOS for name in ("visited", "words", "cluster_locks", "list_locks", "extents")}


def bytes_packed(uniform: bool) -> float:
    """Bytes a slot of cold clusters: 3 bytes where users and cgroups differ, 1 where they are the same."""
    slots = 1 << 20
    table = swaptable.SwapTable(slots=slots, header=False)
    every = np.concatenate([table.alloc_many(slots // 2, memcg=m) for m in (1, 1 if uniform else 2)])
    table.dup_many(every)
    if not uniform:
        table.dup_many(every[::3])
    table.cache_del_many(every, np.arange(slots))
    table.compact(0)
    table.trim()
    return table.memory()["total"] / slots


def bytes_ghost(live: int) -> float:
    """Bytes of a ghost for each slot in use, with *live* of the 512 slots of every cluster in use."""
    slots = 1 << 20
    table = swaptable.SwapTable(slots=None, header=False)
    every = table.alloc_many(slots).reshape(-1, 512)
    if live < 512:
        table.free_many(every[:, live:].ravel())
    table.trim()
    return table.memory()["total"] / (slots // 512 * live)


def pair(name: str, what: str, cases: dict[str, Case], one: str, base: str, gate: float | None, repeats: int) -> Row:
    """One look-up over another, in turn: a third may leave the memory of one of them alone in the processor's cache."""
    series = interleave({base: cases[base], one: cases[one]}, repeats)
    peer = "words() before" if one.startswith("words") else "words()"
    return Row(name, what, series.ratio(base, one), "x", series.ns(one), peer, series.ns(base), gate, higher=True)


def rows(repeats: int = REPEATS) -> list[Row]:
    """Locations, and what they are held against."""
    cases, beside = lookup_cases(BIG), "words beside locations"
    found = [
        pair("l1", "words() of plain clusters beside others with locations", cases, beside, "words", 0.95, repeats),
        pair("l2", "resolve() over words(), random over 2^23", cases, "resolve", "words anywhere", 0.5, repeats),
        pair("l2 plain", "the same, plain clusters", cases, "resolve plain", "words", None, repeats),
    ]
    del cases
    for owners in (False, True):
        space, front, back = moved_pair(BIG, owners)
        name = "l3 owners" if owners else "l3"
        found.append(Row(name, "2^23 moved slots, both devices" + (", with owners" if owners else ""),
                         total(space, front, back) / BIG, "B/slot", gate=16.6 if owners else 12.5))  # fmt: skip
        if not owners:
            found.append(Row("l4", "a device that only receives", total(back) / BIG, "B/block", gate=0.3))
        del space, front, back
    found.append(Row("l5", "packed cold clusters", bytes_packed(False), "B/slot", gate=3.3))
    found.append(Row("l5 uniform", "uniform ones", bytes_packed(True), "B/slot", gate=1.3))
    found.append(Row("l8", "a ghost, every cluster full", bytes_ghost(512), "B/slot"))
    found.append(Row("l8 sparse", "a ghost, one live slot a cluster", bytes_ghost(1), "B/slot"))
    for size, slots in SIZES.items():
        series = interleave(folio_cases(slots), repeats)
        what = f"order-4 alloc past the end at 97 %, {size}"
        found.append(against(series, "past the end", "ordinary", "l6", what, 10))
        found.append(against(series, "past the end free", "ordinary free", "l6 free", f"its free, {size}"))
        work = work_of(slots)
        found += [Row(f"l7 {name}", f"{name} a folio, {size}", value, "") for name, value in work.items()]
    return found


class LookUp:
    """Batch look-ups with locations about."""

    def setup(self) -> None:
        self.cases = lookup_cases(BIG)

    def time_resolve(self) -> None:
        self.cases["resolve"][0]()

    def time_locs(self) -> None:
        self.cases["locs"][0]()

    def track_words_beside_locations(self) -> float:
        return interleave(self.cases).ratio("words", "words beside locations")

    def track_resolve_over_words(self) -> float:
        return interleave(self.cases).ratio("words anywhere", "resolve")

    track_words_beside_locations.unit = track_resolve_over_words.unit = "x words()"


class Bytes:
    """Bytes a slot, free of noise."""

    def track_moved(self) -> float:
        return total(*moved_pair(BIG)) / BIG

    def track_moved_with_owners(self) -> float:
        return total(*moved_pair(BIG, True)) / BIG

    def track_receiver(self) -> float:
        return total(moved_pair(BIG)[2]) / BIG

    def track_packed(self) -> float:
        return bytes_packed(False)

    def track_uniform(self) -> float:
        return bytes_packed(True)

    def track_ghost_full(self) -> float:
        return bytes_ghost(512)

    def track_ghost_one_a_cluster(self) -> float:
        return bytes_ghost(1)

    track_ghost_full.unit = track_ghost_one_a_cluster.unit = "bytes/slot in use"
    track_moved.unit = track_moved_with_owners.unit = track_packed.unit = track_uniform.unit = "bytes/slot"
    track_receiver.unit = "bytes/block"


class PastTheEnd:
    """Order-4 folios where the kernel's search fails, by size of the device."""

    params = (list(SIZES),)
    param_names = ("size",)

    def setup(self, size: str) -> None:
        self.slots = SIZES[size]

    def track_over_ordinary(self, size: str) -> float:
        return interleave(folio_cases(self.slots)).ratio("past the end", "ordinary")

    def track_clusters_visited(self, size: str) -> float:
        return work_of(self.slots)["visited"]

    def track_words_touched(self, size: str) -> float:
        return work_of(self.slots)["words"]

    def track_extents(self, size: str) -> float:
        return work_of(self.slots)["extents"]

    track_over_ordinary.unit = "x ordinary"
    track_clusters_visited.unit = "clusters a folio"
    track_words_touched.unit = "words a folio"
    track_extents.unit = "extents a folio"
