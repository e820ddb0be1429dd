"""POST /capsules: everything is checked and looked up before one transaction makes all of it, or nothing."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

from krater.api.capsule_mounts import Shared, asked_volumes, shared
from krater.api.capsule_specs import CapsuleAsk, MemberAsk, read_capsule
from krater.api.commands import capsules as commands
from krater.api.handlers import own_images
from krater.api.handlers.answers import accepted
from krater.api.handlers.asking import asking_of, hint_controller
from krater.api.handlers.capsules import held, shown
from krater.api.handlers.creating import check_quota
from krater.api.handlers.mounting import holding
from krater.api.handlers.security_groups import groups_of
from krater.api.handlers.sources import check_source
from krater.api.links import base_of
from krater.api.mounts import Mounted
from krater.api.requests import Answer, Request
from krater.api.schemas.capsules import CreateCapsule, Template
from krater.api.schemas.decoding import CODE, decode_json_body
from krater.api.specs import of_own_image
from krater.api.templates import read_template
from krater.errors import Conflict, Invalid, NotFound
from krater.model.network import NetRequest
from krater.model.quota import Usage
from krater.model.registry import Registry
from krater.model.volume import Volume
from krater.model.workload import ContainerSpec, Desired, Intent, Kind
from krater.store.interfaces import Tx, Workload


async def create(request: Request) -> Answer:
    """Make a capsule of a template, and start it."""
    request.require("capsule:create")
    if request.query:
        name = next(iter(request.query))
        raise Invalid(f"POST /capsules takes no query parameters, {name[:60]!r} is one", field=name[:60], code=CODE)
    template = await _read((await decode_json_body(request, CreateCapsule)).template)
    settings, id = request.backing.settings, str(uuid4())
    ask = read_capsule(id, template, settings.limits, settings.volumes.file_limit)
    await check_quota(request, Usage.of(len(ask.members), ask.spec.resources))
    containers = await _resolve_images(request, ask)
    groups = await _resolve_groups(request, ask)
    what = shared(ask.volumes, await request.backing.volumes.resolve(request.caller, asked_volumes(ask.volumes)))
    nets = await request.backing.networks.resolve(request.caller, ())
    workload = _workload(request, id, ask, containers, groups, nets, what)
    hold = holding(request, id, _mounted(workload, what))
    asking, limits = await asking_of(request), settings.quota.limits

    def store(tx: Tx) -> tuple[Workload, Sequence[Volume]]:
        stored = commands.create(tx, asking, workload, limits, hold)
        return stored, held(tx, [stored]).get(id, ())

    stored, volumes = await request.backing.store.write(store)
    hint_controller(request, stored)
    body = shown(request, asking, stored, volumes)
    body.addresses = None
    return accepted(body, base_of(request).location("capsules", id))


async def _read(template: Template | str) -> Template:
    """A long text takes its time to be read: nobody else waits for it."""
    return await asyncio.to_thread(read_template, template) if isinstance(template, str) else read_template(template)


def _workload(
    request: Request,
    id: str,
    ask: CapsuleAsk,
    containers: Sequence[ContainerSpec],
    groups: tuple[str, ...] | None,
    nets: tuple[NetRequest, ...],
    what: Shared,
) -> Workload:
    """A new workload of several containers, with all that was looked up for it."""
    mounted = tuple(
        replace(one, mounts=what.of(member.mounts)) for one, member in zip(containers, ask.members, strict=True)
    )
    return Workload(
        id=id,
        kind=Kind.CAPSULE,
        project_id=request.caller.project_id,
        user_id=request.caller.user_id,
        name=ask.name,
        spec=replace(ask.spec, containers=mounted, nets=nets, security_groups=groups, volumes=what.names),
        intent=Intent(Desired.RUNNING, run=1, grace=ask.spec.grace),
        created_at=request.backing.now(),
    )


def _mounted(workload: Workload, what: Shared) -> Mounted:
    """All that is mounted anywhere in it: reserved and kept once for the whole."""
    mounts = tuple(mount for one in workload.spec.containers for mount in one.mounts)
    return Mounted(mounts, what.claims, what.files)


async def _resolve_groups(request: Request, ask: CapsuleAsk) -> tuple[str, ...] | None:
    """The groups it is to be in, as ids; the last is one of its own for its open ports, made with it."""
    own = (str(uuid4()),) if ask.spec.exposed else ()
    if not ask.groups:
        return own or None
    found: dict[str, None] = {}
    for index, ident in enumerate(ask.groups):
        with _named(f"template.spec.securityGroups[{index}]"):
            found |= dict.fromkeys(await groups_of(request).resolve(request.caller, [ident]))
    return (*found, *own)


# Images ---------------------------------------------------------------------------------------------------------------


async def _resolve_images(request: Request, ask: CapsuleAsk) -> list[ContainerSpec]:
    """The members, each with where its image comes from."""
    caller = request.caller
    may_choose = request.backing.policies.allows(
        caller, "container:create:image_pull_policy", caller.project_id, caller.user_id
    )
    logins = [await _registry(request, place, name) for place, name in ask.registries]
    found = []
    for member in ask.members:
        container = await _with_image(request, member, logins)
        found.append(container if may_choose else replace(container, pull_policy=None))
    return found


async def _with_image(request: Request, member: MemberAsk, logins: Sequence[Registry]) -> ContainerSpec:
    """One whose image may be had: the project's own, else that of the registry it names, else of its domain."""
    place, image = f"{member.place}.image", member.spec.image
    registry = None
    if member.registry is not None:
        registry = await _registry(request, f"{member.place}.registry", member.registry)
    with _named(place):
        own = await own_images.choose(request, image, None, registry)
    if own is not None:
        return of_own_image(member.spec, own)
    ref = check_source(request, image, registry, field=place)
    if registry is None:
        registry = next((login for login in logins if login.domain == ref.domain.lower()), None)
    return replace(member.spec, registry=None if registry is None else registry.id)


async def _registry(request: Request, place: str, ident: str) -> Registry:
    own = request.own
    with _named(place):
        return await request.backing.store.read(lambda tx: tx.registries.get(own, ident))


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Refusals of what is looked up say at which place of the template it stands."""
    try:
        yield
    except (Invalid, NotFound, Conflict) as error:
        reason = error.message.removeprefix("security_groups: ")
        raise type(error)(f"{place}: {reason}", code=error.code) from None
