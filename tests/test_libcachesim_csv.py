# csv traces: the columns that the user names, numbers, texts, quotes, and bad lines.
# May import swaptable.trace and its layout, numpy, pytest, hypothesis.
# Run by pytest.
import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swaptable.trace import TraceError, convert, open_trace, save_trace
from swaptable.trace._csv_layout import Layout, parse_layout

COLUMNS = "time-col=2, obj-id-col=5, obj-size-col=4, delimiter=,, has-header=true"
TEXT = "op,time,x,size,id\nget,1,a,4096,17\nset,2.5,b,8192,0x10\r\n\nget,1e3,c, 1 ,18446744073709551615\n"


def fnv(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def mixed(value):
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % (1 << 64)
    value = (value ^ value >> 27) * 0x94D049BB133111EB % (1 << 64)
    return value ^ value >> 31


@pytest.fixture
def file(tmp_path):
    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        (COLUMNS, Layout(5, 2, 4, 0, ",", True)),
        ("obj-id-col=1", Layout(1)),
        ("obj_id_col=1,time_col=2", Layout(1, 2)),
        ("obj-id-col=1, delimiter=;, has-header=false", Layout(1, delimiter=";", has_header=False)),
        ("delimiter=\\t,obj-id-col=3", Layout(3, delimiter="\t")),
        ("delimiter=\\,,obj-id-col=3", Layout(3)),
        ("obj-id-field=1, size-col=2, header=1, obj-id-is-num=no", Layout(1, 0, 2, 0, ",", True, False)),
        ("obj-id-col=3, delimiter=,", Layout(3)),
        ("obj-id-col=3, delimiter=", Layout(3)),
        ("obj-id-col=3, ttl-col=9, delimiter=;, tenant-col=2", Layout(3, delimiter=";")),
        ("obj-id-col=3, op-col=1, delimiter=|", Layout(3, op_col=1, delimiter="|")),
    ],
)
def test_layout(text, layout):
    assert parse_layout(text) == layout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected obj-id-col"),
        ("time-col=1", "expected obj-id-col"),
        ("obj-id-col", "expected key=value at 'obj-id-col'"),
        ("obj-id-col=0", "obj-id-col='0'; expected a column, counted from 1"),
        ("obj-id-col=x", "obj-id-col='x'; expected a column"),
        ("obj-id-col=1, cnt-col=3", "key 'cnt-col'; expected one of time-col, obj-id-col"),
        ("obj-id-col=1, delimiter=ab", "delimiter='ab'; expected one character"),
        ("obj-id-col=1, has-header=maybe", "has-header='maybe'; expected true or false"),
    ],
)
def test_bad_layout(text, message):
    with pytest.raises(ValueError, match="csv ") as error:
        parse_layout(text)
    assert message in str(error.value)


def test_golden(file):
    trace = open_trace(file(TEXT), csv=COLUMNS, columns=["time"])
    assert (trace.format, trace.meta["object_pages"]) == ("csv", 2)
    (block,) = trace
    last = mixed((1 << 64) - 1) >> 13 << 1
    assert block.page.tolist() == [34, 32, 33, last]
    assert block.time.tolist() == [1_000_000, 2_500_000, 2_500_000, 1_000_000_000]
    assert not block.write.any()
    writes = open_trace(file(TEXT), csv=COLUMNS + ", op-col=1", object_pages=2).load()[1]
    assert writes.tolist() == [False, True, True, False]


