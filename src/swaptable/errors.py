# The exceptions of the package and the one function that raises them from an errno.
# Imports the standard library only.
# Used by every floor above.
"""Exceptions: every failure of a table is an :class:`OSError` with the kernel's errno."""

from __future__ import annotations

import errno
from typing import Any, NoReturn

AOP_WRITEPAGE_ACTIVATE = 0x80000
"""The kernel's answer of a writepage that keeps the folio; no errno has this value."""


class SwapError(OSError):
    """A refused operation; the state is as it was before the element that failed.

    Attributes
    ----------
    errno : int
        The kernel's errno, see the subclasses.
    index : int or None
        In a batch: which element was bad.
    done : int or None
        In a batch: how many elements before it were done (they stay done).
    errors, pages, mapped : ndarray of int32, shape (n,); ndarray of uint8, shape (n, 4096); Mapped; or None
        Of a swap-in that failed for some: 0 or the errno of each, the pages of those that came, what `map_many` has.
    """

    index: int | None = None
    done: int | None = None
    errors: Any = None
    pages: Any = None
    mapped: Any = None


class SwapFullError(SwapError):
    """ENOSPC: no room at this order."""


class SlotNotInUseError(SwapError, LookupError):
    """ENOENT: the slot is free, or has no user to give up."""


class SlotCachedError(SwapError):
    """EEXIST: the slot is in the swap cache already."""


class SlotBusyError(SwapError):
    """EBUSY: the slot changed under the caller, or is pinned."""


class StaleLocationError(SwapError):
    """ESTALE: the location has moved."""


class SwapValueError(SwapError, ValueError):
    """EINVAL: the caller's mistake; the message names the value and what was expected."""


class CountOverflowError(SwapError, OverflowError):
    """EOVERFLOW: more users than a 32-bit count holds."""


class SwapMemoryError(SwapError, MemoryError):
    """ENOMEM: no memory for a table."""


class PageRefusedError(SwapError):
    """E2BIG: storing the page would save no space."""


class FolioKeptError(SwapError):
    """AOP_WRITEPAGE_ACTIVATE (0x80000): the backend takes nothing, the folio stays in memory, dirty."""


class TransferError(SwapError):
    """EIO, ENOSPC or another errno of a device, or a transfer that ended short; what was done stays done.

    Attributes
    ----------
    errors : ndarray of int32, shape (n,), or None
        For each element of the call 0 when it was transferred, the errno where it failed, ECANCELED when it was not
        tried any more.
    """

    errors: Any = None


_CLASSES: dict[int, type[SwapError]] = {
    errno.ENOSPC: SwapFullError,
    errno.ENOENT: SlotNotInUseError,
    errno.EEXIST: SlotCachedError,
    errno.EBUSY: SlotBusyError,
    errno.ESTALE: StaleLocationError,
    errno.EINVAL: SwapValueError,
    errno.EOVERFLOW: CountOverflowError,
    errno.ENOMEM: SwapMemoryError,
    errno.E2BIG: PageRefusedError,
    AOP_WRITEPAGE_ACTIVATE: FolioKeptError,
}


class TraceError(ValueError):
    """A trace that cannot be read; the message names the file, the place and what was expected."""


class SnapshotError(ValueError):
    """A file that is no snapshot of a table, is damaged, or of a version that is not known; the message says which."""


class RecordError(RuntimeError):
    """A program could not be recorded; the message says what to install or what failed."""


class MissingCodecError(ImportError):
    """A compression library is not installed; the message names the extra that brings it."""


class CheckError(AssertionError):
    """An invariant does not hold; the message has the state."""


def raise_errno(err: int, message: str, index: int | None = None) -> NoReturn:
    """Raise the exception of errno *err* (either sign); *index* marks an element of a batch.

    >>> raise_errno(28, "no room at order 9")
    Traceback (most recent call last):
        ...
    swaptable.errors.SwapFullError: [Errno 28] no room at order 9
    """
    err = abs(err)
    if index is not None:
        message = f"{message} (element {index} of the batch; the {index} before it are done)"
    exc = _CLASSES.get(err, SwapError)(err, message)
    exc.index = exc.done = index
    raise exc
