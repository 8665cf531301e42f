# Sizes as people write them, and a trace made ready for the machine.
# May import errors, trace and the page numbering of _replay.
# Used by replay.py and cli.py.
"""From what a user names (a file, arrays, ``64K``, ``50%``) to what the machine takes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from swaptable._replay import PageMap

PAGE_SIZE = 4096
MAX_FOLIO = 2 << 20
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str | int | float, name: str = "size") -> int:
    """Return bytes for ``64K``, ``32G``, ``32GiB``, ``1.5M`` or a number.

    Raises
    ------
    ValueError
        Names the value and what was expected; zero and negative sizes are refused.

    >>> parse_size("64K"), parse_size("2MiB"), parse_size(4096)
    (65536, 2097152, 4096)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(text).strip(), re.IGNORECASE | re.ASCII)
    size = float(match[1]) * UNITS[match[2].upper()] if match else 0
    if not 1 <= size < 1 << 62:
        raise ValueError(f"{name} is {text!r}; expected a positive size such as 64K, 32G or 32GiB (K, M, G, T)")
    return int(size)


def parse_folio(text: str | int) -> int:
    """Return the order of a folio size: a power of two from 4K to 2M.

    >>> parse_folio("64K")
    4
    """
    size = parse_size(text, "folio")
    if size & (size - 1) or not PAGE_SIZE <= size <= MAX_FOLIO:
        raise ValueError(f"folio is {text!r}; expected a power of two from 4K to 2M")
    return (size // PAGE_SIZE).bit_length() - 1


def parse_memory(value: str | int | float) -> float | int:
    """Return a fraction of the footprint (float) or bytes (int) for ``"50%"``, ``0.5``, ``"64M"``, ``67108864``."""
    if isinstance(value, (bool, np.bool_)):
        raise ValueError(f"memory is {value!r}; expected a share such as 50% or a size such as 64M")
    share: float | None = float(value) if isinstance(value, float) else None
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = float(value.strip()[:-1]) / 100
        except ValueError:
            share = -1.0
    if share is None:
        return parse_size(value, "memory")
    if not 0 < share < math.inf:
        raise ValueError(f"memory is {value!r}; expected a positive share such as 50% or a size such as 64M")
    return share


@dataclass(frozen=True)
class Workload:
    """A trace made ready for the machine: consecutive page numbers, whole folios.

    Attributes
    ----------
    name : str
        Where it came from.
    events : ndarray of uint32
        ``page << 1 | write`` for each access.
    pages : int
        The footprint in pages: every block that was touched, whole.
    folio_order : int
        Blocks are ``1 << folio_order`` pages.
    """

    name: str
    events: np.ndarray
    pages: int
    folio_order: int


def trace_blocks(trace: Any, limit: int | None) -> tuple[str, Iterable[tuple[Any, Any]]]:
    """A name and (page, write) arrays of whatever the caller called a trace."""
    if isinstance(trace, tuple):
        if len(trace) != 2:
            raise ValueError(f"trace is a tuple of {len(trace)}; expected (page, write)")
        return "arrays", [trace]
    name = getattr(trace, "path", None)
    if isinstance(trace, (str, os.PathLike)):
        # Here, so that a program that brings arrays needs none of the readers.
        from swaptable.trace import open_trace

        name, trace = trace, open_trace(trace, limit=limit)
    size = getattr(trace, "page_size", PAGE_SIZE)
    if size != PAGE_SIZE:
        raise ValueError(f"{name} has pages of {size!r} bytes; expected {PAGE_SIZE}, the machine's")
    if not isinstance(trace, Iterable):
        raise ValueError(f"trace is {trace!r}; expected a file, (page, write) or blocks of them")
    return str(name or type(trace).__name__), ((block.page, block.write) for block in trace)


def load(trace: Any, folio_order: int = 0, limit: int | None = None) -> Workload:
    """Read a trace and number its pages.

    Parameters
    ----------
    trace : path, tuple or iterable
        A file that :func:`swaptable.trace.open_trace` reads, ``(page, write)`` arrays, or an iterable
        of blocks with ``page`` and ``write``.
    folio_order : int
        0 to 9.
    limit : int, optional
        Accesses to take at most.

    Raises
    ------
    ValueError
        No accesses, a page number beyond 52 bits, a negative limit, more pages than 2^31.
    TraceError
        The file is malformed.

    Notes
    -----
    Runtime: about 30 ns an access, 4 bytes of memory for each and up to 64 for each block.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit is {limit}; expected a number of accesses, 0 or more")
    numbers, parts, left = PageMap(folio_order), [], math.inf if limit is None else limit
    name, blocks = trace_blocks(trace, limit)
    for page, write in blocks:
        page = page_numbers(page)[: None if left == math.inf else int(left)]
        write = np.ascontiguousarray(np.asarray(write, dtype=bool)[: len(page)]).view(np.uint8)
        parts.append(np.empty(len(page), np.uint32))
        numbers.map(page, write, parts[-1])
        left -= len(page)
        if left <= 0:
            break
    events = np.concatenate(parts) if parts else np.empty(0, np.uint32)
    if not len(events):
        raise ValueError(f"{name} has no accesses; expected one at least")
    return Workload(name, events, numbers.pages, folio_order)


def page_numbers(page: Any) -> np.ndarray:
    page = np.asarray(page)
    if page.size == 0:
        return np.empty(0, np.uint64)
    if page.ndim != 1 or page.dtype.kind not in "iu" or (page.dtype.kind == "i" and page.size and page.min() < 0):
        raise ValueError(f"pages are {page.dtype} of {page.ndim} dimensions; expected page numbers, 0 or more")
    return np.ascontiguousarray(page, dtype=np.uint64)
