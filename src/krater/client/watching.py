"""Looking at something again and again, less often as time goes by."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from krater.client.errors import NotFound

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5

State = TypeVar("State")


def watched(show: Callable[[], State], sleep: Callable[[float], None]) -> Iterator[State]:
    """What `show` answers, until it raises."""
    pause = FIRST_PAUSE
    while True:
        yield show()
        sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)


def last_of(
    states: Iterable[State],
    is_so: Callable[[State], bool],
    patience: float,
    meanwhile: Callable[[State], object] = lambda _: None,
) -> State | None:
    """The state that is waited for; None when it is gone, and after `patience` seconds what it is by then."""
    end = time.monotonic() + patience
    try:
        for state in states:
            if is_so(state) or time.monotonic() > end:
                return state
            meanwhile(state)
    except NotFound:
        pass
    return None


def never(_: object) -> bool:
    """What is waited for is that it is gone."""
    return False
