# The C face of the core, from an extension module that is compiled here against the installed package.
# Imports the package, and Cython, setuptools and a C compiler where they are.
# Used by pytest.
import errno
import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import swaptable
from swaptable import BlockSpace, SwapTable

HERE = Path(__file__).parent
PACKAGE = Path(swaptable.__file__).parent
THREADS = 2
LIVES = 20_000


def missing():
    """What a client's build lacks here, or None."""
    for module in ("Cython", "setuptools"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    return None if shutil.which(compiler) else f"there is no C compiler ({compiler})"


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The directory with the compiled clients."""
    if missing():
        pytest.skip(missing())
    path = tmp_path_factory.mktemp("embed")
    for name in ("client.pyx", "direct.pyx", "setup.py"):
        shutil.copy(HERE / name, path)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def load(build, name):
    spec = importlib.util.spec_from_file_location(name, build / (name + sysconfig.get_config_var("EXT_SUFFIX")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def client(build):
    return load(build, "client")


def test_lives_without_the_gil(client):
    table = SwapTable(slots=8192, cpus=THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(lambda cpu: client.lives(table, cpu, LIVES), range(THREADS)))
    assert [step for step, _ in results] == [0] * THREADS
    assert all(words > 8 * LIVES for _, words in results)
    assert table.usage()["used"] == 0
    table.check()


def test_python_and_kernels_agree(client):
    table = SwapTable(slots=1024)
    table.alloc(order=3)
    assert client.state(table) == (8, 1023, table.memory()["total"])
    table.check()


def test_batches(client):
    table = SwapTable(slots=1024)
    step, words = client.batch(table)
    assert step == 0
    assert words > 4 * 8
    assert table.usage()["used"] == 0
    table.check()


def test_kinds(client):
    for kind, value in client.KINDS.items():
        assert client.kind(swaptable.pack(kind)) == value


def test_the_core_itself_can_be_named(build):
    table = SwapTable(slots=1024)
    assert load(build, "direct").there_and_back(table) == 1
    table.check()


def test_every_public_name_has_a_client():
    """What the package offers to Cython is used by the client, and every kernel is offered."""
    public = set(re.findall(r"^    (\w+),$", (PACKAGE / "__init__.pxd").read_text(), re.MULTILINE))
    public |= set(re.findall(r"cimport (\w+)$", (PACKAGE / "__init__.pxd").read_text(), re.MULTILINE))
    client = (HERE / "client.pyx").read_text()
    body = client[client.index("KINDS =") :]
    assert not {name for name in public if not re.search(rf"\b{name}\b", body)}
    for name in ("_core.pxd", "_capi.pxd"):
        kernels = set(re.findall(r"\b(table_\w+)\(", (PACKAGE / name).read_text()))
        assert kernels
        assert kernels <= public


def test_a_folio_past_the_end_and_a_move(client):
    table = SwapTable(slots=1024)
    table.alloc_many(1023)
    table.free_many([9, 40])
    slot, device, block = client.past_the_end(table, 1)
    assert (slot, device, block) == (2**32, 0, 40)
    assert client.past_the_end(table, 1) == -errno.ENOSPC
    table.free(100)
    (new,) = table.block_alloc(1).tolist()
    assert client.move(table, 2**32, 0, new) == client.stale()
    assert client.move(table, 2**32, table.loc(2**32), new) == 0
    assert table.resolve([2**32])[1].tolist() == [100]
    table.check()


def test_blocks_of_another_device(client):
    space = BlockSpace()
    table, lower = SwapTable(slots=1024, space=space), SwapTable(slots=1024, space=space, owners=True)
    slots = table.alloc_many(3)
    table.dup_many(slots)
    table.cache_del_many(slots)
    said = client.write_back(table, lower, 2)
    # The first block went back; the second is a slot's location by now and nobody's to give.
    assert (said["free"], said["given back"]) == (-errno.ENOENT, 1)
    assert (said["device"], said["block"], said["owner"]) == (1, 2, (0, 2))
    assert said["loc"] == table.loc(2) != 0
    assert said["blocks"] == (2, 1)
    assert lower.usage()["blocks"]["held"] == 0
    space.check()


def test_clusters_with_words(client):
    table = SwapTable(slots=4096)
    assert client.clusters(table) == [0]  # the header's
    table.free_many(table.alloc_many(4095)[:2048:2])
    assert table.alloc(order=4, contiguous=True) == 2**32
    assert client.clusters(table) == [*range(0, 4096, 512), 2**32]
    assert client.clusters(SwapTable(slots=None, header=False)) == []


def test_cold_clusters_of_an_embedder(client):
    table = SwapTable(slots=8192, header=False)
    slots = table.alloc_many(8192)
    table.dup_many(slots)
    table.cache_del_many(slots, shadows=list(range(8192)))
    packed, before, after = client.compact(table, 8192)
    assert packed == 16
    assert after <= before - 15 * 4096
    assert table.usage()["clusters"]["packed"] == 16
    table.check()
