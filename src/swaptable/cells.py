# One run of a comparison or a sweep: what it is, what it replays, and its result as plain values.
# May import errors, designs, trace, replay and what lies under them.
# Used by comparison.py and sweep.py.
"""A cell: one trace, memory limit, folio size, design and seed.

A trace is a file, the name of one that comes with the package, or ``synthetic:KIND,records=N,parameter=value``, drawn
by the seed. Recorded traces do not depend on a seed, but for DAMON's samples, which are expanded by one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from os.path import basename
from typing import Any

from swaptable._tierplan import parse_tiers
from swaptable._workload import Workload, load, parse_folio, parse_memory, parse_size
from swaptable.errors import SwapError
from swaptable.replay import ReplayResult, _known
from swaptable.replay import replay as replay_once
from swaptable.trace import find_trace, open_trace, synthetic

__all__ = ["HARNESS", "SYNTHETIC", "Cell", "load_workload", "refusal", "run_cell", "seeded", "short_name"]

HARNESS = "null"
SYNTHETIC = "synthetic:"
TIMES = ("seconds", "events_per_second")


@dataclass(frozen=True)
class Cell:
    """What is replayed, in the words of the command line.

    Attributes
    ----------
    trace, memory, folio, design : str
    seed : int
        Of traces that are drawn.
    swap : str or None
        Size of the device; None: 1.25 times the footprint.
    swapin : str
        ``"page"`` or ``"folio"``.
    tiers : str or None
        As for :func:`swaptable.replay.replay`.
    limit : int or None
        The first accesses only.
    """

    trace: str
    memory: str
    folio: str
    design: str
    seed: int = 0
    swap: str | None = None
    swapin: str = "page"
    tiers: str | None = None
    limit: int | None = None

    @property
    def workload(self) -> tuple[str, str, int, int | None]:
        """What the accesses depend on."""
        return self.trace, self.folio, self.seed, self.limit

    def check(self, trace: bool = True) -> None:
        """Refuse what no replay takes, before any work.

        Parameters
        ----------
        trace : bool
            Look for the trace, too.

        Raises
        ------
        ValueError
            The message names the value and what was expected.
        TraceError
            There is no such trace.
        """
        parse_memory(self.memory)
        parse_folio(self.folio)
        if self.swap is not None:
            parse_size(self.swap, "swap")
        if self.swapin not in ("page", "folio"):
            raise ValueError(f"swapin is {self.swapin!r}; expected page or folio")
        if self.tiers is not None:
            parse_tiers(self.tiers)
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; expected 0 or more")
        _known(self.design)
        if not trace:
            return
        if self.trace.startswith(SYNTHETIC):
            _synthetic(self.trace, 0)
            # Some parameters are refused when the first record is drawn.
            next(_synthetic(self.trace, 0, 1), None)
        else:
            find_trace(self.trace)

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain values."""
        return asdict(self)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _synthetic(text: str, seed: int, limit: int | None = None) -> Any:
    """The blocks, or the first *limit* records, of ``synthetic:zipf,records=100000,pages=4096``."""
    kind, *settings = text.removeprefix(SYNTHETIC).split(",")
    pairs = [setting.partition("=") for setting in settings]
    try:
        parameters = {name: _number(value) for name, _, value in pairs}
    except ValueError:
        raise ValueError(f"trace is {text!r}; expected {SYNTHETIC}KIND,records=N,parameter=number,...") from None
    records = int(parameters.pop("records", 1_000_000))
    return synthetic(kind, records if limit is None else min(records, limit), seed=seed, **parameters)


def seeded(trace: str) -> bool:
    """Is the trace drawn by a seed?"""
    return trace.startswith(SYNTHETIC) or open_trace(find_trace(trace)).format == "damo"


def short_name(trace: str) -> str:
    """What a table calls a trace."""
    return trace if trace.startswith(SYNTHETIC) else basename(trace).removesuffix(".npz")


def load_workload(cell: Cell) -> Workload:
    """Read or draw a cell's trace and number its pages."""
    order = parse_folio(cell.folio)
    if not cell.trace.startswith(SYNTHETIC):
        trace = open_trace(find_trace(cell.trace), limit=cell.limit, seed=cell.seed)
        return replace(load(trace, order), name=cell.trace)
    return replace(load(_synthetic(cell.trace, cell.seed), order, cell.limit), name=cell.trace)


def run_cell(cell: Cell, work: Workload, progress: Callable[[int, int], Any] | None = None) -> ReplayResult:
    """Replay a cell once.

    Raises
    ------
    ValueError, SwapError
        As :func:`swaptable.replay.replay`.
    """
    # The design without structures has no tiers: what it measures is the machine.
    tiers = None if cell.design == HARNESS else cell.tiers
    return replay_once(
        work, cell.design, memory=cell.memory, swap=cell.swap, large_swapin=cell.swapin == "folio", tiers=tiers,
        progress=progress,
    )  # fmt: skip


def refusal(err: Exception) -> str | None:
    """Why a design has no result, where that is the design's nature and not a mistake: in words, else None."""
    if isinstance(err, SwapError) and err.errno in (errno.EOPNOTSUPP, errno.ENOMEM):
        return str(err.strerror)
    if type(err) is ValueError and " has no " in str(err):
        return str(err)
    return None
