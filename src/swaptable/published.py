# What has been published about the metadata of each design, as formulas with their sources.
# Imports the standard library only: nothing here is measured.
# Used by footprint.py, the command line and tests.
"""The cover letters' arithmetic: bytes of swap metadata by design, device size and use.

A formula is a sum of terms, each named by the kind of memory that :meth:`Design.memory` counts for it, so that the
structures can be held against it term by term. It is ``published`` (posted with figures), ``derived`` (computed here
from published sizes) or ``inferred``. Sizes in the mails are MiB although they say MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["FORMULAS", "HOPS", "MIB", "Formula", "Hops", "Term", "find", "select"]

MIB = 1 << 20
CLUSTER = 512
NODE = 576  # bytes of an xarray node of 64 slots
COVER = "PATCH v3 00/20 Virtual Swap Space, 2026-02-08; the same in v4 and v6"
KAIRUI = "Kairui Song, Re: PATCH v3 00/20 Virtual Swap Space, 2026-02-11"
MERGED = "phase 4 v5, 2026-05-17, commit d9ceded101a1: sizes of its structures"
EDITION = "Swap Table Edition RFC v1, v2, 2026-05-28, 2026-06-12: sizes of its structures"


@dataclass(frozen=True)
class Term:
    """Bytes of one kind of memory.

    Attributes
    ----------
    kind : str
        As in :meth:`Design.memory`.
    slot, cluster : Fraction
        Static: for each slot and for each 512 slots of a device.
    used : Fraction
        For each used slot.
    """

    kind: str
    slot: Fraction = Fraction(0)
    cluster: Fraction = Fraction(0)
    used: Fraction = Fraction(0)

    def bytes(self, slots: int, used: int) -> float:
        """Return the term for a device of *slots* with *used* of them in use."""
        return float(self.slot * slots + self.cluster * slots / CLUSTER + self.used * used)


@dataclass(frozen=True)
class Formula:
    """One design in one configuration.

    Attributes
    ----------
    label : str
        The row's name: design, and what is special.
    spec : str or None
        What :func:`swaptable.designs.make` builds for it; None when this library has no structure like that.
    backend : str
        ``"zswap"`` or ``"disk"``.
    terms : tuple of Term
    origin : str
        ``"published"``, ``"derived"`` or ``"inferred"``.
    source : str
    """

    label: str
    spec: str | None
    backend: str
    terms: tuple[Term, ...]
    origin: str
    source: str

    def bytes(self, slots: int, used: int) -> float:
        """Return the metadata of a device of *slots* with *used* of them in use.

        >>> round(find("old", "zswap").bytes(8388608, 8388608) / MIB, 2)
        153.0
        """
        return sum(term.bytes(slots, used) for term in self.terms)

    def kinds(self, slots: int, used: int) -> dict[str, float]:
        """Return the terms by kind of memory."""
        found: dict[str, float] = {}
        for term in self.terms:
            found[term.kind] = found.get(term.kind, 0.0) + term.bytes(slots, used)
        return found


def _slot(kind: str, size: int | Fraction) -> Term:
    return Term(kind, slot=Fraction(size))


def _cluster(kind: str, size: int | Fraction) -> Term:
    return Term(kind, cluster=Fraction(size))


def _used(kind: str, size: int | Fraction) -> Term:
    return Term(kind, used=Fraction(size))


def _per_used_cluster(kind: str, size: int | Fraction) -> Term:
    return Term(kind, used=Fraction(size) / CLUSTER)


TREE = _used("zswap_nodes", 8)  # as the letters count a pointer in an xarray
EXACT_TREE = _used("zswap_nodes", Fraction(NODE, 64) * (1 + Fraction(1, 64) + Fraction(1, 4096)))
STATIC = (_slot("swap_map", 1), _slot("swap_cgroup", 2), _slot("zeromap", Fraction(1, 8)))
WORDS = _used("tables", 8)
MEMCG = _used("memcg_tables", 2)
P2 = (*STATIC, _cluster("cluster_info", 32), WORDS)
P3 = (*STATIC[1:], _cluster("cluster_info", 32), WORDS)
P4 = (_cluster("cluster_info", 48), WORDS, MEMCG)
DYNAMIC = (_per_used_cluster("cluster_info", 80), _per_used_cluster("xarray_nodes", Fraction(NODE, 64)))
ROUNDED = (*DYNAMIC, _per_used_cluster("rounding", 16))
V24 = (_used("descriptors", 24), _per_used_cluster("headers", 64))
STE = (WORDS, _used("virtual_tables", 8), MEMCG)
PHYSICAL = (_cluster("device_cluster_info", 48), _used("device_tables", 8))


def _thread() -> Iterator[Formula]:
    """What was posted with figures."""
    yield Formula("old", "old", "zswap", (*STATIC, _used("cache_nodes", 8), TREE), "published", COVER)
    yield Formula("old", "old", "disk", (*STATIC, _used("cache_nodes", 8)), "published", COVER)
    yield Formula("vswap-24", "vswap-24", "zswap", V24, "published", COVER)
    rmap = (_slot("bitmaps", Fraction(2, 8)), *V24, _used("reverse_map", 8))
    yield Formula("vswap-24", "vswap-24", "disk", rmap, "published", COVER)
    yield Formula("swap-table-p2", "swap-table-p2", "disk", P2, "published", KAIRUI)
    yield Formula("swap-table-p3", "swap-table-p3", "disk", P3, "published", KAIRUI)
    yield Formula("swap-table-p4, forecast", None, "disk", (_cluster("cluster_info", 32), WORDS), "published", KAIRUI)
    yield Formula(
        "vswap-16", "vswap-16", "zswap", (WORDS, _used("virtual_tables", 8)), "published", "Yosry Ahmed, 2025-12-03"
    )
    yield Formula(
        "vswap-16", "vswap-16", "disk", (WORDS, _used("virtual_tables", 8)), "published", "Yosry Ahmed, 2025-12-03"
    )
    narrow = (WORDS, _used("index_tables", 4))
    tree = _used("object_nodes", 8)
    yield Formula("vswap-16x", "vswap-16x", "zswap", (*narrow, tree), "published", "Yosry Ahmed, 2025-12-04")
    yield Formula("vswap-16x", "vswap-16x", "disk", narrow, "published", "Yosry Ahmed, 2025-12-04")
    yield Formula("redirect-chain", "redirect-chain", "zswap", (WORDS,), "published", "Yosry Ahmed, 2025-12-03")
    yield Formula("redirect-chain", "redirect-chain", "disk", (WORDS,), "published", "Yosry Ahmed, 2025-12-03")


def _phases() -> Iterator[Formula]:
    """The swap table as it is, from the sizes of its structures."""
    p1 = "phase 1 v4, 2025-09-17: sizes of its structures"
    real = (*STATIC[1:], _cluster("cluster_info", 40), WORDS)
    exact = "xarray nodes of 576 bytes for 64 slots"
    yield Formula("swap-table-p1", "swap-table-p1", "disk", P2, "derived", p1)
    yield Formula("swap-table-p1", "swap-table-p1", "zswap", (*P2, TREE), "derived", p1)
    yield Formula("swap-table-p2", "swap-table-p2", "zswap", (*P2, TREE), "derived", KAIRUI)
    yield Formula("swap-table-p3", "swap-table-p3", "zswap", (*P3, TREE), "derived", KAIRUI)
    yield Formula("swap-table-p3, 40 B a cluster", None, "disk", real, "derived", "commit 0d6af9bcf383")
    yield Formula("swap-table-p4", "swap-table-p4", "disk", P4, "derived", MERGED)
    yield Formula("swap-table-p4", "swap-table-p4", "zswap", (*P4, TREE), "derived", MERGED)
    yield Formula("swap-table-p4, exact xarray", None, "zswap", (*P4, EXACT_TREE), "derived", f"{MERGED}; {exact}")
    yield Formula(
        "zram", "zram", "disk", (*P4, _slot("zram_table", 16)), "derived", "Nhat Pham, 2026-03-26: at least 2 words"
    )
    ours = (WORDS, _per_used_cluster("clusters", 64))
    yield Formula("swap-table", "swap-table", "disk", ours, "derived", "this library: 8-byte words, 64 bytes a cluster")


def _front_back() -> Iterator[Formula]:
    """This library's front end and back end: plain, with every block named by a location, and cold."""
    source = "this library: 8-byte words, 4-byte locations, 64 bytes a cluster; Chris Li, 2025-12-03: 8, then 12"
    plain = (WORDS, _per_used_cluster("clusters", 64))
    objects = _used("object_tables", 8)  # the pool's pointers, in the place of its tree
    device = (_used("bitmaps", Fraction(1, 8)), _per_used_cluster("device_clusters", 64))
    located = (*plain, _used("locations", 4), *device)
    cold = (_used("packed", 1), _per_used_cluster("clusters", 64))
    yield Formula("front-back", "front-back", "zswap", (*plain, objects), "derived", source)
    yield Formula("front-back", "front-back", "disk", plain, "derived", source)
    name, spec = "front-back, redirected", "front-back:redirected=yes"
    yield Formula(name, spec, "zswap", (*located, objects), "derived", source)
    yield Formula(name, spec, "disk", located, "derived", source)
    target = "Kairui Song, 2026-02-11: 3 bytes or 1 byte a slot once a cluster is cold; here 1, users and cgroups alike"
    yield Formula("front-back, compacted", "front-back:compact=yes", "disk", cold, "derived", target)


