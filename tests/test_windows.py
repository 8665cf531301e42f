# Words as arrays: copies of a cluster and of all slots, and windows on a table itself, which must not become another's.
# Imports the package, numpy and pytest.
# Used by pytest; ends in check().
import gc
import io
import threading
import weakref

import numpy as np
import pytest

from swaptable import ClusterWindow, SlotBusyError, SlotNotInUseError, SwapTable, SwapValueError


def test_view():
    table = SwapTable(slots=1000)
    table.alloc_many(5, pfns=range(5))
    words = table.view(0)
    assert np.array_equal(words, table.words(np.arange(512)))
    assert not words.flags.writeable
    table.alloc()
    assert words[6] == 0
    assert table.view(1)[1000 - 512 :].tolist() == [2**64 - 8] * 24
    for wrong in (-1, 2, 1 << 40):
        with pytest.raises(SwapValueError, match=f"cluster {wrong}: expected 0 to 1"):
            table.view(wrong)
    assert not table.view(1 << 23).any()
    table.check()


@pytest.mark.parametrize("slots", [1000, 5000])
def test_all_words(slots):
    table = SwapTable(slots=slots)
    table.alloc_many(700, pfns=range(700))
    words = np.asarray(table)
    assert np.array_equal(words, table.words(np.arange(slots))) and words.dtype == np.uint64
    assert not words.flags.writeable
    assert np.array(table, dtype=np.int64).dtype == np.int64
    assert not np.asarray(table, dtype=float).flags.writeable
    with pytest.raises(ValueError, match="without a copy there is `window`"):
        np.asarray(table, copy=False)
    table.check()
    with pytest.raises(SwapValueError, match="a table without a size has 4294966784 slots"):
        np.asarray(SwapTable(slots=None))


def test_a_window_is_the_table():
    table = SwapTable(slots=2048)
    table.alloc_many(600)
    with table.window(1) as window:
        live = np.asarray(window)
        assert (live.dtype, live.shape, live.flags.writeable, live.flags.owndata) == (np.uint64, (512,), False, False)
        assert np.array_equal(live, table.view(1)) and len(window) == 512
        slot = table.alloc(pfn=77)
        assert slot >> 9 == 1 and live[slot & 511] == table[slot] != 0
        assert window.current and "cluster 1: current" in repr(window)
        with pytest.raises(BufferError, match="in use by 1 arrays"):
            window.close()
        with pytest.raises(ValueError, match="read-only"):
            live[0] = 1
        with pytest.raises(TypeError, match="read-write"):
            io.BytesIO(bytes(5000)).readinto(window)
    assert table.memory()["total"] and not live.flags.writeable
    del live
    window.close()
    assert "closed" in repr(window) and not window.current
    with pytest.raises(BufferError, match="is closed"):
        memoryview(window)
    table.check()


def test_a_table_that_is_looked_at_is_nobody_elses():
    """Its cluster is emptied and a hundred others get tables: none of them is this one, until the window closes."""
    table = SwapTable(slots=512 * 300, header=False)
    table.alloc_many(512)
    window = table.window(0)
    live = np.asarray(window)
    table.free_many(np.arange(512))
    assert not window.current and not live.any()
    where = live.ctypes.data
    for round_ in range(1, 60):             # epochs pass: what waits in limbo comes back
        slots = table.alloc_many(512, order=0)
        table.free_many(slots)
        assert not live.any(), round_
        table.check()
    table.alloc_many(512 * 100)
    assert not live.any()
    others = [table.window(k) for k in range(100) if table.view(k).any()][:40]
    assert where not in [np.asarray(other).ctypes.data for other in others]
    del live, others
    gc.collect()
    window.close()
    for _ in range(3):                      # free again: it serves another cluster now
        table.free_many(table.alloc_many(512))
    table.alloc_many(512 * 199)
    windows = (table.window(cluster) for cluster in range(300) if table.view(cluster).any())
    assert where in [np.asarray(one).ctypes.data for one in windows]
    table.trim()
    table.check()


