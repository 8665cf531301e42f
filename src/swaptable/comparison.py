# Designs side by side: several traces, memory limits and folio sizes, times less the machine's own.
# May import cells and what lies under it.
# Used by the command line, the report, benchmarks and programs.
"""Compare swap designs on the same accesses.

Each replay is of the whole machine; the design's share of the time is what is left when the time of the same machine
with the design ``null``, which has no structure, is subtracted. Both are the fastest of several runs in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from swaptable import designs as registry
from swaptable._workload import Workload
from swaptable.cells import HARNESS, Cell, load_workload, refusal, run_cell, seeded
from swaptable.footprint import measure, option
from swaptable.replay import ReplayResult

__all__ = ["Comparison", "Refused", "Row", "WorkloadInfo", "compare_all", "default_designs", "usage"]

OURS = ("front-back:contiguous=yes", "front-back:redirected=yes", "front-back:compact=yes")
RUNS = 5
SLOTS = 1 << 18
USES = (1, 5, 10, 25, 50, 75, 100)
ENOUGH = 4_000_000  # events in all runs of a design


@dataclass(frozen=True)
class WorkloadInfo:
    """What a group of rows has in common.

    Attributes
    ----------
    trace, memory, folio : str
    seed : int or None
        None where the trace is not drawn.
    events, footprint_pages, memory_pages, swap_slots : int
    harness_seconds : float
        CPU time of the machine with the design ``null``, the fastest of *runs*.
    runs : int
    """

    trace: str
    memory: str
    folio: str
    seed: int | None
    events: int
    footprint_pages: int
    memory_pages: int
    swap_slots: int
    harness_seconds: float
    runs: int


@dataclass(frozen=True)
class Row:
    """A design on a workload.

    Attributes
    ----------
    workload : int
        Which of the comparison's.
    result : ReplayResult
        Of the fastest run; all have the same counts.
    design_seconds : float
        CPU time less the machine's own; noise can make it negative.
    """

    workload: int
    result: ReplayResult
    design_seconds: float

    @property
    def ns_per_op(self) -> float | None:
        """The design's nanoseconds an operation."""
        ops = self.result.counters["ops"]
        return self.design_seconds * 1e9 / ops if ops else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values with stable keys, for JSON."""
        more = {"design_seconds": self.design_seconds, "ns_per_op": self.ns_per_op}
        return {"workload": self.workload} | self.result.to_dict() | more


@dataclass(frozen=True)
class Refused:
    """A design that has no result on a workload, and why."""

    workload: int
    design: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """All rows of all workloads."""

    workloads: list[WorkloadInfo] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def of(self, workload: int) -> list[Row]:
        """The rows of one workload."""
        return [row for row in self.rows if row.workload == workload]

    def to_dict(self) -> dict[str, Any]:
        """Plain values with stable keys, for JSON."""
        return {
            "workloads": [asdict(info) for info in self.workloads],
            "results": [row.to_dict() for row in self.rows],
            "refused": [asdict(refused) for refused in self.refused],
        }


def default_designs() -> list[str]:
    """Every design that is built, and our own in its other forms.

    >>> "front-back:contiguous=yes" in default_designs()
    True
    """
    names = registry.names()
    at = names.index("front-back") + 1
    return [*names[:at], *OURS, *names[at:]]


def _cells(
    traces: Sequence[str], memory: Sequence[str], folio: Sequence[str], designs: Sequence[str], common: dict[str, Any]
) -> list[list[Cell]]:
    """The cells of each workload."""
    groups = [
        [Cell(trace, share, size, design, **common) for design in designs]
        for trace in traces
        for size in folio
        for share in memory
    ]
    for group in groups:
        for cell in group:
            cell.check()
    return groups


class _Timed:
    """The fastest of the runs of one design."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.best: ReplayResult | None = None
        self.refused: str | None = None

    def run(self, work: Workload, tell: Callable[[int, int], Any] | None) -> None:
        if self.refused is not None:
            return
        try:
            result = run_cell(self.cell, work, tell)
        except (OSError, ValueError) as err:
            self.refused = refusal(err)
            if self.refused is None:
                raise
            return
        if self.best is None or result.seconds < self.best.seconds:
            self.best = result


