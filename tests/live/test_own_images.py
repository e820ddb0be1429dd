"""Images that projects make of their containers, with the real engine."""

import json
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from krater.client import Client, InvalidRequest, NotFound
from tests.live.test_pulls import stored
from tests.support.containers import ends_up, remove, remove_all, running, shown
from tests.support.debian_registry import DebianRegistry, debian_registry
from tests.support.images import busybox_layer, configuration, oci_members
from tests.support.server import BIN, Server, eventually, serving

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def registry() -> Iterator[DebianRegistry]:
    with debian_registry(socket.gethostname()) as running_one:
        yield running_one


def known(registry: DebianRegistry) -> tuple[str, ...]:
    """The settings of a Krater that may ask it."""
    return (
        f"agent.plain_http_registries={registry.domain}",
        f"registries.reachable=127.0.0.0/8,{registry.domain}",
    )


@pytest.fixture(scope="module")
def own(registry: DebianRegistry) -> Iterator[Server]:
    with serving(*known(registry), "agent.pull_patience=1") as server:
        yield server


@pytest.fixture(autouse=True)
def empty(own: Server) -> Iterator[None]:
    """Every test leaves nothing."""
    before = stored(own)
    yield
    remove_all(own)
    client = own.client()
    for image in client.own_images.list():
        client.own_images.delete(image["uuid"])
    for known in client.images.list():
        if known["repo"] != "busybox":
            client.images.delete(known["uuid"])
    eventually(lambda: stored(own) == before, within=60, what="the image store as it was before")


def run_to_end(server: Server, image: str, *command: str) -> str:
    """What a container of this image says."""
    client = server.client()
    uuid = client.containers.run(image=image, command=list(command), cpu=0.1, memory=32)["uuid"]
    client.containers.wait(uuid, "over", timeout=60)
    said, ended = client.containers.logs(uuid), shown(server, uuid)
    assert ended["status"] == "Stopped", f"{ended['status']}: {ended['status_reason']}, having said {said!r}"
    remove(server, uuid)
    return said


def committed(server: Server, container: str, name: str) -> str:
    """A new image that is there."""
    client = server.client()
    uuid = client.containers.commit(container, name)
    image = client.own_images.wait(uuid, timeout=60)
    assert image["status"] == "active"
    return uuid


def test_what_a_container_wrote_and_deleted_is_so_in_its_image(own: Server) -> None:
    first = running(own, command=["sh", "-c", "mkdir /d; echo a > /d/a; echo b > /d/b; sleep 1000"])
    eventually(lambda: "b" in str(own.client().containers.execute(first, "cat /d/b")["output"]), what="written")
    committed(own, first, "one")
    second = running(
        own, image="one", command=["sh", "-c", "rm -r /d; mkdir /d; echo c > /d/c; rm /etc/group; sleep 99"]
    )
    eventually(lambda: own.client().containers.execute(second, "test -e /d/c -a ! -e /etc/group")["exit_code"] == 0)
    committed(own, second, "two:1")
    assert run_to_end(own, "one", "ls", "/d") == "a\nb\n"
    assert run_to_end(own, "two:1", "ls", "/d") == "c\n"
    assert "No such file" in run_to_end(own, "two:1", "cat", "/etc/group")


def test_the_image_runs_as_its_container_did(own: Server) -> None:
    first = running(
        own, command=["sh", "-c", "echo $NAME from $PWD; sleep 1000"], environment={"NAME": "ann"}, workdir="/tmp"
    )
    committed(own, first, "same")
    remove(own, first)
    again = own.client().containers.run(image="same", cpu=0.1, memory=32)["uuid"]
    ends_up(own, again, "Running")
    eventually(lambda: own.client().containers.logs(again) == "ann from /tmp\n", what="the same words")
    assert shown(own, again)["image_driver"] == "glance"


@pytest.mark.parametrize("state", ["Stopped", "Paused"])
def test_a_container_that_does_not_run_can_be_committed_and_stays_as_it_is(own: Server, state: str) -> None:
    client, first = own.client(), running(own, command=["sh", "-c", "echo hello > /testfile; sleep 1000"])
    eventually(lambda: client.containers.execute(first, "test -s /testfile")["exit_code"] == 0, what="written")
    client.containers.stop(first, timeout=0) if state == "Stopped" else client.containers.pause(first)
    ends_up(own, first, state)
    committed(own, first, "still")
    assert shown(own, first)["status"] == state
    assert run_to_end(own, "still", "cat", "/testfile") == "hello\n"
    [action] = [a for a in client.containers.actions(first) if a["action"] == "commit"]
    assert (action["message"], action["finish_time"] is not None) == (None, True)


def other_project(server: Server) -> Client:
    """A user of another project."""
    words = [str(BIN / "krater"), "account", "add", "bob", "--project", "cellar", *server.options]
    subprocess.run(words, input="secret-of-bob\n", text=True, check=True, capture_output=True)
    return Client(server.url, "bob", "secret-of-bob")


