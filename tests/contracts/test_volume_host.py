"""What every `VolumeHost` promises."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from krater.agent.volumes.directory import DirectoryVolumes
from krater.agent.volumes.fake import FakeVolumeHost, FakeVolumeWorld
from krater.agent.volumes.interfaces import VolumeHost
from krater.errors import Invalid, Permanent, Temporary
from krater.model.volume import Attachment, MountRequest

NEW, KNOWN = Attachment("v1", 1, is_new=True), Attachment("v1", 1)
AT = MountRequest("/data", volume="v1")


class World:
    """A node. `restarted()` gives another VolumeHost after the one before just stopped existing."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.is_real = kind == "directory"
        self._directory, self._fake = directory, FakeVolumeWorld()

    async def restarted(self) -> VolumeHost:
        made: VolumeHost = FakeVolumeHost(self._fake)
        if self.is_real:
            made = self.real()
        await made.open()
        return made

    def real(self) -> DirectoryVolumes:
        return DirectoryVolumes(self._directory / "volumes", self._directory / "mounts")

    async def clear(self) -> None:
        if self.is_real:
            last = self.real()
            await last.open()
            await last.retire()
            await last.close()


@pytest.fixture(params=["fake", pytest.param("directory", marks=pytest.mark.live)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = World(request.param, tmp_path)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(made.clear)
        yield made


@pytest.fixture
async def host(world: World) -> VolumeHost:
    return await world.restarted()


async def test_a_new_volume_gets_its_data_and_is_told_of(host: VolumeHost) -> None:
    assert await host.stored() == frozenset()
    await host.connect("w1", NEW)
    assert await host.connected() == {"w1": frozenset({"v1"})}
    assert await host.stored() == frozenset({"v1"})


async def test_connecting_twice_is_success(host: VolumeHost) -> None:
    await host.connect("w1", NEW)
    await asyncio.gather(host.connect("w1", NEW), host.connect("w1", KNOWN))
    assert await host.connected() == {"w1": frozenset({"v1"})}


async def test_data_outlive_the_connection(host: VolumeHost) -> None:
    await host.connect("w1", NEW)
    await host.disconnect("w1", "v1")
    assert await host.connected() == {}
    assert await host.stored() == frozenset({"v1"})
    await host.connect("w2", KNOWN)
    assert await host.connected() == {"w2": frozenset({"v1"})}


async def test_a_volume_whose_data_are_missing_is_not_made_anew(host: VolumeHost) -> None:
    with pytest.raises(Permanent, match="not on this node"):
        await host.connect("w1", KNOWN)
    assert await host.connected() == {}
    assert await host.stored() == frozenset()


async def test_a_volume_is_one_workloads_at_a_time(host: VolumeHost) -> None:
    await host.connect("w1", NEW)
    with pytest.raises(Temporary, match="in use"):
        await host.connect("w2", KNOWN)
    assert await host.connected() == {"w1": frozenset({"v1"})}


async def test_what_is_gone_may_be_disconnected_and_discarded_again(host: VolumeHost) -> None:
    await host.disconnect("w1", "v1")
    await host.discard("v1")
    await host.connect("w1", NEW)
    for _ in range(2):
        await host.disconnect("w1", "v1")
    for _ in range(2):
        await host.discard("v1")
    assert await host.stored() == frozenset()


async def test_what_is_connected_is_not_discarded(host: VolumeHost) -> None:
    await host.connect("w1", NEW)
    with pytest.raises(Temporary, match="in use"):
        await host.discard("v1")
    assert await host.stored() == frozenset({"v1"})


async def test_files_are_placed_and_removed(host: VolumeHost) -> None:
    await host.place("w1", "f1", b"one")
    await host.place("w1", "f1", b"one")
    await host.place("w1", "f2", b"")
    await host.connect("w1", NEW)
    assert await host.connected() == {"w1": frozenset({"f1", "f2", "v1"})}
    await host.disconnect("w1", "f1")
    await host.disconnect("w1", "v1")
    assert await host.connected() == {"w1": frozenset({"f2"})}
    await host.disconnect("w1", "f2")
    assert await host.connected() == {}


async def test_everything_is_found_again_after_a_restart(world: World, host: VolumeHost) -> None:
    await host.connect("w1", NEW)
    await host.place("w2", "f1", b"one")
    again = await world.restarted()
    assert await again.connected() == {"w1": frozenset({"v1"}), "w2": frozenset({"f1"})}
    await again.connect("w1", KNOWN)
    await again.disconnect("w1", "v1")
    await again.disconnect("w2", "f1")
    assert await again.connected() == {}


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "x" * 200, ".new"])
async def test_nothing_can_be_named_like_a_path(host: VolumeHost, name: str) -> None:
    for doing in (
        host.connect(name, NEW),
        host.connect("w1", Attachment(name, 1, is_new=True)),
        host.place("w1", name, b""),
        host.place(name, "f1", b""),
    ):
        with pytest.raises(Invalid):
            await doing


