# Memory cgroups as far as swap goes: the tree, its ids, and what is given back by id.
# May import errors, tiers, _memcgroup (a group) and its parts, numpy.
# Used by the device list, writeback, SwapSpace and tests.
"""The cgroup v2 files ``memory.swap.*`` and ``memory.zswap.*`` of a tree of groups, and what keeps them.

Slots are charged in pages to their owner, by the 16-bit id in the slot's word, and to every group above it; the root's
own slots are not charged. A group that is removed with slots left keeps its id, and its pages stay charged to the
groups above, until the last slot is gone. Then the id is given to the next new group.

>>> tree = MemcgTree()
>>> job = tree.mkdir("job")
>>> job.write("memory.swap.max", "64K")
>>> job.charge(nr=16).id == job.id                       # a folio of 16 pages
True
>>> job.charge()
Traceback (most recent call last):
    ...
swaptable.errors.SwapMemoryError: [Errno 12] 1 pages for 'job': memory.swap.max of 'job' is 16 pages, 16 are in use
>>> job.read("memory.swap.events")
'high 0\\nmax 1\\nfail 1\\n'
>>> tree.rmdir("job")
>>> tree.owner(job.id) is tree.root, tree.root.usage      # its pages weigh on the group above
(True, 16)
>>> tree.uncharge(job.id, 16)                             # the last slot: the id is free again
>>> tree.root.usage, tree.mkdir("other").id == job.id
(0, True)
"""

from __future__ import annotations

import errno
import heapq
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from swaptable._memcgfiles import refuse
from swaptable._memcgroup import Memcg
from swaptable.errors import CheckError, SwapError
from swaptable.tiers import Tiers

__all__ = ["MAX_ID", "ROOT_ID", "Memcg", "MemcgTree"]

MAX_ID = 0xFFFF
ROOT_ID = 1  # 0 in a word means that the slot has no owner.


