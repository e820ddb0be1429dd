"""The keyed reconciler, mostly under virtual time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krater.errors import Permanent, Unavailable
from krater.reconcile import Reconciler


def now() -> float:
    return asyncio.get_running_loop().time()


class Handler:
    """Records when each key was looked at, and does what a script says for each time."""

    def __init__(self, *script: float | BaseException | None, takes: float = 0.0) -> None:
        self.script = list(script)
        self.takes = takes
        self.looks: list[tuple[float, str]] = []
        self.running: Counter[str] = Counter()
        self.most = 0
        self.during: Callable[[str], None] = lambda key: None

    async def __call__(self, key: str) -> float | None:
        self.looks.append((round(now(), 6), key))
        self.running[key] += 1
        assert self.running[key] == 1, "the same key twice at once"
        self.most = max(self.most, self.running.total())
        try:
            self.during(key)
            await asyncio.sleep(self.takes)
            step = self.script.pop(0) if self.script else None
            if isinstance(step, BaseException):
                raise step
            return step
        finally:
            self.running[key] -= 1

    def times(self) -> list[float]:
        return [at for at, _ in self.looks]

    def keys(self) -> list[str]:
        return [key for _, key in self.looks]


@asynccontextmanager
async def running(handler: Handler, **options: Any) -> AsyncIterator[Reconciler]:
    reconciler = Reconciler("test", handler, **{"concurrency": 4, **options})
    task = asyncio.create_task(reconciler.run())
    yield reconciler
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(reconciler) == 0


pytestmark = pytest.mark.looptime


async def test_what_is_woken_is_looked_at() -> None:
    handler = Handler()
    async with running(handler) as reconciler:
        reconciler.wake("a")
        reconciler.wake("b")
        await reconciler.wait_idle()
    assert handler.keys() == ["a", "b"]


async def test_wakes_before_it_runs_are_kept() -> None:
    handler = Handler()
    reconciler = Reconciler("test", handler, concurrency=1)
    reconciler.wake("a")
    task = asyncio.create_task(reconciler.run())
    await reconciler.wait_idle()
    assert handler.keys() == ["a"]
    task.cancel()


async def test_many_wakes_of_a_waiting_key_are_one_look() -> None:
    handler = Handler(takes=1)
    async with running(handler, concurrency=1) as reconciler:
        for key in "abbbb":
            reconciler.wake(key)
        await reconciler.wait_idle()
    assert handler.keys() == ["a", "b"]


async def test_wakes_during_a_look_are_one_more_look() -> None:
    handler = Handler(takes=1)
    async with running(handler) as reconciler:
        reconciler.wake("a")
        await asyncio.sleep(0.5)
        reconciler.wake("a")
        reconciler.wake("a")
        await asyncio.sleep(0)
        await reconciler.wait_idle()
        assert handler.times() == [0, 1]
        await asyncio.sleep(10)
    assert len(handler.looks) == 2


async def test_a_wake_during_a_look_is_not_lost_to_what_that_returns() -> None:
    handler = Handler(100.0, None, takes=1)
    async with running(handler) as reconciler:
        reconciler.wake("a")
        await asyncio.sleep(0.5)
        reconciler.wake("a")
        await reconciler.wait_idle()
    assert handler.times() == [0, 1]


async def test_keys_are_looked_at_side_by_side_up_to_the_limit() -> None:
    handler = Handler(takes=1)
    async with running(handler, concurrency=3) as reconciler:
        for number in range(9):
            reconciler.wake(str(number))
        await reconciler.wait_idle()
        assert now() == pytest.approx(3)
    assert handler.most == 3


async def test_it_looks_again_when_the_handler_says() -> None:
    handler = Handler(5.0, 0.0, 2.0, None)
    async with running(handler) as reconciler:
        reconciler.wake("a")
        await asyncio.sleep(100)
        assert len(reconciler) == 0
    assert handler.times() == [0, 5, 5, 7]


async def test_a_wake_comes_before_the_time_the_handler_said() -> None:
    handler = Handler(50.0, None)
    async with running(handler) as reconciler:
        reconciler.wake("a")
        await asyncio.sleep(1)
        reconciler.wake("a")
        await asyncio.sleep(100)
    assert handler.times() == [0, 1]


async def test_failures_back_off_doubling_to_a_cap_and_success_ends_that() -> None:
    errors = [Unavailable("down")] * 8
    handler = Handler(*errors, None, Unavailable("down"), None)
    async with running(handler, backoff=(1.0, 16.0)) as reconciler:
        reconciler.wake("a")
        await asyncio.sleep(200)
        gaps = [later - sooner for sooner, later in pairwise(handler.times())]
        for gap, step in zip(gaps, [1, 2, 4, 8, 16, 16, 16, 16], strict=True):
            assert step / 2 <= gap <= step
        reconciler.wake("a")
        await asyncio.sleep(100)
        assert 0.5 <= handler.times()[-1] - handler.times()[-2] <= 1
        assert len(reconciler) == 0


@pytest.mark.parametrize("error", [KeyError("x"), Permanent("never"), asyncio.CancelledError(), TimeoutError()])
async def test_any_error_is_tried_again(error: BaseException) -> None:
    handler = Handler(error, None)
    async with running(handler) as reconciler:
        reconciler.wake("a")
        await asyncio.sleep(10)
    assert len(handler.looks) == 2


async def test_wakes_shorten_a_back_off_to_its_first_step_only() -> None:
    """A failing look often wakes its own key by what it did: that must not become a busy loop."""
    handler = Handler(*[Unavailable("down")] * 1000)
    async with running(handler, backoff=(1.0, 1000.0)) as reconciler:
        reconciler.wake("a")
        for _ in range(1000):
            await asyncio.sleep(0.1)
            reconciler.wake("a")
        assert 50 < len(handler.looks) <= 210
    gaps = [later - sooner for sooner, later in pairwise(handler.times())]
    assert min(gaps) >= 0.5


async def test_one_that_fails_does_not_hold_up_others() -> None:
    handler = Handler(*[Unavailable("down")] * 3)
    async with running(handler, concurrency=1, backoff=(10.0, 10.0)) as reconciler:
        for key in "abcd":
            reconciler.wake(key)
        await reconciler.wait_idle()
        assert now() == 0
    assert handler.keys() == ["a", "b", "c", "d"]


async def test_resync_wakes_everything_from_time_to_time() -> None:
    asked: list[float] = []

    async def unfinished() -> Iterable[str]:
        asked.append(now())
        if len(asked) == 2:
            raise Unavailable("down")
        return ["a", "b"]

    handler = Handler()
    async with running(handler, resync=unfinished, resync_every=30.0):
        await asyncio.sleep(135)
    assert 0 <= asked[0] <= 30
    gaps = [later - sooner for sooner, later in pairwise(asked)]
    assert gaps == [pytest.approx(30)] * len(gaps)
    assert Counter(handler.keys()) == {"a": len(asked) - 1, "b": len(asked) - 1}


async def test_resync_leaves_those_alone_that_back_off() -> None:
    async def unfinished() -> Iterable[str]:
        return ["a"]

    handler = Handler(*[Unavailable("down")] * 3)
    async with running(handler, resync=unfinished, resync_every=1.0, backoff=(100.0, 100.0)):
        await asyncio.sleep(49)
    assert len(handler.looks) == 1


@pytest.mark.looptime(False)
async def test_settled_keys_are_forgotten() -> None:
    handler = Handler()
    async with running(handler, concurrency=32) as reconciler:
        for number in range(20_000):
            reconciler.wake(str(number))
            if number % 1000 == 0:
                await reconciler.wait_idle()
                assert len(reconciler) == 0
        await reconciler.wait_idle()
        assert len(reconciler) == 0
    assert len(handler.looks) == 20_000


async def test_stop_lets_the_work_end_and_starts_no_more() -> None:
    handler = Handler(takes=5)
    reconciler = Reconciler("test", handler, concurrency=1)
    task = asyncio.create_task(reconciler.run())
    reconciler.wake("a")
    reconciler.wake("b")
    await asyncio.sleep(1)
    reconciler.wake("a")
    reconciler.stop()
    reconciler.wake("c")
    await task
    assert now() == pytest.approx(5)
    assert handler.keys() == ["a"]
    assert len(reconciler) == 0


async def test_cancelling_run_cuts_the_work_short() -> None:
    handler = Handler(takes=50)
    async with running(handler) as reconciler:
        reconciler.wake("a")
        await asyncio.sleep(1)
    assert now() == pytest.approx(1)
    assert handler.running.total() == 0


STEPS = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 3.0, Unavailable("down"), KeyError("x")]))
WAKES = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.7, 2.5]), st.sampled_from("abc")), max_size=30)


@pytest.mark.looptime(False)
@settings(max_examples=60, deadline=None)
@given(wakes=WAKES, script=st.lists(STEPS, max_size=20), concurrency=st.integers(1, 3), takes=st.sampled_from([0, 0.3]))
def test_every_wake_is_followed_by_a_look_and_everything_settles(
    wakes: list[tuple[float, str]], script: list[Any], concurrency: int, takes: float
) -> None:
    async def scenario() -> None:
        handler = Handler(*script, takes=takes)
        woken: dict[str, float] = {}
        async with running(handler, concurrency=concurrency, backoff=(0.5, 4.0)) as reconciler:
            for wait, key in wakes:
                await asyncio.sleep(wait)
                reconciler.wake(key)
                woken[key] = now()
            await asyncio.sleep(300)
            assert len(reconciler) == 0
        last = {key: at for at, key in handler.looks}
        assert last.keys() == woken.keys()
        assert all(last[key] >= round(at, 6) for key, at in woken.items())
        assert handler.most <= concurrency

    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(scenario())
    finally:
        loop.close()
