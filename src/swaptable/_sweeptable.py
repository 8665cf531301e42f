# The results of a sweep as columns, in one file.
# May import numpy; pyarrow is asked for when a Parquet file is written.
# Used by sweep.py and programs.
"""Rows of plain values to columns: ``.npz``, or ``.parquet`` with the extra ``sweep``."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ENDINGS", "columns_of", "flat", "need", "read_columns", "write_columns"]

ENDINGS = (".npz", ".parquet")
ABSENT: dict[type, Any] = {int: -1, float: float("nan"), str: "", bool: False}

Column = list[Any]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under names with points between them.

    >>> flat({"a": {"b": 1}, "c": [{"d": 2}]})
    {'a.b': 1, 'c.0.d': 2}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, (list, tuple)):
            value = {str(k): one for k, one in enumerate(value)}
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def columns_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Column]:
    """Return name -> values of all rows, None where a row has none."""
    listed = list(rows)
    names = dict.fromkeys(name for row in listed for name in row)
    return {name: [row.get(name) for row in listed] for name in names}


def _kind(name: str, column: Column) -> type:
    kinds = {type(value) for value in column if value is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        return float
    if len(kinds) > 1:
        raise TypeError(f"column {name} has values of {len(kinds)} kinds")
    return kinds.pop() if kinds else str


def _array(name: str, column: Column) -> NDArray[Any]:
    kind = _kind(name, column)
    dtype = {int: np.int64, float: np.float64, bool: np.bool_, str: np.str_}[kind]
    return np.array([ABSENT[kind] if value is None else value for value in column], dtype)


def need(path: str | os.PathLike[str]) -> None:
    """See that a file of that name can be written, before any work is done.

    Raises
    ------
    ValueError
        The ending is not one of ENDINGS.
    RuntimeError
        pyarrow is not installed.
    """
    ending = Path(path).suffix
    if ending not in ENDINGS:
        raise ValueError(f"output is {os.fspath(path)!r}; expected a name that ends in {' or '.join(ENDINGS)}")
    if ending == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise RuntimeError("Parquet wants pyarrow: pip install 'swaptable[sweep]', or write .npz") from None


def write_columns(path: str | os.PathLike[str], columns: Mapping[str, Column], meta: Mapping[str, Any]) -> None:
    """Write all columns and *meta* to one file, which is there whole or not at all. The same values, the same bytes.

    Parameters
    ----------
    path : path
        ``.npz``: arrays of int64, float64, bool and text; absent values are -1, NaN, False and "". ``.parquet``: nulls.
    columns : mapping of str to list
    meta : mapping
        JSON in the member ``meta``, or under the key ``swaptable`` of the schema.
    """
    need(path)
    path = Path(path)
    text = json.dumps(meta, sort_keys=True)
    content = _parquet(columns, text) if path.suffix == ".parquet" else _npz(columns, text)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)


def _npz(columns: Mapping[str, Column], text: str) -> bytes:
    out = io.BytesIO()
    arrays = {name: _array(name, column) for name, column in columns.items()}
    np.savez_compressed(out, meta=np.array(text), **arrays)
    return out.getvalue()


def _parquet(columns: Mapping[str, Column], text: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    arrays = {name: pa.array(column, types[_kind(name, column)]) for name, column in columns.items()}
    table = pa.table(arrays).replace_schema_metadata({"swaptable": text})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def read_columns(path: str | os.PathLike[str]) -> tuple[dict[str, Sequence[Any]], dict[str, Any]]:
    """Return the columns and *meta* of a file that :func:`write_columns` wrote."""
    need(path)
    if Path(path).suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        return table.to_pydict(), json.loads(table.schema.metadata[b"swaptable"])
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name != "meta"}, json.loads(str(file["meta"]))
