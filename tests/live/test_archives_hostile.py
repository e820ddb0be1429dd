"""What a tenant puts into an archive, or does while one is unpacked: nothing of the machine is reached by it."""

import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from krater.agent.runtimes.interfaces import ArchiveReader, ArchiveWriter, Mount
from krater.agent.runtimes.oci.jail import members
from krater.agent.runtimes.oci.runtime import OciRuntime
from krater.errors import Invalid, KraterError, NotFound
from tests.support.archives import archive_of, files, get, header, hostile, member, pax, put, record
from tests.support.engines import running
from tests.support.oci import OciNode, config, until

pytestmark = pytest.mark.live

GIB = 1 << 30


async def listing(engine: OciRuntime, container: str, path: str) -> set[str]:
    return set(await get(engine, container, path))


def jails() -> list[int]:
    """Processes of our own that pack or unpack now."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes()
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"krater.agent.runtimes.oci.jail" in words and parent == os.getpid():
            found.append(int(path.name))
    return found


def lines_of(process: int, name: str) -> list[str]:
    return Path(f"/proc/{process}/{name}").read_text().splitlines()


async def test_every_hostile_archive_is_refused_with_its_reason(node: OciNode, engine: OciRuntime) -> None:
    """In one running and one stopped container, each; and what they have stays what it was."""
    lively = await running(node, engine)
    stopped = config()
    await engine.create(stopped)
    for container in (lively, stopped.id):
        before = await listing(engine, container, "/")
        [(_, etc)] = (await get(engine, container, "/etc/passwd")).values()
        for what, (data, reason) in hostile().items():
            with pytest.raises(Invalid) as raised:
                await put(engine, container, "/tmp", data, limit=4 * GIB)
            assert raised.value.code in ("archive-refused", "archive-too-large"), what
            assert reason in raised.value.message, (what, raised.value.message)
            assert "\n" not in raised.value.message, what
        after = await listing(engine, container, "/")
        new = {name for name in after - before if not name.startswith("./tmp/")}
        assert not new
        assert not [name for name in after if name.endswith(".part")]
        assert (await get(engine, container, "/etc/passwd"))["passwd"][1] == etc
    assert "evil" not in {*os.listdir("/tmp"), *os.listdir("/"), *os.listdir("/etc")}
    await until(lambda: not jails())


async def test_what_came_before_the_refusal_stays_whole(engine: OciRuntime) -> None:
    wanted = config()
    await engine.create(wanted)
    data = archive_of(member("a", content=b"first"), member("b/c", content=b"second"), member("../up", content=b"x"))
    with pytest.raises(Invalid):
        await put(engine, wanted.id, "/tmp", data)
    found = await get(engine, wanted.id, "/tmp")
    assert {name: content for name, (_, content) in found.items() if content} == {
        "tmp/a": b"first",
        "tmp/b/c": b"second",
    }


async def test_honest_archives_of_all_makers_are_taken(engine: OciRuntime) -> None:
    wanted = config()
    await engine.create(wanted)
    long = "/".join(["d" * 90] * 4)
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as archive:
            name = f"f{form}" if form == tarfile.USTAR_FORMAT else f"{long}/ü{form}"
            made, content = member(name, content=b"content")
            archive.addfile(made, io.BytesIO(content))
            archive.addfile(*_only(member(f"l{form}", tarfile.SYMTYPE, linkname="/anywhere/at/all")))
            archive.addfile(*_only(member(f"h{form}", tarfile.LNKTYPE, linkname=name)))
            archive.addfile(*_only(member(f"p{form}", tarfile.FIFOTYPE, mode=0o622)))
        await put(engine, wanted.id, "/tmp", out.getvalue())
        found = await get(engine, wanted.id, "/tmp")
        assert found[f"tmp/l{form}"][0].linkname == "/anywhere/at/all"
        assert found[f"tmp/p{form}"][0].isfifo()
        assert found[f"tmp/p{form}"][0].mode == 0o622
        kinds = {found[f"tmp/{name}"][0].type, found[f"tmp/h{form}"][0].type}
        assert kinds == {tarfile.REGTYPE, tarfile.LNKTYPE}
    await put(engine, wanted.id, "/tmp", pax(record("comment", b"from git"), b"g") + files(last="x"))
    await put(
        engine, wanted.id, "/tmp", archive_of(member("./", tarfile.DIRTYPE, mode=0o700), member("./dot", content=b"."))
    )
    found = await get(engine, wanted.id, "/tmp")
    assert found["tmp/dot"][1] == b"."
    assert found["tmp"][0].mode != 0o700, "the directory itself is what it was"


def _only(made: tuple[tarfile.TarInfo, bytes]) -> tuple[tarfile.TarInfo]:
    return (made[0],)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/../../../../../../etc/hostname",
        "/../etc/hostname",
        "/proc/1/root/etc/hostname",
        "/proc/self/root/etc/hostname",
        "/proc/self/cwd/etc/hostname",
        "/lnk/etc/hostname",
        "/up/etc/hostname",
    ],
)
async def test_no_path_leads_out(node: OciNode, engine: OciRuntime, path: str) -> None:
    links = archive_of(
        member("lnk", tarfile.SYMTYPE, linkname="/"), member("up", tarfile.SYMTYPE, linkname="../../../../..")
    )
    lively = await running(node, engine)
    stopped = config()
    await engine.create(stopped)
    for container in (lively, stopped.id):
        await put(engine, container, "/", links)
        try:
            [(_, content)] = (await get(engine, container, path)).values()
        except NotFound:
            assert "proc" in path, "what the kernel makes up is not there"
        else:
            assert content == b"box\n", "the container's own"


async def test_what_the_kernel_makes_up_is_out_of_reach(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine)
    found = await listing(engine, container, "/")
    assert {"./proc", "./sys", "./dev"} <= found
    assert not [name for name in found if name.startswith(("./proc/", "./sys/", "./dev/"))]
    for where in ("/proc/sys/kernel", "/sys/kernel", "/dev/shm", "/proc/1/fd", "/proc/1/cwd"):
        with pytest.raises(NotFound):
            await put(engine, container, where, files(hostname="evil"))


async def test_the_jail_has_few_powers(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine)
    writer = await engine.unpack(container, "/tmp", GIB)
    try:
        await writer.write(header()[:100])
        [jail] = jails()
        await until(lambda: "Seccomp:\t2" in lines_of(jail, "status"))
        status = dict(line.split(":\t", 1) for line in lines_of(jail, "status") if ":\t" in line)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        for kind in ("CapEff", "CapPrm", "CapBnd"):
            assert int(status[kind], 16) == 0b11011, kind
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
        targets = {os.readlink(f"/proc/{jail}/fd/{fd}") for fd in os.listdir(f"/proc/{jail}/fd")}
        kinds = {target.partition(":")[0] for target in targets if not target.startswith("/")}
        assert kinds <= {"socket", "pipe"}
        assert {target for target in targets if target.startswith("/")} <= {"/dev/null", "/tmp"}
        assert os.readlink(f"/proc/{jail}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
        points = {line.split()[4] for line in lines_of(jail, "mountinfo")}
        assert points == {"/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    finally:
        await writer.close()
    assert not jails()


async def test_a_link_that_flips_while_files_come_leads_nowhere_else(node: OciNode, engine: OciRuntime) -> None:
    """A process inside replaces the directory with a link again and again: all arrives in it, or is refused."""
    flip = "mkdir a /victim; while true; do mv a b; ln -s /victim a; rm a; mv b a; done"
    container = await running(node, engine, config(("sh", "-c", f"cd /tmp; {flip}")))
    data = archive_of(*(member(f"a/f{n}", content=b"x" * 100) for n in range(300)))
    for _ in range(25):
        with suppress(KraterError):
            await put(engine, container, "/tmp", data)
    await engine.stop(container, 0)
    assert await listing(engine, container, "/victim") == {"victim"}


async def test_files_of_the_machine_are_not_changed_by_racing(
    node: OciNode, engine: OciRuntime, tmp_path: Path
) -> None:
    """The container's links name paths of the machine; they mean its own files, whoever wins."""
    secret = tmp_path / "secret"
    secret.write_text("the machine's")
    flip = (
        f"mkdir -p {tmp_path}; echo mine > {secret}; cd /tmp; while true; do "
        f"ln -sfn {tmp_path} d; rm d; mkdir d; rm -rf d; done"
    )
    container = await running(node, engine, config(("sh", "-c", flip)))
    for _ in range(30):
        for path in ("/tmp/d", "/tmp/d/secret"):
            with suppress(KraterError):
                for _, content in (await get(engine, container, path)).values():
                    assert b"machine" not in content
            with suppress(KraterError):
                await put(engine, container, path, files(secret="evil"))
    assert secret.read_text() == "the machine's"
    assert set(os.listdir(tmp_path)) == {"secret", "busybox.tar"}


