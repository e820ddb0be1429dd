"""What containers wrote: as one answer, or as a stream that goes on while they write. Also of those that are gone."""

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from krater.api.commands import workloads as commands
from krater.api.commands.workloads import Asking
from krater.api.handlers.answers import found
from krater.api.handlers.asking import asking_of
from krater.api.handlers.live import ask_node
from krater.api.requests import Answer, Request
from krater.api.schemas.actions import LogsQuery, LogsStreamQuery
from krater.api.schemas.decoding import decode_query
from krater.api.schemas.fields import truth
from krater.api.subjects import Subject
from krater.bus.messages import Logs, LogsAnswer
from krater.errors import Conflict, Invalid, KraterError, NotFound
from krater.model.status import CREATED, ERROR, STOPPED
from krater.store.interfaces import Departure, Tx

# Following a log: where the answer before ended, and how many seconds to wait for more. Headers, not query keys: the
# same client works with servers that refuse keys they do not know.
CURSOR_HEADER, WAIT_HEADER = b"x-krater-log-cursor", b"x-krater-log-wait"
START = "start"  # the cursor before all there is
_WAIT = re.compile(rb"[0-9]{1,3}(\.[0-9]{1,3})?")
_LONGEST_WAIT = 30.0
_RULE = "container:logs"

_PIECE = 256 << 10
_FIRST_WAIT, _LAST_WAIT = 0.05, 5.0
_PAUSE = 0.05
_STREAM_TYPE = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
_SINCE = "%Y-%m-%d %H:%M:%S,%f"
_EPOCH = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_OVER = (STOPPED, ERROR, CREATED)


@dataclass(frozen=True, slots=True)
class _Source:
    """Whose log it is, and the node that has it; None when it never had one."""

    container: str
    node: str | None
    is_gone: bool


async def show(request: Request) -> Answer:
    """What the container wrote, as one JSON string."""
    ask = decode_query(request, LogsQuery)
    message = _message(ask, request.backing.settings.api.log_limit)
    asking, source = await _source(request)
    if source.node is None:
        return found("")
    cursor, wait = request.headers.get(CURSOR_HEADER, b""), request.headers.get(WAIT_HEADER, b"")
    asked = replace(message, container=source.container, cursor=cursor.decode("latin-1"), wait=_wait(wait))
    answer = await _read(request, asking, source.node, asked)
    text = found(answer.text.decode(errors="replace"))
    return replace(text, headers=((CURSOR_HEADER, answer.cursor.encode("latin-1")),))


async def stream(request: Request) -> Answer:
    """What the container wrote and writes, as it is, until it ends (an addition of Krater's)."""
    ask = decode_query(request, LogsStreamQuery)
    message = _message(ask, _PIECE)
    request.backing.streams.require_room(request.caller.project_id)
    asking, source = await _source(request)
    if source.node is None or request.method == "HEAD":
        return Answer(200, headers=_STREAM_TYPE)
    message = replace(message, container=source.container)
    if message.tail is None:
        message = replace(message, cursor=START)
    else:
        message = replace(message, limit=request.backing.settings.api.log_limit)
    first = await _read(request, asking, source.node, message)
    follows = truth(ask.follow) and not source.is_gone
    return Answer(200, headers=_STREAM_TYPE, stream=_pieces(request, source, message, first, follows=follows))


async def _pieces(
    request: Request, source: _Source, message: Logs, answer: LogsAnswer, *, follows: bool
) -> AsyncGenerator[bytes]:
    """What was read first, and all that comes after it. What cannot be read any more is told in a line of its own."""
    message = replace(message, limit=_PIECE, cursor="")
    time, wait, is_over = asyncio.get_running_loop().time, _FIRST_WAIT, not follows
    checked_at = time()
    with request.backing.streams.counted(request.caller.project_id):
        try:
            while True:
                if answer.truncated and message.cursor:
                    yield _note("Some of the log is missing here: it was rotated away before it was read.")
                if answer.text:
                    yield answer.text
                    if answer.cursor in ("", message.cursor):  # a node that cannot go on from there
                        return
                    await asyncio.sleep(0.0 if len(answer.text) >= _PIECE else _PAUSE)  # many lines at once, if many
                elif is_over and answer.cursor == message.cursor:
                    return
                if not answer.text or time() - checked_at > _LAST_WAIT:
                    is_over, checked_at = not follows or await _is_over(request, source), time()
                message = replace(message, cursor=answer.cursor, wait=0.0 if is_over else wait)
                began = time()
                answer = await _read(request, await asking_of(request), source.node or "", message)
                # An answer without text before its time means that something happened to the container.
                was_idle = not answer.text and time() - began >= wait
                wait = min(wait * 2, _LAST_WAIT) if was_idle else _FIRST_WAIT
        except KraterError as problem:
            yield _note(f"The log breaks off here: {problem.message}")


def _note(text: str) -> bytes:
    return f"\n[krater] {text}\n".encode()


async def _read(request: Request, asking: Asking, node: str, message: Logs) -> LogsAnswer:
    return await ask_node(request, asking, node, message, extra=message.wait)


async def _source(request: Request) -> tuple[Asking, _Source]:
    """The log that the caller means, if they may read it."""
    asking, ident = await asking_of(request), request.params["container"]
    since = asking.at - timedelta(seconds=request.backing.settings.agent.keep_logs)

    def look(tx: Tx) -> Subject | Departure:
        try:
            return commands.find_ready(tx, asking, ident, "logs")
        except NotFound as unknown:
            return _departure(tx, asking, ident, since, unknown)

    seen = await request.backing.store.read(look)
    return asking, _Source(seen.id, seen.node, is_gone=isinstance(seen, Departure))


def _departure(tx: Tx, asking: Asking, ident: str, since: datetime, unknown: NotFound) -> Departure:
    """A container that is gone but for its log."""
    try:
        departure = tx.departures.get(asking.reach, ident, since)
    except NotFound:
        raise unknown from None
    asking.policies.require(asking.caller, _RULE, departure.project_id, departure.user_id)
    return departure


async def _is_over(request: Request, source: _Source) -> bool:
    """Whether it has ended for good, or is gone: then what is there is all there will be."""
    asking = await asking_of(request)

    def look(tx: Tx) -> bool:
        try:
            status = asking.status(commands.find(tx, asking, source.container, _RULE))
        except (NotFound, Conflict):
            return True
        return status.word in _OVER and status.task is None

    return await request.backing.store.read(look)


def _message(ask: LogsQuery, limit: int) -> Logs:
    return Logs(
        "",
        stdout=truth(ask.stdout),
        stderr=truth(ask.stderr),
        timestamps=truth(ask.timestamps),
        tail=int(ask.tail) if ask.tail.isdigit() else None,
        since=_since(ask.since),
        limit=limit,
    )


def _wait(text: bytes) -> float:
    """Seconds to wait for news of a followed log. Anything else is none: it is only a wish."""
    return min(float(text), _LONGEST_WAIT) if _WAIT.fullmatch(text) else 0.0


def _since(text: str) -> float | None:
    if text in ("", "None"):
        return None
    if _EPOCH.fullmatch(text):
        return float(text)
    try:
        return datetime.strptime(text if "," in text else f"{text},0", _SINCE).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Invalid("since: expected seconds since 1970, or YYYY-MM-DD HH:MM:SS,mmm in UTC", field="since") from None
