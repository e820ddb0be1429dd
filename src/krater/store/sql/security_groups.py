"""Security groups, their rules and members of the embedded profile."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, delete, insert, or_, select

from krater.errors import Conflict, NotFound
from krater.model.security import (
    DEFAULT_GROUP,
    Direction,
    GroupRules,
    SecurityGroup,
    SecurityRule,
    default_group,
    default_group_id,
)
from krater.store.interfaces import EVERYBODY, Scope
from krater.store.sql.link import Link
from krater.store.sql.tables import addresses, nodes, ports, workloads
from krater.store.sql.tables import security_groups as t
from krater.store.sql.tables import security_members as members
from krater.store.sql.tables import security_rules as rules

_CHUNK = 500
_GROUP = (t.c.id, t.c.project_id, t.c.name, t.c.description, t.c.device)
_RULE = (
    rules.c.owner,
    rules.c.id,
    rules.c.direction,
    rules.c.version,
    rules.c.protocol,
    rules.c.lowest,
    rules.c.highest,
    rules.c.remote_cidr,
    rules.c.remote_group,
)
_ONE_OF: BindParameter[Any] = bindparam("some", expanding=True)
_EXISTS = select(t.c.id).where(t.c.id == bindparam("wanted"))
_RULES = select(*_RULE).where(rules.c.owner.in_(_ONE_OF)).order_by(rules.c.seq)
_JOINED = select(members.c.device, members.c.owner).where(members.c.device.in_(_ONE_OF)).order_by(members.c.rank)
_NAMING = select(rules.c.owner).where(rules.c.remote_group.in_(_ONE_OF))
_LEAVE = delete(members).where(members.c.device == bindparam("wanted"))
_MADE_FOR = select(t.c.id).where(t.c.device == bindparam("wanted"))
_DELETE = delete(t).where(t.c.id == bindparam("wanted"))
_JOIN = insert(members)
# A device's ports: those made for a workload, or the one port itself where somebody keeps it.
_ITS_PORTS = or_(
    and_(ports.c.device == members.c.device, ports.c.owned == 1),
    and_(ports.c.id == members.c.device, ports.c.owned == 0),
)
_ELSEWHERE = (
    select(members.c.owner, addresses.c.address)
    .select_from(members.join(ports, _ITS_PORTS))
    .join(workloads, workloads.c.id == ports.c.device)
    .join(addresses, addresses.c.port == ports.c.id)
    .where(members.c.owner.in_(_ONE_OF), workloads.c.node != bindparam("here"))
    .order_by(addresses.c.address)
)
_NODES = (
    select(workloads.c.node)
    .select_from(members.join(ports, _ITS_PORTS))
    .join(workloads, workloads.c.id == ports.c.device)
    .where(members.c.owner.in_(_ONE_OF), workloads.c.node.is_not(None))
    .distinct()
)
_SOMEWHERE_ELSE = select(workloads.c.id).where(workloads.c.node != bindparam("here")).limit(1)

_TWO_NODES = select(nodes.c.id).limit(2)


class SqlSecurityGroups:
    """Groups and what is in them."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, group: SecurityGroup) -> None:
        """Store a new one with its rules."""
        if self._link.row(_EXISTS, {"wanted": group.id}) is not None:
            raise Conflict(f"There is a security group {group.id} already.")
        values = {
            "id": group.id,
            "project_id": group.project_id,
            "name": group.name,
            "description": group.description,
            "device": group.device,
        }
        self._link.run(insert(t), values)
        if group.rules:
            self._link.run(insert(rules), [_columns(group.id, rule) for rule in group.rules])

    def ensure_default(self, project: str) -> SecurityGroup:
        """Made once: its id is known before."""
        found = self._groups([t.c.id == default_group_id(project)])
        if found:
            return found[0]
        made = default_group(project)
        self.add(made)
        return made

    def get(self, scope: Scope, ident: str) -> SecurityGroup:
        """By id, else by name."""
        found = self._groups([*_owns(scope), t.c.id == ident]) or self._groups([*_owns(scope), t.c.name == ident])
        if len(found) > 1:
            raise Conflict(f"Several security groups are named {ident}; use the id.")
        if not found:
            raise _no_group(ident)
        return found[0]

    def list(self, scope: Scope) -> Sequence[SecurityGroup]:
        """All of them."""
        return self._groups(_owns(scope))

    def delete(self, scope: Scope, ident: str) -> SecurityGroup:
        """Forget one that nobody is in."""
        group = self.get(scope, ident)
        if group.id == default_group_id(group.project_id):
            raise Conflict(f"The security group {DEFAULT_GROUP} of a project cannot be deleted.")
        if self._link.row(select(members.c.device).where(members.c.owner == group.id).limit(1)) is not None:
            raise Conflict(f"The security group {group.name} is in use: containers or kept ports are in it.")
        naming = rules.c.remote_group == group.id
        other = self._link.row(select(rules.c.owner).where(naming, rules.c.owner != group.id).limit(1))
        if other is not None:
            raise Conflict(f"The security group {group.name} is in use: a rule of the group {other[0]} names it.")
        self._link.run(_DELETE, {"wanted": group.id})
        return group

    def add_rule(self, group: str, rule: SecurityRule) -> None:
        """One more thing that is allowed."""
        if any(there.allowed == rule.allowed for there in self.get(EVERYBODY, group).rules):
            raise Conflict("The security group has such a rule already.")
        self._link.run(insert(rules), _columns(group, rule))

    def delete_rule(self, scope: Scope, id: str) -> str:
        """One less."""
        its_group = rules.join(t, t.c.id == rules.c.owner)
        row = self._link.row(select(rules.c.owner).select_from(its_group).where(*_owns(scope), rules.c.id == id))
        if row is None:
            raise NotFound(f"There is no security group rule {id}.", code="security-group-rule-not-found")
        self._link.run(delete(rules).where(rules.c.id == id))
        return str(row[0])

    def join(self, device: str, groups: Sequence[str]) -> None:
        """Have a device in exactly these."""
        wanted = list(dict.fromkeys(groups))
        there = {row[0] for row in self._link.rows(select(t.c.id).where(t.c.id.in_(_ONE_OF)), {"some": wanted})}
        for id in wanted:
            if id not in there:
                raise _no_group(id)
        self._link.run(_LEAVE, {"wanted": device})
        if wanted:
            self._link.run(_JOIN, [{"device": device, "owner": id, "rank": rank} for rank, id in enumerate(wanted)])

    def joined(self, devices: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Groups by device."""
        found: dict[str, list[str]] = defaultdict(list)
        for part in _chunks(devices):
            for device, group in self._link.rows(_JOINED, {"some": part}):
                found[device].append(group)
        return {device: tuple(ids) for device, ids in found.items()}

    def leave(self, device: str) -> None:
        """A device is gone, and what was made for it goes too."""
        self._link.run(_LEAVE, {"wanted": device})
        made = self._link.rows(_MADE_FOR, {"wanted": device}) if device else []
        for (id,) in made:
            self._link.run(delete(members).where(members.c.owner == id))
            self._link.run(delete(rules).where(rules.c.remote_group == id))
            self._link.run(_DELETE, {"wanted": id})

    def rules(self, groups: Iterable[str], node: str) -> Sequence[GroupRules]:
        """For a node."""
        asked = sorted(set(groups))
        allowed = self._rules_of(asked)
        named = {rule.remote_group for of_one in allowed.values() for rule in of_one if rule.remote_group is not None}
        far: dict[str, list[str]] = defaultdict(list)
        if named and self._link.row(_SOMEWHERE_ELSE, {"here": node}) is not None:
            for part in _chunks(named):
                for group, address in self._link.rows(_ELSEWHERE, {"some": part, "here": node}):
                    far[group].append(address)
        # A group that is only named has no rules here: its own members' nodes are told them with it.
        more = self._rules_of(sorted(named - set(asked)))
        return [
            GroupRules(id, tuple((allowed | more).get(id, ())), tuple(far.get(id, ())))
            for id in sorted({*asked, *named})
        ]

    def nodes(self, groups: Iterable[str]) -> set[str]:
        """Where something changes when these do."""
        changed = set(groups)
        for part in _chunks(list(changed)):
            changed |= {row[0] for row in self._link.rows(_NAMING, {"some": part})}
        return {row[0] for part in _chunks(changed) for row in self._link.rows(_NODES, {"some": part})}

    def other_nodes(self, groups: Iterable[str], node: str | None) -> set[str]:
        """Where something changes besides."""
        if len(self._link.rows(_TWO_NODES)) < 2:
            return set()
        return self.nodes(groups) - {node}

    def _groups(self, conditions: Sequence[ColumnElement[bool]]) -> Sequence[SecurityGroup]:
        rows = self._link.rows(select(*_GROUP).where(*conditions).order_by(t.c.seq))
        allowed = self._rules_of([row.id for row in rows])
        return [
            SecurityGroup(id, project, name, description, device, tuple(allowed.get(id, ())))
            for id, project, name, description, device in rows
        ]

    def _rules_of(self, groups: Sequence[str]) -> dict[str, Sequence[SecurityRule]]:
        found: dict[str, list[SecurityRule]] = defaultdict(list)
        for part in _chunks(groups):
            for owner, id, direction, *rest in self._link.rows(_RULES, {"some": part}):
                found[owner].append(SecurityRule(id, Direction(direction), *rest))
        return dict(found)


def _columns(group: str, rule: SecurityRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "owner": group,
        "direction": rule.direction.value,
        "version": rule.version,
        "protocol": rule.protocol,
        "lowest": rule.lowest,
        "highest": rule.highest,
        "remote_cidr": rule.remote_cidr,
        "remote_group": rule.remote_group,
    }


def _owns(scope: Scope) -> list[ColumnElement[bool]]:
    return [] if scope.project is None else [t.c.project_id == scope.project]


def _chunks(ids: Iterable[str]) -> list[list[str]]:
    wanted = list(ids)
    return [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]


def _no_group(ident: str) -> NotFound:
    return NotFound(f"There is no security group {ident}.", code="security-group-not-found")
