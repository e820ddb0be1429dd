"""The unmodified `zun` command against a real Krater with real containers."""

import json
import time
from collections.abc import Callable

import pytest

from tests.support.server import Server, eventually

pytestmark = pytest.mark.live


def shown(server: Server, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(server.zun("show", "-f", "json", name).stdout)
    return found


def status_is(server: Server, name: str, word: str) -> Callable[[], bool]:
    return lambda: server.client().containers.show(name)["status"] == word


def is_gone(server: Server, name: str) -> Callable[[], bool]:
    return lambda: all(container["name"] != name for container in server.client().containers.list())


def test_run_show_logs_and_delete(server: Server) -> None:
    server.zun("run", "--name", "zun-echo", "busybox", "echo", "hello", "zun")
    eventually(status_is(server, "zun-echo", "Stopped"))
    container = shown(server, "zun-echo")
    assert container["command"] == ["echo", "hello", "zun"] or container["command"] == "echo hello zun"
    assert server.zun("logs", "zun-echo").stdout.strip() == "hello zun"
    server.zun("delete", "zun-echo")
    eventually(is_gone(server, "zun-echo"))
    assert "zun-echo" not in server.zun("list").stdout


def test_create_start_exec_top_stats_stop(server: Server) -> None:
    server.zun("create", "--name", "zun-life", "--cpu", "0.2", "--memory", "64", "busybox", "sleep", "1000")
    eventually(status_is(server, "zun-life", "Created"))
    server.zun("start", "zun-life")
    eventually(status_is(server, "zun-life", "Running"))
    assert "hello" in server.zun("exec", "zun-life", "echo", "hello").stdout
    assert "MEM USAGE(MiB)" in server.zun("stats", "zun-life").stdout
    server.zun("pause", "zun-life")
    eventually(status_is(server, "zun-life", "Paused"))
    server.zun("unpause", "zun-life")
    eventually(status_is(server, "zun-life", "Running"))
    server.zun("restart", "--timeout", "1", "zun-life")
    eventually(status_is(server, "zun-life", "Running"))
    server.zun("stop", "--timeout", "1", "zun-life")
    eventually(status_is(server, "zun-life", "Stopped"))
    server.zun("start", "zun-life")
    eventually(status_is(server, "zun-life", "Running"))
    server.zun("kill", "zun-life")
    eventually(status_is(server, "zun-life", "Stopped"))
    server.zun("rebuild", "zun-life")
    eventually(status_is(server, "zun-life", "Created"))


def test_update_renames_and_resizes(server: Server) -> None:
    server.zun("run", "--name", "zun-small", "--cpu", "0.1", "--memory", "100", "busybox", "sleep", "1000")
    eventually(status_is(server, "zun-small", "Running"))
    server.zun("update", "--cpu", "0.2", "--memory", "200", "zun-small")
    container = shown(server, "zun-small")
    assert (container["cpu"], container["memory"]) == (0.2, "200")
    server.zun("update", "--name", "zun-renamed", "zun-small")
    assert shown(server, "zun-renamed")["uuid"] == container["uuid"]


def test_delete_with_stop_and_with_force(server: Server) -> None:
    for name, option in (("zun-stopped", "--stop"), ("zun-forced", "--force")):
        server.zun("run", "--name", name, "busybox", "sleep", "1000")
        eventually(status_is(server, name, "Running"))
        refused = server.zun("delete", name, check=False)
        assert "Running state" in refused.stdout + refused.stderr
        server.zun("delete", option, name)
        eventually(is_gone(server, name))


def test_actions_are_listed_and_shown(server: Server) -> None:
    server.zun("run", "--name", "zun-acts", "busybox", "true")
    eventually(status_is(server, "zun-acts", "Stopped"))
    listed = server.zun("action-list", "zun-acts").stdout
    request = next(word for word in listed.split() if word.startswith("req-"))
    assert "create" in server.zun("action-show", "zun-acts", request).stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("host-list",), "hostname"),
        (("service-list",), "up"),
        (("image-list",), "busybox"),
        (("availability-zone-list",), "nova"),
        (("version-list",), "1.40"),
        (("list",), "uuid"),
    ],
)
def test_lists_show_what_is_there(server: Server, words: tuple[str, ...], expected: str) -> None:
    assert expected in server.zun(*words).stdout


def test_host_show_and_service_switches(server: Server) -> None:
    host = server.client().hosts.list()[0]["hostname"]
    assert "kernel_version" in server.zun("host-show", host).stdout
    server.zun("service-disable", host, "zun-compute", "--reason", "maintenance")
    assert "maintenance" in server.zun("service-list").stdout
    server.zun("service-enable", host, "zun-compute")
    assert "maintenance" not in server.zun("service-list").stdout


def test_an_unknown_container_is_told_plainly(server: Server) -> None:
    refused = server.zun("show", "nobody", check=False)
    assert "nobody could not be found" in refused.stdout + refused.stderr


def test_an_unknown_image_ends_in_error_with_its_reason(server: Server) -> None:
    server.zun("run", "--name", "zun-noimage", "127.0.0.1:1/no/such:image")
    eventually(status_is(server, "zun-noimage", "Error"), within=40)
    assert "no/such" in str(shown(server, "zun-noimage")["status_reason"])


def test_restart_policy_environment_and_labels_come_back_as_given(server: Server) -> None:
    server.zun(
        "run", "--name", "zun-env", "-e", "key1=env1", "--label", "key2=label2", "--restart", "on-failure:2",
        "busybox", "sh", "-c", "echo $key1",
    )  # fmt: skip
    eventually(status_is(server, "zun-env", "Stopped"))
    container = shown(server, "zun-env")
    assert container["environment"] == {"key1": "env1"}
    assert container["labels"] == {"key2": "label2"}
    assert container["restart_policy"] == {"Name": "on-failure", "MaximumRetryCount": "2"}
    assert server.zun("logs", "zun-env").stdout == "env1\n\n"


def test_auto_remove_leaves_nothing(server: Server) -> None:
    server.zun("run", "--name", "zun-brief", "--auto-remove", "busybox", "true")
    time.sleep(0.2)
    eventually(is_gone(server, "zun-brief"))


def test_commit_search_and_run_again(server: Server) -> None:
    server.zun("run", "--name", "zun-commit", "busybox", "sh", "-c", "echo hello > /testfile; sleep 1000")
    eventually(status_is(server, "zun-commit", "Running"))
    execute = server.client().containers.execute
    eventually(lambda: execute("zun-commit", "cat /testfile")["output"] == "hello\n")
    said = server.zun("commit", "zun-commit", "myrepo:1").stdout
    assert server.client().own_images.show("myrepo:1")["uuid"] in said
    eventually(lambda: "active" in server.zun("image-search", "--image_driver", "glance", "myrepo").stdout)
    server.zun("run", "--name", "zun-again", "--image-driver", "glance", "myrepo:1", "cat", "/testfile")
    eventually(status_is(server, "zun-again", "Stopped"))
    assert server.zun("logs", "zun-again").stdout.strip() == "hello"
    server.zun("delete", "--stop", "zun-commit")
    server.zun("delete", "zun-again")
    server.client().own_images.delete("myrepo:1")
    eventually(lambda: not server.client().containers.list())
