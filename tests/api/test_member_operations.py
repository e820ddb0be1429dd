"""Start, stop, reboot, pause, kill of one member: what each writes down, and when there is no such thing."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from krater.bus.messages import Signal
from krater.model.assignment import ContainerState
from krater.model.member import Condition, Dependency
from krater.model.operations import ALLOWED
from krater.model.workload import Desired, MemberIntent
from tests.support.api import HOST, FakeAgent, World
from tests.support.stored_capsules import DB, LOGGER, SETUP, WEB, StoredCapsule, member

pytestmark = pytest.mark.thorough

OPERATIONS = ("start", "stop", "reboot", "pause", "unpause", "kill")
ENDED = {"state": ContainerState.EXITED, "exit_code": 0}
FAILED = {"state": ContainerState.EXITED, "exit_code": 3}


async def act(capsule: StoredCapsule, name: str, action: str, query: str = "", **more: Any) -> Any:
    return await capsule.call(name, "POST", f"/{action}{query}", **more)


async def done(capsule: StoredCapsule, name: str, action: str, query: str = "") -> MemberIntent:
    """An operation that is accepted: what is wanted of the member then."""
    answer = await act(capsule, name, action, query)
    assert (answer.status_code, answer.content) == (202, b"null"), answer.text
    own = await capsule.own(name)
    assert own is not None
    return own


async def refused(capsule: StoredCapsule, name: str, action: str) -> str:
    """Why an operation is refused; nothing is changed."""
    before = await capsule.row()
    answer = await act(capsule, name, action)
    assert answer.status_code == 409, answer.text
    assert await capsule.row() == before
    [error] = answer.json()["errors"]
    assert capsule.ids[name] in error["title"]
    return str(error["title"]).replace(capsule.ids[name], name)


async def into(world: World, status: str) -> StoredCapsule:
    """A capsule whose member `web` is in this status."""
    capsule = await StoredCapsule.of(world)
    match status:
        case "Creating":
            await capsule.settle(web={"missing": True}, settled=False)
        case "Created":
            waits = {"state": ContainerState.CREATED, "run": 0, "started_at": None}
            await capsule.settle(web=waits, settled=False)
        case "Stopped":
            await capsule.settle(web=ENDED)
        case "Paused":
            await capsule.settle()
            await done(capsule, WEB, "pause")
            await capsule.settle()
        case "Error":
            await capsule.settle(web=FAILED | {"error": "There is no such program."}, failure="No.", failed=WEB)
        case "Restarting":
            await capsule.settle()
            await done(capsule, WEB, "reboot")
        case "Deleting":
            await capsule.settle()
            await capsule.want(desired=Desired.REMOVED)
        case "Unknown":
            await capsule.settle()
            await world.store.write(lambda tx: tx.nodes.set_forced_down(HOST, True))
        case _:
            await capsule.settle()
    shown = await capsule.shown(WEB)
    assert shown["status"] == status, shown
    return capsule


@pytest.mark.parametrize(
    "status",
    ["Creating", "Created", "Running", "Stopped", "Paused", "Error", "Restarting", "Unknown", "Deleting"],
)
async def test_each_state_of_the_member_allows_what_the_table_says(world: World, status: str) -> None:
    for operation in OPERATIONS:
        capsule = await into(world, status)
        before = await capsule.row()
        if status in ALLOWED[operation]:
            await done(capsule, WEB, operation)
            assert (await capsule.row()).intent.generation == before.intent.generation + 1
            assert world.hints[-1] == capsule.id
        else:
            assert await refused(capsule, WEB, operation) == f"Cannot {operation} container web in {status} state."
        await world.store.write(lambda tx: tx.nodes.set_forced_down(HOST, False))


@pytest.mark.parametrize(
    ("status", "action", "query", "own"),
    [
        ("Running", "stop", "", MemberIntent(Desired.STOPPED, 0, 10.0)),
        ("Running", "stop", "?timeout=3", MemberIntent(Desired.STOPPED, 0, 3.0)),
        ("Stopped", "start", "", MemberIntent(None, 1)),
        ("Error", "start", "", MemberIntent(None, 1)),
        ("Running", "reboot", "?timeout=0", MemberIntent(None, 1, 0.0)),
        ("Stopped", "reboot", "", MemberIntent(None, 1, 10.0)),
        ("Running", "pause", "", MemberIntent(Desired.PAUSED)),
        ("Paused", "unpause", "", MemberIntent()),
        ("Running", "kill", "", MemberIntent(Desired.STOPPED, 0, 0.0)),
        ("Running", "kill", "?signal=9", MemberIntent(Desired.STOPPED, 0, 0.0)),
    ],
)
async def test_what_each_operation_writes_down(
    world: World, status: str, action: str, query: str, own: MemberIntent
) -> None:
    capsule = await into(world, status)
    before = (await capsule.row()).intent
    assert await done(capsule, WEB, action, query) == own
    after = (await capsule.row()).intent
    assert (after.desired, after.run, after.grace) == (before.desired, before.run, before.grace)
    assert (after.generation, set(after.members)) == (before.generation + 1, {capsule.ids[WEB]})
    other = capsule.ids[DB]
    assert replace(after.of(other), generation=0, members={}) == replace(before.of(other), generation=0, members={})


async def test_others_go_on_as_they_are(world: World) -> None:
    capsule = await StoredCapsule.running(world, containers=(member("batch"), member("app"), member("side")))
    await capsule.settle(batch=ENDED)
    before = {name: await capsule.shown(name) for name in ("batch", "side")}
    await done(capsule, "app", "stop")
    for name, shown in before.items():
        now = await capsule.shown(name)
        assert (now["status"], now["task_state"]) == (shown["status"], None)
    assert (await capsule.shown("app"))["task_state"] == "container_stopping"
    await capsule.settle(batch=ENDED)
    assert [(await capsule.shown(n))["status"] for n in ("batch", "app", "side")] == ["Stopped", "Stopped", "Running"]


async def test_runs_add_up_and_stay_with_a_stop(world: World) -> None:
    capsule = await StoredCapsule.running(world)
    for wanted in (1, 2):
        assert (await done(capsule, WEB, "reboot")).run == wanted
        await capsule.settle()
    assert await done(capsule, WEB, "stop") == MemberIntent(Desired.STOPPED, 2, 10.0)
    await capsule.settle()
    assert await done(capsule, WEB, "start") == MemberIntent(None, 3)
    intent = (await capsule.row()).intent
    assert (intent.of(capsule.ids[WEB]).run, intent.of(capsule.ids[DB]).run) == (4, 1)


async def test_of_a_paused_capsule_one_member_may_run(world: World) -> None:
    capsule = await StoredCapsule.running(world)
    await capsule.want(desired=Desired.PAUSED)
    await capsule.settle()
    assert await done(capsule, WEB, "unpause") == MemberIntent(Desired.RUNNING)
    await capsule.settle()
    assert [(await capsule.shown(name))["status"] for name in (DB, WEB)] == ["Paused", "Running"]
    assert await done(capsule, WEB, "pause") == MemberIntent()


async def test_a_sidecar_is_operated_like_an_ordinary_member(world: World) -> None:
    capsule = await StoredCapsule.running(world)
    assert await done(capsule, LOGGER, "stop") == MemberIntent(Desired.STOPPED, 0, 10.0)
    await capsule.settle()
    assert (await capsule.shown(LOGGER))["status"] == "Stopped"
    assert await done(capsule, LOGGER, "start") == MemberIntent(None, 1)


@pytest.mark.parametrize(
    ("action", "instead"),
    [
        ("start", "Reboot the capsule to have it run again."),
        ("reboot", "Reboot the capsule to have it run again."),
        ("stop", "Stop the capsule, or kill it to have it fail."),
        ("pause", "Stop the capsule."),
    ],
)
@pytest.mark.parametrize("state", [ENDED, {"state": ContainerState.RUNNING, "exit_code": None}], ids=["over", "runs"])
async def test_an_init_container_runs_when_its_turn_comes(
    world: World, action: str, instead: str, state: dict[str, Any]
) -> None:
    capsule = await StoredCapsule.of(world)
    await capsule.settle(setup=state, settled=False)
    why = f"Cannot {action} container setup: it is an init container of capsule pod, and runs when its turn comes."
    assert await refused(capsule, SETUP, action) == f"{why} {instead}"


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
async def test_a_signal_to_an_init_container_is_only_that(world: World, signal: str) -> None:
    agent = FakeAgent(world)
    capsule = await StoredCapsule.of(world)
    await capsule.settle(setup={"state": ContainerState.RUNNING, "exit_code": None}, settled=False)
    before = (await capsule.row()).intent
    answer = await act(capsule, SETUP, "kill", f"?signal={signal}")
    assert answer.status_code == 202, answer.text
    assert agent.asked == [Signal(capsule.ids[SETUP], 9 if signal == "KILL" else 15)]
    assert (await capsule.row()).intent == before
    [told] = (await capsule.call(SETUP, path="/container_actions")).json()["containerActions"]
    assert (told["action"], told["container_uuid"], told["message"]) == ("kill", capsule.ids[SETUP], None)


async def test_a_signal_reaches_the_member_alone(world: World) -> None:
    agent = FakeAgent(world)
    capsule = await StoredCapsule.running(world)
    assert (await act(capsule, WEB, "kill", "?signal=HUP")).status_code == 202
    assert agent.asked == [Signal(capsule.ids[WEB], 1)]
    assert await capsule.own(WEB) is None


@pytest.mark.parametrize("action", ["start", "reboot"])
async def test_a_member_of_a_stopped_capsule_starts_with_that(world: World, action: str) -> None:
    capsule = await StoredCapsule.running(world, name="")
    await capsule.want(desired=Desired.STOPPED)
    await capsule.settle()
    why = f"Cannot {action} container web: its capsule {capsule.id} is stopped. Start the capsule."
    assert await refused(capsule, WEB, action) == why


async def test_while_a_capsule_is_being_stopped_its_members_can_be_killed(world: World) -> None:
    agent = FakeAgent(world)
    capsule = await StoredCapsule.running(world)
    await capsule.want(desired=Desired.STOPPED, grace=600.0)
    for action in ("stop", "pause"):
        assert "its capsule pod is stopped. So is this member, or is about to be." in await refused(
            capsule, WEB, action
        )
    assert (await act(capsule, WEB, "kill")).status_code == 202
    assert agent.asked == [Signal(capsule.ids[WEB], 9)]
    assert await capsule.own(WEB) is None


@pytest.mark.parametrize("action", ["start", "reboot"])
async def test_what_waits_in_vain_is_not_started(world: World, action: str) -> None:
    capsule = await StoredCapsule.of(world)
    waits = {"state": ContainerState.CREATED, "run": 0, "started_at": None}
    await capsule.settle(setup=FAILED, logger=waits, db=waits, web=waits, failure="It failed.", failed=SETUP)
    why = f"Cannot {action} container web: init container setup failed with exit code 3. Reboot the capsule."
    assert await refused(capsule, WEB, action) == why


async def test_a_member_that_waits_for_another_says_which_to_start(world: World) -> None:
    base = member("base")
    top = member("top", depends_on=(Dependency(base.id, Condition.COMPLETED),))
    capsule = await StoredCapsule.running(world, containers=(base, top))
    await capsule.settle(base=FAILED)
    assert (await refused(capsule, "top", "reboot")).endswith("base failed with exit code 3. Start base first.")
    await done(capsule, "base", "start")
    assert await done(capsule, "top", "reboot") == MemberIntent(None, 1, 10.0)


async def test_a_sidecar_has_no_time_of_its_own(world: World) -> None:
    capsule = await StoredCapsule.running(world)
    await capsule.settle(db=ENDED, web=FAILED, logger=ENDED)
    for action in ("start", "reboot"):
        why = "the ordinary members of capsule pod have ended, and it with them. Start one of those, or the capsule."
        assert await refused(capsule, LOGGER, action) == f"Cannot {action} container logger: {why}"
    await done(capsule, WEB, "start")
    assert (await capsule.shown(LOGGER))["status"] == "Restarting", "it comes with them"


async def test_the_template_says_how_long_a_member_has_to_end(world: World) -> None:
    capsule = await StoredCapsule.running(world, grace=90.0)
    assert await done(capsule, WEB, "stop") == MemberIntent(Desired.STOPPED, 0, 90.0)
    assert await done(capsule, DB, "reboot") == MemberIntent(None, 1, 90.0)
    assert await done(capsule, LOGGER, "stop", "?timeout=1") == MemberIntent(Desired.STOPPED, 0, 1.0)


async def test_an_action_is_in_the_history_of_the_member(world: World) -> None:
    capsule = await StoredCapsule.running(world)
    answer = await act(capsule, WEB, "stop")
    [told] = (await capsule.call(WEB, path="/container_actions")).json()["containerActions"]
    assert (told["action"], told["container_uuid"], told["finish_time"]) == ("stop", capsule.ids[WEB], None)
    assert (told["request_id"], told["user_id"]) == (answer.headers["x-openstack-request-id"], "u-ann")
    assert (await capsule.call(DB, path="/container_actions")).json() == {"containerActions": []}
    await capsule.settle()
    [told] = (await capsule.call(WEB, path="/container_actions")).json()["containerActions"]
    assert told["finish_time"] is not None


async def test_two_requests_at_once_are_one_after_the_other(world: World) -> None:
    capsule = await StoredCapsule.running(world)
    answers = await asyncio.gather(*(act(capsule, name, "stop") for name in (WEB, DB, LOGGER)))
    assert [answer.status_code for answer in answers] == [202] * 3
    intent = (await capsule.row()).intent
    assert (intent.generation, len(intent.members)) == (4, 3)
