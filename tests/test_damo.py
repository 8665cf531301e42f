# damo records: the fields of several versions, the rule by which samples become touches, and damage.
# May import swaptable.trace and its JSON reader, numpy, pytest, hypothesis.
# Run by pytest.
import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swaptable.trace import TraceError, open_trace, trace_info
from swaptable.trace._json_stream import JsonStream

INTERVALS = {"sample_us": "5,000", "aggr_us": "100 ms", "ops_update_us": "1 s"}
P = 4096


def region(start, end, samples, age=0):
    return {"start": start, "end": end, "nr_accesses": samples, "age": age}


def record(snapshots, target=0, intervals=None, **more):
    head = {"kdamond_idx": 0, "context_idx": 0, "intervals": intervals, "scheme_idx": None, "target_id": target}
    spans = [{"start_time": b, "end_time": e, "regions": regions} for b, e, regions in snapshots]
    return head | {"snapshots": spans} | more


@pytest.fixture
def file(tmp_path):
    def write(content, name="t.data"):
        path = tmp_path / name
        content = content if isinstance(content, (str, bytes)) else json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


GOLDEN = [record([(0, 4000, [region(0, 2 * P, 3), region(10 * P, 11 * P, 1), region(20 * P, 99 * P, 0)])])]


def golden(seed):
    """The rule once more, in Python: three steps, one region in all of them and one in a drawn one."""
    rank = np.random.default_rng([seed, 0]).random((2, 3)).argsort(1).argsort(1)
    return [page for step in range(3) for page in [0, 1] + [10] * bool(rank[1, step] < 1)]


@pytest.mark.parametrize("seed", [0, 1, 2, 77])
def test_golden(file, seed):
    path = file(GOLDEN)
    trace = open_trace(path, seed=seed, columns=["time", "pid"])
    (block,) = trace
    assert block.page.tolist() == golden(seed)
    assert not block.write.any()
    assert not block.pid.any()
    assert set(block.time.tolist()) == {0, 1, 2}
    assert open_trace(path, seed=seed).load()[0].tolist() == golden(seed)


def test_seeds_differ(file):
    assert len({tuple(open_trace(file(GOLDEN), seed=seed).load()[0].tolist()) for seed in range(20)}) == 3


def test_it_says_what_it_is(file):
    info = trace_info(file(zlib.compress(json.dumps(GOLDEN).encode())), seed=5)
    assert (info["format"], info["expansion_of_samples"], info["synthetic"]) == ("damo", True, False)
    assert (info["meta"]["seed"], info["records"], info["distinct_pages"]) == (5, 7, 3)
    assert "drawn by seed" in info["meta"]["rule"]


def test_steps_of_the_intervals(file):
    path = file([record([(0, 100e6, [region(0, P, 20), region(P, 2 * P, 5)])], intervals=INTERVALS)])
    (block,) = open_trace(path, columns=["time"])
    assert block.page.tolist().count(0) == 20
    assert block.page.tolist().count(1) == 5
    assert sorted(set(block.time.tolist())) == [5000 * step for step in range(20)]


@pytest.mark.parametrize(
    ("start", "end", "samples"),
    [
        (0, P, 10),
        ("0", "4096", "10"),
        ("0", "4,096", {"samples": 10, "percent": None}),
        ("0 B", "4.000 KiB", {"samples": "10", "percent": "99 %"}),
        ("0", "4K", {"samples": None, "percent": 50}),
        (0.0, 4096.0, {"percent": "50 %"}),
        ("0", "4096 B", "10 samples"),
    ],
)
def test_field_types_of_versions(file, start, end, samples):
    for begin, stop in ((0, 10**8), ("0", "100,000,000"), ("0 ns", "100 ms"), ("0 h 0 m 0 s", "0.1 s"), (None, 10**8)):
        path = file([record([(begin, stop, [region(start, end, samples, "3 aggr_intervals")])], intervals=INTERVALS)])
        assert open_trace(path).load()[0].tolist() == [0] * 10


def test_what_may_be_missing_or_more(file):
    one = {
        "target_id": 3,
        "snapshots": [{"start_time": 1, "end_time": 2, "regions": [{"start": 0, "end": 1, "nr_accesses": 1}]}],
    }
    for content in (one, [one], {**one, "new_field": {"a": [1, {"b": None}]}}):
        assert open_trace(file(content), format="damo").load()[0].tolist() == [0]
    for content in ([], [record([])], [record([(0, 1, [])])]):
        assert len(open_trace(file(content)).load()[0]) == 0
    # damo's mark for the end of a single snapshot.
    assert len(open_trace(file([record([(0, 1, [region(0, 0, -1, -1)])])])).load()[0]) == 0


def test_targets_in_the_order_of_time(file):
    records = [
        record([(0, 10_000, [region(0, P, 1)]), (20_000, 30_000, [region(P, 2 * P, 1)])], target=7),
        record([(10_000, 20_000, [region(0, P, 1)])], target="other"),
        record([(15_000, 20_000, [region(5 * P, 6 * P, 1)])], target=7, scheme_idx=1),
    ]
    (block,) = open_trace(file(records), columns=["pid", "time"])
    assert block.page.tolist() == [0, 1 << 36, 5, 1]
    assert block.pid.tolist() == [0, 1, 0, 0]
    assert block.time.tolist() == [0, 10, 15, 20]
    assert trace_info(file(records))["processes"] == 2


def test_keys_in_another_order(file):
    turned = [
        dict(reversed(list(each.items()))) for each in [record([(0, 1, [region(0, 1, 1)])], target=t) for t in (1, 2)]
    ]
    assert open_trace(file(turned)).load()[0].tolist() == [0, 1 << 36]


