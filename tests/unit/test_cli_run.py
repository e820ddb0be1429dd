"""`krater run`: what is asked for, what is shown, how it ends."""

import signal
import time
from pathlib import Path
from typing import Any

import click
import pytest

from krater.cli.arguments import disk, memory, since
from krater.cli.creation import wanted
from tests.support.fake_api import Asked, FakeApi, container, refusal
from tests.support.terminal import Terminal, start_krater

NOTHING: dict[str, Any] = dict.fromkeys(
    ("name", "cpu", "memory", "disk", "workdir", "entrypoint", "restart", "hostname", "zone", "pull", "healthcheck")
) | {
    "env": (),
    "env_file": (),
    "label": (),
    "net": (),
    "mount": (),
    "volume": (),
    "security_group": (),
    "expose": (),
    "interactive": False,
    "tty": False,
    "auto_heal": False,
}

ENDED = {"status": "Stopped", "status_detail": "Exited(3) 1 seconds ago "}


@pytest.fixture
def api(api: FakeApi) -> FakeApi:
    api.answers["GET /logs"] = lambda _: (200, "2026-01-31T12:00:01Z hello\n")
    return api


def lives(api: FakeApi, *states: dict[str, Any]) -> dict[str, Any]:
    """What a container that is made goes through, one state a question; it stays in the last."""
    made = container("job", uuid="cafe-1", status="Creating", status_detail=None)
    left = list(states)

    def make(_: Asked) -> tuple[int, Any]:
        api.containers.append(made)
        return 202, made

    def show(_: Asked) -> tuple[int, Any]:
        if left:
            made.update(left.pop(0))
        return (200, made) if made in api.containers else refusal(404, "gone")

    api.answers["POST /v1/containers"] = make
    api.answers["GET /cafe-1"] = show
    return made


def test_output_comes_to_stdout_and_the_exit_code_is_the_containers(api: FakeApi, krater: Terminal) -> None:
    lives(api, {"task_state": "image_pulling"}, {"status": "Running", "task_state": None}, ENDED)
    ended = krater("run", "alpine", "sh", "-c", "exit 3")
    assert (ended.code, ended.out, ended.err) == (3, "hello\n", "")
    asked = api.asked("POST", "/containers")[0]
    assert (asked.query, asked.body) == ({"run": "true"}, {"image": "alpine", "command": ["sh", "-c", "exit 3"]})
    assert len(api.containers) == 1


def test_rm_reads_the_exit_code_and_then_removes(api: FakeApi, krater: Terminal) -> None:
    lives(api, ENDED)
    assert krater("run", "--rm", "alpine").code == 3
    assert api.containers == []
    assert "auto_remove" not in api.asked("POST", "/containers")[0].body


def test_detached_rm_is_left_to_the_server(api: FakeApi, krater: Terminal) -> None:
    lives(api, {"status": "Running", "status_detail": "Up 1 seconds"})
    ended = krater("run", "-d", "--rm", "alpine")
    assert (ended.code, ended.out) == (0, "cafe-1\n")
    assert api.asked("POST", "/containers")[0].body["auto_remove"] is True
    assert len(api.containers) == 1


@pytest.mark.parametrize(
    ("detail", "code"),
    [(None, 125), ("Exited(127) 1 seconds ago (error)", 127), ("Exited(126) 1 seconds ago (error)", 126)],
)
@pytest.mark.parametrize("detach", [(), ("-d",)])
def test_what_never_ran_says_why(
    api: FakeApi, krater: Terminal, detail: str | None, code: int, detach: tuple[str, ...]
) -> None:
    lives(api, {"status": "Error", "status_reason": "nope: no such file", "status_detail": detail})
    ended = krater("run", *detach, "alpine", "nope")
    assert (ended.code, ended.out, ended.err) == (code, "", "krater: job: nope: no such file\n")


def test_a_refused_request_is_125(api: FakeApi, krater: Terminal) -> None:
    api.answers["POST /v1/containers"] = lambda _: refusal(403, "The quota of 40 containers is used up.", "over-quota")
    ended = krater("run", "alpine")
    assert (ended.code, ended.err) == (125, "krater: The quota of 40 containers is used up.\n")


def test_a_reason_for_a_bad_end_is_told(api: FakeApi, krater: Terminal) -> None:
    oom = {"status": "Stopped", "status_detail": "Exited(137) 1 seconds ago ", "status_reason": "Out of memory."}
    lives(api, {"status": "Running"}, oom)
    ended = krater("run", "alpine")
    assert ended.code == 137
    assert "Out of memory." in ended.err


@pytest.mark.parametrize(
    "words", [("-it", "alpine"), ("--format", "json", "alpine"), ("--rm", "--restart", "always", "alpine"), ()]
)
def test_contradictions_are_misuse(api: FakeApi, krater: Terminal, words: tuple[str, ...]) -> None:
    assert krater("run", *words).code == 2
    assert api.requests == []


def test_create_waits_and_prints_the_id(api: FakeApi, krater: Terminal) -> None:
    lives(api, {"status": "Created", "status_detail": "Created"})
    ended = krater("create", "--name", "job", "alpine")
    assert (ended.code, ended.out) == (0, "cafe-1\n")
    assert api.asked("POST", "/containers")[0].query == {}


def eventually(condition: Any) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_stops_the_container(api: FakeApi, number: signal.Signals) -> None:
    made = lives(api, {"status": "Running"})

    def stop(_: Asked) -> tuple[int, Any]:
        made.update(ENDED, status_detail="Exited(143) 1 seconds ago ")
        return 202, None

    api.answers["POST /stop"] = stop
    with start_krater(api.url, "run", "--rm", "alpine") as child:
        eventually(lambda: api.asked("GET", "/logs"))
        child.send_signal(number)
        out, err = child.communicate(timeout=15)
    assert (child.returncode, out) == (143, "hello\n")
    assert "Stopping job." in err
    assert api.containers == []


