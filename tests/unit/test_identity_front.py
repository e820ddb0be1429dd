"""The small Keystone: what keystoneauth and python-openstackclient rely on, and bad input."""

import json
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from krater.api.identity import base_url, make_identity_app
from krater.cloud.local.attempts import PAIR
from krater.config import ApiSettings
from tests.support.accounts import Household

pytestmark = pytest.mark.looptime

TOKENS = "/identity/v3/auth/tokens"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Front:
    """The application over a household, asked without a socket."""

    def __init__(self, home: Household, **settings: str) -> None:
        self.home = home
        self._app = make_identity_app(ApiSettings(**settings), home.identity)  # type: ignore[arg-type]

    async def ask(self, method: str, path: str, body: Any = b"", **headers: str) -> Answer:
        """One request; `body` may be bytes or something for JSON, headers have underscores."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = path.partition("?")
        raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in {"host": "krater:9517", **headers}.items()]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": raw,
            "scheme": "http",
            "client": ("192.0.2.1", 1),
        }
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        answered = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        return Answer(sent[0]["status"], answered, b"".join(m.get("body", b"") for m in sent[1:]))

    async def log_in(self, scope: Any = None, user: str = "ann", password: str = "pie", **more: Any) -> Answer:  # noqa: S107
        """POST a password."""
        return await self.ask("POST", TOKENS, request(scope, user, password, **more))

    async def token(self, scope: Any = None, user: str = "ann", password: str = "pie") -> str:  # noqa: S107
        """A token's text."""
        answer = await self.log_in(scope, user, password)
        assert answer.status == 201, answer.body
        return answer.headers["x-subject-token"]


def request(scope: Any, user: str, password: str, domain: Any = None) -> dict[str, Any]:
    who = {"name": user, "password": password, "domain": domain or {"id": "default"}}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": who}}}
    return {"auth": auth if scope is None else {**auth, "scope": scope}}


def project(name: str, domain: str = "Default") -> dict[str, Any]:
    return {"project": {"name": name, "domain": {"name": domain}}}


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(Household(tmp_path))


async def test_versions_are_where_clients_look_for_them(front: Front) -> None:
    for path in ("/identity", "/identity/"):
        answer = await front.ask("GET", path)
        assert answer.status == 300
        (version,) = answer.json["versions"]["values"]
        assert version["links"][0]["href"] == "http://krater:9517/identity/v3/"
    for path in ("/identity/v3", "/identity/v3/"):
        answer = await front.ask("GET", path)
        assert (answer.status, answer.json["version"]["status"]) == (200, "stable")


async def test_a_password_gets_a_token_for_the_project_with_a_catalog(front: Front) -> None:
    answer = await front.log_in(project("cellar"))
    assert answer.status == 201
    token = answer.json["token"]
    assert (token["user"]["name"], token["project"]["name"]) == ("ann", "cellar")
    assert [role["name"] for role in token["roles"]] == ["reader"]
    assert token["expires_at"] == "2026-01-01T04:00:00.000000Z"
    (container,) = [s for s in token["catalog"] if s["type"] == "container"]
    assert container["name"] == "zun"
    assert {(e["interface"], e["url"]) for e in container["endpoints"]} == {
        (interface, "http://krater:9517/v1") for interface in ("public", "internal", "admin")
    }


async def test_without_a_scope_it_is_for_the_first_project_and_unscoped_for_none(front: Front) -> None:
    assert (await front.log_in()).json["token"]["project"]["name"] == "kitchen"
    scopes: tuple[Any, ...] = ("unscoped", {"unscoped": {}})
    for scope in scopes:
        token = (await front.log_in(scope)).json["token"]
        assert not {"project", "roles", "catalog"} & token.keys()


async def test_a_token_gets_a_token_for_another_project(front: Front) -> None:
    unscoped = await front.token("unscoped")
    projects = await front.ask("GET", "/identity/v3/auth/projects", x_auth_token=unscoped)
    ids = {p["name"]: p["id"] for p in projects.json["projects"]}
    assert ids.keys() == {"kitchen", "cellar"}
    auth = {"identity": {"methods": ["token"], "token": {"id": unscoped}}, "scope": {"project": {"id": ids["cellar"]}}}
    answer = await front.ask("POST", TOKENS, {"auth": auth})
    assert answer.status == 201
    assert sorted(answer.json["token"]["methods"]) == ["password", "token"]
    assert answer.json["token"]["project"]["id"] == ids["cellar"]


async def test_the_catalog_can_be_left_out_or_asked_for(front: Front) -> None:
    answer = await front.ask("POST", TOKENS + "?nocatalog", request(None, "ann", "pie"))
    assert "catalog" not in answer.json["token"]
    catalog = await front.ask("GET", "/identity/v3/auth/catalog", x_auth_token=answer.headers["x-subject-token"])
    assert {service["type"] for service in catalog.json["catalog"]} == {"container", "identity"}


async def test_a_token_may_look_at_itself_and_administrators_at_others(front: Front) -> None:
    ann, admin = await front.token(), await front.token(user="admin", password="top secret")
    for method in ("GET", "HEAD"):
        answer = await front.ask(method, TOKENS, x_auth_token=ann, x_subject_token=ann)
        assert (answer.status, answer.headers["x-subject-token"]) == (200, ann)
    answer = await front.ask("GET", TOKENS, x_auth_token=admin, x_subject_token=ann)
    assert answer.json["token"]["user"]["name"] == "ann"
    assert (await front.ask("GET", TOKENS, x_auth_token=ann, x_subject_token=admin)).status == 403
    assert (await front.ask("GET", TOKENS, x_auth_token=ann, x_subject_token="junk")).status == 404
    assert (await front.ask("GET", TOKENS, x_auth_token=ann)).status == 400
    assert (await front.ask("GET", TOKENS, x_subject_token=ann)).status == 401
    assert (await front.ask("GET", TOKENS, x_auth_token="junk", x_subject_token=ann)).status == 401


