# Reads and writes of numbered blocks of an open file: runs, vectored calls, bounce buffers, discard, injected faults.
# May import the locks, errors and pages.
# Used by file.py.
"""Blocks of a file without the GIL."""

from cpython.buffer cimport Py_buffer, PyBuffer_Release
from libc.errno cimport EINTR, EINVAL, EIO, ENOMEM, EOPNOTSUPP, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from swaptable._atomic cimport add64, load64, spin_lock, spin_unlock
from swaptable.backends._pages cimport numbers_array, pages_made, pages_open

import errno as errnos
import os

import numpy as np

from swaptable.errors import TransferError, raise_errno

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <limits.h>
    #include <stdlib.h>
    #include <sys/uio.h>
    #include <unistd.h>
    #ifndef IOV_MAX
    #define IOV_MAX 1024
    #endif
    #ifndef FALLOC_FL_KEEP_SIZE
    #define FALLOC_FL_KEEP_SIZE 1
    #define FALLOC_FL_PUNCH_HOLE 2
    #endif
    """
    struct iovec:
        void *iov_base
        size_t iov_len
    const int IOV_MAX
    const int FALLOC_FL_KEEP_SIZE
    const int FALLOC_FL_PUNCH_HOLE
    ssize_t pread(int fd, void *buf, size_t count, int64_t offset) nogil
    ssize_t pwrite(int fd, const void *buf, size_t count, int64_t offset) nogil
    ssize_t preadv(int fd, const iovec *iov, int count, int64_t offset) nogil
    ssize_t pwritev(int fd, const iovec *iov, int count, int64_t offset) nogil
    int fallocate(int fd, int mode, int64_t offset, int64_t length) nogil
    void *aligned_alloc(size_t align, size_t bytes) nogil

cdef enum:
    PAGE = 4096
    RUN_IOVS = 1024         # buffers of one call at most; the system may allow fewer
    RUN_PAGES = 1 << 18     # pages of one call at most: 1 GiB, half of what the system takes
    SHORT_RUN = 64          # pages of a run that needs no array of numbers
    BOUNCE_PAGES = 256      # of one that goes through a bounce buffer
    READ = 0
    WRITE = 1
    DISCARD = 2
    FLUSH = 3
    FAULT_SHORT = -1        # half is transferred
    FAULT_END = -2          # nothing is, as at the end of a file

SHORT = FAULT_SHORT
"""A fault hook's answer: the call transfers half of its bytes; the rest is asked for again."""

END = FAULT_END
"""A fault hook's answer: the call transfers nothing and says so, as at the end of a file."""

OPERATIONS = ("read", "write", "discard", "flush")

cdef struct bounce_t:
    bounce_t *next

# What a file counts; threads add to it.
cdef struct count_t:
    int64_t calls           # system calls that transfer, each of which the fault hook is asked about
    int64_t reads           # runs
    int64_t writes
    int64_t pages_read
    int64_t pages_written
    int64_t shorts          # transfers that ended early and went on
    int64_t bounced         # pages that were copied to or from an aligned buffer
    int64_t discards        # runs
    int64_t pages_discarded
    int64_t flushes

cdef struct io_t:
    int fd
    bint direct
    void *fault             # the hook, borrowed from the object
    int iovs
    uint8_t lock
    bounce_t *idle
    int64_t bounce_bytes
    count_t n

# The blocks of a call, checked; in *order* where they are not ascending.
cdef struct request_t:
    const int64_t *blocks
    const int64_t *order
    int64_t n

# A run of consecutive blocks, and where its pages are in memory.
cdef struct run_t:
    int64_t block
    int64_t pages
    int nr
    iovec iov[1024]         # RUN_IOVS


# ---- kernels

cdef int ask(io_t *io, int operation, int64_t call, int64_t nbytes) noexcept with gil:
    """What the hook wants of this call. Return: 0, an errno, FAULT_SHORT or FAULT_END."""
    if io.fault == NULL:        # taken away since
        return 0
    hook = <object>io.fault
    try:
        answer = hook(call, OPERATIONS[operation], nbytes)
        return 0 if answer is None else answer
    except Exception:
        return EIO


cdef inline int verdict(io_t *io, int operation, int64_t nbytes) noexcept nogil:
    cdef int64_t call = add64(&io.n.calls, 1) - 1
    return ask(io, operation, call, nbytes) if io.fault != NULL else 0


cdef inline ssize_t call_once(io_t *io, bint write, iovec *iov, int nr, int64_t offset) noexcept nogil:
    """One system call. Return: bytes, or -errno."""
    cdef ssize_t done
    if nr == 1:
        done = (pwrite(io.fd, iov[0].iov_base, iov[0].iov_len, offset) if write
                else pread(io.fd, iov[0].iov_base, iov[0].iov_len, offset))
    else:
        done = pwritev(io.fd, iov, nr, offset) if write else preadv(io.fd, iov, nr, offset)
    return -errno if done < 0 else done


