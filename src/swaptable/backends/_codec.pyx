# Codecs for single pages: functions of liblz4, libzstd and liblzo2 found at run time, or Python packages as fallback.
# Imports the locks and errors.
# Used by codec.py, which finds the libraries, and through _codec.pxd by the compressed pools.
"""Compress and decompress single pages."""

from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EINVAL, EIO, ENOMEM
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from swaptable._atomic cimport add64, spin_lock, spin_unlock

import numpy as np

from swaptable.errors import raise_errno

cdef extern from "Python.h":
    object PyMemoryView_FromMemory(char *mem, Py_ssize_t size, int flags)
    const int PyBUF_READ
    const int PyBUF_WRITE

cdef extern from "<dlfcn.h>" nogil:
    void *dlopen(const char *name, int flags)
    void *dlsym(void *handle, const char *name)
    int dlclose(void *handle)
    char *dlerror()
    const int RTLD_LAZY
    const int RTLD_LOCAL

ctypedef int (*version_fn)() noexcept nogil
ctypedef int (*lz4_pack_fn)(const void *src, void *dst, int nr, int room, int level) noexcept nogil
ctypedef int (*lz4_unpack_fn)(const void *src, void *dst, int nr, int room) noexcept nogil
ctypedef void *(*zstd_make_fn)() noexcept nogil
ctypedef size_t (*zstd_drop_fn)(void *x) noexcept nogil
ctypedef size_t (*zstd_pack_fn)(void *x, void *dst, size_t room, const void *src, size_t nr, int level) noexcept nogil
ctypedef size_t (*zstd_unpack_fn)(void *x, void *dst, size_t room, const void *src, size_t nr) noexcept nogil
ctypedef unsigned int (*zstd_failed_fn)(size_t code) noexcept nogil
ctypedef int (*lzo_init_fn)(unsigned int v, int a, int b, int c, int d, int e, int f, int g, int h, int i) noexcept nogil
ctypedef int (*lzo_fn)(const void *src, size_t nr, void *dst, size_t *done, void *work) noexcept nogil

cdef enum:
    LZO_WORK = 16384 * 8
    LZO_BOUND = 4096 + 4096 // 16 + 64 + 3
    LZO_VERSION = 0x20a0
    ZSTD_PACK = 0
    ZSTD_UNPACK = 1
    ZSTD_FAILED = 2
    ZSTD_MAKE_PACKER = 3
    ZSTD_MAKE_UNPACKER = 4
    ZSTD_DROP_PACKER = 5
    ZSTD_DROP_UNPACKER = 6
    ZSTD_SIZE = 7
    ZSTD_SIZE_UNPACKER = 8
    FUNCTIONS = 9

# The functions that a library must have, in the order of codec_t.fn; the version's comes last.
SYMBOLS = {
    "lz4": ["LZ4_compress_fast", "LZ4_decompress_safe", "LZ4_versionNumber"],
    "lz4hc": ["LZ4_compress_HC", "LZ4_decompress_safe", "LZ4_versionNumber"],
    "zstd": ["ZSTD_compressCCtx", "ZSTD_decompressDCtx", "ZSTD_isError", "ZSTD_createCCtx", "ZSTD_createDCtx",
             "ZSTD_freeCCtx", "ZSTD_freeDCtx", "ZSTD_sizeof_CCtx", "ZSTD_sizeof_DCtx", "ZSTD_versionNumber"],
    "lzo": ["lzo1x_1_compress", "lzo1x_decompress_safe", "__lzo_init_v2", "lzo_version"],
}
# lz4's is the acceleration.
LEVELS = {"lz4": (1, 65537, 1), "lz4hc": (1, 12, 9), "zstd": (-7, 22, 3), "lzo": (1, 1, 1)}


# ---- kernels

cdef int lz4_pack(codec_t *c, context_t *x, const uint8_t *src, int nr, uint8_t *dst, int room) noexcept nogil:
    cdef int done = (<lz4_pack_fn>c.fn[0])(src, dst, nr, room, c.level)
    return done if done > 0 else -EIO


