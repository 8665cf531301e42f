# `swaptable mkswap` and `swaptable swaps`: output, JSON, exit codes.
# May import the package; what asks the kernel skips itself and says why.
# Used by pytest.
import io
import json
import os
import sys

import kernel_swap as host
import pytest
from test_swaplist import AREAS, PROC, SHOW

from swaptable import cli
from swaptable.swapfile import mkswap, read_header

UUID = "c1b9d5a2-f162-11cf-9ece-0020afc76f16"


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return "area"


@pytest.fixture
def saved(path):
    with open("saved", "w") as file:
        file.write(PROC)
    return "saved"


def test_mkswap(path, capsys):
    assert cli.main(["mkswap", "--size", "1M", "-L", "scratch", "-U", UUID, "-p", "4096", path]) == 0
    out, err = capsys.readouterr()
    said = f"Setting up swapspace version 1, size = 1020 KiB (1044480 bytes)\nLABEL=scratch, UUID={UUID}\n"
    assert (out, err) == (said, "")
    assert read_header(path).label == "scratch"


def test_mkswap_says_what_util_linux_says(path, capsys):
    with open("theirs", "wb") as file:
        file.truncate(3 << 20)
    os.chmod("theirs", 0o600)
    for options in (["-U", UUID], ["-U", UUID, "-L", "x"]):
        said = host.run(host.tool("mkswap"), *options, "theirs")
        assert cli.main(["mkswap", "-s", "3M", *options, path]) == 0
        # The note about holes is on stderr.
        assert capsys.readouterr().out == said


def test_a_ghost(path, capsys):
    assert cli.main(["mkswap", "--ghost", "--size", "8T", "-p", "4K", "-U", "clear", path]) == 0
    assert capsys.readouterr().out == (
        "Setting up ghost swapspace version 1, size = 8 TiB (8796093018112 bytes)\n"
        "no label, UUID=00000000-0000-0000-0000-000000000000\n"
    )
    assert read_header(path).ghost


def test_mkswap_json(path, capsys):
    args = ["mkswap", "--json", "--size", "1M", "--uuid", UUID, "-e", "big", "-p", "16K", "--output", "report", path]
    assert cli.main(args) == 0
    assert capsys.readouterr().out == ""
    with open("report") as file:
        assert json.load(file) == {
            "schema": 1, "command": "mkswap", "file": path, "size": 1 << 20, "last_page": 63, "bad": [], "uuid": UUID,
            "label": "", "page_size": 16384, "byteorder": "big", "version": 1, "ghost": False,
        }  # fmt: skip


def test_endianness_of_this_machine(path):
    assert cli.main(["mkswap", "--size", "1M", "-e", "native", path]) == 0
    assert read_header(path).byteorder == sys.byteorder


def test_a_mode_that_others_can_read(path, capsys):
    mkswap(path, 1 << 20)
    os.chmod(path, 0o644)
    assert cli.main(["mkswap", path]) == 0
    assert capsys.readouterr().err == "swaptable: area has mode 0644: others can read what is swapped out; use 0600\n"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["area"], 2, "swaptable: area does not exist; expected a size for a new file"),
        (["--size", "many", "area"], 2, "size is 'many'; expected a positive size"),
        (["--size", "4K", "area"], 2, "size is 4096; expected 8192"),
        (["--size", "1M", "-U", "x", "area"], 2, "uuid is 'x'"),
        (["--size", "1M", "-L", "sixteen letters.", "area"], 2, "expected at most 15 bytes"),
        (["--size", "1M", "-e", "middle", "area"], 2, "invalid choice"),
        (["--size", "1M", "-p", "5000", "area"], 2, "page_size is 5000"),
        (["--size", "1M", "no/area"], 1, "No such file or directory"),
        (["text"], 1, "text holds data that is no swap area, from byte 0; force writes over it"),
        ([], 2, "FILE"),
    ],
)
def test_mkswap_refuses(path, args, code, message, capsys):
    with open("text", "w") as file:
        file.write("words" * 4000)
    assert cli.main(["mkswap", *args]) == code
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""
    assert not os.path.exists("area")


def test_force(path):
    with open(path, "w") as file:
        file.write("words" * 4000)
    assert cli.main(["mkswap", "--force", path]) == 0
    assert read_header(path).pages == 20000 // 4096


def test_swaps(saved, capsys):
    assert cli.main(["swaps", saved]) == 0
    assert capsys.readouterr().out == PROC


def test_show(saved, capsys):
    assert cli.main(["swaps", saved, "--show"]) == 0
    assert capsys.readouterr().out == SHOW
    assert cli.main(["swaps", saved, "--show=name,size", "--bytes", "--raw", "--noheadings"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["/dev/vda2 2088960", "/tmp/a\\x20b.swap 2093056"]


def test_output_is_columns_or_a_file(saved, capsys):
    assert cli.main(["swaps", saved, "--show", "--output=SIZE,PRIO", "--noheadings"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "   2M    -2"
    assert cli.main(["swaps", saved, "--show", "--output=PRIO", "--output", "table"]) == 0
    assert cli.main(["swaps", saved, "--output", "NAME"]) == 0
    assert capsys.readouterr().out == ""
    with open("table") as table, open("NAME") as name:
        assert table.read().splitlines()[:2] == [" PRIO", "   -2"]
        assert name.read() == PROC


def test_swaps_json(saved, capsys):
    assert cli.main(["swaps", saved, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["schema"], report["command"], len(report["swaps"])) == (1, "swaps", len(AREAS))
    assert report["swaps"][1] == {"name": "/tmp/a b.swap", "type": "file", "size": 2093056, "used": 4096,
                                  "priority": 5, "uuid": "", "label": ""}  # fmt: skip


def test_labels_come_from_the_headers(path, capsys):
    header = mkswap(path, 1 << 20, label="scratch")
    with open("saved", "w") as file:
        file.write(PROC.splitlines()[0] + f"\n{os.path.abspath(path)} file 1020 0 -2\n/not/there file 8 0 -3\n")
    assert cli.main(["swaps", "saved", "--show=LABEL,UUID", "--noheadings"]) == 0
    assert capsys.readouterr().out == f"scratch {header.uuid}\n        \n"


def test_names_that_are_no_text(saved, capfdbinary, monkeypatch):
    with open("saved", "wb") as file:
        file.write(PROC.encode().splitlines()[0] + b"\n/caf\xe9 file 1020 0 -2\n")
    assert cli.main(["swaps", "saved"]) == 0
    assert b"\n/caf\xe9  " in capfdbinary.readouterr().out
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert cli.main(["swaps", "saved", "--show"]) == 0
    assert "/caf\\xe9 file" in sys.stdout.getvalue()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--show=BOGUS"], 2, "unknown column 'BOGUS'; expected some of NAME, TYPE"),
        (["/does/not/exist"], 1, "/does/not/exist"),
        (["/dev/null"], 2, "line 1 is ''; expected the heading of /proc/swaps"),
    ],
)
def test_swaps_refuses(args, code, message, capsys):
    assert cli.main(["swaps", *args]) == code
    assert message in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/proc/swaps"), reason="no /proc/swaps here")
def test_the_running_kernels(capsys):
    def read():
        assert cli.main(["swaps"]) == 0
        return capsys.readouterr().out

    text, said = host.settled(read)
    assert said == text
