"""What a request under `/containers` is about: a lone container or a member of a capsule, looked up in one way."""

from dataclasses import dataclass

from krater.model.workload import ContainerSpec, Kind
from krater.store.interfaces import Scope, Tx, Workload


@dataclass(frozen=True, slots=True)
class Subject:
    """A container of the API, and the workload it belongs to: its own, or the capsule's."""

    workload: Workload
    container: ContainerSpec

    @property
    def id(self) -> str:
        """What the API and nodes call it."""
        return self.container.id

    @property
    def is_member(self) -> bool:
        """Whether it is one of a capsule's."""
        return self.workload.kind is Kind.CAPSULE

    @property
    def name(self) -> str:
        """What people call it. Members are not found by it."""
        return member_name(self.workload, self.container) if self.is_member else self.workload.name

    @property
    def capsule(self) -> str:
        """What people call the capsule of a member."""
        return self.workload.name or self.workload.id

    @property
    def node(self) -> str | None:
        """Where it is."""
        return self.workload.placement.node


def member_name(capsule: Workload, container: ContainerSpec) -> str:
    """The name of a member, as the Container API makes it."""
    return f"capsule-{capsule.name or capsule.id}-{container.name}"


def alone(workload: Workload) -> Subject:
    """The one container of a workload of one."""
    return Subject(workload, workload.spec.containers[0])


def look_up(tx: Tx, scope: Scope, ident: str) -> Subject:
    """A lone container by id or name, a member by its id. NotFound, also for what is another's and for capsules."""
    workload = tx.workloads.of_container(scope, ident)
    if workload.kind is Kind.CONTAINER:
        return alone(workload)
    return Subject(workload, next(one for one in workload.spec.containers if one.id == ident))


def members_of(capsule: Workload) -> list[Subject]:
    """All containers of a capsule, in the order to start them."""
    return [Subject(capsule, container) for container in capsule.spec.containers]
