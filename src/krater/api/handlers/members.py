"""Members of capsules as containers: one of them, and `GET /containers?capsule=`, all of a capsule."""

from collections.abc import Callable
from typing import Any

from krater.api.commands.workloads import Asking
from krater.api.handlers.answers import found
from krater.api.handlers.asking import asking_of
from krater.api.links import base_of
from krater.api.lists import cut, next_link, page_of, text_of, texts_of
from krater.api.rendering import member_body, situation_of
from krater.api.requests import Answer, Request
from krater.api.schemas.answers import Container, ContainerList
from krater.api.schemas.fields import strict_bool
from krater.api.subjects import Subject, members_of
from krater.errors import Invalid, NotFound
from krater.model.capsules import derive_capsule_status
from krater.model.status import Status
from krater.model.workload import Kind
from krater.store.interfaces import EVERYBODY, Tx, Workload

Row = tuple[int, Subject, Status]  # which of the capsule's, who, how

_FACTS: dict[str, Callable[[Subject, Status], str | None]] = {
    "name": lambda one, _: one.name,
    "image": lambda one, _: one.container.image,
    "project_id": lambda one, _: one.workload.project_id,
    "user_id": lambda one, _: one.workload.user_id,
    "memory": lambda one, _: _memory(one),
    "status": lambda _, status: status.word,
    "task_state": lambda _, status: status.task,
}
_KEYS: dict[str, Callable[[Row], Any]] = {
    "id": lambda row: row[0],
    "uuid": lambda row: row[1].id,
    "name": lambda row: row[1].name,
    "image": lambda row: row[1].container.image,
    "status": lambda row: row[2].word,
    "task_state": lambda row: row[2].task or "",
}


def shown(request: Request, asking: Asking, subject: Subject) -> Answer:
    """One member, as its viewer sees it."""
    body = _body(request, asking, subject, asking.status(subject))
    if "links" not in _hidden(request, subject):
        body.links = base_of(request).of("containers", subject.id)
    return found(body)


async def list_all(request: Request) -> Answer:
    """The members of the capsule that is named, by id or name, in the order to start them."""
    ident, everybody = text_of(request, "capsule"), text_of(request, "all_projects")
    if not ident:
        raise Invalid("capsule: expected the id or name of a capsule", field="capsule")
    is_wide = everybody is not None and strict_bool("all_projects", everybody)
    asking, page = await asking_of(request, EVERYBODY if is_wide else None), page_of(request)
    capsule = await request.backing.store.read(lambda tx: _capsule(tx, asking, ident))
    statuses = derive_capsule_status(situation_of(capsule, asking.nodes, asking.at)).members
    rows = [(place, one, statuses[one.id]) for place, one in enumerate(members_of(capsule))]
    matching = [row for row in rows if _matches(request, asking, row[1], row[2])]
    chosen = cut(matching, page, lambda row: row[1].id, _KEYS)
    following = next_link(request, "containers", page, chosen[-1][1].id if chosen else None, len(chosen))
    return found(ContainerList([_body(request, asking, one, status) for _, one, status in chosen], following))


def _capsule(tx: Tx, asking: Asking, ident: str) -> Workload:
    try:
        capsule = tx.workloads.get(asking.reach, ident, Kind.CAPSULE)
    except NotFound:
        raise NotFound(f"Capsule {ident[:255]} could not be found.", code="container-not-found") from None
    asking.require("container:get_all", capsule)
    return capsule


def _matches(request: Request, asking: Asking, subject: Subject, status: Status) -> bool:
    """Whether each filter that is given has a value that is the member's."""
    removed, hosts = text_of(request, "auto_remove"), texts_of(request, "host")
    if removed is not None and strict_bool("auto_remove", removed) is not subject.workload.spec.auto_remove:
        return False
    if hosts and asking.nodes.host(subject.node) not in hosts:
        return False
    wanted = ((fact, texts_of(request, name)) for name, fact in _FACTS.items())
    return all(not values or fact(subject, status) in values for fact, values in wanted)


def _memory(subject: Subject) -> str | None:
    asked = subject.container.requests
    return None if asked is None or asked.memory is None else str(asked.memory)


def _hidden(request: Request, subject: Subject) -> frozenset[str]:
    workload = subject.workload
    return request.backing.policies.hidden_fields(request.caller, workload.project_id, workload.user_id)


def _body(request: Request, asking: Asking, subject: Subject, status: Status) -> Container:
    return member_body(subject.workload, subject.container, status, asking.nodes, _hidden(request, subject))
