# The registry of the designs: a name, and where its class is.
# May import errors and, when a design is made, its module.
# Used by the replay, the comparison, tests and people.
"""Swap designs side by side, each with its real data structures behind one protocol."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swaptable.designs._design import Design

__all__ = ["DESIGNS", "make", "names"]

DESIGNS: dict[str, str] = {
    "swap-table": "swaptable.designs._swap_table:SwapTableDesign",
    "swap-table-p4": "swaptable.designs.swap_table_p4:SwapTableP4",
    "swap-table-p3": "swaptable.designs.swap_table_p3:SwapTableP3",
    "swap-table-p2": "swaptable.designs.swap_table_p2:SwapTableP2",
    "swap-table-p1": "swaptable.designs.swap_table_p1:SwapTableP1",
    "old": "swaptable.designs._old:OldDesign",
    "vswap-64": "swaptable.designs.vswap_64:Vswap64",
    "vswap-48": "swaptable.designs.vswap_48:Vswap48",
    "vswap-24": "swaptable.designs._vswap24:VswapDesign",
    "vswap-table": "swaptable.designs.vswap_table:VswapTable",
    "vswap-16": "swaptable.designs.vswap_16:Vswap16",
    "vswap-16x": "swaptable.designs.vswap_16x:Vswap16x",
    "redirect-chain": "swaptable.designs.redirect_chain:RedirectChain",
    "ghost": "swaptable.designs.ghost:Ghost",
    "xswap": "swaptable.designs.xswap:XSwap",
    "zram": "swaptable.designs.zram:Zram",
    "pte-rmap": "swaptable.designs.pte_rmap:PteRmap",
    "null": "swaptable.designs._design:NullDesign",
}
"""Name of a design -> "module:class"; the module is imported when the design is made."""


def names(harness: bool = False) -> list[str]:
    """Return the designs that are built, in the order in which comparisons show them.

    Parameters
    ----------
    harness : bool
        Also ``null``, which has no structure and measures the harness alone.

    >>> "old" in names()
    True
    """
    return [
        name
        for name, where in DESIGNS.items()
        if (harness or name != "null") and importlib.util.find_spec(where.partition(":")[0]) is not None
    ]


def make(name: str, slots: int, **kw: Any) -> Design:
    """Return a new design.

    Parameters
    ----------
    name : str
        One of :func:`names`, or ``null``.
    slots : int
        Blocks of 4 KiB, the header's (slot 0) included, 1 to 2^32 - 1.
    **kw
        Switches of that design, see its class.

    Raises
    ------
    ValueError
        There is no such design; the message lists those that exist.
    SwapValueError
        *slots* is out of range.

    >>> make("old", 1024).size
    1023
    """
    if name not in DESIGNS:
        raise ValueError(f"no design is called {name!r}; there are {', '.join(names(harness=True))}")
    module, _, cls = DESIGNS[name].partition(":")
    return getattr(importlib.import_module(module), cls)(slots, **kw)
