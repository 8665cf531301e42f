# Records of compressed pages, and what storing, loading and dropping one page does; nogil on pointers.
# Imports the locks, the codec and the allocator.
# Used by zswap, whose records are numbered by itself, and by zram, whose records are its table.
from libc.errno cimport E2BIG, EIO, ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from swaptable._atomic cimport add64, load32, load64, load_relaxed, poke32, prefetch_read, prefetch_write, store_relaxed
from swaptable.backends._codec cimport BLOB_ROOM, PAGE_BYTES, codec_t, context_t
from swaptable.backends._zspool cimport (
    ZS_HEADER, zs_alloc, zs_at, zs_free, zs_loc, zspool_t,
)

cdef extern from *:
    """
    #ifndef SWAPTABLE_ZRECORD
    #define SWAPTABLE_ZRECORD
    #include <sched.h>
    #include <string.h>
    /* Whether all 512 words are one. Most pages differ in their first line, which is needed anyway. */
    static inline int same_filled(const uint8_t *page, uint64_t *word) {
        uint64_t v, w[8];
        memcpy(&v, page, 8);
        for (int i = 0; i < 4096; i += 64) {
            memcpy(w, page + i, 64);
            if ((w[0] ^ v) | (w[1] ^ v) | (w[2] ^ v) | (w[3] ^ v) | (w[4] ^ v) | (w[5] ^ v) | (w[6] ^ v) | (w[7] ^ v))
                return 0;
        }
        *word = v;
        return 1;
    }
    static inline void fill_page(uint8_t *page, uint64_t word) {
        for (int i = 0; i < 4096; i += 8) memcpy(page + i, &word, 8);
    }
    /* Sets the lock bit of a head, whatever its state; returns the head as it was. */
    static inline uint32_t head_lock(uint32_t *head, uint32_t bit) {
        uint32_t old, spins = 0;
        for (;;) {
            old = __atomic_load_n(head, __ATOMIC_RELAXED);
            if (!(old & bit)
                && __atomic_compare_exchange_n(head, &old, old | bit, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                return old;
            if (++spins >= 64) { sched_yield(); spins = 0; }
        }
    }
    static inline int head_cas(uint32_t *head, uint32_t old, uint32_t now) {
        return __atomic_compare_exchange_n(head, &old, now, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    }
    static inline uint32_t head_load(const uint32_t *head) { return __atomic_load_n(head, __ATOMIC_ACQUIRE); }
    static inline void head_store(uint32_t *head, uint32_t now) { __atomic_store_n(head, now, __ATOMIC_RELEASE); }
    #endif
    """
    int same_filled(const uint8_t *page, uint64_t *word) noexcept nogil
    void fill_page(uint8_t *page, uint64_t word) noexcept nogil
    uint32_t head_lock(uint32_t *head, uint32_t bit) noexcept nogil
    int head_cas(uint32_t *head, uint32_t old, uint32_t now) noexcept nogil
    uint32_t head_load(const uint32_t *head) noexcept nogil
    void head_store(uint32_t *head, uint32_t now) noexcept nogil
    int sched_yield() noexcept nogil

# A record is a head of 4 bytes and a body of 8:
#   head | length:13 | object in its zspage:7 | flags:3 | lock:1 | state:3 |
#   body   FREE: a link.  OBJECT, RAW: the zspage.  FILLED: the word.  BACKED: a block of the backing file.
cdef enum:
    REC_FREE = 0
    REC_OBJECT = 1          # compressed
    REC_FILLED = 2          # one word says it all
    REC_RAW = 3             # incompressible, stored as it is
    REC_BACKED = 4          # zram only: in the backing file
    REC_TAKEN = 5           # zswap only: a number that a store has, for which there is nothing yet
    REC_STATE = 7
    REC_LOCK = 8
    REC_REFERENCED = 16     # zswap: second chance
    REC_IDLE = 32           # zram: not touched since it was marked
    REC_MOVING = 64         # zram: being written to the backing file; whoever changes the record clears it
    REC_FLAGS = 112
    REC_OBJ_SHIFT = 7
    REC_LEN_SHIFT = 14
    REC_AHEAD = 512         # bytes of the next object that a batch of loads fetches; hardware goes on from there

# Counts of one call, the caller's alone until `stat_flush` adds them up.
cdef struct zstat_t:
    int64_t stored          # pages held now, of any state
    int64_t filled          # of these: one word
    int64_t raw             # of these: stored as they are
    int64_t raw_since       # stored as they are since the beginning
    int64_t bytes           # lengths of what is compressed or raw
    int64_t poor            # refused: would save nothing
    int64_t pack_fail
    int64_t alloc_fail      # refused: no room at the limit, or no memory
    int64_t no_memory       # of these: no memory
    int64_t unpack_fail
    int64_t loads
    int64_t stores

