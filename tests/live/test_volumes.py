"""Volumes and injected files with real containers: what is kept, what is bounded, what is refused, what is left."""

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from krater.client import ApiError
from tests.support.asking import User, with_account
from tests.support.containers import ends_up, made, remove, remove_all, running, said, shown
from tests.support.images import busybox_layer, configuration, docker_members, write_archive
from tests.support.leftovers import loop_devices
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

MIB = 1 << 20


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater of this module's own: it is killed now and then."""
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_left(own: Server) -> Iterator[None]:
    """Every test leaves nothing: no container, mount, device, file or row."""
    yield
    remove_all(own)
    client = own.client()
    for volume in client.volumes.list():
        client.volumes.delete(volume["uuid"])
        client.volumes.wait_gone(volume["uuid"])
    assert os.listdir(own.directory / "volumes" / "disks") == []
    assert os.listdir(own.directory / "volumes" / "files") == []
    assert loop_devices(own.directory) == []


def volume(server: Server, name: str = "data", size: int = 1) -> str:
    return server.client().volumes.create(name, size)["uuid"]


def at(path: str = "/data", source: str = "data", **more: Any) -> list[dict[str, Any]]:
    return [{"source": source, "destination": path, **more}]


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def done(server: Server, container: str, script: str) -> tuple[int | None, str]:
    answer = server.client().containers.execute(container, sh(script))
    return answer["exit_code"], answer["output"] or ""


def says(server: Server, container: str, script: str, words: str) -> None:
    """What a script says in the end: after a kill or a restart the container is not there at once."""

    def is_so() -> bool:
        with contextlib.suppress(ApiError):
            return done(server, container, script) == (0, words)
        return False

    eventually(is_so, within=40, what=f"{script} saying {words!r}")


def status(server: Server, name: str = "data") -> str:
    return server.client().volumes.show(name)["status"]


# Data -----------------------------------------------------------------------------------------------------------------


def test_two_containers_one_after_the_other_see_the_same_data(own: Server) -> None:
    id = volume(own)
    first = running(own, mounts=at())
    assert (status(own), own.client().volumes.show("data")["container"]) == ("in-use", first)
    assert done(own, first, "echo hello > /data/testfile && cat /data/testfile") == (0, "hello\n")
    remove(own, first)
    assert status(own) == "available"
    second = running(own, mounts=at(source=id, path="/elsewhere"))
    assert done(own, second, "cat /elsewhere/testfile") == (0, "hello\n")


def test_a_volume_by_size_goes_with_its_container(own: Server) -> None:
    box = running(own, mounts=[{"size": "1", "destination": "/data"}])
    [found] = own.client().volumes.list()
    assert (found["status"], found["container"], found["size"]) == ("in-use", box, 1)
    assert done(own, box, "echo hello > /data/testfile && cat /data/testfile") == (0, "hello\n")
    assert loop_devices(own.directory) != []
    remove(own, box)
    eventually(lambda: not own.client().volumes.list(), what="the volume being gone")


def test_a_volume_by_size_keeps_its_data_while_its_container_lives(own: Server) -> None:
    box = running(own, mounts=[{"size": 1, "destination": "/data"}])
    assert done(own, box, "echo kept > /data/x")[0] == 0
    client = own.client()
    client.containers.stop(box, timeout=1)
    ends_up(own, box, "Stopped")
    eventually(lambda: not loop_devices(own.directory), what="disconnected while it is stopped")
    client.containers.start(box)
    ends_up(own, box, "Running")
    assert done(own, box, "cat /data/x") == (0, "kept\n")
    client.containers.rebuild(box)
    ends_up(own, box, "Running")
    assert done(own, box, "cat /data/x") == (0, "kept\n")


def test_the_size_is_enforced(own: Server) -> None:
    volume(own)
    box = running(own, mounts=at(), memory="128")
    code, out = done(own, box, "dd if=/dev/zero of=/data/big bs=1M count=1100 2>&1")
    assert code != 0, out
    assert "No space left" in out
    size = int(done(own, box, "stat -c %s /data/big")[1])
    assert 800 * MIB < size <= 1024 * MIB
    disk = next((own.directory / "volumes" / "disks").iterdir())
    assert disk.stat().st_size == 1024 * MIB
    assert disk.stat().st_blocks * 512 <= 1024 * MIB


