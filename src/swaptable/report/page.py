# The page of a report: one HTML file that needs nothing else.
# May import the standard library.
# Used by folder.py.
"""HTML from the JSON object of `swaptable compare`; every number in it says where in the JSON it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from os.path import basename
from typing import Any

from swaptable.report.css import CSS

__all__ = ["Plot", "legends", "page", "workload_name"]


@dataclass(frozen=True)
class Plot:
    """A plot of a report: its file name, what it shows, its files' contents, the picture for the page."""

    name: str
    title: str
    caption: str
    svg: str
    inline: str
    csv: str


# Heading, where it is in a result, digits behind the point; what it means is in TERMS.
COLUMNS = (
    ("faults", "vmstat/pgfault", 0), ("pswpin", "vmstat/pswpin", 0), ("pswpout", "vmstat/pswpout", 0),
    ("swpout_fallback", "vmstat/swpout_fallback", 0), ("bytes peak", "bytes_peak", 0),
    ("bytes final", "bytes_final", 0), ("bytes/slot", "bytes_per_slot", 2),
    ("look-ups/op", "lookups_per_op", 2), ("locks/op", "locks_per_op", 2),
    ("extents/IO", "extents_per_io", 2), ("wasted", "wasted_peak", 0), ("ns/op", "ns_per_op", 1),
    ("events/s", "events_per_second", 0),
)  # fmt: skip
TERMS = (
    ("faults, pswpin, pswpout, swpout_fallback", "as in /proc/vmstat and the statistics of hugepages"),
    ("bytes peak, final", "metadata, counted where it is allocated and freed"),
    ("bytes/slot", "the peak over the slots in use at that time"),
    ("look-ups/op, locks/op", "for each operation that the machine asked of the design"),
    ("extents/IO", "runs of consecutive blocks in a read or write of a block device"),
    ("wasted", "slots and blocks that are taken and hold no data, at the peak"),
    ("ns/op", "CPU time less that of the same machine with a design that has no structure; the fastest run; noise "
              "can make it negative"),
    ("depth", "loads of the look-ups that wait for the one before"),
    ("scanned", "words, bytes or bits read in searches for something free or for an owner; of swap-table and "
                "front-back the summaries too, and the words that bring one up to date"),
    ("hold_longest", "words, steps of searches and depth under one lock, at most; of swap-table and front-back in an "
                     "operation, whose outermost lock is the CPU's"),
    ("ptes", "page table entries visited to move data or to empty a device"),
)  # fmt: skip


def _parts(load: Mapping[str, Any]) -> tuple[str, ...]:
    name = basename(load["trace"]).removesuffix(".npz")
    seed = () if load["seed"] is None else (f"seed {load['seed']}",)
    return (name, f"memory {load['memory']}", f"folios {load['folio']}", *seed)


def workload_name(load: Mapping[str, Any]) -> str:
    """What headings call a workload."""
    return ", ".join(_parts(load))


