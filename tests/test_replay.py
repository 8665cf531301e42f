# The replay machine against its model, its conservation laws, and what it refuses.
# May import everything below the roof, and model_replay.
# Used by pytest.
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_replay import OutOfMemory, ReplayModel

from swaptable import designs
from swaptable._replay import Machine, PageMap, build_info
from swaptable._workload import Workload, load, parse_folio, parse_memory, parse_size
from swaptable.errors import SwapMemoryError, SwapValueError
from swaptable.replay import compare, replay

REAL = designs.names()
# The machine is the same for all: these see every case of it, the others a few.
FEW = ("swap-table", "old", "vswap-24", "null")
# What is read from the pool is gone there: the machine must know that the page is dirty.
POOLED = (
    "swap-table-p4:backend=zswap",
    "vswap-24:backend=zswap",
    "vswap-16x:backend=zswap",
    "ghost:dynamic=yes,block=yes",
)


def accesses(seed, n, pages):
    """Phases with a hot set each, so that both lists, refaults and clean pages come up."""
    rng = np.random.default_rng(seed)
    hot = rng.integers(0, pages, (n // 500 + 1, max(1, pages // 8)))
    cold = rng.random(n) < 0.3
    page = np.where(cold, rng.integers(0, pages, n), hot[np.arange(n) // 500, rng.integers(0, hot.shape[1], n)])
    return page.astype(np.uint64), rng.random(n) < 0.3


def run_both(name, order, limit, slots, large_swapin, page, write):
    """Machine and model on the same accesses, each with a design of its own; both may run out of memory."""
    numbers = PageMap(order)
    events = np.empty(len(page), np.uint32)
    numbers.map(page, write.view(np.uint8), events)
    machine = Machine(designs.make(name, slots), numbers.pages, limit, order, large_swapin)
    model = ReplayModel(designs.make(name, slots), limit, order, large_swapin)
    done, full = 0, False
    try:
        for event in events.tolist():
            model.access(event >> 1, bool(event & 1))
            done += 1
    except OutOfMemory:
        full = True
    if full:
        with pytest.raises(SwapMemoryError, match="out of memory at event"):
            machine.run(events)
    else:
        machine.run(events)
    return machine, model, done


def agree(machine, model, done):
    assert machine.events == done
    stats = machine.stats
    names = [name for name in stats if not name.startswith("thp")]
    assert {name: stats[name] for name in names} == {name: model.stat[name] for name in names}
    assert machine.counters == model.design.counters
    assert machine.metadata["bytes_final"] == model.design.bytes
    assert (machine.metadata["bytes_peak"], machine.metadata["used_at_peak"]) == model.peak
    machine.design.check()


MACHINES = [
    (0, 300, 1024, False),
    (0, 100, 4096, True),
    (0, 40, 700, False),  # swap nearly full: slots are given up, pages stay
    (0, 700, 4096, False),  # more memory than pages
    (1, 128, 1024, True),
    (2, 64, 800, False),
    (2, 200, 700, True),
    (4, 160, 2048, False),
    (4, 64, 720, False),
    (4, 256, 1024, True),
    (6, 128, 1500, True),
    (9, 512, 4096, False),
    (9, 1024, 2048, True),
]


@pytest.mark.parametrize(
    ("name", "machine"),
    [(name, machine) for name in FEW for machine in MACHINES]
    + [(name, MACHINES[i]) for name in (*REAL, *POOLED) if name not in FEW for i in (2, 4, 6, 7)],
    ids=str,
)
def test_machine_agrees_with_model(name, machine):
    order, limit, swap, large_swapin = machine
    if name == "null" and order:
        pytest.skip("the null design's runs are not aligned, which its Python face refuses")
    page, write = accesses(order * 1000 + limit, 6000, 640)
    machine, model, done = run_both(name, order, limit, swap, large_swapin, page, write)
    agree(machine, model, done)
    if done == len(page):
        machine.check()


@pytest.mark.parametrize("name", REAL)
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    order=st.integers(0, 5),
    folios=st.integers(1, 12),
    slots=st.integers(2, 700),
    large_swapin=st.booleans(),
)
def test_machine_agrees_with_model_anywhere(name, seed, order, folios, slots, large_swapin):
    page, write = accesses(seed, 700, 300)
    machine, model, done = run_both(name, order, folios << order, slots, large_swapin, page, write)
    agree(machine, model, done)


@pytest.mark.parametrize("large_swapin", [False, True])
@pytest.mark.parametrize("order", [0, 2, 4])
def test_conservation(order, large_swapin):
    page, write = accesses(7, 20000, 2000)
    for result in compare((page, write), REAL, "40%", 4096 << order, large_swapin=large_swapin):
        stat = result.vmstat
        assert stat["pgfault"] == stat["first_touch"] + stat["pgmajfault"]
        assert stat["first_touch"] << order == result.footprint_pages
        assert stat["pswpin"] == stat["pgmajfault"] + stat["swpin"] * ((1 << order) - 1) == stat["workingset_refault"]
        assert stat["pswpout"] <= stat["pgsteal"] <= stat["pgscan"]
        assert stat["pgmajfault"] > 0
        resident = result.footprint_pages + stat["pswpin"] - stat["pgsteal"]
        assert 0 < resident <= result.memory_pages
        assert result.used_final <= result.swap_slots - 1
        assert result.bytes_start <= result.bytes_peak >= result.bytes_final
        if large_swapin:
            assert stat["pswpout"] == stat["pgsteal"]  # no slot is ever kept
            assert result.used_final == result.footprint_pages - resident


@pytest.mark.skipif("swap-table" not in REAL, reason="the swap table's design is not built")
@pytest.mark.parametrize("folio", ["4K", "16K", "64K"])
def test_same_choices_same_counters(folio):
    page, write = accesses(11, 30000, 3000)
    table, old = compare((page, write), ["swap-table", "old"], "30%", folio, swap="10M")
    assert table.vmstat == old.vmstat
    assert table.used_final == old.used_final
    assert old.vmstat["pswpout"] > 1000


def test_clean_page_is_not_written_again():
    machine = Machine(designs.make("old", 4096), 64, 8)
    reads = np.tile(np.arange(64, dtype=np.uint32), 20) << 1
    machine.run(reads)
    stat = machine.stats
    assert stat["pgsteal"] > 2 * 64
    assert stat["pswpout"] == 64  # once each, as a first touch counts as a store
    machine.check()


def test_stored_page_is_written_to_the_same_slot():
    design = designs.make("old", 4096)
    machine = Machine(design, 64, 8)
    machine.run(np.tile(np.arange(64, dtype=np.uint32), 4) << 1)
    used = design.used
    # Each page comes back by a read, is stored to, and goes: no fault for the store, no new slot.
    events = (np.arange(64, dtype=np.uint32).repeat(2) << 1) | np.tile(np.array([0, 1], np.uint32), 64)
    before = machine.stats
    machine.run(np.tile(events, 2))
    after = machine.stats
    assert after["pgfault"] - before["pgfault"] == 128
    assert after["pswpout"] - before["pswpout"] > 64
    assert design.used == used


def test_access_does_what_run_does():
    page, write = accesses(3, 3000, 200)
    one, other = (Machine(designs.make("old", 512), 200, 64) for _ in range(2))
    events = page.astype(np.uint32) << 1 | write
    one.run(events)
    faults = sum(other.access(int(p), bool(w)) for p, w in zip(page, write, strict=True))
    assert faults == other.stats["pgfault"]
    assert one.stats == other.stats
    assert one.events == other.events == 3000


def test_out_of_memory_says_so_and_stops():
    machine = Machine(designs.make("old", 9), 64, 8)
    events = np.arange(64, dtype=np.uint32) << 1 | 1
    with pytest.raises(SwapMemoryError, match=r"out of memory at event 16: 8 pages of 8 resident, 8 swap blocks of 8"):
        machine.run(events)
    assert machine.stats["swap_full"] > 0
    with pytest.raises(SwapValueError, match="has stopped"):
        machine.run(events)
    with pytest.raises(SwapValueError, match="has stopped"):
        machine.access(0)


def test_progress_and_its_exceptions():
    events = np.zeros(600_000, np.uint32)
    machine = Machine(designs.make("null", 512), 1, 1)
    seen = []
    machine.run(events, lambda done, total: seen.append((done, total)))
    assert seen == [(262144, 600000), (524288, 600000), (600000, 600000)]

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine.run(events, interrupt)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"pages": 0}, "pages is 0"),
        ({"pages": -16}, "pages is -16"),
        ({"pages": 17, "folio_order": 4}, "pages is 17; expected a multiple of 16"),
        ({"pages": 1 << 32}, "pages is 4294967296"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": 15, "folio_order": 4}, r"limit is 15 pages; expected at least one folio \(16\)"),
        ({"folio_order": 10}, "folio_order is 10"),
        ({"folio_order": -1}, "folio_order is -1"),
    ],
)
def test_machine_refuses(kwargs, match):
    with pytest.raises(ValueError, match=match):
        Machine(designs.make("null", 512), **{"pages": 64, "limit": 32} | kwargs)


