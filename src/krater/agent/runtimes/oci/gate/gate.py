"""What the engine knows of it: the gate of one containerd."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Final

from krater.agent.runtimes.oci.gate.door import ADDRESS, PORT, URL, Door, SideDoors
from krater.agent.runtimes.oci.gate.space import listen_in_space_of
from krater.errors import Unavailable
from krater.model.registry import RegistryRules, is_loopback_name, literal, split_domain
from krater.outgoing import Ways

_PROXIED: Final = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_NOT_PROXIED: Final = ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "REQUEST_METHOD")


def environment(ours: dict[str, str]) -> dict[str, str]:
    """containerd's: all that it asks for goes through the gate."""
    kept = {key: value for key, value in ours.items() if key not in _NOT_PROXIED}
    return {**kept, **dict.fromkeys(_PROXIED, URL)}


class Gate:
    """Opened at the first pull, and again for every containerd that takes the place of another."""

    def __init__(self, rules: RegistryRules, pid: Callable[[], int | None]) -> None:
        """`pid` tells the process in whose namespace it stands."""
        self._rules = rules
        self._pid = pid
        self._door = Door(Ways(rules))
        self._side_doors = SideDoors(self._door)
        self._listener: tuple[int, socket.socket] | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def opened(self, domain: str) -> AsyncIterator[None]:
        """Inside, containerd can ask the registry of this domain, and where that sends it. Unavailable."""
        async with self._lock:
            pid = await asyncio.to_thread(self._ensure_open)
        host, port = split_domain(domain)
        address = literal(host)
        with ExitStack() as stack:
            if is_loopback_name(host) or (address is not None and address.is_loopback):
                ports = (80, 443) if port is None else (port,)
                await asyncio.to_thread(stack.enter_context, self._side_doors.opened(pid, host, ports))
            yield

    def _ensure_open(self) -> int:
        pid = self._pid()
        if pid is None:
            raise Unavailable("the node's image store does not answer now")
        if self._listener is None or self._listener[0] != pid:
            self.close()
            try:
                listener = listen_in_space_of(pid, ADDRESS, PORT)
            except OSError as error:
                why = "another Krater is at it" if error.errno == errno.EADDRINUSE else str(error.strerror)
                raise Unavailable(f"the way from the image store to registries cannot be opened: {why}") from error
            self._door.open(listener)
            self._listener = (pid, listener)
        return pid

    def close(self) -> None:
        """Let go. Whoever comes next opens it anew."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener[1].shutdown(socket.SHUT_RDWR)
            self._listener[1].close()
            self._listener = None