def test_named_by_columns_alone(file):
    assert open_trace(file("3;1\n4;1\n", "t.txt"), csv="obj-id-col=1, delimiter=;").load()[0].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("text", "columns", "pages"),
    [
        ("5,1\n6,2\n", "obj-id-col=1, time-col=2", [5, 6]),  # a first line of numbers is no header
        ("id,time\n5,1\n", "obj-id-col=1, time-col=2", [5]),
        ("id\n5\n6\n", "obj-id-col=1", [5, 6]),
        ("id,time\n5,1\n", "obj-id-col=1, time-col=2, has-header=true", [5]),
        ("5,1", "obj-id-col=1", [5]),
        ("a b,7\nc,7\n", "obj-id-col=1, time-col=2", [mixed(fnv("a b")) >> 12, mixed(fnv("c")) >> 12]),
        ("7\n8\n", "obj-id-col=1, obj-id-is-num=false", [mixed(fnv("7")) >> 12, mixed(fnv("8")) >> 12]),
        ("  5 , 1\n", "obj-id-col=1, time-col=2", [5]),
        ('"5","1"\n"6",2\n\n7,3\n', "obj-id-col=1, time-col=2", [5, 6, 7]),
        ('1,"a,""b"""\n', "obj-id-col=2, time-col=1", [mixed(fnv('a,"b"')) >> 12]),
        ("id,size\n", "obj-id-col=1, obj-size-col=2", []),
    ],
)
def test_what_a_line_may_be(file, text, columns, pages):
    assert open_trace(file(text), csv=columns).load()[0].tolist() == pages


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("9,1", ":3: expected at least 3 columns"),
        ("x,1,4096", ":3: obj-id-col: expected a whole number below 2**64, found b'x'"),
        ("18446744073709551616,1,4096", ":3: obj-id-col: expected a whole number below 2**64"),
        ("9,soon,4096", ":3: time-col: expected seconds, found b'soon'"),
        ("9,-1,4096", ":3: time-col: expected seconds, found b'-1'"),
        ("9,1.2.3,4096", ":3: time-col: expected seconds, found b'1.2.3'"),
        ("9,1,", ":3: obj-size-col: expected bytes, a whole number below 2**32, found b''"),
        ("9,1,4294967296", ":3: obj-size-col: expected bytes, a whole number below 2**32, found b'4294967296'"),
        ('"9,1,4096', ":3: expected cells, quoted or not, within a line: "),
        ('9,"1\n2",4096', ":3: expected cells, quoted or not, within a line: "),
    ],
)
def test_bad_line(file, line, message):
    path = file(f"1,1.5,10\n2,2,10\n{line}\n4,4,10\n")
    with pytest.raises(TraceError) as error:
        open_trace(path, csv="obj-id-col=1, time-col=2, obj-size-col=3").load()
    assert str(error.value).startswith(f"{path}{message}")


def test_bad_operation(file):
    path = file("1,get\n2,SET\n3,delete\n")
    with pytest.raises(TraceError, match=r":3: op-col: expected one of r, read, get, 0, w.*, found b'delete'"):
        open_trace(path, csv="obj-id-col=1, op-col=2").load()


def test_object_larger_than_said(file):
    path = file("1,4096\n2,8193\n")
    with pytest.raises(
        TraceError, match=r":2: obj-size-col: expected at most 8192 bytes: object_pages must be 4 or more"
    ):
        open_trace(path, csv="obj-id-col=1, obj-size-col=2", object_pages=2).load()


def test_columns_must_be_known(file):
    with pytest.raises(TraceError, match=r"t.csv:1: found b'1,2,3'; expected to be told which column is what"):
        open_trace(file("1,2,3\n"))


def test_a_line_without_end(file):
    path = file(b"1,2\n" + b"9" * (3 << 20))
    with pytest.raises(TraceError, match=r":2: expected a record, found a line of over"):
        open_trace(path, csv="obj-id-col=1").load()


@given(
    st.lists(
        st.tuples(
            st.integers(0, (1 << 52) - 1),
            st.integers(0, 10**15),
            st.integers(0, (1 << 32) - 1),
            st.text(st.characters(codec="ascii", exclude_characters="\n\r\x00\x1f"), max_size=5),
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(",;\t|"),
)
def test_model(tmp_path_factory, rows, quoting, delimiter):
    out = io.StringIO()
    writer = csv.writer(out, quoting=quoting, delimiter=delimiter, lineterminator="\n")
    writer.writerows((text, size, f"{time / 1e6:.6f}", number) for number, time, size, text in rows)
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(out.getvalue())
    name = {"\t": "\\t"}.get(delimiter, delimiter)
    columns = f"obj-size-col=2, time-col=3, obj-id-col=4, delimiter={name}, has-header=false, obj-id-is-num=true"
    (block,) = open_trace(path, csv=columns, object_pages=1, columns=["time"])
    assert block.page.tolist() == [number for number, *_ in rows]
    assert block.time.tolist() == [time for _, time, *_ in rows]


@given(
    st.lists(st.tuples(st.integers(0, (1 << 52) - 1), st.booleans(), st.integers(0, 1 << 52)), max_size=30),
    st.booleans(),
)
def test_written_and_read_again(tmp_path_factory, touches, timed):
    folder = tmp_path_factory.mktemp("csv")
    page, write, time = (np.array([t[i] for t in touches], d) for i, d in enumerate((np.uint64, bool, np.uint64)))
    save_trace(folder / "s.npz", page, write, {"page_size": 16384}, time=time if timed else None)
    info = convert(folder / "s.npz", folder / "t.csv.gz")
    assert info["lost"] == ["meta"]
    trace = open_trace(folder / "t.csv.gz", page_size=16384, columns=["time"])
    assert trace.load()[0].tolist() == page.tolist()
    assert trace.load()[1].tolist() == write.tolist()
    if timed and touches:
        assert np.concatenate([block.time for block in trace]).tolist() == time.tolist()
    assert "op-col" not in info["csv"]
    again = open_trace(folder / "t.csv.gz", page_size=16384, csv=info["csv"])
    assert again.load()[0].tolist() == page.tolist()
