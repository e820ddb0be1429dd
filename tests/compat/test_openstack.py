"""The unmodified `openstack appcontainer` commands against a real Krater with real containers."""

import json
from typing import Any

import pytest

from tests.support.containers import ends_up, running
from tests.support.server import Server, eventually

pytestmark = pytest.mark.live


def shown(server: Server, *words: str) -> Any:
    return json.loads(server.openstack(*words, "-f", "json").stdout)


def test_a_token_can_be_issued_and_revoked(server: Server) -> None:
    token = shown(server, "token", "issue")
    assert token["project_id"]
    server.openstack("token", "revoke", token["id"])


def test_the_catalog_names_the_container_service(server: Server) -> None:
    assert "container" in server.openstack("catalog", "list").stdout


def test_run_wait_show_exec_logs_stop_delete(server: Server) -> None:
    run = server.openstack(
        "appcontainer", "run", "--name", "osc-life", "--wait", "busybox", "sh", "-c", "echo started; sleep 1000"
    )
    assert "osc-life" in run.stdout
    container = shown(server, "appcontainer", "show", "osc-life")
    assert container["status"] == "Running"
    done = server.openstack("appcontainer", "exec", "osc-life", "echo", "hello")
    assert "hello" in done.stdout
    assert "started" in server.openstack("appcontainer", "logs", "osc-life").stdout
    assert shown(server, "appcontainer", "stats", "osc-life")["CONTAINER"]
    server.openstack("appcontainer", "stop", "osc-life", "--timeout", "1")
    ends_up(server, "osc-life", "Stopped")
    server.openstack("appcontainer", "delete", "--wait", "osc-life")
    assert not any(c["name"] == "osc-life" for c in shown(server, "appcontainer", "list"))


def test_create_set_and_forced_delete(server: Server) -> None:
    server.openstack("appcontainer", "create", "--name", "osc-new", "--wait", "busybox", "true")
    server.openstack("appcontainer", "set", "--memory", "128", "--name", "osc-set", "osc-new")
    assert shown(server, "appcontainer", "show", "osc-set")["memory"] == "128"
    server.openstack("appcontainer", "start", "osc-set")
    ends_up(server, "osc-set", "Stopped")
    actions = shown(server, "appcontainer", "action", "list", "osc-set")
    assert {a["action"] for a in actions} == {"create", "start"}
    server.openstack("appcontainer", "delete", "--force", "osc-set")
    eventually(lambda: not server.client().containers.list(), what="the container gone")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("host", "list"), "hostname"),
        (("service", "list"), "zun-compute"),
        (("image", "list"), "busybox"),
        (("availability", "zone", "list"), "nova"),
    ],
)
def test_lists(server: Server, words: tuple[str, ...], expected: str) -> None:
    assert expected in server.openstack("appcontainer", *words).stdout


def test_a_wrong_password_is_refused(server: Server) -> None:
    refused = server.openstack("--os-password", "wrong", "token", "issue", check=False)
    assert refused.returncode != 0
    assert "401" in refused.stderr


def test_an_action_in_the_wrong_state_says_so(server: Server) -> None:
    server.client().containers.create(image="busybox", name="osc-idle", cpu=0.1, memory=32)
    ends_up(server, "osc-idle", "Created")
    refused = server.openstack("appcontainer", "pause", "osc-idle", check=False)
    assert "Cannot pause container" in refused.stdout + refused.stderr


def test_the_steps_of_tempest_for_commit(server: Server) -> None:
    client = server.client()
    made = client.containers.run(
        image="busybox", entrypoint=["/bin/sh", "-c"], command=["echo hello > testfile;sleep 1000000"], cpu=0.1,
        memory=100, workdir="/", image_driver="docker",
    )  # fmt: skip
    client.containers.wait(made["uuid"])
    eventually(lambda: client.containers.execute(made["uuid"], "cat /testfile")["output"] == "hello\n")
    said = server.openstack("appcontainer", "commit", made["uuid"], "myrepo").stdout
    committed = client.own_images.show("myrepo")
    assert committed["uuid"] in said
    search = ("appcontainer", "image", "search", "myrepo", "--image-driver", "glance")
    eventually(lambda: [i for i in shown(server, *search) if i["Name"] == "myrepo" and i["Status"] == "active"])
    again = client.containers.run(
        image="myrepo", image_driver="glance", entrypoint=["/bin/sh", "-c"], command=["cat testfile"], cpu=0.1,
        memory=100,
    )  # fmt: skip
    client.containers.wait(again["uuid"], "over")
    assert "hello" in server.openstack("appcontainer", "logs", again["uuid"]).stdout
    for uuid in (made["uuid"], again["uuid"]):
        server.openstack("appcontainer", "delete", "--force", uuid)
    client.own_images.delete(committed["uuid"])
    eventually(lambda: client.containers.list() == [])


def test_pause_restart_rebuild_and_kill(server: Server) -> None:
    running(server, name="osc-acts")

    def act(action: str, status: str, *options: str) -> None:
        server.openstack("appcontainer", action, "osc-acts", *options)
        eventually(lambda: server.client().containers.show("osc-acts")["status"] == status, within=60, what=status)

    act("pause", "Paused")
    act("unpause", "Running")
    act("restart", "Running", "--timeout", "1")
    act("rebuild", "Running", "--wait")
    act("kill", "Stopped", "--signal", "SIGKILL")
    request = shown(server, "appcontainer", "action", "list", "osc-acts")[0]["request_id"]
    action = shown(server, "appcontainer", "action", "show", "osc-acts", request)
    assert (action["action"], action["message"]) == ("kill", None)


def test_security_groups_of_the_versions_that_have_them(server: Server) -> None:
    client = server.client()
    group = client.security_groups.create("osc-web")["uuid"]
    running(server, name="osc-sg")
    old = ("--os-container-api-version", "1.14", "appcontainer")
    server.openstack(*old, "add", "security", "group", "osc-sg", "osc-web")
    assert group in (client.containers.show("osc-sg")["security_groups"] or [])
    server.openstack(*old, "remove", "security", "group", "osc-sg", "osc-web")
    assert group not in (client.containers.show("osc-sg")["security_groups"] or [])
