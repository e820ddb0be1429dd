"""The controller role: what it is made of and the loops it runs."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Set

import structlog

from krater.bus.interfaces import CONTROLLER, Bus
from krater.bus.messages import AskLogin
from krater.clock import Now, utc_now
from krater.cloud.interfaces import Allocations, Networks, Vault, Volumes
from krater.config import Settings
from krater.controller.endpoint import Endpoint
from krater.controller.garbage import Garbage
from krater.controller.logins import Logins
from krater.controller.nodes import Nodes
from krater.controller.workloads import Workloads
from krater.errors import KraterError
from krater.reconcile import Reconciler
from krater.store.interfaces import Store

_log = structlog.get_logger(__name__)

_WATCH_EVERY = 5.0
_COLLECT_EVERY_RESYNCS = 10


class Controller:
    """Places workloads, folds what nodes report, gives back what is gone."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        bus: Bus,
        networks: Networks,
        allocations: Allocations,
        volumes: Volumes,
        now: Now = utc_now,
        *,
        vault: Vault,
    ) -> None:
        own = settings.controller
        self._store = store
        self._bus = bus
        self._resync = own.resync
        self._watch_every = min(_WATCH_EVERY, own.node_down_after / 3)
        self._workloads = Workloads(settings, store, bus, networks, allocations, volumes, now)
        self.reconciler = Reconciler(
            "controller",
            self._workloads.reconcile,
            concurrency=own.concurrency,
            resync=self._unfinished,
            resync_every=own.resync,
        )
        self._nodes = Nodes(store, own.node_down_after, now, self.reconciler.wake)
        keep = own.keep_actions, own.project_actions, settings.agent.keep_logs
        self._garbage = Garbage(store, networks, allocations, volumes, *keep, now, self._suspect)
        registries = settings.registries
        self._endpoint = Endpoint(store, bus, self._nodes, now, self.reconciler.wake, registries.default)
        self._logins = Logins(store, vault, registries)

    async def run(self) -> None:
        """Serve until cancelled."""
        self._bus.serve(CONTROLLER, {**self._endpoint.handlers, AskLogin: self._logins.ask})
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self.reconciler.run(), name="controller-workloads")
            loops.create_task(repeat("nodes", self._nodes.watch, self._watch_every), name="controller-nodes")
            every = self._resync * _COLLECT_EVERY_RESYNCS
            loops.create_task(repeat("garbage", self._garbage.collect, every), name="controller-garbage")

    def _suspect(self, id: str, ports: Set[str]) -> None:
        self._workloads.suspect(id, ports)
        self.reconciler.wake(id)

    async def _unfinished(self) -> Iterable[str]:
        return await self._store.read(lambda tx: tx.workloads.unfinished())


async def repeat(name: str, step: Callable[[], Awaitable[None]], every: float) -> None:
    """Do something again and again. A failure waits for the next time: there is nobody to tell but the log."""
    while True:
        try:
            await step()
        except KraterError as error:
            _log.warning("will be tried again", loop=name, error=error.message)
        except Exception:
            _log.exception("will be tried again", loop=name)
        await asyncio.sleep(every)
