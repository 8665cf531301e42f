# Moving data between blocks while its slots stay: what a smaller device and a defragmentation have in common.
# May import errors and numpy; works on the tables that it is given.
# Used by the core's resize and defrag.
"""Plans in numpy, moves in batches: pin, copy, change the location, give the old block back, unpin."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from swaptable.errors import raise_errno

PAGE = 4096
BATCH = 4096  # blocks that are pinned at a time
SHADOW_MAX = np.uint64((1 << 42) - 1)
FREE, HOLE, COLD, TAKEN = 0, 1, 2, 4  # as in _resize.pxd

Mover = Callable[[np.ndarray, np.ndarray], object]


@dataclass(frozen=True)
class Defragmented:
    """What a defragmentation did.

    Attributes
    ----------
    moves, bytes : int
        Blocks moved, and their bytes.
    runs_before, runs_after : int
        Aligned runs of free blocks of the order.
    slot_runs_before, slot_runs_after : int
        Those of them whose slots are free too.
    """

    moves: int
    bytes: int
    runs_before: int
    runs_after: int
    slot_runs_before: int
    slot_runs_after: int


def relocate(
    table: Any, slots: np.ndarray, at: np.ndarray, to: np.ndarray, mover: Mover | None, pfn: int
) -> np.ndarray:
    """Move the data of swapped-out *slots* of *table* from locations *at* to blocks *to*, which the caller took.

    Parameters
    ----------
    slots : ndarray of int64, shape (n,)
    at, to : ndarray of uint32, shape (n,)
        A slot that is cached, or whose location is not *at* any more (0: its own block), is left alone.

    Returns
    -------
    ndarray of bool, shape (n,)
        What was moved. Blocks of *to* that were not needed are given back, and so are those that became free.
    """
    done = np.zeros(len(slots), bool)
    for first in range(0, len(slots), BATCH):
        part = slice(first, first + BATCH)
        try:
            done[part] = _relocate(table, slots[part], at[part], to[part], mover, pfn)
        except BaseException:  # the mover's: nobody else knows of the blocks that later batches were to have
            table.block_free(to[first + BATCH :])
            raise
    return done


def _relocate(table: Any, slots: Any, at: Any, to: Any, mover: Mover | None, pfn: int) -> np.ndarray:
    pinned, words = table.pin_many(slots, pfn)
    moved = np.zeros(len(slots), bool)
    try:
        # A slot that was freed and taken again may be pinned too: what it is now is what counts.
        zero = words >> np.uint64(59) & np.uint64(1) == 1
        wanted = pinned & ~zero & (table._look(slots)[1] == at)
        own = at[wanted] == 0
        src = np.where(own, table.block_locs(np.where(own, slots[wanted], 0)), at[wanted])
        if mover is not None and len(src):
            mover(src.astype(np.uint32), to[wanted])
        moved[wanted] = table.move_each(slots[wanted], at[wanted], to[wanted], pfn, give_back=True)
    finally:
        table.unpin_many(slots[pinned], pfn, words[pinned] >> np.uint64(1) & SHADOW_MAX)
        table.block_free(to[~moved])
    return moved


def _groups(table: Any, members: np.ndarray) -> Any:
    """(table, which) of each member that owns something."""
    tables = [table] if table.space is None else table.space.tables
    for m in np.unique(members).tolist():
        yield tables[m], members == m


def _cold(table: Any, slots: np.ndarray) -> np.ndarray:
    """Which slots are swapped out now: no block is taken for the others, which on a device that discards would wait.

    Their table may have lost some since they were found: it can be another one, whose size changes too.
    """
    return table._look(slots)[0] & np.uint64(1) == 1


# ---- a smaller device


def shrink(table: Any, blocks: int, mover: Mover | None, pfn: int) -> None:
    """Take the blocks from *blocks* on away, or say how many are in the way; see `SwapTable.resize`."""
    if blocks <= int((table._block_map()[:blocks] == 5).sum()):
        raise_errno(errno.EINVAL, f"slots {blocks}: none of them is usable")

    def inwards(one: Any, slots: np.ndarray, at: np.ndarray) -> bool:
        cold = _cold(one, slots)
        slots, at = slots[cold], at[cold]
        to = table.block_alloc(len(slots))
        slots, at = slots[: len(to)], at[: len(to)]
        return bool(relocate(one, slots, at, to, mover, pfn).any())

    _empty(table, blocks, inwards)


def evacuate(table: Any, move: Callable[[Any, np.ndarray, np.ndarray], object]) -> None:
    """Take all blocks away; see `SwapTable.evacuate`."""

    def outwards(one: Any, slots: np.ndarray, at: np.ndarray) -> bool:
        before = _left(table, 0, was)
        move(one, slots, at)
        return _left(table, 0, was) < before

    was = table.blocks
    _empty(table, 0, outwards)


def _empty(table: Any, blocks: int, move: Callable[[Any, np.ndarray, np.ndarray], bool]) -> None:
    """Fence off what is from *blocks* on and move the data there away, or undo the fence and say how much is left."""
    was = left = table.blocks
    try:
        table._fence(blocks)
        moved = True
        while left and moved:
            moved, left = _clear(table, blocks, was, move)
    finally:
        table._leaving(0)
        if left:
            table._grow(was)
        else:
            table._fenced(was)
    if left:
        usage = table.usage()["blocks"]
        raise_errno(
            errno.EBUSY,
            f"slots {blocks}: {left} blocks from there on are in the way and cannot be moved now: pinned, held "
            f"({usage['held']} on the device), waiting for discard ({usage['waiting']}), or without room elsewhere",
        )


def _clear(
    table: Any, blocks: int, was: int, move: Callable[[Any, np.ndarray, np.ndarray], bool]
) -> tuple[bool, int]:
    """One pass over what is beyond the fence: (whether anything moved, blocks that are left)."""
    moved = False
    for one, slots, at in _in_the_way(table, blocks, was):
        moved = move(one, slots, at) or moved
        table._leaving(_left(table, blocks, was))
    return moved, _left(table, blocks, was)


def _in_the_way(table: Any, first: int, end: int) -> list[tuple[Any, np.ndarray, np.ndarray]]:
    """(table, slots, locations) of all data in blocks *first* to *end*."""
    own = table.own_data(first, end)
    found = [(table, own, np.zeros(len(own), np.uint32))]
    members, slots, at = table._scan_owners(first, end)
    locs = table.block_locs(at)
    found += [(one, slots[which], locs[which]) for one, which in _groups(table, members)]
    return [(one, slots, at) for one, slots, at in found if len(slots)]


def _left(table: Any, first: int, end: int) -> int:
    """Blocks from *first* to *end* that have data, or are taken by somebody unknown."""
    return len(table.own_data(first, end)) + table._taken_from(first, end)


# ---- defragmentation


def defrag(table: Any, order: int, max_moves: int, mover: Mover | None, pfn: int) -> Defragmented:
    """Empty the aligned runs with the least data into the free blocks of the fullest; see `SwapTable.defrag`."""
    state = table._block_map()
    before = _runs(state, order)
    src, dst = plan(state, order, max_moves)
    moves = _execute(table, src, dst, state, mover, pfn)
    after = _runs(table._block_map(), order)
    return Defragmented(moves, moves * PAGE, before[0], after[0], before[1], after[1])


def _runs(state: np.ndarray, order: int) -> tuple[int, int]:
    """Aligned runs of free blocks, and of free blocks whose slots are free."""
    runs = state.reshape(-1, 1 << order)
    return int((runs <= HOLE).all(axis=1).sum()), int((runs == FREE).all(axis=1).sum())


def plan(state: np.ndarray, order: int, max_moves: int) -> tuple[np.ndarray, np.ndarray]:
    """Which blocks to move where.

    Parameters
    ----------
    state : ndarray of uint8, shape (blocks,)
        What each block is, see BLOCK_* in _resize.pxd.

    Returns
    -------
    src, dst : ndarray of int64, shape (n,)

    Notes
    -----
    Runs in order of what they hold, those that cannot be emptied last. As many from the front are emptied as the free
    blocks of the rest can take, and as *max_moves* allows; the fullest runs are filled first.
    """
    runs = state.reshape(-1, 1 << order)
    free = (runs <= HOLE).sum(axis=1)
    some = np.flatnonzero(free < 1 << order)
    cost = (1 << order) - free[some]
    stuck = ((runs[some] > HOLE) & (runs[some] != COLD) & (runs[some] != TAKEN)).any(axis=1)
    ranked = some[np.lexsort((some, cost, stuck))]
    need = np.cumsum((1 << order) - free[ranked])
    room = int(free[ranked].sum()) - np.cumsum(free[ranked])
    fits = (need <= room) & (need <= max_moves) & (np.arange(len(ranked)) < len(ranked) - int(stuck.sum()))
    count = int(np.argmin(fits)) if not fits.all() else len(fits)
    base = np.arange(len(state)).reshape(runs.shape)
    src = base[ranked[:count]][runs[ranked[:count]] > HOLE]
    full_first = ranked[count:][::-1]
    dst = base[full_first][runs[full_first] <= HOLE][: len(src)]
    return np.sort(src), np.sort(dst)


def _execute(
    table: Any, src: np.ndarray, dst: np.ndarray, state: np.ndarray, mover: Mover | None, pfn: int
) -> int:
    """Move what is in blocks *src* to blocks *dst*, as far as both are still what they were. Return: how many moved."""
    own = state[src] == COLD
    work = [(table, src[own], np.zeros(int(own.sum()), np.uint32))]
    if not own.all():
        members, slots, blocks = table._scan_owners(0, len(state))
        wanted = np.isin(blocks, src[~own])
        members, slots, locs = members[wanted], slots[wanted], table.block_locs(blocks[wanted])
        work += [(one, slots[which], locs[which]) for one, which in _groups(table, members)]
    moves = 0
    for one, slots, at in work:
        cold = _cold(one, slots)
        slots, at = slots[cold], at[cold]
        to, dst = dst[: len(slots)], dst[len(slots) :]
        to = to[table.block_take(to)]
        n = len(to)
        moves += int(relocate(one, slots[:n], at[:n], table.block_locs(to), mover, pfn).sum())
    return moves
