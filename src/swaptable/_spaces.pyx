# Processes in front of a design: page tables, memory and the contents of every place, so that data can be told from data.
# May import errors and the designs' protocol: it embeds a design as any outsider would.
# Used by the measurements of memory, by tests, and by people who want swapoff or a transfer with its page tables.
"""Address spaces whose pages a swap design holds, each page with a value of its own."""

from libc.errno cimport EINVAL, EIO, ENOMEM, ENOSPC
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from swaptable.designs._design cimport (
    NOWHERE, PTE_ENTRY, PTE_PAGE, Design, Host, design_ops_t, peek_t, place_t, pte_visit_t,
)

import numpy as np

from swaptable.errors import CheckError, raise_errno

cdef enum:
    PRESENT = 1             # of a page table entry, low 2 bits; above: the page, or the swap entry
    SWAPPED = 2
    MAX_ORDER = 9
    MAX_PROCESSES = 64
    MAX_TIERS = 8


cdef struct page_t:
    uint64_t value
    uint64_t entry          # + 1: in the swap cache for that
    uint32_t users          # page table entries that map it
    uint32_t dirty          # stored to since it was read or written, or without a copy
    int64_t next            # of a free one

cdef struct content_t:
    uint64_t *value
    uint64_t n

cdef struct behind_t:
    void *d
    const design_ops_t *ops

cdef struct spaces_t:
    behind_t design
    uint64_t *ptes
    uint64_t *want          # the value that the page behind each page table entry should have
    int64_t pages           # page table entries of a process
    int processes
    page_t *page
    int64_t npages
    int64_t free
    int64_t resident
    content_t tier[MAX_TIERS]
    uint64_t values         # ever given out
    uint64_t clock
    uint64_t reads
    uint64_t sequential     # of the block right behind the one before
    uint64_t copies
    place_t last
    uint64_t bad            # the page table entry with a wrong value

# ---- memory

cdef int64_t page_new(spaces_t *s, uint64_t value) noexcept nogil:
    """A page, or -ENOMEM."""
    cdef int64_t pfn = s.free
    cdef page_t *pages
    cdef int64_t n
    if pfn < 0:
        n = max(<int64_t>1024, s.npages * 2)
        pages = <page_t *>realloc(s.page, n * sizeof(page_t))
        if pages == NULL:
            return -ENOMEM
        s.page = pages
        memset(&pages[s.npages], 0, (n - s.npages) * sizeof(page_t))
        for pfn in range(s.npages, n):
            pages[pfn].next = pfn + 1 if pfn + 1 < n else -1
        pfn = s.npages
        s.npages = n
    s.free = s.page[pfn].next
    memset(&s.page[pfn], 0, sizeof(page_t))
    s.page[pfn].value = value
    s.resident += 1
    return pfn


cdef void page_free(spaces_t *s, int64_t pfn) noexcept nogil:
    s.page[pfn].entry = 0
    s.page[pfn].next = s.free
    s.free = pfn
    s.resident -= 1


cdef uint64_t new_value(spaces_t *s) noexcept nogil:
    s.values += 1
    return s.values * 0x9E3779B97F4A7C15ULL | 1


# ---- contents

cdef uint64_t *content(spaces_t *s, const place_t *place) noexcept nogil:
    """What is at a place, or NULL when there can be nothing."""
    cdef content_t *c
    cdef uint64_t *more
    cdef uint64_t n
    if place.tier < 0 or place.tier >= MAX_TIERS:
        return NULL
    c = &s.tier[place.tier]
    if place.block >= c.n:
        n = max(place.block + 1, c.n * 2)
        more = <uint64_t *>realloc(c.value, n * sizeof(uint64_t))
        if more == NULL:
            return NULL
        memset(more + c.n, 0, (n - c.n) * sizeof(uint64_t))
        c.value = more
        c.n = n
    return &c.value[place.block]


