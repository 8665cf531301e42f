# The Python face of the designs' protocol, and a design without structure that measures the harness alone.
# May import words and errors.
# Used by every design, by tests, and by people; the replay calls the table of functions itself.
"""What every swap design can be asked, whatever it is made of."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import errno

from swaptable.errors import raise_errno

MESSAGES = {
    errno.ENOENT: "not in use, or has no user to give up",
    errno.EEXIST: "in the swap cache already",
    errno.EBUSY: "changed under the caller",
    errno.EINVAL: "not an entry of this device",
    errno.EOVERFLOW: "has as many users as its count holds",
    errno.ENOMEM: "no memory for its metadata",
}


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


cdef int refuse(Design design, int err, entry, nr) except -1:
    """Raise the exception of *err* with a message that names the entries."""
    where = f"entry {entry}" if nr == 1 else f"one of the entries {entry}..{entry + nr - 1}"
    raise_errno(err, f"{design.name}: {where}: {MESSAGES.get(-err, 'refused')}")
    return -1


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
            return self.counters[0]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    def reset_counters(self) -> None:
        """Set every counter to 0."""
        ops_of(self)
        memset(self.counters, 0, sizeof(counters_t))

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
        raise NotImplementedError

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


cdef design_ops_t NULL_OPS = [
    null_alloc, null_run, null_run, null_run, null_get, null_add, null_add, null_zero, null_size, null_zero,
]


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

    def lookup(self, entry) -> dict:
        """Return a free entry whatever is asked."""
        return {"kind": "free", "count": 0, "memcg": 0, "zero": False, "pfn": None, "shadow": None}

    def memory(self) -> dict:
        """Return a total of 0."""
        return {"total": 0}

    def check(self) -> None:
        """Do nothing: there is nothing to check."""
