"""Members of capsules with the real engine: each is a container of its own, and leaves the others alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from krater.client import Conflict, Console, InvalidRequest, NotAllowed, NotFound
from krater.client.console import STDOUT
from tests.support.archives import files, opened
from tests.support.containers import ends_up, remove, said
from tests.support.leftovers import leftovers
from tests.support.server import Server, eventually

pytestmark = pytest.mark.live

TALKS = "echo begun; trap 'test -e /slow || { echo ended; exit 0; }' TERM; while :; do sleep 1000 & wait; done"
SHARES = {"requests": {"cpu": 0.1, "memory": 32}}


def member(name: str, *command: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": list(command), "resources": SHARES, **more}


@dataclass(frozen=True)
class Pod:
    """A capsule that runs: an init container, a sidecar, one that talks and one that repeats what it is told."""

    server: Server
    id: str
    ids: dict[str, str]

    @classmethod
    def made(cls, server: Server, name: str) -> "Pod":
        template = {
            "kind": "capsule",
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "initContainers": [
                    member("setup", "sh", "-c", "echo set up"),
                    member("side", "sleep", "1000", restartPolicy="Always"),
                ],
                "containers": [member("talker", "sh", "-c", TALKS), member("echo", "cat", stdin=True)],
            },
        }
        session = server.client()._session
        made = session.post("/v1/capsules", body={"template": template})
        members = (*made["init_containers"], *made["containers"])
        pod = cls(server, made["uuid"], {one["member_name"]: one["uuid"] for one in members})
        for one in ("talker", "echo", "side"):
            ends_up(server, pod.ids[one], "Running", within=60)
        return pod

    def process(self, name: str) -> str:
        """What tells one process of a member from the next."""
        seen = self.server.client().containers.execute(self.ids[name], ["cat", "/proc/1/stat"])
        assert seen["exit_code"] == 0, seen
        return str(seen["output"]).split()[21]  # when it began

    def log(self, name: str) -> str:
        return self.server.client().containers.logs(self.ids[name])

    def words(self) -> dict[str, str]:
        """The status of each member, as the list of the capsule's has it."""
        shown = self.server.client().containers.list(filters={"capsule": self.id})
        return {str(one["member_name"]): one["status"] for one in shown}  # type: ignore[typeddict-item]

    def delete(self) -> None:
        session = self.server.client()._session
        session.ask("DELETE", f"/v1/capsules/{self.id}")

        def is_gone() -> bool:
            try:
                session.get(f"/v1/capsules/{self.id}")
            except NotFound:
                return True
            return False

        eventually(is_gone, within=60, what="the capsule gone")


@pytest.fixture
def pod(server: Server, request: pytest.FixtureRequest) -> Iterator[Pod]:
    made = Pod.made(server, request.node.name[:60].replace("_", "-").replace("[", "-").strip("]"))
    yield made
    made.delete()
    eventually(lambda: not leftovers(server), within=60, what="nothing left over")


def test_each_is_shown_and_listed_in_the_order_to_start(server: Server, pod: Pod) -> None:
    assert list(pod.words()) == ["setup", "side", "talker", "echo"]
    assert pod.words() == {"setup": "Stopped", "side": "Running", "talker": "Running", "echo": "Running"}
    assert pod.ids["talker"] not in {one["uuid"] for one in server.client().containers.list()}
    networks = [server.client().containers.networks(pod.ids[name]) for name in ("side", "talker", "echo")]
    assert networks[0] == networks[1] == networks[2] != []
    assert server.client().containers.show(pod.ids["setup"])["exit_code"] == 0  # type: ignore[typeddict-item]


def test_logs_processes_and_use_are_the_members_own(server: Server, pod: Pod) -> None:
    containers = server.client().containers
    assert (pod.log("setup"), pod.log("talker"), pod.log("echo")) == ("set up\n", "begun\n", "")
    talker, echo = (str(containers.top(pod.ids[name])["Processes"]) for name in ("talker", "echo"))
    assert ("sleep 1000" in talker, "sleep 1000" in echo, "cat" in echo) == (True, False, True)
    stats = containers.stats(pod.ids["echo"])
    assert stats["CONTAINER"].endswith("-echo")
    assert 0 < stats["MEM USAGE(MiB)"] < stats["MEM LIMIT(MiB)"] <= 96  # of side, talker and echo together
    assert containers.execute(pod.ids["echo"], ["sh", "-c", "echo inside; exit 5"])["exit_code"] == 5


def test_consoles_are_of_one_member(server: Server, pod: Pod) -> None:
    containers = server.client().containers
    with containers.attach(pod.ids["echo"]) as console:
        console.send(b"hello\n")
        assert next(console.outputs()) == (STDOUT, b"hello\n")
    with pytest.raises(InvalidRequest, match="takes no input"):
        containers.attach(pod.ids["talker"])
    url = str(server.client()._session.get(f"/v1/containers/{pod.ids['echo']}/attach"))
    with pytest.raises(NotAllowed):
        Console(url.replace(f"uuid={pod.ids['echo']}", f"uuid={pod.ids['talker']}"))
    with containers.open_exec(pod.ids["talker"], ["sh"], tty=True, size=(24, 80)) as shell:
        path = f"/execute_resize?exec_id={shell.exec_id}&h=30&w=100"
        with pytest.raises(InvalidRequest, match="has no command"):
            server.client()._session.post(f"/v1/containers/{pod.ids['echo']}{path}")
        server.client()._session.post(f"/v1/containers/{pod.ids['talker']}{path}")


