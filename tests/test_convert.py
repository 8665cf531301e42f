# Conversion between formats: what survives, what is told to be lost, and what is refused.
# May import swaptable.trace and its modules, numpy, pytest, hypothesis.
# Run by pytest.
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swaptable.trace import TraceError, convert, open_trace, save_trace, synthetic, trace_info
from swaptable.trace._block import Block, PageSet, cut, joined
from swaptable.trace._pages import expand, object_pages, object_spans


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(3)
    page, write = rng.integers(0, 1 << 52, 70_000, dtype=np.uint64), rng.random(70_000) < 0.4
    path = tmp_path / "s.npz"
    pid, time = page >> np.uint64(36), np.arange(70_000) * 3
    save_trace(path, page, write, {"command": "./a.out", "synthetic": True}, pid=pid.astype(np.uint32), time=time)
    return path, page, write


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("t.npz", []),
        ("t.lackey", ["pid", "time"]),
        ("t.lackey.gz", ["pid", "time"]),
        ("t.csv", ["meta", "pid"]),
        ("t.lackey.xz", ["pid", "time"]),
        ("t.csv.zst", ["meta", "pid"]),
        ("t.oracleGeneral", ["meta", "pid", "write"]),
        ("t.bin.zst", ["meta", "pid", "write"]),
    ],
)
def test_there_and_back(source, tmp_path, name, lost):
    if name.endswith("zst"):
        pytest.importorskip("zstandard")
    path, page, write = source
    target = tmp_path / name
    info = convert(path, target)
    assert (info["records"], info["lost"], info["source_format"], info["synthetic"]) == (70_000, lost, "npz", True)
    assert info["file_bytes"] == target.stat().st_size
    back = tmp_path / "back.npz"
    again = convert(target, back)
    assert again["lost"] == []
    found = open_trace(back).load()
    assert (found[0] == page).all()
    assert (found[1] == (write if "write" not in lost else False)).all()
    assert again["synthetic"] == ("meta" not in lost)
    assert trace_info(back)["meta"]["converted_from"]["file"] == name
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["s.npz", name, "back.npz"])


def test_npz_keeps_everything(source, tmp_path):
    path, _, _ = source
    convert(path, tmp_path / "t.npz", compression="lzma", skip=10, limit=1000)
    with np.load(path) as old, np.load(tmp_path / "t.npz") as new:
        for name in ("page", "write", "pid", "time"):
            assert (old[name][10:1010] == new[name]).all()
    meta = open_trace(tmp_path / "t.npz").meta
    assert meta["command"] == "./a.out"
    assert meta["converted_from"] == {"file": "s.npz", "format": "npz", "skip": 10, "limit": 1000}


def test_same_bytes_each_time(source, tmp_path):
    for name in ("a.npz", "a.csv.gz", "a.bin", "a.lackey"):
        convert(source[0], tmp_path / name)
        convert(source[0], tmp_path / f"b{name[1:]}")
        assert (tmp_path / name).read_bytes() == (tmp_path / f"b{name[1:]}").read_bytes()


def test_objects_and_logs_become_pages(tmp_path):
    (tmp_path / "o.bin").write_bytes(struct.pack("<IQIq", 1, 5, 9000, -1))
    info = convert(tmp_path / "o.bin", tmp_path / "o.npz")
    assert (info["records"], info["source_format"]) == (3, "oracleGeneral")
    with np.load(tmp_path / "o.npz") as members:
        assert members["page"].tolist() == [20, 21, 22]
        assert members["time"].tolist() == [1_000_000] * 3
    meta = open_trace(tmp_path / "o.npz").meta
    assert meta["converted_from"]["object_pages"] == meta["object_pages"] == 4
    (tmp_path / "l.fio").write_text("fio version 2 iolog\nx read 4096 1\ny write 0 1\n")
    convert(tmp_path / "l.fio", tmp_path / "l.npz")
    with np.load(tmp_path / "l.npz") as members:
        assert (members["page"].tolist(), members["pid"].tolist()) == ([1, 1 << 36], [0, 1])
        assert "time" not in members


def test_nothing_makes_something(tmp_path):
    save_trace(tmp_path / "s.npz", np.empty(0, np.uint64), np.empty(0, bool), {})
    for name in ("t.npz", "t.lackey", "t.csv", "t.bin"):
        assert convert(tmp_path / "s.npz", tmp_path / name)["records"] == 0
    assert len(open_trace(tmp_path / "t.csv").load()[0]) == 0
    assert len(open_trace(tmp_path / "t.npz").load()[0]) == 0


def test_refusals(source, tmp_path):
    path, _, _ = source
    for name, message in (
        ("t.pcap", "format to write is 't.pcap', which says none; expected one of npz, oracleGeneral, csv, lackey"),
        ("t.json", "format to write is 't.json', which is of format damo; expected"),
    ):
        with pytest.raises(ValueError, match="format to write") as error:
            convert(path, tmp_path / name)
        assert str(error.value).startswith(message)
    with pytest.raises(ValueError, match="format to write is 'fio'"):
        convert(path, tmp_path / "t", to="fio")
    with pytest.raises(ValueError, match="compression is 'zip'"):
        convert(path, tmp_path / "t.npz", compression="zip")
    with pytest.raises(TraceError, match="is the trace to read"):
        convert(path, path)
    for name in ("t.npz", "t.csv", "t.bin", "t.lackey.gz"):
        with pytest.raises(TraceError, match="cannot be written"):
            convert(path, tmp_path / "none" / name)
    assert [each.name for each in tmp_path.iterdir()] == ["s.npz"]


