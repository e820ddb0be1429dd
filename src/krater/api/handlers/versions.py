"""The documents clients read before they know anything, and whether the service is well."""

import asyncio
from typing import Any

import msgspec

from krater.api.handlers.answers import found
from krater.api.links import Base, base_of
from krater.api.microversions import MAX_TEXT, MIN_TEXT
from krater.api.requests import Answer, Request
from krater.errors import KraterError

_DESCRIPTION = "Krater runs containers: it speaks the OpenStack Container API."
_COLLECTIONS = (
    *("services", "containers", "images", "networks", "hosts", "capsules"),
    *("availability_zones", "quotas", "quota_classes", "registries"),
)
_HEALTH_TIMEOUT = 5.0


def _version(base: Base) -> dict[str, Any]:
    return {
        "id": "v1",
        "links": [{"href": f"{base.url}/v1/", "rel": "self"}],
        "status": "CURRENT",
        "max_version": MAX_TEXT,
        "min_version": MIN_TEXT,
    }


async def root(request: Request) -> Answer:
    """Which versions there are: what clients negotiate from."""
    version = _version(base_of(request))
    return found(
        {
            "name": "OpenStack Zun API",
            "description": _DESCRIPTION,
            "versions": [version],
            "default_version": version,
        }
    )


async def v1(request: Request) -> Answer:
    """What there is at version 1."""
    base = base_of(request)
    body: dict[str, Any] = {
        "id": "v1",
        "media_types": [{"base": "application/json", "type": "application/vnd.openstack.zun.v1+json"}],
        "links": [
            {"href": f"{base.url}/v1/", "rel": "self"},
            {"href": f"{base.url}/docs", "rel": "describedby", "type": "text/html"},
        ],
    }
    for name in _COLLECTIONS:
        body[name] = [
            {"href": f"{base.url}/v1/{name}/", "rel": "self"},
            {"href": f"{base.url}/{name}/", "rel": "bookmark"},
        ]
    return found(body)


async def healthcheck(request: Request) -> Answer:
    """200 while the store answers, else 503: for load balancers."""
    try:
        async with asyncio.timeout(_HEALTH_TIMEOUT):
            await request.backing.store.read(lambda tx: tx.nodes.list())
    except (KraterError, TimeoutError):
        return Answer(503, msgspec.json.encode({"status": "unavailable", "reason": "The database does not answer."}))
    return found({"status": "ok"})
