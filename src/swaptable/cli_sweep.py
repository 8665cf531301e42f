# The command `sweep`: every combination of a grid, in parallel, into one file.
# May import the sweep and what the command line uses.
# Used by cli.py.
"""``swaptable sweep``: options, and what they ask for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from swaptable.sweep import SweepResult, read_grid, sweep

__all__ = ["DESCRIPTION", "EXAMPLES", "SUMMARY", "add_options", "run"]

SUMMARY = "every combination of traces, limits and designs, in parallel"
DESCRIPTION = """Run every combination that a grid lists, and write one row for each to a file of columns.
Interrupted, the same command goes on where it was: what is done lies in FILE.journal until FILE is written."""
EXAMPLES = """example of a grid, where only trace must be there:
  trace = ["gcc", "app.npz", "synthetic:zipf,records=1000000,pages=50000"]
  memory = ["25%", "50%", "64M"]
  folio = ["4K", "64K"]
  seed = [1, 2, 3]             # of traces that are drawn
  tiers = ["", "zswap=20%,ssd=30%,hdd"]
  design = ["front-back:contiguous=yes", "old"]    # without it every design; also: swap, swapin, limit

examples:
  swaptable sweep grid.toml
  swaptable sweep grid.toml --output results.parquet --jobs 8
  swaptable sweep grid.toml --dask tcp://10.0.0.1:8786
"""


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"jobs is {text!r}; expected a number of processes, 1 or more")
    return int(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give *parser* the options of this command."""
    add = parser.add_argument
    add("grid", metavar="GRID.toml", help="what to combine")
    add("--json", action="store_true", help="one JSON object that says what was done")
    add("--output", metavar="FILE", help="the results, .npz or .parquet (default: the grid's name with .npz)")
    add("--jobs", metavar="N", type=_jobs, help="processes (default: one for each CPU)")
    add("--dask", metavar="ADDRESS", help="of a Dask scheduler: run there")
    add("--restart", action="store_true", help="forget what an interrupted run has done")


def _tell(done: int, total: int) -> None:
    """Cells on stderr."""
    sys.stderr.write(f"\rsweep: {done:,} of {total:,}" + ("\n" if done == total else ""))
    sys.stderr.flush()


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Do what the options ask for; the JSON object, and the line for people."""
    output = args.output or str(Path(args.grid).with_suffix(".npz"))
    done: SweepResult = sweep(
        read_grid(args.grid), output, jobs=args.jobs, dask=args.dask, restart=args.restart,
        progress=_tell if sys.stderr.isatty() else None,
    )  # fmt: skip
    more = "".join(f", {n:,} {what}" for n, what in ((done.resumed, "done before"), (done.refused, "refused")) if n)
    more += f"\nrefused: {done.reason}" if done.reason else ""
    cells = f"{done.cells:,} cell{'s' * (done.cells != 1)}"
    return {"command": "sweep"} | done.to_dict(), f"{done.output}: {cells}{more}"