cdef inline ssize_t call_half(io_t *io, bint write, iovec *iov, int nr, int64_t offset, int64_t nbytes) noexcept nogil:
    """A call that transfers half of what it should: whole sectors, at least one."""
    cdef int64_t want = nbytes // 2 // 512 * 512, before = 0
    cdef int i = 0
    cdef size_t length
    cdef ssize_t done
    if want == 0:
        want = 512
    while before + <int64_t>iov[i].iov_len < want:
        before += iov[i].iov_len
        i += 1
    length = iov[i].iov_len
    iov[i].iov_len = want - before
    done = call_once(io, write, iov, i + 1, offset)
    iov[i].iov_len = length
    return done


cdef int transfer(io_t *io, bint write, iovec *iov, int nr, int64_t offset, int64_t nbytes, int64_t *moved) noexcept nogil:
    """Transfer *nbytes*, with as many calls as it takes; the iovs are used up.

    Return: 0, or -errno with moved[0] bytes transferred; -EIO when a call transferred nothing.
    """
    cdef ssize_t done
    cdef int fault
    moved[0] = 0
    while moved[0] < nbytes:
        fault = verdict(io, WRITE if write else READ, nbytes - moved[0])
        if fault > 0:
            return -fault
        if fault == FAULT_END:
            return -EIO
        if fault == FAULT_SHORT:
            done = call_half(io, write, iov, nr, offset + moved[0], nbytes - moved[0])
        else:
            done = call_once(io, write, iov, nr, offset + moved[0])
        if done == -EINTR:
            continue
        if done <= 0:
            return -EIO if done == 0 else <int>done
        moved[0] += done
        if moved[0] < nbytes:
            add64(&io.n.shorts, 1)
        while nr and done >= <ssize_t>iov[0].iov_len:
            done -= iov[0].iov_len
            iov += 1
            nr -= 1
        if done:
            iov[0].iov_base = <uint8_t *>iov[0].iov_base + done
            iov[0].iov_len -= done
    return 0


cdef void *bounce_get(io_t *io) noexcept nogil:
    """An aligned buffer of BOUNCE_PAGES pages, or NULL. Context: no locks."""
    cdef bounce_t *b
    spin_lock(&io.lock)
    b = io.idle
    if b != NULL:
        io.idle = b.next
    spin_unlock(&io.lock)
    if b == NULL:
        b = <bounce_t *>aligned_alloc(PAGE, BOUNCE_PAGES * PAGE)
        if b != NULL:
            add64(&io.bounce_bytes, BOUNCE_PAGES * PAGE)
    return b


cdef void bounce_put(io_t *io, void *buffer) noexcept nogil:
    cdef bounce_t *b = <bounce_t *>buffer
    spin_lock(&io.lock)
    b.next = io.idle
    io.idle = b
    spin_unlock(&io.lock)


cdef inline void bounce_copy(run_t *r, uint8_t *buffer, bint to_buffer, int64_t nbytes) noexcept nogil:
    """Copy the first *nbytes* of a run's pages to or from *buffer*."""
    cdef int i
    cdef int64_t n
    for i in range(r.nr):
        n = min(<int64_t>r.iov[i].iov_len, nbytes)
        if to_buffer:
            memcpy(buffer, r.iov[i].iov_base, n)
        else:
            memcpy(r.iov[i].iov_base, buffer, n)
        buffer += n
        nbytes -= n


cdef int bounce_run(io_t *io, bint write, run_t *r, int64_t *moved) noexcept nogil:
    """Transfer a run through an aligned buffer. Return: 0 or -errno, with moved[0] bytes transferred."""
    cdef uint8_t *buffer = <uint8_t *>bounce_get(io)
    cdef iovec iov
    cdef int err
    moved[0] = 0
    if buffer == NULL:
        return -ENOMEM
    iov.iov_base, iov.iov_len = buffer, r.pages * PAGE
    if write:
        bounce_copy(r, buffer, True, r.pages * PAGE)
    err = transfer(io, write, &iov, 1, r.block * PAGE, r.pages * PAGE, moved)
    if not write:
        bounce_copy(r, buffer, False, moved[0])
    bounce_put(io, buffer)
    add64(&io.n.bounced, r.pages)
    return err


