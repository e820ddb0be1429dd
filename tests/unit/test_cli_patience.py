"""How long commands wait for processes that are given long to end."""

from types import SimpleNamespace

import pytest

from krater.cli.lifecycle import PATIENCE
from tests.support.fake_api import Asked, FakeApi, Reply, capsule, container, member
from tests.support.terminal import Terminal

LONG = 10 * int(PATIENCE)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks it gets later by nearly all the time that a process has."""
    times = iter(range(0, LONG * 100, LONG - 1))
    monkeypatch.setattr("krater.client.watching.time", SimpleNamespace(monotonic=lambda: next(times)))


def test_a_container_has_as_long_as_was_said(api: FakeApi, krater: Terminal) -> None:
    web = container("web", task_state="container_stopping")
    api.containers = [web]
    looks = iter(range(1))

    def show(_: Asked) -> Reply:
        if next(looks, None) is None:
            web.update(status="Stopped", task_state=None)
        return 200, web

    api.answers[f"GET {web['uuid']}"] = show
    assert krater("stop", "-t", str(LONG), "web").code == 0


def test_members_of_a_capsule_have_it_one_after_the_other(api: FakeApi, krater: Terminal) -> None:
    members = [member(name, task_state="container_stopping") for name in ("web", "db", "log")]
    shop = capsule("shop", *members)
    api.capsules = [shop]
    looks = iter(range(3))

    def show(_: Asked) -> Reply:
        if next(looks, None) is None:
            shop["status"] = "Stopped"
            for one in members:
                one.update(status="Stopped", task_state=None)
        return 200, shop

    api.answers[f"GET {shop['uuid']}"] = show
    assert krater("capsule", "stop", "-t", str(LONG), "shop").code == 0
