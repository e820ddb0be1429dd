"""Requests that a container's node answers now: execute, top, stats, signals. Nothing of them is stored."""

import re
import signal
from typing import TypeVar

from krater.api.commands import workloads as commands
from krater.api.commands.workloads import Asking
from krater.api.handlers.answers import ACCEPTED, found
from krater.api.handlers.asking import asking_of, hint_controller
from krater.api.requests import Answer, Request
from krater.api.schemas.actions import Kill, TopQuery
from krater.api.schemas.answers import ExecuteResult, StatsResult, TopResult
from krater.api.schemas.decoding import decode_arguments, decode_query
from krater.api.subjects import Subject
from krater.bus.interfaces import Request as BusRequest
from krater.bus.interfaces import node_target
from krater.bus.messages import Exec, Signal, Stats, Top
from krater.errors import Invalid, KraterError, Unavailable, Unsupported

T = TypeVar("T")

_NODE_AWAY = "container-host-not-up"
_MIB = 1 << 20
_OVERTIME = 5.0
_DIGITS = re.compile(r"[0-9]{1,3}")


async def call_node(
    request: Request, asking: Asking, subject: Subject, message: BusRequest[T], extra: float = 0.0
) -> T:
    """Ask the node of a container. Unavailable, in words for a person, when it cannot answer."""
    if subject.node is None:
        raise Unavailable("The container has no node yet: try again in a moment.", code=_NODE_AWAY)
    return await ask_node(request, asking, subject.node, message, extra)


async def ask_node(request: Request, asking: Asking, node: str, message: BusRequest[T], extra: float = 0.0) -> T:
    """Ask a node by its id, `extra` seconds longer than usual."""
    if not asking.nodes.is_alive(node, asking.at):
        raise _no_answer()
    target, timeout = node_target(node), request.backing.settings.api.node_timeout + extra
    try:
        return await request.backing.bus.call(target, message, timeout)
    except Unavailable as error:
        if target in error.message:  # the bus's own words: which node it is, is the operator's business
            raise _no_answer() from error
        raise Unavailable(error.message, code=_NODE_AWAY) from error
    except Unsupported as error:
        raise Unsupported("The node of this container is of an older Krater, which cannot do this.") from error


def _no_answer() -> Unavailable:
    return Unavailable(
        "The node of this container does not answer now. What runs there goes on running; try again later.",
        code=_NODE_AWAY,
    )


async def ready(request: Request, operation: str) -> tuple[Asking, Subject]:
    """The container, if the caller may and its state allows it."""
    asking, ident = await asking_of(request), request.params["container"]
    subject = await request.backing.store.read(lambda tx: commands.find_ready(tx, asking, ident, operation))
    return asking, subject


async def run_command(request: Request, asking: Asking, subject: Subject, words: tuple[str, ...]) -> Answer:
    """Run a command inside and answer with what it said."""
    settings = request.backing.settings.api
    message = Exec(subject.id, words, settings.execute_timeout, settings.execute_limit)
    answer = await call_node(request, asking, subject, message, extra=settings.execute_timeout + _OVERTIME)
    return found(ExecuteResult(answer.output.decode(errors="replace"), answer.exit_code, None, None))


async def top(request: Request) -> Answer:
    """The processes inside."""
    ask = decode_query(request, TopQuery)
    ps_args = "" if ask.ps_args == "None" else ask.ps_args
    asking, subject = await ready(request, "top")
    answer = await call_node(request, asking, subject, Top(subject.id, ps_args))
    return found(TopResult(list(answer.titles), [list(row) for row in answer.rows]))


async def stats(request: Request) -> Answer:
    """One reading of what it uses."""
    asking, subject = await ready(request, "stats")
    seen = await call_node(request, asking, subject, Stats(subject.id))
    whole = subject.workload.spec.whole  # what all members of a capsule may use together, each of them as well
    most = whole.memory * _MIB if whole is not None else 0
    limit = min(filter(None, (seen.memory_limit, most)), default=0)
    share = 100.0 * seen.memory_used / limit if limit else 0.0
    body = StatsResult(
        container=subject.name,
        cpu=round(seen.cpu_percent, 2),
        memory=round(seen.memory_used / _MIB, 2),
        memory_limit=round(limit / _MIB, 2),
        memory_percent=round(share, 2),
        block=f"{seen.block_read}/{seen.block_written}",
        net=f"{seen.net_received}/{seen.net_sent}",
    )
    return found(body)


async def kill(request: Request) -> Answer:
    """SIGKILL is an intent: the container shall not run. Any other signal is only handed to its process."""
    number = read_signal((await decode_arguments(request, Kill)).signal)
    if number == signal.SIGKILL:
        asking, ident = await asking_of(request), request.params["container"]
        killed = await request.backing.store.write(lambda tx: commands.kill(tx, asking, ident))
        if killed is not None:
            hint_controller(request, killed)
            return ACCEPTED
    asking, subject = await ready(request, "kill")
    failure: str | None = None
    try:
        await call_node(request, asking, subject, Signal(subject.id, number))
    except KraterError as error:
        failure = error.message
        raise
    finally:
        await request.backing.store.write(lambda tx: commands.note_signal(tx, asking, subject, failure))
    return ACCEPTED


def read_signal(text: str) -> int:
    """`KILL`, `SIGKILL`, `sigkill`, `9`; `None` is the default."""
    if text == "None":
        return signal.SIGKILL
    if _DIGITS.fullmatch(text) and int(text) in range(1, signal.NSIG):
        return int(text)
    name = text.upper()
    found = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
    if found is None:
        raise Invalid(f"signal: there is no signal {text!r}", field="signal")
    return int(found)