def test_machine_refuses_other_objects():
    with pytest.raises(TypeError):
        Machine(None, 16, 16)
    with pytest.raises(TypeError):
        Machine("old", 16, 16)
    with pytest.raises(TypeError):
        replay((np.arange(4), np.zeros(4, bool)), object())


def test_events_beyond_the_pages_are_refused_before_anything_runs():
    machine = Machine(designs.make("null", 512), 16, 16)
    with pytest.raises(ValueError, match="event 2 is an access to page 16; there are 16 pages"):
        machine.run(np.array([0, 2, 32], np.uint32))
    assert machine.events == 0
    with pytest.raises(ValueError, match="page is 16"):
        machine.access(16)
    with pytest.raises(OverflowError):
        machine.access(-1)
    with pytest.raises(ValueError, match="Buffer dtype"):
        machine.run(np.arange(3, dtype=np.int64))
    machine.run(np.empty(0, np.uint32))


def test_pages_are_numbered_by_first_touch_in_whole_blocks():
    work = load((np.array([100, 37, 101, 33, 1 << 51], np.uint64), np.array([1, 0, 0, 1, 0], bool)), 2)
    assert (work.events >> 1).tolist() == [0, 5, 1, 9, 12]
    assert (work.events & 1).tolist() == [1, 0, 0, 1, 0]
    assert work.pages == 16


