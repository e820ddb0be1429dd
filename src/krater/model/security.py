"""Security groups as plain data: who may talk to whom, by port. The semantics are Neutron's.

A card belongs to groups. A packet passes when a rule of one of them allows it; a card in no group hears and says
nothing. Rules are stateful: what answers an allowed packet is allowed. Nothing ever forbids, so order means nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from uuid import UUID, uuid4, uuid5

DEFAULT_GROUP = "default"
_DEFAULT_IDS = UUID("0d5dc7e4-6c2c-4c0e-9d57-4a3b7c1ec6f1")
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "dccp": 33, "sctp": 132, "udplite": 136}
WITH_PORTS = frozenset({"tcp", "udp", "dccp", "sctp", "udplite"})
ICMP_V6 = 58


class Direction(StrEnum):
    """As the container sees it."""

    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True)
class SecurityRule:
    """What is allowed. None is "any"; at most one of `remote_cidr` and `remote_group` says who the other side is.

    `version` is 4 or 6. `protocol` is a word of `PROTOCOLS` or the digits of another one's number. `lowest` and
    `highest` are ports, or the type and the code of ICMP.
    """

    id: str
    direction: Direction
    version: int
    protocol: str | None = None
    lowest: int | None = None
    highest: int | None = None
    remote_cidr: str | None = None
    remote_group: str | None = None

    @property
    def number(self) -> int | None:
        """The protocol's number in packets. ICMP has one for each version of IP."""
        if self.protocol is None:
            return None
        if self.protocol == "icmp" and self.version == 6:
            return ICMP_V6
        return PROTOCOLS.get(self.protocol) or int(self.protocol)

    @property
    def allowed(self) -> tuple[object, ...]:
        """What it allows, without its id: two rules with the same are one."""
        remote = (self.remote_cidr, self.remote_group)
        return (self.direction, self.version, self.protocol, self.lowest, self.highest, *remote)


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A project's group. `device` is the workload it was made for and goes with, or ""."""

    id: str
    project_id: str
    name: str
    description: str = ""
    device: str = ""
    rules: tuple[SecurityRule, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupRules:
    """What a node must know of a group: its rules, and the addresses of members that other nodes have.

    Members on the node itself are known to it by their cards.
    """

    id: str
    rules: tuple[SecurityRule, ...] = ()
    members: tuple[str, ...] = ()


def default_group_id(project: str) -> str:
    """The id of a project's default group, known before it is made: so it is never made twice."""
    return str(uuid5(_DEFAULT_IDS, project))


def default_group(project: str) -> SecurityGroup:
    """Everything goes out, and what comes in must come from a member."""
    id = default_group_id(project)
    rules = [SecurityRule(str(uuid4()), Direction.EGRESS, version) for version in (4, 6)]
    rules += [SecurityRule(str(uuid4()), Direction.INGRESS, version, remote_group=id) for version in (4, 6)]
    return SecurityGroup(id, project, DEFAULT_GROUP, "Made on first use.", rules=tuple(rules))


def egress_to_anywhere() -> tuple[SecurityRule, ...]:
    """What a new group allows until its owner says otherwise."""
    return tuple(SecurityRule(str(uuid4()), Direction.EGRESS, version) for version in (4, 6))


def exposing_group(id: str, project: str, workload: str, ports: Iterable[tuple[int, str]]) -> SecurityGroup:
    """The group of a container's exposed ports, which goes with it."""
    opened = tuple(
        SecurityRule(str(uuid4()), Direction.INGRESS, version, protocol, port, port)
        for port, protocol in ports
        for version in (4, 6)
    )
    return SecurityGroup(id, project, f"zun-{workload}", "", workload, (*egress_to_anywhere(), *opened))


def permits(
    rules: Iterable[SecurityRule],
    direction: Direction,
    other: str,
    protocol: int,
    port: int,
    members: Mapping[str, Iterable[str]],
) -> bool:
    """Whether a first packet passes: `other` is the far address, `members` the addresses of groups.

    `port` is the one it goes to, or the type of an ICMP message (whose code is 0).
    """
    version = 6 if ":" in other else 4
    return any(
        rule.direction is direction
        and rule.version == version
        and rule.number in (None, protocol)
        and _covers(rule, port)
        and (rule.remote_cidr is None or ip_address(other) in ip_network(rule.remote_cidr))
        and (rule.remote_group is None or other in members.get(rule.remote_group, ()))
        for rule in rules
    )


def _covers(rule: SecurityRule, port: int) -> bool:
    if rule.lowest is None:
        return True
    if rule.protocol in WITH_PORTS:
        return rule.lowest <= port <= (rule.lowest if rule.highest is None else rule.highest)
    return rule.lowest == port and rule.highest in (None, 0)
