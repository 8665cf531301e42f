# One write to /sys/kernel/mm/swap/tiers: its operations, applied to a copy of the tiers.
# May import errors and the standard library.
# Used by tiers.py.
"""A batch either becomes the new tiers or is dropped: nothing has to be rolled back."""

from __future__ import annotations

import errno
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NoReturn

from swaptable.errors import SwapError, raise_errno

MIN_PRIORITY, MAX_PRIORITY = -1, 32767
MAX_NAME = 15


@dataclass(frozen=True)
class Entry:
    """A tier as it is kept: the end follows from the next; *serial* tells it from a later one of its name and index."""

    name: str
    index: int
    start: int
    serial: int


@dataclass
class Batch:
    """What a write has made of the tiers so far.

    Attributes
    ----------
    entries : list of Entry
        Highest first.
    free : list of int
        Indices to give, in this order.
    serial : int
        Of the next tier.
    pins : collection of int
        Priorities of devices that have a tier.
    """

    entries: list[Entry]
    free: list[int]
    serial: int
    pins: Collection[int]

    def apply(self, text: str) -> None:
        """All operations of *text* in their order, and the rule for what they leave."""
        for token in re.findall("[^, \t\n]+", text):
            match = re.fullmatch(r"\+([^:]*):([+-]?\d{1,9})|-(.*)", token, re.ASCII)
            if match is None:
                refuse(f"{token!r} is no operation on tiers; expected +NAME:PRIORITY or -NAME")
            if match[3] is None:
                self.add(token, match[1], int(match[2]))
            else:
                self.remove(token, match[3])
        if self.entries and self.entries[-1].start != MIN_PRIORITY:
            last = self.entries[-1]
            refuse(f"the lowest tier, {last.name!r}, starts at {last.start}; expected one that starts at -1")

    def add(self, token: str, name: str, start: int) -> None:
        """The checks come in the kernel's order, so that the errno is the kernel's where several apply."""
        if not -32768 <= start <= MAX_PRIORITY:  # What its short holds; below -1 is refused later.
            _refuse_priority(token, start)
        if any(entry.name == name for entry in self.entries):
            raise SwapError(errno.EEXIST, f"{token!r}: there is a tier {name!r} already")
        if not re.fullmatch(r"\w{1,15}", name, re.ASCII):
            refuse(f"{token!r}: name is {name!r}; expected 1 to {MAX_NAME} letters, digits and underscores")
        for entry in self.entries:
            if entry.start == start:
                raise SwapError(errno.EBUSY, f"{token!r}: tier {entry.name!r} starts at {start} already")
        self._check_pins(token, start)
        if start < MIN_PRIORITY:
            _refuse_priority(token, start)
        if not self.free:
            raise SwapError(errno.ENOSPC, f"{token!r}: there are {len(self.entries)} tiers, as many as there may be")
        self.entries.append(Entry(name, self.free.pop(0), start, self.serial))
        self.entries.sort(key=lambda entry: -entry.start)
        self.serial += 1

    def remove(self, token: str, name: str) -> None:
        """The range goes to the tier below, which shows by itself; of the lowest to the one above."""
        at = next((i for i, entry in enumerate(self.entries) if entry.name == name), None)
        if at is None:
            refuse(f"{token!r}: there is no tier {name!r}")
        entry = self.entries[at]
        self._check_pins(token, entry.start)
        del self.entries[at]
        self.free.append(entry.index)
        if at and entry.start == MIN_PRIORITY:
            self.entries[at - 1] = replace(self.entries[at - 1], start=MIN_PRIORITY)

    def _at(self, priority: int) -> Entry | None:
        return next((entry for entry in self.entries if entry.start <= priority), None)

    def _check_pins(self, token: str, start: int) -> None:
        """Refuse to take the priorities from *start* up from the tier that has them, when a device is there."""
        entry = self._at(start)
        for priority in self.pins:
            if entry is not None and priority >= start and self._at(priority) is entry:
                message = f"{token!r} would take the device of priority {priority} from tier {entry.name!r}"
                raise SwapError(errno.EBUSY, message)


def _refuse_priority(token: str, start: int) -> NoReturn:
    refuse(f"{token!r}: priority is {start}; expected {MIN_PRIORITY} to {MAX_PRIORITY}")


def refuse(message: str) -> NoReturn:
    """EINVAL."""
    raise_errno(errno.EINVAL, message)
