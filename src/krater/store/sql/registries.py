"""Registries of projects, with passwords that only the installation's key opens."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, insert, literal, or_, select, update

from krater.errors import Conflict, Invalid, NotFound
from krater.model.registry import Registry
from krater.store.interfaces import Page, RegistryQuery, Scope
from krater.store.sql.link import Link
from krater.store.sql.tables import registries as t
from krater.store.sql.tables import registry_uses as uses

SORTS: dict[str, ColumnElement[Any]] = {
    "id": t.c.seq,
    "uuid": t.c.id,
    "name": func.coalesce(t.c.name, literal("")),
    "domain": t.c.domain,
    "username": func.coalesce(t.c.username, literal("")),
    "project_id": t.c.project_id,
    "user_id": t.c.user_id,
    "created_at": t.c.created_at,
    "updated_at": func.coalesce(t.c.updated_at, t.c.created_at),
}
"""What a list may be sorted by: the API's names."""

_NAMES = tuple(entry.name for entry in fields(Registry))
_RECORD = tuple(t.c[name] for name in _NAMES)
_BY_ID = select(*_RECORD).where(t.c.id == bindparam("wanted"))
_BY_NAME = select(*_RECORD).where(t.c.name == bindparam("wanted")).order_by(t.c.seq).limit(2)
_CHANGE = update(t).where(t.c.id == bindparam("wanted"))
_RESEAL = _CHANGE.where(t.c.sealed == bindparam("was"))
_SEALED = (
    select(t.c.seq, t.c.id, t.c.sealed)
    .where(t.c.seq > bindparam("after"), t.c.sealed.is_not(None))
    .order_by(t.c.seq)
    .limit(bindparam("most"))
)
_USED = select(uses.c.workload).where(uses.c.registry == bindparam("wanted")).limit(1)


class SqlRegistries:
    """Registries."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, registry: Registry) -> None:
        """Store a new one."""
        if self._link.row(_BY_ID, {"wanted": registry.id}) is not None:
            raise Conflict(f"There is a registry {registry.id} already.")
        self._link.run(insert(t), {name: getattr(registry, name) for name in _NAMES})

    def get(self, scope: Scope, ident: str) -> Registry:
        """By id, else by name. Locks the row in a write transaction."""
        for statement in (_BY_ID, _BY_NAME):
            query = statement if scope.project is None else statement.where(t.c.project_id == scope.project)
            rows = self._link.rows(self._link.lock(query), {"wanted": ident})
            if len(rows) > 1:
                raise Conflict(f"Several registries have the name {ident[:80]}; name it by its id.")
            if rows:
                return Registry(*rows[0])
        raise _not_found(ident)

    def find(self, scope: Scope, query: RegistryQuery, page: Page) -> list[Registry]:
        """A page of them."""
        sort = SORTS.get(page.sort_key)
        if sort is None:
            raise Invalid(f"sort_key: {page.sort_key[:60]!r} is none of {', '.join(sorted(SORTS))}", field="sort_key")
        filters = ((t.c[name], getattr(query, name)) for name in _filters())
        wanted: list[ColumnElement[bool]] = [column.in_(values) for column, values in filters if values]
        if scope.project is not None:
            wanted.append(t.c.project_id == scope.project)
        if page.marker is not None:
            own = () if scope.project is None else (t.c.project_id == scope.project,)
            row = self._link.row(select(sort, t.c.seq).where(t.c.id == page.marker, *own))
            if row is None:
                raise _not_found(page.marker)
            value, seq = row
            later = t.c.seq < seq if page.descending else t.c.seq > seq
            beyond = sort < value if page.descending else sort > value
            wanted.append(or_(beyond, and_(sort == value, later)))
        order = (sort, t.c.seq)
        statement = select(*_RECORD).where(*wanted)
        statement = statement.order_by(*(o.desc() if page.descending else o for o in order)).limit(page.limit)
        return [Registry(*row) for row in self._link.rows(statement)]

    def change(self, registry: Registry, at: datetime) -> Registry:
        """Replace what may be changed of one."""
        changed = replace(registry, updated_at=at)
        values = {name: getattr(changed, name) for name in ("name", "domain", "username", "sealed", "updated_at")}
        if not self._link.change(_CHANGE, {"wanted": registry.id, **values}):
            raise _not_found(registry.id)
        return changed

    def delete(self, scope: Scope, ident: str) -> None:
        """Forget one that nothing comes from."""
        id = self.get(scope, ident).id
        if self._link.row(_USED, {"wanted": id}) is not None:
            raise Conflict(f"Registry {ident[:80]} is used by a container.")
        self._link.run(delete(t).where(t.c.id == id))

    def use(self, id: str, workload: str) -> None:
        """A workload comes from it."""
        self._link.run(insert(uses), {"registry": id, "workload": workload})

    def by_ids(self, ids: Sequence[str]) -> dict[str, Registry]:
        """Those that exist."""
        rows = self._link.rows(select(*_RECORD).where(t.c.id.in_(sorted(set(ids))))) if ids else ()
        return {row[0]: Registry(*row) for row in rows}

    def sealed(self, after: int, most: int) -> Sequence[tuple[int, str, str]]:
        """Sealed passwords: place, id, text."""
        return [(seq, id, text) for seq, id, text in self._link.rows(_SEALED, {"after": after, "most": most})]

    def reseal(self, id: str, was: str, now: str) -> None:
        """The same password under another key."""
        self._link.change(_RESEAL, {"wanted": id, "was": was, "sealed": now})


def _filters() -> tuple[str, ...]:
    return tuple(entry.name for entry in fields(RegistryQuery))


def _not_found(ident: str) -> NotFound:
    return NotFound(f"Registry {ident[:255]} could not be found.", code="registry-not-found")
