"""Requests about services. Unknown arguments are ignored."""

from typing import Annotated

from msgspec import Meta, Struct

from krater.api.schemas.fields import BooleanExtended, ShortText


class ServiceName(Struct, kw_only=True):
    """Which service."""

    host: ShortText
    binary: ShortText


class DisableService(ServiceName, kw_only=True):
    """And why it takes nothing new."""

    disabled_reason: Annotated[str, Meta(min_length=1, max_length=255, description="1 to 255 characters")] | None = None


class ForceDownService(ServiceName, kw_only=True):
    """And whether it counts as down."""

    forced_down: BooleanExtended
