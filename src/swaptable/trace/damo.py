# Reader of what `damo record` writes: DAMON's snapshots of regions, expanded to page touches.
# Imports _block, _source, _json_stream, the errors, numpy and the standard library.
# Used by open_trace().
"""damo records: DAMON's samples, not a trace of accesses. What is read here is an **expansion of samples**.

The file is JSON, plain or compressed by zlib: a list of records, one a target, ``{kdamond_idx, context_idx,
intervals, scheme_idx, target_id, snapshots: [{start_time, end_time, regions: [{start, end, nr_accesses, age}]}]}``.
Numbers may be numbers or text (``"4,096"``, ``"5 ms"``, ``"1 m 2 s"``), times are in nanoseconds; nr_accesses may be
a number of samples or ``{"samples": ..., "percent": ...}``; what is not needed may be missing.

Every sampling interval DAMON looks at one page of a region, picked at random; nr_accesses is in how many of them,
of an aggregation interval, it found the page accessed. By DAMON's own assumption the pages of a region are alike. The
rule:

* A snapshot has m steps, the sampling intervals in an aggregation interval (as ``intervals`` says, else the largest
  nr_accesses of the snapshot; never fewer than that).
* A region with nr_accesses n is touched in n of the m steps. Which ones is drawn anew for each region and snapshot,
  by numpy's PCG64 seeded with (seed, number of the snapshot).
* In such a step every page of the region is touched once, upwards, region by region in the order of the file. All
  touches are reads: DAMON does not tell. Their time is that of the step.

So reuse within a step, the order within a region, and stores are not in the data and not in the trace. Snapshots of
all targets are taken in the order of their start times. An address space is a (kdamond, context, target), numbered in
the order of the file; its number is the ``pid`` and is in the page numbers, above 36 bits of ``address // page_size``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import TraceError
from . import _source
from ._block import PID_SHIFT, Block, Options
from ._json_stream import JsonStream

_REGION = np.dtype([("start", "<u8"), ("end", "<u8"), ("samples", "<u4")])
_UNITS = {"": 1.0, "ns": 1.0, "us": 1e3, "usec": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9, "d": 86400e9}
_SIZES = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_AMOUNT = re.compile(r"\s*([\d.]+)\s*([a-zA-Z]*)\s*", re.ASCII)
_STEPS = 1 << 16
_CELLS = 1 << 20
_PIECE = 1 << 16
RULE = "a region with nr_accesses n is touched, each page once, in n of its snapshot's sampling steps, drawn by seed"


def looks_like(start: bytes) -> bool:
    """Whether *start* is the start of a list of JSON objects, or of one with snapshots."""
    text = start.lstrip()
    return re.match(rb"\[\s*(\{|\])", text) is not None or (text.startswith(b"{") and b'"snapshots"' in text)


def _amount(value: Any, units: dict[str, Any]) -> float | int | None:
    """Return a number that may be text with commas and units, None when it is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return value if value == value and abs(value) < 1 << 64 else None
    text = str(value).replace(",", "").strip()
    if re.fullmatch(r"-?\d+", text, re.ASCII):
        return int(text)
    total, at = 0.0, 0
    while at < len(text):
        match = _AMOUNT.match(text, at)
        unit = match and (match[2] if match[2] in units else match[2].removesuffix("iB").removesuffix("B"))
        if not match or unit not in units or match[1].count(".") > 1 or match[1] == ".":
            return None
        total, at = total + float(match[1]) * units[unit], match.end()
    return total if text else None


def _samples(value: Any, steps: int | None) -> int | None:
    """Return nr_accesses in samples, None when it cannot be told."""
    if isinstance(value, dict):
        samples = _amount(value.get("samples"), {"": 1, "samples": 1})
        percent = _amount(str(value.get("percent", "")).rstrip("% "), {"": 1})
        if samples is None and percent is not None and steps:
            samples = round(percent * steps / 100)
        return None if samples is None else int(samples)
    samples = _amount(value, {"": 1, "samples": 1})
    return None if samples is None else int(samples)


