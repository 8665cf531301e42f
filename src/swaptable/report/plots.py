# Plots of results, as files or on axes that the caller brings; matplotlib is asked for when one is drawn.
# May import the results' classes only; nothing below imports it.
# Used by cli.py and by people in notebooks.
"""Figures: every function takes the axes to draw on, returns them, and shows nothing."""

from __future__ import annotations

import csv
import math
import statistics
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swaptable.thp_test import Round

# Okabe and Ito's colours, which colour-blind readers tell apart; each line has its own style too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":")
ORDERS, SLOTS, BIN = 10, 512, 16  # of clusters; slots in a column of a heat map

Runs = Mapping[str, Sequence[Round]]


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise RuntimeError("plots want matplotlib: pip install 'swaptable[plot]'") from None
    matplotlib.use("Agg", force=False)
    import matplotlib.pyplot as pyplot

    return pyplot


def _lines(ax: Any, runs: Runs, what: str, label: str, scale: float = 1, without: Collection[str] = ()) -> Any:
    for k, (name, rounds) in enumerate(runs.items()):
        if name in without:
            continue
        ax.plot(
            [done.iteration for done in rounds],
            [getattr(done, what) * scale for done in rounds],
            color=COLOURS[k % len(COLOURS)],
            linestyle=STYLES[k % len(STYLES)],
            label=name,
        )
    ax.set_xlabel("iteration")
    ax.set_ylabel(label)
    ax.grid(alpha=0.3)
    return ax


def fallback(runs: Runs, ax: Any = None) -> Any:
    """Fallback percentage per iteration, a line for each run; the axes.

    Parameters
    ----------
    runs : mapping of str to sequence of Round
        What each line is called, and the results of `thp_test`.
    ax : matplotlib axes, optional
        New ones by default.
    """
    ax = _pyplot().figure().add_subplot() if ax is None else ax
    _lines(ax, runs, "percent", "fallback, %")
    ax.set_ylim(-2, 102)
    ax.legend(loc="center right")
    return ax


def metadata(runs: Runs, ax: Any = None) -> Any:
    """Bytes of the table per iteration, in KiB; the axes."""
    ax = _pyplot().figure().add_subplot() if ax is None else ax
    _lines(ax, runs, "metadata", "metadata, KiB", scale=1 / 1024)
    ax.set_ylim(bottom=0)
    return ax


def extents(runs: Runs, ax: Any = None) -> Any:
    """Runs of blocks of a folio past the end per iteration: its IOs; the axes. No such folios, no line."""
    ax = _pyplot().figure().add_subplot() if ax is None else ax
    none = [name for name, rounds in runs.items() if not any(done.past for done in rounds)]
    _lines(ax, runs, "extents_per_folio", "extents a folio", without=none)
    ax.set_ylim(bottom=0)
    return ax


