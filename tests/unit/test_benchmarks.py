"""The parts of the benchmarks that do not measure: what they make of what they measured."""

import json
import os
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest

from benchmarks import __main__ as command
from benchmarks import bundle, capsules, figures, lifecycle, load, machine, timestamps
from benchmarks.contenders import Container
from benchmarks.figures import Check, Report, Row
from benchmarks.krater import Krater, KraterServer

T = TypeVar("T")

MOMENT = 1714979289.123456789


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 2.5), (0.95, 3.85), (1.0, 4.0)], ids=["least", "median", "p95", "most"]
)
def test_a_percentile_lies_between_its_neighbours(share: float, expected: float) -> None:
    assert figures.percentile([4, 1, 3, 2], share) == pytest.approx(expected)


def test_one_value_is_every_percentile() -> None:
    assert {figures.percentile([7.0], share) for share in (0, 0.5, 0.95, 1)} == {7.0}


def test_a_bound_is_told_in_words() -> None:
    assert str(Check(" x bare", 1.94, 3)) == "1.94 x bare (≤ 3) ok"
    assert str(Check(" x docker", 0.4, 0.25)) == "0.40 x docker (≤ 0.25) OVER"
    assert str(Check("/s", 2400, 2500, at_most=False)) == "2,400/s (≥ 2,500) OVER"


def test_a_ratio_needs_its_reference() -> None:
    found = figures.ratio_checks(30.0, [("bare", 20.0, 3.0), ("docker", None, 0.25)])
    assert [(check.what, check.value) for check in found] == [(" x bare", 1.5)]


def report() -> Report:
    rows = [
        Row("start", "one at a time", "krater", 45.1, "ms", 60.0, 21.0, 20, (Check(" x bare", 1.9, 3),)),
        Row("start", "one at a time", "bare", 24.0, "ms", 25.0),
        Row("get", "one container", "krater", 3100.0, "/s"),
    ]
    return Report(rows, ["a note"])


def test_the_table_leaves_out_what_repeats() -> None:
    lines = [" ".join(line.split()) for line in figures.as_table(report()).splitlines()]
    assert lines[2] == "start one at a time krater 45.1 ms 60 ms 21 ms 1.90 x bare (≤ 3) ok"
    assert lines[3] == "bare 24 ms 25 ms"
    assert lines[4] == "get one container krater 3,100 /s"
    assert lines[-1] == "* a note"


def test_the_same_as_markdown_and_as_json() -> None:
    assert figures.as_markdown(report()).splitlines()[2].startswith("| start | one at a time | krater | 45.1 ms |")
    found = json.loads(figures.as_json(report()))
    assert found["rows"][0]["checks"] == [{"what": "x bare", "value": 1.9, "bound": 3, "kind": "at most", "ok": True}]
    assert found["rows"][2]["p95_ms"] is None
    assert found["notes"] == ["a note"]


def test_a_note_is_made_once() -> None:
    found = report()
    found.note("a note")
    assert found.notes == ["a note"]


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-06T07:08:09.123456789Z up",
        "2024-05-06T07:08:09.123456789+00:00 stdout F up",
        "2024-05-06T09:08:09.123456789+02:00 up",
        "2024-05-06 07:08:09.123456789 up",
    ],
)
def test_time_stamps_of_all_engines_are_the_same_moment(text: str) -> None:
    assert timestamps.epoch(text) == pytest.approx(MOMENT, abs=1e-6)


def test_log_lines_tell_their_time() -> None:
    line = json.dumps({"log": "up\n", "stream": "stdout", "time": "2024-05-06T07:08:09.123456789Z"})
    assert timestamps.docker_time(line) == pytest.approx(MOMENT, abs=1e-6)
    assert timestamps.conmon_time("2024-05-06T07:08:09.123456789+00:00 stdout F up") == pytest.approx(MOMENT, abs=1e-6)


def test_text_without_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time stamp"):
        timestamps.epoch("up")


def test_only_a_complete_line_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("2024-05-06T07:08:09.1234")
    with pytest.raises(TimeoutError):
        timestamps.wait_for_line(log, timestamps.conmon_time, 0.05)
    log.write_text("2024-05-06T07:08:09.5Z stdout F up\n2024")
    assert timestamps.wait_for_line(log, timestamps.conmon_time, 0.05) == pytest.approx(1714979289.5)


