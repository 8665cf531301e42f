# What swaptable.testing offers: its words are words, its machine passes what is right and finds what is not.
# Imports hypothesis, the package.
# Used by pytest.
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test

from swaptable import SwapTable, designs, pack, unpack
from swaptable.testing import Model, Op, SwapTableMachine, entries, operations, perform, words

FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@given(words())
def test_words_read_back(word):
    entry = unpack(word)
    assert entry.word == word
    assert entry.kind in ("null", "shadow", "folio", "pointer", "lent", "bad")


@given(entries("folio"))
def test_entries_of_one_kind(entry):
    given = {"count": entry.count, "zero": entry.zero, "memcg": entry.memcg, "pfn": entry.pfn}
    assert pack("folio", **given) == entry.word


def test_a_kind_that_is_none():
    with pytest.raises(ValueError, match="kind 'foil': expected some of null, shadow"):
        words("foil")


@FEW
@given(operations())
def test_a_table_does_what_the_model_says(ops):
    perform(SwapTable(slots=2048), ops)


@pytest.mark.parametrize("name", designs.names())
def test_every_design_does_what_the_model_says(name):
    options = {"ghost": {"block": True}}.get(name, {})

    @settings(FEW, max_examples=8)
    @given(operations())
    def agree(ops):
        perform(designs.make(name, 2048, **options), ops)

    agree()


def test_goes_on_from_a_model():
    table = SwapTable(slots=1024)
    model = perform(table, [Op("alloc", 2, value=7), Op("dup")])
    assert perform(table, [Op("cache_del", value=3), Op("put", part=(1, 2))], model) is model
    assert sorted(model.slots) == [512, 515]
    assert table.entry(513).kind == "null"


def wrong(**methods):
    """A table with some methods replaced."""

    class Wrong:
        def __init__(self):
            self.table = SwapTable(slots=2048)

        def __getattr__(self, name):
            if name in methods:
                return lambda *args, **kw: methods[name](self.table, *args, **kw)
            return getattr(self.table, name)

    return Wrong


def forgets_one(table, slot, nr):
    table.put(slot, nr=nr - 1 if nr > 1 else nr)


def gives_twice(table, order, pfn, memcg):
    return 512 if table.usage()["used"] > 40 else table.alloc(order=order, pfn=pfn, memcg=memcg)


def loses_shadow(table, slot, nr, shadow):
    table.cache_del(slot, nr=nr, shadow=shadow & ~(1 << 20))


def lets_pass(table, slot, nr, pfn):
    if table.entry(slot).kind == "shadow":
        table.cache_add(slot, pfn=pfn, nr=nr)


WRONG = {
    "put": forgets_one, "alloc": gives_twice, "cache_del": loses_shadow, "cache_add": lets_pass,
}  # fmt: skip


@pytest.mark.parametrize("method", WRONG)
def test_the_machine_finds_what_is_wrong(method):
    class Mine(SwapTableMachine):
        def make(self):
            return wrong(**{method: WRONG[method]})()

    # Found, but not made small, which would take minutes.
    run = settings(FEW, max_examples=300, database=None, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Mine, settings=run)


class Small(SwapTableMachine):
    def make(self):
        return SwapTable(slots=600, header=False)


class Old(SwapTableMachine):
    def make(self):
        return designs.make("old", 1024)


TestTable, TestSmall, TestOld = SwapTableMachine.TestCase, Small.TestCase, Old.TestCase
TestTable.settings = TestSmall.settings = TestOld.settings = FEW


def test_an_order_0_that_is_refused_though_there_is_room():
    with pytest.raises(AssertionError, match="was refused on a device with free slots"):
        perform(wrong(alloc=lambda table, **_: exhaust())(), [Op("alloc")], Model())


def exhaust():
    table = SwapTable(slots=1, header=False)
    table.alloc()
    table.alloc()
