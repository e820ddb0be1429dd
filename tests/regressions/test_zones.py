"""An IPv6 address may come with a zone, which is any text: it must get nowhere, least of all to the firewall."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from krater.config import Settings
from krater.model.network import read_address, read_range
from tests.support.api import World, open_world

HOSTILE = "%x } ; flush ruleset"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One whose networks have IPv6."""
    settings = Settings()
    settings = replace(settings, network=replace(settings.network, pool_v6="fd00:66::/48"))
    async with open_world(tmp_path, settings) as opened:
        yield opened


async def first_free(world: World) -> str:
    await world.call("GET", "/v1/networks")
    network: dict[str, Any] = (await world.call("GET", "/v1/networks/default")).json()
    (cidr,) = [subnet["cidr"] for subnet in network["subnets"] if subnet["version"] == 6]
    return f"{cidr.partition('/')[0]}9"


@pytest.mark.parametrize("zone", [HOSTILE, "%eth0", "%\n", "%"])
@pytest.mark.parametrize("prefix", ["fe80::{}/64", "fe80::1{}", "::{}/0"])
async def test_a_rule_has_no_zone(world: World, prefix: str, zone: str) -> None:
    await world.call("POST", "/v1/security_groups", json={"name": "web"})
    body = {"direction": "ingress", "remote_ip_prefix": prefix.format(zone)}
    answer = await world.call("POST", "/v1/security_groups/web/rules", json=body)
    assert answer.status_code == 400, answer.text
    assert "remote_ip_prefix" in answer.json()["errors"][0]["title"]


@pytest.mark.parametrize("zone", [HOSTILE, "%eth0"])
async def test_an_address_has_no_zone(world: World, zone: str) -> None:
    free = await first_free(world)
    hostile = f"{free}{zone}"
    container = await world.running()
    attach = f"/v1/containers/{container['uuid']}/network_attach"
    await world.call("POST", "/v1/networks", json={"name": "back"})
    for path, body in (
        ("/v1/ports", {"network": "default", "fixed_ips": [hostile]}),
        (attach, {"network": "back", "fixed_ip": hostile}),
        ("/v1/containers", {"image": "busybox", "nets": [{"network": "default", "v6-fixed-ip": hostile}]}),
    ):
        answer = await world.call("POST", path, json=body)
        assert answer.status_code == 400, (path, answer.text)
    plain = await world.call("POST", "/v1/ports", json={"network": "default", "fixed_ips": [free]})
    assert plain.json()["fixed_ips"] == [free]


@pytest.mark.parametrize("read", [read_address, read_range])
def test_what_reads_addresses_knows_no_zones(read: Any) -> None:
    for text in ("fe80::1%eth0", f"fe80::{HOSTILE}"):
        with pytest.raises(ValueError, match="zone"):
            read(text)
    assert str(read("fe80::1")).startswith("fe80::1")
