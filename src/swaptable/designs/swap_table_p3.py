# The design `swap-table-p3`: counts move from the swap_map into the words.
# May import the devices of words.
# Used by the registry of designs.
#
# Models swap table phase 3 (Kairui Song, v3 2026-02-18, merged in 7.1): no swap_map. A word's top 4 bits count to 14;
# beyond, a table of 4 bytes a slot exists while the cluster needs it. Cluster info grows to 40 bytes. Static are still
# swap_cgroup, 2 bytes a slot, and zeromap, 1 bit. Bad slots are words, so that the header's cluster always has a table.
"""Swap table, phase 3 (7.1): no swap_map."""

from __future__ import annotations

from swaptable.designs._words import WordDesign
from swaptable.designs.says import BY_WALK

__all__ = ["SwapTableP3"]


class SwapTableP3(WordDesign):
    """Swap table phase 3; parameters are those of :class:`WordDesign`."""

    name = "swap-table-p3"
    says = BY_WALK

    def __init__(self, slots: int, backend: str = "disk", devices: int = 1) -> None:
        super().__init__(slots, phase=3, backend=backend, devices=devices)
