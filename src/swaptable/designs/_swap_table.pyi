# Types of the design `swap-table`.
# Imports the base class and the core.
# Used by type checkers.
from swaptable._core import SwapTable
from swaptable.designs._design import Design

class SwapTableDesign(Design):
    table: SwapTable
    def __init__(self, slots: int) -> None: ...
