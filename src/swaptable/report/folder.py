# A report of a comparison as a directory: one page, plots as SVG and CSV, the numbers as JSON.
# May import page.py and dots.py; matplotlib is asked for when a report is begun.
# Used by the command line and programs.
"""Write a report that anybody can look at, and make again."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swaptable.report.dots import Metric, against_use, dots, present, value_at
from swaptable.report.page import Plot, legends, page
from swaptable.report.plots import _pyplot, occupancy, threads

__all__ = ["begin_report", "save_report"]

FONT = "DejaVu Sans"
# Text stays text: it can be searched and read aloud, and the page's fonts show it.
STYLE = {
    "svg.fonttype": "none", "font.family": FONT, "font.size": 9,
    "axes.titlesize": 10, "legend.fontsize": 8, "xtick.labelsize": 9, "ytick.labelsize": 9,
}  # fmt: skip
WIDTH = 4.4
LEGEND = 64  # letters in a line
LIVE = {"full-clusters": "clusters filled one after the other", "random": "filled, then random slots freed"}


def begin_report(directory: str | os.PathLike[str]) -> None:
    """Make the directory, and see that there is something to draw with, before any work is done.

    Raises
    ------
    RuntimeError
        matplotlib is not installed.
    OSError
    """
    _pyplot()
    os.makedirs(directory, exist_ok=True)
    try:
        with tempfile.NamedTemporaryFile(dir=directory):
            pass
    except OSError as err:
        raise OSError(err.errno, err.strerror, os.fspath(directory)) from None


def save_report(
    directory: str | os.PathLike[str], values: Mapping[str, Any], tell: Callable[[str], None] | None = None
) -> list[Path]:
    """Write ``index.html``, ``report.json`` and each plot as SVG and CSV; the files written.

    Parameters
    ----------
    directory : path
    values : mapping
        The JSON object of `swaptable compare`; ``usage``, where it is there, has what :func:`footprint.measure` found.
    tell : callable, optional
        Called with what is being done, and with ``""`` at the end.
    """
    begin_report(directory)
    target, plots = Path(directory), []
    for plot in _plots(values, tell or (lambda what: None)):
        (target / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
        (target / f"{plot.name}.csv").write_text(plot.csv, encoding="utf-8")
        plots.append(plot)
    text = json.dumps(values, indent=2)
    (target / "report.json").write_text(text + "\n", encoding="utf-8")
    (target / "index.html").write_text(page(values, plots, text), encoding="utf-8")
    if tell:
        tell("")
    names = ["index.html", "report.json", *(f"{plot.name}.{end}" for plot in plots for end in ("svg", "csv"))]
    return [target / name for name in names]


def _plots(values: Mapping[str, Any], tell: Callable[[str], None]) -> list[Plot]:
    made = []
    for metric in present(values["results"]):
        tell(f"plot of {metric.name}")
        made.append(_dot_plot(values, metric))
    for live, words in LIVE.items():
        points = [point for point in values.get("usage", ()) if point["live"] == live]
        if points:
            tell(f"plot of bytes against use, {live}")
            made.append(_use_plot(values, points, live, words))
    for number in dict.fromkeys(row["workload"] for row in values.get("occupancy", ())):
        tell("plot of clusters")
        made.append(_cluster_plot(values, number))
    if values.get("threads"):
        tell("plot of threads")
        made.append(_thread_plot(values))
    return made


def _cluster_plot(values: Mapping[str, Any], number: int) -> Plot:
    rows = [row for row in values["occupancy"] if row["workload"] == number]
    load, (labels, common) = values["workloads"][number], legends(values["workloads"])
    what = ", ".join(filter(None, (labels[number], common)))
    title, name = f"Clusters of swap-table at the end: {what}", f"clusters-{number}"
    caption = f"{title}. A device of {load['swap_slots']:,} slots without tiers; {_seeds(values)}"

    def draw(figure: Any) -> None:
        ax = occupancy(rows, figure.add_subplot())
        ax.set_title("\n".join(textwrap.wrap(title, 46)), loc="left")

    keys = ("order", "filled", "clusters")
    table = [list(keys), *([row[key] for key in keys] for row in rows)]
    return Plot(name, title, caption, *_svgs(draw, 2.9, name, caption), _csv(table))


def _thread_plot(values: Mapping[str, Any]) -> Plot:
    rows, title = values["threads"], "Timing: threads on one swap table"
    caption = f"{title}. Medians of {len(rows[0]['million_per_second'])} runs, bars from the slowest to the fastest, "
    caption += f"a call for each slot or run; other load of the machine is in it; {_seeds(values)}"

    def draw(figure: Any) -> None:
        ax = threads(rows, figure.add_subplot())
        ax.set_title(title, loc="left")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)

    table = [["order", "phase", "threads", "million_per_second"]]
    table += [[row["order"], row["phase"], row["threads"], one] for row in rows for one in row["million_per_second"]]
    return Plot("threads", title, caption, *_svgs(draw, 3.2, "threads", caption), _csv(table))


def _seeds(values: Mapping[str, Any]) -> str:
    return f"seed {values['seed']}, commit {(values['made_by']['commit'] or 'unknown')[:12]}"


def _dot_plot(values: Mapping[str, Any], metric: Metric) -> Plot:
    loads = values["workloads"]
    labels, common = legends(loads)
    columns: dict[str, dict[str, float | None]] = {label: {} for label in labels}
    for result in values["results"]:
        columns[labels[result["workload"]]][result["design"]] = value_at(result, metric.path)
    designs = list(dict.fromkeys(result["design"] for result in values["results"]))
    slots = ", ".join(f"{n:,}" for n in dict.fromkeys(load["swap_slots"] for load in loads))
    tiers = f", tiers {values['tiers']}" if values["tiers"] else ""
    caption = f"{metric.title}. Traces: {'; '.join(columns)}; {common}{'; ' * bool(common)}"
    caption += f"devices of {slots} slots{tiers}; {_seeds(values)}"

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        dots({label: {d: column.get(d) for d in designs} for label, column in columns.items()}, metric, ax)
        figure.legend(loc="outside lower center", ncols=beside, frameon=False)

    beside = max(1, min(4, LEGEND // (max(map(len, columns)) + 6)))
    height = 1.05 + 0.215 * len(designs) + 0.19 * -(-len(columns) // beside)
    table = [["design", *columns], *([d, *(columns[label].get(d) for label in columns)] for d in designs)]
    return Plot(metric.name, metric.title, caption, *_svgs(draw, height, metric.name, caption), _csv(table))


def _use_plot(values: Mapping[str, Any], points: Sequence[Mapping[str, Any]], live: str, words: str) -> Plot:
    title, name = f"Metadata against use: {words}", f"usage-{live}"
    lines: dict[str, list[tuple[float, float]]] = {}
    mixed = len({point["backend"] for point in points}) > 1
    for point in points:
        if point["bytes_per_slot"] is not None:
            label = f"{point['design']} ({point['backend']})" if mixed else point["design"]
            lines.setdefault(label, []).append((point["use"], point["bytes_per_slot"]))
    caption = f"{title}. Structures built and filled, devices of {points[0]['slots']:,} slots; {_seeds(values)}"

    def draw(figure: Any) -> None:
        ax = against_use(lines, figure.add_subplot())
        ax.set_title("\n".join(textwrap.wrap(title, 46)), loc="left")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)

    keys = ("design", "backend", "use", "slots", "used", "total", "bytes_per_slot")
    table = [list(keys), *([point[key] for key in keys] for point in points)]
    return Plot(name, title, caption, *_svgs(draw, 4.2 + 0.1 * len(lines), name, caption), _csv(table))


def _svgs(draw: Callable[[Any], None], height: float, name: str, caption: str) -> tuple[str, str]:
    """A figure as SVG that is the same in every run: for a file of its own, with its caption, and for the page.

    The page has the caption below the picture, in letters of its own: the same picture without the band at its top.
    """
    pyplot = _pyplot()
    out = io.StringIO()
    lines = textwrap.wrap(caption, 76, max_lines=6, placeholder=" …")
    band = 0.1 + 0.125 * len(lines)
    with pyplot.rc_context(STYLE | {"svg.hashsalt": name}):
        figure = pyplot.figure(figsize=(WIDTH, band + height), layout="constrained")
        top, rest = figure.subfigures(2, 1, height_ratios=(band, height))
        top.text(0.02, 0.9, "\n".join(lines), fontsize=7, va="top", color="#444444")
        draw(rest)
        figure.savefig(out, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    svg = _with_fonts(out.getvalue())
    wide, high = f"{72 * WIDTH:g}", f"{72 * height:g}"
    view = f'width="{wide}pt" height="{high}pt" viewBox="0 {72 * band:g} {wide} {high}"'
    return svg, re.sub(r'width="[\d.]+pt" height="[\d.]+pt" viewBox="[^"]+"', view, svg, count=1)


def _with_fonts(svg: str) -> str:
    return svg.replace(f"'{FONT}'", f"'{FONT}', Verdana, Arial, sans-serif")


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(["" if cell is None else cell for cell in row] for row in rows)
    return out.getvalue()
