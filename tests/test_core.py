# SwapTable method by method: results, shapes, dtypes, and what every misuse does.
# Imports the package, its exceptions, numpy.
# Used by pytest. Placement is in test_machine.py and test_vectors.py, bytes in test_memory.py.
from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from swaptable import (
    CountOverflowError,
    SlotCachedError,
    SlotNotInUseError,
    SwapError,
    SwapFullError,
    SwapTable,
    SwapValueError,
    pack,
    unpack,
)

USERS_MAX = 2**32 - 1


def state(table: SwapTable) -> tuple:
    """Words, usage and memory: what a refused call must leave as it was."""
    return table.words(np.arange(min(len(table), 4096))).tolist(), table.usage(), table.memory()


@contextmanager
def unchanged(table: SwapTable):
    before = state(table)
    yield
    assert state(table) == before
    table.check()


@pytest.fixture
def table():
    """2048 slots, 600 bad, the third cluster untouched; see the constants below."""
    table = SwapTable(slots=1900, bad=(600,))
    assert table.alloc_many(10).tolist() == list(range(1, 11))
    assert table.alloc(4, pfn=77, memcg=5) == RUN
    table.dup(USED)
    for slot in (SWAPPED, MANY, OVER):
        table.dup(slot)
        table.cache_del(slot, shadow=slot)
    table.dup(MANY, users=USERS_MAX - 1)
    table.dup(OVER, users=19)
    yield table
    table.check()


CACHED, USED, SWAPPED, MANY, OVER, FREE, BAD_SLOT, RUN = 1, 2, 3, 4, 5, 20, 600, 1024
LAST = 1899  # its cluster goes on to 2047: past the end, so bad


# ---- making a table


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        ({"slots": 0}, "slots 0"),
        ({"slots": -1}, "slots -1"),
        ({"slots": 2**32}, "slots 4294967296"),
        ({"slots": 1.5}, "slots 1.5"),
        ({"slots": "9"}, "slots '9'"),
        ({"slots": 1}, "slots 1"),  # the header's, so none is usable
        ({"slots": 3, "bad": (1, 2)}, "slots 3"),
        ({"cpus": 0}, "cpus 0"),
        ({"cpus": 8193}, "cpus 8193"),
        ({"cpus": None}, "cpus None"),
        ({"slots": 99, "bad": (99,)}, "99"),
        ({"slots": 99, "bad": (-1,)}, "-1"),
        ({"slots": 99, "bad": (0,)}, "bad slot 0"),
        ({"slots": 99, "bad": (5, 5)}, "bad slot 5"),
        ({"slots": 99, "bad": (1.5,)}, "bad"),
        ({"slots": 99, "bad": np.ones((2, 2), int)}, "bad"),
    ],
)
def test_shapes_that_do_not_exist(shape, named):
    with pytest.raises(SwapValueError) as caught:
        SwapTable(**shape)
    assert named in str(caught.value)


def test_a_new_table():
    table = SwapTable(slots=1900, cpus=3, bad=[600, 5])
    assert (len(table), table.cpus) == (1900, 3)
    assert repr(table) == "SwapTable(slots=1900, used=0, cpus=3)"
    assert [unpack(table[slot]).kind for slot in (0, 1, 5, 600, 1899)] == ["bad", "null", "bad", "bad", "null"]
    assert len(SwapTable()) == 262144
    assert len(SwapTable(slots=2**32 - 1)) == 2**32 - 1
    assert len(SwapTable(slots=None)) == 2**32 - 512
    table.check()
    bad = np.array([9, 3, 5], np.uint16)[::-1]
    assert SwapTable(slots=10, bad=bad, header=False).alloc_many(9).tolist() == [0, 1, 2, 4, 6, 7, 8]


def test_a_table_is_no_sequence(table):
    with pytest.raises(TypeError):
        iter(table)


# ---- allocation


