# The traces that come with the package: there, small, described, and fit to be replayed.
# May import swaptable.trace, the replay, pytest.
# Run by pytest.
import json
import re
import shlex
from pathlib import Path

import pytest

from swaptable import cli, designs
from swaptable._replay import Machine
from swaptable._workload import load
from swaptable.replay import replay
from swaptable.trace import TraceError, default_trace, find_trace, named_trace, open_trace, trace_info, trace_names

DATA = default_trace().parent
README = (DATA / "README.md").read_text()
ROWS = dict(re.findall(r"^\| `([\w-]+)` \|(.*)\|$", README, re.MULTILINE))


def test_all_kinds_are_there():
    assert set(trace_names()) == {"gcc", "node", "python-data", "sort", "sqlite-index", "x264"}
    assert set(ROWS) == set(trace_names())
    assert sum(named_trace(name).stat().st_size for name in trace_names()) < 4 << 20


@pytest.mark.parametrize("name", trace_names())
def test_facts(name):
    info = trace_info(named_trace(name))
    assert info["file_bytes"] <= 800_000
    assert info["records"] == info["meta"]["records"] > 300_000
    assert not info["synthetic"]
    assert (info["tool"], info["meta"]["exit_status"], info["meta"]["interrupted"]) == ("pagetrace", 0, False)
    # A replay means something for memory well above the window.
    assert info["meta"]["window"] == 256
    assert info["distinct_pages"] > 10 * 256
    assert 0.05 < info["write_share"] < 0.9
    assert info["processes"] == info["meta"]["processes"]


@pytest.mark.parametrize("name", trace_names())
def test_the_readme_has_the_command(name):
    program, *arguments = open_trace(named_trace(name)).meta["argv"]
    assert f"`{shlex.join([Path(program).name, *arguments])}`" in ROWS[name]
    script = (DATA / "record.sh").read_text()
    assert f"-- {shlex.join([Path(program).name, *arguments])} ;;" in script
    assert f"-o {name}.npz " in script


@pytest.mark.parametrize("name", trace_names())
def test_it_replays_on_every_design(name):
    work = load(named_trace(name), 4)
    results = [replay(work, design, memory="40%") for design in ("swap-table", "old", "vswap-24")]
    assert len({json.dumps(result.vmstat) for result in results}) == 1
    assert results[0].events == len(work.events)
    assert results[0].vmstat["pswpout"] > 500
    assert results[0].vmstat["pswpin"] > 100


