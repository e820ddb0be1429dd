"""What security groups become in the kernel: two nftables tables, and the way from one state of them to the next. Pure.

The table of the bridge family holds every card to its own MAC and addresses before anything else looks at a packet
(the bridge knows the card, and needs no connection tracking for that). So the `inet` table can go by addresses: it sees
what a bridge forwards as well (the bridge hands it over, see `links.new_bridge`), tracks connections, and asks for the
first packet of each the chains of both ends.

All cards with the same groups share a chain for each direction. A card is then a few elements of sets: that is all a
start costs, in one transaction, and no packet walks past the rules of others.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from krater.agent.vif.marks import Marks
from krater.model.network import Nic
from krater.model.security import WITH_PORTS, Direction, GroupRules, SecurityRule

BRIDGE, INET = "bridge", "inet"
_NEIGHBOURS = "{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }"
_SETS = {
    (BRIDGE, "open"): "set open { type ifname; }",
    (BRIDGE, "own4"): "set own4 { type ifname . ether_addr . ipv4_addr; }",
    (BRIDGE, "own6"): "set own6 { type ifname . ether_addr . ipv6_addr; }",
    (BRIDGE, "told6"): "set told6 { typeof iifname . @nh,384,128; }",
    (INET, "out4"): "map out4 { type ifname . ipv4_addr : verdict; }",
    (INET, "out6"): "map out6 { type ifname . ipv6_addr : verdict; }",
    (INET, "in4"): "map in4 { type ifname . ipv4_addr : verdict; }",
    (INET, "in6"): "map in6 { type ifname . ipv6_addr : verdict; }",
}
_GENUINE = """
    chain from4 {{
        iifname . ether saddr . ip saddr != @own4 drop
        meta pkttype {{ broadcast, multicast }} drop
        ip daddr {{ 224.0.0.0/4, 255.255.255.255 }} drop
        udp sport 67 udp dport 68 drop
    }}
    chain from6 {{
        iifname . ether saddr . ip6 saddr != @own6 drop
        icmpv6 type {{ nd-router-advert, nd-redirect }} drop
        icmpv6 type nd-neighbor-advert iifname . @nh,384,128 != @told6 drop
        ip6 daddr ff00::/8 icmpv6 type != {neighbours} drop
        ip6 daddr ff00::/8 meta l4proto != ipv6-icmp drop
        udp sport 547 udp dport 546 drop
    }}
    chain from_arp {{
        iifname . ether saddr . arp saddr ip != @own4 drop
        iifname . arp saddr ether . arp saddr ip != @own4 drop
    }}
    chain genuine {{
        type filter hook prerouting priority -300; policy accept;
        iifname != "{cards}*" accept
        iifname @open accept
        meta protocol vmap {{ ip : goto from4, ip6 : goto from6, arp : goto from_arp }}
        drop
    }}
"""
_GROUPS = """
    chain leaving {{
        iifname . ip saddr vmap @out4
        iifname . ip6 saddr vmap @out6
    }}
    chain arriving {{
        oifname . ip daddr vmap @in4
        oifname . ip6 daddr vmap @in6
        iifname "{ours}*" drop
    }}
    chain forward {{
        type filter hook forward priority -5; policy accept;
        iifname != "{ours}*" oifname != "{ours}*" accept
        icmpv6 type {neighbours} accept
        ct state {{ established, related }} accept
        iifname "{ours}*" jump leaving
        oifname "{ours}*" jump arriving
    }}
    chain to_host {{
        type filter hook input priority -5; policy accept;
        iifname != "{ours}*" accept
        icmpv6 type {neighbours} accept
        ct state {{ established, related }} accept
        meta l4proto {{ icmp, ipv6-icmp }} accept
        meta l4proto {{ tcp, udp }} th dport 53 accept
        jump leaving
    }}
