"""Volumes of the embedded profile: an extension of the Container API."""

from krater.api.handlers.answers import ACCEPTED, found
from krater.api.nodes import NodeTable
from krater.api.policies import FIELD_RULES
from krater.api.rendering import iso
from krater.api.requests import Answer, Request
from krater.api.schemas.decoding import decode_json_body
from krater.api.schemas.volumes import CreateVolume, ResizeVolume, VolumeEntry, VolumeList
from krater.bus.interfaces import node_target
from krater.bus.messages import VolumesChanged
from krater.cloud.interfaces import OwnVolumes
from krater.errors import Unsupported
from krater.model.volume import Volume


async def list_all(request: Request) -> Answer:
    """The project's volumes."""
    request.require("volume:get_all")
    volumes = await _own(request).list(request.caller)
    nodes = await _nodes(request)
    return found(VolumeList([_entry(volume, nodes) for volume in volumes]))


async def show(request: Request) -> Answer:
    """One, by id or name."""
    request.require("volume:get_one")
    return await _answer(request, await _own(request).get(request.caller, request.params["volume"]))


async def create(request: Request) -> Answer:
    """A new one. The node of its first container makes its file system."""
    request.require("volume:create")
    ask = await decode_json_body(request, CreateVolume)
    return await _answer(request, await _own(request).create(request.caller, ask.name, int(ask.size)))


async def resize(request: Request) -> Answer:
    """Make one larger that nothing uses. Its file system grows when it is used next."""
    request.require("volume:update")
    ask = await decode_json_body(request, ResizeVolume)
    return await _answer(request, await _own(request).resize(request.caller, request.params["volume"], int(ask.size)))


async def delete(request: Request) -> Answer:
    """Remove one that nothing uses, and its data."""
    request.require("volume:delete")
    node = await _own(request).delete(request.caller, request.params["volume"])
    if node is not None:
        request.backing.bus.hint(node_target(node), VolumesChanged())
    return ACCEPTED


def _own(request: Request) -> OwnVolumes:
    own = request.backing.own_volumes
    if own is None:
        raise Unsupported("The volumes of this cloud are Cinder's: use its API.")
    return own


async def _nodes(request: Request) -> NodeTable | None:
    """For those who may see hosts."""
    policies, caller = request.backing.policies, request.caller
    if not policies.allows(caller, f"{FIELD_RULES}host", caller.project_id, caller.user_id):
        return None
    return await request.backing.nodes.table()


async def _answer(request: Request, volume: Volume) -> Answer:
    return found(_entry(volume, await _nodes(request)))


def _entry(volume: Volume, nodes: NodeTable | None) -> VolumeEntry:
    return VolumeEntry(
        uuid=volume.id,
        name=volume.name,
        project_id=volume.project_id,
        size=volume.size,
        status=volume.status.value,
        status_reason=volume.failure,
        container=volume.workload,
        auto_remove=volume.auto_remove,
        host=None if nodes is None else nodes.host(volume.node),
        created_at=iso(volume.created_at) or "",
    )
