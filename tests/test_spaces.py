# Every design keeps its promises to processes: each page comes back, through fork, transfer and swapoff.
# Imports the package, numpy, hypothesis and pytest.
# Used by pytest; a million entries are under the long mark.
import contextlib
import errno

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swaptable import designs
from swaptable._spaces import AddressSpaces
from swaptable.errors import CheckError, SlotBusyError, SwapError, SwapFullError, SwapValueError

MOVES = {  # what the designs can be asked: tiers that exist, in the configurations that they have
    "front-back": [
        {"backend": "disk", "devices": 3, "contiguous": True}, {"backend": "disk", "devices": 3, "redirected": True},
        {"backend": "zswap", "devices": 3, "redirected": True}, {"backend": "disk", "devices": 3, "owners": True},
        {"backend": "zswap", "devices": 3, "owners": True, "redirected": True},
        {"backend": "zswap", "devices": 3, "compact": 100, "contiguous": True},
    ],
    "ghost": [{"devices": 2}, {"devices": 2, "dynamic": True}],
    "xswap": [{"devices": 2, "index": index} for index in ("array", "flat", "xarray")],
    "zram": [{"devices": 3}],
    "redirect-chain": [{"devices": 3}] + [
        {"backend": "zswap", "devices": 3, "index": index} for index in ("flat", "array", "xarray")
    ],
    "vswap-table": [{"devices": 3, "deferred": False, "index": "array"}],
    "vswap-16": [{"devices": 3, "owners": True, "index": "xarray"}, {"devices": 3, "index": "flat"}],
    "vswap-16x": [
        {"devices": 3, "owners": True, "backend": "zswap"},
        {"devices": 3, "index": "flat", "backend": "zswap"},
    ],
}  # fmt: skip
BOTH = [{"backend": "disk", "devices": 3}, {"backend": "zswap", "devices": 3}]
CASES = [
    pytest.param(name, options, id="-".join([name, *map(str, options.values())]))
    for name in designs.names()
    if name != "swap-table"
    for options in MOVES.get(name, []) + ([] if name in ("ghost", "xswap", "zram", "redirect-chain") else BOTH)
]
every_case = pytest.mark.parametrize(("name", "options"), CASES)
WALKS = ("old", "swap-table-p1", "swap-table-p2", "swap-table-p3", "swap-table-p4", "ghost", "xswap", "zram")


def first_options(name):
    return next(case.values[1] for case in CASES if case.values[0] == name)


