# Who is cold on a device that has no referenced bits: a hand that passes its blocks.
# May import the store, _device, _words, errors and numpy.
# Used by writeback.
"""Second chance by shadows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._charges import Mask
from swaptable._device import Device
from swaptable._store import Slots, Store
from swaptable.errors import SwapValueError

SPAN = 1 << 15  # blocks of a device that its hand passes at a time
_NONE = np.zeros(0, np.int64)


class Hand:
    """Second chance over the blocks of a device that has no referenced bits: shadows say when a page was last used.

    A page that came or was used since the hand passed it last has another chance.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.at = 0
        self.passed, self.began = 0, -1  # the clock when the last round began, and this one

    def pass_over(self, n: int, store: Store) -> tuple[NDArray[np.int32], Slots]:
        """Pass the hand until *n* cold pages are found, twice around at most."""
        members: list[NDArray[np.int32]] = []
        slots: list[Slots] = []
        found, end = 0, self.device.table.blocks
        if self.began < 0:
            self.began = store.clock + 1
        for _ in range(2 * -(-end // SPAN) + 1):
            if self.at >= end:
                self.at, self.passed, self.began = 0, self.began, store.clock + 1
            last = min(self.at + SPAN, end)
            where, which = self._data(self.at, last)
            cold = self._cold(store, where, which)
            take = np.flatnonzero(cold)[: n - found]
            members.append(where[take])
            slots.append(which[take])
            found += len(take)
            if found == n:
                break
            self.at = last
        return np.concatenate(members) if members else np.zeros(0, np.int32), np.concatenate(slots or [_NONE])

    def _data(self, first: int, last: int) -> tuple[NDArray[np.int32], Slots]:
        """(members, slots) of all data in blocks *first* to *last*."""
        table = self.device.table
        assert table.space is not None
        own = table.own_data(first, last)
        try:
            guests, theirs, _ = table.space.owners(table, first, last)
        except SwapValueError:
            if table.blocks >= last:
                raise
            return np.zeros(0, np.int32), _NONE  # a resize took these blocks away meanwhile
        return np.concatenate([np.full(len(own), table.member, np.int32), guests]), np.concatenate([own, theirs])

    def _cold(self, store: Store, members: NDArray[np.int32], slots: Slots) -> Mask:
        cold = np.zeros(len(slots), bool)
        for member in np.unique(members).tolist():
            some = np.flatnonzero(members == member)
            words = store.devices.member(member).table.words(slots[some])
            cold[some] = w.is_shadow(words) & (w.shadows(words) < self.passed)
        return cold
