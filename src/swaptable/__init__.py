# The public names.
# Imports every floor it exports.
# Used by everybody.
"""swaptable: the Linux swap subsystem's data structures as a library at kernel speed."""

from swaptable._core import ALL, BlockSpace, DeviceList, SlotEntry, SwapTable, pack, unpack
from swaptable._moves import Defragmented
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
    StaleLocationError,
    SwapError,
    SwapFullError,
    SwapMemoryError,
    SwapValueError,
    TraceError,
    TransferError,
)

__version__ = "0.1.0"

__all__ = [
    "ALL",
    "BlockSpace",
    "CheckError",
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
    "StaleLocationError",
    "SwapError",
    "SwapFullError",
    "SwapMemoryError",
    "SwapTable",
    "SwapValueError",
    "TraceError",
    "TransferError",
    "pack",
    "unpack",
]
