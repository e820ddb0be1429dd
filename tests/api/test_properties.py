"""What holds for any request at all: no 500, answers of the promised form, and a refusal leaves nothing behind.

Requests are made from the OpenAPI document, right ones and wrong ones, and from no document at all.
"""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from krater.api.openapi import openapi_document
from krater.api.router import Route
from krater.api.routes import ROUTES
from tests.support.api import FakeAgent, World, open_world
from tests.support.capsules import running

pytestmark = pytest.mark.thorough

DOCUMENT = schemathesis.openapi.from_dict(json.loads(openapi_document(ROUTES)))
CHANGING = [route for route in ROUTES if route.method != "GET"]
LONGEST_QUERY = 10_000  # characters; the test's HTTP client sends no longer ones
QUICK = settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def key(route: Route) -> str:
    return f"{route.method} {route.path}"


class Stand:
    """A world with a running container and capsule, and a loop to live in: hypothesis calls plain functions."""

    def __init__(self, directory: Path) -> None:
        self._runner = asyncio.Runner()
        self._opened = open_world(directory)
        self.world: World = self._runner.run(self._opened.__aenter__())
        self._database = sqlite3.connect(directory / "krater.sqlite")
        self.container, self.capsule = self._runner.run(self._prepare())

    async def _prepare(self) -> tuple[str, str]:
        FakeAgent(self.world)
        made = await self.world.running(name="present")
        await self.world.make("admin")  # the default network of this project is there too
        return made["uuid"], (await running(self.world))["uuid"]

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        names = [name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: self._database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}  # noqa: S608

    def send(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """A request, as an administrator: who may do everything reaches most."""
        return self._runner.run(self.world.call(method, path, who="admin", **more))

    def close(self) -> None:
        """Let go."""
        self._database.close()
        self._runner.run(self._opened.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    opened = Stand(tmp_path)
    try:
        yield opened
    finally:
        opened.close()


def path_of(route: Route, values: dict[str, Any]) -> str:
    """The route's path with something in each of its places."""
    path = ("" if route.versions is None or route.path == "/v1" else "/v1") + route.path
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", quote(str(value), safe="") or "x")
    return path


def judge(route: Route, answer: httpx2.Response, before: dict[str, int], after: dict[str, int]) -> None:
    """What holds for every answer."""
    status = answer.status_code
    assert status < 500 or status == 503, answer.text[:500]
    if status >= 400:
        [error] = answer.json()["errors"]
        assert error["status"] == status
        assert "Traceback" not in answer.text
        assert len(answer.content) < 20_000, "a refusal does not echo what it was sent"
        assert after == before, "a refused request left something behind"
    elif status == 204:
        assert answer.content == b""
    elif route.answer is not None:
        assert answer.headers["content-type"].startswith("application/json")
        msgspec.json.decode(answer.content, type=route.answer)


def ask(stand: Stand, route: Route, values: dict[str, Any], **more: Any) -> None:
    """Send one request and judge it. Container, capsule and host are there, so that more than the door is tried."""
    known = {"container": stand.container, "capsule": stand.capsule, "host": "rack-1", "network": "default"}
    before = stand.rows()
    answer = stand.send(route.method, path_of(route, values | known), **more)
    judge(route, answer, before, stand.rows())


def version_of(route: Route) -> str | None:
    return None if route.versions is None else f"container 1.{route.versions.last}"


# A request can only be wrong where it says something.
DOCUMENTED = [(route, GenerationMode.POSITIVE) for route in ROUTES] + [
    (route, GenerationMode.NEGATIVE) for route in ROUTES if route.query or route.body or route.either
]


@pytest.mark.parametrize(
    ("route", "mode"), DOCUMENTED, ids=lambda value: key(value) if isinstance(value, Route) else value.value
)
def test_requests_made_from_the_document(stand: Stand, route: Route, mode: GenerationMode) -> None:
    prefix = "" if route.versions is None or route.path == "/v1" else "/v1"
    operation = DOCUMENT[f"{prefix}{route.path}"][route.method]

    @QUICK
    @given(case=operation.as_strategy(generation_mode=mode))
    def hold(case: Any) -> None:
        query = {name: value for name, value in dict(case.query or {}).items() if not isinstance(value, dict)}
        assume(len(str(query)) < LONGEST_QUERY)
        body = case.body
        content = None if not isinstance(body, dict | list | str | int | float | bool) else json.dumps(body).encode()
        ask(
            stand,
            route,
            dict(case.path_parameters or {}),
            params=query,
            content=body if isinstance(body, bytes) else content,
            headers={"Content-Type": "application/json"},
            version=version_of(route),
        )

    hold()


@pytest.mark.parametrize("route", CHANGING, ids=key)
def test_any_body_at_any_version(stand: Stand, route: Route) -> None:
    @QUICK
    @given(body=json_values, minor=st.integers(1, 40))
    def hold(body: Any, minor: int) -> None:
        version = None if route.versions is None else f"container 1.{minor}"
        ask(
            stand,
            route,
            dict.fromkeys(("request", "image", "port", "project", "name"), "x"),
            json=body,
            version=version,
        )

    hold()


@pytest.mark.parametrize("route", CHANGING, ids=key)
def test_bytes_that_are_no_request(stand: Stand, route: Route) -> None:
    @QUICK
    @given(content=st.binary(max_size=200), kind=st.sampled_from(["application/json", "text/plain", "", "a/b;c=\x7f"]))
    def hold(content: bytes, kind: str) -> None:
        ask(stand, route, {}, content=content, headers={"Content-Type": kind}, version=version_of(route))

    hold()


@settings(QUICK, max_examples=150)
@given(
    parts=st.lists(st.text(max_size=40), min_size=1, max_size=5),
    method=st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"]),
    version=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
)
def test_any_path_method_and_version(everywhere: Stand, parts: list[str], method: str, version: str) -> None:
    before = everywhere.rows()
    answer = everywhere.send(method, "/v1/" + "/".join(quote(part, safe="") for part in parts), version=version)
    assert answer.status_code in (200, 400, 404, 405, 406), answer.text[:300]
    assert everywhere.rows() == before


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    opened = Stand(tmp_path_factory.mktemp("everywhere"))
    try:
        yield opened
    finally:
        opened.close()
