"""From a checked request to the specification that is stored: defaults, ranges, and spellings made plain. Pure."""

import math
import random
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain

from msgspec import UNSET

from krater.api.schemas.containers import CreateBase, HealthcheckAsk, NetItem, RestartPolicyAsk
from krater.api.schemas.decoding import CODE
from krater.api.schemas.fields import Scalar, truth
from krater.cloud.interfaces import NetAsk, StoredImage
from krater.config import LimitSettings
from krater.errors import Invalid
from krater.model.image import parse_request
from krater.model.network import NetRequest, read_address
from krater.model.workload import (
    ContainerSpec,
    Healthcheck,
    PullPolicy,
    Resources,
    RestartName,
    RestartPolicy,
    WorkloadSpec,
    default_hostname,
)

_GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"),
    *("nu", "xi", "omicron", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
)

# Bytes of one mapping or list of a container: everybody who lists containers gets them all. Zun's columns hold as much,
# and a kernel hands no text of twice the length to a program.
_MOST_TEXT = 65_535


def default_name() -> str:
    """A name for a container whose user gave none, such as `omega-7-container`."""
    return f"{greek_name()}-container"


def greek_name() -> str:
    """A short name, such as `omega-7`."""
    return f"{random.choice(_GREEK)}-{random.randint(1, 24)}"  # noqa: S311


def read_cpu(value: float | str, limits: LimitSettings, place: str = "cpu", containers: int = 1) -> float:
    """Cores, within the operator's limits for so many containers together."""
    return _within(place, float(value), limits.minimum_cpus, limits.maximum_cpus * containers, "cores")


def read_memory(value: int | str, limits: LimitSettings, place: str = "memory", containers: int = 1) -> int:
    """MiB, within the operator's limits for so many containers together."""
    return int(_within(place, int(value), limits.minimum_memory, limits.maximum_memory * containers, "MiB"))


def read_resources(ask: CreateBase, limits: LimitSettings) -> Resources:
    """What a container asks of its node, with defaults filled in."""
    cpu = limits.default_cpu if ask.cpu is None else read_cpu(ask.cpu, limits)
    memory = limits.default_memory if ask.memory is None else read_memory(ask.memory, limits)
    disk = limits.default_disk
    if ask.disk is not None:
        disk = int(_within("disk", int(ask.disk), limits.minimum_disk, limits.maximum_disk, "GiB"))
    return Resources(cpu, memory, disk, math.ceil(cpu) if ask.cpu_policy == "dedicated" else 0)


def _within(field: str, value: float, least: float, most: float, unit: str) -> float:
    if least <= value <= most:
        return value
    raise Invalid(
        f"{field}: {value:g} is out of range; allowed are {least:g} to {most:g} {unit}", field=field, code=CODE
    )


def read_image(name: str) -> str:
    """An image name that image tools can read."""
    try:
        parse_request(name)
    except Invalid as error:
        raise Invalid(error.message, field="image", code="reference-invalid-format") from None
    return name


def read_command(value: object) -> tuple[str, ...] | None:
    """A command: a list, or (at old versions) one string in a shell's quoting. An empty one is none."""
    if isinstance(value, str):
        return words("command", split_words("command", value))
    if isinstance(value, list):
        return words("command", value)
    return None


def split_words(field: str, text: str) -> list[str]:
    """A command line as a shell would split it."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Invalid(f"{field}: cannot be split into words: {error}", field=field) from None


def words(place: str, values: Iterable[Scalar]) -> tuple[str, ...] | None:
    """A list of words as texts. An empty one is none."""
    found = tuple(_text(value) for value in values)
    _refuse_more(place, found)
    return found or None


def _text(value: Scalar | None) -> str:
    return "" if value is None else str(value)


def texts(place: str, values: Mapping[str, Scalar | None] | None) -> dict[str, str]:
    """Labels and the like, as texts."""
    found = {key: _text(value) for key, value in (values or {}).items()}
    _refuse_more(place, chain.from_iterable(found.items()))
    return found


def _refuse_more(place: str, values: Iterable[str]) -> None:
    if sum(len(value.encode()) for value in values) > _MOST_TEXT:
        reason = f"all of it together may have no more than {_MOST_TEXT} bytes"
        raise Invalid(f"{place}: {reason}", field=place.partition(".")[0], code=CODE)


def _environment(values: Mapping[str, str] | None) -> dict[str, str]:
    for key in values or {}:
        if "=" in key:
            raise Invalid("environment: a name must not contain '='", field="environment", code=CODE)
    return texts("environment", values)


def read_restart(ask: RestartPolicyAsk | None) -> RestartPolicy | None:
    """A restart policy. Counting goes with `on-failure` only."""
    if ask is None:
        return None
    name, maximum = RestartName(ask.name), int(ask.maximum or 0)
    if name in (RestartName.ALWAYS, RestartName.UNLESS_STOPPED) and maximum != 0:
        raise Invalid(
            f"restart_policy: MaximumRetryCount must be 0 with {ask.name}; it goes with on-failure only",
            field="restart_policy",
        )
    return RestartPolicy(name, 0 if name is RestartName.NO else maximum)


_MOST_OF_CHECKS = {"interval": 86_400, "timeout": 600, "retries": 1000}


def read_healthcheck(ask: HealthcheckAsk | None) -> Healthcheck | None:
    """A health check; one that says nothing at all is none. A number that is missing or 0 is the node's default."""
    if ask is None or ask == HealthcheckAsk():
        return None
    if ask.cmd is None or not ask.cmd.strip():
        raise Invalid("healthcheck.cmd: expected a command line, to be run by a shell", field="healthcheck", code=CODE)
    asked = {"interval": ask.interval, "timeout": ask.timeout, "retries": ask.retries}
    numbers = {name: int(value or 0) for name, value in asked.items()}
    for name, number in numbers.items():
        most = _MOST_OF_CHECKS[name]
        if number > most:
            unit = "" if name == "retries" else " seconds"
            raise Invalid(
                f"healthcheck.{name}: {number} is out of range; allowed are 1 to {most}{unit}, or 0 for the default",
                field="healthcheck",
                code=CODE,
            )
    return Healthcheck(ask.cmd, **numbers)


