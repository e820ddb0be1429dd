"""Nobody's image name, and no registry, makes the node ask where the operator's things are."""

import asyncio
import json
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import pytest

from krater.agent.runtimes.oci import containerd
from krater.agent.runtimes.oci.gate import door
from krater.agent.runtimes.oci.gate.space import in_new_space, is_apart
from krater.agent.runtimes.oci.images.grants import Grants
from krater.agent.runtimes.oci.runtime import OciRuntime
from krater.errors import Failed, Permanent
from krater.model.registry import RegistryRules
from krater.model.workload import PullPolicy
from tests.support.images import configuration, oci_members, small_layer
from tests.support.oci import OciNode
from tests.support.registry import serving_images

pytestmark = pytest.mark.live

HERE = socket.gethostname()
TINY = small_layer({"tiny": (0o644, b"x")})
MEMBERS = oci_members("box", [TINY], configuration([TINY]))


class Inner:
    """A server of the operator's that must hear nothing: a socket on every address of this machine."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self._socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                client, peer = self._socket.accept()
            except OSError:
                return
            self.heard.append(peer)
            client.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def inner() -> Iterator[Inner]:
    made = Inner()
    yield made
    made.close()


class Leading(BaseHTTPRequestHandler):
    """A registry that sends everybody elsewhere: for a token, for a manifest, or for its layers."""

    protocol_version = "HTTP/1.1"
    target = ""
    kind = ""
    layers: dict[str, tuple[str, bytes]]

    def do_GET(self) -> None:
        last = self.path.rpartition("/")[2]
        if self.kind == "token":
            self._say(401, {"WWW-Authenticate": f'Bearer realm="{self.target}/token",service="x"'})
        elif self.kind == "manifest" or "/blobs/" in self.path:
            self._say(307, {"Location": f"{self.target}{self.path}"})
        elif last in self.layers:
            kind, content = self.layers[last]
            self._say(200, {"Content-Type": kind, "Docker-Content-Digest": _digest()}, content)
        else:
            self._say(200, {})

    do_HEAD = do_GET
    do_POST = do_GET

    def _say(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _digest() -> str:

    return str(json.loads(MEMBERS["index.json"])["manifests"][0]["digest"])


@contextmanager
def leading(address: str, target: str, kind: str) -> Iterator[int]:
    """One that runs for as long as the block; its port."""

    described = json.loads(MEMBERS["index.json"])["manifests"][0]
    manifest = (described["mediaType"], MEMBERS[f"blobs/{described['digest'].replace(':', '/')}"])
    layers = {"1": manifest, described["digest"]: manifest}
    handler = type("Handler", (Leading,), {"target": target, "kind": kind, "layers": layers})
    server = ThreadingHTTPServer((address, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
async def nodes() -> AsyncIterator[list[OciNode]]:
    made: list[OciNode] = []
    yield made
    for node in made:
        await node.clear()


async def engine_with(nodes: list[OciNode], *reachable: str, **more: Any) -> OciRuntime:
    node = OciNode(registry_rules=RegistryRules(reachable=reachable), **more)
    nodes.append(node)
    return await node.engine()


async def pull(engine: OciRuntime, name: str) -> None:
    await engine.ensure_image(name, PullPolicy.ALWAYS)


async def test_names_that_mean_the_inside_are_not_asked(nodes: list[OciNode], inner: Inner) -> None:
    engine = await engine_with(nodes)
    address = socket.gethostbyname(HERE)
    for host in ("127.0.0.1", "127.1.2.3", "localhost", "a.localhost", "[::1]", "[::ffff:7f00:1]", "0.0.0.0",
                 "169.254.169.254", "[fe80::1]", address, HERE, "127.1", "2130706433", "[::]", "0x7f.1"):  # fmt: skip
        if host == HERE and ip_address(address).is_global:
            continue
        with pytest.raises(Permanent, match="operator's network"):
            await pull(engine, f"{host}:{inner.port}/box:1")
    assert inner.heard == []


async def test_a_name_that_stands_for_the_inside_leads_nowhere(
    nodes: list[OciNode], inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await engine_with(nodes)
    found = {
        "loop.example": "127.0.0.1",
        "mapped.example": "::ffff:127.0.0.1",
        "metadata.example": "169.254.169.254",
        "six.example": "::1",
        "unspecified.example": "0.0.0.0",
    }
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *args: Any, **kinds: Any) -> Any:
        return real(found.get(host, host), port, *args, **kinds)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for host in found:
        with pytest.raises(Permanent, match="operator's network"):
            await pull(engine, f"{host}:{inner.port}/box:1")
    assert inner.heard == []


async def test_a_name_that_changes_its_meaning_gains_nothing(
    nodes: list[OciNode], inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is connected to is the address that was looked at, not the name."""
    engine = await engine_with(nodes)
    answers = ["192.88.99.1", "127.0.0.1"]
    connected: list[str] = []

    def resolve(host: str, port: int, *args: Any, **kinds: Any) -> Any:
        address = answers[0] if len(answers) == 1 else answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(place: tuple[str, int], *args: Any, **kinds: Any) -> Any:
        connected.append(place[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    for _ in range(2):
        with pytest.raises(Failed):
            await pull(engine, f"rebinding.example:{inner.port}/box:1")
    assert set(connected) <= {"192.88.99.1"}
    assert inner.heard == []


@pytest.mark.parametrize("kind", ["token", "manifest", "layers"])
@pytest.mark.parametrize("own", ["127.0.0.1", HERE], ids=["loopback", "named"])
async def test_an_allowed_registry_cannot_lead_inside(nodes: list[OciNode], inner: Inner, kind: str, own: str) -> None:
    address = socket.gethostbyname(own)
    places = ("127.0.0.1", "localhost", "localhost.", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0.0.0.0",
              socket.gethostbyname(HERE))  # fmt: skip
    for place in places:
        with leading(address, f"http://{place}:{inner.port}", kind) as port:
            domain = f"{own}:{port}"
            plain = {} if own == "127.0.0.1" else {"plain_http_registries": (domain,)}
            engine = await engine_with(nodes, domain, **plain)
            with pytest.raises(Failed):
                await pull(engine, f"{domain}/box:1")
            assert inner.heard == [], (place, kind)
            await nodes.pop().clear()


@pytest.mark.parametrize("kind", ["token", "manifest", "layers"])
async def test_where_the_operator_allows_it_registries_may_lead(nodes: list[OciNode], inner: Inner, kind: str) -> None:
    """So that the tests around this one show what they are to show."""
    with leading(socket.gethostbyname(HERE), f"http://{HERE}:{inner.port}", kind) as port:
        domain = f"{HERE}:{port}"
        engine = await engine_with(nodes, domain, f"{HERE}:{inner.port}", plain_http_registries=(domain,))
        with pytest.raises(Failed):
            await pull(engine, f"{domain}/box:1")
        assert inner.heard != []


async def test_metadata_services_are_not_asked_either(nodes: list[OciNode], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = socket.create_connection

    def connect(place: tuple[str, int], *args: Any, **kinds: Any) -> Any:
        asked.append(place[0])
        return real(place, *args, **kinds)

    monkeypatch.setattr(socket, "create_connection", connect)
    for kind in ("token", "manifest", "layers"):
        with leading(socket.gethostbyname(HERE), "http://169.254.169.254", kind) as port:
            domain = f"{HERE}:{port}"
            engine = await engine_with(nodes, domain, plain_http_registries=(domain,))
            with pytest.raises(Permanent, match="operator's network"):
                await pull(engine, f"{domain}/box:1")
    assert "169.254.169.254" not in asked


async def test_denied_registries_and_hosts_are_not_asked(nodes: list[OciNode]) -> None:
    with serving_images() as registry:
        name = registry.put("box", "1", MEMBERS)
        rules = RegistryRules(deny=["127.*"], reachable=["127.0.0.0/8"])
        node = OciNode(registry_rules=rules)
        nodes.append(node)
        with pytest.raises(Permanent, match="does not allow"):
            await pull(await node.engine(), name)
        assert registry.requests == []


async def test_containerd_has_no_other_way_out(nodes: list[OciNode]) -> None:
    engine = await engine_with(nodes, "127.0.0.0/8")
    assert is_apart(nodes[0].containerd_pid())
    with serving_images() as registry:
        name = registry.put("box", "1", MEMBERS)
        await pull(engine, name)
    assert door.ADDRESS.startswith("127.")

    def interfaces() -> list[str]:
        return [name for _, name in socket.if_nameindex() if name == "lo" or not name.startswith(("tunl", "sit"))]

    assert in_new_space(interfaces) == ["lo"]


async def test_the_gate_is_found_again_after_a_crash_and_a_new_containerd(nodes: list[OciNode]) -> None:
    engine = await engine_with(nodes, "127.0.0.0/8")
    node = nodes[0]
    with serving_images() as registry:
        first, second, third = (registry.put("box", tag, MEMBERS) for tag in ("1", "2", "3"))
        await pull(engine, first)
        again = await node.crashed(engine)
        await pull(again, second)

        os.kill(node.containerd_pid(), signal.SIGKILL)
        for _ in range(200):
            try:
                await pull(again, third)
                break
            except Failed:
                await asyncio.sleep(0.05)
        assert third in [image.name for image in await again.images()]


async def test_an_image_store_that_nobody_guards_is_replaced(
    nodes: list[OciNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that an older Krater left running."""
    node = OciNode()
    nodes.append(node)
    with monkeypatch.context() as before:
        before.setattr(containerd, "in_new_space", lambda start: start())
        await (await node.engine()).close()
    unguarded = node.containerd_pid()
    assert not is_apart(unguarded)
    again = await node.engine()
    assert node.containerd_pid() != unguarded
    assert is_apart(node.containerd_pid())
    with serving_images() as registry:
        await pull(again, registry.put("box", "1", MEMBERS))


def test_a_guard_that_cannot_be_read_gives_nothing_to_anybody(tmp_path: Any) -> None:
    grants = Grants(str(tmp_path))
    grants.guard("r/box")
    grants.give("r/box", "sha256:1", "ann")
    assert grants.admits("r/box", "sha256:1", "ann")
    for file in tmp_path.glob("*.json"):
        file.write_bytes(b"{")
    assert not grants.admits("r/box", "sha256:1", "ann")
    assert grants.admits("r/other", "sha256:1", "ann")
