# A table and its model side by side: the same call to both, and the same outcome from both.
# Imports the package, numpy and the model.
# Used by the state machine and the campaign.
from __future__ import annotations

from typing import Any

import model
import numpy as np

from swaptable import SlotEntry, SwapError, SwapTable

# 4096; twice that where an address sanitizer keeps a red page behind each table.
TABLE_BYTES = SwapTable(slots=2).memory()["tables"]


def plain(value: Any) -> Any:
    """Arrays and entries as Python values, so that the two subjects compare."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, SlotEntry):
        return value.kind, value.count, value.zero, value.memcg, value.pfn, value.shadow
    return value


def outcome(call: Any, args: tuple, kwargs: dict) -> tuple:
    """What came back, or the exception's class, errno, and place in the batch."""
    try:
        return "returned", plain(call(*args, **kwargs))
    except SwapError as err:
        return type(err).__name__, (err.errno, err.index, err.done)


class Twin:
    """A SwapTable and a model.Table of the same shape."""

    def __init__(self, **shape: Any) -> None:
        self.table = SwapTable(**shape)
        self.model = model.Table(**shape)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple:
        """Call both; the outcome that they share: ("returned", value) or (exception, (errno, index, done))."""
        got = outcome(getattr(self.table, name), args, kwargs)
        want = outcome(getattr(self.model, name), args, kwargs)
        assert got == want, f"{name}{args} {kwargs}: the table {got}, the model {want}"
        return got

    def same_words(self) -> None:
        """Every word that a cluster in use could hold, and the counts that do not fit in theirs."""
        if self.model.grows:
            clusters = np.array(sorted(self.model.clusters), np.int64)
            slots = (clusters[:, None] * model.CLUSTER + np.arange(model.CLUSTER)).ravel()
        else:
            slots = np.arange(self.model.size)
        want = np.zeros(slots.size, np.uint64)
        index = np.searchsorted(slots, list(self.model.slots))
        want[index.astype(np.int64)] = np.array([s.word() for s in self.model.slots.values()], np.uint64)
        want[np.searchsorted(slots, sorted(self.model.bad)).astype(np.int64)] = model.BAD
        got = self.table.words(slots)
        assert (got == want).all(), (
            f"slots {slots[got != want][:10]}: {got[got != want][:10]}, {want[got != want][:10]}"
        )
        for slot, s in self.model.slots.items():
            if s.users >= 15:
                assert self.table.entry(slot).count == s.users

    def same_totals(self) -> None:
        """usage() and the parts of memory() that the model knows; check()."""
        self.table.check()
        assert self.table.usage() == self.model.usage()
        memory = self.table.memory()
        want = self.model.memory()
        assert memory["tables"] == want["tables"] // 4096 * TABLE_BYTES
        assert memory["overflow"] == want["overflow"]
        assert sum(memory.values()) - memory["total"] == memory["total"]
