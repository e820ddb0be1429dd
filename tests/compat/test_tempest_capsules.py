"""The capsule tests of zun-tempest-plugin, which upstream skips, retold with images that are here.

What the plugin asks of Cinder is asked of Krater's own volumes.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.asking import User
from tests.support.server import eventually
from tests.support.tempest import STATUS_TIMEOUT, Tempest

pytestmark = pytest.mark.live


LOWEST, NOW = "1.12", "1.40"
from_the_first_version = pytest.mark.parametrize("zun_class", [LOWEST, NOW], indirect=True)
of_newer_versions = pytest.mark.parametrize("zun_class", [NOW], indirect=True)


@pytest.fixture(scope="module")
def zun_class(request: pytest.FixtureRequest, primary: User, admin: User) -> Iterator[Tempest]:
    """At the lowest version that the class may run at, or at the one it runs at upstream."""
    tempest = Tempest(primary, admin, request.param)
    yield tempest
    tempest.tear_down_class()


class Capsules:
    """What the plugin's client does with capsules."""

    def __init__(self, tempest: Tempest) -> None:
        self.tempest = tempest
        self._made: list[str] = []

    def create(self, template: dict[str, Any]) -> Any:
        """One that runs, with all its containers; init containers have ended from 1.34 on."""
        made = self.tempest.ask("POST", "/capsules/", {"template": template}, expected=202).json
        self._made.append(made["uuid"])
        self._until(made["uuid"], "Running")
        model = self.tempest.found(f"/capsules//{made['uuid']}")
        assert model["status"] == "Running"
        if self.tempest.minor >= 34:
            inits = template["spec"].get("initContainers", [])
            assert [one["status"] for one in model["init_containers"]] == ["Stopped"] * len(inits)
        assert {one["status"] for one in model["containers"]} == {"Running"}
        return model

    def _until(self, uuid: str, status: str) -> None:
        def is_so() -> bool:
            seen = self.tempest.found(f"/capsules//{uuid}")
            assert seen["status"] != "Error", seen["status_reason"]
            return bool(seen["status"] == status)

        eventually(is_so, within=STATUS_TIMEOUT, what=f"{uuid} being {status}")

    def delete(self, uuid: str) -> None:
        """A capsule that is gone already is no mistake."""
        reply = self.tempest.send("DELETE", f"/capsules//{uuid}")
        assert reply.status in (204, 404), reply.body
        eventually(lambda: uuid not in self._listed(), within=STATUS_TIMEOUT, what=f"{uuid} gone")

    def _listed(self) -> list[str]:
        return [one["uuid"] for one in self.tempest.found("/capsules/")["capsules"]]

    def tear_down(self) -> None:
        """As the plugin cleans up after each test."""
        for uuid in self._made:
            self.delete(uuid)
        self._made.clear()


@pytest.fixture
def capsules(zun_class: Tempest) -> Iterator[Capsules]:
    made = Capsules(zun_class)
    yield made
    made.tear_down()
    zun_class.tear_down()


def template(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    metadata = {"name": f"capsule-{secrets.token_hex(4)}", **metadata}
    return {"kind": "capsule", "capsuleVersion": "beta", "metadata": metadata, "spec": spec}


IDLE = {"image": "busybox:latest", "command": ["sleep", "10000"]}  # cirros waits by itself, a shell does not


@from_the_first_version
def test_create(capsules: Capsules) -> None:
    """d5c91423-0f83-44f8-8228-e6a28ef7817e."""
    capsules.create(template({"containers": [IDLE]}))


@from_the_first_version
def test_create_with_everything(capsules: Capsules) -> None:
    """b7e79a0b-c09e-4539-886f-a9f33ae15620."""
    container = {
        **IDLE,
        "env": {"ENV1": "/usr/local/bin", "ENV2": "/usr/bin"},
        "ports": [{"containerPort": 80, "hostPort": 80, "name": "nginx-port", "protocol": "TCP"}],
        "resources": {"requests": {"cpu": 1, "memory": 256}},
        "workDir": "/root",
    }
    spec = {"restartPolicy": "Always", "containers": [container]}
    model = capsules.create(template(spec, labels={"app": "web", "app1": "web1"}))
    [one] = model["containers"]
    assert (one["cpu"], one["memory"], one["workdir"]) == (1, "256", "/root")
    assert one["environment"] == container["env"]
    assert (model["cpu"], model["memory"]) == (1, "256")


@of_newer_versions
def test_create_with_a_volume(capsules: Capsules) -> None:
    """8bb22511-b06f-4ea5-ae8d-9dd529205590."""
    tempest = capsules.tempest
    volume = tempest.ask("POST", "/volumes/", {"name": "tempest-data", "size": 1}).json["uuid"]
    container = {**IDLE, "volumeMounts": [{"name": "test-volume", "mountPath": "/test-volume"}]}
    volumes = [{"name": "test-volume", "cinder": {"volumeID": volume}}]
    model = capsules.create(template({"containers": [container], "volumes": volumes}))
    assert tempest.found(f"/volumes/{volume}")["status"] == "in-use"
    capsules.delete(model["uuid"])
    assert tempest.found(f"/volumes/{volume}")["status"] == "available"
    assert tempest.send("DELETE", f"/volumes/{volume}").status == 202


@of_newer_versions
def test_create_with_an_init_container(capsules: Capsules) -> None:
    """3534116a-fa85-4da5-b5a3-4ef20f9479b4: it writes the page that the other one serves."""
    tempest = capsules.tempest
    writes = {
        "image": "busybox:latest",
        "command": ["/bin/sh", "-c", "echo 'hello' > /work-dir/index.html"],
        "volumeMounts": [{"name": "workdir", "mountPath": "/work-dir"}],
    }
    serves = {
        "image": "web",
        "volumeMounts": [{"name": "workdir", "mountPath": "/var/www"}],
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
    }
    volumes = [{"name": "workdir", "cinder": {"size": 1, "autoRemove": True}}]
    model = capsules.create(template({"initContainers": [writes], "containers": [serves], "volumes": volumes}))
    address = next(one["addr"] for cards in model["addresses"].values() for one in cards)
    asks = tempest.run("Stopped", command=["wget", "-q", "-O", "-", f"http://{address}/"])
    assert "hello" in tempest.found(f"/containers//{asks['uuid']}/logs")
