"""Requests that a node answers now: logs, execute, top, stats, signals."""

import asyncio
from typing import Any

import pytest

from krater.bus.interfaces import node_target
from krater.bus.messages import Exec, Logs, Resize, Signal, Stats, Top, TopAnswer
from krater.errors import Conflict, Unavailable
from krater.model.assignment import Placement
from tests.support.api import HOST, NODE, FakeAgent, World

LIVE = [("GET", "logs", ""), ("POST", "execute", "?command=ls"), ("GET", "top", ""), ("GET", "stats", "")]


@pytest.fixture
async def agent(world: World) -> FakeAgent:
    return FakeAgent(world)


async def test_logs_are_one_json_string(world: World, agent: FakeAgent) -> None:
    id = (await world.running())["uuid"]
    answer = await world.call("GET", f"/v1/containers/{id}/logs")
    assert (answer.status_code, answer.json()) == (200, "line\n")
    assert agent.asked == [Logs(id)]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("?tail=all&since=None&timestamps=False", {}),
        ("?tail=", {}),
        ("?tail=20", {"tail": 20}),
        ("?stdout=false&stderr=no", {"stdout": False, "stderr": False}),
        ("?timestamps=True", {"timestamps": True}),
        ("?since=1767225600", {"since": 1767225600.0}),
        ("?since=2026-01-01 00:00:00,500", {"since": 1767225600.5}),
        ("?since=2026-01-01 00:00:00", {"since": 1767225600.0}),
        ("?colour=red", {}),
    ],
)
async def test_arguments_of_logs(world: World, agent: FakeAgent, query: str, fields: dict[str, Any]) -> None:
    id = (await world.running())["uuid"]
    answer = await world.call("GET", f"/v1/containers/{id}/logs{query}")
    assert answer.status_code == 200, answer.text
    assert agent.asked == [Logs(id, **fields)]


@pytest.mark.parametrize(
    "query", ["?tail=few", "?tail=-1", "?since=yesterday", "?since=2026-13-01 00:00:00,0", "?stdout=maybe", "?stdout=t"]
)
async def test_bad_arguments_of_logs(world: World, agent: FakeAgent, query: str) -> None:
    id = (await world.running())["uuid"]
    assert (await world.call("GET", f"/v1/containers/{id}/logs{query}")).status_code == 400
    assert agent.asked == []


async def test_a_container_that_never_had_a_node_has_an_empty_log(world: World) -> None:
    id = (await world.make())["uuid"]
    refused = Placement(refusal="There are not enough hosts available.", generation=1)
    await world.store.write(lambda tx: tx.workloads.place(id, refused))
    answer = await world.call("GET", f"/v1/containers/{id}/logs")
    assert (answer.status_code, answer.json()) == (200, "")


@pytest.mark.parametrize("how", ["query", "body"])
async def test_execute_runs_a_command_line(world: World, agent: FakeAgent, how: str) -> None:
    id = (await world.running())["uuid"]
    arguments = {"command": '"sh" "-c" "echo \'a b\'"'}
    more: dict[str, Any] = {"params": arguments} if how == "query" else {"json": arguments}
    answer = await world.call("POST", f"/v1/containers/{id}/execute", **more)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"output": "hello\n\ufffd", "exit_code": 3, "exec_id": None, "proxy_url": None}
    [asked] = agent.asked
    assert asked.command == ("sh", "-c", "echo 'a b'")
    assert (asked.timeout, asked.limit) == (15.0, 1 << 20)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?command=", 400),
        ("?command=%20", 400),
        ("?command=echo%20'", 400),
        ("?command=ls&run=maybe", 400),
        ("?command=a%00b", 400),
        ("?command=ls&interactive=true", 200),
        ("?command=ls&run=true&interactive=false", 200),
    ],
)
async def test_arguments_of_execute(world: World, agent: FakeAgent, query: str, status: int) -> None:
    id = (await world.running())["uuid"]
    assert (await world.call("POST", f"/v1/containers/{id}/execute{query}")).status_code == status


async def test_top_and_stats(world: World, agent: FakeAgent) -> None:
    id = (await world.running(name="web"))["uuid"]
    top = await world.call("GET", f"/v1/containers/{id}/top?ps_args=None")
    assert top.json() == {"Titles": ["PID", "CMD"], "Processes": [["1", "sleep 1000000"]]}
    await world.call("GET", f"/v1/containers/{id}/top?ps_args=aux")
    assert agent.asked == [Top(id, ""), Top(id, "aux")]
    stats = await world.call("GET", f"/v1/containers/{id}/stats")
    assert stats.json() == {
        "CONTAINER": "web",
        "CPU %": 12.35 if stats.json()["CPU %"] == 12.35 else 12.34,
        "MEM USAGE(MiB)": 10.0,
        "MEM LIMIT(MiB)": 64.0,
        "MEM %": 15.62,
        "BLOCK I/O(B)": "1/2",
        "NET I/O(B)": "3/4",
    }