def filled(name, options, pages, slots, seed=1):
    """A process with half of its pages swapped out as folios, the other half singly and in no order."""
    rng = np.random.default_rng(seed)
    design = designs.make(name, slots, **options)
    spaces = AddressSpaces(design, pages)
    spaces.populate()
    done = spaces.swap_out(np.arange(0, pages // 2 // 16 * 16, 16), 4)
    done += spaces.swap_out(rng.permutation(np.arange(pages // 2 // 16 * 16, pages)))
    assert done == pages == spaces.swapped
    return design, spaces, rng


def sound(design, spaces):
    design.check()
    spaces.verify()


def followed(design, spaces):
    """Each page table entry to its data; of a large device not every invariant at every step."""
    if spaces.swapped < 20_000:
        design.check()
    spaces.verify()


def possible(call, *args):
    """What *call* returns, True for nothing; None where the design has no such tier. No other refusal will do."""
    try:
        done = call(*args)
    except SwapError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return None
    return True if done is None else done


def move(design, spaces, rng, tier):
    """Half of all entries to a tier: how many went, None where the design has no such tier."""
    entries = rng.permutation(spaces.entries())[: len(spaces.entries()) // 2]
    before = design.counters["ptes"]
    moved = possible(spaces.transfer, entries, tier)
    if moved is None:
        return None
    if moved:
        visited = design.counters["ptes"] - before
        assert visited == (0 if design.name.startswith(("vswap", "redirect", "front")) else visited)
    there = sum(design.locate(int(e))[0][0] == tier for e in spaces.entries()) if len(entries) < 5000 else moved
    assert there >= moved
    return moved


def life(name, options, pages, forks=1):
    """Everything that can happen to pages, checked after each step; what moved to which tier."""
    design, spaces, rng = filled(name, options, pages, 2 * pages + 1024)
    for _ in range(forks):
        spaces.fork()
    followed(design, spaces)
    moved = {}
    for tier in (2, 1, 3, 0, 2):
        moved[tier] = move(design, spaces, rng, tier)
        followed(design, spaces)
    design.check()
    spaces.swap_in(rng.permutation(2 * pages)[: pages // 4])
    followed(design, spaces)
    spaces.store(rng.permutation(2 * pages)[: pages // 4])
    followed(design, spaces)
    spaces.swap_out(rng.permutation(pages))
    followed(design, spaces)
    off = []
    for tier in (1, 2, 0):
        if possible(spaces.swapoff, tier) is not None:
            off.append(tier)
        followed(design, spaces)
        with contextlib.suppress(SwapFullError):  # nothing is left that takes data
            spaces.flush()
        followed(design, spaces)
    spaces.swap_in(np.arange(spaces.processes * pages))
    sound(design, spaces)
    spaces.drop(np.arange(spaces.processes * pages))
    design.check()
    assert (design.used, spaces.resident) == (0, 0)
    return moved, off


@every_case
def test_every_page_comes_back(name, options):
    # Fewer for configurations that are not the first of a design; the long form has a million.
    moved, off = life(name, options, 30_000 if options == first_options(name) else 8_000)
    assert off
    assert moved[2]


@every_case
def test_counts_beyond_what_a_word_holds(name, options):
    """Eighteen processes share the pages: counts of 15 and more have a table of their own."""
    life(name, options, 500, forks=17)


def plain_life(pages):
    """The plain table, which has one device and says that it cannot move data: forks, counts and caching only."""
    design, spaces, rng = filled("swap-table", {}, pages, 2 * pages + 1024)
    spaces.fork()
    followed(design, spaces)
    for call in (lambda: spaces.transfer(spaces.entries()[:10], 2), lambda: spaces.swapoff(1)):
        with pytest.raises(SwapError, match="swap-table cannot"):
            call()
    followed(design, spaces)
    spaces.swap_in(rng.permutation(2 * pages)[: pages // 4])
    spaces.store(rng.permutation(2 * pages)[: pages // 4])
    spaces.swap_out(rng.permutation(pages))
    followed(design, spaces)
    spaces.swap_in(np.arange(2 * pages))
    sound(design, spaces)
    spaces.drop(np.arange(2 * pages))
    design.check()
    assert (design.used, spaces.resident) == (0, 0)


def test_every_page_of_the_plain_table_comes_back():
    plain_life(100_000)


@pytest.mark.long
def test_a_million_pages_of_the_plain_table_come_back():
    plain_life(1_000_000)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in designs.names() if name != "swap-table"])
def test_a_million_pages_come_back(name):
    life(name, first_options(name), 1_000_000)


@every_case
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), pages=st.integers(1, 300), steps=st.integers(1, 30))
def test_any_order_of_events(name, options, seed, pages, steps):
    rng = np.random.default_rng(seed)
    design = designs.make(name, 1200, **options)
    spaces = AddressSpaces(design, pages)
    spaces.populate()
    for _ in range(steps):
        some = rng.integers(0, spaces.processes * pages, 40)
        what = int(rng.integers(7))
        if what < 2:
            spaces.swap_out(some)
        elif what == 2:
            spaces.swap_in(some)
        elif what == 3:
            spaces.store(some[:10])
        elif what == 4 and spaces.processes < 4:
            spaces.fork(int(rng.integers(spaces.processes)))
        elif what == 5:
            spaces.drop(some[:5])
        else:
            move(design, spaces, rng, int(rng.integers(4)))
        sound(design, spaces)


# ---- what it costs


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_visits_every_page_table_entry_of_every_process(name):
    options = {"devices": 2} if name in ("ghost", "xswap") else {"devices": 3}
    design, spaces, _ = filled(name, options, 3000, 8192)
    spaces.fork()
    spaces.fork()
    tier = 1 if name in ("ghost", "xswap") else 2
    assert spaces.transfer(spaces.entries()[:10], tier) == 10
    assert design.counters["ptes"] == 9000
    spaces.swapoff(tier)
    assert design.counters["ptes"] == 18000
    assert spaces.swapped == 9000 - 3 * 10
    assert spaces.io["reads"] == 10
    sound(design, spaces)


def test_a_reverse_map_visits_those_that_there_are():
    design, spaces, _ = filled("pte-rmap", {"devices": 3}, 3000, 8192)
    spaces.fork()
    spaces.fork()
    assert spaces.transfer(spaces.entries()[:10], 2) == 10
    assert design.counters["ptes"] == 30
    spaces.swapoff(2)
    assert design.counters["ptes"] == 60
    links = design.memory()["pte_links"]
    assert links == 3 * 16 * (3000 - 10)
    sound(design, spaces)


@pytest.mark.parametrize(
    "name", ["front-back", "vswap-64", "vswap-48", "vswap-24", "vswap-table", "vswap-16", "vswap-16x", "redirect-chain"]
)
def test_virtual_slots_move_without_a_page_table(name):
    design, spaces, _ = filled(name, {"backend": "zswap", "devices": 3}, 3000, 8192)
    before = list(spaces.entries())
    for tier in (1, 2, 3):
        assert design.transfer(spaces.entries(), tier) == 3000
        assert {design.locate(int(e))[0][0] for e in before} == {tier}
        assert {design.hops(int(e)) for e in before} == ({tier} if name == "redirect-chain" else {1})
    # Contents moved behind its back are known to be wrong; the design itself is sound.
    design.check()
    assert list(spaces.entries()) == before
    assert design.counters["ptes"] == 0


@pytest.mark.parametrize(
    "name", ["front-back", "vswap-48", "vswap-24", "vswap-table", "vswap-16", "vswap-16x", "redirect-chain"]
)
def test_swapoff_leaves_virtual_entries_as_they_are(name):
    design, spaces, _ = filled(name, {"backend": "zswap", "devices": 2}, 3000, 8192)
    spaces.transfer(spaces.entries(), 1)
    before = list(spaces.entries())
    spaces.swapoff(1)
    assert list(spaces.entries()) == before
    assert {design.lookup(int(e))["kind"] for e in before} == {"folio"}
    assert (design.counters["ptes"], spaces.io["reads"]) == (0, 3000)
    sound(design, spaces)
    assert spaces.flush() == 3000
    assert {design.locate(int(e))[0][0] for e in before} == {0}
    sound(design, spaces)


def test_a_device_that_is_off_costs_nothing():
    design, spaces, _ = filled("vswap-24", {"devices": 2}, 3000, 8192)
    spaces.transfer(spaces.entries(), 2)
    before = design.memory()
    spaces.swapoff(1)
    after = design.memory()
    assert after["bitmaps"] == before["bitmaps"] // 2
    assert after["cluster_info"] == before["cluster_info"] // 2
    with pytest.raises(SwapValueError):
        spaces.swapoff(1)


def test_a_redirection_keeps_a_block_and_a_return_gives_it_back():
    design, spaces, _ = filled("redirect-chain", {"backend": "zswap", "devices": 3}, 2000, 4096)
    for tier, wasted in ((1, 0), (2, 2000), (3, 4000), (2, 2000), (0, 0)):
        assert spaces.transfer(spaces.entries(), tier) == 2000
        assert design.wasted == wasted
        sound(design, spaces)
    assert design.memory()["tables"] <= 4096 * (4 + 4)


def test_zswap_in_front_of_a_device_wastes_its_slots():
    design, spaces, _ = filled("swap-table-p4", {"backend": "zswap"}, 2000, 4096)
    assert design.wasted == 2000
    assert spaces.transfer(spaces.entries(), 1) == 2000
    assert (design.wasted, design.counters["ptes"]) == (0, 0)
    sound(design, spaces)


def test_users_that_no_page_table_shows():
    for name in ("swap-table-p4", "pte-rmap"):
        design, spaces, _ = filled(name, {"devices": 2}, 600, 2048)
        hidden = int(spaces.entries()[5])
        design.dup(hidden)
        with pytest.raises(SlotBusyError, match="users that no page table shows"):
            spaces.swapoff(1)
        sound(design, spaces)
        design.put(hidden)
        spaces.swapoff(1)
        sound(design, spaces)
        assert design.used == 0


def test_no_host_no_walk():
    design, spaces, _ = filled("swap-table-p4", {"devices": 2}, 600, 2048)
    with pytest.raises(SwapError, match=r"cannot transfer: .*walk of all page tables"):
        design.transfer(spaces.entries(), 2)
    with pytest.raises(SwapError, match="cannot swapoff: a walk of all page tables"):
        design.swapoff(1)
    with pytest.raises(SwapError, match=r"swap-table cannot transfer: .*front-back"):
        designs.make("swap-table", 1024).transfer([1], 2)


def test_a_full_tier_moves_what_fits():
    for name in ("vswap-24", "swap-table-p4"):
        design, spaces, _ = filled(name, {"devices": 2}, 3000, 3600)
        other = AddressSpaces(design, 2000)
        other.populate()
        other.swap_out(np.arange(2000))
        assert 0 < spaces.transfer(spaces.entries(), 2) < 3000
        sound(design, spaces)


@pytest.mark.parametrize("tier", [4, 9])
@every_case
def test_a_tier_that_there_is_not(name, options, tier):
    design, spaces, _ = filled(name, options, 64, 1024)
    for call in (lambda: spaces.transfer(spaces.entries(), tier), lambda: spaces.swapoff(tier)):
        with pytest.raises(SwapValueError):
            call()
    sound(design, spaces)


# ---- the harness itself


def test_a_wrong_place_is_found_out():
    design, spaces, _ = filled("vswap-24", {"backend": "zswap", "devices": 1}, 100, 1024)
    design.transfer(spaces.entries()[:1], 1)  # without the contents
    with pytest.raises(CheckError, match="does not lead to its data"):
        spaces.verify()
    with pytest.raises(CheckError, match="swap_in: page table entry"):
        spaces.swap_in(np.arange(100))


def test_a_lost_entry_is_found_out():
    design, spaces, _ = filled("old", {}, 100, 1024)
    design.put(int(spaces.entries()[7]))
    with pytest.raises(CheckError):
        spaces.verify()


def test_shared_pages_are_copied_at_a_store():
    design = designs.make("swap-table-p4", 1024)
    spaces = AddressSpaces(design, 4)
    spaces.populate()
    assert spaces.fork() == 1
    assert spaces.resident == 4
    spaces.store(np.array([5]))
    assert spaces.resident == 5
    spaces.swap_out(np.arange(4))
    assert (spaces.swapped, design.used) == (7, 4)
    sound(design, spaces)


def test_refusals():
    design = designs.make("old", 1024)
    with pytest.raises(ValueError, match="pages is 0"):
        AddressSpaces(design, 0)
    with pytest.raises(ValueError, match="cannot say where data is"):
        AddressSpaces(designs.make("null", 1024), 10)
    spaces = AddressSpaces(design, 10)
    with pytest.raises(SwapValueError, match="process 1 is not in"):
        spaces.fork(1)
    with pytest.raises(SwapValueError, match="page table entry 10 is not in"):
        spaces.swap_out(np.array([10]))
    with pytest.raises(SwapValueError, match="order 10"):
        spaces.swap_out(np.array([0]), 10)
