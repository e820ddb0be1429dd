"""Images by the way of the API, from real registries, and archives that are none."""

import gzip
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import ends_up, made, remove, remove_all, running, shown
from tests.support.debian_registry import DebianRegistry, debian_registry
from tests.support.images import (
    busybox_archive,
    busybox_layer,
    configuration,
    docker_members,
    oci_members,
    small_layer,
    write_archive,
)
from tests.support.registry import serving_images
from tests.support.server import BIN, Server, eventually, run, serving

pytestmark = pytest.mark.live

TINY = small_layer({"tiny": (0o644, b"x")})


@pytest.fixture(scope="module")
def registry() -> Iterator[DebianRegistry]:
    """A registry with the tests' image, on an address that containerd would speak TLS to by itself."""
    with debian_registry(socket.gethostname()) as made:
        layers = [busybox_layer()]
        made.push("busybox", "latest", oci_members("busybox", layers, configuration(layers, Cmd=["echo", "pulled"])))
        yield made


@pytest.fixture(scope="module")
def own(registry: DebianRegistry) -> Iterator[Server]:
    """A Krater that knows this registry, and soon gives up on those that do not answer."""
    settings = (f"agent.plain_http_registries={registry.domain}", "agent.pull_patience=1")
    with serving(*settings) as server:
        yield server


@pytest.fixture(autouse=True)
def empty(own: Server) -> Iterator[None]:
    """Every test leaves nothing."""
    yield
    remove_all(own)


def ctr(server: Server, *words: str) -> list[str]:
    """What containerd itself says is there."""
    address = f"{server.directory}/engine/containerd/containerd.sock"
    done = subprocess.run(
        ["ctr", "--address", address, "--namespace", "k8s.io", *words, "-q"], capture_output=True, text=True, check=True
    )
    return sorted(done.stdout.split())


def stored(server: Server) -> dict[str, list[str]]:
    """All that is in the image store."""
    kinds = {"images": ("images", "ls"), "content": ("content", "ls"), "leases": ("leases", "ls")}
    return {kind: ctr(server, *words) for kind, words in kinds.items()}


def test_an_image_is_pulled_run_listed_and_removed(own: Server, registry: DebianRegistry) -> None:
    before = stored(own)
    name = f"{registry.domain}/busybox"
    uuid = own.krater("pull", name).stdout.strip()
    assert name in own.krater("images").stdout
    assert own.krater("run", "--rm", name).stdout == "pulled\n"
    assert own.krater("run", "--rm", "--pull", "always", name).stdout == "pulled\n"
    own.krater("rmi", name)
    eventually(lambda: uuid not in own.krater("images", "-q").stdout, what="the image removed")
    eventually(lambda: stored(own) == before, within=30, what="the image store as it was before")


def test_a_container_has_its_image_pulled(own: Server, registry: DebianRegistry) -> None:
    name = f"{registry.domain}/busybox"
    assert own.krater("run", "--rm", name).stdout == "pulled\n"
    refused = own.krater("run", "--rm", "--pull", "never", f"{registry.domain}/never", check=False)
    assert refused.returncode == 125
    assert "must not be pulled" in refused.stderr
    eventually(lambda: name in own.krater("images").stdout, within=3, what="the image listed")
    own.krater("rmi", name)


def test_a_registry_that_has_no_such_image(own: Server, registry: DebianRegistry) -> None:
    name = f"{registry.domain}/no/such:1"
    pulled = own.krater("pull", name, check=False)
    ran = own.krater("run", name, check=False)
    for refused, code in ((pulled, 1), (ran, 125)):
        assert refused.returncode == code
        assert f"the registry has no image '{name}'" in refused.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_registry_that_wants_a_login(own: Server) -> None:
    with serving_images(("somebody", "secret")) as closed:
        name = closed.put("team/box", "1", oci_members("box", [TINY], configuration([TINY])))
        for words, code in ((("pull", name), 1), (("run", name), 125)):
            refused = own.krater(*words, check=False)
            assert refused.returncode == code
            assert "log in" in refused.stderr


def test_a_registry_that_does_not_answer_or_speaks_no_tls(own: Server) -> None:
    with debian_registry(socket.gethostname()) as plain:
        reasons = {
            "127.0.0.1:1/box": "its registry does not answer",
            f"{plain.domain}/box": f"the registry of '{plain.domain}/box:latest' does not speak TLS",
        }
        for name, reason in reasons.items():
            pulled, ran = own.krater("pull", name, check=False), own.krater("run", name, check=False)
            assert (pulled.returncode, ran.returncode) == (1, 125)
            assert reason in pulled.stderr
            assert reason in ran.stderr


