# The door for pages and block numbers: what callers hand in, checked, as pointers; copies of pages without the GIL.
# Imports errors.
# Used by the backends.
"""Pages of 4096 bytes as (n, 4096) arrays, and numbers of blocks."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EINVAL
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

import mmap

import numpy as np

from swaptable.errors import raise_errno

cdef enum:
    PAGE = 4096


cdef int64_t pages_open(object pages, Py_buffer *view, bint writable) except -1:
    """Open a buffer of whole pages. Return: how many; the caller releases *view*."""
    try:
        PyObject_GetBuffer(pages, view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    except (BufferError, TypeError, ValueError) as e:
        what = "writable, contiguous" if writable else "contiguous"
        raise_errno(EINVAL, f"pages: expected a {what} buffer of n times {PAGE} bytes: {e}")
    if view.len % PAGE:
        PyBuffer_Release(view)
        raise_errno(EINVAL, f"pages: {view.len} bytes, expected n times {PAGE}")
    return view.len // PAGE


cdef object pages_made(object out, int64_t n):
    """*out*, or a new array for *n* pages."""
    return np.empty((n, PAGE), np.uint8) if out is None else out


cdef object pages_room(object out, int64_t n, Py_buffer *view):
    """*out*, or a new array, opened to be written *n* pages to; the caller releases *view*."""
    out = pages_made(out, n)
    if pages_open(out, view, True) != n:
        PyBuffer_Release(view)
        raise_errno(EINVAL, f"out: {view.len} bytes for {n} pages")
    return out


cdef object numbers_array(object blocks, int64_t n):
    """*blocks* as a contiguous int64 array; an int is the first of a run of *n*; *n* of -1 stands for any number."""
    if isinstance(blocks, (int, np.integer)):
        if not 0 <= blocks <= 1 << 52:
            raise_errno(EINVAL, f"block {blocks}: expected 0 or more")
        return np.arange(blocks, blocks + (1 if n < 0 else n), dtype=np.int64)
    array = np.asarray(blocks)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise_errno(EINVAL, f"blocks: expected a number or an array of them, not {array.dtype} with shape {array.shape}")
    if n >= 0 and array.size != n:
        raise_errno(EINVAL, f"{array.size} blocks for {n} pages: expected as many")
    if array.dtype == np.uint64 and array.size and array.max() > 1 << 52:
        i = int(np.argmax(array > 1 << 52))
        raise_errno(EINVAL, f"block {array[i]}: expected 0 to 2^52", i)
    return np.ascontiguousarray(array, np.int64)


def empty_pages(int64_t n):
    """Return room for *n* pages that begins at a page of memory, as direct I/O wants it.

    Returns
    -------
    ndarray of uint8, shape (n, 4096)
        Uninitialised or zeros.

    >>> pages = empty_pages(3)
    >>> pages.shape, pages.ctypes.data % 4096
    ((3, 4096), 0)
    """
    if n < 0:
        raise_errno(EINVAL, f"{n} pages: expected 0 or more")
    room = mmap.mmap(-1, max(n, 1) * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(room, np.uint8)[: n * PAGE].reshape(n, PAGE)


def count(pages):
    """Return how many pages a buffer holds.

    Raises
    ------
    SwapValueError
        Not whole ones, or not contiguous.
    """
    cdef Py_buffer view
    cdef int64_t n = pages_open(pages, &view, False)
    PyBuffer_Release(&view)
    return n


def numbers(blocks, int64_t n=-1):
    """Return *blocks* as a contiguous int64 array.

    Parameters
    ----------
    blocks : int or array of int
        An int is the first of a run of *n*, or with *n* of -1 one block.
    n : int
        How many there must be; -1 for any number.

    Raises
    ------
    SwapValueError
        They are no numbers, or not as many.
    """
    return numbers_array(blocks, n)


def bound(blocks, int64_t most):
    """Refuse the first of *blocks* (int64) that is not from 0 to *most* - 1.

    Raises
    ------
    SwapValueError
        With its ``index``.
    """
    cdef const int64_t[::1] b = blocks
    cdef int64_t i
    for i in range(b.shape[0]):
        if not 0 <= b[i] < most:
            raise_errno(EINVAL, f"block {b[i]}: expected 0 to {most - 1}", i)


def scatter(uint8_t[:, ::1] store, blocks, pages):
    """Copy *pages* to rows *blocks* of *store*, without the GIL."""
    cdef Py_buffer view
    cdef int64_t n = pages_open(pages, &view, False), i
    cdef const int64_t[::1] b
    try:
        b = numbers_array(blocks, n)
        bound(b, store.shape[0])
        with nogil:
            for i in range(n):
                memcpy(&store[b[i], 0], <const uint8_t *>view.buf + i * PAGE, PAGE)
    finally:
        PyBuffer_Release(&view)


def gather(const uint8_t[:, ::1] store, blocks, out):
    """Copy rows *blocks* of *store* to *out*, without the GIL."""
    cdef Py_buffer view
    cdef int64_t n = pages_open(out, &view, True), i
    cdef const int64_t[::1] b
    try:
        b = numbers_array(blocks, n)
        bound(b, store.shape[0])
        with nogil:
            for i in range(n):
                memcpy(<uint8_t *>view.buf + i * PAGE, &store[b[i], 0], PAGE)
    finally:
        PyBuffer_Release(&view)
