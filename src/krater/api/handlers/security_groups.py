"""Security groups of the embedded profile: an extension of the Container API. What changes holds at once."""

from uuid import uuid4

from krater.api.handlers.answers import NO_CONTENT, found
from krater.api.requests import Answer, Request
from krater.api.schemas.decoding import decode_json_body
from krater.api.schemas.security_groups import CreateGroup, CreateRule, GroupEntry, GroupList, RuleEntry
from krater.bus.interfaces import CONTROLLER
from krater.bus.messages import GroupsChanged
from krater.cloud.interfaces import SecurityGroups
from krater.errors import Invalid, Unsupported
from krater.model.network import read_range
from krater.model.security import ICMP_V6, PROTOCOLS, WITH_PORTS, Direction, SecurityGroup, SecurityRule

_NUMBERS = {str(number): name for name, number in PROTOCOLS.items()}
_ICMP_NAMES = frozenset({"icmp", "icmpv6", "ipv6-icmp"})


async def list_all(request: Request) -> Answer:
    """The project's groups."""
    request.require("security_group:get_all")
    return found(GroupList([_entry(group) for group in await groups_of(request).list(request.caller)]))


async def show(request: Request) -> Answer:
    """One, by id or name."""
    request.require("security_group:get_one")
    return found(_entry(await groups_of(request).get(request.caller, request.params["group"])))


async def create(request: Request) -> Answer:
    """A new one."""
    request.require("security_group:create")
    ask = await decode_json_body(request, CreateGroup)
    return found(_entry(await groups_of(request).create(request.caller, ask.name, ask.description)))


async def delete(request: Request) -> Answer:
    """Remove one that nothing is in."""
    request.require("security_group:delete")
    await groups_of(request).delete(request.caller, request.params["group"])
    return NO_CONTENT


async def add_rule(request: Request) -> Answer:
    """Allow something."""
    request.require("security_group:add_rule")
    rule = read_rule(await decode_json_body(request, CreateRule))
    group = await groups_of(request).add_rule(request.caller, request.params["group"], rule)
    _tell(request, group.id)
    return found(next(_rule_entry(one) for one in group.rules if one.id == rule.id))


async def delete_rule(request: Request) -> Answer:
    """Allow it no longer. Connections that were made under it stay."""
    request.require("security_group:delete_rule")
    _tell(request, await groups_of(request).delete_rule(request.caller, request.params["rule"]))
    return NO_CONTENT


def groups_of(request: Request) -> SecurityGroups:
    """Where groups are kept. Unsupported when another service of the cloud keeps them."""
    own = request.backing.security_groups
    if own is None:
        raise Unsupported("The security groups of this cloud are Neutron's: use its API.")
    return own


def _tell(request: Request, group: str) -> None:
    request.backing.bus.hint(CONTROLLER, GroupsChanged((group,)))


# Reading a rule -------------------------------------------------------------------------------------------------------


def read_rule(ask: CreateRule) -> SecurityRule:
    """A rule as it is stored. Invalid when its parts do not go together."""
    if ask.remote_ip_prefix is not None and ask.remote_group is not None:
        raise _bad("remote_group", "cannot be given together with remote_ip_prefix")
    cidr, version = _remote(ask)
    protocol = _protocol(ask.protocol, version)
    lowest, highest = _range(ask, protocol)
    return SecurityRule(
        str(uuid4()), Direction(ask.direction), version, protocol, lowest, highest, cidr, ask.remote_group
    )


def _remote(ask: CreateRule) -> tuple[str | None, int]:
    """The range of the other side, and the version of IP: the range's own, unless said otherwise."""
    version = None if ask.ethertype is None else int(ask.ethertype[-1])
    if ask.remote_ip_prefix is None:
        is_v6 = isinstance(ask.protocol, str) and ask.protocol.lower() in ("icmpv6", "ipv6-icmp")
        return None, version or (6 if is_v6 else 4)
    try:
        network = read_range(ask.remote_ip_prefix)
    except ValueError:
        raise _bad("remote_ip_prefix", "expected an address or a range such as 10.0.0.0/8") from None
    if version not in (None, network.version):
        raise _bad("remote_ip_prefix", f"is not of IPv{version}, as ethertype says")
    return str(network), network.version


def _protocol(asked: str | int | None, version: int) -> str | None:
    word = "any" if asked is None else str(asked).strip().lower()
    if word in ("any", "none", ""):
        return None
    if word in _ICMP_NAMES or word == (str(ICMP_V6) if version == 6 else "1"):
        if word in ("icmpv6", "ipv6-icmp") and version == 4:
            raise _bad("protocol", f"{word} goes with IPv6 only")
        return "icmp"
    word = _NUMBERS.get(word, word) if word != "1" else word
    if word in PROTOCOLS or (word.isascii() and word.isdigit() and int(word) <= 255):
        return word if word in PROTOCOLS else str(int(word))
    names = ", ".join(sorted(PROTOCOLS))
    raise _bad("protocol", f"expected one of {names}, icmpv6, a number from 0 to 255, or any")


def _range(ask: CreateRule, protocol: str | None) -> tuple[int | None, int | None]:
    lowest, highest = (None if one is None else int(one) for one in (ask.port_range_min, ask.port_range_max))
    if lowest is None and highest is None:
        return None, None
    if protocol == "icmp":
        if lowest is None:
            raise _bad("port_range_max", "a code of ICMP needs its type, as port_range_min")
        for field, value in (("port_range_min", lowest), ("port_range_max", highest)):
            if value is not None and value > 255:
                raise _bad(field, "types and codes of ICMP are from 0 to 255")
        return lowest, highest
    if protocol not in WITH_PORTS:
        raise _bad("port_range_min", f"ports go with {', '.join(sorted(WITH_PORTS))} only")
    if lowest is None:
        raise _bad("port_range_max", "needs port_range_min")
    last = lowest if highest is None else highest
    if not 1 <= lowest <= last <= 65535:
        raise _bad("port_range_min", "expected ports from 1 to 65535, the lower one first")
    return lowest, last


def _bad(field: str, why: str) -> Invalid:
    return Invalid(f"{field}: {why}", field=field)


def _entry(group: SecurityGroup) -> GroupEntry:
    rules = [_rule_entry(rule) for rule in group.rules]
    return GroupEntry(group.id, group.name, group.description, group.project_id, group.device, rules)


def _rule_entry(rule: SecurityRule) -> RuleEntry:
    return RuleEntry(
        rule.id,
        rule.direction.value,
        f"IPv{rule.version}",
        rule.protocol,
        rule.lowest,
        rule.highest,
        rule.remote_cidr,
        rule.remote_group,
    )
