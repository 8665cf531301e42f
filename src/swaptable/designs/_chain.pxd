# Chains of slots: the last has the state, those before it are Pointers to the next.
# May import words, locks, the protocol, the device of tables, zswap's index and the kernels on runs of slots.
# Used by _words.pyx.
from libc.errno cimport EINVAL, ENOENT, ENOMEM, ENOSPC, EOPNOTSUPP
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from swaptable._entry cimport (
    COUNT_MAX, KIND_POINTER, swp_tb_is_folio, swp_tb_kind, swp_tb_make_folio, swp_tb_make_pointer, swp_tb_pfn,
    swp_tb_pointer_slot, swp_tb_pointer_type,
)
from swaptable.designs._design cimport NOWHERE, POOL, host_t, place_t
from swaptable.designs._device cimport device_free_run, device_t, device_word, extend_drop, request_t, users_of
from swaptable.designs._run cimport (
    DEVICE_SHIFT, IN_USE, MAX_HOPS, device_at, device_of_tier, entry_of, more_room, place_of, run_add, run_check, run_del,
    run_dup, run_lock, run_put, slot_of, store, words_t,
)
from swaptable.designs._slots cimport CLUSTER, CLUSTER_SHIFT, ci_t, slots_alloc, slots_ci, slots_unlock
from swaptable.designs._zswap cimport zswap_get, zswap_peek, zswap_take


# ---- chains: the operations on the slot at the end of each

cdef inline uint64_t pointer_target(uint64_t word) noexcept nogil:
    return (<uint64_t>swp_tb_pointer_type(word) << DEVICE_SHIFT) | swp_tb_pointer_slot(word)


cdef inline uint64_t pointer_to(uint64_t entry) noexcept nogil:
    return swp_tb_make_pointer(False, entry >> DEVICE_SHIFT, slot_of(entry))


cdef inline int chain_end(words_t *s, uint64_t entry, uint64_t *end, uint64_t *path, int *hops) noexcept nogil:
    """The last slot of an entry's chain into *end*, those before it into *path*; each hop is a look-up."""
    cdef device_t *dev
    cdef uint64_t word
    cdef int n = 0
    while True:
        dev = device_at(s, entry, 1)
        if dev == NULL:
            return -EINVAL
        s.counters.lookups += 1
        s.counters.depth += 2
        word = device_word(dev, slot_of(entry))
        if swp_tb_kind(word) != KIND_POINTER or n == MAX_HOPS:
            break
        if path != NULL:
            path[n] = entry
        n += 1
        entry = pointer_target(word)
    if hops != NULL:
        hops[0] = n
    end[0] = entry
    return 0 if word else -ENOENT


ctypedef int (*run_t)(words_t *s, uint64_t entry, int nr, uint64_t arg) noexcept nogil


cdef inline int dup_arg(words_t *s, uint64_t entry, int nr, uint64_t unused) noexcept nogil:
    return run_dup(s, entry, nr)


cdef inline int put_arg(words_t *s, uint64_t entry, int nr, uint64_t unused) noexcept nogil:
    return run_put(s, entry, nr)


cdef inline int same_run(const uint64_t *ends, int i, int nr) noexcept nogil:
    """How many of the slots from ends[i] on follow each other in a cluster."""
    cdef int j = i + 1
    while j < nr and ends[j] == ends[j - 1] + 1 and ends[j] & (CLUSTER - 1):
        j += 1
    return j - i


cdef inline int chain_free_slot(words_t *s, uint64_t entry) noexcept nogil:
    """A slot that led elsewhere is free."""
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef int err = run_lock(s, entry, 1, &dev, &ci)
    if err:
        return err
    s.redirects -= dev.blocks
    if not device_free_run(dev, ci, slot_of(entry), 1):
        slots_unlock(&dev.slots, ci)
    return 0


cdef inline int chain_cut(words_t *s, uint64_t entry) noexcept nogil:
    """An entry whose last slot has become free gives up those that led there."""
    cdef uint64_t path[MAX_HOPS]
    cdef uint64_t end
    cdef int i, hops = 0
    if chain_end(s, entry, &end, path, &hops) == 0:
        return 0
    for i in range(hops):
        chain_free_slot(s, path[i])
    return 0


