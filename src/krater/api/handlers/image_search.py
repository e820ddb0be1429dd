"""The search for images: at Docker Hub, or among the project's own."""

from typing import Any

from krater.api.docker_hub import find_images
from krater.api.handlers.answers import found
from krater.api.handlers.own_images import as_glance
from krater.api.requests import Answer, Request
from krater.api.schemas.decoding import decode_query
from krater.api.schemas.fields import strict_bool
from krater.api.schemas.own_images import SearchQuery
from krater.outgoing import Ways
from krater.store.interfaces import OwnImage, Page

_PARTS = ("image", "part", "rest", "last")


async def search(request: Request) -> Answer:
    """Images whose names have these words in them, or (`exact_match`) are this name."""
    request.require("image:search")
    ask = decode_query(request, SearchQuery)
    exact = strict_bool("exact_match", ask.exact_match)
    words = "/".join(request.params[part] for part in _PARTS if part in request.params)
    if ask.image_driver == "glance":
        return found(await _own(request, words, exact))
    settings = request.backing.settings
    ways = Ways(settings.registry_rules)
    images = await find_images(settings.api.image_search, words, ways, settings.registries.ca_file)
    return found([image for image in images if not exact or image["name"] == words])


async def _own(request: Request, words: str, exact: bool) -> list[dict[str, Any]]:
    most = request.backing.settings.api.max_limit
    images = await request.backing.store.read(lambda tx: tx.own_images.list(request.own, Page(most)))
    return [as_glance(image) for image in images if _matches(image, words, exact)]


def _matches(image: OwnImage, words: str, exact: bool) -> bool:
    return words in (image.repo, image.name, image.id) if exact else words in image.name
