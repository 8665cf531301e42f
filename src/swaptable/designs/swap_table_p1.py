# The design `swap-table-p1`: the swap table as swap cache only.
# May import the devices of words.
# Used by the registry of designs.
#
# Models swap table phase 1 (Kairui Song and Chris Li, v4 2025-09-17, merged in 6.18). Static for the whole device:
# swap_map 1 byte a slot with counts and the cache flag, swap_cgroup 2 bytes, zeromap 1 bit, cluster info 32 bytes for
# 512 slots. Dynamic: a 4 KiB table of words for each used cluster, which replaces the xarray of the swap cache. The
# flag is set and the table filled in two steps, each under the cluster's lock.
"""Swap table, phase 1 (6.18): words cache, everything else is static."""

from __future__ import annotations

from swaptable.designs._words import WordDesign
from swaptable.designs.says import BY_WALK

__all__ = ["SwapTableP1"]


class SwapTableP1(WordDesign):
    """Swap table phase 1; parameters are those of :class:`WordDesign`."""

    name = "swap-table-p1"
    says = BY_WALK | {"fork": "dup: one more in the swap_map, beyond 62 in pages of further digits"}

    def __init__(self, slots: int, backend: str = "disk", devices: int = 1) -> None:
        super().__init__(slots, phase=1, backend=backend, devices=devices)
