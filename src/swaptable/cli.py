# The command line: compare, sweep, memory, run, trace, thp-test, mkswap, swaps, doctor.
# May import everything below; nothing imports it but __main__ and the console script.
# Used by people and scripts.
"""``swaptable``: results on stdout, progress and errors on stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TextIO

from swaptable import cli_compare, cli_memory, cli_sweep, run_cli
from swaptable._workload import parse_size
from swaptable.doctor import facts, version
from swaptable.errors import SwapValueError, TraceError
from swaptable.report import render
from swaptable.thp_test import Round, thp_test

SCHEMA = 1
THP_EXAMPLES = """examples:
  swaptable thp-test -n --seed 1
  swaptable thp-test -n --contiguous
  swaptable thp-test -n --plot fallback.svg
  swaptable thp-test -a --memory 63M --json --output fallback.json
"""
DOCTOR_EXAMPLES = """example:
  swaptable doctor --json
"""
MAIN_EXAMPLES = """examples:
  swaptable compare --memory 50% --folio 64K
  swaptable memory --size 32G
  swaptable trace record -o sort.npz -- sort big.txt
  swaptable thp-test -n
"""


def _checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A value that *parse* accepts, as argparse wants refusals; the text itself is kept."""

    def check(text: str) -> str:
        try:
            parse(text)
        except ValueError as err:
            raise argparse.ArgumentTypeError(str(err)) from None
        return text

    return check


def _count(name: str, what: str) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"{name} is {text!r}; expected a number of {what}, 1 or more")
        return int(text)

    return check


