# From one format to another, and the formats that can be written.
# Imports the formats, their writers, _trace, the errors and the standard library.
# Used by the package's front door, the generators and `swaptable trace convert`.
"""Convert traces.

npz, oracleGeneral, csv and lackey text can be written; the name of the target says which, and a last suffix .gz, .xz or
.zst compresses all but npz, which compresses itself. Only npz keeps everything. Page numbers stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import TraceError
from . import _source, lackey, libcachesim_csv, npz, oracle_general
from ._block import EXTRA, Block
from ._formats import by_name
from ._trace import open_trace

# What a format has a place for, besides pages.
WRITABLE = {
    "npz": ("write", "pid", "time", "meta"),
    "oracleGeneral": ("time",),
    "csv": ("write", "time"),
    "lackey": ("write", "meta"),
}


@dataclass
class _Seen:
    """What went by."""

    records: int = 0
    names: set[str] = field(default_factory=set)

    def watch(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for block in blocks:
            self.records += len(block)
            self.names |= {name for name in EXTRA if getattr(block, name) is not None}
            if "write" not in self.names and block.write.any():
                self.names.add("write")
            yield block


def target_format(path: Path, to: str | None) -> str:
    """Return the format to write to *path*: *to*, or what the name says.

    Raises
    ------
    ValueError
        It cannot be written, or the name says nothing.
    """
    found = to or by_name(path)
    if found not in WRITABLE:
        what = f"{to!r}" if to else f"{path.name!r}, which " + (f"is of format {found}" if found else "says none")
        raise ValueError(f"format to write is {what}; expected one of {', '.join(WRITABLE)} (npz: .npz, oracleGeneral: "
                         ".oracleGeneral or .bin, csv: .csv, lackey: .lackey)")  # fmt: skip
    return found


def write_trace(
    path: Path, blocks: Iterable[Block], meta: dict[str, Any], to: str, compression: str = "deflate"
) -> tuple[int, list[str]]:
    """Write *blocks* to *path* in the format *to*; return the number of records, and what the format has no place for.

    Raises
    ------
    TraceError
        The file cannot be written.
    ValueError
        The compression is unknown.
    """
    if compression not in npz.COMPRESSIONS:
        raise ValueError(f"compression is {compression!r}; expected one of {', '.join(npz.COMPRESSIONS)}")
    seen, size = _Seen(), meta["page_size"]
    watched = seen.watch(blocks)
    if to == "npz":
        npz.write_blocks(path, watched, meta, compression)
    elif to == "oracleGeneral":
        oracle_general.write(path, watched, size)
    else:
        texts = lackey.text_of(watched, meta, size) if to == "lackey" else libcachesim_csv.text_of(watched, size)
        with _source.writing(path) as stream:
            for text in texts:
                stream.write(text)
    return seen.records, sorted((seen.names | {"meta"}) - set(WRITABLE[to]))


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    to: str | None = None,
    compression: str = "deflate",
    **options: Any,
) -> dict[str, Any]:
    """Read the trace *source* and write it to *target*.

    Parameters
    ----------
    source, target : path
    to : {"npz", "oracleGeneral", "csv", "lackey"}, optional
        What to write; the name of *target* says it when not given.
    compression : {"deflate", "lzma", "none"}
        Of an npz.
    **options
        Those of :func:`open_trace`, but for *block* and *columns*.

    Returns
    -------
    dict
        source, source_format, path, format, file_bytes, page_size, records, lost (what the source has and the target
        has no place for: some of write, pid, time, meta), synthetic, expansion_of_samples, and for csv ``csv``, the
        parameters that it is read by.

    Raises
    ------
    TraceError
        The source cannot be read, or the target not written.
    ValueError
        An argument is out of range.

    Notes
    -----
    Memory: a few blocks; for oracleGeneral 16 bytes a distinct page as well. npz and oracleGeneral need room beside the
    target for the uncompressed records.
    """
    path = Path(target)
    to = target_format(path, to)
    trace = open_trace(source, columns=EXTRA, **options)
    if path.exists() and path.samefile(trace.path):
        raise TraceError(f"{path}: is the trace to read; expected another file to write")
    meta = trace.meta | {"converted_from": {"file": trace.path.name, "format": trace.format, **_told(trace)}}
    records, lost = write_trace(path, trace, meta, to, compression)
    info: dict[str, Any] = {"source": str(source), "source_format": trace.format, "path": str(target), "format": to}
    info |= {"file_bytes": path.stat().st_size, "page_size": trace.page_size, "records": records, "lost": lost}
    info |= {key: bool(trace.meta.get(key, False)) for key in ("synthetic", "expansion_of_samples")}
    if to == "csv":
        info["csv"] = libcachesim_csv.parameters(path)
    return info


def _told(trace: Any) -> dict[str, Any]:
    """What the reader was told that is not as it would be anyway."""
    told = {"skip": trace.skip, "limit": trace.limit} | asdict(trace.options)
    usual = {"skip": 0, "limit": None, "instructions": False, "csv": None, "object_pages": None, "seed": 0}
    return {key: told[key] for key, value in usual.items() if told[key] != value}
