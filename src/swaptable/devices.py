# The devices of a swap space: swapon, the order in which they are used, the lists that name them, what swapoff leaves.
# May import the core, the backends, swapfile, swaplist, tiers, _device, errors.
# Used by the store, writeback, swapoff and the swap space.
"""Swap devices, pools among them, that share one space of blocks and one list of swap types."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from swaptable._core import BlockSpace, DeviceList, SwapTable
from swaptable._device import Device
from swaptable.backends.file import FileBackend
from swaptable.backends.ghost import GhostBackend
from swaptable.backends.zswap import ZswapBackend
from swaptable.errors import CheckError, SwapError, raise_errno
from swaptable.swapfile import SwapHeader, has_holes, read_header
from swaptable.swaplist import FstabSwap, SwapArea, format_proc_swaps, format_show, parse_fstab
from swaptable.tiers import Tiers

PAGE = 4096
DEFAULT_PRIORITY = -1
DISCARD = {None: (), "once": ("discard_once",), "pages": ("discard_pages",), "both": ("discard_once", "discard_pages")}
FLAGS = frozenset({"rotational", "synchronous", "owners"})
OBJECTS_A_PAGE = 16  # numbers of a pool for each page of its limit; those of one word take no page

__all__ = ["Devices", "Swapon"]


@dataclass(frozen=True)
class Swapon:
    """What became of a line of fstab.

    Attributes
    ----------
    line : FstabSwap
    device : Device or None
        None where it was skipped or refused.
    skipped : str
        noauto, nofail, on already; "" if it was tried.
    error : OSError or None
    """

    line: FstabSwap
    device: Device | None = None
    skipped: str = ""
    error: OSError | None = None


class Devices:
    """Who is on, by priority.

    Parameters
    ----------
    cpus : int
    tiers : Tiers

    Attributes
    ----------
    space : BlockSpace
    list : DeviceList
        Of those that give out slots.
    by_type : list of Device or None
    """

    def __init__(self, cpus: int, tiers: Tiers) -> None:
        self.cpus = cpus
        self.tiers = tiers
        self.space = BlockSpace()
        self.list = DeviceList(cpus)
        self.by_type: list[Device | None] = [None] * 32
        self._by_member: dict[int, Device] = {}
        self._order: tuple[Device, ...] = ()
        self._turn = self._allocating = 0
        self.closed = False
        self.lock = threading.RLock()

    # ---- who is there

    def __iter__(self) -> Iterator[Device]:
        """Those that are on, best priority first."""
        return (device for device in self._order if device.on)

    def every(self) -> tuple[Device, ...]:
        """Those that are on, and those that are off while slots of theirs are in use."""
        return self._order

    def left(self) -> list[Device]:
        """Those that are off while slots of theirs are in use."""
        return [device for device in self._order if not device.on]

    def __getitem__(self, name: str) -> Device:
        """The device of that name; SwapError ENOENT when none is on."""
        for device in self:
            if device.name == name:
                return device
        raise SwapError(
            errno.ENOENT, f"no device {name!r} is on; there are {', '.join(d.name for d in self) or 'none'}"
        )

    def member(self, number: int) -> Device:
        """The device that `SwapTable.resolve` calls *number*."""
        return self._by_member[number]

    def types(self, mask: int) -> int:
        """The swap types that may be allocated from, of devices in the tiers of *mask*."""
        allowed = 0
        for device in self:
            if device.type >= 0 and not device.closing and self.tiers.mask(device.priority) & mask:
                allowed |= 1 << device.type
        return allowed

    def stores(self, mask: int, below: int | None = None) -> list[Device]:
        """Where data may go: devices in the tiers of *mask*, best first, equals in turn; *below* a priority."""
        found = [
            device for device in self
            if not (device.ghost or device.closing) and self.tiers.mask(device.priority) & mask
            and (below is None or device.priority < below)
        ]  # fmt: skip
        self._turn += 1
        return sorted(found[self._turn % len(found) :] + found[: self._turn % len(found)], key=_rank) if found else []

    def real(self) -> list[Device]:
        """Those with blocks on a medium: neither ghosts nor pools."""
        return [device for device in self if not device.ghost and not device.pool]

    def fullness(self) -> tuple[int, int]:
        """Blocks and pool pages in use, and how many there are; a ghost counts for nothing."""
        used = total = 0
        for device in self:
            if not device.ghost:
                used, total = used + device.used, total + device.usable
        return used, total

    # ---- on

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
        flags: tuple[str, ...] = (),
        large: bool | None = None,
        direct: bool | None = None,
    ) -> Device:
        """Turn a device on; see `SwapSpace.swapon`."""
        if discard not in DISCARD:
            raise_errno(errno.EINVAL, f"discard {discard!r}: expected None, once, pages or both")
        _acceptable(path, size, backend, flags)
        with self.lock:
            self._open()
            self.reap()
            header = None if path is None else self._header(os.fspath(path))
            if path is not None:
                name = os.fspath(path) if name is None else name
            elif name is None:
                name = self._new_name("ghost" if backend is None else backend.kind)
            if any(device.name == name for device in self):
                raise SwapError(errno.EBUSY, f"{name} is on already")
            self._not_yet(path)
            what = frozenset(flags) | frozenset(DISCARD[discard])
            rank = DEFAULT_PRIORITY if priority is None else priority
            self.tiers.mask(rank)  # refuses one out of range
            if (backend is None and path is None) or (header is not None and header.ghost):
                if path is None and (not grow or size is None):
                    raise_errno(
                        errno.EINVAL, f"size {size}, grow {grow}: a device without a file grows, from a size on"
                    )
                return self._on(self._ghost(path, name, rank, what, header, size, large))
            return self._on(self._real(path, name, rank, what, header, size, backend, front, large, direct))

    def _open(self) -> None:
        if self.closed:
            raise SwapError(errno.EBADF, "the swap space is closed; expected one that is open")

    def _not_yet(self, path: str | os.PathLike[str] | None) -> None:
        """Refuse a file that is on, whatever it is called: two devices would write over each other's pages."""
        same = None if path is None else _identity(path)
        for device in self if same is not None else ():
            if device.path is not None and _identity(device.path) == same:
                raise SwapError(errno.EBUSY, f"{os.fspath(path or '')} is on already, as {device.name}")

    @staticmethod
    def _header(path: str) -> SwapHeader:
        header = read_header(path, PAGE)
        if not header.ghost and has_holes(path):
            raise_errno(errno.EINVAL, f"{path} has holes: a swap file has all its blocks")
        return header

    def _new_name(self, kind: str) -> str:
        names = {device.name for device in self._order}
        return next(name for number in range(256) if (name := f"{kind}{number}") not in names)

    def _revived(self, name: str, kind: str, rank: int, flags: frozenset[str]) -> Device | None:
        """A device as that one which went off while slots of it were in use: it gets its slots and its type back."""
        alike = (d for d in self.left() if (d.name, d.kind, d.priority, d.flags) == (name, kind, rank, flags))
        return next((d for d in alike if d.type >= 0), None)

    def _ghost(
        self,
        path: str | os.PathLike[str] | None,
        name: str,
        rank: int,
        flags: frozenset[str],
        header: SwapHeader | None,
        size: int | None,
        large: bool | None,
    ) -> Device:
        """A front end that grows; the one that it was, where slots of that are still in use."""
        first = header.size if header is not None else size or 0
        device = self._revived(name, "ghost", rank, flags)
        if device is not None:
            device.first_size = first
            return device
        table = SwapTable(slots=None, cpus=self.cpus, block=large is not False, space=self.space)
        whole = None if path is None else os.fspath(path)
        return Device(
            name, "ghost", rank, table, GhostBackend(), flags=flags, header=header, path=whole, first_size=first
        )

    def _real(
        self,
        path: str | os.PathLike[str] | None,
        name: str,
        rank: int,
        flags: frozenset[str],
        header: SwapHeader | None,
        size: int | None,
        backend: Any,
        front: bool,
        large: bool | None,
        direct: bool | None,
    ) -> Device:
        """A device with blocks: a swap area, or a backend that has been made already."""
        if backend is None:
            assert header is not None and path is not None
            punch = bool(flags & {"discard_once", "discard_pages"})
            backend = FileBackend(path, header.pages, direct=direct, discard=punch)
        pages = backend.blocks if size is None else min(size // PAGE, backend.blocks)
        kind = backend.kind if path is None else "file" if os.path.isfile(path) else "partition"
        device = self._revived(name, kind, rank, flags)
        if device is not None and device.header == header and front:
            device.backend, device.pages, device.marks = backend, pages, None
            device.table.resize(pages)
            return device
        table = SwapTable(
            slots=pages,
            cpus=self.cpus,
            header=header is not None,
            bad=() if header is None else header.bad,
            block=kind != "file" if large is None else large,
            rotational="rotational" in flags,
            discard="discard_pages" in flags,
            owners="owners" in flags,
            space=self.space,
        )
        whole = None if path is None else os.fspath(path)
        return Device(name, kind, rank, table, backend, -1 if front else -2, flags, pages, header, whole)

    def add_zswap(
        self,
        codec: Any = "lz4",
        limit: int | None = None,
        *,
        priority: int | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Device:
        """Add a compressed pool; see `SwapSpace.add_zswap`."""
        with self.lock:
            self._open()
            rank = 32767 if priority is None else priority
            self.tiers.mask(rank)
            probe = ZswapBackend(codec, limit=limit, **options) if limit is None else None
            numbers = max((limit if probe is None else probe.limit) // PAGE, 1) * OBJECTS_A_PAGE
            numbers = min(-(-numbers // 512) * 512, 1 << 30)
            backend = ZswapBackend(codec, limit=limit, numbers=numbers, **options)
            name = self._new_name("zswap") if name is None else name
            if any(device.name == name for device in self):
                raise SwapError(errno.EEXIST, f"{name} is there already")
            table = SwapTable(slots=numbers, header=False, discard=True, owners=True, space=self.space)
            return self._on(Device(name, "zswap", rank, table, backend, -2))

    def _on(self, device: Device) -> Device:
        new = device not in self._order
        if device.type == -1 and new:
            device.type = self.list.add(device.table, device.priority)
            self.by_type[device.type] = device
        device.on = True
        self._by_member[device.member] = device
        self.tiers.pin(device.priority)
        others = [one for one in self._order if one is not device]
        self._order = tuple(sorted([*others, device], key=_rank))
        if "discard_once" in device.flags:
            device.discard(np.arange(device.header is not None, device.pages))
        return device

    def swapon_all(
        self, text: str, swapon: Callable[..., Device], exists: Callable[[str], bool] = os.path.exists
    ) -> list[Swapon]:
        """Turn on what an fstab names, as ``swapon -a`` does: a line that fails does not keep the others off.

        Parameters
        ----------
        text : str
        swapon : callable(path, priority=, discard=) -> Device
        exists : callable(path) -> bool
        """
        return [self._by_line(line, swapon, exists) for line in parse_fstab(text)]

    def _by_line(self, line: FstabSwap, swapon: Callable[..., Device], exists: Callable[[str], bool]) -> Swapon:
        path = line.spec if line.tag is None else f"/dev/disk/by-{line.tag[0].lower()}/{line.tag[1]}"
        if line.noauto:
            return Swapon(line, skipped="noauto")
        if line.nofail and not exists(path):
            return Swapon(line, skipped="nofail")
        if any(device.name == path for device in self):
            return Swapon(line, skipped="on already")
        try:
            return Swapon(line, swapon(path, priority=line.priority, discard=line.discard))
        except OSError as error:
            return Swapon(line, error=error)

    def resize(self, device: Device, size: int) -> None:
        """Let a device have *size* bytes, header included, while it is in use; see `SwapSpace.resize`."""
        pages = size // PAGE
        if device.ghost:
            raise_errno(errno.EINVAL, f"{device.name}: a ghost grows and shrinks as it is used")
        if device.pool:
            device.backend.limit = size
            return
        if device.header is None and not 1 <= pages <= device.backend.blocks:
            raise_errno(
                errno.EINVAL, f"size {size}: expected at most the {device.backend.blocks * PAGE} of {device.name}"
            )
        with self.lock:
            if device.header is not None and pages > device.pages:
                self._lengthen(device, pages)
            device.table.resize(pages, mover=device.copy)
            if device.header is not None and pages < device.pages:
                self._write_header(device, pages)
            device.pages = pages

    def _lengthen(self, device: Device, pages: int) -> None:
        """More room in a file: blocks first, then the header that says so, then a backend that knows."""
        assert device.path is not None
        if device.kind != "file":
            raise_errno(errno.EINVAL, f"{device.name} has the {device.pages * PAGE} bytes that it has")
        with open(device.path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, pages * PAGE)
        self._write_header(device, pages)
        old = device.backend
        device.backend = FileBackend(device.path, pages, direct=old.direct, discard=old.discard)

    @staticmethod
    def _write_header(device: Device, pages: int) -> None:
        assert device.header is not None and device.path is not None
        bad = tuple(page for page in device.header.bad if page < pages)
        device.header = replace(device.header, last_page=pages - 1, bad=bad)
        with open(device.path, "r+b") as file:
            file.write(device.header.to_bytes())
            os.fsync(file.fileno())

    # ---- off

    @contextmanager
    def allocating(self) -> Iterator[None]:
        """Between the look at who is on and the last slot that is allocated: no swap type becomes free."""
        with self.lock:
            self._allocating += 1
        try:
            yield
        finally:
            with self.lock:
                self._allocating -= 1

    def close(self, device: Device) -> None:
        """A device is off; its slots, where there are any in use, live on."""
        with self.lock:
            device.on = device.closing = False
            self.tiers.unpin(device.priority)
            device.backend.close()
            self.reap()

    def reap(self) -> None:
        """Forget devices that are off once no slot of theirs is in use: the swap type is free."""
        with self.lock:
            for device in [] if self._allocating else self.left():
                if device.table.used == 0:
                    if device.type >= 0:
                        self.list.remove(device.type)
                        self.by_type[device.type] = None
                    self.space.remove(device.table)
                    self._order = tuple(one for one in self._order if one is not device)
                    del self._by_member[device.member]

    # ---- lists

    def areas(self) -> list[SwapArea]:
        """What /proc/swaps lists: pools are none; sizes without the header page."""
        return [self._area(device) for device in self if device.type >= 0]

    @staticmethod
    def _area(device: Device) -> SwapArea:
        kind = device.kind if device.kind in ("file", "ghost") else "partition"
        used = device.used * PAGE
        size = max(device.first_size - PAGE, used) if device.ghost else device.usable * PAGE
        header = device.header
        uuid, label = ("", "") if header is None else (str(header.uuid), header.label)
        return SwapArea(device.name, kind, size, used, device.priority, uuid, label)

    def proc_swaps(self) -> str:
        """The text of /proc/swaps."""
        return format_proc_swaps(self.areas())

    def show(self, **options: Any) -> str:
        """The table of ``swapon --show``; options of :func:`swaptable.swaplist.format_show`."""
        return format_show(self.areas(), **options)

    def check(self) -> None:
        """Check every table and backend; the threads must be still."""
        self.space.check()
        self.list.check()
        for device in self._order:
            if device.on:
                device.backend.check()
            if device.type >= 0 and self.by_type[device.type] is not device:
                raise CheckError(f"{device.name} is not of swap type {device.type}")


def _rank(device: Device) -> int:
    return -device.priority


def _identity(path: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """What a file or block device is, by whatever name; None when it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_rdev,) if stat.S_ISBLK(found.st_mode) else (found.st_dev, found.st_ino)


def _acceptable(path: object, size: object, backend: object, flags: tuple[str, ...]) -> None:
    """Refuse what swapon cannot mean."""
    unknown = [flag for flag in flags if flag not in FLAGS]
    if unknown:
        raise_errno(errno.EINVAL, f"flags {unknown[0]!r}: expected some of {', '.join(sorted(FLAGS))}")
    if path is not None and (size is not None or backend is not None):
        other = f"size {size!r}" if backend is None else f"backend {backend!r}"
        raise_errno(errno.EINVAL, f"{other}: expected None where there is a path, whose header says how large it is")
    if size is not None and (not isinstance(size, (int, np.integer)) or size < PAGE):
        raise_errno(errno.EINVAL, f"size {size!r}: expected bytes, at least the {PAGE} of a page")
    if backend is not None and getattr(backend, "chooses", None) is not False:
        raise_errno(errno.EINVAL, f"backend {backend!r}: expected one whose blocks the caller numbers, or None")
