# Types of _codec.
# Imports numpy.
# Used by type checkers.
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

SYMBOLS: dict[str, list[str]]
LEVELS: dict[str, tuple[int, int, int]]

@disjoint_base
class Codec:
    name: str
    library: str
    version: int
    native: bool
    def __init__(self, name: str, level: int | None = None, path: str | None = None, adapter: Any = None) -> None: ...
    @property
    def level(self) -> int: ...
    @property
    def context_bytes(self) -> int: ...
    def compress(self, page: Any) -> bytes: ...
    def decompress(self, blob: Any) -> bytes: ...
    def decompress_many(
        self, blobs: npt.NDArray[np.uint8], lengths: npt.ArrayLike, out: npt.NDArray[np.uint8] | None = None
    ) -> npt.NDArray[np.uint8]: ...
