"""Capsules: list, show, delete, and (Krater's own) start, stop, reboot and the history."""

from collections.abc import Callable, Mapping, Sequence

from krater.api.capsule_rendering import View, capsule_body
from krater.api.commands import capsules as commands
from krater.api.commands.workloads import Asking
from krater.api.handlers import container_actions
from krater.api.handlers.answers import ACCEPTED, NO_CONTENT, found
from krater.api.handlers.asking import asking_of, change
from krater.api.links import base_of
from krater.api.lists import next_link, page_of, text_of, texts_of
from krater.api.rendering import situation_of
from krater.api.requests import Answer, Request
from krater.api.schemas.actions import CapsuleTimeout
from krater.api.schemas.capsule_answers import Capsule, CapsuleList
from krater.api.schemas.capsules import DeleteCapsule
from krater.api.schemas.decoding import CODE, decode_query
from krater.api.schemas.fields import strict_bool, truth
from krater.api.sifting import Keys, sift
from krater.errors import Invalid
from krater.model.capsules import derive_capsule_status
from krater.model.status import Status
from krater.model.volume import Volume
from krater.model.workload import Kind
from krater.store.interfaces import EVERYBODY, Tx, Workload, WorkloadQuery


async def list_all(request: Request) -> Answer:
    """The capsules of the caller's project; with all_projects, for those who may, everybody's."""
    request.require("capsule:get_all")
    reach, everybody = request.own, text_of(request, "all_projects")
    caller = request.caller
    if everybody is not None and strict_bool("all_projects", everybody):
        own = caller.project_id, caller.user_id
        reach = EVERYBODY if request.backing.policies.allows(caller, "capsule:get_all_all_projects", *own) else reach
    asking, page = await asking_of(request, reach), page_of(request)
    query = WorkloadQuery(kind=Kind.CAPSULE, names=texts_of(request, "name"))
    words, labels = texts_of(request, "status"), _labels(request)

    def matches(workload: Workload) -> bool:
        has_labels = all(workload.spec.labels.get(name) == value for name, value in labels.items())
        return has_labels and (not words or _status(asking, workload).word in words)

    def look(tx: Tx) -> tuple[list[Workload], dict[str, list[Volume]]]:
        came = sift(tx, reach, query, page, _keys(asking), matches if words or labels else None)
        return came, held(tx, came)

    workloads, volumes = await request.backing.store.read(look)
    following = next_link(request, "capsules", page, workloads[-1].id if workloads else None, len(workloads))
    return found(CapsuleList([shown(request, asking, one, volumes.get(one.id, ())) for one in workloads], following))


def _labels(request: Request) -> Mapping[str, str]:
    """The labels asked for: all of `labels=a=b,c=d&labels=e=f`."""
    pairs = [pair.partition("=") for text in texts_of(request, "labels") for pair in text.split(",") if pair]
    if any(not sign or not name for name, sign, _ in pairs):
        raise Invalid("labels: expected name=value, or several of them with commas in between", field="labels")
    return {name: value for name, _, value in pairs}


def _status(asking: Asking, workload: Workload) -> Status:
    return derive_capsule_status(situation_of(workload, asking.nodes, asking.at)).whole


def _keys(asking: Asking) -> Keys:
    return {
        "status": lambda one: _status(asking, one).word,
        "status_reason": lambda one: _status(asking, one).reason or "",
    }


def held(tx: Tx, workloads: Sequence[Workload]) -> dict[str, list[Volume]]:
    """The volumes that each of them holds."""
    found: dict[str, list[Volume]] = {}
    asked = [one.id for one in workloads if one.spec.volumes]
    for volume in tx.volumes.held_by(asked) if asked else ():
        found.setdefault(volume.workload, []).append(volume)
    return found


def shown(request: Request, asking: Asking, workload: Workload, volumes: Sequence[Volume]) -> Capsule:
    """A capsule as the caller sees it."""
    policies, caller = request.backing.policies, request.caller
    owner = workload.project_id, workload.user_id
    view = View(
        asking.nodes,
        asking.at,
        request.version,
        policies.hidden_fields(caller, *owner),
        policies.allows(caller, "capsule:get:host", *owner),
    )
    return capsule_body(workload, volumes, view, base_of(request).of("capsules", workload.id))


async def show(request: Request) -> Answer:
    """One capsule."""
    asking, ident = await asking_of(request), request.params["capsule"]

    def look(tx: Tx) -> tuple[Workload, Sequence[Volume]]:
        workload = commands.find(tx, asking, ident, "capsule:get")
        return workload, held(tx, [workload]).get(workload.id, ())

    return found(shown(request, asking, *await request.backing.store.read(look)))


async def delete(request: Request) -> Answer:
    """Remove a capsule in whatever state: asynchronous, idempotent. With a `timeout`, sooner."""
    reach, grace = request.reach, _grace(request)
    if truth(decode_query(request, DeleteCapsule).all_projects):
        request.require("capsule:delete_all_projects")
        reach = EVERYBODY
    asking, ident = await asking_of(request, reach), request.params["capsule"]
    await change(request, lambda tx: commands.delete(tx, asking, ident, grace))
    return NO_CONTENT


async def start(request: Request) -> Answer:
    """Start all members, in order."""
    return await _do(request, commands.start)


async def stop(request: Request) -> Answer:
    """Stop all members, in the reverse order: asked first, killed after `timeout` seconds."""
    grace = _grace(request)
    return await _do(request, lambda tx, asking, ident: commands.stop(tx, asking, ident, grace))


async def reboot(request: Request) -> Answer:
    """Stop all members and start them again."""
    grace = _grace(request)
    return await _do(request, lambda tx, asking, ident: commands.reboot(tx, asking, ident, grace))


def _grace(request: Request) -> float | None:
    most = request.backing.settings.limits.maximum_grace
    try:
        text = decode_query(request, CapsuleTimeout).timeout
    except Invalid as error:
        raise Invalid(f"{error.message}; allowed are 0 to {most}", field="timeout", code=CODE) from error
    if text and int(text) > most:
        reason = f"timeout: {int(text)} is out of range; allowed are 0 to {most} seconds"
        raise Invalid(reason, field="timeout", code=CODE)
    return float(text) if text else None


async def _do(request: Request, command: Callable[[Tx, Asking, str], Workload]) -> Answer:
    asking, ident = await asking_of(request), request.params["capsule"]
    await change(request, lambda tx: command(tx, asking, ident))
    return ACCEPTED


async def list_actions(request: Request) -> Answer:
    """What was done to a capsule and its members, newest first."""
    asking, ident = await asking_of(request), request.params["capsule"]
    return container_actions.listed(await request.backing.store.read(lambda tx: commands.actions(tx, asking, ident)))


async def show_action(request: Request) -> Answer:
    """One of them, with its steps."""
    asking, ident, request_id = await asking_of(request), request.params["capsule"], request.params["request"]
    action = await request.backing.store.read(lambda tx: commands.action(tx, asking, ident, request_id))
    return container_actions.detailed(request, action)