cdef void count_read(spaces_t *s, const place_t *src) noexcept nogil:
    s.reads += 1
    s.sequential += src.tier == s.last.tier and src.block == s.last.block + 1
    s.last = src[0]


# ---- what a design asks of its host

cdef int visit_pte(spaces_t *s, uint64_t pte, pte_visit_t visit, void *arg) noexcept nogil:
    cdef uint64_t value
    cdef int done
    if s.ptes[pte] & 3 != SWAPPED:
        return 0
    value = s.ptes[pte] >> 2
    done = visit(arg, pte, &value)
    if done == PTE_ENTRY:
        s.ptes[pte] = value << 2 | SWAPPED
    elif done == PTE_PAGE:
        s.ptes[pte] = value << 2 | PRESENT
        s.page[value].users += 1
    return min(done, 0)


cdef int host_walk(void *user, pte_visit_t visit, void *arg, uint64_t *visited) noexcept nogil:
    cdef spaces_t *s = <spaces_t *>user
    cdef int64_t i, n = s.processes * s.pages
    cdef int err = 0
    for i in range(n):
        visited[0] += 1
        err = visit_pte(s, i, visit, arg)
        if err:
            break
    return err


cdef int host_one(void *user, uint64_t pte, pte_visit_t visit, void *arg) noexcept nogil:
    cdef spaces_t *s = <spaces_t *>user
    if pte >= <uint64_t>(s.processes * s.pages):
        return -EINVAL
    return visit_pte(s, pte, visit, arg)


cdef int host_copy(void *user, const place_t *src, const place_t *dst) noexcept nogil:
    cdef spaces_t *s = <spaces_t *>user
    cdef uint64_t *p = content(s, src)
    cdef uint64_t value
    if p == NULL:
        return -EIO
    value = p[0]
    p = content(s, dst)
    if p == NULL:
        return -EIO
    p[0] = value
    s.copies += 1
    return 0


cdef int64_t host_load(void *user, uint64_t entry, const place_t *src) noexcept nogil:
    cdef spaces_t *s = <spaces_t *>user
    cdef uint64_t *p = content(s, src)
    cdef int64_t pfn = page_new(s, p[0] if p != NULL else 0)
    if pfn >= 0:
        s.page[pfn].entry = entry + 1
        s.page[pfn].dirty = True
        count_read(s, src)
    return pfn


cdef void host_dirty(void *user, uint64_t pfn) noexcept nogil:
    (<spaces_t *>user).page[pfn].dirty = True


cdef void host_forget(void *user, uint64_t pfn) noexcept nogil:
    (<spaces_t *>user).page[pfn].entry = 0


# ---- swap out

cdef inline int64_t present_page(spaces_t *s, int64_t pte) noexcept nogil:
    """The page that a page table entry maps, or -1."""
    return <int64_t>(s.ptes[pte] >> 2) if s.ptes[pte] & 3 == PRESENT else -1


cdef int write_page(spaces_t *s, uint64_t entry, int nr, const int64_t *pfns) noexcept nogil:
    """The data of cached pages goes out; -ENOSPC when it stays."""
    cdef place_t places[1 << MAX_ORDER]
    cdef uint64_t *p
    cdef int i, err = s.design.ops.writeout(s.design.d, entry, nr)
    if err == 0:
        err = s.design.ops.locate(s.design.d, entry, nr, places)
    for i in range(nr if err == 0 else 0):
        p = content(s, &places[i])
        if p == NULL:
            return -EIO
        p[0] = s.page[pfns[i]].value
        s.page[pfns[i]].dirty = False
    return err


cdef int map_entry(spaces_t *s, int64_t pte, uint64_t entry) noexcept nogil:
    """A page table entry names a swap entry from now on."""
    cdef int err = s.design.ops.dup(s.design.d, entry, 1)
    if err == 0 and s.design.ops.mapped != NULL:
        err = s.design.ops.mapped(s.design.d, entry, 1, pte)
    if err == 0:
        s.ptes[pte] = entry << 2 | SWAPPED
    return err


