"""`krater`, and `python -m krater`."""

import sys


def main() -> int:
    """Run the command line; its exit code."""
    try:
        from krater.cli.main import main as run

        return run()
    except KeyboardInterrupt:  # while the program is still being read; all later ones are the command line's
        return 130


if __name__ == "__main__":
    sys.exit(main())
