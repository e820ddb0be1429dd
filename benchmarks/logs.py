"""`logs`: how fast a container may write, beside the same through a pipe, and what its neighbours feel of that."""

import json
import re
import time

from benchmarks import machine
from benchmarks.contenders import PATIENCE, Unmeasured
from benchmarks.figures import Check, Report, Row, milliseconds, percentile
from benchmarks.krater import Krater

MIB = 128
MOST_ROUNDS = 10
SHAPES = {"lines of 100 bytes": "yes {}".format("x" * 99), "blocks of zeros": "cat /dev/zero"}
SINKS = {"krater, into its log": "", "through a pipe": "| cat > /dev/null"}
FLOOD = "while :; do yes {} | head -c 64000000; done".format("x" * 99)
_TOOK = re.compile(r"real\s+(?:(\d+)m\s*)?([\d.]+)s?")


def _seconds(krater: Krater, producer: str, sink: str) -> float:
    """How long a container takes to write MIB, by its own clock, told to a file: its log is full enough."""
    line = f"{{ time sh -c '{producer} | head -c {MIB << 20} {sink}'; }} 2> /tmp/took; sleep 600"
    container = krater.server.create(command=["sh", "-c", line], cpu=2)
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            time.sleep(0.2)
            found = _TOOK.search(_execute(krater, container, "cat /tmp/took"))
            if found:
                return 60 * int(found[1] or 0) + float(found[2])
        raise Unmeasured(f"{MIB} MiB were not written within {PATIENCE:g} seconds")
    finally:
        krater.server.want("DELETE", f"/v1/containers/{container}?force=true")


def _execute(krater: Krater, container: str, command: str) -> str:
    status, content = krater.server.ask("POST", f"/v1/containers/{container}/execute", {"command": command})
    return str(json.loads(content)["output"]) if status == 200 else ""


def _ingestion(report: Report, krater: Krater, repeat: int) -> None:
    for shape, producer in SHAPES.items():
        took: dict[str, list[float]] = {who: [] for who in SINKS}
        for _ in range(repeat):
            for who, sink in SINKS.items():
                took[who].append(_seconds(krater, producer, sink))
        speeds = {who: MIB / max(percentile(found, 0.5), 0.001) for who, found in took.items()}
        own, pipe = speeds.values()
        for who, speed in speeds.items():
            checks = (Check(" x through a pipe", own / pipe, 0.5, at_most=False),) if speed is own else ()
            report.rows.append(Row("logs", f"written, {shape}", who, speed, "MiB/s", samples=repeat, checks=checks))


def _felt(krater: Krater, neighbour: str, rounds: int) -> tuple[list[float], list[float]]:
    """What a neighbour's commands and starts take."""
    execs, starts = [], []
    for _ in range(rounds):
        began = time.monotonic()
        _execute(krater, neighbour, "true")
        execs.append(time.monotonic() - began)
        container = krater.start().result()
        starts.append(krater.seconds_to_run(container))
        krater.delete(container).result()
    return execs, starts


def _neighbours(report: Report, krater: Krater, rounds: int) -> None:
    neighbour = krater.server.create()
    krater.server.wait_running(neighbour)
    situations = {"nobody writes": "sleep 600", "one uses a processor": "yes > /dev/null", "one writes flat out": FLOOD}
    felt: dict[str, tuple[list[float], list[float]]] = {}
    for situation, line in situations.items():
        machine.say(f"logs: {situation}")
        container = krater.server.create(command=["sh", "-c", line], cpu=1)
        krater.server.wait_running(container)
        time.sleep(1)
        felt[situation] = _felt(krater, neighbour, rounds)
        krater.server.want("DELETE", f"/v1/containers/{container}?force=true")
    for place, figure in enumerate(("a neighbour's exec", "a neighbour's start")):
        quiet = percentile(felt["nobody writes"][place], 0.5)
        for situation, found in felt.items():
            slower = percentile(found[place], 0.5) / quiet
            checks = (Check(" x nobody writes", slower, 3.0),) if situation == "one writes flat out" else ()
            report.rows.append(milliseconds("logs", figure, f"krater, {situation}", found[place], checks=checks))
    krater.server.want("DELETE", f"/v1/containers/{neighbour}?force=true")


def measure(report: Report, krater: Krater, repeat: int, rounds: int) -> None:
    """Both."""
    machine.say("logs: a container writes flat out")
    report.note(
        f"logs: {MIB} MiB each by the container's own clock, with two processors; the pipe is in the container."
    )
    _ingestion(report, krater, repeat)
    _neighbours(report, krater, min(rounds, MOST_ROUNDS))
