# The 8-byte table word: every field of every kind, packed and unpacked.
# Imports the package's words and exceptions.
# Used by pytest.
from __future__ import annotations

import errno
import itertools
import random

import pytest

from swaptable import SlotEntry, SwapTable, SwapValueError, pack, unpack

SHADOW_MAX = 2**42 - 1
PFN_MAX = 2**41 - 1
MEMCG_MAX = 2**16 - 1
POINTER_SLOT_MAX = 2**55 - 1
LOW_BITS = {"shadow": (1, 1), "folio": (3, 2), "pointer": (7, 4), "lent": (15, 8), "bad": (15, 8)}  # (mask, value)


def values(bits: int, seed: int) -> list[int]:
    """The ends of a field of *bits* bits, each of its bits alone, and a few in between."""
    rnd = random.Random(seed)
    top = 2**bits - 1
    some = {0, 1, 2, top - 1, top, top // 2, top // 2 + 1, top // 3, top // 3 * 2}
    return sorted(some | {1 << i for i in range(bits)} | {rnd.randrange(top + 1) for _ in range(8)})


def expect_refused(what: str, call, *args, **kwargs) -> None:
    """EINVAL, and the message names the value."""
    with pytest.raises(SwapValueError) as caught:
        call(*args, **kwargs)
    assert caught.value.errno == errno.EINVAL
    assert what in str(caught.value)


@pytest.mark.parametrize(("kind", "field", "bits", "shift"), [("shadow", "shadow", 42, 1), ("folio", "pfn", 41, 2)])
def test_counting_kinds(kind, field, bits, shift):
    mask, low = LOW_BITS[kind]
    for count, zero in itertools.product(range(16), (False, True)):
        for memcg, value in itertools.product(values(16, count), values(bits, count + 16)):
            word = pack(kind, count=count, zero=zero, memcg=memcg, **{field: value})
            assert word == count << 60 | zero << 59 | memcg << 43 | value << shift | low
            entry = unpack(word)
            got = (entry.word, entry.kind, entry.count, entry.zero, entry.memcg, getattr(entry, field))
            assert got == (word, kind, count, zero, memcg, value)
    assert word & mask == low
    assert (entry.shadow is None, entry.pfn is None, entry.pointer) == (kind == "folio", kind == "shadow", None)


def test_pointers():
    for cache_only, type_, slot in itertools.product((False, True), range(32), values(55, 1)):
        word = pack("pointer", cache_only=cache_only, type=type_, slot=slot)
        assert word == cache_only << 63 | type_ << 58 | slot << 3 | 4
        entry = unpack(word)
        assert (entry.word, entry.kind, entry.pointer) == (word, "pointer", (cache_only, type_, slot))
        assert (entry.count, entry.zero, entry.memcg, entry.pfn, entry.shadow) == (0, False, 0, None, None)


@pytest.mark.parametrize(("kind", "word"), [("null", 0), ("lent", 8), ("bad", 2**64 - 8)])
def test_constant_kinds(kind, word):
    assert pack(kind) == word
    entry = unpack(word)
    assert (entry.kind, entry.word) == (kind, word)
    assert (entry.count, entry.zero, entry.memcg, entry.pfn, entry.shadow, entry.pointer) == (
        0,
        False,
        0,
        None,
        None,
        None,
    )


def test_low_bits_tell_the_kinds_apart():
    """Whatever the other bits are: 1 a shadow, 10 a folio, 100 a pointer; 1000 is lent or bad, nothing between."""
    rnd = random.Random(5)
    for rest in [0, 2**60 - 1, *(rnd.randrange(2**60) for _ in range(2000))]:
        for low in range(16):
            word = rest << 4 | low
            kind = "shadow" if low & 1 else "folio" if low & 2 else "pointer" if low & 4 else None
            if kind is None:
                kind = {0: "null", 8: "lent", 2**64 - 8: "bad"}.get(word)
            if kind is None:
                expect_refused(f"{word:#x}", unpack, word)
            else:
                assert unpack(word).kind == kind
                mask, value = LOW_BITS.get(kind, (15, 0))
                assert word & mask == value


def test_every_word_of_a_kind_packs_again():
    """unpack and pack are inverse for any word of the layout, so that no bit is lost."""
    rnd = random.Random(6)
    for _ in range(20000):
        word = rnd.randrange(2**64) | rnd.choice((1, 2, 4))
        e = unpack(word)
        if e.kind == "pointer":
            again = pack("pointer", **dict(zip(("cache_only", "type", "slot"), e.pointer, strict=True)))
        else:
            field = {"pfn": e.pfn} if e.kind == "folio" else {"shadow": e.shadow}
            again = pack(e.kind, count=e.count, zero=e.zero, memcg=e.memcg, **field)
        assert again == word


def test_a_pointer_with_the_bits_of_bad_but_one():
    """A word that differs from BAD or LENT in one bit is another kind, or none."""
    for base, bit in itertools.product((8, 2**64 - 8), range(64)):
        word = base ^ 1 << bit
        if word & 7 == 0 and word not in (0, 8, 2**64 - 8):
            expect_refused(f"{word:#x}", unpack, word)
        else:
            assert unpack(word).kind == {0: "null", 1: "shadow", 2: "folio", 4: "pointer"}[word & 7]


@pytest.mark.parametrize(
    ("kind", "field", "most"),
    [
        ("shadow", "count", 15),
        ("folio", "count", 15),
        ("shadow", "memcg", MEMCG_MAX),
        ("folio", "memcg", MEMCG_MAX),
        ("shadow", "shadow", SHADOW_MAX),
        ("folio", "pfn", PFN_MAX),
        ("pointer", "type", 31),
        ("pointer", "slot", POINTER_SLOT_MAX),
    ],
)
def test_fields_that_do_not_fit(kind, field, most):
    assert pack(kind, **{field: most}) != pack(kind, **{field: most - 1})
    for value in (most + 1, 2**64, 2**64 + 1, 2**200, -1, -(2**63), 1.5, "7", b"7", [1]):
        expect_refused(repr(value), pack, kind, **{field: value})
        with pytest.raises(SwapValueError, match=field):
            pack(kind, **{field: value})


@pytest.mark.parametrize("kind", ["null", "shadow", "folio", "pointer", "lent", "bad"])
def test_fields_that_a_kind_does_not_have(kind):
    has = {
        "shadow": {"count", "zero", "memcg", "shadow"},
        "folio": {"count", "zero", "memcg", "pfn"},
        "pointer": {"cache_only", "type", "slot"},
    }.get(kind, set())
    for field in {"count", "zero", "memcg", "pfn", "shadow", "cache_only", "type", "slot"} - has:
        with pytest.raises(SwapValueError, match=field):
            pack(kind, **{field: 1})


@pytest.mark.parametrize("kind", ["", "NULL", "invalid", "shadows", "Folio"])
def test_kinds_that_do_not_exist(kind):
    expect_refused(repr(kind), pack, kind)


@pytest.mark.parametrize("word", [-1, 2**64, 2**70, 1.0, "1", None, b"12345678"])
def test_words_that_are_not_64_bits(word):
    expect_refused(repr(word), unpack, word)


def test_entries_are_values():
    a = unpack(pack("shadow", count=2, shadow=9))
    b = unpack(pack("shadow", count=2, shadow=9))
    assert a == b
    assert hash(a) == hash(b)
    assert a != unpack(pack("shadow", count=3, shadow=9))
    assert a != a.word
    assert isinstance(a, SlotEntry)
    assert repr(a) == "SlotEntry(kind='shadow', count=2, zero=False, memcg=0, shadow=9)"
    assert repr(unpack(pack("folio", pfn=3, memcg=4, zero=True))) == (
        "SlotEntry(kind='folio', count=0, zero=True, memcg=4, pfn=3)"
    )
    assert repr(unpack(0)) == "SlotEntry(kind='null')"
    assert repr(unpack(pack("pointer", type=1, slot=2))) == "SlotEntry(kind='pointer', pointer=(False, 1, 2))"
    for name in ("word", "count", "kind", "zero", "memcg", "pfn", "shadow", "pointer"):
        with pytest.raises(AttributeError):
            setattr(a, name, 1)


@pytest.mark.parametrize("zero", [False, True])
def test_a_table_writes_these_words(zero):
    """The boundary values on their way through a table: alloc, dup, cache_del, cache_add."""
    table = SwapTable(slots=2048)
    for memcg, pfn, shadow in itertools.product((0, 1, MEMCG_MAX), (0, 1, PFN_MAX), (0, 1, SHADOW_MAX)):
        slot = table.alloc(pfn=pfn, memcg=memcg)
        assert table[slot] == pack("folio", memcg=memcg, pfn=pfn)
        for count in range(1, 16):
            table.dup(slot)
            assert table[slot] == pack("folio", count=count, memcg=memcg, pfn=pfn)
        if zero:
            table.zero_set(slot)
        table.cache_del(slot, shadow=shadow)
        assert table[slot] == pack("shadow", count=15, zero=zero, memcg=memcg, shadow=shadow)
        assert table.cache_add(slot, pfn) == pack("shadow", count=15, zero=zero, memcg=memcg, shadow=shadow)
        assert table[slot] == pack("folio", count=15, zero=zero, memcg=memcg, pfn=pfn)
        table.free(slot)
        assert table[slot] == 0
    table.check()
