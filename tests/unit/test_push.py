"""The distribution protocol against a registry that asks for logins and has moods."""

import asyncio
import base64
import hashlib
import json
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from krater.agent.runtimes.interfaces import PushTarget
from krater.agent.runtimes.oci.images.push import Registry
from krater.errors import Forbidden, Permanent, Temporary
from krater.model.registry import RegistryRules
from krater.outgoing import Place, Ways

pytestmark = pytest.mark.thorough

WAYS = Ways(RegistryRules(reachable=["127.0.0.0/8"]), {})

CONTENT = b"a layer" * 100_000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class FakeRegistry(ThreadingHTTPServer):
    """`login` is "", basic or token; `uploads_to` is where uploads are sent; `status` is its mood."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.login, self.status, self.words = "", 0, ""
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.seen: list[tuple[str, str, str]] = []
        self.uploads_to = ""

    @property
    def domain(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeRegistry

    def serve(self) -> None:
        parts = urlsplit(self.path)
        shown = self.headers.get("Authorization", "")
        self.server.seen.append((self.command, parts.path, shown))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if parts.path == "/token":
            good = shown == f"Basic {base64.b64encode(b'ann:secret').decode()}"
            return self.answer(200 if good else 401, b'{"token": "ticket"}' if good else b"{}")
        if not self.is_welcome(shown):
            return self.answer(401, b"{}", self.challenge())
        if self.server.status:
            return self.answer(self.server.status, json.dumps({"errors": [{"message": self.server.words}]}).encode())
        last = parts.path.rpartition("/")[2]
        if self.command == "HEAD":
            return self.answer(200 if last in self.server.blobs else 404, b"")
        if self.command == "POST":
            place = self.server.uploads_to or "/v2/team/app/blobs/uploads/7?state=x"
            return self.answer(202, b"", {"Location": place})
        if "/manifests/" in parts.path:
            self.server.manifests[last] = body
            return self.answer(201, b"")
        if len(body) == int(self.headers["Content-Length"]):  # otherwise it was broken off
            self.server.blobs[parse_qs(parts.query)["digest"][0]] = body
            self.answer(201, b"")

    do_HEAD = do_GET = do_POST = do_PUT = serve

    def is_welcome(self, shown: str) -> bool:
        basic = f"Basic {base64.b64encode(b'ann:secret').decode()}"
        return shown == {"": shown, "basic": basic, "token": "Bearer ticket"}[self.server.login]

    def challenge(self) -> dict[str, str]:
        if self.server.login == "basic":
            return {"WWW-Authenticate": 'Basic realm="x"'}
        realm = f'realm="http://{self.server.domain}/token",service="reg",scope="repository:team/app:pull,push"'
        return {"WWW-Authenticate": f"Bearer {realm}"}

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    made = FakeRegistry()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def trusted(place: Place) -> ssl.SSLContext:
    return ssl.create_default_context()


def client(server: FakeRegistry, username: str = "ann", password: str = "secret") -> Registry:  # noqa: S107
    target = PushTarget(f"{server.domain}/team/app:1", username, password)
    return Registry(target, WAYS, trusted, secure=False)


async def pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(CONTENT), 65536):
        await asyncio.sleep(0)
        yield CONTENT[start : start + 65536]


@pytest.mark.parametrize("login", ["", "basic", "token"])
async def test_a_blob_and_a_manifest_arrive(server: FakeRegistry, login: str) -> None:
    server.login = login
    registry = client(server)
    assert not await registry.has_blob(DIGEST)
    await registry.put_blob(DIGEST, len(CONTENT), pieces)
    assert await registry.has_blob(DIGEST)
    await registry.put_manifest(b"{}", "application/json")
    assert (server.blobs, server.manifests) == ({DIGEST: CONTENT}, {"1": b"{}"})


@pytest.mark.parametrize("login", ["basic", "token"])
@pytest.mark.parametrize(("username", "password"), [("ann", "wrong"), ("", "")])
async def test_a_wrong_login_is_told_once(server: FakeRegistry, login: str, username: str, password: str) -> None:
    server.login = login
    with pytest.raises(Permanent, match="log"):
        await client(server, username, password).put_blob(DIGEST, len(CONTENT), pieces)
    assert len(server.seen) <= 3
    assert server.blobs == {}


async def test_credentials_go_to_the_registry_and_its_token_server_only(server: FakeRegistry) -> None:
    other = FakeRegistry()
    threading.Thread(target=other.serve_forever, daemon=True).start()
    server.login, server.uploads_to = "basic", f"http://{other.domain}/elsewhere"
    await client(server).put_blob(DIGEST, len(CONTENT), pieces)
    other.shutdown()
    other.server_close()
    assert other.blobs == {DIGEST: CONTENT}
    assert [shown for _, _, shown in other.seen] == [""]


async def test_where_uploads_lead_is_judged_too(server: FakeRegistry) -> None:
    other = FakeRegistry()  # never served: nobody must come
    server.uploads_to = f"http://localhost:{other.server_port}/elsewhere"
    rules = RegistryRules(reachable=["127.0.0.0/8"], deny=[f"localhost:{other.server_port}"])
    registry = Registry(PushTarget(f"{server.domain}/team/app:1"), Ways(rules, {}), trusted, secure=False)
    with pytest.raises(Forbidden, match="is not where images may come from"):
        await registry.put_blob(DIGEST, len(CONTENT), pieces)
    other.server_close()


async def test_where_a_login_is_asked_for_is_judged_too(server: FakeRegistry) -> None:
    server.login = "token"
    rules = RegistryRules(reachable=["localhost"])  # the token's realm is 127.0.0.1
    registry = Registry(
        PushTarget(f"localhost:{server.server_port}/team/app:1", "ann", "secret"),
        Ways(rules, {}),
        trusted,
        secure=False,
    )
    with pytest.raises(Forbidden, match="not where images"):
        await registry.has_blob(DIGEST)
    assert {path for _, path, _ in server.seen} == {f"/v2/team/app/blobs/{DIGEST}"}


async def test_a_secure_registry_cannot_lead_to_plain_http() -> None:
    registry = Registry(PushTarget("registry.example/team/app:1", "ann", "secret"), WAYS, trusted, secure=True)
    with pytest.raises(Forbidden, match="without TLS"):
        await registry.ask("PUT", "http://registry.example/upload", (201,), body=b"")


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (400, Permanent, "does not take .*: too large"),
        (403, Permanent, "does not let you push"),
        (404, Permanent, "has no place"),
        (413, Permanent, "too large"),
        (429, Temporary, "cannot take"),
        (500, Temporary, "cannot take"),
        (503, Temporary, "cannot take"),
    ],
)
async def test_what_a_registry_refuses(server: FakeRegistry, status: int, error: type[Exception], words: str) -> None:
    server.status, server.words = status, "too large"
    with pytest.raises(error, match=words):
        await client(server).put_manifest(b"{}", "application/json")


async def test_a_source_that_fails_ends_the_upload(server: FakeRegistry) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield CONTENT[:1000]
        raise Permanent("the image is damaged")

    with pytest.raises(Permanent, match="damaged"):
        await client(server).put_blob(DIGEST, len(CONTENT), broken)
    assert server.blobs == {}


@pytest.mark.parametrize(
    ("reference", "base"),
    [
        ("team/app:1", "https://registry-1.docker.io/v2/team/app/"),
        ("app", "https://registry-1.docker.io/v2/library/app/"),
        ("registry.example:5000/a/b/c:1", "https://registry.example:5000/v2/a/b/c/"),
    ],
)
def test_addresses_of_repositories(reference: str, base: str) -> None:
    assert Registry(PushTarget(reference), WAYS, trusted, secure=True).base == base
