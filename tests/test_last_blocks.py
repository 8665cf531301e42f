# Threads that compete for a device's last blocks: as many requests succeed as fit, at every order.
# Imports the package and numpy.
# Used by pytest and by the sanitizers; SWAPTABLE_STRESS_SECONDS says for how long.
from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from swaptable import SwapFullError, SwapTable

SECONDS = float(os.environ.get("SWAPTABLE_STRESS_SECONDS", "2"))


def compete(table: SwapTable, orders: tuple[int, ...], free: np.ndarray) -> int:
    """Threads that each ask for runs of an order until they are refused; how many blocks are left over."""
    table.free_many(free)
    got: list[np.ndarray | None] = [None] * len(orders)
    barrier = threading.Barrier(len(orders))

    def ask(i: int) -> None:
        barrier.wait()
        got[i] = table.alloc_many(table.blocks, orders[i], i, contiguous=True)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(orders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = table.free_blocks
    assert left == free.size - sum(runs.size << order for runs, order in zip(got, orders, strict=True))
    with pytest.raises(SwapFullError):
        table.alloc(max(left, 1).bit_length(), contiguous=True)
    assert table.free_blocks == left
    for runs, order in zip(got, orders, strict=True):
        table.free_many(runs, 1 << order)
    assert table.alloc_many(table.blocks).size == free.size
    return left


@pytest.mark.parametrize("orders", [(0, 0), (2, 2, 2), (4, 4), (0, 4), (1, 3, 1)])
def test_the_last_blocks(orders):
    """Free blocks here and there, and some aligned runs that the kernel's search finds too."""
    rng, slots, nr = np.random.default_rng(3), 1 << 13, 1 << max(orders)
    table = SwapTable(slots=slots, cpus=len(orders), header=False)
    table.alloc_many(slots)
    end = time.monotonic() + SECONDS / 10
    while time.monotonic() < end:
        n = int(rng.integers(nr, slots // 8))
        runs = rng.choice(slots // nr, n // nr // 2, replace=False) * nr
        free = (runs[:, None] + np.arange(nr)).ravel()
        free = np.union1d(free, rng.choice(slots, n - free.size, replace=False))
        assert compete(table, orders, rng.permutation(free)) < 1 << min(orders)
    table.check()


def test_a_particular_block_while_its_neighbours_come_and_go():
    """A cluster's bitmap goes with its last block: who takes another one meanwhile gets it all the same."""
    table = SwapTable(slots=1024, header=False)
    end, refused = time.monotonic() + SECONDS, []

    def work(number):
        block = np.array([number])
        loc = table.block_locs(block)
        while time.monotonic() < end and not refused:
            for _ in range(200):
                if not table.block_take(block)[0]:
                    refused.append(number)
                    return
                table.block_free(loc)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not refused
    table.check()