def _virtual() -> Iterator[Formula]:
    """Virtual slots, from the sizes of their structures."""
    yield Formula("vswap-table", "vswap-table", "zswap", (*STE, *DYNAMIC), "derived", EDITION)
    yield Formula("vswap-table, kmalloc-96", None, "zswap", (*STE, *ROUNDED), "derived", EDITION)
    yield Formula("vswap-table", "vswap-table", "disk", (*STE, *DYNAMIC, *PHYSICAL), "derived", EDITION)
    v1 = (*STE, *DYNAMIC, *PHYSICAL, _used("device_memcg_tables", 2))
    yield Formula("vswap-table, v1", "vswap-table:deferred=no", "disk", v1, "derived", EDITION)
    for size, series in ((48, "RFC v2, 2025-04-29"), (64, "RFC v1, April 2025")):
        name, source = f"vswap-{size}", f"Virtual Swap Space {series}: {size}-byte descriptor, 8 bytes an xarray entry"
        front = (_used("descriptors", size), _used("xarray_nodes", 8))
        back = (_slot("bitmaps", Fraction(1, 8)), _used("reverse_map", 8))
        yield Formula(name, name, "zswap", front, "derived", source)
        yield Formula(name, name, "disk", (*front, *back), "inferred", source)


def _others() -> Iterator[Formula]:
    """Ghosts, and the reverse map to page table entries."""
    ghost = "ghost swapfile RFC, 2025-11-21: phase 2's structures for the header's size"
    dynamic = "phase 4 RFC, patches 14 and 15, 2026-02-20, on phase 4 as merged"
    xswap = "xswap v2, 2026-09-16: 85 structures of 48 bytes a page"
    rmap = (_cluster("cluster_info", 56), WORDS, MEMCG, _used("pte_maps", 8))
    yield Formula("ghost", "ghost", "zswap", (*P2, TREE), "derived", ghost)
    yield Formula("ghost, dynamic", "ghost:dynamic=yes", "zswap", (WORDS, MEMCG, *DYNAMIC, TREE), "derived", dynamic)
    chunk = _per_used_cluster("cluster_info", 48)
    yield Formula("xswap", "xswap", "zswap", (WORDS, MEMCG, chunk, TREE), "derived", xswap)
    yield Formula("pte-rmap", "pte-rmap", "disk", rmap, "inferred", "phase 4 and 8 bytes a slot")
    yield Formula("pte-rmap", "pte-rmap", "zswap", (*rmap, TREE), "inferred", "phase 4 and 8 bytes a slot")


