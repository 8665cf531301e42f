# Cells and comparisons: what is replayed, what is subtracted, who is refused; and where figures come from.
# Imports the package, numpy and pytest.
# Used by pytest.
import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from swaptable import designs, provenance
from swaptable.cells import Cell, load_workload, refusal, run_cell, seeded, short_name
from swaptable.comparison import compare_all, default_designs, usage
from swaptable.errors import SwapMemoryError, SwapValueError
from swaptable.footprint import measure
from swaptable.replay import replay
from swaptable.trace import save_trace

ZIPF = "synthetic:zipf,records=20000,pages=3000"


@pytest.fixture
def trace(tmp_path):
    rng = np.random.default_rng(4)
    path = tmp_path / "some.npz"
    save_trace(path, rng.integers(0, 3000, 8000, dtype=np.uint64), rng.random(8000) < 0.3, {})
    return str(path)


def test_every_design_is_compared_and_ours_in_its_forms():
    names = default_designs()
    assert set(designs.names()) < set(names)
    assert [name for name in names if ":" in name] == [
        "front-back:contiguous=yes", "front-back:redirected=yes", "front-back:compact=yes",
    ]  # fmt: skip


def test_traces_limits_and_sizes_at_once(trace):
    found = compare_all([trace, ZIPF], ["30%", "50%"], ["4K", "64K"], ["old", "ghost"], runs=1, seed=3)
    assert [(load.trace == trace, load.folio, load.memory, load.seed) for load in found.workloads] == [
        (first, folio, memory, None if first else 3)
        for first in (True, False) for folio in ("4K", "64K") for memory in ("30%", "50%")
    ]  # fmt: skip
    assert [row.workload for row in found.rows] == [k for k in range(8) for _ in "ab"]
    row = found.of(5)[0]
    alone = replay(load_workload(Cell(ZIPF, "50%", "4K", "old", 3)), "old", memory="50%")
    assert (row.result.vmstat, row.result.counters) == (alone.vmstat, alone.counters)
    values = found.to_dict()
    assert values["results"][3]["vmstat"] == found.rows[3].result.vmstat
    assert values["results"][3]["workload"] == 1


def test_the_machines_own_time_is_subtracted(trace):
    found = compare_all([trace], designs=["null", "old"], folio=["4K"], runs=3)
    (load,) = found.workloads
    for row in found.rows:
        assert row.design_seconds == row.result.seconds - load.harness_seconds
        ops = row.result.counters["ops"]
        assert row.ns_per_op == (row.design_seconds * 1e9 / ops if ops else None)
    assert load.runs == 3


def test_a_seed_draws_another_trace():
    first, second, again = (load_workload(Cell(ZIPF, "50%", "4K", "old", seed)) for seed in (1, 2, 1))
    assert np.array_equal(first.events, again.events)
    assert not np.array_equal(first.events, second.events)
    assert (seeded(ZIPF), seeded("gcc")) == (True, False)
    assert (short_name("/a/b.npz"), short_name(ZIPF)) == ("b", ZIPF)


def test_who_cannot_is_refused_and_a_mistake_is_not(trace):
    found = compare_all([trace], designs=["zram", "old"], tiers="zswap=20%,hdd", runs=1)
    assert [(one.workload, one.design) for one in found.refused] == [(0, "zram")]
    assert [row.result.design for row in found.rows] == ["old"]
    with pytest.raises(ValueError, match="colour"):
        compare_all([trace], designs=["old:colour=red"], runs=1)
    assert refusal(SwapValueError("x")) is None
    assert refusal(SwapMemoryError(errno.ENOMEM, "out of memory")) == "out of memory"


def test_tiers_are_the_cells(trace):
    tiers = "zswap=10%,ssd=20%,hdd"
    cell = Cell(trace, "30%", "16K", "vswap-table", tiers=tiers, limit=6000, swapin="folio", swap="64M")
    result = run_cell(cell, load_workload(cell))
    assert [tier["name"] for tier in result.tiers] == ["zswap", "ssd", "hdd"]
    assert (result.events, result.large_swapin, result.swap_slots) == (6000, True, 16384)


def test_usage_is_what_is_measured():
    found = usage(["old", "ghost", "null", "swap-table-p4:backend=zswap"], 8192, (50, 100), seed=2)
    assert [(one["design"], one["backend"], one["live"], one["use"]) for one in found] == [
        (design, backend, live, use)
        for design, backend in (("old", "disk"), ("ghost", "zswap"), ("swap-table-p4:backend=zswap", "zswap"))
        for live in ("full-clusters", "random") for use in (50, 100)
    ]  # fmt: skip
    assert found[0]["total"] == measure("old", 8192, [50])[0].total
    assert usage(["old", "ghost"], 8192, (100,), pool=True)[0]["backend"] == "zswap"


def test_where_figures_come_from(tmp_path):
    made = provenance.made_by(["compare", "a b"])
    assert made["command"] == "swaptable compare 'a b'"
    assert set(made) == {"command", "version", "commit", "machine"}
    commit = provenance.commit()
    assert commit is None or (len(commit.rstrip("+")) == 40 and int(commit.rstrip("+"), 16))
    # Somebody else's repository around an installation is not where the package comes from.
    run = {"cwd": tmp_path, "check": True, "capture_output": True, "text": True}
    code = "import sys; sys.path.insert(0, '.'); import fake; print(fake.commit())"
    try:
        subprocess.run(["git", "init", "-q", "."], **run)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here")
    (tmp_path / "fake.py").write_text(Path(provenance.__file__).read_text())
    assert subprocess.run([sys.executable, "-c", code], **run).stdout == "None\n"
