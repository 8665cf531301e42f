# The swap cache: folios that stay in memory under their entries, and how they leave it.
# May import the store and what lies under it.
# Used by swapoff and the swap space.
"""Folios in frames of the cache. A frame is taken over by locking its folio: compare and set of the pfn in the word."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._charges import Mask
from swaptable._device import Device
from swaptable._frames import DIRTY, READAHEAD, UPTODATE, Frames
from swaptable._store import Slots, Store
from swaptable.errors import CheckError, SwapValueError

Pfns = NDArray[np.uint64]
WAIT_SECONDS = 50e-6
_LOCKED = np.uint64(w.LOCKED)


class Cache:
    """What the swap cache holds beyond one operation: pages that nobody took, and pages read ahead."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.frames: Frames = store.frames

    def by_type(self, entries: NDArray[np.int64]) -> Iterator[tuple[Device, NDArray[np.int64]]]:
        """The device of entries of each swap type, and where those are; SwapValueError for what is no entry."""
        types = entries >> w.TYPE_SHIFT
        if len(entries) and (types == types[0]).all():
            yield self.device(int(types[0]), int(entries[0])), np.arange(len(entries))
            return
        for kind in np.unique(types).tolist():
            where = np.flatnonzero(types == kind)
            yield self.device(kind, int(entries[where[0]])), where

    def device(self, kind: int, entry: int) -> Device:
        """The device of a swap type."""
        device = self.store.devices.by_type[kind] if 0 <= kind < 32 else None
        if device is None:
            raise SwapValueError(errno.EINVAL, f"entry {entry:#x}: there is no swap type {kind}")
        return device

    # ---- in

    def keep(self, front: Device, slots: Slots, old: Pfns | int, pages: NDArray[np.uint8], flags: int) -> Mask:
        """Let pages stay in the cache, as many as there is room for.

        Parameters
        ----------
        old : int or array of int
            The pfns, the caller's, under which the slots are cached now.
        flags : int
            DIRTY, READAHEAD.

        Returns
        -------
        ndarray of bool, shape (n,)
            Which are the cache's now, unlocked. The others are still the caller's.
        """
        kept = np.zeros(len(slots), bool)
        if self.frames.room < len(slots):
            self.shrink(len(slots) - self.frames.room, clean_only=True)
        got = self.frames.take(len(slots))
        if len(got):
            n = len(got)
            olds = np.broadcast_to(np.asarray(old, np.uint64), len(slots))[:n].copy()
            self.frames.pages[got] = pages[:n]
            self.frames.set(got, w.entries(front.type, slots[:n]), flags | UPTODATE)
            if flags & DIRTY:
                self.store.drop_data(front, slots[:n])
            kept[:n] = front.table.repin_many(slots[:n], olds, self.frames.pfns(got, False))
            self.frames.give(got[~kept[:n]])
            self.drop(front, slots[:n])  # who was the last to give a page up could not, while it was the caller's
        return kept

    # ---- found

    def copy(self, front: Device, slots: Slots, words: NDArray[np.uint64], out: NDArray[np.uint8]) -> Mask:
        """Copy pages of folios in the cache without a lock; which ones were what they should be.

        Parameters
        ----------
        words : ndarray of uint64, shape (n,)
            As they were just read, of cached slots.
        """
        frames = w.frames(w.pfns(words))
        found = frames >= w.FIRST_FRAME
        found[found] = self.frames.flags[frames[found]] & UPTODATE != 0
        if found.any():
            out[found] = self.frames.pages[frames[found]]
            again = front.table.words(slots[found])
            found[found] = w.is_folio(again) & (w.frames(w.pfns(again)) == frames[found]) & _same(again, words[found])
        self._hit(frames[found])
        return found

    def _hit(self, frames: NDArray[np.int64]) -> None:
        """Folios were found: those that were read ahead have paid off."""
        ahead = frames[self.frames.flags[frames] & READAHEAD != 0]
        if len(ahead):
            self.frames.flags[ahead] &= np.uint8(255 - READAHEAD)
            self.store.count(swap_ra_hit=len(ahead))
        stays = frames[frames < self.frames.first_region]
        if len(stays):
            self.frames.touch(stays)

    # ---- out

    def lock(self, front: Device, slots: Slots, pfns: Pfns) -> Mask:
        """Take over folios that nobody has locked: those of the cache, and pages of a caller. *pfns* as they are."""
        mine = w.frames(pfns) >= w.MAPPED
        mine &= pfns & _LOCKED == 0
        if mine.any():
            mine[mine] = front.table.repin_many(slots[mine], pfns[mine], pfns[mine] | _LOCKED)
        return mine

    def mine(self, front: Device, slots: Slots, pfns: Pfns) -> Iterator[NDArray[np.int64]]:
        """Lock pages of a caller, who has *pfns*: those that nobody is at work on first; until there are no more.

        What is locked is to be let go of before the next are asked for. Pages without their slots are not among them.
        """
        left = np.arange(len(slots))
        while len(left):
            got = self.lock(front, slots[left], pfns[left])
            if got.any():
                yield left[got]
            left = left[~got]
            words = front.table.words(slots[left])
            left = left[w.is_folio(words) & (w.pfns(words) | _LOCKED == pfns[left] | _LOCKED)]
            if len(left) and not got.any():
                time.sleep(WAIT_SECONDS)

    def drop(self, front: Device, slots: Slots) -> None:
        """Forget folios of the cache whose slots have no users any more."""
        words = front.table.words(slots)
        idle = w.is_folio(words) & (w.counts(words) == 0) & (w.frames(w.pfns(words)) >= w.FIRST_FRAME)
        if not idle.any():
            return
        slots, pfns = slots[idle], w.pfns(words[idle])
        mine = self.lock(front, slots, pfns)
        self.let_go(front, slots[mine], pfns[mine] | _LOCKED)

    def hand_over(self, front: Device, slots: Slots) -> Pfns:
        """Clean folios that nobody else has become pages of the caller; under which pfns, 0 for those that do not."""
        words = front.table.words(slots)
        pfns, given = w.pfns(words), np.zeros(len(slots), np.uint64)
        frames = w.frames(pfns)
        idle = (
            w.is_folio(words) & (w.counts(words) == 0) & (frames >= w.FIRST_FRAME) & (frames < self.frames.first_region)
        )
        idle[idle] = self.frames.flags[frames[idle]] & (DIRTY | UPTODATE) == UPTODATE
        idle[idle] = self.lock(front, slots[idle], pfns[idle])
        if idle.any():
            given[idle] = self.frames.sessions(int(idle.sum()), w.MAPPED, False)
            front.table.repin_many(slots[idle], pfns[idle] | _LOCKED, given[idle])
            self.frames.give(frames[idle])
        return given

    def unlock(self, front: Device, slots: Slots, pfns: Pfns) -> None:
        """Folios that the caller locked stay; those that nobody has any more go."""
        if len(slots):
            front.table.repin_many(slots, pfns, pfns ^ _LOCKED)
            self.drop(front, slots)

    def let_go(self, front: Device, slots: Slots, pfns: Pfns) -> None:
        """Folios that the caller locked leave the cache; what has users is swapped out again."""
        if len(slots):
            self.store.release(front, slots, pfns, self.store.tick(len(slots)))
            self.frames.give(w.frames(pfns))

    def shrink(self, n: int, clean_only: bool = False) -> int:
        """Let the *n* folios that were not used for longest leave, dirty ones after they were stored; how many did."""
        gone = 0
        frames = self.frames.oldest(n if not clean_only else self.frames.cap)
        if clean_only:
            frames = frames[self.frames.flags[frames] & DIRTY == 0][:n]
        # What was given back meanwhile is nobody's; what is another's by now cannot be locked under this entry.
        entries = self.frames.entry[frames]
        known = np.array([device is not None for device in self.store.devices.by_type])
        on = entries >= 0
        on[on] = known[entries[on] >> w.TYPE_SHIFT]
        frames, entries = frames[on], entries[on]
        for front, where in self.by_type(entries):
            some = frames[where]
            slots = entries[where] & w.SLOT_MASK
            pfns = self.frames.pfns(some, False)
            mine = self.lock(front, slots, pfns)
            slots, pfns = slots[mine], pfns[mine] | _LOCKED
            clean = self.clean(front, slots, pfns)
            self.unlock(front, slots[~clean], pfns[~clean])
            self.let_go(front, slots[clean], pfns[clean])
            gone += int(clean.sum())
        return gone

    def clean(self, front: Device, slots: Slots, pfns: Pfns) -> Mask:
        """Store dirty folios, which the caller locked; which are clean now."""
        frames = w.frames(pfns)
        dirty = np.flatnonzero(self.frames.flags[frames] & DIRTY != 0)
        clean = np.ones(len(slots), bool)
        clean[dirty] = False
        ids = w.memcgs(front.table.words(slots[dirty]))
        for where, mask, may in self.store.charges.policies(ids):
            some = dirty[where]
            devices = self.store.stores(front, mask, may)
            clean[some], _ = self.store.place(
                front, slots[some], self.frames.pages[frames[some]], ids[where], devices, in_place=True
            )
        self.frames.flags[frames[clean]] &= np.uint8(255 - DIRTY)
        return clean

    def check(self) -> None:
        """Every frame's folio is in its word, and every word's frame is its own; the threads must be still."""
        self.frames.check()
        used = np.flatnonzero(self.frames.entry >= 0)
        for front, where in self.by_type(self.frames.entry[used]):
            frames = used[where]
            words = front.table.words(self.frames.entry[frames] & w.SLOT_MASK)
            if not (w.is_folio(words) & (w.pfns(words) == self.frames.pfns(frames, False))).all():
                raise CheckError(f"{front.name}: frames {frames.tolist()[:8]} are not those that the words name")


def _same(words: NDArray[np.uint64], before: NDArray[np.uint64]) -> Mask:
    """The same folio, locked or not."""
    return w.pfns(words) | _LOCKED == w.pfns(before) | _LOCKED
