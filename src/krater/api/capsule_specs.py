"""From a capsule's template to what it asks for, as far as that can be said without looking anything up. Pure.

Members have ids from here on, and stand in the order to start: init containers and sidecars as in the template, then
the ordinary ones, each behind those it waits for. What has to be looked up (images, registries, volumes, groups) is
left in the words of the user, with its place in the template.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import uuid4

from krater.api.capsule_mounts import MemberMount, VolumePlan, read_member_mounts, read_volumes
from krater.api.capsule_probes import read_probe
from krater.api.schemas.capsules import Amounts, CapsuleSpec, Member, MemberResources, Template
from krater.api.schemas.decoding import CODE
from krater.api.schemas.fields import truth
from krater.api.specs import greek_name, read_cpu, read_image, read_memory, texts, words
from krater.api.templates import is_sidecar, restart_name
from krater.config import LimitSettings
from krater.errors import Invalid
from krater.model.member import Condition, Dependency, Role
from krater.model.workload import (
    NOTHING,
    ContainerSpec,
    PullPolicy,
    Requests,
    Resources,
    RestartName,
    RestartPolicy,
    WorkloadSpec,
    default_hostname,
)

_PLACE = "template.spec"
_GRACE = 10.0
_ALWAYS = RestartPolicy(RestartName.ALWAYS)
_RESTARTS = {
    "Always": _ALWAYS,
    "OnFailure": RestartPolicy(RestartName.ON_FAILURE),
    "Never": RestartPolicy(RestartName.NO),
}
_INIT_RESTARTS = {**_RESTARTS, "Always": RestartPolicy(RestartName.ON_FAILURE, 10)}


@dataclass(frozen=True, slots=True)
class MemberAsk:
    """A member. `place` is where it stands in the template; its specification has no mounts and no registry yet."""

    place: str
    spec: ContainerSpec
    registry: str | None = None
    mounts: tuple[MemberMount, ...] = ()


@dataclass(frozen=True, slots=True)
class CapsuleAsk:
    """A capsule. `registries` are those whose logins are used for images of their domains, with their places."""

    name: str
    spec: WorkloadSpec
    members: tuple[MemberAsk, ...]
    volumes: tuple[VolumePlan, ...] = ()
    registries: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Member:
    """One of the template, with what it was given."""

    place: str
    id: str
    name: str
    role: Role
    asked: Member
    depends_on: tuple[Dependency, ...] = field(default=())


def read_capsule(id: str, template: Template, limits: LimitSettings, file_limit: int) -> CapsuleAsk:
    """What a template asks for; `id` is the capsule's. Invalid names the place of what is wrong."""
    spec, metadata = template.spec, template.metadata
    policy = restart_name(template)
    members = _in_order(_members(spec, policy))
    whole, sizes = _resources(spec, members, limits)
    volumes = read_volumes(spec.volumes or (), metadata.name or id[:8], file_limit)
    asks = tuple(
        MemberAsk(
            one.place,
            _container(one, policy, *size),
            one.asked.registry,
            read_member_mounts(one.place, one.asked.volume_mounts or (), volumes),
        )
        for one, size in zip(members, sizes, strict=True)
    )
    return CapsuleAsk(
        name=metadata.name or "",
        spec=WorkloadSpec(
            containers=tuple(ask.spec for ask in asks),
            restart=_RESTARTS[policy],
            auto_heal=truth(spec.auto_heal),
            hostname=spec.hostname or default_hostname(metadata.name or "", id),
            availability_zone=template.availability_zone,
            exposed=_ports(members),
            whole=whole,
            labels=texts("template.metadata.labels", metadata.labels),
            annotations=texts("template.metadata.annotations", metadata.annotations),
            grace=_grace(spec, limits),
        ),
        members=asks,
        volumes=volumes,
        registries=tuple(
            (f"{_PLACE}.imagePullSecrets[{n}].registry", secret.registry)
            for n, secret in enumerate(spec.image_pull_secrets or ())
        ),
        groups=tuple(spec.security_groups or ()),
    )


def _wrong(place: str, reason: str) -> Invalid:
    return Invalid(f"{place}: {reason}", field="template", code=CODE)


def _grace(spec: CapsuleSpec, limits: LimitSettings) -> float:
    asked = spec.termination_grace_period_seconds
    if asked is None:
        return min(_GRACE, float(limits.maximum_grace))
    if asked > limits.maximum_grace:
        raise _wrong(
            f"{_PLACE}.terminationGracePeriodSeconds",
            f"{asked} is out of range; allowed are 0 to {limits.maximum_grace} seconds",
        )
    return float(asked)


