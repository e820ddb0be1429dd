"""A node that is nothing but what is seen of it: what each step of a plan makes of it, and whether it is allowed."""

from dataclasses import replace
from datetime import timedelta

from krater.agent.planner import ObservedWorkload
from krater.agent.steps import (
    ConnectVolume,
    Create,
    Disconnect,
    MakeSandbox,
    Pause,
    PlaceFiles,
    Plug,
    Remove,
    RemoveSandbox,
    Resume,
    Start,
    Step,
    Stop,
    Unplug,
    Update,
)
from krater.model.assignment import ContainerState, ObservedContainer
from tests.support.agent import EPOCH

NOW = EPOCH + timedelta(days=1)
ALIVE = (ContainerState.RUNNING, ContainerState.PAUSED)


def apply(world: ObservedWorkload, step: Step) -> ObservedWorkload:
    """What a step makes of the world, and whether the world allows it."""
    if isinstance(step, MakeSandbox | RemoveSandbox | Plug | Unplug):
        return _apply_network(world, step)
    if isinstance(step, ConnectVolume):
        return replace(world, mounts=world.mounts | {step.volume.volume})
    if isinstance(step, PlaceFiles):
        return replace(world, mounts=world.mounts | set(step.files))
    if isinstance(step, Disconnect):
        assert not any(c.state in ALIVE for c in world.containers.values()), "what runs keeps its volumes"
        return replace(world, mounts=world.mounts - {step.mount})
    return replace(world, containers=_apply_container(dict(world.containers), step, world.sandbox is not None))


def _apply_container(
    containers: dict[str, ObservedContainer], step: Step, has_sandbox: bool
) -> dict[str, ObservedContainer]:
    match step:
        case Create(spec, rebuild):
            assert spec.id not in containers, "a container is made only where there is none"
            containers[spec.id] = ObservedContainer(spec.id, rebuild, ContainerState.CREATED, memory=64)
        case Start(name, run, attempt):
            assert containers[name].state not in ALIVE, "no process is started beside another"
            assert has_sandbox, "no process runs without its namespace"
            containers[name] = replace(
                containers[name],
                state=ContainerState.RUNNING,
                run=run,
                attempt=attempt,
                error=None,
                cut_off=None,
                health=None,
            )
        case Stop(name, _, reason) if containers[name].state in ALIVE:
            containers[name] = replace(
                containers[name],
                state=ContainerState.EXITED,
                exit_code=143,
                finished_at=NOW,
                error=None,
                cut_off=reason or containers[name].cut_off,
            )
        case Pause(name) | Resume(name):
            assert containers[name].state in ALIVE, "only what runs can be frozen or thawed"
            state = ContainerState.PAUSED if isinstance(step, Pause) else ContainerState.RUNNING
            containers[name] = replace(containers[name], state=state)
        case Update(name, _, memory):
            containers[name] = replace(containers[name], memory=memory)
        case Remove(name):
            containers.pop(name, None)
    return containers


def _apply_network(world: ObservedWorkload, step: MakeSandbox | RemoveSandbox | Plug | Unplug) -> ObservedWorkload:
    match step:
        case MakeSandbox():
            return replace(world, sandbox="/netns", ports=frozenset())
        case RemoveSandbox():
            is_used = any(c.state in ALIVE for c in world.containers.values())
            assert not is_used, "a running process keeps its network"
            return replace(world, sandbox=None, ports=frozenset())
        case Plug(nic):
            assert world.sandbox is not None, "a card goes into a namespace"
            return replace(world, ports=world.ports | {nic.port})
        case Unplug(port):
            return replace(world, ports=world.ports - {port})
