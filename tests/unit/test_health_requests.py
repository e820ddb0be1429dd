"""Requests to servers of tenants: what counts as an answer, and what hostile ones cost. Real sockets, in real time."""

import asyncio
import ssl
import threading
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from krater.agent.probing import LONGEST_HEAD, Place, Prober
from krater.agent.runtimes.fake import FakeRuntime
from krater.agent.verdicts import Outcome
from krater.agent.vif.fake import FakeVif
from krater.model.member import HttpRequest, Probe
from tests.support.authority import certificate_for
from tests.support.oci import until

pytestmark = pytest.mark.thorough

PATIENT = 60  # seconds, for what should be answered: the machine may be slow
PLACE = Place("c", "box", "127.0.0.1")


class Box:
    """A sandbox with one server in it, and somebody who asks it."""

    def __init__(self) -> None:
        self.vif = FakeVif()
        self.prober = Prober(FakeRuntime(), self.vif)
        self.requests: list[bytes] = []

    async def open(self) -> None:
        """Have the sandbox."""
        await self.vif.open()
        await self.vif.make_sandbox(PLACE.sandbox)

    async def close(self) -> None:
        """Have nothing."""
        self.prober.close()
        await self.vif.close()

    def serve(self, server: Callable[[Reader, Writer], Awaitable[None]]) -> None:
        """Have this at port 80."""
        self.vif.world.servers[(PLACE.sandbox, 80)] = server

    def answer(self, *pieces: bytes, stay: bool = False) -> None:
        """Have the server read a request and say this, in pieces; then it ends, or stays."""

        async def server(reader: Reader, writer: Writer) -> None:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            if stay:
                await reader.read()

        self.serve(server)

    async def get(self, path: str = "/", *, timeout: int = PATIENT, scheme: str = "http") -> Outcome:
        """Ask once."""
        return await self.prober.ask(PLACE, Probe(http=HttpRequest(80, path, scheme), timeout=timeout))


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    made = Box()
    await made.open()
    yield made
    await made.close()


@pytest.mark.parametrize("status", [200, 204, 301, 302, 308, 399])
async def test_from_200_to_399_all_is_well_and_nobody_goes_where_a_redirect_leads(box: Box, status: int) -> None:
    box.answer(b"HTTP/1.1 %d X\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n" % status)
    assert await box.get() == Outcome(True, f"GET / from http port 80: status {status}")
    assert len(box.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503, 599, 600, 999])
async def test_every_other_status_is_a_failure(box: Box, status: int) -> None:
    box.answer(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
    assert await box.get("/well?deep=1") == Outcome(False, f"GET /well?deep=1 from http port 80: status {status}")


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.0 200 OK\r\n\r\n"],
        [b"HTTP/1.1 200\r\n\r\n"],
        [b"HTTP/1.1 200 OK\n\n"],
        [b"H", b"TTP/1.1 2", b"00 OK\r\nServer: x\r", b"\n\r", b"\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"],
        [b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nX: " + b"x" * (LONGEST_HEAD - 30), b"\r\n\r\n" + b"body" * 100_000],
    ],
)
async def test_an_answer_is_understood_however_it_comes(box: Box, pieces: list[bytes]) -> None:
    box.answer(*pieces)
    assert (await box.get()).succeeded


async def test_a_server_that_keeps_its_connection_open_is_not_waited_for(box: Box) -> None:
    box.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx", stay=True)
    assert (await asyncio.wait_for(box.get(timeout=600), PATIENT)).succeeded


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([b""], "it said nothing"),
        ([b"SSH-2.0-OpenSSH_9.2p1\r\n"], "its answer is not HTTP"),
        ([b"HTTP/1.1 2000 OK\r\n\r\n"], "its answer is not HTTP"),
        ([b"HTTP/1.1 OK\r\n\r\n"], "its answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nServer: x\r\n"], "its answer broke off"),
        (
            [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000],
            f"the head of its answer is longer than {LONGEST_HEAD} bytes",
        ),
        ([b"HTTP/1.1 100 C\r\n\r\n" * 10_000], f"the head of its answer is longer than {LONGEST_HEAD} bytes"),
    ],
)
async def test_what_is_no_answer_is_said(box: Box, pieces: list[bytes], why: str) -> None:
    box.answer(*pieces)
    assert await box.get() == Outcome(False, f"GET / from http port 80: {why}")


async def test_nobody_there(box: Box) -> None:
    assert await box.get() == Outcome(False, "GET / from http port 80: connection refused")
    assert await box.prober.ask(PLACE, Probe(port=81)) == Outcome(False, "port 81: connection refused")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_silence_is_not_waited_for_longer_than_asked(box: Box, scheme: str) -> None:
    box.answer(stay=True)
    assert await box.get(timeout=1, scheme=scheme) == Outcome(
        False, f"GET / from {scheme} port 80: no answer within 1 seconds"
    )


