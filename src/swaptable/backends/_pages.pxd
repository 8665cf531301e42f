# The door for pages and block numbers, for other extension modules.
# Imports the standard library only.
# Used by the backends.
from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t

cdef int64_t pages_open(object pages, Py_buffer *view, bint writable) except -1
cdef object pages_made(object out, int64_t n)
cdef object pages_room(object out, int64_t n, Py_buffer *view)
cdef object numbers_array(object blocks, int64_t n)
