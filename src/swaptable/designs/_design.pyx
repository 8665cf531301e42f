# The Python face of the designs' protocol, what a design does by a walk of the page tables, and a design without structure.
# May import words and errors.
# Used by every design, by tests, and by people; the replay calls the table of functions itself.
"""What every swap design can be asked, whatever it is made of."""

from libc.errno cimport EBUSY, ENOMEM, ENOSPC, EOPNOTSUPP
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

import errno

import numpy as np

from swaptable.errors import raise_errno

MESSAGES = {
    errno.ENOENT: "not in use, or has no user to give up",
    errno.EEXIST: "in the swap cache already",
    errno.EBUSY: "changed under the caller",
    errno.EINVAL: "not an entry of this device",
    errno.EOVERFLOW: "has as many users as its count holds",
    errno.ENOMEM: "no memory for its metadata",
    errno.EOPNOTSUPP: "this design cannot",
}
KINDS = {PEEK_FREE: "free", PEEK_FOLIO: "folio", PEEK_SHADOW: "shadow", PEEK_BAD: "bad"}
# Of the counters, what a design needs for itself.
PRIVATE = ("held", "held_since", "now")
INDICES = ("flat", "array", "xarray")   # in the order of slots_index_t
MAX_BLOCK_DEVICES = 4
cdef enum:
    MAX_FOLIO = 512


cdef const design_ops_t *ops_of(Design design) except NULL:
    if design.ops == NULL:
        raise TypeError("Design is the base class; make a design with swaptable.designs.make(name, slots)")
    return design.ops


cdef uint64_t checked(what, value, last) except? <uint64_t>-1:
    """*value* as an unsigned number, refused unless 0 <= value <= last."""
    if not 0 <= value <= last:
        raise_errno(errno.EINVAL, f"{what} {value} is not in 0..{last}")
    return value


cdef int checked_run(entry, nr) except -1:
    """*nr* as an int, refused unless the run stays inside one cluster of 512."""
    checked("entry", entry, 0xffffffffffff)
    if nr < 1 or entry % 512 + nr > 512:
        raise_errno(errno.EINVAL, f"nr {nr} at entry {entry} is less than 1 or crosses a cluster of 512")
    return nr


cdef uint64_t *data_of(array) except? NULL:
    """The numbers of a contiguous array: its address, since each module with typed memoryviews is three times as large."""
    cdef size_t address = array.ctypes.data
    return <uint64_t *>address


def checked_entries(entries):
    """Return *entries* as a uint64 array.

    Parameters
    ----------
    entries : uint64 array or sequence of int

    Raises
    ------
    SwapValueError
        One of them is no entry: more than 48 bits, or negative.
    """
    if not isinstance(entries, np.ndarray):
        entries = np.array([checked("entry", entry, 0xffffffffffff) for entry in entries], np.uint64)
    found = np.ascontiguousarray(entries, np.uint64)
    if found.size and int(found.max()) >> 48:
        checked("entry", int(found.max()), 0xffffffffffff)
    return found


def checked_slots(slots):
    """Return *slots* when a device can have that many.

    Parameters
    ----------
    slots : int
        Slots of 4 KiB, the header's included: 1 to 2^32 - 1.

    Raises
    ------
    SwapValueError
        When it is outside that range.
    """
    if not 1 <= slots <= 0xffffffff:
        raise_errno(errno.EINVAL, f"slots {slots} is not in 1..{0xffffffff}")
    return int(slots)


def checked_backend(backend):
    """Return *backend*, "disk" or "zswap"; SwapValueError otherwise."""
    if backend not in ("disk", "zswap"):
        raise_errno(errno.EINVAL, f"backend is {backend!r}; expected 'disk' or 'zswap'")
    return backend


def checked_index(index):
    """Return the number of an index of clusters, "flat", "array" or "xarray"; SwapValueError otherwise."""
    if index not in INDICES:
        raise_errno(errno.EINVAL, f"index is {index!r}; expected one of {', '.join(INDICES)}")
    return INDICES.index(index)


