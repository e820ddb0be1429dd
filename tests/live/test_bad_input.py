"""What a hostile or careless client sends to a real `krater serve`: a clear refusal, and nothing else."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.asking import (
    MIB,
    User,
    admin_of,
    forget_peak,
    peak_memory,
    send_endless,
    with_account,
)
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

LIMIT = 10


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater of this module's own. Nothing has to run for what is judged here."""
    with serving(f"quota.containers={LIMIT}", "identity.token_lifetime=2", "identity.cache_time=60", fake=True) as made:
        yield made


@pytest.fixture(scope="module")
def admin(own: Server) -> User:
    return admin_of(own)


@pytest.fixture(scope="module")
def alice(own: Server) -> User:
    return with_account(own, "alice")


@pytest.fixture(scope="module")
def bob(own: Server) -> User:
    return with_account(own, "bob")


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"text"', b"null", b"\xff\xfe", b'{"image": "busybox"', b"[" * 100_000, b'{"image": "a\\u0000b"}'],
)
def test_a_body_that_is_no_json_object_is_refused(admin: User, body: bytes) -> None:
    reply = admin.ask("POST", "/v1/containers", body)
    assert reply.status == 400
    assert "request body" in reply.title.lower()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("no_such_field", 1),
        ("command", "sleep 1"),
        ("command", {"a": 1}),
        ("environment", ["A=1"]),
        ("environment", {"A": 1}),
        ("labels", "x"),
        ("cpu", -1),
        ("cpu", 1e9),
        ("cpu", "many"),
        ("memory", -5),
        ("memory", 3),
        ("memory", 10**15),
        ("memory", "4g"),
        ("disk", -1),
        ("restart_policy", {"Name": "sometimes"}),
        ("restart_policy", {"Name": "on-failure", "MaximumRetryCount": -1}),
        ("hostname", "a b"),
        ("image", ""),
        ("image", "Not An Image"),
        ("image", "../../etc/passwd"),
        ("image", None),
        ("tty", "perhaps"),
        ("nets", [{}]),
        ("nets", [{"network": "a", "port": "b"}]),
        ("image_pull_policy", "sometimes"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_by_its_name(admin: User, field: str, value: Any) -> None:
    reply = admin.create("valid", **{field: value})
    assert reply.status == 400, reply.body
    assert field in reply.title
    assert len(reply.title) < 1000


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..", "a/b", "a\nb", "a\tb", "a\x1bb", "a\x7fb", "a b", "-a", "ä", "a\n", "", "a"]
)
def test_a_name_that_could_mean_something_else_is_refused(admin: User, name: str) -> None:
    for reply in (admin.create(name), admin.ask("POST", "/v1/networks", {"name": name})):
        assert reply.status == 400
        assert "name" in reply.title


def test_a_name_of_a_megabyte_is_refused_in_a_short_sentence(admin: User) -> None:
    reply = admin.create("x" * (MIB - 1000))
    assert reply.status == 400
    assert len(reply.body) < 2000
    assert admin.create("x" * MIB).status == 413


@pytest.mark.parametrize("path", ["%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%00", "a%0ab", "x" * 40_000, "%ff%fe"])
def test_an_id_that_is_none_finds_nothing(admin: User, path: str) -> None:
    for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/start"), ("GET", "/logs")):
        assert admin.ask(method, f"/v1/containers/{path}{suffix}").status in (400, 404)


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("path", ["/v1/containers", "/identity/v3/auth/tokens"])
def test_a_body_of_a_hundred_megabytes_takes_no_memory(own: Server, admin: User, path: str, declared: bool) -> None:
    send_endless(own, path, 2 * MIB, declared=declared)
    before = forget_peak(own)
    for _ in range(3):
        answer = send_endless(own, path, 100 * MIB, declared=declared)
        assert not answer or b" 413 " in answer.partition(b"\r\n")[0], answer[:200]
    assert peak_memory(own) - before < 8 * MIB
    assert admin.ask("GET", "/v1/containers").status == 200


