# Lists of swap areas as text: /proc/swaps, `swapon --show`, and the swap lines of fstab.
# May import errors and the standard library; no file is opened here.
# Used by the device list, areas_cli and tests.
r"""The texts in which Linux names its swap areas, read and written to the letter.

``/proc/swaps`` is the kernel's: sizes in KiB without the header page, blanks and backslashes of a path in octal, the
path padded to 40 bytes. The table of ``swapon --show`` is util-linux's (swapon(8)), fstab is fstab(5) with the options
of swapon(8).

>>> text = format_proc_swaps([SwapArea("/swap file", "file", 2093056, 4096, -2)])
>>> text.splitlines()[1]
'/swap\\040file                           file\t\t2044\t\t4\t\t-2'
>>> parse_proc_swaps(text)[0].name
'/swap file'
>>> print(format_show(parse_proc_swaps(text)), end="")
NAME       TYPE SIZE USED PRIO
/swap file file   2M   4K   -2
>>> parse_fstab("LABEL=scratch none swap sw,pri=5,discard=pages 0 0")[0].priority
5
"""

from __future__ import annotations

import errno
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from swaptable.errors import raise_errno

HEADING = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
COLUMNS = ("NAME", "TYPE", "SIZE", "USED", "PRIO", "UUID", "LABEL")
SHOWN = COLUMNS[:5]
MIN_PRIORITY, MAX_PRIORITY = -1, 32767
_RIGHT = ("SIZE", "USED", "PRIO")
_WIDE = 10_000_000  # The kernel drops a tab after numbers of 8 digits and more.
_TAG = re.compile(r"(UUID|LABEL|PARTUUID|PARTLABEL)=(?:\"([^\"]*)\"|(.*))", re.DOTALL)


@dataclass(frozen=True)
class SwapArea:
    """An area that is on.

    Attributes
    ----------
    name, type : str
        The path, decoded as :func:`os.fsdecode` does; ``partition``, ``file`` or ``ghost``.
    size, used, priority : int
        Bytes, the header page not counted.
    uuid, label : str
        Of its header, where the reader of the header put them; ``/proc/swaps`` has neither.
    """

    name: str
    type: str
    size: int
    used: int
    priority: int
    uuid: str = ""
    label: str = ""


@dataclass(frozen=True)
class FstabSwap:
    """A swap line of fstab.

    Attributes
    ----------
    spec : str
        A path, or ``UUID=...``, ``LABEL=...``, ``PARTUUID=...``, ``PARTLABEL=...``.
    priority : int or None
        ``pri=``, -1 to 32767; None when the kernel is to choose.
    discard : str or None
        ``once``: the whole area at swapon; ``pages``: freed clusters; ``both``: plain ``discard``.
    nofail, noauto : bool
        Skipped when it does not exist; not for ``swapon -a``.
    options : tuple of str
        All of them, ``sw`` and ``defaults`` too.
    line : int
        Of the text, from 1.
    """

    spec: str
    priority: int | None = None
    discard: str | None = None
    nofail: bool = False
    noauto: bool = False
    options: tuple[str, ...] = ()
    line: int = 0

    @property
    def tag(self) -> tuple[str, str] | None:
        """``("UUID", value)`` and the like; None for a path."""
        match = _TAG.fullmatch(self.spec)
        return None if match is None else (match[1], match[3] if match[2] is None else match[2])


def escape(name: str) -> str:
    r"""Return *name* with blank, tab, newline and backslash in octal, as the kernel prints paths.

    >>> escape("a b")
    'a\\040b'
    """
    return re.sub(r"[ \t\n\\]", lambda found: f"\\{ord(found[0]):03o}", name)


def unescape(text: str) -> str:
    r"""Return the name that *text* means: every ``\ooo`` is a byte.

    >>> unescape(r"caf\303\251\040au\040lait")
    'café au lait'
    """
    raw = text.encode("utf-8", "surrogateescape")
    raw = re.sub(rb"\\([0-3][0-7]{2})", lambda found: bytes([int(found[1], 8)]), raw)
    return raw.decode("utf-8", "surrogateescape")


