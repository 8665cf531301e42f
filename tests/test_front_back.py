# What is particular to our own front end and back end: locations, the pool, lent blocks, slots past the end.
# Imports the package, numpy and pytest.
# Used by pytest; what all designs have in common is in test_designs.py and test_spaces.py.
import numpy as np
import pytest
from test_rivals import outs, spent

from swaptable import designs
from swaptable._spaces import AddressSpaces
from swaptable.errors import SwapFullError, SwapValueError

PAST = 1 << 32


def swapped(pages, slots, **options):
    """A process that is swapped out page by page."""
    design = designs.make("front-back", slots, **options)
    spaces = AddressSpaces(design, pages)
    spaces.populate()
    assert spaces.swap_out(np.arange(pages)) == pages
    return design, spaces


def sound(design, spaces):
    design.check()
    spaces.verify()


def tiers(design, spaces):
    return {design.locate(int(entry))[0][0] for entry in spaces.entries()}


# ---- plain: the slot is the place


def test_a_slot_is_the_place_until_its_data_moves():
    design, spaces = swapped(600, 2048, devices=2)
    entries = spaces.entries()
    assert [design.locate(int(e)) for e in entries[:3]] == [[(1, int(e))] for e in entries[:3]]
    assert design.memory()["locations"] == 0
    assert spaces.transfer(entries, 2) == 600
    assert {design.hops(int(e)) for e in entries} == {1}
    assert list(spaces.entries()) == list(entries)
    sound(design, spaces)
    # Back home: their own blocks are free, so no location is left.
    assert spaces.transfer(entries, 1) == 600
    assert design.memory()["locations"] == 0
    assert {design.hops(int(e)) for e in entries} == {0}
    assert design.used == 600
    sound(design, spaces)


def test_a_block_whose_data_has_moved_is_free_for_others():
    design, spaces = swapped(1023, 1024, devices=2, contiguous=True)
    assert design.wasted == 0
    assert spaces.transfer(spaces.entries(), 2) == 1023
    assert (design.used, design.size) == (1023, 2046)
    # All slots of both fronts are in use or lent; the 1,023 blocks of the first device are not.
    more = outs(design, 1008, 4)
    assert {int(e) >> 32 for e in more} == {1}
    assert {design.locate(int(e))[0][0] for e in more} == {1}
    assert design.lookup(int(more[0]))["kind"] == "shadow"
    assert design.used == 1023 + 1008
    sound(design, spaces)
    # Their own blocks are lent now: what comes back gets others, of which few are left.
    assert spaces.transfer(spaces.entries(), 1) == 15
    assert {design.locate(int(e))[0][0] for e in spaces.entries()} == {1, 2}
    sound(design, spaces)
    with pytest.raises(SwapFullError):
        spaces.transfer([e for e in spaces.entries() if design.locate(int(e))[0][0] == 2], 1)
    sound(design, spaces)


def test_without_slots_past_the_end_lent_slots_are_missed():
    design, spaces = swapped(1023, 1024, devices=2)
    spaces.transfer(spaces.entries(), 2)
    with pytest.raises(SwapFullError, match="no room at order 0, 1023 of 2046 blocks in use"):
        design.alloc()
    sound(design, spaces)


def test_a_folio_at_scattered_blocks_is_one_entry_and_many_extents():
    plain, ours = (designs.make("front-back", 1024, contiguous=how) for how in (False, True))
    for design in (plain, ours):
        design.put_many(outs(design, 1023)[::2])
    with pytest.raises(SwapFullError):
        plain.alloc(4)
    ours.reset_counters()
    (folio, *_) = outs(ours, 16, 4)
    assert folio == PAST
    assert (ours.counters["ios"], ours.counters["extents"]) == (1, 16)
    ours.cache_add(int(folio), 16, 5)
    assert len({block for _, block in ours.read(int(folio), 16)}) == 16
    ours.check()


# ---- the pool is a device


