"""The store on SQL databases."""

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Engine

from krater.clock import Now, utc_now
from krater.errors import Unavailable
from krater.store.interfaces import Actions, Allocations, Images, Networks, Nodes, Quotas, Tokens, Tx, Workloads
from krater.store.sql.actions import SqlActions
from krater.store.sql.allocations import SqlAllocations
from krater.store.sql.documents import DecodeCache
from krater.store.sql.engine import SQLITE, open_engine, transact
from krater.store.sql.images import SqlImages
from krater.store.sql.link import Link
from krater.store.sql.networks import SqlNetworks
from krater.store.sql.nodes import SqlNodes
from krater.store.sql.quotas import SqlQuotas
from krater.store.sql.schema import ensure_head
from krater.store.sql.tokens import SqlTokens
from krater.store.sql.workloads import SqlWorkloads

__all__ = ["SqlStore"]

T = TypeVar("T")

_SQLITE_READERS, _SQLITE_WRITERS = 2, 1
_READERS, _WRITERS = 8, 4


class SqlTx:
    """A connection and the view of everything stored through it: made once, used for one transaction at a time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.workloads: Workloads = SqlWorkloads(link)
        self.actions: Actions = SqlActions(link)
        self.nodes: Nodes = SqlNodes(link)
        self.allocations: Allocations = SqlAllocations(link)
        self.quotas: Quotas = SqlQuotas(link)
        self.networks: Networks = SqlNetworks(link)
        self.images: Images = SqlImages(link)
        self.tokens: Tokens = SqlTokens(link)

    def run(self, fn: Callable[[Tx], T]) -> T:
        """Run a function as one transaction."""
        return transact(self._link.connection, lambda: _plain(fn(self)))

    def close(self) -> None:
        """Let go of the connection."""
        self._link.connection.close()


class Lane:
    """Some threads and as many connections: a thread that begins a transaction always finds a free one."""

    def __init__(self, name: str, free: list[SqlTx]) -> None:
        self._free = free
        self._threads = ThreadPoolExecutor(len(free), thread_name_prefix=name)
        self._is_closed = False

    async def run(self, fn: Callable[[Tx], T]) -> T:
        """Run a transaction as soon as a thread is free."""
        if self._is_closed:
            raise Unavailable("The database is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, fn)

    def _run(self, fn: Callable[[Tx], T]) -> T:
        tx = self._free.pop()
        try:
            return tx.run(fn)
        finally:
            self._free.append(tx)

    async def close(self) -> None:
        """End what is under way or queued, then the threads and connections."""
        self._is_closed = True
        await asyncio.to_thread(self._threads.shutdown)
        while self._free:
            self._free.pop().close()


class SqlStore:
    """The database behind `Store`. Made by `open`."""

    def __init__(self, readers: Lane, writers: Lane) -> None:
        self._readers = readers
        self._writers = writers

    @classmethod
    async def open(cls, url: str, now: Now = utc_now) -> "SqlStore":
        """Connect, and bring the database to this program's version. Permanent when it is of a newer one."""
        return await asyncio.to_thread(cls._open, url, now)

    @classmethod
    def _open(cls, url: str, now: Now) -> "SqlStore":
        reading, writing = open_engine(url, writes=False), open_engine(url, writes=True)
        with writing.connect() as connection:
            transact(connection, lambda: ensure_head(connection))
        is_sqlite = writing.dialect.name == SQLITE
        cache = DecodeCache()

        def lane(engine: Engine, count: int, *, writes: bool) -> Lane:
            free = [SqlTx(Link(engine.connect(), now, cache, writes)) for _ in range(count)]
            return Lane("store-write" if writes else "store-read", free)

        return cls(
            lane(reading, _SQLITE_READERS if is_sqlite else _READERS, writes=False),
            lane(writing, _SQLITE_WRITERS if is_sqlite else _WRITERS, writes=True),
        )

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """Run a function that only reads."""
        return await self._readers.run(fn)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        """Run a function that writes: all of it or nothing."""
        return await self._writers.run(fn)

    async def close(self) -> None:
        """Finish what runs and let go of the database."""
        await self._readers.close()
        await self._writers.close()


def _plain(result: T) -> T:
    """Neither a coroutine nor a generator: what those do happens after the transaction has ended."""
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        result.close()
        raise TypeError("a transaction is a plain function that does all of its work")
    return result
