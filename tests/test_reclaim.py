# Reclaim of slots that only the swap cache holds: who is asked, when, and what an answer does.
# May import the package.
# Used by pytest.
import threading

import numpy as np
import pytest

from swaptable import DeviceList, SlotBusyError, SwapFullError, SwapTable


def filled(slots=2048, order=0, **shape):
    """A full table whose every run is cached, without users, under a pfn of its own: its first slot plus 10,000."""
    table = SwapTable(slots=slots, header=False, **shape)
    first = table.alloc_many(slots >> order, order=order)
    table.free_many(first, 1 << order)
    table.trim()
    first = table.alloc_many(slots >> order, order=order, pfns=first + 10_000)
    assert table.usage()["used"] == slots
    return table, first


class Owner:
    """Lets go of what *yields* says; keeps the questions."""

    def __init__(self, yields=lambda slot: True):
        self.yields = yields
        self.asked, self.runs = [], []

    def __call__(self, slot, nr, pfn):
        self.asked.append((slot, pfn))
        self.runs.append((slot, nr))
        return self.yields(slot)


def test_without_a_callback_the_device_is_full():
    table, _ = filled()
    with pytest.raises(SwapFullError):
        table.alloc()
    table.check()


def test_a_full_cluster_is_asked_for_and_its_slots_given_again():
    table, first = filled()
    owner = Owner()
    table.set_reclaim(owner)
    slot = table.alloc(pfn=7)
    # The head of the full list, all of it, in order; then its first slot.
    head = slot - slot % 512
    assert owner.asked[:512] == [(s, s + 10_000) for s in range(head, head + 512)]
    assert table.entry(slot).pfn == 7
    assert table.usage()["used"] == 2048 - 512 + 1
    assert set(first) >= {slot}
    table.check()


def test_owners_may_keep_all():
    table, _ = filled()
    owner = Owner(lambda slot: False)
    table.set_reclaim(owner)
    with pytest.raises(SwapFullError):
        table.alloc()
    assert len(owner.asked) == 512  # one full cluster a search
    assert table.usage()["used"] == 2048
    table.check()


def test_slots_with_users_are_not_asked_for():
    table, first = filled()
    table.dup_many(first[first % 2 == 0])
    owner = Owner()
    table.set_reclaim(owner)
    table.alloc()
    assert owner.asked
    assert all(slot % 2 for slot, _ in owner.asked)
    table.check()


@pytest.mark.parametrize("order", [2, 4, 9])
def test_a_large_run_is_reclaimed_whole(order):
    table, _ = filled(order=order)
    table.set_reclaim(Owner())
    slot = table.alloc(order)
    assert slot % (1 << order) == 0
    table.check()


def test_a_scan_asks_for_what_it_meets():
    """Cached slots in a partly used cluster count as free, in the order of the scan."""
    table = SwapTable(slots=1024, header=False)
    first = table.alloc_many(900, pfns=np.arange(900))
    table.dup_many(first[:512])  # the full cluster has nothing to give
    table.free(600)
    owner = Owner(lambda slot: slot == 520)
    table.set_reclaim(owner)
    assert [table.alloc() for _ in range(3)] == [900, 901, 902]  # the cursor's cluster, from the cursor on
    rest = table.alloc_many(1024 - 903)
    assert rest.tolist() == list(range(903, 1024))
    assert table.alloc() == 520
    assert (520, 520) in owner.asked
    assert table.alloc() == 600
    table.check()


def test_below_half_nobody_is_asked():
    table = SwapTable(slots=2048, header=False)
    table.alloc_many(1024)
    owner = Owner()
    table.set_reclaim(owner)
    table.free_many(np.arange(0, 1024, 2))
    table.alloc_many(500)
    assert not owner.asked
    table.check()


def test_half_of_all_swap_is_what_counts():
    devices = DeviceList()
    small, large = SwapTable(slots=512, header=False), SwapTable(slots=8192, header=False)
    devices.add(small, 10)
    devices.add(large, 5)
    owner = Owner()
    small.set_reclaim(owner)
    devices.alloc_many(512)
    assert devices.alloc()[0] == 1
    assert not owner.asked
    devices.alloc_many(5000)
    small.free(3)
    assert devices.alloc(allowed=1)[1] == 0  # the scan starts at the cluster's head, and slot 0 is let go
    assert owner.asked == [(0, 0)]
    devices.check()