async def test_many_at_once_are_all_there(host: VolumeHost) -> None:
    names = [f"v{n}" for n in range(12)]
    await asyncio.gather(*(host.connect(f"w-{name}", Attachment(name, 1, is_new=True)) for name in names))
    assert await host.connected() == {f"w-{name}": frozenset({name}) for name in names}
    await asyncio.gather(*(host.disconnect(f"w-{name}", name) for name in names))
    assert await host.connected() == {}
    assert await host.stored() == frozenset(names)


class TestDirectory:
    """What only the real thing can show."""

    pytestmark = pytest.mark.live

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        made = World("directory", tmp_path)
        yield made
        await made.clear()

    async def test_what_was_written_is_there_again(self, host: VolumeHost) -> None:
        await host.connect("w1", NEW)
        write(host.path("w1", AT), "kept")
        await host.disconnect("w1", "v1")
        assert not os.path.exists(host.path("w1", AT))  # noqa: ASYNC240
        await host.connect("w2", KNOWN)
        assert read(host.path("w2", AT)) == "kept"

    async def test_it_is_empty_at_first_and_bounded(self, host: VolumeHost) -> None:
        await host.connect("w1", NEW)
        path = host.path("w1", AT)
        assert os.listdir(path) == []
        room = os.statvfs(path)
        assert 0.9 * 2**30 < room.f_blocks * room.f_frsize <= 2**30

    async def test_it_grows_when_it_is_connected_next(self, host: VolumeHost) -> None:
        await host.connect("w1", NEW)
        write(host.path("w1", AT), "kept")
        await host.disconnect("w1", "v1")
        await host.connect("w1", Attachment("v1", 2))
        room = os.statvfs(host.path("w1", AT))
        assert room.f_blocks * room.f_frsize > 1.8 * 2**30
        assert read(host.path("w1", AT)) == "kept"

    async def test_a_broken_file_system_is_never_made_anew(self, host: VolumeHost, tmp_path: Path) -> None:
        disk = tmp_path / "volumes" / "disks" / "v1"
        disk.write_bytes(b"precious" * 4096)
        with pytest.raises(Permanent, match="no file system"):
            await host.connect("w1", NEW)
        assert disk.read_bytes() == b"precious" * 4096
        assert await host.connected() == {}

    async def test_half_made_things_are_swept_at_the_start(self, world: World, tmp_path: Path) -> None:
        assert await (await world.restarted()).connected() == {}
        (tmp_path / "volumes" / "files" / "w1").mkdir()
        (tmp_path / "mounts" / "w1" / "v1").mkdir(parents=True)
        (tmp_path / "volumes" / "disks" / "v1.new").write_bytes(b"half")
        (tmp_path / "volumes" / "files" / "w1" / "f1.new").write_bytes(b"half")
        host = await world.restarted()
        assert await host.stored() == frozenset()
        assert await host.connected() == {}
        assert os.listdir(tmp_path / "mounts") == []
        await host.connect("w1", NEW)
        await world.clear()
        assert sorted(p.name for p in (tmp_path / "volumes").rglob("*")) == ["data", "disks", "files", "seed", "v1"]

    async def test_no_device_outlives_its_mount(self, host: VolumeHost, tmp_path: Path) -> None:
        await host.connect("w1", NEW)
        assert len(_devices(tmp_path)) == 1
        await host.disconnect("w1", "v1")
        assert _devices(tmp_path) == []

    async def test_a_file_is_roots_and_readable_by_all(self, host: VolumeHost) -> None:
        await host.place("w1", "f1", b"\0one")
        path = Path(host.path("w1", MountRequest("/conf", file="f1")))
        assert content_and_mode(path) == (b"\0one", 0o644, 0, 0)
        assert os.stat(path.parent).st_mode & 0o777 == 0o700


def write(directory: str, text: str) -> None:
    Path(directory, "x").write_text(text)


def read(directory: str) -> str:
    return Path(directory, "x").read_text()


def content_and_mode(path: Path) -> tuple[bytes, int, int, int]:
    seen = path.stat()
    return path.read_bytes(), seen.st_mode & 0o7777, seen.st_uid, seen.st_gid


def _devices(directory: Path) -> list[str]:
    """Loop devices over files below a directory."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [text] if (text := backing.read_text().strip()).startswith(str(directory)) else []
        except OSError:
            continue
    return found