def test_page_map_grows():
    page = np.random.default_rng(1).integers(0, 1 << 52, 50_000, dtype=np.uint64)
    work = load((page, np.zeros(len(page), bool)))
    _, first, inverse = np.unique(page, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    assert (work.events >> 1 == rank[inverse]).all()


def test_load_takes_blocks_and_stops_at_the_limit():
    def blocks():
        yield SimpleNamespace(page=np.array([5, 6], np.uint64), write=np.array([True, False]))
        yield SimpleNamespace(page=np.array([5, 7], np.uint64), write=np.array([False, True]))
        raise AssertionError("read past the limit")

    work = load(blocks(), 0, 3)
    assert work.events.tolist() == [1, 2, 0]
    assert work.pages == 2


@pytest.mark.parametrize(
    ("trace", "kwargs", "match"),
    [
        ((np.array([1 << 52], np.uint64), np.array([False])), {}, "access 0 is to page 0x10000000000000"),
        ((np.array([-1]), np.array([False])), {}, "expected page numbers"),
        ((np.array([0.5]), np.array([False])), {}, "pages are float64"),
        ((np.zeros((2, 2), np.uint64), np.array([False])), {}, "2 dimensions"),
        ((np.array([1, 2]), np.array([False])), {}, "2 pages, 1 writes"),
        ((np.array([1]),), {}, "tuple of 1"),
        ((np.empty(0, np.uint64), np.empty(0, bool)), {}, "no accesses"),
        ((np.array([1]), np.array([False])), {"limit": -1}, "limit is -1"),
        ((np.array([1]), np.array([False])), {"limit": 0}, "no accesses"),
        ((np.array([1]), np.array([False])), {"folio_order": 10}, "order is 10"),
    ],
)
def test_load_refuses(trace, kwargs, match):
    with pytest.raises(ValueError, match=match):
        load(trace, **kwargs)


BAD_SIZES = ("", "0", "-1", "64Q", "K", "nan", "inf", "1e6", "64 K K", "\uff10", None, "9" * 30 + "T")


@pytest.mark.parametrize("text", BAD_SIZES)
def test_parse_size_refuses(text):
    with pytest.raises(ValueError, match=r"size is .*; expected a positive size such as 64K"):
        parse_size(text)


def test_parse_size():
    assert [parse_size(t) for t in ("64K", "64KiB", "64kb", "1.5M", " 2 GiB ", "7", 7, "1T")] == [
        65536, 65536, 65536, 3 << 19, 2 << 30, 7, 7, 1 << 40,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["0%", "-5%", "%", "x%", "nan%", "inf%", 0.0, -0.5, math.nan, True, "0", "-64M", 0])
def test_parse_memory_refuses(text):
    with pytest.raises(ValueError, match="memory is"):
        parse_memory(text)


@pytest.mark.parametrize("text", ["2K", "3K", "48K", "4M", "0", "-64K", "64X"])
def test_parse_folio_refuses(text):
    with pytest.raises(ValueError, match="folio is"):
        parse_folio(text)
    with pytest.raises(ValueError, match="folio is"):
        compare((np.array([1]), np.array([False])), ["old"], folio=text)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"memory": "32K", "folio_order": 4}, r"memory is '32K'; expected at least one folio \(64K\)"),
        ({"memory": "half"}, "memory is 'half'"),
        ({"swap": "4K"}, r"swap is '4K'; expected 8K"),
        ({"swap": -4096}, "swap is -4096"),
        ({"swap": "32T"}, "swap is '32T'"),
        ({"design": "newer"}, r"unknown design 'newer'; expected one of .*old"),
    ],
)
def test_replay_refuses(kwargs, match):
    with pytest.raises(ValueError, match=match):
        replay((np.arange(64), np.zeros(64, bool)), **{"design": "old"} | kwargs)


