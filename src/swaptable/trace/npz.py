# Reader and writer of our own traces: .npz files with the members page, write, meta and perhaps pid, time.
# Imports _block, _source, the errors, numpy and the standard library.
# Used by open_trace(), save_trace(), convert(), generate() and the recorder.
"""Traces as .npz files, which ``numpy.load`` opens too.

Members: ``page`` (uint64 page numbers below 2**52), ``write`` (bool), ``meta`` (JSON text: command, page_size in bytes,
tool); optional ``pid`` (uint32 index of the address space) and ``time`` (uint64 microseconds), all of one length.
"""

from __future__ import annotations

import json
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import TraceError
from . import _source
from ._block import BLOCK, EXTRA, MAX_PAGE, Block, Options

DTYPES = {"page": np.dtype("<u8"), "write": np.dtype(bool), "pid": np.dtype("<u4"), "time": np.dtype("<u8")}
COMPRESSIONS = {"deflate": zipfile.ZIP_DEFLATED, "lzma": zipfile.ZIP_LZMA, "none": zipfile.ZIP_STORED}
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
    RuntimeError,
    OSError,
)


@contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a damaged zip makes the standard library raise into a TraceError."""
    try:
        yield
    except TraceError:
        raise
    except _DAMAGE as err:
        raise TraceError(f"{path}: {what} is damaged, cut off or not readable: {err}") from err


def _header(path: Path, name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise TraceError(f"{path}: member {name}: expected .npy format 1.0 or 2.0, found {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


class _Member:
    """One array member, read from its start to its end."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, name: str) -> None:
        self.path, self.name = path, name
        with _damage(path, f"member {name}"):
            self.stream = archive.open(f"{name}.npy")
            shape, dtype = _header(path, name, self.stream)
        wanted = DTYPES[name]
        if dtype != wanted or len(shape) != 1 or shape[0] < 0:
            raise TraceError(f"{path}: member {name}: expected one dimension of {wanted}, found {shape} of {dtype}")
        self.length, self.left = shape[0], shape[0]

    def read(self, count: int) -> np.ndarray:
        """Return the next *count* elements, fewer at the end."""
        count, size = min(count, self.left), DTYPES[self.name].itemsize
        with _damage(self.path, f"member {self.name}"):
            data = self.stream.read(count * size)
            if len(data) != count * size:
                done = self.length - self.left + len(data) // size
                raise TraceError(f"{self.path}: member {self.name}: expected {self.length} elements, found {done}")
            self.left -= count
            # Reading past the last byte is what makes zipfile compare the checksum.
            if self.left == 0 and self.stream.read(1):
                raise TraceError(f"{self.path}: member {self.name}: has more than the {self.length} elements it states")
        return np.frombuffer(data, dtype=DTYPES[self.name])

    def close(self) -> None:
        self.stream.close()


@contextmanager
def _members(path: Path) -> Iterator[dict[str, _Member]]:
    """Open the array members of *path*; what is missing or disagrees in length is an error."""
    with ExitStack() as stack:
        with _damage(path, "the zip archive"):
            archive = stack.enter_context(zipfile.ZipFile(path))
        names = set(archive.namelist())
        for name in ("page", "write"):
            if f"{name}.npy" not in names:
                raise TraceError(f"{path}: expected a member named {name}, found {sorted(names)}")
        found = {name: _Member(path, archive, name) for name in DTYPES if f"{name}.npy" in names}
        for name, member in found.items():
            stack.callback(member.close)
            if member.length != found["page"].length:
                raise TraceError(
                    f"{path}: member {name} has {member.length} elements, expected {found['page'].length} as page has"
                )
        yield found


def read(path: Path, options: Options) -> Iterator[Block]:
    """Yield blocks of the file *path*; no member is held in memory as a whole.

    Raises
    ------
    TraceError
        A member is missing, damaged, of another type, shape or length, or a page number is 2**52 or more.
    """
    with _members(path) as found:
        page, write = found["page"], found["write"]
        extra = [found.get(name) if name in options.columns else None for name in EXTRA]
        for done in range(0, page.length, options.block):
            pages, writes = page.read(options.block), write.read(options.block)
            if pages.max() >= MAX_PAGE:
                bad = done + int(np.argmax(pages >= MAX_PAGE))
                raise TraceError(
                    f"{path}: member page: record {bad}: page number {pages[bad - done]} is not below 2**52"
                )
            if writes.view(np.uint8).max() > 1:
                bad = done + int(np.argmax(writes.view(np.uint8) > 1))
                raise TraceError(f"{path}: member write: record {bad}: expected 0 or 1")
            yield Block(pages, writes, *(member and member.read(options.block) for member in extra))


