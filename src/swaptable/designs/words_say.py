# What designs of words on devices say of the operations that not every design has.
# Imports nothing.
# Used by the design files beside it.
"""Sentences that several designs share."""

from __future__ import annotations

__all__ = ["BY_WALK"]

BY_WALK: dict[str, str] = {
    "fork": "dup: one more in the word, beyond 14 in a table for the cluster that exists only then",
    "transfer": "from the pool to the slot kept for it: the tree's entry goes; to another device: a slot there and a walk of "
    "all page tables, which name the device",
    "swapoff": "a walk of all page tables, each entry of the device becomes a page of memory; the pool: each object to its slot",
}
"""An entry names device and slot, and the slot is the place."""
