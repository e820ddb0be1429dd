"""Where connections for tenants may lead."""

import http.client
import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from krater.errors import Forbidden, Temporary
from krater.model.registry import RegistryRules
from krater.outgoing import Place, Ways, link


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://registry.example/v2/", Place("https", "registry.example", 443)),
        ("http://registry.example/v2/", Place("http", "registry.example", 80)),
        ("https://registry.example:5000/v2/", Place("https", "registry.example", 5000)),
        ("https://[2001:db8::1]:5000/", Place("https", "2001:db8::1", 5000)),
    ],
)
def test_where_urls_lead(url: str, place: Place) -> None:
    assert Place.of(url) == place


@pytest.mark.parametrize(
    "url",
    ["", "file:///etc/passwd", "ftp://x/", "https:///x", "https://u:p@x/", "https://x:99999/", "https://x:a/", "//x/"],
)
def test_what_is_no_registry(url: str) -> None:
    with pytest.raises(Forbidden):
        Place.of(url)


@pytest.fixture
def listening() -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((self.headers["Host"] or "").encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def asked(made: http.client.HTTPConnection) -> bytes:
    made.request("GET", "/")
    content = made.getresponse().read()
    made.close()
    return content


def test_a_name_is_looked_up_once_and_the_address_that_was_judged_is_taken(
    listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, answers = socket.getaddrinfo, iter(["127.0.0.1", "127.0.0.2"])
    asked_for: list[str] = []

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        asked_for.append(host)
        return real(next(answers) if host == "registry.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    ways = Ways(RegistryRules(reachable=["127.0.0.1"]), {})
    made = link(Place("http", "registry.example", listening), ways, None, 5)
    assert asked(made) == f"registry.example:{listening}".encode()
    assert asked_for.count("registry.example") == 1
    with pytest.raises(Forbidden):  # it means something else now
        link(Place("http", "registry.example", listening), ways, None, 5)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"])
def test_what_is_not_the_internet_must_be_named(host: str) -> None:
    with pytest.raises(Forbidden):
        link(Place("http", host.strip("[]"), 1), Ways(RegistryRules(), {}), None, 5)


def test_this_machine_is_asked_without_a_proxy(listening: int) -> None:
    ways = Ways(RegistryRules(reachable=["127.0.0.0/8"]), {"http": "http://127.0.0.1:1"})
    assert asked(link(Place("http", "127.0.0.1", listening), ways, None, 5)) == f"127.0.0.1:{listening}".encode()


def test_what_does_not_answer_is_told() -> None:
    ways = Ways(RegistryRules(reachable=["127.0.0.0/8"]), {})
    with pytest.raises(Temporary, match="does not answer"):
        link(Place("http", "127.0.0.1", 1), ways, None, 5)
    with pytest.raises(Temporary, match="has no address"):
        link(Place("http", "no-such-host.invalid", 1), ways, None, 5)


def test_what_speaks_no_tls_is_told(listening: int) -> None:
    with pytest.raises(Temporary, match="TLS"):
        link(Place("https", "127.0.0.1", listening), Ways(RegistryRules(reachable=["127.0.0.0/8"]), {}), None, 5)
