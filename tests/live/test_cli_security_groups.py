"""`krater security-group` and `krater run` with groups, against a Krater without an engine."""

import json
from collections.abc import Iterator

import pytest

from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(fake=True) as started:
        yield started


def test_groups_and_rules_from_making_to_removing(server: Server) -> None:
    id = server.krater("security-group", "create", "web", "--description", "for all").stdout.strip()
    rule = server.krater(
        "security-group", "rule", "add", "web", "--port", "80-90", "--cidr", "10.0.0.0/8"
    ).stdout.strip()
    server.krater("security-group", "rule", "add", "web", "-p", "icmp", "--port", "8", "--remote-group", "default")
    server.krater("security-group", "rule", "add", "web", "--egress", "--ipv6", "-p", "udp", "--port", "53")
    shown = server.krater("security-group", "show", "web").stdout
    for words in ("for all", "tcp 80-90", "10.0.0.0/8", "icmp type 8", "udp 53", "IPv6"):
        assert words in shown
    assert id in server.krater("security-group", "ls").stdout
    assert server.krater("security-group", "rule", "rm", rule).stdout.strip() == rule
    assert "80-90" not in server.krater("security-group", "show", "web").stdout
    assert json.loads(server.krater("security-group", "show", "web", "--format", "json").stdout)["uuid"] == id
    server.krater("security-group", "rm", "web")
    gone = server.krater("security-group", "show", "web", check=False)
    assert gone.returncode == 1
    assert "web" in gone.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("rule", "add", "default", "--port", "http"), 2, "expected PORT"),
        (("rule", "add", "default", "-p", "carrier"), 1, "protocol"),
        (("rule", "add", "nowhere", "-p", "tcp"), 1, "nowhere"),
        (("rule", "rm", "none"), 1, "none"),
        (("rm", "default"), 1, "cannot be deleted"),
        (("create", "default"), 1, "default"),
    ],
)
def test_what_is_wrong_is_said(server: Server, words: tuple[str, ...], code: int, said: str) -> None:
    done = server.krater("security-group", *words, check=False)
    assert (done.returncode, said in done.stderr) == (code, True), done


def test_containers_join_groups_and_expose_ports(server: Server) -> None:
    client = server.client()
    group = client.security_groups.create("front")["uuid"]
    server.krater("run", "-d", "--name", "one", "--security-group", "front", "alpine", "sleep", "inf")
    assert client.containers.show("one")["security_groups"] == [group]
    refused = server.krater("security-group", "rm", "front", check=False)
    assert "in use" in refused.stderr
    server.krater("run", "-d", "--name", "two", "--expose", "80", "--expose", "53/udp", "alpine", "sleep", "inf")
    assert client.containers.show("two")["ports"] == [80, 53]
    client.networks.create("back")
    before = client.containers.networks("one")
    attached = server.krater("network", "attach", "one", "back")
    cards = client.containers.networks("one")
    assert cards[:1] == before
    assert str(cards[1]["fixed_ips"][0]["ip_address"]) in attached.stdout
    server.krater("network", "detach", "one", "back")
    assert client.containers.networks("one") == before
    again = server.krater("network", "detach", "one", "back", check=False)
    assert (again.returncode, "is not on" in again.stderr) == (1, True)
    assert server.krater("network", "detach", "one", check=False).returncode == 2
    for name in ("one", "two"):
        client.containers.delete(name, stop=True)
    eventually(lambda: not client.containers.list())
    assert [one["name"] for one in client.security_groups.list() if one["container"]] == []
