# Types of the design `vswap-24`.
# Imports the base class.
# Used by type checkers; stubtest holds it to the compiled module.
from swaptable.designs._design import Design

SAYS: dict[str, str]

class VswapDesign(Design):
    def __init__(
        self,
        slots: int,
        backend: str = "disk",
        devices: int | None = None,
        lookup_cache: bool = True,
        rounding: bool = False,
    ) -> None: ...
    @property
    def entries(self) -> int: ...
    @property
    def scattered(self) -> int: ...