"""

Elements = dict[tuple[str, str], dict[str, str]]
_Keys = dict[tuple[str, str], list[str]]


@dataclass(frozen=True, slots=True)
class Guarded:
    """A card as the rules know it. `groups` None: none hold for it."""

    device: str
    bridge: str
    mac: str
    addresses: tuple[str, ...]
    groups: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Layout:
    """What is in the tables: declarations of sets, their elements (with verdicts, in maps), the rules of chains."""

    sets: dict[tuple[str, str], str] = field(default_factory=dict)
    elements: Elements = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)


def guarded(marks: Marks, bridge: str, nic: Nic) -> Guarded:
    """A card of ours on that bridge. One with IPv6 has the address made of its MAC besides."""
    addresses = [one.address for one in nic.addresses]
    if any(":" in one for one in addresses):
        addresses.append(link_local(nic.mac))
    return Guarded(marks.card(nic.port), bridge, nic.mac, tuple(addresses), nic.groups)


def link_local(mac: str) -> str:
    """The IPv6 address a card gives itself."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    packed = b"\xfe\x80" + b"\0" * 6 + bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return str(ipaddress.IPv6Address(packed))


def layout(cards: Iterable[Guarded], groups: Mapping[str, GroupRules]) -> Layout:
    """What the tables must hold for these cards. Nothing when no card is in a group, or has been told to be in none.

    A group nobody told the rules of allows nothing.
    """
    present = list(cards)
    if all(card.groups is None for card in present):
        return Layout()
    found = Layout(dict(_SETS), {place: {} for place in _SETS})
    used: set[tuple[str, ...]] = set()
    for card in present:
        _add_card(found, card)
        if card.groups is not None:
            used.add(card.groups)
    for profile in used:
        rules = [rule for id in profile for rule in (groups[id].rules if id in groups else ())]
        for direction in Direction:
            found.chains[chain_name(direction, profile)] = tuple(_lines(rules, direction))
    for id in {rule.remote_group for rule in _rules(used, groups) if rule.remote_group is not None}:
        _add_members(found, id, present, groups.get(id))
    return found


def chain_name(direction: Direction, profile: Sequence[str]) -> str:
    """The chain of all cards that have these groups."""
    return ("in_" if direction is Direction.INGRESS else "out_") + _letters("|".join(profile))


def _add_card(found: Layout, card: Guarded) -> None:
    elements = found.elements
    if card.groups is None:
        elements[BRIDGE, "open"][f'"{card.device}"'] = ""
    for address in card.addresses:
        version = 6 if ":" in address else 4
        key = f'"{card.bridge}" . {address}'
        if card.groups is None:
            elements[INET, f"in{version}"][key] = "accept"
            continue
        elements[BRIDGE, f"own{version}"][f'"{card.device}" . {card.mac} . {address}'] = ""
        if version == 6:
            number = int(ipaddress.IPv6Address(address))
            elements[BRIDGE, "told6"][f'"{card.device}" . {number:#034x}'] = ""
        elements[INET, f"in{version}"][key] = f"goto {chain_name(Direction.INGRESS, card.groups)}"
        elements[INET, f"out{version}"][key] = f"jump {chain_name(Direction.EGRESS, card.groups)}"


def _add_members(found: Layout, group: str, cards: Iterable[Guarded], known: GroupRules | None) -> None:
    addresses = [one for card in cards if card.groups and group in card.groups for one in card.addresses]
    addresses += known.members if known is not None else ()
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        name = _members(group, version)
        found.sets[INET, name] = f"set {name} {{ type {kind}; }}"
        found.elements[INET, name] = {one: "" for one in addresses if (":" in one) == (version == 6)}


def _rules(profiles: Iterable[Iterable[str]], groups: Mapping[str, GroupRules]) -> Iterable[SecurityRule]:
    return (rule for ids in profiles for id in ids if id in groups for rule in groups[id].rules)


def _members(group: str, version: int) -> str:
    return f"m{version}_{_letters(group)}"


