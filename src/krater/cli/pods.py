"""From a Kubernetes Pod manifest to a capsule template. Pure.

What a capsule cannot honour is left out and named by its place in the manifest: nothing is dropped in silence.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from krater.config import LimitSettings

Json = dict[str, Any]
Amount = TypeVar("Amount", int, float)

_UNITS = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 0.001,
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
    "Pi": 1 << 50,
    "Ei": 1 << 60,
}
_MIB, _GIB = 1 << 20, 1 << 30
_LEAST = LimitSettings()  # where an operator set other limits, the server says so
_AMOUNT = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)")
_REFERENCE = re.compile(r"\$\$|\$\(([^()]+)\)")
_GRACE = 30  # what Kubernetes gives who asks for nothing
_SAME = ("stdin", "tty", "imagePullPolicy", "image", "name")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_KEYS = {
    *("exec", "httpGet", "tcpSocket", "initialDelaySeconds", "periodSeconds", "timeoutSeconds"),
    *("failureThreshold", "successThreshold"),
}
_WAYS = {"exec": {"command"}, "httpGet": {"port", "path", "scheme"}, "tcpSocket": {"port"}}

# Switches that change nothing as long as they are off: a capsule has none of these things.
_OFF = {
    *("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "automountServiceAccountToken"),
    *("enableServiceLinks", "setHostnameAsFQDN", "stdinOnce"),
}


class NotAPod(Exception):
    """The manifest is something else; the text says what."""


class _Notes:
    """What was left out, by its place, and what was changed."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def add(self, place: str) -> None:
        """One more."""
        self.places.append(place)

    def rest(self, place: str, found: Mapping[str, Any], known: Sequence[str] | set[str]) -> None:
        """Whatever is there besides `known`, and says something."""
        for key, value in found.items():
            says_nothing = value is None or value in ({}, [], "") or (value is False and key in _OFF)
            if key not in known and not says_nothing:
                self.places.append(f"{place}.{key}")


def told(note: str) -> str:
    """What became of something that a capsule cannot honour, from its note."""
    return note if ": " in note else f"{note}: left out, a capsule has no such thing"


def capsule_of(manifest: object) -> tuple[Json, list[str]]:
    """The template, and notes of what it cannot honour: the places of what was left out, and what was changed.

    NotAPod; ValueError for what makes no sense.
    """
    if not isinstance(manifest, Mapping) or manifest.get("kind") != "Pod":
        kind = manifest.get("kind") if isinstance(manifest, Mapping) else None
        raise NotAPod(f"expected a manifest of kind Pod, found {kind or 'none'}")
    notes = _Notes()
    notes.rest("pod", manifest, {"apiVersion", "kind", "metadata", "spec", "status"})
    metadata, spec = _object("metadata", manifest.get("metadata") or {}), _object("spec", manifest.get("spec"))
    notes.rest("metadata", metadata, {"name", "labels", "annotations"})
    found: Json = {name: metadata[name] for name in ("name", "labels", "annotations") if metadata.get(name)}
    return {"kind": "capsule", "metadata": found, "spec": _spec(spec, notes)}, notes.places


