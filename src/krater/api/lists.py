"""What all lists have in common: limit, marker, sorting, and the link to the next part."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from krater.api.links import base_of
from krater.api.requests import Request
from krater.errors import Invalid, NotFound
from krater.store.interfaces import Page

T = TypeVar("T")

PAGING = frozenset({"limit", "marker", "sort_key", "sort_dir"})


def text_of(request: Request, key: str) -> str | None:
    """A query parameter that may be given once."""
    value = request.query.get(key)
    if isinstance(value, list):
        raise Invalid(f"{key}: given more than once", field=key)
    return value


def texts_of(request: Request, key: str) -> tuple[str, ...]:
    """A query parameter that may be given several times: any of the values."""
    value = request.query.get(key)
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def page_of(request: Request, default_key: str = "id") -> Page:
    """The part of a list that is asked for."""
    most = request.backing.settings.api.max_limit
    limit, text = most, text_of(request, "limit")
    if text is not None:
        if not text.isascii() or not text.isdigit() or int(text[:18]) < 1:
            raise Invalid("Limit must be positive integer", field="limit", code="invalid-value")
        limit = min(int(text[:18]), most)
    direction = text_of(request, "sort_dir") or "asc"
    if direction not in ("asc", "desc"):
        raise Invalid("Invalid sort direction: sort_dir is asc or desc", field="sort_dir", code="invalid-value")
    return Page(
        limit=limit,
        marker=text_of(request, "marker") or None,
        sort_key=text_of(request, "sort_key") or default_key,
        descending=direction == "desc",
    )


def refuse_unknown(request: Request, known: Iterable[str]) -> None:
    """Some lists refuse parameters they do not know."""
    unknown = sorted(set(request.query) - set(known) - PAGING)
    if unknown:
        names = ", ".join(repr(name[:60]) for name in unknown[:10])
        raise Invalid(f"Unknown parameters: {names}", field=unknown[0][:60], code="invalid-value")


def next_link(request: Request, collection: str, page: Page, last: str | None, count: int) -> str | None:
    """The URL of what follows, if this part is full. It asks for the same things as this request did."""
    if last is None or count < page.limit:
        return None
    kept = {key: value for key, value in request.query.items() if key not in PAGING}
    direction = "desc" if page.descending else "asc"
    paging: dict[str, str | list[str]] = {
        "sort_key": page.sort_key,
        "sort_dir": direction,
        "limit": str(page.limit),
        "marker": last,
    }
    return base_of(request).next(collection, {**kept, **paging})


def cut(items: Sequence[T], page: Page, id_of: Callable[[T], str], keys: dict[str, Callable[[T], Any]]) -> list[T]:
    """A page of what is small enough to be held whole, such as nodes."""
    key = keys.get(page.sort_key)
    if key is None:
        known = ", ".join(sorted(keys))
        raise Invalid(f"sort_key: there is no {page.sort_key[:60]!r}; known are {known}", field="sort_key")
    ordered = sorted(items, key=lambda item: (key(item), id_of(item)), reverse=page.descending)
    start = 0
    if page.marker is not None:
        places = [index for index, item in enumerate(ordered) if id_of(item) == page.marker]
        if not places:
            raise NotFound(f"marker {page.marker[:60]!r} could not be found", code="marker-not-found")
        start = places[0] + 1
    return ordered[start : start + page.limit]
