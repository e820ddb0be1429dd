"""What every adapter of `cloud.interfaces.Volumes` does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from krater.cloud.interfaces import Caller, VolumeAsk, Volumes
from krater.cloud.local.volumes import LocalVolumes
from krater.config import VolumeSettings
from krater.errors import Conflict, Invalid, KraterError, NotFound, OverQuota
from krater.model.volume import Volume, VolumeClaim, VolumeStatus
from krater.store.sql import SqlStore

ANN = Caller("u-ann", "ann", "p-ann", "kitchen", ("member",))
BOB = Caller("u-bob", "bob", "p-bob", "cellar", ("member",))
AT = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Subject:
    """The adapter, and what its users do beside Krater. `reserve` is a whole transaction of it."""

    volumes: Volumes
    add: Callable[[str, str], Awaitable[None]]
    reserve: Callable[[str, tuple[VolumeClaim, ...]], Awaitable[None]]
    all: Callable[[], Awaitable[dict[str, Volume]]]


@pytest.fixture(params=["local"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    assert request.param == "local"
    store = await SqlStore.open(f"sqlite:///{tmp_path}/krater.sqlite")
    volumes = LocalVolumes(store, VolumeSettings(project_volumes=3, project_gigabytes=10, maximum_size=8))

    async def add(id: str, project: str) -> None:
        await store.write(lambda tx: tx.volumes.add(Volume(id, f"name-{id}", project, 1, AT)))

    async def reserve(workload: str, claims: tuple[VolumeClaim, ...]) -> None:
        await store.write(lambda tx: volumes.reserve(tx, "p-ann", workload, claims))

    async def everything() -> dict[str, Volume]:
        return {v.id: v for v in await store.read(lambda tx: tx.volumes.held_by(["w1", "w2", "w3", ""]))}

    yield Subject(volumes, add, reserve, everything)
    await store.close()


async def test_names_and_ids_are_resolved_within_the_project(subject: Subject) -> None:
    await subject.add("v1", "p-ann")
    for ident in ("v1", "name-v1"):
        assert await subject.volumes.resolve(ANN, [VolumeAsk(ident)]) == (VolumeClaim("v1"),)
        with pytest.raises(NotFound):
            await subject.volumes.resolve(BOB, [VolumeAsk(ident)])
    assert await subject.volumes.resolve(ANN, []) == ()


async def test_resolving_creates_nothing(subject: Subject) -> None:
    [claim] = await subject.volumes.resolve(ANN, [VolumeAsk(size=2)])
    assert (bool(claim.volume), claim.size) == (True, 2)
    assert await subject.all() == {}


@pytest.mark.parametrize("size", [0, 9, -1])
async def test_a_size_out_of_range_is_refused(subject: Subject, size: int) -> None:
    with pytest.raises(Invalid):
        await subject.volumes.resolve(ANN, [VolumeAsk(size=size)])


async def test_room_is_checked_early_and_again(subject: Subject) -> None:
    with pytest.raises(OverQuota):
        await subject.volumes.resolve(ANN, [VolumeAsk(size=6), VolumeAsk(size=5)])
    with pytest.raises(OverQuota):
        await subject.volumes.resolve(ANN, [VolumeAsk(size=1)] * 4)
    first = await subject.volumes.resolve(ANN, [VolumeAsk(size=6)])
    second = await subject.volumes.resolve(ANN, [VolumeAsk(size=6)])
    await subject.reserve("w1", first)
    with pytest.raises(OverQuota):
        await subject.reserve("w2", second)


async def test_of_many_that_want_one_one_gets_it(subject: Subject) -> None:
    await subject.add("v1", "p-ann")
    claims = await subject.volumes.resolve(ANN, [VolumeAsk("v1")])

    async def take(workload: str) -> bool:
        try:
            await subject.reserve(workload, claims)
        except Invalid as error:
            return error.code != "volume-in-use"
        return True

    assert sum(await asyncio.gather(*(take(f"w{n}") for n in (1, 2, 3)))) == 1
    with pytest.raises(Invalid, match="in use"):
        await subject.volumes.resolve(ANN, [VolumeAsk("v1")])


async def test_a_refused_reservation_holds_nothing(subject: Subject) -> None:
    await subject.add("v1", "p-ann")
    await subject.add("v2", "p-ann")
    await subject.reserve("w1", (VolumeClaim("v2"),))
    with pytest.raises(KraterError):
        await subject.reserve("w2", (VolumeClaim("new", 1), VolumeClaim("v1"), VolumeClaim("v2")))
    found = await subject.all()
    assert {id: v.workload for id, v in found.items()} == {"v1": "", "v2": "w1"}


async def test_another_projects_volume_cannot_be_reserved(subject: Subject) -> None:
    await subject.add("v1", "p-bob")
    with pytest.raises(NotFound):
        await subject.reserve("w1", (VolumeClaim("v1"),))


async def test_it_stays_where_it_was_attached_first(subject: Subject) -> None:
    await subject.add("v1", "p-ann")
    await subject.reserve("w1", (VolumeClaim("v1"), VolumeClaim("new", 1)))
    assert await subject.volumes.homes("w1") == frozenset()
    for _ in range(2):
        await subject.volumes.ensure_attached("w1", "n1")
    assert await subject.volumes.homes("w1") == {"n1"}
    with pytest.raises(Conflict):
        await subject.volumes.ensure_attached("w1", "n2")
    await subject.volumes.release("w1")
    await subject.reserve("w2", (VolumeClaim("v1"),))
    assert await subject.volumes.homes("w2") == {"n1"}


async def test_one_that_is_made_with_a_name_stays(subject: Subject) -> None:
    [claim] = await subject.volumes.resolve(ANN, [VolumeAsk(size=1, name="kept")])
    assert (claim.size, claim.name) == (1, "kept")
    await subject.reserve("w1", (claim,))
    await subject.volumes.ensure_attached("w1", "n1")
    assert await subject.volumes.release("w1") == frozenset()
    kept = (await subject.all())[claim.volume]
    assert (kept.name, kept.status, kept.node, kept.auto_remove) == ("kept", VolumeStatus.AVAILABLE, "n1", False)


async def test_a_name_that_is_taken_is_made_longer(subject: Subject) -> None:
    await subject.reserve("w1", (VolumeClaim("1" * 36, 1, "kept"),))
    await subject.reserve("w2", (VolumeClaim("2" * 36, 1, "kept"), VolumeClaim("3" * 36, 1, "n" * 255)))
    names = [volume.name for volume in (await subject.all()).values()]
    assert names == ["kept", "kept-22222222", "n" * 255]


async def test_refusals_say_where_the_request_names_the_volume(subject: Subject) -> None:
    await subject.add("v1", "p-ann")
    await subject.reserve("w1", (VolumeClaim("v1"),))
    for ask in (VolumeAsk("none", place="here"), VolumeAsk("v1", place="here"), VolumeAsk(size=9, place="here")):
        with pytest.raises(KraterError, match=r"^here: "):
            await subject.volumes.resolve(ANN, [ask])


async def test_release_gives_back_and_removes(subject: Subject) -> None:
    await subject.add("v1", "p-ann")
    await subject.reserve("w1", (VolumeClaim("v1"), VolumeClaim("new", 1), VolumeClaim("never", 1)))
    assert await subject.volumes.list_owned() == {"w1"}
    await subject.volumes.ensure_attached("w1", "n1")
    assert await subject.volumes.release("w1") == {"n1"}
    assert await subject.volumes.release("w1") == frozenset()
    assert await subject.volumes.list_owned() == set()
    found = await subject.all()
    assert {id: v.status for id, v in found.items()} == {
        "v1": VolumeStatus.AVAILABLE,
        "new": VolumeStatus.DELETING,
        "never": VolumeStatus.DELETING,
    }
