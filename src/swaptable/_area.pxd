# A swap area: one device's clusters, lists and cursors; the slot allocator, users, swap cache, look-up.
# Imports words, locks, clusters, the table pool.
# Used by the core only; the layout is private.
from libc.errno cimport EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, EOVERFLOW
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from swaptable._atomic cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._pool cimport *

cdef extern from *:
    """
    #define MAX_SLOTS 0xffffffffULL
    #ifndef SWAPTABLE_AREA
    #define SWAPTABLE_AREA
    #define BLOCK 8         /* slots that a look-up compares at once */
    static inline int same_cluster(const int64_t *slots) {
        uint64_t differ = slots[0] ^ slots[BLOCK - 1];
        if (differ >> 9) return 0;
        for (int i = 1; i < BLOCK - 1; i++) differ |= slots[0] ^ slots[i];
        return differ >> 9 == 0;
    }
    #endif
    """
    const uint64_t MAX_SLOTS
    const int BLOCK
    int same_cluster(const int64_t *slots) noexcept nogil

cdef extern from "<stdlib.h>":
    void *aligned_alloc(size_t alignment, size_t size) noexcept nogil

cdef enum:
    MAX_CPUS = 8192
    NO_CURSOR = -1
    READ_BATCH = 4096       # slots that a reader looks up before it lets an epoch pass
    AHEAD_READ = 24         # prefetch distances, in elements
    AHEAD_WRITE = 16
    PARTS = 8               # of the count of used slots

cdef enum:
    OP_FREE, OP_DUP, OP_PUT, OP_CACHE_ADD, OP_CACHE_DEL, OP_WRITEOUT, OP_ZERO_SET, OP_ZERO_CLEAR, OP_RECLAIM

cdef struct list_t:
    uint32_t head           # read without the lock to skip empty lists
    uint32_t tail
    uint32_t nr

cdef struct area_t
# Asks whoever owns folio *pfn* to let go of its nr slots, which only the swap cache holds; true when it does.
ctypedef int (*reclaim_t)(void *arg, int64_t slot, int nr, uint64_t pfn) noexcept nogil
# Tells a list of devices that one of its own became full, or is full no longer.
ctypedef void (*fullness_t)(void *devices, int kind) noexcept nogil
# Is more than half of all swap of a list used?
ctypedef bint (*half_used_t)(void *devices) noexcept nogil

cdef struct cpu_t:          # its lock is the first in the order cursor, cluster, list
    uint8_t lock
    int64_t next[ORDERS]    # slot after the last allocation, or NO_CURSOR
    area_t *dev[ORDERS]     # the device of that slot
    uint8_t pad[24]

cdef struct part_t:         # one line of a count, so that threads in clusters of their own share none
    int64_t nr
    uint8_t pad[56]

cdef struct area_t:
    # constant once made
    uint64_t **tables       # NULL: the cluster has no table, every word is NULL
    cluster_t *clusters
    uint64_t slots
    uint32_t nr_clusters
    int cpus
    bint block
    bint rotational
    bint discard
    bint grows
    cpu_t *cpu
    int64_t usable
    reclaim_t reclaim       # or NULL
    void *reclaim_arg
    # of the list of devices that the area is in, if any; under devices_lock
    uint8_t devices_lock
    int kind
    void *devices
    fullness_t fullness
    half_used_t half_used
    uint8_t pad0[64]
    # under list_lock
    uint8_t list_lock
    uint32_t fresh          # clusters from here on were never used: the head of the free list
    list_t free_list
    list_t full
    list_t discards
    list_t nonfull[ORDERS]
    list_t frag[ORDERS]
    uint64_t lists_taken    # how often this lock was taken, and found taken, by anybody
    uint64_t lists_waited
    uint64_t *touched       # bit per page of the cluster array
    uint64_t touched_bytes  # of cluster array and table pointers
    uint8_t pad1[64]
    # atomic
    part_t used[PARTS]      # by cluster
    uint32_t searches       # that dropped their cursor lock to ask an owner, and go on
    uint32_t off_list       # full, and off the list of devices for that: whoever frees must tell
    int64_t extend_bytes
    uint8_t pad2[64]
    cpu_t global_cpu        # the cursors of a rotational device
    pool_t pool

# What a batch asks of the allocator.
cdef struct request_t:
    int order
    uint64_t word
    const uint64_t *pfns
    int64_t *out
    int64_t n
    int64_t done
    uint8_t *held[2]        # cursor locks that are held, to be dropped while an owner is asked
    area_t *pinned          # asks an owner, or did: not to be removed until the search ends
    bint reclaimed          # an owner let go of slots
    bint retried


# ---- lists: every change under the list lock, and under the lock of the cluster that moves

cdef inline void list_add_tail(area_t *t, list_t *l, uint32_t i) noexcept nogil:
    t.clusters[i].prev = l.tail
    t.clusters[i].next = NO_CLUSTER
    if l.tail == NO_CLUSTER:
        poke32(&l.head, i)
    else:
        t.clusters[l.tail].next = i
    l.tail = i
    poke32(&l.nr, l.nr + 1)


cdef inline void list_del(area_t *t, list_t *l, uint32_t i) noexcept nogil:
    cdef uint32_t prev = t.clusters[i].prev, next = t.clusters[i].next
    if prev == NO_CLUSTER:
        poke32(&l.head, next)
    else:
        t.clusters[prev].next = next
    if next == NO_CLUSTER:
        l.tail = prev
    else:
        t.clusters[next].prev = prev
    poke32(&l.nr, l.nr - 1)


cdef inline list_t *list_of(area_t *t, int kind, int order) noexcept nogil:
    if kind == LIST_NONFULL:
        return &t.nonfull[order]
    if kind == LIST_FRAG:
        return &t.frag[order]
    if kind == LIST_FULL:
        return &t.full
    if kind == LIST_FREE:
        return &t.free_list
    return &t.discards if kind == LIST_DISCARD else NULL


cdef inline void lock_lists(area_t *t, swap_stat_t *st) noexcept nogil:
    cdef uint32_t waited = spin_lock(&t.list_lock)
    t.lists_taken += 1
    t.lists_waited += waited
    st.lock_waits += waited
    st.list_locks += 1


cdef inline void lock_cluster(cluster_t *ci, swap_stat_t *st) noexcept nogil:
    st.lock_waits += spin_lock(&ci.lock)
    st.cluster_locks += 1


