# The public names.
# Imports errors; the rest when it is first asked for, so that what pytest loads by an entry point costs no numpy.
# Used by everybody.
"""swaptable: the Linux swap subsystem's data structures as a library at kernel speed."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from swaptable.errors import (
    CheckError,
    CountOverflowError,
    FolioKeptError,
    MissingCodecError,
    PageRefusedError,
    RecordError,
    SlotBusyError,
    SlotCachedError,
    SlotNotInUseError,
    SnapshotError,
    StaleLocationError,
    SwapError,
    SwapFullError,
    SwapMemoryError,
    SwapValueError,
    TraceError,
    TransferError,
)

if TYPE_CHECKING:
    from swaptable._capi import _C_API as _C_API
    from swaptable._capi import get_include
    from swaptable._core import (
        ALL,
        BlockSpace,
        ClusterWindow,
        DeviceList,
        SlotEntry,
        SwapTable,
        TableEvents,
        pack,
        unpack,
    )
    from swaptable._moves import Defragmented
else:
    _LATER = {
        "_capi": ("_C_API", "get_include"),
        "_core": (
            *("ALL", "BlockSpace", "ClusterWindow", "DeviceList", "SlotEntry"),
            *("SwapTable", "TableEvents", "pack", "unpack"),
        ),
        "_moves": ("Defragmented",),
    }

    def __getattr__(name):
        for module, names in _LATER.items():
            if name == module:
                return _import_module(f"swaptable.{module}")
            if name in names:
                value = globals()[name] = getattr(_import_module(f"swaptable.{module}"), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})


__version__ = "0.1.0"

__all__ = [
    "ALL",
    "BlockSpace",
    "CheckError",
    "ClusterWindow",
    "CountOverflowError",
    "Defragmented",
    "DeviceList",
    "FolioKeptError",
    "MissingCodecError",
    "PageRefusedError",
    "RecordError",
    "SlotBusyError",
    "SlotCachedError",
    "SlotEntry",
    "SlotNotInUseError",
    "SnapshotError",
    "StaleLocationError",
    "SwapError",
    "SwapFullError",
    "SwapMemoryError",
    "SwapTable",
    "SwapValueError",
    "TableEvents",
    "TraceError",
    "TransferError",
    "get_include",
    "pack",
    "unpack",
]
