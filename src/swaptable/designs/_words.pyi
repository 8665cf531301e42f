# Types of the designs of words on devices.
# Imports the base class.
# Used by type checkers; stubtest holds it to the compiled module.
from swaptable.designs._design import Design

KINDS: tuple[str, ...]

class WordDesign(Design):
    def __init__(
        self,
        slots: int,
        *,
        phase: int = 4,
        backend: str = "disk",
        devices: int = 1,
        ghost: bool = False,
        large: bool = True,
        zram: bool = False,
        chain: bool = False,
        reverse: bool = False,
        index: str = "flat",
    ) -> None: ...
