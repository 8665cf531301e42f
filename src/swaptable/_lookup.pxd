# Look-up without locks: words, locations, and where the data of a slot is.
# Imports the area, packed clusters and what lies under them.
# Used by the core only; the layout is private.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from swaptable._area cimport *
from swaptable._atomic cimport *
from swaptable._cluster cimport *
from swaptable._entry cimport *
from swaptable._packed cimport *
from swaptable._pool cimport *
from swaptable._space cimport *

cdef extern from *:
    """
    #ifndef SWAPTABLE_LOOKUP
    #define SWAPTABLE_LOOKUP
    #define BLOCK 8         /* slots that a look-up compares at once */
    static inline int same_cluster(const int64_t *slots) {
        uint64_t differ = slots[0] ^ slots[BLOCK - 1];
        if (differ >> 9) return 0;
        for (int i = 1; i < BLOCK - 1; i++) differ |= slots[0] ^ slots[i];
        return differ >> 9 == 0;
    }
    #endif
    """
    const int BLOCK
    int same_cluster(const int64_t *slots) noexcept nogil

cdef enum:
    READ_BATCH = 4096       # slots that a reader looks up before it lets an epoch pass
    AHEAD_READ = 24         # prefetch distances, in elements
    AHEAD_LOC = 12          # a location's address is in the cluster, which must have come by then


cdef inline uint64_t word_in(area_t *t, uint64_t *words, int64_t slot) noexcept nogil:
    """The word of a slot whose cluster has *words*: a table, a packed record, or nothing. Context: an epoch."""
    if is_table(words):
        return load_acquire(words + (slot & (CLUSTER_SLOTS - 1)))
    return unpack_word(packed_of(t, words), slot & (CLUSTER_SLOTS - 1)) if words != NULL else 0


cdef inline uint64_t area_word(area_t *t, int64_t slot) noexcept nogil:
    """The word of a slot, without a lock; 0 for a slot out of range."""
    cdef uint32_t epoch
    cdef uint64_t word
    if not in_range(t, slot):
        return 0
    epoch = epoch_enter(&t.pool.readers)
    word = word_in(t, <uint64_t *>load_ptr(&t.tables[slot >> CLUSTER_SHIFT]), slot)
    epoch_exit(&t.pool.readers, epoch)
    return word


cdef inline void prefetch_ahead(area_t *t, const int64_t *slots, int64_t k, int64_t n) noexcept nogil:
    """Ask for the word of the element that is AHEAD_READ after *k*, unless it is in *k*'s cluster. Context: an epoch."""
    cdef int64_t ahead
    if k + AHEAD_READ < n:
        ahead = slots[k + AHEAD_READ]
        if ahead >> CLUSTER_SHIFT != slots[k] >> CLUSTER_SHIFT and in_range(t, ahead):
            prefetch_read(<uint64_t *>load_ptr(&t.tables[ahead >> CLUSTER_SHIFT]) + (ahead & (CLUSTER_SLOTS - 1)))


cdef inline bint lookup_block(area_t *t, const int64_t *slots, uint64_t *out) noexcept nogil:
    """Words of BLOCK slots, if they are all of one cluster with a table that is in range to its end. Context: an epoch."""
    cdef uint64_t *words
    cdef int j
    if not same_cluster(slots) or not in_range(t, slots[0] | (CLUSTER_SLOTS - 1)):
        return False
    words = <uint64_t *>load_ptr(&t.tables[slots[0] >> CLUSTER_SHIFT])
    if is_packed(words):
        return False
    for j in range(BLOCK):
        out[j] = load_relaxed(words + (slots[j] & (CLUSTER_SLOTS - 1))) if words != NULL else 0
    return True


cdef inline int64_t lookup(area_t *t, const int64_t *slots, uint64_t *out, int64_t n) noexcept nogil:
    """Words of many slots, without locks. Return: how many were in range before the first that was not."""
    cdef int64_t k = 0, end
    cdef int64_t slot
    cdef uint32_t epoch
    while k < n:
        end = n if n - k <= READ_BATCH else k + READ_BATCH
        epoch = epoch_enter(&t.pool.readers)
        while k < end:
            prefetch_ahead(t, slots, k, n)
            if k + BLOCK <= end and lookup_block(t, slots + k, out + k):
                k += BLOCK
                continue
            slot = slots[k]
            if not in_range(t, slot):
                epoch_exit(&t.pool.readers, epoch)
                return k
            out[k] = word_in(t, <uint64_t *>load_ptr(&t.tables[slot >> CLUSTER_SHIFT]), slot)
            k += 1
        epoch_exit(&t.pool.readers, epoch)
    return n


