# What is particular to each rival: its structures, its locks, its refusals, one by one.
# Imports the package, numpy and pytest.
# Used by pytest; what all designs have in common is in test_designs.py and test_spaces.py.
import numpy as np
import pytest
from test_designs import drive

from swaptable import designs
from swaptable.errors import SwapError, SwapFullError, SwapValueError

NODE = 576
PHASES = [f"swap-table-p{n}" for n in (1, 2, 3, 4)]
VIRTUAL = ["vswap-64", "vswap-48", "vswap-24", "vswap-table", "vswap-16", "vswap-16x"]
OURS = [name for name in designs.names() if name != "swap-table"]


def outs(design, n, order=0):
    """That many entries, swapped out, with a user each."""
    out = np.empty(n, np.uint64)
    assert design.fill(out, order, memcg=3) == n
    return out


def spent(design, call, *args):
    """The counters that a call adds to."""
    before = design.counters
    call(*args)
    return {name: value - before[name] for name, value in design.counters.items() if value != before[name]}


# ---- all of them


@pytest.mark.parametrize("name", OURS)
def test_bytes_are_what_was_allocated_and_not_freed(name):
    design = designs.make(name, 4096)
    drive(design, 5, 2000)
    counters = design.counters
    assert counters["allocated"] - counters["freed"] == design.bytes == design.memory()["total"]
    assert counters["freed"] > 0 or name in ("old", "front-back")  # whose tables wait for the next cluster
    held = design.bytes
    design.reset_counters()
    assert set(design.counters.values()) == {0}
    assert design.bytes == held
    design.check()


@pytest.mark.parametrize("name", OURS)
def test_a_design_says_what_it_does(name):
    says = designs.make(name, 4096).says
    assert set(says) == {"fork", "transfer", "swapoff"}
    walks = "walk of all page tables" in says["swapoff"] or "walk of all page tables" in says["transfer"]
    assert walks == (name in (*PHASES, "old", "ghost", "xswap", "zram", "redirect-chain"))


@pytest.mark.parametrize("name", [name for name in OURS if name not in ("old", "vswap-24")])
def test_a_design_is_made_once(name):
    design = designs.make(name, 4096)
    with pytest.raises(TypeError, match="made once"):
        design.__init__(4096)
    design.check()


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    ("switches", "message"),
    [({"backend": "tape"}, "backend is 'tape'"), ({"devices": -1}, "devices is -1"), ({"devices": 5}, "devices is 5")],
)
def test_impossible_switches(name, switches, message):
    with pytest.raises(SwapValueError, match=message):
        designs.make(name, 4096, **switches)


@pytest.mark.parametrize("name", OURS)
def test_reads_and_writes_are_counted_by_extents(name):
    options = {"backend": "disk"} if name not in ("ghost", "xswap") else {"block": True} if name == "ghost" else {}
    design = designs.make(name, 8192, **options)
    (first, *_) = outs(design, 16, 4)
    disk = name not in ("ghost", "xswap")
    assert (design.counters["ios"], design.counters["extents"]) == ((1, 1) if disk else (0, 0))
    design.cache_add(int(first), 16, 1)
    places = design.read(int(first), 16)
    assert (design.counters["ios"], design.counters["extents"]) == ((2, 2) if disk else (0, 0))
    assert places == design.locate(int(first), 16) or not disk
    assert [tier for tier, _ in places] == [1 if disk else 0] * 16
    with pytest.raises(SwapError):
        design.read(int(first) + 16)
    design.check()


def test_a_scattered_folio_is_many_extents():
    design = designs.make("vswap-16", 1024)
    singles = outs(design, 1023)
    design.put_many(singles[::2])
    folio = int(outs(design, 16, 4)[0])
    assert design.scattered == 1
    design.reset_counters()
    design.cache_add(folio, 16, 1)
    design.read(folio, 16)
    assert (design.counters["ios"], design.counters["extents"]) == (1, 16)


@pytest.mark.parametrize("name", OURS)
def test_the_longest_hold_covers_a_folio(name):
    design = designs.make(name, 8192, **{"block": True} if name == "ghost" else {})
    entry = int(outs(design, 512, 9)[0])
    design.reset_counters()
    design.dup(entry, 512)
    # One lock for the run, or one for each descriptor. Until phase 2 the count is found under it.
    mapped = name in ("swap-table-p1", "swap-table-p2", "ghost")
    assert design.counters["hold_longest"] == (1 if name in ("vswap-48", "vswap-64") else 512 + mapped)
    design.check()


