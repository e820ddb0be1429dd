"""One real Krater for all tests that only use it; those that hurt it start their own."""

import signal
from collections.abc import Iterator

import pytest

from tests.support.server import Server, serving

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells have it for what they run behind the scenes
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the commands under test must be interruptible


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """A running Krater with a `busybox` image. Tests leave no containers in it."""
    with serving("identity.cache_time=2") as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The shared Krater; whatever containers a test leaves are removed after it."""
    yield shared_server
    client = shared_server.client()
    for container in client.containers.list():
        client.containers.delete(container["uuid"], force=True)
