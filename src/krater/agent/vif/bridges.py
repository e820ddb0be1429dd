"""A bridge for each network that has cards here, with the gateways' addresses on it.

Made with the first card. Once the last is gone it may stay a moment (`idle` tells which): taking a bridge
apart costs the kernel 35 ms under its one lock for all links, and the next container of the network is often
near.
"""

import errno
import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from krater.agent.vif import links
from krater.agent.vif.firewall import Firewall
from krater.agent.vif.links import Link
from krater.agent.vif.marks import Marks
from krater.agent.vif.namespaces import set_sysctl
from krater.agent.vif.netlink import Netlink, NetlinkError
from krater.errors import Permanent
from krater.model.network import Nic

_NO_IPV6 = "ipv6/conf/{}/disable_ipv6"
_SYSCTLS = {
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv6/conf/{}/accept_ra": "0",
    "ipv6/conf/{}/accept_redirects": "0",
    "ipv6/conf/{}/accept_dad": "0",
}


@dataclass(frozen=True, slots=True)
class Bridge:
    """A network's place on this host. `gateways` are its own addresses with prefix."""

    network: str
    index: int
    name: str
    gateways: tuple[str, ...]
    internal: bool = False


class Bridges:
    """All bridges of one instance. Blocking; the one thread that owns the socket only."""

    def __init__(self, marks: Marks, kernel: Netlink, firewall: Firewall) -> None:
        self._marks, self._kernel, self._firewall = marks, kernel, firewall

    def ensure(self, nic: Nic) -> tuple[Bridge, bool]:
        """Have the network's bridge with these gateways. True beside it when that changed anything."""
        found = self._link(self._marks.bridge(nic.network, nic.internal))
        if found is not None and found.alias == self._marks.bridge_alias(nic.network):
            changed = self._ensure_gateways(found, nic.gateways)
            return Bridge(nic.network, found.index, found.name, nic.gateways, nic.internal), changed
        if found is not None:
            self.remove([found])
        return self._make(nic), True

    def present(self) -> list[Bridge]:
        """Complete bridges with their addresses, as the kernel has them."""
        gateways: dict[int, list[str]] = {}
        for index, address in map(links.read_address, self._kernel.dump(links.all_addresses())):
            if not ipaddress.ip_interface(address).is_link_local:
                gateways.setdefault(index, []).append(address)
        found: list[Bridge] = []
        for link in self._links():
            network = self._marks.network_of(link.alias) if self._marks.is_bridge(link.name) else None
            if network is not None:
                internal = link.name.startswith(self._marks.internal_bridges)
                addresses = tuple(gateways.get(link.index, ()))
                found.append(Bridge(network, link.index, link.name, addresses, internal))
        return found

    def idle(self) -> list[Link]:
        """Bridges of ours that no complete card is plugged into."""
        present = self._links()
        used = {link.master for link in present if self._marks.card_of(link.alias) is not None}
        return [link for link in present if self._marks.is_bridge(link.name) and link.index not in used]

    def remove(self, doomed: Iterable[Link]) -> None:
        """Take bridges away, with the rules for them."""
        remove_links(self._kernel, doomed)
        self.ensure_rules()

    def ensure_rules(self) -> None:
        """Have the firewall's table say what the bridges that are there need."""
        self._firewall.install(link.name for link in self._links() if self._marks.is_bridge(link.name))

    def ensure_seen(self) -> None:
        """Have the firewall see what our bridges forward, those that an older Krater made as well."""
        self._kernel.do(*(links.bridge_seen(one.index) for one in self._links() if self._marks.is_bridge(one.name)))

    def _make(self, nic: Nic) -> Bridge:
        self._refuse_overlap(nic)
        name = self._marks.bridge(nic.network, nic.internal)
        self._kernel.do(links.new_bridge(name, self._marks.bridge_mac(nic.network), nic.mtu))
        link = links.read_link(self._kernel.get(links.link_named(name)))
        for knob, value in _SYSCTLS.items():
            set_sysctl(knob.format(name), value)
        if any(":" in gateway for gateway in nic.gateways):
            _prepare_ipv6(name)
        else:
            set_sysctl(_NO_IPV6.format(name), "1")
        self.ensure_rules()
        self._kernel.do(links.link_up(link.index))
        self._ensure_gateways(link, nic.gateways)
        self._kernel.do(links.aliased(link.index, self._marks.bridge_alias(nic.network)))
        return Bridge(nic.network, link.index, name, nic.gateways, nic.internal)

    def _ensure_gateways(self, link: Link, gateways: tuple[str, ...]) -> bool:
        """Have these addresses on the bridge; cheap enough to be asked with every card."""
        try:
            return self._add_gateways(link, gateways)
        except NetlinkError as error:
            if error.errno != errno.EACCES:
                raise
        _prepare_ipv6(link.name)  # the first IPv6 gateway of a network that had none
        return self._add_gateways(link, gateways)

    def _add_gateways(self, link: Link, gateways: tuple[str, ...]) -> bool:
        wanted = [gateway.rpartition("/") for gateway in gateways]
        added = self._kernel.do(*(links.new_address(link.index, ip, int(size)) for ip, _, size in wanted))
        return any(added)

    def _refuse_overlap(self, nic: Nic) -> None:
        """A network over addresses the host has already would cut the host, or another network, off."""
        present = {link.index: link for link in self._links()}
        idle = {link.index: link for link in self.idle()}
        gone: set[int] = set()  # each has an address of either family in the dump
        for index, address in map(links.read_address, self._kernel.dump(links.all_addresses())):
            there = ipaddress.ip_interface(address)
            if there.is_link_local or index in gone:
                continue
            for gateway in nic.gateways:
                wanted = ipaddress.ip_interface(gateway).network
                if wanted.version != there.version or not wanted.overlaps(there.network):
                    continue
                if index not in idle:
                    owner = present.get(index)
                    whose = (owner.alias or owner.name) if owner is not None else "another link"
                    way_out = "Its operator can have networks take others (network.pool)."
                    raise Permanent(f"The range {wanted} overlaps {address} of {whose} on this node. {way_out}")
                self.remove([idle[index]])
                gone.add(index)
                break

    def _links(self) -> list[Link]:
        return [links.read_link(body) for body in self._kernel.dump(links.all_links())]

    def _link(self, name: str) -> Link | None:
        try:
            return links.read_link(self._kernel.get(links.link_named(name)))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise


def remove_links(kernel: Netlink, doomed: Iterable[Link]) -> None:
    """Delete links at the price of one, by way of a group that nobody else can have thought of."""
    group = 1 << 30 | secrets.randbits(30)
    marking = [links.grouped(link.index, group) for link in doomed]
    if marking:
        kernel.do(*marking, links.group_removed(group))


def _prepare_ipv6(bridge: str) -> None:
    """Have IPv6 on a bridge and forwarded; the host's own cards go on hearing their routers."""
    if not set_sysctl(_NO_IPV6.format(bridge), "0"):
        raise Permanent("This node has no IPv6.")
    if Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text().strip() == "1":
        return
    for knob in Path("/proc/sys/net/ipv6/conf").glob("*/accept_ra"):
        if knob.read_text().strip() == "1":
            knob.write_text("2")
    set_sysctl("ipv6/conf/all/forwarding", "1")
