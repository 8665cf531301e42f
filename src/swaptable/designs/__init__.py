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

__all__ = ["DESIGNS", "make", "names", "parse"]

DESIGNS: dict[str, str] = {
    "front-back": "swaptable.designs._front_back:FrontBackDesign",
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


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the switches that a text such as ``"vswap-table:deferred=no,index=array"`` means.

    Raises
    ------
    ValueError
        There is no such design, or a switch is not ``name=value``; the message names it.

    >>> parse("ghost:dynamic=yes")
    ('ghost', {'dynamic': True})
    """
    name, _, switches = spec.partition(":")
    if name not in DESIGNS:
        raise ValueError(f"no design is called {name!r}; there are {', '.join(names(harness=True))}")
    options: dict[str, Any] = {}
    for switch in filter(None, switches.split(",")):
        key, equals, value = switch.partition("=")
        if not (key.isidentifier() and equals and value):
            raise ValueError(f"switch is {switch!r}; expected name=value, as in ghost:dynamic=yes")
        options[key] = _BOOLEANS.get(value, int(value) if value.isdecimal() else value)
    return name, options


_BOOLEANS = {"yes": True, "true": True, "no": False, "false": False}


def make(name: str, slots: int, **kw: Any) -> Design:
    """Return a new design.

    Parameters
    ----------
    name : str
        One of :func:`names`, or ``null``; switches may follow as :func:`parse` reads them.
    slots : int
        Blocks of 4 KiB on each device, the header's (slot 0) included, 1 to 2^32 - 1.
    **kw
        Switches of that design, see its class.

    Raises
    ------
    ValueError
        There is no such design, or it has no such switch; the message says what there is.
    SwapValueError
        *slots* or a switch is out of range.

    >>> make("old", 1024).size
    1023
    >>> make("ghost:dynamic=yes", 1024).size
    1024
    """
    name, options = parse(name)
    module, _, cls = DESIGNS[name].partition(":")
    made: type[Design] = getattr(importlib.import_module(module), cls)
    try:
        return made(slots, **options | kw)
    except TypeError as err:
        raise ValueError(f"{name}: {err}") from err
