# The compressed pool that numbers its pages itself: records, free numbers, limit, second chance, all without the GIL.
# May import the locks, errors, pages, the codec and the allocator.
# Used by zswap.py.
"""zswap's pool: batches of pages in, numbers out."""

from cpython.buffer cimport Py_buffer, PyBuffer_Release
from libc.errno cimport EINVAL, EIO, ENOENT, ENOMEM, ENOSPC
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from swaptable._atomic cimport (
    add64, load32, load64, load_relaxed, peek32, poke32, prefetch_read, spin_lock, spin_unlock, store32, store_relaxed,
)
from swaptable.backends._codec cimport BLOB_ROOM, PAGE_BYTES, Codec, context_get, context_put, context_t
from swaptable.backends._pages cimport numbers_array, pages_open, pages_room
from swaptable.backends._zcheck cimport check_records, check_spool
from swaptable.backends._zrecord cimport (
    REC_FREE, REC_LOCK, REC_OBJECT, REC_RAW, REC_REFERENCED, REC_STATE, REC_TAKEN, head_cas, head_load, head_store,
    rec_alloc, rec_body, rec_count, rec_drop, rec_has_object, rec_head, rec_length, rec_load, rec_loc, rec_lock, rec_pack, rec_pin,
    rec_prefetch, rec_prefetch_zspage, rec_unpin, rec_write, stat_flush, stat_read, zobject_t, zstat_t, zstore_t,
)
from swaptable.backends._zspool cimport (
    ZS_CLASS_BYTES, ZS_HEADER, ZS_PAGE, zs_at, zs_compact, zs_destroy, zs_give_back, zs_init, zs_reserve, zs_unreserve, zspage_t,
    zspool_t,
)

import numpy as np

from swaptable.errors import CheckError, raise_errno

cdef enum:
    HAND = 4096             # records that the hand passes under its lock
    NUMBERS = 64            # numbers that a store takes at once
    AHEAD_DROP = 8          # prefetch distance, in elements
    NO_NUMBER = 0xffffffff
    MOST_NUMBERS = 1 << 30
    MOST_LIMIT = 1 << 28    # pages: 1 TiB

WHY = {
    -ENOENT: "no page has this number",
    -EIO: "the codec cannot read what it made",
    -EINVAL: "one word fills the page: there is no blob",
    -ENOMEM: "no memory",
}

# Free numbers are a list through the bodies; numbers from store.nr on were never used.
cdef struct pool_t:
    zstore_t store
    uint8_t number_lock
    uint8_t hand_lock
    uint32_t free
    uint32_t nr_free
    uint32_t max
    uint32_t hand
    uint32_t full           # kernel: zswap_pool_reached_full
    bint keep_raw
    int64_t reserved        # pages of address space
    int64_t accept          # percent of the limit at which a full pool takes pages again
    int64_t limit_hit
    int64_t written_back


# ---- kernels

cdef int64_t numbers_take(pool_t *p, uint32_t *out, int64_t want) noexcept nogil:
    """Take free numbers, used ones first. Context: no locks. Return: how many."""
    cdef int64_t n = 0
    cdef uint32_t nr
    spin_lock(&p.number_lock)
    while n < want and p.free != NO_NUMBER:
        nr = p.free
        p.free = <uint32_t>load_relaxed(rec_body(&p.store, nr))
        head_store(rec_head(&p.store, nr), REC_TAKEN)
        out[n] = nr
        n += 1
    store32(&p.nr_free, p.nr_free - <uint32_t>n)
    while n < want and p.store.nr < p.max:
        head_store(rec_head(&p.store, p.store.nr), REC_TAKEN)
        out[n] = p.store.nr
        n += 1
        store32(&p.store.nr, p.store.nr + 1)
    spin_unlock(&p.number_lock)
    return n


