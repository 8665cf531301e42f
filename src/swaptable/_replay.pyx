# The memory-limited machine that a trace is replayed on, and the numbering of a trace's pages.
# May import errors, _atomic.pxd and the designs' protocol: it embeds a design as any outsider would.
# Used by replay.py, the benchmarks and the tests.
"""A memory-limited Linux-like machine for anonymous memory, at a few nanoseconds an access.

What it keeps of the kernel (6.18, classic LRU, one memory cgroup) and what it leaves out is in
the documentation of :mod:`swaptable.replay`.
"""
from time import thread_time

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EEXIST, EINVAL, ENOMEM, ENOSPC, EOPNOTSUPP
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memmove, memset

from swaptable._atomic cimport likely, prefetch_read, prefetch_write
from swaptable.designs._design cimport (
    POOL, PTE_ENTRY, Design, design_ops_t, host_t, place_t, pte_visit_t,
)

from swaptable.errors import CheckError, raise_errno

cdef extern from *:
    """
    #ifdef __OPTIMIZE__
    #define SWT_OPTIMIZED 1
    #else
    #define SWT_OPTIMIZED 0
    #endif
    #ifdef __AVX2__
    #define SWT_NATIVE 1
    #else
    #define SWT_NATIVE 0
    #endif
    """
    const int CYTHON_HEX_VERSION, SWT_OPTIMIZED, SWT_NATIVE
    const char *COMPILER "__VERSION__"

# A page's state: the bits of its page table entry, then the flags of the folio whose first page it is.
cdef enum:
    PRESENT = 1
    YOUNG = 2           # accessed since reclaim last looked
    DIRTY = 4           # stored to since it was mapped
    SWAPPED = 8         # not present: the entry names the data
    SWAPCACHE = 16      # present, and its slot is kept (count 0)
    REFERENCED = 32     # found young once on the inactive list
    ACTIVE = 64         # on the active list
    LARGE = 128         # first page of a folio of the machine's order

cdef enum:
    AHEAD = 32                      # events between prefetch and use
    FAULT_AHEAD = 12
    SCAN_AHEAD = 8                  # folios
    SWAP_CLUSTER_MAX = 32           # pages that one reclaim frees at least, as the kernel's
    CHUNK = 1 << 18                 # events between two looks at signals
    MAX_ORDER = 9
    PAGE_NUMBER_BITS = 52           # 64-bit addresses, 4 KiB pages
    MAX_TIERS = 8

cdef uint32_t MAX_PAGES = 0x7ffffff0u           # an event is page << 1 | write in 32 bits
cdef uint64_t SHADOW_MAX = (1ULL << 42) - 1
cdef uint64_t YOUNG_BYTES = 0x0202020202020202ULL


# What only faults and reclaim need of a page, in one cache line.
ctypedef struct page_t:
    uint64_t entry
    uint32_t evicted        # of a page that is out: the eviction counter then, its low half
    uint32_t tier           # where its data is, + 1; 0: nowhere, or nobody asks

# Folios enter a list at its head and leave at its tail, never from within (nothing here frees a
# mapped page), so a list is a ring: the next victims are known far ahead and can be prefetched.
ctypedef struct ring_t:
    uint32_t *folios
    uint64_t head           # folios ever added
    uint64_t tail           # folios ever taken
    uint64_t pages          # on the list now

ctypedef struct vmstat_t:
    uint64_t pgfault
    uint64_t pgmajfault
    uint64_t first_touch
    uint64_t pswpin
    uint64_t pswpout
    uint64_t swpin
    uint64_t swpout
    uint64_t swpout_fallback
    uint64_t swap_full
    uint64_t pgscan
    uint64_t pgsteal
    uint64_t pgactivate
    uint64_t pgdeactivate
    uint64_t workingset_refault
    uint64_t workingset_activate

# Pages by the time at which their data came to a tier, oldest first. One that has left since is passed over.
ctypedef struct queue_t:
    uint64_t *items         # the page, and the eviction counter of then in the low half
    int64_t head            # first
    int64_t tail            # behind the last
    int64_t room

# Tiers with limits: what is beyond a limit is moved a tier down, an eighth of the tier at a time.
ctypedef struct tiers_t:
    int first
    int last                # has no limit
    uint64_t size           # pages of swap in all
    uint64_t limit[8]
    uint64_t pages[8]       # whose data is there
    uint64_t peak[8]
    uint64_t reads[8]       # pages read from there by faults
    uint64_t moved[8]       # pages moved from there a tier down
    queue_t queue[8]
    uint32_t *batch         # pages on their way
    uint64_t *entries       # of them
    uint64_t room           # for so many
    host_t host

ctypedef struct machine_t:
    const design_ops_t *ops
    void *d
    tiers_t *tiers          # NULL: where data is, the design knows alone
    uint8_t *st
    page_t *page
    ring_t inactive
    ring_t active
    uint64_t mask           # of both rings
    uint32_t pages
    uint32_t nr             # pages of a folio
    int order
    bint large_swapin
    uint64_t limit
    uint64_t batch          # pages to free once reclaim starts
    uint64_t ratio          # inactive_is_low: inactive * ratio < active
    uint64_t resident
    uint64_t folios
    uint64_t age            # workingset's nonresident_age
    uint64_t bytes_peak
    uint64_t used_at_peak
    uint64_t wasted_peak
    vmstat_t stat
    const char *err_op
    int err_no
    uint64_t err_entry


