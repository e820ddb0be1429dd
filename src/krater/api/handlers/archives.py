"""Files of a container as tar archives: whole in a JSON text, as the Container API has it, or (ours) streamed."""

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any

import msgspec

from krater.api.commands import workloads as commands
from krater.api.commands.workloads import Asking
from krater.api.connections import PATIENCE
from krater.api.errors import TooLarge
from krater.api.handlers.answers import DONE, found
from krater.api.handlers.asking import asking_of
from krater.api.handlers.live import call_node
from krater.api.requests import Answer, Request
from krater.api.schemas.actions import ArchivePath, PutArchive
from krater.api.schemas.answers import Archive, ArchiveStat
from krater.api.schemas.decoding import CODE, convert, decode_query
from krater.api.subjects import Subject
from krater.bus.archives import (
    LARGEST_PIECE,
    CloseArchive,
    FileStat,
    GetPiece,
    PackAnswer,
    PackFiles,
    PutPiece,
    UnpackFiles,
)
from krater.bus.interfaces import node_target
from krater.config import ApiSettings
from krater.errors import Invalid, KraterError

STAT_HEADER = b"x-krater-archive-stat"
_BASE64_SINCE = 25
_PIECE_OVERTIME = 60.0  # a node's disk may be slow
_UNPACK_OVERTIME = 600.0  # and what was sent last is answered only when all is on it
_JSON_ROOM = 64 * 1024
_TAR = (b"content-type", b"application/x-tar")
_INTO, _OUT_OF = "put_archive", "get_archive"


def archive_bodies(settings: ApiSettings) -> Callable[[Request], int | None]:
    """The limits of the bodies that archives come in."""
    # base64 makes four bytes of three; as text a byte may take up to six, so less fits
    whole = settings.archive_limit * 2 + _JSON_ROOM

    def limit_of(request: Request) -> int | None:
        match (request.method, request.segments):
            case ("POST", ("containers", _, "put_archive")):
                return whole
            case ("PUT", ("containers", _, "archive")):
                return settings.archive_stream_limit
        return None

    return limit_of


class _Session:
    """One archive on its way from or to a node."""

    def __init__(self, request: Request, asking: Asking, subject: Subject) -> None:
        self._request, self._asking, self._subject = request, asking, subject
        self._id = ""
        self._number = 0

    async def pack(self, path: str, limit: int) -> FileStat:
        """Begin to read what is at a path."""
        opened: PackAnswer = await self._call(PackFiles(self._subject.id, path, limit), _PIECE_OVERTIME)
        self._id = opened.session
        return opened.stat

    async def unpack(self, path: str, limit: int) -> None:
        """Begin to write into a directory."""
        self._id = await self._call(UnpackFiles(self._subject.id, path, limit), _PIECE_OVERTIME)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """What is packed, to its end."""
        try:
            while piece := await self._call(GetPiece(self._id, self._number), _PIECE_OVERTIME):
                self._number += 1
                yield piece
        finally:
            self.close()

    async def put(self, data: bytes, *, is_last: bool = False) -> None:
        """Send some of an archive."""
        overtime = _UNPACK_OVERTIME if is_last else _PIECE_OVERTIME
        await self._call(PutPiece(self._id, self._number, data, is_last), overtime)
        self._number += 1

    def close(self) -> None:
        """Tell the node that nobody wants more; if that is lost, it notices by itself."""
        if self._id and self._subject.node is not None:
            self._request.backing.bus.hint(node_target(self._subject.node), CloseArchive(self._id))

    async def _call(self, message: Any, overtime: float) -> Any:
        return await call_node(self._request, self._asking, self._subject, message, extra=overtime)


async def _session(request: Request, operation: str) -> _Session:
    """For the container, if the caller may and its state allows it."""
    asking, ident = await asking_of(request), request.params["container"]
    subject = await request.backing.store.read(lambda tx: commands.find_ready(tx, asking, ident, operation))
    return _Session(request, asking, subject)


async def get(request: Request) -> Answer:
    """A file or directory as a tar archive, whole."""
    with request.backing.archives.taken(request.caller.project_id):
        return await _get(request)


