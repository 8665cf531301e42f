# Moving data between tiers while its slots stay: who is cold, a batch at a time down, or up again on request.
# May import the cache, the store and what lies under them.
# Used by swapoff and the swap space.
"""Writeback, prefetch, and the one way in which data moves: pin, read, place, let go.

A mover tries and skips: a slot that is in the swap cache is somebody's, and warm. It waits for nothing while it holds a
pin. The folios of a batch are in a region of frames, where others find the data as soon as it is read.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._cache import Cache
from swaptable._charges import Ids, Mask
from swaptable._device import Device
from swaptable._frames import UPTODATE, Region
from swaptable._hand import Hand
from swaptable._listener import SpaceEvents
from swaptable._store import At, Errors, Packed, Slots, Store
from swaptable.events import Reason
from swaptable.tiers import ALL_TIERS

BATCH = 4096  # pages that are pinned at a time

__all__ = ["Writeback"]


class Writeback:
    """Movers over one store.

    Parameters
    ----------
    compressed : bool
        What leaves a pool for a device is written as it is compressed, and decompressed when it is swapped in.
    """

    def __init__(self, cache: Cache, compressed: bool = False) -> None:
        self.cache = cache
        self.store: Store = cache.store
        self.compressed = compressed
        self._hands: dict[Device, Hand] = {}
        self.listener: SpaceEvents | None = None

    # ---- one batch

    def move(
        self,
        front: Device,
        slots: Slots,
        source: Device | None,
        targets: list[Device] | None,
        mapped: bool = False,
        below: int | None = None,
    ) -> Errors:
        """Move the data of slots to other devices.

        Parameters
        ----------
        source : Device, optional
            Only what is there; by default whatever is on none of *targets*.
        targets : list of Device, optional
            In this order, as far as the owner's cgroup allows; by default what the owner may use *below* a priority.
        mapped : bool
            Pages of callers, which stay cached, too.

        Returns
        -------
        ndarray of int32, shape (n,)
            0 moved; EBUSY pinned by somebody else; ENOENT no data there (any more); else why it stayed: ENOSPC, EIO.
        """
        errors = np.empty(len(slots), np.int32)
        for first in range(0, len(slots), BATCH):
            part = slots[first : first + BATCH]
            with self.store.frames.region() as region:
                errors[first : first + BATCH] = self._batch(front, part, source, targets, mapped, below, region)
        self.store.settle()
        return errors

    def _batch(
        self, front: Device, slots: Slots, source: Device | None, targets: list[Device] | None, mapped: bool,
        below: int | None, region: Region,
    ) -> Errors:  # fmt: skip
        errors = np.full(len(slots), errno.EBUSY, np.int32)
        pfns = region.pfns[: len(slots)].copy()
        mine, words = front.table.pin_many(slots, pfns)
        theirs = self._mapped(front, slots, ~mine, words, pfns) if mapped else np.zeros(len(slots), bool)
        held = np.flatnonzero(mine | theirs)
        listener = self.listener
        try:
            if len(held):
                self.store.frames.entry[region.frames][: len(slots)] = w.entries(front.type, slots)
                was = None if listener is None else listener.members(front, slots[held])
                errors[held] = self._carry(front, slots, held, words, source, targets, below, region)
                if listener is not None and was is not None:
                    some, was = held[errors[held] == 0], was[errors[held] == 0]
                    why = Reason.SWAPOFF if mapped else Reason.WRITEBACK if targets is None else Reason.PREFETCH
                    listener.note(self.store.devices, front, slots[some], was, words[some], why)
        finally:
            front.table.repin_many(slots[theirs], pfns[theirs], pfns[theirs] ^ np.uint64(w.LOCKED))
            self.store.release(front, slots[mine], pfns[mine], w.shadows(words[mine]))
        return errors

    def _mapped(
        self, front: Device, slots: Slots, which: Mask, words: NDArray[np.uint64], pfns: NDArray[np.uint64]
    ) -> Mask:
        """Lock the slots among *which* that are callers' pages; their words and pfns are filled in."""
        mine = np.zeros(len(slots), bool)
        some = np.flatnonzero(which)
        now = front.table.words(slots[some])
        some = some[w.is_folio(now) & (w.frames(w.pfns(now)) == w.MAPPED)]
        now = front.table.words(slots[some])
        some = some[self.cache.lock(front, slots[some], w.pfns(now))] if len(some) else some
        mine[some] = True
        words[some] = front.table.words(slots[some])
        pfns[some] = w.pfns(words[some])
        return mine

    def _carry(
        self, front: Device, slots: Slots, held: NDArray[np.int64], words: NDArray[np.uint64], source: Device | None,
        targets: list[Device] | None, below: int | None, region: Region,
    ) -> Errors:  # fmt: skip
        """Move what is pinned: *held* of *slots*."""
        members, blocks = front.table.resolve(slots[held])
        wanted = members == source.member if source is not None else members >= 0
        for target in targets if source is None and targets is not None else []:
            wanted &= members != target.member
        errors = np.where(wanted, 0, errno.ENOENT).astype(np.int32)
        some = held[wanted]
        if not len(some):
            return errors
        ids = w.memcgs(words[some])
        to = self._targets(front, source, targets, ALL_TIERS, True, below) if self._nobody_pays() else []
        if to and not to[0].pool and not self._packs(source) and len(some) == some[-1] + 1:
            errors[wanted] = self._stream(front, slots[some], ids, to, region, (members[wanted], blocks[wanted]))
            return errors
        pages, why, packed = self._fetch(front, slots, some, blocks[wanted], source, region)
        good = np.flatnonzero(why == 0)
        for where, mask, may in self.store.charges.policies(ids[good]):
            at = good[where]
            to = self._targets(front, source, targets, mask, may, below)
            whole = len(at) == len(some)
            part = packed and Packed(packed.lengths[at], packed.codec)
            why[at] = self.store.place(
                front, slots[some[at]], pages if whole else pages[at], ids[at], to, in_place=False, packed=part
            )[1]
        errors[wanted] = why
        return errors

    def _nobody_pays(self) -> bool:
        """Whether all slots may go to the same devices, each to a new block."""
        return self.store.charges.tree is None and not self.store.reserve

    def _packs(self, source: Device | None) -> bool:
        return self.compressed and source is not None and source.pool and source.kind == "zswap"

    def _stream(self, front: Device, slots: Slots, ids: Ids, to: list[Device], region: Region, at: At) -> Errors:
        """Move pinned slots to the first device a few pages at a time; what that does not take, to the others."""
        pages = region.pages[: len(slots)]
        read = np.full(len(slots), -1, np.int32)

        def fetch(first: int, end: int) -> Errors:
            part = slice(first, end)
            read[part] = self.store.read(front, slots[part], pages[part], moving=True, at=(at[0][part], at[1][part]))
            frames = region.frames.start + first + np.flatnonzero(read[part] == 0)
            self.store.frames.flags[frames] = UPTODATE
            return read[part]

        why = self.store.place(front, slots, pages, ids, to[:1], in_place=False, fetch=fetch, at=at)[1]
        if len(to) > 1 and why.any():
            new = np.flatnonzero(read == -1)
            if len(new):  # those at the end
                fetch(int(new[0]), len(slots))
            left = np.flatnonzero((why != 0) & (read == 0))
            why[left] = self.store.place(front, slots[left], pages[left], ids[left], to[1:], in_place=False)[1]
        return np.where(read > 0, read, why)

    def _fetch(
        self, front: Device, slots: Slots, some: NDArray[np.int64], blocks: NDArray[np.int64], source: Device | None,
        region: Region,
    ) -> tuple[NDArray[np.uint8], Errors, Packed | None]:  # fmt: skip
        """The data of slots: in their frames of the region, or as a pool has it compressed, in frames of any."""
        if source is not None and self._packs(source):
            lengths = source.backend.lengths(blocks)
            if (lengths > 0).all():
                blobs, lengths = source.backend.read_blobs(blocks, region.pages[: len(blocks)])
                self.store.count(zswap_blobs=len(blobs))
                return blobs, np.zeros(len(some), np.int32), Packed(lengths, source.backend.codec)
        if len(some) == some[-1] + 1:
            pages = region.pages[: len(some)]
            why = self.store.read(front, slots[some], pages, moving=True)
        else:
            pages = np.empty((len(some), 4096), np.uint8)
            why = self.store.read(front, slots[some], pages, moving=True)
            region.pages[some] = pages
        self.store.frames.flags[region.frames.start + some[why == 0]] = UPTODATE
        return pages, why, None

    def _targets(
        self,
        front: Device,
        source: Device | None,
        targets: list[Device] | None,
        mask: int,
        may: bool,
        below: int | None,
    ) -> list[Device]:
        """Where data may go: the targets that its owner may use, but not where it is."""
        # memory.zswap.writeback is about pools: from device to device data may move whatever it says.
        may = may or (source is not None and not source.pool)
        allowed = self.store.stores(front, mask, may, below)
        if self.compressed and source is not None and source.pool:
            allowed = [device for device in allowed if not device.pool]
        if targets is not None:
            allowed = [device for device in targets if device in allowed]
        return [device for device in allowed if device is not source]

    def tell(self) -> None:
        """Let the listener have what was moved. Context: nothing is pinned."""
        if self.listener is not None:
            self.listener.deliver()

    # ---- down

    def writeback(self, n: int, source: Device | None = None, group: int | None = None) -> int:
        """Move up to *n* cold pages of a tier one tier down; how many were.

        Parameters
        ----------
        source : Device, optional
            By default the best device that has one below it: a pool, where there is one.
        group : int, optional
            Only pages of the cgroup with this id.

        Notes
        -----
        Nothing is moved unless a device that takes it is on and not full.
        """
        source = self._source() if source is None else source
        done = 0
        while source is not None and done < n and self._below(source):
            moved, seen = 0, False
            for front, slots in self.cold(source, min(n - done, BATCH), group):
                seen = True
                errors = self.move(front, slots, source, None, below=source.priority)
                moved += len(errors) - int(np.count_nonzero(errors))
            done += moved
            if source.pool and moved:
                self.store.count(zswpwb=moved)
                source.backend.pool.count_written_back(moved)
            self.tell()
            if not seen or not moved:
                break
        if done < n and source is not None and source.pool and source.backend.room() == 0:
            source.backend.reclaim_failed()
        return done

    def _source(self) -> Device | None:
        found = [device for device in self.store.devices if not (device.ghost or device.closing)]
        pools = [device for device in found if device.pool]
        return next((device for device in found if self._below(device)), pools[0] if pools else None)

    def _below(self, source: Device) -> bool:
        """Is there a device with room below one? Where a block is kept for each page of a pool there is."""
        below = self.store.devices.stores(ALL_TIERS, source.priority)
        if self.store.reserve:
            return any(not device.pool for device in below)
        return any(device.backend.room() > 0 if device.pool else device.table.free_blocks > 0 for device in below)

    def cold(self, source: Device, n: int, group: int | None = None) -> Iterator[tuple[Device, Slots]]:
        """Slots whose data on *source* was not used for long, by second chance; in order, a device's at a time."""
        if source.pool:
            objects = source.backend.reclaim_candidates(n)
            members, slots = source.table.owners(source.table.block_locs(objects))
        else:
            members, slots = self._hands.setdefault(source, Hand(source)).pass_over(n, self.store)
        for front, where in self.store.by_member(members):
            some = np.sort(slots[where])
            if group is not None:
                some = some[w.memcgs(front.table.words(some)) == group]
            if len(some):
                yield front, some

    # ---- up

    def prefetch(self, entries: NDArray[np.int64], targets: list[Device]) -> Errors:
        """Move the data of entries to devices of a better tier, before it is asked for; see `move`."""
        errors = np.zeros(len(entries), np.int32)
        for front, where in self.cache.by_type(entries):
            errors[where] = self.move(front, entries[where] & w.SLOT_MASK, None, targets)
        moved = int((errors == 0).sum())
        self.store.count(prefetched=moved)
        self.tell()
        return errors