cdef inline void cluster_move(area_t *t, uint32_t i, int kind, int old_order, swap_stat_t *st) noexcept nogil:
    """Move a cluster to the tail of another list. Context: its lock; takes and drops the list lock."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef list_t *old
    lock_lists(t, st)
    old = list_of(t, ci.list, old_order)
    if old != NULL:
        list_del(t, old, i)
    ci.list = kind
    list_add_tail(t, list_of(t, kind, ci.order), i)
    spin_unlock(&t.list_lock)


cdef inline uint32_t isolate(area_t *t, list_t *l, swap_stat_t *st) noexcept nogil:
    """Take the first cluster off a list that nobody holds; NO_CLUSTER, or the cluster, locked."""
    cdef uint32_t i
    if peek32(&l.head) == NO_CLUSTER:
        return NO_CLUSTER
    lock_lists(t, st)
    i = l.head
    # Other paths take the cluster before the list: here only a trylock cannot deadlock.
    while i != NO_CLUSTER and not spin_trylock(&t.clusters[i].lock):
        st.lock_waits += 1
        i = t.clusters[i].next
    if i != NO_CLUSTER:
        list_del(t, l, i)
        t.clusters[i].list = LIST_NONE
        st.cluster_locks += 1
    spin_unlock(&t.list_lock)
    return i


cdef inline void touch_locked(area_t *t, uint32_t i) noexcept nogil:
    """Count the memory of cluster *i*'s structure and table pointer. Context: list lock."""
    cdef uint32_t page = i >> 6
    cdef uint64_t word = t.touched[page >> 6]
    if word >> (page & 63) & 1 == 0:
        t.touched_bytes += 4096
        if word >> (page & 56) & 255 == 0:      # 8 pages of structures share one page of pointers
            t.touched_bytes += 4096
        t.touched[page >> 6] = word | <uint64_t>1 << (page & 63)


cdef inline uint32_t isolate_fresh(area_t *t, swap_stat_t *st) noexcept nogil:
    """The next cluster that was never used, locked; NO_CLUSTER when the device has no more."""
    cdef uint32_t i
    cdef cluster_t *ci
    if peek32(&t.fresh) >= t.nr_clusters:
        return NO_CLUSTER
    lock_lists(t, st)
    i = t.fresh
    while i < t.nr_clusters and t.clusters[i].list != LIST_UNTOUCHED:   # those with bad slots
        i += 1
    if i < t.nr_clusters:
        touch_locked(t, i)
        poke32(&t.fresh, i + 1)
    else:
        poke32(&t.fresh, i)
        i = NO_CLUSTER
    spin_unlock(&t.list_lock)
    if i != NO_CLUSTER:
        ci = &t.clusters[i]
        lock_cluster(ci, st)
        ci.list = LIST_NONE
        ci.any_free = ci.all_free = <uint64_t>-1
    return i


cdef inline void tell_fullness(area_t *t) noexcept nogil:
    # The lock keeps the list from going away meanwhile.
    spin_lock(&t.devices_lock)
    if t.devices != NULL:
        t.fullness(t.devices, t.kind)
    spin_unlock(&t.devices_lock)


cdef inline int64_t used_of(area_t *t) noexcept nogil:
    """Slots in use; beside other threads, of slightly different moments."""
    cdef int64_t used = 0
    cdef int i
    for i in range(PARTS):
        used += load64(&t.used[i].nr)
    return used


cdef inline void used_add(area_t *t, int64_t n, int64_t slot) noexcept nogil:
    """Count slots taken or given back, the first of them *slot*. Context: no cluster or list lock.

    Whoever takes a device off the list sets off_list and then looks at the count again; here the count
    changes first. One of the two sees the other.
    """
    add64(&t.used[(slot >> CLUSTER_SHIFT) & (PARTS - 1)].nr, n)
    if load_ptr(&t.devices) != NULL and (load32(&t.off_list) != 0 if n < 0 else used_of(t) >= t.usable):
        tell_fullness(t)


cdef inline bint swap_full(area_t *t) noexcept nogil:
    """More than half of all swap is used: slots that only the swap cache holds are worth asking for."""
    cdef bint half
    spin_lock(&t.devices_lock)
    half = t.half_used(t.devices) if t.devices != NULL else used_of(t) * 2 > t.usable
    spin_unlock(&t.devices_lock)
    return half


# ---- allocation, by the kernel's rules (mm/swapfile.c, cluster_alloc_swap_entry, 6.18)

cdef inline int64_t cluster_scan(area_t *t, uint32_t i, unsigned int off, request_t *r) noexcept nogil:
    """Serve *r* from cluster *i*, from slot *off* of it on. Context: cluster lock, the cluster has its table.

    Return: the next cursor.
    """
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef int64_t first = <int64_t>i << CLUSTER_SHIFT, begin = r.done, taken
    cdef unsigned int nr = 1u << r.order
    cdef int at = off
    cdef uint64_t word
    if r.order == 0:
        r.done += take_singles(ci, words, off, r.word, NULL if r.pfns == NULL else r.pfns + r.done, first, r.out + r.done, r.n - r.done)
        at = <int>(r.out[r.done - 1] - first) if r.done > begin else -1
    while r.order and r.done < r.n:
        word = r.word if r.pfns == NULL else r.word | (r.pfns[r.done] << 2)
        at = take_small(ci, words, off, r.order, word) if r.order < 3 else take_large(ci, words, off, r.order, word)
        if at < 0:
            break
        r.out[r.done] = first + at
        r.done += 1
        off = at + nr
    taken = (r.done - begin) * nr
    ci.count += taken
    if r.done < r.n or at < 0 or ci.count == CLUSTER_SLOTS or at + 2 * nr > CLUSTER_SLOTS:
        return NO_CURSOR
    return first + at + nr


cdef inline void take_at(cluster_t *ci, uint64_t *words, unsigned int off, int order, uint64_t word) noexcept nogil:
    """Take the run of *order* at slot *off*, which is free. Context: cluster lock."""
    cdef unsigned int i
    if order > 2:
        take_large(ci, words, off, order, word)
        return
    for i in range(off, off + (1u << order)):
        store_relaxed(words + i, word)
    line_changed(ci, words, off)


cdef inline int reclaimable(const uint64_t *words, unsigned int off, unsigned int nr) noexcept nogil:
    """0: some slot of the run has users; 1: all are free; 2: the swap cache alone holds some. Context: cluster lock."""
    cdef unsigned int i
    cdef int state = 1
    for i in range(off, off + nr):
        if words[i] == 0:
            continue
        if not swp_tb_is_folio(words[i]) or swp_tb_count(words[i]):
            return 0
        state = 2
    return state


cdef inline unsigned int folio_of(const uint64_t *words, unsigned int off, unsigned int *first, bint *idle) noexcept nogil:
    """The slots around *off* that one folio holds: first and end; *idle* when none has users. Context: cluster lock.

    A folio is known by its pfn; pfn 0 is nobody's in particular, and each such slot stands alone.
    """
    cdef uint64_t pfn = swp_tb_pfn(words[off])
    cdef unsigned int end = off + 1, i
    first[0] = off
    while pfn and first[0] > 0 and swp_tb_is_folio(words[first[0] - 1]) and swp_tb_pfn(words[first[0] - 1]) == pfn:
        first[0] -= 1
    while pfn and end < CLUSTER_SLOTS and swp_tb_is_folio(words[end]) and swp_tb_pfn(words[end]) == pfn:
        end += 1
    idle[0] = True
    for i in range(first[0], end):
        idle[0] = idle[0] and swp_tb_count(words[i]) == 0
    return end


