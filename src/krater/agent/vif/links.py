"""Links, addresses, routes and neighbours as requests to the kernel, and what the kernel tells of links.

Pure: functions return `netlink.Request`s or read bytes; nothing here opens a socket.
"""

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass

from krater.agent.vif.netlink import (
    CREATE,
    EXCLUSIVE,
    REPLACE,
    Request,
    attribute,
    attributes,
    nest,
    number,
    text,
)

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _GETADDR, _NEWROUTE, _NEWNEIGH, _GETMULTICAST = 20, 22, 24, 28, 58
_LINK = struct.Struct("=BxHiII")
_UP = 1
_ADDRESS, _NAME, _MTU, _PEER_INDEX, _MASTER, _PORT = 1, 3, 4, 5, 10, 12
_OPERSTATE, _KIND_OF, _ALIAS = 16, 18, 20
_FAMILIES, _GROUP, _NAMESPACE_FD, _WANTED = 26, 27, 28, 29
_SKIP_STATISTICS = 8
_OPER_UP = 6
_KIND, _KIND_DETAILS, _VETH_PEER = 1, 2, 1
_NO_AUTOMATIC_ADDRESS = nest(_FAMILIES, nest(socket.AF_INET6, attribute(8, b"\x01")))
_BRIDGE_DETAILS = nest(
    _KIND_DETAILS,
    number(1, 0),  # forward delay: a port that is up forwards
    number(5, 0),  # no spanning tree: there is no loop to find
    attribute(23, b"\0"),  # no multicast snooping: neighbour discovery must work from the first packet
    attribute(36, b"\1"),  # IPv4 that is only forwarded from port to port passes the firewall,
    attribute(37, b"\1"),  # and so does IPv6: security groups hold within a network
)
_NO_DAD = 0x02
_GONE = frozenset({errno.ENODEV})
_THERE = frozenset({errno.EEXIST})


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface. `peer` is the index of the other end, in whichever namespace that is."""

    index: int
    name: str
    alias: str
    kind: str
    mac: str
    master: int = 0
    peer: int = 0
    mtu: int = 0
    is_up: bool = False


def read_link(body: bytes) -> Link:
    """A link from the body of a kernel's message."""
    _, _, index, _, _ = _LINK.unpack_from(body)
    found = attributes(body[_LINK.size :])
    info = attributes(found.get(_KIND_OF, b""))
    return Link(
        index=index,
        name=_string(found.get(_NAME, b"")),
        alias=_string(found.get(_ALIAS, b"")),
        kind=_string(info.get(_KIND, b"")),
        mac=found.get(_ADDRESS, b"").hex(":"),
        master=_integer(found.get(_MASTER)),
        peer=_integer(found.get(_PEER_INDEX)),
        mtu=_integer(found.get(_MTU)),
        is_up=found.get(_OPERSTATE, b"\0")[0] == _OPER_UP,
    )


def link_named(name: str) -> Request:
    """Ask for one link by its name."""
    return Request(_GETLINK, 0, _link() + text(_NAME, name) + number(_WANTED, _SKIP_STATISTICS))


def link_numbered(index: int) -> Request:
    """Ask for one link by its index."""
    return Request(_GETLINK, 0, _link(index) + number(_WANTED, _SKIP_STATISTICS))


def all_links(master: int = 0) -> Request:
    """Ask for all links of the namespace, or those that are ports of `master`."""
    only = number(_MASTER, master) if master else b""
    return Request(_GETLINK, 0, _link() + only + number(_WANTED, _SKIP_STATISTICS))


def new_bridge(name: str, mac: str, mtu: int) -> Request:
    """Make a bridge, down."""
    body = _link() + text(_NAME, name) + attribute(_ADDRESS, _mac(mac)) + number(_MTU, mtu)
    return Request(_NEWLINK, CREATE | EXCLUSIVE, body + nest(_KIND_OF, text(_KIND, "bridge"), _BRIDGE_DETAILS))


def bridge_seen(index: int) -> Request:
    """Have the firewall see what a bridge forwards from port to port."""
    details = nest(_KIND_DETAILS, attribute(36, b"\1"), attribute(37, b"\1"))
    return Request(_NEWLINK, 0, _link(index) + nest(_KIND_OF, text(_KIND, "bridge"), details), _GONE)


def new_veth(name: str, inner: str, mac: str, mtu: int, namespace: int) -> Request:
    """Make a pair: `name` here, `inner` with its MAC in the namespace of that file descriptor; both down."""
    peer = attribute(
        _VETH_PEER,
        _link()
        + text(_NAME, inner)
        + attribute(_ADDRESS, _mac(mac))
        + number(_MTU, mtu)
        + number(_NAMESPACE_FD, namespace),
    )
    kind = nest(_KIND_OF, text(_KIND, "veth"), nest(_KIND_DETAILS, peer))
    return Request(_NEWLINK, CREATE | EXCLUSIVE, _link() + text(_NAME, name) + number(_MTU, mtu) + kind)


