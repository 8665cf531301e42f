# Synthetic traces: the same for the same seed, with the properties that each kind states, and said to be synthetic.
# May import swaptable.trace and its modules, numpy, pytest.
# Run by pytest.
import numpy as np
import pytest

from swaptable.replay import replay
from swaptable.trace import TraceError, generate, open_trace, synthetic, trace_info
from swaptable.trace._block import joined
from swaptable.trace.generate import KINDS

SMALL = {
    "zipf": {"pages": 1000},
    "sequential": {"pages": 1000},
    "usemem": {"processes": 3, "pages": 500, "slice": 16},
    "fork-server": {"image": 800, "children": 4, "touches": 700, "private": 50},
    "phases": {"pages": 2000, "working_set": 300, "phase": 5000},
}
SHIFT = np.uint64(36)


def whole(kind, records, **parameters):
    return joined(list(synthetic(kind, records, **parameters)))


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_trace(kind, tmp_path):
    a, b, c = (whole(kind, 200_000, seed=seed, **SMALL[kind]) for seed in (7, 7, 8))
    for x, y in zip(a.columns(), b.columns(), strict=True):
        assert (x is None and y is None) or (x == y).all()
    assert (a.page != c.page).any() or (a.write != c.write).any()
    assert (len(a), a.page.dtype, a.write.dtype) == (200_000, np.uint64, bool)
    # What is asked for does not change what comes before.
    assert (whole(kind, 70_001, seed=7, **SMALL[kind]).page == a.page[:70_001]).all()
    for name in ("a.npz", "b.npz"):
        generate(kind, tmp_path / name, 5000, seed=1, **SMALL[kind])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_says_that_it_is_synthetic(kind, tmp_path):
    path = tmp_path / "t.npz"
    made = generate(kind, path, 20_000, seed=3, **SMALL[kind])
    info = trace_info(path)
    assert (info["synthetic"], info["records"], info["tool"]) == (True, 20_000, "swaptable trace generate")
    assert (info["meta"]["kind"], info["meta"]["seed"]) == (kind, 3)
    assert info["meta"]["parameters"] == {**{n: p.default for n, p in KINDS[kind].parameters.items()}, **SMALL[kind]}
    assert info["command"].startswith(f"swaptable trace generate {kind} --records 20000 --seed 3 --")
    assert made["meta" if "meta" in made else "parameters"] == info["meta"]["parameters"]
    assert generate(kind, tmp_path / "t.csv", 100, **SMALL[kind])["lost"][0] == "meta"


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_replayed(kind, tmp_path):
    generate(kind, tmp_path / "t.npz", 30_000, **SMALL[kind])
    result = replay(tmp_path / "t.npz", "swap-table", memory="50%")
    assert result.events == 30_000
    assert result.vmstat["pswpout"] > 0


def test_zipf():
    block = whole("zipf", 1_000_000, pages=1000, alpha=1.0, write_share=0.25)
    assert block.page.max() < 1000
    count = np.sort(np.bincount(block.page.astype(int), minlength=1000))[::-1]
    wanted = 1e6 / np.arange(1, 1001) / (1 / np.arange(1, 1001)).sum()
    # Five standard deviations of a count.
    assert (abs(count - wanted)[:100] < 5 * np.sqrt(wanted[:100])).all()
    assert abs(block.write.mean() - 0.25) < 0.005
    even = np.bincount(whole("zipf", 1_000_000, pages=1000, alpha=0.0).page.astype(int), minlength=1000)
    assert abs(even - 1000).max() < 5 * np.sqrt(1000)
    # Popular pages are not the first ones.
    assert abs(np.argsort(-count)[:100].mean() - np.arange(100).mean()) < 1000
    popular = np.argsort(-np.bincount(block.page.astype(int), minlength=1000))[:100]
    assert popular.mean() > 300


def test_sequential():
    block = whole("sequential", 200_000, pages=1500, stride=7, write_share=0.0)
    assert (block.page == np.arange(200_000, dtype=np.uint64) * np.uint64(7) % np.uint64(1500)).all()
    assert not block.write.any()
    assert whole("sequential", 1000, write_share=1).write.all()


