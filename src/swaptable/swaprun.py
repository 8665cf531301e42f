# A trace on a swap space: a memory-limited machine whose pages have contents, each verified when it comes back.
# May import the swap space, swapfile, the backends, trace, _workload and contents.
# Used by run_cli.py, tests and people.
"""Run a program's page accesses on devices and pools that hold real bytes."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._runtiers import add_tier
from swaptable._workload import trace_blocks
from swaptable.contents import Contents
from swaptable.errors import CheckError, SwapFullError, SwapValueError
from swaptable.readahead import Vma
from swaptable.space import Mapped, Report, SwapSpace

RECLAIM = 32  # SWAP_CLUSTER_MAX
SHRINK = 256  # pages that a full pool writes back at a time
GAP = 512  # pages that nobody touches end a VMA
TELL = 1 << 16

__all__ = ["Program", "RunResult", "add_tier", "run"]


# ---- the program


@dataclass(frozen=True)
class Program:
    """A trace made ready: accesses to places in an array of pages, and the VMAs that the array consists of.

    Attributes
    ----------
    name : str
    places : ndarray of int64, shape (n,)
    writes : ndarray of bool, shape (n,)
    footprint : int
        Pages that are touched.
    length : int
        Of the array: pages that nobody touches are in it where they are few.
    areas : tuple of (int, int, int)
        (place, pages, first page number) of each VMA.
    """

    name: str
    places: NDArray[np.int64]
    writes: NDArray[np.bool]
    footprint: int
    length: int
    areas: tuple[tuple[int, int, int], ...]

    @classmethod
    def load(cls, trace: Any, limit: int | None = None) -> Program:
        """Read a trace, as :func:`swaptable.replay.replay` takes it."""
        name, blocks = trace_blocks(trace, limit)
        parts = [(np.asarray(page, np.uint64), np.asarray(write, bool)) for page, write in blocks]
        pages = np.concatenate([page for page, _ in parts] or [np.zeros(0, np.uint64)])[:limit]
        writes = np.concatenate([write for _, write in parts] or [np.zeros(0, bool)])[:limit]
        if not len(pages):
            raise ValueError(f"{name} has no accesses; expected one at least")
        touched, at = np.unique(pages, return_inverse=True)
        steps = np.diff(touched, prepend=touched[:1]).astype(np.int64)
        starts = np.flatnonzero((steps > GAP) | (np.arange(len(touched)) == 0))
        steps[starts] = 1
        steps[0] = 0
        place = np.cumsum(steps)
        ends = np.append(place[starts[1:]], place[-1] + 1)
        areas = tuple(
            zip(place[starts].tolist(), (ends - place[starts]).tolist(), touched[starts].tolist(), strict=True)
        )
        return cls(name, place[at], writes, len(touched), int(place[-1]) + 1, areas)


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes
    ----------
    accesses, faults : int
        *faults*: pages that were not in memory, swapped out or never touched.
    swapped_in, verified : int
        Pages that came from swap, and how many of them were compared byte for byte: all.
    memory_pages, footprint_pages : int
    written_back : int
        Pages moved a tier down since a pool was full.
    seconds : float
        In the swap system, without the making and comparing of contents.
    report : Report
    latencies : dict of str to ndarray of int64
        Nanoseconds of each swap-in, by where the page was: a device's or pool's name, ``swap cache`` (readahead had
        brought it, or it had not left yet), ``zero page``. As `SwapSpace.fault` takes it, Python included.
    """

    accesses: int
    faults: int
    swapped_in: int
    verified: int
    memory_pages: int
    footprint_pages: int
    written_back: int
    seconds: float
    report: Report
    latencies: dict[str, NDArray[np.int64]]


