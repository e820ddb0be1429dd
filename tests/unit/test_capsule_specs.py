"""From templates to specifications: order, resources, restarts, probes, mounts, and every refusal with its place."""

import base64
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krater.api.capsule_mounts import asked_volumes, shared
from krater.api.capsule_specs import CapsuleAsk, read_capsule
from krater.api.templates import read_template
from krater.cloud.interfaces import VolumeAsk
from krater.config import LimitSettings
from krater.errors import Invalid
from krater.model.member import Condition, HttpRequest, Probe, Role
from krater.model.volume import VolumeClaim
from krater.model.workload import PullPolicy, Requests, Resources, RestartName, RestartPolicy

ID = "0123456789abcdef"
LIMITS = LimitSettings(maximum_cpus=4, maximum_memory=2048, default_memory=512, default_cpu=1.0)
Json = dict[str, Any]


def read(*containers: Json, limits: LimitSettings = LIMITS, top: Json | None = None, **spec: Any) -> CapsuleAsk:
    members = [{"image": "busybox", **one} for one in containers or ({},)]
    if "initContainers" in spec:
        spec["initContainers"] = [{"image": "busybox", **one} for one in spec["initContainers"]]
    whole = {"kind": "capsule", "metadata": {}, "spec": {"containers": members, **spec}, **(top or {})}
    return read_capsule(ID, read_template(whole), limits, 1000)


def names(ask: CapsuleAsk) -> list[str]:
    return [member.spec.name for member in ask.members]


def after(*others: str, condition: str = "started") -> list[Json]:
    return [{"container": other, "condition": condition} for other in others]


# Order and names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waits", "order"),
    [
        ({"aa": [], "bb": [], "cc": []}, ["aa", "bb", "cc"]),
        ({"aa": ["cc"], "bb": [], "cc": []}, ["bb", "cc", "aa"]),
        ({"aa": ["bb"], "bb": ["cc"], "cc": []}, ["cc", "bb", "aa"]),
        ({"aa": ["cc"], "bb": ["aa"], "cc": [], "dd": []}, ["cc", "aa", "bb", "dd"]),
    ],
)
def test_ordinary_members_stand_behind_those_they_wait_for(waits: dict[str, list[str]], order: list[str]) -> None:
    ask = read(*({"name": name, "dependsOn": after(*others)} for name, others in waits.items()))
    assert names(ask) == order


@given(st.data())
def test_whatever_members_wait_for_starts_before_them(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 8))
    rank = data.draw(st.permutations(range(size)))
    members = [
        {
            "name": f"m{n}",
            "dependsOn": after(
                *{f"m{o}" for o in data.draw(st.sets(st.sampled_from(range(size)))) if rank[o] < rank[n]}
            ),
        }
        for n in range(size)
    ]
    ask = read(*members)
    assert sorted(names(ask)) == sorted(one["name"] for one in members)
    place = {one.id: n for n, one in enumerate(ask.spec.containers)}
    assert all(place[d.container] < place[one.id] for one in ask.spec.containers for d in one.depends_on)


def test_init_containers_and_sidecars_come_first_as_they_stand() -> None:
    inits = [{"name": "log", "restartPolicy": "Always"}, {"name": "fetch", "dependsOn": after("log")}]
    ask = read({"name": "app", "dependsOn": after("fetch", condition="completed")}, initContainers=inits)
    assert [(one.name, one.role) for one in ask.spec.containers] == [
        ("log", Role.SIDECAR),
        ("fetch", Role.INIT),
        ("app", Role.MAIN),
    ]
    log, fetch, app = ask.spec.containers
    assert [(d.container, d.condition) for d in app.depends_on] == [(fetch.id, Condition.COMPLETED)]
    assert [(d.container, d.condition) for d in fetch.depends_on] == [(log.id, Condition.STARTED)]
    assert [one.place for one in ask.members] == [
        "template.spec.initContainers[0]",
        "template.spec.initContainers[1]",
        "template.spec.containers[0]",
    ]


def test_members_without_a_name_get_one_of_their_own() -> None:
    found = names(read(*[{}] * 32, initContainers=[{}] * 32))
    assert len(set(found)) == 64
    assert all(name.rpartition("-")[2].isdigit() for name in found)


