"""Volumes on a node: what is removed, what is told, and what a container is told of its mounts."""

import asyncio

import pytest

from krater.agent.runtimes.fake import FakeRuntime
from krater.agent.runtimes.interfaces import ArchiveReader
from krater.bus.archives import PackFiles
from krater.bus.messages import VolumesChanged
from krater.model.assignment import ContainerState
from krater.model.volume import Attachment, MountRequest
from krater.model.workload import Desired
from tests.support.agent import Table, altered, assignment_of, spec_of

pytestmark = pytest.mark.looptime

ONE, TWO = "1" * 32, "2" * 32
NEW, FILE = Attachment("v1", 1, is_new=True), "f1"
MOUNTS = (
    MountRequest("/data", volume="v1"),
    MountRequest("/kept", volume="v1", read_only=True),
    MountRequest("/conf", file=FILE),
)


def asked(workload: str = ONE, volume: Attachment = NEW) -> object:
    return assignment_of(workload, containers=(spec_of(workload, mounts=MOUNTS),), volumes=(volume,))


async def started(table: Table, volume: Attachment = NEW) -> None:
    table.controller.files = {FILE: b"words"}
    await table.controller.want(asked(volume=volume))  # type: ignore[arg-type]
    await table.settled(ONE)


async def test_a_container_is_told_where_its_mounts_are() -> None:
    async with Table() as table:
        await started(table)
        found = table.world.containers[ONE].config.mounts
        assert [(m.destination, m.read_only) for m in found] == [("/data", False), ("/kept", True), ("/conf", True)]
        assert found[0].source == found[1].source
        assert table.volumes.files == {(ONE, FILE): b"words"}
        assert table.volumes.mounts == {ONE: {"v1"}}


async def test_the_controller_is_told_at_once_that_a_new_volume_has_its_data() -> None:
    async with Table() as table:
        await started(table)
        await table.until(lambda: table.controller.sent_volumes is not None, 1.0)
        assert table.controller.sent_volumes is not None
        assert table.controller.sent_volumes.stored == ("v1",)


async def test_what_a_stopped_container_mounts_is_there_while_its_files_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[object] = []
    async with Table() as table:
        await started(table)
        await table.controller.want(altered(asked(), desired=Desired.STOPPED))  # type: ignore[arg-type]
        await table.settled(ONE)
        assert (table.volumes.mounts, table.volumes.files) == ({}, {})
        plain = FakeRuntime.pack

        async def looking(self: FakeRuntime, container: str, path: str, limit: int) -> ArchiveReader:
            await asyncio.sleep(1)  # a pass that disconnects would be over
            found.append(({**table.volumes.mounts}, {**table.volumes.files}))
            return await plain(self, container, path, limit)

        monkeypatch.setattr(FakeRuntime, "pack", looking)
        for _ in range(3):
            await table.controller.ask(PackFiles(ONE, "/", 1 << 20))
        assert found == 3 * [({ONE: {"v1"}}, {(ONE, FILE): b"words"})]
        await table.until(lambda: not table.volumes.mounts and not table.volumes.files, 5.0)
        assert table.volumes.formatted == {"v1": 1}


async def test_only_what_is_named_is_removed() -> None:
    async with Table() as table:
        table.volumes.disks = {"v1": 1, "v2": 1, "unknown": 1}
        table.controller.discards = ("v2", "never")
        await table.controller.tell(VolumesChanged())
        await table.until(lambda: "v2" not in table.volumes.disks, 5.0)
        await table.until(lambda: table.controller.sent_volumes is not None, 5.0)
        assert set(table.volumes.disks) == {"v1", "unknown"}


async def test_what_is_still_connected_is_removed_later_and_told_when_it_takes_long() -> None:
    async with Table() as table:
        await started(table)
        table.controller.discards = ("v1",)
        await table.controller.tell(VolumesChanged())

        def is_told() -> bool:
            sent = table.controller.sent_volumes
            return sent is not None and any("in use" in why for _, why in sent.failures)

        await table.until(is_told, 60.0, 0.5)
        assert table.state(ONE) == ContainerState.RUNNING
        await table.controller.want(altered(table.controller.assignments[ONE], desired=Desired.STOPPED))
        await table.until(lambda: not table.volumes.disks, 60.0, 0.5)
        await table.until(lambda: not table.controller.discards, 60.0, 0.5)


async def test_missing_data_fail_the_container_and_are_not_made() -> None:
    async with Table() as table:
        table.controller.files = {FILE: b"words"}
        await table.controller.want(asked(volume=Attachment("v1", 1)))  # type: ignore[arg-type]
        await table.until(lambda: (r := table.report(ONE)) is not None and r.failure is not None)
        report = table.report(ONE)
        assert report is not None
        assert "not on this node" in (report.failure or "")
        assert table.volumes.disks == {}
        await table.until(lambda: not table.volumes.files, 30.0)


async def test_who_waits_for_a_volume_gets_it_when_it_is_free() -> None:
    async with Table() as table:
        await started(table)
        await table.controller.want(asked(TWO, Attachment("v1", 1)))  # type: ignore[arg-type]
        await table.until(lambda: (r := table.report(TWO)) is not None and "in use" in (r.trouble or ""))
        await table.controller.drop(ONE)
        await table.settled(TWO, 120.0)
        assert table.volumes.mounts == {TWO: {"v1"}}
        assert table.volumes.formatted == {"v1": 1}


async def test_mounts_that_nobody_knows_are_let_go_and_their_data_kept() -> None:
    table = Table()
    table.volumes.disks = {"v9": 1}
    table.volumes.mounts = {"9" * 32: {"v9"}}
    table.volumes.files = {("8" * 32, "f8"): b"old"}
    async with table:
        await table.until(lambda: not table.volumes.mounts and not table.volumes.files, 60.0)
        assert table.volumes.disks == {"v9": 1}
