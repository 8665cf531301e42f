# The documentation: Sphinx with Markdown pages and numpydoc.
# Imports the installed package, which autodoc reads.
# Used by `make docs`.
import swaptable

project = "swaptable"
author = copyright = "The swaptable developers"
version = release = swaptable.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc", "myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "The Linux swap subsystem's data structures", "fixed_sidebar": True}
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
autosummary_generate = False
# Backquoted names of docstrings are code.
default_role = "literal"
suppress_warnings = ["myst.xref_missing"]
