"""Asking registries for images, on behalf of somebody: whether that may be, by which way, and what it proves."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from krater.agent.runtimes.interfaces import Asker, Progress
from krater.agent.runtimes.oci.images import pull
from krater.agent.runtimes.oci.images.client import Client
from krater.agent.runtimes.oci.images.grants import EVERYBODY, Grants
from krater.errors import Permanent
from krater.model.image import ImageRef
from krater.model.registry import Login, RegistryRules

SETTLED_AFTER = 60.0
Way = Callable[[str], AbstractAsyncContextManager[None]]


def straight(domain: str) -> AbstractAsyncContextManager[None]:
    """The way of an image store that is not ours: it asks whom it likes."""
    return nullcontext()


class Registries:
    """Pulls. `way` opens the way to the registry of a domain for as long as a pull takes."""

    def __init__(self, grants: Grants, rules: RegistryRules, way: Way = straight) -> None:
        self.grants = grants
        self._rules = rules
        self._way = way
        self._under_way: Counter[str] = Counter()
        self._sweeping = asyncio.Lock()
        self._began = time.monotonic()

    async def pull(
        self,
        client: Client,
        ref: ImageRef,
        asker: Asker,
        progress: Progress | None,
        digest: Callable[[], Awaitable[str]],
        present: Callable[[], Awaitable[set[str]]],
    ) -> None:
        """Have the image in the store. `digest` tells of which digest it then is, `present` which of its repository are
        there before."""
        refusal = self._rules.refusal(ref.domain)
        if refusal is not None:
            raise Permanent(f"the image {ref.canonical!r} is not pulled: {refusal}")
        login = await asker.login()
        if login is not None and login.domain != ref.domain.lower():
            login = None  # it is for another registry
        async with self._guarding(ref.repository, login, present):
            async with self._way(ref.domain):
                await pull.pull(client, ref, login, progress)
            given = asker.project if login is not None and not login.shared else EVERYBODY
            await asyncio.to_thread(self.grants.give, ref.repository, await digest(), given)

    @asynccontextmanager
    async def _guarding(
        self, repository: str, login: Login | None, present: Callable[[], Awaitable[set[str]]]
    ) -> AsyncIterator[None]:
        """Before something is pulled that is not for everybody, it is guarded."""
        async with self._sweeping:
            self._under_way[repository] += 1
            try:
                if login is not None and not login.shared and not self.grants.is_guarded(repository):
                    await asyncio.to_thread(self.grants.guard, repository, await present())
            except BaseException:
                self._under_way[repository] -= 1
                raise
        try:
            yield
        finally:
            self._under_way[repository] -= 1
            self.grants.touch(repository)

    async def sweep(self, repositories: Callable[[], Awaitable[set[str]]]) -> None:
        """Forget who was given what of which there is nothing any more.

        A pull that is under way when this begins keeps its repository; none begins before this has ended.
        """
        if time.monotonic() - self._began < SETTLED_AFTER:
            return  # who was before us may have left a pull that ends just now
        async with self._sweeping:
            busy = {repository for repository, count in self._under_way.items() if count > 0}
            self._under_way = Counter({r: c for r, c in self._under_way.items() if c > 0})
            await asyncio.to_thread(self.grants.keep_only, busy | await repositories(), SETTLED_AFTER)
