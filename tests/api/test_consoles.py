"""attach, execute with run=false, resize, execute_resize."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from krater.bus.messages import OpenAttach, OpenExec, ResizeTerminal
from krater.errors import Conflict, NotFound, Unavailable
from tests.support.api import FakeAgent, World

EXEC = "e" * 64
ROUTES = [
    ("GET", "attach", ""),
    ("POST", "execute", "?command=sh&interactive=true&run=false"),
    ("POST", "execute_resize", f"?exec_id={EXEC}&h=24&w=80"),
    ("POST", "resize", "?h=24&w=80"),
]


@pytest.fixture
async def agent(world: World) -> FakeAgent:
    return FakeAgent(world)


async def test_attach_answers_with_a_url_as_one_string(world: World, agent: FakeAgent) -> None:
    id = (await world.running(interactive=True))["uuid"]
    answer = await world.call("GET", f"/v1/containers/{id}/attach")
    assert answer.status_code == 200
    url = urlsplit(answer.json())
    assert (url.scheme, url.netloc, url.path) == ("ws", "krater.test:6784", "/")
    asked = parse_qs(url.query)
    assert list(asked) == ["token", "uuid"]
    assert asked["uuid"] == [id]
    assert agent.asked == [OpenAttach(id)]
    assert "5" * 64 not in answer.text, "the secret is in the ticket, not beside it"


async def test_attach_needs_a_container_that_takes_input(world: World, agent: FakeAgent) -> None:
    id = (await world.running())["uuid"]
    answer = await world.call("GET", f"/v1/containers/{id}/attach")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "container.no-interactive-flag"
    assert agent.asked == []


@pytest.mark.parametrize("how", ["query", "body"])
async def test_execute_without_run_answers_with_a_url(world: World, agent: FakeAgent, how: str) -> None:
    id = (await world.running())["uuid"]
    arguments = {"command": "sh -c 'a b'", "interactive": True, "run": False}
    more: dict[str, Any] = {"params": arguments} if how == "query" else {"json": arguments}
    answer = await world.call("POST", f"/v1/containers/{id}/execute", **more)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    url = body.pop("proxy_url")
    assert body == {"output": None, "exit_code": None, "exec_id": EXEC}
    asked = parse_qs(urlsplit(url).query)
    assert list(asked) == ["token", "uuid", "exec_id"]
    assert (asked["uuid"], asked["exec_id"]) == ([id], [EXEC])
    assert agent.asked == [OpenExec(id, ("sh", "-c", "a b"), True)]


@pytest.mark.parametrize(
    ("query", "tty", "size"),
    [
        ("?command=ls&run=false", False, None),
        ("?command=ls&run=false&interactive=true", True, None),
        ("?command=ls&run=false&interactive=true&tty=false", False, None),
        ("?command=ls&run=false&tty=true&h=24&w=80", True, (24, 80)),
        ("?command=ls&run=False&interactive=True&h=24", True, None),
    ],
)
async def test_who_gets_a_terminal(
    world: World, agent: FakeAgent, query: str, tty: bool, size: tuple[int, int] | None
) -> None:
    id = (await world.running())["uuid"]
    assert (await world.call("POST", f"/v1/containers/{id}/execute{query}")).status_code == 200
    assert agent.asked == [OpenExec(id, ("ls",), tty, size)]


async def test_sizes_reach_the_node(world: World, agent: FakeAgent) -> None:
    id = (await world.running(interactive=True))["uuid"]
    one = await world.call("POST", f"/v1/containers/{id}/resize?h=24&w=80")
    two = await world.call("POST", f"/v1/containers/{id}/resize", json={"h": "30", "w": "100"})
    three = await world.call("POST", f"/v1/containers/{id}/execute_resize?exec_id={EXEC}&h=40&w=120")
    assert [(each.status_code, each.json()) for each in (one, two, three)] == [(200, None)] * 3
    assert agent.asked == [
        ResizeTerminal(id, "", 24, 80),
        ResizeTerminal(id, "", 30, 100),
        ResizeTerminal(id, EXEC, 40, 120),
    ]


@pytest.mark.parametrize(
    ("action", "query"),
    [
        ("execute", "?run=false"),
        ("execute", "?command=&run=false"),
        ("execute", "?command=%20&run=false"),
        ("execute", "?command=ls&run=perhaps"),
        ("execute", "?command=ls&run=false&interactive=perhaps"),
        ("execute", "?command=ls&run=false&tty=perhaps"),
        ("execute", "?command=ls&run=false&h=0&w=80"),
        ("execute", "?command=a%00b&run=false"),
        ("resize", ""),
        ("resize", "?h=24"),
        ("resize", "?w=80"),
        ("resize", "?h=0&w=80"),
        ("resize", "?h=65536&w=80"),
        ("execute_resize", f"?exec_id={EXEC}&h=24&w=65536"),
        ("execute", "?command=ls&run=false&tty=true&h=1000000000&w=80"),
        ("resize", "?h=-1&w=80"),
        ("resize", "?h=tall&w=80"),
        ("resize", "?h=24&w=1.5"),
        ("resize", "?h=24&w=99999999999"),
        ("execute_resize", "?h=24&w=80"),
        ("execute_resize", "?exec_id=&h=24&w=80"),
        ("execute_resize", "?exec_id=xyz&h=24&w=80"),
        ("execute_resize", f"?exec_id={EXEC}0&h=24&w=80"),
        ("execute_resize", f"?exec_id={EXEC.upper()}&h=24&w=80"),
        ("execute_resize", f"?exec_id={EXEC}&w=80"),
        ("execute_resize", f"?exec_id={EXEC}&h=x&w=80"),
    ],
)
async def test_bad_arguments(world: World, agent: FakeAgent, action: str, query: str) -> None:
    id = (await world.running(interactive=True))["uuid"]
    answer = await world.call("POST", f"/v1/containers/{id}/{action}{query}")
    assert answer.status_code == 400, answer.text
    assert agent.asked == []


async def test_an_unknown_command_is_a_bad_request(world: World, agent: FakeAgent) -> None:
    id = (await world.running())["uuid"]
    agent.answers[ResizeTerminal] = NotFound("There is no session.")
    answer = await world.call("POST", f"/v1/containers/{id}/execute_resize?exec_id={EXEC}&h=24&w=80")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"].endswith("exec-instance-not-found")


@pytest.mark.parametrize(("method", "action", "query"), ROUTES)
@pytest.mark.parametrize("status", ["Creating", "Created", "Stopped", "Paused", "Error"])
async def test_only_what_runs_has_consoles(
    world: World, agent: FakeAgent, method: str, action: str, query: str, status: str
) -> None:
    id = await world.into(status, interactive=True)
    answer = await world.call(method, f"/v1/containers/{id}/{action}{query}")
    assert answer.status_code == 409, answer.text
    assert agent.asked == []


@pytest.mark.parametrize(("method", "action", "query"), ROUTES)
async def test_who_may_not(world: World, agent: FakeAgent, method: str, action: str, query: str) -> None:
    id = (await world.running(interactive=True))["uuid"]
    url = f"/v1/containers/{id}/{action}{query}"
    assert (await world.call(method, url, who="bob")).status_code == 404
    assert (await world.call(method, url, who="reader")).status_code == 403
    assert (await world.call(method, url, who="")).status_code == 401
    assert (await world.call(method, f"/v1/containers/nobody/{action}{query}")).status_code == 404
    assert agent.asked == []


@pytest.mark.parametrize(("method", "action", "query"), ROUTES)
async def test_what_the_node_says_is_passed_on(
    world: World, agent: FakeAgent, method: str, action: str, query: str
) -> None:
    id = (await world.running(interactive=True))["uuid"]
    for error, status in ((Unavailable("Too many."), 503), (Conflict("It has ended."), 409)):
        for kind in (OpenAttach, OpenExec, ResizeTerminal):
            agent.answers[kind] = error
        assert (await world.call(method, f"/v1/containers/{id}/{action}{query}")).status_code == status
