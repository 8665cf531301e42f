# Swapping out: slots for pages, their data to the tiers, what is left over to the swap cache.
# May import the cache, the store and what lies under them.
# Used by the swap space.
"""From pages to entries: charge, allocate, dup, place, leave the swap cache."""

from __future__ import annotations

import errno
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._cache import Cache
from swaptable._charges import Mask
from swaptable._device import Device
from swaptable._frames import DIRTY
from swaptable._store import Errors, Slots, Store
from swaptable.errors import SwapValueError
from swaptable.memcg import Memcg

PAGE = 4096
IN_FLIGHT = 0  # the pfn of slots that were just allocated


class SwappedOut(NamedTuple):
    """What became of each page of a batch.

    Attributes
    ----------
    entries : ndarray of int64, shape (n,)
        Those of a folio follow one another unless it was split; -1 where a page stays with the caller.
    errors : ndarray of int32, shape (n,)
        0, or why it stays: ENOSPC no slots, or nobody took the data and the cache is full; ENOMEM the cgroup's limit.
    """

    entries: NDArray[np.int64]
    errors: NDArray[np.int32]


def as_pages(buffer: Any) -> NDArray[np.uint8]:
    """Any buffer of whole pages as an array of shape (n, 4096), without a copy where its bytes are contiguous."""
    array = buffer if isinstance(buffer, np.ndarray) else np.frombuffer(buffer, np.uint8)
    if array.nbytes % PAGE:
        raise SwapValueError(errno.EINVAL, f"pages: {array.nbytes} bytes; expected a multiple of {PAGE}")
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1, PAGE)


