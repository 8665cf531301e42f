# Whoever listens to a swap space: notes of data that moved wait here until they are told.
# May import devices, the store, events, errors and numpy.
# Used by writeback, swapoff and the swap space.
"""The listener of a swap space."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._device import LENGTH_BITS, Device
from swaptable.events import MOVED, Reason

__all__ = ["SpaceEvents"]


class SpaceEvents:
    """What `SwapSpace.events` returns; a context manager.

    Notes
    -----
    Movers note what they moved while they still hold it, so that `sequence` has the order in which it happened to each
    entry. The callback is called once they hold nothing: it may call the swap space.
    """

    def __init__(self, callback: Callable[[NDArray[np.void]], object], leave: Callable[[SpaceEvents], object]) -> None:
        self._callback, self._leave = callback, leave
        self._lock = threading.Lock()
        self._waiting: list[NDArray[np.void]] = []
        self._sequence = 0

    @staticmethod
    def members(front: Device, slots: NDArray[np.int64]) -> NDArray[np.int32]:
        """Where slots have their data now."""
        found: NDArray[np.int32] = front.table.resolve(slots)[0]
        return found

    def note(
        self, devices: Any, front: Device, slots: NDArray[np.int64], source: NDArray[np.int32],
        words: NDArray[np.uint64], reason: Reason,
    ) -> None:  # fmt: skip
        """Note that the data of pinned slots is no longer on *source*."""
        if not len(slots):
            return
        target, blocks = front.table.resolve(slots)
        some = np.zeros(len(slots), MOVED)
        some["entry"], some["source"], some["target"] = w.entries(front.type, slots), source, target
        some["memcg"], some["reason"] = w.memcgs(words), reason
        for member in np.unique(target).tolist():
            at = target == member
            some["bytes"][at] = _lengths(devices.member(member), blocks[at])
        with self._lock:
            some["sequence"] = np.arange(self._sequence, self._sequence + len(some))
            self._sequence += len(some)
            self._waiting.append(some)

    def deliver(self) -> None:
        """Call the callback for what waits; what it raises is the mover's to raise."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if waiting:
            self._callback(waiting[0] if len(waiting) == 1 else np.concatenate(waiting))

    def close(self) -> None:
        """Deliver what waits and listen no more; once more does nothing."""
        self._leave(self)
        self.deliver()

    def __enter__(self) -> SpaceEvents:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lengths(device: Device, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes that blocks were written with."""
    if device.pool:
        sizes: NDArray[np.int64] = np.maximum(device.backend.lengths(blocks), 0).astype(np.int64)
        return sizes
    lengths = np.full(len(blocks), 4096, np.int64)
    if device.marks is not None:
        known = np.flatnonzero(blocks < len(device.marks))
        marked = device.marks[blocks[known]] & (1 << LENGTH_BITS) - 1
        lengths[known[marked != 0]] = marked[marked != 0]
    return lengths
