"""Which node is told which login."""

from dataclasses import replace
from pathlib import Path

import pytest

from krater.bus.messages import AskLogin, Pull
from krater.cloud.local.vault import LocalVault
from krater.config import RegistrySettings
from krater.controller.assignments import assignment
from krater.controller.endpoint import Endpoint
from krater.controller.logins import Logins
from krater.controller.nodes import Nodes
from krater.errors import NotFound, Permanent
from krater.model.registry import Login
from krater.store.sql import SqlStore
from tests.contracts.test_store_registries import registry
from tests.support.control import SilentBus
from tests.support.stores import Clock, placed, spec, workload

pytestmark = pytest.mark.thorough


async def one(store: SqlStore, vault: LocalVault, image: str = "app", *, project: str = "p-ann") -> None:
    """A workload w1 on node n1, of an image from registry r1."""
    wanted = spec(image=image)
    wanted = replace(wanted, containers=(replace(wanted.containers[0], registry="r1"),))
    sealed = vault.seal("r1", "word")
    await store.write(lambda tx: tx.registries.add(registry("r1", domain="a.example:5000", sealed=sealed)))
    await store.write(lambda tx: tx.workloads.add(workload("w1", project=project, spec=wanted)))
    await store.write(lambda tx: tx.workloads.place("w1", placed()))


@pytest.fixture
def vault(tmp_path: Path) -> LocalVault:
    return LocalVault(tmp_path / "secret.keys")


async def opened(tmp_path: Path) -> SqlStore:
    return await SqlStore.open(f"sqlite:///{tmp_path}/krater.sqlite")


async def test_only_the_node_that_has_the_container_is_told(tmp_path: Path, vault: LocalVault) -> None:
    store = await opened(tmp_path)
    await one(store, vault)
    logins = Logins(store, vault, RegistrySettings())
    node = placed().node or ""
    told = await logins.ask(AskLogin(node, "w1", "w1", "a.example:5000/app"))
    assert told == Login("a.example:5000", "me", "word")
    for question in (
        AskLogin("other", "w1", "w1", "x"),
        AskLogin(node, "w1", "w2", "x"),
        AskLogin(node, "w2", "w2", "x"),
    ):
        with pytest.raises(NotFound):
            await logins.ask(question)
    assert await logins.ask(AskLogin(node, None, "", "a.example:5000/app")) is None
    await store.close()


async def test_assignments_hold_full_names_and_no_passwords(tmp_path: Path, vault: LocalVault) -> None:
    store = await opened(tmp_path)
    await one(store, vault)
    clock = Clock()
    endpoint = Endpoint(store, SilentBus(), Nodes(store, 60, clock, lambda _: None), clock, lambda _: None)
    answer = await endpoint.pull(Pull(placed().node or ""))
    [given] = answer.assignments
    assert given.containers[0].image == "a.example:5000/app:latest"
    assert "word" not in repr(answer)
    assert "sealed" not in repr(answer)
    await store.close()


async def test_a_registry_of_another_project_is_none(tmp_path: Path, vault: LocalVault) -> None:
    store = await opened(tmp_path)
    await one(store, vault, project="p-bob")
    with pytest.raises(Permanent, match="gone"):
        await Logins(store, vault, RegistrySettings()).ask(AskLogin(placed().node or "", "w1", "w1", "x"))
    await store.close()


async def test_the_operators_login_is_for_everybody_and_for_its_registry(tmp_path: Path, vault: LocalVault) -> None:
    store = await opened(tmp_path)
    file = tmp_path / "password"
    file.write_text("mirror-word\n")
    settings = RegistrySettings(default="mirror.example", default_username="krater", default_password_file=str(file))
    logins = Logins(store, vault, settings)
    await store.write(lambda tx: tx.workloads.add(workload("w1", spec=spec(image="busybox"))))
    await store.write(lambda tx: tx.workloads.add(workload("w2", spec=spec(image="quay.io/x/y"))))
    for id in ("w1", "w2"):
        await store.write(lambda tx, id=id: tx.workloads.place(id, placed()))  # type: ignore[misc]
    node = placed().node or ""
    expected = Login("mirror.example", "krater", "mirror-word", shared=True)
    assert await logins.ask(AskLogin(node, "w1", "w1", "mirror.example/busybox")) == expected
    assert await logins.ask(AskLogin(node, None, "", "mirror.example/busybox:latest")) == expected
    assert await logins.ask(AskLogin(node, "w2", "w2", "quay.io/x/y")) is None
    assert await logins.ask(AskLogin(node, None, "", "quay.io/x/y")) is None
    file.unlink()
    with pytest.raises(Permanent, match="cannot be read"):
        await logins.ask(AskLogin(node, "w1", "w1", "mirror.example/busybox"))
    await store.close()


def test_names_without_a_domain_are_of_the_default_registry() -> None:
    one = workload("w1", spec=spec(image="busybox"))
    assert assignment(one).containers[0].image == "busybox"
    assert assignment(one, (), {}, "mirror.example").containers[0].image == "mirror.example/busybox:latest"
