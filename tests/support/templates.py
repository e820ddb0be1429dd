"""Templates of capsules in a few words, and what they are read as."""

from typing import Any

from krater.api.capsule_specs import CapsuleAsk, read_capsule
from krater.api.templates import read_template
from krater.config import LimitSettings

ID = "0123456789abcdef"
LIMITS = LimitSettings(maximum_cpus=4, maximum_memory=2048, default_memory=512, default_cpu=1.0)
Json = dict[str, Any]


def member(name: str | None = None, **changes: Any) -> Json:
    """A container of a template that is right, but for what is given."""
    named = {} if name is None else {"name": name}
    return {"image": "busybox", "resources": {"requests": {"cpu": 0.1, "memory": 64}}, **named, **changes}


def template(*containers: Json, name: str | None = "web", metadata: Json | None = None, **spec: Any) -> Json:
    """A template that is right, but for what is given."""
    own = {} if name is None else {"name": name}
    members = list(containers) or [member()]
    return {"kind": "capsule", "metadata": {**own, **(metadata or {})}, "spec": {"containers": members, **spec}}


def read(*containers: Json, limits: LimitSettings = LIMITS, top: Json | None = None, **spec: Any) -> CapsuleAsk:
    """What a template asks for, of which nothing but this was said."""
    members = [{"image": "busybox", **one} for one in containers or ({},)]
    if "initContainers" in spec:
        spec["initContainers"] = [{"image": "busybox", **one} for one in spec["initContainers"]]
    whole = {**template(*members, name=None, **spec), **(top or {})}
    return read_capsule(ID, read_template(whole), limits, 1000)


def names(ask: CapsuleAsk) -> list[str]:
    """Its members in the order to start."""
    return [member.spec.name for member in ask.members]


def after(*others: str, condition: str = "started") -> list[Json]:
    """For `dependsOn`."""
    return [{"container": other, "condition": condition} for other in others]


def sized(cpu: Any = None, memory: Any = None, *, limits: tuple[Any, Any] | None = None) -> Json:
    """The resources of a member."""
    parts = {"requests": (cpu, memory), "limits": limits or (None, None)}
    return {"resources": {key: {"cpu": c, "memory": m} for key, (c, m) in parts.items()}}
