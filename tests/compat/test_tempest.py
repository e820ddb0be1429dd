"""The steps of zun-tempest-plugin's container tests, retold: the life of a container, and what can be asked of it.

Each test names the plugin's own by its id. Where the plugin has a legacy class, the test runs at its microversions too.
"""

import base64
import io
import secrets
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.asking import User
from tests.support.server import eventually
from tests.support.tempest import ACTION_TIMEOUT, Tempest

pytestmark = pytest.mark.live

LEGACY, LEGACY_LAST, NOW = "1.1", "1.19", "1.40"
STATS = {"CONTAINER", "CPU %", "MEM USAGE(MiB)", "MEM LIMIT(MiB)", "MEM %", "BLOCK I/O(B)", "NET I/O(B)"}


@pytest.fixture(scope="module", params=[LEGACY, LEGACY_LAST, NOW])
def zun_class(request: pytest.FixtureRequest, primary: User, admin: User) -> Iterator[Tempest]:
    tempest = Tempest(primary, admin, request.param)
    yield tempest
    tempest.tear_down_class()


@pytest.fixture
def tempest(zun_class: Tempest) -> Iterator[Tempest]:
    yield zun_class
    zun_class.tear_down()


def since(tempest: Tempest, version: str) -> bool:
    return tempest.minor >= int(version.partition(".")[2])


def test_create_list_get_and_delete(tempest: Tempest) -> None:
    """b8946b8c-57d5-4fdc-a09a-001d6b552725, b3e307d4-844b-4a57-8c60-8fb3f57aea7c,
    0dd13c28-c5ff-4b9e-b73b-61185b410de4, cef53a56-22b7-4808-b01c-06b2b7126115.
    """
    made = tempest.create()
    assert made["uuid"] in tempest.listed()
    assert tempest.get(made["uuid"])["uuid"] == made["uuid"]
    tempest.ask("DELETE", f"/containers//{made['uuid']}", expected=204)
    tempest.gone(made["uuid"])


def test_run(tempest: Tempest) -> None:
    """ef69c9e7-0ce0-4e14-b7ec-c1dc581a3927."""
    given: dict[str, Any] = {
        "environment": {"key1": "env1", "key2": "env2"},
        "labels": {"key1": "label1", "key2": "label2"},
    }
    policy = {"Name": "on-failure", "MaximumRetryCount": 2}
    made = tempest.run(**given, restart_policy=policy)
    assert {name: made[name] for name in given} == given
    assert made["restart_policy"] == {"Name": "on-failure", "MaximumRetryCount": "2"}


def test_run_with_an_image_alone(tempest: Tempest) -> None:
    """a2152d78-b6a6-4f47-8767-d83d29c6fb19."""
    assert tempest.run_bare(image="web")["status"] == "Running"


def test_stop_and_start(tempest: Tempest) -> None:
    """3fa024ef-aba1-48fe-9682-0d6b7854faa3."""
    uuid = tempest.run()["uuid"]
    tempest.act(uuid, "stop")
    tempest.until(uuid, "Stopped")
    tempest.act(uuid, "start")
    tempest.until(uuid, "Running")


def test_pause_and_unpause(tempest: Tempest) -> None:
    """b5f39756-8898-4e0e-a48b-dda0a06b66b6."""
    uuid = tempest.run()["uuid"]
    tempest.act(uuid, "pause")
    tempest.until(uuid, "Paused")
    tempest.act(uuid, "unpause")
    tempest.until(uuid, "Running")


def test_kill(tempest: Tempest) -> None:
    """6179a588-3d48-4372-9599-f228411d1449."""
    uuid = tempest.run()["uuid"]
    tempest.act(uuid, "kill")
    tempest.until(uuid, "Stopped")


def test_reboot(tempest: Tempest) -> None:
    """c2e54321-0a70-4331-ba62-9dcaa75ac250, which the plugin skips at present."""
    uuid = tempest.run()["uuid"]
    before = tempest.execute(uuid, "touch /dev/shm/before")
    assert before["exit_code"] == 0
    tempest.act(uuid, "reboot")
    eventually(lambda: tempest.found(f"/containers//{uuid}/container_actions")["containerActions"][0]["finish_time"])
    tempest.until(uuid, "Running")
    assert tempest.execute(uuid, "ls /dev/shm/before")["exit_code"] != 0


def test_rebuild(tempest: Tempest) -> None:
    """a0c8843f-c32e-4658-b228-eb16c746f495: the action is known from the answer on."""
    uuid = tempest.run()["uuid"]
    request = tempest.act(uuid, "rebuild").headers["x-openstack-request-id"]
    action: dict[str, Any] = {}

    def finished() -> bool:
        action.update(tempest.found(f"/containers//{uuid}/container_actions/{request}"))
        return action["finish_time"] is not None

    eventually(finished, within=ACTION_TIMEOUT, what="the rebuild finishing")
    assert action["message"] is None
    tempest.until(uuid, "Running")


