# The function table for C and C++: clients that are compiled here against the installed header, the ABI's promises.
# Imports the package; gcc and g++ where they are.
# Used by pytest.
import ctypes
import errno
import gc
import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import swaptable
from swaptable import SwapTable

HERE = Path(__file__).parent / "embed"
HEADER = Path(swaptable.get_include()) / "swaptable.h"
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-fPIC", "-shared"]
COMPILERS = {"c": ["gcc", "-std=c11"], "c++": ["g++", "-x", "c++", "-std=c++17"]}


def compiled(source, name, path, language="c", include=HEADER.parent, extra=()):
    """Import the module that *source* is, once compiled under *name* in *path*; warnings are errors."""
    command, *flags = COMPILERS[language]
    if not shutil.which(command):
        pytest.skip(f"there is no {command}")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("Python's own headers are not installed")
    library = path / (name + sysconfig.get_config_var("EXT_SUFFIX"))
    done = subprocess.run(
        [
            command, *flags, *STRICT, f'-DNAME="{name}"', f"-DINIT=PyInit_{name}", *extra, f"-I{include}",
            "-isystem", sysconfig.get_path("include"), str(HERE / source), "-o", str(library), "-pthread",
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spec = importlib.util.spec_from_file_location(name, library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=sorted(COMPILERS))
def client(request, tmp_path_factory):
    name = "cclient" + ("xx" if request.param == "c++" else "")
    return compiled("cclient.c", name, tmp_path_factory.mktemp("capi"), request.param)


# ---- the functions


@pytest.mark.parametrize("owners", [False, True])
def test_every_function_on_a_table_of_pythons(client, owners):
    table = SwapTable(slots=1024, cpus=2, owners=owners)
    assert client.tour(table, owners) == 0, "the line of tests/embed/cclient.c that was not met"
    table.check()


def test_version(client):
    version, size, expected, has_last = client.version()
    assert (version, size, has_last) == (2, expected, 1)


def test_every_function_has_a_client():
    """What the header offers is used by the client, as `api->name(`."""
    struct = HEADER.read_text().partition("typedef struct swaptable_api {")[2].partition("} swaptable_api;")[0]
    names = re.findall(r"\(\*(\w+)\)", struct)
    client = (HERE / "cclient.c").read_text()
    assert len(names) * ctypes.sizeof(ctypes.c_void_p) + 8 == size_of_table()
    assert not [name for name in names if not re.search(rf"\bapi->{name}\(", client)]


@pytest.mark.parametrize(
    ("slots", "flags", "like"),
    [
        (1024, 0, {}),
        (0, 0, {"slots": None}),
        (1024, 1, {"header": False}),
        (1024, 2, {"block": False}),
        (1024, 4, {"rotational": True}),
        (1024, 8, {"discard": True}),
        (1024, 16, {"owners": True}),
    ],
)
def test_options_are_those_of_python(client, slots, flags, like):
    made, twin = client.make(slots, 3, flags), SwapTable(**({"slots": slots, "cpus": 3} | like))
    assert (repr(made), made.usage(), made.memory()) == (repr(twin), twin.usage(), twin.memory())
    order = 0 if flags == 2 else 2
    assert made.alloc_many(40, order=order).tolist() == twin.alloc_many(40, order=order).tolist()
    made.check()


def test_an_impossible_table_is_refused(client):
    assert client.make(2**32, 1, 0) == -errno.EINVAL
    assert client.make(1, 1, 0) == -errno.EINVAL


def test_a_handle_keeps_its_table(client):
    table = SwapTable(slots=1024)
    before = sys.getrefcount(table)
    kept = client.keep(table)
    assert sys.getrefcount(table) == before + 1
    assert client.used_of_kept(kept) == 1
    assert sys.getrefcount(table) == before
    other = client.keep(SwapTable(slots=1024))
    gc.collect()
    assert client.used_of_kept(other) == 1


def test_threads_of_c(client):
    table = SwapTable(slots=8192, cpus=2)
    assert client.lives(table, 5_000) == 0
    assert table.usage()["used"] == 0
    table.check()


def test_what_a_check_says(client):
    class Broken(SwapTable):
        def check(self):
            raise swaptable.CheckError("the reason, at length")

    assert client.reason(Broken(slots=1024)) == (-errno.EUCLEAN, -errno.EUCLEAN, "the reason, at ")
    assert client.reason(SwapTable(slots=1024)) == (0, 0, "")


# ---- the header


@pytest.mark.parametrize("language", sorted(COMPILERS))
def test_the_header_without_python(tmp_path, language):
    """A file that only uses a table needs no Python.h."""
    command, *flags = COMPILERS[language]
    if not shutil.which(command):
        pytest.skip(f"there is no {command}")
    (tmp_path / "user.c").write_text(
        "#define SWAPTABLE_NO_PYTHON\n#include <swaptable.h>\n"
        "int64_t used(const swaptable_api *api, swaptable_table *table) { return api->used(table); }\n"
    )
    done = subprocess.run(
        [command, *flags, *STRICT, "-c", f"-I{HEADER.parent}", "user.c", "-o", "user.o"],
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_header_has_no_layout_of_words():
    """No shift, no mask, no inline decoder: what a word means is asked for."""
    code = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    assert not re.search(r"<<|>>|0x|\bunion\b|:\s*\d+;", code)


# ---- the ABI


def header_of(path, edit):
    """A directory with an edited header."""
    path.mkdir()
    text = edit(HEADER.read_text())
    assert text != HEADER.read_text()
    (path / "swaptable.h").write_text(text)
    return path


def without_last(text):
    """Yesterday's header: one function and one version less."""
    text, n = re.subn(r"\n    void \(\*set_reclaim\)[^\n]*\n(?=\} swaptable_api;)", "\n", text)
    assert n == 1
    return text.replace("SWAPTABLE_ABI_VERSION 2u", "SWAPTABLE_ABI_VERSION 1u")


def with_another(text):
    """Tomorrow's: one more."""
    text = text.replace("\n} swaptable_api;", "\n    int (*added)(swaptable_table *table);\n} swaptable_api;")
    return text.replace("SWAPTABLE_ABI_VERSION 2u", "SWAPTABLE_ABI_VERSION 3u")


_NAME = ctypes.c_char_p(b"swaptable._C_API")  # a capsule keeps no copy of its name


def grown_table(version, extra):
    """A capsule of another module: today's functions, *extra* bytes behind them, another version; and its memory."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    today = ctypes.string_at(pointer(swaptable._C_API, b"swaptable._C_API"), 8)
    size = int.from_bytes(today[4:8], sys.byteorder)
    table = ctypes.create_string_buffer(size + extra)
    ctypes.memmove(table, pointer(swaptable._C_API, b"swaptable._C_API"), size + min(extra, 0))
    ctypes.memmove(table, version.to_bytes(4, sys.byteorder) + (size + extra).to_bytes(4, sys.byteorder), 8)
    return make(ctypes.addressof(table), _NAME, None), table


def size_of_table():
    return int.from_bytes(grown_table(1, 0)[1].raw[4:8], sys.byteorder)


def test_a_client_of_the_previous_table_runs(tmp_path):
    old = header_of(tmp_path / "old", without_last)
    client = compiled("abi.c", "previous", tmp_path, include=old, extra=["-Wno-type-limits"])
    slot, used, version, size = client.there_and_back(SwapTable(slots=1024))
    assert (slot, used, version) == (512, 8, 2)
    assert size == size_of_table() - ctypes.sizeof(ctypes.c_void_p)


def test_a_client_of_today_runs_against_a_grown_table(tmp_path, monkeypatch):
    capsule, table = grown_table(3, 8)
    monkeypatch.setattr(swaptable, "_C_API", capsule)
    client = compiled("abi.c", "today", tmp_path)
    assert client.there_and_back(SwapTable(slots=1024)) == (512, 8, 3, len(table.raw) - 8)


def test_a_client_of_tomorrow_is_refused(tmp_path):
    message = r"^swaptable: this program needs version 3 .* the installed module has version 2; install a newer"
    with pytest.raises(ImportError, match=message):
        compiled("abi.c", "tomorrow", tmp_path, include=header_of(tmp_path / "new", with_another))


def test_a_table_that_is_too_short_is_refused(tmp_path, monkeypatch):
    capsule, _table = grown_table(2, -8)
    monkeypatch.setattr(swaptable, "_C_API", capsule)
    with pytest.raises(ImportError, match=r"needs a function table of \d+ bytes, that .* has \d+; build the program"):
        compiled("abi.c", "short", tmp_path)
