# check() of the compressed pool finds damage: records, zspages, lists and counts are overwritten, and put back.
# Imports the package, page_mix, ctypes.
# Used by pytest. It knows the pool's private structures, and fails when they have moved.
import ctypes as c

import numpy as np
import pytest
from page_mix import PAGE, mix

from swaptable.backends.zswap import ZswapBackend
from swaptable.errors import CheckError

LIMIT = 4096


class Zspage(c.Structure):
    _fields_ = [("used", c.c_uint64 * 2), ("next", c.c_uint32), ("prev", c.c_uint32), ("pages", c.c_uint16),
                ("cls", c.c_uint8), ("inuse", c.c_uint8), ("group", c.c_uint8)]


class Class(c.Structure):
    _fields_ = [("lock", c.c_uint8), ("mask", c.c_uint8), ("pages", c.c_uint8), ("objs", c.c_uint8),
                ("size", c.c_uint16), ("pad", c.c_uint16), ("heads", c.c_uint32 * 8), ("nr_zspages", c.c_uint32),
                ("nr_objs", c.c_uint32), ("moved", c.c_uint64)]


class Spool(c.Structure):
    _fields_ = [("classes", c.POINTER(Class)), ("nr_classes", c.c_uint32), ("class_of", c.c_uint8 * 257),
                ("lock", c.c_uint8), ("fresh", c.c_uint32), ("free", c.c_uint32), ("spare", c.c_uint32),
                ("max_zspages", c.c_uint32), ("z", c.POINTER(Zspage)), ("base", c.c_void_p), ("most", c.c_uint32),
                ("limit", c.c_int64), ("pages", c.c_int64), ("spare_pages", c.c_int64), ("peak", c.c_int64),
                ("compacted", c.c_int64)]


class Store(c.Structure):
    _fields_ = [("zs", Spool), ("heads", c.POINTER(c.c_uint32)), ("bodies", c.POINTER(c.c_uint64)),
                ("head_stride", c.c_uint32), ("body_stride", c.c_uint32), ("nr", c.c_uint32), ("codec", c.c_void_p),
                ("stored", c.c_int64), ("filled", c.c_int64), ("raw", c.c_int64), ("raw_since", c.c_int64),
                ("bytes", c.c_int64)]


class Numbers(c.Structure):
    _fields_ = [("number_lock", c.c_uint8), ("hand_lock", c.c_uint8), ("free", c.c_uint32), ("nr_free", c.c_uint32)]


class Inside:
    """A pool with pages of every kind, free numbers, partial and spare zspages; and its structures."""

    def __init__(self):
        self.backend = ZswapBackend("lz4", limit=LIMIT * PAGE, keep_incompressible=True)
        self.numbers = self.backend.write_folio(mix(400, 1))
        self.backend.invalidate(self.numbers[50:150])
        at = id(self.backend.pool) + 2 * c.sizeof(c.c_void_p)
        # The methods' table comes first, since the class has C methods.
        self.store = Store.from_address(at + c.sizeof(c.c_void_p))
        counts = self.backend.counts()
        known = (self.store.nr, self.store.stored, self.store.bytes, self.store.zs.pages, self.store.zs.limit)
        if known != (400, 300, counts["bytes"], counts["pages"], LIMIT):
            pytest.fail("the pool's structures have moved: bring this file up to date")
        self.list = Numbers.from_address(c.addressof(self.store) + STORE_BYTES)
        if self.list.nr_free != 100:
            pytest.fail("the pool's structures have moved: bring this file up to date")
        self.zs = self.store.zs
        # Some record with an object, and its zspage.
        self.number = next(int(n) for n in self.numbers[150:] if self.store.heads[n] & 7 == 1)
        self.zspage = self.zs.z[self.store.bodies[self.number]]
        self.cls = self.zs.classes[self.zspage.cls]
        self.backend.check()

    def header(self):
        """The four bytes before the object that say whose it is."""
        at = self.zs.base + self.store.bodies[self.number] * 16 * PAGE
        at += (self.store.heads[self.number] >> 7 & 127) * self.cls.size
        return c.c_uint32.from_address(at)


STORE_BYTES = c.sizeof(Store) + 7 * 8      # the rest of the counts


def field(of, name):
    """A field of a structure that *of* finds."""
    return lambda i: (of(i), name)


def element(of, index):
    """An element of an array that *of* finds."""
    return lambda i: (of(i), index(i))


def read(where):
    of, key = where
    return getattr(of, key) if isinstance(key, str) else of[key]


def write(where, value):
    of, key = where
    if isinstance(key, str):
        setattr(of, key, value)
    else:
        of[key] = value


def first_free(i):
    return i.list.free