cdef int unmap_page(spaces_t *s, int64_t at, int64_t pfn, uint64_t entry) noexcept nogil:
    """try_to_unmap(): every process has a page at the same place or has it not at all."""
    cdef int64_t pte = at % s.pages
    cdef int err = 0
    for _ in range(s.processes):
        if err == 0 and s.ptes[pte] == (<uint64_t>pfn << 2 | PRESENT):
            err = map_entry(s, pte, entry)
            s.page[pfn].users -= 1
        pte += s.pages
    return err


cdef void remap_page(spaces_t *s, int64_t at, int64_t pfn, uint64_t entry) noexcept nogil:
    """The page stays after all: who named its entry maps it again."""
    cdef int64_t pte = at % s.pages
    for _ in range(s.processes):
        if s.ptes[pte] == (entry << 2 | SWAPPED):
            drop_entry(s, pte, entry)
            s.ptes[pte] = <uint64_t>pfn << 2 | PRESENT
            s.page[pfn].users += 1
        pte += s.pages


cdef int evict(spaces_t *s, int64_t at, int nr, const int64_t *pfns, uint64_t entry, bint write) noexcept nogil:
    """Cached pages leave memory. -ENOSPC: their data has no place, they stay what they were."""
    cdef int i, err = 0
    for i in range(nr):
        if err == 0:
            err = unmap_page(s, at + i, pfns[i], entry + i)
    if err == 0 and write:
        err = write_page(s, entry, nr, pfns)
    if err:
        for i in range(nr):
            remap_page(s, at + i, pfns[i], entry + i)
        return err
    s.clock += 1
    err = s.design.ops.cache_del(s.design.d, entry, nr, s.clock & 0x7fffffff)
    for i in range(nr):
        page_free(s, pfns[i])
    return err


cdef int evict_fresh(spaces_t *s, int64_t at, int order, const int64_t *pfns) noexcept nogil:
    cdef uint64_t entry = 0
    cdef int err = s.design.ops.alloc(s.design.d, order, pfns[0], <unsigned int>(1 + at % 1000), &entry)
    if err:
        return err
    err = evict(s, at, 1 << order, pfns, entry, True)
    if err:
        s.design.ops.cache_del(s.design.d, entry, 1 << order, 0)
    return err


cdef int out_one(spaces_t *s, int64_t at) noexcept nogil:
    """A present page goes out; 1, or 0 when there is none or no room for it."""
    cdef int64_t pfn = present_page(s, at)
    cdef int err
    if pfn < 0:
        return 0
    if s.page[pfn].entry:
        err = evict(s, at, 1, &pfn, s.page[pfn].entry - 1, s.page[pfn].dirty)
    else:
        err = evict_fresh(s, at, 0, &pfn)
    return 0 if err == -ENOSPC else err if err else 1


cdef int out_folio(spaces_t *s, int64_t at, int order) noexcept nogil:
    """Pages that nobody shares go out as one folio; the number, 0 when that cannot be."""
    cdef int64_t pfns[1 << MAX_ORDER]
    cdef int i, err
    if at % s.pages % (1 << order):
        return 0
    for i in range(1 << order):
        pfns[i] = present_page(s, at + i)
        if pfns[i] < 0 or s.page[pfns[i]].users != 1 or s.page[pfns[i]].entry:
            return 0
    err = evict_fresh(s, at, order, pfns)
    return 0 if err == -ENOSPC else err if err else 1 << order


cdef int64_t out_many(spaces_t *s, const int64_t *ptes, int64_t n, int order) noexcept nogil:
    cdef int64_t i, j, done = 0
    cdef int got
    for i in range(n):
        got = out_folio(s, ptes[i], order) if order else 0
        for j in range(1 << order if got == 0 else 0):
            got = out_one(s, ptes[i] + j)
            if got < 0:
                return got
            done += got
            got = 0
        if got < 0:
            return got
        done += got
    return done