cdef int fail(machine_t *m, const char *op, int err, uint64_t entry) noexcept nogil:
    """Remember what went wrong for the message; the machine does not run again."""
    m.err_op = op
    m.err_no = err
    m.err_entry = entry
    return err


cdef inline void lru_add(machine_t *m, uint32_t f, uint32_t nr, bint active) noexcept nogil:
    cdef ring_t *list = &m.active if active else &m.inactive
    m.st[f] |= ACTIVE if active else 0
    list.folios[list.head & m.mask] = f
    list.head += 1
    list.pages += nr


cdef inline uint32_t lru_take(machine_t *m, ring_t *list) noexcept nogil:
    """The oldest folio of a list, off it; the pages are the caller's to subtract."""
    cdef uint32_t f = list.folios[list.tail & m.mask]
    cdef uint32_t ahead = list.folios[(list.tail + SCAN_AHEAD) & m.mask]    # perhaps a stale one: a hint
    prefetch_write(&m.st[ahead])
    prefetch_write(&m.page[ahead])
    list.tail += 1
    return f


cdef inline bint clear_young(uint8_t *st, uint32_t nr) noexcept nogil:
    """folio_referenced(): was any page accessed? Clears the bits."""
    cdef uint64_t *words = <uint64_t *>st
    cdef uint64_t seen = 0
    cdef uint32_t i
    if nr < 8:
        for i in range(nr):
            seen |= st[i]
            st[i] &= ~YOUNG & 0xff
        return (seen & YOUNG) != 0
    for i in range(nr >> 3):
        seen |= words[i]
        words[i] &= ~YOUNG_BYTES
    return (seen & YOUNG_BYTES) != 0


cdef inline bint vm_swap_full(machine_t *m) noexcept nogil:
    """More than half of swap in use: by what the design says, or of all tiers, whose sum designs count differently."""
    cdef uint64_t used = 0
    cdef int tier
    if m.tiers == NULL:
        return m.ops.used(m.d) * 2 > m.ops.size(m.d)
    for tier in range(m.tiers.first, m.tiers.last + 1):
        used += m.tiers.pages[tier]
    return used * 2 > m.tiers.size


# ---- tiers: where the data of each page is, and what moves down

cdef void leave(tiers_t *t, page_t *page) noexcept nogil:
    """The page has no data in swap any more."""
    if page.tier:
        t.pages[page.tier - 1] -= 1
    page.tier = 0


cdef int enqueue(queue_t *q, uint32_t p, uint32_t when) noexcept nogil:
    """Behind the others; -ENOMEM."""
    cdef uint64_t *more
    cdef int64_t live = q.tail - q.head
    if q.tail == q.room:
        if live * 2 > q.room or q.room == 0:
            q.room = max(<int64_t>1024, q.room * 2)
            more = <uint64_t *>malloc(q.room * sizeof(uint64_t))
            if more == NULL:
                return -ENOMEM
            memmove(more, q.items + q.head, live * sizeof(uint64_t))
            free(q.items)
            q.items = more
        else:
            memmove(q.items, q.items + q.head, live * sizeof(uint64_t))
        q.head, q.tail = 0, live
    q.items[q.tail] = <uint64_t>p << 32 | when
    q.tail += 1
    return 0


cdef int arrive(machine_t *m, uint32_t p) noexcept nogil:
    """A page that is out: its data is where the design says, the newest there."""
    cdef tiers_t *t = m.tiers
    cdef page_t *page = &m.page[p]
    cdef place_t place
    cdef int err = m.ops.locate(m.d, page.entry, 1, &place)
    if err or place.tier < 0 or place.tier > t.last:
        return fail(m, "locate", err if err else -EINVAL, page.entry)
    leave(t, page)
    page.tier = place.tier + 1
    t.pages[place.tier] += 1
    t.peak[place.tier] = max(t.peak[place.tier], t.pages[place.tier])
    err = enqueue(&t.queue[place.tier], p, page.evicted)
    return fail(m, "tier", err, page.entry) if err else 0


cdef inline bint waits(machine_t *m, uint64_t item, int tier) noexcept nogil:
    """Is the page of a queue still out, since then, with its data in that tier?"""
    cdef uint32_t p = <uint32_t>(item >> 32)
    return m.st[p] == SWAPPED and m.page[p].evicted == <uint32_t>item and m.page[p].tier == <uint32_t>tier + 1


cdef uint64_t gather(machine_t *m, int tier, uint64_t n) noexcept nogil:
    """Up to *n* of the pages that have been in a tier for longest; how many."""
    cdef tiers_t *t = m.tiers
    cdef queue_t *q = &t.queue[tier]
    cdef uint64_t got = 0
    while q.head < q.tail and got < n:
        if waits(m, q.items[q.head], tier):
            t.batch[got] = <uint32_t>(q.items[q.head] >> 32)
            t.entries[got] = m.page[t.batch[got]].entry
            got += 1
        q.head += 1
    return got


