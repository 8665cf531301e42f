# Plots of a comparison: one mark for each design and workload, and bytes a slot against use.
# May import plots.py; matplotlib is asked for when one is drawn.
# Used by folder.py and by people in notebooks.
"""Figures of what `swaptable compare` counts. Every function takes the axes to draw on, returns them, shows nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swaptable.report.plots import COLOURS, STYLES, _pyplot

__all__ = ["METRICS", "Metric", "against_use", "dots", "present", "value_at"]

MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Metric:
    """A figure of a result.

    Attributes
    ----------
    name : str
        Of the files.
    title, unit : str
        What the plot and its axis say.
    path : tuple of str
        Where it is in a result of the JSON.
    wide : bool
        Designs differ by orders of magnitude: a logarithmic axis.
    """

    name: str
    title: str
    unit: str
    path: tuple[str, ...]
    wide: bool = False


METRICS = (
    Metric("bytes-per-slot", "Metadata at its peak", "bytes a slot in use", ("bytes_per_slot",)),
    Metric("lookups", "Look-ups", "an operation", ("lookups_per_op",)),
    Metric("depth", "Loads that wait for the one before", "an operation", ("depth_per_op",)),
    Metric("locks", "Lock acquisitions", "an operation", ("locks_per_op",)),
    Metric("hold", "Longest hold of a lock", "steps under one lock", ("counters", "hold_longest"), wide=True),
    Metric("fallback", "Folios that had to be split", "swpout_fallback", ("vmstat", "swpout_fallback")),
    Metric("extents", "Runs of blocks in an IO", "extents an IO", ("extents_per_io",)),
    Metric("wasted", "Taken without data, at the peak", "slots and blocks", ("wasted_peak",)),
    Metric("ptes", "To move data", "page table entries visited", ("counters", "ptes"), wide=True),
    Metric("time", "CPU time, less the machine's", "ns an operation", ("ns_per_op",)),
)


def value_at(result: Mapping[str, Any], path: Sequence[str]) -> float | None:
    """The number at a path in a result."""
    found: Any = result
    for key in path:
        found = found[key]
    return found


def present(results: Sequence[Mapping[str, Any]]) -> list[Metric]:
    """The metrics in which the results have anything to show."""
    return [metric for metric in METRICS if any(value_at(result, metric.path) for result in results)]



def dots(columns: Mapping[str, Mapping[str, float | None]], metric: Metric, ax: Any = None) -> Any:
    """One row a design, one mark a workload; the axes.

    Parameters
    ----------
    columns : mapping of str to mapping of str to float
        What the legend says for a workload -> design -> value; None: no mark.
    metric : Metric
    ax : matplotlib axes, optional
        New ones by default.
    """
    ax = _pyplot().figure(layout="constrained").add_subplot() if ax is None else ax
    names = list(dict.fromkeys(design for column in columns.values() for design in column))
    for k, (label, column) in enumerate(columns.items()):
        shown = [(value, names.index(design)) for design, value in column.items() if value is not None]
        ax.plot(
            [value for value, _ in shown], [row for _, row in shown], linestyle="none", label=label, alpha=0.85,
            marker=MARKS[k % len(MARKS)], color=COLOURS[k % len(COLOURS)], markersize=6,
        )  # fmt: skip
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel(metric.unit)
    ax.set_title(metric.title, loc="left")
    ax.grid(alpha=0.3)
    _scale(ax, [value for column in columns.values() for value in column.values() if value is not None], metric.wide)
    return ax


def _scale(ax: Any, values: Sequence[float], wide: bool) -> None:
    """A logarithmic axis where values need one; else one that begins at 0 unless some are below."""
    if wide and max(values, default=0) > 30 * max(1, min(values, default=0)):
        if min(values) > 0:
            ax.set_xscale("log")
        else:
            ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(min(values) / 2 if min(values) > 0 else -0.3, 2 * max(values))
    elif min(values, default=0) >= 0:
        ax.set_xlim(left=0)


def against_use(lines: Mapping[str, Sequence[tuple[float, float]]], ax: Any = None) -> Any:
    """Bytes a slot against use, a line for each design; the axes.

    Parameters
    ----------
    lines : mapping of str to sequence of (float, float)
        Design -> (use in percent, bytes a slot in use), in ascending order.
    ax : matplotlib axes, optional
        New ones by default.
    """
    ax = _pyplot().figure(layout="constrained").add_subplot() if ax is None else ax
    # The legend is in the order in which the lines end, so that a reader finds them from top to bottom.
    for k, (name, points) in enumerate(sorted(lines.items(), key=lambda item: -item[1][-1][1])):
        ax.plot(
            [use for use, _ in points], [size for _, size in points], label=name, linewidth=1.4, markersize=4,
            color=COLOURS[k % len(COLOURS)], linestyle=STYLES[k // len(COLOURS) % len(STYLES)],
            marker=MARKS[k % len(MARKS)],
        )  # fmt: skip
    ax.set_xlabel("slots in use, %")
    ax.set_ylabel("bytes a slot in use")
    ax.set_yscale("log")
    ax.set_xlim(0, 102)
    _plain_ticks(ax)
    ax.grid(alpha=0.3, which="both")
    return ax


def _plain_ticks(ax: Any) -> None:
    """8, 16, 32 and not powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    ax.yaxis.set_major_locator(LogLocator(base=2))
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_formatter(NullFormatter())
