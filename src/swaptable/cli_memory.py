# The command `memory`: bytes a slot by design, as published and as measured.
# May import published, footprint, hops and what the command line uses.
# Used by cli.py.
"""``swaptable memory``: options, and the report that they ask for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from swaptable import designs, footprint, published
from swaptable import hops as moves
from swaptable._workload import PAGE_SIZE, parse_size
from swaptable.published import MIB

__all__ = ["EXAMPLES", "SUMMARY", "add_options", "report"]

SUMMARY = "what each design's metadata costs: as published, or built and counted"
EXAMPLES = """examples:
  swaptable memory --size 32G
  swaptable memory --mode measured --size 32G --backend zswap --json
  swaptable memory --mode measured --live random --use 10,50 --design vswap-table:index=array --design swap-table-p4
  swaptable memory --mode measured --hops 0..3
"""
SIZES = {"published": "32G", "measured": "1G"}
Table = tuple[str, Sequence[str], list[list[str]]]


def _value(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A value that *parse* makes, its refusals as argparse wants them."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as err:
            raise argparse.ArgumentTypeError(str(err)) from None

    return convert


def _slots(text: str) -> int:
    slots = parse_size(text, "size") // PAGE_SIZE
    if not 1024 <= slots < 1 << 32:
        raise ValueError(f"size is {text!r}; expected 4M to less than 16T")
    return slots


def _uses(text: str) -> list[float]:
    try:
        uses = [float(part) for part in text.split(",")]
    except ValueError:
        uses = [-1.0]
    if not all(0 <= use <= 100 for use in uses):
        raise ValueError(f"use is {text!r}; expected percentages such as 0,25,50,75,100")
    return sorted(set(uses))


def _hops(text: str) -> range:
    first, dots, last = text.partition("..")
    if not (first.isdecimal() and (last.isdecimal() or not dots) and 0 <= int(first) <= int(last or first) <= 3):
        raise ValueError(f"hops is {text!r}; expected 0 to 3, or a range such as 0..3")
    return range(int(first), int(last or first) + 1)


def _design(text: str) -> str:
    designs.parse(text)
    return text


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give *parser* the options of this command."""
    add = parser.add_argument
    add("--mode", choices=("published", "measured"), default="published",
        help="the letters' formulas (default), or the structures built, filled and counted")  # fmt: skip
    add("--size", type=_value(_slots), metavar="SIZE", help="of the device (default: 32G published, 1G measured)")
    add("--use", type=_value(_uses), default="0,25,50,75,100", metavar="PERCENT,...",
        help="shares of the device in use (default: 0,25,50,75,100)")  # fmt: skip
    add("--backend", choices=("zswap", "disk"), help="where the data is (default: a row for each)")
    add("--live", choices=footprint.LIVE, default=footprint.LIVE[0],
        help="measured: whole clusters (default), a slot in each used cluster, or what random frees leave")  # fmt: skip
    add("--hops", type=_value(_hops), metavar="N|A..B",
        help="bytes a slot has after its data moved N times: zswap, SSD, HDD, one more")  # fmt: skip
    add("--design", metavar="NAME[:SWITCH=VALUE,...]", action="append", type=_value(_design),
        help=f"may be repeated (default: all): {', '.join(designs.names())}")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="of --live random (default: 0)")


