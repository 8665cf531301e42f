# What batches of slots mean for the cgroups that pay for them: by id, not slot by slot.
# May import memcg, _device, _words, errors and numpy.
# Used by the store.
"""Charges of a swap space.

A slot of a device with blocks is charged from its allocation to its end. A slot of a ghost is charged while its data is
in a block of a device; in memory or in a pool it only keeps its owner's id (unless the tree has ``charge_ghost``).
Compressed bytes are charged while they are in a pool.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._device import Device
from swaptable.errors import SwapMemoryError
from swaptable.memcg import Memcg, MemcgTree
from swaptable.tiers import ALL_TIERS

Ids = NDArray[np.uint64]
Mask = NDArray[np.bool]


def _by_id(ids: Ids) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each owner and where it is; slots without one are nobody's."""
    if not ids.any():
        return
    for one in np.unique(ids).tolist():
        if one:
            yield one, np.flatnonzero(ids == one)


class Charges:
    """The tree of a swap space, or none: then nothing is charged.

    Parameters
    ----------
    tree : MemcgTree or None
    """

    def __init__(self, tree: MemcgTree | None) -> None:
        self.tree = tree

    def policy(self, group: Memcg | None) -> tuple[int, bool]:
        """The tiers that a group may use, and whether it may use devices at all (memory.zswap.writeback)."""
        if group is None or self.tree is None:
            return ALL_TIERS, True
        return self.tree.allowed(group), group.writeback_allowed()

    def policies(self, ids: Ids) -> Iterator[tuple[NDArray[np.int64], int, bool]]:
        """Slots of one owner each, the tiers that it may use now, and whether it may use devices."""
        nobody = np.flatnonzero(ids == 0) if self.tree is not None else np.arange(len(ids))
        if len(nobody):
            yield nobody, ALL_TIERS, True
        if self.tree is not None:
            for one, where in _by_id(ids):
                yield where, *self.policy(self.tree.owner(one))

    def begin(self, group: Memcg | None, count: int, nr: int, ghost: bool) -> tuple[int, int]:
        """Charge *count* folios of *nr* pages; the owner's id, and for how many there was room."""
        if group is None or self.tree is None:
            return 0, count
        owner, done = group.charge_many(count, nr, backed=not ghost)
        return owner.id, done

    def end(self, ids: Ids, backed: Mask | bool) -> None:
        """Slots are gone; *backed*, as they were charged."""
        if self.tree is not None and ids.any():
            self.tree.uncharge_many(ids.astype(np.int64), backed=backed)

    # ---- blocks for slots of a ghost

    def _counts(self, front: Device) -> MemcgTree | None:
        return None if self.tree is None or not front.ghost or self.tree.charge_ghost else self.tree

    def gain(self, front: Device, ids: Ids, backed: Mask) -> Mask:
        """Slots are about to get blocks; for which there is room. Those that were *backed* have been charged before."""
        tree = self._counts(front)
        may = np.ones(len(ids), bool)
        if tree is None:
            return may
        for one, where in _by_id(np.where(backed, 0, ids)):
            k = min(len(where), tree.by_id(one).room())
            try:
                if k:
                    tree.gain_blocks(one, k)
            except SwapMemoryError:
                k = 0
            may[where[k:]] = False
        return may

    def lose(self, front: Device, ids: Ids) -> None:
        """Slots that were backed are so no more."""
        tree = self._counts(front)
        if tree is not None:
            for one, where in _by_id(ids):
                tree.lose_blocks(one, len(where))

    # ---- bytes in pools

    def may_zswap(self, ids: Ids) -> Mask:
        """Slots whose owners may have one more page in a pool."""
        may = np.ones(len(ids), bool)
        if self.tree is not None:
            for one, where in _by_id(ids):
                may[where] = self.tree.by_id(one).may_zswap()
        return may

    def into_pool(self, pool: Device, objects: NDArray[np.int64], ids: Ids) -> Mask:
        """Charge what was just stored; for which objects there was room. The others are the caller's to drop."""
        fits = np.ones(len(ids), bool)
        if self.tree is None or not ids.any():
            if pool.owners is not None:
                pool.owners[objects] = 0
            return fits
        if pool.owners is None:
            pool.owners = np.zeros(len(pool.table), np.uint16)
        sizes = pool.backend.lengths(objects)
        pool.owners[objects] = 0
        for one, where in _by_id(ids):
            # For a removed group the nearest living one pays, and has it back.
            group = self.tree.owner(one)
            done = group.zswap_charge(sizes[where])
            pool.owners[objects[where[:done]]] = group.id
            fits[where[done:]] = False
        return fits

    def out_of_pool(self, pool: Device, objects: NDArray[np.int64]) -> None:
        """Objects are about to be dropped."""
        if self.tree is None or pool.owners is None:
            return
        ids = pool.owners[objects].astype(np.uint64)
        if ids.any():
            sizes = pool.backend.lengths(objects)
            for one, where in _by_id(ids):
                self.tree.zswap_uncharge(one, int(sizes[where].sum()))


def ids_of(words: NDArray[np.uint64]) -> Ids:
    """Who pays for slots with these words."""
    return w.memcgs(words)