cdef inline unsigned int ask_owner(area_t *t, uint32_t i, unsigned int off, request_t *r, swap_stat_t *st) noexcept nogil:
    """Free the slots of a folio that only the swap cache holds, if its owner lets go.

    Context: cluster lock; dropped while the owner is asked, like the cursor's.
    Return: the slot after the folio; 0 when the cluster is not what it was.
    """
    cdef cluster_t *ci = &t.clusters[i]
    cdef unsigned int first
    cdef bint idle
    cdef unsigned int end = folio_of(t.tables[i], off, &first, &idle)
    cdef int64_t slot = (<int64_t>i << CLUSTER_SHIFT) + first
    cdef uint64_t pfn = swp_tb_pfn(t.tables[i][off])
    cdef int order = ci.order, k
    if not idle:
        return end
    if r.pinned == NULL:
        add32(&t.searches, 1)
        r.pinned = t
    spin_unlock(&ci.lock)
    for k in range(1, -1, -1):
        if r.held[k] != NULL:
            spin_unlock(r.held[k])
    if t.reclaim(t.reclaim_arg, slot, <int>(end - first), pfn):
        update_one(t, OP_RECLAIM, slot, <int>(end - first), pfn, NULL, st)
        r.reclaimed = True      # by us, or by the owner itself
    for k in range(2):
        if r.held[k] != NULL:
            st.lock_waits += spin_lock(r.held[k])
    lock_cluster(ci, st)
    return end if t.tables[i] != NULL and ci.order == order else 0


cdef inline bint ask_owners(area_t *t, uint32_t i, unsigned int off, unsigned int nr, request_t *r, swap_stat_t *st) noexcept nogil:
    """`ask_owner` for every folio in a run of slots that only the swap cache holds. Return: false when the cluster changed."""
    cdef unsigned int end = off + nr
    while off < end:
        if not swp_tb_is_folio(t.tables[i][off]) or swp_tb_count(t.tables[i][off]):
            off += 1
            continue
        off = ask_owner(t, i, off, r, st)
        if off == 0:
            return False
    return True


cdef inline void unpin(request_t *r) noexcept nogil:
    """The search on a device ends. Context: the cursor lock."""
    if r.pinned != NULL:
        add32(&r.pinned.searches, -1)
        r.pinned = NULL


cdef inline int64_t reclaim_scan(area_t *t, uint32_t i, unsigned int off, request_t *r, swap_stat_t *st) noexcept nogil:
    """As `cluster_scan`, but a run counts as free if those who hold it in the swap cache let go of it."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef unsigned int nr = 1u << r.order
    cdef int state
    while r.done < r.n:
        state = 0
        while off + nr <= CLUSTER_SLOTS:
            state = reclaimable(t.tables[i], off, nr)
            if state == 2:
                if not ask_owners(t, i, off, nr, r, st):
                    return NO_CURSOR
                state = reclaimable(t.tables[i], off, nr)
            if state == 1:
                break
            off += nr
        if off + nr > CLUSTER_SLOTS:
            return NO_CURSOR
        take_at(ci, t.tables[i], off, r.order, r.word if r.pfns == NULL else r.word | (r.pfns[r.done] << 2))
        ci.count += nr
        r.out[r.done] = (<int64_t>i << CLUSTER_SHIFT) + off
        r.done += 1
        off += nr
    return NO_CURSOR if ci.count == CLUSTER_SLOTS or off + nr > CLUSTER_SLOTS else (<int64_t>i << CLUSTER_SHIFT) + off


cdef inline void reclaim_full_cluster(area_t *t, request_t *r, swap_stat_t *st) noexcept nogil:
    """Ask the owners of what only the swap cache holds in the first full cluster."""
    cdef uint32_t i = isolate(t, &t.full, st)
    cdef cluster_t *ci
    if i == NO_CLUSTER:
        return
    ci = &t.clusters[i]
    st.visited += 1
    ask_owners(t, i, 0, CLUSTER_SLOTS, r, st)
    if ci.count < CLUSTER_SLOTS:
        r.reclaimed = True
    if t.tables[i] != NULL and ci.list == LIST_NONE:
        cluster_move(t, i, LIST_FULL if ci.count == CLUSTER_SLOTS else LIST_NONFULL, ci.order, st)
    spin_unlock(&ci.lock)


cdef inline int64_t scan(area_t *t, cpu_t *c, uint32_t i, unsigned int off, request_t *r, swap_stat_t *st) noexcept nogil:
    """Serve *r* from cluster *i*, from slot *off* on; relocate the cluster and unlock it. Return: how many runs."""
    cdef int64_t begin = r.done, next
    st.visited += 1
    if t.reclaim != NULL and swap_full(t):
        next = reclaim_scan(t, i, off, r, st)
    else:
        next = cluster_scan(t, i, off, r)
    c.next[r.order] = next
    # A device that left its list while an owner was asked is no cursor's any more.
    c.dev[r.order] = t if load_ptr(&t.devices) != NULL else NULL
    after_scan(t, i, st)
    return r.done - begin


cdef inline void after_scan(area_t *t, uint32_t i, swap_stat_t *st) noexcept nogil:
    """Relocate a cluster that was scanned, with or without success, and unlock it."""
    cdef cluster_t *ci = &t.clusters[i]
    if t.tables[i] == NULL:
        pass                    # emptied while an owner was asked, and on its list since
    elif ci.count == CLUSTER_SLOTS:
        if ci.list != LIST_FULL:
            cluster_move(t, i, LIST_FULL, ci.order, st)
    elif ci.list != LIST_FRAG:
        cluster_move(t, i, LIST_FRAG, ci.order, st)
    spin_unlock(&ci.lock)


cdef inline bint visit_empty(area_t *t, cpu_t *c, uint32_t i, request_t *r, swap_stat_t *st) noexcept nogil:
    """Give a free cluster, locked and on no list, its table and the request's order; then scan it."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *table
    if i == NO_CLUSTER:
        return False
    spin_unlock(&ci.lock)
    table = pool_get(&t.pool)
    lock_cluster(ci, st)
    store_ptr(&t.tables[i], table)
    ci.order = r.order
    return scan(t, c, i, 0, r, st) > 0


cdef inline bint search_nonfull(area_t *t, cpu_t *c, request_t *r, swap_stat_t *st) noexcept nogil:
    cdef uint32_t i
    if r.order == PMD_ORDER:
        return False
    while True:
        i = isolate(t, &t.nonfull[r.order], st)
        if i == NO_CLUSTER:
            return False
        if scan(t, c, i, 0, r, st):
            return True


