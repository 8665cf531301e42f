# The recorder: the C tool against a model of its window, children, system calls, files, and what can go wrong.
# May import swaptable.trace, its private modules for what needs breaking, numpy, pytest.
# Run by pytest; what needs valgrind is skipped where there is none.
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import OrderedDict

import numpy as np
import pytest

from swaptable.trace import RecordError, TraceError, _run, cli, open_trace, record

needs_valgrind = pytest.mark.skipif(
    not (shutil.which("valgrind") and shutil.which("gcc")), reason="needs valgrind and gcc: apt install valgrind gcc"
)
needs_amd64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the program's machine code is of amd64")
PAGES, STEPS = 40, 20_000
MULTIPLIER, INCREMENT = 6364136223846793005, 1442695040888963407

# No C library and no stack use: the accesses to `area` are all that it makes.
WALK = f"""
volatile unsigned char area[{PAGES + 1} * 4096] __attribute__((aligned(4096)));
void _start(void)
{{
    unsigned long x = 1;
    for (int i = 0; i < {STEPS}; i++) {{
        x = x * {MULTIPLIER}ul + {INCREMENT}ul;
        volatile unsigned char *page = area + (x >> 40) % ((x >> 39) & 1 ? 5 : {PAGES}) * 4096;
        switch ((x >> 34) & 7) {{
        case 0: page[x >> 52] = 1; break;
        case 1: __asm__ volatile("addl $1, 128(%0)" : : "r"(page) : "memory"); break;
        case 2: __atomic_fetch_add((unsigned *)(page + 64), 1, __ATOMIC_RELAXED); break;
        case 3: (void)*(volatile unsigned *)(page + 4094); break;
        default: (void)page[x >> 52];
        }}
    }}
    __asm__ volatile("syscall" : : "a"(60), "D"(0));
}}
"""
STATIC = ["-static", "-nostdlib", "-no-pie", "-fno-stack-protector"]

PRELUDE = """
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static char area[64 * 4096] __attribute__((aligned(4096)));
static void store(int page) { ((volatile char *)area)[page * 4096] = 1; }
static int load(int page) { return ((volatile char *)area)[page * 4096]; }
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One build of the tool for these tests, and none in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def compiled(tmp_path):
    def build(text, *flags):
        source, program = tmp_path / "program.c", tmp_path / "program"
        source.write_text(text)
        subprocess.run(["gcc", "-O2", "-w", str(source), "-o", str(program), *flags], check=True)
        return str(program)

    return build


def _area(program, name="area"):
    symbols = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    return next(int(line.split()[0], 16) for line in symbols.splitlines() if line.split()[-1] == name)


def _walk(lackey=False):
    """Yield the (page, write) that WALK touches; lackey tells of an atomic operation's load apart."""
    x = 1
    for _ in range(STEPS):
        x = (x * MULTIPLIER + INCREMENT) % (1 << 64)
        page, kind = (x >> 40) % (5 if x >> 39 & 1 else PAGES), x >> 34 & 7
        if kind == 2 and lackey:
            yield page, False
        yield page, kind <= 2
        if kind == 3:
            yield page + 1, False


def _window(touches, size):
    """Yield what a recency window keeps: entries, and the first store of a stay that a load began."""
    window = OrderedDict()
    for page, write in touches:
        if page not in window or (write and not window[page]):
            yield page, write
        window[page] = window.get(page, False) or write
        window.move_to_end(page)
        if len(window) > size:
            window.popitem(last=False)


def _records(path, base=0):
    page, write = open_trace(path).load()
    return list(zip((page - np.uint64(base >> 12)).tolist(), write.tolist(), strict=True))


@needs_valgrind
@needs_amd64
@pytest.mark.parametrize(("window", "tool"), [(1, "pagetrace"), (8, "pagetrace"), (64, "pagetrace"), (8, "lackey")])
def test_window(compiled, tmp_path, window, tool):
    program = compiled(WALK, *STATIC)
    info = record([program], tmp_path / "t.npz", window=window, tool=tool)
    expected = list(_window(_walk(tool == "lackey"), window))
    assert _records(tmp_path / "t.npz", _area(program)) == expected
    assert info["records"] == len(expected)
    assert STEPS <= info["accesses"] < 1.5 * STEPS


@needs_valgrind
@needs_amd64
def test_page_size(compiled, tmp_path):
    program = compiled(WALK, *STATIC)
    info = record([program], tmp_path / "t.npz", window=2, page_size=16384)
    base = _area(program)
    big = (((base + page * 4096 >> 14), write) for page, write in _walk())
    assert _records(tmp_path / "t.npz") == list(_window(big, 2))
    assert info["page_size"] == open_trace(tmp_path / "t.npz").page_size == 16384


