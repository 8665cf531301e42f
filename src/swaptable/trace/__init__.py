# The front door of the traces: reading, writing, converting, making, describing and recording them.
# Imports the modules of this package.
# Used by replay, the command line and anyone with a trace.
"""Page traces: what a program touched, page by page, and whether it stored there.

Traces of real programs come with the package: ``trace_names()`` lists them, ``named_trace(name)`` is the path of one,
and ``default_trace()`` that of an SQLite table in memory being built and queried. ``data/README.md`` has the command
that made each.

>>> from swaptable.trace import default_trace, open_trace
>>> sum(len(block) for block in open_trace(default_trace(), limit=1000))
1000
"""

from ..errors import RecordError, TraceError
from ._block import Block
from ._trace import Trace, open_trace, save_trace, trace_info
from .convert import convert
from .generate import generate, synthetic
from .named import default_trace, find_trace, named_trace, trace_names
from .record import record

__all__ = [
    "Block",
    "RecordError",
    "Trace",
    "TraceError",
    "convert",
    "default_trace",
    "find_trace",
    "generate",
    "named_trace",
    "open_trace",
    "record",
    "save_trace",
    "synthetic",
    "trace_info",
    "trace_names",
]