def port_up(name: str, bridge: int) -> Request:
    """Make a link a port of the bridge and bring it up, without an IPv6 address of its own."""
    body = _link(flags=_UP) + text(_NAME, name) + number(_MASTER, bridge) + _NO_AUTOMATIC_ADDRESS
    return Request(_SETLINK, 0, body)


def link_up(index: int) -> Request:
    """Bring a link up."""
    return Request(_SETLINK, 0, _link(index, _UP))


def aliased(index: int, alias: str) -> Request:
    """Write who a link belongs to onto it ("" takes the mark off)."""
    return Request(_SETLINK, 0, _link(index) + attribute(_ALIAS, alias.encode()), _GONE)


def port_silenced(index: int) -> Request:
    """Have a bridge forward nothing from or to this port any more."""
    disabled = nest(_PORT, attribute(1, b"\0"))
    body = _LINK.pack(socket.AF_BRIDGE, 0, index, 0, 0) + disabled
    return Request(_SETLINK, 0, body, _GONE)


def mac_set(index: int, mac: str) -> Request:
    """Set the hardware address. Setting the one it has makes the kernel announce all addresses."""
    return Request(_SETLINK, 0, _link(index) + attribute(_ADDRESS, _mac(mac)))


def link_removed(index: int) -> Request:
    """Delete a link; its peer goes with it."""
    return Request(_DELLINK, 0, _link(index), _GONE)


def grouped(index: int, group: int) -> Request:
    """Put a link into a group of links."""
    return Request(_SETLINK, 0, _link(index) + number(_GROUP, group), _GONE)


def group_removed(group: int) -> Request:
    """Delete all links of a group: the kernel waits once for all of them."""
    return Request(_DELLINK, 0, _link() + number(_GROUP, group), _GONE)


def new_address(index: int, address: str, prefix: int) -> Request:
    """Give a link an address that is valid at once (no duplicate address detection)."""
    parsed = ipaddress.ip_address(address)
    body = struct.pack("=BBBBI", _family(address), prefix, _NO_DAD, 0, index)
    body += attribute(1, parsed.packed) + attribute(2, parsed.packed) + number(8, _NO_DAD)
    return Request(_NEWADDR, CREATE | EXCLUSIVE, body, _THERE)


def all_addresses(index: int = 0) -> Request:
    """Ask for the addresses of the namespace, or those of one link."""
    return Request(_GETADDR, 0, struct.pack("=BBBBI", 0, 0, 0, 0, index))


def read_address(body: bytes) -> tuple[int, str]:
    """Link index and `address/prefix` from the body of a kernel's message."""
    _, prefix, _, _, index = struct.unpack_from("=BBBBI", body)
    found = attributes(body[8:])
    packed = found.get(2) or found.get(1, b"\0\0\0\0")
    return index, f"{ipaddress.ip_address(packed)}/{prefix}"


def all_groups(index: int) -> Request:
    """Ask for the IPv6 multicast groups a link listens to."""
    return Request(_GETMULTICAST, 0, struct.pack("=BBBBI", socket.AF_INET6, 0, 0, 0, index))


def read_group(body: bytes) -> tuple[int, str]:
    """Link index and group from the body of a kernel's message."""
    index = struct.unpack_from("=BBBBI", body)[4]
    return index, str(ipaddress.IPv6Address(attributes(body[8:])[7]))


def solicited_group(address: str) -> str:
    """The group in which a neighbour looks for who has this IPv6 address."""
    last = ipaddress.IPv6Address(address).packed[-3:]
    return str(ipaddress.IPv6Address(b"\xff\x02" + b"\0" * 9 + b"\x01\xff" + last))


def default_route(index: int, gateway: str, onlink: bool, metric: int = 0) -> Request:
    """Send everything else by this gateway. `onlink`: the gateway is outside the link's own subnet. Of several such
    routes the one with the lowest metric is used (0: the kernel's own choice, which is before all others)."""
    family = _family(gateway)
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 254, 4, 0, 1, 4 if onlink else 0)
    body += attribute(5, ipaddress.ip_address(gateway).packed) + number(4, index)
    body += number(6, metric) if metric else b""
    return Request(_NEWROUTE, CREATE | REPLACE, body)


def neighbour(index: int, address: str, mac: str) -> Request:
    """Tell who has an address, so that an older owner's MAC is not tried first."""
    body = struct.pack("=BxxxiHBB", _family(address), index, 0x04, 0, 0)
    body += attribute(1, ipaddress.ip_address(address).packed) + attribute(2, _mac(mac))
    return Request(_NEWNEIGH, CREATE | REPLACE, body)


def _link(index: int = 0, flags: int = 0) -> bytes:
    return _LINK.pack(0, 0, index, flags, flags)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _mac(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _integer(value: bytes | None) -> int:
    return int.from_bytes(value[:4], "little") if value else 0
