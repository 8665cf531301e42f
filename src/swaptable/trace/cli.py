# `swaptable trace`: record, info, list, convert and generate; arguments in, tables and progress out.
# Imports this package and the standard library only.
# Used by the command line's top level, which prints the errors raised here.
"""The ``trace`` command."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from typing import Any

from . import _trace, named
from ._formats import FORMATS
from ._tables import CONVERT_ROWS, GENERATE_ROWS, INFO_ROWS, RECORD_ROWS, more_rows, show, show_list, warn
from .convert import WRITABLE, convert
from .generate import KINDS, generate
from .npz import COMPRESSIONS
from .record import TOOLS, record

_RECORD_EPILOG = """examples:
  swaptable trace record -o sort.npz -- sort big.txt
  swaptable trace record --window 256 -- python3 -c 'print(sum(range(10**6)))'

Needs valgrind and a C compiler (apt install valgrind gcc). Data accesses only, children included; pages of files that
the program never stored to are left out, since the kernel does not swap them."""
_INFO_EPILOG = """examples:
  swaptable trace info gcc
  swaptable trace info --json lackey.txt.gz
  swaptable trace info --csv "time-col=2, obj-id-col=5, obj-size-col=4, has-header=true" requests.csv"""
_LIST_EPILOG = """example:
  swaptable trace list --json"""
_CONVERT_EPILOG = """examples:
  swaptable trace convert cloud.oracleGeneral.zst cloud.npz
  swaptable trace convert gcc gcc.csv
  swaptable trace convert damon.data damon.npz --seed 1

What the names do not say, --format and --to do. Only npz keeps everything: oracleGeneral has no place for stores, and
neither it nor csv for what meta says of a trace's making."""
_GENERATE_EPILOG = """example:
  swaptable trace generate zipf -o zipf.npz --records 10000000 --alpha 0.9 --seed 1

What is made here no program did: the trace says that it is synthetic, with kind, parameters and seed."""


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)(?:([KMG])(?:iB)?)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size such as 4096, 16K or 2MiB")
    return int(match[1]) << {None: 0, "K": 10, "M": 20, "G": 30}[match[2]]


def _count(text: str) -> int:
    if not re.fullmatch(r"\d[\d_]*(e\d\d?)?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number such as 100000, 1_000_000 or 1e7")
    number, _, zeros = text.replace("_", "").partition("e")
    return int(number) * 10 ** int(zeros or 0)


def add_parser(subparsers: Any) -> None:
    """Add ``trace`` with its commands to *subparsers*, as ``ArgumentParser.add_subparsers`` returns them."""
    summary = "record, describe, convert and make page traces"
    parser = subparsers.add_parser("trace", help=summary, description="Page traces.")
    commands = parser.add_subparsers(dest="trace_command", metavar="COMMAND", required=True)
    _add_record(commands)
    _add_info(commands)
    _add_list(commands)
    _add_convert(commands)
    _add_generate(commands)


def _add_parser(commands: Any, name: str, summary: str, epilog: str, report: bool = True) -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(name, help=summary, description=summary + ".", epilog=epilog, formatter_class=shape)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    if report:
        parser.add_argument("--output", metavar="FILE", help="write there instead of to stdout")
    return parser


def _add_compression(parser: argparse.ArgumentParser) -> None:
    text = "of an npz; lzma makes the smallest file [%(default)s]"
    parser.add_argument("--compression", choices=sorted(COMPRESSIONS), default="deflate", help=text)


def _add_record(commands: Any) -> None:
    summary = "run a program under valgrind and record its page touches"
    parser = _add_parser(commands, "record", summary, _RECORD_EPILOG, report=False)
    parser.add_argument("-o", "--output", default="trace.npz", metavar="FILE", help="the trace to write [%(default)s]")
    text = "drop touches of the PAGES most recent pages, except a stay's first store [%(default)s]"
    parser.add_argument("--window", type=int, default=64, metavar="PAGES", help=text)
    parser.add_argument("--page-size", type=_size, default=4096, metavar="SIZE", help="bytes a page [%(default)s]")
    text = "pagetrace is our own; lackey is far slower and records no children [%(default)s]"
    parser.add_argument("--tool", choices=TOOLS, default="auto", help=text)
    parser.add_argument("--instructions", action="store_true", help="record instruction fetches too (see --files)")
    parser.add_argument("--files", action="store_true", help="record pages of files that are never stored to as well")
    _add_compression(parser)
    parser.add_argument("program", metavar="PROGRAM", help="what to run; put -- before it")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    parser.set_defaults(trace_run=_record)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """The options of open_trace()."""
    add = parser.add_argument
    add("--format", choices=FORMATS, help="instead of finding it out from content and name")
    text = "for traces of addresses or objects [%(default)s]"
    add("--page-size", type=_size, default=4096, metavar="SIZE", help=text)
    add("--skip", type=_count, default=0, metavar="N", help="leave out the first N page touches")
    add("--limit", type=_count, metavar="N", help="stop after N page touches")
    add("--csv", metavar="COLUMNS", help="which column of a csv is what: 'time-col=1, obj-id-col=2, obj-size-col=3'")
    text = "page numbers for each object, 1: an object is a page [what the largest needs]"
    add("--object-pages", type=_count, metavar="N", help=text)
    add("--seed", type=_count, default=0, metavar="N", help="of the expansion of damo records [%(default)s]")
    add("--instructions", action="store_true", help="instruction fetches of lackey text count as reads")


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    names = "format", "page_size", "skip", "limit", "csv", "object_pages", "seed", "instructions"
    return {name: getattr(args, name) for name in names}


