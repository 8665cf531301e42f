# Results as text, pictures and a page for people.
# Imports nothing below but the results' classes; rich and matplotlib where they are there.
# Used by the command line.
"""Tables, plots and reports of results."""

from swaptable.report.folder import begin_report, save_report
from swaptable.report.table import render

__all__ = ["begin_report", "render", "save_report"]
