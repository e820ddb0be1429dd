"""What agent and jail say to each other: a letter, a length, bytes. Neither side believes the other's lengths."""

import socket
import struct
from typing import Final

HEADER: Final = struct.Struct(">cI")
LARGEST: Final = 256 * 1024

# From the agent: SETUP (JSON, trusted), ORDER (JSON, a tenant's), PIECE and END of an archive to unpack.
# From the jail: ENTERED, STAT (JSON), PIECE and END of a packed archive, END of unpacking, FAILED (JSON).
SETUP, ORDER, ENTERED, STAT, PIECE, END, FAILED = b"J", b"O", b"N", b"S", b"D", b"E", b"X"


class Refused(Exception):
    """It is not done; `kind` is one of `not-found`, `invalid`, `conflict`, `too-large`, `full`, `failed`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


class Abandoned(Exception):
    """Nobody is there any more for whom to go on."""


class Line:
    """The jail's end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send a frame; waits while the agent does not read."""
        try:
            self._connection.sendall(HEADER.pack(kind, len(payload)) + payload)
        except (BrokenPipeError, ConnectionResetError):
            raise Abandoned from None

    def receive(self) -> tuple[bytes, bytes]:
        """The next frame."""
        kind, length = HEADER.unpack(self._exactly(HEADER.size))
        if length > LARGEST:
            raise Abandoned
        return kind, self._exactly(length)

    def discard(self) -> None:
        """Let go by what still comes, until the other end is closed: else it would lose what we said last."""
        while self._connection.recv(LARGEST):
            pass

    def _exactly(self, length: int) -> bytes:
        parts: list[bytes] = []
        while length:
            try:
                part = self._connection.recv(length)
            except ConnectionResetError:
                raise Abandoned from None
            if not part:
                raise Abandoned
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


class Pieces:
    """Outgoing bytes, sent when there are enough of them to be worth a frame."""

    def __init__(self, line: Line, limit: int) -> None:
        self._line, self._left = line, limit
        self._kept = bytearray()

    def write(self, data: bytes) -> None:
        """Take some more. Too-large when there are more than the limit."""
        self._left -= len(data)
        if self._left < 0:
            raise Refused("too-large", "The archive is larger than what may be copied at once.")
        self._kept += data
        while len(self._kept) >= LARGEST:
            self._line.send(PIECE, bytes(self._kept[:LARGEST]))
            del self._kept[:LARGEST]

    def flush(self) -> None:
        """Send the rest."""
        if self._kept:
            self._line.send(PIECE, bytes(self._kept))
            self._kept.clear()


class Incoming:
    """The pieces of an archive as a file to read. `size` counts what came."""

    def __init__(self, line: Line, limit: int) -> None:
        self._line, self._limit = line, limit
        self._kept = b""
        self._is_over = False
        self.size = 0

    def read(self, most: int) -> bytes:
        """Some bytes, at most so many; none at the end."""
        while not self._kept and not self._is_over:
            kind, payload = self._line.receive()
            if kind == END:
                self._is_over = True
            elif kind == PIECE:
                self._kept = payload
                self.size += len(payload)
                if self.size > self._limit:
                    raise Refused("too-large", "The archive is larger than what may be copied at once.")
            else:
                raise Abandoned
        found, self._kept = self._kept[:most], self._kept[most:]
        return found

    def drain(self) -> None:
        """Read the rest, which means nothing."""
        while self.read(LARGEST):
            pass