cdef inline bint search_free(area_t *t, cpu_t *c, request_t *r, swap_stat_t *st) noexcept nogil:
    # A device of fixed size has its untouched tail at the head of the list, where swapon put it;
    # one that grows uses what it has first.
    if not t.grows and visit_empty(t, c, isolate_fresh(t, st), r, st):
        return True
    return visit_empty(t, c, isolate(t, &t.free_list, st), r, st)


cdef inline bint search_list(area_t *t, cpu_t *c, list_t *l, request_t *r, swap_stat_t *st) noexcept nogil:
    """Every cluster of a list, once: those without room go to the tail of a frag list, maybe this one."""
    cdef uint32_t i, left = peek32(&l.nr)
    while left:
        left -= 1
        i = isolate(t, l, st)
        if i == NO_CLUSTER:
            return False
        if scan(t, c, i, 0, r, st):
            return True
    return False


cdef inline bint search(area_t *t, cpu_t *c, request_t *r, swap_stat_t *st) noexcept nogil:
    """Go through the device's lists until one cluster has room; the order of them is the kernel's."""
    cdef int o
    cdef uint32_t i
    if t.discard:
        if search_free(t, c, r, st) or search_nonfull(t, c, r, st):
            return True
    elif search_nonfull(t, c, r, st) or search_free(t, c, r, st):
        return True
    if t.reclaim != NULL and swap_full(t):
        reclaim_full_cluster(t, r, st)
    if r.order < PMD_ORDER:
        i = isolate(t, &t.frag[r.order], st)        # one, the head
        if i != NO_CLUSTER and scan(t, c, i, 0, r, st):
            return True
    if t.grows and visit_empty(t, c, isolate_fresh(t, st), r, st):
        return True
    if r.order == 0:
        for o in range(1, ORDERS):
            if search_list(t, c, &t.frag[o], r, st) or search_list(t, c, &t.nonfull[o], r, st):
                return True
    return False


cdef inline void from_cursor(area_t *t, cpu_t *c, request_t *r, swap_stat_t *st) noexcept nogil:
    """Serve *r* from the cursor's cluster, if that is partly used and of the right order."""
    cdef int64_t at = c.next[r.order]
    cdef uint32_t i
    cdef cluster_t *ci
    if at == NO_CURSOR:
        return
    i = <uint32_t>(at >> CLUSTER_SHIFT)
    ci = &t.clusters[i]
    lock_cluster(ci, st)
    if (ci.list == LIST_NONFULL or ci.list == LIST_FRAG) and (r.order == 0 or ci.order == r.order):
        scan(t, c, i, at & (CLUSTER_SLOTS - 1), r, st)
    else:
        spin_unlock(&ci.lock)


cdef inline bint alloc_step(area_t *t, cpu_t *c, request_t *r, bint cursor, swap_stat_t *st) noexcept nogil:
    """Serve some of *r* from the cursor or by a search. Context: the cursor's lock. Return: whether there was room."""
    cdef int64_t begin = r.done
    if cursor:
        from_cursor(t, c, r, st)
    if r.done == begin:
        search(t, c, r, st)
    if r.done == begin:
        return False
    r.retried = False
    st.words += (r.done - begin) << r.order
    used_add(t, (r.done - begin) << r.order, r.out[begin])
    return True


cdef inline void request_begin(request_t *r, uint8_t *lock) noexcept nogil:
    r.held[0], r.held[1], r.pinned, r.reclaimed, r.retried = lock, NULL, NULL, False, False


cdef inline bint once_more(request_t *r) noexcept nogil:
    """A request that found nothing is tried again if owners let go of slots: the kernel's worker would have run meanwhile."""
    cdef bint again = r.reclaimed and not r.retried
    r.reclaimed = False
    r.retried = True
    return again


cdef inline int alloc_runs(area_t *t, int cpu, request_t *r, swap_stat_t *st) noexcept nogil:
    """Serve *r*, all of it or until the device has no room at its order.

    Context: takes and drops the CPU's cursor lock, cluster and list locks. Return: 0 or -ENOSPC.
    """
    cdef cpu_t *c = &t.global_cpu if t.rotational else &t.cpu[cpu]
    if r.order and not t.block:
        return -ENOSPC
    request_begin(r, &c.lock)
    st.lock_waits += spin_lock(&c.lock)
    while r.done < r.n and (alloc_step(t, c, r, True, st) or once_more(r)):
        pass
    unpin(r)
    spin_unlock(&c.lock)
    return 0 if r.done == r.n else -ENOSPC


# ---- users, the swap cache, freeing

cdef inline void extend_clear(cluster_t *ci, unsigned int off) noexcept nogil:
    """The count of slot *off* fits in its word again. Context: cluster lock."""
    ci.extend[off] = 0
    ci.nr_extend -= 1           # the table goes with the last, once the lock is dropped: update_cluster


cdef inline uint64_t count_of(cluster_t *ci, uint64_t word, unsigned int off) noexcept nogil:
    return ci.extend[off] if swp_tb_count(word) == COUNT_MAX else swp_tb_count(word)


cdef inline void slot_clear(cluster_t *ci, uint64_t *words, unsigned int off) noexcept nogil:
    """Make one slot free. Context: cluster lock."""
    if swp_tb_count(words[off]) == COUNT_MAX:
        extend_clear(ci, off)
    store_relaxed(words + off, 0)
    slot_freed(ci, words, off)
    ci.count -= 1


cdef inline void free_run(cluster_t *ci, uint64_t *words, unsigned int off, unsigned int nr) noexcept nogil:
    """Make a run of slots free, all of which have users or are cached. Context: cluster lock."""
    cdef unsigned int end = off + nr
    cdef uint64_t bits
    while off < end:
        if off & 7 or end - off < 8 or ci.nr_extend:
            slot_clear(ci, words, off)
            off += 1
            continue
        nr = (end - off) & ~7u
        fill_lines(words + off, 0, nr >> 3)
        bits = line_bits(off, nr)
        ci.any_free |= bits
        ci.all_free |= bits
        ci.count -= nr
        off += nr


cdef inline int64_t free_many(cluster_t *ci, uint64_t *words, const int64_t *slots, int64_t k, int64_t n, int nr, int *err) noexcept nogil:
    """Free the runs from element *k* on that follow one another in the cluster. Context: cluster lock. Return: how many."""
    cdef unsigned int off = slots[k] & (CLUSTER_SLOTS - 1)
    cdef int64_t most = (CLUSTER_SLOTS - off) // <unsigned int>nr, m = 1
    if most > n - k:
        most = n - k
    while m < most and slots[k + m] == slots[k + m - 1] + nr:
        m += 1
    if most and run_in_use(words + off, <int>m * nr):
        free_run(ci, words, off, <unsigned int>m * nr)
        return m
    # One of them is not in use: one by one, up to it.
    if most == 0:
        err[0] = -EINVAL
        return 0
    err[0] = check_run(ci, words, off, nr, OP_FREE, 0)
    if err[0]:
        return 0
    free_run(ci, words, off, nr)
    return 1


