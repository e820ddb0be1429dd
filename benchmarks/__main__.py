"""Measure Krater beside its references and print one table: `python -m benchmarks [PART ...]`."""

import argparse
import contextlib
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import bundle, capsules, consoles, figures, footprint, kernel, lifecycle, logs, machine, reads
from benchmarks.bare import BareEngine
from benchmarks.contenders import Contender, Unmeasured
from benchmarks.docker import DockerApi, DockerDaemon, DockerRun
from benchmarks.krater import Krater

PARTS = ("start", "delete", "exec", "attach", "consoles", "get", "list", "logs", "idle", "memory", "capsules")
# Seconds that each may have, several times what it needs: a machine that is so busy measures nothing.
LIMITS = {
    **{"exec": 60, "attach": 60, "logs": 120, "consoles": 120, "start": 150, "delete": 100},
    **{"idle": 150, "memory": 150, "get": 120, "list": 120, "capsules": 150},
}
FORMATS = {"table": figures.as_table, "markdown": figures.as_markdown, "json": figures.as_json}
CONTENDERS = ("krater", "bare", "docker")
CONTESTED = frozenset({"start", "delete", "idle", "memory"})  # in which all contenders take part
AT_ONCE = 20


def _arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Krater beside its references.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure, of {', '.join(PARTS)}; else all")
    parser.add_argument("--format", choices=sorted(FORMATS), default="table")
    parser.add_argument("--rounds", type=int, default=20, help="turns of one container at a time (%(default)s)")
    parser.add_argument("--bursts", type=int, default=4, help=f"turns of {AT_ONCE} at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="length of one load on the API (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="how often each load is repeated (%(default)s)")
    parser.add_argument("--without", action="append", default=[], choices=CONTENDERS, help="leave a contender out")
    chosen = parser.parse_args(words)
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    chosen.parts = chosen.parts or list(PARTS)
    return chosen


def _contenders(directory: Path, chosen: argparse.Namespace) -> list[Contender]:
    image = bundle.write_image(directory)
    daemon = DockerDaemon(directory, image)
    found: dict[str, list[Contender]] = {
        "krater": [Krater(directory, image, at_once=AT_ONCE)],
        "bare": [BareEngine(directory, image, at_once=AT_ONCE)],
        "docker": [DockerRun(daemon, at_once=AT_ONCE), DockerApi(daemon, at_once=AT_ONCE)],
    }
    return [one for name in _wanted(chosen) for one in found[name]]


def _wanted(chosen: argparse.Namespace) -> list[str]:
    """The contenders that some part needs and that are not left out."""
    few = ("krater", "bare") if "capsules" in chosen.parts else ("krater",)
    names = CONTENDERS if CONTESTED & set(chosen.parts) else few
    return [name for name in names if name not in chosen.without]


def _opened(report: figures.Report, contenders: Sequence[Contender]) -> list[Contender]:
    """Those that can take part here; the others get a note."""
    ready: list[Contender] = []
    for contender in contenders:
        machine.say(f"starting {contender.name}")
        try:
            contender.open()
            ready.append(contender)
        except Unmeasured as reason:
            report.note(f"{contender.name}: not measured: {reason}")
    return ready


class Turns:
    """The parts one after the other: each bounded in time, told at once, and no reason for the others to be missed."""

    def __init__(self, report: figures.Report, parts: Sequence[str]) -> None:
        self._report = report
        self._parts = frozenset(parts)

    def take(self, parts: Sequence[str], measure: Callable[[], None]) -> None:
        """Measure these parts, if any was asked for."""
        name, known = " and ".join(part for part in parts if part in self._parts), len(self._report.rows)
        if not name:
            return
        began = time.monotonic()
        try:
            with machine.within(sum(LIMITS[part] for part in parts if part in self._parts)):
                measure()
        except (Unmeasured, machine.TookTooLong) as reason:
            self._report.note(f"krater: {name}: not measured: {reason}")
        except Exception as error:
            traceback.print_exc()
            self._report.note(f"krater: {name}: not measured: {error!r}")
        for row in self._report.rows[known:]:
            machine.say(figures.as_line(row))
        machine.say(f"{name}: took {time.monotonic() - began:.0f} s")


def _with_engines(report: figures.Report, directory: Path, chosen: argparse.Namespace) -> None:
    contenders = _contenders(directory, chosen)
    turns, parts = Turns(report, chosen.parts), chosen.parts
    try:
        ready = _opened(report, contenders)
        rounds = [(1, chosen.rounds), (AT_ONCE, chosen.bursts)]
        turns.take(("start", "delete"), partial(lifecycle.measure, report, ready, parts, rounds))
        # One Docker is enough here: its two contenders share a daemon.
        few = [one for one in ready if not isinstance(one, DockerApi)]
        turns.take(("idle", "memory"), partial(footprint.measure, report, few, parts))
        turns.take(("capsules",), partial(capsules.measure, report, ready, directory, chosen.rounds))
        for krater in (one for one in ready if isinstance(one, Krater)):
            turns.take(("exec",), partial(consoles.measure_exec, report, krater, chosen.rounds))
            turns.take(("attach",), partial(consoles.measure_attach, report, krater))
            turns.take(("logs",), partial(logs.measure, report, krater, chosen.repeat, chosen.rounds))
            turns.take(("consoles",), partial(consoles.measure_idle, report, krater))
        _explain(report, ready)
    finally:
        for contender in reversed(contenders):
            contender.close()


def _explain(report: figures.Report, contenders: Sequence[Contender]) -> None:
    for contender in contenders:
        if isinstance(contender, BareEngine):
            report.note(
                f"{contender.name}: overlay mount, namespaces ready before the clock, {contender.seccomp}, no veth."
            )
        elif type(contender) is DockerRun:
            report.note("docker: own dockerd with its default bridge and iptables, in a network namespace of its own.")
        elif isinstance(contender, Krater) and contender.left_behind:
            report.note(f"krater: {contender.left_behind} times a process or mount was left when the API said 404.")


def _remove(directory: Path) -> None:
    """The directory of the run, and mounts in it that an engine left."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        with contextlib.suppress(OSError):
            kernel.unmount(mount)
    shutil.rmtree(directory, ignore_errors=True)


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def main() -> int:
    """Run the parts; 1 when Krater could not be measured, never because it was slow."""
    chosen = _arguments()
    if os.geteuid() != 0 and set(chosen.parts) - {"get", "list"}:
        machine.say("engines need root")
        return 2
    signal.signal(signal.SIGTERM, _end)
    report = figures.Report()
    before = os.getloadavg()[0]
    report.note(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Linux {platform.release()}, load before {before:.1f};"
        " contenders took turns; times are medians; CPU each is of the whole machine for one container."
    )
    directory = Path(tempfile.mkdtemp(prefix="krb"))
    try:
        if set(chosen.parts) - {"get", "list"}:
            _with_engines(report, directory, chosen)
        if "krater" not in chosen.without:
            turns = Turns(report, chosen.parts)
            load = chosen.repeat, chosen.seconds
            turns.take(("get", "list"), partial(reads.measure, report, directory, chosen.parts, *load))
    finally:
        _remove(directory)
    report.rows.sort(key=lambda row: PARTS.index(row.part))
    print(FORMATS[chosen.format](report))
    return 1 if any("krater" in note and "not measured" in note for note in report.notes) else 0


if __name__ == "__main__":
    sys.exit(main())
