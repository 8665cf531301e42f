# DeviceList against the model: priorities, equals in turn, masks, full devices; and misuse.
# Imports the package, numpy and the model.
# Used by pytest. The kernel's own choices between devices are in test_vectors.py.
from __future__ import annotations

import gc

import model
import numpy as np
import pytest

from swaptable import DeviceList, SwapError, SwapFullError, SwapTable, SwapValueError

LISTS = {
    "equals": [({"slots": 2048}, 5), ({"slots": 2048}, 5), ({"slots": 1500}, 5)],
    "priorities": [({"slots": 1024}, 1), ({"slots": 2048}, 9), ({"slots": 700}, 9), ({"slots": 4096}, 0)],
    "mixed": [
        ({"slots": 2048, "rotational": True}, 5),
        ({"slots": 1024, "block": False, "rotational": True}, 5),
        ({"slots": 2048, "discard": True, "header": False}, 5),
        ({"slots": 2048, "bad": tuple(range(600, 1300, 3))}, 7),
    ],
}


class Pair:
    """A DeviceList and its model, with the same tables."""

    def __init__(self, shapes: list, cpus: int) -> None:
        self.core, self.model = DeviceList(cpus=cpus), model.Devices(cpus=cpus)
        for shape, priority in shapes:
            kind = self.core.add(SwapTable(**shape), priority=priority)
            assert kind == self.model.add(model.Table(**shape), priority=priority)

    def alloc(self, *args, **kwargs) -> tuple[int, int] | None:
        got = want = None
        try:
            want = self.model.alloc(*args, **kwargs)
        except SwapFullError:
            with pytest.raises(SwapFullError):
                self.core.alloc(*args, **kwargs)
        else:
            got = self.core.alloc(*args, **kwargs)
        assert got == want
        return got

    def alloc_many(self, n: int, order: int, cpu: int, allowed: int) -> list[tuple[int, int]]:
        want = []
        for _ in range(n):
            try:
                want.append(self.model.alloc(order, cpu, allowed))
            except SwapFullError:
                break
        kinds, slots = self.core.alloc_many(n, order, cpu, allowed)
        assert (kinds.dtype, slots.dtype) == (np.uint8, np.int64)
        assert list(zip(kinds.tolist(), slots.tolist(), strict=True)) == want
        return want

    def free(self, kind: int, slot: int, nr: int) -> None:
        self.core.free(kind, slot, nr)
        self.model.free(kind, slot, nr)

    def same(self) -> None:
        self.core.check()
        assert self.core.available == self.model.available
        assert self.core.used == sum(table.used for table in self.model.tables)
        assert self.core.usable == sum(table.usable for table in self.model.tables)
        for kind, table in enumerate(self.model.tables):
            assert self.core.table(kind).usage() == table.usage()


def drive(pair: Pair, cpus: int, steps: int, occupancy: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    held: list[tuple[int, int, int]] = []
    everything = 2 ** len(pair.model.tables) - 1
    for step in range(steps):
        order = int(rng.choice([0, 0, 0, 0, 1, 2, 4, 4, 9]))
        cpu = int(rng.integers(cpus))
        allowed = int(rng.integers(everything + 1)) if rng.random() < 0.1 else everything
        if pair.core.used < pair.core.usable * occupancy or rng.random() < 0.1:
            if rng.random() < 0.3:
                got = pair.alloc_many(int(rng.integers(1, 2 + (200 >> order))), order, cpu, allowed)
            else:
                got = [pair.alloc(order, cpu, allowed, pfn=step, memcg=3)]
            held += [(*at, 1 << order) for at in got if at is not None]
        else:
            for _ in range(int(rng.integers(1, 60))):
                if held:
                    i = int(rng.integers(len(held)))
                    held[i], held[-1] = held[-1], held[i]
                    pair.free(*held.pop())
        if rng.random() < 0.02:
            for kind, table in enumerate(pair.model.tables):
                assert table.run_discard() == pair.core.table(kind).run_discard()
        if step % 100 == 0:
            pair.same()
    for at in held:
        pair.free(*at)
    pair.same()
    assert pair.core.used == 0


@pytest.mark.parametrize("occupancy", [0.5, 0.97, 1.0])
@pytest.mark.parametrize("cpus", [1, 3])
@pytest.mark.parametrize("name", LISTS)
def test_against_the_model(name, cpus, occupancy):
    drive(Pair(LISTS[name], cpus), cpus, 800, occupancy, seed=cpus)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", LISTS)
def test_against_the_model_for_long(name, seed):
    drive(Pair(LISTS[name], 2), 2, 20_000, 0.9 + seed / 50, seed)


def test_misuse():
    devices = DeviceList()
    table = SwapTable(slots=1024)
    with pytest.raises(SwapFullError):
        devices.alloc()
    assert devices.add(table, priority=1) == 0
    for call in (
        lambda: devices.add(table),
        lambda: DeviceList().add(table),
        lambda: devices.alloc(10),
        lambda: devices.alloc(-1),
        lambda: devices.alloc(0, 1),
        lambda: devices.alloc(allowed=-1),
        lambda: devices.alloc(allowed=2**32),
        lambda: devices.alloc_many(-1),
        lambda: devices.free(1, 1),
        lambda: devices.free(-1, 1),
        lambda: devices.table(32),
        lambda: devices.remove(3),
        lambda: DeviceList(cpus=0),
    ):
        with pytest.raises(SwapValueError):
            call()
    with pytest.raises(TypeError):
        devices.add(None)
    with pytest.raises(SwapFullError):
        devices.alloc(allowed=2)
    with pytest.raises(SwapError):
        devices.free(0, 1)
    assert (devices.used, devices.usable, len(devices)) == (0, 1023, 1)
    devices.check()


def test_devices_come_and_go():
    devices = DeviceList()
    tables = [SwapTable(slots=1024) for _ in range(33)]
    assert [devices.add(table) for table in tables[:32]] == list(range(32))
    with pytest.raises(SwapFullError):
        devices.add(tables[32])
    kind, slot = devices.alloc()
    assert devices.remove(kind) is tables[kind]
    assert tables[kind].entry(slot).kind == "folio"
    assert tables[kind].alloc() == 512  # alone, it has cursors of its own
    assert devices.used == 0
    assert devices.add(tables[32], priority=-3) == kind
    other, _ = devices.alloc()
    assert other != kind
    devices.check()
    tables[kind].check()


def test_a_table_outlives_its_list():
    table = SwapTable(slots=1024)
    devices = DeviceList()
    devices.add(table)
    kind, slot = devices.alloc()
    del devices
    gc.collect()
    table.free(slot)
    assert (kind, table.alloc()) == (0, slot)
    table.check()
    assert DeviceList().add(table) == 0


def test_a_list_in_a_cycle_is_collected():
    """The collector may take the list's references to its tables before the list itself goes.

    A list that then looks at its tables reads freed memory, which an address sanitizer reports.
    """
    for _ in range(8):
        devices = DeviceList()
        for _ in range(4):
            devices.add(SwapTable(slots=1024))
        devices.alloc_many(50)
        cycle = [devices]
        cycle.append(cycle)
        del devices, cycle
        gc.collect()
