# One device of a swap space: its table, its backend, and transfers that say page by page what went wrong.
# May import the core, the backends, errors and numpy.
# Used by devices.py, the store, writeback and swapoff.
"""A swap device, or a pool: where it stands among the others, and how its blocks are written, read and given up."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swaptable._core import SwapTable
from swaptable.errors import CheckError, SwapError, TransferError, raise_errno
from swaptable.swapfile import SwapHeader

LENGTH_BITS = 13
COPY = 1024
STREAM = 1024  # pages that are read and then written: 4 MiB, a part of the processor's cache
LONG_RUN = 64  # pages from which on a store is worth a run of its own
Errors = NDArray[np.int32]
Fetch = Callable[[int, int], Errors]


@dataclass(eq=False)
class Device:
    """A device that is on, or whose slots are still in use.

    Attributes
    ----------
    name : str
        The path, or what it was given.
    kind : str
        partition, file, ghost, zswap, zram, memory.
    priority : int
    table : SwapTable
        Its slots, if it gives any out, and who has its blocks; of a pool, objects are blocks.
    backend : Backend
    type : int
        The swap type; -1 for a pool and for a device that only takes data.
    flags : frozenset of str
        rotational, synchronous, discard_once, discard_pages.
    pages : int
        Of the area, header included; 0 for a ghost.
    header : SwapHeader or None
    path : str or None
        Of the file or block device.
    on, closing : bool
        *closing*: on, but on its way off; nothing new goes there.
    first_size : int
        Bytes that a ghost starts with.
    marks : ndarray of uint16, shape (blocks,), or None
        For each block how long the compressed page in it is (13 bits, 0: a page as it is), and which of *codecs*.
    owners : ndarray of uint16, or None
        Of a pool: the cgroup that pays for each object; made when one does.
    stat : dict of str to int
        Pages read, written and refused, calls that failed.
    """

    name: str
    kind: str
    priority: int
    table: SwapTable
    backend: Any
    type: int = -1
    flags: frozenset[str] = frozenset()
    pages: int = 0
    header: SwapHeader | None = None
    path: str | None = None
    on: bool = True
    closing: bool = False
    first_size: int = 0
    marks: NDArray[np.uint16] | None = None
    codecs: list[Any] = field(default_factory=list)
    owners: NDArray[np.uint16] | None = None
    stat: dict[str, int] = field(default_factory=lambda: {"read": 0, "written": 0, "refused": 0, "failed": 0})

    @property
    def pool(self) -> bool:
        """Whether the backend numbers its pages itself."""
        return bool(self.backend.chooses)

    @property
    def ghost(self) -> bool:
        """A front end without blocks."""
        return self.kind == "ghost"

    @property
    def member(self) -> int:
        """Its number in the space of blocks."""
        return int(self.table.member)

    @property
    def usable(self) -> int:
        """Blocks that can be used at all; of a pool, pages of memory that it may have."""
        if self.pool:
            return int(self.backend.limit) // 4096
        return 0 if self.ghost or not self.on else int(self.table.blocks) - self.unusable

    @property
    def unusable(self) -> int:
        """The header, and bad pages."""
        return 0 if self.header is None else self.header.pages - self.header.good_pages

    @property
    def used(self) -> int:
        """Blocks in use; of a ghost, slots; of a pool, pages of memory."""
        if self.pool:
            counts = self.backend.counts()
            return int(counts["pages"] - counts["spare_pages"])
        return int(self.table.used) if self.ghost else max(self.usable - int(self.table.free_blocks), 0)

    def count(self, **changes: int) -> None:
        """Add to the statistics. One bytecode too many could lose a count beside other threads: they are a few."""
        for name, n in changes.items():
            self.stat[name] += n

    # ---- transfers

    def store(self, pages: NDArray[np.uint8], fetch: Fetch | None = None) -> tuple[NDArray[np.uint32], Errors]:
        """Store pages in blocks that are free, wherever; their locations (0 where one was not stored), and why not.

        The blocks are held for the caller.

        Parameters
        ----------
        fetch : callable(first, end) -> Errors, optional
            Fills *pages* as they are wanted: what was just read is still in the processor's cache when it is written.
        """
        if self.pool:
            assert fetch is None
            return self._store_in_pool(self.backend.write_many(pages))
        locs = np.zeros(len(pages), np.uint32)
        errors = np.full(len(pages), errno.ENOSPC, np.int32)
        got = self.table.block_alloc(len(pages), runs=len(pages) >= LONG_RUN)
        if len(got):
            blocks = self._blocks(got)
            errors[: len(got)] = self._stream(blocks, pages, fetch)
            locs[: len(got)] = np.where(errors[: len(got)] == 0, got, 0)
            self.table.block_free(got[errors[: len(got)] != 0])
        return locs, errors

    def _stream(self, blocks: NDArray[np.int64], pages: NDArray[np.uint8], fetch: Fetch | None) -> Errors:
        """Write the first pages to *blocks*; those that are fetched meanwhile a few at a time."""
        if fetch is None:
            return self.write(blocks, pages[: len(blocks)])
        errors = np.empty(len(blocks), np.int32)
        step = len(blocks) if self._direct else STREAM
        for first in range(0, len(blocks), step):
            part = slice(first, min(first + step, len(blocks)))
            errors[part] = fetch(part.start, part.stop)
            good = np.flatnonzero(errors[part] == 0)
            if len(good) == part.stop - part.start:
                errors[part] = self.write(blocks[part], pages[part])
            elif len(good):
                errors[first + good] = self.write(blocks[first + good], pages[first + good])
        return errors

    @property
    def _direct(self) -> bool:
        """Whether each call is a transfer of the medium: the larger the better."""
        return bool(getattr(self.backend, "direct", False))

    def _blocks(self, locs: NDArray[np.uint32]) -> NDArray[np.int64]:
        space = self.table.space
        assert space is not None
        return space.where(locs)[1]

    def _store_in_pool(self, written: Any) -> tuple[NDArray[np.uint32], Errors]:
        blocks, errors = written
        locs = np.zeros(len(errors), np.uint32)
        stored = errors == 0
        taken = self.table.block_take(blocks[stored])
        if not taken.all():
            if not self.closing:
                raise CheckError(f"{self.name}: the pool gave out a number that is taken")
            errors = errors.copy()
            self.backend.invalidate(blocks[stored][~taken])
            errors[np.flatnonzero(stored)[~taken]] = errno.ENOSPC
            stored = errors == 0
        locs[stored] = self.table.block_locs(blocks[stored])
        n = int(np.count_nonzero(stored))
        self.count(written=n, refused=len(errors) - n)
        return locs, errors

    def write(self, blocks: NDArray[np.int64], pages: NDArray[np.uint8]) -> Errors:
        """Write pages to blocks that are the caller's; for each 0 or an errno. What was not tried is tried again."""
        errors = self._write_some(blocks, pages)
        while len(left := np.flatnonzero(errors == errno.ECANCELED)):
            errors[left] = self._write_some(blocks[left], pages[left])
        if self.marks is not None:
            self._clear(blocks[errors == 0])
        refused = int(np.count_nonzero(errors))
        self.count(written=len(errors) - refused, refused=refused)
        return errors

    def read(self, blocks: NDArray[np.int64], out: NDArray[np.uint8], raw: bool = False) -> Errors:
        """Read blocks into *out*; for each 0 or an errno. *raw*: compressed ones as they are."""
        errors = self._read_some(blocks, out)
        while len(left := np.flatnonzero(errors == errno.ECANCELED)):
            part = np.empty((len(left), 4096), np.uint8)
            errors[left] = self._read_some(blocks[left], part)
            out[left] = part
        self.count(read=len(errors) - int(np.count_nonzero(errors)))
        if self.marks is not None and not raw:
            self._unpack(blocks, out, errors)
        return errors

    def _write_some(self, blocks: NDArray[np.int64], pages: NDArray[np.uint8]) -> Errors:
        """One call; ECANCELED for what it did not come to."""
        if not len(blocks):
            return np.zeros(0, np.int32)  # a backend is not asked for nothing
        try:
            errors = self.backend.write_many(pages, blocks).errors
        except TransferError as e:
            self.count(failed=1)
            errors = e.errors
        return np.array(errors, np.int32)  # ours from here on, whatever the backend made it of

    def _read_some(self, blocks: NDArray[np.int64], out: NDArray[np.uint8]) -> Errors:
        """One call; ECANCELED for what it did not come to."""
        errors = np.zeros(len(blocks), np.int32)
        if not len(blocks):
            return errors
        try:
            self.backend.read_many(blocks, out)
        except TransferError as e:
            self.count(failed=1)
            errors[:] = e.errors
        except SwapError as e:
            if e.index is None:
                raise
            self.count(failed=1)
            errors[e.index] = e.errno or errno.EIO
            errors[e.index + 1 :] = errno.ECANCELED
        return errors

    # ---- compressed pages in blocks

    def mark(self, blocks: NDArray[np.int64], lengths: NDArray[np.int32], codec: Any) -> None:
        """Note how long the compressed pages are that were written to *blocks*."""
        if self.marks is None or len(self.marks) < len(self.table):
            marks = np.zeros(len(self.table), np.uint16)
            if self.marks is not None:
                marks[: len(self.marks)] = self.marks
            self.marks = marks
        if codec not in self.codecs:
            self.codecs.append(codec)
        number = self.codecs.index(codec)
        self.marks[blocks] = np.where(lengths < 4096, lengths | number << LENGTH_BITS, 0)

    def _clear(self, blocks: NDArray[np.int64]) -> None:
        assert self.marks is not None
        self.marks[blocks[blocks < len(self.marks)]] = 0

    def _unpack(self, blocks: NDArray[np.int64], out: NDArray[np.uint8], errors: Errors) -> None:
        assert self.marks is not None
        marks = np.zeros(len(blocks), np.uint16)
        known = blocks < len(self.marks)
        marks[known] = self.marks[blocks[known]]
        packed = np.flatnonzero((marks != 0) & (errors == 0))
        for number in np.unique(marks[packed] >> LENGTH_BITS).tolist():
            some = packed[marks[packed] >> LENGTH_BITS == number]
            lengths = (marks[some] & (1 << LENGTH_BITS) - 1).astype(np.int32)
            out[some] = self.codecs[number].decompress_many(out[some], lengths)

    def copy(self, src: NDArray[np.uint32], dst: NDArray[np.uint32]) -> None:
        """Copy blocks as they are, compressed or not, from locations *src* to *dst*: what `SwapTable.resize` asks for.

        Raises
        ------
        SwapError
            A block could not be read or written.
        """
        for first in range(0, len(src), COPY):
            old, new = self._blocks(src[first : first + COPY]), self._blocks(dst[first : first + COPY])
            pages = np.empty((len(old), 4096), np.uint8)
            for errors in (self.read(old, pages, raw=True), self.write(new, pages)):
                if errors.any():
                    raise_errno(int(errors[errors != 0][0]), f"{self.name}: blocks cannot be moved")
            if self.marks is not None:
                packed = old < len(self.marks)
                self.marks[new[packed]] = self.marks[old[packed]]

    # ---- giving up

    def discard(self, blocks: NDArray[np.int64]) -> None:
        """Blocks whose data nobody needs: a hole in a file, an object less in a pool."""
        self.backend.invalidate(blocks)

    def memory(self) -> dict[str, int]:
        """Bytes of metadata and of data in memory, by kind."""
        table, backend = self.table.memory(), self.backend.memory()
        marks = 0 if self.marks is None else self.marks.nbytes
        owners = 0 if self.owners is None else self.owners.nbytes
        return {
            "table": table["total"], "backend": backend["total"], "marks": marks, "owners": owners,
            "total": table["total"] + backend["total"] + marks + owners,
        }  # fmt: skip
