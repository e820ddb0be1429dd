"""What surrounds Krater in its operator's cloud: who calls, what room there is, addresses.

Adapters: `cloud/local` (embedded) and `cloud/openstack`. API and controller use these; nodes never do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from krater.model.network import NetRequest, Nic
from krater.model.node import Capacity
from krater.model.workload import Resources


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who proved who they are, working in one project. `roles` are lower case.

    `token_id` is the token's own id when a token proved it (to revoke or expire it), else "".
    """

    user_id: str
    user_name: str
    project_id: str
    project_name: str
    roles: tuple[str, ...]
    token_id: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenCredentials:
    """The value of X-Auth-Token."""

    token: str


@dataclass(frozen=True, slots=True)
class PasswordCredentials:
    """A user's name (or id) and password, for a project (name or id; None: the user's only or first one).

    `peer` is the address the attempt comes from: failed attempts are slowed down by user and by peer.
    """

    user: str
    password: str
    project: str | None = None
    peer: str = ""


Credentials = TokenCredentials | PasswordCredentials


class Identity(Protocol):
    """Who is calling."""

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Unauthenticated (with `retry_after` when slowed down); Unavailable when nobody can tell now.

        Answers for tokens are cached for seconds: this is on the path of every request.
        """
        ...


@dataclass(frozen=True, slots=True)
class NetAsk:
    """One item of `nets` as the user wrote it: a network's id or name, or a port's id, and addresses wanted."""

    network: str | None = None
    port: str | None = None
    fixed_ips: tuple[str, ...] = ()


class Networks(Protocol):
    """Addresses."""

    async def resolve(self, caller: Caller, asks: Sequence[NetAsk]) -> tuple[NetRequest, ...]:
        """Names to ids, and may they? No asks: the project's default network, made on first use.

        NotFound (network or port), Conflict (ambiguous name), Invalid (port in use, address outside).
        Nothing is created but the default network.
        """
        ...

    async def ensure_ports(self, workload: str, project: str, nets: Sequence[NetRequest]) -> tuple[Nic, ...]:
        """Have a port for each item, bound to the workload, and say how to plug it. Idempotent.

        Conflict when a port or address was taken meanwhile; NoCapacity when a network is full.
        """
        ...

    async def release(self, workload: str) -> None:
        """Delete the ports made for the workload, free the user's own. Idempotent."""

    async def list_owned(self) -> set[str]:
        """Workloads that hold ports: for garbage collection."""
        ...


class Allocations(Protocol):
    """The ledger of capacity."""

    async def capacities(self) -> list[Capacity]:
        """Nodes and what is claimed of them."""
        ...

    async def claim(self, workload: str, node: str, resources: Resources) -> None:
        """Idempotent. Conflict when the room is gone."""

    async def release(self, workload: str) -> None:
        """Idempotent."""

    async def list_owned(self) -> set[str]:
        """Workloads that hold a claim."""
        ...
