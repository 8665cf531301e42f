# The command `compare`: designs side by side on traces, as tables, as JSON, or as a report to look at.
# May import comparison, provenance, the report and what the command line uses.
# Used by cli.py.
"""``swaptable compare``: options, and what they ask for."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from swaptable._tierplan import parse_tiers
from swaptable._workload import parse_folio, parse_memory, parse_size
from swaptable.cells import Cell
from swaptable.comparison import Comparison, Row, WorkloadInfo, compare_all, default_designs, usage
from swaptable.designs import parse as parse_design
from swaptable.occupancy import occupancy
from swaptable.provenance import made_by
from swaptable.replay import design_names
from swaptable.report import begin_report, render, save_report
from swaptable.threads import scaling
from swaptable.trace import default_trace

__all__ = ["EXAMPLES", "SUMMARY", "add_options", "prepare", "tables"]

SUMMARY = "replay traces on every swap design"
EXAMPLES = """examples:
  swaptable compare
  swaptable compare gcc sqlite-index --memory 25%,50% --folio 4K,64K
  swaptable compare app.npz --memory 64M --folio 2M --design front-back:contiguous=yes --design old --json
  swaptable compare gcc --tiers zswap=20%,ssd=20%,hdd --memory 30%
  swaptable compare synthetic:zipf,records=2000000,pages=100000 --seed 3
  swaptable compare gcc node sort --memory 25%,50% --report report
"""
SCHEMA = 2
MAX_THREADS = 64
Table = tuple[str, Sequence[str], list[list[str]]]


def _list_of(parse: Callable[[str], Any]) -> Callable[[str], list[str]]:
    """Values with commas between them, each as *parse* takes it; kept as text."""

    def convert(text: str) -> list[str]:
        values = [value.strip() for value in text.split(",")]
        try:
            for value in values:
                parse(value)
        except ValueError as err:
            raise argparse.ArgumentTypeError(str(err)) from None
        return values

    return convert


def _text_of(parse: Callable[[str], Any]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        try:
            parse(text)
        except ValueError as err:
            raise argparse.ArgumentTypeError(str(err)) from None
        return text

    return convert


def _design(text: str) -> str:
    if text.partition(":")[0] not in design_names():
        raise ValueError(f"unknown design {text!r}; known designs: {', '.join(design_names())}")
    parse_design(text)
    return text


def _count(name: str) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"{name} is {text!r}; expected a number, 1 or more")
        return int(text)

    return convert


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"seed is {text!r}; expected a number, 0 or more")
    return int(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give *parser* the options of this command."""
    add = parser.add_argument
    add("trace", nargs="*", metavar="TRACE",
        help="files, names of `trace list`, or synthetic:KIND,records=N,... (default: sqlite-index)")  # fmt: skip
    add("--memory", default=["50%"], type=_list_of(parse_memory), metavar="SHARE|SIZE,...",
        help="shares of the footprint, or sizes (default: 50%%)")  # fmt: skip
    add("--folio", default=["64K"], type=_list_of(parse_folio), metavar="SIZE,...",
        help="folio sizes, 4K to 2M (default: 64K)")  # fmt: skip
    add("--swap", metavar="SIZE", type=_text_of(lambda text: parse_size(text, "swap")),
        help="size of each device (default: 1.25 times the footprint)")  # fmt: skip
    add("--swapin", choices=("page", "folio"), default="page",
        help="bring single pages back (default), or whole folios as from a synchronous device")  # fmt: skip
    add("--tiers", metavar="NAME=SIZE,...,NAME", type=_text_of(parse_tiers),
        help="tiers from the fastest on, with limits, as zswap=20%%,ssd=30%%,hdd")  # fmt: skip
    add("--design", metavar="NAME[:SWITCH=VALUE,...]", action="append", type=_text_of(_design),
        help=f"may be repeated (default: all, ours in four forms); known: {', '.join(design_names())}")  # fmt: skip
    add("--limit", metavar="N", type=_count("limit"), help="replay the first N accesses only")
    add("--seed", metavar="N", type=_seed, default=0, help="of traces that are drawn (default: 0)")
    add("--runs", metavar="N", type=_count("runs"), help="of each replay, the fastest counts (default: 1 to 5)")
    add("--threads", metavar="N,...", type=_threads, default="1,2",
        help="of a report's small benchmark of threads on one table (default: 1,2; 0: none)")  # fmt: skip
    add("--report", metavar="DIR", help="write a report to look at: one HTML page, plots as SVG and CSV, the JSON")


def _tell(name: str, done: int, total: int) -> None:
    """A percentage on stderr."""
    sys.stderr.write(f"\r{name}: {100 * done // total:3d}%" + ("\n" if done == total else ""))
    sys.stderr.flush()


def _status(what: str) -> None:
    """What is being done, on stderr, until the next thing is."""
    sys.stderr.write(f"\r\x1b[K{what}")
    sys.stderr.flush()


