"""Security groups in Krater's own store. What one project can have is bounded."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from krater.cloud.interfaces import Caller
from krater.cloud.local.networks import insist
from krater.errors import Conflict, Invalid, NotFound
from krater.model.network import Port
from krater.model.security import DEFAULT_GROUP, SecurityGroup, SecurityRule, default_group_id, egress_to_anywhere
from krater.store.interfaces import Scope, Store, Tx

_MOST_GROUPS, _MOST_RULES = 100, 100


class LocalSecurityGroups:
    """Groups of the embedded profile. Everybody sees those of the project they work in."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(self, caller: Caller) -> Sequence[SecurityGroup]:
        """All of the project, the default one at least."""
        await self._ensure_default(caller)
        return await self._store.read(lambda tx: tx.security_groups.list(Scope(caller.project_id)))

    async def get(self, caller: Caller, ident: str) -> SecurityGroup:
        """By id or name."""
        if ident == DEFAULT_GROUP:
            await self._ensure_default(caller)
        return await self._store.read(lambda tx: tx.security_groups.get(Scope(caller.project_id), ident))

    async def create(self, caller: Caller, name: str, description: str) -> SecurityGroup:
        """One that lets everything out and nothing in."""
        made = SecurityGroup(str(uuid4()), caller.project_id, name, description, rules=egress_to_anywhere())

        def add(tx: Tx) -> None:
            own = [group for group in tx.security_groups.list(Scope(caller.project_id)) if not group.device]
            _refuse(len(own) >= _MOST_GROUPS, f"A project can have {_MOST_GROUPS} security groups.")
            _refuse(name == DEFAULT_GROUP, f"The name {DEFAULT_GROUP} is that of the project's default group.")
            tx.security_groups.add(made)

        await self._store.write(add)
        return made

    async def delete(self, caller: Caller, ident: str) -> None:
        """One that nobody is in."""
        await self._store.write(lambda tx: tx.security_groups.delete(Scope(caller.project_id), ident))

    async def add_rule(self, caller: Caller, ident: str, rule: SecurityRule) -> SecurityGroup:
        """The group, with one rule more."""
        scope = Scope(caller.project_id)
        if DEFAULT_GROUP in (ident, rule.remote_group):
            await self._ensure_default(caller)

        def add(tx: Tx) -> SecurityGroup:
            group = tx.security_groups.get(scope, ident)
            _refuse(len(group.rules) >= _MOST_RULES, f"A security group can have {_MOST_RULES} rules.")
            tx.security_groups.add_rule(group.id, _named(tx, scope, rule))
            return tx.security_groups.get(scope, group.id)

        return await self._store.write(add)

    async def delete_rule(self, caller: Caller, id: str) -> str:
        """Answers with the id of its group."""
        return await self._store.write(lambda tx: tx.security_groups.delete_rule(Scope(caller.project_id), id))

    async def resolve(self, caller: Caller, idents: Sequence[str]) -> tuple[str, ...]:
        """Names and ids to ids, each once."""
        scope = Scope(caller.project_id)
        if DEFAULT_GROUP in idents:
            await self._ensure_default(caller)
        return await self._store.read(lambda tx: resolve_groups(tx, scope, idents))

    async def of_ports(self, ports: Sequence[Port]) -> dict[str, tuple[str, ...]]:
        """The groups that each port is in."""
        holders = {port.id: port.device if port.owned else port.id for port in ports}
        found = await self._store.read(lambda tx: tx.security_groups.joined(set(holders.values())))
        return {port.id: found.get(holders[port.id], ()) for port in ports}

    async def _ensure_default(self, caller: Caller) -> None:
        project, id = caller.project_id, default_group_id(caller.project_id)
        if not await self._store.read(lambda tx: _has(tx, project, id)):
            await insist(self._store, lambda tx: tx.security_groups.ensure_default(project))


def resolve_groups(tx: Tx, scope: Scope, idents: Sequence[str]) -> tuple[str, ...]:
    """Names and ids to ids, each once. Invalid for an unknown one, Conflict for a name that several have."""
    found: dict[str, None] = {}
    for ident in idents:
        try:
            found[tx.security_groups.get(scope, ident).id] = None
        except NotFound as error:
            raise Invalid(
                f"security_groups: {error.message}", field="security_groups", code="security-group-not-found"
            ) from None
    return tuple(found)


def _named(tx: Tx, scope: Scope, rule: SecurityRule) -> SecurityRule:
    """The rule with the other group's id in place of its name."""
    if rule.remote_group is None:
        return rule
    return replace(rule, remote_group=tx.security_groups.get(scope, rule.remote_group).id)


def _has(tx: Tx, project: str, id: str) -> bool:
    try:
        tx.security_groups.get(Scope(project), id)
    except NotFound:
        return False
    return True


def _refuse(refused: bool, why: str) -> None:
    if refused:
        raise Conflict(why)
