"""Images that projects make of their containers: commit, and all that can be done with them then."""

import re
from dataclasses import replace
from typing import Any, TypeVar
from uuid import uuid4

from krater.api.commands import own_images as commands
from krater.api.commands.own_images import Name
from krater.api.errors import HttpRejected
from krater.api.handlers import pushing
from krater.api.handlers.answers import NO_CONTENT, accepted, found
from krater.api.handlers.asking import asking_of
from krater.api.links import base_of
from krater.api.lists import next_link, page_of, text_of
from krater.api.rendering import iso
from krater.api.requests import Answer, Request
from krater.api.schemas.decoding import decode_arguments, decode_json_body
from krater.api.schemas.own_images import (
    CommitQuery,
    Committed,
    OwnImageEntry,
    OwnImageList,
    PushAsk,
    PushEntry,
)
from krater.bus.interfaces import Request as BusRequest
from krater.bus.interfaces import node_target
from krater.bus.messages import ImageProgress, ImagesChanged, PushImage
from krater.cloud.interfaces import StoredImage
from krater.errors import Conflict, Invalid, NotFound, Unavailable, Unsupported
from krater.model.image import DEFAULT_TAG, parse_image, parse_request
from krater.model.registry import Registry
from krater.store.interfaces import OwnImage

T = TypeVar("T")

LARGEST_PIECE = 4 << 20
_RANGE = re.compile(rb"bytes=([0-9]{1,18})-([0-9]{0,18})")
_UNREADABLE = "reference-invalid-format"


class UnsatisfiableRange(HttpRejected):
    """Nothing is there."""

    status = 416
    code = "range-not-satisfiable"


async def commit(request: Request) -> Answer:
    """Make an image of it, in the background; its processes wait meanwhile."""
    ask = await decode_arguments(request, CommitQuery)
    name = read_name(ask.repository, ask.tag)
    asking, ident, id = await asking_of(request), request.params["container"], str(uuid4())
    most = request.backing.settings.api.most_images
    image = await request.backing.store.write(lambda tx: commands.commit(tx, asking, ident, id, name, most))
    request.backing.bus.hint(node_target(image.node), ImagesChanged())
    return accepted(Committed(image.id), base_of(request).location("own_images", image.id))


def read_name(repository: str, tag: str | None) -> Name:
    """The name of a new image. Invalid."""
    try:
        ref = parse_request(repository)
    except Invalid as error:
        raise Invalid(
            f"repository{error.message.removeprefix('image')}", field="repository", code=_UNREADABLE
        ) from None
    if ref.digest is not None or (tag is not None and ref.tag is not None):
        wrong = "has a digest, which is not chosen" if ref.digest is not None else "has a tag already"
        raise Invalid(f"repository: {repository[:80]!r} {wrong}", field="repository", code=_UNREADABLE)
    return Name(ref.familiar, tag or ref.tag or DEFAULT_TAG)


def _meant(ident: str) -> Name | None:
    """The name that a text in a URL may be."""
    try:
        ref = parse_image(ident)
    except Invalid:
        return None
    return Name(ref.familiar, ref.tag or DEFAULT_TAG) if ref.digest is None else None


async def choose(
    request: Request, name: str, driver: str | None, registry: Registry | None = None, project: str | None = None
) -> StoredImage | None:
    """The project's own image that a container is asked to be made of; None when it is a registry's.

    Own ones come first, unless a registry is asked for; with `glance` there are no others. `project` is the container's
    when that is not the caller's: what an administrator has is no business of it.
    """
    if registry is not None:
        if driver == "glance":
            raise Invalid("registry: goes with image_driver docker only", field="registry")
        return None
    images = request.backing.images
    owner = request.caller if project is None else replace(request.caller, project_id=project)
    own = None if driver == "docker" or images is None else await images.resolve(owner, name)
    if own is None and driver == "glance":
        raise Invalid(f"Image {name[:80]} could not be found.", field="image", code="image-not-found")
    return own


async def list_all(request: Request) -> Answer:
    """The project's images; with `name` the one that this name means, for names that fit no path."""
    request.require("own_image:get_all")
    page, name = page_of(request), text_of(request, "name")
    if name is not None:
        return found(OwnImageList([_entry(request, image) for image in await _named(request, name)], None))
    images = await request.backing.store.read(lambda tx: tx.own_images.list(request.own, page))
    following = next_link(request, "own_images", page, images[-1].id if images else None, len(images))
    return found(OwnImageList([_entry(request, image) for image in images], following))


