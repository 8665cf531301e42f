# python -m swaptable.
# Imports the command line.
# Used by people and by the tests.
"""The command line as a module."""

import sys

from swaptable.cli import main

if __name__ == "__main__":
    sys.exit(main())
