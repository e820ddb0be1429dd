"""Network namespaces whose names were lost: somebody unmounted them, and processes live on in them."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from krater.agent.vif.native import NativeVif
from krater.errors import Conflict, NotFound
from krater.model.network import Nic
from tests.support.networks import card, instance_name
from tests.support.reach import pings

pytestmark = pytest.mark.live


@pytest.fixture
async def vif(tmp_path: Path) -> AsyncIterator[NativeVif]:
    made = NativeVif(instance_name(), tmp_path / "n", pool_size=2, linger=0.1)
    await made.open()
    yield made
    await emptied(made)


async def emptied(vif: NativeVif) -> None:
    for sandbox in await vif.sandboxes():
        await vif.remove_sandbox(sandbox)
    await vif.close()


async def plugged(vif: NativeVif, sandbox: str, *nics: Nic) -> str:
    path = await vif.make_sandbox(sandbox)
    for nic in nics:
        await vif.plug(sandbox, nic)
    return path


@contextmanager
def process_in(path: str) -> Iterator[int]:
    """A process that lives in a namespace; its id."""
    with subprocess.Popen(["nsenter", f"--net={path}", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b".")
        child.stdin.flush()
        assert child.stdout.read(1) == b"."  # it is in there
        yield child.pid
        child.stdin.close()


def lose_name(path: str) -> None:
    """As if somebody had unmounted it."""
    subprocess.run(["umount", os.path.realpath(path)], check=True)


async def test_a_namespace_that_lost_its_name_is_given_back_by_a_process_in_it(vif: NativeVif) -> None:
    nic, other = card(2, third=77), card(3, third=77)
    path, there = await plugged(vif, "one", nic), await plugged(vif, "two", other)
    with process_in(path) as pid:
        was = os.stat(path).st_ino
        lose_name(path)
        assert "one" not in await vif.sandboxes()
        await plugged(vif, "three")
        assert await vif.make_sandbox("one", pid) == path
        assert os.stat(path).st_ino == was
        await vif.plug("one", nic)
        assert pings(there, "10.211.77.2")
        assert pings(path, "10.211.77.3")


async def test_only_a_namespace_of_its_own_is_taken_from_a_process(vif: NativeVif) -> None:
    path = await vif.make_sandbox("one")
    with process_in(path) as pid:
        for one in (pid, os.getpid()):
            with pytest.raises(Conflict):
                await vif.make_sandbox("two", one)
    with pytest.raises(NotFound):
        await vif.make_sandbox("two", pid)
    assert set(await vif.sandboxes()) == {"one"}


async def test_a_card_comes_along_to_another_namespace_of_its_sandbox(vif: NativeVif) -> None:
    nic, other = card(2, third=77), card(3, third=77)
    path, there = await plugged(vif, "one", nic), await plugged(vif, "two", other)
    with process_in(path):  # which keeps the namespace with the card in it
        lose_name(path)
        assert await plugged(vif, "one", nic) == path
        assert pings(path, "10.211.77.3")
        assert pings(there, "10.211.77.2")


async def test_of_a_name_that_was_lost_nothing_stays(tmp_path: Path) -> None:
    vif = NativeVif(instance_name(), tmp_path / "n", pool_size=2, linger=0.1)
    await vif.open()
    lose_name(await vif.make_sandbox("one"))
    await vif.make_sandbox("one")
    await emptied(vif)
    assert not (tmp_path / "n").exists()
