"""The `mounts` of a request, read."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krater.api.mounts import MountAsk, mounted, read_destination, read_mounts, volume_asks
from krater.api.schemas.containers import MountItem
from krater.cloud.interfaces import VolumeAsk
from krater.errors import Invalid
from krater.model.volume import VolumeClaim

LIMIT = 1000


def read(*items: dict[str, Any]) -> list[MountAsk]:
    return read_mounts([MountItem(**item) for item in items], LIMIT)


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_each_kind_is_understood() -> None:
    found = read(
        {"source": "data", "destination": "/data"},
        {"size": "2", "destination": "/scratch/", "read_only": "true", "type": "volume"},
        {"type": "bind", "source": b64(b"\0\xff"), "destination": "//etc//conf"},
    )
    assert found == [
        MountAsk("/data", False, VolumeAsk("data")),
        MountAsk("/scratch", True, VolumeAsk(size=2)),
        MountAsk("/etc/conf", True, content=b"\0\xff"),
    ]


@pytest.mark.parametrize(
    "path",
    ["", "data", "./data", "/", "//", "/.", "/a/../b", "/..", "/a\nb", "/a\0", "/a\x7f", "/proc", "/proc/1", "/sys/x",
     "/dev", "/dev/shm", "/./proc", "//sys", "/" + "x" * 256],
)  # fmt: skip
def test_a_bad_destination_is_refused(path: str) -> None:
    with pytest.raises(Invalid, match=r"mounts\[0\].destination") as caught:
        read_destination("mounts[0].destination", path)
    assert caught.value.field == "mounts"


@given(st.text())
def test_a_destination_is_refused_or_plain(text: str) -> None:
    try:
        path = read_destination("d", text)
    except Invalid:
        return
    parts = path.split("/")
    assert parts[0] == ""
    assert len(parts) > 1
    assert not {"", ".", ".."} & set(parts[1:])
    assert read_destination("d", path) == path


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([{"destination": "/d"}], "exactly one of source"),
        ([{"destination": "/d", "source": "v", "size": 1}], "exactly one of source"),
        ([{"destination": "/d", "source": ""}], "name or id of a volume"),
        ([{"destination": "/d", "source": "v" * 256}], "name or id of a volume"),
        ([{"destination": "/d", "type": "bind"}], "no size"),
        ([{"destination": "/d", "type": "bind", "size": 1}], "no size"),
        ([{"destination": "/d", "type": "bind", "source": "aGk=", "size": 1}], "no size"),
        ([{"destination": "/d", "type": "bind", "source": "no base64!"}], "base64"),
        ([{"destination": "/d", "type": "bind", "source": "aGk"}], "base64"),
        ([{"destination": "/d", "type": "bind", "source": "\u00e9===" }], "base64"),
        ([{"destination": "/d", "type": "bind", "source": b64(b"x" * (LIMIT + 1))}], "too large"),
        ([{"destination": "/d", "source": "a"}, {"destination": "/d/", "size": 1}], "/d is the destination of two"),
        ([{"destination": "/d", "type": "bind", "source": ""}, {"destination": "/d/e", "size": 1}], "is a file"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_its_place(items: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read(*items)


def test_the_largest_file_and_an_empty_one_are_fine() -> None:
    assert read({"destination": "/d", "type": "bind", "source": b64(b"x" * LIMIT)})[0].content == b"x" * LIMIT
    assert read({"destination": "/d", "type": "bind", "source": ""})[0].content == b""


def test_a_volume_may_be_mounted_at_two_places_and_is_claimed_once() -> None:
    asks = read(
        {"source": "data", "destination": "/a"},
        {"source": "data", "destination": "/b", "read_only": True},
        {"source": "id-1", "destination": "/c"},
        {"size": 1, "destination": "/d"},
        {"size": 1, "destination": "/e"},
    )
    assert volume_asks(asks) == [VolumeAsk("data"), VolumeAsk("id-1"), VolumeAsk(size=1), VolumeAsk(size=1)]
    claims = [VolumeClaim("id-1"), VolumeClaim("id-1"), VolumeClaim("n1", 1), VolumeClaim("n2", 1)]
    found = mounted(asks, claims)
    assert [(m.destination, m.volume, m.read_only) for m in found.mounts] == [
        ("/a", "id-1", False),
        ("/b", "id-1", True),
        ("/c", "id-1", False),
        ("/d", "n1", False),
        ("/e", "n2", False),
    ]
    assert found.claims == (VolumeClaim("id-1"), VolumeClaim("n1", 1), VolumeClaim("n2", 1))


def test_the_content_of_a_file_is_not_in_the_specification_nor_in_any_text() -> None:
    asks = read({"destination": "/d", "type": "bind", "source": b64(b"secret words")})
    found = mounted(asks, [])
    [mount] = found.mounts
    assert found.files == {mount.file: b"secret words"}
    assert "secret" not in repr((asks, found))
