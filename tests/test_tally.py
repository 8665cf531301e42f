# The report: every byte is where it was counted, and the parts add up.
# Imports the package.
# Used by pytest; every test ends in check().
import json

import numpy as np
import pytest
from page_mix import mix
from test_space import MIB, noise, text

from swaptable._tally import COLUMNS
from swaptable.backends.memory import MemoryBackend
from swaptable.backends.zram import ZramBackend
from swaptable.memcg import MemcgTree
from swaptable.space import SwapSpace


@pytest.fixture
def space():
    tree = MemcgTree()
    with SwapSpace(memcg=tree) as made:
        made.add_zswap("lz4", limit=4 * MIB, priority=100)
        made.swapon(None, size=MIB, grow=True, name="ghost", priority=50)
        made.swapon(backend=MemoryBackend(2048), name="disk", priority=5)
        yield made
        made.check()


def test_it_adds_up(space):
    a, b = space.memcg.mkdir("a"), space.memcg.mkdir("a/b")
    for group, seed in ((None, 1), (a, 2), (b, 3)):
        space.swap_out_many(mix(400, seed), memcg=group)
    space.writeback(200)
    found = space.report().to_dict()
    assert json.loads(space.report().to_json()) == found
    tiers = {tier["name"]: tier for tier in found["tiers"]}
    assert [tier["name"] for tier in found["tiers"]] == ["zswap0", "ghost", "disk"]
    for device in space.devices:
        tier, memory = tiers[device.name], device.memory()
        assert tier["metadata"] + tier["buffers"] + tier["medium"] + tier["pool"] == memory["total"]
    ghost, pool = tiers["ghost"], tiers["zswap0"]
    assert (ghost["slots"], ghost["front"]["words"], ghost["front"]["locations"]) == (1200, 3 * 4096, 3 * 2048)
    located = int((space.devices["ghost"].table.locs(np.arange(1, 1201)) != 0).sum())
    assert ghost["slack"] == 3 * 6144 - 8 * 1200 - 4 * located
    assert ghost["pages"] == 0 and pool["pages"] + tiers["disk"]["pages"] == located
    counts = space.devices["zswap0"].backend.counts()
    assert (pool["pages"], pool["pool"], pool["compressed"]) == (
        counts["stored"],
        counts["pages"] * 4096,
        counts["bytes"],
    )
    assert pool["slack"] == pool["pool"] - pool["compressed"]
    groups = {group["path"]: group for group in found["groups"]}
    assert sum(group["slots"] for group in groups.values()) == 1200
    assert sum(group["pool"] for group in groups.values()) == pool["compressed"]
    assert groups["a/b"]["pool"] == b.zswap_own and groups["a"]["slots"] == 400
    metadata = sum(group["metadata"] for group in groups.values())
    assert metadata == 8 * 1200 + 4 * located + 12 * pool["pages"]
    slack = sum(group["slack"] for group in groups.values())
    assert found["total"]["slack"] - 8 < slack <= found["total"]["slack"]


def test_a_table_for_people(space):
    space.swap_out_many(np.concatenate([text(200), noise(100)]))
    lines = str(space.report()).splitlines()
    assert lines[0].split() == " ".join(COLUMNS).split()
    assert lines[2].split()[:7] == ["ghost", "ghost", "50", "300", "0", "6,144", "0"]
    assert [line.split()[0] for line in lines] == ["tier", "zswap0", "ghost", "disk"]


def test_a_device_that_is_off_is_in_it(space):
    space.swap_out_many(text(100))
    space.swapoff("ghost")
    tier = space.report().tiers[1]
    assert (tier.name, tier.on, tier.slots, tier.front["words"]) == ("ghost", False, 100, 4096)


def test_zram_is_a_pool_too():
    with SwapSpace() as space:
        device = space.swapon(backend=ZramBackend(1024), name="zram")
        space.swap_out_many(mix(300, 4))
        tier, memory = space.report().tiers[0], device.memory()
        assert tier.back["table"] == 16384 and tier.compressed == device.backend.counts()["bytes"]
        assert tier.metadata + tier.buffers + tier.medium + tier.pool == memory["total"]
        space.check()


def test_folios_by_size(space):
    space.swap_out_many(np.concatenate([text(64), noise(64)]), order=4)
    report = space.report()
    assert report.sizes == {"hugepages-64kB": {"swpout": 4, "zswpout": 4}}
    assert report.vmstat["zswpout"] == report.vmstat["pswpout"] == 64 and report.cache["cached"] == 0