def _meta_text(path: Path, archive: zipfile.ZipFile) -> str:
    if "meta.npy" not in archive.namelist():
        raise TraceError(f"{path}: expected a member named meta, found {sorted(archive.namelist())}")
    with archive.open("meta.npy") as stream:
        shape, dtype = _header(path, "meta", stream)
        if shape != () or dtype.kind not in "US":
            raise TraceError(f"{path}: member meta: expected one JSON text, found {shape} of {dtype}")
        data = stream.read()
    if len(data) != dtype.itemsize:
        raise TraceError(f"{path}: member meta: expected {dtype.itemsize} bytes, found {len(data)}")
    text = np.frombuffer(data, dtype=dtype)[0]
    return text.decode() if isinstance(text, bytes) else str(text)


def read_meta(path: Path, options: Options) -> dict[str, Any]:
    """Return the meta member of *path*, and check the headers of the others.

    Raises
    ------
    TraceError
        A member is missing or of another type, shape or length; meta is no JSON object or has a bad page_size.
    """
    with _members(path), _damage(path, "member meta"), zipfile.ZipFile(path) as archive:
        text = _meta_text(path, archive)
    try:
        meta = json.loads(text)
    except ValueError as err:
        raise TraceError(f"{path}: member meta: expected JSON: {err}") from err
    size = meta.get("page_size") if isinstance(meta, dict) else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 1 or size & (size - 1):
        raise TraceError(
            f"{path}: member meta: expected a JSON object with page_size, a power of two, found {text[:60]}"
        )
    return meta


def _member_info(name: str, compression: str) -> zipfile.ZipInfo:
    """A member without the date of its making: the same trace makes the same file."""
    info = zipfile.ZipInfo(f"{name}.npy")
    info.compress_type = COMPRESSIONS[compression]
    return info


def _write_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, length: int, parts: Iterable[np.ndarray]) -> None:
    dtype = DTYPES[info.filename.removesuffix(".npy")]
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    with archive.open(info, "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for part in parts:
            stream.write(np.ascontiguousarray(part, dtype=dtype).tobytes())


def write(
    path: Path,
    length: int,
    members: Mapping[str, Iterable[np.ndarray]],
    meta: dict[str, Any],
    compression: str = "deflate",
) -> None:
    """Write a trace of *length* records; each member comes in parts, and the file appears whole or not at all.

    Raises
    ------
    TraceError
        The file cannot be written; the message says why.
    """
    with _source.replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, parts in members.items():
            _write_member(archive, _member_info(name, compression), length, parts)
        with archive.open(_member_info("meta", compression), "w") as stream:
            np.lib.format.write_array(stream, np.array(json.dumps(meta)), allow_pickle=False)


def _from_file(path: Path, dtype: np.dtype) -> Iterator[np.ndarray]:
    with open(path, "rb") as file:
        while len(part := np.fromfile(file, dtype, BLOCK)):
            yield part


def write_blocks(path: Path, blocks: Iterable[Block], meta: dict[str, Any], compression: str = "deflate") -> int:
    """Write the trace that *blocks* make, in one pass over them, and return the number of records.

    A member says its length ahead, so the columns wait in files beside *path* until all have come. *meta* is looked
    at when they have.
    """
    length, used = 0, ["page", "write"]
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as name, ExitStack() as stack:
            paths = {column: Path(name, column) for column in DTYPES}
            files = [stack.enter_context(open(each, "wb")) for each in paths.values()]
            for block in blocks:
                length += len(block)
                for file, column in zip(files, block.columns(), strict=True):
                    if column is not None:
                        file.write(np.ascontiguousarray(column, DTYPES[Path(file.name).name]).data)
            for file in files:
                file.flush()
            used += [column for column in EXTRA if length and paths[column].stat().st_size]
            members = {column: _from_file(paths[column], DTYPES[column]) for column in used}
            write(path, length, members, meta, compression)
    except OSError as err:
        raise TraceError(f"{path}: cannot be written: {err.strerror or err}") from err
    return length
