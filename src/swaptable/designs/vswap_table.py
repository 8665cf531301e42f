# The design `vswap-table`: virtual swap space on swap tables.
# May import the virtual slots of words.
# Used by the registry of designs.
#
# Models "mm, swap: Virtual Swap Space (Swap Table Edition)" (Nhat Pham with Kairui Song's dynamic clusters, RFC v1
# 2026-05-28, v2 2026-06-12, v5 2026-09-18). A virtual cluster is 80 bytes from kmalloc-96 in an xarray, numbered from
# 1, with the word table (state, count, zero flag), a memcg table of 1024 bytes and a virtual_table of 8 bytes a slot:
# an object of zswap, or type and block. A physical cluster has phase 4's 48 bytes and a word for each slot, a Pointer
# back to the entry with the cache-only bit. `deferred=False` is v1, which gave physical clusters a memcg table too.
# `index="array"` is v5's last patch: xswap's sparse array in place of the xarray.
"""Virtual swap space, Swap Table Edition (2026)."""

from __future__ import annotations

from swaptable.designs._virtual import VirtualDesign
from swaptable.designs.says import BY_TABLE

__all__ = ["VswapTable"]


class VswapTable(VirtualDesign):
    """The Swap Table Edition.

    Parameters
    ----------
    slots, backend, devices
        As in :class:`VirtualDesign`.
    deferred : bool
        No memcg table for physical clusters that only back virtual slots (v2 and later).
    index : str
        ``"xarray"``, ``"array"`` or ``"flat"``.
    """

    name = "vswap-table"
    says = BY_TABLE | {
        "swapoff": "each used block leads to its entry by the Pointer in its word; its data becomes a page in the swap "
        "cache, the entries stay"
    }

    def __init__(
        self,
        slots: int,
        backend: str = "disk",
        devices: int | None = None,
        deferred: bool = True,
        index: str = "xarray",
    ) -> None:
        super().__init__(
            slots,
            backend=backend,
            devices=devices,
            index=index,
            memcg_tables=True,
            owners="word",
            device_memcg_tables=not deferred,
        )
