# Reader of the text that valgrind --tool=lackey --trace-mem=yes prints.
# Imports _source, the errors and numpy.
# Used by open_trace(), and by record.py where lackey stands in for pagetrace.
"""Valgrind lackey traces.

Lines are `` L ADDR,SIZE`` (load), `` S ADDR,SIZE`` (store), `` M ADDR,SIZE`` (load, then store: one write touch) and
``I  ADDR,SIZE`` (instruction fetch), ADDR in hex without 0x, SIZE in bytes. An access that straddles pages touches each
of them. Instruction fetches are left out unless asked for: code is backed by files, which are not swapped. Lines that
start with ``==``, ``--`` or ``**`` are Valgrind's own messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..errors import TraceError
from . import _source

_CHUNK = 1 << 20
_MAX_DIGITS = 5  # of a size; the largest access, an XSAVE, has four
_EXPECTED = "expected ' L ADDR,SIZE', ' S ADDR,SIZE', ' M ADDR,SIZE', 'I  ADDR,SIZE' or '== a message'"


def _codes(*starts: bytes) -> np.ndarray:
    return np.array([int.from_bytes(start, "big") for start in starts], dtype=np.uint32)


_INSTR, _LOAD, _STORE, _MODIFY = _codes(b"I  ", b" L ", b" S ", b" M ")
_CHATTER = _codes(b"==", b"--", b"**")
_HEX = np.full(256, 255, dtype=np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)


def _commas(text: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return where each line's comma is, 0 where none precedes 1 to 5 last characters."""
    comma = np.zeros(len(ends), dtype=np.intp)
    for back in range(2, _MAX_DIGITS + 2):
        at = ends - back
        found = (text[at] == ord(",")) & (comma == 0)
        comma[found] = at[found]
    return comma


def _numbers(text: np.ndarray, begins: np.ndarray, widths: np.ndarray, base: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the number at each place of *begins*, and whether all of its *widths* characters are digits."""
    value = np.zeros(len(begins), dtype=np.uint64)
    good = widths > 0
    for width in np.unique(widths[good]):
        lines = np.flatnonzero(widths == width)
        at, total, worst = begins[lines], np.zeros(len(lines), dtype=np.uint64), np.zeros(len(lines), dtype=np.uint8)
        for column in range(width):
            digit = _HEX[text[at + column]]
            worst = np.maximum(worst, digit)
            total = total * np.uint64(base) + digit
        value[lines], good[lines] = total, worst < base
    return value, good


def _touches(address: np.ndarray, size: np.ndarray, write: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one (page, write) for every page of each access."""
    page = address >> np.uint64(shift)
    extra = ((address + (size - np.uint64(1))) >> np.uint64(shift)) - page
    if not extra.any():
        return page, write
    count = extra.astype(np.intp) + 1
    first = np.repeat(np.cumsum(count) - count, count)
    return np.repeat(page, count) + (np.arange(len(first)) - first).astype(np.uint64), np.repeat(write, count)


def _bad_line(where: str, text: np.ndarray, begin: int, end: int, number: int) -> TraceError:
    return TraceError(f"{where}:{number}: {_EXPECTED}, found {text[begin : min(end, begin + 60)].tobytes()!r}")


def _parse(data: bytes, where: str, line: int, shift: int, instructions: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Return pages, writes and the number of lines of *data*, whole lines of which the first is number *line*."""
    text = np.frombuffer(data + b"\n\n\n", dtype=np.uint8)
    ends = np.flatnonzero(text[: len(data)] == ord("\n"))
    begins = np.concatenate(([0], ends[:-1] + 1))
    two = (text[begins].astype(np.uint32) << 8) | text[begins + 1]
    kind = (two << 8) | text[begins + 2]
    data_line = (kind == _LOAD) | (kind == _STORE) | (kind == _MODIFY)
    known = data_line | (kind == _INSTR) | np.isin(two, _CHATTER) | (begins == ends)
    used = np.flatnonzero(data_line | (kind == _INSTR) if instructions else data_line)
    address_at, end = begins[used] + 3, ends[used]
    comma = _commas(text, end)
    digits = comma - address_at
    address, good = _numbers(text, address_at, np.where(digits <= 16, digits, 0), 16)
    size, good_size = _numbers(text, comma + 1, np.where(comma > 0, end - comma - 1, 0), 10)
    good &= good_size & (size > 0) & (address + (size - np.uint64(1)) >= address)
    known[used] &= good
    if not known.all():
        bad = int(np.argmin(known))
        raise _bad_line(where, text, begins[bad], ends[bad], line + bad)
    page, write = _touches(address, size, _is_write(kind[used]), shift)
    return page, write, len(ends)


def _is_write(kind: np.ndarray) -> np.ndarray:
    return (kind == _STORE) | (kind == _MODIFY)


def parse(
    chunks: Iterable[bytes], where: str, page_size: int = 4096, instructions: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (page, write) arrays of the lackey text that *chunks* make together.

    Parameters
    ----------
    chunks : iterable of bytes
        The text, cut anywhere.
    where : str
        The file's name, for error messages.
    page_size : int
        Bytes, a power of two.
    instructions : bool
        Whether instruction fetches count as reads.

    Raises
    ------
    TraceError
        A line is none of lackey's; the message names the file, the line and what was expected.
    """
    rest, line, shift = b"", 1, page_size.bit_length() - 1
    for chunk in chunks:
        whole, newline, tail = chunk.rpartition(b"\n")
        if newline:
            page, write, lines = _parse(rest + whole + newline, where, line, shift, instructions)
            line += lines
            rest = tail
            yield page, write
        else:
            rest += tail
        if len(rest) > _CHUNK:
            raise TraceError(f"{where}:{line}: {_EXPECTED}, found a line of over {_CHUNK} bytes")
    if rest:
        # A last line without its newline is taken if it is whole; one that is cut off fails here as any bad line does.
        yield _parse(rest + b"\n", where, line, shift, instructions)[:2]


def read(path: Path, page_size: int, instructions: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (page, write) arrays of the file *path*; see :func:`parse`."""
    return parse(_source.chunks(path, _CHUNK), str(path), page_size, instructions)


def read_meta(path: Path, page_size: int) -> dict:
    """Return what the head of *path* tells: tool, page size in bytes and, where Valgrind printed it, the command."""
    meta: dict = {"tool": "valgrind lackey", "page_size": page_size}
    for line in _source.head(path).split(b"\n"):
        if line.startswith(b"==") and b" Command: " in line:
            meta["command"] = line.split(b" Command: ", 1)[1].decode(errors="replace").strip()
    return meta
