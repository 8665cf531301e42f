# A trace as an iterator of blocks, and what can be told about one.
# Imports the readers, the errors and numpy.
# Used by the package's front door, __init__.py.
"""Trace, Block, and the functions that open, save and describe traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TraceError
from . import _source, lackey, npz

FORMATS = ("npz", "lackey")
PID_SHIFT = 36
_DEFAULT = "sqlite-index.npz"


@dataclass(frozen=True, eq=False)
class Block:
    """Records that follow each other: arrays of one length, ``page`` uint64 and ``write`` bool."""

    page: np.ndarray
    write: np.ndarray

    def __len__(self) -> int:
        return len(self.page)


@dataclass(frozen=True)
class Trace:
    """Page touches of a file; iterating yields :class:`Block` after block and reads the file anew each time.

    Attributes
    ----------
    path : Path
    format : str
        ``"npz"`` or ``"lackey"``.
    page_size : int
        Bytes a page, as recorded (npz) or as asked for (lackey).
    meta : dict
        What is known of its making: command, tool, page_size and more.
    """

    path: Path
    format: str
    page_size: int
    meta: dict[str, Any]
    skip: int = 0
    limit: int | None = None
    block: int = 65536
    instructions: bool = field(default=False, repr=False)

    def __iter__(self) -> Iterator[Block]:
        return _cut(self._parts(), self.skip, self.limit, self.block)

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self.format == "npz":
            return npz.read(self.path, self.block)
        return lackey.read(self.path, self.page_size, self.instructions)

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (page, write), all blocks joined."""
        blocks = list(self)
        if not blocks:
            return np.empty(0, np.uint64), np.empty(0, bool)
        return np.concatenate([b.page for b in blocks]), np.concatenate([b.write for b in blocks])


def _cut(parts: Iterable[tuple[np.ndarray, np.ndarray]], skip: int, limit: int | None, block: int) -> Iterator[Block]:
    """Yield blocks of *block* records, the last one shorter, of *limit* records after *skip*."""
    pages, writes = np.empty(0, np.uint64), np.empty(0, bool)
    left = limit
    if left == 0:
        return
    for page, write in parts:
        dropped = min(skip, len(page))
        skip -= dropped
        page, write = page[dropped:][:left], write[dropped:][:left]
        left = None if left is None else left - len(page)
        pages, writes = np.concatenate((pages, page)), np.concatenate((writes, write))
        whole = len(pages) // block * block
        for at in range(0, whole, block):
            yield Block(pages[at : at + block], writes[at : at + block])
        pages, writes = pages[whole:], writes[whole:]
        if left == 0:
            break
    if len(pages):
        yield Block(pages, writes)


