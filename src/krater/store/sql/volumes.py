"""Volumes of the embedded profile, and the contents of injected files."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select, update

from krater.errors import Conflict, NotFound
from krater.model.volume import Volume
from krater.store.interfaces import Scope
from krater.store.sql.link import Link
from krater.store.sql.tables import injected_files as f
from krater.store.sql.tables import volumes as t

_CHUNK = 500
_VOLUME = (
    t.c.id,
    t.c.name,
    t.c.project_id,
    t.c.size,
    t.c.created_at,
    t.c.auto_remove,
    t.c.workload,
    t.c.node,
    t.c.made,
    t.c.removing,
    t.c.failure,
)
_USE = select(func.count(), func.coalesce(func.sum(t.c.size), 0)).where(
    t.c.project_id == bindparam("wanted"), t.c.removing == 0
)
_HOLD = (
    update(t)
    .where(t.c.id == bindparam("wanted"), t.c.workload.in_(("", bindparam("holder"))), t.c.removing == 0)
    .values(workload=bindparam("holder"))
)
_PLACE = update(t).where(t.c.workload == bindparam("holder"), t.c.node.is_(None)).values(node=bindparam("place"))
_FORGET = delete(t).where(t.c.id == bindparam("wanted"))
_LEAVE = update(t).where(t.c.id == bindparam("wanted")).values(removing=1, name=None, workload="", failure=None)
_FREE = update(t).where(t.c.workload == bindparam("holder")).values(workload="")
_CHANGE = update(t).where(t.c.id == bindparam("wanted"))
_DROP_FILES = delete(f).where(f.c.workload == bindparam("holder"))
_FILES = select(f.c.id, f.c.content).where(f.c.workload == bindparam("holder"))
_HOLDERS = select(t.c.workload).where(t.c.workload != "").distinct()
_FILE_HOLDERS = select(f.c.workload).distinct()


class SqlVolumes:
    """Volumes, who holds them, and files."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, volume: Volume) -> None:
        """Store a new one."""
        if volume.name:
            taken = select(t.c.id).where(t.c.project_id == volume.project_id, t.c.name == volume.name)
            if self._link.row(taken) is not None:
                raise Conflict(f"The project has a volume {volume.name} already.")
        values = {
            "id": volume.id,
            "project_id": volume.project_id,
            "name": volume.name or None,
            "size": volume.size,
            "created_at": volume.created_at,
            "auto_remove": int(volume.auto_remove),
            "workload": volume.workload,
            "node": volume.node,
            "made": int(volume.is_made),
            "removing": int(volume.is_removing),
            "failure": volume.failure,
        }
        self._link.run(insert(t), values)

    def list(self, scope: Scope) -> list[Volume]:
        """All, oldest first."""
        return [*self._volumes(_owns(scope))]

    def get(self, scope: Scope, ident: str) -> Volume:
        """By id, else by name."""
        found = self._volumes([*_owns(scope), t.c.id == ident], lock=True)
        if not found:
            found = self._volumes([*_owns(scope), t.c.name == ident], lock=True)
        if len(found) > 1:
            raise Conflict(f"Several volumes are named {ident}; use the id.")
        if not found:
            raise NotFound(f"There is no volume {ident[:255]}.", code="volume-not-found")
        return found[0]

    def use(self, project: str) -> tuple[int, int]:
        """How many, and how many GiB."""
        row = self._link.row(_USE, {"wanted": project})
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def set_size(self, id: str, size: int) -> None:
        """Another size."""
        self._link.run(_CHANGE, {"wanted": id, "size": size})

    def hold(self, ids: Sequence[str], workload: str) -> None:
        """Give them to a workload, compared by the update itself, so that two cannot both get one."""
        for id in dict.fromkeys(ids):
            if not self._link.change(_HOLD, {"wanted": id, "holder": workload}):
                raise Conflict(f"The volume {id} is in use.", code="volume-in-use")

    def held_by(self, workloads: Sequence[str]) -> Sequence[Volume]:
        """What these hold."""
        found: list[Volume] = []
        for start in range(0, len(workloads), _CHUNK):
            found += self._volumes([t.c.workload.in_(workloads[start : start + _CHUNK])])
        return found

    def place(self, workload: str, node: str) -> None:
        """Where those that were nowhere are from now on."""
        self._link.run(_PLACE, {"holder": workload, "place": node})

    def remove(self, id: str) -> str | None:
        """Have it removed."""
        found = self._volumes([t.c.id == id], lock=True)
        if not found:
            return None
        if found[0].workload:
            raise Conflict(f"The volume {found[0].name or id} is in use.", code="volume-in-use")
        return self._remove(found[0])

    def release(self, workload: str) -> set[str]:
        """Free it of everything."""
        if not workload:
            return set()
        own = self._volumes([t.c.workload == workload, t.c.auto_remove == 1], lock=True)
        nodes = {node for volume in own if (node := self._remove(volume)) is not None}
        self._link.run(_FREE, {"holder": workload})
        self._link.run(_DROP_FILES, {"holder": workload})
        return nodes

    def on_node(self, node: str) -> Sequence[Volume]:
        """All whose data are there."""
        return self._volumes([t.c.node == node])

    def observe(self, node: str, stored: Sequence[str], failures: Mapping[str, str]) -> None:
        """Fold what a node has."""
        present = set(stored)
        for volume in self.on_node(node):
            failure = failures.get(volume.id)
            if volume.is_removing and volume.id not in present:
                self._link.run(_FORGET, {"wanted": volume.id})
            elif volume.is_removing and failure != volume.failure:
                self._link.run(_CHANGE, {"wanted": volume.id, "failure": failure})
            elif volume.id in present and not volume.is_made:
                self._link.run(_CHANGE, {"wanted": volume.id, "made": 1})

    def removing(self) -> Sequence[Volume]:
        """All that are to be removed."""
        return self._volumes([t.c.removing == 1])

    def forget_removed(self, node: str) -> int:
        """Forget what nobody will remove any more."""
        return self._link.change(delete(t).where(t.c.node == node, t.c.removing == 1))

    def holders(self) -> set[str]:
        """Workloads that hold anything."""
        return {row[0] for statement in (_HOLDERS, _FILE_HOLDERS) for row in self._link.rows(statement)}

    def add_files(self, workload: str, files: Mapping[str, bytes]) -> None:
        """Keep contents."""
        if files:
            self._link.run(insert(f), [{"id": id, "workload": workload, "content": c} for id, c in files.items()])

    def files(self, workload: str) -> dict[str, bytes]:
        """Contents by id."""
        return {row.id: bytes(row.content) for row in self._link.rows(_FILES, {"holder": workload})}

    def _remove(self, volume: Volume) -> str | None:
        """Where no node can have made it, nothing is left to be removed but the row."""
        if volume.node is None:
            self._link.run(_FORGET, {"wanted": volume.id})
        else:
            self._link.run(_LEAVE, {"wanted": volume.id})
        return volume.node

    def _volumes(self, conditions: Sequence[ColumnElement[bool]], *, lock: bool = False) -> Sequence[Volume]:
        statement = select(*_VOLUME).where(*conditions).order_by(t.c.seq)
        return [_decode(row) for row in self._link.rows(self._link.lock(statement) if lock else statement)]


def _owns(scope: Scope) -> list[ColumnElement[bool]]:
    return [] if scope.project is None else [t.c.project_id == scope.project]


def _decode(row: Any) -> Volume:
    id, name, project, size, created, auto_remove, workload, node, made, removing, failure = row
    return Volume(
        id=id,
        name=name or "",
        project_id=project,
        size=size,
        created_at=created,
        auto_remove=bool(auto_remove),
        workload=workload,
        node=node,
        is_made=bool(made),
        is_removing=bool(removing),
        failure=failure,
    )
