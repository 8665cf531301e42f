# Swap areas on files and block devices: the header is read and checked as in swapon(2), and written as by mkswap(8).
# May import errors, _swapheader (the page itself), swaplist (/proc/swaps says who is on) and the standard library.
# Used by the device list, areas_cli and tests.
"""The header page of a swap area: what ``mkswap`` of util-linux writes, and what the kernel refuses.

The page ends in ``SWAPSPACE2``. At byte 1024 are three 32-bit numbers (version 1, last page, number of bad pages), a
16-byte uuid and a 16-byte label, from byte 1536 the 32-bit numbers of bad pages, all in the byte order of the machine
that made it; the kernel swaps them where the version says so.

A regular file of exactly one page whose header says more is a **ghost**: a front end without blocks of its own (Chris
Li, "ghost swapfile", November 2025). The size in its header is the size that it starts with, not its last. Kernels
without that patch refuse such a file as shorter than its signature says.

>>> import os, tempfile
>>> directory = tempfile.TemporaryDirectory()
>>> path = os.path.join(directory.name, "swap")
>>> mkswap(path, 1 << 20, label="scratch", page_size=4096).pages
256
>>> read_header(path).label
'scratch'
>>> ghost = mkswap(path + ".ghost", 1 << 40, ghost=True, page_size=4096)
>>> ghost.ghost, ghost.pages, os.path.getsize(path + ".ghost")
(True, 268435456, 4096)
>>> directory.cleanup()
"""

from __future__ import annotations

import contextlib
import errno
import glob
import mmap
import os
import stat
import sys
import uuid as uuids
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from swaptable._swapheader import (
    LABEL_BYTES,
    MAGICS,
    MAX_PAGES,
    PAGE_SIZES,
    SwapHeader,
    max_bad_pages,
    parse_header,
)
from swaptable.errors import SwapError, raise_errno
from swaptable.swaplist import parse_proc_swaps

__all__ = ["PAGE_SIZES", "SwapHeader", "has_holes", "max_bad_pages", "mkswap", "parse_header", "read_header"]

_KINDS = {stat.S_IFDIR: "directory", stat.S_IFCHR: "character device", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
# Filesystems, RAID and LVM have their signatures here; what is written over must not stay recognisable as one of them.
_SIGNATURES = 128 << 10

Path = str | os.PathLike[str]


# ---- reading


def read_header(path: Path, page_size: int | None = None, *, bad_in_file: bool = False) -> SwapHeader:
    """Return the header of the swap area at *path* after the checks of swapon(2).

    Parameters
    ----------
    path : path
        A regular file or a block device.
    page_size : int, optional
        The only one that will do, as for a running kernel; any of ``PAGE_SIZES`` when left out.
    bad_in_file : bool
        Take a list of bad pages in a regular file too, which the kernel does not.

    Raises
    ------
    SwapValueError
        EINVAL: not a swap area, or one that the kernel refuses; each refusal has a message of its own. Holes in the
        file are not looked for, see :func:`has_holes`.
    OSError
        The file cannot be read.
    """
    _is_regular(path, os.stat(path))
    with open(path, "rb", buffering=0, opener=_open_nonblocking) as file:
        regular = _is_regular(path, os.fstat(file.fileno()))
        size = file.seek(0, os.SEEK_END)
        page = os.pread(file.fileno(), PAGE_SIZES[-1], 0)
    name = os.fspath(path)
    header = parse_header(page, page_size, regular=regular and not bad_in_file, name=name)
    if regular and size == header.page_size:
        return replace(header, ghost=True)
    if size // header.page_size < header.pages:
        _refuse(f"{name} has {size} bytes, less than the {header.size} that its header says")
    return header


def has_holes(path: Path) -> bool:
    """Whether a regular file has fewer blocks than its size takes: swapon(2) refuses it then."""
    status = os.stat(path)
    return _is_regular(path, status) and status.st_blocks * 512 < status.st_size


def _open_nonblocking(path: str, flags: int) -> int:
    """A FIFO that has just come is to be refused, not waited for."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _is_regular(path: Path, status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISBLK(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "special file")
        _refuse(f"{os.fspath(path)} is a {kind}; expected a regular file or a block device")
    return stat.S_ISREG(status.st_mode)


# ---- writing


@dataclass(frozen=True)
class _Target:
    """Where a header goes."""

    path: str
    fd: int
    new: bool
    regular: bool
    size: int


def mkswap(
    path: Path,
    size: int | None = None,
    *,
    ghost: bool = False,
    label: str = "",
    uuid: uuids.UUID | str | None = None,
    bad: Sequence[int] = (),
    page_size: int = mmap.PAGESIZE,
    byteorder: str = sys.byteorder,
    force: bool = False,
) -> SwapHeader:
    """Make a swap area at *path* and return its header, read back.

    A new file has mode 0600 and real blocks, since swapon(2) refuses holes; an existing one keeps its mode and owner,
    gets the blocks that it lacks, and is never made shorter except to a ghost. The header is written last: until then
    nothing takes the file for a swap area. After a failure a new file is gone and an old one has its size back.

    Parameters
    ----------
    path : path
        A new or existing regular file, or a block device.
    size : int, optional
        Bytes of the area, header included, cut to whole pages; what is there when left out.
    ghost : bool
        A file of one page; *size* is what its front end starts with.
    label : str
        At most 15 bytes of UTF-8, as in util-linux.
    uuid : UUID or str, optional
        ``clear`` for zeros, ``time`` for one of version 1; random when left out.
    bad : sequence of int
        Bad pages; in a regular file only with *force*, since the kernel refuses them there.
    page_size, byteorder
        Of the machine that is to use the area; this one's when left out.
    force : bool
        Write over data that is no swap area. What is mounted, on as swap or under a loop device is never written to.

    Raises
    ------
    SwapValueError
        EINVAL: a value that makes no swap area.
    SwapError
        EEXIST: the file holds other data. EBUSY: it is in use.
    OSError
        The file cannot be made, is on a full filesystem, or cannot be written.
    """
    if len(label.encode("utf-8", "surrogateescape")) >= LABEL_BYTES:
        _refuse(f"label is {label!r}; expected at most {LABEL_BYTES - 1} bytes")
    # The smallest area: refuses bad values before anything is opened.
    model = SwapHeader(1, (), _uuid(uuid), label, page_size, byteorder, ghost=ghost)
    with _opened(os.fspath(path), size) as target:
        header = _planned(model, target, target.size if size is None else size, tuple(bad), force)
        _check_content(target, header, force)
        _allocate(target, header)
        _write(target, header)
    return read_header(path, page_size, bad_in_file=force)


def _uuid(value: uuids.UUID | str | None) -> uuids.UUID:
    if value is None or isinstance(value, uuids.UUID):
        return value or uuids.uuid4()
    special = {"clear": lambda: uuids.UUID(int=0), "random": uuids.uuid4, "time": uuids.uuid1}
    try:
        return special[value]() if value in special else uuids.UUID(value)
    except ValueError:
        _refuse(f"uuid is {value!r}; expected 32 hex digits with or without dashes, clear, random or time")


@contextlib.contextmanager
def _opened(path: str, size: int | None) -> Iterator[_Target]:
    """The file, for writing; a new one is gone again when the block fails, an old one has its size back."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        status = None
    if status is None and size is None:
        _refuse(f"{path} does not exist; expected a size for a new file")
    # O_EXCL: a new file must still be new, and of a block device there must be no other user.
    flags = os.O_CREAT | os.O_EXCL if status is None else 0
    if status is not None:
        _check_unused(path, status)
        flags = 0 if _is_regular(path, status) else os.O_EXCL
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | flags, 0o600)
    except OSError as err:
        if err.errno == errno.EBUSY:
            raise SwapError(errno.EBUSY, f"{path} is mounted or has another user that wants it alone") from None
        raise
    try:
        regular, old_size = _is_regular(path, os.fstat(fd)), os.lseek(fd, 0, os.SEEK_END)
        yield _Target(path, fd, status is None, regular, old_size)
    except BaseException:
        if status is None:
            os.unlink(path)
        elif regular and os.fstat(fd).st_size > old_size:
            os.ftruncate(fd, old_size)
        raise
    finally:
        os.close(fd)


