# Every design against a model of dict and ints, its bytes against the published formulas, its slots against a kernel's.
# May import the package, pytest, hypothesis and numpy.
# Used by pytest.
from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swaptable import designs
from swaptable.designs import DESIGNS, SWITCHES
from swaptable.designs._design import Design
from swaptable.errors import (
    SlotCachedError,
    SlotNotInUseError,
    SwapError,
    SwapFullError,
    SwapValueError,
)

VECTORS = Path(__file__).parent / "data" / "vectors"
NODE = 576
SPACE = 16384
# A ghost swapfile is no block device: its allocator refuses large folios, unless it is told that it is one.
OPTIONS: dict[str, dict] = {"ghost": {"block": True}}
every_design = pytest.mark.parametrize("name", designs.names())


def make(name: str, slots: int, **kw) -> Design:
    return designs.make(name, slots, **OPTIONS.get(name, {}) | kw)


class Model:
    """What a design should say: entry -> [count, cached, pfn or shadow, memcg]."""

    def __init__(self) -> None:
        self.slots: dict[int, list] = {}

    def alloc(self, entry: int, nr: int, pfn: int, memcg: int) -> None:
        for e in range(entry, entry + nr):
            assert e not in self.slots
            self.slots[e] = [0, True, pfn, memcg]

    def dup(self, run: range) -> type[SwapError] | None:
        if any(e not in self.slots for e in run):
            return SlotNotInUseError
        for e in run:
            self.slots[e][0] += 1
        return None

    def put(self, run: range) -> type[SwapError] | None:
        if any(e not in self.slots or self.slots[e][0] == 0 for e in run):
            return SlotNotInUseError
        for e in run:
            self.slots[e][0] -= 1
        self.drop(run)
        return None

    def cache_add(self, run: range, pfn: int) -> type[SwapError] | None:
        for e in run:
            if e not in self.slots or self.slots[e][1]:
                return SlotCachedError if e in self.slots else SlotNotInUseError
        for e in run:
            self.slots[e][1:3] = True, pfn
        return None

    def cache_del(self, run: range, shadow: int) -> type[SwapError] | None:
        if any(e not in self.slots or not self.slots[e][1] for e in run):
            return SlotNotInUseError
        for e in run:
            self.slots[e][1:3] = False, shadow
        self.drop(run)
        return None

    def drop(self, run: range) -> None:
        for e in run:
            count, cached, *_ = self.slots[e]
            if count == 0 and not cached:
                del self.slots[e]

    def same(self, design: Design, entry: int) -> None:
        said = design.lookup(entry)
        if entry not in self.slots:
            assert said["kind"] in ("free", "bad")
            assert design.cache_get(entry) == -1
            return
        count, cached, value, memcg = self.slots[entry]
        assert said["kind"] == ("folio" if cached else "shadow")
        assert (said["count"], said["memcg"], said["zero"]) == (count, memcg, False)
        assert (said["pfn"], said["shadow"]) == ((value, None) if cached else (None, value))
        assert design.cache_get(entry) == (value if cached else -1)


def refused(call, *args) -> type[SwapError] | None:
    try:
        call(*args)
    except SwapError as error:
        return type(error)
    return None


def pick(rng: np.random.Generator, starts: list[tuple[int, int]], limit: int) -> range:
    """Part of a folio that was allocated once, whether or not it still is."""
    if not starts or rng.random() < 0.02:
        start = int(rng.integers(1, limit))
        return range(start, start + 1)
    entry, order = starts[int(rng.integers(len(starts)))]
    if rng.random() < 0.7:
        return range(entry, entry + (1 << order))
    first = int(rng.integers(1 << order))
    return range(entry + first, entry + int(rng.integers(first, 1 << order)) + 1)


def drive(design: Design, seed: int, steps: int) -> Model:
    rng = np.random.default_rng(seed)
    model, starts = Model(), []
    for _ in range(steps):
        what = int(rng.integers(10))
        run = pick(rng, starts, design.size + 1)
        value = int(rng.integers(1 << 41))
        if what < 2:
            order, memcg = int(rng.choice([0, 0, 1, 2, 3, 4, 6, 7, 9])), int(rng.integers(1 << 16))
            try:
                entry = design.alloc(order, value, memcg)
            except SwapFullError:
                continue
            assert entry % (1 << order) == 0
            model.alloc(entry, 1 << order, value, memcg)
            starts.append((entry, order))
        elif what < 4:
            assert refused(design.dup, run.start, len(run)) is model.dup(run)
        elif what < 7:
            assert refused(design.put, run.start, len(run)) is model.put(run)
        elif what < 8:
            assert refused(design.cache_add, run.start, len(run), value) is model.cache_add(run, value)
        elif what < 9:
            assert refused(design.cache_del, run.start, len(run), value) is model.cache_del(run, value)
        elif all(e in model.slots and model.slots[e][1] for e in run):
            assert refused(design.writeout, run.start, len(run)) in (None, SwapFullError)
        model.same(design, run.start)
        model.same(design, run[-1])
    return model