# ---- phases 1 to 4


@pytest.mark.parametrize(
    ("name", "static", "cluster", "used"),
    [("swap-table-p1", 3.125, 32, 4096), ("swap-table-p2", 3.125, 32, 4096), ("swap-table-p3", 2.125, 40, 4096),
     ("swap-table-p4", 0, 48, 4096 + 1024)],
)  # fmt: skip
def test_what_is_static_and_what_a_used_cluster_takes(name, static, cluster, used):
    slots = 1 << 18
    design = designs.make(name, slots)
    header = used if name in ("swap-table-p3", "swap-table-p4") else 0  # bad slots are words
    assert design.bytes == slots * static + slots // 512 * cluster + header
    entry = design.alloc(9)
    assert design.bytes == slots * static + slots // 512 * cluster + header + used
    design.cache_del(entry, 512)
    assert design.bytes == slots * static + slots // 512 * cluster + header


def test_phase_1_takes_two_steps_into_the_cache_and_out():
    one, two = (designs.make(name, 4096) for name in ("swap-table-p1", "swap-table-p2"))
    for design, locks in ((one, 2), (two, 1)):
        entry = design.alloc()
        design.alloc()
        design.dup(entry)
        assert spent(design, design.cache_del, entry, 1, 5)["locks"] == locks
        assert spent(design, design.cache_add, entry, 1, 5)["locks"] == locks


def test_phase_4_charges_in_a_step_of_its_own():
    for name, more in (("swap-table-p3", 0), ("swap-table-p4", 1)):
        design = designs.make(name, 4096)
        design.alloc(), design.alloc()
        free, paid = spent(design, design.alloc, 0, 1, 0), spent(design, design.alloc, 0, 1, 9)
        assert paid["locks"] - free["locks"] == more


@pytest.mark.parametrize(
    "name", ["swap-table-p3", "swap-table-p4", "redirect-chain", "vswap-table", "vswap-16", "zram"]
)
def test_counts_beyond_14_have_a_table_while_they_last(name):
    design = designs.make(name, 4096)
    entry = design.alloc(1)
    for count in range(1, 40):
        design.dup(entry + 1)
        assert design.lookup(entry + 1)["count"] == count
        assert design.memory()["extend_tables"] == (2048 if count > 14 else 0)
        design.check()
    for count in range(38, -1, -1):
        design.put(entry + 1)
        assert design.lookup(entry + 1)["count"] == count
        assert design.memory()["extend_tables"] == (2048 if count > 14 else 0)
    design.cache_del(entry, 2)
    assert design.used == 0
    design.check()


@pytest.mark.parametrize("name", ["swap-table-p1", "swap-table-p2", "ghost"])
def test_counts_beyond_62_continue_in_pages(name):
    design = designs.make(name, 8192)
    entry = design.alloc()
    for count in range(1, 200):
        design.dup(entry)
        assert design.lookup(entry)["count"] == count
    links = 2 * 4 * 8
    assert design.memory()["continuation"] == 4096 + links
    for _ in range(199):
        design.put(entry)
    assert design.memory()["continuation"] == 4096 + links  # until swapoff
    design.check()


@pytest.mark.parametrize("name", PHASES)
def test_devices_follow_each_other(name):
    design = designs.make(name, 1024, devices=2)
    assert design.size == 2046
    entries = outs(design, 1500)
    assert {int(e) >> 40 for e in entries} == {0, 1}
    assert {design.locate(int(e))[0] for e in entries} == {(1 + (int(e) >> 40), int(e) & 0xFFFFFFFF) for e in entries}
    outs(design, 546)
    with pytest.raises(SwapFullError):
        design.alloc()
    assert design.used == design.size
    design.check()


def test_zswap_is_asked_by_every_read_and_every_free():
    design = designs.make("swap-table-p4", 4096, backend="zswap")
    entries = [int(e) for e in outs(design, 64)]
    plain = designs.make("swap-table-p4", 4096)
    other = [int(e) for e in outs(plain, 64)]
    design.cache_add(entries[0], 1, 5)
    plain.cache_add(other[0], 1, 5)
    assert spent(design, design.read, entries[0])["lookups"] == spent(plain, plain.read, other[0])["lookups"] + 1
    assert design.locate(entries[0]) == [(1, entries[0])]  # the load was exclusive
    assert spent(design, design.put, entries[1])["lookups"] == spent(plain, plain.put, other[1])["lookups"] + 1
    design.check()


