"""What every engine promises."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from krater.agent.runtimes.interfaces import ContainerConfig, Engine
from krater.errors import Conflict, Invalid, KraterError, NotFound, Permanent
from krater.model.assignment import ContainerState
from krater.model.workload import PullPolicy
from tests.support.engines import NOBODY, Node, exited, running, seen
from tests.support.oci import config

SOON = 5.0


async def test_a_created_container_is_listed_with_what_its_image_says(engine: Engine) -> None:
    wanted = config(("sleep", "5"), rebuild=3, cpu=0.5, memory=32)
    await engine.create(wanted)
    found = await seen(engine, wanted.id)
    assert (found.state, found.rebuild, found.pid) == (ContainerState.CREATED, 3, None)
    assert found.command == ("sleep", "5")
    assert found.image_digest.startswith("sha256:")
    assert (found.cpu, found.memory) == (0.5, 32)


async def test_creating_twice_is_success(engine: Engine) -> None:
    wanted = config()
    await engine.create(wanted)
    await engine.create(wanted)
    assert list(await engine.list()) == [wanted.id]


async def test_another_rebuild_needs_the_old_one_removed(engine: Engine) -> None:
    wanted = config()
    await engine.create(wanted)
    changed = ContainerConfig(wanted.id, 1, wanted.spec, wanted.hostname, wanted.netns)
    with pytest.raises(KraterError):
        await engine.create(changed)
    await engine.remove(wanted.id)
    await engine.create(changed)
    assert (await seen(engine, wanted.id)).rebuild == 1


async def test_a_container_of_an_absent_image_is_not_made(engine: Engine) -> None:
    with pytest.raises(KraterError):
        await engine.create(config(image="nowhere"))
    assert await engine.list() == {}


async def test_a_started_container_runs(node: Node, engine: Engine) -> None:
    wanted = config()
    await engine.create(wanted)
    await engine.start(wanted.id, 4, 2, node.netns)
    found = await seen(engine, wanted.id)
    assert (found.state, found.run, found.attempt) == (ContainerState.RUNNING, 4, 2)
    assert found.pid is not None
    assert found.started_at is not None
    assert found.started_at.tzinfo is not None


async def test_starting_again_for_the_same_attempt_changes_nothing(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    before = await seen(engine, container)
    await engine.start(container, 1, 0, node.netns)
    assert await seen(engine, container) == before


async def test_a_process_that_ended_is_not_started_again_for_the_same_attempt(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config(("true",)))
    before = await exited(engine, container)
    await engine.start(container, 1, 0, node.netns)
    assert await seen(engine, container) == before
    await engine.start(container, 1, 1, node.netns)
    assert (await exited(engine, container)).attempt == 1


async def test_what_does_not_exist_cannot_be_started(node: Node, engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.start(NOBODY, 1, 0, node.netns)


@pytest.mark.parametrize(("command", "code"), [(("true",), 0), (("false",), 1)])
async def test_the_exit_code_is_told(node: Node, engine: Engine, command: tuple[str, ...], code: int) -> None:
    found = await exited(engine, await running(node, engine, config(command)))
    assert (found.exit_code, found.pid, found.error) == (code, None, None)
    assert found.started_at is not None
    assert found.finished_at is not None


async def test_a_start_that_fails_is_recorded_and_raised(node: Node, engine: Engine) -> None:
    wanted = config(("fail-start",))
    await engine.create(wanted)
    with pytest.raises(Permanent) as raised:
        await engine.start(wanted.id, 1, 0, node.netns)
    found = await seen(engine, wanted.id)
    assert (found.state, found.run, found.error) == (ContainerState.EXITED, 1, raised.value.message)
    with pytest.raises(Permanent):
        await engine.start(wanted.id, 1, 0, node.netns)
    again = await node.crashed(engine)
    assert (await seen(again, wanted.id)).error == raised.value.message


async def test_a_stopped_container_has_exited(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    await engine.stop(container, 1)
    found = await seen(engine, container)
    assert found.state is ContainerState.EXITED
    assert found.exit_code in (137, 143)
    assert found.finished_at is not None


async def test_the_reason_of_a_stop_nobody_asked_for_is_recorded_until_the_next_start(
    node: Node, engine: Engine
) -> None:
    container = await running(node, engine)
    await engine.stop(container, 1, "It was ill.")
    ended = await seen(engine, container)
    assert (ended.state, ended.cut_off) == (ContainerState.EXITED, "It was ill.")
    again = await node.crashed(engine)
    assert (await seen(again, container)).cut_off == "It was ill."
    await again.start(container, 1, 1, node.netns)
    assert (await seen(again, container)).cut_off is None
    await again.stop(container, 1)
    assert (await seen(again, container)).cut_off is None
    await again.stop(container, 1, "Too late: it had ended.")
    assert (await seen(again, container)).cut_off is None


async def test_removing_what_is_not_there_dates_its_log_and_is_success(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config(("echo", "hello")))
    await exited(engine, container)
    directory = Path(engine.log_path(container)).parent
    os.utime(directory, (1, 1))
    before = time.time()
    await engine.remove(container)
    assert directory.stat().st_mtime >= before - 1
    await engine.remove(container)
    await engine.remove(NOBODY)


async def test_stopping_what_does_not_run_is_success(node: Node, engine: Engine) -> None:
    await engine.stop(NOBODY, 1)
    wanted = config()
    await engine.create(wanted)
    await engine.stop(wanted.id, 1)
    assert (await seen(engine, wanted.id)).state is ContainerState.CREATED
    await engine.start(wanted.id, 1, 0, node.netns)
    await engine.stop(wanted.id, 1)
    await engine.stop(wanted.id, 1)


async def test_a_stopped_container_can_be_started_again(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    await engine.stop(container, 0)
    await engine.start(container, 2, 0, node.netns)
    found = await seen(engine, container)
    assert (found.state, found.run, found.exit_code) == (ContainerState.RUNNING, 2, None)


async def test_what_runs_must_be_stopped_before_another_start(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    with pytest.raises(Conflict):
        await engine.start(container, 2, 0, node.netns)


async def test_pause_and_resume(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    await engine.pause(container)
    await engine.pause(container)
    assert (await seen(engine, container)).state is ContainerState.PAUSED
    await engine.resume(container)
    await engine.resume(container)
    assert (await seen(engine, container)).state is ContainerState.RUNNING


async def test_a_paused_container_can_be_stopped(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    await engine.pause(container)
    await engine.stop(container, 1)
    assert (await seen(engine, container)).state is ContainerState.EXITED


async def test_updated_limits_are_told(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    await engine.update(container, 0.5, 48)
    found = await seen(engine, container)
    assert (found.cpu, found.memory) == (0.5, 48)


async def test_a_removed_container_is_gone_whatever_it_did(node: Node, engine: Engine) -> None:
    created = config()
    await engine.create(created)
    paused = await running(node, engine)
    await engine.pause(paused)
    for container in (created.id, paused, await running(node, engine), NOBODY):
        await engine.remove(container)
        await engine.remove(container)
        assert await engine.inspect(container) is None
    assert await engine.list() == {}


async def test_events_tell_of_an_end(node: Node, engine: Engine) -> None:
    events = engine.events()
    container = await running(node, engine, config(("sleep", "0.3")))
    async with asyncio.timeout(SOON):
        async for changed in events:
            if changed == container and (await seen(engine, container)).state is ContainerState.EXITED:
                break


async def test_after_a_crash_everything_is_found_again(node: Node, engine: Engine) -> None:
    container, ended = await running(node, engine), await running(node, engine, config(("true",)))
    await exited(engine, ended)
    before = await engine.list()
    again = await node.crashed(engine)
    assert await again.list() == before
    await again.stop(container, 1)
    assert (await seen(again, container)).state is ContainerState.EXITED


async def test_a_present_image_is_not_pulled(engine: Engine) -> None:
    for policy in (PullPolicy.IF_NOT_PRESENT, PullPolicy.NEVER):
        facts = await engine.ensure_image("busybox", policy)
        assert facts.digest.startswith("sha256:")
    assert [image.digest for image in await engine.images()] == [facts.digest]


async def test_an_absent_image_that_must_not_be_pulled_is_permanent(engine: Engine) -> None:
    with pytest.raises(Permanent):
        await engine.ensure_image("nowhere", PullPolicy.NEVER)


async def test_a_removed_image_is_gone_but_not_from_under_a_container(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    await engine.remove_image("busybox")
    await engine.remove_image("busybox")
    assert list(await engine.images()) == []
    await engine.stop(container, 0)
    await engine.start(container, 2, 0, node.netns)
    assert (await seen(engine, container)).state is ContainerState.RUNNING


async def test_creating_again_needs_no_image(engine: Engine) -> None:
    wanted = config()
    await engine.create(wanted)
    await engine.remove_image("busybox")
    await engine.create(wanted)


async def test_exec_tells_output_and_exit_code(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    found = await engine.exec(container, ("echo", "hello", "world"), SOON, 1000)
    assert (found.output, found.exit_code, found.truncated) == (b"hello world\n", 0, False)
    assert (await engine.exec(container, ("false",), SOON, 1000)).exit_code == 1


async def test_exec_output_is_cut_at_the_limit(node: Node, engine: Engine) -> None:
    found = await engine.exec(await running(node, engine), ("echo", "hello"), SOON, 3)
    assert (found.output, found.truncated) == (b"hel", True)


async def test_exec_does_not_wait_for_ever(node: Node, engine: Engine) -> None:
    with pytest.raises(Conflict):
        await engine.exec(await running(node, engine), ("sleep", "100"), 0.2, 1000)


async def test_live_requests_need_a_running_container(node: Node, engine: Engine) -> None:
    wanted = config()
    await engine.create(wanted)
    with pytest.raises(Conflict):
        await engine.exec(wanted.id, ("true",), SOON, 1000)
    with pytest.raises(Conflict):
        await engine.top(wanted.id, "")
    with pytest.raises(Conflict):
        await engine.stats(wanted.id)
    with pytest.raises(Conflict):
        await engine.signal(wanted.id, 15)


async def test_a_signal_reaches_the_first_process(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    await engine.signal(container, 9)
    assert (await exited(engine, container)).exit_code == 137


async def test_top_shows_the_container_only(node: Node, engine: Engine) -> None:
    table = await engine.top(await running(node, engine), "")
    assert len(table.rows) == 1
    assert "PID" in table.titles
    assert "sleep" in " ".join(table.rows[0])


async def test_top_refuses_arguments_that_ps_does_not_know(node: Node, engine: Engine) -> None:
    with pytest.raises(Invalid):
        await engine.top(await running(node, engine), "--invalid")


async def test_stats_know_the_limit(node: Node, engine: Engine) -> None:
    found = await engine.stats(await running(node, engine, config(memory=32)))
    assert found.memory_limit == 32 << 20
    assert 0 < found.memory_used <= found.memory_limit


async def test_names_may_be_told_at_any_time(node: Node, engine: Engine) -> None:
    made = config()
    await engine.tell_names(made.id, ("10.0.0.1",), ())
    await engine.create(made)
    await engine.tell_names(made.id, ("10.0.0.1",), (("10.0.0.2", "me"),))
    await engine.start(made.id, 1, 0, node.netns)
    before = await seen(engine, made.id)
    await engine.tell_names(made.id, ("10.0.0.3",), (("10.0.0.4", "me"),))
    assert await seen(engine, made.id) == before