cdef inline int chain_run(words_t *s, uint64_t entry, int nr, run_t run, uint64_t arg, int need) noexcept nogil:
    """*run* on the last slots of nr chains: all are checked before the first is changed."""
    cdef uint64_t ends[CLUSTER]
    cdef device_t *dev = NULL
    cdef int i = 0, n, err = 0
    if nr < 1 or (entry & (CLUSTER - 1)) + nr > CLUSTER:
        return -EINVAL
    for i in range(nr):
        err = chain_end(s, entry + i, &ends[i], NULL, NULL)
        if err == -EINVAL:
            return err
    i = 0
    err = 0
    while i < nr and err == 0:
        n = same_run(ends, i, nr)
        err = run_check(s, ends[i], n, need, &dev)
        i += n
    i = 0
    while i < nr and err == 0:
        n = same_run(ends, i, nr)
        err = run(s, ends[i], n, arg)
        i += n if err == 0 else 0
    if err and run == dup_arg:
        n = i
        for i in range(n):
            run_put(s, ends[i], 1)
    return err


# ---- chains: data moves, a Pointer stays

cdef inline uint64_t state_take(words_t *s, device_t *dev, ci_t *ci, int off, uint64_t *users) noexcept nogil:
    """The word of a slot that is to lead elsewhere, and its users; what they had beyond the word goes."""
    cdef uint64_t word = ci.table[off]
    users[0] = users_of(ci, off)
    if users[0] >= COUNT_MAX:
        ci.extend[off] = 0
        extend_drop(dev, ci)
    return word


cdef inline int state_room(words_t *s, uint64_t entry, uint64_t users) noexcept nogil:
    """A table for counts beyond 14 where the state is to go, if it needs one."""
    cdef device_t *dev = device_at(s, entry, 1)
    if users < COUNT_MAX or slots_ci(&dev.slots, slot_of(entry) >> CLUSTER_SHIFT).extend != NULL:
        return 0
    return more_room(s, entry, slot_of(entry), 0)


cdef inline void state_put(words_t *s, uint64_t entry, uint64_t word, uint64_t users) noexcept nogil:
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef int off = entry & (CLUSTER - 1)
    if run_lock(s, entry, 1, &dev, &ci):
        return
    ci.table[off] = word
    if users >= COUNT_MAX:
        ci.extend[off] = <uint32_t>users
    s.counters.words += 1
    slots_unlock(&dev.slots, ci)


cdef inline int chain_link(words_t *s, uint64_t end, uint64_t target) noexcept nogil:
    """The state at *end* goes to the slot *target*, to which *end* points from now on."""
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef uint64_t word, users = 0
    cdef int off = end & (CLUSTER - 1), err
    dev = device_at(s, end, 1)
    err = state_room(s, target, users_of(slots_ci(&dev.slots, slot_of(end) >> CLUSTER_SHIFT), off))
    if err:
        return err
    run_lock(s, end, 1, &dev, &ci)
    word = state_take(s, dev, ci, off, &users)
    ci.table[off] = pointer_to(target)
    s.counters.words += 1
    zswap_take(&dev.zswap, slot_of(end))
    s.redirects += dev.blocks
    slots_unlock(&dev.slots, ci)
    state_put(s, target, word, users)
    return 0


cdef inline int chain_back(words_t *s, uint64_t *path, int hops, int at, uint64_t end) noexcept nogil:
    """The state at *end* goes back to the slot path[at], which led there; the slots in between are free."""
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef uint64_t word, users = 0
    cdef int i, err
    dev = device_at(s, end, 1)
    err = state_room(s, path[at], users_of(slots_ci(&dev.slots, slot_of(end) >> CLUSTER_SHIFT), end & (CLUSTER - 1)))
    if err:
        return err
    run_lock(s, end, 1, &dev, &ci)
    word = state_take(s, dev, ci, end & (CLUSTER - 1), &users)
    if not device_free_run(dev, ci, slot_of(end), 1):
        slots_unlock(&dev.slots, ci)
    for i in range(at + 1, hops):
        chain_free_slot(s, path[i])
    s.redirects -= device_at(s, path[at], 1).blocks
    state_put(s, path[at], word, users)
    return 0


