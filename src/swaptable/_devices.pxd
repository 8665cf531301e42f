# Several swap areas under the kernel's rules for devices: priorities, equals in turn, one set of cursors.
# Imports the area, its allocators and the locks.
# Used by the core only; the layout is private.
from libc.errno cimport EBUSY, EINVAL, ENOSPC
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from swaptable._alloc cimport *
from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._past cimport *

cdef enum:
    MAX_DEVICES = 32            # a swap type has 5 bits

cdef struct devices_t:
    uint8_t lock                # of what follows; the innermost
    int nr_avail
    uint8_t avail[MAX_DEVICES]  # types of devices with a free slot, best first
    bint listed[MAX_DEVICES]
    int priority[MAX_DEVICES]
    area_t *areas[MAX_DEVICES]  # NULL: no such type
    uint64_t lock_waits
    int cpus
    cpu_t *cpu


cdef inline void avail_del_locked(devices_t *d, int kind) noexcept nogil:
    cdef int i, at = 0
    for i in range(d.nr_avail):
        if d.avail[i] != kind:
            d.avail[at] = d.avail[i]
            at += 1
    d.nr_avail = at
    d.listed[kind] = False


cdef inline void avail_add_locked(devices_t *d, int kind) noexcept nogil:
    """As the last of its priority."""
    cdef int i = d.nr_avail
    while i > 0 and d.priority[d.avail[i - 1]] < d.priority[kind]:
        d.avail[i] = d.avail[i - 1]
        i -= 1
    d.avail[i] = <uint8_t>kind
    d.nr_avail += 1
    d.listed[kind] = True


cdef inline void devices_fullness(void *devices, int kind) noexcept nogil:
    """A device became full or is full no longer: see which it is now, and list it accordingly."""
    cdef devices_t *d = <devices_t *>devices
    cdef area_t *t
    spin_lock(&d.lock)
    t = d.areas[kind]
    if t != NULL and d.listed[kind] and blocks_of(t) >= load64(&t.usable):
        avail_del_locked(d, kind)
        store32(&t.off_list, 1)
    # Looked at again: what was freed before off_list was set has told nobody.
    if t != NULL and not d.listed[kind] and blocks_of(t) < load64(&t.usable):
        avail_add_locked(d, kind)
        store32(&t.off_list, 0)
    spin_unlock(&d.lock)


cdef inline int64_t devices_used(devices_t *d, int64_t *usable, bint slots) noexcept nogil:
    """Blocks, or slots, in use on all devices, and how many blocks there are."""
    cdef int64_t used = 0
    cdef int kind
    usable[0] = 0
    spin_lock(&d.lock)
    for kind in range(MAX_DEVICES):
        if d.areas[kind] != NULL:
            used += used_of(d.areas[kind]) if slots else blocks_of(d.areas[kind])
            usable[0] += load64(&d.areas[kind].usable)
    spin_unlock(&d.lock)
    return used


cdef inline bint devices_half_used(void *devices) noexcept nogil:
    """More than half of all blocks; a front end without blocks is never full and makes nothing else less so."""
    cdef devices_t *d = <devices_t *>devices
    cdef int64_t used = 0, usable = 0
    cdef int kind
    spin_lock(&d.lock)
    for kind in range(MAX_DEVICES):
        if d.areas[kind] != NULL and d.areas[kind].own_blocks:
            used += blocks_of(d.areas[kind])
            usable += load64(&d.areas[kind].usable)
    spin_unlock(&d.lock)
    return used * 2 > usable


cdef inline area_t *next_device(devices_t *d, uint32_t *allowed, swap_stat_t *st) noexcept nogil:
    """The best device with a free slot of those *allowed*, which loses it; it moves to the end of its equals."""
    cdef int i, kind
    cdef area_t *t = NULL
    st.lock_waits += spin_lock(&d.lock)
    for i in range(d.nr_avail):
        kind = d.avail[i]
        if allowed[0] >> kind & 1:
            allowed[0] &= ~(<uint32_t>1 << kind)
            t = d.areas[kind]
            avail_del_locked(d, kind)
            avail_add_locked(d, kind)
            break
    spin_unlock(&d.lock)
    return t


