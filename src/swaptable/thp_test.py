# The kernel's thp_swap_allocator_test on our structures: folios, page faults, swap-in and page-out around a SwapTable.
# May import the core and errors.
# Used by the command line and by tests.
"""How often a 64 KiB folio finds no contiguous swap slots: the kernel's fragmentation test, on a :class:`SwapTable`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from swaptable._core import SwapTable
from swaptable.errors import SwapFullError, SwapValueError

PAGE = 4096
ORDER = 4
NR = 1 << ORDER
FOLIO = PAGE * NR
SWAP_IN = 16 << 20  # bytes touched a round
DROPS = 256  # 64 KiB blocks dropped and refaulted a round
SMALL = 4 << 20  # bytes in single pages with -s
SMALL_ROUND = 1 << 20  # bytes of them touched, and dropped, a round
MOST = 16 << 30  # bytes of memory or device: page by page in Python, more would take hours
GONE = -1  # no slot: the page is in memory


@dataclass(frozen=True)
class Round:
    """One iteration.

    Attributes
    ----------
    iteration, swpout, fallback, dropped : int
        Folios swapped out whole, folios split for want of contiguous slots, distinct blocks dropped.
    enospc : int
        With contiguous allocation: folios split for want of blocks, not counted as fallback.
    past, extents : int
        Folios that got slots past the end, and the runs of blocks that hold their data.
    metadata : int
        Bytes of the table at the end of the iteration.
    """

    iteration: int
    swpout: int
    fallback: int
    dropped: int
    enospc: int = 0
    past: int = 0
    extents: int = 0
    metadata: int = 0

    @property
    def percent(self) -> float:
        """Fallbacks in percent of all large requests."""
        total = self.swpout + self.fallback
        return 100.0 * self.fallback / total if total else 0.0

    @property
    def extents_per_folio(self) -> float:
        """Runs of blocks of a folio past the end, on average: its IOs."""
        return self.extents / self.past if self.past else 0.0

    def __str__(self) -> str:
        return (
            f"Iteration {self.iteration}: swpout inc: {self.swpout}, swpout fallback inc: {self.fallback}, "
            f"Fallback percentage: {self.percent:.2f}%"
        )


class _Memory:
    """Anonymous memory: the swap slot of each page, and which aligned 64 KiB blocks are one folio in memory."""

    def __init__(self, table: SwapTable, pages: int, large: bool, whole: bool, contiguous: bool) -> None:
        self.table = table
        self.contiguous = contiguous
        self.large = large  # page faults make 64 KiB folios
        self.whole = whole  # the device takes folios back in whole
        self.slot = [GONE] * pages
        self.folio = [large] * (pages // NR)

    def touch(self, page: int) -> None:
        """Fault one page in, if it is swapped out."""
        slot = self.slot[page]
        if slot == GONE:
            return
        block = page - page % NR
        if self.whole and self._one_folio(block):
            self._swap_in(block, self.slot[block], NR)
            self.folio[block // NR] = True
        else:
            self._swap_in(page, slot, 1)

    def _one_folio(self, block: int) -> bool:
        """Sixteen consecutive, aligned slots are one folio to swap-in, whoever wrote them."""
        first = self.slot[block]
        return first % NR == 0 and first != GONE and self.slot[block : block + NR] == list(range(first, first + NR))

    def _swap_in(self, page: int, slot: int, nr: int) -> None:
        # A synchronous device is read without the swap cache being left behind: the slot is free at once.
        self.table.cache_add(slot, page, nr)
        self.table.put(slot, nr)
        self.table.cache_del(slot, 0, nr)
        self.slot[page : page + nr] = [GONE] * nr

    def drop(self, page: int, nr: int) -> None:
        """MADV_DONTNEED, then a store to each page: the slots are freed in runs, and a new folio is faulted in."""
        end = page + nr
        while page < end:
            first, n = self.slot[page], 1
            while page + n < end and first != GONE and self.slot[page + n] == first + n and (first + n) % 512:
                n += 1
            if first != GONE:
                self.table.put(first, n)
            self.slot[page : page + n] = [GONE] * n
            page += n
        if self.large:
            self.folio[(end - 1) // NR] = True

    def page_out(self) -> Counter[str]:
        """MADV_PAGEOUT, in address order; what became of the folios, by field of `Round`."""
        done = Counter(swpout=0, fallback=0, enospc=0, past=0, extents=0)
        for block in range(0, len(self.slot), NR):
            if self.folio[block // NR]:
                self.folio[block // NR] = False
                if self._folio_out(block, done):
                    continue
                # The split folio's pages, in the order in which reclaim takes them off its list.
                for page in (block, *range(block + NR - 1, block, -1)):
                    self._out(page, 0)
                continue
            for page in range(block, block + NR):
                if self.slot[page] == GONE:
                    self._out(page, 0)
        return done

    def _folio_out(self, block: int, done: Counter[str]) -> bool:
        before = self.table.stats()
        if self._out(block, ORDER):
            after = self.table.stats()
            done["swpout"] += 1
            done["past"] += after["past"] - before["past"]
            done["extents"] += after["extents"] - before["extents"]
            return True
        done["enospc" if self.contiguous and self.table.free_blocks < NR else "fallback"] += 1
        return False

    def _out(self, page: int, order: int) -> bool:
        nr = 1 << order
        try:
            slot = self.table.alloc(order, 0, page, 0, self.contiguous)
        except SwapFullError:
            return False
        self.table.dup(slot, nr)
        self.table.cache_del(slot, 0, nr)
        self.slot[page : page + nr] = range(slot, slot + nr)
        return True


def _checked(name: str, size: int) -> int:
    if not isinstance(size, int) or not FOLIO <= size <= MOST or size % FOLIO:
        raise SwapValueError(22, f"{name} {size!r} bytes: expected a multiple of {FOLIO}, at most {MOST}")
    return size


def thp_test(
    *,
    aligned: bool = False,
    small: bool = False,
    no_large_swapin: bool = False,
    contiguous: bool = False,
    device: int = 64 << 20,
    memory: int = 60 << 20,
    iterations: int = 100,
    seed: int = 0,
    each: Callable[[Round], None] | None = None,
) -> list[Round]:
    """Run the fragmentation test of tools/mm/thp_swap_allocator_test.c on a swap table.

    Parameters
    ----------
    aligned : bool
        Touch aligned 64 KiB blocks instead of single pages (the tool's -a).
    small : bool
        Another 4 MiB in single pages (-s).
    no_large_swapin : bool
        The device does not take folios back in whole: each touched page comes in alone.
    contiguous : bool
        Where the kernel's search fails, slots past the end, at blocks wherever they are free.
    device, memory : int
        Bytes of the swap device, header included, and of the 64 KiB folios.
    iterations, seed : int
        Rounds, and of the pseudo-random choices.
    each : callable, optional
        Called with every round as it ends.

    Returns
    -------
    list of Round

    Raises
    ------
    SwapValueError
        A size that is no multiple of 64 KiB, or no iterations.
    """
    if iterations < 1:
        raise SwapValueError(22, f"iterations {iterations!r}: expected at least 1")
    table = SwapTable(slots=_checked("device", device) // PAGE)
    mem1 = _Memory(table, _checked("memory", memory) // PAGE, True, not no_large_swapin, contiguous)
    mem2 = _Memory(table, SMALL // PAGE if small else 0, False, not no_large_swapin, contiguous)
    rng = random.Random(seed)
    mem1.page_out()
    mem2.page_out()
    rounds = []
    for i in range(1, iterations + 1):
        dropped = _one_round(mem1, mem2, aligned, rng)
        out = mem1.page_out()
        mem2.page_out()
        rounds.append(Round(iteration=i, dropped=dropped, metadata=table.memory()["total"], **out))
        if each:
            each(rounds[-1])
    table.check()
    return rounds


def _one_round(mem1: _Memory, mem2: _Memory, aligned: bool, rng: random.Random) -> int:
    """Touch, then drop and refault, both memories; the number of distinct 64 KiB blocks dropped."""
    pages = len(mem1.slot)
    if aligned:
        for _ in range(SWAP_IN // FOLIO):
            block = rng.randrange(pages // NR) * NR
            for page in range(block, block + NR):
                mem1.touch(page)
    else:
        for _ in range(SWAP_IN // PAGE):
            mem1.touch(rng.randrange(pages))
    blocks = [rng.randrange(pages // NR) * NR for _ in range(DROPS)]
    for block in blocks:
        mem1.drop(block, NR)
    if mem2.slot:
        for _ in range(SMALL_ROUND // PAGE):
            mem2.drop(rng.randrange(len(mem2.slot)), 1)
        for _ in range(SMALL_ROUND // PAGE):
            mem2.touch(rng.randrange(len(mem2.slot)))
    return len(set(blocks))
