# Opening a trace file: compression taken off or put on, damage turned into TraceError.
# Imports the errors and the standard library; zstandard when a .zst file asks for it.
# Used by the readers, the writers and the recognition of formats.
"""Byte streams of trace files, whatever compresses them, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from ..errors import TraceError

CHUNK = 1 << 20
COMPRESSED = (".gz", ".xz", ".zst")
_PIECE = 1 << 16


def _zstandard(path: Path, what: str) -> Any:
    try:
        import zstandard
    except ImportError as err:
        raise TraceError(f"{path}: {what} zstd: pip install zstandard") from err
    return zstandard


def _damage_errors() -> tuple[type[BaseException], ...]:
    errors: tuple[type[BaseException], ...] = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
    with contextlib.suppress(ImportError):
        import zstandard

        errors += (zstandard.ZstdError,)
    return errors


def _framed_chunks(path: Path, new: Callable[[], Any], what: str) -> Iterator[bytes]:
    """Decompress frame after frame: a file object takes a file that is cut off for one that ends."""
    frame = None
    with open(path, "rb") as file:
        while data := file.read(_PIECE):
            while data:
                frame = frame or new()
                if content := frame.decompress(data):
                    yield content
                data, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame is not None:
        raise EOFError(f"the last {what} does not end")


def _plain_chunks(path: Path, size: int, opener: Callable[..., BinaryIO]) -> Iterator[bytes]:
    with opener(path, "rb") as stream:
        while data := stream.read(size):
            yield data


def _is_zlib(start: bytes) -> bool:
    """Whether *start* is a zlib header and decompresses: two bytes alone may be a number or a text."""
    if len(start) < 3 or start[0] != 0x78 or int.from_bytes(start[:2], "big") % 31:
        return False
    try:
        return bool(zlib.decompressobj().decompress(start))
    except zlib.error:
        return False


def _open_chunks(path: Path, size: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        start = file.read(4096)
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        zstandard = _zstandard(path, "this file is compressed with")
        return _framed_chunks(path, lambda: zstandard.ZstdDecompressor().decompressobj(), "zstd frame")
    if start.startswith(b"\x1f\x8b"):
        return _plain_chunks(path, size, gzip.open)
    if _is_zlib(start):
        return _framed_chunks(path, zlib.decompressobj, "zlib stream")
    return _plain_chunks(path, size, lzma.open if start.startswith(b"\xfd7zXZ\x00") else open)


def chunks(path: Path, size: int = CHUNK) -> Iterator[bytes]:
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
    start = b""
    for data in chunks(path, size):
        start += data
        if len(start) >= size:
            break
    return start[:size]


def lines(parts: Iterator[bytes], most: int, too_long: Callable[[], TraceError]) -> Iterator[bytes]:
    """Yield the text of *parts* cut after ends of lines; a last line without its end comes with one.

    A line of more than *most* bytes raises what *too_long* makes.
    """
    rest = b""
    for part in parts:
        whole, newline, tail = part.rpartition(b"\n")
        if newline:
            yield rest + whole + newline
            rest = tail
        else:
            rest += tail
        if len(rest) > most:
            raise too_long()
    if rest:
        yield rest + b"\n"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the name *path* when all went well, and vanishes otherwise.

    Raises
    ------
    TraceError
        It cannot be written; the message says why.
    """
    try:
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(fd, "wb") as file:
                yield file
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as err:
        raise TraceError(f"{path}: cannot be written: {err.strerror or err}") from err


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content ends up in *path*, compressed as its suffix (.gz, .xz, .zst) says.

    Raises
    ------
    TraceError
        It cannot be written, or zstandard is not installed.
    """
    suffix = path.suffix if path.suffix in COMPRESSED else ""
    zstandard = _zstandard(path, "writing this file takes") if suffix == ".zst" else None
    with replacing(path) as file, contextlib.ExitStack() as stack:
        if zstandard:
            yield stack.enter_context(zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False))
        elif suffix == ".gz":  # no name and no date: the same content makes the same file
            yield stack.enter_context(gzip.GzipFile("", "wb", 6, file, 0))  # type: ignore[arg-type]
        elif suffix == ".xz":
            yield stack.enter_context(lzma.open(file, "wb"))
        else:
            yield file