# Heads and bodies with their strides: two dense arrays, or one table.
cdef struct zstore_t:
    zspool_t zs
    uint8_t *heads
    uint8_t *bodies
    uint32_t head_stride
    uint32_t body_stride
    uint32_t nr             # records that may be looked at
    codec_t *codec
    zstat_t stat


cdef inline uint32_t *rec_head(zstore_t *s, uint32_t nr) noexcept nogil:
    return <uint32_t *>(s.heads + <uint64_t>nr * s.head_stride)


cdef inline uint64_t *rec_body(zstore_t *s, uint32_t nr) noexcept nogil:
    return <uint64_t *>(s.bodies + <uint64_t>nr * s.body_stride)


cdef inline unsigned int rec_length(uint32_t head) noexcept nogil:
    return head >> REC_LEN_SHIFT


cdef inline uint64_t rec_loc(uint32_t head, uint64_t body) noexcept nogil:
    return zs_loc(<uint32_t>body, head >> REC_OBJ_SHIFT & 127)


cdef inline bint rec_has_object(uint32_t head) noexcept nogil:
    return (head & REC_STATE) == REC_OBJECT or (head & REC_STATE) == REC_RAW


cdef inline void stat_flush(zstat_t *total, zstat_t *st) noexcept nogil:
    cdef int64_t *to = <int64_t *>total
    cdef int64_t *one = <int64_t *>st
    cdef size_t i
    for i in range(sizeof(zstat_t) // 8):
        if one[i]:
            add64(&to[i], one[i])
            one[i] = 0


cdef inline void stat_read(zstat_t *total, zstat_t *out) noexcept nogil:
    """Copy counts that other threads add to."""
    cdef int64_t *of = <int64_t *>total
    cdef int64_t *to = <int64_t *>out
    cdef size_t i
    for i in range(sizeof(zstat_t) // 8):
        to[i] = load64(&of[i])


cdef inline bint rec_lock(zstore_t *s, uint32_t nr, uint32_t *head) noexcept nogil:
    """Lock a record that holds a page. Return: it does; a record without one is not locked."""
    cdef unsigned int spins = 0
    while True:
        head[0] = head_load(rec_head(s, nr))
        if (head[0] & REC_STATE) == REC_FREE or (head[0] & REC_STATE) == REC_TAKEN:
            return False
        if not head[0] & REC_LOCK and head_cas(rec_head(s, nr), head[0], head[0] | REC_LOCK):
            return True
        spins += 1
        if spins & 63 == 0:
            sched_yield()


cdef inline bint rec_pin(void *owner, uint32_t nr, uint64_t loc) noexcept nogil:
    """Lock record *nr* for compaction, if it holds the object at *loc* and nobody works on it."""
    cdef zstore_t *s = <zstore_t *>owner
    cdef uint32_t head
    if nr >= load32(&s.nr):
        return False
    head = head_load(rec_head(s, nr))
    if head & REC_LOCK or (head & REC_STATE) != REC_OBJECT or not head_cas(rec_head(s, nr), head, head | REC_LOCK):
        return False
    if rec_loc(head, load_relaxed(rec_body(s, nr))) == loc:
        return True
    head_store(rec_head(s, nr), head)
    return False


cdef inline void rec_unpin(void *owner, uint32_t nr, uint64_t loc) noexcept nogil:
    """The object of pinned record *nr* is at *loc* now."""
    cdef zstore_t *s = <zstore_t *>owner
    cdef uint32_t head = head_load(rec_head(s, nr)) & ~<uint32_t>(REC_LOCK | 127 << REC_OBJ_SHIFT)
    store_relaxed(rec_body(s, nr), loc >> 7)
    head_store(rec_head(s, nr), head | <uint32_t>(loc & 127) << REC_OBJ_SHIFT)


# How a page is stored, before there is room for it, and until it is there; its record does not say so before.
cdef struct zobject_t:
    uint8_t *at             # NULL: it needs no room
    const uint8_t *bytes
    int length
    uint32_t nr
    uint32_t head           # 0: there is none
    uint64_t body


cdef inline int rec_pack(zstore_t *s, zstat_t *st, context_t *x, uint8_t *scratch, const uint8_t *page, bint keep_raw,
                         zobject_t *o) noexcept nogil:
    """Find out how *page* is stored, compressed to *scratch* if need be.

    Context: no locks. Return: 0 with the head's state, or -E2BIG (saves nothing) or -EIO (the codec).
    """
    if same_filled(page, &o.body):
        o.head = REC_FILLED
        return 0
    o.head, o.bytes = REC_OBJECT, scratch
    o.length = s.codec.pack(s.codec, x, page, PAGE_BYTES, scratch, BLOB_ROOM)
    if 0 < o.length <= <int>s.zs.most:
        return 0
    if o.length < 0:
        st.pack_fail += 1
    else:
        st.poor += 1
    if not keep_raw:
        return -EIO if o.length < 0 else -E2BIG
    o.head, o.bytes, o.length = REC_RAW, page, PAGE_BYTES
    return 0


cdef inline int rec_alloc(zstore_t *s, zstat_t *st, uint32_t nr, zobject_t *o) noexcept nogil:
    """Find room for what `rec_pack` made, for record *nr*.

    Context: no locks. Return: 0 with head and body as they are to be, -ENOSPC at the limit, or -ENOMEM.
    """
    cdef int64_t loc
    o.at, o.nr = NULL, nr
    if o.head == REC_FILLED:
        return 0
    loc = zs_alloc(&s.zs, PAGE_BYTES - ZS_HEADER if o.head == REC_RAW else o.length)
    if loc < 0:
        st.alloc_fail += 1
        st.no_memory += loc == -ENOMEM
        return <int>loc
    o.at = zs_at(&s.zs, loc)
    prefetch_write(o.at)        # most of all to have the addresses translated
    prefetch_write(o.at + o.length - 1)
    o.head |= <uint32_t>(loc & 127) << REC_OBJ_SHIFT | <uint32_t>o.length << REC_LEN_SHIFT
    o.body = <uint64_t>loc >> 7
    return 0


cdef inline void rec_write(zobject_t *o) noexcept nogil:
    """Copy the bytes to where `rec_alloc` found room."""
    if o.at == NULL:
        return
    if (o.head & REC_STATE) == REC_RAW:     # a page leaves no room for a header: such an object is never moved
        memcpy(o.at, o.bytes, PAGE_BYTES)
        return
    poke32(<uint32_t *>o.at, o.nr)
    memcpy(o.at + ZS_HEADER, o.bytes, o.length)


cdef inline void rec_count(zstat_t *st, uint32_t head, int sign) noexcept nogil:
    """One page of this kind more or less."""
    st.stored += sign
    if (head & REC_STATE) == REC_FILLED:
        st.filled += sign
    elif rec_has_object(head):
        st.bytes += sign * <int64_t>rec_length(head)
        if (head & REC_STATE) == REC_RAW:
            st.raw += sign
            st.raw_since += sign > 0


cdef inline int rec_load(zstore_t *s, zstat_t *st, context_t *x, uint32_t head, uint64_t body, uint8_t *out) noexcept nogil:
    """The page of a locked record that is in the pool. Return: 0, or -EIO when the codec cannot read it."""
    cdef uint8_t *at
    if (head & REC_STATE) == REC_FILLED:
        fill_page(out, body)
        return 0
    at = zs_at(&s.zs, rec_loc(head, body))
    if (head & REC_STATE) == REC_RAW:
        memcpy(out, at, PAGE_BYTES)
        return 0
    if s.codec.unpack(s.codec, x, at + ZS_HEADER, rec_length(head), out, PAGE_BYTES) != PAGE_BYTES:
        st.unpack_fail += 1
        return -EIO
    return 0


cdef inline void rec_drop(zstore_t *s, zstat_t *st, uint32_t head, uint64_t body) noexcept nogil:
    """Free what a record held. Context: it is locked, or the caller's alone."""
    if rec_has_object(head):
        zs_free(&s.zs, rec_loc(head, body))
    rec_count(st, head, -1)


cdef inline void rec_prefetch(zstore_t *s, uint32_t nr) noexcept nogil:
    """Fetch a record's object; a hint, whatever becomes of the record meanwhile."""
    cdef uint32_t head = head_load(rec_head(s, nr)), zspage
    cdef uint8_t *at
    cdef unsigned int i
    if (head & REC_STATE) != REC_OBJECT:
        return
    zspage = <uint32_t>load_relaxed(rec_body(s, nr))
    if zspage < s.zs.max_zspages:
        at = zs_at(&s.zs, rec_loc(head, zspage))
        for i in range(0, min(rec_length(head) + ZS_HEADER, REC_AHEAD), 64):
            prefetch_read(at + i)


cdef inline void rec_prefetch_zspage(zstore_t *s, uint32_t nr) noexcept nogil:
    """Fetch what a record's object is freed in; a hint."""
    cdef uint32_t zspage
    if (head_load(rec_head(s, nr)) & REC_STATE) == REC_OBJECT:
        zspage = <uint32_t>load_relaxed(rec_body(s, nr))
        if zspage < s.zs.max_zspages:
            prefetch_write(&s.zs.z[zspage])