def _letters(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _lines(rules: Iterable[SecurityRule], direction: Direction) -> Iterable[str]:
    """A chain's rules: what is allowed goes on (out) or has arrived (in), and nothing else does."""
    verdict = "accept" if direction is Direction.INGRESS else "return"
    yield "ct state invalid drop"
    yield from dict.fromkeys(f"{_match(rule)} {verdict}" for rule in rules if rule.direction is direction)
    yield "drop"


def _match(rule: SecurityRule) -> str:
    words = [f"meta nfproto ipv{rule.version}"]
    far = f"ip{'6' if rule.version == 6 else ''} {'saddr' if rule.direction is Direction.INGRESS else 'daddr'}"
    if rule.remote_group is not None:
        words.append(f"{far} @{_members(rule.remote_group, rule.version)}")
    elif rule.remote_cidr is not None and not rule.remote_cidr.endswith("/0"):
        words.append(f"{far} {rule.remote_cidr}")
    if rule.number is not None:
        words.append(f"meta l4proto {rule.number}")
    if rule.lowest is not None:
        words += _part(rule, rule.lowest)
    return " ".join(words)


def _part(rule: SecurityRule, lowest: int) -> Iterable[str]:
    """Ports, or the type and code of ICMP."""
    if rule.protocol in WITH_PORTS:
        highest = lowest if rule.highest is None else rule.highest
        yield f"th dport {lowest}" if highest == lowest else f"th dport {lowest}-{highest}"
        return
    word = "icmpv6" if rule.version == 6 else "icmp"
    yield f"{word} type {lowest}"
    if rule.highest is not None:
        yield f"{word} code {rule.highest}"


# From one layout to the next ------------------------------------------------------------------------------------------


def replacement(marks: Marks, table: str, after: Layout) -> str:
    """The commands that make both tables what they must be, whatever they were; nothing is left of an empty layout."""
    lines = [f"{word} table {family} {table}" for family in (BRIDGE, INET) for word in ("add", "delete")]
    if not after.sets:
        return "\n".join(lines) + "\n"
    for family, fixed in ((BRIDGE, _GENUINE), (INET, _GROUPS)):
        sets = [text for (where, _), text in after.sets.items() if where == family]
        chains = [f"chain {name} {{ }}" for name in after.chains] if family == INET else []
        words = fixed.format(ours=marks.prefix, cards=marks.cards, neighbours=_NEIGHBOURS)
        body = "\n".join(f"    {line}" for line in (*sets, *chains))
        lines.append(f"table {family} {table} {{\n{body}{words}}}")
    return "\n".join(lines) + "\n" + transition(table, Layout(dict(after.sets)), after)


def transition(table: str, before: Layout, after: Layout) -> str:
    """The commands from a layout that is there to the next one, in one transaction; "" when they are the same."""
    lines: list[str] = []
    for place in after.sets.keys() - before.sets.keys():
        family, name = place
        kind, _, rest = after.sets[place].partition(" ")
        lines.append(f"add {kind} {family} {table} {rest}")
    lines += [f"add chain inet {table} {name}" for name in after.chains.keys() - before.chains.keys()]
    added, removed = _changed(before, after)
    for (family, name), keys in removed.items():
        lines.append(f"delete element {family} {table} {name} {{ {', '.join(keys)} }}")
    for name, rules in after.chains.items():
        if before.chains.get(name) != rules:
            lines += [f"flush chain inet {table} {name}"] if name in before.chains else []
            lines += [f"add rule inet {table} {name} {rule}" for rule in rules]
    for (family, name), keys in added.items():
        lines.append(f"add element {family} {table} {name} {{ {', '.join(keys)} }}")
    gone = before.chains.keys() - after.chains.keys()
    lines += [f"flush chain inet {table} {name}" for name in gone]
    lines += [f"delete chain inet {table} {name}" for name in gone]
    for family, name in before.sets.keys() - after.sets.keys():
        lines.append(f"delete set {family} {table} {name}")
    return "".join(line + "\n" for line in lines)


def _changed(before: Layout, after: Layout) -> tuple[_Keys, _Keys]:
    """Elements to add and to delete, by set. One whose verdict changes is both: first deleted."""
    added: _Keys = {}
    removed: _Keys = {}
    nothing: dict[str, str] = {}
    for place in before.elements.keys() | after.elements.keys():
        old, new = before.elements.get(place, nothing), after.elements.get(place, nothing)
        for key, verdict in new.items() - old.items():
            added.setdefault(place, []).append(f"{key} : {verdict}" if verdict else key)
        if place in after.sets:
            gone = [f"{key} : {verdict}" if verdict else key for key, verdict in old.items() - new.items()]
            if gone:
                removed[place] = gone
    return added, removed
