# Recording the page touches of a real program: running it under Valgrind and keeping the result.
# Imports _valgrind, _recording, _run, npz, the errors and the standard library.
# Used by `swaptable trace record` and by who wants a trace of their own program.
"""Record a trace.

What is recorded is what a swap simulation needs: the pages of a program's data accesses, its children's and those that
system calls make in its name included. Instruction fetches are left out, and so are pages of mapped files that the
program never stored to: the kernel drops such pages instead of swapping them.

A recency window keeps the size in bounds: touches of the *window* most recent pages are dropped, except for the first
store of a page's stay in the window. A replay of the trace therefore means something only for memory well above
the window. A load from where the same instruction then stores counts as that store.

A page that is unmapped and mapped again is the same page. What a SIGKILL ends loses its last 64 KiB of records.
Programs of 32 bits cannot be recorded.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import RecordError
from . import _valgrind
from ._recording import Recording
from ._run import Progress, Settings, run_lackey, run_pagetrace
from .npz import COMPRESSIONS

TOOLS = ("auto", "pagetrace", "lackey")
MAX_WINDOW = 4096  # as in pagetrace.c


def record(
    command: Sequence[str],
    output: str | os.PathLike[str],
    *,
    window: int = 64,
    page_size: int = 4096,
    progress: Progress | None = None,
    tool: str = "auto",
    instructions: bool = False,
    files: bool = False,
    compression: str = "deflate",
) -> dict[str, Any]:
    """Run *command* and write the .npz trace of its page touches to *output*.

    The program's standard streams are the caller's. A keyboard interrupt ends the program and keeps what was recorded.

    Parameters
    ----------
    command : list of str
        Program and arguments.
    output : path
        The trace to write.
    window : int
        Pages, 1 to 4096; see the module's documentation.
    page_size : int
        Bytes, a power of two from 4096 up to 1 GiB.
    progress : callable, optional
        Called about four times a second with bytes and records so far and seconds since the start.
    tool : {"auto", "pagetrace", "lackey"}
        ``"pagetrace"`` is our own, compiled on first use. ``"lackey"`` comes with Valgrind; it is hundreds of times
        slower and records neither children nor system calls. ``"auto"`` takes it with a warning where ours cannot be
        built.
    instructions : bool
        Record instruction fetches too; with *files*, or else only those of code that is not mapped from a file.
    files : bool
        Record pages of mapped files that the program never stored to as well.
    compression : {"deflate", "lzma", "none"}
        lzma makes the smallest file and is the slowest.

    Returns
    -------
    dict
        path, file_bytes, and the trace's meta: command, argv, page_size, tool, window, valgrind, instructions, files,
        accesses (made), records (kept), processes (address spaces), exit_status (negative: the signal), interrupted,
        seconds.

    Raises
    ------
    RecordError
        Valgrind is not installed, the program could not be started, or nothing was recorded.
    TraceError
        The trace cannot be written.
    ValueError
        An argument is out of range.
    """
    settings = Settings([os.fspath(word) for word in command], window, page_size, instructions, files, progress)
    target = Path(output).absolute()
    _check_arguments(settings, target, tool, compression)
    valgrind = _valgrind.find()
    _check_program(settings.command[0])
    library = _choose(valgrind, tool)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
        began, scratch = time.monotonic(), Path(name)
        if library:
            status, interrupted = run_pagetrace(valgrind.program, library, settings, scratch)
        else:
            status, interrupted = run_lackey(valgrind.program, settings, scratch)
        recording = Recording.scan(scratch)
        _check_result(recording, settings.command, status, interrupted)
        meta = _meta(settings, recording, "pagetrace" if library else "lackey", valgrind.version)
        meta |= {"exit_status": status, "interrupted": interrupted, "seconds": round(time.monotonic() - began, 3)}
        recording.save(target, meta, compression)
    return {"path": str(target), "file_bytes": target.stat().st_size, **meta}


def _check_arguments(settings: Settings, target: Path, tool: str, compression: str) -> None:
    if not settings.command:
        raise ValueError("command is empty; expected a program and its arguments")
    if tool not in TOOLS:
        raise ValueError(f"tool is {tool!r}; expected one of {', '.join(TOOLS)}")
    if compression not in COMPRESSIONS:
        raise ValueError(f"compression is {compression!r}; expected one of {', '.join(COMPRESSIONS)}")
    if not 1 <= settings.window <= MAX_WINDOW:
        raise ValueError(f"window is {settings.window}; expected 1 to {MAX_WINDOW} pages")
    size = settings.page_size
    if not 4096 <= size <= 1 << 30 or size & (size - 1):
        raise ValueError(f"page_size is {size}; expected a power of two from 4096 to {1 << 30}")
    # Better known now than after an hour of recording.
    if target.is_dir():
        raise RecordError(f"{target}: is a directory; expected the name of a file to write")
    if not target.parent.is_dir():
        raise RecordError(f"{target}: there is no directory {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise RecordError(f"{target}: the directory {target.parent} cannot be written to")


def _check_program(program: str) -> None:
    if shutil.which(program) is None:
        raise RecordError(f"{program} cannot be started: no such program, or it is not executable")


def _choose(valgrind: _valgrind.Valgrind, tool: str) -> Path | None:
    """Return the directory of our tool, or None for lackey."""
    if tool == "lackey":
        return None
    try:
        return _valgrind.build_tool(valgrind)
    except _valgrind.CannotBuildError as err:
        if tool == "pagetrace":
            raise
        message = f"{err}; recording with lackey: hundreds of times slower, without children and system calls"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
        return None


def _check_result(recording: Recording, command: list[str], status: int, interrupted: bool) -> None:
    if not recording.records:
        why = "it was interrupted" if interrupted else f"valgrind ended with status {status}; its message is above"
        raise RecordError(f"nothing was recorded of {shlex.join(command)}: {why}")
    if status and not interrupted:
        how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        warnings.warn(f"{command[0]} {how}; the trace has what it did until then", RuntimeWarning, stacklevel=3)


def _meta(settings: Settings, recording: Recording, tool: str, version: str) -> dict[str, Any]:
    return {
        "command": shlex.join(settings.command),
        "argv": settings.command,
        "page_size": settings.page_size,
        "tool": tool,
        "window": settings.window,
        "valgrind": version,
        "instructions": settings.instructions,
        "files": settings.files or tool == "lackey",
        "accesses": recording.accesses,
        "records": recording.records,
        "processes": len(recording.files),
    }
