# Reader of the text that valgrind --tool=lackey --trace-mem=yes prints, and writer of such text.
# Imports _block, _source, _text, _pages, the errors and numpy.
# Used by open_trace() and convert(), and by record.py where lackey stands in for pagetrace.
"""Valgrind lackey traces.

Lines are `` L ADDR,SIZE`` (load), `` S ADDR,SIZE`` (store), `` M ADDR,SIZE`` (load, then store: one write touch) and
``I ADDR,SIZE`` (instruction fetch), ADDR in hex without 0x, SIZE in bytes. An access that straddles pages touches
each of them. Instruction fetches are left out unless asked for: code is backed by files, which are not swapped. Lines
that start with ``==``, ``--`` or ``**`` are Valgrind's own messages.

Written text has one line a touch, of one byte at the start of the page, and two messages ahead: the command, and all
that is known of the trace as JSON, which the reader takes up again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TraceError
from . import _source
from ._block import Block, Options
from ._pages import expand, page_spans
from ._text import line_places, numbers

_LONGEST = 1 << 20
_MAX_DIGITS = 5  # of a size; the largest access, an XSAVE, has four
_EXPECTED = "expected ' L ADDR,SIZE', ' S ADDR,SIZE', ' M ADDR,SIZE', 'I  ADDR,SIZE' or '== a message'"
_META = b"==0== swaptable: "


def _codes(*starts: bytes) -> np.ndarray:
    return np.array([int.from_bytes(start, "big") for start in starts], dtype=np.uint32)


_INSTR, _LOAD, _STORE, _MODIFY = _codes(b"I  ", b" L ", b" S ", b" M ")
_CHATTER = _codes(b"==", b"--", b"**")


def _commas(text: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return where each line's comma is, 0 where none precedes 1 to 5 last characters."""
    comma = np.zeros(len(ends), dtype=np.intp)
    for back in range(2, _MAX_DIGITS + 2):
        at = ends - back
        found = (text[at] == ord(",")) & (comma == 0)
        comma[found] = at[found]
    return comma


def _bad_line(where: str, text: np.ndarray, begin: int, end: int, number: int) -> TraceError:
    return TraceError(f"{where}:{number}: {_EXPECTED}, found {text[begin : min(end, begin + 60)].tobytes()!r}")


def _parse(data: bytes, where: str, line: int, instructions: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return addresses, sizes, writes and the number of lines of *data*, whole lines of which the first is *line*."""
    text = np.frombuffer(data + b"\n\n\n", dtype=np.uint8)
    begins, ends = line_places(text, len(data))
    two = (text[begins].astype(np.uint32) << 8) | text[begins + 1]
    kind = (two << 8) | text[begins + 2]
    data_line = (kind == _LOAD) | (kind == _STORE) | (kind == _MODIFY)
    known = data_line | (kind == _INSTR) | np.isin(two, _CHATTER) | (begins == ends)
    used = np.flatnonzero(data_line | (kind == _INSTR) if instructions else data_line)
    address_at, end = begins[used] + 3, ends[used]
    comma = _commas(text, end)
    address, good = numbers(text, address_at, np.maximum(comma - address_at, 0), 16)
    size, good_size = numbers(text, comma + 1, np.where(comma > 0, end - comma - 1, 0), 10)
    good &= good_size & (size > 0) & (address + (size - np.uint64(1)) >= address)
    known[used] &= good
    if not known.all():
        bad = int(np.argmin(known))
        raise _bad_line(where, text, begins[bad], ends[bad], line + bad)
    return address, size, (kind[used] == _STORE) | (kind[used] == _MODIFY), len(ends)


def parse(chunks: Iterable[bytes], where: str, page_size: int = 4096, instructions: bool = False) -> Iterator[Block]:
    """Yield blocks of the lackey text that *chunks* make together.

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
    line, shift = 1, page_size.bit_length() - 1

    def too_long() -> TraceError:
        return TraceError(f"{where}:{line}: {_EXPECTED}, found a line of over {_LONGEST} bytes")

    # A last line without its newline is taken if it is whole; one that is cut off fails as any bad line does.
    for data in _source.lines(iter(chunks), _LONGEST, too_long):
        address, size, write, lines = _parse(data, where, line, instructions)
        line += lines
        first, count = page_spans(address, size, shift)
        yield from expand(first, count, Block(first, write))


def read(path: Path, options: Options) -> Iterator[Block]:
    """Yield blocks of the file *path*; see :func:`parse`."""
    return parse(_source.chunks(path), str(path), options.page_size, options.instructions)


def read_meta(path: Path, options: Options) -> dict[str, Any]:
    """Return what the head of *path* tells: tool, page size in bytes and, where Valgrind printed it, the command."""
    meta: dict[str, Any] = {"tool": "valgrind lackey"}
    for line in _source.head(path, 1 << 16).split(b"\n"):
        if line.startswith(_META):
            meta = _own_meta(path, line[len(_META) :])
        elif line.startswith(b"==") and b" Command: " in line:
            meta["command"] = line.split(b" Command: ", 1)[1].decode(errors="replace").strip()
    return meta | {"page_size": options.page_size}


def _own_meta(path: Path, text: bytes) -> dict[str, Any]:
    try:
        meta = json.loads(text)
    except ValueError as err:
        raise TraceError(f"{path}: message 'swaptable:': expected JSON: {err}") from err
    if not isinstance(meta, dict):
        raise TraceError(f"{path}: message 'swaptable:': expected a JSON object, found {text[:60]!r}")
    return meta


def text_of(blocks: Iterable[Block], meta: dict[str, Any], page_size: int) -> Iterator[bytes]:
    """Yield the lackey text of *blocks*: an access of one byte at the start of each touched page.

    Raises
    ------
    TraceError
        A page's address does not fit 64 bits.
    """
    shift = np.uint64(page_size.bit_length() - 1)
    yield _META + json.dumps(meta).encode() + b"\n"
    yield b"==0== Command: " + str(meta.get("command") or "unknown").replace("\n", " ").encode() + b"\n"
    for block in blocks:
        address = block.page << shift
        if (address >> shift != block.page).any():
            raise TraceError(f"page {block.page.max()} of {page_size} bytes has no address of 64 bits")
        lines = zip(np.where(block.write, "S", "L").tolist(), address.tolist(), strict=True)
        yield "".join([f" {kind} {at:08x},1\n" for kind, at in lines]).encode()
