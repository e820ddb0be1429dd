"""Quotas: how much a project may have at once."""

from dataclasses import dataclass

from krater.model.workload import Resources

UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a project may have: containers, cores, MiB, GiB. -1 is without limit."""

    containers: int = 40
    cpu: int = 20
    memory: int = 51200
    disk: int = 100


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project has: containers, cores, MiB, GiB."""

    containers: int = 0
    cpu: float = 0.0
    memory: int = 0
    disk: int = 0

    @classmethod
    def of(cls, containers: int, resources: Resources) -> "Usage":
        """The usage of some containers that ask for `resources` together."""
        return cls(containers, resources.cpu, resources.memory, resources.disk)


def exceeded(limits: Limits, used: Usage, more: Usage) -> str | None:
    """The first resource that has no room for `more`, or None. Asking for less is never refused."""
    for name in ("containers", "cpu", "memory", "disk"):
        limit, have, want = getattr(limits, name), getattr(used, name), getattr(more, name)
        if limit != UNLIMITED and want > 0 and have + want > limit + 1e-9:
            return f"{name}: {have:g} in use, {want:g} asked for, {limit:g} allowed"
    return None
