"""`Vif` on Linux itself: namespaces, veth pairs, bridges and nftables, without any command or daemon.

The kernel has one lock for all links, so one thread does the work, one call after the other: what looks like
a limit is what makes a bridge's first and last card race-free. Making namespaces needs no such lock and has a
thread of its own.

What the kernel is slow at is left to it or put off: a removed sandbox is silent at once and taken apart by
the kernel later; a bridge without cards stays for `linger` seconds. `close` and `sweep` put nothing off.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from krater.agent.vif.bridges import Bridge
from krater.agent.vif.host import Host
from krater.errors import Conflict, Failed, Permanent, Temporary
from krater.model.network import Nic
from krater.model.security import GroupRules

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
_HOPELESS = frozenset(
    {
        errno.EPERM,
        errno.EACCES,
        errno.EINVAL,
        errno.EOPNOTSUPP,
        errno.ENOSYS,
        errno.EAFNOSUPPORT,
        errno.ERANGE,
    }
)

_BIND_ADDRESS_NO_PORT = 24  # the kernel chooses the port when it knows where it goes: there are more of them then


class Names(Protocol):
    """The name server as this module sees it."""

    async def listen(self, network: str, device: str, addresses: tuple[str, ...], forwards: bool) -> None:
        """Answer on these addresses of that bridge, and only there; ask others only when it `forwards`."""

    async def close(self, network: str) -> None:
        """Answer for that network no longer."""


class NativeVif:
    """The networks of one instance on this node.

    `directory` holds the namespaces (use a path under `/run`). `pool_size` namespaces are kept ready. Without
    `nat`, containers leave with their own addresses and may be reached from elsewhere. With `host_access`
    they reach every service of this host, without it only DNS and ICMP on their gateway. `names` is told of
    bridges that come and go.
    """

    def __init__(
        self,
        instance: str,
        directory: Path,
        pool_size: int = 4,
        nat: bool = True,
        host_access: bool = False,
        names: Names | None = None,
        linger: float = 5.0,
    ) -> None:
        self._host = Host(instance, directory, pool_size, nat, host_access)
        self._names = names
        self._linger = linger
        self._hands: ThreadPoolExecutor | None = None
        self._maker: ThreadPoolExecutor | None = None
        self._caller: ThreadPoolExecutor | None = None
        self._served: dict[str, Bridge] = {}
        self._told: dict[str, Bridge] = {}
        self._naming = asyncio.Lock()
        self._refill: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._is_untidy = False

    async def open(self) -> None:
        """Prepare the host (forwarding, rules) and find again what is there. Idempotent."""
        if self._hands is None:
            self._hands = ThreadPoolExecutor(1, "krater-vif")
            self._maker = ThreadPoolExecutor(1, "krater-vif-spares")
            self._caller = ThreadPoolExecutor(1, "krater-vif-sockets")
        await self._do(self._host.open)
        await self._tell_names()
        self._start_refill()
        self._start_tidying()

    async def close(self) -> None:
        """Let go of threads, spares and bridges without cards. What sandboxes use stays."""
        if self._hands is None or self._maker is None or self._caller is None:
            return
        for task in (self._refill, self._tidying):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self._refill = self._tidying = None
        for others in (self._maker, self._caller):
            others.shutdown(wait=False, cancel_futures=True)
            await asyncio.to_thread(others.shutdown, True)
        await self._do(self._host.close)
        for network in list(self._served):
            await self._forget(network)
        self._told = {}
        hands, self._hands, self._maker, self._caller = self._hands, None, None, None
        await asyncio.to_thread(hands.shutdown, True)

    async def make_sandbox(self, sandbox: str, pid: int | None = None) -> str:
        """Have a namespace for the sandbox; returns its path."""
        path = await self._do(self._host.make_sandbox, sandbox, pid)
        self._start_refill()
        return path

    async def remove_sandbox(self, sandbox: str) -> None:
        """Remove the namespace with its cards; their addresses are free when this returns."""
        await self._do(self._host.remove_sandbox, sandbox)
        self._start_tidying()

    async def sandboxes(self) -> dict[str, str]:
        """Sandboxes that exist, with the paths of their namespaces."""
        return await self._do(self._host.sandboxes)

    async def plug(self, sandbox: str, nic: Nic) -> None:
        """Connect a card. A port that was plugged into another sandbox moves here."""
        await self._do(self._host.plug, sandbox, nic)
        await self._tell_names()

    async def unplug(self, sandbox: str, port: str) -> None:
        """Take a card out."""
        await self._do(self._host.unplug, sandbox, port)
        self._start_tidying()

    async def guard(self, groups: Sequence[GroupRules], nics: Sequence[Nic], *, is_all: bool = False) -> None:
        """Have these rules hold."""
        await self._do(self._host.guard, groups, nics, is_all=is_all)

    async def connection(self, sandbox: str, address: str, port: int) -> socket.socket:
        """The socket is made in the namespace, by a thread that nothing else keeps busy, and used from here.

        It is bound to the address that it goes to: where the sandbox does not have that, nothing is sent anywhere.
        """
        if self._caller is None:
            raise Permanent("The networks of this node are not open.")
        loop, family = asyncio.get_running_loop(), socket.AF_INET6 if ":" in address else socket.AF_INET
        making = loop.run_in_executor(self._caller, self._host.make_socket, sandbox, family)
        try:
            made = await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_close_late)
            raise
        except OSError as error:
            raise translated(error) from error
        try:
            made.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            made.bind((address, 0))
            await loop.sock_connect(made, (address, port))
            if made.getsockname()[:2] == made.getpeername()[:2]:  # it was given the very port it asked for
                raise ConnectionRefusedError(errno.ECONNREFUSED, "it reached itself: nobody listens there")
        except OSError as error:
            made.close()
            raise Conflict(os.strerror(error.errno or 0).lower()) from error
        except BaseException:
            made.close()
            raise
        return made

    async def plugged(self) -> dict[str, frozenset[str]]:
        """Ports plugged, by sandbox."""
        return await self._do(self._host.plugged)

    async def sweep(self) -> None:
        """Remove what belongs to no sandbox, now."""
        await self._do(self._host.sweep)
        await self._tell_names()

    async def _do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it on the one thread, with the kernel's errors in our words."""
        if self._hands is None:
            raise Permanent("The networks of this node are not open.")
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._hands, lambda: work(*args, **kwargs))
        except OSError as error:
            raise translated(error) from error

    def _start_refill(self) -> None:
        if self._maker is not None and (self._refill is None or self._refill.done()):
            self._refill = asyncio.create_task(self._fill_pool(self._maker))

    async def _fill_pool(self, maker: ThreadPoolExecutor) -> None:
        while self._host.missing_spares() > 0:
            try:
                await asyncio.get_running_loop().run_in_executor(maker, self._host.make_spare)
            except OSError as error:
                log.warning("no spare network namespace could be made: %s", error)
                return

    def _start_tidying(self) -> None:
        self._is_untidy = True
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy_later())

    async def _tidy_later(self) -> None:
        while self._is_untidy:
            self._is_untidy = False
            await asyncio.sleep(self._linger)
            try:
                await self._do(self._host.tidy)
                await self._tell_names()
            except Failed as error:
                log.warning("bridges without cards stay until the next sweep: %s", error)

    async def _tell_names(self) -> None:
        """Have the name server serve exactly the bridges that are there."""
        if self._names is None or self._told == self._host.networks:
            return
        async with self._naming:
            self._told = present = self._host.networks
            for network in [name for name, bridge in self._served.items() if present.get(name) != bridge]:
                await self._forget(network)
            for network, bridge in present.items():
                if network not in self._served:
                    await self._serve(bridge)

    async def _serve(self, bridge: Bridge) -> None:
        if self._names is None:
            return
        addresses = tuple(gateway.partition("/")[0] for gateway in bridge.gateways)
        try:
            await self._names.listen(bridge.network, bridge.name, addresses, not bridge.internal)
        except OSError as error:
            # A container without names is better than no container; every change of networks tries again.
            log.warning("no name server on %s for network %s: %s", bridge.name, bridge.network, error)
            return
        self._served[bridge.network] = bridge

    async def _forget(self, network: str) -> None:
        del self._served[network]
        if self._names is not None:
            await self._names.close(network)


def _close_late(making: asyncio.Future[socket.socket]) -> None:
    """Nobody waits for it any more."""
    if not making.cancelled() and making.exception() is None:
        making.result().close()


def translated(error: OSError) -> Failed:
    """The kernel's refusal in our words."""
    if error.errno in _HOPELESS:
        return Permanent(f"This node's kernel refused to set up a network: {error.strerror}.")
    return Temporary(f"This node's kernel could not set up a network now: {error.strerror}.")
