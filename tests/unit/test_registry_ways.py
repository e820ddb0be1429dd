"""Connections to registries: to checked addresses, straight or through the operator's proxy; and what is passed on."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from krater.agent.runtimes.oci.gate.door import Door
from krater.model.registry import RegistryRules
from krater.outgoing import Refused, Unreachable, Ways


class Server:
    """Listens on the loopback address, answers everybody the same, and remembers what it heard."""

    def __init__(self, answer: bytes) -> None:
        self.heard: list[bytes] = []
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                self.heard.append(client.recv(65536))
                client.sendall(self._answer)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def proxy() -> Iterator[Server]:
    with closing(Server(b"HTTP/1.1 200 ok\r\n\r\nhello")) as made:
        yield made


def resolving(monkeypatch: pytest.MonkeyPatch, **names: str) -> None:
    """Only these names have an address."""
    real = socket.getaddrinfo

    def resolve(host: str, port: Any, *args: Any, **more: Any) -> Any:
        known = names.get(host.replace(".", "_").replace("-", "_"), host)
        if known == "none":
            raise socket.gaierror(-2, "no such name")
        return real(known, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_the_operators_proxy_is_used_and_logged_in_to(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, registry_example="none", public_example="8.8.8.8")
    ways = Ways(RegistryRules(), {"https": f"http://me:se%20cret@127.0.0.1:{proxy.port}", "no": "inside.example"})
    for host in ("registry.example", "public.example"):
        with ways.connect(host, 443, "https") as way:
            assert way.recv(5) == b"hello"
        assert proxy.heard[-1].startswith(f"CONNECT {host}:443 HTTP/1.1\r\n".encode())
        assert b"Proxy-Authorization: Basic bWU6c2UgY3JldA==\r\n" in proxy.heard[-1]


def test_the_operators_proxy_is_no_way_inside(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, loop_example="127.0.0.1", denied_example="none")
    ways = Ways(RegistryRules(deny=["denied.example"]), {"https": f"http://127.0.0.1:{proxy.port}"})
    for host in ("127.0.0.1", "localhost", "loop.example", "denied.example", "169.254.169.254", "::1"):
        with pytest.raises(Refused):
            ways.connect(host, 443, "https")
    assert proxy.heard == []


def test_a_proxy_that_refuses_is_unreachable() -> None:
    with closing(Server(b"HTTP/1.1 403 no\r\n\r\n")) as proxy:
        ways = Ways(RegistryRules(), {"https": f"http://127.0.0.1:{proxy.port}"})
        with pytest.raises(Unreachable, match="does not connect"):
            ways.connect("8.8.8.8", 443, "https")


def test_without_an_address_nothing_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, registry_example="none")
    with pytest.raises(Unreachable, match="no address"):
        Ways(RegistryRules(), {}).connect("registry.example", 443, "https")


def through_the_door(rules: RegistryRules, request: bytes) -> bytes:
    """What a client of the gate gets."""
    listener = socket.create_server(("127.0.0.1", 0))
    Door(Ways(rules, {})).open(listener)
    with socket.create_connection(listener.getsockname(), timeout=10) as client:
        read = b""
        with suppress(ConnectionError):  # hung up on while it still talks
            client.sendall(request)
            while piece := client.recv(65536):
                read += piece
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    return read


def test_one_request_a_connection_is_passed_on_and_the_next_is_not() -> None:
    """The next may be for another host: its login must not be told to this one."""
    with closing(Server(b"HTTP/1.1 200 ok\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi")) as server:
        place = f"127.0.0.1:{server.port}"
        head = f"POST http://{place}/v2/?a=b HTTP/1.1\r\nHost: {place}\r\nProxy-Connection: x\r\n"
        first = f"{head}Content-Length: 3\r\n\r\nabc"
        second = "GET http://other.example/ HTTP/1.1\r\nAuthorization: Basic c2VjcmV0\r\n\r\n"
        answer = through_the_door(RegistryRules(reachable=["127.0.0.1"]), (first + second).encode())
    assert answer.startswith(b"HTTP/1.1 200 ok\r\n")
    assert answer.endswith(b"\r\nConnection: close\r\n\r\nhi")
    assert b"keep-alive" not in answer
    [heard] = server.heard
    assert heard.startswith(b"POST /v2/?a=b HTTP/1.1\r\nHost: ")
    assert heard.endswith(b"Connection: close\r\n\r\nabc")
    assert b"c2VjcmV0" not in heard
    assert b"Proxy-Connection" not in heard


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /v2/ HTTP/1.1", b"403"),
        ("GET ftp://registry.example/ HTTP/1.1", b"403"),
        ("GET http://127.0.0.1:1/ HTTP/1.1", b"403"),
        ("CONNECT 127.0.0.1:1 HTTP/1.1", b"403"),
        ("CONNECT [::1]:1 HTTP/1.1", b"403"),
        ("CONNECT 2130706433:1 HTTP/1.1", b"403"),
        ("CONNECT 169.254.169.254:80 HTTP/1.1", b"403"),
        ("CONNECT :80 HTTP/1.1", b"403"),
        ("CONNECT registry.example:99999 HTTP/1.1", b"502"),
        ("CONNECT [::1 HTTP/1.1", b"502"),
    ],
)
def test_what_leads_inside_is_refused_in_a_word(request_line: str, status: bytes) -> None:
    answer = through_the_door(RegistryRules(), f"{request_line}\r\n\r\n".encode())
    assert answer.split(b" ")[1] == status
    assert b"krater-" in answer


@pytest.mark.parametrize("nonsense", [b"\r\n\r\n", b"hello\r\n\r\n", b"\0" * 100_000])
def test_nonsense_is_hung_up_on(nonsense: bytes) -> None:
    assert through_the_door(RegistryRules(), nonsense) == b""
