# The design `ghost`: a swap device without blocks, for zswap alone.
# May import the devices of words.
# Used by the registry of designs.
#
# Models "[PATCH RFC] mm: ghost swapfile support for zswap" (Chris Li, 2025-11-21): a swapfile that is only its header.
# Its size is the header's, so what phase 2 keeps for every slot it keeps here: swap_map, swap_cgroup, zeromap and 32
# bytes for 512 slots, beside the words and zswap's xarray. It is no block device, so large folios are refused and
# split. Writes fail (AOP_WRITEPAGE_ACTIVATE), writeback of its objects is refused (EINVAL).
# `dynamic=True` is the successor, patches 14 and 15 of the phase 4 RFC (Kairui Song, 2026-02-20), with what phase 4
# has as merged: clusters of 80 bytes from kmalloc-96 in an xarray, made on use, and no array for the whole device.
"""A ghost swapfile: slots without blocks."""

from __future__ import annotations

from swaptable.designs._words import WordDesign

__all__ = ["Ghost"]


class Ghost(WordDesign):
    """The ghost swapfile of November 2025, or the dynamic one of February 2026.

    Parameters
    ----------
    slots : int
        What the header says.
    devices : int
        Block devices beside it, which it does not use by itself.
    dynamic : bool
        Clusters in an xarray.
    block : bool
        Take large folios, as block devices do.
    """

    name = "ghost"
    says = {  # noqa: RUF012
        "fork": "dup: one more in the swap_map (static), in the word (dynamic)",
        "transfer": "writeback of a ghost's objects is refused; its pages leave for another device through memory: "
        "a slot there and a walk of all page tables",
        "swapoff": "a walk of all page tables, each entry becomes a page of memory",
    }

    def __init__(
        self, slots: int, backend: str = "zswap", devices: int = 0, dynamic: bool = False, block: bool = False
    ) -> None:
        only_zswap(self.name, backend)
        phase, index = (4, "xarray") if dynamic else (2, "flat")
        super().__init__(
            slots, phase=phase, backend=backend, devices=devices, ghost=True, large=bool(block), index=index
        )


def only_zswap(name: str, backend: str) -> None:
    """Refuse a backend with blocks."""
    if backend != "zswap":
        from swaptable.designs._design import checked_backend
        from swaptable.errors import SwapValueError

        checked_backend(backend)
        raise SwapValueError(22, f"backend is {backend!r}; expected 'zswap': {name} has no blocks")
