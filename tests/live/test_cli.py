"""The `krater` command as people use it, against real containers."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from tests.support.containers import SLEEP
from tests.support.server import BIN, Server, eventually, run

pytestmark = pytest.mark.live


@contextmanager
def begun(server: Server, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on while the test does."""
    child = subprocess.Popen(
        [str(BIN / "krater"), *words], env=server.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def next_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("no-such-applet", 127), ("kill -9 $$", 0)])
def test_run_ends_with_the_containers_exit_code(server: Server, script: str, code: int) -> None:
    assert server.krater("run", "--rm", "busybox", "sh", "-c", script, check=False).returncode == code


@pytest.mark.parametrize(
    ("command", "code"),
    [("no-such-program", 127), ("/etc/passwd", 126), ("--workdir=/etc/passwd", 125), ("--memory=3", 125)],
)
def test_run_tells_apart_what_could_not_be_run(server: Server, command: str, code: int) -> None:
    words = [command, "busybox", "true"] if command.startswith("-") else ["busybox", command]
    ended = server.krater("run", "--rm", *words, check=False)
    assert ended.returncode == code
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


def test_run_follows_the_output_as_it_comes_and_rm_leaves_nothing(server: Server) -> None:
    script = "echo first; sleep 1; echo second >&2; sleep 0.2; echo third; exit 5"
    with begun(server, "run", "--rm", "--name", "followed", "busybox", "sh", "-c", script) as child:
        assert next_line(child.stdout) == "first\n"
        came = time.monotonic()
        rest, complaints = child.communicate(timeout=20)
        assert time.monotonic() - came > 0.8, "the output came only when all of it was there"
        assert sorted((rest + complaints).split()) == ["second", "third"]
        assert child.returncode == 5
    assert "followed" not in server.krater("ps").stdout


def test_interrupting_run_stops_the_container(server: Server) -> None:
    words = (
        "run",
        "--name",
        "cut",
        "busybox",
        "sh",
        "-c",
        "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done",
    )
    with begun(server, *words) as child:
        assert next_line(child.stdout) == "up\n"
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=20)
        assert "bye" in out
        assert child.returncode == 9
    assert json.loads(server.krater("show", "cut", "--format", "json").stdout)["status"] == "Stopped"


def test_logs_follow_what_is_written_and_end_with_the_container(server: Server) -> None:
    rest = "for i in 2 3 4 5 6; do echo line $i; done"
    script = f"echo line 1; until [ -e /tmp/go ]; do sleep 0.1; done; {rest}"
    server.krater("run", "-d", "--name", "talks", "busybox", "sh", "-c", script)
    with begun(server, "logs", "-f", "talks") as child:
        assert child.stdout is not None
        assert next_line(child.stdout) == "line 1\n"
        server.krater("exec", "talks", "touch", "/tmp/go")
        assert list(child.stdout) == [f"line {i}\n" for i in range(2, 7)]
        assert child.wait(20) == 0
    assert server.krater("logs", "--tail", "2", "talks").stdout == "line 5\nline 6\n"


def test_exec_passes_words_output_and_exit_code(server: Server) -> None:
    server.krater("run", "-d", "--name", "host", "busybox", *SLEEP)
    assert server.krater("exec", "host", "echo", "two  words", "$HOME", "it's").stdout == "two  words $HOME it's\n"
    for code in (0, 1, 42, 255):
        assert server.krater("exec", "host", "sh", "-c", f"exit {code}", check=False).returncode == code
    missing = server.krater("exec", "host", "no-such-program", check=False)
    assert missing.returncode == 127
    assert "no-such-program" in missing.stdout + missing.stderr
    server.krater("stop", "-t", "0", "host")
    refused = server.krater("exec", "host", "true", check=False)
    assert refused.returncode == 125
    assert "Stopped" in refused.stderr


