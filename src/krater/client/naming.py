"""Which of several things a text means. Pure."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from krater.client.errors import Conflict

SLASH = "/"  # between a capsule and its member

Named = TypeVar("Named", bound=Mapping[str, object])


def beginning_so(things: Iterable[Named], text: str) -> Named | None:
    """The one whose id begins so; None when none does. Conflict when several do."""
    found = [thing for thing in things if str(thing["uuid"]).startswith(text)]
    if len(found) > 1:
        names = ", ".join(f"{str(one['uuid'])[:12]} ({one['name'] or 'no name'})" for one in found[:4])
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        raise Conflict(f"The ids of {names}{more} begin with {text}.", status=409)
    return found[0] if found else None
