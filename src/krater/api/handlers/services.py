"""Services: the agents of the nodes, for administrators."""

from krater.api.commands import services as commands
from krater.api.commands.services import BINARY
from krater.api.handlers.answers import DONE, found
from krater.api.rendering import iso
from krater.api.requests import Answer, Request
from krater.api.schemas.answers import ServiceChange, ServiceChanged, ServiceEntry, ServiceList
from krater.api.schemas.decoding import decode_arguments, decode_query
from krater.api.schemas.fields import truth
from krater.api.schemas.services import DisableService, ForceDownService, ServiceName


async def list_all(request: Request) -> Answer:
    """All of them."""
    request.require("zun-service:get_all")
    nodes = await request.backing.store.read(lambda tx: tx.nodes.list())
    now, down_after = request.backing.now(), request.backing.settings.controller.node_down_after
    entries = [
        ServiceEntry(
            id=node.id,
            host=node.host,
            binary=BINARY,
            state="up" if node.is_alive(now, down_after) else "down",
            disabled=node.disabled,
            disabled_reason=node.disabled_reason,
            last_seen_up=iso(node.last_seen),
            forced_down=node.forced_down,
            report_count=node.report_count,
            availability_zone=node.availability_zone or None,
            created_at=iso(node.created_at),
            updated_at=iso(node.last_seen),
        )
        for node in nodes
    ]
    return found(ServiceList(entries))


async def enable(request: Request) -> Answer:
    """Let it take new workloads."""
    request.require("zun-service:enable")
    return await _set_disabled(request, await decode_arguments(request, ServiceName), False, None)


async def disable(request: Request) -> Answer:
    """Let it take no new workloads; what it has goes on."""
    request.require("zun-service:disable")
    ask = await decode_arguments(request, DisableService)
    return await _set_disabled(request, ask, True, ask.disabled_reason)


async def _set_disabled(request: Request, ask: ServiceName, disabled: bool, reason: str | None) -> Answer:
    node = await request.backing.store.write(
        lambda tx: commands.set_disabled(tx, ask.host, ask.binary, disabled, reason)
    )
    request.backing.nodes.forget()
    return found(
        ServiceChanged(ServiceChange(node.host, BINARY, disabled=disabled, disabled_reason=node.disabled_reason))
    )


async def force_down(request: Request) -> Answer:
    """Say that it is down, whatever it reports; or take that back."""
    request.require("zun-service:force_down")
    ask = await decode_arguments(request, ForceDownService)
    node = await request.backing.store.write(
        lambda tx: commands.set_forced_down(tx, ask.host, ask.binary, truth(ask.forced_down))
    )
    request.backing.nodes.forget()
    return found(ServiceChanged(ServiceChange(node.host, BINARY, forced_down=node.forced_down)))


async def delete(request: Request) -> Answer:
    """Forget a node that is gone for good."""
    request.require("zun-service:delete")
    ask = decode_query(request, ServiceName)
    await request.backing.store.write(lambda tx: commands.delete(tx, ask.host, ask.binary))
    request.backing.nodes.forget()
    return DONE
