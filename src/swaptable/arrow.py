# Results as Arrow data, by the Arrow C data interface: polars, pyarrow, duckdb take them without a file between.
# Imports ctypes, numpy.
# Used by people; needs no Arrow library.
"""Columns that speak the Arrow PyCapsule interface.

>>> import numpy as np
>>> columns = Columns({"slot": np.arange(3), "design": ["old", "old", "swap-table"]})
>>> columns                                         # for pyarrow.record_batch(columns), polars.DataFrame(columns)
Columns(slot: int64, design: str; 3 rows)


`Columns.of` makes them of what the package returns: events, and lists of result dataclasses.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

__all__ = ["Columns"]

_FORMATS = {
    "int8": b"c", "uint8": b"C", "int16": b"s", "uint16": b"S", "int32": b"i", "uint32": b"I", "int64": b"l",
    "uint64": b"L", "float32": b"f", "float64": b"g", "bool": b"b", "str": b"u",
}  # fmt: skip


class _Schema(c.Structure):
    """struct ArrowSchema of the specification."""


class _Array(c.Structure):
    """struct ArrowArray of the specification."""


_ReleaseSchema, _ReleaseArray = c.CFUNCTYPE(None, c.POINTER(_Schema)), c.CFUNCTYPE(None, c.POINTER(_Array))
_Schema._fields_ = [
    ("format", c.c_char_p), ("name", c.c_char_p), ("metadata", c.c_char_p), ("flags", c.c_int64),
    ("n_children", c.c_int64), ("children", c.POINTER(c.POINTER(_Schema))), ("dictionary", c.POINTER(_Schema)),
    ("release", _ReleaseSchema), ("private_data", c.c_void_p),
]  # fmt: skip
_Array._fields_ = [
    ("length", c.c_int64), ("null_count", c.c_int64), ("offset", c.c_int64), ("n_buffers", c.c_int64),
    ("n_children", c.c_int64), ("buffers", c.POINTER(c.c_void_p)), ("children", c.POINTER(c.POINTER(_Array))),
    ("dictionary", c.POINTER(_Array)), ("release", _ReleaseArray), ("private_data", c.c_void_p),
]  # fmt: skip

_incref = c.PYFUNCTYPE(None, c.py_object)(("Py_IncRef", c.pythonapi))
_decref = c.PYFUNCTYPE(None, c.c_void_p)(("Py_DecRef", c.pythonapi))
_Destructor = c.PYFUNCTYPE(None, c.c_void_p)
_capsule_new = c.PYFUNCTYPE(c.py_object, c.c_void_p, c.c_char_p, _Destructor)(("PyCapsule_New", c.pythonapi))
_capsule_pointer = c.PYFUNCTYPE(c.c_void_p, c.c_void_p, c.c_char_p)(("PyCapsule_GetPointer", c.pythonapi))
_capsule_context = c.PYFUNCTYPE(c.c_void_p, c.c_void_p)(("PyCapsule_GetContext", c.pythonapi))
_set_context = c.PYFUNCTYPE(c.c_int, c.py_object, c.c_void_p)(("PyCapsule_SetContext", c.pythonapi))


def _release(at: Any) -> None:
    """What both kinds of structure do when they are given up: children that nobody took, then what they hold."""
    this = at.contents
    for k in range(this.n_children):
        child = this.children[k]
        if child.contents.release:
            child.contents.release(child)
    held, this.private_data = this.private_data, None
    this.release = type(this.release)()
    _decref(held)


_release_schema, _release_array = _ReleaseSchema(_release), _ReleaseArray(_release)


def _destructor(kind: Any, name: bytes) -> Any:
    """What frees a capsule: also the data, unless whoever took it has that now."""

    def destroy(capsule: int) -> None:
        at = c.cast(_capsule_pointer(capsule, name), c.POINTER(kind))
        if at.contents.release:
            at.contents.release(at)
        _decref(_capsule_context(capsule))

    return _Destructor(destroy)


_drop_schema, _drop_array = _destructor(_Schema, b"arrow_schema"), _destructor(_Array, b"arrow_array")


def _hold(this: Any, what: object, release: Any) -> None:
    """Let a structure keep *what* alive until it is released."""
    _incref(what)
    this.private_data, this.release = id(what), release


def _capsule(this: Any, name: bytes, destructor: Any) -> Any:
    capsule = _capsule_new(c.addressof(this), name, destructor)
    _incref(this)       # its memory is the capsule's
    _set_context(capsule, id(this))
    return capsule


def _buffers(column: np.ndarray | list[str]) -> list[np.ndarray | None]:
    """Validity (none: all valid), then what the format wants."""
    if isinstance(column, list):
        texts = [text.encode() for text in column]
        offsets = np.zeros(len(texts) + 1, np.int32)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        return [None, offsets, np.frombuffer(b"".join(texts) or b"\0", np.uint8)]
    if column.dtype == bool:
        return [None, np.packbits(column, bitorder="little")]
    return [None, column]


class Columns:
    """Named columns of one length, for any library that takes Arrow data.

    Parameters
    ----------
    columns : mapping of str to array or sequence
        Numbers and bools as one-dimensional arrays, texts as lists of str. Arrays of native byte order without gaps are
        handed over as they are, and must not be written to afterwards.

    Raises
    ------
    ValueError
        Columns of several lengths, or of a type that Arrow has not; the message names the column.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self.columns: dict[str, np.ndarray | list[str]] = {name: _column(name, col) for name, col in columns.items()}
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns: expected one length, not {lengths}")
        self._rows = next(iter(lengths.values()), 0)

    @classmethod
    def of(cls, result: np.ndarray | Iterable[Any]) -> Columns:
        """Columns of a structured array, or of result dataclasses of one class: a row each, dicts in them as columns.

        >>> from swaptable.replay import compare
        >>> from swaptable.trace import default_trace
        >>> results = compare(default_trace(), ["old", "swap-table"], limit=2000)
        >>> columns = Columns.of(results)
        >>> columns.columns["design"], len(columns.columns["vmstat.pswpin"])
        (['old', 'swap-table'], 2)
        """
        if isinstance(result, np.ndarray):
            if result.dtype.names is None:
                raise ValueError(f"result: expected a structured array, not {result.dtype}")
            return cls({name: result[name] for name in result.dtype.names})
        rows = [_flat(row) for row in result]
        names = list(dict.fromkeys(name for row in rows for name in row))
        return cls({name: _cells([row.get(name) for row in rows]) for name in names})

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        kinds = ", ".join(f"{name}: {_kind(column)}" for name, column in self.columns.items())
        return f"Columns({kinds}; {len(self)} rows)"

    def __arrow_c_schema__(self) -> Any:
        """A PyCapsule of struct ArrowSchema."""
        children = [_Schema(_FORMATS[_kind(col)], name.encode(), None, 0, 0) for name, col in self.columns.items()]
        pointers = (c.POINTER(_Schema) * max(1, len(children)))(*map(c.pointer, children))
        whole = _Schema(b"+s", b"", None, 0, len(children), pointers)
        for this in (*children, whole):
            _hold(this, [children, pointers], _release_schema)
        return _capsule(whole, b"arrow_schema", _drop_schema)

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[Any, Any]:
        """PyCapsules of struct ArrowSchema and ArrowArray; no other types than its own, whatever is requested."""
        held: list[Any] = []
        children = []
        for column in self.columns.values():
            buffers = _buffers(column)
            pointers = (c.c_void_p * len(buffers))(*(None if b is None else b.ctypes.data for b in buffers))
            held.append((buffers, pointers))
            children.append(_Array(len(self), 0, 0, len(buffers), 0, pointers))
        outer, none = (c.POINTER(_Array) * max(1, len(children)))(*map(c.pointer, children)), (c.c_void_p * 1)(None)
        whole = _Array(len(self), 0, 0, 1, len(children), none, outer)
        for this in (*children, whole):
            _hold(this, [held, children, outer, none], _release_array)
        return self.__arrow_c_schema__(), _capsule(whole, b"arrow_array", _drop_array)


