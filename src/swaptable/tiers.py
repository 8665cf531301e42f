# Swap tiers: named ranges of priorities, and which of them a cgroup may swap to.
# May import errors, _tierbatch (a write's operations) and the standard library.
# Used by memcg.py, the device list and tests.
"""``/sys/kernel/mm/swap/tiers`` and ``memory.swap.tiers.max``, to the letter of Linux' swap-tier.rst (series v10).

A tier is given by where its range of priorities starts; it ends below the next higher start, the top one at 32767. The
tiers, where there are any, cover -1 to 32767. A device belongs to the tier of its priority, and as long as it is on
that does not change.

>>> tiers = Tiers()
>>> tiers.write("+HDD:50, +NET:-1")
>>> [(tier.name, tier.index, tier.start, tier.end) for tier in tiers]
[('HDD', 0, 50, 32767), ('NET', 1, -1, 49)]
>>> tiers.pin(60)                       # a device is on with priority 60
>>> tiers.write("+SSD:60")
Traceback (most recent call last):
    ...
swaptable.errors.SwapError: [Errno 16] '+SSD:60' would take the device of priority 60 from tier 'HDD'
>>> tiers.write("+SSD:100")
>>> [line.split() for line in tiers.read().splitlines()[1:3]]
[['SSD', '2', '100', '32767'], ['HDD', '0', '50', '99']]
>>> group = TierMask(tiers, parent=TierMask(tiers))
>>> group.write("SSD 0")
>>> group.read()
'SSD 0\\nHDD max\\nNET max\\n'
>>> bool(group.allowed & tiers.mask(60)), bool(group.allowed & tiers.mask(100))
(True, False)
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from swaptable._tierbatch import MAX_PRIORITY, MIN_PRIORITY, Batch, Entry, refuse
from swaptable.errors import CheckError

DEFAULT_LIMIT, MAX_LIMIT = 4, 31  # CONFIG_NR_SWAP_TIERS
ALL_TIERS = 0xFFFFFFFF
NO_TIER = 1 << 31  # The bit of devices that are on while there are no tiers; no group can be denied it.


@dataclass(frozen=True)
class Tier:
    """A range of priorities.

    Attributes
    ----------
    name : str
        Letters, digits and underscores, 15 at most.
    index : int
        Its bit in masks, as long as it lives.
    start, end : int
        Priorities, both included.
    """

    name: str
    index: int
    start: int
    end: int

    @property
    def mask(self) -> int:
        """The bit of *index*."""
        return 1 << self.index


class Tiers:
    """The tiers of a system.

    Parameters
    ----------
    limit : int
        How many there may be: 4 as the kernel is configured by default, 1 to 31.

    Notes
    -----
    Thread-safe. Readers take no lock and see the tiers before a write or after it, never within.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        if not 1 <= limit <= MAX_LIMIT:
            refuse(f"limit is {limit!r}; expected 1 to {MAX_LIMIT} tiers")
        self.limit = limit
        self._lock = threading.Lock()
        self._entries: tuple[Entry, ...] = ()
        # In the documentation's examples they count from 0. That of a removed tier is the last to be given again.
        self._free = list(range(limit))
        self._serial = 0
        self._pins: Counter[int] = Counter()

    def write(self, text: str) -> None:
        """Carry out the operations of *text*, all of them or none.

        Parameters
        ----------
        text : str
            ``+NAME:PRIORITY`` and ``-NAME``, separated by commas, blanks, tabs and newlines, in this order. A removed
            tier's range goes to the one below; that of the lowest to the one above.

        Raises
        ------
        SwapValueError
            EINVAL: not such an operation, a bad name or priority, no tier of that name, or tiers that leave the lowest
            priorities uncovered.
        SwapError
            EEXIST: the name is taken. EBUSY: another tier starts there, or a device would change its tier. ENOSPC:
            there are as many tiers as there may be.

        Notes
        -----
        Runtime: O(operations * (tiers + priorities of devices)).
        """
        with self._lock:
            # What was on before there were any tiers is given its tier by the write that makes them.
            pins = self._pins if self._entries else ()
            batch = Batch(list(self._entries), list(self._free), self._serial, pins)
            batch.apply(text)
            self._entries, self._free, self._serial = tuple(batch.entries), batch.free, batch.serial

    def read(self) -> str:
        """Return the table, highest tier first, padded as the kernel pads it (blanks at the ends of lines too)."""
        rows = [("Name", "Idx", "PrioStart", "PrioEnd"), *((t.name, t.index, t.start, t.end) for t in self)]
        return "".join(f"{name:<16} {index!s:<5} {start!s:<11} {end!s:<11}\n" for name, index, start, end in rows)

    __str__ = read

    def __iter__(self) -> Iterator[Tier]:
        """The tiers, highest first."""
        end = MAX_PRIORITY
        for entry in self._entries:
            yield Tier(entry.name, entry.index, entry.start, end)
            end = entry.start - 1

    def __len__(self) -> int:
        return len(self._entries)

    def tier(self, priority: int) -> Tier | None:
        """The tier of a priority; None while there are no tiers.

        Raises
        ------
        SwapValueError
            *priority* is not from -1 to 32767.
        """
        _check_priority(priority)
        return next((tier for tier in self if tier.start <= priority), None)

    def mask(self, priority: int) -> int:
        """The bit of a device of this priority, to be compared with what a group is allowed."""
        tier = self.tier(priority)
        return NO_TIER if tier is None else tier.mask

    def pin(self, priority: int) -> None:
        """A device is on with this priority: its tier stays. Undone by as many :meth:`unpin`.

        Raises
        ------
        SwapValueError
            *priority* is not from -1 to 32767.
        """
        _check_priority(priority)
        with self._lock:
            self._pins[priority] += 1

    def unpin(self, priority: int) -> None:
        """The device is off.

        Raises
        ------
        SwapValueError
            No device is on with this priority.
        """
        with self._lock:
            if not self._pins[priority]:
                del self._pins[priority]
                refuse(f"priority is {priority!r}; expected that of a device that is on")
            self._pins[priority] -= 1
            if not self._pins[priority]:
                del self._pins[priority]

    def check(self) -> None:
        """Raise :class:`CheckError` when the tiers are not what they must be at any time."""
        with self._lock:
            entries, free = self._entries, self._free
            starts = [entry.start for entry in entries]
            indices = [entry.index for entry in entries] + free
            if (
                starts != sorted(set(starts), reverse=True)
                or (starts and starts[-1] != MIN_PRIORITY)
                or len({entry.name for entry in entries}) != len(entries)
                or len({entry.serial for entry in entries}) != len(entries)
                or sorted(indices) != list(range(self.limit))
                or min(self._pins.values(), default=1) < 1
            ):
                raise CheckError(f"tiers {entries}, free indices {free}, pins {self._pins}")


