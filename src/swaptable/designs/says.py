# What designs say of the operations that not every design has.
# Imports nothing.
# Used by the design files beside it.
"""Sentences that several designs share."""

from __future__ import annotations

__all__ = ["BY_DESCRIPTOR", "BY_TABLE", "BY_WALK", "owners_say"]

BY_WALK: dict[str, str] = {
    "fork": "dup: one more in the word, beyond 14 in a table for the cluster that exists only then",
    "transfer": "from the pool to the slot kept for it: the tree's entry goes; to another device: a slot there and "
    "a walk of all page tables, which name the device",
    "swapoff": "a walk of all page tables, each entry of the device becomes a page of memory; the pool: each object "
    "to its slot",
}
"""An entry names device and slot, and the slot is the place."""

BY_TABLE: dict[str, str] = {
    "fork": "dup: one more in the word, beyond 14 in a table for the cluster that exists only then",
    "transfer": "the second table says where the data is from now on; no entry changes",
}
"""An entry is a virtual slot with a second table."""

BY_DESCRIPTOR: dict[str, str] = {
    "fork": "dup: one more in the descriptor's count",
    "transfer": "the descriptor points elsewhere; no entry changes",
    "swapoff": "each used block leads to its entry by an xarray; its data becomes a page in the swap cache, the "
    "entries stay",
}
"""An entry has a descriptor."""


def owners_say(owners: bool) -> dict[str, str]:
    """How swapoff finds the entries of a device.

    Parameters
    ----------
    owners : bool
        Each block leads back to its entry.
    """
    how = (
        "each used block leads to its entry" if owners else "the whole front is looked through for the device's blocks"
    )
    return {"swapoff": how + "; their data becomes pages in the swap cache, the entries stay"}
