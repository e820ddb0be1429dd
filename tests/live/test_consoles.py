"""Consoles of real containers through a real gateway: by the krater command, under a terminal and through pipes."""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from krater.client import Conflict, Console, NotAllowed
from krater.client.console import STDOUT
from tests.support.containers import ends_up, remove_all, running
from tests.support.leftovers import leftovers
from tests.support.screen import Screen
from tests.support.server import BIN, Server, eventually, serving

pytestmark = pytest.mark.live

SHELL = ["sh"]
TERMINAL = {"interactive": True, "tty": True}
MARKS = (str(10**6 + os.getpid()), str(2 * 10**6 + os.getpid()))  # seconds nobody else on this machine sleeps


def krater(server: Server, *words: str) -> Screen:
    return Screen([str(BIN / "krater"), *words], server.environment)


def piped(server: Server, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(BIN / "krater"), *words],
        input=given,
        env=server.environment,
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_exec_with_a_terminal_sees_its_size_and_passes_the_exit_code(server: Server) -> None:
    name = running(server)
    screen = krater(server, "exec", "-it", name, "sh")
    screen.until("[#$] ")
    screen.type("stty size\r")
    screen.until(r"24 80\s")
    screen.resize(31, 99)
    time.sleep(0.3)
    screen.type("stty size\r")
    screen.until(r"31 99\s")
    screen.type("test -t 0 && exit 42\r")
    assert screen.ended() == 42


def test_exec_through_pipes_keeps_streams_apart_and_ends_with_its_input(server: Server) -> None:
    done = piped(server, "exec", "-i", running(server), "sh", "-c", "cat; echo sorry >&2; exit 9", given=b"in\n")
    assert (done.returncode, done.stdout, done.stderr) == (9, b"in\n", b"sorry\n")


def test_ten_megabytes_go_both_ways_intact(server: Server) -> None:
    sent = os.urandom(10 << 20)
    done = piped(server, "exec", "-i", running(server), "cat", given=sent)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(sent).digest()
    container = running(server, ["cat"], interactive=True)
    done = piped(server, "attach", container, given=sent)
    assert (done.returncode, len(done.stdout)) == (0, len(sent)), done.stderr
    assert done.stdout == sent


def test_what_is_not_there_says_so(server: Server) -> None:
    done = piped(server, "exec", "-i", running(server), "no-such-program")
    assert done.returncode == 127
    assert b"not found" in done.stderr


def test_a_terminal_is_left_and_attached_again(server: Server) -> None:
    container = running(server, SHELL, **TERMINAL)
    screen = krater(server, "attach", container)
    screen.until("# ")
    screen.type("MARK=kept; echo first-$((40+2))\r")
    screen.until("first-42")
    screen.type("\x10\x11")
    assert screen.ended() == 0
    ends_up(server, container, "Running")
    again = krater(server, "attach", container)
    again.type("\recho again-$MARK; stty size\r")
    again.until("again-kept")
    again.until(r"24 80\s")
    again.type("exit 3\r")
    assert again.ended() == 3
    ends_up(server, container, "Stopped")


def test_run_with_a_terminal_shows_the_first_prompt_and_removes(server: Server) -> None:
    screen = krater(server, "run", "-it", "--rm", "--name", "shell", "--cpu", "0.1", "-m", "32", "busybox", "sh")
    screen.until("# ")
    screen.type("exit 5\r")
    assert screen.ended() == 5
    assert "shell" not in [c["name"] for c in server.client().containers.list()]


def test_run_with_a_pipe_ends_with_its_input(server: Server) -> None:
    done = piped(server, "run", "-i", "--rm", "--cpu", "0.1", "-m", "32", "busybox", "wc", "-c", given=b"x" * 100_000)
    assert (done.returncode, done.stdout) == (0, b"100000\n"), done.stderr


def test_run_of_what_ends_at_once_shows_what_it_said(server: Server) -> None:
    done = piped(server, "run", "-i", "--rm", "--cpu", "0.1", "-m", "32", "busybox", "sh", "-c", "echo brief; exit 4")
    assert (done.returncode, done.stdout) == (4, b"brief\n"), done.stderr


