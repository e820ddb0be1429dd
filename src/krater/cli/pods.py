"""From a Kubernetes Pod manifest to a capsule template. Pure.

What a capsule cannot honour is left out and named by its place in the manifest: nothing is dropped in silence.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

_MEMORY = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}
_MIB, _GIB = 1 << 20, 1 << 30
_SAME = ("stdin", "tty", "imagePullPolicy", "image", "name")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_KEYS = {
    *("exec", "httpGet", "tcpSocket", "initialDelaySeconds", "periodSeconds", "timeoutSeconds"),
    *("failureThreshold", "successThreshold"),
}


class NotAPod(Exception):
    """The manifest is something else; the text says what."""


class _Notes:
    """The places of what was left out."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def add(self, place: str) -> None:
        """One more."""
        self.places.append(place)

    def rest(self, place: str, found: Mapping[str, Any], known: Sequence[str] | set[str]) -> None:
        """Whatever is there besides `known`."""
        self.places += [f"{place}.{key}" for key in found if key not in known]


def capsule_of(manifest: object) -> tuple[Json, list[str]]:
    """The template, and the places of what it cannot honour. NotAPod; ValueError for what makes no sense."""
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
        if name in spec:
            made[name] = spec[name]
    volumes = _volumes(spec, notes)
    secrets = [
        {"registry": secret.get("name")}
        for _, secret in _objects("spec.imagePullSecrets", spec.get("imagePullSecrets"))
    ]
    if secrets:
        made["imagePullSecrets"] = secrets
    for name in ("initContainers", "containers"):
        members = [
            _member(place, item, set(volumes), notes, is_init=name == "initContainers")
            for place, item in _objects(f"spec.{name}", spec.get(name))
        ]
        if members:
            made[name] = members
    mounted = {
        m["name"] for n in ("initContainers", "containers") for c in made.get(n, ()) for m in c.get("volumeMounts", ())
    }
    kept = [volume for name, volume in volumes.items() if name in mounted]
    if kept:
        made["volumes"] = kept
    known = {*made, "volumes", "imagePullSecrets", "initContainers", "containers"}
    notes.rest("spec", spec, known)
    return made


def _volumes(spec: Mapping[str, Any], notes: _Notes) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for place, volume in _objects("spec.volumes", spec.get("volumes")):
        name = str(volume.get("name"))
        if "emptyDir" in volume:
            empty = volume["emptyDir"] or {}
            notes.rest(f"{place}.emptyDir", empty, {"sizeLimit"})
            size = max(1, math.ceil(_bytes(f"{place}.emptyDir.sizeLimit", empty.get("sizeLimit", "1Gi")) / _GIB))
            found[name] = {"name": name, "cinder": {"size": size, "autoRemove": True}}
        elif "persistentVolumeClaim" in volume:
            claim = _object(f"{place}.persistentVolumeClaim", volume["persistentVolumeClaim"]).get("claimName")
            found[name] = {"name": name, "cinder": {"volumeID": claim, "autoRemove": False}}
        else:
            notes.rest(place, volume, {"name"})
    return found


def _member(place: str, found: Mapping[str, Any], volumes: set[str], notes: _Notes, *, is_init: bool) -> Json:
    made: Json = {name: found[name] for name in _SAME if name in found}
    for theirs, ours in (("command", "entrypoint"), ("args", "command"), ("workingDir", "workDir")):
        if found.get(theirs):
            made[ours] = found[theirs]
    parts: dict[str, Callable[[str, Any, _Notes], Any]] = {
        "env": _environment,
        "resources": _resources,
        "ports": _ports,
    }
    for name, convert in parts.items():
        if found.get(name):
            made[name] = convert(f"{place}.{name}", found[name], notes)
    mounts = list(_mounts(place, found.get("volumeMounts"), volumes, notes))
    if mounts:
        made["volumeMounts"] = mounts
    for name in _PROBES:
        if found.get(name):
            made[name] = _probe(f"{place}.{name}", found[name], made.get("ports", ()), notes)
    if is_init and "restartPolicy" in found:
        made["restartPolicy"] = found["restartPolicy"]
    notes.rest(place, found, {*made, "command", "args", "workingDir", "volumeMounts", "env", "resources", "ports"})
    return made


def _environment(place: str, found: Any, notes: _Notes) -> dict[str, str]:
    made = {}
    for here, item in _objects(place, found):
        if "valueFrom" in item:
            notes.add(f"{here}.valueFrom")
        else:
            made[str(item.get("name"))] = str(item.get("value", ""))
    return made


def _resources(place: str, found: Any, notes: _Notes) -> Json:
    made: Json = {}
    notes.rest(place, found, {"requests", "limits"})
    for kind in ("requests", "limits"):
        amounts = found.get(kind) or {}
        notes.rest(f"{place}.{kind}", amounts, {"cpu", "memory"})
        part: Json = {}
        if "cpu" in amounts:
            part["cpu"] = _cores(f"{place}.{kind}.cpu", amounts["cpu"])
        if "memory" in amounts:
            part["memory"] = max(1, math.ceil(_bytes(f"{place}.{kind}.memory", amounts["memory"]) / _MIB))
        if part:
            made[kind] = part
    return made


def _cores(place: str, value: Any) -> float:
    text = str(value)
    try:
        return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        raise ValueError(f"{place}: expected cores, such as 0.5 or 500m") from None


def _bytes(place: str, value: Any) -> float:
    text = str(value)
    digits = text.rstrip("kMGTi")
    try:
        return float(digits) * _MEMORY[text[len(digits) :]]
    except (KeyError, ValueError):
        raise ValueError(f"{place}: expected an amount, such as 128Mi or 1G") from None


def _ports(place: str, found: Any, notes: _Notes) -> list[Json]:
    made = []
    for here, item in _objects(place, found):
        notes.rest(here, item, {"containerPort", "protocol", "name"})
        made.append({key: item[key] for key in ("containerPort", "protocol", "name") if key in item})
    return made


def _mounts(place: str, found: Any, volumes: set[str], notes: _Notes) -> Iterator[Json]:
    for here, item in _objects(f"{place}.volumeMounts", found):
        if item.get("name") not in volumes:
            notes.add(here)  # of a volume that was left out itself
            continue
        notes.rest(here, item, {"name", "mountPath", "readOnly"})
        yield {key: item[key] for key in ("name", "mountPath", "readOnly") if key in item}


def _probe(place: str, found: Any, ports: Sequence[Json], notes: _Notes) -> Json:
    notes.rest(place, found, _PROBE_KEYS)
    made: Json = {key: value for key, value in found.items() if key in _PROBE_KEYS}
    named = {port["name"]: port["containerPort"] for port in ports if "name" in port}
    for way in ("httpGet", "tcpSocket"):
        if way in made:
            known = {"port", "path", "scheme"} if way == "httpGet" else {"port"}
            notes.rest(f"{place}.{way}", made[way], known)
            made[way] = {
                key: named.get(value, value) if isinstance(value, str) else value
                for key, value in made[way].items()
                if key in known
            }
    return made