def test_fifty_creates_at_once_get_exactly_what_the_quota_allows(own: Server, alice: User) -> None:
    with ThreadPoolExecutor(25) as pool:
        replies = list(pool.map(lambda n: alice.create(f"many-{n}"), range(50)))
    codes = [reply.status for reply in replies]
    assert sorted(set(codes)) == [202, 403]
    assert codes.count(202) == LIMIT
    assert all("quota" in reply.title.lower() for reply in replies if reply.status == 403)
    made = [reply.json["uuid"] for reply in replies if reply.status == 202]
    assert len(alice.ask("GET", "/v1/containers").json["containers"]) == LIMIT
    for uuid in made:
        eventually(lambda uuid=uuid: alice.ask("DELETE", f"/v1/containers/{uuid}?stop=true").status == 204)  # type: ignore[misc]
    eventually(lambda: not alice.ask("GET", "/v1/containers").json["containers"])
    assert alice.create("again").status == 202
    remove_all(alice)


def remove_all(user: User) -> None:
    """What the user has, once nothing is under way any more."""

    def is_empty() -> bool:
        there = user.ask("GET", "/v1/containers").json["containers"]
        for one in there:
            user.ask("DELETE", f"/v1/containers/{one['uuid']}?stop=true")
        return not there

    eventually(is_empty, what="an empty list")


def test_two_projects_never_see_each_others_things(alice: User, bob: User) -> None:
    hers = alice.create("private", run=True).json["uuid"]
    eventually(lambda: alice.ask("GET", f"/v1/containers/{hers}").json["status"] == "Running")
    request = alice.ask("GET", f"/v1/containers/{hers}/container_actions").json["containerActions"][0]["request_id"]
    for word in (hers, "private"):
        path = f"/v1/containers/{word}"
        asked = [
            bob.ask("GET", path),
            bob.ask("PATCH", path, {"cpu": 0.2}),
            bob.ask("DELETE", path),
            bob.ask("DELETE", f"{path}?stop=true"),
            *(bob.ask("POST", f"{path}/{act}") for act in ("start", "stop", "reboot", "rebuild", "pause", "kill")),
            *(bob.ask("GET", f"{path}/{word}") for word in ("logs", "top", "stats", "container_actions")),
            bob.ask("POST", f"{path}/execute", {"command": "id", "run": True, "interactive": False}),
            bob.ask("GET", f"{path}/container_actions/{request}"),
        ]
        assert {reply.status for reply in asked} == {404}
    assert bob.ask("GET", "/v1/containers").json["containers"] == []
    assert bob.ask("GET", "/v1/containers?all_projects=1").status == 403
    assert alice.ask("GET", f"/v1/containers/{hers}").json["status"] == "Running"
    assert bob.create("private").status == 202  # names are each project's own
    remove_all(alice)
    remove_all(bob)


def test_networks_and_ports_of_another_project_are_unknown(alice: User, bob: User) -> None:
    network = alice.ask("POST", "/v1/networks", {"name": "hers"}).json
    port = alice.ask("POST", "/v1/ports", {"network": network["uuid"]}).json
    nets: list[dict[str, Any]] = [
        {"network": network["uuid"]},
        {"network": "hers"},
        {"network": "no-such-network"},
        {"port": port["uuid"]},
        {"port": "00000000-0000-0000-0000-000000000000"},
    ]
    titles = []
    for net in nets:
        reply = bob.create("guest", nets=[net])
        assert reply.status in (400, 404), reply.body
        titles.append(reply.title.replace(str(next(iter(net.values()))), "X"))
    assert titles[0] == titles[1] == titles[2], "the answer tells whether there is such a network elsewhere"
    assert titles[3] == titles[4]
    for kind, thing in (("networks", network), ("ports", port)):
        assert bob.ask("DELETE", f"/v1/{kind}/{thing['uuid']}").status == 404
        assert thing["uuid"] not in bob.ask("GET", f"/v1/{kind}").body.decode()
    assert bob.ask("GET", "/v1/containers").json["containers"] == []
    assert alice.ask("DELETE", f"/v1/ports/{port['uuid']}").status == 204
    assert alice.ask("DELETE", f"/v1/networks/{network['uuid']}").status == 204


