# Plots of results, as files or on axes that the caller brings; matplotlib is asked for when one is drawn.
# May import the results' classes only; nothing below imports it.
# Used by cli.py and by people in notebooks.
"""Figures: every function takes the axes to draw on, returns them, and shows nothing."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from swaptable.thp_test import Round

# Okabe and Ito's colours, which colour-blind readers tell apart; each line has its own style too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":")

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
    path = Path(path)
    shape = {"figsize": (7, 7.5), "height_ratios": (2, 1, 1), "layout": "constrained"}
    figure, axes = _pyplot().subplots(3, 1, sharex=True, **shape)
    fallback(runs, axes[0]).set_xlabel("")
    metadata(runs, axes[1]).set_xlabel("")
    extents(runs, axes[2])
    figure.suptitle(caption, fontsize="small", wrap=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    _pyplot().close(figure)
    table = path.with_suffix(".csv")
    with table.open("w", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        columns = ("iteration", "swpout", "fallback", "enospc", "past", "extents", "metadata")
        rows.writerow(["run", *columns, "percent"])
        for name, rounds in runs.items():
            rows.writerows([name, *(getattr(r, c) for c in columns), f"{r.percent:.2f}"] for r in rounds)
    return [path, table]
