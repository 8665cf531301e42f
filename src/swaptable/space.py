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
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from swaptable import _words as w
from swaptable._audit import audit
from swaptable._cache import Cache
from swaptable._calls import Mapped, PageCalls
from swaptable._charges import Charges
from swaptable._device import Device
from swaptable._frames import Frames
from swaptable._store import Store
from swaptable._swapin import SwapIn
from swaptable._swapout import SwapOut, SwappedOut
from swaptable._tally import Report, tally
from swaptable._users import as_entries
from swaptable.devices import Devices, Swapon
from swaptable.errors import SwapValueError
from swaptable.memcg import MemcgTree
from swaptable.readahead import Readahead, Vma
from swaptable.swapoff import Swapoff, Swapoffs
from swaptable.tiers import Tiers
from swaptable.writeback import Writeback

__all__ = ["Device", "Mapped", "Report", "SwapSpace", "Swapoff", "Swapon", "SwappedOut", "Vma"]


class SwapSpace(PageCalls):
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

    # ---- devices

    def swapon(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        size: int | None = None,
        grow: bool = False,
        priority: int | None = None,
        discard: str | None = None,
        name: str | None = None,
        backend: Any = None,
        front: bool = True,
        flags: Iterable[str] = (),
        direct: bool | None = None,
    ) -> Device:
        """Turn a swap area on, a ghost without a file, or a backend.

        Parameters
        ----------
        path : path, optional
            A swap area as `mkswap` makes it; a ghost where its header says so.
        size : int, optional
            Bytes: with *grow*, what a ghost without a file starts with; with *backend*, how much of it is used.
        grow : bool
            A front end without blocks of its own, which grows as it is used. For no *path*.
        priority : int, optional
            -1 to 32767; -1 by default. Equals take turns.
        discard : str, optional
            "once": the whole area now; "pages": emptied clusters and blocks, by `run_discard`; "both".
        name : str, optional
            By default the path, or the backend's kind and a number.
        backend : Backend, optional
            One that was made already, for blocks that the caller numbers: zram, memory.
        front : bool
            False: gives out no slots, and only takes data of others.
        flags : iterable of str
            "rotational", "synchronous" (no readahead), "owners" (an owner is kept for each block, 4 bytes).
        direct : bool, optional
            O_DIRECT; by default where it works.

        Raises
        ------
        SwapValueError
            No swap area, or a value out of range.
        SwapError
            EBUSY: it is on already, or the file is under another name.

        Notes
        -----
        A device that went off while slots of it were in use gets them, and its swap type, back when one of the same
        name, priority and flags comes on.
        """
        large = False if self.patch and backend is None else None
        device = self.devices.swapon(
            path, size=size, grow=grow, priority=priority, discard=discard, name=name, backend=backend, front=front,
            flags=tuple(flags), large=large, direct=direct,
        )  # fmt: skip
        if device.type >= 0:
            device.table.set_reclaim(self._asked_for(device))
        return device

    def swapon_all(self, fstab: str, exists: Callable[[str], bool] = os.path.exists) -> list[Swapon]:
        """Turn on what the swap lines of an fstab name, as ``swapon -a`` does."""
        return self.devices.swapon_all(fstab, self.swapon, exists)

    def add_zswap(
        self,
        codec: Any = "lz4",
        limit: int | None = None,
        *,
        priority: int | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Device:
        """Add a compressed pool as a tier.

        Parameters
        ----------
        codec : str or Codec
            "lz4", "zstd-3", ...
        limit : int, optional
            Bytes of pool memory; 20 % of this machine's by default.
        priority : int, optional
            32767 by default: before all others.
        options
            Of :class:`swaptable.backends.zswap.ZswapBackend`.
        """
        return self.devices.add_zswap(codec, limit, priority=priority, name=name, **options)

    def swapoff(
        self,
        name: str | os.PathLike[str],
        progress: Callable[[int, int], object] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Swapoff:
        """Turn a device or a pool off: its data goes to the others, or into the swap cache; entries stay valid.

        Parameters
        ----------
        progress : callable(done, total), optional
            After each batch: pages that have left the device, and those found on it so far.
        cancel : callable() -> bool, optional
            Before each batch; true ends it.

        Raises
        ------
        SwapFullError
            The others are full, and so is the swap cache; the message says how many pages are left. The device is on
            again.
        SwapError
            EINTR: cancelled. EIO: a page of it cannot be read. The device is on again.

        Notes
        -----
        The front end lives on without blocks until its last slot is gone, and keeps its swap type; of a ghost that is
        all that happens. No page table is visited.
        """
        return self._swapoff.off(self.devices[os.fspath(name)], progress, cancel)

    def resize(self, name: str | os.PathLike[str], size: int) -> None:
        """Let a device have *size* bytes, the header included, while it is in use; or a pool so many.

        A swap file gets its blocks and its header changed; data beyond a smaller device moves to blocks that remain,
        and slots that are in use there stay. The file itself is never made shorter.

        Raises
        ------
        SlotBusyError
            Data beyond cannot be moved now; the size is as it was.
        SwapValueError
            A ghost, which has no size; a size that a block device or a backend does not have.
        """
        self.devices.resize(self.devices[os.fspath(name)], size)

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

    def _asked_for(self, device: Device) -> Callable[[int, int, int], bool]:
        """A clean page of a caller gives its slot up when an allocation asks for it and nobody else has it."""

        def asked(slot: int, nr: int, pfn: int) -> bool:
            slots = np.arange(slot, slot + nr)
            mine = self.cache.lock(device, slots, np.full(nr, pfn, np.uint64))
            locked = pfn | w.LOCKED
            frame = int(w.frames(np.array([pfn], np.uint64))[0])
            if frame == w.MAPPED:
                self.store.release(device, slots[mine], locked, self.store.clock)
            else:
                device.table.repin_many(slots[mine], locked, pfn)
            return frame == w.MAPPED and bool(mine.all())

        return asked

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
