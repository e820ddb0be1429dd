"""How a probe is asked: a command in the container, or a connection from within the capsule's own network.

Nothing a tenant wrote names a host: what is connected to is the capsule's own address, from there (`Vif.connection`).
What answers is theirs, too, hence the bounds: on the time all of it takes, on what is read, and on how often we are
woken for it. The arithmetic of TLS, of which a server chooses the amount, is done beside the event loop.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeVar
from urllib.parse import quote

from krater.agent.runtimes.interfaces import Console
from krater.agent.verdicts import Outcome
from krater.agent.vif.interfaces import Vif
from krater.errors import Conflict, NotFound
from krater.model.member import HttpRequest, Probe

LOOPBACK = "127.0.0.1"
LONGEST_HEAD = 16384

_OUTPUT, _TOLD = 4096, 300  # bytes that are read of a command, characters that are told
_OVERTIME = 5.0
_MOST_PLAIN, _MOST_TLS = 2 * LONGEST_HEAD, 16 * LONGEST_HEAD  # a TLS server may have to show a hundred kilobytes first
_PIECE = 16384
_READS, _PAUSE = 8, 0.01  # after so many, seconds before each further one: who drips does not keep us busy
_POLITE = 0.25
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"  # none with primes of the server's, which may be huge
_UNQUOTED = "!$%&'()*+,/:;=?@[]~"
_FIRST_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?!\d)")
_END_OF_HEAD, _END_LENGTH = re.compile(rb"\r?\n\r?\n"), 4

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container is to be asked: its sandbox, and the address it has there."""

    container: str
    sandbox: str
    address: str = LOOPBACK


class _Unheard(Exception):
    """There was an answer, but not one that says anything."""


class _Line(Protocol):
    async def send(self, content: bytes) -> None: ...

    async def receive(self) -> bytes: ...