# ---- swap in

cdef int drop_entry(spaces_t *s, int64_t pte, uint64_t entry) noexcept nogil:
    """A page table entry names a swap entry no longer."""
    cdef int err = 0
    if s.design.ops.unmapped != NULL:
        err = s.design.ops.unmapped(s.design.d, entry, 1, pte)
    return err if err else s.design.ops.put(s.design.d, entry, 1)


cdef int64_t read_page(spaces_t *s, uint64_t entry) noexcept nogil:
    """A new page in the swap cache with the entry's data, or -errno."""
    cdef place_t place
    cdef uint64_t *p
    cdef int64_t pfn = page_new(s, 0)
    cdef int err
    if pfn < 0:
        return pfn
    err = s.design.ops.cache_add(s.design.d, entry, 1, pfn)
    if err == 0:
        err = s.design.ops.read(s.design.d, entry, 1, &place)
    if err < 0:
        return err
    p = content(s, &place)
    s.page[pfn].value = p[0] if p != NULL else 0
    s.page[pfn].entry = entry + 1
    s.page[pfn].dirty = err
    if err and p != NULL:
        p[0] = 0                # an exclusive load: nobody finds it there again
    count_read(s, &place)
    return pfn


cdef int leave_cache(spaces_t *s, int64_t pfn) noexcept nogil:
    """A page whose entry has no users is in the swap cache no longer."""
    cdef uint64_t entry = s.page[pfn].entry - 1
    cdef peek_t said
    s.design.ops.peek(s.design.d, entry, &said)
    if said.count:
        return 0
    s.page[pfn].entry = 0
    s.page[pfn].dirty = True
    return s.design.ops.cache_del(s.design.d, entry, 1, 0)


cdef int in_one(spaces_t *s, int64_t pte) noexcept nogil:
    """A fault on a swap entry."""
    cdef uint64_t entry = s.ptes[pte] >> 2
    cdef int64_t pfn
    cdef int err
    if s.ptes[pte] & 3 != SWAPPED:
        return 0
    pfn = s.design.ops.cache_get(s.design.d, entry)
    # A folio that was cached as a whole has one number for all its pages.
    if pfn < 0 or s.page[pfn].entry != entry + 1:
        pfn = read_page(s, entry) if pfn < 0 else -EIO
    if pfn < 0:
        return <int>pfn
    if s.page[pfn].value != s.want[pte]:
        s.bad = pte
        return -EIO
    s.ptes[pte] = <uint64_t>pfn << 2 | PRESENT
    s.page[pfn].users += 1
    err = drop_entry(s, pte, entry)
    return err if err else leave_cache(s, pfn)


cdef void unuse_page(spaces_t *s, int64_t pfn) noexcept nogil:
    """One mapping less; without any a page goes, unless the swap cache has it for others."""
    s.page[pfn].users -= 1
    if s.page[pfn].users == 0 and s.page[pfn].entry == 0:
        page_free(s, pfn)


cdef int flush_page(spaces_t *s, int64_t pfn) noexcept nogil:
    """A page that only the swap cache holds goes out."""
    cdef uint64_t entry = s.page[pfn].entry - 1
    cdef int err = write_page(s, entry, 1, &pfn) if s.page[pfn].dirty else 0
    if err:
        return err
    s.clock += 1
    page_free(s, pfn)
    return s.design.ops.cache_del(s.design.d, entry, 1, s.clock & 0x7fffffff)


