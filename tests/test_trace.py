# Readers, writer and description of traces, on good files and on every kind of damage.
# May import swaptable.trace, numpy, pytest, hypothesis.
# Run by pytest.
import gzip
import json
import lzma
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swaptable.trace import TraceError, open_trace, save_trace, trace_info

LACKEY = b"""==42== Lackey, an example Valgrind tool
==42== Command: ./a.out -v
==42==
I  04000a70,3
 S 1ffefff5f8,8
I  04000a73,5
 L 04222c40,8
 M 0421cc70,4
--42-- a warning
 L 04222ffe,4
==42== done
"""
PAGES = [0x1FFEFFF, 0x4222, 0x421C, 0x4222, 0x4223]
WRITES = [True, False, True, False, False]


@pytest.fixture
def npz(tmp_path):
    """A trace of 1000 records, and its arrays."""
    rng = np.random.default_rng(1)
    page, write = rng.integers(0, 1 << 52, 1000, dtype=np.uint64), rng.random(1000) < 0.3
    path = tmp_path / "t.npz"
    save_trace(path, page, write, {"command": "./a.out", "page_size": 4096, "tool": "test"})
    return path, page, write


def _lackey(tmp_path, text, name="t.lackey"):
    path = tmp_path / name
    path.write_bytes(text)
    return path


def _arrays(tmp_path, **members):
    path = tmp_path / "made.npz"
    good = {"page": np.arange(4, dtype=np.uint64), "write": np.zeros(4, bool), "meta": '{"page_size": 4096}'}
    np.savez(path, **{name: value for name, value in (good | members).items() if value is not None})
    return path


def _load(path, **options):
    page, write = open_trace(path, **options).load()
    assert page.dtype == np.uint64
    assert write.dtype == bool
    return page.tolist(), write.tolist()


# lackey


def test_lackey(tmp_path):
    path = _lackey(tmp_path, LACKEY)
    assert _load(path) == (PAGES, WRITES)
    assert open_trace(path).meta == {"tool": "valgrind lackey", "page_size": 4096, "command": "./a.out -v"}


def test_lackey_instructions(tmp_path):
    page, write = _load(_lackey(tmp_path, LACKEY), instructions=True)
    assert page == [0x4000, 0x1FFEFFF, 0x4000, *PAGES[1:]]
    assert write == [False, True, False, *WRITES[1:]]


def test_lackey_page_size(tmp_path):
    assert _load(_lackey(tmp_path, b" S 0000fffe,4\n L 0001ffff,1\n"), page_size=65536)[0] == [0, 1, 1]
    assert _load(_lackey(tmp_path, b" L 00000fff,8193\n"))[0] == [0, 1, 2]


@pytest.mark.parametrize("name", ["t.gz", "t.xz", "t.zst", "named-anyhow"])
def test_lackey_compressed(tmp_path, name):
    if name.endswith("zst"):
        compress = pytest.importorskip("zstandard").compress
    else:
        compress = gzip.compress if name.endswith("gz") else lzma.compress
    path = _lackey(tmp_path, compress(LACKEY), name)
    assert _load(path) == (PAGES, WRITES)
    big = compress(b" L %08x,4\n" % 4096 * 200_000 + np.random.default_rng(2).bytes(3000).hex().encode())
    cut = _lackey(tmp_path, big[: len(big) - 500], name)
    with pytest.raises(TraceError, match="cut off or damaged after"):
        open_trace(cut).load()


def test_zstd_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(TraceError, match="pip install zstandard"):
        open_trace(_lackey(tmp_path, b"\x28\xb5\x2f\xfd rest", "t.zst"))


@pytest.mark.parametrize(
    "line",
    [
        b" L 04222c40",
        b" L 04222c40,",
        b" L ,8",
        b" L 0422xc40,8",
        b" L 04222c40,8x",
        b" L 04222c40,0",
        b" L 04222c40,a",
        b" L 04222c40,123456",
        b" L 00000000004222c40,8",
        b" L ffffffffffffffff,2",
        b" X 04222c40,8",
        b"L 04222c40,8",
        b"a program's own output",
        b"\x00\xff\x80",
        b" ",
    ],
)
def test_lackey_bad_line(tmp_path, line):
    path = _lackey(tmp_path, LACKEY + line + b"\n" + LACKEY)
    with pytest.raises(TraceError) as error:
        open_trace(path).load()
    assert str(error.value).startswith(f"{path}:12: expected ' L ADDR,SIZE'")


