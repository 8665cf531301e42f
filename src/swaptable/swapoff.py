# Swapoff: all data leaves a device, entries stay what they are; and what that costs where page tables must be walked.
# May import writeback, the cache, the store and what lies under them.
# Used by the swap space.
"""Turning devices off without a look at any page table.

Slots whose data is on the device are found by scanning tables and locations. Their data moves to the other devices, or
into the swap cache where those are full. The front end of the device lives on without blocks, keeping its swap type,
until its last slot is gone.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._charges import Mask
from swaptable._device import Device
from swaptable._frames import DIRTY
from swaptable._store import Errors, Slots
from swaptable.errors import SwapError, raise_errno
from swaptable.writeback import BATCH, Writeback

PATIENCE_SECONDS = 5.0  # for pins of operations that are under way

__all__ = ["Swapoff", "Swapoffs"]


@dataclass(frozen=True)
class Swapoff:
    """What a swapoff did.

    Attributes
    ----------
    moved, cached : int
        Pages moved to other devices; pages that are in the swap cache only now.
    scanned : int
        Slots that the scans found to have data on the device.
    page_tables : int
        Page table entries visited: none.
    reads, sequential_reads : int
        Pages read, and how many of them followed the page before in their batch on the device.
    slots_left : int
        Slots of its front end that are still in use.
    """

    moved: int
    cached: int
    scanned: int
    page_tables: int
    reads: int
    sequential_reads: int
    slots_left: int


class Swapoffs:
    """Swapoff over one store."""

    def __init__(self, writeback: Writeback) -> None:
        self.writeback = writeback
        self.cache, self.store = writeback.cache, writeback.store

    def off(
        self,
        device: Device,
        progress: Callable[[int, int], object] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Swapoff:
        """Turn a device off; see `SwapSpace.swapoff`."""
        if device.closing or not device.on:
            raise SwapError(errno.EBUSY, f"{device.name} is on its way off")
        device.closing = True
        run = _Run(self, device, progress, cancel)
        try:
            if not device.ghost:
                device.table.evacuate(run.move)
                self.store.settle(files=True)
        except BaseException:
            device.closing = False
            raise
        left = device.table.used if device.type >= 0 else 0
        self.store.devices.close(device)
        return Swapoff(run.moved, run.cached, run.scanned, 0, run.reads, run.sequential, left)


class _Run:
    """One swapoff."""

    def __init__(self, off: Swapoffs, device: Device, progress: Any, cancel: Any) -> None:
        self.off, self.device, self.progress, self.cancel = off, device, progress, cancel
        self.writeback, self.cache, self.store = off.writeback, off.cache, off.store
        self.moved = self.cached = self.scanned = self.reads = self.sequential = self.total = 0

    def move(self, table: Any, slots: Slots, _locs: NDArray[np.uint32]) -> None:
        """Move what can be moved of *slots*, in batches; wait for what is under way."""
        front = self.store.devices.member(table.member)
        self.scanned += len(slots)
        self.total = max(self.total, self.moved + self.cached + len(slots))
        deadline = time.monotonic() + PATIENCE_SECONDS
        left = slots
        while len(left):
            stay = [self._batch(front, left[first : first + BATCH]) for first in range(0, len(left), BATCH)]
            busy = np.concatenate(stay)
            if len(busy) < len(left):
                deadline = time.monotonic() + PATIENCE_SECONDS
            elif time.monotonic() > deadline:
                break
            else:
                time.sleep(100e-6)
            left = busy

    def _batch(self, front: Device, slots: Slots) -> Slots:
        """One batch; the slots that are pinned and may be had later."""
        if self.cancel is not None and self.cancel():
            raise SwapError(errno.EINTR, f"swapoff of {self.device.name}: cancelled, {self._rest()} pages are left")
        members, blocks = front.table.resolve(slots)
        here = members == self.device.member
        slots, blocks = slots[here], blocks[here]
        errors = self.writeback.move(front, slots, self.device, None, mapped=True)
        self._note(blocks[errors == 0])
        self.moved += int((errors == 0).sum())
        errors[errors == errno.ENOENT] = 0
        stay = np.flatnonzero(errors)
        kept = stay[self._cached(front, slots[stay])]
        errors[kept] = 0
        failed = np.flatnonzero((errors != 0) & (errors != errno.EBUSY))
        errors[failed] = self._into_cache(front, slots[failed], errors[failed])
        self.cached += len(kept) + int((errors[failed] == 0).sum())
        self.writeback.tell()
        if self.progress is not None:
            self.progress(self.moved + self.cached, max(self.total, self.moved + self.cached))
        lost = errors[(errors != 0) & (errors != errno.EBUSY)]
        if len(lost):
            reason = errno.errorcode.get(int(lost[0]), str(lost[0]))
            text = f"swapoff of {self.device.name}: {self._rest()} pages are left ({reason}); it is on again"
            raise_errno(int(lost[0]), text)
        busy: Slots = slots[errors == errno.EBUSY]
        return busy

    def _rest(self) -> int:
        return max(self.total - self.moved - self.cached, 0)

    def _note(self, blocks: NDArray[np.int64]) -> None:
        order = blocks if (blocks[1:] > blocks[:-1]).all() else np.sort(blocks)
        self.reads += len(order)
        self.sequential += int((np.diff(order) == 1).sum())

    # ---- the swap cache

    def _cached(self, front: Device, slots: Slots) -> Mask:
        """Folios of the cache and idle pages of callers need no block: they are the only copy from now on."""
        if not len(slots):
            return np.zeros(0, bool)
        words = front.table.words(slots)
        pfns = w.pfns(words)
        frames = w.frames(pfns)
        idle = (frames == w.MAPPED) & (w.counts(words) == 0)
        mine: Mask = w.is_folio(words) & ((frames >= w.FIRST_FRAME) & (frames < self.store.frames.first_region) | idle)
        if mine.any():
            mine[mine] = self.cache.lock(front, slots[mine], pfns[mine])
        # A page of a caller may have been swapped out by others meanwhile, in vain: it is not idle then.
        again = front.table.words(slots[mine])
        really = (w.frames(w.pfns(again)) >= w.FIRST_FRAME) | (w.counts(again) == 0)
        locked = pfns[mine] | np.uint64(w.LOCKED)
        some = slots[mine]
        self.store.drop_data(front, some[really])
        inside = frames[mine][really]
        self.store.frames.flags[inside[inside >= w.FIRST_FRAME]] |= DIRTY
        self.cache.unlock(front, some, locked)
        mine[mine] = really
        return mine

    def _into_cache(self, front: Device, slots: Slots, errors: Errors) -> Errors:
        """Bring pages into the swap cache that no device took, as many as there is room for.

        Return: for each 0, EBUSY where it is pinned now, or why it is where it was; of *errors*, why no device took it,
        also of a caller's page that others have too.
        """
        if not len(slots):
            return errors
        session = self.store.frames.session()
        pinned, words = front.table.pin_many(slots, session)
        now = front.table.words(slots)
        theirs = w.is_folio(now) & (w.frames(w.pfns(now)) == w.MAPPED)
        errors = np.where(pinned | theirs, errors, errno.EBUSY).astype(np.int32)
        some = np.flatnonzero(pinned)
        pages = np.empty((len(some), 4096), np.uint8)
        why = self.store.read(front, slots[some], pages, moving=True)
        good = some[why == 0]
        kept = np.zeros(len(slots), bool)
        kept[good] = self.cache.keep(front, slots[good], session, pages[why == 0], DIRTY)
        errors[some[why != 0]] = why[why != 0]
        errors[kept] = 0
        rest = pinned & ~kept
        self.store.release(front, slots[rest], session, w.shadows(words[rest]))
        return errors
