"""What strangers send, before anybody knows who they are: it must cost them more than us, and never end in a 500."""

import asyncio
import base64
import socket
from collections.abc import Iterator

import pytest

from krater.api import connections
from tests.support.api import World
from tests.support.front import listening
from tests.support.server import Server, serving

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def door() -> Iterator[Server]:
    with serving(fake=True) as server:
        yield server


def asked(server: Server, *lines: bytes) -> bytes:
    """The head of the answer to a request of these lines."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"\r\n".join([*lines, b"Host: here", b"", b""]))
        return connection.recv(65536).partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize("piece", [b"x-filler: " + b"x" * 60_000 + b"\r\n", b"x" * 60_000])
def test_a_head_without_end_is_cut_off(door: Server, piece: bytes) -> None:
    begin = b"GET / HTTP/1.1\r\n" if piece.endswith(b"\n") else b"GET /"
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(begin)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(piece * 1000)


def test_a_guesser_cannot_pretend_to_come_from_elsewhere(door: Server) -> None:
    answers = []
    for number in range(6):
        basic = base64.b64encode(b"admin:guess-%d" % number)
        spoofed = b"X-Forwarded-For: 192.0.2.%d" % number
        answers.append(asked(door, b"GET /v1/containers HTTP/1.1", b"Authorization: Basic " + basic, spoofed))
    assert b"retry-after" in answers[-1]


@pytest.mark.parametrize(
    "value", [b"Basic \xe9", b"Basic " + base64.b64encode(b"\xff:x"), b"Basic ====", b"basic", b"\xff"]
)
def test_no_authorization_header_is_an_inner_error(door: Server, value: bytes) -> None:
    answer = asked(door, b"GET /v1/containers HTTP/1.1", b"Authorization: " + value)
    assert answer.startswith(b"http/1.1 401 "), answer


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab"])
async def test_a_request_that_does_not_go_on_loses_its_connection(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN", 0.05)
    monkeypatch.setattr(connections, "REQUEST_WITHIN", 0.1)
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_whole_requests_keep_their_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN", 0.2)
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 150000\r\n\r\n" + b"x" * 150_000)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
            await asyncio.sleep(0.3)
        writer.close()


async def test_more_connections_than_allowed_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 2)
    async with listening() as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        async with asyncio.timeout(5):
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await held[2][0].readexactly(1)
        for _, writer in held:
            writer.close()


async def test_a_line_feed_is_no_part_of_an_image_name(world: World) -> None:
    for name in ("alpine\n", "alpine:3\n", f"alpine@sha256:{'0' * 64}\n", "a.b\n/alpine"):
        answer = await world.call("POST", "/v1/containers", json={"image": name})
        assert answer.status_code == 400, name
