# Designs whose entries are virtual slots with a word of a swap table and a second table that says where the data is.
# May import words, locks, the protocol, the device of tables and the blocks behind virtual slots.
# Used by the design files beside it: vswap_table, vswap_16, vswap_16x.
#
# One module for all of them, since each extension module has a cost of its own; what a design is made of is in its
# file. The front is a device without blocks under the kernel's allocator, its clusters in an xarray, a sparse array or
# a flat one. The second table has 8 bytes a slot (virtual_table: an object of the pool, or type and block) or 4 (an
# index into an xarray of the pool's objects, or device and block). Both exist while the cluster is used.
# A writeout gives blocks that stay with the entry until it is freed; data moves by a store to the second table.
"""Virtual slots with swap table words: the Swap Table Edition, and the 16- and 12-byte forms argued for."""

from libc.errno cimport EINVAL, ENOENT, ENOMEM
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from swaptable._entry cimport swp_tb_counts, swp_tb_is_folio, swp_tb_pfn, swp_tb_shadow, swp_tb_zero
from swaptable.designs._blocks cimport (
    MEMCG_TABLE_BYTES, OWNER_BYTES, OWNER_NONE, OWNER_TABLE, OWNER_WORD, backing_count, backing_fault, backing_free,
    backing_place, backing_release, backing_size, backing_swapoff, backing_t, backing_transfer, backing_used, bits_bytes,
    blocks_cache_only, blocks_init, code_block, code_fault, code_of, code_place, code_tier, front_t,
)
from swaptable.designs._count cimport counted_lock, counted_unlock
from swaptable.designs._design cimport (
    PEEK_BAD, PEEK_FOLIO, PEEK_FREE, PEEK_SHADOW, POOL, Design, counters_t, design_ops_t, host_t, peek_t, place_t,
)
from swaptable.designs._device cimport (
    EXTEND_BYTES, MEMCG_BYTES, MEMCG_TABLE, MEMCG_WORD, TABLE_BYTES, device_init, device_memcg, device_release, device_t,
    device_word, users_of,
)
from swaptable.designs._radix cimport (
    radix_first_free, radix_init, radix_insert, radix_load, radix_node_t, radix_nodes, radix_release,
    radix_remove, radix_t, slab_destroy, slab_init, slab_slack,
)
from swaptable.designs._run cimport (
    CACHED, alloc_from, clear_zero, count_of, device_at, hooks_t, run_add, run_check, run_del, run_dup, run_lock, run_put,
    words_t,
)
from swaptable.designs._slots cimport (
    CI_DYNAMIC, CI_SECOND, CLUSTER, CLUSTER_SHIFT, INDEX_FLAT, INDEX_XARRAY, ci_t, slots_bytes, slots_ci, slots_end,
    slots_unlock, slots_used,
)
from swaptable.designs._sound cimport device_fault

from swaptable.designs._design import checked_backend, checked_devices, checked_index, checked_slots
from swaptable.errors import CheckError, SwapValueError

cdef enum:
    WIDE = 8                # bytes a slot of the second table
    NARROW = 4
    TAG_POOL = 1            # of a wide entry, low 3 bits
    TAG_BLOCK = 2
    TYPE_SHIFT = 59         # top 5 bits
    TYPE_NARROW = 30        # of a narrow one: top 2 bits, 0 for the pool
    MOST_SHIFT = 32         # of the slots of a front that nothing bounds


cdef struct virtual_t:
    words_t w               # the front is its first device, the only one
    backing_t backing
    radix_t objects         # narrow: index -> object of the pool
    int width
    uint64_t pending[CLUSTER]   # places of slots that have just become free
    int npending


# ---- the second table

cdef inline uint64_t wide_code(uint64_t value) noexcept nogil:
    if value & 7 == TAG_POOL:
        return value >> 3
    return code_of(<int>(value >> TYPE_SHIFT), (value & ~(<uint64_t>31 << TYPE_SHIFT)) >> 3) if value else 0


cdef inline uint64_t wide_value(uint64_t code) noexcept nogil:
    if code_tier(code) == POOL:
        return code << 3 | TAG_POOL
    return <uint64_t>code_tier(code) << TYPE_SHIFT | code_block(code) << 3 | TAG_BLOCK if code else 0