@every_design
@pytest.mark.parametrize("seed", range(2))
def test_random_operations_agree_with_the_model(name, seed):
    design = make(name, 4096)
    model = drive(design, seed, 6_000)
    for entry in range(1, 4096):
        model.same(design, entry)
    design.check()


@every_design
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), slots=st.integers(2, 2100))
def test_any_size_agrees_with_the_model(name, seed, slots):
    design = make(name, slots)
    drive(design, seed, 150)
    design.check()


@every_design
def test_many_live_entries_read_back(name):
    rng = np.random.default_rng(7)
    design, model = make(name, 65536), Model()
    entries = []
    for _ in range(26_000):
        pfn, memcg = int(rng.integers(1 << 41)), int(rng.integers(1 << 16))
        entry = design.alloc(0, pfn, memcg)
        model.alloc(entry, 1, pfn, memcg)
        entries.append(entry)
    for i in rng.permutation(26_000)[:18_000]:
        run, shadow = range(entries[i], entries[i] + 1), int(rng.integers(1 << 42))
        if i % 3:
            design.dup(run.start)
            model.dup(run)
        design.cache_del(run.start, 1, shadow)
        model.cache_del(run, shadow)
    assert 19_000 < len(model.slots) < 21_000
    for entry in entries:
        model.same(design, entry)
    design.check()


def fill(design: Design, order: int) -> list[int]:
    """Folios of that order, written, until the device has no room for one more."""
    entries = []
    while True:
        try:
            entry = design.alloc(order)
        except SwapFullError:
            return entries
        try:
            design.writeout(entry, 1 << order)
        except SwapFullError:
            design.cache_del(entry, 1 << order)
            return entries
        entries.append(entry)


@every_design
@pytest.mark.parametrize("order", [0, 4, 9])
def test_full_and_empty_again(name, order):
    design, ends = make(name, 8192), []
    before = design.bytes
    for _ in range(3):
        entries = fill(design, order)
        in_full_clusters = 8192 - 512
        assert len(entries) << order >= in_full_clusters
        assert design.used == len(entries) << order <= design.size == 8191
        assert order or design.used == design.size
        design.check()
        for entry in entries:
            design.cache_del(entry, 1 << order)
        assert design.used == 0
        design.check()
        ends.append(design.memory())
    assert ends[1] == ends[2]
    if name == "old":  # the slab's last page
        assert design.bytes == before + 16384
    if name == "vswap-24":  # that, and the CPU's cluster
        assert design.bytes == before + 16384 + 512 * 24 + 64


@every_design
def test_a_full_device_is_named_in_the_error(name):
    design = make(name, 600)
    fill(design, 0)
    with pytest.raises(SwapFullError, match=f"{name}.*599 of 599"):
        design.writeout(design.alloc())


@every_design
def test_memory_adds_up_to_bytes(name):
    design = make(name, 4096)
    for order in (0, 4, 9):
        design.alloc(order)
        memory = design.memory()
        assert memory["total"] == design.bytes
    design.check()


def snapshot(design: Design, entries: list[int]) -> list:
    return [design.used, design.bytes, [design.lookup(e) for e in entries]]