def occupancy(clusters: Sequence[Mapping[str, int]], ax: Any = None) -> Any:
    """Clusters by the order that they serve and by slots in use, as a heat map; the axes.

    Parameters
    ----------
    clusters : sequence of mapping
        ``order``, ``filled`` and ``clusters``, as :func:`swaptable.occupancy.occupancy` counts them.
    ax : matplotlib axes, optional
        New ones by default.
    """
    ax = _pyplot().figure().add_subplot() if ax is None else ax
    cells: dict[tuple[int, int], int] = {}
    for row in clusters:
        place = row["order"], min(row["filled"], SLOTS - 1) // BIN  # the last bin has the full ones too
        cells[place] = cells.get(place, 0) + row["clusters"]
    grid = [[cells.get((order, k), math.nan) for k in range(SLOTS // BIN)] for order in range(ORDERS)]
    edges = [k * BIN for k in range(SLOTS // BIN + 1)]
    shades = ax.pcolormesh(edges, [o - 0.5 for o in range(ORDERS + 1)], grid, cmap="viridis_r", norm="log", vmin=1,
                           vmax=max(10, *cells.values(), 0), rasterized=False)  # fmt: skip
    ax.figure.colorbar(shades, ax=ax, label="clusters")
    ax.set_xticks(range(0, SLOTS + 1, 128))
    ax.set_yticks(range(ORDERS))
    ax.set_xlabel("slots in use, of 512")
    ax.set_ylabel("order")
    return ax


def threads(measured: Sequence[Mapping[str, Any]], ax: Any = None) -> Any:
    """Throughput against threads: medians, with bars from the least to the most; the axes.

    Parameters
    ----------
    measured : sequence of mapping
        ``order``, ``phase``, ``threads`` and ``million_per_second``, as `swaptable.threads.scaling` measures them.
    ax : matplotlib axes, optional
        New ones by default.
    """
    ax = _pyplot().figure().add_subplot() if ax is None else ax
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in measured:
        lines.setdefault(f"{row['phase']}, order {row['order']}", []).append(row)
    for k, (name, rows) in enumerate(lines.items()):
        values = [row["million_per_second"] for row in rows]
        middle = [statistics.median(some) for some in values]
        below = [m - min(some) for m, some in zip(middle, values, strict=True)]
        above = [max(some) - m for m, some in zip(middle, values, strict=True)]
        ax.errorbar(
            [row["threads"] for row in rows], middle, yerr=(below, above), capsize=3, marker="o", markersize=3,
            color=COLOURS[k % len(COLOURS)], linestyle=STYLES[k % len(STYLES)], label=name,
        )  # fmt: skip
    ax.set_xticks(sorted({row["threads"] for row in measured}))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("threads")
    ax.set_ylabel("millions a second, all threads")
    ax.grid(alpha=0.3)
    return ax


def latency(times: Mapping[str, Any], ax: Any = None) -> Any:
    """Cumulative distribution of the time that swap-ins took, a line for each place that pages were at; the axes.

    Parameters
    ----------
    times : mapping of str to array of int, shape (n,)
        Nanoseconds of each, as `swaptable.swaprun.RunResult.latencies` has them.
    ax : matplotlib axes, optional
        New ones by default.
    """
    ax = _pyplot().figure().add_subplot() if ax is None else ax
    for k, (name, some) in enumerate(times.items()):
        ax.plot(
            [us for _, us in _distribution(some)], [percent for percent, _ in _distribution(some)],
            drawstyle="steps-post", color=COLOURS[k % len(COLOURS)], linestyle=STYLES[k % len(STYLES)],
            label=f"{' ' * name.startswith('_')}{name} ({len(some):,})",  # matplotlib leaves out what begins with _
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_ylim(0, 101)
    ax.set_xlabel("time of a swap-in, us")
    ax.set_ylabel("swap-ins that took no longer, %")
    ax.grid(alpha=0.3, which="both")
    if times:
        for text in ax.legend(loc="lower right").get_texts():
            text.set_parse_math(False)  # a path may have a $ in it
    return ax


def _distribution(times: Any) -> list[tuple[float, float]]:
    """(percent, microseconds) in steps of half a percent: measured times, none between two."""
    steps = [k / 2 for k in range(201)]
    found = np.percentile(times, steps, method="inverted_cdf") / 1000
    return list(zip(steps, found.tolist(), strict=True))


def save_latency(path: str | Path, times: Mapping[str, Any], caption: str) -> list[Path]:
    """Draw `latency` into a file, with a CSV of the same numbers beside it; the files written.

    Parameters
    ----------
    path : path
        Its ending names the format: .svg, .png, .pdf.
    times : mapping of str to array of int
    caption : str
        What was run, and on which machine.
    """
    check_picture(path)
    figure = _pyplot().figure(figsize=(7, 4.5), layout="constrained")
    latency(times, figure.add_subplot())
    # Wrapped here, since matplotlib takes a $ for mathematics while it wraps.
    lines = [textwrap.fill(line, 100) for line in caption.splitlines()]
    figure.suptitle("\n".join(lines), fontsize="small", parse_math=False)
    rows = ((name, percent, f"{us:.3f}") for name, some in times.items() for percent, us in _distribution(some))
    return _save(figure, Path(path), ("from", "percent", "microseconds"), rows)


def check_picture(path: str | Path, inputs: Sequence[str | Path] = ()) -> None:
    """Complain before the work begins of what could not be drawn after it.

    Parameters
    ----------
    path : path
        Of the picture; its CSV has the same name with another ending.
    inputs : sequence of path
        Files that must not be written over.

    Raises
    ------
    ValueError
        The ending is no format that can be drawn, there is no such folder, or an input would be lost.
    RuntimeError
        matplotlib is not installed.
    """
    _pyplot()
    path = Path(path)
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise ValueError(f"{path}: expected a name that ends in .svg, .png or .pdf")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: expected a folder that is there, not {path.parent}")
    for file in (path, path.with_suffix(".csv")):
        if file.exists() and any(Path(one).exists() and file.samefile(one) for one in inputs):
            raise ValueError(f"{path}: {file} is what is read; expected another name for the picture")


def save_thp_test(path: str | Path, runs: Runs, caption: str) -> list[Path]:
    """Draw fallback, metadata and extents of several runs into one file, with a CSV beside it; the files written.

    Parameters
    ----------
    path : path
        Its ending names the format: .svg, .png, .pdf.
    runs : mapping of str to sequence of Round
    caption : str
        What was run: sizes, seed, command.
    """
    check_picture(path)
    shape = {"figsize": (7, 7.5), "height_ratios": (2, 1, 1), "layout": "constrained"}
    figure, axes = _pyplot().subplots(3, 1, sharex=True, **shape)
    fallback(runs, axes[0]).set_xlabel("")
    metadata(runs, axes[1]).set_xlabel("")
    extents(runs, axes[2])
    figure.suptitle(caption, fontsize="small", wrap=True)
    columns = ("iteration", "swpout", "fallback", "enospc", "past", "extents", "metadata")
    rows = (
        (name, *(getattr(r, c) for c in columns), f"{r.percent:.2f}") for name, rounds in runs.items() for r in rounds
    )
    return _save(figure, Path(path), ("run", *columns, "percent"), rows)


def _save(figure: Any, path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Path]:
    """The picture, and its numbers as CSV beside it."""
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    _pyplot().close(figure)
    table = path.with_suffix(".csv")
    with table.open("w", newline="") as out:
        lines = csv.writer(out, lineterminator="\n")
        lines.writerow(head)
        lines.writerows(rows)
    return [path, table]
