# Tests of the loops that age a table.
# May import pytest, numpy, swaptable.
# Used by pytest.
from __future__ import annotations

import numpy as np
import pytest

import swaptable
from swaptable import _churn
from swaptable.designs import make


def covered(live: _churn.Live) -> np.ndarray:
    """Every slot of the live runs, ascending."""
    runs = [np.arange(slot, slot + (1 << int(order))) for slot, order in zip(*live, strict=True)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *runs]))


def same(table: swaptable.SwapTable, live: _churn.Live) -> bool:
    """Are the live runs what the table says, and nothing else?"""
    table.check()
    slots = covered(live)
    return bool(len(np.unique(slots)) == len(slots) == table.usage()["used"] and (table.words(slots) != 0).all())


@pytest.mark.parametrize("orders", [{0: 1.0}, {4: 1.0}, {0: 6, 2: 2, 4: 1, 9: 0.2}])
@pytest.mark.parametrize("occupancy", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_age(orders: dict[int, float], occupancy: float) -> None:
    table = swaptable.SwapTable(slots=1 << 15)
    live = _churn.age(table, occupancy, orders, rounds=2, seed=3)
    assert same(table, live)
    used = table.usage()["used"] / table.usage()["usable"]
    assert occupancy - 0.2 <= used <= occupancy
    assert set(live.orders.tolist()) <= set(orders)


def test_age_is_the_seeds() -> None:
    first, again, other = (
        _churn.age(swaptable.SwapTable(slots=1 << 14), 0.7, {0: 1, 3: 1}, seed=seed) for seed in (5, 5, 6)
    )
    assert (first.slots == again.slots).all()
    assert len(first.slots) != len(other.slots) or (first.slots != other.slots).any()


def test_age_of_a_table_that_is_full_enough() -> None:
    table = swaptable.SwapTable(slots=1024)
    table.alloc_many(800)
    assert len(_churn.age(table, 0.5).slots) == 0
    table.check()


@pytest.mark.parametrize("kind", ["random", "fifo"])
def test_churn_does_what_single_calls_do(kind: str) -> None:
    table, twin = (swaptable.SwapTable(slots=1 << 13) for _ in range(2))
    wanted = _churn.draw({0: 3, 2: 1, 4: 1}, 600, seed=1)
    live, made = _churn.fill(table, wanted)
    assert made.done == 600
    slots, orders = [twin.alloc(int(order)) for order in wanted], wanted.tolist()
    assert live.slots.tolist() == slots
    victims = _churn.victims(600, 2000, kind, seed=2)
    successors = _churn.draw({0: 3, 2: 1, 4: 1}, 2000, seed=3)
    done = _churn.churn(table, live, victims, successors)
    failures = 0
    for v, order in zip(victims.tolist(), successors.tolist(), strict=True):
        if slots[v] >= 0:
            twin.free(slots[v], 1 << orders[v])
        orders[v] = order
        try:
            slots[v] = twin.alloc(order)
        except swaptable.SwapFullError:
            slots[v], failures = -1, failures + 1
    assert (live.slots.tolist(), live.orders.tolist(), done.done, done.failures) == (slots, orders, 2000, failures)
    assert done.stat["visited"] > 0
    table.check()
    twin.check()


def test_a_run_without_room_comes_back() -> None:
    table = swaptable.SwapTable(slots=1024)
    live, made = _churn.fill(table, [9, 0, 9])
    assert (live.slots.tolist(), made.failures) == ([512, 1], 1)
    done = _churn.churn(table, live, [1, 1], [9, 0])
    assert (done.done, done.failures, live.slots.tolist()) == (2, 1, [512, 2])
    table.check()


def test_fill_and_drain() -> None:
    table = swaptable.SwapTable(slots=1 << 12)
    live, made = _churn.fill(table, [0, 4, 0, 4], room=18)
    assert (live.orders.tolist(), made.failures) == ([0, 4, 0], 0)
    assert same(table, live)
    assert _churn.drain(table, live).done == 3
    assert (live.slots == -1).all()
    assert _churn.drain(table, live).done == 3
    assert table.usage()["used"] == 0
    table.check()


def test_each_cpu_has_its_cursors() -> None:
    table = swaptable.SwapTable(slots=1 << 12, cpus=2)
    slots = [_churn.fill(table, [0], cpu)[0].slots[0] // 512 for cpu in (0, 1)]
    assert slots[0] != slots[1]
    table.check()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t, live: _churn.churn(t, live, [0, 7]), "victim 7: expected 0 to 2"),
        (lambda t, live: _churn.churn(t, live, [-1]), "victim -1"),
        (lambda t, live: _churn.churn(t, live, [0.5]), "float64"),
        (lambda t, live: _churn.churn(t, live, [0], 10), "order 10: expected 0 to 9"),
        (lambda t, live: _churn.churn(t, live, [0], [1, 2]), r"orders: expected an order or 1"),
        (lambda t, live: _churn.churn(t, live, [0], cpu=1), "cpu 1: expected 0 to 0"),
        (lambda t, live: _churn.churn(t, (live.slots, live.orders[1:]), [0]), "3 slots, but 2 orders"),
        (lambda t, live: _churn.churn(t, (live.slots, live.slots), [0]), "live"),
        (lambda t, live: _churn.churn(t, (live.slots, np.full(3, 12, np.uint8)), [0]), "order 12"),
        (lambda t, live: _churn.fill(t, [0, 11]), "order 11"),
        (lambda t, live: _churn.age(t, 1.5), "occupancy 1.5"),
        (lambda t, live: _churn.age(t, 0.5, rounds=-1), "rounds -1"),
        (lambda t, live: _churn.age(t, 0.5, {10: 1.0}), "10: 1.0"),
        (lambda t, live: _churn.age(t, 0.5, {1: 0.0}), "weights with a sum"),
        (lambda t, live: _churn.victims(3, 4, "oldest"), "kind 'oldest'"),
        (lambda t, live: _churn.victims(0, 4), "runs 0"),
    ],
)
def test_errors_name_the_value(call, says: str) -> None:  # type: ignore[no-untyped-def]
    table = swaptable.SwapTable(slots=1 << 12)
    live, _ = _churn.fill(table, [0, 0, 4])
    with pytest.raises(swaptable.SwapValueError, match=says):
        call(table, live)
    assert same(table, live)


def test_a_stale_run_stops_the_loop() -> None:
    table = swaptable.SwapTable(slots=1 << 12)
    live, _ = _churn.fill(table, [0, 0, 0])
    table.free(int(live.slots[2]))
    with pytest.raises(swaptable.SlotNotInUseError) as caught:
        _churn.churn(table, live, [0, 1, 2, 0])
    assert caught.value.index == 2
    table.check()


def test_lookup_design() -> None:
    design = make("old", 2048)
    entries = [design.alloc(0, pfn) for pfn in (5, 6)]
    assert _churn.lookup_design(design, np.array(entries)) == 11
    assert _churn.lookup_design(design, np.array([entries[0], 2000])) == 4
    design.check()


def test_bare_table() -> None:
    bare = _churn.BareTable(1024)
    bare.store_many(np.array([0, 511, 512, 1023]))
    with pytest.raises(swaptable.SwapValueError, match="slot 1024"):
        bare.store_many(np.array([1024]))
    with pytest.raises(swaptable.SwapValueError, match="slots 100"):
        _churn.BareTable(100)
    assert _churn.alu(1) != _churn.alu(2)
