"""The order within a workload: whose turn it is to begin, and when sidecars have had their time. Pure.

Init containers and sidecars begin one after the other, as they stand; an init container must have succeeded, a sidecar
must run, before the next one begins. The ordinary ones come after all of them, each when what it depends on has come
far enough. A lone container never waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from krater.model.assignment import Assignment, ContainerState, HealthState, Made, Observed, ObservedContainer
from krater.model.member import Condition, Dependency, Role
from krater.model.workload import ContainerSpec, Desired, Intent, RestartName, RestartPolicy, WorkloadSpec

ALIVE = (ContainerState.RUNNING, ContainerState.PAUSED)
TO_RUN = (Desired.RUNNING, Desired.PAUSED)
LOST = "The container is not on its node any more: its files there are gone."
_WAITED_FOR = {Condition.STARTED: "run", Condition.HEALTHY: "be healthy", Condition.COMPLETED: "succeed"}
_NEXT_AFTER = {Role.INIT: Condition.COMPLETED, Role.SIDECAR: Condition.STARTED}


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a container may begin: it may when it waits for nothing. `doom` is why it never will.

    Both are in words. `culprit` is the container that is waited for in vain, `after` are all that it comes after.
    `is_near` says that one of those runs and is on its way; `is_halted`, that nothing will change by itself, as one of
    them is kept from it by its user.
    """

    waits: str | None = None
    doom: str | None = None
    culprit: str | None = None
    after: frozenset[str] = frozenset()
    is_near: bool = False
    is_halted: bool = False

    @property
    def is_here(self) -> bool:
        """Whether it may begin now."""
        return self.waits is None and self.doom is None


NOW = Turn()


@dataclass(frozen=True, slots=True)
class Crew:
    """The containers of a workload, in the order to start them, with what is wanted and what is seen of each.

    `made` is what its node has had: so one that is lost is known from one that is still to be made.
    """

    specs: Sequence[ContainerSpec]
    intent: Intent
    restart: RestartPolicy
    auto_heal: bool
    seen: Mapping[str, ObservedContainer] = field(default_factory=dict)
    made: Mapping[str, Made] = field(default_factory=dict)

    @classmethod
    def of(
        cls, assignment: Assignment, seen: Mapping[str, ObservedContainer], made: Mapping[str, Made] | None = None
    ) -> "Crew":
        """That of an assignment."""
        return cls(assignment.containers, assignment.intent, assignment.restart, assignment.auto_heal, seen, made or {})

    @classmethod
    def stored(cls, spec: WorkloadSpec, intent: Intent, observed: Observed) -> "Crew":
        """That of a workload as it is stored: what its user asked for, and what its node told last."""
        seen = {one.id: one for one in observed.containers}
        made = {one.id: one for one in observed.made}
        return cls(spec.containers, intent, spec.restart or RestartPolicy(), spec.auto_heal, seen, made)

    def turns(self) -> dict[str, Turn]:
        """Whose turn it is, by container."""
        found: dict[str, Turn] = {}
        by_id = {spec.id: spec for spec in self.specs}
        missing = self.missing()
        before: list[Dependency] = []
        for spec in self.specs:
            awaited = [(by_id[d.container], d.condition) for d in (*before, *spec.depends_on)]
            found[spec.id] = self._turn(awaited, found, missing)
            if spec.role in _NEXT_AFTER:
                before.append(Dependency(spec.id, _NEXT_AFTER[spec.role]))
        return found

    def is_over(self, turns: Mapping[str, Turn]) -> bool:
        """Whether no ordinary container will do anything more by itself. One that its user stopped may be started."""
        missing = self.missing()
        return all(self._has_ended(spec, turns[spec.id], missing) for spec in self.specs if spec.role is Role.MAIN)

    def missing(self) -> frozenset[str]:
        """Those that are lost and are not made anew: all without auto_heal, else those that had nothing more to do.

        An init container has that again when something is to begin after it.
        """
        found: set[str] = set()
        begins, is_busy = False, False
        for spec in reversed(self.specs):
            wanted = self.intent.of(spec.id).desired in TO_RUN
            made = self._lost(spec)
            is_needed = begins and spec.role is Role.INIT
            if made is not None and (not self.auto_heal or (wanted and made.is_over and not is_needed)):
                found.add(spec.id)
                continue
            is_busy = is_busy or (spec.role is Role.MAIN and not self._has_ended(spec, NOW, frozenset()))
            begins = begins or (
                wanted and self._of_this_run(spec) is None and (spec.role is not Role.SIDECAR or is_busy)
            )
        return frozenset(found)

    def comes_back(self, spec: ContainerSpec, one: ObservedContainer) -> bool:
        """Whether a process that has ended will be started again."""
        policy = self.restart if spec.restart is None else spec.restart
        return one.error is None and is_restart_due(policy, one, auto_heal=self.auto_heal)

    def _lost(self, spec: ContainerSpec) -> Made | None:
        """What was known of it, if it is lost."""
        made = self.made.get(spec.id)
        return made if made is not None and spec.id not in self.seen and is_lost(made, self.intent) else None

    def _has_ended(self, spec: ContainerSpec, turn: Turn, missing: frozenset[str]) -> bool:
        if self.intent.of(spec.id).desired not in TO_RUN:
            return False
        if spec.id in missing:
            return True
        one = self._of_this_run(spec)
        if one is None:
            return turn.doom is not None
        return one.state is ContainerState.EXITED and not self.comes_back(spec, one)

    def _turn(
        self,
        awaited: Sequence[tuple[ContainerSpec, Condition]],
        earlier: Mapping[str, Turn],
        missing: frozenset[str],
    ) -> Turn:
        """What the first of those that are not far enough makes of it; who never will be comes first."""
        after = frozenset(other.id for other, _ in awaited)
        waits: str | None = None
        is_near = is_halted = False
        for other, condition in awaited:
            if self._is_met(other, condition):
                continue
            before, one = earlier.get(other.id, NOW), self._of_this_run(other)
            if one is None and before.doom is not None:
                return Turn(doom=before.doom, culprit=before.culprit, after=after)
            desired = self.intent.of(other.id).desired
            is_frozen = one is not None and one.state is ContainerState.PAUSED and desired is Desired.PAUSED
            halts = is_frozen or desired not in TO_RUN
            doom = None if halts else self._doom(other, condition, missing)
            if doom is not None:
                return Turn(doom=doom, culprit=other.id, after=after)
            waits = waits or _waits(other, condition, is_halted=halts)
            is_near = is_near or (one is not None and one.state is ContainerState.RUNNING and not _is_ill(one))
            is_halted = is_halted or halts or (one is None and before.is_halted)
        return Turn(waits, after=after, is_near=is_near, is_halted=is_halted)

    def _is_met(self, spec: ContainerSpec, condition: Condition) -> bool:
        one = self._of_this_run(spec)
        if one is None or one.error is not None:
            return False
        if condition is Condition.COMPLETED:
            return ended_well(one)
        if one.state not in ALIVE:
            return condition is Condition.STARTED and self._was_started(spec, one)
        if condition is Condition.STARTED:
            return spec.startup is None or _is_healthy(one) or self._has_answered(one)
        if spec.readiness is not None:
            return one.ready is True
        is_checked = spec.healthcheck is not None or spec.liveness is not None or spec.startup is not None
        return not is_checked or _is_healthy(one)

    def _has_answered(self, one: ObservedContainer) -> bool:
        """Whether its process has answered its startup probe, whatever its other probes say."""
        made = self.made.get(one.id)
        return made is not None and made.begun is not None and made.begun == one.started_at

    def _was_started(self, spec: ContainerSpec, one: ObservedContainer) -> bool:
        """Whether one that has ended had its start. A sidecar is of use only while it runs."""
        if spec.role is Role.SIDECAR and self.intent.of(spec.id).desired in TO_RUN:
            return False
        return ended_well(one) or spec.startup is None

    def _doom(self, spec: ContainerSpec, condition: Condition, missing: frozenset[str]) -> str | None:
        """Why it will never come so far, if so."""
        what = f"init container {spec.name}" if spec.role is Role.INIT else spec.name
        if spec.id in missing:
            return f"{what} is lost. {LOST}"
        one = self._of_this_run(spec)
        if one is None or one.state is not ContainerState.EXITED or self.comes_back(spec, one):
            return None
        if condition is Condition.HEALTHY and ended_well(one):
            return f"{what} has ended, so it will not be healthy."
        return f"{what} {_how_it_failed(spec, one)}"

    def _of_this_run(self, spec: ContainerSpec) -> ObservedContainer | None:
        """What is seen of its process, if there was one since it was last asked for."""
        one, intent = self.seen.get(spec.id), self.intent.of(spec.id)
        if one is None or one.state is ContainerState.CREATED:
            return None
        return None if one.run < intent.run or one.rebuild < intent.rebuild else one


