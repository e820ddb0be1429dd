"""Images asked for through the API, and those the nodes report."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, insert, literal, or_, select, update

from krater.errors import Conflict, Invalid, NotFound
from krater.model.assignment import NodeImage
from krater.store.interfaces import Image, Page
from krater.store.sql.link import Link
from krater.store.sql.tables import images as t

SORTS: dict[str, ColumnElement[Any]] = {
    "id": t.c.seq,
    "uuid": t.c.id,
    "repo": t.c.repo,
    "tag": t.c.tag,
    "host": t.c.node,
    "project_id": t.c.project_id,
    "user_id": t.c.user_id,
    "image_id": func.coalesce(t.c.image_id, literal("")),
    "size": func.coalesce(t.c.size, literal(-1)),
    "created_at": t.c.created_at,
}
"""What a list may be sorted by: the API's names."""

_RECORD = (
    t.c.id,
    t.c.repo,
    t.c.tag,
    t.c.node,
    t.c.project_id,
    t.c.user_id,
    t.c.created_at,
    t.c.wanted,
    t.c.removing,
    t.c.image_id,
    t.c.size,
    t.c.failure,
    t.c.seq,
)
_ONE = select(*_RECORD).where(t.c.id == bindparam("wanted_id"))
_SAME = select(*_RECORD).where(t.c.node == bindparam("on"), t.c.repo == bindparam("of"), t.c.tag == bindparam("tagged"))
_ON_NODE = select(*_RECORD).where(t.c.node == bindparam("on")).order_by(t.c.seq)
_CHANGE = update(t).where(t.c.id == bindparam("wanted_id"))


class SqlImages:
    """Images on nodes."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, image: Image) -> Image:
        """Store a new one, in place of one that could not be pulled."""
        row = self._link.row(_SAME, {"on": image.node, "of": image.repo, "tagged": image.tag})
        same = None if row is None else _decode(row)
        if same is not None and same.image_id is None and same.failure is not None:
            self._link.run(delete(t).where(t.c.id == same.id))
        elif same is not None:
            raise Conflict(f"The image {image.repo}:{image.tag} is on that host already, or on its way there.")
        return replace(image, seq=self._link.key(insert(t), _columns(image)))

    def get(self, id: str) -> Image:
        """By id."""
        row = self._link.row(_ONE, {"wanted_id": id})
        if row is None:
            raise _not_found(id)
        return _decode(row)

    def list(self, page: Page) -> list[Image]:
        """A page of all."""
        sort = SORTS.get(page.sort_key)
        if sort is None:
            raise Invalid(f"sort_key: {page.sort_key!r} is none of {', '.join(sorted(SORTS))}", field="sort_key")
        statement = select(*_RECORD)
        if page.marker is not None:
            row = self._link.row(select(sort, t.c.seq).where(t.c.id == page.marker))
            if row is None:
                raise _not_found(page.marker)
            value, seq = row
            later = t.c.seq < seq if page.descending else t.c.seq > seq
            beyond = sort < value if page.descending else sort > value
            statement = statement.where(or_(beyond, and_(sort == value, later)))
        order = (sort, t.c.seq)
        statement = statement.order_by(*(o.desc() if page.descending else o for o in order)).limit(page.limit)
        return [_decode(row) for row in self._link.rows(statement)]

    def set_removing(self, id: str) -> Image:
        """The API's wish that it goes."""
        if not self._link.change(_CHANGE, {"wanted_id": id, "removing": 1}):
            raise _not_found(id)
        return self.get(id)

    def on_node(self, node: str) -> Sequence[Image]:
        """All of a node."""
        return [_decode(row) for row in self._link.rows(_ON_NODE, {"on": node})]

    def observe(
        self, node: str, images: Sequence[tuple[str, str, NodeImage]], failures: dict[str, str], at: datetime
    ) -> None:
        """Fold a node's list. What is wanted and not there stays, without an image id: the node will pull it."""
        seen = {(repo, tag): image for repo, tag, image in reversed(images)}
        gone: list[str] = []
        for image in self.on_node(node):
            there = seen.pop((image.repo, image.tag), None)
            if there is None and (image.removing or not image.wanted):
                gone.append(image.id)
                continue
            self._fold(image, there, failures.get(image.id))
        if gone:
            self._link.run(delete(t).where(t.c.id.in_(gone)))
        new = [_seen(node, repo, tag, image, at) for (repo, tag), image in sorted(seen.items(), key=lambda i: i[0])]
        if new:
            self._link.run(insert(t), [_columns(image) for image in new])

    def _fold(self, image: Image, there: NodeImage | None, failure: str | None) -> None:
        """Write one that stays, if anything about it is new. A failure stands until the image is there."""
        if there is None:
            seen = replace(image, image_id=None, size=None, failure=failure or image.failure)
        else:
            seen = replace(image, image_id=there.digest, size=there.size, failure=failure)
        if seen != image:
            values = {"image_id": seen.image_id, "size": seen.size, "failure": seen.failure}
            self._link.run(_CHANGE, {"wanted_id": image.id, **values})


def _seen(node: str, repo: str, tag: str, image: NodeImage, at: datetime) -> Image:
    """An image nobody asked for through the API."""
    return Image(str(uuid4()), repo, tag, node, "", "", at, wanted=False, image_id=image.digest, size=image.size)


def _not_found(id: str) -> NotFound:
    return NotFound(f"There is no image {id}.")


def _columns(image: Image) -> dict[str, Any]:
    return {
        "id": image.id,
        "repo": image.repo,
        "tag": image.tag,
        "node": image.node,
        "project_id": image.project_id,
        "user_id": image.user_id,
        "created_at": image.created_at,
        "wanted": int(image.wanted),
        "removing": int(image.removing),
        "image_id": image.image_id,
        "size": image.size,
        "failure": image.failure,
    }


def _decode(row: Any) -> Image:
    id, repo, tag, node, project, user, created, wanted, removing, image_id, size, failure, seq = row
    return Image(
        id=id,
        repo=repo,
        tag=tag,
        node=node,
        project_id=project,
        user_id=user,
        created_at=created,
        wanted=bool(wanted),
        removing=bool(removing),
        image_id=image_id,
        size=size,
        failure=failure,
        seq=seq,
    )