def prepare(args: argparse.Namespace) -> Callable[[TextIO], None]:
    """Do what the options ask for; what is returned writes the results.

    Raises
    ------
    RuntimeError
        No design could be compared; the message says why the first could not.
    """
    if args.report:
        begin_report(args.report)
    found = compare_all(
        args.trace or [str(default_trace())], args.memory, args.folio, args.design or default_designs(), swap=args.swap,
        swapin=args.swapin, tiers=args.tiers, limit=args.limit, seed=args.seed, runs=args.runs,
        progress=_tell if sys.stderr.isatty() else None,
    )  # fmt: skip
    if not found.rows:
        raise RuntimeError(found.refused[0].reason)
    values = _values(found, args)
    if args.report:
        values["usage"] = usage(args.design or default_designs(), pool="zswap" in (args.tiers or ""), seed=args.seed)
        values |= _more(found, args)
        save_report(args.report, values, _status if sys.stderr.isatty() else None)
    return (lambda out: _write_json(values, out)) if args.json else (lambda out: _write_tables(found, args, out))


def _more(found: Comparison, args: argparse.Namespace) -> dict[str, Any]:
    """What a report draws besides: clusters of the swap table after each workload, and threads on one."""
    clusters = []
    for number, info in enumerate(found.workloads):
        what = (info.trace, info.memory, info.folio, "swap-table")
        cell = Cell(*what, args.seed, args.swap, args.swapin, limit=args.limit)
        clusters += [{"workload": number, **row} for row in occupancy(cell, info.swap_slots)]
    return {"occupancy": clusters, "threads": scaling(args.threads) if args.threads else []}


def _threads(text: str) -> list[int]:
    """Numbers of threads; 0 for none."""
    parts = [part.strip() for part in text.split(",")]
    if text != "0" and not all(p.isascii() and p.isdigit() and 1 <= int(p) <= MAX_THREADS for p in parts):
        raise argparse.ArgumentTypeError(f"threads is {text!r}; expected 1 to {MAX_THREADS}, or 0 for none")
    return [] if text == "0" else sorted({int(part) for part in parts})


def _values(found: Comparison, args: argparse.Namespace) -> dict[str, Any]:
    """Return the JSON object."""
    head = {"schema": SCHEMA, "command": "compare", "made_by": made_by(args.argv), "seed": args.seed}
    return head | {"swapin": args.swapin, "tiers": args.tiers} | found.to_dict()


def _write_json(values: dict[str, Any], out: TextIO) -> None:
    json.dump(values, out, indent=2)
    out.write("\n")


def _write_tables(found: Comparison, args: argparse.Namespace, out: TextIO) -> None:
    for k, (table, notes) in enumerate(tables(found, args.tiers)):
        out.write("\n" * (k > 0))
        render(*table, out)
        out.writelines(f"{note}\n" for note in notes)
    if args.report:
        out.write(f"\nreport: {os.path.join(args.report, 'index.html')}\n")


def _title(info: WorkloadInfo, tiers: str | None) -> str:
    drawn = "" if info.seed is None else f" (seed {info.seed})"
    return (
        f"{os.path.basename(info.trace)}{drawn}: {info.events:,} accesses, footprint {info.footprint_pages:,} pages, "
        f"memory {info.memory_pages:,}, swap {info.swap_slots:,}, folios of {info.folio}"
        + (f", tiers {tiers}" if tiers else "")
    )


HEADS = ("design", "faults", "pswpin", "pswpout", "swpout_fallback", "bytes peak", "bytes/slot", "look-ups/op",
         "locks/op", "extents/IO", "wasted")  # fmt: skip


def _fixed(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cells(row: Row, tiers: str | None) -> list[str]:
    result = row.result
    stat = result.vmstat
    return [
        result.design,
        *(f"{stat[name]:,}" for name in ("pgfault", "pswpin", "pswpout", "swpout_fallback")),
        f"{result.bytes_peak:,}",
        _fixed(result.bytes_per_slot),
        f"{result.per_op('lookups'):.2f}",
        f"{result.per_op('locks'):.2f}",
        _fixed(result.extents_per_io),
        f"{result.wasted_peak:,}",
        *([f"{result.counters['ptes']:,}"] if tiers else []),
        "-" if row.ns_per_op is None else f"{row.ns_per_op:.1f}",
        f"{result.events_per_second / 1e6:.1f} M",
    ]


def tables(found: Comparison, tiers: str | None) -> list[tuple[Table, list[str]]]:
    """A table for each workload, and what to say below it."""
    heads = (*HEADS, *(["PTEs"] if tiers else []), "ns/op", "events/s")
    made = []
    for number, info in enumerate(found.workloads):
        rows = [_cells(row, tiers) for row in found.of(number)]
        notes = [f"not compared: {one.reason}" for one in found.refused if one.workload == number]
        made.append(((_title(info, tiers), heads, rows), notes))
    return made
