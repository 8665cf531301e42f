# How a workload leaves the clusters of the swap table: how many, by the order that they serve and by slots in use.
# May import errors, cells, the designs and the replay.
# Used by the command line and programs.
"""Where fragmentation is: clusters by order and fill after a replay."""

from __future__ import annotations

from swaptable import designs
from swaptable.cells import Cell, load_workload, refusal
from swaptable.errors import SwapError
from swaptable.replay import replay

__all__ = ["occupancy"]


def occupancy(cell: Cell, slots: int) -> list[dict[str, int]]:
    """Replay a cell on the swap table without tiers, and count its clusters.

    Parameters
    ----------
    cell : Cell
        Its design and tiers do not matter.
    slots : int
        Of the device.

    Returns
    -------
    list of dict
        ``order``, ``filled`` (slots that are not free, 0 to 512) and ``clusters``, for those that there are; none where
        the device is too small.

    Notes
    -----
    Runtime: one replay.
    """
    design = designs.make("swap-table", slots)
    try:
        replay(load_workload(cell), design, memory=cell.memory, swap=cell.swap, large_swapin=cell.swapin == "folio")
    except SwapError as err:
        if refusal(err) is None:
            raise
        return []
    found = design.table.occupancy()  # type: ignore[attr-defined]
    rows = zip(*(axis.tolist() for axis in found.nonzero()), strict=True)
    return [{"order": order, "filled": filled, "clusters": int(found[order, filled])} for order, filled in rows]
