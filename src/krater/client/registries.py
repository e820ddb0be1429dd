"""Registries that a project has a login for."""

from typing import Any, cast

from krater.client.answers import Registry
from krater.client.session import Session, segment


class Registries:
    """The project's registries. Passwords go in and are never shown."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self, *, all_projects: bool = False) -> list[Registry]:
        """All of the project; of all projects, for administrators."""
        params = {"all_projects": "true"} if all_projects else {}
        return list(self._session.pages("/v1/registries", "registries", params))

    def show(self, registry: str) -> Registry:
        """One, by id or name."""
        return _unwrapped(self._session.get(_path(registry)))

    def create(
        self, domain: str, *, name: str | None = None, username: str | None = None, password: str | None = None
    ) -> Registry:
        """Keep a login for the registry of a domain, such as `registry.example.org:5000`."""
        given = {"domain": domain, "name": name, "username": username, "password": password}
        body = {key: value for key, value in given.items() if value is not None}
        return _unwrapped(self._session.ask("POST", "/v1/registries", body={"registry": body}))

    def update(self, registry: str, **changes: str | None) -> Registry:
        """Other values of domain, name, username and password. None takes one away."""
        return _unwrapped(self._session.ask("PATCH", _path(registry), body={"registry": changes}))

    def delete(self, registry: str) -> None:
        """Forget one that no container uses."""
        self._session.ask("DELETE", _path(registry))


def _path(registry: str) -> str:
    return "/v1/registries/" + segment(registry)


def _unwrapped(answer: Any) -> Registry:
    return cast(Registry, answer["registry"])
