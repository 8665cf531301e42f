# What a group is charged, and the arithmetic of charging it and everything above it.
# May import errors, _memcgfiles (no limit as a number) and numpy.
# Used by _memcgroup.py; the caller holds the tree's lock.
"""Hierarchical counters: a charge is taken at every level or at none."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from swaptable._memcgfiles import no_limit, refuse
from swaptable.errors import raise_errno


class Counters:
    """Limits and use of a group, in pages where nothing else is said.

    Attributes
    ----------
    usage : int
        Charged to this group and all below it, the removed ones too; the root has what all others have.
    charged, pinned : int
        Of this group alone: pages charged, and slots that have its id, charged or not.
    max, high : int
        ``memory.swap.max`` and ``memory.swap.high``.
    watermark, peak : int
        The most since the group was made, and since :meth:`Memcg.reset_peak`.
    events : dict of str to int
        ``high``, ``max`` and ``fail``, those of groups below included.
    zswap_bytes, zswap_own : int
        Compressed bytes of this group and all below it, and of this group alone.
    zswap_max : int
        ``memory.zswap.max`` in pages.
    zswap_writeback : bool
        ``memory.zswap.writeback``.
    online : bool
        False once the group is removed: its limits hold no more.
    """

    __slots__ = (
        "charged", "events", "high", "max", "online", "page_size", "parent", "peak", "pinned", "usage", "watermark",
        "zswap_bytes", "zswap_max", "zswap_own", "zswap_writeback",
    )  # fmt: skip

    parent: Any

    def __init__(self, parent: Any, page_size: int) -> None:
        self.parent = parent
        self.page_size = page_size
        self.usage = self.charged = self.pinned = self.watermark = self.peak = 0
        self.max = self.high = self.zswap_max = no_limit(page_size)
        self.events = {"high": 0, "max": 0, "fail": 0}
        self.zswap_bytes = self.zswap_own = 0
        self.zswap_writeback = True
        self.online = True

    def up(self) -> Iterator[Any]:
        """This group and all above it, the root last."""
        group: Any = self
        while group is not None:
            yield group
            group = group.parent

    def limited(self) -> Iterator[Any]:
        """Those of :meth:`up` whose limits hold: living ones, without the root."""
        return (group for group in self.up() if group.online and group.parent is not None)

    def event(self, name: str, times: int = 1) -> None:
        """Count an event here and in every group above; the root counts none."""
        for group in self.limited():
            group.events[name] += times

    # ---- swap

    def pin(self, count: int, nr: int) -> None:
        """Slots that are not charged have the id."""
        _check_count("count", count, 0), _check_count("nr", nr)
        self.pinned += count * nr

    def charge_pages(self, nr: int, pin: bool = True) -> None:
        """Charge *nr* pages here and above, or raise ENOMEM with nothing charged; the root's own are not charged."""
        _check_count("nr", nr)
        if self.parent is not None:
            over = next((group for group in self.limited() if group.usage + nr > group.max), None)
            if over is not None:
                self.event("max")
                self.event("fail")
                state = f"memory.swap.max of {over.path!r} is {over.max} pages, {over.usage} are in use"
                raise_errno(errno.ENOMEM, f"{nr} pages for {self.path!r}: {state}")
            self._take(1, nr)
        self.pinned += nr if pin else 0

    def charge_folios(self, count: int, nr: int) -> int:
        """Charge *count* times *nr* pages as :meth:`charge_pages` would; return how often it went well."""
        _check_count("count", count, 0), _check_count("nr", nr)
        done = count
        if self.parent is not None:
            done = min([count, *(max(0, group.max - group.usage) // nr for group in self.limited())])
            self.event("max", count - done)
            self.event("fail", count - done)
            self._take(done, nr)
        self.pinned += done * nr
        return done

    def _take(self, count: int, nr: int) -> None:
        # A folio that leaves a group above its memory.swap.high is an event there and in all above. The kernel counts
        # one when the task whose memory is charged then is throttled on its way back to user space.
        for group in list(self.limited()):
            below = min(count, max(0, group.high - group.usage) // nr)
            group.event("high", count - below)
        for group in self.up():
            group.usage += count * nr
            group.peak = max(group.peak, group.usage)
            group.watermark = max(group.watermark, group.usage)
        self.charged += count * nr

    def check_uncharge(self, nr: int, counted: int) -> None:
        """Refuse to give up more than there is: *nr* slots, *counted* of them charged."""
        counted = 0 if self.parent is None else counted
        rest = self.pinned - self.charged - (nr - counted)
        if nr > self.pinned or counted > self.charged or rest < 0:
            have = f"it has {self.pinned} slots, {self.charged} of them charged"
            refuse(f"{nr} slots of {self.path!r}, {counted} of them charged, are more than there are: {have}")

    def uncharge_pages(self, nr: int, counted: int) -> None:
        """Give up *nr* slots, *counted* of them charged; :meth:`check_uncharge` has been there."""
        counted = 0 if self.parent is None else counted
        for group in self.up():
            group.usage -= counted
        self.charged -= counted
        self.pinned -= nr

    # ---- zswap

    def zswap_limiting(self) -> Any:
        """The first group on the way up that has reached its memory.zswap.max, or None.

        The kernel looks before it compresses, so in whole pages of what is there already.
        """
        return next((g for g in self.limited() if g.zswap_bytes // self.page_size >= g.zswap_max), None)

    def zswap_charge_pages(self, ends: npt.NDArray[np.int64]) -> int:
        """Charge pages whose sizes add up to *ends*; return how many were admitted. The root's own are not charged."""
        done = len(ends)
        if self.parent is None:
            return done
        before = ends - np.diff(ends, prepend=0)
        for group in self.limited():
            if group.zswap_max < no_limit(self.page_size):
                room = group.zswap_max * self.page_size - group.zswap_bytes
                done = min(done, int(np.searchsorted(before, room)))
        self.zswap_add(int(ends[done - 1]) if done else 0)
        return done

    def zswap_add(self, size: int) -> None:
        """Add *size* bytes, which may be negative, here and above."""
        if self.parent is None:
            return
        if self.zswap_own + size < 0:
            refuse(f"{-size} bytes of zswap of {self.path!r}; expected at most the {self.zswap_own} that it has")
        for group in self.up():
            group.zswap_bytes += size
        self.zswap_own += size


def _check_count(name: str, value: int, least: int = 1) -> None:
    if value < least:
        refuse(f"{name} is {value!r}; expected {least} or more")