# Members and their order ----------------------------------------------------------------------------------------------


def _members(spec: CapsuleSpec, policy: str) -> list[_Member]:
    """All of them as they stand in the template, with ids, names, and whom they wait for."""
    taken = {one.name for one in (*spec.init_containers, *spec.containers) if one.name is not None}
    found = [
        _Member(
            f"{_PLACE}.initContainers[{n}]",
            str(uuid4()),
            one.name or _new_name(taken),
            Role.SIDECAR if is_sidecar(one) else Role.INIT,
            one,
        )
        for n, one in enumerate(spec.init_containers)
    ]
    found += [
        _Member(f"{_PLACE}.containers[{n}]", str(uuid4()), one.name or _new_name(taken), Role.MAIN, one)
        for n, one in enumerate(spec.containers)
    ]
    by_name = {one.name: one for one in found}
    ranks = {one.name: rank for rank, one in enumerate(found)}
    return [
        replace(
            one,
            depends_on=tuple(
                _dependency(f"{one.place}.dependsOn[{n}]", one, by_name[d.container], d.condition, policy, ranks)
                for n, d in enumerate(one.asked.depends_on or ())
            ),
        )
        for one in found
    ]


def _new_name(taken: set[str]) -> str:
    """A name that no other member has; it is taken then."""
    name = greek_name()
    while name in taken:
        name = greek_name()
    taken.add(name)
    return name


def _dependency(
    place: str, one: _Member, other: _Member, condition: str, policy: str, ranks: Mapping[str, int]
) -> Dependency:
    """Whom it waits for, if that can come to pass."""
    if one.role is not Role.MAIN and ranks[other.name] > ranks[one.name]:
        raise _wrong(
            f"{place}.container",
            f"{other.name!r} starts after it; an init container can only wait for those that stand before it",
        )
    asked = other.asked
    if condition == "healthy" and not (asked.readiness_probe or asked.liveness_probe or asked.startup_probe):
        raise _wrong(
            f"{place}.condition",
            f"expected one of started, completed: {other.name!r} has no probe that could tell that it is healthy",
        )
    is_endless = other.role is Role.SIDECAR or (other.role is Role.MAIN and policy == "Always")
    if condition == "completed" and is_endless:
        way_out = "" if other.role is Role.SIDECAR else "; with restartPolicy: OnFailure or Never, it may be"
        raise _wrong(
            f"{place}.condition",
            f"expected one of started, healthy: {other.name!r} is always started again, so it is never completed"
            f"{way_out}",
        )
    return Dependency(other.id, Condition(condition))


def _in_order(members: Sequence[_Member]) -> list[_Member]:
    """The order to start: of the ordinary ones, the first in the template that waits for none further back."""
    ordered = [one for one in members if one.role is not Role.MAIN]
    left = [one for one in members if one.role is Role.MAIN]
    while left:
        waiting = {one.id for one in left}
        following = next(one for one in left if not any(d.container in waiting for d in one.depends_on))
        ordered.append(following)
        left.remove(following)
    return ordered


def _container(one: _Member, policy: str, requests: Requests, counted: Resources, limits: Resources) -> ContainerSpec:
    """One member as it will be stored, before anything is looked up."""
    asked = one.asked
    restart = {Role.MAIN: _RESTARTS[policy], Role.INIT: _INIT_RESTARTS[policy], Role.SIDECAR: _ALWAYS}
    return ContainerSpec(
        id=one.id,
        name=one.name,
        image=_image(one.place, asked.image),
        resources=counted,
        command=words(f"{one.place}.command", (*(asked.command or ()), *(asked.args or ()))),
        entrypoint=words(f"{one.place}.entrypoint", asked.entrypoint or ()),
        environment=_environment(one.place, asked.env or {}),
        workdir=asked.work_dir or None,
        interactive=truth(asked.stdin),
        tty=truth(asked.tty),
        pull_policy=None if asked.image_pull_policy is None else PullPolicy(asked.image_pull_policy.lower()),
        role=one.role,
        depends_on=one.depends_on,
        restart=restart[one.role],
        requests=requests,
        limits=limits,
        liveness=read_probe(f"{one.place}.livenessProbe", asked.liveness_probe),
        readiness=read_probe(f"{one.place}.readinessProbe", asked.readiness_probe),
        startup=read_probe(f"{one.place}.startupProbe", asked.startup_probe),
    )


def _image(place: str, name: str) -> str:
    try:
        return read_image(name)
    except Invalid as error:
        raise Invalid(f"{place}.{error.message}", field="template", code=error.code) from None


