# Types of the design `swap-table`.
# Imports the base class and the core.
# Used by type checkers.
from typing_extensions import disjoint_base

from swaptable._core import SwapTable
from swaptable.designs._design import Design

@disjoint_base
class SwapTableDesign(Design):
    @property
    def table(self) -> SwapTable: ...
    def __init__(self, slots: int) -> None: ...
