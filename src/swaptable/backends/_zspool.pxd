# An allocator for objects below a page, dense and movable: size classes of zspages in one stretch of reserved memory.
# Imports the locks.
# Used by the compressed backends, which keep the records that objects belong to; the layout is private.
from libc.errno cimport EAGAIN, ENOMEM, ENOSPC
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from swaptable._atomic cimport add64, ctz64, load64, peek32, poke32, popcount64, spin_lock, spin_unlock, store_relaxed

cdef extern from *:
    """
    #ifndef SWAPTABLE_ZSPOOL
    #define SWAPTABLE_ZSPOOL
    #include <stdlib.h>
    #include <sys/mman.h>
    /* Address space that costs nothing until it is touched; small pages, so that what is touched is what is counted. */
    static inline void *zs_reserve(uint64_t bytes) {
        void *p = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) return 0;
        madvise(p, bytes, MADV_NOHUGEPAGE);
        return p;
    }
    /* A zspage's class is read by hints too, while another thread may give the zspage to another class. */
    static inline uint8_t zs_byte(const uint8_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    static inline void zs_set_byte(uint8_t *p, uint8_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
    static inline void zs_unreserve(void *p, uint64_t bytes) { if (p) munmap(p, bytes); }
    static inline void zs_give_back(void *p, uint64_t bytes) { if (bytes) madvise(p, bytes, MADV_DONTNEED); }
    /* Pages of a range that are in memory, by the system's own account; -1 when it will not tell. */
    static inline int64_t zs_resident(void *p, uint64_t pages) {
        unsigned char seen[1024];
        int64_t total = 0;
        for (uint64_t i = 0; i < pages; i += 1024) {
            uint64_t n = pages - i < 1024 ? pages - i : 1024;
            if (mincore((char *)p + i * 4096, n * 4096, seen)) return -1;
            for (uint64_t k = 0; k < n; k++) total += seen[k] & 1;
        }
        return total;
    }
    #endif
    """
    void *zs_reserve(uint64_t bytes) noexcept nogil
    uint8_t zs_byte(const uint8_t *p) noexcept nogil
    void zs_set_byte(uint8_t *p, uint8_t v) noexcept nogil
    void zs_unreserve(void *p, uint64_t bytes) noexcept nogil
    void zs_give_back(void *p, uint64_t bytes) noexcept nogil
    int64_t zs_resident(void *p, uint64_t pages) noexcept nogil
    int clz32 "__builtin_clz"(uint32_t x) noexcept nogil
    void *aligned_alloc(size_t align, size_t bytes) noexcept nogil

cdef enum:
    ZS_PAGE = 4096
    ZS_CHAIN = 16           # pages of a zspage at most, and its stride: any class may have any zspage after another
    ZS_STEP = 16
    ZS_LEAST = 32
    ZS_OBJS = 128           # objects of a zspage at most: two words of bits
    ZS_HEADER = 4           # before an object's bytes: whose it is
    ZS_RECORD = 16          # bytes of a record at most
    ZS_SIZES = 257          # of the map from (size + 15) / 16 to the class
    ZS_CLASS_BYTES = 256 * 64
    ZS_GROUPS = 8           # partial zspages by fullness; full ones are on no list
    ZS_FULL = 8
    ZS_ISOLATED = 9         # on no list, since somebody moves its objects or gives its pages back
    ZS_NONE = 0xffffffff
    ZS_SHED = 128           # zspages that are given back at a time
    ZS_SPARE_LEAST = 64     # pages of empty zspages that are kept for the next store: a 32nd of the limit within these bounds
    ZS_SPARE_MOST = 8192

# 32 bytes. Objects are bits, lowest first, so that the tail stays free and its pages can go.
cdef struct zspage_t:
    uint64_t used[2]
    uint32_t next
    uint32_t prev
    uint16_t pages          # bit per page: it is in memory
    uint8_t cls
    uint8_t inuse
    uint8_t group