async def test_volumes_and_injected_files_are_there_also_when_nothing_runs(
    node: OciNode, engine: OciRuntime, tmp_path: Path
) -> None:
    volume, secret, fixed = tmp_path / "volume", tmp_path / "injected", tmp_path / "fixed"
    volume.mkdir()
    fixed.mkdir()
    (volume / "kept").write_text("kept")
    (fixed / "fixed").write_text("fixed")
    secret.write_text("injected")
    mounted = (
        Mount(str(volume), "/data/deep"),
        Mount(str(secret), "/opt/secret"),
        Mount(str(fixed), "/fixed", read_only=True),
    )
    wanted = config(mounted=mounted)
    await engine.create(wanted)
    for state in ("created", "running", "stopped"):
        if state == "running":
            await engine.start(wanted.id, 1, 0, node.netns)
        if state == "stopped":
            await engine.stop(wanted.id, 0)
        assert (await get(engine, wanted.id, "/data/deep/kept"))["kept"][1] == b"kept"
        assert (await get(engine, wanted.id, "/opt/secret"))["secret"][1] == b"injected"
        assert "./data/deep/kept" in await listing(engine, wanted.id, "/")
        await put(engine, wanted.id, "/data/deep", files(**{state: state}))
        assert (volume / state).read_text() == state
        for where in ("/fixed", "/"):
            with pytest.raises(KraterError) as raised:
                await put(engine, wanted.id, where, files(fixed__fixed="evil") if where == "/" else files(fixed="evil"))
            assert "read-only" in raised.value.message
        assert (fixed / "fixed").read_text() == "fixed"
        with pytest.raises(Invalid) as refused:
            await put(engine, wanted.id, "/etc", files(hosts="evil"))
        assert "mounted" in refused.value.message
    assert (volume / "stopped").stat().st_uid == 0


