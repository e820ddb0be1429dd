"""What all contract tests share: every adapter of the store passes the same tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from krater.store.interfaces import Store
from krater.store.sql import SqlStore
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
