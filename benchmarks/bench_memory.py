# Bytes a slot, counted by the table where it allocates: full, partly used, never used.
# May import measure, numpy, swaptable.
# Used by asv and by python -m benchmarks.
"""Memory, free of noise."""

from __future__ import annotations

import swaptable
from swaptable import _churn

from .bench_lookup import full_table
from .measure import BIG, REPEATS, SEED, Row

MOST = 2**32 - 1


def bytes_full(slots: int) -> float:
    """Bytes a slot with every slot in use."""
    return full_table(slots).memory()["total"] / slots


def bytes_empty(slots: int) -> int:
    """Bytes of a table that was never used."""
    return swaptable.SwapTable(slots=slots).memory()["total"]


def rows(repeats: int = REPEATS) -> list[Row]:
    """m1 and m2."""
    empty = bytes_empty(MOST)
    size = f"{empty >> 10} KiB"
    return [
        Row("m1", "2^23 slots, all in use", bytes_full(BIG), "B/slot", gate=8.6, stretch=8.2),
        Row("m2", "2^32 - 1 slots, none used", empty / MOST, "B/slot", gate=0.25, stretch=0.14, note=size),
    ]


class Memory:
    """Bytes a slot of the device after ageing with random victims of order 0."""

    params = (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)
    param_names = ("occupancy",)

    def setup(self, occupancy: float) -> None:
        self.table = swaptable.SwapTable(slots=1 << 20)
        _churn.age(self.table, occupancy, rounds=1, seed=SEED)

    def track_bytes_a_slot(self, occupancy: float) -> float:
        return self.table.memory()["total"] / (1 << 20)

    track_bytes_a_slot.unit = "bytes/slot"


class Extremes:
    """The two ends: every slot of a large table, no slot of the largest."""

    def track_full(self) -> float:
        return bytes_full(BIG)

    def track_largest_empty(self) -> float:
        return bytes_empty(MOST) / 1024

    track_full.unit = "bytes/slot"
    track_largest_empty.unit = "KiB"
