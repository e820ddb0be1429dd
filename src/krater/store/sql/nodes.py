"""Nodes and the operator's word on them."""

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, or_, select, update

from krater.errors import Conflict, NotFound
from krater.model.node import Inventory, Node
from krater.store.sql.documents import INVENTORY
from krater.store.sql.link import Link
from krater.store.sql.tables import claims, workloads
from krater.store.sql.tables import nodes as t

RECORD = (
    t.c.id,
    t.c.host,
    t.c.inventory,
    t.c.availability_zone,
    t.c.last_seen,
    t.c.created_at,
    t.c.disabled,
    t.c.disabled_reason,
    t.c.forced_down,
    t.c.report_count,
)
_ALL = select(*RECORD).order_by(t.c.host)
_ONE = select(*RECORD).where(or_(t.c.id == bindparam("wanted"), t.c.host == bindparam("wanted")))
_BY_HOST = select(*RECORD).where(t.c.host == bindparam("wanted"))
_KNOWN = select(t.c.id, t.c.host).where(or_(t.c.id == bindparam("wanted"), t.c.host == bindparam("named")))
_REPORT = update(t).where(t.c.id == bindparam("wanted")).values(report_count=t.c.report_count + 1)
_BY_OPERATOR = update(t).where(t.c.host == bindparam("wanted"))


class SqlNodes:
    """Nodes."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def announce(self, id: str, host: str, zone: str, inventory: Inventory, at: datetime) -> Node:
        """A node's own report."""
        known = {row[0]: row[1] for row in self._link.rows(_KNOWN, {"wanted": id, "named": host})}
        if any(other != id for other in known):
            raise Conflict(f"Another node is named {host}; delete it first if this one takes its place.")
        report = {
            "host": host,
            "availability_zone": zone,
            "inventory": INVENTORY.encode(inventory),
            "cpus": inventory.cpus,
            "memory": inventory.memory,
            "disk": inventory.disk,
            "last_seen": at,
        }
        if id in known:
            self._link.run(_REPORT, {"wanted": id, **report})
        else:
            self._link.run(insert(t), {"id": id, "created_at": at, **_AT_FIRST, **report})
        return self.get(id)

    def list(self) -> list[Node]:
        """All, by host."""
        return [decode_node(row) for row in self._link.rows(_ALL)]

    def get(self, ident: str) -> Node:
        """By id or host; an id wins."""
        rows = self._link.rows(_ONE, {"wanted": ident})
        if not rows:
            raise _not_found(ident)
        return decode_node(next((row for row in rows if row.id == ident), rows[0]))

    def set_disabled(self, host: str, disabled: bool, reason: str | None) -> Node:
        """The operator's word."""
        return self._set(host, {"disabled": int(disabled), "disabled_reason": reason if disabled else None})

    def set_forced_down(self, host: str, forced_down: bool) -> Node:
        """The operator's word."""
        return self._set(host, {"forced_down": int(forced_down)})

    def delete(self, host: str) -> None:
        """Forget it, and claims on it that no workload came of."""
        row = self._link.row(self._link.lock(_BY_HOST), {"wanted": host})
        if row is None:
            raise _not_found(host)
        if self._link.row(select(workloads.c.seq).where(workloads.c.node == row.id).limit(1)) is not None:
            raise Conflict(f"There are containers on {host}.")
        self._link.run(delete(claims).where(claims.c.node == row.id))
        self._link.run(delete(t).where(t.c.id == row.id))

    def _set(self, host: str, values: dict[str, Any]) -> Node:
        if not self._link.change(_BY_OPERATOR, {"wanted": host, **values}):
            raise _not_found(host)
        return decode_node(self._link.rows(_BY_HOST, {"wanted": host})[0])


_AT_FIRST = {
    "report_count": 1,
    "disabled": 0,
    "disabled_reason": None,
    "forced_down": 0,
    "used_cpu": 0,
    "used_memory": 0,
    "used_disk": 0,
    "used_containers": 0,
}


def _not_found(ident: str) -> NotFound:
    return NotFound(f"There is no node {ident}.")


def decode_node(row: Any) -> Node:
    """A node out of the columns of `RECORD`, which may be followed by others."""
    id, host, inventory, zone, last_seen, created, disabled, reason, forced_down, count = row[: len(RECORD)]
    return Node(
        id=id,
        host=host,
        inventory=INVENTORY.decode(inventory),
        availability_zone=zone,
        last_seen=last_seen,
        created_at=created,
        disabled=bool(disabled),
        disabled_reason=reason,
        forced_down=bool(forced_down),
        report_count=count,
    )