# ---- locations

cdef inline uint32_t loc_in(area_t *t, int64_t slot) noexcept nogil:
    """The location of a slot, 0 for none. Context: an epoch; the slot is in range."""
    cdef uint32_t locs = load32_acquire(&t.clusters[slot >> CLUSTER_SHIFT].locs)
    return load32_acquire(&half_at(&t.pool, LOCATIONS, locs)[slot & (CLUSTER_SLOTS - 1)]) if locs else 0


cdef inline int64_t lookup_locs(area_t *t, const int64_t *slots, uint32_t *out, int64_t n) noexcept nogil:
    """Locations of many slots, without locks. Return: how many were in range before the first that was not."""
    cdef int64_t k = 0, end
    cdef uint32_t epoch
    while k < n:
        end = n if n - k <= READ_BATCH else k + READ_BATCH
        epoch = epoch_enter(&t.pool.readers)
        while k < end and in_range(t, slots[k]):
            # A cluster without a table has no structure to look at either.
            out[k] = loc_in(t, slots[k]) if load_ptr(&t.tables[slots[k] >> CLUSTER_SHIFT]) != NULL else 0
            k += 1
        epoch_exit(&t.pool.readers, epoch)
        if k < end:
            return k
    return n


cdef inline void prefetch_data(area_t *t, const int64_t *slots, int64_t k, int64_t n) noexcept nogil:
    """Ask for word and cluster of an element ahead, and for the location of a nearer one. Context: an epoch."""
    cdef int64_t ahead
    cdef uint32_t locs
    if k + AHEAD_READ < n:
        ahead = slots[k + AHEAD_READ]
        if in_range(t, ahead):
            prefetch_read(<uint64_t *>load_ptr(&t.tables[ahead >> CLUSTER_SHIFT]) + (ahead & (CLUSTER_SLOTS - 1)))
            prefetch_read(&t.clusters[ahead >> CLUSTER_SHIFT].locs)
    if k + AHEAD_LOC < n:
        ahead = slots[k + AHEAD_LOC]
        if in_range(t, ahead):
            locs = load32_acquire(&t.clusters[ahead >> CLUSTER_SHIFT].locs)
            if locs:
                prefetch_read(&half_at(&t.pool, LOCATIONS, locs)[ahead & (CLUSTER_SLOTS - 1)])


cdef inline bint data_in(area_t *t, int64_t slot, uint64_t *words, int32_t *device, int64_t *block) noexcept nogil:
    """Where the data of a slot is: device and block, or -1 twice. Context: an epoch. Return: false when the slot changed meanwhile."""
    cdef uint64_t word = word_in(t, words, slot), b
    cdef uint32_t loc
    device[0], block[0] = -1, -1
    if not swp_tb_counts(word) or swp_tb_zero(word):
        return True
    loc = loc_in(t, slot)
    if loc:
        device[0] = member_of(t, loc, &b)
        block[0] = <int64_t>b if device[0] >= 0 else -1
    elif has_own(t, <uint32_t>(slot >> CLUSTER_SHIFT)):
        device[0], block[0] = t.member, slot
    # The word again: a slot that was freed and taken in between would have one slot's word and another's location.
    return word_in(t, <uint64_t *>load_ptr(&t.tables[slot >> CLUSTER_SHIFT]), slot) == word


cdef inline int64_t resolve(area_t *t, const int64_t *slots, int32_t *devices, int64_t *blocks, int64_t n) noexcept nogil:
    """Where the data of many slots is, without locks: a hint, since I/O needs the pin.

    Return: how many were in range before the first that was not.
    """
    cdef int64_t k = 0, end
    cdef uint64_t *words
    cdef uint32_t epoch
    while k < n:
        end = n if n - k <= READ_BATCH else k + READ_BATCH
        epoch = epoch_enter(&t.pool.readers)
        while k < end and in_range(t, slots[k]):
            prefetch_data(t, slots, k, n)
            words = <uint64_t *>load_ptr(&t.tables[slots[k] >> CLUSTER_SHIFT])
            if words == NULL:
                devices[k], blocks[k] = -1, -1
                k += 1
            elif data_in(t, slots[k], words, &devices[k], &blocks[k]):
                k += 1
        epoch_exit(&t.pool.readers, epoch)
        if k < end:
            return k
    return n
