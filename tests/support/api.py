"""The whole API over a real store, with callers who need no accounts and a node that is moved by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from starlette.types import ASGIApp

from krater.api.app import make_app
from krater.bus.archives import FileStat, GetPiece, PackAnswer, PackFiles, PutPiece, UnpackFiles
from krater.bus.interfaces import CONTROLLER, node_target
from krater.bus.local import LocalBus
from krater.bus.messages import (
    Exec,
    ExecAnswer,
    ImageProgress,
    ImagesChanged,
    Logs,
    LogsAnswer,
    OpenAttach,
    OpenExec,
    ProgressAnswer,
    PushImage,
    ReadImage,
    ReadImageAnswer,
    Resize,
    ResizeTerminal,
    Signal,
    Stats,
    Top,
    TopAnswer,
    VolumesChanged,
    WorkloadChanged,
)
from krater.cloud.interfaces import Caller, Credentials, PasswordCredentials, TokenCredentials
from krater.cloud.local.allocations import LocalAllocations
from krater.cloud.local.images import LocalImages
from krater.cloud.local.networks import LocalNetworks
from krater.cloud.local.own_networks import LocalOwnNetworks
from krater.cloud.local.own_volumes import LocalOwnVolumes
from krater.cloud.local.security_groups import LocalSecurityGroups
from krater.cloud.local.vault import LocalVault
from krater.cloud.local.volumes import LocalVolumes
from krater.config import ApiSettings, Settings
from krater.errors import KraterError, Unauthenticated
from krater.model.assignment import ContainerState, Observed, ObservedContainer, Placement
from krater.model.frames import Opened
from krater.model.node import Inventory
from krater.model.reading import Reading
from krater.model.workload import Desired
from krater.store.interfaces import EVERYBODY, Workload
from krater.store.sql import SqlStore

NODE, HOST = "node-1", "rack-1"
LATEST = "container 1.40"

CALLERS: dict[str, Caller] = {
    "ann": Caller("u-ann", "ann", "p-kitchen", "kitchen", ("member",)),
    "carl": Caller("u-carl", "carl", "p-kitchen", "kitchen", ("member",)),
    "bob": Caller("u-bob", "bob", "p-cellar", "cellar", ("member",)),
    "reader": Caller("u-rita", "rita", "p-kitchen", "kitchen", ("reader",)),
    "admin": Caller("u-root", "root", "p-office", "office", ("admin",)),
}


class Clock:
    """A time that moves when told to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def move(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class KnownCallers:
    """An identity that believes every token and password that is a caller's short name."""

    async def authenticate(self, credentials: Credentials) -> Caller:
        match credentials:
            case TokenCredentials(token) if token in CALLERS:
                return CALLERS[token]
            case PasswordCredentials(user, password) if user in CALLERS and password == user:
                return CALLERS[user]
            case PasswordCredentials("slow", _):
                raise Unauthenticated("Too many failed attempts.", retry_after=7.0)
        raise Unauthenticated("These credentials are not known.")


@dataclass
class World:
    """One API and what stands behind it."""

    app: ASGIApp
    client: httpx2.AsyncClient
    store: SqlStore
    bus: LocalBus
    clock: Clock
    directory: Path
    hints: list[str] = field(default_factory=list)

    async def call(
        self, method: str, path: str, *, who: str = "ann", version: str | None = LATEST, **more: Any
    ) -> httpx2.Response:
        """A request as somebody, at a microversion."""
        headers: dict[str, str] = {"X-Auth-Token": who} if who else {}
        if version is not None:
            headers["OpenStack-API-Version"] = version
        answer = await self.client.request(method, path, headers=headers | more.pop("headers", {}), **more)
        await asyncio.sleep(0)  # hints have arrived
        return answer

    async def make(self, who: str = "ann", *, run: bool = True, **body: Any) -> dict[str, Any]:
        """A container that was just asked for."""
        answer = await self.call(
            "POST", f"/v1/containers?run={run}", who=who, json={"image": "busybox", "cpu": 0.1, "memory": 64} | body
        )
        assert answer.status_code == 202, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def running(self, who: str = "ann", **body: Any) -> dict[str, Any]:
        """A container that runs."""
        made = await self.make(who, **body)
        await self.settle(made["uuid"])
        return made

    async def stored(self, id: str) -> Workload:
        """The row."""
        return await self.store.read(lambda tx: tx.workloads.get(EVERYBODY, id))

    async def settle(self, id: str, **changes: Any) -> Workload:
        """The node has done what was asked; or something else, by the fields of ObservedContainer in `changes`."""
        workload = await self.stored(id)
        intent = workload.intent
        states = {Desired.RUNNING: ContainerState.RUNNING, Desired.PAUSED: ContainerState.PAUSED}
        state = states.get(intent.desired, ContainerState.EXITED if intent.run else ContainerState.CREATED)
        failure, settled = changes.pop("failure", None), changes.pop("settled", True)
        seen = ObservedContainer(
            id,
            intent.rebuild,
            state,
            run=intent.run,
            exit_code=0 if state is ContainerState.EXITED else None,
            started_at=self.clock(),
            finished_at=self.clock() if state is ContainerState.EXITED else None,
        )
        observed = Observed(intent.generation, (replace(seen, **changes),), settled=settled, failure=failure)

        def fold(tx: Any) -> Workload:
            if workload.placement.node is None:
                tx.workloads.place(id, Placement(NODE, 1, generation=intent.generation))
            tx.actions.finish(id, intent.generation, failure, self.clock())
            stored: Workload = tx.workloads.observe(id, observed)
            return stored

        return await self.store.write(fold)

    async def into(self, status: str, **body: Any) -> str:
        """The id of a container of Ann's in this status."""
        made = await self.make(run=status not in ("Created", "Creating"), **body)
        id: str = made["uuid"]
        match status:
            case "Creating":
                pass
            case "Stopped":
                await self.settle(id, state=ContainerState.EXITED, exit_code=0, finished_at=self.clock())
            case "Paused":
                await self.settle(id)
                await self.call("POST", f"/v1/containers/{id}/pause")
                await self.settle(id)
            case "Error":
                await self.settle(id, failure="It broke.")
            case "Restarting":
                await self.settle(id)
                await self.call("POST", f"/v1/containers/{id}/reboot")
            case "Rebuilding":
                await self.settle(id)
                await self.call("POST", f"/v1/containers/{id}/rebuild")
            case "Deleting":
                await self.settle(id)
                await self.call("DELETE", f"/v1/containers/{id}?stop=1")
            case "Unknown":
                await self.settle(id)
                await self.store.write(lambda tx: tx.nodes.set_forced_down(HOST, True))
            case _:
                await self.settle(id)
        shown = (await self.call("GET", f"/v1/containers/{id}")).json()
        assert shown["status"] == status, shown
        return id

    async def announce(self, node: str = NODE, host: str = HOST, zone: str = "nova") -> None:
        """A node says that it lives."""
        inventory = Inventory(cpus=8, memory=16384, disk=200, architecture="x86_64", os="Debian", runtimes=("crun",))
        await self.store.write(lambda tx: tx.nodes.announce(node, host, zone, inventory, self.clock()))


class FakeAgent:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, world: World) -> None:
        self.asked: list[Any] = []
        self.answers: dict[type, Any] = {
            Exec: ExecAnswer(b"hello\n\xff", 3, truncated=False),
            Logs: LogsAnswer(b"line\n", truncated=False, cursor=""),
            Top: TopAnswer(("PID", "CMD"), (("1", "sleep 1000000"),)),
            Stats: Reading(12.345, 10 << 20, 64 << 20, 1, 2, 3, 4),
            Signal: None,
            Resize: None,
            PackFiles: PackAnswer("session", FileStat("motd", 3, 0o644, "2026-01-31T12:00:00Z", "")),
            UnpackFiles: "session",
            GetPiece: b"",
            PutPiece: None,
            OpenAttach: Opened("a" * 64, "5" * 64, "unix:streams.sock"),
            OpenExec: Opened("e" * 64, "5" * 64, "unix:streams.sock"),
            ResizeTerminal: None,
            ReadImage: ReadImageAnswer(b"archive", 7),
            ImageProgress: ProgressAnswer("working", 1 << 20, 4 << 20),
            PushImage: None,
        }
        world.bus.serve(node_target(NODE), {kind: self._handler(kind) for kind in self.answers})

    def _handler(self, kind: type) -> Callable[[Any], Awaitable[Any]]:
        async def handle(message: Any) -> Any:
            self.asked.append(message)
            answer = self.answers[kind]
            if isinstance(answer, KraterError):
                raise answer
            return answer

        return handle


