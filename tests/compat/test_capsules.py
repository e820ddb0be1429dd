"""Capsules with the unmodified `zun` and `openstack` commands, and their members as containers of the same commands."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.live_capsules import Capsule, delete_all, member, template
from tests.support.screen import Screen
from tests.support.server import CLIENTS, Server, eventually

pytestmark = pytest.mark.live

SERVES = "mkdir -p /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www"


@pytest.fixture(autouse=True)
def empty(server: Server) -> Iterator[None]:
    """Every test leaves nothing."""
    yield
    delete_all(server)


def file(directory: Path, name: str, *, as_json: bool = False) -> str:
    """A template as people have it: a file."""
    asked = template(
        member("web", SERVES, ports=[{"containerPort": 8080}]),
        member("log", "echo from the log; exec sleep 1000"),
        init=(member("prepare", "echo prepared"),),
        name=name,
    )
    asked["metadata"]["labels"] = {"app": "web"}
    path = directory / ("capsule.json" if as_json else "capsule.yaml")
    path.write_text(json.dumps(asked) if as_json else yaml.safe_dump(asked))
    return str(path)


def shown(server: Server, *words: str) -> Any:
    return json.loads(server.openstack(*words, "-f", "json").stdout)


def rows(table: str) -> list[list[str]]:
    """The cells of what the clients print, headings first."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]


def test_zun_capsules(server: Server, tmp_path: Path) -> None:
    made = server.zun("capsule-create", "-f", file(tmp_path, "zun-pair"))
    assert "Request to create capsule has been accepted." in made.stdout
    [one] = [row for row in rows(server.zun("capsule-list").stdout) if "zun-pair" in row]
    capsule = Capsule(server, one[0])
    capsule.ends_up("Running")
    heading, one = rows(server.zun("capsule-list").stdout)
    assert heading == ["uuid", "name", "status", "addresses"]
    assert one[:3] == [capsule.id, "zun-pair", "Running"]
    assert capsule.address() in one[3]
    described = json.loads(server.zun("capsule-describe", "-f", "json", "zun-pair").stdout)
    assert described["uuid"] == capsule.id
    assert described["labels"] == {"app": "web"}
    assert described["restart_policy"]["Name"] == "always"
    assert [member["status"] for member in described["containers"]] == ["Running", "Running"]
    assert [member["status"] for member in described["init_containers"]] == ["Stopped"]
    table = {row[0]: row[1] for row in rows(server.zun("capsule-describe", "zun-pair").stdout)}
    assert table["status"] == "Running"
    assert capsule.address() in table["addresses"]
    assert "Request to delete capsule zun-pair has been accepted." in server.zun("capsule-delete", "zun-pair").stdout
    capsule.gone()
    assert "zun-pair" not in server.zun("capsule-list").stdout


def test_openstack_capsules(server: Server, tmp_path: Path) -> None:
    made = shown(server, "capsule", "create", "--file", file(tmp_path, "osc-pair", as_json=True))
    assert (made["name"], made["status"]) == ("osc-pair", "Creating")
    capsule = Capsule(server, made["uuid"])
    capsule.ends_up("Running")
    [one] = shown(server, "capsule", "list")
    assert (one["uuid"], one["name"], one["status"]) == (capsule.id, "osc-pair", "Running")
    assert capsule.address() in one["addresses"]
    for which in ("osc-pair", capsule.id):
        found = shown(server, "capsule", "show", which)
        assert (found["uuid"], found["status"]) == (capsule.id, "Running")
        assert capsule.address() in found["addresses"]
        assert {member["status"] for member in found["containers"]} == {"Running"}
    removed = server.openstack("capsule", "delete", "osc-pair", "osc-nobody").stdout
    assert "Request to delete capsule osc-pair has been accepted." in removed
    assert "Delete for capsule osc-nobody failed" in removed
    assert "osc-nobody could not be found" in removed
    capsule.gone()


def test_lists_are_paged_and_sorted(server: Server) -> None:
    made = [Capsule.of(server, template(member("one"), name=f"page-{number}")) for number in range(3)]
    for capsule in made:
        capsule.ends_up("Running")
    names = [row[1] for row in rows(server.zun("capsule-list", "--sort-key", "name", "--sort-dir", "desc").stdout)[1:]]
    assert names == ["page-2", "page-1", "page-0"]
    paged = server.zun("capsule-list", "--limit", "2", "--sort-key", "name").stdout
    assert [row[1] for row in rows(paged)[1:]] == ["page-0", "page-1"]
    rest = shown(server, "capsule", "list", "--sort-key", "name", "--marker", made[0].id)
    assert [one["name"] for one in rest] == ["page-1", "page-2"]
    everybody = shown(server, "capsule", "list", "--all-projects")
    assert {one["uuid"] for one in everybody} >= {capsule.id for capsule in made}


