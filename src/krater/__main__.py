"""`krater`, and `python -m krater`."""

import sys


def main() -> int:
    """Run the command line; its exit code."""
    from krater.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
