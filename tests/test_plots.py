# Plots: what is drawn, the files, and the CSV beside them.
# Imports the package; skips where matplotlib is not installed.
# Used by pytest.
import csv
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from swaptable.cli import main
from swaptable.thp_test import thp_test

pytest.importorskip("matplotlib")
plots = pytest.importorskip("swaptable.report.plots")


@pytest.fixture(scope="module")
def runs():
    options = {"iterations": 4, "seed": 1, "no_large_swapin": True}
    return {"search": thp_test(**options), "past": thp_test(contiguous=True, **options)}


def test_lines_are_the_results(runs):
    ax = plots.fallback(runs)
    assert [line.get_label() for line in ax.lines] == ["search", "past"]
    assert list(ax.lines[0].get_ydata()) == [done.percent for done in runs["search"]]
    assert set(ax.lines[1].get_ydata()) == {0.0}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iteration", "fallback, %")


def test_axes_of_the_callers_are_drawn_on_and_returned(runs):
    ax = plots.metadata(runs)
    assert plots.extents({"past": runs["past"]}, ax=ax) is ax
    assert len(ax.lines) == 3


def test_a_run_without_folios_past_the_end_has_no_extents(runs):
    (line,) = plots.extents(runs).lines
    assert line.get_label() == "past"
    assert line.get_color() == plots.COLOURS[1]  # of the same run in the other pictures


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_files(runs, tmp_path, ending):
    picture, table = plots.save_thp_test(tmp_path / f"x.{ending}", runs, "how it was made")
    assert picture.stat().st_size > 1000
    rows = list(csv.DictReader(table.open()))
    assert [row["run"] for row in rows] == ["search"] * 4 + ["past"] * 4
    assert [int(row["fallback"]) for row in rows[:4]] == [done.fallback for done in runs["search"]]
    if ending == "svg":
        ET.parse(picture)


def test_the_command(tmp_path, capsys):
    picture = tmp_path / "fallback.svg"
    assert main(["thp-test", "-n", "--iterations", "2", "--plot", str(picture)]) == 0
    assert capsys.readouterr().out.split() == [str(picture), str(picture.with_suffix(".csv"))]
    assert picture.exists()


def test_an_ending_that_is_no_picture(tmp_path, capsys):
    assert main(["thp-test", "--iterations", "1", "--plot", str(tmp_path / "x.doc")]) == 2
    assert "doc" in capsys.readouterr().err


def test_a_heat_map_of_clusters():
    rows = [
        {"order": 0, "filled": 512, "clusters": 3},
        {"order": 0, "filled": 511, "clusters": 2},
        {"order": 4, "filled": 17, "clusters": 1},
    ]
    figure = plots._pyplot().figure()
    ax = figure.add_subplot()
    assert plots.occupancy(rows, ax=ax) is ax
    shown = ax.collections[0].get_array()
    assert shown.shape == (10, 32)
    assert {(o, k): shown[o, k] for o, k in zip(*(~shown.mask).nonzero(), strict=True)} == {(0, 31): 5, (4, 1): 1}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("slots in use, of 512", "order")
    assert plots.occupancy([]).get_ylabel() == "order"


def test_bars_from_the_least_to_the_most():
    rows = [
        {"order": 0, "phase": "alloc", "threads": 1, "million_per_second": [3.0, 1.0, 2.0]},
        {"order": 0, "phase": "alloc", "threads": 2, "million_per_second": [4.0, 4.0, 6.0]},
        {"order": 4, "phase": "free", "threads": 1, "million_per_second": [5.0]},
    ]
    ax = plots.threads(rows)
    assert [list(line.get_ydata()) for line in ax.lines if line.get_linestyle() != "None"] == [[2.0, 4.0], [5.0]]
    (bars, one) = (bar.get_segments() for bar in ax.collections)
    assert [[end[1] for end in bar] for bar in bars] == [[1.0, 3.0], [4.0, 6.0]]
    assert [[end[1] for end in bar] for bar in one] == [[5.0, 5.0]]
    assert list(ax.get_legend_handles_labels()[1]) == ["alloc, order 0", "free, order 4"]


def test_latency(tmp_path):
    times = {"zswap0": np.arange(1000, 2001), "swap cache": np.array([500])}
    axes = plots.latency(times)
    zswap, cache = axes.lines
    assert (zswap.get_label(), cache.get_label()) == ("zswap0 (1,001)", "swap cache (1)")
    assert dict(zip(zswap.get_ydata(), zswap.get_xdata(), strict=True))[50] == 1.5
    assert set(cache.get_xdata()) == {0.5} and axes.get_xscale() == "log"
    assert plots.latency(times, ax=axes) is axes and plots.latency({}).get_xlabel() == "time of a swap-in, us"
    picture, table = plots.save_latency(tmp_path / "x.svg", times, "how it was made")
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 2 * 201 and ET.parse(picture)
    assert {row["microseconds"] for row in rows if row["from"] == "swap cache"} == {"0.500"}


def test_the_command_run(tmp_path, capsys):
    picture = tmp_path / "swap-ins.svg"
    command = ["run", "gcc", "--limit", "200000", "--memory", "30%", "--tier", "zswap:lz4:1M", "--tier", "memory:64M"]
    assert main([*command, "--plot", str(picture), "--json"]) == 0
    written = capsys.readouterr()
    assert str(picture) in written.err and str(picture.with_suffix(".csv")) in written.err
    found = json.loads(written.out)["swap_in_ns"]
    drawn = list(csv.DictReader(picture.with_suffix(".csv").open()))
    assert set(found) == {row["from"] for row in drawn} >= {"zswap0", "memory0"}
    for name, times in found.items():
        median = next(row for row in drawn if row["from"] == name and row["percent"] == "50.0")
        assert float(median["microseconds"]) == pytest.approx(times["p50"] / 1000, abs=0.001)
        assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["p100"]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("x.doc", r"x\.doc: expected a name that ends in \.svg, \.png or \.pdf"),
        ("none/x.svg", r"none/x\.svg: expected a folder that is there, not .*none"),
        ("app.svg", r"app\.csv is what is read; expected another name"),
    ],
)
def test_a_picture_that_cannot_be_is_refused_before_the_run(tmp_path, capsys, picture, message):
    trace = tmp_path / "app.csv"
    text = "".join(f"{k},{k % 40},4096,0\n" for k in range(400))
    trace.write_text(text)
    assert main(["run", str(trace), "--tier", "memory:4M", "--plot", str(tmp_path / picture)]) == 2
    written = capsys.readouterr()
    assert re.search(message, written.err) and not written.out
    assert trace.read_text() == text


def test_the_caption_is_the_command(tmp_path, capsys, monkeypatch):
    captions = []
    monkeypatch.setattr(plots, "save_latency", lambda path, times, caption: captions.append(caption) or [])
    command = ["run", "gcc", "--limit", "1000", "--mix", "random=100", "--tier", "memory:4M", "--plot", "a b.svg"]
    assert main(command) == 0
    assert captions[0].startswith("swaptable run gcc --limit 1000 --mix random=100 --tier memory:4M --plot 'a b.svg'\n")


def test_names_that_matplotlib_would_take_for_something_else(tmp_path):
    times = {"/var/tmp/a$_{$x": np.array([1000, 2000]), "_swap": np.array([3000])}
    axes = plots.latency(times)
    assert [text.get_text().strip() for text in axes.get_legend().get_texts()] == ["/var/tmp/a$_{$x (2)", "_swap (1)"]
    plots.save_latency(tmp_path / "x.svg", times, "run --tier file:/var/tmp/a$_{$x:64M")
