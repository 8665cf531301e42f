# The types of the replay's machine, written by hand.
# Imports numpy's types and the designs' base class.
# Used by type checkers; stubtest holds it to the compiled module.
from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from swaptable.designs._design import Design

class _BuildInfo(TypedDict):
    cython: str
    compiler: str
    optimized: bool
    avx2: bool

@disjoint_base
class Machine:
    def __new__(
        cls,
        design: Design,
        pages: int,
        limit: int,
        folio_order: int = 0,
        large_swapin: bool = False,
        tiers: Sequence[int | None] | None = None,
        swap: int = 0,
    ) -> Machine: ...
    @property
    def design(self) -> Design: ...
    @property
    def events(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def bytes_start(self) -> int: ...
    @property
    def stats(self) -> dict[str, int]: ...
    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def metadata(self) -> dict[str, int]: ...
    @property
    def resident(self) -> int: ...
    @property
    def tiers(self) -> list[dict[str, int | None]]: ...
    def run(self, events: NDArray[np.uint32], progress: Callable[[int, int], object] | None = None) -> None: ...
    def access(self, page: int, write: bool = False) -> bool: ...
    def check(self) -> None: ...

@disjoint_base
class PageMap:
    def __new__(cls, order: int = 0) -> PageMap: ...
    @property
    def blocks(self) -> int: ...
    @property
    def pages(self) -> int: ...
    def map(self, page: NDArray[np.uint64], write: NDArray[np.uint8], out: NDArray[np.uint32]) -> None: ...

def build_info() -> _BuildInfo: ...
