"""The store on SQL databases."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine

from krater.clock import Now, utc_now
from krater.errors import Unavailable
from krater.store.departures import Departures
from krater.store.interfaces import (
    Actions,
    Allocations,
    Images,
    Networks,
    Nodes,
    OwnImages,
    Quotas,
    Registries,
    SecurityGroups,
    Tokens,
    Tx,
    Volumes,
    Workloads,
)
from krater.store.sql.actions import SqlActions
from krater.store.sql.allocations import SqlAllocations
from krater.store.sql.departures import SqlDepartures
from krater.store.sql.documents import DecodeCache
from krater.store.sql.engine import SQLITE, open_engine, transact, transact_together
from krater.store.sql.images import SqlImages
from krater.store.sql.link import Link
from krater.store.sql.networks import SqlNetworks
from krater.store.sql.nodes import SqlNodes
from krater.store.sql.own_images import SqlOwnImages
from krater.store.sql.quotas import SqlQuotas
from krater.store.sql.registries import SqlRegistries
from krater.store.sql.reserve import Reserve
from krater.store.sql.schema import ensure_head
from krater.store.sql.security_groups import SqlSecurityGroups
from krater.store.sql.tokens import SqlTokens
from krater.store.sql.volumes import SqlVolumes
from krater.store.sql.workloads import SqlWorkloads

__all__ = ["SqlStore"]

T = TypeVar("T")

_SQLITE_READERS, _SQLITE_WRITERS = 2, 1
_READERS, _WRITERS = 8, 4
_TOGETHER = 32
"""How many transactions that wait for SQLite's one writer are synced to the disk at once, at most."""


class SqlTx:
    """A connection and the view of everything stored through it: made once, used for one transaction at a time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._workloads = SqlWorkloads(link)
        self.workloads: Workloads = self._workloads
        self.actions: Actions = SqlActions(link)
        self.departures: Departures = SqlDepartures(link)
        self.nodes: Nodes = SqlNodes(link)
        self.allocations: Allocations = SqlAllocations(link)
        self.quotas: Quotas = SqlQuotas(link)
        self.registries: Registries = SqlRegistries(link)
        self.networks: Networks = SqlNetworks(link)
        self.volumes: Volumes = SqlVolumes(link)
        self.security_groups: SecurityGroups = SqlSecurityGroups(link)
        self.images: Images = SqlImages(link)
        self.own_images: OwnImages = SqlOwnImages(link)
        self.tokens: Tokens = SqlTokens(link)

    def run(self, fns: Sequence[Callable[[Tx], Any]]) -> list[Any]:
        """Run each function as one transaction. Answers with what each returned or raised."""
        return transact_together(self._link.connection, [lambda fn=fn: self._run_once(fn) for fn in fns])  # type: ignore[misc]

    def _run_once(self, fn: Callable[[Tx], Any]) -> Any:
        self._workloads.begin()
        return _plain(fn(self))

    def close(self) -> None:
        """Let go of the connection."""
        self._link.connection.close()


class _Job(Generic[T]):
    """A transaction that waits for a thread, and who waits for its outcome."""

    __slots__ = ("_loop", "fn", "outcome")

    def __init__(self, fn: Callable[[Tx], T]) -> None:
        self.fn = fn
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[T] = self._loop.create_future()

    def settle(self, outcome: Any) -> None:
        """Tell who waits what came of it."""
        failed = isinstance(outcome, BaseException)
        self._tell(self.outcome.set_exception if failed else self.outcome.set_result, outcome)

    def _tell(self, settle: Callable[[Any], None], outcome: object) -> None:
        def tell() -> None:
            if not self.outcome.done():
                settle(outcome)

        with suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(tell)


class Lane:
    """Some threads with a connection each, and one queue of transactions for them.

    A thread takes up to `together` that wait and has them on the disk with one sync.

    It is not an executor because this is on the path of every request: an executor's futures, chained to the loop's,
    cost as much as a small transaction does.
    """

    def __init__(self, name: str, txs: Sequence[SqlTx], together: int = 1) -> None:
        self._together = together
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._threads = [
            Thread(target=self._work, args=(tx,), name=f"{name}-{n}", daemon=True) for n, tx in enumerate(txs)
        ]
        self._is_closed = False
        for thread in self._threads:
            thread.start()

    async def run(self, fn: Callable[[Tx], T]) -> T:
        """Run a transaction as soon as a thread is free."""
        if self._is_closed:
            raise Unavailable("The database is closed.")
        job = _Job(fn)
        self._jobs.put(job)
        return await job.outcome

    def _work(self, tx: SqlTx) -> None:
        is_open = True
        while is_open:
            jobs, is_open = self._take()
            for job, outcome in zip(jobs, tx.run([job.fn for job in jobs]), strict=True):
                job.settle(outcome)
            del jobs  # the last ones' outcomes are not kept alive by an idle thread
        tx.close()

    def _take(self) -> tuple[list[_Job[Any]], bool]:
        """Wait for transactions, less those that nobody waits for any more; and whether to go on after them."""
        jobs: list[_Job[Any]] = []
        job = self._jobs.get()
        while job is not None:
            if not job.outcome.cancelled():
                jobs.append(job)
            if len(jobs) == self._together:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    async def close(self) -> None:
        """End what is under way or queued, then the threads and connections."""
        if not self._is_closed:
            self._is_closed = True
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)


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
        reserve = Reserve(str(writing.url.database)) if is_sqlite else None

        def lane(engine: Engine, count: int, *, writes: bool) -> Lane:
            txs = [SqlTx(Link(engine.connect(), now, cache, writes, reserve)) for _ in range(count)]
            together = _TOGETHER if writes and is_sqlite else 1
            return Lane("store-write" if writes else "store-read", txs, together)

        opened = cls(
            lane(reading, _SQLITE_READERS if is_sqlite else _READERS, writes=False),
            lane(writing, _SQLITE_WRITERS if is_sqlite else _WRITERS, writes=True),
        )
        if reserve is not None:
            reserve.ensure()
        return opened

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