def _add_info(commands: Any) -> None:
    summary = "describe a trace: records, pages, share of writes, how it was made"
    parser = _add_parser(commands, "info", summary, _INFO_EPILOG)
    _add_reading(parser)
    text = f"a file ({', '.join(FORMATS)}; .gz, .xz and .zst included), or a name of `swaptable trace list`"
    parser.add_argument("file", metavar="TRACE", help=text)
    parser.set_defaults(trace_run=_info)


def _add_list(commands: Any) -> None:
    parser = _add_parser(commands, "list", "the traces of real programs that come with the package", _LIST_EPILOG)
    parser.set_defaults(trace_run=_list)


def _add_convert(commands: Any) -> None:
    parser = _add_parser(commands, "convert", "write a trace in another format", _CONVERT_EPILOG)
    _add_reading(parser)
    parser.add_argument("--to", choices=WRITABLE, help="what to write, instead of what the name of OUT says")
    _add_compression(parser)
    parser.add_argument("source", metavar="IN", help="a trace, or a name of `swaptable trace list`")
    text = "the file to write: .npz, .oracleGeneral, .csv, .lackey; all but .npz may go on with .gz, .xz, .zst"
    parser.add_argument("target", metavar="OUT", help=text)
    parser.set_defaults(trace_run=_convert)


def _add_generate(commands: Any) -> None:
    summary = "make a synthetic trace"
    parser = commands.add_parser("generate", help=summary, description=summary + ".", epilog=_GENERATE_EPILOG,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, kind in KINDS.items():
        one = _add_parser(kinds, name, f"synthetic: {kind.about}", _GENERATE_EPILOG, report=False)
        add = one.add_argument
        text = "the trace to write: .npz, .oracleGeneral, .csv, .lackey"
        add("-o", "--output", required=True, metavar="FILE", help=text)
        add("--to", choices=WRITABLE, help="what to write, instead of what the name says")
        add("--records", type=_count, default=1_000_000, metavar="N", help="touches [%(default)s]")
        add("--seed", type=_count, default=0, metavar="N", help="the same seed, the same trace [%(default)s]")
        for option, parameter in kind.parameters.items():
            read = float if isinstance(parameter.default, float) else _count
            flag = f"--{option.replace('_', '-')}"
            add(flag, type=read, default=parameter.default, metavar="N", help=f"{parameter.about} [%(default)s]")
        _add_compression(one)
    parser.set_defaults(trace_run=_generate)


def run(args: argparse.Namespace) -> int:
    """Carry out the parsed command and return the exit status.

    Raises
    ------
    TraceError, RecordError, ValueError
        What went wrong, for the top level to print.
    """
    return args.trace_run(args)


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
        warn(str(warning.message))
    show(info, args.json, RECORD_ROWS)
    return 130 if info["interrupted"] else 0


def _show_progress(size: int, records: int, seconds: float) -> None:
    line = f"recording: {records:,} records, {size / 2**20:.1f} MiB, {seconds:.0f} s"
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _info(args: argparse.Namespace) -> int:
    path = named.find_trace(args.file)
    info = _trace.trace_info(path, **_reading(args))
    rows = INFO_ROWS | more_rows(info)
    if str(path) != args.file:
        rows |= {"file": f"{args.file}, of this package"}     # where that is, --json says
    show(info, args.json, rows, args.output)
    return 0


def _list(args: argparse.Namespace) -> int:
    infos = [{"name": name, **_trace.trace_info(named.named_trace(name))} for name in named.trace_names()]
    show_list(infos, args.json, args.output)
    return 0


def _convert(args: argparse.Namespace) -> int:
    source = named.find_trace(args.source)
    info = convert(source, args.target, to=args.to, compression=args.compression, **_reading(args))
    _tell_lost(info)
    rows = CONVERT_ROWS | ({"csv columns": "{csv}"} if "csv" in info else {})
    show(info, args.json, rows, args.output)
    return 0


def _tell_lost(info: dict[str, Any]) -> None:
    """Say it where the output cannot: that stores were dropped, or that no program made this."""
    if "write" in info["lost"]:
        warn(f"{info['path']}: {info['format']} has no place for stores: every touch is a read there")
    if "meta" in info["lost"] and info.get("synthetic"):
        warn(f"{info['path']}: the trace is synthetic, and {info['format']} has no place to say so")
    if "meta" in info["lost"] and info.get("expansion_of_samples"):
        warn(f"{info['path']}: the trace is an expansion of samples, and {info['format']} has no place to say so")


def _generate(args: argparse.Namespace) -> int:
    chosen = {name: getattr(args, name) for name in KINDS[args.kind].parameters}
    info = generate(
        args.kind,
        args.output,
        args.records,
        seed=args.seed,
        to=args.to,
        compression=args.compression,
        **chosen,
    )
    _tell_lost(info)
    show(info, args.json, GENERATE_ROWS)
    return 0
