# The compressed block device: a table of 16 bytes a block at disksize, on the allocator of the compressed pool.
# May import the locks, errors, pages, the codec and the allocator.
# Used by zram.py, which has the backing file.
"""zram's table and what moves between it, the pool and a backing file."""

from cpython.buffer cimport Py_buffer, PyBuffer_Release
from libc.errno cimport EINVAL, ENOMEM
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from swaptable._atomic cimport add64, load64, load_relaxed, peek32, prefetch_read, spin_lock, spin_unlock, store_relaxed
from swaptable.backends._codec cimport PAGE_BYTES, Codec, context_get, context_put, context_t
from swaptable.backends._pages cimport numbers_array, pages_open, pages_room
from swaptable.backends._zcheck cimport check_records, check_spool
from swaptable.backends._zrecord cimport (
    REC_BACKED, REC_FREE, REC_IDLE, REC_LOCK, REC_MOVING, REC_RAW, REC_STATE, fill_page, head_cas, head_load, head_lock,
    head_store, rec_alloc, rec_body, rec_count, rec_drop, rec_has_object, rec_head, rec_load, rec_pack, rec_pin, rec_prefetch, rec_unpin, rec_write,
    stat_flush, stat_read, zobject_t, zstat_t, zstore_t,
)
from swaptable.backends._zspool cimport (
    ZS_CLASS_BYTES, ZS_PAGE, zs_compact, zs_destroy, zs_init, zs_reserve, zs_unreserve, zspage_t, zspool_t,
)

import numpy as np

from swaptable.backends._pages import count
from swaptable.errors import CheckError, raise_errno

cdef enum:
    ENTRY = 16              # bytes of the table a block: a head of 4, 4 to spare, a body of 8
    MOST_LIMIT = 1 << 28    # pages: 1 TiB
    HUGE = 1
    IDLE = 2

cdef struct backing_t:
    uint8_t lock
    int64_t blocks          # 0: there is none
    int64_t used
    int64_t hand
    uint64_t *bits

cdef struct device_t:
    zstore_t store
    backing_t backing
    int64_t limit           # bytes; 0: none
    int64_t bd_reads
    int64_t bd_writes
    int64_t notify_free


# ---- kernels: the backing file's blocks

cdef int64_t backing_take(backing_t *b, int64_t want, int64_t *out) noexcept nogil:
    """Take free blocks, neighbours where possible: from the hand on, once around. Context: no locks. Return: how many."""
    cdef int64_t n = 0, steps = b.blocks
    spin_lock(&b.lock)
    while n < want and steps > 0:
        if b.hand >= b.blocks:
            b.hand = 0
        if b.hand & 63 == 0 and ~b.bits[b.hand >> 6] == 0:      # 64 that are all taken
            b.hand += 64
            steps -= 64
            continue
        if not b.bits[b.hand >> 6] >> (b.hand & 63) & 1:
            b.bits[b.hand >> 6] |= 1ull << (b.hand & 63)
            out[n] = b.hand
            n += 1
        b.hand += 1
        steps -= 1
    b.used += n
    spin_unlock(&b.lock)
    return n


cdef void backing_put(backing_t *b, int64_t block) noexcept nogil:
    spin_lock(&b.lock)
    b.bits[block >> 6] &= ~(1ull << (block & 63))
    b.used -= 1
    spin_unlock(&b.lock)


# ---- kernels: pages

cdef inline void drop_entry(device_t *d, zstat_t *st, uint32_t head, uint64_t body) noexcept nogil:
    """Free what a locked entry held."""
    if (head & REC_STATE) == REC_FREE:
        return
    rec_drop(&d.store, st, head, body)
    if (head & REC_STATE) == REC_BACKED:
        backing_put(&d.backing, <int64_t>body)


cdef inline int write_one(device_t *d, zstat_t *st, context_t *x, uint32_t block, const uint8_t *page) noexcept nogil:
    """Replace a block's page. Return: 0, or -errno with the old one kept."""
    cdef zobject_t o
    cdef uint32_t old
    cdef int err = rec_pack(&d.store, st, x, x.scratch, page, True, &o)
    if err == 0:
        err = rec_alloc(&d.store, st, block, &o)
    if err:
        return err
    rec_write(&o)
    rec_count(st, o.head, 1)
    old = head_lock(rec_head(&d.store, block), REC_LOCK)
    drop_entry(d, st, old, load_relaxed(rec_body(&d.store, block)))
    store_relaxed(rec_body(&d.store, block), o.body)
    head_store(rec_head(&d.store, block), o.head)
    return 0


