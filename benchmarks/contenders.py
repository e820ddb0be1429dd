"""What the benchmarks ask of each engine under test, so that one loop drives them all."""

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

IMAGE = "busybox:latest"
COMMAND = ("sh", "-c", "echo up; exec sleep 3600")
CPUS = 1
MEMORY_MIB = 128
PIDS = 4096
PATIENCE = 60.0


class Unmeasured(Exception):
    """A contender cannot take part on this machine; the text says why and goes below the table."""


@dataclass(slots=True)
class Container:
    """A container and when (seconds since 1970) the request for it was made. `conmon` is its monitor, where known."""

    id: str
    asked: float
    conmon: int = 0


class Contender(Protocol):
    """One way to run containers. Futures come back at once, so that many requests can be under way."""

    name: str
    directory: Path

    def open(self) -> None:
        """Get ready to run containers. Raises Unmeasured when that cannot be."""

    def make_ready(self, count: int) -> None:
        """Do what belongs before the clock starts for the next `count` containers."""

    def start(self) -> Future[Container]:
        """Ask for a container; done when the engine says it was started or accepted."""

    def seconds_to_run(self, container: Container) -> float:
        """From the request to the container's first output, by the time stamp its log has."""

    def delete(self, container: Container) -> Future[float]:
        """Kill it at once and remove it; the seconds until nothing of it is left."""

    def close(self) -> None:
        """Remove everything this contender made."""
