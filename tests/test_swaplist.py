# /proc/swaps, `swapon --show` and fstab: golden texts, round trips, and what the running kernel and util-linux print.
# May import the package; what asks the kernel skips itself and says why.
# Used by pytest.
import os
import random
from dataclasses import replace

import kernel_swap as host
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swaptable import SwapValueError
from swaptable.swapfile import mkswap, read_header
from swaptable.swaplist import (
    COLUMNS,
    FstabSwap,
    SwapArea,
    escape,
    format_proc_swaps,
    format_show,
    human_size,
    parse_columns,
    parse_fstab,
    parse_priority,
    parse_proc_swaps,
    unescape,
)

KIB = 1024
# What Linux 6.18 and util-linux 2.38 print; the ghost's line is as in the ghost swapfile patch.
AREAS = (
    SwapArea("/dev/vda2", "partition", 2040 * KIB, 0, -2),
    SwapArea("/tmp/a b.swap", "file", 2044 * KIB, 4 * KIB, 5),
    SwapArea("/tmp/t\tb\\x.swap", "file", 1532 * KIB, 0, 32767),
    SwapArea("/srv/swap/with/a/path/of/forty/characters", "file", 12_000_000 * KIB, 10_000_000 * KIB, 0),
    SwapArea("/ghostfile", "ghost", 15_269_887 * 1024 * KIB, 821 * 1024 * KIB, -1),
)
PROC = (
    "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    "/dev/vda2                               partition\t2040\t\t0\t\t-2\n"
    "/tmp/a\\040b.swap                        file\t\t2044\t\t4\t\t5\n"
    "/tmp/t\\011b\\134x.swap                   file\t\t1532\t\t0\t\t32767\n"
    "/srv/swap/with/a/path/of/forty/characters file\t\t12000000\t10000000\t0\n"
    "/ghostfile                              ghost\t\t15636364288\t840704\t\t-1\n"
)
SHOW = """\
NAME                                      TYPE       SIZE USED  PRIO
/dev/vda2                                 partition    2M   0B    -2
/tmp/a b.swap                             file         2M   4K     5
/tmp/t\\x09b\\x5cx.swap                     file       1.5M   0B 32767
/srv/swap/with/a/path/of/forty/characters file      11.4G 9.5G     0
/ghostfile                                ghost     14.6T 821M    -1
"""
NAMES = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60).map(str.encode)
    | st.binary(min_size=1, max_size=60).filter(lambda name: b"\0" not in name)
).map(lambda name: name.decode("utf-8", "surrogateescape"))
AREA = st.builds(
    SwapArea,
    NAMES,
    st.sampled_from(["partition", "file", "ghost"]),
    st.integers(0, 1 << 50).map(lambda size: size * KIB),
    st.integers(0, 1 << 50).map(lambda size: size * KIB),
    st.integers(-100, 32767),
)


def test_proc_swaps():
    assert format_proc_swaps(AREAS) == PROC
    assert parse_proc_swaps(PROC) == AREAS
    assert format_proc_swaps([]) == PROC.splitlines(keepends=True)[0]
    assert parse_proc_swaps(format_proc_swaps([])) == ()


@given(st.lists(AREA, max_size=4))
def test_proc_swaps_round_trip(areas):
    assert parse_proc_swaps(format_proc_swaps(areas)) == tuple(areas)


@pytest.mark.parametrize("size", [39, 40, 41])
def test_the_path_is_padded_to_40_bytes(size):
    line = format_proc_swaps([SwapArea("/" + "x" * (size - 1), "file", 0, 0, 0)]).splitlines()[1]
    assert line.index("file") == max(40, size + 1)
    line = format_proc_swaps([SwapArea("/é", "file", 0, 0, 0)]).splitlines()[1]
    assert line.encode().index(b"file") == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 is ''; expected the heading of /proc/swaps, 'Filename Type Size Used Priority'"),
        ("x\n", "line 1 is 'x'; expected the heading"),
        (PROC + "/dev/x disk 1 2 3\n", "line 7 is '/dev/x disk 1 2 3'; expected a path, partition, file or ghost, KiB"),
        (PROC + "/dev/x file 1 2\n", "line 7 is "),
        (PROC + "/dev/x file 1 -2 3\n", "line 7 is "),
        (PROC + "\n", "line 7 is ''"),
    ],
)
def test_what_is_not_proc_swaps(text, message):
    with pytest.raises(SwapValueError, match=message):
        parse_proc_swaps(text)