@pytest.mark.parametrize("order", range(10))
def test_alloc_and_alloc_many_agree(order):
    one, many = SwapTable(slots=8192), SwapTable(slots=8192)
    nr = 1 << order
    pfns = np.arange(20, dtype=np.uint64) << np.uint64(30)
    n = min(20, 15 if order == 9 else 20)
    slots = many.alloc_many(n, order, pfns=pfns[:n], memcg=9)
    assert (slots.dtype, slots.shape, slots.flags.owndata) == (np.int64, (n,), True)
    assert (slots % nr == 0).all()
    assert [one.alloc(order, pfn=int(pfn), memcg=9) for pfn in pfns[:n]] == slots.tolist()
    assert state(one)[0] == state(many)[0]
    for slot, pfn in zip(slots.tolist(), pfns.tolist(), strict=False):
        assert [many[slot + i] for i in range(nr)] == [pack("folio", pfn=pfn, memcg=9)] * nr
    assert many.usage()["used"] == n * nr
    one.check()
    many.check()


def test_a_full_table():
    table = SwapTable(slots=1024)
    assert table.alloc_many(0).shape == (0,)
    assert table.alloc_many(5, 9).tolist() == [512]
    with unchanged(table), pytest.raises(SwapFullError):
        table.alloc(9)
    assert table.alloc_many(2**62).tolist() == list(range(1, 512))
    with unchanged(table):
        with pytest.raises(SwapFullError) as caught:
            table.alloc()
        assert "1023 of 1023" in str(caught.value)
        assert table.alloc_many(3).shape == (0,)
    assert table.usage()["free"] == 0


def test_a_device_that_is_no_block_device():
    table = SwapTable(slots=2048, block=False)
    with unchanged(table):
        with pytest.raises(SwapFullError, match="no block device"):
            table.alloc(1)
        assert table.alloc_many(5, 4).size == 0
    assert table.alloc() == 1
    table.check()


def test_each_cpu_and_order_has_a_cursor():
    table = SwapTable(slots=512 * 20, cpus=2)
    assert [table.alloc(0, cpu) for cpu in (0, 0, 1, 1, 0)] == [1, 2, 512, 513, 3]
    assert [table.alloc(2, cpu) for cpu in (1, 0, 1, 0)] == [1024, 1536, 1028, 1540]
    assert table.alloc_many(2, 0, 1).tolist() == [514, 515]
    table.check()
    disk = SwapTable(slots=512 * 20, cpus=2, rotational=True)
    assert [disk.alloc(0, cpu) for cpu in (0, 1, 0, 1)] == [1, 2, 3, 4]
    disk.check()


def test_threads_have_cpus_of_their_own():
    """Two threads that are new, one after the other, get numbers in a row: so other CPUs of two."""
    table = SwapTable(slots=512 * 20, cpus=2)
    slots = []

    def work():
        slots.append([table.alloc(), *table.alloc_many(2, cpu=-1).tolist(), table.alloc(cpu=-1)])

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert slots == [[1, 2, 3, 4], [512, 513, 514, 515]]
    table.check()


@pytest.mark.parametrize(
    "arguments",
    [
        {"order": -1},
        {"order": 10},
        {"cpu": 1},
        {"cpu": -2},
        {"memcg": -1},
        {"memcg": 2**16},
        {"memcg": "a"},
        {"pfn": 2**41},
        {"pfn": -1},
        {"pfn": 1.5},
        {"n": -1},
        {"pfns": [1]},
        {"pfns": [1, 2, 3]},
        {"pfns": [1, 2**41]},
        {"pfns": [1, -1]},
        {"pfns": 7},
        {"pfns": [[1, 2]]},
        {"pfns": ["a", "b"]},
    ],
)
def test_alloc_misused(table, arguments):
    with unchanged(table):
        if not arguments.keys() & {"n", "pfns"}:
            with pytest.raises(SwapValueError):
                table.alloc(**arguments)
        if "pfn" not in arguments:
            with pytest.raises(SwapValueError):
                table.alloc_many(**{"n": 2, **arguments})


# ---- one slot's life


