"""Between a process's streams and a gateway, both ways, in bounded memory."""

import asyncio
from collections.abc import Sequence
from typing import Final

from krater.agent.runtimes.interfaces import Stream
from krater.model import frames

HIGH_WATER: Final = 1 << 20
MOST_WAITING: Final = 4 << 20
FIRST_PATIENCE, LATER_PATIENCE = 1.0, 0.05


async def take_input(stream: Stream, reader: asyncio.StreamReader) -> None:
    """Hand on what the other side sends, until it sends no more."""
    while True:
        length = frames.length(await reader.readexactly(4))
        frame = await reader.readexactly(length)
        kind = frame[0]
        if kind == frames.STDIN:
            await stream.write(frame[1:])
        elif kind == frames.STDIN_END:
            stream.end_input()
        elif kind == frames.RESIZE:
            size = frames.read_size(frame[1:])
            if size is not None:
                stream.resize(*size)


async def pump_output(stream: Stream, writer: asyncio.StreamWriter, *, waits: bool) -> None:
    """Hand on what the process writes, then its exit code.

    A process that `waits` is held up by a reader who is slow. One that is not ours to hold up is waited for only so
    long, see `_Patience`: then output is left out, and the reader is told.
    """
    writer.transport.set_write_buffer_limits(high=HIGH_WATER)
    patience = None if waits else _Patience(writer)
    while pieces := await stream.read():
        if patience is not None and not await patience.has_room():
            patience.leave_out(pieces)
            continue
        if patience is not None:
            patience.tell()
        _write(writer, pieces)
        if waits:
            await writer.drain()
    if patience is not None:
        patience.tell()
    code = await stream.wait()
    writer.write(frames.packed(frames.EXIT, frames.exit_content(code)))
    await writer.drain()


def _write(writer: asyncio.StreamWriter, pieces: Sequence[tuple[int, bytes]]) -> None:
    for kind, piece in pieces:
        for at in range(0, len(piece), frames.LARGEST):
            writer.write(frames.packed(kind, piece[at : at + frames.LARGEST]))


class _Patience:
    """How long a container is held up by one who reads its output slowly: a second, and from then on hardly."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._patience = FIRST_PATIENCE
        self._is_behind = False
        self._left_out = 0

    async def has_room(self) -> bool:
        """Whether the reader keeps up, waiting a little for it."""
        waiting = self._writer.transport.get_write_buffer_size()
        if self._is_behind:
            self._is_behind = waiting > MOST_WAITING // 2
            return not self._is_behind
        if waiting <= MOST_WAITING:
            await asyncio.sleep(0)  # let it be sent
            return True
        try:
            async with asyncio.timeout(self._patience):
                await self._writer.drain()
        except TimeoutError:
            self._is_behind, self._patience = True, LATER_PATIENCE
            return False
        return True

    def leave_out(self, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Count what is not sent."""
        self._left_out += sum(len(piece) for _, piece in pieces)

    def tell(self) -> None:
        """Say what was left out, in its place."""
        if self._left_out:
            words = f"\r\n[krater: {self._left_out} bytes left out here, too slowly read; the log has them]\r\n"
            self._writer.write(frames.packed(frames.STDERR, words.encode()))
            self._left_out = 0