# 64 bytes, a cache line.
cdef struct zsclass_t:
    uint8_t lock
    uint8_t mask            # bit per group that has zspages
    uint8_t pages           # of a zspage
    uint8_t objs            # of a zspage
    uint16_t size           # of an object with its header
    uint16_t pad
    uint32_t heads[8]       # ZS_GROUPS
    uint32_t nr_zspages
    uint32_t nr_objs
    uint64_t moved          # by compaction, since the beginning

# Whose objects they are: whoever compacts pins the record that an object's header names, moves the bytes, and says where
# they are now. `pin` may not wait and refuses what does not hold this object.
ctypedef bint (*zs_pin_fn)(void *owner, uint32_t nr, uint64_t loc) noexcept nogil
ctypedef void (*zs_unpin_fn)(void *owner, uint32_t nr, uint64_t loc) noexcept nogil

cdef struct zspool_t:
    zsclass_t *classes
    uint32_t nr_classes
    uint8_t class_of[257]   # ZS_SIZES
    uint8_t lock            # of what follows up to max_zspages
    uint32_t fresh          # zspages from here on were never used
    uint32_t free           # list of those without pages
    uint32_t spare          # list of empty ones that still have pages
    uint32_t max_zspages
    zspage_t *z
    uint8_t *base
    uint32_t most           # bytes of the largest object that saves space
    int64_t limit           # pages
    int64_t pages           # in memory, the spare ones too
    int64_t spare_pages
    int64_t peak            # most pages so far
    int64_t compacted       # pages that compaction gave back


# ---- geometry

cdef inline uint8_t *zs_page(zspool_t *p, uint32_t nr) noexcept nogil:
    return p.base + <uint64_t>nr * (ZS_CHAIN * ZS_PAGE)


cdef inline uint64_t zs_loc(uint32_t nr, unsigned int obj) noexcept nogil:
    """Where an object is: zspage and index, 39 bits."""
    return <uint64_t>nr << 7 | obj


cdef inline uint8_t *zs_at(zspool_t *p, uint64_t loc) noexcept nogil:
    """The object at *loc*, its header first."""
    cdef uint32_t nr = <uint32_t>(loc >> 7)
    return zs_page(p, nr) + (loc & 127) * p.classes[zs_byte(&p.z[nr].cls)].size


cdef inline unsigned int zs_pages_of(zsclass_t *c, unsigned int obj) noexcept nogil:
    """Bits of the pages that object *obj* touches."""
    cdef unsigned int first = obj * c.size // ZS_PAGE, last = ((obj + 1) * c.size - 1) // ZS_PAGE
    return (2u << last) - (1u << first)


cdef inline unsigned int zs_group_of(zsclass_t *c, unsigned int inuse) noexcept nogil:
    return ZS_FULL if inuse == c.objs else inuse * ZS_GROUPS // c.objs


cdef inline int zs_first_hole(zspage_t *z) noexcept nogil:
    return ctz64(~z.used[0]) if ~z.used[0] else 64 + ctz64(~z.used[1])


cdef inline void zs_shape(unsigned int size, unsigned int *pages, unsigned int *objs) noexcept nogil:
    """Pages and objects of a zspage for objects of *size*, with the least memory an object."""
    cdef unsigned int k, n, best_k = 1, best_n = ZS_PAGE // size
    for k in range(2, ZS_CHAIN + 1):
        n = k * ZS_PAGE // size
        if n <= ZS_OBJS and k * best_n < best_k * n:
            best_k, best_n = k, n
    pages[0], objs[0] = best_k, best_n


