"""Consoles over TLS: what the API hands out, what clients make of it, and who is refused."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from krater.client import Client, Unreachable, find_access
from krater.client.console import STDOUT
from tests.support.authority import Certificate, certificate_for
from tests.support.containers import remove_all, running
from tests.support.server import BIN, Server, serving

pytestmark = pytest.mark.live

BINARY = Subprotocol("binary")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate_for(tmp_path_factory.mktemp("authority"), "127.0.0.1")


@pytest.fixture(scope="module")
def guarded(certificate: Certificate) -> Iterator[Server]:
    files = f"gateway.tls_certificate={certificate.certificate}", f"gateway.tls_key={certificate.key}"
    with serving(*files) as server:
        yield server
        remove_all(server)


@pytest.fixture(scope="module")
def echo(guarded: Server) -> str:
    """A container that says what it is told."""
    return running(guarded, ["cat"], interactive=True)


def trusting(server: Server, authority: Path | None) -> Client:
    access = find_access(client_file=str(server.directory / "client.yaml"), environ={})
    return Client.from_access(replace(access, cacert=None if authority is None else str(authority)))


def wss(server: Server, container: str) -> str:
    """What the API hands out to attach: a new one each time, since each is good once."""
    url = str(server.client()._session.get(f"/v1/containers/{container}/attach"))
    assert url.startswith("wss://127.0.0.1:"), url
    return url


def test_the_sdk_attaches_and_executes(guarded: Server, certificate: Certificate, echo: str) -> None:
    with trusting(guarded, certificate.authority) as client:
        with client.containers.attach(echo) as console:
            console.send(b"through tls\n")
            assert next(console.outputs()) == (STDOUT, b"through tls\n")
        with client.containers.open_exec(echo, ["sh", "-c", "echo done; exit 7"]) as console:
            assert [*console.outputs()] == [(STDOUT, b"done\n")]
            assert console.exit_code == 7


def test_a_plain_websocket_client_attaches(guarded: Server, certificate: Certificate, echo: str) -> None:
    sent = b"x" * 100_000 + b"\n"
    with connect(wss(guarded, echo), subprotocols=[BINARY], ssl=certificate.trusting(), proxy=None) as client:
        assert client.subprotocol == BINARY
        client.send(sent)
        got = b""
        while len(got) < len(sent):
            message = client.recv(timeout=20)
            assert isinstance(message, bytes)
            got += message
        assert got == sent


def test_the_command_attaches(guarded: Server, certificate: Certificate, echo: str) -> None:
    words = [str(BIN / "krater"), "--cacert", str(certificate.authority), "exec", "-i", echo, "sh", "-c", "cat; exit 3"]
    done = subprocess.run(words, input=b"in\n", env=guarded.environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, b"in\n"), done.stderr


def test_who_does_not_trust_the_certificate_says_so_and_sends_nothing(guarded: Server, echo: str) -> None:
    with trusting(guarded, None) as client, pytest.raises(Unreachable, match=r"(?i)certificate"):
        client.containers.attach(echo)


def test_without_tls_nobody_gets_in(guarded: Server, echo: str) -> None:
    plain = wss(guarded, echo).replace("wss://", "ws://", 1)
    with pytest.raises((InvalidHandshake, OSError, EOFError)), connect(plain, subprotocols=[BINARY], proxy=None):
        pass


def test_pages_of_the_gateway_itself_must_have_come_over_tls(
    guarded: Server, certificate: Certificate, echo: str
) -> None:
    tls = certificate.trusting()
    url = wss(guarded, echo)
    here = url.removeprefix("wss://").partition("/")[0]
    with pytest.raises(InvalidStatus) as refused, connect(url, origin=Origin(f"http://{here}"), ssl=tls, proxy=None):
        pass
    assert refused.value.response.status_code == 403
    with connect(url, origin=Origin(f"https://{here}"), subprotocols=[BINARY], ssl=tls, proxy=None) as client:
        client.send(b"from a page\n")
        assert client.recv(timeout=20) == b"from a page\n"