@pytest.mark.parametrize("name", trace_names())
def test_the_machine_is_sound_at_the_end(name):
    work = load(named_trace(name), 2)
    machine = Machine(designs.make("swap-table", 16384), work.pages, work.pages // 2, 2)
    machine.run(work.events)
    machine.check()
    machine.design.check()


def test_names():
    assert default_trace() == named_trace("sqlite-index") == find_trace("sqlite-index")
    with pytest.raises(TraceError, match=r"gc: no trace of this name comes with the package; there are gcc, node, "):
        named_trace("gc")
    with pytest.raises(
        TraceError, match=r"gc: no such file, and no trace of this name comes with the package; there are"
    ):
        find_trace("gc")
    for name in ("../data/gcc", "", "gcc.npz"):
        with pytest.raises(TraceError, match="no trace of this name"):
            named_trace(name)


def test_a_file_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_trace("gcc") == named_trace("gcc")
    (tmp_path / "gcc").write_bytes(b" S 00001000,4\n")
    assert find_trace("gcc") == Path("gcc")
    assert find_trace(tmp_path / "none.npz") == tmp_path / "none.npz"


# the command line


def run(capsys, *words):
    code = cli.main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


def test_list(capsys, tmp_path):
    code, out, _ = run(capsys, "trace", "list")
    assert code == 0
    head, *rows = out.splitlines()
    assert head.split()[:4] == ["name", "records", "writes", "pages"]
    assert [row.split()[0] for row in rows] == list(trace_names())
    assert "gcc -O2 -c -o gcc_source.o gcc_source.c" in out
    assert run(capsys, "trace", "list", "--json", "--output", str(tmp_path / "l.json"))[:2] == (0, "")
    listed = json.loads((tmp_path / "l.json").read_text())
    assert listed["schema"] == 1
    assert [each["name"] for each in listed["traces"]] == list(trace_names())
    assert all(each["footprint_bytes"] == 4096 * each["distinct_pages"] for each in listed["traces"])


def test_compare_takes_names(capsys):
    code, out, _ = run(capsys, "compare", "x264", "--design", "old", "--limit", "50000")
    assert code == 0
    assert out.startswith("x264: 50,000 accesses")
    code, _, err = run(capsys, "compare", "x265")
    assert (code, "x265: no such file, and no trace of this name" in err) == (1, True)


def test_info_of_a_name(capsys, tmp_path):
    code, out, _ = run(capsys, "trace", "info", "gcc")
    assert code == 0
    assert "recency window  256 pages" in out
    assert "SYNTHETIC" not in out
    assert run(capsys, "trace", "info", "gcc", "--json", "--limit", "1e3", "--output", str(tmp_path / "i"))[0] == 0
    assert json.loads((tmp_path / "i").read_text())["records"] == 1000


def test_convert(capsys, tmp_path):
    code, out, err = run(capsys, "trace", "convert", "gcc", str(tmp_path / "gcc.oracleGeneral"), "--limit", "70000")
    assert (code, "records         70,000" in out) == (0, True)
    assert "has no place for stores: every touch is a read there" in err
    assert "synthetic" not in err
    code, out, err = run(
        capsys, "trace", "convert", str(tmp_path / "gcc.oracleGeneral"), str(tmp_path / "t"), "--to", "csv"
    )
    assert (code, err) == (0, "")
    assert "csv columns     time-col=1, obj-id-col=2, obj-size-col=3, has-header=true, obj-id-is-num=true" in out
    code, out, _ = run(capsys, "trace", "info", str(tmp_path / "t"))
    assert (code, "object pages    1 page numbers for each object" in out) == (0, True)
    same = open_trace(tmp_path / "t").load()[0] == open_trace(named_trace("gcc"), limit=70_000).load()[0]
    assert same.all()
    code, _, err = run(capsys, "trace", "convert", "gcc", str(tmp_path / "t.png"))
    assert (code, "format to write is 't.png', which says none" in err) == (2, True)
    code, _, err = run(capsys, "trace", "info", str(tmp_path / "t"), "--csv", "obj-id-col=7")
    assert (code, ":2: expected at least 7 columns" in err) == (1, True)
    code, _, err = run(capsys, "trace", "info", "gcc", "--csv", "obj-id-col=x")
    assert (code, "csv has obj-id-col='x'" in err) == (2, True)


def test_generate(capsys, tmp_path):
    path = str(tmp_path / "z.npz")
    words = [
        "trace",
        "generate",
        "zipf",
        "-o",
        path,
        "--records",
        "1e5",
        "--pages",
        "1_000",
        "--alpha",
        "0.8",
        "--seed",
        "4",
    ]
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert "SYNTHETIC       swaptable trace generate zipf --records 100000 --seed 4 --pages 1000 --alpha 0.8" in out
    code, out, _ = run(capsys, "trace", "info", path)
    assert "SYNTHETIC       no program did this: zipf, pages=1000, alpha=0.8, write_share=0.3, seed=4" in out
    assert json.loads(run(capsys, *words, "--json")[1])["synthetic"] is True
    code, _, err = run(capsys, "trace", "generate", "fork-server", "-o", str(tmp_path / "f.csv"), "--records", "1000")
    assert (code, "the trace is synthetic, and csv has no place to say so" in err) == (0, True)
    code, _, err = run(capsys, "trace", "convert", path, str(tmp_path / "z.bin"))
    assert (code, "the trace is synthetic, and oracleGeneral has no place to say so" in err) == (0, True)
    for wrong in (["zapf", "-o", path], ["zipf"], ["zipf", "--records", "many"], ["zipf", "--stride", "1"]):
        assert run(capsys, "trace", "generate", *wrong, *["-o", path] * (len(wrong) > 2))[0] == 2
    code, _, err = run(capsys, "trace", "generate", "zipf", "-o", path, "--pages", "0")
    assert (code, "pages is 0; expected a whole number from 1 to" in err) == (2, True)


def test_expansion_is_told(capsys, tmp_path):
    regions = [{"start": 0, "end": 4096, "nr_accesses": 2}]
    path = tmp_path / "d.json"
    path.write_text(json.dumps([{"target_id": 1, "snapshots": [{"start_time": 0, "end_time": 1, "regions": regions}]}]))
    code, out, _ = run(capsys, "trace", "info", str(path), "--seed", "9")
    assert (code, "EXPANSION       of DAMON's samples, not accesses: a region with nr_accesses n" in out) == (0, True)
    code, _, err = run(capsys, "trace", "convert", str(path), str(tmp_path / "d.csv"))
    assert (code, "an expansion of samples, and csv has no place to say so" in err) == (0, True)


@pytest.mark.parametrize("command", ["list", "convert", "generate", "generate zipf", "info"])
def test_help_has_an_example(command, capsys):
    code, out, _ = run(capsys, "trace", *command.split(), "--help")
    assert code == 0
    assert f"swaptable trace {command.split()[0]}" in out.partition("xample")[2]
