# The pytest plugin: fixtures of tables, aged tables, spaces, designs and traces, and their check at teardown.
# Imports pytest; numpy and the package only inside a fixture that is used.
# Used by pytest through the entry point `swaptable`; nobody imports it.
"""Fixtures for tests of code that embeds swaptable; ``pytest --fixtures`` lists them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from swaptable import SwapTable
    from swaptable._churn import Live
    from swaptable.designs._design import Design
    from swaptable.space import SwapSpace
    from swaptable.trace import Block

_MARKERS = (
    "swap_table(**parameters): what `swap_table` is made with, as SwapTable takes it; by default slots=4096",
    "swap_aged(slots=16384, occupancy=0.75, orders={0: 0.6, 2: 0.2, 4: 0.2}, rounds=1, seed=0): how `aged_swap_table`"
    " was used: the share of slots in use, of allocations by order, how often all was freed and allocated again",
    "swap_trace(kind='zipf', records=20000, seed=0, **parameters): what `swap_trace` makes, as"
    " swaptable.trace.synthetic takes it; or the name of a trace that the package brings, and limit=",
)
_AGED: dict[str, Any] = {
    "slots": 16384, "occupancy": 0.75, "orders": {0: 0.6, 2: 0.2, 4: 0.2}, "rounds": 1, "seed": 0,
}  # fmt: skip
_CHECKED = {"SwapTable", "BlockSpace", "DeviceList", "SwapSpace"}  # designs are not known to the collector
_LIVE: pytest.StashKey[Live] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("swaptable").addoption(
        "--swap-design",
        action="append",
        default=[],
        metavar="NAME",
        help="run tests of `swap_design` with this design only; may be repeated, and take several with commas between",
    )


def pytest_configure(config: pytest.Config) -> None:
    for line in _MARKERS:
        config.addinivalue_line("markers", line)
    if config.getoption("--swap-design"):
        _designs(config)        # a name that is none ends the run before it begins


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each design."""
    if "swap_design" in metafunc.fixturenames and not _parametrized(metafunc):
        metafunc.parametrize("swap_design", _designs(metafunc.config), indirect=True)


def _parametrized(metafunc: pytest.Metafunc) -> bool:
    """Does the test name its own designs?"""
    for mark in metafunc.definition.iter_markers("parametrize"):
        named = mark.args[0] if mark.args else mark.kwargs.get("argnames", "")
        if "swap_design" in (named.replace(" ", "").split(",") if isinstance(named, str) else named):
            return True
    return False


def _designs(config: pytest.Config) -> list[str]:
    """The designs that the command line leaves; switches may follow a name as in ``ghost:dynamic=yes``."""
    from swaptable.designs import names

    known = names()
    wanted: list[str] = []
    for text in config.getoption("--swap-design"):
        # A comma separates designs, and switches of one: what has a "=" but no ":" is a switch.
        for part in text.split(","):
            if wanted and "=" in part and ":" not in part:
                wanted[-1] += f",{part}"
            else:
                wanted.append(part.strip())
    for spec in wanted:
        if spec.partition(":")[0] not in known:
            raise pytest.UsageError(f"--swap-design {spec!r}: expected one of {', '.join(known)}")
    return wanted or known


