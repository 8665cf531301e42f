# fio iologs of both versions: golden logs, ranges, files, and bad lines.
# May import swaptable.trace, numpy, pytest, hypothesis.
# Run by pytest.
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swaptable.trace import TraceError, open_trace, trace_info

V2 = """fio version 2 iolog
/dev/sda add
/dev/sda open
/dev/sdb add
/dev/sda write 0 4096
/dev/sdb read 4095 2
/dev/sda trim 0 8192
/dev/sda wait 100 0

/dev/sda sync 0 0
/dev/sda   read\t8192 8193
/dev/sda close
"""
V3 = """fio version 3 iolog
2 /dev/sda add
872 /dev/sda open
878 /dev/sda write 0 16384
891 /dev/sda datasync 0 0
10000 other.file read 12288 1
10001677 /dev/sda close
"""
B = 1 << 36


@pytest.fixture
def file(tmp_path):
    def write(text, name="t.log"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_version_2(file):
    trace = open_trace(file(V2), columns=["pid", "time"])
    (block,) = trace
    assert block.page.tolist() == [0, B, B + 1, 2, 3, 4]
    assert block.write.tolist() == [True] + [False] * 5
    assert block.pid.tolist() == [0, 1, 1, 0, 0, 0]
    assert block.time is None
    assert (trace.format, trace.meta["tool"]) == ("fio", "fio iolog version 2")


def test_version_3(file):
    (block,) = open_trace(file(V3), columns=["pid", "time"])
    assert block.page.tolist() == [0, 1, 2, 3, B + 3]
    assert block.write.tolist() == [True] * 4 + [False]
    assert block.time.tolist() == [878] * 4 + [10000]
    assert block.pid.tolist() == [0] * 4 + [1]
    assert open_trace(file(V3), page_size=16384).load()[0].tolist() == [0, B]
    assert trace_info(file(V3))["processes"] == 2


def test_files_are_numbered_over_pieces(file):
    lines = "".join(f"{i} file{i % 3} read {4096 * i} 4096\n" for i in range(90_000))
    page, _ = open_trace(file("fio version 3 iolog\n" + lines)).load()
    number = np.arange(90_000, dtype=np.uint64)
    assert (page == number + (number % np.uint64(3) << np.uint64(36))).all()


@pytest.mark.parametrize(
    "version", ["fio version 1 iolog", "fio version 4 iolog", "fio version 33 iolog", "fio version"]
)
def test_other_versions(file, version):
    path = file(f"{version}\n", "t.iolog")
    with pytest.raises(TraceError) as error:
        open_trace(path)
    expected = "expected 'fio version 2 iolog' or 'fio version 3 iolog'"
    assert str(error.value) == f"{path}:1: {expected}, found {version!r}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a read", "expected 'filename action [offset length]' with read, write"),
        ("a read 0", "expected 'filename action [offset length]', found 'a read 0'"),
        ("a read 0 1 2", "expected 'filename action [offset length]', found 'a read 0 1 2'"),
        ("a open 0 1", "expected 'filename action [offset length]' with read, write"),
        ("a munch 0 1", "expected 'filename action [offset length]' with read, write"),
        ("a read x 1", "expected an offset below 9223372036854775808, found 'a read x 1'"),
        ("a read -1 1", "expected an offset below"),
        ("a read 0 4294967296", "expected a length below 4294967296"),
        ("a write 0 0", "expected a length of 1 or more, found 'a write 0 0'"),
        (f"a read {(1 << 48) - 1} 2", f"expected a range that ends below {1 << 48} (2**36 pages)"),
    ],
)
def test_bad_line(file, line, message):
    path = file(f"fio version 2 iolog\na add\n{line}\na read 0 1\n")
    with pytest.raises(TraceError) as error:
        open_trace(path).load()
    assert str(error.value).startswith(f"{path}:3: {message}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a read 0 1", "expected 'timestamp filename action [offset length]', found 'a read 0 1'"),
        (
            "5 a wait 10 0",
            "expected 'timestamp filename action [offset length]' with read, write, sync, datasync, trim and",
        ),
        ("x a read 0 1", "expected a timestamp below"),
    ],
)
def test_bad_line_of_version_3(file, line, message):
    path = file(f"fio version 3 iolog\n0 a add\n\n{line}")
    with pytest.raises(TraceError) as error:
        open_trace(path, columns=["time"]).load()
    assert str(error.value).startswith(f"{path}:4: {message}")


def test_too_many_files(file):
    path = file("fio version 2 iolog\n" + "".join(f"f{i} add\n" for i in range(65_537)))
    with pytest.raises(TraceError, match="expected at most 65536 files"):
        open_trace(path).load()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "/dev/b", "name.with-signs_é"]),
            st.sampled_from(["read", "write", "trim", "sync", "open", "close", "add"]),
            st.integers(0, 1 << 40),
            st.integers(1, 40_000),
        ),
        max_size=40,
    ),
    st.sampled_from([2, 3]),
)
def test_model(tmp_path_factory, actions, version):
    text, files, pages, writes = f"fio version {version} iolog\n", {}, [], []
    for time, (name, action, offset, length) in enumerate(actions):
        number = files.setdefault(name, len(files))
        io = action in ("read", "write", "trim", "sync")
        text += f"{time} " * (version == 3) + f"{name} {action}" + f" {offset} {length}" * io + "\n"
        if action in ("read", "write"):
            touched = range(offset >> 12, (offset + length - 1 >> 12) + 1)
            pages += [page | number << 36 for page in touched]
            writes += [action == "write"] * len(touched)
    path = tmp_path_factory.mktemp("fio") / "t.iolog"
    path.write_text(text)
    page, write = open_trace(path).load()
    assert (page.tolist(), write.tolist()) == (pages, writes)