cdef int64_t write_run(device_t *d, const int64_t *blocks, const uint8_t *pages, int64_t n, bint whole, int32_t *errors) noexcept nogil:
    """Write pages until all are done, or with *whole* until the first is refused. Context: no locks. Return: pages looked at."""
    cdef context_t *x = context_get(d.store.codec)
    cdef zstat_t st
    cdef int64_t i = 0
    cdef int err = 0
    memset(&st, 0, sizeof(st))
    while i < n and not (whole and err):
        if i + 1 < n:
            prefetch_read(pages + (i + 1) * PAGE_BYTES)
            prefetch_read(pages + (i + 1) * PAGE_BYTES + 64)
        err = -ENOMEM if x == NULL else write_one(d, &st, x, <uint32_t>blocks[i], pages + i * PAGE_BYTES)
        errors[i] = -err
        st.stores += err == 0
        i += 1
    if x != NULL:
        context_put(d.store.codec, x)
    stat_flush(&d.store.stat, &st)
    return i


cdef int read_run(device_t *d, const int64_t *blocks, int64_t n, uint8_t *out, int64_t *backed, int64_t *done) noexcept nogil:
    """Read pages that are in the pool; backed[i] is 1 + the backing file's block of one that is not, else 0.

    Context: no locks. Return: 0, or -EIO or -ENOMEM of element done[0].
    """
    cdef context_t *x = context_get(d.store.codec)
    cdef zstat_t st
    cdef uint32_t head
    cdef uint64_t body
    cdef int64_t i = 0
    cdef int err = 0 if x != NULL else -ENOMEM
    memset(&st, 0, sizeof(st))
    while i < n and err == 0:
        if i + 1 < n:
            rec_prefetch(&d.store, <uint32_t>blocks[i + 1])
        head = head_lock(rec_head(&d.store, <uint32_t>blocks[i]), REC_LOCK)
        body = load_relaxed(rec_body(&d.store, <uint32_t>blocks[i]))
        backed[i] = 0
        if (head & REC_STATE) == REC_FREE:
            fill_page(out + i * PAGE_BYTES, 0)
        elif (head & REC_STATE) == REC_BACKED:
            backed[i] = <int64_t>body + 1
        else:
            err = rec_load(&d.store, &st, x, head, body, out + i * PAGE_BYTES)
        # An access ends idleness, and a writeback under way.
        head_store(rec_head(&d.store, <uint32_t>blocks[i]), head & ~<uint32_t>(REC_IDLE | REC_MOVING))
        i += err == 0
    if x != NULL:
        context_put(d.store.codec, x)
    st.loads = i
    stat_flush(&d.store.stat, &st)
    done[0] = i
    return err


cdef void drop_run(device_t *d, const int64_t *blocks, int64_t n) noexcept nogil:
    """Forget what blocks hold; those that hold nothing are passed over. Context: no locks."""
    cdef zstat_t st
    cdef int64_t i
    cdef uint32_t head
    memset(&st, 0, sizeof(st))
    for i in range(n):
        head = head_lock(rec_head(&d.store, <uint32_t>blocks[i]), REC_LOCK)
        drop_entry(d, &st, head, load_relaxed(rec_body(&d.store, <uint32_t>blocks[i])))
        head_store(rec_head(&d.store, <uint32_t>blocks[i]), REC_FREE)
    stat_flush(&d.store.stat, &st)
    add64(&d.notify_free, n)


# ---- kernels: writeback

cdef int64_t mark_idle(device_t *d) noexcept nogil:
    """Mark every page in the pool idle; one word is no page in the pool. Return: how many."""
    cdef uint32_t block, head
    cdef int64_t n = 0
    for block in range(d.store.nr):
        head = head_load(rec_head(&d.store, block))
        if rec_has_object(head) and not head & REC_LOCK and head_cas(rec_head(&d.store, block), head, head | REC_IDLE):
            n += 1
    return n


cdef inline bint wanted(uint32_t head, int which) noexcept nogil:
    """Whether writeback of *which* pages (HUGE, IDLE: each that is named must hold) takes this one."""
    return (rec_has_object(head) and not head & REC_MOVING
            and (not which & HUGE or (head & REC_STATE) == REC_RAW) and (not which & IDLE or head & REC_IDLE != 0))


