# Sweeps: the grid, the journal, the columns, processes that are lost, a Dask cluster.
# Imports the package, numpy and pytest; skips what wants pyarrow or distributed where they are not installed.
# Used by pytest.
import gc
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from swaptable import _sweepwork
from swaptable._sweepgrid import cells_of, read_grid
from swaptable._sweepjournal import Journal
from swaptable._sweeptable import columns_of, flat, read_columns, write_columns
from swaptable.cli import main
from swaptable.comparison import compare_all, default_designs
from swaptable.errors import SwapError
from swaptable.sweep import sweep

GRID = {
    "trace": ["synthetic:zipf,records=30000,pages=4000", "synthetic:phases,records=30000,pages=4000,working_set=1200"],
    "memory": ["30%", "50%"], "folio": "16K", "seed": [1, 2], "tiers": ["", "zswap=20%,hdd"],
    "design": ["swap-table", "front-back:redirected=yes", "old"],
}  # fmt: skip
CELLS = 2 * 2 * 2 * 2 * 3
HEAD = {"format": 1}


# ---- the grid


def test_every_combination_once_neighbours_read_the_same_trace():
    cells = cells_of(GRID)
    assert len(set(cells)) == len(cells) == CELLS
    workloads = [cell.workload for cell in cells]
    assert sum(a != b for a, b in itertools.pairwise(workloads)) == 2 * 2 - 1


def test_a_recorded_trace_has_one_seed():
    cells = cells_of({"trace": ["gcc", "synthetic:zipf,records=10"], "seed": [7, 8], "design": "old"})
    assert [(cell.trace[:3], cell.seed) for cell in cells] == [("gcc", 7), ("syn", 7), ("syn", 8)]


