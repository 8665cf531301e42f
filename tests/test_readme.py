# Every code block of the README is run: sessions, commands with what they print, and the design.
# May import the package; skips where the README is not at hand.
# Used by pytest.
import contextlib
import doctest
import importlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from swaptable import designs, pack
from swaptable.cli import main
from swaptable.replay import replay
from swaptable.trace import default_trace

README = Path(__file__).parent.parent / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="no README.md beside tests/")
TEXT = README.read_text() if README.exists() else ""
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def blocks(language):
    return [text for name, text in BLOCKS if name == language]


def test_every_block_is_of_a_kind_that_is_run():
    assert {name for name, _ in BLOCKS} <= {"python", "console", "cython", "text"}
    assert len(re.findall("^```", TEXT, re.MULTILINE)) == 2 * len(BLOCKS)


def test_sessions():
    test = doctest.DocTestParser().get_doctest("\n".join(blocks("python")), {}, "README.md", str(README), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said = io.StringIO()
    runner.run(test, out=said.write)
    assert runner.tries > 20
    assert not runner.failures, said.getvalue()


def figures(text):
    """What a command prints, without the spaces and the times, which differ from run to run."""
    return [re.sub(r"\s+", " ", re.sub(r"\s+(-|-?[\d.]+)\s+[\d.]+ M$", "", line)).strip() for line in text.splitlines()]


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: block.splitlines()[0])
def test_commands(block, monkeypatch):
    command, _, expected = block.partition("\n")
    monkeypatch.chdir(Path(default_trace()).parent)
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(command.removeprefix("$ swaptable ").split()) == 0
    assert figures(out.getvalue()) == figures(expected)


def test_the_words_are_drawn_as_they_are():
    drawn = dict(re.findall(r"^(\w+) +(.*)$", blocks("text")[0], re.MULTILINE))
    assert sorted(drawn) == sorted(kind.upper() for kind in ("null", "shadow", "folio", "pointer", "lent", "bad"))
    for kind in ("shadow", "folio", "pointer", "lent", "bad"):
        low = re.search(r"[|\d]\s+(1[01]*|10+)\s", drawn[kind.upper()] + " ")[1]
        assert format(pack(kind), "064b").endswith(low), kind


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The README's design, compiled against the installed package."""
    pytest.importorskip("Cython")
    (block,) = blocks("cython")
    name = re.match(r"# (\w+)\.pyx", block)[1]
    (tmp_path / f"{name}.pyx").write_text(block)
    done = subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", f"{name}.pyx"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(designs, "DESIGNS", dict(designs.DESIGNS))
    return importlib.import_module(name)


def test_a_design_of_ones_own(module):
    result = replay(default_trace(), "no-mthp", memory="50%", folio_order=4)
    assert result.vmstat["swpout_fallback"] > 0
    assert result.vmstat["swpout"] == 0
    design = module.NoMthp(1024)
    design.alloc()
    design.check()
