# Faults: each call of the system in a run fails once; threads that swap while devices come and go.
# Imports the package, space_twin.
# Used by pytest; every index in turn is `make test-long`.
import errno
import os
import threading
import time

import numpy as np
import pytest
from space_twin import PAGE, Twin, content

from swaptable.backends.file import SHORT
from swaptable.errors import SwapError

SECONDS = os.environ.get("SWAPTABLE_STRESS_SECONDS", "2")
KINDS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "short": SHORT}


class Faults:
    """One call of the system fails; they are counted over all files."""

    def __init__(self, at, how):
        self.at, self.how, self.calls = at, how, 0

    def __call__(self, _index, _operation, _size):
        self.calls += 1
        return self.how if self.calls == self.at else None

    def watch(self, twin):
        for device in twin.space.devices.real():
            device.backend.fault = self


def run(folder, seed, at=-1, how=errno.EIO, steps=26):
    """The same run every time, but for the call that fails; what it was, and how often it reported."""
    folder.mkdir()
    twin = Twin(folder, np.random.default_rng(seed), forgiving=True, files=(1, 2), pool=1 << 18)
    faults = Faults(at, how)
    for _ in range(steps):
        faults.watch(twin)  # a file that came on again too
        twin.step([20, 8, 14, 8, 6, 5, 10, 14, 10, 8, 1, 2, 4])
    faults.watch(twin)
    entries = twin.pick(10**6)
    twin._loaded(twin.space.look_many, entries)
    faults.at = -1
    calls = faults.calls
    twin.check()  # every page is there, whatever failed
    reported = twin.reported
    twin.empty()
    return calls, reported


def test_the_run_is_as_long_as_it_should_be(tmp_path):
    calls, _ = run(tmp_path / "run", 3)
    assert 300 <= calls <= 2000


@pytest.mark.parametrize("kind", KINDS)
def test_some_calls_fail(tmp_path, kind):
    """Every forty-seventh call; `test_every_call_fails` leaves none out."""
    calls, _ = run(tmp_path / "run", 3)
    for at in range(1 + 7 * list(KINDS).index(kind), calls + 1, 47):
        run(tmp_path / f"run{at}", 3, at, KINDS[kind])


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_every_call_fails(tmp_path, kind):
    calls, _ = run(tmp_path / "run", 3)
    assert calls <= 2000
    told = 0
    for at in range(1, calls + 1):
        told += run(tmp_path / f"run{at}", 3, at, KINDS[kind])[1]
    assert told > 0 or kind == "short"


# ---- threads


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
