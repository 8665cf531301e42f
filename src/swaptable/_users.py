# The calls of a swap space that are about the users of entries: one more at a fork, one less at an exit.
# May import the cache, the store, _words, errors and numpy.
# Used by _calls.py, the swap space.
"""Who has an entry: users come and go in batches, slot and data go with the last."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from swaptable import _words as w
from swaptable._cache import Cache
from swaptable._store import Store
from swaptable.errors import SwapValueError, raise_errno


def as_entries(entries: ArrayLike) -> NDArray[np.int64]:
    """Entries as a contiguous int64 array."""
    array = np.asarray(entries)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise SwapValueError(
            errno.EINVAL, f"entries: expected integers in one dimension, not {array.dtype}, {array.shape}"
        )
    return np.ascontiguousarray(array, np.int64)


class UserCalls:
    """What a swap space does with the users of entries."""

    cache: Cache
    store: Store

    def dup(self, entry: int) -> None:
        """One more user of an entry: a fork."""
        self.dup_many([entry])

    def dup_many(self, entries: ArrayLike) -> None:
        """One more user of each entry; SlotNotInUseError for one that nobody has, of its device none is done then."""
        array = as_entries(entries)
        for front, where in self.cache.by_type(array):
            slots = array[where] & w.SLOT_MASK
            words = front.table.words(slots)
            nobody = np.flatnonzero(~(w.is_folio(words) | w.is_shadow(words)) | (w.counts(words) == 0))
            if len(nobody):
                raise_errno(
                    errno.ENOENT,
                    f"dup of entry {int(array[where[nobody[0]]]):#x}: nobody has it",
                    int(where[nobody[0]]),
                )
            front.table.dup_many(slots)

    def free(self, entry: int, nr: int = 1) -> None:
        """Give up a user of each of *nr* entries from *entry* on: the process has gone, or unmapped them."""
        self.free_many(np.arange(entry, entry + nr))

    def free_many(self, entries: ArrayLike) -> None:
        """Give up a user of each entry; slot and data go with the last.

        Raises
        ------
        SlotNotInUseError
            Of the first that nobody has; all the others are done.
        """
        array = as_entries(entries)
        bad: list[int] = []
        for front, where in self.cache.by_type(array):
            slots = array[where] & w.SLOT_MASK
            gone = self._put_pinned(front, slots) if self.store.pays(front, slots) else front.table.put_each(slots)
            bad += where[gone == 0].tolist()
            cached = slots[w.is_folio(gone) & (w.counts(gone) == 1)]
            if len(cached):
                self.cache.drop(front, cached)
        self.store.settle()
        if bad:
            raise_errno(errno.ENOENT, f"free of entry {int(array[min(bad)]):#x}: nobody has it", min(bad))

    def _put_pinned(self, front: Any, slots: NDArray[np.int64]) -> NDArray[np.uint64]:
        """`put_each` where what a slot had with it must be known: it is pinned, or whoever has it sees to it."""
        old = np.zeros(len(slots), np.uint64)
        left = np.arange(len(slots))
        while len(left):
            session = self.store.frames.session()
            mine, words = front.table.pin_many(slots[left], session)
            some = left[mine]
            old[some] = front.table.put_each(slots[some])
            self.store.release(front, slots[some], session, w.shadows(words[mine]))
            left = left[~mine]
            others = old[left] = front.table.put_each(slots[left], cached=True)
            word = front.table.words(slots[left])
            left = left[(others == 0) & w.is_shadow(word)]
        return old