def checked_devices(devices, least):
    """Return how many block devices a design has, *least* to 4; SwapValueError otherwise."""
    if not least <= devices <= MAX_BLOCK_DEVICES:
        raise_errno(errno.EINVAL, f"devices is {devices}; expected {least} to {MAX_BLOCK_DEVICES}")
    return int(devices)


cdef int refuse(Design design, int err, entry, nr) except -1:
    """Raise the exception of *err* with a message that names the entries."""
    where = f"entry {entry}" if nr == 1 else f"one of the entries {entry}..{entry + nr - 1}"
    raise_errno(err, f"{design.name}: {where}: {MESSAGES.get(-err, 'refused')}")
    return -1


cdef dict counters_dict(const counters_t *c):
    """The counters by name, without those that a design needs for itself."""
    found = dict(c[0])
    for name in PRIVATE:
        del found[name]
    return found


cdef class Design:
    """A swap design: entries, their users, the swap cache, and where the data goes.

    Parameters
    ----------
    slots : int
        Blocks of 4 KiB on the device, the header's (slot 0) included.

    Notes
    -----
    An *entry* is what a page table would hold. A folio of order k has 2^k consecutive ones. Errors
    are those of :mod:`swaptable.errors` and leave the state as it was. One thread at a time.
    """

    def __init__(self, *args, **kwargs):
        ops_of(self)

    @property
    def name(self) -> str:
        """The name under which :func:`swaptable.designs.make` knows the design."""
        return "abstract"

    @property
    def used(self) -> int:
        """Blocks of the device in use."""
        return ops_of(self).used(self.state)

    @property
    def size(self) -> int:
        """Blocks that the device has, without the header."""
        return ops_of(self).size(self.state)

    @property
    def bytes(self) -> int:
        """Bytes of metadata held now; the same as ``memory()["total"]``."""
        return ops_of(self).bytes(self.state)

    def __getattr__(self, attribute):
        # The C structure owns the name `counters`, so the dict of the same name comes from here.
        if attribute == "counters":
            ops_of(self)
            return counters_dict(self.counters)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    def reset_counters(self) -> None:
        """Set every counter to 0. Bytes are counted from here on, what is held is still known."""
        cdef counters_t kept
        ops_of(self)
        kept = self.counters[0]
        memset(self.counters, 0, sizeof(counters_t))
        self.counters.held = kept.held
        self.counters.now = kept.now

    def alloc(self, order=0, pfn=0, memcg=0) -> int:
        """Return the first of 2^order new entries, cached for the folio at *pfn*, without users.

        Parameters
        ----------
        order : int
            0 to 9.
        pfn : int
            First page of the folio, at most 41 bits.
        memcg : int
            Who pays, at most 16 bits; 0 for nobody.

        Raises
        ------
        SwapFullError
            There is no room at this order.
        SwapValueError, SwapMemoryError
        """
        cdef const design_ops_t *ops = ops_of(self)
        cdef uint64_t entry = 0
        cdef int k = checked("order", order, 9)
        cdef int err = ops.alloc(self.state, k, checked("pfn", pfn, (1 << 41) - 1), checked("memcg", memcg, 0xffff), &entry)
        if err == -errno.ENOSPC:
            raise_errno(err, f"{self.name}: no room at order {order}, {self.used} of {self.size} blocks in use")
        if err < 0:
            raise_errno(err, f"{self.name}: no memory for {1 << k} new entries")
        return entry

    def dup(self, entry, nr=1) -> None:
        """Add one user to each of *nr* entries.

        Raises
        ------
        SlotNotInUseError
            One of them is free.
        SwapValueError, CountOverflowError, SwapMemoryError
        """
        cdef const design_ops_t *ops = ops_of(self)
        cdef int n = checked_run(entry, nr)
        cdef int err = ops.dup(self.state, entry, n)
        if err < 0:
            refuse(self, err, entry, nr)

    def put(self, entry, nr=1) -> None:
        """Drop one user of each of *nr* entries; those without users that are not cached become free.

        Raises
        ------
        SlotNotInUseError
            One of them is free or has no user.
        SwapValueError
        """
        cdef const design_ops_t *ops = ops_of(self)
        cdef int n = checked_run(entry, nr)
        cdef int err = ops.put(self.state, entry, n)
        if err < 0:
            refuse(self, err, entry, nr)

    def writeout(self, entry, nr=1) -> None:
        """Give the data of *nr* cached entries a place on the device.

        Raises
        ------
        SwapFullError
            The device has no blocks for them.
        SlotNotInUseError
            One of them is not in the swap cache.
        SwapValueError, SwapMemoryError
        """
        cdef const design_ops_t *ops = ops_of(self)
        cdef int n = checked_run(entry, nr)
        cdef int err = ops.writeout(self.state, entry, n)
        if err == -errno.ENOSPC:
            raise_errno(err, f"{self.name}: no blocks for entry {entry} (nr {nr}), {self.used} of {self.size} in use")
        if err < 0:
            refuse(self, err, entry, nr)

    def cache_get(self, entry) -> int:
        """Return the pfn of the folio that is cached for *entry*, or -1."""
        cdef const design_ops_t *ops = ops_of(self)
        return ops.cache_get(self.state, checked("entry", entry, 0xffffffffffff))

    def cache_add(self, entry, nr=1, pfn=0) -> None:
        """Put the folio at *pfn* into the swap cache for *nr* entries.

        Raises
        ------
        SlotCachedError
            One of them is cached already.
        SlotNotInUseError
            One of them is free.
        SwapValueError, SwapMemoryError
        """
        cdef const design_ops_t *ops = ops_of(self)
        cdef int n = checked_run(entry, nr)
        cdef int err = ops.cache_add(self.state, entry, n, checked("pfn", pfn, (1 << 41) - 1))
        if err < 0:
            refuse(self, err, entry, nr)

    def cache_del(self, entry, nr=1, shadow=0) -> None:
        """Take *nr* entries out of the swap cache and leave *shadow*; those without users become free.

        Parameters
        ----------
        entry, nr : int
            The folio's entries.
        shadow : int
            When the folio was evicted, at most 42 bits; 0 for none.

        Raises
        ------
        SlotNotInUseError
            One of them is not in the swap cache.
        SwapValueError
        """
        cdef const design_ops_t *ops = ops_of(self)
        cdef int n = checked_run(entry, nr)
        cdef int err = ops.cache_del(self.state, entry, n, checked("shadow", shadow, (1 << 42) - 1))
        if err < 0:
            refuse(self, err, entry, nr)

    def lookup(self, entry) -> dict:
        """Return what the structures say about *entry*, without counting the look-up.

        Returns
        -------
        dict
            ``kind`` ("free", "bad", "folio" or "shadow"), ``count``, ``memcg``, ``zero``, and ``pfn``
            (of the folio's first page) or ``shadow``, the other of the two being None.
        """
        cdef peek_t said
        said.kind, said.count, said.memcg, said.zero, said.value = PEEK_BAD, 0, 0, False, 0
        if ops_of(self).peek == NULL:
            raise NotImplementedError
        if 0 <= entry <= 0xffffffffffff:
            self.ops.peek(self.state, entry, &said)
        return {
            "kind": KINDS[said.kind],
            "count": said.count,
            "memcg": said.memcg,
            "zero": bool(said.zero),
            "pfn": said.value if said.kind == PEEK_FOLIO else None,
            "shadow": said.value if said.kind == PEEK_SHADOW else None,
        }

    @property
    def says(self) -> dict:
        """How the design does what not every design can: ``"transfer"``, ``"swapoff"`` and others -> a sentence."""
        return {}

    @property
    def wasted(self) -> int:
        """Slots and blocks of devices that are taken and hold no data that anybody could read there."""
        return ops_of(self).wasted(self.state) if ops_of(self).wasted != NULL else 0

    def _needs(self, name, bint there) -> None:
        """Refuse an operation that the design has not."""
        if not there:
            said = self.says.get(name, "")
            raise_errno(errno.EOPNOTSUPP, f"{self.name} cannot {name}" + (f": {said}" if said else ""))

    def read(self, entry, nr=1) -> list[tuple[int, int]]:
        """Read the data of *nr* cached entries as a page fault does: ``(tier, block)`` of each.

        Tier 0 is the compressed pool, -1 means no data anywhere. A load from the pool is exclusive where the
        design says so: the pages have no copy afterwards.

        Raises
        ------
        SlotNotInUseError
            One of them is not in the swap cache.
        SwapValueError, SwapError
        """
        cdef place_t places[MAX_FOLIO]
        cdef int n = checked_run(entry, nr), i
        self._needs("read", ops_of(self).read != NULL)
        cdef int err = self.ops.read(self.state, entry, n, places)
        if err < 0:
            refuse(self, err, entry, nr)
        return [(places[i].tier, places[i].block) for i in range(n)]

    def locate(self, entry, nr=1) -> list[tuple[int, int]]:
        """Return where the data of *nr* entries is, as :meth:`read` does, without reading or counting.

        Raises
        ------
        SlotNotInUseError
            One of them is free.
        SwapValueError, SwapError
        """
        cdef place_t places[MAX_FOLIO]
        cdef int n = checked_run(entry, nr), i
        self._needs("locate", ops_of(self).locate != NULL)
        cdef int err = self.ops.locate(self.state, entry, n, places)
        if err < 0:
            refuse(self, err, entry, nr)
        return [(places[i].tier, places[i].block) for i in range(n)]

    def hops(self, entry) -> int:
        """Return how many redirections lead from *entry* to its data; 0 when the slot is the place."""
        self._needs("hops", ops_of(self).hops != NULL)
        cdef int n = self.ops.hops(self.state, checked("entry", entry, 0xffffffffffff))
        if n < 0:
            refuse(self, n, entry, 1)
        return n

    def mapped(self, entry, nr, pte) -> None:
        """Page table entries *pte*, *pte* + 1, ... name *nr* entries from now on. After :meth:`dup`.

        Designs without a reverse map to page table entries have nothing to do.

        Raises
        ------
        SlotNotInUseError, SwapValueError, SwapMemoryError
        """
        cdef int n = checked_run(entry, nr), err = 0
        if ops_of(self).mapped != NULL:
            err = self.ops.mapped(self.state, entry, n, checked("pte", pte, (1 << 62) - 1))
        if err < 0:
            refuse(self, err, entry, nr)

    def unmapped(self, entry, nr, pte) -> None:
        """The page table entries name them no longer. Before :meth:`put`.

        Raises
        ------
        SlotNotInUseError
            One of them was not known to.
        SwapValueError
        """
        cdef int n = checked_run(entry, nr), err = 0
        if ops_of(self).unmapped != NULL:
            err = self.ops.unmapped(self.state, entry, n, checked("pte", pte, (1 << 62) - 1))
        if err < 0:
            refuse(self, err, entry, nr)

    def transfer(self, entries, tier, Host host=None) -> int:
        """Move the data of *entries* to *tier* and return how many were moved.

        Parameters
        ----------
        entries : uint64 array or sequence of int
            Those in the swap cache, and those already there, are passed over.
        tier : int
            0 the compressed pool, 1, 2, ... the block devices.
        host : Host, optional
            Page tables and contents. A design whose entries name the device cannot move data without.

        Raises
        ------
        SwapError
            EOPNOTSUPP: the design cannot, or not without page tables; :attr:`says` has what it does instead.
        SwapFullError
            No room at all in that tier.
        SwapValueError
            There is no such tier.
        SwapMemoryError
        """
        cdef const design_ops_t *ops = ops_of(self)
        cdef const uint64_t *data
        cdef int64_t n, moved
        cdef int to = checked("tier", tier, 30)
        cdef const host_t *side = &host.host if host is not None else NULL
        self._needs("transfer", ops.transfer != NULL)
        list = checked_entries(entries)
        n, data = len(list), data_of(list)
        with nogil:
            moved = ops.transfer(self.state, data, n, to, side)
        if moved == -EOPNOTSUPP:
            self._needs("transfer", False)
        if moved < 0:
            raise_errno(moved, f"{self.name}: transfer of {n} entries to tier {tier}")
        return moved

    def swapoff(self, tier, Host host=None) -> None:
        """Bring all data of *tier* into memory and take the tier out of use.

        Parameters
        ----------
        tier : int
            0 the compressed pool, 1, 2, ... the block devices.
        host : Host, optional
            Page tables and memory; most designs cannot do without.

        Raises
        ------
        SwapError
            EOPNOTSUPP: the design cannot, or not without a host.
        SlotBusyError
            Entries that the page tables do not have are still in use; the tier is in use as before.
        SwapValueError, SwapMemoryError
        """
        cdef const design_ops_t *ops = ops_of(self)
        cdef int err, which = checked("tier", tier, 30)
        cdef const host_t *side = &host.host if host is not None else NULL
        self._needs("swapoff", ops.swapoff != NULL)
        with nogil:
            err = ops.swapoff(self.state, which, side)
        if err == -EOPNOTSUPP:
            self._needs("swapoff", False)
        if err == -EBUSY:
            raise_errno(err, f"{self.name}: entries of tier {tier} have users that no page table shows")
        if err < 0:
            raise_errno(err, f"{self.name}: swapoff of tier {tier}")

    def fill(self, out, int order=0, memcg=0, bint written=True) -> int:
        """Swap out folios as reclaim does (alloc, dup, writeout, cache_del) into *out*; how many entries fitted.

        Parameters
        ----------
        out : uint64 array
            Gets each entry, not only the first of each folio; its length, a multiple of ``2 ** order``, is the goal.
        order : int
            0 to 9.
        memcg : int
            Who pays.
        written : bool
            False: allocated and mapped, without data.
        """
        cdef const design_ops_t *ops = ops_of(self)
        cdef int k = checked("order", order, 9), err
        cdef unsigned int group = checked("memcg", memcg, 0xffff)
        cdef int64_t n = len(out), done
        cdef uint64_t *data
        if not isinstance(out, np.ndarray) or out.dtype != np.uint64 or not (out.flags.c_contiguous and out.flags.writeable):
            raise_errno(errno.EINVAL, f"out is {type(out).__name__}; expected a contiguous uint64 array that can be written")
        data = data_of(out)
        if n % (1 << k):
            raise_errno(errno.EINVAL, f"out has {n} elements, which is no multiple of {1 << k}")
        with nogil:
            done = fill_design(ops, self.state, data, n, k, group, written, &err)
        if err and err != -ENOSPC:
            raise_errno(err, f"{self.name}: after {done} of {n} entries")
        return done

    def put_many(self, entries) -> None:
        """Drop one user of each of *entries*; stops at the first bad one and says which.

        Raises
        ------
        SlotNotInUseError, SwapValueError
            With ``index``.
        """
        cdef const design_ops_t *ops = ops_of(self)
        list = checked_entries(entries)
        cdef int64_t n = len(list), i = 0
        cdef const uint64_t *data = data_of(list)
        cdef int err = 0
        with nogil:
            while i < n and err == 0:
                err = ops.put(self.state, data[i], 1)
                i += err == 0
        if err:
            raise_errno(err, f"{self.name}: put of entry {data[i]}", i)

    def memory(self) -> dict:
        """Return the bytes of metadata by kind, counted where they are allocated, and their "total"."""
        raise NotImplementedError

    def check(self) -> None:
        """Verify every invariant from scratch.

        Raises
        ------
        CheckError
            With what does not hold.
        """
        raise NotImplementedError

    def __repr__(self):
        return f"<{self.name}: {self.used} of {self.size} blocks in use, {self.bytes} bytes>"


