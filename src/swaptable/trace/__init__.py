# The front door of the traces: reading, writing, describing and recording them.
# Imports the modules of this package.
# Used by replay, the command line and anyone with a trace.
"""Page traces: what a program touched, page by page, and whether it stored there.

The trace that comes with the package, ``default_trace()``, is of an SQLite table in memory being built and queried. It
is made again by

    cd src/swaptable/trace/data
    swaptable trace record --window 256 --compression lzma -o sqlite-index.npz -- python3 -I -S sqlite_index.py

>>> from swaptable.trace import default_trace, open_trace
>>> sum(len(block) for block in open_trace(default_trace(), limit=1000))
1000
"""

from ..errors import RecordError, TraceError
from ._trace import Block, Trace, default_trace, open_trace, save_trace, trace_info
from .record import record

__all__ = [
    "Block",
    "RecordError",
    "Trace",
    "TraceError",
    "default_trace",
    "open_trace",
    "record",
    "save_trace",
    "trace_info",
]
