"""`krater cp` against a real Krater with real containers: both ways, in bounded memory, and after a kill."""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archives import files, hostile, opened
from tests.support.asking import admin_of, forget_peak, peak_memory
from tests.support.containers import ends_up, remove_all, running
from tests.support.server import BIN, Server, eventually, serving

pytestmark = pytest.mark.live

GIB = 1 << 30


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    with serving() as server:
        yield server
        remove_all(server)


@pytest.fixture(scope="module")
def box(own: Server) -> str:
    return running(own, memory="64", name="box")


def inside(server: Server, container: str, script: str) -> str:
    done = server.client().containers.execute(container, ["sh", "-c", script])
    assert done["exit_code"] == 0, done["output"]
    return done["output"] or ""


def refused(server: Server, *words: str) -> str:
    done = server.krater("cp", *words, check=False)
    assert done.returncode in (1, 2), done.stderr
    return done.stderr


def test_a_tree_there_and_back(own: Server, box: str, tmp_path: Path) -> None:
    source, back = tmp_path / "tree", tmp_path / "back"
    (source / "empty").mkdir(parents=True)
    (source / "run.sh").write_text("echo it runs\n")
    (source / "run.sh").chmod(0o750)
    os.utime(source / "run.sh", (1e9, 1e9))
    (source / "link").symlink_to("run.sh")
    os.utime(source / "empty", (2e8, 2e8))
    own.krater("cp", str(source), "box:/tmp")
    assert inside(own, box, "/tmp/tree/run.sh; stat -c '%a %Y %u' /tmp/tree/run.sh; readlink /tmp/tree/link") == (
        "it runs\n750 1000000000 0\nrun.sh\n"
    )
    own.krater("cp", "box:/tmp/tree", str(back))
    assert (back / "run.sh").stat().st_mode & 0o777 == 0o750
    assert (back / "run.sh").stat().st_mtime == 1e9
    assert (back / "empty").stat().st_mtime == 2e8
    assert os.readlink(back / "link") == "run.sh"