def test_usemem():
    block = whole("usemem", 100_000, processes=5, pages=300, slice=64)
    assert block.write.all()
    assert (block.pid == block.page >> SHIFT).all()
    for pid in range(5):
        own = block.page[block.pid == pid] - (np.uint64(pid) << SHIFT)
        assert (own == np.arange(len(own), dtype=np.uint64) % np.uint64(300)).all()
    slices = block.pid[: 300 * 5 * 64].reshape(300, 5, 64)
    assert (slices == slices[:, :, :1]).all()
    assert (np.sort(slices[:, :, 0]) == np.arange(5)).all()
    assert len(np.unique(slices[:, :, 0], axis=0)) > 20


def test_phases():
    block = whole("phases", 100_000, pages=2000, working_set=300, phase=10_000, shift=0.5)
    for number in range(10):
        page = block.page[number * 10_000 : (number + 1) * 10_000].astype(int)
        assert set((page - 150 * number) % 2000) == set(range(300))
    assert set(whole("phases", 50_000, pages=100, working_set=100, phase=7, shift=0).page.tolist()) == set(range(100))


def test_fork_server():
    image, children, touches, private = 500, 4, 600, 40
    block = whole(
        "fork-server",
        90_000,
        image=image,
        children=children,
        touches=touches,
        private=private,
        shared=0.7,
        write_share=0.2,
    )
    page, write, pid = block.page.tolist(), block.write.tolist(), block.pid.tolist()
    assert page[:image] == list(range(image))
    assert all(write[:image])
    assert set(pid[:image]) == {0}
    copies, last, made, broken = {}, {}, {}, None
    for number in range(image, len(page)):
        space, who = page[number] >> 36, pid[number]
        index = page[number] & (1 << 36) - 1
        made[who] = made.get(who, 0) + (broken is None)
        last[who] = number
        if broken is not None:  # the write that a read of the shared page was for
            assert (space, index, who, write[number]) == (who, *broken, True)
            broken = None
        elif space == 0:
            assert index < image
            assert not write[number]
            # A child that has a copy does not look at the shared page again.
            assert (who, index) not in copies
            following = number + 1 < len(page) and page[number + 1] == who << 36 | index
            if following and write[number + 1] and (who, index) not in copies:
                copies[who, index] = number + 1
                broken = (index, who)
        else:
            assert space == who
            assert index >= image or (who, index) in copies
            assert index < image + private
            assert index < image or write[number]
    assert len(copies) > 100
    assert sorted(made) == list(range(1, len(made) + 1))
    assert all(count == touches for who, count in made.items() if who <= len(made) - children)
    # A child that has exited does not come back: its generation ends before the next begins.
    for first in range(1, len(made) - 2 * children, children):
        ended = max(last[who] for who in range(first, first + children))
        begun = min(i for i in range(image, len(page)) if first + children <= pid[i] < first + 2 * children)
        assert ended < begun


def test_parameters_are_checked(tmp_path):
    for kind, options, message in (
        ("zapf", {}, "kind is 'zapf'; expected one of zipf, sequential"),
        ("zipf", {"records": 0}, "records=0, seed=0; expected records >= 1"),
        ("zipf", {"seed": -1}, "records=1000000, seed=-1; expected records >= 1 and seed >= 0"),
        ("zipf", {"stride": 1}, "zipf has no stride; expected some of pages, alpha, write_share"),
        ("zipf", {"pages": 0}, "pages is 0; expected a whole number from 1 to"),
        ("zipf", {"pages": 1.5}, "pages is 1.5; expected a whole number"),
        ("zipf", {"alpha": -0.1}, "alpha is -0.1; expected a number from 0 to 10"),
        ("zipf", {"write_share": float("nan")}, "write_share is nan; expected a number from 0 to 1"),
        ("phases", {"working_set": 70_000}, "working_set is 70000; expected at most pages, 65536"),
        (
            "fork-server",
            {"records": 80_000, "touches": 1, "image": 1},
            "records is 80000; expected fewer, or more touches",
        ),
    ):
        with pytest.raises(ValueError, match="expected") as error:
            generate(kind, tmp_path / "t.npz", **options)
        assert str(error.value).startswith(message)
    with pytest.raises(TraceError, match="cannot be written"):
        generate("zipf", tmp_path / "none" / "t.npz", 10)
    assert list(tmp_path.iterdir()) == []


def test_formats(tmp_path):
    for name in ("t.npz", "t.lackey.gz", "t.csv", "t.bin"):
        generate("usemem", tmp_path / name, 10_000, processes=2, pages=100)
        assert (open_trace(tmp_path / name).load()[0] == whole("usemem", 10_000, processes=2, pages=100).page).all()
