"""The client against a server: pages, names, errors, a connection that is kept."""

import base64
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from krater.client import (
    AccessError,
    BadAnswer,
    Client,
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotNow,
    NotSettled,
    NotThere,
    ServerFailed,
    Unreachable,
)
from tests.support.fake_api import FakeApi, container, refusal


@pytest.fixture
def client(api: FakeApi) -> Iterator[Client]:
    with Client(api.url, "ann", "s:ecrét", "main project") as client:
        yield client


def test_requests_say_who_where_and_which_version(api: FakeApi, client: Client) -> None:
    client.containers.list()
    headers = api.requests[0].headers
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode() == "ann:s:ecrét"
    assert headers["x-krater-project"] == "main%20project"
    assert headers["openstack-api-version"] == "container 1.40"


def test_a_list_is_read_to_its_last_page(api: FakeApi, client: Client) -> None:
    api.page = 3
    api.containers = [container(f"c{n}") for n in range(7)]
    found = client.containers.list(filters={"status": "Running"})
    assert [c["name"] for c in found] == [f"c{n}" for n in range(7)]
    assert [r.query.get("status") for r in api.requests] == ["Running"] * 3


def test_a_container_is_found_by_name_id_and_beginning_of_its_id(api: FakeApi, client: Client) -> None:
    api.containers = [container("web", uuid="aaaa1111-0000"), container("db", uuid="aaaa2222-0000")]
    assert client.containers.find("web")["name"] == "web"
    assert client.containers.find("aaaa2222-0000")["name"] == "db"
    assert client.containers.find("aaaa1")["name"] == "web"
    with pytest.raises(Conflict, match=r"aaaa1111-000 \(web\), aaaa2222-000 \(db\) begin with aaaa"):
        client.containers.find("aaaa")
    with pytest.raises(NotFound):
        client.containers.find("ab")
    with pytest.raises(NotFound):
        client.containers.find("no-such-name")


def test_a_name_wins_over_the_beginning_of_an_id(api: FakeApi, client: Client) -> None:
    api.containers = [container("web", uuid="beef0000-0000"), container("beef", uuid="aaaa2222-0000")]
    assert client.containers.find("beef")["uuid"] == "aaaa2222-0000"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_cannot_change_the_path(client: Client, name: str) -> None:
    with pytest.raises(InvalidRequest):
        client.containers.delete(name)


def test_a_strange_name_arrives_as_it_is(api: FakeApi, client: Client) -> None:
    with pytest.raises(NotFound):
        client.containers.show("a/../b c?d#e")
    assert api.requests[0].path == "/v1/containers/a%2F..%2Fb%20c%3Fd%23e"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, NotAuthenticated),
        (403, NotAllowed),
        (404, NotFound),
        (406, InvalidRequest),
        (409, Conflict),
        (500, ServerFailed),
        (501, NotThere),
        (503, NotNow),
    ],
)
def test_a_no_is_an_exception_that_says_why(api: FakeApi, client: Client, status: int, kind: type) -> None:
    api.answers["GET /containers"] = lambda _: refusal(status, "It is so.", "container.why")
    with pytest.raises(kind) as caught:
        client.containers.list()
    assert (caught.value.title, caught.value.code, caught.value.request_id) == ("It is so.", "container.why", "req-1")  # type: ignore[attr-defined]


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"errors": []}', b'{"errors": [1]}'])
def test_an_error_of_a_stranger_is_still_an_error(api: FakeApi, client: Client, body: bytes) -> None:
    api.answers["GET /containers"] = lambda _: (502, body)
    with pytest.raises(ServerFailed, match="HTTP status 502"):
        client.containers.list()


def test_what_is_not_krater_is_told_so(api: FakeApi, client: Client) -> None:
    api.answers["GET /containers"] = lambda _: (200, b"<html>")
    with pytest.raises(BadAnswer):
        client.containers.list()
    api.answers["GET /"] = lambda _: (200, {"hello": 1})
    with pytest.raises(BadAnswer):
        client.version()


def test_waiting_ends_when_nothing_is_being_done(api: FakeApi, client: Client) -> None:
    states = [("Creating", "image_pulling"), ("Created", "container_starting"), ("Running", None)]
    one = container()
    api.containers = [one]

    def next_state(_: Any) -> tuple[int, Any]:
        one["status"], one["task_state"] = states.pop(0)
        return 200, one

    api.answers[f"GET {one['uuid']}"] = next_state
    state = client.containers.wait(one["uuid"])
    assert state is not None
    assert state["status"] == "Running"


def test_waiting_has_an_end(api: FakeApi, client: Client) -> None:
    api.containers = [container("web")]
    with pytest.raises(NotSettled, match="web is not gone after 0"):
        client.containers.wait("web", "gone", timeout=0)
    client.containers.delete("web")
    assert client.containers.wait("web", "gone") is None


def test_a_command_arrives_word_for_word(api: FakeApi, client: Client) -> None:
    api.containers = [container("web")]
    api.answers["POST /execute"] = lambda asked: (200, {"output": asked.body["command"], "exit_code": 0})
    assert client.containers.execute("web", ["sh", "-c", "echo 'a b' $HOME"])["output"] == (
        """sh -c 'echo '"'"'a b'"'"' $HOME'"""
    )


def test_nothing_listening_is_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(Unreachable, match="Nothing listens") as caught:
        Client(url).containers.list()
    assert caught.value.refused


def test_a_silent_server_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Client(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.1)
        with pytest.raises(Unreachable, match=r"within 0\.1 seconds"):
            client.containers.list()


@pytest.mark.parametrize("url", ["localhost:9517", "ftp://a", "http://", "http://u:p@h", "http://a:port", "unix://"])
def test_an_address_that_is_none_is_refused_without_telling_secrets(url: str) -> None:
    with pytest.raises(AccessError) as caught:
        Client(url)
    assert "u:p" not in caught.value.title


def test_a_connection_the_server_closed_is_opened_again() -> None:
    answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nnull"
    is_closed = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                connection, _peer = server.accept()
                connection.recv(65536)
                connection.sendall(answer)
                connection.close()
                is_closed.set()

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client(f"http://127.0.0.1:{server.getsockname()[1]}")
        client.containers.start("a")
        assert is_closed.wait(5)  # what is closed while a request is on its way is another matter
        client.containers.start("a")
        thread.join(5)
        client.close()


def test_a_unix_socket_works_as_well(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    body = b'{"availability_zones": [{"availability_zone": "nova"}]}'
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _peer = server.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        assert Client(f"unix://{path}").availability_zones.list() == ["nova"]
        thread.join(5)
    with pytest.raises(Unreachable, match="no such socket"):
        Client(f"unix://{tmp_path}/none").availability_zones.list()