def _check_unused(path: str, status: os.stat_result) -> None:
    """Refuse an area that is on, and a file that is a loop device: it may be mounted there."""
    users: list[tuple[str, str]] = []
    with contextlib.suppress(OSError), open("/proc/swaps", encoding="utf-8", errors="surrogateescape") as swaps:
        users += [(area.name, "is on as swap") for area in parse_proc_swaps(swaps.read())]
    for backing in glob.glob("/sys/block/loop*/loop/backing_file"):
        with contextlib.suppress(OSError), open(backing, encoding="utf-8", errors="surrogateescape") as file:
            users.append((file.read().rstrip("\n"), f"is under the loop device {backing.split('/')[3]}"))
    for name, what in users:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(name), status):
                raise SwapError(errno.EBUSY, f"{path} {what}")


def _planned(model: SwapHeader, target: _Target, size: int, bad: tuple[int, ...], force: bool) -> SwapHeader:
    """The header that *target* is to get."""
    page = model.page_size
    if model.ghost and not target.regular:
        _refuse(f"{target.path} is a block device; expected a regular file for a ghost")
    if not 2 * page <= size < (MAX_PAGES + 1) * page:
        _refuse(f"size is {size}; expected {2 * page} (the header and a page) to {MAX_PAGES * page}")
    if size > target.size and not target.regular:
        _refuse(f"size is {size}; expected at most the {target.size} bytes of {target.path}")
    if bad and target.regular and not force:
        _refuse(f"{len(bad)} bad pages for {target.path}; expected none, since it is a regular file")
    return replace(model, last_page=size // page - 1, bad=bad)


def _check_content(target: _Target, header: SwapHeader, force: bool) -> None:
    if target.new or force:
        return
    if header.ghost and target.size > header.page_size:
        message = f"{target.path} has {target.size} bytes, a ghost has {header.page_size}; force cuts it"
        raise SwapError(errno.EEXIST, message)
    data = os.pread(target.fd, _SIGNATURES, 0)
    if any(data) and not any(data[size - len(MAGICS[0]) : size] in MAGICS for size in PAGE_SIZES):
        first = len(data) - len(data.lstrip(b"\0"))
        message = f"{target.path} holds data that is no swap area, from byte {first}; force writes over it"
        raise SwapError(errno.EEXIST, message)


def _allocate(target: _Target, header: SwapHeader) -> None:
    if not target.regular:
        return
    if header.ghost and target.size > header.page_size:
        os.ftruncate(target.fd, header.page_size)
    os.posix_fallocate(target.fd, 0, header.page_size if header.ghost else header.size)


def _write(target: _Target, header: SwapHeader) -> None:
    data = header.to_bytes()
    if not target.new:
        data = data.ljust(len(data) if header.ghost else min(header.size, _SIGNATURES), b"\0")
    done = 0
    while done < len(data):
        done += os.pwrite(target.fd, data[done:], done)
    os.fsync(target.fd)
    if target.new:
        directory = os.open(os.path.dirname(target.path) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _refuse(message: str) -> NoReturn:
    raise_errno(errno.EINVAL, message)
