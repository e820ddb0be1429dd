"""Stored secrets and the keys they are encrypted with."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from krater.cloud.local import rekeying
from krater.cloud.local.rekeying import rotate
from krater.cloud.local.vault import LocalVault
from krater.errors import Invalid, Permanent
from krater.store.sql import SqlStore
from tests.contracts.test_store_registries import registry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret.keys"


def keys_in(path: Path) -> list[str]:
    return path.read_text().split()


async def filled(path: Path, count: int = 5) -> SqlStore:
    """A store with some registries, whose passwords are their ids."""
    store, vault = await SqlStore.open(f"sqlite:///{path.parent}/krater.sqlite"), LocalVault(path)
    for number in range(count):
        id = f"r{number}"
        sealed = vault.seal(id, f"word-{id}")
        await store.write(lambda tx, id=id, sealed=sealed: tx.registries.add(registry(id, sealed=sealed)))  # type: ignore[misc]
    return store


async def passwords(store: SqlStore, path: Path) -> dict[str, str]:
    vault = LocalVault(path)
    rows = await store.read(lambda tx: tx.registries.sealed(0, 1000))
    return {id: vault.open(id, text) for _, id, text in rows}


def test_the_key_is_made_once_for_its_owner_only(path: Path) -> None:
    sealed = LocalVault(path).seal("r1", "word")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert LocalVault(path).open("r1", sealed) == "word"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_secret_opens_for_its_own_thing_only_and_not_when_changed(path: Path) -> None:
    vault = LocalVault(path)
    sealed = vault.seal("r1", "word")
    assert vault.seal("r1", "word") != sealed
    for owner, text in (("r2", sealed), ("r1", sealed[:-4] + "AAA="), ("r1", ""), ("r1", "ü")):
        with pytest.raises(Permanent, match="cannot be read"):
            vault.open(owner, text)


def test_without_its_key_nothing_opens(path: Path) -> None:
    sealed = LocalVault(path).seal("r1", "word")
    path.unlink()
    with pytest.raises(Permanent, match="cannot be read"):
        LocalVault(path).open("r1", sealed)


def test_a_file_that_holds_no_keys_is_refused(path: Path) -> None:
    path.write_text("not a key\n")
    with pytest.raises(Invalid, match="keys"):
        LocalVault(path)


async def test_a_change_of_keys_leaves_all_secrets_readable(path: Path) -> None:
    store = await filled(path)
    serving = LocalVault(path)
    [old] = keys_in(path)
    sealed_before = serving.seal("late", "straggler")
    assert await rotate(store, LocalVault(path)) == 5
    assert keys_in(path)[1] == old
    assert await passwords(store, path) == {f"r{n}": f"word-r{n}" for n in range(5)}
    assert serving.open("late", sealed_before) == "straggler", "what was sealed meanwhile is not lost"
    await rotate(store, LocalVault(path))
    assert old not in keys_in(path), "the second time, a key is gone for good"
    with pytest.raises(Permanent):
        serving.open("late", sealed_before)
    assert await passwords(store, path) == {f"r{n}": f"word-r{n}" for n in range(5)}
    await store.close()


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """A store whose process ends before or after a chosen write."""

    def __init__(self, store: SqlStore, before: int, after: int) -> None:
        self._store, self._before, self._after, self._writes = store, before, after, 0

    async def write(self, fn: Callable[[Any], Any]) -> Any:
        self._writes += 1
        if self._writes == self._before:
            raise Killed
        result = await self._store.write(fn)
        if self._writes == self._after:
            raise Killed
        return result

    async def read(self, fn: Callable[[Any], Any]) -> Any:
        return await self._store.read(fn)

    async def close(self) -> None:
        await self._store.close()


@pytest.mark.parametrize(("before", "after"), [(n, 0) for n in range(1, 6)] + [(0, n) for n in range(1, 6)])
async def test_a_change_that_was_killed_is_carried_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    monkeypatch.setattr(rekeying, "_AT_ONCE", 1)
    store = await filled(path, 4)
    await rotate(store, LocalVault(path))  # so that there is a key before, too
    with pytest.raises(Killed):
        await rotate(Mortal(store, before, after), LocalVault(path))
    everything = {f"r{n}": f"word-r{n}" for n in range(4)}
    assert await passwords(store, path) == everything
    keys = keys_in(path)
    assert len(keys) == 3
    await rotate(store, LocalVault(path))
    assert keys_in(path) == keys[:2], "no further key is made for it"
    assert await passwords(store, path) == everything
    await store.close()


_ROTATE = """
import asyncio, sys
from pathlib import Path
from krater.cloud.local import rekeying
from krater.cloud.local.vault import LocalVault
from krater.store.sql import SqlStore

async def main():
    rekeying._AT_ONCE = 1
    path = Path(sys.argv[1])
    store = await SqlStore.open(f"sqlite:///{path.parent}/krater.sqlite")
    print("begun", flush=True)
    while True:
        await rekeying.rotate(store, LocalVault(path))

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [0.0, 0.05, 0.2])
async def test_kill_9_in_the_middle_loses_nothing(path: Path, after: float) -> None:
    store = await filled(path, 20)
    child = subprocess.Popen([sys.executable, "-c", _ROTATE, str(path)], stdout=subprocess.PIPE)  # noqa: ASYNC220
    assert child.stdout is not None
    child.stdout.readline()
    await asyncio.sleep(after)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert keys_in(path)
    everything = {f"r{n}": f"word-r{n}" for n in range(20)}
    assert await passwords(store, path) == everything
    await rotate(store, LocalVault(path))
    assert await passwords(store, path) == everything
    await store.close()
