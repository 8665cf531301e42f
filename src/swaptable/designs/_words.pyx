# Designs whose entries name a device and a slot, and whose slots have a word of a swap table.
# May import words, locks, the protocol, the device of tables and zswap's index.
# Used by the design files beside it: swap_table_p1 to p4, ghost, xswap, zram, pte_rmap, redirect_chain.
#
# One module for all of them, since each extension module has a cost of its own; what a design is made of is in its
# file, here is what they share. By phase (Kairui Song and Chris Li): 1 (6.18) the words are the swap cache, the
# swap_map has counts and a cache flag; 2 (7.0) the words alone say cached; 3 counts in the words, beyond 14 in a table
# on demand; 4 (June 2026) memcg ids in a table for each used cluster, the zero flag in the word.
# A slot is the place of its data, or zswap in front of the first device has it while the slot stays reserved. To
# another device data moves by a walk of all page tables (_design.pyx); with a reverse map to page table entries by
# that; in a chain the slot left behind holds a Pointer to the next one.
"""Swap table words on devices: the phases of the swap table, ghost devices, zram, redirections, a reverse map to PTEs."""

from libc.errno cimport EBUSY, EINVAL, ENOENT, ENOSPC, EOPNOTSUPP
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

from swaptable._entry cimport (
    SWP_TB_BAD, swp_tb_counts, swp_tb_is_folio, swp_tb_is_shadow,
    swp_tb_pfn, swp_tb_shadow, swp_tb_zero,
)
from swaptable.designs._chain cimport (
    chain_cut, chain_end, chain_pool_off, chain_run, chain_swapoff, chain_transfer, dup_arg, put_arg,
)
from swaptable.designs._count cimport counted_alloc
from swaptable.designs._design cimport (
    PEEK_BAD, PEEK_FOLIO, PEEK_FREE, PEEK_SHADOW, POOL, PTE_ENTRY, PTE_KEEP, PTE_PAGE, NOWHERE, Design, counters_t,
    design_ops_t, host_t, peek_t, place_t, walk_swapoff, walk_transfer,
)
from swaptable.designs._device cimport (
    EXTEND_BYTES, MEMCG_ARRAY, MEMCG_BYTES, MEMCG_TABLE, MEMCG_WORD, TABLE_BYTES, ZRAM_WORDS, device_arrays, device_init,
    device_mark_bad, device_memcg, device_release, device_t, device_word,
)
from swaptable.designs._links cimport LINK_BYTES, cell_add, cell_of, cell_remove, link_t, links_drop
from swaptable.designs._map cimport map_links, map_more_bytes
from swaptable.designs._radix cimport radix_node_t, radix_nodes, slab_destroy, slab_init, slab_slack
from swaptable.designs._run cimport (
    CACHED, DEVICE_SHIFT, IN_USE, UNCACHED, USERS, alloc_from, check_words, count_of, device_at, device_of_tier, entry_of,
    place_blocks, place_of, read_one, run_add, run_check, run_del, run_dup, run_lock, run_put, run_writeout, slot_of, words_t,
)
from swaptable.designs._slots cimport (
    CI_DYNAMIC, CI_EXTEND, CI_MEMCG, CI_SECOND, CI_TABLE, CLUSTER, CLUSTER_SHIFT, INDEX_FLAT, INDEX_XARRAY, ci_t,
    slots_bytes, slots_ci, slots_unlock, slots_used,
)
from swaptable.designs._sound cimport device_fault
from swaptable.designs._zswap cimport zswap_bytes, zswap_get, zswap_init, zswap_nodes, zswap_peek, zswap_take

from swaptable.designs._design import checked_backend, checked_devices, checked_index, checked_slots
from swaptable.errors import CheckError


# ---- the protocol

