"""`start` and `delete`: containers come and go, one at a time and twenty at once, the contenders taking turns."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks import machine
from benchmarks.contenders import Contender
from benchmarks.figures import Report, Row, milliseconds, percentile, ratio_checks

BARE, DOCKER = "conmon + crun", "docker run -d"
SETTLE = 0.3

# The bounds: how many times each reference Krater may be.
START_BOUNDS = ((BARE, "bare", 3.0), (DOCKER, "docker", 0.25))
RATE_BOUND = 4.0
DELETE_BOUNDS = ((BARE, "bare", 3.0),)


@dataclass(slots=True)
class Samples:
    """What one contender took: seconds of each start and delete, starts a second, CPU seconds of all."""

    starts: list[float] = field(default_factory=list)
    deletes: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    start_cpu: float = 0.0
    delete_cpu: float = 0.0


Measured = dict[str, Samples]


def take_turns(contenders: Sequence[Contender], rounds: int, at_once: int) -> Measured:
    """Each contender starts and deletes `at_once` containers in every round; a first round does not count."""
    measured = {contender.name: Samples() for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            samples = Samples() if number == 0 else measured[contender.name]
            _one_turn(contender, at_once, samples)
        if number % max(1, rounds // 4) == 0:
            machine.say(f"{at_once} at once: round {number} of {rounds}")
    return measured


def _one_turn(contender: Contender, at_once: int, samples: Samples) -> None:
    contender.make_ready(at_once)
    time.sleep(SETTLE)  # what the turn before left to the kernel (namespaces, cgroups) must not be on this one's bill
    busy = machine.busy_seconds()
    pending = [contender.start() for _ in range(at_once)]
    containers = [future.result() for future in pending]
    starts = [contender.seconds_to_run(container) for container in containers]
    samples.start_cpu += machine.busy_seconds() - busy
    ends = [container.asked + took for container, took in zip(containers, starts, strict=True)]
    samples.rates.append(at_once / (max(ends) - min(container.asked for container in containers)))
    samples.starts += starts
    time.sleep(SETTLE)
    busy = machine.busy_seconds()
    samples.deletes += [future.result() for future in [contender.delete(container) for container in containers]]
    samples.delete_cpu += machine.busy_seconds() - busy


def report_starts(report: Report, measured: Measured, at_once: int) -> None:
    """Rows of part `start`."""
    figure = "one at a time" if at_once == 1 else f"{at_once} at once"
    medians = {who: percentile(samples.starts, 0.5) for who, samples in measured.items()}
    for who, samples in measured.items():
        bounds = [(short, medians.get(reference), bound) for reference, short, bound in START_BOUNDS]
        checks = ratio_checks(medians[who], bounds) if who == "krater" else []
        cpu = samples.start_cpu / len(samples.starts)
        report.rows.append(milliseconds("start", figure, who, samples.starts, cpu, checks))
    if at_once > 1:
        _report_rates(report, measured, at_once)


def _report_rates(report: Report, measured: Measured, at_once: int) -> None:
    rates = {who: percentile(samples.rates, 0.5) for who, samples in measured.items()}
    for who, samples in measured.items():
        bounds = [("docker", rates.get(DOCKER), RATE_BOUND)]
        checks = ratio_checks(rates[who], bounds, at_most=False) if who == "krater" else []
        figure = f"{at_once} at once, rate"
        report.rows.append(
            Row("start", figure, who, rates[who], "/s", samples=len(samples.rates), checks=tuple(checks))
        )


def report_deletes(report: Report, measured: Measured, at_once: int) -> None:
    """Rows of part `delete`."""
    figure = "one at a time" if at_once == 1 else f"{at_once} at once"
    medians = {who: percentile(samples.deletes, 0.5) for who, samples in measured.items()}
    for who, samples in measured.items():
        bounds = [(short, medians.get(reference), bound) for reference, short, bound in DELETE_BOUNDS]
        checks = ratio_checks(medians[who], bounds) if who == "krater" else []
        cpu = samples.delete_cpu / len(samples.deletes)
        report.rows.append(milliseconds("delete", figure, who, samples.deletes, cpu, checks))


def measure(
    report: Report, contenders: Sequence[Contender], parts: Sequence[str], turns: Sequence[tuple[int, int]]
) -> None:
    """Take turns for each (at once, rounds) and add the rows of the parts asked for, starts first."""
    writers: list[tuple[str, Callable[[Report, Measured, int], None]]] = [
        ("start", report_starts),
        ("delete", report_deletes),
    ]
    measured = [(take_turns(contenders, rounds, at_once), at_once) for at_once, rounds in turns]
    for part, write in writers:
        if part in parts:
            for found, at_once in measured:
                write(report, found, at_once)
