# Types of _file.
# Imports numpy.
# Used by type checkers.
from collections.abc import Callable
from typing import Any

import numpy.typing as npt
from typing_extensions import disjoint_base

SHORT: int
END: int
OPERATIONS: tuple[str, ...]

@disjoint_base
class BlockFile:
    blocks: int
    name: str
    fault: Callable[[int, str, int], int | None] | None
    def __init__(
        self, fd: int, blocks: int, direct: bool, name: str, fault: Callable[[int, str, int], int | None] | None = None
    ) -> None: ...
    def transfer(self, write: bool, pages: Any, blocks: npt.ArrayLike) -> None: ...
    def read(self, blocks: npt.ArrayLike, out: Any) -> Any: ...
    def discard(self, blocks: npt.ArrayLike) -> bool: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def counts(self) -> dict[str, int]: ...
    @property
    def bounce_bytes(self) -> int: ...