async def _named(request: Request, text: str) -> list[OwnImage]:
    name = _meant(text)
    try:
        return [await request.backing.store.read(lambda tx: commands.find(tx, request.own, text, name))]
    except NotFound:
        return []


async def show(request: Request) -> Answer:
    """One, by id or name."""
    request.require("own_image:get_one")
    return found(_entry(request, await _find(request)))


async def delete(request: Request) -> Answer:
    """Forget it. Containers that were made of it go on."""
    request.require("own_image:delete")
    asking, ident = await asking_of(request), request.params["image"]
    name = _meant(ident)
    image = await request.backing.store.write(lambda tx: commands.delete(tx, asking, request.own, ident, name))
    request.backing.bus.hint(node_target(image.node), ImagesChanged())
    return NO_CONTENT


async def archive(request: Request) -> Answer:
    """A piece of it as an OCI archive: the header `Range: bytes=FIRST-` says from where."""
    request.require("own_image:export")
    if request.backing.images is None:
        raise Unsupported("The images of this cloud are Glance's: use its API.")
    asked = _RANGE.fullmatch(request.headers.get(b"range", b"").strip())
    if asked is None:
        raise Invalid(f"Range: say `Range: bytes=0-`; a piece is {LARGEST_PIECE} bytes at most", field="Range")
    first = int(asked[1])
    length = min(int(asked[2]) - first + 1, LARGEST_PIECE) if asked[2] else LARGEST_PIECE
    try:
        piece = await request.backing.images.open(request.caller, request.params["image"], first, max(0, length))
    except Unavailable as error:
        raise _no_answer() from error
    if not piece.content:
        raise UnsatisfiableRange(
            f"The archive has {piece.total} bytes.", headers=((b"content-range", b"bytes */%d" % piece.total),)
        )
    span = b"bytes %d-%d/%d" % (first, first + len(piece.content) - 1, piece.total)
    return Answer(206, piece.content, ((b"content-type", b"application/x-tar"), (b"content-range", span)))


async def push(request: Request) -> Answer:
    """Upload it to a registry, in the background, with a login that is kept for it or one that is not stored."""
    request.require("own_image:push")
    ask = await decode_json_body(request, PushAsk)
    image, id = await _find(request), str(uuid4())
    if not image.is_ready:
        raise Conflict(f"Image {image.name} is not ready.", code="image-not-ready")
    ref, username, password = await pushing.destination(request, ask)
    message = PushImage(f"{image.id}/{id}", image.stored, ref.canonical, username, password)
    await _ask(request, image, message)
    return accepted(PushEntry(id, "working", 0, 0, "", ""))


async def show_push(request: Request) -> Answer:
    """How far an upload is. One that nobody knows of was interrupted, or ended long ago."""
    request.require("own_image:push")
    image, id = await _find(request), request.params["push"]
    seen = await _ask(request, image, ImageProgress(f"{image.id}/{id}"))
    return found(PushEntry(id, seen.state, seen.done, seen.total, seen.reason, seen.digest))


async def _find(request: Request) -> OwnImage:
    ident = request.params["image"]
    name = _meant(ident)
    return await request.backing.store.read(lambda tx: commands.find(tx, request.own, ident, name))


async def _ask(request: Request, image: OwnImage, message: BusRequest[T]) -> T:
    try:
        return await request.backing.bus.call(
            node_target(image.node), message, request.backing.settings.api.node_timeout
        )
    except Unavailable as error:
        raise _no_answer() from error


def _no_answer() -> Unavailable:
    return Unavailable("The node that has this image does not answer now: try again later.")


def _entry(request: Request, image: OwnImage) -> OwnImageEntry:
    return OwnImageEntry(
        uuid=image.id,
        links=base_of(request).of("own_images", image.id),
        name=image.name,
        repo=image.repo,
        tag=image.tag,
        status=status(image),
        status_reason=image.failure,
        image_id=image.image_id,
        size=image.size,
        project_id=image.project_id,
        user_id=image.user_id,
        container=image.source,
        created_at=iso(image.created_at),
    )


def status(image: OwnImage) -> str:
    """In a word, as Glance has them."""
    if image.failure is not None:
        return "lost"
    return "active" if image.image_id is not None else "saving"


def as_glance(image: OwnImage) -> dict[str, Any]:
    """As the search of the Container API shows an image of Glance."""
    return {
        "id": image.id,
        "name": image.repo,
        "tags": [image.tag],
        "status": status(image),
        "size": image.size,
        "metadata": {"image_id": image.image_id, "container": image.source},
    }