cdef void numbers_put(pool_t *p, uint32_t *numbers, int64_t n) noexcept nogil:
    """Give numbers back whose records hold nothing; the last one is reused last. Context: no locks."""
    cdef int64_t i = n
    spin_lock(&p.number_lock)
    while i:
        i -= 1
        store_relaxed(rec_body(&p.store, numbers[i]), p.free)
        head_store(rec_head(&p.store, numbers[i]), REC_FREE)
        p.free = numbers[i]
    store32(&p.nr_free, p.nr_free + <uint32_t>n)
    spin_unlock(&p.number_lock)


cdef inline bint is_full(pool_t *p) noexcept nogil:
    """The kernel's rule: once at its limit, the pool takes nothing until it has shrunk to the accept threshold."""
    cdef int64_t used = load64(&p.store.zs.pages) - load64(&p.store.zs.spare_pages), limit = load64(&p.store.zs.limit)
    if used >= limit:
        add64(&p.limit_hit, 1)
        poke32(&p.full, 1)
        return True
    if not peek32(&p.full):
        return False
    if used > limit * load64(&p.accept) // 100:
        return True
    poke32(&p.full, 0)
    return False


cdef inline int prepare(pool_t *p, zstat_t *st, context_t *x, uint8_t *scratch, const uint8_t *page, int length,
                        zobject_t *o) noexcept nogil:
    """Pack a page; with *length* it is a blob, or a page that is to be stored as it is. Return: 0 or -errno."""
    if length == 0:
        return rec_pack(&p.store, st, x, scratch, page, p.keep_raw, o)
    o.head, o.bytes, o.length = REC_RAW if length == PAGE_BYTES else REC_OBJECT, page, length
    return 0


cdef inline int place(pool_t *p, zstat_t *st, uint32_t nr, zobject_t *o) noexcept nogil:
    """Find room for number *nr*, which is the caller's. Return: 0 or -errno."""
    cdef int err = rec_alloc(&p.store, st, nr, o)
    if err == 0:
        rec_count(st, o.head, 1)
    elif err == -ENOSPC:
        add64(&p.limit_hit, 1)
        poke32(&p.full, 1)
    return err


cdef inline void publish(pool_t *p, zobject_t *o) noexcept nogil:
    """Write an object, if there is one, and let its number find it."""
    if o.head:
        rec_write(o)
        store_relaxed(rec_body(&p.store, o.nr), o.body)
        head_store(rec_head(&p.store, o.nr), o.head | REC_REFERENCED)
        o.head = 0


cdef inline void prefetch_page(const uint8_t *page) noexcept nogil:
    """Fetch a page's begin: hardware that reads the page before it fetches no further than to the end of that."""
    prefetch_read(page)
    prefetch_read(page + 64)
    prefetch_read(page + 128)


cdef int64_t store_run(pool_t *p, const uint8_t *pages, const int32_t *lengths, int64_t n, bint whole,
                       int64_t *numbers, int32_t *errors) noexcept nogil:
    """Store pages (blobs where there are *lengths*) until all are done, or with *whole* until the first is refused.

    An object is written when the next page is compressed: by then the processor knows where its memory is.
    Context: no locks. Return: pages looked at; numbers and errors of these are set.
    """
    cdef uint32_t taken[64]     # NUMBERS
    cdef zobject_t made[2]      # this page's and the last one's
    cdef int64_t i = 0, nr_taken = 0, next_taken = 0
    cdef context_t *x = context_get(p.store.codec)
    cdef zstat_t st
    cdef int err = 0
    memset(&st, 0, sizeof(st))
    memset(made, 0, sizeof(made))
    while i < n and not (whole and err):
        if i + 1 < n:
            prefetch_page(pages + (i + 1) * PAGE_BYTES)
        if next_taken == nr_taken:
            nr_taken, next_taken = numbers_take(p, taken, min(n - i, <int64_t>NUMBERS)), 0
        if x == NULL:
            err = -ENOMEM
        elif is_full(p) or next_taken == nr_taken:
            err = -ENOSPC
        else:
            err = prepare(p, &st, x, x.scratch + (i & 1) * BLOB_ROOM, pages + i * PAGE_BYTES,
                          lengths[i] if lengths != NULL else 0, &made[i & 1])
        if err == 0:
            err = place(p, &st, taken[next_taken], &made[i & 1])
        publish(p, &made[~i & 1])
        numbers[i], errors[i] = -1, -err
        if err == 0:
            numbers[i] = taken[next_taken]
            next_taken += 1
            st.stores += 1
        else:
            made[i & 1].head = 0
        i += 1
    publish(p, &made[~i & 1])
    numbers_put(p, taken + next_taken, nr_taken - next_taken)
    if x != NULL:
        context_put(p.store.codec, x)
    stat_flush(&p.store.stat, &st)
    return i