def test_names_ids_and_unique_beginnings_of_ids_mean_a_container(server: Server) -> None:
    uuid = server.krater("run", "-d", "--name", "known", "busybox", *SLEEP).stdout.strip()
    for word in ("known", uuid, uuid[:12], uuid[:8]):
        assert json.loads(server.krater("show", word, "--format", "json").stdout)["uuid"] == uuid
    assert server.krater("pause", uuid[:12]).stdout == "known\n"
    assert server.krater("unpause", "known").stdout == "known\n"
    assert server.krater("restart", "-t", "0", uuid[:12]).stdout == "known\n"
    assert server.krater("kill", uuid).stdout == "known\n"
    assert server.krater("start", "known").stdout == "known\n"
    refused = server.krater("rm", "known", check=False)
    assert refused.returncode == 1
    assert "rm -f" in refused.stderr
    assert server.krater("rm", "-f", uuid[:12]).stdout == "known\n"
    unknown = server.krater("show", uuid[:12], check=False)
    assert unknown.returncode == 1
    assert uuid[:12] in unknown.stderr


def on_a_terminal(server: Server, columns: int, *words: str) -> str:
    """What a command prints when its output is a terminal of that width."""
    ours, theirs = os.openpty()
    environment = {**server.environment, "COLUMNS": str(columns), "NO_COLOR": "1"}
    child = subprocess.Popen([str(BIN / "krater"), *words], env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            text += os.read(ours, 65536)
        except OSError:  # how a terminal says that nobody writes to it any more
            break
    os.close(ours)
    assert child.wait(timeout=10) == 0, text
    return text.decode().replace("\r\n", "\n")


def test_tables_fit_a_narrow_terminal(server: Server) -> None:
    name = "a-name-that-is-much-longer-than-anybody-would-like-to-see-in-a-table"
    server.krater("run", "-d", "--name", name, "busybox", *SLEEP)
    for words in (["ps"], ["images"], ["hosts"], ["show", name]):
        printed = on_a_terminal(server, 60, *words)
        assert max(map(len, printed.splitlines())) <= 60, printed
    listed = on_a_terminal(server, 60, "ps")
    assert "Up " in listed, "the status is what matters most"
    assert "a-name-that" in listed
    assert name in on_a_terminal(server, 200, "ps")
    assert name in server.krater("ps").stdout, "a pipe has no width"


def test_json_is_all_there_is_on_standard_output(server: Server) -> None:
    words = ["run", "-d", "--format", "json", "--name", "asjson", "-e", "A=b", "--label", "k=v", "busybox", *SLEEP]
    made = json.loads(server.krater(*words).stdout)
    assert (made["status"], made["environment"], made["labels"]) == ("Running", {"A": "b"}, {"k": "v"})
    for words in (["ps"], ["images"], ["hosts"], ["show", "asjson"], ["top", "asjson"], ["stats", "asjson"]):
        assert json.loads(server.krater(*words, "--format", "json").stdout)


def test_options_of_run_reach_the_process(server: Server) -> None:
    words = ["--hostname", "thing", "-w", "/var/www", "-e", "A=1 2", "--entrypoint", "sh -c", "--rm"]
    out = server.krater("run", *words, "busybox", "hostname; pwd; echo $A").stdout
    assert out == "thing\n/var/www\n1 2\n"


def test_what_is_wrong_is_one_sentence_without_a_traceback(server: Server) -> None:
    away = {**server.environment, "KRATER_URL": "http://127.0.0.1:1", "KRATER_USERNAME": "a", "KRATER_PASSWORD": "b"}
    wrong = {**server.environment, "KRATER_USERNAME": "admin", "KRATER_PASSWORD": "wrong"}
    for environment in (away, wrong):
        ended = run(BIN / "krater", "ps", environment=environment, check=False)
        assert ended.returncode == 1
        assert ended.stderr.startswith("krater: ")
        assert "Traceback" not in ended.stderr
        assert len(ended.stderr.splitlines()) == 2, "what is wrong, and what to do"


def test_a_reader_that_goes_away_is_no_error(server: Server) -> None:
    server.krater("run", "-d", "--name", "flood", "busybox", "sh", "-c", "seq 1 200000; sleep 1000")
    eventually(lambda: "200000" in server.krater("logs", "--tail", "1", "flood").stdout, what="all of it")
    read, write = os.pipe()
    child = subprocess.Popen(
        [str(BIN / "krater"), "logs", "flood"], env=server.environment, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    os.read(read, 10)
    os.close(read)
    _, complaints = child.communicate(timeout=20)
    assert complaints == b""
