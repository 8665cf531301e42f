# Readahead: how far around a fault, by slots or by addresses, and whether it has paid off.
# May import the cache, the store and what lies under them.
# Used by the swap space.
"""The kernel's two readaheads (mm/swap_state.c of 6.18).

By cluster: an aligned window of slots around the fault; by VMA: a window of addresses, forwards or backwards where the
faults go that way. Both grow and shrink with the pages that were read ahead and then asked for.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._cache import Cache
from swaptable._device import Device
from swaptable._frames import DIRTY, READAHEAD
from swaptable._store import Slots
from swaptable.errors import SwapValueError

FIRST_HITS = 4  # as if four pages had paid off
MOST_HITS = 63
VMA_CLUSTER = 5  # page-cluster counts for VMAs up to here: SWAP_RA_ORDER_CEILING
PMD = 512  # a window stays in one page table

__all__ = ["Readahead", "Vma", "window"]


def window(before: int, at: int, hits: int, most: int, last: int) -> int:
    """Pages to read, the one that is asked for included: a power of two, not less than half of *last*.

    Parameters
    ----------
    before, at : int
        The fault before this one, and this one: slots or pages.
    hits : int
        Pages read ahead that were asked for since.
    most : int
        ``1 << page_cluster``.
    last : int
        The window before.
    """
    pages = hits + 2
    grown = max(4, 1 << (pages - 1).bit_length())
    alone = 2 if abs(at - before) == 1 else 1
    return max(min(grown if hits else alone, most), last // 2)


@dataclass(eq=False)
class Vma:
    """A range of addresses of a process, and what its page table says.

    Attributes
    ----------
    entries : ndarray of int64, shape (pages,)
        The swap entry of each page; -1 where there is none. The caller's, who keeps it up to date.
    first : int
        The number of its first page: page tables end at multiples of 512.
    """

    entries: NDArray[np.int64]
    first: int = 0
    last_fault: int = field(default=0, repr=False)
    last_window: int = field(default=0, repr=False)
    hits: int = field(default=FIRST_HITS, repr=False)

    def around(self, page: int, most: int) -> slice:
        """The window of a fault on page number *page* of *entries*; remembers it."""
        at, before = self.first + page, self.last_fault
        n = window(before, at, self.hits, most, self.last_window)
        self.last_fault, self.last_window, self.hits = at, n, 0
        if n == 1:
            return slice(page, page + 1)
        if at == before + 1:
            low = at
        elif before == at + 1:
            low = at - n + 1
        else:
            low = at - (n - 1) // 2
        table = at // PMD * PMD
        first = max(low, self.first, table) - self.first
        return slice(first, min(low + n, self.first + len(self.entries), table + PMD) - self.first)


class Readahead:
    """Readahead of a swap space.

    Parameters
    ----------
    page_cluster : int
        ``/proc/sys/vm/page-cluster``: windows of up to ``1 << page_cluster`` pages; 0 for none.
    """

    def __init__(self, cache: Cache, page_cluster: int) -> None:
        if not 0 <= page_cluster <= 9:
            raise SwapValueError(errno.EINVAL, f"page_cluster {page_cluster}: expected 0 to 9")
        self.cache, self.store = cache, cache.store
        self.page_cluster = page_cluster
        self.hits, self.last_slot, self.last_window = FIRST_HITS, 0, 0

    def by_vma(self) -> bool:
        """Whether windows are of addresses: not while a rotational device is on."""
        return not any("rotational" in device.flags for device in self.store.devices)

    def before(self, entry: int, vma: Vma | None, page: int) -> None:
        """What a fault does before it reads: notice a hit, or read a window, the page that is asked for included."""
        front = self.cache.device(entry >> w.TYPE_SHIFT, entry)
        slot = entry & w.SLOT_MASK
        word = front.table.words(np.array([slot]))
        vma = vma if vma is not None and self.by_vma() else None
        if not w.is_shadow(word)[0]:
            self._hit(word, vma)
        elif not front.ghost and "synchronous" not in front.flags and self.page_cluster:
            self._read(front, slot, entry, self._window(front, slot) if vma is None else self._addresses(vma, page))

    def _hit(self, word: NDArray[np.uint64], vma: Vma | None) -> None:
        frame = int(w.frames(w.pfns(word))[0]) if w.is_folio(word)[0] else 0
        if frame >= w.FIRST_FRAME and self.cache.frames.flags[frame] & READAHEAD:
            if vma is None:
                self.hits += 1
            else:
                vma.hits = min(vma.hits + 1, MOST_HITS)

    def _window(self, front: Device, slot: int) -> NDArray[np.int64]:
        hits, self.hits = self.hits, 0
        n = window(self.last_slot, slot, hits, 1 << self.page_cluster, self.last_window)
        if not hits:
            self.last_slot = slot
        self.last_window = n
        mask = n - 1
        end = (slot | mask) + 1 if slot >= len(front.table) else min((slot | mask) + 1, len(front.table))
        return w.entries(front.type, np.arange(max(slot & ~mask, 1), end))

    def _addresses(self, vma: Vma, page: int) -> NDArray[np.int64]:
        entries = vma.entries[vma.around(page, 1 << min(self.page_cluster, VMA_CLUSTER))]
        return np.unique(entries[entries >= 0])

    def _read(self, of: Device, slot: int, entry: int, entries: NDArray[np.int64]) -> None:
        """Read pages into the swap cache, in one batch a device; only those that are swapped out."""
        if len(entries) < 2:
            return
        for front, where in self.cache.by_type(entries):
            slots = entries[where] & w.SLOT_MASK
            self._ahead(front, slots[slots != slot] if front is of else slots, slot if front is of else -1)

    def _ahead(self, front: Device, around: Slots, slot: int) -> None:
        """Pages around *slot*, and with them the page itself unless that is -1."""
        words = front.table.words(around)
        around = around[w.is_shadow(words) & (w.counts(words) > 0)]
        slots = np.sort(np.append(around, slot)) if slot >= 0 and len(around) else around
        if not len(slots):
            return
        session = self.store.frames.session()
        mine, words = front.table.pin_many(slots, session)
        slots, words = slots[mine], words[mine]
        pages = np.empty((len(slots), 4096), np.uint8)
        good = self.store.read(front, slots, pages) == 0
        kept = np.zeros(len(slots), bool)
        pools = np.isin(front.table.resolve(slots)[0], [d.member for d in self.store.devices if d.pool])
        # A load from a pool is exclusive: the folio is dirty. The page that is asked for was not read ahead.
        for dirty in (False, True):
            for asked in (False, True):
                some = np.flatnonzero(good & (pools == dirty) & ((slots == slot) == asked))
                if len(some):
                    flags = (DIRTY if dirty else 0) | (0 if asked else READAHEAD)
                    kept[some] = self.cache.keep(front, slots[some], session, pages[some], flags)
        self.store.count(swap_ra=int((kept & (slots != slot)).sum()))
        rest = ~kept
        self.store.release(front, slots[rest], session, w.shadows(words[rest]))
        self.store.settle()
