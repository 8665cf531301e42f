# Two threads swap out and in while a third runs writeback, swapoff and swapon; every page is compared.
# Imports the package, space_twin.
# Used by pytest and by the sanitizers; SWAPTABLE_STRESS_SECONDS says for how long.
import errno
import os
import threading
import time

import numpy as np
import pytest
from space_twin import PAGE, Twin, content

from swaptable.errors import SwapError

SECONDS = os.environ.get("SWAPTABLE_STRESS_SECONDS", "2")



class Worker:
    """Swaps its own pages out and in, again and again, and looks at those of the other."""

    def __init__(self, space, seed, end):
        self.space, self.rng, self.end = space, np.random.default_rng(seed), end
        self.pages, self.next, self.error, self.rounds = {}, seed << 32, None, 0

    def __call__(self):
        try:
            while time.monotonic() < self.end:
                self.round()
                self.rounds += 1
        except BaseException as error:
            self.error = error

    def round(self):
        n = int(self.rng.integers(1, 120))
        numbers = np.arange(self.next, self.next + n)
        self.next += n
        order = int(self.rng.integers(0, 3)) if n % 4 == 0 else 0
        got = self.space.swap_out_many(content(numbers), order=order)
        for entry, number in zip(got.entries.tolist(), numbers.tolist(), strict=True):
            if entry >= 0:
                assert entry not in self.pages
                self.pages[entry] = number
        entries = self.rng.permutation(np.fromiter(self.pages, np.int64, len(self.pages)))
        count = len(entries) // 3 if len(entries) < 600 else len(entries) - 100
        some, rest = entries[:count], entries[count : count + 40]
        expected = content([self.pages[e] for e in some.tolist()]).reshape(-1, PAGE)
        match int(self.rng.integers(4)):
            case 0:
                self.space.free_many(some)
            case 1:
                self.space.dup_many(some)
                assert (self.space.swap_in_many(some) == expected).all()
                assert (self.space.swap_in_many(some) == expected).all()
            case 2:
                mapped = self.space.map_many(some)
                assert (mapped.pages == expected).all()
                self.space.unmap_many(mapped)
            case 3:
                assert (self.space.swap_in_many(some) == expected).all()
        for entry in some.tolist():
            del self.pages[entry]
        assert (self.space.look_many(rest) == content([self.pages[e] for e in rest.tolist()]).reshape(-1, PAGE)).all()


class Mover(Worker):
    """Writeback, swapoff and swapon."""

    def __init__(self, twin, seed, end):
        super().__init__(twin.space, seed, end)
        self.twin, self.off = twin, 0

    def round(self):
        self.twin.writeback(int(self.rng.integers(1, 400)))
        self.twin.tidy()
        if self.rng.random() < 0.3:
            try:
                self.off += self.twin.swapoff(int(self.rng.integers(2)))
            except SwapError as e:
                if e.errno != errno.EBUSY:
                    raise


@pytest.mark.parametrize("options", [{}, {"compressed_writeback": True, "promote": True}], ids=["plain", "all"])
def test_two_threads_swap_while_a_third_moves(tmp_path, options):
    seconds = float(SECONDS)
    twin = Twin(tmp_path, np.random.default_rng(5), files=(4, 8), pool=1 << 20, cpus=3, **options)
    end = time.monotonic() + seconds
    workers = [Worker(twin.space, 1, end), Worker(twin.space, 2, end), Mover(twin, 3, end)]
    threads = [threading.Thread(target=worker) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        if worker.error is not None:
            raise worker.error
    assert all(worker.rounds for worker in workers) and workers[2].off
    for worker in workers[:2]:
        for entry, number in worker.pages.items():
            twin.pages[entry] = [number, 1]
    twin.check()
    twin.empty()