_template: bytes | None = None


async def new_store(directory: Path, clock: Clock) -> SqlStore:
    """An empty database. Migrations run once a test run; the other databases are copies."""
    global _template  # noqa: PLW0603
    path = directory / "krater.sqlite"
    if _template is None:
        await (await SqlStore.open(f"sqlite:///{path}", clock)).close()
        _template = path.read_bytes()
    else:
        path.write_bytes(_template)
    return await SqlStore.open(f"sqlite:///{path}", clock)


@asynccontextmanager
async def open_world(
    directory: Path, settings: Settings | None = None, mounts: Mapping[str, ASGIApp] | None = None
) -> AsyncIterator[World]:
    """An API over a new database in `directory`, with one node that lives."""
    chosen = settings or Settings(api=ApiSettings(image_search=""))  # no test asks the internet
    chosen = replace(chosen, core=replace(chosen.core, directory=str(directory)))
    clock, bus = Clock(), LocalBus()
    store = await new_store(directory, clock)
    networks = LocalNetworks(store, chosen.network)
    app = make_app(
        chosen,
        store,
        bus,
        KnownCallers(),
        networks=networks,
        volumes=LocalVolumes(store, chosen.volumes, clock),
        allocations=LocalAllocations(store, chosen.scheduler),
        now=clock,
        extra_mounts=mounts,
        nodes_lifetime=0.0,
        own_networks=LocalOwnNetworks(store, chosen.network, networks),
        images=LocalImages(store, bus),
        vault=LocalVault(directory / "secret.keys"),
        own_volumes=LocalOwnVolumes(store, chosen.volumes, clock),
        security_groups=LocalSecurityGroups(store),
    )
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False, client=("192.0.2.7", 40000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://krater.test:9517") as client:
        world = World(app, client, store, bus, clock, directory)
        _listen(world)
        await world.announce()
        try:
            yield world
        finally:
            await bus.close()
            await store.close()


def _listen(world: World) -> None:
    async def changed(message: WorkloadChanged) -> None:
        world.hints.append(message.workload)

    async def images(_: ImagesChanged) -> None:
        world.hints.append("images")

    world.bus.serve(CONTROLLER, {WorkloadChanged: changed})

    async def volumes(_: VolumesChanged) -> None:
        world.hints.append("volumes")

    world.bus.serve(node_target(NODE), {ImagesChanged: images, VolumesChanged: volumes})