cdef inline int word_error(uint64_t word) noexcept nogil:
    """Why a word without users is refused."""
    return -ENOENT if word == 0 else -EINVAL


cdef inline void set_count(cluster_t *ci, uint64_t *words, unsigned int off, uint64_t count) noexcept nogil:
    """Write a slot's count, in its word or in the overflow table. Context: cluster lock."""
    cdef uint64_t word = words[off]
    cdef bint was = swp_tb_count(word) == COUNT_MAX
    if count >= COUNT_MAX:
        ci.nr_extend += not was
        ci.extend[off] = <uint32_t>count
        count = COUNT_MAX
    store_relaxed(words + off, swp_tb_with_count(word, <unsigned int>count))
    if was and count < COUNT_MAX:
        extend_clear(ci, off)


cdef inline int check_run(cluster_t *ci, const uint64_t *words, unsigned int off, int nr, int op, uint64_t arg) noexcept nogil:
    """May *op* be done to every slot of the run? Context: cluster lock. Return: 0 or -errno."""
    cdef unsigned int i
    cdef uint64_t word, count
    for i in range(off, off + nr):
        word = words[i]
        if not swp_tb_counts(word):
            return word_error(word)
        if op == OP_DUP:
            count = count_of(ci, word, i) + arg
            if count > USERS_MAX:
                return -EOVERFLOW
            if count >= COUNT_MAX and ci.extend == NULL:
                return -ENOMEM
        elif op == OP_PUT and count_of(ci, word, i) < arg:
            return -ENOENT
        elif op == OP_CACHE_ADD and swp_tb_is_folio(word):
            return -EEXIST
        elif (op == OP_CACHE_DEL or op == OP_WRITEOUT) and not swp_tb_is_folio(word):
            return -ENOENT
        elif op == OP_RECLAIM and (not swp_tb_is_folio(word) or swp_tb_count(word) or swp_tb_pfn(word) != arg):
            return -EBUSY
    return 0


cdef inline int apply_one(cluster_t *ci, uint64_t *words, unsigned int off, int op, uint64_t arg, uint64_t *old) noexcept nogil:
    """Do *op* to one slot that `check_run` passed. Context: cluster lock. Return: 1 when the slot became free."""
    cdef uint64_t word = words[off]
    cdef unsigned int count = swp_tb_count(word)
    if op == OP_DUP:
        if count + arg < COUNT_MAX:
            store_relaxed(words + off, word + arg * COUNT_ONE)
        else:
            set_count(ci, words, off, count_of(ci, word, off) + arg)
    elif op == OP_PUT:
        if count == arg and swp_tb_is_shadow(word) and count < COUNT_MAX:
            slot_clear(ci, words, off)
            return 1
        if count < COUNT_MAX:
            store_relaxed(words + off, word - arg * COUNT_ONE)
        else:
            return put_extended(ci, words, off, arg)
    elif op == OP_CACHE_ADD:
        if old != NULL:
            old[0] = word
        store_relaxed(words + off, swp_tb_cached(word, arg))
    elif op == OP_CACHE_DEL:
        if count == 0:
            slot_clear(ci, words, off)
            return 1
        store_relaxed(words + off, swp_tb_uncached(word, arg))
    elif op == OP_RECLAIM:
        slot_clear(ci, words, off)
        return 1
    else:
        store_relaxed(words + off, word | ZERO_BIT if op == OP_ZERO_SET else word & ~ZERO_BIT)
    return 0


cdef inline int put_extended(cluster_t *ci, uint64_t *words, unsigned int off, uint64_t users) noexcept nogil:
    cdef uint64_t count = ci.extend[off] - users
    if count == 0 and swp_tb_is_shadow(words[off]):
        slot_clear(ci, words, off)
        return 1
    set_count(ci, words, off, count)
    return 0


cdef inline uint64_t *after_free(area_t *t, uint32_t i, swap_stat_t *st) noexcept nogil:
    """Relocate a cluster that got slots back. Context: cluster lock. Return: the table it no longer needs."""
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *table = NULL
    cdef int order = ci.order
    if ci.count == 0:
        table = t.tables[i]
        store_ptr(&t.tables[i], NULL)
        ci.order = 0
        cluster_move(t, i, LIST_DISCARD if t.discard else LIST_FREE, order, st)
    elif ci.list != LIST_NONFULL:
        cluster_move(t, i, LIST_NONFULL, order, st)
    return table


cdef struct update_t:       # one operation on runs of nr slots
    int op
    int nr
    uint64_t arg            # users, pfn or shadow
    uint64_t most           # the largest that fits
    const uint64_t *args    # one per run, in the place of arg
    uint64_t *old           # cache_add: the words replaced, nr per run


cdef inline int update_alike(cluster_t *ci, uint64_t *words, unsigned int off, update_t *u, uint64_t arg, int64_t k) noexcept nogil:
    """Do *u* to a run whose words are all of a kind and of small counts, as a folio's are. Context: cluster lock.

    Return: 0 when they are not (nothing was done), 1 when done, 2 when the slots became free.
    """
    cdef run_t run = run_of(words + off, u.nr)
    cdef bint folio = run.any & 1 == 0 and run.all & 2 != 0, shadow = run.all & 1 != 0
    cdef uint64_t stays = COUNT_MASK | ZERO_BIT | MEMCG_MASK
    if run.high == COUNT_MAX or not (folio or shadow):
        return 0
    if u.op == OP_DUP and arg < COUNT_MAX and run.high + arg < COUNT_MAX:
        run_write(words + off, u.nr, <uint64_t>-1, 0, arg * COUNT_ONE)
    elif u.op == OP_PUT and folio and run.low >= arg or u.op == OP_PUT and shadow and run.low > arg:
        run_write(words + off, u.nr, <uint64_t>-1, 0, 0 - arg * COUNT_ONE)
    elif u.op == OP_PUT and shadow and run.low == arg and run.high == arg or u.op == OP_CACHE_DEL and folio and run.high == 0:
        free_run(ci, words, off, <unsigned int>u.nr)
        return 2
    elif u.op == OP_CACHE_ADD and shadow:
        if u.old != NULL:
            memcpy(u.old + k * u.nr, words + off, u.nr * sizeof(uint64_t))
        run_write(words + off, u.nr, stays, (arg << 2) | 2, 0)
    elif u.op == OP_WRITEOUT and folio:
        run_write(words + off, u.nr, ~ZERO_BIT, 0, 0)
    elif u.op == OP_CACHE_DEL and folio and run.low:
        run_write(words + off, u.nr, stays, (arg << 1) | 1, 0)
    else:
        return 0
    return 1