cdef inline void zs_classes_init(zspool_t *p) noexcept nogil:
    """Sizes in steps of 16 bytes, largest first; sizes with the same shape share a class, as large as it allows."""
    cdef unsigned int i, k, n, last_k = 0, last_n = 0
    cdef zsclass_t *c = NULL
    cdef int g
    i = ZS_PAGE // ZS_STEP
    p.nr_classes = 0
    while i * ZS_STEP >= ZS_LEAST:
        zs_shape(i * ZS_STEP, &k, &n)
        # A larger class that takes no more memory an object is as good.
        if c == NULL or k * last_n < last_k * n:
            c = &p.classes[p.nr_classes]
            c.size = <uint16_t>(i * ZS_STEP)
            c.pages, c.objs = <uint8_t>k, <uint8_t>n
            for g in range(ZS_GROUPS):
                c.heads[g] = ZS_NONE
            p.nr_classes += 1
            last_k, last_n = k, n
        p.class_of[i] = <uint8_t>(p.nr_classes - 1)
        if p.most == 0 and k * ZS_PAGE + n * ZS_RECORD < n * ZS_PAGE:
            p.most = i * ZS_STEP - ZS_HEADER
        i -= 1
    while i:
        p.class_of[i] = <uint8_t>(p.nr_classes - 1)
        i -= 1
    p.class_of[0] = p.class_of[1]


cdef inline int zs_init(zspool_t *p, int64_t limit) noexcept nogil:
    """Reserve address space for *limit* pages in as many zspages. *p* is all zeros. Return: 0 or -ENOMEM."""
    p.limit = limit
    p.max_zspages = <uint32_t>(limit + 64)
    p.free = p.spare = ZS_NONE
    p.classes = <zsclass_t *>aligned_alloc(64, ZS_CLASS_BYTES)
    p.z = <zspage_t *>zs_reserve(p.max_zspages * sizeof(zspage_t))
    p.base = <uint8_t *>zs_reserve(<uint64_t>p.max_zspages * (ZS_CHAIN * ZS_PAGE))
    if p.classes == NULL or p.z == NULL or p.base == NULL:
        return -ENOMEM
    memset(p.classes, 0, ZS_CLASS_BYTES)
    zs_classes_init(p)
    return 0


cdef inline void zs_destroy(zspool_t *p) noexcept nogil:
    zs_unreserve(p.base, <uint64_t>p.max_zspages * (ZS_CHAIN * ZS_PAGE))
    zs_unreserve(p.z, p.max_zspages * sizeof(zspage_t))
    free(p.classes)


# ---- zspages

cdef inline void zs_charge_peak(zspool_t *p, int64_t now) noexcept nogil:
    if now > load64(&p.peak):
        store_relaxed(<uint64_t *>&p.peak, <uint64_t>now)   # of two that race one is late by a few pages


cdef inline void zs_release_pages(zspool_t *p, uint32_t nr, unsigned int pages) noexcept nogil:
    """Give the *pages* (bits) of a zspage back to the system. Context: it is on no list, or isolated; no locks."""
    cdef unsigned int first, n, left = pages
    while left:
        first = ctz64(left)
        n = ctz64(~(left >> first))
        zs_give_back(zs_page(p, nr) + first * ZS_PAGE, n * ZS_PAGE)
        left &= ~(((1u << n) - 1) << first)
    add64(&p.pages, -popcount64(pages))     # not before: the limit holds for what is in memory


cdef inline void zs_forget(zspool_t *p, uint32_t nr) noexcept nogil:
    """An empty zspage loses its pages and waits for its next use. Context: on no list; no locks."""
    cdef unsigned int pages = p.z[nr].pages
    p.z[nr].pages = 0
    zs_release_pages(p, nr, pages)
    spin_lock(&p.lock)
    p.z[nr].next = p.free
    p.free = nr
    spin_unlock(&p.lock)


cdef inline uint32_t zs_take_spare(zspool_t *p) noexcept nogil:
    """An empty zspage that has pages, or ZS_NONE. Context: no list lock but a class's may not be held either."""
    cdef uint32_t nr
    spin_lock(&p.lock)
    nr = p.spare
    if nr != ZS_NONE:
        p.spare = p.z[nr].next
        add64(&p.spare_pages, -popcount64(p.z[nr].pages))
    spin_unlock(&p.lock)
    return nr


