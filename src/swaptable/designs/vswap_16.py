# The design `vswap-16`: a word and a pointer for each virtual slot.
# May import the virtual slots of words.
# Used by the registry of designs.
#
# Models the fully optimised form of virtual swap that Yosry Ahmed argued for (linux-mm, 2025-12-03): the 8-byte word of
# the swap table and 8 bytes that point to the data, 16 wherever it is. The memcg id is in the word. He did not say how
# a device knows that a block is taken (here one bit a block) nor who owns it (here nobody: swapoff looks through the
# front; `owners=True` keeps 8 bytes a block), nor how a cluster is found (here a sparse array; `index=`).
"""Virtual slots of 16 bytes: an 8-byte word, an 8-byte pointer."""

from __future__ import annotations

from swaptable.designs._virtual import VirtualDesign
from swaptable.designs.says import BY_TABLE, owners_say

__all__ = ["Vswap16"]


class Vswap16(VirtualDesign):
    """The 16-byte form.

    Parameters
    ----------
    slots, backend, devices
        As in :class:`VirtualDesign`.
    index : str
        ``"array"``, ``"xarray"`` or ``"flat"``.
    owners : bool
        8 bytes a used block lead back to its entry.
    """

    name = "vswap-16"

    def __init__(
        self, slots: int, backend: str = "disk", devices: int | None = None, index: str = "array", owners: bool = False
    ) -> None:
        super().__init__(slots, backend=backend, devices=devices, index=index, owners="table" if owners else "none")
        self._owners = bool(owners)

    @property
    def says(self) -> dict[str, str]:
        """How the design does what not every design can."""
        return BY_TABLE | owners_say(self._owners)