# Restarts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "main", "init"),
    [
        (None, RestartPolicy(RestartName.ALWAYS), RestartPolicy(RestartName.ON_FAILURE, 10)),
        ("Always", RestartPolicy(RestartName.ALWAYS), RestartPolicy(RestartName.ON_FAILURE, 10)),
        ("OnFailure", RestartPolicy(RestartName.ON_FAILURE), RestartPolicy(RestartName.ON_FAILURE)),
        ("Never", RestartPolicy(RestartName.NO), RestartPolicy(RestartName.NO)),
    ],
)
@pytest.mark.parametrize("where", ["spec", "top"])
def test_each_kind_of_member_restarts_in_its_way(
    policy: str | None, main: RestartPolicy, init: RestartPolicy, where: str
) -> None:
    given = {} if policy is None else {"restartPolicy": policy}
    inits = [{}, {"restartPolicy": "Always"}, {}]
    ask = read({}, {}, initContainers=inits, **(given if where == "spec" else {"top": given}))
    sidecar = RestartPolicy(RestartName.ALWAYS)
    assert [one.restart for one in ask.spec.containers] == [init, sidecar, init, main, main]
    assert ask.spec.restart == main


# Resources ------------------------------------------------------------------------------------------------------------


def sized(cpu: Any = None, memory: Any = None, *, limits: tuple[Any, Any] | None = None) -> Json:
    """The resources of a member."""
    parts = {"requests": (cpu, memory), "limits": limits or (None, None)}
    return {"resources": {key: {"cpu": c, "memory": m} for key, (c, m) in parts.items()}}


@pytest.mark.parametrize(
    ("given", "requests", "counted", "limit"),
    [
        ({}, Requests(), Resources(1.0, 512), Resources(0.0, 0)),
        (sized(0.5, 64), Requests(0.5, 64), Resources(0.5, 64), Resources(0.0, 0)),
        (sized("0.5", "64"), Requests(0.5, 64), Resources(0.5, 64), Resources(0.0, 0)),
        (sized(0.5, 64, limits=(2, 128)), Requests(0.5, 64), Resources(2.0, 128), Resources(2.0, 128)),
        (sized(limits=("2", None)), Requests(2.0), Resources(2.0, 512), Resources(2.0, 0)),
        ({"resources": {"requests": None, "limits": None}}, Requests(), Resources(1.0, 512), Resources(0.0, 0)),
        (sized(None, 64), Requests(None, 64), Resources(1.0, 64), Resources(0.0, 0)),
    ],
)
def test_what_a_member_counts_with(given: Json, requests: Requests, counted: Resources, limit: Resources) -> None:
    [one] = read(given).spec.containers
    assert (one.requests, one.resources, one.limits) == (requests, counted, limit)


def test_the_whole_is_the_most_that_runs_at_once() -> None:
    mains = [sized(1, 100), sized(0.1, 200)]
    assert read(*mains).spec.whole == Resources(1.1, 300)
    inits = [sized(0.5, 600), {**sized(0.2, 50), "restartPolicy": "Always"}, sized(2, 100)]
    assert read(*mains, initContainers=inits).spec.whole == Resources(2.2, 600), "an init container, with the sidecar"
    assert read(sized(3, 900), *mains, initContainers=inits).spec.whole == Resources(4.3, 1250), "mains and sidecar"


def test_disk_is_needed_by_all_of_them() -> None:
    ask = read({}, initContainers=[{}, {}], limits=replace(LIMITS, default_disk=5))
    assert ask.spec.resources.disk == 15
    assert [one.limit.disk for one in ask.spec.containers] == [5, 5, 5]


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        (sized(2, 256), Resources(2.0, 256)),
        (sized(1, 256, limits=(2, 300)), Resources(2.0, 300)),
        (sized(limits=(None, 300)), Resources(3.0, 300)),
        (sized(cpu=12), Resources(12.0, 1536)),
    ],
)
def test_the_whole_may_be_given(given: Json, whole: Resources) -> None:
    ask = read({}, {}, {}, **given)
    assert ask.spec.whole == whole
    assert all(one.resources.memory <= whole.memory for one in ask.spec.containers), "who says nothing fits"


# The rest of it -------------------------------------------------------------------------------------------------------