def test_an_exclusive_load_leaves_no_object_and_keeps_the_number():
    design, spaces = swapped(600, 2048, backend="zswap")
    assert design.bytes == design.memory()["total"]
    assert design.memory()["object_tables"] > 2 * 4096
    entry = int(spaces.entries()[7])
    old = design.locate(entry)
    spaces.swap_in(np.arange(600))
    assert design.memory()["object_tables"] < 4096
    assert spaces.swap_out(np.arange(600)) == 600
    assert design.locate(int(spaces.entries()[7])) != old
    sound(design, spaces)
    spaces.drop(np.arange(600))
    assert (design.used, spaces.resident) == (0, 0)
    design.check()


def test_an_object_goes_with_its_last_user():
    design, spaces = swapped(600, 2048, backend="zswap")
    spaces.fork()
    spaces.drop(np.arange(600))
    sound(design, spaces)
    assert design.memory()["object_tables"] > 4096
    spaces.drop(np.arange(600, 1200))
    assert design.memory()["object_tables"] == 16
    design.check()


def test_writeback_from_the_pool_needs_no_reserved_block():
    design, spaces = swapped(1000, 2048, backend="zswap", devices=2)
    assert (design.wasted, tiers(design, spaces)) == (0, {0})
    for tier in (1, 2):
        assert spaces.transfer(spaces.entries(), tier) == 1000
        assert (design.used, design.wasted, tiers(design, spaces)) == (1000, 0, {tier})
        sound(design, spaces)
    # A page that comes back from there and is stored to is written where it was.
    spaces.store(np.arange(1000))
    spaces.swap_out(np.arange(1000))
    assert tiers(design, spaces) == {0}  # a store gave the old entry up
    sound(design, spaces)


def test_a_full_pool_leaves_the_rest_to_the_device():
    design, spaces = swapped(1500, 1024, backend="zswap", devices=1)
    assert tiers(design, spaces) == {0, 1}
    assert sum(design.locate(int(e))[0][0] == 0 for e in spaces.entries()) == 1023
    sound(design, spaces)


# ---- redirected: a ghost in front


def test_a_ghost_in_front_takes_blocks_when_data_is_written():
    design = designs.make("front-back", 1024, redirected=True)
    entries = [design.alloc(9) for _ in range(4)]
    assert (design.used, design.size) == (0, 1023)
    assert design.locate(entries[0]) == [(-1, 0)]
    design.writeout(entries[0], 512)
    assert design.used == 512
    with pytest.raises(SwapFullError, match="512 of 1023"):
        design.writeout(entries[1], 512)
    assert design.used == 512
    design.writeout(entries[1], 511)
    for entry in entries:
        design.cache_del(entry, 512)
    assert design.used == 0
    design.check()


def test_blocks_for_a_folio_are_those_of_used_clusters_first():
    """The block allocator keeps free clusters whole; in those in use it takes the longest runs first."""
    design = designs.make("front-back", 4096, redirected=True)
    outs(design, 100)
    design.reset_counters()
    singles = outs(design, 64, 6)
    assert (design.counters["ios"], design.counters["extents"]) == (1, 1)
    design.put_many(singles[::2])
    outs(design, 256, 8)
    design.reset_counters()
    outs(design, 64, 6)
    assert (design.counters["ios"], design.counters["extents"]) == (1, 1)
    outs(design, 32, 5)  # the last 27 blocks of the cluster, and 5 of those that came free
    assert (design.counters["ios"], design.counters["extents"]) == (2, 1 + 1 + 5)
    design.check()


# ---- swapoff


@pytest.mark.parametrize("owners", [False, True])
def test_a_device_that_is_off_lives_on_as_a_front(owners):
    design, spaces = swapped(900, 1024, devices=2, owners=owners)
    spaces.transfer(spaces.entries()[:450], 2)
    before = list(spaces.entries())
    spaces.swapoff(1)
    assert list(spaces.entries()) == before
    assert tiers(design, spaces) == {-1, 2}
    assert (design.size, design.counters["ptes"]) == (1023, 0)
    sound(design, spaces)
    assert spaces.flush() == 450
    assert (tiers(design, spaces), design.used) == ({2}, 900)
    sound(design, spaces)
    for call in (lambda: spaces.swapoff(1), lambda: spaces.transfer(before, 1)):
        with pytest.raises(SwapValueError):
            call()
    spaces.drop(np.arange(900))
    assert design.used == 0
    assert outs(design, 10).min() >= 1 << 40  # new entries are the second device's
    design.check()


