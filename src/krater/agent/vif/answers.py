"""What a network's name server says to a query. Pure: a query and a network's names in, an answer out.

`None` for an answer means that somebody else must be asked. A name of one label, or under the search domain, is never
asked elsewhere; any other name always is, so that nobody answers for the world by naming a container after it.
"""

import ipaddress
from collections.abc import Iterable, Mapping

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

TTL = 5
_FAMILIES = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}
_SAFE_UDP_SIZE = 1232


class Zone:
    """The names of one network: lower-case name -> addresses."""

    def __init__(self, names: Mapping[str, tuple[str, ...]]) -> None:
        self._names = names
        self._reverse: dict[str, list[str]] | None = None

    def addresses(self, name: str) -> tuple[str, ...] | None:
        """The addresses of a name; None when nobody has it."""
        return self._names.get(name.lower())

    def names(self, address: str) -> list[str]:
        """Who has an address, the shortest name first (an id is nobody's best name)."""
        if self._reverse is None:
            self._reverse = {}
            for name, addresses in self._names.items():
                for found in addresses:
                    self._reverse.setdefault(str(ipaddress.ip_address(found)), []).append(name)
        return sorted(self._reverse.get(address, ()), key=lambda name: (len(name), name))


def answer(query: dns.message.Message, zone: Zone, domain: str) -> dns.message.Message | None:
    """The answer from what we know; None when it is not ours to give."""
    fault = _fault(query)
    if fault is not None:
        return refusal(query, fault)
    question = query.question[0]
    if question.rdtype == dns.rdatatype.PTR:
        return _reverse_answer(query, question.name, zone, domain)
    name = _own_name(question.name, domain)
    if name is None:
        return None
    addresses = zone.addresses(name)
    if addresses is None:
        return refusal(query, dns.rcode.NXDOMAIN)
    response = _response(query)
    family = _FAMILIES.get(question.rdtype)
    found = [one for one in dict.fromkeys(addresses) if ipaddress.ip_address(one).version == family]
    _put(response, question.name, question.rdtype, found)
    return response


def refusal(query: dns.message.Message, code: dns.rcode.Rcode) -> dns.message.Message:
    """An answer without records."""
    response = _response(query)
    response.set_rcode(code)
    return response


def wire(query: dns.message.Message, response: dns.message.Message, is_udp: bool) -> bytes:
    """The answer's bytes; without records and marked as cut when a datagram cannot hold them."""
    size = min(max(query.payload, 512), _SAFE_UDP_SIZE) if is_udp else 65535
    try:
        return response.to_wire(max_size=size)
    except dns.exception.TooBig:
        cut = _response(query)
        cut.flags |= dns.flags.TC
        return cut.to_wire(max_size=size)


def _fault(query: dns.message.Message) -> dns.rcode.Rcode | None:
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    return None if query.question[0].rdclass == dns.rdataclass.IN else dns.rcode.REFUSED


def _own_name(name: dns.name.Name, domain: str) -> str | None:
    """The name within the network; None when it is one of the world's."""
    text = name.to_text(omit_final_dot=True).lower()
    if domain and text.endswith(f".{domain}"):
        return text[: -len(domain) - 1]
    return text if len(name.labels) == 2 else None


def _reverse_answer(
    query: dns.message.Message, name: dns.name.Name, zone: Zone, domain: str
) -> dns.message.Message | None:
    try:
        address = str(ipaddress.ip_address(dns.reversename.to_address(name)))
    except (dns.exception.DNSException, ValueError):
        return None
    names = (f"{one}.{domain}." if domain else f"{one}." for one in zone.names(address))
    found = next(filter(_is_name, names), None)
    if found is None:
        return None
    response = _response(query)
    _put(response, name, dns.rdatatype.PTR, (found,))
    return response


def _is_name(text: str) -> bool:
    """Whether it can be a name at all: host names such as `..` are users' and cannot."""
    try:
        dns.name.from_text(text)
    except dns.exception.DNSException:
        return False
    return True


def _response(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True, our_payload=_SAFE_UDP_SIZE)
    response.flags |= dns.flags.AA
    return response


def _put(
    response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType, values: Iterable[str]
) -> None:
    texts = list(values)
    if texts:
        response.answer.append(dns.rrset.from_text_list(name, TTL, dns.rdataclass.IN, kind, texts))
