"""Capsules of a real server in a few words: their templates, what becomes of them, what their members do and say."""

import contextlib
import json
from pathlib import Path
from typing import Any, Self

from krater.client import Conflict
from tests.support.asking import Reply, admin_of
from tests.support.containers import remove_all
from tests.support.leftovers import leftovers
from tests.support.server import Server, eventually

Json = dict[str, Any]

SLEEP = ["sleep", "1000"]
SMALL = {"requests": {"cpu": 0.1, "memory": 32}}
# Says when it begins, and when it was asked to end and did; its monitor gives each line a time.
TALKS = "trap 'echo ending; sleep 0.3; echo ended; exit 0' TERM; echo begun; sleep 1000 & wait"


def member(name: str, script: str | None = None, **more: Any) -> Json:
    """A container of a template: a script of a shell, or else nothing but there."""
    command = SLEEP if script is None else ["sh", "-c", script]
    return {"name": name, "image": "busybox", "command": command, "resources": SMALL, **more}


def sidecar(name: str, script: str | None = None, **more: Any) -> Json:
    """An init container that runs on."""
    return member(name, script, restartPolicy="Always", **more)


def after(name: str, condition: str = "started") -> Json:
    """The key of a member that waits for another one."""
    return {"dependsOn": [{"container": name, "condition": condition}]}


def mounts(**paths: str) -> Json:
    """The key of a member that mounts volumes: their names and where."""
    return {"volumeMounts": [{"name": name, "mountPath": path} for name, path in paths.items()]}


def new_volume(name: str, size: int = 1) -> Json:
    """A volume that is made with the capsule and goes with it."""
    return {"name": name, "cinder": {"size": size, "autoRemove": True}}


def template(*containers: Json, name: str | None = None, init: tuple[Json, ...] = (), **spec: Any) -> Json:
    """A whole template."""
    made: Json = {"containers": [*containers], **({"initContainers": [*init]} if init else {}), **spec}
    return {"kind": "capsule", "metadata": {} if name is None else {"name": name}, "spec": made}


