"""Where an image may be pushed, and with whose login."""

from krater.api.handlers.sources import check_source
from krater.api.requests import Request
from krater.api.schemas.own_images import PushAsk
from krater.errors import Conflict, Invalid, Permanent
from krater.model.image import ImageRef, parse_request
from krater.model.registry import Registry

_UNREADABLE = "reference-invalid-format"


async def destination(request: Request, ask: PushAsk) -> tuple[ImageRef, str, str]:
    """The name to push to, a user name and a password ("" for none). Invalid; NotFound for the registry.

    Images may be pushed where they may be pulled from. A kept login goes to its own registry only.
    """
    registry = await _registry(request, ask)
    default = request.backing.settings.registries.default if registry is None else registry.domain
    try:
        ref = parse_request(ask.reference, default)
    except Invalid as error:
        raise Invalid(f"reference{error.message.removeprefix('image')}", field="reference", code=_UNREADABLE) from None
    if ref.digest is not None:
        raise Invalid("reference: a digest is not chosen; give a tag", field="reference", code=_UNREADABLE)
    check_source(request, ask.reference, registry, field="reference")
    if registry is None:
        return ref, ask.username, ask.password
    if registry.username is None or registry.sealed is None:
        return ref, "", ""
    try:
        return ref, registry.username, request.backing.vault.open(registry.id, registry.sealed)
    except Permanent as error:
        raise Conflict("The password of the registry cannot be read any more: set it again.") from error


async def _registry(request: Request, ask: PushAsk) -> Registry | None:
    if not ask.registry:
        return None
    if ask.username or ask.password:
        raise Invalid("registry: has a login of its own; leave out username and password", field="registry")
    return await request.backing.store.read(lambda tx: tx.registries.get(request.own, ask.registry))