def test_what_is_deleted_inside_is_given_back_to_the_node(own: Server) -> None:
    volume(own)
    disk = own.directory / "volumes" / "disks"
    box = running(own, mounts=at(), memory="128")
    assert done(own, box, "dd if=/dev/urandom of=/data/big bs=1M count=100 && sync")[0] == 0

    def taken() -> int:
        return sum(path.stat().st_blocks * 512 for path in disk.iterdir())

    assert taken() >= 100 * MIB
    assert done(own, box, "rm /data/big && sync")[0] == 0
    eventually(lambda: taken() < 50 * MIB, within=60, what="space given back")


def test_it_is_larger_after_a_resize(own: Server) -> None:
    volume(own)
    said(own, sh("echo kept > /data/x"), mounts=at())
    own.client().volumes.resize("data", 2)
    out = said(own, sh("cat /data/x; df -k /data | tail -1"), mounts=at())
    assert out.splitlines()[0] == "kept"
    assert int(out.splitlines()[1].split()[1]) > 1.8 * MIB


def test_a_volume_begins_empty_and_is_no_way_to_more_rights(own: Server) -> None:
    volume(own)
    out = said(own, sh("ls -A /data; grep /data /proc/mounts; mknod /data/sda b 8 0; ls -A /data"), mounts=at())
    line = out.splitlines()[0].split()
    assert line[1:3] == ["/data", "ext4"]
    assert {"nosuid", "nodev"} <= set(line[3].split(","))
    node = said(own, sh("head -c 1 /data/sda"), mounts=at())
    assert "Permission denied" in node or "No such file" in node or "not permitted" in node


def test_a_read_only_mount_is_one(own: Server) -> None:
    volume(own)
    said(own, sh("echo kept > /data/x"), mounts=at())
    box = running(own, mounts=at(read_only=True))
    assert done(own, box, "cat /data/x") == (0, "kept\n")
    for script in ("echo no > /data/x", "rm /data/x", "mount -o remount,rw /data", "touch /data/y"):
        assert done(own, box, script)[0] != 0, script
    assert done(own, box, "cat /data/x; ls /data") == (0, "kept\nx\n")


def test_one_volume_at_two_places_and_one_within_another(own: Server) -> None:
    volume(own, "outer")
    volume(own, "inner")
    mounts = [*at("/a/b", "inner"), *at("/a", "outer"), *at("/c", "outer", read_only=True)]
    box = running(own, mounts=mounts)
    assert done(own, box, "echo 1 > /a/x; echo 2 > /a/b/y; cat /c/x; ls /c/b; touch /c/z")[1].startswith("1\n")
    assert done(own, box, "ls /a/b") == (0, "y\n")


# Kills ----------------------------------------------------------------------------------------------------------------


def test_data_and_mounts_survive_a_kill(own: Server) -> None:
    volume(own)
    box = running(own, mounts=[*at(), _file("/etc/conf", b"words")])
    done(own, box, "echo kept > /data/x; sync")
    own.kill()
    own.start()
    says(own, box, "cat /data/x /etc/conf", "kept\nwords")
    assert done(own, box, "echo more >> /data/x")[0] == 0
    assert len(loop_devices(own.directory)) == 1
    own.client().containers.restart(box, timeout=0)
    ends_up(own, box, "Running")
    says(own, box, "cat /data/x /etc/conf", "kept\nmore\nwords")
    remove(own, box)
    assert said(own, sh("cat /data/x"), mounts=at()) == "kept\nmore\n"


