"""One nftables table for an instance: NAT, isolation, what a container may ask of its host.

Rules match the names of bridges by their first letters (see `marks.py`), so a card costs no call here. A
network costs one, because "from a bridge to itself" (which the kernel shows us when br_netfilter is on) can
only be told by a set of pairs: the whole table is replaced in one transaction, 1 ms for 100 networks, so that
what is there is always what this file says. It comes with the first network and goes with the last.

A drop by another table (Docker's `FORWARD` policy, a host firewall) cannot be overridden from here: a packet
passes only when every table lets it. Such hosts must accept forwarding from and to `kr*` themselves.
"""

import ctypes
import re
from collections.abc import Iterable

from krater.agent.vif.marks import FAMILY, Marks
from krater.errors import Permanent, Unavailable

_LIBRARY = "libnftables.so.1"

_TABLE = """
add table inet {table}
delete table inet {table}
table inet {table} {{
    set networks {{ type ifname . ifname; {elements} }}
    chain genuine {{
        type filter hook prerouting priority raw; policy accept;
        iifname != "{ours}*" accept
        ip6 saddr {{ ::, fe80::/10 }} accept
        fib saddr . iif oif missing drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname . oifname @networks accept
        iifname "{ours}*" jump leaving
        oifname "{ours}*" jump entering
    }}
    chain leaving {{
        oifname "{family}*" drop
        iifname "{internal}*" drop
        ip daddr 169.254.0.0/16 drop
        tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
    }}
    chain entering {{
        iifname "{family}*" drop
        oifname "{internal}*" drop
        ct state established,related accept
        {from_elsewhere}
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{ours}*" jump to_host
    }}
    chain to_host {{
        ct state established,related accept
        {to_host}
    }}
    {nat}
}}
"""
_NO_HOST = """fib daddr . iif type != { local, broadcast, multicast } reject with icmpx type admin-prohibited
        meta l4proto { icmp, ipv6-icmp } accept
        meta l4proto { tcp, udp } th dport 53 accept
        reject with icmpx type admin-prohibited"""
_NAT = """chain outward {{
        type nat hook postrouting priority srcnat; policy accept;
        iifname "{ours}*" oifname != "{ours}*" masquerade
    }}"""


def ruleset(marks: Marks, bridges: Iterable[str], nat: bool, host_access: bool) -> str:
    """The commands that replace the whole table in one transaction."""
    pairs = ", ".join(_pair(bridge) for bridge in sorted(bridges))
    return _TABLE.format(
        table=table_name(marks),
        ours=marks.prefix,
        internal=marks.internal_bridges,
        family=FAMILY,
        elements=f"elements = {{ {pairs} }}" if pairs else "",
        from_elsewhere="drop" if nat else "accept",
        to_host="accept" if host_access else _NO_HOST,
        nat=_NAT.format(ours=marks.prefix) if nat else "",
    )


def table_name(marks: Marks) -> str:
    """Name of an instance's table: readable, and unique by the letters that its links share."""
    return f"krater_{re.sub('[^A-Za-z0-9]', '_', marks.instance)[:40]}_{marks.prefix[len(FAMILY) :]}"


def _pair(bridge: str) -> str:
    return f'"{bridge}" . "{bridge}"'


class Firewall:
    """The table in the kernel, by libnftables in this process. Blocking; one thread at a time."""

    def __init__(self, marks: Marks, nat: bool, host_access: bool) -> None:
        self._marks, self._nat, self._host_access = marks, nat, host_access
        self._table = table_name(marks)
        self._library: ctypes.CDLL | None = None
        self._context: int | None = None

    def open(self) -> None:
        """Load the library."""
        if self._context is not None:
            return
        try:
            library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise Unavailable(f"Networks need {_LIBRARY}, which is not installed ({error}).") from error
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
        library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        context = library.nft_ctx_new(0)
        if not context:
            raise Unavailable("libnftables could not be set up.")
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        self._library, self._context = library, context

    def close(self) -> None:
        """Let go of the library; the table stays."""
        if self._library is not None and self._context is not None:
            self._library.nft_ctx_free(self._context)
        self._library = self._context = None

    def install(self, bridges: Iterable[str]) -> None:
        """Have exactly the table these networks need: none when there are none."""
        wanted = list(bridges)
        if wanted:
            self.run(ruleset(self._marks, wanted, self._nat, self._host_access))
        else:
            self.run(f"add table inet {self._table}\ndelete table inet {self._table}\n")

    def run(self, commands: str) -> None:
        """Have the kernel do these commands in one transaction: all of them or none."""
        if self._library is None or self._context is None:
            raise Unavailable("The firewall is not open.")
        if self._library.nft_run_cmd_from_buffer(self._context, commands.encode()) != 0:
            said: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
            words = " ".join(said.decode(errors="replace").split())
            raise Permanent(f"The kernel refused firewall rules: {words}")
