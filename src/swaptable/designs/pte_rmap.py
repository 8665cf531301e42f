# The design `pte-rmap`: each slot knows the page table entries that name it.
# May import the devices of words.
# Used by the registry of designs.
#
# Models no posted series: the alternative to a level of indirection that comes up whenever swapoff does (Huang Ying to
# Yosry Ahmed, linux-mm, March 2023: without a reverse mapping the page tables must be walked). Phase 4 and a second
# table of 8 bytes a slot for each used cluster: one page table entry in place, several in a list of 16-byte links.
# Moving data and swapoff visit exactly the entries that are there; fork, exit and fault pay for it.
"""Phase 4 with a reverse map from slots to page table entries."""

from __future__ import annotations

from swaptable.designs._words import WordDesign

__all__ = ["PteRmap"]


class PteRmap(WordDesign):
    """Phase 4 with a reverse map to page table entries; parameters are those of :class:`WordDesign`."""

    name = "pte-rmap"
    says = {  # noqa: RUF012
        "fork": "dup, and a link of 16 bytes for each further page table entry",
        "transfer": "from the pool to the slot kept for it: the tree's entry goes; to another device: a slot there, "
        "and a visit to each page table entry that names the old one",
        "swapoff": "a visit to each page table entry that names a slot of the device",
    }

    def __init__(self, slots: int, backend: str = "disk", devices: int = 1) -> None:
        super().__init__(slots, phase=4, backend=backend, devices=devices, reverse=True)
