"""Workloads: what users want and what became of it.

Hot reads ask for (seq, version) first and fetch documents only for what the decode cache does not have.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, func, insert, literal, or_, select, update

from krater.errors import Conflict, Invalid, NotFound
from krater.model.assignment import Observed, Placement
from krater.model.network import are_wired
from krater.model.workload import Desired, Intent, Kind, WorkloadSpec
from krater.store.interfaces import Page, Scope, Workload, WorkloadQuery
from krater.store.sql.documents import INTENT, OBSERVED, PLACEMENT, SPEC
from krater.store.sql.link import Link
from krater.store.sql.tables import members, to_millionths
from krater.store.sql.tables import workloads as t

SORTS: dict[str, ColumnElement[Any]] = {
    "id": t.c.seq,
    "uuid": t.c.id,
    "name": t.c.name,
    "project_id": t.c.project_id,
    "user_id": t.c.user_id,
    "image": t.c.image,
    "cpu": t.c.cpu,
    "memory": t.c.memory,
    "disk": t.c.disk,
    "auto_remove": t.c.auto_remove,
    "host": func.coalesce(t.c.node, literal("")),
    "created_at": t.c.created_at,
    "updated_at": func.coalesce(t.c.updated_at, t.c.created_at),
}
"""What a list may be sorted by: the API's names. `id` is the order of creation; it also settles ties."""

_CHUNK = 500
_ID_LENGTH = 36  # of a UUID, which the ids of members always are
_LARGEST_CACHED = 4096  # characters of documents: a tenant may fill a megabyte, and thousands of them no memory
_RECORD = (
    t.c.seq,
    t.c.version,
    t.c.id,
    t.c.kind,
    t.c.project_id,
    t.c.user_id,
    t.c.name,
    t.c.created_at,
    t.c.updated_at,
    t.c.removal,
    t.c.spec,
    t.c.intent,
    t.c.placement,
    t.c.observed,
)
_BY_SEQS = select(*_RECORD).where(t.c.seq.in_(bindparam("seqs", expanding=True)))
_KEYS = select(t.c.seq, t.c.version)
_BY_IDS = _KEYS.where(t.c.id.in_(bindparam("ids", expanding=True)))
_ON_NODE = _KEYS.where(t.c.node == bindparam("wanted")).order_by(t.c.seq)
_UNFINISHED = select(t.c.id).where(t.c.unfinished == 1).order_by(t.c.seq)
_EXISTS = select(t.c.seq).where(t.c.id == bindparam("wanted"))
_ADD = insert(t)
_CHANGE = update(t).where(t.c.seq == bindparam("wanted"))
_DELETE = delete(t).where(t.c.id == bindparam("wanted"))


@cache
def _lookup(column: str, *, project: bool, kind: bool) -> Select[Any]:
    """Statements are made once: SQLAlchemy compiles each at its first use."""
    if column == "member":
        found = _KEYS.join(members, members.c.workload == t.c.seq).where(members.c.id == bindparam("wanted"))
    else:
        found = _KEYS.where(t.c[column] == bindparam("wanted"))
    if project:
        found = found.where(t.c.project_id == bindparam("project"))
    if kind:
        found = found.where(t.c.kind == bindparam("kind"))
    return found.limit(2)


@cache
def _locked(column: str, *, project: bool, kind: bool) -> Select[Any]:
    return _lookup(column, project=project, kind=kind).with_for_update(of=t)


