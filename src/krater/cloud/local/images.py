"""Images of projects that live on the nodes which made them."""

from krater.bus.interfaces import Bus, node_target
from krater.bus.messages import ReadImage
from krater.cloud.interfaces import Caller, ImagePiece, StoredImage
from krater.errors import Conflict, Invalid, NotFound
from krater.model.image import DEFAULT_DOMAIN, DEFAULT_TAG, parse_image
from krater.store.interfaces import OwnImage, Scope, Store, Tx

_TIMEOUT = 60.0


class LocalImages:
    """Images over Krater's store and its nodes."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def resolve(self, caller: Caller, ident: str) -> StoredImage | None:
        """By id or name."""
        try:
            image = await self._store.read(lambda tx: find(tx, Scope(caller.project_id), ident))
        except NotFound:
            return None
        require_ready(image)
        return StoredImage(image.id, image.stored, image.node)

    async def open(self, caller: Caller, ident: str, offset: int, length: int) -> ImagePiece:
        """A piece of an archive, as its node reads it."""
        image = await self._store.read(lambda tx: find(tx, Scope(caller.project_id), ident))
        require_ready(image)
        message = ReadImage(image.stored, image.name, offset, length)
        answer = await self._bus.call(node_target(image.node), message, _TIMEOUT)
        return ImagePiece(answer.content, answer.total)


def find(tx: Tx, scope: Scope, ident: str) -> OwnImage:
    """By id, else by name. NotFound."""
    try:
        return tx.own_images.get(scope, ident)
    except NotFound:
        repo, tag = name_and_tag(ident)
        return tx.own_images.named(scope, repo, tag)


def name_and_tag(name: str) -> tuple[str, str]:
    """A name in the form in which it is stored. NotFound for what can be none: a registry's image named exactly."""
    try:
        ref = parse_image(name)
    except Invalid:
        ref = None
    if ref is None or ref.digest is not None or name.startswith(f"{DEFAULT_DOMAIN}/"):
        raise NotFound(f"Image {name[:80]} could not be found.", code="image-not-found")
    return ref.familiar, ref.tag or DEFAULT_TAG


def require_ready(image: OwnImage) -> None:
    """Conflict when nothing can be made of it (yet)."""
    if image.failure is not None:
        raise Conflict(f"Image {image.name} cannot be used: {image.failure}", code="image-not-ready")
    if image.image_id is None:
        raise Conflict(f"Image {image.name} is still being made: try again in a moment.", code="image-not-ready")