def test_show():
    assert format_show(AREAS) == SHOW
    assert format_show(AREAS, headings=False) == "".join(SHOW.splitlines(keepends=True)[1:])
    assert format_show(AREAS[1:3], in_bytes=True) == (
        "NAME                  TYPE    SIZE USED  PRIO\n"
        "/tmp/a b.swap         file 2093056 4096     5\n"
        "/tmp/t\\x09b\\x5cx.swap file 1568768    0 32767\n"
    )
    assert format_show(AREAS[1:3], raw=True) == (
        "NAME TYPE SIZE USED PRIO\n/tmp/a\\x20b.swap file 2M 4K 5\n/tmp/t\\x09b\\x5cx.swap file 1.5M 0B 32767\n"
    )


def test_show_prints_nothing_where_nothing_is_on():
    assert format_show([]) == ""


def test_columns():
    assert parse_columns("name, Size") == ("NAME", "SIZE")
    assert format_show(AREAS[:2], ("SIZE", "NAME")) == "SIZE NAME\n  2M /dev/vda2\n  2M /tmp/a b.swap\n"
    for text in ("NAME,BOGUS", "BOGUS"):
        with pytest.raises(SwapValueError, match="unknown column 'BOGUS'; expected some of NAME, TYPE, SIZE"):
            parse_columns(text)
    with pytest.raises(SwapValueError, match="unknown column ''"):
        format_show(AREAS, ())


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"), (1, "1B"), (1023, "1023B"), (1024, "1K"), (1075, "1K"), (1076, "1.1K"), (10239, "10K"),
        (2093056, "2M"), (1568768, "1.5M"), (1 << 60, "1E"), ((1 << 20) - 1, "1024K"), (1 << 64, "16E"),
    ],
)  # fmt: skip
def test_human_sizes(size, text):
    assert human_size(size) == text


def test_human_sizes_are_those_of_mkswap(tmp_path):
    host.tool("mkswap")
    rng = random.Random(5)
    path = str(tmp_path / "area")
    for pages in [11, 100, 257, 26, 27, 2816, *(rng.randrange(11, 1 << rng.randrange(5, 30)) for _ in range(30))]:
        with open(path, "wb") as file:
            file.truncate(pages * 4096)
        said = host.run("mkswap", "-p", "4096", "-q", path) + host.run("mkswap", "-p", "4096", path)
        size = (pages - 1) * 4096
        text = human_size(size, "iB")
        unit = text.lstrip("0123456789.")
        assert f"size = {text.removesuffix(unit)} {unit} ({size} bytes)" in said


# ---- fstab

FSTAB = r"""# <file system> <mount point> <type> <options> <dump> <pass>
UUID=0d29b27b-49f0-4544-b9fc-221caea42b9c / ext4 errors=remount-ro 0 1
/dev/sda2	none	swap	sw	0	0

LABEL="my swap" none swap defaults,pri=10,discard 0 0
	UUID=c1b9d5a2-f162-11cf-9ece-0020afc76f16 swap swap pri=32767,discard=once,nofail
/swap\040files/a\134b swap swap noauto,discard=pages,pri=3,pri=-1,x-systemd.makefs 0 0
/ghostfile none swap
#/dev/sdb1 none swap sw 0 0
"""


def test_fstab():
    assert parse_fstab(FSTAB) == (
        FstabSwap("/dev/sda2", options=("sw",), line=3),
        # A blank in a quoted value separates fields all the same: fstab(5) has \040 for it.
        FstabSwap("UUID=c1b9d5a2-f162-11cf-9ece-0020afc76f16", 32767, "once", True, False,
                  ("pri=32767", "discard=once", "nofail"), 6),
        FstabSwap("/swap files/a\\b", -1, "pages", False, True,
                  ("noauto", "discard=pages", "pri=3", "pri=-1", "x-systemd.makefs"), 7),
        FstabSwap("/ghostfile", line=8),
    )  # fmt: skip


def test_fstab_tags():
    (entry,) = parse_fstab('LABEL="my\\040swap" none swap defaults,pri=10,discard 0 0')
    assert (entry.tag, entry.priority, entry.discard) == (("LABEL", "my swap"), 10, "both")
    assert parse_fstab("UUID=ab-cd x swap")[0].tag == ("UUID", "ab-cd")
    assert parse_fstab("PARTLABEL=a=b x swap")[0].tag == ("PARTLABEL", "a=b")
    assert parse_fstab("/dev/UUID=x x swap")[0].tag is None


