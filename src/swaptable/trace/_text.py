# Fields of text, found and read many lines at a time.
# Imports numpy.
# Used by the readers of lackey text, csv and fio logs.
"""Vectorised reading of numbers and names in lines of text.

A text is an array of bytes; a field is a place in it and a width. No loop here is over lines: they are over the columns
of characters, of which a field has a few.
"""

from __future__ import annotations

import numpy as np

_HEX = np.full(256, 255, dtype=np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)
_FNV_START, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_TOP = {10: 20, 16: 16}  # digits that a number of 64 bits may have
_LIMIT = np.uint64((1 << 64) // 10)


def line_places(text: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where the lines of the first *length* bytes begin and where their newlines are."""
    ends = np.flatnonzero(text[:length] == ord("\n"))
    return np.concatenate((np.zeros(1, ends.dtype), ends[:-1] + 1))[: len(ends)], ends


def numbers(text: np.ndarray, begins: np.ndarray, widths: np.ndarray, base: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the number (uint64) at each place of *begins*, and whether all of its *widths* characters are digits.

    A field without characters, with more than a number of 64 bits can have, or beyond 2**64 - 1 is no number.
    """
    value = np.zeros(len(begins), dtype=np.uint64)
    good = (widths > 0) & (widths <= _TOP[base])
    for width in np.unique(widths[good]).tolist():
        lines = np.flatnonzero(widths == width)
        at, total, worst = begins[lines], np.zeros(len(lines), dtype=np.uint64), np.zeros(len(lines), dtype=np.uint8)
        fits: np.ndarray | bool = True
        for column in range(width):
            digit = _HEX[text[at + column]]
            worst = np.maximum(worst, digit)
            # Only the twentieth decimal digit can leave 64 bits.
            if column == 19:
                fits = (total < _LIMIT) | ((total == _LIMIT) & (digit <= 5))
            total = total * np.uint64(base) + digit
        value[lines], good[lines] = total, (worst < base) & fits
    return value, good


def hashes(text: np.ndarray, begins: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the 64-bit FNV-1a hash of each field."""
    value = np.full(len(begins), _FNV_START)
    for column in range(int(widths.max(initial=0))):
        lines = np.flatnonzero(widths > column)
        value[lines] = (value[lines] ^ text[begins[lines] + column]) * _FNV_PRIME
    return value


def fields(text: np.ndarray, begins: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the fields as one array of byte strings, as wide as the widest."""
    width = max(1, int(widths.max(initial=1)))
    columns = np.arange(width)
    inside = columns < widths[:, None]
    taken = np.where(inside, text[np.where(inside, begins[:, None] + columns, 0)], 0).astype(np.uint8)
    return np.ascontiguousarray(taken).view(f"S{width}")[:, 0]


def distinct(text: np.ndarray, begins: np.ndarray, widths: np.ndarray) -> tuple[list[bytes], np.ndarray]:
    """Return the different fields, in the order in which they first come, and the index of each field's among them."""
    _, first, inverse = np.unique(hashes(text, begins, widths), return_index=True, return_inverse=True)
    order = np.argsort(first)
    names = [text[begins[i] : begins[i] + widths[i]].tobytes() for i in first[order].tolist()]
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    return names, rank[inverse]
