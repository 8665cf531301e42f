# Tables of one space against their model: a state machine with every way into every row of the state table.
# Imports hypothesis, numpy and the twins.
# Used by pytest; SWAPTABLE_EXAMPLES says how many examples.
from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from model_space import CLUSTER, HELD, PAST
from twin import outcome
from twin_space import SpaceTwin

SHAPES = {
    "ssd, hdd and a ghost": (
        [{"slots": 1100, "bad": (5, 600, 1023), "cpus": 2}, {"slots": 1024, "header": False}, {"slots": None}],
        True,
    ),
    "one table": ([{"slots": 1536, "header": False}], False),
    "owners": ([{"slots": 1024, "owners": True}, {"slots": 700, "owners": True, "header": False}], True),
    "discard": ([{"slots": 1536, "discard": True, "header": False}, {"slots": 512}], True),
    "owners and discard, alone": ([{"slots": 1200, "discard": True, "owners": True, "bad": range(200, 400)}], False),
    "no block device": ([{"slots": 1030, "block": False, "rotational": True}, {"slots": None, "header": False}], True),
}
TABLE = st.integers(0, 2)
ORDER = st.integers(0, 9) | st.sampled_from([0, 1, 2, 2, 3, 4])
PICK = st.integers(0, 2**30)
NR = st.sampled_from([1, 1, 2, 3, 8, 16, 100, 512])
MEMCG = st.sampled_from([1, 2, 2**16 - 1])
USERS = st.sampled_from([1, 1, 1, 2, 13, 14, 15, 40])
OPS = st.sampled_from(["free", "dup", "put", "cache_add", "cache_del", "zero_set", "zero_clear"])
KIND = st.sampled_from(["any", "any", "moved", "lent", "zero", "past"])
MANY = st.sampled_from(["free_many", "dup_many", "put_many", "cache_add_many", "cache_del_many"])
LOCS = st.sampled_from([0, 1, 2**22 - 1, 2**22, 2**22 + 3, 2**23 + 1, 2**32 - 1, 2**32, -1])
STARTS = ["empty", "full", "swapped out", "combed", "combed"]
SIZES = st.sampled_from([1, 2, 500, 512, 513, 700, 1000, 1024, 1100, 1536, 1537, 2048, 2600, 0, 2**32])
# Refused by every table.
NONSENSE = [
    ("block_alloc", (-1,)), ("block_alloc", (2**70,)), ("alloc", (10, 0, 0, 0, True)), ("alloc_many", (3, -1)),
    ("defrag", (0,)), ("defrag", (10,)), ("defrag", (2, -1)), ("compact", (-1,)), ("compact", (2**42,)),
    ("compact", (0, -1)), ("compact", (0, 0, 2**42)), ("resize", (-1,)), ("resize", (2**32,)), ("resize", (None,)),
    ("block_free", ([[1]],)), ("block_free", ([0.5],)), ("move_many", ([1], [0, 0], [0])),
    ("move_many", ([1], [0], [-1])),
    ("owners", ([-1],)), ("cache_add", (1, 2**41)), ("dup", (1, 0)),
]  # fmt: skip


