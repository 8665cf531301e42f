# The design `zram`: a compressed block device with a table of its own, under a swap table.
# May import the devices of words.
# Used by the registry of designs.
#
# Models zram as swap under phase 4: to the swap table it is a block device; behind it zram has an entry of "at least 2
# words" (Nhat Pham, 2026-03-26), 16 bytes for each page of the disksize, static. Each read, write and free looks that
# up under the entry's own lock. What lies behind the entry is the allocator's, as with zswap.
"""zram: 16 bytes a slot, static, behind the swap table."""

from __future__ import annotations

from swaptable.designs._words import WordDesign
from swaptable.designs.says import BY_WALK

__all__ = ["Zram"]


class Zram(WordDesign):
    """zram, and block devices of tiers 2 and up beside it.

    Parameters
    ----------
    slots : int
        Its disksize, the header included.
    backend : str
        ``"disk"``: zswap in front of zram would compress twice.
    devices : int
        1 to 4, zram itself the first.
    """

    name = "zram"
    says = BY_WALK | {"transfer": "a slot on the other device and a walk of all page tables, which name the device"}

    def __init__(self, slots: int, backend: str = "disk", devices: int = 1) -> None:
        if backend == "zswap":
            from swaptable.errors import SwapValueError

            raise SwapValueError(22, "backend is 'zswap'; expected 'disk': zram compresses itself")
        super().__init__(slots, phase=4, backend=backend, devices=devices, zram=True)