def test_lackey_last_line(tmp_path):
    assert _load(_lackey(tmp_path, b" L 00001000,4\n S 00002000,4"))[0] == [1, 2]
    with pytest.raises(TraceError, match=r":2: expected"):
        open_trace(_lackey(tmp_path, b" L 00001000,4\n S 0000")).load()


def test_lackey_binary(tmp_path):
    path = _lackey(tmp_path, np.random.default_rng(3).bytes(3 << 20).replace(b"\n", b" "), "t.unknown")
    with pytest.raises(TraceError, match="unknown trace format"):
        open_trace(path)
    with pytest.raises(TraceError, match=r":1: expected .* a line of over"):
        open_trace(path, format="lackey").load()


def test_lackey_nothing_but_messages(tmp_path):
    assert _load(_lackey(tmp_path, b"==1== Lackey\n\n==1== bye\n")) == ([], [])


@given(st.lists(st.tuples(st.sampled_from("LSMI"), st.integers(0, (1 << 64) - 5000), st.integers(1, 4999))))
def test_lackey_model(tmp_path_factory, accesses):
    page, write, text = [], [], b""
    for kind, address, size in accesses:
        text += f"{'I ' if kind == 'I' else ' ' + kind} {address:08x},{size}\n".encode()
        if kind != "I":
            pages = range(address >> 12, (address + size - 1 >> 12) + 1)
            page += pages
            write += [kind != "L"] * len(pages)
    path = _lackey(tmp_path_factory.mktemp("model"), b"==1==\n" + text)
    assert _load(path) == (page, write)


def test_lackey_across_chunks(tmp_path):
    address = np.random.default_rng(4).integers(0, 1 << 47, 200_000, dtype=np.uint64)
    text = b"".join(b" S %08x,1\n" % a for a in address.tolist())
    page, write = open_trace(_lackey(tmp_path, text)).load()
    assert (page == address >> np.uint64(12)).all()
    assert write.all()


# npz


def test_npz(npz):
    path, page, write = npz
    assert _load(path) == (page.tolist(), write.tolist())
    assert open_trace(path).meta == {"command": "./a.out", "page_size": 4096, "tool": "test"}
    with np.load(path) as members:
        assert (members["page"] == page).all()
        assert json.loads(str(members["meta"]))["tool"] == "test"


@pytest.mark.parametrize("compression", ["deflate", "lzma", "none"])
def test_npz_members(tmp_path, compression):
    path, one = tmp_path / "t.npz", np.ones(5, dtype=np.int64)
    save_trace(path, one, one > 0, {}, pid=one, time=one, compression=compression)
    assert _load(path) == ([1] * 5, [True] * 5)
    with np.load(path) as members:
        assert members["pid"].dtype == np.uint32
        assert members["time"].dtype == np.uint64


def test_npz_columns(tmp_path):
    path = tmp_path / "t.npz"
    save_trace(path, np.arange(5), np.zeros(5, bool), {}, pid=np.arange(5) * 2, time=np.arange(5) * 1000)
    plain = list(open_trace(path))
    assert [(block.pid, block.time) for block in plain] == [(None, None)]
    blocks = list(open_trace(path, columns=["time", "pid"], block=2, skip=1))
    assert [block.time.tolist() for block in blocks] == [[1000, 2000], [3000, 4000]]
    assert [block.pid.tolist() for block in blocks] == [[2, 4], [6, 8]]
    assert blocks[0].pid.dtype == np.uint32