cdef int lz4_unpack(codec_t *c, context_t *x, const uint8_t *src, int nr, uint8_t *dst, int room) noexcept nogil:
    cdef int done = (<lz4_unpack_fn>c.fn[1])(src, dst, nr, room)
    return done if done > 0 else -EIO


cdef int zstd_pack(codec_t *c, context_t *x, const uint8_t *src, int nr, uint8_t *dst, int room) noexcept nogil:
    cdef size_t done = (<zstd_pack_fn>c.fn[ZSTD_PACK])(x.packer, dst, room, src, nr, c.level)
    return -EIO if (<zstd_failed_fn>c.fn[ZSTD_FAILED])(done) else <int>done


cdef int zstd_unpack(codec_t *c, context_t *x, const uint8_t *src, int nr, uint8_t *dst, int room) noexcept nogil:
    cdef size_t done = (<zstd_unpack_fn>c.fn[ZSTD_UNPACK])(x.unpacker, dst, room, src, nr)
    return -EIO if done == 0 or (<zstd_failed_fn>c.fn[ZSTD_FAILED])(done) else <int>done


cdef int lzo_pack(codec_t *c, context_t *x, const uint8_t *src, int nr, uint8_t *dst, int room) noexcept nogil:
    cdef size_t done = 0
    if room < LZO_BOUND or nr > PAGE_BYTES:     # it does not look where its room ends
        return -EINVAL
    return <int>done if (<lzo_fn>c.fn[0])(src, nr, dst, &done, x.packer) == 0 and done else -EIO


cdef int lzo_unpack(codec_t *c, context_t *x, const uint8_t *src, int nr, uint8_t *dst, int room) noexcept nogil:
    cdef size_t done = room
    return <int>done if (<lzo_fn>c.fn[1])(src, nr, dst, &done, NULL) == 0 and done else -EIO


cdef int adapter_pack(codec_t *c, context_t *x, const uint8_t *src, int nr, uint8_t *dst, int room) noexcept with gil:
    cdef int done
    try:
        done = (<object>c.adapter).pack(
            PyMemoryView_FromMemory(<char *>src, nr, PyBUF_READ), PyMemoryView_FromMemory(<char *>dst, room, PyBUF_WRITE)
        )
    except Exception:
        return -EIO
    return done if done > 0 else -EIO


cdef int adapter_unpack(codec_t *c, context_t *x, const uint8_t *src, int nr, uint8_t *dst, int room) noexcept with gil:
    cdef int done
    try:
        done = (<object>c.adapter).unpack(
            PyMemoryView_FromMemory(<char *>src, nr, PyBUF_READ), PyMemoryView_FromMemory(<char *>dst, room, PyBUF_WRITE)
        )
    except Exception:
        return -EIO
    return done if done > 0 else -EIO


# ---- contexts

cdef context_t *context_make(codec_t *c) noexcept nogil:
    cdef context_t *x = <context_t *>malloc(sizeof(context_t))
    if x == NULL:
        return NULL
    memset(x, 0, sizeof(context_t))     # touches its pages now, not while a page is stored
    x.bytes = sizeof(context_t)
    if c.pack == zstd_pack:
        x.packer = (<zstd_make_fn>c.fn[ZSTD_MAKE_PACKER])()
        x.unpacker = (<zstd_make_fn>c.fn[ZSTD_MAKE_UNPACKER])()
        if x.packer == NULL or x.unpacker == NULL:
            context_drop(c, x)
            return NULL
    elif c.pack == lzo_pack:
        x.packer = calloc(LZO_WORK, 1)
        x.bytes += LZO_WORK
        if x.packer == NULL:
            free(x)
            return NULL
    add64(&c.contexts, 1)
    add64(&c.context_bytes, x.bytes)
    return x


cdef void context_drop(codec_t *c, context_t *x) noexcept nogil:
    if c.pack == zstd_pack:
        (<zstd_drop_fn>c.fn[ZSTD_DROP_PACKER])(x.packer)        # both take NULL
        (<zstd_drop_fn>c.fn[ZSTD_DROP_UNPACKER])(x.unpacker)
    else:
        free(x.packer)
    free(x)