def is_lost(made: Made, intent: Intent) -> bool:
    """Whether a container that is not here should be: nothing was asked since that makes it anew anyway."""
    own = intent.of(made.id)
    return made.rebuild >= own.rebuild and made.run >= own.run


def is_restart_due(policy: RestartPolicy, seen: ObservedContainer, *, auto_heal: bool) -> bool:
    """Whether a process that ended without its user's wish is started again, in time."""
    failed = seen.exit_code != 0 or seen.cut_off is not None
    if policy.name is RestartName.ON_FAILURE:
        return failed and (policy.maximum == 0 or seen.attempt < policy.maximum)
    if policy.name is RestartName.NO:
        return auto_heal and seen.cut_off is not None
    return True


def _how_it_failed(spec: ContainerSpec, one: ObservedContainer) -> str:
    if one.error is not None:
        return f"could not be started: {one.error}"
    times = f" {one.attempt + 1} times, the last time" if one.attempt > 0 else ""
    if one.oom_killed:
        used = "it used more than its limit" if spec.limit.memory else "all members used more than the capsule's limit"
        return f"failed{times} for want of memory: {used}."
    if one.cut_off is not None:
        return f"was ended{times} before it was done: {one.cut_off}"
    code = "an unknown exit code" if one.exit_code is None else f"exit code {one.exit_code}"
    return f"failed{times} with {code}."


def _waits(other: ContainerSpec, condition: Condition, *, is_halted: bool) -> str:
    return f"Waits for {other.name} to {_WAITED_FOR[condition]}" + (", but it is halted." if is_halted else ".")


def ended_well(one: ObservedContainer) -> bool:
    """Whether its process has ended, by its own will and with success."""
    return one.state is ContainerState.EXITED and one.exit_code == 0 and one.cut_off is None


def _is_healthy(one: ObservedContainer) -> bool:
    return one.health is not None and one.health.state is HealthState.HEALTHY


def _is_ill(one: ObservedContainer) -> bool:
    """Whether its probes say so: whoever waits for such a one may wait for ever."""
    is_unhealthy = one.health is not None and one.health.state is HealthState.UNHEALTHY
    return is_unhealthy or one.unready is not None
