"""The one place that chooses adapters and hands them to roles.

The embedded profile is all roles in one process, over the adapters that need nothing but this machine.
"""

import asyncio
import fcntl
import os
import secrets
import signal
import socket
import uuid
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from krater.agent.runtimes.fake import FakeEngineWorld, FakeRuntime
from krater.agent.runtimes.interfaces import Engine
from krater.agent.runtimes.oci.runtime import OciOptions, OciRuntime
from krater.agent.service import Agent
from krater.agent.vif.dns import NameServer
from krater.agent.vif.fake import FakeNetworkWorld, FakeVif
from krater.agent.vif.interfaces import Vif
from krater.agent.vif.native import NativeVif
from krater.agent.volumes.directory import DirectoryVolumes
from krater.agent.volumes.fake import FakeVolumeHost
from krater.agent.volumes.interfaces import VolumeHost
from krater.api.app import make_app
from krater.api.connections import BoundedConnection
from krater.api.consoles import Consoles
from krater.api.identity import make_identity_app
from krater.bus.local import LocalBus
from krater.cloud.interfaces import Vault
from krater.cloud.local.account_book import AccountBook
from krater.cloud.local.allocations import LocalAllocations
from krater.cloud.local.credentials import ensure_accounts
from krater.cloud.local.identity import LocalIdentity
from krater.cloud.local.images import LocalImages
from krater.cloud.local.networks import LocalNetworks
from krater.cloud.local.own_networks import LocalOwnNetworks
from krater.cloud.local.own_volumes import LocalOwnVolumes
from krater.cloud.local.rekeying import rotate
from krater.cloud.local.security_groups import LocalSecurityGroups
from krater.cloud.local.vault import LocalVault
from krater.cloud.local.volumes import LocalVolumes
from krater.config import Settings
from krater.controller.service import Controller
from krater.errors import Conflict, Permanent
from krater.gateway.app import Gateway
from krater.store.interfaces import Store
from krater.store.sql import SqlStore

__all__ = [
    "AccountBook",
    "Embedded",
    "clear_node",
    "open_accounts",
    "open_runtime",
    "open_store",
    "own_directories",
    "rotate_keys",
]

log = structlog.get_logger(__name__)

# A log outgrows its size between two looks at it, and while Krater is down; conmon itself stops it at so many times.
_LOG_SLACK = 4
_SEED_SIZE = 32


@contextmanager
def own_directories(settings: Settings) -> Iterator[None]:
    """Hold the directories of a Krater for this process alone. Conflict names the process that has one.

    The second one as well: what a node finds in it and does not know, it removes.
    """
    with ExitStack() as held:
        for name in dict.fromkeys((settings.core.directory, settings.core.run_directory)):
            held.enter_context(_own(Path(name)))
        yield


@contextmanager
def _own(directory: Path) -> Iterator[None]:
    """The lock is the kernel's and goes with the process, however it ends; the number in the file is for people."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (directory / "krater.lock").open("a+", encoding="ascii")
    except OSError as error:
        raise Permanent(f"{directory} cannot be used: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise Conflict(f"{directory} is in use by another Krater, process {owner}") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


async def open_store(settings: Settings) -> Store:
    """The database, brought up to date."""
    return await SqlStore.open(settings.database_url)


def open_accounts(settings: Settings) -> AccountBook:
    """The accounts, for an operator to edit."""
    return AccountBook(settings)


def open_vault(settings: Settings) -> LocalVault:
    """What encrypts the secrets of this installation."""
    return LocalVault(Path(settings.core.directory) / "secret.keys")


async def rotate_keys(settings: Settings) -> int:
    """Encrypt all stored secrets with a new key; how many there are."""
    vault, store = open_vault(settings), await open_store(settings)
    try:
        return await rotate(store, vault)
    finally:
        await store.close()


async def open_runtime(settings: Settings) -> OciRuntime:
    """The engine of this node, connected: Krater's own containerd is started if it does not run."""
    runtime = _engine(settings)
    await runtime.open()
    return runtime


async def clear_node(settings: Settings) -> None:
    """Leave nothing of this Krater's containers, networks and engine on the machine.

    Its database and logs stay, and the data of volumes.
    """
    runtime, vif, volumes = _engine(settings), _networks(settings, None), _volumes(settings)
    await runtime.open()
    await runtime.retire()
    await volumes.open()
    await volumes.retire()
    await volumes.close()
    await vif.open()
    try:
        for sandbox in await vif.sandboxes():
            await vif.remove_sandbox(sandbox)
        await vif.sweep()
    finally:
        await vif.close()


def _engine(settings: Settings) -> OciRuntime:
    own, agent = settings.core, settings.agent
    options = OciOptions(
        runtime=agent.runtime or None,
        containerd_socket=agent.containerd or None,
        cgroup_parent=own.instance,
        pids_limit=agent.pids,
        log_limit=_LOG_SLACK * agent.log_size,
        log_files=agent.log_files,
        plain_http_registries=agent.plain_http_registries,
        registry_rules=settings.registry_rules,
        ca_file=settings.registries.ca_file,
        certificates=settings.registries.certificates,
    )
    return OciRuntime(Path(own.directory) / "engine", options)


def _networks(settings: Settings, names: NameServer | None) -> NativeVif:
    own, network = settings.core, settings.network
    return NativeVif(
        own.instance,
        Path(own.run_directory) / "netns",
        pool_size=settings.agent.ready_namespaces,
        nat=network.nat,
        host_access=network.host_access,
        names=names,
    )