class Prober:
    """Asks. An outcome is about the container; what is not (an engine in trouble, say) is raised as a KraterError."""

    def __init__(self, engine: Console, vif: Vif) -> None:
        self._engine = engine
        self._vif = vif
        self._hands = ThreadPoolExecutor(1, "krater-probes")

    def close(self) -> None:
        """Let go of the thread."""
        self._hands.shutdown(wait=False, cancel_futures=True)

    async def ask(self, place: Place, probe: Probe) -> Outcome:
        """What it says, in time."""
        if probe.http is not None:
            return await self._get(place, probe, probe.http)
        if probe.port is not None:
            return await self._connect(place, probe, probe.port)
        return await self._run(place.container, probe)

    async def _run(self, container: str, probe: Probe) -> Outcome:
        """Run its command. What hangs is killed, with all that it has started."""
        timeout = probe.timeout
        try:
            async with asyncio.timeout(timeout):
                done = await self._engine.exec(container, probe.command, timeout + _OVERTIME, _OUTPUT)
        except TimeoutError:
            return Outcome(False, f"no end within {timeout} seconds")
        except (Conflict, NotFound) as problem:
            return Outcome(False, _shown(problem.message))
        said = _shown(done.output.decode(errors="replace"))
        return Outcome(done.exit_code == 0, f"exit code {done.exit_code}" + (f": {said}" if said else ""))

    async def _connect(self, place: Place, probe: Probe, port: int) -> Outcome:
        """Connect, and let go."""
        try:
            async with asyncio.timeout(probe.timeout):
                connection = await self._vif.connection(place.sandbox, place.address, port)
        except TimeoutError:
            return Outcome(False, f"port {port}: no connection within {probe.timeout} seconds")
        except Conflict as problem:
            return Outcome(False, f"port {port}: {problem.message}")
        connection.close()
        return Outcome(True)

    async def _get(self, place: Place, probe: Probe, request: HttpRequest) -> Outcome:
        """Ask for a status. Where a redirect leads is nobody's business: it is an answer."""
        deadline = asyncio.get_running_loop().time() + probe.timeout
        what = _shown(f"GET {request.path} from {request.scheme} port {request.port}", _TOLD // 2)
        connection: socket.socket | None = None
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._vif.connection(place.sandbox, place.address, request.port)
                line = await self._line(connection, request)
                await line.send(_request(place.address, request))
                status = await _status(line)
            await _hear_out(line, deadline)
        except TimeoutError:
            return Outcome(False, f"{what}: no answer within {probe.timeout} seconds")
        except (Conflict, _Unheard) as problem:
            return Outcome(False, f"{what}: {problem}")
        except ssl.SSLError as problem:
            return Outcome(
                False, f"{what}: no TLS: {_shown(problem.reason or 'it broke off').replace('_', ' ').lower()}"
            )
        except OSError as problem:
            return Outcome(False, f"{what}: {_shown(problem.strerror or str(problem)).lower()}")
        finally:
            if connection is not None:
                connection.close()
        return Outcome(200 <= status < 400, f"{what}: status {status}")

    async def _line(self, connection: socket.socket, request: HttpRequest) -> _Line:
        if request.scheme != "https":
            return _Wire(connection, _MOST_PLAIN)
        line = _Tls(_Wire(connection, _MOST_TLS), self._hands)
        await line.greet()
        return line


class _Wire:
    """A connection of which no more than so much is taken."""

    def __init__(self, connection: socket.socket, most: int) -> None:
        self._connection = connection
        self._left = most
        self._reads = 0

    async def send(self, content: bytes) -> None:
        """Say something."""
        await asyncio.get_running_loop().sock_sendall(self._connection, content)

    async def receive(self) -> bytes:
        """What was said; empty at the end."""
        if not self._left:
            raise _Unheard("its answer is too long")
        if self._reads >= _READS:
            await asyncio.sleep(_PAUSE)
        self._reads += 1
        piece = await asyncio.get_running_loop().sock_recv(self._connection, min(_PIECE, self._left))
        self._left -= len(piece)
        return piece


class _Tls:
    """The same with TLS over it. Whom one talks to is known: it is one's own capsule, so certificates say nothing."""

    def __init__(self, wire: _Wire, hands: ThreadPoolExecutor) -> None:
        self._wire = wire
        self._hands = hands
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = _context().wrap_bio(self._in, self._out)

    async def greet(self) -> None:
        """Agree on keys."""
        await self._do(self._tls.do_handshake)

    async def send(self, content: bytes) -> None:
        """Say something."""
        await self._do(lambda: self._tls.write(content))

    async def receive(self) -> bytes:
        """What was said; empty at the end."""
        try:
            return await self._do(self._read)
        except ssl.SSLEOFError:
            return b""

    def _read(self) -> bytes:
        """All that has come, however small the pieces are that it was sent in."""
        found = [self._tls.read(_PIECE)]
        with suppress(ssl.SSLWantReadError, ssl.SSLEOFError):
            while found[-1]:
                found.append(self._tls.read(_PIECE))
        return b"".join(found)

    async def _do(self, step: Callable[[], Result]) -> Result:
        while True:
            try:
                done = await asyncio.get_running_loop().run_in_executor(self._hands, step)
            except ssl.SSLWantReadError:
                await self._flush()
                piece = await self._wire.receive()
                if piece:
                    self._in.write(piece)
                else:
                    self._in.write_eof()
                continue
            await self._flush()
            return done

    async def _flush(self) -> None:
        content = self._out.read()
        if content:
            await self._wire.send(content)


@cache
def _context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_ciphers(_CIPHERS)
    return made


def _request(address: str, request: HttpRequest) -> bytes:
    host = f"[{address}]" if ":" in address else address
    lines = (
        f"GET {quote(request.path, safe=_UNQUOTED)} HTTP/1.1",
        f"Host: {host}:{request.port}",
        "User-Agent: krater-probe",
        "Accept: */*",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


async def _status(line: _Line) -> int:
    """The status of the answer, when its whole head was read. What only says that more comes is none yet."""
    head, total, seen = b"", 0, 0
    while True:
        while (end := _END_OF_HEAD.search(head, seen)) is None:
            if total >= LONGEST_HEAD:
                raise _Unheard(f"the head of its answer is longer than {LONGEST_HEAD} bytes")
            piece = (await line.receive())[: LONGEST_HEAD - total]
            if not piece:
                raise _Unheard("its answer broke off" if head else "it said nothing")
            seen = max(0, len(head) - _END_LENGTH + 1)  # the end may have begun there
            head, total = head + piece, total + len(piece)
            if not head.startswith(b"HTTP/"[: len(head)]):
                raise _Unheard("its answer is not HTTP")
        first = _FIRST_LINE.match(head)
        if first is None:
            raise _Unheard("its answer is not HTTP")
        status = int(first[1])
        if not 100 <= status < 200:
            return status
        head, seen = head[end.end() :], 0


async def _hear_out(line: _Line, deadline: float) -> None:
    """Let a server finish what it says, if that is soon and little: many complain of those who hang up on them."""
    soon = asyncio.get_running_loop().time() + _POLITE
    with suppress(TimeoutError, OSError, _Unheard):
        async with asyncio.timeout_at(min(soon, deadline)):
            while await line.receive():
                pass


def _shown(text: str, most: int = _TOLD) -> str:
    """Short enough to be told, and without what no database takes."""
    plain = " ".join(text.replace("\0", "\N{REPLACEMENT CHARACTER}").split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"
