"""How many requests that take much memory there may be at once: at all, and of one project."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from krater.errors import Unavailable


class Room:
    """Counts them. Nobody waits: who waited would hold a connection, and what came of the body so far."""

    def __init__(self, most: int = 16, most_of_project: int = 4) -> None:
        self._most, self._most_of_project = most, most_of_project
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, project: str) -> Iterator[None]:
        """Have a place in it meanwhile. Unavailable when there is none."""
        if self._taken.total() >= self._most or self._taken[project] >= self._most_of_project:
            raise Unavailable("As many archives are being copied whole as can be at once; try again in a moment.")
        self._taken[project] += 1
        try:
            yield
        finally:
            self._taken[project] -= 1
            if not self._taken[project]:
                del self._taken[project]
