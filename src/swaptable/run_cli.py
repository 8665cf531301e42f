# The command `run`: a trace on tiers that the user names, with real page contents that are verified.
# May import swaprun, the swap space, contents, provenance and what the command line uses.
# Used by cli.py.
"""``swaptable run``: options, and the report that they ask for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swaptable._workload import PAGE_SIZE, parse_memory
from swaptable.contents import Contents, generate, parse_mix, read_pages
from swaptable.provenance import made_by
from swaptable.space import SwapSpace
from swaptable.swaprun import Program, RunResult, add_tier, run

SUMMARY = "replay a trace on a swap system with real bytes: pools, files, ghosts; every page is verified"
EXAMPLES = """examples:
  swaptable run sqlite-index --tier ghost --tier zswap:lz4:4M --tier file:/var/tmp/swap:64M
  swaptable run gcc --memory 30% --tier zswap:zstd-1:256M --tier zram:lz4:64M --mix zero=20,compressible=80
  swaptable run app.npz --tier file:swapfile --pages core.1234 --json
  swaptable run x264 --tier zswap:lz4:4M --tier file:/var/tmp/swap:64M --plot swap-ins.svg

Tiers, best first: zswap:CODEC:LIMIT, file:PATH[:SIZE] (made if it is not there, and removed afterwards), ghost,
zram:CODEC:SIZE, memory:SIZE."""
Table = tuple[str, Sequence[str], list[list[str]]]
HEAD = (
    "tier", "type", "prio", "slots", "pages", "read", "written", "metadata", "pool", "compressed", "slack", "swap-ins",
    "p50 us", "p99 us",
)  # fmt: skip
PERCENTILES = (50, 90, 99, 100)

__all__ = ["EXAMPLES", "SUMMARY", "add_options", "draw", "report"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run``."""
    add = parser.add_argument
    add("trace", metavar="TRACE", help="a file or a name of `swaptable trace list`")
    add("--tier", metavar="KIND[:...]", action="append", required=True, help="may be repeated, best first; see below")
    add("--memory", default="50%", help="share of the footprint or size (default: 50%%)")
    add("--pages", metavar="FILE", help="take the contents of pages from this file")
    add("--mix", metavar="KIND=SHARE,...", help="else imitate a mix of zero, same, compressible and random pages "
        "(default: zero=12,same=1,compressible=79,random=8)")  # fmt: skip
    add("--seed", default=0, type=int, metavar="N", help="of the imitation (default: 0)")
    add("--limit", metavar="N", type=int, help="the first N accesses only")
    add("--page-cluster", default=3, type=int, metavar="N", help="readahead of up to 2^N pages (default: 3)")
    add("--plot", metavar="FILE", help="draw how long swap-ins took, with a CSV beside the picture")
    add("--compressed-writeback", action="store_true", help="what a full pool writes back stays compressed")


def report(
    args: argparse.Namespace, progress: Callable[[int, int], None] | None = None
) -> tuple[dict[str, Any], Table, RunResult]:
    """Run, and return the JSON, the table, and the result for `draw`."""
    from swaptable.trace import find_trace

    trace = find_trace(args.trace)
    if args.plot:
        from swaptable.report import plots

        plots.check_picture(args.plot, [trace, *([args.pages] if args.pages else [])])
    share = parse_memory(args.memory)
    pool = (
        read_pages(args.pages)
        if args.pages
        else generate(mix=parse_mix(args.mix) if args.mix else None, seed=args.seed)
    )
    program = Program.load(trace, args.limit)
    memory = int(program.footprint * share) if isinstance(share, float) else int(share) // PAGE_SIZE
    files: list[str] = []
    with SwapSpace(page_cluster=args.page_cluster, compressed_writeback=args.compressed_writeback) as space:
        try:
            for number, tier in enumerate(args.tier):
                files += add_tier(space, tier, 1000 - number)
            result = run(space, program, memory, Contents(pool), progress)
        finally:
            for path in files:
                os.unlink(path)
    return _json(args, program, result), (_title(program, result), HEAD, _rows(result)), result


def draw(args: argparse.Namespace, result: RunResult) -> list[Path]:
    """Draw what ``--plot`` asks for; the files written."""
    from swaptable.report import plots

    made = made_by(args.argv)
    caption = f"{made['command']}\nswaptable {made['commit'] or made['version']} on {made['machine']['cpu']}"
    return plots.save_latency(args.plot, result.latencies, caption)


def _json(args: argparse.Namespace, program: Program, result: RunResult) -> dict[str, Any]:
    names = (
        "accesses",
        "faults",
        "swapped_in",
        "verified",
        "memory_pages",
        "footprint_pages",
        "written_back",
        "seconds",
    )
    found = {name: getattr(result, name) for name in names}
    latencies = {
        name: {"n": len(times)} | {f"p{p}": int(t) for p, t in zip(PERCENTILES, _percentiles(times), strict=True)}
        for name, times in result.latencies.items()
    }
    return {
        "command": "run", "trace": program.name, "tiers": args.tier, **found, "swap_in_ns": latencies,
        "report": result.report.to_dict(),
    }  # fmt: skip


def _percentiles(times: NDArray[np.int64]) -> list[float]:
    return list(np.percentile(times, PERCENTILES, method="inverted_cdf"))


def _title(program: Program, result: RunResult) -> str:
    stat = result.report.vmstat
    return (
        f"{os.path.basename(program.name)}: {result.accesses:,} accesses, footprint {result.footprint_pages:,} pages, "
        f"memory {result.memory_pages:,}; {result.faults:,} faults, {result.swapped_in:,} pages swapped in, "
        f"{result.verified:,} verified, {stat['swpout_zero']:,} zero pages out, {result.written_back:,} written back, "
        f"readahead {stat['swap_ra']:,} ({stat['swap_ra_hit']:,} hits)"
    )


def _rows(result: RunResult) -> list[list[str]]:
    rows = [
        [t.name, t.kind, str(t.priority), *(f"{n:,}" for n in (
            t.slots, t.pages, t.io["read"], t.io["written"], t.metadata, t.pool, t.compressed, t.slack,
        )), *_times(result, t.name)]
        for t in result.report.tiers
    ]  # fmt: skip
    places = [name for name in result.latencies if name not in {row[0] for row in rows}]
    return rows + [[name, *[""] * 10, *_times(result, name)] for name in places]


def _times(result: RunResult, name: str) -> list[str]:
    times = result.latencies.get(name)
    if times is None:
        return ["0", "-", "-"]
    middle, _, late, _ = _percentiles(times)
    return [f"{len(times):,}", f"{middle / 1000:.1f}", f"{late / 1000:.1f}"]
