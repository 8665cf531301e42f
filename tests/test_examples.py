# The example simulators and the how-to page: built and run as they say, in empty directories, on the installed package.
# Imports the package; Cython, compilers and simpy where they are.
# Used by pytest.
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from swaptable import SwapTable
from swaptable.trace import convert, named_trace, open_trace

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
HOWTO = ROOT / "docs" / "howto" / "embed.md"
MEMORY = 2000
LIMIT = 200_000

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not beside the tests")


def need(*programs):
    """Skip where something is missing that a build takes."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    for program in programs:
        if not shutil.which(program, path=path):
            pytest.skip(f"there is no {program}")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("Python's own headers are not installed")
    return path


def shell(script, where, path):
    """Run *script* as a user would, in an environment that is active; its output."""
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=where,
        env={"CFLAGS": "-O1"} | os.environ | {"PATH": path},  # half of the time is the compiler's optimizing
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commands(source):
    """The lines of a C or Cython file's head that are to be typed: those indented by four."""
    head = re.split(r"\n(?= \*/|[^#\s])", source.read_text(), maxsplit=1)[0]
    return "\n".join(re.findall(r"^(?: \*|#) {5}(.*)$", head, re.MULTILINE))


# ---- the simulator in Cython


@pytest.fixture(scope="module")
def replacement(tmp_path_factory):
    path = need("cythonize", "bash")
    where = tmp_path_factory.mktemp("cython")
    shutil.copy(EXAMPLES / "page_replacement.pyx", where)
    said = shell(commands(EXAMPLES / "page_replacement.pyx"), where, path)
    library = where / ("page_replacement" + sysconfig.get_config_var("EXT_SUFFIX"))
    spec = importlib.util.spec_from_file_location("page_replacement", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, said


def test_page_replacement_as_its_head_says(replacement):
    _, said = replacement
    sqlite, gcc = re.findall(r"^([\w-]+): [\d,]+ accesses to ([\d,]+) pages in ([\d,]+)", said, re.MULTILINE)
    assert sqlite == ("sqlite-index", "6,704", "3,352")
    assert gcc == ("gcc", "6,828", "3,000")


@pytest.mark.parametrize("memory", [2, 50, 99, 100, 1000])
def test_page_replacement(replacement, memory):
    """A page faults once, and again as often as it was swapped out; with room for all there is no swapping."""
    table = SwapTable(slots=1024)
    rng = np.random.default_rng(memory)
    page = np.concatenate([np.arange(100), rng.zipf(1.5, 5000) % 100]).astype(np.int64)
    write = rng.integers(0, 2, len(page)).astype(np.uint8)
    counts = replacement[0].simulate(table, page, write, memory)
    assert counts["pgfault"] == 100 + counts["pswpin"]
    assert counts["pswpin"] == counts["workingset_refault_anon"] >= counts["workingset_activate_anon"]
    assert (counts["pswpin"] > 0) == (counts["pswpout"] > 0) == (memory < 100)
    usage = table.usage()
    assert usage["swapped"] == max(100 - memory, 0)
    assert usage["swapped"] <= usage["used"] <= 100
    table.check()


def test_page_replacement_without_room_in_swap(replacement):
    page = np.arange(2000, dtype=np.int64)
    with pytest.raises(OSError, match=r"Errno 28"):
        replacement[0].simulate(SwapTable(slots=1024), page, np.ones(2000, np.uint8), 10)


# ---- the replay in C


def second_chance(page, write, memory):
    """(pgfault, pswpin, pswpout) of the example's clock, in Python."""
    fault, swapped_in, swapped_out = 0, 0, 0
    frames, hand, accessed, has_copy, out = [], 0, {}, set(), set()
    for p, w in zip(page, write, strict=True):
        if p not in accessed:
            fault += 1
            if len(frames) < memory:
                frames.append(p)
                hand = len(frames) % memory
            else:
                while accessed[frames[hand]]:
                    accessed[frames[hand]] = False
                    hand = (hand + 1) % memory
                victim = frames[hand]
                del accessed[victim]
                out.add(victim)
                swapped_out += victim not in has_copy
                has_copy.add(victim)
                frames[hand] = p
                hand = (hand + 1) % memory
            swapped_in += p in out
            out.discard(p)
        accessed[p] = True
        if w:
            has_copy.discard(p)
    return fault, swapped_in, swapped_out


@pytest.fixture(scope="module")
def lackey(tmp_path_factory):
    """A trace as text, and what its replay must count."""
    path = tmp_path_factory.mktemp("trace") / "short.lackey"
    convert(named_trace("gcc"), path, limit=LIMIT)
    blocks = list(open_trace(path))
    page, write = (np.concatenate([getattr(b, name) for b in blocks]).tolist() for name in ("page", "write"))
    return path, second_chance(page, write, MEMORY)


@pytest.mark.parametrize("language", ["c", "c++"])
def test_replay(tmp_path, lackey, language):
    path = need("gcc" if language == "c" else "g++", "bash", "swaptable")
    shutil.copy(EXAMPLES / "replay.c", tmp_path)
    script = commands(EXAMPLES / "replay.c")
    if language == "c++":
        (other,) = re.findall(r"As C\+\+: (g\+\+ .*)", (EXAMPLES / "replay.c").read_text())
        script = re.sub(r"^gcc .*$", other, script, flags=re.MULTILINE)
        assert "gcc -" not in script
    said = shell(script, tmp_path, path)
    assert re.search(r"^619302 accesses to 6828 pages; 0 of 262143 slots in use", said, re.MULTILINE)
    trace, expected = lackey
    said = shell(f'./replay "$(command -v python)" {trace} {MEMORY} 3', tmp_path, path)
    counts = re.findall(r"pgfault (\d+) pswpin (\d+) pswpout (\d+), \d+ cluster locks, done", said)
    assert [tuple(map(int, each)) for each in counts] == [expected] * 3
    assert expected[1] > 0


def test_replay_says_what_is_wrong(tmp_path):
    path = need("gcc", "bash", "swaptable")
    shutil.copy(EXAMPLES / "replay.c", tmp_path)
    shell(commands(EXAMPLES / "replay.c").rpartition("./replay")[0], tmp_path, path)
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(other)], check=True, timeout=120)
    done = subprocess.run(
        [tmp_path / "replay", other / "bin" / "python", tmp_path / "trace.lackey", "10", "1"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "No module named 'swaptable'" in done.stderr) == (1, True), done.stderr


# ---- the model in simpy


def test_tiering():
    pytest.importorskip("simpy")
    pytest.importorskip("swaptable.space", reason="this swaptable has no SwapSpace")
    spec = importlib.util.spec_from_file_location("tiering_simpy", EXAMPLES / "tiering_simpy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = ["--programs", "3", "--seconds", "0.06", "--frames", "1500", "--pages", "2000"]
    machine, again = module.main(arguments), module.main(arguments)
    assert machine.count["demoted"] > 0
    assert machine.latency.keys() == {"cxl", "ssd"}
    assert np.median(machine.latency["cxl"]) < np.median(machine.latency["ssd"])
    assert min(machine.latency["ssd"]) >= 80_000
    assert (machine.count, machine.latency) == (again.count, again.latency)
    machine.space.check()


# ---- the how-to page


def steps():
    """(kind, text) of the page's blocks in order; a file's kind is its name."""
    name = None
    for match in re.finditer(r"^`([\w.]+)`:$|^```(\w+)\n(.*?)^```$", HOWTO.read_text(), re.MULTILINE | re.DOTALL):
        if match[1]:
            name = match[1]
        else:
            yield (match[2] if match[2] in ("sh", "text") else name), match[3]


def test_howto_word_for_word(tmp_path):
    path = need("cythonize", "gcc", "g++", "bash")
    said, ran = None, 0
    for kind, text in steps():
        if kind == "sh":
            said = shell(text, tmp_path, path)
        elif kind == "text":
            assert said.splitlines()[-1] == text.strip()
            ran += 1
        else:
            (tmp_path / kind).write_text(text)
    assert ran == 3
