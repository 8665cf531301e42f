# What a sweep runs: every combination of what a TOML file lists.
# May import cells and the designs' registry.
# Used by sweep.py.
"""Read ``grid.toml``: each key is a parameter of :class:`swaptable.cells.Cell`, its value one or a list."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

from swaptable.cells import Cell, seeded
from swaptable.comparison import default_designs
from swaptable.designs import make

__all__ = ["cells_of", "read_grid"]

# In this order, what cells of one workload have in common first: they are neighbours, and read it once.
KEYS = ("trace", "seed", "folio", "limit", "memory", "swap", "swapin", "tiers", "design")
DEFAULTS: dict[str, list[Any]] = {"memory": ["50%"], "folio": ["64K"], "seed": [0], "swapin": ["page"]}
NUMBERS = ("seed", "limit")
ABSENT = ("swap", "tiers", "limit")  # may be ""
assert set(KEYS) == {field.name for field in fields(Cell)}


def _listed(key: str, value: Any) -> list[Any]:
    """The values of a key; "" is a value too where a parameter may be absent."""
    values = value if isinstance(value, list) else [value]
    kind, what = (int, "whole numbers") if key in NUMBERS else (str, "texts")
    for one in values:
        if one == "" and key in ABSENT:
            continue
        if key == "limit" and isinstance(one, int) and one < 1:
            raise ValueError(f"limit is {one!r}; expected 1 or more accesses")
        if not isinstance(one, kind) or isinstance(one, bool):
            raise ValueError(f"{key} is {one!r}; expected {what}, one or a list")
    if not values:
        raise ValueError(f"{key} is an empty list; expected one value or more")
    if len(set(values)) < len(values):
        raise ValueError(f"{key} is {values!r}; expected each value once")
    return [None if one == "" and key in ABSENT else one for one in values]


def cells_of(grid: Mapping[str, Any]) -> list[Cell]:
    """Return every combination; recorded traces have the first seed only, since they do not depend on it.

    Parameters
    ----------
    grid : mapping
        Parameter -> value or list of values; ``trace`` must be there. Without ``design``: every design.

    Raises
    ------
    ValueError, TraceError
        Something is wrong with a key or a value; the message names it.
    """
    unknown = [key for key in grid if key not in KEYS]
    if unknown:
        raise ValueError(f"the grid has {unknown[0]!r}; expected {', '.join(KEYS)}")
    if "trace" not in grid:
        raise ValueError("the grid has no trace; expected trace = [...], files, names or synthetic:KIND,...")
    given = {key: _listed(key, value) for key, value in grid.items()}
    values = DEFAULTS | {"limit": [None], "swap": [None], "tiers": [None], "design": default_designs()} | given
    cells = [Cell(**dict(zip(KEYS, some, strict=True))) for some in itertools.product(*(values[key] for key in KEYS))]
    checked: set[str] = set()
    for cell in cells:
        cell.check(trace=cell.trace not in checked)
        checked.add(cell.trace)
    for design in values["design"]:
        make(design, 1024)
    drawn = {trace for trace in values["trace"] if seeded(trace)}
    return [cell for cell in cells if cell.trace in drawn or cell.seed == values["seed"][0]]


def read_grid(path: str | PathLike[str]) -> dict[str, Any]:
    """Return what a TOML file says.

    Raises
    ------
    ValueError
        It is no TOML; the message names the file and the place.
    OSError
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ValueError(f"{path}: {err}") from None
