"""When the network is told of security groups: when it is news, and again after a failure."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from krater.agent.guarding import Guarding
from krater.agent.vif.fake import FakeVif
from krater.bus.messages import PullAnswer, VolumesChanged
from krater.config import AgentSettings
from krater.errors import Permanent
from krater.model.network import Nic
from krater.model.security import Direction, GroupRules, SecurityRule
from tests.support.agent import Table, assignment_of, nic_of

WEB = GroupRules("web")
OPEN = GroupRules("web", (SecurityRule("r", Direction.INGRESS, 4),))


class CountingVif(FakeVif):
    """Counts what it is told, and refuses when it is to."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[list[str], list[str], bool]] = []
        self.refuses = False

    async def guard(self, groups: Sequence[GroupRules], nics: Sequence[Nic], *, is_all: bool = False) -> None:
        self.told.append(([group.id for group in groups], [nic.port for nic in nics], is_all))
        if self.refuses:
            raise Permanent("no rules here")
        await super().guard(groups, nics, is_all=is_all)


def answer(*ports: str, group: GroupRules = WEB, is_all: bool = False, **more: tuple[str, ...]) -> PullAnswer:
    nics = tuple(replace(nic_of(port), groups=more.get("groups", ("web",))) for port in ports)
    return PullAnswer(is_all, tuple(assignment_of(nic.port * 8, nics=(nic,)) for nic in nics), groups=(group,))


@pytest.fixture
async def vif() -> CountingVif:
    made = CountingVif()
    await made.open()
    return made


async def test_another_container_of_known_groups_is_no_news(vif: CountingVif) -> None:
    guarding = Guarding(vif)
    await guarding.keep(answer("p1"))
    await guarding.keep(answer("p2"))
    await guarding.keep(answer("p2"))
    assert vif.told == [(["web"], ["p1"], False)]


@pytest.mark.looptime
async def test_rules_that_the_kernel_refused_are_asked_for_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Table(AgentSettings(resync=86_400)) as table:
        await table.controller.want(assignment_of("1" * 32))
        await table.settled("1" * 32)
        tries, plain = [0], FakeVif.guard

        async def refusing(
            self: FakeVif, groups: Sequence[GroupRules], nics: Sequence[Nic], *, is_all: bool = False
        ) -> None:
            tries[0] += 1
            if tries[0] <= 2:
                raise Permanent("not now")
            await plain(self, groups, nics, is_all=is_all)

        monkeypatch.setattr(FakeVif, "guard", refusing)
        await table.controller.tell(VolumesChanged())
        await table.until(lambda: tries[0] > 2, 60.0)
        before = tries[0]
        await asyncio.sleep(600)
        assert tries[0] == before


async def test_other_rules_and_other_groups_are_news(vif: CountingVif) -> None:
    guarding = Guarding(vif)
    await guarding.keep(answer("p1"))
    await guarding.keep(answer(group=OPEN))
    assert vif.world.groups["web"] == OPEN
    await guarding.keep(answer("p2", group=OPEN))
    await guarding.keep(answer("p2", group=OPEN, groups=()))
    assert vif.told[1:] == [(["web"], [], False), (["web"], ["p2"], False)]
    assert vif.world.asked["p2"] == ()


async def test_a_complete_answer_is_always_told_and_the_rest_forgotten(vif: CountingVif) -> None:
    guarding = Guarding(vif)
    for _ in range(2):
        await guarding.keep(answer("p1", is_all=True))
    assert vif.told == [(["web"], ["p1"], True)] * 2
    await guarding.keep(PullAnswer(True, ()))
    await guarding.keep(answer("p1"))
    assert len(vif.told) == 4


async def test_what_was_refused_is_told_again(vif: CountingVif) -> None:
    guarding = Guarding(vif)
    vif.refuses = True
    with pytest.raises(Permanent):
        await guarding.keep(answer("p1"))
    vif.refuses = False
    await guarding.keep(answer("p1"))
    assert vif.world.groups == {"web": WEB}