def of_kind(state):
    """The number of some record in a state."""
    return lambda i: next(n for n in range(400) if i.store.heads[n] & 7 == state)


def a_class_with_partial(i):
    return next(k for k in range(i.zs.nr_classes) if i.zs.classes[k].mask)


def partial(i):
    """A zspage on a list."""
    k = i.zs.classes[a_class_with_partial(i)]
    return i.zs.z[next(head for head in k.heads if head != 0xffffffff)]


DAMAGE = {
    "head locked": (element(lambda i: i.store.heads, lambda i: i.number), lambda v: v | 8),
    "head of no state": (element(lambda i: i.store.heads, lambda i: i.number), lambda v: v | 7),
    "head free": (element(lambda i: i.store.heads, lambda i: i.number), lambda v: 0),
    "head taken": (element(lambda i: i.store.heads, first_free), lambda v: 5),
    "filled head free": (element(lambda i: i.store.heads, of_kind(2)), lambda v: 0),
    "length": (element(lambda i: i.store.heads, lambda i: i.number), lambda v: v + (64 << 14)),
    "place in the zspage": (element(lambda i: i.store.heads, lambda i: i.number), lambda v: v ^ 1 << 7),
    "zspage of a record": (element(lambda i: i.store.bodies, lambda i: i.number), lambda v: v + 1),
    "zspage that never was": (element(lambda i: i.store.bodies, lambda i: i.number), lambda v: 10**6),
    "free number's link": (element(lambda i: i.store.bodies, first_free), lambda v: 0xffffffff),
    "free number's link to a used one": (element(lambda i: i.store.bodies, first_free), lambda v: 399),
    "header": (field(lambda i: i.header(), "value"), lambda v: v + 1),
    "bits": (element(lambda i: i.zspage.used, lambda i: 0), lambda v: v ^ 1 << 5),
    "inuse": (field(lambda i: i.zspage, "inuse"), lambda v: v + 1),
    "class": (field(lambda i: i.zspage, "cls"), lambda v: v ^ 1),
    "class that never was": (field(lambda i: i.zspage, "cls"), lambda v: 255),
    "page not in memory": (field(lambda i: i.zspage, "pages"), lambda v: v & v - 1),
    "page too many": (field(lambda i: i.zspage, "pages"), lambda v: v | 1 << 15 if not v >> 15 else v >> 1),
    "group": (field(partial, "group"), lambda v: v ^ 1),
    "prev": (field(partial, "prev"), lambda v: 0),
    "link to itself": (field(partial, "next"), lambda v: 0 if v else 1),
    "mask": (field(lambda i: i.zs.classes[a_class_with_partial(i)], "mask"), lambda v: 0),
    "class locked": (field(lambda i: i.cls, "lock"), lambda v: 1),
    "count of zspages": (field(lambda i: i.cls, "nr_zspages"), lambda v: v + 1),
    "count of objects": (field(lambda i: i.cls, "nr_objs"), lambda v: v - 1),
    "pool locked": (field(lambda i: i.zs, "lock"), lambda v: 1),
    "pages": (field(lambda i: i.zs, "pages"), lambda v: v - 1),
    "spare pages": (field(lambda i: i.zs, "spare_pages"), lambda v: v + 1),
    "peak": (field(lambda i: i.zs, "peak"), lambda v: 0),
    "stored": (field(lambda i: i.store, "stored"), lambda v: v + 1),
    "filled": (field(lambda i: i.store, "filled"), lambda v: v - 1),
    "raw": (field(lambda i: i.store, "raw"), lambda v: v + 1),
    "bytes": (field(lambda i: i.store, "bytes"), lambda v: v - 1),
    "count of free numbers": (field(lambda i: i.list, "nr_free"), lambda v: v + 1),
    "free numbers lost": (field(lambda i: i.list, "free"), lambda v: 0xffffffff),
}


@pytest.fixture(scope="module")
def inside():
    return Inside()


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found(inside, what):
    find, change = DAMAGE[what]
    where = find(inside)
    before = read(where)
    assert change(before) != before
    write(where, change(before))
    try:
        with pytest.raises(CheckError):
            inside.backend.check()
    finally:
        write(where, before)
    inside.backend.check()


def test_a_changed_byte_of_a_page_is_found_by_a_deep_check(inside):
    at = c.addressof(inside.header()) + 4
    blob = (c.c_uint8 * 32).from_address(at)
    before = bytes(blob)
    blob[:] = [255] * 32
    try:
        inside.backend.check()
        with pytest.raises(CheckError, match=f"number {inside.number}"):
            inside.backend.check(deep=True)
    finally:
        blob[:] = before
    inside.backend.check(deep=True)
    assert np.array_equal(inside.backend.read_many(inside.numbers[150:]), mix(400, 1)[150:])