def legends(loads: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    """What legends call each workload: in what it differs from others; and what all have in common."""
    parts = [_parts(load) for load in loads]
    common = [part for part in parts[0][1:] if all(part in other for other in parts)]
    names = [", ".join(part for part in one if part not in common) for one in parts]
    same = [names[:k].count(name) for k, name in enumerate(names)]
    return [f"{name} ({k + 1})" if k else name for name, k in zip(names, same, strict=True)], ", ".join(common)


def _cell(values: Any, path: str, digits: int) -> str:
    """A number of the JSON, with its path."""
    found = values
    for key in path.split("/"):
        found = found[int(key)] if isinstance(found, (list, tuple)) else found[key]
    text = "-" if found is None else f"{found:,.{digits}f}"
    return f'<td data-json="{escape(path)}">{text}</td>'


def _table(heads: Iterable[str], rows: Iterable[tuple[str, Iterable[str]]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "\n".join(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>' for name, cells in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _results(values: Mapping[str, Any], number: int) -> list[tuple[int, str]]:
    return [(i, result["design"]) for i, result in enumerate(values["results"]) if result["workload"] == number]


def _workload(values: Mapping[str, Any], number: int) -> str:
    load, rows = values["workloads"][number], _results(values, number)
    main = [(name, [_cell(values, f"results/{i}/{path}", digits) for _, path, digits in COLUMNS]) for i, name in rows]
    counters = list(values["results"][rows[0][0]]["counters"]) if rows else []
    counted = [(name, [_cell(values, f"results/{i}/counters/{key}", 0) for key in counters]) for i, name in rows]
    refused = "".join(
        f"<li>{escape(one['reason'])}</li>" for one in values["refused"] if one["workload"] == number
    )
    facts = (
        f"{load['events']:,} accesses to {load['footprint_pages']:,} pages, memory {load['memory_pages']:,} pages, "
        f"devices of {load['swap_slots']:,} slots; the machine alone {load['harness_seconds'] * 1e3:.1f} ms, "
        f"fastest of {load['runs']} runs."
    )
    return "\n".join([
        f"<section><h2>{escape(workload_name(load))}</h2><p>{facts}</p>",
        _table(["design", *(head for head, _, _ in COLUMNS)], main),
        _tiers(values, rows),
        f"<ul class=refused>{refused}</ul>" if refused else "",
        f"<details><summary>All counters</summary>{_table(['design', *counters], counted)}</details></section>",
    ])  # fmt: skip


def _tiers(values: Mapping[str, Any], rows: Sequence[tuple[int, str]]) -> str:
    """What was in which tier, where there are tiers."""
    keys, lines = ("pages", "peak", "reads", "moved"), []
    for i, name in rows:
        for k, tier in enumerate(values["results"][i]["tiers"]):
            cells = [_cell(values, f"results/{i}/tiers/{k}/{key}", 0) for key in keys]
            lines.append((f"{name}: {tier['name']}", cells))
    heads = ["design: tier", "pages at the end", "pages at the peak", "reads by faults", "pages moved down"]
    return f"<details><summary>Tiers</summary>{_table(heads, lines)}</details>" if lines else ""


def _usage(values: Mapping[str, Any]) -> str:
    """Bytes a slot against use."""
    tables = []
    points = list(enumerate(values.get("usage", ())))
    for live in dict.fromkeys(point["live"] for _, point in points):
        uses = list(dict.fromkeys(point["use"] for _, point in points if point["live"] == live))
        rows: dict[str, dict[float, int]] = {}
        for i, point in points:
            if point["live"] == live:
                rows.setdefault(f"{point['design']} ({point['backend']})", {})[point["use"]] = i
        cells = [
            (name, [_cell(values, f"usage/{at[use]}/bytes_per_slot", 2) for use in uses]) for name, at in rows.items()
        ]
        heads = ["design (backend)", *(f"{use:g} % in use" for use in uses)]
        tables.append(f"<h3>{escape(live)}</h3>" + _table(heads, cells))
    return f"<section><h2>Bytes a slot in use</h2>{''.join(tables)}</section>" if tables else ""


def _figure(plot: Plot) -> str:
    """A plot inside the page: its ids are its own, so that pictures do not use each other's shapes."""
    svg = plot.inline[plot.inline.index("<svg") :]
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{plot.name}-", svg)
    links = f'<a href="{plot.name}.svg">SVG</a> <a href="{plot.name}.csv">CSV</a>'
    return (
        f'<figure id="plot-{plot.name}" role="img" aria-label="{escape(plot.title)}">{svg}'
        f"<figcaption>{escape(plot.caption)}. {links}</figcaption></figure>"
    )


def _provenance(values: Mapping[str, Any]) -> str:
    made = values["made_by"]
    machine = ", ".join(f"{name} {value}" for name, value in made["machine"].items())
    seeds = f"{values['seed']}" + ("" if any(load["seed"] is not None for load in values["workloads"])
                                   else " (no trace here is drawn by it)")  # fmt: skip
    facts = [("Command", f"<code>{escape(made['command'])}</code>"), ("Commit", escape(made["commit"] or "unknown")),
             ("Version", escape(made["version"])), ("Seed", seeds), ("Machine", escape(machine))]  # fmt: skip
    return "<dl class=made>" + "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts) + "</dl>"


def page(values: Mapping[str, Any], plots: Sequence[Plot], text: str) -> str:
    """Return the page.

    Parameters
    ----------
    values : mapping
    plots : sequence of Plot
    text : str
        *values* as JSON; it is in the page too, as ``#data``.
    """
    terms = "".join(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>" for name, what in TERMS)
    data = text.replace("<", "\\u003c")
    tables = "\n".join(_workload(values, number) for number in range(len(values["workloads"])))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>Swap designs compared</title><style>{CSS}</style></head><body>
<h1>Swap designs compared</h1>
<p>The same accesses in front of each design: one machine with too little memory, and the design's own structures.</p>
{_provenance(values)}
<section class="plots">{"".join(map(_figure, plots))}</section>
{tables}
{_usage(values)}
<section><h2>What the numbers are</h2><dl class=terms>{terms}</dl>
<p>All numbers: <a href="report.json">report.json</a>, which is in this page too.</p></section>
<script type="application/json" id="data">{data}</script>
</body></html>
"""
