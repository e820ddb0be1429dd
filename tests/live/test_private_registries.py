"""A registry with TLS, a certificate of its operator's own, and a password: the real one of Debian."""

import hashlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from krater.client import Client, InvalidRequest, NotFound
from krater.client.answers import Container
from tests.support.asking import with_account
from tests.support.authority import Certificate, certificate_for
from tests.support.containers import remove_all
from tests.support.debian_registry import DebianRegistry, debian_registry
from tests.support.images import busybox_layer, configuration, oci_members, small_layer
from tests.support.server import BIN, Server, eventually, serving

pytestmark = pytest.mark.live

ACCOUNT = ("puller", "open-sesame-471")
HERE = socket.gethostname()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Of an authority that no system trusts."""
    return certificate_for(tmp_path_factory.mktemp("authority"), HERE, "127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def registry(certificate: Certificate) -> Iterator[DebianRegistry]:
    """One that asks for a password, with the tests' image."""
    with debian_registry(HERE, certificate, ACCOUNT) as made:
        layers = [busybox_layer()]
        for tag in ("latest", "second"):
            image = configuration(layers, Cmd=["echo", "private words"], Labels={"tag": tag})
            made.push("team/secret", tag, oci_members("secret", layers, image))
        yield made


@pytest.fixture(scope="module")
def own(registry: DebianRegistry, certificate: Certificate) -> Iterator[Server]:
    """A Krater that trusts the authority, and two projects in it."""
    reachable = f"registries.reachable=127.0.0.0/8,{registry.domain}"
    with serving(reachable, f"registries.ca_file={certificate.authority}", "agent.pull_patience=1") as server:
        yield server


@pytest.fixture(scope="module")
def stranger(own: Server) -> Client:
    """Somebody of another project."""
    user = with_account(own, "stranger")
    return Client(own.url, user.name, user.password)


@pytest.fixture(autouse=True)
def empty(own: Server, stranger: Client) -> Iterator[None]:
    """Every test leaves nothing."""
    yield
    for container in stranger.containers.list():
        stranger.containers.delete(container["uuid"], stop=True)
    eventually(lambda: not stranger.containers.list(), what="the stranger's containers gone")
    remove_all(own)
    for image in own.client().own_images.list():
        own.client().own_images.delete(image["uuid"])
    for entry in own.client().registries.list():
        own.client().registries.delete(entry["uuid"])
    for entry in stranger.registries.list():
        stranger.registries.delete(entry["uuid"])


def outcome(client: Client, **wanted: str) -> Container:
    """A container that was asked for, once it is known what becomes of it."""
    made = client.containers.create(command=["echo", "private words"], **wanted)  # type: ignore[arg-type]
    eventually(lambda: _known(client, made["uuid"]), what="the container made or refused")
    return client.containers.show(made["uuid"])


def _known(client: Client, uuid: str) -> bool:
    return client.containers.show(uuid)["status"] in ("Created", "Error", "Stopped")


def create(own: Server, registry: DebianRegistry, password: str, name: str = "mine") -> None:
    words = [str(BIN / "krater"), "registry", "create", registry.domain, "--name", name, "--username", ACCOUNT[0]]
    done = subprocess.run(words, input=f"{password}\n", text=True, env=own.environment, capture_output=True, check=True)
    assert done.stdout == f"{name}  {registry.domain}\n"


def test_the_right_password_runs_it(own: Server, registry: DebianRegistry) -> None:
    create(own, registry, ACCOUNT[1])
    shown = own.krater("registry", "ls").stdout
    assert registry.domain in shown
    assert ACCOUNT[1] not in shown + own.krater("registry", "show", "mine", "--format", "json").stdout
    assert own.krater("run", "--rm", "--registry", "mine", "team/secret").stdout == "private words\n"
    full = f"{registry.domain}/team/secret:second"
    assert own.krater("run", "--rm", "--registry", "mine", full).stdout == "private words\n"
    assert own.krater("run", "--rm", "--registry", "mine", "--pull", "always", full).stdout == "private words\n"


