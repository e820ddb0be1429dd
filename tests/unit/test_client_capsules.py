"""Capsules in the SDK: what is asked, which one a text means, how long one waits; and logs as a stream."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from krater.client import Client, Conflict, NotFound, NotSettled, NotThere, Unreachable, members_of
from tests.support.fake_api import FakeApi, capsule, container, member, refusal


@pytest.fixture
def client(api: FakeApi) -> Iterator[Client]:
    with Client(api.url, "ann", "secret") as client:
        yield client


@pytest.fixture
def shop(api: FakeApi) -> dict[str, Any]:
    members = (
        member("fetch", "init", uuid="dddd0001"),
        member("proxy", "sidecar", uuid="dddd0002"),
        member("web", uuid="dddd0003"),
        member("db", uuid="dddd0004"),
    )
    one = capsule("shop", *members, uuid="aaaa1111-0000")
    api.capsules = [one, capsule(None, member("job", uuid="eeee0001"), uuid="aaaa2222-0000")]
    return one


@pytest.mark.parametrize("template", ["kind: capsule\n", {"kind": "capsule"}])
def test_a_template_is_sent_as_it_is(api: FakeApi, client: Client, template: Any) -> None:
    api.answers["POST /v1/capsules"] = lambda _: (202, capsule("shop", status="Creating"))
    assert client.capsules.create(template)["status"] == "Creating"
    assert api.requests[0].body == {"template": template}


def test_lists_filter_on_the_server_and_are_read_to_the_last_page(api: FakeApi, client: Client) -> None:
    pages = [[capsule("a", uuid="1"), capsule("b", uuid="2")], [capsule("c", uuid="3")]]

    def page(asked: Any) -> tuple[int, Any]:
        at = 1 if asked.query.get("marker") == "2" else 0
        return 200, {"capsules": pages[at], "next": f"{api.url}/v1/capsules?marker=2" if at == 0 else None}

    api.answers["GET /v1/capsules"] = page
    found = client.capsules.list(filters={"status": "Running", "labels": ["a=b"]}, all_projects=True)
    assert [c["name"] for c in found] == ["a", "b", "c"]
    assert {(r.query["status"], r.query["labels"], r.query["all_projects"]) for r in api.requests} == {
        ("Running", "a=b", "true")
    }


def test_one_is_found_by_name_id_and_beginning_of_its_id(shop: Any, client: Client) -> None:
    assert client.capsules.find("shop")["uuid"] == "aaaa1111-0000"
    assert client.capsules.find("aaaa2222-0000")["name"] is None
    assert client.capsules.find("aaaa1")["name"] == "shop"
    with pytest.raises(Conflict, match=r"aaaa1111-000 \(shop\), aaaa2222-000 \(no name\) begin with aaaa"):
        client.capsules.find("aaaa")
    with pytest.raises(NotFound, match="There is no capsule nothing"):
        client.capsules.find("nothing")


@pytest.mark.parametrize("text", ["shop/web", "shop/dddd0003", "aaaa1111-0000/web", "aaaa1/web", "dddd0003"])
def test_a_member_is_a_container_by_its_capsule_and_name_or_by_its_id(shop: Any, client: Client, text: str) -> None:
    found = client.containers.find(text)
    assert (found["uuid"], found["name"]) == ("dddd0003", "capsule-shop-web")


def test_the_beginning_of_an_id_means_members_too(api: FakeApi, shop: Any, client: Client) -> None:
    assert client.containers.find("eeee")["uuid"] == "eeee0001"
    with pytest.raises(Conflict, match="begin with dddd"):
        client.containers.find("dddd")
    api.containers = [container("lone", uuid="eeee9999")]
    with pytest.raises(Conflict, match="begin with eeee"):
        client.containers.find("eeee")


def test_what_is_no_member_is_told_with_those_there_are(shop: Any, client: Client) -> None:
    with pytest.raises(NotFound, match="shop has no member 'wbe'; it has: fetch, proxy, web, db"):
        client.containers.find("shop/wbe")
    with pytest.raises(NotFound, match="There is no capsule shpo"):
        client.containers.find("shpo/web")


def test_a_capsule_is_no_container_and_its_members_are_named(shop: Any, client: Client) -> None:
    with pytest.raises(Conflict, match=r"not a container\. Its members are: shop/fetch, shop/proxy"):
        client.containers.find("shop")


def test_a_server_without_capsules_still_has_containers(api: FakeApi, client: Client) -> None:
    api.answers["GET /v1/capsules"] = lambda _: refusal(405, "No.")
    api.containers = [container("web", uuid="beef1111")]
    assert client.containers.find("beef")["name"] == "web"
    with pytest.raises(NotFound):
        client.containers.find("cafe")
    with pytest.raises(NotThere):
        client.capsules.list()


def test_members_come_in_the_order_they_start(shop: Any, client: Client) -> None:
    assert [one["member_name"] for one in client.capsules.members("shop")] == ["fetch", "proxy", "web", "db"]
    assert [one["member_name"] for one in members_of(shop)] == ["fetch", "proxy", "web", "db"]


def test_operations_have_their_own_paths(api: FakeApi, shop: Any, client: Client) -> None:
    client.capsules.start("shop")
    client.capsules.stop("shop", timeout=3)
    client.capsules.restart("shop", timeout=0)
    client.capsules.delete("shop", timeout=0)
    assert [(r.method, r.path, r.query) for r in api.requests] == [
        ("POST", "/v1/capsules/shop/start", {}),
        ("POST", "/v1/capsules/shop/stop", {"timeout": "3"}),
        ("POST", "/v1/capsules/shop/reboot", {"timeout": "0"}),
        ("DELETE", "/v1/capsules/shop", {"timeout": "0"}),
    ]


def test_actions_are_those_of_the_capsule_and_its_members(api: FakeApi, shop: Any, client: Client) -> None:
    api.answers["GET /shop/container_actions"] = lambda _: (200, {"containerActions": [{"action": "create"}]})
    api.answers["GET /shop/container_actions/req-1"] = lambda _: (200, {"action": "create", "events": []})
    assert client.capsules.actions("shop")[0]["action"] == "create"
    assert client.capsules.action("shop", "req-1").get("events") == []


@pytest.mark.parametrize(
    ("until", "states", "status"),
    [
        ("settled", [("Creating", None), ("Running", "container_stopping"), ("Running", None)], "Running"),
        ("running", [("Creating", None), ("Restarting", None), ("Running", None)], "Running"),
        ("running", [("Creating", None), ("Error", None)], "Error"),
        ("over", [("Running", None), ("Stopped", "container_starting"), ("Stopped", None)], "Stopped"),
    ],
)
def test_waiting(api: FakeApi, shop: Any, client: Client, until: Any, states: list[Any], status: str) -> None:
    left = [*states]

    def show(_: Any) -> tuple[int, Any]:
        shop["status"], shop["containers"][0]["task_state"] = left.pop(0)
        return 200, shop

    api.answers["GET /v1/capsules/shop"] = show
    state = client.capsules.wait("shop", until)
    assert state is not None
    assert (state["status"], left) == (status, [])


def test_waiting_has_an_end(shop: Any, client: Client) -> None:
    shop["status_reason"] = "web: Not ready."
    with pytest.raises(NotSettled, match=r"shop is not gone after 0 seconds: Running: web: Not ready\."):
        client.capsules.wait("shop", "gone", timeout=0)
    client.capsules.delete("shop")
    assert client.capsules.wait("shop", "gone") is None


def test_logs_stream_as_they_come_and_silence_is_waited_for() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        first_was_read = threading.Event()

        def serve() -> None:
            connection, _peer = server.accept()
            asked.append(connection.recv(65536))
            connection.sendall(head + b"6\r\nfirst\n\r\n")
            first_was_read.wait(5)
            threading.Event().wait(1.2)  # longer than an answer may take to begin
            connection.sendall(b"7\r\nsecond\n\r\n0\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=1)
        pieces = client.containers.stream_logs("web", tail="5", stderr=False)
        assert next(pieces) == b"first\n"
        first_was_read.set()
        assert [*pieces] == [b"second\n"]
        thread.join(5)
    line = asked[0].split(b"\r\n")[0].decode()
    assert line.startswith(
        "GET /v1/containers/web/logs/stream?stdout=true&stderr=false&timestamps=false&tail=5&follow="
    )


def test_a_stream_that_breaks_off_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _peer = server.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        pieces = Client(f"http://127.0.0.1:{server.getsockname()[1]}").containers.stream_logs("web")
        with pytest.raises(Unreachable, match="broke off"):
            assert [*pieces] == [b"hello"]
        thread.join(5)
