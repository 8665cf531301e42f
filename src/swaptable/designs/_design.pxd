# What a swap design is for the replay: a table of nogil functions on opaque state, and counters.
# Imports nothing below but words.
# Used by every design and by the replay's inner loop.
from libc.stdint cimport int64_t, uint16_t, uint64_t


ctypedef struct counters_t:
    uint64_t ops           # operations asked of the design
    uint64_t lookups       # searches from an entry to its metadata (array index, tree descent, ...)
    uint64_t depth         # dependent loads that those look-ups took (1 for an array index)
    uint64_t locks         # lock acquisitions, each lock of the structure counted
    uint64_t list_locks    # those of them that protect device-wide lists
    uint64_t words         # table words (or descriptors, map bytes) written
    uint64_t visited       # clusters visited by allocation
    uint64_t scanned       # words, bytes or bits looked at in searches for something free or for an owner
    uint64_t hold_longest  # most of words, scanned and depth while one lock was held, the locks within it included
    uint64_t ptes          # page table entries visited
    uint64_t ios           # reads and writes of block devices, one for the pages of a folio that are on one
    uint64_t extents       # runs of consecutive blocks in them
    uint64_t allocated     # bytes of metadata allocated since the design was made or the counters were reset
    uint64_t freed         # ... and freed
    # the design's own, not shown and never reset
    uint64_t held          # locks held now
    uint64_t held_since    # words, scanned and depth when the outermost was taken
    uint64_t now           # bytes of metadata held now

# Where data is: the compressed pool is tier 0, block devices are 1, 2, ... from the fastest on.
cdef enum:
    NOWHERE = -1
    POOL = 0

cdef struct place_t:
    int tier
    uint64_t block          # of the device, or what the pool knows the object by: never the same twice

# What is known of an entry, whatever it is made of; not counted.
cdef enum:
    PEEK_FREE = 0
    PEEK_FOLIO = 1
    PEEK_SHADOW = 2
    PEEK_BAD = 3

cdef struct peek_t:
    int kind
    uint64_t count
    unsigned int memcg
    bint zero
    uint64_t value          # the folio's first pfn, or the shadow

# ---- the memory side, for operations that read data in or change page table entries
# The visitor of a page table entry that holds a swap entry: 0 leave it, PTE_ENTRY it shall hold the entry in
# *value*, PTE_PAGE it shall map the page of memory in *value*; negative: stop with that error.
cdef enum:
    PTE_KEEP = 0
    PTE_ENTRY = 1
    PTE_PAGE = 2

ctypedef int (*pte_visit_t)(void *arg, uint64_t pte, uint64_t *value) noexcept nogil

ctypedef struct host_t:
    void *user
    # each page table entry of each process once, empty and present ones too, into *visited*; 0 or -errno
    int (*walk)(void *user, pte_visit_t visit, void *arg, uint64_t *visited) noexcept nogil
    # the same for the one of that number
    int (*one)(void *user, uint64_t pte, pte_visit_t visit, void *arg) noexcept nogil
    # the data at one place is written to another, too
    int (*copy)(void *user, const place_t *src, const place_t *dst) noexcept nogil
    # the data at a place is read into a new page of memory, the swap cache's for entry: its pfn, or -errno
    int64_t (*load)(void *user, uint64_t entry, const place_t *src) noexcept nogil
    # the cached page has no copy any more; the page is the swap cache's no longer
    void (*dirty)(void *user, uint64_t pfn) noexcept nogil
    void (*forget)(void *user, uint64_t pfn) noexcept nogil

# Every function takes the design's state first and returns 0 or -errno. An *entry* is what a page
# table would hold; a folio has nr consecutive ones. Nothing here needs the GIL.
ctypedef struct design_ops_t:
    # nr = 1 << order new entries in the swap cache (count 0) for the folio whose first page is pfn; -ENOSPC
    int (*alloc)(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil
    # one more / one less user of each of nr entries; put frees an entry without users that is not cached
    int (*dup)(void *d, uint64_t entry, int nr) noexcept nogil
    int (*put)(void *d, uint64_t entry, int nr) noexcept nogil
    # the data is written to the device: place it there; -ENOSPC when there is no room
    int (*writeout)(void *d, uint64_t entry, int nr) noexcept nogil
    # what the page fault asks first: pfn in the swap cache, or -1
    int64_t (*cache_get)(void *d, uint64_t entry) noexcept nogil
    # into the swap cache (-EEXIST: someone won); out of it with a shadow (42 bits); entries without users are freed
    int (*cache_add)(void *d, uint64_t entry, int nr, uint64_t pfn) noexcept nogil
    int (*cache_del)(void *d, uint64_t entry, int nr, uint64_t shadow) noexcept nogil
    # blocks of the device in use, and blocks there are: vm_swap_full() is used * 2 > size
    uint64_t (*used)(void *d) noexcept nogil
    uint64_t (*size)(void *d) noexcept nogil
    # bytes of metadata held now, every term counted where it was allocated
    uint64_t (*bytes)(void *d) noexcept nogil

    # ---- the rest may be NULL: then the design cannot do it, and says in words what it does instead
    # the page fault reads the data of nr cached entries; their places go to *where*. 1: those were the pool's and
    # are gone now (an exclusive load), so that the folio is dirty; 0: they stay
    int (*read)(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil
    # the same look-up without a read, not counted: for tests and for whoever moves data
    int (*locate)(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil
    void (*peek)(void *d, uint64_t entry, peek_t *said) noexcept nogil
    # redirections followed from the entry to its data (0: the slot is the place), or -ENOENT
    int (*hops)(void *d, uint64_t entry) noexcept nogil
    # page table entries pte, pte + 1, ... name the entries from now on / no longer; after dup, before put
    int (*mapped)(void *d, uint64_t entry, int nr, uint64_t pte) noexcept nogil
    int (*unmapped)(void *d, uint64_t entry, int nr, uint64_t pte) noexcept nogil
    # as alloc, on the device of that tier, and the data goes right there: the slot is the place
    int (*alloc_on)(void *d, int tier, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil
    # the data of n entries moves to that tier, by whatever the design must change for it; the number moved. Cached
    # entries are passed over. -EOPNOTSUPP: that cannot be, or not without the page tables (host NULL)
    int64_t (*transfer)(void *d, const uint64_t *entries, int64_t n, int tier, const host_t *host) noexcept nogil
    # no data in that tier any more: it is read into memory; -EBUSY when users that nobody can name hold entries of it
    int (*swapoff)(void *d, int tier, const host_t *host) noexcept nogil
    # slots and blocks of devices that are taken and hold no data that anybody could read there
    uint64_t (*wasted)(void *d) noexcept nogil


cdef class Design:
    cdef void *state
    cdef const design_ops_t *ops
    cdef counters_t *counters


# The memory side as a Python object; an instance of this class itself has none.
cdef class Host:
    cdef host_t host


cdef dict counters_dict(const counters_t *c)
# transfer and swapoff for designs whose entries name a device: by a walk of all page tables, through the
# operations of the design itself. *first* to *last* - 1 are the entries of the device that goes.
cdef int64_t walk_transfer(
    const design_ops_t *ops, void *d, counters_t *c, const uint64_t *entries, int64_t n, int tier, const host_t *host) noexcept nogil
cdef int walk_swapoff(
    const design_ops_t *ops, void *d, counters_t *c, uint64_t first, uint64_t last, const host_t *host) noexcept nogil