def test_the_profile_is_resolved_for_machine_and_capabilities() -> None:
    allow = {"action": "SCMP_ACT_ALLOW", "args": []}
    rules = [
        {"names": ["read"], **allow, "errnoRet": None},
        {"names": ["mount"], **allow, "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["chroot"], **allow, "includes": {"caps": ["CAP_SYS_CHROOT"]}},
        {"names": ["clone"], **allow, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["fchown32"], **allow, "includes": {"arches": ["s390"]}},
        {"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0}], "errnoRet": 1},
    ]
    architectures = [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "archMap": architectures, "syscalls": rules}
    found = bundle.seccomp_profile(json.dumps(profile))
    assert [rule["names"][0] for rule in found["syscalls"]] == ["read", "chroot", "clone", "kexec_load"]
    assert found["syscalls"][3] == {
        "names": ["kexec_load"],
        "action": "SCMP_ACT_ERRNO",
        "args": [{"index": 0}],
        "errnoRet": 1,
    }
    assert (found["defaultErrnoRet"], found["architectures"]) == (38, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])


def test_the_bare_container_is_hardened() -> None:
    found = bundle.spec(Path("/root"), "/group/id", {"defaultAction": "SCMP_ACT_ERRNO"}, "ZmlsdGVy")
    assert found["process"]["noNewPrivileges"] is True
    assert "CAP_SYS_ADMIN" not in found["process"]["capabilities"]["bounding"]
    assert found["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ERRNO"}
    assert found["annotations"] == {"run.oci.seccomp_bpf_data": "ZmlsdGVy"}
    assert {namespace["type"] for namespace in found["linux"]["namespaces"]} == {
        "pid",
        "ipc",
        "uts",
        "mount",
        "network",
    }


def test_a_generator_ends_with_what_it_counted() -> None:
    output = 'Running 2s test\n\nRESULT {"requests": 50, "seconds": 2.0, "errors": 0, "p50": 0.01, "p95": 0.02}\n'
    assert load.result(output).rate == 25


def test_answers_tell_their_length() -> None:
    assert load.body_length(b"HTTP/1.1 200 OK\r\nContent-Type: x\r\ncontent-length: 17\r\n\r\n") == 17


def test_a_family_is_who_names_the_directory_and_their_children() -> None:
    table = {
        2_000_001: (1, "conmon -b /x/krb1/c1"),
        2_000_002: (2_000_001, "sleep 3600"),
        2_000_003: (2_000_002, "sleep 1"),
        2_000_004: (1, "sleep 3600"),
    }
    assert machine.family("/x/krb1", table) == {2_000_001, 2_000_002, 2_000_003}


def test_what_is_named_anywhere_is_found_among_processes_and_mounts() -> None:
    own = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode()
    mounted = Path("/proc/self/mountinfo").read_text().split()[4]
    asked = [own, "surely-" + "nowhere", mounted]
    assert machine.named_anywhere(asked, os.getpid()) == [own, mounted]


def test_what_is_left_is_looked_for_once_when_the_last_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    looks: list[list[str]] = []

    def named_anywhere(words: list[str], _pid: int) -> list[str]:
        looks.append(sorted(words))
        return ["b"] if "b" in words else []

    contender = Krater(tmp_path, tmp_path / "image", at_once=3)
    monkeypatch.setattr(machine, "named_anywhere", named_anywhere)
    monkeypatch.setattr(KraterServer, "pid", 1)
    monkeypatch.setattr(KraterServer, "want", lambda *_: None)
    all_asked = threading.Event()

    def ask(*_: object) -> tuple[int, bytes]:
        assert all_asked.wait(10)
        return 404, b""

    monkeypatch.setattr(KraterServer, "ask", ask)
    for burst in (["a", "b", "c"], ["d"]):
        all_asked.clear()
        going = [contender.delete(Container(name, time.time())) for name in burst]
        all_asked.set()
        assert all(one.result() >= 0 for one in going)
    assert looks == [["a", "b", "c"], ["d"]]
    assert contender.left_behind == 1


class Clockwork:
    """A contender that takes a fixed time, more in its first turn."""

    directory = Path("/nowhere")

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        self.turns = 0

    def open(self) -> None: ...

    def make_ready(self, count: int) -> None:
        self.turns += 1

    def start(self) -> "Future[Container]":
        return done(Container("c", 1000.0))

    def seconds_to_run(self, container: Container) -> float:
        return self.seconds if self.turns > 1 else 1000.0

    def delete(self, container: Container) -> "Future[float]":
        return done(self.seconds / 2)

    def close(self) -> None: ...


def done(value: T) -> "Future[T]":
    future: Future[T] = Future()
    future.set_result(value)
    return future


def test_turns_are_judged_against_each_other_without_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "SETTLE", 0.0)
    contenders = [Clockwork("krater", 0.04), Clockwork("conmon + crun", 0.02), Clockwork("docker run -d", 0.2)]
    found = Report()
    lifecycle.measure(found, contenders, ["start", "delete"], [(1, 3), (4, 2)])
    rows = {(row.part, row.figure, row.who): row for row in found.rows}
    one = rows["start", "one at a time", "krater"]
    assert one.value == pytest.approx(40)
    assert one.samples == 3
    assert [(c.value, c.bound, c.is_kept) for c in one.checks] == [(2.0, 3.0, True), (pytest.approx(0.2), 0.25, True)]
    rate = rows["start", "4 at once, rate", "krater"]
    assert rate.value == pytest.approx(100)
    assert rate.checks[0].value == pytest.approx(5)
    assert rows["delete", "4 at once", "krater"].samples == 8
    assert rows["delete", "one at a time", "docker run -d"].checks == ()