def test_compare_checks_names_before_it_reads():
    with pytest.raises(ValueError, match="unknown design 'newer'"):
        compare("/does/not/exist", ["old", "newer"])


def test_default_sizes_and_plain_values():
    work = load((np.arange(1000), np.zeros(1000, bool)), 4)
    result = replay(work, "old", memory=0.5)
    assert (result.footprint_pages, result.memory_pages) == (1008, 512)
    assert result.swap_slots == 1536  # 1.25 times 1008 and a header, rounded up to 512
    assert result.folio_order == 4
    assert replay(work, "old", memory="1M").memory_pages == 256
    values = result.to_dict()
    assert values["bytes_per_slot"] == result.bytes_peak / result.used_at_peak
    assert values["locks_per_op"] == result.counters["locks"] / result.counters["ops"]
    assert replay(work, "null").bytes_per_slot is None


def test_huge_folios_count_as_thp():
    page, write = accesses(5, 3000, 4096)
    result = replay((page, write), "old", memory=0.5, folio_order=9)
    assert result.vmstat["thp_swpout"] == result.vmstat["swpout"] > 0
    assert result.vmstat["thp_swpout_fallback"] == result.vmstat["swpout_fallback"]


def test_workload_is_not_changed():
    page, write = accesses(6, 3000, 300)
    work = load((page, write))
    before = work.events.copy()
    assert isinstance(work, Workload)
    first = replay(work, "old", memory=0.3)
    assert replay(work, "old", memory=0.3).vmstat == first.vmstat
    assert (work.events == before).all()


def test_build_info():
    assert set(build_info()) == {"cython", "compiler", "optimized", "avx2"}


def test_pages_of_another_size_are_refused(tmp_path):
    """A trace of 64 KiB pages is none of 4 KiB pages."""
    from swaptable.trace import save_trace

    path = tmp_path / "big.npz"
    meta = {"page_size": 65536, "command": "x", "tool": "x"}
    save_trace(path, np.arange(10, dtype=np.uint64), np.ones(10, bool), meta)
    with pytest.raises(ValueError, match="65536 bytes; expected 4096"):
        replay(path, "swap-table")


@pytest.mark.parametrize("trace", [None, 5, ([], [])])
def test_no_trace_at_all(trace):
    with pytest.raises(ValueError, match=r"trace is|no accesses"):
        replay(trace, "swap-table")


def test_bytes_a_slot_are_of_the_moment_of_most_use():
    """Static metadata is at its peak from the start: the slots used then are not those to divide by."""
    rng = np.random.default_rng(3)
    page = rng.integers(0, 4000, 40_000)
    results = compare((page, np.ones(len(page), bool)), memory="50%", folio="4K")
    used = {result.design: result.used_at_peak for result in results}
    assert min(used.values()) > 0.9 * max(used.values())


def test_counters_of_what_the_pool_costs():
    page, write = accesses(5, 20_000, 2000)
    names = ["swap-table-p4", "swap-table-p4:backend=zswap", "vswap-table:backend=zswap"]
    disk, zswap, virtual = compare((page, write), names, "40%", "4K")
    assert [disk.design, zswap.design, virtual.design] == names
    # Every write goes to the pool and every read empties it, so that clean pages are written again.
    assert zswap.vmstat["pswpout"] > disk.vmstat["pswpout"]
    assert (zswap.counters["ios"], zswap.extents_per_io) == (0, None)
    assert disk.extents_per_io == 1
    assert disk.wasted_peak == virtual.wasted_peak == 0
    assert zswap.wasted_peak > 0
    for result in (disk, zswap, virtual):
        held = result.counters["allocated"] - result.counters["freed"]
        assert held == result.bytes_final
        assert 0 < result.counters["hold_longest"] < 10_000
        assert result.counters["ptes"] == 0


def test_a_design_with_switches_is_checked_by_name():
    with pytest.raises(ValueError, match="unknown design 'newer:x=1'"):
        compare(([1], [True]), ["newer:x=1"])
    with pytest.raises(ValueError, match="switch is 'x'"):
        compare(([1], [True]), ["old:x"])
