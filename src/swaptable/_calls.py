# The calls of a swap space that are about pages: out and in.
# May import swapping out and in, the cache and what lies under them.
# Used by space.py.
"""Scalar calls for people and tests, batches for everything else."""

from __future__ import annotations

import errno
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from swaptable import _words as w
from swaptable._store import Errors
from swaptable._swapin import Mode, SwapIn
from swaptable._swapout import SwapOut, SwappedOut, as_pages
from swaptable._users import UserCalls, as_entries
from swaptable.errors import SlotNotInUseError, SwapError, SwapValueError, TransferError, raise_errno
from swaptable.memcg import Memcg, MemcgTree
from swaptable.readahead import Readahead, Vma

PAGE = 4096


class Mapped(NamedTuple):
    """Pages that were swapped in while their slots stayed, as clean folios of the caller.

    Attributes
    ----------
    pages : ndarray of uint8, shape (n, 4096)
    entries : ndarray of int64, shape (n,)
        -1 where the slot is gone: more than half of all swap was used.
    pfns : ndarray of uint64, shape (n,)
        What proves that a slot is still the caller's; 0 where it is gone.
    """

    pages: NDArray[np.uint8]
    entries: NDArray[np.int64]
    pfns: NDArray[np.uint64]


def _following(entry: int, nr: int) -> NDArray[np.int64]:
    """The entries of a folio."""
    if not isinstance(entry, (int, np.integer)) or not -(1 << 62) < entry < 1 << 62:
        raise SwapValueError(errno.EINVAL, f"entry {entry!r}: expected an integer that swap_out returned")
    if not isinstance(nr, (int, np.integer)) or not 1 <= nr <= 512:
        raise SwapValueError(errno.EINVAL, f"nr {nr!r}: expected 1 to 512 pages")
    return as_entries(np.arange(nr) + entry)


