# Events: what happens to slots is told, once, in order; what was lost is counted; nobody listening changes nothing.
# Imports the package, numpy and pytest.
# Used by pytest.
import threading
import time

import numpy as np
import pytest

from swaptable import BlockSpace, DeviceList, SlotBusyError, SwapError, SwapFullError, SwapTable, SwapValueError
from swaptable.events import DTYPE, Kind


def told(events):
    """(kind, slot, nr) of what waits."""
    return [(Kind(e["kind"]).name, int(e["slot"]), int(e["nr"])) for e in events.drain()]


def test_slots_given_out():
    table = SwapTable(slots=4096, cpus=2)
    with table.events() as events:
        table.alloc(4, memcg=9)
        table.alloc_many(3, cpu=1, memcg=8)
        some = events.drain()
    assert some.dtype == DTYPE
    assert some["kind"].tolist() == [Kind.ALLOC] * 4
    assert some["slot"].tolist() == [512, 1, 2, 3]
    assert some["nr"].tolist() == [16, 1, 1, 1]
    assert some["order"].tolist() == [4, 0, 0, 0]
    assert some["memcg"].tolist() == [9, 8, 8, 8]
    assert some["sequence"].tolist() == [0, 1, 2, 3]
    table.check()


def test_slots_out_of_use_however_they_go():
    table = SwapTable(slots=4096)
    slots = table.alloc_many(8, memcg=5)
    folio = table.alloc(4)
    table.dup_many(slots)
    table.dup(1, users=20)
    table.cache_del_many(slots)
    with table.events() as events:
        table.put(2)
        table.put(1, users=21)
        table.free_many([3, 4, 5])
        table.free(folio, 16)
        last = table.alloc()
        table.cache_del(last)
        some = events.drain()
    gone = some[some["kind"] == Kind.FREE]
    assert sorted(zip(gone["slot"].tolist(), gone["nr"].tolist(), strict=True)) == [
        (1, 1), (2, 1), (3, 3), (last, 1), (folio, 16),
    ]  # fmt: skip
    assert set(gone["memcg"].tolist()) == {0, 5}
    table.check()


def test_fallback():
    table = SwapTable(slots=600)
    with table.events() as events:
        with pytest.raises(SwapFullError):
            table.alloc(9)
        table.alloc_many(599)
        with pytest.raises(SwapFullError):
            table.alloc()
        with pytest.raises(SwapFullError):
            table.alloc(2, memcg=3)
        some = events.drain()
    some = some[some["kind"] == Kind.FALLBACK]
    assert some["order"].tolist() == [9, 0, 2]
    assert some["nr"].tolist() == [1, 1, 1]
    assert some["memcg"].tolist() == [0, 0, 3]
    assert some["slot"].tolist() == [-1] * 3
    other = SwapTable(slots=600, block=False)
    with other.events() as events:
        with pytest.raises(SwapFullError):
            other.alloc(1)
        assert told(events) == [("FALLBACK", -1, 1)]


def test_past_the_end():
    table = SwapTable(slots=512)
    used = table.alloc_many(511)
    table.free_many(used[::2])
    with table.events() as events:
        folio = table.alloc(3, contiguous=True)
        assert told(events) == [("ALLOC", folio, 8)]
        table.free(folio, 8)
        assert [(kind, nr) for kind, _, nr in told(events)] == [("FREE", 8)]
    table.check()


def test_moves():
    space = BlockSpace()
    ssd, hdd = SwapTable(slots=1024, space=space), SwapTable(slots=1024, space=space)
    slots = ssd.alloc_many(3)
    homes = hdd.block_alloc(3)
    with ssd.events() as events:
        ssd.move_many(slots[:2], [0, 0], homes[:2])
        ssd.move(int(slots[2]), 0, int(homes[2]))
        with pytest.raises(SwapError):
            ssd.move(int(slots[2]), 0, int(homes[2]))
        some = events.drain()
    assert some["kind"].tolist() == [Kind.MOVE] * 3
    assert some["slot"].tolist() == slots.tolist()
    assert some["new"].tolist() == homes.tolist()
    assert some["old"].tolist() == [0] * 3
    space.check()


def test_what_a_list_of_devices_gives_out_too():
    devices, table = DeviceList(), SwapTable(slots=1024)
    devices.add(table)
    with table.events() as events:
        devices.alloc(2)
        assert told(events) == [("ALLOC", 512, 4)]


