"""What the store keeps and is asked for, as plain values. Import them from `krater.store.interfaces`."""

from dataclasses import dataclass
from datetime import datetime

from krater.model.assignment import Observed, Placement
from krater.model.security import default_group_id
from krater.model.workload import Intent, Kind, WorkloadSpec


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose things may be seen: one project's, or (`project` None) everybody's."""

    project: str | None


EVERYBODY = Scope(None)


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload as stored. `seq` orders by creation; `version` grows with every change of anything in it.

    `removal` is the controller's own reason to remove it (auto_remove), or None.
    """

    id: str
    kind: Kind
    project_id: str
    user_id: str
    name: str
    spec: WorkloadSpec
    intent: Intent
    created_at: datetime
    updated_at: datetime | None = None
    removal: str | None = None
    placement: Placement = Placement()
    observed: Observed = Observed()
    seq: int = 0
    version: int = 0

    @property
    def security_groups(self) -> tuple[str, ...]:
        """The groups its own ports are in: unless it was asked for others, its project's default one."""
        asked = self.spec.security_groups
        return (default_group_id(self.project_id),) if asked is None else asked


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: after the item `marker`, at most `limit`, by `sort_key`, which is a stored column.

    Keys are the API's names; `id` is the order of creation, which also settles ties.
    """

    limit: int
    marker: str | None = None
    sort_key: str = "id"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class WorkloadQuery:
    """Filters on stored columns: any of the values of each. Derived words (status) are filtered by the caller."""

    kind: Kind = Kind.CONTAINER
    names: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    memory: tuple[int, ...] = ()
    nodes: tuple[str, ...] = ()
    auto_remove: bool | None = None


APART = 2**31 - 1
"""The generation of an action that changes no intent: it ends by itself, not with what nodes report of the intent."""


@dataclass(frozen=True, slots=True)
class RegistryQuery:
    """Filters: any of the values of each."""

    name: tuple[str, ...] = ()
    domain: tuple[str, ...] = ()
    username: tuple[str, ...] = ()
    project_id: tuple[str, ...] = ()
    user_id: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ActionEvent:
    """A step taken for an action. `result` is "Success" or "Error"; `details` is the error's text."""

    event: str
    start_time: datetime
    finish_time: datetime | None
    result: str
    details: str | None


@dataclass(frozen=True, slots=True)
class Action:
    """A request that changed a workload. `generation` is the intent it made; `message` is None unless it failed."""

    workload: str
    action: str
    request_id: str
    user_id: str
    project_id: str
    generation: int
    start_time: datetime
    finish_time: datetime | None = None
    message: str | None = None
    events: tuple[ActionEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """An image on a node, wanted by somebody (`wanted`) or just seen there. `size` in bytes, None until known."""

    id: str
    repo: str
    tag: str
    node: str
    project_id: str
    user_id: str
    created_at: datetime
    wanted: bool = True
    removing: bool = False
    image_id: str | None = None
    size: int | None = None
    failure: str | None = None
    seq: int = 0
