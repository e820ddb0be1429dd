"""Descriptors read and written without threads: what a process writes, and its input."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final

PIECE: Final = 256 * 1024
DRAIN_LIMIT: Final = 16 * 1024 * 1024

Piece = tuple[int, bytes]
Take = Callable[[int], Sequence[Piece]]


class Outputs:
    """Reads from several descriptors at once. `take` gets what one has; empty at its end."""

    def __init__(self, descriptors: Sequence[int], take: Take) -> None:
        self._open = list(descriptors)
        self._take = take
        self._left: int | None = None
        self._waiting: asyncio.Future[None] | None = None

    async def read(self) -> Sequence[Piece]:
        """What there is now, or next; empty when there will be no more."""
        while self._open:
            found = self._ready()
            if found:
                return found
            if self._left is not None:
                break
            if self._open:
                await self._until_readable()
        return ()

    def _ready(self) -> list[Piece]:
        found: list[Piece] = []
        if self._left is not None and self._left <= 0:
            return found
        for descriptor in [*self._open]:
            try:
                pieces = self._take(descriptor)
            except BlockingIOError:
                continue
            except OSError:  # how a terminal ends
                pieces = ()
            if not pieces:
                self._open.remove(descriptor)
            found += pieces
        if self._left is not None:
            self._left -= sum(len(piece) for _, piece in found)
        return found

    async def _until_readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        watched = [*self._open]
        for descriptor in watched:
            loop.add_reader(descriptor, self._wake)
        try:
            await self._waiting
        finally:
            for descriptor in watched:
                loop.remove_reader(descriptor)
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None:
            tell(self._waiting)

    def finish(self) -> None:
        """The process has ended: read what it has written, and do not wait for what it left in the background."""
        self._left = DRAIN_LIMIT
        self._wake()

    def stop(self) -> None:
        """Read no more; nothing is closed."""
        self._open.clear()
        self._wake()


def take_from(streams: Mapping[int, int]) -> Take:
    """Read plain descriptors, each of which is one stream."""

    def take(descriptor: int) -> Sequence[Piece]:
        piece = os.read(descriptor, PIECE)
        return ((streams[descriptor], piece),) if piece else ()

    return take


def tell(ready: "asyncio.Future[None]") -> None:
    """Wake who waits for it."""
    if not ready.done():
        ready.set_result(None)


async def until_writable(descriptor: int) -> None:
    """Wait until something can be written."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, tell, ready)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


async def write_all(descriptor: int, content: bytes, largest: int = PIECE) -> bool:
    """Write it, however long that takes. False when nobody reads it any more."""
    rest = memoryview(content)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest[:largest]) :]
        except BlockingIOError:
            await until_writable(descriptor)
        except OSError:
            return False
    return True