cdef int64_t fill_design(
    const design_ops_t *ops, void *d, uint64_t *out, int64_t n, int order, unsigned int memcg, bint written, int *err,
) noexcept nogil:
    """Swap folios out until there are n entries; how many there are, and why no more."""
    cdef int64_t done = 0
    cdef int nr = 1 << order, i
    cdef uint64_t entry = 0
    err[0] = 0
    while done < n:
        err[0] = ops.alloc(d, order, done, memcg, &entry)
        if err[0]:
            return done
        err[0] = ops.dup(d, entry, nr)
        if err[0] == 0 and written:
            err[0] = ops.writeout(d, entry, nr)
            if err[0]:
                ops.put(d, entry, nr)
        ops.cache_del(d, entry, nr, 1 + (done & 0xffff))
        if err[0]:
            return done
        for i in range(nr):
            out[done + i] = entry + i
        done += nr
    return done


cdef class Host:
    """The memory side of a design: page tables and contents. This class has none; see its subclasses."""


# ---- by a walk of all page tables, with the design's own operations

cdef struct moved_t:
    uint64_t old
    uint64_t new
    uint64_t shadow

cdef struct walk_t:
    const design_ops_t *ops
    void *d
    const host_t *host
    moved_t *moves          # by old entry
    int64_t n
    uint64_t first
    uint64_t last

