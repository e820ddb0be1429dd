"""Rotation of a container's log. conmon writes it, and puts a new file in its place when told, or when it is full.

The file that is written has a second name, `.1`, so that it stays then.
"""

import os
from contextlib import suppress
from typing import Final

from krater.agent.runtimes.oci.conmon import reopen_log
from krater.agent.runtimes.oci.layout import ContainerPaths

_MODE: Final = 0o600


def begin(paths: ContainerPaths, kept: int) -> None:
    """Have a log to write to, which may be there already."""
    os.close(os.open(paths.log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _MODE))
    _name_twice(paths, kept)


def tend(paths: ContainerPaths, largest: int, kept: int) -> None:
    """Rotate the log if it has grown too large; else see that it outlasts conmon's own rotation.

    What was there moves from `.1` to `.2`, and so on; of these as many as are to be kept stay. No line is lost: each
    goes to the file that conmon has open, whatever its names.
    """
    with suppress(FileNotFoundError):
        _name_twice(paths, kept)
        if os.stat(paths.log).st_size > largest and not reopen_log(paths):
            os.unlink(paths.log)  # nobody writes: the next start makes another


def _name_twice(paths: ContainerPaths, kept: int) -> None:
    """Call the file that is written `.1` too, and those before it `.2` and on. FileNotFoundError when there is none."""
    written = os.stat(paths.log)
    if kept == 0 or _is(written, f"{paths.log}.1"):
        return
    for number in range(kept, 0, -1):
        with suppress(FileNotFoundError):
            os.replace(f"{paths.log}.{number}", f"{paths.log}.{number + 1}")
    with suppress(FileExistsError):  # somebody else was quicker
        os.link(paths.log, f"{paths.log}.1")


def _is(file: os.stat_result, path: str) -> bool:
    try:
        return os.path.samestat(file, os.stat(path))
    except FileNotFoundError:
        return False