def net_asks(items: Iterable[NetItem] | None) -> list[NetAsk]:
    """The networks and ports a request names, not yet looked up."""
    asks = []
    for index, item in enumerate(items or ()):
        place = f"nets[{index}]"
        if (item.network is None) == (item.port is None):
            raise Invalid(f"{place}: expected exactly one of network and port", field="nets", code=CODE)
        fixed = [
            _address(f"{place}.v{version}-fixed-ip", text, version)
            for version, text in ((4, item.v4_fixed_ip), (6, item.v6_fixed_ip))
            if text is not None
        ]
        asks.append(NetAsk(item.network, item.port, tuple(fixed)))
    return asks


def read_exposed(ports: Mapping[str, object] | None) -> tuple[tuple[int, str], ...]:
    """Exposed ports: `80`, `80/tcp`, `53/udp`."""
    found: dict[tuple[int, str], None] = {}
    for text in ports or ():
        number, _, protocol = text.partition("/")
        is_port = number.isascii() and number.isdigit() and len(number) <= 5 and 1 <= int(number) <= 65535
        if not is_port or ("/" in text and protocol.lower() not in ("tcp", "udp")):
            raise Invalid(
                f"exposed_ports: {text[:40]!r} is not a port from 1 to 65535, with /tcp or /udp if need be",
                field="exposed_ports",
                code=CODE,
            )
        found[int(number), protocol.lower() or "tcp"] = None
    return tuple(found)


def _address(place: str, text: str, version: int) -> str:
    try:
        address = read_address(text)
    except ValueError:
        address = None
    if address is None or address.version != version:
        raise Invalid(f"{place}: expected an IPv{version} address", field="nets", code=CODE)
    return str(address)


def has_tty(ask: CreateBase, minor: int) -> bool:
    """From 1.20 to 1.35 a terminal went with standard input, whatever was said of it."""
    if 20 <= minor <= 35 and ask.interactive is not UNSET:
        return truth(ask.interactive)
    return truth(ask.tty)


def container_spec(id: str, ask: CreateBase, resources: Resources, minor: int) -> ContainerSpec:
    """The one container of the workload."""
    policy = ask.image_pull_policy
    return ContainerSpec(
        id=id,
        name=ask.name or default_name(),
        image=read_image(ask.image),
        resources=resources,
        command=read_command(getattr(ask, "command", None)),
        entrypoint=words("entrypoint", getattr(ask, "entrypoint", None) or ()),
        environment=_environment(ask.environment),
        labels=texts("labels", ask.labels),
        workdir=ask.workdir or None,
        interactive=ask.interactive is not UNSET and truth(ask.interactive),
        tty=has_tty(ask, minor),
        cpu_policy=ask.cpu_policy,
        privileged=ask.privileged is not None and truth(ask.privileged),
        pull_policy=PullPolicy(policy.lower()) if policy is not None else None,
        healthcheck=read_healthcheck(ask.healthcheck),
    )


def of_own_image(container: ContainerSpec, own: StoredImage) -> ContainerSpec:
    """The container when its image is the project's own."""
    return replace(container, image_driver="glance", stored_image=own.stored, stored_on=own.node)


def of_registry_image(container: ContainerSpec, image: str) -> ContainerSpec:
    """The container with an image that a registry has."""
    return replace(container, image=image, image_driver="docker", stored_image=None, stored_on=None)


def workload_spec(
    ask: CreateBase,
    container: ContainerSpec,
    restart: RestartPolicy | None,
    nets: tuple[NetRequest, ...],
    groups: tuple[str, ...] | None = None,
) -> WorkloadSpec:
    """The whole workload."""
    host = getattr(ask, "host", UNSET)
    hostname = ask.hostname if ask.hostname is not UNSET else ""
    return WorkloadSpec(
        containers=(container,),
        restart=restart,
        auto_remove=bool(ask.auto_remove),
        auto_heal=truth(ask.auto_heal),
        hostname=hostname or default_hostname(container.name, container.id),
        nets=nets,
        runtime=ask.runtime or None,
        availability_zone=ask.availability_zone,
        hints=texts("hints", ask.hints),
        host=host if isinstance(host, str) else None,
        security_groups=groups,
        exposed=read_exposed(ask.exposed_ports),
    )