def test_an_empty_fstab():
    assert parse_fstab("") == parse_fstab("\n# x\n \t\n") == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/dev/sda2 none", "fstab line 2 is '/dev/sda2 none'; expected a device, a mount point and a type at least"),
        ("/dev/sda2 none swap pri=x", "fstab line 2: pri is 'x'; expected a number from -1 to 32767"),
        ("/dev/sda2 none swap pri", "fstab line 2: pri is ''"),
        ("/dev/sda2 none swap pri=32768", "fstab line 2: pri is '32768'"),
        ("/dev/sda2 none swap pri=-2", "fstab line 2: pri is '-2'"),
        ("/dev/sda2 none swap discard=all", "fstab line 2: discard is 'all'; expected once or pages"),
        ("/dev/sda2 none swap discard=both", "fstab line 2: discard is 'both'"),
        ("/dev/sda2 none swap discard=", "fstab line 2: discard is ''"),
    ],
)
def test_what_is_not_fstab(line, message):
    with pytest.raises(SwapValueError, match=message):
        parse_fstab("# x\n" + line)


@pytest.mark.parametrize("text", ["", "-2", "32768", "+5", "1.0", "٣", "9" * 5000])
def test_what_is_no_priority(text):
    with pytest.raises(SwapValueError, match="priority is "):
        parse_priority(text)


@given(NAMES)
def test_escapes(name):
    assert unescape(escape(name)) == name
    assert not set(escape(name)) & set(" \t\n")


def test_octal_escapes_are_bytes():
    assert unescape(r"\303\251\040\1x\477") == "é \\1x\\477"
    assert os.fsencode(unescape(r"a\377")) == b"a\xff"


# ---- the running kernel and util-linux


@pytest.fixture
def areas_on(tmp_path):
    """Swap files with odd names and priorities, on."""
    host.need_swapon(tmp_path)
    # A name of 40 bytes and more with the directory in front, whatever that is.
    names = {"plain": 7, "a b": 5, "t\tb\\x\\y": 32767, "é漢u\u0301\n\x0b\u2028": 0, "x" * 40: None}
    with host.contextlib.ExitStack() as stack:
        for i, (name, priority) in enumerate(names.items()):
            path = str(tmp_path / name)
            mkswap(path, (1 << 20) + i * 52 * 4096, label="" if i else "my label")
            stack.enter_context(host.swapped_on(path, priority))
        yield [str(tmp_path / name) for name in names]


def test_the_kernels_proc_swaps(areas_on):
    text = host.proc_swaps()
    areas = parse_proc_swaps(text)
    assert format_proc_swaps(areas) == text
    ours = {area.name: area for area in areas if area.name in areas_on}
    assert len(ours) == 5
    assert [ours[name].priority for name in areas_on[:4]] == [7, 5, 32767, 0]
    assert [ours[name].size for name in areas_on] == [read_header(name).good_pages * 4096 for name in areas_on]
    assert {area.type for area in ours.values()} == {"file"}


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("in_bytes", [False, True])
@pytest.mark.parametrize("headings", [False, True])
def test_swapon_show(areas_on, raw, in_bytes, headings):
    options = ["--raw"] * raw + ["--bytes"] * in_bytes + ["--noheadings"] * (not headings)
    text, said = host.settled(lambda: host.run("swapon", "--show", *options))
    assert format_show(parse_proc_swaps(text), raw=raw, in_bytes=in_bytes, headings=headings) == said


@pytest.mark.parametrize(
    "columns", ["NAME", "SIZE,NAME", "name,Type", "USED", "TYPE,PRIO", "NAME,UUID,LABEL", "NAME,LABEL,PRIO"]
)
@pytest.mark.parametrize("raw", [False, True])
def test_columns_of_swapon_show(areas_on, columns, raw):
    text, said = host.settled(lambda: host.run("swapon", f"--show={columns}", *["--raw"] * raw))
    areas = []
    for area in parse_proc_swaps(text):
        header = read_header(area.name)
        areas.append(replace(area, uuid=str(header.uuid), label=header.label))
    assert format_show(areas, parse_columns(columns), raw=raw) == said


def test_every_column_of_swapon_is_known():
    said = host.run(host.tool("swapon"), "--help")
    listed = [line.split()[0] for line in said.partition("output columns:")[2].splitlines() if line.startswith(" ")]
    assert tuple(listed) == COLUMNS