cdef inline int load_one(pool_t *p, zstat_t *st, context_t *x, uint32_t nr, uint8_t *out, bint exclusive) noexcept nogil:
    """Load a page; with *exclusive* it is dropped too, and its number is the caller's. Return: 0 or -errno."""
    cdef uint32_t head
    cdef uint64_t body
    cdef int err
    if not rec_lock(&p.store, nr, &head):
        return -ENOENT
    body = load_relaxed(rec_body(&p.store, nr))
    err = rec_load(&p.store, st, x, head, body, out)
    if err or not exclusive:
        head_store(rec_head(&p.store, nr), head | REC_REFERENCED)
        return err
    rec_drop(&p.store, st, head, body)
    head_store(rec_head(&p.store, nr), REC_TAKEN)
    return 0


cdef int load_run(pool_t *p, const int64_t *numbers, int64_t n, uint8_t *out, bint exclusive, int64_t *done) noexcept nogil:
    """Load pages until all are done or one fails. Context: no locks. Return: 0, or -errno of number done[0]."""
    cdef uint32_t freed[64]     # NUMBERS
    cdef int64_t i = 0, nr_freed = 0
    cdef context_t *x = context_get(p.store.codec)
    cdef uint32_t nr = load32(&p.store.nr)
    cdef zstat_t st
    cdef int err = 0 if x != NULL else -ENOMEM
    memset(&st, 0, sizeof(st))
    while i < n and err == 0:
        if i + 1 < n and 0 <= numbers[i + 1] < nr:
            rec_prefetch(&p.store, <uint32_t>numbers[i + 1])
        err = -ENOENT
        if 0 <= numbers[i] < nr:
            err = load_one(p, &st, x, <uint32_t>numbers[i], out + i * PAGE_BYTES, exclusive)
        if err:
            break
        if exclusive:
            freed[nr_freed] = <uint32_t>numbers[i]
            nr_freed += 1
            if nr_freed == NUMBERS:
                numbers_put(p, freed, nr_freed)
                nr_freed = 0
        i += 1
    numbers_put(p, freed, nr_freed)
    if x != NULL:
        context_put(p.store.codec, x)
    st.loads = i
    stat_flush(&p.store.stat, &st)
    done[0] = i
    return err


cdef int drop_run(pool_t *p, const int64_t *numbers, int64_t n, int64_t *done) noexcept nogil:
    """Drop pages until all are gone or one is not there. Context: no locks. Return: 0, or -ENOENT of number done[0]."""
    cdef uint32_t freed[64]     # NUMBERS
    cdef int64_t i = 0, nr_freed = 0
    cdef uint32_t nr = load32(&p.store.nr), head, one
    cdef zstat_t st
    memset(&st, 0, sizeof(st))
    while i < n and 0 <= numbers[i] < nr:
        if i + AHEAD_DROP < n and 0 <= numbers[i + AHEAD_DROP] < nr:
            rec_prefetch_zspage(&p.store, <uint32_t>numbers[i + AHEAD_DROP])
        one = <uint32_t>numbers[i]
        if not rec_lock(&p.store, one, &head):
            break
        rec_drop(&p.store, &st, head, load_relaxed(rec_body(&p.store, one)))
        head_store(rec_head(&p.store, one), REC_TAKEN)
        freed[nr_freed] = one
        nr_freed += 1
        i += 1
        if nr_freed == NUMBERS:
            numbers_put(p, freed, nr_freed)
            nr_freed = 0
    numbers_put(p, freed, nr_freed)
    stat_flush(&p.store.stat, &st)
    done[0] = i
    return 0 if i == n else -ENOENT


