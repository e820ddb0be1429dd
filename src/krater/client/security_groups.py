"""Security groups of the embedded profile: an extension of the API."""

from typing import Any, cast

from krater.client.answers import SecurityGroup, SecurityRule
from krater.client.session import Session, segment

_URL = "/v1/security_groups"


class SecurityGroups:
    """The security groups of a project. What is changed holds for running containers within a second."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[SecurityGroup]:
        """All of them. A project that has none is given its default one."""
        return cast("list[SecurityGroup]", self._session.get(_URL)["security_groups"])

    def show(self, group: str) -> SecurityGroup:
        """One, by id or name."""
        return cast(SecurityGroup, self._session.get(f"{_URL}/{segment(group)}"))

    def create(self, name: str, description: str = "") -> SecurityGroup:
        """A new one: it lets everything out and nothing in until rules are added."""
        return cast(SecurityGroup, self._session.post(_URL, body={"name": name, "description": description}))

    def delete(self, group: str) -> None:
        """Remove one that no container is in and no other group's rule names."""
        self._session.ask("DELETE", f"{_URL}/{segment(group)}")

    def add_rule(
        self,
        group: str,
        *,
        direction: str = "ingress",
        ethertype: str | None = None,
        protocol: str | None = None,
        ports: tuple[int, int | None] | None = None,
        remote_ip_prefix: str | None = None,
        remote_group: str | None = None,
    ) -> SecurityRule:
        """Allow something; what is not said is any. `ports` are the first and the last, or type and code of ICMP."""
        lowest, highest = ports if ports is not None else (None, None)
        said: dict[str, Any] = {
            "direction": direction,
            "ethertype": ethertype,
            "protocol": protocol,
            "port_range_min": lowest,
            "port_range_max": highest,
            "remote_ip_prefix": remote_ip_prefix,
            "remote_group": remote_group,
        }
        body = {key: value for key, value in said.items() if value is not None}
        return cast(SecurityRule, self._session.post(f"{_URL}/{segment(group)}/rules", body=body))

    def delete_rule(self, rule: str) -> None:
        """Allow it no longer. Connections that were made under it stay."""
        self._session.ask("DELETE", f"/v1/security_group_rules/{segment(rule)}")
