# Types of the design `old`.
# Imports the base class.
# Used by type checkers; stubtest holds it to the compiled module.
from swaptable.designs._design import Design

class OldDesign(Design):
    def __init__(self, slots: int) -> None: ...
