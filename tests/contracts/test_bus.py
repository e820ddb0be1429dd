"""What every bus does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from krater.bus.interfaces import Bus
from krater.bus.local import LocalBus
from krater.bus.messages import ImagesChanged, Signal, Top, TopAnswer, WorkloadChanged
from krater.errors import Invalid, KraterError, NoCapacity, NotFound, Permanent, Unavailable, Unsupported

TOP = Top("c1")
ANSWER = TopAnswer(("PID",), (("1",),))


@pytest.fixture(params=[LocalBus])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    made: Bus = request.param()
    yield made
    await made.close()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Node:
    """A target that answers, fails or hangs as told."""

    def __init__(self, bus: Bus, error: BaseException | None = None) -> None:
        self.error = error
        self.asked: list[object] = []
        self.ended: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        bus.serve("node:1", {Top: self.top, WorkloadChanged: self.changed})

    async def top(self, message: Top) -> TopAnswer:
        self.asked.append(message)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        if self.error is not None:
            raise self.error
        self.ended.append("answered")
        return ANSWER

    async def changed(self, message: WorkloadChanged) -> None:
        self.asked.append(message)
        await self.gate.wait()
        if self.error is not None:
            raise self.error


async def test_a_call_is_answered(bus: Bus) -> None:
    node = Node(bus)
    assert await bus.call("node:1", TOP, 1) == ANSWER
    assert node.asked == [TOP]


async def test_calls_do_not_wait_for_each_other(bus: Bus) -> None:
    node = Node(bus)
    node.gate.clear()
    calls = [asyncio.create_task(bus.call("node:1", TOP, 5)) for _ in range(50)]
    await settle()
    assert len(node.asked) == 50
    node.gate.set()
    assert await asyncio.gather(*calls) == [ANSWER] * 50


async def test_nobody_there_is_unavailable(bus: Bus) -> None:
    with pytest.raises(Unavailable):
        await bus.call("node:2", TOP, 1)


async def test_what_the_other_side_does_not_know_is_unsupported(bus: Bus) -> None:
    Node(bus)
    with pytest.raises(Unsupported):
        await bus.call("node:1", Signal("c1", 9), 1)


async def test_serving_twice_serves_both(bus: Bus) -> None:
    Node(bus)
    signals: list[Any] = []

    async def signal(message: Signal) -> None:
        signals.append(message)

    bus.serve("node:1", {Signal: signal})
    await bus.call("node:1", Signal("c1", 9), 1)
    assert await bus.call("node:1", TOP, 1) == ANSWER
    assert signals == [Signal("c1", 9)]


@pytest.mark.parametrize(
    "error",
    [NotFound("no such container"), Invalid("bad", field="x"), NoCapacity("full", {"a": "b"}), Permanent("never")],
)
async def test_our_errors_arrive_as_they_are(bus: Bus, error: KraterError) -> None:
    Node(bus, error)
    with pytest.raises(type(error)) as raised:
        await bus.call("node:1", TOP, 1)
    assert type(raised.value) is type(error)
    assert raised.value.message == error.message


@pytest.mark.parametrize("error", [KeyError("secret"), RuntimeError("secret"), TimeoutError("secret")])
async def test_other_errors_arrive_as_permanent_without_their_text(bus: Bus, error: Exception) -> None:
    Node(bus, error)
    with pytest.raises(Permanent) as raised:
        await bus.call("node:1", TOP, 1)
    assert "secret" not in raised.value.message
    assert raised.value.__cause__ is None


@pytest.mark.looptime
async def test_no_answer_in_time_is_unavailable_and_the_work_ends(bus: Bus) -> None:
    node = Node(bus)
    node.gate.clear()
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(Unavailable):
        await bus.call("node:1", TOP, 7)
    assert loop.time() - before == pytest.approx(7)
    assert node.ended == ["cancelled"]


async def test_an_asker_that_leaves_does_not_stop_the_work(bus: Bus) -> None:
    node = Node(bus)
    node.gate.clear()
    call = asyncio.create_task(bus.call("node:1", TOP, 5))
    await settle()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    node.gate.set()
    await settle()
    assert node.ended == ["answered"]


async def test_a_hint_does_not_wait(bus: Bus) -> None:
    node = Node(bus)
    node.gate.clear()
    bus.hint("node:1", WorkloadChanged("w1"))
    assert node.asked == []
    await settle()
    assert node.asked == [WorkloadChanged("w1")]


async def test_hints_keep_their_order(bus: Bus) -> None:
    node = Node(bus)
    sent = [WorkloadChanged(str(n)) for n in range(100)]
    for hint in sent:
        bus.hint("node:1", hint)
    await settle()
    assert node.asked == sent


async def test_hints_never_fail(bus: Bus) -> None:
    node = Node(bus, RuntimeError("no"))
    bus.hint("node:2", WorkloadChanged("w1"))
    bus.hint("node:1", ImagesChanged())
    bus.hint("node:1", WorkloadChanged("w1"))
    await settle()
    assert node.asked == [WorkloadChanged("w1")]
    await bus.close()
    bus.hint("node:1", WorkloadChanged("w1"))
    await settle()
    assert len(node.asked) == 1


async def test_closing_ends_calls_with_unavailable(bus: Bus) -> None:
    node = Node(bus)
    node.gate.clear()
    call = asyncio.create_task(bus.call("node:1", TOP, 60))
    await settle()
    await bus.close()
    with pytest.raises(Unavailable):
        await call
    with pytest.raises(Unavailable):
        await bus.call("node:1", TOP, 1)


async def test_hints_of_the_local_bus_are_bounded() -> None:
    bus = LocalBus(most_hints=3)
    node = Node(bus)
    node.gate.clear()
    for _ in range(10):
        bus.hint("node:1", WorkloadChanged("w1"))
    await settle()
    assert len(node.asked) == 3
    node.gate.set()
    await settle()
    bus.hint("node:1", WorkloadChanged("w2"))
    await settle()
    assert node.asked[-1] == WorkloadChanged("w2")
    await bus.close()
