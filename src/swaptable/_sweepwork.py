# Where the cells of a sweep are run: in processes of this machine, or on a Dask cluster.
# May import cells; distributed is asked for when a cluster is used.
# Used by sweep.py.
"""Runners: an iterator of (number of the task, answer), in the order in which they are done.

A process that is lost takes what it was doing with it and nothing else: that is done again elsewhere.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

from swaptable._workload import Workload
from swaptable.cells import TIMES, Cell, load_workload, refusal, run_cell
from swaptable.doctor import version

__all__ = ["Task", "do", "in_processes", "on_dask"]

LOSSES = 3  # of workers, without one result between them: the work itself must be what ends them


@dataclass(frozen=True)
class Task:
    """A cell, and where its trace is for a process with another working directory.

    Attributes
    ----------
    cell : Cell
    trace : str
    stamp : tuple of int or None
        Size and time of the file: a changed file is another trace.
    """

    cell: Cell
    trace: str
    stamp: tuple[int, int] | None


def _load(cell: Cell, stamp: tuple[int, int] | None) -> Workload:
    return load_workload(cell)


# A process has the traces that it read last; neighbouring cells are of the same one.
_loaded = lru_cache(maxsize=2)(_load)


def do(task: Task) -> dict[str, Any]:
    """Run a cell; what it counted, without times, which differ from run to run, or why there is nothing."""
    cell = replace(task.cell, trace=task.trace)
    trace, folio, seed, limit = cell.workload
    work = _loaded(Cell(trace, "50%", folio, "null", seed, limit=limit), task.stamp)
    answer: dict[str, Any] = {"version": version("swaptable"), "refused": None, "result": None}
    try:
        result = run_cell(cell, work).to_dict()
    except (OSError, ValueError) as err:
        answer["refused"] = refusal(err)
        if answer["refused"] is None:
            raise
        return answer
    answer["result"] = {key: value for key, value in result.items() if key not in (*TIMES, "design", "trace")}
    return answer


def _quiet() -> None:
    # Ctrl-C goes to all processes of a terminal: the one that waits for us handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Lane:
    """A process, and the cells that it is at: of one workload as long as there are any."""

    def __init__(self) -> None:
        self.pool: ProcessPoolExecutor | None = None
        self.group: deque[int] = deque()
        self.futures: dict[Future[Any], int] = {}

    def submit(self, number: int, task: Task) -> None:
        if self.pool is None:
            # spawn: what threads of this process hold at that moment is not copied.
            self.pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_quiet)
        self.futures[self.pool.submit(do, task)] = number

    def lost(self) -> None:
        """The process is gone: what it was at has yet to be done."""
        self.group.extendleft(reversed(list(self.futures.values())))
        self.futures.clear()
        self.stop()

    def stop(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
            self.pool = None


class _Lanes:
    """Some processes, and which cells are whose."""

    def __init__(self, tasks: Sequence[Task], jobs: int) -> None:
        self.tasks = tasks
        groups: dict[Any, deque[int]] = {}
        for number, task in enumerate(tasks):
            groups.setdefault((task.cell.workload, task.stamp), deque()).append(number)
        self.groups = deque(groups.values())
        self.lanes = [_Lane() for _ in range(max(1, min(jobs, len(tasks))))]

    def _next(self, lane: _Lane) -> int | None:
        """The next cell: of the lane's workload, of one that is nobody's, or half of what another has left."""
        if not lane.group and self.groups:
            lane.group = self.groups.popleft()
        if not lane.group:
            rich = max(self.lanes, key=lambda other: len(other.group))
            lane.group.extend(reversed([rich.group.pop() for _ in range((len(rich.group) + 1) // 2)]))
        return lane.group.popleft() if lane.group else None

    def feed(self) -> None:
        """Each process is at one cell and has another waiting."""
        for lane in self.lanes:
            while len(lane.futures) < 2 and (number := self._next(lane)) is not None:
                try:
                    lane.submit(number, self.tasks[number])
                except BrokenProcessPool:
                    # Lost since we looked: what it was at says so too, and gets a process of its own.
                    lane.group.appendleft(number)
                    break

    def finished(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Wait for some; (number, answer), or (-1, None) for a lost process."""
        running = {future: lane for lane in self.lanes for future in lane.futures}
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        broken = set()
        for future in done:
            try:
                answer = future.result()
            except BrokenProcessPool:
                broken.add(running[future])
                continue
            yield running[future].futures.pop(future), answer
        for lane in broken:
            lane.lost()
            yield -1, None


def in_processes(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run tasks in *jobs* processes of this machine.

    Raises
    ------
    RuntimeError
        Processes are lost one after the other without a result.
    """
    lanes, left, losses = _Lanes(tasks, jobs), len(tasks), 0
    try:
        while left:
            lanes.feed()
            for number, answer in lanes.finished():
                if answer is None:
                    losses += 1
                    if losses == LOSSES * len(lanes.lanes):
                        raise RuntimeError(
                            f"{losses} worker processes ended one after the other: is memory enough? "
                            'A script calls this below if __name__ == "__main__":'
                        )
                    continue
                left, losses = left - 1, 0
                yield number, answer
    finally:
        for lane in lanes.lanes:
            lane.stop()


def on_dask(tasks: Sequence[Task], address: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run tasks on the Dask cluster whose scheduler is at *address*; workers must have this package and the traces.

    Raises
    ------
    RuntimeError
        distributed is not installed; nobody is at the address; a worker has another version, or is lost each time.
    """
    try:
        from distributed import Client, KilledWorker, as_completed
        from distributed.comm import resolve_address
    except ImportError:
        raise RuntimeError("--dask wants distributed: pip install 'swaptable[dask]'") from None
    try:
        # A client of an address that is none is made all the same, and complains when it is collected.
        resolve_address(address)
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as err:
        raise RuntimeError(f"no Dask scheduler at {address}: {err}") from None
    with client:
        futures = {client.submit(do, task, pure=False): number for number, task in enumerate(tasks)}
        for future in as_completed(list(futures), loop=client.loop):
            try:
                answer = future.result()
            except KilledWorker as err:
                raise RuntimeError(f"a cell ended several workers: {err}") from None
            if answer["version"] != version("swaptable"):
                raise RuntimeError(f"a worker has swaptable {answer['version']}, here is {version('swaptable')}")
            yield futures.pop(future), answer
            future.release()
