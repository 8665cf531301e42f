# The house's floors: imports and cimports go down only, and in no circle.
# Imports the package, only to find its files; they are read, not run.
# Used by pytest. Installed packages have no .pyx files; in a checkout those are read too.
import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import swaptable

PACKAGE = Path(swaptable.__file__).parent
CHECKOUT = Path(__file__).parent.parent / "src" / "swaptable"

# Lowest first. A name stands for a module, or for a package with all that is in it.
FLOORS = [
    ["errors", "_atomic", "_entry", "_words", "_events", "events"],
    [
        "_moves", "_snapshot", "_pool", "_cluster", "_space", "_area", "_blocks", "_packed", "_update", "_past",
        "_move", "_alloc", "_lookup", "_resize", "_check", "_image", "_devices", "_core", "_capi",
    ],
    ["backends"],
    ["_swapheader", "_tierbatch", "_memcgfiles", "_memcgcharge"],
    ["swaplist", "swapfile", "tiers", "_memcgroup", "memcg"],
    ["_device", "devices"],
    ["_frames", "_charges", "_store", "_cache"],
    ["_hand", "_listener", "writeback"],
    ["swapoff"],
    ["_swapout", "_swapin", "readahead", "_users", "_calls", "_devicecalls", "_audit", "_tally", "space"],
    ["designs"],
    ["trace", "_workload", "_replay", "_churn", "_spaces"],
    ["contents", "_runtiers", "swaprun", "replay", "_tierplan", "published", "footprint", "hops"],
    ["cells", "comparison", "doctor", "thp_test", "areas_cli", "threads"],
    ["occupancy", "provenance", "_sweepgrid", "_sweepjournal", "_sweeptable", "_sweepwork", "sweep"],
    ["report", "arrow"],
    ["run_cli", "cli", "cli_compare", "cli_memory", "cli_sweep", "pytest_plugin", "testing", "__init__"],
    ["__main__"],
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}
CIMPORT = re.compile(
    r"^[ \t]*from[ \t]+([\w.]+)[ \t]+cimport[ \t]+(\([^)]*\)|[^\n]*)|^[ \t]*cimport[ \t]+([\w. ,]+)", re.MULTILINE
)
PY_IMPORT = re.compile(
    r"^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|^[ \t]*import[ \t]+([\w. ,]+)", re.MULTILINE
)


def module_of(path, root):
    """The module's parts below the package: ("designs", "_old"); a package's own file is its "__init__"."""
    return path.relative_to(root).with_suffix("").parts


def sources():
    """(path, module) of every file that imports: the installed ones, and .pyx of a checkout."""
    files = [(path, PACKAGE) for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pxd", ".pyi")]
    if CHECKOUT.is_dir():
        files += [(path, CHECKOUT) for path in CHECKOUT.rglob("*.pyx")]
    return [(path, module_of(path, root)) for path, root in sorted(files)]


MODULES = {module for _, module in sources()}


def absolute(base, module):
    """The parts that a possibly relative name means; None when it is not ours."""
    dots = len(base) - len(base.lstrip("."))
    parts = tuple(part for part in base.lstrip(".").split(".") if part)
    if dots:
        return module[: len(module) - dots] + parts
    return parts[1:] if parts[:1] == ("swaptable",) else None


def targets(parts, names):
    """The modules that `from parts import names` reaches: submodules where there are any, else the module itself."""
    for name in names:
        below = (*parts, name)
        if below in MODULES:
            yield below
        elif (*below, "__init__") in MODULES:
            yield (*below, "__init__")
        elif parts in MODULES:
            yield parts
        else:
            yield (*parts, "__init__")


def from_text(pattern, text):
    """(base, names) of each statement that *pattern* finds."""
    for base, names, plain in pattern.findall(text):
        if base:
            yield (
                base,
                [name.split()[0] for name in re.sub(r"#[^\n]*", "", names).strip("() \t\n").split(",") if name.strip()],
            )
        for name in plain.split(","):
            if name.strip():
                yield name.split()[0], [None]


def from_tree(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, [None]


def imports(path, module):
    """Every module of the package that the file at *path* names."""
    text = path.read_text()
    if path.suffix in (".pyx", ".pxd"):
        text = re.sub(r'"""(?:.|\n)*?"""', "", text)
        found = [*from_text(CIMPORT, text), *from_text(PY_IMPORT, text)]
    else:
        found = from_tree(text)
    for base, names in found:
        parts = absolute(base, module)
        if parts is not None:
            yield from (target for target in targets(parts, names) if target != module)


def floor(module):
    return FLOOR[module[0]]


def name_of(module):
    return ".".join(("swaptable", *module)).removesuffix(".__init__")


def test_something_was_read():
    modules = {name_of(module) for _, module in sources()}
    assert {"swaptable", "swaptable.errors", "swaptable._core", "swaptable._entry"} <= modules


@pytest.mark.parametrize(("path", "module"), [pytest.param(*source, id=source[0].name) for source in sources()])
def test_every_file_has_a_floor(path, module):
    assert module[0] in FLOOR, f"{path.name}: give {module[0]!r} a floor in {Path(__file__).name}"


def test_imports_go_down():
    up = [
        f"{path.name} (floor {floor(module)}) imports {name_of(target)} (floor {floor(target)})"
        for path, module in sources()
        for target in imports(path, module)
        if floor(target) > floor(module)
    ]
    assert not up, "\n".join(up)


def test_no_circles():
    graph = {}
    for path, module in sources():
        graph.setdefault(module, set()).update(imports(path, module))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" imports ".join(name_of(module) for module in circle.args[1]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from swaptable._area cimport *", ("_area",)),
        ("from swaptable.errors import raise_errno", ("errors",)),
        ("from swaptable._core cimport (\n    SwapTable,\n    table_t,\n)", ("_core",)),
        ("cimport swaptable._pool as pool", ("_pool",)),
        ("from swaptable cimport _entry", ("_entry",)),
        ("from swaptable import SwapTable", ("__init__",)),
        ("from ._entry cimport swp_tb_kind", ("_entry",)),
    ],
)
def test_the_reader_itself(tmp_path, text, expected):
    (tmp_path / "x.pyx").write_text(text + "\n")
    assert set(imports(tmp_path / "x.pyx", ("x",))) == {expected}


def test_no_path_of_one_machine():
    """A file of the package that names a home or work directory works on one machine only."""
    path = re.compile(r"(?<![\w.<>*{}])/(?:home|root|work|opt|Users|mnt|tmp)/\w")
    found = [
        f"{file.name}:{number}: {line.strip()}"
        for file in {*PACKAGE.rglob("*"), *CHECKOUT.rglob("*")}
        if file.suffix in (".py", ".pyi", ".pxd", ".pyx", ".c", ".h") and "__pycache__" not in file.parts
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if path.search(line)
    ]
    assert not found, "\n".join(found)
