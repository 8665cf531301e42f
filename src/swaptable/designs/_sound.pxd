# Whether devices of words are what they should be, rebuilt from the words.
# May import words, the device of tables, zswap's index and the kernels on runs of slots.
# Used by the designs that are made of them, in check().
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from swaptable._entry cimport (
    COUNT_MAX, KIND_INVALID, KIND_POINTER, SWP_TB_BAD, swp_tb_count, swp_tb_counts, swp_tb_is_folio, swp_tb_kind,
)
from swaptable.designs._chain cimport pointer_target
from swaptable.designs._device cimport MEMCG_TABLE, ZRAM_WORDS, device_t, device_word
from swaptable.designs._links cimport cell_count, cell_of
from swaptable.designs._map cimport CONTINUED, HAS_CACHE, map_count, map_digits_left
from swaptable.designs._radix cimport radix_nodes
from swaptable.designs._run cimport count_of, device_at, slot_of, words_t
from swaptable.designs._slots cimport (
    CI_EXTEND, CLUSTER, CLUSTER_SHIFT, ci_t, slots_ci, slots_end, slots_sound, slots_unusable,
)
from swaptable.designs._zswap cimport zswap_nodes, zswap_peek


cdef inline bint far_count(ci_t *ci, int off) noexcept nogil:
    """Does the table of counts have one for the slot?"""
    return ci.extend != NULL and ci.extend[off] >= COUNT_MAX


cdef inline bint left_over(device_t *dev, ci_t *ci, uint64_t slot) noexcept nogil:
    """Does anything but the word still know a slot that is free?"""
    if zswap_peek(&dev.zswap, slot) or (dev.cgroup != NULL and dev.cgroup[slot]):
        return True
    if dev.memcg == MEMCG_TABLE and ci.memcg != NULL and ci.memcg[slot & (CLUSTER - 1)]:
        return True
    if dev.zero != NULL and dev.zero[slot >> 6] >> (slot & 63) & 1:
        return True
    return dev.zram != NULL and dev.zram[slot * ZRAM_WORDS] != 0


cdef inline const char *slot_fault(words_t *s, device_t *dev, ci_t *ci, uint64_t slot) noexcept nogil:
    """What is wrong with a slot, or NULL."""
    cdef int off = slot & (CLUSTER - 1)
    cdef uint64_t word = ci.table[off] if ci.table != NULL else 0
    cdef bint used = swp_tb_counts(word), bad = slot == 0 or slot >= dev.slots.nslots
    if swp_tb_kind(word) == KIND_INVALID or (word == SWP_TB_BAD) != (bad and dev.bad_words):
        return b"no word that it could have"
    if bad:
        return NULL
    if swp_tb_kind(word) == KIND_POINTER:
        if not s.chain or device_at(s, pointer_target(word), 1) == NULL:
            return b"it leads where there is no slot"
        if device_word(device_at(s, pointer_target(word), 1), slot_of(pointer_target(word))) == 0:
            return b"it leads to a free slot"
        return NULL
    if dev.map.map != NULL:
        if (dev.map.map[slot] & HAS_CACHE != 0) != (dev.flags_cache and swp_tb_is_folio(word)):
            return b"the map and the word disagree on the cache"
        if swp_tb_count(word) or (map_count(&dev.map, slot) and not used):
            return b"the map and the word disagree on users"
        if (dev.map.map[slot] & CONTINUED != 0) != map_digits_left(&dev.map, slot):
            return b"the map and its further digits disagree"
    elif dev.slots.stride >= CI_EXTEND and used and (swp_tb_count(word) == COUNT_MAX) != far_count(ci, off):
        return b"the count's table and the word disagree"
    if used and not swp_tb_is_folio(word) and count_of(dev, ci, slot) == 0:
        return b"in use without users and not cached"
    if not used and left_over(dev, ci, slot):
        return b"free, but a memcg, an object, a zero bit or zram has it"
    if s.reverse and ci.second != NULL and cell_count(cell_of(ci, slot)[0]) > (count_of(dev, ci, slot) if used else 0):
        return b"more page table entries than users"
    return NULL


cdef inline const char *cluster_fault(words_t *s, device_t *dev, uint64_t id, uint64_t *where, int64_t *sums) noexcept nogil:
    """The first thing that is wrong with a cluster, or NULL; sums: tables, second tables, memcg, counts, Pointers, objects."""
    cdef ci_t *ci = slots_ci(&dev.slots, id)
    cdef const char *fault
    cdef int off, used = 0, far = 0
    cdef uint64_t word
    cdef bint kept = dev.bad_words and slots_unusable(&dev.slots, id) > 0
    if ci == NULL:
        return NULL
    where[0] = id << CLUSTER_SHIFT
    for off in range(CLUSTER):
        where[0] = (id << CLUSTER_SHIFT) + off
        fault = slot_fault(s, dev, ci, where[0])
        if fault != NULL:
            return fault
        word = ci.table[off] if ci.table != NULL else 0
        used += word != 0 and word != SWP_TB_BAD
        far += dev.slots.stride >= CI_EXTEND and dev.map.map == NULL and swp_tb_counts(word) and swp_tb_count(word) == COUNT_MAX
        sums[4] += swp_tb_kind(word) == KIND_POINTER
        sums[5] += where[0] < dev.slots.nslots and zswap_peek(&dev.zswap, where[0]) != 0
    if used != ci.count - slots_unusable(&dev.slots, id) or ci.lock:
        return b"the cluster's count is not the number of its used slots, or it is locked"
    if (ci.table != NULL) != (used > 0 or kept):
        return b"a table without slots, or slots without one"
    if dev.slots.stride >= CI_EXTEND and (ci.extend != NULL) != (far > 0):
        return b"a table of counts that nobody needs, or none where one is needed"
    sums[0] += ci.table != NULL
    sums[1] += dev.second > 0 and ci.second != NULL
    sums[2] += dev.memcg == MEMCG_TABLE and ci.memcg != NULL
    sums[3] += dev.slots.stride >= CI_EXTEND and ci.extend != NULL
    return NULL


cdef inline const char *device_fault(words_t *s, device_t *dev, uint64_t *where, uint64_t *nodes, int64_t *redirects) noexcept nogil:
    cdef int64_t sums[6]
    cdef int64_t zswap = zswap_nodes(&dev.zswap), map = radix_nodes(&dev.slots.map)
    cdef const char *fault = NULL
    cdef uint64_t id
    memset(sums, 0, sizeof(sums))
    if not slots_sound(&dev.slots):
        return b"the allocator's lists or counts are damaged"
    if zswap < 0 or map < 0:
        return b"an xarray is damaged"
    nodes[0] += zswap + map
    for id in range(slots_end(&dev.slots)):
        fault = cluster_fault(s, dev, id, where, sums)
        if fault != NULL:
            return fault
    redirects[0] += sums[4] if dev.blocks else 0
    if sums[0] != dev.tables or sums[1] != dev.seconds or sums[2] != dev.memcgs or sums[3] != dev.extends:
        return b"tables do not add up"
    if sums[5] != dev.zswap.objects:
        return b"the pool's objects do not add up"
    return NULL
