"""Hosts: the nodes and what they have, for administrators."""

from collections.abc import Callable
from typing import Any

from krater.api.handlers.answers import found
from krater.api.links import Base, base_of
from krater.api.lists import cut, next_link, page_of
from krater.api.requests import Answer, Request
from krater.api.schemas.answers import Host, HostList
from krater.errors import NotFound
from krater.model.node import Capacity

_KEYS: dict[str, Callable[[Capacity], Any]] = {
    "hostname": lambda c: c.node.host,
    "id": lambda c: c.node.created_at,
    "uuid": lambda c: c.node.id,
    "created_at": lambda c: c.node.created_at,
    "mem_total": lambda c: c.node.inventory.memory,
    "mem_used": lambda c: c.used.memory,
    "cpus": lambda c: c.node.inventory.cpus,
    "cpu_used": lambda c: c.used.cpu,
    "disk_total": lambda c: c.node.inventory.disk,
    "disk_used": lambda c: c.node.inventory.disk_used,
    "total_containers": lambda c: c.containers,
}


async def list_all(request: Request) -> Answer:
    """All nodes."""
    request.require("host:get_all")
    page, base = page_of(request, default_key="hostname"), base_of(request)
    capacities = await request.backing.store.read(lambda tx: tx.allocations.capacities())
    shown = cut(capacities, page, lambda c: c.node.id, _KEYS)
    following = next_link(request, "hosts", page, shown[-1].node.id if shown else None, len(shown))
    return found(HostList([_host(capacity, base) for capacity in shown], following))


async def show(request: Request) -> Answer:
    """One node, by its id or name."""
    request.require("host:get")
    ident = request.params["host"]
    capacities = await request.backing.store.read(lambda tx: tx.allocations.capacities())
    for capacity in capacities:
        if ident in (capacity.node.id, capacity.node.host):
            return found(_host(capacity, base_of(request)))
    raise NotFound(f"Compute node {ident[:255]} could not be found.", code="compute-node-not-found")


def _host(capacity: Capacity, base: Base) -> Host:
    node, inventory = capacity.node, capacity.node.inventory
    return Host(
        uuid=node.id,
        links=base.of("hosts", node.id),
        hostname=node.host,
        mem_total=inventory.memory,
        mem_used=capacity.used.memory,
        total_containers=capacity.containers,
        cpus=inventory.cpus,
        cpu_used=round(capacity.used.cpu, 6),
        architecture=inventory.architecture,
        os_type=inventory.os_type,
        os=inventory.os,
        kernel_version=inventory.kernel_version,
        labels=inventory.labels,
        disk_total=inventory.disk,
        disk_used=inventory.disk_used,
        disk_quota_supported=False,
        runtimes=list(inventory.runtimes),
        enable_cpu_pinning=bool(inventory.dedicated),
        image_store=inventory.image_store,
    )
