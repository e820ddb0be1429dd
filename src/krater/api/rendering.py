"""From stored workloads to what the API shows. Everything here is pure but for the memory of what was just shown."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET

from krater.api.nodes import NodeTable
from krater.api.policies import Policies
from krater.api.schemas.answers import Container, Links
from krater.api.subjects import member_name
from krater.cloud.interfaces import Caller
from krater.model.assignment import ObservedContainer
from krater.model.capsules import Situation
from krater.model.status import Status, derive_status
from krater.model.workload import ContainerSpec, Healthcheck, Requests, RestartName, RestartPolicy
from krater.store.interfaces import Workload

_encoder = msgspec.json.Encoder()
_FIELDS = frozenset(Container.__struct_fields__)
_MOST_KEPT, _LARGEST_KEPT = 32 << 20, 16 << 10  # bytes: of all texts, and of one
_FOREVER = datetime.max.replace(tzinfo=UTC)


def status_of(workload: Workload, nodes: NodeTable, now: datetime) -> Status:
    """The words for a container's state, at this moment."""
    return derive_status(
        workload.intent,
        workload.placement,
        workload.observed,
        container=workload.id,
        node_alive=nodes.is_alive(workload.placement.node, now),
        now=now,
        removing=workload.removal is not None,
    )


def spaced(moment: datetime | None) -> str | None:
    """A time as containers show it: `2026-01-31 12:00:00.123456`."""
    return None if moment is None else str(moment.replace(tzinfo=None))


def iso(moment: datetime | None) -> str | None:
    """A time as services and actions show it: `2026-01-31T12:00:00.123456`."""
    return None if moment is None else moment.replace(tzinfo=None).isoformat()


def situation_of(workload: Workload, nodes: NodeTable, now: datetime) -> Situation:
    """What the words for a capsule and its members depend on, at this moment."""
    return Situation(
        workload.spec,
        workload.intent,
        workload.placement,
        workload.observed,
        node_alive=nodes.is_alive(workload.placement.node, now),
        now=now,
        removing=workload.removal is not None,
    )


def container_body(
    workload: Workload, nodes: NodeTable, now: datetime, hidden: frozenset[str], links: Links | None = None
) -> Container:
    """A container as its viewer sees it; `hidden` fields are left out."""
    body = _body(workload, workload.spec.containers[0], status_of(workload, nodes, now), nodes)
    body.links = UNSET if links is None else links
    return _without(body, hidden)


def member_body(
    workload: Workload, container: ContainerSpec, status: Status, nodes: NodeTable, hidden: frozenset[str]
) -> Container:
    """A member of a capsule, whose addresses and groups are the capsule's. `status` is that of the member."""
    body = _body(workload, container, status, nodes)
    seen, asked = _seen(workload, container), container.requests or Requests()
    body.name = member_name(workload, container)
    body.cpu, body.memory = asked.cpu, None if asked.memory is None else str(asked.memory)
    body.addresses, body.security_groups, body.ports = {}, [], []
    body.restart_policy = _restart_policy(container.restart or workload.spec.restart or RestartPolicy())
    body.capsule_uuid, body.member_name, body.role = workload.id, container.name, container.role.value
    body.ready = None if seen is None else seen.ready
    body.exit_code = None if seen is None else seen.exit_code
    body.restarts = 0 if seen is None else seen.attempt
    return _without(body, hidden)


def _without(body: Container, hidden: frozenset[str]) -> Container:
    for field in hidden & _FIELDS:
        setattr(body, field, UNSET)
    return body


def _seen(workload: Workload, container: ContainerSpec) -> ObservedContainer | None:
    return next((c for c in workload.observed.containers if c.id == container.id), None)


def _body(workload: Workload, container: ContainerSpec, status: Status, nodes: NodeTable) -> Container:
    spec, seen = workload.spec, _seen(workload, container)
    return Container(
        uuid=container.id,
        user_id=workload.user_id,
        project_id=workload.project_id,
        name=workload.name,
        image=container.image,
        command=_effective(container.command, seen.command if seen is not None else ()),
        entrypoint=_effective(container.entrypoint, seen.entrypoint if seen is not None else ()),
        status=status.word,
        status_reason=status.reason,
        task_state=status.task,
        status_detail=status.detail,
        cpu=container.resources.cpu,
        cpu_policy=container.cpu_policy,
        memory=str(container.resources.memory),
        disk=container.resources.disk,
        environment=container.environment,
        labels=container.labels,
        workdir=container.workdir,
        hostname=spec.hostname,
        ports=_ports(seen, workload),
        addresses=addresses_of(workload),
        restart_policy=_restart_policy(spec.restart) if spec.restart is not None else {},
        interactive=container.interactive,
        tty=container.tty,
        auto_remove=spec.auto_remove,
        auto_heal=spec.auto_heal,
        image_driver=container.image_driver,
        security_groups=list(workload.security_groups),
        healthcheck=_healthcheck(container.healthcheck),
        registry_id=container.registry,
        created_at=spaced(workload.created_at),
        updated_at=spaced(workload.updated_at),
        image_pull_policy=container.pull_policy,
        host=nodes.host(workload.placement.node),
        runtime=spec.runtime,
        privileged=container.privileged,
    )


