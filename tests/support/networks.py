"""Cards to plug, and what an instance has left in the kernel."""

import ctypes
import secrets
from pathlib import Path

from krater.agent.vif import links
from krater.agent.vif.firewall import table_name
from krater.agent.vif.marks import Marks
from krater.agent.vif.netlink import Netlink
from krater.model.network import Address, Nic


def instance_name() -> str:
    """A name no other test has."""
    return f"t{secrets.token_hex(4)}"


def card(
    number: int,
    network: str = "red",
    third: int = 1,
    *,
    name: str = "eth0",
    internal: bool = False,
    ipv6: bool = False,
    default_route: bool = True,
    mtu: int = 1500,
    groups: tuple[str, ...] | None = None,
) -> Nic:
    """Card `number` (from 2) of the network 10.211.<third>.0/24, and fd4b:<third>::/64 when asked."""
    addresses = [Address(f"10.211.{third}.{number}", 24, f"10.211.{third}.1")]
    gateways = [f"10.211.{third}.1/24"]
    if ipv6:
        addresses.append(Address(f"fd4b:{third:x}::{number:x}", 64, f"fd4b:{third:x}::1"))
        gateways.append(f"fd4b:{third:x}::1/64")
    return Nic(
        port=f"port-{network}-{number}",
        network=network,
        mac=f"02:d3:{third:02x}:00:00:{number:02x}",
        name=name,
        addresses=tuple(addresses),
        gateways=tuple(gateways),
        internal=internal,
        default_route=default_route,
        mtu=mtu,
        groups=groups,
    )


def links_left(instance: str) -> list[str]:
    """Links of an instance in this namespace."""
    marks = Marks(instance)
    with Netlink() as kernel:
        found = [links.read_link(body).name for body in kernel.dump(links.all_links())]
    return [name for name in found if name.startswith(marks.prefix)]


def bridges_left(instance: str) -> list[str]:
    """Bridges of an instance."""
    return [name for name in links_left(instance) if Marks(instance).is_bridge(name)]


def has_table(instance: str) -> bool:
    """Whether the instance's table is there."""
    return f"table inet {table_name(Marks(instance))}" in nft("list tables").splitlines()


def has_guards(instance: str) -> bool:
    """Whether anything of the instance's security groups is there."""
    return f"{table_name(Marks(instance))}_groups" in nft("list tables")


def nft(command: str) -> str:
    """What libnftables prints for a command."""
    library = ctypes.CDLL("libnftables.so.1")
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    for name in ("nft_ctx_buffer_output", "nft_ctx_get_output_buffer", "nft_ctx_free"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    context = library.nft_ctx_new(0)
    try:
        library.nft_ctx_buffer_output(context)
        if library.nft_run_cmd_from_buffer(context, command.encode()):
            raise RuntimeError(f"nft refused: {command}")
        said: bytes = library.nft_ctx_get_output_buffer(context)
        return said.decode()
    finally:
        library.nft_ctx_free(context)


def mounts_left(directory: Path) -> list[str]:
    """Mounts at or below a directory."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point == str(directory) or point.startswith(f"{directory}/")]
