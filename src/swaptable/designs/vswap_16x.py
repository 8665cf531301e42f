# The design `vswap-16x`: a word and a 4-byte index for each virtual slot.
# May import the virtual slots of words.
# Used by the registry of designs.
#
# Models the variant of Yosry Ahmed's reply a day later (linux-mm, 2025-12-04): beside the 8-byte word 4 bytes that
# are an index into an xarray of zswap's objects, which stays, or else device and block: 12 bytes and the xarray while
# the data is in the pool, 12 afterwards. Inferred: 2 bits for the device and 30 for the block or index; the lowest
# free index is given out; one bit a block says that it is taken; nobody keeps its owner.
"""Virtual slots of 12 bytes: an 8-byte word, a 4-byte index."""

from __future__ import annotations

from swaptable.designs._virtual import VirtualDesign
from swaptable.designs.says import BY_TABLE, owners_say

__all__ = ["Vswap16x"]


class Vswap16x(VirtualDesign):
    """The 12-byte form; parameters are those of :class:`Vswap16`, with at most 3 devices of at most 2^30 slots."""

    name = "vswap-16x"

    def __init__(
        self, slots: int, backend: str = "disk", devices: int | None = None, index: str = "array", owners: bool = False
    ) -> None:
        super().__init__(
            slots, backend=backend, devices=devices, index=index, narrow=True, owners="table" if owners else "none"
        )
        self._owners = bool(owners)

    @property
    def says(self) -> dict[str, str]:
        """How the design does what not every design can."""
        return BY_TABLE | owners_say(self._owners)
