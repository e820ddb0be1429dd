"""The moment between letting a created container go and its program running. Everything here blocks, but for little."""

import os
import re
import time
from typing import Final

from krater.agent.runtimes.oci.layout import ContainerPaths
from krater.agent.runtimes.oci.processes import Identity
from krater.agent.runtimes.oci.state import read_ending

RUNS_WITHIN: Final = 0.5
LOOK_EVERY: Final = 0.0003
_TAIL: Final = 4096
_EXIT_CODES: Final = (1, 126, 127)
_COMPLAINT: Final = re.compile(
    r"stderr F ([^\n]*exec(?: container process|:)?[^\n]*"
    r"(?:exec format error|no such file or directory|permission denied|argument list too long)[^\n]*)\s*$",
    re.IGNORECASE,
)


def program_of(process: Identity) -> str:
    """What a process executes: the OCI runtime, until the container's own program has taken its place."""
    try:
        return os.readlink(f"/proc/{process.pid}/exe")
    except OSError:
        return ""


def wait_for_program(process: Identity, before: str) -> None:
    """Return when the container's program runs, or the process has ended.

    The kernel tells nobody of a successful exec, but it is a matter of a millisecond.
    """
    deadline = time.monotonic() + RUNS_WITHIN
    while program_of(process) in (before, "") and process.alive and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)  # "" is a process that is ending but has not ended


def complaint(paths: ContainerPaths) -> str | None:
    """Why the program could not be executed, if that is how the process ended.

    By then the OCI runtime has nobody else to tell: its last words are in the container's log.
    """
    ending = read_ending(paths)
    if ending is None or ending.exit_code not in _EXIT_CODES:
        return None
    try:
        with open(paths.log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            found = _COMPLAINT.search(file.read().decode(errors="replace"))
    except FileNotFoundError:
        return None
    return found.group(1) if found else None