@pytest.mark.parametrize("state", ["runs", "stopped"])
def test_files_go_in_and_out_of_one_member(server: Server, pod: Pod, state: str) -> None:
    client, id = server.client(), pod.ids["talker"]
    if state == "stopped":
        client.containers.stop(id, timeout=0)
        ends_up(server, id, "Stopped")
    client.archives.put(id, "/tmp", [files(note="for the talker")])
    with client.archives.get(id, "/tmp/note") as packed:
        assert opened(packed.read(1 << 20))["note"][1] == b"for the talker"
    with pytest.raises(NotFound):
        client.archives.stat(pod.ids["echo"], "/tmp/note")
    if state == "stopped":
        client.containers.start(id)
        ends_up(server, id, "Running")
    assert client.containers.execute(id, ["cat", "/tmp/note"])["output"] == "for the talker"


def test_an_image_of_a_member_runs_by_itself(server: Server, pod: Pod) -> None:
    client = server.client()
    client.containers.execute(pod.ids["talker"], ["sh", "-c", "echo kept > /kept"])
    image = client.containers.commit(pod.ids["talker"], "of-a-member")
    client.own_images.wait(image)
    assert said(server, ["cat", "/kept"], image="of-a-member") == "kept\n"
    ends_up(server, pod.ids["talker"], "Running")
    client.own_images.delete(image)


def test_one_is_stopped_started_and_restarted_while_the_other_runs_on(server: Server, pod: Pod) -> None:
    containers, id = server.client().containers, pod.ids["talker"]
    containers.restart(pod.ids["side"], timeout=0)
    ends_up(server, pod.ids["side"], "Running")
    other, first = pod.process("echo"), pod.process("talker")
    containers.restart(id)
    ends_up(server, id, "Running")
    eventually(lambda: pod.process("talker") != first, what="another process")
    containers.stop(id)
    assert ends_up(server, id, "Stopped")["exit_code"] == 0  # type: ignore[typeddict-item]
    assert pod.words()["side"] == "Running"
    containers.start(id)
    ends_up(server, id, "Running")
    eventually(lambda: pod.log("talker") == "begun\nended\nbegun\nended\nbegun\n", what="three runs")
    containers.pause(id)
    ends_up(server, id, "Paused")
    assert pod.words()["echo"] == "Running"
    containers.unpause(id)
    ends_up(server, id, "Running")
    containers.kill(id)
    assert ends_up(server, id, "Stopped")["exit_code"] == 137  # type: ignore[typeddict-item]
    assert pod.process("echo") == other
    assert [one["action"] for one in containers.actions(id)] == ["kill", "unpause", "pause", "start", "stop", "reboot"]
    assert containers.actions(pod.ids["echo"]) == []


def test_one_that_takes_its_time_to_end_holds_up_nobody(server: Server, pod: Pod) -> None:
    containers, id = server.client().containers, pod.ids["talker"]
    containers.execute(id, ["touch", "/slow"])
    containers.stop(id, timeout=300)
    eventually(lambda: containers.show(id)["task_state"] == "container_stopping", what="asked to end")
    other = pod.process("echo")
    containers.restart(pod.ids["echo"])
    ends_up(server, pod.ids["echo"], "Running")
    assert pod.process("echo") != other
    assert containers.show(id)["status"] == "Running"
    containers.kill(id)
    ends_up(server, id, "Stopped")


def test_its_steps_are_in_its_history(server: Server, pod: Pod) -> None:
    containers, id = server.client().containers, pod.ids["talker"]
    containers.restart(id, timeout=0)
    ends_up(server, id, "Running")
    [action] = containers.actions(id)
    eventually(lambda: containers.action(id, action["request_id"])["finish_time"], what="the action over")
    events = [one["event"].split()[0] for one in containers.action(id, action["request_id"])["events"]]
    assert events == ["stop", "start"]


def test_what_is_the_capsules_is_refused(server: Server, pod: Pod) -> None:
    containers = server.client().containers
    with pytest.raises(Conflict, match="Delete the capsule, or stop this member alone"):
        containers.delete(pod.ids["talker"], force=True)
    with pytest.raises(Conflict, match="Reboot the capsule"):
        containers.start(pod.ids["setup"])
    server.client()._session.post(f"/v1/capsules/{pod.id}/stop?timeout=0")
    ends_up(server, pod.ids["echo"], "Stopped")
    with pytest.raises(Conflict, match="Start the capsule"):
        containers.start(pod.ids["echo"])
    server.client()._session.post(f"/v1/capsules/{pod.id}/start")
    for name in ("side", "talker", "echo"):
        ends_up(server, pod.ids[name], "Running")


def test_the_log_outlives_the_capsule(server: Server) -> None:
    pod = Pod.made(server, "leaves-a-log")
    pod.delete()
    assert (pod.log("talker"), pod.log("setup")) == ("begun\nended\n", "set up\n")
    lone = server.client().containers.run(image="busybox", name="talker", command=["echo", "lone"], memory=32, cpu=0.1)
    server.client().containers.wait(lone["uuid"], "over")
    remove(server, lone["uuid"])
    assert server.client().containers.logs("talker") == "lone\n"
