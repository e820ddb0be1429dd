"""Images that are made here, on the command line."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_api import FakeApi, container, refusal
from tests.support.terminal import Terminal

UUID = "11111111-2222-4333-8444-555555555555"


def image(**changes: Any) -> dict[str, Any]:
    plain = {
        "uuid": UUID, "name": "app:latest", "repo": "app", "tag": "latest", "status": "active", "status_reason": None,
        "image_id": "sha256:feed", "size": 4_400_000, "project_id": "p1", "user_id": "u1", "container": "c1",
        "created_at": "2026-01-31T12:00:00.5",
    }  # fmt: skip
    return {**plain, **changes}


@pytest.fixture
def api(api: FakeApi) -> FakeApi:
    api.containers.append(container("web"))
    api.answers["GET /v1/own_images"] = lambda _: (200, {"images": [image()], "next": None})
    api.answers[f"GET /own_images/{UUID}"] = lambda _: (200, image())
    api.answers["GET /own_images/app"] = lambda _: (200, image())
    return api


def test_commit_waits_until_the_image_is_there(api: FakeApi, krater: Terminal) -> None:
    states = iter(["saving", "saving", "active"])
    api.answers = {
        "POST /commit": lambda _: (202, {"uuid": UUID}),
        f"GET /own_images/{UUID}": lambda _: (200, image(status=next(states))),
    }
    ended = krater("commit", "web", "team/app:2")
    assert (ended.code, ended.out) == (0, f"{UUID}\n")
    assert api.asked("POST", "/commit")[0].query == {"repository": "team/app:2"}
    assert next(states, None) is None


def test_a_commit_that_failed_says_why(api: FakeApi, krater: Terminal) -> None:
    history = {"containerActions": [{"action": "commit", "message": "the node's disk is full"}]}
    api.answers = {
        "POST /commit": lambda _: (202, {"uuid": UUID}),
        f"GET /own_images/{UUID}": lambda _: refusal(404, "There is none."),
        "GET /container_actions": lambda _: (200, history),
    }
    ended = krater("commit", "web", "app")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "krater: There is no image: the node's disk is full\n"


def test_users_see_their_own_images(api: FakeApi, krater: Terminal) -> None:
    api.answers["GET /v1/images"] = lambda _: refusal(403, "Policy doesn't allow it.")
    for words in (("images",), ("images", "--own")):
        row = krater(*words).out.splitlines()[1].split()
        assert row == ["app:latest", "active", "4.4MB", "feed", "2026-01-31", "12:00:00", UUID[:12]]
    assert krater("images", "-q").out == f"{UUID}\n"


def test_an_own_image_is_removed_first(api: FakeApi, krater: Terminal) -> None:
    api.answers["GET /v1/images"] = lambda _: refusal(403, "Policy doesn't allow it.")
    api.answers[f"DELETE /own_images/{UUID}"] = lambda _: (204, None)
    ended = krater("rmi", "app", "nothing")
    assert (ended.code, ended.out, ended.err) == (1, f"{UUID}\n", "krater: There is no image nothing.\n")


def test_what_is_saved_is_whole_or_not_there(api: FakeApi, krater: Terminal, tmp_path: Path) -> None:
    target = tmp_path / "app.tar"
    api.answers["GET /own_images/app/archive"] = lambda _: refusal(503, "Its node does not answer.")
    assert krater("save", "app", "-o", str(target)).code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_push_is_followed_to_its_end(api: FakeApi, krater: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRATER_REGISTRY_PASSWORD", "secret")
    blank: dict[str, Any] = {"push": "p1", "state": "working", "done": 0, "total": 0, "reason": "", "digest": ""}
    then: list[dict[str, Any]] = [{"done": 5, "total": 10}, {"state": "done", "digest": "sha256:beef"}]
    steps = iter(then)
    api.answers["POST /push"] = lambda _: (202, blank)
    api.answers["GET /push/p1"] = lambda _: (200, blank | next(steps))
    ended = krater("push", "app", "registry.example/app:1", "--username", "ann")
    assert (ended.code, ended.out) == (0, "sha256:beef\n")
    assert api.asked("POST", "/push")[0].body == {
        "reference": "registry.example/app:1", "username": "ann", "password": "secret",
    }  # fmt: skip


def test_a_push_with_a_login_that_is_kept(api: FakeApi, krater: Terminal) -> None:
    blank: dict[str, Any] = {"push": "p1", "state": "done", "done": 0, "total": 0, "reason": "", "digest": "sha256:b"}
    api.answers["POST /push"] = lambda _: (202, blank)
    assert krater("push", "app", "team/app:1", "--registry", "mine").out == "sha256:b\n"
    assert api.asked("POST", "/push")[0].body == {"reference": "team/app:1", "registry": "mine"}
    ended = krater("push", "app", "team/app:1", "--registry", "mine", "--username", "ann")
    assert (ended.code, "a login of its own" in ended.err) == (2, True)


@pytest.mark.parametrize(("state", "reason", "said"), [("failed", "log in", "log in"), ("unknown", "", "interrupted")])
def test_a_push_that_failed_says_why(api: FakeApi, krater: Terminal, state: str, reason: str, said: str) -> None:
    ended_so = {"push": "p1", "state": state, "done": 0, "total": 0, "reason": reason, "digest": ""}
    api.answers["POST /push"] = lambda _: (202, ended_so)
    ended = krater("push", "app", "registry.example/app")
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err


def test_a_pull_of_what_is_there_is_a_success(api: FakeApi, krater: Terminal) -> None:
    there = {"uuid": "aaaa1", "image_id": "sha256:1", "repo": "alpine", "tag": "latest", "size": "1", "host": "n1"}
    api.answers["GET /v1/images"] = lambda _: (200, {"images": [there], "next": None})
    api.answers["GET /images/aaaa1"] = lambda _: (200, there)
    api.answers["POST /v1/images"] = lambda _: refusal(409, "It is there already.")
    ended = krater("pull", "alpine", "--host", "n1")
    assert (ended.code, ended.out, ended.err) == (0, "aaaa1\n", "")
    assert krater("pull", "other", "--host", "n1").code == 1


def test_a_search_shows_what_was_found(api: FakeApi, krater: Terminal) -> None:
    about = {"is_official": True, "star_count": 20000}
    api.answers["GET /images/library/nginx/search"] = lambda _: (
        200,
        [{"name": "nginx", "description": "Web server\x1b[2J", "metadata": about}],
    )
    shown = krater("search", "library/nginx")
    assert shown.out.splitlines()[1].split()[:3] == ["nginx", "20000", "yes"]
    assert "\x1b" not in shown.out
    own = {"id": UUID, "name": "app", "tags": ["1"], "status": "active", "size": 5, "metadata": {}}
    api.answers["GET /images/app/search"] = lambda _: (200, [own])
    assert krater("search", "--own", "app").out.splitlines()[1].split()[:2] == ["app:1", "active"]


STATS = {
    "CONTAINER": "web", "CPU %": 12.5, "MEM USAGE(MiB)": 10.0, "MEM LIMIT(MiB)": 64.0, "MEM %": 15.6,
    "BLOCK I/O(B)": "1/2", "NET I/O(B)": "3/4",
}  # fmt: skip


def test_stats_on_a_terminal_stay_up_to_date(api: FakeApi, krater: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([(200, STATS), (200, STATS | {"CPU %": 99.0}), refusal(409, "It does not run.")])
    api.answers["GET /stats"] = lambda _: next(answers)
    monkeypatch.setattr("krater.cli.usage.time.sleep", lambda _: None)
    with krater.wide(120):
        ended = krater("stats", "web")
    assert ended.code == 0
    assert ended.out.count("\x1b[H") == 2
    assert "12.5" in ended.out
    assert "99.0" in ended.out


@pytest.mark.parametrize("words", [("--no-stream",), ()])
def test_one_reading_where_nothing_moves(api: FakeApi, krater: Terminal, words: tuple[str, ...]) -> None:
    api.answers["GET /stats"] = lambda _: (200, STATS)
    ended = krater("stats", *words)
    assert len(ended.out.splitlines()) == 2
    assert "\x1b" not in ended.out
