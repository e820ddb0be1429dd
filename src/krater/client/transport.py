"""One keep-alive HTTP/1.1 connection, over TCP, TLS or a Unix socket.

Made of the standard library's `http.client`, not of httpx2 as the rest of Krater: a command line tool pays for its
imports at every call. Measured side by side, `import httpx2` takes 85 ms and `import http.client` 30, of which most is
shared with TLS; `krater ps` would spend longer importing than asking. What a user of this API needs of HTTP is little:
one connection, JSON in and out, no redirects, no cookies, no proxies.
"""

import http.client
import select
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from krater.client.errors import AccessError, BadAnswer, Unreachable

CONNECT_TIMEOUT = 10.0
_DROPPED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamedAnswer:
    """An answer whose body is read as it comes. Header names are lower case."""

    def __init__(self, url: str, answer: http.client.HTTPResponse, socket: socket.socket) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in answer.getheaders()}
        self._url, self._answer, self._socket = url, answer, socket

    def wait_for_ever(self) -> None:
        """Let the next bytes take as long as they like: they come when something happens."""
        self._socket.settimeout(None)

    def read(self, most: int = -1) -> bytes:
        """So many more bytes of the body, fewer at its end, then none; without a number, all."""
        return self._reading(lambda: self._answer.read(most) if most >= 0 else self._answer.read())

    def read_some(self, most: int) -> bytes:
        """What has come of the body, at most so many bytes, as soon as there are any; none at its end."""
        return self._reading(lambda: self._answer.read1(most))

    def _reading(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except TimeoutError as error:
            raise Unreachable(f"{self._url} stopped in the middle of its answer.") from error
        except (http.client.HTTPException, OSError) as error:
            raise Unreachable(f"{self._url} broke off its answer.") from error


class _Answered(Exception):
    """The server has answered before it had the whole body: there is no use in sending the rest."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket; the host name sent is `localhost`."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Transport:
    """One connection, opened when first needed and again when it was lost. For one thread at a time.

    `cacert` is a file of certificates to trust instead of the system's; `timeout` is how long an answer may take.
    """

    def __init__(self, url: str, *, cacert: str | None = None, timeout: float = 60.0) -> None:
        self.url = url
        self._cacert = cacert
        self._timeout = timeout
        self._kind, self._host, self._port, self._prefix = _parse(url)
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Ask once, or twice when a kept connection turns out to be dead and asking again does no harm."""
        try:
            return self._ask(method, path, headers, body)
        except _DROPPED as error:
            self.close()
            if method not in ("GET", "HEAD"):
                raise Unreachable(f"{self.url} closed the connection without an answer.") from error
        try:
            return self._ask(method, path, headers, body)
        except _DROPPED as error:
            self.close()
            raise Unreachable(f"{self.url} closed the connection without an answer.") from error

    @contextmanager
    def stream(
        self, method: str, path: str, headers: Mapping[str, str], pieces: Iterable[bytes] | None = None
    ) -> Iterator[StreamedAnswer]:
        """Ask once; body and answer go by in pieces. The connection is not used again."""
        self.close()
        connection = self._open()
        try:
            self._send(connection, method, path, headers, pieces)
            wire = connection.sock  # the connection lets go of it when the answer is to be the last
            yield StreamedAnswer(self.url, self._answer_of(connection), wire)
        finally:
            self.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        pieces: Iterable[bytes] | None,
    ) -> None:
        body = None if pieces is None else _until_answered(connection, pieces, self._kind == "https")
        how = dict(headers) if pieces is None else {**headers, "Transfer-Encoding": "chunked"}
        try:
            connection.request(method, self._prefix + path, body=body, headers=how, encode_chunked=True)
        except TimeoutError as error:
            raise Unreachable(f"{self.url} takes no more within {self._timeout:g} seconds.") from error
        except (_Answered, *_DROPPED):
            return  # its answer tells why
        except OSError as error:
            raise Unreachable(f"The connection to {self.url} was lost: {_reason(error)}.") from error

    def _answer_of(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        try:
            return connection.getresponse()
        except TimeoutError as error:
            raise Unreachable(f"{self.url} did not answer within {self._timeout:g} seconds.") from error
        except (*_DROPPED, http.client.ResponseNotReady) as error:
            raise Unreachable(f"{self.url} closed the connection without an answer.") from error
        except http.client.HTTPException as error:
            raise BadAnswer(f"What answers at {self.url} does not speak HTTP.") from error
        except OSError as error:
            raise Unreachable(f"The connection to {self.url} was lost: {_reason(error)}.") from error

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        connection = self._open()
        try:
            connection.request(method, self._prefix + path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            content = answer.read()
        except TimeoutError as error:
            self.close()
            raise Unreachable(f"{self.url} did not answer within {self._timeout:g} seconds.") from error
        except _DROPPED:
            raise
        except http.client.IncompleteRead as error:
            self.close()
            raise Unreachable(f"{self.url} broke off its answer.") from error
        except http.client.HTTPException as error:
            self.close()
            raise BadAnswer(f"What answers at {self.url} does not speak HTTP.") from error
        except OSError as error:
            self.close()
            raise Unreachable(f"The connection to {self.url} was lost: {_reason(error)}.") from error
        except BaseException:  # an interrupt leaves half an answer in the connection
            self.close()
            raise
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)

    def _open(self) -> http.client.HTTPConnection:
        """The connection kept, unless the server has closed it meanwhile, or a new one."""
        if self._connection is not None and self._connection.sock is not None:
            if not select.select([self._connection.sock], [], [], 0)[0]:
                return self._connection
            self.close()
        connection = self._make()
        try:
            connection.connect()
        except ConnectionRefusedError as error:
            raise Unreachable(f"Nothing listens at {self.url}.", refused=True) from error
        except FileNotFoundError as error:
            raise Unreachable(f"Nothing listens at {self.url}: there is no such socket.", refused=True) from error
        except TimeoutError as error:
            raise Unreachable(f"{self.url} does not answer.") from error
        except OSError as error:  # TLS errors are among them
            raise Unreachable(f"{self.url} cannot be reached: {_reason(error)}.") from error
        connection.sock.settimeout(self._timeout)
        self._connection = connection
        return connection

    def _make(self) -> http.client.HTTPConnection:
        if self._kind == "unix":
            return _UnixConnection(self._host, CONNECT_TIMEOUT)
        if self._kind == "http":
            return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT)
        import ssl

        try:
            context = ssl.create_default_context(cafile=self._cacert)
        except OSError as error:
            raise AccessError(f"The certificates in {self._cacert} cannot be read: {_reason(error)}.") from error
        return http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_TIMEOUT, context=context)


def _until_answered(connection: http.client.HTTPConnection, pieces: Iterable[bytes], is_tls: bool) -> Iterator[bytes]:
    """Under TLS something to read need not be an answer, so all is sent."""
    for piece in pieces:
        if not is_tls and select.select([connection.sock], [], [], 0)[0]:
            raise _Answered
        if piece:
            yield piece


def _reason(error: OSError) -> str:
    """The words of the system, without their number and the full stop."""
    message = getattr(error, "verify_message", "") or error.strerror or str(error)
    return message[:1].lower() + message[1:].rstrip(".")


def _parse(url: str) -> tuple[str, str, int | None, str]:
    """Kind, host (or path of a socket), port and what every path begins with."""
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path:
        return "unix", unquote(parts.path), None, ""
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.username is not None:
        raise AccessError("An address of Krater has no user in it; give the user name and password separately.")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise AccessError(
            f"{url!r} is not an address of Krater; expected http://HOST:PORT, https://HOST:PORT or unix:///PATH."
        )
    return parts.scheme, host, port, parts.path.rstrip("/").removesuffix("/v1")
