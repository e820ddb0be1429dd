"""Security groups that users make in Krater itself: an extension of the Container API, in Neutron's words."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from krater.api.schemas.fields import ShortText

_END = r"(?![\s\S])"
GroupName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=rf"^[ -~]+{_END}",
        description="1 to 255 printable ASCII characters",
    ),
]
Description = Annotated[str, Meta(max_length=255, description="a text of at most 255 characters")]
Number = Annotated[
    Annotated[int, Meta(ge=0, le=65535)] | Annotated[str, Meta(pattern=rf"^[0-9]{{1,5}}{_END}")],
    Meta(description="a whole number from 0 to 65535"),
]
Protocol = Annotated[
    Annotated[str, Meta(max_length=20)] | Annotated[int, Meta(ge=0, le=255)],
    Meta(description="tcp, udp, icmp, another protocol's name, its number from 0 to 255, or any"),
]
DirectionField = Annotated[Literal["ingress", "egress"], Meta(description="ingress or egress")]
Ethertype = Annotated[Literal["IPv4", "IPv6", "ipv4", "ipv6"], Meta(description="IPv4 or IPv6")]


Prefix = Annotated[str, Meta(max_length=49, description="an address or a range such as 10.0.0.0/8")]


class CreateGroup(Struct, forbid_unknown_fields=True):
    """A group that lets everything out and nothing in, until rules are added."""

    name: GroupName
    description: Description = ""


class CreateRule(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is allowed. What is not said is any; of ICMP, the range is type and code."""

    direction: DirectionField = "ingress"
    ethertype: Ethertype | None = None
    protocol: Protocol | None = None
    port_range_min: Number | None = None
    port_range_max: Number | None = None
    remote_ip_prefix: Prefix | None = None
    remote_group: ShortText | None = None


class RuleEntry(Struct):
    """A rule."""

    uuid: str
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_ip_prefix: str | None
    remote_group: str | None


class GroupEntry(Struct):
    """A group. `container` is the one whose exposed ports it opens, and with which it goes, or ""."""

    uuid: str
    name: str
    description: str
    project_id: str
    container: str
    rules: list[RuleEntry]


class GroupList(Struct):
    """All groups of a project."""

    security_groups: list[GroupEntry]
