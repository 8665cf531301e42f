# Synthetic traces: seeded generators of page touches.
# Imports _block, convert, the errors' classes and numpy.
# Used by the package's front door and `swaptable trace generate`.
"""Traces that no program made. Their ``meta`` says so: ``synthetic``, ``kind``, ``parameters``, ``seed``.

=============  ====================================================================================================
zipf           pages drawn independently; the k-th most popular with a probability in proportion to ``k ** -alpha``,
               popularity scattered over the page numbers by the seed
sequential     page 0, stride, 2 * stride, ... modulo pages, round and round
usemem         like vm-scalability's usemem: processes that each write all of their own pages in order, in a loop; they
               take turns of ``slice`` touches, in an order drawn for every round
fork-server    a parent writes its image; generations of ``children`` processes share it, each making ``touches`` of its
               own: reads and writes of image pages (popularity zipf), and writes of its private pages; then it exits
phases         a working set out of which pages are drawn evenly; after every ``phase`` touches it moves up by ``shift``
               of its size, round and round the pages
=============  ====================================================================================================

In fork-server page numbers name **anonymous pages**, as the kernel's rmap does, and not addresses: an image page is
``i``, whoever reads it. The first write of a child to an image page is a read of the shared page, which is copied,
and a write of the copy ``child << 36 | i``; from then on the child touches its copy. Its private page j is ``child <<
36 | image + j``. A child has exited after its last record; nothing touches its pages again, and nothing in a trace
frees them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ._block import BLOCK, PID_SHIFT, Block, cut
from .convert import target_format, write_trace

PAGE_SIZE = 4096
_PIDS = 1 << 16
_FAR = 1 << 62


@dataclass(frozen=True)
class Parameter:
    """A number that a generator takes, from *low* to *high*."""

    default: int | float
    low: float
    high: float
    about: str


@dataclass(frozen=True)
class Kind:
    """A generator and its parameters; ``make(rng, records, **parameters)`` yields blocks without end or nearly so."""

    about: str
    make: Callable[..., Iterator[Block]]
    parameters: dict[str, Parameter]


class _Zipf:
    """Draws of 0 .. pages - 1, the k-th most popular with a probability in proportion to k ** -alpha."""

    def __init__(self, rng: np.random.Generator, pages: int, alpha: float) -> None:
        self.rng = rng
        weight = np.arange(1, pages + 1, dtype=np.float64) ** -alpha
        self.share = np.cumsum(weight)
        self.share /= self.share[-1]
        self.page = rng.permutation(pages).astype(np.uint64)

    def draw(self, count: int) -> np.ndarray:
        place = np.searchsorted(self.share, self.rng.random(count), "right")
        return self.page[np.minimum(place, len(self.page) - 1)]


def _zipf(rng: np.random.Generator, records: int, pages: int, alpha: float, write_share: float) -> Iterator[Block]:
    popular = _Zipf(rng, pages, alpha)
    while True:
        page = popular.draw(BLOCK)
        yield Block(page, rng.random(BLOCK) < write_share)


def _sequential(rng: np.random.Generator, records: int, pages: int, stride: int, write_share: float) -> Iterator[Block]:
    for at in range(0, records, BLOCK):
        page = np.arange(at, at + BLOCK) % pages * stride % pages  # each factor is below 2**31
        yield Block(page.astype(np.uint64), rng.random(BLOCK) < write_share)


def _usemem(rng: np.random.Generator, records: int, processes: int, pages: int, slice: int) -> Iterator[Block]:
    rounds = max(1, BLOCK // (processes * slice))
    steps = np.arange(rounds * slice).reshape(rounds, 1, slice)
    done = 0
    while True:
        turns = rng.permuted(np.tile(np.arange(processes, dtype=np.uint64), (rounds, 1)), axis=1)
        own = ((done + steps) % pages).astype(np.uint64)
        page = (turns[:, :, None] << np.uint64(PID_SHIFT) | own).ravel()
        yield Block(page, np.ones(len(page), bool), (page >> np.uint64(PID_SHIFT)).astype(np.uint32))
        done += rounds * slice


def _phases(
    rng: np.random.Generator, records: int, pages: int, working_set: int, phase: int, shift: float, write_share: float
) -> Iterator[Block]:
    if working_set > pages:
        raise ValueError(f"working_set is {working_set}; expected at most pages, {pages}")
    for at in range(0, records, BLOCK):
        base = (np.arange(at, at + BLOCK) // phase).astype(np.uint64) * np.uint64(round(shift * working_set))
        page = (base + rng.integers(0, working_set, BLOCK, np.uint64)) % np.uint64(pages)
        yield Block(page, rng.random(BLOCK) < write_share)


def _fork_server(
    rng: np.random.Generator,
    records: int,
    image: int,
    children: int,
    touches: int,
    private: int,
    shared: float,
    alpha: float,
    write_share: float,
) -> Iterator[Block]:
    for at in range(0, image, BLOCK):
        page = np.arange(at, min(image, at + BLOCK), dtype=np.uint64)
        yield Block(page, np.ones(len(page), bool), np.zeros(len(page), np.uint32))
    popular = _Zipf(rng, image, alpha)
    for first in range(1, _PIDS - children, children):
        yield _generation(rng, popular, first, children, touches, private, shared, write_share)
    raise ValueError(f"records is {records}; expected fewer, or more touches: there are {_PIDS - 1} children at most")


def _generation(
    rng: np.random.Generator,
    popular: _Zipf,
    first: int,
    children: int,
    touches: int,
    private: int,
    shared: float,
    write_share: float,
) -> Block:
    """Return all touches of the children *first* and on, which take turns of 64 touches."""
    rounds = -(-touches // 64)
    turns = rng.permuted(np.tile(np.arange(children), (rounds, 1)), axis=1)
    child = np.repeat(turns.ravel(), 64)
    when = (np.arange(rounds)[:, None, None] * 64 + np.arange(64)).repeat(children, 1).ravel()
    child, total = child[when < touches], children * touches
    of_image = rng.random(total) < shared
    write = rng.random(total) < write_share
    page = popular.draw(total)
    own = rng.integers(0, private, total, np.uint64) + np.uint64(len(popular.page))
    pid = (child + first).astype(np.uint64)
    # From the first write of a child to an image page on, it has a copy.
    key, which = np.unique(pid << np.uint64(PID_SHIFT) | page, return_inverse=True)
    copied = np.full(len(key), total)
    stores = np.flatnonzero(of_image & write)
    np.minimum.at(copied, which[stores], stores)
    number = np.arange(total)
    mine = ~of_image | (number >= copied[which])
    broken = of_image & (number == copied[which])
    target = np.where(of_image, page, own) | np.where(mine, pid << np.uint64(PID_SHIFT), np.uint64(0))
    again = np.repeat(number, 1 + broken)
    second = np.append(False, again[1:] == again[:-1])
    source = broken[again] & ~second  # the shared page, read to be copied
    result = np.where(source, page[again], target[again])
    return Block(result, (write | ~of_image)[again] & ~source, pid[again].astype(np.uint32))


_MANY = 1 << 31
_PAGES = Parameter(65536, 1, _MANY, "distinct pages")
_WRITE = Parameter(0.3, 0, 1, "share of touches that are stores")
_ALPHA = Parameter(1.0, 0, 10, "how uneven: 0 is even")
KINDS = {
    "zipf": Kind("popular and unpopular pages", _zipf, {"pages": _PAGES, "alpha": _ALPHA, "write_share": _WRITE}),
    "sequential": Kind(
        "round and round in order",
        _sequential,
        {"pages": _PAGES, "stride": Parameter(1, 1, _MANY, "pages from one touch to the next"), "write_share": _WRITE},
    ),
    "usemem": Kind(
        "processes that each write their range in a loop",
        _usemem,
        {
            "processes": Parameter(4, 1, _PIDS, "processes"),
            "pages": Parameter(16384, 1, _MANY, "pages of each process"),
            "slice": Parameter(256, 1, 1 << 16, "touches of a turn"),
        },
    ),
    "fork-server": Kind(
        "a parent image, and children that share, copy and exit",
        _fork_server,
        {
            "image": Parameter(16384, 1, _MANY, "pages that the parent writes before the first fork"),
            "children": Parameter(8, 1, 1024, "children alive at once"),
            "touches": Parameter(4096, 1, 1 << 20, "touches of a child, before its exit"),
            "private": Parameter(512, 1, 1 << 20, "pages of its own that a child may write"),
            "shared": Parameter(0.8, 0, 1, "share of a child's touches that are of the image"),
            "alpha": _ALPHA,
            "write_share": Parameter(0.1, 0, 1, "share of touches of the image that are stores"),
        },
    ),
    "phases": Kind(
        "a working set that moves",
        _phases,
        {
            "pages": _PAGES,
            "working_set": Parameter(16384, 1, _MANY, "pages of a phase"),
            "phase": Parameter(200_000, 1, _FAR, "touches of a phase"),
            "shift": Parameter(0.5, 0, 1, "how far the set moves, in its own size"),
            "write_share": _WRITE,
        },
    ),
}


def _checked(kind: str, records: int, seed: int, given: dict[str, Any]) -> dict[str, Any]:
    """Return all parameters; what is wrong with one is said with its name."""
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    if records < 1 or seed < 0:
        raise ValueError(f"records={records}, seed={seed}; expected records >= 1 and seed >= 0")
    known = KINDS[kind].parameters
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{kind} has no {name}; expected some of {', '.join(known)}")
        whole = isinstance(known[name].default, int)
        if (whole and value != int(value)) or not known[name].low <= value <= known[name].high:
            text = f"{'a whole number' if whole else 'a number'} from {known[name].low:g} to {known[name].high:g}"
            raise ValueError(f"{name} is {value!r}; expected {text}")
    return {name: type(p.default)(given.get(name, p.default)) for name, p in known.items()}


def synthetic(kind: str, records: int = 1_000_000, *, seed: int = 0, **parameters: int | float) -> Iterator[Block]:
    """Return an iterator over the blocks of a synthetic trace, of 64 Ki records.

    Parameters
    ----------
    kind : str
        A name of ``KINDS``; the module says what each is.
    records : int
        Touches.
    seed : int
        The same seed makes the same trace, with the same numpy.
    **parameters
        Those of the kind, see ``KINDS``.

    Raises
    ------
    ValueError
        The kind or a parameter is unknown or out of range.
    """
    chosen = _checked(kind, records, seed, parameters)
    return cut(KINDS[kind].make(np.random.default_rng(seed), records, **chosen), 0, records, BLOCK)


def generate(
    kind: str,
    output: str | PathLike[str],
    records: int = 1_000_000,
    *,
    seed: int = 0,
    to: str | None = None,
    compression: str = "deflate",
    **parameters: int | float,
) -> dict[str, Any]:
    """Write a synthetic trace; *to* and *compression* are as for :func:`convert`, the rest as for :func:`synthetic`.

    Returns
    -------
    dict
        path, format, file_bytes, records, lost, and meta: synthetic, kind, parameters, seed, command, tool, page_size
        and the version of numpy, whose generators' streams may change with it.
    """
    path = Path(output)
    to = target_format(path, to)
    chosen = _checked(kind, records, seed, parameters)
    said = {"records": records, "seed": seed, **chosen}.items()
    words = [f"--{name.replace('_', '-')} {value}" for name, value in said]
    meta = {"synthetic": True, "kind": kind, "parameters": chosen, "seed": seed, "page_size": PAGE_SIZE}
    meta |= {"tool": "swaptable trace generate", "command": f"swaptable trace generate {kind} {' '.join(words)}"}
    meta |= {"numpy": np.__version__}
    written, lost = write_trace(path, synthetic(kind, records, seed=seed, **parameters), meta, to, compression)
    info = {"path": str(output), "format": to, "file_bytes": path.stat().st_size, "records": written, "lost": lost}
    return info | meta
