# The file format of a table's snapshot: sections of arrays between a header and a checksum.
# Imports errors and numpy.
# Used by the core, which makes the arrays and judges what they say.
"""Snapshots of tables.

A file is little-endian: 8 bytes of magic, u32 version, u32 number of sections; for each section its name (8 bytes, with
zeros behind it), u64 bytes, and the bytes; 16 bytes of BLAKE2b over all of that. The first byte of the magic is no
ASCII and the last four are line ends, so that a file that went through a transfer as text is told from damage.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from swaptable.errors import SnapshotError

MAGIC = b"\x8dSWT\r\n\x1a\n"
VERSION = 1
DIGEST = 16
CLUSTER = np.dtype([("index", "<u4"), ("list", "u1"), ("order", "u1"), ("flags", "u1"), ("parts", "u1")])
LISTS = 38
ORDERS = 10
_HEAD, _SECTION = struct.Struct("<8sII"), struct.Struct("<8sQ")
_DTYPES: dict[str, np.dtype[Any]] = {
    "numbers": np.dtype("<i8"), "bad": np.dtype("<i8"), "cursors": np.dtype("<i8"), "runs": np.dtype("<u4"),
    "lengths": np.dtype("<u4"), "lists": np.dtype("<u4"), "clusters": CLUSTER, "data": np.dtype("u1"),
}  # fmt: skip
_SLOTS, _PAST, _CPUS = 1 << 32, 1 << 23, 8192
# Of the numbers: name, least, most.
_NUMBERS = (
    ("blocks", 1, _SLOTS - 1), ("slots", 1, _SLOTS), ("clusters", 1, 1 << 23), ("usable", 1, _SLOTS),
    ("fresh", 0, 1 << 23), ("past_fresh", 0, _PAST), ("past_limit", 0, _PAST), ("past_peak", 0, _PAST),
    ("cpus", 1, _CPUS), ("flags", 0, 31),
)  # fmt: skip


def encode(image: dict[str, np.ndarray]) -> bytes:
    """The bytes of a file."""
    parts = [_HEAD.pack(MAGIC, VERSION, len(_DTYPES))]
    for name, dtype in _DTYPES.items():
        body = np.ascontiguousarray(image[name], dtype).tobytes()
        parts += [_SECTION.pack(name.encode(), len(body)), body]
    whole = b"".join(parts)
    return whole + blake2b(whole, digest_size=DIGEST).digest()


def decode(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a file, of the right dtypes and lengths; an element more at the end of those that may be empty.

    Raises
    ------
    SnapshotError
        With the reason.
    """
    _check_whole(data)
    count, at, image = _HEAD.unpack_from(data)[2], _HEAD.size, {}
    for name, dtype in _DTYPES.items():
        if len(data) - DIGEST - at < _SECTION.size:
            raise SnapshotError(f"{count} sections; expected {', '.join(_DTYPES)}")
        found, length = _SECTION.unpack_from(data, at)
        at += _SECTION.size
        if found.rstrip(b"\0") != name.encode() or length > len(data) - DIGEST - at or length % dtype.itemsize:
            raise SnapshotError(f"section {found!r} of {length} bytes at byte {at}; expected {name!r}")
        image[name] = np.frombuffer(data, dtype, length // dtype.itemsize, at).astype(dtype.newbyteorder("="))
        at += length
    if count != len(_DTYPES) or at != len(data) - DIGEST:
        raise SnapshotError(f"{len(data) - DIGEST - at} bytes behind {count} sections")
    _check_numbers(image)
    for name in ("lists", "clusters", "data"):      # so that there is a first
        image[name] = np.append(image[name], np.zeros(1, image[name].dtype))
    image["runs"] = np.append(image["runs"], np.zeros(1, np.uint32))
    return image


def _check_whole(data: bytes) -> None:
    """Magic, version and checksum, in this order."""
    if len(data) < _HEAD.size or data[:4] != MAGIC[:4]:
        raise SnapshotError(f"no snapshot of a swap table: it begins with {bytes(data[:8])!r}, expected {MAGIC!r}")
    if data[:8] != MAGIC:
        raise SnapshotError(f"its line ends were changed, as by a transfer as text: it begins with {bytes(data[:8])!r}")
    version = _HEAD.unpack_from(data)[1]
    if version != VERSION:
        raise SnapshotError(f"version {version}; this release knows version {VERSION}")
    if len(data) < _HEAD.size + DIGEST:
        raise SnapshotError(f"cut off after {len(data)} bytes")
    if blake2b(data[:-DIGEST], digest_size=DIGEST).digest() != data[-DIGEST:]:
        raise SnapshotError(f"damaged or cut off: the checksum of its {len(data)} bytes is another than it says")


def _check_numbers(image: dict[str, np.ndarray]) -> None:
    """Sizes that others depend on."""
    numbers, bad = image["numbers"], image["bad"]
    if len(numbers) != len(_NUMBERS):
        raise SnapshotError(f"{len(numbers)} numbers; expected {len(_NUMBERS)}")
    for (name, least, most), value in zip(_NUMBERS, numbers.tolist(), strict=True):
        if not least <= value <= most:
            raise SnapshotError(f"{name} {value}; expected {least} to {most}")
    given = dict(zip((name for name, _, _ in _NUMBERS), numbers.tolist(), strict=True))
    if given["slots"] < given["blocks"] or given["clusters"] != -(-given["blocks"] // 512):
        raise SnapshotError(f"{given['slots']} slots and {given['clusters']} clusters of {given['blocks']} blocks")
    if bool(given["flags"] & 8) == bool(given["flags"] & 16):
        raise SnapshotError(f"flags {given['flags']}: a device, or a front end that grows, not both")
    lengths = tuple(len(image[name]) for name in ("cursors", "lengths"))
    if lengths != ((given["cpus"] + 1) * ORDERS, LISTS) or len(image["runs"]) % 2:
        raise SnapshotError("cursors, lists or runs of blocks of a wrong number")
    if len(bad) and (bad[0] < 0 or bad[-1] >= _SLOTS or (np.diff(bad) <= 0).any()):
        raise SnapshotError("bad slots that are out of range or not in order")


def write(file: str | os.PathLike[str] | BinaryIO, data: bytes) -> None:
    """Write to a file object, or replace what is at a path in one step."""
    if not isinstance(file, (str, os.PathLike)):
        file.write(data)
        return
    path = Path(file)
    # Beside its place, since a rename is one step within a file system only.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as new:
            new.write(data)
            new.flush()
            os.fsync(new.fileno())
        os.chmod(name, _mode(path))
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _mode(path: Path) -> int:
    """Of the file that is replaced, or what a new one would get."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def read(file: str | os.PathLike[str] | BinaryIO) -> tuple[bytes, str]:
    """The bytes, and what to call them in an error."""
    if isinstance(file, (str, os.PathLike)):
        return Path(file).read_bytes(), os.fspath(file)
    return file.read(), str(getattr(file, "name", "the snapshot"))
