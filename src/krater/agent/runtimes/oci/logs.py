"""Rotation of a container's log. conmon writes; it is told to begin a new file after the old one was moved."""

import os
from contextlib import suppress

from krater.agent.runtimes.oci.conmon import reopen_log
from krater.agent.runtimes.oci.layout import ContainerPaths


def rotate(paths: ContainerPaths, kept: int) -> None:
    """Move the log to `.1`, what was there to `.2`, and so on; of these as many as are to be kept stay.

    No line is lost: between the move and the monitor's reopening, lines still go to the moved file.
    """
    if not os.path.exists(paths.log):
        return
    for number in range(kept, 0, -1):
        with suppress(FileNotFoundError):
            os.replace(f"{paths.log}.{number}", f"{paths.log}.{number + 1}")
    os.replace(paths.log, f"{paths.log}.1")
    reopen_log(paths)
    with suppress(FileNotFoundError):
        os.unlink(f"{paths.log}.{kept + 1}")
