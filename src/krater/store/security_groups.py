"""What the store keeps of security groups. Import it from `krater.store.interfaces`."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from krater.model.security import GroupRules, SecurityGroup, SecurityRule
from krater.store.records import Scope


class SecurityGroups(Protocol):
    """Security groups of the embedded profile, and who is in them.

    A *device* is a workload, whose own ports are in its groups, or a port that a user keeps.
    """

    def add(self, group: SecurityGroup) -> None:
        """With its rules. Conflict when the id exists."""

    def ensure_default(self, project: str) -> SecurityGroup:
        """The project's default group, made when it is asked for first."""
        ...

    def get(self, scope: Scope, ident: str) -> SecurityGroup:
        """By id, else by name, with its rules. NotFound; Conflict when several have the name."""
        ...

    def list(self, scope: Scope) -> Sequence[SecurityGroup]:
        """Oldest first, with their rules."""
        ...

    def delete(self, scope: Scope, ident: str) -> SecurityGroup:
        """NotFound; Conflict for a default group, one with members, and one that other groups' rules name."""
        ...

    def add_rule(self, group: str, rule: SecurityRule) -> None:
        """Conflict when the group has one that allows the same."""

    def delete_rule(self, scope: Scope, id: str) -> str:
        """NotFound. Answers with the id of the group it was in."""
        ...

    def join(self, device: str, groups: Sequence[str]) -> None:
        """Have a device in exactly these groups, in this order. NotFound when one is gone."""

    def joined(self, devices: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The groups of those devices that are in any."""
        ...

    def leave(self, device: str) -> None:
        """Have a device in no group, and delete the groups that were made for it. Idempotent."""

    def rules(self, groups: Iterable[str], node: str) -> Sequence[GroupRules]:
        """What a node must know of these groups, and of those their rules name: members are those of other nodes."""
        ...

    def nodes(self, groups: Iterable[str]) -> set[str]:
        """Nodes that have members of these groups, or of groups whose rules name them."""
        ...

    def other_nodes(self, groups: Iterable[str], node: str | None) -> set[str]:
        """Those besides `node`, which has the card that comes or goes. Where there is one node there are none."""
        ...
