"""Operations that change a container's intent: each writes it down and answers 202 at once."""

from collections.abc import Callable

from krater.api.commands import workloads as commands
from krater.api.commands.workloads import Asking
from krater.api.handlers import own_images
from krater.api.handlers.answers import ACCEPTED
from krater.api.handlers.asking import asking_of, change
from krater.api.handlers.sources import check_source, find_rebuilt
from krater.api.requests import Answer, Request
from krater.api.schemas.actions import Rebuild, Timeout
from krater.api.schemas.decoding import decode_arguments, decode_query
from krater.api.specs import read_image
from krater.store.interfaces import Tx, Workload


async def start(request: Request) -> Answer:
    """Start a container that is not running."""
    return await _do(request, commands.start)


async def pause(request: Request) -> Answer:
    """Freeze its processes."""
    return await _do(request, commands.pause)


async def unpause(request: Request) -> Answer:
    """Thaw them."""
    return await _do(request, commands.unpause)


async def stop(request: Request) -> Answer:
    """End its process: asked first, killed after `timeout` seconds."""
    grace = _grace(request)
    return await _do(request, lambda tx, asking, ident: commands.stop(tx, asking, ident, grace))


async def reboot(request: Request) -> Answer:
    """End its process and start another."""
    grace = _grace(request)
    return await _do(request, lambda tx, asking, ident: commands.reboot(tx, asking, ident, grace))


async def rebuild(request: Request) -> Answer:
    """Make its root filesystem anew, of the same image or another."""
    ask = await decode_arguments(request, Rebuild)
    image = None if ask.image in (None, "None") else read_image(ask.image)
    own = None
    if image is not None:
        used, project = await find_rebuilt(request, request.params["container"])
        own = await own_images.choose(request, image, ask.image_driver, project=project)
        if own is None:
            check_source(request, image, used)
    return await _do(request, lambda tx, asking, ident: commands.rebuild(tx, asking, ident, image, own))


def _grace(request: Request) -> float | None:
    text = decode_query(request, Timeout).timeout
    return float(text) if text else None


async def _do(request: Request, command: Callable[[Tx, Asking, str], Workload]) -> Answer:
    asking, ident = await asking_of(request), request.params["container"]
    await change(request, lambda tx: command(tx, asking, ident))
    return ACCEPTED