def test_pairs_are_judged_against_bare_ones_and_pods() -> None:
    took = {capsules.KRATER: 0.06, capsules.BARE: 0.03, capsules.POD: 0.6}
    found = Report()
    capsules.report_pairs(found, {who: capsules.Samples([s] * 3, [s / 2] * 3, 0.3) for who, s in took.items()})
    started, deleted = found.rows[0], found.rows[3]
    assert [(c.value, c.is_kept) for c in started.checks] == [(2.0, True), (pytest.approx(0.1), True)]
    assert [started.value, started.cpu, deleted.value] == pytest.approx([60, 100, 30])
    assert {row.figure for row in found.rows if row.who == capsules.POD} == {
        "two containers, start",
        "two containers, delete",
    }


def test_all_parts_are_measured_unless_some_are_named() -> None:
    assert command._arguments([]).parts == list(command.PARTS)
    assert command._arguments(["get", "idle"]).parts == ["get", "idle"]
    with pytest.raises(SystemExit):
        command._arguments(["everything"])


def test_a_part_that_fails_or_takes_too_long_is_noted_and_the_next_has_its_turn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "LIMITS", {"exec": 0.05, "logs": 60, "attach": 60})
    found = Report()
    turns = command.Turns(found, ["exec", "logs", "attach"])

    def hangs() -> None:
        found.rows.append(Row("exec", "half", "krater", 1.0, "ms"))
        time.sleep(60)

    def fails() -> None:
        raise ValueError("what nobody thought of")

    turns.take(("exec",), hangs)
    turns.take(("logs",), fails)
    turns.take(("attach",), lambda: found.rows.append(report().rows[0]))
    turns.take(("memory",), fails)
    assert [row.part for row in found.rows] == ["exec", "start"]
    assert found.notes == [
        "krater: exec: not measured: not done within 0.05 seconds",
        "krater: logs: not measured: ValueError('what nobody thought of')",
    ]
    told = capsys.readouterr().err
    assert "exec, half: krater 1 ms\n" in told
    assert "start, one at a time: krater 45.1 ms; p95 60 ms; 1.90 x bare (≤ 3) ok\n" in told


def test_only_who_is_needed_is_started() -> None:
    def names(*words: str) -> list[str]:
        return command._wanted(command._arguments(words))

    assert names("exec", "logs", "attach", "consoles") == ["krater"]
    assert names("exec", "start", "--without", "docker") == ["krater", "bare"]
    assert names("exec", "--without", "krater") == []
    assert names("capsules") == ["krater", "bare"]