def _environment(place: str, values: Mapping[str, str]) -> dict[str, str]:
    if any("=" in key for key in values):
        raise _wrong(f"{place}.env", "a name must not contain '='")
    return texts(f"{place}.env", values)


def _ports(members: Sequence[_Member]) -> tuple[tuple[int, str], ...]:
    """What all of them open to the capsule, each once."""
    found: dict[tuple[int, str], None] = {}
    for one in members:
        for n, port in enumerate(one.asked.ports or ()):
            number = int(port.container_port)
            if not 1 <= number <= 65535:
                place = f"{one.place}.ports[{n}].containerPort"
                raise _wrong(place, f"{number} is out of range; allowed are 1 to 65535")
            found[number, port.protocol.lower()] = None
    return tuple(found)


# Resources ------------------------------------------------------------------------------------------------------------


_Sizes = tuple[Requests, Resources, Resources]
"""Of a member: what was asked for, what it counts with, and its own limits."""


def _resources(
    spec: CapsuleSpec, members: Sequence[_Member], limits: LimitSettings
) -> tuple[Resources, tuple[_Sizes, ...]]:
    """What all of it asks of a node, and what each member counts with."""
    place = f"{_PLACE}.resources"
    least, most = _amounts(place, spec.resources, limits, len(members))
    all_of_it = _larger(least, most)
    cpu, memory = all_of_it.cpu, all_of_it.memory
    sizes = []
    for one in members:
        requests, own = _amounts(f"{one.place}.resources", one.asked.resources, limits)
        asked = _larger(requests, own)
        for word, want, have in (("cores", asked.cpu, cpu), ("MiB", asked.memory, memory)):
            if want is not None and have is not None and want > have:
                raise _wrong(
                    f"{one.place}.resources", f"{want:g} {word} are more than the whole capsule has, {have:g} ({place})"
                )
        counted = Resources(
            min(limits.default_cpu, cpu or math.inf) if asked.cpu is None else asked.cpu,
            min(limits.default_memory, memory or limits.default_memory) if asked.memory is None else asked.memory,
            limits.default_disk,
        )
        shown = Requests(
            own.cpu if requests.cpu is None else requests.cpu,
            own.memory if requests.memory is None else requests.memory,
        )
        sizes.append((shown, counted, Resources(own.cpu or 0.0, own.memory or 0, counted.disk)))
    needed = _needed([(one.role, size[1]) for one, size in zip(members, sizes, strict=True)])
    return (
        replace(needed, cpu=needed.cpu if cpu is None else cpu, memory=needed.memory if memory is None else memory),
        tuple(sizes),
    )


def _needed(members: Sequence[tuple[Role, Resources]]) -> Resources:
    """The most that runs at once: all but the init containers, or one of these beside the sidecars before it.

    Disk is needed by all of them: what an init container wrote stays.
    """
    beside, peak, last, disk = NOTHING, NOTHING, NOTHING, 0
    for role, size in members:
        disk += size.disk
        if role is Role.INIT:
            at_once = beside + size
            peak = Resources(max(peak.cpu, at_once.cpu), max(peak.memory, at_once.memory))
        elif role is Role.SIDECAR:
            beside += size
        last = last if role is Role.INIT else last + size
    return Resources(round(max(peak.cpu, last.cpu), 6), max(peak.memory, last.memory), disk)


def _amounts(
    place: str, asked: MemberResources | None, limits: LimitSettings, containers: int = 1
) -> tuple[Requests, Requests]:
    """Requests and limits, each within the operator's range."""
    if asked is None:
        return Requests(), Requests()
    requests = _amount(f"{place}.requests", asked.requests, limits, containers)
    most = _amount(f"{place}.limits", asked.limits, limits, containers)
    for word, least, limit in (("cpu", requests.cpu, most.cpu), ("memory", requests.memory, most.memory)):
        if least is not None and limit is not None and limit < least:
            raise _wrong(f"{place}.limits.{word}", f"{limit:g} is less than the {least:g} of requests.{word}")
    return requests, most


def _amount(place: str, asked: Amounts | None, limits: LimitSettings, containers: int) -> Requests:
    if asked is None:
        return Requests()
    return Requests(
        None if asked.cpu is None else read_cpu(asked.cpu, limits, f"{place}.cpu", containers),
        None if asked.memory is None else read_memory(asked.memory, limits, f"{place}.memory", containers),
    )


def _larger(requests: Requests, limits: Requests) -> Requests:
    """Limits are never less than requests, so they count where there are any."""
    return Requests(
        requests.cpu if limits.cpu is None else limits.cpu,
        requests.memory if limits.memory is None else limits.memory,
    )
