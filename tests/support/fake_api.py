"""A server of the container API with scripted behaviour, for tests of the client and the command line.

It knows just enough: lists in pages, one container, logs since a second, actions that can fail. Tests put dictionaries
into `containers` and functions into `answers`, and read what was asked from `requests`.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

Reply = tuple[int, Any]


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


def container(name: str = "web", **changes: Any) -> dict[str, Any]:
    """A running container as the API shows it."""
    plain = {
        "uuid": str(uuid4()),
        "name": name,
        "project_id": "p1",
        "user_id": "u1",
        "image": "alpine:3.20",
        "command": ["sleep", "60"],
        "entrypoint": [],
        "status": "Running",
        "status_reason": None,
        "status_detail": "Up 5 mins",
        "task_state": None,
        "cpu": 1.0,
        "cpu_policy": "shared",
        "memory": "512",
        "disk": 0,
        "environment": {},
        "labels": {},
        "workdir": None,
        "hostname": None,
        "ports": [80],
        "addresses": {"net1": [{"addr": "10.66.0.5", "version": 4, "port": "p", "subnet_id": "s"}]},
        "restart_policy": {},
        "interactive": False,
        "tty": False,
        "auto_remove": False,
        "auto_heal": False,
        "image_driver": "docker",
        "security_groups": [],
        "healthcheck": {},
        "registry_id": None,
        "created_at": "2026-01-31 12:00:00.123456",
        "updated_at": None,
    }
    return {**plain, **changes}


def member(name: str = "web", role: str = "main", **changes: Any) -> dict[str, Any]:
    """A running member of a capsule as the API shows it."""
    more = {"capsule_uuid": "", "member_name": name, "role": role, "ready": None, "exit_code": None, "restarts": 0}
    return container(name, **{**more, "memory": None, "cpu": None, "addresses": {}, "ports": [], **changes})


def capsule(name: str | None = "shop", *members: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A running capsule as the API shows it."""
    uuid = changes.get("uuid") or str(uuid4())
    for one in members:
        one["capsule_uuid"], one["name"] = uuid, f"capsule-{name or uuid}-{one['member_name']}"
    plain = {
        "uuid": uuid,
        "name": name,
        "project_id": "p1",
        "user_id": "u1",
        "cpu": 1.0,
        "memory": "256",
        "status": "Running",
        "status_reason": None,
        "labels": None,
        "annotations": None,
        "addresses": {"net1": [{"addr": "10.66.0.7", "version": 4, "port": "p", "subnet_id": "s"}]},
        "restart_policy": {"Name": "always", "MaximumRetryCount": "0"},
        "created_at": "2026-01-31 12:00:00.123456",
        "updated_at": None,
        "containers": [one for one in members if one["role"] == "main"],
        "init_containers": [one for one in members if one["role"] != "main"],
        "hostname": "shop",
        "volumes": [],
        "security_groups": [],
        "grace": 10,
        "auto_heal": False,
    }
    return {**plain, **changes}


def refusal(status: int, title: str, code: str = "container.conflict") -> Reply:
    """An error document."""
    return status, {
        "errors": [{"request_id": "", "code": code, "status": status, "title": title, "detail": title, "links": []}]
    }


@dataclass
class FakeApi:
    """What the server knows. `answers` are asked first, by "METHOD /path" or "METHOD suffix-of-path"."""

    url: str = ""
    page: int = 1000
    containers: list[dict[str, Any]] = field(default_factory=list)
    capsules: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, Callable[[Asked], Reply]] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)

    def asked(self, method: str, ending: str) -> list[Asked]:
        """The requests of a method whose path ends so."""
        return [r for r in self.requests if r.method == method and r.path.endswith(ending)]

    def find(self, ident: str) -> dict[str, Any] | None:
        """A container by id or name, or a member of a capsule by its id."""
        members = {one["uuid"]: one for whole in self.capsules for one in _members(whole)}
        return members.get(ident) or next((c for c in self.containers if ident in (c["uuid"], c["name"])), None)

    def reply(self, asked: Asked) -> Reply:
        """The answer to a request."""
        self.requests.append(asked)
        for key, answer in self.answers.items():
            method, _, ending = key.partition(" ")
            if method == asked.method and asked.path.endswith(ending):
                return answer(asked)
        if asked.path == "/v1/containers":
            return self._collection(asked)
        parts = asked.path.split("/")
        if parts[2] == "capsules":
            return self._capsule(asked, unquote(parts[3]) if len(parts) > 3 else "")
        found = self.find(unquote(parts[3])) if parts[2] == "containers" and len(parts) > 3 else None
        if found is None:
            return refusal(404, "No such container.", "container.container-not-found")
        if asked.method == "DELETE":
            self.containers.remove(found)
            return 204, None
        if asked.method == "PATCH":
            found.update(asked.body)
        return (200, found) if len(parts) == 4 else (202, None)

    def _capsule(self, asked: Asked, ident: str) -> Reply:
        found = [one for one in self.capsules if ident in ("", one["uuid"], one["name"])]
        if not ident:
            wanted = asked.query.get("name")
            return 200, {"capsules": [c for c in found if wanted in (None, c["name"])], "next": None}
        if not found:
            return refusal(404, "Container could not be found.", "container.container-not-found")
        if asked.method == "DELETE":
            self.capsules.remove(found[0])
            return 204, None
        return (200, found[0]) if asked.method == "GET" else (202, None)

    def _collection(self, asked: Asked) -> Reply:
        if "capsule" in asked.query:
            [whole] = [one for one in self.capsules if asked.query["capsule"] in (one["uuid"], one["name"])]
            return 200, {"containers": _members(whole), "next": None}
        if asked.method == "POST":
            made = container(**{k: v for k, v in asked.body.items() if k in ("name", "image", "command")})
            self.containers.append(made)
            return 202, made
        ids = [c["uuid"] for c in self.containers]
        start = ids.index(asked.query["marker"]) + 1 if "marker" in asked.query else 0
        limit = min(self.page, int(asked.query.get("limit", 1000)))
        items = self.containers[start : start + limit]
        following = (
            f"{self.url}/v1/containers?limit={limit}&marker={items[-1]['uuid']}" if len(items) == limit else None
        )
        return 200, {"containers": items, "next": following}


def _members(whole: dict[str, Any]) -> list[dict[str, Any]]:
    return [*whole["init_containers"], *whole["containers"]]


@contextmanager
def fake_api() -> Iterator[FakeApi]:
    """A fake that listens on a port of this machine."""
    api = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            headers = {key.lower(): value for key, value in self.headers.items()}
            body = json.loads(content) if content else None
            status, document = api.reply(Asked(self.command, parts.path, query, headers, body))
            text = document if isinstance(document, bytes) else json.dumps(document).encode()
            text = b"" if status == 204 else text
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("X-OpenStack-Request-Id", "req-1")
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = answer

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
