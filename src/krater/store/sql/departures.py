"""Containers that are gone."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select

from krater.errors import Conflict, NotFound
from krater.store.departures import Departure
from krater.store.interfaces import Scope
from krater.store.sql.link import Link
from krater.store.sql.tables import departures as t

_MOST = 10_000
"""Pruning takes no longer than this allows; the rest goes the next time."""

_RECORD = select(t.c.id, t.c.project_id, t.c.user_id, t.c.name, t.c.node, t.c.gone_at)
_KNOWN = select(t.c.id).where(t.c.id.in_(bindparam("ids", expanding=True)))
_ADD = insert(t)


class SqlDepartures:
    """Containers that are gone."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, departures: Iterable[Departure]) -> None:
        """The first word on a container counts."""
        wanted: dict[str, Departure] = {}
        for departure in departures:
            wanted.setdefault(departure.id, departure)
        if not wanted:
            return
        known = {row[0] for row in self._link.rows(_KNOWN, {"ids": sorted(wanted)})}
        new = [_columns(departure) for id, departure in wanted.items() if id not in known]
        if new:
            self._link.run(_ADD, new)

    def get(self, scope: Scope, ident: str, since: datetime) -> Departure:
        """By id, else by name."""
        for column in (t.c.id, t.c.name):
            statement = _RECORD.where(column == ident, t.c.gone_at >= since).limit(2)
            if scope.project is not None:
                statement = statement.where(t.c.project_id == scope.project)
            rows = self._link.rows(statement)
            if len(rows) > 1:
                raise Conflict(f"Several of your containers that are gone were named {ident}; use the id.")
            if rows:
                return Departure(*rows[0])
        raise NotFound(f"No container {ident} is gone whose log is kept.")

    def prune(self, before: datetime, most: int) -> int:
        """Forget the old ones, and of each project those beyond its `most` latest."""
        forgotten = self._forget(t.c.gone_at < before)
        crowded = select(t.c.project_id).group_by(t.c.project_id).having(func.count() > most)
        for project in self._link.rows(crowded):
            of_project = t.c.project_id == project[0]
            latest = select(t.c.gone_at).where(of_project).order_by(t.c.gone_at.desc())
            last = self._link.row(latest.offset(most).limit(1))
            if last is not None:
                forgotten += self._forget(of_project, t.c.gone_at <= last[0])
        return forgotten

    def _forget(self, *which: ColumnElement[bool]) -> int:
        old = [row[0] for row in self._link.rows(select(t.c.id).where(*which).order_by(t.c.gone_at).limit(_MOST))]
        if old:
            self._link.run(delete(t).where(t.c.id.in_(old)))
        return len(old)


def _columns(departure: Departure) -> dict[str, Any]:
    return {
        "id": departure.id,
        "project_id": departure.project_id,
        "user_id": departure.user_id,
        "name": departure.name,
        "node": departure.node,
        "gone_at": departure.gone_at,
    }
