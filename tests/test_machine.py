# The table against its model: a hypothesis state machine of every operation, its misuse too.
# Imports hypothesis, numpy and the twin.
# Used by pytest; SWAPTABLE_EXAMPLES says how many examples.
from __future__ import annotations

import os

import numpy as np
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
    "anything": st.integers(-3, 2700) | st.sampled_from([-(2**63), 2**32 - 1, 2**32, 2**33 - 1, 2**33, 2**63 - 1]),
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
        self.twin.call("trim")

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
