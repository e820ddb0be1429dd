"""From a stored workload to what its node is told: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from krater.model.assignment import Assignment, Placement
from krater.model.image import DEFAULT_DOMAIN, parse_image
from krater.model.network import are_wired
from krater.model.volume import Attachment, Volume
from krater.model.workload import ContainerSpec, Desired, RestartPolicy, default_hostname
from krater.store.interfaces import Workload


def is_going(workload: Workload) -> bool:
    """Whether it is to be removed: by its user, or by the controller of its own accord."""
    return workload.intent.desired is Desired.REMOVED or workload.removal is not None


def named_ports(placement: Placement) -> set[str]:
    """The ports that its node was told of, or is about to be."""
    return {nic.port for nic in placement.nics} | set(placement.leaving)


def is_wired(workload: Workload) -> bool:
    """Whether its cards are those it asks for now, as far as they can be had."""
    placement = workload.placement
    refused = placement.refusal is not None and placement.generation == workload.intent.generation
    return refused or are_wired(workload.spec.nets, placement.nics)


def assignment(
    workload: Workload,
    volumes: Sequence[Volume] = (),
    domains: Mapping[str, str] | None = None,
    default: str = DEFAULT_DOMAIN,
) -> Assignment:
    """All that a node needs to know of a workload that is placed on it, and of the volumes it holds.

    Images get their full names: those without a domain are of the container's registry (`domains`, by its id), else
    of the default one.
    """
    intent = workload.intent
    if workload.removal is not None:
        intent = replace(intent, desired=Desired.REMOVED)
    return Assignment(
        workload=workload.id,
        epoch=workload.placement.epoch,
        intent=intent,
        project_id=workload.project_id,
        name=workload.name,
        hostname=workload.spec.hostname or default_hostname(workload.name, workload.id),
        containers=tuple(_with_full_image(c, domains or {}, default) for c in workload.spec.containers),
        nics=workload.placement.nics,
        volumes=tuple(Attachment(v.id, v.size, is_new=not v.is_made) for v in volumes),
        restart=workload.spec.restart or RestartPolicy(),
        auto_heal=workload.spec.auto_heal,
        cpus=workload.placement.cpus,
        made=workload.observed.made if workload.observed.epoch == workload.placement.epoch else (),
        whole=workload.spec.whole,
    )


def _with_full_image(container: ContainerSpec, domains: Mapping[str, str], default: str) -> ContainerSpec:
    domain = default if container.registry is None else domains.get(container.registry, default)
    if domain == DEFAULT_DOMAIN:
        return container  # what every node understands by it
    return replace(container, image=parse_image(container.image, domain).canonical)