async def test_one_who_drips_is_given_up_in_time_and_wakes_us_seldom(box: Box) -> None:
    sent = 0

    async def drips(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x")
            sent += 1
            await asyncio.sleep(0)

    taken = 0
    loop = asyncio.get_running_loop()
    plain = loop.sock_recv

    async def counted(*arguments: object) -> bytes:
        nonlocal taken
        taken += 1
        return await plain(*arguments)  # type: ignore[arg-type]

    box.serve(drips)
    loop.sock_recv = counted  # type: ignore[method-assign,assignment]
    assert not (await box.get(timeout=2)).succeeded
    assert taken < 250
    assert sent > taken


async def test_one_who_sends_without_end_gets_rid_of_little(box: Box) -> None:
    taken = asyncio.Event()
    sent = 0

    async def floods(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 4096)
                await writer.drain()
                sent += 4096
        finally:
            taken.set()

    box.serve(floods)
    assert (await box.get()).succeeded
    await asyncio.wait_for(taken.wait(), PATIENT)
    assert sent < 2 << 20


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/", b"GET / HTTP/1.1"),
        ("/a?b=c&d=%20", b"GET /a?b=c&d=%20 HTTP/1.1"),
        ("/a b\r\nX: y\r\n\r\nGET /c", b"GET /a%20b%0D%0AX:%20y%0D%0A%0D%0AGET%20/c HTTP/1.1"),
        ("//elsewhere/", b"GET //elsewhere/ HTTP/1.1"),
        ("/\N{SNOWMAN}#x", b"GET /%E2%98%83%23x HTTP/1.1"),
    ],
)
async def test_a_path_is_nothing_but_a_path(box: Box, path: str, line: bytes) -> None:
    box.answer(b"HTTP/1.1 200 OK\r\n\r\n")
    assert (await box.get(path)).succeeded
    (request,) = box.requests
    assert request.split(b"\r\n") == [
        line,
        b"Host: 127.0.0.1:80",
        b"User-Agent: krater-probe",
        b"Accept: */*",
        b"Connection: close",
        b"",
        b"",
    ]


@pytest.fixture
def secured(tmp_path: Path) -> ssl.SSLContext:
    """A server's context, with a certificate for somebody else that nobody trusts."""
    files = certificate_for(tmp_path, "somebody.example")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files.certificate, files.key)
    return made


@asynccontextmanager
async def over_tls(box: Box, context: ssl.SSLContext, answer: bytes) -> AsyncIterator[None]:
    """Inside, the server is one that speaks TLS, and listens elsewhere on this machine."""

    async def server(reader: Reader, writer: Writer) -> None:
        with suppress(OSError):
            box.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            writer.close()

    async def pump(reader: Reader, writer: Writer) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def relay(reader: Reader, writer: Writer) -> None:
        there, back = await asyncio.open_connection(*listening.sockets[0].getsockname())
        await asyncio.gather(pump(reader, back), pump(there, writer))

    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=context)
    async with listening:
        box.serve(relay)
        yield


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_https_is_asked_whatever_the_certificate_says(
    box: Box, secured: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    secured.minimum_version = secured.maximum_version = version
    async with over_tls(box, secured, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"):
        assert await box.get(scheme="https") == Outcome(True, "GET / from https port 80: status 200")
    async with over_tls(box, secured, b"HTTP/1.1 503 Busy\r\n\r\n" + b"x" * 1_000_000):
        assert await box.get(scheme="https") == Outcome(False, "GET / from https port 80: status 503")
    async with over_tls(box, secured, b"HTTP/1.1 200 OK\r\nX:"):
        assert await box.get(scheme="https") == Outcome(False, "GET / from https port 80: its answer broke off")


async def test_keys_are_agreed_on_beside_the_event_loop(
    box: Box, secured: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    plain = ssl.SSLObject.do_handshake

    def noted(self: ssl.SSLObject) -> None:
        if not self.server_side:
            threads.add(threading.current_thread().name)
        plain(self)

    monkeypatch.setattr(ssl.SSLObject, "do_handshake", noted)
    async with over_tls(box, secured, b"HTTP/1.1 200 OK\r\n\r\n"):
        assert (await box.get(scheme="https")).succeeded
    assert len(threads) == 1
    assert threads.pop().startswith("krater-probes")


async def test_no_server_chooses_the_primes_we_reckon_with(box: Box, secured: ssl.SSLContext) -> None:
    secured.maximum_version = ssl.TLSVersion.TLSv1_2
    secured.set_ciphers("DHE:@SECLEVEL=0")
    async with over_tls(box, secured, b"HTTP/1.1 200 OK\r\n\r\n"):
        outcome = await box.get(scheme="https")
    assert not outcome.succeeded
    assert "no TLS" in outcome.output


async def test_https_to_one_who_speaks_none_is_said(box: Box) -> None:
    async def server(reader: Reader, writer: Writer) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    box.serve(server)
    outcome = await box.get(scheme="https")
    assert not outcome.succeeded
    assert outcome.output.startswith("GET / from https port 80: no TLS: ")


async def test_https_to_one_who_hangs_up_or_sends_without_end_is_said(box: Box) -> None:
    async def hangs_up(reader: Reader, writer: Writer) -> None:
        await reader.read(100)

    async def floods(reader: Reader, writer: Writer) -> None:
        writer.write(bytes.fromhex("1603030400020003fc0303") + b"\0" * 1013)
        while True:
            writer.write(bytes.fromhex("1403030001") + b"\1")  # changes of the cipher, which mean nothing
            await writer.drain()

    for server in (hangs_up, floods):
        box.serve(server)
        outcome = await box.get(scheme="https")
        assert not outcome.succeeded
        assert outcome.output.startswith("GET / from https port 80: ")


async def test_no_connection_is_left_whoever_gives_up(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    plain = FakeVif.connection

    async def noted(self: FakeVif, sandbox: str, address: str, port: int) -> object:
        made.append(await plain(self, sandbox, address, port))
        return made[-1]

    monkeypatch.setattr(FakeVif, "connection", noted)
    box.answer(stay=True)
    for scheme in ("http", "https"):
        asking = asyncio.ensure_future(box.get(scheme=scheme))
        await until(lambda: made)
        asking.cancel()
        await asyncio.wait([asking])
        assert [one.fileno() for one in made] == [-1]
        made.clear()
    assert not (await box.get(timeout=1)).succeeded
    box.answer(b"HTTP/1.1 200 OK\r\n\r\n")
    assert (await box.get()).succeeded
    assert (await box.prober.ask(PLACE, Probe(port=80))).succeeded
    assert [one.fileno() for one in made] == [-1, -1, -1]
