"""Where images may come from, asked before anything is stored. The node that pulls asks again, and looks deeper."""

from msgspec import UNSET, UnsetType

from krater.api.commands.workloads import find_for
from krater.api.handlers.asking import asking_of, check_since
from krater.api.requests import Request
from krater.errors import Invalid
from krater.model.image import ImageRef, parse_request
from krater.model.registry import Registry
from krater.store.interfaces import Tx

_SINCE = 31


async def read_registry(request: Request, ident: str | UnsetType) -> Registry | None:
    """The registry that a container's image is to come from: one of the caller's own project. NotFound."""
    if ident is UNSET:
        return None
    check_since(request, "registry", _SINCE)
    name, own = str(ident), request.own
    return await request.backing.store.read(lambda tx: tx.registries.get(own, name))


def check_source(request: Request, image: str, registry: Registry | None = None, *, field: str = "image") -> ImageRef:
    """The image that a name means, if it may be pulled. Invalid.

    A registry's login goes to that registry only: an image whose name says another one does not come from it.
    """
    settings = request.backing.settings
    ref = parse_request(image, settings.registries.default if registry is None else registry.domain)
    if registry is not None and ref.domain.lower() != registry.domain:
        raise Invalid(
            f"{field}: {image[:80]!r} is in {ref.domain}, but registry {registry.name or registry.id} is "
            f"{registry.domain}: leave out one of the two",
            field=field,
        )
    refusal = settings.registry_rules.refusal(ref.domain)
    if refusal is not None:
        raise Invalid(f"{field}: {refusal}", field=field)
    return ref


async def find_rebuilt(request: Request, ident: str) -> tuple[Registry | None, str]:
    """The registry of a container that is to have another image, which it keeps, and the project it is in."""
    asking = await asking_of(request)

    def look(tx: Tx) -> tuple[Registry | None, str]:
        subject = find_for(tx, asking, ident, "rebuild")
        used = subject.container.registry
        registry = tx.registries.by_ids([used]).get(used) if used is not None else None
        return registry, subject.workload.project_id

    return await request.backing.store.read(look)
