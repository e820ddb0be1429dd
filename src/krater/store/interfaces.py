"""The only way to what Krater remembers.

A transaction is a plain synchronous function of a `Tx`; `Store.read` and `Store.write` run it whole in a thread, and
run it again when the database was busy or two transactions collided: it must have no effect but on the `Tx`.

Ownership is checked here: whatever is looked up for a user takes a `Scope`, and what lies outside it does not exist.

Who writes what of a workload (one writer a field):

    id, kind, project, user, name, spec, intent      the API
    removal, placement (and claims and ports)        the controller
    observed                                         the controller, folding the node's reports
    version, updated_at                              the store, with every change
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from krater.model.assignment import NodeImage, Observed, Placement, StepEvent
from krater.model.network import Network, Port, Subnet
from krater.model.node import Capacity, Inventory, Node
from krater.model.quota import Limits, Usage
from krater.model.registry import Registry
from krater.model.workload import Intent, Kind, Resources, WorkloadSpec
from krater.store.departures import Departure, Departures
from krater.store.own_images import Outcome, OwnImage, OwnImages
from krater.store.records import (
    APART,
    EVERYBODY,
    Action,
    ActionEvent,
    Image,
    Page,
    RegistryQuery,
    Scope,
    Workload,
    WorkloadQuery,
)
from krater.store.security_groups import SecurityGroups
from krater.store.tokens import Tokens
from krater.store.volumes import Volumes

__all__ = [
    "APART",
    "EVERYBODY",
    "Action",
    "ActionEvent",
    "Actions",
    "Allocations",
    "Departure",
    "Departures",
    "Image",
    "Images",
    "Networks",
    "Nodes",
    "Outcome",
    "OwnImage",
    "OwnImages",
    "Page",
    "Quotas",
    "Registries",
    "RegistryQuery",
    "Scope",
    "SecurityGroups",
    "Store",
    "Tokens",
    "Tx",
    "Volumes",
    "Workload",
    "WorkloadQuery",
    "Workloads",
]

T = TypeVar("T")


class Workloads(Protocol):
    """Workloads and their intent."""

    def add(self, workload: Workload) -> Workload:
        """Store a new one; returns it with `seq` and `version`. Conflict when the id exists."""
        ...

    def get(self, scope: Scope, ident: str, kind: Kind | None = Kind.CONTAINER) -> Workload:
        """By id, else by name. NotFound; Conflict when several have the name. Locks the row in a write transaction.

        A container inside a capsule is found by its own id too (as its workload) when `kind` is None.
        """
        ...

    def of_container(self, scope: Scope, ident: str) -> Workload:
        """The workload of one container: of a lone one by id, else of a member by id, else of a lone one by name.

        NotFound; Conflict when several have the name. Locks the row in a write transaction. Capsules are not found by
        what they themselves are called.
        """
        ...

    def find(self, scope: Scope, query: WorkloadQuery, page: Page) -> list[Workload]:
        """A page of them. Invalid for an unknown sort key (field `sort_key`) ; NotFound for an unknown marker."""
        ...

    def set_intent(
        self, id: str, intent: Intent, *, spec: WorkloadSpec | None = None, name: str | None = None
    ) -> Workload:
        """The API's write. Conflict unless `intent.generation` is one more than stored."""
        ...

    def place(self, id: str, placement: Placement) -> Workload:
        """The controller's write."""
        ...

    def observe(self, id: str, observed: Observed) -> Workload:
        """The fold of a report."""
        ...

    def retire(self, id: str, reason: str) -> Workload:
        """The controller removes it of its own accord (auto_remove)."""
        ...

    def delete(self, id: str) -> None:
        """Forget the row; its actions stay. Idempotent."""

    def by_ids(self, ids: Sequence[str]) -> list[Workload]:
        """Those of the ids that exist, in no order. For the controller. Locks the rows in a write transaction."""
        ...

    def on_node(self, node: str) -> list[Workload]:
        """All workloads placed on a node."""
        ...

    def unfinished(self) -> list[str]:
        """Ids the controller has something to do for: not placed, being removed, other networks. For its resync."""
        ...