def _run_group(cells: list[Cell], work: Workload, runs: int | None, progress: Any) -> tuple[list[_Timed], int]:
    """The machine alone and every design, in turns."""
    timed = [_Timed(cell) for cell in [replace(cells[0], design=HARNESS), *cells]]
    n = runs or max(1, min(RUNS, ENOUGH // max(1, len(work.events))))
    for turn in range(n):
        for one in timed:
            tell = None
            if progress is not None and turn == 0:
                tell = lambda done, total, name=one.cell.design: progress(name, done, total)  # noqa: E731
            one.run(work, tell)
    return timed, n


def compare_all(
    traces: Iterable[str],
    memory: Iterable[str] = ("50%",),
    folio: Iterable[str] = ("64K",),
    designs: Iterable[str] | None = None,
    *,
    swap: str | None = None,
    swapin: str = "page",
    tiers: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    runs: int | None = None,
    progress: Callable[[str, int, int], Any] | None = None,
) -> Comparison:
    """Replay every trace with every memory limit and folio size in front of every design.

    Parameters
    ----------
    traces : iterable of str
        See :class:`swaptable.cells.Cell`; each is read and numbered once for a folio size.
    memory, folio : iterable of str
    designs : iterable of str, optional
        By default :func:`default_designs`.
    swap, swapin, tiers, limit, seed
        As in :class:`swaptable.cells.Cell`.
    runs : int, optional
        Of each design; by default 1 to 5, fewer for long traces. Counts are the same in all.
    progress : callable, optional
        Called with the design's name, accesses done and all of them, in its first run.

    Raises
    ------
    ValueError, TraceError
        Something is wrong with a value, before anything is replayed.
    """
    common = {"swap": swap, "swapin": swapin, "tiers": tiers, "limit": limit, "seed": seed}
    names = default_designs() if designs is None else list(designs)
    groups = _cells(list(traces), list(memory), list(folio), names, common)
    comparison, loaded = Comparison(), (None, None)
    for group in groups:
        if loaded[0] != group[0].workload:
            loaded = (group[0].workload, load_workload(group[0]))
        timed, n = _run_group(group, loaded[1], runs, progress)
        _add(comparison, timed, n)
    return comparison


def _add(comparison: Comparison, timed: list[_Timed], runs: int) -> None:
    """A workload's results."""
    (harness, *others), number = timed, len(comparison.workloads)
    alone = harness.best
    assert alone is not None  # it has nothing to refuse
    cell = harness.cell
    comparison.workloads.append(
        WorkloadInfo(
            cell.trace, cell.memory, cell.folio, cell.seed if seeded(cell.trace) else None, alone.events,
            alone.footprint_pages, alone.memory_pages, alone.swap_slots, alone.seconds, runs,
        )
    )  # fmt: skip
    for one in others:
        if one.refused is not None:
            comparison.refused.append(Refused(number, one.cell.design, one.refused))
        elif one.best is not None:
            comparison.rows.append(Row(number, one.best, one.best.seconds - alone.seconds))


def usage(
    specs: Iterable[str], slots: int = SLOTS, uses: Iterable[float] = USES, *, pool: bool = False, seed: int = 0
) -> list[dict[str, Any]]:
    """Bytes of each design on a device of its own that fills up: what small traces on small devices do not show.

    Parameters
    ----------
    specs : iterable of str
        Designs; the harness without structures is left out.
    slots : int
        Of the device, 1 GiB by default.
    uses : iterable of float
        Shares in percent.
    pool : bool
        In front of it the compressed pool, where the design has one.
    seed : int
        Of the random frees.
    """
    shares, found = list(uses), []
    for spec in specs:
        kinds = [kind for kind in (("zswap", "disk") if pool else ("disk", "zswap")) if option(spec, kind) is not None]
        # A switch of the design's own says more than what the comparison asks for.
        given = registry.parse(spec)[1].get("backend")
        backend = given if given in kinds else kinds[0]
        for live in ("full-clusters", "random") if registry.parse(spec)[0] != HARNESS else ():
            measured = measure(spec, slots, shares, backend, live, seed=seed)
            found += [
                {"design": spec, "backend": backend, "live": live, "use": one.use, "slots": slots, "used": one.used,
                 "total": one.total, "bytes_per_slot": one.bytes_per_slot} for one in measured
            ]  # fmt: skip
    return found