@pytest.mark.parametrize(("word", "number"), [("HUP", 1), ("SIGUSR1", 10), ("term", 15), ("sigint", 2), ("15", 15)])
async def test_other_signals_are_handed_on_and_change_no_intent(
    world: World, agent: FakeAgent, word: str, number: int
) -> None:
    id = (await world.running())["uuid"]
    answer = await world.call("POST", f"/v1/containers/{id}/kill?signal={word}")
    assert (answer.status_code, answer.content) == (202, b"null")
    assert agent.asked == [Signal(id, number)]
    assert (await world.stored(id)).intent.generation == 1
    newest = (await world.call("GET", f"/v1/containers/{id}/container_actions")).json()["containerActions"][0]
    assert (newest["action"], newest["message"]) == ("kill", None)
    assert newest["finish_time"] is not None


async def test_a_signal_that_could_not_be_sent_is_in_the_history(world: World, agent: FakeAgent) -> None:
    id = (await world.running())["uuid"]
    agent.answers[Signal] = Conflict("The process has ended.")
    assert (await world.call("POST", f"/v1/containers/{id}/kill?signal=HUP")).status_code == 409
    newest = (await world.call("GET", f"/v1/containers/{id}/container_actions")).json()["containerActions"][0]
    assert (newest["action"], newest["message"]) == ("kill", "Error")


@pytest.mark.parametrize(("method", "action", "query"), LIVE)
async def test_who_may_not_see_it_gets_404_and_a_wrong_state_409(
    world: World, agent: FakeAgent, method: str, action: str, query: str
) -> None:
    id = (await world.running())["uuid"]
    url = f"/v1/containers/{id}/{action}{query}"
    assert (await world.call(method, url, who="bob")).status_code == 404
    creating = (await world.make())["uuid"]
    assert (await world.call(method, f"/v1/containers/{creating}/{action}{query}")).status_code == 409
    assert agent.asked == []


@pytest.mark.parametrize(("method", "action", "query"), LIVE)
async def test_a_node_that_does_not_answer_is_503_in_plain_words(
    world: World, agent: FakeAgent, method: str, action: str, query: str
) -> None:
    id = (await world.running())["uuid"]
    for kind in (Logs, Exec, Top, Stats):
        agent.answers[kind] = Unavailable("node:node-1 does not answer.")
    answer = await world.call(method, f"/v1/containers/{id}/{action}{query}")
    assert answer.status_code == 503
    [error] = answer.json()["errors"]
    assert error["code"] == "container.container-host-not-up"
    assert NODE not in error["title"]


async def test_a_node_known_to_be_down_is_not_even_asked(world: World, agent: FakeAgent) -> None:
    id = (await world.running())["uuid"]
    await world.store.write(lambda tx: tx.nodes.set_forced_down(HOST, True))
    answer = await world.call("GET", f"/v1/containers/{id}/logs")
    assert answer.status_code == 503
    assert agent.asked == []


async def test_new_limits_reach_a_running_container_at_once(world: World, agent: FakeAgent) -> None:
    id = (await world.running(cpu=0.1, memory=64))["uuid"]
    assert (await world.call("PATCH", f"/v1/containers/{id}", json={"memory": 128})).status_code == 200
    assert agent.asked == [Resize(id, 0.1, 128)]
    agent.answers[Resize] = Unavailable("gone")
    again = await world.call("PATCH", f"/v1/containers/{id}", json={"memory": 256})
    assert (again.status_code, again.json()["memory"]) == (200, "256")


async def test_a_slow_node_does_not_hold_up_others(world: World, agent: FakeAgent) -> None:
    id = (await world.running())["uuid"]
    gate = asyncio.Event()

    async def slow(_: Any) -> TopAnswer:
        await gate.wait()
        return TopAnswer((), ())

    world.bus.serve(node_target(NODE), {Top: slow})
    waiting = asyncio.create_task(world.call("GET", f"/v1/containers/{id}/top"))
    await asyncio.sleep(0)
    assert (await world.call("GET", f"/v1/containers/{id}")).status_code == 200
    gate.set()
    assert (await waiting).status_code == 200