class TierMask:
    """``memory.swap.tiers.max`` of one group.

    Parameters
    ----------
    tiers : Tiers
    parent : TierMask, optional
        That of the group above; the root has none.

    Notes
    -----
    Tiers are not held by it: one that is removed and made again is allowed again, under its old name too.
    """

    __slots__ = ("_off", "_tiers", "parent")

    def __init__(self, tiers: Tiers, parent: TierMask | None = None) -> None:
        self._tiers = tiers
        self.parent = parent
        self._off: frozenset[int] = frozenset()  # Serials.

    def write(self, text: str) -> None:
        """Allow or deny one tier: ``NAME max`` or ``NAME 0``.

        Raises
        ------
        SwapValueError
            EINVAL: not such a pair, or no tier of that name.
        """
        words = text.split()
        if len(words) != 2 or words[1] not in ("max", "0"):
            refuse(f"memory.swap.tiers.max is {text!r}; expected a tier and max or 0")
        with self._tiers._lock:
            live = {entry.name: entry.serial for entry in self._tiers._entries}
            if words[0] not in live:
                refuse(f"memory.swap.tiers.max is {text!r}; expected one of the tiers {', '.join(live) or '(none)'}")
            off = self._off & set(live.values()) | {live[words[0]]}
            self._off = off if words[1] == "0" else off - {live[words[0]]}

    def read(self) -> str:
        """Return ``NAME max`` or ``NAME 0`` for each tier, highest first: what this group says, not its parents."""
        entries = self._tiers._entries
        return "".join(f"{entry.name} {'0' if entry.serial in self._off else 'max'}\n" for entry in entries)

    @property
    def allowed(self) -> int:
        """The tiers that this group may swap to: its own mask and those of all above, 32 bits.

        Runtime: O(depth * tiers).
        """
        entries, mask = self._tiers._entries, ALL_TIERS
        group: TierMask | None = self
        while group is not None:
            for entry in entries:
                if entry.serial in group._off:
                    mask &= ~(1 << entry.index)
            group = group.parent
        return mask


def _check_priority(priority: int) -> None:
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        refuse(f"priority is {priority!r}; expected {MIN_PRIORITY} to {MAX_PRIORITY}")
