"""What a route is, and finding the one of a request. The routes themselves stand in `routes.py`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from krater.api.errors import UnknownPath, WrongMethod
from krater.api.microversions import ALL, Versions
from krater.api.requests import Handler


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. `rule` is the policy rule that guards it; `versions` None: outside of microversions.

    `query`, `body` and `answer` are the types of what comes and goes; `either` may come in query or body.
    """

    method: str
    path: str
    handler: Handler
    status: int = 200
    versions: Versions | None = ALL
    rule: str = ""
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    either: type[Struct] | None = None
    answer: type[Struct] | None = None
    public: bool = False
    summary: str = ""


@dataclass(slots=True)
class _Place:
    """A node of the tree of paths: what can follow, and what is here."""

    literal: dict[str, "_Place"] = field(default_factory=dict)
    anything: "_Place | None" = None
    methods: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)


class Router:
    """Finds the route of a request by walking the parts of its path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Place()
        for route in routes:
            place, names = self._root, []
            for part in route.path.strip("/").split("/"):
                if part.startswith("{"):
                    names.append(part.strip("{}"))
                    place.anything = place = place.anything or _Place()
                elif part:
                    place = place.literal.setdefault(part, _Place())
            place.methods[route.method] = (route, tuple(names))

    def find(self, method: str, segments: tuple[str, ...]) -> tuple[Route, Mapping[str, str]]:
        """The route and its parameters. UnknownPath, or WrongMethod with the methods there are."""
        place, values = self._root, []
        if any("\0" in part for part in segments):
            raise UnknownPath("There is no such URL.")
        for part in segments:
            follower = place.literal.get(part)
            if follower is None:
                follower = place.anything
                values.append(part)
            if follower is None:
                raise UnknownPath("There is no such URL.")
            place = follower
        if not place.methods:
            raise UnknownPath("There is no such URL.")
        found = place.methods.get("GET" if method == "HEAD" else method)
        if found is None:
            allowed = ", ".join(sorted(place.methods))
            raise WrongMethod(
                f"{method[:20]} is not possible here; possible are {allowed}.", headers=((b"allow", allowed.encode()),)
            )
        route, names = found
        return route, dict(zip(names, values, strict=True))


def public_paths(routes: Iterable[Route]) -> frozenset[tuple[str, ...]]:
    """The paths that are open to everybody, in parts."""
    return frozenset(tuple(p for p in route.path.split("/") if p) for route in routes if route.public)
