# One table as text: rich's for a terminal, plain aligned columns everywhere else.
# May import the standard library, and rich when it is there.
# Used by cli.py.
"""Render rows for a terminal, a pipe or a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO


def render(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO) -> None:
    """Write a table to *out*; the first column is text, the others are numbers.

    Colour and boxes only on a terminal, with rich installed and without ``NO_COLOR``.
    """
    if out.isatty() and not os.environ.get("NO_COLOR") and _rich(title, columns, rows, out):
        return
    out.write(_plain(title, columns, rows))


def _rich(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        return False
    table = Table(title=title)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(file=out).print(table)
    return True


def _plain(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [title]
    for row in [columns, *rows]:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *others]).rstrip())
    return "\n".join(lines) + "\n"