def test_a_full_ring_drops_and_says_so():
    table = SwapTable(slots=4096)
    with table.events(capacity=100) as events:
        table.alloc_many(1000)
        assert (events.pending, events.dropped) == (128, 1000 - 128)
        first = events.drain(28)
        assert first["slot"].tolist() == list(range(1, 29))
        table.alloc_many(10)
        rest = events.drain()
    assert rest["sequence"].tolist() == [*range(28, 128), *range(1000, 1010)]
    assert events.dropped == 1000 - 128
    assert events.pending == 0
    table.check()


def test_callback_gets_batches():
    table, got = SwapTable(slots=4096), []
    with table.events(got.append, batch=100) as events:
        table.alloc_many(250)
        assert [len(some) for some in got] == [250]
        for _ in range(99):
            table.alloc()
        assert len(got) == 1
        table.free(1)
        assert [len(some) for some in got] == [250, 100]
        table.alloc()
        events.deliver()
        table.alloc()
    assert [len(some) for some in got] == [250, 100, 1, 1]
    assert np.concatenate(got)["sequence"].tolist() == list(range(352))
    table.alloc()
    assert len(got) == 4


def test_callback_may_call_the_table_and_may_raise():
    table, seen = SwapTable(slots=4096), []

    def callback(some):
        seen.append(len(some))
        table.alloc()
        if len(seen) == 2:
            raise RuntimeError("no more")

    events = table.events(callback, batch=1)
    slot = table.alloc()
    with pytest.raises(RuntimeError, match="no more"):
        table.alloc()
    assert table.usage()["used"] == 4
    assert slot == 1
    events.close()
    events.close()
    assert seen == [1, 2, 1]
    table.check()


def test_one_listener_at_a_time():
    table = SwapTable(slots=1024)
    with table.events() as events:
        assert events.table is table
        with pytest.raises(SlotBusyError, match="somebody listens already"):
            table.events()
        with pytest.raises(SwapValueError, match="there is no callback"):
            events.deliver()
    with table.events() as again:
        table.alloc()
        assert told(again) == [("ALLOC", 1, 1)]
    assert told(events) == []
    with pytest.raises(TypeError):
        type(events)()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"capacity": 0}, "capacity 0: expected an integer from 1 to"),
        ({"capacity": 1 << 27}, "capacity 134217728"),
        ({"batch": 0}, "batch 0"),
        ({"batch": 65537}, "batch 65537"),
        ({"callback": 3}, "callback 3: expected a callable"),
    ],
)
def test_bad_arguments(args, words):
    table = SwapTable(slots=512)
    with pytest.raises(SwapValueError, match=words):
        table.events(**args)
    with table.events():
        pass


def test_threads_lose_nothing():
    """Four threads allocate and free; a fifth drains: every event is there once, and they add up."""
    table, parts, stop = SwapTable(slots=1 << 16, cpus=4), [], threading.Event()
    events = table.events(capacity=1 << 18)

    def work(cpu):
        for _ in range(60):
            slots = table.alloc_many(200, cpu=cpu)
            table.free_many(slots[::2])

    def drain():
        while not stop.is_set():
            parts.append(events.drain())

    threads = [threading.Thread(target=work, args=(cpu,)) for cpu in range(4)]
    drainer = threading.Thread(target=drain)
    drainer.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    drainer.join()
    some = np.concatenate([*parts, events.drain()])
    assert events.dropped == 0
    assert some["sequence"].tolist() == list(range(len(some)))
    given, gone = (int(some["nr"][some["kind"] == kind].sum()) for kind in (Kind.ALLOC, Kind.FREE))
    assert (given, given - gone) == (48_000, table.usage()["used"])
    events.close()
    table.check()


def test_listeners_come_and_go_beside_threads_that_allocate():
    table, stop, seen = SwapTable(slots=1 << 14, cpus=2), threading.Event(), 0

    def work(cpu):
        while not stop.is_set():
            slots = table.alloc_many(300, cpu=cpu)
            table.free_many(slots[::-1])
            table.free_many(table.alloc_many(20, order=2, cpu=cpu), nr=4)

    threads = [threading.Thread(target=work, args=(cpu,)) for cpu in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        with table.events(capacity=64) as events:
            while not events.pending:
                time.sleep(0)
            seen += len(events.drain())
    stop.set()
    for thread in threads:
        thread.join()
    assert seen >= 100
    table.check()