async def test_a_deleted_token_is_worth_nothing(front: Front) -> None:
    token = await front.token()
    assert (await front.ask("DELETE", TOKENS, x_auth_token=token, x_subject_token=token)).status == 204
    answer = await front.ask("GET", TOKENS, x_auth_token=token, x_subject_token=token)
    assert (answer.status, answer.json["error"]["code"]) == (401, 401)


async def test_projects_of_others_are_not_there(front: Front) -> None:
    ann, admin = await front.token(), await front.token(user="admin", password="top secret")
    everything = await front.ask("GET", "/identity/v3/projects", x_auth_token=admin)
    ids = {p["name"]: p["id"] for p in everything.json["projects"]}
    assert ids.keys() == {"admin", "kitchen", "cellar"}
    own = await front.ask("GET", "/identity/v3/projects", x_auth_token=ann)
    assert {p["name"] for p in own.json["projects"]} == {"kitchen", "cellar"}
    named = await front.ask("GET", "/identity/v3/projects?name=cellar", x_auth_token=ann)
    assert [p["id"] for p in named.json["projects"]] == [ids["cellar"]]
    shown = await front.ask("GET", f"/identity/v3/projects/{ids['cellar']}", x_auth_token=ann)
    assert shown.json["project"]["name"] == "cellar"
    assert (await front.ask("GET", f"/identity/v3/projects/{ids['admin']}", x_auth_token=ann)).status == 404


async def test_failed_log_ins_look_alike_and_are_slowed_down(front: Front) -> None:
    refusals = [
        await front.log_in(password="cake"),
        await front.log_in(user="nobody"),
        await front.log_in(domain={"name": "elsewhere"}),
    ]
    assert {answer.status for answer in refusals} == {401}
    assert len({answer.body for answer in refusals}) == 1
    assert (await front.log_in(project("admin"))).status == 401
    for _ in range(PAIR.free + 2):
        slowed = await front.log_in(password="cake")
    assert slowed.status == 401
    assert int(slowed.headers["retry-after"]) >= 1
    assert 'Keystone uri="http://krater:9517/identity/v3"' in slowed.headers["www-authenticate"]


BAD_BODIES: list[Any] = [
    b"",
    b"{",
    b"\xff",
    b"[" * 10_000,
    [],
    {},
    {"auth": {}},
    {"auth": {"identity": {}}},
    {"auth": {"identity": {"methods": []}}},
    {"auth": {"identity": {"methods": ["password"]}}},
    {"auth": {"identity": {"methods": ["totp"], "totp": {}}}},
    {"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": "pie"}}}}},
    {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": 3, "password": "pie"}}}}},
    request("system", "ann", "pie"),
    request({"project": {}}, "ann", "pie"),
]


@pytest.mark.parametrize("body", BAD_BODIES)
async def test_bad_requests_are_refused_in_keystones_form(front: Front, body: Any) -> None:
    answer = await front.ask("POST", TOKENS, body)
    assert answer.status == 400
    assert answer.json["error"].keys() == {"code", "title", "message"}


async def test_other_refusals_have_the_same_form(front: Front) -> None:
    answers = {
        413: await front.ask("POST", TOKENS, b" " * 100_000),
        405: await front.ask("PATCH", TOKENS),
        404: await front.ask("GET", "/identity/v2.0/tokens"),
        501: await front.log_in({"system": {"all": True}}),
    }
    for status, answer in answers.items():
        assert (answer.status, answer.json["error"]["code"]) == (status, status)


async def test_long_names_and_odd_characters_are_only_wrong(front: Front) -> None:
    for user, password in (
        ("a" * 50_000, "x"),
        ("ann", "x" * 50_000),
        ("ann\x00", "pie"),
        ("ann", "pie\x00"),
        ("\ud800", "x"),
    ):
        assert (await front.log_in(user=user, password=password)).status in (400, 401)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("k:1", "http://k:1"),
        ("[::1]:9517", "http://[::1]:9517"),
        ("evil/path", "http://127.0.0.1:9517"),
        ('"><script>', "http://127.0.0.1:9517"),
        ("", "http://127.0.0.1:9517"),
    ],
)
async def test_urls_are_as_the_client_asked_unless_that_is_no_host(front: Front, host: str, url: str) -> None:
    answer = await front.ask("GET", "/identity/v3", host=host)
    assert answer.json["version"]["links"][0]["href"] == f"{url}/identity/v3/"


async def test_the_operators_url_goes_before_all(tmp_path: Path) -> None:
    front = Front(Household(tmp_path), public_url="https://cloud.example/krater/")
    answer = await front.log_in()
    urls = {e["url"] for s in answer.json["token"]["catalog"] for e in s["endpoints"]}
    assert urls == {"https://cloud.example/krater/v1", "https://cloud.example/krater/identity/v3"}
    assert base_url(ApiSettings(public_url="https://a/"), "http", {}) == "https://a"  # type: ignore[arg-type]
