# What the package promises as a whole: one version, few imports, exceptions that stay what they are, doctests.
# Imports the package; some tests ask a fresh interpreter.
# Used by pytest.
import doctest
import errno
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import swaptable
from swaptable import errors

PACKAGE = Path(swaptable.__file__).parent
ROOT = Path(__file__).parent.parent
HEAVY = ("rich", "matplotlib", "hypothesis", "pytest", "zstandard")
# Importing a __main__ module runs the program.
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(PACKAGE)], "swaptable.")
    if not module.name.endswith(".__main__")
)


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_version():
    assert metadata.version("swaptable") == swaptable.__version__
    if (ROOT / "pyproject.toml").exists():
        project = tomllib.loads((ROOT / "pyproject.toml").read_text()).get("project")
        assert project is None or project["version"] == swaptable.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", swaptable.__version__)


def test_import_is_light():
    """Only numpy comes along; the rest waits until somebody wants a table, a plot or a test."""
    code = f"import sys, swaptable; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    assert run(code).strip() == ""


def test_public_names_exist():
    assert sorted(swaptable.__all__) == sorted(set(swaptable.__all__))
    for name in swaptable.__all__:
        assert getattr(swaptable, name) is not None


def test_installed_files():
    for name in ("py.typed", "_core.pyi", "_core.pxd", "_entry.pxd", "__init__.pxd"):
        assert (PACKAGE / name).is_file()


@pytest.mark.parametrize(
    ("cls", "err", "also"),
    [
        (errors.SwapFullError, errno.ENOSPC, OSError),
        (errors.SlotNotInUseError, errno.ENOENT, LookupError),
        (errors.SlotCachedError, errno.EEXIST, OSError),
        (errors.SlotBusyError, errno.EBUSY, OSError),
        (errors.StaleLocationError, errno.ESTALE, OSError),
        (errors.SwapValueError, errno.EINVAL, ValueError),
        (errors.CountOverflowError, errno.EOVERFLOW, OverflowError),
        (errors.SwapMemoryError, errno.ENOMEM, MemoryError),
    ],
)
def test_each_errno_has_its_class(cls, err, also):
    for sign in (1, -1):
        with pytest.raises(also, match="why") as caught:
            errors.raise_errno(sign * err, "why")
        assert type(caught.value) is cls
        assert isinstance(caught.value, errors.SwapError)
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == err
        assert caught.value.index is None


def test_an_unknown_errno_is_still_ours():
    with pytest.raises(errors.SwapError) as caught:
        errors.raise_errno(errno.EIO, "why")
    assert type(caught.value) is errors.SwapError
    assert caught.value.errno == errno.EIO


def test_a_batch_says_how_far_it_came():
    with pytest.raises(errors.SlotNotInUseError, match="element 3") as caught:
        errors.raise_errno(errno.ENOENT, "why", 3)
    assert (caught.value.index, caught.value.done) == (3, 3)


def test_the_core_raises_them():
    table = swaptable.SwapTable(slots=512)
    with pytest.raises(swaptable.SwapFullError) as caught:
        table.alloc(order=9)
    assert caught.value.errno == errno.ENOSPC
    table.check()


def test_the_others_are_what_they_were_before():
    assert issubclass(errors.TraceError, ValueError)
    assert issubclass(errors.RecordError, RuntimeError)
    assert issubclass(errors.CheckError, AssertionError)


@pytest.mark.parametrize("name", ["swaptable", *MODULES])
def test_doctests(name):
    """Every example of every module; those of compiled modules are in their __test__."""
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_doctests_are_found():
    assert doctest.testmod(importlib.import_module("swaptable._core")).attempted >= 4
