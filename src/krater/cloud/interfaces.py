"""What surrounds Krater in its operator's cloud: who calls, what room there is, addresses.

Adapters: `cloud/local` (embedded); `cloud/openstack` is to come. API and controller use these; nodes never do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from krater.model.network import NetRequest, Network, Nic, Port
from krater.model.node import Capacity
from krater.model.security import SecurityGroup, SecurityRule
from krater.model.volume import Volume, VolumeClaim
from krater.model.workload import Resources
from krater.store.interfaces import Tx


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
class Project:
    """Whose things they are."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token stands for. `project` is None, and `roles` empty, for one without a scope."""

    token_id: str
    user_id: str
    user_name: str
    project: Project | None
    roles: tuple[str, ...]
    methods: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ScopeAsk:
    """The project a new token is for: a name or id, or None for the user's first one. `unscoped` asks for none."""

    project: str | None = None
    unscoped: bool = False


class Issuer(Protocol):
    """Who hands out tokens: the embedded profile's accounts. With Keystone there is none; Keystone does it."""

    async def log_in(self, user: str, password: str, peer: str, scope: ScopeAsk) -> tuple[str, Grant]:
        """A token for a user (name or id). Unauthenticated, the same for every reason; Unavailable when overrun."""
        ...

    async def exchange(self, token: str, scope: ScopeAsk) -> tuple[str, Grant]:
        """A token for another scope, which ends when the given one does. Unauthenticated."""
        ...

    async def inspect(self, token: str) -> Grant:
        """What a token stands for. Unauthenticated when it is not valid (any more)."""
        ...

    async def revoke(self, token: str) -> None:
        """End a token now. Unauthenticated when it is not valid (any more)."""

    async def list_projects(self, grant: Grant) -> list[Project]:
        """The projects in which the user has a role."""
        ...

    async def list_all_projects(self) -> list[Project]:
        """Every project: for administrators."""
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

    async def ensure_ports(
        self,
        workload: str,
        project: str,
        nets: Sequence[NetRequest],
        before: Sequence[Nic] = (),
        leaving: Sequence[str] = (),
    ) -> tuple[Nic, ...]:
        """Have a port for each item, bound to the workload, and say how to plug it. Idempotent.

        Cards of `before` keep their names. Ports in `leaving` are on their way out and used for nothing new.
        Conflict when a port or address was taken meanwhile; NoCapacity when a network is full.
        """
        ...

    async def release(self, workload: str, only: Sequence[str] | None = None) -> None:
        """Delete the ports made for the workload (`only` these), free the user's own. Idempotent."""

    async def list_owned(self) -> dict[str, set[str]]:
        """Ports by the workload that holds them: for garbage collection."""
        ...


class OwnNetworks(Protocol):
    """Networks that users make in Krater itself, where no other service of the cloud does that."""

    async def list(self, caller: Caller) -> Sequence[Network]:
        """The caller's and the shared ones, oldest first; a project that has none is given its default one."""
        ...

    async def get(self, caller: Caller, ident: str) -> Network:
        """By id or name. NotFound, Conflict. `default` is made when it is asked for first."""
        ...

    async def create(self, caller: Caller, name: str, *, internal: bool, shared: bool = False) -> Network:
        """With a range of its own; a `shared` one is for every project that names it.

        Conflict for a name that is taken; NoCapacity when there is no range left.
        """
        ...

    async def delete(self, caller: Caller, ident: str) -> None:
        """NotFound; Conflict while something uses it."""

    async def ports(self, caller: Caller) -> Sequence[Port]:
        """All ports of the project, oldest first."""
        ...

    async def create_port(
        self, caller: Caller, network: str, addresses: Sequence[str], groups: Sequence[str] | None = None
    ) -> Port:
        """A port that is the user's: it outlives containers. NotFound, Invalid, Conflict, NoCapacity.

        `groups` are ids of security groups; None: the project's default one.
        """
        ...

    async def delete_port(self, caller: Caller, id: str) -> None:
        """NotFound; Conflict while a container uses it."""


@dataclass(frozen=True, slots=True)
class VolumeAsk:
    """A volume as the user wrote it: the id or name of one there is, or the `size` (GiB) of one to be made.

    One that is made with a `name` stays when its workload goes. `place` is where the request says so, for refusals.
    """

    source: str | None = None
    size: int | None = None
    name: str = ""
    place: str = "mounts"


