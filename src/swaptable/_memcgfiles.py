# The values of cgroup v2 files as text: limits in bytes with memparse suffixes, and flags.
# May import errors and the standard library.
# Used by memcg.py.
"""What the kernel takes and prints in ``memory.swap.*`` and ``memory.zswap.*``."""

from __future__ import annotations

import errno
import re
from typing import NoReturn

from swaptable.errors import raise_errno

SUFFIXES = "KMGTPE"
_NUMBER = r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)"


def no_limit(page_size: int) -> int:
    """Pages that stand for ``max``: PAGE_COUNTER_MAX of a 64-bit kernel."""
    return ((1 << 63) - 1) // page_size


def parse_limit(text: str, page_size: int, file: str = "limit") -> int:
    """Return the pages of a limit: ``max``, or bytes, rounded down to whole pages.

    Numbers are decimal, octal (``010``) or hexadecimal (``0x10``), followed by K, M, G, T, P or E of either case. The
    kernel also reads "" and a bare suffix, as 0; here that is refused, since nobody means it.

    Raises
    ------
    SwapValueError
        EINVAL: names *file* and the text.

    >>> parse_limit("64M", 4096), parse_limit("4097", 4096), parse_limit("max", 4096)
    (16384, 1, 2251799813685247)
    """
    word = text.strip()
    if word == "max":
        return no_limit(page_size)
    match = re.fullmatch(_NUMBER + f"([{SUFFIXES}{SUFFIXES.lower()}]?)", word)
    if match is None or len(word) > 100:
        refuse(f"{file} is {text!r}; expected max, or bytes such as 4096, 64M or 1G")
    size = _number(match[1]) << 10 * (SUFFIXES.find(match[2].upper()) + 1 if match[2] else 0)
    return min(size // page_size, no_limit(page_size))


def format_limit(pages: int, page_size: int) -> str:
    """Return ``max`` or bytes, with the newline.

    >>> format_limit(16384, 4096)
    '67108864\\n'
    """
    return "max\n" if pages >= no_limit(page_size) else f"{pages * page_size}\n"


def parse_flag(text: str, file: str = "flag") -> bool:
    """Return a flag that is 0 or 1.

    Raises
    ------
    SwapValueError
        EINVAL: names *file* and the text.
    """
    match = re.fullmatch(r"\+?" + _NUMBER, text.strip())
    if match is None or len(text) > 100 or _number(match[1]) > 1:
        refuse(f"{file} is {text!r}; expected 0 or 1")
    return bool(_number(match[1]))


def _number(digits: str) -> int:
    return int(digits, 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10)


def refuse(message: str) -> NoReturn:
    """EINVAL."""
    raise_errno(errno.EINVAL, message)