def test_exec(tempest: Tempest) -> None:
    """8a591ff8-6793-427f-82a6-e3921d8b4f81: the command comes in the body."""
    uuid = tempest.run()["uuid"]
    assert "hello" in tempest.execute(uuid, "echo hello")["output"]
    written = tempest.execute(uuid, "/bin/sh -c 'echo hello > /tmp/testfile'")
    assert written["exit_code"] == 0
    assert "hello" in tempest.execute(uuid, "cat /tmp/testfile")["output"]


def test_logs(tempest: Tempest) -> None:
    """a912ca23-14e7-442f-ab15-e05aaa315204."""
    uuid = tempest.run(command=tempest.command("/bin/sh", "-c", "echo hello;sleep 1000000"))["uuid"]
    eventually(lambda: "hello" in tempest.found(f"/containers//{uuid}/logs"), what="the logs")


def test_update_and_rename(tempest: Tempest) -> None:
    """d383f359-3ebd-40ef-9dc5-d36922790230, b218bea7-f19b-499f-9819-c7021ffc59f4; from 1.14 on."""
    made = tempest.run(cpu=0.1, memory=100)
    assert (made["cpu"], made["memory"]) == (0.1, "100")
    changed = tempest.ask("PATCH", f"/containers//{made['uuid']}", {"cpu": 0.2, "memory": 200}).json
    assert (changed["cpu"], changed["memory"]) == (0.2, "200")
    name = f"renamed-{secrets.token_hex(4)}"
    if since(tempest, "1.14"):
        renamed = tempest.ask("PATCH", f"/containers//{made['uuid']}", {"name": name}).json
    else:
        renamed = tempest.act(made["uuid"], f"rename?name={name}", expected=200).json
    assert renamed["name"] == name


def test_top_and_stats(tempest: Tempest) -> None:
    """142b7716-0b21-41ed-b47d-a42fba75636b, 09638306-b501-4803-aafa-7e8025632cef: the plugin looks at the text."""
    uuid = tempest.run(command=tempest.command("sleep", "1000000"))["uuid"]
    assert b"sleep 1000000" in tempest.ask("GET", f"/containers//{uuid}/top").body
    assert set(tempest.found(f"/containers//{uuid}/stats")) == STATS


def test_archives_in_and_out(tempest: Tempest) -> None:
    """037d800c-2262-4e15-90cd-95292b5ef958 below 1.25, 4ea3a2a5-cf89-48e7-bdd2-0bafc70ca7cb from then on."""
    uuid, content = tempest.run()["uuid"], b"an archive of the test"
    out, member = io.BytesIO(), tarfile.TarInfo("test.txt")
    member.size = len(content)
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    is_encoded = since(tempest, "1.25")
    text = (base64.b64encode(out.getvalue()) if is_encoded else out.getvalue()).decode()
    tempest.ask("POST", f"/containers//{uuid}/put_archive?path=/tmp", {"data": text})
    got = tempest.found(f"/containers//{uuid}/get_archive?path=/tmp/test.txt")
    assert (got["stat"]["name"], got["stat"]["size"]) == ("test.txt", len(content))
    back = base64.b64decode(got["data"]) if is_encoded else got["data"].encode()
    with tarfile.open(fileobj=io.BytesIO(back)) as archive:
        found = archive.extractfile("test.txt")
        assert found is not None
        assert found.read() == content


def test_services_are_not_for_everybody(tempest: Tempest) -> None:
    """a04f61f2-15ae-4200-83b7-1f311b101f36."""
    assert tempest.send("GET", "/services").status == 403


def test_commit(tempest: Tempest) -> None:
    """c3f02fa0-fdfb-49fc-95e2-6e4dc982f9be, 985c9060-b925-47d0-9ceb-10c547ce58a5. Glance's part is the project's own
    images'; the command keeps the container's, as in c32f93e3-da88-4c13-be38-25d2e662a28e.
    """
    name, script = f"tempest-{secrets.token_hex(4)}", "echo hello > testfile;sleep 1000000"
    words: dict[str, Any] = {"command": tempest.command("/bin/sh", "-c", script)}
    if since(tempest, "1.40"):
        words = {"entrypoint": ["/bin/sh", "-c"], "command": [script]}
    uuid = tempest.run(**words)["uuid"]
    eventually(lambda: tempest.execute(uuid, "cat /testfile")["output"] == "hello\n", what="the file")
    made = tempest.ask("POST", f"/containers//{uuid}/commit?repository={name}", expected=202).json

    def images() -> list[Any]:
        found = tempest.found(f"/images/{name}/search?image_driver=glance")
        return [image for image in found if image["status"] == "active"]

    [image] = eventually(images, within=60, what="the image being active")
    assert (image["name"], image["id"]) == (name, made["uuid"])
    asking = ["cat /testfile"] if since(tempest, "1.40") else tempest.command("cat", "/testfile")
    again = tempest.run("Stopped", image=name, image_driver="glance", command=asking)
    eventually(lambda: "hello" in tempest.found(f"/containers//{again['uuid']}/logs"), what="the logs")
    bare = {"image": name, "image_driver": "glance"}
    assert tempest.run_bare(**bare)["status"] == "Running"
    tempest.tear_down()
    tempest.ask("DELETE", f"/own_images//{made['uuid']}", expected=204)
