# Reader of fio's IO logs, versions 2 and 3.
# Imports _block, _source, _text, _pages, the errors and numpy.
# Used by open_trace().
"""fio iologs, as ``write_iolog`` makes and ``read_iolog`` takes them.

The first line is ``fio version 2 iolog`` or ``fio version 3 iolog``. Lines of version 2 are ``filename action`` with
action add, open or close, or ``filename action offset length`` with action read, write, sync, datasync, trim or wait;
offset and length in bytes. Version 3 puts a timestamp in microseconds before that and has no wait.

A read or write touches every page of the range; other actions touch none. The files are numbered in the order in
which they first come; a file's number is the ``pid`` of its records, and it is in the page numbers: ``page = offset
// page_size | pid << 36``, so a range must end below 2**36 pages, and there may be 65,536 files. This is a log of IO
and not of memory: what the page cache served before is not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TraceError
from . import _source
from ._block import PID_SHIFT, Block, Options
from ._pages import expand, page_spans
from ._text import distinct, line_places, numbers

_FIRST = re.compile(rb"fio version (\d+) iolog\s*")
_FILE_ACTIONS = ("add", "open", "close")
_IO_ACTIONS = ("read", "write", "sync", "datasync", "trim")
_LONGEST = 1 << 20
_FILES = 1 << 16


def looks_like(start: bytes) -> bool:
    """Whether *start* begins as a log of any version does."""
    return start.startswith(b"fio version ")


def _version(path: Path) -> int:
    line = _source.head(path).partition(b"\n")[0]
    match = _FIRST.fullmatch(line)
    if not match or match[1] not in (b"2", b"3"):
        raise TraceError(
            f"{path}:1: expected 'fio version 2 iolog' or 'fio version 3 iolog', found {line[:60].decode('latin-1')!r}"
        )
    return int(match[1])


class _Piece:
    """Some whole lines of a log: where their words are."""

    def __init__(self, path: Path, version: int, first: int, data: bytes) -> None:
        self.path, self.version = path, version
        self.text = np.frombuffer(data, np.uint8)
        blank = self.text <= ord(" ")
        inside = np.flatnonzero(np.diff(np.concatenate(([True], blank, [True])).astype(np.int8)))
        self.begins, self.widths = inside[::2], inside[1::2] - inside[::2]
        lines, ends = line_places(self.text, len(data))
        at = np.searchsorted(self.begins, lines)
        count = np.searchsorted(self.begins, ends) - at
        used = count > 0
        self.at, self.count, self.number = at[used], count[used], first + np.flatnonzero(used)

    def words(self, lines: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (begins, widths) of a word of each line."""
        at = self.at[lines] + column
        return self.begins[at], self.widths[at]

    def refuse(self, lines: np.ndarray, good: np.ndarray, expected: str) -> None:
        """Raise for the first of *lines* that is not *good*."""
        if good.all():
            return
        line = lines[int(np.argmin(good))]
        at = self.begins[self.at[line]]
        end = self.begins[self.at[line] + self.count[line] - 1] + self.widths[self.at[line] + self.count[line] - 1]
        found = self.text[at : min(end, at + 60)].tobytes().decode("latin-1")
        raise TraceError(f"{self.path}:{self.number[line]}: expected {expected}, found {found!r}")

    def whole(self, lines: np.ndarray, column: int, what: str, below: int) -> np.ndarray:
        """Return the numbers in a column."""
        value, good = numbers(self.text, *self.words(lines, column), 10)
        self.refuse(lines, good & (value < below), f"{what} below {below}")
        return value


def _actions(piece: _Piece, stamp: int) -> np.ndarray:
    """Return the action of every line: 1 read, 2 write, 0 none that touches; all words are where they belong."""
    shape = f"{'timestamp ' if stamp else ''}filename action [offset length]"
    lines = np.arange(len(piece.at))
    io = piece.count == stamp + 4
    piece.refuse(lines, io | (piece.count == stamp + 2), f"'{shape}'")
    names, which = distinct(piece.text, *piece.words(lines, stamp + 1))
    words = [name.decode("latin-1") for name in names]
    io_actions = _IO_ACTIONS if stamp else (*_IO_ACTIONS, "wait")
    good_io, good_file = (np.array([w in known for w in words], bool)[which] for known in (io_actions, _FILE_ACTIONS))
    rule = f"'{shape}' with {', '.join(io_actions)} and a range, or {', '.join(_FILE_ACTIONS)} without"
    piece.refuse(lines, np.where(io, good_io, good_file), rule)
    return np.array([{"read": 1, "write": 2}.get(w, 0) for w in words], np.int8)[which]


def _touches(piece: _Piece, files: dict[bytes, int], options: Options) -> Iterator[Block]:
    stamp = piece.version - 2
    action = _actions(piece, stamp)
    names, which = distinct(piece.text, *piece.words(np.arange(len(piece.at)), stamp))
    number = np.array([files.setdefault(name, len(files)) for name in names], np.uint64)
    if len(files) > _FILES:
        raise TraceError(f"{piece.path}: expected at most {_FILES} files, found more by line {piece.number[-1]}")
    lines = np.flatnonzero(action)
    offset = piece.whole(lines, stamp + 2, "an offset", 1 << 63)
    length = piece.whole(lines, stamp + 3, "a length", 1 << 32)
    piece.refuse(lines, length > 0, "a length of 1 or more")
    first, count = page_spans(offset, length, options.shift)
    inside = first + count.astype(np.uint64) <= 1 << PID_SHIFT
    piece.refuse(lines, inside, f"a range that ends below {options.page_size << PID_SHIFT} (2**36 pages)")
    pid = number[which][lines]
    time = piece.whole(lines, 0, "a timestamp", 1 << 63) if stamp and "time" in options.columns else None
    rest = Block(first, action[lines] == 2, pid.astype(np.uint32) if "pid" in options.columns else None, time)
    yield from expand(first | pid << np.uint64(PID_SHIFT), count, rest)


def read(path: Path, options: Options) -> Iterator[Block]:
    """Yield blocks of the file *path*.

    Raises
    ------
    TraceError
        The version is another, or a line has other words than its version says.
    """
    version, line = _version(path), 1
    files: dict[bytes, int] = {}

    def too_long() -> TraceError:
        return TraceError(f"{path}:{line}: expected a record, found a line of over {_LONGEST} bytes")

    for data in _source.lines(_source.chunks(path), _LONGEST, too_long):
        rest = data.partition(b"\n")[2] if line == 1 else data
        yield from _touches(_Piece(path, version, 2 if line == 1 else line, rest), files, options)
        line += data.count(b"\n")


def read_meta(path: Path, options: Options) -> dict[str, Any]:
    """Return what the first line tells."""
    return {"page_size": options.page_size, "tool": f"fio iolog version {_version(path)}"}
