"""Requests that pages of other sites have a browser send, with the password it remembers."""

import base64

import pytest

from tests.support.api import World

BASIC = {"Authorization": "Basic " + base64.b64encode(b"ann:ann").decode()}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, 202),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://api.example.elsewhere.example"}, 403),
        ({"Origin": "http://api.example"}, 202),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind-a-proxy.example"}, 202),
    ],
)
async def test_other_sites_change_nothing(world: World, said: dict[str, str], status: int) -> None:
    headers = {"Host": "api.example", **BASIC, **said}
    answer = await world.call("POST", "/v1/containers", who="", json={"image": "busybox"}, headers=headers)
    assert answer.status_code == status, answer.text
    assert (await world.call("GET", "/v1/containers", who="", headers=headers)).status_code == 200
