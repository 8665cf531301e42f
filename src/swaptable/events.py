# The kinds of events of a table and of a swap space, and their dtypes.
# Imports numpy.
# Used by the core, the listener of a space and people.
"""What a listener of a table gets: structured arrays of `DTYPE`, from `SwapTable.events`.

========== ======= =================================================================================================
field      dtype   is
========== ======= =================================================================================================
sequence   u8      number of the event since the listener came; a gap is where events were dropped
slot       i8      first slot; -1 of a fallback
nr         u4      slots; of a fallback, runs that were asked for and not given
old, new   u4      of a move: locations; else 0
memcg      u2      who pays, of an allocation; of a free, the first slot's
kind       u1      a `Kind`
order      u1      of an allocation or a fallback; else 0
========== ======= =================================================================================================

A listener of a swap space, `SwapSpace.events`, gets `MOVED`: data that went from one device or pool to another, while
its entry stayed what it was.

========== ======= =================================================================================================
field      dtype   is
========== ======= =================================================================================================
sequence   u8      number of the event since the listener came
entry      i8      the entry
source     i4      `Device.member` of the device that the data was on: ``space.devices.member(number).name``
target     i4      of the device that it is on now
bytes      u4      written there: 4096 a page; what is compressed, in a pool or by `compressed_writeback`, its length
memcg      u2      who pays
reason     u1      a `Reason`
========== ======= =================================================================================================
"""

from enum import IntEnum

import numpy as np

__all__ = ["DTYPE", "MOVED", "Kind", "Reason"]


class Kind(IntEnum):
    """What happened."""

    ALLOC = 0
    """A run was given out, past the end too."""
    FREE = 1
    """Slots went out of use: freed, or given up by their last user."""
    MOVE = 2
    """A slot's location changed: its data was written back, promoted, or moved by a resize or a defragmentation."""
    FALLBACK = 3
    """The table had no run of that order: swpout_fallback of a large folio, a full device at order 0."""


class Reason(IntEnum):
    """Why data moved."""

    WRITEBACK = 0
    """It was cold: a tier down."""
    PREFETCH = 1
    """Somebody will want it: to the tier that was named."""
    SWAPOFF = 2
    """Its device goes."""


DTYPE = np.dtype(
    [
        ("sequence", "u8"), ("slot", "i8"), ("nr", "u4"), ("old", "u4"), ("new", "u4"), ("memcg", "u2"),
        ("kind", "u1"), ("order", "u1"),
    ]
)  # fmt: skip
MOVED = np.dtype(
    [
        ("sequence", "u8"), ("entry", "i8"), ("source", "i4"), ("target", "i4"), ("bytes", "u4"), ("memcg", "u2"),
        ("reason", "u1"),
    ]
)  # fmt: skip