class Actions(Protocol):
    """The history of workloads; outlives them."""

    def start(self, action: Action) -> None:
        """Record that it began."""

    def add_events(self, workload: str, generation: int, events: Iterable[StepEvent], *, if_open: bool = False) -> bool:
        """Add to the newest unfinished action of at most this generation, else (not with `if_open`) to the newest."""
        ...

    def finish(self, workload: str, generation: int, error: str | None, at: datetime) -> None:
        """Close all unfinished actions of at most this generation."""

    def finish_request(self, workload: str, request_id: str, error: str | None, at: datetime) -> None:
        """Close the unfinished action of one request: one that changed no intent."""

    def list(self, scope: Scope, workload: str) -> list[Action]:
        """Newest first, without events. Also of a workload that is gone."""
        ...

    def get(self, scope: Scope, workload: str, request_id: str) -> Action:
        """One with its events. NotFound."""
        ...

    def prune(self, before: datetime, most: int) -> int:
        """Forget those of workloads that are gone: finished before this moment, or not among a project's `most` newest
        ones. Returns how many."""
        ...


class Nodes(Protocol):
    """Nodes and the operator's word on them."""

    def announce(self, id: str, host: str, zone: str, inventory: Inventory, at: datetime) -> Node:
        """A node's own report."""
        ...

    def list(self) -> list[Node]:
        """All, by host."""
        ...

    def get(self, ident: str) -> Node:
        """By id or host. NotFound."""
        ...

    def set_disabled(self, host: str, disabled: bool, reason: str | None) -> Node:
        """The operator's word. NotFound."""
        ...

    def set_forced_down(self, host: str, forced_down: bool) -> Node:
        """The operator's word. NotFound."""
        ...

    def delete(self, host: str) -> None:
        """NotFound; Conflict while workloads are placed on it."""


class Allocations(Protocol):
    """Claims of capacity."""

    def capacities(self) -> list[Capacity]:
        """All nodes with what is claimed of them."""
        ...

    def claim(
        self, workload: str, node: str, resources: Resources, ratios: tuple[float, float, int]
    ) -> tuple[int, ...]:
        """The dedicated processors it got. Idempotent for the same node; replaces a claim of other resources or
        elsewhere.

        `ratios` are cpu ratio, memory ratio, reserved MiB. Conflict when the node has no room.
        """
        ...

    def release(self, workload: str) -> None:
        """Idempotent."""

    def owners(self) -> set[str]:
        """Workloads that hold a claim."""
        ...


class Quotas(Protocol):
    """Limits and the one usage count of each project."""

    def limits(self, project: str, defaults: Limits) -> Limits:
        """The project's own, else the class `default`'s, else `defaults`, each resource for itself."""
        ...

    def class_limits(self, name: str, defaults: Limits) -> Limits:
        """A quota class's limits."""
        ...

    def set_limits(self, project: str, changes: dict[str, int]) -> None:
        """Keys are the fields of Limits."""

    def set_class_limits(self, name: str, changes: dict[str, int]) -> None:
        """Keys are the fields of Limits."""

    def clear_limits(self, project: str) -> None:
        """Back to the defaults. Idempotent."""

    def usage(self, project: str) -> Usage:
        """What the project has now."""
        ...

    def charge(self, project: str, more: Usage, limits: Limits) -> None:
        """Add, atomically. OverQuota names the resource. Negative amounts give back and are never refused."""


class Registries(Protocol):
    """Registries that projects have a login for. What is `sealed` was encrypted before it came here."""

    def add(self, registry: Registry) -> None:
        """Store a new one."""

    def get(self, scope: Scope, ident: str) -> Registry:
        """By id, else by name. NotFound; Conflict when several have the name."""
        ...

    def find(self, scope: Scope, query: RegistryQuery, page: Page) -> list[Registry]:
        """A page of them. Invalid for an unknown sort key; NotFound for an unknown marker."""
        ...

    def change(self, registry: Registry, at: datetime) -> Registry:
        """Replace name, domain, username and secret of one. NotFound."""
        ...

    def delete(self, scope: Scope, ident: str) -> None:
        """NotFound; Conflict while a workload uses it."""

    def use(self, id: str, workload: str) -> None:
        """Note that a workload's image comes from it, until the workload's row is deleted."""

    def by_ids(self, ids: Sequence[str]) -> dict[str, Registry]:
        """Those of the ids that exist. For the controller."""
        ...

    def sealed(self, after: int, most: int) -> Sequence[tuple[int, str, str]]:
        """The next `most` sealed passwords after a place, as (place, id, text). To change the key."""
        ...

    def reseal(self, id: str, was: str, now: str) -> None:
        """Replace a sealed text, if it is still `was`."""


