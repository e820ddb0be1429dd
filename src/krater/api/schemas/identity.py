"""Keystone v3's documents, as far as clients need them: requests for tokens in; tokens, catalog and projects out."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from krater.cloud.interfaces import Grant, Project, ScopeAsk
from krater.errors import Invalid, Unauthenticated, Unsupported

DOMAIN = {"id": "default", "name": "Default"}
_REGION = "RegionOne"
_UPDATED = "2020-04-07T00:00:00Z"
_VERSION = "v3.14"
_NO_EXPIRY: dict[str, None] = {"password_expires_at": None}


class DomainBody(msgspec.Struct, frozen=True):
    """A domain, by id or name. There is one."""

    id: str | None = None
    name: str | None = None

    def check(self) -> None:
        """Unauthenticated for any but the one."""
        if self.id not in (None, DOMAIN["id"]) or (self.name or DOMAIN["name"]).lower() != "default":
            raise Unauthenticated("the user name or the password is wrong")


class UserBody(msgspec.Struct, frozen=True):
    """Who logs in."""

    password: str
    id: str | None = None
    name: str | None = None
    domain: DomainBody | None = None


class PasswordBody(msgspec.Struct, frozen=True):
    """The method `password`."""

    user: UserBody


class TokenBody(msgspec.Struct, frozen=True):
    """The method `token`."""

    id: str


class IdentityBody(msgspec.Struct, frozen=True):
    """How somebody proves who they are."""

    methods: list[str]
    password: PasswordBody | None = None
    token: TokenBody | None = None


class ProjectBody(msgspec.Struct, frozen=True):
    """A project, by id or by name and domain."""

    id: str | None = None
    name: str | None = None
    domain: DomainBody | None = None


class ScopeBody(msgspec.Struct, frozen=True):
    """What the token is for."""

    project: ProjectBody | None = None
    unscoped: Any = msgspec.UNSET
    domain: Any = msgspec.UNSET
    system: Any = msgspec.UNSET


class AuthBody(msgspec.Struct, frozen=True):
    """The request."""

    identity: IdentityBody
    scope: ScopeBody | str | None = None


class TokenRequest(msgspec.Struct, frozen=True):
    """The body of POST /v3/auth/tokens."""

    auth: AuthBody


_decoder = msgspec.json.Decoder(TokenRequest)


def read_token_request(body: bytes) -> AuthBody:
    """Invalid when the body is not such a request."""
    try:
        return _decoder.decode(body).auth
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The request body is not a request for a token: {error}") from None


def read_scope(scope: ScopeBody | str | None) -> ScopeAsk:
    """The scope asked for; none at all means the user's first project. Invalid, Unauthenticated, Unsupported."""
    if scope is None:
        return ScopeAsk()
    if scope == "unscoped" or (isinstance(scope, ScopeBody) and scope.unscoped is not msgspec.UNSET):
        return ScopeAsk(unscoped=True)
    if isinstance(scope, str):
        raise Invalid("The scope is neither a project nor unscoped.")
    if scope.project is None:
        raise Unsupported("Tokens are for a project, or unscoped.")
    ident = scope.project.id or scope.project.name
    if not ident:
        raise Invalid("The project of the scope has neither id nor name.")
    if scope.project.domain is not None:
        scope.project.domain.check()
    return ScopeAsk(ident)


def moment(at: datetime) -> str:
    """As Keystone writes times."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def token_document(grant: Grant, base: str, *, with_catalog: bool) -> dict[str, Any]:
    """What a token stands for."""
    token: dict[str, Any] = {
        "methods": list(grant.methods),
        "user": {"id": grant.user_id, "name": grant.user_name, "domain": DOMAIN, **_NO_EXPIRY},
        "audit_ids": [grant.token_id[:22]],
        "issued_at": moment(grant.issued_at),
        "expires_at": moment(grant.expires_at),
    }
    if grant.project is not None:
        token["project"] = {"id": grant.project.id, "name": grant.project.name, "domain": DOMAIN}
        token["is_domain"] = False
        token["roles"] = [{"id": role, "name": role} for role in grant.roles]
        if with_catalog:
            token["catalog"] = catalog(base)
    return {"token": token}


def catalog(base: str) -> list[dict[str, Any]]:
    """The services there are."""
    return [_service("container", "zun", f"{base}/v1"), _service("identity", "keystone", f"{base}/identity/v3")]


def _service(kind: str, name: str, url: str) -> dict[str, Any]:
    endpoints = [
        {"id": f"{name}-{interface}", "interface": interface, "region": _REGION, "region_id": _REGION, "url": url}
        for interface in ("public", "internal", "admin")
    ]
    return {"id": name, "type": kind, "name": name, "endpoints": endpoints}


def version_document(base: str) -> dict[str, Any]:
    """Version 3, which is the only one."""
    return {
        "id": _VERSION,
        "status": "stable",
        "updated": _UPDATED,
        "links": [{"rel": "self", "href": f"{base}/identity/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


def project_document(project: Project, base: str) -> dict[str, Any]:
    """One project."""
    return {
        "id": project.id,
        "name": project.name,
        "description": "",
        "enabled": True,
        "is_domain": False,
        "domain_id": DOMAIN["id"],
        "parent_id": DOMAIN["id"],
        "tags": [],
        "options": {},
        "links": {"self": f"{base}/identity/v3/projects/{project.id}"},
    }


def list_document(key: str, items: Iterable[dict[str, Any]], url: str) -> dict[str, Any]:
    """A list as Keystone shows one: never in pages."""
    return {key: list(items), "links": {"self": url, "previous": None, "next": None}}
