"""`krater volume`, and `--mount` and `--volume` of `krater run`."""

import base64
import io
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from krater.cli.mounts import mounts
from tests.support.fake_api import Asked, FakeApi, refusal
from tests.support.terminal import Terminal

ID = "7c9f3a52-5b0e-4f0c-9a0e-3a1de27d0b8e"


def volume(name: str = "data", **changes: Any) -> dict[str, Any]:
    plain = {"uuid": ID, "name": name, "project_id": "p1", "size": 5, "status": "available", "status_reason": None}
    more = {"container": "", "auto_remove": False, "host": None, "created_at": "2026-01-31T12:00:00"}
    return {**plain, **more, **changes}


@pytest.fixture
def api(api: FakeApi) -> FakeApi:
    api.answers["GET /v1/volumes"] = lambda _: (200, {"volumes": [volume(), volume("", status="in-use")]})
    api.answers["POST /v1/volumes"] = lambda asked: (200, volume(asked.body["name"], size=asked.body["size"]))
    return api


def test_a_volume_is_made_of_a_name_and_a_size(api: FakeApi, krater: Terminal) -> None:
    assert krater("volume", "create", "data", "--size", "20g").out == "data  20 GiB\n"
    assert api.asked("POST", "/volumes")[0].body == {"name": "data", "size": 20}


@pytest.mark.parametrize("words", [("create", "data"), ("create", "data", "--size", "0"), ("rm",), ("show",)])
def test_what_makes_no_sense_is_not_asked(api: FakeApi, krater: Terminal, words: tuple[str, ...]) -> None:
    assert krater("volume", *words).code == 2
    assert api.requests == []


def test_lists_and_panels(api: FakeApi, krater: Terminal) -> None:
    listed = krater("volume", "ls").out.splitlines()
    assert listed[0].split() == ["NAME", "SIZE", "STATUS", "CONTAINER", "ID"]
    assert listed[1].split() == ["data", "5", "GiB", "available", ID]
    api.answers["GET /v1/volumes/data"] = lambda _: (200, volume(status="error", status_reason="It is stuck."))
    shown = krater("volume", "show", "data").out
    assert "It is stuck." in shown
    assert '"size": 5' in krater("volume", "show", "data", "--format", "json").out


def test_growing(api: FakeApi, krater: Terminal) -> None:
    api.answers["PATCH /v1/volumes/data"] = lambda asked: (200, volume(size=asked.body["size"]))
    assert krater("volume", "resize", "data", "--size", "9").out == "data  9 GiB\n"


def test_removing_waits_until_it_is_gone(api: FakeApi, krater: Terminal) -> None:
    left = [volume(), volume(status="deleting"), volume(status="deleting")]

    def show(_: Asked) -> tuple[int, Any]:
        return (200, left.pop(0)) if left else refusal(404, "There is no volume data.")

    api.answers["GET /v1/volumes/data"] = api.answers[f"GET /v1/volumes/{ID}"] = show
    api.answers["DELETE"] = lambda _: (202, None)
    ended = krater("volume", "rm", "data")
    assert (ended.code, ended.out) == (0, "data\n")
    assert left == []


def test_one_that_is_in_use_keeps_the_others_from_nothing(api: FakeApi, krater: Terminal) -> None:
    api.answers["GET /v1/volumes/used"] = lambda _: (200, volume("used", uuid="u-1"))
    api.answers["GET /v1/volumes/free"] = lambda _: (200, volume("free", uuid="f-1"))
    api.answers["DELETE /v1/volumes/u-1"] = lambda _: refusal(409, "The volume used is in use.")
    api.answers["DELETE /v1/volumes/f-1"] = lambda _: (202, None)
    ended = krater("volume", "rm", "--no-wait", "used", "free")
    assert (ended.code, ended.out) == (1, "free\n")
    assert "in use" in ended.err


def test_mounts_are_spelled_as_the_container_api_wants_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "conf"
    file.write_bytes(b"\0words")
    coded = base64.b64encode(b"\0words").decode()
    assert mounts(
        [
            "source=data,destination=/d",
            "type=volume,src=data,dst=/e,readonly",
            "size=10g,destination=/f",
            f"type=bind,source={file},destination=/etc/conf",
        ],
        ["data:/g", "data:/h:ro", "data:/i:rw"],
    ) == [
        {"source": "data", "destination": "/d"},
        {"source": "data", "destination": "/e", "read_only": True},
        {"size": "10", "destination": "/f"},
        {"type": "bind", "source": coded, "destination": "/etc/conf"},
        {"source": "data", "destination": "/g"},
        {"source": "data", "destination": "/h", "read_only": True},
        {"source": "data", "destination": "/i"},
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    [found] = mounts(["type=bind,source=-,destination=/x"], [])
    assert found["source"] == base64.b64encode(b"piped").decode()


@pytest.mark.parametrize(
    "text",
    ["", "data", "source=data", "destination=/d", "source=a,size=1,destination=/d", "source=a,source=b,destination=/d",
     "type=nfs,source=a,destination=/d", "type=bind,size=1,destination=/d", "colour=red,source=a,destination=/d",
     "source=,destination=/d", "size=x,destination=/d", "type=bind,source=/no/such/file,destination=/d"],
)  # fmt: skip
def test_a_mount_that_makes_no_sense_is_refused_here(text: str) -> None:
    with pytest.raises(click.BadParameter):
        mounts([text], [])


@pytest.mark.parametrize("text", ["data", "data:", "data:relative", ":/d", "data:/d:rx", "/etc:/d", "./x:/d", "~/x:/d"])
def test_a_volume_that_makes_no_sense_is_refused_here(text: str) -> None:
    with pytest.raises(click.BadParameter):
        mounts([], [text])


def test_paths_of_this_machine_are_refused_with_what_to_do_instead(api: FakeApi, krater: Terminal) -> None:
    ended = krater("run", "-d", "-v", "/srv/data:/data", "alpine")
    assert ended.code == 2
    assert "krater volume create" in ended.err
    assert api.requests == []


def test_run_asks_for_mounts(api: FakeApi, krater: Terminal) -> None:
    krater("create", "-v", "data:/data", "--mount", "size=1,destination=/scratch", "alpine")
    body = api.asked("POST", "/containers")[0].body
    assert body["mounts"] == [{"size": "1", "destination": "/scratch"}, {"source": "data", "destination": "/data"}]