def test_a_window_through_trim_resize_and_packing():
    table = SwapTable(slots=512 * 8, header=False)
    slots = table.alloc_many(1024)
    table.dup_many(slots)
    table.cache_del_many(slots, np.ones(1024, int))
    packed, emptied = table.window(0), table.window(1)
    before = table.view(1)
    assert table.compact(0)["uniform"] == 2
    table.put_many(slots[512:])
    table.trim()
    table.resize(512)
    assert not packed.current and not emptied.current
    # What it held when it was packed, however often the records were trimmed since.
    assert np.array_equal(packed, before) and np.array_equal(emptied, before)
    with pytest.raises(SlotNotInUseError, match="cluster 0: no table: it is packed"):
        table.window(0)
    table.check()
    del table                               # the windows keep it
    gc.collect()
    assert np.array_equal(emptied, before)
    packed.table.check()


def test_a_window_in_a_cycle_is_collected():
    """The collector may clear a cycle's objects in any order; the window gives its table back all the same."""

    class Box:
        pass

    table, box = SwapTable(slots=1024), Box()
    table.alloc()
    box.window, box.table = table.window(0), table
    box.events = table.events(lambda batch, box=box: None)
    gone = weakref.ref(box)
    del table, box
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("slots", [1, 512, 1000, 512 * 61])
def test_windows_leave_a_small_device_its_tables(slots):
    """As many windows as there may be, each on a table that is the cluster's no more: the next one has a table too."""
    table = SwapTable(slots=slots, header=False)
    windows = []
    for _ in range(64):
        slot = table.alloc()
        windows.append(table.window(slot >> 9))
        table.free(slot)
    for _ in range(200):
        table.free(table.alloc())
    assert table.alloc() >= 0
    del windows
    table.check()


def test_a_window_is_closed_with_its_last_array():
    table = SwapTable(slots=1024)
    table.alloc()
    with table.window(0) as window:
        live, more = np.asarray(window), memoryview(window)
    assert window.current
    del live
    assert window.current
    more.release()
    assert not window.current and "closed" in repr(window)
    table.check()


def test_what_has_no_window():
    table = SwapTable(slots=512 * 100)
    with pytest.raises(SlotNotInUseError, match="cluster 3: no table: none of its slots is in use"):
        table.window(3)
    for wrong in (-1, 100, 1 << 40):
        with pytest.raises(SwapValueError, match=f"cluster {wrong}: expected 0 to 99"):
            table.window(wrong)
    with pytest.raises(TypeError, match=r"made by SwapTable\.window"):
        ClusterWindow()
    table.alloc()
    before = table.memory()["total"]
    windows = [table.window(0) for _ in range(64)]
    assert table.memory()["total"] == before + 64 * 8
    with pytest.raises(SlotBusyError, match="64 windows of this table are open"):
        table.window(0)
    windows.pop().close()
    table.window(0).close()
    table.check()


def test_windows_beside_threads_that_churn():
    """Whoever looks at a cluster sees its own words only: each thread's slots have its number as their pfn."""
    table, stop = SwapTable(slots=512 * 64, cpus=2, header=False), threading.Event()

    def churn(cpu):
        slots = []
        while not stop.is_set():
            more = table.alloc_many(2048, cpu=cpu, pfns=np.full(2048, cpu + 1))
            table.free_many(slots)
            slots = more

    threads = [threading.Thread(target=churn, args=(cpu,)) for cpu in range(2)]
    for thread in threads:
        thread.start()
    seen = 0
    try:
        for k in range(1_000_000):
            if seen == 100:
                break
            try:
                window = table.window(k % 64)
            except SlotNotInUseError:
                continue
            live = np.asarray(window)
            for _ in range(3):
                words = live.copy()
                assert set((words[words != 0] >> np.uint64(2) & np.uint64(2**41 - 1)).tolist()) <= {1, 2}
            seen += bool(words.any() and window.current)
            del live
            window.close()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert seen == 100
    table.check()
