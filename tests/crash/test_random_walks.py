"""Many workloads, random intents in random order, an agent that keeps dying, and parts that fail: all comes right.

Seeds are fixed, so a walk that fails can be walked again: `pytest -k "walk and 17"`.
"""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from krater.model.assignment import Assignment, ContainerState
from krater.model.member import Role
from krater.model.volume import Attachment, MountRequest
from krater.model.workload import ContainerSpec, Desired, MemberIntent, Resources, RestartName, RestartPolicy
from tests.crash.sim import SETTINGS, Sim
from tests.support.agent import altered, assignment_of, nic_of, resized, spec_of

pytestmark = [pytest.mark.looptime, pytest.mark.thorough]

_WALKS = 40
_MOVES = 60
_WORKLOADS = 5
_COMMANDS = (
    ("sleep", "inf"),
    ("sleep", "inf"),
    ("ignore-term",),
    ("exit-after", "7", "1"),
    ("exit", "0"),
    ("oom",),
    ("fail-start",),
)
_POLICIES = (
    RestartPolicy(),
    RestartPolicy(RestartName.ALWAYS),
    RestartPolicy(RestartName.UNLESS_STOPPED),
    RestartPolicy(RestartName.ON_FAILURE, 3),
)


_OF_ROLE = {
    Role.INIT: (
        (("exit", "0"), ("exit-after", "1", "0"), ("exit", "1"), ("fail-start",)),
        RestartPolicy(RestartName.ON_FAILURE, 2),
    ),
    Role.SIDECAR: ((("sleep", "inf"), ("ignore-term",)), RestartPolicy(RestartName.ALWAYS)),
}


