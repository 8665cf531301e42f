# Measured memory against the formulas: what they do not count is predicted here, kind by kind, from other constants.
# Imports the package, numpy and pytest.
# Used by pytest; the size of the letters is under the long mark.
import math

import pytest

from swaptable import footprint
from swaptable.published import FORMULAS, MIB, find

GIB = 262144
NODE, SLAB, PER_SLAB = 576, 16384, 28
BUILT = [formula for formula in FORMULAS if formula.spec is not None]
every_formula = pytest.mark.parametrize("formula", BUILT, ids=lambda f: f"{f.spec}-{f.backend}")


def nodes(n: int, each: int = 64) -> int:
    """Nodes of an xarray with n entries in a row."""
    total = 0
    while n > 1:
        n = math.ceil(n / each)
        total += n
    return total


def trees(slots: int) -> int:
    """Nodes of an xarray for every 64 MiB."""
    return slots // 16384 * nodes(16384)


def predicted(formula, slots: int) -> dict[str, float]:
    """What a full device has beyond the formula, by kind; slack apart."""
    name, disk, clusters = formula.spec.partition(":")[0], formula.backend == "disk", slots // 512
    beyond: dict[str, float] = {}
    phases = ("swap-table-p1", "swap-table-p2", "swap-table-p3", "swap-table-p4", "pte-rmap", "ghost", "xswap")
    if not disk and name in (*phases, "old", "redirect-chain"):
        beyond["zswap_nodes"] = trees(slots) * NODE - (0 if name == "redirect-chain" else 8 * slots)
        beyond["zswap_trees"] = slots // 16384 * 24
    if name == "old":
        beyond["cache_nodes"] = trees(slots) * NODE - 8 * slots
        beyond["cluster_info"] = 24 * clusters
        beyond["cache_spaces"] = slots // 16384 * 192
    if name == "swap-table-p3":
        beyond["cluster_info"] = 8 * clusters  # 40 bytes, not 32
    if name == "redirect-chain":
        beyond["cluster_info"] = 48 * clusters
    if name in ("vswap-48", "vswap-64"):
        beyond["xarray_nodes"] = nodes(slots) * NODE - 8 * slots
        if disk:
            beyond["reverse_map"] = nodes(slots) * NODE - 8 * slots
            beyond["device_cluster_info"] = 24 * clusters
    if name == "vswap-24" and disk:
        beyond["cluster_info"] = 32 * clusters
    if name in ("vswap-16", "vswap-16x"):
        beyond["cluster_info"] = math.ceil(clusters / 73) * 73 * 56  # a sparse array's pages of 73 structures
        beyond["rounding"] = math.ceil(clusters / 73) * (4096 - 73 * 56)
        if disk:
            beyond["bitmaps"] = slots / 8
            beyond["device_cluster_info"] = 24 * clusters
        elif name == "vswap-16x":
            beyond["object_nodes"] = nodes(slots) * NODE - 8 * slots
    if name == "vswap-table" or formula.spec == "ghost:dynamic=yes":
        beyond["rounding"] = 16 * clusters  # kmalloc-96
    if name == "xswap":
        beyond["rounding"] = math.ceil(clusters / 85) * 16
    if name == "vswap-24":
        beyond["xarray_nodes"] = nodes(clusters) * NODE  # the cover counts a header, not what finds it
    if name == "front-back":
        beyond |= ours(formula, clusters)
    return beyond


def ours(formula, clusters: int) -> dict[str, float]:
    """What front-back has beyond its formula: pointers to tables, structures of their own, unpacked clusters."""
    redirected, compact = "redirected" in formula.spec, "compact" in formula.spec
    beyond: dict[str, float] = {"clusters": 8 * clusters, "fixed": 10300 + 4800 * (1 + redirected)}
    if redirected:
        beyond["device_clusters"] = beyond["bitmaps"] = 8 * clusters
        beyond["limbo"] = beyond["pool"] = 16384  # records that readers could still see, and the rest of pages of them
    if compact:
        # 4,096 evictions since the last pass, and 4,096 that were too young for it: with the header's cluster.
        open_clusters = 2 * 4096 // 512
        beyond["tables"] = 4096 * open_clusters
        beyond["packed"] = (clusters - open_clusters) * (512 + 32) - 512 * clusters
        beyond["limbo"] = 12288
        beyond["pool"] = clusters / 120 * (65536 - 120 * 544) + 6000  # 120 records in 64 KiB; a table, the last page
    return beyond


def slack(found: footprint.Footprint, formula) -> float:
    """What slabs of 16 KiB have left of so many nodes, and of descriptors."""
    kinds = ["zswap_nodes", "cache_nodes", "xarray_nodes", "object_nodes"]
    size = {"vswap-48": 48, "vswap-64": 64}.get(found.design)
    if size:
        kinds.append("reverse_map")
    n = sum(found.kinds.get(kind, 0) for kind in kinds) // NODE
    total = math.ceil(n / PER_SLAB) * SLAB - n * NODE
    if size:
        per = (SLAB - 64) // size
        total += math.ceil(found.used / per) * SLAB - found.used * size
    return total


