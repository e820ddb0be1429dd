"""A card: a veth pair with one end in a sandbox and the other a port of the network's bridge.

Marked with its alias last, when its address answers: a card of ours without a mark is half made or half gone,
and whoever meets it may delete it. Deleting one costs the kernel 16 ms (it waits for every processor to look
away), so a sandbox that goes only silences its cards, and the kernel takes them apart together with the
namespace.
"""

import errno
import ipaddress
import time
from collections.abc import Callable, Iterable

from krater.agent.vif import links
from krater.agent.vif.bridges import Bridge, remove_links
from krater.agent.vif.links import Link
from krater.agent.vif.marks import Marks
from krater.agent.vif.namespaces import Namespaces, set_sysctl
from krater.agent.vif.netlink import Netlink, NetlinkError
from krater.errors import Conflict, KraterError, Temporary, Unsupported
from krater.model.network import Address, Nic

_UP_WITHIN = 2.0
_FIRST_METRIC = 1024  # what the kernel gives a route without one, in IPv6


class Cards:
    """All cards of one instance. Blocking; the one thread that owns the socket only."""

    def __init__(self, marks: Marks, kernel: Netlink, namespaces: Namespaces) -> None:
        self._marks, self._kernel, self._namespaces = marks, kernel, namespaces

    def plug(self, sandbox: str, path: str, nic: Nic, bridge: Bridge) -> None:
        """Have the port's card in that sandbox; a card of the port anywhere else is deleted first."""
        name, alias = self._marks.card(nic.port), self._marks.card_alias(sandbox, nic.port)
        found = self._named(name)
        if found is not None:
            if found.alias == alias and found.master == bridge.index and self._is_inside(path, found):
                return
            self._kernel.do(links.link_removed(found.index))
        with self._namespaces.inside(path) as space, Netlink() as inner:
            self._make_pair(name, nic, space, bridge)
            outer = self._read(self._kernel, name)
            try:
                self._configure(inner, outer, nic, bridge)
            except (OSError, KraterError):
                self._kernel.do(links.link_removed(outer.index))
                raise
            self._kernel.do(links.aliased(outer.index, alias))

    def _is_inside(self, path: str, card: links.Link) -> bool:
        """Whether its other end is in that namespace: a sandbox may have lost the one that it was made for."""
        with self._namespaces.inside(path), Netlink() as inner:
            inside = [links.read_link(body) for body in inner.dump(links.all_links())]
        return any((link.index, link.peer) == (card.peer, card.index) for link in inside)

    def unplug(self, sandbox: str, port: str) -> None:
        """Delete the port's card, unless another sandbox has it by now."""
        found = self._named(self._marks.card(port))
        if found is None or found.alias not in ("", self._marks.card_alias(sandbox, port)):
            return
        self._kernel.do(links.link_removed(found.index))

    def silence(self, sandbox: str, path: str) -> None:
        """Have no card of a sandbox heard from now on. Asks the namespace: the host may have thousands."""
        with self._namespaces.inside(path), Netlink() as inner:
            inside = [links.read_link(body) for body in inner.dump(links.all_links())]
        for link in inside:
            outer = self._numbered(link.peer) if link.kind == "veth" else None
            if outer is None or not self._marks.is_card(outer.name):
                continue
            card = self._marks.card_of(outer.alias)
            if card is None or card[0] == sandbox:
                # In this order: a change of any other attribute makes the bridge enable the port again.
                self._kernel.do(links.aliased(outer.index, ""), links.port_silenced(outer.index))

    def plugged(self) -> dict[str, list[str]]:
        """Ports of complete cards, by sandbox."""
        found: dict[str, list[str]] = {}
        for link in self._all():
            card = self._marks.card_of(link.alias)
            if card is not None:
                found.setdefault(card[0], []).append(card[1])
        return found

    def remove_strays(self, sandboxes: frozenset[str] | None = None) -> None:
        """Delete cards without a mark, and when `sandboxes` is given those of any other sandbox."""

        def is_stray(link: Link) -> bool:
            card = self._marks.card_of(link.alias)
            return card is None or (sandboxes is not None and card[0] not in sandboxes)

        remove_links(self._kernel, filter(is_stray, self._all()))

    def _make_pair(self, name: str, nic: Nic, space: int, bridge: Bridge) -> None:
        try:
            self._kernel.do(links.new_veth(name, nic.name, nic.mac, nic.mtu, space), links.port_up(name, bridge.index))
        except NetlinkError as error:
            left = self._named(name)
            if left is not None:
                self._kernel.do(links.link_removed(left.index))
            if error.errno == errno.EEXIST:
                raise Conflict(f"The sandbox has another card named {nic.name}.") from error
            raise

    def _configure(self, inner: Netlink, outer: Link, nic: Nic, bridge: Bridge) -> None:
        """Addresses and routes inside. Returns when both ends carry packets and the neighbours were told."""
        card = self._read(inner, nic.name)
        if any(":" in address.address for address in nic.addresses) and not set_sysctl(
            f"ipv6/conf/{nic.name}/disable_ipv6", "0"
        ):
            raise Unsupported("This node has no IPv6.")
        inner.do(
            links.link_up(card.index),
            *(links.new_address(card.index, one.address, one.prefix) for one in nic.addresses),
        )
        if nic.default_route and not nic.internal:
            inner.do(
                *(
                    links.default_route(card.index, one.gateway, not _is_near(one, one.gateway), _metric(nic))
                    for one in nic.addresses
                    if one.gateway is not None
                )
            )
        gateways = [gateway.partition("/")[0] for gateway in bridge.gateways]
        _wait_until(
            lambda: (
                _are_up((inner, card.index), (self._kernel, outer.index), (self._kernel, bridge.index))
                and _listens(inner, card.index, [one.address for one in nic.addresses])
                and _listens(self._kernel, bridge.index, gateways)
            ),
            f"The card {nic.name} did not come up within {_UP_WITHIN:g} seconds.",
        )
        self._kernel.do(
            *(
                links.neighbour(bridge.index, one.address, nic.mac)
                for one in nic.addresses
                if any((":" in gateway) == (":" in one.address) for gateway in bridge.gateways)
            )
        )
        inner.do(links.mac_set(card.index, nic.mac))

    def _all(self) -> list[Link]:
        found = (links.read_link(body) for body in self._kernel.dump(links.all_links()))
        return [link for link in found if self._marks.is_card(link.name)]

    def _read(self, kernel: Netlink, name: str) -> Link:
        return links.read_link(kernel.get(links.link_named(name)))

    def _named(self, name: str) -> Link | None:
        try:
            return self._read(self._kernel, name)
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def _numbered(self, index: int) -> Link | None:
        try:
            return links.read_link(self._kernel.get(links.link_numbered(index))) if index else None
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise


