# Types of _churn.
# Imports the core and the designs' protocol.
# Used by type checkers.
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from swaptable._core import SwapTable
from swaptable.designs._design import Design

class Live(NamedTuple):
    slots: npt.NDArray[np.int64]
    orders: npt.NDArray[np.uint8]

class Churned(NamedTuple):
    done: int
    failures: int
    stat: dict[str, int]

def victims(runs: int, n: int, kind: str = "random", seed: int = 0) -> npt.NDArray[np.int64]: ...
def churn(
    table: SwapTable,
    live: Live,
    victims: npt.ArrayLike,
    orders: npt.ArrayLike | None = None,
    cpu: int = 0,
    contiguous: bool = False,
) -> Churned: ...
def fill(
    table: SwapTable, orders: npt.ArrayLike, cpu: int = 0, room: int | None = None, contiguous: bool = False
) -> tuple[Live, Churned]: ...
def drain(table: SwapTable, live: Live) -> Churned: ...
def draw(orders: Mapping[int, float], n: int, seed: int = 0) -> npt.NDArray[np.uint8]: ...
def age(
    table: SwapTable,
    occupancy: float,
    orders: Mapping[int, float] | None = None,
    rounds: float = 1,
    seed: int = 0,
    cpu: int = 0,
) -> Live: ...
def lookup_design(design: Design, entries: npt.NDArray[np.int64]) -> int: ...
def alu(n: int) -> int: ...

@disjoint_base
class BareTable:
    def __init__(self, slots: int) -> None: ...
    def store_many(self, slots: npt.NDArray[np.int64], word: int = 1) -> None: ...