def _command(subparsers: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name, help=summary, description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to stdout")
    return parser


def _add_compare(subparsers: Any) -> None:
    parser = _command(subparsers, "compare", cli_compare.SUMMARY, cli_compare.EXAMPLES)
    cli_compare.add_options(parser)
    parser.set_defaults(run=_compare)


def _add_sweep(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "sweep", help=cli_sweep.SUMMARY, description=cli_sweep.DESCRIPTION, epilog=cli_sweep.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    cli_sweep.add_options(parser)
    parser.set_defaults(run=_sweep)


def _add_thp_test(subparsers: Any) -> None:
    summary = "the kernel's thp_swap_allocator_test on a swap table"
    parser = _command(subparsers, "thp-test", summary, THP_EXAMPLES)
    add = parser.add_argument
    add("-a", "--aligned", action="store_true", help="touch aligned 64 KiB blocks, not single pages")
    add("-s", "--small", action="store_true", help="another 4 MiB in single pages")
    add("-n", "--no-large-swapin", action="store_true", help="pages come back one by one, not as whole folios")
    add("-c", "--contiguous", action="store_true", help="slots past the end where the kernel's search fails")
    add("--plot", metavar="FILE", help="draw both policies, contiguous and not, with a CSV beside the picture")
    size = _checked(lambda text: parse_size(text, "size"))
    add("--device", default="64M", type=size, metavar="SIZE", help="of the swap device (default: 64M)")
    add("--memory", default="60M", type=size, metavar="SIZE", help="in 64 KiB folios (default: 60M)")
    add("--iterations", default=100, type=_count("iterations", "rounds"), metavar="N", help="rounds (default: 100)")
    add("--seed", default=0, type=int, metavar="N", help="of the pseudo-random choices (default: 0)")
    parser.set_defaults(run=_thp_test)


def _add_memory(subparsers: Any) -> None:
    parser = _command(subparsers, "memory", cli_memory.SUMMARY, cli_memory.EXAMPLES)
    cli_memory.add_options(parser)
    parser.set_defaults(run=_memory)


def _add_run(subparsers: Any) -> None:
    parser = _command(subparsers, "run", run_cli.SUMMARY, run_cli.EXAMPLES)
    run_cli.add_options(parser)
    parser.set_defaults(run=_run_tiers)


def _add_doctor(subparsers: Any) -> None:
    parser = _command(subparsers, "doctor", "what maintainers ask for in an issue", DOCTOR_EXAMPLES)
    parser.set_defaults(run=_doctor)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="swaptable",
        description="The Linux swap subsystem's data structures, compared on the same work.",
        epilog=MAIN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"swaptable {version('swaptable')}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_compare(subparsers)
    _add_sweep(subparsers)
    _add_memory(subparsers)
    _add_run(subparsers)
    from swaptable.trace import cli as trace_cli

    trace_cli.add_parser(subparsers)
    _add_thp_test(subparsers)
    from swaptable import areas_cli

    areas_cli.add_parser(subparsers)
    _add_doctor(subparsers)
    return parser


@contextlib.contextmanager
def _opened(path: str | None) -> Iterator[TextIO]:
    """stdout, or a new file; the results are complete by the time it is opened."""
    if path is None and sys.stdout is not None:
        yield sys.stdout
        return
    path = path or os.devnull  # whoever closed our stdout wants no results
    with open(path, "w", encoding="utf-8") as out:
        yield out


def _emit(args: argparse.Namespace, report: dict[str, Any], table: tuple[str, Sequence[str], list[list[str]]]) -> None:
    with _opened(args.output) as out:
        if args.json:
            json.dump({"schema": SCHEMA} | report, out, indent=2)
            out.write("\n")
        else:
            render(*table, out)


def _progress(name: str) -> Callable[[int, int], None] | None:
    """A percentage on stderr when someone watches."""
    if not sys.stderr.isatty():
        return None

    def tell(done: int, total: int) -> None:
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{name}: {100 * done // total:3d}%{end}")
        sys.stderr.flush()

    return tell


def _compare(args: argparse.Namespace) -> int:
    write = cli_compare.prepare(args)
    with _opened(args.output) as out:
        write(out)
    return 0


def _sweep(args: argparse.Namespace) -> int:
    report, line = cli_sweep.run(args)
    print(json.dumps({"schema": SCHEMA} | report, indent=2) if args.json else line)
    return 0


def _thp_line(done: Round, contiguous: bool) -> str:
    """The tool's line; what it has no words for comes after it."""
    more = f"; ENOSPC: {done.enospc}, past the end: {done.past}, extents a folio: {done.extents_per_folio:.2f}"
    return f"{done}{more if contiguous else ''}"


def _thp_test(args: argparse.Namespace) -> int:
    names = ("aligned", "small", "no_large_swapin", "contiguous", "iterations", "seed")
    options = {name: getattr(args, name) for name in names}
    options |= {"device": parse_size(args.device, "device"), "memory": parse_size(args.memory, "memory")}
    if args.plot:
        return _thp_plot(args, options)
    with contextlib.ExitStack() as stack:
        # Line by line as the rounds end, as the kernel's tool prints them; a report is complete when it is opened.
        out = None if args.json else stack.enter_context(_opened(args.output))
        each = None if out is None else lambda done: print(_thp_line(done, args.contiguous), file=out, flush=True)
        rounds = thp_test(each=each, **options)
    if args.json:
        report = {
            "command": "thp-test",
            **options,
            "rounds": [asdict(done) | {"percent": done.percent} for done in rounds],
        }
        with _opened(args.output) as out:
            json.dump({"schema": SCHEMA} | report, out, indent=2)
            out.write("\n")
    return 0


def _thp_plot(args: argparse.Namespace, options: dict[str, Any]) -> int:
    """Both policies on the same choices, drawn; what was written goes to stdout."""
    from swaptable.report.plots import check_picture, save_thp_test

    check_picture(args.plot)
    runs = {}
    for name, contiguous in (("the kernel's search", False), ("and past the end", True)):
        tell = _progress(name)
        each = None if tell is None else lambda done, tell=tell: tell(done.iteration, args.iterations)
        runs[name] = thp_test(each=each, **options | {"contiguous": contiguous})
    flags = "".join(f" -{name[0]}" for name in ("aligned", "small", "no_large_swapin") if options[name])
    caption = f"swaptable thp-test{flags} --device {args.device} --memory {args.memory} --seed {args.seed}"
    written = save_thp_test(args.plot, runs, caption)
    with _opened(args.output) as out:
        out.writelines(f"{path}\n" for path in written)
    return 0


def _memory(args: argparse.Namespace) -> int:
    _emit(args, *cli_memory.report(args))
    return 0


def _run_tiers(args: argparse.Namespace) -> int:
    values, table, result = run_cli.report(args, _progress(args.trace))
    _emit(args, values, table)
    if args.plot:
        for path in run_cli.draw(args, result):
            print(path, file=sys.stderr)
    return 0


def _doctor(args: argparse.Namespace) -> int:
    found = facts()
    lines = [[name, ", ".join(value) if isinstance(value, list) else str(value)] for name, value in found.items()]
    with _opened(args.output) as out:
        if args.json:
            json.dump({"schema": SCHEMA, "command": "doctor"} | found, out, indent=2)
            out.write("\n")
        else:
            out.writelines(f"{name:14} {text}\n" for name, text in lines)
    return 0


def _check_output(path: object) -> None:
    """Refuse a place where no file can be before the work whose results would go there; `swaps` has columns there."""
    if isinstance(path, str) and (os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or ".")):
        code = errno.EISDIR if os.path.isdir(path) else errno.ENOENT
        raise OSError(code, os.strerror(code), path)


def _run(args: argparse.Namespace) -> int:
    _check_output(getattr(args, "output", None))
    if hasattr(args, "run"):
        return args.run(args)
    from swaptable.trace import cli as trace_cli

    return trace_cli.run(args)


def _refuse(err: BaseException, code: int) -> int:
    text = err.strerror if isinstance(err, SwapValueError) else str(err)
    if isinstance(err, OSError) and err.filename is not None and err.strerror:
        text = f"{os.fsdecode(err.filename)}: {err.strerror}"
    sys.stderr.write(f"swaptable: {text or type(err).__name__}\n")
    return code


def _pipe_closed() -> int:
    """Whoever read our output has gone: nothing more to say, and no traceback from the last flush either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process when left out.
    """
    try:
        args = _parser().parse_args(argv)
        args.argv = list(sys.argv[1:] if argv is None else argv)
        code = _run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except SystemExit as err:
        return err.code if isinstance(err.code, int) else 2
    except KeyboardInterrupt:
        return _refuse(KeyboardInterrupt("interrupted"), 130)
    except BrokenPipeError:
        return _pipe_closed()
    except SwapValueError as err:
        return _refuse(err, 2)
    except (TraceError, OSError, MemoryError, RuntimeError) as err:
        return _refuse(err, 1)
    except ValueError as err:
        return _refuse(err, 2)
