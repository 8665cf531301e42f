# A reader without locks never sees a word of another cluster's later life: recycling is made to happen under it.
# May import the package and numpy.
# Used by pytest; a build with -DSWAPTABLE_BREAK_EPOCH must fail it (`make break-epoch`).
import os
import threading
import time

import numpy as np

from swaptable import SwapTable

CLUSTERS = 3
SECONDS = float(os.environ.get("SWAPTABLE_EPOCH_SECONDS", "1.5"))


def test_a_reader_never_sees_another_clusters_words():
    # Three clusters and one or two tables: each table goes from cluster to cluster all the time. A word
    # says in its memcg field which cluster it was written for.
    table = SwapTable(slots=CLUSTERS * 512, header=False)
    slots = np.random.default_rng(1).integers(0, CLUSTERS * 512, 1 << 14)
    owner = (slots // 512 + 1).astype(np.uint64)
    stop = threading.Event()
    start = threading.Barrier(2)
    foreign = []
    seen = 0

    def read():
        nonlocal seen
        out = np.empty(len(slots), np.uint64)
        start.wait()
        while not stop.is_set():
            table.words(slots, out)
            used = out != 0
            memcg = out >> np.uint64(43) & np.uint64(0xFFFF)
            seen += int(used.sum())
            wrong = np.flatnonzero(used & (memcg != owner))
            if wrong.size:
                foreign.append((int(slots[wrong[0]]), hex(int(out[wrong[0]]))))
                return

    reader = threading.Thread(target=read)
    reader.start()
    start.wait()
    end = time.monotonic() + SECONDS
    cluster = rounds = 0
    while time.monotonic() < end and reader.is_alive():
        for _ in range(64):
            first = table.alloc_many(1, order=9, memcg=cluster + 1)
            assert first[0] == cluster * 512
            table.free_many(first, 512)
            cluster = (cluster + 1) % CLUSTERS
            rounds += 1
    stop.set()
    reader.join()
    assert not foreign, f"a look-up of slot {foreign[0][0]} got {foreign[0][1]}, a word of another cluster"
    assert seen and rounds > CLUSTERS  # the reader did look while tables were recycled
    table.check()