cdef int store_one(spaces_t *s, int64_t pte) noexcept nogil:
    """A store: the page comes in, is copied where it is shared, and has a new value."""
    cdef int64_t pfn
    cdef int err = in_one(s, pte)
    if err or s.ptes[pte] & 3 != PRESENT:
        return err
    pfn = s.ptes[pte] >> 2
    s.want[pte] = new_value(s)
    if s.page[pfn].users == 1 and s.page[pfn].entry == 0:
        s.page[pfn].value = s.want[pte]
        return 0
    s.ptes[pte] = 0
    unuse_page(s, pfn)
    pfn = page_new(s, s.want[pte])
    if pfn < 0:
        return <int>pfn
    s.page[pfn].users = 1
    s.page[pfn].dirty = True
    s.ptes[pte] = <uint64_t>pfn << 2 | PRESENT
    return 0


cdef int drop_one(spaces_t *s, int64_t pte) noexcept nogil:
    """What a page table entry had goes."""
    cdef uint64_t value = s.ptes[pte]
    cdef int64_t pfn
    cdef int err = 0
    s.ptes[pte] = 0
    if value & 3 == PRESENT:
        unuse_page(s, value >> 2)
    if value & 3 == SWAPPED:
        pfn = s.design.ops.cache_get(s.design.d, value >> 2)
        err = drop_entry(s, pte, value >> 2)
        if err == 0 and pfn >= 0 and s.page[pfn].entry == (value >> 2) + 1:
            err = leave_cache(s, pfn)
            if err == 0 and s.page[pfn].entry == 0 and s.page[pfn].users == 0:
                page_free(s, pfn)
    return err


cdef int check_one(spaces_t *s, int64_t pte) noexcept nogil:
    """0 when what the page table entry leads to has the value that it should have; nothing is counted or changed."""
    cdef uint64_t value = s.ptes[pte]
    cdef uint64_t *p
    cdef peek_t said
    cdef place_t place
    if value == 0:
        return 0
    if value & 3 == PRESENT:
        return -EIO if s.page[value >> 2].value != s.want[pte] else 0
    s.design.ops.peek(s.design.d, value >> 2, &said)
    if s.design.ops.locate(s.design.d, value >> 2, 1, &place) or said.count == 0:
        return -EIO
    if place.tier == NOWHERE or (said.value < <uint64_t>s.npages and s.page[said.value].entry == (value >> 2) + 1):
        return -EIO if s.page[said.value].value != s.want[pte] else 0
    p = content(s, &place)
    return -EIO if p == NULL or p[0] != s.want[pte] else 0


cdef int64_t *data_of(array) except? NULL:
    """The numbers of a contiguous array: its address, since each module with typed memoryviews is three times as large."""
    cdef size_t address = array.ctypes.data
    return <int64_t *>address