def _kind(column: np.ndarray | list[str]) -> str:
    return "str" if isinstance(column, list) else column.dtype.name


def _column(name: str, given: Any) -> np.ndarray | list[str]:
    """A column in the form in which it is handed over."""
    if not isinstance(given, np.ndarray) and all(isinstance(one, str) for one in given):
        return list(given)
    array = np.asarray(given)
    if array.ndim != 1 or array.dtype.name not in _FORMATS:
        what = f"{array.dtype} with shape {array.shape}"
        raise ValueError(f"column {name!r}: expected one dimension of numbers, bools or str, not {what}")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _flat(row: Any, prefix: str = "") -> dict[str, Any]:
    """A dataclass or dict as one level of names; sequences are left out."""
    if not isinstance(row, Mapping) and not is_dataclass(row):
        raise ValueError(f"result: expected dataclasses or dicts, not {type(row).__name__}")
    items = row.items() if isinstance(row, Mapping) else ((each.name, getattr(row, each.name)) for each in fields(row))
    flat: dict[str, Any] = {}
    for name, value in items:
        if isinstance(value, Mapping) or (is_dataclass(value) and not isinstance(value, type)):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, (str, bool, int, float, np.number)):
            flat[f"{prefix}{name}"] = value
    return flat


def _cells(values: Sequence[Any]) -> np.ndarray | list[str]:
    """A column of what may be missing: NaN, or an empty text."""
    if any(isinstance(value, str) for value in values):
        return ["" if value is None else str(value) for value in values]
    return np.array([np.nan if value is None else value for value in values])