cdef context_t *context_get(codec_t *c) noexcept nogil:
    """A context for this thread, an idle one if there is one; NULL without memory. Context: no locks."""
    cdef context_t *x
    spin_lock(&c.lock)
    x = c.idle
    if x != NULL:
        c.idle = x.next
    spin_unlock(&c.lock)
    return context_make(c) if x == NULL else x


cdef void context_put(codec_t *c, context_t *x) noexcept nogil:
    """Give a context back. Context: no locks."""
    cdef int64_t bytes = x.bytes
    if c.pack == zstd_pack:     # it has grown with its first page
        bytes = sizeof(context_t) + (<zstd_drop_fn>c.fn[ZSTD_SIZE])(x.packer)
        bytes += (<zstd_drop_fn>c.fn[ZSTD_SIZE_UNPACKER])(x.unpacker)
        add64(&c.context_bytes, bytes - x.bytes)
        x.bytes = bytes
    spin_lock(&c.lock)
    x.next = c.idle
    c.idle = x
    spin_unlock(&c.lock)


# ---- Python

cdef int _resolve(codec_t *c, str name, str path) except -1:
    """Put the functions of the library at *path* into *c* and return its version's number."""
    cdef void *handle = dlopen(path.encode(), RTLD_LAZY | RTLD_LOCAL)   # stays open: pages may need it until the end
    cdef void *f = NULL
    if handle == NULL:
        raise OSError(f"{path}: {dlerror().decode(errors='replace')}")
    for i, symbol in enumerate(SYMBOLS[name]):
        f = dlsym(handle, symbol.encode())
        if f == NULL:
            dlclose(handle)
            raise OSError(f"{path} has no {symbol}")
        if i < FUNCTIONS:
            c.fn[i] = f
    if name == "lzo" and (<lzo_init_fn>c.fn[2])(LZO_VERSION, -1, -1, -1, -1, -1, -1, -1, -1, -1) != 0:
        dlclose(handle)
        raise OSError(f"{path}: lzo_init failed")
    return (<version_fn>f)()


def _version(str name, int number):
    """A library's version number as people write it."""
    if name == "lzo":
        return f"{number >> 12}.{number >> 4 & 0xff}"
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


