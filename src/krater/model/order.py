"""The order within a workload: whose turn it is to begin, and when sidecars have had their time. Pure.

Init containers and sidecars begin one after the other, as they stand; an init container must have succeeded, a sidecar
must run, before the next one begins. The ordinary ones come after all of them, each when what it depends on has come
far enough. A lone container never waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from krater.model.assignment import ContainerState, HealthState, ObservedContainer
from krater.model.member import Condition, Dependency, Role
from krater.model.workload import ContainerSpec, Desired, Intent, RestartName, RestartPolicy

_ALIVE = (ContainerState.RUNNING, ContainerState.PAUSED)
_WAITED_FOR = {Condition.STARTED: "run", Condition.HEALTHY: "be healthy", Condition.COMPLETED: "succeed"}
_NEXT_AFTER = {Role.INIT: Condition.COMPLETED, Role.SIDECAR: Condition.STARTED}


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a container may begin: it may when it waits for nothing. `doom` is why it never will.

    Both are in words. `culprit` is the container that is waited for in vain.
    """

    waits: str | None = None
    doom: str | None = None
    culprit: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether it may begin now."""
        return self.waits is None and self.doom is None


NOW = Turn()


@dataclass(frozen=True, slots=True)
class Crew:
    """The containers of a workload, in the order to start them, with what is wanted and what is seen of each."""

    specs: Sequence[ContainerSpec]
    intent: Intent
    restart: RestartPolicy
    auto_heal: bool
    seen: Mapping[str, ObservedContainer] = field(default_factory=dict)

    def turns(self) -> dict[str, Turn]:
        """Whose turn it is, by container."""
        found: dict[str, Turn] = {}
        by_id = {spec.id: spec for spec in self.specs}
        before: list[Dependency] = []
        for spec in self.specs:
            found[spec.id] = self._turn((*before, *spec.depends_on), by_id, found)
            if spec.role in _NEXT_AFTER:
                before.append(Dependency(spec.id, _NEXT_AFTER[spec.role]))
        return found

    def is_over(self, turns: Mapping[str, Turn]) -> bool:
        """Whether no ordinary container will do anything more by itself. One that its user stopped may be started."""
        return all(self._has_ended(spec, turns[spec.id]) for spec in self.specs if spec.role is Role.MAIN)

    def _has_ended(self, spec: ContainerSpec, turn: Turn) -> bool:
        one, intent = self.seen.get(spec.id), self.intent.of(spec.id)
        if intent.desired not in (Desired.RUNNING, Desired.PAUSED):
            return False
        if one is None or one.rebuild < intent.rebuild or one.run < intent.run:
            return turn.doom is not None
        if one.state is ContainerState.CREATED:
            return turn.doom is not None
        return one.state is ContainerState.EXITED and not self.comes_back(spec, one)

    def _turn(
        self, awaited: Sequence[Dependency], by_id: Mapping[str, ContainerSpec], earlier: Mapping[str, Turn]
    ) -> Turn:
        """What the first of those that are not far enough makes of it; who never will be comes first."""
        waits: str | None = None
        for dependency in awaited:
            other = by_id[dependency.container]
            if self._is_met(other, dependency.condition):
                continue
            before = earlier.get(other.id, NOW)
            if before.doom is not None:
                return before
            doom = self._doom(other, dependency.condition)
            if doom is not None:
                return Turn(doom=doom, culprit=other.id)
            waits = waits or f"Waits for {other.name} to {_WAITED_FOR[dependency.condition]}."
        return Turn(waits)

    def _is_met(self, spec: ContainerSpec, condition: Condition) -> bool:
        one = self._of_this_run(spec)
        if one is None or one.error is not None:
            return False
        ended_well = one.state is ContainerState.EXITED and one.exit_code == 0 and one.cut_off is None
        if condition is Condition.COMPLETED:
            return ended_well
        if one.state not in _ALIVE:
            return condition is Condition.STARTED and (ended_well or spec.startup is None)
        if condition is Condition.STARTED:
            return spec.startup is None or _is_healthy(one)
        return one.ready if one.ready is not None else one.health is None or _is_healthy(one)

    def _doom(self, spec: ContainerSpec, condition: Condition) -> str | None:
        """Why it will never come so far, if so."""
        one = self._of_this_run(spec)
        if one is None or one.state is not ContainerState.EXITED or self.comes_back(spec, one):
            return None
        what = "init container " if spec.role is Role.INIT else ""
        if one.error is not None:
            return f"{what}{spec.name} could not be started: {one.error}"
        if one.exit_code == 0 and condition is Condition.HEALTHY:
            return f"{what}{spec.name} has ended, so it will not be healthy."
        times = f" for the {one.attempt + 1}th time" if one.attempt > 2 else ""
        return f"{what}{spec.name} failed{times}, with exit code {one.exit_code}."

    def _of_this_run(self, spec: ContainerSpec) -> ObservedContainer | None:
        """What is seen of its process, if there was one since it was last asked for."""
        one, intent = self.seen.get(spec.id), self.intent.of(spec.id)
        if one is None or one.state is ContainerState.CREATED:
            return None
        return None if one.run < intent.run or one.rebuild < intent.rebuild else one

    def comes_back(self, spec: ContainerSpec, one: ObservedContainer) -> bool:
        """Whether a process that has ended will be started again."""
        policy = self.restart if spec.restart is None else spec.restart
        return one.error is None and is_restart_due(policy, one, auto_heal=self.auto_heal)


def is_restart_due(policy: RestartPolicy, seen: ObservedContainer, *, auto_heal: bool) -> bool:
    """Whether a process that ended without its user's wish is started again, in time."""
    failed = seen.exit_code != 0 or seen.cut_off is not None
    if policy.name is RestartName.ON_FAILURE:
        return failed and (policy.maximum == 0 or seen.attempt < policy.maximum)
    if policy.name is RestartName.NO:
        return auto_heal and seen.cut_off is not None
    return True


def _is_healthy(one: ObservedContainer) -> bool:
    return one.health is not None and one.health.state is HealthState.HEALTHY