cdef inline int64_t zs_shed(zspool_t *p, int64_t most) noexcept nogil:
    """Give spare pages back until *most* are left: zspages side by side in one call, for each of which all processors flush.

    Context: no locks. Return: pages given back.
    """
    cdef uint32_t[128] found    # ZS_SHED
    cdef uint32_t nr
    cdef int64_t pages = 0
    cdef int n = 1, k
    while n and load64(&p.spare_pages) > most:
        n = 0
        spin_lock(&p.lock)
        while n < ZS_SHED and p.spare != ZS_NONE and load64(&p.spare_pages) > most:
            nr = p.spare
            p.spare = p.z[nr].next
            add64(&p.spare_pages, -popcount64(p.z[nr].pages))
            k = n
            while k and found[k - 1] > nr:
                found[k] = found[k - 1]
                k -= 1
            found[k] = nr
            n += 1
        spin_unlock(&p.lock)
        pages += zs_give_runs(p, found, n)
        spin_lock(&p.lock)
        for k in range(n):
            p.z[found[k]].next = p.free
            p.free = found[k]
        spin_unlock(&p.lock)
    return pages


cdef inline int64_t zs_give_runs(zspool_t *p, const uint32_t *found, int n) noexcept nogil:
    """Give the pages of empty zspages, in order, back to the system. Context: on no list; no locks. Return: how many pages."""
    cdef int64_t pages, all_pages = 0
    cdef int k = 0, end
    while k < n:
        pages, end = 0, k
        while end < n and found[end] == found[k] + <uint32_t>(end - k):
            pages += popcount64(p.z[found[end]].pages)
            p.z[found[end]].pages = 0
            end += 1
        zs_give_back(zs_page(p, found[k]), <uint64_t>(end - k) * (ZS_CHAIN * ZS_PAGE))
        add64(&p.pages, -pages)     # not before: the limit holds for what is in memory
        all_pages += pages
        k = end
    return all_pages


cdef inline int64_t zs_drop_spares(zspool_t *p) noexcept nogil:
    """Give all spare pages back. Context: no locks. Return: how many there were."""
    return zs_shed(p, 0)


cdef inline uint32_t zs_take(zspool_t *p) noexcept nogil:
    """An empty zspage, rather one that has pages; ZS_NONE when there is none. Context: no locks."""
    cdef uint32_t nr = zs_take_spare(p)
    if nr != ZS_NONE:
        return nr
    spin_lock(&p.lock)
    nr = p.free
    if nr != ZS_NONE:
        p.free = p.z[nr].next
    elif p.fresh < p.max_zspages:
        nr = p.fresh
        poke32(&p.fresh, nr + 1)
    spin_unlock(&p.lock)
    return nr


cdef inline void zs_give(zspool_t *p, uint32_t nr) noexcept nogil:
    """An empty zspage comes back; it keeps its pages while few are spare. Context: on no list; no locks."""
    cdef int64_t pages = popcount64(p.z[nr].pages), most = load64(&p.limit) // 32, spare
    most = ZS_SPARE_LEAST if most < ZS_SPARE_LEAST else ZS_SPARE_MOST if most > ZS_SPARE_MOST else most
    if pages == 0:
        zs_forget(p, nr)
        return
    spin_lock(&p.lock)
    p.z[nr].next = p.spare
    p.spare = nr
    spare = add64(&p.spare_pages, pages)
    spin_unlock(&p.lock)
    if spare > most + most // 4:    # a quarter more, so that many go at once
        zs_shed(p, most)


# ---- classes

