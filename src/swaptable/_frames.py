# The memory of the swap cache: frames with a record each, and regions for whoever moves data.
# May import _words, errors and numpy.
# Used by the swap space, writeback and swapoff.
"""Folios in frames: locked, uptodate, dirty, readahead.

A frame belongs to whoever took it. Its data is written while it is not uptodate and by its owner only; from then until
it is given back it stays what it is, so that others copy it without a lock and look at the table word again after.
"""

from __future__ import annotations

import errno
import mmap
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable.errors import CheckError, raise_errno

PAGE = 4096
UPTODATE, DIRTY, READAHEAD = 1, 2, 4
_NR_REGIONS = 4


@dataclass(frozen=True)
class Region:
    """Frames side by side, for a batch of data on its way.

    Attributes
    ----------
    pages : ndarray of uint8, shape (n, 4096)
    pfns : ndarray of uint64, shape (n,)
        Locked; for the slots whose data it is.
    frames : slice
    """

    pages: NDArray[np.uint8]
    pfns: NDArray[np.uint64]
    frames: slice


class Frames:
    """The frames of a swap cache.

    Parameters
    ----------
    cap : int
        Frames that may hold folios for longer than one operation.
    region : int
        Frames of a region.

    Attributes
    ----------
    entry : ndarray of int64, shape (frames,)
        Which entry a frame is of; -1 when it is free.
    flags : ndarray of uint8, shape (frames,)
        UPTODATE, DIRTY (no backend has this data), READAHEAD (nobody has asked for it yet).

    Notes
    -----
    Memory is taken as frames are touched; regions keep theirs until `trim`.
    """

    def __init__(self, cap: int, region: int = 4096) -> None:
        if not 0 <= cap <= (1 << w.FRAME_BITS) - w.FIRST_FRAME - _NR_REGIONS * region or region < 1:
            raise_errno(errno.EINVAL, f"cap {cap}, region {region}: expected a swap cache of 0 to 1,000,000 pages")
        self.cap, self.region_size = cap, region
        self.first_region = w.FIRST_FRAME + cap
        total = self.first_region + _NR_REGIONS * region
        self._map = mmap.mmap(-1, total * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.pages = np.frombuffer(self._map, np.uint8).reshape(total, PAGE)
        self.entry = np.full(total, -1, np.int64)
        self.flags = np.zeros(total, np.uint8)
        self._session = np.zeros(total, np.uint32)
        self._stamp = np.zeros(total, np.int64)
        self._clock = 0
        self._free = list(range(self.first_region - 1, w.FIRST_FRAME - 1, -1))
        self._regions: queue.LifoQueue[int] = queue.LifoQueue()
        self._touched: set[int] = set()
        self._lock = threading.Lock()
        self._sessions = 1
        for number in range(_NR_REGIONS):
            self._regions.put(number)

    # ---- pins without a frame

    def session(self) -> int:
        """A pfn, locked, for one operation that needs no frame."""
        return int(self.sessions(1, 0, True)[0])

    def sessions(self, n: int, frame: int, locked: bool) -> NDArray[np.uint64]:
        """*n* pfns that nobody had before, for folios without a frame of their own."""
        with self._lock:
            first, self._sessions = self._sessions, self._sessions + n
        number = np.arange(first, first + n, dtype=np.uint64) & np.uint64((1 << w.SESSION_BITS) - 1)
        return number << np.uint64(w.FRAME_BITS + 1) | np.uint64(frame << 1 | locked)

    # ---- regions

    @contextmanager
    def region(self) -> Iterator[Region]:
        """A region for one batch; waits for one, so that the caller must hold no pin."""
        number = self._regions.get()
        first = self.first_region + number * self.region_size
        frames = slice(first, first + self.region_size)
        self._touched.add(number)
        try:
            yield Region(self.pages[frames], self._new_pfns(frames), frames)
        finally:
            self.flags[frames] = 0
            self.entry[frames] = -1
            self._regions.put(number)

    def _new_pfns(self, frames: slice) -> NDArray[np.uint64]:
        self._session[frames] += 1
        session = self._session[frames].astype(np.uint64) & np.uint64((1 << w.SESSION_BITS) - 1)
        number = np.arange(frames.start, frames.stop, dtype=np.uint64)
        return session << np.uint64(w.FRAME_BITS + 1) | number << np.uint64(1) | np.uint64(w.LOCKED)

    # ---- frames that stay

    def take(self, n: int) -> NDArray[np.int64]:
        """Up to *n* frames that are free; they are the caller's, not uptodate."""
        with self._lock:
            taken = np.array([self._free.pop() for _ in range(min(n, len(self._free)))], np.int64)
        self._session[taken] += 1
        return taken

    def pfns(self, frames: NDArray[np.int64], locked: bool) -> NDArray[np.uint64]:
        """The pfns of frames as they are now."""
        session = self._session[frames].astype(np.uint64) & np.uint64((1 << w.SESSION_BITS) - 1)
        return session << np.uint64(w.FRAME_BITS + 1) | frames.astype(np.uint64) << np.uint64(1) | np.uint64(locked)

    def set(self, frames: NDArray[np.int64], entries: NDArray[np.int64], flags: int) -> None:
        """Whose the frames are, and their flags; they are the youngest now."""
        self.entry[frames] = entries
        self.flags[frames] = flags
        self.touch(frames)

    def touch(self, frames: NDArray[np.int64]) -> None:
        """Frames were used: they are the youngest now."""
        with self._lock:
            self._clock += 1
            self._stamp[frames] = self._clock

    def give(self, frames: NDArray[np.int64]) -> None:
        """Give frames back; nobody finds them through a table any more."""
        self.flags[frames] = 0
        self.entry[frames] = -1
        with self._lock:
            self._free.extend(frames.tolist())

    def oldest(self, n: int) -> NDArray[np.int64]:
        """The *n* frames in use that were not used for longest; a hint."""
        used = np.flatnonzero(self.entry[: self.first_region] >= 0)
        if len(used) > n:
            used = used[np.argpartition(self._stamp[used], n - 1 if n else 0)[:n]]
        return used[np.argsort(self._stamp[used], kind="stable")]

    @property
    def room(self) -> int:
        """Frames that are free."""
        return len(self._free)

    def usage(self) -> dict[str, int]:
        """Frames by state."""
        flags = self.flags[: self.first_region][self.entry[: self.first_region] >= 0]
        return {
            "cap": self.cap, "cached": len(flags), "dirty": int((flags & DIRTY != 0).sum()),
            "readahead": int((flags & READAHEAD != 0).sum()),
        }  # fmt: skip

    def memory(self) -> dict[str, int]:
        """Bytes by kind: pages of folios, pages of regions, records, total."""
        records = self.entry.nbytes + self.flags.nbytes + self._session.nbytes + self._stamp.nbytes
        pages = (self.cap - len(self._free)) * PAGE
        regions = len(self._touched) * self.region_size * PAGE
        return {"folios": pages, "regions": regions, "records": records, "total": pages + regions + records}

    def trim(self) -> None:
        """Give the memory of free frames back to the system."""
        with self._lock:
            for frame in self._free:
                self._map.madvise(mmap.MADV_DONTNEED, frame * PAGE, PAGE)
        idle = []
        while not self._regions.empty():
            idle.append(self._regions.get())
        for number in idle:
            first = self.first_region + number * self.region_size
            self._map.madvise(mmap.MADV_DONTNEED, first * PAGE, self.region_size * PAGE)
            self._touched.discard(number)
            self._regions.put(number)

    def check(self) -> None:
        """Free frames are nobody's, and no frame is free twice; the threads must be still."""
        free = np.array(self._free, np.int64)
        if len(np.unique(free)) != len(free) or (self.entry[free] >= 0).any() or self._regions.qsize() != _NR_REGIONS:
            raise CheckError(f"frames: {len(free)} free of {self.cap}, {self._regions.qsize()} regions idle")
        if (self.entry[self.first_region :] >= 0).any():
            raise CheckError("a region that is idle has entries")