def open_trace(
    path: str | PathLike[str],
    *,
    format: str | None = None,
    page_size: int = 4096,
    skip: int = 0,
    limit: int | None = None,
    block: int = 65536,
    instructions: bool = False,
) -> Trace:
    """Open the trace *path*; its records are read when it is iterated.

    Parameters
    ----------
    path : path
        An .npz trace, or lackey text, which may be compressed by gzip, xz or zstd (that one needs ``zstandard``).
    format : {"npz", "lackey"}, optional
        Found out from the content when not given.
    page_size : int
        Bytes, a power of two; for formats that hold addresses. An .npz trace states its own.
    skip, limit : int
        Records to leave out at the start, and to yield at most.
    block : int
        Records a block.
    instructions : bool
        Whether a lackey trace's instruction fetches count as reads.

    Raises
    ------
    TraceError
        The file is missing, damaged or of an unknown format; damage further on is found when iterating.
    ValueError
        An argument is out of range.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format is {format!r}; expected one of {', '.join(FORMATS)}")
    if page_size < 1 or page_size & (page_size - 1):
        raise ValueError(f"page_size is {page_size}; expected a power of two")
    if skip < 0 or (limit is not None and limit < 0) or block < 1:
        raise ValueError(f"skip={skip}, limit={limit}, block={block}; expected skip, limit >= 0 and block >= 1")
    path = Path(path)
    if not path.is_file():
        raise TraceError(f"{path}: no such file" if not path.exists() else f"{path}: not a regular file")
    format = format or _source.recognise(path)
    meta = npz.read_meta(path) if format == "npz" else lackey.read_meta(path, page_size)
    return Trace(path, format, meta["page_size"], meta, skip, limit, block, instructions)


def save_trace(
    path: str | PathLike[str],
    page: np.ndarray,
    write: np.ndarray,
    meta: dict[str, Any],
    *,
    pid: np.ndarray | None = None,
    time: np.ndarray | None = None,
    compression: str = "deflate",
) -> None:
    """Write an .npz trace.

    Parameters
    ----------
    path : path
        The name, taken as it is: no suffix is added.
    page, write : array
        Page numbers below 2**52, and whether each touch is a store; of one length.
    meta : dict
        JSON values; ``page_size`` (bytes) is 4096 when not given.
    pid, time : array, optional
        Address space (index) and time (microseconds) of each record.
    compression : {"deflate", "lzma", "none"}
        lzma makes the smallest file and is the slowest.

    Raises
    ------
    ValueError
        The arrays differ in length, are no integers, or hold a page out of range.
    TraceError
        The file cannot be written.
    """
    given = {"page": page, "write": write, "pid": pid, "time": time}
    members = {name: _member(name, value, len(page)) for name, value in given.items() if value is not None}
    if compression not in npz.COMPRESSIONS:
        raise ValueError(f"compression is {compression!r}; expected one of {', '.join(npz.COMPRESSIONS)}")
    parts = {name: [array] for name, array in members.items()}
    npz.write(Path(path), len(page), parts, {"page_size": 4096} | meta, compression)


def _member(name: str, value: np.ndarray, length: int) -> np.ndarray:
    array = np.asarray(value)
    kinds, top = ("b", 2) if name == "write" else ("iu", npz.MAX_PAGE if name == "page" else 1 << 64)
    if array.shape != (length,):
        raise ValueError(f"{name} has shape {array.shape}; expected one dimension of {length} elements, as page has")
    # An empty list comes out as floats; there is nothing wrong with it.
    if array.size and array.dtype.kind not in kinds:
        raise ValueError(f"{name} has dtype {array.dtype}; expected {npz.DTYPES[name]}")
    if array.size and (int(array.min()) < 0 or int(array.max()) >= top):
        raise ValueError(f"{name} holds {array.min()} to {array.max()}; expected 0 to {top - 1}")
    return array.astype(npz.DTYPES[name])


def _distinct(trace: Trace, seen: dict[str, int]) -> Iterator[np.ndarray]:
    for part in trace:
        seen["records"] += len(part)
        seen["writes"] += int(part.write.sum())
        yield np.unique(part.page)


def _union(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Return the sorted union of *parts*; merging when they outgrow it keeps the work in proportion to their sum."""
    union, pending, size = np.empty(0, np.uint64), [], 0
    for part in parts:
        pending.append(part)
        size += len(part)
        if size > max(len(union), 1 << 20):
            union, pending, size = np.unique(np.concatenate([union, *pending])), [], 0
    return np.unique(np.concatenate([union, *pending]))


def trace_info(path: str | PathLike[str], **options: Any) -> dict[str, Any]:
    """Describe the trace *path* by reading it once, block by block; *options* are those of :func:`open_trace`.

    Returns
    -------
    dict
        path, format, file_bytes, page_size, records, writes, write_share, distinct_pages, footprint_bytes (distinct
        pages times page size), processes (address spaces), command, tool, and meta with all that the file says.
    """
    trace = open_trace(path, **options)
    seen = {"records": 0, "writes": 0}
    pages = _union(_distinct(trace, seen))
    return {
        "path": str(path),
        "format": trace.format,
        "file_bytes": trace.path.stat().st_size,
        "page_size": trace.page_size,
        **seen,
        "write_share": seen["writes"] / seen["records"] if seen["records"] else 0.0,
        "distinct_pages": len(pages),
        "footprint_bytes": len(pages) * trace.page_size,
        "processes": len(np.unique(pages >> np.uint64(PID_SHIFT))),
        "command": trace.meta.get("command"),
        "tool": trace.meta.get("tool"),
        "meta": trace.meta,
    }


def default_trace() -> Path:
    """Return the path of the trace that comes with the package."""
    return Path(str(resources.files(__package__) / "data" / _DEFAULT))