def held_against(formula, slots: int, check: bool) -> None:
    found = footprint.measure(formula.spec, slots, [100], formula.backend, formula=formula, check=check)[0]
    beyond = predicted(formula, slots)
    expected = formula.bytes(slots, slots) + sum(beyond.values()) + slack(found, formula)
    assert found.total == pytest.approx(expected, rel=0.01)
    assert found.used >= slots - 1
    # No kind hides what another has too much of: each is near what it should be, or too small to matter.
    for kind, size in found.terms.items():
        small = 0.004 * found.total + 6000
        assert size == pytest.approx(
            beyond.get(kind, slack(found, formula) if kind == "slab_slack" else 0), abs=small, rel=0.02
        )
    assert found.formula + sum(found.terms.values()) == pytest.approx(found.total)


@every_formula
def test_full_clusters_are_the_formula_and_what_it_does_not_count(formula):
    held_against(formula, GIB, check=True)


@pytest.mark.long
@every_formula
def test_full_clusters_of_the_letters_size(formula):
    held_against(formula, 32 * GIB, check=False)


@every_formula
def test_an_unused_device_costs_what_is_static(formula):
    found = footprint.measure(formula.spec, GIB, [0], formula.backend, formula=formula)[0]
    assert found.used == 0
    assert found.bytes_per_slot is None
    static = {"bitmaps", "cluster_info", "device_cluster_info", "device_tables", "device_memcg_tables", "zswap_trees",
              "cache_spaces", "tables", "memcg_tables", "pte_maps", "fixed", "clusters", "swap_map", "swap_cgroup",
              "zeromap", "zram_table", "device_clusters", "object_tables"}  # fmt: skip
    assert set(found.kinds) <= static
    # Tables of clusters with slots that are none, at most: the header's.
    assert found.total <= formula.bytes(GIB, 0) + predicted_static(formula)


def predicted_static(formula) -> float:
    beyond = predicted(formula, GIB)
    kinds = ("cluster_info", "device_cluster_info", "bitmaps", "cache_spaces", "zswap_trees", "fixed")
    return sum(beyond.get(kind, 0) for kind in kinds) + 4096 + 1024 + 4096 + 16384


def test_growth_with_use_is_monotonic_and_in_order():
    found = footprint.measure("vswap-table", 65536, [75, 0, 100, 25], "zswap")
    assert [one.use for one in found] == [0, 25, 75, 100]
    assert [one.used for one in found] == [0, 16384, 49152, 65536]
    totals = [one.total for one in found]
    assert totals == sorted(totals)


@pytest.mark.parametrize(
    ("spec", "backend", "each"),
    [
        ("swap-table-p2", "disk", 512 * 3.125 + 32 + 4096),
        ("swap-table-p4", "disk", 48 + 4096 + 1024),
        ("vswap-24", "zswap", 64 + 512 * 24),
        ("vswap-table", "zswap", 96 + 4096 + 4096 + 1024),
        ("vswap-table", "disk", 96 + 4096 + 4096 + 1024 + 48 + 4096),
        ("vswap-16", "zswap", 4096 / 73 + 4096 + 4096),
        ("swap-table", "disk", 64 + 4096),
        ("front-back", "disk", 64 + 8 + 4096),
    ],
)
def test_one_slot_in_each_cluster_keeps_the_whole_cluster(spec, backend, each):
    found = footprint.measure(spec, 65536, [50, 100], backend, "1-per-cluster", check=True)
    assert [one.used for one in found] == [64, 128]
    assert found[1].bytes_per_slot - found[1].kinds.get("fixed", 0) / 128 == pytest.approx(each, rel=0.02)


def test_random_frees_leave_every_cluster_in_use():
    found = footprint.measure("swap-table-p4", 65536, [5, 50, 100], live="random", seed=3, check=True)
    assert [one.used for one in found] == [3276, 32768, 65535]
    assert found[0].total == found[2].total
    again = footprint.measure("swap-table-p4", 65536, [5, 50, 100], live="random", seed=3)
    assert again == found


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (("ghost", 4096, [0], "disk"), {}, "ghost has no backend 'disk'"),
        (("zram", 4096, [0], "zswap"), {}, "zram has no backend 'zswap'"),
        (("old", 4096, [0]), {"live": "some"}, "live is 'some'; expected one of full-clusters"),
        (("older", 4096, [0]), {}, "no design is called 'older'"),
        (("old:deferred=no", 4096, [0]), {}, "old knows no switch .deferred"),
    ],
)
def test_measure_refuses(args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        footprint.measure(*args, **kwargs)


def test_plain_values():
    found = footprint.measure("old", 4096, [100], formula=find("old", "disk"))[0]
    values = found.to_dict()
    assert values["total"] == sum(values["kinds"].values()) == found.total
    assert values["bytes_per_slot"] == found.total / found.used
    assert found.total < MIB