def test_where_things_go_as_with_docker(own: Server, box: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x")
    for words in (
        (f"{tmp_path}/d", "box:/root"),
        (f"{tmp_path}/d", "box:/root/other"),
        (f"{tmp_path}/d/.", "box:/home"),
        (f"{tmp_path}/d/f", "box:/root/renamed"),
        (f"{tmp_path}/d/f", "box:/home/"),
        (f"{tmp_path}/d/f", "box:relative"),
    ):
        own.krater("cp", *words)
    assert inside(own, box, "cd /; cat root/d/f root/other/f home/f root/renamed relative") == "x" * 5
    assert "no directory" in refused(own, f"{tmp_path}/d/f", "box:/nowhere/")
    assert "no directory" in refused(own, f"{tmp_path}/d/f", "box:/nowhere/f")
    assert "is a directory" in refused(own, f"{tmp_path}/d", "box:/root/renamed")
    assert "No such file" in refused(own, f"{tmp_path}/nothing", "box:/root")
    assert "/nothing" in refused(own, "box:/nothing", str(tmp_path))
    assert "not be found" in refused(own, "nobody:/etc", str(tmp_path))
    assert "must be CONTAINER:PATH" in refused(own, "a", "b")
    assert "must be CONTAINER:PATH" in refused(own, "box:/a", "box:/b")


def test_links_are_copied_or_followed(own: Server, box: str, tmp_path: Path) -> None:
    inside(own, box, "cd /tmp; echo real > real; ln -s real a; ln -s /tmp/real b; mkdir place; ln -s place way")
    own.krater("cp", "box:/tmp/a", f"{tmp_path}/a")
    assert os.readlink(tmp_path / "a") == "real"
    for name in ("a", "b"):
        own.krater("cp", "-L", f"box:/tmp/{name}", f"{tmp_path}/followed-{name}")
        assert (tmp_path / f"followed-{name}").read_text() == "real\n"
    (tmp_path / "f").write_text("x")
    own.krater("cp", str(tmp_path / "f"), "box:/tmp/way")
    assert inside(own, box, "cat /tmp/place/f; test -L /tmp/way") == "x"


def test_tar_on_stdin_and_stdout(own: Server, box: str) -> None:
    command, variables = [str(BIN / "krater"), "cp"], own.environment
    subprocess.run([*command, "-", "box:/tmp"], input=files(piped="through"), env=variables, check=True)
    done = subprocess.run([*command, "box:/tmp/piped", "-"], env=variables, capture_output=True, check=True)
    assert opened(done.stdout)["piped"][1] == b"through"
    data, _ = hostile()["dots"]
    bad = subprocess.run([*command, "-", "box:/tmp"], input=data, env=variables, capture_output=True, check=False)
    assert bad.returncode == 1
    assert b"`..`" in bad.stderr


@pytest.mark.parametrize("status", ["Created", "Stopped", "Paused"])
def test_it_need_not_run(own: Server, tmp_path: Path, status: str) -> None:
    name = f"is-{status.lower()}"
    if status == "Created":
        own.krater("create", "--name", name, "busybox", "sleep", "1000")
    else:
        running(own, name=name)
        own.krater("stop" if status == "Stopped" else "pause", name)
    ends_up(own, name, status)
    (tmp_path / "f").write_text(status)
    own.krater("cp", str(tmp_path / "f"), f"{name}:/root/f")
    own.krater("cp", f"{name}:/root/f", f"{tmp_path}/back")
    assert (tmp_path / "back").read_text() == status
    own.krater("unpause" if status == "Paused" else "start", name)
    ends_up(own, name, "Running")
    assert inside(own, name, "cat /root/f") == status


def test_a_gibibyte_goes_both_ways_in_little_memory(own: Server, box: str, tmp_path: Path) -> None:
    with open(tmp_path / "big", "wb") as big:
        big.truncate(GIB)
        big.seek(GIB // 2)
        big.write(b"in the middle")
    before = forget_peak(own)
    own.krater("cp", str(tmp_path / "big"), "box:/tmp/big")
    assert inside(own, box, "stat -c %s /tmp/big; dd if=/tmp/big bs=1M skip=512 count=1 2>/dev/null | head -c 13") == (
        f"{GIB}\nin the middle"
    )
    own.krater("cp", "box:/tmp/big", f"{tmp_path}/back")
    assert peak_memory(own) - before < 128 << 20
    assert subprocess.run(["cmp", tmp_path / "big", tmp_path / "back"], check=False).returncode == 0
    inside(own, box, "rm /tmp/big")


def test_what_is_too_large_for_one_answer_is_told_so(own: Server, box: str) -> None:
    inside(own, box, "head -c 20000000 /dev/zero > /tmp/large")
    reply = admin_of(own).ask("GET", f"/v1/containers/{box}/get_archive?path=/tmp/large")
    assert reply.status == 400
    assert "krater cp" in reply.title
    inside(own, box, "rm /tmp/large")


def test_whoever_goes_away_leaves_nothing(own: Server, box: str) -> None:
    copying = subprocess.Popen(
        [str(BIN / "krater"), "cp", "box:/dev/..", "-"], env=own.environment, stdout=subprocess.PIPE
    )
    assert copying.stdout is not None
    copying.stdout.read(512)
    copying.kill()
    copying.wait()
    copying.stdout.close()
    upload = subprocess.Popen([str(BIN / "krater"), "cp", "-", "box:/tmp"], env=own.environment, stdin=subprocess.PIPE)
    assert upload.stdin is not None
    upload.stdin.write(_beginning())
    upload.stdin.flush()
    eventually(lambda: ".part" in inside(own, box, "ls -a /tmp"), what="the upload having begun")
    upload.kill()
    upload.wait()
    eventually(lambda: ".part" not in inside(own, box, "ls -a /tmp"), what="nothing half done")
    eventually(lambda: not [pid for pid in children(own) if is_jail(pid)], what="no process left")


def _beginning() -> bytes:
    out = io.BytesIO()
    made = tarfile.TarInfo("half")
    made.size = 10_000_000
    out.write(made.tobuf())
    out.write(b"x" * 5_000_000)
    return out.getvalue()


def children(server: Server) -> list[int]:
    assert server.child is not None
    found = []
    for task in Path(f"/proc/{server.child.pid}/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def is_jail(process: int) -> bool:
    try:
        return b"oci.jail" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_kill_in_the_middle_leaves_no_process_and_nothing_half_done() -> None:
    with serving() as server:
        box = running(server, name="box")
        upload = subprocess.Popen(
            [str(BIN / "krater"), "cp", "-", "box:/tmp"], env=server.environment, stdin=subprocess.PIPE
        )
        assert upload.stdin is not None
        upload.stdin.write(_beginning())
        upload.stdin.flush()
        eventually(lambda: ".part" in inside(server, box, "ls -a /tmp"), what="the upload having begun")
        jailed = [pid for pid in children(server) if is_jail(pid)]
        assert jailed
        server.kill()
        eventually(lambda: not any(is_jail(pid) for pid in jailed), what="the jail ending with its agent")
        upload.stdin.close()
        upload.wait()
        server.start()
        server.reached(box)
        assert ".part" not in inside(server, box, "ls -a /tmp")
        server.krater("cp", "box:/etc/hostname", f"{server.directory}/hostname")
        remove_all(server)
