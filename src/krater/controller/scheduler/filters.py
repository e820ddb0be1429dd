"""What speaks against a node: small pure functions, each of which can say why.

An objection has two texts, because two kinds of people read it. `reason` is for the user who asked: it names no
host and gives no figure, both of which are the operator's business. `detail` is for the operator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from krater.model.node import Capacity
from krater.model.workload import Resources, WorkloadSpec

LABEL_HINT = "label:"
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Ask:
    """What a workload needs of its node, and the moment at which it is asked."""

    resources: Resources
    now: datetime
    down_after: float
    zone: str | None = None
    runtime: str | None = None
    host: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    homes: frozenset[str] = frozenset()
    image_nodes: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        spec: WorkloadSpec,
        *,
        default_zone: str,
        down_after: float,
        now: datetime,
        homes: frozenset[str] = frozenset(),
    ) -> "Ask":
        """The ask of a specification, whose volumes are at `homes`. Hints other than `label:<key>` mean nothing."""
        labels = {k.removeprefix(LABEL_HINT): v for k, v in spec.hints.items() if k.startswith(LABEL_HINT)}
        zone = spec.availability_zone or default_zone or None
        stored_on = frozenset(c.stored_on for c in spec.containers if c.stored_on is not None)
        return cls(spec.resources, now, down_after, zone, spec.runtime, spec.host, labels, homes, stored_on)


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a node cannot take a workload: `reason` for the user, `detail` for the operator."""

    reason: str
    detail: str


Filter = Callable[[Ask, Capacity], Objection | None]


def is_alive(ask: Ask, candidate: Capacity) -> Objection | None:
    """Dead nodes take nothing."""
    node = candidate.node
    if node.is_alive(ask.now, ask.down_after):
        return None
    if node.forced_down:
        return Objection("host is down", "declared down by the operator")
    return Objection("host is down", f"last report at {node.last_seen:%Y-%m-%d %H:%M:%S} UTC")


def is_enabled(_ask: Ask, candidate: Capacity) -> Objection | None:
    """The operator may keep new workloads off a node."""
    if not candidate.node.disabled:
        return None
    return Objection("host is disabled", f"disabled: {candidate.node.disabled_reason or 'no reason given'}")


def is_requested_host(ask: Ask, candidate: Capacity) -> Objection | None:
    """An administrator may ask for one node by its name."""
    if ask.host is None or ask.host == candidate.node.host:
        return None
    return Objection("host is not the requested one", f"asked for {ask.host!r}")


def is_in_zone(ask: Ask, candidate: Capacity) -> Objection | None:
    """The zone asked for, or the default one when there is such a setting."""
    if ask.zone is None or ask.zone == candidate.node.availability_zone:
        return None
    return Objection("host is in another zone", f"asked for zone {ask.zone!r}")


def has_own_image(ask: Ask, candidate: Capacity) -> Objection | None:
    """A project's own image is on the node it was made on, and nowhere else."""
    if not ask.image_nodes - {candidate.node.id}:
        return None
    return Objection("the image is on another host", f"the image is on {', '.join(sorted(ask.image_nodes))}")


def has_runtime(ask: Ask, candidate: Capacity) -> Objection | None:
    """A runtime asked for by name must be there."""
    have = candidate.node.inventory.runtimes
    if ask.runtime is None or ask.runtime in have:
        return None
    return Objection("host lacks the runtime", f"asked for runtime {ask.runtime!r}, has {', '.join(have) or 'none'}")


def has_labels(ask: Ask, candidate: Capacity) -> Objection | None:
    """Every label asked for must be the node's, with the same value."""
    have = candidate.node.inventory.labels
    missing = [f"{key}={value}" for key, value in sorted(ask.labels.items()) if have.get(key) != value]
    if not missing:
        return None
    return Objection("host lacks the labels", f"asked for {', '.join(missing)}")


def has_volumes(ask: Ask, candidate: Capacity) -> Objection | None:
    """A volume's data are on one node, and do not move."""
    if ask.homes <= {candidate.node.id}:
        return None
    if len(ask.homes) > 1:
        return Objection("its volumes are on different hosts", f"volumes on {len(ask.homes)} nodes")
    return Objection("its volume is on another host", "has not the volume's data")


def has_cpu(ask: Ask, candidate: Capacity) -> Objection | None:
    """Cores, with the ratio that lets more be promised than there are."""
    free = candidate.node.inventory.cpus * candidate.cpu_ratio - candidate.used.cpu
    if ask.resources.cpu <= free + _EPSILON:
        return None
    return Objection("not enough cores", f"{ask.resources.cpu:g} cores asked for, {max(free, 0):g} free")


def has_dedicated(ask: Ask, candidate: Capacity) -> Objection | None:
    """Processors of its own, for those who ask for some."""
    wanted, dedicated = ask.resources.dedicated, candidate.node.inventory.dedicated
    free = len(set(dedicated) - candidate.pinned)
    if wanted <= free:
        return None
    return Objection("not enough dedicated processors", f"{wanted} asked for, {free} of {len(dedicated)} free")


def has_memory(ask: Ask, candidate: Capacity) -> Objection | None:
    """Memory, less what the node keeps for itself, with its ratio."""
    total = (candidate.node.inventory.memory - candidate.reserved_memory) * candidate.memory_ratio
    free = total - candidate.used.memory
    if ask.resources.memory <= free + _EPSILON:
        return None
    return Objection("not enough memory", f"{ask.resources.memory} MiB asked for, {max(free, 0):.0f} MiB free")


def has_disk(ask: Ask, candidate: Capacity) -> Objection | None:
    """Disk, for those who ask for some."""
    free = candidate.node.inventory.disk - candidate.used.disk
    if ask.resources.disk == 0 or ask.resources.disk <= free:
        return None
    return Objection("not enough disk", f"{ask.resources.disk} GiB asked for, {max(free, 0)} GiB free")


FILTERS: tuple[Filter, ...] = (
    is_alive,
    is_enabled,
    is_requested_host,
    is_in_zone,
    has_own_image,
    has_runtime,
    has_labels,
    has_volumes,
    has_cpu,
    has_dedicated,
    has_memory,
    has_disk,
)
"""All of them, in the order in which their objections are told."""


def objections(ask: Ask, candidate: Capacity) -> list[Objection]:
    """Everything that speaks against this node; empty when nothing does."""
    return [found for accepts in FILTERS if (found := accepts(ask, candidate)) is not None]