def test_a_slot_from_alloc_to_free(table):
    slot = table.alloc(pfn=8, memcg=3)
    kinds = []
    for call in (
        lambda: table.dup(slot, users=2),
        lambda: table.zero_set(slot),
        lambda: table.cache_del(slot, shadow=6),
        lambda: table.put(slot),
        lambda: table.zero_clear(slot),
        lambda: table.cache_add(slot, 9),
        lambda: table.put(slot),
        lambda: table.cache_del(slot),
    ):
        call()
        e = table.entry(slot)
        kinds.append((e.kind, e.count, e.zero, e.memcg, e.pfn if e.pfn is not None else e.shadow))
    assert kinds == [
        ("folio", 2, False, 3, 8),
        ("folio", 2, True, 3, 8),
        ("shadow", 2, True, 3, 6),
        ("shadow", 1, True, 3, 6),
        ("shadow", 1, False, 3, 6),
        ("folio", 1, False, 3, 9),
        ("folio", 0, False, 3, 9),
        ("null", 0, False, 0, None),
    ]
    assert table.alloc() == slot + 1


def test_put_frees_at_zero_unless_cached(table):
    table.put(USED)
    assert table.entry(USED).kind == "folio"
    table.put(SWAPPED)
    assert table[SWAPPED] == 0
    table.cache_del(USED)
    assert table[USED] == 0
    assert table.usage()["used"] == 10 - 2 + 16


def test_cache_add_returns_the_words_it_replaced(table):
    old = table.cache_add(SWAPPED, 123)
    assert type(old) is int
    assert old == pack("shadow", count=1, shadow=SWAPPED)
    table.dup(RUN, 16)
    words = table.words(np.arange(RUN, RUN + 16)).tolist()
    table.cache_del(RUN, 44, 16)
    run = table.cache_add(RUN, 55, nr=16)
    assert (run.dtype, run.shape) == (np.uint64, (16,))
    assert run.tolist() == [pack("shadow", count=1, memcg=5, shadow=44)] * 16
    assert words == [pack("folio", count=1, memcg=5, pfn=77)] * 16
    many = table.cache_add_many([MANY, OVER], [1, 2])
    assert (many.dtype, many.shape) == (np.uint64, (2,))
    assert many.tolist() == [pack("shadow", count=15, shadow=slot) for slot in (MANY, OVER)]
    assert (table.entry(MANY).count, table.entry(OVER).count) == (USERS_MAX, 20)
    table.cache_del(RUN, 1, 8)
    table.cache_del(RUN + 8, 1, 8)
    assert table.cache_add_many([RUN, RUN + 8], [3, 4], nr=8).shape == (16,)
    assert [table.entry(RUN + i).pfn for i in (0, 7, 8, 15)] == [3, 3, 4, 4]


def test_counts_beyond_14(table):
    assert (table.entry(MANY).count, table.entry(OVER).count) == (USERS_MAX, 20)
    assert unpack(table[MANY]).count == 15
    table.put(MANY, users=USERS_MAX - 14)
    assert (table.entry(MANY).count, unpack(table[MANY]).count) == (14, 14)
    table.dup(MANY)
    assert table.entry(MANY).count == unpack(table[MANY]).count == 15
    table.put(OVER, users=20)
    assert table[OVER] == 0
    table.dup(USED, users=0)
    assert table.entry(USED).count == 1


def test_part_of_a_large_run_and_then_the_rest(table):
    table.free(RUN + 4, 4)
    assert [unpack(table[RUN + i]).kind for i in (3, 4, 7, 8)] == ["folio", "null", "null", "folio"]
    with unchanged(table), pytest.raises(SlotNotInUseError):
        table.free(RUN, 16)
    table.free(RUN, 4)
    table.free_many([RUN + 8, RUN + 12], nr=4)
    assert table.usage()["used"] == 10


@pytest.mark.parametrize("nr", [1, 2, 4, 16])
@pytest.mark.parametrize("op", ["free", "dup", "put", "cache_add", "cache_del"])
def test_twins_agree(op, nr):
    one, many = (SwapTable(slots=4096) for _ in range(2))
    slots = one.alloc_many(50, nr.bit_length() - 1)
    assert many.alloc_many(50, nr.bit_length() - 1).tolist() == slots.tolist()
    for table in (one, many):
        table.dup_many(slots[10:], nr)
        table.cache_del_many(slots[20:], nr=nr)
    part = {"free": slots, "dup": slots, "put": slots[10:], "cache_add": slots[20:], "cache_del": slots[:20]}[op][::3]
    values = {"cache_add": part + 5, "cache_del": part + 6}.get(op)
    more = () if values is None else (values,)
    got = getattr(many, f"{op}_many")(part, *more, nr=nr)
    each = [getattr(one, op)(int(slot), *(int(m[k]) for m in more), nr=nr) for k, slot in enumerate(part)]
    if op == "cache_add":
        assert got.tolist() == np.ravel(each).tolist()
    else:
        assert got is None
        assert each == [None] * len(part)
    assert state(one) == state(many)
    one.check()
    many.check()


