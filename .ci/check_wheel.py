# Holds a wheel to the source tree: all that users need, nothing that they do not.
# Imports the standard library only.
# Used by .ci/run: check_wheel.py WHEEL SOURCE_OF_THE_PACKAGE
"""Print what is wrong with a wheel; exit 1 when something is."""

import sys
import zipfile
from pathlib import Path

# By hand, since a pattern of the build that stops matching would also stop this check from looking.
ALWAYS = {
    "py.typed", "__init__.py", "__init__.pxd", "_capi.pxd", "_core.pxd", "_core.pyi", "_entry.pxd", "_atomic.pxd",
    "include/swaptable.h",
}  # fmt: skip
NEEDED = {".py", ".pxd", ".pyi", ".typed", ".h"}


def expected(source: Path) -> set[str]:
    """The files of the source tree that belong into a wheel."""
    files = {
        path.relative_to(source) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    # Of C sources only the recorder's: the user's compiler builds it where traces are recorded.
    wanted = {
        path
        for path in files
        if path.suffix in NEEDED
        or path.parts[:2] == ("trace", "data")
        or (path.suffix == ".c" and path.parts[0] == "trace")
    }
    return {path.as_posix() for path in wanted} | ALWAYS


def complaints(wheel: Path, source: Path) -> list[str]:
    """What is missing and what is too much."""
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {name.removeprefix("swaptable/") for name in names if name.startswith("swaptable/")}
    wanted = expected(source)
    extensions = {path.relative_to(source).with_suffix("").as_posix() for path in source.rglob("*.pyx")}
    built = {name.partition(".")[0] for name in ours if name.endswith(".so")}
    extra = {name for name in ours if not name.endswith(".so")} - wanted
    outside = [name for name in sorted(names) if not name.startswith(("swaptable/", "swaptable-"))]
    return [
        *(f"missing: {name}" for name in sorted(wanted - ours)),
        *(f"not built: {name}" for name in sorted(extensions - built)),
        *(f"built from nothing: {name}" for name in sorted(built - extensions)),
        *(f"not wanted: {name}" for name in sorted(extra)),
        *(f"outside the package: {name}" for name in outside),
    ]


def main() -> int:
    wheel, source = Path(sys.argv[1]), Path(sys.argv[2])
    found = complaints(wheel, source)
    print("\n".join(found) or f"{wheel.name}: {wheel.stat().st_size / 1024:.0f} KiB, all there and nothing else")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
