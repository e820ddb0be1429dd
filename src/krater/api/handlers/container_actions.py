"""The history of a container, which outlives it."""

from uuid import UUID

from krater.api.commands import workloads as commands
from krater.api.commands.workloads import Asking
from krater.api.handlers.answers import found
from krater.api.handlers.asking import asking_of
from krater.api.rendering import iso
from krater.api.requests import Answer, Request
from krater.api.schemas.answers import (
    ActionEventEntry,
    ContainerAction,
    ContainerActionDetail,
    ContainerActionList,
)
from krater.errors import NotFound
from krater.store.interfaces import Action, Tx

_RULE = "container:actions"


async def list_all(request: Request) -> Answer:
    """What was done to it, newest first."""
    asking, ident = await asking_of(request), request.params["container"]

    def look(tx: Tx) -> list[Action]:
        id = _container(tx, asking, ident)
        return tx.actions.list(asking.reach, id)

    return listed(await request.backing.store.read(look))


def listed(actions: list[Action]) -> Answer:
    """Actions without their steps."""
    return found(ContainerActionList([ContainerAction(*_facts(action)) for action in actions]))


async def show(request: Request) -> Answer:
    """One of them, with its steps."""
    asking, ident = await asking_of(request), request.params["container"]
    request_id = request.params["request"]

    def look(tx: Tx) -> Action:
        id = _container(tx, asking, ident)
        try:
            return tx.actions.get(asking.reach, id, request_id)
        except NotFound:
            raise NotFound(f"Action {request_id[:80]} could not be found.", code="resource-not-found") from None

    return detailed(request, await request.backing.store.read(look))


def detailed(request: Request, action: Action) -> Answer:
    """An action with its steps."""
    policies, caller = request.backing.policies, request.caller
    in_full = policies.allows(caller, "container:action:events", action.project_id, action.user_id)
    events = [
        ActionEventEntry(e.event, iso(e.start_time), iso(e.finish_time), e.result, e.details if in_full else None)
        for e in action.events
    ]
    return found(ContainerActionDetail(*_facts(action), events))


def _container(tx: Tx, asking: Asking, ident: str) -> str:
    """The id of the container, which may be gone: then only its id still finds its history. A capsule is not gone."""
    try:
        return commands.find(tx, asking, ident, _RULE).id
    except NotFound:
        is_gone = _is_uuid(ident) and not tx.workloads.by_ids([ident])
        past = tx.actions.list(asking.reach, ident) if is_gone else []
        if not past:
            raise
        asking.policies.require(asking.caller, _RULE, past[0].project_id, past[0].user_id)
        return ident


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _facts(action: Action) -> tuple[str, str, str, str, str, str | None, str | None, str | None]:
    return (
        action.action,
        action.workload,
        action.request_id,
        action.user_id,
        action.project_id,
        iso(action.start_time),
        iso(action.finish_time),
        action.message,
    )
