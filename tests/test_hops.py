# What an entry has after its data moved: the argument's figures, and what neither side counted.
# Imports the package and pytest.
# Used by pytest.
import pytest

from swaptable import designs
from swaptable.hops import GROUPS, hops


@pytest.mark.parametrize(
    ("spec", "slot", "ptes", "wasted"),
    [
        ("front-back", [8, 12, 12, 12], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("front-back:redirected=yes", [12, 12, 12, 12], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("front-back:owners=yes,contiguous=yes", [8, 12, 12, 12], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("redirect-chain", [8, 16, 24, 32], [0, 0, 0, 0], [0, 0, 1, 2]),
        ("vswap-16", [16, 16, 16, 16], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("vswap-16x", [12, 12, 12, 12], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("vswap-48", [48, 48, 48, 48], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("vswap-24", [24, 24, 24, 24], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("vswap-table", [16, 16, 16, 16], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("swap-table-p4", [8, 8, 8, 8], [0, 0, 1, 2], [1, 0, 0, 0]),
        ("old", [1, 1, 2, 3], [0, 0, 1, 2], [1, 0, 0, 0]),
        ("ghost:dynamic=yes", [8, 8, 8, 8], [0, 1, 2, 3], [0, 0, 0, 0]),
        ("zram", [8, 8, 8, 8], [0, 1, 2, 3], [0, 0, 0, 0]),
        ("pte-rmap", [8, 8, 8, 8], [0, 0, 1, 2], [1, 0, 0, 0]),
    ],
)
def test_hops(spec, slot, ptes, wasted):
    """8, 12, 16, 24: what an entry has, what a walk visits, what a move leaves behind; figures per entry."""
    for n in range(4):
        found = hops(spec, 32768, n, check=True)
        assert found.refused is None
        assert found.used == 32768 - 512
        # Of devices with a header, the clusters that the rest is in are not quite full.
        assert slot[n] <= found.groups["slot"] <= slot[n] * 1.04 + 0.15 * (n + 1)
        assert found.ptes / found.used == pytest.approx(ptes[n])
        assert found.wasted / found.used == pytest.approx(wasted[n])
        assert sum(found.groups.values()) == pytest.approx(found.total)


def test_owners_and_what_is_taken_are_apart():
    groups = {spec: hops(spec, 32768, 2).groups for spec in ("vswap-24", "vswap-table", "vswap-16", "vswap-48")}
    assert groups["vswap-24"]["owner"] == pytest.approx(8, rel=0.05)
    assert groups["vswap-table"]["owner"] == pytest.approx(8, rel=0.05)
    assert groups["vswap-48"]["owner"] == pytest.approx(9.14, rel=0.05)
    assert groups["vswap-16"]["owner"] == 0
    # A bit a block and 24 bytes for 512, on each of two devices.
    assert groups["vswap-16"]["taken"] == pytest.approx(2 * (1 / 8 + 24 / 512), rel=0.05)


def test_what_our_devices_have_beside_the_slots():
    groups = {spec: hops(spec, 262144, 2).groups for spec in ("front-back", "front-back:owners=yes")}
    # 72 bytes for 512 blocks on the device that has the data, and structure and pointer on both.
    assert groups["front-back"]["taken"] == pytest.approx(72 / 512 + 2 * (64 + 8) / 512, rel=0.05)
    assert groups["front-back"]["owner"] == 0
    assert groups["front-back:owners=yes"]["owner"] == pytest.approx(4, rel=0.05)


def test_the_pool_leads_from_numbers_to_objects_while_it_has_them():
    fresh, moved = (hops("front-back", 32768, n).groups["index"] for n in (0, 1))
    assert fresh == pytest.approx(8, rel=0.05)
    assert moved == pytest.approx(0, abs=0.001)


def test_a_design_that_cannot_move_data_says_so():
    found = hops("swap-table", 8192, 1)
    assert "front-back" in found.refused


def test_groups_name_kinds_that_exist():
    kinds = set()
    for name in designs.names():
        kinds |= set(designs.make(name, 4096).memory())
    assert {kind for group in GROUPS.values() for kind in group} <= kinds


def test_plain_values():
    found = hops("old", 4096, 0).to_dict()
    assert (found["hops"], found["refused"], found["used"]) == (0, None, 4096 - 512)