cdef int demote(machine_t *m, int tier) noexcept nogil:
    """A batch of a tier's oldest data moves a tier down. Return: 0, or an error; no room below is none."""
    cdef tiers_t *t = m.tiers
    cdef uint64_t i, n = gather(m, tier, min(t.room, max(t.limit[tier] // 8, <uint64_t>SWAP_CLUSTER_MAX)))
    cdef int64_t moved
    cdef int err = 0
    if n == 0:
        return 0
    moved = m.ops.transfer(m.d, t.entries, n, tier + 1, &t.host)
    if moved < 0 and moved != -ENOSPC:
        return fail(m, "transfer", <int>moved, t.entries[0])
    for i in range(n):
        if err == 0:
            err = arrive(m, t.batch[i])
        t.moved[tier] += err == 0 and m.page[t.batch[i]].tier > <uint32_t>tier + 1
    return err


cdef int write_back(machine_t *m) noexcept nogil:
    """What is beyond the tiers' limits moves down; with what must, an eighth of the tier, as a worker would."""
    cdef tiers_t *t = m.tiers
    cdef uint64_t was
    cdef int tier, err
    for tier in range(t.first, t.last):
        while t.pages[tier] > t.limit[tier]:
            was = t.pages[tier]
            err = demote(m, tier)
            if err:
                return err
            if t.pages[tier] >= was:
                break               # no room below
    return 0


cdef int walk_ptes(void *user, pte_visit_t visit, void *arg, uint64_t *visited) noexcept nogil:
    """Each page table entry of the one process there is."""
    cdef machine_t *m = <machine_t *>user
    cdef uint32_t p
    cdef int err
    for p in range(m.pages):
        visited[0] += 1
        err = visit_pte(m, p, visit, arg)
        if err < 0:
            return err
    return 0


cdef inline int visit_pte(machine_t *m, uint32_t p, pte_visit_t visit, void *arg) noexcept nogil:
    cdef uint64_t value = m.page[p].entry
    cdef int done
    if not m.st[p] & SWAPPED:
        return 0
    done = visit(arg, p, &value)
    if done == PTE_ENTRY:
        m.page[p].entry = value
    return min(done, 0)


cdef int one_pte(void *user, uint64_t pte, pte_visit_t visit, void *arg) noexcept nogil:
    cdef machine_t *m = <machine_t *>user
    return visit_pte(m, <uint32_t>pte, visit, arg) if pte < m.pages else -EINVAL


cdef int copy_nothing(void *user, const place_t *src, const place_t *dst) noexcept nogil:
    """The machine's pages have no contents."""
    return 0


cdef int free_swap(machine_t *m, uint32_t h, int nr) noexcept nogil:
    """folio_free_swap(): the folio leaves the swap cache; without users its slots are free."""
    cdef int i, err = m.ops.cache_del(m.d, m.page[h].entry, nr, 0)
    if err:
        return fail(m, "cache_del", err, m.page[h].entry)
    m.st[h] &= ~SWAPCACHE & 0xff
    for i in range(nr if m.tiers != NULL else 0):
        leave(m.tiers, &m.page[h + i])
    return 0


cdef int activate(machine_t *m, uint32_t f, uint32_t nr) noexcept nogil:
    """A folio off the lists becomes active; not a candidate for swapping, it gives its slot up when swap is half full."""
    m.stat.pgactivate += nr
    m.age += nr
    lru_add(m, f, nr, True)
    if m.st[f] & SWAPCACHE and vm_swap_full(m):
        return free_swap(m, f, nr)
    return 0


cdef int swap_alloc(machine_t *m, uint32_t f, int order) noexcept nogil:
    """Entries for a folio, -ENOSPC when there is no run; the design is not asked for what the device cannot hold."""
    cdef uint64_t entry = 0
    cdef uint32_t i
    cdef int err
    if m.ops.used(m.d) + (1 << order) > m.ops.size(m.d):
        return -ENOSPC
    err = m.ops.alloc(m.d, order, f, 0, &entry)
    if err:
        return err if err == -ENOSPC else fail(m, "alloc", err, f)
    for i in range(1u << order):
        m.page[f + i].entry = entry + i
    return 0


cdef int give_up(machine_t *m, uint32_t f, int nr) noexcept nogil:
    """The page table entries of nr pages name their swap entries no longer."""
    cdef uint64_t entry = m.page[f].entry
    cdef int err
    if m.ops.unmapped != NULL:
        err = m.ops.unmapped(m.d, entry, nr, f)
        if err:
            return fail(m, "unmapped", err, entry)
    err = m.ops.put(m.d, entry, nr)
    return fail(m, "put", err, entry) if err else 0


cdef int unmap(machine_t *m, uint32_t f, int nr, bint dirty) noexcept nogil:
    """Each page table entry takes the swap entry, then the data goes out; -ENOSPC undoes it."""
    cdef uint64_t entry = m.page[f].entry
    cdef int i, err
    for i in range(nr):
        err = m.ops.dup(m.d, entry + i, 1)
        if err:
            return fail(m, "dup", err, entry + i)
        if m.ops.mapped != NULL:
            err = m.ops.mapped(m.d, entry + i, 1, f + i)
            if err:
                return fail(m, "mapped", err, entry + i)
    if not dirty:
        return 0
    err = m.ops.writeout(m.d, entry, nr)
    if err == 0:
        m.stat.pswpout += nr
        return 0
    if err != -ENOSPC:
        return fail(m, "writeout", err, entry)
    err = give_up(m, f, nr)
    return err if err else -ENOSPC


cdef int forget(machine_t *m, uint32_t f, uint32_t nr) noexcept nogil:
    """The folio leaves memory: from the swap cache a shadow stays, the eviction counter."""
    cdef uint32_t i
    cdef int err = m.ops.cache_del(m.d, m.page[f].entry, nr, m.age & SHADOW_MAX)
    if err:
        return fail(m, "cache_del", err, m.page[f].entry)
    for i in range(nr):
        m.st[f + i] = SWAPPED
        m.page[f + i].evicted = <uint32_t>m.age
    m.age += nr
    m.resident -= nr
    m.folios -= 1
    m.stat.pgsteal += nr
    if m.tiers != NULL:
        for i in range(nr):
            err = arrive(m, f + i)
            if err:
                return err
    return <int>nr


cdef int stay(machine_t *m, uint32_t f, uint32_t nr) noexcept nogil:
    """Swap is full: the folio is active again and reclaim looks elsewhere."""
    m.stat.swap_full += 1
    return activate(m, f, nr)


cdef int shrink_page(machine_t *m, uint32_t p) noexcept nogil:
    """Evict one page that is off the lists; pages freed (0: it stays) or an error."""
    cdef bint fresh = not m.st[p] & SWAPCACHE
    cdef int err
    if fresh:
        err = swap_alloc(m, p, 0)
        if err:
            return stay(m, p, 1) if err == -ENOSPC else err
    err = unmap(m, p, 1, fresh or m.st[p] & DIRTY)
    if err == 0:
        return forget(m, p, 1)
    if err != -ENOSPC:
        return err
    if fresh:
        err = free_swap(m, p, 1)
        if err:
            return err
    return stay(m, p, 1)


cdef int shrink_split(machine_t *m, uint32_t h) noexcept nogil:
    """No run for the folio: its pages go one by one in the kernel's order 0, n-1, ..., 1."""
    cdef uint32_t i
    cdef int got, freed = 0
    m.stat.swpout_fallback += 1
    m.st[h] &= ~LARGE & 0xff
    m.folios += m.nr - 1
    for i in range(m.nr):
        got = shrink_page(m, h + (m.nr - i if i else 0))
        if got < 0:
            return got
        freed += got
    return freed


cdef int shrink_large(machine_t *m, uint32_t h) noexcept nogil:
    """Evict a large folio that is off the lists, whole if there is a run for it."""
    cdef int err
    if m.ops.used(m.d) >= m.ops.size(m.d):
        return stay(m, h, m.nr)         # without a free slot the kernel does not even try
    err = swap_alloc(m, h, m.order)
    if err == 0:
        err = unmap(m, h, m.nr, True)
        if err == 0:
            m.stat.swpout += 1
            return forget(m, h, m.nr)
        if err == -ENOSPC and free_swap(m, h, m.nr):
            return m.err_no
    return shrink_split(m, h) if err == -ENOSPC else err


cdef int scan(machine_t *m) noexcept nogil:
    """shrink_inactive_list() for its oldest folio: pages freed, 0 when it stays, or an error."""
    cdef uint32_t f = lru_take(m, &m.inactive)
    cdef uint32_t nr = m.nr if m.st[f] & LARGE else 1
    m.inactive.pages -= nr
    m.stat.pgscan += nr
    if clear_young(&m.st[f], nr):
        if m.st[f] & REFERENCED:
            return activate(m, f, nr)
        m.st[f] |= REFERENCED           # the first touch does not count: look twice
        lru_add(m, f, nr, False)
        return 0
    m.st[f] &= ~REFERENCED & 0xff
    return shrink_page(m, f) if nr == 1 else shrink_large(m, f)


cdef void balance(machine_t *m) noexcept nogil:
    """shrink_active_list(): the oldest active folios become inactive, young or not, until the lists are in proportion."""
    cdef uint32_t f, nr
    while m.inactive.pages * m.ratio < m.active.pages:
        f = lru_take(m, &m.active)
        nr = m.nr if m.st[f] & LARGE else 1
        m.active.pages -= nr
        m.stat.pgdeactivate += nr
        clear_young(&m.st[f], nr)
        m.st[f] &= ~ACTIVE & 0xff
        lru_add(m, f, nr, False)


cdef inline void sample(machine_t *m) noexcept nogil:
    """The peak is the moment of the most bytes; among such moments, which static metadata makes many, of the most use."""
    cdef uint64_t held = m.ops.bytes(m.d), used = m.ops.used(m.d)
    if held > m.bytes_peak or (held == m.bytes_peak and used > m.used_at_peak):
        m.bytes_peak = held
        m.used_at_peak = used
    if m.ops.wasted != NULL:
        used = m.ops.wasted(m.d)
        m.wasted_peak = used if used > m.wasted_peak else m.wasted_peak


cdef int reclaim(machine_t *m, uint32_t nr) noexcept nogil:
    """Make room for nr pages, freeing a batch; -ENOMEM once every folio was tried and stayed."""
    cdef uint64_t target = nr if nr > m.batch else m.batch
    cdef uint64_t freed = 0
    cdef uint64_t steps = 3 * m.folios + 64         # each is seen young, tried, and tried after its neighbours
    cdef int got
    while freed < target and steps and m.resident:
        balance(m)
        got = scan(m)
        if got < 0:
            return got
        freed += got
        steps -= 1
    if m.tiers != NULL:
        got = write_back(m)
        if got:
            return got
    sample(m)
    if m.resident + nr > m.limit:
        return fail(m, NULL, -ENOMEM, 0)
    return 0


cdef inline int charge(machine_t *m, uint32_t nr) noexcept nogil:
    if m.resident + nr > m.limit and reclaim(m, nr):
        return m.err_no
    m.resident += nr
    m.folios += 1
    return 0


cdef int first_touch(machine_t *m, uint32_t p, uint32_t write) noexcept nogil:
    """do_anonymous_page(): the whole aligned block becomes resident as one folio."""
    cdef uint32_t h = p & ~(m.nr - 1)
    cdef int err = charge(m, m.nr)
    if err:
        return err
    m.stat.first_touch += 1
    memset(&m.st[h], PRESENT, m.nr)
    if m.nr > 1:
        m.st[h] |= LARGE
    m.st[p] |= YOUNG | (write << 2)
    lru_add(m, h, m.nr, False)
    return 0


cdef bint folio_is_out(machine_t *m, uint32_t h) noexcept nogil:
    """can_swapin_thp(): are all pages of the block out, with consecutive entries that begin aligned?"""
    cdef uint64_t first = m.page[h].entry
    cdef uint32_t i
    if first & (m.nr - 1):
        return False
    for i in range(m.nr):
        if not m.st[h + i] & SWAPPED or m.page[h + i].entry != first + i:
            return False
    return True


cdef void count_reads(machine_t *m, uint32_t h, uint32_t nr, const place_t *places, bint gone) noexcept nogil:
    """Which tier each page came from; an exclusive load leaves nothing there."""
    cdef uint32_t i
    for i in range(nr):
        if places[i].tier < 0:
            continue
        m.tiers.reads[places[i].tier] += 1
        if gone and places[i].tier == POOL:
            leave(m.tiers, &m.page[h + i])


cdef int swap_cache_prepare(machine_t *m, uint32_t p, uint32_t h, uint32_t nr) noexcept nogil:
    """Look the entry up as a fault does, make room, put the new folio into the swap cache and read; 1: no copy stays."""
    cdef place_t places[1 << MAX_ORDER]
    cdef int err
    if m.ops.cache_get(m.d, m.page[p].entry) >= 0:
        return fail(m, "cache_get", -EEXIST, m.page[p].entry)
    err = charge(m, nr)
    if err:
        return err
    err = m.ops.cache_add(m.d, m.page[h].entry, nr, h)
    if err:
        return fail(m, "cache_add", err, m.page[h].entry)
    m.stat.pswpin += nr
    m.stat.swpin += nr > 1
    if m.ops.read == NULL:
        return 0
    err = m.ops.read(m.d, m.page[h].entry, nr, places)
    if err < 0:
        return fail(m, "read", err, m.page[h].entry)
    if m.tiers != NULL:
        count_reads(m, h, nr, places, err)
    return err


cdef int swap_in(machine_t *m, uint32_t p, uint32_t write) noexcept nogil:
    """do_swap_page(): bring the page, or its whole folio, back and map it."""
    cdef uint32_t h = p & ~(m.nr - 1)
    cdef bint whole = m.large_swapin and m.nr > 1 and folio_is_out(m, h)
    cdef uint32_t nr = m.nr if whole else 1
    cdef bint recent
    cdef int err, gone
    h = h if whole else p
    gone = swap_cache_prepare(m, p, h, nr)
    if gone < 0:
        return gone
    m.stat.pgmajfault += 1
    m.stat.workingset_refault += nr
    recent = <uint32_t>(<uint32_t>m.age - m.page[p].evicted) <= m.active.pages
    err = give_up(m, h, nr)
    if err:
        return err
    memset(&m.st[h], PRESENT | (DIRTY if gone else 0), nr)      # an exclusive load: the only copy is in memory now
    if whole:
        m.st[h] |= LARGE
    m.st[p] |= YOUNG | (write << 2)
    if recent:
        m.age += nr
        m.stat.workingset_activate += nr
    lru_add(m, h, nr, recent)
    # should_try_to_free_swap(): the slot is worth keeping only for a clean page, a slow device and room.
    if write or m.large_swapin or vm_swap_full(m):
        return free_swap(m, h, nr)
    m.st[h] |= SWAPCACHE
    return 0


cdef int fault(machine_t *m, uint32_t p, uint32_t write) noexcept nogil:
    m.stat.pgfault += 1
    return swap_in(m, p, write) if m.st[p] & SWAPPED else first_touch(m, p, write)


cdef inline int64_t replay_span(machine_t *m, const uint32_t *events, int64_t n, bint more) noexcept nogil:
    cdef uint8_t *st = m.st
    cdef int64_t i
    cdef uint32_t e, soon
    for i in range(n):
        e = events[i]
        if more:
            # First the state; once that is here, what a fault will need (page 0's if there will be none).
            prefetch_write(&st[events[i + AHEAD] >> 1])
            soon = events[i + FAULT_AHEAD] >> 1
            prefetch_write(&m.page[soon * (~st[soon] & PRESENT)])
        if likely(st[e >> 1] & PRESENT, 1):
            st[e >> 1] |= YOUNG | ((e & 1) << 2)
        elif fault(m, e >> 1, e & 1):
            return i
    return n


cdef int64_t replay_events(machine_t *m, const uint32_t *events, int64_t n) noexcept nogil:
    """Replay n events; the number done, n unless m.err_no tells why not."""
    cdef int64_t body = n - AHEAD if n > AHEAD else 0
    cdef int64_t done = replay_span(m, events, body, True)
    if done < body:
        return done
    return body + replay_span(m, events + body, n - body, False)


cdef int64_t find_beyond(const uint32_t *events, int64_t n, uint32_t pages) noexcept nogil:
    """The first event whose page the machine does not have, or -1."""
    cdef uint32_t last = 0
    cdef int64_t i
    for i in range(n):
        last = events[i] if events[i] > last else last
    if (last >> 1) < pages:
        return -1
    for i in range(n):
        if (events[i] >> 1) >= pages:
            return i
    return -1


cdef uint64_t inactive_ratio(uint64_t limit) noexcept nogil:
    """inactive_is_low(): 1 below 1 GiB, then the square root of ten times the GiB."""
    cdef uint64_t gib = limit >> 18, ratio = 1
    while gib and (ratio + 1) * (ratio + 1) <= 10 * gib:
        ratio += 1
    return ratio


cdef void *touched(uint64_t count, uint64_t size) noexcept nogil:
    """Zeroed memory whose pages are there already, so that the replay does not pay for them."""
    cdef void *p = NULL
    if count <= <uint64_t>-1 // size:
        p = malloc(count * size)
    if p != NULL:
        memset(p, 0, count * size)
    return p


cdef class Machine:
    """Anonymous memory with a limit, in front of a swap *design*.

    Parameters
    ----------
    design : Design
        Fresh: the machine assumes that it is the only user.
    pages : int
        Pages there are, numbered from 0; a multiple of ``1 << folio_order``.
    limit : int
        Pages that fit into memory, at least one folio.
    folio_order : int
        A first touch brings the whole aligned block of ``1 << folio_order`` pages; 0 to 9.
    large_swapin : bool
        A folio that is wholly out comes back as one. Only synchronous devices do that in the
        kernel, and from those a slot is never kept at swap-in.
    tiers : sequence of (int or None), optional
        Pages that may be in each tier, by number from the compressed pool (0) on: None for tiers without a limit and
        those that there are not. The last one has none. Beyond a limit the pages that have been there for longest
        move a tier down.
    swap : int
        With tiers: pages of swap in all, of which half in use makes swap full in the kernel's sense.

    Raises
    ------
    ValueError
        For a number out of range; the message names it.
    MemoryError
        17 bytes a page are needed, and 8 a page of memory.
    """

    cdef machine_t m
    cdef readonly Design design
    cdef readonly int64_t events
    cdef readonly double seconds
    cdef readonly uint64_t bytes_start

    def __cinit__(self, Design design not None, pages, limit, int folio_order=0, bint large_swapin=False, tiers=None, swap=0):
        if not 0 <= folio_order <= MAX_ORDER:
            raise ValueError(f"folio_order is {folio_order}; expected 0 to {MAX_ORDER} (4 KiB to 2 MiB)")
        nr = 1 << folio_order
        if not 0 < pages <= MAX_PAGES or pages % nr:
            raise ValueError(f"pages is {pages}; expected a multiple of {nr} from {nr} to {MAX_PAGES}")
        if not nr <= limit < 1 << 40:
            raise ValueError(f"limit is {limit} pages; expected at least one folio ({nr})")
        if design.ops == NULL:
            raise ValueError(f"{type(design).__name__} has no operations; expected a design that was made")
        self.design = design
        self.m.ops = design.ops
        self.m.d = design.state
        self.m.pages = pages
        self.m.limit = limit
        self.m.order = folio_order
        self.m.nr = nr
        self.m.large_swapin = large_swapin
        self.m.batch = max(1, min(SWAP_CLUSTER_MAX, limit // 8))
        self.m.ratio = inactive_ratio(limit)
        self.m.st = <uint8_t *>touched(pages, 1)
        self.m.page = <page_t *>touched(pages, sizeof(page_t))
        self.m.mask = (1 << max(6, int(min(limit, pages)).bit_length())) - 1
        self.m.inactive.folios = <uint32_t *>touched(self.m.mask + 1, sizeof(uint32_t))
        self.m.active.folios = <uint32_t *>touched(self.m.mask + 1, sizeof(uint32_t))
        if self.m.st == NULL or self.m.page == NULL or self.m.inactive.folios == NULL or self.m.active.folios == NULL:
            raise MemoryError(f"no memory for {pages} pages")
        if tiers is not None:
            self._tiers(tiers, swap)
        sample(&self.m)
        self.bytes_start = self.m.ops.bytes(self.m.d)

    def __dealloc__(self):
        free(self.m.st)
        free(self.m.page)
        free(self.m.inactive.folios)
        free(self.m.active.folios)
        if self.m.tiers != NULL:
            for tier in range(MAX_TIERS):
                free(self.m.tiers.queue[tier].items)
            free(self.m.tiers.batch)
            free(self.m.tiers.entries)
            free(self.m.tiers)

    cdef int _tiers(self, limits, swap) except -1:
        """Have data moved down where a tier has more than its limit."""
        cdef tiers_t *t
        found = [i for i, limit in enumerate(limits) if limit is not None]
        if not found or len(limits) > MAX_TIERS or found[len(found) - 1] != len(limits) - 2 or found != list(range(found[0], len(limits) - 1)):
            raise ValueError(f"tiers are {limits!r}; expected a limit for each but the last, 2 to {MAX_TIERS} tiers")
        if min(limits[i] for i in found) < 1:
            raise ValueError(f"tiers are {limits!r}; expected room for a page in each")
        if self.m.ops.transfer == NULL or self.m.ops.locate == NULL:
            raise_errno(EOPNOTSUPP, f"{self.design.name} cannot transfer: {self.design.says.get('transfer', 'it has no operation for it')}")
        t = self.m.tiers = <tiers_t *>calloc(1, sizeof(tiers_t))
        if t == NULL:
            raise MemoryError("no memory for tiers")
        t.first, t.last, t.size = found[0], len(limits) - 1, swap
        for i in found:
            t.limit[i] = limits[i]
            t.room = max(t.room, limits[i] // 8)
        t.room = max(t.room, SWAP_CLUSTER_MAX)
        t.batch = <uint32_t *>malloc(t.room * sizeof(uint32_t))
        t.entries = <uint64_t *>malloc(t.room * sizeof(uint64_t))
        if t.batch == NULL or t.entries == NULL:
            raise MemoryError("no memory for tiers")
        t.host.user, t.host.walk, t.host.one, t.host.copy = &self.m, walk_ptes, one_pte, copy_nothing
        return 0

    def run(self, const uint32_t[::1] events, progress=None):
        """Replay *events* (``page << 1 | write`` each), without the GIL.

        Parameters
        ----------
        events : uint32 array
        progress : callable, optional
            Called with the events done so far and all of them, every 256 Ki events.

        Raises
        ------
        ValueError
            An event's page does not exist; nothing was replayed.
        SwapMemoryError
            Out of memory: memory and swap are full.
        SwapError
            The design refused what it may not refuse.
        """
        cdef int64_t n = events.shape[0], done = 0, part, got
        cdef const uint32_t *data = &events[0] if n else NULL
        self._alive()
        with nogil:
            got = find_beyond(data, n, self.m.pages)
        if got >= 0:
            raise ValueError(f"event {got} is an access to page {data[got] >> 1}; there are {self.m.pages} pages")
        while done < n:
            part = n - done if n - done < CHUNK else CHUNK
            start = thread_time()
            with nogil:
                got = replay_events(&self.m, data + done, part)
            self.seconds += thread_time() - start
            self.events += got
            done += got
            if got < part:
                self._raise()
            PyErr_CheckSignals()
            if progress is not None:
                progress(done, n)

    def access(self, uint32_t page, bint write=False):
        """One access; True when it faulted. For callers with an event at a time (tens of nanoseconds)."""
        cdef uint8_t *st = &self.m.st[page]
        if page >= self.m.pages:
            raise ValueError(f"page is {page}; there are {self.m.pages} pages")
        if self.m.err_no:
            self._alive()
        self.events += 1
        if st[0] & PRESENT:
            st[0] |= YOUNG | (write << 2)
            return False
        if fault(&self.m, page, write):
            self._raise()
        return True

    def _alive(self):
        if self.m.err_no:
            raise_errno(EINVAL, "the machine has stopped; expected one that did not fail")

    def _raise(self):
        where = f"at event {self.events}"
        if self.m.err_op == NULL:
            raise_errno(ENOMEM, f"out of memory {where}: {self.m.resident} pages of {self.m.limit} resident, "
                        f"{self.m.ops.used(self.m.d)} swap blocks of {self.m.ops.size(self.m.d)} used")
        raise_errno(self.m.err_no, f"{self.design.name}: {self.m.err_op.decode()} failed {where} on {self.m.err_entry:#x}")

    @property
    def stats(self):
        """dict: the vmstat counters so far; thp_swpout and its fallback are those of order 9."""
        counters = dict(self.m.stat)
        huge = self.m.order == MAX_ORDER
        counters["thp_swpout"] = counters["swpout"] if huge else 0
        counters["thp_swpout_fallback"] = counters["swpout_fallback"] if huge else 0
        return counters

    @property
    def counters(self):
        """dict: the design's own counters so far."""
        # By its Python name: the C structure has some that are the design's alone.
        return getattr(self.design, "counters")  # noqa: B009

    @property
    def metadata(self):
        """dict: the design's bytes at the start, at their peak and now, blocks in use at the peak and now, and wasted ones."""
        sample(&self.m)
        return {
            "bytes_start": self.bytes_start,
            "bytes_peak": self.m.bytes_peak,
            "bytes_final": self.m.ops.bytes(self.m.d),
            "used_at_peak": self.m.used_at_peak,
            "used_final": self.m.ops.used(self.m.d),
            "wasted_peak": self.m.wasted_peak,
            "wasted_final": self.m.ops.wasted(self.m.d) if self.m.ops.wasted != NULL else 0,
        }

    @property
    def tiers(self):
        """list of dict: for each tier with data, where there are limits: pages there and at most, read, moved down."""
        cdef tiers_t *t = self.m.tiers
        if t == NULL:
            return []
        return [
            {
                "tier": i, "limit": t.limit[i] if i < t.last else None, "pages": t.pages[i], "peak": t.peak[i],
                "reads": t.reads[i], "moved": t.moved[i],
            }
            for i in range(t.first, t.last + 1)
        ]

    @property
    def resident(self):
        """int: pages in memory."""
        return self.m.resident

    def check(self):
        """Recompute lists and totals from the pages; CheckError when they differ. O(pages)."""
        cdef uint32_t p
        cdef uint64_t i
        cdef ring_t *list
        totals = []
        heads = []
        for active in (False, True):
            list = &self.m.active if active else &self.m.inactive
            mine = [list.folios[i & self.m.mask] for i in range(list.tail, list.head)]
            if any(bool(self.m.st[<uint32_t>f] & ACTIVE) != active for f in mine):
                raise CheckError(f"a folio of the {'active' if active else 'inactive'} list says otherwise")
            totals.append(sum(self.m.nr if self.m.st[<uint32_t>f] & LARGE else 1 for f in mine))
            heads += mine
        pages = {f + i for f in heads for i in range(self.m.nr if self.m.st[<uint32_t>f] & LARGE else 1)}
        present = {p for p in range(self.m.pages) if self.m.st[p] & PRESENT and not self.m.st[p] & SWAPPED}
        if pages != present:
            raise CheckError(f"present but on no list, or the reverse: pages {sorted(pages ^ present)[:8]}")
        found = (*totals, sum(totals), len(heads), len(present))
        kept = (self.m.inactive.pages, self.m.active.pages, self.m.resident, self.m.folios, self.m.resident)
        if found != kept or self.m.resident > self.m.limit:
            raise CheckError(f"inactive, active, resident, folios, present: {found} found, {kept} kept")
        if self.m.tiers != NULL:
            self._check_tiers()

    cdef int _check_tiers(self) except -1:
        """What is kept of each page's tier is what the design says."""
        cdef uint32_t p
        counts = [0] * MAX_TIERS
        for p in range(self.m.pages):
            if self.m.page[p].tier:
                counts[self.m.page[p].tier - 1] += 1
            if self.m.st[p] & SWAPPED and self.design.locate(self.m.page[p].entry)[0][0] != <int>self.m.page[p].tier - 1:
                raise CheckError(f"page {p} is in tier {<int>self.m.page[p].tier - 1} for us, not for {self.design.name}")
        if counts != [self.m.tiers.pages[i] for i in range(MAX_TIERS)]:
            raise CheckError(f"pages by tier: {counts} found, not what is kept")
        return 0


ctypedef struct cell_t:
    uint64_t key            # block number + 1, 0 for an empty cell
    uint64_t block          # in the order of first touches


cdef inline uint64_t hash_block(uint64_t key, int shift) noexcept nogil:
    return (key * 0x9E3779B97F4A7C15ULL) >> shift


cdef class PageMap:
    """Numbers the aligned blocks of ``1 << order`` pages in the order in which a trace touches them.

    A hash table of 16-byte cells, so that the machine itself only indexes arrays.
    """

    cdef cell_t *cells
    cdef int bits
    cdef int order
    cdef readonly uint64_t blocks

    def __cinit__(self, int order=0):
        if not 0 <= order <= MAX_ORDER:
            raise ValueError(f"order is {order}; expected 0 to {MAX_ORDER}")
        self.order = order
        self.bits = 12
        self.cells = <cell_t *>calloc(1 << self.bits, sizeof(cell_t))
        if self.cells == NULL:
            raise MemoryError("no memory for the page map")

    def __dealloc__(self):
        free(self.cells)

    @property
    def pages(self):
        """int: pages of the machine so far."""
        return self.blocks << self.order

    cdef int _grow(self) noexcept nogil:
        cdef int bits = self.bits + 1
        cdef uint64_t i, at, mask = (1ULL << bits) - 1
        cdef cell_t *cells = <cell_t *>calloc(1ULL << bits, sizeof(cell_t))
        if cells == NULL:
            return -ENOMEM
        for i in range(1ULL << self.bits):
            if self.cells[i].key:
                at = hash_block(self.cells[i].key, 64 - bits)
                while cells[at].key:
                    at = (at + 1) & mask
                cells[at] = self.cells[i]
        free(self.cells)
        self.cells = cells
        self.bits = bits
        return 0

    cdef int64_t _find(self, uint64_t key) noexcept nogil:
        """The block of a key, new if need be; -ENOMEM, or -ENOSPC past the pages an event can name."""
        cdef uint64_t mask = (1ULL << self.bits) - 1
        cdef uint64_t at = hash_block(key, 64 - self.bits)
        while self.cells[at].key != key:
            if self.cells[at].key == 0:
                if (self.blocks + 1) << self.order > MAX_PAGES:
                    return -ENOSPC
                if self.blocks * 2 > mask:
                    return -ENOMEM if self._grow() else self._find(key)
                self.cells[at].key = key
                self.cells[at].block = self.blocks
                self.blocks += 1
            else:
                at = (at + 1) & mask
        return <int64_t>self.cells[at].block

    def map(self, const uint64_t[::1] page, const uint8_t[::1] write, uint32_t[::1] out):
        """Write the events of these accesses to *out*; ``page << 1 | write`` each. About 10 ns an access.

        Raises
        ------
        ValueError
            Arrays of different lengths, a page number of more than 52 bits, or too many pages.
        """
        cdef int64_t n = page.shape[0], i, block = 0
        cdef uint64_t number
        cdef uint32_t low = (1u << self.order) - 1
        if write.shape[0] != n or out.shape[0] != n:
            raise ValueError(f"{n} pages, {write.shape[0]} writes, {out.shape[0]} events; expected as many of each")
        with nogil:
            for i in range(n):
                number = page[i]
                if i + 8 < n:
                    prefetch_read(&self.cells[hash_block((page[i + 8] >> self.order) + 1, 64 - self.bits)])
                block = -EINVAL if number >> PAGE_NUMBER_BITS else self._find((number >> self.order) + 1)
                if block < 0:
                    break
                out[i] = ((<uint32_t>block << self.order | (<uint32_t>number & low)) << 1) | (write[i] != 0)
        if block < 0:
            self._refuse(block, i, page[i])

    cdef _refuse(self, int64_t err, int64_t i, uint64_t number):
        if err == -ENOMEM:
            raise MemoryError(f"no memory for {self.blocks} blocks")
        if err == -EINVAL:
            raise ValueError(f"access {i} is to page {number:#x}; expected a page number below 1 << {PAGE_NUMBER_BITS}")
        raise ValueError(f"access {i} makes more than {MAX_PAGES} pages in blocks of {1 << self.order}")


def build_info():
    """dict: what this extension was built with: Cython, compiler, optimization, AVX2."""
    version = CYTHON_HEX_VERSION
    return {
        "cython": f"{version >> 24}.{version >> 16 & 255}.{version >> 8 & 255}",
        "compiler": COMPILER.decode(),
        "optimized": bool(SWT_OPTIMIZED),
        "avx2": bool(SWT_NATIVE),
    }