def test_a_full_member() -> None:
    [one] = read(
        {
            "name": "app",
            "command": ["sh", "-c"],
            "args": ["exit", 5, True],
            "entrypoint": ["/bin/tini"],
            "env": {"A": "1", "B": ""},
            "workDir": "/srv",
            "imagePullPolicy": "IfNotPresent",
            "stdin": "true",
            "tty": 1,
            "registry": "mine",
            "livenessProbe": {"exec": {"command": ["true", 1]}, "periodSeconds": "5"},
            "readinessProbe": {"httpGet": {"port": "80", "path": "/ok?x=1", "scheme": "HTTPS"}, "timeoutSeconds": 3},
            "startupProbe": {"tcpSocket": {"port": 5432}, "initialDelaySeconds": 2, "failureThreshold": 30},
        }
    ).members
    spec = one.spec
    assert (spec.command, spec.entrypoint) == (("sh", "-c", "exit", "5", "True"), ("/bin/tini",))
    assert (spec.environment, spec.workdir) == ({"A": "1", "B": ""}, "/srv")
    assert (spec.pull_policy, spec.interactive, spec.tty) == (PullPolicy.IF_NOT_PRESENT, True, True)
    assert one.registry == "mine"
    assert spec.liveness == Probe(command=("true", "1"), interval=5)
    assert spec.readiness == Probe(http=HttpRequest(80, "/ok?x=1", "https"), timeout=3)
    assert spec.startup == Probe(port=5432, delay=2, failures=30)


def test_the_least_member_leaves_all_to_its_image() -> None:
    [one] = read({"command": [], "args": None, "workDir": "", "imagePullPolicy": None}).spec.containers
    assert (one.command, one.entrypoint, one.workdir, one.pull_policy, one.registry) == (None,) * 5


def test_what_the_capsule_itself_says() -> None:
    metadata = {"name": "web", "labels": {"a": 1, "b": None}, "annotations": {"c": "d"}, "more": 1}
    ask = read(
        {"ports": [{"containerPort": 80}, {"containerPort": "53", "protocol": "UDP", "hostPort": 5, "name": "dns"}]},
        {"ports": [{"containerPort": 80, "protocol": "tcp"}]},
        top={"metadata": metadata, "availabilityZone": "attic", "capsuleVersion": "beta"},
        hostname="front",
        terminationGracePeriodSeconds=90,
        autoHeal="true",
        securityGroups=["one", "two"],
        imagePullSecrets=[{"registry": "mine"}],
        unknown={"ignored": True},
    )
    spec = ask.spec
    assert (ask.name, spec.hostname, spec.grace, spec.auto_heal) == ("web", "front", 90.0, True)
    assert (spec.labels, spec.annotations, spec.availability_zone) == ({"a": "1", "b": ""}, {"c": "d"}, "attic")
    assert spec.exposed == ((80, "tcp"), (53, "udp"))
    assert (ask.groups, ask.registries) == (("one", "two"), (("template.spec.imagePullSecrets[0].registry", "mine"),))
    assert read().spec.hostname == ID[:12]
    assert read(limits=replace(LIMITS, maximum_grace=3)).spec.grace == 3


# Volumes --------------------------------------------------------------------------------------------------------------


def mounted(*volumes: Json, top: Json | None = None) -> CapsuleAsk:
    mounts = [{"name": one["name"], "mountPath": f"/m{n}"} for n, one in enumerate(volumes)]
    return read({"volumeMounts": mounts}, volumes=list(volumes), top=top)


@pytest.mark.parametrize(
    ("cinder", "size", "name"),
    [
        ({"size": 2}, 2, "capsule-web-data"),
        ({"size": "2"}, 2, "capsule-web-data"),
        ({"size": 2.0, "autoRemove": "false"}, 2, "capsule-web-data"),
        ({"size": 2, "autoRemove": True}, 2, ""),
        ({"size": 2, "autoRemove": "true", "more": 1}, 2, ""),
    ],
)
def test_new_volumes(cinder: Json, size: int, name: str) -> None:
    ask = mounted({"name": "data", "cinder": cinder}, top={"metadata": {"name": "web"}})
    [volume] = asked_volumes(ask.volumes)
    assert volume == VolumeAsk(size=size, name=name, place="template.spec.volumes[0].cinder.size")


def test_names_of_new_volumes_are_bounded_and_made_of_the_id_without_a_name() -> None:
    [volume] = asked_volumes(mounted({"name": "data", "cinder": {"size": 1}}).volumes)
    assert volume.name == "capsule-01234567-data"
    long = mounted({"name": "v" * 255, "cinder": {"size": 1}}, top={"metadata": {"name": "w" * 255}})
    assert len(asked_volumes(long.volumes)[0].name) == 255


