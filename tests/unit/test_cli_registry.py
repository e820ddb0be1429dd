"""Registries and quotas on the command line."""

import io
from typing import Any

import pytest

from tests.support.fake_api import FakeApi
from tests.support.terminal import Terminal

ENTRY = {
    "uuid": "11112222-3333-4444-8555-666677778888",
    "name": "mine",
    "domain": "registry.example:5000",
    "username": "me",
    "password": "***",
    "project_id": "p",
    "user_id": "u",
}
LIMITS = {"containers": 5, "memory": -1, "disk": 100, "cpu": 20}
USAGES = {name: {"limit": limit, "in_use": 1.5} for name, limit in LIMITS.items()}


@pytest.fixture
def api(api: FakeApi) -> FakeApi:
    api.answers["POST /v1/registries"] = lambda _: (201, {"registry": ENTRY})
    api.answers["GET /v1/registries"] = lambda _: (200, {"registries": [ENTRY], "next": None})
    api.answers["GET /v1/registries/mine"] = lambda _: (200, {"registry": ENTRY})
    api.answers["PATCH /v1/registries/mine"] = lambda _: (200, {"registry": ENTRY})
    api.answers["DELETE /v1/registries/mine"] = lambda _: (204, None)
    api.answers["GET /v1/quotas/~"] = lambda _: (200, USAGES)
    api.answers["GET /v1/quotas/~/defaults"] = lambda _: (200, LIMITS)
    api.answers["PUT /v1/quotas/kitchen"] = lambda _: (200, LIMITS)
    api.answers["DELETE /v1/quotas/kitchen"] = lambda _: (200, None)
    api.answers["GET /v1/quota_classes/default"] = lambda _: (200, LIMITS)
    api.answers["PUT /v1/quota_classes/default"] = lambda _: (200, LIMITS)
    return api


def sent(api: FakeApi) -> Any:
    return api.requests[-1].body


def test_the_password_comes_from_the_pipe(api: FakeApi, krater: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("open sesame\n"))
    ended = krater("registry", "create", "registry.example:5000", "--name", "mine", "--username", "me")
    assert (ended.code, ended.out) == (0, "mine  registry.example:5000\n")
    assert sent(api) == {
        "registry": {
            "domain": "registry.example:5000",
            "name": "mine",
            "username": "me",
            "password": "open sesame",
        }
    }


def test_without_a_user_no_password_is_asked_for(api: FakeApi, krater: Terminal) -> None:
    assert krater("registry", "create", "quay.io").code == 0
    assert sent(api) == {"registry": {"domain": "quay.io"}}


def test_there_is_no_option_for_a_password(krater: Terminal) -> None:
    assert krater("registry", "create", "quay.io", "--password", "x").code == 2


def test_lists_and_shows(krater: Terminal) -> None:
    listed = krater("registry", "ls")
    assert "registry.example:5000" in listed.out
    assert "11112222-333" in listed.out
    assert "me" in krater("registry", "show", "mine").out
    assert '"password": "***"' in krater("registry", "show", "mine", "--format", "json").out
    assert krater("registry", "rm", "mine").out == "mine\n"


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("--name", "yours"), {"name": "yours"}),
        (("--password",), {"password": "new word"}),
        (("--username", "you"), {"username": "you", "password": "new word"}),
        (("--domain", "b.example"), {"domain": "b.example", "password": "new word"}),
    ],
)
def test_changes(
    api: FakeApi, krater: Terminal, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], body: dict[str, str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("new word\n"))
    assert krater("registry", "update", "mine", *words).code == 0
    assert sent(api) == {"registry": body}


def test_nothing_to_change_is_said(krater: Terminal) -> None:
    assert "Nothing to change" in krater("registry", "update", "mine").err
    assert "Nothing to set" in krater("quota", "set", "kitchen").err


def test_quotas_are_shown_and_set(api: FakeApi, krater: Terminal) -> None:
    shown = krater("quota", "show").out
    assert "no limit" in shown
    assert "1.5 cores" in shown
    assert "IN USE" not in krater("quota", "defaults").out
    assert krater("quota", "set", "kitchen", "--containers", "5", "--memory", "-1").code == 0
    assert sent(api) == {"containers": 5, "memory": -1}
    assert krater("quota", "set", "kitchen", "--containers", "-2").code == 2
    assert krater("quota", "unset", "kitchen").out == "kitchen\n"
    assert "20 cores" in krater("quota", "class", "show").out
    assert krater("quota", "class", "set", "--cpu", "7").code == 0
    assert sent(api) == {"cpu": 7}