def test_the_second_interrupt_leaves(api: FakeApi) -> None:
    lives(api, {"status": "Running"})
    with start_krater(api.url, "run", "alpine") as child:
        eventually(lambda: api.asked("GET", "/logs"))
        child.send_signal(signal.SIGINT)
        eventually(lambda: api.asked("POST", "/stop"))
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=15)
    assert child.returncode == 130
    assert "job goes on without us." in err
    assert "Traceback" not in err
    assert len(api.containers) == 1


def test_only_what_was_given_is_asked_for() -> None:
    assert wanted("alpine", (), NOTHING) == {"image": "alpine"}


def test_every_option_has_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "env").write_text("# comment\nA=file\nB=x = y\n\n")
    monkeypatch.setenv("MINE", "here")
    monkeypatch.delenv("ABSENT", raising=False)
    options = NOTHING | {
        "name": "web",
        "env": ("A=1", "MINE", "ABSENT", "EMPTY="),
        "env_file": (str(tmp_path / "env"),),
        "label": ("tier=front", "flag"),
        "cpu": 0.5,
        "memory": 512,
        "disk": 10,
        "entrypoint": "sh -c",
        "restart": "on-failure:3",
        "net": ("blue,v4=10.0.0.5,v6=fd00::5", "port=p1"),
        "security_group": ("web", "ssh"),
        "expose": ("80", "53/udp"),
        "zone": "z",
        "pull": "missing",
        "tty": True,
    }
    assert wanted("alpine", ("ls",), options) == {
        "image": "alpine",
        "command": ["ls"],
        "name": "web",
        "environment": {"A": "1", "B": "x = y", "MINE": "here", "EMPTY": ""},
        "labels": {"tier": "front", "flag": ""},
        "cpu": 0.5,
        "memory": 512,
        "disk": 10,
        "entrypoint": ["sh", "-c"],
        "restart_policy": {"Name": "on-failure", "MaximumRetryCount": "3"},
        "nets": [{"network": "blue", "v4-fixed-ip": "10.0.0.5", "v6-fixed-ip": "fd00::5"}, {"port": "p1"}],
        "security_groups": ["web", "ssh"],
        "exposed_ports": {"80": {}, "53/udp": {}},
        "availability_zone": "z",
        "image_pull_policy": "ifnotpresent",
        "tty": True,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"env": ("=x",)},
        {"env": ("A B=x",)},
        {"restart": "sometimes"},
        {"restart": "always:3"},
        {"restart": "on-failure:x"},
        {"net": ("blue,port=1",)},
        {"net": ("blue,v4=",)},
        {"net": ("",)},
        {"net": ("colour=blue",)},
        {"entrypoint": "'half"},
    ],
)
def test_what_makes_no_sense_is_misuse(options: dict[str, Any]) -> None:
    with pytest.raises(click.BadParameter):
        wanted("alpine", (), NOTHING | options)


def test_an_empty_entrypoint_takes_the_images_away() -> None:
    assert wanted("alpine", (), NOTHING | {"entrypoint": ""})["entrypoint"] == []


@pytest.mark.parametrize(
    ("text", "amount"), [("512", 512), ("512m", 512), ("2g", 2048), ("1.5GiB", 1536), ("1T", 2**20)]
)
def test_memory_is_mebibytes(text: str, amount: int) -> None:
    assert memory(text) == amount


@pytest.mark.parametrize("text", ["", "0", "512k", "-1", "1.5", "m", "1e3"])
def test_other_memory_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        memory(text)


def test_disk_is_gibibytes() -> None:
    assert [disk("10"), disk("10g"), disk("10GiB")] == [10, 10, 10]


def test_moments() -> None:
    assert since("1769860801") == "1769860801"
    assert since("2026-01-31T12:00:01+00:00") == "1769860801"
    assert abs(int(since("2h")) - (time.time() - 7200)) < 5
    with pytest.raises(click.BadParameter):
        since("yesterday")


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("cmd=true", {"cmd": "true"}),
        (
            "cmd=curl -f localhost || exit 1,interval=30s,retries=3,timeout=5s",
            {"cmd": "curl -f localhost || exit 1", "interval": 30, "retries": 3, "timeout": 5},
        ),
        ("interval=2m,cmd=echo a, b,timeout=1h", {"interval": 120, "cmd": "echo a, b", "timeout": 3600}),
        ("cmd=a=b,c=d,interval=7", {"cmd": "a=b,c=d", "interval": 7}),
    ],
)  # fmt: skip
def test_a_health_check_is_written_as_for_zun(text: str, asked: dict[str, Any]) -> None:
    found = wanted("alpine", (), NOTHING | {"healthcheck": text, "auto_heal": True})
    assert found == {"image": "alpine", "healthcheck": asked, "auto_heal": True}


@pytest.mark.parametrize(
    "text",
    ["", "true", "cmd=", "interval=5s", "cmd=true,interval=often", "cmd=true,interval=5d", "cmd=true,retries=3s",
     "cmd=true,timeout=-1", "cmd=true,cmd=false", "cmd=true,timeout=1s,timeout=2s", "cmd=true,interval=²",
     "interval=5s,colour=red,cmd=true"],
)  # fmt: skip
def test_a_health_check_that_makes_no_sense_is_misuse(text: str) -> None:
    with pytest.raises(click.BadParameter):
        wanted("alpine", (), NOTHING | {"healthcheck": text})
