# oracleGeneral: golden bytes by struct, damage, and what comes next against a model.
# May import swaptable.trace, numpy, pytest, hypothesis.
# Run by pytest.
import gzip
import lzma
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swaptable.trace import TraceError, convert, open_trace, save_trace, trace_info

NEVER = (1 << 63) - 1
REQUESTS = [(0, 7, 4096, 2), (0, 1 << 40, 100, NEVER), (5, 7, 4096, -1), (9, 3, 4097, -1)]


def packed(requests):
    return b"".join(struct.pack("<IQIq", *request) for request in requests)


def mixed(value):
    """SplitMix64's finaliser."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % (1 << 64)
    value = (value ^ value >> 27) * 0x94D049BB133111EB % (1 << 64)
    return value ^ value >> 31


@pytest.fixture
def file(tmp_path):
    def write(content, name="t.oracleGeneral"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def test_golden(file):
    path = file(packed(REQUESTS))
    trace = open_trace(path, columns=["time", "pid"])
    assert (trace.format, trace.meta["object_pages"]) == ("oracleGeneral", 2)
    (block,) = trace
    # The largest object has two pages, so every object has two page numbers.
    assert block.page.tolist() == [14, 1 << 41, 14, 6, 7]
    assert not block.write.any()
    assert block.time.tolist() == [0, 0, 5_000_000, 9_000_000, 9_000_000]
    assert block.pid is None
    assert open_trace(path, object_pages=1).load()[0].tolist() == [7, 1 << 40, 7, 3]
    assert open_trace(path, page_size=8192).load()[0].tolist() == [7, 1 << 40, 7, 3]
    assert next(iter(open_trace(path))).time is None


@pytest.mark.parametrize("name", ["t.oracleGeneral.zst", "t.oracleGeneral.gz", "t.bin.xz", "no-name"])
def test_compressed_and_recognised_by_content(file, name):
    if name.endswith("zst"):
        compress = pytest.importorskip("zstandard").compress
    else:
        compress = {"gz": gzip.compress, "xz": lzma.compress}.get(name[-2:], bytes)
    assert open_trace(file(compress(packed(REQUESTS)), name)).load()[0].tolist() == [14, 1 << 41, 14, 6, 7]


def test_not_taken_for_one(file):
    for content in (bytes(240), bytes(range(256)) * 3, packed([(9, 1, 1, -1), (5, 1, 1, -1)])):
        with pytest.raises(TraceError, match="unknown trace format"):
            open_trace(file(content, "t.unknown"))
    assert open_trace(file(packed([(9, 1, 1, -1), (5, 1, 1, -1)]), "t.bin")).load()[0].tolist() == [1, 1]
    assert open_trace(file(bytes(48), "t"), format="oracleGeneral").load()[0].tolist() == [0, 0]


@pytest.mark.parametrize("cut", [1, 23])
def test_cut_off(file, cut):
    path = file(packed(REQUESTS)[:-cut])
    for read in (lambda: open_trace(path), lambda: open_trace(path, object_pages=1).load()):
        with pytest.raises(TraceError) as error:
            read()
        assert str(error.value) == (
            f"{path}: byte 72: expected a record of 24 bytes (time u32, obj_id u64, obj_size u32, next_access_vtime "
            f"i64), found {24 - cut} at the end"
        )


def test_impossible_next_access(file):
    path = file(packed([*REQUESTS, (9, 3, 1, -2)]))
    with pytest.raises(TraceError, match=r"record 4 \(byte 96\): next_access_vtime is -2; expected the number"):
        open_trace(path).load()


def test_object_larger_than_said(file):
    path = file(packed([(0, 1, 4096, -1), (0, 2, 40960, -1)]))
    with pytest.raises(
        TraceError, match=r"record 1 \(byte 24\): object of 40960 bytes; .*object_pages must be 16 or more"
    ):
        open_trace(path, object_pages=8).load()
    assert len(open_trace(path, object_pages=16).load()[0]) == 11


def test_ids_that_do_not_fit(file):
    ids = [0, (1 << 52) - 1, 1 << 52, (1 << 64) - 1, 1 << 50]
    path = file(packed([(0, i, 0, -1) for i in ids]))
    wanted = [0, (1 << 52) - 1, mixed(1 << 52) >> 12, mixed((1 << 64) - 1) >> 12, 1 << 50]
    assert open_trace(path).load()[0].tolist() == wanted
    wide = [i << 4 if i < 1 << 48 else mixed(i) >> 16 << 4 for i in ids]
    assert open_trace(path, object_pages=16).load()[0].tolist() == wide


def test_large_objects_come_in_pieces(file):
    path = file(packed([(0, i, (1 << 32) - 1, -1) for i in range(4)]))
    blocks = [len(block) for block in open_trace(path, block=1 << 19)]
    assert blocks == [1 << 19] * 8
    assert trace_info(path, limit=3 << 19)["distinct_pages"] == 3 << 19


def test_across_blocks(file):
    number = np.arange(200_000)
    records = np.zeros(200_000, [("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
    records["id"], records["size"], records["next"] = number * 7, 512, -1
    path = file(records.tobytes())
    page = open_trace(path, skip=5, limit=150_000).load()[0]
    assert (page == number[5:150_005].astype(np.uint64) * np.uint64(7)).all()


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3 << 32)), max_size=60),
    st.sampled_from([".oracleGeneral", ".oracleGeneral.gz", ".bin.xz"]),
)
def test_written_and_read_again(tmp_path_factory, touches, suffix):
    folder = tmp_path_factory.mktemp("oracle")
    pages, times = [p << 44 for p, _ in touches], sorted(t for _, t in touches)
    source, target = folder / "s.npz", folder / f"t{suffix}"
    save_trace(source, np.array(pages, np.uint64), np.zeros(len(pages), bool), {}, time=np.array(times, np.uint64))
    info = convert(source, target)
    assert (info["records"], info["lost"]) == (len(pages), ["meta"])
    if not pages:
        return
    opener = {"gz": gzip.open, "xz": lzma.open}.get(suffix[-2:], open)
    with opener(target, "rb") as stream:
        found = list(struct.iter_unpack("<IQIq", stream.read()))
    following = [next((j for j in range(i + 1, len(pages)) if pages[j] == p), -1) for i, p in enumerate(pages)]
    assert found == [(t // 1_000_000, p, 4096, n) for t, p, n in zip(times, pages, following, strict=True)]
    assert open_trace(target, format="oracleGeneral").load()[0].tolist() == pages


def test_next_access_across_blocks(tmp_path):
    page = np.random.default_rng(8).integers(0, 40_000, 200_000, dtype=np.uint64)
    save_trace(tmp_path / "s.npz", page, np.zeros(len(page), bool), {})
    convert(tmp_path / "s.npz", tmp_path / "t.bin")
    found = np.fromfile(tmp_path / "t.bin", [("t", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])["next"]
    last, wanted = {}, np.empty(len(page), np.int64)
    for at in range(len(page) - 1, -1, -1):
        wanted[at] = last.get(int(page[at]), -1)
        last[int(page[at])] = at
    assert (found == wanted).all()