cdef int64_t pick_run(device_t *d, int64_t *begin, int which, int64_t want, int64_t *blocks, uint8_t *pages) noexcept nogil:
    """Copy the next pages from block begin[0] on that writeback wants, and mark them as moving. Return: how many."""
    cdef context_t *x = context_get(d.store.codec)
    cdef zstat_t st
    cdef int64_t n = 0
    cdef uint32_t block, head
    memset(&st, 0, sizeof(st))
    while x != NULL and n < want and begin[0] < d.store.nr:
        block = <uint32_t>begin[0]
        begin[0] += 1
        if not wanted(head_load(rec_head(&d.store, block)), which):
            continue
        head = head_lock(rec_head(&d.store, block), REC_LOCK)
        if (wanted(head, which)
                and rec_load(&d.store, &st, x, head, load_relaxed(rec_body(&d.store, block)), pages + n * PAGE_BYTES) == 0):
            head |= REC_MOVING
            blocks[n] = block
            n += 1
        head_store(rec_head(&d.store, block), head)
    if x != NULL:
        context_put(d.store.codec, x)
    stat_flush(&d.store.stat, &st)
    return n


cdef int64_t settle_run(device_t *d, const int64_t *blocks, const int64_t *places, int64_t n, bint written) noexcept nogil:
    """End the move of blocks to *places* of the backing file. Return: how many are there now.

    One that was accessed, rewritten or dropped since `pick_run` stays as it is, and its place is free again.
    """
    cdef zstat_t st
    cdef int64_t i, moved = 0
    cdef uint32_t head
    memset(&st, 0, sizeof(st))
    for i in range(n):
        head = head_lock(rec_head(&d.store, <uint32_t>blocks[i]), REC_LOCK)
        if head & REC_MOVING and written:
            rec_drop(&d.store, &st, head, load_relaxed(rec_body(&d.store, <uint32_t>blocks[i])))
            store_relaxed(rec_body(&d.store, <uint32_t>blocks[i]), <uint64_t>places[i])
            head = REC_BACKED
            rec_count(&st, head, 1)
            moved += 1
        else:
            backing_put(&d.backing, places[i])
        head_store(rec_head(&d.store, <uint32_t>blocks[i]), head & ~<uint32_t>REC_MOVING)
    stat_flush(&d.store.stat, &st)
    return moved


# ---- Python

