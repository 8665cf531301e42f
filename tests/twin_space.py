# Tables of one space and their model side by side: the same calls, choices adopted, everything compared.
# Imports the package, numpy, pytest and the models.
# Used by the state machine of spaces.
from __future__ import annotations

from collections import Counter
from typing import Any

import model_space
import numpy as np
import pytest
from model_space import CLUSTER, HELD, PAST, WAITING
from twin import TABLE_BYTES, outcome

from swaptable import BlockSpace, SlotBusyError, SwapTable

SPREAD = TABLE_BYTES // 4096
PFN = 77  # of what the machine allocates
MOVER_PFN = 2**41 - 1  # of the folios that pin slots while a resize or defragmentation moves them
BITMAP_BYTES = 72


class SpaceTwin:
    """Real tables and their model, by number."""

    def __init__(self, shapes: list[dict], shared: bool) -> None:
        self.space = BlockSpace() if shared else None
        self.model = model_space.Space()
        more = {"space": self.space} if shared else {}
        self.tables = [SwapTable(**shape, **more) for shape in shapes]
        self.models = [model_space.Table(self.model, **shape) for shape in shapes]
        for table, m in zip(self.tables, self.models, strict=True):
            assert table.member == m.member
            if not m.grows:  # which unit of locations the core gave the table
                loc = table.block_alloc(1)
                self.model.learn(int(loc[0]), m.member)
                table.block_free(loc)
                table.run_discard()

    # -- calls whose outcome the model knows

    def call(self, t: int, name: str, *args: Any, **kwargs: Any) -> tuple:
        got = outcome(getattr(self.tables[t], name), args, kwargs)
        want = outcome(getattr(self.models[t], name), args, kwargs)
        called = f"table {t}: {name}{brief(args)} {kwargs}"
        assert got == want, f"{called}: the table {differ(got, want)}, the model {differ(want, got)}"
        return got

    # -- allocation of slots

    def alloc(self, t: int, n: int | None, order: int, contiguous: bool, cpu: int = 0, memcg: int = 3) -> list[int]:
        """One run where *n* is None; else up to *n*. Return: the first slots."""
        table, m = self.tables[t], self.models[t]
        must, may = self.room(m, order, contiguous)
        if n is None:
            how, got = outcome(table.alloc, (order, cpu, PFN, memcg), {"contiguous": contiguous})
            assert how in ("returned", "SwapFullError")
            slots = [got] if how == "returned" else []
            n = 1
        else:
            pfns = np.full(n, PFN, np.uint64)
            slots = table.alloc_many(n, order, cpu, pfns=pfns, memcg=memcg, contiguous=contiguous).tolist()
        assert min(n, must) <= len(slots) <= min(n, may), f"{len(slots)} runs of {n}, {must} to {may} possible"
        self.convert(t)
        want = m.greedy(1 << order)
        for slot in slots:
            run = np.arange(slot, slot + (1 << order))
            places = [self.model.learn(loc, t) if loc else None for loc in table.locs(run).tolist()]
            if n == 1 and slot >= PAST:
                assert Counter(m.source(at[1]) for at in places if at) == want
            m.adopt(slot, order, places, PFN, memcg)
        self.convert(t)
        return slots

    def room(self, m: model_space.Table, order: int, contiguous: bool) -> tuple[int, int]:
        """How many runs there must be room for at least, and at most."""
        most = 2**40
        if m.grows:
            return (0 if order and not m.block else most), most
        free = m.blocks_free()
        if order == 0 and not contiguous:
            slots = sum(m.word(s) == 0 and s not in m.taken for s in range(m.blocks) if s // CLUSTER not in m.discards)
            return slots, slots
        here = m.free_run(order) and (m.block or order == 0)
        if not contiguous:
            whole = any(
                m.live[i] + m.lent[i] == 0 and i not in m.tabled and i not in m.discards
                for i in range(m.blocks // CLUSTER)
            )
            return (1 if whole and (m.block or order == 0) else 0), (free >> order if here else 0)
        if m.past_limit < 100:
            new = len(m.past()) < m.past_limit
            own = [i for i in m.past() if m.past_order[i] == order]
            must = 1 if free >> order and (new or m.free_run(order, own)) else 0
            return must, (free >> order if here or new or m.free_run(order, m.past()) else 0)
        return free >> order, free >> order

    def convert(self, t: int) -> None:
        """Clusters that only received blocks may have a table, if a search looked there: their words say LENT."""
        m = self.models[t]
        for block in m.taken:
            if block // CLUSTER not in m.tabled and self.tables[t][block] == model_space.LENT:
                m.tabled.add(block // CLUSTER)

    # -- blocks and locations

    def block_alloc(self, t: int, n: int) -> list[int]:
        table, m = self.tables[t], self.models[t]
        many = min(n, m.blocks_free())
        want = m.greedy(many)
        got = table.block_alloc(n).tolist()
        assert len(got) == many and got == sorted(set(got))
        places = [self.model.learn(loc, t) for loc in got]
        assert Counter(m.source(block) for _, block in places) == want
        for _, block in places:
            m.take(block, HELD)
        return got

    def loc(self, at: tuple[int, int] | None) -> int:
        """The location of a (table, block)."""
        if at is None:
            return 0
        return next(u for u, member in self.model.units.items() if member == at[0]) << 22 | at[1]

    def held(self, t: int) -> list[int]:
        return [self.loc((t, b)) for b, owner in sorted(self.models[t].taken.items()) if owner == HELD]

    def move(self, t: int, slots: list[int], new: list[int], give: bool) -> None:
        """Move cached slots to blocks that are held (0: home), copying the data as whoever pins them does."""
        m = self.models[t]
        was = [m.slots[s].loc for s in slots]
        old = [self.loc(at) for at in was]
        how, value = self.call(t, "move_many", np.array(slots, np.int64), np.array(old, np.int64), np.array(new, int))
        done = len(slots) if how == "returned" else value[1]
        for slot in slots[:done]:
            self.model.write(m, slot)
        if give:
            self.call(t, "block_free", np.array([o for o in old[:done] if o], np.int64))

    # -- the whole

    def compact(self, t: int, min_age: int, now: int | None, max_error: int | None) -> None:
        table, m = self.tables[t], self.models[t]
        found = m.compact(min_age, now, max_error)
        bytes_of = [m.packed[i] for i in found]
        uniform = bytes_of.count(model_space.UNIFORM_BYTES)
        want = {"packed": len(found) - uniform, "uniform": uniform, "saved": 4096 * len(found) - sum(bytes_of)}
        assert table.compact(min_age, now, max_error) == want
        for i, error in found.items():
            slots = np.arange(i * CLUSTER, (i + 1) * CLUSTER)
            for slot, word in zip(slots.tolist(), table.words(slots).tolist(), strict=True):
                shadow = word >> 1 & 2**42 - 1
                assert 0 <= m.slots[slot].value - shadow <= error
                m.slots[slot].value = shadow  # all else must be as it was: same() looks

    def run_discard(self, t: int, callback: bool, failures: int) -> None:
        """Without a callback, or with one that fails at its *failures*-th call."""
        table, m = self.tables[t], self.models[t]
        done: list[tuple[int, int]] = []

        def discard(first: int, nr: int) -> None:
            if len(done) == failures:
                raise OSError("no discard today")
            done.append((first, nr))

        waiting = sorted(b for b, owner in m.taken.items() if owner == WAITING)
        every = {(i * CLUSTER, CLUSTER) for i in m.discards} | set(merged(waiting))
        if callback and failures < len(every):
            with pytest.raises(OSError, match="no discard today"):
                table.run_discard(discard)
            assert set(done) < every
        else:
            assert table.run_discard(discard if callback else None) == len(m.discards)
            done = done if callback else sorted(every)
            assert set(done) == every
        assert len(done) == len(set(done))
        for first, nr in done:
            if first // CLUSTER in m.discards and nr == CLUSTER:
                m.discards.discard(first // CLUSTER)
                continue
            for i in range(first // CLUSTER, (first + nr - 1) // CLUSTER + 1):
                part = range(max(first, i * CLUSTER), min(first + nr, (i + 1) * CLUSTER))
                for block in part:
                    m.give(block)
                if len(part) == CLUSTER:
                    m.discards.discard(i)  # all of it has just been discarded

    def resize(self, t: int, blocks: int, with_mover: bool) -> None:
        table, m = self.tables[t], self.models[t]
        was = m.blocks
        if m.grows or not 1 <= blocks < 2**32 or blocks <= sum(b < blocks for b in m.bad):
            assert outcome(table.resize, (blocks,), {})[0] == "SwapValueError"
            return
        if blocks >= was:
            table.resize(blocks)
            m.resized(blocks)
            return
        found, stuck = m.in_the_way(blocks)
        room = sum(m.source(b) is not None for b in range(blocks))
        data = Mover(self, t)
        edge = blocks // CLUSTER
        try:
            table.resize(blocks, data if with_mover else None)
            done = True
        except SlotBusyError:
            done = False
        assert done == (stuck == 0 and len(found) <= room), f"{found}, {stuck} stuck, room for {room}"
        m.packed = {i: n for i, n in m.packed.items() if i < edge}
        stay = max((s for s in m.slots if s < PAST), default=0)
        assert len(table) >= stay, f"slot {stay} is in use, and out of range"
        if blocks % CLUSTER and edge in m.discards:
            m.discards.remove(edge)
            m.tabled.add(edge)
            for block in range(edge * CLUSTER, blocks):
                m.take(block, WAITING)
        moved = self.adopt_moves(found, data if with_mover else None)
        assert all(at[0] == t and at[1] < blocks for _, _, at in moved)
        assert len(moved) == min(len(found), room)
        if done:
            m.resized(blocks)
        else:
            m.discards = {i for i in m.discards if i < edge}  # those beyond are as good as never used
            self.convert(t)

    def defrag(self, t: int, order: int, max_moves: int | None) -> None:
        table, m = self.tables[t], self.models[t]
        before = self.free_runs(m, order)
        data = Mover(self, t)
        result = table.defrag(order, max_moves, data)
        found = [(m, s) for s, page in m.slots.items() if m.own(s) and page.loc is None and not page.zero]
        found += [(self.models[o[0]], o[1]) for o in m.taken.values() if isinstance(o, tuple)]
        moved = self.adopt_moves(found, data)
        after = self.free_runs(m, order)
        assert (result.runs_before, result.slot_runs_before) == before
        assert (result.runs_after, result.slot_runs_after) == after
        assert result.moves == len(moved) == data.blocks and result.bytes == 4096 * len(moved)
        assert max_moves is None or len(moved) <= max_moves
        assert after[0] >= before[0] or m.discard

    def free_runs(self, m: model_space.Table, order: int) -> tuple[int, int]:
        """Aligned runs of free blocks, and of those whose slots are free."""
        runs = slots = 0
        for first in range(0, -(-m.blocks // CLUSTER) * CLUSTER, 1 << order):
            run = range(first, first + (1 << order))
            ok = all(b < m.blocks and b not in m.bad and b not in m.taken for b in run)
            if ok and all(b not in m.slots or m.is_hole(b) for b in run):
                runs += 1
                slots += all(b not in m.slots for b in run)
        return runs, slots

    def adopt_moves(self, found: list, data: Mover | None) -> list:
        """Where the data of slots has been moved to; those that were moved must be swapped out."""
        moved = []
        for m, slot in found:
            page = m.slots[slot]
            loc = int(self.tables[m.member].loc(slot))
            at = self.model.learn(loc, self.model.units.get(loc >> 22, m.member)) if loc else None
            if at != page.loc:
                assert at is not None and page.kind == "shadow"
                moved.append((m, slot, at))
                m.touch(slot)
        homes = []
        for m, slot, at in moved:
            page = m.slots[slot]
            self.model.tables[at[0]].take(at[1], None)
            if page.loc is not None:
                homes.append(page.loc)
            m.own_it(at, slot)
            page.loc = at
            if data is None:
                self.model.write(m, slot)
        for at in homes:
            self.model.home(at)
        return moved

    # -- comparison

    def same(self) -> None:
        for t, (table, m) in enumerate(zip(self.tables, self.models, strict=True)):
            table.check()
            self.same_slots(t)
            self.same_usage(table.usage(), m)
            self.same_memory(table.memory(), m)
            self.same_owners(t)
            assert (len(table), table.blocks, table.free_blocks) == (m.size, m.blocks, m.blocks_free())

    def same_slots(self, t: int) -> None:
        """Words, locations and where the data is of all slots; the data itself."""
        table, m = self.tables[t], self.models[t]
        clusters = sorted(m.tabled if m.grows else {*range(-(-m.size // CLUSTER)), *m.past()})
        slots = (np.array(clusters, np.int64)[:, None] * CLUSTER + np.arange(CLUSTER)).ravel()
        slots = slots[(slots < m.size) | (slots >= PAST)]
        listed = slots.tolist()
        want = np.array([m.word(s) for s in listed], np.uint64)
        got = table.words(slots)
        wrong = np.flatnonzero(got != want)[:9]
        assert not wrong.size, f"table {t}, slots {slots[wrong]}: {got[wrong]}, the model has {want[wrong]}"
        devices, blocks = (a.tolist() for a in table.resolve(slots))
        for slot, loc, device, block in zip(listed, table.locs(slots).tolist(), devices, blocks, strict=True):
            page = m.slots.get(slot)
            assert self.model.locate(loc) == (page.loc if page else None), f"table {t}, slot {slot}"
            at = m.where(slot)
            assert (device, block) == (at or (-1, -1)), f"table {t}, slot {slot}: {device, block}, not {at}"
            if at is not None:
                assert page.tag is not None and self.model.disk[at] == page.tag, f"table {t}, slot {slot}: data lost"
        for slot in [s for s, page in m.slots.items() if page.users >= 15]:
            assert table.entry(slot).count == m.slots[slot].users

    def same_usage(self, usage: dict, m: model_space.Table) -> None:
        cached = sum(page.kind == "folio" for page in m.slots.values())
        moved = sum(page.loc is not None for page in m.slots.values())
        lent = sum(b not in m.slots for b in m.taken)
        inside = sum(s < m.blocks for s in m.slots)
        want = {"used": len(m.slots), "cached": cached, "swapped": len(m.slots) - cached, "lent": lent, "moved": moved}
        if not m.grows:
            want |= {"slots": m.blocks, "usable": m.usable(), "bad": m.blocks - m.usable()}
            want |= {"free": m.usable() - inside - lent}
        assert {name: usage[name] for name in want} == want
        used = 0 if m.grows else m.blocks_used()
        owners = Counter(o if isinstance(o, str) else "slot" for o in m.taken.values())
        assert usage["blocks"] == {
            "usable": 0 if m.grows else m.usable(), "used": used, "free": 0 if m.grows else m.usable() - used,
            "taken": len(m.taken), "held": owners[HELD], "waiting": owners[WAITING], "holes": m.holes(),
        }  # fmt: skip
        self.same_clusters(usage["clusters"], m)

    def same_clusters(self, clusters: dict, m: model_space.Table) -> None:
        own = {i for i in m.tabled if i < PAST // CLUSTER}
        lists = {i: m.live[i] + sum(m.word(s) in (model_space.LENT, model_space.BAD) for s in run(i)) for i in own}
        full = sum(n == CLUSTER for n in lists.values())
        receive = len([i for i in m.lent if m.lent[i] and i not in m.tabled])
        want = {
            "discard": len(m.discards), "full": full, "receive": receive, "packed": len(m.packed),
            "past": len(m.past()), "past_peak": m.past_peak,
        }  # fmt: skip
        assert {name: clusters[name] for name in want} == want
        assert sum(clusters["nonfull"]) + sum(clusters["frag"]) == len(own) - full
        if not m.grows:
            inside = -(-m.blocks // CLUSTER)
            unused = [i for i in range(inside) if i not in own and not m.lent[i] and i not in m.discards]
            assert clusters["untouched"] + clusters["free"] == len(unused)

    def same_memory(self, memory: dict, m: model_space.Table) -> None:
        moved = {s // CLUSTER for s, page in m.slots.items() if page.loc is not None}
        over = {s // CLUSTER for s, page in m.slots.items() if page.users >= 15}
        held = {b // CLUSTER for b, owner in m.taken.items() if owner == HELD}
        want = {
            "tables": 4096 * (len(m.tabled) - len(m.packed)),
            "packed": sum(m.packed.values()),
            "locations": 2048 * len(moved),
            "bitmaps": BITMAP_BYTES * (sum(n > 0 for n in m.lent.values()) + len(held)),
            "owners": 2048 * len(m.owned),
            "overflow": 2048 * len(over),
        }
        assert {name: memory[name] for name in want} == {name: SPREAD * size for name, size in want.items()}
        assert sum(memory.values()) - memory["total"] == memory["total"]

    def same_owners(self, t: int) -> None:
        table, m = self.tables[t], self.models[t]
        blocks = sorted(m.taken)
        want = [m.owner_of(b) for b in blocks]
        if m.owners:
            got = table.owners([self.loc((t, b)) for b in blocks])
            assert list(zip(*(a.tolist() for a in got), strict=True)) == want
        if self.space is not None and not m.grows:
            got = list(zip(*(a.tolist() for a in self.space.owners(table)), strict=True))
            assert got == [(*owner, b) for owner, b in zip(want, blocks, strict=True) if owner != (-1, -1)]


class Mover:
    """Copies data as a resize or a defragmentation asks, and looks at what it is given."""

    def __init__(self, twin: SpaceTwin, t: int) -> None:
        self.twin, self.t = twin, t
        self.blocks = 0

    def __call__(self, src: np.ndarray, dst: np.ndarray) -> None:
        space = self.twin.model
        assert src.dtype == dst.dtype == np.uint32 and src.shape == dst.shape and src.size
        copies = []
        for a, b in zip(src.tolist(), dst.tolist(), strict=True):
            a, b = (space.learn(loc, self.t) for loc in (a, b))
            owner = space.tables[a[0]].owner_of(a[1])
            member, slot = owner if owner[0] >= 0 else a
            assert space.tables[member].where(slot) == a
            entry = self.twin.tables[member].entry(slot)
            assert (entry.kind, entry.pfn) == ("folio", MOVER_PFN)
            assert space.tables[b[0]].source(b[1])
            copies.append((b, space.disk[a]))
        space.disk.update(copies)
        self.blocks += len(copies)


def brief(value: Any) -> str:
    with np.printoptions(threshold=8, edgeitems=2):
        return repr(value)


def differ(got: tuple, want: tuple) -> Any:
    """An outcome, or the first elements in which two lists that came back differ."""
    if got[0] == want[0] == "returned" and isinstance(got[1], list) and len(got[1]) == len(want[1]):
        return [(k, g) for k, (g, w) in enumerate(zip(got[1], want[1], strict=True)) if g != w][:5]
    return got


def run(i: int) -> range:
    return range(i * CLUSTER, (i + 1) * CLUSTER)


def merged(blocks: list[int]) -> list[tuple[int, int]]:
    """Runs of blocks that follow one another: (first, number)."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and block == sum(runs[-1]):
            runs[-1][1] += 1
        else:
            runs.append([block, 1])
    return [(first, nr) for first, nr in runs]