def test_volumes_are_shared_and_each_mount_says_how() -> None:
    file = {"name": "conf", "file": {"content": base64.b64encode(b"words").decode()}}
    volumes = [{"name": "data", "cinder": {"volumeID": "v1"}}, file, {"name": "same", "cinder": {"volumeID": "one"}}]
    ask = read(
        {"volumeMounts": [{"name": "data", "mountPath": "/data/"}, {"name": "conf", "mountPath": "/etc//conf"}]},
        {"volumeMounts": [{"name": name, "mountPath": f"/{name}", "readOnly": True} for name in ("data", "same")]},
        volumes=volumes,
    )
    assert asked_volumes(ask.volumes) == [
        VolumeAsk("v1", place="template.spec.volumes[0].cinder.volumeID"),
        VolumeAsk("one", place="template.spec.volumes[2].cinder.volumeID"),
    ]
    what = shared(ask.volumes, [VolumeClaim("id-1"), VolumeClaim("id-1")])
    assert what.claims == (VolumeClaim("id-1"),), "by name and by id it is one"
    [(file_id, content)] = what.files.items()
    assert content == b"words"
    first, second = (what.of(one.mounts) for one in ask.members)
    assert [(m.destination, m.volume, m.file, m.read_only) for m in first] == [
        ("/data", "id-1", "", False),
        ("/etc/conf", "", file_id, True),
    ]
    assert [(m.destination, m.volume, m.read_only) for m in second] == [
        ("/data", "id-1", True),
        ("/same", "id-1", True),
    ]
    assert set(what.names) == {"id-1", file_id}
    assert "words" not in repr(what) + repr(ask)


# Refusals -------------------------------------------------------------------------------------------------------------

FILE = {"name": "conf", "file": {"content": "aGk="}}
DATA = {"name": "data", "cinder": {"size": 1}}
PLACE = "template.spec.containers[0]"


def at(*paths: str, volume: str = "data") -> list[Json]:
    return [{"name": volume, "mountPath": path} for path in paths]