def human_size(size: int, suffix: str = "") -> str:
    """Return *size* as util-linux prints it: a binary unit, one decimal, none where that is 0.

    >>> human_size(2093056), human_size(1568768), human_size(0), human_size(1 << 43, "iB")
    ('2M', '1.5M', '0B', '8TiB')
    """
    unit = min(max(size.bit_length() - 1, 0) // 10, 6)
    whole, tenths = size >> 10 * unit, (((size & (1 << 10 * unit) - 1) * 1000 >> 10 * unit) + 50) // 100
    whole, tenths = whole + tenths // 10, tenths % 10
    letter = "BKMGTPE"[unit]
    return f"{whole}{f'.{tenths}' if tenths else ''}{letter}{suffix if unit else ''}"


# ---- /proc/swaps


def format_proc_swaps(areas: Iterable[SwapArea]) -> str:
    """Return the text of ``/proc/swaps`` for *areas*, in their order, heading included."""
    return HEADING + "".join(map(_proc_line, areas))


def _proc_line(area: SwapArea) -> str:
    name = escape(area.name)
    pad = " " * max(1, 40 - len(name.encode("utf-8", "surrogateescape")))
    size, used = area.size // 1024, area.used // 1024
    tabs = ["\t" if value < _WIDE else "" for value in (size, used)]
    kind = area.type if area.type == "partition" else area.type + "\t"
    return f"{name}{pad}{kind}\t{size}\t{tabs[0]}{used}\t{tabs[1]}{area.priority}\n"


def parse_proc_swaps(text: str) -> tuple[SwapArea, ...]:
    """Return the areas that *text*, in the layout of ``/proc/swaps``, lists.

    Raises
    ------
    SwapValueError
        A line is not of that layout; the message has its number and its text.
    """
    # Not splitlines(): the kernel leaves the other characters that it would split at as they are.
    first, *lines = text.removesuffix("\n").split("\n")
    if first.split() != HEADING.split():
        _refuse(f"line 1 is {first!r}; expected the heading of /proc/swaps, {' '.join(HEADING.split())!r}")
    return tuple(_parse_proc_line(number, line) for number, line in enumerate(lines, 2))


def _parse_proc_line(number: int, line: str) -> SwapArea:
    match = re.fullmatch(r"([^ \t]+)[ \t]+(partition|file|ghost)[ \t]+(\d+)[ \t]+(\d+)[ \t]+(-?\d+)", line, re.ASCII)
    if match is None:
        _refuse(f"line {number} is {line!r}; expected a path, partition, file or ghost, KiB, KiB and a priority")
    name, kind, size, used, priority = match.groups()
    return SwapArea(unescape(name), kind, int(size) * 1024, int(used) * 1024, int(priority))


# ---- swapon --show


def parse_columns(text: str) -> tuple[str, ...]:
    """Return the columns that a list such as ``name,size`` names.

    Raises
    ------
    SwapValueError
        Names the column that ``swapon --show`` does not have.
    """
    names = tuple(name.strip().upper() for name in text.split(","))
    for name in names:
        if name not in COLUMNS:
            _refuse(f"unknown column {name!r}; expected some of {', '.join(COLUMNS)}")
    return names


def format_show(
    areas: Iterable[SwapArea],
    columns: Sequence[str] = SHOWN,
    *,
    in_bytes: bool = False,
    raw: bool = False,
    headings: bool = True,
) -> str:
    r"""Return what ``swapon --show`` prints for *areas*; nothing when there are none, not even headings.

    Parameters
    ----------
    columns : sequence of str
        Some of ``COLUMNS``.
    in_bytes, raw, headings : bool
        ``--bytes``, ``--raw`` and the opposite of ``--noheadings``. Raw lines are not aligned, and blanks, backslashes
        and what is not printable ASCII are ``\xhh`` in them; aligned ones have only control characters so.
    """
    columns = parse_columns(",".join(columns))
    rows = [[_cell(area, column, in_bytes, raw) for column in columns] for area in areas]
    if not rows:
        return ""
    # The heading takes part in the width even when it is not printed.
    lines = [list(columns), *rows]
    widths = [0 if raw else max(map(_width, column)) for column in zip(*lines, strict=True)]
    widths[-1] *= columns[-1] in _RIGHT
    return "".join(" ".join(map(_aligned, line, columns, widths)) + "\n" for line in (lines if headings else rows))


def _cell(area: SwapArea, column: str, in_bytes: bool, raw: bool) -> str:
    if column in ("SIZE", "USED"):
        size = area.size if column == "SIZE" else area.used
        return str(size) if in_bytes else human_size(size)
    text = {"NAME": area.name, "TYPE": area.type, "PRIO": str(area.priority), "UUID": area.uuid, "LABEL": area.label}
    return _raw(text[column]) if raw else _printable(text[column])


def _hex(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def _raw(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if 0x20 < byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}" for byte in data)


def _printable(text: str) -> str:
    text = text.replace("\\x", "\\x5cx")
    return "".join(char if char.isprintable() else _hex(char.encode("utf-8", "surrogateescape")) for char in text)


def _width(text: str) -> int:
    """Columns of a terminal, as wcwidth(3) counts them."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.category(char) in ("Mn", "Me") for char in text)


def _aligned(text: str, column: str, width: int) -> str:
    pad = " " * (width - _width(text))
    return pad + text if column in _RIGHT else text + pad


# ---- fstab


def parse_fstab(text: str) -> tuple[FstabSwap, ...]:
    """Return the swap lines of an fstab, in their order; other lines are passed over.

    Raises
    ------
    SwapValueError
        A line has fewer than three fields, or a ``pri=`` or ``discard=`` that swapon(8) does not know; the message has
        the line's number.
    """
    lines = ((number, re.findall(r"[^ \t]+", line)) for number, line in enumerate(text.split("\n"), 1))
    found = (_parse_fstab_line(number, fields) for number, fields in lines if fields and fields[0][0] != "#")
    return tuple(entry for entry in found if entry is not None)


def _parse_fstab_line(number: int, fields: list[str]) -> FstabSwap | None:
    if len(fields) < 3:
        _refuse(f"fstab line {number} is {' '.join(fields)!r}; expected a device, a mount point and a type at least")
    if fields[2] != "swap":
        return None
    options = tuple(unescape(fields[3]).split(",")) if len(fields) > 3 else ()
    priority, discard = None, None
    for option in options:
        name, equals, value = option.partition("=")
        if name == "pri":
            priority = parse_priority(value, f"fstab line {number}: pri")
        elif name == "discard":
            discard = _discard(value, number) if equals else "both"
    return FstabSwap(unescape(fields[0]), priority, discard, "nofail" in options, "noauto" in options, options, number)


def _discard(policy: str, number: int) -> str:
    if policy not in ("once", "pages"):
        _refuse(f"fstab line {number}: discard is {policy!r}; expected once or pages")
    return policy


def parse_priority(text: str, name: str = "priority") -> int:
    """Return a priority as swapon(8) takes it, -1 to 32767.

    Raises
    ------
    SwapValueError
        Names the value.
    """
    if not re.fullmatch(r"-?\d{1,9}", text, re.ASCII) or not MIN_PRIORITY <= int(text) <= MAX_PRIORITY:
        _refuse(f"{name} is {text!r}; expected a number from {MIN_PRIORITY} to {MAX_PRIORITY}")
    return int(text)


def _refuse(message: str) -> NoReturn:
    raise_errno(errno.EINVAL, message)
