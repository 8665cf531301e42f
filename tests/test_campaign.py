# The table against its model: a campaign of a million random operations at occupancies from 5 to 100%.
# Imports numpy and the twin.
# Used by pytest; the whole of it is marked long.
from __future__ import annotations

import os

import numpy as np
import pytest
from twin import Twin

CAMPAIGN = {
    "plain": {"slots": 512 * 24, "cpus": 2},
    "bad slots": {"slots": 512 * 20 - 100, "bad": tuple(range(700, 9000, 97)), "cpus": 4},
    "discard": {"slots": 512 * 20, "discard": True},
    "rotational": {"slots": 512 * 16, "rotational": True, "cpus": 2},
    "no block device": {"slots": 512 * 8, "block": False, "rotational": True},
    "growing": {"slots": None, "header": False, "cpus": 2},
}
ORDERS = np.array([0] * 6 + [1, 2, 2, 3, 4, 4, 5, 6, 7, 8, 9])


class Campaign:
    """Random operations at a given occupancy, each compared with the model; `done` counts runs operated on."""

    def __init__(self, shape: dict, occupancy: float, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.twin = Twin(**shape)
        self.target = int((self.twin.model.usable if shape["slots"] else 512 * 16) * occupancy)
        self.block = shape.get("block", True)
        self.runs: list[list[int]] = [[] for _ in range(10)]  # first slots of runs, by order; some are stale
        self.done = self.refused = 0

    def pick(self, order: int, n: int, remove: bool) -> np.ndarray:
        """Up to *n* runs of one order, without repetition."""
        runs = self.runs[order]
        n = min(n, len(runs))
        index = sorted(self.rng.choice(len(runs), n, replace=False).tolist(), reverse=True) if n else []
        picked = np.array([runs[i] for i in index], np.int64)
        if remove:
            for i in index:
                runs[i] = runs[-1]
                runs.pop()
        return self.rng.permutation(picked) if self.rng.random() < 0.7 else np.sort(picked)

    def call(self, name: str, *args, n: int = 1, **kwargs):
        how, value = self.twin.call(name, *args, **kwargs)
        self.refused += how != "returned"
        self.done += n if how == "returned" else (value[1] or 0) + 1
        return value if how == "returned" else None

    def alloc(self, n: int) -> None:
        order = int(self.rng.choice(ORDERS)) if self.block or self.rng.random() < 0.05 else 0
        cpu = int(self.rng.integers(self.twin.model.cpus))
        memcg = int(self.rng.integers(2**16))
        n = min(n, max(1, 1024 >> order))
        if n == 1:
            slot = self.call("alloc", order, cpu, int(self.rng.integers(2**41)), memcg)
            slots = [] if slot is None else [slot]
        else:
            pfns = self.rng.integers(2**41, size=n, dtype=np.uint64)
            slots = self.call("alloc_many", n, order, cpu, pfns=pfns, memcg=memcg, n=n)
        self.runs[order].extend(slots)

    def free(self, n: int) -> None:
        order = self.some_order()
        slots = self.pick(order, n, remove=True)
        nr = 1 << order
        if order and self.rng.random() < 0.3:  # a part of each; the rest as runs of half the size
            self.call("free_many", slots, nr=nr // 2, n=slots.size)
            self.runs[order - 1].extend((slots + nr // 2).tolist())
        else:
            self.call("free_many", slots, nr=nr, n=slots.size)

    def some_order(self) -> int:
        sizes = np.array([len(runs) for runs in self.runs], float)
        return int(self.rng.choice(10, p=sizes / sizes.sum())) if sizes.any() else 0

    def users(self, n: int) -> None:
        order = self.some_order()
        slots = self.pick(order, n, remove=False)
        if self.rng.random() < 0.2:
            users = int(self.rng.choice([1, 5, 14, 15, 100, 2**32 - 1]))
            for slot in slots[:4].tolist():
                self.call(self.rng.choice(["dup", "put"]), slot, 1 << order, users)
        else:
            self.call(self.rng.choice(["dup_many", "dup_many", "put_many"]), slots, nr=1 << order, n=slots.size)

    def cache(self, n: int) -> None:
        order = self.some_order()
        slots = self.pick(order, n, remove=False)
        values = self.rng.integers(2**41, size=slots.size, dtype=np.uint64)
        self.call(self.rng.choice(["cache_add_many", "cache_del_many"]), slots, values, nr=1 << order, n=slots.size)

    def swap_out(self, n: int) -> None:
        order = self.some_order()
        slots = self.pick(order, n, remove=False)
        self.call("dup_many", slots, nr=1 << order, n=slots.size)
        self.call("cache_del_many", slots, nr=1 << order, n=slots.size)

    def garbage(self, n: int) -> None:
        """Any slots at all, runs of any length."""
        top = min(self.twin.model.size, 512 * 32) + 3
        slots = self.rng.integers(-2, top, size=min(n, 4))
        op = str(self.rng.choice(["dup_many", "put_many", "cache_add_many", "cache_del_many", "words", "zero_set"]))
        nr = int(self.rng.choice([1, 1, 2, 7, 32]))
        if op == "zero_set":
            self.call(op, int(slots[0]), nr)
        elif op == "words":
            self.call(op, slots, n=slots.size)
        else:
            self.call(op, slots, *([slots.clip(0).astype(np.uint64)] if op[:3] == "cac" else []), nr=nr, n=slots.size)

    def step(self) -> None:
        n = 1 if self.rng.random() < 0.3 else int(self.rng.integers(2, 40))
        used = self.twin.model.used
        p = self.rng.random()
        if p < 0.5:
            (self.alloc if used < self.target else self.free)(n)
        elif p < 0.55:
            (self.free if used < self.target else self.alloc)(n)
        else:
            names = ("users", "cache", "swap_out", "garbage")
            getattr(self, names[int(self.rng.choice(4, p=[0.35, 0.3, 0.25, 0.1]))])(n)
        if self.twin.model.discards and self.rng.random() < 0.1:
            self.call("run_discard")

    def run(self, operations: int, check_every: int) -> None:
        next_check = 0
        while self.done < operations:
            self.step()
            if self.done >= next_check:
                next_check = self.done + check_every
                self.twin.same_totals()
                self.twin.same_words()
                if self.rng.random() < 0.2:
                    self.twin.call("trim")
        self.twin.call("free_many", np.array(sorted(self.twin.model.slots), np.int64))
        self.twin.same_totals()
        assert self.twin.table.usage()["used"] == 0


OCCUPANCIES = (0.05, 0.3, 0.6, 0.9, 0.97, 1.0)


@pytest.mark.parametrize("shape", sorted(CAMPAIGN))
def test_short_campaign(shape):
    Campaign(CAMPAIGN[shape], 0.9, seed=1).run(1500, check_every=300)


@pytest.mark.long
@pytest.mark.parametrize("occupancy", OCCUPANCIES)
@pytest.mark.parametrize("shape", sorted(CAMPAIGN))
def test_campaign(shape, occupancy):
    """36 cases of 30,000 operations: 1,080,000 in all; an operation is one run of slots, alone or in a batch."""
    campaign = Campaign(CAMPAIGN[shape], occupancy, seed=int(occupancy * 1000))
    campaign.run(int(os.environ.get("SWAPTABLE_OPERATIONS", "30000")), check_every=1000)
    assert 0 < campaign.refused < campaign.done