class SqlWorkloads:
    """Workloads and their intent."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._held: dict[str, Workload] = {}

    def begin(self) -> None:
        """Another transaction begins: what the last one had locked is no longer known."""
        self._held.clear()

    def add(self, workload: Workload) -> Workload:
        """Store a new one."""
        self._link.require_room()
        if self._link.row(_EXISTS, {"wanted": workload.id}) is not None:
            raise Conflict(f"There is a workload {workload.id} already.")
        stored = replace(workload, version=1)
        seq = self._link.key(_ADD, _first_columns(stored))
        others = [{"id": c.id, "workload": seq} for c in workload.spec.containers if c.id != workload.id]
        if others:
            self._link.run(insert(members), others)
        return replace(stored, seq=seq)

    def get(self, scope: Scope, ident: str, kind: Kind | None = Kind.CONTAINER) -> Workload:
        """By id, else by the id of a container in it, else by name."""
        for column in ("id", "name") if kind is not None else ("id", "member", "name"):
            found = self._one(column, scope, ident, kind)
            if found is not None:
                return found
        raise _not_found(ident, kind)

    def of_container(self, scope: Scope, ident: str) -> Workload:
        """Lone by id, member by id, lone by name. Names that are not as long as an id cost no look among members."""
        found = self._one("id", scope, ident, Kind.CONTAINER)
        if found is None and len(ident) == _ID_LENGTH:
            found = self._one("member", scope, ident, Kind.CAPSULE)
        if found is None:
            found = self._one("name", scope, ident, Kind.CONTAINER)
        if found is None:
            raise _not_found(ident, Kind.CONTAINER)
        return found

    def find(self, scope: Scope, query: WorkloadQuery, page: Page) -> list[Workload]:
        """A page of them."""
        sort = SORTS.get(page.sort_key)
        if sort is None:
            raise Invalid(f"sort_key: {page.sort_key!r} is none of {', '.join(sorted(SORTS))}", field="sort_key")
        statement = _KEYS.where(*_visible(scope, query.kind), *_filters(query))
        if page.marker is not None:
            statement = statement.where(self._after(page.marker, sort, scope, query.kind, descending=page.descending))
        order = [sort, t.c.seq] if sort is not t.c.seq else [sort]
        statement = statement.order_by(*(o.desc() if page.descending else o for o in order)).limit(page.limit)
        return self._load(self._link.rows(statement))

    def set_intent(
        self, id: str, intent: Intent, *, spec: WorkloadSpec | None = None, name: str | None = None
    ) -> Workload:
        """The API's write."""
        current = self._current(id)
        if intent.generation != current.intent.generation + 1:
            raise Conflict("Another request has changed it meanwhile.")
        changed = replace(
            current,
            intent=intent,
            spec=current.spec if spec is None else spec,
            name=current.name if name is None else name,
        )
        columns = _intent_columns(intent) | {"name": changed.name}
        return self._store(changed, columns if spec is None else columns | _spec_columns(spec))

    def place(self, id: str, placement: Placement) -> Workload:
        """The controller's write."""
        return self._store(replace(self._current(id), placement=placement), _placement_columns(placement))

    def observe(self, id: str, observed: Observed) -> Workload:
        """The fold of a report."""
        return self._store(replace(self._current(id), observed=observed), {"observed": OBSERVED.encode(observed)})

    def retire(self, id: str, reason: str) -> Workload:
        """The controller removes it of its own accord."""
        return self._store(replace(self._current(id), removal=reason), {"removal": reason})

    def delete(self, id: str) -> None:
        """Forget the row."""
        self._held.pop(id, None)
        self._link.run(_DELETE, {"wanted": id})

    def by_ids(self, ids: Sequence[str]) -> list[Workload]:
        """Those of the ids that exist. Locks them in a write transaction, like `get`."""
        found: list[Workload] = []
        statement = self._link.lock(_BY_IDS)
        wanted = sorted(set(ids))
        for start in range(0, len(wanted), _CHUNK):
            found += self._load(self._link.rows(statement, {"ids": wanted[start : start + _CHUNK]}))
        self._hold(found)
        return found

    def on_node(self, node: str) -> list[Workload]:
        """All workloads placed on a node."""
        return self._load(self._link.rows(_ON_NODE, {"wanted": node}))

    def unfinished(self) -> list[str]:
        """Ids the controller has something to do for."""
        return [row[0] for row in self._link.rows(_UNFINISHED)]

    # Reading ----------------------------------------------------------------------------------------------------------

    def _one(self, column: str, scope: Scope, ident: str, kind: Kind | None) -> Workload | None:
        """The only one that a column names, if there is one. Conflict when there are several."""
        keys = self._keys(column, scope, ident, kind)
        if len(keys) > 1:
            raise Conflict(f"Several of your {kind or Kind.CONTAINER}s are named {ident}; use the id.")
        found = self._load(keys)
        self._hold(found)
        return found[0] if found else None

    def _keys(self, column: str, scope: Scope, ident: str, kind: Kind | None) -> Sequence[Any]:
        values = {"wanted": ident}
        if scope.project is not None:
            values["project"] = scope.project
        if kind is not None:
            values["kind"] = kind.value
        has_project, has_kind = scope.project is not None, kind is not None
        if self._link.writes:
            return self._link.rows(_locked(column, project=has_project, kind=has_kind), values)
        return self._link.direct_rows(_lookup(column, project=has_project, kind=has_kind), values)

    def _load(self, keys: Sequence[Any]) -> list[Workload]:
        """The workloads of these (seq, version), in their order, less those that went away meanwhile."""
        known = self._link.cache.find
        found = [known(seq, version) for seq, version in keys]
        missing = [key[0] for key, workload in zip(keys, found, strict=True) if workload is None]
        if not missing:
            return [workload for workload in found if workload is not None]
        fetched: dict[int, Workload] = {}
        for start in range(0, len(missing), _CHUNK):
            for row in self._link.rows(_BY_SEQS, {"seqs": missing[start : start + _CHUNK]}):
                fetched[row[0]] = workload = _decode(row)
                if not self._link.writes and len(row.spec) + len(row.observed) <= _LARGEST_CACHED:
                    self._link.cache.add(workload)
        loaded = (workload or fetched.get(key[0]) for key, workload in zip(keys, found, strict=True))
        return [workload for workload in loaded if workload is not None]

    def _hold(self, loaded: Sequence[Workload]) -> None:
        """Only for what was read with its lock."""
        if self._link.writes:
            self._held.update((workload.id, workload) for workload in loaded)

    def _after(
        self, marker: str, sort: ColumnElement[Any], scope: Scope, kind: Kind, *, descending: bool
    ) -> ColumnElement[bool]:
        """The condition that a row comes after the marker's."""
        row = self._link.row(select(sort, t.c.seq).where(*_visible(scope, kind), t.c.id == marker))
        if row is None:
            raise _not_found(marker, kind)
        value, seq = row
        beyond: ColumnElement[bool] = sort < value if descending else sort > value
        later: ColumnElement[bool] = t.c.seq < seq if descending else t.c.seq > seq
        return beyond if sort is t.c.seq else or_(beyond, and_(sort == value, later))

    # Writing ----------------------------------------------------------------------------------------------------------

    def _current(self, id: str) -> Workload:
        """As it is. What this transaction has read with its lock is changed by nobody but itself."""
        held = self._held.get(id)
        if held is not None:
            return held
        found = self.by_ids([id])
        if not found:
            raise _not_found(id, None)
        return found[0]

    def _store(self, changed: Workload, columns: dict[str, Any]) -> Workload:
        """Write some columns of a workload that is locked, and what goes with every change."""
        changed = replace(changed, version=changed.version + 1, updated_at=self._link.now())
        always = {
            "version": changed.version,
            "updated_at": changed.updated_at,
            "unfinished": int(_is_unfinished(changed)),
        }
        self._link.run(_CHANGE, {"wanted": changed.seq, **always, **columns})
        self._held[changed.id] = changed
        return changed


