"""What all contract tests share: every adapter of the store passes the same tests."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from krater.agent.runtimes.interfaces import Engine
from krater.store.interfaces import Store
from krater.store.sql import SqlStore
from tests.support.consoles import Joined
from tests.support.engines import FakeNode, Node
from tests.support.oci import busybox_node
from tests.support.stores import Clock


@pytest.fixture
def clock() -> Clock:
    """The store's clock."""
    return Clock()


@pytest.fixture(params=["sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    opened = await SqlStore.open(f"{request.param}:///{tmp_path}/krater.sqlite", now=clock)
    yield opened
    await opened.close()


@pytest.fixture(params=["fake", pytest.param("oci", marks=pytest.mark.live)])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    """Where engines of each kind live, with a `busybox` image."""
    if request.param == "fake":
        yield FakeNode(tmp_path)
    else:
        async with busybox_node(tmp_path) as made:
            yield made


@pytest.fixture
async def engine(node: Node) -> Engine:
    """The first engine there."""
    return await node.engine()


@pytest.fixture
def console_directory() -> Iterator[str]:
    """A directory with a short name, for sockets."""
    made = tempfile.mkdtemp(prefix="kr-", dir="/tmp")
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def joined(console_directory: str) -> AsyncIterator[Joined]:
    """A gateway and a node."""
    async with Joined(console_directory).running() as made:
        yield made
