# A file or a block device as a place for blocks.
# May import _file and errors.
# Used by whoever opens swap areas; tests inject faults.
"""Blocks on a file or a block device: positioned reads and writes, one call a run of consecutive blocks."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from swaptable.backends import PAGE_BYTES, Buffer, Written
from swaptable.backends._file import END, SHORT, BlockFile
from swaptable.backends._pages import count, empty_pages, numbers
from swaptable.errors import SwapValueError

__all__ = ["END", "SHORT", "FileBackend"]


def _size(fd: int) -> int:
    """Bytes of a file or a block device."""
    return os.lseek(fd, 0, os.SEEK_END)


class FileBackend:
    """A file or block device whose blocks the caller numbers.

    Parameters
    ----------
    path : str or PathLike
    blocks : int, optional
        Blocks of 4096 bytes; by default what the file has. A regular file that is shorter is made longer (sparse) with
        *create*, refused without.
    create : bool
        Make the file, or make it longer.
    direct : bool, optional
        O_DIRECT: True demands it, False does without; by default it is used where it works, which the attribute
        ``direct`` says afterwards, and ``direct_why`` why not.
    discard : bool
        Whether `invalidate` punches holes.
    fault : callable, optional
        See :attr:`BlockFile.fault`: fails, shortens or ends chosen calls, for tests.

    Attributes
    ----------
    direct : bool
    direct_why : str
    discard : bool
        False also once the file has refused to have a hole.

    Notes
    -----
    Elements of a call are transferred in the order of their block numbers; consecutive ones make one
    vectored call, however they lie in the arrays. A transfer that ends short goes on where it ended. Any method but
    `close` may be called from any thread at any time; what two threads do to one block at a time is theirs to order.
    """

    kind = "file"
    chooses = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        blocks: int | None = None,
        *,
        create: bool = False,
        direct: bool | None = None,
        discard: bool = False,
        fault: Any = None,
    ) -> None:
        if blocks is not None and blocks < 1:
            raise SwapValueError(errno.EINVAL, f"blocks {blocks}: expected 1 or more")
        self.path = os.fspath(path)
        self.discard = discard
        self._fd, self.direct, self.direct_why = self._open(create, direct)
        try:
            self.blocks = self._blocks(blocks, create)
            self.direct, self.direct_why = self._try_direct(direct)
            self._file = BlockFile(self._fd, self.blocks, self.direct, self.path, fault)
        except BaseException:
            os.close(self._fd)
            raise

    def _open(self, create: bool, direct: bool | None) -> tuple[int, bool, str]:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        if direct is False:
            return os.open(self.path, flags, 0o600), False, "not asked for"
        try:
            return os.open(self.path, flags | os.O_DIRECT, 0o600), True, ""
        except OSError as e:
            if direct or e.errno != errno.EINVAL:
                raise
            return os.open(self.path, flags, 0o600), False, f"open: {e.strerror}"

    def _blocks(self, blocks: int | None, create: bool) -> int:
        """How many blocks there are; makes a regular file longer if it may."""
        have = _size(self._fd) // PAGE_BYTES
        if blocks is None:
            blocks = have
        if blocks > have and create and stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.ftruncate(self._fd, blocks * PAGE_BYTES)
            have = blocks
        if not 1 <= blocks <= have:
            raise SwapValueError(errno.EINVAL, f"{self.path} has {have} blocks: expected {max(blocks, 1)}")
        return blocks

    def _try_direct(self, direct: bool | None) -> tuple[bool, str]:
        """Whether a direct read works; some file systems take the flag and refuse the transfer."""
        if not self.direct:
            return False, self.direct_why
        try:
            os.preadv(self._fd, [empty_pages(1).data], 0)
        except OSError as e:
            if direct or e.errno != errno.EINVAL:
                raise
            os.close(self._fd)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            return False, f"read: {e.strerror}"
        return True, ""

    @property
    def fault(self) -> Any:
        """The hook that is asked before every call of the system."""
        return self._file.fault

    @fault.setter
    def fault(self, hook: Any) -> None:
        self._file.fault = hook

    def _write(self, pages: Buffer, blocks: ArrayLike | None) -> NDArray[np.int64]:
        if blocks is None:
            raise SwapValueError(errno.EINVAL, "blocks None: a file does not choose")
        self._file.transfer(True, pages, blocks)
        return numbers(blocks, count(pages))

    def write_folio(self, folio: Buffer, blocks: ArrayLike | None = None) -> NDArray[np.int64]:
        """Write a folio's pages to *blocks*, the first of a run or one number a page; see `write_many`."""
        return self._write(folio, blocks)

    def write_many(self, pages: Buffer, blocks: ArrayLike | None = None) -> Written:
        """Write pages to blocks.

        Parameters
        ----------
        pages : buffer of n times 4096 bytes
        blocks : int or array of int, shape (n,)
            An int is the first of a run.

        Returns
        -------
        Written
            No page is refused.

        Raises
        ------
        TransferError
            EIO, ENOSPC, ...: ``errors`` says which pages are written.
        SwapValueError
            A block out of range; nothing is written.
        """
        array = self._write(pages, blocks)
        return Written(array, np.zeros(array.size, np.int32))

    def read_folio(self, blocks: ArrayLike, out: Any = None, exclusive: bool = False) -> Any:
        """Read a folio's pages; see `read_many`."""
        return self.read_many(blocks, out, exclusive)

    def read_many(self, blocks: ArrayLike, out: Any = None, exclusive: bool = False) -> Any:
        """Read blocks.

        Parameters
        ----------
        blocks : int or array of int, shape (n,)
            An int is the first of a run, as long as *out*.
        out : writable buffer of n times 4096 bytes, optional
        exclusive : bool
            `invalidate` them then.

        Raises
        ------
        TransferError
            EIO, also where the file ends: ``errors`` says which pages are read.
        """
        out = self._file.read(blocks, out)
        if exclusive:
            self.invalidate(numbers(blocks, count(out)))
        return out

    def invalidate(self, blocks: ArrayLike) -> None:
        """Give blocks up: with ``discard`` holes are punched, one call a run; without nothing happens.

        Raises
        ------
        TransferError
        """
        if self.discard and not self._file.discard(blocks):
            self.discard = False

    def room(self) -> int:
        """Return the number of blocks; which of them are taken is the caller's to know."""
        return self.blocks

    def flush(self) -> None:
        """Have the system bring to the device what it still holds (fdatasync).

        Raises
        ------
        TransferError
        """
        self._file.flush()

    def fileno(self) -> int:
        """Return the descriptor; -1 when it is closed."""
        return self._fd

    def counts(self) -> dict[str, int]:
        """Calls of the system, runs and pages by kind, short and bounced transfers."""
        return self._file.counts()

    def memory(self) -> dict[str, int]:
        """Bytes by kind: the aligned buffers; blocks are on the device."""
        return {"bounce": self._file.bounce_bytes, "total": self._file.bounce_bytes}

    def check(self) -> None:
        """Nothing to check: the file holds what it was given."""

    def close(self) -> None:
        """Close the file; no other thread may use it any more. Later calls fail with EBADF."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._file.close()
            os.close(fd)

    def __enter__(self) -> FileBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self.close()