def test_a_container_without_input_cannot_be_attached_to(server: Server) -> None:
    done = piped(server, "attach", running(server))
    assert done.returncode == 125
    assert b"interactive" in done.stderr


def test_a_pipe_is_no_terminal(server: Server) -> None:
    done = piped(server, "exec", "-it", running(server), "sh")
    assert done.returncode == 2
    assert b"terminal" in done.stderr


def test_a_killed_client_restores_the_terminal_and_ends_its_command(server: Server) -> None:
    container = running(server)
    screen = krater(server, "exec", "-it", container, "sleep", "4321")
    eventually(lambda: "4321" in str(server.client().containers.top(container)))
    screen.process.terminate()
    assert screen.ended() == 128 + signal.SIGTERM
    eventually(lambda: "4321" not in str(server.client().containers.top(container)))


def test_a_ticket_opens_one_console(server: Server) -> None:
    container = running(server, ["cat"], interactive=True)
    session = server.client()._session
    url = session.get(f"/v1/containers/{container}/attach")
    with Console(url) as console:
        console.send(b"hello\n")
        assert next(console.outputs()) == (STDOUT, b"hello\n")
        with pytest.raises(NotAllowed):
            Console(url)
    with pytest.raises(Conflict):
        server.client().containers.attach(stopped(server))


def stopped(server: Server) -> str:
    made = server.client().containers.run(image="busybox", command=["true"], interactive=True, memory=32, cpu=0.1)
    ends_up(server, made["uuid"], "Stopped")
    return made["uuid"]


def test_who_does_not_read_does_not_stop_the_container(server: Server) -> None:
    script = "read go; i=0; while [ $i -lt 400 ]; do dd if=/dev/zero bs=65536 count=1 2>/dev/null | tr '\\0' x; "
    container = running(server, ["sh", "-c", script + "i=$((i+1)); done; touch /done; sleep 1000"], interactive=True)
    console = server.client().containers.attach(container)
    console.send(b"go\n")
    time.sleep(0.5)

    def is_done() -> bool:
        return server.client().containers.execute(container, "test -e /done")["exit_code"] == 0

    eventually(is_done, within=60, what="the container going on although nobody reads")
    console._socket.socket.close()


@pytest.fixture
def own() -> Iterator[Server]:
    """A Krater to be hurt."""
    with serving() as server:
        yield server


def test_kill_9_in_the_middle_leaves_nothing_and_containers_run_on(own: Server) -> None:
    client = own.client()
    made: dict[str, Any] = {"image": "busybox", "memory": 32, "cpu": 0.1, "interactive": True}
    terminal = client.containers.run(**made, command=SHELL, tty=True)["uuid"]
    pipe = client.containers.run(**made, command=["cat"])["uuid"]
    for container in (terminal, pipe):
        ends_up(own, container, "Running")
    screen = krater(own, "attach", terminal)
    screen.until("# ")
    consoles = [
        client.containers.attach(pipe),
        client.containers.open_exec(terminal, ["sleep", MARKS[0]]),
        client.containers.open_exec(pipe, ["sleep", MARKS[1]], tty=True),
    ]
    for word in MARKS:
        eventually(lambda word=word: _processes_with(word))  # type: ignore[misc]
    own.kill()
    assert screen.ended() == 1
    own.start()
    for word in MARKS:
        eventually(lambda word=word: not _processes_with(word))  # type: ignore[misc]
    for container in (terminal, pipe):
        ends_up(own, container, "Running")
    with own.client().containers.attach(pipe) as again:
        again.send(b"still here\n")
        assert next(again.outputs()) == (STDOUT, b"still here\n")
        again.end_input()
    ends_up(own, pipe, "Stopped")
    screen = krater(own, "attach", terminal)
    screen.type("\rexit 6\r")
    assert screen.ended() == 6
    for console in consoles:
        console.close()
    remove_all(own)
    eventually(lambda: not leftovers(own), what="nothing left over")


def _processes_with(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", word.encode()]:
            found.append(path.parent.name)
    return found
