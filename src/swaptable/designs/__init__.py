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

__all__ = ["DESIGNS", "SWITCHES", "make", "names", "parse"]

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

_PLACE = ("backend", "devices")
SWITCHES: dict[str, tuple[str, ...]] = dict.fromkeys(DESIGNS, _PLACE) | {
    "front-back": (*_PLACE, "contiguous", "redirected", "compact", "owners"),
    "swap-table": (),
    "vswap-24": (*_PLACE, "lookup_cache", "rounding"),
    "vswap-table": (*_PLACE, "deferred", "index"),
    "vswap-16": (*_PLACE, "index", "owners"),
    "vswap-16x": (*_PLACE, "index", "owners"),
    "redirect-chain": (*_PLACE, "index"),
    "ghost": (*_PLACE, "dynamic", "block"),
    "xswap": (*_PLACE, "index"),
    "null": (),
}
"""Name of a design -> what its class takes besides slots."""

# What a text may say beyond the values that the classes refuse themselves; other switches are texts.
_EXPECTED: dict[str, tuple[tuple[type, ...], str]] = {
    "devices": ((int,), "a number of devices"),
    "compact": ((bool, int), "yes, no or an age in evictions"),
} | dict.fromkeys(
    ("contiguous", "redirected", "owners", "lookup_cache", "rounding", "deferred", "dynamic", "block"),
    ((bool,), "yes or no"),
)


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
        There is no such design or it has no such switch, or a switch is not ``name=value`` with a value of its kind;
        the message names it.

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
        options[key] = _value(name, key, value)
    return name, options


def _value(name: str, key: str, text: str) -> Any:
    """What the text of a switch means."""
    if key not in SWITCHES[name]:
        raise ValueError(f"{name} knows no switch {key!r}; expected {', '.join(SWITCHES[name]) or 'none'}")
    value = _BOOLEANS.get(text, int(text) if text.isdecimal() and text.isascii() else text)
    kinds, expected = _EXPECTED.get(key, ((object,), ""))
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds == (int,)):
        raise ValueError(f"{name}: {key} is {text!r}; expected {expected}")
    return value


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
