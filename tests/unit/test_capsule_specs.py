"""From templates to specifications: order, resources, restarts, probes, mounts."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from krater.api.capsule_mounts import asked_volumes, shared
from krater.api.capsule_specs import CapsuleAsk, read_capsule
from krater.api.templates import read_template, unknown_keys
from krater.cloud.interfaces import VolumeAsk
from krater.config import LimitSettings
from krater.model.member import Condition, HttpRequest, Probe, Role
from krater.model.volume import VolumeClaim
from krater.model.workload import PullPolicy, Requests, Resources, RestartName, RestartPolicy
from tests.support.templates import ID, LIMITS, Json, after, names, read, sized

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
    assert sorted(names(ask)) == [f"m{n}" for n in range(size)]
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
        ({"size": 2, "autoRemove": "true"}, 2, ""),
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


def test_the_example_of_the_page_for_users_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "capsules.md").read_text()
    template = read_template(page.partition("```yaml\n")[2].partition("```")[0])
    ask = read_capsule(ID, template, LimitSettings(), 1 << 18)
    assert names(ask) == ["fetch", "shipper", "db", "web"]
    assert [volume.content for volume in ask.volumes if volume.ask is None] == [b"verbose=1\n"]
    assert unknown_keys(yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0]), template) == []
