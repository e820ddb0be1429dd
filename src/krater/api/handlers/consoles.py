"""Consoles: attach, interactive commands, sizes of terminals. The node opens a session, the caller gets its URL."""

from krater.api.handlers.answers import found
from krater.api.handlers.live import call_node, ready, run_command
from krater.api.requests import Answer, Request
from krater.api.schemas.actions import Execute, ExecuteResize, ResizeConsole
from krater.api.schemas.answers import ExecuteResult
from krater.api.schemas.decoding import decode_arguments
from krater.api.schemas.fields import truth
from krater.api.specs import split_words
from krater.bus.messages import OpenAttach, OpenExec, ResizeTerminal
from krater.errors import Invalid, NotFound
from krater.model.frames import MOST_CELLS


async def attach(request: Request) -> Answer:
    """A URL to attach at, as one JSON string."""
    asking, subject = await ready(request, "attach")
    if not subject.container.interactive:
        raise Invalid(
            f"Container {subject.id} takes no input: it was not made with interactive=true.",
            code="no-interactive-flag",
        )
    opened = await call_node(request, asking, subject, OpenAttach(subject.id))
    return found(request.backing.consoles.url(request, subject.id, opened, "attach"))


async def execute(request: Request) -> Answer:
    """Run a command: now, with what it said as the answer, or (`run=false`) for somebody who comes to talk to it."""
    ask = await decode_arguments(request, Execute)
    words = tuple(split_words("command", ask.command))
    if not words:
        raise Invalid("command: is empty", field="command")
    asking, subject = await ready(request, "execute")
    if truth(ask.run):
        return await run_command(request, asking, subject, words)
    tty = truth(ask.interactive) if ask.tty is None else truth(ask.tty)
    size = _size(ask.h, ask.w) if ask.h is not None and ask.w is not None else None
    opened = await call_node(request, asking, subject, OpenExec(subject.id, words, tty, size))
    url = request.backing.consoles.url(request, subject.id, opened, "exec")
    return found(ExecuteResult(None, None, opened.session, url))


async def execute_resize(request: Request) -> Answer:
    """Another size for the terminal of a command."""
    ask = await decode_arguments(request, ExecuteResize)
    return await _resize(request, "execute_resize", ask.exec_id, ask.h, ask.w)


async def resize(request: Request) -> Answer:
    """Another size for the container's own terminal."""
    ask = await decode_arguments(request, ResizeConsole)
    return await _resize(request, "resize", "", ask.h, ask.w)


async def _resize(request: Request, operation: str, session: str, rows: int | str, columns: int | str) -> Answer:
    size = _size(rows, columns)
    asking, subject = await ready(request, operation)
    message = ResizeTerminal(subject.id, session, *size)
    try:
        await call_node(request, asking, subject, message)
    except NotFound:
        if not session:
            raise
        raise Invalid(
            f"Container {subject.id} has no command {session} open.", field="exec_id", code="exec-instance-not-found"
        ) from None
    return found(None)


def _size(rows: int | str, columns: int | str) -> tuple[int, int]:
    """Rows and columns that a terminal can have. Invalid."""
    for field, asked in (("h", rows), ("w", columns)):
        if int(asked) > MOST_CELLS:
            raise Invalid(f"{field}: a terminal has at most {MOST_CELLS} rows and columns", field=field)
    return int(rows), int(columns)
