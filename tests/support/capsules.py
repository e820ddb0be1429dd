"""Templates of capsules, and capsules in a world whose node is moved by hand."""

from dataclasses import replace
from typing import Any

from krater.model.assignment import ContainerState, Observed, ObservedContainer, Placement
from krater.model.workload import Desired
from krater.store.interfaces import EVERYBODY, Tx, Workload
from tests.support.api import NODE, World

Json = dict[str, Any]
URL = "/v1/capsules"


def member(name: str | None = None, **changes: Any) -> Json:
    """A container of a template that is right, but for what is given."""
    named = {} if name is None else {"name": name}
    return {"image": "busybox", "resources": {"requests": {"cpu": 0.1, "memory": 64}}, **named, **changes}


def template(*containers: Json, name: str | None = "web", metadata: Json | None = None, **spec: Any) -> Json:
    """A template that is right, but for what is given."""
    own = {} if name is None else {"name": name}
    members = list(containers) or [member()]
    return {"kind": "capsule", "metadata": {**own, **(metadata or {})}, "spec": {"containers": members, **spec}}


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


async def settle(world: World, id: str, *, failure: str | None = None, **members: Json) -> Workload:
    """The node has done what was asked of all members; or something else, by member and field of ObservedContainer."""
    workload = await stored(world, id)
    intent = workload.intent
    state = ContainerState.RUNNING if intent.desired is Desired.RUNNING else ContainerState.EXITED
    seen = []
    for one in workload.spec.containers:
        as_asked = state if one.role != "init" else ContainerState.EXITED
        ended = as_asked is ContainerState.EXITED
        found = ObservedContainer(
            one.id,
            intent.rebuild,
            as_asked,
            run=intent.of(one.id).run,
            exit_code=0 if ended else None,
            started_at=world.clock(),
            finished_at=world.clock() if ended else None,
        )
        seen.append(replace(found, **members.get(one.name, {})))
    observed = Observed(intent.generation, tuple(seen), settled=True, failure=failure)

    def fold(tx: Tx) -> Workload:
        if workload.placement.node is None:
            tx.workloads.place(workload.id, Placement(NODE, 1, generation=intent.generation))
        for ident in (workload.id, *(one.id for one in workload.spec.containers)):
            tx.actions.finish(ident, intent.generation, failure, world.clock())
        return tx.workloads.observe(workload.id, observed)

    return await world.store.write(fold)


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
