# Results as text for people.
# Imports nothing below but the standard library; rich where it is there.
# Used by cli.py.
"""Tables of results."""

from swaptable.report.table import render

__all__ = ["render"]