cdef extern from *:
    """
    static int by_old(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
        return (x > y) - (x < y);
    }
    """
    int by_old(const void *a, const void *b) noexcept nogil
    void qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *) noexcept nogil) noexcept nogil


cdef moved_t *find_move(walk_t *w, uint64_t entry) noexcept nogil:
    cdef int64_t low = 0, high = w.n, middle
    while low < high:
        middle = (low + high) // 2
        if w.moves[middle].old < entry:
            low = middle + 1
        else:
            high = middle
    return &w.moves[low] if low < w.n and w.moves[low].old == entry else NULL


cdef int rename_pte(void *arg, uint64_t pte, uint64_t *value) noexcept nogil:
    """A page table entry that names a slot whose data has moved names the new one."""
    cdef walk_t *w = <walk_t *>arg
    cdef moved_t *move = find_move(w, value[0])
    cdef int err
    if move == NULL:
        return PTE_KEEP
    err = w.ops.dup(w.d, move.new, 1)
    if err:
        return err
    if w.ops.mapped != NULL:
        w.ops.mapped(w.d, move.new, 1, pte)
        w.ops.unmapped(w.d, move.old, 1, pte)
    value[0] = move.new
    err = w.ops.put(w.d, move.old, 1)
    return err if err else PTE_ENTRY


