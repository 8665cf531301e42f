# Types of _capi.pyx.
# Imports the standard library.
# Used by type checkers.
from typing import Any

_C_API: Any

def get_include() -> str: ...
