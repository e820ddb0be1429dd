"""Reading logs as conmon writes them: the end, since, by stream, and on from a cursor across rotations."""

import asyncio
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krater.agent import logs
from krater.agent.log_files import LogKeeper
from krater.agent.log_lines import seconds_of
from krater.agent.logs import LogReader, read_log
from krater.agent.runtimes.fake import FakeEngineWorld, FakeRuntime
from krater.bus.messages import Logs
from krater.errors import Invalid

START = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp())


def stamp(second: float) -> str:
    whole = datetime.fromtimestamp(START + int(second), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{round((second % 1) * 1e9):09d}Z"


class Writer:
    """Plays conmon, one second an entry."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "c" / "container.log"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.second = 0

    def write(self, text: bytes, stream: str = "stdout", *, part: bool = False) -> None:
        mark = "P" if part else "F"
        with open(self.path, "ab") as file:
            file.write(f"{stamp(self.second)} {stream} {mark} ".encode() + text + b"\n")
        os.utime(self.path, (START + self.second, START + self.second))
        self.second += 1

    def rotate(self) -> None:
        for number in (3, 2, 1, 0):
            name = f"{self.path}.{number}" if number else str(self.path)
            if os.path.exists(name):
                os.replace(name, f"{self.path}.{number + 1}")

    def read(self, cursor: str = "", **how: object) -> bytes:
        return self.ask(cursor, **how)[0]

    def ask(self, cursor: str = "", **how: object) -> tuple[bytes, str, bool]:
        found = read_log(str(self.path), Logs("c", **how), cursor)  # type: ignore[arg-type]
        return found.text, found.cursor, found.truncated


@pytest.fixture
def log(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


def test_no_log_is_an_empty_log_that_can_be_followed(log: Writer) -> None:
    text, cursor, _ = log.ask()
    assert text == b""
    log.write(b"first")
    assert log.read(cursor) == b"first\n"


def test_lines_come_oldest_first_across_rotated_files(log: Writer) -> None:
    for n in range(9):
        log.write(b"%d" % n)
        if n in (2, 5):
            log.rotate()
    assert log.read() == b"".join(b"%d\n" % n for n in range(9))


def test_parts_are_joined_and_bytes_survive(log: Writer) -> None:
    log.write(b"a\x00\xff", part=True)
    log.write(b"err", "stderr")
    log.write(b" \x80b")
    assert log.read() == b"err\na\x00\xff \x80b\n"


def test_a_prompt_without_an_end_is_shown(log: Writer) -> None:
    log.write(b"login: ", part=True)
    text, cursor, _ = log.ask(timestamps=True)
    assert text == stamp(0).encode() + b" login: "
    log.write(b"root")
    assert log.read(cursor, timestamps=True) == b"root\n"


def test_streams_timestamps_and_since(log: Writer) -> None:
    for n in range(6):
        log.write(b"%d" % n, "stderr" if n % 2 else "stdout")
    assert log.read(stderr=False) == b"0\n2\n4\n"
    assert log.read(stdout=False, since=START + 3.0) == b"3\n5\n"
    assert log.read(since=START + 4.5, timestamps=True) == stamp(5).encode() + b" 5\n"
    assert log.read(since=START + 100.0) == b""


def test_the_tail_counts_long_lines_as_lines(log: Writer) -> None:
    pieces = [bytes([97 + n % 26]) * 8000 for n in range(40)]
    log.write(b"before")
    for piece in pieces:
        log.write(piece, part=True)
    log.write(b"")
    log.write(b"after")
    long = b"".join(pieces) + b"\n"
    assert log.read(tail=2) == long + b"after\n"
    assert log.read(tail=3) == b"before\n" + long + b"after\n"
    assert log.read(tail=1) == b"after\n"
    assert log.read(tail=0) == b""
    log.write(b"x" * 8000, part=True)
    assert log.ask(tail=2, limit=100_000)[0] == b"after\n" + b"x" * 8000
    for piece in pieces:
        log.write(piece, part=True)
    text, _, is_truncated = log.ask(tail=1, limit=100_000)
    assert (text, is_truncated) == (long[-100_001:-1], True)


@pytest.mark.parametrize(("tail", "expected"), [(0, b""), (1, b"8\n"), (4, b"5\n6\n7\n8\n"), (99, None)])
def test_the_tail_reaches_over_files(log: Writer, tail: int, expected: bytes | None) -> None:
    for n in range(9):
        log.write(b"%d" % n)
        if n == 6:
            log.rotate()
    everything = b"".join(b"%d\n" % n for n in range(9))
    assert log.read(tail=tail) == (everything if expected is None else expected)


def test_the_limit_keeps_the_newest(log: Writer) -> None:
    for n in range(1000):
        log.write(b"%04d" % n)
    text, _, truncated = log.ask(limit=100)
    assert (text[-10:], len(text), truncated) == (b"0998\n0999\n", 100, True)


def test_a_cursor_loses_nothing_when_the_limit_is_small(log: Writer) -> None:
    _, cursor, _ = log.ask()
    for n in range(500):
        log.write(b"%d" % n)
    found = b""
    while text := (answer := log.ask(cursor, limit=64))[0]:
        found, cursor = found + text, answer[1]
    assert found == b"".join(b"%d\n" % n for n in range(500))


def test_a_cursor_outlives_rotation(log: Writer) -> None:
    log.write(b"0")
    _, cursor, _ = log.ask()
    log.write(b"1")
    log.rotate()
    log.write(b"2")
    log.rotate()
    log.write(b"3")
    assert log.read(cursor) == b"1\n2\n3\n"


def test_a_cursor_into_a_deleted_file_says_that_something_was_lost(log: Writer) -> None:
    log.write(b"0")
    _, cursor, _ = log.ask()
    log.path.unlink()
    log.second += 5
    log.write(b"much later, and a good deal longer")
    text, _, truncated = log.ask(cursor)
    assert (text, truncated) == (b"much later, and a good deal longer\n", True)


def test_a_line_that_is_being_written_is_left_for_later(log: Writer) -> None:
    log.write(b"0")
    with open(log.path, "ab") as file:
        file.write(f"{stamp(1)} stdout F hal".encode())
    text, cursor, _ = log.ask()
    assert text == b"0\n"
    with open(log.path, "ab") as file:
        file.write(b"f\n")
    assert log.read(cursor) == b"half\n"


@pytest.mark.parametrize("cursor", ["x", "1/2", "a/0//", "1/2/z/h", "1/b//"])
def test_a_bad_cursor_is_refused(log: Writer, cursor: str) -> None:
    with pytest.raises(Invalid):
        log.read(cursor)


def test_what_is_not_in_the_format_is_output(log: Writer) -> None:
    log.path.write_bytes(b"torn\n")
    assert log.read() == b"torn\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"2030-01-01T00:00:00.250000000Z", START + 0.25),
        (b"2030-01-01T02:00:00.5+02:00", START + 0.5),
        (b"2029-12-31T22:00:00-02:00", START),
        (b"2030-01-01T00:00:00Z", START),
        (b"yesterday", None),
    ],
)
def test_time_stamps_of_any_zone(text: bytes, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


entries = st.lists(
    st.tuples(st.sampled_from(("stdout", "stderr")), st.booleans(), st.binary(max_size=4), st.booleans()), max_size=30
)


def test_a_carriage_return_ends_no_line(tmp_path: Path) -> None:
    log = Writer(tmp_path)
    for percent in range(5):
        log.write(b"%d %%\r%d %%" % (percent, percent + 1))
    assert log.read(tail=2) == b"3 %\r4 %\n4 %\r5 %\n"


@settings(max_examples=150, deadline=None)
@given(entries, st.integers(0, 5), st.booleans(), st.integers(0, 12))
def test_every_reading_agrees_with_the_plain_one(
    tmp_path_factory: pytest.TempPathFactory,
    written: list[tuple[str, bool, bytes, bool]],
    tail: int,
    timestamps: bool,
    often: int,
) -> None:
    """Followed piece by piece, stdout is what was written to it, whatever was rotated; a tail is the end of it all."""
    log = Writer(tmp_path_factory.mktemp("log"))
    expected, followed, cursor = b"", b"", log.ask()[1]
    for place, (stream, part, text, rotate) in enumerate(written):
        clean = text.replace(b"\n", b"")
        log.write(clean, stream, part=part)
        expected += clean + (b"" if part else b"\n") if stream == "stdout" else b""
        if rotate and place % 8 == 0:
            log.rotate()
        if often and place % often == 0:
            more, cursor, lost = log.ask(cursor, stderr=False)
            assert not lost
            followed += more
    assert followed + log.read(cursor, stderr=False) == expected
    everything = re.findall(rb"[^\n]*\n|[^\n]+\Z", log.read(stderr=False, timestamps=timestamps))  # a \r ends no line
    assert log.read(stderr=False, timestamps=timestamps, tail=tail) == b"".join(
        everything[max(0, len(everything) - tail) :] if tail else []
    )


def test_the_end_of_a_large_log_is_read_quickly(log: Writer) -> None:
    line = f"{stamp(0)} stdout F ".encode() + b"x" * 100 + b"\n"
    log.path.write_bytes(line * 300_000)
    before = time.perf_counter()
    assert log.read(tail=10) == (b"x" * 100 + b"\n") * 10
    assert time.perf_counter() - before < 0.1


async def test_following_waits_for_more(log: Writer) -> None:
    reader = LogReader(lambda _: str(log.path))
    log.write(b"0")
    first = await reader.read(Logs("c"))
    waiting = asyncio.create_task(reader.read(Logs("c", cursor=first.cursor, wait=10, stderr=False)))
    await asyncio.sleep(0.1)
    log.write(b"not asked for", "stderr")
    await asyncio.sleep(0.1)
    assert not waiting.done()
    log.write(b"1")
    assert (await waiting).text == b"1\n"
    empty = await reader.read(Logs("c", cursor=(await waiting).cursor, wait=0.1))
    assert empty.text == b""


def test_large_logs_are_rotated_and_those_of_the_gone_are_deleted(tmp_path: Path) -> None:
    runtime = FakeRuntime(FakeEngineWorld(logs=str(tmp_path)))
    old = time.time() - 1000
    for name, size, is_old in (("large", 5000, False), ("small", 10, False), ("gone", 10, True)):
        path = Path(runtime.log_path(name))
        path.parent.mkdir()
        path.write_bytes(b"x" * size)
        if is_old:
            os.utime(path, (old, old))
            os.utime(path.parent, (old, old))
    asyncio.run(LogKeeper(runtime, 4096, keep=500, room=1 << 20).keep())
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*log*")) == [
        "large/container.log.1",
        "small/container.log",
    ]


def test_logs_of_the_gone_have_so_much_room_together_and_the_oldest_give_way(tmp_path: Path) -> None:
    runtime = FakeRuntime(FakeEngineWorld(logs=str(tmp_path)))
    for age, name in enumerate(("newest", "newer", "older")):
        path = Path(runtime.log_path(name))
        path.parent.mkdir()
        path.write_bytes(b"x" * 40_000)
        when = time.time() - 10 * age
        os.utime(path, (when, when))
        os.utime(path.parent, (when, when))
    asyncio.run(LogKeeper(runtime, 1 << 20, keep=500, room=120_000).keep())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["newer", "newest"]


def test_logs_without_a_line_take_room_too(tmp_path: Path) -> None:
    runtime = FakeRuntime(FakeEngineWorld(logs=str(tmp_path)))
    for number in range(50):
        path = Path(runtime.log_path(f"gone{number}"))
        path.parent.mkdir()
        path.write_bytes(b"x" if number % 2 else b"")
    asyncio.run(LogKeeper(runtime, 4096, keep=500, room=100_000).keep())
    assert 0 < len(list(tmp_path.iterdir())) <= 100_000 // 8192


def test_logs_at_rest_are_not_looked_at_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    runtime = FakeRuntime(FakeEngineWorld(logs=str(tmp_path)))
    path_of = runtime.log_path
    for name, age in (("gone", 100), ("going", 0)):
        Path(path_of(name)).parent.mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    keeper = LogKeeper(runtime, 4096, keep=500, room=1 << 20)
    asyncio.run(keeper.keep())

    def log_path(container: str) -> str:
        asked.append(container)
        return path_of(container)

    monkeypatch.setattr(runtime, "log_path", log_path)
    asyncio.run(keeper.keep())
    assert asked == ["going"]


async def test_who_waits_is_answered_when_something_happens_to_the_container(log: Writer, tmp_path: Path) -> None:
    log.write(b"0")
    reader = LogReader(lambda _: str(log.path))
    first = await reader.read(Logs("c"))
    waiting = asyncio.create_task(reader.read(Logs("c", cursor=first.cursor, wait=60)))
    await asyncio.sleep(0.05)
    reader.stir("another")
    await asyncio.sleep(0.05)
    assert not waiting.done()
    reader.stir("c")
    async with asyncio.timeout(5):
        assert (await waiting).text == b""
    reader.stir("c")


async def test_who_waits_does_not_have_the_log_read_in_vain(log: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    original = logs.read_log

    def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return original(*arguments)

    monkeypatch.setattr(logs, "read_log", counted)
    log.write(b"0")
    reader = LogReader(lambda _: str(log.path))
    first = await reader.read(Logs("c"))
    await asyncio.gather(*(reader.read(Logs("c", cursor=first.cursor, wait=0.5)) for _ in range(20)))
    assert reads <= 1 + 20 * 2