cdef inline void zs_unlist_locked(zspool_t *p, zsclass_t *c, uint32_t nr) noexcept nogil:
    cdef zspage_t *z = &p.z[nr]
    if z.group >= ZS_GROUPS:
        return
    if z.prev == ZS_NONE:
        c.heads[z.group] = z.next
        if z.next == ZS_NONE:
            c.mask &= <uint8_t>~(1u << z.group)
    else:
        p.z[z.prev].next = z.next
    if z.next != ZS_NONE:
        p.z[z.next].prev = z.prev


cdef inline void zs_list_locked(zspool_t *p, zsclass_t *c, uint32_t nr, unsigned int group) noexcept nogil:
    cdef zspage_t *z = &p.z[nr]
    z.group = <uint8_t>group
    if group >= ZS_GROUPS:
        return
    z.prev = ZS_NONE
    z.next = c.heads[group]
    if z.next != ZS_NONE:
        p.z[z.next].prev = nr
    c.heads[group] = nr
    c.mask |= <uint8_t>(1u << group)


cdef inline void zs_regroup_locked(zspool_t *p, zsclass_t *c, uint32_t nr) noexcept nogil:
    cdef unsigned int group = zs_group_of(c, p.z[nr].inuse)
    if group != p.z[nr].group and p.z[nr].group != ZS_ISOLATED:
        zs_unlist_locked(p, c, nr)
        zs_list_locked(p, c, nr, group)


cdef inline int zs_touch_locked(zspool_t *p, zsclass_t *c, zspage_t *z, int obj) noexcept nogil:
    """Charge the pages of *obj* that are not in memory yet. Return: 0, or -EAGAIN at the limit."""
    cdef unsigned int fresh = zs_pages_of(c, obj) & ~<unsigned int>z.pages
    cdef int64_t n, now
    if fresh == 0:
        return 0
    n = popcount64(fresh)
    now = add64(&p.pages, n)
    if now > load64(&p.limit):
        add64(&p.pages, -n)
        return -EAGAIN
    z.pages |= <uint16_t>fresh
    zs_charge_peak(p, now)
    return 0


cdef inline int64_t zs_take_object_locked(zspool_t *p, zsclass_t *c, uint32_t nr) noexcept nogil:
    """The first hole of a listed zspage. Return: its location, or -EAGAIN at the limit."""
    cdef zspage_t *z = &p.z[nr]
    cdef int obj = zs_first_hole(z)
    if zs_touch_locked(p, c, z, obj):
        return -EAGAIN
    z.used[obj >> 6] |= 1ull << (obj & 63)
    z.inuse += 1
    c.nr_objs += 1
    zs_regroup_locked(p, c, nr)
    return zs_loc(nr, obj)


cdef inline int64_t zs_alloc_new(zspool_t *p, zsclass_t *c, uint8_t cls) noexcept nogil:
    """An object in a zspage of its own so far. Context: no locks. Return: its location, -ENOMEM, or -EAGAIN at the limit."""
    cdef uint32_t nr = zs_take(p)
    cdef zspage_t *z
    cdef int64_t loc
    cdef unsigned int surplus
    if nr == ZS_NONE:
        return -ENOMEM
    z = &p.z[nr]
    surplus = z.pages & ~((1u << c.pages) - 1)
    if surplus:
        z.pages &= <uint16_t>~surplus
        zs_release_pages(p, nr, surplus)
    z.used[0] = z.used[1] = 0
    z.inuse = 0
    zs_set_byte(&z.cls, cls)
    spin_lock(&c.lock)
    zs_list_locked(p, c, nr, 0)
    c.nr_zspages += 1
    loc = zs_take_object_locked(p, c, nr)
    if loc < 0:
        zs_unlist_locked(p, c, nr)
        c.nr_zspages -= 1
    spin_unlock(&c.lock)
    if loc < 0:
        zs_forget(p, nr)
    return loc


