# The formats that can be read: how each is recognised, described and read.
# Imports the readers, _block, _source and the errors.
# Used by open_trace() and convert().
"""The table of formats, and the recognition of a file's: by its content first, then by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TraceError
from . import _source, damo, fio_iolog, lackey, libcachesim_csv, npz, oracle_general
from ._block import Block, Options

_LACKEY_STARTS = (b"==", b"--", b"**", b"I  ", b" L ", b" S ", b" M ")


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes
    ----------
    name, about : str
        As the user writes it, and what it is in a few words.
    suffixes : tuple of str
        Ends of file names, a compressor's taken off.
    looks_like : callable
        Whether the first 4 KiB of content are of this format.
    read, read_meta : callable
        Blocks of a file, and what its head tells.
    largest : callable, optional
        For objects: the size in bytes of the largest, from a pass over the file.
    """

    name: str
    about: str
    suffixes: tuple[str, ...]
    looks_like: Callable[[bytes], bool]
    read: Callable[[Path, Options], Iterator[Block]]
    read_meta: Callable[[Path, Options], dict[str, Any]]
    largest: Callable[[Path, Options], int] | None = None


# In the order in which they are tried; oracleGeneral has no mark of its own and comes last.
FORMATS = {
    each.name: each
    for each in (
        Format("npz", "our own .npz", (".npz",), lambda start: start.startswith(b"PK"), npz.read, npz.read_meta),
        Format(
            "lackey",
            "the text of valgrind --tool=lackey --trace-mem=yes",
            (".lackey",),
            lambda start: start.startswith(_LACKEY_STARTS),
            lackey.read,
            lackey.read_meta,
        ),
        Format("fio", "a fio iolog", (".iolog", ".fio"), fio_iolog.looks_like, fio_iolog.read, fio_iolog.read_meta),
        Format("damo", "a damo record as JSON", (".json", ".damo"), damo.looks_like, damo.read, damo.read_meta),
        Format(
            "csv",
            "libCacheSim csv",
            (".csv", ".tsv"),
            libcachesim_csv.looks_like,
            libcachesim_csv.read,
            libcachesim_csv.read_meta,
            libcachesim_csv.largest,
        ),
        Format(
            "oracleGeneral",
            "libCacheSim oracleGeneral",
            (".oraclegeneral", ".bin"),
            oracle_general.looks_like,
            oracle_general.read,
            oracle_general.read_meta,
            oracle_general.largest,
        ),
    )
}
_EXPECTED = f"{'; '.join(each.about for each in FORMATS.values())} (all but npz may be compressed by gzip, xz or zstd)"


def by_name(path: Path) -> str | None:
    """Return the format that the name of *path* says, None when it says none."""
    name = path.name.lower()
    for suffix in _source.COMPRESSED:
        name = name.removesuffix(suffix)
    for each in FORMATS.values():
        if name.endswith(each.suffixes):
            return each.name
    return "oracleGeneral" if ".oraclegeneral" in name else None


def recognise(path: Path, options: Options) -> str:
    """Return the name of the format of *path*.

    Raises
    ------
    TraceError
        The file is empty, or neither its content nor its name is of a known format; the message says what was expected.
    """
    start = _source.head(path)
    if not start:
        raise TraceError(f"{path}: the file is empty; expected {_EXPECTED}")
    for each in FORMATS.values():
        if each.looks_like(start):
            return each.name
    # csv can be any text, but who names columns has one.
    found = "csv" if options.csv else by_name(path)
    if found is None:
        raise TraceError(f"{path}: unknown trace format, it starts {start[:16]!r}; expected {_EXPECTED}")
    return found
