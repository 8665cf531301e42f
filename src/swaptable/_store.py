# Data of pinned slots: read from where it is, placed where it may be, given up; what the statistics count.
# May import devices, _device, _frames, _charges, _words, errors and numpy.
# Used by writeback, swapoff and the swap space.
"""Between slots and backends. Everything here is for slots in the swap cache under a pfn that is the caller's."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._charges import Charges, Ids, Mask
from swaptable._device import Device, Fetch
from swaptable._frames import Frames
from swaptable.devices import Devices
from swaptable.tiers import ALL_TIERS

Slots = NDArray[np.int64]
Errors = NDArray[np.int32]
At = tuple[NDArray[np.int32], NDArray[np.int64]]
_NONE = np.zeros(0, np.int64)
VMSTAT = (
    "pswpin", "pswpout", "swpin_zero", "swpout_zero", "swap_ra", "swap_ra_hit", "zswpin", "zswpout", "zswpwb",
    "thp_swpout", "thp_swpout_fallback",
)  # fmt: skip


class Packed(NamedTuple):
    """Pages that are still as a pool has them.

    Attributes
    ----------
    lengths : ndarray of int32, shape (n,)
        4096 for a page as it is.
    codec : Codec
    """

    lengths: NDArray[np.int32]
    codec: Any


class Work(NamedTuple):
    """Slots, their data and who pays for them.

    *fetch* fills the pages when they are wanted; without it they are there. *at* is where the data is so far, as
    `SwapTable.resolve` says it: it stays there while the slots are pinned.
    """

    front: Device
    slots: Slots
    pages: NDArray[np.uint8]
    ids: Ids
    packed: Packed | None
    fetch: Fetch | None = None
    at: At | None = None

    def part(self, which: NDArray[np.int64]) -> Work:
        """Some of it; without a copy when it is all."""
        if len(which) == len(self.slots):
            return self
        packed = None if self.packed is None else Packed(self.packed.lengths[which], self.packed.codec)
        at = None if self.at is None else (self.at[0][which], self.at[1][which])
        return Work(self.front, self.slots[which], self.pages[which], self.ids[which], packed, at=at)


class Store:
    """The devices of a swap space and what is done with them.

    Attributes
    ----------
    stat : Counter
        By the names of /proc/vmstat, ours beside them; per size as (order, name).
    reserve : bool
        A slot whose data is in a pool keeps its own block for it, as zswap has it today.
    """

    def __init__(self, devices: Devices, frames: Frames, charges: Charges, reserve: bool = False) -> None:
        self.devices, self.frames, self.charges, self.reserve = devices, frames, charges, reserve
        self.stat: Counter[object] = Counter(dict.fromkeys(VMSTAT, 0))
        self._lock = threading.Lock()
        self._clock = 0

    def tick(self, n: int) -> int:
        """The eviction counter, the shadow of what is swapped out now; *n* pages more were."""
        with self._lock:
            self._clock += n
            return self._clock & (1 << 42) - 1

    @property
    def clock(self) -> int:
        """Pages swapped out so far."""
        return self._clock

    def full(self) -> bool:
        """More than half of all blocks and pool pages are used: vm_swap_full."""
        used, total = self.devices.fullness()
        return used * 2 > total

    def count(self, **changes: int) -> None:
        """Add to the statistics."""
        with self._lock:
            self.stat.update(changes)

    def count_size(self, order: int, name: str, n: int) -> None:
        """Add to the statistics of folios of a size."""
        if n and order:
            with self._lock:
                self.stat[order, name] += n

    def real(self, members: NDArray[np.int32]) -> Mask:
        """Which of *members* have blocks on a medium; -1 has none."""
        table = np.zeros(257, bool)
        for device in self.devices.real():
            table[device.member] = True
        return table[members]

    # ---- reading

    def read(
        self, front: Device, slots: Slots, out: NDArray[np.uint8], moving: bool = False, at: At | None = None
    ) -> Errors:
        """Read the data of pinned slots; for each 0 or an errno. ENODATA: there is none.

        *moving*: nobody swaps in. *at*: where the data is, if that was asked while the slots were pinned.
        """
        members, blocks = front.table.resolve(slots) if at is None else at
        errors = np.zeros(len(slots), np.int32)
        for device, where in self.by_member(members):
            whole = len(where) == len(slots)
            part = out if whole else np.empty((len(where), 4096), np.uint8)
            errors[where] = device.read(blocks[where], part)
            if not whole:
                out[where] = part
            if not moving:
                good = len(where) - int(np.count_nonzero(errors[where]))
                looked = {"zswap_lookups": good, "zswap_misses": 0 if device.pool else good} if self.reserve else {}
                self.count(**({"zswpin": good} if device.pool else {"pswpin": good}), **looked)
        none = members < 0
        if none.any():
            zero = w.zeros(front.table.words(slots[none]))
            out[none] = 0
            errors[none] = np.where(zero, 0, errno.ENODATA)
            self.count(swpin_zero=0 if moving else int(zero.sum()))
        return errors

    def by_member(self, members: NDArray[np.int32]) -> Iterable[tuple[Device, NDArray[np.int64]]]:
        """Each device that has some of the data, and which."""
        if len(members) and members[0] >= 0 and (members == members[0]).all():
            return [(self.devices.member(int(members[0])), np.arange(len(members)))]
        found = np.unique(members[members >= 0]).tolist()
        return [(self.devices.member(m), np.flatnonzero(members == m)) for m in found]

    # ---- placing

    def place(
        self,
        front: Device,
        slots: Slots,
        pages: NDArray[np.uint8],
        ids: Ids,
        devices: list[Device],
        in_place: bool,
        packed: Packed | None = None,
        fetch: Fetch | None = None,
        at: At | None = None,
    ) -> tuple[Mask, Errors]:
        """Store the data of pinned slots on the first of *devices* that takes it.

        Parameters
        ----------
        in_place : bool
            A block that a slot has already may be written over; otherwise it gets another one.
        packed : Packed, optional
            *pages* are compressed; only for devices that are no pools.
        fetch : callable(first, end) -> Errors, optional
            Fills *pages* as they are wanted; what it cannot read is not placed. For one device, where nobody pays.
        at : pair of arrays, optional
            Where the data is, if that was asked while the slots were pinned.

        Returns
        -------
        placed : ndarray of bool, shape (n,)
        errors : ndarray of int32, shape (n,)
            Of the last device that refused a page; 0 where it was placed.
        """
        placed, errors = np.zeros(len(slots), bool), np.full(len(slots), errno.ENOSPC, np.int32)
        for device in devices:
            left = np.flatnonzero(~placed)
            if not len(left):
                break
            work = Work(front, slots, pages, ids, packed, fetch, at)
            at = None  # what was placed is elsewhere now
            errors[left] = self._place_on(device, work if len(left) == len(slots) else work.part(left), in_place)
            placed[left] = errors[left] == 0
        return placed, errors

    def _place_on(self, device: Device, work: Work, in_place: bool) -> Errors:
        """`place` on one device."""
        front, slots, ids = work.front, work.slots, work.ids
        members, blocks = front.table.resolve(slots) if work.at is None else work.at
        backed = self.real(members)
        may = self.charges.may_zswap(ids) if device.pool else self.charges.gain(front, ids, backed)
        admitted = may.copy()
        errors = np.where(may, 0, errno.ENOMEM).astype(np.int32)
        own = np.flatnonzero(may & (members == device.member)) if in_place and not device.pool else _NONE
        if len(own):
            errors[own] = self._write(device, blocks[own], work.part(own))
        may[own] = False
        if self.reserve and device is front:
            home = np.flatnonzero(may & (members >= 0) & ~backed)
            errors[home] = self._home(front, work.part(home))
            may[home] = False
        other = np.flatnonzero(may)
        if len(other):
            errors[other] = self._elsewhere(device, work.part(other))
        placed = errors == 0
        lost = placed & backed if device.pool else admitted & ~placed & ~backed
        self.charges.lose(front, np.where(lost, ids, 0).astype(np.uint64))
        n = int(np.count_nonzero(placed))
        self.count(**({"zswpout": n} if device.pool else {"pswpout": n}))
        return errors

    @staticmethod
    def _write(device: Device, blocks: NDArray[np.int64], work: Work) -> Errors:
        errors = device.write(blocks, work.pages)
        if work.packed is not None:
            good = errors == 0
            device.mark(blocks[good], work.packed.lengths[good], work.packed.codec)
        return errors

    def _home(self, front: Device, work: Work) -> Errors:
        """Data comes back from a pool to the slots' own blocks, which were kept for it."""
        slots = work.slots
        errors = self._write(front, slots, work)
        good = slots[errors == 0]
        front.table.block_free(front.table.block_locs(good))
        olds = front.table.locs(good)
        moved = front.table.move_each(good, olds, 0, give_back=True)
        front.table.block_take(good[~moved])
        errors[np.flatnonzero(errors == 0)[~moved]] = errno.EBUSY
        return errors

    def _elsewhere(self, device: Device, work: Work) -> Errors:
        """Store pages in new blocks and let the slots be located there; what they had before is given back."""
        front, slots = work.front, work.slots
        news, errors = device.store(work.pages, work.fetch)
        good = np.flatnonzero(errors == 0)
        if device.pool and len(good):
            objects = self.devices.space.where(news[good])[1]
            fits = self.charges.into_pool(device, objects, work.ids[good])
            errors[good[~fits]] = errno.EDQUOT
            device.table.block_free(news[good[~fits]])
            good = good[fits]
        elif work.packed is not None and len(good):
            blocks = self.devices.space.where(news[good])[1]
            device.mark(blocks, work.packed.lengths[good], work.packed.codec)
        olds = front.table.locs(slots[good])
        moved = front.table.move_each(slots[good], olds, news[good], give_back=True)
        errors[good[~moved]] = errno.ESTALE
        front.table.block_free(news[good[~moved]])
        if self.reserve and device.pool and not front.ghost:
            front.table.block_take(slots[good[moved & (olds == 0)]])
        return errors

    def drop_data(self, front: Device, slots: Slots) -> None:
        """The data of pinned slots is in memory only from now on: their zero flag says that it is nowhere else."""
        members, _ = front.table.resolve(slots)
        real = self.real(members)
        ids = w.memcgs(front.table.words(slots))
        self.charges.lose(front, np.where(real, ids, 0).astype(np.uint64))
        kept = ~real & (members >= 0) if self.reserve and not front.ghost else np.zeros(len(slots), bool)
        front.table.zero_set_many(slots)
        front.table.block_free(front.table.block_locs(slots[kept]))

    def stores(self, front: Device, mask: int, may_device: bool, below: int | None = None) -> list[Device]:
        """Where data of slots of *front* may go, in order: of equal priority its own device first."""
        found = self.devices.stores(mask, below)
        found = [d for d in found if d.pool or (may_device and (d is front or not self.reserve))]
        return sorted(found, key=lambda device: (-device.priority, device is not front))

    def everywhere(self, front: Device) -> list[Device]:
        """All that data of slots of *front* could go to."""
        return self.stores(front, ALL_TIERS, True)

    # ---- letting go

    def release(self, front: Device, slots: Slots, pfns: NDArray[np.uint64] | int, shadows: Ids | int) -> Ids:
        """Unpin slots; those without users are gone, and what they had with them. The words replaced."""
        table, tree = front.table, self.charges.tree
        ghosts = tree is not None and front.ghost and not tree.charge_ghost
        reserved = self.reserve and not front.ghost
        backed: Mask = np.full(len(slots), not front.ghost)
        kept = np.zeros(len(slots), bool)
        if ghosts or reserved:
            members = table.resolve(slots)[0]
            real = self.real(members)
            backed, kept = (real, kept) if ghosts else (backed, ~real & (members >= 0))
        old = table.unpin_many(slots, pfns, shadows)
        freed = (old != 0) & (w.counts(old) == 0)
        if freed.any():
            self.charges.end(w.memcgs(old[freed]), backed[freed])
            table.block_free(table.block_locs(slots[freed & kept]))
        return old

    def pays(self, front: Device, slots: Slots) -> bool:
        """Whether it matters, when slots are freed, where their data is: somebody pays, or blocks are kept for them."""
        if self.reserve and not front.ghost:
            return True
        return self.charges.tree is not None and bool(w.memcgs(front.table.words(slots)).any())

    def settle(self, files: bool = False) -> None:
        """Drop the objects of pools that nobody needs; with *files*, punch the holes that are due too."""
        for device in self.devices:
            if device.pool and device.table.waiting:
                device.table.run_discard(many=lambda objects, pool=device: self._drop(pool, objects), free_first=True)
            elif files and device.table.waiting:
                device.table.run_discard(many=device.discard)

    def _drop(self, pool: Device, objects: Slots) -> None:
        self.charges.out_of_pool(pool, objects)
        pool.discard(objects)
