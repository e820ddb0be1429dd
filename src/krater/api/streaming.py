"""Answers that go on: sent piece by piece, at the pace of whoever reads them, until either side has enough.

Nothing is made before the piece before it was taken, so a slow reader costs the memory of one piece and no more.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Receive, Send

from krater.errors import Unavailable

MOST_STREAMS, MOST_OF_ONE = 2048, 256


class Streams:
    """Counts the streams that are open, all and of each project: each keeps a connection."""

    def __init__(self, most: int = MOST_STREAMS, most_of_one: int = MOST_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._open: Counter[str] = Counter()

    def require_room(self, project: str) -> None:
        """Unavailable when a project has too many, or all together."""
        if self._open.total() >= self._most or self._open[project] >= self._most_of_one:
            raise Unavailable("Too many logs are being followed at once; try again when some have ended.")

    @contextmanager
    def counted(self, project: str) -> Iterator[None]:
        """One more of a project, while inside."""
        self._open[project] += 1
        try:
            yield
        finally:
            self._open[project] -= 1
            if not self._open[project]:
                del self._open[project]

    def __len__(self) -> int:
        """How many there are."""
        return self._open.total()


Headers = tuple[tuple[bytes, bytes], ...]


async def send_stream(
    send: Send, receive: Receive, status: int, headers: Headers, pieces: AsyncGenerator[bytes]
) -> None:
    """Send all pieces, unless the reader goes away before."""
    gone = asyncio.ensure_future(_reader_gone(receive))
    try:
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        while (piece := await _next(pieces, gone)) is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        await asyncio.gather(gone, pieces.aclose(), return_exceptions=True)


async def _next(pieces: AsyncGenerator[bytes], gone: "asyncio.Future[None]") -> bytes | None:
    """The next piece; None when there is none, or nobody for it."""
    step: asyncio.Future[bytes | None] = asyncio.ensure_future(_one_more(pieces))
    either: list[asyncio.Future[Any]] = [step, gone]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return step.result() if step.done() and not gone.done() else None
    finally:
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)


async def _one_more(pieces: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(pieces, None)


async def _reader_gone(receive: Receive) -> None:
    """Until the connection is closed. What is sent to us meanwhile is not looked at."""
    while (await receive())["type"] != "http.disconnect":
        pass
