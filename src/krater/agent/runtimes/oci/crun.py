"""The OCI runtime program: crun, or runc in its place."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

import structlog

from krater.errors import Permanent

KNOWN: Final = ("crun", "runc")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OciProgram:
    """Which program, and how it is called. `state` is its own directory, one below it for each container."""

    name: str
    path: str
    version: str
    state: str

    @property
    def takes_compiled_filter(self) -> bool:
        """Whether it accepts a finished seccomp program."""
        return self.name == "crun"

    @property
    def arguments(self) -> tuple[str, ...]:
        """The options that come before every command."""
        if self.name == "crun":
            return (f"--root={self.state}", "--cgroup-manager=cgroupfs")
        return (f"--root={self.state}",)

    def release(self, container: str) -> bool:
        """Let a created container's process run. False when this program must be asked to do it.

        What `crun start` does, without starting a program: the process waits to read a byte from a pipe.
        """
        if self.name != "crun":
            return False
        fifo = f"{self.state}/{container}/exec.fifo"
        try:
            descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            os.unlink(fifo)
            os.write(descriptor, b"\0")
        finally:
            os.close(descriptor)
        return True

    def start_arguments(self, container: str) -> list[str]:
        """The command that does what `release` could not."""
        return [self.path, *self.arguments, "start", container]

    def forget(self, container: str) -> None:
        """Remove its record of a container whose processes and control groups are gone."""
        shutil.rmtree(f"{self.state}/{container}", ignore_errors=True)


def find_programs(wanted: str | None, state: str) -> list[OciProgram]:
    """The runtime by name or path, or all known ones that are installed, the best first."""
    found = []
    for name in [wanted] if wanted else KNOWN:
        path = shutil.which(name)
        if path is not None:
            kind = next((known for known in KNOWN if known in os.path.basename(path)), "crun")
            found.append(OciProgram(kind, path, _version(path), state))
    if not found:
        raise Permanent(f"no OCI runtime found: install {wanted or ' or '.join(KNOWN)}")
    return found


def _version(path: str) -> str:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10)
    return (said.stdout.splitlines() or ["unknown"])[0].rpartition(" ")[2]