class PageCalls(UserCalls):
    """What a swap space does with pages."""

    memcg: MemcgTree | None
    mixed_swapin: bool
    _out: SwapOut
    _in: SwapIn
    _readahead: Readahead

    # ---- out

    def swap_out(self, data: Any, memcg: Memcg | None = None) -> int:
        """Swap out a page, or a folio of 2, 4, ... 512 pages; the entry of its first page, the others follow it.

        Parameters
        ----------
        data : buffer of ``4096 << order`` bytes
        memcg : Memcg, optional
            Who pays; nobody by default.

        Raises
        ------
        SwapFullError
            There are no slots side by side, or nothing takes the data; it stays with the caller.
        SwapMemoryError
            The cgroup's limit.
        """
        self._member(memcg)
        pages = as_pages(data)
        order = len(pages).bit_length() - 1
        if not len(pages) or len(pages) != 1 << order or order > 9:
            raise SwapValueError(
                errno.EINVAL, f"data: {pages.nbytes} bytes; expected a folio of 1, 2, 4, ... 512 pages"
            )
        got = self._out.many(pages, order, memcg, split=False)
        if got.errors.any():
            self.free_many(got.entries[got.entries >= 0])
            why = int(got.errors[got.errors != 0][0])
            what = "the cgroup's limit" if why == errno.ENOMEM else "no slots side by side, or nothing takes the data"
            raise_errno(why, f"swap-out of {len(pages)} pages: {what}; they stay with the caller")
        return int(got.entries[0])

    def swap_out_many(
        self,
        pages: Any,
        order: int = 0,
        memcg: Memcg | None = None,
        mapped: Mapped | None = None,
        dirty: ArrayLike | None = None,
    ) -> SwappedOut:
        """Swap out many folios of ``1 << order`` pages; one that finds no slots side by side is split.

        Parameters
        ----------
        pages : buffer of n times 4096 bytes
        mapped : Mapped, optional
            What `map_many` said of these pages (its own are not looked at): where a slot is still the caller's, and the
            page was not stored to, nothing is written. For order 0.
        dirty : array of bool, shape (n,), optional
            With *mapped*: pages that were stored to; none by default.

        Returns
        -------
        SwappedOut
            Entries and errors, page by page.
        """
        self._member(memcg)
        array = as_pages(pages)
        if not 0 <= order <= 9 or len(array) % (1 << order):
            raise SwapValueError(
                errno.EINVAL, f"order {order}: expected 0 to 9, and whole folios of {len(array)} pages"
            )
        if mapped is None:
            return self._out.many(array, order, memcg)
        stored_to = np.zeros(len(array), bool) if dirty is None else np.asarray(dirty, bool)
        if order or not len(array) == len(mapped.entries) == len(stored_to):
            raise SwapValueError(errno.EINVAL, f"mapped: {len(mapped.entries)} pages; expected {len(array)}, order 0")
        return self._out.again(mapped.entries, mapped.pfns, array, stored_to, memcg)

    def _member(self, memcg: Any) -> None:
        """Refuse a cgroup that nothing could be charged to: of another tree, or none at all."""
        if memcg is None or (isinstance(memcg, Memcg) and memcg.tree is self.memcg):
            return
        known = "a group of the swap space's tree" if self.memcg is not None else "None: the swap space has no cgroups"
        what = f"{memcg.path!r} of another tree" if isinstance(memcg, Memcg) else repr(memcg)
        raise SwapValueError(errno.EINVAL, f"memcg is {what}; expected {known}")

    # ---- in

    def swap_in(self, entry: int, nr: int = 1) -> bytes:
        """The data of *nr* pages from *entry* on; a user of each is given up.

        A folio whose pages are not all in one place (a device, a pool, zeros) comes back page by page, as in the
        kernel, and is counted (``swpin_fallback``), unless the space was made with ``mixed_swapin``.

        Raises
        ------
        SlotNotInUseError
            Nobody has this entry.
        TransferError
            A page cannot be read; its entry is what it was.

        Notes
        -----
        Runtime: O(1), plus one backend load when not cached.
        """
        entries = _following(entry, nr)
        out = np.empty((nr, PAGE), np.uint8)
        for part in self._whole_or_single(entries):
            self._read(entries[part], out[part], Mode.TAKE)
        return out.tobytes()

    def _whole_or_single(self, entries: NDArray[np.int64]) -> list[slice]:
        """How a folio is swapped in: in one, or page by page where its pages are in several places; counted."""
        nr = len(entries)
        if nr == 1:
            return [slice(0, 1)]
        whole = self.mixed_swapin or self._alike(entries)
        self.store.count_size(nr.bit_length() - 1, "swpin" if whole else "swpin_fallback", 1)
        return [slice(0, nr)] if whole else [slice(k, k + 1) for k in range(nr)]

    def _alike(self, entries: NDArray[np.int64]) -> bool:
        """Is the data of a folio all in one place?"""
        places = [front.table.resolve(entries[at] & w.SLOT_MASK)[0] for front, at in self.cache.by_type(entries)]
        return len(places) == 1 and bool((places[0] == places[0][0]).all())

    def swap_in_many(self, entries: ArrayLike, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The pages of many entries, (n, 4096); a user of each is given up.

        Raises
        ------
        SlotNotInUseError, TransferError
            Of the first entry that has no page, or whose page cannot be read: that entry is what it was; ``errors``
            says which they are, ``pages`` has the pages of the others, which are swapped in.
        """
        return self._into(as_entries(entries), out, Mode.TAKE)

    def look_many(self, entries: ArrayLike, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The pages of many entries, which keep all their users; errors as of `swap_in_many`."""
        return self._into(as_entries(entries), out, Mode.LOOK)

    def fault(self, entry: int, vma: Vma | None = None, page: int = 0, keep: bool = False, nr: int = 1) -> Any:
        """The page of an entry, as a page fault has it: with readahead; a user is given up.

        Parameters
        ----------
        vma : Vma, optional
            Where the fault was, for readahead by addresses; else it goes by slots, as it does while a rotational device
            is on. Slots of ghosts and of synchronous devices have none.
        page : int
            Which page of *vma*.
        keep : bool
            The slot stays, as for `map_many`.
        nr : int
            Pages of a large folio, 2, 4, ... 512 from *entry* on: without readahead where it comes back whole; page by
            page, each with its own, and counted (``swpin_fallback``) where its pages are in several places.

        Returns
        -------
        bytes, or Mapped with *keep*
            Errors as of `swap_in`. What cannot be read ahead is no error.
        """
        entries = _following(entry, nr)
        out, pfns = np.empty((nr, PAGE), np.uint8), np.zeros(nr, np.uint64)
        if vma is not None and not 0 <= page <= len(vma.entries) - nr:
            raise SwapValueError(errno.EINVAL, f"page {page}: expected 0 to {len(vma.entries) - nr}")
        mode = Mode.MAP if keep else Mode.TAKE
        for part in self._whole_or_single(entries):
            if part.stop - part.start == 1:
                self._readahead.before(int(entries[part.start]), vma, page + part.start)
            self._read(entries[part], out[part], mode, pfns[part])
        return Mapped(out, np.where(pfns != 0, entries, -1), pfns) if keep else out.tobytes()

    def map_many(self, entries: ArrayLike, out: NDArray[np.uint8] | None = None) -> Mapped:
        """Swap pages in and keep their slots, as the kernel does: a page that is evicted clean costs nothing.

        A slot without other users is taken from its page when more than half of swap is used and slots are asked for
        (`SwapTable.set_reclaim`). Errors as of `swap_in_many`; ``mapped`` is what came of the others.
        """
        array = as_entries(entries)
        pfns = np.zeros(len(array), np.uint64)
        try:
            pages = self._into(array, out, Mode.MAP, pfns)
        except SwapError as e:
            if e.pages is not None:
                e.mapped = Mapped(e.pages, np.where(pfns != 0, array, -1), pfns)
            raise
        return Mapped(pages, np.where(pfns != 0, array, -1), pfns)

    def unmap_many(self, mapped: Mapped) -> None:
        """Give up the slots of pages that were mapped: the pages were freed, or stored to for good."""
        have = np.flatnonzero(mapped.pfns != 0)
        for front, where in self.cache.by_type(mapped.entries[have]):
            at = have[where]
            slots, pfns = mapped.entries[at] & w.SLOT_MASK, mapped.pfns[at]
            for mine in self.cache.mine(front, slots, pfns):
                self.store.release(front, slots[mine], pfns[mine] | np.uint64(w.LOCKED), self.store.clock)
        self.store.settle()

    def _into(
        self,
        entries: NDArray[np.int64],
        out: NDArray[np.uint8] | None,
        mode: Mode,
        pfns: NDArray[np.uint64] | None = None,
    ) -> NDArray[np.uint8]:
        out = np.empty((len(entries), PAGE), np.uint8) if out is None else out
        fits = isinstance(out, np.ndarray) and out.shape == (len(entries), PAGE) and out.dtype == np.uint8
        if not fits or not (out.flags.c_contiguous and out.flags.writeable):
            what = f"{out.dtype}, {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
            raise SwapValueError(
                errno.EINVAL,
                f"out is {what}; expected a writable contiguous uint8 array of shape ({len(entries)}, {PAGE})",
            )
        self._read(entries, out, mode, pfns)
        return out

    def _read(
        self, entries: NDArray[np.int64], out: NDArray[np.uint8], mode: Mode, pfns: NDArray[np.uint64] | None = None
    ) -> None:
        errors = self._in.many(entries, out, mode, pfns)
        if errors.any():
            self._fail(entries, errors, out)

    @staticmethod
    def _fail(entries: NDArray[np.int64], errors: Errors, out: NDArray[np.uint8]) -> None:
        bad = int(np.flatnonzero(errors)[0])
        what = f"swap-in of entry {int(entries[bad]):#x}"
        error: Any = SlotNotInUseError(errno.ENOENT, f"{what}: nobody has it")
        if errors[bad] != errno.ENOENT:
            error = TransferError(int(errors[bad]), f"{what}: its page cannot be read; the entry is what it was")
        error.index, error.errors, error.pages = bad, errors, out
        raise error
