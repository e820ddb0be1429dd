"""Capsule templates: reading them, and all that can be wrong with one before anything is looked up. Pure.

Every refusal names its place in the template and what is allowed there.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import yaml

from krater.api.schemas.capsules import CapsuleSpec, CapsuleVolume, Member, Probe, Template
from krater.api.schemas.decoding import CODE, convert
from krater.api.yaml_texts import read_yaml
from krater.errors import Invalid

_LARGEST = 1 << 20
_DEEPEST = 32


def read_template(value: object) -> Template:
    """A template from an object, or from a text of JSON or YAML. Invalid."""
    if isinstance(value, str):
        value = parse(value)
    if isinstance(value, Template):
        template = value
    elif isinstance(value, Mapping):
        template = convert(value, Template, place="template")
    else:
        raise Invalid(
            "template: expected an object, or a text of JSON or YAML that holds one", field="template", code=CODE
        )
    _check(template.spec)
    return template


def restart_name(template: Template) -> str:
    """The restart policy, from either of the places where templates have it; that of `spec` counts first."""
    return template.spec.restart_policy or template.restart_policy or "Always"


def parse(text: str) -> object:
    """What a text of a template says, right or not: JSON, else YAML. Invalid.

    Most of JSON is YAML too, but not the way it writes characters beyond the first 65536.
    """
    if len(text) > _LARGEST:
        raise Invalid(f"template: longer than {_LARGEST} characters", field="template", code=CODE)
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        found = _parse_yaml(text)
    _refuse_odd(found)
    return found


def _parse_yaml(text: str) -> object:
    try:
        return read_yaml(text)
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]  # the library's own errors for nonsense are of all kinds
        raise Invalid(f"template: is neither JSON nor YAML: {reason}", field="template", code=CODE) from error


def _refuse_odd(value: object, depth: int = 0) -> None:
    """Texts that nothing behind the API takes, and depths that no template has."""
    if depth > _DEEPEST:
        raise Invalid("template: is nested too deeply", field="template", code=CODE)
    if isinstance(value, str):
        if "\0" in value or (not value.isascii() and _has_surrogate(value)):
            raise Invalid("template: has a character in a text that is allowed nowhere", field="template", code=CODE)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_odd(key, depth + 1)
            _refuse_odd(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_odd(inner, depth + 1)


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _refuse(place: str, reason: str) -> Invalid:
    return Invalid(f"template.spec.{place}: {reason}", field="template", code=CODE)


def _check(spec: CapsuleSpec) -> None:
    """What the types of the fields cannot tell."""
    members = [*((f"initContainers[{i}]", m) for i, m in enumerate(spec.init_containers))]
    members += [(f"containers[{i}]", m) for i, m in enumerate(spec.containers)]
    names = _names(members)
    volumes = _check_volumes(spec.volumes or ())
    used: set[str] = set()
    for place, member in members:
        used |= _check_mounts(place, member, volumes)
        _check_role(place, member)
        _check_probes(place, member)
        _check_dependencies(place, member, names)
    for index, volume in enumerate(spec.volumes or ()):
        if volume.name not in used:
            raise _refuse(f"volumes[{index}]", f"no container mounts {volume.name!r}")
    _refuse_circles(members, names)


def _names(members: Iterable[tuple[str, Member]]) -> dict[str, str]:
    """The place of each member that has a name."""
    found: dict[str, str] = {}
    for place, member in members:
        if member.name is None:
            continue
        if member.name in found:
            raise _refuse(f"{place}.name", f"{member.name!r} is the name of {found[member.name]} already")
        found[member.name] = place
    return found


def _check_volumes(volumes: Sequence[CapsuleVolume]) -> frozenset[str]:
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        place = f"volumes[{index}]"
        if volume.name in names:
            raise _refuse(f"{place}.name", f"there is a volume {volume.name!r} already")
        names.add(volume.name)
        if (volume.cinder is None) == (volume.file is None):
            raise _refuse(place, "expected exactly one of cinder and file")
        if volume.cinder is not None and (volume.cinder.volume_id is None) == (volume.cinder.size is None):
            raise _refuse(f"{place}.cinder", "expected exactly one of volumeID and size")
        if volume.file is not None:
            _check_base64(f"{place}.file.content", volume.file.content)
    return frozenset(names)


def _check_base64(place: str, text: str) -> None:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _refuse(place, "expected base64") from None


def _check_mounts(place: str, member: Member, volumes: frozenset[str]) -> set[str]:
    """The names of the volumes it mounts."""
    paths: set[str] = set()
    for index, mount in enumerate(member.volume_mounts or ()):
        here = f"{place}.volumeMounts[{index}]"
        if mount.name not in volumes:
            known = ", ".join(sorted(volumes)) or "none"
            raise _refuse(f"{here}.name", f"there is no volume {mount.name!r}; there are: {known}")
        path = mount.mount_path.rstrip("/")
        if ".." in path.split("/"):
            raise _refuse(f"{here}.mountPath", "expected a path without '..'")
        if path in paths:
            raise _refuse(f"{here}.mountPath", f"something else is mounted at {path} already")
        paths.add(path)
    return {mount.name for mount in member.volume_mounts or ()}


def is_sidecar(member: Member) -> bool:
    """Of init containers: whether it runs on beside the ordinary ones."""
    return member.restart_policy == "Always"


def _check_role(place: str, member: Member) -> None:
    is_init = place.startswith("init")
    if member.restart_policy is not None and not is_init:
        raise _refuse(f"{place}.restartPolicy", "is for initContainers; that of the capsule is spec.restartPolicy")
    if is_init and member.restart_policy not in (None, "Always"):
        raise _refuse(f"{place}.restartPolicy", "expected Always, which makes an init container a sidecar")
    if is_init and not is_sidecar(member) and (member.liveness_probe or member.readiness_probe or member.startup_probe):
        raise _refuse(place, "an init container that runs to its end has no probes; with restartPolicy: Always it may")


def _check_probes(place: str, member: Member) -> None:
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe: Probe | None = getattr(member, name.replace("Probe", "_probe"))
        if probe is not None and sum(way is not None for way in (probe.exec, probe.http_get, probe.tcp_socket)) != 1:
            raise _refuse(f"{place}.{name}", "expected exactly one of exec, httpGet and tcpSocket")


def _check_dependencies(place: str, member: Member, names: Mapping[str, str]) -> None:
    for index, dependency in enumerate(member.depends_on or ()):
        here = f"{place}.dependsOn[{index}]"
        target = names.get(dependency.container)
        if target is None or dependency.container == member.name:
            known = ", ".join(sorted(set(names) - {member.name or ""})) or "none"
            raise _refuse(f"{here}.container", f"there is no other member {dependency.container!r}; there are: {known}")
        if place.startswith("init") and not target.startswith("init"):
            raise _refuse(f"{here}.container", "an init container cannot wait for one that starts after it")


def _refuse_circles(members: Sequence[tuple[str, Member]], names: Mapping[str, str]) -> None:
    """Members that wait for each other never start."""
    waits = {place: [names[d.container] for d in member.depends_on or ()] for place, member in members}
    done: set[str] = set()
    for place in waits:
        _follow(place, waits, (), done)


def _follow(place: str, waits: Mapping[str, Sequence[str]], above: tuple[str, ...], done: set[str]) -> None:
    if place in above:
        circle = " -> ".join((*above[above.index(place) :], place))
        raise _refuse(f"{place}.dependsOn", f"members wait for each other: {circle}")
    if place in done:
        return
    for other in waits[place]:
        _follow(other, waits, (*above, place), done)
    done.add(place)


def unknown_keys(value: object, template: Template) -> list[str]:
    """Keys of `metadata` and `spec` that mean nothing, by their place: accepted, but worth a word."""
    found: list[str] = []
    if isinstance(value, Mapping):
        for name, part in (("metadata", template.metadata), ("spec", template.spec)):
            known = {field for field in part.__struct_encode_fields__}
            written = value.get(name)
            found += [f"{name}.{key}" for key in written if key not in known] if isinstance(written, Mapping) else []
    return found
