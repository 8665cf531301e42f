# Events of a swap space: each move of data is told once, with where it was and is, and how many bytes went.
# Imports the package, numpy and pytest.
# Used by pytest.
import gc
import threading

import numpy as np
import pytest
from test_space import noise, text

from swaptable import SlotBusyError, SwapValueError
from swaptable.backends.memory import MemoryBackend
from swaptable.events import MOVED, Reason
from swaptable.memcg import MemcgTree
from swaptable.space import SwapSpace

MIB = 1 << 20


@pytest.fixture(autouse=True)
def collected():
    """Spaces and their callbacks name each other; under a sanitizer address space is scarce."""
    yield
    gc.collect()


def tiered(**options):
    """A pool above a ghost above a device above another."""
    space = SwapSpace(**options)
    space.add_zswap("lz4", limit=8 * MIB)
    space.swapon(None, size=MIB, grow=True, priority=9)
    space.swapon(backend=MemoryBackend(4096), name="fast", priority=5)
    space.swapon(backend=MemoryBackend(4096), name="slow", priority=1)
    return space


def names(known, numbers):
    return {known[number] for number in np.unique(numbers).tolist()}


def members(space):
    return {device.member: device.name for device in space.devices}


def test_each_way_of_moving_is_told():
    got = []
    with tiered() as space:
        pages, known = text(100), members(space)
        entries = space.swap_out_many(pages).entries
        with space.events(got.append):
            assert space.writeback(40) == 40
            down = entries[[at == "fast" for at in space.where(entries)]]
            assert (space.prefetch(down[:10], "slow") == 0).all()
            assert (space.prefetch(down[:10], "zswap0") == 0).all()
            space.swapoff("fast")
        assert space.writeback(5) == 5
        assert [some.dtype for some in got] == [MOVED] * len(got)
        some = np.concatenate(got)
        assert some["sequence"].tolist() == list(range(90))
        reasons = [Reason.WRITEBACK, Reason.PREFETCH, Reason.PREFETCH, Reason.SWAPOFF]
        assert some["reason"].tolist() == np.repeat(reasons, [40, 10, 10, 30]).tolist()
        parts = np.split(some, [40, 50, 60])
        assert [names(known, part["source"]) for part in parts[:3]] == [{"zswap0"}, {"fast"}, {"slow"}]
        assert [names(known, part["target"]) for part in parts[:3]] == [{"fast"}, {"slow"}, {"zswap0"}]
        assert names(known, parts[3]["source"]) == {"fast"}
        assert set(parts[0]["entry"].tolist()) == set(down.tolist())
        assert set(parts[3]["entry"].tolist()) == set(down[10:].tolist())
        assert set(parts[0]["bytes"].tolist()) == set(parts[1]["bytes"].tolist()) == {4096}
        assert 0 < parts[2]["bytes"].max() < 4096
        assert np.array_equal(space.swap_in_many(entries), pages)
        space.check()


def test_bytes_of_what_stays_compressed_and_who_pays():
    tree = MemcgTree()
    group = tree.mkdir("job")
    got = []
    with tiered(memcg=tree, compressed_writeback=True) as space:
        entries = space.swap_out_many(text(60), memcg=group).entries
        with space.events(got.append):
            assert space.writeback(60) == 60
        some = np.concatenate(got)
        fast = space.devices["fast"]
        assert set(some["entry"].tolist()) == set(entries.tolist()) and set(some["memcg"].tolist()) == {group.id}
        assert names(members(space), some["target"]) == {"fast"}
        assert sorted(some["bytes"].tolist()) == sorted((fast.marks[fast.marks != 0] & 8191).tolist())
        space.check()


def test_what_stays_is_not_told():
    got = []
    with SwapSpace() as space:
        space.add_zswap("lz4", limit=8 * MIB)
        space.swapon(None, size=MIB, grow=True, priority=9)
        space.swapon(backend=MemoryBackend(16), name="small", priority=5)
        entries = space.swap_out_many(text(50)).entries
        with space.events(got.append):
            moved = space.writeback(50)
        assert sum(len(some) for some in got) == moved == space.where(entries).count("small") < 50
        space.check()


def test_callback_may_call_the_space_and_may_raise():
    sizes = []
    with tiered() as space:
        entries = space.swap_out_many(text(40)).entries

        def callback(some):
            sizes.append(len(some))
            space.swap_in(int(some["entry"][0]))
            if len(sizes) == 2:
                raise RuntimeError("no more")

        events = space.events(callback)
        assert space.writeback(10) == 10
        with pytest.raises(RuntimeError, match="no more"):
            space.writeback(10)
        assert space.stats()["zswpwb"] == 20
        events.close()
        events.close()
        assert space.writeback(5) == 5
        assert sizes == [10, 10] and len(entries) == 40
        space.check()


def test_one_listener_at_a_time():
    with tiered() as space:
        with space.events(print) as events, pytest.raises(SlotBusyError, match="somebody listens already"):
            space.events(print)
        got = []
        with space.events(got.append):
            events.close()  # the first one's; the second goes on
            space.swap_out_many(text(10))
            assert space.writeback(4) == 4
        assert [len(some) for some in got] == [4]
        with pytest.raises(SwapValueError, match="callback 3: expected a callable"):
            space.events(3)
        space.check()


def test_threads_tell_each_move_once():
    """Two threads write back, one gives the entries up again: moves of an entry are a chain, in order of sequence."""
    got, moved = [], []
    with tiered() as space:
        entries = space.swap_out_many(noise(600)).entries
        with space.events(got.append):

            def down():
                for _ in range(30):
                    moved.append(space.writeback(20, tier="fast"))

            def up():
                for first in range(0, 600, 20):
                    moved.append(int((space.prefetch(entries[first : first + 20], "fast") == 0).sum()))

            threads = [threading.Thread(target=run) for run in (down, down, up)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        some = np.sort(np.concatenate(got), order="sequence")
        assert some["sequence"].tolist() == list(range(sum(moved)))
        at = {}
        for event in some:
            entry = int(event["entry"])
            assert at.get(entry, event["source"]) == event["source"]
            at[entry] = event["target"]
        now = [space.devices[name].member for name in space.where(list(at))]
        assert now == [int(target) for target in at.values()]
        space.check()
