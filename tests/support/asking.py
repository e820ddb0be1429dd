"""Requests as anybody may send them, well formed or not, over a connection of their own."""

import base64
import http.client
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from krater.client import find_access
from tests.support.server import BIN, Server

MIB = 1 << 20


@dataclass(frozen=True)
class Reply:
    """An answer. `seconds` is how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The document it holds."""
        return json.loads(self.body)

    @property
    def title(self) -> str:
        """What an error document tells people."""
        return str(self.json["errors"][0]["title"])


@dataclass(frozen=True)
class User:
    """Somebody with a password for one Krater. `source` is the loopback address they come from."""

    server: Server
    name: str
    password: str
    source: str = "127.0.0.1"

    def ask(self, method: str, path: str, body: Any = None, version: str = "1.40", **headers: str) -> Reply:
        """Send one request. Bytes go out as they are, everything else as JSON."""
        login = base64.b64encode(f"{self.name}:{self.password}".encode()).decode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if "X-Auth-Token" not in given:
            given["Authorization"] = f"Basic {login}"
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        given["OpenStack-API-Version"] = f"container {version}"
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        began = time.monotonic()
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.port, timeout=60, source_address=(self.source, 0)
        )
        try:
            connection.request(method, path, raw, given)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        lowered = {key.lower(): value for key, value in answer.headers.items()}
        return Reply(answer.status, lowered, content, time.monotonic() - began)

    def create(self, name: str, *, run: bool = False, **wanted: Any) -> Reply:
        """Ask for a small container."""
        small = {"image": "busybox", "command": ["sleep", "1000"], "cpu": 0.1, "memory": "16"}
        return self.ask("POST", f"/v1/containers?run={run}", {**small, "name": name, **wanted})

    def token(self) -> str:
        """A token, as an OpenStack client gets one."""
        who = {"name": self.name, "password": self.password, "domain": {"id": "default"}}
        asked = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}}}
        reply = self.ask("POST", "/identity/v3/auth/tokens", asked)
        assert reply.status == 201, reply.body
        return reply.headers["x-subject-token"]


def admin_of(server: Server) -> User:
    """The administrator, with the password of the first start."""
    access = find_access(client_file=str(server.directory / "client.yaml"), environ={})
    assert access.username is not None
    assert access.password is not None
    return User(server, access.username, access.password)


def with_account(server: Server, name: str) -> User:
    """A new user with a project of their own."""
    user = User(server, name, f"the secret of {name}")
    done = subprocess.run(
        [str(BIN / "krater"), "account", "add", name, *server.options],
        input=f"{user.password}\n", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return user


def send_endless(server: Server, path: str, size: int, *, declared: bool) -> bytes:
    """Begin a POST of `size` bytes and send on until the server has had enough; what it answered."""
    user = admin_of(server)
    login = base64.b64encode(f"{user.name}:{user.password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.connect()
    assert connection.sock is not None
    length = f"Content-Length: {size}" if declared else "Transfer-Encoding: chunked"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n{length}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    answer = b""
    try:
        connection.sock.sendall(head.encode())
        for piece in _pieces(size, declared):
            connection.sock.sendall(piece)
        connection.sock.sendall(b"" if declared else b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        pass  # it had enough
    try:
        answer = connection.sock.recv(65536)
    except ConnectionResetError:
        pass
    finally:
        connection.close()
    return answer


def _pieces(size: int, declared: bool) -> Iterator[bytes]:
    piece = b"x" * 65536
    for _ in range(0, size, len(piece)):
        yield piece if declared else b"%x\r\n%s\r\n" % (len(piece), piece)


def peak_memory(server: Server) -> int:
    """The most memory the server's process had since `forget_peak`, in bytes."""
    assert server.child is not None
    with open(f"/proc/{server.child.pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def forget_peak(server: Server) -> int:
    """Measure the peak anew from now on; what it is now."""
    assert server.child is not None
    with open(f"/proc/{server.child.pid}/clear_refs", "w") as file:
        file.write("5")
    return peak_memory(server)
