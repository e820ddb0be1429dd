"""The words shown for a workload, for every state it can be in."""

from datetime import UTC, datetime, timedelta

import pytest

from krater.model.assignment import ContainerState, Observed, ObservedContainer, Placement
from krater.model.operations import ALLOWED, is_allowed
from krater.model.status import Status, derive_status
from krater.model.workload import Desired, Intent

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
PLACED = Placement(node="n", epoch=1)


def container(state: ContainerState, **fields: object) -> ObservedContainer:
    return ObservedContainer(id="c", rebuild=0, state=state, **fields)  # type: ignore[arg-type]


def seen(state: ContainerState, *, settled: bool = True, generation: int = 1, **fields: object) -> Observed:
    return Observed(generation=generation, containers=(container(state, **fields),), settled=settled)


def derive(intent: Intent, observed: Observed, placement: Placement = PLACED, *, alive: bool = True) -> Status:
    return derive_status(intent, placement, observed, container="c", node_alive=alive, now=NOW)


RUN = Intent(Desired.RUNNING, run=1)


@pytest.mark.parametrize(
    ("intent", "observed", "word", "task"),
    [
        (RUN, Observed(), "Creating", None),
        (RUN, Observed(generation=1, step="image_pulling"), "Creating", "image_pulling"),
        (Intent(Desired.CREATED), seen(ContainerState.CREATED), "Created", None),
        (RUN, seen(ContainerState.CREATED, settled=False), "Created", "container_starting"),
        (RUN, seen(ContainerState.RUNNING, run=1), "Running", None),
        (RUN, seen(ContainerState.EXITED, run=1), "Stopped", None),
        (RUN, seen(ContainerState.EXITED, run=1, settled=False), "Restarting", None),
        (Intent(Desired.RUNNING, 2, run=2), seen(ContainerState.RUNNING, run=1), "Restarting", "container_rebooting"),
        (Intent(Desired.STOPPED, 2, run=1), seen(ContainerState.RUNNING, run=1), "Running", "container_stopping"),
        (
            Intent(Desired.STOPPED, 2, run=1, grace=0),
            seen(ContainerState.RUNNING, run=1),
            "Running",
            "container_killing",
        ),
        (Intent(Desired.PAUSED, 2, run=1), seen(ContainerState.RUNNING, run=1), "Running", "container_pausing"),
        (Intent(Desired.PAUSED, 1, run=1), seen(ContainerState.PAUSED, run=1), "Paused", None),
        (Intent(Desired.RUNNING, 2, run=1), seen(ContainerState.PAUSED, run=1), "Paused", "container_unpausing"),
        (
            Intent(Desired.RUNNING, 2, run=1, rebuild=1),
            seen(ContainerState.RUNNING, run=1),
            "Rebuilding",
            "container_rebuilding",
        ),
        (Intent(Desired.REMOVED, 2), seen(ContainerState.RUNNING), "Deleting", "container_deleting"),
    ],
)
def test_the_words_follow_intent_and_observation(
    intent: Intent, observed: Observed, word: str, task: str | None
) -> None:
    status = derive(intent, observed)
    assert (status.word, status.task) == (word, task)


def test_a_refused_placement_is_an_error_with_its_reason() -> None:
    refused = Placement(refusal="There are not enough hosts available.", generation=1)
    status = derive(RUN, Observed(), refused)
    assert (status.word, status.reason) == ("Error", "There are not enough hosts available.")
    assert derive(Intent(Desired.RUNNING, 2, run=2), Observed(), refused).word == "Creating"


def test_a_failure_counts_only_for_the_intent_it_was_met_with() -> None:
    failed = Observed(generation=1, failure="no such image")
    assert derive(RUN, failed).word == "Error"
    assert derive(Intent(Desired.RUNNING, 2, run=2), failed).word == "Creating"


def test_what_a_silent_node_does_is_unknown() -> None:
    status = derive(RUN, seen(ContainerState.RUNNING, run=1), alive=False)
    assert status.word == "Unknown"
    assert status.reason is not None


def test_killed_for_memory_is_told() -> None:
    reason = derive(RUN, seen(ContainerState.EXITED, run=1, oom_killed=True, exit_code=137)).reason
    assert reason is not None
    assert "memory" in reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, None),
        (3, "Its process ended by itself with exit code 3."),
        (137, "Its process ended with exit code 137, as SIGKILL makes it end."),
        (255, "Its process ended by itself with exit code 255."),
    ],
)
def test_an_end_nobody_asked_for_is_explained(code: int, reason: str | None) -> None:
    ended = seen(ContainerState.EXITED, run=1, exit_code=code)
    assert derive(RUN, ended).reason == reason
    assert derive(Intent(Desired.STOPPED, 1, run=1), ended).reason is None


@pytest.mark.parametrize(
    ("age", "text"), [(5, "Up 5 seconds"), (300, "Up 5 mins"), (7200, "Up 2 hours"), (3 * 86400, "Up 3 days")]
)
def test_the_detail_of_a_running_container_is_its_age(age: int, text: str) -> None:
    since = NOW - timedelta(seconds=age)
    assert derive(RUN, seen(ContainerState.RUNNING, run=1, started_at=since)).detail == text


def test_the_detail_of_an_ended_one_is_its_code() -> None:
    ended = seen(ContainerState.EXITED, run=1, exit_code=3, finished_at=NOW - timedelta(minutes=5))
    assert derive(RUN, ended).detail == "Exited(3) 5 mins ago "


def test_the_matrix_of_operations_is_the_specifications() -> None:
    assert {w for w in ("Created", "Running", "Stopped", "Paused", "Error") if is_allowed("start", w)} == {
        "Created",
        "Stopped",
        "Error",
    }
    assert not is_allowed("delete", "Running")
    assert is_allowed("delete_force", "Deleting")
    assert not is_allowed("delete_force", "Paused")
    assert all(words for words in ALLOWED.values())
