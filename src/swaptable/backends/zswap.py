# The compressed pool under the kernel's names: limits in percent, statistics of debugfs.
# May import _zswap, codec and errors.
# Used by whoever has a compressed tier.
"""zswap: a compressed pool that numbers its pages and refuses what saves no space."""

from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from swaptable.backends import PAGE_BYTES, Buffer, Written
from swaptable.backends import codec as codecs
from swaptable.backends._codec import Codec
from swaptable.backends._zswap import ZswapPool
from swaptable.errors import SwapValueError

__all__ = ["ZswapBackend"]


def _physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class ZswapBackend:
    """A compressed pool.

    Parameters
    ----------
    codec : str or Codec
        "lz4", "zstd-3", ...; see :func:`swaptable.backends.codec.find`.
    limit : int, optional
        Bytes of pool memory at most; by default *max_pool_percent* of *total*.
    max_pool_percent : int
    accept_threshold_percent : int
        Once full, the pool takes pages again when it has shrunk to this share of its limit.
    total : int, optional
        Bytes that *max_pool_percent* is of; the memory of this machine.
    keep_incompressible : bool
        Store what saves nothing as it is, as the kernel does where writeback is off, instead of refusing it.
    numbers : int, optional
        Pages at most, whatever their size.

    Notes
    -----
    The limit holds for pages of memory and is never exceeded, where the kernel's is looked at before a
    store. Same-filled pages take a record and no pool memory; like the kernel, a full pool refuses them too.
    :class:`ZswapPool` has the layout.

    >>> pool = ZswapBackend(limit=1 << 20)
    >>> numbers, errors = pool.write_many(b"a page of text, " * 256 + bytes(4096))
    >>> pool.read_many(numbers[:1], exclusive=True)[0, :16].tobytes()
    b'a page of text, '
    >>> pool.debugfs()["stored_pages"]
    1
    """

    kind = "zswap"
    chooses = True

    def __init__(
        self,
        codec: str | Codec = "lz4",
        *,
        limit: int | None = None,
        max_pool_percent: int = 20,
        accept_threshold_percent: int = 90,
        total: int | None = None,
        keep_incompressible: bool = False,
        numbers: int | None = None,
    ) -> None:
        self.codec = codecs.find(codec) if isinstance(codec, str) else codec
        self.total = _physical_memory() if total is None else total
        limit = self._share(max_pool_percent) if limit is None else limit
        most = {} if numbers is None else {"numbers": numbers}
        self.pool = ZswapPool(
            self.codec, limit, accept_threshold_percent, keep_incompressible, max(self.total, limit), **most
        )
        self._reclaim_failed = 0

    def _share(self, percent: int) -> int:
        if not 1 <= percent <= 100:
            raise SwapValueError(errno.EINVAL, f"max_pool_percent {percent}: expected 1 to 100")
        return self.total * percent // 100

    @property
    def limit(self) -> int:
        """Bytes of pool memory at most; may be changed."""
        return self.pool.limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self.pool.limit = limit

    @property
    def max_pool_percent(self) -> int:
        """The limit in percent of ``total``, rounded down; setting it sets the limit."""
        return self.limit * 100 // self.total

    @max_pool_percent.setter
    def max_pool_percent(self, percent: int) -> None:
        self.limit = self._share(percent)

    @property
    def accept_threshold_percent(self) -> int:
        """Share of the limit at which a full pool takes pages again; may be changed."""
        return self.pool.accept_threshold_percent

    @accept_threshold_percent.setter
    def accept_threshold_percent(self, percent: int) -> None:
        self.pool.accept_threshold_percent = percent

    def write_folio(self, folio: Buffer, blocks: ArrayLike | None = None) -> NDArray[np.int64]:
        """Store a folio's pages, all or none; return their numbers.

        Raises
        ------
        PageRefusedError, SwapFullError, SwapMemoryError, SwapError
            Why its page ``index`` is refused: it saves no space, the pool is full, no memory, the codec failed.
        """
        return self.pool.write_folio(folio, blocks)

    def write_many(self, pages: Buffer, blocks: ArrayLike | None = None) -> Written:
        """Store pages; single ones may be refused: E2BIG, ENOSPC, EIO, ENOMEM, see :class:`Written`."""
        return Written(*self.pool.write_many(pages, blocks))

    def read_folio(self, blocks: ArrayLike, out: Any = None, exclusive: bool = False) -> Any:
        """Load a folio's pages; see `read_many`."""
        return self.pool.read_many(blocks, out, exclusive)

    def read_many(self, blocks: ArrayLike, out: Any = None, exclusive: bool = False) -> Any:
        """Load pages; *exclusive* drops each in the same step, so that memory and pool never both have it.

        Raises
        ------
        SlotNotInUseError
            Number ``index`` of the batch has no page.
        SwapError
            EIO: the codec failed; the page is kept.
        """
        return self.pool.read_many(blocks, out, exclusive)

    def invalidate(self, blocks: ArrayLike) -> None:
        """Drop pages; their numbers may be given to others.

        Raises
        ------
        SlotNotInUseError
            Number ``index`` of the batch has no page; those before it are gone.
        """
        self.pool.invalidate(blocks)

    def lengths(self, blocks: ArrayLike) -> NDArray[np.int32]:
        """Return the bytes of each page, compressed; 0 for one of one word; see `ZswapPool.lengths`."""
        return self.pool.lengths(blocks)

    def read_blobs(self, blocks: ArrayLike, out: Any = None) -> tuple[Any, NDArray[np.int32]]:
        """Copy pages as they are compressed, in rows of 4096 bytes, and their lengths; see `ZswapPool.read_blobs`."""
        return self.pool.read_blobs(blocks, out)

    def write_blobs(self, blobs: NDArray[np.uint8], lengths: ArrayLike) -> Written:
        """Store what `read_blobs` of a pool with the same codec gave."""
        return Written(*self.pool.write_blobs(blobs, lengths))

    def reclaim_candidates(self, n: int) -> NDArray[np.int64]:
        """Choose up to *n* pages that were not loaded since the hand passed; see `ZswapPool.reclaim_candidates`."""
        return self.pool.reclaim_candidates(n)

    def written_back(self, blocks: ArrayLike) -> None:
        """Drop pages that another tier has now, and count them."""
        numbers = np.atleast_1d(np.asarray(blocks))
        self.pool.invalidate(numbers)
        self.pool.count_written_back(len(numbers))

    def reclaim_failed(self) -> None:
        """Count a store that was refused since the pool was full and nothing could be written back."""
        self._reclaim_failed += 1

    def compact(self) -> int:
        """Pack objects into as few pages as they need; return the pages given back."""
        return self.pool.compact()

    def trim(self) -> None:
        """Compact, and give back the records of the highest free numbers."""
        self.pool.trim()

    def debugfs(self) -> dict[str, int]:
        """The files of /sys/kernel/debug/zswap and their values; pool_total_size in bytes."""
        n = self.pool.counts()
        return {
            "pool_limit_hit": n["limit_hit"],
            "pool_total_size": n["pages"] * PAGE_BYTES,
            "stored_pages": n["stored"],
            "stored_incompressible_pages": n["raw"],
            "written_back_pages": n["written_back"],
            "reject_alloc_fail": n["alloc_fail"],
            "reject_compress_fail": n["pack_fail"],
            "reject_compress_poor": n["poor"],
            "reject_reclaim_fail": self._reclaim_failed,
            "decompress_fail": n["unpack_fail"],
        }

    def counts(self) -> dict[str, int]:
        """Everything that the pool counts, by its own names."""
        return self.pool.counts()

    def room(self) -> int:
        """Return how many compressible pages fit at least; 0 while the pool accepts none."""
        return self.pool.room()

    def flush(self) -> None:
        """Nothing is on its way."""

    def memory(self) -> dict[str, int]:
        """Bytes by kind: pool, spare, records, zspages, classes, codec, total."""
        return self.pool.memory()

    def check(self, deep: bool = False) -> None:
        """Check every invariant from scratch; *deep* decompresses every page too. No other thread may use the pool."""
        self.pool.check(deep)

    def close(self) -> None:
        """Nothing to give back that goes not by itself."""
