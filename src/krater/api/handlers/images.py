"""Images on nodes: for administrators. Containers bring their images themselves."""

from uuid import uuid4

from krater.api.commands import images as commands
from krater.api.handlers.answers import DONE, accepted, found
from krater.api.handlers.sources import check_source
from krater.api.links import Base, base_of
from krater.api.lists import next_link, page_of
from krater.api.nodes import NodeTable
from krater.api.requests import Answer, Request
from krater.api.schemas.answers import ImageEntry, ImageList
from krater.api.schemas.decoding import decode_json_body
from krater.api.schemas.images import PullImage
from krater.bus.interfaces import node_target
from krater.bus.messages import ImageProgress, ImagesChanged
from krater.errors import Invalid, KraterError
from krater.model.image import DEFAULT_TAG, ImageRef, parse_image, parse_request
from krater.model.node import Node
from krater.store.interfaces import Image

_SOON = 2.0
_MIB = 1 << 20


async def list_all(request: Request) -> Answer:
    """All images of all nodes."""
    request.require("image:get_all")
    page = page_of(request)
    nodes, base = await request.backing.nodes.table(), base_of(request)
    images = await request.backing.store.read(lambda tx: tx.images.list(page))
    following = next_link(request, "images", page, images[-1].id if images else None, len(images))
    return found(ImageList([_entry(image, nodes, base) for image in images], following))


async def pull(request: Request) -> Answer:
    """Have a node get an image."""
    request.require("image:pull")
    ask = await decode_json_body(request, PullImage)
    ref = _reference(ask, request.backing.settings.registries.default)
    check_source(request, ref.canonical, field="repo")
    nodes = await request.backing.nodes.table()
    node = _node(nodes, ask.host)
    image = Image(
        id=str(uuid4()),
        repo=ref.familiar,
        tag=ref.digest or ref.tag or DEFAULT_TAG,
        node=node.id,
        project_id=request.caller.project_id,
        user_id=request.caller.user_id,
        created_at=request.backing.now(),
    )
    stored = await request.backing.store.write(lambda tx: commands.add(tx, image))
    request.backing.bus.hint(node_target(node.id), ImagesChanged())
    base = base_of(request)
    return accepted(_entry(stored, nodes, base), base.location("images", stored.id))


def _reference(ask: PullImage, default: str) -> ImageRef:
    """The image meant: `repo`, which may have a tag or digest itself, and `tag`."""
    try:
        ref = parse_request(ask.repo, default)
        if ask.tag is None:
            return ref
        if ref.tag is not None or ref.digest is not None:
            raise Invalid(f"tag: {ask.repo[:80]!r} has one already", field="tag")
        return parse_image(f"{ask.repo}{'@' if ':' in ask.tag else ':'}{ask.tag}", default)
    except Invalid as error:
        field = "repo" if error.field == "image" else error.field
        message = f"{field}{error.message.removeprefix(str(error.field))}"
        raise Invalid(message, field=field, code="reference-invalid-format") from None


def _node(nodes: NodeTable, host: str | None) -> Node:
    if host is not None:
        node = nodes.named(host)
        if node is None:
            raise Invalid(f"host: there is no host {host!r}", field="host", code="invalid-value")
        return node
    if len(nodes.by_id) != 1:
        raise Invalid("host: is required where there is more than one node", field="host", code="invalid-value")
    return next(iter(nodes.by_id.values()))


async def show(request: Request) -> Answer:
    """One image."""
    request.require("image:get_one")
    image = await request.backing.store.read(lambda tx: commands.find(tx, request.params["image"]))
    entry = _entry(image, await request.backing.nodes.table(), base_of(request))
    if entry.status == "Pulling":
        entry.status_reason = await _amount(request, image)
    return found(entry)


async def _amount(request: Request, image: Image) -> str | None:
    """How far its node is, which nobody stores."""
    try:
        seen = await request.backing.bus.call(node_target(image.node), ImageProgress(image.id), _SOON)
    except KraterError:
        return None
    if not seen.total:
        return None
    return f"{seen.done / _MIB:.1f} of {seen.total / _MIB:.1f} MiB ({100 * seen.done // seen.total} %)"


async def delete(request: Request) -> Answer:
    """Have its node forget it."""
    request.require("image:delete")
    image = await request.backing.store.write(lambda tx: commands.remove(tx, request.params["image"]))
    request.backing.bus.hint(node_target(image.node), ImagesChanged())
    return DONE


def _entry(image: Image, nodes: NodeTable, base: Base) -> ImageEntry:
    return ImageEntry(
        uuid=image.id,
        links=base.of("images", image.id),
        image_id=image.image_id,
        repo=image.repo,
        tag=image.tag,
        size=None if image.size is None else str(image.size),
        project_id=image.project_id,
        host=nodes.host(image.node),
        status=_status(image),
        status_reason=image.failure,
    )


def _status(image: Image) -> str:
    if image.removing:
        return "Deleting"
    if image.failure is not None:
        return "Error"
    return "Pulling" if image.image_id is None else "Ready"
