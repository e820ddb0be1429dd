"""Probes by request and connection, as the agent asks them. In virtual time."""

import asyncio
from typing import Any

import pytest

from krater.model.member import HttpRequest, Probe
from krater.model.workload import Desired
from tests.support.agent import Table, altered, assignment_of, spec_of
from tests.support.probes import (
    ALWAYS,
    HEALTHY,
    ONE,
    UNHEALTHY,
    Script,
    asks,
    health,
    probed,
    ready,
    seen,
    starts,
)

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("script")]

TWO = "2" * 32


class Pages:
    """What a capsule's server says, as one status line for each connection, and what it was asked."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())


def gets(**more: Any) -> Probe:
    return Probe(http=HttpRequest(8080, "/well"), **{"interval": 5, "timeout": 2, "failures": 3, **more})


async def test_requests_are_asked_of_the_capsules_own_address() -> None:
    pages = Pages("503 Busy", "200 OK")
    async with Table() as table:
        table.network.servers[(ONE, 8080)] = pages
        await table.controller.want(probed(readiness=gets()))
        await table.until(lambda: ready(table) is True, 30)
        assert len(pages.asked) == 2
        assert pages.asked[0].startswith("GET /well HTTP/1.1\r\nHost: 10.66.1.9:8080\r\n")


async def test_a_capsule_without_a_card_is_asked_over_loopback() -> None:
    pages = Pages("200 OK")
    async with Table() as table:
        table.network.servers[(ONE, 8080)] = pages
        await table.controller.want(probed(readiness=gets(), nics=()))
        await table.until(lambda: ready(table) is True, 30)
        assert "Host: 127.0.0.1:8080\r\n" in pages.asked[0]


async def test_nobody_listening_is_ill_with_either_kind() -> None:
    for probe, said in (
        (gets(), "GET /well from http port 8080: connection refused"),
        (Probe(port=9), "port 9: connection"),
    ):
        async with Table() as table:
            await table.controller.want(probed(liveness=probe))
            await table.until(lambda table=table: health(table) is UNHEALTHY, 60)  # type: ignore[misc]
            one = seen(table)
            assert one is not None
            assert one.health is not None
            assert one.health.output.startswith(said)


async def test_a_connection_is_enough_for_a_port() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with Table() as table:
        table.network.servers[(ONE, 5432)] = mute
        await table.controller.want(probed(liveness=Probe(port=5432)))
        await table.until(lambda: health(table) is HEALTHY, 30)


async def test_a_server_that_hangs_fails_in_time_and_keeps_no_command_waiting(script: Script) -> None:
    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10_000)

    script.say(live="s")
    others = [f"{number:032x}" for number in range(100)]
    async with Table() as table:
        for other in others:
            table.network.servers[(other, 8080)] = hangs
            spec = spec_of(other, readiness=gets(timeout=600))
            await table.controller.want(assignment_of(other, containers=(spec,)))
        await table.settled(others[-1])
        table.network.servers[(ONE, 8080)] = hangs
        await table.controller.want(probed(liveness=asks("live"), readiness=gets()))
        await table.until(lambda: health(table) is HEALTHY, 30)
        assert ready(table) is False


async def test_a_paused_server_is_not_asked_whatever_its_kernel_accepts() -> None:
    pages = Pages("200 OK")
    async with Table() as table:
        table.network.servers[(ONE, 8080)] = pages
        wanted = probed(readiness=gets(delay=5))
        await table.controller.want(wanted)
        await table.settled(ONE)
        await table.controller.want(altered(wanted, desired=Desired.PAUSED))
        await table.settled(ONE)
        await asyncio.sleep(100)
        assert ready(table) is False
        await table.controller.want(altered(altered(wanted), desired=Desired.RUNNING))
        await table.until(lambda: ready(table) is True, 30)


async def test_a_lost_sandbox_says_nothing_about_the_process() -> None:
    pages = Pages("200 OK")
    async with Table() as table:
        table.network.servers[(ONE, 8080)] = pages
        await table.controller.want(probed(liveness=gets(), restart=ALWAYS))
        await table.until(lambda: health(table) is HEALTHY, 30)
        table.network.sandboxes.pop(ONE)
        await asyncio.sleep(100)
        assert health(table) is HEALTHY
        assert starts(table) == 1