def test_actions_in_the_wrong_state_and_on_unknown_containers(alice: User) -> None:
    made = alice.create("still")
    path = f"/v1/containers/{made.json['uuid']}"
    eventually(lambda: alice.ask("GET", path).json["status"] == "Created")
    for act in ("stop", "pause", "unpause", "kill"):
        reply = alice.ask("POST", f"{path}/{act}")
        assert reply.status == 409
        assert "Created" in reply.title
    for act in ("start", "stop", "pause", "logs"):
        method = "GET" if act == "logs" else "POST"
        assert alice.ask(method, f"/v1/containers/{made.json['uuid'][:-1]}x/{act}").status == 404
    remove_all(alice)


def test_wrong_passwords_are_refused_ever_more_slowly(own: Server, alice: User, bob: User) -> None:
    guesser = User(own, "alice", "wrong", source="127.0.0.9")
    refused = [guesser.ask("GET", "/v1/containers") for _ in range(6)]
    assert {reply.status for reply in refused} == {401}
    assert "wrong" in refused[0].title
    assert int(refused[-1].headers["retry-after"]) >= 1
    assert "wait" in refused[-1].title
    right = User(own, "alice", alice.password, source="127.0.0.9")
    assert right.ask("GET", "/v1/containers").status == 401, "guessing goes on while it is slowed down"
    assert alice.ask("GET", "/v1/containers").status == 200, "somebody else's guesses lock a user out"
    assert bob.ask("GET", "/v1/containers").status == 200


@pytest.mark.parametrize(
    "login", ["Basic", "Basic ====", "Basic YQ==", "Digest x", "Bearer x", "", "Basic " + "A" * 9000]
)
def test_strange_credentials_are_refused(own: Server, login: str) -> None:
    stranger = User(own, "nobody", "", source="127.0.0.8")
    headers = {"X_Auth_Token": "gAAAAAB-not-a-token"} if not login else {"Authorization": login}
    reply = stranger.ask("GET", "/v1/containers", None, **headers)
    assert reply.status == 401
    assert "Basic" in reply.headers["www-authenticate"]


def test_a_token_ends_by_itself_and_by_revocation(alice: User) -> None:
    expiring, revoked = alice.token(), alice.token()
    assert alice.ask("GET", "/v1/containers", X_Auth_Token=expiring).status == 200
    assert alice.ask("GET", "/v1/containers", X_Auth_Token=revoked).status == 200
    tampered = revoked[:-2] + ("AA" if not revoked.endswith("AA") else "BB")
    assert alice.ask("GET", "/v1/containers", X_Auth_Token=tampered).status == 401
    gone = alice.ask("DELETE", "/identity/v3/auth/tokens", X_Auth_Token=revoked, X_Subject_Token=revoked)
    assert gone.status == 204
    assert alice.ask("GET", "/v1/containers", X_Auth_Token=revoked).status == 401
    time.sleep(2.1)
    assert alice.ask("GET", "/v1/containers", X_Auth_Token=expiring).status == 401


@pytest.mark.parametrize("version", ["1.0", "1.41", "2.1", "99.99", "x", "1.1.1", "1.9999999999999999999", ""])
def test_an_unsupported_microversion_is_refused_with_what_there_is(admin: User, version: str) -> None:
    reply = admin.ask("GET", "/v1/containers", version=version)
    assert reply.status == 406
    assert "1.40" in json.dumps(reply.json)


def test_what_is_not_there_says_so(admin: User) -> None:
    assert admin.ask("GET", "/v1/nothing-of-the-kind").status == 404
    assert admin.ask("PATCH", "/v1/containers").status == 405