def _volumes(settings: Settings) -> DirectoryVolumes:
    own = settings.core
    return DirectoryVolumes(Path(own.directory) / "volumes", Path(own.run_directory) / "volumes")


@dataclass(frozen=True, slots=True)
class _Node:
    """The parts of a node, real or fake."""

    runtime: Engine
    vif: Vif
    volumes: VolumeHost
    names: NameServer


class Embedded:
    """All roles in this process, on this machine.

    `fake` replaces engine and network by ones in memory: nothing runs, everything else is real.
    """

    def __init__(self, settings: Settings, *, fake: bool = False) -> None:
        self._settings = settings
        self._fake = fake

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Containers run on after it."""
        settings = self._settings
        with listening_socket(settings) as listener, gateway_socket(settings) as console_listener:
            made = ensure_accounts(settings)
            if made is not None:
                where = Path(settings.core.directory) / "client.yaml"
                log.info("made an administrator; the password stands in a file", user=made.user, file=str(where))
            consoles = Consoles(settings.gateway, gateway_seed(settings), console_listener.getsockname()[1])
            gateway = Gateway(settings.gateway, consoles.public_key, settings.core.run_directory)
            store = await open_store(settings)
            bus = LocalBus()
            try:
                networks = LocalNetworks(store, settings.network)
                allocations = LocalAllocations(store, settings.scheduler)
                vault, volumes = open_vault(settings), LocalVolumes(store, settings.volumes)
                controller = Controller(settings, store, bus, networks, allocations, volumes, vault=vault)
                server = self._server(store, bus, networks, volumes, allocations, vault, consoles)
                roles = (controller.run(), self._agent(bus).run(), gateway.run(console_listener))
                log.info("consoles are served", address=console_listener.getsockname()[:2])
                await _live(roles, server, listener)
            finally:
                await bus.close()
                await store.close()

    def _agent(self, bus: LocalBus) -> Agent:
        settings = self._settings
        node = self._node()
        return Agent(
            node_id(settings),
            settings.agent,
            node.runtime,
            node.vif,
            node.volumes,
            bus,
            node.names,
            host=settings.core.host,
            directory=settings.core.directory,
            search=(settings.network.search_domain,),
            run_directory=settings.core.run_directory,
        )

    def _node(self) -> _Node:
        names = NameServer(self._settings.network.search_domain)
        if self._fake:
            return _Node(FakeRuntime(FakeEngineWorld()), FakeVif(FakeNetworkWorld()), FakeVolumeHost(), names)
        return _Node(_engine(self._settings), _networks(self._settings, names), _volumes(self._settings), names)

    def _server(
        self,
        store: Store,
        bus: LocalBus,
        networks: LocalNetworks,
        volumes: LocalVolumes,
        allocations: LocalAllocations,
        vault: Vault,
        consoles: Consoles,
    ) -> "_Server":
        settings = self._settings
        identity = LocalIdentity.at(settings, store)
        front = make_identity_app(settings.api, identity)
        app = make_app(
            settings,
            store,
            bus,
            identity,
            networks=networks,
            volumes=volumes,
            allocations=allocations,
            extra_mounts={"/identity": front},
            own_networks=LocalOwnNetworks(store, settings.network, networks),
            own_volumes=LocalOwnVolumes(store, settings.volumes),
            images=LocalImages(store, bus),
            vault=vault,
            projects=identity.list_all_projects,
            consoles=consoles,
            security_groups=LocalSecurityGroups(store),
        )
        return _Server(
            uvicorn.Config(
                app,
                loop="none",
                http=BoundedConnection,
                proxy_headers=False,  # anybody on this machine could name any address, and guess passwords without end
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=3,
            )
        )


class _Server(uvicorn.Server):
    """uvicorn raises the signal that ended it once more, which would end us in the middle of letting go."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


async def _live(running: Iterable[Coroutine[Any, Any, None]], server: _Server, listener: socket.socket) -> None:
    """Run the roles until asked to end; one that fails ends all."""
    async with asyncio.TaskGroup() as group:
        roles = [group.create_task(role) for role in running]
        log.info("krater is ready", address=listener.getsockname()[:2])
        await server.serve(sockets=[listener])
        for role in roles:
            role.cancel()


def listening_socket(settings: Settings) -> socket.socket:
    """The API's socket. Permanent when its address cannot be had: before anything else is started."""
    return _listening("", settings.api.host_ip, settings.api.port)


def gateway_socket(settings: Settings) -> socket.socket:
    """The gateway's socket, likewise."""
    return _listening("consoles ([gateway] port): ", settings.gateway.host_ip, settings.gateway.port)


def _listening(what: str, address: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address, port), family=family, backlog=2048)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]  # which repeats the address
        raise Permanent(f"{what}cannot listen on {address} port {port}: {reason}") from error


def gateway_seed(settings: Settings) -> bytes:
    """The secret that tickets for consoles are signed with: made once, readable by Krater alone."""
    path = Path(settings.core.directory) / "gateway.key"
    if not path.exists():
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_SEED_SIZE))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    seed = path.read_bytes()
    if len(seed) != _SEED_SIZE:
        raise Permanent(f"{path} is damaged: remove it, and a new one is made at the next start")
    return seed


def node_id(settings: Settings) -> str:
    """This node's id: made once, kept beside the database."""
    path = Path(settings.core.directory) / "node-id"
    if not path.exists():
        temporary = path.with_suffix(".new")
        temporary.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
        temporary.replace(path)
    return path.read_text(encoding="ascii").strip()
