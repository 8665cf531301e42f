# The slot allocator: where the kernel would find a free aligned run of slots, and reclaim of slots that only the cache holds.
# Imports the area, blocks, users and what lies under them.
# Used by the core only; the layout is private.
from libc.errno cimport ENOSPC
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._blocks cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._events cimport *
from swaptable._past cimport *
from swaptable._pool cimport *
from swaptable._update cimport *

# The rules are those of mm/swapfile.c, cluster_alloc_swap_entry, 6.18.


cdef inline int64_t cluster_scan(area_t *t, uint32_t i, unsigned int off, request_t *r, swap_stat_t *st) noexcept nogil:
    """Serve *r* from cluster *i*, from slot *off* of it on. Context: cluster lock, the cluster has its table.

    Return: the next cursor.
    """
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *words = t.tables[i]
    cdef int64_t first = <int64_t>i << CLUSTER_SHIFT, begin = r.done, taken
    cdef unsigned int nr = 1u << r.order
    cdef int at = off
    cdef uint64_t word, read = 0
    if r.order == 0:
        r.done += take_singles(
            ci, words, off, r.word, NULL if r.pfns == NULL else r.pfns + r.done, first, r.out + r.done, r.n - r.done, &read)
        at = <int>(r.out[r.done - 1] - first) if r.done > begin else -1
    while r.order and r.done < r.n:
        word = r.word if r.pfns == NULL else r.word | (r.pfns[r.done] << 2)
        if r.order < 3:
            at = take_small(ci, words, off, r.order, word, &read)
        else:
            at = take_large(ci, words, off, r.order, word, &read)
        if at < 0:
            break
        r.out[r.done] = first + at
        r.done += 1
        off = at + nr
    st.scanned += read
    taken = (r.done - begin) * nr
    ci.count += taken
    if r.done < r.n or at < 0 or ci.count == CLUSTER_SLOTS or at + 2 * nr > CLUSTER_SLOTS:
        return NO_CURSOR
    return first + at + nr


cdef inline void take_at(
    cluster_t *ci, uint64_t *words, unsigned int off, int order, uint64_t word, swap_stat_t *st,
) noexcept nogil:
    """Take the run of *order* at slot *off*, which is free. Context: cluster lock."""
    cdef unsigned int i
    if order > 2:
        take_large(ci, words, off, order, word, &st.scanned)
        return
    for i in range(off, off + (1u << order)):
        store_relaxed(words + i, word)
    line_changed(ci, words, off)
    st.scanned += 8


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
    cdef reclaim_t ask = t.reclaim      # NULL once an owner that was asked has had itself taken off
    if not idle or ask == NULL:
        return end
    if r.pinned == NULL:
        add32(&t.searches, 1)
        r.pinned = t
    spin_unlock(&ci.lock)
    for k in range(1, -1, -1):
        if r.held[k] != NULL:
            spin_unlock(r.held[k])
    if ask(t.reclaim_arg, slot, <int>(end - first), pfn):
        update_one(t, OP_RECLAIM, slot, <int>(end - first), pfn, NULL, st)
        r.reclaimed = True      # by us, or by the owner itself
    for k in range(2):
        if r.held[k] != NULL:
            st.lock_waits += spin_lock(r.held[k])
    lock_cluster(ci, st)
    return end if is_table(t.tables[i]) and ci.order == order else 0


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
            st.scanned += nr
            if state == 2:
                if not ask_owners(t, i, off, nr, r, st):
                    return NO_CURSOR
                state = reclaimable(t.tables[i], off, nr)
                st.scanned += nr
            if state == 1:
                break
            off += nr
        if off + nr > CLUSTER_SLOTS:
            return NO_CURSOR
        take_at(ci, t.tables[i], off, r.order, r.word if r.pfns == NULL else r.word | (r.pfns[r.done] << 2), st)
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
    if is_table(t.tables[i]):           # what is packed is swapped out
        st.scanned += CLUSTER_SLOTS
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
        next = cluster_scan(t, i, off, r, st)
    c.next[r.order] = next
    # A device that left its list while an owner was asked is no cursor's any more.
    c.dev[r.order] = t if load_ptr(&t.devices) != NULL else NULL
    after_scan(t, i, st)
    return r.done - begin


