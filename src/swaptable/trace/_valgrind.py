# Finding the installed Valgrind, and building the pagetrace tool against it.
# Imports the errors and the standard library.
# Used by record.py.
"""The user's Valgrind, and our tool compiled from its headers and static libraries into a cache directory."""

from __future__ import annotations

import hashlib
import os
import platform as host
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import RecordError

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# Valgrind's own libraries provide no more of a C library than a handful of functions, and no stack protector.
_CFLAGS = ["-O2", "-std=gnu99", "-fomit-frame-pointer", "-fno-pie", "-fno-builtin", "-fno-strict-aliasing"]
_CFLAGS += ["-fno-stack-protector", "-fno-tree-loop-distribute-patterns"]
_LDFLAGS = ["-static", "-no-pie", "-nodefaultlibs", "-nostartfiles", "-u", "_start", "-Wl,--build-id=none"]
_LOAD_ADDRESS = "0x58000000"  # where Valgrind keeps clear of the programs it runs


class CannotBuildError(RecordError):
    """Valgrind is there, but our tool cannot be built for it; the message says what is missing."""


@dataclass(frozen=True)
class Valgrind:
    """An installed Valgrind: its program and version, as ``valgrind --version`` prints it."""

    program: Path
    version: str


def find() -> Valgrind:
    """Return the Valgrind that PATH leads to.

    Raises
    ------
    RecordError
        There is none, or it does not run.
    """
    program = shutil.which("valgrind")
    if program is None:
        raise RecordError("recording needs valgrind, which is not on PATH: apt install valgrind gcc")
    try:
        run = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as err:
        raise RecordError(f"{program} does not run ({err}): apt install --reinstall valgrind") from err
    return Valgrind(Path(program), run.stdout.strip().removeprefix("valgrind-"))


def _prefixes(valgrind: Valgrind) -> list[Path]:
    own = [valgrind.program.parent.parent, valgrind.program.resolve().parent.parent]
    return list(dict.fromkeys([*own, Path("/usr"), Path("/usr/local")]))


def _pkg_config_libdir() -> list[Path]:
    try:
        run = subprocess.run(["pkg-config", "--variable=libdir", "valgrind"], capture_output=True, text=True)
    except OSError:
        return []
    return [Path(run.stdout.strip(), "valgrind")] if run.stdout.strip() else []


def _directory_with(name: str, candidates: Iterable[Path], package: str) -> Path:
    for candidate in candidates:
        if (candidate / name).is_file():
            return candidate
    raise CannotBuildError(f"valgrind's {name} was not found: apt install {package}")


def _library_directories(valgrind: Valgrind) -> list[Path]:
    found = [Path(os.environ["VALGRIND_LIB"])] if os.environ.get("VALGRIND_LIB") else []
    for prefix in _prefixes(valgrind):
        found += [prefix / "libexec/valgrind", prefix / "lib/valgrind", prefix / "lib64/valgrind"]
        found += sorted(prefix.glob("lib/*/valgrind"))
    return found + _pkg_config_libdir()


def _compile_command(valgrind: Valgrind, arch: str, source: Path) -> list[str]:
    cc = shlex.split(os.environ.get("CC", "")) or [shutil.which("gcc") or shutil.which("cc") or ""]
    if not shutil.which(cc[0]):
        raise CannotBuildError("no C compiler was found: apt install gcc")
    dirs = _library_directories(valgrind)
    headers = _directory_with(
        "pub_tool_basics.h", [prefix / "include/valgrind" for prefix in _prefixes(valgrind)], "valgrind"
    )
    libs = _directory_with(f"libcoregrind-{arch}-linux.a", dirs, "valgrind")
    archives = [libs / f"lib{name}-{arch}-linux.a" for name in ("coregrind", "vex", "gcc-sup")]
    defines = [f"-DVGA_{arch}=1", "-DVGO_linux=1", f"-DVGP_{arch}_linux=1", f"-DVGPV_{arch}_linux_vanilla=1"]
    return [
        *cc, *_CFLAGS, *defines, f"-I{headers}", str(source), *_LDFLAGS, f"-Wl,-Ttext-segment={_LOAD_ADDRESS}",
        *[str(archive) for archive in archives if archive.is_file()], "-lgcc",
    ]  # fmt: skip


def _cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base, "swaptable")


def _key(valgrind: Valgrind, command: list[str], source: bytes) -> str:
    """Name a build by all it was made from: a rebuilt Valgrind of the same version has libraries of another date."""
    archives = [Path(word) for word in command if word.endswith(".a")]
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in archives]
    digest = hashlib.sha256(source + repr((command, facts)).encode()).hexdigest()[:16]
    return f"pagetrace-{valgrind.version}-{digest}"


def _build(directory: Path, command: list[str], tool: str, libexec: Path) -> None:
    try:
        run = subprocess.run([*command, "-o", str(directory / tool)], capture_output=True, text=True)
    except OSError as err:
        raise CannotBuildError(f"{command[0]} does not run: {err}") from err
    if run.returncode != 0:
        raise CannotBuildError(f"pagetrace.c does not compile with {command[0]}:\n{run.stderr[-2000:]}")
    # The launcher looks for every file of Valgrind's in one directory, so what came with it is linked beside our tool.
    for path in libexec.iterdir():
        (directory / path.name).symlink_to(path)


def build_tool(valgrind: Valgrind) -> Path:
    """Return the directory for VALGRIND_LIB that has our tool; it is built on the first use.

    Two processes may build at once: each does so aside, and the first to rename its directory wins.

    Raises
    ------
    CannotBuildError
        A compiler, headers or libraries are missing, or the cache directory cannot be written.
    """
    arch = _ARCHITECTURES.get(host.machine().lower())
    if arch is None:
        raise CannotBuildError(f"the pagetrace tool knows amd64 and arm64, not {host.machine()}")
    libexec = _directory_with(f"none-{arch}-linux", _library_directories(valgrind), "valgrind")
    with resources.as_file(resources.files(__package__) / "pagetrace.c") as source:
        command = _compile_command(valgrind, arch, source)
        name = _key(valgrind, [word for word in command if word != str(source)], source.read_bytes())
        final = _cache_root() / name
        if final.is_dir():
            return final
        try:
            _cache_root().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=_cache_root(), prefix=f".{name}.") as aside:
                made = Path(aside, "made")
                made.mkdir()
                _build(made, command, f"pagetrace-{arch}-linux", libexec)
                _rename(made, final)
        except OSError as err:
            raise CannotBuildError(f"{_cache_root()} cannot be written ({err}): set XDG_CACHE_HOME") from err
    return final


def _rename(made: Path, final: Path) -> None:
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():
            raise
