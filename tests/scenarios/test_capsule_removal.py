"""A capsule that nobody has placed goes at once, with everything that was made with it."""

from pathlib import Path

import pytest

from krater.model.quota import Limits, Usage
from krater.model.security import exposing_group
from krater.model.volume import MountRequest, VolumeClaim
from krater.model.workload import ContainerSpec, Desired, Intent, Kind, Resources, WorkloadSpec
from krater.store.interfaces import EVERYBODY, Tx, Workload
from tests.support.control import a_world

pytestmark = pytest.mark.thorough

CLAIMS = (VolumeClaim("kept", 1, "kept"), VolumeClaim("scratch", 1))


async def test_a_capsule_without_a_place_goes_with_all_that_it_has(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        mounts = tuple(MountRequest(f"/{claim.volume}", volume=claim.volume) for claim in CLAIMS)
        members = tuple(ContainerSpec(f"m{n}", f"m{n}", "busybox", Resources(1, 64), mounts=mounts) for n in range(2))
        spec = WorkloadSpec(members, whole=Resources(1.5, 100), security_groups=("own",), exposed=((80, "tcp"),))
        intent = Intent(Desired.RUNNING, run=1)
        row = Workload("c1", Kind.CAPSULE, "p-ann", "u-ann", "pod", spec, intent, world.clock())

        def create(tx: Tx) -> None:
            tx.quotas.charge("p-ann", Usage.of(2, spec.resources), Limits())
            tx.workloads.add(row)
            world.volumes.reserve(tx, "p-ann", "c1", CLAIMS)
            tx.volumes.add_files("c1", {"f1": b"words"})
            tx.security_groups.add(exposing_group("own", "p-ann", "c1", spec.exposed))
            tx.security_groups.join("c1", ("own",))

        await world.real.write(create)
        assert await world.usage() == Usage(2, 1.5, 100)
        removed = Intent(Desired.REMOVED, generation=2, run=1)
        await world.real.write(lambda tx: tx.workloads.set_intent("c1", removed))
        await world.workloads.reconcile("c1")
        assert not await world.exists("c1")
        assert await world.usage() == Usage()
        assert {volume.name: volume.workload for volume in (await world.stored_volumes()).values()} == {"kept": ""}
        holders, groups = await world.real.read(lambda tx: (tx.volumes.holders(), tx.security_groups.list(EVERYBODY)))
        assert (holders, groups) == (set(), [])
