# From the word files that a recording leaves to one .npz trace.
# Imports npz and numpy.
# Used by record.py; pagetrace.c says what the words are.
"""Put the recorded files of all address spaces into one order, and stream them into an .npz.

The files are taken in the order in which the address spaces began. A file's place is the ``pid`` of its records, and it
is in the page numbers too: ``page = address // page_size | pid << 36``, so pages of different processes never coincide.
A fork and an exec each begin an address space. Between files the order is that of the time stamps, one about every
millisecond in which a process made a record after a system call, and one at least every 4096 records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import npz

PID_SHIFT = 36
MAX_SPACES = 1 << 16
STAMP = 1 << 63
COUNT = 3 << 62
_VALUE = np.uint64((1 << 62) - 1)
_PART = 1 << 16


@dataclass(frozen=True)
class _Run:
    """Words of one file that follow each other in the trace as well."""

    space: int
    begin: int
    end: int


@dataclass(frozen=True)
class Recording:
    """The files of a recording, in order; *records* touches were kept of *accesses* made."""

    files: list[Path]
    runs: list[_Run]
    records: int
    accesses: int

    @classmethod
    def scan(cls, directory: Path) -> Recording:
        """Read the stamps and counts of every file in *directory*; spaces past the 65,536th are left out."""
        files = sorted(directory.iterdir())[:MAX_SPACES]
        times, spaces, begins, ends = [], [], [], []
        records = accesses = 0
        for space, path in enumerate(files):
            stamps, places, words, kept, made = _scan_file(path)
            times.append(np.maximum.accumulate(stamps))  # should the clock be set back
            spaces.append(np.full(len(stamps), space))
            begins.append(places)
            ends.append(np.append(places[1:], words))
            records, accesses = records + kept, accesses + made
        if not records:
            return cls(files, [], 0, accesses)
        time, space, begin, end = map(np.concatenate, (times, spaces, begins, ends))
        order = np.argsort(time, kind="stable")
        return cls(files, _join(space[order], begin[order], end[order]), records, accesses)

    def parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (space, touch words) in trace order."""
        for run in self.runs:
            for words in _words(self.files[run.space], run.begin, run.end):
                yield run.space, words[words < STAMP]

    def save(self, output: Path, meta: dict[str, Any], compression: str) -> None:
        """Write the trace *output*; the member ``pid`` is left out when there is one address space only.

        Raises
        ------
        TraceError
            The file cannot be written.
        """
        one = np.uint64(1)
        members: dict[str, Iterator[np.ndarray]] = {
            "page": (words >> one | np.uint64(space << PID_SHIFT) for space, words in self.parts()),
            "write": ((words & one).astype(bool) for _, words in self.parts()),
        }
        if len(self.files) > 1:
            members["pid"] = (np.full(len(words), space, np.uint32) for space, words in self.parts())
        npz.write(output, self.records, members, meta, compression)


def _words(path: Path, begin: int, end: int) -> Iterator[np.ndarray]:
    with open(path, "rb") as file:
        file.seek(begin * 8)
        while begin < end:
            words = np.fromfile(file, np.uint64, min(_PART, end - begin))
            if not len(words):
                return
            begin += len(words)
            yield words


def _scan_file(path: Path) -> tuple[np.ndarray, np.ndarray, int, int, int]:
    """Return stamps, their places, and the numbers of words, of touches kept and of accesses made."""
    stamps, places = [np.zeros(1, np.uint64)], [np.zeros(1, np.int64)]
    at = kept = made = 0
    for words in _words(path, 0, path.stat().st_size // 8):
        found = np.flatnonzero((words >= STAMP) & (words < COUNT))
        counts = words[words >= COUNT] & _VALUE
        stamps.append(words[found] & _VALUE)
        places.append(found + at)
        at, kept, made = at + len(words), kept + int((words < STAMP).sum()), made + int(counts.sum())
    return np.concatenate(stamps), np.concatenate(places), at, kept, made


def _join(space: np.ndarray, begin: np.ndarray, end: np.ndarray) -> list[_Run]:
    """Join neighbours of one file: a program without children becomes one run."""
    new = np.append(True, (space[1:] != space[:-1]) | (begin[1:] != end[:-1]))
    first, last = np.flatnonzero(new), np.append(np.flatnonzero(new)[1:], len(space)) - 1
    return [_Run(int(space[a]), int(begin[a]), int(end[b])) for a, b in zip(first, last, strict=True)]
