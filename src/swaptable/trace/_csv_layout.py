# Which column of a csv trace is what: the parameters that libCacheSim's users write.
# Imports the standard library.
# Used by libcachesim_csv.py and by open_trace(), which refuses a bad one at once.
"""Parameters such as ``time-col=2, obj-id-col=5, obj-size-col=4, delimiter=,, has-header=true``."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

EXAMPLE = "time-col=2, obj-id-col=5, obj-size-col=4, delimiter=,, has-header=true"
COLUMNS = ("time-col", "obj-id-col", "obj-size-col", "op-col")
_KEYS = (*COLUMNS, "delimiter", "has-header", "obj-id-is-num")
_IGNORED = ("ttl-col", "tenant-col", "feature-cols", "next-access-col", "obj-cost-col")  # nothing about pages
_ALIASES = {"size-col": "obj-size-col", "header": "has-header"}
_PAIR = re.compile(r"\s*([A-Za-z_-]+)\s*=\s*(\\,|\\t|,(?=\s*,|\s*$)|[^,]*?)\s*(?:,|$)")
_BOOLS = {"true": True, "1": True, "yes": True, "y": True, "false": False, "0": False, "no": False, "n": False}
_NUMBER = re.compile(r"\s*(0[xX][0-9a-fA-F]+|\d+(\.\d*)?)\s*", re.ASCII)


@dataclass(frozen=True)
class Layout:
    """Columns, counted from 1; 0 for none. A flag that is None is to be found out from the first lines."""

    obj_id_col: int
    time_col: int = 0
    obj_size_col: int = 0
    op_col: int = 0
    delimiter: str = ","
    has_header: bool | None = None
    obj_id_is_num: bool | None = None

    def named(self) -> dict[str, int]:
        """Return the columns in use by their names."""
        columns = {key: getattr(self, key.replace("-", "_")) for key in COLUMNS}
        return {key: column for key, column in columns.items() if column}

    def settled(self, first: bytes, second: bytes) -> Layout:
        """Return the layout with both flags: a header has no numbers where numbers must be."""
        sure = [column for column in (self.time_col, self.obj_size_col) if column] or [self.obj_id_col]
        header = self.has_header if self.has_header is not None else not self._numeric(first, sure)
        line = second if header else first
        is_num = self.obj_id_is_num if self.obj_id_is_num is not None else self._numeric(line, [self.obj_id_col])
        columns = self.obj_id_col, self.time_col, self.obj_size_col, self.op_col
        return Layout(*columns, self.delimiter, header, is_num)

    def _numeric(self, line: bytes, columns: Iterable[int]) -> bool:
        try:
            cells = next(csv.reader([line.decode("latin-1").rstrip("\r\n")], delimiter=self.delimiter), [])
        except csv.Error:  # the reader of the lines says what is wrong
            return False
        return all(c <= len(cells) and _NUMBER.fullmatch(cells[c - 1]) is not None for c in columns)


def parse_layout(text: str) -> Layout:
    """Read the columns as libCacheSim's users write them.

    Raises
    ------
    ValueError
        A key or a value is unknown; the message names it.

    >>> parse_layout("time-col=2, obj-id-col=5, obj-size-col=4, delimiter=,, has-header=true")
    Layout(obj_id_col=5, time_col=2, obj_size_col=4, op_col=0, delimiter=',', has_header=True, obj_id_is_num=None)
    """
    found: dict[str, Any] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if not match:
            raise ValueError(f"csv is {text!r}; expected key=value at {text[at : at + 20]!r}, as in {EXAMPLE!r}")
        key = match[1].lower().replace("_", "-").replace("-field", "-col")
        key = _ALIASES.get(key, key)
        at = match.end()
        if key in _IGNORED:
            continue
        if key not in _KEYS:
            raise ValueError(f"csv has the key {match[1]!r}; expected one of {', '.join(_KEYS)}")
        found[key.replace("-", "_")] = _value(key, match[2])
    if "obj_id_col" not in found:
        raise ValueError(f"csv is {text!r}; expected obj-id-col, as in {EXAMPLE!r}")
    return Layout(**found)


def _value(key: str, text: str) -> int | str | bool:
    if key == "delimiter":
        value = {"": ",", "\\,": ",", "\\t": "\t"}.get(text, text)
        if len(value) != 1 or not value.isascii() or value.isalnum() or value in '"\n\r\x1f':
            raise ValueError(f"csv has delimiter={text!r}; expected one character, or \\t")
        return value
    if key in COLUMNS:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10_000:
            raise ValueError(f"csv has {key}={text!r}; expected a column, counted from 1")
        return int(text)
    if text.lower() not in _BOOLS:
        raise ValueError(f"csv has {key}={text!r}; expected true or false")
    return _BOOLS[text.lower()]
