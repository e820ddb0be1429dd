"""Limits, and one row of usage a project: changed where it stands, and only if it stays within the limits."""

from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from krater.errors import OverQuota
from krater.model.quota import UNLIMITED, Limits, Usage, exceeded
from krater.store.sql.link import Link
from krater.store.sql.tables import quota_limits, to_cores, to_millionths
from krater.store.sql.tables import quota_usage as t

_NAMES = ("containers", "cpu", "memory", "disk")
_PROJECT, _CLASS, _DEFAULT_CLASS = "project", "class", "default"

_LIMITS = select(*(quota_limits.c[name] for name in _NAMES)).where(
    quota_limits.c.kind == bindparam("of"), quota_limits.c.owner == bindparam("wanted")
)
_SET = update(quota_limits).where(quota_limits.c.kind == bindparam("of"), quota_limits.c.owner == bindparam("wanted"))
_CLEAR = delete(quota_limits).where(quota_limits.c.kind == bindparam("of"), quota_limits.c.owner == bindparam("wanted"))
_USAGE = select(*(t.c[name] for name in _NAMES)).where(t.c.project_id == bindparam("wanted"))
_ADD = (
    update(t)
    .where(t.c.project_id == bindparam("wanted"))
    .values({t.c[name]: t.c[name] + bindparam(f"more_{name}") for name in _NAMES})
)


class SqlQuotas:
    """Limits and usage."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def limits(self, project: str, defaults: Limits) -> Limits:
        """The project's own, else the class `default`'s, else `defaults`, each resource for itself."""
        return self._over(_PROJECT, project, self._over(_CLASS, _DEFAULT_CLASS, defaults))

    def class_limits(self, name: str, defaults: Limits) -> Limits:
        """A quota class's limits."""
        return self._over(_CLASS, name, defaults)

    def set_limits(self, project: str, changes: dict[str, int]) -> None:
        """The operator's word."""
        self._set(_PROJECT, project, changes)

    def set_class_limits(self, name: str, changes: dict[str, int]) -> None:
        """The operator's word."""
        self._set(_CLASS, name, changes)

    def clear_limits(self, project: str) -> None:
        """Back to the defaults."""
        self._link.run(_CLEAR, {"of": _PROJECT, "wanted": project})

    def usage(self, project: str) -> Usage:
        """What the project has now."""
        row = self._link.row(_USAGE, {"wanted": project})
        if row is None:
            return Usage()
        containers, cpu, memory, disk = row
        return Usage(containers, to_cores(cpu), memory, disk)

    def charge(self, project: str, more: Usage, limits: Limits) -> None:
        """Add, if there is room. Usage and limits are compared by the update itself, so that two cannot both fit."""
        values: dict[str, Any] = {f"more_{name}": _stored(name, getattr(more, name)) for name in _NAMES}
        values["wanted"] = project
        statement = _ADD
        for name in _NAMES:
            limit = getattr(limits, name)
            if limit != UNLIMITED and values[f"more_{name}"] > 0:
                statement = statement.where(t.c[name] + bindparam(f"more_{name}") <= _stored(name, limit))
        if self._link.change(statement, values):
            return
        if self._link.row(_USAGE, {"wanted": project}) is None:
            self._link.run(insert(t), {"project_id": project, **dict.fromkeys(_NAMES, 0)})
            if self._link.change(statement, values):
                return
        said = exceeded(limits, self.usage(project), more) or "changed at this moment"
        raise OverQuota(f"The quota of the project has no room for it; {said}.")

    def _over(self, kind: str, owner: str, defaults: Limits) -> Limits:
        row = self._link.row(_LIMITS, {"of": kind, "wanted": owner})
        if row is None:
            return defaults
        own = zip(_NAMES, row, strict=True)
        return Limits(**{name: getattr(defaults, name) if value is None else value for name, value in own})

    def _set(self, kind: str, owner: str, changes: dict[str, int]) -> None:
        unknown = set(changes) - set(_NAMES)
        if unknown:
            raise ValueError(f"limits have no field {', '.join(sorted(unknown))}")
        wanted = {"of": kind, "wanted": owner}
        if self._link.row(self._link.lock(_LIMITS), wanted) is None:
            self._link.run(insert(quota_limits), {"kind": kind, "owner": owner, **changes})
        elif changes:
            self._link.run(_SET, {**wanted, **changes})


def _stored(name: str, amount: Any) -> int:
    return to_millionths(amount) if name == "cpu" else int(amount)
