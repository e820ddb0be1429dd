"""`get` and `list`: how many authenticated, policy-checked reads a second one process answers."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import load, machine
from benchmarks.contenders import PATIENCE, Unmeasured
from benchmarks.figures import Check, Report, Row, percentile
from benchmarks.krater import MICROVERSION, KraterServer

CONTAINERS = 1000
CONNECTIONS = 8
CEILING = "same bytes, bare Starlette"


@dataclass(slots=True)
class Target:
    """One thing to ask for again and again, and what was counted."""

    part: str
    figure: str
    who: str
    url: str
    headers: dict[str, str]
    pid: int
    bound: float | None = None
    loads: list[load.Load] = field(default_factory=list)
    cpu: float = 0.0


def fill(server: KraterServer, count: int) -> list[str]:
    """Containers made through the API, running (as far as a fake engine runs them); their ids."""
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda number: server.create(name=f"bench-{number}", memory="4", cpu=0.1), range(count)))
        machine.say(f"{count} containers asked for, waiting until they run")
        deadline = time.monotonic() + 3 * PATIENCE
        while not _all_running(server):
            if time.monotonic() > deadline:
                raise Unmeasured("the containers of the fake engine do not all come to run")
            time.sleep(1)
    return made


def _all_running(server: KraterServer) -> bool:
    items = server.want("GET", "/v1/containers?limit=1000")["containers"]
    return all(item["status"] == "Running" for item in items)


@contextlib.contextmanager
def _ceiling(directory: Path, bodies: list[bytes]) -> Iterator[tuple[int, int]]:
    """The reference server: its port and process."""
    files = []
    for number, body in enumerate(bodies):
        path = directory / f"body{number}"
        path.write_bytes(body)
        files.append(str(path))
    port = machine.free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.ceiling", str(port), *files], cwd=load.HERE)
    try:
        time.sleep(1.5)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def _targets(server: KraterServer, one: str, port: int, pid: int, parts: Sequence[str]) -> list[Target]:
    version = {"OpenStack-API-Version": MICROVERSION}
    token = {**version, **server.headers}
    basic = {**version, **server.basic()}
    base, bare = f"http://127.0.0.1:{server.port}/v1/containers", f"http://127.0.0.1:{port}"
    found = [
        Target("get", "one container", "krater, token", f"{base}/{one}", token, server.pid, 2500),
        Target("get", "one container", "krater, Basic", f"{base}/{one}", basic, server.pid, 2500),
        Target("get", "one container", CEILING, f"{bare}/0", {}, pid),
        Target("list", "100 containers", "krater, token", f"{base}?limit=100", token, server.pid, 500),
        Target("list", "100 containers", CEILING, f"{bare}/1", {}, pid),
        Target("list", "1000 containers", "krater, token", f"{base}?limit=1000", token, server.pid, 60),
        Target("list", "1000 containers", CEILING, f"{bare}/2", {}, pid),
    ]
    return [target for target in found if target.part in parts]


def _take_turns(targets: list[Target], rounds: int, seconds: float, wrk: str | None, place: Path) -> None:
    for number in range(rounds + 1):
        for target in targets:
            cpu = machine.cpu_seconds(target.pid)
            counted = load.run(target.url, target.headers, CONNECTIONS, seconds if number else 1, wrk, place)
            if counted.errors:
                raise RuntimeError(
                    f"{target.who}, {target.figure}: {counted.errors} of {counted.requests} answers failed"
                )
            if number:  # the first round warms caches on both sides
                target.loads.append(counted)
                target.cpu += machine.cpu_seconds(target.pid) - cpu
        machine.say(f"reads: round {number} of {rounds}")


def _row(target: Target) -> Row:
    rate = percentile([counted.rate for counted in target.loads], 0.5)
    p95 = percentile([counted.p95 for counted in target.loads], 0.5) * 1000
    cpu = target.cpu * 1000 / sum(counted.requests for counted in target.loads)
    checks = (Check("/s", rate, target.bound, at_most=False),) if target.bound else ()
    return Row(target.part, target.figure, target.who, rate, "/s", p95, cpu, len(target.loads), checks)


def measure(report: Report, directory: Path, parts: Sequence[str], rounds: int, seconds: float) -> None:
    """Start a Krater with a fake engine and many containers, load it and the reference in turns, add the rows."""
    wrk = machine.ensure_package("wrk", "wrk")
    server = KraterServer(directory, fake=True)
    try:
        server.open()
        ids = fill(server, CONTAINERS)
        paths = (f"/v1/containers/{ids[0]}", "/v1/containers?limit=100", "/v1/containers?limit=1000")
        bodies = [server.ask("GET", path)[1] for path in paths]
        time.sleep(5)
        with _ceiling(directory, bodies) as (port, pid):
            targets = _targets(server, ids[0], port, pid, parts)
            _take_turns(targets, rounds, seconds, wrk, directory)
        report.rows += [_row(target) for target in targets]
    finally:
        server.close(delete=False)
    tool = "wrk" if wrk else "a generator of our own (wrk could not be installed)"
    report.note(
        f"get, list: {tool}, {CONNECTIONS} keep-alive connections, {CONTAINERS} containers in the store, load and"
        " server on the same cores; CPU each is of the serving process."
    )