def _tell(name: str) -> None:
    """Say on stderr what is being measured, when someone watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{name}\r")
        sys.stderr.flush()


def _rows(args: argparse.Namespace) -> list[published.Formula]:
    rows = published.select(args.design, args.backend)
    known = {formula.spec for formula in published.FORMULAS}
    # A design with switches that no letter has: its structures can be built all the same.
    for spec in args.design or ():
        if spec not in known:
            rows += [
                published.Formula(spec, spec, backend, (), "inferred", "this library")
                for backend in ("zswap", "disk")
                if args.backend in (None, backend) and footprint.option(spec, backend) is not None
            ]
    if not rows:
        raise ValueError(f"none of the designs has the backend {args.backend}")
    return rows


def _published(args: argparse.Namespace, slots: int) -> tuple[list[dict[str, Any]], Table]:
    results, table = [], []
    for formula in _rows(args):
        if not formula.terms:
            raise ValueError(f"nothing is published of {formula.spec!r}; measure it")
        sizes = [formula.bytes(slots, int(slots * use / 100)) for use in args.use]
        top = max(args.use)
        per_slot = sizes[-1] / (slots * top / 100) if top else None
        results.append({
            "design": formula.label, "spec": formula.spec, "backend": formula.backend, "origin": formula.origin,
            "source": formula.source, "use": args.use, "bytes": sizes, "bytes_per_slot": per_slot,
        })  # fmt: skip
        mib = [f"{size / MIB:.3f}" for size in sizes]
        table.append([formula.label, formula.backend, *mib, _fixed(per_slot), formula.origin])
    heads = ("design", "data in", *(f"{use:g}%" for use in args.use), "B/slot", "origin")
    return results, (
        f"{_size(slots)} device, MiB of metadata by use, as published or computed from published sizes",
        heads,
        table,
    )


def _measured(args: argparse.Namespace, slots: int) -> tuple[list[dict[str, Any]], Table]:
    results, table = [], []
    for formula in _rows(args):
        if formula.spec is None:
            continue
        _tell(f"{formula.spec}, {formula.backend}")
        found = footprint.measure(
            formula.spec, slots, args.use, formula.backend, args.live, formula=formula if formula.terms else None,
            seed=args.seed,
        )  # fmt: skip
        results += [one.to_dict() for one in found]
        last = found[-1]
        mib = [f"{one.total / MIB:.3f}" for one in found]
        said = "-" if last.formula is None else f"{last.formula / MIB:.3f}"
        table.append([formula.spec, formula.backend, *mib, _fixed(last.bytes_per_slot), said, _beyond(last)])
    _tell("")
    heads = ("design", "data in", *(f"{use:g}%" for use in args.use), "B/slot", "formula", "beyond the formula, MiB")
    return results, (f"{_size(slots)} device, MiB of metadata by use, measured, {args.live}", heads, table)


def _beyond(found: footprint.Footprint) -> str:
    """The kinds that make a difference of a thousandth or more, the four largest first; JSON has all."""
    terms = sorted(found.terms.items(), key=lambda term: -abs(term[1]))
    return ", ".join(f"{kind} {size / MIB:+.3f}" for kind, size in terms[:4] if abs(size) * 1000 >= found.total)


def _hops_published(args: argparse.Namespace) -> tuple[list[dict[str, Any]], Table]:
    results, table = [], []
    for hops in published.HOPS:
        if args.design and not {hops.spec, hops.label} & set(args.design):
            continue
        figures = [hops.bytes[n] if n < len(hops.bytes) else None for n in args.hops]
        results.append({"design": hops.label, "hops": list(args.hops), "bytes": figures, "source": hops.source})
        table.append([hops.label, *("-" if size is None else f"{size:g}" for size in figures), hops.source])
    if not table:
        raise ValueError(f"nothing is published of the moves of {args.design[0]!r}; measure them")
    heads = ("design", *(f"moved {n}x" for n in args.hops), "source")
    return results, (
        "bytes of metadata for a page as its data moves down, as argued in November and December 2025",
        heads,
        table,
    )


def _hops_measured(args: argparse.Namespace, slots: int) -> tuple[list[dict[str, Any]], Table]:
    results, table = [], []
    for spec in args.design or designs.names():
        for n in args.hops:
            _tell(f"{spec}, {n} moves")
            found = moves.hops(spec, slots, n)
            results.append(found.to_dict())
            if found.refused:
                table.append([spec, str(n), *["-"] * (len(moves.GROUPS) + 4)])
                continue
            sizes = [f"{size:.2f}" for size in found.groups.values()]
            ptes, wasted = found.ptes / found.used, found.wasted / found.used
            table.append([spec, str(n), *sizes, f"{found.total:.2f}", f"{ptes:.2f}", f"{wasted:.2f}"])
    _tell("")
    heads = ("design", "moved", *moves.GROUPS, "other", "total", "PTEs", "wasted")
    return results, (f"{_size(slots)} devices in use, bytes an entry after its data moved, measured", heads, table)


def _fixed(size: float | None) -> str:
    return "-" if size is None else f"{size:.2f}"


def _size(slots: int) -> str:
    gib = slots * PAGE_SIZE / (1 << 30)
    return f"{gib:g} GiB" if gib >= 1 else f"{gib * 1024:g} MiB"


def _refuse_idle(args: argparse.Namespace) -> None:
    """Options that would change nothing: whoever gives one means something else."""
    if args.live != footprint.LIVE[0] and (args.mode == "published" or args.hops is not None):
        raise ValueError(f"live is {args.live!r}; expected --mode measured with it, and no --hops")
    if args.backend is not None and args.hops is not None:
        raise ValueError(f"backend is {args.backend!r}; expected no --hops with it: moves go through both")


def report(args: argparse.Namespace) -> tuple[dict[str, Any], Table]:
    """Return what was asked for: the JSON object and the table.

    Raises
    ------
    ValueError
        Nothing fits the options; the message says which.
    """
    _refuse_idle(args)
    slots = args.size if args.size is not None else _slots(SIZES[args.mode])
    if args.hops is not None:
        results, table = _hops_published(args) if args.mode == "published" else _hops_measured(args, slots)
    else:
        results, table = _published(args, slots) if args.mode == "published" else _measured(args, slots)
    head = {
        "command": "memory",
        "mode": args.mode,
        "size": slots * PAGE_SIZE,
        "slots": slots,
        "live": args.live,
        "seed": args.seed,
    }
    return head | {"results": results}, table
