# Where figures come from: command, version, commit, machine.
# May import doctor's facts and the standard library.
# Used by the comparison's command, the report and the sweep.
"""What a reader needs to make the same figures again."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swaptable.doctor import facts, version

__all__ = ["commit", "made_by"]

MACHINE = ("cpu", "cpus", "machine", "kernel", "python", "numpy", "compiler", "optimized", "avx2", "gil")
HERE = Path(__file__).resolve().parent


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(HERE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> str | None:
    """The commit of the checkout that the package is run from, ``+`` when it was changed since; None elsewhere.

    An installed package does not know its commit: its version stands for it.
    """
    # A package in somebody else's repository, such as an environment inside a checkout, is not that repository's.
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != HERE.parent.parent:
        return None
    if _git("ls-files", "--error-unmatch", __file__) is None:
        return None
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", str(HERE))
    return None if head is None else head + ("+" if changed else "")


def made_by(argv: Sequence[str]) -> dict[str, Any]:
    """Return command, version, commit and machine as plain values.

    Parameters
    ----------
    argv : sequence of str
        The arguments of the command line, without the program's name.
    """
    found = facts()
    return {
        "command": shlex.join(["swaptable", *argv]),
        "version": version("swaptable"),
        "commit": commit(),
        "machine": {name: found[name] for name in MACHINE},
    }