FORMULAS: tuple[Formula, ...] = (*_thread(), *_front_back(), *_phases(), *_virtual(), *_others())
"""Every row, the published ones first."""


def find(label: str, backend: str) -> Formula:
    """Return the formula of a row.

    Raises
    ------
    ValueError
        There is none; the message lists the labels.
    """
    for formula in FORMULAS:
        if (formula.label, formula.backend) == (label, backend):
            return formula
    known = ", ".join(dict.fromkeys(formula.label for formula in FORMULAS))
    raise ValueError(f"nothing is known of {label!r} with {backend}; there are {known}")


def select(designs: list[str] | None = None, backend: str | None = None) -> list[Formula]:
    """Return the formulas of some designs (all) and of one backend (both), in the order of their designs.

    A design is asked for by its name or by a row's *spec*.
    """
    order = list(dict.fromkeys(formula.label.partition(",")[0] for formula in FORMULAS))
    rows = [
        formula
        for formula in FORMULAS
        if backend in (None, formula.backend)
        and (designs is None or formula.label.partition(",")[0] in designs or formula.spec in designs)
    ]
    return sorted(rows, key=lambda formula: order.index(formula.label.partition(",")[0]))


@dataclass(frozen=True)
class Hops:
    """The argument of November and December 2025: bytes of metadata for a page as its data moves down.

    Attributes
    ----------
    label : str
    spec : str or None
        As in :class:`Formula`.
    bytes : tuple of (float or None)
        Fresh, after one move, after two; None: it cannot move without a walk of the page tables.
    source : str
    """

    label: str
    spec: str | None
    bytes: tuple[float | None, ...]
    source: str


HOPS: tuple[Hops, ...] = (
    Hops("redirect-chain", "redirect-chain", (8, 16, 24), "Yosry Ahmed, 2025-12-03"),
    Hops("front-back", "front-back", (8, 12, 12), "Chris Li, 2025-12-03"),
    Hops("vswap-16", "vswap-16", (16, 16, 16), "Yosry Ahmed, 2025-12-03"),
    Hops("vswap-16x", "vswap-16x", (12, 12, 12), "Yosry Ahmed, 2025-12-04; fresh: and the xarray"),
    Hops("vswap-48", "vswap-48", (48, 48, 48), "RFC v2, quoted by Chris Li, 2025-11-29"),
    Hops("old", "old", (11, None, None), "Chris Li: 3 static and 8 dynamic; fresh in zswap: and the tree"),
)
"""Nobody counted what the lower device needs to know that a block is taken, nor what finds its owner."""
