# Types of the design `old`.
# Imports the base class.
# Used by type checkers; stubtest holds it to the compiled module.
from swaptable.designs._design import Design

SAYS: dict[str, str]

class OldDesign(Design):
    def __init__(self, slots: int, backend: str = "disk", devices: int = 1) -> None: ...