REFUSED: list[tuple[Json, list[Json], str]] = [
    # order
    (
        {"initContainers": [{"name": "aa", "dependsOn": after("bb")}, {"name": "bb"}]},
        [],
        "template.spec.initContainers[0].dependsOn[0].container: 'bb' starts after it",
    ),
    (
        {},
        [{"name": "aa", "dependsOn": after("bb", condition="healthy")}, {"name": "bb"}],
        f"{PLACE}.dependsOn[0].condition: expected one of started, completed: 'bb' has no probe",
    ),
    (
        {},
        [{"name": "aa", "dependsOn": after("bb", condition="completed")}, {"name": "bb"}],
        f"{PLACE}.dependsOn[0].condition: expected one of started, healthy: 'bb' is always started again",
    ),
    (
        {"restartPolicy": "Never", "initContainers": [{"name": "log", "restartPolicy": "Always"}]},
        [{"dependsOn": after("log", condition="completed")}],
        f"{PLACE}.dependsOn[0].condition: expected one of started, healthy: 'log' is always",
    ),
    # resources
    ({}, [sized(2, limits=(1, None))], f"{PLACE}.resources.limits.cpu: 1 is less than the 2 of requests.cpu"),
    ({}, [sized(None, 64, limits=(None, 32))], f"{PLACE}.resources.limits.memory: 32 is less than the 64"),
    ({}, [sized(5)], f"{PLACE}.resources.requests.cpu: 5 is out of range; allowed are 0.1 to 4 cores"),
    ({}, [sized("0.01")], f"{PLACE}.resources.requests.cpu: 0.01 is out of range"),
    ({}, [sized(math.inf)], f"{PLACE}.resources.requests.cpu: inf is out of range"),
    ({}, [sized(math.nan)], f"{PLACE}.resources.requests.cpu: nan is out of range"),
    ({}, [sized(None, 3)], f"{PLACE}.resources.requests.memory: 3 is out of range; allowed are 4 to 2048 MiB"),
    ({}, [sized(limits=(None, 4096))], f"{PLACE}.resources.limits.memory: 4096 is out of range"),
    (sized(9), [{}, {}], "template.spec.resources.requests.cpu: 9 is out of range; allowed are 0.1 to 8 cores"),
    (sized(limits=(1, 2)), [{}], "template.spec.resources.limits.memory: 2 is out of range; allowed are 4 to 2048"),
    (sized(2, limits=(1, None)), [{}], "template.spec.resources.limits.cpu: 1 is less than the 2"),
    (sized(1), [sized(2)], f"{PLACE}.resources: 2 cores are more than the whole capsule has, 1 (template.spec.res"),
    (sized(None, 64), [sized(limits=(None, 65))], f"{PLACE}.resources: 65 MiB are more than the whole capsule has"),
    # mounts and volumes
    ({"volumes": [DATA]}, [{"volumeMounts": at("/proc/self")}], f"{PLACE}.volumeMounts[0].mountPath: nothing can be"),
    ({"volumes": [DATA]}, [{"volumeMounts": at("/sys")}], "nothing can be mounted at or below /proc, /sys, /dev"),
    ({"volumes": [DATA]}, [{"volumeMounts": at("//")}], f"{PLACE}.volumeMounts[0].mountPath: nothing can be mounted"),
    ({"volumes": [DATA]}, [{"volumeMounts": at("/a/./b", "/a//b")}], "mountPath: something else is mounted at /a/b"),
    (
        {"volumes": [DATA, FILE]},
        [{"volumeMounts": [*at("/a", volume="conf"), *at("/a/b")]}],
        f"{PLACE}.volumeMounts[1].mountPath: /a/b is below /a, which is a file",
    ),
    (
        {"volumes": [DATA, FILE]},
        [{"volumeMounts": [*at("/a/b"), *at("/a", volume="conf")]}],
        f"{PLACE}.volumeMounts[1].mountPath: /a/b is below /a, which is a file",
    ),
    *(
        (
            {"volumes": [{"name": "data", "cinder": {"size": size}}]},
            [{"volumeMounts": at("/a")}],
            "template.spec.volumes[0].cinder.size: expected whole GiB, at least 1",
        )
        for size in (0, "0", 1.5, -1.0, math.inf, math.nan, 1e300)
    ),
    (
        {"volumes": [{"name": "data", "file": {"content": base64.b64encode(b"x" * 1001).decode()}}]},
        [{"volumeMounts": at("/a")}],
        "template.spec.volumes[0].file.content: the file is too large; allowed are 1000 bytes",
    ),
    # ports and probes
    ({}, [{"ports": [{"containerPort": 0}]}], f"{PLACE}.ports[0].containerPort: 0 is out of range; allowed are 1 to"),
    ({}, [{"ports": [{"containerPort": "65536"}]}], f"{PLACE}.ports[0].containerPort: 65536 is out of range"),
    ({}, [{"livenessProbe": {"tcpSocket": {"port": 0}}}], f"{PLACE}.livenessProbe.tcpSocket.port: 0 is out of range"),
    ({}, [{"startupProbe": {"httpGet": {"port": "99999"}}}], f"{PLACE}.startupProbe.httpGet.port: 99999 is out"),
    (
        {},
        [{"readinessProbe": {"httpGet": {"port": 1, "path": "/ HTTP/1.1\r\nX: y"}}}],
        f"{PLACE}.readinessProbe.httpGet.path: expected printable ASCII",
    ),
    (
        {},
        [{"readinessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 0}}],
        f"{PLACE}.readinessProbe.periodSeconds: 0 is out of range; allowed are 1 to 86400 seconds",
    ),
    (
        {},
        [{"readinessProbe": {"tcpSocket": {"port": 1}, "timeoutSeconds": "99999"}}],
        f"{PLACE}.readinessProbe.timeoutSeconds: 99999 is out of range",
    ),
    # the rest
    ({}, [{"image": "UPPER/Case"}], f"{PLACE}.image"),
    ({}, [{"env": {"A=B": "c"}}], f"{PLACE}.env: a name must not contain '='"),
    (
        {"terminationGracePeriodSeconds": 86401},
        [],
        "template.spec.terminationGracePeriodSeconds: 86401 is out of range; allowed are 0 to 86400 seconds",
    ),
]


@pytest.mark.parametrize(("spec", "containers", "words"), REFUSED, ids=[words[:90] for *_, words in REFUSED])
def test_refusals_name_their_place_and_what_is_allowed(spec: Json, containers: list[Json], words: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(*containers, **spec)
    assert words in refused.value.message
    assert refused.value.message.startswith("template.")
    assert len(refused.value.message) < 400
