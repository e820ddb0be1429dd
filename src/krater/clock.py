"""The time, in one place, so that tests can hold it still.

Wall-clock times are timezone-aware UTC `datetime`s everywhere in Krater; durations are seconds as `float`.
Waiting is done with `asyncio.sleep`, whose loop tests replace by one under virtual time.
"""

from collections.abc import Callable
from datetime import UTC, datetime

Now = Callable[[], datetime]


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)
