"""`capsules`: two containers that are one, from the request until both have said something, one such pair at a time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

from benchmarks import bundle, machine, timestamps
from benchmarks.bare import BareEngine
from benchmarks.contenders import COMMAND, CPUS, IMAGE, MEMORY_MIB, PATIENCE, Container, Contender, Unmeasured
from benchmarks.figures import Report, milliseconds, percentile, ratio_checks
from benchmarks.krater import Krater
from benchmarks.podman import Group, Podman, PodmanPod

SETTLE = 0.3
KRATER, BARE, POD = "krater", "conmon + crun, two", "podman pod"

# The bounds: how many times each reference Krater may be.
BOUNDS = ((BARE, "bare", 3.0), (POD, "podman", 0.5))


class Pairs(Protocol):
    """One way to run two containers as one."""

    name: str

    def make_ready(self) -> None:
        """Do what belongs before the clock starts."""

    def start(self) -> Group:
        """Ask for a pair; it may be there already, or only accepted."""

    def seconds_to_run(self, group: Group) -> float:
        """From the request to the first output of the later one, by the time stamps of their logs."""

    def delete(self, group: Group) -> float:
        """Kill both at once and remove them; the seconds until nothing is left."""


class Capsules:
    """One POST of a template."""

    name = KRATER

    def __init__(self, krater: Krater) -> None:
        self.server = krater.server

    def make_ready(self) -> None:
        """Krater keeps namespaces ready by itself."""

    def start(self) -> Group:
        """POST; Krater starts what it is asked for."""
        asked = time.time()
        member = {
            "image": IMAGE,
            "command": list(COMMAND),
            "resources": {kind: {"cpu": CPUS, "memory": MEMORY_MIB} for kind in ("requests", "limits")},
        }
        spec = {"containers": [{"name": name, **member} for name in ("one", "two")], "terminationGracePeriodSeconds": 0}
        made = self.server.want("POST", "/v1/capsules", {"template": {"kind": "capsule", "metadata": {}, "spec": spec}})
        return Group(made["uuid"], asked, tuple(one["uuid"] for one in made["containers"]))

    def seconds_to_run(self, group: Group) -> float:
        """By the time stamps of both first lines, once the API says Running."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.server.want("GET", f"/v1/capsules/{group.id}"))["status"] != "Running":
            if found["status"] in ("Error", "Stopped") or time.monotonic() > deadline:
                raise RuntimeError(f"krater: capsule is {found['status']}: {found['status_reason']}")
            time.sleep(0.03)
        return max(self._began(container, deadline) for container in group.containers) - group.asked

    def _began(self, container: str, deadline: float) -> float:
        query = urlencode({"timestamps": "true", "stdout": "true"})
        while not (text := self.server.want("GET", f"/v1/containers/{container}/logs?{query}")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"krater: member {container} wrote nothing")
            time.sleep(0.03)
        return timestamps.epoch(text)

    def delete(self, group: Group) -> float:
        """DELETE, then asked for until it is not found."""
        asked, path = time.time(), f"/v1/capsules/{group.id}"
        self.server.want("DELETE", path)
        while self.server.ask("GET", path)[0] != 404:
            if time.time() - asked > PATIENCE:
                raise TimeoutError(f"krater: capsule {group.id} is not gone")
            time.sleep(0.002)
        return time.time() - asked


class BarePairs:
    """conmon + crun twice, at once, in one ready namespace."""

    name = BARE

    def __init__(self, engine: BareEngine) -> None:
        self.engine = engine
        self._running: list[Container] = []

    def make_ready(self) -> None:
        """A network namespace."""
        self.engine.make_ready(1)

    def start(self) -> Group:
        """Both at once."""
        self._running = [future.result() for future in self.engine.start_pair()]
        names = tuple(container.id for container in self._running)
        return Group(names[0][:-1], self._running[0].asked, names)

    def seconds_to_run(self, group: Group) -> float:
        """By the time stamps that conmon gave the first lines."""
        return max(self.engine.seconds_to_run(container) for container in self._running)

    def delete(self, group: Group) -> float:
        """Both at once."""
        return self.engine.delete_pair(self._running)


@dataclass(slots=True)
class Samples:
    """What one contender took: seconds of each start and delete, CPU seconds of all starts."""

    starts: list[float] = field(default_factory=list)
    deletes: list[float] = field(default_factory=list)
    cpu: float = 0.0


def take_turns(contenders: Sequence[Pairs], rounds: int) -> dict[str, Samples]:
    """Each makes and removes a pair in every round; a first round does not count."""
    measured = {contender.name: Samples() for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            samples = Samples() if number == 0 else measured[contender.name]
            contender.make_ready()
            time.sleep(SETTLE)  # what the turn before left to the kernel must not be on this one's bill
            busy = machine.busy_seconds()
            group = contender.start()
            samples.starts.append(contender.seconds_to_run(group))
            samples.cpu += machine.busy_seconds() - busy
            time.sleep(SETTLE)
            samples.deletes.append(contender.delete(group))
        if number % max(1, rounds // 4) == 0:
            machine.say(f"capsules: round {number} of {rounds}")
    return measured


def report_pairs(report: Report, measured: dict[str, Samples]) -> None:
    """Rows of part `capsules`."""
    medians = {who: percentile(samples.starts, 0.5) for who, samples in measured.items()}
    for who, samples in measured.items():
        bounds = [(short, medians.get(reference), bound) for reference, short, bound in BOUNDS]
        checks = ratio_checks(medians[who], bounds) if who == KRATER else []
        cpu = samples.cpu / len(samples.starts)
        report.rows.append(milliseconds("capsules", "two containers, start", who, samples.starts, cpu, checks))
    for who, samples in measured.items():
        report.rows.append(milliseconds("capsules", "two containers, delete", who, samples.deletes))


def measure(report: Report, ready: Sequence[Contender], directory: Path, rounds: int) -> None:
    """Take turns with whoever of `ready` can run pairs, and with podman."""
    contenders: list[Pairs] = []
    for one in ready:
        contenders += [Capsules(one)] if isinstance(one, Krater) else []
        contenders += [BarePairs(one)] if isinstance(one, BareEngine) else []
    podman = Podman(directory, directory / bundle.IMAGE_FILE)
    try:
        try:
            podman.open()
            contenders.append(PodmanPod(podman))
            report.note("podman pod: own store and state, crun, its default bridge, in a network namespace of its own.")
        except (Unmeasured, OSError, RuntimeError) as reason:
            report.note(f"podman: not measured: {reason}")
        report_pairs(report, take_turns(contenders, rounds))
    finally:
        podman.close()