def test_what_a_reboot_of_the_machine_takes_is_made_again(own: Server) -> None:
    """Processes, mounts and what is below the run directory are gone, as after a loss of power."""
    volume(own)
    box = running(own, mounts=[*at(), _file("/etc/conf", b"words")], restart_policy={"Name": "always"})
    done(own, box, "echo kept > /data/x; sync")
    own.kill()
    _kill_container(own, box)
    for path in (own.directory / "run" / "volumes").glob("*/*"):
        subprocess.run(["umount", str(path)], check=True)
    shutil.rmtree(own.directory / "volumes" / "files")
    eventually(lambda: not loop_devices(own.directory), what="no device")
    own.start()
    says(own, box, "cat /data/x /etc/conf", "kept\nwords")


def test_kills_at_any_moment_leave_nothing(own: Server) -> None:
    volume(own)
    for seconds in (0.02, 0.05, 0.1, 0.2):
        box = made(own, mounts=[*at(), {"size": 1, "destination": "/tmp/x"}, _file("/etc/conf", b"words")])
        with pytest.raises(AssertionError):
            eventually(lambda: False, within=seconds)
        own.kill()
        own.start()
        says(own, box, "touch /data/$HOSTNAME /tmp/x/y && cat /etc/conf", "words")
        own.client().containers.delete(box, force=True)
        own.kill()
        own.start()
        eventually(lambda: not own.client().containers.list(), within=30, what="gone")
    assert len(said(own, sh("ls /data"), mounts=at()).split()) == 4