# ---- ghosts, xswap, zram


def test_a_ghost_is_no_block_device():
    for dynamic in (False, True):
        design = designs.make("ghost", 4096, dynamic=dynamic)
        for order in range(1, 10):
            with pytest.raises(SwapFullError):
                design.alloc(order)
        entry = design.alloc()
        design.dup(entry)
        design.writeout(entry)
        assert [tier for tier, _ in design.locate(entry)] == [0]
        design.check()


@pytest.mark.parametrize("name", ["ghost", "xswap"])
def test_no_blocks_no_disk(name):
    with pytest.raises(SwapValueError, match=f"expected 'zswap': {name} has no blocks"):
        designs.make(name, 4096, backend="disk")


def test_a_ghost_keeps_phase_2_for_its_header_size():
    slots = 1 << 18
    design = designs.make("ghost", slots)
    assert design.bytes == slots * 3.125 + slots // 512 * 32 + slots // 16384 * 24


def test_a_dynamic_ghost_has_clusters_while_they_are_used():
    design = designs.make("ghost", 1 << 18, dynamic=True, block=True)
    start = design.bytes
    assert start == 408  # a tree's head for every 64 MiB
    entry = design.alloc(9)
    assert entry == 512  # numbers begin at 1
    memory = design.memory()
    assert (memory["tables"], memory["memcg_tables"], memory["cluster_info"], memory["rounding"]) == (
        4096,
        1024,
        80,
        16,
    )
    assert memory["xarray_nodes"] == NODE
    design.cache_del(entry, 512)
    assert design.bytes == start + 16384  # the slab keeps a page
    assert design.memory()["xarray_nodes"] == 0
    design.check()


def test_xswap_grows_by_85_clusters_and_does_not_shrink():
    design = designs.make("xswap", 512 * 200)
    heads = design.bytes
    folios = [design.alloc(9) for _ in range(85)]  # the header's cluster is one of the first 85
    assert design.memory()["cluster_info"] == 170 * 48
    assert design.memory()["rounding"] == 2 * 16
    folios += [design.alloc(9) for _ in range(114)]
    assert design.memory()["cluster_info"] == 200 * 48
    with pytest.raises(SwapFullError):
        design.alloc(9)
    for folio in folios:
        design.cache_del(folio, 512)
    assert design.bytes == heads + 3 * 4096
    design.check()


@pytest.mark.parametrize("index", ["flat", "array", "xarray"])
@pytest.mark.parametrize("name", ["xswap", "vswap-table", "vswap-16", "vswap-16x", "redirect-chain"])
def test_the_index_is_a_parameter(name, index):
    options = {"backend": "zswap"}
    design = designs.make(name, 1 << 16, index=index, **options)
    drive(design, 11, 1500)
    design.check()
    lookups = spent(design, design.cache_get, 600)
    assert lookups["lookups"] == 1
    assert (lookups["depth"] > 2) == (index == "xarray")
    with pytest.raises(SwapValueError, match="index is 'tree'; expected one of flat, array, xarray"):
        designs.make(name, 4096, index="tree", **options)


def test_zram_has_16_bytes_a_page_of_disksize():
    slots = 1 << 16
    design, bare = designs.make("zram", slots), designs.make("swap-table-p4", slots)
    assert design.bytes - bare.bytes == 16 * slots
    a, b = int(outs(design, 1)[0]), int(outs(bare, 1)[0])
    design.cache_add(a, 1, 4), bare.cache_add(b, 1, 4)
    mine, plain = spent(design, design.read, a), spent(bare, bare.read, b)
    assert (mine["lookups"], mine["locks"]) == (plain["lookups"] + 1, plain.get("locks", 0) + 1)
    with pytest.raises(SwapValueError, match="zram compresses itself"):
        designs.make("zram", slots, backend="zswap")
    design.check()


# ---- virtual slots


