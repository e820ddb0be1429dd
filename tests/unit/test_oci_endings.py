"""How processes are ended, where no contract tells: with a process that hears that it should end, and does not."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from krater.agent.runtimes.oci.endings import Endings
from krater.agent.runtimes.oci.layout import ContainerPaths
from krater.agent.runtimes.oci.processes import identify
from krater.agent.runtimes.oci.state import ContainerRecord, ProcessRecord, Shelf
from krater.agent.runtimes.oci.threads import Threads
from krater.model.image import ImageFacts
from tests.support.oci import config, until

DEAF = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.02; done"
LONG_AGO, HOURS = 0.5, 36_000.0  # the first since the machine started
RECORD = ContainerRecord(config(), ImageFacts("i", "sha256:1", 1), "", (), (), ())


class Cgroup:
    """The control group of one process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.is_frozen = False

    def frozen(self, _: str) -> bool:
        return self.is_frozen

    def freeze(self, _: str, frozen: bool) -> None:
        self.is_frozen = frozen

    def kill(self, _: str) -> None:
        os.kill(self.pid, 9)


class FullDisk(Shelf):
    """Takes nothing more."""

    def write(self, path: str, record: object) -> None:
        raise OSError(28, "No space left on device", path)


class Deaf:
    """A process that hears that it should end, and does not; `said` is what it wrote."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process = process
        self.directory = directory
        self.cgroup = Cgroup(process.pid)

    def said(self) -> str:
        return (self.directory / "said").read_text()

    async def end(self, shelf: Shelf, grace: float, asked_at: float | None) -> None:
        """As a stop does."""
        await until(lambda: "ready" in self.said())
        identity = identify(self.process.pid)
        assert identity is not None
        threads, cgroup = Threads(), cast(Any, self.cgroup)
        last, paths = ProcessRecord(1, 0, "boot", identity, asked_at=asked_at), ContainerPaths(str(self.directory), "")
        await Endings(threads, cgroup, shelf).end(RECORD, last, identity, paths, grace)
        threads.close()
        assert not identity.alive

    async def ends_by_itself_once_asked(self) -> None:
        await until(lambda: "asked" in self.said())
        self.process.kill()


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Deaf]:
    with (tmp_path / "said").open("wb") as said, subprocess.Popen(["sh", "-c", DEAF], stdout=said) as process:
        yield Deaf(process, tmp_path)
        process.kill()


async def test_a_full_disk_keeps_nobody_from_being_asked(deaf: Deaf) -> None:
    await asyncio.gather(deaf.end(FullDisk(), HOURS, None), deaf.ends_by_itself_once_asked())
    assert deaf.said() == "ready\nasked\n"


async def test_one_whose_time_is_over_is_killed_and_not_asked_again(deaf: Deaf) -> None:
    await deaf.end(Shelf(), 1.0, LONG_AGO)
    assert deaf.said() == "ready\n"


async def test_one_that_was_frozen_when_it_was_asked_still_has_its_time(deaf: Deaf) -> None:
    deaf.cgroup.is_frozen = True
    await asyncio.gather(deaf.end(Shelf(), HOURS, LONG_AGO - HOURS), deaf.ends_by_itself_once_asked())
    assert not deaf.cgroup.is_frozen
    assert deaf.said() == "ready\nasked\n"
