# The command line as a function and as a process: output, exit codes, refusals.
# May import everything.
# Used by pytest.
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from swaptable import cli
from swaptable.comparison import default_designs
from swaptable.report import render
from swaptable.trace import save_trace

KEYS = {
    "design", "trace", "events", "footprint_pages", "memory_pages", "swap_slots", "folio_order", "large_swapin",
    "seconds", "vmstat", "counters", "bytes_start", "bytes_peak", "bytes_final", "used_at_peak", "used_final",
    "wasted_peak", "wasted_final", "tiers", "events_per_second", "bytes_per_slot", "lookups_per_op", "depth_per_op",
    "locks_per_op", "extents_per_io", "workload", "design_seconds", "ns_per_op",
}  # fmt: skip


@pytest.fixture
def trace(tmp_path):
    rng = np.random.default_rng(4)
    path = tmp_path / "some.npz"
    save_trace(path, rng.integers(0, 3000, 8000, dtype=np.uint64), rng.random(8000) < 0.3, {"command": ["some"]})
    return str(path)


def process(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "swaptable", *args], capture_output=True, text=True, timeout=120, **kwargs
    )


def test_table_has_a_row_for_each_design_of_the_default(trace, capsys):
    assert cli.main(["compare", trace, "--folio", "16K"]) == 0
    out, err = capsys.readouterr()
    title, head, *rows = out.splitlines()
    assert title.startswith("some.npz: 8,000 accesses, footprint ")
    assert "swpout_fallback" in head
    assert [row.split()[0] for row in rows] == default_designs()
    assert err == ""


