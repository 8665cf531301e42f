# The metadata of designs as it is: structures built and filled, bytes counted where they are allocated.
# May import designs and published.
# Used by the command line, benchmarks and tests.
"""Measured memory of swap designs, by use and by fragmentation.

*Live* says which slots are in use: ``full-clusters`` fills clusters one after the other; ``1-per-cluster`` fills as
many and leaves one slot in each; ``random`` fills the device and frees random slots until the share is left. What a
cover letter does not count shows as a difference by kind of memory, so that nothing is left unexplained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from swaptable import designs
from swaptable.published import Formula

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from swaptable.designs._design import Design

__all__ = ["LIVE", "Footprint", "measure", "option"]

LIVE = ("full-clusters", "1-per-cluster", "random")
CLUSTER = 512


@dataclass(frozen=True)
class Footprint:
    """The metadata of one design at one share of use.

    Attributes
    ----------
    design, backend, live : str
    use : float
        Share asked for, in percent: of the device's slots, with ``1-per-cluster`` of its clusters.
    slots, used : int
        Of the device; slots in use.
    kinds : dict of str to int
        Bytes by kind of memory, what the design has not left out.
    total : int
        Their sum.
    formula : float or None
        What the formula says for this use, in bytes.
    terms : dict of str to float
        Kinds that differ from the formula's, measured minus formula: what the letter does not count.
    """

    design: str
    backend: str
    live: str
    use: float
    slots: int
    used: int
    kinds: dict[str, int]
    total: int
    formula: float | None
    terms: dict[str, float]

    @property
    def bytes_per_slot(self) -> float | None:
        """Bytes a used slot; None without any."""
        return self.total / self.used if self.used else None

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values with stable keys, for JSON."""
        return asdict(self) | {"bytes_per_slot": self.bytes_per_slot}


def option(spec: str, backend: str) -> dict[str, str] | None:
    """Return the switch that gives a design that backend; None when it has only the other."""
    name = designs.parse(spec)[0]
    only = {"ghost": "zswap", "xswap": "zswap", "zram": "disk", "swap-table": "disk"}
    if name not in only:
        return {"backend": backend}
    return {} if only[name] == backend else None


def _fill(design: Design, n: int) -> NDArray[np.uint64]:
    """Swap out until *n* slots are in use: whole clusters as long as that goes, then single slots."""
    out = np.empty(n, np.uint64)
    done = design.fill(out[: n // CLUSTER * CLUSTER], 9, memcg=1)
    done += design.fill(out[done:], 0, memcg=1)
    return out[:done]


def _formula(
    formula: Formula | None, memory: dict[str, int], slots: int, used: int
) -> tuple[float | None, dict[str, float]]:
    """The formula's bytes, and by kind what is measured beyond it."""
    if formula is None:
        return None, {}
    said = formula.kinds(slots, used)
    kinds = dict.fromkeys([*said, *memory])
    terms = {kind: memory.get(kind, 0) - said.get(kind, 0.0) for kind in kinds}
    return sum(said.values()), {kind: value for kind, value in terms.items() if value}


def _footprint(
    design: Design, spec: str, backend: str, live: str, use: float, slots: int, used: int, formula: Formula | None
) -> Footprint:
    memory = {kind: value for kind, value in design.memory().items() if value and kind != "total"}
    said, terms = _formula(formula, memory, slots, used)
    return Footprint(spec, backend, live, use, slots, used, memory, design.bytes, said, terms)


def _full(spec: str, slots: int, uses: list[float], options: dict[str, Any]) -> Iterator[tuple[float, Design, int]]:
    """One design, filled further and further."""
    design, used = designs.make(spec, slots, **options), 0
    for use in sorted(uses):
        goal = int(slots * use / 100)
        used += len(_fill(design, goal - used))
        yield use, design, used


def _sparse(spec: str, slots: int, uses: list[float], options: dict[str, Any]) -> Iterator[tuple[float, Design, int]]:
    """A design for each share, with one slot left in each used cluster."""
    for use in sorted(uses):
        design = designs.make(spec, slots, **options)
        entries = _fill(design, int(slots * use / 100))
        # The first of each cluster that was filled; where slot 0 is the header, that cluster's second.
        _, first = np.unique(entries // CLUSTER, return_index=True)
        design.put_many(np.delete(entries, first))
        yield use, design, len(first)


def _random(
    spec: str, slots: int, uses: list[float], options: dict[str, Any], seed: int
) -> Iterator[tuple[float, Design, int]]:
    """One full design that loses more and more of its slots."""
    design = designs.make(spec, slots, **options)
    entries = np.random.default_rng(seed).permutation(_fill(design, slots))
    for use in sorted(uses, reverse=True):
        keep = min(len(entries), int(slots * use / 100))
        design.put_many(np.ascontiguousarray(entries[keep:]))
        entries = entries[:keep]
        yield use, design, keep


def measure(
    spec: str,
    slots: int,
    uses: Iterable[float] = (0, 25, 50, 75, 100),
    backend: str = "disk",
    live: str = "full-clusters",
    *,
    formula: Formula | None = None,
    seed: int = 0,
    check: bool = False,
) -> list[Footprint]:
    """Build a design at that size, fill it, and count.

    Parameters
    ----------
    spec : str
        As for :func:`swaptable.designs.make`.
    slots : int
        Of the device.
    uses : iterable of float
        Shares in percent; the result is in ascending order.
    backend : str
        ``"zswap"`` or ``"disk"``.
    live : str
        One of :data:`LIVE`.
    formula : Formula, optional
        To hold it against.
    seed : int
        Of ``random``.
    check : bool
        Verify every invariant at each share, too. O(slots), several times as long as the filling.

    Raises
    ------
    ValueError
        The design has no such backend, or *live* is not known.

    Notes
    -----
    Runtime: O(slots): 50 to 500 ns each. The structures take what they say: up to 1.2 GB for 32 GiB.
    """
    options = option(spec, backend)
    if options is None:
        raise ValueError(f"{spec} has no backend {backend!r}")
    shares = list(uses)
    if live == "random":
        states = _random(spec, slots, shares, options, seed)
    elif live in LIVE:
        states = (_full if live == LIVE[0] else _sparse)(spec, slots, shares, options)
    else:
        raise ValueError(f"live is {live!r}; expected one of {', '.join(LIVE)}")
    found = []
    for use, design, used in states:
        if check:
            design.check()
        found.append(_footprint(design, spec, backend, live, use, slots, used, formula))
    return sorted(found, key=lambda footprint: footprint.use)
