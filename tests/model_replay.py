# The replay machine again in plain Python: folios are objects, lists are deques, pages a dict.
# May import errors; the design that it drives is its caller's.
# Used by test_replay.py, which holds the compiled machine to it counter by counter.
"""A reference model of the machine in swaptable.replay."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field

from swaptable.errors import SwapFullError


class OutOfMemory(Exception):
    """Memory and swap are full."""


@dataclass(eq=False)
class Folio:
    pages: list[int]
    young: set[int] = field(default_factory=set)
    dirty: bool = False
    referenced: bool = False
    active: bool = False
    entry: int | None = None  # the slots of a folio in the swap cache


@dataclass
class Out:
    entry: int
    age: int


class ReplayModel:
    """The machine; *design* gets every operation through its Python face."""

    def __init__(self, design, limit, order=0, large_swapin=False):
        self.design, self.limit, self.nr, self.order = design, limit, 1 << order, order
        self.large_swapin = large_swapin
        self.batch = max(1, min(32, limit // 8))
        gib = limit >> 18
        self.ratio = math.isqrt(10 * gib) if gib else 1
        self.where: dict[int, Folio | Out] = {}
        self.inactive: deque[Folio] = deque()
        self.active: deque[Folio] = deque()
        self.age = 0
        self.stat: Counter[str] = Counter()
        self.peak = (design.bytes, design.used)

    def access(self, page, write):
        folio = self.where.get(page)
        if not isinstance(folio, Folio):
            self.stat["pgfault"] += 1
            folio = self.first_touch(page) if folio is None else self.swap_in(page, write)
        folio.young.add(page)
        folio.dirty |= write

    # --- faults ---

    def first_touch(self, page):
        head = page - page % self.nr
        self.charge(self.nr)
        self.stat["first_touch"] += 1
        return self.map(Folio(list(range(head, head + self.nr))))

    def map(self, folio):
        for page in folio.pages:
            self.where[page] = folio
        self.lru_add(folio)
        return folio

    def swap_in(self, page, write):
        pages = self.swapin_pages(page)
        out, entry = self.where[page], self.where[pages[0]].entry
        assert self.design.cache_get(out.entry) == -1
        self.charge(len(pages))
        self.design.cache_add(entry, len(pages), pages[0])
        gone = any(tier == 0 for tier, _ in self.design.read(entry, len(pages)))  # an exclusive load
        self.stat.update(pgmajfault=1, pswpin=len(pages), workingset_refault=len(pages), swpin=int(len(pages) > 1))
        folio = Folio(pages, dirty=gone, active=self.age - out.age <= self.count(self.active))
        if folio.active:
            self.age += len(pages)
            self.stat["workingset_activate"] += len(pages)
        self.give_up(entry, pages)
        self.map(folio)
        if write or self.large_swapin or self.swap_half_full():
            self.design.cache_del(entry, len(pages), 0)
        else:
            folio.entry = entry
        return folio

    def swapin_pages(self, page):
        block = list(range(page - page % self.nr, page - page % self.nr + self.nr))
        outs = [self.where.get(p) for p in block]
        if self.large_swapin and all(isinstance(out, Out) for out in outs):
            first = outs[0].entry
            if first % self.nr == 0 and [out.entry for out in outs] == list(range(first, first + self.nr)):
                return block
        return [page]

    # --- the lists ---

    @staticmethod
    def count(folios):
        return sum(len(folio.pages) for folio in folios)

    def resident(self):
        return self.count(self.inactive) + self.count(self.active)

    def lru_add(self, folio):
        (self.active if folio.active else self.inactive).appendleft(folio)

    def activate(self, folio):
        folio.active = True
        self.stat["pgactivate"] += len(folio.pages)
        self.age += len(folio.pages)
        self.lru_add(folio)
        if folio.entry is not None and self.swap_half_full():
            self.design.cache_del(folio.entry, len(folio.pages), 0)
            folio.entry = None

    def swap_half_full(self):
        return self.design.used * 2 > self.design.size

    # --- reclaim ---

    def charge(self, nr):
        if self.resident() + nr > self.limit:
            self.reclaim(nr)

    def reclaim(self, nr):
        freed, steps = 0, 3 * (len(self.inactive) + len(self.active)) + 64
        while freed < max(nr, self.batch) and steps and (self.inactive or self.active):
            while self.count(self.inactive) * self.ratio < self.count(self.active):
                self.deactivate(self.active.pop())
            freed += self.scan(self.inactive.pop())
            steps -= 1
        self.peak = max(self.peak, (self.design.bytes, self.design.used))
        if self.resident() + nr > self.limit:
            raise OutOfMemory

    def deactivate(self, folio):
        folio.active = False
        folio.young.clear()
        self.stat["pgdeactivate"] += len(folio.pages)
        self.lru_add(folio)

    def scan(self, folio):
        self.stat["pgscan"] += len(folio.pages)
        if folio.young:
            folio.young.clear()
            if folio.referenced:
                self.activate(folio)
            else:
                folio.referenced = True
                self.lru_add(folio)
            return 0
        folio.referenced = False
        return self.shrink(folio) if len(folio.pages) == 1 else self.shrink_large(folio)

    def shrink_large(self, folio):
        if self.design.used >= self.design.size:
            return self.stay(folio)
        if self.swap_out(folio):
            self.stat["swpout"] += 1
            return len(folio.pages)
        self.stat["swpout_fallback"] += 1
        first, *rest = [Folio([page]) for page in folio.pages]
        for single in (first, *rest):
            self.where[single.pages[0]] = single
        return sum(self.shrink(single) for single in (first, *reversed(rest)))

    def shrink(self, folio):
        return 1 if self.swap_out(folio) else self.stay(folio)

    def stay(self, folio):
        self.stat["swap_full"] += 1
        self.activate(folio)
        return 0

    def swap_out(self, folio):
        nr, fresh = len(folio.pages), folio.entry is None
        if fresh:
            if self.design.used + nr > self.design.size:
                return False
            try:
                folio.entry = self.design.alloc(nr.bit_length() - 1, folio.pages[0])
            except SwapFullError:
                return False
        for i, page in enumerate(folio.pages):
            self.design.dup(folio.entry + i)
            self.design.mapped(folio.entry + i, 1, page)
        if (fresh or folio.dirty) and not self.written(folio, fresh):
            return False
        self.design.cache_del(folio.entry, nr, self.age)
        for i, page in enumerate(folio.pages):
            self.where[page] = Out(folio.entry + i, self.age)
        self.age += nr
        self.stat["pgsteal"] += nr
        return True

    def give_up(self, entry, pages):
        self.design.unmapped(entry, len(pages), pages[0])
        self.design.put(entry, len(pages))

    def written(self, folio, fresh):
        nr = len(folio.pages)
        try:
            self.design.writeout(folio.entry, nr)
        except SwapFullError:
            self.give_up(folio.entry, folio.pages)
            if fresh:
                self.design.cache_del(folio.entry, nr, 0)
                folio.entry = None
            return False
        self.stat["pswpout"] += nr
        return True
