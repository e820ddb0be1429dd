"""Availability zones: the names nodes give where they are."""

from collections.abc import Callable
from typing import Any

from krater.api.handlers.answers import found
from krater.api.lists import cut, next_link, page_of
from krater.api.requests import Answer, Request
from krater.api.schemas.answers import Zone, ZoneList

_KEYS: dict[str, Callable[[str], Any]] = {"availability_zone": str, "id": str}


async def list_all(request: Request) -> Answer:
    """Those of all nodes, each once."""
    request.require("availability_zones:get_all")
    page = page_of(request, default_key="availability_zone")
    nodes = await request.backing.nodes.table()
    zones = cut(sorted({node.availability_zone for node in nodes.by_id.values()}), page, str, _KEYS)
    following = next_link(request, "availability_zones", page, zones[-1] if zones else None, len(zones))
    return found(ZoneList([Zone(zone or None) for zone in zones], following))
