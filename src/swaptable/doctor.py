# What maintainers ask for in an issue: versions, CPU, compiler, GIL.
# May import the compiled modules and the designs' registry.
# Used by the command line.
"""Facts about this installation."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import sysconfig
from importlib import metadata
from typing import Any

import numpy as np

from swaptable import _replay
from swaptable.replay import design_names


def version(package: str) -> str:
    """The version of an installed package, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as info:
        for line in info:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gil() -> str:
    enabled = getattr(sys, "_is_gil_enabled", None)
    if enabled is None:
        return "enabled (this Python has no other way)"
    return "enabled" if enabled() else "disabled"


def facts() -> dict[str, Any]:
    """Name of each fact -> what was found."""
    built = _replay.build_info()
    return {
        "swaptable": version("swaptable"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "rich": version("rich"),
        "cython": built["cython"],
        "compiler": built["compiler"],
        "optimized": built["optimized"],
        "avx2": built["avx2"],
        "python_cflags": sysconfig.get_config_var("CFLAGS") or "unknown",
        "gil": _gil(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "designs": list(design_names()),
    }