cdef class Codec:
    """A codec for single pages; any number of threads may use it.

    Parameters
    ----------
    name : str
        "lz4", "lz4hc", "zstd" or "lzo".
    level : int, optional
        zstd -7 to 22 (3), lz4hc 1 to 12 (9), lz4's acceleration 1 to 65537 (1).
    path : str, optional
        A shared object with the library's C functions.
    adapter : object, optional
        In its place: an object with ``pack(src, dst)`` and ``unpack(src, dst)``, which take memoryviews and return the
        number of bytes written. Such a codec holds the GIL as far as the adapter does.

    Raises
    ------
    OSError
        *path* cannot be opened or has not the functions.
    SwapValueError
        No such codec or level.

    Notes
    -----
    Blobs are the library's plain formats (an LZ4 block, a zstd frame, an LZO1X stream), so that it does not matter which
    way a page was compressed.
    """

    def __init__(self, str name, level=None, str path=None, adapter=None):
        pass

    def __cinit__(self, str name, level=None, str path=None, adapter=None):
        if name not in LEVELS:
            raise_errno(EINVAL, f"codec {name!r}: expected one of {', '.join(LEVELS)}")
        lowest, highest, usual = LEVELS[name]
        level = usual if level is None else level
        if not lowest <= level <= highest:
            raise_errno(EINVAL, f"level {level} of {name}: expected {lowest} to {highest}")
        if (path is None) == (adapter is None):
            raise_errno(EINVAL, f"codec {name}: expected a path or an adapter")
        self.name, self.c.level, self.native = name, level, adapter is None
        self.adapter, self.c.adapter = adapter, <void *>adapter
        self.library = getattr(adapter, "library", "")
        if path is not None:
            self.version = _resolve(&self.c, name, path)
            self.library = f"{path.rpartition('/')[2]} {_version(name, self.version)}"
        if adapter is not None:
            self.c.pack, self.c.unpack = adapter_pack, adapter_unpack
        elif name == "zstd":
            self.c.pack, self.c.unpack = zstd_pack, zstd_unpack
        elif name == "lzo":
            self.c.pack, self.c.unpack = lzo_pack, lzo_unpack
        else:
            self.c.pack, self.c.unpack = lz4_pack, lz4_unpack

    def __dealloc__(self):
        cdef context_t *x = self.c.idle
        while x != NULL:
            self.c.idle = x.next
            context_drop(&self.c, x)
            x = self.c.idle

    def __repr__(self):
        return f"<Codec {self.name} level {self.c.level} by {self.library}>"

    @property
    def level(self):
        """The level or acceleration."""
        return self.c.level

    @property
    def context_bytes(self):
        """Bytes of all contexts that threads have worked with; they are kept."""
        return self.c.context_bytes

    def compress(self, page):
        """Return the blob of one page of 4096 bytes.

        Raises
        ------
        SwapValueError
            Not a page.
        SwapError
            EIO, the codec failed.
        """
        cdef Py_buffer src
        cdef context_t *x = NULL
        cdef int done = -ENOMEM
        PyObject_GetBuffer(page, &src, PyBUF_SIMPLE)
        try:
            if src.len != PAGE_BYTES:
                raise_errno(EINVAL, f"a page of {src.len} bytes: expected {PAGE_BYTES}")
            x = context_get(&self.c)
            if x != NULL:
                with nogil:
                    done = self.c.pack(&self.c, x, <const uint8_t *>src.buf, PAGE_BYTES, x.scratch, BLOB_ROOM)
            if done < 0:
                raise_errno(done, f"{self.name}: a page could not be compressed")
            return x.scratch[:done]
        finally:
            if x != NULL:
                context_put(&self.c, x)
            PyBuffer_Release(&src)

    def decompress(self, blob):
        """Return the 4096 bytes of the page that *blob* was made of.

        Raises
        ------
        SwapError
            EIO, it is not such a blob.
        """
        cdef bytes data = bytes(blob)
        blobs = np.zeros((1, PAGE_BYTES), np.uint8)
        if len(data) > PAGE_BYTES:
            raise_errno(EIO, f"{self.name}: a blob of {len(data)} bytes is larger than a page")
        blobs[0, :len(data)] = np.frombuffer(data, np.uint8)
        return self.decompress_many(blobs, np.array([len(data)], np.int32)).tobytes()

    def decompress_many(self, blobs, lengths, out=None):
        """Decompress many blobs without the GIL.

        Parameters
        ----------
        blobs : ndarray of uint8, shape (n, 4096)
            Each blob at the begin of its row, as `ZswapPool.read_blobs` gives them.
        lengths : ndarray of int32, shape (n,)
            4096 is a page that is stored as it is.
        out : ndarray of uint8, shape (n, 4096), optional

        Returns
        -------
        ndarray of uint8, shape (n, 4096)

        Raises
        ------
        SwapError
            EIO: element ``index`` is no such blob.
        """
        cdef const uint8_t[:, ::1] src = blobs
        cdef const int32_t[::1] nr = np.ascontiguousarray(lengths, np.int32)
        cdef uint8_t[:, ::1] dst
        cdef context_t *x
        cdef int64_t i, n = src.shape[0]
        cdef int done = PAGE_BYTES
        out = np.empty((n, PAGE_BYTES), np.uint8) if out is None else out
        dst = out
        if nr.shape[0] != n or dst.shape[0] != n or (n and (src.shape[1] != PAGE_BYTES or dst.shape[1] != PAGE_BYTES)):
            raise_errno(EINVAL, f"{n} blobs, {nr.shape[0]} lengths, {dst.shape[0]} pages: expected as many, in rows of {PAGE_BYTES}")
        x = context_get(&self.c)
        if x == NULL:
            raise_errno(ENOMEM, f"{self.name}: no memory for a context")
        with nogil:
            for i in range(n):
                done = -EIO
                if 0 < nr[i] <= PAGE_BYTES:
                    done = self.c.unpack(&self.c, x, &src[i, 0], nr[i], &dst[i, 0], PAGE_BYTES)
                if done != PAGE_BYTES:
                    break
            context_put(&self.c, x)
        if n and done != PAGE_BYTES:
            raise_errno(EIO, f"{self.name}: {nr[i]} bytes are not what it made of a page", i)
        return out
