# A trace replayed on a machine with too little memory, for one design or several.
# May import errors, designs, _workload and the machine (_replay).
# Used by cli.py, the benchmarks and programs.
"""Replay a memory trace in front of a swap design.

The machine is one memory cgroup of anonymous memory with a limit and one swap device. It keeps
what decides which operations a swap design sees (Linux 6.18, classic LRU):

* A first touch makes the whole naturally aligned block of the folio size resident, as an mTHP
  allocation does. A read counts as a store there: the trace may begin after the data was stored.
* An access to a resident page sets the young and dirty bits of its page table entry, no more.
* Two lists. New folios are inactive. A folio found young at the tail of the inactive list goes
  round once more, and is activated when it is young again; active folios are deactivated in
  order of age while the active list is longer than the inactive one times the inactive ratio. A
  page that comes back within a distance not above the active list's size is active at once.
* Reclaim starts at the limit and frees 32 pages (an eighth of a memory of less than 256 pages).
  A victim outside the swap cache gets entries from the design. No run of the folio's size:
  ``swpout_fallback``, the folio is split and its pages go one by one, 0, n-1, ..., 1. No slot at
  all: ``swap_full``, it stays and is activated. When every folio stayed, the machine is out of
  memory and stops.
* Each page table entry is one user (``dup``), then the data is written, then the folio leaves the
  swap cache with the eviction counter as its shadow.
* Swap-in looks at the swap cache, adds a folio to it, reads, maps, gives the user back. A page that
  is read in stays in the swap cache, mapped writable since it is exclusive: when it is evicted
  clean, nothing is written; when it was stored to, its slot is written again. A store that faults,
  or more than half of swap in use (``vm_swap_full``), gives the slot up at once; so does activation
  by reclaim with more than half in use.
* Swap-in is by page, without readahead. With *large_swapin* a folio that is wholly out comes back
  whole: the kernel does this for synchronous devices only, and keeps no slot for those.

* With *tiers* each but the last has a limit: when it is passed, an eighth of the tier, the pages that have been there
  for longest, moves a tier down, by whatever the design must do for that: a location, or a walk of all page tables.
  Nothing moves up but by a fault. What is read from the compressed pool is gone there, so the page is dirty. Half of
  swap is in use when that is so of all tiers together.

Not modelled: time and concurrency (a write is done when it is issued, so a fault never finds its
page in the swap cache), several processes sharing a page, unmapping, zero-filled pages. Without *tiers* a
compressed pool has no limit and no writeback.

Page numbers are mapped to consecutive ones before the clock starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swaptable import designs as registry
from swaptable._replay import Machine
from swaptable._tierplan import TierPlan, parse_tiers
from swaptable._workload import PAGE_SIZE, Workload, load, parse_folio, parse_memory, parse_size

DESIGNS = ("swap-table", "old", "vswap-24")


@dataclass(frozen=True)
class ReplayResult:
    """What one design did on one workload.

    Attributes
    ----------
    design, trace : str
    events : int
        Accesses replayed.
    footprint_pages, memory_pages, swap_slots, folio_order : int
        The machine, in pages of 4 KiB.
    large_swapin : bool
    seconds : float
        CPU time of the machine, without loading and numbering the trace. CPU time, so that what else
        runs on the computer is not held against a design.
    vmstat : dict of str to int
        The kernel's names; ``first_touch`` faults, and ``swap_full``: folios that stayed. ``swpout``,
        ``swpout_fallback`` and ``swpin`` count folios of the machine's order, ``psw*`` pages.
    counters : dict of str to int
        The design's: ops, lookups and their depth in dependent loads, locks and list_locks, words written, visited
        clusters, scanned (looked at in searches), hold_longest (words, scanned and depth under one lock at most), ptes
        (page table entries visited), ios and extents of block devices, allocated and freed bytes of metadata. The core
        of ``swap-table`` does not count what its searches look at.
    bytes_start, bytes_peak, bytes_final : int
        Metadata; sampled after every reclaim.
    used_at_peak, used_final : int
        Blocks of the device in use.
    wasted_peak, wasted_final : int
        Slots and blocks that were taken and held no data that anybody could read there: kept behind the compressed
        pool, or a redirection.
    tiers : tuple of dict
        Where there are limits, for each tier: its ``name`` and number (``tier``), its ``limit`` in pages, ``pages``
        whose data is there now and at the ``peak``, ``reads`` by faults, pages ``moved`` down from there.
    """

    design: str
    trace: str
    events: int
    footprint_pages: int
    memory_pages: int
    swap_slots: int
    folio_order: int
    large_swapin: bool
    seconds: float
    vmstat: dict[str, int]
    counters: dict[str, int]
    bytes_start: int
    bytes_peak: int
    bytes_final: int
    used_at_peak: int
    used_final: int
    wasted_peak: int
    wasted_final: int
    tiers: tuple[dict[str, Any], ...] = ()

    @property
    def events_per_second(self) -> float:
        """Accesses a second of CPU time; 0 before any was replayed."""
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_slot(self) -> float | None:
        """Metadata bytes per used slot when the bytes were at their peak; None when nothing was used."""
        return self.bytes_peak / self.used_at_peak if self.used_at_peak else None

    @property
    def extents_per_io(self) -> float | None:
        """Runs of consecutive blocks per read or write of a block device; None when there was none."""
        return self.counters["extents"] / self.counters["ios"] if self.counters["ios"] else None

    def per_op(self, counter: str) -> float:
        """A counter of the design per operation, such as ``"lookups"`` or ``"locks"``."""
        return self.counters[counter] / self.counters["ops"] if self.counters["ops"] else 0.0

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values with stable keys, for JSON."""
        return asdict(self) | {
            "events_per_second": self.events_per_second,
            "bytes_per_slot": self.bytes_per_slot,
            "lookups_per_op": self.per_op("lookups"),
            "depth_per_op": self.per_op("depth"),
            "locks_per_op": self.per_op("locks"),
            "extents_per_io": self.extents_per_io,
        }