def test_nobody_else_can_run_see_export_push_or_delete_it(own: Server) -> None:
    uuid = committed(own, running(own), "mine")
    bob, node_name = other_project(own), ""
    for image in ("mine", uuid):
        for ask in (bob.own_images.show, bob.own_images.delete, lambda i: list(bob.own_images.archive(i))):
            with pytest.raises(NotFound):
                ask(image)
        with pytest.raises(NotFound):
            bob.own_images.push(image, "registry.example/stolen")
        with pytest.raises(InvalidRequest):
            bob.containers.run(image=image, image_driver="glance")
    assert bob.own_images.list() == []
    assert bob.images.search("mine", driver="glance") == []
    [node_name] = [name for name in stored(own)["images"] if name.startswith("krater.local/")]
    for name in (node_name, node_name.removesuffix(":latest")):
        with pytest.raises(InvalidRequest, match="no registry"):
            bob.containers.run(image=name)
        with pytest.raises(InvalidRequest, match="no registry"):
            own.client().images.pull(name, own.client().hosts.list()[0]["hostname"])
    assert uuid not in str(own.client().images.list())
    assert run_to_end(own, "mine", "echo", "well") == "well\n"


def test_an_image_is_forgotten_and_what_runs_of_it_runs_on(own: Server) -> None:
    uuid = committed(own, running(own), "brief")
    made_of_it = own.client().containers.run(image="brief", cpu=0.1, memory=32)["uuid"]
    ends_up(own, made_of_it, "Running")
    own.client().own_images.delete("brief")
    eventually(lambda: not any("krater.local" in name for name in stored(own)["images"]), what="the node forgetting it")
    assert shown(own, made_of_it)["status"] == "Running"
    with pytest.raises(NotFound):
        own.client().own_images.show(uuid)


def write_much(server: Server, container: str, mebibytes: int) -> None:
    """Something that takes a while to commit."""
    command = f"dd if=/dev/urandom of=/big bs=1M count={mebibytes}"
    assert server.client().containers.execute(container, command)["exit_code"] == 0


def test_a_kill_in_the_middle_of_a_commit_leaves_nothing_but_the_image(own: Server) -> None:
    client, first = own.client(), running(own)
    write_much(own, first, 64)
    uuid = client.containers.commit(first, "cut")
    eventually(lambda: any(is_frozen(path) for path in groups(own, first)), what="the container being held still")
    own.kill()
    own.start()
    client = own.client()
    assert client.own_images.wait(uuid, timeout=60)["status"] == "active"
    eventually(lambda: not any(is_frozen(path) for path in groups(own, first)), what="the container going on")
    assert ends_up(own, first, "Running")["status"] == "Running"
    assert client.containers.execute(first, "echo on")["output"] == "on\n"
    assert run_to_end(own, "cut", "ls", "/big") == "/big\n"
    assert ctr_leases(own) == []


def groups(server: Server, container: str) -> list[Path]:
    """Where the kernel says whether its processes wait."""
    found = [*Path("/sys/fs/cgroup").glob(f"*/{server.instance}/{container}/freezer.state")]
    return [*found, *Path("/sys/fs/cgroup").glob(f"{server.instance}/{container}/cgroup.freeze")]


def is_frozen(path: Path) -> bool:
    return path.read_text().strip() in ("FROZEN", "FREEZING", "1")


def ctr_leases(server: Server) -> list[str]:
    return [name for name in stored(server)["leases"] if "krater" in name]


def test_a_stop_does_not_wait_for_a_commit(own: Server) -> None:
    client, first = own.client(), running(own)
    write_much(own, first, 64)
    uuid = client.containers.commit(first, "late")
    eventually(lambda: any(is_frozen(path) for path in groups(own, first)), what="the container being held still")
    client.containers.stop(first, timeout=0)
    ends_up(own, first, "Stopped", within=10)
    assert client.own_images.wait(uuid, timeout=60)["status"] == "active"


def test_a_container_removed_meanwhile_leaves_no_image(own: Server) -> None:
    client, first = own.client(), running(own)
    write_much(own, first, 64)
    uuid = client.containers.commit(first, "gone")
    eventually(lambda: any(is_frozen(path) for path in groups(own, first)), what="the container being held still")
    client.containers.delete(first, force=True)
    with pytest.raises(NotFound):
        client.own_images.wait(uuid, timeout=60)
    [action] = [a for a in client.containers.actions(first) if a["action"] == "commit"]
    assert "no container" in str(action["message"])


def test_an_image_deleted_while_it_is_made_is_not_made(own: Server) -> None:
    client, first = own.client(), running(own)
    write_much(own, first, 64)
    uuid = client.containers.commit(first, "never")
    eventually(lambda: any(is_frozen(path) for path in groups(own, first)), what="the container being held still")
    client.own_images.delete(uuid)
    eventually(lambda: not any(is_frozen(path) for path in groups(own, first)), what="the container going on")
    assert client.own_images.list() == []
    assert shown(own, first)["status"] == "Running"


