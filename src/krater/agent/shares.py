"""A bounded number of places that nobody can have all of."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Shares:
    """`total` places, of which each owner has at most `each` at once; who comes when there is none waits in line."""

    def __init__(self, total: int, each: int) -> None:
        self._all = asyncio.Semaphore(total)
        self._each = each
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, owner: str) -> AsyncIterator[None]:
        """Have one of the places meanwhile. An owner waits for its own first, and so holds up nobody else."""
        own = self._own.get(owner)
        if own is None:
            own = self._own[owner] = asyncio.Semaphore(self._each)
        async with own, self._all:
            yield
