"""Cursors of logs are headers that anybody may write."""

from pathlib import Path
from typing import Any

import pytest

from krater.agent import logs
from krater.agent.logs import read_log
from krater.bus.messages import Logs
from krater.errors import Invalid


@pytest.mark.parametrize(
    "text", ["{inode}/-5//", "-{inode}/0//", "{inode}/²//", "{inode}/1_0//", "{inode}/0/x/", "{inode}"]
)
def test_a_cursor_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    log = tmp_path / "container.log"
    log.write_bytes(b"2030-01-01T00:00:00.000000000+00:00 stdout F hello\n")
    request = ask(limit=1000)
    with pytest.raises(Invalid):
        read_log(str(log), request, text.format(inode=log.stat().st_ino))


@pytest.fixture
def flooded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of which only the newest tenth is read for one answer."""
    monkeypatch.setattr(logs, "MOST_READ", 10_000)
    log = tmp_path / "container.log"
    lines = [b"2030-01-01T00:00:00.000000000+00:00 stdout F line %d\n" % number for number in range(2000)]
    lines[7] = lines[7].replace(b"stdout", b"stderr")
    (tmp_path / "container.log.1").write_bytes(b"".join(lines[:1000]))
    log.write_bytes(b"".join(lines[1000:]))
    return log


def ask(**more: Any) -> Logs:
    return Logs("id", **{"stdout": True, "stderr": True, "timestamps": False, "tail": None, "since": None, **more})


@pytest.mark.parametrize("more", [{}, {"tail": 1500}, {"since": 0.0}, {"tail": 10**9, "since": 1.0}])
def test_the_end_of_a_flood_is_shown_without_reading_all_of_it(flooded: Path, more: dict[str, Any]) -> None:
    answer = read_log(str(flooded), ask(**more))
    lines = answer.text.split(b"\n")
    assert lines[-2] == b"line 1999"
    assert 150 < len(lines) < 250
    assert lines[0].startswith(b"line ")
    assert answer.truncated


def test_what_is_asked_for_may_lie_too_far_back(flooded: Path) -> None:
    answer = read_log(str(flooded), ask(stdout=False, tail=5))
    assert answer.text == b""
    assert answer.truncated


def test_a_tail_that_is_near_is_not_cut(flooded: Path) -> None:
    answer = read_log(str(flooded), ask(tail=3))
    assert answer.text == b"line 1997\nline 1998\nline 1999\n"
    assert not answer.truncated


def test_following_goes_through_all_of_a_flood(flooded: Path) -> None:
    cursor, said = logs.START, []
    for _ in range(30):
        answer = read_log(str(flooded), ask(), cursor)
        cursor = answer.cursor
        said += answer.text.split()[1::2]
    assert [int(number) for number in said] == list(range(2000))
