"""A node's archive sessions: one piece after the other, few at once, none that nobody asks for."""

import asyncio
from typing import Any

import pytest

from krater.agent import archives as module
from krater.agent.archives import Archives
from krater.bus.archives import LARGEST_PIECE, CloseArchive, GetPiece, PackFiles, PutPiece, UnpackFiles
from krater.bus.interfaces import node_target
from krater.bus.local import LocalBus
from krater.errors import Conflict, Invalid, KraterError, NotFound, Unavailable
from tests.support.archives import files, opened
from tests.support.node_files import FilesEngine, served
from tests.support.oci import until

LIMIT = 1 << 20


class Node:
    """A node as the API sees it."""

    def __init__(self, idle: float = 60.0) -> None:
        self.bus = LocalBus()
        self.engine, self.archives = served(self.bus, "n", idle)

    async def ask(self, message: Any) -> Any:
        return await self.bus.call(node_target("n"), message, 5)

    async def put(self, data: bytes, container: str = "c") -> None:
        session = await self.ask(UnpackFiles(container, "/tmp", LIMIT))
        await self.ask(PutPiece(session, 0, data, is_last=True))


@pytest.fixture
def node() -> Node:
    return Node()


async def test_the_same_number_is_the_same_piece_again(node: Node) -> None:
    session = await node.ask(UnpackFiles("c", "/tmp", LIMIT))
    data = files(a="b" * 1000)
    pieces = [data[:700], data[700:]]
    for number, piece in enumerate(pieces):
        for _ in range(2):
            await node.ask(PutPiece(session, number, piece, is_last=piece is pieces[-1]))
    packed = await node.ask(PackFiles("c", "/tmp/a", LIMIT))
    got, number = b"", 0
    while piece := await node.ask(GetPiece(packed.session, number)):
        assert await node.ask(GetPiece(packed.session, number)) == piece
        got, number = got + piece, number + 1
    assert await node.ask(GetPiece(packed.session, number)) == b""
    assert opened(got)["a"][1] == b"b" * 1000


@pytest.mark.parametrize("number", [-2, 1, 2, 1000])
async def test_a_piece_out_of_turn_is_refused(node: Node, number: int) -> None:
    into = await node.ask(UnpackFiles("c", "/tmp", LIMIT))
    with pytest.raises(Conflict):
        await node.ask(PutPiece(into, number, b"x"))
    out_of = await node.ask(PackFiles("c", "/tmp", LIMIT))
    with pytest.raises(Conflict):
        await node.ask(GetPiece(out_of.session, number))


async def test_directions_are_not_mixed_up(node: Node) -> None:
    into = await node.ask(UnpackFiles("c", "/tmp", LIMIT))
    out_of = await node.ask(PackFiles("c", "/tmp", LIMIT))
    with pytest.raises(Conflict):
        await node.ask(GetPiece(into, 0))
    with pytest.raises(Conflict):
        await node.ask(PutPiece(out_of.session, 0, b"x"))


async def test_after_the_end_nothing_more_is_taken(node: Node) -> None:
    session = await node.ask(UnpackFiles("c", "/tmp", LIMIT))
    await node.ask(PutPiece(session, 0, files(a="b"), is_last=True))
    with pytest.raises(Conflict):
        await node.ask(PutPiece(session, 1, b"x"))


async def test_a_refusal_ends_the_session(node: Node) -> None:
    session = await node.ask(UnpackFiles("c", "/tmp", LIMIT))
    with pytest.raises(Invalid):
        await node.ask(PutPiece(session, 0, b"no archive", is_last=True))
    with pytest.raises(NotFound):
        await node.ask(PutPiece(session, 1, b"x"))
    assert node.engine.open == 0


async def test_unknown_sessions(node: Node) -> None:
    with pytest.raises(NotFound):
        await node.ask(GetPiece("0" * 32, 0))
    with pytest.raises(NotFound):
        await node.ask(PutPiece("0" * 32, 0, b""))
    await node.ask(CloseArchive("0" * 32))


async def test_a_piece_that_is_too_large_is_refused(node: Node) -> None:
    session = await node.ask(UnpackFiles("c", "/tmp", LIMIT))
    with pytest.raises(Invalid):
        await node.ask(PutPiece(session, 0, bytes(LARGEST_PIECE + 1)))


async def test_closing_lets_go(node: Node) -> None:
    session = await node.ask(UnpackFiles("c", "/tmp", LIMIT))
    packed = await node.ask(PackFiles("c", "/tmp", LIMIT))
    assert node.engine.open == 2
    await node.ask(CloseArchive(session))
    await node.ask(CloseArchive(packed.session))
    assert node.engine.open == 0
    await node.ask(UnpackFiles("c", "/tmp", LIMIT))
    await node.archives.close()
    assert node.engine.open == 0


async def test_what_nobody_asks_for_is_closed() -> None:
    node = Node(idle=0.01)
    session = await node.ask(UnpackFiles("c", "/tmp", LIMIT))
    await until(lambda: not node.engine.open)
    with pytest.raises(NotFound):
        await node.ask(PutPiece(session, 0, b"x"))


async def test_there_are_few_of_a_container_and_few_at_all(node: Node) -> None:
    for _ in range(module.MOST_OF_CONTAINER):
        await node.ask(PackFiles("c", "/tmp", LIMIT))
    with pytest.raises(Conflict):
        await node.ask(UnpackFiles("c", "/tmp", LIMIT))
    for number in range(module.MOST_SESSIONS - module.MOST_OF_CONTAINER):
        await node.ask(PackFiles(f"c{number}", "/tmp", LIMIT))
    with pytest.raises(Unavailable):
        await node.ask(PackFiles("one more", "/tmp", LIMIT))
    assert node.engine.open == module.MOST_SESSIONS


async def test_no_project_has_all_of_them(node: Node) -> None:
    for number in range(module.MOST_OF_PROJECT):
        await node.ask(PackFiles(f"ann-{number}", "/tmp", LIMIT))
    with pytest.raises(Unavailable, match="project"):
        await node.ask(UnpackFiles("ann-again", "/tmp", LIMIT))
    await node.ask(PackFiles("bob-1", "/tmp", LIMIT))


async def test_many_at_once_are_counted_while_they_begin(node: Node) -> None:
    asked = [node.ask(PackFiles("c", "/tmp", LIMIT)) for _ in range(50)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(not isinstance(one, KraterError) for one in found) == module.MOST_OF_CONTAINER


async def test_archives_that_are_over_take_no_room(node: Node) -> None:
    for _ in range(3 * module.MOST_SESSIONS):
        await node.put(files(a="b"))


async def test_without_an_engine_there_is_nothing() -> None:
    bus, engine = LocalBus(), FilesEngine()
    bus.serve(node_target("n"), Archives(engine, lambda: False, str).handlers())  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await bus.call(node_target("n"), PackFiles("c", "/", LIMIT), 5)
