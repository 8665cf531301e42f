# A client in Cython: the kernels on a table that Python made, from threads that hold no GIL.
# Cimports the public names of the package, as an embedder would.
# Used by test_embed.py, which compiles it against the installed package.
from libc.errno cimport EINVAL, ENOENT, ESTALE
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from swaptable cimport (
    KIND_BAD,
    KIND_FOLIO,
    KIND_LENT,
    KIND_NULL,
    KIND_POINTER,
    KIND_SHADOW,
    SwapTable,
    swap_stat_t,
    swp_tb_count,
    swp_tb_counts,
    swp_tb_is_folio,
    swp_tb_is_shadow,
    swp_tb_kind,
    swp_tb_memcg,
    swp_tb_pfn,
    swp_tb_shadow,
    swp_tb_zero,
    table_alloc,
    table_alloc_contiguous,
    table_alloc_many,
    table_block_alloc,
    table_block_free,
    table_blocks_used,
    table_bytes,
    table_cache_add,
    table_cache_add_many,
    table_cache_del,
    table_cache_del_many,
    table_compact,
    table_writeout,
    table_dup,
    table_dup_many,
    table_free,
    table_free_many,
    table_locs,
    table_loc,
    table_move,
    table_next,
    table_owner,
    table_put,
    table_put_many,
    table_resolve,
    table_resolve_many,
    table_t,
    table_trim,
    table_usable,
    table_used,
    table_users,
    table_word,
    table_words,
    table_zero_clear,
    table_zero_set,
)

KINDS = {
    "null": KIND_NULL,
    "shadow": KIND_SHADOW,
    "folio": KIND_FOLIO,
    "pointer": KIND_POINTER,
    "lent": KIND_LENT,
    "bad": KIND_BAD,
}


cdef int life(table_t *t, int cpu, uint64_t pfn, swap_stat_t *st) noexcept nogil:
    """One folio of 4 slots from its allocation to its end; 0, or the number of the step that went wrong."""
    cdef int64_t slot
    cdef uint64_t word
    cdef uint64_t[4] old
    if table_alloc(t, 2, cpu, pfn, 9, &slot, st):
        return 1
    word = table_word(t, slot + 3)
    if not swp_tb_is_folio(word) or swp_tb_pfn(word) != pfn or swp_tb_memcg(word) != 9 or swp_tb_count(word) or table_writeout(t, slot, 4, st):
        return 2
    if table_dup(t, slot, 4, st) or table_cache_del(t, slot, 4, 77, st):
        return 3
    word = table_word(t, slot)
    if table_writeout(t, slot, 4, st) == 0:
        return 9
    if not swp_tb_is_shadow(word) or swp_tb_shadow(word) != 77 or swp_tb_count(word) != 1 or swp_tb_zero(word):
        return 4
    if table_cache_add(t, slot, 1, pfn, old, st) or old[0] != word or table_cache_del(t, slot, 1, 77, st):
        return 5
    if table_put(t, slot, 1, st) or table_word(t, slot) or swp_tb_counts(table_word(t, slot)):
        return 6
    if table_put(t, slot, 1, st) != -ENOENT:
        return 7
    return 8 if table_free(t, slot + 1, 3, st) else 0


def lives(SwapTable table, int cpu, int n):
    """*n* lives in a row without the GIL; the first step that went wrong, and the caller's own count of words written."""
    cdef table_t *t = table.t
    cdef swap_stat_t st
    cdef int i, step = 0
    memset(&st, 0, sizeof(st))
    with nogil:
        for i in range(n):
            step = life(t, cpu, i, &st)
            if step:
                break
    return step, st.words


def state(SwapTable table):
    """(used, usable, bytes) by the kernels."""
    return table_used(table.t), table_usable(table.t), table_bytes(table.t)


def kind(uint64_t word):
    """What *word* is, by the leaf."""
    return swp_tb_kind(word)


def past_the_end(SwapTable table, int order):
    """A folio that the kernel's search has no room for: its first slot, then device and block of the last."""
    cdef swap_stat_t st
    cdef int64_t slot = -1, block
    cdef int32_t device
    cdef int err
    memset(&st, 0, sizeof(st))
    with nogil:
        err = table_alloc_contiguous(table.t, order, 0, 5, 1, &slot, &st)
        if err == 0:
            err = table_resolve(table.t, slot + (1 << order) - 1, &device, &block)
    return err or (slot, device, block)


def move(SwapTable table, int64_t slot, uint32_t old, uint32_t new):
    """0, or the error of a move."""
    cdef swap_stat_t st
    memset(&st, 0, sizeof(st))
    return table_move(table.t, slot, old, new, &st)