class MemcgTree:
    """The groups of a system.

    Parameters
    ----------
    page_size : int
    tiers : Tiers, optional
        What ``memory.swap.tiers.max`` speaks of; a set of its own, empty, when left out.
    charge_ghost : bool
        Charge slots of ghosts that have no block too. By default they are charged when they get one, as virtual swap's.

    Notes
    -----
    Thread-safe: one lock for the tree. Charges are for batches and folios, not for single pages in a loop.
    """

    def __init__(self, *, page_size: int = 4096, tiers: Tiers | None = None, charge_ghost: bool = False) -> None:
        if page_size < 1 or page_size & (page_size - 1):
            refuse(f"page_size is {page_size!r}; expected a power of two")
        self.page_size = page_size
        self.tiers = Tiers() if tiers is None else tiers
        self.charge_ghost = charge_ghost
        self.lock = threading.Lock()
        self._free_ids: list[int] = []
        self._next_id = ROOT_ID + 1
        self.root = Memcg(self, "", None, ROOT_ID)
        self._ids = {ROOT_ID: self.root}

    # ---- groups

    def mkdir(self, path: str) -> Memcg:
        """Make a group; those above it must be there.

        Raises
        ------
        SwapValueError
            EINVAL: not a name for a group.
        SwapError
            EEXIST: there is one. ENOENT: there is none above it. ENOSPC: all 65535 ids are in use.
        """
        above, _, name = path.rpartition("/")
        if name in ("", ".", "..") or "\n" in name or "\0" in name:
            refuse(f"path is {path!r}; expected names joined by /, without newlines")
        with self.lock:
            parent = self._find(above)
            if name in parent.children or name in parent.files():
                raise SwapError(errno.EEXIST, f"{path!r} exists already")
            group = Memcg(self, name, parent, self._new_id())
            parent.children[name] = self._ids[group.id] = group
        return group

    def rmdir(self, group: str | Memcg) -> None:
        """Remove a group. Its slots stay where they are, charged to the groups above; its id stays until they are gone.

        Raises
        ------
        SwapError
            ENOENT: there is none. EBUSY: it has groups below it, or is the root.
        """
        with self.lock:
            found = self._find(group) if isinstance(group, str) else group
            if found.tree is not self or not found.online:
                raise SwapError(errno.ENOENT, f"{found.path!r} has been removed, or is of another tree")
            if found.parent is None or found.children:
                what = "is the root" if found.parent is None else f"has {', '.join(found.children)} below it"
                raise SwapError(errno.EBUSY, f"{found.path!r} {what}")
            found.online = False
            del found.parent.children[found.name]
            found.parent.dying.add(found)
            self._bury(found)

    def __getitem__(self, path: str) -> Memcg:
        """The group at *path*, "" for the root; :class:`SwapError` ENOENT when there is none."""
        with self.lock:
            return self._find(path)

    def __iter__(self) -> Iterator[Memcg]:
        """Living groups, each before those below it."""
        with self.lock:
            groups = [self.root]
            for group in groups:
                groups += group.children.values()
        return iter(groups)

    def _find(self, path: str) -> Memcg:
        group = self.root
        for name in path.split("/") if path else ():
            if name not in group.children:
                raise SwapError(errno.ENOENT, f"there is no group {path!r}: no {name!r} in {group.path!r}")
            group = group.children[name]
        return group

    def _new_id(self) -> int:
        """The lowest id that is free."""
        if self._free_ids:
            return heapq.heappop(self._free_ids)
        if self._next_id > MAX_ID:
            raise SwapError(errno.ENOSPC, f"all {MAX_ID} ids are in use, by groups or by slots of removed ones")
        self._next_id += 1
        return self._next_id - 1

    def _bury(self, group: Memcg) -> None:
        """Give back the id of a removed group that nothing points to any more."""
        while not group.online and group.parent is not None and not (group.pinned or group.zswap_own):
            if self._ids.get(group.id) is group:
                del self._ids[group.id]
                heapq.heappush(self._free_ids, group.id)
            # Those below it are still charged through it.
            if group.dying:
                return
            group.parent.dying.discard(group)
            group = group.parent

    # ---- by id, as it is in a slot's word

    def by_id(self, id: int) -> Memcg:
        """The group that has this id, removed or not.

        Raises
        ------
        SwapValueError
            No group has it.
        """
        group = self._ids.get(id)
        if group is None:
            refuse(f"id is {id!r}; expected that of a group")
        return group

    def owner(self, id: int) -> Memcg:
        """Who pays for slots with this id: the group, or the nearest living one above; the limits there count."""
        return self.by_id(id).living()

    def allowed(self, group: Memcg) -> int:
        """The tiers that *group* may swap to: a mask to be compared with :meth:`Tiers.mask` of a device's priority."""
        return group.tiers_max.allowed

    def uncharge(self, id: int, nr: int = 1, *, backed: bool = True) -> None:
        """Slots with this id are gone: uncharge them, and give the id back when it was the last of a removed group.

        Parameters
        ----------
        id : int
            0: slots without an owner, for which nothing is done.
        nr : int
        backed : bool
            As they were charged: False for slots without a block.

        Raises
        ------
        SwapValueError
            No group has the id, or it has not so many slots.
        """
        if nr < 1:
            refuse(f"nr is {nr!r}; expected 1 or more")
        charged = nr if backed or self.charge_ghost else 0
        with self.lock:
            self._uncharge([(id, nr, charged)] if id else [])

    def uncharge_many(self, ids: npt.ArrayLike, nr: int = 1, *, backed: npt.ArrayLike = True) -> None:
        """:meth:`uncharge` for many folios of *nr* slots, in any order; all of them or, after an error, none.

        Parameters
        ----------
        ids : array of int
            0 to 65535.
        backed : bool or array of bool

        Notes
        -----
        Runtime: O(folios + owners * depth).
        """
        owners = np.asarray(ids)
        if owners.size and not (owners.dtype.kind in "iu" and owners.min() >= 0 and owners.max() <= MAX_ID):
            refuse(f"ids are {ids!r}; expected integers from 0 to {MAX_ID}")
        real = np.broadcast_to(np.asarray(backed, dtype=bool) | self.charge_ghost, owners.shape)
        slots = np.bincount(owners.ravel().astype(np.int64), minlength=1) * nr
        counted = np.bincount(owners[real].astype(np.int64), minlength=len(slots)) * nr
        with self.lock:
            self._uncharge([(i, int(slots[i]), int(counted[i])) for i in np.flatnonzero(slots).tolist() if i])

    def _uncharge(self, amounts: list[tuple[int, int, int]]) -> None:
        """Ids, their slots and how many of those are charged; all are looked at before any is given up."""
        found = [(self.by_id(id), pinned, charged) for id, pinned, charged in amounts]
        for group, pinned, charged in found:
            group.check_uncharge(pinned, charged)
        for group, pinned, charged in found:
            group.uncharge_pages(pinned, charged)
            self._bury(group)

    def gain_blocks(self, id: int, nr: int = 1) -> None:
        """Slots that had no block have one now: charge them, unless they were charged before.

        Raises
        ------
        SwapMemoryError
            ENOMEM: a living group from the owner up would exceed its memory.swap.max.
        SwapValueError
            No group has the id, or it has not so many slots without a block.
        """
        with self.lock:
            group = self.by_id(id)
            if self.charge_ghost or group.parent is None:
                return
            unbacked = group.pinned - group.charged
            if nr > unbacked:
                refuse(f"nr is {nr!r}; expected at most {unbacked}, what {group.path!r} has without a block")
            group.charge_pages(nr, pin=False)

    def lose_blocks(self, id: int, nr: int = 1) -> None:
        """Slots that had a block have none any more, but live on in a ghost: uncharge them, unless they stay charged.

        Raises
        ------
        SwapValueError
            No group has the id, or it has not so many slots with a block.
        """
        with self.lock:
            group = self.by_id(id)
            if self.charge_ghost or group.parent is None:
                return
            if not 1 <= nr <= group.charged:
                refuse(f"nr is {nr!r}; expected 1 to {group.charged}, what {group.path!r} has charged")
            group.uncharge_pages(nr, nr)
            group.pinned += nr

    def zswap_uncharge(self, id: int, size: int) -> None:
        """*size* compressed bytes of the owner with this id have left the pool.

        Raises
        ------
        SwapValueError
            No group has the id, or it has not so many bytes.
        """
        if size < 0:
            refuse(f"size is {size!r}; expected bytes, 0 or more")
        with self.lock:
            group = self.by_id(id)
            group.zswap_add(-size)
            self._bury(group)

    # ---- for tests and reports

    def dying(self) -> list[Memcg]:
        """Removed groups whose ids are still in use, by id."""
        with self.lock:
            return [group for _, group in sorted(self._ids.items()) if not group.online]

    def check(self) -> None:
        """Raise :class:`CheckError` when a sum, an id or a limit of the bookkeeping is not what it must be."""
        with self.lock:
            groups = [self.root]
            for group in groups:
                groups += [*group.children.values(), *group.dying]
            for group in groups:
                group.check(self._ids.get(group.id) is group)
            ids = sorted([*self._ids, *self._free_ids])
            if ids != list(range(ROOT_ID, self._next_id)) or not set(self._ids.values()) <= set(groups):
                raise CheckError(f"ids {sorted(self._ids)}, free {sorted(self._free_ids)}, next {self._next_id}")