cdef int new_slot(walk_t *w, uint64_t old, int tier, moved_t *move) noexcept nogil:
    """A slot on that tier's device with the data of *old*, cached and without users as yet; 1: nothing to move."""
    cdef place_t src, dst
    cdef peek_t said
    cdef int err
    w.ops.peek(w.d, old, &said)
    if said.kind != PEEK_SHADOW:
        return 1
    err = w.ops.locate(w.d, old, 1, &src)
    if err or src.tier == tier or src.tier == NOWHERE:
        return err if err else 1
    move.old = old
    move.shadow = said.value
    err = w.ops.alloc_on(w.d, tier, 0, 0, said.memcg, &move.new)
    if err:
        return err
    err = w.ops.locate(w.d, move.new, 1, &dst)
    if err == 0:
        err = w.host.copy(w.host.user, &src, &dst)
    if err:
        w.ops.cache_del(w.d, move.new, 1, 0)
    return err


cdef int64_t end_moves(walk_t *w) noexcept nogil:
    """The new slots leave the swap cache; how many have taken all users over."""
    cdef int64_t i, moved = 0
    cdef peek_t said
    for i in range(w.n):
        w.ops.cache_del(w.d, w.moves[i].new, 1, w.moves[i].shadow)
        w.ops.peek(w.d, w.moves[i].old, &said)
        moved += said.kind == PEEK_FREE
    return moved