class _Machine:
    """Memory in order of use, and who is where."""

    def __init__(self, space: SwapSpace, program: Program, memory: int, contents: Contents) -> None:
        self.space, self.program, self.memory, self.contents = space, program, memory, contents
        n = program.length
        self.entries, self.pfns = np.full(n, -1, np.int64), np.zeros(n, np.uint64)
        self.versions, self.dirty = np.zeros(n, np.int64), np.zeros(n, bool)
        self.vmas = [Vma(self.entries[at : at + size], first) for at, size, first in program.areas]
        self.starts = np.array([at for at, _, _ in program.areas])
        self.resident: OrderedDict[int, None] = OrderedDict()
        self.faults = self.swapped_in = self.verified = self.written_back = 0
        self.seconds = 0.0
        self.times: dict[str, list[int]] = {}

    def access(self, place: int, write: bool) -> None:
        """A page that is not in memory."""
        self.faults += 1
        if self.entries[place] >= 0:
            self._swap_in(place)
        else:
            self.dirty[place] = True  # a page that was never swapped out has no copy
        self.resident[place] = None
        if len(self.resident) > self.memory:
            self._reclaim()

    def store(self, place: int) -> None:
        """The first store to a page since it was read or written: from now on it is another one."""
        self.versions[place] += 1
        self.dirty[place] = True

    def _swap_in(self, place: int) -> None:
        k = int(np.searchsorted(self.starts, place, "right")) - 1
        entry = int(self.entries[place])
        source = self._where(entry)
        begin = perf_counter_ns()
        mapped = self.space.fault(entry, self.vmas[k], place - int(self.starts[k]), keep=True)
        took = perf_counter_ns() - begin
        self.seconds += took / 1e9
        self.times.setdefault(source, []).append(took)
        at = np.array([place])
        if not np.array_equal(mapped.pages, self.contents.of(at, self.versions[at])):
            raise CheckError(f"page {place} of {self.program.name} came back with other contents than it had")
        self.swapped_in += 1
        self.verified += 1
        self.pfns[place] = mapped.pfns[0]
        # While the page is in memory its page table entry is none to the readahead, and the slot only a copy.
        self.entries[place] = -1 - int(mapped.entries[0]) if mapped.pfns[0] else -1
        self.dirty[place] = not mapped.pfns[0]

    def _where(self, entry: int) -> str:
        """Where a page that is swapped out is now."""
        slot = entry & w.SLOT_MASK
        front = self.space.devices.by_type[entry >> w.TYPE_SHIFT]
        assert front is not None
        words = front.table.words([slot])
        if w.is_folio(words)[0]:
            return "swap cache"
        member = int(front.table.resolve([slot])[0][0])
        return "zero page" if member < 0 else self.space.devices.member(member).name

    def _reclaim(self) -> None:
        n = min(RECLAIM, len(self.resident) - 1)
        places = np.array([self.resident.popitem(last=False)[0] for _ in range(n)])
        kept = np.where(self.pfns[places] != 0, -1 - self.entries[places], -1)
        pages = self.contents.of(places, self.versions[places])
        begin = perf_counter()
        got = self.space.swap_out_many(pages, mapped=Mapped(pages, kept, self.pfns[places]), dirty=self.dirty[places])
        self._shrink()
        self.seconds += perf_counter() - begin
        if (got.entries < 0).any():
            raise SwapFullError(
                errno.ENOSPC, f"{int((got.entries < 0).sum())} pages can go nowhere: all tiers are full"
            )
        self.entries[places], self.pfns[places], self.dirty[places] = got.entries, 0, False

    def _shrink(self) -> None:
        """What the kernel's shrinkers do when a pool has reached its limit: zsmalloc packs it, zswap writes back."""
        for pool in self.space.devices:
            while pool.pool and pool.backend.room() == 0:
                pool.backend.compact()
                if pool.backend.room():
                    break
                moved = self.space.writeback(SHRINK, pool.name)
                self.written_back += moved
                if not moved:
                    break

    def free(self) -> None:
        """The program ends."""
        out = np.flatnonzero((self.entries >= 0) & (self.pfns == 0))
        self.space.free_many(self.entries[out])
        held = np.flatnonzero(self.pfns != 0)
        empty = np.empty((len(held), 0), np.uint8)
        self.space.unmap_many(Mapped(empty, -1 - self.entries[held], self.pfns[held]))

    def read_all(self) -> None:
        """Compare all that is swapped out, once more."""
        out = np.flatnonzero((self.entries >= 0) & (self.pfns == 0))
        for first in range(0, len(out), SHRINK):
            some = out[first : first + SHRINK]
            if not np.array_equal(
                self.space.look_many(self.entries[some]), self.contents.of(some, self.versions[some])
            ):
                raise CheckError(f"pages {some[0]} to {some[-1]} of {self.program.name}: other contents than they had")
            self.verified += len(some)


def run(
    space: SwapSpace,
    program: Program,
    memory: int,
    contents: Contents,
    progress: Callable[[int, int], object] | None = None,
    check: bool = True,
) -> RunResult:
    """Run *program* on *space* with *memory* pages, least recently used first out.

    Parameters
    ----------
    progress : callable(done, total), optional
    check : bool
        At the end, compare all that is swapped out too, and check the space.

    Raises
    ------
    CheckError
        A page came back with other contents.
    SwapFullError
        All tiers are full.

    Notes
    -----
    A clean page whose slot is still there is not written again. Runtime: about 0.2 us an access to memory, and what the
    swap space takes.
    """
    if memory < 2:
        raise SwapValueError(errno.EINVAL, f"memory {memory}: expected 2 pages at least")
    machine = _Machine(space, program, memory, contents)
    total = len(program.places)
    for first in range(0, total, TELL):
        part = slice(first, first + TELL)
        _accesses(machine, program.places[part].tolist(), program.writes[part].tolist())
        if progress is not None:
            progress(min(first + TELL, total), total)
    report = space.report()
    if check:
        machine.read_all()
        space.check()
    machine.free()
    return RunResult(
        total, machine.faults, machine.swapped_in, machine.verified, memory, program.footprint, machine.written_back,
        machine.seconds, report, {name: np.array(times) for name, times in sorted(machine.times.items())},
    )  # fmt: skip


def _accesses(machine: _Machine, places: Iterable[int], writes: Iterable[bool]) -> None:
    resident, dirty = machine.resident, machine.dirty
    touch = resident.move_to_end
    for place, write in zip(places, writes, strict=True):
        if place in resident:
            touch(place)
        else:
            machine.access(place, write)
        if write and (not dirty[place] or not machine.versions[place]):
            machine.store(place)
