"""Images: archives good and hostile, and registries."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from krater.agent.runtimes.interfaces import Asker, PullProgress
from krater.agent.runtimes.oci import syscalls
from krater.agent.runtimes.oci.images import registry as registry_pulls
from krater.agent.runtimes.oci.runtime import OciRuntime
from krater.errors import Permanent, Temporary
from krater.model.registry import Login
from krater.model.workload import PullPolicy
from tests.support.images import (
    busybox_archive,
    busybox_layer,
    configuration,
    docker_members,
    oci_members,
    small_layer,
    write_archive,
)
from tests.support.oci import OciNode, config, until
from tests.support.registry import serving_images

pytestmark = pytest.mark.live

TINY = small_layer({"tiny": (0o644, b"x")})
NAME = "docker.io/library/tiny:1"


@pytest.fixture
async def node() -> AsyncIterator[OciNode]:
    """One without any image."""
    made = OciNode()
    try:
        yield made
    finally:
        await made.clear()


async def runs(node: OciNode, engine: OciRuntime, image: str) -> None:
    wanted = config(("true",), image=image)
    await engine.create(wanted)
    await engine.start(wanted.id, 1, 0, node.netns)


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("compressed", [False, True])
async def test_archives_of_both_kinds_are_taken(
    node: OciNode, engine: OciRuntime, tmp_path: Path, form: str, compressed: bool
) -> None:
    layers = [busybox_layer(), TINY]
    make = docker_members if form == "docker" else oci_members
    path = write_archive(tmp_path / "a", make("two:1", layers, configuration(layers, Cmd=["ls"])), compressed)
    (image,) = await engine.import_image(path)
    assert image.name == "docker.io/library/two:1"
    assert image.size > 0
    facts = await engine.ensure_image("two:1", PullPolicy.NEVER)
    assert (facts.command, facts.digest) == (("ls",), image.digest)
    await runs(node, engine, "two:1")
    assert (await engine.import_image(path, "three:3"))[0].name == "docker.io/library/three:3"
    assert [i.name for i in await engine.images()] == ["docker.io/library/three:3", "docker.io/library/two:1"]
    await engine.remove_image("two:1")
    assert [i.name for i in await engine.images()] == ["docker.io/library/three:3"]
    await runs(node, engine, "three:3")


async def test_a_name_can_point_at_another_image_later(engine: OciRuntime, tmp_path: Path) -> None:
    for command in ("one", "two"):
        members = docker_members("tiny:1", [TINY], configuration([TINY], Cmd=[command]))
        await engine.import_image(write_archive(tmp_path / "a.tar", members))
        assert (await engine.ensure_image("tiny:1", PullPolicy.NEVER)).command == (command,)


async def test_an_image_of_many_layers_can_be_mounted(node: OciNode, engine: OciRuntime, tmp_path: Path) -> None:
    layers = [busybox_layer()] + [small_layer({f"etc/{n}": (0o644, str(n).encode())}) for n in range(60)]
    await engine.import_image(
        write_archive(tmp_path / "a.tar", docker_members("many:1", layers, configuration(layers)))
    )
    await runs(node, engine, "many:1")


def _changed(members: dict[str, bytes], **changes: bytes | None) -> dict[str, bytes]:
    made = {k: v for k, v in members.items() if changes.get(k, b"") is not None}
    return {**made, **{k: v for k, v in changes.items() if v is not None}}


def _hostile() -> dict[str, dict[str, bytes]]:
    config = configuration([TINY])
    docker, oci = docker_members("tiny:1", [TINY], config), oci_members("tiny:1", [TINY], config)
    layer = next(path for path in docker if path.endswith("layer.tar"))
    blob = next(p for p, c in oci.items() if p.startswith("blobs/") and c[:2] == b"\x1f\x8b")
    manifest = json.loads(docker["manifest.json"])
    return {
        "empty": {},
        "no manifest": _changed(docker, **{"manifest.json": None}),
        "manifest is no json": _changed(docker, **{"manifest.json": b"{"}),
        "manifest is of another shape": _changed(docker, **{"manifest.json": b'{"a": [1]}'}),
        "manifest is nested deeply": _changed(docker, **{"manifest.json": b"[" * 100_000}),
        "layer is missing": _changed(docker, **{layer: None}),
        "layer is another": _changed(docker, **{layer: busybox_layer()}),
        "layer is no archive": _changed(docker, **{layer: b"x" * 5000}),
        "blob has another digest": _changed(oci, **{blob: gzip.compress(b"other")}),
        "blob is missing": _changed(oci, **{blob: None}),
        "path leaves the archive": _changed(
            docker, **{"manifest.json": json.dumps([{**manifest[0], "Layers": ["../../etc/passwd"]}]).encode()}
        ),
        "name is none": docker_members("Not A Name", [TINY], config),
        "too large a document": _changed(docker, **{"manifest.json": b" " * (5 << 20)}),
    }


@pytest.mark.parametrize("what", list(_hostile()))
async def test_what_is_no_image_archive_is_refused(engine: OciRuntime, tmp_path: Path, what: str) -> None:
    with pytest.raises(Permanent):
        await engine.import_image(write_archive(tmp_path / "a.tar", _hostile()[what]))
    assert not [image for image in await engine.images() if image.size]


async def test_files_that_are_no_archives_are_refused(engine: OciRuntime, tmp_path: Path) -> None:
    busybox_archive(tmp_path / "good.tar")
    good = (tmp_path / "good.tar").read_bytes()
    for content in (b"", b"hello", good[:700_000], gzip.compress(good)[:500_000], b"\x1f\x8b" + b"x" * 100):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(Permanent):
            await engine.import_image(str(tmp_path / "bad"))
    with pytest.raises(Permanent):
        await engine.import_image(str(tmp_path / "none"))


async def test_a_header_that_wants_gigabytes_is_refused(engine: OciRuntime, tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.XHDTYPE, 8 << 30
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT))
    os.truncate(tmp_path / "a.tar", 9 << 30)  # a hole: costs nothing unless it is read
    with pytest.raises(Permanent, match="oversized"):
        await engine.import_image(str(tmp_path / "a.tar"))


async def test_a_layer_cannot_write_outside_its_directory(node: OciNode, engine: OciRuntime, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        for name in ("out/through-link", "../../../../../../../../.." + str(tmp_path) + "/through-dots"):
            archive.addfile(tarfile.TarInfo(name))
    layers = [busybox_layer(), out.getvalue()]
    members = docker_members("evil:1", layers, configuration(layers))
    with suppress(Permanent, Temporary):  # refused is as good as contained
        await engine.import_image(write_archive(tmp_path / "a.tar", members))
    assert os.listdir(tmp_path) == ["a.tar"]


async def test_a_registry_is_pulled_from(node: OciNode, engine: OciRuntime) -> None:
    layers = [busybox_layer()]
    seen: list[PullProgress] = []
    with serving_images() as registry:
        name = registry.put("team/box", "1", oci_members("box", layers, configuration(layers)))
        facts = await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, seen.append)
        assert facts.name == name
        assert facts.command == ("sh",)
        await runs(node, engine, name)
        count = len(registry.requests)
        await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT)
        assert len(registry.requests) == count
        await engine.ensure_image(name, PullPolicy.ALWAYS)
        assert len(registry.requests) > count
        assert [image.name for image in await engine.images()] == [name]
        await engine.remove_image(name)
        assert await engine.images() == []


async def test_a_registry_that_has_no_such_image(engine: OciRuntime) -> None:
    with serving_images() as registry, pytest.raises(Permanent, match="has no image"):
        await engine.ensure_image(f"{registry.domain}/nothing:1", PullPolicy.IF_NOT_PRESENT)
    with pytest.raises(Temporary, match="does not answer"):
        await engine.ensure_image(f"{registry.domain}/nothing:1", PullPolicy.IF_NOT_PRESENT)


def asker(project: str, *login: str) -> Asker:
    """A project, with a username, a password and the domain they are for."""

    async def tell() -> Login | None:
        return Login(login[2], login[0], login[1]) if login else None

    return Asker(project, tell)


async def test_a_registry_that_wants_a_login(engine: OciRuntime) -> None:
    with serving_images(("me", "secret")) as registry:
        name = registry.put("box", "1", oci_members("box", [TINY], configuration([TINY])))
        with pytest.raises(Permanent, match="log in"):
            await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, asker("ann"))
        wrong = asker("ann", "me", "wrong", registry.domain)
        elsewhere = asker("ann", "me", "secret", "registry.example")
        with pytest.raises(Permanent, match="does not accept the login"):
            await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, wrong)
        with pytest.raises(Permanent, match="log in"):
            await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, elsewhere)
        right = asker("ann", "me", "secret", registry.domain)
        assert (await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, right)).name == name


async def test_an_image_got_with_a_login_is_not_for_other_projects(node: OciNode, engine: OciRuntime) -> None:
    with serving_images(("me", "secret")) as registry:
        layers = [busybox_layer()]
        name = registry.put("box", "1", oci_members("box", layers, configuration(layers)))
        right = asker("ann", "me", "secret", registry.domain)
        facts = await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, right)
        asked = len(registry.requests)
        await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, asker("ann"))
        assert len(registry.requests) == asked, "who was given it once need not ask again"
        by_digest = f"{registry.domain}/box@{facts.digest}"
        for other in (name, by_digest):
            for policy, words in ((PullPolicy.IF_NOT_PRESENT, "log in"), (PullPolicy.NEVER, "must not be pulled")):
                with pytest.raises(Permanent, match=words):
                    await engine.ensure_image(other, policy, None, asker("bob"))
            wanted = config(image=other, netns=node.netns)
            with pytest.raises(Temporary, match="asked for"):
                await engine.create(replace(wanted, project="bob"))
        again = await node.crashed(engine)
        with pytest.raises(Permanent, match="log in"):
            await again.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, asker("bob"))
        await again.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, asker("bob", "me", "secret", registry.domain))
        await again.create(replace(config(image=name, netns=node.netns), project="bob"))


async def test_what_is_given_to_everybody_is_for_everybody(engine: OciRuntime) -> None:
    with serving_images() as registry:
        name = registry.put("box", "1", oci_members("box", [TINY], configuration([TINY])))
        needless = asker("ann", "me", "secret", registry.domain)
        await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, needless)
        asked = len(registry.requests)
        await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, asker("bob"))
        assert len(registry.requests) > asked, "the registry is asked whether it gives it to bob, too"
        with pytest.raises(Permanent, match="must not be pulled"):
            await engine.ensure_image(f"{registry.domain}/box:2", PullPolicy.NEVER, None, asker("bob"))
    await engine.ensure_image(name, PullPolicy.NEVER, None, asker("carol"))
    await engine.remove_image(name)


async def test_imported_images_stay_everybodys_whoever_logs_in(engine: OciRuntime, tmp_path: Path) -> None:
    """A project must not take an imported image from the others by logging in to the registry it is named after."""
    with serving_images(("me", "secret")) as registry:
        repository = f"{registry.domain}/box"
        archive = write_archive(tmp_path / "a.tar", oci_members("x", [TINY], configuration([TINY])))
        await engine.import_image(archive, f"{repository}:imported")
        other = registry.put("box", "2", oci_members("y", [TINY], configuration([TINY], Cmd=["other"])))
        right = asker("ann", "me", "secret", registry.domain)
        await engine.ensure_image(other, PullPolicy.IF_NOT_PRESENT, None, right)
        await engine.ensure_image(f"{repository}:imported", PullPolicy.NEVER, None, asker("bob"))
        with pytest.raises(Permanent, match="log in"):
            await engine.ensure_image(other, PullPolicy.IF_NOT_PRESENT, None, asker("bob"))
        later = write_archive(tmp_path / "b.tar", oci_members("z", [TINY], configuration([TINY], Cmd=["later"])))
        await engine.import_image(later, f"{repository}:later")
        await engine.ensure_image(f"{repository}:later", PullPolicy.NEVER, None, asker("bob"))


async def test_guards_go_with_the_last_image(
    node: OciNode, engine: OciRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_pulls, "SETTLED_AFTER", 0.0)
    guards = node.directory / "e" / "grants"
    with serving_images(("me", "secret")) as registry:
        right = asker("ann", "me", "secret", registry.domain)
        members = oci_members("box", [TINY], configuration([TINY]))
        names = [registry.put("box", tag, members) for tag in ("1", "2")]
        for name in names:
            await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, right)
        with pytest.raises(Permanent, match=r"has no (such )?image"):
            await engine.ensure_image(f"{registry.domain}/nothing:1", PullPolicy.IF_NOT_PRESENT, None, right)
        assert len(list(guards.glob("*.json"))) == 1
        for name in names:
            assert len(list(guards.glob("*.json"))) == 1
            await engine.remove_image(name)
        assert list(guards.glob("*.json")) == []


async def _can_run(node: OciNode, engine: OciRuntime) -> bool:
    try:
        await runs(node, engine, "busybox")
    except Temporary as error:
        if error.code != "disk-full":
            raise
        return False
    return True


async def test_a_full_disk_is_named(tmp_path: Path) -> None:
    node = OciNode()
    syscalls.mount("tmpfs", str(node.directory), "tmpfs", 0, "size=24m")
    try:
        engine = await node.engine()
        await engine.import_image(busybox_archive(tmp_path / "good.tar"))
        layers = [small_layer({"big": (0o644, os.urandom(16 << 20))})]
        path = write_archive(tmp_path / "big.tar", docker_members("big:1", layers, configuration(layers)))
        with pytest.raises(Temporary, match="disk is full"):
            await engine.import_image(path)
        assert [image.name for image in await engine.images()] == ["docker.io/library/busybox:latest"]
        await until(lambda: _can_run(node, engine))  # what was stored in vain is collected
        await node.clear()
    finally:
        syscalls.umount(str(node.directory), syscalls.MNT_DETACH)
        node.directory.rmdir()