def test_what_is_left_out():
    cells = cells_of({"trace": "gcc"})
    assert [cell.design for cell in cells] == default_designs()
    assert {(cell.memory, cell.folio, cell.swapin, cell.tiers) for cell in cells} == {("50%", "64K", "page", None)}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "the grid has no trace"),
        ({"trace": "gcc", "memroy": "5%"}, "the grid has 'memroy'; expected trace, "),
        ({"trace": []}, "trace is an empty list"),
        ({"trace": ["gcc", "gcc"]}, "each value once"),
        ({"trace": "gcc", "seed": "1"}, "seed is '1'; expected whole numbers"),
        ({"trace": "gcc", "seed": True}, "seed is True"),
        ({"trace": "gcc", "seed": -1}, "seed is -1"),
        ({"trace": "gcc", "limit": 0}, "limit is 0; expected 1 or more"),
        ({"trace": "gcc", "design": "front-back:contiguous=maybe"}, "contiguous is 'maybe'; expected yes or no"),
        ({"trace": "gcc", "memory": 5}, "memory is 5; expected texts"),
        ({"trace": "gcc", "memory": ["50%", "0%"]}, "memory is '0%'"),
        ({"trace": "gcc", "memory": ""}, "memory is ''"),
        ({"trace": "gcc", "folio": "3K"}, "folio is '3K'"),
        ({"trace": "gcc", "swap": "none"}, "swap is 'none'"),
        ({"trace": "gcc", "swapin": "all"}, "swapin is 'all'"),
        ({"trace": "gcc", "tiers": "hdd"}, "tiers are 'hdd'"),
        ({"trace": "gcc", "design": "older"}, "'older'"),
        ({"trace": "gcc", "design": "old:colour=red"}, "old knows no switch 'colour'"),
        ({"trace": "synthetic:zipf,records=x"}, "expected synthetic:KIND"),
        ({"trace": "synthetic:phases,pages=9"}, "working_set is 16384"),
        ({"trace": "no-such"}, "no-such"),
    ],
)
def test_a_grid_that_is_wrong_is_refused_before_any_work(grid, message, tmp_path):
    with pytest.raises((ValueError, SwapError, RuntimeError, OSError), match=message):
        sweep(grid, tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_toml(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text("trace = [")
    with pytest.raises(ValueError, match=r"grid\.toml: "):
        read_grid(path)


# ---- the journal


def test_what_was_finished_is_there_again(tmp_path):
    path = tmp_path / "j"
    with Journal(path, HEAD) as journal:
        journal.add("a", {"x": 1})
        journal.add("b", {"x": 2})
    with path.open("ab") as file:
        file.write(b'{"key": "c", "ans')  # the machine stopped here
    with Journal(path, HEAD) as journal:
        assert journal.answers == {"a": {"x": 1}, "b": {"x": 2}}
        journal.add("c", {"x": 3})
    with Journal(path, HEAD) as journal:
        assert list(journal.answers) == ["a", "b", "c"]
    with Journal(path, HEAD, restart=True) as journal:
        assert journal.answers == {}


def test_journals_that_cannot_be_used(tmp_path):
    path = tmp_path / "j"
    with Journal(path, HEAD) as journal:
        journal.add("a", {})
        with pytest.raises(RuntimeError, match="another sweep is writing it"):
            Journal(path, HEAD)
    with pytest.raises(RuntimeError, match=r"was begun by .*'format': 1"):
        Journal(path, {"format": 2})
    path.write_bytes(path.read_bytes().replace(b'"answer"', b'"anwser"'))
    with pytest.raises(RuntimeError, match="line 2 is damaged"):
        Journal(path, HEAD)
    assert path.read_bytes().count(b"\n") == 2


def test_a_journal_without_an_answer_is_nobodys(tmp_path):
    path = tmp_path / "j"
    with Journal(path, HEAD):
        assert path.exists()
    assert not path.exists()
    path.write_text('{"format": 0}\n')  # the machine stopped before the first answer
    with Journal(path, HEAD) as journal:
        journal.add("a", {})
    with Journal(path, HEAD) as journal:
        assert journal.answers == {"a": {}}


# ---- columns


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_columns_come_back(ending, tmp_path):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    rows = [{"a": 1, "b": "x", "c": 1.5, "d": True}, {"a": 2, "b": None, "c": None, "e": 7}]
    columns = columns_of(rows)
    write_columns(tmp_path / f"x.{ending}", columns, {"m": 1})
    write_columns(tmp_path / f"y.{ending}", columns_of(rows), {"m": 1})
    assert (tmp_path / f"x.{ending}").read_bytes() == (tmp_path / f"y.{ending}").read_bytes()
    found, meta = read_columns(tmp_path / f"x.{ending}")
    assert meta == {"m": 1}
    assert list(found) == ["a", "b", "c", "d", "e"]
    if ending == "parquet":
        assert found == columns
        return
    assert (found["a"].dtype, found["a"].tolist()) == (np.int64, [1, 2])
    assert (found["b"].tolist(), found["d"].tolist(), found["e"].tolist()) == (["x", ""], [True, False], [-1, 7])
    assert found["c"][0] == 1.5 and np.isnan(found["c"][1])


def test_nested_values_have_names_with_points():
    assert flat({"a": {"b": 1}, "t": [{"n": "x"}, {"n": "y"}], "e": []}) == {"a.b": 1, "t.0.n": "x", "t.1.n": "y"}
    with pytest.raises(TypeError, match="column a has values of 2 kinds"):
        write_columns("x.npz", {"a": [1, "x"]}, {})


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"output is '.*x\.csv'; expected a name that ends in \.npz or \.parquet"):
        sweep(GRID, tmp_path / "x.csv")


# ---- runs


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The sweep in one process, without any mishap."""
    path = tmp_path_factory.mktemp("sweep") / "one.npz"
    done = sweep(GRID, path, jobs=1)
    assert (done.cells, done.resumed, done.refused) == (CELLS, 0, CELLS // 6)
    assert not path.with_name("one.npz.journal").exists()
    return path


def test_rows_are_what_the_comparison_counts(reference):
    columns, meta = read_columns(reference)
    assert meta["grid"] == GRID
    tiers = "zswap=20%,hdd"
    found = compare_all(GRID["trace"], GRID["memory"], ["16K"], GRID["design"], tiers=tiers, seed=2, runs=1)
    for row in found.rows:
        info = found.workloads[row.workload]
        same = (columns["trace"] == info.trace) & (columns["memory"] == info.memory) & (columns["seed"] == 2)
        (at,) = np.flatnonzero(same & (columns["tiers"] == tiers) & (columns["design"] == row.result.design))
        for name, value in flat(row.result.to_dict()).items():
            if name not in ("seconds", "events_per_second") and value is not None:
                assert columns[name][at] == value, name
    refused = columns["refused"] != ""
    assert set(columns["design"][refused]) == {"swap-table"}
    assert set(columns["refused"][refused]) == {"swap-table has no compressed pool of its own for a tier"}


def test_two_processes_write_the_same_bytes(reference, tmp_path):
    seen = []
    sweep(GRID, tmp_path / "two.npz", jobs=2, progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "two.npz").read_bytes() == reference.read_bytes()
    assert seen == [(k + 1, CELLS) for k in range(CELLS)]


class Stop(Exception):
    pass


def test_an_interrupted_sweep_goes_on(reference, tmp_path, monkeypatch):
    path = tmp_path / "some.npz"

    def stop(done, total):
        if done == 20:
            raise Stop

    with pytest.raises(Stop):
        sweep(GRID, path, jobs=2, progress=stop)
    assert not path.exists()
    run, asked = _sweepwork.in_processes, []
    monkeypatch.setattr("swaptable.sweep.in_processes", lambda tasks, jobs: asked.extend(tasks) or run(tasks, jobs))
    done = sweep(GRID, path, jobs=2)
    assert (done.resumed, len(asked)) == (20, CELLS - 20)
    assert path.read_bytes() == reference.read_bytes()


def test_a_longer_grid_has_what_is_done_already(tmp_path):
    path, part = tmp_path / "x.npz", GRID | {"memory": "30%", "seed": 1}

    def stop(done, total):
        if done == total:
            raise Stop

    with pytest.raises(Stop):
        sweep(part, path, jobs=1, progress=stop)
    done = sweep(part | {"memory": ["30%", "60%"]}, path, jobs=1)
    assert (done.resumed, done.cells) == (12, 24)


def test_a_trace_that_changed_is_run_again(tmp_path):
    from swaptable.trace import save_trace

    trace, path = tmp_path / "a.npz", tmp_path / "x.npz"
    grid = {"trace": str(trace), "design": ["old", "ghost"], "folio": "4K"}

    def stop(done, total):
        if done == total:
            raise Stop

    for pages, resumed in ((500, 0), (700, 0), (700, 2)):
        if not resumed:
            save_trace(trace, np.arange(2 * pages, dtype=np.uint64) % pages, np.ones(2 * pages, bool), {})
        with pytest.raises(Stop) if not resumed else open(os.devnull):
            done = sweep(grid, path, jobs=1, progress=stop if not resumed else None)
    assert done.resumed == 2
    assert read_columns(path)[0]["footprint_pages"].tolist() == [700, 700]


def test_a_lost_process_loses_no_finished_result(reference, tmp_path):
    killed, seen = [], []

    def kill(done, total):
        seen.append(done)
        if done in (10, 25):
            child = multiprocessing.active_children()[0]
            os.kill(child.pid, signal.SIGKILL)
            killed.append(child.pid)

    path = tmp_path / "x.npz"
    sweep(GRID, path, jobs=2, progress=kill)
    assert len(set(killed)) == 2
    assert seen == list(range(1, CELLS + 1))
    assert path.read_bytes() == reference.read_bytes()
    assert not multiprocessing.active_children()


def suicide(task):
    os.kill(os.getpid(), signal.SIGKILL)


def test_work_that_ends_every_process_ends_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(_sweepwork, "do", suicide)
    with pytest.raises(RuntimeError, match="3 worker processes ended one after the other"):
        sweep(GRID, tmp_path / "x.npz", jobs=1)
    assert not list(tmp_path.iterdir())  # nothing was done that a journal could keep


def test_parquet_has_the_same_values(reference, tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "x.parquet"
    sweep(GRID, path, jobs=2)
    found, meta = read_columns(path)
    columns, also = read_columns(reference)
    assert meta == also
    assert list(found) == list(columns)
    for name, column in columns.items():
        for value, one in zip(column.tolist(), found[name], strict=True):
            assert one == value or (one is None and value in (-1, "", False)) or (one is None and np.isnan(value))


# ---- a Dask cluster of two processes


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options, silence_logs=50) as cluster:
        yield cluster


def workers(cluster):
    """The process of each worker, by the worker's address."""
    from distributed import Client

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        return client.run(os.getpid)


def test_a_cluster_writes_the_same_bytes(reference, cluster, tmp_path):
    assert len(workers(cluster)) == 2
    sweep(GRID, tmp_path / "x.npz", dask=cluster.scheduler_address)
    assert (tmp_path / "x.npz").read_bytes() == reference.read_bytes()


def test_a_worker_that_is_killed_half_way_changes_nothing(reference, cluster, tmp_path):
    from distributed import Client

    address, victim = workers(cluster).popitem()
    # Stopped before it is given anything, it still has that when it is killed, however slow or fast we are.
    os.kill(victim, signal.SIGSTOP)
    seen, given = [], []

    def kill(done, total):
        seen.append(done)
        if done == total // 2:
            with Client(cluster.scheduler_address, set_as_default=False) as client:
                given.extend(client.processing()[address])
            os.kill(victim, signal.SIGKILL)

    sweep(GRID, tmp_path / "x.npz", dask=cluster.scheduler_address, progress=kill)
    assert given
    assert seen == list(range(1, CELLS + 1))
    assert (tmp_path / "x.npz").read_bytes() == reference.read_bytes()
    assert victim not in workers(cluster).values()


def test_results_that_a_killed_worker_had_not_handed_over_are_made_again(reference, cluster, tmp_path):
    from distributed import Client

    _, victim = workers(cluster).popitem()

    def kill(done, total):
        if done == 1:
            with Client(cluster.scheduler_address, set_as_default=False) as client:
                while any(client.processing().values()):
                    time.sleep(0.01)
            os.kill(victim, signal.SIGKILL)

    sweep(GRID, tmp_path / "x.npz", dask=cluster.scheduler_address, progress=kill)
    assert (tmp_path / "x.npz").read_bytes() == reference.read_bytes()
    assert victim not in workers(cluster).values()


def test_nobody_at_the_address(tmp_path, capsys):
    pytest.importorskip("distributed")
    grid = tmp_path / "grid.toml"
    grid.write_text('trace = "gcc"\ndesign = "old"\nlimit = 1000\n')
    for address in ("nonsense://127.0.0.1:1", "nonsense"):
        assert main(["sweep", str(grid), "--dask", address]) == 1
        gc.collect()  # a client that was never one complained then
        err = capsys.readouterr().err
        assert f"no Dask scheduler at {address}: " in err
        assert err.count("\n") == 1
    assert os.listdir(tmp_path) == ["grid.toml"]


# ---- the command


def test_why_a_cell_was_refused(tmp_path, capsys):
    grid = tmp_path / "grid.toml"
    grid.write_text('trace = "gcc"\ndesign = "old"\nlimit = 100000\nswap = "1M"\n')
    assert main(["sweep", str(grid), "--jobs", "1"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("grid.npz: 1 cell, 1 refused")
    assert second.startswith("refused: out of memory at event ")


def test_the_command(tmp_path, capsys):
    grid = tmp_path / "grid.toml"
    grid.write_text('trace = "gcc"\ndesign = ["old", "ghost"]\nlimit = 20000\nmemory = ["40%", "60%"]\n')
    assert main(["sweep", str(grid), "--jobs", "1"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'grid.npz'}: 4 cells\n"
    assert read_columns(tmp_path / "grid.npz")[0]["design"].tolist() == ["old", "ghost"] * 2
    assert main(["sweep", str(grid), "--jobs", "1", "--json", "--output", str(tmp_path / "x.npz")]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1, "command": "sweep", "output": str(tmp_path / "x.npz"), "cells": 4, "resumed": 0, "refused": 0,
        "reason": None,
    }  # fmt: skip
    assert main(["sweep", str(tmp_path / "none.toml")]) == 1
    assert capsys.readouterr().err == f"swaptable: {tmp_path / 'none.toml'}: No such file or directory\n"
    assert main(["sweep", str(grid), "--jobs", "0"]) == 2
    assert main(["sweep", str(grid), "--output", "x.txt"]) == 2
    grid.write_text("traec = 1\n")
    assert main(["sweep", str(grid)]) == 2
    assert "'traec'" in capsys.readouterr().err


def test_an_interrupt_leaves_the_journal(tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text(f'trace = "synthetic:zipf,records=40000,pages=9000"\nseed = {list(range(200))}')
    command = [sys.executable, "-m", "swaptable", "sweep", str(grid), "--jobs", "1"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, their children too
    journal = tmp_path / "grid.npz.journal"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as child:
        end = time.monotonic() + 60
        while time.monotonic() < end and (not journal.exists() or journal.read_bytes().count(b"\n") < 5):
            time.sleep(0.05)
        os.killpg(child.pid, signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, "swaptable: interrupted\n")
    assert journal.read_bytes().count(b"\n") >= 5
    assert not (tmp_path / "grid.npz").exists()
