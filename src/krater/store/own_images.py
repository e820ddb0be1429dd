"""Images that projects made of their containers, as the store keeps them. Import it from `krater.store.interfaces`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from krater.model.assignment import NodeImage
from krater.store.records import Page, Scope


@dataclass(frozen=True, slots=True)
class OwnImage:
    """An image of a project. `stored` is what its node files it under, `source` the container it is made of.

    Until the node has made it, `image_id` is None. `failure` tells that the node has lost it since. `request_id` names
    the action that asked for it.
    """

    id: str
    project_id: str
    user_id: str
    repo: str
    tag: str
    node: str
    stored: str
    source: str
    request_id: str
    created_at: datetime
    image_id: str | None = None
    size: int | None = None
    failure: str | None = None
    seq: int = 0

    @property
    def name(self) -> str:
        """As its owner writes it."""
        return f"{self.repo}:{self.tag}"

    @property
    def is_ready(self) -> bool:
        """Whether containers can be made of it."""
        return self.image_id is not None and self.failure is None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a commit: `error` is None when there is an image now."""

    image: OwnImage
    error: str | None


class OwnImages(Protocol):
    """Images of projects."""

    def add(self, image: OwnImage) -> OwnImage:
        """Store a new one; a name may be given again, and then means the newest."""
        ...

    def get(self, scope: Scope, id: str) -> OwnImage:
        """By id. NotFound."""
        ...

    def named(self, scope: Scope, repo: str, tag: str) -> OwnImage:
        """The newest one of this name that is ready, else the newest. NotFound."""
        ...

    def list(self, scope: Scope, page: Page) -> Sequence[OwnImage]:
        """A page of them. Invalid for an unknown sort key; NotFound for an unknown marker."""
        ...

    def count(self, project: str) -> int:
        """How many a project has, those still being made as well."""
        ...

    def delete(self, scope: Scope, id: str) -> None:
        """Forget it; its node drops what it does not find among its tasks. NotFound."""

    def on_node(self, node: str) -> Sequence[OwnImage]:
        """All of a node."""
        ...

    def observe(self, node: str, images: Mapping[str, NodeImage], failures: Mapping[str, str]) -> Sequence[Outcome]:
        """Fold what a node has (by the names it files them under) and could not make (by id). Failed ones are gone."""
        ...