cdef int blob_run(pool_t *p, const int64_t *numbers, int64_t n, uint8_t *out, int32_t *lengths, int64_t *done) noexcept nogil:
    """Copy blobs as they are. Context: no locks. Return: 0, or -ENOENT or -EINVAL (one word) of number done[0]."""
    cdef int64_t i
    cdef uint32_t nr = load32(&p.store.nr), head
    cdef uint8_t *at
    for i in range(n):
        done[0] = i
        if i + 1 < n and 0 <= numbers[i + 1] < nr:
            rec_prefetch(&p.store, <uint32_t>numbers[i + 1])
        if not 0 <= numbers[i] < nr or not rec_lock(&p.store, <uint32_t>numbers[i], &head):
            return -ENOENT
        if rec_has_object(head):
            at = zs_at(&p.store.zs, rec_loc(head, load_relaxed(rec_body(&p.store, <uint32_t>numbers[i]))))
            lengths[i] = <int32_t>rec_length(head)
            memcpy(out + i * PAGE_BYTES, at if (head & REC_STATE) == REC_RAW else at + ZS_HEADER, lengths[i])
            memset(out + i * PAGE_BYTES + lengths[i], 0, PAGE_BYTES - lengths[i])
        head_store(rec_head(&p.store, <uint32_t>numbers[i]), head)
        if not rec_has_object(head):
            return -EINVAL
    done[0] = n
    return 0


cdef int64_t hand_run(pool_t *p, int64_t want, int64_t *out) noexcept nogil:
    """Pass the hand over the records until *want* cold ones are found, at most twice around.

    A page that was referenced since loses that mark; one that was not is chosen, and marked as if it went to the end
    of a list, so that it is not chosen twice. Context: no locks, the hand's for 4,096 records at a time.
    """
    cdef int64_t found = 0, left = 2 * <int64_t>load32(&p.store.nr), _step
    cdef uint32_t head, one
    while left > 0 and found < want:
        spin_lock(&p.hand_lock)
        for _step in range(HAND if left > HAND else left):
            one = p.hand if p.hand < load32(&p.store.nr) else 0
            p.hand = one + 1
            left -= 1
            head = head_load(rec_head(&p.store, one))
            if head & REC_LOCK or not rec_has_object(head):
                continue
            if head_cas(rec_head(&p.store, one), head, head ^ REC_REFERENCED) and not head & REC_REFERENCED:
                out[found] = one
                found += 1
                if found == want:
                    break
        spin_unlock(&p.hand_lock)
    return found


cdef void numbers_trim(pool_t *p) noexcept nogil:
    """Sort the free numbers, forget those at the end, give their memory back. Context: no locks."""
    cdef uint32_t nr, last = 0, i
    spin_lock(&p.number_lock)
    nr = p.store.nr
    for i in range(nr):
        if head_load(rec_head(&p.store, i)) != REC_FREE:
            last = i + 1
    p.free, p.nr_free = NO_NUMBER, 0
    i = last
    while i:
        i -= 1
        if head_load(rec_head(&p.store, i)) == REC_FREE:
            store_relaxed(rec_body(&p.store, i), p.free)
            p.free = i
            p.nr_free += 1
    store32(&p.store.nr, last)
    give_array(p.store.heads, last, nr, p.store.head_stride)
    give_array(p.store.bodies, last, nr, p.store.body_stride)
    spin_unlock(&p.number_lock)


cdef inline uint64_t whole_pages(uint64_t bytes) noexcept nogil:
    return (bytes + ZS_PAGE - 1) // ZS_PAGE * ZS_PAGE


