"""A world for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.api import World, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An API with one node that lives."""
    async with open_world(tmp_path) as opened:
        yield opened