def _are_up(*ends: tuple[Netlink, int]) -> bool:
    """Whether links carry packets. Asking makes the kernel work off its pending changes: it rarely takes two."""
    return all(links.read_link(kernel.get(links.link_numbered(index))).is_up for kernel, index in ends)


def _listens(kernel: Netlink, index: int, addresses: Iterable[str]) -> bool:
    """Whether neighbours that look for these IPv6 addresses are heard, which the kernel sees to a little later."""
    wanted = {(index, links.solicited_group(one)) for one in addresses if ":" in one}
    return not wanted or wanted <= {links.read_group(body) for body in kernel.dump(links.all_groups(index))}


def _wait_until(is_so: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _UP_WITHIN
    while not is_so():
        if time.monotonic() > deadline:
            raise Temporary(complaint)
        time.sleep(0.001)


def _metric(nic: Nic) -> int:
    """How late a card's default route is used: the number of the card. The first one's is the kernel's own choice."""
    digits = nic.name.lstrip("abcdefghijklmnopqrstuvwxyz")
    number = int(digits) if digits.isascii() and digits.isdigit() else 0
    return _FIRST_METRIC + number if number else 0


def _is_near(address: Address, gateway: str) -> bool:
    """Whether a gateway is in the address's own subnet."""
    subnet = ipaddress.ip_interface(f"{address.address}/{address.prefix}").network
    return ipaddress.ip_address(gateway) in subnet