def _is_unfinished(workload: Workload) -> bool:
    going = workload.intent.desired is Desired.REMOVED or workload.removal is not None
    placement = workload.placement
    if going or placement.node is None or placement.leaving:
        return True
    return placement.generation != workload.intent.generation and not are_wired(workload.spec.nets, placement.nics)


def _not_found(ident: str, kind: Kind | None) -> NotFound:
    return NotFound(f"There is no {kind or Kind.CONTAINER} {ident}.")


def _visible(scope: Scope, kind: Kind) -> list[ColumnElement[bool]]:
    conditions = [t.c.kind == kind.value]
    if scope.project is not None:
        conditions.append(t.c.project_id == scope.project)
    return conditions


def _filters(query: WorkloadQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.auto_remove is not None:
        conditions.append(t.c.auto_remove == int(query.auto_remove))
    for column, wanted in (
        (t.c.name, query.names),
        (t.c.image, query.images),
        (t.c.user_id, query.users),
        (t.c.project_id, query.projects),
        (t.c.memory, query.memory),
        (t.c.node, query.nodes),
    ):
        if wanted:
            conditions.append(column.in_(wanted))
    return conditions


def _spec_columns(spec: WorkloadSpec) -> dict[str, Any]:
    resources = spec.resources
    return {
        "spec": SPEC.encode(spec),
        "image": spec.containers[0].image if spec.containers else "",
        "cpu": to_millionths(resources.cpu),
        "memory": resources.memory,
        "disk": resources.disk,
        "containers": len(spec.containers),
        "auto_remove": int(spec.auto_remove),
    }


def _intent_columns(intent: Intent) -> dict[str, Any]:
    return {"intent": INTENT.encode(intent), "generation": intent.generation}


def _placement_columns(placement: Placement) -> dict[str, Any]:
    return {"placement": PLACEMENT.encode(placement), "node": placement.node}


def _first_columns(workload: Workload) -> dict[str, Any]:
    return {
        "id": workload.id,
        "kind": workload.kind.value,
        "project_id": workload.project_id,
        "user_id": workload.user_id,
        "name": workload.name,
        "created_at": workload.created_at,
        "updated_at": workload.updated_at,
        "version": workload.version,
        "removal": workload.removal,
        "observed": OBSERVED.encode(workload.observed),
        "unfinished": int(_is_unfinished(workload)),
        **_spec_columns(workload.spec),
        **_intent_columns(workload.intent),
        **_placement_columns(workload.placement),
    }


def _decode(row: Any) -> Workload:
    seq, version, id, kind, project, user, name, created, updated, removal, spec, intent, placement, observed = row
    return Workload(
        id=id,
        kind=Kind(kind),
        project_id=project,
        user_id=user,
        name=name,
        spec=SPEC.decode(spec),
        intent=INTENT.decode(intent),
        created_at=created,
        updated_at=updated,
        removal=removal,
        placement=PLACEMENT.decode(placement),
        observed=OBSERVED.decode(observed),
        seq=seq,
        version=version,
    )