@every_design
@pytest.mark.parametrize(
    ("call", "args", "error", "words"),
    [
        ("alloc", (10,), SwapValueError, "order 10"),
        ("alloc", (-1,), SwapValueError, "order -1"),
        ("alloc", (0, 1 << 41), SwapValueError, "pfn 2199023255552"),
        ("alloc", (0, -1), SwapValueError, "pfn -1"),
        ("alloc", (0, 0, 1 << 16), SwapValueError, "memcg 65536"),
        ("dup", ("free",), SlotNotInUseError, "entry"),
        ("put", ("free",), SlotNotInUseError, "entry"),
        ("put", ("cached",), SlotNotInUseError, "entry"),
        ("writeout", ("free",), SlotNotInUseError, "entry"),
        ("cache_add", ("free", 1, 5), SlotNotInUseError, "entry"),
        ("cache_add", ("cached", 1, 5), SlotCachedError, "entry"),
        ("cache_add", ("swapped", 1, 1 << 41), SwapValueError, "pfn"),
        ("cache_del", ("free",), SlotNotInUseError, "entry"),
        ("cache_del", ("swapped",), SlotNotInUseError, "entry"),
        ("cache_del", ("cached", 1, 1 << 42), SwapValueError, "shadow 4398046511104"),
        ("dup", ("cached", 0), SwapValueError, "nr 0"),
        ("put", ("swapped", -3), SwapValueError, "nr -3"),
        ("dup", ("cached", 513), SwapValueError, "nr 513"),
        ("dup", (0,), SwapError, "entry 0"),
        ("dup", (-5,), SwapValueError, "entry -5"),
        ("put", (1 << 70,), SwapValueError, str(1 << 70)),
        ("cache_add", (1 << 40, 1, 5), SwapError, str(1 << 40)),
        ("cache_get", (-1,), SwapValueError, "entry -1"),
    ],
)
def test_misuse_is_refused_and_changes_nothing(name, call, args, error, words):
    design = make(name, 2048)
    cached, swapped, free = design.alloc(0, 3, 4), design.alloc(0, 5, 6), design.alloc()
    design.dup(swapped)
    design.cache_del(swapped, 1, 77)
    design.cache_del(free)
    named = {"cached": cached, "swapped": swapped, "free": free}
    before = snapshot(design, [cached, swapped, free])
    with pytest.raises(error, match=words):
        getattr(design, call)(*[named.get(a, a) for a in args])
    assert snapshot(design, [cached, swapped, free]) == before
    design.check()


@every_design
def test_one_bad_entry_of_a_folio_leaves_all_as_they_were(name):
    design = make(name, 2048)
    entry = design.alloc(3, 9, 2)
    design.dup(entry, 4)
    before = snapshot(design, list(range(entry, entry + 8)))
    with pytest.raises(SlotNotInUseError):
        design.put(entry, 8)
    assert snapshot(design, list(range(entry, entry + 8))) == before
    design.cache_del(entry, 8, 5)
    assert [design.lookup(entry + i)["kind"] for i in range(8)] == ["shadow"] * 4 + ["free"] * 4
    for call in (design.dup, design.cache_add):
        with pytest.raises(SlotNotInUseError):
            call(entry, 5)
    design.put(entry, 4)
    assert design.used == 0
    design.check()


def test_searches_of_the_core_are_counted():
    design = make("swap-table", 2048)
    design.alloc(0, 1, 1)
    # A summary; the header's word and that of the slot; eight words for the summary again.
    assert (design.counters["scanned"], design.counters["words"]) == (11, 1)
    assert design.counters["hold_longest"] == 12
    design.reset_counters()
    design.alloc(4, 1, 1)  # large runs are found in a summary
    assert (design.counters["scanned"], design.counters["hold_longest"]) == (1, 17)
    design.reset_counters()
    entries = [design.alloc(1, 1, 1) for _ in range(3)]
    assert design.counters["scanned"] == 3 * (1 + 8) + 2 + 2 + 2
    assert [b - a for a, b in itertools.pairwise(entries)] == [2, 2]


@every_design
def test_counters_count_and_reset(name):
    design = make(name, 2048)
    entry = design.alloc(2, 1, 1)
    design.dup(entry, 4)
    assert design.cache_get(entry) == 1
    counters = design.counters
    assert counters["ops"] == 3
    assert counters["visited"] == 1
    assert counters["depth"] >= counters["lookups"] >= 2
    assert counters["locks"] >= 2
    assert counters["words"] >= 8
    design.reset_counters()
    assert set(design.counters.values()) == {0}
    design.check()


@every_design
@pytest.mark.parametrize("slots", [0, -1, 1 << 32])
def test_impossible_sizes_are_refused(name, slots):
    with pytest.raises(SwapValueError):
        make(name, slots)


# ---- old


def test_old_static_bytes_are_the_published_formula():
    slots = 1 << 20
    memory = designs.make("old", slots).memory()
    assert memory["swap_map"] + memory["swap_cgroup"] + memory["zeromap"] == slots * (1 + 2 + 1 / 8)
    assert memory["cluster_info"] == slots // 512 * 24
    assert memory["cache_nodes"] == 0


def test_old_tree_of_a_dense_device_and_of_one_slot():
    design = designs.make("old", 4 * SPACE)
    assert design.alloc() == 1
    assert design.memory()["cache_nodes"] == NODE
    fill(design, 0)
    nodes = design.memory()["cache_nodes"]
    assert nodes == 4 * NODE * (256 + 4 + 1)
    assert 9.14 < nodes / (4 * SPACE) < 9.18
    design.check()