cdef inline int chain_new(words_t *s, uint64_t end, device_t *to) noexcept nogil:
    """A new slot on that device takes the state at *end* over."""
    cdef request_t request
    cdef int64_t slot
    cdef int err
    # Some word in use, so that the slot is taken until the state is there.
    request.word = swp_tb_make_folio(0, False, 0, 0)
    request.step = 0
    slot = slots_alloc(&to.slots, 0, <uint64_t>&request)
    if slot < 0:
        return -ENOSPC
    err = chain_link(s, end, entry_of(s, to, slot))
    if err:
        run_del(s, entry_of(s, to, slot), 1, 0)
    return err


cdef inline int chain_step(words_t *s, uint64_t *path, int hops, uint64_t end, int tier, const host_t *host) noexcept nogil:
    """The slots for data that moves to a tier: in front of the pool, on the way there, or a new one."""
    cdef device_t *to = device_of_tier(s, tier)
    cdef int at = 0, err
    if tier == POOL:
        if hops:
            err = chain_back(s, path, hops, 0, end)
            if err:
                return err
        return store(s, &s.dev[0], slot_of(path[0] if hops else end), 1)
    if device_at(s, end, 1) == to:
        zswap_take(&to.zswap, slot_of(end))
        return 0
    while at < hops and device_at(s, path[at], 1) != to:
        at += 1
    return chain_back(s, path, hops, at, end) if at < hops else chain_new(s, end, to)


cdef inline int chain_place(words_t *s, uint64_t entry, place_t *where) noexcept nogil:
    """Where an entry's data is; 0 or -errno."""
    cdef uint64_t end
    cdef int err = chain_end(s, entry, &end, NULL, NULL)
    if err == 0:
        place_of(s, device_at(s, end, 1), slot_of(end), zswap_peek(&device_at(s, end, 1).zswap, slot_of(end)), where)
    return err


cdef inline int chain_move(words_t *s, uint64_t entry, int tier, const host_t *host) noexcept nogil:
    """The data of one entry to that tier: 1, or 0 when there is nothing to move or the pool is not in front of it."""
    cdef uint64_t path[MAX_HOPS]
    cdef uint64_t end
    cdef place_t src, dst
    cdef int hops = 0, err = chain_end(s, entry, &end, path, &hops)
    cdef bint front = (path[0] if hops else end) >> DEVICE_SHIFT == 0
    if err == 0:
        err = chain_place(s, entry, &src)
    if err or src.tier == tier or src.tier == NOWHERE or swp_tb_is_folio(device_word(device_at(s, end, 1), slot_of(end))):
        return err
    if tier == POOL and not (front and s.zswap):
        return 0
    err = chain_step(s, path, hops, end, tier, host)
    if err == 0:
        err = chain_place(s, entry, &dst)
    if err == 0 and host != NULL and host.copy != NULL:
        err = host.copy(host.user, &src, &dst)
    if err:
        return err
    s.counters.ios += tier > POOL
    s.counters.extents += tier > POOL
    return 1


cdef inline int64_t chain_transfer(words_t *s, const uint64_t *entries, int64_t n, int tier, const host_t *host) noexcept nogil:
    cdef int64_t i, moved = 0
    cdef int err = 0
    if tier != POOL and device_of_tier(s, tier) == NULL:
        return -EINVAL
    for i in range(n):
        err = chain_move(s, entries[i], tier, host)
        if err < 0:
            break
        moved += err
    return err if err < 0 and not moved else moved


cdef inline int bring_in(words_t *s, uint64_t head, uint64_t end, const host_t *host) noexcept nogil:
    """The data at the end of an entry's chain into memory, if it is not there; its place is not needed any more."""
    cdef device_t *dev = device_at(s, end, 1)
    cdef uint64_t word = device_word(dev, slot_of(end))
    cdef place_t src
    cdef int64_t pfn
    if swp_tb_is_folio(word):
        host.dirty(host.user, swp_tb_pfn(word))
        zswap_take(&dev.zswap, slot_of(end))
        return 0
    place_of(s, dev, slot_of(end), zswap_get(&dev.zswap, slot_of(end)), &src)
    if src.tier == NOWHERE:
        return 0
    pfn = host.load(host.user, head, &src)
    if pfn < 0:
        return <int>pfn
    s.counters.ios += src.tier > POOL
    s.counters.extents += src.tier > POOL
    zswap_take(&dev.zswap, slot_of(end))
    return run_add(s, end, 1, pfn)


