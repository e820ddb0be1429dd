"""One console: frames of a node on one side, messages of a client on the other. Nothing waits in between.

Each direction is read only when the one before was taken, so whoever is slow is felt at the other end, and a session
never holds more than the buffers of its two connections.
"""

import asyncio
import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from krater.model import frames

NODE_LIMIT: Final = 256 * 1024
_FROM_CLIENTS: Final = (frames.STDIN, frames.STDIN_END, frames.RESIZE)
_MOST_OF_A_REASON: Final = 100
OVER: Final = 1000
GOING_AWAY, MALFORMED, REFUSED, FAILED = 1001, 1003, 1008, 1011


@dataclass(frozen=True, slots=True)
class Closing:
    """How a session is closed."""

    code: int
    reason: str


class Malformed(Exception):
    """A client said something that means nothing."""


class Plain:
    """Bytes in and out, as Zun's client and browsers have it: subprotocol `binary`, or none."""

    def incoming(self, message: str | bytes) -> bytes | None:
        """The frame for a node; None when there is nothing to say."""
        content = message.encode() if isinstance(message, str) else message
        return frames.packed(frames.STDIN, content) if content else None

    def outgoing(self, content: bytes) -> bytes | str:
        """The message for a client."""
        return content


class Base64(Plain):
    """The same as text: subprotocol `base64`."""

    def incoming(self, message: str | bytes) -> bytes | None:
        """Decode it."""
        try:
            return super().incoming(base64.b64decode(message, validate=True))
        except (binascii.Error, ValueError):
            raise Malformed("the message is not base64") from None

    def outgoing(self, content: bytes) -> bytes | str:
        """Encode it."""
        return base64.b64encode(content).decode()


class Session:
    """A websocket and a node's stream, for as long as both last. `touched` is when something last went through."""

    def __init__(
        self, client: ServerConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, now: float
    ) -> None:
        self.client = client
        self.began = self.touched = now
        self.is_typed = client.subprotocol == frames.SUBPROTOCOL
        self._form = Base64() if client.subprotocol == "base64" else Plain()
        self._reader = reader
        self._writer = writer
        self._rest = b""
        self._end: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()

    def end(self, closing: Closing) -> None:
        """Close it, from outside."""
        if not self._end.done():
            self._end.set_result(closing)

    async def run(self) -> Closing | None:
        """Until either side ends it; None when the client did."""
        output = asyncio.ensure_future(self._to_client())
        entered = asyncio.ensure_future(self._to_node())
        tasks: tuple[asyncio.Future[Any], ...] = (output, entered)
        try:
            done, _ = await asyncio.wait((*tasks, self._end), return_when=asyncio.FIRST_COMPLETED)
            if self._end in done:
                return self._end.result()
            return output.result() if output in done else entered.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._writer.close()

    async def _to_node(self) -> Closing | None:
        clock = asyncio.get_running_loop().time
        try:
            while True:
                message = await self.client.recv()
                self.touched = clock()
                frame = _typed(message) if self.is_typed else self._form.incoming(message)
                if frame is not None:
                    self._writer.write(frame)
                    await self._writer.drain()
        except ConnectionClosed:
            return None
        except Malformed as error:
            return Closing(MALFORMED, str(error))
        except ConnectionError:
            await asyncio.sleep(1)  # the node has ended it, and says why on its way
            return Closing(OVER, "Target closed")

    async def _to_client(self) -> Closing | None:
        clock = asyncio.get_running_loop().time
        try:
            while True:
                length = frames.length(await self._reader.readexactly(4))
                frame = await self._reader.readexactly(length)
                self.touched = clock()
                closing = await (self._pass_on(frame) if self.is_typed else self._show(frame))
                if closing is not None:
                    return closing
        except ConnectionClosed:
            return None
        except (asyncio.IncompleteReadError, ConnectionError):
            return Closing(GOING_AWAY, "the node has ended the session")
        except ValueError as error:
            return Closing(FAILED, str(error))

    async def _pass_on(self, frame: bytes) -> Closing | None:
        await self.client.send(frame)
        return _closing(frame)

    async def _show(self, frame: bytes) -> Closing | None:
        """Only what a terminal shows; letters that are cut in two wait for their rest, since clients decode pieces."""
        kind = frame[0]
        if kind in (frames.STDOUT, frames.STDERR):
            whole, self._rest = whole_letters(self._rest + frame[1:] if self._rest else frame[1:])
            if whole:
                await self.client.send(self._form.outgoing(whole))
            return None
        words = b"" if kind != frames.REFUSED else b"\r\nkrater: " + frame[1:] + b"\r\n"
        if self._rest + words:
            await self.client.send(self._form.outgoing(self._rest + words))
        return _closing(frame)


def _typed(message: str | bytes) -> bytes:
    if isinstance(message, str) or not message or message[0] not in _FROM_CLIENTS:
        raise Malformed("expected frames of input, its end, or a size, as binary messages")
    return frames.packed(message[0], message[1:])


def _closing(frame: bytes) -> Closing | None:
    if frame[0] == frames.EXIT:
        return Closing(OVER, "Target closed")
    if frame[0] == frames.REFUSED:
        return Closing(FAILED, frame[1:].decode(errors="replace")[:_MOST_OF_A_REASON])
    return None


def whole_letters(content: bytes) -> tuple[bytes, bytes]:
    """The content without a UTF-8 letter that is cut off at its end, and the beginning of that letter."""
    for back in range(1, min(4, len(content) + 1)):
        byte = content[-back]
        if byte >= 0xC0:  # the beginning of a letter of so many bytes
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return (content[:-back], content[-back:]) if back < length else (content, b"")
        if byte < 0x80:
            break
    return content, b""
