# The calls of a swap space that are about devices: on, off, larger, smaller.
# May import devices, the cache, swapoff and what lies under them.
# Used by space.py.
"""Swap areas, ghosts, backends and pools come and go while pages are swapped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from swaptable import _words as w
from swaptable._cache import Cache
from swaptable._device import Device
from swaptable._store import Store
from swaptable.devices import Devices, Swapon
from swaptable.swapoff import Swapoff, Swapoffs


class DeviceCalls:
    """What a swap space does with devices."""

    devices: Devices
    cache: Cache
    store: Store
    patch: bool
    _swapoff: Swapoffs

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
