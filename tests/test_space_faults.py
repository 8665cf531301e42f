# Faults: each call of the system in a run fails once.
# Imports the package, space_twin.
# Used by pytest; every index in turn is `make test-long`.
import errno

import numpy as np
import pytest
from space_twin import Twin

from swaptable.backends.file import SHORT

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
