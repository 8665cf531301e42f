# Clusters after a replay, by order and fill: all slots in use are in them.
# Imports the package.
# Used by pytest.
from swaptable import designs
from swaptable.cells import Cell, load_workload
from swaptable.occupancy import occupancy
from swaptable.replay import replay


def test_every_slot_in_use_is_in_a_cluster():
    cell = Cell("synthetic:zipf,records=20000,pages=4000", "30%", "16K", "old", seed=3, tiers="zswap=20%,hdd")
    rows = occupancy(cell, 8192)
    design = designs.make("swap-table", 8192)
    replay(load_workload(cell), design, memory="30%")
    assert sum(row["filled"] * row["clusters"] for row in rows) == design.used + 1  # the header
    assert {row["order"] for row in rows} <= {0, 2}
    assert rows == occupancy(cell, 8192)


def test_a_device_that_is_too_small_has_none():
    assert occupancy(Cell("synthetic:zipf,records=20000,pages=4000", "30%", "16K", "old", swap="1M"), 256) == []
