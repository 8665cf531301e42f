# The header page of a swap area as bytes: its fields, and what the kernel refuses in them.
# May import errors and the standard library; no file is opened here.
# Used by swapfile.py, which has the public names, and tests.
"""``SWAPSPACE2`` headers: :class:`SwapHeader` to bytes and back."""

from __future__ import annotations

import errno
import struct
import sys
import uuid as uuids
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from swaptable.errors import raise_errno

PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)
MAGICS = MAGIC, OLD_MAGIC = b"SWAPSPACE2", b"SWAP-SPACE"
MAX_PAGES = 0xFFFFFFFF  # The kernel counts them in an unsigned int.
LABEL_BYTES = 16
_INFO, _BAD = 1024, 1536
_NO_UUID = uuids.UUID(int=0)


@dataclass(frozen=True)
class SwapHeader:
    """A swap area's header.

    Attributes
    ----------
    last_page : int
        Number of the last page; page 0 is the header.
    bad : tuple of int
        Bad pages, 1 to *last_page*.
    uuid : uuid.UUID
    label : str
        At most 16 bytes of UTF-8.
    page_size : int
        Bytes: a power of two from 4096 to 65536.
    byteorder : str
        ``little`` or ``big``.
    version : int
        1, the only one that Linux takes.
    ghost : bool
        The area is a regular file of one page: *last_page* is where it starts, and it may grow. Not in the page itself.
    """

    last_page: int
    bad: tuple[int, ...] = ()
    uuid: uuids.UUID = _NO_UUID
    label: str = ""
    page_size: int = 4096
    byteorder: str = sys.byteorder
    version: int = 1
    ghost: bool = False

    def __post_init__(self) -> None:
        if self.page_size not in PAGE_SIZES:
            _refuse(f"page_size is {self.page_size!r}; expected one of {', '.join(map(str, PAGE_SIZES))}")
        if self.byteorder not in ("little", "big"):
            _refuse(f"byteorder is {self.byteorder!r}; expected 'little' or 'big'")
        if self.version != 1:
            _refuse(f"version is {self.version!r}; expected 1")
        if not 1 <= self.last_page <= MAX_PAGES:
            _refuse(f"last_page is {self.last_page!r}; expected 1 to {MAX_PAGES}")
        if "\0" in self.label or len(_encoded(self.label)) > LABEL_BYTES:
            _refuse(f"label is {self.label!r}; expected at most {LABEL_BYTES} bytes, none of them 0")
        check_bad(self.bad, self.last_page, self.page_size)

    @property
    def pages(self) -> int:
        """The header page included; 2**32 - 1 at most, as in the kernel."""
        return min(self.last_page + 1, MAX_PAGES)

    @property
    def size(self) -> int:
        """Bytes of the area, the header page included."""
        return self.pages * self.page_size

    @property
    def good_pages(self) -> int:
        """Pages that can be swapped to."""
        return self.pages - 1 - len(self.bad)

    def to_bytes(self) -> bytes:
        """Return the page, which :func:`parse_header` reads."""
        page = bytearray(self.page_size)
        order = ">" if self.byteorder == "big" else "<"
        struct.pack_into(f"{order}3I", page, _INFO, self.version, self.last_page, len(self.bad))
        struct.pack_into("16s16s", page, _INFO + 12, self.uuid.bytes, _encoded(self.label))
        struct.pack_into(f"{order}{len(self.bad)}I", page, _BAD, *self.bad)
        page[-len(MAGIC) :] = MAGIC
        return bytes(page)


def max_bad_pages(page_size: int = 4096) -> int:
    """Return how many bad pages a header has room for: 637 with pages of 4096 bytes."""
    return (page_size - len(MAGIC) - _BAD) // 4


def parse_header(
    data: bytes, page_size: int | None = None, *, regular: bool = False, name: str = "the swap area"
) -> SwapHeader:
    """Return the header that *data*, the beginning of an area, has; the rules are those of :func:`read_header`.

    Whether the area is as long as its header says, and whether it is a ghost, takes the file.

    Parameters
    ----------
    data : bytes
        One page at least; 64 KiB to find any page size.
    page_size : int, optional
    regular : bool
        Refuse a list of bad pages, as the kernel does in a regular file.
    name : str
        What messages call the area.
    """
    size = _page_size(data, page_size, name)
    version, order = _version(data)
    if version != 1:
        _refuse(f"{name} has version {version}; expected 1")
    _, last_page, nr_bad = struct.unpack_from(f"{order}3I", data, _INFO)
    if not last_page:
        _refuse(f"{name} is empty: its last page is 0, the header")
    if nr_bad and regular:
        _refuse(f"{name} lists {nr_bad} bad pages; expected none, since it is a regular file")
    # One more than there is room for is enough to be refused.
    bad = struct.unpack_from(f"{order}{min(nr_bad, max_bad_pages(size) + 1)}I", data, _BAD)
    check_bad(bad, last_page, size, name, nr_bad)
    label = data[_INFO + 28 : _INFO + 44].partition(b"\0")[0].decode("utf-8", "surrogateescape")
    uuid = uuids.UUID(bytes=bytes(data[_INFO + 12 : _INFO + 28]))
    return SwapHeader(last_page, bad, uuid, label, size, "big" if order == ">" else "little", version)


def _page_size(data: bytes, page_size: int | None, name: str) -> int:
    """The page size at whose end the signature is."""
    if page_size is not None and page_size not in PAGE_SIZES:
        _refuse(f"page_size is {page_size!r}; expected one of {', '.join(map(str, PAGE_SIZES))}")
    found = {size: data[size - len(MAGIC) : size] for size in PAGE_SIZES}
    size = next((size for size in PAGE_SIZES if found[size] == MAGIC), None)
    if size is None and OLD_MAGIC in found.values():
        _refuse(f"{name} has the signature {OLD_MAGIC.decode()} of version 0, which Linux has not taken since 2.5.22")
    if size is None:
        _refuse(f"{name} has no swap signature; expected {MAGIC.decode()} in the last 10 bytes of its first page")
    if page_size is not None and found[page_size] != MAGIC:
        _refuse(f"{name} was made for pages of {size} bytes; expected {page_size}")
    return page_size or size


def _version(data: bytes) -> tuple[int, str]:
    """The version, and the byte order that makes it 1; this machine's order when neither does."""
    (little,), (big,) = struct.unpack_from("<I", data, _INFO), struct.unpack_from(">I", data, _INFO)
    if 1 in (little, big):
        return 1, "<" if little == 1 else ">"
    return (little, "<") if sys.byteorder == "little" else (big, ">")


def check_bad(
    bad: Sequence[int], last_page: int, page_size: int, name: str = "the header", listed: int | None = None
) -> None:
    """Raise :class:`SwapValueError` for a list of bad pages that the kernel refuses, or should."""
    room = max_bad_pages(page_size)
    if len(bad) > room:
        _refuse(f"{name} lists {listed or len(bad)} bad pages; expected at most {room} with pages of {page_size} bytes")
    seen: set[int] = set()
    for page in bad:
        if not 1 <= page <= last_page:
            _refuse(f"{name} lists bad page {page}; expected 1 to {last_page}")
        # Linux 6.18 takes a duplicate and counts it twice, so that the area is smaller than its good pages.
        if page in seen:
            _refuse(f"{name} lists bad page {page} twice")
        seen.add(page)
    if len(seen) == last_page:
        _refuse(f"{name} is empty: all its {last_page} pages are bad")


def _encoded(label: str) -> bytes:
    return label.encode("utf-8", "surrogateescape")


def _refuse(message: str) -> NoReturn:
    raise_errno(errno.EINVAL, message)