cdef class AddressSpaces(Host):
    """Processes with pages of data, and a design that holds what is swapped out.

    Parameters
    ----------
    design : Design
        Fresh: these are its only users.
    pages : int
        Page table entries of a process.

    Notes
    -----
    Each page has a value that no other page ever had; each place (a block, an object of the pool) remembers what was
    written there. A design that loses data, gives one place to two entries or says a wrong one is found out by
    :meth:`verify` or by a fault. Page table entries are numbered through: ``process * pages + page``.
    """

    cdef spaces_t s
    cdef readonly Design design

    def __cinit__(self, Design design not None, int64_t pages):
        if design.ops == NULL or design.ops.read == NULL or design.ops.locate == NULL or design.ops.peek == NULL:
            raise ValueError(f"{type(design).__name__} cannot say where data is; expected read, locate and peek")
        if not 1 <= pages < 1 << 40:
            raise ValueError(f"pages is {pages}; expected 1 or more")
        self.design = design
        self.s.design.d = design.state
        self.s.design.ops = design.ops
        self.s.pages = pages
        self.s.free = -1
        self.s.last.tier = NOWHERE
        self.host.user = &self.s
        self.host.walk = host_walk
        self.host.one = host_one
        self.host.copy = host_copy
        self.host.load = host_load
        self.host.dirty = host_dirty
        self.host.forget = host_forget

    def __init__(self, design, pages):
        self._process()

    def __dealloc__(self):
        cdef int i
        for i in range(MAX_TIERS):
            free(self.s.tier[i].value)
        free(self.s.ptes)
        free(self.s.want)
        free(self.s.page)

    cdef int _process(self) except -1:
        """One more process, empty; its number."""
        cdef int64_t n = (self.s.processes + 1) * self.s.pages
        cdef uint64_t *more
        if self.s.processes == MAX_PROCESSES:
            raise_errno(EINVAL, f"there are {MAX_PROCESSES} processes; no more can be forked")
        more = <uint64_t *>realloc(self.s.ptes, n * sizeof(uint64_t))
        if more == NULL:
            raise MemoryError
        self.s.ptes = more
        more = <uint64_t *>realloc(self.s.want, n * sizeof(uint64_t))
        if more == NULL:
            raise MemoryError
        self.s.want = more
        memset(self.s.ptes + n - self.s.pages, 0, self.s.pages * sizeof(uint64_t))
        memset(self.s.want + n - self.s.pages, 0, self.s.pages * sizeof(uint64_t))
        self.s.processes += 1
        return self.s.processes - 1

    def _failed(self, int64_t err, what):
        if err == -EIO:
            raise CheckError(f"{self.design.name}: {what}: page table entry {self.s.bad} does not lead to its data")
        raise_errno(err, f"{self.design.name}: {what}")

    cdef _each(self, ptes, int (*what)(spaces_t *, int64_t) noexcept nogil, name):
        """*what* for each of some page table entries; stops at the first error."""
        list = self._inside(ptes, 1)
        cdef const int64_t *data = data_of(list)
        cdef int64_t i = 0, n = len(list)
        cdef int err = 0
        with nogil:
            while i < n and err == 0:
                self.s.bad = data[i]
                err = what(&self.s, data[i])
                i += 1
        if err:
            self._failed(err, name)

    def _inside(self, ptes, nr):
        """*ptes* as an int64 array; SwapValueError when there are no *nr* page table entries from one of them on."""
        found = np.ascontiguousarray(ptes, np.int64)
        end = self.s.processes * self.s.pages
        if found.size and not (0 <= found.min() and found.max() <= end - nr):
            bad = found[(found < 0) | (found > end - nr)][0]
            raise_errno(EINVAL, f"page table entry {bad} is not in 0..{end - nr}")
        return found

    def populate(self, int process=0) -> None:
        """Give each empty page of a process a page of memory with a new value."""
        cdef int64_t i, pfn
        if not 0 <= process < self.s.processes:
            raise_errno(EINVAL, f"process {process} is not in 0..{self.s.processes - 1}")
        for i in range(process * self.s.pages, (process + 1) * self.s.pages):
            if self.s.ptes[i]:
                continue
            self.s.want[i] = new_value(&self.s)
            pfn = page_new(&self.s, self.s.want[i])
            if pfn < 0:
                raise MemoryError
            self.s.page[pfn].users = 1
            self.s.page[pfn].dirty = True
            self.s.ptes[i] = <uint64_t>pfn << 2 | PRESENT

    def swap_out(self, ptes, int order=0) -> int:
        """Swap pages out and return how many went; those that find no room stay.

        Parameters
        ----------
        ptes : int64 array
            Page table entries; with *order* the first of each folio. Shared and cached pages go singly.
        order : int
            0 to 9.

        Raises
        ------
        SwapError
            What the design refused and may not refuse.
        """
        cdef int64_t done, n
        cdef const int64_t *data
        if not 0 <= order <= MAX_ORDER:
            raise_errno(EINVAL, f"order {order} is not in 0..{MAX_ORDER}")
        list = self._inside(ptes, 1 << order)
        n, data = len(list), data_of(list)
        with nogil:
            done = out_many(&self.s, data, n, order)
        if done < 0:
            self._failed(done, "swap_out")
        return done

    def swap_in(self, ptes) -> None:
        """Fault on pages; those in memory are passed over.

        Raises
        ------
        CheckError
            A page came back with another value.
        """
        self._each(ptes, in_one, "swap_in")

    def store(self, ptes) -> None:
        """Store to pages: they come in, are copied where they are shared, and have new values."""
        self._each(ptes, store_one, "store")

    def drop(self, ptes) -> None:
        """Unmap pages: what nobody else has is gone, in memory and in swap."""
        self._each(ptes, drop_one, "drop")

    def fork(self, int process=0) -> int:
        """A new process with the pages of another, shared; its number."""
        cdef int64_t i, at
        cdef int child, err = 0
        if not 0 <= process < self.s.processes:
            raise_errno(EINVAL, f"process {process} is not in 0..{self.s.processes - 1}")
        child = self._process()
        with nogil:
            for i in range(self.s.pages):
                at = child * self.s.pages + i
                self.s.want[at] = self.s.want[process * self.s.pages + i]
                if self.s.ptes[process * self.s.pages + i] & 3 == SWAPPED:
                    err = map_entry(&self.s, at, self.s.ptes[process * self.s.pages + i] >> 2)
                    if err:
                        break
                elif self.s.ptes[process * self.s.pages + i] & 3 == PRESENT:
                    self.s.ptes[at] = self.s.ptes[process * self.s.pages + i]
                    self.s.page[self.s.ptes[at] >> 2].users += 1
        if err:
            self._failed(err, "fork")
        return child

    def flush(self) -> int:
        """Write out what only the swap cache holds, as after a swapoff; how many pages went."""
        cdef int64_t pfn, done = 0
        cdef int err = 0
        with nogil:
            for pfn in range(self.s.npages):
                if self.s.page[pfn].entry and self.s.page[pfn].users == 0 and err == 0:
                    err = flush_page(&self.s, pfn)
                    done += err == 0
        if err:
            self._failed(err, "flush")
        return done

    def entries(self):
        """Return the swap entries that page tables hold, each once, ascending; a uint64 array."""
        cdef int64_t i, n = 0
        out = np.empty(self.swapped, np.uint64)
        cdef uint64_t *found = <uint64_t *>data_of(out)
        for i in range(self.s.processes * self.s.pages):
            if self.s.ptes[i] & 3 == SWAPPED:
                found[n] = self.s.ptes[i] >> 2
                n += 1
        return np.unique(out)

    def transfer(self, entries, tier) -> int:
        """:meth:`Design.transfer` with these page tables."""
        return self.design.transfer(entries, tier, self)

    def swapoff(self, tier) -> None:
        """:meth:`Design.swapoff` with these page tables and this memory."""
        self.design.swapoff(tier, self)

    def verify(self) -> None:
        """Follow every page table entry to its data, without a fault.

        Raises
        ------
        CheckError
            One of them leads to something else, or nowhere.
        """
        cdef int64_t i = 0, n = self.s.processes * self.s.pages
        cdef int err = 0
        with nogil:
            while i < n and err == 0:
                self.s.bad = i
                err = check_one(&self.s, i)
                i += 1
        if err:
            self._failed(err, "verify")

    @property
    def processes(self) -> int:
        """Processes there are."""
        return self.s.processes

    @property
    def swapped(self) -> int:
        """Page table entries that hold a swap entry."""
        cdef int64_t i, n = 0
        for i in range(self.s.processes * self.s.pages):
            n += self.s.ptes[i] & 3 == SWAPPED
        return n

    @property
    def resident(self) -> int:
        """Pages of memory."""
        return self.s.resident

    @property
    def io(self) -> dict:
        """``reads`` into memory, how many of them were ``sequential``, and ``copies`` from one place to another."""
        return {"reads": self.s.reads, "sequential": self.s.sequential, "copies": self.s.copies}
