"""Images and hosts on the command line."""

from typing import Any

import click
import pytest

from krater.cli.images import matching
from tests.support.fake_api import Asked, FakeApi
from tests.support.terminal import Terminal


def image(uuid: str, repo: str, tag: str = "latest", host: str = "n1", image_id: str | None = "sha256:feed") -> Any:
    return {"uuid": uuid, "image_id": image_id, "repo": repo, "tag": tag, "size": "4400000", "host": host}


IMAGES = [
    image("aaaa1", "alpine", "3.20", image_id="sha256:1111"),
    image("aaaa2", "alpine"),
    image("bbbb1", "alpine", host="n2"),
    image("cccc1", "docker.io/library/busybox", image_id="sha256:2222"),
    image("dddd1", "localhost:5000/app", "v1", image_id=None),
]


@pytest.fixture
def api(api: FakeApi) -> FakeApi:
    api.answers["GET /v1/images"] = lambda _: (200, {"images": IMAGES, "next": None})
    api.answers["GET /v1/hosts"] = lambda _: (200, {"hosts": [host("n1"), host("n2")], "next": None})
    return api


def host(name: str) -> dict[str, Any]:
    numbers = {"cpu_used": 0.5, "cpus": 4, "mem_used": 512, "mem_total": 8192, "disk_used": 1, "disk_total": 50}
    words = {"os": "Debian 12", "architecture": "x86_64", "kernel_version": "6.1", "runtimes": ["crun"]}
    return {"hostname": name, "total_containers": 3, **numbers, **words}


@pytest.mark.parametrize(
    ("text", "uuids"),
    [
        ("alpine", ["aaaa2", "bbbb1"]),
        ("alpine:3.20", ["aaaa1"]),
        ("docker.io/library/alpine", ["aaaa2", "bbbb1"]),
        ("busybox", ["cccc1"]),
        ("localhost:5000/app:v1", ["dddd1"]),
        ("localhost:5000/app", []),
        ("bbbb", ["bbbb1"]),
        ("sha256:feed", ["aaaa2", "bbbb1"]),
        ("2222", ["cccc1"]),
        ("nothing", []),
    ],
)
def test_an_image_is_meant_by_its_name_or_the_beginning_of_its_id(text: str, uuids: list[str]) -> None:
    assert [found["uuid"] for found in matching(IMAGES, text)] == uuids


def test_several_images_are_not_meant_by_accident() -> None:
    with pytest.raises(click.ClickException):
        matching(IMAGES, "aaaa")


def test_images_are_listed(krater: Terminal) -> None:
    shown = krater("images")
    assert shown.out.splitlines()[1].split() == ["alpine", "3.20", "4.4MB", "1111", "n1", "aaaa1"]


def test_an_image_is_pulled_onto_every_host(api: FakeApi, krater: Terminal) -> None:
    pulling: dict[str, Any] = {}

    def pull(asked: Asked) -> tuple[int, Any]:
        pulling.update(image(f"new-{asked.body['host']}", "alpine", host=asked.body["host"], image_id=None))
        return 202, dict(pulling)

    api.answers["POST /v1/images"] = pull
    api.answers["GET /new-n1"] = lambda _: (200, image("new-n1", "alpine"))
    api.answers["GET /new-n2"] = lambda _: (200, {**pulling, "status": "error", "status_reason": "no such image"})
    ended = krater("pull", "alpine")
    assert (ended.code, ended.out, ended.err) == (1, "new-n1\n", "krater: alpine on n2: no such image\n")
    assert [r.body for r in api.asked("POST", "/images")] == [
        {"repo": "alpine", "host": "n1"},
        {"repo": "alpine", "host": "n2"},
    ]


def test_an_image_is_removed_from_all_hosts_that_have_it(api: FakeApi, krater: Terminal) -> None:
    api.answers["DELETE /aaaa2"] = api.answers["DELETE /bbbb1"] = lambda _: (200, None)
    ended = krater("rmi", "alpine", "nothing")
    assert (ended.code, ended.out, ended.err) == (1, "aaaa2\nbbbb1\n", "krater: There is no image nothing.\n")


def test_hosts_show_what_is_claimed(krater: Terminal) -> None:
    assert krater("hosts").out.splitlines()[1].split()[:5] == ["n1", "0.5/4", "512M/8G", "1G/50G", "3"]
