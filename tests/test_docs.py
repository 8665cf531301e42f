# Every code block of the documentation is run, page by page, each page in an empty directory.
# Imports the package; skips where docs/ is not at hand.
# Used by pytest.
import doctest
import io
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from swaptable import designs
from swaptable.trace import _formats

DOCS = Path(__file__).parent.parent / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="no docs/ beside tests/")
OTHERS = {"embed.md"}  # clients in C and Cython: tests/embed builds and runs them
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.name not in OTHERS and "_build" not in path.parts)
BLOCK = re.compile(r"^```(\S+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN, SHOWN = {"python", "cython"}, {"text", "sh", "{toctree}", "{glossary}", "{image}", "{eval-rst}"}


def blocks(page):
    return BLOCK.findall(page.read_text())


def test_every_page_is_there():
    assert {"tutorial.md", "glossary.md", "published.md", "words.md", "way.md"} <= {path.name for path in PAGES}


def test_every_block_is_of_a_kind_that_is_run_or_is_no_python():
    for page in PAGES:
        assert {name for name, _ in blocks(page)} <= RUN | SHOWN, page.name
        assert len(re.findall("^```", page.read_text(), re.MULTILINE)) == 2 * len(blocks(page)), page.name


def test_the_extra_docs_is_enough_for_the_reference():
    """autodoc imports what it describes, in an environment that may have no other extra."""
    if not (DOCS.parent / "pyproject.toml").exists():
        pytest.skip("no pyproject.toml beside docs/")
    extras = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    test, docs = ({re.match(r"[\w-]+", need)[0] for need in extras[extra]} for extra in ("test", "docs"))
    missing = sorted(test - docs)
    text = "".join(page.read_text() for page in PAGES)
    modules = sorted(set(re.findall(r"^\.\. (?:automodule|currentmodule):: (\S+)", text, re.MULTILINE)))
    assert "pyarrow" in missing
    assert "swaptable.testing" in modules
    code = f"""import importlib, sys
sys.modules.update(dict.fromkeys({missing}))
for module in {modules}:
    importlib.import_module(module)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def build(name, folder):
    done = subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", name],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "page", [page for page in PAGES if RUN & {name for name, _ in blocks(page)}], ids=lambda page: page.stem
)
def test_page(page, tmp_path, monkeypatch):
    """Blocks that begin with a file's name are such files; the others are sessions, which go on through the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(designs, "DESIGNS", dict(designs.DESIGNS))
    monkeypatch.setitem(_formats.FORMATS, "rw", None)  # is taken out again
    monkeypatch.delitem(_formats.FORMATS, "rw")
    sessions = []
    for _, text in (block for block in blocks(page) if block[0] in RUN):
        named = re.match(r"# (\w+\.(?:py|pyx))\n", text)
        if named is None:
            assert ">>> " in text, f"{page.name}: neither a file nor a session: {text[:60]!r}"
            sessions.append(text)
            continue
        (tmp_path / named[1]).write_text(text)
        if named[1].endswith(".pyx"):
            pytest.importorskip("Cython")
            build(named[1], tmp_path)
    session(page, sessions)
    suites(tmp_path)


def session(page, texts):
    test = doctest.DocTestParser().get_doctest("\n".join(texts), {}, page.name, str(page), 0)
    runner = doctest.DocTestRunner(optionflags=0)
    said = io.StringIO()
    runner.run(test, out=said.write)
    assert not runner.failures, said.getvalue()
    assert runner.tries or not texts


def suites(folder):
    """Test modules of a page, as a reader would run them."""
    if not list(folder.glob("test_*.py")):
        return
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider"],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)
