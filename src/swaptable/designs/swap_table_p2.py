# The design `swap-table-p2`: the swap cache alone says what is cached.
# May import the devices of words.
# Used by the registry of designs.
#
# Models swap table phase 2 (Kairui Song, v5 2025-12-20, merged in 7.0): no swap-in passes the swap cache by, the cache
# flag of the swap_map is gone, and slots enter the cache in the step that allocates them. Bytes are those of phase 1:
# 1 + 2 + 1/8 static a slot, 32 for 512 slots, 8 dynamic.
"""Swap table, phase 2 (7.0): no cache flag."""

from __future__ import annotations

from swaptable.designs._words import WordDesign
from swaptable.designs.says import BY_WALK

__all__ = ["SwapTableP2"]


class SwapTableP2(WordDesign):
    """Swap table phase 2; parameters are those of :class:`WordDesign`."""

    name = "swap-table-p2"
    says = BY_WALK | {"fork": "dup: one more in the swap_map, beyond 62 in pages of further digits"}

    def __init__(self, slots: int, backend: str = "disk", devices: int = 1) -> None:
        super().__init__(slots, phase=2, backend=backend, devices=devices)