@pytest.mark.parametrize("name", VIRTUAL)
def test_no_device_no_static_bytes(name):
    design = designs.make(name, 1 << 20, backend="zswap")
    assert design.bytes == 0
    assert design.size in ((1 << 20) - 1, 1 << 20)
    entries = outs(design, 4096)
    assert {tier for e in entries for tier, _ in design.locate(int(e))} == {0}
    design.put_many(entries)
    assert (design.used, design.wasted) == (0, 0)
    design.check()


@pytest.mark.parametrize("name", VIRTUAL)
def test_an_exclusive_load_leaves_no_copy(name):
    design = designs.make(name, 4096, backend="zswap")
    entry = int(outs(design, 4, 2)[0])
    old = design.locate(entry, 4)
    design.cache_add(entry, 4, 9)
    assert design.read(entry, 4) == old
    assert design.locate(entry, 4) == [(-1, 0)] * 4
    design.writeout(entry, 4)
    new = design.locate(entry, 4)
    assert [tier for tier, _ in new] == [0] * 4
    assert not set(new) & set(old)
    design.check()


def test_vswap_table_is_its_two_tables_and_the_pointer():
    slots = 1 << 16
    design = designs.make("vswap-table", slots)
    assert design.bytes == slots // 512 * 48 + 4096  # the physical clusters, and a table for the header
    outs(design, 512, 9)
    memory = design.memory()
    assert (memory["tables"], memory["virtual_tables"], memory["memcg_tables"]) == (4096, 4096, 1024)
    assert (memory["cluster_info"], memory["rounding"]) == (80, 16)
    assert memory["device_tables"] == 2 * 4096
    assert memory["device_memcg_tables"] == 0
    first = designs.make("vswap-table", slots, deferred=False)
    outs(first, 512, 9)
    assert first.memory()["device_memcg_tables"] == 2 * 1024


def test_descriptors_are_looked_up_one_by_one():
    for name in ("vswap-48", "vswap-64"):
        design = designs.make(name, 8192)
        entry = int(outs(design, 16, 4)[0])
        used = spent(design, design.dup, entry, 16)
        assert (used["lookups"], used["locks"]) == (16, 16)
    for name in ("vswap-24", "vswap-table", "vswap-16"):
        design = designs.make(name, 8192)
        entry = int(outs(design, 16, 4)[0])
        used = spent(design, design.dup, entry, 16)
        assert (used["lookups"], used["locks"]) == (1, 1)


def test_descriptor_numbers_are_used_again():
    design = designs.make("vswap-48", 1 << 14)
    entries = outs(design, 4096)
    assert entries.tolist() == list(range(1, 4097))
    design.put_many(entries[100:200])
    assert sorted(outs(design, 100).tolist()) == list(range(101, 201))
    design.put_many(entries[1000:3800])
    folios = outs(design, 1024, 4)
    assert folios.min() < 3800  # the cursor began again
    assert (folios[::16] % 16 == 0).all()
    design.check()


def test_the_pool_has_an_xarray_in_vswap_16x_only():
    for name, nodes in (("vswap-16x", 64 + 1), ("vswap-16", 0)):
        design = designs.make(name, 1 << 14, backend="zswap")
        entries = outs(design, 4095)
        assert design.memory().get("object_nodes", 0) == nodes * NODE
        design.put_many(entries)
        assert design.memory().get("object_nodes", 0) == 0
        design.check()


def test_narrow_locations_have_limits():
    with pytest.raises(SwapValueError, match="at most 3 and"):
        designs.make("vswap-16x", 4096, devices=4)
    with pytest.raises(SwapValueError, match="at most 3 and"):
        designs.make("vswap-16x", 1 << 30)


@pytest.mark.parametrize("name", ["vswap-16", "vswap-16x"])
def test_owners_cost_8_bytes_a_block(name):
    with_owners, without = (designs.make(name, 1 << 14, owners=owners) for owners in (True, False))
    for design in (with_owners, without):
        outs(design, 8192, 9)
    assert with_owners.memory()["reverse_map"] == 8192 * 8
    assert without.memory()["reverse_map"] == 0
    assert "by the reverse" not in without.says["swapoff"]
    assert with_owners.says["swapoff"] != without.says["swapoff"]


# ---- the reverse map to page table entries