cdef inline uint64_t narrow_code(virtual_t *s, uint32_t value) noexcept nogil:
    """An index of the pool is looked up: the steps are counted by whoever keeps the counters."""
    if value >> TYPE_NARROW:
        return code_of(value >> TYPE_NARROW, value & ((1u << TYPE_NARROW) - 1))
    if value == 0:
        return 0
    s.w.counters.lookups += 1
    return radix_load(&s.objects, value, &s.w.counters.depth) >> 2


cdef inline uint64_t code_at(virtual_t *s, ci_t *ci, int off) noexcept nogil:
    if s.width == WIDE:
        return wide_code((<uint64_t *>ci.second)[off])
    return narrow_code(s, (<uint32_t *>ci.second)[off])


cdef uint32_t index_new(virtual_t *s, uint64_t object) noexcept nogil:
    """The lowest free index for an object of the pool; 0 without memory."""
    cdef uint64_t index
    counted_lock(&s.w.counters, &s.objects.lock)
    index = radix_first_free(&s.objects)
    if index >> TYPE_NARROW or radix_insert(&s.objects, index, object << 2) < 0:
        index = 0
    s.w.counters.words += 1
    counted_unlock(&s.w.counters, &s.objects.lock)
    return <uint32_t>index


cdef void index_drop(virtual_t *s, uint32_t index) noexcept nogil:
    counted_lock(&s.w.counters, &s.objects.lock)
    radix_remove(&s.objects, index)
    s.w.counters.words += 1
    counted_unlock(&s.w.counters, &s.objects.lock)


cdef int code_store(virtual_t *s, ci_t *ci, int off, uint64_t code) noexcept nogil:
    """Where the data of a slot is from now on; what was there is the caller's to free. -ENOMEM: nothing changed."""
    cdef uint32_t *narrow = &(<uint32_t *>ci.second)[off]
    cdef uint32_t value = 0
    s.w.counters.words += 1
    if s.width == WIDE:
        (<uint64_t *>ci.second)[off] = wide_value(code)
        return 0
    if code_tier(code) > POOL:
        value = <uint32_t>code_tier(code) << TYPE_NARROW | <uint32_t>code_block(code)
    elif code:
        value = index_new(s, code)
        if value == 0:
            return -ENOMEM
    if narrow[0] and not narrow[0] >> TYPE_NARROW:
        index_drop(s, narrow[0])
    narrow[0] = value
    return 0


# ---- what the kernels on runs of words call

cdef void release(void *owner, ci_t *ci, uint64_t slot, int nr) noexcept nogil:
    """Slots become free: their places are given up once the lock is."""
    cdef virtual_t *s = <virtual_t *>owner
    cdef uint64_t code
    cdef int i
    for i in range(nr):
        code = code_at(s, ci, (slot + i) & (CLUSTER - 1))
        if code:
            s.pending[s.npending] = code
            s.npending += 1
            code_store(s, ci, (slot + i) & (CLUSTER - 1), 0)


cdef void only(void *owner, ci_t *ci, uint64_t slot, bint cache) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>owner
    cdef uint64_t code = code_at(s, ci, slot & (CLUSTER - 1)) if s.width == WIDE else 0
    if code_tier(code) > POOL and swp_tb_is_folio(ci.table[slot & (CLUSTER - 1)]):
        blocks_cache_only(&s.backing.dev[code_tier(code) - 1], code_block(code), cache)


cdef inline int settle(virtual_t *s, int err) noexcept nogil:
    """Give up the places of slots that the operation has freed."""
    if s.npending:
        backing_free(&s.backing, s.pending, s.npending)
        s.npending = 0
    return err


# ---- the protocol

cdef int v_alloc(void *d, int order, uint64_t pfn, unsigned int memcg, uint64_t *entry) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    s.w.counters.ops += 1
    return alloc_from(&s.w, &s.w.dev[0], order, pfn, memcg, entry)