cdef inline bint make_run(io_t *io, run_t *r, const int64_t *blocks, const int64_t *order, int64_t i, int64_t n,
                          uint8_t *pages) noexcept nogil:
    """Collect the run of consecutive blocks that begins at element *i*. Return: its pages are where direct I/O wants them."""
    cdef int64_t k, e
    cdef uint8_t *at
    cdef bint aligned = not io.direct or <uint64_t>pages % PAGE == 0
    r.block, r.pages, r.nr = blocks[order[i] if order != NULL else i], 0, 0
    for k in range(i, n):
        e = order[k] if order != NULL else k
        at = pages + e * PAGE
        if blocks[e] != r.block + r.pages or r.pages == RUN_PAGES or (not aligned and r.pages == BOUNCE_PAGES):
            break
        if r.nr and at == <uint8_t *>r.iov[r.nr - 1].iov_base + r.iov[r.nr - 1].iov_len:
            r.iov[r.nr - 1].iov_len += PAGE
        else:
            if r.nr == io.iovs:
                break
            r.iov[r.nr].iov_base, r.iov[r.nr].iov_len = at, PAGE
            r.nr += 1
        r.pages += 1
    return aligned


cdef int transfer_many(io_t *io, bint write, const int64_t *blocks, const int64_t *order, int64_t n, uint8_t *pages,
                       int64_t *done) noexcept nogil:
    """Transfer pages, one call a run of consecutive blocks, in *order* where there is one.

    Return: 0, or -errno of element done[0] in that order; those before it are transferred.
    """
    cdef run_t r
    cdef int64_t i = 0, moved
    cdef int err = 0
    while i < n and err == 0:
        if make_run(io, &r, blocks, order, i, n, pages):
            err = transfer(io, write, r.iov, r.nr, r.block * PAGE, r.pages * PAGE, &moved)
        else:
            err = bounce_run(io, write, &r, &moved)
        i += moved // PAGE
        add64(&io.n.writes if write else &io.n.reads, 1)
        add64(&io.n.pages_written if write else &io.n.pages_read, moved // PAGE)
    done[0] = i
    return err


cdef int discard_many(io_t *io, const int64_t *blocks, const int64_t *order, int64_t n, int64_t *done) noexcept nogil:
    """Punch a hole for each run of consecutive blocks. Return: as `transfer_many`."""
    cdef int64_t i = 0, k, first
    cdef int err
    done[0] = 0
    while i < n:
        first = blocks[order[i] if order != NULL else i]
        k = i + 1
        while k < n and blocks[order[k] if order != NULL else k] == first + k - i:
            k += 1
        err = verdict(io, DISCARD, (k - i) * PAGE)
        if err == 0 and fallocate(io.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first * PAGE, (k - i) * PAGE):
            err = errno
        if err:
            return -err if err > 0 else -EIO
        add64(&io.n.discards, 1)
        add64(&io.n.pages_discarded, k - i)
        done[0] = i = k
    return 0


cdef inline int bounded(const int64_t *blocks, int64_t n, int64_t most, int64_t *bad, bint *sorted_) noexcept nogil:
    """Whether all blocks are from 0 to most - 1 (else bad[0] is not), and in ascending order."""
    cdef int64_t i
    sorted_[0] = True
    for i in range(n):
        if not 0 <= blocks[i] < most:
            bad[0] = i
            return False
        if i and blocks[i] <= blocks[i - 1]:
            sorted_[0] = False
    return True


# ---- Python

cdef class BlockFile:
    """Blocks of 4096 bytes of an open file.

    Parameters
    ----------
    fd : int
        The caller's; it is not closed.
    blocks : int
        Numbers go from 0 to *blocks* - 1.
    direct : bool
        It was opened with O_DIRECT: pages that are not at a page of memory go through an aligned buffer.
    name : str
        For messages.
    fault : callable, optional
        ``fault(call, operation, nbytes)`` is asked before every call of the system, numbered from 0: None lets it pass, an
        errno makes it fail with that, `SHORT` has it transfer half, `END` nothing. What it raises is an EIO.
    """

    cdef io_t io
    cdef readonly int64_t blocks    # numbers go from 0 to this, exclusive
    cdef readonly str name
    cdef object _fault

    def __init__(self, int fd, int64_t blocks, bint direct, str name, fault=None):
        self.io.fd, self.io.direct, self.io.iovs = fd, direct, min(IOV_MAX, RUN_IOVS)
        self.blocks, self.name = blocks, name
        self.fault = fault

    def __dealloc__(self):
        cdef bounce_t *b = self.io.idle
        while b != NULL:
            self.io.idle = b.next
            free(b)
            b = self.io.idle

    @property
    def fault(self):
        """The hook that is asked before every call, or None."""
        return self._fault

    @fault.setter
    def fault(self, hook):
        if hook is not None and not callable(hook):
            raise_errno(EINVAL, f"fault {hook!r}: expected a callable or None")
        self._fault = hook
        self.io.fault = <void *>hook if hook is not None else NULL

    def transfer(self, bint write, pages, blocks):
        """Read or write pages; *blocks* is the first of a run, or one number a page.

        Raises
        ------
        SwapValueError
            A number out of range; nothing is transferred.
        TransferError
            The call for element ``index`` failed; see its ``errors``.
        """
        cdef Py_buffer view
        cdef int64_t n = pages_open(pages, &view, not write), done = 0, i
        cdef int64_t run[64]        # SHORT_RUN
        cdef const int64_t[::1] numbers
        cdef request_t q
        cdef int err = 0
        try:
            if n == 0:
                return
            if type(blocks) is int and n <= SHORT_RUN and 0 <= blocks <= self.blocks - n:
                for i in range(n):
                    run[i] = <int64_t>blocks + i
                q.blocks, q.order, q.n = run, NULL, n
                array = positions = None
            else:
                array = numbers_array(blocks, n)
                numbers = array
                positions = self._open(numbers, &q)
            with nogil:
                err = transfer_many(&self.io, write, q.blocks, q.order, n, <uint8_t *>view.buf, &done)
        finally:
            PyBuffer_Release(&view)
        if err:
            array = numbers_array(blocks, n) if array is None else array
            self._failed(OPERATIONS[WRITE if write else READ], -err, array, positions, done)

    cdef object _open(self, const int64_t[::1] numbers, request_t *q):
        """Check block numbers. Return: their order by number, which *q* borrows, or None when they are in order."""
        cdef int64_t bad = 0
        cdef const int64_t[::1] order
        cdef bint ascending
        q.blocks, q.order, q.n = &numbers[0], NULL, numbers.shape[0]
        if not bounded(q.blocks, q.n, self.blocks, &bad, &ascending):
            raise_errno(EINVAL, f"block {numbers[bad]} of {self.name}: expected 0 to {self.blocks - 1}", bad)
        if ascending:
            return None
        positions = np.argsort(numbers, kind="stable")
        order = positions
        q.order = &order[0]
        return positions

    def _failed(self, operation, err, array, positions, done):
        """Raise what happened to each element."""
        errors = np.full(array.size, errnos.ECANCELED, np.int32)
        positions = np.arange(array.size) if positions is None else positions
        errors[positions[:done]] = 0
        errors[positions[done]] = err
        index = int(positions[done])
        e = TransferError(
            err, f"{operation} of block {array[index]} of {self.name}: {os.strerror(err)} ({done} of {array.size} pages done)"
        )
        e.index, e.done, e.errors = index, int(done), errors
        raise e

    def read(self, blocks, out):
        """Read pages into *out*, or into a new array; an int is the first of a run, which *out* has room for."""
        if out is None:
            out = pages_made(out, 1 if isinstance(blocks, (int, np.integer)) else len(blocks))
        self.transfer(False, out, blocks)
        return out

    def discard(self, blocks):
        """Punch holes.

        Returns
        -------
        bool
            False where the file cannot have any.

        Raises
        ------
        TransferError
        """
        cdef int64_t done = 0
        cdef const int64_t[::1] numbers
        cdef request_t q
        cdef int err = 0
        array = numbers_array(blocks, -1)
        numbers = array
        if array.size == 0:
            return True
        positions = self._open(numbers, &q)
        with nogil:
            err = discard_many(&self.io, q.blocks, q.order, q.n, &done)
        if err == -EOPNOTSUPP:
            return False
        if err:
            self._failed("discard", -err, array, positions, done)
        return True

    def flush(self):
        """fdatasync.

        Raises
        ------
        TransferError
        """
        cdef int fault = verdict(&self.io, FLUSH, 0)
        try:
            if fault:
                raise OSError(fault if fault > 0 else EIO, os.strerror(fault if fault > 0 else EIO))
            os.fdatasync(self.io.fd)
        except OSError as e:
            raise TransferError(e.errno, f"flush of {self.name}: {e.strerror}") from e
        add64(&self.io.n.flushes, 1)

    def close(self):
        """Forget the file: later calls fail with EBADF."""
        self.io.fd = -1

    def counts(self):
        """Calls, runs and pages by kind."""
        cdef count_t n
        cdef int64_t *of = <int64_t *>&self.io.n
        cdef int64_t *to = <int64_t *>&n
        cdef size_t i
        for i in range(sizeof(count_t) // 8):
            to[i] = load64(&of[i])      # other threads add to them
        return dict(n)

    @property
    def bounce_bytes(self):
        """Bytes of aligned buffers; they are kept."""
        return self.io.bounce_bytes
