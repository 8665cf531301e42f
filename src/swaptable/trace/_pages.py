# From addresses, ranges and objects to page numbers.
# Imports _block and numpy.
# Used by the readers of formats that hold something else than pages.
"""Page numbers of accesses and of objects.

An access of some bytes touches every page that it overlaps. An object has no address, only an id of up to 64 bits and
a size. With P pages an object, a power of two, object *id* has the page numbers from ``id * P`` on and touches as
many of them as its size needs, one at least. Page numbers have 52 bits, so ``b = 52 - log2(P)`` are left for the id.
An id that does not fit is replaced by the upper b bits of its SplitMix64 hash, whatever the trace, so that a number
never depends on what was read before. Two of n such objects share their pages with a chance of about ``n**2 / 2**(b +
1)``: one in ten thousand for a million objects of one page.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._block import PAGE_BITS, Block

_MOST = 1 << 20


def mixed(value: np.ndarray) -> np.ndarray:
    """Return the finaliser of SplitMix64 of each uint64: a permutation in which every bit depends on every other."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def page_spans(address: np.ndarray, size: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first page and the number of pages (int64) of accesses of *size* bytes, 1 or more."""
    first = address >> np.uint64(shift)
    return first, (((address + (size - np.uint64(1))) >> np.uint64(shift)) - first + np.uint64(1)).astype(np.int64)


def object_pages(largest: int, page_size: int) -> int:
    """Return the smallest power of two of pages that holds *largest* bytes.

    >>> object_pages(0, 4096), object_pages(4096, 4096), object_pages(4097, 4096), object_pages(65537, 4096)
    (1, 1, 2, 32)
    """
    return 1 << (max(1, -(-largest // page_size)) - 1).bit_length()


def object_spans(ids: np.ndarray, size: np.ndarray, pages: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first page and the number of pages (int64) of objects; *pages* is P of the module's rule.

    *size* is int64, in bytes; with one page an object it does not matter.
    """
    order = pages.bit_length() - 1
    bits = PAGE_BITS - order
    number = np.where(ids >> np.uint64(bits) == 0, ids, mixed(ids) >> np.uint64(64 - bits)) << np.uint64(order)
    if pages == 1:
        return number, np.ones(len(ids), np.int64)
    return number, np.maximum(1, (size + ((1 << shift) - 1)) >> shift)


def expand(first: np.ndarray, count: np.ndarray, rest: Block) -> Iterator[Block]:
    """Yield, for every record, *count* touches of the pages from *first* on, with the other columns of *rest*.

    *rest* has one record for each of *first*; its pages are not looked at. A yielded block has some 2**20 touches at
    most, or those of a single record.
    """
    ends = np.cumsum(count)
    if not len(ends) or ends[-1] == len(ends):
        yield Block(first, *rest.columns()[1:])
        return
    begin = 0
    while begin < len(ends):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _MOST, "right")))
        many = count[begin:end]
        where = np.repeat(np.cumsum(many) - many, many)
        page = np.repeat(first[begin:end], many) + (np.arange(len(where)) - where).astype(np.uint64)
        others = (None if column is None else np.repeat(column[begin:end], many) for column in rest.columns()[1:])
        yield Block(page, *others)
        begin = end