def test_a_sparse_file_of_any_length_is_refused(own: Server) -> None:
    client, first = own.client(), running(own)
    assert client.containers.execute(first, "truncate -s 20G /huge")["exit_code"] == 0
    uuid = client.containers.commit(first, "huge")
    with pytest.raises(NotFound):
        client.own_images.wait(uuid, timeout=60)
    [action] = [a for a in client.containers.actions(first) if a["action"] == "commit"]
    assert "more than an image can take" in str(action["message"])
    assert shown(own, first)["status"] == "Running"


def test_saved_imported_and_run(own: Server, tmp_path: Path) -> None:
    first = running(own, command=["sh", "-c", "echo saved > /testfile; sleep 1000"])
    eventually(lambda: own.client().containers.execute(first, "test -s /testfile")["exit_code"] == 0, what="written")
    own.krater("commit", first, "team/app:2")
    archive = tmp_path / "app.tar"
    own.krater("save", "team/app:2", "-o", str(archive))
    with tarfile.open(archive) as members:
        names = members.getnames()
        [entry] = json.load(members.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert entry["RepoTags"] == ["team/app:2"]
    assert {entry["Config"], *entry["Layers"]} <= set(names)
    with serving() as elsewhere:
        elsewhere.operator("node", "import", str(archive), *elsewhere.options)
        assert run_to_end(elsewhere, "team/app:2", "cat", "/testfile") == "saved\n"


def test_pushed_pulled_and_run(own: Server, registry: DebianRegistry) -> None:
    first = running(own, command=["sh", "-c", "echo pushed > /testfile; sleep 1000"])
    eventually(lambda: own.client().containers.execute(first, "test -s /testfile")["exit_code"] == 0, what="written")
    committed(own, first, "app")
    name = f"{registry.domain}/team/pushed:3"
    for _ in range(2):  # the second time there is next to nothing to send
        assert "sha256:" in own.krater("push", "app", name).stdout
    own.krater("pull", name)
    own.krater("pull", name)  # what is there already is no failure
    assert run_to_end(own, name, "cat", "/testfile") == "pushed\n"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("127.0.0.1:1/app", "does not answer"),
        ("169.254.169.254/app", "is inside the operator's network"),
        ("[::1]:5000/app", "is inside the operator's network"),
        ("no-such-host.invalid/app", "has no address"),
    ],
)
def test_pushes_that_lead_nowhere(own: Server, reference: str, words: str) -> None:
    committed(own, running(own), "app")
    refused = own.krater("push", "app", reference, check=False)
    assert refused.returncode == 1
    assert words in refused.stderr


def test_stats_of_a_busy_container_are_those_of_the_kernel(own: Server) -> None:
    busy = running(own, command=["sh", "-c", "while :; do :; done"], cpu=1.0, memory="64")
    idle = running(own, command=["sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=20; sleep 1000"], memory="64")
    client = own.client()
    assert eventually(lambda: client.containers.stats(busy)["CPU %"] > 20, what="the loop being seen")
    assert client.containers.stats(busy)["CPU %"] < 130
    eventually(lambda: 19 < client.containers.stats(idle)["MEM USAGE(MiB)"] < 40, what="the memory being seen")
    seen = client.containers.stats(idle)
    assert seen["MEM LIMIT(MiB)"] == 64
    assert list(seen) == [
        "CONTAINER", "CPU %", "MEM USAGE(MiB)", "MEM LIMIT(MiB)", "MEM %", "BLOCK I/O(B)", "NET I/O(B)",
    ]  # fmt: skip
    table = own.krater("stats", "--no-stream").stdout
    assert len(table.splitlines()) == 3
    assert len(json.loads(own.krater("stats", "--format", "json", busy).stdout)) == 1
    assert "while :" in own.krater("top", busy, "-o", "pid,args").stdout


def test_a_full_disk_costs_what_nobody_uses_or_asked_for(registry: DebianRegistry, tmp_path: Path) -> None:
    layers = [busybox_layer()]
    names = {}
    for name in ("unused", "used", "wanted"):
        registry.push(f"gc/{name}", "1", oci_members(name, layers, configuration(layers, Cmd=["sleep", "1000"])))
        names[name] = f"{registry.domain}/gc/{name}:1"
    marks = ("agent.images_high=0", "agent.images_low=0", "agent.images_age=0", "agent.images_look=1")
    with serving(*known(registry), *marks) as full:
        client = full.client()
        full.krater("pull", names["wanted"])
        running(full, image=names["used"], command=["sleep", "1000"])
        assert run_to_end(full, names["unused"], "echo", "x") == "x\n"  # which removes its container
        committed(full, running(full), "mine")
        eventually(lambda: names["unused"] not in stored(full)["images"], within=90, what="the unused image going")
        left = stored(full)["images"]
        assert {names["used"], names["wanted"], "docker.io/library/busybox:latest"} <= set(left)
        assert any(name.startswith("krater.local/") for name in left)
        remove(full, *[container["uuid"] for container in client.containers.list()])
        eventually(lambda: names["used"] not in stored(full)["images"], within=90, what="the other one going, too")
        assert {names["wanted"], "docker.io/library/busybox:latest"} <= set(stored(full)["images"])
