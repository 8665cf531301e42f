# The table against its model: a hypothesis state machine, and a campaign of a million random operations.
# Imports the package's exceptions, hypothesis, numpy and the twin.
# Used by pytest; the campaign is marked long.
from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from twin import Twin

SHAPES = {
    "tiny": {"slots": 40},
    "plain": {"slots": 2048, "cpus": 2},
    "short last cluster": {"slots": 1600, "header": False},
    "bad slots": {"slots": 2560, "bad": (1, 5, 513, 1023, *range(1024, 1536), 2047), "cpus": 2},
    "discard": {"slots": 2560, "discard": True, "cpus": 2},
    "rotational": {"slots": 2048, "rotational": True, "cpus": 2},
    "no block device": {"slots": 2048, "block": False, "rotational": True},
    "growing": {"slots": None, "header": False, "cpus": 2},
    "growing, discard": {"slots": None, "header": False, "discard": True},
    "growing with a header": {"slots": None},
}
FIELDS = {
    "order": st.integers(0, 9) | st.sampled_from([0, 0, 0, 2, 4]),
    "cpu": st.integers(0, 1),
    "pfn": st.sampled_from([0, 1, 2**41 - 1]) | st.integers(0, 2**41 - 1),
    "shadow": st.sampled_from([0, 1, 2**42 - 1]) | st.integers(0, 2**42 - 1),
    "memcg": st.sampled_from([0, 1, 2**16 - 1]),
    "users": st.sampled_from([1, 1, 1, 2, 13, 14, 15, 16, 2**32 - 15, 2**32 - 2, 2**32 - 1, 0]),
    "anything": st.integers(-3, 2700) | st.sampled_from([-(2**63), 2**32 - 1, 2**32, 2**63 - 1]),
    "nr": st.sampled_from([1, 1, 1, 2, 3, 4, 8, 16, 31, 512, 0, -1, 513]),
    "op": st.sampled_from(["free", "dup", "put", "cache_add", "cache_del", "zero_set", "zero_clear"]),
    "many": st.sampled_from(["free_many", "dup_many", "put_many", "cache_add_many", "cache_del_many"]),
}
RUNS = st.lists(st.integers(0, 2**30), min_size=0, max_size=12)


