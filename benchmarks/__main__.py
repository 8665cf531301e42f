# The gated rows, each measured once against its peer, as a table or as JSON.
# May import the benchmarks.
# Used by developers before a release and for the figures of the README: python -m benchmarks.
"""Run every gated row and print what it reached."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from importlib import import_module
from time import perf_counter

from .measure import REPEATS, Row

MODULES = {
    "scalar": "a", "lookup": "b", "alloc": "c1-c4", "churn": "c5 c6", "threads": "c7", "memory": "m", "locations": "l",
    "backends": "e f", "replay": "d", "sweep": "s", "space": "g",
}  # fmt: skip
QUICK_REPEATS = 3


def number(value: float, digits: int = 1) -> str:
    """A figure of the table; empty where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def line(row: Row) -> str:
    """One row as text."""
    gate, stretch = (f"{mark:g}" if mark is not None else "" for mark in (row.gate, row.stretch))
    sign = ">=" if row.higher and (gate or stretch) else "<=" if gate or stretch else ""
    return (
        f"{row.name:<16} {row.what:<54} {number(row.ns):>9} {number(row.peer_ns):>9} {row.peer:<24}"
        f" {number(row.value, 2):>7} {row.unit:<6} {sign:>2} {gate:>5} {stretch:>5}  {row.verdict:<8} {row.note}"
    ).rstrip()


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and return 1 when a gate was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_REPEATS} repeats, not {REPEATS}: for a look only")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    rows_of = ", ".join(f"{name} ({rows})" for name, rows in MODULES.items())
    parser.add_argument("only", nargs="*", choices=[*MODULES, []], metavar="module", help=f"some of {rows_of}")
    args = parser.parse_args(argv)
    found: list[Row] = []
    head = ("row", "", "ns", "peer ns", "peer", "", "", "gate", "stretch")
    if not args.json:
        print("{:<16} {:<54} {:>9} {:>9} {:<24} {:>7} {:<6} {:>8} {:>5}".format(*head))
    for name in args.only or MODULES:
        begin = perf_counter()
        for row in import_module(f".bench_{name}", __package__).rows(QUICK_REPEATS if args.quick else REPEATS):
            found.append(row)
            if not args.json:
                print(line(row), flush=True)
        print(f"{name}: {perf_counter() - begin:.0f} s", file=sys.stderr)
    missed = [row.name for row in found if row.verdict == "MISS"]
    if args.json:
        rows = [{**asdict(row), "verdict": row.verdict} for row in found]
        clean = [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]
        print(json.dumps({"schema": 1, "quick": args.quick, "rows": clean, "missed": missed}, indent=1))
    elif missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
