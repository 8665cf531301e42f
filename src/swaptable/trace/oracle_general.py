# Reader and writer of libCacheSim's oracleGeneral traces.
# Imports _block, _source, _pages, the errors and numpy.
# Used by open_trace(), convert() and generate().
"""oracleGeneral: packed little-endian records of 24 bytes without a header, often compressed by zstd.

A record is ``u32 time`` (seconds), ``u64 obj_id``, ``u32 obj_size`` (bytes), ``i64 next_access_vtime``: the number,
counted from 0, of the next request for the same object; -1 or 2**63 - 1 when there is none. Requests do not say whether
they read or write, so every touch is a read.

Objects become pages by the rule in :mod:`swaptable.trace._pages`. A written file has one object a page, its id the page
number and its size the page size, and -1 for never; whether a touch is a store has no place in it, nor has meta.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TraceError
from . import _source
from ._block import BLOCK, Block, Options, PageSet
from ._pages import expand, object_pages, object_spans

RECORD = np.dtype([("time", "<u4"), ("obj_id", "<u8"), ("obj_size", "<u4"), ("next_access_vtime", "<i8")])
NEVER = (-1, (1 << 63) - 1)
_LOOKS = "time u32, obj_id u64, obj_size u32, next_access_vtime i64"


def looks_like(start: bytes) -> bool:
    """Whether *start* can be the start of such a trace: there is no header to tell.

    Times do not fall, and what comes next comes later.
    """
    records = np.frombuffer(start[: len(start) // 24 * 24], RECORD)
    following = records["next_access_vtime"]
    later = np.isin(following, NEVER) | ((following > np.arange(len(records))) & (following < 1 << 44))
    return len(records) > 0 and bool(later.all()) and bool((np.diff(records["time"].astype(np.int64)) >= 0).all())


def _records(path: Path) -> Iterator[np.ndarray]:
    """Yield the records of *path* in arrays of 64 Ki."""
    rest, done, most = b"", 0, BLOCK * RECORD.itemsize
    for data in _source.chunks(path, most):
        data = rest + data if rest else data
        whole = len(data) // RECORD.itemsize * RECORD.itemsize
        for at in range(0, whole, most):
            records = np.frombuffer(data, RECORD, min(most, whole - at) // RECORD.itemsize, at)
            following = records["next_access_vtime"]
            if following.min() < -1:
                bad = int(np.argmin(following))
                raise TraceError(
                    f"{path}: record {done + bad} (byte {(done + bad) * RECORD.itemsize}): next_access_vtime is "
                    f"{following[bad]}; expected the number of a request, or -1 for never"
                )
            done += len(records)
            yield records
        rest = data[whole:]
    if rest:
        at = done * RECORD.itemsize
        raise TraceError(
            f"{path}: byte {at}: expected a record of {RECORD.itemsize} bytes ({_LOOKS}), found {len(rest)} at the end"
        )


def largest(path: Path, options: Options) -> int:
    """Return the size of the largest object in bytes, from a pass over the whole file."""
    return max((int(records["obj_size"].max()) for records in _records(path)), default=0)


def read(path: Path, options: Options) -> Iterator[Block]:
    """Yield blocks of the file *path*.

    Raises
    ------
    TraceError
        A record is cut off, has an impossible next access, or an object is larger than object_pages.
    """
    done = 0
    for records in _records(path):
        size = records["obj_size"].astype(np.int64)
        pages = options.object_pages or 1
        if pages > 1 and size.max() > pages << options.shift:
            bad = int(np.argmax(size))
            raise TraceError(
                f"{path}: record {done + bad} (byte {(done + bad) * RECORD.itemsize}): object of {size[bad]} bytes; "
                f"expected at most {pages << options.shift}: object_pages must be "
                f"{object_pages(int(size[bad]), options.page_size)} or more, or 1 to take every object as one page"
            )
        first, count = object_spans(records["obj_id"].astype(np.uint64), size, pages, options.shift)
        time = records["time"].astype(np.uint64) * np.uint64(1_000_000) if "time" in options.columns else None
        yield from expand(first, count, Block(first, np.zeros(len(first), bool), None, time))
        done += len(records)


def read_meta(path: Path, options: Options) -> dict[str, Any]:
    """Return what is known without a header: how objects became pages."""
    return {"page_size": options.page_size, "tool": "libCacheSim oracleGeneral"}


def _put(block: Block, page_size: int) -> np.ndarray:
    """Records that do not yet know what comes next."""
    records = np.zeros(len(block), RECORD)
    records["obj_id"], records["obj_size"], records["next_access_vtime"] = block.page, page_size, -1
    if block.time is not None:
        seconds = block.time // np.uint64(1_000_000)
        if len(seconds) and seconds.max() >= 1 << 32:
            raise TraceError(f"time of {seconds.max()} seconds does not fit oracleGeneral's 32 bits")
        records["time"] = seconds
    return records


def _link(records: np.ndarray, pages: np.ndarray) -> None:
    """Fill in next_access_vtime, from the last block to the first; *pages* are all there are, sorted."""
    following = np.full(len(pages), -1, np.int64)  # the first request for each page among those done
    for begin in range((len(records) - 1) // BLOCK * BLOCK, -1, -BLOCK):
        part = records[begin : begin + BLOCK]
        order = np.argsort(part["obj_id"], kind="stable")
        page = part["obj_id"][order]
        first = np.append(True, page[1:] != page[:-1])
        last = np.append(first[1:], True)
        place = np.searchsorted(pages, page[first])
        answer = np.append(order[1:] + begin, -1)
        answer[last] = following[place]
        following[place] = order[first] + begin
        part["next_access_vtime"][order] = answer


def write(path: Path, blocks: Iterable[Block], page_size: int) -> int:
    """Write *blocks* to *path*, compressed as its suffix says, and return the number of records.

    Runtime: O(records log pages). Memory: a block and 16 bytes a distinct page; the records wait uncompressed in a
    file beside *path*.
    """
    length, pages = 0, PageSet()
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            for block in blocks:
                length += len(block)
                pages.add(block.page)
                file.write(_put(block, page_size).data)
            file.flush()
            if length:
                _link(np.memmap(file, RECORD, "r+", shape=(length,)), pages.sorted())
            file.seek(0)
            with _source.writing(path) as stream:
                while data := file.read(_source.CHUNK):
                    stream.write(data)
    except OSError as err:
        raise TraceError(f"{path}: cannot be written: {err.strerror or err}") from err
    return length