def _memory_pages(work: Workload, memory: str | int | float) -> int:
    """The limit in pages; a share is of folios, rounded up."""
    value, nr = parse_memory(memory), 1 << work.folio_order
    if isinstance(value, float):
        return min(max(1, math.ceil(work.pages // nr * value)) * nr, 1 << 39)
    if value < nr * PAGE_SIZE:
        raise ValueError(f"memory is {memory!r}; expected at least one folio ({nr * 4}K)")
    return min(value // PAGE_SIZE, 1 << 39)


def _swap_slots(work: Workload, swap: str | int | None) -> int:
    """The device in slots, its header included."""
    if swap is None:
        return -(-(work.pages * 5 // 4 + 1) // 512) * 512
    slots = parse_size(swap, "swap") // PAGE_SIZE
    if not 2 <= slots < 1 << 32:
        raise ValueError(f"swap is {swap!r}; expected 8K (the header and a slot) or more, below 16T")
    return slots


def design_names() -> tuple[str, ...]:
    """The designs that can be replayed; ``null`` has no structures and shows the machine's own speed."""
    return tuple(registry.names(harness=True))


def _known(name: str) -> str:
    if name.partition(":")[0] not in design_names():
        raise ValueError(f"unknown design {name!r}; expected one of {', '.join(design_names())}")
    registry.parse(name)
    return name


def replay(
    trace: Any,
    design: Any,
    *,
    memory: str | int | float = 0.5,
    folio_order: int = 0,
    swap: str | int | None = None,
    large_swapin: bool = False,
    tiers: str | TierPlan | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> ReplayResult:
    """Replay *trace* once in front of *design*.

    Parameters
    ----------
    trace : Workload, path, tuple or iterable
        A :class:`Workload` is replayed as it is (its folio size counts), anything else goes through :func:`load`.
    design : str or Design
        A name of :func:`design_names`, with switches as in ``"swap-table-p4:backend=zswap"``, or a fresh design.
    memory : str, int or float
        ``"50%"`` or ``0.5`` of the footprint in folios, rounded up; ``"64M"`` or an int: bytes.
    folio_order : int
        Pages of a folio, as a power of two: 0 to 9.
    swap : str or int, optional
        Bytes of the device. Default: 1.25 times the footprint and a header, rounded up to 2 MiB, so that
        it never fills up and keeps slots of clean pages while less than half of it is in use.
    large_swapin : bool
        Bring whole folios back when they are wholly out.
    tiers : str, optional
        As ``"zswap=25%,ssd=50%,hdd"``: the compressed pool may have data of a quarter of the footprint, and so on. The
        design gets a device of *swap* for each, with the pool in front where that is the first.
    progress : callable, optional
        Called with accesses done and all of them.

    Raises
    ------
    ValueError
        A bad size, order or name, or tiers that the design has not; the message names it.
    SwapMemoryError
        Memory and swap are full.
    SwapError
        EOPNOTSUPP: the design cannot move data between tiers.

    Notes
    -----
    Runtime: O(accesses): a few nanoseconds for a resident page, the design's work for a fault.
    """
    work = trace if isinstance(trace, Workload) else load(trace, folio_order)
    memory_pages, slots = _memory_pages(work, memory), _swap_slots(work, swap)
    plan = None if tiers is None else parse_tiers(tiers)
    made = _made(_known(design), slots, plan) if isinstance(design, str) else design
    limits, total = (None, 0) if plan is None else (plan.limits(work.pages), slots * len(plan.names))
    machine = Machine(made, work.pages, memory_pages, work.folio_order, large_swapin, limits, total)
    machine.run(work.events, progress)
    return ReplayResult(
        design=design if isinstance(design, str) else made.name,
        trace=work.name,
        events=machine.events,
        footprint_pages=work.pages,
        memory_pages=memory_pages,
        swap_slots=slots,
        folio_order=work.folio_order,
        large_swapin=bool(large_swapin),
        seconds=machine.seconds,
        vmstat=machine.stats,
        counters=machine.counters,
        **machine.metadata,
        tiers=_named(machine.tiers, plan),
    )


def _made(spec: str, slots: int, plan: TierPlan | None) -> Any:
    """A design with the tiers of a plan, if there is one."""
    return registry.make(spec, slots, **({} if plan is None else plan.switches(spec)))


def _named(tiers: list[dict[str, Any]], plan: TierPlan | None) -> tuple[dict[str, Any], ...]:
    return () if plan is None else tuple({"name": plan.names[i]} | tier for i, tier in enumerate(tiers))


def compare(
    trace: Any,
    designs: Sequence[str] = DESIGNS,
    memory: str | int | float = "50%",
    folio: str | int = "64K",
    *,
    swap: str | int | None = None,
    large_swapin: bool = False,
    tiers: str | TierPlan | None = None,
    limit: int | None = None,
    progress: Callable[[str, int, int], Any] | None = None,
) -> list[ReplayResult]:
    """Replay the same accesses in front of each design; the parameters are those of :func:`replay`.

    The trace is read and numbered once. Names are checked before anything is read. *progress* gets
    the design's name first.
    """
    designs = (designs,) if isinstance(designs, str) else tuple(designs)
    for name in designs:
        _known(name)
    order = parse_folio(folio)
    parse_memory(memory)
    work = trace if isinstance(trace, Workload) else load(trace, order, limit)
    results = []
    for name in designs:
        tell = None if progress is None else (lambda done, total, name=name: progress(name, done, total))
        options: dict[str, Any] = {"memory": memory, "swap": swap, "large_swapin": large_swapin, "tiers": tiers}
        results.append(replay(work, name, **options, progress=tell))
    return results