def test_the_owner_may_drop_the_slot_itself():
    table, _ = filled()

    def drop(slot, nr, pfn):
        table.cache_del(slot)
        return False

    table.set_reclaim(drop)
    table.alloc()
    # Every slot went one by one, so that the cluster was free in the end.
    assert table.usage()["used"] == 2048 - 512 + 1
    table.check()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_counts_as_no():
    table, _ = filled()

    def bad(slot, nr, pfn):
        raise RuntimeError("no")

    table.set_reclaim(bad)
    with pytest.raises(SwapFullError):
        table.alloc()
    table.set_reclaim(None)
    with pytest.raises(SwapFullError):
        table.alloc()
    table.check()


def test_a_folio_is_asked_for_and_freed_whole():
    table = SwapTable(slots=1024, header=False)
    folio = table.alloc(4, pfn=0x100)
    other = table.alloc(4, pfn=0x200)
    table.dup(other + 3)  # a user of one page is enough to keep it
    table.alloc_many(992)
    owner = Owner(lambda slot: slot == folio)
    table.set_reclaim(owner)
    with pytest.raises(SwapFullError):
        table.alloc()  # one full cluster a search, and the first was the other
    assert table.alloc() == folio
    assert (folio, 16) in owner.runs
    assert not any(other <= slot < other + 16 for slot, _ in owner.asked)
    assert [table.entry(folio + i).kind for i in range(3)] == ["folio", "null", "null"]
    table.check()


def test_a_full_list_of_devices_is_asked():
    devices = DeviceList()
    tables = [SwapTable(slots=1024) for _ in range(2)]
    for table in tables:
        devices.add(table)
    devices.alloc_many(2046, memcg=1)
    assert devices.available == []
    owner = Owner()
    tables[1].set_reclaim(owner)
    with pytest.raises(SwapFullError):
        devices.alloc(allowed=1)
    assert not owner.asked
    kind, _ = devices.alloc()
    assert kind == 1
    assert owner.asked
    devices.check()


def test_a_device_stays_while_an_owner_is_asked():
    devices = DeviceList()
    table = SwapTable(slots=512)
    devices.add(table)
    devices.alloc_many(511)
    devices.free(0, 400)
    refused = []

    def remove(slot, nr, pfn):
        with pytest.raises(SlotBusyError, match="swap type 0"):
            devices.remove(0)
        refused.append(slot)
        return True

    table.set_reclaim(remove)
    assert devices.alloc()[0] == 0
    assert refused
    devices.check()
    assert devices.remove(0) is table
    with pytest.raises(SwapFullError):
        devices.alloc()
    devices.check()


def test_another_thread_cannot_remove_it_either():
    devices = DeviceList()
    table = SwapTable(slots=512)
    devices.add(table)
    devices.alloc_many(511)
    devices.free(0, 400)
    asking, go, got = threading.Event(), threading.Event(), []

    def wait(slot, nr, pfn):
        asking.set()
        return go.wait(10)

    table.set_reclaim(wait)
    thread = threading.Thread(target=lambda: got.append(devices.alloc()))
    thread.start()
    assert asking.wait(10)
    with pytest.raises(SlotBusyError):
        devices.remove(0)
    go.set()
    thread.join()
    assert got[0][0] == 0
    devices.remove(0)
    assert devices.add(SwapTable(slots=1024)) == 0
    assert devices.alloc() == (0, 1)
    devices.check()


def test_refusal():
    with pytest.raises(ValueError, match="callback 5"):
        SwapTable().set_reclaim(5)


def test_two_threads_reclaim_from_one_table():
    table, _ = filled(slots=16384, cpus=2)
    table.set_reclaim(Owner())
    start = threading.Barrier(2)
    taken = [[], []]

    def work(cpu):
        start.wait()
        for _ in range(300):
            slot = table.alloc(0, cpu)
            table.dup(slot)
            taken[cpu].append(slot)
        table.alloc_many(200, cpu=cpu)

    threads = [threading.Thread(target=work, args=(cpu,)) for cpu in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A slot with a user is never asked for, so nobody got one that another still had.
    assert len(set(taken[0]) | set(taken[1])) == 600
    table.check()