cdef inline int update_run(cluster_t *ci, uint64_t *words, int64_t slot, update_t *u, int64_t k, int64_t *freed) noexcept nogil:
    """Do *u* to one run, all of it or nothing. Context: cluster lock. Return: 0 or -errno."""
    cdef unsigned int off = slot & (CLUSTER_SLOTS - 1), i
    cdef uint64_t arg = u.arg if u.args == NULL else u.args[k]
    cdef int err
    if off + <unsigned int>u.nr > CLUSTER_SLOTS or arg > u.most:
        return -EINVAL
    if u.nr > 1:
        i = update_alike(ci, words, off, u, arg, k)
        if i:
            freed[0] += u.nr if i == 2 else 0
            return 0
    err = check_run(ci, words, off, u.nr, u.op, arg)
    if err:
        return err
    for i in range(<unsigned int>u.nr):
        freed[0] += apply_one(ci, words, off + i, u.op, arg, NULL if u.old == NULL else u.old + k * u.nr + i)
    return 0


cdef inline void prefetch_slot(area_t *t, int64_t slot) noexcept nogil:
    if <uint64_t>slot < t.slots:
        prefetch_write(&t.clusters[slot >> CLUSTER_SHIFT])
        prefetch_write(<uint64_t *>load_ptr(&t.tables[slot >> CLUSTER_SHIFT]) + (slot & (CLUSTER_SLOTS - 1)))


cdef inline int64_t update_cluster(area_t *t, const int64_t *slots, int64_t k, int64_t n, update_t *u, int *err, int64_t *freed, uint32_t **spare,
                            swap_stat_t *st) noexcept nogil:
    """Update the runs from element *k* on that lie in one cluster, under one lock. Return: the element after them."""
    cdef uint32_t i = <uint32_t>(slots[k] >> CLUSTER_SHIFT)
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words
    cdef uint32_t *drop = NULL
    cdef int64_t before = freed[0], begin = k, runs
    # No table, no slot in use: and no page of the cluster array is touched to find that out.
    if load_ptr(&t.tables[i]) == NULL:
        err[0] = -ENOENT if (slots[k] & (CLUSTER_SLOTS - 1)) + u.nr <= CLUSTER_SLOTS else -EINVAL
        return k
    lock_cluster(ci, st)
    words = t.tables[i]
    if spare[0] != NULL and ci.extend == NULL and words != NULL:
        ci.extend = spare[0]
        spare[0] = NULL
        add64(&t.extend_bytes, CLUSTER_SLOTS * 4)
    err[0] = 0 if words != NULL else -ENOENT
    while err[0] == 0 and k < n and <uint64_t>slots[k] < t.slots and slots[k] >> CLUSTER_SHIFT == i and k < begin + CLUSTER_SLOTS:
        if u.op == OP_FREE:
            runs = free_many(ci, words, slots, k, n, u.nr, err)
            freed[0] += runs * u.nr
            k += runs
        else:
            err[0] = update_run(ci, words, slots[k], u, k, freed)
            k += err[0] == 0
        if k + AHEAD_WRITE < n and slots[k + AHEAD_WRITE] >> CLUSTER_SHIFT != i:
            prefetch_slot(t, slots[k + AHEAD_WRITE])
    st.words += (k - begin) * u.nr
    if ci.nr_extend == 0 and ci.extend != NULL:     # installed, then not needed
        drop = ci.extend
        ci.extend = NULL
        add64(&t.extend_bytes, -CLUSTER_SLOTS * 4)
    words = after_free(t, i, st) if freed[0] != before else NULL
    spin_unlock(&ci.lock)
    free(drop)
    if words != NULL:
        pool_put(&t.pool, words)
    return k


cdef inline uint64_t most_of(int op) noexcept nogil:
    """The largest argument of *op* that fits: pfn, shadow or users."""
    return PFN_MAX if op == OP_CACHE_ADD or op == OP_RECLAIM else SHADOW_MAX if op == OP_CACHE_DEL else USERS_MAX


cdef inline uint64_t stepped(uint64_t word, int op, uint64_t arg) noexcept nogil:
    """*word* after *op*; 0 where it takes more than a store: overflow table, freeing, refusal."""
    cdef uint64_t count = swp_tb_count(word)
    if op == OP_CACHE_ADD:
        return swp_tb_cached(word, arg) if swp_tb_is_shadow(word) else 0
    if op == OP_WRITEOUT:
        return word & ~ZERO_BIT if swp_tb_is_folio(word) else 0
    if op == OP_CACHE_DEL:
        return swp_tb_uncached(word, arg) if swp_tb_is_folio(word) and count else 0
    if not swp_tb_counts(word) or count == COUNT_MAX:
        return 0
    if op == OP_DUP:
        return word + arg * COUNT_ONE if count + arg < COUNT_MAX else 0
    return word - arg * COUNT_ONE if count > arg or (count == arg and swp_tb_is_folio(word)) else 0


cdef inline bint frees(uint64_t word, int op, uint64_t arg) noexcept nogil:
    """Does *op* free a slot of that word, with nothing in the overflow table?"""
    cdef uint64_t count = swp_tb_count(word)
    if not swp_tb_counts(word) or count == COUNT_MAX:
        return False
    if op == OP_PUT:
        return count == arg and swp_tb_is_shadow(word)
    return op == OP_FREE or (op == OP_CACHE_DEL and count == 0 and swp_tb_is_folio(word))


cdef inline bint step_locked(area_t *t, int64_t slot, int op, uint64_t arg, uint64_t *old, uint64_t **table, int64_t *freed,
                             swap_stat_t *st) noexcept nogil:
    """Do *op* to one slot if a store is all it takes; *table* is what the cluster no longer needs then. Context: cluster lock."""
    cdef uint32_t i = <uint32_t>(slot >> CLUSTER_SHIFT)
    cdef unsigned int off = slot & (CLUSTER_SLOTS - 1)
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef uint64_t word
    if words == NULL or arg > most_of(op):
        return False
    if frees(words[off], op, arg):
        store_relaxed(words + off, 0)
        slot_freed(ci, words, off)
        ci.count -= 1
        freed[0] += 1
        table[0] = after_free(t, i, st)
        return True
    word = stepped(words[off], op, arg) if op != OP_FREE else 0
    if word:
        if old != NULL:
            old[0] = words[off]
        store_relaxed(words + off, word)
    return word != 0