class Machine(RuleBasedStateMachine):
    """Rules pick slots in use and held blocks by number, so that most calls are of use; misuse has rules of its own."""

    @initialize(shape=st.sampled_from(sorted(SHAPES)), start=st.lists(st.sampled_from(STARTS), min_size=3, max_size=3))
    def make(self, shape, start):
        shapes, shared = SHAPES[shape]
        self.twin = SpaceTwin(shapes, shared)
        self.clock = 0
        for t, how in zip(range(len(shapes)), start, strict=False):
            self.begin(t, how)

    def begin(self, t, how):
        """Most of what is of interest needs a table that is nearly full."""
        if how != "empty":
            self.fill(t, 0, False)
        if how == "swapped out":
            self.swap_out(t, 0, 3000, 1, 1)
        if how == "combed":
            self.free_combed(t, 2)
            self.alloc_many(t, 7, 2, True)

    def table(self, t):
        t %= len(self.twin.models)
        return t, self.twin.models[t]

    def some(self, m, pick, n, kind=None):
        """Up to *n* slots in use that follow one another in the order of their numbers."""
        slots = sorted(s for s, page in m.slots.items() if kind in (None, page.kind))
        return slots[pick % len(slots) :][:n] if slots else []

    def shadows(self, n, step=1):
        self.clock += n * step
        return np.uint64(self.clock) - np.arange(n, 0, -1).astype(np.uint64) * np.uint64(step)

    # -- allocation

    @rule(t=TABLE, order=ORDER, cpu=st.integers(0, 1), contiguous=st.booleans(), memcg=MEMCG)
    def alloc(self, t, order, cpu, contiguous, memcg):
        t, m = self.table(t)
        self.twin.alloc(t, None, order, contiguous, cpu % m.cpus, memcg)

    @rule(t=TABLE, n=st.sampled_from([0, 1, 7, 40, 300]), order=ORDER, contiguous=st.booleans())
    def alloc_many(self, t, n, order, contiguous):
        t, m = self.table(t)
        self.twin.alloc(t, min(n, 1024 >> order) if m.grows else n, order, contiguous)

    @rule(t=TABLE, order=st.sampled_from([0, 0, 1, 4]), contiguous=st.booleans())
    def fill(self, t, order, contiguous):
        t, m = self.table(t)
        self.twin.alloc(t, 600 >> order if m.grows else 4096, order, contiguous)

    @rule(t=TABLE, limit=st.sampled_from([0, 1, 1, 2, 2**23, 2**23, 2**23 + 1, -1]))
    def past_limit(self, t, limit):
        t, m = self.table(t)
        how, _ = outcome(setattr, (self.twin.tables[t], "past_limit", limit), {})
        assert how == ("returned" if 0 <= limit <= 2**23 else "SwapValueError")
        if how == "returned":
            m.past_limit = limit
        assert self.twin.tables[t].past_limit == m.past_limit

    # -- users, the swap cache, zero pages

    @rule(t=TABLE, ops=st.lists(st.tuples(PICK, NR, OPS, USERS, KIND), min_size=1, max_size=8))
    def update(self, t, ops):
        """Runs from a slot of a kind on: often of one folio, sometimes over what is free, lent or bad."""
        t, m = self.table(t)
        for pick, nr, op, users, kind in ops:
            slots = [s for s in sorted(m.slots) if self.is_kind(m, s, kind)] or [3]
            slot = slots[pick % len(slots)]
            slot = slot // nr * nr if nr & nr - 1 == 0 else slot
            more = {"users": users} if op in ("dup", "put") else {"pfn": 9} if op == "cache_add" else {}
            if op == "cache_del":
                more = {"shadow": int(self.shadows(1)[0])}
            self.twin.call(t, op, slot, nr=nr, **more)

    def is_kind(self, m, slot, kind):
        page = m.slots[slot]
        return {
            "any": True,
            "moved": page.loc is not None and slot < PAST,
            "lent": slot in m.taken,
            "zero": page.zero,
            "past": slot >= PAST,
        }[kind]

    @rule(t=TABLE, pick=PICK, n=st.sampled_from([3, 64, 600]), to=st.booleans(), kind=KIND)
    def zero(self, t, pick, n, to, kind):
        """Pages of zeros here and there: holes; back again where their blocks are not lent."""
        t, m = self.table(t)
        slots = [s for s in sorted(m.slots) if self.is_kind(m, s, kind)]
        for slot in slots[pick % len(slots) :][:n:3] if slots else ():
            self.twin.call(t, "zero_set" if to else "zero_clear", slot)

    @rule(t=TABLE, pick=PICK, n=st.sampled_from([1, 5, 100, 600]), op=MANY, kind=st.sampled_from(["folio", "shadow"]))
    def update_many(self, t, pick, n, op, kind):
        t, m = self.table(t)
        slots = np.array(self.some(m, pick, n, kind), np.int64)
        more = (np.full(slots.size, 9, np.uint64),) if op == "cache_add_many" else ()
        self.twin.call(t, op, slots, *(more or ((self.shadows(slots.size),) if op == "cache_del_many" else ())))

    @rule(
        t=TABLE, pick=PICK, n=st.sampled_from([10, 512, 3000]), users=st.sampled_from([1, 1, 3]),
        step=st.sampled_from([0, 1, 9, 5000]),
    )
    def swap_out(self, t, pick, n, users, step):
        t, m = self.table(t)
        slots = np.array(self.some(m, pick if n < 3000 else 0, n, "folio"), np.int64)
        for _ in range(users):
            self.twin.call(t, "dup_many", slots)
        self.twin.call(t, "cache_del_many", slots, self.shadows(slots.size, step))

    @rule(t=TABLE, pick=PICK, n=st.sampled_from([10, 3000]))
    def swap_in(self, t, pick, n):
        t, m = self.table(t)
        slots = np.array(self.some(m, pick if n < 3000 else 0, n, "shadow"), np.int64)
        self.twin.call(t, "cache_add_many", slots, np.full(slots.size, 11, np.uint64))

    @rule(
        t=TABLE, seed=st.integers(0, 99), part=st.sampled_from([0.02, 0.3, 0.7, 1.0]),
        past=st.sampled_from([None, True, False]),
    )
    def free_some(self, t, seed, part, past):
        """Holes in everything; or only past the end, so that blocks come home; or only what is on the device."""
        t, m = self.table(t)
        slots = np.array([s for s in m.slots if past is None or (s >= PAST) == past], np.int64)
        rng = np.random.default_rng(seed)
        self.twin.call(t, "free_many", rng.permutation(slots[rng.random(slots.size) < part]))

    @rule(t=TABLE, stride=st.sampled_from([2, 3, 8]))
    def free_combed(self, t, stride):
        """Every second slot of the device: hardly an aligned run is left."""
        t, m = self.table(t)
        slots = sorted(s for s in m.slots if s < PAST)
        self.twin.call(t, "free_many", np.array(slots[::stride], np.int64))

    # -- blocks, locations

    @rule(t=TABLE, n=st.sampled_from([0, 1, 3, 64, 511, 513, 5000]))
    def block_alloc(self, t, n):
        t, m = self.table(t)
        if not m.grows:
            self.twin.block_alloc(t, n)

    @rule(t=TABLE, pick=PICK, n=st.sampled_from([1, 10, 5000]))
    def block_free(self, t, pick, n):
        t, _ = self.table(t)
        held = self.twin.held(t)
        self.twin.call(t, "block_free", np.array(held[pick % len(held) :][:n] if held else [], np.int64))

    @rule(t=TABLE, to=TABLE, pick=PICK, n=st.sampled_from([1, 4, 70, 600]), give=st.booleans())
    def move(self, t, to, pick, n, give):
        """Cached slots to blocks that are held; what they leave is given back, or held for the next."""
        t, m = self.table(t)
        new = self.twin.held(self.table(to)[0])[:n]
        slots = self.some(m, pick, len(new), "folio")
        self.twin.move(t, slots, new[: len(slots)], give)

    @rule(t=TABLE, pick=PICK, n=st.sampled_from([1, 70, 5000]), give=st.booleans())
    def move_home(self, t, pick, n, give):
        """Back to their own blocks, of which some may be lent; past the end and on a ghost the data is gone."""
        t, m = self.table(t)
        slots = [s for s in sorted(m.slots) if m.slots[s].kind == "folio" and m.slots[s].loc is not None]
        slots = slots[pick % len(slots) :][:n] if slots else []
        self.twin.move(t, slots, [0] * len(slots), give)

    @rule(t=TABLE, to=TABLE, pick=PICK, n=st.sampled_from([16, 300, 3000]))
    def write_back(self, t, to, pick, n):
        """A tier down: pin, take blocks, write, move, give the old ones back, unpin."""
        t, m = self.table(t)
        to, target = self.table(to)
        slots = self.some(m, pick if n < 3000 else 0, n, "shadow")
        if target.grows:
            return
        new = self.twin.block_alloc(to, len(slots))
        slots = slots[: len(new)]
        old = self.twin.call(t, "cache_add_many", np.array(slots, np.int64), np.full(len(slots), 5, np.uint64))[1]
        self.twin.move(t, slots, new, True)
        self.twin.call(t, "cache_del_many", np.array(slots, np.int64), np.array(old, np.uint64) >> 1 & 2**42 - 1)

    # -- misuse: refused with the state as it was

    @rule(
        t=TABLE, pick=PICK, old=LOCS, new=LOCS,
        slot=st.sampled_from([None, None, -1, 0, 5, 3000, 2**32, 2**33, 2**63]),
    )
    def misuse_move(self, t, pick, old, new, slot):
        t, m = self.table(t)
        if slot is None:
            slot = (self.some(m, pick, 1) or [1])[0]
        page = m.slots.get(slot)
        if new == 0 and (page is None or page.loc is None or self.twin.loc(page.loc) == old):
            return  # no misuse; see move_home
        calls = [("move", slot, old, new), ("move_many", [slot], [max(old, 0)], [max(new, 0)])]
        for call in calls[: 1 + (slot < 2**63)]:
            if self.twin.call(t, *call)[0] == "returned":  # to a held block: no misuse after all
                self.twin.model.write(m, slot)

    @rule(t=TABLE, of=TABLE, pick=PICK, locs=st.lists(LOCS, max_size=2))
    def misuse_blocks(self, t, of, pick, locs):
        """Blocks that are somebody's location, or wait for their discard, or are nobody's; held ones twice."""
        t, m = self.table(t)
        of, other = self.table(of)
        blocks = sorted(b for b, owner in other.taken.items() if owner != HELD)
        cached = self.some(m, pick, 1, "folio")
        for block in blocks[pick % len(blocks) :][:1] if blocks else ():
            self.twin.call(of, "block_free", [self.twin.loc((of, block))])
            if cached and m.slots[cached[0]].loc != (of, block):
                was = self.twin.loc(m.slots[cached[0]].loc)
                self.twin.call(t, "move", cached[0], was, self.twin.loc((of, block)))
        held = self.twin.held(of)[:1]
        self.twin.call(of, "block_free", np.array([*held, *held, *locs], np.int64))

    @rule(t=TABLE, slots=st.lists(st.sampled_from([0, 1, 5, 700, -1, 2**32, 2**32 + 5, 2**33, 1500]), max_size=4))
    def misuse(self, t, slots):
        """Look-ups out of range, and numbers that do not fit."""
        t, m = self.table(t)
        table = self.twin.tables[t]
        bad = next((k for k, s in enumerate(slots) if not m._in_range(s)), None)
        want = ("returned", None) if bad is None else ("SwapValueError", (bad, bad))
        for name in ("words", "locs", "resolve"):
            how, value = outcome(getattr(table, name), (np.array(slots, np.int64),), {})
            assert (how, None if bad is None else value[1:]) == want
        for name, args in NONSENSE:
            assert outcome(getattr(table, name), args, {})[0] == "SwapValueError", (name, args)

    # -- the whole

    @rule(
        t=TABLE,
        min_age=st.sampled_from([0, 0, 1, 600, 2**42 - 1]),
        ahead=st.none() | st.integers(0, 2000),
        max_error=st.none() | st.sampled_from([0, 1, 3, 255]),
    )
    def compact(self, t, min_age, ahead, max_error):
        t, _ = self.table(t)
        self.twin.compact(t, min_age, None if ahead is None else self.clock + ahead, max_error)

    @rule(t=TABLE, callback=st.booleans(), failures=st.sampled_from([0, 1, 2, 10**6, 10**6]))
    def run_discard(self, t, callback, failures):
        self.twin.run_discard(self.table(t)[0], callback, failures)

    @rule(t=TABLE)
    def trim(self, t):
        self.twin.tables[self.table(t)[0]].trim()

    def unpin(self, cold):
        """What is in the swap cache cannot be moved by anybody else: swap it out first, on all tables."""
        for t in range(len(self.twin.models) if cold else 0):
            self.swap_out(t, 0, 3000, 1, 0)

    @rule(t=TABLE, blocks=SIZES, mover=st.booleans(), cold=st.booleans())
    def resize(self, t, blocks, mover, cold):
        self.unpin(cold)
        self.twin.resize(self.table(t)[0], blocks, mover)

    @rule(
        t=TABLE, order=st.sampled_from([1, 2, 4, 9]), max_moves=st.none() | st.sampled_from([0, 1, 50]),
        cold=st.booleans(),
    )
    def defrag(self, t, order, max_moves, cold):
        t, m = self.table(t)
        self.unpin(cold)
        if not m.grows:
            self.twin.defrag(t, order, max_moves)

    @rule(t=TABLE)
    def everything_goes(self, t):
        """All slots freed, all held blocks given back, discarded and trimmed: nothing is left but what is bad."""
        t, m = self.table(t)
        self.twin.call(t, "free_many", np.array(sorted(m.slots), np.int64))
        self.twin.call(t, "block_free", np.array(self.twin.held(t), np.int64))
        for _ in range(2):
            self.twin.run_discard(t, False, 0)
        assert not [b for b, owner in m.taken.items() if not isinstance(owner, tuple)]
        if not m.taken and not m.grows:
            assert m.blocks_free() == m.usable()
            assert m.tabled <= {b // CLUSTER for b in {*m.bad, m.blocks}}

    @invariant()
    def same(self):
        if hasattr(self, "twin"):
            self.twin.same()


def bounds(examples, steps):
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )


Machine.TestCase.settings = bounds(int(os.environ.get("SWAPTABLE_EXAMPLES", "40")), 30)
TestMachine = Machine.TestCase


@pytest.mark.long
def test_long_machine():
    run_state_machine_as_test(Machine, settings=bounds(1500, 50))
