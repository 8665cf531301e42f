# Bare loops around the C calls that the backends make: codec functions, pread and pwrite, and nothing else.
# May import the codec and errors.
# Used by the benchmarks.
"""What the backends are measured against, in C and without the GIL."""

from libc.errno cimport EIO, EINVAL, errno
from libc.stdint cimport int32_t, int64_t, uint8_t

from swaptable.backends._codec cimport BLOB_ROOM, PAGE_BYTES, Codec, context_get, context_put, context_t

import numpy as np

from swaptable.errors import raise_errno

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void *buf, size_t count, int64_t offset)
    ssize_t pwrite(int fd, const void *buf, size_t count, int64_t offset)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t preadv(int fd, const iovec *iov, int count, int64_t offset)
    ssize_t pwritev(int fd, const iovec *iov, int count, int64_t offset)


def pack_each(Codec codec, const uint8_t[:, ::1] pages):
    """Compress every page into the same buffer, one call of the library a page; the sum of the lengths."""
    cdef context_t *x = context_get(&codec.c)
    cdef int64_t i, total = 0
    cdef int done
    with nogil:
        for i in range(pages.shape[0]):
            done = codec.c.pack(&codec.c, x, &pages[i, 0], PAGE_BYTES, x.scratch, BLOB_ROOM)
            if done > 0:
                total += done
        context_put(&codec.c, x)
    return total


def packed(Codec codec, const uint8_t[:, ::1] pages, most=PAGE_BYTES):
    """Blobs of all pages one behind the other, and their lengths; those of more than *most* bytes are left out.

    Returns
    -------
    blobs : ndarray of uint8
    lengths : ndarray of int32
    """
    blobs = [blob for blob in (codec.compress(page) for page in np.asarray(pages)) if len(blob) <= most]
    return np.frombuffer(b"".join(blobs), np.uint8), np.array([len(blob) for blob in blobs], np.int32)


def unpack_each(Codec codec, const uint8_t[::1] blobs, const int32_t[::1] lengths, uint8_t[:, ::1] out):
    """Decompress every blob to its row of *out*, one call of the library a page."""
    cdef context_t *x = context_get(&codec.c)
    cdef int64_t i, at = 0
    cdef int failed = 0
    with nogil:
        for i in range(lengths.shape[0]):
            failed |= codec.c.unpack(&codec.c, x, &blobs[at], lengths[i], &out[i, 0], PAGE_BYTES) != PAGE_BYTES
            at += lengths[i]
        context_put(&codec.c, x)
    if failed:
        raise_errno(EIO, f"{codec.name}: one of the blobs is none")


def read_each(int fd, const int64_t[::1] blocks, uint8_t[:, ::1] out, int64_t run=1):
    """pread runs of *run* blocks into consecutive rows of *out*, one call a run."""
    cdef int64_t i, n = run * PAGE_BYTES
    cdef int failed = 0
    _room(blocks.shape[0] * run, out.shape[0], out.shape[1])
    with nogil:
        for i in range(blocks.shape[0]):
            failed |= pread(fd, &out[i * run, 0], n, blocks[i] * PAGE_BYTES) != n
    if failed:
        raise_errno(errno or EIO, "pread")


def write_each(int fd, const int64_t[::1] blocks, const uint8_t[:, ::1] pages, int64_t run=1):
    """pwrite consecutive rows of *pages* to runs of *run* blocks, one call a run."""
    cdef int64_t i, n = run * PAGE_BYTES
    cdef int failed = 0
    _room(blocks.shape[0] * run, pages.shape[0], pages.shape[1])
    with nogil:
        for i in range(blocks.shape[0]):
            failed |= pwrite(fd, &pages[i * run, 0], n, blocks[i] * PAGE_BYTES) != n
    if failed:
        raise_errno(errno or EIO, "pwrite")


def readv_each(int fd, const int64_t[::1] blocks, uint8_t[:, ::1] out):
    """preadv runs of 16 blocks, one buffer a page, one call a run."""
    cdef iovec iov[16]
    cdef int64_t i, k
    cdef int failed = 0
    _room(blocks.shape[0] * 16, out.shape[0], out.shape[1])
    with nogil:
        for i in range(blocks.shape[0]):
            for k in range(16):
                iov[k].iov_base, iov[k].iov_len = &out[i * 16 + k, 0], PAGE_BYTES
            failed |= preadv(fd, iov, 16, blocks[i] * PAGE_BYTES) != 16 * PAGE_BYTES
    if failed:
        raise_errno(errno or EIO, "preadv")


def writev_each(int fd, const int64_t[::1] blocks, const uint8_t[:, ::1] pages):
    """pwritev runs of 16 blocks, one buffer a page, one call a run."""
    cdef iovec iov[16]
    cdef int64_t i, k
    cdef int failed = 0
    _room(blocks.shape[0] * 16, pages.shape[0], pages.shape[1])
    with nogil:
        for i in range(blocks.shape[0]):
            for k in range(16):
                iov[k].iov_base, iov[k].iov_len = <void *>&pages[i * 16 + k, 0], PAGE_BYTES
            failed |= pwritev(fd, iov, 16, blocks[i] * PAGE_BYTES) != 16 * PAGE_BYTES
    if failed:
        raise_errno(errno or EIO, "pwritev")


cdef int _room(int64_t wanted, int64_t rows, int64_t columns) except -1:
    if wanted > rows or columns != PAGE_BYTES:
        raise_errno(EINVAL, f"{rows} rows of {columns} bytes: expected {wanted} of {PAGE_BYTES}")
    return 0
