# The protocol of the backends and its words.
# May import the standard library and numpy; the backends are imported by who wants one.
# Used by every backend and by whoever stores pages.
"""Where bytes live: backends store pages of 4096 bytes in numbered blocks and know nothing of swap tables.

=====================  ===============  ======================================================================
module                 who numbers      what
=====================  ===============  ======================================================================
``backends.file``      the caller       a file or block device
``backends.zswap``     the backend      a compressed pool; refuses what saves no space, and everything when full
``backends.zram``      the caller       a compressed block device with a table, and its own writeback
``backends.memory``    the caller       plain bytes with a set latency and bandwidth
``backends.ghost``     the caller       nothing: writes are refused, reads find nothing
=====================  ===============  ======================================================================

All have the methods of :class:`Backend`, the "VFS-like swap ops" of the swap table discussion in batch form: pages come
and go as (n, 4096) arrays of uint8 or any other contiguous buffer, block numbers as int64 arrays. Who numbers blocks
differs:

* **The caller** (``chooses`` is False): numbers are passed in, from 0 to ``blocks`` - 1. An int is the first of a run.
  Consecutive numbers become one vectored transfer.
* **The backend** (``chooses`` is True): `write_folio` and `write_many` take no numbers and return those that it chose.
  A number indexes the backend's own record of at most 16 bytes; after `invalidate` it is given to another page.

A page can be *refused*, which is normal (a pool is full, a page does not compress): `write_many` says so page by page
in ``errors``, `write_folio` stores all pages of a folio or none and raises. Or a transfer *fails* (EIO, ENOSPC of a
device, a short transfer): :class:`~swaptable.errors.TransferError` says which elements were done.

Work is done without the GIL, and any number of threads may store, load and invalidate at once. A caller must not load
or drop a block that it drops, rewrites or has not yet stored in another thread.

A backend of your own
---------------------
Any class with these methods is one; inherit from nothing. `check` raises :class:`~swaptable.errors.CheckError` when
something is wrong with its structures; `memory` counts bytes where they are allocated and has a "total".
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PAGE_BYTES", "Backend", "Buffer", "Written"]

PAGE_BYTES = 4096
"""Bytes of a block, and of the page in it."""

Buffer: TypeAlias = Any
"""Anything with the buffer protocol whose bytes are contiguous: an array, bytes, a memoryview, an mmap."""


class Written(NamedTuple):
    """What became of each page of a batch.

    Attributes
    ----------
    blocks : ndarray of int64, shape (n,)
        Where each page is; -1 for a page that was refused.
    errors : ndarray of int32, shape (n,)
        0, or why it was refused: E2BIG it would save no space, ENOSPC no room, EIO the codec failed, ENOMEM no memory,
        AOP_WRITEPAGE_ACTIVATE (0x80000) the folio stays in memory.
    """

    blocks: NDArray[np.int64]
    errors: NDArray[np.int32]


@runtime_checkable
class Backend(Protocol):
    """Numbered blocks of 4096 bytes and what is in them."""

    kind: str
    """What /proc/swaps or a tier calls it: file, zswap, zram, memory, ghost."""

    chooses: bool
    """Whether it numbers the blocks itself."""

    def write_folio(self, folio: Buffer, blocks: ArrayLike | None = None) -> NDArray[np.int64]:
        """Store the pages of a folio, all or none; return their blocks."""

    def write_many(self, pages: Buffer, blocks: ArrayLike | None = None) -> Written:
        """Store pages that need not belong together; single ones may be refused."""

    def read_folio(self, blocks: ArrayLike, out: Buffer | None = None, exclusive: bool = False) -> Any:
        """Load the pages of a folio; *exclusive* invalidates them in the same step."""

    def read_many(self, blocks: ArrayLike, out: Buffer | None = None, exclusive: bool = False) -> Any:
        """Load pages, into *out* if there is one; stop at the first that cannot be loaded and raise with its index."""

    def invalidate(self, blocks: ArrayLike) -> None:
        """Give blocks up; their data is not needed any more."""

    def room(self) -> int:
        """How many more pages can be stored at least, as far as the backend knows."""

    def flush(self) -> None:
        """Bring to the device what is still on its way."""

    def memory(self) -> dict[str, int]:
        """Bytes by kind, with a "total"."""

    def check(self) -> None:
        """Verify every invariant of the structures from scratch; no other thread may use the backend."""

    def close(self) -> None:
        """Give everything back."""
