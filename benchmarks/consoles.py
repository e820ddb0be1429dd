"""`exec`, `attach` and `consoles`: what talking to containers costs, beside the bare programs it goes through."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_now
from websockets.typing import Subprotocol

from benchmarks import kernel, machine
from benchmarks.figures import Check, Report, Row, milliseconds, percentile, ratio_checks
from benchmarks.krater import Krater, KraterServer

SUBPROTOCOL = Subprotocol("krater.v1")
STDOUT = 1
FLOOD = ["sh", "-c", "exec dd if=/dev/zero bs=64k"]
SECONDS, TURNS = 2.0, 4
SESSIONS, OF_ONE, BATCH = 1000, 100, 50
EACH_KIB = 100  # no issue asks for a bound: with this one, as many as a gateway may have (5,000) fit half a GB
SETTLE = 3.0
PATIENCE = 10.0


def _engine(krater: Krater) -> Path:
    return krater.directory / "engine"


def measure_exec(report: Report, krater: Krater, rounds: int) -> None:
    """The same command in the same container: asked of the API, over a console, and of crun itself."""
    machine.say("exec")
    server, cell = krater.server, kernel.Cell(1, hide_hybrid=True)
    container = server.create(command=["sleep", "3600"])
    server.wait_running(container)
    crun = [shutil.which("crun") or "crun", "--root", str(_engine(krater) / "crun"), "--cgroup-manager=cgroupfs"]

    def bare() -> None:
        subprocess.run([*crun, "exec", container, "true"], check=True, capture_output=True)

    def asked() -> None:
        answer = server.want("POST", f"/v1/containers/{container}/execute", {"command": "true"})
        assert answer["exit_code"] == 0

    def talked() -> None:
        body = {"command": "true", "run": False}
        url = server.want("POST", f"/v1/containers/{container}/execute", body)["proxy_url"]
        with connect_now(url, subprotocols=[SUBPROTOCOL], compression=None, proxy=None) as client:
            assert client.recv(PATIENCE) == b"\5\0\0\0\0"

    ways = {"crun exec": lambda: cell.run(bare), "krater, execute": asked, "krater, console": talked}
    took: dict[str, list[float]] = {name: [] for name in ways}
    try:
        for number in range(rounds + 1):
            for name, way in ways.items():
                began = time.monotonic()
                way()
                if number:  # a first turn does not count
                    took[name].append(time.monotonic() - began)
    finally:
        cell.close()
        server.ask("DELETE", f"/v1/containers/{container}?force=true")
    reference = percentile(took["crun exec"], 0.5)
    for name, seconds in took.items():
        is_judged = name == "krater, execute"
        checks = ratio_checks(percentile(seconds, 0.5), [("bare", reference, 3.0)]) if is_judged else ()
        report.rows.append(milliseconds("exec", "round trip of `true`", name, seconds, checks=checks))


def measure_attach(report: Report, krater: Krater) -> None:
    """A container that writes flat out: what comes through the gateway, and through conmon's own socket."""
    machine.say("attach")
    server = krater.server
    container = server.create(command=FLOOD, interactive=True)
    server.wait_running(container)
    path = _engine(krater) / "containers" / container / "bundle" / "attach"
    rates: dict[str, list[float]] = {"conmon's socket": [], "krater, gateway": []}
    try:
        for number in range(TURNS + 1):
            for name, rate in (("conmon's socket", _bare_rate(path)), ("krater, gateway", _rate(krater, container))):
                if number:
                    rates[name].append(rate / 1e6)
    finally:
        server.ask("DELETE", f"/v1/containers/{container}?force=true")
    bare, ours = (percentile(rate, 0.5) for rate in rates.values())
    report.rows.append(Row("attach", "output flat out", "conmon's socket", bare, "MB/s", samples=TURNS))
    check = (
        Check(" x bare", ours / bare, 0.5, at_most=False) if ours < 100 else Check(" MB/s", ours, 100, at_most=False)
    )
    report.rows.append(
        Row("attach", "output flat out", "krater, gateway", ours, "MB/s", samples=TURNS, checks=(check,))
    )


def _bare_rate(path: Path) -> float:
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        began, got = time.monotonic(), 0
        while (took := time.monotonic() - began) < SECONDS:
            got += len(connection.recv(65536)) - 1
    return got / took


def _rate(krater: Krater, container: str) -> float:
    url = krater.server.want("GET", f"/v1/containers/{container}/attach")
    with connect_now(
        url, subprotocols=[SUBPROTOCOL], compression=None, proxy=None, max_size=None, close_timeout=0.1
    ) as client:
        client.recv(PATIENCE)
        began, got = time.monotonic(), 0
        while (took := time.monotonic() - began) < SECONDS:
            message = client.recv(PATIENCE)
            got += len(message) - 1 if message[0] == STDOUT else 0
    return got / took


def measure_idle(report: Report, krater: Krater) -> None:
    """Many who are attached and say nothing: what each of them costs the process."""
    machine.say(f"{SESSIONS} idle consoles")
    server = krater.server
    containers = [
        server.create(command=["cat"], interactive=True, memory="16", cpu=0.1) for _ in range(SESSIONS // OF_ONE)
    ]
    for container in containers:
        server.wait_running(container)
    time.sleep(SETTLE)
    before = machine.memory_kib(server.pid, "Rss")
    try:
        idle = asyncio.run(_idle(server, [container for container in containers for _ in range(OF_ONE)]))
    finally:
        for container in containers:
            server.ask("DELETE", f"/v1/containers/{container}?force=true")
    each, who = (idle.resident - before) / SESSIONS, "krater serve"
    there = Check(" open and answering", idle.answered, SESSIONS, at_most=False)
    small = Check(" KiB", each, EACH_KIB)
    report.rows.append(
        Row("consoles", f"each of {SESSIONS} idle ones, RSS", who, each, "KiB", samples=SESSIONS, checks=(small, there))
    )
    report.rows.append(Row("consoles", f"CPU, {SESSIONS} idle ones", who, idle.used, "%"))


@dataclass(frozen=True, slots=True)
class Idle:
    """Resident KiB and CPU per cent while nobody says anything, and how many sessions answered after that."""

    resident: float
    used: float
    answered: int


async def _idle(server: KraterServer, containers: Sequence[str]) -> Idle:
    clients: list[ClientConnection] = []
    try:
        for first in range(0, len(containers), BATCH):  # a ticket lives for a minute: none is asked for too early
            urls = [server.want("GET", f"/v1/containers/{one}/attach") for one in containers[first : first + BATCH]]
            clients += await asyncio.gather(
                *(
                    connect(url, subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None, proxy=None)
                    for url in urls
                )
            )
        await asyncio.sleep(SETTLE)
        then = machine.cpu_seconds(server.pid)
        await asyncio.sleep(5 * SETTLE)
        used = machine.cpu_seconds(server.pid) - then
        resident = machine.memory_kib(server.pid, "Rss")
        return Idle(resident, 100 * used / (5 * SETTLE), await _answering(clients))
    finally:
        for client in clients:
            client.transport.abort()


async def _answering(clients: Sequence[ClientConnection]) -> int:
    """How many sessions still take input and show what comes of it: those of a container all see the same."""
    for client in clients[::OF_ONE]:
        await client.send(b"\0still here\n")

    async def answers(client: ClientConnection) -> bool:
        with suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(PATIENCE):
                return await client.recv() == bytes([STDOUT]) + b"still here\n"
        return False

    return sum(await asyncio.gather(*map(answers, clients)))
