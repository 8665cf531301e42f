# The design `vswap-64`: a descriptor of 64 bytes for every virtual slot.
# May import the virtual slots with descriptors.
# Used by the registry of designs.
#
# Models Nhat Pham's "Virtual Swap Space" RFC v1 (April 2025): as v2 with a descriptor of 64 bytes, before place,
# cache and shadow shared fields.
"""Virtual swap space RFC v1: 64-byte descriptors."""

from __future__ import annotations

from swaptable.designs._vswap48 import DescriptorDesign
from swaptable.designs.says import BY_DESCRIPTOR

__all__ = ["Vswap64"]


class Vswap64(DescriptorDesign):
    """Descriptors of 64 bytes; parameters are those of :class:`DescriptorDesign`."""

    name = "vswap-64"
    says = BY_DESCRIPTOR

    def __init__(self, slots: int, backend: str = "disk", devices: int | None = None) -> None:
        super().__init__(slots, size=64, backend=backend, devices=devices)
