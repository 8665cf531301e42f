# A memory cgroup as far as swap goes: its files by name, and charges to it.
# May import errors, tiers (memory.swap.tiers.max), _memcgcharge (counters), _memcgfiles (texts), numpy.
# Used by memcg.py, which makes groups and has the public names.
"""One group of a tree."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from swaptable._memcgcharge import Counters
from swaptable._memcgfiles import format_limit, no_limit, parse_flag, parse_limit, refuse
from swaptable.errors import CheckError, SwapError
from swaptable.tiers import TierMask, Tiers


class _Tree(Protocol):
    """What a group needs of its tree."""

    page_size: int
    charge_ghost: bool
    tiers: Tiers
    lock: threading.Lock


class Memcg(Counters):
    """A group. Made by :meth:`MemcgTree.mkdir`.

    Attributes
    ----------
    tree : MemcgTree
    name : str
    parent : Memcg or None
        None for the root.
    children : dict of str to Memcg
    dying : set of Memcg
        Removed ones whose ids are still in use.
    id : int
        1 to 65535; the root's is 1.
    tiers_max : TierMask
        ``memory.swap.tiers.max``.

    Limits and use, in pages where nothing else is said, are attributes too: see :class:`Counters`.
    """

    __slots__ = ("children", "dying", "id", "name", "tiers_max", "tree")

    parent: Memcg | None

    def __init__(self, tree: _Tree, name: str, parent: Memcg | None, id: int) -> None:
        super().__init__(parent, tree.page_size)
        self.tree = tree
        self.name = name
        self.id = id
        self.children: dict[str, Memcg] = {}
        self.dying: set[Memcg] = set()
        self.tiers_max = TierMask(tree.tiers, None if parent is None else parent.tiers_max)

    @property
    def path(self) -> str:
        """From the root, without a slash in front; "" for the root."""
        names = []
        group = self
        while group.parent is not None:
            names.append(group.name)
            group = group.parent
        return "/".join(reversed(names))

    def __repr__(self) -> str:
        return f"<Memcg {self.path!r} id={self.id}{'' if self.online else ' dying'}>"

    # ---- files

    def files(self) -> tuple[str, ...]:
        """Names of the files that the group has."""
        return tuple(name for name, file in _FILES.items() if file.on_root or self.parent is not None)

    def read(self, name: str) -> str:
        """Return the text of a file, such as ``memory.swap.max``.

        Raises
        ------
        SwapError
            ENOENT: the group has no such file. ENODEV: it has been removed.
        """
        return self._file(name).read(self)

    def write(self, name: str, text: str) -> None:
        """Write *text* to a file. Limits below the use are taken: nothing is charged then until enough is gone.

        Raises
        ------
        SwapValueError
            EINVAL: the text is not what the file takes, or the file cannot be written.
        SwapError
            ENOENT: the group has no such file. ENODEV: it has been removed.
        """
        write = self._file(name).write
        if write is None:
            refuse(f"{name} of {self.path!r} cannot be written")
        write(self, name, text)

    def _file(self, name: str) -> _File:
        if not self.online:
            raise SwapError(errno.ENODEV, f"{name} of {self.path!r}: the group has been removed")
        if name not in _FILES or (self.parent is None and not _FILES[name].on_root):
            raise SwapError(errno.ENOENT, f"{self.path!r} has no {name}; it has {', '.join(self.files())}")
        return _FILES[name]

    def reset_peak(self) -> None:
        """Start ``memory.swap.peak`` again from the current use.

        In the kernel a write to the file does this for later reads through the same descriptor only; here a group is
        one descriptor. :attr:`watermark` is what a fresh descriptor reads: the most since the group was made.
        """
        with self.tree.lock:
            self.peak = self.usage

    # ---- charges

    def charge(self, nr: int = 1, *, backed: bool = True) -> Memcg:
        """Charge a folio of *nr* pages whose slots are about to be allocated, and pin the id for each.

        Parameters
        ----------
        nr : int
            Pages.
        backed : bool
            False for slots without a block of their own (a ghost's): they pin the id and, unless the tree was made with
            ``charge_ghost``, are charged only by :meth:`MemcgTree.gain_blocks`.

        Returns
        -------
        Memcg
            The owner, whose id goes into the words: this group, or the nearest living one above.

        Raises
        ------
        SwapMemoryError
            ENOMEM: the first group on the way up that would exceed its memory.swap.max; nothing is charged. ``max`` and
            ``fail`` count one event in the owner and all above it, as in the kernel, whichever group it was.

        Notes
        -----
        Runtime: O(depth).
        """
        with self.tree.lock:
            owner = self.living()
            if backed or self.tree.charge_ghost:
                owner.charge_pages(nr)
            else:
                owner.pin(1, nr)
            return owner

    def charge_many(self, count: int, nr: int = 1, *, backed: bool = True) -> tuple[Memcg, int]:
        """Charge *count* folios of *nr* pages one after the other; return the owner and how many could be charged.

        Events are those of *count* calls of :meth:`charge`: those that could not be charged have failed, each of them.

        Runtime: O(depth).
        """
        with self.tree.lock:
            owner = self.living()
            if backed or self.tree.charge_ghost:
                return owner, owner.charge_folios(count, nr)
            owner.pin(count, nr)
            return owner, count

    def alloc_failed(self, times: int = 1) -> None:
        """Count ``fail`` events for folios that got no slot anywhere."""
        with self.tree.lock:
            self.living().event("fail", times)

    def zswap_charge(self, sizes: ArrayLike) -> int:
        """Charge compressed pages of *sizes* bytes one after the other; return how many were admitted.

        A page is admitted, as in the kernel, while every group from here up is below its memory.zswap.max in whole
        pages, so that the last one may go beyond it.

        Parameters
        ----------
        sizes : int or array of int
            Bytes.

        Notes
        -----
        Runtime: O(pages + depth * log(pages)).
        """
        lengths = np.atleast_1d(np.asarray(sizes, dtype=np.int64))
        if lengths.ndim != 1 or (lengths.size and lengths.min() < 0):
            refuse(f"sizes are {sizes!r}; expected bytes, 0 or more, in one dimension")
        with self.tree.lock:
            return self.living().zswap_charge_pages(np.cumsum(lengths))

    def may_zswap(self) -> bool:
        """Whether zswap may take one more page: no group from here up has reached its memory.zswap.max."""
        with self.tree.lock:
            return self.living().zswap_limiting() is None

    def writeback_allowed(self) -> bool:
        """Whether pages may go to devices: memory.zswap.writeback is 1 here and in every group above, root included.

        It forbids both writeback from zswap and going to a device at once when zswap has refused a page.
        """
        return all(group.zswap_writeback for group in self.up())

    def room(self) -> int:
        """Pages that can still be charged here: the least that a group from here up has below its memory.swap.max."""
        with self.tree.lock:
            limits = [group.max - group.usage for group in self.living().limited()]
        return max(0, min(limits, default=no_limit(self.page_size)))

    def swap_full(self) -> bool:
        """Whether a group from here up uses half of its memory.swap.max or high: its slots in the cache are to go."""
        with self.tree.lock:
            return any(group.usage * 2 >= min(group.max, group.high) for group in self.living().limited())

    def living(self) -> Memcg:
        """This group, or the nearest one above that has not been removed; the root never is."""
        return next(group for group in self.up() if group.online)

    def check(self, has_id: bool) -> None:
        """Raise :class:`CheckError` when a sum is wrong, or *has_id* not what it must be; the caller has the lock."""
        below = [*self.children.values(), *self.dying]
        held = self.online or bool(self.pinned or self.zswap_own)
        rules = {
            "usage": self.usage == self.charged + sum(group.usage for group in below),
            "zswap": self.zswap_bytes == self.zswap_own + sum(group.zswap_bytes for group in below),
            "own": 0 <= self.charged <= self.pinned and self.zswap_own >= 0,
            "policy": self.charged == self.pinned or not self.tree.charge_ghost or self.parent is None,
            "peaks": self.usage <= self.peak <= self.watermark,
            "id": held == has_id and (held or bool(self.dying)),
        }
        broken = [name for name, holds in rules.items() if not holds]
        if broken:
            state = {name: getattr(self, name) for name in Counters.__slots__ if name != "parent"}
            raise CheckError(f"{self!r}: {', '.join(broken)} of {state}, below {below}")


class _File(NamedTuple):
    read: Callable[[Memcg], str]
    write: Callable[[Memcg, str, str], None] | None = None
    on_root: bool = False


def _limit(attribute: str) -> _File:
    def read(group: Memcg) -> str:
        return format_limit(getattr(group, attribute), group.page_size)

    def write(group: Memcg, name: str, text: str) -> None:
        setattr(group, attribute, parse_limit(text, group.page_size, name))

    return _File(read, write)


def _write_peak(group: Memcg, name: str, text: str) -> None:
    if not text:
        refuse(f"{name} is ''; expected any text")
    group.reset_peak()


def _write_writeback(group: Memcg, name: str, text: str) -> None:
    group.zswap_writeback = parse_flag(text, name)


_FILES = {
    "memory.swap.current": _File(lambda group: f"{group.usage * group.page_size}\n"),
    "memory.swap.high": _limit("high"),
    "memory.swap.max": _limit("max"),
    "memory.swap.peak": _File(lambda group: f"{group.peak * group.page_size}\n", _write_peak),
    "memory.swap.events": _File(lambda group: "".join(f"{name} {count}\n" for name, count in group.events.items())),
    "memory.swap.tiers.max": _File(
        lambda group: group.tiers_max.read(), lambda group, name, text: group.tiers_max.write(text)
    ),
    "memory.zswap.current": _File(lambda group: f"{group.zswap_bytes}\n"),
    "memory.zswap.max": _limit("zswap_max"),
    "memory.zswap.writeback": _File(lambda group: f"{group.zswap_writeback:d}\n", _write_writeback, on_root=True),
}
