"""Capsules that are asked for at the API, in a world whose node is moved by hand."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from krater.model.assignment import ContainerState, Observed, ObservedContainer, Placement
from krater.model.member import Role
from krater.model.network import Nic
from krater.model.workload import ContainerSpec, Desired
from krater.store.interfaces import EVERYBODY, Tx, Workload
from tests.support.api import NODE, World
from tests.support.templates import Json, template

URL = "/v1/capsules"
_STATES = {Desired.RUNNING: ContainerState.RUNNING, Desired.PAUSED: ContainerState.PAUSED}


async def post(world: World, template: Any, **more: Any) -> Any:
    """The answer to a request for a new one."""
    return await world.call("POST", URL, json={"template": template}, **more)


def code_of(answer: Any) -> str:
    """The code of a refusal."""
    code: str = answer.json()["errors"][0]["code"]
    return code


async def make(world: World, *containers: Json, who: str = "ann", **more: Any) -> Json:
    """A capsule that was just asked for."""
    answer = await post(world, template(*containers, **more), who=who)
    assert answer.status_code == 202, answer.text
    made: Json = answer.json()
    return made


async def shown(world: World, ident: str, **more: Any) -> Json:
    """As the API shows it."""
    answer = await world.call("GET", f"{URL}/{ident}", **more)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def stored(world: World, ident: str) -> Workload:
    """The row."""
    return await world.store.read(lambda tx: tx.workloads.get(EVERYBODY, ident, None))


async def settle(
    world: World,
    id: str,
    *,
    settled: bool = True,
    failure: str | None = None,
    failed: str | None = None,
    nics: tuple[Nic, ...] = (),
    **members: Json,
) -> Workload:
    """The node has done what was asked of all members; or something else, by member and field of ObservedContainer.

    `missing=True` among these says that it has not been made. `failed` is the name of a member.
    """
    workload = await stored(world, id)
    intent, ids = workload.intent, {one.name: one.id for one in workload.spec.containers}
    seen = []
    for one in workload.spec.containers:
        told = dict(members.get(one.name, {}))
        if not told.pop("missing", False):
            seen.append(replace(_as_asked(workload, one, world.clock()), **told))
    culprit = None if failed is None else ids[failed]
    observed = Observed(intent.generation, tuple(seen), settled, failure, failed=culprit)

    def fold(tx: Tx) -> Workload:
        if workload.placement.node is None:
            tx.workloads.place(workload.id, Placement(NODE, 1, nics, generation=intent.generation))
        for ident in (workload.id, *ids.values()):
            tx.actions.finish(ident, intent.generation, failure, world.clock())
        return tx.workloads.observe(workload.id, observed)

    return await world.store.write(fold)


def _as_asked(workload: Workload, member: ContainerSpec, now: datetime) -> ObservedContainer:
    intent = workload.intent.of(member.id)
    state = _STATES.get(intent.desired, ContainerState.EXITED)
    if member.role is Role.INIT:
        state = ContainerState.EXITED
    ended = state is ContainerState.EXITED
    return ObservedContainer(
        member.id,
        intent.rebuild,
        state,
        run=intent.run,
        exit_code=0 if ended else None,
        started_at=now,
        finished_at=now if ended else None,
    )


async def running(world: World, *containers: Json, who: str = "ann", **more: Any) -> Json:
    """A capsule that runs."""
    made = await make(world, *containers, who=who, **more)
    await settle(world, made["uuid"])
    return made


async def leftovers(world: World, project: str = "p-kitchen") -> list[Any]:
    """Whatever there is of a project that requests for capsules may have made."""

    def look(tx: Tx) -> list[Any]:
        groups = [group for group in tx.security_groups.list(EVERYBODY) if group.device]
        volumes = [volume for volume in tx.volumes.list(EVERYBODY) if volume.auto_remove or volume.workload]
        named = [volume for volume in tx.volumes.list(EVERYBODY) if volume.name.startswith("capsule-")]
        used = tx.quotas.usage(project)
        found = [*groups, *volumes, *named, *tx.workloads.unfinished(), *tx.volumes.holders()]
        return [*found, used] if used.containers or used.cpu or used.memory else found

    return await world.store.read(look)
