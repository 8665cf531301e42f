# Running a program under pagetrace or lackey until it ends, leaving word files in a directory.
# Imports lackey, _recording's word format, the errors, numpy and the standard library.
# Used by record.py.
"""The two ways to run a program under Valgrind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import RecordError
from . import lackey
from ._recording import COUNT

Progress = Callable[[int, int, float], None]
_TICK = 0.25  # seconds
_PATIENCE = 3.0  # seconds from an interrupt to a SIGTERM, and from that to a SIGKILL
# The user's own Valgrind options would reach our tool, which knows none of them.
_OPTIONS = ["-q", "--command-line-only=yes", "--vgdb=no", "--run-libc-freeres=no"]


@dataclass(frozen=True)
class Settings:
    """What to run and what to keep of it; see :func:`swaptable.trace.record`."""

    command: list[str]
    window: int
    page_size: int
    instructions: bool
    files: bool
    progress: Progress | None


def run_pagetrace(valgrind: Path, library: Path, settings: Settings, scratch: Path) -> tuple[int, bool]:
    """Run under our tool, children included.

    Parameters
    ----------
    valgrind, library : Path
        The program, and the directory with our tool.
    settings : Settings
    scratch : Path
        Directory for the word files, one an address space.

    Returns
    -------
    status : int
        Exit status, negative for a signal.
    interrupted : bool
        Whether a keyboard interrupt ended it.
    """
    shift = settings.page_size.bit_length() - 1
    argv = [str(valgrind), "--tool=pagetrace", *_OPTIONS, "--trace-children=yes", f"--out={scratch}"]
    argv += [f"--window={settings.window}", f"--page-shift={shift}"]
    argv += [f"--{name}={'yes' if on else 'no'}" for name, on in _switches(settings)]
    process = _start([*argv, "--", *settings.command], env=os.environ | {"VALGRIND_LIB": str(library)})
    began = time.monotonic()

    def tick() -> None:
        if settings.progress:
            size = sum(entry.stat().st_size for entry in os.scandir(scratch))
            settings.progress(size, size // 8, time.monotonic() - began)

    interrupted = _wait(process, tick)
    return process.returncode, interrupted


def _switches(settings: Settings) -> list[tuple[str, bool]]:
    return [("instr", settings.instructions), ("files", settings.files)]


def _start(argv: list[str], **options: object) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(argv, **options)  # type: ignore[call-overload]
    except OSError as err:
        raise RecordError(f"{argv[0]} cannot be started: {err}") from err


def _wait(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> bool:
    """Wait for the end, calling *tick* now and then; whether a keyboard interrupt brought it."""
    try:
        while True:
            try:
                process.wait(_TICK)
                tick()
                return False
            except subprocess.TimeoutExpired:
                tick()
    except KeyboardInterrupt:
        _stop(process)
        return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the program so that the tool can still write what it holds; a terminal has sent it SIGINT already."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            process.wait(_PATIENCE)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.send_signal(signum)
    process.wait()


def run_lackey(valgrind: Path, settings: Settings, scratch: Path) -> tuple[int, bool]:
    """Run under lackey, without children; parameters and results are those of :func:`run_pagetrace`."""
    argv = [str(valgrind), "--tool=lackey", *_OPTIONS, "--trace-mem=yes", "--child-silent-after-fork=yes"]
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0), open(scratch / "0", "wb") as words:
        try:
            process = _start([*argv, f"--log-fd={writer}", "--", *settings.command], pass_fds=[writer])
        finally:
            os.close(writer)
        try:
            _keep(_texts(process, reader), settings, words.write)
        except KeyboardInterrupt:
            _stop(process)
            return process.returncode, True
        return process.wait(), False


def _texts(process: subprocess.Popen[bytes], pipe: int) -> Iterator[bytes]:
    """Yield what comes out of *pipe* until its end, or until the program is gone and nothing has come for a second."""
    while True:
        ready, _, _ = select.select([pipe], [], [], 1.0)
        if ready:
            data = os.read(pipe, 1 << 20)
            if not data:
                return
            yield data
        elif process.poll() is not None:
            return


def _keep(texts: Iterator[bytes], settings: Settings, put: Callable[[bytes], object]) -> None:
    """Put the touches of lackey's *texts* that the window keeps, as words."""
    recency, began, records, told = Recency(settings.window), time.monotonic(), 0, 0.0
    for block in lackey.parse(texts, "lackey's output", settings.page_size, settings.instructions):
        words = recency.keep(block.page, block.write)
        records += len(words)
        put(words.tobytes() + np.uint64(COUNT | len(block)).tobytes())
        elapsed = time.monotonic() - began
        if settings.progress and elapsed - told >= _TICK:
            told = elapsed
            settings.progress(8 * records, records, elapsed)


class Recency:
    """The window that pagetrace has, for touches that come from elsewhere."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.stays: OrderedDict[int, bool] = OrderedDict()  # page: stored to in this stay; most recent last

    def keep(self, page: np.ndarray, write: np.ndarray) -> np.ndarray:
        """Return the words ``page << 1 | write`` of the touches that are kept."""
        # A touch that repeats the one before it changes nothing, and there are many.
        same = (page[1:] == page[:-1]) & (write[:-1] | ~write[1:])
        new = np.append(True, ~same)[: len(page)]
        stays, kept = self.stays, []
        for number, store in zip(page[new].tolist(), write[new].tolist(), strict=True):
            stored = stays.pop(number, None)
            stays[number] = bool(stored) or store
            if stored is None or (store and not stored):
                kept.append(number << 1 | store)
            if len(stays) > self.window:
                stays.popitem(last=False)
        return np.array(kept, dtype=np.uint64)