def test_wrong_and_no_passwords_are_told_apart_plainly(own: Server, registry: DebianRegistry) -> None:
    full = f"{registry.domain}/team/secret:second"
    without = outcome(own.client(), image=full, image_pull_policy="always")
    assert (without["status"], without["status_reason"]) == (
        "Error", f"the registry does not give out '{full}': log in, or check the name"
    )  # fmt: skip
    create(own, registry, "wrong-password")
    wrong = outcome(own.client(), image="team/secret:second", registry="mine", image_pull_policy="always")
    assert wrong["status"] == "Error"
    assert wrong["status_reason"] == (
        f"the registry does not give out '{full}': it does not accept the login, or has no such image"
    )
    changed = ["krater", "registry", "update", "mine", "--password"]
    subprocess.run(
        [str(BIN / changed[0]), *changed[1:]], input=f"{ACCOUNT[1]}\n", text=True, env=own.environment, check=True
    )
    right = outcome(own.client(), image="team/secret:second", registry="mine", image_pull_policy="always")
    assert right["status"] == "Created"


def test_another_project_cannot_run_what_is_on_the_node(
    own: Server, registry: DebianRegistry, stranger: Client
) -> None:
    create(own, registry, ACCOUNT[1])
    mine = outcome(own.client(), image="team/secret", registry="mine")
    assert mine["status"] == "Created"
    digest = next(i["image_id"] for i in own.client().images.list() if i["repo"].endswith("team/secret"))
    for image in (f"{registry.domain}/team/secret", f"{registry.domain}/team/secret@{digest}"):
        theirs = outcome(stranger, image=image)
        assert theirs["status"] == "Error", image
        assert "does not give out" in (theirs["status_reason"] or "")
    # the whole Krater killed and started again: nothing is forgotten
    own.kill()
    own.start()
    theirs = outcome(stranger, image=f"{registry.domain}/team/secret")
    assert "does not give out" in (theirs["status_reason"] or "")
    stranger.registries.create(registry.domain, name="theirs", username=ACCOUNT[0], password=ACCOUNT[1])
    assert outcome(stranger, image="team/secret", registry="theirs")["status"] == "Created"
    assert outcome(stranger, image=f"{registry.domain}/team/secret")["status"] == "Created", "they have shown it now"


def test_a_commit_of_a_private_image_is_its_projects_and_pushed_with_its_login(
    own: Server, registry: DebianRegistry, stranger: Client
) -> None:
    create(own, registry, ACCOUNT[1])
    client, words = own.client(), ["sh", "-c", "echo mine > /testfile; sleep 1000"]
    made = client.containers.run(image="team/secret:second", registry="mine", command=words, cpu=0.1, memory=32)
    first = made["uuid"]
    eventually(lambda: _wrote(client, first), what="the private image running")
    uuid = client.containers.commit(first, "team/made:1")
    assert client.own_images.wait(uuid, timeout=60)["status"] == "active"
    assert own.krater("run", "--rm", "team/made:1", "cat", "/testfile").stdout == "mine\n"
    # nobody else, by whatever name
    stranger.registries.create(registry.domain, name="without")
    for image, more in (
        ("team/secret:second", {"registry": "without"}),
        (f"{registry.domain}/team/secret:second", {}),
    ):
        theirs = outcome(stranger, image=image, **more)
        assert (theirs["status"], "does not give out" in (theirs["status_reason"] or "")) == ("Error", True)
    for name in ("team/made:1", uuid):
        with pytest.raises(InvalidRequest, match="could not be found"):
            stranger.containers.create(image=name, image_driver="glance")
        with pytest.raises(NotFound):
            stranger.own_images.push(name, "team/made", registry="without")
    project = client.own_images.show(uuid)["project_id"]
    with pytest.raises(InvalidRequest, match="no registry"):
        stranger.containers.create(image=f"krater.local/{project}/{uuid}:latest")
    with pytest.raises(InvalidRequest, match="domain"):
        stranger.registries.create("krater.local", name="trick")
    # back to the registry, which lets nobody in without the login
    refused = own.krater("push", "team/made:1", f"{registry.domain}/team/made:1", check=False)
    assert (refused.returncode, "log" in refused.stderr) == (1, True)
    assert "sha256:" in own.krater("push", "team/made:1", "team/made:1", "--registry", "mine").stdout
    client.containers.delete(first, stop=True)
    client.own_images.delete(uuid)
    again = own.krater("run", "--rm", "--registry", "mine", "--pull", "always", "team/made:1", "cat", "/testfile")
    assert again.stdout == "mine\n"
    pushed = outcome(stranger, image=f"{registry.domain}/team/made:1")
    assert (pushed["status"], "does not give out" in (pushed["status_reason"] or "")) == ("Error", True)