def test_npz_is_the_same_file_each_time(tmp_path, monkeypatch):
    for name, time in (("a.npz", 1e9), ("b.npz", 1.5e9)):
        monkeypatch.setattr("time.time", lambda time=time: time)
        save_trace(tmp_path / name, np.arange(99), np.ones(99, bool), {"command": "x"})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_npz_by_numpy(tmp_path):
    assert _load(_arrays(tmp_path)) == ([0, 1, 2, 3], [False] * 4)
    assert _load(_arrays(tmp_path, page=np.empty(0, np.uint64), write=np.empty(0, bool))) == ([], [])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"page": None}, "expected a member named page"),
        ({"write": None}, "expected a member named write"),
        ({"meta": None}, "expected a member named meta"),
        ({"page": np.arange(4)}, "member page: expected one dimension of uint64, found .* of int64"),
        ({"page": np.array([1, "x"], dtype=object)}, "member page: expected"),
        ({"page": np.zeros((2, 2), np.uint64)}, "member page: expected one dimension"),
        ({"page": np.uint64(7)}, "member page: expected one dimension"),
        ({"write": np.zeros(4, np.uint8)}, "member write: expected one dimension of bool"),
        ({"write": np.zeros(5, bool)}, "member write has 5 elements, expected 4"),
        ({"write": np.array([0, 1, 2, 1], np.uint8).view(bool)}, "member write: record 2: expected 0 or 1"),
        ({"page": np.array([1, 2, 3, 1 << 52], np.uint64)}, r"record 3: page number 4503599627370496 is not below"),
        ({"pid": np.zeros(4)}, "member pid: expected one dimension of uint32"),
        ({"time": np.zeros(3, np.uint64)}, "member time has 3 elements"),
        ({"meta": np.arange(3)}, "member meta: expected one JSON text"),
        ({"meta": "{"}, "member meta: expected JSON"),
        ({"meta": "[1]"}, "expected a JSON object with page_size"),
        ({"meta": '{"page_size": 4095}'}, "expected a JSON object with page_size, a power of two"),
        ({"meta": '{"page_size": "4096"}'}, "expected a JSON object with page_size, a power of two"),
    ],
)
def test_npz_wrong_member(tmp_path, members, message):
    path = _arrays(tmp_path, **members)
    with pytest.raises(TraceError, match=message) as error:
        open_trace(path).load()
    assert str(path) in str(error.value)


@pytest.mark.parametrize("compression", ["deflate", "lzma", "none"])
def test_npz_every_damage_is_told(tmp_path, compression):
    path, bad, rng = tmp_path / "t.npz", tmp_path / "bad.npz", np.random.default_rng(5)
    page, write = rng.integers(0, 1 << 40, 300, dtype=np.uint64), rng.random(300) < 0.5
    save_trace(path, page, write, {}, compression=compression)
    data = path.read_bytes()
    for cut in range(0, len(data), 97):
        bad.write_bytes(data[:cut])
        with pytest.raises(TraceError, match=r"bad\.npz"):
            open_trace(bad).load()
    for at in range(0, len(data), 41):
        bad.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            loaded = _load(bad)
        except TraceError:
            continue
        # Bytes that nobody reads, such as a member's date, may change; the content may not.
        assert loaded == (page.tolist(), write.tolist())


def test_npz_states_more_than_it_has(npz, tmp_path):
    path, _, _ = npz
    bad = tmp_path / "bad.npz"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[: -8 if name == "page.npy" else None])
    with pytest.raises(TraceError, match="member page: expected 1000 elements, found 999"):
        open_trace(bad).load()


def test_save_refuses(tmp_path):
    path, page, write = tmp_path / "t.npz", np.arange(3), np.zeros(3, bool)
    for bad in (page * 1.0, np.array([-1, 0, 0]), np.array([0, 0, 1 << 52]), np.zeros((1, 3), int)):
        with pytest.raises(ValueError, match="page "):
            save_trace(path, bad, write, {})
    for bad in (page, write[:2]):
        with pytest.raises(ValueError, match="write has"):
            save_trace(path, page, bad, {})
    with pytest.raises(ValueError, match="compression"):
        save_trace(path, page, write, {}, compression="zip")
    with pytest.raises(TraceError, match="cannot be written"):
        save_trace(tmp_path / "no" / "t.npz", page, write, {})
    assert list(tmp_path.iterdir()) == []


