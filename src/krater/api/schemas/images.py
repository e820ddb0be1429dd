"""Requests about images."""

from typing import Annotated

from msgspec import Meta, Struct

from krater.api.schemas.containers import PullField
from krater.api.schemas.fields import ShortText

_END = r"(?![\s\S])"
_TWO = Annotated[str, Meta(min_length=2, max_length=255, description="a text of 2 to 255 characters")]


class PullImage(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which image a node should have. `host` may be left out where there is one node only."""

    repo: _TWO
    host: _TWO | None = None
    tag: ShortText | None = None
    image_id: ShortText | None = None
    size: (
        Annotated[str, Meta(max_length=20, pattern=rf"^[0-9]+[bBkKmMgG]?{_END}", description="digits and b, k, m or g")]
        | None
    ) = None
    image_pull_policy: PullField | None = None
