"""What a node does to itself for its networks: the blocking half of `NativeVif`, one call at a time.

Everything is decided from what the kernel and the directory say at that moment. Only the list of spare
namespaces is remembered, so that two sandboxes never reach for the same one.
"""

import socket
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from krater.agent.vif.bridges import Bridge, Bridges
from krater.agent.vif.cards import Cards
from krater.agent.vif.firewall import Firewall
from krater.agent.vif.guard_tables import GuardTables
from krater.agent.vif.marks import Marks
from krater.agent.vif.namespaces import Namespaces, set_sysctl
from krater.agent.vif.netlink import Netlink
from krater.errors import KraterError, NotFound, Permanent
from krater.model.network import Nic
from krater.model.security import GroupRules

_RECEIVED = 16384  # bytes that a connection holds for us


class Host:
    """Namespaces, cards, bridges and rules of one instance.

    One thread at a time, except `make_spare` and `make_socket`.
    """

    def __init__(self, instance: str, directory: Path, pool_size: int, nat: bool, host_access: bool) -> None:
        self._marks = Marks(instance)
        self._namespaces = Namespaces(directory)
        self._firewall = Firewall(self._marks, nat, host_access)
        self._guards = GuardTables(self._marks, self._firewall)
        self._pool_size = pool_size
        self._spares: deque[str] = deque()
        self._making = threading.Lock()  # a spare that is half made is not one that a crash left
        self._kernel: Netlink | None = None
        self.networks: dict[str, Bridge] = {}

    def open(self) -> None:
        """Prepare the host and find again what is there. A second time changes nothing."""
        if self._kernel is not None:
            return
        if not set_sysctl("ipv4/ip_forward", "1"):
            raise Permanent("This node has no IPv4.")
        self._firewall.open()
        self._namespaces.open()
        self._kernel = Netlink()
        for spare in self._namespaces.spares():
            if len(self._spares) < self._pool_size:
                self._spares.append(spare)
            else:
                self._namespaces.remove_spare(spare)
        self._bridges.ensure_rules()
        self._bridges.ensure_seen()
        self._see_networks()

    def close(self) -> None:
        """Remove what nobody uses, and let go of the rest."""
        if self._kernel is None:
            return
        while self._spares:
            self._namespaces.remove_spare(self._spares.popleft())
        self.tidy()
        self._namespaces.close()
        self._firewall.close()
        self._kernel.close()
        self._kernel = None

    def missing_spares(self) -> int:
        """How many namespaces the pool lacks."""
        return self._pool_size - len(self._spares) if self._kernel is not None else 0

    def make_spare(self) -> None:
        """Add a namespace to the pool. May run on another thread than the rest."""
        with self._making:
            self._spares.append(self._namespaces.make())

    def make_sandbox(self, sandbox: str, pid: int | None = None) -> str:
        """Have a namespace for the sandbox, if it has none that of the process. Returns its path."""
        found = self._namespaces.path(sandbox)
        if found is not None:
            return found
        self._namespaces.remove(sandbox)  # what is left of one that lost its name
        if pid is not None:
            return self._namespaces.give(self._namespaces.adopt(pid), sandbox)
        while self._spares:
            spare = self._spares.popleft()
            if self._namespaces.is_whole(spare):
                return self._namespaces.give(spare, sandbox)
        return self._namespaces.give(self._namespaces.make(), sandbox)

    def remove_sandbox(self, sandbox: str) -> None:
        """Have no such namespace, and none of its cards heard any more."""
        path = self._namespaces.path(sandbox)
        if path is not None:
            self._cards.silence(sandbox, path)
        self._namespaces.remove(sandbox)
        self._guards.dismiss(sandbox)

    def sandboxes(self) -> dict[str, str]:
        """Sandboxes with the paths of their namespaces."""
        return self._namespaces.taken()

    def plug(self, sandbox: str, nic: Nic) -> None:
        """Have the card in the sandbox, and its network's bridge here."""
        path = self._namespaces.path(sandbox)
        if path is None:
            raise NotFound(f"There is no sandbox {sandbox} on this node.")
        bridge, is_new = self._bridges.ensure(nic)
        self._guards.admit(sandbox, nic, bridge)
        try:
            self._cards.plug(sandbox, path, nic, bridge)
        except (OSError, KraterError):
            self._guards.dismiss(sandbox, nic.port)
            raise
        if is_new:
            self._see_networks()

    def unplug(self, sandbox: str, port: str) -> None:
        """Have the card out of the sandbox."""
        self._cards.unplug(sandbox, port)
        self._guards.dismiss(sandbox, port)

    def guard(self, groups: Sequence[GroupRules], nics: Sequence[Nic], *, is_all: bool) -> None:
        """Have these groups' rules hold for the cards that are in them."""
        if is_all:
            self._guards.settle(groups, nics, self.plugged())
        else:
            self._guards.update(groups, nics)

    def make_socket(self, sandbox: str, family: socket.AddressFamily) -> socket.socket:
        """A TCP socket in a sandbox's namespace, which takes in little. May run on another thread than the rest."""
        path = self._namespaces.path(sandbox)
        if path is None:
            raise NotFound(f"There is no sandbox {sandbox} on this node.")
        with self._namespaces.inside(path):
            made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED)
        return made

    def plugged(self) -> dict[str, frozenset[str]]:
        """Ports by sandbox, of sandboxes that exist."""
        existing = self._namespaces.taken()
        return {name: frozenset(ports) for name, ports in self._cards.plugged().items() if name in existing}

    def tidy(self) -> None:
        """Remove bridges that lost their last card, and cards the kernel has not taken apart yet."""
        self._cards.remove_strays()
        self._clear_guards()
        idle = self._bridges.idle()
        if idle:
            self._bridges.remove(idle)
            self._see_networks()

    def sweep(self) -> None:
        """Remove all of this instance that no sandbox has, and have the firewall as it must be."""
        with self._making:
            self._namespaces.mend()
            for spare in self._namespaces.spares():
                if spare not in self._spares:
                    self._namespaces.remove_spare(spare)
        self._cards.remove_strays(frozenset(self._namespaces.taken()))
        self._clear_guards()
        self._bridges.remove(self._bridges.idle())
        self._see_networks()

    def _clear_guards(self) -> None:
        if not self._cards.plugged():
            self._guards.clear()

    def _see_networks(self) -> None:
        self.networks = {bridge.network: bridge for bridge in self._bridges.present()}

    @property
    def _bridges(self) -> Bridges:
        return Bridges(self._marks, self._opened, self._firewall)

    @property
    def _cards(self) -> Cards:
        return Cards(self._marks, self._opened, self._namespaces)

    @property
    def _opened(self) -> Netlink:
        if self._kernel is None:
            raise Permanent("The networks of this node are not open.")
        return self._kernel
