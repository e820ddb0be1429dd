"""Networks and ports of the embedded profile: an extension of the API."""

from collections.abc import Sequence
from typing import Any, cast

from krater.client.answers import Network, Port
from krater.client.session import Session, segment


class Networks:
    """The networks of a project, and those shared with it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[Network]:
        """All of them. A project that has none is given its default one."""
        return cast("list[Network]", self._session.get("/v1/networks")["networks"])

    def show(self, network: str) -> Network:
        """One, by id or name."""
        return cast(Network, self._session.get("/v1/networks/" + segment(network)))

    def create(self, name: str, *, internal: bool = False, shared: bool = False) -> Network:
        """A new one. Containers on an `internal` one reach each other and nothing else.

        A `shared` one may be used by all projects; administrators can make it.
        """
        body: dict[str, Any] = {"name": name, "internal": internal}
        if shared:
            body["shared"] = True
        return cast(Network, self._session.post("/v1/networks", body=body))

    def delete(self, network: str) -> None:
        """Remove one; nothing may use it."""
        self._session.ask("DELETE", "/v1/networks/" + segment(network))


class Ports:
    """Places on networks that a user keeps: an address that outlives containers."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[Port]:
        """All of the project."""
        return cast("list[Port]", self._session.get("/v1/ports")["ports"])

    def create(self, network: str, *fixed_ips: str, security_groups: Sequence[str] | None = None) -> Port:
        """A new one, with these addresses or free ones; in these security groups or the default one."""
        body: dict[str, Any] = {"network": network, "fixed_ips": list(fixed_ips)}
        if security_groups is not None:
            body["security_groups"] = [*security_groups]
        return cast(Port, self._session.post("/v1/ports", body=body))

    def delete(self, port: str) -> None:
        """Remove one that no container uses."""
        self._session.ask("DELETE", "/v1/ports/" + segment(port))
