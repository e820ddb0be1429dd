"""What is shown while somebody waits for a capsule: lines that replace each other, and words for each state."""

import io
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from krater.cli.capsules import board as module
from krater.cli.capsules.board import Board, Row
from krater.cli.capsules.words import ended_words, member_words, name_of, ready_words, running, trouble
from krater.cli.words import age
from krater.cli.words import name_of as container_name
from krater.client.capsule_answers import Capsule, Member
from tests.support.fake_api import capsule, container, member


class Screen(io.StringIO):
    """A terminal that shows what was written to it, as far as lines, erasing and moving up go."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        shown, at = [""], 0
        for part in re.split(r"(\x1b\[\d*[AJ]|\r|\n)", self.getvalue()):
            if part == "\n":
                at += 1
                shown += [""] if at == len(shown) else []
            elif part == "\r":
                pass  # all lines are written whole
            elif part.endswith("A") and part.startswith("\x1b"):
                at -= int(part[2:-1])
                assert at >= 0, "moved above its own lines"
            elif part == "\x1b[J":
                shown[at:] = [""]
            else:
                shown[at] += part
        return shown


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=screen))
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "6")
    monkeypatch.setenv("NO_COLOR", "1")
    return screen


def test_each_picture_replaces_the_one_before(screen: Screen) -> None:
    with Board("shop") as board:
        board.show("shop: Creating", [Row("web", "pulling the image"), Row("database", "waits")])
        assert [line[2:] for line in screen.lines[:1]] == ["shop: Creating  0s"]
        assert screen.lines[1:] == ["  web       pulling the image", "  database  waits"]
        board.show("shop: Creating", [Row("web", "Up 1 seconds")])
        assert screen.lines[1:] == ["  web  Up 1 seconds"]
    assert screen.lines == [""]


def test_it_is_no_larger_than_the_terminal(screen: Screen) -> None:
    with Board("shop") as board:
        for count in (4, 5, 30):
            board.show("s" * 90, [Row(f"m{number}", "w" * 90) for number in range(count)])
            assert len(screen.lines) <= 5
            assert max(map(len, screen.lines)) <= 39
        assert screen.lines[-1] == "  … and 27 more"


def test_what_a_tenant_wrote_cannot_move_the_cursor(screen: Screen) -> None:
    with Board("shop") as board:
        board.show("a\x1b[9Ab\nc", [Row("m", "x\x1b[2Jy\rz")])
        assert len(screen.lines) == 2
        assert "\x1b" not in "".join(screen.lines)


def test_elsewhere_only_what_takes_long_is_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("krater.cli.progress.time.monotonic", lambda: now[0])
    with Board("shop") as board:
        board.show("shop: Creating", [Row("web", "pulling"), Row("db", "starting")])
        now[0] += 3
        board.show("shop: Creating", [Row("web", "pulling"), Row("db", "Up 1 seconds")])
        board.show("shop: Creating", [Row("web", "pulling")])
    assert capsys.readouterr().err == "shop/web: pulling\n"


def words(**changes: Any) -> str:
    return member_words(cast(Member, member("web", **changes)))


def test_a_member_in_words() -> None:
    assert words(status="Creating", task_state="image_pulling") == "pulling the image"
    assert words(status="Creating", status_reason="Waits for db.") == "creating: Waits for db."
    assert words(status="Restarting", status_reason="Exit code 1.") == "restarting: Exit code 1."
    assert words() == "Up 5 mins"
    assert words(status_reason="Not well.") == "Up 5 mins: Not well."
    assert words(status="Error", status_reason="no room.") == "Error: no room."


def test_a_capsule_in_words() -> None:
    ended = member("fetch", "init", status="Stopped")
    whole = cast(Capsule, capsule("shop", ended, member("proxy", "sidecar"), member("web", status="Stopped")))
    assert (name_of(whole), running(whole)) == ("shop", "1/2")
    assert trouble(whole, "shop") == "shop is Running."
    nameless = cast(Capsule, capsule(None, uuid="aaaa1111-2222-3333", status="Error", status_reason="web: no room."))
    assert name_of(nameless) == "aaaa1111-222"
    assert trouble(nameless, "x") == "x is Error: web: no room."
    assert trouble(None, "x") == "x is gone."


def test_a_member_is_called_by_its_capsule() -> None:
    web = member("web-1")
    capsule("my-shop", web)
    assert container_name(cast(Member, web)) == "my-shop/web-1"
    assert container_name(cast(Member, container("capsule-web"))) == "capsule-web"
    assert (ready_words(cast(Member, web)), ended_words(cast(Member, web))) == ("", "")
    web |= {"ready": False, "exit_code": 0}
    assert (ready_words(cast(Member, web)), ended_words(cast(Member, web))) == ("no", "0")


def test_age() -> None:
    assert age(None) == ""
    assert age("2026-01-31 12:00:00.5").endswith(" days")
    assert age("9999-01-31 12:00:00") == "0 seconds"
