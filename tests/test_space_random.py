# The swap space at random beside a dict: runs by seed, a state machine, cgroups with limits.
# Imports the package, space_twin, hypothesis.
# Used by pytest; the long run is `make test-long`.
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from space_twin import Twin

from swaptable.memcg import MemcgTree

OPTIONS = [
    {}, {"compressed_writeback": True}, {"promote": True}, {"contiguous": False},
    {"compressed_writeback": True, "promote": True, "mixed_swapin": True},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "plain")
@pytest.mark.parametrize("seed", [1, 2])
def test_random(tmp_path, seed, options):
    """Some ten thousand pages, with frees, rewrites, prefetch and swapoff in between: nothing is lost or doubled."""
    twin = Twin(tmp_path, np.random.default_rng(seed), **options)
    for k in range(150):
        twin.step()
        if k % 25 == 0:
            twin.check()
    twin.check()
    twin.empty()


class Grouped(Twin):
    """Pages of several cgroups, whose limits come and go."""

    def __init__(self, folder, rng, charge_ghost=False, **options):
        self.tree = MemcgTree(charge_ghost=charge_ghost)
        super().__init__(folder, rng, memcg=self.tree, **options)
        self.groups = ["job", "job/a", "job/b", "other"]
        for name in self.groups:
            self.tree.mkdir(name)

    def out(self, n=200, order=0):
        name = str(self.rng.choice(["", *self.groups]))
        self.group = self.tree[name]
        return super().out(n, order)

    def change(self):
        """Another limit, or another group in the place of one that had slots."""
        group = self.tree[str(self.rng.choice(self.groups))]
        what = int(self.rng.integers(5))
        if what == 0:
            group.write("memory.swap.max", str(self.rng.choice(["0", "2M", "4M", "max", "max"])))
        elif what == 1:
            group.write("memory.zswap.max", str(self.rng.choice(["0", "200K", "1M", "max"])))
        elif what == 2:
            group.write("memory.zswap.writeback", str(self.rng.choice(["0", "1", "1"])))
        elif not group.children:
            path = group.path
            self.tree.rmdir(group)
            self.tree.mkdir(path)

    def step(self, weights=None):
        if self.rng.random() < 0.1:
            self.change()
        return super().step(weights)


@pytest.mark.parametrize("charge_ghost", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_with_cgroups(tmp_path, seed, charge_ghost):
    twin = Grouped(tmp_path, np.random.default_rng(seed), charge_ghost=charge_ghost)
    for k in range(150):
        twin.step()
        if k % 25 == 0:
            twin.check()
    twin.check()
    twin.empty()
    assert not twin.tree.dying()


@pytest.mark.long
@pytest.mark.parametrize("kind", [Twin, Grouped])
def test_a_million_pages(tmp_path, kind):
    """A million pages at random: with limits, frees, rewrites, prefetch and swapoff in between."""
    twin = kind(tmp_path, np.random.default_rng(7), compressed_writeback=kind is Twin)
    step = 0
    while twin.next < 1_000_000:
        twin.step()
        step += 1
        if step % 500 == 0:
            twin.check()
    twin.check()
    twin.empty()


COUNT = st.integers(1, 60)
PAGES = ["swap_in", "look", "free", "dup", "rewrite", "writeback", "prefetch", "fault"]


class SpaceMachine(RuleBasedStateMachine):
    """Small batches in an order that hypothesis chooses, and makes smaller when something breaks."""

    @initialize(seed=st.integers(0, 5), options=st.sampled_from(OPTIONS), groups=st.booleans())
    def make(self, seed, options, groups):
        self.folder = tempfile.TemporaryDirectory()
        rng = np.random.default_rng(seed)
        kind = Grouped if groups else Twin
        self.twin = kind(Path(self.folder.name), rng, files=(1, 1), pool=1 << 18, **options)

    @rule(n=COUNT)
    def swap_out(self, n):
        self.twin.out(n)

    @rule(order=st.integers(1, 5))
    def swap_out_folio(self, order):
        self.twin.out(1, order)

    @rule(n=COUNT, what=st.sampled_from(PAGES))
    def pages(self, n, what):
        getattr(self.twin, what)(n)

    @rule(index=st.integers(0, 1))
    def swapoff(self, index):
        self.twin.swapoff(index)

    @rule()
    def tidy(self):
        self.twin.tidy()

    @rule()
    def change(self):
        if isinstance(self.twin, Grouped):
            self.twin.change()

    @invariant()
    def everything_is_there(self):
        if hasattr(self, "twin"):
            self.twin.check()

    def teardown(self):
        if hasattr(self, "twin"):
            self.twin.empty()
            self.folder.cleanup()


SpaceMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestMachine = SpaceMachine.TestCase
