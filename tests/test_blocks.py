# Spaces of blocks and blocks of a device: what is refused, and what the message says.
# Imports the package, numpy and pytest.
# Used by pytest; what blocks become in every order of events is in test_space_machine.py.
from __future__ import annotations

import numpy as np
import pytest

from swaptable import BlockSpace, SlotNotInUseError, SwapFullError, SwapTable, SwapValueError


def test_a_space_has_255_tables():
    space = BlockSpace()
    for k in range(255):
        SwapTable(slots=None if k % 3 else 2, space=space)
    for slots in (1024, None):
        with pytest.raises(SwapFullError, match="has 255 tables already"):
            SwapTable(slots=slots, space=space)
    assert len(space) == 255
    space.check()


def test_a_space_has_1023_units():
    space = BlockSpace()
    with pytest.raises(SwapFullError, match="no units left for 4294967295 blocks"):
        SwapTable(slots=2**32 - 1, space=space)
    table = SwapTable(slots=1023 << 22, space=space)
    with pytest.raises(SwapFullError, match="no units left for 1 blocks"):
        SwapTable(slots=1, header=False, space=space)
    assert table.block_alloc(1).tolist() == [2**22 + 1]
    space.check()


def test_owners_of_blocks_that_are_not_there():
    space = BlockSpace()
    table = SwapTable(slots=1024, space=space)
    with pytest.raises(SwapValueError, match=r"SwapTable\(slots=512, .*expected a table of BlockSpace\(1 tables\)"):
        space.owners(SwapTable(slots=512))
    for first, end in ((-5, None), (0, 1025), (7, 6), (2**40, None)):
        with pytest.raises(SwapValueError, match=f"blocks {first} to"):
            space.owners(table, first, end)
    assert [part.size for part in space.owners(table, 1024, 1024)] == [0, 0, 0]


@pytest.mark.parametrize("loc", [-1, 2**32, 2**63])
def test_locations_that_do_not_fit(loc):
    table = SwapTable(slots=1024)
    held = int(table.block_alloc(1)[0])
    for call in (table.block_free, table.owners):
        with pytest.raises(SwapValueError, match=f"location {loc}: expected 0 to 4294967295"):
            call(np.array([held, loc], np.int64 if loc < 0 else np.uint64))
    table.block_free([held])
    with pytest.raises(SlotNotInUseError, match=f"location {held}"):
        table.block_free([held])
    table.check()


def test_numbers_that_are_negative():
    table = SwapTable(slots=1024)
    slots = table.alloc_many(2)
    with pytest.raises(SwapValueError, match="old_locs: -7: expected 0 or more"):
        table.move_many(slots, [0, -7], [0, 0])
    table.check()