def stale():
    return -ESTALE


cdef int batch_life(table_t *t, swap_stat_t *st) noexcept nogil:
    """Four folios of two slots each from allocation to end, in batches; 0, or the number of the step that went wrong."""
    cdef int64_t[4] slots
    cdef int64_t[4] blocks
    cdef int32_t[4] devices
    cdef uint32_t[4] locs
    cdef uint64_t[8] words
    cdef uint64_t[4] pfns
    cdef int64_t done = -1
    cdef uint64_t users
    cdef int k, _
    for k in range(4):
        pfns[k] = 100 + k
    if table_alloc_many(t, 4, 10, 0, pfns, 5, False, slots, &done, st) != -EINVAL or done:
        return 1
    if table_alloc_many(t, 4, 1, 0, pfns, 5, False, slots, &done, st) or done != 4 or table_dup_many(t, slots, 4, 2, &done, st):
        return 2
    if table_words(t, slots, 4, words, &done) or swp_tb_pfn(words[3]) != 103 or table_cache_del_many(t, slots, 4, 2, pfns, NULL, st):
        return 3
    if table_cache_add_many(t, slots, 4, 2, pfns, words, &done, st) or swp_tb_shadow(words[7]) != 103:
        return 4
    if table_zero_set(t, slots[1], 2, st) or not swp_tb_zero(table_word(t, slots[1])) or table_resolve_many(t, slots, 4, devices, blocks, &done):
        return 5
    if devices[0] or blocks[0] != slots[0] or devices[1] != -1 or table_zero_clear(t, slots[1], 2, st) or table_locs(t, slots, 4, locs, NULL) or locs[2]:
        return 6
    for _ in range(19):
        if table_dup(t, slots[0], 1, st):
            return 7
    if table_users(t, slots[0], &users, st) or users != 20 or swp_tb_count(table_word(t, slots[0])) != 15:
        return 8
    if table_put_many(t, slots, 4, 1, &done, st) or table_put_many(t, &slots[1], 1, 1, &done, st) != -ENOENT or done:
        return 9
    return 10 if table_free_many(t, slots, 4, 2, &done, st) or done != 4 else 0


def batch(SwapTable table):
    """The first step that went wrong, or 0; and the words written."""
    cdef swap_stat_t st
    cdef int step
    memset(&st, 0, sizeof(st))
    with nogil:
        step = batch_life(table.t, &st)
    return step, st.words


def write_back(SwapTable table, SwapTable lower, int64_t slot):
    """A swapped-out slot's data moves to another device: where it is then, and what the last step of each kind said.

    Without the copy of the data, which is the caller's.
    """
    cdef table_t *t = table.t
    cdef table_t *to = lower.t
    cdef swap_stat_t st
    cdef uint64_t old
    cdef uint32_t[2] locs
    cdef int64_t block = -1, done = -1, owned = -1
    cdef int32_t device = -1, member = -1
    cdef int err
    memset(&st, 0, sizeof(st))
    with nogil:
        err = table_cache_add(t, slot, 1, 0, &old, &st)
        if err == 0 and table_block_alloc(to, 2, locs, &st) != 2:
            err = -1
        if err == 0:
            err = table_move(t, slot, table_loc(t, slot), locs[1], &st)
        if err == 0:
            err = table_block_free(to, locs, 2, &done, &st)    # the second is the slot's now
        table_cache_del(t, slot, 1, swp_tb_shadow(old), &st)
        table_resolve(t, slot, &device, &block)
        table_owner(to, block, &member, &owned, &st)
    return {
        "free": err, "given back": done, "device": device, "block": block, "owner": (member, owned),
        "loc": table_loc(t, slot), "blocks": (table_blocks_used(t), table_blocks_used(to)),
    }


def clusters(SwapTable table):
    """The first slots of all clusters with words."""
    cdef int64_t slot = table_next(table.t, 0)
    found = []
    while slot >= 0:
        found.append(slot)
        slot = table_next(table.t, slot + 512)
    return found


def compact(SwapTable table, uint64_t now):
    """Clusters packed of those that may be, and bytes of the table before and after memory goes back."""
    cdef swap_stat_t st
    cdef uint64_t packed, before
    memset(&st, 0, sizeof(st))
    with nogil:
        packed = table_compact(table.t, 0, 1 << 20, now, 1, &st)
        before = table_bytes(table.t)
        table_trim(table.t)
    return packed, before, table_bytes(table.t)
