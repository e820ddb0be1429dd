"""Registries with a login, for containers whose images are not everybody's."""

from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from msgspec import UNSET

from krater.api.handlers.answers import NO_CONTENT, found
from krater.api.links import base_of
from krater.api.lists import next_link, page_of, refuse_unknown, text_of, texts_of
from krater.api.requests import Answer, Request
from krater.api.schemas.answers import Links
from krater.api.schemas.decoding import CODE, decode_body, decode_json_body
from krater.api.schemas.fields import strict_bool
from krater.api.schemas.registries import (
    CreateRegistry,
    RegistryAnswer,
    RegistryChanges,
    RegistryEntry,
    RegistryList,
    UpdateRegistry,
)
from krater.errors import Conflict, Invalid
from krater.model.image import is_own_domain, parse_image
from krater.model.registry import Registry
from krater.store.interfaces import EVERYBODY, Page, RegistryQuery, Scope, Tx

_MOST = 100
_FILTERS = ("name", "domain", "username", "project_id", "user_id")


async def list_all(request: Request) -> Answer:
    """The project's, or all."""
    request.require("registry:get_all")
    refuse_unknown(request, {*_FILTERS, "all_projects"})
    reach = request.own
    if strict_bool("all_projects", text_of(request, "all_projects") or "false"):
        request.require("registry:get_all_all_projects")
        reach = EVERYBODY
    page = page_of(request)
    query = RegistryQuery(**{key: texts_of(request, key) for key in _FILTERS})
    registries = await request.backing.store.read(lambda tx: tx.registries.find(reach, query, page))
    last = registries[-1].id if registries else None
    following = next_link(request, "registries", page, last, len(registries))
    return found(RegistryList([_entry(registry) for registry in registries], following))


async def create(request: Request) -> Answer:
    """Keep a login."""
    request.require("registry:create")
    ask = (await decode_json_body(request, CreateRegistry)).registry
    id = str(uuid4())
    registry = Registry(
        id=id,
        name=ask.name,
        domain=read_domain(request, ask.domain),
        username=ask.username,
        sealed=None,
        project_id=request.caller.project_id,
        user_id=request.caller.user_id,
        created_at=request.backing.now(),
    )
    _check_login(ask.username, has_password=ask.password is not None)
    vault, password = request.backing.vault, ask.password

    def add(tx: Tx) -> Registry:
        if len(tx.registries.find(request.own, RegistryQuery(), Page(_MOST))) >= _MOST:
            raise Conflict(f"A project can have {_MOST} registries.")
        made = registry if password is None else replace(registry, sealed=vault.seal(id, password))
        tx.registries.add(made)
        return made

    stored = await request.backing.store.write(add)
    base = base_of(request)
    body = found(RegistryAnswer(_entry(stored, base.of("registries", id)))).body
    return Answer(201, body, (base.location("registries", id),))


async def show(request: Request) -> Answer:
    """One, by id or name."""
    ident = request.params["registry"]
    registry = await request.backing.store.read(lambda tx: tx.registries.get(request.reach, ident))
    request.require("registry:get_one", registry.project_id, registry.user_id)
    return _answer(request, registry)


async def update(request: Request) -> Answer:
    """Another login, name or domain. Containers that exist go on; the next pull is by the new one."""
    ask = (await decode_body(request, UpdateRegistry)).registry
    if isinstance(ask.domain, str):
        ask.domain = read_domain(request, ask.domain)
    ident, at = request.params["registry"], request.backing.now()
    return _answer(request, await request.backing.store.write(lambda tx: _change(tx, request, ident, ask, at)))


def _change(tx: Tx, request: Request, ident: str, ask: RegistryChanges, at: datetime) -> Registry:
    old = tx.registries.get(request.reach, ident)
    request.require("registry:update", old.project_id, old.user_id)
    new = replace(
        old,
        domain=old.domain if ask.domain is UNSET else ask.domain,
        name=old.name if ask.name is UNSET else ask.name,
        username=old.username if ask.username is UNSET else ask.username,
    )
    if isinstance(ask.password, str):
        new = replace(new, sealed=request.backing.vault.seal(old.id, ask.password))
    elif ask.password is None:
        new = replace(new, sealed=None)
    elif new.domain != old.domain and old.sealed is not None:
        # who may change a registry need not know its password, and must not be able to have it sent elsewhere
        raise Invalid("password: has to be given again with another domain", field="password", code=CODE)
    _check_login(new.username, has_password=new.sealed is not None)
    return tx.registries.change(new, at) if new != old else old


async def delete(request: Request) -> Answer:
    """Forget one that no container needs."""
    ident = request.params["registry"]

    def remove(tx: Tx) -> None:
        registry = tx.registries.get(request.reach, ident)
        request.require("registry:delete", registry.project_id, registry.user_id)
        tx.registries.delete(Scope(registry.project_id), registry.id)

    await request.backing.store.write(remove)
    return NO_CONTENT


def read_domain(request: Request, text: str) -> str:
    """A domain as it stands in the names of images. Invalid when it is none, or not allowed."""
    try:
        domain = parse_image("name", text).domain.lower()
    except Invalid:
        domain = ""
    if not domain or is_own_domain(domain) or ("." not in domain and ":" not in domain and domain != "localhost"):
        raise Invalid(
            "domain: expected the host of a registry as in an image's name, such as registry.example.org or "
            "registry.example.org:5000; without a scheme or a path",
            field="domain",
            code=CODE,
        )
    refusal = request.backing.settings.registry_rules.refusal(domain)
    if refusal is not None:
        raise Invalid(f"domain: {refusal}", field="domain")
    return domain


def _check_login(username: str | None, *, has_password: bool) -> None:
    if has_password and username is None:
        raise Invalid("username: goes together with password", field="username", code=CODE)


def _answer(request: Request, registry: Registry) -> Answer:
    return found(RegistryAnswer(_entry(registry, base_of(request).of("registries", registry.id))))


def _entry(registry: Registry, links: Links | None = None) -> RegistryEntry:
    return RegistryEntry(
        uuid=registry.id,
        links=UNSET if links is None else links,
        name=registry.name,
        project_id=registry.project_id,
        user_id=registry.user_id,
        domain=registry.domain,
        username=registry.username,
    )
