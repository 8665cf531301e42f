# A trace as an iterator of blocks, and what can be told about one.
# Imports the formats, _block, the errors and numpy.
# Used by the package's front door, __init__.py.
"""Trace, and the functions that open, save and describe traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TraceError
from . import npz
from ._block import BLOCK, EXTRA, MAX_PAGE, PID_SHIFT, Block, Options, PageSet, cut, joined
from ._csv_layout import parse_layout
from ._formats import FORMATS, recognise
from ._pages import object_pages as pages_for

_MOST_PAGES = 1 << 32


@dataclass(frozen=True)
class Trace:
    """Page touches of a file; iterating yields :class:`Block` after block and reads the file anew each time.

    Attributes
    ----------
    path : Path
    format : str
        A name of ``FORMATS``.
    page_size : int
        Bytes a page, as recorded (npz) or as asked for (formats of addresses and objects).
    meta : dict
        What is known of its making: command, tool, page_size and more.
    skip, limit : int
        Touches left out at the start, and yielded at most.
    options : Options
        What the reader was told.
    """

    path: Path
    format: str
    page_size: int
    meta: dict[str, Any]
    skip: int = 0
    limit: int | None = None
    options: Options = field(default_factory=Options)

    def __iter__(self) -> Iterator[Block]:
        parts = FORMATS[self.format].read(self.path, self.options)
        return cut(parts, self.skip, self.limit, self.options.block)

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (page, write), all blocks joined."""
        block = joined(list(self))
        return block.page, block.write


def open_trace(
    path: str | PathLike[str],
    *,
    format: str | None = None,
    page_size: int = 4096,
    skip: int = 0,
    limit: int | None = None,
    block: int = BLOCK,
    instructions: bool = False,
    columns: Iterable[str] = (),
    csv: str | None = None,
    object_pages: int | None = None,
    seed: int = 0,
) -> Trace:
    """Open the trace *path*; its records are read when it is iterated.

    Parameters
    ----------
    path : path
        A file of any format of ``FORMATS``; all but npz may be compressed by gzip, xz or zstd (with ``zstandard``).
    format : str, optional
        A name of ``FORMATS``; found out from the content, then from the name, when not given.
    page_size : int
        Bytes, a power of two; for formats that hold addresses or objects. An .npz trace states its own.
    skip, limit : int
        Page touches to leave out at the start, and to yield at most.
    block : int
        Touches a block.
    instructions : bool
        Whether a lackey trace's instruction fetches count as reads.
    columns : iterable of {"pid", "time"}
        What blocks have besides page and write, where the file has it.
    csv : str, optional
        Which column of a csv trace is what, as libCacheSim's users write it:
        ``time-col=2, obj-id-col=5, obj-size-col=4, delimiter=,, has-header=true``.
    object_pages : int, optional
        For formats of objects: page numbers that each object has, a power of two; 1 makes every object one page,
        whatever its size. When not given, as many as the largest object needs, which takes a pass over the file.
    seed : int
        For damo records: which sampling steps touch a region.

    Raises
    ------
    TraceError
        The file is missing, damaged or of an unknown format; damage further on is found when iterating.
    ValueError
        An argument is out of range.
    """
    _check_numbers(format, page_size, skip, limit, block)
    _check_rest(columns := tuple(columns), csv, object_pages, seed)
    options = Options(page_size, block, bool(instructions), columns, csv, object_pages, seed)
    path = Path(path)
    if not path.is_file():
        raise TraceError(f"{path}: no such file" if not path.exists() else f"{path}: not a regular file")
    found = FORMATS[format or recognise(path, options)]
    meta = found.read_meta(path, options)
    if found.largest:
        options = replace(options, object_pages=object_pages or pages_for(found.largest(path, options), page_size))
        meta |= {"object_pages": options.object_pages}
    return Trace(path, found.name, meta["page_size"], meta, skip, limit, options)


def _check_numbers(format: str | None, page_size: int, skip: int, limit: int | None, block: int) -> None:
    if format is not None and format not in FORMATS:
        raise ValueError(f"format is {format!r}; expected one of {', '.join(FORMATS)}")
    if page_size < 1 or page_size & (page_size - 1) or page_size > 1 << 30:
        raise ValueError(f"page_size is {page_size}; expected a power of two, at most {1 << 30}")
    if skip < 0 or (limit is not None and limit < 0) or block < 1:
        raise ValueError(f"skip={skip}, limit={limit}, block={block}; expected skip, limit >= 0 and block >= 1")


def _check_rest(columns: tuple[str, ...], csv: str | None, object_pages: int | None, seed: int) -> None:
    if not set(columns) <= set(EXTRA):
        raise ValueError(f"columns is {columns!r}; expected some of {', '.join(EXTRA)}")
    if csv is not None:
        parse_layout(csv)
    pages = 1 if object_pages is None else object_pages
    if not 1 <= pages <= _MOST_PAGES or pages & (pages - 1):
        raise ValueError(f"object_pages is {object_pages}; expected a power of two, at most {_MOST_PAGES}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")


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
    kinds, top = ("b", 2) if name == "write" else ("iu", MAX_PAGE if name == "page" else 1 << 64)
    if array.shape != (length,):
        raise ValueError(f"{name} has shape {array.shape}; expected one dimension of {length} elements, as page has")
    # An empty list comes out as floats; there is nothing wrong with it.
    if array.size and array.dtype.kind not in kinds:
        raise ValueError(f"{name} has dtype {array.dtype}; expected {npz.DTYPES[name]}")
    if array.size and (int(array.min()) < 0 or int(array.max()) >= top):
        raise ValueError(f"{name} holds {array.min()} to {array.max()}; expected 0 to {top - 1}")
    return array.astype(npz.DTYPES[name])


def trace_info(path: str | PathLike[str], **options: Any) -> dict[str, Any]:
    """Describe the trace *path* by reading it once, block by block; *options* are those of :func:`open_trace`.

    Returns
    -------
    dict
        path, format, file_bytes, page_size, records, writes, write_share, distinct_pages, footprint_bytes (distinct
        pages times page size), processes (address spaces), synthetic (made by a generator, so of no program),
        expansion_of_samples, command, tool, and meta with all that the file says.
    """
    trace = open_trace(path, **options)
    records = writes = 0
    seen = PageSet()
    for block in trace:
        records, writes = records + len(block), writes + int(block.write.sum())
        seen.add(block.page)
    pages = seen.sorted()
    return {
        "path": str(path),
        "format": trace.format,
        "file_bytes": trace.path.stat().st_size,
        "page_size": trace.page_size,
        "records": records,
        "writes": writes,
        "write_share": writes / records if records else 0.0,
        "distinct_pages": len(pages),
        "footprint_bytes": len(pages) * trace.page_size,
        "processes": len(np.unique(pages >> np.uint64(PID_SHIFT))),
        "synthetic": bool(trace.meta.get("synthetic", False)),
        "expansion_of_samples": bool(trace.meta.get("expansion_of_samples", False)),
        "command": trace.meta.get("command"),
        "tool": trace.meta.get("tool"),
        "meta": trace.meta,
    }
