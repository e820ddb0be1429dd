"""What is remembered of containers that are gone, for as long as their logs are kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from krater.store.records import Scope


@dataclass(frozen=True, slots=True)
class Departure:
    """A container that was removed: whose it was, and the node that has its log."""

    id: str
    project_id: str
    user_id: str
    name: str
    node: str
    gone_at: datetime


class Departures(Protocol):
    """Containers that are gone."""

    def add(self, departures: Iterable[Departure]) -> None:
        """Idempotent: the first word on a container counts."""

    def get(self, scope: Scope, ident: str, since: datetime) -> Departure:
        """One that went at `since` or later: by id, else by name. NotFound; Conflict when several had the name."""
        ...

    def prune(self, before: datetime, most: int) -> int:
        """Forget those that went before this moment, or are not among a project's `most` latest. Returns how many."""
        ...
