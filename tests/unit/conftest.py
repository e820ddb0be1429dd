"""What tests of the client, of its commands, and of probes begin with."""

from collections.abc import Iterator

import pytest

from tests.support.fake_api import FakeApi, fake_api
from tests.support.probes import Script, scripted
from tests.support.terminal import Terminal


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """An API that answers what it is told to."""
    with fake_api() as api:
        yield api


@pytest.fixture
def krater(api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The command line of a user of this API."""
    return Terminal(api.url, capsys, monkeypatch)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """What probes of members find, in virtual time."""
    return scripted(monkeypatch)
