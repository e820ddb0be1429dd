"""A node with the real engine for each test that asks for one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from krater.agent.runtimes.oci.runtime import OciRuntime
from tests.support.oci import OciNode, busybox_node


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OciNode]:
    """A node of its own that has a `busybox` image."""
    async with busybox_node(tmp_path) as made:
        yield made


@pytest.fixture
async def engine(node: OciNode) -> OciRuntime:
    """The first engine on it."""
    return await node.engine()
