# The ghost: every write refused with the folio kept, every read empty, both counted.
# Imports the package.
# Used by pytest.
import numpy as np
import pytest

from swaptable.backends import Backend
from swaptable.backends.ghost import GhostBackend
from swaptable.errors import AOP_WRITEPAGE_ACTIVATE, FolioKeptError, SlotNotInUseError, SwapValueError


def test_writes_are_refused():
    ghost = GhostBackend()
    with pytest.raises(FolioKeptError) as caught:
        ghost.write_folio(bytes(16 * 4096), 512)
    assert caught.value.errno == AOP_WRITEPAGE_ACTIVATE == 0x80000
    written = ghost.write_many(np.zeros((3, 4096), np.uint8), [1, 2, 3])
    assert written.errors.tolist() == [AOP_WRITEPAGE_ACTIVATE] * 3
    assert written.blocks.tolist() == [-1] * 3
    assert ghost.counts() == {"writes_refused": 19, "reads": 0}


def test_reads_find_nothing():
    ghost = GhostBackend()
    for blocks, out in (([7, 8], None), (7, np.empty((4, 4096), np.uint8)), (7, None)):
        with pytest.raises(SlotNotInUseError, match="block 7") as caught:
            ghost.read_many(blocks, out)
        assert caught.value.index == 0
    assert ghost.read_many([]).shape == (0, 4096)
    assert ghost.counts()["reads"] == 7


def test_it_is_a_backend_without_bytes():
    ghost = GhostBackend()
    assert isinstance(ghost, Backend)
    assert ghost.room() == 0
    assert ghost.memory() == {"total": 0}
    ghost.invalidate([1])
    ghost.flush()
    with pytest.raises(SwapValueError, match="4095"):
        ghost.write_many(bytes(4095))
    ghost.check()
    ghost.close()