class Walker:
    """A user, an operator and bad luck, in one."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        faults = self.chance.choice((0.0, 0.02, 0.1))
        latency = self.chance.choice((0.0, 0.002, 0.2))
        self.sim = Sim(self._next_end, fails=lambda: self.chance.random() < faults, latency=latency, seed=seed)
        self.made = 0
        self.stoppable: set[str] = set()

    def _next_end(self) -> int | None:
        """After how many effects the next agent dies."""
        return self.chance.choice((self.chance.randrange(1, 12), self.chance.randrange(10, 80)))

    async def walk(self) -> None:
        """All moves, then the judgement."""
        for _ in range(_MOVES):
            await self._move()
            await asyncio.sleep(self.chance.choice((0.0, 0.01, 0.3, 2.0, 15.0)))
        await self.sim.quiet(900)
        killed = set(self.sim.table.world.stops) - self.stoppable
        assert not killed, "ended though nobody asked for it"
        assert set(self.sim.table.volumes.formatted.values()) <= {1}

    async def _move(self) -> None:
        controller, world = self.sim.table.controller, self.sim.table.world
        living = [a for a in controller.assignments.values() if a.intent.desired is not Desired.REMOVED]
        luck = self.chance.random()
        if luck < 0.08:
            controller.is_down = not controller.is_down
        elif luck < 0.14:
            world.images.is_up = not world.images.is_up
        elif luck < 0.22:
            self._end_one()
        elif luck < 0.30 and living:
            gone = self.chance.choice(living)
            self.stoppable |= {spec.id for spec in gone.containers}
            await controller.drop(gone.workload, hint=self._is_heard())
        elif len(living) < _WORKLOADS:
            await controller.want(self._new(), hint=self._is_heard())
        else:
            await controller.want(self._changed(self.chance.choice(living)), hint=self._is_heard())

    def _is_heard(self) -> bool:
        return self.chance.random() < 0.8

    def _end_one(self) -> None:
        running = [n for n, c in self.sim.table.world.containers.items() if c.seen.state is ContainerState.RUNNING]
        if running:
            killed = self.chance.random() < 0.3
            clock = self.sim.clock
            self.sim.table.world.end(self.chance.choice(running), 137 if killed else 1, clock, oom=killed)

    def _new(self) -> Assignment:
        self.made += 1
        name = f"{self.made:032x}"
        count = self.chance.choice((1, 1, 2))
        names = [name] if count == 1 else [f"{part}{name[1:]}" for part in "ab"]
        volumes = (Attachment(f"v-{self.made}", 1, is_new=True),) if self.chance.random() < 0.4 else ()
        mounts = tuple(MountRequest("/data", volume=volume.volume) for volume in volumes)
        specs = tuple(spec_of(part, *self.chance.choice(_COMMANDS), mounts=mounts) for part in names)
        specs = (*self._before(name, mounts), *specs) if count > 1 else specs
        desired, run = self.chance.choice(((Desired.RUNNING, 1), (Desired.RUNNING, 1), (Desired.CREATED, 0)))
        nics = tuple(nic_of(f"port-{self.made}-{n}", f"net-{n}", f"eth{n}") for n in range(self.chance.randrange(3)))
        self.stoppable |= {spec.id for spec in specs if spec.role is Role.SIDECAR}  # they end with the others
        return assignment_of(
            name,
            desired=desired,
            run=run,
            containers=specs,
            nics=nics,
            volumes=volumes,
            restart=self.chance.choice(_POLICIES),
        )

    def _before(self, name: str, mounts: tuple[MountRequest, ...]) -> Iterator[ContainerSpec]:
        """What begins before the ordinary members of a capsule: init containers that end, sidecars that do not."""
        for part in "cd"[: self.chance.randrange(3)]:
            role = self.chance.choice((Role.INIT, Role.SIDECAR))
            commands, policy = _OF_ROLE[role]
            command = self.chance.choice(commands)
            yield spec_of(f"{part}{name[1:]}", *command, role=role, restart=policy, mounts=mounts)

    def _of_one(self, old: Assignment) -> dict[str, Any]:
        """A change for one ordinary member alone."""
        mains = [spec.id for spec in old.containers if spec.role is Role.MAIN]
        name = self.chance.choice(mains)
        own = old.intent.members.get(name, MemberIntent())
        asked = self.chance.choice((Desired.STOPPED, Desired.PAUSED, None))
        run = own.run + self.chance.randrange(2)
        return {"members": {**old.intent.members, name: MemberIntent(asked, run, self.chance.choice((None, 1.0)))}}

    def _changed(self, old: Assignment) -> Assignment:
        """Another intent, whatever the state is: more than the API allows."""
        now, fresh = old.intent, old.intent.run + 1
        change = self.chance.choice(
            (
                {"desired": Desired.STOPPED, "grace": self.chance.choice((0.0, 1.0, 30.0))},
                {"desired": Desired.RUNNING, "run": fresh},
                {"desired": Desired.PAUSED, "run": max(now.run, 1)},
                {"desired": Desired.RUNNING, "run": max(now.run, 1)},
                {"rebuild": now.rebuild + 1},
                {"desired": Desired.REMOVED, "grace": self.chance.choice((0.0, 5.0))},
                self._of_one(old),
                {},
            )
        )
        self.stoppable |= {spec.id for spec in old.containers} if change else set()
        new = altered(old, **change)
        if not change and self.chance.random() < 0.5:
            new = replace(new, nics=new.nics[1:])
        elif not change:
            new = resized(new, Resources(self.chance.choice((0.5, 2.0)), self.chance.choice((32, 96))))
        return replace(new, epoch=new.epoch + 1) if self.chance.random() < 0.1 else new


@pytest.mark.parametrize("seed", range(_WALKS))
async def test_a_random_walk_ends_as_asked(seed: int) -> None:
    walker = Walker(seed)
    async with walker.sim:
        await walker.walk()
    assert walker.sim.crashes >= 5


async def test_an_unreachable_controller_never_ends_anything() -> None:
    chance = random.Random(1)
    async with Sim(lambda: chance.randrange(5, 60)) as sim:
        names = [f"{n:032x}" for n in range(8)]
        for name in names:
            await sim.table.controller.want(assignment_of(name, nics=(nic_of(f"p-{name[-2:]}"),)))
        await sim.table.until(lambda: all(sim.table.is_settled(name) for name in names), 600, 0.5)
        sim.table.controller.is_down = True
        before = sim.crashes
        await asyncio.sleep(4 * 3600)
        assert sim.crashes > before + 50
        assert all(sim.table.state(name) == "running" for name in names)
        assert not sim.table.world.stops
        assert set(sim.table.network.sandboxes) == set(names)
        await sim.quiet()


async def test_at_rest_nothing_is_done_but_looking() -> None:
    async with Sim(lambda: None) as sim:
        names = [f"{n:032x}" for n in range(20)]
        for name in names:
            await sim.table.controller.want(assignment_of(name, nics=(nic_of(f"p-{name[-2:]}"),)))
        await sim.quiet()
        sim.life.names.clear()
        await asyncio.sleep(10 * SETTINGS.resync)
        effects = {name.split()[1] for name in sim.life.names}
        effects_at_rest = {"list", "plugged", "connected", "Pull", "SendReports", "Announce", "SendImages", "guard"}
        assert effects <= effects_at_rest
        assert len(sim.life.names) <= 10 * 2 * len(effects_at_rest), "each once a resync, before and after"
