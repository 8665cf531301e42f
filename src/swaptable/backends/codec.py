# Finds compression libraries: shared objects of the system, those inside installed packages, or Python packages.
# May import _codec and errors; the packages are imported when a codec is asked for.
# Used by the compressed backends, tests and benchmarks.
"""Where a codec's functions come from.

===========  ==================================  ========================================  ====================
codec        the system's library                inside an installed package               Python fallback
===========  ==================================  ========================================  ====================
lz4, lz4hc   ``liblz4.so.1``                     ``lz4``                                   ``cramjam``
zstd         ``libzstd.so.1``                    ``zstandard``                             ``cramjam``
lzo          ``liblzo2.so.2``                                                              ``lzallright``
===========  ==================================  ========================================  ====================

Of the first two the newer version is taken: C functions, which run without the GIL. The fallback is called page by
page.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swaptable.backends._codec import Codec
from swaptable.errors import MissingCodecError, SwapValueError

__all__ = ["CODECS", "SOURCES", "available", "find"]

CODECS = ("lz4", "lz4hc", "zstd", "lzo")
SOURCES = ("system", "package", "python")
_SYSTEM = {"lz4": "liblz4.so.1", "lz4hc": "liblz4.so.1", "zstd": "libzstd.so.1", "lzo": "liblzo2.so.2"}
_PACKAGE = {
    "lz4": ("lz4", "block/_block*.so"),
    "lz4hc": ("lz4", "block/_block*.so"),
    "zstd": ("zstandard", "_cffi*.so"),
}
_PYTHON = {"lz4": "cramjam", "lz4hc": "cramjam", "zstd": "cramjam", "lzo": "lzallright"}


class _Cramjam:
    """lz4 and zstd by cramjam."""

    def __init__(self, name: str, level: int | None) -> None:
        cramjam = importlib.import_module("cramjam")
        self.library = f"cramjam {cramjam.__version__}"
        self._zstd = cramjam.zstd if name == "zstd" else None
        self._lz4 = cramjam.lz4
        self._options: dict[str, Any] = {"store_size": False}
        if name == "lz4hc":
            self._options |= {"mode": "high_compression", "compression": 9 if level is None else level}
        elif level is not None:
            self._options |= {"mode": "fast", "acceleration": level}
        self._level = 3 if level is None else level

    def pack(self, src: memoryview, dst: memoryview) -> int:
        if self._zstd is not None:
            return int(self._zstd.compress_into(src, dst, level=self._level))
        return int(self._lz4.compress_block_into(src, dst, **self._options))

    def unpack(self, src: memoryview, dst: memoryview) -> int:
        if self._zstd is not None:
            return int(self._zstd.decompress_into(src, dst))
        return int(self._lz4.decompress_block_into(src, dst))


class _Lzallright:
    """lzo by lzallright."""

    def __init__(self, name: str, level: int | None) -> None:
        lzallright = importlib.import_module("lzallright")
        self.library = "lzallright"
        self._codec = lzallright.LZOCompressor

    def pack(self, src: memoryview, dst: memoryview) -> int:
        blob = self._codec().compress(src)      # one a page: it must not be used by two threads
        dst[: len(blob)] = blob
        return len(blob)

    def unpack(self, src: memoryview, dst: memoryview) -> int:
        page = self._codec.decompress(src, len(dst))
        dst[: len(page)] = page
        return len(page)


def _package_file(name: str) -> Path | None:
    """The extension module of an installed package that has the library's functions inside."""
    package, pattern = _PACKAGE.get(name, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob(pattern)):
            return path
    return None


def _open(name: str, level: int | None, source: str) -> Codec | None:
    """The codec from one *source*, or None when it is not there."""
    try:
        if source == "system":
            return Codec(name, level, path=_SYSTEM[name])
        if source == "package":
            path = _package_file(name)
            return Codec(name, level, path=str(path)) if path else None
        adapter = _Lzallright if name == "lzo" else _Cramjam
        return Codec(name, level, adapter=adapter(name, level))
    except SwapValueError:
        raise
    except (ImportError, OSError):
        return None


def _split(name: str, level: int | None) -> tuple[str, int | None]:
    """The codec's own name, and the level, which "zstd-3" names too."""
    codec, dash, digits = name.partition("-")
    if dash and digits.isdecimal() and level is None:
        name, level = codec, int(digits)
    if name not in CODECS:
        raise SwapValueError(errno.EINVAL, f"codec {name!r}: expected one of {', '.join(CODECS)}")
    return name, level


def find(name: str, level: int | None = None, source: str | None = None) -> Codec:
    """Return a codec.

    Parameters
    ----------
    name : str
        "lz4", "lz4hc", "zstd" or "lzo"; "zstd-1" is zstd at level 1.
    level : int, optional
        See :class:`Codec`.
    source : str, optional
        "system", "package" or "python"; by default the newer of the first two, or the third.

    Raises
    ------
    MissingCodecError
        It is not installed; the message names the extra that brings it.
    SwapValueError
        No such codec, level or source.

    >>> find("zstd-1").compress(bytes(4096))[:4].hex()
    '28b52ffd'
    """
    name, level = _split(name, level)
    if source is not None and source not in SOURCES:
        raise SwapValueError(errno.EINVAL, f"source {source!r} of codec {name}: expected one of {', '.join(SOURCES)}")
    found = [codec for each in ([source] if source else SOURCES[:2]) if (codec := _open(name, level, each)) is not None]
    if not found and source is None:
        found = [codec for codec in [_open(name, level, "python")] if codec is not None]
    if found:
        return max(found, key=lambda codec: codec.version)
    where = {"system": _SYSTEM[name], "package": _PACKAGE.get(name, ("no package",))[0], "python": _PYTHON[name]}
    looked = where[source] if source else ", ".join(sorted(set(where.values()) - {"no package"}))
    raise MissingCodecError(
        f"codec {name} is not installed (looked for {looked}); the extra `compress` brings what it needs: "
        "pip install swaptable[compress]"
    )


def available(name: str, level: int | None = None) -> Iterator[Codec]:
    """Every way to have a codec here: of the system, of a package, in Python."""
    name, level = _split(name, level)
    for source in SOURCES:
        codec = _open(name, level, source)
        if codec is not None:
            yield codec
