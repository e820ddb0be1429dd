"""POST /v1/capsules: what templates become, what is looked up for them, and that a refused one leaves nothing."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from krater.config import RegistrySettings, Settings
from krater.model.registry import Registry
from krater.model.security import Direction
from krater.model.volume import Volume
from krater.model.workload import PullPolicy
from krater.store.interfaces import EVERYBODY, OwnImage
from tests.support.api import NODE, World, open_world
from tests.support.capsules import URL, leftovers, make, post, shown, stored
from tests.support.templates import member, template

pytestmark = pytest.mark.thorough

Json = dict[str, Any]
B64 = base64.b64encode(b"words").decode()


def on(*volumes: str, path: str = "/data", **more: Any) -> list[Json]:
    """Mounts of volumes, each in a place of its own."""
    return [{"name": name, "mountPath": f"{path}/{name}", **more} for name in volumes]


async def add_volume(world: World, name: str, project: str = "p-kitchen", **more: Any) -> None:
    volume = Volume(f"id-of-{name}", name, project, 3, world.clock(), **more)
    await world.store.write(lambda tx: tx.volumes.add(volume))


async def add_registry(world: World, name: str, domain: str, project: str = "p-kitchen") -> None:
    registry = Registry(f"id-of-{name}", name, domain, None, None, project, "u-ann", world.clock())
    await world.store.write(lambda tx: tx.registries.add(registry))


# Spellings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spell", [lambda value: value, json.dumps, yaml.safe_dump], ids=["object", "json", "yaml"])
async def test_a_template_is_an_object_or_a_text(world: World, spell: Any) -> None:
    label = {"grin": "\U0001f600"}
    answer = await post(world, spell(template(member("app", command=["sleep"], args=[1]), metadata={"labels": label})))
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["labels"], made["containers"][0]["command"]) == (label, ["sleep", "1"])


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"json": {}}, 400, "'template' is a required property"),
        ({"json": []}, 400, "not a JSON object"),
        ({"json": {"template": template(), "more": 1}}, 400, "there is no field 'more'"),
        ({"json": {"template": None}}, 400, "template: expected an object, or a text"),
        ({"json": {"template": 7}}, 400, "template: expected an object, or a text"),
        ({"json": {"template": []}}, 400, "template: expected an object, or a text"),
        ({"json": {"template": "{"}}, 400, "template: is neither JSON nor YAML"),
        ({"json": {"template": "a: &x [1]\nb: *x"}}, 400, "aliases are not allowed"),
        ({"json": {"template": 'kind: "\\0"'}}, 400, "allowed nowhere"),
        ({"json": {"template": template(metadata={"labels": {"a": "\0"}})}}, 400, "NUL"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "not valid JSON"),
        ({"content": b"{}", "headers": {"Content-Type": "text/yaml"}}, 415, "application/json"),
        ({"content": b"{}"}, 415, "application/json"),
        ({"json": {"template": template()}, "params": {"run": "true"}}, 400, "takes no query parameters, 'run' is"),
    ],
)
async def test_bodies_that_are_none(world: World, more: Json, status: int, words: str) -> None:
    answer = await world.call("POST", URL, **more)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["errors"][0]["title"]
    assert await leftovers(world) == []


# Volumes --------------------------------------------------------------------------------------------------------------


async def test_a_volume_is_shared_and_reserved_once(world: World) -> None:
    await add_volume(world, "data")
    crew = [member("app", volumeMounts=on("vol")), member("log", volumeMounts=on("vol", path="/in", readOnly=True))]
    made = await make(world, *crew, volumes=[{"name": "vol", "cinder": {"volumeID": "data"}}])
    assert made["volumes"] == [
        {
            "name": "vol",
            "id": "id-of-data",
            "size": 3,
            "mounts": [
                {"member": "app", "path": "/data/vol", "read_only": False},
                {"member": "log", "path": "/in/vol", "read_only": True},
            ],
        }
    ]
    assert await shown(world, made["uuid"]) == made | {"addresses": {}}
    [volume] = await world.store.read(lambda tx: tx.volumes.held_by([made["uuid"]]))
    assert volume.id == "id-of-data"
    again = await post(world, template(crew[0], volumes=[{"name": "vol", "cinder": {"volumeID": "data"}}]))
    assert again.status_code == 400
    [error] = again.json()["errors"]
    assert error["code"] == "container.volume-in-use"
    assert error["title"].startswith("template.spec.volumes[0].cinder.volumeID: ")


async def test_new_volumes_stay_or_go_as_asked(world: World) -> None:
    volumes = [{"name": "keep", "cinder": {"size": 1}}, {"name": "gone", "cinder": {"size": "2", "autoRemove": True}}]
    capsules = [await make(world, member(volumeMounts=on("keep", "gone")), volumes=volumes) for _ in range(2)]
    found = await world.store.read(lambda tx: tx.volumes.list(EVERYBODY))
    keeps = [volume for volume in found if volume.name]
    assert [volume.name for volume in keeps] == ["capsule-web-keep", f"capsule-web-keep-{keeps[1].id[:8]}"]
    assert [(volume.size, volume.auto_remove) for volume in found if not volume.name] == [(2, True)] * 2
    assert {volume.workload for volume in found} == {one["uuid"] for one in capsules}


async def test_a_file_is_kept_once_and_never_shown(world: World) -> None:
    crew = [member(volumeMounts=on("conf")), member(volumeMounts=on("conf"))]
    made = await make(world, *crew, volumes=[{"name": "conf", "file": {"content": B64}}])
    [entry] = made["volumes"]
    assert (entry["size"], [one["read_only"] for one in entry["mounts"]]) == (None, [True, True])
    assert await world.store.read(lambda tx: tx.volumes.files(made["uuid"])) == {entry["id"]: b"words"}
    assert B64 not in json.dumps(made) + repr(await stored(world, made["uuid"]))


# Groups and registries ------------------------------------------------------------------------------------------------


async def test_ports_of_all_members_open_a_group_of_the_capsules_own(world: World) -> None:
    group = (await world.call("POST", "/v1/security_groups", json={"name": "mine"})).json()
    crew = [member(ports=[{"containerPort": 80}, {"containerPort": "53", "protocol": "UDP"}]), member()]
    crew.append(member(ports=[{"containerPort": 80}]))
    made = await make(world, *crew, securityGroups=["mine"])
    assert made["security_groups"][0] == group["uuid"]
    [own_id] = made["security_groups"][1:]
    own = await world.store.read(lambda tx: tx.security_groups.get(EVERYBODY, own_id))
    opened = {(rule.protocol, rule.lowest) for rule in own.rules if rule.direction is Direction.INGRESS}
    assert (own.device, opened) == (made["uuid"], {("tcp", 80), ("udp", 53)})
    only = await make(world, member(), securityGroups=["mine"], name="other")
    assert only["security_groups"] == [group["uuid"]]
    plain = await make(world, member(), name="plain")
    assert (await stored(world, plain["uuid"])).spec.security_groups is None


async def test_registries_are_those_members_name_or_of_their_domains(world: World) -> None:
    for name in ("one", "two"):
        await add_registry(world, name, f"{name}.example")
    secrets = [{"registry": "one"}, {"registry": "id-of-two"}]
    crew = [member(image="one.example/app"), member(image="TWO.example/app"), member(image="busybox")]
    crew.append(member(image="app", registry="two"))
    made = await make(world, *crew, imagePullSecrets=secrets)
    assert [one["registry_id"] for one in made["containers"]] == ["id-of-one", "id-of-two", None, "id-of-two"]
    for name in ("one", "two"):
        assert (await world.call("DELETE", f"/v1/registries/{name}")).status_code == 409, "in use"


async def add_image(world: World, *, image_id: str | None = "sha256:1") -> None:
    image = OwnImage(
        "i-1", "p-kitchen", "u-ann", "mine", "latest", NODE, "stored/mine:1", "source", "req-x", world.clock(), image_id
    )
    await world.store.write(lambda tx: tx.own_images.add(image))


# Pull policies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("who", "policy"), [("ann", None), ("admin", PullPolicy.NEVER)])
async def test_a_pull_policy_is_dropped_where_it_is_not_allowed(
    world: World, who: str, policy: PullPolicy | None
) -> None:
    crew = [member(imagePullPolicy="Never"), member(imagePullPolicy="never"), member(imagePullPolicy=None)]
    made = await make(world, *crew, who=who)
    found = [one.pull_policy for one in (await stored(world, made["uuid"])).spec.containers]
    assert found == [policy, policy, None]


# What is refused ------------------------------------------------------------------------------------------------------

PLACE = "template.spec.containers[0]"
VOLUME = {"name": "vol", "cinder": {"size": 1}}
BAD: list[tuple[Any, int, str, str]] = [
    # each of these was a 500, or accepted and without effect, in the service whose API this is
    ({"kind": "capsule", "metadata": {}}, 400, "schema-validation-error", "'spec' is a required property"),
    (template() | {"kind": "Pod"}, 400, "schema-validation-error", "template.kind: expected capsule or Capsule"),
    ({"kind": "capsule", "spec": {"containers": [member()]}}, 400, "schema-validation-error", "'metadata' is a req"),
    ({"kind": "capsule", "metadata": {}, "spec": {"containers": []}}, 400, "schema-validation-error", "1 to 32"),
    (template(member(privileged=True)), 400, "schema-validation-error", f"{PLACE}: there is no field 'privileged'"),
    (template(member(runtime="runc")), 400, "schema-validation-error", f"{PLACE}: there is no field 'runtime'"),
    (template(member(resources={"requests": {"cpu": 99}})), 400, "schema-validation-error", "requests.cpu: 99 is out"),
    (template(restartPolicy="Sometimes"), 400, "schema-validation-error", "spec.restartPolicy: expected one of"),
    (template() | {"restartPolicy": 1}, 400, "schema-validation-error", "template.restartPolicy: expected one of"),
    (template(initContainers=[{"name": "one"}]), 400, "schema-validation-error", "initContainers[0]: 'image' is a"),
    (template(initContainers=[member(more=1)]), 400, "schema-validation-error", "initContainers[0]: there is no field"),
    (
        template(volumes=[{"name": "v", "cinder": {"size": 1}}]),
        *(400, "schema-validation-error", "template.spec.volumes[0].name: expected 2 to 255"),
    ),
    (
        template(member(volumeMounts=on("vol")), volumes=[{"name": "vol", "cinder": {"size": 1, "volumeID": "free"}}]),
        *(400, "schema-validation-error", "template.spec.volumes[0].cinder: expected exactly one of volumeID and size"),
    ),
    (template(volumes=[VOLUME]), 400, "schema-validation-error", "volumes[0]: no container mounts 'vol'"),
    (template(member(volumeMounts=on("vol"))), 400, "schema-validation-error", "there is no volume 'vol'"),
    # looked up
    (
        template(member(volumeMounts=on("vol")), volumes=[{"name": "vol", "cinder": {"volumeID": "none"}}]),
        *(404, "volume-not-found", "template.spec.volumes[0].cinder.volumeID: There is no volume none."),
    ),
    (
        template(member(volumeMounts=on("vol")), volumes=[{"name": "vol", "cinder": {"volumeID": "theirs"}}]),
        *(404, "volume-not-found", "There is no volume theirs."),
    ),
    (
        template(
            member(volumeMounts=on("vol", "two")), volumes=[VOLUME, {"name": "two", "cinder": {"volumeID": "used"}}]
        ),
        *(400, "volume-in-use", "template.spec.volumes[1].cinder.volumeID: volume used is in use"),
    ),
    (
        template(member(volumeMounts=on("vol")), volumes=[{"name": "vol", "cinder": {"size": 10**6}}]),
        *(400, "volume-create-failed", "template.spec.volumes[0].cinder.size: a volume of 1000000 GiB is out of range"),
    ),
    (
        template(
            member(volumeMounts=on("vol", "two")),
            volumes=[{"name": name, "cinder": {"size": 600}} for name in ("vol", "two")],
        ),
        *(403, "over-quota", "1000 allowed"),
    ),
    (
        template(securityGroups=["default", "none"]),
        *(400, "security-group-not-found", "template.spec.securityGroups[1]: There is no security group none"),
    ),
    (template(member(registry="none")), 404, "registry-not-found", f"{PLACE}.registry: "),
    (template(member(registry="theirs")), 404, "registry-not-found", f"{PLACE}.registry: "),
    (
        template(imagePullSecrets=[{"registry": "mine"}, {"registry": "theirs"}]),
        *(404, "registry-not-found", "template.spec.imagePullSecrets[1].registry: "),
    ),
    (
        template(member(), member(image="other.example/app", registry="mine")),
        *(400, "invalid", "template.spec.containers[1].image: 'other.example/app' is in other.example"),
    ),
    (template(member(image="mine")), 409, "image-not-ready", f"{PLACE}.image: "),
    (template(member(image="UPPER/case")), 400, "reference-invalid-format", f"{PLACE}.image"),
]


@pytest.mark.parametrize(("value", "status", "code", "words"), BAD, ids=[bad[3][:60] for bad in BAD])
async def test_a_refused_template_leaves_nothing(world: World, value: Any, status: int, code: str, words: str) -> None:
    await add_volume(world, "free")
    await add_volume(world, "theirs", "p-cellar")
    await add_volume(world, "used", workload="w-other")
    await add_registry(world, "mine", "mine.example")
    await add_registry(world, "theirs", "theirs.example", "p-cellar")
    await add_image(world, image_id=None)
    for spelled in (value, json.dumps(value)):
        answer = await post(world, spelled)
        assert answer.status_code == status, answer.text
        [error] = answer.json()["errors"]
        assert error["code"] == f"container.{code}", error
        assert words in error["title"]
        assert len(error["title"]) < 700
    await world.store.write(lambda tx: tx.volumes.release("w-other"))
    assert await leftovers(world) == []
    assert world.hints == []


async def test_what_was_taken_meanwhile_is_refused_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking up and storing, somebody else took the second volume."""
    for name in ("one", "two"):
        await add_volume(world, name)
    volumes = [{"name": name, "cinder": {"volumeID": name}} for name in ("one", "two")]
    wanted = template(member(volumeMounts=on("one", "two"), ports=[{"containerPort": 1}]), volumes=volumes)
    write = world.store.write

    async def late(fn: Any) -> Any:
        monkeypatch.setattr(world.store, "write", write)
        await write(lambda tx: tx.volumes.hold(["id-of-two"], "w-other"))
        return await write(fn)

    await world.make()  # the default network is there
    monkeypatch.setattr(world.store, "write", late)
    answer = await post(world, wanted)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "container.volume-in-use")
    held = await world.store.read(lambda tx: [v.id for v in tx.volumes.list(EVERYBODY) if v.workload])
    assert held == ["id-of-two"]
    assert (await world.call("GET", URL)).json()["capsules"] == []
    assert [g for g in await world.store.read(lambda tx: tx.security_groups.list(EVERYBODY)) if g.device] == []


async def test_images_of_registries_that_are_not_allowed_are_refused_with_their_place(tmp_path: Path) -> None:
    chosen = Settings(registries=RegistrySettings(deny=("bad.example",)))
    async with open_world(tmp_path, chosen) as world:
        answer = await post(world, template(member(), initContainers=[member(image="bad.example/x")]))
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["title"].startswith("template.spec.initContainers[0].image: ")
        assert await leftovers(world) == []


async def test_own_images_come_first(world: World) -> None:
    await add_image(world)
    made = await make(world, member(image="mine"), member(image="busybox"))
    first, second = (await stored(world, made["uuid"])).spec.containers
    assert (first.stored_image, first.stored_on, first.image_driver) == ("stored/mine:1", NODE, "glance")
    assert (second.stored_image, second.image_driver) == (None, "docker")
    assert [one["image_driver"] for one in made["containers"]] == ["glance", "docker"]
