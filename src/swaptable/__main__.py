# python -m swaptable, and the console script.
# Imports the command line, late: an interrupt during the imports ends as one in a command does.
# Used by people and by the tests.
"""The command line as a module."""

import sys


def main() -> int:
    """Run the command line; 130 for an interrupt, even before it has begun."""
    try:
        from swaptable.cli import main as run
    except KeyboardInterrupt:
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
