# Batches in which each slot stands for itself: the same as one call a slot, whatever is wrong with some of them.
# Imports the package, numpy, hypothesis and pytest.
# Used by pytest.
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swaptable import BlockSpace, SwapError, SwapTable, unpack

SLOTS, DEPOT = 1200, 900
PIN, OTHER = 5, 9


class Pair:
    """A front end with some slots pinned and some not, and a depot whose blocks it is located in; always the same."""

    def __init__(self, owners: bool, discard: bool, grow: bool) -> None:
        space = BlockSpace()
        shape = {"slots": None} if grow else {"slots": SLOTS, "header": False}
        self.front = SwapTable(**shape, space=space)
        self.depot = SwapTable(slots=DEPOT, header=False, space=space, owners=owners, discard=discard)
        self.slots = self.front.alloc_many(SLOTS - 100)
        self.front.dup_many(self.slots[::3])
        self.front.dup_many(np.repeat(self.slots[:30:3], 20))       # more than fit in a word
        self.front.cache_del_many(self.slots[::6])
        self.front.cache_del_many(self.slots[1::6])                 # without users: free again
        self.front.pin_many(self.slots[::6], PIN)
        self.held = self.depot.block_alloc(400)

    def state(self) -> tuple[object, ...]:
        front, every = self.front, np.arange(SLOTS)
        if front.memory()["total"] and len(front) >= SLOTS:
            members, owners = self.depot.owners(self.depot.block_locs(np.arange(DEPOT)))
            usage = [(t.usage()["used"], t.usage()["cached"], t.usage()["blocks"]) for t in (front, self.depot)]
            front.check()
            self.depot.check()
            return (front.words(every).tolist(), front.locs(every).tolist(), members.tolist(), owners.tolist(), usage)
        raise AssertionError("the front end has lost slots")


def moved_alone(pair: Pair, slot: int, old: int, new: int, pfn: int | None, give_back: bool) -> bool:
    word = unpack(int(pair.front.words([slot])[0])) if 0 <= slot < SLOTS else None
    if pfn is not None and (word is None or word.kind != "folio" or word.pfn != pfn):
        return False
    try:
        pair.front.move(slot, old, new)
    except SwapError:
        return False
    if give_back and old and old != new:
        pair.front.block_free([old])
    return True


@settings(max_examples=60, deadline=None)
@given(data=st.data(), owners=st.booleans(), discard=st.booleans(), grow=st.booleans(), give_back=st.booleans())
def test_moves(data, owners, discard, grow, give_back):
    batch, alone = Pair(owners, discard, grow), Pair(owners, discard, grow)
    assert batch.state() == alone.state()
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    for _ in range(3):
        n = data.draw(st.sampled_from([1, 7, 130, 500]))
        slots = rng.choice(batch.slots[::6] if rng.random() < 0.5 else batch.slots, n)
        if rng.random() < 0.6:
            slots = np.sort(slots)
        now = dict(zip(slots.tolist(), batch.front.locs(slots).tolist(), strict=True))
        olds, news, free = [], [], list(batch.held)
        for slot in slots.tolist():         # as if one after the other: a block may go from hand to hand
            old = now[slot] if rng.random() < 0.9 else int(rng.choice(batch.held))
            new = 0 if rng.random() < 0.1 else old if rng.random() < 0.1 else int(rng.choice(free))
            olds.append(old)
            news.append(new)
            if rng.random() < 0.9:
                now[slot] = new
        pfn = data.draw(st.sampled_from([None, PIN, OTHER]))
        done = batch.front.move_each(slots, olds, news, pfn, give_back)
        each = [moved_alone(alone, *one, pfn, give_back) for one in zip(slots.tolist(), olds, news, strict=True)]
        assert done.tolist() == each
        assert batch.state() == alone.state()
    if discard:
        batch.depot.run_discard()
        alone.depot.run_discard()
        assert batch.state() == alone.state()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bad=st.integers(0, 299), wrong=st.sampled_from(["slot", "old", "new", "wide"]))
def test_a_batch_of_moves_ends_at_the_first_that_cannot_be(seed, bad, wrong):
    """Those before it are done, those after it are as they were; their blocks are held by whoever held them."""
    batch, alone = Pair(True, False, False), Pair(True, False, False)
    rng = np.random.default_rng(seed)
    slots = rng.permutation(batch.slots[::6])[:150]
    slots = np.concatenate([slots, slots])
    olds = np.concatenate([np.zeros(150, np.int64), batch.held[:150]])
    news = batch.held[:300].astype(np.int64)
    if wrong == "slot":
        slots[bad] = SLOTS - 1
    elif wrong == "old":
        olds[bad] = batch.held[399]
    else:
        news[bad] = 2**40 if wrong == "wide" else (1 << 22) - 1
    with pytest.raises(SwapError) as caught:
        batch.front.move_many(slots, olds, news)
    assert caught.value.index == bad
    alone.front.move_many(slots[:bad], olds[:bad], news[:bad])
    assert batch.state() == alone.state()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.sampled_from([1, 9, 600, 1500]), packed=st.booleans())
def test_pins(seed, n, packed):
    """pin_many, put_each and unpin_many, with slots that are free, pinned, packed, out of range, or there twice."""
    batch, alone = Pair(False, False, False), Pair(False, False, False)
    rng = np.random.default_rng(seed)
    for one in (batch, alone):
        one.front.unpin_many(one.slots[::6], PIN, 3)
        if packed:
            one.front.compact(0)
    slots = rng.integers(-2, SLOTS + 5, n)
    if rng.random() < 0.7:
        slots = np.sort(slots)
    pfns = rng.integers(1, 4, n)
    pairs = list(zip(slots.tolist(), pfns.tolist(), strict=True))
    pinned, words = batch.front.pin_many(slots, pfns)
    single = [alone.front.pin_many([slot], [pfn]) for slot, pfn in pairs]
    assert pinned.tolist() == [bool(ok[0]) for ok, _ in single]
    assert words.tolist() == [int(word[0]) for _, word in single]
    replaced = batch.front.put_each(slots)
    assert replaced.tolist() == [int(alone.front.put_each([slot])[0]) for slot in slots.tolist()]
    old = batch.front.unpin_many(slots, pfns, 11)
    single = [alone.front.unpin_many([slot], [pfn], 11) for slot, pfn in pairs]
    assert old.tolist() == [int(word[0]) for word in single]
    assert batch.state() == alone.state()