async def test_links_of_a_volume_do_not_lead_out_of_the_container(
    node: OciNode, engine: OciRuntime, tmp_path: Path
) -> None:
    volume, secret = tmp_path / "volume", tmp_path / "secret"
    volume.mkdir()
    secret.write_text("the machine's")
    (volume / "out").symlink_to(tmp_path)
    (volume / "up").symlink_to("..")
    wanted = config(mounted=(Mount(str(volume), "/data"),))
    await engine.create(wanted)
    for path in ("/data/out/secret", "/data/up/secret"):
        with pytest.raises(NotFound):
            await get(engine, wanted.id, path)
    with pytest.raises(NotFound):
        await put(engine, wanted.id, "/data/out", files(secret="evil"))
    with pytest.raises(Invalid):
        await put(engine, wanted.id, "/data", files(out__secret="evil"))
    assert secret.read_text() == "the machine's"


async def test_too_many_members_are_refused(engine: OciRuntime) -> None:
    wanted = config()
    await engine.create(wanted)
    directory = member("d", tarfile.DIRTYPE)[0].tobuf(tarfile.USTAR_FORMAT)
    writer = await engine.unpack(wanted.id, "/tmp", GIB)

    async def flood() -> None:
        for _ in range(members.MOST_MEMBERS // 400 + 2):
            await writer.write(directory * 400)
        await writer.finish()

    try:
        with pytest.raises(Invalid) as raised:
            await flood()
    finally:
        await writer.close()
    assert "members" in raised.value.message


async def test_odd_names_come_out_as_they_are(node: OciNode, engine: OciRuntime) -> None:
    script = (
        r"cd /tmp; touch $(printf 'a\377b') $(printf 'tab\there') -- -rf; mkdir 'with space'; mkfifo pipe; sleep 1000"
    )
    container = await running(node, engine, config(("sh", "-c", script)))
    await until(lambda: _has(engine, container, "tmp/pipe"))
    found = await get(engine, container, "/tmp")
    assert {"tmp/a\udcffb", "tmp/-rf", "tmp/with space", "tmp/pipe"} <= set(found)
    assert found["tmp/pipe"][0].isfifo()


async def _has(engine: OciRuntime, container: str, name: str) -> bool:
    return name in await listing(engine, container, "/tmp")


async def test_deep_trees_are_refused_and_not_hung_on(node: OciNode, engine: OciRuntime) -> None:
    script = "cd /tmp; i=0; while [ $i -lt 900 ]; do mkdir d; cd d; i=$((i+1)); done; touch /tmp/done; sleep 1000"
    container = await running(node, engine, config(("sh", "-c", script)))

    async def done() -> bool:
        try:
            await get(engine, container, "/tmp/done")
        except NotFound:
            return False
        return True

    await until(done)
    with pytest.raises(Invalid) as raised:
        await get(engine, container, "/tmp")
    assert "deep" in raised.value.message
    await until(lambda: not jails())


async def test_files_that_change_while_they_are_read_make_a_whole_archive(node: OciNode, engine: OciRuntime) -> None:
    script = (
        "cd /tmp; while true; do head -c 3000000 /dev/zero > big; : > big; ln -sf /etc/passwd x; rm -f x; mkdir x; "
        "rmdir x; done"
    )
    container = await running(node, engine, config(("sh", "-c", script)))
    for _ in range(30):
        found = await get(engine, container, "/tmp")
        assert "tmp" in found


async def test_an_abandoned_archive_leaves_no_process_and_no_part(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine)
    writer = await engine.unpack(container, "/tmp", GIB)
    await writer.write(member("big", content=b"x" * 300_000)[0].tobuf(tarfile.USTAR_FORMAT) + b"x" * 1000)
    await until(lambda: _begun(engine, container))
    await writer.close()
    assert not jails()
    assert await listing(engine, container, "/tmp") == {"tmp"}


async def _begun(engine: OciRuntime, container: str) -> bool:
    return any(name.endswith(".part") for name in await listing(engine, container, "/tmp"))


async def drained(reader: ArchiveReader) -> None:
    while await reader.read():
        continue


async def filled(writer: ArchiveWriter) -> None:
    for _ in range(100):
        await writer.write(bytes(100_000))
    await writer.finish()


async def test_removing_a_container_ends_what_is_copied(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine)
    reader = await engine.pack(container, "/", GIB)
    writer = await engine.unpack(container, "/tmp", GIB)
    await engine.remove(container)
    assert not jails()
    with pytest.raises(KraterError):
        await drained(reader)
    with pytest.raises(KraterError):
        await filled(writer)
    await reader.close()
    await writer.close()
    assert not node.mounts()
