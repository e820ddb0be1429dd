"""What the checks of a process come to: which there are, and what a row of answers means. Pure.

There are four purposes. A lone container's health check and a member's liveness probe tell whether it is well, a
startup probe whether it is well *yet*: these make its health. A readiness probe tells whether it can be made use of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from krater.model.assignment import Health, HealthState
from krater.model.member import Probe
from krater.model.workload import ContainerSpec, Healthcheck

INTERVAL, TIMEOUT, RETRIES = 30, 30, 3
SHELL = ("/bin/sh", "-c")


class Purpose(StrEnum):
    """What a check is for, in words for people."""

    HEALTH = "health check"
    STARTUP = "startup probe"
    LIVENESS = "liveness probe"
    READINESS = "readiness probe"


@dataclass(frozen=True, slots=True)
class Check:
    """A probe and what it is for. While one that is `first` has not succeeded, the others are not asked."""

    purpose: Purpose
    probe: Probe
    first: bool = False


class Outcome(NamedTuple):
    """What one check said."""

    succeeded: bool
    output: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the outcomes of one check come to. `verdict` is None until enough of them in a row agree.

    `failures` is how many failed in a row, `output` what the last of them said; both are kept while it is ill.
    """

    verdict: bool | None = None
    successes: int = 0
    failures: int = 0
    output: str = ""

    def after(self, outcome: Outcome, probe: Probe) -> "Tally":
        """The same with one outcome more."""
        if not outcome.succeeded:
            failures = 1 if self.successes else self.failures + 1
            return Tally(False if failures >= probe.failures else self.verdict, 0, failures, outcome.output)
        successes = min(self.successes + 1, probe.successes)
        if successes >= probe.successes or self.verdict:
            return Tally(True, successes)
        if self.verdict is False:
            return replace(self, successes=successes)
        return Tally(None, successes)


class Verdict(NamedTuple):
    """What is thought of a process: of its health, whether it is ready, and why not. None where no check tells."""

    health: Health | None = None
    ready: bool | None = None
    unready: str | None = None

    def is_like(self, other: "Verdict") -> bool:
        """Whether nothing else follows from it than from the other: they differ in what was said at most."""
        ours, theirs = (None if one.health is None else one.health.state for one in (self, other))
        return ours is theirs and self.ready is other.ready and (self.unready is None) is (other.unready is None)


def checks_of(spec: ContainerSpec) -> tuple[Check, ...]:
    """The checks that a container wants."""
    found: list[Check] = []
    if spec.startup is not None:
        found.append(Check(Purpose.STARTUP, spec.startup, first=True))
    if spec.liveness is not None:
        found.append(Check(Purpose.LIVENESS, spec.liveness))
    if spec.readiness is not None:
        found.append(Check(Purpose.READINESS, spec.readiness))
    if spec.healthcheck is not None:
        found.append(Check(Purpose.HEALTH, _probe_of(spec.healthcheck)))
    return tuple(found)


def _probe_of(check: Healthcheck) -> Probe:
    """A health check as a probe: a shell's line, for the first time after an interval."""
    interval = check.interval or INTERVAL
    return Probe(
        command=(*SHELL, check.test),
        delay=interval,
        interval=interval,
        timeout=check.timeout or TIMEOUT,
        failures=check.retries or RETRIES,
    )


def verdict(checks: Sequence[Check], tallies: Mapping[Purpose, Tally]) -> Verdict:
    """What all checks come to. Starting has to succeed before anything else is heard."""
    asked = {check.purpose for check in checks}
    health: Health | None = None
    for purpose in (Purpose.STARTUP, Purpose.LIVENESS, Purpose.HEALTH):
        if purpose in asked:
            health = _health(purpose, tallies.get(purpose, Tally()))
            if purpose is Purpose.STARTUP and health.state is not HealthState.HEALTHY:
                break
    if Purpose.READINESS not in asked:
        return Verdict(health)
    readiness = _health(Purpose.READINESS, tallies.get(Purpose.READINESS, Tally()))
    is_ready = readiness.state is HealthState.HEALTHY
    return Verdict(health, is_ready, None if is_ready or not readiness.failures else readiness.complaint)


def _health(purpose: Purpose, tally: Tally) -> Health:
    states = {None: HealthState.STARTING, True: HealthState.HEALTHY, False: HealthState.UNHEALTHY}
    if not tally.failures:
        return Health(states[tally.verdict])
    return Health(states[tally.verdict], tally.failures, tally.output, purpose.value)