# ---- misuse


@pytest.mark.parametrize(
    ("name", "slot", "arguments", "error"),
    [
        *((name, FREE, {}, SlotNotInUseError) for name in ("free", "dup", "put", "cache_add", "cache_del", "zero_set")),
        *((name, 1500, {}, SlotNotInUseError) for name in ("free", "dup", "put", "cache_add", "zero_clear")),
        *(
            (name, BAD_SLOT, {}, SwapValueError)
            for name in ("free", "dup", "put", "cache_add", "cache_del", "zero_set")
        ),
        *((name, 0, {}, SwapValueError) for name in ("free", "dup", "put", "cache_add", "cache_del", "zero_clear")),
        *(("free", slot, {}, SwapValueError) for slot in (-1, -(2**63), LAST + 1, 2047, 2048, 2**33, 2**63 - 1)),
        *(("dup", RUN, {"nr": nr}, SwapValueError) for nr in (0, -1, 513, 2**31 - 1, -(2**31))),
        *((name, 510, {"nr": 4}, SwapValueError) for name in ("free", "dup", "put", "cache_add", "cache_del")),
        ("free", RUN + 8, {"nr": 16}, SlotNotInUseError),  # the second half of it is free
        ("free", RUN - 8, {"nr": 16}, SwapValueError),  # crosses from a cluster without a table
        ("free", LAST - 1, {"nr": 4}, SlotNotInUseError),
        ("free", 5, {"nr": 8}, SlotNotInUseError),
        ("free", 596, {"nr": 8}, SlotNotInUseError),  # the first unfit slot decides
        ("put", CACHED, {}, SlotNotInUseError),
        ("put", USED, {"users": 2}, SlotNotInUseError),
        ("put", OVER, {"users": 21}, SlotNotInUseError),
        ("put", MANY, {"users": 2**32}, SwapValueError),
        ("dup", MANY, {}, CountOverflowError),
        ("dup", USED, {"users": USERS_MAX}, CountOverflowError),
        ("dup", USED, {"users": -1}, SwapValueError),
        ("dup", USED, {"users": 2**32}, SwapValueError),
        ("dup", USED, {"users": 1.5}, SwapValueError),
        ("dup", 1, {"nr": 12, "users": 20}, CountOverflowError),
        ("put", 1, {"nr": 3}, SlotNotInUseError),
        ("cache_add", CACHED, {}, SlotCachedError),
        ("cache_add", SWAPPED, {"pfn": 2**41}, SwapValueError),
        ("cache_add", SWAPPED, {"pfn": -1}, SwapValueError),
        ("cache_add", SWAPPED, {"nr": 4}, SlotCachedError),
        ("cache_del", SWAPPED, {}, SlotNotInUseError),
        ("cache_del", USED, {"shadow": 2**42}, SwapValueError),
        ("cache_del", USED, {"shadow": "x"}, SwapValueError),
        ("cache_del", USED, {"nr": 4}, SlotNotInUseError),
        ("zero_set", 9, {"nr": 4}, SlotNotInUseError),
    ],
)
def test_misuse(table, name, slot, arguments, error):
    arguments = {"pfn": 1, **arguments} if name == "cache_add" else arguments
    with unchanged(table):
        with pytest.raises(SwapError) as caught:
            getattr(table, name)(slot, **arguments)
        assert type(caught.value) is error
        assert caught.value.index is caught.value.done is None
        if error is not SwapValueError:
            assert "slot" in str(caught.value)
    if hasattr(table, f"{name}_many") and not arguments.keys() & {"users", "shadow"}:
        more = ([arguments["pfn"]],) if name == "cache_add" else ()
        with unchanged(table), pytest.raises(error):
            getattr(table, f"{name}_many")([slot], *more, nr=arguments.get("nr", 1))