def _effective(asked: tuple[str, ...] | None, seen: tuple[str, ...]) -> list[str]:
    """What the user asked for, else what the image brought."""
    return list(seen if asked is None else asked)


def _ports(seen: ObservedContainer | None, workload: Workload) -> list[int]:
    """Those of the image, and those its user exposes."""
    exposed = [number for number, _ in workload.spec.exposed]
    return list(dict.fromkeys([*(seen.ports if seen is not None else ()), *exposed]))


def _restart_policy(policy: RestartPolicy) -> dict[str, str]:
    maximum = policy.maximum if policy.name is RestartName.ON_FAILURE else 0
    return {"Name": policy.name.value, "MaximumRetryCount": str(maximum)}


def _healthcheck(check: Healthcheck | None) -> dict[str, str | int]:
    """What was asked for, and no key that was not."""
    if check is None:
        return {}
    numbers = {"interval": check.interval, "retries": check.retries, "timeout": check.timeout}
    return {"test": check.test, **{name: number for name, number in numbers.items() if number}}


def addresses_of(workload: Workload) -> dict[str, list[dict[str, Any]]]:
    """By network; a port the user brought is kept when the container goes."""
    brought = {net.port for net in workload.spec.nets if net.port is not None}
    found: dict[str, list[dict[str, Any]]] = {}
    for nic in workload.placement.nics:
        found.setdefault(nic.network, []).extend(
            {
                "addr": address.address,
                "version": 6 if ":" in address.address else 4,
                "port": nic.port,
                "subnet_id": address.subnet,
                "preserve_on_delete": nic.port in brought,
            }
            for address in nic.addresses
        )
    return found


@dataclass(frozen=True, slots=True)
class _Kept:
    """A rendered container, and what must still hold for it to be shown again."""

    version: int
    is_alive: bool
    host: str | None
    since: datetime
    until: datetime
    text: bytes


class Renderer:
    """Renders containers to JSON for a viewer, and remembers the texts.

    A text holds until the container changes (its version), its node's fate does, or its age in words does. Measured:
    15 us to make one, 1 us to find it again, which is what lists of hundreds need.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._kept: dict[tuple[str, frozenset[str]], _Kept] = {}
        self._size = 0

    def one(self, workload: Workload, caller: Caller, nodes: NodeTable, now: datetime, links: Links) -> bytes:
        """One container, with its links after its id."""
        hidden = self._policies.hidden_fields(caller, workload.project_id, workload.user_id)
        if "uuid" in hidden or "links" in hidden:
            return _encoder.encode(container_body(workload, nodes, now, hidden, links))
        text = self._text(workload, hidden, nodes, now, nodes.is_alive(workload.placement.node, now))
        place = text.index(b",") + 1
        return b'%b"links":%b,%b' % (text[:place], _encoder.encode(links), text[place:])

    def page(
        self, workloads: list[Workload], caller: Caller, nodes: NodeTable, now: datetime, following: str | None
    ) -> bytes:
        """A list of containers, without links."""
        alive: dict[str | None, bool] = {}
        hidden_fields, texts = self._policies.hidden_fields, []
        for workload in workloads:
            node = workload.placement.node
            is_alive = alive.get(node)
            if is_alive is None:
                is_alive = alive[node] = nodes.is_alive(node, now)
            hidden = hidden_fields(caller, workload.project_id, workload.user_id)
            texts.append(self._text(workload, hidden, nodes, now, is_alive))
        return b'{"containers":[%b],"next":%b}' % (b",".join(texts), _encoder.encode(following))

    def _text(
        self, workload: Workload, hidden: frozenset[str], nodes: NodeTable, now: datetime, is_alive: bool
    ) -> bytes:
        key, host = (workload.id, hidden), nodes.host(workload.placement.node)
        kept = self._kept.get(key)
        if (
            kept is not None
            and kept.version == workload.version
            and kept.is_alive is is_alive
            and kept.host == host
            and kept.since <= now < kept.until
        ):
            return kept.text
        text = _encoder.encode(container_body(workload, nodes, now, hidden))
        self._size -= len(kept.text) if kept is not None else 0
        self._kept.pop(key, None)
        if len(text) <= _LARGEST_KEPT:
            if self._size + len(text) > _MOST_KEPT:
                self._kept.clear()
                self._size = 0
            self._size += len(text)
            self._kept[key] = _Kept(workload.version, is_alive, host, now, _next_wording(workload, now), text)
        return text


def _next_wording(workload: Workload, now: datetime) -> datetime:
    """When `Up 5 mins` becomes something else: at the next second, minute, hour or day of its age."""
    soonest = _FOREVER
    for seen in workload.observed.containers:
        for moment in (seen.started_at, seen.finished_at):
            age = 0 if moment is None else int((now - moment).total_seconds())
            unit = next((size for size in (86400, 3600, 60) if age >= size), 1)
            if moment is not None:
                soonest = min(soonest, moment + timedelta(seconds=(age // unit + 1) * unit if age >= 0 else 0))
    return soonest