cdef void give_array(uint8_t *base, uint64_t begin, uint64_t end, uint64_t stride) noexcept nogil:
    """Give the pages of elements *begin* to *end* back, but for one that earlier elements are in too."""
    cdef uint64_t first = whole_pages(begin * stride), last = whole_pages(end * stride)
    if last > first:
        zs_give_back(base + first, last - first)


# ---- Python

cdef class ZswapPool:
    """A pool of compressed pages that numbers them itself.

    Parameters
    ----------
    codec : Codec
    limit : int
        Bytes of pool memory, at least a page; never exceeded.
    accept_threshold_percent : int
        A pool that was full takes pages again when it has shrunk to this share of its limit.
    keep_incompressible : bool
        Store what would save nothing as it is, a page in a page, as the kernel does where zswap may not write back.
    reserve : int, optional
        Bytes up to which `limit` may be raised later; address space only.
    numbers : int
        Pages at most, whatever their size.

    Notes
    -----
    A record takes 12 bytes: a head of 4 (state, lock, referenced bit, length, place in the zspage) and a body of 8 (the
    zspage, or the word that fills the page). An object takes its length, 4 bytes that name its record, and the rounding to
    one of about 190 sizes; zspages have 1 to 16 pages, whichever wastes least. Any method but `check` may be called from
    any thread at any time.
    """

    cdef pool_t p
    cdef readonly Codec codec

    def __init__(self, Codec codec, limit, accept_threshold_percent=90, keep_incompressible=False, reserve=0,
                 numbers=MOST_NUMBERS):
        pass

    def __cinit__(self, Codec codec, limit, accept_threshold_percent=90, keep_incompressible=False, reserve=0,
                  numbers=MOST_NUMBERS):
        cdef zstore_t *s = &self.p.store
        if not ZS_PAGE <= limit <= <int64_t>MOST_LIMIT * ZS_PAGE:
            raise_errno(EINVAL, f"limit {limit}: expected {ZS_PAGE} bytes to 1 TiB")
        if not 1 <= numbers <= MOST_NUMBERS:
            raise_errno(EINVAL, f"numbers {numbers}: expected 1 to 2^30")
        self.codec = codec
        s.codec = &codec.c
        self.p.max, self.p.free, self.p.keep_raw = numbers, NO_NUMBER, keep_incompressible
        self.accept_threshold_percent = accept_threshold_percent
        self.p.reserved = min(max(reserve, limit) // ZS_PAGE, <int64_t>MOST_LIMIT)
        s.head_stride, s.body_stride = 4, 8
        s.heads = <uint8_t *>zs_reserve(<uint64_t>self.p.max * 4)
        s.bodies = <uint8_t *>zs_reserve(<uint64_t>self.p.max * 8)
        if s.heads == NULL or s.bodies == NULL or zs_init(&s.zs, self.p.reserved):
            raise_errno(ENOMEM, f"no address space for a pool of {limit} bytes")
        s.zs.limit = limit // ZS_PAGE

    def __dealloc__(self):
        zs_destroy(&self.p.store.zs)
        zs_unreserve(self.p.store.heads, <uint64_t>self.p.max * 4)
        zs_unreserve(self.p.store.bodies, <uint64_t>self.p.max * 8)

    @property
    def limit(self):
        """Bytes of pool memory at most."""
        return self.p.store.zs.limit * ZS_PAGE

    @limit.setter
    def limit(self, limit):
        if not ZS_PAGE <= limit <= self.p.reserved * ZS_PAGE:
            raise_errno(EINVAL, f"limit {limit}: expected {ZS_PAGE} to {self.p.reserved * ZS_PAGE} bytes")
        self.p.store.zs.limit = limit // ZS_PAGE

    @property
    def accept_threshold_percent(self):
        """Share of the limit to which a pool that was full must shrink before it takes pages again."""
        return self.p.accept

    @accept_threshold_percent.setter
    def accept_threshold_percent(self, percent):
        if not 0 <= percent <= 100:
            raise_errno(EINVAL, f"accept_threshold_percent {percent}: expected 0 to 100")
        self.p.accept = percent

    def room(self):
        """Return how many more pages fit at least, compressible ones; 0 while the pool does not accept any."""
        cdef int64_t used = load64(&self.p.store.zs.pages) - load64(&self.p.store.zs.spare_pages)
        if used >= self.p.store.zs.limit or (peek32(&self.p.full) and used > self.p.store.zs.limit * self.p.accept // 100):
            return 0
        return min(self.p.store.zs.limit - used, self.p.max - load32(&self.p.store.nr) + peek32(&self.p.nr_free))

    def write_many(self, pages, blocks=None):
        """Store pages that need not belong together.

        Parameters
        ----------
        pages : buffer of n times 4096 bytes
        blocks : None
            The pool chooses.

        Returns
        -------
        numbers : ndarray of int64, shape (n,)
            -1 for a page that was refused.
        errors : ndarray of int32, shape (n,)
            0, or the errno: E2BIG it would save no space; ENOSPC the pool is full; EIO the codec failed; ENOMEM no memory.
        """
        return self._write(pages, blocks, False)

    def write_folio(self, folio, blocks=None):
        """Store the pages of a folio, all or none.

        Returns
        -------
        ndarray of int64, shape (n,)

        Raises
        ------
        PageRefusedError, SwapFullError, SwapMemoryError, SwapError
            Of its first page that was refused, which is ``index``; nothing is stored.
        """
        cdef int64_t done
        cdef int64_t[::1] stored
        numbers, errors = self._write(folio, blocks, True)
        last = len(errors) - 1
        if last >= 0 and errors[last]:
            stored = numbers
            if last:
                with nogil:     # whoever holds one of these records may wait for the GIL
                    drop_run(&self.p, &stored[0], last, &done)
            raise_errno(errors[last], f"the folio is refused: page {last} of its pages cannot be stored", last)
        return numbers

    cdef object _write(self, pages, blocks, bint whole):
        cdef Py_buffer view
        cdef int64_t n, done = 0
        cdef int64_t[::1] numbers
        cdef int32_t[::1] errors
        if blocks is not None:
            raise_errno(EINVAL, "blocks: expected None, since the pool numbers pages itself")
        n = pages_open(pages, &view, False)
        try:
            number_array, error_array = np.empty(n, np.int64), np.empty(n, np.int32)
            if n:
                numbers, errors = number_array, error_array
                with nogil:
                    done = store_run(&self.p, <const uint8_t *>view.buf, NULL, n, whole, &numbers[0], &errors[0])
        finally:
            PyBuffer_Release(&view)
        return number_array[:done], error_array[:done]

    def read_many(self, blocks, out=None, exclusive=False):
        """Load pages.

        Parameters
        ----------
        blocks : array of int, shape (n,)
            Numbers that `write_many` gave.
        out : writable buffer of n times 4096 bytes, optional
        exclusive : bool
            Drop each page as it is loaded; its number may be given to another.

        Returns
        -------
        ndarray of uint8, shape (n, 4096), or *out*

        Raises
        ------
        SlotNotInUseError
            Element ``index`` has no page; those before it are done.
        SwapError
            EIO, the codec failed on it; the page is kept.
        """
        cdef Py_buffer view
        cdef const int64_t[::1] numbers = numbers_array(blocks, -1)
        cdef int64_t n = numbers.shape[0], done = 0
        cdef int err = 0
        cdef bint drop = exclusive
        out = pages_room(out, n, &view)
        try:
            if n:
                with nogil:
                    err = load_run(&self.p, &numbers[0], n, <uint8_t *>view.buf, drop, &done)
        finally:
            PyBuffer_Release(&view)
        if err:
            raise_errno(err, f"load of number {numbers[done]}: {WHY.get(err, 'failed')}", done)
        return out

    def read_folio(self, blocks, out=None, exclusive=False):
        """Load the pages of a folio; see `read_many`."""
        return self.read_many(blocks, out, exclusive)

    def invalidate(self, blocks):
        """Drop pages; their numbers may be given to others.

        Raises
        ------
        SlotNotInUseError
            Element ``index`` has no page; those before it are gone.
        """
        cdef const int64_t[::1] numbers = numbers_array(blocks, -1)
        cdef int64_t n = numbers.shape[0], done = 0
        cdef int err = 0
        if n:
            with nogil:
                err = drop_run(&self.p, &numbers[0], n, &done)
        if err:
            raise_errno(err, f"invalidate of number {numbers[done]}: {WHY[err]}", done)

    def lengths(self, blocks):
        """How many bytes each page takes compressed, without locks: a hint while others load and drop.

        Returns
        -------
        ndarray of int32, shape (n,)
            4096 for a page that is stored as it is, 0 for one of one word, -1 where no page has the number.
        """
        cdef const int64_t[::1] numbers = numbers_array(blocks, -1)
        cdef int64_t i, n = numbers.shape[0]
        cdef uint32_t nr = load32(&self.p.store.nr), head
        array = np.full(n, -1, np.int32)
        cdef int32_t[::1] out = array
        for i in range(n):
            if 0 <= numbers[i] < nr:
                head = head_load(rec_head(&self.p.store, <uint32_t>numbers[i]))
                if rec_has_object(head):
                    out[i] = <int32_t>rec_length(head)
                elif (head & REC_STATE) not in (REC_FREE, REC_TAKEN):
                    out[i] = 0
        return array

    def read_blobs(self, blocks, out=None):
        """Copy pages as they are stored, for writeback without decompression.

        Parameters
        ----------
        blocks : array of int, shape (n,)
        out : writable buffer of n times 4096 bytes, optional

        Returns
        -------
        blobs : ndarray of uint8, shape (n, 4096)
            Each at the begin of its row, zeros behind.
        lengths : ndarray of int32, shape (n,)
            4096 is a page that is stored as it is.

        Raises
        ------
        SlotNotInUseError
            Element ``index`` has no page.
        SwapValueError
            It is filled with one word and has no blob.
        """
        cdef const int64_t[::1] numbers = numbers_array(blocks, -1)
        cdef int64_t n = numbers.shape[0], done = 0
        cdef int err = 0
        cdef Py_buffer view
        length_array = np.zeros(n, np.int32)
        cdef int32_t[::1] lengths = length_array
        out = pages_room(out, n, &view)
        try:
            if n:
                with nogil:
                    err = blob_run(&self.p, &numbers[0], n, <uint8_t *>view.buf, &lengths[0], &done)
        finally:
            PyBuffer_Release(&view)
        if err:
            raise_errno(err, f"blob of number {numbers[done]}: {WHY[err]}", done)
        return out, length_array

    def write_blobs(self, blobs, lengths):
        """Store what `read_blobs` gave, by a pool of the same codec.

        Returns
        -------
        numbers, errors
            As of `write_many`.
        """
        cdef Py_buffer view
        cdef const int32_t[::1] nr = np.ascontiguousarray(lengths, np.int32)
        cdef int64_t n = pages_open(blobs, &view, False), i
        cdef int64_t[::1] numbers
        cdef int32_t[::1] errors
        try:
            if nr.shape[0] != n:
                raise_errno(EINVAL, f"{n} blobs, but {nr.shape[0]} lengths")
            for i in range(n):
                if not 1 <= nr[i] <= PAGE_BYTES or PAGE_BYTES > nr[i] > <int64_t>self.p.store.zs.most:
                    raise_errno(EINVAL, f"length {nr[i]}: expected 1 to {self.p.store.zs.most}, or {PAGE_BYTES}", i)
            number_array, error_array = np.empty(n, np.int64), np.empty(n, np.int32)
            if n:
                numbers, errors = number_array, error_array
                with nogil:
                    store_run(&self.p, <const uint8_t *>view.buf, &nr[0], n, False, &numbers[0], &errors[0])
        finally:
            PyBuffer_Release(&view)
        return number_array, error_array

    def reclaim_candidates(self, int64_t n):
        """Choose up to *n* cold pages by second chance: the hand passes the records, at most twice around.

        Returns
        -------
        ndarray of int64, shape (at most n,)
            Numbers, a hint: others may load or drop them meanwhile. Pages of one word are never among them.
        """
        cdef int64_t found = 0
        cdef int64_t[::1] numbers
        if n < 0:
            raise_errno(EINVAL, f"n {n}: expected 0 or more")
        array = np.empty(min(n, load32(&self.p.store.nr)), np.int64)
        if array.size:
            numbers = array
            with nogil:
                found = hand_run(&self.p, numbers.shape[0], &numbers[0])
        return array[:found]

    def count_written_back(self, int64_t n):
        """Count *n* pages that the caller wrote to another tier and dropped: written_back_pages."""
        add64(&self.p.written_back, n)

    def compact(self):
        """Pack objects into as few pages as they need. Returns the pages given back."""
        cdef int64_t given
        with nogil:
            given = zs_compact(&self.p.store.zs, &self.p.store, rec_pin, rec_unpin)
        return given

    def trim(self):
        """Compact, and give back the records of the highest free numbers."""
        self.compact()
        with nogil:
            numbers_trim(&self.p)

    def memory(self):
        """Bytes by kind, counted where they are allocated.

        Returns
        -------
        dict
            pool (pages with objects), spare (pages kept for the next objects), records, zspages, classes, codec, total.
        """
        cdef zspool_t *zs = &self.p.store.zs
        cdef int64_t spare = load64(&zs.spare_pages)
        cdef uint32_t nr = load32(&self.p.store.nr)
        bytes_of = {
            "pool": (load64(&zs.pages) - spare) * ZS_PAGE,
            "spare": spare * ZS_PAGE,
            "records": whole_pages(nr * <uint64_t>4) + whole_pages(nr * <uint64_t>8),
            "zspages": whole_pages(peek32(&zs.fresh) * sizeof(zspage_t)),
            "classes": ZS_CLASS_BYTES,
            "codec": self.codec.context_bytes,
        }
        return {**bytes_of, "total": sum(bytes_of.values())}

    def counts(self):
        """What the pool has counted, by name; a call that still runs counts at its end."""
        cdef zstat_t st
        stat_read(&self.p.store.stat, &st)
        return {
            **st,
            "limit_hit": load64(&self.p.limit_hit),
            "written_back": load64(&self.p.written_back),
            "pages": load64(&self.p.store.zs.pages),
            "spare_pages": load64(&self.p.store.zs.spare_pages),
            "pages_compacted": load64(&self.p.store.zs.compacted),
        }

    @property
    def largest(self):
        """Bytes of the largest blob that saves space."""
        return self.p.store.zs.most

    def check(self, deep=False):
        """Check every invariant from scratch; no other thread may use the pool.

        Parameters
        ----------
        deep : bool
            Decompress every page too.

        Raises
        ------
        CheckError
        """
        cdef uint32_t nr = self.p.free, n = 0
        check_spool(&self.p.store.zs)
        check_records(&self.p.store, self.p.nr_free)
        while nr != NO_NUMBER and n <= self.p.nr_free:
            if nr >= self.p.store.nr or head_load(rec_head(&self.p.store, nr)) != REC_FREE:
                raise CheckError(f"number {nr} is on the list of free ones and is not free")
            nr = <uint32_t>load_relaxed(rec_body(&self.p.store, nr))
            n += 1
        if n != self.p.nr_free:
            raise CheckError(f"{n} numbers are on the list of free ones, counted are {self.p.nr_free}")
        if deep:
            self._check_pages()

    def _check_pages(self):
        cdef uint32_t nr
        out = np.empty((1, PAGE_BYTES), np.uint8)
        for nr in range(self.p.store.nr):
            if (head_load(rec_head(&self.p.store, nr)) & REC_STATE) == REC_OBJECT:
                try:
                    self.read_many([nr], out)
                except OSError as e:
                    raise CheckError(f"number {nr}: {e}") from e
