"""The only shutdown that counts is `kill -9`: wherever it strikes, the next start mends what it left."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from krater.agent.vif import firewall, namespaces, netlink
from krater.agent.vif.host import Host
from krater.agent.vif.marks import Marks
from krater.agent.vif.native import NativeVif
from tests.support.networks import card, has_table, instance_name, links_left, mounts_left
from tests.support.reach import pings

pytestmark = pytest.mark.live

_DIED, _ENDED = 9, 0


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[str]:
    name = instance_name()
    yield name
    eventually(lambda: not links_left(name))
    assert links_left(name) == []
    assert not has_table(name)
    assert mounts_left(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def eventually(is_so: Callable[[], bool]) -> None:
    """The kernel takes a namespace apart in its own time."""
    deadline = time.monotonic() + 5
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)


def dies_at(number: int, work: Callable[[], None]) -> bool:
    """Do it in a child that stops existing before its `number`-th touch of the world. False when it got through."""
    child = os.fork()
    if child == 0:
        try:
            _count_down(number)
            work()
        except BaseException as error:
            print(f"the child failed: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(_ENDED)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (_DIED, _ENDED)
    return code == _DIED


def _count_down(number: int) -> None:
    left = number

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(_DIED)
            return function(*args, **kwargs)

        return call

    for owner, names in (
        (netlink.Netlink, ("do",)),
        (firewall.Firewall, ("run",)),
        (namespaces, ("_mount", "_unmount", "set_sysctl")),
        (os, ("symlink", "replace")),
        (Path, ("mkdir", "touch", "unlink", "rmdir")),
    ):
        for name in names:
            setattr(owner, name, counted(getattr(owner, name)))


def a_life(instance: str, directory: Path) -> None:
    """Everything a node does once: from nothing, to two networks with cards, to a sandbox less."""
    host = Host(instance, directory, 2, True, False)
    host.open()
    for sandbox in ("one", "two"):
        host.make_spare()
        host.make_sandbox(sandbox)
    host.plug("one", card(2, ipv6=True))
    host.plug("two", card(3, ipv6=True))
    host.plug("two", card(2, "blue", 2, name="eth1", default_route=False))
    host.unplug("two", "port-blue-2")
    host.remove_sandbox("one")
    host.tidy()
    host.close()


def test_death_before_any_touch_of_the_world_is_mended(instance: str, tmp_path: Path) -> None:
    number, points = 1, 0
    while dies_at(number, lambda: a_life(instance, tmp_path / "n")):
        _judge(instance, tmp_path / "n")
        points += 1
        number += 1 if number < 12 else 3
    _judge(instance, tmp_path / "n")
    assert points > 15


def _judge(instance: str, directory: Path) -> None:
    """The next life finds only what is whole, may use it, and leaves nothing behind."""
    host = Host(instance, directory, 1, True, False)
    host.open()
    host.sweep()
    existing, plugged = host.sandboxes(), host.plugged()
    assert set(plugged) <= set(existing)
    whole = sum(len(ports) for ports in plugged.values())
    assert len([name for name in links_left(instance) if name[7] == "v"]) == whole
    if "port-red-2" in plugged.get("one", ()):
        assert pings(None, "10.211.1.2", 3)
        assert pings(None, "fd4b:1::2", 3)
    host.make_sandbox("one")
    host.plug("one", card(2, ipv6=True))
    host.plug("one", card(2, ipv6=True))
    assert pings(None, "10.211.1.2", 3)
    assert pings(None, "fd4b:1::2", 3)
    for sandbox in host.sandboxes():
        host.remove_sandbox(sandbox)
    host.sweep()
    assert links_left(instance) == []
    assert not has_table(instance)
    host.close()


_BUSY = """
import asyncio, random, sys
from pathlib import Path
from krater.agent.vif.native import NativeVif
from tests.support.networks import card

async def churn(vif, worker):
    network, third = ("red", 1) if worker % 2 else ("blue", 2)
    while True:
        sandbox = f"s{worker}"
        await vif.make_sandbox(sandbox)
        await vif.plug(sandbox, card(worker + 2, network, third))
        if random.random() < 0.3:
            await vif.unplug(sandbox, card(worker + 2, network, third).port)
        if random.random() < 0.8:
            await vif.remove_sandbox(sandbox)

async def main():
    vif = NativeVif(sys.argv[1], Path(sys.argv[2]), pool_size=3, linger=0.01)
    await vif.open()
    print("open", flush=True)
    await asyncio.gather(*(churn(vif, worker) for worker in range(8)))

asyncio.run(main())
"""


async def test_a_busy_node_may_be_killed_at_any_time(instance: str, tmp_path: Path) -> None:
    for _ in range(6):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _BUSY, instance, str(tmp_path / "n"), stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"open\n"
        await asyncio.sleep(random.uniform(0.0, 0.25))
        child.send_signal(signal.SIGKILL)
        await child.wait()
    vif = NativeVif(instance, tmp_path / "n")
    await vif.open()
    await vif.sweep()
    plugged = await vif.plugged()
    for ports in plugged.values():
        for port in ports:
            _, network, number = port.split("-")
            assert pings(None, f"10.211.{1 if network == 'red' else 2}.{number}", 3)
    for sandbox in await vif.sandboxes():
        await vif.remove_sandbox(sandbox)
    await vif.close()


async def test_a_firewall_that_somebody_flushed_is_mended_by_a_sweep(instance: str, tmp_path: Path) -> None:
    vif = NativeVif(instance, tmp_path / "n")
    await vif.open()
    await vif.make_sandbox("one")
    await vif.plug("one", card(2))
    flushed = firewall.Firewall(Marks(instance), True, False)
    flushed.open()
    flushed.install([])
    flushed.close()
    assert not has_table(instance)
    await vif.sweep()
    assert has_table(instance)
    await vif.remove_sandbox("one")
    await vif.close()


async def test_after_a_reboot_nothing_is_believed(instance: str, tmp_path: Path) -> None:
    """Mounts are gone, files are there: as on a directory that is not in memory."""
    spaces = tmp_path / "n" / "spaces"
    spaces.mkdir(parents=True)
    (spaces / "0123").touch()
    sandboxes = tmp_path / "n" / "sandboxes"
    sandboxes.mkdir()
    (sandboxes / "one").symlink_to("../spaces/0123")
    vif = NativeVif(instance, tmp_path / "n")
    await vif.open()
    assert await vif.sandboxes() == {}
    await vif.make_sandbox("one")
    await vif.plug("one", card(2))
    assert pings(None, "10.211.1.2", 3)
    await vif.remove_sandbox("one")
    await vif.close()
    (sandboxes / "one").unlink()
    (spaces / "0123").unlink()
    for folder in (sandboxes, spaces, tmp_path / "n"):
        folder.rmdir()
