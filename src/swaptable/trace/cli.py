# `swaptable trace record` and `swaptable trace info`: arguments in, tables and progress out.
# Imports this package and the standard library only.
# Used by the command line's top level, which prints the errors raised here.
"""The ``trace`` command."""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from typing import Any

from . import _trace
from .npz import COMPRESSIONS
from .record import TOOLS, record

SCHEMA = 1
_RECORD_EPILOG = """examples:
  swaptable trace record -o sort.npz -- sort big.txt
  swaptable trace record --window 256 -- python3 -c 'print(sum(range(10**6)))'

Needs valgrind and a C compiler (apt install valgrind gcc). Data accesses only, children included; pages of files that
the program never stored to are left out, since the kernel does not swap them."""
_INFO_EPILOG = """examples:
  swaptable trace info sort.npz
  swaptable trace info --json lackey.txt.gz"""


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)(?:([KMG])(?:iB)?)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size such as 4096, 16K or 2MiB")
    return int(match[1]) << {None: 0, "K": 10, "M": 20, "G": 30}[match[2]]


def add_parser(subparsers: Any) -> None:
    """Add ``trace`` with its commands to *subparsers*, as ``ArgumentParser.add_subparsers`` returns them."""
    parser = subparsers.add_parser("trace", help="record and describe page traces", description="Page traces.")
    commands = parser.add_subparsers(dest="trace_command", metavar="COMMAND", required=True)
    _add_record(commands)
    _add_info(commands)


def _add_parser(commands: Any, name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(name, help=summary, description=summary + ".", epilog=epilog, formatter_class=shape)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def _add_record(commands: Any) -> None:
    parser = _add_parser(commands, "record", "run a program under valgrind and record its page touches", _RECORD_EPILOG)
    parser.add_argument("-o", "--output", default="trace.npz", metavar="FILE", help="the trace to write [%(default)s]")
    text = "drop touches of the PAGES most recent pages, except a stay's first store [%(default)s]"
    parser.add_argument("--window", type=int, default=64, metavar="PAGES", help=text)
    parser.add_argument("--page-size", type=_size, default=4096, metavar="SIZE", help="bytes a page [%(default)s]")
    text = "pagetrace is our own; lackey is far slower and records no children [%(default)s]"
    parser.add_argument("--tool", choices=TOOLS, default="auto", help=text)
    parser.add_argument("--instructions", action="store_true", help="record instruction fetches too (see --files)")
    parser.add_argument("--files", action="store_true", help="record pages of files that are never stored to as well")
    text = "lzma makes the smallest file [%(default)s]"
    parser.add_argument("--compression", choices=sorted(COMPRESSIONS), default="deflate", help=text)
    parser.add_argument("program", metavar="PROGRAM", help="what to run; put -- before it")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")


def _add_info(commands: Any) -> None:
    parser = _add_parser(
        commands, "info", "describe a trace: records, pages, share of writes, how it was made", _INFO_EPILOG
    )
    parser.add_argument(
        "--page-size", type=_size, default=4096, metavar="SIZE", help="for traces of addresses [%(default)s]"
    )
    parser.add_argument("--format", choices=_trace.FORMATS, help="instead of finding it out from the content")
    parser.add_argument("file", metavar="FILE", help="an .npz trace or lackey text, .gz, .xz and .zst included")


def run(args: argparse.Namespace) -> int:
    """Carry out the parsed command and return the exit status.

    Raises
    ------
    TraceError, RecordError, ValueError
        What went wrong, for the top level to print.
    """
    return _record(args) if args.trace_command == "record" else _info(args)


def _record(args: argparse.Namespace) -> int:
    # Progress would be lost between the lines of a program that writes to the same terminal, so it needs a tty.
    progress = _show_progress if sys.stderr.isatty() else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        info = record(
            [args.program, *args.arguments],
            args.output,
            window=args.window,
            page_size=args.page_size,
            progress=progress,
            tool=args.tool,
            instructions=args.instructions,
            files=args.files,
            compression=args.compression,
        )
    if progress:
        print("\r\x1b[K", end="", file=sys.stderr)
    for warning in caught:
        print(f"swaptable: warning: {warning.message}", file=sys.stderr)
    _print(info, args.json, _RECORD_ROWS)
    return 130 if info["interrupted"] else 0


def _show_progress(size: int, records: int, seconds: float) -> None:
    line = f"recording: {records:,} records, {size / 2**20:.1f} MiB, {seconds:.0f} s"
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _info(args: argparse.Namespace) -> int:
    info = _trace.trace_info(args.file, page_size=args.page_size, format=args.format)
    window = info["meta"].get("window")
    _print(info, args.json, {**_INFO_ROWS, **({"recency window": f"{window} pages"} if window else {})})
    return 0


_SIZE_ROWS = {"file": "{path}", "file size": "{file_bytes:,} bytes", "page size": "{page_size:,} bytes"}
_RECORD_ROWS = {
    "command": "{command}",
    **_SIZE_ROWS,
    "tool": "{tool}, valgrind {valgrind}",
    "accesses": "{accesses:,}",
    "records": "{records:,} with a window of {window} pages",
    "address spaces": "{processes:,}",
    "exit status": "{exit_status}",
    "time": "{seconds:.1f} s",
}
_INFO_ROWS = {
    **_SIZE_ROWS,
    "format": "{format}",
    "command": "{command}",
    "tool": "{tool}",
    "records": "{records:,}",
    "writes": "{writes:,} ({write_share:.1%})",
    "distinct pages": "{distinct_pages:,}",
    "footprint": "{footprint_bytes:,} bytes",
    "address spaces": "{processes:,}",
}


def _print(info: dict[str, Any], as_json: bool, rows: dict[str, str]) -> None:
    if as_json:
        print(json.dumps({"schema": SCHEMA, **info}))
        return
    for name, text in rows.items():
        print(f"{name:16}{text.format(**{key: '-' if value is None else value for key, value in info.items()})}")