cdef int w_alloc(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef int i, err = -ENOSPC
    s.counters.ops += 1
    for i in range(s.ndev):
        if s.dev[i].on and (order == 0 or i or s.large):
            err = alloc_from(s, &s.dev[i], order, pfn, memcg, entry)
        if err != -ENOSPC or order or s.ghost:      # a large request ends after the first device; a ghost is on its own
            break
    return err


cdef int w_alloc_on(void *d, int tier, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef device_t *dev = device_of_tier(s, tier)
    cdef int err
    s.counters.ops += 1
    if dev == NULL:
        return -EINVAL
    err = alloc_from(s, dev, order, pfn, memcg, entry)
    if err == 0:
        place_blocks(s, dev, slot_of(entry[0]), 1 << order)
    return err


cdef int w_dup(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef words_t *s = <words_t *>d
    s.counters.ops += 1
    return chain_run(s, entry, nr, dup_arg, 0, IN_USE) if s.chain else run_dup(s, entry, nr)


cdef int w_put(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef int i, err
    s.counters.ops += 1
    if not s.chain:
        return run_put(s, entry, nr)
    err = chain_run(s, entry, nr, put_arg, 0, USERS)
    for i in range(nr if err == 0 else 0):
        chain_cut(s, entry + i)
    return err


cdef int w_writeout(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef words_t *s = <words_t *>d
    s.counters.ops += 1
    return chain_run(s, entry, nr, run_writeout, 0, CACHED) if s.chain else run_writeout(s, entry, nr, 0)


cdef int w_cache_add(void *d, uint64_t entry, int nr, uint64_t pfn) noexcept nogil:
    cdef words_t *s = <words_t *>d
    s.counters.ops += 1
    return chain_run(s, entry, nr, run_add, pfn, UNCACHED) if s.chain else run_add(s, entry, nr, pfn)


cdef int w_cache_del(void *d, uint64_t entry, int nr, uint64_t shadow) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef int i, err
    s.counters.ops += 1
    if not s.chain:
        return run_del(s, entry, nr, shadow)
    err = chain_run(s, entry, nr, run_del, shadow, CACHED)
    for i in range(nr if err == 0 else 0):
        chain_cut(s, entry + i)
    return err


cdef uint64_t w_used(void *d) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef uint64_t total = 0
    cdef int i
    for i in range(s.ndev):
        total += slots_used(&s.dev[i].slots) if s.dev[i].on and (i == 0 or not s.ghost) else 0
    return total


cdef uint64_t w_size(void *d) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef uint64_t total = 0
    cdef int i
    for i in range(s.ndev):
        total += s.dev[i].slots.size if s.dev[i].on and (i == 0 or not s.ghost) else 0
    return total


cdef uint64_t w_bytes(void *d) noexcept nogil:
    return (<words_t *>d).counters.now


cdef void w_peek(void *d, uint64_t entry, peek_t *said) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef counters_t kept = s.counters
    cdef uint64_t word, slot
    cdef device_t *dev
    cdef ci_t *ci
    said.kind, said.count, said.memcg, said.zero, said.value = PEEK_BAD, 0, 0, False, 0
    if s.chain:
        chain_end(s, entry, &entry, NULL, NULL)
    dev = device_at(s, entry, 1)
    slot = slot_of(entry)
    if dev != NULL and slot:
        word = device_word(dev, slot)
        ci = slots_ci(&dev.slots, slot >> CLUSTER_SHIFT)
        said.kind = PEEK_BAD if word == SWP_TB_BAD else PEEK_FOLIO if swp_tb_is_folio(word) else PEEK_SHADOW if word else PEEK_FREE
        if swp_tb_counts(word):
            said.count = count_of(dev, ci, slot)
            said.memcg = device_memcg(dev, ci, slot)
            said.zero = (dev.zero[slot >> 6] >> (slot & 63)) & 1 if dev.zero != NULL else swp_tb_zero(word)
            said.value = swp_tb_pfn(word) if swp_tb_is_folio(word) else swp_tb_shadow(word)
    s.counters = kept


cdef int w_hops(void *d, uint64_t entry) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef counters_t kept = s.counters
    cdef uint64_t end
    cdef int hops = 0, err = chain_end(s, entry, &end, NULL, &hops)
    if err == 0 and device_word(device_at(s, end, 1), slot_of(end)) == SWP_TB_BAD:
        err = -ENOENT
    s.counters = kept
    return err if err else hops


cdef uint64_t w_wasted(void *d) noexcept nogil:
    cdef words_t *s = <words_t *>d
    return s.redirects + (0 if s.ghost else s.dev[0].zswap.objects)


cdef int64_t w_cache_get(void *d, uint64_t entry) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef device_t *dev
    cdef uint64_t word
    s.counters.ops += 1
    if s.chain and chain_end(s, entry, &entry, NULL, NULL) < 0:
        return -1
    dev = device_at(s, entry, 1)
    if dev == NULL:
        return -1
    if not s.chain:
        s.counters.lookups += 1
        s.counters.depth += 2
    word = device_word(dev, slot_of(entry))
    return <int64_t>swp_tb_pfn(word) if swp_tb_is_folio(word) else -1


cdef int w_read(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef device_t *dev = NULL
    cdef uint64_t end
    cdef int i, err, taken = 0, tiers = 0
    s.counters.ops += 1
    for i in range(nr):
        end = entry + i
        err = chain_end(s, end, &end, NULL, NULL) if s.chain else 0
        if err == 0 and (s.chain or i == 0):
            err = run_check(s, end, 1 if s.chain else nr, CACHED, &dev)
        if err:
            return err
        taken += read_one(s, dev, slot_of(end), &where[i])
        if where[i].tier > POOL:
            s.counters.extents += i == 0 or where[i].tier != where[i - 1].tier or where[i].block != where[i - 1].block + 1
            s.counters.ios += (tiers >> where[i].tier & 1) == 0
            tiers |= 1 << where[i].tier
    return taken > 0


cdef int w_locate(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef uint64_t end
    cdef device_t *dev
    cdef counters_t kept = s.counters
    cdef int i, err = 0
    for i in range(nr):
        end = entry + i
        if s.chain:
            err = chain_end(s, end, &end, NULL, NULL)
        dev = device_at(s, end, 1)
        if err == 0:
            err = -EINVAL if dev == NULL else 0 if swp_tb_counts(device_word(dev, slot_of(end))) else -ENOENT
        if err:
            break
        place_of(s, dev, slot_of(end), zswap_peek(&dev.zswap, slot_of(end)), &where[i])
    s.counters = kept
    return err


# ---- data moves

cdef int in_place(words_t *s, device_t *dev, uint64_t slot, const host_t *host) noexcept nogil:
    """zswap_writeback_entry(): the object goes to the slot that was kept for it; 1, or 0 when there is none."""
    cdef place_t src, dst
    cdef uint64_t object = zswap_get(&dev.zswap, slot)
    cdef int err = 0
    if object == 0 or not dev.blocks:
        return 0
    place_of(s, dev, slot, object, &src)
    place_of(s, dev, slot, 0, &dst)
    if host != NULL and host.copy != NULL:
        err = host.copy(host.user, &src, &dst)
    if err:
        return err
    zswap_take(&dev.zswap, slot)
    place_blocks(s, dev, slot, 1)
    return 1


cdef int64_t w_transfer(void *d, const uint64_t *entries, int64_t n, int tier, const host_t *host) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef int64_t i, moved = 0, rest
    cdef device_t *dev = device_of_tier(s, tier)
    cdef int err
    if s.chain:
        return chain_transfer(s, entries, n, tier, host)
    if dev == NULL:
        return -EOPNOTSUPP if tier == POOL else -EINVAL
    for i in range(n):
        if device_at(s, entries[i], 1) == dev and swp_tb_is_shadow(device_word(dev, slot_of(entries[i]))):
            err = in_place(s, dev, slot_of(entries[i]), host)
            if err < 0:
                return err
            moved += err
    if moved == n:
        return moved
    rest = links_transfer(s, entries, n, tier, host) if s.reverse else walk_transfer(&OPS, s, &s.counters, entries, n, tier, host)
    return rest if rest < 0 and moved == 0 else moved + max(rest, <int64_t>0)


cdef int drop_cached(words_t *s, device_t *dev) noexcept nogil:
    """Slots that only the swap cache holds go; the slots looked at are counted."""
    cdef uint64_t slot, word
    for slot in range(1, dev.slots.nslots):
        dev.counters.scanned += 1
        word = device_word(dev, slot)
        if swp_tb_is_folio(word) and count_of(dev, slots_ci(&dev.slots, slot >> CLUSTER_SHIFT), slot) == 0:
            run_del(s, entry_of(s, dev, slot), 1, 0)
    return 0


cdef int device_off(words_t *s, device_t *dev, const host_t *host) noexcept nogil:
    cdef uint64_t first = entry_of(s, dev, 0)
    cdef int err = 0
    if s.chain:
        err = chain_swapoff(s, dev, host)
    if err == 0 and s.reverse:
        err = links_swapoff(s, dev, host)
    elif err == 0 and slots_used(&dev.slots):
        err = walk_swapoff(&OPS, s, &s.counters, first, first + (<uint64_t>1 << DEVICE_SHIFT), host)
    if err == 0 and slots_used(&dev.slots) and not s.chain:
        err = drop_cached(s, dev)
    if err == 0 and slots_used(&dev.slots):
        err = -EBUSY
    if err == 0:
        device_release(dev)
    return err


cdef int pool_off(words_t *s, const host_t *host) noexcept nogil:
    """Every object goes to its slot, or where there is none into memory, as with a device that goes."""
    cdef device_t *dev = &s.dev[0]
    cdef uint64_t slot
    cdef int err
    if not s.zswap or not dev.on:
        return -EINVAL
    if s.chain:
        return chain_pool_off(s, host)
    if s.ghost:
        return device_off(s, dev, host)
    for slot in range(dev.slots.nslots):
        s.counters.scanned += 1
        if zswap_peek(&dev.zswap, slot):
            err = in_place(s, dev, slot, host)
            if err < 0:
                return err
    s.zswap = False
    return 0


cdef int w_swapoff(void *d, int tier, const host_t *host) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef device_t *dev = device_of_tier(s, tier)
    if tier == POOL:
        return pool_off(s, host)
    if dev == NULL:
        return -EINVAL
    return device_off(s, dev, host)


# ---- with a reverse map to page table entries

cdef int w_mapped(void *d, uint64_t entry, int nr, uint64_t pte) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef int i, j, err
    s.counters.ops += 1
    err = run_lock(s, entry, nr, &dev, &ci)
    if err:
        return err
    err = check_words(dev, ci, slot_of(entry), nr, USERS)
    for i in range(nr if err == 0 else 0):
        err = cell_add(&s.links, cell_of(ci, slot_of(entry) + i), pte + i)
        if err:
            for j in range(i):
                cell_remove(&s.links, cell_of(ci, slot_of(entry) + j), pte + j)
            break
    slots_unlock(&dev.slots, ci)
    return err


cdef int w_unmapped(void *d, uint64_t entry, int nr, uint64_t pte) noexcept nogil:
    cdef words_t *s = <words_t *>d
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef int i, j, err
    s.counters.ops += 1
    err = run_lock(s, entry, nr, &dev, &ci)
    if err:
        return err
    for i in range(nr):
        err = cell_remove(&s.links, cell_of(ci, slot_of(entry) + i), pte + i)
        if err:
            for j in range(i):
                cell_add(&s.links, cell_of(ci, slot_of(entry) + j), pte + j)
            break
    slots_unlock(&dev.slots, ci)
    return err


cdef struct rename_t:
    words_t *s
    uint64_t old
    uint64_t new            # the entry, or the page


cdef int rename_to_slot(void *arg, uint64_t pte, uint64_t *value) noexcept nogil:
    cdef rename_t *r = <rename_t *>arg
    if value[0] != r.old:
        return PTE_KEEP
    value[0] = r.new
    return PTE_ENTRY


cdef int rename_to_page(void *arg, uint64_t pte, uint64_t *value) noexcept nogil:
    cdef rename_t *r = <rename_t *>arg
    if value[0] != r.old:
        return PTE_KEEP
    value[0] = r.new
    return PTE_PAGE


cdef int next_pte(words_t *s, uint64_t entry, uint64_t *pte) noexcept nogil:
    """One of the page table entries that name a slot, which is then named by it no more; -ENOENT when there is none left."""
    cdef device_t *dev = device_at(s, entry, 1)
    cdef ci_t *ci = slots_ci(&dev.slots, slot_of(entry) >> CLUSTER_SHIFT)
    cdef uint64_t cell
    if ci == NULL or ci.table == NULL:
        return -ENOENT
    cell = cell_of(ci, slot_of(entry))[0]
    if cell == 0:
        return -ENOENT
    pte[0] = cell >> 1 if cell & 1 else (<link_t *>cell).pte
    return cell_remove(&s.links, cell_of(ci, slot_of(entry)), pte[0])


cdef int links_move(words_t *s, uint64_t entry, int tier, const host_t *host) noexcept nogil:
    """A new slot for one entry's data; each page table entry that the map has is changed. 1, or 0: nothing to move."""
    cdef rename_t r
    cdef peek_t said
    cdef place_t src, dst
    cdef uint64_t pte
    cdef int err
    w_peek(s, entry, &said)
    if said.kind != PEEK_SHADOW or w_locate(s, entry, 1, &src) or src.tier == tier or src.tier == NOWHERE:
        return 0
    err = w_alloc_on(s, tier, 0, 0, said.memcg, &r.new)
    if err:
        return err
    w_locate(s, r.new, 1, &dst)
    err = host.copy(host.user, &src, &dst)
    r.s, r.old = s, entry
    while err == 0 and next_pte(s, entry, &pte) == 0:
        s.counters.ptes += 1
        err = host.one(host.user, pte, rename_to_slot, &r)
        if err == 0:
            err = w_dup(s, r.new, 1)
        if err == 0:
            err = w_mapped(s, r.new, 1, pte)
        if err == 0:
            err = w_put(s, entry, 1)
    w_cache_del(s, r.new, 1, said.value)
    w_peek(s, entry, &said)
    return err if err else said.kind == PEEK_FREE


cdef int64_t links_transfer(words_t *s, const uint64_t *entries, int64_t n, int tier, const host_t *host) noexcept nogil:
    cdef int64_t i, moved = 0
    cdef int err = 0
    if host == NULL or host.one == NULL:
        return -EOPNOTSUPP
    for i in range(n):
        err = links_move(s, entries[i], tier, host)
        if err < 0:
            break
        moved += err
    return err if err < 0 and not moved else moved


cdef int links_out(words_t *s, device_t *dev, uint64_t slot, const host_t *host) noexcept nogil:
    """One slot's data into memory, mapped where it was named."""
    cdef uint64_t entry = entry_of(s, dev, slot), pte
    cdef rename_t r
    cdef place_t src
    cdef peek_t said
    cdef int64_t pfn = w_cache_get(s, entry)
    cdef int err = 0
    if pfn < 0:
        w_locate(s, entry, 1, &src)
        pfn = host.load(host.user, entry, &src)
        if pfn < 0:
            return <int>pfn
        err = w_cache_add(s, entry, 1, pfn)
        if err == 0:
            err = w_read(s, entry, 1, &src)
    r.s, r.old, r.new = s, entry, pfn
    while err >= 0 and next_pte(s, entry, &pte) == 0:
        s.counters.ptes += 1
        err = host.one(host.user, pte, rename_to_page, &r)
        if err == 0:
            err = w_put(s, entry, 1)
    w_peek(s, entry, &said)
    if err >= 0 and said.count == 0:
        err = w_cache_del(s, entry, 1, 0)
        host.forget(host.user, pfn)
    return min(err, 0)


cdef int links_swapoff(words_t *s, device_t *dev, const host_t *host) noexcept nogil:
    """Each used slot of a device leads to its page table entries: no others are visited."""
    cdef uint64_t slot
    cdef int err = 0
    if host == NULL or host.one == NULL or host.load == NULL:
        return -EOPNOTSUPP
    for slot in range(1, dev.slots.nslots):
        s.counters.scanned += 1
        if swp_tb_counts(device_word(dev, slot)):
            err = links_out(s, dev, slot, host)
        if err:
            return err
    return 0


cdef design_ops_t OPS, OPS_REVERSE
OPS.alloc = w_alloc
OPS.dup = w_dup
OPS.put = w_put
OPS.writeout = w_writeout
OPS.cache_get = w_cache_get
OPS.cache_add = w_cache_add
OPS.cache_del = w_cache_del
OPS.used = w_used
OPS.size = w_size
OPS.bytes = w_bytes
OPS.read = w_read
OPS.locate = w_locate
OPS.peek = w_peek
OPS.hops = w_hops
OPS.alloc_on = w_alloc_on
OPS.transfer = w_transfer
OPS.swapoff = w_swapoff
OPS.wasted = w_wasted
OPS_REVERSE = OPS
OPS_REVERSE.mapped = w_mapped
OPS_REVERSE.unmapped = w_unmapped


# ---- from scratch

cdef const char *words_fault(words_t *s, uint64_t *where) noexcept nogil:
    """The first thing that is wrong, or NULL."""
    cdef counters_t kept = s.counters
    cdef uint64_t nodes = 0
    cdef int64_t redirects = 0
    cdef const char *fault = NULL
    cdef int i
    for i in range(s.ndev):
        if s.dev[i].on and fault == NULL:
            fault = device_fault(s, &s.dev[i], where, &nodes, &redirects)
    s.counters = kept
    if fault != NULL:
        return fault
    if nodes != s.nodes.nodes:
        return b"nodes in use are not those in the trees"
    if redirects != s.redirects:
        return b"redirections do not add up"
    if s.counters.held:
        return b"a lock is held"
    return NULL


# ---- life

cdef int build_device(words_t *s, device_t *dev, uint64_t n, int index, bint zram) noexcept nogil:
    """A device as the phase has it; -1 without memory."""
    cdef uint64_t stride = CI_TABLE if s.phase < 3 else CI_EXTEND if s.phase == 3 else CI_MEMCG
    dev.memcg = MEMCG_WORD if s.chain else MEMCG_TABLE if s.phase == 4 else MEMCG_ARRAY
    dev.flags_cache = s.phase == 1
    dev.blocks = not (s.ghost and dev == s.dev)
    dev.second = TABLE_BYTES if s.reverse else 0
    if s.reverse:
        stride = CI_SECOND
    if index == INDEX_XARRAY:
        stride = CI_DYNAMIC
        n += CLUSTER            # numbers begin at 1
    if device_init(dev, n, stride, index, &s.nodes, &s.counters) < 0 or device_arrays(dev, n, s.phase < 3, s.phase < 4) < 0:
        return -1
    if index == INDEX_FLAT and s.phase >= 3:
        dev.bad_words = True
        if device_mark_bad(dev) < 0:
            return -1
    if s.zswap and dev == s.dev and zswap_init(&dev.zswap, n, &s.nodes, &s.counters) < 0:
        return -1
    if zram:
        dev.zram = <uint64_t *>counted_alloc(&s.counters, 8 * ZRAM_WORDS * n, 8 * ZRAM_WORDS * n)
    return -1 if zram and dev.zram == NULL else 0


cdef class WordDesign(Design):
    """Devices of swap table words; the design files say which parts a design has.

    Parameters
    ----------
    slots : int
        Slots of 4 KiB on each device, the header's included, 1 to 2^32 - 1.
    phase : int
        1 to 4, of the swap table.
    backend : str
        ``"disk"``, or ``"zswap"``: what is written to the first device goes to the compressed pool.
    devices : int
        Block devices, tiers 1, 2, ...: 1 to 4, or 0 to 4 beside a ghost.
    ghost : bool
        The first device has no blocks and is none of those; only what is in the pool can be on it.
    large : bool
        The first device takes large folios.
    zram : bool
        The first device is zram, with its own table.
    chain : bool
        A slot whose data has moved points to the new one.
    reverse : bool
        Slots know the page table entries that name them.
    index : str
        How the first device finds a cluster: ``"flat"``, ``"array"`` or ``"xarray"``.

    Raises
    ------
    SwapValueError
        One of them is out of range.
    MemoryError
    """

    def __cinit__(self, *args, **kwargs):
        cdef words_t *s = <words_t *>calloc(1, sizeof(words_t))
        if s == NULL:
            raise MemoryError
        self.state = s
        self.counters = &s.counters

    def __init__(
        self, slots, *, phase=4, backend="disk", devices=1, ghost=False, large=True, zram=False, chain=False,
        reverse=False, index="flat",
    ):
        cdef words_t *s = <words_t *>self.state
        cdef uint64_t n = checked_slots(slots)
        cdef int i, kind = checked_index(index), count = checked_devices(devices, not ghost)
        if self.ops != NULL:
            raise TypeError("a design is made once")
        s.phase = phase
        s.zswap = checked_backend(backend) == "zswap"
        s.ghost = ghost
        s.large = large
        s.chain = chain
        s.reverse = reverse
        s.links.counters = &s.counters
        slab_init(&s.nodes, sizeof(radix_node_t), &s.counters)
        for i in range(count + s.ghost):
            s.ndev += 1
            s.dev[i].counters = &s.counters
            if build_device(s, &s.dev[i], n, kind if i == 0 else INDEX_FLAT, zram and i == 0) < 0:
                raise MemoryError
        self.ops = &OPS_REVERSE if s.reverse else &OPS

    def __dealloc__(self):
        cdef words_t *s = <words_t *>self.state
        cdef int i
        cdef uint64_t slot
        cdef ci_t *ci
        if s == NULL:
            return
        for i in range(s.ndev):
            for slot in range(0, s.dev[i].slots.nslots if s.reverse and s.dev[i].on else 0, CLUSTER):
                ci = slots_ci(&s.dev[i].slots, slot >> CLUSTER_SHIFT)
                if ci != NULL and ci.second != NULL:
                    links_drop(&s.links, ci, slot, CLUSTER)
            device_release(&s.dev[i])
        if s.nodes.counters != NULL:
            slab_destroy(&s.nodes)
        free(s)

    def memory(self) -> dict:
        """Return the bytes by kind, and their "total"; kinds that the design has not are 0."""
        cdef words_t *s = <words_t *>self.state
        cdef device_t *dev
        cdef int i
        kinds = dict.fromkeys(KINDS, 0)
        for i in range(s.ndev):
            dev = &s.dev[i]
            if not dev.on:
                continue
            kinds["tables"] += dev.tables * TABLE_BYTES
            kinds["extend_tables"] += dev.extends * EXTEND_BYTES
            kinds["memcg_tables"] += dev.memcgs * MEMCG_BYTES
            kinds["pte_maps"] += dev.seconds * dev.second
            kinds["cluster_info"] += dev.slots.nexist * dev.slots.stride
            kinds["rounding"] += slots_bytes(&dev.slots) - dev.slots.nexist * dev.slots.stride
            kinds["xarray_nodes"] += radix_nodes(&dev.slots.map) * sizeof(radix_node_t)
            kinds["swap_map"] += dev.slots.nslots if dev.map.map != NULL else 0
            kinds["continuation"] += map_more_bytes(&dev.map) + map_links(&dev.map)
            kinds["swap_cgroup"] += 2 * dev.slots.nslots if dev.cgroup != NULL else 0
            kinds["zeromap"] += (dev.slots.nslots + 63) // 64 * 8 if dev.zero != NULL else 0
            kinds["zram_table"] += 8 * ZRAM_WORDS * dev.slots.nslots if dev.zram != NULL else 0
            kinds["zswap_trees"] += zswap_bytes(&dev.zswap)
            kinds["zswap_nodes"] += zswap_nodes(&dev.zswap) * sizeof(radix_node_t)
        kinds["pte_links"] = s.links.n * LINK_BYTES
        kinds["slab_slack"] = slab_slack(&s.nodes)
        return kinds | {"total": sum(kinds.values())}

    def check(self) -> None:
        """Verify every invariant from scratch.

        Raises
        ------
        CheckError
            With the slot (or the part) and what does not hold.
        """
        cdef words_t *s = <words_t *>self.state
        cdef uint64_t where = 0
        cdef const char *fault
        with nogil:
            fault = words_fault(s, &where)
        if fault != NULL:
            raise CheckError(f"{self.name}: at {where}: {(<bytes>fault).decode()}")
        if self.memory()["total"] != self.bytes:
            raise CheckError(f"{self.name}: the kinds of memory do not add up to {self.bytes}: {self.memory()}")


KINDS = (
    "tables", "memcg_tables", "extend_tables", "pte_maps", "pte_links", "cluster_info", "rounding", "xarray_nodes",
    "swap_map", "continuation", "swap_cgroup", "zeromap", "zram_table", "zswap_trees", "zswap_nodes", "slab_slack",
)
