"""`idle` and `memory`: what many running containers cost while nobody asks for anything."""

import time
from collections.abc import Sequence

from benchmarks import machine
from benchmarks.contenders import Container, Contender
from benchmarks.figures import Check, Report, Row
from benchmarks.krater import Krater

FEW, MANY = 100, 300
BATCH = 10
IDLE_SECONDS = 20.0

Ticks = dict[int, float]


def _start_many(contender: Contender, count: int) -> list[Container]:
    """Running containers, some at a time; returns when all of them run."""
    machine.say(f"{contender.name}: {count} containers")
    containers: list[Container] = []
    while len(containers) < count:
        batch = min(BATCH, count - len(containers))
        contender.make_ready(batch)
        started = [future.result() for future in [contender.start() for _ in range(batch)]]
        for container in started:
            contender.seconds_to_run(container)
        containers += started
    return containers


def _delete_many(contender: Contender, containers: Sequence[Container]) -> None:
    for first in range(0, len(containers), BATCH):
        for future in [contender.delete(container) for container in containers[first : first + BATCH]]:
            future.result()


def _family(contender: Contender) -> set[int]:
    return machine.family(str(contender.directory), machine.processes())


def _idle(report: Report, contenders: Sequence[Contender], seconds: float) -> None:
    """CPU of all contenders over the same seconds, which is as interleaved as it gets."""
    families = {contender.name: _family(contender) for contender in contenders}
    before = {pid: machine.cpu_seconds(pid) for members in families.values() for pid in members}
    machine.say(f"idle for {seconds:g} seconds")
    time.sleep(seconds)
    used = {pid: machine.cpu_seconds(pid) - then for pid, then in before.items()}
    figure = f"CPU, {FEW} containers, {seconds:g} s"

    def row(who: str, pids: set[int], checks: tuple[Check, ...] = ()) -> Row:
        return Row("idle", figure, who, 100 * sum(used[pid] for pid in pids) / seconds, "%", checks=checks)

    for contender in contenders:
        if isinstance(contender, Krater):
            own = row("krater serve", {contender.server.pid})
            report.rows.append(row("krater serve", {contender.server.pid}, (Check(" %", own.value, 1.0),)))
            report.rows.append(row("krater, all processes", families[contender.name]))
        else:
            report.rows.append(row(_everything(contender), families[contender.name]))


def _everything(contender: Contender) -> str:
    return "conmon + crun" if contender.name == "conmon + crun" else "docker, all processes"


def _serving(report: Report, krater: Krater, count: int) -> None:
    resident = machine.memory_kib(krater.server.pid, "Rss") * 1024 / 1e6
    checks = (Check(" MB", resident, 150.0),) if count == FEW else ()
    row = Row("memory", f"process, {count} containers", "krater serve, RSS", resident, "MB", checks=checks)
    report.rows.append(row)


def _each(contender: Contender, before: float, after: float, count: int) -> Row:
    value = (after - before) / count
    checks = (Check(" MB", value, 1.0),) if isinstance(contender, Krater) else ()
    return Row("memory", "each container, PSS", contender.name, value, "MB", samples=count, checks=checks)


def measure(
    report: Report, contenders: Sequence[Contender], parts: Sequence[str], seconds: float = IDLE_SECONDS
) -> None:
    """FEW containers in each contender, then MANY in Krater; the rows of the parts asked for."""
    empty = {contender.name: machine.total_memory_mb(_family(contender)) for contender in contenders}
    running = {contender.name: _start_many(contender, FEW) for contender in contenders}
    time.sleep(10)
    if "idle" in parts:
        _idle(report, contenders, seconds)
    if "memory" in parts:
        full = {contender.name: machine.total_memory_mb(_family(contender)) for contender in contenders}
        rows = []
        for contender in contenders:
            if isinstance(contender, Krater):
                _serving(report, contender, FEW)
                running[contender.name] += _start_many(contender, MANY - FEW)
                time.sleep(10)
                _serving(report, contender, MANY)
                now = machine.total_memory_mb(_family(contender))
                rows.append(_each(contender, full[contender.name], now, MANY - FEW))
            else:
                rows.append(_each(contender, empty[contender.name], full[contender.name], FEW))
        report.rows += rows
        report.note(
            "memory, each container: proportional shares of all processes of an engine and its containers (growth of"
            " the daemon, monitors, the container's own); Krater from"
            f" {FEW} to {MANY} containers, the others from 0 to {FEW}."
        )
    for contender in contenders:
        _delete_many(contender, running[contender.name])
