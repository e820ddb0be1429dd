"""A body that whoever serves it lets take its time: as long as something comes."""

import asyncio

import pytest

from krater.api import connections
from tests.support.front import listening

pytestmark = pytest.mark.thorough


async def trickled(method: str, port: int, pieces: int) -> bytes:
    """The answer to a request whose body of 40 bytes comes one byte at a time, as many as these."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} / HTTP/1.1\r\nContent-Length: 40\r\n\r\n".encode())
    try:
        for _ in range(pieces):
            writer.write(b"x")
            await asyncio.sleep(0.05)
        async with asyncio.timeout(20):
            return await reader.read(12)
    except (ConnectionResetError, BrokenPipeError):
        return b""
    finally:
        writer.close()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN", 0.1)
    monkeypatch.setattr(connections, "REQUEST_WITHIN", 0.7)


async def test_a_long_upload_goes_on_while_something_comes() -> None:
    async with listening("PUT") as port:
        assert await trickled("PUT", port, 40) == b"HTTP/1.1 204"


async def test_others_must_be_whole_in_time() -> None:
    async with listening("PUT") as port:
        assert await trickled("POST", port, 40) == b""


async def test_an_upload_that_stops_loses_its_connection() -> None:
    async with listening("PUT") as port:
        assert await trickled("PUT", port, 20) == b""
