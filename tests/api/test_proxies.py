"""Who asks, when a proxy stands before Krater: believed of named proxies only."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from krater.config import ApiSettings, Settings
from tests.support.api import open_world

FORWARDED = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}


async def seen_through(tmp_path: Path, trusted: tuple[str, ...], headers: dict[str, str]) -> tuple[str, str]:
    """The client and the scheme as applications see them. Requests come from 192.0.2.7."""
    seen: list[tuple[str, str]] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["client"][0], scope["scheme"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    settings = replace(Settings(), api=ApiSettings(trusted_proxies=trusted))
    async with open_world(tmp_path, settings, {"/look": look}) as world:
        assert (await world.client.get("/look", headers=headers)).status_code == 200
    return seen[0]


@pytest.mark.parametrize(
    ("trusted", "headers", "client", "scheme"),
    [
        ((), FORWARDED, "192.0.2.7", "http"),
        (("198.51.100.0/24",), FORWARDED, "192.0.2.7", "http"),
        (("192.0.2.7",), FORWARDED, "203.0.113.9", "https"),
        (("192.0.2.0/24",), FORWARDED, "203.0.113.9", "https"),
        (("192.0.2.0/24",), {}, "192.0.2.7", "http"),
        (("192.0.2.0/24",), {"x-forwarded-for": "10.0.0.1, 203.0.113.9, 192.0.2.8"}, "203.0.113.9", "http"),
    ],
)
async def test_only_named_proxies_are_believed(
    tmp_path: Path, trusted: tuple[str, ...], headers: dict[str, str], client: str, scheme: str
) -> None:
    assert await seen_through(tmp_path, trusted, headers) == (client, scheme)