cdef inline void chain_skip(words_t *s, uint64_t before, uint64_t entry) noexcept nogil:
    """A slot in the middle of a chain goes: the one before it points to the one after it."""
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef uint64_t next = device_word(device_at(s, entry, 1), slot_of(entry))
    if run_lock(s, before, 1, &dev, &ci):
        return
    ci.table[before & (CLUSTER - 1)] = next
    s.counters.words += 1
    slots_unlock(&dev.slots, ci)
    chain_free_slot(s, entry)


cdef inline int chain_leave(words_t *s, uint64_t head, device_t *dev, const host_t *host) noexcept nogil:
    """No slot of an entry's chain but the first is on that device any more."""
    cdef uint64_t path[MAX_HOPS]
    cdef uint64_t end
    cdef int i, hops = 0, err = chain_end(s, head, &end, path, &hops)
    if err == 0 and hops and device_at(s, end, 1) == dev:
        err = bring_in(s, head, end, host)
        return err if err else chain_back(s, path, hops, hops - 1, end)
    for i in range(1, hops if err == 0 else 0):
        if device_at(s, path[i], 1) == dev:
            chain_skip(s, path[i - 1], path[i])
            return chain_leave(s, head, dev, host)
    return err


cdef inline uint64_t *chain_targets(words_t *s, int index) noexcept nogil:
    """A bit for each slot of a device that a Pointer of any other leads to; NULL without memory."""
    cdef uint64_t *bits = <uint64_t *>calloc((s.dev[index].slots.nslots + 63) // 64, 8)
    cdef uint64_t slot, word
    cdef int i
    for i in range(s.ndev if bits != NULL else 0):
        for slot in range(s.dev[i].slots.nslots if s.dev[i].on else 0):
            word = device_word(&s.dev[i], slot)
            if swp_tb_kind(word) == KIND_POINTER and <int>swp_tb_pointer_type(word) == index:
                bits[swp_tb_pointer_slot(word) >> 6] |= <uint64_t>1 << (swp_tb_pointer_slot(word) & 63)
        s.counters.scanned += s.dev[i].slots.nslots if s.dev[i].on else 0
    return bits


cdef inline int chain_swapoff(words_t *s, device_t *dev, const host_t *host) noexcept nogil:
    """All chains that pass through a device or end there, but for those whose entries name it. No entry changes.

    Nobody knows what leads to a slot: every word of every device is looked at, once for each other device.
    """
    cdef uint64_t *targets
    cdef uint64_t slot
    cdef device_t *other
    cdef int i, err = 0
    if host == NULL or host.load == NULL:
        return -EOPNOTSUPP
    for i in range(s.ndev):
        other = &s.dev[i]
        if other == dev or not other.on or err:
            continue
        targets = chain_targets(s, i)
        if targets == NULL:
            return -ENOMEM
        for slot in range(1, other.slots.nslots):
            if not (targets[slot >> 6] >> (slot & 63)) & 1 and swp_tb_kind(device_word(other, slot)) == KIND_POINTER:
                err = chain_leave(s, entry_of(s, other, slot), dev, host)
            if err:
                break
        free(targets)
    return err


cdef inline int chain_pool_off(words_t *s, const host_t *host) noexcept nogil:
    """Every object of the pool into memory; the entries stay."""
    cdef uint64_t slot
    cdef int err = 0
    if host == NULL or host.load == NULL:
        return -EOPNOTSUPP
    for slot in range(s.dev[0].slots.nslots):
        s.counters.scanned += 1
        if zswap_peek(&s.dev[0].zswap, slot):
            err = bring_in(s, slot, slot, host)
        if err:
            return err
    s.zswap = False
    return 0
