# For tests of what others build: hypothesis strategies of words and operations, and a state machine with its model.
# Imports hypothesis, which comes with the extra `test`; the core.
# Used by people's tests; swaptable itself never imports it.
"""Property tests of a swap table, or of anything that behaves like one.

`words` and `entries` make table words; `operations` makes sequences of operations that `perform` runs on a table and on
the `Model` at once. `SwapTableMachine` does the same step by step, and shrinks what it finds:

>>> from swaptable import SwapTable
>>> class TestMine(SwapTableMachine.TestCase):          # or: a subclass with a make() of your own
...     pass
>>> model = perform(SwapTable(slots=1024), [Op("alloc", 0, value=7), Op("dup", 0), Op("cache_del", 0, value=3)])
>>> model.slots
{1: Slot(count=1, cached=False, memcg=0, value=3)}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from swaptable import SlotEntry, SwapTable, pack, unpack
from swaptable.errors import SlotCachedError, SlotNotInUseError, SwapError, SwapFullError

__all__ = ["Model", "Op", "Slot", "SwapTableMachine", "entries", "operations", "perform", "words"]

_PFN, _SHADOW, _MEMCG = (1 << 41) - 1, (1 << 42) - 1, (1 << 16) - 1
_OPS = ("alloc", "dup", "put", "cache_add", "cache_del")
_ORDERS = st.sampled_from([0, 0, 0, 1, 2, 4, 9])


def _to(most: int) -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, most]) | st.integers(0, most)


def words(*kinds: str) -> st.SearchStrategy[int]:
    """8-byte table words of *kinds*: "null", "shadow", "folio", "pointer", "lent", "bad"; all of them by default."""
    users = {"count": st.integers(0, 15), "zero": st.booleans(), "memcg": _to(_MEMCG)}
    fields: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "null": {},
        "shadow": users | {"shadow": _to(_SHADOW)},
        "folio": users | {"pfn": _to(_PFN)},
        "pointer": {"cache_only": st.booleans(), "type": st.integers(0, 31), "slot": _to((1 << 55) - 1)},
        "lent": {},
        "bad": {},
    }
    wrong = [kind for kind in kinds if kind not in fields]
    if wrong:
        raise ValueError(f"kind {wrong[0]!r}: expected some of {', '.join(fields)}")
    return st.one_of(*(st.fixed_dictionaries(fields[kind]).map(_packer(kind)) for kind in kinds or fields))


def _packer(kind: Any) -> Callable[[dict[str, Any]], int]:
    return lambda given: pack(kind, **given)


def entries(*kinds: str) -> st.SearchStrategy[SlotEntry]:
    """Words of *kinds*, decoded."""
    return words(*kinds).map(unpack)


@dataclass(frozen=True)
class Op:
    """One operation on a run; which run is chosen among those that were ever allocated.

    Attributes
    ----------
    name : str
        "alloc", "dup", "put", "cache_add", "cache_del".
    pick : int
        The order of an "alloc"; otherwise the run, by its number modulo how many there are.
    part : (int, int)
        First slot and number of slots within that run, cut to it; (0, 512) is all of it.
    value : int
        pfn of "alloc" and "cache_add", shadow of "cache_del".
    memcg : int
    """

    name: str
    pick: int = 0
    part: tuple[int, int] = (0, 512)
    value: int = 0
    memcg: int = 0


def operations(max_size: int = 60) -> st.SearchStrategy[list[Op]]:
    """Sequences of up to *max_size* operations: mostly sensible, refused ones among them."""
    part = st.just((0, 512)) | st.tuples(st.integers(0, 511), st.integers(1, 512))
    alloc = st.builds(Op, st.just("alloc"), _ORDERS, value=_to(_PFN), memcg=_to(_MEMCG))
    other = st.builds(Op, st.sampled_from(_OPS[1:]), st.integers(0, 1 << 16), part, _to(_PFN))
    return st.lists(alloc | other | other | other, max_size=max_size)


@dataclass
class Slot:
    """A slot in use, as `Model` sees it; *value* is the pfn of a cached one, the shadow of another."""

    count: int
    cached: bool
    memcg: int
    value: int


class Model:
    """What a table should say: a dict of `Slot` by entry, and the runs that were ever allocated."""

    def __init__(self) -> None:
        self.slots: dict[int, Slot] = {}
        self.runs: list[range] = []

    def alloc(self, run: range, op: Op) -> None:
        """Take note of slots that were given out; none of them may be in use."""
        assert run.start % len(run) == 0, f"{run} is not aligned"
        for entry in run:
            assert entry not in self.slots, f"entry {entry} was given out while in use"
            self.slots[entry] = Slot(0, True, op.memcg, op.value)
        self.runs.append(run)

    def refusal(self, run: range, name: str) -> type[SwapError] | None:
        """The error with which *name* is refused for a run, or None."""
        for entry in run:
            slot = self.slots.get(entry)
            if slot is None or (name == "put" and slot.count == 0) or (name == "cache_del" and not slot.cached):
                return SlotNotInUseError
            if name == "cache_add" and slot.cached:
                return SlotCachedError
        return None

    def apply(self, run: range, op: Op) -> None:
        """Do to a run what `refusal` let pass."""
        for entry in run:
            slot = self.slots[entry]
            slot.count += {"dup": 1, "put": -1}.get(op.name, 0)
            if op.name.startswith("cache"):
                slot.cached, slot.value = op.name == "cache_add", op.value
            if slot.count == 0 and not slot.cached:
                del self.slots[entry]

    def part(self, op: Op) -> range:
        """The slots that *op* is for; those of no run when none was allocated."""
        if not self.runs:
            return range(1, 2)
        run = self.runs[op.pick % len(self.runs)]
        first = op.part[0] % len(run)
        return run[first : first + op.part[1]]


def _step(table: Any, model: Model, op: Op) -> range:
    """One operation on both; the run that it was for."""
    if op.name == "alloc":
        try:
            first = table.alloc(order=op.pick, pfn=op.value, memcg=op.memcg)
        except SwapFullError:
            assert op.pick or not _has_room(table, model), "order 0 was refused on a device with free slots"
            return range(0)
        run = range(first, first + (1 << op.pick))
        model.alloc(run, op)
        return run
    run = model.part(op)
    expected = model.refusal(run, op.name)
    more = {"cache_add": {"pfn": op.value}, "cache_del": {"shadow": op.value}}.get(op.name, {})
    refused: SwapError | None = None
    try:
        getattr(table, op.name)(run.start, nr=len(run), **more)
    except SwapError as error:
        refused = error
    assert (type(refused) if refused else None) is expected, f"{op.name} of {run}: {refused!r}, expected {expected}"
    if not refused:
        model.apply(run, op)
    return run


def _has_room(table: Any, model: Model) -> bool:
    size: int = table.size if hasattr(table, "size") else table.usage()["usable"]
    return len(model.slots) < size


def _said(table: Any, entry: int) -> Slot | None:
    """What a table (`entry`) or a design (`lookup`) says of an entry."""
    if hasattr(table, "lookup"):
        said = table.lookup(entry)
        kind, count, memcg, pfn, shadow = (said[name] for name in ("kind", "count", "memcg", "pfn", "shadow"))
    else:
        slot = table.entry(entry)
        kind, count, memcg, pfn, shadow = slot.kind, slot.count, slot.memcg, slot.pfn, slot.shadow
    if kind in ("folio", "shadow"):
        return Slot(count, kind == "folio", memcg, pfn if kind == "folio" else shadow)
    return None


def _compare(table: Any, model: Model, some: Iterable[int]) -> None:
    for entry in some:
        said, expected = _said(table, entry), model.slots.get(entry)
        assert said == expected, f"entry {entry}: {said}, expected {expected}"


def perform(table: Any, ops: Iterable[Op], model: Model | None = None) -> Model:
    """Run operations on a table, or an object like it, and on a model; compare after each, and check() at the end.

    Parameters
    ----------
    table : SwapTable, Design, or an object with the methods of either
        ``alloc(order, pfn, memcg)``, ``dup``, ``put(entry, nr)``, ``cache_add(entry, nr, pfn)``, ``cache_del(entry, nr,
        shadow)``, ``check()``; ``entry(slot)`` or ``lookup(entry)``; ``usage()`` or ``size``. Empty, unless *model*
        knows what is in it.
    ops : iterable of Op
    model : Model, optional
        Goes on from an earlier call.

    Returns
    -------
    Model

    Raises
    ------
    AssertionError
        They differ; the message says where.
    """
    model = Model() if model is None else model
    for op in ops:
        run = _step(table, model, op)
        _compare(table, model, run[:1])
        _compare(table, model, run[-1:])
    _compare(table, model, {entry for run in model.runs for entry in run})
    table.check()
    return model


class SwapTableMachine(RuleBasedStateMachine):
    """A hypothesis state machine of every operation on runs, against the model.

    Subclass it and say what to test; with pytest, ``TestMine = Mine.TestCase`` runs it.

    >>> class Mine(SwapTableMachine):
    ...     def make(self):
    ...         return SwapTable(slots=600, header=False)
    """

    def make(self) -> Any:
        """A new, empty table, or an object like it; see `perform`."""
        return SwapTable(slots=2048)

    @initialize()
    def begin(self) -> None:
        self.table, self.model = self.make(), Model()

    @rule(order=_ORDERS, pfn=_to(_PFN), memcg=_to(_MEMCG))
    def alloc(self, order: int, pfn: int, memcg: int) -> None:
        self._do(Op("alloc", order, value=pfn, memcg=memcg))

    @rule(name=st.sampled_from(_OPS[1:]), pick=st.integers(0, 1 << 16), value=_to(_PFN))
    def whole_run(self, name: str, pick: int, value: int) -> None:
        self._do(Op(name, pick, value=value))

    @rule(
        name=st.sampled_from(_OPS[1:]),
        pick=st.integers(0, 1 << 16),
        part=st.tuples(st.integers(0, 511), st.integers(1, 512)),
        value=_to(_PFN),
    )
    def part_of_a_run(self, name: str, pick: int, part: tuple[int, int], value: int) -> None:
        self._do(Op(name, pick, part, value))

    @rule(pick=st.integers(0, 1 << 16), shadow=_to(_SHADOW))
    def swap_out(self, pick: int, shadow: int) -> None:
        for name in ("dup", "cache_del"):
            self._do(Op(name, pick, value=shadow))

    def _do(self, op: Op) -> None:
        run = _step(self.table, self.model, op)
        _compare(self.table, self.model, run[:1])
        _compare(self.table, self.model, run[-1:])

    @invariant()
    def consistent(self) -> None:
        if hasattr(self, "table"):
            self.table.check()

    def teardown(self) -> None:
        if hasattr(self, "table"):
            _compare(self.table, self.model, {entry for run in self.model.runs for entry in run})
