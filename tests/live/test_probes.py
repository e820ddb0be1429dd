"""Probes of members of capsules with the real engine, in real networks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from krater.agent.runtimes.oci.runtime import OciRuntime
from krater.agent.service import Agent
from krater.agent.vif.native import NativeVif
from krater.agent.volumes.fake import FakeVolumeHost
from krater.config import AgentSettings
from krater.model.assignment import Assignment, ContainerState, HealthState, ObservedContainer
from krater.model.member import Condition, Dependency, HttpRequest, Probe
from krater.model.network import Nic
from krater.model.workload import RestartName, RestartPolicy
from tests.support.agent import NODE, StandIn, StandInBus, assignment_of, spec_of
from tests.support.images import busybox_archive
from tests.support.networks import card, instance_name
from tests.support.oci import OciNode, until

pytestmark = pytest.mark.live

ONE, TWO, THREE, CAPSULE = (f"{digit}" * 32 for digit in "123c")
ALWAYS = RestartPolicy(RestartName.ALWAYS)
PATIENCE = 120.0
SERVES = "mkdir -p /www; echo well > /www/well; exec httpd -f -p 8080 -h /www"


class Node:
    """An agent with the real engine and network, and a stand-in for its controller."""

    def __init__(self, engine: OciRuntime, vif: NativeVif) -> None:
        self.engine, self.vif = engine, vif
        self.controller = StandIn()
        self.volumes = FakeVolumeHost()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        settings = AgentSettings(restart_base=0.1, resync=5.0)
        bus = StandInBus(self.controller)
        agent = Agent(NODE, settings, self.engine, self.vif, self.volumes, bus)
        self._task = asyncio.get_running_loop().create_task(agent.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def want(self, *containers: Any, nics: tuple[Nic, ...] = (card(2),), **more: Any) -> Assignment:
        wanted = assignment_of(CAPSULE, containers=containers, nics=nics, **more)
        await self.controller.want(wanted)
        return wanted

    def seen(self, container: str = ONE) -> ObservedContainer | None:
        report = self.controller.reports.get(CAPSULE)
        found = () if report is None else report.containers
        return next((one for one in found if one.id == container), None)

    async def until(self, container: str = ONE, **state: Any) -> ObservedContainer:
        """Wait until it is told with this health, ready, attempt, state."""
        async with asyncio.timeout(PATIENCE):
            while True:
                one = self.seen(container)
                if one is not None:
                    health = None if one.health is None else one.health.state
                    found = {"ready": one.ready, "health": health, "attempt": one.attempt, "state": one.state}
                    if found | state == found:
                        return one
                await asyncio.sleep(0.05)

    async def says(self, container: str, why: str) -> None:
        """Wait until it is told that it is not ready, and why."""

        def is_told() -> bool:
            one = self.seen(container)
            return one is not None and one.ready is False and why in (one.unready or "")

        await until(is_told)

    async def clear(self) -> None:
        """Everything goes in the ordinary way."""
        if self._task is None:
            self.start()
        await self.controller.drop(CAPSULE)
        async with asyncio.timeout(PATIENCE):
            while await self.engine.list() or await self.vif.sandboxes():
                await self.controller.drop(CAPSULE)
                await asyncio.sleep(0.2)
        await self.stop()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    place = OciNode()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(place.clear)
        engine = await place.engine()
        await engine.import_image(busybox_archive(tmp_path / "busybox.tar"))
        vif = NativeVif(instance_name(), tmp_path / "n", pool_size=1, linger=0.1)
        made = Node(engine, vif)
        stack.push_async_callback(made.clear)
        made.start()
        yield made


def probe(*command: str, **more: Any) -> Probe:
    return Probe(command, **{"interval": 1, "timeout": 20, **more})


def get(path: str = "/well", port: int = 8080, **more: Any) -> Probe:
    return Probe(http=HttpRequest(port, path), **{"interval": 1, "timeout": 20, **more})


def connect(port: int, **more: Any) -> Probe:
    return Probe(port=port, **{"interval": 1, "timeout": 20, **more})


async def does(node: Node, *command: str, container: str = ONE) -> None:
    done = await node.engine.exec(container, command, PATIENCE, 4096)
    assert done.exit_code == 0, done.output


async def test_a_web_server_is_asked_by_http_and_is_ready_when_its_page_is_there(node: Node) -> None:
    spec = spec_of(
        ONE, "sh", "-c", SERVES, image="busybox", readiness=get("/later"), liveness=get("/well", failures=60)
    )
    await node.want(spec)
    await node.until(health=HealthState.HEALTHY)
    await node.says(ONE, "GET /later from http port 8080: ")
    await does(node, "touch", "/www/later")
    await node.until(ready=True)
    await does(node, "rm", "/www/later")
    await node.until(ready=False, health=HealthState.HEALTHY, attempt=0)
    await node.says(ONE, "status 404")


async def test_a_port_is_asked_by_connecting_to_the_capsules_address(node: Node) -> None:
    """One server listens at the capsule's address, the other at loopback alone: that one, nobody outside reaches."""
    nobody = spec_of(TWO, "sleep", "1000", image="busybox", readiness=connect(9001))
    listens = spec_of(
        ONE,
        "sh",
        "-c",
        "httpd -p 127.0.0.1:9001 -h /; exec httpd -f -p 10.211.1.2:9000 -h /",
        image="busybox",
        readiness=connect(9000),
    )
    await node.want(listens, nobody)
    await node.until(ready=True)
    await node.says(TWO, "port 9001: connection refused")


