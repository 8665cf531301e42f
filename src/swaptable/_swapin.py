# Swapping in: who won, where the data is, what happens to the slot then.
# May import the cache, the store and what lies under them.
# Used by the swap space.
"""From entries to pages. No pin is held while another is waited for: what cannot be had now is looked at again."""

from __future__ import annotations

import errno
import time
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._cache import WAIT_SECONDS, Cache
from swaptable._device import Device
from swaptable._frames import DIRTY
from swaptable._store import Errors, Slots, Store

BATCH = 4096


class Mode(Enum):
    """What becomes of a slot whose page was swapped in."""

    TAKE = "a user is given up; the slot goes with the last"
    LOOK = "nothing"
    MAP = "a user is given up; the slot stays, cached, as the caller's clean page"


class SwapIn:
    """Swapping in.

    Parameters
    ----------
    promote : bool
        See `_keep`.
    """

    def __init__(self, cache: Cache, promote: bool) -> None:
        self.cache, self.promote = cache, promote
        self.store: Store = cache.store

    def many(
        self, entries: NDArray[np.int64], out: NDArray[np.uint8], mode: Mode, pfns: NDArray[np.uint64] | None = None
    ) -> Errors:
        """Swap in *entries*; for each 0 or an errno (ENOENT: nobody's entry; EIO: it stays as it was).

        Parameters
        ----------
        out : ndarray of uint8, shape (n, 4096)
        pfns : ndarray of uint64, shape (n,), optional
            With MAP, under which each slot is the caller's now; 0 where it is gone.
        """
        errors = np.zeros(len(entries), np.int32)
        for first in range(0, len(entries), BATCH):
            part = slice(first, first + BATCH)
            errors[part] = self._batch(entries[part], out[part], mode, None if pfns is None else pfns[part])
        return errors

    def _batch(
        self, entries: NDArray[np.int64], out: NDArray[np.uint8], mode: Mode, pfns: NDArray[np.uint64] | None
    ) -> Errors:
        errors = np.full(len(entries), errno.EAGAIN, np.int32)
        for front, where in self.cache.by_type(entries):
            left = where
            while len(left):
                whole = len(left) == len(entries)
                part = out if whole else np.empty((len(left), 4096), np.uint8)
                some = np.zeros(len(left), np.uint64)
                errors[left] = self._once(front, entries[left] & w.SLOT_MASK, part, mode, some)
                done = errors[left] == 0
                if not whole:
                    out[left[done]] = part[done]
                if pfns is not None:
                    pfns[left[done]] = some[done]
                left = left[errors[left] == errno.EAGAIN]
                if len(left) and not done.any():
                    time.sleep(WAIT_SECONDS)
        self.store.settle()
        return errors

    def _once(
        self, front: Device, slots: Slots, out: NDArray[np.uint8], mode: Mode, pfns: NDArray[np.uint64]
    ) -> Errors:
        """One try; EAGAIN for those that somebody else has pinned."""
        session = self.store.frames.session()
        mine, words = front.table.pin_many(slots, session)
        errors = np.full(len(slots), errno.EAGAIN, np.int32)
        if mine.all():
            errors = self._read(front, slots, words, session, out, mode, pfns)
            return errors
        won = np.flatnonzero(mine)
        if len(won):
            part, some = np.empty((len(won), 4096), np.uint8), np.zeros(len(won), np.uint64)
            errors[won] = self._read(front, slots[won], words[won], session, part, mode, some)
            out[won], pfns[won] = part, some
        lost = np.flatnonzero(~mine)
        part, some = np.empty((len(lost), 4096), np.uint8), np.zeros(len(lost), np.uint64)
        errors[lost] = self._cached(front, slots[lost], part, mode, some)
        out[lost[errors[lost] == 0]], pfns[lost] = part[errors[lost] == 0], some
        return errors

    def _read(
        self,
        front: Device,
        slots: Slots,
        words: NDArray[np.uint64],
        session: int,
        out: NDArray[np.uint8],
        mode: Mode,
        pfns: NDArray[np.uint64],
    ) -> Errors:
        """Read slots that are pinned under *session*, and let go of them."""
        try:
            errors = self.store.read(front, slots, out)
        except BaseException:  # whatever a backend or a signal raises: nobody else could let go of these
            self.store.release(front, slots, session, w.shadows(words))
            raise
        good = errors == 0
        kept = np.zeros(len(slots), bool)
        if mode is not Mode.LOOK:
            read = np.flatnonzero(good)
            had = front.table.put_each(slots[read])
            errors[read[had == 0]] = errno.ENOENT
            good = errors == 0
            if mode is Mode.TAKE:
                shared = read[w.counts(had) > 1]
                kept[shared] = self._keep(front, slots[shared], session, out[shared])
        if mode is Mode.MAP and not self.store.full():
            kept = good
            pfns[kept] = self.store.frames.sessions(int(kept.sum()), w.MAPPED, False)
            front.table.repin_many(slots[kept], session, pfns[kept])
        rest = ~kept
        # A page that was only looked at, or that others still have swapped out, was used just now.
        self.store.release(front, slots[rest], session, np.where(good, self.store.clock, w.shadows(words))[rest])
        return errors

    def _keep(self, front: Device, slots: Slots, session: int, pages: NDArray[np.uint8]) -> NDArray[np.bool]:
        """Let pages that others have swapped out too stay in the cache; which do.

        A load from a pool is exclusive: the object goes, the folio is dirty. With *promote* so is one from a device
        that is not the best: what is used again goes to the best when it leaves the cache.
        """
        kept = np.zeros(len(slots), bool)
        if not len(slots):
            return kept
        members = front.table.resolve(slots)[0]
        moves = np.zeros(len(slots), bool)
        best = next((d.priority for d in self.store.devices if not d.ghost), 0)
        for device in self.store.devices:
            if device.pool or (self.promote and device.priority < best):
                moves |= members == device.member
        for which, flags in ((moves, DIRTY), (~moves, 0)):
            if which.any():
                kept[which] = self.cache.keep(front, slots[which], session, pages[which], flags)
        return kept

    def _cached(
        self, front: Device, slots: Slots, out: NDArray[np.uint8], mode: Mode, pfns: NDArray[np.uint64]
    ) -> Errors:
        """Slots that could not be pinned: free ones, folios of the cache, and those that others are at work on."""
        words = front.table.words(slots)
        folio = w.is_folio(words)
        errors = np.where(folio | w.is_shadow(words), errno.EAGAIN, errno.ENOENT).astype(np.int32)
        found = np.flatnonzero(folio)
        got = found[self._copied(front, slots[found], words[found], out, found)]
        if mode is Mode.LOOK:
            errors[got] = 0
            return errors
        # One at a time: an entry may be there twice.
        _, first = np.unique(slots[got], return_index=True)
        got = got[first]
        had = front.table.put_each(slots[got])
        errors[got] = np.where(had == 0, errno.ENOENT, 0)
        if mode is Mode.MAP and not self.store.full():
            last = got[(w.counts(had) == 1) & w.is_folio(had)]
            pfns[last] = self.cache.hand_over(front, slots[last])
        self.cache.drop(front, slots[got])
        return errors

    def _copied(
        self, front: Device, slots: Slots, words: NDArray[np.uint64], out: NDArray[np.uint8], at: NDArray[np.int64]
    ) -> NDArray[np.bool]:
        """Copy folios of the cache, and read the blocks of pages that are a caller's; which it went well for."""
        part = np.empty((len(slots), 4096), np.uint8)
        good = self.cache.copy(front, slots, words, part)
        pfns = w.pfns(words)
        theirs = np.flatnonzero(w.frames(pfns) == w.MAPPED)
        _, first = np.unique(slots[theirs], return_index=True)
        theirs = theirs[first]
        if len(theirs):
            mine = theirs[self.cache.lock(front, slots[theirs], pfns[theirs])]
            data = np.empty((len(mine), 4096), np.uint8)
            good[mine] = self.store.read(front, slots[mine], data) == 0
            part[mine] = data
            front.table.repin_many(slots[mine], pfns[mine] | np.uint64(w.LOCKED), pfns[mine])
        out[at[good]] = part[good]
        return good
