"""What Krater runs on: hosts, services, availability zones."""

from typing import cast

from krater.client.answers import Host, Service
from krater.client.session import Session, segment


class Hosts:
    """Nodes that run containers. Administrators only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[Host]:
        """All of them."""
        return list(self._session.pages("/v1/hosts", "hosts"))

    def show(self, host: str) -> Host:
        """One, by id or name."""
        return cast(Host, self._session.get("/v1/hosts/" + segment(host)))


class Services:
    """The parts of Krater on the hosts. Administrators only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[Service]:
        """All of them."""
        return cast("list[Service]", self._session.get("/v1/services")["services"])

    def enable(self, host: str, binary: str = "zun-compute") -> None:
        """Let it have new containers again."""
        self._session.ask("PUT", "/v1/services/enable", {"host": host, "binary": binary})

    def disable(self, host: str, reason: str, binary: str = "zun-compute") -> None:
        """Give it no new containers; `reason` is shown to others."""
        params = {"host": host, "binary": binary, "disabled_reason": reason}
        self._session.ask("PUT", "/v1/services/disable", params)

    def force_down(self, host: str, forced_down: bool = True, binary: str = "zun-compute") -> None:
        """Count it as down, whatever it reports; or take that back."""
        params: dict[str, str | bool] = {"host": host, "binary": binary, "forced_down": forced_down}
        self._session.ask("PUT", "/v1/services/force_down", params)

    def delete(self, host: str, binary: str = "zun-compute") -> None:
        """Forget one whose host is gone for good; nothing may be left on it."""
        self._session.ask("DELETE", "/v1/services", {"host": host, "binary": binary})


class Zones:
    """Availability zones: names a user can ask for."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[str]:
        """Their names."""
        answer = self._session.get("/v1/availability_zones")
        return [zone["availability_zone"] or "" for zone in answer["availability_zones"]]