@pytest.mark.parametrize("name", ["free", "dup", "put", "cache_add", "cache_del", "zero_set", "__getitem__", "entry"])
def test_slots_that_are_no_slots(table, name):
    more = (1,) if name == "cache_add" else ()
    with unchanged(table):
        for slot in ("1", None, [1]):
            with pytest.raises(TypeError):
                getattr(table, name)(slot, *more)
        for slot in (2**63, -(2**63) - 1):
            with pytest.raises((OverflowError, SwapValueError)):
                getattr(table, name)(slot, *more)


@pytest.mark.parametrize("name", ["free", "dup", "put", "cache_add", "cache_del", "zero_set", "entry"])
def test_slots_that_are_floats(table, name):
    slot = SWAPPED if name in ("put", "cache_add") else USED
    with unchanged(table), pytest.raises((TypeError, SwapValueError)):
        getattr(table, name)(slot + 0.9, *((1,) if name == "cache_add" else ()))


@pytest.mark.parametrize("slot", [-1, 1900, 2047, 2**33, -(2**63), 2**63 - 1])
def test_reading_out_of_range(table, slot):
    with unchanged(table):
        for call in (table.__getitem__, table.entry, lambda slot: table.words([1, slot])):
            with pytest.raises(SwapValueError, match=str(slot)):
                call(slot)


@pytest.mark.parametrize("op", ["free_many", "dup_many", "put_many", "cache_add_many", "cache_del_many"])
@pytest.mark.parametrize(
    ("bad", "error"), [(FREE, SlotNotInUseError), (1500, SlotNotInUseError), (0, SwapValueError), (-1, SwapValueError)]
)
def test_batches_stop_at_the_first_bad_element(op, bad, error):
    """...whether it is in the same cluster as the one before it or in another; what came before stays done."""
    tables = [SwapTable(slots=1900) for _ in range(2)]
    for table in tables:
        slots = table.alloc_many(600)
        if op != "free_many":
            table.free(FREE)
        else:
            table.free(FREE, 1)
        slots = np.setdiff1d(slots, [FREE])
        table.dup_many(slots)
        if op == "cache_add_many":
            table.cache_del_many(slots)
    before, after = slots[[3, 4, 500, 501, 7, 8]], slots[[9, 510, 10]]
    batch = np.concatenate([before, [bad], after, [bad]])
    more = (lambda n: (np.arange(n) + 3,)) if op.startswith("cache") else (lambda n: ())
    with pytest.raises(SwapError) as caught:
        getattr(tables[0], op)(batch, *more(batch.size))
    assert type(caught.value) is error
    assert (caught.value.index, caught.value.done) == (6, 6)
    assert "element 6 of the batch" in str(caught.value)
    getattr(tables[1], op)(before, *more(before.size))
    assert state(tables[0]) == state(tables[1])
    for table in tables:
        table.check()


def test_a_slot_twice_in_a_batch(table):
    with pytest.raises(SlotNotInUseError) as caught:
        table.free_many([6, 7, 6])
    assert caught.value.index == 2
    table.dup_many([8, 8, 8])
    assert table.entry(8).count == 3
    with pytest.raises(SlotNotInUseError) as caught:
        table.put_many([8] * 5)
    assert caught.value.index == 3
    with pytest.raises(SlotCachedError) as caught:
        table.cache_add_many([SWAPPED, SWAPPED], [1, 2])
    assert caught.value.index == 1
    assert table.entry(SWAPPED).pfn == 1


@pytest.mark.parametrize("op", ["cache_add_many", "cache_del_many"])
def test_values_of_a_batch(table, op):
    slots = [SWAPPED, OVER] if op == "cache_add_many" else [CACHED, USED]
    most = 2**41 - 1 if op == "cache_add_many" else 2**42 - 1
    call = getattr(table, op)
    with unchanged(table):
        for values in ([1], [1, 2, 3], 7, [[1, 2]], ["a", "b"], [most + 1, 1], [-1, 1], np.array([-1, 1]), [2**64, 1]):
            with pytest.raises(SwapValueError):
                call(slots, values)
    with pytest.raises(SwapValueError) as caught:
        call(slots, [most, most + 1])
    assert caught.value.index == 1
    assert str(most + 1) in str(caught.value)
    assert most in (table.entry(slots[0]).pfn, table.entry(slots[0]).shadow, None) or table[slots[0]] == 0