def test_old_shadows_stay_in_the_tree_until_the_entry_is_freed():
    design = designs.make("old", SPACE)
    entries = fill(design, 0)
    for entry in entries:
        design.dup(entry)
        design.cache_del(entry, 1, 11)
    assert design.memory()["cache_nodes"] == NODE * (256 + 4 + 1)
    for entry in entries[:-1]:
        design.put(entry)
    assert design.memory()["cache_nodes"] == 3 * NODE
    design.put(entries[-1])
    assert design.memory()["cache_nodes"] == 0
    design.check()


def test_old_counts_continue_in_a_page():
    design = designs.make("old", 8192)
    entry, other = design.alloc(1), design.alloc()
    for count in range(1, 9001):
        design.dup(entry)
        pages = 0 if count < 63 else 1 if count < 63 * 128 else 2
        assert design.lookup(entry)["count"] == count
        assert design.memory()["continuation"] == 4096 * pages
    design.check()
    design.dup(entry, 2)
    design.dup(other)
    design.check()
    for count in range(9000, -1, -1):
        assert design.lookup(entry)["count"] == count + 1
        design.put(entry)
    assert [design.lookup(e)["count"] for e in (entry, entry + 1, other)] == [0, 1, 1]
    assert design.memory()["continuation"] == 8192  # until swapoff
    design.check()


def test_old_counts_of_a_whole_folio_continue_at_once():
    design = designs.make("old", 8192)
    entry = design.alloc(9)
    for _ in range(200):
        design.dup(entry, 512)
    assert {design.lookup(entry + i)["count"] for i in range(512)} == {200}
    for _ in range(200):
        design.put(entry, 512)
    design.cache_del(entry, 512)
    assert design.used == 0
    design.check()


# ---- vswap


