# The design `vswap-48`: a descriptor of 48 bytes for every virtual slot.
# May import the virtual slots with descriptors.
# Used by the registry of designs.
#
# Models Nhat Pham's "Virtual Swap Space" RFC v2 (2025-04-29): one xarray from the virtual slot to a descriptor of 48
# bytes, which has the place of the data, the swap cache's folio or the shadow, the count and the memcg id. Its users
# measured a 53.5 % longer free time and blamed the lock of the swap cache. The 48 bytes are what Chris Li quoted on
# 2025-11-29.
"""Virtual swap space RFC v2: 48-byte descriptors."""

from __future__ import annotations

from swaptable.designs._vswap48 import DescriptorDesign
from swaptable.designs.says import BY_DESCRIPTOR

__all__ = ["Vswap48"]


class Vswap48(DescriptorDesign):
    """Descriptors of 48 bytes; parameters are those of :class:`DescriptorDesign`."""

    name = "vswap-48"
    says = BY_DESCRIPTOR

    def __init__(self, slots: int, backend: str = "disk", devices: int | None = None) -> None:
        super().__init__(slots, size=48, backend=backend, devices=devices)
