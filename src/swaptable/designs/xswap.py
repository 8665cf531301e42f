# The design `xswap`: a swap device without blocks whose cluster info grows.
# May import the devices of words and the refusal of blocks.
# Used by the registry of designs.
#
# Models xswap (Baoquan He, RFC 2026-07-27, v2 2026-09-16): phase 4 tables, zswap's xarray, and cluster info in a
# sparse vmalloc area of 1 times the RAM (`slots`), mapped by the page: 85 structures of 48 bytes are 4080 bytes. No
# writeback, no path, -EOPNOTSUPP without zswap. Inferred: that the area grows when no free cluster is left and does not
# shrink before it is destroyed, and that large folios are taken, since there is no IO that could fail them.
"""xswap: slots without blocks, cluster info in a sparse array."""

from __future__ import annotations

from swaptable.designs._words import WordDesign
from swaptable.designs.ghost import only_zswap

__all__ = ["XSwap"]


class XSwap(WordDesign):
    """xswap of 2026.

    Parameters
    ----------
    slots : int
        Its size: what the RAM has pages.
    devices : int
        Block devices beside it.
    index : str
        ``"array"``; or ``"flat"``, ``"xarray"`` for comparison.
    """

    name = "xswap"
    says = {  # noqa: RUF012
        "fork": "dup: one more in the word, beyond 14 in a table for the cluster that exists only then",
        "transfer": "no writeback; pages leave for another device through memory: a slot there and a walk of all "
        "page tables",
        "swapoff": "destroy: a walk of all page tables, each entry becomes a page of memory",
    }

    def __init__(self, slots: int, backend: str = "zswap", devices: int = 0, index: str = "array") -> None:
        only_zswap(self.name, backend)
        super().__init__(slots, phase=4, backend=backend, devices=devices, ghost=True, index=index)
