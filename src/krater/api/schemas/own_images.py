"""Projects' own images: an extension of the Container API, but for commit."""

from typing import Annotated

from msgspec import Meta, Struct

from krater.api.schemas.answers import Links

_END = r"(?![\s\S])"
_REPOSITORY = Annotated[str, Meta(min_length=1, max_length=255, description="the name of an image")]
_TAG = Annotated[
    str, Meta(pattern=rf"^[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}{_END}", description="the tag of an image, such as 1.0")
]


class CommitQuery(Struct):
    """What the new image is called. `repository` may bring the tag along."""

    repository: _REPOSITORY
    tag: _TAG | None = None


class Committed(Struct):
    """The image that will be there."""

    uuid: str


class OwnImageEntry(Struct):
    """An image of the project. `status` is saving, active or lost; `container` is what it was made of."""

    uuid: str
    links: Links
    name: str
    repo: str
    tag: str
    status: str
    status_reason: str | None
    image_id: str | None
    size: int | None
    project_id: str
    user_id: str
    container: str
    created_at: str | None


class OwnImageList(Struct):
    """A page of them."""

    images: list[OwnImageEntry]
    next: str | None


class PushAsk(Struct, forbid_unknown_fields=True, kw_only=True):
    """Where to, and how to show oneself there: with the login kept for `registry`, or a name and a password."""

    reference: Annotated[
        str,
        Meta(min_length=2, max_length=255, description="registry/name:tag, such as registry.example:5000/team/app:1"),
    ]
    registry: Annotated[str, Meta(max_length=255, description="a registry's id or name")] = ""
    username: Annotated[str, Meta(max_length=255, description="a user name")] = ""
    password: Annotated[str, Meta(max_length=4096, description="a password or token")] = ""

    def __repr__(self) -> str:
        return f"PushAsk({self.reference!r})"


class PushEntry(Struct):
    """How far an upload is, in bytes. `state` is working, done, failed or unknown."""

    push: str
    state: str
    done: int
    total: int
    reason: str
    digest: str


class SearchQuery(Struct):
    """Where to search, and how."""

    image_driver: Annotated[str, Meta(pattern=rf"^(docker|glance|None|){_END}", description="docker or glance")] = ""
    exact_match: Annotated[bool | str, Meta(description="a boolean: true, 1, on, yes or false, 0, off, no")] = False
