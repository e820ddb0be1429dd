"""What rows of answers come to: for one check, and for all checks of a process together."""

import pytest

from krater.agent.verdicts import Check, Outcome, Purpose, Tally, checks_of, verdict
from krater.model.assignment import HealthState
from krater.model.member import Probe
from krater.model.workload import Healthcheck
from tests.support.agent import spec_of

STARTING, HEALTHY, UNHEALTHY = HealthState
WORDS = {None: "?", True: "+", False: "-"}
ASKED = Probe(("ask",), delay=5, interval=10, timeout=2, failures=3)


def tallied(answers: str, probe: Probe = ASKED) -> list[Tally]:
    """The tallies after each answer: `s` is a success, anything else a failure that says so."""
    found, tally = [], Tally()
    for answer in answers:
        tally = tally.after(Outcome(answer == "s", answer), probe)
        found.append(tally)
    return found


@pytest.mark.parametrize(
    ("failures", "successes", "answers", "verdicts"),
    [
        (3, 1, "s", "+"),
        (3, 1, "ff", "??"),
        (3, 1, "fff", "??-"),
        (3, 1, "ffsfff", "??+++-"),
        (3, 1, "ffsffsff", "??++++++"),
        (3, 1, "fffs", "??-+"),
        (3, 1, "fffff", "??---"),
        (1, 1, "fsfs", "-+-+"),
        (1, 2, "ssfsfss", "?+----+"),
        (2, 3, "sss", "??+"),
        (2, 3, "sfsssf", "????++"),
        (2, 3, "sssfsff", "??++++-"),
        (3, 2, "fffsfss", "??----+"),
    ],
)
def test_only_enough_answers_in_a_row_change_a_verdict(
    failures: int, successes: int, answers: str, verdicts: str
) -> None:
    found = tallied(answers, Probe(("ask",), failures=failures, successes=successes))
    assert "".join(WORDS[tally.verdict] for tally in found) == verdicts


def test_failures_in_a_row_are_counted_with_what_the_last_said() -> None:
    last = tallied("sfxs")
    assert [(tally.failures, tally.output) for tally in last] == [(0, ""), (1, "f"), (2, "x"), (0, "")]


def test_while_it_is_ill_a_success_that_is_not_enough_takes_no_complaint_away() -> None:
    *_, ill, better, worse = tallied("ffxsy", Probe(("ask",), failures=3, successes=2))
    assert (ill.failures, ill.output) == (better.failures, better.output) == (3, "x")
    assert (worse.verdict, worse.failures, worse.output) == (False, 1, "y")


def test_a_tally_does_not_grow_with_time() -> None:
    *_, before, after = tallied("s" * 100)
    assert before == after


def of(**answers: str) -> tuple[tuple[Check, ...], dict[Purpose, Tally]]:
    """Checks, and their tallies after these answers."""
    purposes = {Purpose[name.upper()]: row for name, row in answers.items()}
    checks = tuple(Check(purpose, ASKED, first=purpose is Purpose.STARTUP) for purpose in purposes)
    return checks, {purpose: tallied(row)[-1] for purpose, row in purposes.items() if row}


@pytest.mark.parametrize(
    ("answers", "health", "ready"),
    [
        ({}, None, None),
        ({"health": ""}, STARTING, None),
        ({"health": "s"}, HEALTHY, None),
        ({"health": "fff"}, UNHEALTHY, None),
        ({"liveness": ""}, STARTING, None),
        ({"liveness": "ff"}, STARTING, None),
        ({"liveness": "sff"}, HEALTHY, None),
        ({"liveness": "sfff"}, UNHEALTHY, None),
        ({"startup": ""}, STARTING, None),
        ({"startup": "ff"}, STARTING, None),
        ({"startup": "fff"}, UNHEALTHY, None),
        ({"startup": "ffs"}, HEALTHY, None),
        ({"startup": "", "liveness": ""}, STARTING, None),
        ({"startup": "s", "liveness": ""}, STARTING, None),
        ({"startup": "s", "liveness": "s"}, HEALTHY, None),
        ({"startup": "s", "liveness": "fff"}, UNHEALTHY, None),
        ({"startup": "fff", "liveness": ""}, UNHEALTHY, None),
        ({"readiness": ""}, None, False),
        ({"readiness": "f"}, None, False),
        ({"readiness": "s"}, None, True),
        ({"readiness": "sff"}, None, True),
        ({"readiness": "sfff"}, None, False),
        ({"readiness": "sfffs"}, None, True),
        ({"startup": "", "readiness": ""}, STARTING, False),
        ({"startup": "s", "readiness": "fff"}, HEALTHY, False),
        ({"startup": "s", "liveness": "fff", "readiness": "s"}, UNHEALTHY, True),
        ({"liveness": "s", "readiness": "fff"}, HEALTHY, False),
    ],
)
def test_all_checks_together_make_health_and_readiness(
    answers: dict[str, str], health: HealthState | None, ready: bool | None
) -> None:
    found = verdict(*of(**answers))
    assert (None if found.health is None else found.health.state, found.ready) == (health, ready)


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ({"health": "f"}, "Its health check failed once; the last said: f"),
        ({"startup": "fx"}, "Its startup probe failed 2 times in a row; the last said: x"),
        ({"startup": "fs", "liveness": "ffx"}, "Its liveness probe failed 3 times in a row; the last said: x"),
    ],
)
def test_a_complaint_names_the_check(answers: dict[str, str], complaint: str) -> None:
    found = verdict(*of(**answers)).health
    assert found is not None
    assert found.complaint == complaint


def test_why_it_is_not_ready_is_told_only_while_it_is_not() -> None:
    assert verdict(*of(readiness="")).unready is None
    assert verdict(*of(readiness="fx")).unready == "Its readiness probe failed 2 times in a row; the last said: x"
    assert verdict(*of(readiness="sfx")).unready is None
    assert verdict(*of(readiness="fffs")).unready is None


def test_what_was_said_makes_no_other_verdict() -> None:
    assert verdict(*of(liveness="sf")).is_like(verdict(*of(liveness="sx")))
    assert not verdict(*of(liveness="sff")).is_like(verdict(*of(liveness="sfff")))
    assert not verdict(*of(readiness="s")).is_like(verdict(*of(readiness="fff")))


def test_a_container_has_the_checks_of_its_spec_and_startup_comes_first() -> None:
    assert checks_of(spec_of("a")) == ()
    (check,) = checks_of(spec_of("a", healthcheck=Healthcheck("true")))
    shell = Probe(("/bin/sh", "-c", "true"), delay=30, interval=30, timeout=30, failures=3)
    assert check == Check(Purpose.HEALTH, shell)
    (check,) = checks_of(spec_of("a", healthcheck=Healthcheck("true", 1, 2, 4)))
    assert check.probe == Probe(("/bin/sh", "-c", "true"), delay=1, interval=1, timeout=2, failures=4)
    found = checks_of(spec_of("a", readiness=ASKED, liveness=ASKED, startup=ASKED))
    assert [(one.purpose, one.first) for one in found] == [
        (Purpose.STARTUP, True),
        (Purpose.LIVENESS, False),
        (Purpose.READINESS, False),
    ]