cdef int64_t walk_transfer(
    const design_ops_t *ops, void *d, counters_t *c, const uint64_t *entries, int64_t n, int tier, const host_t *host,
) noexcept nogil:
    cdef walk_t w
    cdef int64_t i, moved
    cdef int err = 0
    if host == NULL or host.walk == NULL or ops.alloc_on == NULL:
        return -EOPNOTSUPP
    w.ops, w.d, w.host, w.n = ops, d, host, 0
    w.moves = <moved_t *>malloc(max(n, 1) * sizeof(moved_t))
    if w.moves == NULL:
        return -ENOMEM
    for i in range(n):
        err = new_slot(&w, entries[i], tier, &w.moves[w.n])
        if err < 0:
            break
        w.n += err == 0
    moved = 0 if err != -ENOSPC or w.n else err
    if w.n:
        qsort(w.moves, w.n, sizeof(moved_t), by_old)
        err = host.walk(host.user, rename_pte, &w, &c.ptes)
        moved = end_moves(&w)
    free(w.moves)
    return err if err < 0 and err != -ENOSPC else moved


cdef int unuse_pte(void *arg, uint64_t pte, uint64_t *value) noexcept nogil:
    """unuse_pte(): a page table entry that names a slot of the device maps the page that its data is read into."""
    cdef walk_t *w = <walk_t *>arg
    cdef uint64_t entry = value[0]
    cdef int64_t pfn
    cdef place_t src
    cdef peek_t said
    cdef int err
    if entry < w.first or entry >= w.last:
        return PTE_KEEP
    pfn = w.ops.cache_get(w.d, entry)
    if pfn < 0:
        err = w.ops.locate(w.d, entry, 1, &src)
        if err:
            return err
        pfn = w.host.load(w.host.user, entry, &src)
        if pfn < 0:
            return <int>pfn
        err = w.ops.cache_add(w.d, entry, 1, pfn)
        if err == 0:
            err = w.ops.read(w.d, entry, 1, &src)
        if err < 0:
            return err
    if w.ops.unmapped != NULL:
        w.ops.unmapped(w.d, entry, 1, pte)
    err = w.ops.put(w.d, entry, 1)
    if err:
        return err
    w.ops.peek(w.d, entry, &said)
    if said.count == 0:
        w.ops.cache_del(w.d, entry, 1, 0)
        w.host.forget(w.host.user, pfn)
    value[0] = pfn
    return PTE_PAGE


