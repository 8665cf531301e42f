# Opening a trace file: compression taken off, format recognised, damage turned into TraceError.
# Imports the errors and the standard library; zstandard when a .zst file asks for it.
# Used by the readers and by open_trace().
"""Byte streams of trace files, whatever compressed them."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import TraceError

ZIP_MAGIC = b"PK"
_LACKEY_STARTS = (b"==", b"--", b"**", b"I  ", b" L ", b" S ", b" M ")
_EXPECTED = "an .npz trace, or the text of valgrind --tool=lackey --trace-mem=yes (either may end in .gz, .xz or .zst)"


def _damage_errors() -> tuple[type[BaseException], ...]:
    errors: tuple[type[BaseException], ...] = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
    with contextlib.suppress(ImportError):
        import zstandard

        errors += (zstandard.ZstdError,)
    return errors


def _zstd_chunks(path: Path, size: int) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError as err:
        raise TraceError(f"{path}: this file is compressed with zstd: pip install zstandard") from err
    # zstandard's own file object takes a file that is cut off for one that ends, so the frames are walked here.
    frame = None
    with open(path, "rb") as file:
        while data := file.read(min(size, 1 << 16)):
            while data:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                if content := frame.decompress(data):
                    yield content
                data, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame is not None:
        raise EOFError("the last zstd frame does not end")


def _plain_chunks(path: Path, size: int, opener: Callable[..., BinaryIO]) -> Iterator[bytes]:
    with opener(path, "rb") as stream:
        while data := stream.read(size):
            yield data


def _open_chunks(path: Path, size: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd_chunks(path, size)
    if magic.startswith(b"\x1f\x8b"):
        return _plain_chunks(path, size, gzip.open)
    return _plain_chunks(path, size, lzma.open if magic == b"\xfd7zXZ\x00" else open)


def chunks(path: Path, size: int) -> Iterator[bytes]:
    """Yield the decompressed bytes of *path*, about *size* at a time.

    Raises
    ------
    TraceError
        The file cannot be opened, or its compressed data is cut off or damaged.
    """
    done = 0
    try:
        for data in _open_chunks(path, size):
            done += len(data)
            yield data
    except _damage_errors() as err:
        raise TraceError(f"{path}: compressed data is cut off or damaged after {done} bytes of content: {err}") from err
    except OSError as err:
        raise TraceError(f"{path}: cannot be read: {err.strerror or err}") from err


def head(path: Path, size: int = 4096) -> bytes:
    """Return the first *size* decompressed bytes of *path*, fewer when it is shorter."""
    return next(chunks(path, size), b"")


def recognise(path: Path) -> str:
    """Return the name of the format of *path*, by its content: ``"npz"`` or ``"lackey"``.

    Raises
    ------
    TraceError
        The content is none of them; the message says what was expected.
    """
    start = head(path)
    if not start:
        raise TraceError(f"{path}: the file is empty; expected {_EXPECTED}")
    if start.startswith(ZIP_MAGIC):
        return "npz"
    if start.startswith(_LACKEY_STARTS):
        return "lackey"
    raise TraceError(f"{path}: unknown trace format, it starts {start[:16]!r}; expected {_EXPECTED}")
