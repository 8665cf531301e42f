# The C face of a codec: a page in, a blob out, and back, without the GIL.
# Imports the locks.
# Used by the compressed pools; the functions of the library are found at run time.
from libc.stdint cimport int64_t, uint8_t

cdef enum:
    PAGE_BYTES = 4096
    BLOB_ROOM = 8192        # more than any codec here can make of a page

cdef struct codec_t
cdef struct context_t

# Return: bytes written, 1 or more, or -errno.
ctypedef int (*codec_fn)(codec_t *c, context_t *x, const uint8_t *src, int nr, uint8_t *dst, int room) noexcept nogil

# What one thread works with; idle ones wait in the codec.
cdef struct context_t:
    context_t *next
    void *packer            # state of the library, or NULL
    void *unpacker
    int64_t bytes           # of all this
    uint8_t scratch[16384]  # twice BLOB_ROOM: a blob is copied when the next page is compressed already

cdef struct codec_t:
    codec_fn pack
    codec_fn unpack
    void *fn[9]             # functions of the library
    int level
    void *adapter           # a Python codec, borrowed from its Codec
    uint8_t lock
    context_t *idle
    int64_t contexts        # made so far, bytes of them
    int64_t context_bytes

cdef class Codec:
    cdef codec_t c
    cdef readonly str name      # "lz4", "lz4hc", "zstd" or "lzo"
    cdef readonly str library   # where its functions come from, with the version
    cdef readonly int version   # the library's number of it; 0 for an adapter's
    cdef readonly bint native   # C functions, no GIL
    cdef object adapter

cdef context_t *context_get(codec_t *c) noexcept nogil
cdef void context_put(codec_t *c, context_t *x) noexcept nogil
