# Types of the designs of virtual slots with words.
# Imports the base class.
# Used by type checkers; stubtest holds it to the compiled module.
from swaptable.designs._design import Design

KINDS: tuple[str, ...]
OWNERS: dict[str, int]

class VirtualDesign(Design):
    def __init__(
        self,
        slots: int,
        *,
        backend: str = "disk",
        devices: int | None = None,
        index: str = "xarray",
        narrow: bool = False,
        memcg_tables: bool = False,
        owners: str = "none",
        device_memcg_tables: bool = False,
    ) -> None: ...
    @property
    def scattered(self) -> int: ...