cdef inline bint search_device(area_t *t, cpu_t *c, request_t *r, swap_stat_t *st) noexcept nogil:
    """Search one device. Context: the cursor lock of the list."""
    cdef int64_t n = r.n
    cdef bint found
    if r.order and not t.block:
        return False
    if not t.rotational:
        return alloc_step(t, c, r, False, st)
    # Its own cursor, for all CPUs, and one request at a time: each is a search, and equals take turns.
    r.n = r.done + 1
    r.held[1] = &t.global_cpu.lock
    st.lock_waits += spin_lock(&t.global_cpu.lock)
    found = alloc_step(t, &t.global_cpu, r, True, st)
    spin_unlock(&t.global_cpu.lock)
    r.held[1] = NULL
    r.n = n
    return found


cdef inline area_t *devices_step(devices_t *d, cpu_t *c, request_t *r, uint32_t allowed, swap_stat_t *st) noexcept nogil:
    """Serve some of *r*; the device that did, or NULL. Context: the cursor lock."""
    cdef area_t *t = c.dev[r.order]
    cdef int64_t begin = r.done
    cdef bint found
    if t != NULL and allowed >> t.kind & 1:
        from_cursor(t, c, r, st)
        unpin(r)
        if r.done > begin:
            r.retried = False
            st.words += (r.done - begin) << r.order
            used_add(t, (r.done - begin) << r.order, r.out[begin])
            return t
    while True:
        t = next_device(d, &allowed, st)
        found = t != NULL and search_device(t, c, r, st)
        unpin(r)
        if t == NULL or found:
            return t
        if r.order:             # a large request ends after the first device
            return NULL


cdef inline void devices_reclaim(devices_t *d, request_t *r, uint32_t allowed, swap_stat_t *st) noexcept nogil:
    """Ask for one full cluster of each device that is full: such a device is searched by nobody. Context: the cursor lock."""
    cdef area_t *t
    cdef int kind
    for kind in range(MAX_DEVICES):
        spin_lock(&d.lock)
        t = d.areas[kind] if allowed >> kind & 1 and not d.listed[kind] else NULL
        spin_unlock(&d.lock)
        if t != NULL and t.reclaim != NULL and swap_full(t):
            reclaim_full_cluster(t, r, st)
            unpin(r)


cdef inline area_t *devices_past(devices_t *d, request_t *r, uint32_t allowed, swap_stat_t *st) noexcept nogil:
    """Serve one run of *r* past the end of the best device with blocks for it; the device, or NULL. Context: the cursor lock."""
    cdef area_t *t
    cdef area_t *best
    cdef int kind, take
    while allowed:
        best = NULL
        take = 0
        spin_lock(&d.lock)
        for kind in range(MAX_DEVICES):
            t = d.areas[kind] if allowed >> kind & 1 else NULL
            if t != NULL and (best == NULL or d.priority[kind] > d.priority[take]):
                best, take = t, kind
        spin_unlock(&d.lock)
        if best == NULL or alloc_past(best, r, st):
            return best
        allowed &= ~(<uint32_t>1 << take)
    return NULL


cdef inline int devices_alloc(devices_t *d, int cpu, request_t *r, uint8_t *kinds, uint32_t allowed, swap_stat_t *st) noexcept nogil:
    """Serve *r* from the devices *allowed*, by priority. Return: 0 or -ENOSPC."""
    cdef cpu_t *c = &d.cpu[cpu]
    cdef area_t *t
    cdef int64_t begin
    request_begin(r, &c.lock)
    st.lock_waits += spin_lock(&c.lock)
    while r.done < r.n:
        begin = r.done
        t = devices_step(d, c, r, allowed, st)
        if t != NULL:
            memset(kinds + begin, t.kind, r.done - begin)
            continue
        if not r.retried:
            devices_reclaim(d, r, allowed, st)
        if once_more(r):
            continue
        t = devices_past(d, r, allowed, st) if r.contiguous else NULL
        if t == NULL:
            break
        memset(kinds + begin, t.kind, r.done - begin)
    spin_unlock(&c.lock)
    return 0 if r.done == r.n else -ENOSPC


