"""Images that projects made of their containers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, func, insert, literal, or_, select, update

from krater.errors import Invalid, NotFound
from krater.model.assignment import NodeImage
from krater.store.interfaces import Outcome, OwnImage, Page, Scope
from krater.store.sql.link import Link
from krater.store.sql.tables import own_images as t

SORTS: dict[str, ColumnElement[Any]] = {
    "id": t.c.seq,
    "uuid": t.c.id,
    "name": t.c.repo,
    "repo": t.c.repo,
    "tag": t.c.tag,
    "size": func.coalesce(t.c.size, literal(-1)),
    "created_at": t.c.created_at,
}
"""What a list may be sorted by: the API's names."""

LOST = "Its node does not have it any more."

_FIELDS = tuple(OwnImage.__dataclass_fields__)
_RECORD = tuple(t.c[name] for name in _FIELDS)
_CHANGE = update(t).where(t.c.id == bindparam("wanted_id"))


class SqlOwnImages:
    """Images of projects."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, image: OwnImage) -> OwnImage:
        """Store a new one."""
        values = {name: value for name, value in asdict(image).items() if name != "seq"}
        return replace(image, seq=self._link.key(insert(t), values))

    def get(self, scope: Scope, id: str) -> OwnImage:
        """By id."""
        row = self._link.row(_in(scope).where(t.c.id == id))
        if row is None:
            raise _not_found(id)
        return OwnImage(*row)

    def named(self, scope: Scope, repo: str, tag: str) -> OwnImage:
        """The newest that is ready, else the newest."""
        is_ready = and_(t.c.image_id.is_not(None), t.c.failure.is_(None))
        statement = _in(scope).where(t.c.repo == repo, t.c.tag == tag).order_by(is_ready.desc(), t.c.seq.desc())
        row = self._link.row(statement.limit(1))
        if row is None:
            raise _not_found(f"{repo}:{tag}")
        return OwnImage(*row)

    def list(self, scope: Scope, page: Page) -> Sequence[OwnImage]:
        """A page of them."""
        sort = SORTS.get(page.sort_key)
        if sort is None:
            raise Invalid(f"sort_key: {page.sort_key!r} is none of {', '.join(sorted(SORTS))}", field="sort_key")
        statement = _in(scope)
        if page.marker is not None:
            row = self._link.row(select(sort, t.c.seq).where(t.c.id == self.get(scope, page.marker).id))
            value, seq = row if row is not None else (None, 0)
            later = t.c.seq < seq if page.descending else t.c.seq > seq
            beyond = sort < value if page.descending else sort > value
            statement = statement.where(or_(beyond, and_(sort == value, later)))
        order = (sort, t.c.seq)
        statement = statement.order_by(*(o.desc() if page.descending else o for o in order)).limit(page.limit)
        return [OwnImage(*row) for row in self._link.rows(statement)]

    def count(self, project: str) -> int:
        """How many a project has."""
        row = self._link.row(select(func.count()).select_from(t).where(t.c.project_id == project))
        return 0 if row is None else int(row[0])

    def delete(self, scope: Scope, id: str) -> None:
        """Forget it."""
        self.get(scope, id)
        self._link.run(delete(t).where(t.c.id == id))

    def on_node(self, node: str) -> Sequence[OwnImage]:
        """All of a node."""
        return [OwnImage(*row) for row in self._link.rows(select(*_RECORD).where(t.c.node == node).order_by(t.c.seq))]

    def observe(self, node: str, images: Mapping[str, NodeImage], failures: Mapping[str, str]) -> Sequence[Outcome]:
        """Fold a node's list."""
        ended: list[Outcome] = []
        for image in self.on_node(node):
            there = images.get(image.stored)
            if there is not None:
                seen = replace(image, image_id=there.digest, size=there.size, failure=None)
                if image.image_id is None:
                    ended.append(Outcome(seen, None))
                self._write(image, seen)
            elif image.image_id is not None:
                self._write(image, replace(image, failure=LOST))
            elif image.id in failures:
                self._link.run(delete(t).where(t.c.id == image.id))
                ended.append(Outcome(image, failures[image.id]))
        return ended

    def _write(self, image: OwnImage, seen: OwnImage) -> None:
        if seen != image:
            values = {"image_id": seen.image_id, "size": seen.size, "failure": seen.failure}
            self._link.run(_CHANGE, {"wanted_id": image.id, **values})


def _in(scope: Scope) -> Select[Any]:
    statement = select(*_RECORD)
    return statement if scope.project is None else statement.where(t.c.project_id == scope.project)


def _not_found(name: str) -> NotFound:
    return NotFound(f"Image {name[:80]} could not be found.", code="image-not-found")
