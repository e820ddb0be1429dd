"""Files of containers that mount volumes and injected files, copied while nothing of them runs."""

import base64
import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from krater.client import Conflict
from tests.support.containers import SLEEP, ends_up, remove, remove_all, running
from tests.support.leftovers import loop_devices
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

MOUNTS: list[dict[str, Any]] = [
    {"size": "1", "destination": "/data"},
    {"type": "bind", "source": base64.b64encode(b"words").decode(), "destination": "/etc/words"},
]


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater of this module's own, as the devices of its volumes are counted."""
    with serving() as server:
        yield server
        remove_all(server)


def content(server: Server, container: str, path: str) -> bytes:
    with server.client().archives.get(container, path) as packed:
        file: Any = packed
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                found = archive.extractfile(member)
                assert found is not None
                return found.read()
    raise AssertionError(f"{path} came as an empty archive")


def put(server: Server, container: str, directory: str, name: str, text: bytes) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    server.client().archives.put(container, directory, [packed.getvalue()])


def test_a_stopped_containers_volumes_are_there_to_copy_from_and_to(own: Server) -> None:
    box = running(own, mounts=MOUNTS)
    put(own, box, "/data", "first", b"one")
    own.client().containers.stop(box, timeout=1)
    ends_up(own, box, "Stopped")
    eventually(lambda: not loop_devices(own.directory), what="the volume being disconnected")
    assert (content(own, box, "/data/first"), content(own, box, "/etc/words")) == (b"one", b"words")
    put(own, box, "/data", "second", b"two")
    eventually(lambda: not loop_devices(own.directory), what="the volume being disconnected again")
    own.client().containers.start(box)
    ends_up(own, box, "Running")
    assert content(own, box, "/data/second") == b"two"
    remove(own, box)


def test_a_volume_that_is_still_empty_can_be_filled_before_the_first_start(own: Server) -> None:
    box = own.client().containers.create(image="busybox", memory=32, command=SLEEP, mounts=MOUNTS)["uuid"]
    ends_up(own, box, "Created")
    put(own, box, "/data", "first", b"one")
    own.client().containers.start(box)
    ends_up(own, box, "Running")
    assert content(own, box, "/data/first") == b"one"
    remove(own, box)


@pytest.mark.parametrize("place", ["/bin/sh", "/etc/hosts/x"])
def test_where_nothing_can_be_mounted_the_copy_says_so(own: Server, place: str) -> None:
    mounts: list[dict[str, Any]] = [{"size": "1", "destination": place}]
    box = own.client().containers.create(image="busybox", memory=32, command=SLEEP, mounts=mounts)["uuid"]
    ends_up(own, box, "Created")
    with pytest.raises(Conflict, match=f"Nothing can be mounted at '{place}'"):
        content(own, box, "/etc/passwd")
    remove(own, box)
