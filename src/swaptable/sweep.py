# Sweeps: every combination of traces, limits, sizes and designs, in parallel, into one file of columns.
# May import the sweep's parts, cells and provenance.
# Used by the command line, benchmarks and programs.
"""Run a grid of cells.

What is counted does not depend on where or in which order cells run, so a sweep in processes and one on a cluster
write the same bytes. Times are not kept: cells run beside each other; ``compare`` measures them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swaptable._sweepgrid import cells_of, read_grid
from swaptable._sweepjournal import Journal
from swaptable._sweeptable import columns_of, flat, need, read_columns, write_columns
from swaptable._sweepwork import Task, in_processes, on_dask
from swaptable.cells import SYNTHETIC, Cell
from swaptable.doctor import version
from swaptable.provenance import commit
from swaptable.trace import find_trace, trace_names

__all__ = ["SweepResult", "read_columns", "read_grid", "sweep"]

FORMAT = 1


@dataclass(frozen=True)
class SweepResult:
    """What a sweep did.

    Attributes
    ----------
    output : str
    cells, resumed, refused : int
        All; those that an earlier, interrupted run had done; those that a design refused.
    reason : str or None
        Why the first of those was refused; the column ``refused`` has each.
    """

    output: str
    cells: int
    resumed: int
    refused: int
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values with stable keys, for JSON."""
        return asdict(self)


def _task(cell: Cell) -> Task:
    if cell.trace.startswith(SYNTHETIC):
        return Task(cell, cell.trace, None)
    path = find_trace(cell.trace)
    stat = path.stat()
    shipped = cell.trace in trace_names() and not Path(cell.trace).exists()
    # A trace of the package is wherever a worker has the package; its time there may be another.
    if shipped:
        return Task(cell, cell.trace, (stat.st_size, 0))
    return Task(cell, str(path.resolve()), (stat.st_size, stat.st_mtime_ns))


def _key(task: Task) -> str:
    return json.dumps([task.cell.to_dict(), task.stamp], sort_keys=True)


def _row(task: Task, answer: Mapping[str, Any]) -> dict[str, Any]:
    return task.cell.to_dict() | {"refused": answer["refused"]} | flat(answer["result"] or {})


def sweep(
    grid: Mapping[str, Any],
    output: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    dask: str | None = None,
    restart: bool = False,
    progress: Callable[[int, int], Any] | None = None,
) -> SweepResult:
    """Run every combination of *grid* and write one row a cell to *output*.

    Parameters
    ----------
    grid : mapping
        As :func:`read_grid` returns it: parameters of :class:`swaptable.cells.Cell`, each a value or a list.
    output : path
        ``.npz``, or ``.parquet`` with pyarrow. Until it is there a journal is beside it, with which the same call
        goes on.
    jobs : int, optional
        Processes of this machine; by default as many as it has CPUs for us.
    dask : str, optional
        Address of a Dask scheduler, instead of processes.
    restart : bool
        Forget what an interrupted run has done.
    progress : callable, optional
        Called with cells done and all of them, after each.

    Raises
    ------
    ValueError, TraceError
        Something is wrong with the grid; nothing was run.
    RuntimeError
        The journal or the workers; what is done stays in the journal.

    Notes
    -----
    Processes are started by multiprocessing's ``spawn``: a script calls this below ``if __name__ == "__main__":``.

    Runtime: that of the replays over the number of processes; each reads a trace once for the cells that have it.
    """
    need(output)
    tasks = [_task(cell) for cell in cells_of(grid)]
    path = Path(output)
    head = {"format": FORMAT, "swaptable": version("swaptable"), "commit": commit(), "numpy": np.__version__}
    with Journal(path.with_name(f"{path.name}.journal"), head, restart) as journal:
        todo = [task for task in tasks if _key(task) not in journal.answers]
        resumed = len(tasks) - len(todo)
        for done, (number, answer) in enumerate(_run(todo, jobs, dask), resumed + 1):
            journal.add(_key(todo[number]), answer)
            if progress is not None:
                progress(done, len(tasks))
        rows = [_row(task, journal.answers[_key(task)]) for task in tasks]
        write_columns(path, columns_of(rows), head | {"grid": dict(grid)})
        journal.remove()
    refused = [row["refused"] for row in rows if row["refused"] is not None]
    return SweepResult(str(output), len(tasks), resumed, len(refused), refused[0] if refused else None)


def _run(tasks: Sequence[Task], jobs: int | None, dask: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    if not tasks:
        return iter(())
    if dask is not None:
        return on_dask(tasks, dask)
    return in_processes(tasks, jobs or len(os.sched_getaffinity(0)))