# ---- arrays


GOOD_ARRAYS = {
    "int64": lambda s: np.array(s, np.int64),
    "list": list,
    "tuple": tuple,
    "range": lambda s: range(s[0], s[-1] + 1),
    "int32": lambda s: np.array(s, np.int32),
    "uint64": lambda s: np.array(s, np.uint64),
    "big endian": lambda s: np.array(s, ">i8"),
    "strided": lambda s: np.repeat(np.array(s, np.int64), 2)[::2],
    "reversed twice": lambda s: np.array(s[::-1], np.int64)[::-1],
    "memoryview": lambda s: memoryview(np.array(s, np.int64)),
}
BAD_ARRAYS = {
    "float": [1.0, 2.0],
    "bool": np.array([True, False]),
    "2-D": np.ones((2, 2), np.int64),
    "0-D": 5,
    "strings": ["1", "2"],
    "objects": [1, None],
    "ragged": np.array([2**70, 1], object),
    "beyond every table": np.array([2**63], np.uint64),
    "datetimes": np.array([1, 2], "M8[s]"),
}
BATCHES = ["words", "free_many", "dup_many", "put_many", "cache_add_many", "cache_del_many"]


def call_batch(table, op, slots):
    more = (np.zeros(np.size(slots) if np.ndim(slots) else 1, np.uint64),) if op == "cache_add_many" else ()
    return getattr(table, op)(slots, *more)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("kind", GOOD_ARRAYS)
def test_arrays_that_are_slots(kind, read_only):
    table = SwapTable(slots=2048)
    table.alloc_many(30)
    slots = GOOD_ARRAYS[kind]([4, 5, 6])
    if read_only and isinstance(slots, np.ndarray):
        slots.flags.writeable = False
    for op in ("dup_many", "cache_del_many", "cache_add_many", "words", "put_many", "free_many"):
        call_batch(table, op, slots)
    assert [table[slot] == 0 for slot in range(3, 8)] == [False, True, True, True, False]
    assert list(slots) == [4, 5, 6]
    table.check()


@pytest.mark.parametrize("op", BATCHES)
@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_arrays_that_are_not(table, op, kind):
    with unchanged(table), pytest.raises((SwapValueError, TypeError)):
        call_batch(table, op, BAD_ARRAYS[kind])


@pytest.mark.parametrize("op", BATCHES)
def test_none_is_no_array(table, op):
    with unchanged(table), pytest.raises((SwapValueError, TypeError)):
        getattr(table, op)(None, *([[]] if op == "cache_add_many" else []))


@pytest.mark.parametrize("values", [[1.5], np.array([1.0]), [True]])
@pytest.mark.parametrize("op", ["cache_add_many", "cache_del_many", "alloc_many"])
def test_pfns_and_shadows_that_are_no_integers(table, values, op):
    arguments = {"alloc_many": (1, 0, 0), "cache_add_many": ([SWAPPED],), "cache_del_many": ([USED],)}[op]
    with unchanged(table), pytest.raises(SwapValueError):
        getattr(table, op)(*arguments, values)


@pytest.mark.parametrize("op", BATCHES)
@pytest.mark.parametrize("empty", [[], (), np.zeros(0, np.int64), np.zeros(0)])
def test_empty_batches(table, op, empty):
    with unchanged(table):
        got = getattr(table, op)(empty, *([[]] if op == "cache_add_many" else []))
        assert got is None or (got.dtype, got.shape) == (np.uint64, (0,))


def test_words_into_an_array_of_the_caller(table):
    slots = [CACHED, FREE, RUN, 1500, 0]
    want = [table[slot] for slot in slots]
    out = np.full(5, 9, np.uint64)
    assert table.words(slots, out=out) is out
    assert out.tolist() == want
    assert table.words(slots).tolist() == want
    with pytest.raises(SwapValueError) as caught:
        table.words([CACHED, 1900, USED], out=out[:3])
    assert caught.value.index == 1
    assert out.tolist() == want
    with unchanged(table):
        frozen = np.zeros(5, np.uint64)
        frozen.flags.writeable = False
        for bad in (np.zeros(4, np.uint64), np.zeros(6, np.uint64), np.zeros(5), np.zeros(5, np.int64), frozen):
            with pytest.raises((SwapValueError, ValueError, TypeError)):
                table.words(slots, out=bad)
        for bad in ([0] * 5, np.zeros(10, np.uint64)[::2], np.zeros((5, 1), np.uint64)):
            with pytest.raises((SwapValueError, ValueError, TypeError)):
                table.words(slots, out=bad)