cdef inline devices_t *devices_new(int cpus) noexcept nogil:
    cdef devices_t *d = <devices_t *>aligned_alloc(64, (sizeof(devices_t) + 63) // 64 * 64)
    if d == NULL:
        return NULL
    memset(d, 0, sizeof(devices_t))
    d.cpus = cpus
    d.cpu = <cpu_t *>aligned_alloc(64, cpus * sizeof(cpu_t))
    if d.cpu == NULL:
        free(d)
        return NULL
    cursors_init(d.cpu, cpus)
    return d


cdef inline int devices_add(devices_t *d, area_t *t, int priority) noexcept nogil:
    """Return: the lowest type that is not taken, or -ENOSPC when all are, -EINVAL when the area is in a list."""
    cdef int kind = 0
    cdef bint elsewhere
    spin_lock(&t.devices_lock)
    elsewhere = t.devices != NULL
    spin_unlock(&t.devices_lock)
    if elsewhere:
        return -EINVAL
    spin_lock(&d.lock)
    while kind < MAX_DEVICES and d.areas[kind] != NULL:
        kind += 1
    if kind < MAX_DEVICES:
        d.areas[kind], d.priority[kind] = t, priority
    spin_unlock(&d.lock)
    if kind == MAX_DEVICES:
        return -ENOSPC
    spin_lock(&t.devices_lock)
    t.kind, t.fullness, t.half_used, t.off_list = kind, devices_fullness, devices_half_used, 1
    store_ptr_sc(&t.devices, d)
    spin_unlock(&t.devices_lock)
    tell_fullness(t)
    return kind


cdef inline int devices_remove(devices_t *d, int kind) noexcept nogil:
    """Take a device off the list; no allocation is served from it once this returns.

    Context: no other change of the list meanwhile. Return: 0, or -EBUSY while a search asks an owner on it: it stays then.
    """
    cdef area_t *t = d.areas[kind]
    cdef int i, o
    devices_own(t, NULL)
    spin_lock(&d.lock)
    if d.listed[kind]:
        avail_del_locked(d, kind)
    d.areas[kind] = NULL
    spin_unlock(&d.lock)
    for i in range(d.cpus):     # whoever searches holds a cursor lock, or is counted in searches
        spin_lock(&d.cpu[i].lock)
        for o in range(ORDERS):
            if d.cpu[i].dev[o] == t:
                d.cpu[i].dev[o] = NULL
                d.cpu[i].next[o] = NO_CURSOR
        spin_unlock(&d.cpu[i].lock)
    if load32(&t.searches) == 0:
        return 0
    spin_lock(&d.lock)
    d.areas[kind] = t
    store32(&t.off_list, 1)
    spin_unlock(&d.lock)
    devices_own(t, d)
    tell_fullness(t)
    return -EBUSY


cdef inline void devices_own(area_t *t, devices_t *d) noexcept nogil:
    spin_lock(&t.devices_lock)
    store_ptr_sc(&t.devices, d)
    spin_unlock(&t.devices_lock)


cdef inline bint cursors_are_members(devices_t *d) noexcept nogil:
    """Does every cursor name a device of the list? Context: the threads are still."""
    cdef int i, o
    cdef area_t *t
    for i in range(d.cpus):
        for o in range(ORDERS):
            t = d.cpu[i].dev[o]
            if t != NULL and (t.devices != d or d.areas[t.kind] != t):
                return False
    return True
