# Threads behind a barrier on one list of devices, while devices come and go and fill up.
# May import the package and numpy.
# Used by pytest and by the sanitizer builds; SWAPTABLE_STRESS_SECONDS says for how long.
import os
import threading
import time

import numpy as np

from swaptable import DeviceList, SwapFullError, SwapTable

SECONDS = float(os.environ.get("SWAPTABLE_STRESS_SECONDS", "2")) / 2
THREADS = 3


def worker(devices, tables, cpu, start, stop, failures):
    rng = np.random.default_rng(cpu)
    mine = []  # (swap type, first slot, order)
    try:
        start.wait()
        while not stop.is_set():
            order = int(rng.choice([0, 0, 2, 4, 9]))
            kinds, slots = devices.alloc_many(int(rng.integers(1, 64)) if order < 4 else 2, order, cpu=cpu)
            mine += [(int(k), int(s), order) for k, s in zip(kinds, slots, strict=True)]
            try:
                kind, slot = devices.alloc(order, cpu, allowed=1 << int(rng.integers(3)))
                mine.append((kind, slot, order))
            except SwapFullError:
                pass
            while len(mine) > 40 * (order == 0) and mine and rng.random() < 0.98:
                kind, slot, freed = mine.pop(int(rng.integers(len(mine))))
                tables[kind].free(slot, 1 << freed)
        for kind, slot, freed in mine:
            tables[kind].free(slot, 1 << freed)
    except Exception as err:  # a thread's exception would be lost
        failures.append(err)
        stop.set()


def test_threads_on_one_list():
    devices = DeviceList(cpus=THREADS)
    # Small, so that devices are full and come back all the time; one of each kind of cursor.
    tables = [
        SwapTable(slots=2048),
        SwapTable(slots=2048, rotational=True),
        SwapTable(slots=4096, discard=True),
    ]
    for table, priority in zip(tables, (5, 5, 1), strict=True):
        devices.add(table, priority)
    start, stop, failures = threading.Barrier(THREADS + 1), threading.Event(), []
    threads = [
        threading.Thread(target=worker, args=(devices, tables, cpu, start, stop, failures)) for cpu in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and not stop.is_set():
        assert devices.add(devices.remove(1), 5) == 1  # off and on again, with slots in use
        tables[2].run_discard()
        tables[0].trim()
        time.sleep(0.002)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert devices.used == 0
    devices.check()
