# Types of the design `front-back`.
# Imports the base class and the core.
# Used by type checkers; stubtest holds it to the compiled module.
from typing_extensions import disjoint_base

from swaptable._core import BlockSpace, SwapTable
from swaptable.designs._design import Design, Host

BY_TABLE: dict[str, str]
KINDS: tuple[str, ...]

@disjoint_base
class FrontBackDesign(Design):
    @property
    def space(self) -> BlockSpace: ...
    @property
    def tables(self) -> list[SwapTable]: ...
    def __init__(
        self,
        slots: int,
        backend: str = "disk",
        devices: int | None = None,
        contiguous: bool = False,
        redirected: bool = False,
        compact: bool | int = False,
        owners: bool = False,
    ) -> None: ...
    def swapoff(self, tier: int, host: Host | None = None) -> None: ...
