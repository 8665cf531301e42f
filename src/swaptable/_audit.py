# A swap space from scratch: every word is read, and what is counted elsewhere is counted again.
# May import the store, the cache and what lies under them.
# Used by space.py's check.
"""Invariants that no single floor can see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from swaptable import _words as w
from swaptable._cache import Cache
from swaptable._device import Device
from swaptable._store import Store
from swaptable.errors import CheckError

PAST = 1 << 32
CHUNK = 1 << 16


def in_use(device: Device) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """Slots of a device that are in use, and their words, some at a time."""
    usage = device.table.usage()
    ends = [(0, usage["slots"] if device.ghost else len(device.table))]
    if not device.ghost:
        ends.append((PAST, PAST + 512 * usage["clusters"]["past_peak"]))
    for first, end in ends:
        for begin in range(first, end, CHUNK):
            slots = np.arange(begin, min(begin + CHUNK, end))
            words = device.table.words(slots)
            used = w.is_folio(words) | w.is_shadow(words)
            if used.any():
                yield slots[used], words[used]


def audit(cache: Cache) -> None:
    """Raise :class:`CheckError` when something does not fit; the threads must be still."""
    store = cache.store
    store.devices.check()
    cache.check()
    pinned: Counter[int] = Counter()
    charged: Counter[int] = Counter()
    framed = 0
    for device in store.devices.every():
        if device.type >= 0:
            for slots, words in in_use(device):
                framed += _check_folios(store, device, slots, words)
                _count_owners(store, device, slots, words, pinned, charged)
    if framed != store.frames.usage()["cached"]:
        raise CheckError(f"{framed} words name frames, {store.frames.usage()['cached']} frames are in use")
    for device in store.devices:
        if device.pool:
            stored, taken = device.backend.counts()["stored"], device.table.usage()["blocks"]["taken"]
            if stored != taken:
                raise CheckError(f"{device.name} stores {stored} pages, {taken} of its objects are somebody's")
    _check_tree(store, pinned, charged)


def _check_folios(store: Store, device: Device, slots: NDArray[np.int64], words: NDArray[np.uint64]) -> int:
    """Folios are the cache's or a caller's: no operation is under way. Return: how many have frames."""
    folio = w.is_folio(words)
    pfns = w.pfns(words[folio])
    frames = w.frames(pfns)
    inside = frames >= w.FIRST_FRAME
    wrong = (frames == 0) | (frames >= store.frames.first_region) | (pfns & np.uint64(w.LOCKED) != 0)
    if wrong.any():
        raise CheckError(f"{device.name}: slots {slots[folio][wrong][:8].tolist()} are pinned, and nobody is at work")
    entries = w.entries(device.type, slots[folio][inside])
    if (store.frames.entry[frames[inside]] != entries).any():
        raise CheckError(f"{device.name}: frames are not of the entries that name them")
    if (w.counts(words[folio][inside]) == 0).any():
        raise CheckError(f"{device.name}: the cache keeps folios that nobody has")
    members = device.table.resolve(slots)[0]
    away = (members < 0) & ~w.zeros(words)
    if away.any():
        raise CheckError(f"{device.name}: slots {slots[away][:8].tolist()} have no data, and no zero flag that says so")
    return int(inside.sum())


def _count_owners(
    store: Store, device: Device, slots: NDArray[np.int64], words: NDArray[np.uint64], pinned: Counter[int],
    charged: Counter[int],
) -> None:  # fmt: skip
    tree = store.charges.tree
    if tree is None:
        return
    ids = w.memcgs(words).astype(np.int64)
    counts = np.bincount(ids)
    backed = np.ones(len(slots), bool)
    if device.ghost and not tree.charge_ghost:
        backed = store.real(device.table.resolve(slots)[0])
    real = np.bincount(ids[backed], minlength=1)
    pinned.update({one: int(counts[one]) for one in np.flatnonzero(counts).tolist() if one})
    charged.update({one: int(real[one]) for one in np.flatnonzero(real).tolist() if one})


def _check_tree(store: Store, pinned: Counter[int], charged: Counter[int]) -> None:
    """Every group has what the words say."""
    tree = store.charges.tree
    if tree is None:
        return
    tree.check()
    for group in [*tree, *tree.dying()]:
        if group.parent is None:
            continue
        bytes_in_pools = 0
        for pool in store.devices:
            if pool.owners is not None:
                theirs = np.flatnonzero(pool.owners == group.id)
                lengths = pool.backend.lengths(theirs)
                bytes_in_pools += int(lengths[lengths > 0].sum())
        have = (group.pinned, group.charged, group.zswap_own)
        if have != (pinned[group.id], charged[group.id], bytes_in_pools):
            said = f"the words say {pinned[group.id]}, {charged[group.id]} and {bytes_in_pools}"
            raise CheckError(f"{group!r}: slots, pages charged and bytes in pools are {have}; {said}")
