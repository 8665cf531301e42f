# The metadata of designs as it is: structures built and filled, bytes counted where they are allocated.
# May import designs, published and the address spaces.
# Used by the command line, benchmarks and tests.
"""Measured memory of swap designs, by use, by fragmentation, and by how often data has moved.

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
from swaptable._spaces import AddressSpaces
from swaptable.published import Formula

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from swaptable.designs._design import Design

__all__ = ["GROUPS", "LIVE", "Footprint", "HopFootprint", "hops", "measure", "option"]

LIVE = ("full-clusters", "1-per-cluster", "random")
CLUSTER = 512

GROUPS: dict[str, tuple[str, ...]] = {
    "slot": ("tables", "virtual_tables", "index_tables", "descriptors", "swap_map"),
    "index": ("zswap_nodes", "zswap_trees", "object_nodes", "xarray_nodes", "cache_nodes", "cache_spaces"),
    "taken": ("bitmaps", "device_cluster_info"),
    "owner": ("device_tables", "reverse_map", "device_memcg_tables", "pte_maps", "pte_links"),
    "memcg": ("memcg_tables", "swap_cgroup"),
}
"""What bytes are for: what the entry itself has, what finds things, what a lower device needs to know that a block is
taken and whose it is, who pays; the rest (cluster info, rounding, other arrays) is ``other``."""


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


@dataclass(frozen=True)
class HopFootprint:
    """The metadata of a design after its data has moved down a number of tiers.

    Attributes
    ----------
    design : str
    hops : int
        Moves since the data was swapped out: 0 in the compressed pool (on the first device where there is none), 1 on
        the first block device, and so on.
    used : int
        Entries.
    groups : dict of str to float
        Bytes an entry by what they are for, see :data:`GROUPS`.
    total : float
        Bytes an entry.
    ptes, wasted : int
        Page table entries visited by all moves; slots and blocks that are taken and hold no data afterwards.
    refused : str or None
        Why data could not be moved that often; the figures are of the last move that could be made.
    """

    design: str
    hops: int
    used: int
    groups: dict[str, float]
    total: float
    ptes: int
    wasted: int
    refused: str | None

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values with stable keys, for JSON."""
        return asdict(self)


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


def _groups(design: Design, used: int) -> dict[str, float]:
    """Bytes an entry by what they are for."""
    memory = design.memory()
    groups = {group: sum(memory.get(kind, 0) for kind in kinds) / used for group, kinds in GROUPS.items()}
    return groups | {"other": design.bytes / used - sum(groups.values())}


def hops(spec: str, slots: int, n: int, *, check: bool = False) -> HopFootprint:
    """Swap a process out, move all its data down *n* times, and count what each entry has then.

    Parameters
    ----------
    spec : str
        As for :func:`swaptable.designs.make`.
    slots : int
        Of each device; the process has 512 pages less, for the header's cluster.
    n : int
        0 to 3: zswap, then one block device after the other; where the design has no pool, it begins on the first.
    check : bool
        Verify the design and follow every page table entry to its data at the end.

    Notes
    -----
    As many devices are there as the data has passed. A design whose entries name the device walks the page tables of
    the one process; with more address space that would be more.
    """
    options = option(spec, "zswap")
    start = 0 if options is not None else 1
    options = option(spec, "disk") if options is None else options
    switches: dict[str, Any] = dict(options or {})
    if designs.parse(spec)[0] != "swap-table":
        switches["devices"] = _devices(spec, start + n)
    design = designs.make(spec, slots, **switches)
    pages = max(1, slots - CLUSTER)
    spaces = AddressSpaces(design, pages)
    spaces.populate()
    spaces.swap_out(np.arange(pages))
    refused = _move(design, spaces, range(start + 1, start + n + 1))
    if check:
        design.check()
        spaces.verify()
    used = len(spaces.entries())
    counters = design.counters
    return HopFootprint(
        spec, n, used, _groups(design, used), design.bytes / used, counters["ptes"], design.wasted, refused
    )


def _devices(spec: str, tiers: int) -> int:
    """Block devices that a design needs for that many tiers below the pool; some have one of their own."""
    return max(tiers, int(designs.parse(spec)[0] in _WITH_A_DEVICE))


_WITH_A_DEVICE = ("old", "swap-table-p1", "swap-table-p2", "swap-table-p3", "swap-table-p4", "pte-rmap", "zram")


def _move(design: Design, spaces: AddressSpaces, tiers: range) -> str | None:
    """All data to one tier after the other; why not, when one of them refuses."""
    for tier in tiers:
        try:
            spaces.transfer(spaces.entries(), tier)
        except OSError as err:
            return str(err.strerror)
    return None