cdef inline int64_t step_singles(area_t *t, const int64_t *slots, int64_t k, int64_t n, update_t *u, int64_t *freed, swap_stat_t *st) noexcept nogil:
    """Do *u* to slots of ever other clusters, from element *k* on, while a store each is all it takes.

    Context: takes and drops cluster and list locks. Return: the first element that is left to `update_cluster`.
    """
    cdef int64_t begin = k
    cdef uint32_t i
    cdef bint done = True
    cdef uint64_t *table = NULL
    while done and k < n and <uint64_t>slots[k] < t.slots and (k + 1 == n or (slots[k] ^ slots[k + 1]) >> CLUSTER_SHIFT):
        if k + AHEAD_WRITE < n:
            prefetch_slot(t, slots[k + AHEAD_WRITE])
        i = <uint32_t>(slots[k] >> CLUSTER_SHIFT)
        if load_ptr(&t.tables[i]) == NULL:
            break
        st.lock_waits += spin_lock(&t.clusters[i].lock)
        done = step_locked(t, slots[k], u.op, u.arg if u.args == NULL else u.args[k], NULL if u.old == NULL else u.old + k, &table, freed, st)
        spin_unlock(&t.clusters[i].lock)
        if table != NULL:
            pool_put(&t.pool, table)
            table = NULL
        k += done
    st.cluster_locks += k - begin + (not done)
    st.words += k - begin
    return k


cdef inline int update(area_t *t, const int64_t *slots, int64_t n, int64_t *done, update_t *u, swap_stat_t *st) noexcept nogil:
    """Do *u* to every run in turn, until one is refused.

    Context: takes and drops cluster and list locks. Return: 0 or -errno; *done* runs were done.
    """
    cdef int err = -EINVAL if <unsigned int>(u.nr - 1) >= CLUSTER_SLOTS else 0
    cdef int64_t k = 0, freed = 0
    cdef uint32_t *spare = NULL
    cdef bint simple = u.nr == 1 and u.op <= OP_WRITEOUT
    u.most = most_of(u.op)
    while k < n and err == 0:
        if simple:
            k = step_singles(t, slots, k, n, u, &freed, st)
            if k == n:
                break
        if <uint64_t>slots[k] >= t.slots:
            err = -EINVAL
            break
        k = update_cluster(t, slots, k, n, u, &err, &freed, &spare, st)
        if err == -ENOMEM and spare == NULL:
            # The overflow table is made without the lock; then everything is looked at again.
            spare = <uint32_t *>calloc(CLUSTER_SLOTS, 4)
            if spare != NULL:
                err = 0
    free(spare)
    if freed:
        used_add(t, -freed, slots[0])
    done[0] = k
    return err


cdef inline int update_one(area_t *t, int op, int64_t slot, int nr, uint64_t arg, uint64_t *old, swap_stat_t *st) noexcept nogil:
    cdef update_t u
    cdef int64_t done
    if nr == 1 and op <= OP_WRITEOUT and step_one(t, op, slot, arg, old, st):
        return 0
    u.op, u.nr, u.arg, u.args, u.old = op, nr, arg, NULL, old
    return update(t, &slot, 1, &done, &u, st)


cdef inline bint step_one(area_t *t, int op, int64_t slot, uint64_t arg, uint64_t *old, swap_stat_t *st) noexcept nogil:
    """`step_singles` for one slot and nothing else: false leaves it to `update`."""
    cdef cluster_t *ci
    cdef uint64_t *table = NULL
    cdef int64_t freed = 0
    cdef bint done
    if <uint64_t>slot >= t.slots or load_ptr(&t.tables[slot >> CLUSTER_SHIFT]) == NULL:
        return False
    ci = &t.clusters[slot >> CLUSTER_SHIFT]
    lock_cluster(ci, st)
    done = step_locked(t, slot, op, arg, old, &table, &freed, st)
    spin_unlock(&ci.lock)
    if table != NULL:
        pool_put(&t.pool, table)
    if freed:
        used_add(t, -1, slot)
    st.words += done
    return done


# ---- look-up

cdef inline uint64_t area_word(area_t *t, int64_t slot) noexcept nogil:
    """The word of a slot, without a lock; 0 for a slot out of range."""
    cdef uint32_t epoch
    cdef uint64_t *words
    cdef uint64_t word = 0
    if <uint64_t>slot >= t.slots:
        return 0
    epoch = epoch_enter(&t.pool.readers)
    words = <uint64_t *>load_ptr(&t.tables[slot >> CLUSTER_SHIFT])
    if words != NULL:
        word = load_relaxed(words + (slot & (CLUSTER_SLOTS - 1)))
    epoch_exit(&t.pool.readers, epoch)
    return word


cdef inline void prefetch_ahead(area_t *t, const int64_t *slots, int64_t k, int64_t n) noexcept nogil:
    """Ask for the word of the element that is AHEAD_READ after *k*, unless it is in *k*'s cluster. Context: an epoch."""
    cdef int64_t ahead
    if k + AHEAD_READ < n:
        ahead = slots[k + AHEAD_READ]
        if ahead >> CLUSTER_SHIFT != slots[k] >> CLUSTER_SHIFT and <uint64_t>ahead < t.slots:
            prefetch_read(<uint64_t *>load_ptr(&t.tables[ahead >> CLUSTER_SHIFT]) + (ahead & (CLUSTER_SLOTS - 1)))


cdef inline bint lookup_block(area_t *t, const int64_t *slots, uint64_t *out) noexcept nogil:
    """Words of BLOCK slots, if they are all of one cluster that is in range to its end. Context: an epoch."""
    cdef uint64_t *words
    cdef int j
    if not same_cluster(slots) or <uint64_t>(slots[0] | (CLUSTER_SLOTS - 1)) >= t.slots:
        return False
    words = <uint64_t *>load_ptr(&t.tables[slots[0] >> CLUSTER_SHIFT])
    for j in range(BLOCK):
        out[j] = load_relaxed(words + (slots[j] & (CLUSTER_SLOTS - 1))) if words != NULL else 0
    return True


cdef inline int64_t lookup(area_t *t, const int64_t *slots, uint64_t *out, int64_t n) noexcept nogil:
    """Words of many slots, without locks. Return: how many were in range before the first that was not."""
    cdef int64_t k = 0, end
    cdef uint64_t *words
    cdef uint64_t slot
    cdef uint32_t epoch
    while k < n:
        end = n if n - k <= READ_BATCH else k + READ_BATCH
        epoch = epoch_enter(&t.pool.readers)
        while k < end:
            prefetch_ahead(t, slots, k, n)
            if k + BLOCK <= end and lookup_block(t, slots + k, out + k):
                k += BLOCK
                continue
            slot = <uint64_t>slots[k]
            if slot >= t.slots:
                epoch_exit(&t.pool.readers, epoch)
                return k
            words = <uint64_t *>load_ptr(&t.tables[slot >> CLUSTER_SHIFT])
            out[k] = load_relaxed(words + (slot & (CLUSTER_SLOTS - 1))) if words != NULL else 0
            k += 1
        epoch_exit(&t.pool.readers, epoch)
    return n


# ---- discard