def _kill_container(server: Server, box: str) -> None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
            if f"{server.directory}/engine/".encode() in words and box.encode() in words:
                os.kill(int(path.parent.name), signal.SIGKILL)  # its monitor
        except OSError:
            continue
    record = json.loads((server.directory / "engine" / "containers" / box / "process.json").read_text())
    os.kill(record["process"]["pid"], signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{record['process']['pid']}").exists(), what="the process being gone")


# Files ----------------------------------------------------------------------------------------------------------------


def _file(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "bind", "source": base64.b64encode(content).decode(), "destination": path}


def test_an_injected_file_is_exact_and_only_to_be_read(own: Server) -> None:
    content = bytes(range(256)) * 100
    box = running(own, mounts=[_file("/data/deep/testfile", content), _file("/etc/passwd", b"x:x:0:0:::\n")])
    code, out = done(own, box, "base64 /data/deep/testfile; stat -c '%a %u %g' /data/deep/testfile")
    *lines, owner = out.splitlines()
    assert code == 0
    assert base64.b64decode("".join(lines)) == content
    assert owner == "644 0 0"
    assert done(own, box, "cat /etc/passwd") == (0, "x:x:0:0:::\n")
    for script in ("echo x >> /data/deep/testfile", "chmod 777 /data/deep/testfile", "rm /data/deep/testfile"):
        assert done(own, box, script)[0] != 0, script


def test_another_user_can_read_it(own: Server) -> None:
    assert said(own, sh("su -s /bin/sh www -c 'cat /conf'"), mounts=[_file("/conf", b"words")]) == "words"


def test_contents_are_in_no_log_and_no_list(own: Server) -> None:
    box = running(own, mounts=[_file("/conf", b"a very private thing")])
    secret = base64.b64encode(b"a very private thing").decode()
    log = own.log.read_text()
    texts = [log, json.dumps(shown(own, box)), json.dumps(own.client().containers.list())]
    record = (own.directory / "engine" / "containers" / box / "container.json").read_text()
    for text in (*texts, record):
        assert "very private" not in text
        assert secret not in text


# Refusals -------------------------------------------------------------------------------------------------------------


def test_a_failed_start_keeps_the_data_and_a_good_one_finds_them(own: Server) -> None:
    volume(own)
    said(own, sh("echo kept > /data/x"), mounts=at())
    bad = made(own, ["/no/such/program"], mounts=[*at(), {"size": 1, "destination": "/more"}])
    ends_up(own, bad, "Error")
    eventually(lambda: not loop_devices(own.directory), what="let go")
    assert status(own) == "in-use"
    assert len(own.client().volumes.list()) == 2
    remove(own, bad)
    assert said(own, sh("cat /data/x"), mounts=at()) == "kept\n"


def test_a_broken_disk_is_an_error_and_never_formatted(own: Server) -> None:
    id = volume(own)
    said(own, sh("echo kept > /data/x"), mounts=at())
    disk = own.directory / "volumes" / "disks" / id
    with disk.open("r+b") as file:
        file.seek(1024)
        kept = file.read(1024)
        file.seek(1024)
        file.write(b"\0" * 1024)
    bad = made(own, mounts=at())
    assert "no file system" in (ends_up(own, bad, "Error")["status_reason"] or "")
    with disk.open("r+b") as file:
        file.seek(1024)
        assert file.read(1024) == b"\0" * 1024
        file.seek(1024)
        file.write(kept)
    remove(own, bad)
    assert said(own, sh("cat /data/x"), mounts=at()) == "kept\n"


def test_lost_data_are_an_error_and_not_made_anew(own: Server) -> None:
    id = volume(own)
    said(own, sh("echo kept > /data/x"), mounts=at())
    disk = own.directory / "volumes" / "disks" / id
    disk.rename(own.directory / "aside")
    bad = made(own, mounts=at())
    assert "not on this node" in (ends_up(own, bad, "Error")["status_reason"] or "")
    (own.directory / "aside").rename(disk)
    own.client().containers.start(bad)
    ends_up(own, bad, "Running")
    assert done(own, bad, "cat /data/x") == (0, "kept\n")


def test_another_projects_volume_does_not_exist(own: Server) -> None:
    id = volume(own)
    stranger: User = with_account(own, "stranger")
    for source in ("data", id):
        reply = stranger.create("thief", run=True, mounts=at(source=source))
        assert (reply.status, reply.json["errors"][0]["code"]) == (404, "container.volume-not-found")
        assert stranger.ask("DELETE", f"/v1/volumes/{source}").status == 404
    assert stranger.ask("GET", "/v1/volumes").json == {"volumes": []}


# Hostile images -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trap(own: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the machine, and an image called `trap` whose links lead to it."""
    target = tmp_path_factory.mktemp("target")
    (target / "file").write_text("the machine's own")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, link in (
            ("absolute", str(target)),
            ("climbing", "../../../../../../../.." + str(target)),
            ("tofile", f"{target}/file"),
            ("nowhere", f"{target}/new/deep"),
            ("chain", "absolute"),
            ("loop", "loop"),
            ("toproc", "/proc/sys/kernel"),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
    layers = [busybox_layer(), out.getvalue()]
    config = configuration(layers, Cmd=["sh"], Env=["PATH=/bin"])
    archive_path = write_archive(target.parent / "trap.tar", docker_members("trap:latest", layers, config))
    own.operator("node", "import", archive_path, *own.options)
    return target


@pytest.mark.parametrize(
    "path",
    ["/absolute", "/climbing", "/absolute/sub", "/tofile", "/nowhere", "/nowhere/x", "/chain", "/loop", "/toproc"],
)
@pytest.mark.parametrize("kind", ["volume", "file"])
def test_links_of_an_image_lead_nowhere_outside(own: Server, trap: Path, path: str, kind: str) -> None:
    before = {str(p): p.stat().st_mtime_ns for p in (trap, *trap.rglob("*"))}
    mount = {"size": 1, "destination": path} if kind == "volume" else _file(path, b"words")
    box = made(own, image="trap", mounts=[mount])
    eventually(lambda: shown(own, box)["status"] in ("Running", "Error", "Stopped"), what="an end")
    assert {str(p): p.stat().st_mtime_ns for p in (trap, *trap.rglob("*"))} == before
    assert (trap / "file").read_text() == "the machine's own"
    table = Path("/proc/self/mountinfo").read_text()
    assert str(trap) not in table
    assert "/proc/sys/kernel" not in table
    if shown(own, box)["status"] == "Running":
        done(own, box, f"echo x > {path}/x; echo x > {path}; rm -rf {path}/*")
    assert {str(p): p.stat().st_mtime_ns for p in (trap, *trap.rglob("*"))} == before