class Machine(RuleBasedStateMachine):
    """Runs are (first slot, order); those in the bundle may have been freed, in part or whole, by other rules."""

    runs = Bundle("runs")

    @initialize(shape=st.sampled_from(sorted(SHAPES)))
    def make(self, shape):
        self.twin = Twin(**SHAPES[shape])
        self.cpus = self.twin.model.cpus

    def some_runs(self, picks):
        """Runs in use now, picked by number, so that batches mostly succeed; all of one size."""
        slots = sorted(self.twin.model.slots)
        return np.array([slots[p % len(slots)] for p in picks] if slots else [], np.int64)

    # -- allocation

    @rule(target=runs, order=FIELDS["order"], cpu=FIELDS["cpu"], pfn=FIELDS["pfn"], memcg=FIELDS["memcg"])
    def alloc(self, order, cpu, pfn, memcg):
        how, slot = self.twin.call("alloc", order, cpu % self.cpus, pfn=pfn, memcg=memcg)
        return (slot, order) if how == "returned" else multiple()

    @rule(target=runs, n=st.integers(0, 40) | st.sampled_from([511, 600]), order=FIELDS["order"], cpu=FIELDS["cpu"])
    def alloc_many(self, n, order, cpu):
        n = min(n, max(1, 2048 >> order))
        _, slots = self.twin.call("alloc_many", n, order, cpu % self.cpus, pfns=np.arange(n, dtype=np.uint64), memcg=7)
        return multiple(*((slot, order) for slot in slots[:8]))

    @rule(order=st.sampled_from([-1, 10, 2**20]), n=st.integers(0, 2))
    def alloc_of_no_order(self, order, n):
        self.twin.call("alloc", order)
        self.twin.call("alloc_many", n, order)

    @rule(cpu=st.sampled_from([2, -2, 2**30]))
    def alloc_on_no_cpu(self, cpu):
        self.twin.call("alloc", 0, cpu)
        self.twin.call("alloc_many", 2, 0, cpu)

    # -- a run as it was allocated

    @rule(run=consumes(runs))
    def free_whole(self, run):
        self.twin.call("free", run[0], 1 << run[1])

    @rule(run=runs, part=st.integers(0, 511), nr=st.sampled_from([1, 1, 2, 4, 100]))
    def free_part(self, run, part, nr):
        start = part % (1 << run[1])
        self.twin.call("free", run[0] + start, min(nr, (1 << run[1]) - start))

    @rule(run=runs, users=FIELDS["users"])
    def dup(self, run, users):
        self.twin.call("dup", run[0], 1 << run[1], users)

    @rule(run=runs, users=FIELDS["users"])
    def put(self, run, users):
        self.twin.call("put", run[0], 1 << run[1], users)

    @rule(run=runs, pfn=FIELDS["pfn"])
    def cache_add(self, run, pfn):
        self.twin.call("cache_add", run[0], pfn, 1 << run[1])

    @rule(run=runs, shadow=FIELDS["shadow"])
    def cache_del(self, run, shadow):
        self.twin.call("cache_del", run[0], shadow, 1 << run[1])

    @rule(run=runs, users=st.integers(1, 3), shadow=FIELDS["shadow"])
    def swap_out(self, run, users, shadow):
        self.twin.call("dup", run[0], 1 << run[1], users)
        self.twin.call("cache_del", run[0], shadow, 1 << run[1])

    @rule(run=runs, to=st.booleans())
    def zero(self, run, to):
        self.twin.call("zero_set" if to else "zero_clear", run[0], 1 << run[1])

    # -- batches of single slots, mostly in use; a slot that occurs twice is often refused the second time

    @rule(picks=RUNS, op=FIELDS["many"], value=FIELDS["pfn"])
    def many(self, picks, op, value):
        slots = self.some_runs(picks)
        more = (np.full(slots.size, value, np.uint64),) if op in ("cache_add_many", "cache_del_many") else ()
        self.twin.call(op, slots, *more)

    @rule(picks=RUNS, op=FIELDS["many"], nr=FIELDS["nr"], bad=FIELDS["anything"])
    def many_with_misuse(self, picks, op, nr, bad):
        slots = self.some_runs(picks)
        slots = np.insert(slots, slots.size // 2, bad)
        more = (np.zeros(slots.size, np.uint64),) if op == "cache_add_many" else ()
        self.twin.call(op, slots, *more, nr=nr)

    @rule(picks=RUNS, at=st.integers(0, 11), op=st.sampled_from(["cache_add_many", "cache_del_many"]))
    def value_that_does_not_fit(self, picks, at, op):
        slots = self.some_runs(picks)
        more = np.arange(slots.size, dtype=np.uint64)
        more[at : at + 1] = 2**42
        self.twin.call(op, slots, more)

    # -- single calls with any slot and any number of them

    @rule(op=FIELDS["op"], slot=FIELDS["anything"], nr=FIELDS["nr"])
    def misuse(self, op, slot, nr):
        more = {"pfn": 1} if op == "cache_add" else {}
        self.twin.call(op, slot, nr=nr, **more)

    @rule(slot=FIELDS["anything"], value=st.sampled_from([-1, 2**42, 2**64, 2**200]))
    def misused_values(self, slot, value):
        self.twin.call("dup", slot, users=value)
        self.twin.call("put", slot, users=value)
        self.twin.call("cache_add", slot, value)
        self.twin.call("cache_del", slot, value)
        self.twin.call("alloc", 0, 0, value)
        self.twin.call("alloc", 0, 0, 0, value)

    # -- the whole

    @rule(slots=st.lists(FIELDS["anything"], max_size=10))
    def read(self, slots):
        self.twin.call("words", np.array(slots, np.int64))
        for slot in slots:
            self.twin.call("entry", slot)
            self.twin.call("__getitem__", slot)

    @rule()
    def run_discard(self):
        self.twin.call("run_discard")

    @rule()
    def trim(self):
        self.twin.table.trim()

    @rule()
    def free_everything(self):
        self.twin.call("free_many", np.array(sorted(self.twin.model.slots), np.int64))
        assert self.twin.table.usage()["used"] == 0

    @rule()
    def fill(self):
        """As full as it gets; a table that grows, by three clusters."""
        n = 3 * 512 if self.twin.model.grows else 4096
        self.twin.call("alloc_many", n)

    @invariant()
    def same(self):
        if hasattr(self, "twin"):
            self.twin.same_totals()
            self.twin.same_words()


Machine.TestCase.settings = settings(
    max_examples=int(os.environ.get("SWAPTABLE_EXAMPLES", "40")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestMachine = Machine.TestCase


# ---- the campaign

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
                    self.twin.table.trim()
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
