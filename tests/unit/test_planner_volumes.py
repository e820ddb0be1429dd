"""What is planned for volumes and injected files."""

import dataclasses
from typing import Any

import pytest

from krater.agent.planner import Backoff, Memory, ObservedWorkload, Plan, plan
from krater.agent.steps import ConnectVolume, Disconnect, PlaceFiles, Start, groups
from krater.model.assignment import ContainerState, ObservedContainer
from krater.model.volume import Attachment, MountRequest
from krater.model.workload import Desired, RestartName, RestartPolicy
from tests.support.agent import altered, assignment_of, loop_now, spec_of

pytestmark = pytest.mark.looptime

ONE = "1" * 32
VOLUME, FILE = Attachment("v1", 1, is_new=True), "f1"
SPEC = spec_of(ONE, mounts=(MountRequest("/data", volume="v1"), MountRequest("/conf", file=FILE, read_only=True)))
RUNNING = assignment_of(ONE, containers=(SPEC,), volumes=(VOLUME,), nics=())
BOTH = frozenset({"v1", FILE})


def world(state: ContainerState | None, mounts: frozenset[str], **more: Any) -> ObservedWorkload:
    seen = {} if state is None else {ONE: ObservedContainer(ONE, 0, state, **{"run": 1, **more})}
    return ObservedWorkload("/netns", frozenset(), seen, mounts)


async def planned(assignment: Any, seen: ObservedWorkload, memory: Memory | None = None) -> Plan:
    return plan(assignment, seen, loop_now(), Backoff(), memory or Memory())


async def names(assignment: Any, seen: ObservedWorkload, memory: Memory | None = None) -> list[str]:
    return [step.name for step in (await planned(assignment, seen, memory)).steps]


async def test_all_is_there_before_the_process_starts() -> None:
    steps = (await planned(RUNNING, ObservedWorkload())).steps
    assert [s.name for s in steps] == [
        *("ensure_image", "create", "make_sandbox", "connect_volume", "place_files", "start")
    ]
    assert ConnectVolume(VOLUME) in steps
    assert PlaceFiles((FILE,)) in steps


async def test_volumes_do_not_wait_for_images_nor_networks() -> None:
    first, *_ = groups((await planned(RUNNING, ObservedWorkload())).steps)
    assert [[s.name for s in lane] for lane in first] == [
        ["ensure_image", "create"],
        ["make_sandbox"],
        ["connect_volume", "place_files"],
    ]


async def test_what_is_there_is_not_connected_again() -> None:
    steps = (await planned(RUNNING, world(ContainerState.CREATED, BOTH, run=0))).steps
    assert [type(s) for s in steps] == [Start]


async def test_what_runs_keeps_what_it_has() -> None:
    assert await names(RUNNING, world(ContainerState.RUNNING, BOTH)) == []
    assert await names(RUNNING, world(ContainerState.RUNNING, frozenset())) == []


async def test_they_are_let_go_after_the_last_process() -> None:
    stopped = altered(RUNNING, desired=Desired.STOPPED)
    assert await names(stopped, world(ContainerState.RUNNING, BOTH)) == [
        *("stop", "remove_sandbox", "disconnect", "disconnect")
    ]


async def test_another_container_that_runs_keeps_them() -> None:
    two = dataclasses.replace(RUNNING, containers=(SPEC, spec_of("2" * 32, mounts=SPEC.mounts[:1])))
    seen = world(ContainerState.EXITED, BOTH, exit_code=0)
    seen = dataclasses.replace(
        seen,
        containers={**seen.containers, "2" * 32: ObservedContainer("2" * 32, 0, ContainerState.RUNNING, 1)},
    )
    assert await names(two, seen) == []


async def test_who_waits_for_a_restart_keeps_them() -> None:
    always = dataclasses.replace(RUNNING, restart=RestartPolicy(RestartName.ALWAYS))
    found = await planned(always, world(ContainerState.EXITED, BOTH, exit_code=1, finished_at=loop_now()))
    assert found.steps == ()
    assert found.wait is not None


async def test_removal_disconnects_last() -> None:
    removed = altered(RUNNING, desired=Desired.REMOVED, grace=0)
    assert await names(removed, world(ContainerState.RUNNING, BOTH)) == [
        *("remove", "remove_sandbox", "disconnect", "disconnect")
    ]
    found = await planned(removed, ObservedWorkload(mounts=frozenset({"v1"})))
    assert found.steps == (Disconnect("v1"),)
    assert not found.gone


async def test_what_nobody_knows_is_disconnected() -> None:
    found = plan(None, ObservedWorkload(mounts=BOTH), loop_now(), Backoff(), Memory())
    assert [step.name for step in found.steps] == ["disconnect", "disconnect"]


async def test_a_rebuild_keeps_them_connected() -> None:
    rebuilt = altered(RUNNING, rebuild=1, run=2)
    assert "disconnect" not in await names(rebuilt, world(ContainerState.RUNNING, BOTH))
    assert "connect_volume" not in await names(rebuilt, world(ContainerState.RUNNING, BOTH))


async def test_after_a_failure_nothing_is_connected_and_all_let_go() -> None:
    failed = Memory(failure="no")
    assert await names(RUNNING, ObservedWorkload(), failed) == []
    assert await names(RUNNING, world(ContainerState.CREATED, BOTH, run=0), failed) == [
        *("remove_sandbox", "disconnect", "disconnect")
    ]
