# The design `redirect-chain`: data that moves leaves a redirection in the slot where it was.
# May import the devices of words.
# Used by the registry of designs.
#
# Models the reading of "redirection" that Yosry Ahmed argued against (linux-mm, 2025-12-03): a ghost swapfile in front
# of zswap, and in each tier's swap table that data has passed through an 8-byte entry that says where it went: 8, 16,
# 24 bytes. The word at the end of the chain has the state (count, memcg, shadow or folio), those before it are
# Pointers. A slot that only redirects stays taken, and its block with it. Data that returns to a tier of its chain
# returns to its slot there, and what lay behind is freed. Nobody knows what points to a slot: swapoff looks at every
# word. Inferred: all of this but the figure.
"""Redirections: one word in every tier that data has passed through."""

from __future__ import annotations

from swaptable.designs._words import WordDesign

__all__ = ["RedirectChain"]


class RedirectChain(WordDesign):
    """A chain of words through the tiers.

    Parameters
    ----------
    slots : int
        Of each device, and of the ghost in front when the backend is zswap.
    backend : str
        ``"disk"``: entries are slots of the first device; ``"zswap"``: of a ghost.
    devices : int, optional
        0 to 4. Default: 1 for disk, none for zswap.
    index : str
        Of the ghost's clusters: ``"flat"``, ``"array"`` or ``"xarray"``.
    """

    name = "redirect-chain"
    says = {  # noqa: RUF012
        "fork": "dup: one more in the word at the end of the chain",
        "transfer": "a slot on the other device gets the state, the old one becomes a Pointer to it; no entry changes",
        "swapoff": "every word of every other device is looked at for Pointers; entries that name the device itself "
        "take a walk of all page tables",
    }

    def __init__(self, slots: int, backend: str = "disk", devices: int | None = None, index: str = "flat") -> None:
        ghost = backend == "zswap"
        count = int(not ghost) if devices is None else devices
        super().__init__(slots, phase=4, backend=backend, devices=count, ghost=ghost, chain=True, index=index)
