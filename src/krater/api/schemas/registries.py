"""Requests and answers about registries."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from krater.api.schemas.answers import Links
from krater.api.schemas.fields import Name

Domain = Annotated[
    str, Meta(min_length=1, max_length=255, description="a host name or address, with a port if need be")
]
Username = Annotated[str, Meta(min_length=1, max_length=255, description="a text of 1 to 255 characters")]
Password = Annotated[str, Meta(min_length=1, max_length=4096, description="a text of 1 to 4096 characters")]


class NewRegistry(Struct, forbid_unknown_fields=True, kw_only=True):
    """A registry and the login for it."""

    domain: Domain
    name: Name | None = None
    username: Username | None = None
    password: Password | None = None

    def __repr__(self) -> str:
        return f"NewRegistry({self.domain!r})"


class CreateRegistry(Struct, forbid_unknown_fields=True):
    """The same, wrapped."""

    registry: Annotated[NewRegistry, Meta(description="an object with domain, and name, username and password")]


class RegistryChanges(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is to be different. null takes a name or a login away."""

    domain: Domain | UnsetType = UNSET
    name: Name | UnsetType | None = UNSET
    username: Username | UnsetType | None = UNSET
    password: Password | UnsetType | None = UNSET

    def __repr__(self) -> str:
        return "RegistryChanges(...)"


class UpdateRegistry(Struct, forbid_unknown_fields=True):
    """The same, wrapped."""

    registry: Annotated[RegistryChanges, Meta(description="an object with domain, name, username or password")]


class RegistryEntry(Struct, kw_only=True):
    """A registry. The password is never shown, nor whether there is one."""

    uuid: str
    links: Links | UnsetType = UNSET
    name: str | None
    project_id: str
    user_id: str
    domain: str
    username: str | None
    password: str = "***"  # noqa: S105


class RegistryAnswer(Struct):
    """One, wrapped."""

    registry: RegistryEntry


class RegistryList(Struct):
    """A page of them, without links."""

    registries: list[RegistryEntry]
    next: str | None
