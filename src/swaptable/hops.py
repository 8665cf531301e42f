# The metadata of designs after their data has moved from tier to tier, and what the moves cost.
# May import designs, footprint and the address spaces.
# Used by the command line and tests.
"""Bytes that an entry has after its data moved zswap -> SSD -> HDD: the argument of 8, 12, 16 or 24, measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from swaptable import designs
from swaptable._spaces import AddressSpaces
from swaptable.footprint import option

if TYPE_CHECKING:
    from swaptable.designs._design import Design

__all__ = ["GROUPS", "HopFootprint", "hops"]

CLUSTER = 512

GROUPS: dict[str, tuple[str, ...]] = {
    "slot": ("tables", "packed", "locations", "virtual_tables", "index_tables", "descriptors", "swap_map"),
    "index": (
        "zswap_nodes", "zswap_trees", "object_nodes", "object_tables", "xarray_nodes", "cache_nodes", "cache_spaces",
    ),
    "taken": ("bitmaps", "device_cluster_info", "device_clusters"),
    "owner": ("device_tables", "reverse_map", "device_memcg_tables", "pte_maps", "pte_links", "owners"),
    "memcg": ("memcg_tables", "swap_cgroup"),
}  # fmt: skip
"""What bytes are for: what the entry itself has, what finds things, what a lower device needs to know that a block is
taken and whose it is, who pays; the rest (cluster info, rounding, other arrays) is ``other``."""


@dataclass(frozen=True)
class HopFootprint:
    """The metadata of a design after its data has moved down a number of tiers.

    Attributes
    ----------
    design : str
    hops : int
        Moves since the data was swapped out: 0 in the compressed pool (on the first device where there is none), 1 on
        the first block device, and so on.
    used : int
        Entries.
    groups : dict of str to float
        Bytes an entry by what they are for, see :data:`GROUPS`.
    total : float
        Bytes an entry.
    ptes, wasted : int
        Page table entries visited by all moves; slots and blocks that are taken and hold no data afterwards.
    refused : str or None
        Why data could not be moved that often; the figures are of the last move that could be made.
    """

    design: str
    hops: int
    used: int
    groups: dict[str, float]
    total: float
    ptes: int
    wasted: int
    refused: str | None

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values with stable keys, for JSON."""
        return asdict(self)


def _groups(design: Design, used: int) -> dict[str, float]:
    """Bytes an entry by what they are for."""
    memory = design.memory()
    groups = {group: sum(memory.get(kind, 0) for kind in kinds) / used for group, kinds in GROUPS.items()}
    return groups | {"other": design.bytes / used - sum(groups.values())}


def hops(spec: str, slots: int, n: int, *, check: bool = False) -> HopFootprint:
    """Swap a process out, move all its data down *n* times, and count what each entry has then.

    Parameters
    ----------
    spec : str
        As for :func:`swaptable.designs.make`.
    slots : int
        Of each device; the process has 512 pages less, for the header's cluster.
    n : int
        0 to 3: zswap, then one block device after the other; where the design has no pool, it begins on the first.
    check : bool
        Verify the design and follow every page table entry to its data at the end.

    Notes
    -----
    As many devices are there as the data has passed. A design whose entries name the device walks the page tables of
    the one process; with more address space that would be more.
    """
    options = option(spec, "zswap")
    start = 0 if options is not None else 1
    options = option(spec, "disk") if options is None else options
    switches: dict[str, Any] = dict(options or {})
    if designs.parse(spec)[0] != "swap-table":
        switches["devices"] = _devices(spec, start + n)
    design = designs.make(spec, slots, **switches)
    pages = max(1, slots - CLUSTER)
    spaces = AddressSpaces(design, pages)
    spaces.populate()
    spaces.swap_out(np.arange(pages))
    refused = _move(design, spaces, range(start + 1, start + n + 1))
    if check:
        design.check()
        spaces.verify()
    used = len(spaces.entries())
    counters = design.counters
    return HopFootprint(
        spec, n, used, _groups(design, used), design.bytes / used, counters["ptes"], design.wasted, refused
    )


def _devices(spec: str, tiers: int) -> int:
    """Block devices that a design needs for that many tiers below the pool; some have one of their own."""
    return max(tiers, int(designs.parse(spec)[0] in _WITH_A_DEVICE))


_WITH_A_DEVICE = ("old", "swap-table-p1", "swap-table-p2", "swap-table-p3", "swap-table-p4", "pte-rmap", "zram")


def _move(design: Design, spaces: AddressSpaces, tiers: range) -> str | None:
    """All data to one tier after the other; why not, when one of them refuses."""
    for tier in tiers:
        try:
            spaces.transfer(spaces.entries(), tier)
        except OSError as err:
            return str(err.strerror)
    return None
