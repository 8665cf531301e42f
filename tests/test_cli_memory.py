# The command `memory`: what it prints, its JSON, and what it refuses.
# Imports the command line, pytest.
# Used by pytest.
import json

import pytest

from swaptable import cli, designs
from swaptable.published import FORMULAS, MIB, find


def table(capsys, *args):
    assert cli.main(["memory", *args]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def report(capsys, *args):
    assert cli.main(["memory", "--json", *args]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_letters_table(capsys):
    title, head, *rows = table(capsys)
    assert title.startswith("32 GiB device, MiB of metadata by use")
    assert head.split()[:3] == ["design", "data", "in"]
    cells = {tuple(row.split()[:2]): row.split()[2:] for row in rows if "," not in row}
    assert cells["old", "zswap"][:5] == ["25.000", "57.000", "89.000", "121.000", "153.000"]
    assert cells["vswap-24", "disk"][:5] == ["2.000", "66.250", "130.500", "194.750", "259.000"]
    assert cells["swap-table-p4", "disk"] == ["0.750", "20.750", "40.750", "60.750", "80.750", "10.09", "derived"]
    assert {row.split()[0].rstrip(",") for row in rows} == set(designs.names())


def test_published_json(capsys):
    found = report(capsys, "--size", "32G", "--use", "100,50", "--backend", "zswap")
    assert set(found) == {"schema", "command", "mode", "size", "slots", "live", "seed", "results"}
    assert (found["schema"], found["command"], found["mode"]) == (1, "memory", "published")
    assert (found["size"], found["slots"]) == (32 << 30, 8388608)
    assert {result["backend"] for result in found["results"]} == {"zswap"}
    for result in found["results"]:
        assert set(result) == {"design", "spec", "backend", "origin", "source", "use", "bytes", "bytes_per_slot"}
        assert result["use"] == [50, 100]
        assert result["bytes"][1] == find(result["design"], "zswap").bytes(8388608, 8388608)


def test_measured(capsys):
    title, _, *rows = table(capsys, "--mode", "measured", "--size", "64M")
    assert title == "64 MiB device, MiB of metadata by use, measured, full-clusters"
    assert len(rows) == sum(formula.spec is not None for formula in FORMULAS)
    found = report(capsys, "--mode", "measured", "--size", "64M", "--design", "swap-table-p4", "--use", "0,100")
    assert [(one["backend"], one["use"]) for one in found["results"]] == [
        ("disk", 0),
        ("disk", 100),
        ("zswap", 0),
        ("zswap", 100),
    ]
    for one in found["results"]:
        assert one["total"] == sum(one["kinds"].values())
        assert one["total"] == pytest.approx(one["formula"] + sum(one["terms"].values()))


def test_fragmented(capsys):
    args = ("--mode", "measured", "--size", "64M", "--design", "vswap-table", "--use", "50", "--backend", "zswap")
    full, one, random = (
        report(capsys, *args, "--live", live)["results"][0] for live in ("full-clusters", "1-per-cluster", "random")
    )
    assert (full["used"], one["used"], random["used"]) == (8192, 16, 8192)
    assert one["bytes_per_slot"] > 9000
    assert random["total"] > 1.9 * full["total"] - 40_000
    again = report(capsys, *args, "--live", "random", "--seed", "5")["results"][0]
    assert again["total"] == random["total"]  # every cluster keeps something, whichever slots go


def test_switches_reach_the_design(capsys):
    found = report(capsys, "--mode", "measured", "--size", "64M", "--design", "vswap-table:index=array", "--use", "100")
    assert {one["design"] for one in found["results"]} == {"vswap-table:index=array"}
    assert all(one["formula"] is None and "xarray_nodes" not in one["kinds"] for one in found["results"])


def test_hops(capsys):
    _, head, *rows = table(capsys, "--hops", "0..2")
    assert head.split() == ["design", "moved", "0x", "moved", "1x", "moved", "2x", "source"]
    assert rows[0].split()[:4] == ["redirect-chain", "8", "16", "24"]
    found = report(
        capsys,
        "--mode",
        "measured",
        "--size",
        "64M",
        "--hops",
        "2",
        "--design",
        "redirect-chain",
        "--design",
        "swap-table",
    )
    chain, ours = found["results"]
    assert 24 <= chain["groups"]["slot"] <= 26
    assert set(chain["groups"]) == {"slot", "index", "taken", "owner", "memcg", "other"}
    assert "front-back" in ours["refused"]
    rows = table(
        capsys, "--mode", "measured", "--size", "64M", "--hops", "1", "--design", "swap-table", "--design", "old"
    )[2:]
    assert rows[0].split()[2:] == ["-"] * 9
    assert rows[1].split()[0] == "old"


def test_output_goes_to_a_file(tmp_path, capsys):
    path = tmp_path / "memory.json"
    assert cli.main(["memory", "--json", "--output", str(path)]) == 0
    assert json.loads(path.read_text())["command"] == "memory"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--size", "lots"], "size is 'lots'"),
        (["--size", "1M"], "size is '1M'; expected 4M to less than 16T"),
        (["--size", "16T"], "size is '16T'"),
        (["--use", "0,101"], "use is '0,101'; expected percentages"),
        (["--use", "half"], "use is 'half'"),
        (["--hops", "4"], "hops is '4'; expected 0 to 3"),
        (["--hops", "2..1"], "hops is '2..1'"),
        (["--hops=-1"], "hops is '-1'"),
        (["--backend", "tape"], "invalid choice: 'tape'"),
        (["--live", "some"], "invalid choice: 'some'"),
        (["--mode", "guessed"], "invalid choice: 'guessed'"),
        (["--design", "newer"], "no design is called 'newer'"),
        (["--design", "old:x"], "switch is 'x'"),
        (["--design", "old:x=1", "--mode", "measured", "--size", "4M"], "old knows no switch 'x'"),
        (["--live", "random"], "live is 'random'; expected --mode measured"),
        (["--live", "random", "--mode", "measured", "--hops", "1"], "live is 'random'"),
        (["--backend", "zswap", "--hops", "1"], "backend is 'zswap'"),
        (["--hops", "1", "--design", "vswap-24"], "nothing is published of the moves of 'vswap-24'"),
        (["--design", "ghost:block=yes"], "nothing is published of 'ghost:block=yes'"),
        (["--design", "ghost", "--backend", "disk"], "backend disk"),
    ],
)
def test_wrong_usage_is_2(args, message, capsys):
    assert cli.main(["memory", *args]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


def test_progress_only_for_those_who_watch(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert cli.main(["memory", "--mode", "measured", "--size", "4M", "--design", "old", "--backend", "disk"]) == 0
    assert "old, disk" in capsys.readouterr().err


def test_a_mib_is_what_the_mails_call_mb():
    assert MIB == 1048576