class Networks(Protocol):
    """Networks, subnets and ports of the embedded profile."""

    def add(self, network: Network) -> None:
        """Conflict when the project has one of the name, or the range overlaps another's."""

    def list(self, scope: Scope) -> list[Network]:
        """Own and shared ones, oldest first."""
        ...

    def get(self, scope: Scope, ident: str) -> Network:
        """By id or name, own or shared. NotFound; Conflict when several have the name."""
        ...

    def delete(self, scope: Scope, ident: str) -> None:
        """NotFound; Conflict while it has ports."""

    def add_port(self, port: Port, wanted: Sequence[str] = ()) -> Port:
        """Store it with addresses: `wanted` ones, else a free one of each subnet.

        `port.fixed_ips` and an empty `port.mac` are filled in. Invalid when an address is outside the network's
        subnets (field `fixed_ip`); Conflict when it is taken; NoCapacity when a subnet is full.
        """
        ...

    def get_port(self, scope: Scope, id: str) -> Port:
        """NotFound."""
        ...

    def ports(self, scope: Scope, network: str | None = None, device: str | None = None) -> Sequence[Port]:
        """Ports, oldest first."""
        ...

    def bind(self, id: str, device: str) -> Port:
        """Give a port to a workload. Conflict when another has it."""
        ...

    def release(self, device: str, only: Sequence[str] | None = None) -> None:
        """Delete the owned ports of a workload (`only` these) and free the others. Idempotent."""

    def delete_port(self, scope: Scope, id: str) -> None:
        """NotFound; Conflict while in use."""

    def held(self) -> dict[str, set[str]]:
        """Ports by the workload that holds them."""
        ...

    def free_subnet(self, pool: str, prefix: int) -> Subnet:
        """The first range of `pool` (a CIDR) of this prefix length that overlaps no stored subnet, gateway first.

        NoCapacity when the pool is used up.
        """
        ...


class Images(Protocol):
    """Images asked for through the API, and those the nodes report."""

    def add(self, image: Image) -> Image:
        """Conflict when the node has (or is to have) the same repo and tag."""
        ...

    def get(self, id: str) -> Image:
        """NotFound."""
        ...

    def list(self, page: Page) -> list[Image]:
        """A page of all."""
        ...

    def set_removing(self, id: str) -> Image:
        """The API's wish that it goes."""
        ...

    def on_node(self, node: str) -> Sequence[Image]:
        """All of a node."""
        ...

    def observe(
        self, node: str, images: Sequence[tuple[str, str, NodeImage]], failures: dict[str, str], at: datetime
    ) -> None:
        """Fold a node's list of (repo, tag, image): adds what is new, fills in ids and sizes, drops what is gone."""


class Tx(Protocol):
    """One transaction: a view of everything stored."""

    workloads: Workloads
    actions: Actions
    departures: Departures
    nodes: Nodes
    allocations: Allocations
    quotas: Quotas
    registries: Registries
    networks: Networks
    volumes: Volumes
    security_groups: SecurityGroups
    images: Images
    own_images: OwnImages
    tokens: Tokens


class Store(Protocol):
    """The database."""

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """Run a function that only reads. Unavailable when the database cannot be reached."""
        ...

    async def write(self, fn: Callable[[Tx], T]) -> T:
        """Run a function that writes: all of it or, when it raises, nothing. Retried on deadlock and busy."""
        ...

    async def close(self) -> None:
        """Finish what runs and let go of the database."""
