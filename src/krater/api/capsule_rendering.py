"""From a stored capsule to what the API shows. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec import UNSET

from krater.api.nodes import NodeTable
from krater.api.rendering import addresses_of, member_body, situation_of, spaced
from krater.api.schemas.answers import Links
from krater.api.schemas.capsule_answers import Capsule, CapsuleMount, CapsuleVolumeEntry
from krater.model.capsules import derive_capsule_status
from krater.model.member import Role
from krater.model.volume import Volume
from krater.model.workload import RestartPolicy
from krater.store.interfaces import Workload

_SINCE = 32  # the shape of today


@dataclass(frozen=True, slots=True)
class View:
    """Who looks, when, and at which microversion. `hidden` are the fields of members that are not theirs to see."""

    nodes: NodeTable
    now: datetime
    minor: int
    hidden: frozenset[str] = frozenset()
    sees_host: bool = False


def capsule_body(workload: Workload, volumes: Sequence[Volume], view: View, links: Links) -> Capsule:
    """A capsule with its members, as its viewer sees it; `volumes` are those it holds."""
    spec = workload.spec
    status = derive_capsule_status(situation_of(workload, view.nodes, view.now))
    members = [
        (one.role, member_body(workload, one, status.members[one.id], view.nodes, view.hidden))
        for one in spec.containers
    ]
    name, labels = workload.name or None, spec.labels or None
    restart = spec.restart or RestartPolicy()
    is_old = view.minor < _SINCE
    return Capsule(
        uuid=workload.id,
        links=links,
        user_id=workload.user_id,
        project_id=workload.project_id,
        name=UNSET if is_old else name,
        meta_name=name if is_old else UNSET,
        cpu=spec.resources.cpu,
        memory=str(spec.resources.memory),
        status=status.whole.word,
        status_reason=status.whole.reason,
        labels=UNSET if is_old else labels,
        meta_labels=labels if is_old else UNSET,
        annotations=spec.annotations or None,
        addresses=addresses_of(workload),
        restart_policy=restart.name.value if is_old else {"Name": restart.name.value, "MaximumRetryCount": "0"},
        created_at=spaced(workload.created_at),
        updated_at=spaced(workload.updated_at),
        containers=[body for role, body in members if role is Role.MAIN],
        init_containers=[body for role, body in members if role is not Role.MAIN],
        volumes_info={} if is_old else UNSET,
        containers_uuids=[] if is_old else UNSET,
        init_containers_uuids=[] if is_old else UNSET,
        capsule_version="" if is_old else UNSET,
        host=view.nodes.host(workload.placement.node) if view.sees_host else UNSET,
        hostname=spec.hostname,
        volumes=_volumes(workload, volumes),
        security_groups=list(workload.security_groups),
        grace=int(spec.grace),
        auto_heal=spec.auto_heal,
    )


def _volumes(workload: Workload, volumes: Sequence[Volume]) -> list[CapsuleVolumeEntry]:
    """What its members share, in the order of the template."""
    sizes = {volume.id: volume.size for volume in volumes}
    found = {id: CapsuleVolumeEntry(name, id, sizes.get(id), []) for id, name in workload.spec.volumes.items()}
    for member in workload.spec.containers:
        for mount in member.mounts:
            entry = found[mount.volume or mount.file]
            entry.mounts.append(CapsuleMount(member.name, mount.destination, mount.read_only))
    return list(found.values())