def zero_pages(pages: NDArray[np.uint8]) -> Mask:
    """Which pages are all zeros. Three words rule out most of the others."""
    words = pages.view(np.uint64).reshape(len(pages), PAGE // 8)
    maybe = np.flatnonzero((words[:, 0] | words[:, 200] | words[:, -1]) == 0)
    zero = np.zeros(len(pages), bool)
    zero[maybe] = ~words[maybe].any(axis=1)
    return zero


class SwapOut:
    """Swapping out.

    Parameters
    ----------
    contiguous : bool
        Slots past the end for large folios where the kernel's search finds none.
    patch : bool
        Ghosts as the patch has them: what no pool takes stays in memory.
    """

    def __init__(self, cache: Cache, contiguous: bool, patch: bool) -> None:
        self.cache = cache
        self.store: Store = cache.store
        self.contiguous, self.patch = contiguous, patch

    def many(self, pages: NDArray[np.uint8], order: int, group: Memcg | None, split: bool = True) -> SwappedOut:
        """Swap out folios of ``1 << order`` pages each; with *split*, page by page where there are no slots for one."""
        nr = 1 << order
        n = len(pages) // nr
        errors = np.full(n, errno.ENOSPC, np.int32)
        mask, may = self.store.charges.policy(group)
        with self.store.devices.allocating():
            types, firsts, owner = self._slots(n, order, mask, group, errors)
        entries, errors = np.full((n, nr), -1, np.int64), np.repeat(errors, nr).reshape(n, nr)
        data = pages.reshape(n, nr, PAGE)
        for kind in np.unique(types).tolist():
            front = self.store.devices.by_type[kind]
            assert front is not None
            where = np.flatnonzero(types == kind)
            slots = (firsts[where, None] + np.arange(nr)).reshape(-1)
            part = data[where].reshape(-1, PAGE) if len(where) < n else pages
            good = self._fill(front, slots, part, order, owner, mask, may).reshape(-1, nr)
            entries[where] = np.where(good, w.entries(kind, slots).reshape(-1, nr), -1)
            errors[where] = np.where(good, 0, errno.ENOSPC)
        if order and len(types) < n:
            self.store.count_size(order, "swpout_fallback", n - len(types))
            self.store.count(thp_swpout_fallback=(n - len(types)) * (order == 9))
            if split:
                alone = self.many(data[len(types) :].reshape(-1, PAGE), 0, group)
                entries[len(types) :], errors[len(types) :] = (
                    alone.entries.reshape(-1, nr),
                    alone.errors.reshape(-1, nr),
                )
        self.store.settle()
        return SwappedOut(entries.reshape(-1), errors.reshape(-1))

    # ---- pages whose slots the caller has kept

    def again(
        self, entries: NDArray[np.int64], pfns: NDArray[np.uint64], pages: NDArray[np.uint8], dirty: Mask,
        group: Memcg | None,
    ) -> SwappedOut:  # fmt: skip
        """Swap out pages that were mapped: clean ones cost nothing, dirty ones are written over what was there.

        Where a slot is gone, or a dirty page's is shared, the page gets a new one.
        """
        out, errors = np.full(len(entries), -1, np.int64), np.zeros(len(entries), np.int32)
        fresh = pfns == 0
        have = np.flatnonzero(~fresh)
        for front, where in self.cache.by_type(entries[have]):
            at = have[where]
            slots = entries[at] & w.SLOT_MASK
            fresh[at] = True
            for mine in self.cache.mine(front, slots, pfns[at]):
                locked = pfns[at[mine]] | np.uint64(w.LOCKED)
                shared = dirty[at[mine]] & (w.counts(front.table.words(slots[mine])) > 0)
                self.store.release(front, slots[mine[shared]], locked[shared], self.store.clock)
                some = mine[~shared]
                good = self._rewrite(front, slots[some], pages[at[some]], locked[~shared], dirty[at[some]])
                fresh[at[some]] = False
                out[at[some[good]]] = entries[at[some[good]]]
                errors[at[some[~good]]] = errno.ENOSPC
        if fresh.any():
            new = self.many(pages[fresh], 0, group)
            out[fresh], errors[fresh] = new.entries, new.errors
        self.store.settle()
        return SwappedOut(out, errors)

    def _rewrite(
        self, front: Device, slots: Slots, pages: NDArray[np.uint8], locked: NDArray[np.uint64], dirty: Mask
    ) -> Mask:
        """Give slots that are the caller's, locked, their data back; which are swapped out, or the cache's, now."""
        front.table.dup_many(slots)
        zero = zero_pages(pages)
        nowhere = front.table.resolve(slots)[0] < 0
        done = ~dirty & (~nowhere | zero)
        turned = dirty & zero
        if turned.any():
            self.store.drop_data(front, slots[turned])
            self.store.count(swpout_zero=int(turned.sum()))
        done |= turned
        ids = w.memcgs(front.table.words(slots))
        left = np.flatnonzero(~done)
        for where, mask, may in self.store.charges.policies(ids[left]):
            at = left[where]
            devices = self.store.stores(front, mask, may and not (self.patch and front.ghost))
            done[at], _ = self.store.place(front, slots[at], pages[at], ids[at], devices, in_place=True)
        self.store.release(front, slots[done], locked[done], self.store.tick(len(slots)))
        left = np.flatnonzero(~done)
        done[left] = self.cache.keep(front, slots[left], locked[left], pages[left], DIRTY)
        refused = np.flatnonzero(~done)
        front.table.put_each(slots[refused])
        front.table.repin_many(slots[refused], locked[refused], locked[refused] ^ np.uint64(w.LOCKED))
        return done

    # ---- slots

    def _slots(
        self, n: int, order: int, mask: int, group: Memcg | None, errors: Errors
    ) -> tuple[NDArray[np.uint8], Slots, int]:
        """Slots for folios, charged; (types, first slots, the owner's id), shorter than *n* when there are no more."""
        allowed = self.store.devices.types(mask)
        ghosts, found, rest = self._ghost_types(), [], n
        owner = 0
        # A ghost's slots are charged otherwise than a device's: one kind after the other, as the priorities have it.
        for types in self._runs(allowed, ghosts):
            ghost = bool(types & ghosts)
            owner, may = self.store.charges.begin(group, rest, 1 << order, ghost)
            got = self._alloc(may, order, types, owner)
            self._give_back(owner, may - len(got[0]), order, not ghost)
            if may < rest:
                errors[n - rest + len(got[0]) :] = errno.ENOMEM
            found.append(got)
            rest -= len(got[0])
            if rest == 0:
                break
        if rest and group is not None and not errors[n - rest :].any():
            group.alloc_failed(rest)
        return np.concatenate([g[0] for g in found] or [np.zeros(0, np.uint8)]), _joined(found), owner

    def _ghost_types(self) -> int:
        return sum(1 << device.type for device in self.store.devices if device.ghost)

    def _runs(self, allowed: int, ghosts: int) -> list[int]:
        """Masks of types, best first, each of ghosts only or of none; one mask where it makes no difference."""
        if self.store.charges.tree is None or not allowed & ghosts:
            return [allowed] if allowed else []
        runs: list[int] = []
        for device in self.store.devices:
            bit = 1 << device.type if device.type >= 0 else 0
            if bit & allowed:
                if runs and bool(runs[-1] & ghosts) == device.ghost:
                    runs[-1] |= bit
                else:
                    runs.append(bit)
        return runs

    def _alloc(self, n: int, order: int, types: int, owner: int) -> tuple[NDArray[np.uint8], Slots]:
        """Slots of some types; what waits for its discard is discarded when there are too few."""
        past = self.contiguous and not self.store.reserve
        got = self.store.devices.list.alloc_many(n, order, allowed=types, memcg=owner, contiguous=past)
        if len(got[0]) < n and any(d.table.waiting for d in self.store.devices.real()):
            self.store.settle(files=True)
            more = self.store.devices.list.alloc_many(
                n - len(got[0]), order, allowed=types, memcg=owner, contiguous=past
            )
            got = np.concatenate([got[0], more[0]]), np.concatenate([got[1], more[1]])
        return got

    def _give_back(self, owner: int, folios: int, order: int, backed: bool) -> None:
        if folios and owner:
            ids = np.full(folios << order, owner, np.uint64)
            self.store.charges.end(ids, np.full(len(ids), backed))

    # ---- data

    def _fill(
        self, front: Device, slots: Slots, pages: NDArray[np.uint8], order: int, owner: int, mask: int, may: bool
    ) -> Mask:
        """Store the pages of new slots; which have an entry now. The slots of the others are free again."""
        front.table.dup_many(slots)
        out = zero_pages(pages)
        if out.any():
            front.table.zero_set_many(slots[out])
            self.store.count(swpout_zero=int(out.sum()))
        left = np.flatnonzero(~out)
        devices = self.store.stores(front, mask, may and not (self.patch and front.ghost))
        ids = np.full(len(left), owner, np.uint64)
        out[left], _ = self.store.place(
            front, slots[left], pages[left] if len(left) < len(pages) else pages, ids, devices, in_place=True
        )
        self._count(front, slots, order)
        shadow = self.store.tick(len(slots))
        front.table.cache_del_many(slots[out], np.full(int(out.sum()), shadow))
        left = np.flatnonzero(~out)
        if len(left):
            out[left] = self.cache.keep(front, slots[left], IN_FLIGHT, pages[left], DIRTY)
            self.store.count(swpout_kept=int(out[left].sum()))
            refused = slots[left[~out[left]]]
            front.table.put_many(refused)
            self.store.release(front, refused, IN_FLIGHT, shadow)
        return out

    def _count(self, front: Device, slots: Slots, order: int) -> None:
        """Folios that went to pools whole, and to devices whole."""
        if not order or not len(slots):
            return
        members = front.table.resolve(slots)[0].reshape(-1, 1 << order)
        real = self.store.real(members)
        pools = ~real & (members >= 0)
        whole = int(real.all(axis=1).sum())
        self.store.count_size(order, "swpout", whole)
        self.store.count_size(order, "zswpout", int(pools.all(axis=1).sum()))
        self.store.count(thp_swpout=whole * (order == 9))


def _joined(found: list[tuple[NDArray[np.uint8], Slots]]) -> Slots:
    return np.concatenate([g[1] for g in found]) if found else np.zeros(0, np.int64)