class _Recording:
    """What a file holds, snapshot by snapshot: the regions in *spill*, what else is known in lists."""

    def __init__(self, path: Path, spill: IO[bytes]) -> None:
        self.path, self.spill = path, spill
        self.stream = JsonStream(_source.chunks(path), str(path))
        self.spaces: dict[tuple[str, ...], int] = {}
        self.begins: list[float] = []
        self.ends: list[float] = []
        self.record: list[int] = []
        self.sizes: list[int] = []
        self.steps: list[int] = []  # of each record; 0 when not said
        self.space: list[int] = []  # of each record

    def read(self) -> None:
        """Read the whole file."""
        expected = "a list of damo records, or one of them"
        if self.stream.peek() == "{":
            self._record()
        else:
            for _ in self.stream.items("[]", expected):
                self._record()
        if self.stream.peek():
            raise self.stream.error("the end of the file")

    def _record(self) -> None:
        known: dict[str, Any] = {}
        seen = False
        self.steps.append(0)
        for _ in self.stream.items("{}", "a damo record"):
            key = self.stream.value("a key")
            self.stream.take(":", "':'")
            if key == "snapshots":
                seen = True
                for _ in self.stream.items("[]", "a list of snapshots"):
                    self._snapshot()
                continue
            known[key] = self.stream.value(f"the value of {key}")
            if key == "intervals":
                self.steps[-1] = self._in_steps(known[key])
        if not seen:
            raise self.stream.error(f"a damo record with snapshots before here, it has {', '.join(known) or 'nothing'}")
        name = tuple(repr(known.get(key)) for key in ("kdamond_idx", "context_idx", "target_id"))
        self.space.append(self.spaces.setdefault(name, len(self.spaces)))

    def _in_steps(self, intervals: Any) -> int:
        """Return the sampling intervals in an aggregation interval, 0 when *intervals* does not say."""
        if not isinstance(intervals, dict):
            return 0
        us = {name: factor / 1e3 for name, factor in _UNITS.items()} | {"": 1.0}
        sample, aggr = (_amount(intervals.get(f"{key}_us", intervals.get(key)), us) for key in ("sample", "aggr"))
        return max(1, round(aggr / sample)) if sample and aggr else 0

    def _snapshot(self) -> None:
        self.stream.peek()
        where = self.stream.place()
        snapshot = self.stream.value("a snapshot")
        if not isinstance(snapshot, dict) or not isinstance(snapshot.get("regions"), list):
            raise self._bad(where, "a snapshot with start_time, end_time and a list of regions", snapshot)
        given = [snapshot.get(key) for key in ("start_time", "end_time")]
        # perf's records have no start time for the first snapshot.
        begin, end = (_amount(given[1 - i] if given[i] is None else given[i], _UNITS) for i in (0, 1))
        if begin is None or end is None or begin < 0 or end < begin:
            raise self._bad(where, "start_time and end_time in nanoseconds, in that order", given)
        regions = [each for region in snapshot["regions"] if (each := self._region(where, region))]
        self.spill.write(np.array(regions, _REGION).tobytes())
        self.begins.append(begin)
        self.ends.append(end)
        self.record.append(len(self.steps) - 1)
        self.sizes.append(len(regions))

    def _region(self, where: int, region: Any) -> tuple[int, int, int] | None:
        """Return start, end and samples; None for an empty region and for one that nobody touched."""
        if not isinstance(region, dict):
            raise self._bad(where, "a region with start, end and nr_accesses", region)
        start, end = (_amount(region.get(key), _SIZES) for key in ("start", "end"))
        samples = _samples(region.get("nr_accesses"), self.steps[-1])
        if start is None or end is None or samples is None:
            raise self._bad(where, "a region with numbers start, end and nr_accesses", region)
        if start == end:  # damo marks the end of a single snapshot by a region from 0 to 0 with -1 samples
            return None
        if not 0 <= start < end < 1 << 64 or not 0 <= samples <= _STEPS:
            raise self._bad(where, f"a region with start < end and 0 to {_STEPS} nr_accesses", region)
        return (int(start), int(end), samples) if samples else None

    def _bad(self, where: int, expected: str, found: Any) -> TraceError:
        return self.stream.error(expected, f"{str(found)[:80]} (snapshot {len(self.begins)})", where)


