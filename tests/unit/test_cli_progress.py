"""What a command says while it waits, where nobody sees a line change."""

import pytest

from krater.cli.progress import Progress


def test_in_a_pipe_each_thing_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    monkeypatch.setattr("krater.cli.progress.time.monotonic", lambda: now)
    progress = Progress()
    for text in ("c: pulling", "c: pulling: no store", "c: creating: no store") * 3:
        for _ in range(5):
            progress.say(text)
            now += 1.0
    assert capsys.readouterr().err.splitlines() == ["c: pulling", "c: pulling: no store", "c: creating: no store"]


def test_in_a_pipe_nothing_is_told_of_what_is_soon_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("krater.cli.progress.time.monotonic", lambda: now)
    progress = Progress()
    for text in ("c: creating", "c: starting"):
        progress.say(text)
        now += 1.0
        progress.say(text)
    assert capsys.readouterr().err == ""
