# Types of the designs with a descriptor in an xarray.
# Imports the base class.
# Used by type checkers; stubtest holds it to the compiled module.
from swaptable.designs._design import Design

KINDS: tuple[str, ...]

class DescriptorDesign(Design):
    def __init__(self, slots: int, *, size: int = 48, backend: str = "disk", devices: int | None = None) -> None: ...
    @property
    def scattered(self) -> int: ...
