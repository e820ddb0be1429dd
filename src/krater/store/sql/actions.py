"""The history of workloads. No foreign key to them: it outlives them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, delete, exists, func, insert, select, update

from krater.errors import NotFound
from krater.model.assignment import StepEvent
from krater.store.interfaces import Action, ActionEvent, Scope
from krater.store.sql.link import Link
from krater.store.sql.tables import action_events as e
from krater.store.sql.tables import actions as t
from krater.store.sql.tables import members, workloads

MOST_ACTIONS, MOST_EVENTS = 200, 100
SUCCESS, ERROR = "Success", "Error"
LONGEST_EVENT = 255
"""Characters that the column takes: a step of a member is told with its name, which may be as long by itself."""

_RECORD = (
    t.c.seq,
    t.c.workload,
    t.c.action,
    t.c.request_id,
    t.c.user_id,
    t.c.project_id,
    t.c.generation,
    t.c.start_time,
    t.c.finish_time,
    t.c.message,
)
_OF_WORKLOAD = select(*_RECORD).where(t.c.workload == bindparam("wanted")).order_by(t.c.seq.desc())
_OF_PROJECT = _OF_WORKLOAD.where(t.c.project_id == bindparam("project"))
_NEWEST = (
    select(t.c.seq, t.c.event_count, t.c.finish_time)
    .where(t.c.workload == bindparam("wanted"), t.c.generation <= bindparam("most"))
    .order_by(t.c.finish_time.is_not(None), t.c.seq.desc())
    .limit(1)
)
_FIRST_TOO_MANY = (
    select(t.c.seq).where(t.c.workload == bindparam("wanted")).order_by(t.c.seq.desc()).offset(MOST_ACTIONS).limit(1)
)
_FORGET = delete(t).where(t.c.workload == bindparam("wanted"), t.c.seq <= bindparam("last"))
_EVENTS = (
    select(e.c.event, e.c.start_time, e.c.finish_time, e.c.result, e.c.details)
    .where(e.c.action == bindparam("wanted"))
    .order_by(e.c.seq)
)
_START = insert(t)
_ADD_EVENTS = insert(e)
_COUNT = update(t).where(t.c.seq == bindparam("wanted"))
_FINISH = update(t).where(
    t.c.workload == bindparam("wanted"), t.c.generation <= bindparam("most"), t.c.finish_time.is_(None)
)

_FINISH_REQUEST = update(t).where(
    t.c.workload == bindparam("wanted"), t.c.request_id == bindparam("request"), t.c.finish_time.is_(None)
)


class SqlActions:
    """Actions and the steps taken for them."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def start(self, action: Action) -> None:
        """Record that it began, and forget the oldest of too many."""
        values = {
            "workload": action.workload,
            "action": action.action,
            "request_id": action.request_id,
            "user_id": action.user_id,
            "project_id": action.project_id,
            "generation": action.generation,
            "start_time": action.start_time,
            "finish_time": action.finish_time,
            "message": action.message,
            "event_count": 0,
        }
        self._link.run(_START, values)
        too_old = self._link.row(_FIRST_TOO_MANY, {"wanted": action.workload})
        if too_old is not None:
            self._link.run(_FORGET, {"wanted": action.workload, "last": too_old[0]})

    def add_events(self, workload: str, generation: int, events: Iterable[StepEvent], *, if_open: bool = False) -> bool:
        """Add to the newest unfinished action of at most this generation, else to the newest of those."""
        row = self._link.row(self._link.lock(_NEWEST), {"wanted": workload, "most": generation})
        if row is None or (if_open and row[2] is not None):
            return False
        action, count, _ = row
        new = [_event_columns(action, event) for event in events][: max(0, MOST_EVENTS - count)]
        if new:
            self._link.run(_ADD_EVENTS, new)
            self._link.run(_COUNT, {"wanted": action, "event_count": count + len(new)})
        return True

    def finish(self, workload: str, generation: int, error: str | None, at: datetime) -> None:
        """Close all unfinished actions of at most this generation."""
        self._link.run(_FINISH, {"wanted": workload, "most": generation, "finish_time": at, "message": error})

    def finish_request(self, workload: str, request_id: str, error: str | None, at: datetime) -> None:
        """Close the unfinished action of one request."""
        values = {"wanted": workload, "request": request_id, "finish_time": at, "message": error}
        self._link.run(_FINISH_REQUEST, values)

    def list(self, scope: Scope, workload: str) -> list[Action]:
        """Newest first, without events."""
        return [_decode(row) for row in self._link.rows(*_in_scope(scope, workload))]

    def get(self, scope: Scope, workload: str, request_id: str) -> Action:
        """One with its events."""
        statement, values = _in_scope(scope, workload)
        row = self._link.row(statement.where(t.c.request_id == request_id).limit(1), values)
        if row is None:
            raise NotFound(f"There is no action of the request {request_id} on {workload}.")
        events = self._link.rows(_EVENTS, {"wanted": row.seq})
        return _decode(row, tuple(ActionEvent(*event) for event in events))

    def prune(self, before: datetime, most: int) -> int:
        """Forget those of workloads that are gone: old ones, and of each project those beyond its `most` newest."""
        forgotten = self._forget(t.c.finish_time < before)
        count = func.count()
        for project in self._link.rows(select(t.c.project_id).group_by(t.c.project_id).having(count > most)):
            of_project = t.c.project_id == project[0]
            newest = select(t.c.seq).where(of_project).order_by(t.c.seq.desc())
            last = self._link.row(newest.offset(most).limit(1))
            if last is not None:
                forgotten += self._forget(of_project, t.c.seq <= last[0], t.c.finish_time.is_not(None))
        return forgotten

    def _forget(self, *which: ColumnElement[bool]) -> int:
        is_gone = [~exists(select(table.c.id).where(table.c.id == t.c.workload)) for table in (workloads, members)]
        found = select(t.c.seq).where(*which, *is_gone).order_by(t.c.seq).limit(_MOST)
        old = [row[0] for row in self._link.rows(found)]
        if old:
            self._link.run(delete(t).where(t.c.seq.in_(old)))
        return len(old)


_MOST = 10_000
"""A garbage collection takes no longer than this allows; the rest goes with the next one."""


def _in_scope(scope: Scope, workload: str) -> tuple[Select[Any], dict[str, str]]:
    if scope.project is None:
        return _OF_WORKLOAD, {"wanted": workload}
    return _OF_PROJECT, {"wanted": workload, "project": scope.project}


def _event_columns(action: int, event: StepEvent) -> dict[str, Any]:
    return {
        "action": action,
        "event": event.step[:LONGEST_EVENT],
        "start_time": event.started_at,
        "finish_time": event.finished_at,
        "result": SUCCESS if event.error is None else ERROR,
        "details": event.error,
    }


def _decode(row: Any, events: tuple[ActionEvent, ...] = ()) -> Action:
    _, workload, action, request, user, project, generation, start, finish, message = row
    return Action(workload, action, request, user, project, generation, start, finish, message, events)