def test_a_failed_pull_can_be_asked_for_again(own: Server, registry: DebianRegistry) -> None:
    name = f"{registry.domain}/later"
    layers = [busybox_layer()]
    assert own.krater("pull", name, check=False).returncode == 1
    registry.push("later", "latest", oci_members("later", layers, configuration(layers)))
    own.krater("pull", name)
    own.krater("rmi", name)


def test_what_cannot_be_pulled_can_be_removed_by_its_owner(own: Server) -> None:
    uuid = made(own, image="127.0.0.1:1/box")
    reason = ends_up(own, uuid, "Error")["status_reason"]
    assert reason == "cannot pull '127.0.0.1:1/box:latest': its registry does not answer"
    own.client().containers.delete(uuid)
    assert own.client().containers.wait(uuid, "gone", timeout=10) is None


def test_a_slow_pull_tells_how_far_it_is_and_can_be_given_up(own: Server) -> None:
    layers = [busybox_layer(), small_layer({"big": (0o644, os.urandom(4 << 20))})]
    before = stored(own)
    with serving_images() as slow:
        slow.pause = 0.05
        name = slow.put("slow", "1", oci_members("slow", layers, configuration(layers)))
        uuid = made(own, image=name)
        eventually(lambda: shown(own, uuid)["task_state"] == "image_pulling", what="pulling")
        told = eventually(lambda: shown(own, uuid)["status_reason"], what="progress")
        assert "MiB" in str(told)
        remove(own, uuid)
        assert own.client().containers.list() == []
        slow.pause = 0.0
        ends_up(own, made(own, image=name), "Running")
        remove_all(own)
    own.krater("rmi", name)
    eventually(lambda: stored(own) == before, within=30, what="the image store as it was before")


def test_a_pull_that_was_asked_for_tells_how_far_it_is(own: Server) -> None:
    layers = [busybox_layer(), small_layer({"big": (0o644, os.urandom(4 << 20))})]
    client = own.client()
    with serving_images() as slow:
        slow.pause = 0.05
        name = slow.put("watched", "1", oci_members("watched", layers, configuration(layers)))
        uuid = client.images.pull(name, client.hosts.list()[0]["hostname"])["uuid"]
        told = eventually(lambda: client.images.show(uuid).get("status_reason"), what="progress")
        assert "MiB" in str(told)
        slow.pause = 0.0
        eventually(lambda: client.images.show(uuid)["image_id"], what="the image")
    own.krater("rmi", name)


def test_what_is_no_image_archive_is_refused_and_leaves_nothing(own: Server, tmp_path: Path) -> None:
    good = Path(busybox_archive(tmp_path / "good.tar", "other:1")).read_bytes()
    config = configuration([TINY])
    oci = oci_members("tiny:1", [TINY], config)
    blob = next(path for path, content in oci.items() if path.startswith("blobs/") and content[:2] == b"\x1f\x8b")
    swollen = docker_members("tiny:1", [TINY], config) | {"manifest.json": b" " * (64 << 20)}
    bad: dict[str, bytes] = {
        "text": b"hello",
        "nothing": b"",
        "cut short": good[: len(good) // 2],
        "cut short, compressed": gzip.compress(good, 1)[:500_000],
        "another digest": Path(write_archive(tmp_path / "b", oci | {blob: gzip.compress(b"other")})).read_bytes(),
        "swollen": Path(write_archive(tmp_path / "c", swollen, compressed=True)).read_bytes(),
    }
    before = stored(own)
    for what, content in bad.items():
        (tmp_path / "bad.tar").write_bytes(content)
        done = run(
            BIN / "krater", "node", "import", tmp_path / "bad.tar", *own.options,
            environment=own.environment, check=False,
        )  # fmt: skip
        assert done.returncode == 1, what
        assert done.stderr.startswith("krater: "), what
        assert len(done.stderr.splitlines()) == 1, (what, done.stderr)
        assert len(done.stderr) < 400, what
    eventually(lambda: stored(own) == before, within=30, what="the image store as it was before")
    assert own.krater("run", "--rm", "busybox", "echo", "well").stdout == "well\n"


def test_imports_and_starts_at_once_do_not_disturb_each_other(own: Server) -> None:
    threads = [threading.Thread(target=own.import_busybox) for _ in range(2)]
    for thread in threads:
        thread.start()
    uuids = [running(own) for _ in range(3)]
    for thread in threads:
        thread.join()
    remove(own, *uuids)
