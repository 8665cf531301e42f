# Plain bytes behind a modelled device: latency and bandwidth in simulated time.
# May import _pages, errors and numpy.
# Used for devices that are not at hand: pmem, CXL, an SSD or a disk of given figures.
"""Blocks in memory, with the time that a device would take."""

from __future__ import annotations

import errno
import mmap
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from swaptable.backends import PAGE_BYTES, Buffer, Written
from swaptable.backends._pages import bound, count, gather, numbers, scatter
from swaptable.errors import SwapValueError

__all__ = ["MemoryBackend"]


class MemoryBackend:
    """Blocks in memory whose transfers take modelled time.

    Parameters
    ----------
    blocks : int
    read_ns, write_ns : int
        Latency of a run of consecutive blocks, nanoseconds.
    bytes_per_second : int
        Bandwidth; 0 for no limit.
    sleep : bool
        Really wait for the modelled time of each call, without the GIL.

    Attributes
    ----------
    read_busy_ns, written_busy_ns : int
        Modelled time so far: the device does one transfer after another.

    Notes
    -----
    A transfer of r runs and n pages takes r * latency + n * 4096 / bandwidth. A block that was never
    written, or was dropped, reads as zeros. Memory is taken as blocks are written and given back as they are dropped.

    >>> pmem = MemoryBackend(1024, read_ns=300, write_ns=100, bytes_per_second=8 << 30)
    >>> pmem.write_folio(bytes(16 * 4096), 16)[:3]
    array([16, 17, 18])
    >>> pmem.written_busy_ns
    7729
    """

    kind = "memory"
    chooses = False

    def __init__(
        self, blocks: int, *, read_ns: int = 0, write_ns: int = 0, bytes_per_second: int = 0, sleep: bool = False
    ) -> None:
        if blocks < 1 or read_ns < 0 or write_ns < 0 or bytes_per_second < 0:
            raise SwapValueError(
                errno.EINVAL,
                f"blocks {blocks}, read_ns {read_ns}, write_ns {write_ns}, bytes_per_second {bytes_per_second}: "
                "expected at least one block and no negative figure",
            )
        self.blocks = blocks
        self.read_ns, self.write_ns, self.bytes_per_second, self.sleep = read_ns, write_ns, bytes_per_second, sleep
        self.read_busy_ns = self.written_busy_ns = 0
        self._map = mmap.mmap(-1, blocks * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._store = np.frombuffer(self._map, np.uint8).reshape(blocks, PAGE_BYTES)
        self._held = np.zeros(blocks, bool)
        self._lock = threading.Lock()

    def took(self, runs: int, pages: int, write: bool) -> int:
        """Return the nanoseconds that a transfer of *runs* runs and *pages* pages takes."""
        latency = self.write_ns if write else self.read_ns
        moving = pages * PAGE_BYTES * 1_000_000_000 // self.bytes_per_second if self.bytes_per_second else 0
        return runs * latency + moving

    def _charge(self, blocks: NDArray[np.int64], write: bool) -> None:
        """Let the modelled time of a transfer pass."""
        order = np.sort(blocks)
        ns = self.took(1 + int(np.count_nonzero(np.diff(order) != 1)) if order.size else 0, order.size, write)
        with self._lock:
            if write:
                self.written_busy_ns += ns
            else:
                self.read_busy_ns += ns
        if self.sleep and ns:
            time.sleep(ns / 1e9)

    def write_folio(self, folio: Buffer, blocks: ArrayLike | None = None) -> NDArray[np.int64]:
        """Write a folio's pages to *blocks*, the first of a run or one number a page."""
        return self.write_many(folio, blocks).blocks

    def write_many(self, pages: Buffer, blocks: ArrayLike | None = None) -> Written:
        """Write pages to blocks; an int is the first of a run. No page is refused."""
        if blocks is None:
            raise SwapValueError(errno.EINVAL, "blocks None: memory does not choose")
        array = numbers(blocks, count(pages))
        scatter(self._store, array, pages)
        self._held[array] = True
        self._charge(array, True)
        return Written(array, np.zeros(array.size, np.int32))

    def read_folio(self, blocks: ArrayLike, out: Any = None, exclusive: bool = False) -> Any:
        """Read a folio's pages; see `read_many`."""
        return self.read_many(blocks, out, exclusive)

    def read_many(self, blocks: ArrayLike, out: Any = None, exclusive: bool = False) -> Any:
        """Read blocks; an int is the first of a run, as long as *out*."""
        array = numbers(blocks, -1 if out is None else count(out))
        out = np.empty((array.size, PAGE_BYTES), np.uint8) if out is None else out
        gather(self._store, array, out)
        self._charge(array, False)
        if exclusive:
            self.invalidate(array)
        return out

    def invalidate(self, blocks: ArrayLike) -> None:
        """Drop blocks: they read as zeros, their memory goes back to the system."""
        array = numbers(blocks, -1)
        bound(array, self.blocks)
        self._held[array] = False
        for first, end in _runs(np.sort(array)):
            self._map.madvise(mmap.MADV_DONTNEED, first * PAGE_BYTES, (end - first) * PAGE_BYTES)

    def room(self) -> int:
        """Return the number of blocks; which of them are taken is the caller's to know."""
        return self.blocks

    def flush(self) -> None:
        """Nothing is on its way."""

    def memory(self) -> dict[str, int]:
        """Bytes by kind: held (blocks with data), marks (which they are), total."""
        held = int(np.count_nonzero(self._held)) * PAGE_BYTES
        return {"held": held, "marks": self._held.nbytes, "total": held + self._held.nbytes}

    def check(self) -> None:
        """Nothing to check: the bytes are what they are."""

    def close(self) -> None:
        """Nothing to give back that goes not by itself."""


def _runs(ordered: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(first, end) of each run of consecutive numbers."""
    if not ordered.size:
        return []
    cuts = np.flatnonzero(np.diff(ordered) > 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(ordered, cuts)]
