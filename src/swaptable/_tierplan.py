# Tiers of a replay as people write them, and the switches that give a design those.
# May import errors, designs, footprint and sizes.
# Used by replay.py, the comparison and the sweep.
"""From ``zswap=25%,ssd=50%,hdd`` to what the machine and a design take."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from swaptable._workload import PAGE_SIZE, parse_memory
from swaptable.designs import parse
from swaptable.footprint import option

__all__ = ["POOL_NAME", "TierPlan", "parse_tiers"]

POOL_NAME = "zswap"
MAX_DEVICES = 4


@dataclass(frozen=True)
class TierPlan:
    """Tiers from the fastest on.

    Attributes
    ----------
    names : tuple of str
        The first may be ``zswap``, the compressed pool; all others are block devices.
    sizes : tuple of (float or int)
        How much data each but the last may have: a share of the footprint, or bytes.
    """

    names: tuple[str, ...]
    sizes: tuple[float | int, ...]

    @property
    def pool(self) -> bool:
        """Is the first tier the compressed pool?"""
        return self.names[0] == POOL_NAME

    @property
    def first(self) -> int:
        """The number of the first tier: 0 for the pool, 1 for a block device."""
        return 0 if self.pool else 1

    def limits(self, pages: int) -> list[int | None]:
        """Pages that may be in each tier by number, as :class:`Machine` takes them, for a footprint of *pages*."""
        sizes = [math.ceil(pages * size) if isinstance(size, float) else size // PAGE_SIZE for size in self.sizes]
        return [None] * self.first + [max(1, size) for size in sizes] + [None]

    def switches(self, spec: str) -> dict[str, Any]:
        """Return what a design is made with to have these tiers.

        Raises
        ------
        ValueError
            It has no such backend.
        """
        found = option(spec, POOL_NAME if self.pool else "disk")
        if found is None:
            what = "compressed pool" if self.pool else "block device"
            raise ValueError(f"{spec} has no {what} of its own for a tier")
        name, given = parse(spec)
        if given.get("backend", found.get("backend")) != found.get("backend"):
            raise ValueError(f"{spec} has another backend than the tiers, {', '.join(self.names)}")
        # A design without blocks of its own has devices beside it; the plain table has one and knows no switch for it.
        return found if name == "swap-table" else {**found, "devices": len(self.names) - self.pool}


def parse_tiers(value: str | TierPlan) -> TierPlan:
    """Return the tiers of ``zswap=25%,ssd=50%,hdd``.

    Raises
    ------
    ValueError
        Fewer than two tiers, one of them without a size that is not the last, a name twice, more than four devices.

    >>> parse_tiers("zswap=25%,ssd=64M,hdd")
    TierPlan(names=('zswap', 'ssd', 'hdd'), sizes=(0.25, 67108864))
    """
    if isinstance(value, TierPlan):
        return value
    parts = [part.strip() for part in value.split(",")]
    pairs = [part.partition("=") for part in parts]
    names = tuple(name for name, _, _ in pairs)
    if not all(re.fullmatch(r"\w+", name) for name in names) or len(set(names)) < len(names) or len(names) < 2:
        raise ValueError(f"tiers are {value!r}; expected two or more with names of their own, as zswap=25%,ssd=50%,hdd")
    if POOL_NAME in names[1:] or len(names) - (names[0] == POOL_NAME) > MAX_DEVICES:
        raise ValueError(f"tiers are {value!r}; expected {POOL_NAME} first, if at all, and up to {MAX_DEVICES} devices")
    if pairs[-1][1] or not all(equals for _, equals, _ in pairs[:-1]):
        raise ValueError(f"tiers are {value!r}; expected a size for each but the last, as zswap=25%,ssd=50%,hdd")
    return TierPlan(names, tuple(parse_memory(size) for _, _, size in pairs[:-1]))
