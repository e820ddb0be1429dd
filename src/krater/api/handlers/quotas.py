"""How much a project may have, and has."""

from krater.api.handlers.answers import DONE, found
from krater.api.requests import Answer, Request
from krater.api.schemas.decoding import decode_arguments
from krater.api.schemas.quotas import LimitsAnswer, SetLimits, UsageAnswer, Used
from krater.errors import Invalid, NotFound
from krater.model.quota import Limits, Usage
from krater.store.interfaces import Tx

OWN = "~"
_LONGEST_PROJECT, _LONGEST_CLASS = 64, 255
_EXACT = 6  # decimals: usage is counted in millionths


async def show(request: Request) -> Answer:
    """A project's limits; with `usages` in the query, whatever its value, what it uses as well."""
    project = await _project(request, "quota:get")
    defaults = _settings(request)
    limits, used = await request.backing.store.read(
        lambda tx: (tx.quotas.limits(project, defaults), tx.quotas.usage(project))
    )
    return found(_with_usage(limits, used) if "usages" in request.query else LimitsAnswer.of(limits))


async def show_defaults(request: Request) -> Answer:
    """What a project may have of which nothing else was said."""
    await _project(request, "quota:get_default")
    return await _class_limits(request, "default")


async def update(request: Request) -> Answer:
    """The operator's word on a project. Less than it has now takes nothing away."""
    project = await _project(request, "quota:update")
    changes, defaults = (await decode_arguments(request, SetLimits)).changes(), _settings(request)

    def change(tx: Tx) -> Limits:
        tx.quotas.set_limits(project, changes)
        return tx.quotas.limits(project, defaults)

    return found(LimitsAnswer.of(await request.backing.store.write(change)))


async def delete(request: Request) -> Answer:
    """Back to the defaults."""
    project = await _project(request, "quota:delete")
    await request.backing.store.write(lambda tx: tx.quotas.clear_limits(project))
    return DONE


async def show_class(request: Request) -> Answer:
    """The limits of a class. `default` is the one that projects are in."""
    request.require("quota_class:get")
    return await _class_limits(request, _class(request))


async def update_class(request: Request) -> Answer:
    """The operator's word on a class."""
    request.require("quota_class:update")
    name = _class(request)
    changes, defaults = (await decode_arguments(request, SetLimits)).changes(), _settings(request)

    def change(tx: Tx) -> Limits:
        tx.quotas.set_class_limits(name, changes)
        return tx.quotas.class_limits(name, defaults)

    return found(LimitsAnswer.of(await request.backing.store.write(change)))


async def _class_limits(request: Request, name: str) -> Answer:
    defaults = _settings(request)
    limits = await request.backing.store.read(lambda tx: tx.quotas.class_limits(name, defaults))
    return found(LimitsAnswer.of(limits))


def _settings(request: Request) -> Limits:
    return request.backing.settings.quota.limits


async def _project(request: Request, rule: str) -> str:
    """The id of the project meant, if the caller may do this to it. `~` and its name mean the caller's own; where the
    projects are known, the names of others mean those, and one that does not exist is NotFound.
    """
    ident, caller = request.params["project"], request.caller
    if len(ident) > _LONGEST_PROJECT:
        raise Invalid(f"project: expected an id of at most {_LONGEST_PROJECT} characters", field="project")
    project = caller.project_id if ident in (OWN, caller.project_id, caller.project_name) else ident
    request.require(rule, project)
    if project == caller.project_id or request.backing.projects is None:
        return project
    known = await request.backing.projects()
    meant = [p.id for p in known if p.id == project] or [p.id for p in known if p.name == project]
    if meant:
        return meant[0]
    raise NotFound(f"Project {project} could not be found.", code="project-not-found")


def _class(request: Request) -> str:
    name = request.params["name"]
    if len(name) > _LONGEST_CLASS:
        raise Invalid(f"name: expected at most {_LONGEST_CLASS} characters", field="name")
    return name


def _with_usage(limits: Limits, used: Usage) -> UsageAnswer:
    return UsageAnswer(
        containers=Used(limits.containers, used.containers),
        memory=Used(limits.memory, used.memory),
        disk=Used(limits.disk, used.disk),
        cpu=Used(limits.cpu, round(used.cpu, _EXACT)),
    )
