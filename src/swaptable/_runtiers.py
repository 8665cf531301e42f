# Tiers of a run as people write them, added to a swap space.
# May import the swap space, swapfile, the backends, _workload and errors.
# Used by swaprun.py.
"""From ``zswap:lz4:256M`` to a pool, a swap file, a ghost, zram or a model of a device."""

from __future__ import annotations

import errno
import os

from swaptable._workload import PAGE_SIZE, parse_size
from swaptable.backends.memory import MemoryBackend
from swaptable.backends.zram import ZramBackend
from swaptable.errors import SwapValueError
from swaptable.space import SwapSpace
from swaptable.swapfile import mkswap


def add_tier(space: SwapSpace, text: str, priority: int) -> list[str]:
    """Add a tier that was named as ``KIND[:...]:SIZE``; the files that were made for it.

    ``zswap:CODEC:LIMIT`` a compressed pool; ``file:PATH:SIZE`` a swap file, made if it is not there, ``file:PATH`` one
    that is; ``ghost`` a front end without blocks; ``zram:CODEC:SIZE`` and ``memory:SIZE`` as devices.
    """
    kind, _, rest = text.partition(":")
    known = {"zswap": _zswap, "file": _file, "ghost": _ghost, "zram": _zram, "memory": _memory}
    if kind not in known:
        raise SwapValueError(
            errno.EINVAL, f"tier {text!r}: expected {', '.join(known)} and what it has, as zswap:lz4:256M"
        )
    try:
        return known[kind](space, rest, priority)
    except ValueError as e:
        raise SwapValueError(errno.EINVAL, f"tier {text!r}: {getattr(e, 'strerror', None) or e}") from None


def _zswap(space: SwapSpace, rest: str, priority: int) -> list[str]:
    codec, _, limit = rest.partition(":")
    space.add_zswap(codec or "lz4", parse_size(limit, "limit") if limit else None, priority=priority)
    return []


def _file(space: SwapSpace, rest: str, priority: int) -> list[str]:
    path, _, size = rest.rpartition(":")
    if not path:
        path, size = size, ""
    if not path:
        raise ValueError("no path; expected file:PATH or file:PATH:SIZE")
    made = not os.path.exists(path)
    if made:
        if not size:
            raise ValueError(f"{path} is not there; with a size it is made")
        mkswap(path, parse_size(size, "size"))
    space.swapon(path, priority=priority)
    return [path] if made else []


def _ghost(space: SwapSpace, rest: str, priority: int) -> list[str]:
    space.swapon(None, size=parse_size(rest or "16T", "size"), grow=True, priority=priority)
    return []


def _zram(space: SwapSpace, rest: str, priority: int) -> list[str]:
    codec, _, size = rest.rpartition(":")
    space.swapon(backend=ZramBackend(parse_size(size, "size") // PAGE_SIZE, codec or "lz4"), priority=priority,
                 flags=["synchronous"])  # fmt: skip
    return []


def _memory(space: SwapSpace, rest: str, priority: int) -> list[str]:
    space.swapon(backend=MemoryBackend(parse_size(rest, "size") // PAGE_SIZE), priority=priority)
    return []