# ---- the whole


def test_run_discard():
    table = SwapTable(slots=512 * 6, header=False, discard=True)
    assert table.run_discard() == 0
    slots = table.alloc_many(512 * 6)
    table.free_many(slots[:1024])
    assert table.usage()["clusters"]["discard"] == 2
    with unchanged(table), pytest.raises(SwapFullError):
        table.alloc()
    assert (table.run_discard(), table.run_discard()) == (2, 0)
    assert table.usage()["clusters"]["free"] == 2
    assert table.alloc() == 0
    table.check()


def test_usage_adds_up(table):
    usage = table.usage()
    clusters = usage["clusters"]
    assert usage["slots"] == usage["usable"] + usage["bad"] == 1900
    assert usage["usable"] == usage["used"] + usage["free"]
    assert usage["used"] == usage["cached"] + usage["swapped"] == 26
    assert (usage["swapped"], usage["bad"]) == (3, 2)
    counts = [clusters[name] for name in ("untouched", "free", "discard", "full")]
    assert sum(counts) + sum(clusters["nonfull"]) + sum(clusters["frag"]) == 4
    assert (len(clusters["nonfull"]), len(clusters["frag"])) == (10, 10)
    kinds = [unpack(word).kind for word in table.words(np.arange(1900)).tolist()]
    assert [kinds.count(kind) for kind in ("folio", "shadow", "bad")] == [23, 3, 2]


def test_occupancy_is_clusters_by_order_and_slots_in_use():
    table = SwapTable(slots=8192)
    table.alloc_many(700)
    slots = table.alloc_many(3, order=4)
    table.alloc(order=9)
    found = table.occupancy()
    assert found.shape == (10, 513)
    # Slot 0 is the header's, which is none that is free either.
    assert {(int(o), int(n)): int(found[o, n]) for o, n in zip(*found.nonzero(), strict=True)} == {
        (0, 512): 1, (0, 189): 1, (4, 48): 1, (9, 512): 1,
    }  # fmt: skip
    table.free_many(slots, nr=16)
    assert table.occupancy()[4].sum() == 0
    table.check()


def test_stats_only_grow(table):
    before = table.stats()
    assert set(before) >= {"cluster_locks", "list_locks", "lock_waits", "visited", "words"}
    table.alloc_many(100)
    after = table.stats()
    assert all(after[name] >= before[name] for name in before)
    assert after["words"] == before["words"] + 100


def test_a_table_that_grows():
    table = SwapTable(slots=None)
    table.check()
    assert table.usage()["usable"] >= 0
    assert table.alloc() == 1
    table.check()
    assert table.alloc_many(3, 9).tolist() == [512, 1024, 1536]
    table.free(1024, 512)
    assert table.alloc(4) == 1024  # a cluster that it has before a new one
    assert table.alloc_many(1000).tolist() == [*range(2, 512), *range(2048, 2048 + 490)]
    usage = table.usage()
    assert usage["slots"] == 512 * 5
    assert usage["usable"] == usage["used"] + usage["free"] == 512 * 5 - 1
    with pytest.raises(SlotNotInUseError):
        table.free(2**32 - 513)
    with pytest.raises(SwapValueError):
        table.free(2**32 - 512)
    table.check()


def test_a_table_that_grows_with_a_bad_slot_far_off():
    table = SwapTable(slots=None, header=False, bad=(10000,))
    table.check()
    assert table.alloc() == 9728  # the partly used cluster comes first, as on any device
    assert table.alloc(9) == 0
    usage = table.usage()
    assert (usage["used"], usage["bad"]) == (513, 1)
    assert usage["usable"] == usage["used"] + usage["free"]
    table.check()
