"""Talking to a process in a container: its input, its outputs, its terminal, its exit code.

The one part of the client that needs more than the standard library: `websockets`, imported when it is used.
"""

import contextlib
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from krater.client.errors import AccessError, NotAllowed, NotNow, Unreachable

if TYPE_CHECKING:
    import ssl

SUBPROTOCOL = "krater.v1"
STDIN, STDOUT, STDERR, STDIN_END, RESIZE, EXIT, REFUSED = range(7)

LARGEST = 256 * 1024
OPEN_WITHIN = 15.0


class Console:
    """One session. One thread may read while another sends.

    `exit_code` is there once `outputs` came to its end, if the process has ended and it is known; `refused` says why
    there was no process to talk to.
    """

    def __init__(self, url: str, *, exec_id: str = "", cacert: str | None = None) -> None:
        self.exec_id = exec_id
        self.exit_code: int | None = None
        self.refused = ""
        self.is_over = False
        self._open = contextlib.ExitStack()
        self._socket = _connected(url, cacert, self._open)

    def outputs(self) -> Iterator[tuple[int, bytes]]:
        """What it writes, as (STDOUT or STDERR, bytes), until it ends or the connection does."""
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):
            while True:
                message = self._socket.recv()
                kind, content = message[0], bytes(message[1:])
                if kind in (STDOUT, STDERR):
                    yield kind, content
                elif kind == EXIT:
                    self.is_over = True
                    self.exit_code = struct.unpack(">i", content)[0] if content else None
                elif kind == REFUSED:
                    self.refused = content.decode(errors="replace")

    def send(self, content: bytes) -> None:
        """Give it input. What comes after its end is dropped."""
        for at in range(0, len(content), LARGEST):
            self._send(STDIN, content[at : at + LARGEST])

    def end_input(self) -> None:
        """Tell it that there is no more input."""
        self._send(STDIN_END, b"")

    def resize(self, rows: int, columns: int) -> None:
        """Another size of its terminal."""
        self._send(RESIZE, struct.pack(">HH", rows, columns))

    def _send(self, kind: int, content: bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):
            self._socket.send(bytes((kind,)) + content)

    def close(self) -> None:
        """Go. A command that was started for this session ends; a container one was attached to goes on."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _connected(url: str, cacert: str | None, until: contextlib.ExitStack) -> Any:
    from websockets.exceptions import InvalidHandshake, InvalidStatus
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    place = url.partition("?")[0]
    more: dict[str, Any] = {"ssl": _trusting(cacert)} if url.startswith("wss:") else {}
    try:
        return until.enter_context(
            connect(
                url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                open_timeout=OPEN_WITHIN,
                close_timeout=2,
                ping_interval=None,
                max_size=None,
                proxy=None,
                **more,
            )
        )
    except InvalidStatus as error:
        status = error.response.status_code
        said = (error.response.body or b"").decode(errors="replace").strip()
        known = NotAllowed if status in (401, 403) else NotNow
        raise known(f"The gateway at {place} refused: {said or status}", status=status) from None
    except (OSError, TimeoutError, InvalidHandshake) as error:
        raise Unreachable(f"The gateway for consoles at {place} cannot be reached: {error}.") from error


def _trusting(cacert: str | None) -> "ssl.SSLContext":
    import ssl

    try:
        return ssl.create_default_context(cafile=cacert)
    except OSError as error:
        raise AccessError(f"The certificates in {cacert} cannot be read: {error.strerror}.") from error