def test_json_is_one_object_with_stable_keys(trace, capsys):
    assert cli.main(["compare", trace, "--json", "--memory", "1M", "--design", "old", "--design", "null"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {
        "schema", "command", "made_by", "seed", "swapin", "tiers", "workloads", "results", "refused",
    }  # fmt: skip
    assert (report["schema"], report["command"], report["workloads"][0]["trace"]) == (2, "compare", trace)
    assert [result["design"] for result in report["results"]] == ["old", "null"]
    assert all(set(result) == KEYS for result in report["results"])
    assert report["results"][0]["memory_pages"] == 256
    assert report["results"][1]["bytes_per_slot"] is None


def test_options_reach_the_machine(trace, capsys):
    args = ["compare", trace, "--json", "--design", "old", "--limit", "5000", "--swap", "64M", "--swapin", "folio"]
    assert cli.main([*args, "--folio", "16K", "--memory", "30%"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["events"], result["swap_slots"], result["folio_order"]) == (5000, 16384, 2)
    assert result["large_swapin"] is True
    assert result["vmstat"]["swpin"] > 0


def test_output_goes_to_a_file(trace, tmp_path, capsys):
    path = tmp_path / "report.json"
    assert cli.main(["compare", trace, "--json", "--design", "old", "--output", str(path)]) == 0
    assert json.loads(path.read_text())["schema"] == 2
    assert capsys.readouterr().out == ""
    assert cli.main(["compare", trace, "--design", "old", "--output", str(tmp_path / "no" / "dir")]) == 1
    assert "no/dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "invalid choice"),
        (["compare", "--frobnicate"], "unrecognized arguments"),
        (["compare", "--design", "newer"], "unknown design 'newer'; known designs: "),
        (["compare", "--memory", "0%"], "memory is '0%'; expected a positive share"),
        (["compare", "--memory=-5%"], "memory is '-5%'"),
        (["compare", "--memory", "lots"], "memory is 'lots'"),
        (["compare", "--folio", "48K"], "folio is '48K'; expected a power of two from 4K to 2M"),
        (["compare", "--folio", "4M"], "folio is '4M'"),
        (["compare", "--swap=-1G"], "swap is '-1G'"),
        (["compare", "--swap", "0"], "swap is '0'"),
        (["compare", "--swapin", "huge"], "invalid choice: 'huge'"),
        (["compare", "--memory", "50%,0%"], "memory is '0%'"),
        (["compare", "--folio", "64K,5K"], "folio is '5K'"),
        (["compare", "--tiers", "zswap,hdd"], "tiers are 'zswap,hdd'; expected a size for each but the last"),
        (["compare", "--seed", "-1"], "expected"),
        (["compare", "--seed", "x"], "seed is 'x'"),
        (["compare", "--runs", "0"], "runs is '0'"),
        (["compare", "--threads", "1,0"], "threads is '1,0'; expected 1 to 64"),
        (["compare", "--design", "old:colour=red"], "old knows no switch 'colour'; expected backend, devices"),
        (["compare", "--design", "front-back:redirected=maybe"], "redirected is 'maybe'; expected yes or no"),
        (["compare", "--design", "front-back:compact=maybe"], "expected yes, no or an age"),
        (["compare", "--design", "old:devices=yes"], "devices is 'yes'; expected a number"),
        (["compare", "synthetic:zipf,records=many"], "expected synthetic:KIND,records=N"),
        (["compare", "synthetic:fractal"], "fractal"),
        (["compare", "--limit", "0"], "limit is '0'"),
        (["compare", "--limit=-3"], "limit is '-3'"),
        (["compare", "--limit", "1.5"], "limit is '1.5'"),
        (["doctor", "extra"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_2(args, message, capsys):
    assert cli.main(args) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


@pytest.mark.parametrize(
    ("option", "value", "message"), [("--memory", "32K", "at least one folio (64K)"), ("--swap", "4K", "expected 8K")]
)
def test_sizes_that_do_not_fit_the_trace_are_2(trace, option, value, message, capsys):
    assert cli.main(["compare", trace, option, value]) == 2
    assert message in capsys.readouterr().err


def test_out_of_memory_is_1(trace, capsys):
    assert cli.main(["compare", trace, "--memory", "10%", "--swap", "1M", "--design", "old"]) == 1
    out, err = capsys.readouterr()
    assert "out of memory at event" in err
    assert out == ""


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", bytes(range(256)) * 20])
def test_a_damaged_trace_is_1(content, tmp_path, capsys):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    assert cli.main(["compare", str(path)]) == 1
    err = capsys.readouterr().err
    assert "bad.npz" in err
    assert "Traceback" not in err


def test_a_truncated_trace_is_1(trace, capsys):
    with open(trace, "r+b") as file:
        file.truncate(os.path.getsize(trace) // 2)
    assert cli.main(["compare", trace]) == 1
    assert "some.npz" in capsys.readouterr().err


def test_a_place_for_no_results_is_refused_before_the_work(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli.cli_compare, "prepare", lambda args: pytest.fail("worked"))
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "no" / "file", "No such file or directory")):
        assert cli.main(["compare", "--output", str(path)]) == 1
        assert capsys.readouterr().err == f"swaptable: {path}: {why}\n"


def test_a_missing_trace_is_1(capsys):
    assert cli.main(["compare", "/does/not/exist"]) == 1
    assert "/does/not/exist" in capsys.readouterr().err


def test_doctor(capsys):
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert np.__version__ in text
    assert cli.main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["schema"] == 1
    assert {"python", "numpy", "cython", "compiler", "cpu", "gil", "kernel", "designs"} <= set(facts)


@pytest.mark.parametrize(
    "command", ["compare", "memory", "doctor", "trace record", "trace info", "mkswap", "swaps"]
)
def test_every_command_has_help_with_an_example(command, capsys):
    assert cli.main([*command.split(), "--help"]) == 0
    assert f"swaptable {command}" in capsys.readouterr().out.partition("xample")[2]


def test_trace_is_delegated(trace, capsys):
    assert cli.main(["trace", "info", "--json", trace]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1
    assert cli.main(["trace", "info", "/does/not/exist"]) == 1


def test_the_shipped_trace_is_the_default(capsys):
    assert cli.main(["compare", "--json", "--design", "old", "--limit", "200000"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["events"] == 200000
    assert result["vmstat"]["pgmajfault"] > 0


def test_interrupt_is_130(trace, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.cli_compare, "compare_all", interrupted)
    assert cli.main(["compare", trace]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_progress_only_for_those_who_watch(trace, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(["compare", trace, "--design", "old"]) == 0
    assert "old: 100%\n" in capsys.readouterr().err


def test_as_a_process(trace):
    done = process("compare", trace, "--design", "old", env=os.environ | {"NO_COLOR": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert process("compare", "--design", "newer").returncode == 2
    assert process("compare", "/does/not/exist").returncode == 1
    version = process("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("swaptable ")


def test_a_closed_pipe_leaves_no_traceback(trace):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "swaptable", "compare", trace, "--design", "old"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_signal_stops_a_long_replay(tmp_path):
    rng = np.random.default_rng(9)
    path = tmp_path / "long.npz"
    save_trace(path, rng.integers(0, 1 << 20, 8 << 20, dtype=np.uint64), np.ones(8 << 20, bool), {}, compression="none")
    command = [sys.executable, "-m", "swaptable", "compare", str(path), "--memory", "10%", *["--design", "old"] * 20]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, their children too
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        time.sleep(3)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_rich_on_a_terminal_only(monkeypatch):
    table = ("title", ("design", "n"), [["old", "1"]])
    monkeypatch.delenv("NO_COLOR", raising=False)
    pipe, terminal, quiet = io.StringIO(), Terminal(), Terminal()
    render(*table, pipe)
    assert pipe.getvalue() == "title\ndesign  n\nold     1\n"
    render(*table, terminal)
    assert "┃" in terminal.getvalue() or "│" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    render(*table, quiet)
    assert quiet.getvalue() == pipe.getvalue()


def test_plain_table_without_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    terminal = Terminal()
    render("title", ("design", "n"), [["old", "12"]], terminal)
    assert terminal.getvalue() == "title\ndesign   n\nold     12\n"