async def _get(request: Request) -> Answer:
    path = decode_query(request, ArchivePath).path
    session = await _session(request, _OUT_OF)
    limit = request.backing.settings.api.archive_limit
    stat = await session.pack(path, limit)
    try:
        data = b"".join([piece async for piece in session.pieces()])
    except Invalid as error:
        raise _too_large(error, limit) from error
    if request.version >= _BASE64_SINCE:
        text = (await asyncio.to_thread(base64.b64encode, data)).decode("ascii")
    else:
        text = _as_text(data)
    return found(Archive(text, _stat(stat)))


def _too_large(error: Invalid, limit: int) -> KraterError:
    if error.code != "archive-too-large":
        return error
    return Invalid(
        f"The archive is larger than the {limit} bytes of one answer; GET …/archive (`krater cp`) streams it.",
        code=error.code,
    )


def _as_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Invalid("The archive is no text; ask with microversion 1.25 or later, which has it in base64.") from None


def _stat(stat: FileStat) -> ArchiveStat:
    return ArchiveStat(stat.name, stat.size, stat.mode, stat.mtime, stat.link_target)


async def put(request: Request) -> Answer:
    """Unpack a tar archive, which comes whole, into a directory."""
    with request.backing.archives.taken(request.caller.project_id):
        return await _put(request)


async def _put(request: Request) -> Answer:
    ask = await _arguments(request)
    session = await _session(request, _INTO)
    data = await asyncio.to_thread(_decoded, ask.data) if request.version >= _BASE64_SINCE else ask.data.encode()
    limit = request.backing.settings.api.archive_limit
    if len(data) > limit:
        raise TooLarge(f"data: is larger than the {limit} bytes allowed here; PUT …/archive (`krater cp`) streams it.")
    await session.unpack(ask.path, limit)
    try:
        for at in range(0, len(data), LARGEST_PIECE):
            await session.put(data[at : at + LARGEST_PIECE])
        await session.put(b"", is_last=True)
    finally:
        session.close()
    return DONE


async def _arguments(request: Request) -> PutArchive:
    """Path and archive from query or body. Unlike everywhere else, a text may have NULs in it: archives do."""
    raw = await request.body()
    try:
        body = await asyncio.to_thread(msgspec.json.decode, raw, type=dict[str, Any]) if raw.strip() else {}
    except msgspec.ValidationError:
        raise Invalid("The request body is not a JSON object.", code=CODE) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The request body is not valid JSON: {str(error)[:200]}", code=CODE) from error
    for field in ("path", "data"):
        if field in body and field in request.query:
            raise Invalid(f"{field}: given in the query string and in the body", field=field, code=CODE)
    ask = convert({**request.query, **body}, PutArchive)
    if "\0" in ask.path:
        raise Invalid("path: has a NUL character in it", field="path", code=CODE)
    try:
        (ask.path + ask.data).encode()
    except UnicodeEncodeError:
        raise Invalid("The request body has a text that is no Unicode.", code=CODE) from None
    return ask


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("data: is not base64", field="data", code=CODE) from None


async def download(request: Request) -> Answer:
    """A file or directory as a tar archive, streamed. The header X-Krater-Archive-Stat has its `stat` (base64 JSON)."""
    path = decode_query(request, ArchivePath).path
    session = await _session(request, _OUT_OF)
    stat = await session.pack(path, request.backing.settings.api.archive_stream_limit)
    described = base64.b64encode(msgspec.json.encode(_stat(stat)))
    if request.method == "HEAD":
        session.close()
        return Answer(200, headers=(_TAR, (STAT_HEADER, described)))
    pieces = session.pieces()
    first = await anext(pieces, b"")  # what is wrong from the beginning can still be said
    return Answer(200, headers=(_TAR, (STAT_HEADER, described)), stream=_with_first(first, pieces))


async def _with_first(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


async def upload(request: Request) -> Answer:
    """Unpack a tar archive, which is the body and streamed, into a directory."""
    path = decode_query(request, ArchivePath).path
    session = await _session(request, _INTO)
    with suppress(KeyError):
        request.asgi["extensions"][PATIENCE]["allow"]()
    await session.unpack(path, request.backing.settings.api.archive_stream_limit)
    try:
        async for piece in _body(request):
            await session.put(piece)
        await session.put(b"", is_last=True)
    finally:
        session.close()
    return DONE


async def _body(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of a fair size."""
    kept = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Invalid("The connection was closed before the archive was complete.")
        kept += message.get("body", b"")
        more = message.get("more_body", False)
        while len(kept) >= LARGEST_PIECE or (kept and not more):
            yield bytes(kept[:LARGEST_PIECE])
            del kept[:LARGEST_PIECE]
