# Blocks of records, what a reader is told, and the cutting of what it yields.
# Imports numpy.
# Used by every reader and writer of this package.
"""Block, Options, PageSet, and the numbers that all formats share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

BLOCK = 65536
PID_SHIFT = 36
PAGE_BITS = 52
MAX_PAGE = 1 << PAGE_BITS
EXTRA = ("pid", "time")


@dataclass(frozen=True, eq=False)
class Block:
    """Records that follow each other: arrays of one length.

    Attributes
    ----------
    page : ndarray of uint64
        Page numbers below 2**52.
    write : ndarray of bool
        Whether each touch is a store.
    pid : ndarray of uint32, optional
        Index of the address space; None unless asked for and known.
    time : ndarray of uint64, optional
        Microseconds; None unless asked for and known.
    """

    page: np.ndarray
    write: np.ndarray
    pid: np.ndarray | None = None
    time: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.page)

    def part(self, begin: int, end: int | None) -> Block:
        """Return the records from *begin* to *end*; the arrays are views."""
        return Block(*(column if column is None else column[begin:end] for column in self.columns()))

    def columns(self) -> tuple[np.ndarray | None, ...]:
        """Return page, write, pid and time."""
        return self.page, self.write, self.pid, self.time


@dataclass(frozen=True)
class Options:
    """What a reader may be told; each takes what concerns its format. :func:`open_trace` explains them."""

    page_size: int = 4096
    block: int = BLOCK
    instructions: bool = False
    columns: tuple[str, ...] = ()
    csv: str | None = None
    object_pages: int | None = None
    seed: int = 0

    @property
    def shift(self) -> int:
        """The page size as a power of two."""
        return self.page_size.bit_length() - 1


def joined(blocks: list[Block]) -> Block:
    """Return *blocks* as one; an empty list makes an empty block."""
    if not blocks:
        return Block(np.empty(0, np.uint64), np.empty(0, bool))
    if len(blocks) == 1:
        return blocks[0]
    columns = zip(*(block.columns() for block in blocks), strict=True)
    return Block(*(None if parts[0] is None else np.concatenate(parts) for parts in columns))


def cut(parts: Iterable[Block], skip: int, limit: int | None, size: int) -> Iterator[Block]:
    """Yield blocks of *size* records, the last one shorter, of *limit* records after *skip*."""
    left = limit
    if left == 0:
        return
    rest: list[Block] = []
    waiting = 0
    for part in parts:
        dropped = min(skip, len(part))
        skip -= dropped
        part = part.part(dropped, None if left is None else dropped + left)
        left = None if left is None else left - len(part)
        if len(part):
            rest.append(part)
            waiting += len(part)
        if waiting >= size:
            whole = joined(rest)
            end = waiting // size * size
            yield from (whole.part(at, at + size) for at in range(0, end, size))
            rest = [whole.part(end, None)] if end < waiting else []
            waiting -= end
        if left == 0:
            break
    if rest:
        yield joined(rest)


class PageSet:
    """The distinct pages of a trace, gathered block by block; memory is in proportion to their number."""

    def __init__(self) -> None:
        self._pages = np.empty(0, np.uint64)
        self._pending: list[np.ndarray] = []
        self._size = 0

    def add(self, page: np.ndarray) -> None:
        """Add pages, in any order; merging when they outgrow the set keeps the work in proportion to their sum."""
        part = np.unique(page)
        self._pending.append(part)
        self._size += len(part)
        if self._size > max(len(self._pages), 1 << 20):
            self.sorted()

    def sorted(self) -> np.ndarray:
        """Return all pages, each once, in order."""
        if self._pending:
            self._pages = np.unique(np.concatenate([self._pages, *self._pending]))
            self._pending, self._size = [], 0
        return self._pages
