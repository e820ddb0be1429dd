"""Requests as zun-tempest-plugin sends them, with the rules that it checks on every answer."""

import json
import secrets
from typing import Any

from tests.support.asking import Reply, User
from tests.support.server import eventually

STATUS_TIMEOUT = 240.0  # the plugin's own
ACTION_TIMEOUT = 120.0
_SINCE_STOP = 12  # deletes with `stop` are of 1.12


class Tempest:
    """A test class of the plugin: the primary user, the administrator (of another project), one microversion."""

    def __init__(self, primary: User, admin: User, version: str) -> None:
        self.primary, self.admin, self.version = primary, admin, version
        self.minor = int(version.partition(".")[2])
        self._tokens = {user.name: user.token() for user in (primary, admin)}
        self._made: list[str] = []

    def send(self, method: str, path: str, body: Any = None, user: User | None = None, version: str = "") -> Reply:
        """One request, and the rules of every answer."""
        user, version = user or self.primary, version or self.version
        headers = {"X_Auth_Token": self._tokens[user.name], "Content_Type": "application/json"}
        reply = user.ask(method, f"/v1{path}", body, version, **headers)
        assert reply.headers["openstack-api-version"] == f"container {version}", f"{method} {path}: {reply.headers}"
        assert reply.headers["x-openstack-request-id"].startswith("req-")
        if reply.status in (204, 205):
            assert reply.body == b""
        else:
            json.loads(reply.body)
        return reply

    def ask(self, method: str, path: str, body: Any = None, *, expected: int = 200, user: User | None = None) -> Reply:
        """One request that has to succeed with this status."""
        reply = self.send(method, path, body, user)
        assert reply.status == expected, f"{method} {path}: {reply.status} {reply.body.decode()}"
        return reply

    def found(self, path: str, user: User | None = None) -> Any:
        """The document there."""
        return self.ask("GET", path, user=user).json

    def get(self, uuid: str, user: User | None = None) -> Any:
        """A container. The plugin joins its URLs with two slashes."""
        return self.found(f"/containers//{uuid}", user)

    def listed(self) -> list[str]:
        """The ids of all that the primary user sees."""
        return [container["uuid"] for container in self.found("/containers/")["containers"]]

    def act(self, uuid: str, action: str, expected: int = 202) -> Reply:
        """An action: a POST without a body."""
        return self.ask("POST", f"/containers//{uuid}/{action}", expected=expected)

    def execute(self, uuid: str, command: str) -> Any:
        """The plugin puts the body together itself, so the command comes in it."""
        body = ('{"command": "' + command + '"}').encode()
        return self.ask("POST", f"/containers//{uuid}/execute", body).json

    def create(self, **given: Any) -> Any:
        """A container that is Created."""
        return self.until(self._post("/containers/", {**self.usual(), **given}), "Created")

    def run(self, status: str = "Running", **given: Any) -> Any:
        """A container that was started and got so far."""
        return self.until(self._post("/containers/?run=True", {**self.usual(), **given}), status)

    def run_bare(self, **body: Any) -> Any:
        """A container of exactly this request."""
        return self.until(self._post("/containers/?run=True", body), "Running")

    def run_as_admin(self, **given: Any) -> Any:
        """A container of the administrator's, as the administrator sees it."""
        uuid = self._post("/containers/?run=True", {**self.usual(), **given}, self.admin)
        self.until(uuid, "Running", self.admin)
        return self.get(uuid, self.admin)

    def _post(self, path: str, body: dict[str, Any], user: User | None = None) -> str:
        made: str = self.ask("POST", path, body, expected=202, user=user).json["uuid"]
        self._made.append(made)
        return made

    def usual(self) -> dict[str, Any]:
        """What the plugin asks for when a test says nothing else; below 1.20 that is its legacy class."""
        body: dict[str, Any] = {
            "name": f"tempest-{secrets.token_hex(4)}",
            "image": "busybox:latest",
            "command": self.command("sleep", "10000"),
            "cpu": 0.1,
            "memory": "100",
            "environment": {},
            "labels": {},
            "image_driver": "docker",
            "restart_policy": {"Name": "no"},
            "workdir": "/",
            "interactive": False,
        }
        return body if self.minor >= 20 else {**body, "security_groups": ["default"]}

    def command(self, *words: str) -> list[str] | str:
        """A command in the form of the version: one quoted string below 1.20."""
        return [*words] if self.minor >= 20 else " ".join(f"'{word}'" for word in words)

    def until(self, uuid: str, status: str, user: User | None = None) -> Any:
        """The container once it has this status."""
        seen: dict[str, Any] = {}

        def is_so() -> bool:
            seen.update(self.get(uuid, user))
            assert status == "Error" or seen["status"] != "Error", seen["status_reason"]
            return bool(seen["status"] == status)

        eventually(is_so, within=STATUS_TIMEOUT, what=f"{uuid} being {status}")
        return seen

    def gone(self, uuid: str) -> None:
        """Wait until it is in no list any more."""
        eventually(lambda: uuid not in self.listed(), within=STATUS_TIMEOUT, what=f"{uuid} gone")

    def tear_down(self) -> None:
        """As the plugin cleans up after each test: the administrator stops and deletes what the test left."""
        version = self.version if self.minor >= _SINCE_STOP else f"1.{_SINCE_STOP}"
        everything = self.found("/containers/?all_projects=True", self.admin)["containers"]
        mine = [one["uuid"] for one in everything if one["uuid"] in self._made]
        for uuid in mine:
            path = f"/containers/{uuid}?stop=True&all_projects=True"
            reply = self.send("DELETE", path, user=self.admin, version=version)
            assert reply.status == 204, reply.body
        for uuid in mine:
            self.gone(uuid)
        self._made.clear()

    def tear_down_class(self) -> None:
        """As it cleans up after a class: the administrator has the nodes forget the primary network."""
        [network, *_] = [one for one in self.found("/networks/")["networks"] if not one["shared"]]
        reply = self.send("DELETE", f"/networks//{network['uuid']}", user=self.admin, version="1.40")
        assert reply.status in (204, 404), reply.body