def test_swapoff_where_own_blocks_are_lent_finds_others():
    design, spaces = swapped(1023, 1024, devices=3, contiguous=True)
    spaces.transfer(spaces.entries(), 2)
    outs(design, 1008, 4)
    spaces.swapoff(2)
    # No location means the own block, which is another's: such slots have a block elsewhere, and their data in memory.
    assert 2 not in tiers(design, spaces)
    sound(design, spaces)
    spaces.flush()
    spaces.swap_in(np.arange(1023))
    sound(design, spaces)


def test_swapoff_of_the_pool_empties_its_tables():
    design, spaces = swapped(900, 2048, backend="zswap", devices=1)
    spaces.swapoff(0)
    assert design.memory()["object_tables"] == 0
    assert tiers(design, spaces) == {-1}
    sound(design, spaces)
    assert spaces.flush() == 900
    assert (tiers(design, spaces), design.used, design.size) == ({1}, 900, 2047)
    sound(design, spaces)


def test_owners_lead_there_without_a_look_at_every_location():
    found = {}
    for owners in (False, True):
        design, spaces = swapped(20_000, 1 << 15, devices=2, owners=owners)
        spaces.transfer(spaces.entries()[:50], 2)
        before = design.counters
        spaces.swapoff(2)
        found[owners] = design.counters["lookups"] - before["lookups"]
        assert spaces.io["reads"] == 50
        sound(design, spaces)
    assert found == {False: 0, True: 50}


# ---- cold clusters


def test_cold_clusters_are_packed_and_read_as_they_are():
    design, spaces = swapped(16384, 1 << 15, compact=True)
    packed = design.tables[0].usage()["clusters"]["packed"]
    assert packed >= 20
    # 3 bytes a slot, since no two cgroups are the same, and 32 for the cluster.
    assert design.memory()["packed"] == packed * (512 * 3 + 32)
    sound(design, spaces)
    assert design.tables[0].usage()["clusters"]["packed"] == packed
    spaces.swap_in(np.arange(0, 16384, 512))
    assert design.tables[0].usage()["clusters"]["packed"] == 0
    sound(design, spaces)


# ---- the rest


def test_a_fault_looks_at_the_word_and_then_for_a_location():
    design, spaces = swapped(1000, 2048, devices=2)
    near, far = (int(e) for e in spaces.entries()[:2])
    spaces.transfer([far], 2)
    for entry, depth in ((near, 2 + 1), (far, 2 + 2)):
        before = design.counters
        design.cache_add(entry, 1, 7)
        design.read(entry)
        assert design.counters["depth"] - before["depth"] == depth
    assert spent(design, design.cache_get, near) == {"ops": 1, "lookups": 1, "depth": 2}


def test_counts_beyond_a_word_are_exact():
    design = designs.make("front-back:redirected=yes", 1024)
    entry = design.alloc()
    for count in range(1, 40):
        design.dup(entry)
        assert design.lookup(entry)["count"] == count
    assert design.memory()["overflow"] == 2048
    design.check()


@pytest.mark.parametrize("compact", [-1, 1 << 42])
def test_an_impossible_age_is_refused(compact):
    with pytest.raises(SwapValueError, match=f"compact is {compact}"):
        designs.make("front-back", 1024, compact=compact)


def test_switches_by_name():
    design = designs.make("front-back:redirected=yes,owners=yes,compact=100,contiguous=no,devices=2", 1024)
    assert (design.size, len(design.tables), len(design.space)) == (2046, 3, 3)
    assert "each used block leads to its entry" in design.says["swapoff"]
    assert "no entry changes" in design.says["transfer"]