cdef inline int64_t zs_alloc(zspool_t *p, unsigned int size) noexcept nogil:
    """Allocate an object for *size* bytes, its header not counted, from the fullest zspage that has a hole.

    Context: no locks. Takes the class's, the pool's. Return: its location, -ENOSPC at the limit, or -ENOMEM.
    """
    cdef uint8_t cls = p.class_of[(size + ZS_HEADER + ZS_STEP - 1) // ZS_STEP]
    cdef zsclass_t *c = &p.classes[cls]
    cdef int64_t loc
    while True:
        spin_lock(&c.lock)
        if c.mask:
            loc = zs_take_object_locked(p, c, c.heads[31 - clz32(c.mask)])
            spin_unlock(&c.lock)
        else:
            spin_unlock(&c.lock)
            loc = zs_alloc_new(p, c, cls)
        if loc != -EAGAIN:
            return loc
        if zs_drop_spares(p) == 0:
            return -ENOSPC


cdef inline void zs_free(zspool_t *p, uint64_t loc) noexcept nogil:
    """Free an object. Context: its record is the caller's; takes the class's lock and the pool's."""
    cdef uint32_t nr = <uint32_t>(loc >> 7)
    cdef unsigned int obj = loc & 127
    cdef zspage_t *z = &p.z[nr]
    cdef zsclass_t *c = &p.classes[z.cls]
    cdef bint empty
    spin_lock(&c.lock)
    z.used[obj >> 6] &= ~(1ull << (obj & 63))
    z.inuse -= 1
    c.nr_objs -= 1
    empty = z.inuse == 0 and z.group != ZS_ISOLATED
    if empty:
        zs_unlist_locked(p, c, nr)
        z.group = ZS_ISOLATED
        c.nr_zspages -= 1
    else:
        zs_regroup_locked(p, c, nr)
    spin_unlock(&c.lock)
    if empty:
        zs_give(p, nr)


# ---- compaction

cdef inline void zs_isolate_locked(zspool_t *p, zsclass_t *c, uint32_t nr) noexcept nogil:
    zs_unlist_locked(p, c, nr)
    p.z[nr].group = ZS_ISOLATED


cdef inline bint zs_relist_locked(zspool_t *p, zsclass_t *c, uint32_t nr) noexcept nogil:
    """Undo `zs_isolate_locked`. Return: it is empty, no longer the class's, and the caller's to give away."""
    if p.z[nr].inuse == 0:
        c.nr_zspages -= 1
        return True
    zs_list_locked(p, c, nr, zs_group_of(c, p.z[nr].inuse))
    return False


cdef inline bint zs_move_locked(zspool_t *p, zsclass_t *c, uint32_t from_nr, int obj, uint32_t to_nr,
                                void *owner, zs_pin_fn pin, zs_unpin_fn unpin) noexcept nogil:
    """Move one object into the first hole of another zspage or of its own. Return: False when that cannot be now."""
    cdef zspage_t *source = &p.z[from_nr]
    cdef zspage_t *target = &p.z[to_nr]
    cdef uint8_t *at = zs_at(p, zs_loc(from_nr, obj))
    cdef uint8_t *there
    cdef int hole = zs_first_hole(target)
    cdef uint32_t nr = peek32(<uint32_t *>at)
    if zs_touch_locked(p, c, target, hole):
        return False
    # An object that is allocated but not written yet has an old header; no record holds it, so that none is pinned.
    if not pin(owner, nr, zs_loc(from_nr, obj)):
        return False
    there = zs_at(p, zs_loc(to_nr, hole))
    memcpy(there + ZS_HEADER, at + ZS_HEADER, c.size - ZS_HEADER)
    poke32(<uint32_t *>there, nr)
    target.used[hole >> 6] |= 1ull << (hole & 63)
    target.inuse += 1
    source.used[obj >> 6] &= ~(1ull << (obj & 63))
    source.inuse -= 1
    c.moved += 1
    unpin(owner, nr, zs_loc(to_nr, hole))
    return True


cdef inline bint zs_evacuate_locked(zspool_t *p, zsclass_t *c, uint32_t source,
                                    void *owner, zs_pin_fn pin, zs_unpin_fn unpin) noexcept nogil:
    """Move an isolated zspage's objects into the fullest others. Return: all that could be moved found room."""
    cdef uint32_t target
    cdef int obj
    for obj in range(c.objs):
        if not p.z[source].used[obj >> 6] >> (obj & 63) & 1:
            continue
        if c.mask == 0:
            return False
        target = c.heads[31 - clz32(c.mask)]
        if zs_move_locked(p, c, source, obj, target, owner, pin, unpin):
            zs_regroup_locked(p, c, target)
    return True


cdef inline void zs_squeeze_locked(zspool_t *p, zsclass_t *c, uint32_t nr,
                                   void *owner, zs_pin_fn pin, zs_unpin_fn unpin) noexcept nogil:
    """Move an isolated zspage's last objects into its own holes before them."""
    cdef int obj = c.objs - 1
    while obj > zs_first_hole(&p.z[nr]):
        if p.z[nr].used[obj >> 6] >> (obj & 63) & 1:
            zs_move_locked(p, c, nr, obj, nr, owner, pin, unpin)
        obj -= 1


cdef inline unsigned int zs_idle_pages(zsclass_t *c, zspage_t *z) noexcept nogil:
    """Bits of the pages in memory that no object touches."""
    cdef unsigned int busy = 0, obj
    for obj in range(c.objs):
        if z.used[obj >> 6] >> (obj & 63) & 1:
            busy |= zs_pages_of(c, obj)
    return z.pages & ~busy


cdef inline bint zs_compact_step(zspool_t *p, zsclass_t *c, bint last,
                                 void *owner, zs_pin_fn pin, zs_unpin_fn unpin) noexcept nogil:
    """Empty the class's emptiest zspage, or squeeze it; what its objects no longer touch goes back to the system.

    Context: no locks; holds the class's while up to 128 objects move. Return: there may be more to do.
    """
    cdef uint32_t nr
    cdef unsigned int idle
    cdef bint empty, more
    spin_lock(&c.lock)
    if c.mask == 0:
        spin_unlock(&c.lock)
        return False
    nr = c.heads[ctz64(c.mask)]
    zs_isolate_locked(p, c, nr)
    more = not last and zs_evacuate_locked(p, c, nr, owner, pin, unpin)
    if p.z[nr].inuse:
        zs_squeeze_locked(p, c, nr, owner, pin, unpin)
    idle = zs_idle_pages(c, &p.z[nr])
    p.z[nr].pages &= <uint16_t>~idle    # nobody allocates in it now
    spin_unlock(&c.lock)
    zs_release_pages(p, nr, idle)
    spin_lock(&c.lock)
    empty = zs_relist_locked(p, c, nr)
    spin_unlock(&c.lock)
    if empty:
        zs_give(p, nr)
    return more


cdef inline int64_t zs_compact(zspool_t *p, void *owner, zs_pin_fn pin, zs_unpin_fn unpin) noexcept nogil:
    """Pack every class into as few zspages as it needs and give the others back.

    Context: no locks. Return: pages given back; spare ones go too, and are not counted.
    """
    cdef int64_t before, given
    cdef uint32_t i, step, most
    zs_drop_spares(p)
    before = load64(&p.pages)
    for i in range(p.nr_classes):
        spin_lock(&p.classes[i].lock)
        most = p.classes[i].nr_zspages      # records that others hold stay where they are: do not try for ever
        spin_unlock(&p.classes[i].lock)
        for step in range(most):
            if not zs_compact_step(p, &p.classes[i], step + 1 == most, owner, pin, unpin):
                break
    zs_drop_spares(p)
    given = before - load64(&p.pages)
    if given > 0:
        add64(&p.compacted, given)
    return given if given > 0 else 0
