# The report of a comparison: the page's numbers are the JSON's, the CSVs' too, and a browser opens it.
# Imports the package; skips where matplotlib is not installed, and the browser's part where there is none.
# Used by pytest.
import csv
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from swaptable.cli import main
from swaptable.comparison import compare_all, default_designs
from swaptable.trace import save_trace

pytest.importorskip("matplotlib")
report = pytest.importorskip("swaptable.report")
dots = pytest.importorskip("swaptable.report.dots")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DOCS = Path(__file__).parent.parent / "docs" / "bytes-per-slot.csv"
DESIGNS = ("front-back:contiguous=yes", "swap-table-p4", "old", "vswap-24", "ghost", "zram")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of two traces, one of them drawn, at two limits, with tiers that one design has not."""
    path = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(4)
    trace = path / "some<&.npz"
    save_trace(trace, rng.integers(0, 3000, 8000, dtype=np.uint64), rng.random(8000) < 0.3, {"command": ["some"]})
    tiers = "zswap=10%,ssd=20%,hdd"
    options = ["--memory", "30%,50%", "--folio", "16K", "--seed", "5", "--runs", "1", "--tiers", tiers]
    designs = [argument for design in DESIGNS for argument in ("--design", design)]
    drawn = "synthetic:zipf,records=9000,pages=2500"
    where = path / "a" / "report"
    options += [*designs, "--report", str(where), "--output", "/dev/null"]
    assert main(["compare", str(trace), drawn, *options]) == 0
    return where


class Page(HTMLParser):
    """The numbers of a page by their path in the JSON, its pictures and links, the texts in them."""

    def __init__(self, text):
        super().__init__()
        self.numbers, self.figures, self.links, self.data, self.tags = {}, [], [], "", []
        self.path = self.script = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.path = attributes.get("data-json")
        self.script = tag == "script"
        if tag == "figure":
            self.figures.append(attributes["id"])
        if "href" in attributes and tag == "a":
            self.links.append(attributes["href"])

    def handle_data(self, text):
        if self.path:
            assert self.path not in self.numbers
            self.numbers[self.path] = text
        if self.script:
            self.data += text

    def handle_endtag(self, tag):
        self.path, self.script = None, False


def at(values, path):
    for key in path.split("/"):
        values = values[int(key)] if isinstance(values, list) else values[key]
    return values


def test_every_number_of_the_page_is_the_jsons(made):
    values = json.loads((made / "report.json").read_text())
    page = Page((made / "index.html").read_text())
    assert len(page.numbers) > 300
    for path, text in page.numbers.items():
        number = at(values, path)
        if number is None:
            assert text == "-", path
            continue
        digits = len(text.partition(".")[2])
        assert text.replace(",", "") == f"{number:.{digits}f}", path
        assert digits or number == int(number) or number > 1e5, path  # whole numbers are shown whole
    shown = {path.split("/")[1] for path in page.numbers if path.startswith("results/")}
    assert shown == {str(i) for i in range(len(values["results"]))}
    assert {path for path in page.numbers if path.endswith("bytes_per_slot") and path.startswith("usage/")} == {
        f"usage/{i}/bytes_per_slot" for i in range(len(values["usage"]))
    }
    assert json.loads(page.data) == values


def test_the_json_says_how_it_was_made(made):
    values = json.loads((made / "report.json").read_text())
    assert (values["schema"], values["command"], values["seed"]) == (2, "compare", 5)
    by = values["made_by"]
    assert by["command"].startswith("swaptable compare ")
    assert "--memory 30%,50%" in by["command"]
    assert {"version", "commit", "machine"} <= set(by)
    assert {"cpu", "kernel", "compiler"} <= set(by["machine"])
    assert [(load["trace"].endswith("some<&.npz"), load["memory"], load["seed"]) for load in values["workloads"]] == [
        (True, "30%", None), (True, "50%", None), (False, "30%", 5), (False, "50%", 5),
    ]  # fmt: skip
    text = (made / "index.html").read_text()
    for fact in (by["version"], "--memory 30%,50%", by["machine"]["cpu"], (by["commit"] or "unknown")):
        assert fact in text
    assert len(values["results"]) + len(values["refused"]) == 4 * len(DESIGNS)
    assert {one["design"] for one in values["refused"]} == {"zram"}
    assert "zram has no compressed pool of its own" in text


def test_each_plot_has_an_svg_and_a_csv_with_the_same_numbers(made):
    values = json.loads((made / "report.json").read_text())
    plots = {path.stem for path in made.glob("*.svg")}
    assert plots == {path.stem for path in made.glob("*.csv")}
    assert {"bytes-per-slot", "lookups", "locks", "ptes", "time", "usage-random"} <= plots
    for metric in dots.METRICS:
        if metric.name not in plots:
            assert not any(dots.value_at(result, metric.path) for result in values["results"])
            continue
        rows = list(csv.DictReader((made / f"{metric.name}.csv").open()))
        found = {(row["design"], k): row[label] for row in rows for k, label in enumerate(list(row)[1:])}
        for result in values["results"]:
            number = dots.value_at(result, metric.path)
            assert found[result["design"], result["workload"]] == ("" if number is None else str(number))
    for number in range(len(values["workloads"])):
        rows = list(csv.DictReader((made / f"clusters-{number}.csv").open()))
        assert rows
        assert [{"workload": number} | {key: int(value) for key, value in row.items()} for row in rows] == [
            row for row in values["occupancy"] if row["workload"] == number
        ]
    rows = list(csv.DictReader((made / "threads.csv").open()))
    assert [float(row["million_per_second"]) for row in rows] == [
        one for row in values["threads"] for one in row["million_per_second"]
    ]
    rows = list(csv.DictReader((made / "usage-random.csv").open()))
    usage = [point for point in values["usage"] if point["live"] == "random"]
    assert [float(row["bytes_per_slot"]) for row in rows] == [point["bytes_per_slot"] for point in usage]


def test_every_design_and_workload_is_named_in_the_plots(made):
    for path in made.glob("*.svg"):
        texts = {node.text for node in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")}
        # Against use the backend is said too, where it is not the same for all.
        texts |= {(text or "").partition(" (")[0] for text in texts}
        designs = {"front-back:contiguous=yes", "swap-table-p4", "old", "vswap-24", "ghost"}
        ours = path.stem == "threads" or path.stem.startswith("clusters-")
        assert ours or designs <= texts, path.name
        assert any("seed 5, commit" in (text or "") or "seed 5" in (text or "") for text in texts)


def test_nothing_comes_from_elsewhere(made):
    page = Page((made / "index.html").read_text())
    assert {link for link in page.links if "." in link} == {path.name for path in made.iterdir()} - {"index.html"}
    assert set(page.figures) == {f"plot-{path.stem}" for path in made.glob("*.svg")}
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed"), tag
        assert "src" not in attributes
        assert tag != "link" or attributes["href"] == "data:,"
        assert tag != "script" or attributes["type"] == "application/json"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "url(http" not in (made / "index.html").read_text()


def browse(path, picture):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
               "--window-size=1300,2400", f"--user-data-dir={picture.parent / 'profile'}", f"--screenshot={picture}",
               path.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_opens_it_without_a_word(made, tmp_path):
    picture = tmp_path / "page.png"
    assert browse(made / "index.html", picture) == []
    from matplotlib.image import imread

    pixels = imread(picture)[..., :3]
    assert pixels.shape == (2400, 1300, 3)
    # Not a blank page: the colours of the first marks are in it.
    for colour in dots.COLOURS[:3]:
        rgb = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        assert (np.abs(pixels - rgb).max(axis=2) < 0.2).sum() > 100, colour


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_page_with_an_error_is_told_from_one_without(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<script>nothing.here()</script>")
    assert "nothing is not defined" in " ".join(browse(page, tmp_path / "bad.png"))


def test_the_same_numbers_draw_the_same_files(made, tmp_path, monkeypatch):
    values = json.loads((made / "report.json").read_text())
    monkeypatch.setattr("swaptable.report.folder.present", lambda results: dots.METRICS[:2])
    written = report.save_report(tmp_path, values)
    assert len(written) == 2 + 2 * (4 + 4 + 1)
    for path in written:
        assert path.name == "index.html" or path.read_text() == (made / path.name).read_text(), path.name


def test_a_directory_that_cannot_be_made_is_refused_first(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["compare", "/does/not/exist", "--report", str(tmp_path / "file" / "x")]) == 1
    assert re.search("Not a directory", capsys.readouterr().err)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="wants a directory in which nobody can write")
def test_a_directory_without_room_for_files_is_refused_first(capsys):
    assert main(["compare", "/does/not/exist", "--report", "/proc/self"]) == 1
    assert capsys.readouterr().err.startswith("swaptable: /proc/self: ")


def test_axes_of_the_callers_are_drawn_on_and_returned():
    metric = dots.METRICS[0]
    ax = dots.dots({"a": {"old": 1.0, "ghost": None}, "b": {"old": 2.0, "ghost": 3.0}}, metric)
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1.0], [2.0, 3.0]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["old", "ghost"]
    assert dots.against_use({"old": [(1, 100.0), (100, 9.0)]}, ax=ax) is ax


def test_legends_say_in_what_workloads_differ():
    page = pytest.importorskip("swaptable.report.page")
    one = {"trace": "/x/a.npz", "memory": "50%", "folio": "4K", "seed": None}
    assert page.legends([one, one | {"trace": "b"}]) == (["a", "b"], "memory 50%, folios 4K")
    assert page.legends([one, one | {"memory": "30%"}]) == (["a, memory 50%", "a, memory 30%"], "folios 4K")
    assert page.legends([one, one])[0] == ["a", "a (2)"]
    assert page.legends([one, one | {"seed": 3}])[0] == ["a", "a, seed 3"]
    assert page.workload_name(one | {"seed": 3}) == "a, memory 50%, folios 4K, seed 3"


@pytest.mark.skipif(not DOCS.exists(), reason="no docs/ beside tests/")
def test_the_plot_of_the_readme_is_what_is_counted_today():
    rows = list(csv.DictReader(DOCS.open()))
    assert [row["design"] for row in rows] == default_designs()
    traces = [name for name in rows[0] if name != "design"]
    found = compare_all(traces, runs=1)
    for row in found.rows:
        said = next(one for one in rows if one["design"] == row.result.design)
        assert said[traces[row.workload]] == str(row.result.bytes_per_slot)