def _steps(samples: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Return (steps, regions) bools: region r is touched in samples[r] of the steps."""
    touched = np.empty((steps, len(samples)), bool)
    rows = max(1, _CELLS // steps)
    for at in range(0, len(samples), rows):
        part = samples[at : at + rows]
        rank = rng.random((len(part), steps)).argsort(1, "stable").argsort(1, "stable")
        touched[:, at : at + rows] = (rank < part[:, None]).T
    return touched


def _ranges(first: np.ndarray, count: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the numbers of all ranges one after the other, some 64 Ki at a time."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    for at in range(0, total, _PIECE):
        place = np.arange(at, min(total, at + _PIECE))
        which = np.searchsorted(ends, place, "right")
        yield first[which] + (place - (ends[which] - count[which])).astype(np.uint64)


def _expand(recording: _Recording, number: int, regions: np.ndarray, options: Options) -> Iterator[Block]:
    record = recording.record[number]
    space = recording.space[record]
    shift = np.uint64(options.shift)
    first = regions["start"] >> shift
    count = ((regions["end"] - np.uint64(1) >> shift) - first + np.uint64(1)).astype(np.int64)
    if ((first + count.astype(np.uint64)) > 1 << PID_SHIFT).any():
        bad = regions["end"].max()
        raise TraceError(f"{recording.path}: snapshot {number}: region ends at {bad}; expected below 2**36 pages")
    samples = regions["samples"].astype(np.int64)
    steps = max(recording.steps[record], int(samples.max(initial=1)))
    touched = _steps(samples, steps, np.random.default_rng([options.seed, number]))
    begin, length = recording.begins[number], recording.ends[number] - recording.begins[number]
    for step in range(steps):
        on = touched[step]
        time = int((begin + length * step / steps) / 1000)
        for page in _ranges(first[on] | np.uint64(space << PID_SHIFT), count[on]):
            pid = np.full(len(page), space, np.uint32) if "pid" in options.columns else None
            stamp = np.full(len(page), time, np.uint64) if "time" in options.columns else None
            yield Block(page, np.zeros(len(page), bool), pid, stamp)


def read(path: Path, options: Options) -> Iterator[Block]:
    """Yield blocks of the file *path*; the module says by what rule.

    The file is read whole before the first: its records follow each other, but not in time. The regions wait in a
    temporary file; memory is some 60 bytes a snapshot.

    Raises
    ------
    TraceError
        It is no JSON, or not of damo's structure.
    """
    with tempfile.TemporaryFile() as spill:
        recording = _Recording(path, spill)
        recording.read()
        if len(recording.spaces) > 1 << 16:
            raise TraceError(f"{path}: expected at most 65536 targets, found {len(recording.spaces)}")
        places = np.concatenate(([0], np.cumsum(recording.sizes)))
        for number in np.argsort(recording.begins, kind="stable").tolist():
            spill.seek(int(places[number]) * _REGION.itemsize)
            data = spill.read(recording.sizes[number] * _REGION.itemsize)
            yield from _expand(recording, number, np.frombuffer(data, _REGION), options)


def read_meta(path: Path, options: Options) -> dict[str, Any]:
    """Return what every trace of this format is: an expansion, by which rule and seed."""
    meta = {"page_size": options.page_size, "tool": "damo record", "expansion_of_samples": True}
    return meta | {"rule": RULE, "seed": options.seed}
