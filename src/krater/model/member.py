"""What only the containers of capsules have: a part to play, others to wait for, and probes."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """The part of a container in its workload."""

    MAIN = "main"  # an ordinary one
    INIT = "init"  # runs to success before those after it begin
    SIDECAR = "sidecar"  # begins in its turn among the init containers, and runs on until the ordinary ones have ended


class Condition(StrEnum):
    """How far another member must have come."""

    STARTED = "started"
    HEALTHY = "healthy"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A member, by its id, that another one waits for."""

    container: str
    condition: Condition = Condition.STARTED


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A GET within the capsule, answered well by a status from 200 to 399."""

    port: int
    path: str = "/"
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class Probe:
    """A question asked of a running member: exactly one of `command`, `http` and `port` (a connection to it).

    Times are whole seconds. `failures` and `successes` are how many in a row change what is thought of it.
    """

    command: tuple[str, ...] = ()
    http: HttpRequest | None = None
    port: int | None = None
    delay: int = 0
    interval: int = 10
    timeout: int = 1
    failures: int = 3
    successes: int = 1