def test_links_come_with_the_second_page_table_entry():
    design = designs.make("pte-rmap", 4096)
    entry = design.alloc()
    design.dup(entry)
    design.mapped(entry, 1, 100)
    assert design.memory()["pte_links"] == 0
    for pte in (101, 102):
        design.dup(entry)
        design.mapped(entry, 1, pte)
    assert design.memory()["pte_links"] == 3 * 16
    design.check()
    design.unmapped(entry, 1, 101)
    design.put(entry)
    assert design.memory()["pte_links"] == 2 * 16
    design.unmapped(entry, 1, 100)
    design.put(entry)
    assert design.memory()["pte_links"] == 0
    with pytest.raises(SwapError):
        design.unmapped(entry, 1, 100)
    design.unmapped(entry, 1, 102)
    design.put(entry)
    design.cache_del(entry)
    design.check()


def test_a_page_table_entry_takes_a_user():
    design = designs.make("pte-rmap", 4096)
    entry = design.alloc()
    with pytest.raises(SwapError):
        design.mapped(entry, 1, 7)
    design.dup(entry)
    design.mapped(entry, 1, 7)
    design.check()


def test_others_have_nothing_to_remember():
    design = designs.make("vswap-24", 4096)
    entry = design.alloc()
    design.mapped(entry, 1, 7)
    design.unmapped(entry, 1, 7)


# ---- chains


def test_a_chain_is_followed_hop_by_hop():
    design = designs.make("redirect-chain", 4096, devices=4)
    entry = int(outs(design, 1)[0])
    for hops, tier in enumerate((2, 3, 4), 1):
        assert design.transfer([entry], tier) == 1
        assert design.hops(entry) == hops
        assert design.wasted == hops
        assert spent(design, design.cache_get, entry)["lookups"] == hops + 1
        assert design.lookup(entry)["memcg"] == 3
        design.check()
    design.put(entry)
    assert (design.used, design.wasted) == (0, 0)
    design.check()


def test_what_is_cached_stays_where_it_is():
    for name in ("redirect-chain", "vswap-24", "vswap-table", "vswap-48"):
        design = designs.make(name, 4096, devices=2)
        entries = [int(e) for e in outs(design, 4)]
        design.cache_add(entries[0], 1, 7)
        assert design.transfer(entries, 2) == 3
        assert design.locate(entries[0])[0][0] == 1
        assert design.transfer(entries, 2) == 0
        design.check()


@pytest.mark.parametrize("name", ["redirect-chain", "vswap-table", "vswap-16x", "vswap-24"])
def test_a_count_moves_with_its_data(name):
    design = designs.make(name, 4096, devices=3)
    entry = int(outs(design, 1)[0])
    for _ in range(30):
        design.dup(entry)
    for tier in (2, 3, 1):
        assert design.transfer([entry], tier) == 1
        assert design.lookup(entry)["count"] == 31
        design.check()
    for _ in range(31):
        design.put(entry)
    assert design.used == 0
    design.check()


@pytest.mark.parametrize("name", OURS)
def test_transfer_refuses_numbers_that_are_no_entries(name):
    design = designs.make(name, 4096)
    with pytest.raises(SwapValueError, match="entry"):
        design.transfer([-1], 1)
    with pytest.raises(SwapValueError, match="entry"):
        design.transfer([1 << 50], 1)
    with pytest.raises(SwapValueError, match="tier"):
        design.transfer([1], -1)


def test_fill_takes_arrays_that_it_can_write():
    design = designs.make("old", 4096)
    fixed = np.empty(8, np.uint64)
    fixed.flags.writeable = False
    for out in (fixed, np.empty(8, np.int64), np.empty(16, np.uint64)[::2], [0] * 8):
        with pytest.raises(SwapValueError, match="contiguous uint64 array"):
            design.fill(out)
    with pytest.raises(SwapValueError, match="no multiple of 16"):
        design.fill(np.empty(8, np.uint64), 4)
    assert design.fill(np.empty(0, np.uint64)) == 0
    assert design.fill(np.empty(5000, np.uint64)) == 4095


def test_put_many_says_how_far_it_came():
    design = designs.make("old", 4096)
    entries = outs(design, 8)
    with pytest.raises(SwapError, match=r"element 3 of the batch") as caught:
        design.put_many([*entries[:3].tolist(), 4000, int(entries[3])])
    assert caught.value.index == 3
    assert design.used == 5
