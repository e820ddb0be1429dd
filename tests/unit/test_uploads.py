"""Uploads: begun, asked after, forgotten."""

import asyncio
from typing import Any

import pytest

from krater.agent import uploads as module
from krater.agent.runtimes.fake import FakeRuntime
from krater.agent.runtimes.interfaces import PushTarget
from krater.agent.uploads import Uploads
from krater.errors import Conflict, Permanent

TARGET = PushTarget("registry.example/app:1", "ann", "secret")


async def ended(uploads: Uploads, id: str) -> Any:
    async with asyncio.timeout(5):
        while uploads.progress(id).state == "working":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return uploads.progress(id)


async def test_an_upload_tells_how_it_ended() -> None:
    engine = FakeRuntime()
    made, uploads = engine.world.images.add("mine"), Uploads(engine)
    uploads.begin("1", "mine", TARGET)
    assert uploads.progress("1").state == "working"
    done = await ended(uploads, "1")
    assert (done.state, done.digest, done.done == done.total > 0) == ("done", made.digest, True)
    uploads.begin("2", "nothing", TARGET)
    failed = await ended(uploads, "2")
    assert (failed.state, failed.reason) == ("failed", "The image is not on its node any more.")
    assert uploads.progress("3").state == "unknown"


async def test_a_refusal_is_passed_on_and_a_surprise_is_not() -> None:
    engine = FakeRuntime()
    for error, reason in (
        (Permanent("No."), "No."),
        (KeyError("x"), "Something went wrong on the node; its log tells what."),
    ):

        async def push_image(*_: Any, error: Exception = error) -> str:
            raise error

        engine.push_image = push_image  # type: ignore[assignment,method-assign]
        uploads = Uploads(engine)
        uploads.begin("1", "mine", TARGET)
        assert (await ended(uploads, "1")).reason == reason


async def test_there_are_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    engine = FakeRuntime()
    engine.world.latency = 100.0
    uploads = Uploads(engine)
    for id in ("1", "2"):
        uploads.begin(id, f"krater.local/{id}/mine", TARGET)
    with pytest.raises(Conflict):
        uploads.begin("3", "krater.local/3/mine", TARGET)
    await uploads.close()


async def test_nobody_has_all_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 8)
    engine, of_others = FakeRuntime(), asyncio.Event()

    async def push_image(name: str, *_: Any) -> str:
        if name.startswith("krater.local/ann/"):
            await asyncio.Event().wait()  # her registry never answers
        of_others.set()
        return "sha256:1"

    engine.push_image = push_image  # type: ignore[assignment,method-assign]
    uploads = Uploads(engine)
    for number in range(4):
        uploads.begin(f"a{number}", f"krater.local/ann/{number}", TARGET)
    with pytest.raises(Conflict, match="project"):
        uploads.begin("a4", "krater.local/ann/4", TARGET)
    uploads.begin("b", "krater.local/bob/1", TARGET)
    assert (await ended(uploads, "b")).state == "done"
    await uploads.close()


async def test_what_ended_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", -1.0)
    uploads = Uploads(FakeRuntime())
    uploads.begin("1", "nothing", TARGET)
    async with asyncio.timeout(5):
        while uploads.progress("1").state != "unknown":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
