# Reader and writer of libCacheSim's csv traces.
# Imports _block, _csv_layout, _source, _text, _pages, the errors, numpy and the standard library.
# Used by open_trace(), convert() and generate().
"""csv with columns that the user names as for libCacheSim: ``time-col=2, obj-id-col=5, obj-size-col=4``.

Keys, separated by commas: ``time-col`` (seconds, with or without a fraction), ``obj-id-col`` (must be there) and
``obj-size-col`` (bytes, below 2**32), all counted from 1; ``delimiter``, one character, ``\\t`` or a comma, which is
the default (libCacheSim writes it ``delimiter=,,``); ``has-header`` and ``obj-id-is-num``, which are found out from
the first lines when left out; and ``op-col``: ``r``, ``read``, ``get``, ``0`` or ``w``, ``write``, ``set``, ``put``,
``1``. Without it every touch is a read. Its keys for ttl, tenant, features, cost and next access are passed over. An
id that is no number stands for its 64-bit FNV-1a hash. A cell may be quoted, but not go over lines.

Objects become pages by the rule in :mod:`swaptable.trace._pages`; without ``obj-size-col`` each is one page. A
written file has a header that the reader knows again: ``time,obj_id,obj_size,op``, without ``time`` when the trace
has none.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TraceError
from . import _source
from ._block import Block, Options
from ._csv_layout import EXAMPLE, Layout, parse_layout
from ._pages import expand, object_pages, object_spans
from ._text import distinct, fields, hashes, line_places, numbers

_OPS = {b"r": False, b"read": False, b"get": False, b"0": False, b"w": True, b"write": True, b"set": True, b"put": True}
_OPS |= {b"1": True}
_EXPECTED = {
    "time-col": "seconds",
    "obj-id-col": "a whole number below 2**64",
    "obj-size-col": "bytes, a whole number below 2**32",
    "op-col": f"one of {', '.join(name.decode() for name in _OPS)}",
}
_COMMON = "has-header=true, obj-id-is-num=true"
OURS = {
    b"time,obj_id,obj_size,op": f"time-col=1, obj-id-col=2, obj-size-col=3, op-col=4, {_COMMON}",
    b"obj_id,obj_size,op": f"obj-id-col=1, obj-size-col=2, op-col=3, {_COMMON}",
}
_LONGEST = 1 << 20
_UNIT = "\x1f"
_MICRO = np.uint64(1_000_000)


def looks_like(start: bytes) -> bool:
    """Whether *start* begins with the header that our writer puts there."""
    return start.partition(b"\n")[0].rstrip(b"\r") in OURS


def _layout(path: Path, options: Options) -> Layout:
    first, second, *_ = [*_source.head(path, 1 << 16).split(b"\n", 2), b""]
    text = options.csv or OURS.get(first.rstrip(b"\r"))
    if text is None:
        found = f"found {first[:60]!r}"
        raise TraceError(f"{path}:1: {found}; expected to be told which column is what, as in csv={EXAMPLE!r}")
    return parse_layout(text).settled(first, second)


class _Piece:
    """Some lines of a file, and the columns of them that are in use.

    ``number`` has the line numbers of the lines that are not empty.
    """

    def __init__(self, where: str, first: int, data: bytes, layout: Layout) -> None:
        self.where, self.problems = where, [(1 << 62, "")]
        columns, mark = layout.named(), layout.delimiter
        if b'"' in data:
            data, mark = _unquoted(where, first, data, layout), _UNIT
            columns = {key: at for at, key in enumerate(columns, 1)}
        self.text = np.frombuffer(data + b"\n\n", np.uint8)
        begins, ends = line_places(self.text, len(data))
        ends = ends - ((ends > begins) & (self.text[ends - 1] == ord("\r")))
        used = ends > begins
        begins, ends, self.number = begins[used], ends[used], first + np.flatnonzero(used)
        self.places = self._places(begins, ends, columns, ord(mark))

    def _places(
        self, begins: np.ndarray, ends: np.ndarray, columns: dict[str, int], mark: int
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return (begins, widths) of each column, blanks around a cell left out; a column that is missing is empty."""
        marks = np.flatnonzero(self.text == mark)
        base = np.searchsorted(marks, begins)
        have = np.searchsorted(marks, ends) - base + 1
        marks = np.concatenate((marks, np.zeros(max(columns.values()), marks.dtype)))
        self.refuse(have >= max(columns.values()), f"expected at least {max(columns.values())} columns")
        places = {}
        for key, column in columns.items():
            begin = begins if column == 1 else marks[base + column - 2] + 1
            end = np.where(have == column, ends, marks[base + column - 1])
            places[key] = _trimmed(self.text, begin, np.where(have >= column, end - begin, 0))
        return places

    def refuse(self, good: np.ndarray, expected: str, key: str | None = None) -> None:
        """Take note of the first line that is not *good*."""
        if good.all():
            return
        bad = int(np.argmin(good))
        if key:
            begin, width = (array[bad] for array in self.places[key])
            expected = f"{key}: expected {expected}, found {self.text[begin : begin + min(width, 60)].tobytes()!r}"
        self.problems.append((int(self.number[bad]), expected))

    def check(self) -> None:
        """Raise for the first bad line, if there is one."""
        line, expected = min(self.problems)
        if expected:
            raise TraceError(f"{self.where}:{line}: {expected}")

    def whole(self, key: str, below: int | None = None) -> np.ndarray:
        """Return the whole numbers of a column."""
        begin, width = self.places[key]
        value, good = numbers(self.text, begin, width, 10)
        if not good.all():
            hexa = ~good & (width > 2) & (self.text[begin] == ord("0")) & (self.text[begin + 1] | 32 == ord("x"))
            value[hexa], good[hexa] = numbers(self.text, begin[hexa] + 2, width[hexa] - 2, 16)
        if below is not None:
            good &= value < below
        self.refuse(good, _EXPECTED[key], key)
        return value

    def microseconds(self, key: str) -> np.ndarray:
        """Return the times of a column of seconds."""
        begin, width = self.places[key]
        dots = np.append(np.flatnonzero(self.text == ord(".")), len(self.text))
        dot = np.minimum(dots[np.searchsorted(dots, begin)], begin + width)
        after = np.maximum(begin + width - dot - 1, 0)
        value, good = numbers(self.text, begin, np.where(dot - begin < 13, dot - begin, 0), 10)
        value = value * _MICRO
        for digits in np.unique(after[after > 0]).tolist():
            lines = np.flatnonzero(after == digits)
            part, fine = numbers(self.text, dot[lines] + 1, np.full(len(lines), min(digits, 6)), 10)
            value[lines] += part * np.uint64(10 ** (6 - min(digits, 6)))
            good[lines] &= fine & (digits <= 6)
        # What is written in another way, such as 1e9, or with more digits than microseconds have.
        rest = np.flatnonzero(~good)
        for at, cell in zip(rest.tolist(), fields(self.text, begin[rest], width[rest]).tolist(), strict=True):
            value[at], good[at] = _seconds(cell)
        self.refuse(good, _EXPECTED[key], key)
        return value

    def writes(self, key: str) -> np.ndarray:
        """Return whether the operations of a column are stores."""
        names, which = distinct(self.text, *self.places[key])
        known = [_OPS.get(name.lower()) for name in names]
        self.refuse(np.array([op is not None for op in known], bool)[which], _EXPECTED[key], key)
        return np.array([bool(op) for op in known], bool)[which]

    def ids(self, key: str, is_num: bool | None) -> np.ndarray:
        """Return the object ids of a column."""
        if is_num:
            return self.whole(key)
        self.refuse(self.places[key][1] > 0, "an id", key)
        return hashes(self.text, *self.places[key])


