# `swaptable mkswap` and `swaptable swaps`: arguments in, the texts of util-linux and of /proc/swaps out.
# May import everything below the command line's top level.
# Used by cli.py, which prints the errors raised here.
"""The commands for swap areas."""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import stat
import sys
from dataclasses import asdict, replace
from typing import Any

from swaptable._workload import parse_size
from swaptable.errors import SwapValueError
from swaptable.swapfile import PAGE_SIZES, SwapHeader, mkswap, read_header
from swaptable.swaplist import (
    COLUMNS,
    SHOWN,
    SwapArea,
    format_proc_swaps,
    format_show,
    human_size,
    parse_columns,
    parse_proc_swaps,
)

SCHEMA = 1
_MKSWAP_EXAMPLES = """examples:
  swaptable mkswap --size 1G --label scratch swapfile
  swaptable mkswap --ghost --size 8T ghostfile --json

A new file has mode 0600 and real blocks; `swapon` of util-linux takes it. Kernels without ghost swapfiles refuse a
ghost as shorter than its signature says."""
_SWAPS_EXAMPLES = """examples:
  swaptable swaps
  swaptable swaps --show=NAME,SIZE,PRIO --bytes --noheadings
  swaptable swaps saved-proc-swaps --show --raw

--output takes a file; with --show also a list of columns, so that a file with the name of a column is ./NAME."""


def add_parser(subparsers: Any) -> None:
    """Add ``mkswap`` and ``swaps`` to *subparsers*, as ``ArgumentParser.add_subparsers`` returns them."""
    _add_mkswap(subparsers)
    _add_swaps(subparsers)


def _command(subparsers: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=summary, description=summary, epilog=examples, formatter_class=shape
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    return parser


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from None


def _columns(text: str) -> tuple[str, ...]:
    try:
        return parse_columns(text)
    except SwapValueError as err:
        raise argparse.ArgumentTypeError(err.strerror) from None


def _add_mkswap(subparsers: Any) -> None:
    parser = _command(subparsers, "mkswap", "make a swap area or a ghost in a file or on a device", _MKSWAP_EXAMPLES)
    add = parser.add_argument
    add("file", metavar="FILE", help="a new or existing file, or a block device")
    add("--output", metavar="FILE", help="write the report there instead of to stdout")
    add("-s", "--size", type=_size, help="of the area, header included (default: what is there)")
    add("--ghost", action="store_true", help="a file of one page; --size is what its front end starts with")
    add("-L", "--label", default="", help="at most 15 bytes")
    add("-U", "--uuid", help="a uuid, clear, random (default) or time")
    add("-p", "--pagesize", type=_size, default=mmap.PAGESIZE, metavar="SIZE",
        help=f"one of {', '.join(map(str, PAGE_SIZES))} (default: %(default)s)")  # fmt: skip
    add("-e", "--endianness", choices=("native", "little", "big"), default="native", help="default: %(default)s")
    add("-f", "--force", action="store_true", help="write over data that is no swap area")
    parser.set_defaults(run=_mkswap)


def _add_swaps(subparsers: Any) -> None:
    parser = _command(subparsers, "swaps", "what is on as swap, as /proc/swaps or `swapon --show`", _SWAPS_EXAMPLES)
    add = parser.add_argument
    add("file", nargs="?", default="/proc/swaps", metavar="FILE", help="in the layout of %(default)s (the default)")
    add("--show", nargs="?", const=SHOWN, type=_columns, metavar="COLUMNS",
        help=f"the table of swapon(8): some of {','.join(COLUMNS)} (default: {','.join(SHOWN)})")  # fmt: skip
    add("--bytes", action="store_true", help="with --show: sizes in bytes")
    add("--raw", action="store_true", help="with --show: unaligned, blanks in names as \\x20")
    add("--noheadings", action="store_true", help="with --show: no headings")
    add("--output", action="append", default=[], metavar="FILE|COLUMNS", help="a file to write to; see below")
    parser.set_defaults(run=_swaps)


def _mkswap(args: argparse.Namespace) -> int:
    order = sys.byteorder if args.endianness == "native" else args.endianness
    options = {"label": args.label, "uuid": args.uuid, "page_size": args.pagesize, "byteorder": order}
    header = mkswap(args.file, args.size, ghost=args.ghost, force=args.force, **options)
    _warn_of_mode(args.file)
    report = {"command": "mkswap", "file": args.file, "size": header.size} | _plain(header)
    _emit(args.json, args.output, report, _made(header))
    return 0


def _plain(header: SwapHeader) -> dict[str, Any]:
    return asdict(header) | {"uuid": str(header.uuid), "bad": list(header.bad)}


def _made(header: SwapHeader) -> str:
    """The two lines of mkswap(8); its size is without the header page."""
    size = header.size - header.page_size
    kind = "ghost swapspace" if header.ghost else "swapspace"
    human = human_size(size, "iB")
    unit = human.lstrip("0123456789.")
    label = f"LABEL={header.label}" if header.label else "no label"
    return (
        f"Setting up {kind} version {header.version}, size = {human.removesuffix(unit)} {unit} ({size} bytes)\n"
        f"{label}, UUID={header.uuid}\n"
    )


def _warn_of_mode(path: str) -> None:
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode) and mode & 0o077:
        sys.stderr.write(f"swaptable: {path} has mode {mode:04o}: others can read what is swapped out; use 0600\n")


def _swaps(args: argparse.Namespace) -> int:
    columns, path = _sorted_output(args)
    with open(args.file, encoding="utf-8", errors="surrogateescape") as file:
        areas = parse_proc_swaps(file.read())
    if columns and {"UUID", "LABEL"} & set(columns):
        areas = tuple(map(_identified, areas))
    if columns:
        text = format_show(areas, columns, in_bytes=args.bytes, raw=args.raw, headings=not args.noheadings)
    else:
        text = format_proc_swaps(areas)
    _emit(args.json, path, {"command": "swaps", "swaps": [asdict(area) for area in areas]}, text)
    return 0


def _sorted_output(args: argparse.Namespace) -> tuple[tuple[str, ...] | None, str | None]:
    """The columns to show, or None, and the file to write to, or None."""
    columns, path = args.show, None
    for value in args.output:
        try:
            listed = parse_columns(value) if args.show else None
        except SwapValueError:
            listed = None
        columns, path = (listed or columns), (path if listed else value)
    return columns, path


def _identified(area: SwapArea) -> SwapArea:
    """With the uuid and the label of its header, where that can be read."""
    with contextlib.suppress(OSError):
        header = read_header(area.name)
        return replace(area, uuid=str(header.uuid), label=header.label)
    return area


def _emit(as_json: bool, path: str | None, report: dict[str, Any], text: str) -> None:
    """To *path*, else to stdout; whoever closed that wants no results."""
    if as_json:
        text = json.dumps({"schema": SCHEMA} | report, indent=2) + "\n"
    if path is not None:
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as out:
            out.write(text)
    elif hasattr(sys.stdout, "buffer"):
        # Past the text layer, which refuses names of files that are no UTF-8.
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    elif sys.stdout is not None:
        sys.stdout.write(text)
