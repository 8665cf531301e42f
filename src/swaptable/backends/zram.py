# A compressed block device with its own table, statistics and writeback.
# May import _zram, codec and errors; the backing file is any backend with numbered blocks.
# Used by whoever compares redirection inside a backend with locations above it.
"""zram: compressed blocks in memory behind a table of 16 bytes a block."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from swaptable.backends import PAGE_BYTES, Backend, Buffer, Written
from swaptable.backends import codec as codecs
from swaptable.backends._codec import Codec
from swaptable.backends._zram import ZramTable
from swaptable.errors import SwapValueError, raise_errno

__all__ = ["ZramBackend"]

WRITEBACK_PAGES = 256


class ZramBackend:
    """A compressed block device.

    Parameters
    ----------
    blocks : int
        disksize in pages of 4096 bytes, 1 to 2^32 - 1. The table of 16 bytes a block is in memory from the beginning.
    codec : str or Codec
        "lz4", "zstd-3", ...; see :func:`swaptable.backends.codec.find`.
    mem_limit : int
        Bytes of pool memory at most; 0 for none.
    backing : Backend, optional
        For `writeback`: one whose blocks are numbered by the caller. It is not closed.

    Notes
    -----
    A page of one word is kept in the table alone; one that does not compress is stored as it is, a "huge"
    page. A block that was never written, or was dropped, reads as zeros. A page that was written back is an entry that
    names a block of the backing file: the redirection is inside this backend, its table entry stays, and every read of
    it goes through both.
    """

    kind = "zram"
    chooses = False

    def __init__(
        self, blocks: int, codec: str | Codec = "lz4", *, mem_limit: int = 0, backing: Backend | None = None
    ) -> None:
        self.codec = codecs.find(codec) if isinstance(codec, str) else codec
        self.backing = backing
        if backing is not None and backing.chooses:
            raise SwapValueError(errno.EINVAL, f"backing {backing.kind}: expected one whose blocks the caller numbers")
        self._table = ZramTable(self.codec, blocks, mem_limit, backing.room() if backing is not None else 0)
        self.blocks = blocks

    @property
    def mem_limit(self) -> int:
        """Bytes of pool memory at most; 0 for none."""
        return self._table.mem_limit

    @mem_limit.setter
    def mem_limit(self, limit: int) -> None:
        self._table.mem_limit = limit

    def write_folio(self, folio: Buffer, blocks: ArrayLike | None = None) -> NDArray[np.int64]:
        """Write a folio's pages, all or none.

        Raises
        ------
        SwapFullError, SwapMemoryError
            Page ``index`` found no room: the blocks of the folio hold nothing now.
        """
        numbers, errors = self._table.write(folio, self._given(blocks), True)
        if errors.size and errors[-1]:
            self._table.drop(numbers[: errors.size])
            raise_errno(int(errors[-1]), f"zram: no room for page {errors.size - 1} of the folio", errors.size - 1)
        return numbers

    def write_many(self, pages: Buffer, blocks: ArrayLike | None = None) -> Written:
        """Write pages; one that is refused (ENOSPC, ENOMEM) leaves in its block what was there."""
        numbers, errors = self._table.write(pages, self._given(blocks), False)
        return Written(np.where(errors == 0, numbers, -1), errors)

    @staticmethod
    def _given(blocks: ArrayLike | None) -> ArrayLike:
        if blocks is None:
            raise SwapValueError(errno.EINVAL, "blocks None: zram does not choose")
        return blocks

    def read_folio(self, blocks: ArrayLike, out: Any = None, exclusive: bool = False) -> Any:
        """Read a folio's pages; see `read_many`."""
        return self.read_many(blocks, out, exclusive)

    def read_many(self, blocks: ArrayLike, out: Any = None, exclusive: bool = False) -> Any:
        """Read pages, those that were written back from the backing file.

        Raises
        ------
        SwapError
            EIO: the codec cannot read page ``index``.
        TransferError
            The backing file failed.
        """
        out, numbers, backed = self._table.read(blocks, out)
        todo = np.flatnonzero(backed)
        while todo.size and self.backing is not None:
            rows = np.frombuffer(out, np.uint8).reshape(-1, PAGE_BYTES)
            rows[todo] = self.backing.read_many(backed[todo] - 1)
            # Whoever rewrote or dropped one meanwhile gave its place to another.
            todo = todo[~self._table.still_backed(numbers[todo], backed[todo])]
            if todo.size:
                rows[todo], _, backed[todo] = self._table.read(numbers[todo])
                todo = todo[backed[todo] > 0]
        if exclusive:
            self._table.drop(numbers)
        return out

    def invalidate(self, blocks: ArrayLike) -> None:
        """Forget what blocks hold (notify_free); they read as zeros."""
        self._table.drop(blocks)

    def mark_idle(self) -> int:
        """Mark every page of the pool idle until its next access; return how many."""
        return self._table.mark_idle()

    def writeback(self, which: str = "huge", limit: int | None = None) -> int:
        """Move pages to the backing file, in batches of neighbours there.

        Parameters
        ----------
        which : str
            "huge", "idle", "huge_idle" or "all".
        limit : int, optional
            Pages at most.

        Returns
        -------
        int
            Pages moved; one that is accessed meanwhile stays.

        Raises
        ------
        SwapValueError
            There is no backing file.
        TransferError
            It failed; the pages of that batch stay.
        """
        if self.backing is None:
            raise SwapValueError(errno.EINVAL, "writeback: this device has no backing file")
        moved, begin, left = 0, 0, self.blocks if limit is None else limit
        while begin < self.blocks and left > 0:
            pages, blocks, places, begin = self._table.pick(begin, which, min(left, WRITEBACK_PAGES))
            if not len(pages):
                break
            try:
                self.backing.write_many(pages, places)
            except BaseException:
                self._table.settle(blocks, places, False)
                raise
            moved += self._table.settle(blocks, places, True)
            left -= len(pages)
        return moved

    def compact(self) -> int:
        """Pack objects into as few pages as they need; return the pages given back."""
        return self._table.compact()

    def reset_mem_used_max(self) -> None:
        """Begin mem_used_max anew, as writing 0 to it does."""
        self._table.reset_peak()

    def mm_stat(self) -> str:
        """The line of /sys/block/zramN/mm_stat.

        orig_data_size compr_data_size mem_used_total mem_limit mem_used_max same_pages pages_compacted huge_pages
        huge_pages_since
        """
        n = self._table.counts()
        return (
            f"{n['stored'] * PAGE_BYTES:8d} {n['bytes']:8d} {n['pages'] * PAGE_BYTES:8d} {self.mem_limit:8d}"
            f" {n['peak_pages'] * PAGE_BYTES:8d} {n['filled']:8d} {n['pages_compacted']:8d} {n['raw']:8d}"
            f" {n['raw_since']:8d}\n"
        )

    def bd_stat(self) -> str:
        """The line of /sys/block/zramN/bd_stat: bd_count bd_reads bd_writes, in pages."""
        n = self._table.counts()
        return f"{n['bd_count']:8d} {n['bd_reads']:8d} {n['bd_writes']:8d}\n"

    def counts(self) -> dict[str, int]:
        """What the device has counted, by name."""
        return self._table.counts()

    def room(self) -> int:
        """Return how many pages fit at least, compressible ones."""
        n = self._table.counts()
        free = self.blocks - n["stored"]
        return min(free, max(0, self.mem_limit // PAGE_BYTES - n["pages"])) if self.mem_limit else free

    def flush(self) -> None:
        """Flush the backing file."""
        if self.backing is not None:
            self.backing.flush()

    def memory(self) -> dict[str, int]:
        """Bytes by kind: pool, spare, table, zspages, classes, backing (a bit a block of that file), codec, total."""
        return self._table.memory()

    def check(self) -> None:
        """Check every invariant from scratch; no other thread may use the device."""
        self._table.check()

    def close(self) -> None:
        """Nothing to give back that goes not by itself."""
