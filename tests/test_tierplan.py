# Tiers of a replay: how they are written, that limits hold, and that each page's data is where the machine thinks.
# Imports the package, numpy and pytest.
# Used by pytest.
import errno

import numpy as np
import pytest
from test_replay import accesses

from swaptable import designs
from swaptable._replay import Machine
from swaptable._tierplan import TierPlan, parse_tiers
from swaptable._workload import load
from swaptable.errors import SwapError
from swaptable.replay import compare, replay

TIERS = "zswap=15%,ssd=20%,hdd"
POOLED = [name for name in designs.names() if name not in ("swap-table", "zram")]
WALKS = ("old", "swap-table-p1", "swap-table-p2", "swap-table-p3", "swap-table-p4", "ghost", "xswap", "zram")


@pytest.fixture(scope="module")
def work():
    return load(accesses(3, 40_000, 3000))


def test_parse():
    plan = parse_tiers(" zswap=25%, ssd=64M ,hdd")
    assert plan == TierPlan(("zswap", "ssd", "hdd"), (0.25, 64 << 20))
    assert plan.limits(1000) == [250, 16384, None]
    assert parse_tiers("ssd=10%,hdd").limits(1001) == [None, 101, None]
    assert parse_tiers(plan) is plan


@pytest.mark.parametrize(
    "text",
    ["", "zswap", "zswap=10%", "zswap,ssd", "zswap=10%,ssd=10%", "ssd=10%,zswap", "a=10%,a", "a=0%,b", "a=x,b",
     "a b=1M,c", "a=1M,b=1M,c=1M,d=1M,e"],
)  # fmt: skip
def test_parse_refuses(text):
    with pytest.raises(ValueError, match=r"tiers are|memory is"):
        parse_tiers(text)


@pytest.mark.parametrize("name", POOLED)
def test_data_is_where_the_machine_thinks_it_is(name, work):
    plan = parse_tiers(TIERS)
    options = plan.switches(name) | ({"block": True} if name == "ghost" else {})
    design = designs.make(name, 4096, **options)
    machine = Machine(design, work.pages, 800, 0, False, plan.limits(work.pages), 3 * 4096)
    limits = plan.limits(work.pages)
    for part in np.array_split(work.events, 10):
        machine.run(part)
        machine.check()
        design.check()
        # One reclaim may add its batch before the worker comes.
        assert all(tier["pages"] <= limits[tier["tier"]] for tier in machine.tiers[:2])
    zswap, ssd, hdd = machine.tiers
    assert (zswap["limit"], ssd["limit"], hdd["limit"]) == (450, 600, None)
    assert min(tier["reads"] for tier in machine.tiers) > 0
    assert sum(tier["reads"] for tier in machine.tiers) == machine.stats["pswpin"]
    assert zswap["moved"] >= ssd["moved"] > 0 == hdd["moved"]
    assert (machine.counters["ptes"] > 0) == (name in (*WALKS, "pte-rmap"))


def test_the_machine_is_the_same_for_virtual_designs(work):
    names = [name for name in POOLED if name.startswith(("vswap", "front", "redirect"))]
    names += ["front-back:redirected=yes", "front-back:owners=yes"]
    first, *others = compare(work, names, "30%", tiers=TIERS)
    for other in others:
        assert (other.vmstat, other.tiers) == (first.vmstat, first.tiers)
    assert first.vmstat["pgfault"] == replay(work, "vswap-24", memory="30%").vmstat["pgfault"]
    assert [tier["name"] for tier in first.tiers] == ["zswap", "ssd", "hdd"]


def test_a_walk_sees_every_page_for_each_batch(work):
    result = replay(work, "swap-table-p4", memory="30%", tiers="ssd=25%,hdd")
    assert result.tiers[0]["moved"] > 0
    assert result.counters["ptes"] % work.pages == 0
    # A batch is an eighth of the tier.
    batches = result.tiers[0]["moved"] / (0.25 * work.pages / 8)
    assert result.counters["ptes"] // work.pages == pytest.approx(batches, rel=0.1)
    assert replay(work, "front-back", memory="30%", tiers="ssd=25%,hdd").counters["ptes"] == 0


def test_whole_folios_move_page_by_page():
    page, write = accesses(6, 20_000, 4000)
    result = replay((page, write), "front-back", memory="40%", folio_order=4, tiers=TIERS, large_swapin=True)
    assert result.tiers[2]["peak"] > 0
    assert sum(tier["reads"] for tier in result.tiers) == result.vmstat["pswpin"]


def test_no_room_below_leaves_what_is_above(work):
    """The device has no room for all that is out: the pool keeps the rest, above its limit, and the run goes on."""
    result = replay(work, "front-back", memory="30%", swap="6M", tiers="zswap=5%,ssd")
    zswap, ssd = result.tiers
    assert zswap["peak"] > zswap["limit"] + 100
    assert ssd["peak"] == 1535


@pytest.mark.parametrize(
    ("name", "tiers", "message"),
    [
        ("zram", TIERS, "zram has no compressed pool"),
        ("ghost", "ssd=10%,hdd", "ghost has no block device"),
        ("swap-table-p4:backend=disk", TIERS, "another backend than the tiers"),
        ("old", "ssd", "tiers are 'ssd'"),
    ],
)
def test_tiers_that_a_design_has_not(work, name, tiers, message):
    with pytest.raises(ValueError, match=message):
        replay(work, name, tiers=tiers)


def test_a_design_that_cannot_move_data(work):
    with pytest.raises(SwapError, match=r"swap-table cannot transfer: .*front-back") as caught:
        replay(work, "swap-table", tiers="ssd=10%,hdd")
    assert caught.value.errno == errno.EOPNOTSUPP


BAD = [[], [None], [1], [1, 2], [None, None], [0, None], [1, None, 2, None], [1] * 8 + [None]]


@pytest.mark.parametrize("tiers", BAD)
def test_the_machine_refuses(tiers):
    with pytest.raises(ValueError, match="tiers are"):
        Machine(designs.make("old", 1024), 64, 32, tiers=tiers)


def test_plain_values(work):
    values = replay(work, "front-back", memory="30%", tiers=TIERS).to_dict()
    assert [set(tier) for tier in values["tiers"]] == [{"name", "tier", "limit", "pages", "peak", "reads", "moved"}] * 3
    assert replay(work, "front-back", memory="30%").to_dict()["tiers"] == ()