def test_damage_leaves_no_target(tmp_path):
    path = tmp_path / "s.lackey"
    path.write_bytes(b" S 00001000,4\n" * 200_000 + b"no line\n")
    for name in ("t.npz", "t.csv", "t.bin", "t.lackey.gz"):
        with pytest.raises(TraceError, match=":200001: expected"):
            convert(path, tmp_path / name)
    assert [each.name for each in tmp_path.iterdir()] == ["s.lackey"]


def test_pages_too_large_for_an_address(tmp_path):
    save_trace(tmp_path / "s.npz", np.array([1 << 51]), np.array([True]), {"page_size": 1 << 21})
    with pytest.raises(TraceError, match="page 2251799813685248 of 2097152 bytes has no address of 64 bits"):
        convert(tmp_path / "s.npz", tmp_path / "t.lackey")
    save_trace(tmp_path / "s.npz", np.array([1]), np.array([True]), {}, time=np.array([1 << 60]))
    with pytest.raises(TraceError, match="does not fit oracleGeneral's 32 bits"):
        convert(tmp_path / "s.npz", tmp_path / "t.bin")


def test_lackey_keeps_meta(tmp_path):
    save_trace(tmp_path / "s.npz", np.array([1, 2]), np.array([True, False]), {"command": "a\nb", "window": 7})
    convert(tmp_path / "s.npz", tmp_path / "t.lackey")
    lines = (tmp_path / "t.lackey").read_text().splitlines()
    assert lines[2:] == [" S 00001000,1", " L 00002000,1"]
    assert all(line.startswith("==") for line in lines[:2])
    assert open_trace(tmp_path / "t.lackey").meta["window"] == 7
    (tmp_path / "t.lackey").write_text("==0== swaptable: {\n")
    with pytest.raises(TraceError, match="message 'swaptable:': expected JSON"):
        open_trace(tmp_path / "t.lackey")


# the parts that all formats share


@given(
    st.lists(st.integers(0, 7), max_size=9),
    st.integers(0, 12),
    st.none() | st.integers(0, 30),
    st.integers(1, 6),
)
def test_cut(sizes, skip, limit, size):
    number = np.arange(sum(sizes), dtype=np.uint64)
    ends = np.cumsum(sizes).tolist()
    parts = [number[end - n : end] for end, n in zip(ends, sizes, strict=True)]
    found = list(cut([Block(part, part % 2 == 0, None, part) for part in parts], skip, limit, size))
    wanted = number[skip : None if limit is None else skip + limit]
    assert all(len(block) == size for block in found[:-1])
    assert all(0 < len(block) <= size for block in found)
    whole = joined(found)
    assert whole.page.tolist() == wanted.tolist()
    assert whole.pid is None
    if len(wanted):
        assert whole.time.tolist() == wanted.tolist()


def test_expand_in_pieces():
    count = np.array([1, 1 << 20, 3, 2 << 20, 1, 1])
    first = np.arange(6, dtype=np.uint64) << np.uint64(30)
    pieces = list(expand(first, count, Block(first, np.arange(6) % 2 == 0)))
    assert [len(piece) for piece in pieces] == [1, 1 << 20, 3, 2 << 20, 2]
    whole = joined(pieces)
    assert whole.page[: (1 << 20) + 2].tolist() == [0, *range(1 << 30, (1 << 30) + (1 << 20)), 2 << 30]
    assert whole.write.sum() == 1 + 3 + 1


def test_objects_never_overlap_where_ids_fit():
    rng = np.random.default_rng(1)
    for pages in (1, 2, 16, 1 << 20):
        bits = 52 - (pages.bit_length() - 1)
        ids = np.unique(rng.integers(0, 1 << bits, 1000, dtype=np.uint64))
        first, count = object_spans(ids, np.full(len(ids), pages * 4096), pages, 12)
        assert (first == ids * np.uint64(pages)).all()
        assert (count == pages).all()
        hashed, _ = object_spans(ids | np.uint64(1 << 63), np.zeros(len(ids), np.int64), pages, 12)
        assert (hashed % np.uint64(pages) == 0).all()
        assert hashed.max() < 1 << 52
        assert len(np.unique(hashed)) == len(ids)
    assert [object_pages(n, 4096) for n in (0, 1, 4096, 4097, 12289, 1 << 32)] == [1, 1, 1, 2, 4, 1 << 20]


def test_page_set():
    pages = PageSet()
    wanted = set()
    for block in synthetic("zipf", 300_000, pages=1 << 22, alpha=0.3):
        pages.add(block.page)
        wanted |= set(block.page.tolist())
    assert pages.sorted().tolist() == sorted(wanted)
    assert len(PageSet().sorted()) == 0
