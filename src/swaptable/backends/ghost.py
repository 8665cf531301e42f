# The backend that takes nothing.
# May import _pages, errors and numpy.
# Used for ghost swap files: a front end whose pages must go to another tier.
"""No bytes: a write is refused and the folio kept, a read finds nothing."""

from __future__ import annotations

import errno
import threading
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from swaptable.backends import PAGE_BYTES, Buffer, Written
from swaptable.backends._pages import count
from swaptable.errors import AOP_WRITEPAGE_ACTIVATE, FolioKeptError, SlotNotInUseError

__all__ = ["GhostBackend"]


class GhostBackend:
    """A device without blocks, as a ghost swap file is.

    The kernel's answer to a write is AOP_WRITEPAGE_ACTIVATE: the folio is dirty again, stays in the swap cache and goes
    back to the active list. A read just unlocks the folio.

    Attributes
    ----------
    writes_refused, reads : int
        Pages; those asked for with a block number or without.
    """

    kind = "ghost"
    chooses = False

    def __init__(self) -> None:
        self.writes_refused = 0
        self.reads = 0
        self._lock = threading.Lock()

    def write_folio(self, folio: Buffer, blocks: ArrayLike | None = None) -> NDArray[np.int64]:
        """Refuse a folio.

        Raises
        ------
        FolioKeptError
            Always.
        """
        with self._lock:
            self.writes_refused += count(folio)
        raise FolioKeptError(AOP_WRITEPAGE_ACTIVATE, "a ghost has no blocks: the folio stays in memory")

    def write_many(self, pages: Buffer, blocks: ArrayLike | None = None) -> Written:
        """Refuse every page: its error is AOP_WRITEPAGE_ACTIVATE."""
        n = count(pages)
        with self._lock:
            self.writes_refused += n
        return Written(np.full(n, -1, np.int64), np.full(n, AOP_WRITEPAGE_ACTIVATE, np.int32))

    def read_folio(self, blocks: ArrayLike, out: Any = None, exclusive: bool = False) -> Any:
        """Find nothing; see `read_many`."""
        return self.read_many(blocks, out, exclusive)

    def read_many(self, blocks: ArrayLike, out: Any = None, exclusive: bool = False) -> Any:
        """Find nothing.

        Raises
        ------
        SlotNotInUseError
            Of element 0, unless no block was asked for.
        """
        numbers = np.atleast_1d(np.asarray(blocks))
        if numbers.size == 0:
            return np.empty((0, PAGE_BYTES), np.uint8) if out is None else out
        with self._lock:
            self.reads += 1 if out is None or np.ndim(blocks) else count(out)
            self.reads += numbers.size - 1
        error = SlotNotInUseError(errno.ENOENT, f"block {numbers[0]}: a ghost holds no data")
        error.index = error.done = 0
        raise error

    def invalidate(self, blocks: ArrayLike) -> None:
        """Nothing was there."""

    def room(self) -> int:
        """Return 0."""
        return 0

    def flush(self) -> None:
        """Nothing is on its way."""

    def counts(self) -> dict[str, int]:
        """Pages that were refused, and asked for."""
        return {"writes_refused": self.writes_refused, "reads": self.reads}

    def memory(self) -> dict[str, int]:
        """Return no bytes."""
        return {"total": 0}

    def check(self) -> None:
        """There is nothing that could be wrong."""

    def close(self) -> None:
        """Nothing to give back."""
