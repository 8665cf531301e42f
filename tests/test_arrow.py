# Arrow data out: what another library reads is what was given, and nothing is freed too early or kept too long.
# Imports the package, numpy, pytest; nanoarrow and pyarrow where they are.
# Used by pytest.
import ctypes
import gc
import weakref

import numpy as np
import pytest

from swaptable import SwapTable
from swaptable.arrow import Columns, _Array, _Schema
from swaptable.replay import compare
from swaptable.trace import default_trace

GIVEN = {
    "slot": np.arange(5) - 2,
    "pfn": np.array([0, 1, 2, 2**63, 2**64 - 1], np.uint64),
    "share": np.array([0.5, np.nan, 1, 2, 3]),
    "small": np.arange(5, dtype=np.uint8),
    "cached": np.array([True, False, True, True, False]),
    "design": ["old", "", "swap-table", "vswap-24", "Ünïcode"],
    "strided": np.arange(10, dtype=np.int32)[::2],
    "swapped": np.arange(5, dtype=">i4"),
}
pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def structures(columns):
    """The two structures as a consumer in C sees them, and the capsules."""
    schema, array = columns.__arrow_c_array__()
    return (
        ctypes.cast(pointer(schema, b"arrow_schema"), ctypes.POINTER(_Schema)),
        ctypes.cast(pointer(array, b"arrow_array"), ctypes.POINTER(_Array)),
        [schema, array],
    )


def test_the_structures_are_those_of_the_specification():
    schema, array, capsules = structures(Columns(GIVEN))
    assert (schema.contents.format, schema.contents.n_children, schema.contents.flags) == (b"+s", 8, 0)
    children = [schema.contents.children[k].contents for k in range(8)]
    found = [(child.name.decode(), child.format) for child in children]
    assert found == list(zip(GIVEN, [b"l", b"L", b"g", b"C", b"b", b"u", b"i", b"i"], strict=True))
    assert (array.contents.length, array.contents.null_count, array.contents.n_buffers) == (5, 0, 1)
    slots = array.contents.children[0].contents
    assert slots.n_buffers == 2
    assert not slots.buffers[0]
    assert np.ctypeslib.as_array((ctypes.c_int64 * 5).from_address(slots.buffers[1])).tolist() == [-2, -1, 0, 1, 2]
    assert (ctypes.sizeof(_Schema), ctypes.sizeof(_Array)) == (72, 80)
    del capsules


def test_without_a_copy():
    _, array, capsules = structures(Columns({"slot": GIVEN["slot"]}))
    assert array.contents.children[0].contents.buffers[1] == GIVEN["slot"].ctypes.data
    del capsules


def watched():
    data = np.arange(1000)
    return Columns({"data": data}), weakref.ref(data)


def test_data_lives_until_it_is_released():
    columns, alive = watched()
    capsules = structures(columns)[2]
    del columns
    gc.collect()
    assert alive() is not None
    del capsules
    gc.collect()
    assert alive() is None


def test_a_child_that_was_taken_outlives_its_parent():
    columns, alive = watched()
    _, array, capsules = structures(columns)
    taken = _Array()
    child = array.contents.children[0]
    ctypes.memmove(ctypes.byref(taken), child, ctypes.sizeof(_Array))   # moved, as the specification says
    child.contents.release = type(child.contents.release)()
    del columns, capsules, array, child
    gc.collect()
    assert alive() is not None
    taken.release(ctypes.byref(taken))
    gc.collect()
    assert alive() is None
    assert not taken.release


def test_released_twice_by_nobody():
    """Whoever takes the whole releases it; the capsule then has nothing left to release."""
    columns, alive = watched()
    _, array, capsules = structures(columns)
    array.contents.release(array)
    assert not array.contents.release
    del columns, capsules
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [1, 2], "b": [1]}, "expected one length"),
        ({"a": np.zeros((2, 2))}, "column 'a': expected one dimension"),
        ({"a": np.zeros(2, complex)}, "column 'a'.*complex128"),
        ({"a": [1, "x"]}, "column 'a'"),
    ],
)
def test_what_arrow_has_not(columns, words):
    with pytest.raises(ValueError, match=words):
        Columns(columns)
    with pytest.raises(ValueError, match="expected a structured array"):
        Columns.of(np.zeros(3))
    with pytest.raises(ValueError, match="expected dataclasses or dicts, not int"):
        Columns.of([3])


def test_read_by_nanoarrow():
    nanoarrow = pytest.importorskip("nanoarrow")
    for given in (GIVEN, {name: column[:0] for name, column in GIVEN.items()}, {}):
        read = nanoarrow.Array(Columns(given))
        rows = list(read.iter_py())
        assert len(rows) == len(given.get("slot", ()))
        for name, column in given.items():
            found = [row[name] for row in rows]
            np.testing.assert_array_equal(found, column if isinstance(column, list) else column.tolist())


def test_read_by_pyarrow():
    pyarrow = pytest.importorskip("pyarrow")
    batch = pyarrow.record_batch(Columns(GIVEN))
    batch.validate(full=True)
    for name, column in GIVEN.items():
        expected = column if isinstance(column, list) else column.tolist()
        np.testing.assert_array_equal(batch.column(name).to_pylist(), expected)
    kept = batch.column("pfn")
    del batch
    gc.collect()
    assert kept.to_pylist()[-1] == 2**64 - 1


def test_events_and_results():
    table = SwapTable(slots=1024)
    with table.events() as events:
        table.alloc_many(7)
        columns = Columns.of(events.drain())
    assert len(columns) == 7
    assert columns.columns["slot"].tolist() == list(range(1, 8))
    results = compare(default_trace(), ["old", "swap-table"], limit=3000)
    columns = Columns.of(results)
    assert columns.columns["design"] == ["old", "swap-table"]
    assert columns.columns["vmstat.pswpout"].tolist() == [result.vmstat["pswpout"] for result in results]
