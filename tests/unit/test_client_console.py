"""The client's end of a console, at a server that says what it is told to. What is behind a real one: tests/live."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Data, Subprotocol

from krater.client.console import EXIT, REFUSED, STDERR, STDIN, STDIN_END, STDOUT, SUBPROTOCOL, Console
from krater.client.errors import NotAllowed, Unreachable

Reject = Callable[[ServerConnection, Request], Response]


@contextmanager
def gateway(talk: Callable[[ServerConnection], None], reject: Reject | None = None) -> Iterator[str]:
    """A server for consoles, where one talks with each client; its URL, with a ticket in it."""
    subprotocols = [Subprotocol(SUBPROTOCOL)]
    with serve(talk, "127.0.0.1", 0, subprotocols=subprotocols, process_request=reject) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/?ticket=secret"
        finally:
            server.shutdown()
            thread.join()


def refuse(client: ServerConnection) -> None:
    client.send(bytes([REFUSED]) + b"it is stopped")


def test_what_is_said_is_heard_and_what_is_heard_is_said() -> None:
    heard: list[Data] = []

    def talk(client: ServerConnection) -> None:
        client.send(bytes([STDOUT]) + b"out")
        client.send(bytes([STDERR]) + b"err")
        heard.extend([client.recv(), client.recv()])
        client.send(bytes([EXIT]) + b"\0\0\0\7")

    with gateway(talk) as url, Console(url) as console:
        outputs = console.outputs()
        assert [next(outputs), next(outputs)] == [(STDOUT, b"out"), (STDERR, b"err")]
        console.send(b"in")
        console.end_input()
        assert list(outputs) == []
        assert (console.is_over, console.exit_code) == (True, 7)
    assert heard == [bytes([STDIN]) + b"in", bytes([STDIN_END])]


def test_a_reason_for_which_there_is_no_process_is_kept() -> None:
    with gateway(refuse) as url, Console(url) as console:
        assert list(console.outputs()) == []
        assert console.refused == "it is stopped"


def test_closing_says_goodbye_however_often() -> None:
    codes: SimpleQueue[int | None] = SimpleQueue()

    def hear_it_go(client: ServerConnection) -> None:
        try:
            client.recv()
        except ConnectionClosed as closed:
            codes.put(closed.rcvd.code if closed.rcvd else None)

    with gateway(hear_it_go) as url:
        console = Console(url)
        console.close()
        console.close()
        assert codes.get(timeout=60) == 1000


def test_a_gateway_that_refuses_is_told_in_its_words_without_the_ticket() -> None:
    def reject(client: ServerConnection, request: Request) -> Response:
        return client.respond(403, "this ticket is used up\n")

    with gateway(refuse, reject) as url, pytest.raises(NotAllowed, match="this ticket is used up") as refused:
        Console(url)
    assert "secret" not in str(refused.value)


def test_a_gateway_that_is_not_there_is_told_without_the_ticket() -> None:
    with gateway(refuse) as url:
        pass
    with pytest.raises(Unreachable, match="cannot be reached") as unreachable:
        Console(url)
    assert "secret" not in str(unreachable.value)