cdef int v_dup(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    s.w.counters.ops += 1
    return run_dup(&s.w, entry, nr)


cdef int v_put(void *d, uint64_t entry, int nr) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    s.w.counters.ops += 1
    return settle(s, run_put(&s.w, entry, nr))


cdef int64_t v_cache_get(void *d, uint64_t entry) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    cdef uint64_t word
    s.w.counters.ops += 1
    if device_at(&s.w, entry, 1) == NULL:
        return -1
    s.w.counters.lookups += 1
    s.w.counters.depth += 2
    word = device_word(&s.w.dev[0], entry)
    return <int64_t>swp_tb_pfn(word) if swp_tb_is_folio(word) else -1


cdef int v_cache_add(void *d, uint64_t entry, int nr, uint64_t pfn) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    s.w.counters.ops += 1
    return run_add(&s.w, entry, nr, pfn)


cdef int v_cache_del(void *d, uint64_t entry, int nr, uint64_t shadow) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    s.w.counters.ops += 1
    return settle(s, run_del(&s.w, entry, nr, shadow))


cdef int codes_set(virtual_t *s, uint64_t entry, int nr, const uint64_t *codes) noexcept nogil:
    """The slots' data is there from now on; -ENOMEM and nothing changed."""
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef int off = entry & (CLUSTER - 1), i, j, err = run_lock(&s.w, entry, nr, &dev, &ci)
    if err:
        return err
    for i in range(nr):
        err = code_store(s, ci, off + i, codes[i])
        if err:
            for j in range(i):
                code_store(s, ci, off + j, 0)
            break
        if count_of(dev, ci, entry + i) == 0:
            only(s, ci, entry + i, True)
    slots_unlock(&dev.slots, ci)
    return err


cdef int place_new(virtual_t *s, uint64_t entry, int nr, uint64_t *codes) noexcept nogil:
    cdef int err = backing_place(&s.backing, entry, nr, codes)
    if err == 0:
        err = codes_set(s, entry, nr, codes)
        if err:
            backing_free(&s.backing, codes, nr)
    return err


cdef int v_writeout(void *d, uint64_t entry, int nr) noexcept nogil:
    """Places for those that have none: all at once where they follow each other, else one by one."""
    cdef virtual_t *s = <virtual_t *>d
    cdef uint64_t codes[CLUSTER]
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef int off = entry & (CLUSTER - 1), i = 0, n, err
    s.w.counters.ops += 1
    err = run_check(&s.w, entry, nr, CACHED, &dev)
    if err:
        return err
    clear_zero(&s.w, dev, entry, nr)
    ci = slots_ci(&dev.slots, entry >> CLUSTER_SHIFT)
    for n in range(nr):
        codes[n] = code_at(s, ci, off + n)
    while i < nr and err == 0:
        n = 1
        while codes[i] == 0 and i + n < nr and codes[i + n] == 0:
            n += 1
        if codes[i] == 0:
            err = place_new(s, entry + i, n, &codes[i])
        i += n
    if err == 0:
        backing_count(&s.backing, codes, nr)
    return err


cdef int v_read(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    """What the second table says; objects of the pool are taken from there."""
    cdef virtual_t *s = <virtual_t *>d
    cdef uint64_t codes[CLUSTER]
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef int off = entry & (CLUSTER - 1), i, taken = 0, err
    s.w.counters.ops += 1
    err = run_check(&s.w, entry, nr, CACHED, &dev)
    if err == 0:
        err = run_lock(&s.w, entry, nr, &dev, &ci)
    if err:
        return err
    for i in range(nr):
        codes[i] = code_at(s, ci, off + i)
        code_place(codes[i], &where[i])
        if where[i].tier == POOL:
            code_store(s, ci, off + i, 0)
            backing_free(&s.backing, &codes[i], 1)
            taken += 1
    s.w.counters.lookups += 1
    s.w.counters.depth += 1
    slots_unlock(&dev.slots, ci)
    backing_count(&s.backing, codes, nr)
    return taken > 0


cdef int v_locate(void *d, uint64_t entry, int nr, place_t *where) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    cdef counters_t kept = s.w.counters
    cdef ci_t *ci
    cdef int i, err = 0
    for i in range(nr):
        err = -EINVAL if device_at(&s.w, entry + i, 1) == NULL else 0
        if err == 0 and not swp_tb_counts(device_word(&s.w.dev[0], entry + i)):
            err = -ENOENT
        if err:
            break
        ci = slots_ci(&s.w.dev[0].slots, (entry + i) >> CLUSTER_SHIFT)
        code_place(code_at(s, ci, (entry + i) & (CLUSTER - 1)), &where[i])
    s.w.counters = kept
    return err


cdef void v_peek(void *d, uint64_t entry, peek_t *said) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    cdef counters_t kept = s.w.counters
    cdef device_t *dev = device_at(&s.w, entry, 1)
    cdef uint64_t word
    cdef ci_t *ci
    said.kind, said.count, said.memcg, said.zero, said.value = PEEK_BAD, 0, 0, False, 0
    if dev != NULL and entry:
        word = device_word(dev, entry)
        ci = slots_ci(&dev.slots, entry >> CLUSTER_SHIFT)
        said.kind = PEEK_FOLIO if swp_tb_is_folio(word) else PEEK_SHADOW if word else PEEK_FREE
        if word:
            said.count = users_of(ci, entry & (CLUSTER - 1))
            said.memcg = device_memcg(dev, ci, entry)
            said.zero = swp_tb_zero(word)
            said.value = swp_tb_pfn(word) if swp_tb_is_folio(word) else swp_tb_shadow(word)
    s.w.counters = kept


cdef int v_hops(void *d, uint64_t entry) noexcept nogil:
    cdef peek_t said
    v_peek(d, entry, &said)
    return -ENOENT if said.kind == PEEK_FREE or said.kind == PEEK_BAD else 1


cdef bint by_blocks(virtual_t *s) noexcept nogil:
    return s.backing.ndev > 0 and not s.backing.zswap


cdef uint64_t v_used(void *d) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    return backing_used(&s.backing) if by_blocks(s) else slots_used(&s.w.dev[0].slots)


cdef uint64_t v_size(void *d) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    return backing_size(&s.backing) if by_blocks(s) else s.w.dev[0].slots.size


cdef uint64_t v_bytes(void *d) noexcept nogil:
    return (<virtual_t *>d).w.counters.now


cdef uint64_t v_wasted(void *d) noexcept nogil:
    return 0


# ---- data moves

cdef int front_get(void *d, uint64_t entry, uint64_t *code, int64_t *pfn) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    cdef device_t *dev = NULL
    cdef ci_t *ci = NULL
    cdef uint64_t word
    cdef int err = run_lock(&s.w, entry, 1, &dev, &ci)
    if err:
        return err
    word = ci.table[entry & (CLUSTER - 1)]
    code[0] = code_at(s, ci, entry & (CLUSTER - 1))
    pfn[0] = <int64_t>swp_tb_pfn(word) if swp_tb_is_folio(word) else -1
    slots_unlock(&dev.slots, ci)
    return 0 if swp_tb_counts(word) else -ENOENT


cdef int front_set(void *d, uint64_t entry, uint64_t code) noexcept nogil:
    return codes_set(<virtual_t *>d, entry, 1, &code)


cdef int64_t front_next(void *d, uint64_t entry, int tier) noexcept nogil:
    cdef virtual_t *s = <virtual_t *>d
    cdef device_t *dev = &s.w.dev[0]
    cdef uint64_t depth = s.w.counters.depth, lookups = s.w.counters.lookups
    cdef uint64_t last = slots_end(&dev.slots)
    cdef ci_t *ci = NULL
    cdef int64_t found = -1
    while entry < last << CLUSTER_SHIFT and found < 0:
        if ci == NULL or entry & (CLUSTER - 1) == 0:
            ci = slots_ci(&dev.slots, entry >> CLUSTER_SHIFT)
        if ci == NULL or ci.table == NULL:
            ci = NULL
            entry = (entry | (CLUSTER - 1)) + 1
            continue
        s.w.counters.scanned += 1
        if code_tier(code_at(s, ci, entry & (CLUSTER - 1))) == tier:
            found = entry
        entry += 1
    s.w.counters.depth = depth
    s.w.counters.lookups = lookups
    return found


cdef int64_t v_transfer(void *d, const uint64_t *entries, int64_t n, int tier, const host_t *host) noexcept nogil:
    return backing_transfer(&(<virtual_t *>d).backing, &FRONT, d, entries, n, tier, host)


cdef int v_swapoff(void *d, int tier, const host_t *host) noexcept nogil:
    return backing_swapoff(&(<virtual_t *>d).backing, &FRONT, d, tier, host)


cdef hooks_t HOOKS
HOOKS.release = release
HOOKS.only = only

cdef design_ops_t OPS
OPS.alloc = v_alloc
OPS.dup = v_dup
OPS.put = v_put
OPS.writeout = v_writeout
OPS.cache_get = v_cache_get
OPS.cache_add = v_cache_add
OPS.cache_del = v_cache_del
OPS.used = v_used
OPS.size = v_size
OPS.bytes = v_bytes
OPS.read = v_read
OPS.locate = v_locate
OPS.peek = v_peek
OPS.hops = v_hops
OPS.transfer = v_transfer
OPS.swapoff = v_swapoff
OPS.wasted = v_wasted

cdef front_t FRONT
FRONT.get = front_get
FRONT.set = front_set
FRONT.next = front_next
FRONT.ops = &OPS


# ---- from scratch

cdef const char *places_fault(virtual_t *s, uint64_t *where, uint64_t *tiers) noexcept nogil:
    """What is wrong with the place of a slot's data, or NULL; adds up data by tier."""
    cdef device_t *dev = &s.w.dev[0]
    cdef uint64_t last = slots_end(&dev.slots)
    cdef uint64_t code
    cdef const char *fault
    cdef ci_t *ci
    cdef int off
    for where[0] in range(last << CLUSTER_SHIFT):
        ci = slots_ci(&dev.slots, where[0] >> CLUSTER_SHIFT)
        if ci == NULL or ci.second == NULL:
            continue
        off = where[0] & (CLUSTER - 1)
        code = code_at(s, ci, off)
        if code and not swp_tb_counts(ci.table[off]):
            return b"free, but it has data"
        fault = code_fault(&s.backing, code, where[0], users_of(ci, off) == 0) if code else NULL
        if fault != NULL:
            return fault
        if code:
            tiers[code_tier(code)] += 1
    return NULL


cdef const char *virtual_fault(virtual_t *s, uint64_t *where) noexcept nogil:
    """The first thing that is wrong, or NULL."""
    cdef counters_t kept = s.w.counters
    cdef uint64_t tiers[8]
    cdef uint64_t nodes = 0
    cdef int64_t redirects = 0, n = radix_nodes(&s.objects)
    cdef const char *fault
    memset(tiers, 0, sizeof(tiers))
    fault = device_fault(&s.w, &s.w.dev[0], where, &nodes, &redirects)
    if fault == NULL:
        fault = places_fault(s, where, tiers)
    if fault == NULL:
        fault = backing_fault(&s.backing, tiers, &nodes)
    s.w.counters = kept
    if fault != NULL:
        return fault
    if n < 0 or nodes + n != s.w.nodes.nodes:
        return b"nodes in use are not those of the xarrays"
    if s.w.counters.held or s.npending:
        return b"a lock is held, or places are not given up"
    return NULL


# ---- life

cdef int build_front(virtual_t *s, uint64_t n, int index, int memcg) noexcept nogil:
    """Without blocks behind it the front is as large as asked for, else as large as it gets: what is full is counted in blocks."""
    cdef device_t *dev = &s.w.dev[0]
    if by_blocks(s):
        n = 2 * n if index == INDEX_FLAT else <uint64_t>1 << MOST_SHIFT
    elif index == INDEX_XARRAY:
        n += CLUSTER            # numbers begin at 1
    dev.memcg = memcg
    dev.second = CLUSTER * s.width
    return device_init(dev, n, CI_DYNAMIC if index == INDEX_XARRAY else CI_SECOND, index, &s.w.nodes, &s.w.counters)


cdef class VirtualDesign(Design):
    """Virtual slots of words and a second table; the design files say which parts a design has.

    Parameters
    ----------
    slots : int
        Blocks of 4 KiB on each device, the header's included, 1 to 2^32 - 1; virtual slots where there is no device.
    backend : str
        ``"disk"``, or ``"zswap"``: what is written goes to the compressed pool.
    devices : int, optional
        0 to 4, at most 3 where the second table is narrow. Default: 1 for disk, none for zswap.
    index : str
        How a cluster is found: ``"flat"``, ``"array"`` or ``"xarray"``.
    narrow : bool
        4 bytes a slot say where the data is.
    memcg_tables : bool
        The memcg id in a table of its own, else in the word.
    owners : str
        ``"word"``: a block's swap table word leads to its entry; ``"table"``; ``"none"``: a bitmap says it is taken.
    device_memcg_tables : bool
        With each table of a device one for memcg ids, which nobody needs.

    Raises
    ------
    SwapValueError
        One of them is out of range.
    MemoryError
    """

    def __cinit__(self, *args, **kwargs):
        cdef virtual_t *s = <virtual_t *>calloc(1, sizeof(virtual_t))
        if s == NULL:
            raise MemoryError
        self.state = s
        self.counters = &s.w.counters

    def __init__(
        self, slots, *, backend="disk", devices=None, index="xarray", narrow=False, memcg_tables=False, owners="none",
        device_memcg_tables=False,
    ):
        cdef virtual_t *s = <virtual_t *>self.state
        cdef uint64_t n = checked_slots(slots)
        cdef bint zswap = checked_backend(backend) == "zswap"
        cdef int i, kind = checked_index(index), count = checked_devices(not zswap if devices is None else devices, not zswap)
        cdef int owner = OWNERS[owners]
        if self.ops != NULL:
            raise TypeError("a design is made once")
        if narrow and (count > 3 or n >> TYPE_NARROW):
            raise SwapValueError(EINVAL, f"devices is {count}, slots {n}; expected at most 3 and {1 << TYPE_NARROW} for 4 bytes a slot")
        s.width = NARROW if narrow else WIDE
        s.w.hooks = &HOOKS
        s.w.owner = s
        s.w.ndev = 1
        s.w.phase = 4
        s.w.dev[0].counters = &s.w.counters
        s.backing.counters = &s.w.counters
        s.backing.zswap = zswap
        slab_init(&s.w.nodes, sizeof(radix_node_t), &s.w.counters)
        radix_init(&s.objects, &s.w.nodes)
        s.objects.indices = 1
        for i in range(count):
            s.backing.ndev += 1
            if blocks_init(&s.backing.dev[i], n, owner, False, device_memcg_tables, &s.w.nodes, &s.w.counters) < 0:
                raise MemoryError
        if build_front(s, n, kind, MEMCG_TABLE if memcg_tables else MEMCG_WORD) < 0:
            raise MemoryError
        self.ops = &OPS

    def __dealloc__(self):
        cdef virtual_t *s = <virtual_t *>self.state
        if s == NULL:
            return
        if s.w.ndev:
            device_release(&s.w.dev[0])
            backing_release(&s.backing)
            radix_release(&s.objects)
            slab_destroy(&s.w.nodes)
        free(s)

    @property
    def scattered(self) -> int:
        """Large folios that found no run of blocks and were written page by page."""
        return (<virtual_t *>self.state).backing.scattered

    def memory(self) -> dict:
        """Return the bytes by kind, and their "total"; kinds that the design has not are 0."""
        cdef virtual_t *s = <virtual_t *>self.state
        cdef device_t *dev = &s.w.dev[0]
        cdef int i
        kinds = dict.fromkeys(KINDS, 0)
        kinds["tables"] = dev.tables * TABLE_BYTES
        kinds["memcg_tables"] = dev.memcgs * MEMCG_BYTES
        kinds["extend_tables"] = dev.extends * EXTEND_BYTES
        kinds["virtual_tables" if s.width == WIDE else "index_tables"] = dev.seconds * dev.second
        kinds["cluster_info"] = dev.slots.nexist * dev.slots.stride
        kinds["rounding"] = slots_bytes(&dev.slots) - dev.slots.nexist * dev.slots.stride
        kinds["xarray_nodes"] = radix_nodes(&dev.slots.map) * sizeof(radix_node_t)
        kinds["object_nodes"] = radix_nodes(&s.objects) * sizeof(radix_node_t)
        kinds["slab_slack"] = slab_slack(&s.w.nodes)
        for i in range(s.backing.ndev):
            if not s.backing.dev[i].on:
                continue
            kinds["device_cluster_info"] += slots_bytes(&s.backing.dev[i].slots)
            kinds["bitmaps"] += bits_bytes(&s.backing.dev[i]) if s.backing.dev[i].taken != NULL else 0
            kinds["device_tables" if s.backing.dev[i].owners == OWNER_WORD else "reverse_map"] += s.backing.dev[i].tables * OWNER_BYTES
            kinds["device_memcg_tables"] += s.backing.dev[i].memcgs * MEMCG_TABLE_BYTES
        return kinds | {"total": sum(kinds.values())}

    def check(self) -> None:
        """Verify every invariant from scratch.

        Raises
        ------
        CheckError
            With the entry (or the part) and what does not hold.
        """
        cdef virtual_t *s = <virtual_t *>self.state
        cdef uint64_t where = 0
        cdef const char *fault
        with nogil:
            fault = virtual_fault(s, &where)
        if fault != NULL:
            raise CheckError(f"{self.name}: at {where}: {(<bytes>fault).decode()}")
        if self.memory()["total"] != self.bytes:
            raise CheckError(f"{self.name}: the kinds of memory do not add up to {self.bytes}: {self.memory()}")


OWNERS = {"none": OWNER_NONE, "table": OWNER_TABLE, "word": OWNER_WORD}
KINDS = (
    "tables", "memcg_tables", "extend_tables", "virtual_tables", "index_tables", "cluster_info", "rounding", "xarray_nodes",
    "object_nodes", "slab_slack", "device_cluster_info", "bitmaps", "reverse_map", "device_tables", "device_memcg_tables",
)
