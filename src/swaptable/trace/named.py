# The traces that come with the package, by name.
# Imports the errors and the standard library.
# Used by the package's front door and by every command that takes a trace.
"""Traces of real programs that come with the package; data/README.md says how each was made."""

from __future__ import annotations

from importlib import resources
from os import PathLike
from pathlib import Path

from ..errors import TraceError

_DEFAULT = "sqlite-index"


def _data() -> Path:
    return Path(str(resources.files(__package__) / "data"))


def trace_names() -> tuple[str, ...]:
    """Return the names of the traces that come with the package, in order."""
    return tuple(sorted(path.stem for path in _data().glob("*.npz")))


def named_trace(name: str) -> Path:
    """Return the path of the trace *name* that comes with the package.

    Raises
    ------
    TraceError
        There is none of that name; the message has those that there are.

    >>> named_trace("gcc").name
    'gcc.npz'
    """
    if name not in trace_names():
        raise TraceError(f"{name}: no trace of this name comes with the package; there are {', '.join(trace_names())}")
    return _data() / f"{name}.npz"


def find_trace(text: str | PathLike[str]) -> Path:
    """Return the file that a user means by *text*: a file of that name, or else a trace that comes with the package.

    Raises
    ------
    TraceError
        It is neither.
    """
    path = Path(text)
    if path.exists() or str(text) not in trace_names():
        if not path.exists() and path.name == str(text) and not path.suffix:
            raise TraceError(f"{path}: no such file, and no trace of this name comes with the package; "
                             f"there are {', '.join(trace_names())}")  # fmt: skip
        return path
    return named_trace(str(text))


def default_trace() -> Path:
    """Return the path of the trace that commands take when none is named."""
    return named_trace(_DEFAULT)