def test_the_shape_before_1_32(server: Server, tmp_path: Path) -> None:
    old = ("--zun-api-version", "1.31")
    server.zun(*old, "capsule-create", "-f", file(tmp_path, "zun-old"))
    described = json.loads(server.zun(*old, "capsule-describe", "-f", "json", "zun-old").stdout)
    assert (described["meta_name"], described["meta_labels"]) == ("zun-old", {"app": "web"})
    assert described["restart_policy"] == "always"
    assert "name" not in described


def test_a_wrong_template_is_refused_with_its_place(server: Server, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    asked = template(member("web", restartPolicy="Always"), name="wrong")
    wrong.write_text(yaml.safe_dump(asked))
    for refused in (
        server.zun("capsule-create", "-f", str(wrong), check=False),
        server.openstack("capsule", "create", "--file", str(wrong), check=False),
    ):
        assert "template.spec.containers[0].restartPolicy" in refused.stdout + refused.stderr
    assert "wrong" not in server.zun("capsule-list").stdout


def test_an_error_is_told_with_the_member(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "failing.yaml"
    failing = template(member("main"), init=(member("prepare", "exit 3"),), name="osc-failing", restartPolicy="Never")
    path.write_text(yaml.safe_dump(failing))
    made = shown(server, "capsule", "create", "--file", str(path))
    Capsule(server, made["uuid"]).ends_up("Error")
    found = shown(server, "capsule", "show", "osc-failing")
    assert "prepare" in found["status_reason"]
    assert "exit code 3" in found["status_reason"]


def test_members_are_containers_of_openstack(server: Server) -> None:
    talks = "echo begun; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    capsule = Capsule.running(server, member("web", talks), member("log"), name="osc-members")
    web = capsule.container("web")
    capsule.says("web", "begun")
    assert shown(server, "appcontainer", "show", web)["capsule_uuid"] == capsule.id
    assert server.openstack("appcontainer", "logs", web).stdout.strip() == "begun"
    assert "hello" in server.openstack("appcontainer", "exec", web, "echo", "hello").stdout
    assert shown(server, "appcontainer", "stats", web)["CONTAINER"]

    def act(action: str, status: str, *options: str) -> None:
        server.openstack("appcontainer", action, web, *options)
        capsule.has("web", status=status, task_state=None)

    act("stop", "Stopped", "--timeout", "1")
    act("start", "Running")
    act("restart", "Running", "--timeout", "1")
    act("pause", "Paused")
    act("unpause", "Running")
    assert {one["action"] for one in shown(server, "appcontainer", "action", "list", web)} >= {"stop", "start"}
    for words in (("delete", "--force", web), ("rebuild", web), ("set", "--name", "other", web)):
        refused = server.openstack("appcontainer", *words, check=False)
        assert "osc-members" in refused.stdout + refused.stderr, words
    assert capsule.shown()["status"] == "Running"
    server.openstack("appcontainer", "kill", web, "--signal", "SIGKILL")
    capsule.ends_up("Running")
    assert web not in server.openstack("appcontainer", "list").stdout, "members are not in the list of containers"


def test_members_are_containers_of_zun(server: Server, tmp_path: Path) -> None:
    capsule = Capsule.running(server, member("web", "echo begun; exec sleep 1000"), member("log"), name="zun-members")
    web = capsule.container("web")
    capsule.says("web", "begun")
    assert json.loads(server.zun("show", "-f", "json", web).stdout)["capsule_uuid"] == capsule.id
    assert server.zun("logs", web).stdout.strip() == "begun"
    assert "hello" in server.zun("exec", web, "echo", "hello").stdout
    assert "MEM USAGE(MiB)" in server.zun("stats", web).stdout
    (tmp_path / "note").write_text("a note")
    server.zun("cp", str(tmp_path / "note"), f"{web}:/tmp")
    assert capsule.prints("web", "cat /tmp/note") == "a note"
    server.zun("cp", f"{web}:/tmp/note", str(tmp_path / "back"))
    assert (tmp_path / "back/note").read_text() == "a note"
    server.zun("commit", web, "of-a-member:1")
    client = server.client()
    eventually(lambda: client.own_images.show("of-a-member:1")["status"] == "active", what="the image")
    client.own_images.delete("of-a-member:1")
    assert capsule.address() in server.zun("network-list", web).stdout
    refused = server.zun("delete", "--force", web)
    assert "zun-members" in refused.stdout + refused.stderr


def test_zun_attaches_to_a_member(server: Server) -> None:
    shell = {**member("shell"), "command": ["sh"], "stdin": True, "tty": True}
    capsule = Capsule.running(server, shell, member("other"))
    screen = Screen(
        [str(CLIENTS / "zun"), "attach", capsule.container("shell")], {**server.environment, **server.openrc()}
    )
    screen.until("press Enter")
    screen.type("\r")
    screen.until("# ")
    screen.type("echo $((40+2))\r")
    screen.until("42")
    screen.type("exit\r")
    assert screen.ended() == 0