class Capsule:
    """One that was asked for."""

    def __init__(self, server: Server, id: str) -> None:
        self.server, self.id = server, id
        self._members: dict[str, str] = {}

    @classmethod
    def of(cls, server: Server, asked: Json | str) -> Self:
        """Ask for it; at once."""
        reply = admin_of(server).ask("POST", "/v1/capsules", {"template": asked})
        assert reply.status == 202, reply.body
        return cls(server, reply.json["uuid"])

    @classmethod
    def made(cls, server: Server, *containers: Json, **more: Any) -> Self:
        """Ask for one of these containers; at once."""
        return cls.of(server, template(*containers, **more))

    @classmethod
    def running(cls, server: Server, *containers: Json, **more: Any) -> Self:
        """One that runs."""
        capsule = cls.made(server, *containers, **more)
        capsule.ends_up("Running")
        return capsule

    def ask(self, method: str = "GET", path: str = "") -> Reply:
        """A request about it."""
        return admin_of(self.server).ask(method, f"/v1/capsules/{self.id}{path}")

    def shown(self) -> Json:
        """As it is now."""
        reply = self.ask()
        assert reply.status == 200, reply.body
        return dict(reply.json)

    def members(self) -> dict[str, Json]:
        """Its containers by the names they have in the template."""
        shown = self.shown()
        return {one["member_name"]: one for one in [*shown["init_containers"], *shown["containers"]]}

    def member(self, name: str) -> Json:
        """One of them, as it is now."""
        return self.members()[name]

    def container(self, name: str) -> str:
        """The id of a member."""
        if not self._members:
            self._members = {name: one["uuid"] for name, one in self.members().items()}
        return self._members[name]

    def address(self, version: int = 4) -> str:
        """Its address, which is that of all its members."""
        found = [one["addr"] for cards in self.shown()["addresses"].values() for one in cards]
        return str(next(one for one in found if (":" in one) is (version == 6)))

    def ends_up(self, status: str, within: float = 60.0) -> Json:
        """As it is once it has this status."""
        last: list[Json] = [{}]

        def is_so() -> bool:
            last[0] = self.shown()
            return bool(last[0]["status"] == status)

        try:
            eventually(is_so, within=within, what=f"the capsule being {status}")
        except AssertionError as error:
            words = {name: (one["status"], one["status_reason"]) for name, one in self.members().items()}
            raise AssertionError(f"{error}: {last[0]['status']}: {last[0]['status_reason']}: {words}") from None
        return last[0]

    def has(self, name: str, within: float = 60.0, **wanted: Any) -> Json:
        """A member once it shows these values."""
        seen: Json = {}

        def is_so() -> bool:
            seen.update(self.member(name))
            return all(seen[key] == value for key, value in wanted.items())

        try:
            eventually(is_so, within=within, what=f"{name} having {wanted}")
        except AssertionError as error:
            found = {key: seen[key] for key in (*wanted, "status", "status_reason", "task_state")}
            raise AssertionError(f"{error}: {found}") from None
        return seen

    def log(self, name: str) -> str:
        """What a member wrote."""
        return self.server.client().containers.logs(self.container(name))

    def told(self, name: str) -> list[tuple[str, str]]:
        """Its lines with their times, which can be compared as texts."""
        text = self.server.client().containers.logs(self.container(name), timestamps=True)
        return [(line.partition(" ")[0], line.partition(" ")[2]) for line in text.splitlines()]

    def when(self, name: str, words: str) -> str:
        """When a member wrote a line."""
        return next(stamp for stamp, line in self.told(name) if line == words)

    def says(self, name: str, words: str) -> None:
        """Wait until it is in the log of a member."""

        def has_said() -> bool:
            with contextlib.suppress(Conflict):  # it has not begun
                return words in self.log(name)
            return False

        eventually(has_said, within=60, what=f"{name} saying {words!r}")

    def does(self, name: str, script: str) -> tuple[int | None, str]:
        """Run a script in a member: its exit code and what it said."""
        answer = self.server.client().containers.execute(self.container(name), ["sh", "-c", script])
        return answer["exit_code"], answer["output"] or ""

    def prints(self, name: str, script: str) -> str:
        """What a script that must go well says in a member."""
        code, said = self.does(name, script)
        assert code == 0, f"{script!r} in {name}: exit {code}: {said}"
        return said.strip()

    def act(self, action: str) -> None:
        """Start, stop or reboot the whole of it."""
        reply = self.ask("POST", f"/{action}")
        assert reply.status == 202, reply.body

    def process(self, name: str) -> Json | None:
        """A member's process (`pid`, ...) by the record of the engine; None when there is none."""
        record = self.directory(name) / "process.json"
        try:
            found: Json | None = json.loads(record.read_text())["process"]
        except FileNotFoundError:
            return None
        return found

    def pid(self, name: str) -> int:
        """The number of a member's process."""
        found = self.process(name)
        assert found is not None, f"{name} has no process"
        return int(found["pid"])

    def pids(self, *names: str) -> dict[str, int]:
        """Those of several: the same after something as before it when nobody was started again."""
        return {name: self.pid(name) for name in names or self.members()}

    def directory(self, name: str) -> Path:
        """What the engine keeps of a member."""
        return self.server.directory / "engine" / "containers" / self.container(name)

    def delete(self, within: float = 60.0) -> None:
        """Have it gone."""
        reply = self.ask("DELETE")
        assert reply.status in (204, 404), reply.body
        self.gone(within)

    def gone(self, within: float = 60.0) -> None:
        """Wait until it is not found any more."""
        eventually(lambda: self.ask().status == 404, within=within, what="the capsule gone")


def capsules(server: Server) -> list[Json]:
    """All there are."""
    reply = admin_of(server).ask("GET", "/v1/capsules?all_projects=true")
    assert reply.status == 200, reply.body
    return list(reply.json["capsules"])


def delete_all(server: Server) -> None:
    """Have all capsules gone."""
    there = [Capsule(server, one["uuid"]) for one in capsules(server)]
    for capsule in there:
        capsule.ask("DELETE", "?timeout=0")
    for capsule in there:
        capsule.gone()


def clear(server: Server) -> None:
    """Remove all capsules, containers and volumes, and wait until nothing is left of them."""
    delete_all(server)
    remove_all(server)
    client = server.client()
    for volume in client.volumes.list():
        client.volumes.delete(volume["uuid"])
    eventually(lambda: not client.volumes.list(), what="no volume")
    eventually(lambda: not leftovers(server), what="nothing left over")


def refused(server: Server, asked: Any, status: int = 400) -> str:
    """Why a template is refused."""
    reply = admin_of(server).ask("POST", "/v1/capsules", {"template": asked})
    assert reply.status == status, reply.body
    return reply.title
