# The swap space: devices and pools, pages out and in, writeback, swapoff, in one object.
# May import everything below: devices, the store, the cache, swapping out and in, writeback, swapoff.
# Used by the command line, tests and people.
"""A whole swap system in a process.

>>> import os, tempfile
>>> from swaptable.swapfile import mkswap
>>> folder = tempfile.TemporaryDirectory()
>>> header = mkswap(os.path.join(folder.name, "swap"), 1 << 20)
>>> space = SwapSpace()
>>> pool = space.add_zswap("lz4", limit=1 << 20)
>>> ghost = space.swapon(None, size=1 << 30, grow=True, priority=10)
>>> disk = space.swapon(os.path.join(folder.name, "swap"), priority=5, name="disk")
>>> entry = space.swap_out(b"a page of text, " * 256)
>>> space.where([entry]), space.writeback(1), space.where([entry])     # to the disk; the entry is what it was
(['zswap0'], 1, ['disk'])
>>> space.swap_in(entry)[:15]
b'a page of text,'
>>> space.close(); folder.cleanup()
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from swaptable import _words as w
from swaptable._audit import audit
from swaptable._cache import Cache
from swaptable._calls import Mapped, PageCalls
from swaptable._charges import Charges
from swaptable._device import Device
from swaptable._devicecalls import DeviceCalls
from swaptable._frames import Frames
from swaptable._listener import SpaceEvents
from swaptable._store import Store
from swaptable._swapin import SwapIn
from swaptable._swapout import SwapOut, SwappedOut
from swaptable._tally import Report, tally
from swaptable._users import as_entries
from swaptable.devices import Devices, Swapon
from swaptable.errors import SlotBusyError, SwapValueError
from swaptable.memcg import MemcgTree
from swaptable.readahead import Readahead, Vma
from swaptable.swapoff import Swapoff, Swapoffs
from swaptable.tiers import Tiers
from swaptable.writeback import Writeback

__all__ = ["Device", "Mapped", "Report", "SwapSpace", "Swapoff", "Swapon", "SwappedOut", "Vma"]


class SwapSpace(DeviceCalls, PageCalls):
    """Swap devices, compressed pools and a swap cache.

    Parameters
    ----------
    cpus : int
        How many CPUs have allocation cursors.
    cache_pages : int
        Pages that the swap cache may hold beyond one operation.
    tiers : Tiers, optional
        ``/sys/kernel/mm/swap/tiers``; by default those of *memcg*, or none.
    memcg : MemcgTree, optional
        The cgroups that may be charged.
    contiguous : bool
        Slots past the end for large folios, where the kernel's search finds none.
    compressed_writeback : bool
        What goes from a pool to a device stays compressed, and is decompressed when it is swapped in.
    ghost : str
        "redirect": what no pool takes goes to blocks of a device. "patch": as in the ghost swapfile patch it stays in
        memory, nothing is written back while no device with blocks is on, and large folios get no slots of a ghost.
    zswap : str
        "tier": a slot whose data is in a pool leaves its block to others. "front": as in the kernel today, a compressed
        copy in front of a device, whose block is kept for it and written in place.
    mixed_swapin : bool
        A folio whose pages are in several places comes back whole, not page by page.
    promote : bool
        A page that is swapped in while others still have it goes to the best tier when it leaves the swap cache,
        wherever it was.
    page_cluster : int
        ``/proc/sys/vm/page-cluster``: `fault` reads up to ``1 << page_cluster`` pages at once.

    Attributes
    ----------
    devices : Devices
    memcg : MemcgTree or None
    """

    def __init__(
        self,
        *,
        cpus: int = 1,
        cache_pages: int = 1024,
        tiers: Tiers | None = None,
        memcg: MemcgTree | None = None,
        contiguous: bool = True,
        compressed_writeback: bool = False,
        ghost: str = "redirect",
        zswap: str = "tier",
        mixed_swapin: bool = False,
        promote: bool = False,
        page_cluster: int = 3,
    ) -> None:
        for name, value, known in (("ghost", ghost, ("redirect", "patch")), ("zswap", zswap, ("tier", "front"))):
            if value not in known:
                raise SwapValueError(errno.EINVAL, f"{name} {value!r}: expected {' or '.join(known)}")
        tiers = tiers or (memcg.tiers if memcg is not None else Tiers())
        if memcg is not None and memcg.tiers is not tiers:
            raise SwapValueError(errno.EINVAL, "tiers: expected those of the cgroups, or None")
        self.memcg, self.mixed_swapin, self.patch = memcg, mixed_swapin, ghost == "patch"
        self.devices = Devices(cpus, tiers)
        self.store = Store(self.devices, Frames(cache_pages), Charges(memcg), reserve=zswap == "front")
        self.cache = Cache(self.store)
        self._out = SwapOut(self.cache, contiguous, self.patch)
        self._in = SwapIn(self.cache, promote)
        self._readahead = Readahead(self.cache, page_cluster)
        self._writeback = Writeback(self.cache, compressed_writeback)
        self._swapoff = Swapoffs(self._writeback)

    @property
    def tiers(self) -> Tiers:
        """``/sys/kernel/mm/swap/tiers``."""
        return self.devices.tiers

    # ---- data on the move

    def writeback(self, n: int, tier: str | None = None, memcg: Any = None) -> int:
        """Move up to *n* cold pages one tier down; how many were. See :class:`Writeback`.

        Parameters
        ----------
        tier : str, optional
            The device, by name, that the pages are on; by default the best that has another below it.
        memcg : Memcg, optional
            Only pages of this cgroup.
        """
        self._member(memcg)
        if not isinstance(n, (int, np.integer)) or n < 0:
            raise SwapValueError(errno.EINVAL, f"n {n!r}: expected 0 or more pages")
        if self.patch and not any(device.table.free_blocks for device in self.devices.real()):
            return 0
        source = None if tier is None else self.devices[tier]
        return self._writeback.writeback(n, source, None if memcg is None else memcg.id)

    def prefetch(self, entries: ArrayLike, tier: str) -> NDArray[np.int32]:
        """Move the data of entries to a tier, before it is asked for.

        Parameters
        ----------
        tier : str
            A device, or a tier of *tiers*.

        Returns
        -------
        ndarray of int32, shape (n,)
            0 for what was moved; EBUSY it is in the swap cache; ENOENT it is there already, or has no data; ENOSPC, ...
        """
        return self._writeback.prefetch(as_entries(entries), self._tier(tier))

    def events(self, callback: Callable[[NDArray[np.void]], object]) -> SpaceEvents:
        """Listen to data that moves between devices: by `writeback`, `prefetch` and `swapoff`.

        Parameters
        ----------
        callback : callable
            Gets a structured array of `swaptable.events.MOVED` after each batch, in the thread that moved it. It may
            call the swap space; what it raises, the call that moved the data raises.

        Returns
        -------
        SpaceEvents
            A context manager; ``close()`` ends it. One at a time; while there is none, moves cost what they did.
        """
        if not callable(callback):
            raise SwapValueError(errno.EINVAL, f"callback {callback!r}: expected a callable")
        if self._writeback.listener is not None:
            raise SlotBusyError(errno.EBUSY, "somebody listens already")
        self._writeback.listener = SpaceEvents(callback, self._unhear)
        return self._writeback.listener

    def _unhear(self, listener: SpaceEvents) -> None:
        if self._writeback.listener is listener:
            self._writeback.listener = None

    def _tier(self, name: str) -> list[Device]:
        named = [tier for tier in self.tiers if tier.name == name]
        if named:
            return [d for d in self.devices if named[0].start <= d.priority <= named[0].end and not d.ghost]
        device = self.devices[name]
        if device.ghost:
            raise SwapValueError(errno.EINVAL, f"tier {name!r} is a ghost; expected a device with blocks, or a pool")
        return [device]

    def shrink_cache(self, n: int | None = None) -> int:
        """Let the *n* oldest folios of the swap cache go, all by default; dirty ones are stored first. How many."""
        if n is not None and n < 0:
            raise SwapValueError(errno.EINVAL, f"n {n}: expected 0 or more folios, or None for all")
        return self.cache.shrink(self.cache.frames.cap if n is None else n)

    def run_discard(self) -> None:
        """Discard what waits for it on devices with ``discard`` pages, as the kernel's worker does."""
        self.store.settle(files=True)

    # ---- what there is

    def where(self, entries: ArrayLike) -> list[str]:
        """Where the data of entries is: a device's name, "cache" (and nowhere else), "zero", or "": nobody has it."""
        array = as_entries(entries)
        names = [""] * len(array)
        for front, at in self.cache.by_type(array):
            slots = array[at] & w.SLOT_MASK
            members, words = front.table.resolve(slots)[0], front.table.words(slots)
            for k, member, word in zip(at.tolist(), members.tolist(), words, strict=True):
                if member >= 0:
                    names[k] = self.devices.member(member).name
                elif w.is_folio(word) and w.frames(w.pfns(np.array([word])))[0] >= w.FIRST_FRAME:
                    names[k] = "cache"
                elif w.is_folio(word) or w.is_shadow(word):
                    names[k] = "zero" if w.zeros(word) else "cache"
        return names

    def stats(self) -> dict[str, int]:
        """The counters of /proc/vmstat, and some of ours."""
        return {str(name): n for name, n in self.store.stat.items() if isinstance(name, str)}

    def report(self) -> Report:
        """Bytes of metadata, of pools and of slack, by tier and by cgroup, and all counters; prints as a table.

        Notes
        -----
        Runtime: reads every word.
        """
        return tally(self.cache)

    def check(self) -> None:
        """Check everything from scratch: tables, pools, the swap cache, cgroups. The threads must be still."""
        audit(self.cache)

    def close(self) -> None:
        """Close files; pages that are swapped out are gone, and nothing can be turned on any more."""
        self.devices.closed = True
        for device in list(self.devices):
            device.on = False
            device.backend.close()

    def __enter__(self) -> SwapSpace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
