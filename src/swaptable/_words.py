# Table words and pfns in numpy: what whoever works on batches of slots needs to know of them.
# Imports numpy.
# Used by the folio frames, the store, writeback and the swap space.
"""Fields of the 8-byte words of many slots, and the pfns under which the swap space caches them.

A pfn of the swap space says who holds a slot in the swap cache, and which time that is::

    | session:20 | frame:20 | locked:1 |

* frame 0: an operation that is under way and will let go by itself;
* frame 1: the caller, whose page it is (`SwapSpace.map_many`);
* frame 2 and up: a frame of the swap cache, whose record is there (`Frames`).

*locked* keeps the others from taking a folio over: it is set by compare and set of the whole pfn. The session tells a
folio from a later one in the same frame, so that a page that was copied without a lock is known to be the right one if
the word is the same before and after.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

LOCKED = 1
MAPPED = 1
FIRST_FRAME = 2
FRAME_BITS = SESSION_BITS = 20
TYPE_SHIFT = 58
SLOT_MASK = (1 << TYPE_SHIFT) - 1
_SHADOW, _PFN, _MEMCG = np.uint64((1 << 42) - 1), np.uint64((1 << 41) - 1), np.uint64(0xFFFF)
_SHADOW_BITS, _FOLIO_BITS = np.uint64(1), np.uint64(2)
_LOW_TWO = np.uint64(3)


def is_shadow(words: Words) -> NDArray[np.bool]:
    """Swapped out, not cached."""
    return (words & _SHADOW_BITS) == 1


def is_folio(words: Words) -> NDArray[np.bool]:
    """In the swap cache."""
    return (words & _LOW_TWO) == _FOLIO_BITS


def counts(words: Words) -> NDArray[np.uint64]:
    """Users; 15 stands for 15 or more."""
    return words >> np.uint64(60)


def zeros(words: Words) -> NDArray[np.bool]:
    """Pages of zeros, which have no data anywhere."""
    return (words >> np.uint64(59) & np.uint64(1)) == 1


def memcgs(words: Words) -> NDArray[np.uint64]:
    """Ids of the cgroups that pay; 0 for nobody."""
    return words >> np.uint64(43) & _MEMCG


def shadows(words: Words) -> NDArray[np.uint64]:
    """Of swapped-out slots."""
    return words >> np.uint64(1) & _SHADOW


def pfns(words: Words) -> NDArray[np.uint64]:
    """Of cached slots."""
    return words >> np.uint64(2) & _PFN


def pfn(session: int, frame: int, locked: bool) -> int:
    """The pfn of a folio."""
    return (session & (1 << SESSION_BITS) - 1) << (FRAME_BITS + 1) | frame << 1 | locked


def frames(of: Words) -> NDArray[np.int64]:
    """The frames that pfns name."""
    return (of >> np.uint64(1) & np.uint64((1 << FRAME_BITS) - 1)).astype(np.int64)


def entries(kind: int, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Swap entries of slots of one swap type."""
    return slots | np.int64(kind << TYPE_SHIFT)


def entry_type(entry: int) -> int:
    """The swap type of an entry."""
    return entry >> TYPE_SHIFT


def entry_slot(entry: int) -> int:
    """The slot of an entry."""
    return entry & SLOT_MASK