@needs_valgrind
def test_fork(compiled, tmp_path):
    program = compiled(
        PRELUDE
        + """
int main(void)
{
    for (int i = 0; i < 8; i++) store(i);
    if (fork() == 0) {
        usleep(20000);
        for (int i = 0; i < 16; i++) load(i);
        _exit(0);
    }
    wait(NULL);
    for (int i = 16; i < 24; i++) store(i);
}""",
        "-no-pie",
    )
    info = record([program], tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as members:
        page, write, pid = members["page"], members["write"], members["pid"]
    assert info["processes"] == 2
    assert (page >> np.uint64(36) == pid).all()
    number = (page & np.uint64((1 << 36) - 1)).astype(np.int64) - (_area(program) >> 12)
    inside = (number >= 0) & (number < 64)
    seen = list(zip(pid[inside].tolist(), number[inside].tolist(), write[inside].tolist(), strict=True))
    parent = [(0, i, True) for i in range(8)]
    # The child begins with an empty window; the parent waits for it, so its later touches come after.
    assert seen == parent + [(1, i, False) for i in range(16)] + [(0, i, True) for i in range(16, 24)]


@needs_valgrind
def test_exec(tmp_path):
    info = record(["/bin/sh", "-c", "/bin/true; exec /bin/true"], tmp_path / "t.npz")
    assert info["processes"] >= 3
    with np.load(tmp_path / "t.npz") as members:
        assert sorted(set(members["pid"].tolist())) == list(range(info["processes"]))


@needs_valgrind
def test_system_calls(compiled, tmp_path):
    program = compiled(
        PRELUDE
        + """
int main(void)
{
    int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
    return read(zero, area, 8 * 4096) + write(null, area + 8 * 4096, 4 * 4096) == 0;
}""",
        "-no-pie",
    )
    record([program], tmp_path / "t.npz")
    inside = [(page, write) for page, write in _records(tmp_path / "t.npz", _area(program)) if page < 64]
    wanted = [(page, page < 8) for page in range(12)]
    assert [touch for touch in inside if touch in wanted] == wanted


@needs_valgrind
def test_files(compiled, tmp_path):
    (tmp_path / "data").write_bytes(bytes(16 * 4096))
    program = compiled(
        PRELUDE
        + """
int main(int argc, char **argv)
{
    volatile char *map = mmap((void *)0x700000000, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                              open(argv[1], O_RDONLY), 0);
    for (int i = 0; i < 16; i++) (void)map[i * 4096];
    for (int i = 0; i < 4; i++) map[i * 4096] = 1;
    for (int i = 0; i < 64; i++) store(i);
    for (int i = 0; i < 16; i++) (void)map[i * 4096];
}"""
    )
    command = [program, str(tmp_path / "data")]

    def mapped(**options):
        record(command, tmp_path / "t.npz", window=32, **options)
        return [touch for touch in _records(tmp_path / "t.npz", 0x700000000) if touch[0] < 16]

    stored = [(i, True) for i in range(4)]
    # Pages that were stored to are the program's own from then on; the others the kernel would drop.
    assert mapped() == stored + [(i, False) for i in range(4)]
    assert mapped(files=True) == [(i, False) for i in range(16)] + stored + [(i, False) for i in range(16)]


@needs_valgrind
@needs_amd64
def test_instructions(compiled, tmp_path):
    program = compiled(WALK, *STATIC)
    record([program], tmp_path / "t.npz", window=8, instructions=True, files=True)
    code = _area(program, "_start") >> 12
    pages = [page for page, _ in _records(tmp_path / "t.npz")]
    assert pages[0] == code
    assert set(pages) - {code} == {(_area(program) >> 12) + page for page in range(PAGES + 1)}


@needs_valgrind
def test_python(tmp_path):
    command = [getattr(sys, "_base_executable", sys.executable), "-I", "-S", "-c", "print(sum(range(100000)))"]
    ticks = []
    info = record(command, tmp_path / "t.npz", progress=lambda *state: ticks.append(state))
    assert info["seconds"] < 60
    assert info["records"] > 10_000
    assert info["accesses"] > 10 * info["records"]
    assert info["exit_status"] == 0
    assert ticks
    assert ticks[-1][0] >= 8 * info["records"]
    meta = open_trace(tmp_path / "t.npz").meta
    assert meta["argv"] == command
    assert meta["window"] == 64


@needs_valgrind
def test_compiled_program(compiled, tmp_path):
    program = compiled(
        PRELUDE
        + """
int main(void)
{
    int n = 1 << 20, *a = malloc(n * sizeof *a);
    for (int i = 0; i < n; i++) a[i] = (unsigned)i * 2654435761u;
    long sum = 0;
    for (int i = 0; i < n; i++) sum += a[a[i] & (n - 1)];
    printf("%ld\\n", sum);
}"""
    )
    info = record([program], tmp_path / "t.npz", window=64)
    page, write = open_trace(tmp_path / "t.npz").load()
    assert info["seconds"] < 60
    assert 1024 <= len(np.unique(page)) < 1500
    assert write.sum() >= 1024


@needs_valgrind
def test_exit_status(tmp_path):
    with pytest.warns(RuntimeWarning, match="ended with status 3"):
        assert record(["/bin/sh", "-c", "exit 3"], tmp_path / "t.npz")["exit_status"] == 3
    with pytest.warns(RuntimeWarning, match=f"ended by signal {int(signal.SIGTERM)}"):
        info = record(["/bin/sh", "-c", "kill -TERM $$"], tmp_path / "t.npz")
    assert info["exit_status"] == -signal.SIGTERM
    assert open_trace(tmp_path / "t.npz").meta["exit_status"] == -signal.SIGTERM


@needs_valgrind
@pytest.mark.parametrize("tool", ["pagetrace", "lackey"])
def test_interrupt_keeps_the_records(compiled, tmp_path, monkeypatch, tool):
    monkeypatch.setattr(_run, "_PATIENCE", 0.3)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it from the start
    program = compiled(PRELUDE + "int main(void) { for (;; usleep(200)) for (int i = 0; i < 64; i++) store(i); }")
    threading.Timer(2.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    info = record([program], tmp_path / "t.npz", window=8, tool=tool)
    assert info["interrupted"]
    assert len(_records(tmp_path / "t.npz")) == info["records"] > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["program", "program.c", "t.npz"]


@needs_valgrind
def test_two_builds_at_once(tmp_path):
    code = "import sys; from swaptable.trace import record; record(['/bin/true'], sys.argv[1], tool='pagetrace')"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    argv = [[sys.executable, "-c", code, str(tmp_path / f"{i}.npz")] for i in range(2)]
    runs = [subprocess.Popen(command, env=environment) for command in argv]
    assert [run.wait() for run in runs] == [0, 0]
    made = list((tmp_path / "cache/swaptable").iterdir())
    assert len(made) == 1
    assert made[0].name.startswith("pagetrace-")


@needs_valgrind
@needs_amd64
def test_falls_back_to_lackey(compiled, tmp_path, monkeypatch):
    program = compiled(WALK, *STATIC)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.warns(RuntimeWarning, match=r"apt install gcc; recording with lackey: hundreds of times slower"):
        assert record([program], tmp_path / "t.npz")["tool"] == "lackey"
    with pytest.raises(RecordError, match="apt install gcc"):
        record([program], tmp_path / "t.npz", tool="pagetrace")
    monkeypatch.setenv("CC", "false")
    with pytest.raises(RecordError, match=r"pagetrace\.c does not compile"):
        record([program], tmp_path / "t.npz", tool="pagetrace")


@needs_valgrind
def test_program_that_cannot_start(tmp_path):
    with pytest.raises(RecordError, match="no-such-program cannot be started"):
        record(["no-such-program"], tmp_path / "t.npz")
    (tmp_path / "broken").write_bytes(b"#!/no/such/interpreter\n")
    (tmp_path / "broken").chmod(0o755)
    with pytest.raises(RecordError, match="nothing was recorded"):
        record([str(tmp_path / "broken")], tmp_path / "t.npz")
    assert not (tmp_path / "t.npz").exists()


def test_no_valgrind(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecordError, match="apt install valgrind gcc"):
        record(["/bin/true"], tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"command": []}, "command is empty"),
        ({"tool": "gdb"}, "tool is 'gdb'"),
        ({"window": 0}, "window is 0"),
        ({"window": 5000}, "window is 5000"),
        ({"page_size": 2048}, "page_size is 2048"),
        ({"page_size": 5000}, "page_size is 5000"),
        ({"compression": "zip"}, "compression is 'zip'"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        record(**({"command": ["/bin/true"], "output": tmp_path / "t.npz"} | arguments))


def test_bad_output(tmp_path):
    for output, said in ((tmp_path, "is a directory"), (tmp_path / "none" / "t.npz", "there is no directory")):
        with pytest.raises(RecordError, match=said):
            record(["/bin/true"], output)


# the command line


def _cli(*words):
    parser = argparse.ArgumentParser(prog="swaptable")
    cli.add_parser(parser.add_subparsers(dest="command"))
    return cli.run(parser.parse_args(["trace", *words]))


@needs_valgrind
def test_cli_record(tmp_path, capfd):
    output = str(tmp_path / "t.npz")
    command = ["/bin/sh", "-c", "echo -o; exit 5"]
    assert _cli("record", "--window", "16", "-o", output, "--json", "--", *command) == 0
    out, err = capfd.readouterr()
    own, _, text = out.partition("\n")
    info = json.loads(text)
    assert own == "-o"
    assert (info["schema"], info["window"], info["argv"], info["exit_status"]) == (1, 16, command, 5)
    assert err == "swaptable: warning: /bin/sh ended with status 5; the trace has what it did until then\n"
    assert _cli("info", output) == 0
    assert "recency window  16 pages" in capfd.readouterr().out


def test_cli_info(tmp_path, capsys):
    path = tmp_path / "t.txt"
    path.write_text("==1==\n S 00001ffe,4\n")
    assert _cli("info", str(path)) == 0
    assert "writes          2 (100.0%)" in capsys.readouterr().out
    assert _cli("info", "--json", "--page-size", "64K", str(path)) == 0
    assert json.loads(capsys.readouterr().out)["distinct_pages"] == 1
    with pytest.raises(TraceError, match="no such file"):
        _cli("info", str(tmp_path / "none"))
    for words in ([], ["record"], ["info"], ["info", "--page-size", "4X", "f"]):
        with pytest.raises(SystemExit, match="2"):
            _cli(*words)