cdef inline uint32_t discard_all(area_t *t, swap_stat_t *st) noexcept nogil:
    """Move the clusters that wait for their discard to the free list, in order."""
    cdef uint32_t i, n = 0
    while True:
        i = isolate(t, &t.discards, st)
        if i == NO_CLUSTER:
            return n
        cluster_move(t, i, LIST_FREE, 0, st)
        spin_unlock(&t.clusters[i].lock)
        n += 1


# ---- making and dropping

cdef inline void lists_init(area_t *t) noexcept nogil:
    cdef int o
    for o in range(ORDERS):
        t.nonfull[o].head = t.nonfull[o].tail = t.frag[o].head = t.frag[o].tail = NO_CLUSTER
    t.free_list.head = t.free_list.tail = t.full.head = t.full.tail = t.discards.head = t.discards.tail = NO_CLUSTER


cdef inline void cursors_init(cpu_t *c, int cpus) noexcept nogil:
    cdef int i, o
    memset(c, 0, cpus * sizeof(cpu_t))
    for i in range(cpus):
        for o in range(ORDERS):
            c[i].next[o] = NO_CURSOR


cdef inline area_t *area_new(uint64_t slots, int cpus) noexcept nogil:
    """An empty table without its bad slots; NULL when there is no memory."""
    cdef area_t *t = <area_t *>aligned_alloc(64, (sizeof(area_t) + 63) // 64 * 64)
    if t == NULL:
        return NULL
    memset(t, 0, sizeof(area_t))
    t.slots, t.cpus = slots, cpus
    t.nr_clusters = <uint32_t>((slots + CLUSTER_SLOTS - 1) >> CLUSTER_SHIFT)
    lists_init(t)
    cursors_init(&t.global_cpu, 1)
    t.cpu = <cpu_t *>aligned_alloc(64, cpus * sizeof(cpu_t))
    t.touched = <uint64_t *>calloc(1, touched_map_bytes(t.nr_clusters))
    t.tables = <uint64_t **>reserve(t.nr_clusters * sizeof(void *))
    t.clusters = <cluster_t *>reserve(t.nr_clusters * sizeof(cluster_t))
    if t.cpu == NULL or t.touched == NULL or t.tables == NULL or t.clusters == NULL or pool_init(&t.pool, t.nr_clusters):
        area_drop(t)
        return NULL
    want_small(t.tables, t.nr_clusters * sizeof(void *))
    want_small(t.clusters, t.nr_clusters * sizeof(cluster_t))
    cursors_init(t.cpu, cpus)
    return t


cdef inline void area_drop(area_t *t) noexcept nogil:
    cdef uint32_t i
    if t == NULL:
        return
    if t.clusters != NULL and t.extend_bytes:
        for i in range(t.nr_clusters):
            free(t.clusters[i].extend)
    pool_drop(&t.pool)
    unreserve(t.tables, t.nr_clusters * sizeof(void *))
    unreserve(t.clusters, t.nr_clusters * sizeof(cluster_t))
    free(t.touched)
    free(t.cpu)
    free(t)


cdef inline int mark_bad(area_t *t, uint64_t slot) noexcept nogil:
    """Make a slot unusable for ever. Context: nobody else has the table yet. Return: 0, or -EEXIST when it is bad already."""
    cdef uint32_t i = <uint32_t>(slot >> CLUSTER_SHIFT)
    cdef unsigned int off = slot & (CLUSTER_SLOTS - 1)
    cdef cluster_t *ci = &t.clusters[i]
    if t.tables[i] == NULL:
        touch_locked(t, i)
        t.tables[i] = pool_get(&t.pool)
        ci.list = LIST_NONE
        ci.any_free = ci.all_free = <uint64_t>-1
    if t.tables[i][off]:
        return -EEXIST
    t.tables[i][off] = SWP_TB_BAD
    line_changed(ci, t.tables[i], off)
    ci.count += 1
    return 0


cdef inline void place_bad(area_t *t) noexcept nogil:
    """Put the clusters with bad slots on their lists, as swapon does: upwards, to nonfull[0] or full."""
    cdef uint64_t word
    cdef uint32_t i, page
    cdef swap_stat_t st
    memset(&st, 0, sizeof(st))
    for page in range((t.nr_clusters >> 6) + 1):
        word = t.touched[page >> 6] >> (page & 63)
        if word & 1 == 0:
            continue
        for i in range(page << 6, min(t.nr_clusters, (page + 1) << 6)):
            if t.clusters[i].list == LIST_NONE:
                cluster_move(t, i, LIST_FULL if t.clusters[i].count == CLUSTER_SLOTS else LIST_NONFULL, 0, &st)


cdef struct bytes_t:        # memory by kind
    uint64_t tables, clusters, overflow, limbo, pool, fixed


cdef inline void area_memory(area_t *t, bytes_t *b) noexcept nogil:
    """Bytes of memory held, each counted where it was allocated. Context: takes and drops the list and the pool's lock."""
    cdef pool_t *p = &t.pool
    b.fixed = sizeof(area_t) + t.cpus * sizeof(cpu_t) + touched_map_bytes(t.nr_clusters)
    b.overflow = <uint64_t>load64(&t.extend_bytes)
    spin_lock(&t.list_lock)
    b.clusters = t.touched_bytes
    spin_unlock(&t.list_lock)
    spin_lock(&p.lock)
    b.tables = p.nr_live * TABLE_STRIDE
    b.pool = p.nr_free * TABLE_STRIDE
    b.limbo = (p.limbo[0].nr + p.limbo[1].nr) * TABLE_STRIDE + pool_side_bytes(p)
    spin_unlock(&p.lock)


cdef inline uint64_t area_bytes(area_t *t) noexcept nogil:
    cdef bytes_t b
    area_memory(t, &b)
    return b.tables + b.clusters + b.overflow + b.limbo + b.pool + b.fixed


cdef struct lists_t:        # clusters by list
    uint32_t free, discard, full
    uint32_t nonfull[ORDERS]
    uint32_t frag[ORDERS]


cdef inline uint32_t area_lists(area_t *t, lists_t *l) noexcept nogil:
    """Lengths of the lists at one moment, and their sum. Context: takes and drops the list lock."""
    cdef uint32_t sum
    cdef int o
    spin_lock(&t.list_lock)
    l.free, l.discard, l.full = t.free_list.nr, t.discards.nr, t.full.nr
    sum = l.free + l.discard + l.full
    for o in range(ORDERS):
        l.nonfull[o], l.frag[o] = t.nonfull[o].nr, t.frag[o].nr
        sum += l.nonfull[o] + l.frag[o]
    spin_unlock(&t.list_lock)
    return sum


cdef inline uint64_t touched_map_bytes(uint32_t clusters) noexcept nogil:
    return ((clusters >> 12) + 1) * <uint64_t>8