def test_large_regions_in_blocks(file):
    path = file([record([(0, 1, [region(0, 300_000 * P, 1), region(1 << 40, (1 << 40) + 1, 1)])])])
    trace = open_trace(path, skip=299_990)
    assert trace.load()[0].tolist() == [*range(299_990, 300_000), 1 << 28]
    assert [len(block) for block in open_trace(path)] == [65536] * 4 + [300_001 - 4 * 65536]


def test_page_size(file):
    assert open_trace(file([record([(0, 1, [region(P, 5 * P, 1)])])]), page_size=16384).load()[0].tolist() == [0, 1]


TEXT = json.dumps(GOLDEN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT[:-1], r"byte \d+: expected ',' or '\]', found the end"),
        (TEXT[:200], r"byte \d+: expected a snapshot, as JSON \(.*\), found"),
        (TEXT.replace('"end"', "end", 1), r"byte 1\d\d: expected a snapshot, as JSON \(Expecting property name"),
        (TEXT + "x", "byte [0-9]+: expected the end of the file, found 'x'"),
        ("[1]", "byte 1: expected a damo record, found '1]'"),
        ('[{"snapshots": 5}]', "byte 15: expected a list of snapshots, found '5}]'"),
        (
            '[{"snapshots": [5]}]',
            r"byte 16: expected a snapshot with start_time, end_time and a list of regions, found 5 \(sn",
        ),
        ('[{"target_id": 1}]', "byte 17: expected a damo record with snapshots before here, it has target_id"),
        ('[{"snapshots" 1}]', "byte 14: expected ':', found '1}]'"),
        ([record([("x", 1, [])])], "expected start_time and end_time in nanoseconds, in that order"),
        ([record([(5, 1, [])])], "expected start_time and end_time in nanoseconds, in that order"),
        ([record([(0, 1, [7])])], "expected a region with start, end and nr_accesses, found 7"),
        ([record([(0, 1, [region("a", 1, 1)])])], "expected a region with numbers start, end and nr_accesses, found"),
        ([record([(0, 1, [region(0, 1, None)])])], "expected a region with numbers start, end and nr_accesses, found"),
        ([record([(0, 1, [region(0, 1, {"percent": 50})])])], "expected a region with numbers"),
        ([record([(0, 1, [region(2, 1, 1)])])], "expected a region with start < end"),
        ([record([(0, 1, [region(0, 1, -1)])])], "expected a region with start < end and 0 to 65536 nr_accesses"),
        (
            [record([(0, 1, [region(0, 1 << 49, 1)])])],
            r"snapshot 0: region ends at 562949953421312; expected below 2\*\*36",
        ),
        (b'[{"snapshots": [{"start_time": "\xff"}]}]', r"byte \d+: expected UTF-8 text, found"),
        ("[" + "[" * 9999, "expected a damo record"),
        ('[{"a":' + "[" * 99999, "expected the value of a, as JSON"),
    ],
)
def test_bad_content(file, content, message):
    path = file(content)
    with pytest.raises(TraceError, match=message) as error:
        open_trace(path, format="damo").load()
    assert str(error.value).startswith(f"{path}: ")


def test_cut_off_compressed(file):
    whole = zlib.compress(json.dumps([record([(i, i + 1, [region(0, P * i, 1)]) for i in range(1, 9999)])]).encode())
    with pytest.raises(TraceError, match="compressed data is cut off or damaged after"):
        open_trace(file(whole[: len(whole) // 2])).load()


def test_too_many_targets(file):
    records = [record([], target=i) for i in range(65_537)]
    with pytest.raises(TraceError, match="expected at most 65536 targets"):
        open_trace(file(records)).load()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50),
            st.integers(0, 3),
            st.lists(st.tuples(st.integers(0, 99), st.integers(1, 9), st.integers(0, 6)), max_size=5),
        ),
        max_size=8,
    ),
    st.integers(0, 9),
)
def test_touches_are_as_many_as_samples(tmp_path_factory, snapshots, seed):
    path = tmp_path_factory.mktemp("damo") / "t.json"
    records = [
        record([(t, t + 1, [region(s * P, (s + n) * P, a) for s, n, a in regions])], target=who)
        for t, who, regions in snapshots
    ]
    path.write_text(json.dumps(records, indent=4))
    page, _ = open_trace(path, seed=seed).load()
    spaces, wanted = {}, {}
    for _, who, regions in snapshots:
        space = spaces.setdefault(who, len(spaces))
        for start, length, samples in regions:
            for number in range(start, start + length):
                wanted[number | space << 36] = wanted.get(number | space << 36, 0) + samples
    found = dict(zip(*(part.tolist() for part in np.unique(page, return_counts=True)), strict=True))
    assert found == {number: count for number, count in wanted.items() if count}
    assert page.tolist() == open_trace(path, seed=seed).load()[0].tolist()


# the JSON reader itself


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    ),
    st.integers(1, 9),
)
@settings(max_examples=50)
def test_json_in_pieces(value, size):
    text = json.dumps(value, ensure_ascii=False).encode()
    stream = JsonStream((text[at : at + size] for at in range(0, len(text), size)), "t")
    assert stream.value("a value") == value
    assert stream.peek() == ""


@given(st.lists(st.integers() | st.text(max_size=9)), st.integers(1, 30))
def test_json_items(values, size):
    text = json.dumps(values, indent=1).encode()
    stream = JsonStream((text[at : at + size] for at in range(0, len(text), size)), "t")
    assert [stream.value("an item") for _ in stream.items("[]", "a list")] == values
