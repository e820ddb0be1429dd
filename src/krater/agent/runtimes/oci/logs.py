"""Rotation of a container's log. conmon writes; it is told to begin a new file after the old one was moved."""

import os
from contextlib import suppress
from typing import Final

from krater.agent.runtimes.oci.conmon import reopen_log
from krater.agent.runtimes.oci.layout import ContainerPaths

KEPT: Final = 4


def rotate(paths: ContainerPaths) -> None:
    """Move the log to `.1`, what was there to `.2`, and so on; the oldest beyond KEPT goes.

    No line is lost: between the move and the monitor's reopening, lines still go to the moved file.
    """
    if not os.path.exists(paths.log):
        return
    for number in range(KEPT - 1, 0, -1):
        with suppress(FileNotFoundError):
            os.replace(f"{paths.log}.{number}", f"{paths.log}.{number + 1}")
    os.replace(paths.log, f"{paths.log}.1")
    reopen_log(paths)