cdef class ZramTable:
    """The table of a compressed block device, and its pool.

    Parameters
    ----------
    codec : Codec
    blocks : int
        disksize in pages. The table is in memory from the beginning, as the kernel's is.
    limit : int
        Bytes of pool memory at most; 0 for none.
    backing : int
        Blocks of the backing file.

    Notes
    -----
    Any method but `check` may be called from any thread at any time.
    """

    cdef device_t d
    cdef int64_t most_pages     # of the pool, by its address space
    cdef readonly Codec codec

    def __init__(self, Codec codec, blocks, limit=0, backing=0):
        pass

    def __cinit__(self, Codec codec, blocks, limit=0, backing=0):
        cdef zstore_t *s = &self.d.store
        if not 1 <= blocks <= 0xffffffff:
            raise_errno(EINVAL, f"blocks {blocks}: expected 1 to 2^32 - 1")
        if not 0 <= backing <= 0xffffffff:
            raise_errno(EINVAL, f"backing {backing}: expected 0 to 2^32 - 1 blocks")
        self.codec, s.codec = codec, &codec.c
        s.head_stride = s.body_stride = ENTRY
        s.heads = <uint8_t *>zs_reserve(<uint64_t>blocks * ENTRY)
        if s.heads == NULL or zs_init(&s.zs, min(2 * blocks + 64, MOST_LIMIT)):
            raise_errno(ENOMEM, f"no memory for a device of {blocks} blocks")
        memset(s.heads, 0, <uint64_t>blocks * ENTRY)
        s.bodies = s.heads + 8
        s.nr = blocks
        self.d.backing.blocks = backing
        self.d.backing.bits = <uint64_t *>calloc(backing // 64 + 1, 8)
        if self.d.backing.bits == NULL:
            raise_errno(ENOMEM, f"no memory for the bits of {backing} blocks")
        self.most_pages = s.zs.limit
        self.mem_limit = limit

    def __dealloc__(self):
        zs_destroy(&self.d.store.zs)
        zs_unreserve(self.d.store.heads, <uint64_t>self.d.store.nr * ENTRY)
        free(self.d.backing.bits)

    @property
    def blocks(self):
        """Blocks of the device."""
        return self.d.store.nr

    @property
    def mem_limit(self):
        """Bytes of pool memory at most; 0 for none."""
        return self.d.limit

    @mem_limit.setter
    def mem_limit(self, limit):
        if limit and not ZS_PAGE <= limit <= self.most_pages * ZS_PAGE:
            raise_errno(EINVAL, f"mem_limit {limit}: expected 0, or {ZS_PAGE} to {self.most_pages * ZS_PAGE} bytes")
        self.d.limit = limit
        self.d.store.zs.limit = limit // ZS_PAGE if limit else self.most_pages

    cdef object _numbers(self, blocks, int64_t n):
        """Block numbers, checked."""
        array = numbers_array(blocks, n)
        if array.size and (array.min() < 0 or array.max() >= self.d.store.nr):
            i = int(np.argmax((array < 0) | (array >= self.d.store.nr)))
            raise_errno(EINVAL, f"block {array[i]}: expected 0 to {self.d.store.nr - 1}", i)
        return array

    def write(self, pages, blocks, bint whole):
        """Write pages; with *whole* stop at the first that is refused.

        Returns
        -------
        blocks : ndarray of int64, shape (n,)
        errors : ndarray of int32, shape (at most n,)
            0, ENOSPC (mem_limit, or no address space) or ENOMEM.
        """
        cdef Py_buffer view
        cdef int64_t n = pages_open(pages, &view, False), done = 0
        cdef const int64_t[::1] numbers
        cdef int32_t[::1] errors
        try:
            number_array, error_array = self._numbers(blocks, n), np.empty(n, np.int32)
            if n:
                numbers, errors = number_array, error_array
                with nogil:
                    done = write_run(&self.d, &numbers[0], <const uint8_t *>view.buf, n, whole, &errors[0])
        finally:
            PyBuffer_Release(&view)
        return number_array, error_array[:done]

    def read(self, blocks, out=None):
        """Read pages that are in the pool; blocks that hold nothing read as zeros.

        Returns
        -------
        out : ndarray of uint8, shape (n, 4096)
        blocks : ndarray of int64, shape (n,)
        backed : ndarray of int64, shape (n,)
            For a page that is in the backing file 1 + its block there, else 0.
        """
        cdef Py_buffer view
        cdef int64_t n, done = 0
        cdef const int64_t[::1] numbers
        cdef int64_t[::1] backed
        cdef int err = 0
        if isinstance(blocks, (int, np.integer)) and out is not None:
            array = self._numbers(blocks, count(out))
        else:
            array = self._numbers(blocks, -1)
        n = array.size
        out, backed_array = pages_room(out, n, &view), np.zeros(n, np.int64)
        try:
            if n:
                numbers, backed = array, backed_array
                with nogil:
                    err = read_run(&self.d, &numbers[0], n, <uint8_t *>view.buf, &backed[0], &done)
        finally:
            PyBuffer_Release(&view)
        if err:
            raise_errno(err, f"block {array[done]}: the codec cannot read what it made", done)
        return out, array, backed_array

    def drop(self, blocks):
        """Forget what blocks hold."""
        array = self._numbers(blocks, -1)
        cdef const int64_t[::1] numbers = array
        if array.size:
            with nogil:
                drop_run(&self.d, &numbers[0], numbers.shape[0])

    def mark_idle(self):
        """Mark every page of the pool idle until its next access. Returns how many."""
        cdef int64_t n
        with nogil:
            n = mark_idle(&self.d)
        return n

    def pick(self, int64_t begin, which, int64_t most):
        """Copy up to *most* pages that writeback wants, from block *begin* on, and mark them as moving.

        Parameters
        ----------
        which : str
            "huge", "idle", "huge_idle" or "all".

        Returns
        -------
        pages : ndarray of uint8, shape (n, 4096)
        blocks, places : ndarray of int64, shape (n,)
            Where they are and where in the backing file they should go; fewer when that is full.
        begin : int
            Where to go on; the number of blocks at the end.
        """
        cdef int64_t n, room, i
        cdef int64_t[::1] blocks
        cdef int64_t[::1] places
        cdef uint8_t[:, ::1] pages
        cdef int wants
        kinds = {"all": 0, "huge": HUGE, "idle": IDLE, "huge_idle": HUGE | IDLE}
        if which not in kinds:
            raise_errno(EINVAL, f"writeback of {which!r}: expected one of {', '.join(kinds)}")
        wants = kinds[which]
        block_array, place_array = np.empty(most, np.int64), np.empty(most, np.int64)
        blocks, places = block_array, place_array
        with nogil:
            room = backing_take(&self.d.backing, most, &places[0]) if most > 0 else 0
        page_array = np.empty((room, PAGE_BYTES), np.uint8)
        if room == 0:
            return page_array, block_array[:0], place_array[:0], begin
        pages = page_array
        with nogil:
            n = pick_run(&self.d, &begin, wants, room, &blocks[0], &pages[0, 0])
            for i in range(n, room):
                backing_put(&self.d.backing, places[i])
        return page_array[:n], block_array[:n], place_array[:n], begin

    def settle(self, blocks, places, bint written):
        """End the move that `pick` began. Returns how many pages are in the backing file now."""
        cdef const int64_t[::1] b = blocks
        cdef const int64_t[::1] p = places
        cdef int64_t moved = 0
        if b.shape[0]:
            with nogil:
                moved = settle_run(&self.d, &b[0], &p[0], b.shape[0], written)
        if written:
            add64(&self.d.bd_writes, b.shape[0])
        return moved

    def still_backed(self, blocks, backed):
        """Whether blocks are where `read` said: a mask. Counts reads of the backing file."""
        cdef const int64_t[::1] b = blocks
        cdef const int64_t[::1] at = backed
        cdef int64_t i
        same = np.empty(b.shape[0], bool)
        for i in range(b.shape[0]):
            same[i] = ((head_load(rec_head(&self.d.store, <uint32_t>b[i])) & REC_STATE) == REC_BACKED
                       and <int64_t>load_relaxed(rec_body(&self.d.store, <uint32_t>b[i])) + 1 == at[i])
        add64(&self.d.bd_reads, b.shape[0])
        return same

    def compact(self):
        """Pack objects into as few pages as they need. Returns the pages given back."""
        cdef int64_t given
        with nogil:
            given = zs_compact(&self.d.store.zs, &self.d.store, rec_pin, rec_unpin)
        return given

    def reset_peak(self):
        """Begin mem_used_max anew."""
        self.d.store.zs.peak = load64(&self.d.store.zs.pages)

    def counts(self):
        """What the device has counted, by name; a call that still runs counts at its end."""
        cdef zstat_t st
        stat_read(&self.d.store.stat, &st)
        return {
            **st,
            "pages": load64(&self.d.store.zs.pages),
            "peak_pages": load64(&self.d.store.zs.peak),
            "pages_compacted": load64(&self.d.store.zs.compacted),
            "bd_count": self.d.backing.used,
            "bd_reads": self.d.bd_reads,
            "bd_writes": self.d.bd_writes,
            "notify_free": self.d.notify_free,
        }

    def memory(self):
        """Bytes by kind, counted where they are allocated.

        Returns
        -------
        dict
            pool (pages with objects), spare (pages kept for the next), table, zspages, classes, backing (a bit a block),
            codec, total.
        """
        cdef zspool_t *zs = &self.d.store.zs
        cdef int64_t spare = load64(&zs.spare_pages)
        bytes_of = {
            "pool": (load64(&zs.pages) - spare) * ZS_PAGE,
            "spare": spare * ZS_PAGE,
            "table": -(-<int64_t>self.d.store.nr * ENTRY // ZS_PAGE) * ZS_PAGE,
            "zspages": -(-<int64_t>peek32(&zs.fresh) * <int64_t>sizeof(zspage_t) // ZS_PAGE) * ZS_PAGE,
            "classes": ZS_CLASS_BYTES,
            "backing": (self.d.backing.blocks // 64 + 1) * 8,
            "codec": self.codec.context_bytes,
        }
        return {**bytes_of, "total": sum(bytes_of.values())}

    def check(self):
        """Check every invariant from scratch; no other thread may use the device.

        Raises
        ------
        CheckError
        """
        cdef uint32_t block, head
        cdef int64_t i, used = 0
        check_spool(&self.d.store.zs)
        check_records(&self.d.store, self.d.store.nr - self.d.store.stat.stored)
        seen = set()
        for block in range(self.d.store.nr):
            head = head_load(rec_head(&self.d.store, block))
            if (head & REC_STATE) == REC_BACKED:
                i = <int64_t>rec_body(&self.d.store, block)[0]
                if i >= self.d.backing.blocks or not self.d.backing.bits[i >> 6] >> (i & 63) & 1 or i in seen:
                    raise CheckError(f"block {block} is in the backing file's block {i}, which is free, or another's")
                seen.add(i)
        for i in range(self.d.backing.blocks):
            used += self.d.backing.bits[i >> 6] >> (i & 63) & 1
        if used != len(seen) or used != self.d.backing.used:
            raise CheckError(f"{used} blocks of the backing file are taken, {self.d.backing.used} counted, {len(seen)} in use")