def _marked(request: pytest.FixtureRequest, marker: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a fixture: its defaults, the marker's over them, an indirect parameter's over those."""
    given = dict(defaults)
    for mark in reversed(list(request.node.iter_markers(marker))):
        if mark.args:
            raise pytest.UsageError(f"{request.node.nodeid}: mark {marker} takes keywords only, not {mark.args!r}")
        given |= mark.kwargs
    return given | getattr(request, "param", {})


class _Registry:
    """What a test's fixtures made; checked once, in the reverse order."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.done: list[Any] = []

    def __call__(self, made: Any) -> Any:
        if not callable(getattr(made, "check", None)):
            raise TypeError(f"checked({made!r}): expected an object with a method check()")
        self.made.append(made)
        return made

    def check(self) -> None:
        while self.made:
            made = self.made.pop()
            self.done.append(made)
            made.check()


@pytest.fixture
def _swap_registry() -> Iterator[_Registry]:
    registry = _Registry()
    yield registry
    registry.check()


@pytest.fixture
def checked(_swap_registry: _Registry) -> Iterator[Callable[[Any], Any]]:
    """check() at the end of the test of every table, space and list of devices that it made.

    Those that exist by then are found by themselves; ``table = checked(SwapTable(...))`` keeps one until then, and
    takes a design or anything else with a check(). The objects of the other fixtures are always checked.
    """
    before = _alive()
    yield _swap_registry
    _swap_registry.check()
    known = {id(made) for made in (*before, *_swap_registry.done)}
    for made in _alive():
        if id(made) not in known:
            made.check()


def _alive() -> list[Any]:
    """Objects of the package that have invariants; none when it was not imported."""
    if "swaptable._core" not in sys.modules:
        return []
    gc.collect()
    return [found for found in gc.get_objects() if _has_invariants(type(found))]


def _has_invariants(kind: type) -> bool:
    return any(base.__name__ in _CHECKED and base.__module__.startswith("swaptable.") for base in kind.__mro__)


@pytest.fixture
def swap_table(request: pytest.FixtureRequest, _swap_registry: _Registry) -> SwapTable:
    """An empty SwapTable of 4096 slots; ``@pytest.mark.swap_table(slots=..., cpus=...)`` says otherwise."""
    from swaptable import SwapTable

    table: SwapTable = _swap_registry(SwapTable(**_marked(request, "swap_table", {"slots": 4096})))
    return table


@pytest.fixture
def aged_swap_table(request: pytest.FixtureRequest, _swap_registry: _Registry) -> SwapTable:
    """A SwapTable that was filled and churned until it is fragmented: seeded, 75 % in use by default.

    ``@pytest.mark.swap_aged(occupancy=0.9, orders={0: 0.5, 4: 0.5}, seed=7)``, or the same as a dict by indirect
    parametrization. `aged_swap_runs` has what is live in it.
    """
    from swaptable import SwapTable
    from swaptable._churn import age

    how = _marked(request, "swap_aged", _AGED)
    table: SwapTable = _swap_registry(
        SwapTable(**{name: how.pop(name) for name in list(how) if name == "slots" or name not in _AGED})
    )
    request.node.stash[_LIVE] = age(table, **how)
    return table


@pytest.fixture
def aged_swap_runs(request: pytest.FixtureRequest, aged_swap_table: SwapTable) -> Live:
    """The runs in use in `aged_swap_table`: arrays ``slots`` (first slots) and ``orders``."""
    live: Live = request.node.stash[_LIVE]
    return live


@pytest.fixture
def swap_design(request: pytest.FixtureRequest, _swap_registry: _Registry) -> Callable[..., Design]:
    """A factory ``swap_design(slots, **switches)``; the test runs once for each design, or for those of --swap-design.

    Its attribute ``name`` is the design's, switches included.
    """
    from swaptable import designs

    def make(slots: int = 4096, **switches: Any) -> Design:
        made: Design = _swap_registry(designs.make(request.param, slots, **switches))
        return made

    make.name = request.param  # type: ignore[attr-defined]
    return make


@pytest.fixture
def swap_space(tmp_path: Path, _swap_registry: _Registry) -> Iterator[Callable[..., SwapSpace]]:
    """A factory of SwapSpaces with swapfiles on tmp_path, a tier each; checked and closed at the end of the test.

    ``swap_space({"SSD": 1 << 20, "HDD": 4 << 20}, zswap="lz4", zswap_limit=1 << 18)``: tiers from the fastest on, with
    bytes of their swapfiles, and by default no compressed pool in front of them. Other keywords are SwapSpace's.
    """
    from swaptable.space import SwapSpace

    made: list[SwapSpace] = []

    def make(
        tiers: dict[str, int] | None = None, *, zswap: Any = None, zswap_limit: int | None = None, **options: Any
    ) -> SwapSpace:
        new = SwapSpace(**options)
        made.append(new)
        _furnish(new, {"SSD": 1 << 20} if tiers is None else tiers, zswap, zswap_limit, tmp_path / f"swap{len(made)}")
        _swap_registry(new)
        return new

    yield make
    _swap_registry.check()
    for one in made:
        one.close()


def _furnish(space: SwapSpace, tiers: dict[str, int], zswap: Any, limit: int | None, folder: Path) -> None:
    """Swapfiles by tier, the first of the best priority, and a pool in front of all."""
    from swaptable.swapfile import mkswap

    folder.mkdir()
    priorities = dict(zip(tiers, range(10 * len(tiers), 0, -10), strict=True))
    if tiers:
        starts = dict(priorities) | {list(tiers)[-1]: -1}  # the lowest has all that is below the others
        space.tiers.write(", ".join(f"+{name}:{start}" for name, start in starts.items()))
    if zswap is not None:
        space.add_zswap(zswap, limit=limit)
    for name, size in tiers.items():
        mkswap(folder / name, size)
        space.swapon(folder / name, priority=priorities[name], name=name)


@pytest.fixture
def swap_trace(request: pytest.FixtureRequest) -> Block:
    """A page trace, seeded: arrays ``page`` and ``write`` of 20,000 touches; ``replay`` takes ``(page, write)``.

    ``@pytest.mark.swap_trace(kind="phases", records=5000, seed=3)``; or ``name="sqlite-index", limit=5000`` for a trace
    of a real program.
    """
    from swaptable.trace import named_trace, open_trace, synthetic
    from swaptable.trace._block import joined

    how = _marked(request, "swap_trace", {})
    if "name" in how:
        return joined(list(open_trace(named_trace(how.pop("name")), **how)))
    kind, records, seed = how.pop("kind", "zipf"), how.pop("records", 20_000), how.pop("seed", 0)
    return joined(list(synthetic(kind, records, seed=seed, **how)))
