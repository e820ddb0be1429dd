"""Archives of a container's files: what every engine must do."""

import tarfile

import pytest

from krater.agent.runtimes.interfaces import Engine
from krater.errors import Invalid, NotFound
from tests.support.archives import MOMENT, archive_of, files, get, hostile, member, put
from tests.support.engines import NOBODY, Node
from tests.support.oci import config

STATES = ("created", "running", "paused", "stopped")


async def into(node: Node, engine: Engine, state: str) -> str:
    """A container in this state."""
    wanted = config()
    await engine.create(wanted)
    if state != "created":
        await engine.start(wanted.id, 1, 0, node.netns)
    if state == "paused":
        await engine.pause(wanted.id)
    if state == "stopped":
        await engine.stop(wanted.id, 0)
    return wanted.id


@pytest.mark.parametrize("state", STATES)
async def test_files_go_in_and_come_out_whatever_it_does(node: Node, engine: Engine, state: str) -> None:
    container = await into(node, engine, state)
    await put(engine, container, "/tmp", files(motd="hello"))
    found = await get(engine, container, "/tmp/motd")
    assert list(found) == ["motd"]
    made, content = found["motd"]
    assert (content, made.mode, made.mtime) == (b"hello", 0o644, MOMENT)


async def test_a_directory_comes_with_all_that_is_in_it(engine: Engine) -> None:
    wanted = config()
    await engine.create(wanted)
    tree = archive_of(
        member("tree", tarfile.DIRTYPE, mode=0o750),
        member("tree/empty", tarfile.DIRTYPE, mode=0o1777),
        member("tree/link", tarfile.SYMTYPE, linkname="../somewhere", mode=0o777),
        member("tree/file", content=b"x" * 70_000, mode=0o4711, uid=12, gid=34),
    )
    await put(engine, wanted.id, "/tmp", tree)
    found = await get(engine, wanted.id, "/tmp/tree")
    assert set(found) == {"tree", "tree/empty", "tree/link", "tree/file"}
    assert (found["tree"][0].mode, found["tree/empty"][0].mode) == (0o750, 0o1777)
    assert found["tree/link"][0].linkname == "../somewhere"
    made, content = found["tree/file"]
    assert (len(content), made.mode, made.uid, made.gid) == (70_000, 0o4711, 12, 34)
    assert {one.mtime for one, _ in found.values()} == {MOMENT}


async def test_what_is_there_is_told_before_it_comes(engine: Engine) -> None:
    wanted = config()
    await engine.create(wanted)
    await put(engine, wanted.id, "/tmp", files(motd="hello"))
    reader = await engine.pack(wanted.id, "/tmp/motd", 1 << 20)
    await reader.close()
    stat = reader.stat
    assert (stat.name, stat.size, stat.mode, stat.mtime) == ("motd", 5, 0o644, "2001-09-09T01:46:40Z")
    directory = await engine.pack(wanted.id, "/tmp/", 1 << 20)
    await directory.close()
    assert directory.stat.mode & 1 << 31


@pytest.mark.parametrize("path", ["/nothing", "/tmp/nothing/at/all", "/tmp/motd/", "/tmp/motd/below"])
async def test_what_is_not_there_is_not_found(engine: Engine, path: str) -> None:
    wanted = config()
    await engine.create(wanted)
    await put(engine, wanted.id, "/tmp", files(motd="hello"))
    with pytest.raises(NotFound):
        await get(engine, wanted.id, path)
    with pytest.raises(NotFound):
        await put(engine, wanted.id, path, files(a="b"))


async def test_a_file_takes_the_place_of_another(engine: Engine) -> None:
    wanted = config()
    await engine.create(wanted)
    for text in ("first", "second and longer", "3"):
        await put(engine, wanted.id, "/tmp", files(motd=text))
        assert (await get(engine, wanted.id, "/tmp/motd"))["motd"][1] == text.encode()


async def test_more_than_the_limit_is_refused(engine: Engine) -> None:
    wanted = config()
    await engine.create(wanted)
    await put(engine, wanted.id, "/tmp", files(big="x" * 50_000))
    with pytest.raises(Invalid) as raised:
        await get(engine, wanted.id, "/tmp/big", limit=20_000)
    assert raised.value.code == "archive-too-large"
    with pytest.raises(Invalid) as raised:
        await put(engine, wanted.id, "/tmp", files(big="x" * 50_000), limit=20_000)
    assert raised.value.code == "archive-too-large"


@pytest.mark.parametrize(
    "what", ["character device", "absolute name", "dots", "line feed", "not an archive", "empty", "NUL"]
)
async def test_what_may_do_harm_is_refused(engine: Engine, what: str) -> None:
    wanted = config()
    await engine.create(wanted)
    with pytest.raises(Invalid) as raised:
        await put(engine, wanted.id, "/tmp", hostile()[what][0])
    assert raised.value.code == "archive-refused"


async def test_there_must_be_a_container(engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.pack(NOBODY, "/", 1000)
    with pytest.raises(NotFound):
        await engine.unpack(NOBODY, "/", 1000)


async def test_files_survive_a_start_and_a_stop(node: Node, engine: Engine) -> None:
    container = await into(node, engine, "created")
    await put(engine, container, "/tmp", files(early="early"))
    await engine.start(container, 1, 0, node.netns)
    await put(engine, container, "/tmp", files(later="later"))
    await engine.stop(container, 0)
    assert set(await get(engine, container, "/tmp")) == {"tmp", "tmp/early", "tmp/later"}


async def test_letting_go_in_the_middle_is_no_failure(engine: Engine) -> None:
    wanted = config()
    await engine.create(wanted)
    writer = await engine.unpack(wanted.id, "/tmp", 1 << 20)
    await writer.write(files(a="b")[:300])
    await writer.close()
    await writer.close()
    reader = await engine.pack(wanted.id, "/", 1 << 30)
    await reader.close()
    await reader.close()
    assert set(await get(engine, wanted.id, "/tmp")) == {"tmp"}
