# What a sweep has finished, on disk as soon as it is.
# May import the standard library.
# Used by sweep.py.
"""A journal: one line of JSON for each finished cell, so that an interruption costs only what was being done."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Journal"]


class Journal:
    """Answers by their cells; a context that ends with everything on disk.

    Parameters
    ----------
    path : path
    head : mapping
        What must be the same for answers to be put beside each other: versions.
    restart : bool
        Forget what is there.

    Raises
    ------
    RuntimeError
        Another process writes it; it is of another version; a line is damaged. The message says what to do.
    """

    def __init__(self, path: str | os.PathLike[str], head: Mapping[str, Any], restart: bool = False) -> None:
        self.path = Path(path)
        self.answers: dict[str, dict[str, Any]] = {}
        self._file = self.path.open("a+b")
        try:
            self._open(dict(head), restart)
        except BaseException:
            self._file.close()
            raise

    def _open(self, head: dict[str, Any], restart: bool) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RuntimeError(f"{self.path}: another sweep is writing it") from None
        if restart:
            self._file.truncate(0)
        self._file.seek(0)
        whole = self._file.read().rpartition(b"\n")[0]
        lines = whole.split(b"\n") if whole else []
        # What follows the last newline was being written when the machine stopped.
        self._file.truncate(len(whole) + 1 if whole else 0)
        if len(lines) < 2:
            self._file.truncate(0)  # a head alone holds nobody to its version
            self._write(head)
            return
        self._read(lines, head)

    def _read(self, lines: list[bytes], head: dict[str, Any]) -> None:
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
                if number > 1:
                    self.answers[found["key"]] = found["answer"]
            except (ValueError, KeyError, TypeError):
                raise RuntimeError(f"{self.path}: line {number} is damaged; --restart begins anew") from None
            if number == 1 and found != head:
                raise RuntimeError(f"{self.path} was begun by {found}, this is {head}; --restart begins anew")

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def add(self, key: str, answer: dict[str, Any]) -> None:
        """Keep the answer of a cell."""
        self._write({"key": key, "answer": answer})
        self.answers[key] = answer

    def remove(self) -> None:
        """Delete the file: the results are elsewhere."""
        self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.fsync(self._file.fileno())
        if not self.answers:
            self.path.unlink(missing_ok=True)
        self._file.close()