cdef inline void after_scan(area_t *t, uint32_t i, swap_stat_t *st) noexcept nogil:
    """Relocate a cluster that was scanned, with or without success, and unlock it."""
    cdef cluster_t *ci = &t.clusters[i]
    if not is_table(t.tables[i]):
        pass                    # emptied or packed while an owner was asked, and on its list since
    elif ci.count == CLUSTER_SLOTS:
        if ci.list != LIST_FULL:
            cluster_move(t, i, LIST_FULL, ci.order, st)
    elif ci.list != LIST_FRAG:
        cluster_move(t, i, LIST_FRAG, ci.order, st)
    spin_unlock(&ci.lock)


cdef inline bint visit_empty(area_t *t, cpu_t *c, uint32_t i, request_t *r, swap_stat_t *st) noexcept nogil:
    """Give a cluster without a table, locked and on no list, its table and the request's order; then scan it.

    Slots whose blocks are taken become LENT, so that the words say what the bitmap knows.
    """
    cdef cluster_t *ci = &t.clusters[i]
    cdef uint64_t *table
    cdef unsigned int off
    if i == NO_CLUSTER:
        return False
    spin_unlock(&ci.lock)
    table = pool_get_table(&t.pool, i >= t.first_clusters)
    lock_cluster(ci, st)
    if table == NULL:
        cluster_move(t, i, LIST_RECEIVE if ci.nr_taken else LIST_FREE, 0, st)
        spin_unlock(&ci.lock)
        return False
    for off in range(CLUSTER_SLOTS if ci.nr_taken else 0):
        if is_taken(t, ci, off):
            table[off] = SWP_TB_LENT
            line_changed(ci, table, off)
    st.scanned += 8 if ci.nr_taken else 0           # the bitmap
    ci.count = ci.nr_lent = ci.nr_taken
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
    # What the kernel has not: clusters some of whose blocks were taken before they had a table.
    return peek32(&t.receive.head) != NO_CLUSTER and visit_empty(t, c, isolate(t, &t.receive, st), r, st)


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
    if r.order and not t.block:
        return False
    if cursor:
        from_cursor(t, c, r, st)
    if r.done == begin:
        search(t, c, r, st)
    if r.done == begin:
        return False
    r.retried = False
    st.words += (r.done - begin) << r.order
    used_add(t, (r.done - begin) << r.order, r.out[begin])
    if load_ptr(&t.events) != NULL:
        events_alloc(&t.events, r.order, r.out + begin, r.done - begin, swp_tb_memcg(r.word))
    return True


cdef inline void request_begin(request_t *r, uint8_t *lock) noexcept nogil:
    r.held[0], r.held[1], r.pinned, r.reclaimed, r.retried = lock, NULL, NULL, False, False


cdef inline bint once_more(request_t *r) noexcept nogil:
    """A request that found nothing is tried again if owners let go of slots: the kernel's worker would have run meanwhile."""
    cdef bint again = r.reclaimed and not r.retried
    r.reclaimed = False
    r.retried = True
    return again


cdef inline int refused(area_t *t, request_t *r) noexcept nogil:
    """There is no run of that order. Context: no locks. Return: -ENOSPC."""
    if load_ptr(&t.events) != NULL:
        event_put(&t.events, EVENT_FALLBACK, r.order, -1, <uint32_t>(r.n - r.done), swp_tb_memcg(r.word), 0, 0)
    return -ENOSPC


cdef inline int alloc_runs(area_t *t, int cpu, request_t *r, swap_stat_t *st) noexcept nogil:
    """Serve *r*, all of it or until the device has no room at its order.

    Context: takes and drops the CPU's cursor lock, cluster and list locks. Return: 0 or -ENOSPC.
    """
    cdef cpu_t *c = &t.global_cpu if t.rotational else &t.cpu[cpu]
    if r.order and not t.block and not r.contiguous:
        return refused(t, r)
    request_begin(r, &c.lock)
    st.lock_waits += spin_lock(&c.lock)
    while r.done < r.n and (alloc_step(t, c, r, True, st) or once_more(r) or (r.contiguous and alloc_past(t, r, st))):
        pass
    unpin(r)
    spin_unlock(&c.lock)
    if r.done < r.n:
        return refused(t, r)
    return 0
