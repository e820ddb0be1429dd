"""Requests and answers about quotas."""

from typing import Annotated

from msgspec import Meta, Struct

from krater.model.quota import Limits

Limit = Annotated[
    Annotated[int, Meta(ge=-1, le=10**15)] | Annotated[str, Meta(pattern=r"^(-1|[0-9]{1,15})(?![\s\S])")],
    Meta(description="a whole number of at least 0, or -1 for no limit; or such a number as a string"),
]


class SetLimits(Struct, forbid_unknown_fields=True):
    """The most a project may have. What is not given stays."""

    containers: Limit | None = None
    memory: Limit | None = None
    cpu: Limit | None = None
    disk: Limit | None = None

    def changes(self) -> dict[str, int]:
        """What was given."""
        return {name: int(value) for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


class LimitsAnswer(Struct):
    """Containers, MiB, cores, GiB. -1 is without limit."""

    containers: int
    memory: int
    disk: int
    cpu: int

    @classmethod
    def of(cls, limits: Limits) -> "LimitsAnswer":
        """From the model."""
        return cls(limits.containers, limits.memory, limits.disk, limits.cpu)


class Used(Struct):
    """A limit, and what there is."""

    limit: int
    in_use: float


class UsageAnswer(Struct):
    """The same for every resource."""

    containers: Used
    memory: Used
    disk: Used
    cpu: Used