def _object(place: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{place}: expected an object")
    return value


def _objects(place: str, value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The items of a list, each with its place."""
    if value is None:
        return
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{place}: expected a list")
    for index, item in enumerate(value):
        yield f"{place}[{index}]", _object(f"{place}[{index}]", item)


def _spec(spec: Mapping[str, Any], notes: _Notes) -> Json:
    made: Json = {}
    for name in ("restartPolicy", "hostname", "terminationGracePeriodSeconds"):
        if spec.get(name) is not None:
            made[name] = spec[name]
    made.setdefault("terminationGracePeriodSeconds", _GRACE)
    volumes = _volumes(spec, notes)
    secrets = [
        {"registry": secret.get("name")}
        for _, secret in _objects("spec.imagePullSecrets", spec.get("imagePullSecrets"))
    ]
    if secrets:
        made["imagePullSecrets"] = secrets
    for name in ("initContainers", "containers"):
        members = [
            _member(place, item, volumes, notes, is_init=name == "initContainers")
            for place, item in _objects(f"spec.{name}", spec.get(name))
        ]
        if members:
            made[name] = members
    mounted = {
        m["name"] for n in ("initContainers", "containers") for c in made.get(n, ()) for m in c.get("volumeMounts", ())
    }
    for place, volume in _objects("spec.volumes", spec.get("volumes")):
        if str(volume.get("name")) in volumes.made.keys() - mounted:
            notes.add(place)  # a capsule has none that nobody mounts
    kept = [volume for name, volume in volumes.made.items() if name in mounted]
    if kept:
        made["volumes"] = kept
    known = {*made, "volumes", "imagePullSecrets", "initContainers", "containers"}
    notes.rest("spec", spec, known)
    return made


@dataclass
class _Volumes:
    """The volumes that a capsule can have, by name, and which of them are for reading."""

    made: dict[str, Json]
    read_only: set[str]


def _volumes(spec: Mapping[str, Any], notes: _Notes) -> _Volumes:
    """What can be had of them. A claim is a volume that is there, and has the claim's name."""
    found: dict[str, Json] = {}
    read_only: set[str] = set()
    for place, volume in _objects("spec.volumes", spec.get("volumes")):
        name = str(volume.get("name"))
        if "emptyDir" in volume:
            here = f"{place}.emptyDir"
            empty = _object(here, volume["emptyDir"] or {})
            notes.rest(here, empty, {"sizeLimit"})
            found[name] = _new_volume(name, f"{here}.sizeLimit", empty.get("sizeLimit") or "1Gi")
        elif "persistentVolumeClaim" in volume:
            here = f"{place}.persistentVolumeClaim"
            claim = _object(here, volume["persistentVolumeClaim"])
            notes.rest(here, claim, {"claimName", "readOnly"})
            read_only |= {name} if claim.get("readOnly") else set()
            found[name] = {"name": name, "cinder": {"volumeID": claim.get("claimName"), "autoRemove": False}}
        elif "ephemeral" in volume:
            here = f"{place}.ephemeral.volumeClaimTemplate.spec"
            asked = _dig(volume["ephemeral"], "volumeClaimTemplate", "spec", "resources", "requests", "storage")
            found[name] = _new_volume(name, f"{here}.resources.requests.storage", asked or "1Gi")
            claim = _object(here, _dig(volume["ephemeral"], "volumeClaimTemplate", "spec") or {})
            notes.rest(here, claim, {"resources"})
        else:
            notes.rest(place, volume, {"name"})
    return _Volumes(found, read_only)


def _new_volume(name: str, place: str, size: Any) -> Json:
    """One that comes and goes with the capsule, of whole GiB."""
    return {"name": name, "cinder": {"size": max(1, math.ceil(_bytes(place, size) / _GIB)), "autoRemove": True}}


def _dig(value: Any, *keys: str) -> Any:
    """What is below these keys; None when one is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _member(place: str, found: Mapping[str, Any], volumes: _Volumes, notes: _Notes, *, is_init: bool) -> Json:
    made: Json = {name: found[name] for name in _SAME if name in found}
    environment = _environment(f"{place}.env", found.get("env"), notes)
    if environment:
        made["env"] = environment
    for theirs, ours in (("command", "entrypoint"), ("args", "command"), ("workingDir", "workDir")):
        if found.get(theirs):
            made[ours] = _expanded(found[theirs], environment) if theirs != "workingDir" else found[theirs]
    parts: dict[str, Callable[[str, Any, _Notes], Any]] = {"resources": _resources, "ports": _ports}
    for name, convert in parts.items():
        if found.get(name):
            made[name] = convert(f"{place}.{name}", found[name], notes)
    mounts = list(_mounts(place, found.get("volumeMounts"), volumes, notes))
    if mounts:
        made["volumeMounts"] = mounts
    named = {
        port["name"]: port.get("containerPort")
        for port in made.get("ports", ())
        if isinstance(port.get("name"), str)  # what is none, the server refuses
    }
    for name in _PROBES:
        probe = _probe(f"{place}.{name}", found[name], named, notes) if found.get(name) else None
        if probe is not None:
            made[name] = probe
    known = {*_SAME, *_PROBES, "command", "args", "workingDir", "volumeMounts", "env", "resources", "ports"}
    if is_init and found.get("restartPolicy") == "Always":
        made["restartPolicy"] = "Always"
        known.add("restartPolicy")
    notes.rest(place, found, known)
    return made


def _environment(place: str, found: Any, notes: _Notes) -> dict[str, str]:
    made: dict[str, str] = {}
    for here, item in _objects(place, found):
        if not item.get("name"):
            raise ValueError(f"{here}.name: expected the name of a variable")
        if "valueFrom" in item:
            notes.add(f"{here}.valueFrom")
            continue
        value = item.get("value")
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        made[str(item["name"])] = _resolved(text, made)
    return made


def _expanded(words: Any, environment: Mapping[str, str]) -> Any:
    """The words of a command with the variables in them, as Kubernetes does it; what is no list, the server refuses."""
    if not isinstance(words, list):
        return words
    return [_resolved(word, environment) if isinstance(word, str) else word for word in words]


def _resolved(text: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value and `$$` one `$`; a name that is not known stays as it is."""
    return _REFERENCE.sub(lambda m: "$" if m[1] is None else environment.get(m[1], m[0]), text)


def _resources(place: str, found: Any, notes: _Notes) -> Json:
    made: Json = {}
    notes.rest(place, _object(place, found), {"requests", "limits"})
    for kind in ("requests", "limits"):
        amounts = _object(f"{place}.{kind}", found.get(kind) or {})
        notes.rest(f"{place}.{kind}", amounts, {"cpu", "memory"})
        part: Json = {}
        if "cpu" in amounts:
            cpu = _amount(amounts["cpu"], f"{place}.{kind}.cpu: expected cores, such as 0.5 or 500m")
            if cpu:  # none at all is nothing asked
                part["cpu"] = _at_least(_LEAST.minimum_cpus, cpu, f"{place}.{kind}.cpu", "cores", notes)
        if "memory" in amounts:
            memory = math.ceil(_bytes(f"{place}.{kind}.memory", amounts["memory"]) / _MIB)
            if memory:
                part["memory"] = _at_least(_LEAST.minimum_memory, memory, f"{place}.{kind}.memory", "MiB", notes)
        if part:
            made[kind] = part
    return made


def _at_least(least: Amount, asked: Amount, place: str, unit: str, notes: _Notes) -> Amount:
    """Kubernetes lets Pods ask for less than any capsule may."""
    if asked >= least:
        return asked
    notes.add(f"{place}: {asked:g} {unit} are less than a capsule may ask for, made {least:g}")
    return least


def _bytes(place: str, value: Any) -> float:
    return _amount(value, f"{place}: expected an amount, such as 128Mi or 1G")


def _amount(value: Any, complaint: str) -> float:
    """A quantity of Kubernetes: a number and a unit."""
    found = _AMOUNT.fullmatch(str(value))
    try:
        amount = float(found[1]) * _UNITS[found[2]] if found else math.nan
    except (KeyError, ValueError):
        amount = math.nan
    if not amount < 1e30:  # neither endless nor no number at all
        raise ValueError(complaint)
    return amount


def _ports(place: str, found: Any, notes: _Notes) -> list[Json]:
    made = []
    for here, item in _objects(place, found):
        if str(item.get("protocol", "TCP")).upper() not in ("TCP", "UDP"):
            notes.add(here)  # groups of capsules know no others
            continue
        notes.rest(here, item, {"containerPort", "protocol", "name"})
        made.append({key: item[key] for key in ("containerPort", "protocol", "name") if key in item})
    return made


def _mounts(place: str, found: Any, volumes: _Volumes, notes: _Notes) -> Iterator[Json]:
    for here, item in _objects(f"{place}.volumeMounts", found):
        name = str(item.get("name"))
        if name not in volumes.made:
            notes.add(here)  # of a volume that was left out itself
            continue
        notes.rest(here, item, {"name", "mountPath", "readOnly"})
        mount = {"name": name, **{key: item[key] for key in ("mountPath", "readOnly") if key in item}}
        yield {**mount, "readOnly": True} if name in volumes.read_only else mount


def _probe(place: str, found: Any, named: Mapping[str, Any], notes: _Notes) -> Json | None:
    """The probe, its ports as numbers; None when it asks in a way that a capsule has not."""
    _object(place, found)
    if not any(way in found for way in _WAYS):
        notes.add(place)
        return None
    notes.rest(place, found, _PROBE_KEYS)
    made: Json = {key: value for key, value in found.items() if key in _PROBE_KEYS and value is not None}
    for way, known in _WAYS.items():
        if way in made:
            asked = _object(f"{place}.{way}", made[way])
            notes.rest(f"{place}.{way}", asked, known)
            made[way] = {key: asked[key] for key in asked if key in known}
            port, path = asked.get("port"), asked.get("path")
            if isinstance(port, str):
                made[way]["port"] = named.get(port, port)
            if isinstance(path, str) and not path.startswith("/"):
                made[way]["path"] = f"/{path}"
    return made