def test_vswap_bytes_are_the_published_formula():
    slots, n = 1 << 18, 100 * 512
    design = designs.make("vswap-24", slots)
    empty = design.memory()
    assert empty["bitmaps"] == 2 * slots // 8
    assert empty["cluster_info"] == slots // 512 * 32
    assert empty["total"] == empty["bitmaps"] + empty["cluster_info"]
    entries = [design.alloc(9) for _ in range(n // 512)]
    memory = design.memory()
    assert memory["descriptors"] + memory["headers"] == n * (24 + 64 / 512)
    assert memory["reverse_map"] == 0
    assert memory["xarray_nodes"] == 3 * NODE  # ids 1 to 100: a root and two leaves
    for entry in entries:
        design.writeout(entry, 512)
    assert design.memory()["reverse_map"] == 8 * n
    design.check()


def test_vswap_of_v5_loses_what_kmalloc_rounds():
    design = designs.make("vswap-24", 4096, rounding=True, lookup_cache=False)
    design.alloc()
    assert design.memory()["rounding"] == 16384 - 512 * 24 - 64
    drive(design, 3, 2000)
    design.check()


def test_vswap_entries_need_no_blocks_until_they_are_written():
    design = designs.make("vswap-24", 512)
    entries = [design.alloc(9) for _ in range(4)]
    assert (design.used, design.entries) == (0, 2048)
    with pytest.raises(SwapFullError, match="511"):
        design.writeout(entries[0], 512)
    assert design.used == 0
    design.writeout(entries[0], 511)
    assert design.used == design.size
    design.writeout(entries[0], 511)
    with pytest.raises(SwapFullError):
        design.writeout(entries[1])
    design.check()


def test_vswap_writes_a_large_folio_page_by_page_when_no_run_is_free():
    design = designs.make("vswap-24", 1024)
    singles = fill(design, 0)
    for entry in singles[::2]:
        design.cache_del(entry)
    folio = design.alloc(4)
    design.writeout(folio, 16)
    assert design.scattered == 1
    blocks = [design.lookup(folio + i)["block"] for i in range(16)]
    assert len(set(blocks)) == 16
    assert blocks[0] < blocks[15] < blocks[1]  # asked for in the order 0, 15, 14, ..., 1
    design.writeout(folio, 16)
    assert [design.lookup(folio + i)["block"] for i in range(16)] == blocks
    design.check()


def test_vswap_gives_blocks_to_the_rest_of_a_folio():
    design = designs.make("vswap-24", 1024)
    folio = design.alloc(3)
    design.writeout(folio + 2)
    design.writeout(folio + 5)
    design.writeout(folio, 8)
    assert design.used == 8
    design.cache_del(folio, 8)
    assert design.used == 0
    design.check()


def test_vswap_cluster_ids_are_used_again():
    design = designs.make("vswap-24", 1 << 17)
    entries = [design.alloc(9) for _ in range(200)]
    assert [e // 512 for e in entries] == list(range(1, 201))
    for entry in entries[:150]:
        design.cache_del(entry, 512)
    design.check()
    assert sorted(design.alloc(9) // 512 for _ in range(160)) == [*range(1, 151), *range(201, 211)]
    design.check()


# ---- the slots that a kernel chose


def recorded() -> list[str]:
    """Scenarios with one block device that neither rotates nor discards, and one CPU."""
    found = []
    for path in sorted(VECTORS.glob("*.jsonl.xz")):
        with lzma.open(path, "rt") as lines:
            head = json.loads(next(lines))
        device = head.get("device", {"rotational": True})
        if head["cpus"] == 1 and device.get("block") and not device["rotational"] and not device.get("discard"):
            found.append(path.name)
    return found


def requests(event: dict) -> list[tuple[int, int, int | None]]:
    """(page, order, offset) of what the kernel asked for at an alloc."""
    order, n = event["order"], 1 << event["order"]
    if not event.get("fallback"):
        return [(0, order, event["offset"])]
    split = [(i, 0, event["pages"][i]) for i in [0, *range(n - 1, 0, -1)]]
    return split if order == 0 else [(0, order, None), *split]


def free_pages(design: Design, slots: dict, event: dict) -> None:
    pages = [slots.pop((event["id"], i)) for i in range(event["start"], event["start"] + event["nr"])]
    first = 0
    for i in range(1, len(pages) + 1):
        if i < len(pages) and pages[i] and pages[i - 1] and pages[i] == pages[i - 1] + 1 and pages[i] % 512:
            continue
        if pages[first] is not None:
            design.cache_del(pages[first], i - first)
        first = i


@pytest.mark.parametrize("scenario", recorded())
def test_old_chooses_the_slots_that_the_kernel_chose(scenario):
    with lzma.open(VECTORS / scenario, "rt") as lines:
        head = json.loads(next(lines))
        events = [json.loads(line) for line in lines]
    design, slots = designs.make("old", head["device"]["pages"]), {}
    for event in events:
        if event["op"] == "free":
            free_pages(design, slots, event)
        elif event["op"] == "used":
            assert design.used == event["pages"]
        for page, order, offset in requests(event) if event["op"] == "alloc" else ():
            try:
                got = design.alloc(order)
            except SwapFullError:
                got = None
            assert got == offset, event
            for i in range(1 << order):
                slots[event["id"], page + i] = None if got is None else got + i
    design.check()


# ---- registry


def test_an_unknown_design_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"'vswap-96'.*old"):
        designs.make("vswap-96", 1024)


def test_a_design_that_is_not_built_does_not_hide_the_others(monkeypatch):
    monkeypatch.setitem(designs.DESIGNS, "later", "swaptable.designs._later:Later")
    assert "later" not in designs.names()
    assert {"old", "vswap-24"} <= set(designs.names())
    with pytest.raises(ImportError):
        designs.make("later", 1024)


def test_every_switch_is_known_by_its_name():
    """What the classes take, as their stubs or they themselves say."""
    for name, where in DESIGNS.items():
        module, _, cls = where.partition(":")
        found = getattr(importlib.import_module(module), cls)
        stub = Path(inspect.getfile(designs)).with_name(f"{module.rpartition('.')[2]}.pyi")
        if stub.exists():
            (node,) = (one for one in ast.parse(stub.read_text()).body if getattr(one, "name", "") == cls)
            (init,) = (one for one in node.body if getattr(one, "name", "") in ("__init__", "__cinit__"))
            taken = {arg.arg: ast.unparse(arg.annotation) for arg in init.args.args[2:] + init.args.kwonlyargs}
        else:
            taken = {p.name: str(p.annotation) for p in list(inspect.signature(found).parameters.values())[1:]}
        assert set(taken) == set(SWITCHES[name]), name
        for switch in (key for key, kind in taken.items() if kind == "bool"):
            with pytest.raises(ValueError, match=f"{switch} is 'maybe'; expected yes or no"):
                designs.make(f"{name}:{switch}=maybe", 1024)


def test_null_is_for_the_harness_only():
    assert "null" not in designs.names()
    assert "null" in designs.names(harness=True)
    design = designs.make("null", 1024)
    assert [design.alloc(2), design.alloc()] == [1, 5]
    design.put(1)
    assert (design.cache_get(1), design.used, design.size, design.bytes) == (-1, 0, 1023, 0)
    design.check()


def test_the_base_class_makes_nothing():
    with pytest.raises(TypeError, match="make"):
        Design()
    with pytest.raises(TypeError, match="make"):
        Design.__new__(Design).alloc()