# opening and streaming


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"\x7fELF\x02\x01\x01", b"SWAPSPACE2", gzip.compress(b"PK\x03\x04")]
)
def test_unknown_content(tmp_path, content):
    with pytest.raises(TraceError, match=r"t\.bin: .*"):
        open_trace(_lackey(tmp_path, content, "t.bin"))


def test_no_file(tmp_path):
    with pytest.raises(TraceError, match="no such file"):
        open_trace(tmp_path / "none.npz")
    with pytest.raises(TraceError, match="not a regular file"):
        open_trace(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"format": "pcap"},
        {"page_size": 1000},
        {"page_size": 0},
        {"skip": -1},
        {"limit": -1},
        {"block": 0},
        {"columns": ["time", "size"]},
        {"csv": "obj-id-col=0"},
        {"object_pages": 3},
        {"object_pages": 0},
        {"seed": -1},
    ],
)
def test_bad_options(npz, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        open_trace(npz[0], **options)


@pytest.mark.parametrize("skip", [0, 1, 99, 100, 101, 999, 1000, 5000])
@pytest.mark.parametrize("limit", [None, 0, 1, 99, 100, 101, 250, 5000])
def test_blocks(npz, skip, limit):
    path, page, write = npz
    wanted = slice(skip, None if limit is None else skip + limit)
    trace = open_trace(path, skip=skip, limit=limit, block=100)
    blocks = list(trace)
    assert all(len(block) == 100 for block in blocks[:-1])
    assert all(0 < len(block) <= 100 for block in blocks[-1:])
    assert [p for block in blocks for p in block.page.tolist()] == page[wanted].tolist()
    assert [w for block in blocks for w in block.write.tolist()] == write[wanted].tolist()
    assert (trace.load()[0] == page[wanted]).all()


def test_lackey_blocks(tmp_path):
    path = _lackey(tmp_path, b"".join(b" L %06x000,4\n" % i for i in range(1000)))
    trace = open_trace(path, skip=10, limit=700, block=64)
    assert [len(block) for block in trace] == [64] * 10 + [60]
    assert trace.load()[0].tolist() == list(range(10, 710))


def test_info(npz, tmp_path):
    path, page, write = npz
    info = trace_info(path)
    assert info["records"] == 1000
    assert info["writes"] == write.sum()
    assert info["write_share"] == write.mean()
    assert info["distinct_pages"] == len(np.unique(page))
    assert info["footprint_bytes"] == 4096 * info["distinct_pages"]
    assert info["file_bytes"] == path.stat().st_size
    assert (info["command"], info["tool"], info["page_size"]) == ("./a.out", "test", 4096)
    empty = trace_info(_lackey(tmp_path, b"==1==\n"))
    assert (empty["records"], empty["distinct_pages"], empty["write_share"]) == (0, 0, 0.0)


def test_name_decides_where_content_does_not(tmp_path):
    for name, said in (
        ("t.npz", "zip archive is damaged"),
        ("t.iolog", "expected 'fio version 2"),
        ("t.json.gz", "a list of damo records"),
    ):
        with pytest.raises(TraceError, match=said):
            open_trace(_lackey(tmp_path, b"\x01\x02nothing known", name)).load()


def test_content_goes_before_the_name(tmp_path):
    assert open_trace(_lackey(tmp_path, LACKEY, "t.csv")).format == "lackey"
    assert open_trace(_lackey(tmp_path, LACKEY, "t.oracleGeneral")).load()[0].tolist() == PAGES


def test_zlib_by_its_content_only(tmp_path):
    import zlib

    assert _load(_lackey(tmp_path, zlib.compress(LACKEY))) == (PAGES, WRITES)
    with pytest.raises(TraceError, match="cut off or damaged"):
        open_trace(_lackey(tmp_path, zlib.compress(LACKEY * 999)[:-9]), format="lackey").load()
    # Two bytes that could be zlib's, of a text that is not.
    with pytest.raises(TraceError, match=":1: expected ' L ADDR"):
        open_trace(_lackey(tmp_path, b"x\x9c no zlib\n"), format="lackey").load()