def _seconds(cell: bytes) -> tuple[int, bool]:
    try:
        value = float(cell) * 1e6
    except ValueError:
        return 0, False
    good = 0 <= value < 1 << 63
    return (round(value) if good else 0), good


def _trimmed(text: np.ndarray, begin: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    while (blank := (width > 0) & (text[begin] == ord(" "))).any():
        begin, width = begin + blank, width - blank
    while (blank := (width > 0) & (text[begin + width - 1] == ord(" "))).any():
        width = width - blank
    return begin, width


def _unquoted(where: str, first: int, data: bytes, layout: Layout) -> bytes:
    """Return the columns in use of every line, without quotes; of a line that has too few, one cell."""
    wanted = [column - 1 for column in layout.named().values()]
    most = max(wanted)
    lines: list[str] = []
    reader = csv.reader(data.decode("latin-1").split("\n")[:-1], delimiter=layout.delimiter, strict=True)
    try:
        for cells in reader:
            if reader.line_num != len(lines) + 1:
                raise csv.Error("a cell goes over lines")
            lines.append(
                _UNIT.join([cells[column] for column in wanted]) if len(cells) > most else "?" if cells else ""
            )
    except csv.Error as err:
        raise TraceError(f"{where}:{first + len(lines)}: expected cells, quoted or not, within a line: {err}") from err
    return "\n".join([*lines, ""]).encode("latin-1")


def _pieces(path: Path, layout: Layout) -> Iterator[_Piece]:
    first = 1

    def too_long() -> TraceError:
        return TraceError(f"{path}:{first}: expected a record, found a line of over {_LONGEST} bytes")

    for data in _source.lines(_source.chunks(path), _LONGEST, too_long):
        lines = data.count(b"\n")
        if first == 1 and layout.has_header:
            yield _Piece(str(path), 2, data.partition(b"\n")[2], layout)
        else:
            yield _Piece(str(path), first, data, layout)
        first += lines


def largest(path: Path, options: Options) -> int:
    """Return the size of the largest object in bytes, from a pass over the whole file; 0 without sizes."""
    layout, most = _layout(path, options), 0
    if not layout.obj_size_col:
        return 0
    for piece in _pieces(path, layout):
        most = max(most, int(piece.whole("obj-size-col", 1 << 32).max(initial=0)))
        piece.check()
    return most


def read(path: Path, options: Options) -> Iterator[Block]:
    """Yield blocks of the file *path*.

    Raises
    ------
    TraceError
        A line has too few columns or a bad cell, an object is larger than object_pages, or the columns are not known.
    """
    layout = _layout(path, options)
    pages = options.object_pages or 1
    for piece in _pieces(path, layout):
        named, time = layout.named(), None
        ids = piece.ids("obj-id-col", layout.obj_id_is_num)
        size = piece.whole("obj-size-col", 1 << 32) if "obj-size-col" in named else np.zeros(len(ids), np.uint64)
        write = piece.writes("op-col") if "op-col" in named else np.zeros(len(ids), bool)
        if "time-col" in named:
            time = piece.microseconds("time-col")
        if pages > 1:
            most = pages << options.shift
            wanted = object_pages(int(size.max(initial=0)), options.page_size)
            hint = f"at most {most} bytes: object_pages must be {wanted} or more, or 1 to take every object as one page"
            piece.refuse(size <= most, hint, "obj-size-col")
        piece.check()
        first, count = object_spans(ids, size.astype(np.int64), pages, options.shift)
        yield from expand(first, count, Block(first, write, None, time if "time" in options.columns else None))


def read_meta(path: Path, options: Options) -> dict[str, Any]:
    """Return what is known without a header of meta: the columns.

    Raises
    ------
    TraceError
        It is not known which column is what.
    """
    named = _layout(path, options).named()
    return {"page_size": options.page_size, "tool": "libCacheSim csv", "columns": named}


def parameters(path: Path) -> str:
    """Return the parameters by which libCacheSim reads a file of our own writing; op-col is new there."""
    return re.sub(r"op-col=\d+, ", "", OURS[_source.head(path).partition(b"\n")[0]])


def text_of(blocks: Iterable[Block], page_size: int) -> Iterator[bytes]:
    """Yield csv text of *blocks*, with a header: one object a page, its id the page number.

    Times are in seconds with six decimals.
    """
    begun = False
    for block in blocks:
        kinds = np.where(block.write, "w", "r").tolist()
        if not begun:
            yield b"time,obj_id,obj_size,op\n" if block.time is not None else b"obj_id,obj_size,op\n"
            begun = True
        cells = zip(block.page.tolist(), kinds, strict=True)
        lines = [f"{page},{page_size},{kind}\n" for page, kind in cells]
        if block.time is not None:
            timed = zip(block.time.tolist(), lines, strict=True)
            lines = [f"{at // 1_000_000}.{at % 1_000_000:06},{line}" for at, line in timed]
        yield "".join(lines).encode()
    if not begun:
        yield b"obj_id,obj_size,op\n"