def _wrote(client: Client, container: str) -> bool:
    if client.containers.show(container)["status"] != "Running":
        return False
    return client.containers.execute(container, "test -s /testfile")["exit_code"] == 0


def test_a_registry_in_use_is_kept(own: Server, registry: DebianRegistry) -> None:
    create(own, registry, ACCOUNT[1])
    made = outcome(own.client(), image="team/secret", registry="mine")
    refused = own.krater("registry", "rm", "mine", check=False)
    assert refused.returncode == 1
    assert "used by a container" in refused.stderr
    own.client().containers.delete(made["uuid"])
    eventually(lambda: not own.client().containers.list(), what="the container gone")
    assert own.krater("registry", "rm", "mine").stdout == "mine\n"


def test_keys_are_changed_while_krater_runs(own: Server, registry: DebianRegistry) -> None:
    create(own, registry, ACCOUNT[1])
    for _ in range(3):
        assert own.operator("keys", "rotate", *own.options) == "1 password is encrypted with a new key.\n"
    found = outcome(own.client(), image="team/secret", registry="mine", image_pull_policy="always")
    assert found["status"] == "Created"


def test_the_password_is_in_no_log_file_or_process_list(own: Server, registry: DebianRegistry) -> None:
    create(own, registry, ACCOUNT[1])
    found = outcome(own.client(), image="team/secret", registry="mine", image_pull_policy="always")
    assert found["status"] == "Created"
    secret = ACCOUNT[1].encode()
    for file in Path(own.directory).rglob("*"):
        if file.is_file() and not {"root", "rootfs", "run"} & set(file.parts):  # layers, mounts, namespaces
            assert secret not in file.read_bytes(), file
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        assert secret not in said, process


def test_a_certificate_that_nobody_vouches_for(registry: DebianRegistry) -> None:
    with serving(f"registries.reachable={registry.domain}", "agent.pull_patience=1") as wary:
        found = outcome(wary.client(), image=f"{registry.domain}/team/secret")
        assert found["status"] == "Error"
        assert "does not trust" in (found["status_reason"] or "")


def test_a_certificate_for_one_registry_and_the_operators_own_login(
    registry: DebianRegistry, certificate: Certificate, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted" / registry.domain
    trusted.mkdir(parents=True)
    (trusted / "ca.crt").write_bytes(certificate.authority.read_bytes())
    password = tmp_path / "password"
    password.write_text(f"{ACCOUNT[1]}\n")
    settings = (
        f"registries.reachable={registry.domain}",
        f"registries.certificates={trusted.parent}",
        f"registries.default={registry.domain}",
        f"registries.default_username={ACCOUNT[0]}",
        f"registries.default_password_file={password}",
    )
    server = Server(*settings)
    try:
        server.start()
        user = with_account(server, "anybody")
        assert outcome(Client(server.url, user.name, user.password), image="team/secret")["status"] == "Created"
        assert server.krater("pull", "team/secret:second").returncode == 0
    finally:
        server.clear()


def test_large_layers_come_whole(own: Server) -> None:
    """Through the gate, and a registry on the loopback address beside."""
    content = os.urandom(64 << 20)
    layers = [busybox_layer(), small_layer({"big": (0o644, content)})]
    with debian_registry() as plain:
        name = plain.push("big", "1", oci_members("big", layers, configuration(layers)))
        told = own.krater("run", "--rm", name, "sha256sum", "/big").stdout
        assert told.split()[0] == hashlib.sha256(content).hexdigest()
        own.krater("rmi", name)