async def test_a_capsule_without_a_card_is_asked_over_loopback(node: Node) -> None:
    spec = spec_of(ONE, "httpd", "-f", "-p", "127.0.0.1:9000", image="busybox", liveness=connect(9000))
    await node.want(spec, nics=())
    await node.until(health=HealthState.HEALTHY)


async def test_a_command_needs_no_shell_and_its_failure_ends_the_process(node: Node) -> None:
    script = "test -e /tmp/second && touch /tmp/alive; touch /tmp/second; exec sleep 1000"
    spec = spec_of(
        ONE, "sh", "-c", script, image="busybox", liveness=probe("test", "-e", "/tmp/alive"), readiness=probe("true")
    )
    await node.want(spec, restart=ALWAYS)
    one = await node.until(attempt=1, health=HealthState.HEALTHY, ready=True)
    assert one.state is ContainerState.RUNNING
    assert one.cut_off is None


async def test_liveness_waits_for_startup_and_members_for_each_other(node: Node) -> None:
    """Liveness would end the first at once; the second begins when the first is ready, and tells when that was."""
    script = "sleep 3; touch /tmp/up; sleep 1000"
    first = spec_of(
        ONE,
        "sh",
        "-c",
        script,
        image="busybox",
        startup=probe("test", "-e", "/tmp/up", failures=100),
        liveness=probe("test", "-e", "/tmp/up", failures=1),
        readiness=probe("test", "-e", "/tmp/up"),
    )
    second = spec_of(TWO, "sleep", "1000", image="busybox", depends_on=(Dependency(ONE, Condition.HEALTHY),))
    await node.want(first, second, restart=ALWAYS)
    one = await node.until(health=HealthState.HEALTHY, ready=True)
    other = await node.until(TWO, state=ContainerState.RUNNING)
    assert one.attempt == 0
    assert one.started_at is not None
    assert other.started_at is not None
    assert (other.started_at - one.started_at).total_seconds() >= 3


async def test_readiness_restarts_nothing_and_a_crash_of_the_agent_neither(node: Node) -> None:
    spec = spec_of(
        ONE,
        "sh",
        "-c",
        "touch /tmp/once; exec sleep 1000",
        image="busybox",
        startup=probe("rm", "/tmp/once", failures=5),
        liveness=probe("true"),
        readiness=connect(1, failures=1),
    )
    await node.want(spec, restart=ALWAYS)
    before = await node.until(health=HealthState.HEALTHY, ready=False)
    await asyncio.sleep(3)
    await node.stop()
    node.controller.reports.clear()
    node.start()
    after = await node.until(health=HealthState.HEALTHY, ready=False)
    await asyncio.sleep(3)
    after = await node.until(health=HealthState.HEALTHY, ready=False)
    assert (after.pid, after.attempt) == (before.pid, 0)


async def test_a_hostile_server_costs_its_own_container_and_nobody_else(node: Node) -> None:
    """One sends without end, one never answers; the third is asked in time all the same."""
    floods = spec_of(ONE, "nc", "-ll", "-p", "9000", "-e", "yes", image="busybox", readiness=get("/", 9000, timeout=1))
    hangs = spec_of(
        TWO,
        "nc",
        "-ll",
        "-p",
        "9001",
        "-e",
        "sh",
        "-c",
        "sleep 1000",
        image="busybox",
        readiness=get("/", 9001, timeout=1),
    )
    well = spec_of(THREE, "sleep", "1000", image="busybox", liveness=probe("true"))
    await node.want(floods, hangs, well)
    await node.until(THREE, health=HealthState.HEALTHY)
    for container, said in ((ONE, "its answer is not HTTP"), (TWO, "no answer within 1 seconds")):
        await node.says(container, said)