class Volumes(Protocol):
    """Disks."""

    async def resolve(self, caller: Caller, asks: Sequence[VolumeAsk]) -> tuple[VolumeClaim, ...]:
        """Names to ids, and may they? Nothing is created: a volume to be made has got its id, no more.

        NotFound, Conflict (ambiguous name), Invalid (in use, size out of range), OverQuota.
        """
        ...

    def reserve(self, tx: Tx, project: str, workload: str, claims: Sequence[VolumeClaim]) -> None:
        """Part of the transaction that stores the workload: of two that want the same volume, one is refused.

        Invalid (in use meanwhile), OverQuota.
        """

    async def homes(self, workload: str) -> frozenset[str]:
        """The nodes that the data of what it holds are on. Empty: any node will do."""
        ...

    async def ensure_attached(self, workload: str, node: str) -> None:
        """See to it that the node may connect what the workload holds. Idempotent. Conflict: it is elsewhere."""

    async def release(self, workload: str) -> frozenset[str]:
        """Free the user's volumes, have those made for the workload removed. Idempotent.

        Returns the nodes that have something to remove now.
        """
        ...

    async def list_owned(self) -> set[str]:
        """Workloads that hold volumes or injected files."""
        ...


class OwnVolumes(Protocol):
    """Volumes that users make in Krater itself, where no other service of the cloud does that."""

    async def list(self, caller: Caller) -> Sequence[Volume]:
        """The project's, oldest first."""
        ...

    async def get(self, caller: Caller, ident: str) -> Volume:
        """By id or name. NotFound, Conflict."""
        ...

    async def create(self, caller: Caller, name: str, size: int) -> Volume:
        """Conflict for a name that is taken; Invalid for a size out of range; OverQuota."""
        ...

    async def resize(self, caller: Caller, ident: str, size: int) -> Volume:
        """Make it larger. NotFound; Conflict while it is in use; Invalid for a smaller size; OverQuota."""
        ...

    async def delete(self, caller: Caller, ident: str) -> str | None:
        """Have it removed; the node that has to. NotFound; Conflict while it is in use."""
        ...


class Vault(Protocol):
    """Encrypts secrets that must be read again, with keys of the installation."""

    def seal(self, owner: str, text: str) -> str:
        """A text as it may be stored, for the thing with this id."""
        ...

    def open(self, owner: str, sealed: str) -> str:
        """The text again. Permanent when that cannot be: its key is gone, or it is another thing's."""


class SecurityGroups(Protocol):
    """Security groups that users make in Krater itself, where no other service of the cloud does that."""

    async def list(self, caller: Caller) -> Sequence[SecurityGroup]:
        """Those of the project, oldest first; one that has none is given its default one."""

    async def get(self, caller: Caller, ident: str) -> SecurityGroup:
        """By id or name. NotFound, Conflict. `default` is made when it is asked for first."""

    async def create(self, caller: Caller, name: str, description: str) -> SecurityGroup:
        """One that lets everything out and nothing in. Conflict when the project has too many."""

    async def delete(self, caller: Caller, ident: str) -> None:
        """NotFound; Conflict while something is in it or a rule names it."""

    async def add_rule(self, caller: Caller, ident: str, rule: SecurityRule) -> SecurityGroup:
        """The group with the rule, whose `remote_group` may be a name. NotFound; Conflict when it has such a rule."""

    async def delete_rule(self, caller: Caller, id: str) -> str:
        """The id of the group it was in. NotFound."""

    async def resolve(self, caller: Caller, idents: Sequence[str]) -> tuple[str, ...]:
        """Names and ids to ids, each once. Invalid when there is none, Conflict when there are several."""

    async def of_ports(self, ports: Sequence[Port]) -> dict[str, tuple[str, ...]]:
        """The groups that each port is in."""
        ...


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A project's own image, to make a container of: what nodes file it under, and the node that has it."""

    id: str
    stored: str
    node: str


@dataclass(frozen=True, slots=True)
class ImagePiece:
    """A piece of an image's archive, and how long all of it is."""

    content: bytes
    total: int


class Images(Protocol):
    """Images that live in no registry: projects' own."""

    async def resolve(self, caller: Caller, ident: str) -> StoredImage | None:
        """By id, or by name with or without a tag, among the caller's own; None when there is none of them.

        Conflict when it is still being made, or was lost.
        """
        ...

    async def open(self, caller: Caller, ident: str, offset: int, length: int) -> ImagePiece:
        """A piece of an archive of it (OCI, as `docker load` takes it too). NotFound; Conflict; Unavailable."""
        ...


class Allocations(Protocol):
    """The ledger of capacity."""

    async def capacities(self) -> list[Capacity]:
        """Nodes and what is claimed of them."""
        ...

    async def claim(self, workload: str, node: str, resources: Resources) -> tuple[int, ...]:
        """The dedicated processors it got, by number. Idempotent. Conflict when the room is gone."""
        ...

    def resize(self, tx: Tx, workload: str, node: str, resources: Resources) -> None:
        """Claim other amounts on the node that has it, in the transaction that stores them. Conflict."""

    async def release(self, workload: str) -> None:
        """Idempotent."""

    async def list_owned(self) -> set[str]:
        """Workloads that hold a claim."""
        ...
