"""Looking at something again and again, less often as time goes by."""

from collections.abc import Callable, Iterator
from typing import TypeVar

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5

State = TypeVar("State")


def watched(show: Callable[[], State], sleep: Callable[[float], None]) -> Iterator[State]:
    """What `show` answers, until it raises."""
    pause = FIRST_PAUSE
    while True:
        yield show()
        sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)
