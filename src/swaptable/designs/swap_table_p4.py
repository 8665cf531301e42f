# The design `swap-table-p4`: nothing static is left but cluster info.
# May import the devices of words.
# Used by the registry of designs.
#
# Models swap table phase 4 as merged (Kairui Song, v5 2026-05-17, commit d9ceded101a1 of 2026-06-02): memcg ids in a
# table of 2 bytes a slot for each used cluster, the zero flag in the word. Cluster info is 48 bytes for 512 slots. The
# memory cgroup is charged under the cluster's lock, in a step after the allocation. The forecast of 2026-02-11 had the
# id in the word; `swap-table` is like that.
"""Swap table, phase 4 (June 2026): no swap_cgroup, no zeromap."""

from __future__ import annotations

from swaptable.designs._words import WordDesign
from swaptable.designs.says import BY_WALK

__all__ = ["SwapTableP4"]


class SwapTableP4(WordDesign):
    """Swap table phase 4; parameters are those of :class:`WordDesign`."""

    name = "swap-table-p4"
    says = BY_WALK

    def __init__(self, slots: int, backend: str = "disk", devices: int = 1) -> None:
        super().__init__(slots, phase=4, backend=backend, devices=devices)