cdef int walk_swapoff(
    const design_ops_t *ops, void *d, counters_t *c, uint64_t first, uint64_t last, const host_t *host,
) noexcept nogil:
    cdef walk_t w
    if host == NULL or host.walk == NULL:
        return -EOPNOTSUPP
    w.ops, w.d, w.host, w.first, w.last = ops, d, host, first, last
    return host.walk(host.user, unuse_pte, &w, &c.ptes)


cdef struct null_t:
    counters_t counters
    uint64_t next
    uint64_t size


cdef int null_alloc(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef null_t *s = <null_t *>d
    entry[0] = s.next
    s.next += 1 << order
    return 0


cdef int null_run(void *d, uint64_t entry, int nr) noexcept nogil:
    return 0


cdef int64_t null_get(void *d, uint64_t entry) noexcept nogil:
    return -1


cdef int null_add(void *d, uint64_t entry, int nr, uint64_t value) noexcept nogil:
    return 0


cdef uint64_t null_zero(void *d) noexcept nogil:
    return 0


cdef uint64_t null_size(void *d) noexcept nogil:
    return (<null_t *>d).size


cdef int null_read(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    return 0


cdef void null_peek(void *d, uint64_t entry, peek_t *said) noexcept nogil:
    said.kind = PEEK_FREE


cdef design_ops_t NULL_OPS
NULL_OPS.alloc = null_alloc
NULL_OPS.dup = NULL_OPS.put = NULL_OPS.writeout = null_run
NULL_OPS.cache_get = null_get
NULL_OPS.cache_add = NULL_OPS.cache_del = null_add
NULL_OPS.used = NULL_OPS.bytes = null_zero
NULL_OPS.size = null_size
NULL_OPS.read = null_read
NULL_OPS.peek = null_peek


cdef class NullDesign(Design):
    """No design: entries from a counter, nothing kept, every call succeeds. Measures a harness alone.

    Parameters
    ----------
    slots : int
        What :attr:`size` says.
    """

    def __cinit__(self, slots):
        cdef null_t *s
        slots = checked_slots(slots)
        s = <null_t *>calloc(1, sizeof(null_t))
        if s == NULL:
            raise MemoryError
        s.next = 1
        s.size = slots - 1
        self.state = s
        self.ops = &NULL_OPS
        self.counters = &s.counters

    def __init__(self, slots):
        pass

    def __dealloc__(self):
        free(self.state)

    @property
    def name(self) -> str:
        """``null``."""
        return "null"

    def memory(self) -> dict:
        """Return a total of 0."""
        return {"total": 0}

    def check(self) -> None:
        """Do nothing: there is nothing to check."""
